#include "tests/exercise/exercise_forest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint64_t forest_below(struct run *r, uint64_t n)
{
	return sim_random_below(&r->owner->random, n);
}

bool forest_chance(struct run *r, unsigned percent)
{
	return forest_below(r, 100) < percent;
}

/* A name that a person can tell from another. */
const char *forest_shown(const char *name)
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
	size_t how = (size_t)forest_below(r, 100), len;
	len = how < 50   ? (size_t)forest_below(r, 12) + 2
	      : how < 75 ? (size_t)forest_below(r, 120) + 2
	      : how < 90 ? edges[forest_below(r, sizeof(edges))]
			 : (size_t)forest_below(r, 254) + 2;
	bool plain = forest_chance(r, 30);
	name[0] = (char)('A' + r->number);
	for (size_t i = 1; i < len; i++) {
		uint8_t c = (uint8_t)(plain ? 'a' + forest_below(r, 3) : forest_below(r, 255) + 1);
		name[i] = (char)(c == '/' ? '_' : c);
	}
	name[len] = 0;
}

/* One that does not stand there; often one that did once. */
void forest_new_name(struct run *r, unsigned dir, char name[static GROVE_NAME])
{
	const struct grove *g = r->g;
	unsigned gone = g->gone_count < GROVE_GONE ? g->gone_count : GROVE_GONE;
	if (gone && forest_chance(r, 30)) {
		memcpy(name, g->gone[forest_below(r, gone)].name, GROVE_NAME);
		/* It may have come from another's. */
		name[0] = (char)('A' + r->number);
	} else {
		make_name(r, name);
	}
	while (grove_find(g, dir, name) >= 0)
		make_name(r, name);
}

int forest_entry(struct run *r)
{
	const struct grove *g = r->g;
	unsigned at = (unsigned)forest_below(r, GROVE_ENTRIES);
	for (unsigned i = 0; i < GROVE_ENTRIES; i++, at = (at + 1) % GROVE_ENTRIES)
		if (g->entries[at].used)
			return (int)at;
	return -1;
}

struct grove_node *forest_node(struct grove *g, int entry)
{
	return &g->nodes[g->entries[entry].node];
}

int forest_entry_of(struct run *r, enum grove_kind kind)
{
	unsigned at = (unsigned)forest_below(r, GROVE_ENTRIES);
	for (unsigned i = 0; i < GROVE_ENTRIES; i++, at = (at + 1) % GROVE_ENTRIES)
		if (r->g->entries[at].used && forest_node(r->g, (int)at)->kind == kind)
			return (int)at;
	return -1;
}

/* A directory in which something can be made. */
unsigned forest_dir(struct run *r)
{
	int e = forest_chance(r, 50) ? forest_entry_of(r, GROVE_DIRECTORY) : -1;
	if (e >= 0 && grove_depth(r->g, r->g->entries[e].node) < GROVE_DEPTH - 1)
		return r->g->entries[e].node;
	return (unsigned)forest_below(r, GROVE_COMMONS);
}

void forest_path_in(struct run *r, const struct grove *g, unsigned dir, const char *name,
	char path[static PATH_MAX])
{
	if (!grove_path(g, r->o->dir, dir, name, path))
		FAIL(r, "a path is too long");
}

void forest_path(struct run *r, int entry, char path[static PATH_MAX])
{
	forest_path_in(r, r->g, r->g->entries[entry].dir, r->g->entries[entry].name, path);
}

/* What a call said, against what it should: 0 or an errno. */
bool forest_expect(struct run *r, int result, int want)
{
	int got = result < 0 ? errno : 0;
	if (got != want)
		FAIL(r, "%s, expected %s", got ? strerror(got) : "it works",
			want ? strerror(want) : "that it works");
	return !want;
}

bool forest_owns(const struct run *r, const struct grove_node *n)
{
	uid_t uid = exercise_uid(r->o, r->number);
	return uid == 0 || uid == n->uid;
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

void forest_content_new(struct run *r, struct grove_node *n)
{
	n->serial = (uint64_t)r->number << 56 | r->owner->done;
	n->size = forest_chance(r, 50)
			  ? 0
			  : (uint32_t)forest_below(r, forest_chance(r, 90) ? 300 : SIZE_MAX_FILE);
}

void forest_content_write(struct run *r, const struct grove_node *n, int fd)
{
	uint8_t bytes[SIZE_MAX_FILE];
	content_fill(n, bytes);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, bytes, n->size, 0) != (ssize_t)n->size)
		FAIL(r, "write: %s", strerror(errno));
}

void forest_content_check(struct run *r, const struct grove_node *n, int fd)
{
	uint8_t bytes[SIZE_MAX_FILE], want[SIZE_MAX_FILE];
	/* What the kernel keeps says nothing of the filesystem. */
	if (forest_chance(r, 30) && (sync_file_range(fd, 0, 0,
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

void forest_target(const struct grove_node *n, char target[static PATH_MAX])
{
	for (uint32_t i = 0; i < n->size; i++)
		target[i] = (char)('a' + content_byte(n->serial, i) % 26);
	target[n->size] = 0;
}

/* Attributes. */

mode_t forest_type(const struct grove_node *n)
{
	return n->kind == GROVE_FILE        ? S_IFREG
	       : n->kind == GROVE_DIRECTORY ? S_IFDIR
	       : n->kind == GROVE_LINK      ? S_IFLNK
					    : S_IFIFO;
}

void forest_check_stat(struct run *r, unsigned node, const struct stat *st)
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
	if ((st->st_mode & S_IFMT) != forest_type(n))
		FAIL(r, "st_mode %o, expected %o", st->st_mode, forest_type(n));
	if (r->o->users && (st->st_uid != n->uid || st->st_gid != r->o->gid))
		FAIL(r, "owner %u:%u, expected %u:%u", st->st_uid, st->st_gid, n->uid, r->o->gid);
	if (n->kind != GROVE_LINK && (st->st_mode & 07777) != n->mode)
		FAIL(r, "st_mode %o, expected %o", st->st_mode & 07777, n->mode);
	if (node >= GROVE_COMMONS && st->st_nlink != links)
		FAIL(r, "st_nlink %llu, expected %u", (unsigned long long)st->st_nlink, links);
	if ((n->kind == GROVE_FILE || n->kind == GROVE_LINK) && st->st_size != (off_t)n->size)
		FAIL(r, "st_size %lld, expected %u", (long long)st->st_size, n->size);
}

void forest_see(struct run *r, int entry)
{
	char path[PATH_MAX];
	struct stat st;
	forest_path(r, entry, path);
	if (lstat(path, &st) < 0)
		FAIL(r, "stat of %s: %s", forest_shown(r->g->entries[entry].name), strerror(errno));
	forest_check_stat(r, r->g->entries[entry].node, &st);
}

/* The number of what was made. */
void forest_number(struct run *r, unsigned node, const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		FAIL(r, "stat of what was made: %s", strerror(errno));
	for (unsigned i = 0; i < GROVE_NODES; i++)
		if (i != node && r->g->nodes[i].kind && r->g->nodes[i].ino == st.st_ino)
			FAIL(r, "st_ino %llu is somebody else's", (unsigned long long)st.st_ino);
	r->g->nodes[node].ino = st.st_ino;
	forest_check_stat(r, node, &st);
}
