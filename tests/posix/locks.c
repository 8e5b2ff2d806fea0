/* Locks: of processes, of open files, flock and leases: what excludes what, and when they go. */
#include "tests/posix/suite.h"

#include <stdint.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <signal.h>

enum way { POSIX, OFD, WAYS };
static const char *const way_name[WAYS] = {"fcntl", "OFD fcntl"};
static const char *const type_name[] = {"read", "write", "none"};
static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};

static int lock(int fd, enum way way, short type, off_t start, off_t length)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	return fcntl(fd, way == OFD ? F_OFD_SETLK : F_SETLK, &l);
}

/* Who stands in the way: "read 10+20", or "free". */
static const char *asked(int fd, enum way way, short type, off_t start, off_t length)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	if (fcntl(fd, way == OFD ? F_OFD_GETLK : F_GETLK, &l) < 0)
		return strerrorname_np(errno);
	if (l.l_type == F_UNLCK)
		return "free";
	return str("%s %ld+%ld", l.l_type == F_RDLCK ? "read" : "write", (long)l.l_start,
		(long)l.l_len);
}

/* What another process, another user with its own descriptor, is told. */
struct ask {
	enum way way;
	short type;
	off_t start, length;
	bool tries;
	enum who who;
};

static const char *other(const void *argument)
{
	const struct ask *a = argument;
	be(a->who);
	int fd = open("f", O_RDWR);
	if (fd < 0)
		return strerrorname_np(errno);
	return a->tries ? answer(lock(fd, a->way, a->type, a->start, a->length))
			: asked(fd, a->way, a->type, a->start, a->length);
}

static void ranges(enum who who)
{
	static const struct {
		const char *name;
		off_t start, length;
		bool meets;
	} list[] = {{"before", 0, 50, false}, {"up to", 50, 50, false},
		{"into the start of", 50, 51, true}, {"the same as", 100, 100, true},
		{"inside", 120, 10, true}, {"around", 0, 500, true},
		{"the last byte of", 199, 1, true}, {"behind", 200, 1, false},
		{"to the end of the file from before", 10, 0, true},
		{"to the end of the file from behind", 200, 0, false}};
	fresh(0777);
	be(who);
	put("f", "bytes", 5, 0666);
	for (enum way held_by = POSIX; held_by < WAYS; held_by++)
		for (int held = 0; held < 2; held++) {
			int fd = open("f", O_RDWR);
			must(lock(fd, held_by, types[held], 100, 100), "locks");
			for (enum way way = POSIX; way < WAYS; way++)
				for (int want = 0; want < 2; want++)
					for (size_t i = 0; i < COUNT(list); i++) {
						bool meets =
							list[i].meets && (held == 1 || want == 1);
						const char *n = str(
							"%s lock %s a %s lock by %s, held by %s",
							type_name[want], list[i].name,
							type_name[held], way_name[held_by],
							who_name[who]);
						struct ask a = {way, types[want], list[i].start,
							list[i].length, false, BEN};
						say(meets ? str("%s 100+100", type_name[held])
							  : "free",
							in_child(other, &a), "F_GETLK: %s: %s",
							way_name[way], n);
						a.tries = true;
						say(meets ? "EAGAIN|EACCES" : "ok",
							in_child(other, &a), "F_SETLK: %s: %s",
							way_name[way], n);
					}
			close(fd);
		}
}

