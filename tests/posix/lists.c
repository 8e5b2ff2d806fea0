/* readdir and its kin. */
#include "tests/posix/suite.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/syscall.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The sorted names without . and .., and how many. */
struct names {
	char *list[600];
	size_t count;
	bool dot, dotdot, twice;
};

static void names_free(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->list[i]);
	*n = (struct names){0};
}

static void names_sort(struct names *n)
{
	qsort(n->list, n->count, sizeof(n->list[0]), by_name);
	n->twice = false;
	for (size_t i = 1; i < n->count; i++)
		n->twice |= strcmp(n->list[i - 1], n->list[i]) == 0;
}

static void names_read(DIR *d, struct names *ret)
{
	struct dirent *e;
	while ((e = readdir(d)) && ret->count < COUNT(ret->list)) {
		if (strcmp(e->d_name, ".") == 0)
			ret->dot = true;
		else if (strcmp(e->d_name, "..") == 0)
			ret->dotdot = true;
		else
			ret->list[ret->count++] = strdup(e->d_name);
	}
	names_sort(ret);
}

static unsigned char type_of(enum kind k)
{
	static const unsigned char types[] = {
		DT_REG, DT_DIR, DT_LNK, DT_FIFO, DT_SOCK, DT_CHR, DT_BLK};
	return types[k];
}

/* Number and type of each kind, . and .. */
static void entries(enum who who)
{
	const char *as = who_name[who];
	fresh(0777);
	be(who);
	make(FOLDER, "d", 0700);
	enum kind last = who == ROOT ? KINDS : CHAR;
	for (enum kind k = 0; k < last; k++)
		make(k, str("d/%d", k), 0600);
	DIR *d = opendir("d");
	struct dirent *e;
	int seen = 0;
	while ((e = readdir(d))) {
		struct stat st = look(str("d/%s", e->d_name));
		const char *n = e->d_name;
		bool dots = n[0] == '.';
		int k = dots ? FOLDER : n[0] - '0';
		seen++;
		say("right",
			e->d_type == type_of((enum kind)k) || e->d_type == DT_UNKNOWN ? "right"
										      : "wrong",
			"readdir: type of %s, as %s", dots ? n : kind_name[k], as);
		say("right", e->d_ino == st.st_ino ? "right" : "wrong",
			"readdir: number of %s, as %s", dots ? n : kind_name[k], as);
	}
	say(str("%d", (int)last + 2), str("%d", seen), "readdir: entries, as %s", as);
	closedir(d);
	struct stat here = look("."), parent = look("d/..");
	say("equal", here.st_ino == parent.st_ino ? "equal" : "not",
		"lstat: .. is the parent, as %s", as);
}

static void counts(void)
{
	static const int list[] = {0, 1, 2, 3, 10, 100, 300, 500};
	for (size_t i = 0; i < COUNT(list); i++) {
		struct names n = {0};
		fresh(0777);
		be(ANN);
		make(FOLDER, "d", 0700);
		for (int k = 0; k < list[i]; k++)
			must(symlink("t",
				     str("d/a-name-%d-%.*s", k, k % 200,
					     "................................"
					     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
					     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
					     "yyyyyy")),
				"makes");
		DIR *d = opendir("d");
		names_read(d, &n);
		say(str("%d, once each, with . and ..", list[i]),
			str("%zu, %s each, %s", n.count, n.twice ? "twice" : "once",
				n.dot && n.dotdot ? "with . and .." : "without . or .."),
			"readdir: %d names", list[i]);
		bool right = true;
		for (size_t k = 0; k < n.count; k++) {
			struct stat st;
			right &= lstat(str("d/%s", n.list[k]), &st) == 0;
		}
		say("all", right ? "all" : "not all", "lstat: of %d names that were listed",
			list[i]);
		names_free(&n);
		rewinddir(d);
		names_read(d, &n);
		say(str("%d", list[i]), str("%zu", n.count), "rewinddir: %d names", list[i]);
		names_free(&n);
		/* From each of a few places on, what comes is the same. */
		for (int at = 1; at < list[i]; at += 1 + list[i] / 4) {
			rewinddir(d);
			for (int k = 0; k < at; k++)
				must(readdir(d) ? 0 : -1, "lists");
			long place = telldir(d);
			struct dirent *e = readdir(d);
			char *next = strdup(e ? e->d_name : "the end");
			while (readdir(d))
				;
			seekdir(d, place);
			e = readdir(d);
			say("the same",
				strcmp(next, e ? e->d_name : "the end") == 0 ? "the same"
									     : "another",
				"seekdir: to %d of %d names", at, list[i]);
			free(next);
		}
		/* Removed while they are listed. */
		int removed = 0;
		struct dirent *e;
		rewinddir(d);
		while ((e = readdir(d)))
			if (e->d_name[0] != '.')
				removed += unlinkat(dirfd(d), e->d_name, 0) == 0;
		say(str("%d", list[i]), str("%d", removed),
			"unlink: each of %d names as it is listed", list[i]);
		closedir(d);
		say("ok", answer(rmdir("d")), "rmdir: after that, %d names", list[i]);
	}
}

