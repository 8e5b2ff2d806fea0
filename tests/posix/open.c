/* open's flags on every kind of node, what each way of opening permits, what writing does to set-id
 * bits and times, and where a file must end. */
#include "tests/posix/suite.h"

#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

enum target {
	T_FILE,
	T_FOLDER,
	T_TO_FILE,
	T_TO_FOLDER,
	T_DANGLING,
	T_FIFO,
	T_SOCKET,
	T_CHAR,
	T_BLOCK,
	T_ABSENT,
	TARGETS
};
static const char *const target_name[TARGETS] = {"file", "directory", "symlink to a file",
	"symlink to a directory", "symlink to nothing", "fifo", "socket", "character device",
	"block device", "absent name"};

/* All with O_NONBLOCK. As open(2) has it. */
static const struct {
	const char *name;
	int flags;
	const char *want[TARGETS];
} flags[] = {
	{"O_RDONLY", O_RDONLY,
		{"ok", "ok", "ok", "ok", "ENOENT", "ok", "ENXIO", "ok", "ENXIO", "ENOENT"}},
	{"O_WRONLY", O_WRONLY,
		{"ok", "EISDIR", "ok", "EISDIR", "ENOENT", "ENXIO", "ENXIO", "ok", "ENXIO",
			"ENOENT"}},
	{"O_RDWR", O_RDWR,
		{"ok", "EISDIR", "ok", "EISDIR", "ENOENT", "ok", "ENXIO", "ok", "ENXIO", "ENOENT"}},
	{"access mode 3", 3,
		{"ok", "EISDIR", "ok", "EISDIR", "ENOENT", NULL, "ENXIO", NULL, "ENXIO", "ENOENT"}},
	{"O_RDONLY|O_DIRECTORY", O_RDONLY | O_DIRECTORY,
		{"ENOTDIR", "ok", "ENOTDIR", "ok", "ENOENT", "ENOTDIR", "ENOTDIR", "ENOTDIR",
			"ENOTDIR", "ENOENT"}},
	{"O_WRONLY|O_DIRECTORY", O_WRONLY | O_DIRECTORY,
		{"ENOTDIR", "EISDIR", "ENOTDIR", "EISDIR", "ENOENT", "ENOTDIR", "ENOTDIR",
			"ENOTDIR", "ENOTDIR", "ENOENT"}},
	{"O_RDONLY|O_NOFOLLOW", O_RDONLY | O_NOFOLLOW,
		{"ok", "ok", "ELOOP", "ELOOP", "ELOOP", "ok", "ENXIO", "ok", "ENXIO", "ENOENT"}},
	{"O_RDONLY|O_NOFOLLOW|O_DIRECTORY", O_RDONLY | O_NOFOLLOW | O_DIRECTORY,
		{"ENOTDIR", "ok", "ENOTDIR|ELOOP", "ENOTDIR|ELOOP", "ENOTDIR|ELOOP", "ENOTDIR",
			"ENOTDIR", "ENOTDIR", "ENOTDIR", "ENOENT"}},
	{"O_PATH", O_PATH, {"ok", "ok", "ok", "ok", "ENOENT", "ok", "ok", "ok", "ok", "ENOENT"}},
	{"O_PATH|O_NOFOLLOW", O_PATH | O_NOFOLLOW,
		{"ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ENOENT"}},
	{"O_PATH|O_DIRECTORY", O_PATH | O_DIRECTORY,
		{"ENOTDIR", "ok", "ENOTDIR", "ok", "ENOENT", "ENOTDIR", "ENOTDIR", "ENOTDIR",
			"ENOTDIR", "ENOENT"}},
	{"O_RDONLY|O_CREAT", O_RDONLY | O_CREAT,
		{"ok", "EISDIR", "ok", "EISDIR", "ok", "ok", "ENXIO", "ok", "ENXIO", "ok"}},
	{"O_RDWR|O_CREAT", O_RDWR | O_CREAT,
		{"ok", "EISDIR", "ok", "EISDIR", "ok", "ok", "ENXIO", "ok", "ENXIO", "ok"}},
	{"O_RDWR|O_CREAT|O_NOFOLLOW", O_RDWR | O_CREAT | O_NOFOLLOW,
		{"ok", "EISDIR", "ELOOP", "ELOOP", "ELOOP", "ok", "ENXIO", "ok", "ENXIO", "ok"}},
	{"O_RDWR|O_CREAT|O_EXCL", O_RDWR | O_CREAT | O_EXCL,
		{"EEXIST", "EEXIST", "EEXIST", "EEXIST", "EEXIST", "EEXIST", "EEXIST", "EEXIST",
			"EEXIST", "ok"}},
	{"O_RDONLY|O_CREAT|O_DIRECTORY", O_RDONLY | O_CREAT | O_DIRECTORY,
		{"EINVAL", "EINVAL|EISDIR", "EINVAL", "EINVAL|EISDIR", "EINVAL", "EINVAL", "EINVAL",
			"EINVAL", "EINVAL", "EINVAL"}},
	{"O_WRONLY|O_TRUNC", O_WRONLY | O_TRUNC,
		{"ok", "EISDIR", "ok", "EISDIR", "ENOENT", "ENXIO", "ENXIO", "ok", "ENXIO",
			"ENOENT"}},
	{"O_RDWR|O_CREAT|O_TRUNC", O_RDWR | O_CREAT | O_TRUNC,
		{"ok", "EISDIR", "ok", "EISDIR", "ok", "ok", "ENXIO", "ok", "ENXIO", "ok"}},
	{"O_RDWR|O_APPEND", O_RDWR | O_APPEND,
		{"ok", "EISDIR", "ok", "EISDIR", "ENOENT", "ok", "ENXIO", "ok", "ENXIO", "ENOENT"}},
	{"O_RDONLY|O_SYNC", O_RDONLY | O_SYNC,
		{"ok", "ok", "ok", "ok", "ENOENT", "ok", "ENXIO", "ok", "ENXIO", "ENOENT"}},
	{"O_RDWR|O_DSYNC", O_RDWR | O_DSYNC,
		{"ok", "EISDIR", "ok", "EISDIR", "ENOENT", "ok", "ENXIO", "ok", "ENXIO", "ENOENT"}},
	{"O_RDONLY|O_NOATIME", O_RDONLY | O_NOATIME,
		{"ok", "ok", "ok", "ok", "ENOENT", "ok", "ENXIO", "ok", "ENXIO", "ENOENT"}},
	{"O_TMPFILE|O_RDONLY", O_TMPFILE | O_RDONLY,
		{"EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL",
			"EINVAL", "EINVAL"}},
	{"O_TMPFILE|O_RDWR", O_TMPFILE | O_RDWR,
		{"ENOTDIR", "ok", "ENOTDIR", "ok", "ENOENT", "ENOTDIR", "ENOTDIR", "ENOTDIR",
			"ENOTDIR", "ENOENT"}},
};