/* Splitting, joining and changing of one's own locks, as another sees it: the first lock from 0. */
static void shapes(void)
{
	static const struct {
		const char *name;
		struct {
			int type;
			off_t start, length;
		} steps[3];
		const char *first, *from_150;
	} list[] = {
		{"one", {{1, 100, 100}}, "write 100+100", "write 100+100"},
		{"a hole in it", {{1, 100, 100}, {2, 140, 20}}, "write 100+40", "write 160+40"},
		{"its start off", {{1, 100, 100}, {2, 50, 100}}, "write 150+50", "write 150+50"},
		{"its end off", {{1, 100, 100}, {2, 150, 100}}, "write 100+50", "free"},
		{"a part read", {{1, 100, 100}, {0, 150, 50}}, "write 100+50", "read 150+50"},
		{"two that touch", {{1, 100, 50}, {1, 150, 50}}, "write 100+100", "write 100+100"},
		{"two that overlap", {{0, 100, 60}, {0, 140, 60}}, "read 100+100", "read 100+100"},
		{"three that join", {{1, 100, 20}, {1, 180, 20}, {1, 120, 60}}, "write 100+100",
			"write 100+100"},
		{"raised", {{0, 100, 100}, {1, 100, 100}}, "write 100+100", "write 100+100"},
		{"lowered", {{1, 100, 100}, {0, 100, 100}}, "read 100+100", "read 100+100"},
		{"all off", {{1, 100, 100}, {2, 0, 0}}, "free", "free"},
		{"to the end", {{1, 100, 0}}, "write 100+0", "write 100+0"},
		{"to the end and cut", {{1, 100, 0}, {2, 200, 0}}, "write 100+100",
			"write 100+100"},
	};
	fresh(0777);
	be(ANN);
	put("f", "bytes", 5, 0666);
	for (enum way way = POSIX; way < WAYS; way++)
		for (size_t i = 0; i < COUNT(list); i++) {
			int fd = open("f", O_RDWR);
			for (size_t s = 0; s < 3 && (s == 0 || list[i].steps[s].length ||
							    list[i].steps[s].type == 2);
				s++) {
				int type = list[i].steps[s].type;
				if (s && type == 0 && list[i].steps[s].length == 0)
					break;
				if (s == 2 && type == 2 && !list[i].steps[s].length &&
					!list[i].steps[s].start)
					break;
				must(lock(fd, way, types[type], list[i].steps[s].start,
					     list[i].steps[s].length),
					"locks");
			}
			struct ask a = {way, F_WRLCK, 0, 0, false, BEN};
			say(list[i].first, in_child(other, &a), "F_GETLK: %s: %s, from 0",
				way_name[way], list[i].name);
			a.start = 150;
			say(list[i].from_150, in_child(other, &a), "F_GETLK: %s: %s, from 150",
				way_name[way], list[i].name);
			close(fd);
			a.start = 0;
			say("free", in_child(other, &a), "F_GETLK: %s: %s, after close",
				way_name[way], list[i].name);
		}
}

static const char *flock_in_child(const void *argument)
{
	int fd = open("f", O_RDONLY);
	return answer(flock(fd, *(const int *)argument));
}

static void whole_files(void)
{
	static const struct {
		const char *name;
		int kind;
	} list[] = {{"shared", LOCK_SH}, {"exclusive", LOCK_EX}};
	for (enum who who = ROOT; who < USERS; who++) {
		fresh(0777);
		be(who);
		put("f", "bytes", 5, 0666);
		for (size_t held = 0; held < 2; held++)
			for (size_t want = 0; want < 2; want++) {
				const char *n = str("%s beside %s, as %s", list[want].name,
					list[held].name, who_name[who]);
				int fd = open("f", O_RDONLY), again = open("f", O_RDONLY),
				    copy = dup(fd);
				int kind = list[want].kind | LOCK_NB;
				const char *no = held == 0 && want == 0 ? "ok" : "EAGAIN";
				must(flock(fd, list[held].kind), "locks");
				say(no, in_child(flock_in_child, &kind),
					"flock: another process: %s", n);
				say(no, answer(flock(again, kind)), "flock: another open file: %s",
					n);
				must(flock(again, LOCK_UN), "unlocks");
				say("ok", answer(flock(copy, kind)),
					"flock: a copy of the descriptor: %s", n);
				/* It is the open file's, not the descriptor's nor the process's. */
				close(fd);
				const char *then = list[want].kind == LOCK_EX ? "EAGAIN" : "ok";
				kind = LOCK_SH | LOCK_NB;
				say(then, in_child(flock_in_child, &kind),
					"flock: while a copy is open: %s", n);
				close(copy);
				kind = LOCK_EX | LOCK_NB;
				say("ok", in_child(flock_in_child, &kind),
					"flock: when all are closed: %s", n);
				/* Of no concern to fcntl's locks. */
				must(flock(again, LOCK_EX), "locks");
				struct ask a = {POSIX, F_WRLCK, 0, 0, true, who};
				say("ok", in_child(other, &a), "F_SETLK: beside flock: %s", n);
				close(again);
			}
	}
}

static const char *closes(const void *argument)
{
	(void)argument;
	close(open("f", O_RDONLY));
	return "done";
}