static void changes(void)
{
	struct names n = {0};
	fresh(0777);
	be(ANN);
	for (int i = 0; i < 20; i++)
		put(str("f%02d", i), "", 0, 0600);
	DIR *d = opendir(".");
	must(readdir(d) ? 0 : -1, "lists");
	put("new", "", 0, 0600);
	must(unlink("f07"), "removes");
	must(rename("f08", "g08"), "renames");
	rewinddir(d);
	names_read(d, &n);
	say("20", str("%zu", n.count), "rewinddir: names after changes");
	bool new = false, old = false;
	for (size_t i = 0; i < n.count; i++) {
		new |= strcmp(n.list[i], "new") == 0;
		old |= strcmp(n.list[i], "f07") == 0 || strcmp(n.list[i], "f08") == 0;
	}
	say("there", new ? "there" : "missing", "rewinddir: what was made");
	say("gone", old ? "there" : "gone", "rewinddir: what was removed and renamed");
	names_free(&n);
	closedir(d);
	/* A listing that goes on shows what was there all the time, once. */
	fresh(0777);
	be(ANN);
	for (int i = 0; i < 400; i++)
		must(symlink("t", str("stays-%d", i)), "makes");
	d = opendir(".");
	for (int i = 0; i < 100; i++) {
		struct dirent *e = readdir(d);
		if (strcmp(e->d_name, ".") == 0)
			n.dot = true;
		else if (strcmp(e->d_name, "..") == 0)
			n.dotdot = true;
		else
			n.list[n.count++] = strdup(e->d_name);
	}
	for (int i = 0; i < 100; i++)
		must(symlink("t", str("comes-%d", i)), "makes");
	names_read(d, &n);
	closedir(d);
	size_t stayed = 0;
	for (size_t i = 0; i < n.count; i++)
		stayed += n.list[i][0] == 's';
	say("400", str("%zu", stayed), "readdir: what was there all the time");
	say("once", n.twice ? "twice" : "once", "readdir: each");
	names_free(&n);
}

static void refused(void)
{
	char b[1024];
	for (enum who who = ROOT; who < USERS; who++) {
		const char *as = who_name[who];
		fresh(0777);
		be(who);
		put("f", "", 0, 0600);
		must(symlink(".", "l"), "links");
		say("ENOTDIR", answer(opendir("f") ? 0 : -1), "opendir: a file, as %s", as);
		say("ENOENT", answer(opendir("absent") ? 0 : -1), "opendir: an absent name, as %s",
			as);
		say("ENOENT", answer(opendir("") ? 0 : -1), "opendir: an empty name, as %s", as);
		DIR *d = opendir("l");
		say("ok", answer(d ? 0 : -1), "opendir: a symlink to a directory, as %s", as);
		if (d)
			closedir(d);
		int fd = open(".", O_RDONLY), file = open("f", O_RDONLY), path = open(".", O_PATH);
		say("EINVAL", answer(syscall(SYS_getdents64, fd, b, 1)),
			"getdents64: room for one byte, as %s", as);
		say("EINVAL", answer(syscall(SYS_getdents64, fd, b, 20)),
			"getdents64: too little room, as %s", as);
		say("EFAULT", answer(syscall(SYS_getdents64, fd, (char *)1, 1000)),
			"getdents64: a bad address, as %s", as);
		say("ENOTDIR", answer(syscall(SYS_getdents64, file, b, 1000)),
			"getdents64: a file, as %s", as);
		say("EBADF", answer(syscall(SYS_getdents64, path, b, 1000)),
			"getdents64: O_PATH, as %s", as);
		say("EBADF", answer(syscall(SYS_getdents64, 9999, b, 1000)),
			"getdents64: a closed descriptor, as %s", as);
		say("EISDIR", answer(read(fd, b, 10)), "read: a directory, as %s", as);
		say("EBADF", answer(write(fd, b, 10)), "write: a directory, as %s", as);
		say("ok", answer(lseek(fd, 0, SEEK_SET)), "lseek: a directory, as %s", as);
		say("EINVAL", answer(lseek(fd, -1, SEEK_SET)), "lseek: a directory, to -1, as %s",
			as);
		close(fd);
		close(file);
		close(path);
	}
}

void lists_run(void)
{
	group("lists");
	for (enum who who = ROOT; who < USERS; who++)
		entries(who);
	counts();
	changes();
	refused();
}
