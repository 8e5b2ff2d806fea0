/* link, unlink, rmdir, symlink, readlink and the calls relative to a directory. */
#include "tests/posix/suite.h"

#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static bool protected(const char *what_for)
{
	char c = '0';
	int fd = open(str("/proc/sys/fs/protected_%s", what_for), O_RDONLY);
	if (fd >= 0) {
		must(read(fd, &c, 1), "reads a setting");
		close(fd);
	}
	return c != '0';
}

static void links(enum who who)
{
	for (enum kind k = 0; k < KINDS; k++) {
		const char *n = kind_name[k], *as = who_name[who];
		if (k >= CHAR && who != ROOT)
			continue;
		fresh(0777);
		make_for(FOLDER, "other", 0777, 0, 0);
		be(who);
		make(k, "a", 0640);
		struct stat file = look("a"), folder = look("."), other = look("other"), now;
		tick();
		int r = link("a", "other/b");
		say(k == FOLDER ? "EPERM" : "ok", answer(r), "link: %s, as %s", n, as);
		if (k == FOLDER)
			continue;
		now = look("other/b");
		say("the same", now.st_ino == file.st_ino ? "the same" : "another",
			"link: %s: number, as %s", n, as);
		say("2 2",
			str("%lu %lu", (unsigned long)now.st_nlink,
				(unsigned long)look("a").st_nlink),
			"link: %s: links, as %s", n, as);
		now = look("a");
		say("--c", advanced(&file, &now), "link: %s: times, as %s", n, as);
		now = look(".");
		say("---", advanced(&folder, &now), "link: %s: times of the old directory, as %s",
			n, as);
		now = look("other");
		say("-mc", advanced(&other, &now), "link: %s: times of the new directory, as %s", n,
			as);
		say("EEXIST", answer(link("a", "other/b")), "link: %s: once more, as %s", n, as);
		say("EEXIST", answer(link("a", "a")), "link: %s: to itself, as %s", n, as);
		file = look("a");
		folder = look(".");
		tick();
		say("ok", answer(unlink("a")), "unlink: %s with two names, as %s", n, as);
		now = look("other/b");
		say("--c", advanced(&file, &now), "unlink: %s: times of what is left, as %s", n,
			as);
		say("1", str("%lu", (unsigned long)now.st_nlink), "unlink: %s: links, as %s", n,
			as);
		now = look(".");
		say("-mc", advanced(&folder, &now), "unlink: %s: times of the directory, as %s", n,
			as);
		other = look("other");
		tick();
		say("ok", answer(unlink("other/b")), "unlink: the last name of a %s, as %s", n, as);
		now = look("other");
		say("-mc", advanced(&other, &now),
			"unlink: the last name of a %s: times of the directory, as %s", n, as);
		say("ENOENT", answer(unlink("other/b")), "unlink: %s: once more, as %s", n, as);
		say("ENOENT", answer(link("a", "b")), "link: a %s that is gone, as %s", n, as);
	}
}

/* proc(5), protected_hardlinks: a file that is not one's own must be a regular one without set-id
 * bits that one may read and write. */
static void links_to_others(void)
{
	static const struct {
		enum kind kind;
		mode_t mode;
		bool safe;
	} list[] = {{REG, 0600, false}, {REG, 0604, false}, {REG, 0606, true}, {REG, 0666, true},
		{REG, 04666, false}, {REG, 02676, false}, {FIFO, 0666, false},
		{SOCKET, 0666, false}, {LINK, 0777, false}};
	bool strict = protected("hardlinks");
	fresh(0777);
	for (size_t i = 0; i < COUNT(list); i++)
		for (enum who who = ROOT; who < USERS; who++) {
			const char *a = str("a%zu-%d", i, who), *b = str("b%zu-%d", i, who);
			make_for(list[i].kind, a, list[i].mode, ANN_ID, ANN_ID);
			be(who);
			bool may = who != BEN || !strict || list[i].safe;
			say(may ? "ok" : "EPERM", answer(link(a, b)),
				"link: ann's %s of mode %04o, as %s", kind_name[list[i].kind],
				list[i].mode, who_name[who]);
		}
}

