/* Limits of a process, and calls that a signal ends. */
#include "tests/posix/suite.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Without a descriptor left nothing is opened, and nothing made. */
static const char *descriptors(const void *flags)
{
	const struct rlimit none = {3, 3};
	if (setrlimit(RLIMIT_NOFILE, &none) < 0)
		return "cannot";
	return answer(open("made", *(const int *)flags, 0644));
}

static void too_many(enum who who)
{
	static const struct {
		const char *name;
		int flags;
	} list[] = {{"O_RDONLY", O_RDONLY}, {"O_CREAT", O_WRONLY | O_CREAT},
		{"O_CREAT|O_EXCL", O_RDWR | O_CREAT | O_EXCL}, {"O_PATH", O_PATH}};
	const char *as = who_name[who];
	for (size_t i = 0; i < COUNT(list); i++) {
		fresh(0777);
		be(who);
		say("EMFILE", in_child(descriptors, &list[i].flags),
			"open: %s without a descriptor left, as %s", list[i].name, as);
		say("ENOENT", what("made"),
			"open: %s without a descriptor left: left behind, as %s", list[i].name, as);
	}
}

static void wake(int signal)
{
	(void)signal;
}

/* The call is ended by the second signal at the latest: the first may come before it waits. */
static void alarm_soon(void)
{
	const struct sigaction act = {.sa_handler = wake};
	const struct itimerval soon = {{0, 50000}, {0, 20000}};
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
}

enum wait { FIFO_READER, FIFO_WRITER, FIFO_READ, SETLKW, OFD_SETLKW, FLOCK, WAITS };
static const char *const wait_name[WAITS] = {"open: a fifo to read", "open: a fifo to write",
	"read: an empty fifo", "fcntl: F_SETLKW", "fcntl: F_OFD_SETLKW", "flock: LOCK_EX"};

static const char *waited(const void *argument)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char c;
	int fd = -1;
	enum wait wait = *(const enum wait *)argument;
	if (wait == FIFO_READ)
		fd = open("fifo", O_RDWR);
	else if (wait > FIFO_READ)
		fd = open("file", O_RDWR);
	alarm_soon();
	switch (wait) {
	case FIFO_READER:
		return answer(open("fifo", O_RDONLY));
	case FIFO_WRITER:
		return answer(open("fifo", O_WRONLY));
	case FIFO_READ:
		return answer(read(fd, &c, 1));
	case SETLKW:
		return answer(fcntl(fd, F_SETLKW, &all));
	case OFD_SETLKW:
		return answer(fcntl(fd, F_OFD_SETLKW, &all));
	default:
		return answer(flock(fd, LOCK_EX));
	}
}

static void interrupted(enum who who)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	fresh(0777);
	be(who);
	make(FIFO, "fifo", 0600);
	put("file", "bytes", 5, 0600);
	int fd = open("file", O_RDWR);
	for (enum wait wait = 0; wait < WAITS; wait++) {
		if (wait == SETLKW || wait == OFD_SETLKW)
			must(fcntl(fd, F_SETLK, &all), "locks");
		else if (wait == FLOCK)
			must(flock(fd, LOCK_EX), "locks");
		say("EINTR", in_child(waited, &wait), "%s, and a signal comes, as %s",
			wait_name[wait], who_name[who]);
		say("0600", mode_of("file"), "%s, and a signal came: the mode, as %s",
			wait_name[wait], who_name[who]);
	}
	close(fd);
}

/* XATTR_SIZE_MAX; RLIMIT_FSIZE is open.c's. */
static void large_values(enum who who)
{
	static const size_t sizes[] = {65537, 70000, 1 << 20};
	static char bytes[1 << 20];
	fresh(0777);
	be(who);
	put("file", "bytes", 5, 0600);
	must(setxattr("file", "user.a", "old", 3, 0), "sets");
	for (size_t i = 0; i < COUNT(sizes); i++) {
		say("E2BIG", answer(setxattr("file", "user.a", bytes, sizes[i], 0)),
			"setxattr: a value of %zu bytes, as %s", sizes[i], who_name[who]);
		say("3", str("%zd", getxattr("file", "user.a", bytes, 16)),
			"getxattr: after a value of %zu bytes, as %s", sizes[i], who_name[who]);
	}
}

void limits_run(void)
{
	group("limits");
	for (enum who who = ROOT; who < USERS; who++) {
		too_many(who);
		interrupted(who);
		large_values(who);
	}
}
