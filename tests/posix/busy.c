/* Mount points, other filesystems, running programs: EBUSY, EXDEV, ETXTBSY. */
#include "tests/posix/suite.h"

#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static void mount_points(void)
{
	be(ROOT);
	make(FOLDER, "m", 0777);
	make(FOLDER, "other", 0777);
	put("file", "bytes", 5, 0666);
	put("covered", "", 0, 0666);
	must(mount("none", "m", "tmpfs", 0, "size=64k,mode=0777"), "mounts");
	must(mount("file", "covered", NULL, MS_BIND, NULL), "mounts a file");
	must(mount(".", "other", NULL, MS_BIND, NULL), "mounts a directory");
	for (enum who who = ROOT; who <= ANN; who++) {
		const char *as = who_name[who];
		be(who);
		say("EBUSY", answer(rmdir("m")), "rmdir: a mount point, as %s", as);
		say("EBUSY", answer(rename("m", "n")), "rename: a mount point, as %s", as);
		say("EBUSY", answer(rename("other", "m")), "rename: a mount point over one, as %s",
			as);
		say("EBUSY", answer(unlink("covered")), "unlink: a file that is mounted on, as %s",
			as);
		say("EBUSY", answer(rename("covered", "n")),
			"rename: a file that is mounted on, as %s", as);
		say("EBUSY", answer(rename("file", "covered")),
			"rename: over a file that is mounted on, as %s", as);
		say("EXDEV", answer(rename("file", "m/file")),
			"rename: to another filesystem, as %s", as);
		say("EXDEV", answer(link("file", "m/file")), "link: to another filesystem, as %s",
			as);
		say("EXDEV",
			answer(renameat2(AT_FDCWD, "file", AT_FDCWD, "m/file", RENAME_NOREPLACE)),
			"renameat2: RENAME_NOREPLACE to another filesystem, as %s", as);
		say("EXDEV", answer(rename("file", "other/moved")),
			"rename: by another mount of the same, as %s", as);
		say("EXDEV", answer(link("file", "other/linked")),
			"link: by another mount of the same, as %s", as);
		struct stat a = look("file"), b = look("other/file");
		say("one", a.st_ino == b.st_ino && a.st_dev == b.st_dev ? "one" : "two",
			"lstat: by another mount of the same, as %s", as);
		say("ok", opened(open("other/file", O_RDWR)),
			"open: by another mount of the same, as %s", as);
	}
	be(ROOT);
	must(mount("none", "other", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "remounts");
	for (enum who who = ROOT; who <= ANN; who++) {
		const char *as = who_name[who];
		be(who);
		say("EROFS", opened(open("other/file", O_RDWR)),
			"open: by a read-only mount, as %s", as);
		say("EROFS", answer(chmod("other/file", 0600)),
			"chmod: by a read-only mount, as %s", as);
		say("EROFS", answer(unlink("other/file")), "unlink: by a read-only mount, as %s",
			as);
		say("EROFS", answer(mkdir("other/d", 0700)), "mkdir: by a read-only mount, as %s",
			as);
		say("EROFS", answer(truncate("other/file", 0)),
			"truncate: by a read-only mount, as %s", as);
		say("EROFS", answer(setxattr("other/file", "user.a", "b", 1, 0)),
			"setxattr: by a read-only mount, as %s", as);
		say("EROFS", answer(utimensat(AT_FDCWD, "other/file", NULL, 0)),
			"utimensat: by a read-only mount, as %s", as);
		say("ok", opened(open("file", O_RDWR)), "open: by the other mount, as %s", as);
	}
	be(ROOT);
	must(umount("m"), "unmounts");
	must(umount("covered"), "unmounts");
	must(umount("other"), "unmounts");
	say("ok", answer(rmdir("m")), "rmdir: no mount point any more");
}

static void copy_program(const char *path, mode_t mode)
{
	static char b[65536];
	int from = open("/proc/self/exe", O_RDONLY),
	    to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
	ssize_t n;
	must(from, "opens the program");
	must(to, "copies the program");
	while ((n = read(from, b, sizeof(b))) > 0)
		must(write(to, b, (size_t)n) == n ? 0 : -1, "copies the program");
	must(fchmod(to, mode), "sets the mode");
	close(from);
	close(to);
}

/* Starts path, which waits for its standard input to end; the write end of that, or -1 with errno.
 */
static int start(const char *path, pid_t *ret)
{
	int input[2], failure[2], error = 0;
	must(pipe(input), "makes a pipe");
	must(pipe2(failure, O_CLOEXEC), "makes a pipe");
	must(fcntl(input[1], F_SETFD, FD_CLOEXEC), "sets a flag");
	fflush(stdout);
	*ret = fork();
	must(*ret, "forks");
	if (*ret == 0) {
		dup2(input[0], 0);
		execl(path, path, "--wait", NULL);
		error = errno;
		_exit(write(failure[1], &error, sizeof(error)) < 0);
	}
	close(failure[1]);
	close(input[0]);
	ssize_t n = read(failure[0], &error, sizeof(error));
	close(failure[0]);
	if (n == 0)
		return input[1];
	close(input[1]);
	must(waitpid(*ret, NULL, 0), "waits");
	errno = error;
	return -1;
}

static const char *started(const char *path)
{
	pid_t child;
	int status, fd = start(path, &child);
	if (fd < 0)
		return answer(-1);
	close(fd);
	must(waitpid(child, &status, 0), "waits");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "ok" : "failed";
}

static void programs(void)
{
	fresh(0777);
	be(ANN);
	copy_program("prog", 0755);
	pid_t child;
	int fd = start("./prog", &child);
	say("ok", answer(fd), "execve: a program");
	for (enum who who = ROOT; who <= ANN; who++) {
		const char *as = who_name[who];
		be(who);
		say("ETXTBSY", opened(open("prog", O_WRONLY)),
			"open: O_WRONLY of a running program, as %s", as);
		say("ETXTBSY", opened(open("prog", O_RDWR)),
			"open: O_RDWR of a running program, as %s", as);
		say("ETXTBSY", opened(open("prog", O_WRONLY | O_TRUNC)),
			"open: O_TRUNC of a running program, as %s", as);
		say("ETXTBSY", answer(truncate("prog", 0)), "truncate: a running program, as %s",
			as);
		say("ok", opened(open("prog", O_RDONLY)),
			"open: O_RDONLY of a running program, as %s", as);
		say("ok", answer(chmod("prog", 0755)), "chmod: a running program, as %s", as);
		say("ok", answer(utimensat(AT_FDCWD, "prog", NULL, 0)),
			"utimensat: a running program, as %s", as);
	}
	say("ok", answer(rename("prog", "old")), "rename: a running program");
	copy_program("new", 0755);
	say("ok", answer(rename("new", "old")), "rename: over a running program");
	say("ok", answer(unlink("old")), "unlink: what replaced a running program");
	must(fd, "has started");
	close(fd);
	int status;
	must(waitpid(child, &status, 0), "waits");
	say("ended well", WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "ended well" : "failed",
		"execve: the program without a name");
	/* And the other way round. */
	copy_program("prog", 0755);
	fd = open("prog", O_WRONLY);
	say("ETXTBSY", started("./prog"), "execve: open for writing");
	close(fd);
	say("ok", started("./prog"), "execve: not any more");
	/* Execute permission, by class. */
	static const struct {
		mode_t mode;
		const char *want[USERS]; /* the file is Ann's */
	} modes[] = {{0700, {"ok", "ok", "EACCES"}}, {0655, {"ok", "EACCES", "ok"}},
		{0644, {"EACCES", "EACCES", "EACCES"}}, {0711, {"ok", "ok", "ok"}},
		{0100, {"ok", "ok", "EACCES"}}, {0001, {"ok", "EACCES", "ok"}}};
	for (size_t i = 0; i < COUNT(modes); i++)
		for (enum who who = ROOT; who < USERS; who++) {
			be(ANN);
			must(chmod("prog", modes[i].mode), "sets the mode");
			be(who);
			say(modes[i].want[who], started("./prog"),
				"execve: ann's program of mode %04o, as %s", modes[i].mode,
				who_name[who]);
		}
	be(ANN);
	put("text", "not a program", 13, 0755);
	put("empty", "", 0, 0755);
	put("script", "#!/nonexistent/interpreter\n", 27, 0755);
	make(FOLDER, "d", 0755);
	make(FIFO, "p", 0755);
	say("ENOEXEC", started("./text"), "execve: a text");
	say("ENOEXEC", started("./empty"), "execve: an empty file");
	say("ENOENT", started("./script"), "execve: a script without its interpreter");
	say("EACCES", started("./d"), "execve: a directory");
	say("EACCES", started("./p"), "execve: a fifo");
}

void busy_run(void)
{
	group("busy");
	mount_points();
	programs();
}
