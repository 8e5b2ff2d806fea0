/* Operations that make, remove, link and rename. */
#include "tests/exercise/exercise_forest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* With users the group of all may do everything; directories give it to what is made in them. */
static uint16_t mode_for(struct run *r, enum grove_kind kind)
{
	uint16_t mode = (uint16_t)(0600 | forest_below(r, 0200));
	if (kind == GROVE_DIRECTORY)
		mode |= 0700;
	if (r->o->users)
		mode |= kind == GROVE_DIRECTORY ? 02070 : 060;
	return mode;
}

static void make(struct run *r, enum grove_kind kind)
{
	char name[GROVE_NAME], path[PATH_MAX], target[PATH_MAX];
	unsigned dir = forest_dir(r);
	int exists = forest_chance(r, 8) ? forest_entry(r) : -1, fd, made;
	if (!grove_room(r->g, 1, 1))
		return;
	if (exists >= 0) {
		dir = r->g->entries[exists].dir;
		memcpy(name, r->g->entries[exists].name, GROVE_NAME);
	} else {
		forest_new_name(r, dir, name);
	}
	unsigned node = (unsigned)grove_node(r->g, kind);
	struct grove_node *n = &r->g->nodes[node];
	n->mode = mode_for(r, kind);
	n->uid = exercise_uid(r->o, r->number);
	NOTE(r, " %s%s in %u as node %u", forest_shown(name), exists >= 0 ? " (exists)" : "", dir,
		node);
	forest_path_in(r, r->g, dir, name, path);
	switch (kind) {
	case GROVE_FILE:
		forest_content_new(r, n);
		made = fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, n->mode);
		if (fd >= 0) {
			forest_content_write(r, n, fd);
			if (close(fd) < 0)
				FAIL(r, "close: %s", strerror(errno));
		}
		break;
	case GROVE_DIRECTORY:
		made = mkdir(path, n->mode & 01777);
		break;
	case GROVE_LINK:
		n->serial = r->owner->done;
		n->size = (uint32_t)(forest_chance(r, 80) ? forest_below(r, 100) + 1
							  : forest_below(r, 4000) + 1);
		forest_target(n, target);
		made = symlink(target, path);
		break;
	default:
		made = mknod(path, S_IFIFO | n->mode, 0);
		break;
	}
	if (forest_expect(r, made < 0 ? -1 : 0, exists >= 0 ? EEXIST : 0)) {
		(void)grove_add(r->g, dir, name, node, r->owner->done);
		forest_number(r, node, path);
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

static bool links_are_protected(void)
{
	static char text[2];
	if (!text[0]) {
		int fd = open("/proc/sys/fs/protected_hardlinks", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, text, 1) != 1)
			text[0] = '0';
		if (fd >= 0)
			close(fd);
	}
	return text[0] != '0';
}

static void act_link(struct run *r)
{
	char name[GROVE_NAME], from[PATH_MAX], to[PATH_MAX];
	int e = forest_entry(r);
	unsigned dir = forest_dir(r);
	if (e < 0 || !grove_room(r->g, 0, 1))
		return;
	const struct grove_node *n = forest_node(r->g, e);
	/* /proc/sys/fs/protected_hardlinks: of another's, what is no file that one may write. */
	bool refused = n->kind == GROVE_DIRECTORY ||
		       (n->kind != GROVE_FILE && !forest_owns(r, n) && links_are_protected());
	forest_new_name(r, dir, name);
	NOTE(r, " %s to %s in %u", forest_shown(r->g->entries[e].name), forest_shown(name), dir);
	forest_path(r, e, from);
	forest_path_in(r, r->g, dir, name, to);
	if (forest_expect(r, linkat(AT_FDCWD, from, AT_FDCWD, to, 0), refused ? EPERM : 0)) {
		unsigned made = grove_add(r->g, dir, name, r->g->entries[e].node, r->owner->done);
		forest_see(r, (int)made);
		forest_see(r, e);
	}
}

