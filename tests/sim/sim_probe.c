/*
 * Small stories on a lower, and what is left of them: the same code on a real filesystem, whose
 * power tests/integ/test_sim_real.py lets go, and on the simulated disk.
 *
 *     sim-probe list               the stories
 *     sim-probe do STORY FOLDER    on the real one
 *     sim-probe look STORY FOLDER  one line: what is there
 *     sim-probe allowed STORY      all that the simulated disk may leave, a line each
 *     sim-probe allowed STORY writeback    the same with SIM_SIZE_BEFORE_DATA
 */
#include "tests/sim/sim_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#define SEEDS 4000
#define OUTCOMES 256

struct place {
	struct lower *l;
	const struct lower_ops *o;
	int root;
};

static int need(int r, const char *what)
{
	if (r < 0) {
		printf("failed: %s: %s\n", what, strerror(-r));
		exit(1);
	}
	return r;
}

static int make(struct place *p, int dir, const char *name, int c, size_t len)
{
	static uint8_t bytes[8 * SIM_PAGE];
	int fd = need(p->o->openat(p->l, dir, name, O_RDWR | O_CREAT, 0600, NULL), name);
	memset(bytes, c, len);
	need(lower_write_all(p->l, fd, bytes, len, 0), name);
	return fd;
}

static void put(struct place *p, int fd, int c, size_t len, uint64_t at)
{
	static uint8_t bytes[8 * SIM_PAGE];
	memset(bytes, c, len);
	need(lower_write_all(p->l, fd, bytes, len, at), "write");
}

static void flush(struct place *p, int fd)
{
	need(p->o->fsync(p->l, fd, false), "fsync");
}

static int folder(struct place *p, const char *name)
{
	need(p->o->mkdirat(p->l, p->root, name, 0700, NULL), name);
	return need(p->o->openat(p->l, p->root, name, O_RDONLY | O_DIRECTORY, 0, NULL), name);
}

static void dir_with_file(struct place *p)
{
	make(p, folder(p, "d"), "f", 'a', 16);
	flush(p, p->root);
}

static void file_then_dir(struct place *p)
{
	make(p, p->root, "f", 'a', SIM_PAGE);
	flush(p, p->root);
}

static void file_alone(struct place *p)
{
	flush(p, make(p, p->root, "f", 'a', SIM_PAGE));
}

static void replaced(struct place *p)
{
	flush(p, make(p, p->root, "f", 'o', SIM_PAGE));
	flush(p, p->root);
	make(p, p->root, "g", 'n', SIM_PAGE);
	need(p->o->renameat(p->l, p->root, "g", p->root, "f", 0), "rename");
	flush(p, p->root);
}

static void linked(struct place *p)
{
	int fd = make(p, p->root, "g", 'a', SIM_PAGE);
	need(p->o->fsync(p->l, fd, true), "fdatasync");
	need(p->o->linkfd(p->l, fd, p->root, "f"), "link");
	flush(p, p->root);
}

static void with_xattr(struct place *p)
{
	int fd = make(p, p->root, "f", 'a', SIM_PAGE);
	need(p->o->fsetxattr(p->l, fd, "user.x", "value", 5, 0), "setxattr");
	flush(p, p->root);
}

static void appended(struct place *p)
{
	int fd = make(p, p->root, "f", 'a', SIM_PAGE);
	flush(p, fd);
	flush(p, p->root);
	put(p, fd, 'b', 4 * SIM_PAGE, SIM_PAGE);
}

static void appended_inside(struct place *p)
{
	int fd = make(p, p->root, "f", 'a', 100);
	flush(p, fd);
	put(p, fd, 'b', 100, 100);
	need(p->o->mkdirat(p->l, p->root, "g", 0700, NULL), "mkdir");
	flush(p, p->root);
}

static void moved(struct place *p)
{
	int from = folder(p, "d"), to = folder(p, "e");
	flush(p, make(p, from, "f", 'a', 1));
	flush(p, p->root);
	need(p->o->renameat(p->l, from, "f", to, "f", 0), "rename");
	flush(p, to);
}