static void furnish(void)
{
	fresh(0777);
	put("t0", "bytes", 5, 0666);
	make(FOLDER, "t1", 0777);
	must(symlink("t0", "t2"), "makes a link");
	must(symlink("t1", "t3"), "makes a link");
	must(symlink("nowhere", "t4"), "makes a link");
	make(FIFO, "t5", 0666);
	make(SOCKET, "t6", 0666);
	make(CHAR, "t7", 0666);
	make(BLOCK, "t8", 0666);
}

static void flags_on_kinds(void)
{
	for (enum who who = ROOT; who < USERS; who++) {
		furnish();
		be(who);
		for (size_t i = 0; i < COUNT(flags); i++)
			for (enum target t = 0; t < TARGETS; t++) {
				const char *want = flags[i].want[t];
				if (flags[i].flags == (O_RDONLY | O_NOATIME) && who != ROOT)
					want = strcmp(want, "ok") ? str("EPERM|%s", want) : "EPERM";
				/* protected_fifos and protected_regular do not concern this
				 * folder: it is not sticky. */
				say(want,
					opened(open(
						str("t%d", t), flags[i].flags | O_NONBLOCK, 0666)),
					"open: %s of a %s, as %s", flags[i].name, target_name[t],
					who_name[who]);
				be(ROOT);
				if (t == T_DANGLING)
					unlink("nowhere");
				if (t == T_ABSENT)
					unlink("t9");
				be(who);
			}
		be(ROOT);
		say("file 0666 root:root links 1 size 0", what("t0"), "open: the file at last, %s",
			who_name[who]);
	}
	be(ROOT);
	make_for(FIFO, "read", 0600, 0, 0);
	int fd = open("read", O_RDONLY | O_NONBLOCK);
	say("ok", opened(open("read", O_WRONLY | O_NONBLOCK)),
		"open: O_WRONLY|O_NONBLOCK of a fifo with a reader");
	close(fd);
}