static void link_flags(void)
{
	fresh(0777);
	for (enum who who = ROOT; who <= ANN; who++) {
		const char *as = who_name[who];
		be(who);
		fresh(0777);
		be(who);
		put("file", "bytes", 5, 0600);
		must(symlink("file", "link"), "makes a link");
		must(symlink("nothing", "dangling"), "makes a link");
		say("ok", answer(linkat(AT_FDCWD, "link", AT_FDCWD, "l1", 0)),
			"linkat: a symlink, as %s", as);
		say("symlink", look("l1").st_ino == look("link").st_ino ? "symlink" : "file",
			"linkat: of a symlink it is the, as %s", as);
		say("ok", answer(linkat(AT_FDCWD, "link", AT_FDCWD, "l2", AT_SYMLINK_FOLLOW)),
			"linkat: AT_SYMLINK_FOLLOW, as %s", as);
		say("file", look("l2").st_ino == look("file").st_ino ? "file" : "symlink",
			"linkat: AT_SYMLINK_FOLLOW it is the, as %s", as);
		say("ENOENT",
			answer(linkat(AT_FDCWD, "dangling", AT_FDCWD, "l3", AT_SYMLINK_FOLLOW)),
			"linkat: AT_SYMLINK_FOLLOW of a symlink to nothing, as %s", as);
		say("EINVAL", answer(linkat(AT_FDCWD, "file", AT_FDCWD, "l4", 0x8000)),
			"linkat: a wrong flag, as %s", as);
		int fd = open("file", O_RDWR);
		/* Others than root: from Linux 6.10 on, by who opened it himself. */
		say(who == ROOT ? "ok" : "ENOENT|ok",
			answer(linkat(fd, "", AT_FDCWD, "l5", AT_EMPTY_PATH)),
			"linkat: AT_EMPTY_PATH, as %s", as);
		say("ok",
			answer(linkat(AT_FDCWD, str("/proc/self/fd/%d", fd), AT_FDCWD, "l6",
				AT_SYMLINK_FOLLOW)),
			"linkat: /proc/self/fd, as %s", as);
		unsigned long count = look("file").st_nlink;
		say(str("%lu", count), str("%d", 3 + exists("l5")), "linkat: links, as %s", as);
		for (const char *const *p = (const char *const[]){"file", "l2", "l5", "l6", NULL};
			*p; p++)
			unlink(*p);
		say("ENOENT",
			answer(linkat(AT_FDCWD, str("/proc/self/fd/%d", fd), AT_FDCWD, "l7",
				AT_SYMLINK_FOLLOW)),
			"linkat: of a file without a name, as %s", as);
		close(fd);
	}
}

