/*
 * Random calls on a tree by several processes, against a model in memory.
 *
 * Each process has a grove: its own names, in directories that are everybody's (c0, c1, c2) and in
 * directories of its own below them. All of them work at the same time, mostly in the same
 * directories; what a process finds of its own names depends on it alone. A name begins with its
 * owner's letter where it stands in a directory of all. Every PHASE operations pairs of processes
 * meet, and one of each moves things between the two groves. So everything follows from the seed.
 */
#include "tests/exercise/exercise.h"
#include "tests/exercise/exercise_grove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

#define PHASE 200u /* operations between two meetings */
#define MEETING 8u /* moves of a pair */
#define CROWD 220u /* entries of a grove, about */
#define HELD 8u
#define SIZE_MAX_FILE 9000u
#define LISTED 4096u

struct owner {
	struct sim_random random;
	struct exercise_history history;
	struct grove grove;
	uint64_t done;
	uint64_t counts[32];
	double spent[32]; /* seconds */
};

struct shared {
	pthread_barrier_t barrier;
	int expired, ended;
	struct owner owners[EXERCISE_PROCESSES_MAX];
};

/* What one process keeps open; its content is the node's, while that has no name, too. */
struct held {
	int fd;
	unsigned node;
};

struct run {
	const struct exercise_options *o;
	struct shared *shared;
	unsigned number;
	struct owner *owner;
	struct grove *g;
	struct held held[HELD];
	unsigned nested; /* in a listing: no other one */
	double began, until;
	unsigned rounds, remounts;
};

#define FAIL(r, ...) exercise_fail((r)->o, &(r)->owner->history, (r)->owner->done, __VA_ARGS__)
#define NOTE(r, ...) exercise_note_more(&(r)->owner->history, __VA_ARGS__)

static uint64_t below(struct run *r, uint64_t n)
{
	return sim_random_below(&r->owner->random, n);
}

static bool chance(struct run *r, unsigned percent)
{
	return below(r, 100) < percent;
}

/* A name that a person can tell from another. */
static const char *shown(const char *name)
{
	static char text[4][64];
	static unsigned turn;
	char *to = text[turn++ % 4];
	size_t len = strlen(name);
	uint32_t mix = 0;
	int n = 0;
	for (size_t i = 0; i < len; i++)
		mix = mix * 31 + (uint8_t)name[i];
	for (size_t i = 0; i < len && i < 5; i++)
		n += snprintf(to + n, 64 - (size_t)n,
			name[i] > ' ' && name[i] < 127 ? "%c" : "\\%02x", (uint8_t)name[i]);
	snprintf(to + n, 64 - (size_t)n, "~%zu~%08x", len, mix);
	return to;
}

static void make_name(struct run *r, char name[static GROVE_NAME])
{
	static const uint8_t edges[] = {255, 254, 175, 176, 174, 160, 143, 144};
	size_t how = (size_t)below(r, 100), len;
	len = how < 50   ? (size_t)below(r, 12) + 2
	      : how < 75 ? (size_t)below(r, 120) + 2
	      : how < 90 ? edges[below(r, sizeof(edges))]
			 : (size_t)below(r, 254) + 2;
	bool plain = chance(r, 30);
	name[0] = (char)('A' + r->number);
	for (size_t i = 1; i < len; i++) {
		uint8_t c = (uint8_t)(plain ? 'a' + below(r, 3) : below(r, 255) + 1);
		name[i] = (char)(c == '/' ? '_' : c);
	}
	name[len] = 0;
}

/* One that does not stand there; often one that did once. */
static void new_name(struct run *r, unsigned dir, char name[static GROVE_NAME])
{
	const struct grove *g = r->g;
	unsigned gone = g->gone_count < GROVE_GONE ? g->gone_count : GROVE_GONE;
	if (gone && chance(r, 30)) {
		memcpy(name, g->gone[below(r, gone)].name, GROVE_NAME);
		/* It may have come from another's. */
		name[0] = (char)('A' + r->number);
	} else {
		make_name(r, name);
	}
	while (grove_find(g, dir, name) >= 0)
		make_name(r, name);
}

static int any_entry(struct run *r)
{
	const struct grove *g = r->g;
	unsigned at = (unsigned)below(r, GROVE_ENTRIES);
	for (unsigned i = 0; i < GROVE_ENTRIES; i++, at = (at + 1) % GROVE_ENTRIES)
		if (g->entries[at].used)
			return (int)at;
	return -1;
}

static struct grove_node *node_of(struct grove *g, int entry)
{
	return &g->nodes[g->entries[entry].node];
}

static int entry_of_kind(struct run *r, enum grove_kind kind)
{
	unsigned at = (unsigned)below(r, GROVE_ENTRIES);
	for (unsigned i = 0; i < GROVE_ENTRIES; i++, at = (at + 1) % GROVE_ENTRIES)
		if (r->g->entries[at].used && node_of(r->g, (int)at)->kind == kind)
			return (int)at;
	return -1;
}

/* A directory in which something can be made. */
static unsigned any_dir(struct run *r)
{
	int e = chance(r, 50) ? entry_of_kind(r, GROVE_DIRECTORY) : -1;
	if (e >= 0 && grove_depth(r->g, r->g->entries[e].node) < GROVE_DEPTH - 1)
		return r->g->entries[e].node;
	return (unsigned)below(r, GROVE_COMMONS);
}

static void path_in(struct run *r, const struct grove *g, unsigned dir, const char *name,
	char path[static PATH_MAX])
{
	if (!grove_path(g, r->o->dir, dir, name, path))
		FAIL(r, "a path is too long");
}

static void path_of(struct run *r, int entry, char path[static PATH_MAX])
{
	path_in(r, r->g, r->g->entries[entry].dir, r->g->entries[entry].name, path);
}

