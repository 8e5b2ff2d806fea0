/* utimensat, futimens and their kin: who may set what, which values survive. */
#include "tests/posix/suite.h"

#include <sys/time.h>
#include <utime.h>

static const enum kind kinds[] = {REG, FOLDER, LINK, FIFO, SOCKET};

/* utimensat(2), "Permissions requirements". */
static void who_may(void)
{
	static const struct {
		const char *name;
		long a, m;
	} cases[] = {{"NULL", 0, 0}, {"both now", UTIME_NOW, UTIME_NOW},
		{"both omitted", UTIME_OMIT, UTIME_OMIT},
		{"now and omitted", UTIME_NOW, UTIME_OMIT},
		{"omitted and now", UTIME_OMIT, UTIME_NOW}, {"now and a time", UTIME_NOW, 5},
		{"a time and now", 5, UTIME_NOW}, {"omitted and a time", UTIME_OMIT, 5},
		{"a time and omitted", 5, UTIME_OMIT}, {"two times", 5, 6}};
	static const struct {
		const char *name;
		enum who who;
		mode_t mode;
	} callers[] = {{"as root", ROOT, 0}, {"as the owner", ANN, 0},
		{"as one who may write", BEN, 0666}, {"as one who may not", BEN, 0644}};
	for (size_t k = 0; k < COUNT(kinds); k++)
		for (size_t w = 0; w < COUNT(callers); w++)
			for (size_t i = 0; i < COUNT(cases); i++) {
				const char *n = str("%s, %s, %s", kind_name[kinds[k]],
					cases[i].name, callers[w].name);
				/* A symlink has no mode that would keep anybody from writing. */
				if (kinds[k] == LINK && w == 3)
					continue;
				fresh(0777);
				make_for(kinds[k], "n", callers[w].mode, ANN_ID, ANN_ID);
				const struct timespec past[2] = {{1000, 1}, {2000, 2}};
				must(utimensat(AT_FDCWD, "n", past, AT_SYMLINK_NOFOLLOW), "sets");
				be(callers[w].who);
				struct stat before = look("n"), now;
				const struct timespec ts[2] = {
					{3000, cases[i].a}, {4000, cases[i].m}};
				tick();
				int r = utimensat(
					AT_FDCWD, "n", i ? ts : NULL, AT_SYMLINK_NOFOLLOW);
				const char *want = w < 2 || i == 2    ? "ok"
						   : i > 2            ? "EPERM"
						   : w == 2 || i == 2 ? "ok"
								      : "EACCES";
				say(want, answer(r), "utimensat: %s", n);
				now = look("n");
				bool done = strcmp(want, "ok") == 0 && i != 2;
				say(!done ? "---"
					  : str("%c%cc", cases[i].a == UTIME_OMIT ? '-' : 'a',
						    cases[i].m == UTIME_OMIT ? '-' : 'm'),
					advanced(&before, &now), "utimensat: times: %s", n);
				/* What was set is there to the nanosecond. */
				if (done && cases[i].a == 5)
					say("3000.5",
						str("%ld.%ld", (long)now.st_atim.tv_sec,
							now.st_atim.tv_nsec),
						"utimensat: atime: %s", n);
				if (done && (cases[i].m == 5 || cases[i].m == 6))
					say(str("4000.%ld", cases[i].m),
						str("%ld.%ld", (long)now.st_mtim.tv_sec,
							now.st_mtim.tv_nsec),
						"utimensat: mtime: %s", n);
			}
}

static void values(void)
{
	static const struct {
		long s, n;
	} list[] = {{0, 0}, {0, 1}, {1, 999999999}, {-1, 0}, {-1, 999999999}, {-2147483648, 0},
		{2147483647, 999999999}, {2147483648, 0}, {4294967295, 1}, {4294967296, 1},
		{8589934592, 123456789}, {10000000000, 5}, {15032385534, 7},
		{1700000000, 999999999}};
	for (size_t k = 0; k < COUNT(kinds); k++) {
		fresh(0777);
		be(ANN);
		make(kinds[k], "n", 0600);
		for (size_t i = 0; i < COUNT(list); i++) {
			size_t o = COUNT(list) - 1 - i;
			const struct timespec ts[2] = {
				{list[i].s, list[i].n}, {list[o].s, list[o].n}};
			int r = utimensat(AT_FDCWD, "n", ts, AT_SYMLINK_NOFOLLOW);
			struct stat st = look("n");
			say(str("%ld.%09ld %ld.%09ld", list[i].s, list[i].n, list[o].s, list[o].n),
				r < 0 ? answer(r)
				      : str("%ld.%09ld %ld.%09ld", (long)st.st_atim.tv_sec,
						st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec,
						st.st_mtim.tv_nsec),
				"utimensat: %ld.%09ld and %ld.%09ld, %s", list[i].s, list[i].n,
				list[o].s, list[o].n, kind_name[kinds[k]]);
		}
		static const long wrong[] = {-1, 1000000000, 1000000001, 2147483647};
		for (size_t i = 0; i < COUNT(wrong); i++)
			for (int m = 0; m < 2; m++) {
				const struct timespec ts[2] = {
					{1, m ? 1 : wrong[i]}, {1, m ? wrong[i] : 1}};
				say("EINVAL",
					answer(utimensat(AT_FDCWD, "n", ts, AT_SYMLINK_NOFOLLOW)),
					"utimensat: %ld nanoseconds of %s, %s", wrong[i],
					m ? "mtime" : "atime", kind_name[kinds[k]]);
			}
	}
}

