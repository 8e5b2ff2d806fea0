#include "tests/exercise/exercise.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct option long_options[] = {
	{"seed", required_argument, NULL, 's'},
	{"operations", required_argument, NULL, 'n'},
	{"round", required_argument, NULL, 'r'},
	{"seconds", required_argument, NULL, 't'},
	{"processes", required_argument, NULL, 'p'},
	{"strict", no_argument, NULL, 'x'},
	{"remount", no_argument, NULL, 'm'},
	{"caches", no_argument, NULL, 'c'},
	{"preallocates", no_argument, NULL, 'a'},
	{"users", required_argument, NULL, 'u'},
	{0},
};

_Noreturn static void usage(const char *program)
{
	fprintf(stderr,
		"usage: %s DIR [--seed S] [--operations N] [--round N] [--seconds S] "
		"[--processes N] [--strict] [--remount] [--caches] [--preallocates] "
		"[--users UID,UID,GID]\n",
		program);
	exit(2);
}

static uint64_t number(const char *program, const char *text)
{
	char *end;
	errno = 0;
	uint64_t n = strtoull(text, &end, 0);
	if (errno || *end || end == text)
		usage(program);
	return n;
}

static void users(struct exercise_options *o, const char *text)
{
	char *end;
	o->uids[0] = (uid_t)strtoul(text, &end, 10);
	if (*end == ',')
		o->uids[1] = (uid_t)strtoul(end + 1, &end, 10);
	if (*end == ',')
		o->gid = (gid_t)strtoul(end + 1, &end, 10);
	if (*end || !o->uids[0] || !o->uids[1] || !o->gid)
		usage(o->program);
	o->users = true;
}

uid_t exercise_uid(const struct exercise_options *o, unsigned number)
{
	return o->users && number % 3 ? o->uids[number % 3 - 1] : 0;
}

/* For good. */
static void become(const struct exercise_options *o, unsigned number)
{
	uid_t uid = exercise_uid(o, number);
	if (uid == 0)
		return;
	if (syscall(SYS_setgroups, 0, NULL) < 0 ||
		syscall(SYS_setresgid, o->gid, o->gid, o->gid) < 0 ||
		syscall(SYS_setresuid, uid, uid, uid) < 0) {
		perror("cannot be another user");
		exit(2);
	}
	/* Its own /proc/self/fd is its own again. */
	prctl(PR_SET_DUMPABLE, 1);
}

void exercise_options(int argc, char **argv, struct exercise_options *ret)
{
	const char *slash = strrchr(argv[0], '/');
	struct exercise_options o = {.program = slash ? slash + 1 : argv[0],
		.operations = UINT64_MAX,
		.round = 20000,
		.processes = 4};
	int c;
	if (getrandom(&o.seed, sizeof(o.seed), 0) != sizeof(o.seed))
		o.seed = (uint64_t)time(NULL);
	o.seed >>= 32;
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		switch (c) {
		case 's':
			o.seed = number(o.program, optarg);
			break;
		case 'n':
			o.operations = number(o.program, optarg);
			break;
		case 'r':
			o.round = number(o.program, optarg);
			break;
		case 't':
			o.seconds = (double)number(o.program, optarg);
			break;
		case 'p':
			o.processes = (unsigned)number(o.program, optarg);
			break;
		case 'x':
			o.strict = true;
			break;
		case 'm':
			o.remount = true;
			break;
		case 'c':
			o.caches = true;
			break;
		case 'a':
			o.preallocates = true;
			break;
		case 'u':
			users(&o, optarg);
			break;
		default:
			usage(o.program);
		}
	if (optind != argc - 1 || !o.processes || o.processes > EXERCISE_PROCESSES_MAX || !o.round)
		usage(o.program);
	if (o.operations == UINT64_MAX && o.seconds <= 0)
		o.operations = 10000;
	o.dir = argv[optind];
	*ret = o;
}

void *exercise_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		perror("no memory for the model");
		exit(2);
	}
	return p;
}

void exercise_note(struct exercise_history *h, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(h->lines[h->count++ % EXERCISE_LINES], EXERCISE_LINE, format, args);
	va_end(args);
}