/* What a call said, against what it should: 0 or an errno. */
static bool expect(struct run *r, int result, int want)
{
	int got = result < 0 ? errno : 0;
	if (got != want)
		FAIL(r, "%s, expected %s", got ? strerror(got) : "it works",
			want ? strerror(want) : "that it works");
	return !want;
}

/* Content. */

static uint8_t content_byte(uint64_t serial, uint32_t at)
{
	return (uint8_t)((serial * 0x9e3779b97f4a7c15u >> 40) + at * 131u + (at >> 8));
}

static void content_fill(const struct grove_node *n, uint8_t *to)
{
	for (uint32_t i = 0; i < n->size; i++)
		to[i] = content_byte(n->serial, i);
}

static void content_new(struct run *r, struct grove_node *n)
{
	n->serial = (uint64_t)r->number << 56 | r->owner->done;
	n->size = chance(r, 50) ? 0 : (uint32_t)below(r, chance(r, 90) ? 300 : SIZE_MAX_FILE);
}

static void content_write(struct run *r, const struct grove_node *n, int fd)
{
	uint8_t bytes[SIZE_MAX_FILE];
	content_fill(n, bytes);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, bytes, n->size, 0) != (ssize_t)n->size)
		FAIL(r, "write: %s", strerror(errno));
}

static void content_check(struct run *r, const struct grove_node *n, int fd)
{
	uint8_t bytes[SIZE_MAX_FILE], want[SIZE_MAX_FILE];
	/* What the kernel keeps says nothing of the filesystem. */
	if (chance(r, 30) && (sync_file_range(fd, 0, 0,
				      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					      SYNC_FILE_RANGE_WAIT_AFTER) < 0 ||
				     posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0))
		FAIL(r, "the cache: %s", strerror(errno));
	ssize_t got = pread(fd, bytes, sizeof(bytes), 0);
	content_fill(n, want);
	if (got != (ssize_t)n->size)
		FAIL(r, "read: %zd (%s), expected %u", got, got < 0 ? strerror(errno) : "",
			n->size);
	for (uint32_t i = 0; i < n->size; i++)
		if (bytes[i] != want[i])
			FAIL(r, "content at %u: expected %02x, got %02x", i, want[i], bytes[i]);
}

static void target_of(const struct grove_node *n, char target[static PATH_MAX])
{
	for (uint32_t i = 0; i < n->size; i++)
		target[i] = (char)('a' + content_byte(n->serial, i) % 26);
	target[n->size] = 0;
}

/* Attributes. */

static mode_t type_of(const struct grove_node *n)
{
	return n->kind == GROVE_FILE        ? S_IFREG
	       : n->kind == GROVE_DIRECTORY ? S_IFDIR
	       : n->kind == GROVE_LINK      ? S_IFLNK
					    : S_IFIFO;
}

static void check_stat(struct run *r, unsigned node, const struct stat *st)
{
	const struct grove_node *n = &r->g->nodes[node];
	unsigned directories, links = n->links;
	if (n->kind == GROVE_DIRECTORY && n->links) {
		(void)grove_children(r->g, node, &directories);
		links = 2 + directories;
	}
	if (st->st_ino != n->ino)
		FAIL(r, "st_ino %llu, expected %llu", (unsigned long long)st->st_ino,
			(unsigned long long)n->ino);
	if ((st->st_mode & S_IFMT) != type_of(n))
		FAIL(r, "st_mode %o, expected %o", st->st_mode, type_of(n));
	if (n->kind != GROVE_LINK && (st->st_mode & 07777) != n->mode)
		FAIL(r, "st_mode %o, expected %o", st->st_mode & 07777, n->mode);
	if (node >= GROVE_COMMONS && st->st_nlink != links)
		FAIL(r, "st_nlink %llu, expected %u", (unsigned long long)st->st_nlink, links);
	if ((n->kind == GROVE_FILE || n->kind == GROVE_LINK) && st->st_size != (off_t)n->size)
		FAIL(r, "st_size %lld, expected %u", (long long)st->st_size, n->size);
}

static void see(struct run *r, int entry)
{
	char path[PATH_MAX];
	struct stat st;
	path_of(r, entry, path);
	if (lstat(path, &st) < 0)
		FAIL(r, "stat of %s: %s", shown(r->g->entries[entry].name), strerror(errno));
	check_stat(r, r->g->entries[entry].node, &st);
}

/* The number of what was made. */
static void number_of(struct run *r, unsigned node, const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		FAIL(r, "stat of what was made: %s", strerror(errno));
	for (unsigned i = 0; i < GROVE_NODES; i++)
		if (i != node && r->g->nodes[i].kind && r->g->nodes[i].ino == st.st_ino)
			FAIL(r, "st_ino %llu is somebody else's", (unsigned long long)st.st_ino);
	r->g->nodes[node].ino = st.st_ino;
	check_stat(r, node, &st);
}

/* The operations. */

static void make(struct run *r, enum grove_kind kind)
{
	char name[GROVE_NAME], path[PATH_MAX], target[PATH_MAX];
	unsigned dir = any_dir(r);
	int exists = chance(r, 8) ? any_entry(r) : -1, fd, made;
	if (!grove_room(r->g, 1, 1))
		return;
	if (exists >= 0) {
		dir = r->g->entries[exists].dir;
		memcpy(name, r->g->entries[exists].name, GROVE_NAME);
	} else {
		new_name(r, dir, name);
	}
	unsigned node = (unsigned)grove_node(r->g, kind);
	struct grove_node *n = &r->g->nodes[node];
	n->mode = (uint16_t)(0600 | below(r, 0200));
	NOTE(r, " %s%s in %u as node %u", shown(name), exists >= 0 ? " (exists)" : "", dir, node);
	path_in(r, r->g, dir, name, path);
	switch (kind) {
	case GROVE_FILE:
		content_new(r, n);
		made = fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, n->mode);
		if (fd >= 0) {
			content_write(r, n, fd);
			if (close(fd) < 0)
				FAIL(r, "close: %s", strerror(errno));
		}
		break;
	case GROVE_DIRECTORY:
		n->mode |= 0700;
		made = mkdir(path, n->mode);
		break;
	case GROVE_LINK:
		n->serial = r->owner->done;
		n->size = (uint32_t)(chance(r, 80) ? below(r, 100) + 1 : below(r, 4000) + 1);
		target_of(n, target);
		made = symlink(target, path);
		break;
	default:
		made = mknod(path, S_IFIFO | n->mode, 0);
		break;
	}
	if (expect(r, made < 0 ? -1 : 0, exists >= 0 ? EEXIST : 0)) {
		(void)grove_add(r->g, dir, name, node, r->owner->done);
		number_of(r, node, path);
	} else {
		grove_free(r->g, node);
	}
}