/* Times that were set stay when the file is read, written elsewhere, closed, renamed, linked. */
static void they_stay(enum who who)
{
	const char *as = who_name[who];
	const struct timespec ts[2] = {{1111111111, 111}, {1222222222, 222}};
	struct stat st;
	fresh(0777);
	be(who);
#define TIMES                                                                                      \
	str("%ld.%ld %ld.%ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec,                        \
		(long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec)
#define SET "1111111111.111 1222222222.222"
	int fd = open("f", O_RDWR | O_CREAT, 0600);
	must(write(fd, "some bytes", 10), "writes");
	must(futimens(fd, ts), "sets");
	must(fstat(fd, &st), "asks");
	say(SET, TIMES, "futimens: after a write, as %s", as);
	must(fsync(fd), "syncs");
	must(fstat(fd, &st), "asks");
	say(SET, TIMES, "futimens: after a write and fsync, as %s", as);
	close(fd);
	st = look("f");
	say(SET, TIMES, "futimens: after a write and close, as %s", as);
	must(rename("f", "g"), "renames");
	st = look("g");
	say(SET, TIMES, "futimens: after rename, as %s", as);
	must(link("g", "h"), "links");
	st = look("h");
	say(SET, TIMES, "futimens: after link, as %s", as);
	must(chmod("h", 0640), "sets the mode");
	st = look("h");
	say(SET, TIMES, "futimens: after chmod, as %s", as);
	fd = open("h", O_WRONLY);
	tick();
	struct stat before = st;
	must(pwrite(fd, "x", 1, 3), "writes");
	must(fstat(fd, &st), "asks");
	say("mc", advanced(&before, &st) + 1, "write: after futimens, as %s", as);
	before = st;
	close(fd);
	st = look("h");
	say("---", advanced(&before, &st), "close: after write, as %s", as);
	fd = open("h", O_RDWR);
	must(fchmod(fd, 0600), "sets the mode");
	must(futimens(fd, ts), "sets");
	must(ftruncate(fd, 100), "cuts");
	must(fstat(fd, &st), "asks");
	say("now", st.st_mtim.tv_sec > 1222222222 ? "now" : "as it was set",
		"ftruncate: after futimens, as %s", as);
	close(fd);
	must(symlink("t", "l"), "links");
	must(utimensat(AT_FDCWD, "l", ts, AT_SYMLINK_NOFOLLOW), "sets");
	st = look("l");
	say(SET, TIMES, "utimensat: of a symlink, as %s", as);
	must(rename("l", "m"), "renames");
	st = look("m");
	say("1222222222.222", str("%ld.%ld", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
		"utimensat: mtime of a symlink after rename, as %s", as);
	make(FOLDER, "d", 0700);
	must(utimensat(AT_FDCWD, "d", ts, 0), "sets");
	st = look("d");
	say(SET, TIMES, "utimensat: of a directory, as %s", as);
	must(rename("d", "e"), "renames");
	st = look("e");
	say(SET, TIMES, "utimensat: of a directory after rename, as %s", as);
	before = st;
	tick();
	put("e/new", "", 0, 0600);
	st = look("e");
	say("-mc", advanced(&before, &st), "open: O_CREAT after utimensat of the directory, as %s",
		as);
	before = st;
	tick();
	put("e/new", "bytes", 5, 0600);
	must(chmod("e/new", 0640), "sets the mode");
	st = look("e");
	say("---", advanced(&before, &st), "write: leaves the directory's times, as %s", as);
#undef TIMES
#undef SET
}

static void kin(void)
{
	fresh(0777);
	be(ANN);
	put("f", "bytes", 5, 0600);
	must(symlink("f", "l"), "links");
	struct stat st;
	say("ok", answer(utime("f", &(struct utimbuf){100, 200})), "utime: two times");
	st = look("f");
	say("100.0 200.0",
		str("%ld.%ld %ld.%ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
			(long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
		"utime: the times then");
	say("ok", answer(utimes("l", (struct timeval[2]){{300, 4}, {500, 6}})),
		"utimes: through a symlink");
	st = look("f");
	say("300.4000 500.6000",
		str("%ld.%ld %ld.%ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
			(long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
		"utimes: the file's times then");
	say("ok", answer(lutimes("l", (struct timeval[2]){{700, 8}, {900, 10}})),
		"lutimes: a symlink");
	st = look("l");
	say("900.10000", str("%ld.%ld", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
		"lutimes: the symlink's mtime then");
	st = look("f");
	say("500.6000", str("%ld.%ld", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
		"lutimes: the file's mtime then");
	say("EINVAL", answer(utimes("f", (struct timeval[2]){{1, 1000000}, {1, 1}})),
		"utimes: a million microseconds");
	say("EINVAL", answer(utimensat(AT_FDCWD, "f", NULL, 0x8)), "utimensat: a wrong flag");
	say("EBADF", answer(futimens(9999, NULL)), "futimens: a closed descriptor");
	int fd = open("f", O_RDONLY);
	say("ok", answer(futimens(fd, NULL)), "futimens: open for reading");
	close(fd);
	fd = open("f", O_PATH);
	say("EBADF", answer(futimens(fd, NULL)), "futimens: O_PATH");
	say("ok", answer(utimensat(fd, "", NULL, AT_EMPTY_PATH)), "utimensat: AT_EMPTY_PATH");
	close(fd);
}

void times_run(void)
{
	group("times");
	who_may();
	values();
	for (enum who who = ROOT; who < USERS; who++)
		they_stay(who);
	kin();
}