void exercise_note_more(struct exercise_history *h, const char *format, ...)
{
	char *line = h->lines[(h->count - 1) % EXERCISE_LINES];
	size_t len = strlen(line);
	va_list args;
	va_start(args, format);
	vsnprintf(line + len, EXERCISE_LINE - len, format, args);
	va_end(args);
}

/* Of all processes of one run; made before they are. */
static int *fail_first(void)
{
	static int *first;
	if (!first)
		first = exercise_shared(sizeof(*first));
	return first;
}

void exercise_fail(const struct exercise_options *o, const struct exercise_history *h,
	uint64_t story, const char *format, ...)
{
	va_list args;
	if (__atomic_exchange_n(fail_first(), 1, __ATOMIC_SEQ_CST)) {
		pause(); /* until this process is ended with the others */
		_exit(1);
	}
	uint64_t n = h->count < EXERCISE_LINES ? h->count : EXERCISE_LINES;
	for (uint64_t i = h->count - n; i < h->count; i++)
		printf("  %s\n", h->lines[i % EXERCISE_LINES]);
	printf("FOUND: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nseed %llu, after %llu operations of this story; again: %s DIR --seed %llu "
	       "--operations %llu --round %llu --processes %u%s%s%s%s",
		(unsigned long long)o->seed, (unsigned long long)story, o->program,
		(unsigned long long)o->seed, (unsigned long long)story,
		(unsigned long long)o->round, o->processes, o->strict ? " --strict" : "",
		o->caches ? " --caches" : "", o->remount ? " --remount" : "",
		o->preallocates ? " --preallocates" : "");
	if (o->users)
		printf(" --users %u,%u,%u", o->uids[0], o->uids[1], o->gid);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

double exercise_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void exercise_drop_caches(unsigned what)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	char digit = (char)('0' + what);
	/* Who may not, goes on without. */
	if (fd >= 0 && write(fd, &digit, 1) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

bool exercise_remount(void)
{
	char c;
	ssize_t n;
	printf("remount\n");
	fflush(stdout);
	while ((n = read(STDIN_FILENO, &c, 1)) == 1)
		if (c == '\n')
			return true;
	return false;
}

struct workers {
	pid_t pids[EXERCISE_PROCESSES_MAX];
	unsigned count;
};

/* What the leader's handler of SIGCHLD needs. */
static struct workers workers;

/* A worker that fails ends the run, whatever the others wait for. */
static void on_child(int signal)
{
	int status, errno_before = errno;
	pid_t pid;
	(void)signal;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned i = 0; i < workers.count; i++)
			if (workers.pids[i] == pid)
				workers.pids[i] = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		if (WIFSIGNALED(status))
			dprintf(STDOUT_FILENO, "a process ended with signal %d\n",
				WTERMSIG(status));
		for (unsigned i = 0; i < workers.count; i++)
			if (workers.pids[i] > 0)
				kill(workers.pids[i], SIGKILL);
		_exit(1);
	}
	errno = errno_before;
}

void exercise_run(const struct exercise_options *o, void (*work)(unsigned number, void *context),
	void (*lead)(void *context), void *context)
{
	struct sigaction act = {.sa_handler = on_child, .sa_flags = SA_RESTART};
	sigset_t child, before;
	pid_t self = getpid();
	(void)fail_first();
	fflush(stdout);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &before);
	sigaction(SIGCHLD, &act, NULL);
	for (unsigned i = 0; i < o->processes; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			signal(SIGCHLD, SIG_DFL);
			sigprocmask(SIG_SETMASK, &before, NULL);
			become(o, i);
			/* A change of user would undo it. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == self)
				work(i, context);
			fflush(stdout);
			_exit(0);
		}
		if (pid < 0) {
			perror("fork");
			exit(2);
		}
		workers.pids[workers.count++] = pid;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	lead(context);
	for (;;) {
		bool left = false;
		sigprocmask(SIG_BLOCK, &child, NULL);
		for (unsigned i = 0; i < workers.count; i++)
			left |= workers.pids[i] > 0;
		if (!left)
			break;
		sigsuspend(&before);
		sigprocmask(SIG_SETMASK, &before, NULL);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
}