static void ends(void)
{
	fresh(0777);
	be(ANN);
	put("f", "bytes", 5, 0666);
	for (enum way way = POSIX; way < WAYS; way++) {
		struct ask a = {way, F_WRLCK, 0, 0, false, BEN};
		int fd = open("f", O_RDWR);
		must(lock(fd, way, F_WRLCK, 0, 0), "locks");
		say("write 0+0", in_child(other, &a), "F_GETLK: %s: all of it", way_name[way]);
		say("done", in_child(closes, NULL), "close: %s: by another process", way_name[way]);
		say("write 0+0", in_child(other, &a),
			"F_GETLK: %s: after a close by another process", way_name[way]);
		/* The first close of any descriptor of the file lets go of a process's locks. */
		close(open("f", O_RDONLY));
		say(way == POSIX ? "free" : "write 0+0", in_child(other, &a),
			"F_GETLK: %s: after another descriptor was closed", way_name[way]);
		must(lock(fd, way, F_WRLCK, 0, 0), "locks");
		int copy = dup(fd);
		close(fd);
		say(way == POSIX ? "free" : "write 0+0", in_child(other, &a),
			"F_GETLK: %s: after one of two copies was closed", way_name[way]);
		close(copy);
		say("free", in_child(other, &a), "F_GETLK: %s: after both were", way_name[way]);
		/* A lock stays with the file whatever its name is. */
		fd = open("f", O_RDWR);
		must(lock(fd, way, F_WRLCK, 0, 0), "locks");
		must(rename("f", "g"), "renames");
		must(link("g", "f"), "links");
		say("write 0+0", in_child(other, &a), "F_GETLK: %s: by another name",
			way_name[way]);
		must(unlink("g"), "removes");
		must(ftruncate(fd, 0), "cuts");
		say("write 0+0", in_child(other, &a), "F_GETLK: %s: after ftruncate",
			way_name[way]);
		/* Nothing is enforced. */
		be(BEN);
		int theirs = open("f", O_RDWR);
		say("1", str("%zd", write(theirs, "x", 1)), "write: %s: to what another has locked",
			way_name[way]);
		close(theirs);
		be(ANN);
		close(fd);
	}
}

static void refused(void)
{
	fresh(0777);
	be(ANN);
	put("f", "bytes", 5, 0666);
	make(FOLDER, "d", 0700);
	make(FIFO, "p", 0600);
	int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY), rw = open("f", O_RDWR),
	    folder = open("d", O_RDONLY), path = open("f", O_PATH),
	    fifo = open("p", O_RDWR | O_NONBLOCK);
	for (enum way way = POSIX; way < WAYS; way++) {
		const char *n = way_name[way];
		say("EBADF", answer(lock(ro, way, F_WRLCK, 0, 0)),
			"F_SETLK: %s: write lock, open for reading", n);
		say("ok", answer(lock(ro, way, F_RDLCK, 0, 0)),
			"F_SETLK: %s: read lock, open for reading", n);
		must(lock(ro, way, F_UNLCK, 0, 0), "unlocks");
		say("EBADF", answer(lock(wo, way, F_RDLCK, 0, 0)),
			"F_SETLK: %s: read lock, open for writing", n);
		say("ok", answer(lock(wo, way, F_WRLCK, 0, 0)),
			"F_SETLK: %s: write lock, open for writing", n);
		must(lock(wo, way, F_UNLCK, 0, 0), "unlocks");
		say("EBADF", answer(lock(path, way, F_RDLCK, 0, 0)), "F_SETLK: %s: O_PATH", n);
		say("EBADF", answer(lock(9999, way, F_RDLCK, 0, 0)),
			"F_SETLK: %s: a closed descriptor", n);
		say("EINVAL", answer(lock(rw, way, F_RDLCK, -1, 1)), "F_SETLK: %s: from -1", n);
		say("EINVAL", answer(lock(rw, way, 77, 0, 1)), "F_SETLK: %s: a wrong type", n);
		say("EINVAL", answer(lock(rw, way, F_WRLCK, 5, -10)),
			"F_SETLK: %s: back beyond the start", n);
		say("ok", answer(lock(rw, way, F_WRLCK, 10, -10)), "F_SETLK: %s: back to the start",
			n);
		must(lock(rw, way, F_UNLCK, 0, 0), "unlocks");
		say("EOVERFLOW", answer(lock(rw, way, F_WRLCK, INT64_MAX, 2)),
			"F_SETLK: %s: beyond the last byte", n);
		say("ok", answer(lock(rw, way, F_WRLCK, INT64_MAX, 1)),
			"F_SETLK: %s: the last byte", n);
		must(lock(rw, way, F_UNLCK, 0, 0), "unlocks");
		say("EFAULT", answer(fcntl(rw, way == OFD ? F_OFD_SETLK : F_SETLK, (char *)1)),
			"F_SETLK: %s: a bad address", n);
		say("ok", answer(lock(folder, way, F_RDLCK, 0, 0)), "F_SETLK: %s: a directory", n);
		say("ok", answer(lock(fifo, way, F_WRLCK, 0, 0)), "F_SETLK: %s: a fifo", n);
		must(lock(folder, way, F_UNLCK, 0, 0), "unlocks");
		must(lock(fifo, way, F_UNLCK, 0, 0), "unlocks");
	}
	say("ok", answer(flock(folder, LOCK_EX)), "flock: a directory");
	say("ok", answer(flock(ro, LOCK_EX)), "flock: exclusive, open for reading");
	say("EINVAL", answer(flock(rw, 0x40)), "flock: a wrong word");
	say("EBADF", answer(flock(9999, LOCK_EX)), "flock: a closed descriptor");
	say("EBADF", answer(flock(path, LOCK_EX)), "flock: O_PATH");
	close(ro), close(wo), close(rw), close(folder), close(path), close(fifo);
}