/* An open file without a name. */
static void nameless(enum who who)
{
	const char *as = who_name[who];
	char b[32] = "";
	struct stat st, before;
	fresh(0777);
	be(who);
	put("f", "some bytes", 10, 0600);
	int fd = open("f", O_RDWR);
	must(fstat(fd, &before), "asks");
	tick();
	say("ok", answer(unlink("f")), "unlink: an open file, as %s", as);
	say("ok", answer(fstat(fd, &st)), "fstat: without a name, as %s", as);
	say("0", str("%lu", (unsigned long)st.st_nlink), "fstat: links without a name, as %s", as);
	say("--c", advanced(&before, &st), "unlink: times of an open file, as %s", as);
	say("10", str("%zd", pread(fd, b, 32, 0)), "pread: without a name, as %s", as);
	say("some bytes", b, "pread: bytes without a name, as %s", as);
	say("5", str("%zd", pwrite(fd, "other", 5, 100000)), "pwrite: without a name, as %s", as);
	say("ok", answer(fsync(fd)), "fsync: without a name, as %s", as);
	say("ok", answer(fchmod(fd, 0640)), "fchmod: without a name, as %s", as);
	say("ok", answer(fchown(fd, who_id[who], who_id[who])), "fchown: without a name, as %s",
		as);
	say("ok", answer(futimens(fd, (const struct timespec[2]){{1, 2}, {3, 4}})),
		"futimens: without a name, as %s", as);
	say("ok", answer(fstat(fd, &st)), "fstat: changed without a name, as %s", as);
	say("0640 100005 1.2 3.4",
		str("%04o %lld %ld.%ld %ld.%ld", st.st_mode & 07777, (long long)st.st_size,
			(long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec,
			st.st_mtim.tv_nsec),
		"fstat: what was set without a name, as %s", as);
	say("ok", answer(ftruncate(fd, 4)), "ftruncate: without a name, as %s", as);
	memset(b, 0, sizeof(b));
	say("4", str("%zd", pread(fd, b, 32, 0)), "pread: cut without a name, as %s", as);
	say("some", b, "pread: bytes cut without a name, as %s", as);
	say("ok", answer(flock(fd, LOCK_EX)), "flock: without a name, as %s", as);
	/* By its descriptor it can be opened again. */
	int again = open(str("/proc/self/fd/%d", fd), O_RDONLY);
	say("ok", answer(again), "open: /proc/self/fd of a file without a name, as %s", as);
	if (again >= 0)
		close(again);
	put("f", "new", 3, 0600);
	say("3", str("%lld", (long long)look("f").st_size), "open: a new one of that name, as %s",
		as);
	must(fstat(fd, &st), "asks");
	say("4", str("%lld", (long long)st.st_size), "fstat: the old one beside it, as %s", as);
	close(fd);
}

static void removal(enum who who)
{
	const char *as = who_name[who];
	for (enum kind k = 0; k < KINDS; k++) {
		if (k >= CHAR && who != ROOT)
			continue;
		fresh(0777);
		be(who);
		make(k, "a", 0);
		/* What may be done with the node itself does not matter. */
		say(k == FOLDER ? "ok" : "ENOTDIR", answer(rmdir("a")),
			"rmdir: a %s of mode 0, as %s", kind_name[k], as);
		if (k == FOLDER)
			make(k, "a", 0);
		say(k == FOLDER ? "EISDIR" : "ok", answer(unlink("a")),
			"unlink: a %s of mode 0, as %s", kind_name[k], as);
		make(FOLDER, "d", 0755);
		make(k, "d/x", 0755);
		struct stat folder = look("d"), now;
		tick();
		say("ENOTEMPTY|EEXIST", answer(rmdir("d")), "rmdir: with a %s in it, as %s",
			kind_name[k], as);
		now = look("d");
		say("---", advanced(&folder, &now), "rmdir: times with a %s in it, as %s",
			kind_name[k], as);
		say("ENOTDIR|EISDIR|EPERM",
			answer(unlinkat(AT_FDCWD, "d/x", k == FOLDER ? 0 : AT_REMOVEDIR)),
			"unlinkat: the wrong way for a %s, as %s", kind_name[k], as);
		say("ok", answer(unlinkat(AT_FDCWD, "d/x", k == FOLDER ? AT_REMOVEDIR : 0)),
			"unlinkat: the right way for a %s, as %s", kind_name[k], as);
		say("EINVAL", answer(unlinkat(AT_FDCWD, "d", 0x4000)),
			"unlinkat: a wrong flag, beside a %s, as %s", kind_name[k], as);
		say("ok", answer(rmdir("d")), "rmdir: without its %s, as %s", kind_name[k], as);
	}
	fresh(0777);
	be(who);
	make(FOLDER, "d", 0755);
	make(FOLDER, "d/e", 0755);
	struct stat before = look("d"), now;
	say("3", str("%lu", (unsigned long)before.st_nlink),
		"lstat: links of a directory with one in it, as %s", as);
	tick();
	say("ok", answer(rmdir("d/e")), "rmdir: as %s", as);
	now = look("d");
	say("-mc", advanced(&before, &now), "rmdir: times of the parent, as %s", as);
	say("2", str("%lu", (unsigned long)now.st_nlink), "rmdir: links of the parent, as %s", as);
	say("ENOENT", answer(rmdir("d/e")), "rmdir: once more, as %s", as);
	/* One that is somebody's working directory. */
	int fd = open("d", O_RDONLY | O_DIRECTORY), here = open(".", O_RDONLY | O_DIRECTORY);
	must(chdir("d"), "goes in");
	say("EINVAL", answer(rmdir(".")), "rmdir: ., as %s", as);
	say("ok", answer(rmdir("../d")), "rmdir: the working directory, as %s", as);
	char b[1024];
	say("ENOENT", answer(getcwd(b, sizeof(b)) ? 0 : -1), "getcwd: removed, as %s", as);
	say("ENOENT", opened(open("x", O_CREAT | O_WRONLY, 0600)),
		"open: O_CREAT in a removed directory, as %s", as);
	say("ENOENT", answer(mkdir("x", 0700)), "mkdir: in a removed directory, as %s", as);
	say("ENOENT", answer(symlink("t", "x")), "symlink: in a removed directory, as %s", as);
	say("ENOENT", answer(mkfifo("x", 0600)), "mkfifo: in a removed directory, as %s", as);
	say("ENOENT", answer(linkat(here, "other", AT_FDCWD, "x", 0)),
		"linkat: into a removed directory, as %s", as);
	say("ok", opened(open(".", O_RDONLY)), "open: . removed, as %s", as);
	say("ENOENT|ok", opened(open("..", O_RDONLY)), "open: .. of a removed directory, as %s",
		as);
	must(fstat(fd, &now), "asks");
	say("0", str("%lu", (unsigned long)now.st_nlink),
		"fstat: links of a removed directory, as %s", as);
	say("ENOENT", answer(syscall(SYS_getdents64, fd, b, sizeof(b))),
		"getdents64: of a removed directory, as %s", as);
	must(fchdir(here), "goes back");
	close(fd);
	close(here);
}

static void symlinks(void)
{
	static const size_t lengths[] = {1, 2, 15, 59, 60, 61, 127, 128, 254, 255, 256, 500, 1000,
		1023, 1024, 2000, 3000, 4000, 4094, 4095};
	static const char *const odd[] = {"/", "//", "..", ".", "a/", "a//b", " ", "\n", "\xff\xfe",
		"%s", "\\", "~x", ".dir", "\x01", "trailing/./.", "/proc/self/cwd"};
	static char target[4097], b[4097];
	for (enum who who = ROOT; who < USERS; who++) {
		const char *as = who_name[who];
		fresh(0777);
		be(who);
		for (size_t i = 0; i < COUNT(lengths); i++) {
			size_t n = lengths[i];
			for (size_t k = 0; k < n; k++)
				target[k] = k % 100 == 99 ? '/' : (char)('a' + k % 26);
			target[n] = 0;
			const char *path = str("l%zu", n);
			/* xfs ends at 1023. */
			const char *made = answer(symlink(target, path));
			say(n > 1023 ? "ok|ENAMETOOLONG" : "ok", made, "symlink: %zu bytes, as %s",
				n, as);
			if (strcmp(made, "ok") != 0)
				continue;
			say(str("%zu", n), str("%lld", (long long)look(path).st_size),
				"lstat: size of a symlink of %zu bytes, as %s", n, as);
			memset(b, '?', sizeof(b));
			ssize_t got = readlink(path, b, 4096);
			say("equal",
				got == (ssize_t)n && memcmp(b, target, n) == 0 && b[n] == '?'
					? "equal"
					: "not",
				"readlink: a symlink of %zu bytes, as %s", n, as);
			memset(b, '?', sizeof(b));
			got = readlink(path, b, 10);
			say(str("%zu", n < 10 ? n : 10), str("%zd", got),
				"readlink: the first 10 of %zu bytes, as %s", n, as);
			say("untouched", b[10] == '?' ? "untouched" : "touched",
				"readlink: behind the first 10 of %zu bytes, as %s", n, as);
		}
		for (size_t i = 0; i < COUNT(odd); i++) {
			const char *path = str("o%zu", i);
			must(symlink(odd[i], path), "makes a link");
			memset(b, 0, sizeof(b));
			must(readlink(path, b, 4096), "reads a link");
			say("equal", strcmp(b, odd[i]) == 0 ? "equal" : "not",
				"readlink: odd target %zu, as %s", i, as);
		}
		say("EINVAL", answer(syscall(SYS_readlink, "l1", b, 0)), "readlink: no room, as %s",
			as);
		say("EFAULT", answer(syscall(SYS_readlink, "l1", (char *)1, 10)),
			"readlink: a bad address, as %s", as);
		int fd = open("l15", O_PATH | O_NOFOLLOW);
		say("15", str("%zd", readlinkat(fd, "", b, 4096)),
			"readlinkat: of a descriptor, as %s", as);
		close(fd);
	}
}

/* A directory descriptor of each kind with each call that takes one. */
static void relative(enum who who)
{
	static const char *const bases[] = {"a directory", "a directory by O_PATH", "a file",
		"a closed one", "AT_FDCWD", "a removed directory", "any, with an absolute path"};
	char here[1024], b[16];
	fresh(0777);
	be(who);
	must(getcwd(here, sizeof(here)) ? 0 : -1, "finds the working directory");
	put("file", "", 0, 0600);
	make(FOLDER, "removed", 0700);
	int removed = open("removed", O_RDONLY | O_DIRECTORY);
	must(rmdir("removed"), "removes");
	const int fds[] = {open(".", O_RDONLY | O_DIRECTORY), open(".", O_PATH | O_DIRECTORY),
		open("file", O_RDONLY), 9999, AT_FDCWD, removed, 9999};
	for (size_t i = 0; i < COUNT(bases); i++) {
		const char *want = i == 2 ? "ENOTDIR" : i == 3 ? "EBADF" : i == 5 ? "ENOENT" : "ok";
		const char *in = i == 6 ? str("%s/", here) : "", *n = bases[i], *as = who_name[who];
		int fd = fds[i];
		struct stat st;
		const char *x = str("%sx%zu", in, i), *d = str("%sd%zu", in, i),
			   *s = str("%ss%zu", in, i), *p = str("%sp%zu", in, i),
			   *m = str("%sm%zu", in, i), *l = str("%sl%zu", in, i),
			   *to = str("%sr%zu", in, i);
		say(want, opened(openat(fd, x, O_CREAT | O_RDWR, 0600)),
			"openat: O_CREAT in %s, as %s", n, as);
		say(want, opened(openat(fd, x, O_RDONLY)), "openat: in %s, as %s", n, as);
		say(want, answer(mkdirat(fd, d, 0700)), "mkdirat: in %s, as %s", n, as);
		say(want, answer(symlinkat("t", fd, s)), "symlinkat: in %s, as %s", n, as);
		say(want, answer(mkfifoat(fd, p, 0600)), "mkfifoat: in %s, as %s", n, as);
		say(want, answer(mknodat(fd, m, S_IFREG | 0600, 0)), "mknodat: in %s, as %s", n,
			as);
		say(want, answer(linkat(fd, x, fd, l, 0)), "linkat: in %s, as %s", n, as);
		say(want, answer(fstatat(fd, x, &st, 0)), "fstatat: in %s, as %s", n, as);
		say(want, answer(fstatat(fd, s, &st, AT_SYMLINK_NOFOLLOW)),
			"fstatat: AT_SYMLINK_NOFOLLOW in %s, as %s", n, as);
		say(want, answer(readlinkat(fd, s, b, sizeof(b))), "readlinkat: in %s, as %s", n,
			as);
		say(want, answer(fchmodat(fd, x, 0640, 0)), "fchmodat: in %s, as %s", n, as);
		say(want, answer(fchownat(fd, x, who_id[who], (gid_t)-1, 0)),
			"fchownat: in %s, as %s", n, as);
		say(want, answer(faccessat(fd, x, R_OK, 0)), "faccessat: in %s, as %s", n, as);
		say(want, answer(utimensat(fd, x, NULL, 0)), "utimensat: in %s, as %s", n, as);
		say(want, answer(renameat(fd, x, fd, to)), "renameat: in %s, as %s", n, as);
		say(want, answer(renameat2(fd, to, fd, x, RENAME_NOREPLACE)),
			"renameat2: in %s, as %s", n, as);
		say(want, answer(unlinkat(fd, x, 0)), "unlinkat: in %s, as %s", n, as);
		say(want, answer(unlinkat(fd, d, AT_REMOVEDIR)),
			"unlinkat: AT_REMOVEDIR in %s, as %s", n, as);
	}
	for (size_t i = 0; i < 3; i++)
		close(fds[i]);
	close(removed);
}

/* Every byte that a name may have, and lengths; each can be found, listed apart, renamed, removed.
 */
static void spellings(void)
{
	fresh(0777);
	be(ANN);
	for (int c = 1; c < 256; c++) {
		const char *name = str("%c", c), *label = str("byte %d", c);
		if (c == '/' || c == '.')
			continue;
		int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
		say("ok", answer(fd), "open: the name of %s", label);
		close(fd);
	}
	/* No two of them are one. */
	for (int c = 'a'; c <= 'z'; c++)
		say("different",
			look(str("%c", c)).st_ino != look(str("%c", c - 32)).st_ino ? "different"
										    : "one",
			"lstat: %c and its capital", c);
	for (size_t n = 2; n <= 255; n += n < 16 ? 1 : n < 150 ? 13 : 5) {
		char name[256];
		memset(name, 'x', n);
		name[n] = 0;
		say("ok", answer(mkdir(name, 0700)), "mkdir: a name of %zu bytes", n);
		say("ok", answer(rename(name, "moved")), "rename: from a name of %zu bytes", n);
		say("ok", answer(rename("moved", name)), "rename: to a name of %zu bytes", n);
		say("ok", answer(rmdir(name)), "rmdir: a name of %zu bytes", n);
	}
}

void names_run(void)
{
	group("names");
	for (enum who who = ROOT; who < USERS; who++) {
		links(who);
		nameless(who);
		removal(who);
		relative(who);
	}
	links_to_others();
	link_flags();
	symlinks();
	spellings();
}