static void recorded(struct place *p)
{
	int dir = folder(p, "d");
	need(p->o->symlinkat(
		     p->l, "record of a directory, forty-seven characters..", dir, "g", NULL),
		"symlink");
	flush(p, make(p, dir, "f", 'a', SIM_PAGE));
}

static void overwritten(struct place *p)
{
	int fd = make(p, p->root, "f", 'a', 3 * SIM_PAGE);
	flush(p, fd);
	put(p, fd, 'b', 3 * SIM_PAGE, 0);
}

static void renamed_then_data(struct place *p)
{
	int fd = make(p, p->root, "g", 'a', SIM_PAGE);
	flush(p, fd);
	flush(p, p->root);
	need(p->o->renameat(p->l, p->root, "g", p->root, "f", 0), "rename");
	put(p, fd, 'b', SIM_PAGE, 0);
	need(p->o->fsync(p->l, fd, true), "fdatasync");
}

static void renamed_then_synced(struct place *p)
{
	int fd = make(p, p->root, "g", 'a', SIM_PAGE);
	flush(p, fd);
	flush(p, p->root);
	need(p->o->renameat(p->l, p->root, "g", p->root, "f", 0), "rename");
	flush(p, fd);
}

static void reserved(struct place *p)
{
	int fd = need(p->o->openat(p->l, p->root, "f", O_RDWR | O_CREAT, 0600, NULL), "f");
	need(p->o->fallocate(p->l, fd, 0, 0, 4 * SIM_PAGE), "fallocate");
	flush(p, fd);
	put(p, fd, 'a', 2 * SIM_PAGE, 0);
	need(p->o->mkdirat(p->l, p->root, "g", 0700, NULL), "mkdir");
	flush(p, p->root);
}

static void cut(struct place *p)
{
	int fd = make(p, p->root, "f", 'a', 4 * SIM_PAGE);
	flush(p, fd);
	need(p->o->ftruncate(p->l, fd, SIM_PAGE + 100), "ftruncate");
	need(p->o->mkdirat(p->l, p->root, "g", 0700, NULL), "mkdir");
	flush(p, p->root);
}

static void punched(struct place *p)
{
	int fd = make(p, p->root, "f", 'a', 4 * SIM_PAGE);
	flush(p, fd);
	need(p->o->fallocate(
		     p->l, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, SIM_PAGE, 2 * SIM_PAGE),
		"punch");
}

static void removed(struct place *p)
{
	int fd = make(p, p->root, "f", 'a', SIM_PAGE);
	flush(p, fd);
	flush(p, p->root);
	need(p->o->unlinkat(p->l, p->root, "f", 0), "unlink");
	flush(p, fd);
}

static const struct {
	const char *name;
	void (*tell)(struct place *p);
} stories[] = {
	{"directory-with-file", dir_with_file},
	{"file-then-directory", file_then_dir},
	{"file-alone", file_alone},
	{"replaced", replaced},
	{"linked", linked},
	{"with-xattr", with_xattr},
	{"appended", appended},
	{"appended-inside", appended_inside},
	{"moved", moved},
	{"recorded", recorded},
	{"overwritten", overwritten},
	{"renamed-then-data", renamed_then_data},
	{"renamed-then-synced", renamed_then_synced},
	{"reserved", reserved},
	{"cut", cut},
	{"punched", punched},
	{"removed", removed},
};
#define STORIES (sizeof(stories) / sizeof(stories[0]))

/* "aaaa" as "a4": runs of bytes by sectors of 100 would be too many words. */
static size_t say_content(char *to, size_t room, const uint8_t *bytes, size_t len)
{
	size_t at = 0;
	for (size_t i = 0; i < len;) {
		size_t run = i;
		while (run < len && bytes[run] == bytes[i])
			run++;
		int n = snprintf(to + at, room - at, " %c%zu", bytes[i] ? bytes[i] : '0', run - i);
		at += (size_t)n < room - at ? (size_t)n : room - at - 1;
		i = run;
	}
	return at;
}