static void act_create(struct run *r)
{
	make(r, GROVE_FILE);
}

static void act_mkdir(struct run *r)
{
	make(r, GROVE_DIRECTORY);
}

static void act_symlink(struct run *r)
{
	make(r, GROVE_LINK);
}

static void act_mkfifo(struct run *r)
{
	make(r, GROVE_FIFO);
}

static void act_link(struct run *r)
{
	char name[GROVE_NAME], from[PATH_MAX], to[PATH_MAX];
	int e = any_entry(r);
	unsigned dir = any_dir(r);
	if (e < 0 || !grove_room(r->g, 0, 1))
		return;
	bool directory = node_of(r->g, e)->kind == GROVE_DIRECTORY;
	new_name(r, dir, name);
	NOTE(r, " %s to %s in %u", shown(r->g->entries[e].name), shown(name), dir);
	path_of(r, e, from);
	path_in(r, r->g, dir, name, to);
	if (expect(r, linkat(AT_FDCWD, from, AT_FDCWD, to, 0), directory ? EPERM : 0)) {
		unsigned made = grove_add(r->g, dir, name, r->g->entries[e].node, r->owner->done);
		see(r, (int)made);
		see(r, e);
	}
}

static void act_unlink(struct run *r)
{
	char path[PATH_MAX];
	int e = any_entry(r);
	if (e < 0)
		return;
	bool directory = node_of(r->g, e)->kind == GROVE_DIRECTORY;
	NOTE(r, " %s of %u", shown(r->g->entries[e].name), r->g->entries[e].dir);
	path_of(r, e, path);
	if (expect(r, unlink(path), directory ? EISDIR : 0))
		grove_remove(r->g, (unsigned)e, r->owner->done);
}

static void act_rmdir(struct run *r)
{
	char path[PATH_MAX];
	unsigned directories;
	int e = chance(r, 90) ? entry_of_kind(r, GROVE_DIRECTORY) : any_entry(r);
	if (e < 0)
		return;
	unsigned node = r->g->entries[e].node;
	NOTE(r, " %s of %u, node %u", shown(r->g->entries[e].name), r->g->entries[e].dir, node);
	path_of(r, e, path);
	if (expect(r, rmdir(path),
		    r->g->nodes[node].kind != GROVE_DIRECTORY  ? ENOTDIR
		    : grove_children(r->g, node, &directories) ? ENOTEMPTY
							       : 0))
		grove_remove(r->g, (unsigned)e, r->owner->done);
}

/* What rename2 must say of an entry and its new place, where `over` (or -1) stands. */
static int rename_says(const struct grove *g, unsigned e, unsigned dir, int over, unsigned flags)
{
	unsigned node = g->entries[e].node, directories;
	bool is_dir = g->nodes[node].kind == GROVE_DIRECTORY;
	if (over < 0 && flags & RENAME_EXCHANGE)
		return ENOENT;
	if (over >= 0 && flags & RENAME_NOREPLACE)
		return EEXIST;
	if (is_dir && grove_inside(g, dir, node))
		return EINVAL;
	if (over < 0)
		return 0;
	unsigned there = g->entries[over].node;
	bool over_dir = g->nodes[there].kind == GROVE_DIRECTORY;
	if (over_dir && grove_inside(g, g->entries[e].dir, there))
		return flags & RENAME_EXCHANGE ? EINVAL : ENOTEMPTY;
	if (node == there || flags & RENAME_EXCHANGE)
		return 0;
	if (is_dir != over_dir)
		return is_dir ? ENOTDIR : EISDIR;
	return over_dir && grove_children(g, there, &directories) ? ENOTEMPTY : 0;
}

static bool fits(const struct grove *g, unsigned node, unsigned dir)
{
	return grove_depth(g, dir) + grove_height(g, node) < GROVE_DEPTH;
}