/* Two that wait for each other: one is told. */
static void deadlock(void)
{
	fresh(0777);
	be(ANN);
	put("f", "bytes", 5, 0666);
	int fd = open("f", O_RDWR), ready[2];
	must(pipe(ready), "makes a pipe");
	must(lock(fd, POSIX, F_WRLCK, 0, 1), "locks");
	fflush(stdout);
	pid_t child = fork();
	must(child, "forks");
	struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1}, second = first;
	second.l_start = 1;
	if (child == 0) {
		int r = fcntl(fd, F_SETLK, &second);
		r = r < 0 || write(ready[1], "x", 1) < 1 ? -1 : fcntl(fd, F_SETLKW, &first);
		_exit(r == 0 ? 0 : errno == EDEADLK ? 1 : 2);
	}
	char c;
	must(read(ready[0], &c, 1), "waits");
	/* Whoever comes last is told, and that lets the other have it. */
	int r = fcntl(fd, F_SETLKW, &second), mine = r < 0 ? errno : 0, status;
	must(lock(fd, POSIX, F_UNLCK, 0, 0), "unlocks");
	must(waitpid(child, &status, 0), "waits");
	int theirs = WIFEXITED(status) ? WEXITSTATUS(status) : 3;
	say("one", (mine == EDEADLK) + (theirs == 1) == 1 ? "one" : "none or both",
		"F_SETLKW: each waits for the other: EDEADLK");
	say("got it", mine == 0 || theirs == 0 ? "got it" : "did not", "F_SETLKW: the other then");
	close(fd), close(ready[0]), close(ready[1]);
}

static const char *opens_beside(const void *flags)
{
	return opened(open("f", *(const int *)flags | O_NONBLOCK));
}

/* fcntl(2), "Leases": open(2) is EWOULDBLOCK until who has it gives it up. */
static void leases(enum who who)
{
	const int to_read = O_RDONLY, to_write = O_WRONLY;
	const char *as = who_name[who];
	fresh(0777);
	be(who);
	put("f", "bytes", 5, 0666);
	signal(SIGIO, SIG_IGN);
	int fd = open("f", O_RDONLY);
	say("ok", answer(fcntl(fd, F_SETLEASE, F_RDLCK)), "F_SETLEASE: to read, as %s", as);
	say("ok", in_child(opens_beside, &to_read), "open: to read beside a read lease, as %s", as);
	say("EAGAIN", in_child(opens_beside, &to_write),
		"open: to write beside a read lease, as %s", as);
	must(fcntl(fd, F_SETLEASE, F_UNLCK), "gives it up");
	say("ok", in_child(opens_beside, &to_write), "open: to write after a read lease, as %s",
		as);
	close(fd);
	fd = open("f", O_RDWR);
	say("ok", answer(fcntl(fd, F_SETLEASE, F_WRLCK)), "F_SETLEASE: to write, as %s", as);
	say("EAGAIN", in_child(opens_beside, &to_read), "open: to read beside a write lease, as %s",
		as);
	must(fcntl(fd, F_SETLEASE, F_UNLCK), "gives it up");
	close(fd);
	be(BEN);
	fd = open("f", O_RDONLY);
	say(who == BEN ? "ok" : "EACCES", answer(fcntl(fd, F_SETLEASE, F_RDLCK)),
		"F_SETLEASE: %s's file, as ben", as);
	close(fd);
	signal(SIGIO, SIG_DFL);
}

void locks_run(void)
{
	group("locks");
	ranges(ROOT);
	ranges(ANN);
	shapes();
	whole_files();
	ends();
	refused();
	deadlock();
	for (enum who who = ROOT; who < USERS; who++)
		leases(who);
}