static size_t look_at(struct place *p, int dir, const char *name, char *to, size_t room)
{
	static uint8_t bytes[8 * SIM_PAGE];
	struct stat st;
	char target[64];
	int r = p->o->fstatat(p->l, dir, name, &st);
	if (r == -ENOENT)
		return 0;
	need(r, name);
	size_t at = (size_t)snprintf(to, room, "%s", name);
	if (S_ISLNK(st.st_mode)) {
		ssize_t n =
			need((int)p->o->readlinkat(p->l, dir, name, target, sizeof(target)), name);
		at += (size_t)snprintf(to + at, room - at, " -> %zd", n);
	} else if (S_ISREG(st.st_mode)) {
		int fd = need(p->o->openat(p->l, dir, name, O_RDONLY, 0, NULL), name);
		ssize_t n = lower_pread(p->l, fd, bytes, sizeof(bytes), 0);
		at += say_content(to + at, room - at, bytes, (size_t)need((int)n, name));
		if (p->o->fgetxattr(p->l, fd, "user.x", target, sizeof(target)) == 5)
			at += (size_t)snprintf(to + at, room - at, " +x");
		p->o->close(p->l, fd);
	}
	return at + (size_t)snprintf(to + at, room - at, "; ");
}

static void look(struct place *p, char *to, size_t room)
{
	static const char *const names[] = {"f", "g"};
	static const char *const dirs[] = {".", "d", "e"};
	size_t at = 0;
	to[0] = '\0';
	for (size_t d = 0; d < 3; d++) {
		int dir = p->o->openat(p->l, p->root, dirs[d], O_RDONLY | O_DIRECTORY, 0, NULL);
		if (dir < 0)
			continue;
		at += (size_t)snprintf(to + at, room - at, "%s: ", dirs[d]);
		for (size_t n = 0; n < 2; n++)
			at += look_at(p, dir, names[n], to + at, room - at);
		p->o->close(p->l, dir);
	}
}

/* sizes 0: as on a filesystem that the promises are for; else one more than an enum sim_sizes. */
static void allowed(size_t story, unsigned sizes)
{
	static char seen[OUTCOMES][512], now[512];
	size_t count = 0;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		const struct sim_options o = {.seed = seed,
			.sector = 4096,
			.sizes = sizes ? sizes - 1 : seed & 1,
			.background = seed & 2 ? 100 : 0};
		struct sim_disk *d = sim_disk_new(&o);
		if (!d)
			exit(1);
		struct place p = {sim_disk_lower(d), sim_disk_lower(d)->ops, 0};
		p.root = need(p.o->reopen(p.l, sim_disk_root(d), O_RDONLY | O_DIRECTORY), "root");
		stories[story].tell(&p);
		sim_disk_power_cut(d);
		p.root = need(p.o->reopen(p.l, sim_disk_root(d), O_RDONLY | O_DIRECTORY), "root");
		look(&p, now, sizeof(now));
		size_t i = 0;
		while (i < count && strcmp(seen[i], now) != 0)
			i++;
		if (i == count && count < OUTCOMES)
			memcpy(seen[count++], now, sizeof(now));
		sim_disk_free(d);
	}
	for (size_t i = 0; i < count; i++)
		puts(seen[i]);
}

int main(int argc, char **argv)
{
	char text[512];
	size_t story = 0;
	if (argc == 2 && !strcmp(argv[1], "list")) {
		for (size_t i = 0; i < STORIES; i++)
			puts(stories[i].name);
		return 0;
	}
	while (argc > 2 && story < STORIES && strcmp(stories[story].name, argv[2]) != 0)
		story++;
	if (argc < 3 || story == STORIES)
		return 2;
	if (!strcmp(argv[1], "allowed")) {
		allowed(story, argc > 3 ? 1 + SIM_SIZE_BEFORE_DATA : 0);
		return 0;
	}
	if (argc != 4)
		return 2;
	AUTO_CLOSE root = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct place p = {lower_posix(), lower_posix()->ops, root};
	need(root < 0 ? -errno : 0, argv[3]);
	if (!strcmp(argv[1], "do"))
		stories[story].tell(&p);
	look(&p, text, sizeof(text));
	if (!strcmp(argv[1], "look"))
		puts(text);
	return 0;
}