static void act_rename(struct run *r)
{
	static const unsigned all[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	char name[GROVE_NAME], from[PATH_MAX], to[PATH_MAX];
	unsigned flags = all[below(r, 4)], dir = any_dir(r);
	struct grove *g = r->g;
	int e = any_entry(r), over = -1;
	if (e < 0)
		return;
	if (chance(r, flags & RENAME_EXCHANGE ? 90 : flags ? 30 : 50)) {
		over = any_entry(r);
		dir = g->entries[over].dir;
		memcpy(name, g->entries[over].name, GROVE_NAME);
	} else {
		new_name(r, dir, name);
	}
	if (!fits(g, g->entries[e].node, dir) ||
		(over >= 0 && !fits(g, g->entries[over].node, g->entries[e].dir)))
		return;
	NOTE(r, "%s %s of %u, node %u, to %s%s in %u",
		flags & RENAME_EXCHANGE ? " exchange"
		: flags                 ? " noreplace"
					: "",
		shown(g->entries[e].name), g->entries[e].dir, g->entries[e].node, shown(name),
		over >= 0 ? " (exists)" : "", dir);
	path_of(r, e, from);
	path_in(r, g, dir, name, to);
	int says = rename_says(g, (unsigned)e, dir, over, flags);
	if (!expect(r, renameat2(AT_FDCWD, from, AT_FDCWD, to, flags), says))
		return;
	if (over == e || (over >= 0 && g->entries[over].node == g->entries[e].node))
		return; /* the same file: nothing happens */
	if (flags & RENAME_EXCHANGE) {
		grove_exchange(g, (unsigned)e, (unsigned)over, r->owner->done);
		see(r, over);
	} else {
		if (over >= 0)
			grove_remove(g, (unsigned)over, r->owner->done);
		grove_move(g, (unsigned)e, dir, name, r->owner->done);
	}
	see(r, e);
}

static void act_stat(struct run *r)
{
	char name[GROVE_NAME], path[PATH_MAX];
	struct stat st;
	int e = any_entry(r);
	if (e >= 0 && chance(r, 85)) {
		NOTE(r, " %s of %u", shown(r->g->entries[e].name), r->g->entries[e].dir);
		see(r, e);
		return;
	}
	unsigned dir = any_dir(r);
	new_name(r, dir, name);
	NOTE(r, " of nothing: %s of %u", shown(name), dir);
	path_in(r, r->g, dir, name, path);
	expect(r, lstat(path, &st), ENOENT);
}

static void act_read(struct run *r)
{
	char path[PATH_MAX], target[PATH_MAX], got[PATH_MAX];
	int e = any_entry(r), fd;
	if (e < 0)
		return;
	const struct grove_node *n = node_of(r->g, e);
	NOTE(r, " %s of %u, node %u", shown(r->g->entries[e].name), r->g->entries[e].dir,
		r->g->entries[e].node);
	path_of(r, e, path);
	if (n->kind == GROVE_FILE) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			FAIL(r, "open: %s", strerror(errno));
		content_check(r, n, fd);
		if (close(fd) < 0)
			FAIL(r, "close: %s", strerror(errno));
	} else if (n->kind == GROVE_LINK) {
		ssize_t len = readlink(path, got, sizeof(got));
		target_of(n, target);
		if (len != (ssize_t)n->size || memcmp(got, target, n->size) != 0)
			FAIL(r, "readlink: %zd, expected %u", len, n->size);
	}
}

