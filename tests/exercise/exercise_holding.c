/* Operations on what is there: looking, reading and writing, and handles that outlive names; and at
 * what another process does. */
#include "tests/exercise/exercise_forest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void act_stat(struct run *r)
{
	char name[GROVE_NAME], path[PATH_MAX];
	struct stat st;
	int e = forest_entry(r);
	if (e >= 0 && forest_chance(r, 85)) {
		NOTE(r, " %s of %u", forest_shown(r->g->entries[e].name), r->g->entries[e].dir);
		forest_see(r, e);
		return;
	}
	unsigned dir = forest_dir(r);
	forest_new_name(r, dir, name);
	NOTE(r, " of nothing: %s of %u", forest_shown(name), dir);
	forest_path_in(r, r->g, dir, name, path);
	forest_expect(r, lstat(path, &st), ENOENT);
}

static void act_read(struct run *r)
{
	char path[PATH_MAX], target[PATH_MAX], got[PATH_MAX];
	int e = forest_entry(r), fd;
	if (e < 0)
		return;
	const struct grove_node *n = forest_node(r->g, e);
	NOTE(r, " %s of %u, node %u", forest_shown(r->g->entries[e].name), r->g->entries[e].dir,
		r->g->entries[e].node);
	forest_path(r, e, path);
	if (n->kind == GROVE_FILE) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			FAIL(r, "open: %s", strerror(errno));
		forest_content_check(r, n, fd);
		if (close(fd) < 0)
			FAIL(r, "close: %s", strerror(errno));
	} else if (n->kind == GROVE_LINK) {
		ssize_t len = readlink(path, got, sizeof(got));
		forest_target(n, target);
		if (len != (ssize_t)n->size || memcmp(got, target, n->size) != 0)
			FAIL(r, "readlink: %zd, expected %u", len, n->size);
	}
}

static void act_write(struct run *r)
{
	char path[PATH_MAX];
	int e = forest_entry_of(r, GROVE_FILE), fd;
	if (e < 0)
		return;
	struct grove_node *n = forest_node(r->g, e);
	NOTE(r, " %s of %u", forest_shown(r->g->entries[e].name), r->g->entries[e].dir);
	forest_path(r, e, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		FAIL(r, "open: %s", strerror(errno));
	forest_content_new(r, n);
	forest_content_write(r, n, fd);
	if (close(fd) < 0)
		FAIL(r, "close: %s", strerror(errno));
	forest_see(r, e);
}

/* Handles that outlive names. */

static void act_hold(struct run *r)
{
	char path[PATH_MAX];
	unsigned slot = (unsigned)forest_below(r, HELD);
	int e = forest_entry_of(r, forest_chance(r, 70) ? GROVE_FILE : GROVE_DIRECTORY);
	if (e < 0 || r->held[slot].fd >= 0)
		return;
	struct grove_node *n = forest_node(r->g, e);
	NOTE(r, " node %u in slot %u", r->g->entries[e].node, slot);
	forest_path(r, e, path);
	r->held[slot].fd = open(path, (n->kind == GROVE_FILE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (r->held[slot].fd < 0)
		FAIL(r, "open: %s", strerror(errno));
	r->held[slot].node = r->g->entries[e].node;
	n->held++;
	/* Mostly what is held goes at once. */
	if (n->kind == GROVE_FILE && forest_chance(r, 60)) {
		forest_expect(r, unlink(path), 0);
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
	forest_expect(r, mkdirat(fd, "new", 0700), ENOENT);
}

static void act_use(struct run *r)
{
	struct held *h = &r->held[forest_below(r, HELD)];
	struct stat st;
	if (h->fd < 0)
		return;
	struct grove_node *n = &r->g->nodes[h->node];
	NOTE(r, " node %u, %u names", h->node, n->links);
	if (fstat(h->fd, &st) < 0)
		FAIL(r, "fstat: %s", strerror(errno));
	forest_check_stat(r, h->node, &st);
	if (n->kind == GROVE_FILE) {
		forest_content_check(r, n, h->fd);
		if (forest_chance(r, 40)) {
			forest_content_new(r, n);
			forest_content_write(r, n, h->fd);
		}
	} else if (!n->links) {
		use_removed(r, h->fd);
	}
}

void forest_release(struct run *r, struct held *h)
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
	forest_release(r, &r->held[forest_below(r, HELD)]);
}

/* At what another process does at this very moment: there or not, but nothing else. */
static void act_peek(struct run *r)
{
	const struct owner *other = &r->shared->owners[forest_below(r, r->o->processes)];
	unsigned at = (unsigned)forest_below(r, GROVE_ENTRIES), how = (unsigned)forest_below(r, 3);
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
	forest_path_in(r, r->g, dir, name, path);
	if (how == 0) {
		n = lstat(path, &st);
	} else if (how == 1) {
		n = readlink(path, text, sizeof(text));
	} else {
		n = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
		if (n >= 0 && fstat((int)n, &st) == 0 && S_ISREG(st.st_mode) &&
			read((int)n, text, sizeof(text)) < 0)
			FAIL(r, "read of another's %s: %s", forest_shown(name), strerror(errno));
		if (n >= 0)
			close((int)n);
	}
	if (n < 0 && errno != ENOENT && !(how == 1 && errno == EINVAL) &&
		!(how == 2 && errno == ELOOP))
		FAIL(r, "%s of another's %s: %s",
			how == 0   ? "stat"
			: how == 1 ? "readlink"
				   : "open",
			forest_shown(name), strerror(errno));
}

static void act_drop(struct run *r)
{
	unsigned what = (unsigned)forest_below(r, 3) + 1;
	NOTE(r, " caches %u", what);
	if (r->o->caches && forest_chance(r, 5))
		exercise_drop_caches(what);
}

const struct tree_act holding_acts[] = {
	{"stat", act_stat, 120},
	{"read", act_read, 80},
	{"write", act_write, 25},
	{"hold", act_hold, 25},
	{"use", act_use, 40},
	{"release", act_release, 25},
	{"peek", act_peek, 80},
	{"drop", act_drop, 2},
	{0},
};