static void act_unlink(struct run *r)
{
	char path[PATH_MAX];
	int e = forest_entry(r);
	if (e < 0)
		return;
	bool directory = forest_node(r->g, e)->kind == GROVE_DIRECTORY;
	NOTE(r, " %s of %u", forest_shown(r->g->entries[e].name), r->g->entries[e].dir);
	forest_path(r, e, path);
	if (forest_expect(r, unlink(path), directory ? EISDIR : 0))
		grove_remove(r->g, (unsigned)e, r->owner->done);
}

static void act_rmdir(struct run *r)
{
	char path[PATH_MAX];
	unsigned directories;
	int e = forest_chance(r, 90) ? forest_entry_of(r, GROVE_DIRECTORY) : forest_entry(r);
	if (e < 0)
		return;
	unsigned node = r->g->entries[e].node;
	NOTE(r, " %s of %u, node %u", forest_shown(r->g->entries[e].name), r->g->entries[e].dir,
		node);
	forest_path(r, e, path);
	if (forest_expect(r, rmdir(path),
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
	unsigned flags = all[forest_below(r, 4)], dir = forest_dir(r);
	struct grove *g = r->g;
	int e = forest_entry(r), over = -1;
	if (e < 0)
		return;
	if (forest_chance(r, flags & RENAME_EXCHANGE ? 90 : flags ? 30 : 50)) {
		over = forest_entry(r);
		dir = g->entries[over].dir;
		memcpy(name, g->entries[over].name, GROVE_NAME);
	} else {
		forest_new_name(r, dir, name);
	}
	if (!fits(g, g->entries[e].node, dir) ||
		(over >= 0 && !fits(g, g->entries[over].node, g->entries[e].dir)))
		return;
	NOTE(r, "%s %s of %u, node %u, to %s%s in %u",
		flags & RENAME_EXCHANGE ? " exchange"
		: flags                 ? " noreplace"
					: "",
		forest_shown(g->entries[e].name), g->entries[e].dir, g->entries[e].node,
		forest_shown(name), over >= 0 ? " (exists)" : "", dir);
	forest_path(r, e, from);
	forest_path_in(r, g, dir, name, to);
	int says = rename_says(g, (unsigned)e, dir, over, flags);
	if (!forest_expect(r, renameat2(AT_FDCWD, from, AT_FDCWD, to, flags), says))
		return;
	if (over == e || (over >= 0 && g->entries[over].node == g->entries[e].node))
		return; /* the same file: nothing happens */
	if (flags & RENAME_EXCHANGE) {
		grove_exchange(g, (unsigned)e, (unsigned)over, r->owner->done);
		forest_see(r, over);
	} else {
		if (over >= 0)
			grove_remove(g, (unsigned)over, r->owner->done);
		grove_move(g, (unsigned)e, dir, name, r->owner->done);
	}
	forest_see(r, e);
}

static void act_chmod(struct run *r)
{
	char path[PATH_MAX];
	int e = forest_entry(r);
	if (e < 0 || forest_node(r->g, e)->kind == GROVE_LINK)
		return;
	struct grove_node *n = forest_node(r->g, e);
	uint16_t mode = mode_for(r, (enum grove_kind)n->kind);
	NOTE(r, " %s of %u to %o", forest_shown(r->g->entries[e].name), r->g->entries[e].dir, mode);
	forest_path(r, e, path);
	if (forest_expect(r, chmod(path, mode), forest_owns(r, n) ? 0 : EPERM))
		n->mode = mode;
	forest_see(r, e);
}

const struct tree_act making_acts[] = {
	{"create", act_create, 110},
	{"mkdir", act_mkdir, 60},
	{"symlink", act_symlink, 40},
	{"mkfifo", act_mkfifo, 20},
	{"link", act_link, 60},
	{"unlink", act_unlink, 60},
	{"rmdir", act_rmdir, 30},
	{"rename", act_rename, 180},
	{"chmod", act_chmod, 20},
	{0},
};