static void act_write(struct run *r)
{
	char path[PATH_MAX];
	int e = entry_of_kind(r, GROVE_FILE), fd;
	if (e < 0)
		return;
	struct grove_node *n = node_of(r->g, e);
	NOTE(r, " %s of %u", shown(r->g->entries[e].name), r->g->entries[e].dir);
	path_of(r, e, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		FAIL(r, "open: %s", strerror(errno));
	content_new(r, n);
	content_write(r, n, fd);
	if (close(fd) < 0)
		FAIL(r, "close: %s", strerror(errno));
	see(r, e);
}

static void act_chmod(struct run *r)
{
	char path[PATH_MAX];
	int e = any_entry(r);
	if (e < 0 || node_of(r->g, e)->kind == GROVE_LINK)
		return;
	uint16_t mode = (uint16_t)(0600 | below(r, 0200) |
				   (node_of(r->g, e)->kind == GROVE_DIRECTORY ? 0100 : 0));
	NOTE(r, " %s of %u to %o", shown(r->g->entries[e].name), r->g->entries[e].dir, mode);
	path_of(r, e, path);
	if (expect(r, chmod(path, mode), 0))
		node_of(r->g, e)->mode = mode;
	see(r, e);
}

/* Handles that outlive names. */

static void act_hold(struct run *r)
{
	char path[PATH_MAX];
	unsigned slot = (unsigned)below(r, HELD);
	int e = entry_of_kind(r, chance(r, 70) ? GROVE_FILE : GROVE_DIRECTORY);
	if (e < 0 || r->held[slot].fd >= 0)
		return;
	struct grove_node *n = node_of(r->g, e);
	NOTE(r, " node %u in slot %u", r->g->entries[e].node, slot);
	path_of(r, e, path);
	r->held[slot].fd = open(path, (n->kind == GROVE_FILE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (r->held[slot].fd < 0)
		FAIL(r, "open: %s", strerror(errno));
	r->held[slot].node = r->g->entries[e].node;
	n->held++;
	/* Mostly what is held goes at once. */
	if (n->kind == GROVE_FILE && chance(r, 60)) {
		expect(r, unlink(path), 0);
		grove_remove(r->g, (unsigned)e, r->owner->done);
	}
}

/* In a directory that was removed nothing is, and nothing can be made. */
static void use_removed(struct run *r, int fd)
{
	char bytes[1024];
	lseek(fd, 0, SEEK_SET);
	long n = syscall(SYS_getdents64, fd, bytes, sizeof(bytes));
	if (n != 0 && (n > 0 || errno != ENOENT))
		FAIL(r, "a removed directory lists %ld bytes (%s)", n,
			n < 0 ? strerror(errno) : "");
	expect(r, mkdirat(fd, "new", 0700), ENOENT);
}

static void act_use(struct run *r)
{
	struct held *h = &r->held[below(r, HELD)];
	struct stat st;
	if (h->fd < 0)
		return;
	struct grove_node *n = &r->g->nodes[h->node];
	NOTE(r, " node %u, %u names", h->node, n->links);
	if (fstat(h->fd, &st) < 0)
		FAIL(r, "fstat: %s", strerror(errno));
	check_stat(r, h->node, &st);
	if (n->kind == GROVE_FILE) {
		content_check(r, n, h->fd);
		if (chance(r, 40)) {
			content_new(r, n);
			content_write(r, n, h->fd);
		}
	} else if (!n->links) {
		use_removed(r, h->fd);
	}
}

static void release(struct run *r, struct held *h)
{
	if (h->fd < 0)
		return;
	if (close(h->fd) < 0)
		FAIL(r, "close: %s", strerror(errno));
	h->fd = -1;
	r->g->nodes[h->node].held--;
	grove_free(r->g, h->node);
}

static void act_release(struct run *r)
{
	release(r, &r->held[below(r, HELD)]);
}

/* Listing. */

struct listed {
	char name[GROVE_NAME];
	uint64_t ino;
	int64_t next; /* position behind it */
	uint8_t type;
};

struct listing {
	unsigned dir, count;
	uint64_t since; /* the number of the operation that begins it */
	struct listed *all;
};

struct dirent_head {
	uint64_t ino;
	int64_t next;
	uint16_t len;
	uint8_t type;
} __attribute__((packed));

/* The next piece of a directory; false at its end. */
static bool list_some(struct run *r, int fd, size_t room, struct listing *l)
{
	char bytes[32768];
	long n = syscall(SYS_getdents64, fd, bytes, room);
	if (n < 0 && errno == ENOENT && !r->g->nodes[l->dir].links)
		return false; /* removed meanwhile */
	if (n < 0)
		FAIL(r, "getdents: %s", strerror(errno));
	for (long at = 0; at < n;) {
		struct dirent_head head;
		memcpy(&head, bytes + at, sizeof(head));
		if (l->count == LISTED)
			FAIL(r, "a listing without end");
		struct listed *e = &l->all[l->count++];
		snprintf(e->name, GROVE_NAME, "%s", bytes + at + 19);
		e->ino = head.ino;
		e->next = head.next;
		e->type = head.type;
		at += head.len;
	}
	return n > 0;
}

/* One that was listed, against the grove as it is now. */
static void check_listed(struct run *r, const struct listing *l, const struct listed *e)
{
	const struct grove *g = r->g;
	unsigned who = (unsigned)(uint8_t)e->name[0] - 'A';
	if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		return;
	if (l->dir < GROVE_COMMONS && who < r->o->processes && who != r->number)
		return;
	int at = grove_find(g, l->dir, e->name);
	if (at < 0 && !grove_was(g, l->dir, e->name, l->since))
		FAIL(r, "node %u lists %s, which is not there", l->dir, shown(e->name));
	if (at < 0 || g->entries[at].born >= l->since)
		return;
	const struct grove_node *n = node_of(r->g, at);
	if (e->ino != n->ino)
		FAIL(r, "node %u lists %s with number %llu, expected %llu", l->dir, shown(e->name),
			(unsigned long long)e->ino, (unsigned long long)n->ino);
	if (e->type != DT_UNKNOWN && e->type != type_of(n) >> 12)
		FAIL(r, "node %u lists %s with type %u", l->dir, shown(e->name), e->type);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* All of it, once, of what was there all the time. */
static void check_listing(struct run *r, struct listing *l)
{
	const struct grove *g = r->g;
	unsigned dots = 0;
	for (unsigned i = 0; i < l->count; i++) {
		check_listed(r, l, &l->all[i]);
		dots += strcmp(l->all[i].name, ".") == 0 || strcmp(l->all[i].name, "..") == 0;
	}
	/* When ext4 gives a directory its index, these two move while somebody lists it. */
	if (dots != 2 && l->since > r->owner->done)
		FAIL(r, "node %u lists %u dots among %u", l->dir, dots, l->count);
	qsort(l->all, l->count, sizeof(*l->all), by_name);
	for (unsigned i = 1; i < l->count; i++) {
		const char *name = l->all[i].name;
		/* What another makes, removes and makes again may come twice, as one's own. */
		if (strcmp(name, l->all[i - 1].name) != 0)
			continue;
		int at = grove_find(g, l->dir, name);
		if (at >= 0 && g->entries[at].born < l->since)
			FAIL(r, "node %u lists %s twice", l->dir, shown(name));
	}
	for (unsigned i = 0; i < GROVE_ENTRIES; i++) {
		const struct grove_entry *e = &g->entries[i];
		struct listed key;
		if (!e->used || e->dir != l->dir || e->born >= l->since)
			continue;
		memcpy(key.name, e->name, GROVE_NAME);
		if (!bsearch(&key, l->all, l->count, sizeof(key), by_name))
			FAIL(r, "node %u does not list %s, node %u", l->dir, shown(e->name),
				e->node);
	}
}

/* Back to a place of before: what comes there must be what came then, as far as it is still there.
 */
static void seek_back(struct run *r, int fd, size_t room, const struct listing *l)
{
	static struct listed again[LISTED];
	unsigned from = (unsigned)below(r, l->count);
	struct listing second = {.dir = l->dir, .since = l->since, .all = again};
	/* Sometimes from the beginning forward. */
	if (chance(r, 50)) {
		if (lseek(fd, 0, SEEK_SET) < 0)
			FAIL(r, "rewind of a directory: %s", strerror(errno));
		(void)list_some(r, fd, room, &second);
		second.count = 0;
	}
	if (lseek(fd, l->all[from].next, SEEK_SET) < 0)
		FAIL(r, "seek in a directory: %s", strerror(errno));
	while (list_some(r, fd, room, &second))
		;
	for (unsigned i = 0; i < second.count; i++)
		check_listed(r, &second, &again[i]);
	for (unsigned i = from + 1; i < l->count; i++) {
		int at = grove_find(r->g, l->dir, l->all[i].name);
		bool there = false;
		if (at < 0 || r->g->entries[at].born >= l->since)
			continue;
		for (unsigned k = 0; k < second.count && !there; k++)
			there = strcmp(again[k].name, l->all[i].name) == 0;
		if (!there)
			FAIL(r, "node %u, sought back to %lld: %s does not come again", l->dir,
				(long long)l->all[from].next, shown(l->all[i].name));
	}
	for (unsigned k = 0; k < second.count; k++)
		for (unsigned i = 0; i <= from; i++) {
			int at = grove_find(r->g, l->dir, again[k].name);
			if (strcmp(again[k].name, l->all[i].name) == 0 && at >= 0 &&
				r->g->entries[at].born < l->since)
				FAIL(r, "node %u, sought back to %lld: %s comes again", l->dir,
					(long long)l->all[from].next, shown(again[k].name));
		}
}

static void other_acts(struct run *r);

static void act_list(struct run *r)
{
	static const size_t rooms[] = {320, 700, 4096, 32768};
	static struct listed all[LISTED];
	struct listing l = {.all = all};
	char path[PATH_MAX];
	if (r->nested)
		return;
	l.dir = any_dir(r);
	l.since = r->owner->done;
	size_t room = rooms[below(r, 4)];
	bool changes = chance(r, 40), back = chance(r, 30);
	NOTE(r, " node %u, %zu bytes at a time%s", l.dir, room, changes ? ", with changes" : "");
	path_in(r, r->g, l.dir, NULL, path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		FAIL(r, "open of a directory: %s", strerror(errno));
	r->g->nodes[l.dir].held++;
	while (list_some(r, fd, room, &l))
		if (changes && chance(r, 40))
			other_acts(r);
	bool there = r->g->nodes[l.dir].links;
	/* Seeking first: the check sorts. */
	if (there && back && l.count)
		seek_back(r, fd, room, &l);
	if (there)
		check_listing(r, &l);
	if (close(fd) < 0)
		FAIL(r, "close: %s", strerror(errno));
	r->g->nodes[l.dir].held--;
	grove_free(r->g, l.dir);
}

/* At what another process does at this very moment: there or not, but nothing else. */
static void act_peek(struct run *r)
{
	const struct owner *other = &r->shared->owners[below(r, r->o->processes)];
	unsigned at = (unsigned)below(r, GROVE_ENTRIES), how = (unsigned)below(r, 3);
	char name[GROVE_NAME], path[PATH_MAX], text[PATH_MAX];
	const struct grove_entry *e = &other->grove.entries[at];
	struct stat st;
	ssize_t n;
	/* It may change while it is read: then it is a name that nobody has. */
	memcpy(name, e->name, sizeof(name));
	name[GROVE_NAME - 1] = 0;
	unsigned dir = e->dir;
	if (!name[0] || dir >= GROVE_COMMONS)
		return;
	path_in(r, r->g, dir, name, path);
	if (how == 0) {
		n = lstat(path, &st);
	} else if (how == 1) {
		n = readlink(path, text, sizeof(text));
	} else {
		n = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
		if (n >= 0 && fstat((int)n, &st) == 0 && S_ISREG(st.st_mode) &&
			read((int)n, text, sizeof(text)) < 0)
			FAIL(r, "read of another's %s: %s", shown(name), strerror(errno));
		if (n >= 0)
			close((int)n);
	}
	if (n < 0 && errno != ENOENT && !(how == 1 && errno == EINVAL) &&
		!(how == 2 && errno == ELOOP))
		FAIL(r, "%s of another's %s: %s",
			how == 0   ? "stat"
			: how == 1 ? "readlink"
				   : "open",
			shown(name), strerror(errno));
}

static void act_drop(struct run *r)
{
	unsigned what = (unsigned)below(r, 3) + 1;
	NOTE(r, " caches %u", what);
	if (r->o->caches && chance(r, 5))
		exercise_drop_caches(what);
}

static const struct {
	const char *name;
	void (*act)(struct run *r);
	unsigned weight;
} acts[] = {
	{"create", act_create, 110},
	{"mkdir", act_mkdir, 60},
	{"symlink", act_symlink, 40},
	{"mkfifo", act_mkfifo, 20},
	{"link", act_link, 60},
	{"unlink", act_unlink, 60},
	{"rmdir", act_rmdir, 30},
	{"rename", act_rename, 180},
	{"stat", act_stat, 120},
	{"read", act_read, 80},
	{"write", act_write, 25},
	{"chmod", act_chmod, 20},
	{"hold", act_hold, 25},
	{"use", act_use, 40},
	{"release", act_release, 25},
	{"list", act_list, 40},
	{"peek", act_peek, 80},
	{"drop", act_drop, 2},
};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

static unsigned draw_act(struct run *r)
{
	unsigned all = 0, i = 0;
	for (unsigned n = 0; n < ACTS; n++)
		all += acts[n].weight;
	for (uint64_t at = below(r, all); at >= acts[i].weight; i++)
		at -= acts[i].weight;
	/* As many as there should be, about. */
	if (i < 5 && below(r, 2 * CROWD) < r->g->entry_count)
		i = 5 + (unsigned)below(r, 2);
	return i;
}

static void one(struct run *r)
{
	unsigned what = draw_act(r);
	r->owner->done++;
	r->owner->counts[what]++;
	exercise_note(&r->owner->history, "%llu: process %u: %s",
		(unsigned long long)r->owner->done, r->number, acts[what].name);
	double began = exercise_clock();
	acts[what].act(r);
	r->owner->spent[what] += exercise_clock() - began;
}

/* While a directory is listed. */
static void other_acts(struct run *r)
{
	uint64_t many = below(r, 4) + 1;
	r->nested++;
	for (uint64_t i = 0; i < many; i++)
		one(r);
	r->nested--;
}

/* Meetings: things go from one grove to another. */

static void put_node(struct grove *g, int entry, unsigned node, uint64_t now)
{
	g->entries[entry].node = (uint16_t)node;
	g->entries[entry].born = now;
	g->nodes[node].links++;
	if (g->nodes[node].kind == GROVE_DIRECTORY)
		g->nodes[node].entry = (uint16_t)entry;
}

/* What has moved, at its new place. */
static void see_other(struct run *r, struct owner *other, int entry)
{
	struct run there = *r;
	there.g = &other->grove;
	see(&there, entry);
}

/* Swaps what an entry of ours and one of the other's name. */
static void swap(struct run *r, struct owner *other, int mine, int theirs)
{
	struct grove *g = r->g, *h = &other->grove;
	unsigned a = g->entries[mine].node, b = h->entries[theirs].node;
	unsigned to = grove_transfer(g, a, h, other->done);
	unsigned back = grove_transfer(h, b, g, r->owner->done);
	g->nodes[a].links--;
	h->nodes[b].links--;
	grove_free(g, a);
	grove_free(h, b);
	put_node(g, mine, back, r->owner->done);
	put_node(h, theirs, to, other->done);
	see(r, mine);
	see_other(r, other, theirs);
}

/* Gives an entry of ours to the other, under a name of his. */
static void give(
	struct run *r, struct owner *other, int mine, unsigned dir, const char *name, int over)
{
	struct grove *g = r->g, *h = &other->grove;
	unsigned node = g->entries[mine].node;
	if (over >= 0)
		grove_remove(h, (unsigned)over, other->done);
	unsigned to = grove_transfer(g, node, h, other->done);
	grove_remove(g, (unsigned)mine, r->owner->done);
	see_other(r, other, (int)grove_add(h, dir, name, to, other->done));
}

/* One rename2 between two groves. */
static void trade(struct run *r, struct owner *other)
{
	static const unsigned all[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	struct run there = *r;
	char name[GROVE_NAME], from[PATH_MAX], to[PATH_MAX];
	unsigned flags = all[below(r, 4)], nodes, entries, back_nodes = 0, back_entries = 0;
	there.owner = other;
	there.g = &other->grove;
	there.number = (unsigned)(other - r->shared->owners);
	int e = any_entry(r), over = -1;
	unsigned dir = any_dir(&there);
	if (chance(r, flags ? 80 : 50))
		over = any_entry(&there);
	if (over >= 0) {
		dir = there.g->entries[over].dir;
		memcpy(name, there.g->entries[over].name, GROVE_NAME);
	} else {
		new_name(&there, dir, name);
	}
	if (e < 0 || !grove_whole(r->g, r->g->entries[e].node, &nodes, &entries) ||
		!grove_room(there.g, nodes + 1, entries + 1) ||
		grove_depth(there.g, dir) + grove_height(r->g, r->g->entries[e].node) >=
			GROVE_DEPTH)
		return;
	unsigned in = r->g->entries[e].dir;
	if (over >= 0 && flags & RENAME_EXCHANGE &&
		(!grove_whole(there.g, there.g->entries[over].node, &back_nodes, &back_entries) ||
			!grove_room(r->g, back_nodes + 1, back_entries + 1) ||
			grove_depth(r->g, in) +
					grove_height(there.g, there.g->entries[over].node) >=
				GROVE_DEPTH))
		return;
	bool is_dir = node_of(r->g, e)->kind == GROVE_DIRECTORY, over_dir = false;
	unsigned directories, says = 0;
	if (over >= 0)
		over_dir = node_of(there.g, over)->kind == GROVE_DIRECTORY;
	if (flags & RENAME_EXCHANGE)
		says = over < 0 ? ENOENT : 0;
	else if (over >= 0)
		says = flags                 ? EEXIST
		       : is_dir && !over_dir ? ENOTDIR
		       : !is_dir && over_dir ? EISDIR
		       : over_dir && grove_children(
					     there.g, there.g->entries[over].node, &directories)
			       ? ENOTEMPTY
			       : 0;
	exercise_note(&r->owner->history,
		"%llu: process %u and %u: rename %u %s of %u to %s%s in %u",
		(unsigned long long)r->owner->done, r->number, there.number, flags,
		shown(r->g->entries[e].name), in, shown(name), over >= 0 ? " (exists)" : "", dir);
	path_of(r, e, from);
	path_in(&there, there.g, dir, name, to);
	if (!expect(r, renameat2(AT_FDCWD, from, AT_FDCWD, to, flags), (int)says))
		return;
	if (flags & RENAME_EXCHANGE)
		swap(r, other, e, over);
	else
		give(r, other, e, dir, name, over);
}

/* Who meets whom follows from the seed and the meeting's number. */
static void meet(struct run *r, uint64_t meeting)
{
	struct sim_random random = {r->o->seed ^ meeting * 0x9e3779b97f4a7c15u};
	unsigned order[EXERCISE_PROCESSES_MAX], n = r->o->processes;
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n; i > 1; i--) {
		unsigned k = (unsigned)sim_random_below(&random, i), other = order[k];
		order[k] = order[i - 1];
		order[i - 1] = other;
	}
	for (unsigned i = 0; i + 1 < n; i += 2)
		for (unsigned k = 0; k < MEETING && order[i] == r->number; k++)
			trade(r, &r->shared->owners[order[i + 1]]);
}

/* Rounds. */

static void check_all(struct run *r)
{
	static struct listed all[LISTED];
	char path[PATH_MAX];
	exercise_note(&r->owner->history, "after %llu: all of process %u",
		(unsigned long long)r->owner->done, r->number);
	for (unsigned i = 0; i < GROVE_ENTRIES; i++) {
		const struct grove_entry *e = &r->g->entries[i];
		if (!e->used)
			continue;
		see(r, (int)i);
		if (r->g->nodes[e->node].kind == GROVE_FILE) {
			path_of(r, (int)i, path);
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				FAIL(r, "open of %s: %s", shown(e->name), strerror(errno));
			content_check(r, &r->g->nodes[e->node], fd);
			close(fd);
		}
	}
	for (unsigned i = 0; i < GROVE_NODES; i++) {
		struct listing l = {.dir = i, .since = r->owner->done + 1, .all = all};
		if (r->g->nodes[i].kind != GROVE_DIRECTORY)
			continue;
		path_in(r, r->g, i, NULL, path);
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			FAIL(r, "open of node %u: %s", i, strerror(errno));
		while (list_some(r, fd, sizeof(all[0]) * 64, &l))
			;
		close(fd);
		check_listing(r, &l);
	}
}

/* Of all groves together: what stands in everybody's directories, and that numbers are one's own.
 */
static void check_commons(struct run *r)
{
	static struct listed all[LISTED];
	static uint64_t inos[EXERCISE_PROCESSES_MAX * GROVE_NODES];
	char path[PATH_MAX];
	unsigned n = 0, part, sum;
	struct stat st;
	for (unsigned dir = 0; dir < GROVE_COMMONS; dir++) {
		unsigned want = 2, directories = 2;
		struct listing l = {.dir = dir, .since = r->owner->done + 1, .all = all};
		for (unsigned p = 0; p < r->o->processes; p++) {
			want += grove_children(&r->shared->owners[p].grove, dir, &part);
			directories += part;
		}
		path_in(r, r->g, dir, NULL, path);
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			FAIL(r, "open of c%u: %s", dir, strerror(errno));
		while (list_some(r, fd, 4096, &l))
			;
		close(fd);
		if (l.count != want)
			FAIL(r, "c%u lists %u, expected %u", dir, l.count, want);
		if (st.st_nlink != directories)
			FAIL(r, "c%u has %llu links, expected %u", dir,
				(unsigned long long)st.st_nlink, directories);
	}
	for (unsigned p = 0; p < r->o->processes; p++)
		for (unsigned i = GROVE_COMMONS; i < GROVE_NODES; i++) {
			const struct grove_node *node = &r->shared->owners[p].grove.nodes[i];
			for (sum = 0; node->kind && sum < n; sum++)
				if (inos[sum] == node->ino)
					FAIL(r, "two have st_ino %llu",
						(unsigned long long)node->ino);
			if (node->kind)
				inos[n++] = node->ino;
		}
}

static void barrier(struct run *r)
{
	pthread_barrier_wait(&r->shared->barrier);
}

/* Everything is compared, and again after a remount. */
static void round_end(struct run *r)
{
	for (unsigned i = 0; i < HELD; i++)
		release(r, &r->held[i]);
	for (unsigned pass = 0; pass < 2; pass++) {
		barrier(r);
		check_all(r);
		barrier(r);
		if (r->number)
			continue;
		check_commons(r);
		if (!pass && r->o->remount && exercise_remount())
			r->remounts++;
	}
	barrier(r);
	r->rounds++;
}

static void report(const struct run *r)
{
	const struct shared *sh = r->shared;
	double took = exercise_clock() - r->began;
	uint64_t all = 0;
	unsigned entries = 0;
	for (unsigned p = 0; p < r->o->processes; p++) {
		all += sh->owners[p].done;
		entries += sh->owners[p].grove.entry_count;
	}
	printf("%llu operations in %.1f s (%.0f a second), %u names, %u rounds, %u remounts, seed "
	       "%llu\n",
		(unsigned long long)all, took, (double)all / took, entries, r->rounds, r->remounts,
		(unsigned long long)r->o->seed);
	for (unsigned i = 0; i < ACTS && getenv("EXERCISE_COUNTS"); i++) {
		uint64_t n = 0;
		double spent = 0;
		for (unsigned p = 0; p < r->o->processes; p++) {
			n += sh->owners[p].counts[i];
			spent += sh->owners[p].spent[i];
		}
		printf("  %s: %llu, %.1f s\n", acts[i].name, (unsigned long long)n, spent);
	}
}

static void work(unsigned number, void *context)
{
	struct run r = *(struct run *)context;
	struct shared *sh = r.shared;
	r.number = number;
	r.owner = &sh->owners[number];
	r.g = &r.owner->grove;
	for (unsigned i = 0; i < HELD; i++)
		r.held[i].fd = -1;
	for (uint64_t phase = 1, next = r.o->round; !sh->ended; phase++) {
		uint64_t stop = phase * PHASE < r.o->operations ? phase * PHASE : r.o->operations;
		while (r.owner->done < stop)
			one(&r);
		barrier(&r);
		if (!number && r.until > 0 && exercise_clock() >= r.until)
			sh->expired = 1;
		if (!number)
			sh->ended = sh->expired || stop >= r.o->operations;
		meet(&r, phase);
		barrier(&r);
		if (sh->ended || stop >= next) {
			round_end(&r);
			next = stop + r.o->round;
		}
	}
	if (!number)
		report(&r);
}

static void lead(void *context)
{
	(void)context; /* the workers see to everything themselves */
}

int main(int argc, char **argv)
{
	struct exercise_options o;
	uint64_t inos[GROVE_COMMONS];
	exercise_options(argc, argv, &o);
	struct run r = {.o = &o, .shared = exercise_shared(sizeof(struct shared))};
	pthread_barrierattr_t shared;
	umask(0);
	for (unsigned i = 0; i < GROVE_COMMONS; i++) {
		char path[PATH_MAX];
		struct stat st;
		snprintf(path, sizeof(path), "%s/c%u", o.dir, i);
		if (mkdir(path, 0755) < 0 || stat(path, &st) < 0) {
			fprintf(stderr, "%s: %s\n", path, strerror(errno));
			return 2;
		}
		inos[i] = st.st_ino;
	}
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&r.shared->barrier, &shared, o.processes);
	for (unsigned p = 0; p < o.processes; p++) {
		r.shared->owners[p].random.state = o.seed * EXERCISE_PROCESSES_MAX + p;
		grove_init(&r.shared->owners[p].grove, inos);
	}
	r.began = exercise_clock();
	r.until = o.seconds > 0 ? r.began + o.seconds : 0;
	exercise_run(&o, work, lead, &r);
	return 0;
}