static long map(int fd, int protection, int kind)
{
	void *p = mmap(NULL, 4096, protection, kind, fd, 0);
	if (p == MAP_FAILED)
		return -1;
	return munmap(p, 4096);
}

/* What a descriptor is good for, by the way it was opened. */
static void descriptors(void)
{
	static const struct {
		const char *name;
		const char *path;
		int flags;
		const char *want[16];
	} ways[] = {
		{"O_RDONLY", "f", O_RDONLY,
			{"ok", "EBADF", "EINVAL|EBADF", "EBADF", "ok", "EACCES", "ok", "ok", "ok",
				"ok", "ok", "ok", "ENOTDIR", "ENOTDIR", "ok", "EBADF"}},
		{"O_WRONLY", "f", O_WRONLY,
			{"EBADF", "ok", "ok", "ok", "EACCES", "EACCES", "EACCES", "ok", "ok", "ok",
				"ok", "ok", "ENOTDIR", "ENOTDIR", "ok", "ok"}},
		{"O_RDWR", "f", O_RDWR,
			{"ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok",
				"ENOTDIR", "ENOTDIR", "ok", "ok"}},
		{"O_WRONLY|O_APPEND", "f", O_WRONLY | O_APPEND,
			{"EBADF", "ok", "ok", "ok", "EACCES", "EACCES", "EACCES", "ok", "ok", "ok",
				"ok", "ok", "ENOTDIR", "ENOTDIR", "ok", "ok"}},
		{"O_PATH", "f", O_PATH,
			{"EBADF", "EBADF", "EBADF", "EBADF", "EBADF", "EBADF", "EBADF", "EBADF",
				"EBADF", "EBADF", "EBADF", "EBADF", "ENOTDIR", "EBADF|ENOTDIR",
				"ok", "EBADF"}},
		{"a directory", "d", O_RDONLY,
			{"EISDIR", "EBADF", "EINVAL|EBADF", "EBADF", "ENODEV", "EACCES|ENODEV",
				"ENODEV", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "EBADF"}},
		{"a directory, O_PATH", "d", O_PATH,
			{"EBADF", "EBADF", "EBADF", "EBADF", "EBADF", "EBADF", "EBADF", "EBADF",
				"EBADF", "EBADF", "EBADF", "EBADF", "ok", "EBADF", "ok", "EBADF"}},
	};
	char b[64];
	fresh(0777);
	for (enum who who = ROOT; who <= ANN; who++) {
		be(ROOT);
		unlink("f");
		rmdir("d");
		be(who);
		put("f", "some bytes", 10, 0600);
		make(FOLDER, "d", 0700);
		int here = open(".", O_RDONLY | O_DIRECTORY);
		for (size_t i = 0; i < COUNT(ways); i++) {
			const char *const *want = ways[i].want, *n = ways[i].name,
					  *w = who_name[who];
			int fd = open(ways[i].path, ways[i].flags);
			must(fd, n);
			say(want[0], answer(pread(fd, b, 1, 0)), "pread: %s, as %s", n, w);
			say(want[1], answer(pwrite(fd, "b", 1, 0)), "pwrite: %s, as %s", n, w);
			say(want[2], answer(ftruncate(fd, 20)), "ftruncate: %s, as %s", n, w);
			say(want[3], answer(fallocate(fd, 0, 0, 20)), "fallocate: %s, as %s", n, w);
			say(want[4], answer(map(fd, PROT_READ, MAP_SHARED)),
				"mmap: read: %s, as %s", n, w);
			say(want[5], answer(map(fd, PROT_READ | PROT_WRITE, MAP_SHARED)),
				"mmap: write: %s, as %s", n, w);
			say(want[6], answer(map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE)),
				"mmap: write privately: %s, as %s", n, w);
			say(want[7], answer(fsync(fd)), "fsync: %s, as %s", n, w);
			say(want[8], answer(fdatasync(fd)), "fdatasync: %s, as %s", n, w);
			say(want[9], answer(fchmod(fd, 0700)), "fchmod: %s, as %s", n, w);
			say(want[10], answer(futimens(fd, NULL)), "futimens: %s, as %s", n, w);
			say(want[11], answer(flistxattr(fd, b, sizeof(b))), "flistxattr: %s, as %s",
				n, w);
			int r = fchdir(fd), saved = errno;
			must(fchdir(here), "goes back");
			errno = saved;
			say(want[12], answer(r), "fchdir: %s, as %s", n, w);
			say(want[13],
				answer(syscall(SYS_getdents64, fd, b, 0) < 0 && errno == EINVAL
						? 0
						: -1),
				"getdents64: %s, as %s", n, w);
			struct stat st;
			say(want[14], answer(fstat(fd, &st)), "fstat: %s, as %s", n, w);
			struct iovec v = {b, 1};
			say(want[15], answer(writev(fd, &v, 1)), "writev: %s, as %s", n, w);
			close(fd);
		}
		close(here);
	}
}

