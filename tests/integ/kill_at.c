/*
 * Runs a program and ends it, as SIGKILL does, instead of its N-th system call that changes a file.
 *
 *     kill_at [-n N] [-f FILE] PROGRAM [ARGUMENT…]
 *     -n N      without it, or when there are fewer: the program ends by itself
 *     -f FILE   counts only while that file exists
 *
 * Calls of all its threads and children count: what makes, writes, fsyncs, links, renames or
 * removes, also attributes. Its exit status, or 137; the last line on standard error is "calls N".
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* As in <linux/ptrace.h>, which does not go together with <sys/ptrace.h>. */
struct call {
	unsigned char op, pad[3];
	unsigned arch;
	unsigned long long instruction, stack, number, args[6];
};
#define GET_SYSCALL_INFO 0x420e
#define ENTRY 1

static int changes(const struct call *c)
{
	switch (c->number) {
	case SYS_openat:
		return (c->args[2] & (O_CREAT | O_TRUNC)) != 0;
#ifdef SYS_rename
	case SYS_rename:
	case SYS_link:
	case SYS_unlink:
	case SYS_symlink:
	case SYS_mkdir:
	case SYS_rmdir:
#endif
	case SYS_write:
	case SYS_pwrite64:
	case SYS_pwritev:
	case SYS_pwritev2:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_renameat:
	case SYS_renameat2:
	case SYS_linkat:
	case SYS_unlinkat:
	case SYS_symlinkat:
	case SYS_mkdirat:
	case SYS_mknodat:
	case SYS_ftruncate:
	case SYS_fallocate:
	case SYS_setxattr:
	case SYS_fsetxattr:
	case SYS_removexattr:
	case SYS_fremovexattr:
		return 1;
	default:
		return 0;
	}
}

static pid_t start(char **argv)
{
	pid_t pid = fork();
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && raise(SIGSTOP) == 0)
			execvp(argv[0], argv);
		_exit(127);
	}
	return pid;
}

int main(int argc, char **argv)
{
	unsigned long at = 0, calls = 0;
	const char *gate = NULL;
	for (int c; (c = getopt(argc, argv, "+n:f:")) != -1;) {
		if (c == 'n')
			at = strtoul(optarg, NULL, 10);
		else if (c == 'f')
			gate = optarg;
		else
			return 2;
	}
	if (optind >= argc)
		return 2;
	int status, result = 127;
	pid_t main_pid = start(argv + optind);
	if (main_pid < 0 || waitpid(main_pid, &status, 0) != main_pid || !WIFSTOPPED(status))
		return 2;
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
		       PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;
	if (ptrace(PTRACE_SETOPTIONS, main_pid, NULL, options) < 0 ||
		ptrace(PTRACE_SYSCALL, main_pid, NULL, 0) < 0)
		return 2;
	for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
		struct call c;
		long deliver = 0;
		if (!WIFSTOPPED(status)) {
			if (pid == main_pid)
				result = WIFEXITED(status) ? WEXITSTATUS(status)
							   : 128 + WTERMSIG(status);
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			if (ptrace(GET_SYSCALL_INFO, pid, sizeof(c), &c) > 0 && c.op == ENTRY &&
				changes(&c) && (!gate || access(gate, F_OK) == 0) &&
				++calls == at) {
				kill(main_pid, SIGKILL);
				kill(pid, SIGKILL);
				continue;
			}
		} else if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP) {
			deliver = WSTOPSIG(status); /* SIGSTOP: a new thread */
		}
		ptrace(PTRACE_SYSCALL, pid, NULL, deliver);
	}
	fprintf(stderr, "calls %lu\n", calls);
	return result;
}