/* Ways to change content. Each gets the path of a file of five bytes that anybody may write. */
static long by_write(const char *p)
{
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : write(fd, "B", 1);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_empty_write(const char *p)
{
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : write(fd, "B", 0);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_append(const char *p)
{
	int fd = open(p, O_WRONLY | O_APPEND);
	long r = fd < 0 ? fd : write(fd, "B", 1);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_opening(const char *p)
{
	int fd = open(p, O_RDWR);
	return fd < 0 ? fd : close(fd);
}
static long by_o_trunc(const char *p)
{
	int fd = open(p, O_WRONLY | O_TRUNC);
	return fd < 0 ? fd : close(fd);
}
static long by_truncate(const char *p)
{
	return truncate(p, 2);
}
static long by_growing(const char *p)
{
	return truncate(p, 9000);
}
static long by_ftruncate(const char *p)
{
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : ftruncate(fd, 2);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_fallocate(const char *p)
{
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : fallocate(fd, 0, 0, 6000);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_punching(const char *p)
{
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_zeroing(const char *p)
{
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 2);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_copying(const char *p)
{
	int fd = open(p, O_WRONLY), from = open("from", O_RDONLY);
	long r = fd < 0 ? fd : copy_file_range(from, NULL, fd, NULL, 3, 0);
	close(from);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static long by_vectors(const char *p)
{
	struct iovec v[2] = {{(char[]){'x'}, 1}, {(char[]){'y'}, 1}};
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : pwritev(fd, v, 2, 1);
	return fd < 0 ? r : close(fd) < 0 ? -1 : r;
}
static const struct {
	const char *name;
	long (*call)(const char *path);
	bool changes; /* the content: set-id bits go, times move on */
	int size;     /* then */
} writers[] = {
	{"write", by_write, true, 5},
	{"write of nothing", by_empty_write, false, 5},
	{"write O_APPEND", by_append, true, 6},
	{"open O_RDWR", by_opening, false, 5},
	{"open O_TRUNC", by_o_trunc, true, 0},
	{"truncate", by_truncate, true, 2},
	{"truncate to more", by_growing, true, 9000},
	{"ftruncate", by_ftruncate, true, 2},
	{"fallocate", by_fallocate, true, 6000},
	{"fallocate PUNCH_HOLE", by_punching, true, 5},
	{"fallocate ZERO_RANGE", by_zeroing, true, 5},
	{"copy_file_range", by_copying, true, 5},
	{"pwritev", by_vectors, true, 5},
};

/* Where the group may not execute, the set-group-id bit is a mark for mandatory locking to some and
 * a set-id bit to others. */
static const char *without_set_id(mode_t mode, enum who who)
{
	mode_t left = mode & ~04000;
	if (who == ROOT)
		return str("%04o", mode);
	if (mode & 0010)
		return str("%04o", left & ~02000);
	return str("%04o|%04o", left, left & ~02000);
}

static void set_id_bits(void)
{
	static const mode_t list[] = {04757, 02757, 06757, 06777, 04746, 02746, 06746, 07756, 0757};
	static const struct {
		const char *name;
		gid_t gid;
	} groups[] = {
		{"of ann and her group", SHARED}, {"of ann and a group she is not in", 61099}};
	fresh(0777);
	put("from", "abcdef", 6, 0644);
	for (enum who who = ROOT; who < USERS; who++)
		for (size_t g = 0; g < COUNT(groups); g++)
			for (size_t m = 0; m < COUNT(list); m++)
				for (size_t i = 0; i < COUNT(writers); i++) {
					be(ROOT);
					put("f", "bytes", 5, 0600);
					must(chown("f", ANN_ID, groups[g].gid), "gives");
					must(chmod("f", list[m]), "sets the mode");
					be(who);
					long r = writers[i].call("f");
					const char *want = writers[i].changes
								   ? without_set_id(list[m], who)
								   : str("%04o", list[m]);
					say(want, r < 0 ? answer(r) : mode_of("f"),
						"%s: mode after it, %04o before, file %s, as %s",
						writers[i].name, list[m], groups[g].name,
						who_name[who]);
					be(ROOT);
					must(unlink("f"), "removes");
				}
}

static void times(enum who who)
{
	fresh(0777);
	put("from", "abcdef", 6, 0644);
	for (size_t i = 0; i < COUNT(writers); i++) {
		const char *path = str("t%zu", i);
		be(who);
		put(path, "bytes", 5, 0666);
		struct stat folder = look("."), before = look(path), after;
		tick();
		must(writers[i].call(path), writers[i].name);
		after = look(path);
		say(writers[i].changes ? "-mc" : "---", advanced(&before, &after),
			"%s: times of the file, as %s", writers[i].name, who_name[who]);
		say(str("%d", writers[i].size), str("%lld", (long long)after.st_size),
			"%s: size of the file, as %s", writers[i].name, who_name[who]);
		after = look(".");
		say("---", advanced(&folder, &after), "%s: times of the directory, as %s",
			writers[i].name, who_name[who]);
	}
	static const struct {
		const char *name;
		int size, flags;
		const char *want;
	} opens[] = {{"open O_TRUNC of an empty file", 0, O_WRONLY | O_TRUNC, "-mc"},
		{"open O_CREAT of a file", 5, O_WRONLY | O_CREAT, "---"},
		{"open O_CREAT|O_TRUNC of a file", 5, O_WRONLY | O_CREAT | O_TRUNC, "-mc"},
		{"open O_RDONLY of a file", 5, O_RDONLY, "---"}};
	for (size_t i = 0; i < COUNT(opens); i++) {
		const char *path = str("o%zu", i);
		put(path, "bytes", (size_t)opens[i].size, 0644);
		struct stat before = look(path), after;
		tick();
		close(open(path, opens[i].flags, 0600));
		after = look(path);
		say(opens[i].want, advanced(&before, &after), "%s: times, as %s", opens[i].name,
			who_name[who]);
	}
}

/* What is read has its atime set, relatime or not: the content is newer. */
static void read_times(enum who who)
{
	static const char *const names[] = {"read", "read of nothing", "read at the end",
		"read O_NOATIME", "pread", "mmap", "readlink", "readdir"};
	char b[64];
	fresh(0777);
	for (size_t i = 0; i < COUNT(names); i++) {
		const char *path = str("r%zu", i), *want = "a--";
		be(who);
		if (i == 6)
			must(symlink("target", path), "makes a link");
		else if (i == 7)
			make(FOLDER, path, 0755);
		else
			put(path, "bytes", 5, 0644);
		const struct timespec past[2] = {{1000000000, 0}, {1000000001, 0}};
		must(utimensat(AT_FDCWD, path, past, AT_SYMLINK_NOFOLLOW), "sets times");
		struct stat before = look(path), after;
		tick();
		int fd = i == 6 ? -1 : open(path, O_RDONLY | (i == 3 ? O_NOATIME : 0));
		long r = i == 0   ? read(fd, b, 5)
			 : i == 1 ? read(fd, b, 0)
			 : i == 2 ? pread(fd, b, 5, 5)
			 : i == 3 ? read(fd, b, 5)
			 : i == 4 ? pread(fd, b, 1, 3)
			 : i == 5 ? 0
			 : i == 6 ? readlink(path, b, sizeof(b))
				  : syscall(SYS_getdents64, fd, b, sizeof(b));
		must(r, names[i]);
		if (i == 5) {
			char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
			must(p == MAP_FAILED || *p != 'b' ? -1 : 0, "maps");
			munmap(p, 4096);
		}
		if (fd >= 0)
			close(fd);
		after = look(path);
		if (i == 1 || i == 3)
			want = "---";
		if (i == 5)
			want = NULL; /* at any time until the file is unmapped */
		if (i == 2)
			want = "---|a--";
		say(want, advanced(&before, &after), "%s: times, as %s", names[i], who_name[who]);
	}
}

/* Above RLIMIT_FSIZE. */
static void limit(enum who who)
{
	const char *as = who_name[who];
	char b[3000] = "";
	struct rlimit old, small;
	fresh(0777);
	be(who);
	int fd = open("f", O_RDWR | O_CREAT, 0600), app = open("f", O_WRONLY | O_APPEND);
	must(getrlimit(RLIMIT_FSIZE, &old), "asks the limit");
	must(fflush(stdout), "writes what it has to say before the limit is there");
	small = old;
	small.rlim_cur = 10000;
	must(setrlimit(RLIMIT_FSIZE, &small), "sets the limit");
	say("3000", str("%zd", pwrite(fd, b, 3000, 0)), "pwrite: below RLIMIT_FSIZE, as %s", as);
	say("1000", str("%zd", pwrite(fd, b, 3000, 9000)), "pwrite: across RLIMIT_FSIZE, as %s",
		as);
	say("EFBIG", answer(pwrite(fd, b, 1, 10000)), "pwrite: at RLIMIT_FSIZE, as %s", as);
	say("EFBIG", answer(pwrite(fd, b, 1, 20000)), "pwrite: beyond RLIMIT_FSIZE, as %s", as);
	say("EFBIG", answer(write(app, b, 1)), "write: O_APPEND at RLIMIT_FSIZE, as %s", as);
	say("ok", answer(ftruncate(fd, 10000)), "ftruncate: to RLIMIT_FSIZE, as %s", as);
	say("EFBIG", answer(ftruncate(fd, 10001)), "ftruncate: beyond RLIMIT_FSIZE, as %s", as);
	say("EFBIG", answer(truncate("f", 10001)), "truncate: beyond RLIMIT_FSIZE, as %s", as);
	say("EFBIG", answer(fallocate(fd, 0, 9000, 3000)), "fallocate: beyond RLIMIT_FSIZE, as %s",
		as);
	say("10000", str("%lld", (long long)look("f").st_size),
		"lstat: size at RLIMIT_FSIZE, as %s", as);
	be(ROOT);
	must(setrlimit(RLIMIT_FSIZE, &old), "sets the limit back");
	close(fd);
	close(app);
}

static void offsets(void)
{
	/* The compiler need not know. */
	char *volatile bad = (char *)1;
	volatile int minus_one = -1;
	char b[16];
	fresh(0777);
	be(ANN);
	put("f", "0123456789", 10, 0600);
	make(FIFO, "p", 0600);
	int fd = open("f", O_RDWR), pipe_fd = open("p", O_RDWR | O_NONBLOCK);
	say("10", str("%lld", (long long)lseek(fd, 0, SEEK_END)), "lseek: SEEK_END");
	say("15", str("%lld", (long long)lseek(fd, 5, SEEK_END)), "lseek: beyond the end");
	say("0", str("%zd", read(fd, b, 5)), "read: beyond the end");
	say("EINVAL", answer(lseek(fd, -1, SEEK_SET)), "lseek: before the start");
	say("EINVAL", answer(lseek(fd, -20, SEEK_CUR)), "lseek: back before the start");
	say("EINVAL", answer(lseek(fd, 0, 99)), "lseek: a wrong whence");
	say("ESPIPE", answer(lseek(pipe_fd, 0, SEEK_SET)), "lseek: a fifo");
	say("ENXIO", answer(lseek(fd, 10, SEEK_DATA)), "lseek: SEEK_DATA at the end");
	say("ENXIO", answer(lseek(fd, 10, SEEK_HOLE)), "lseek: SEEK_HOLE at the end");
	say("10", str("%lld", (long long)lseek(fd, 3, SEEK_HOLE)), "lseek: SEEK_HOLE in data");
	say("3", str("%lld", (long long)lseek(fd, 3, SEEK_DATA)), "lseek: SEEK_DATA in data");
	say("ESPIPE", answer(pread(pipe_fd, b, 1, 0)), "pread: a fifo");
	say("ESPIPE", answer(pwrite(pipe_fd, b, 1, 0)), "pwrite: a fifo");
	say("EINVAL", answer(pread(fd, b, 1, -1)), "pread: a negative offset");
	say("EINVAL", answer(pwrite(fd, b, 1, -1)), "pwrite: a negative offset");
	say("EFAULT", answer(pread(fd, bad, 5, 0)), "pread: a bad address");
	say("EFAULT", answer(pwrite(fd, bad, 5, 0)), "pwrite: a bad address");
	struct iovec v[1] = {{b, 1}};
	say("EINVAL", answer(readv(fd, v, minus_one)), "readv: -1 vectors");
	say("0", str("%zd", readv(fd, v, 0)), "readv: no vectors");
	int app = open("f", O_RDWR | O_APPEND);
	say("0", str("%lld", (long long)lseek(app, 0, SEEK_CUR)), "lseek: O_APPEND begins at 0");
	say("2", str("%zd", pwrite(app, "xy", 2, 3)), "pwrite: O_APPEND");
	/* As pwrite(2) says under BUGS: Linux appends. */
	memset(b, 0, sizeof(b));
	say("12", str("%zd", pread(fd, b, 16, 0)), "pread: after pwrite with O_APPEND");
	say("0123456789xy", b, "pread: the bytes after pwrite with O_APPEND");
	say("ok", answer(lseek(app, 2, SEEK_SET)), "lseek: O_APPEND");
	say("1", str("%zd", write(app, "z", 1)), "write: O_APPEND after lseek");
	say("13", str("%lld", (long long)lseek(app, 0, SEEK_CUR)),
		"lseek: after write with O_APPEND");
	say("4", str("%zd", pwrite(fd, "tail", 4, 6000)), "pwrite: beyond the end");
	memset(b, 'x', sizeof(b));
	say("8", str("%zd", pread(fd, b, 8, 3000)), "pread: between");
	say("zeros", memcmp(b, "\0\0\0\0\0\0\0\0x", 9) == 0 ? "zeros" : "others",
		"pread: the bytes between");
	say("6004", str("%lld", (long long)look("f").st_size),
		"lstat: size after pwrite beyond the end");
	say("EBADF", answer(dup2(9999, 9998)), "dup2: a closed descriptor");
	say("EBADF", answer(read(9999, b, 1)), "read: a closed descriptor");
	say("EINVAL", opened(open("f", O_RDONLY | O_TMPFILE, 0600)),
		"open: O_TMPFILE without writing");
	close(fd);
	close(app);
	close(pipe_fd);
	fd = open("far", O_RDWR | O_CREAT, 0600);
	say("EFBIG", answer(pwrite(fd, b, 1, INT64_MAX - 1)), "pwrite: at the largest offset");
	say("ok", answer(fsync(fd)), "fsync: after pwrite at the largest offset");
	say("EFBIG", answer(ftruncate(fd, INT64_MAX)), "ftruncate: to the largest size");
	say("EFBIG", answer(truncate("far", INT64_MAX)), "truncate: to the largest size");
	say("EFBIG", answer(fallocate(fd, 0, INT64_MAX - 1, 2)),
		"fallocate: beyond the largest size");
	say("EFBIG", answer(fallocate(fd, 0, INT64_MAX - 10, 2)),
		"fallocate: near the largest size");
	close(fd);
	say("0", str("%lld", (long long)look("far").st_size), "lstat: size when that is closed");
}

void open_run(void)
{
	group("open");
	flags_on_kinds();
	descriptors();
	group("content");
	set_id_bits();
	for (enum who who = ROOT; who < USERS; who++) {
		times(who);
		read_times(who);
		limit(who);
	}
	offsets();
}
