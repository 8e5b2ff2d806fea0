#include "fs/store/check_internal.h"

#include "fs/lower/walk.h"
#include "fs/store/name.h"
#include "fs/store/tree_check.h"
#include "fs/store/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* A directory on the way from the root to where we are. */
struct level {
	struct level *up;            /* owned */
	struct dir *dir;             /* a reference */
	struct buf names;            /* of its entries: d_type, name, zero byte, again and again */
	size_t at;                   /* of the next one */
	size_t lower_len, plain_len; /* of its own paths */
	bool unread;                 /* it was told that it cannot be read */
	bool moved; /* something was moved from it: its sidecars are data, not leftovers */
};

struct tree {
	struct check *c;
	struct level *level;
	const char *entry; /* of the level, that is looked at */
	struct dir *next;  /* owned: the directory that it turned out to be */
};

static void leave(struct tree *t)
{
	struct level *up = t->level->up;
	dir_put(t->level->dir);
	buf_done(&t->level->names);
	free(t->level);
	t->level = up;
}

static void tree_done(struct tree *t)
{
	dir_put(t->next);
	while (t->level)
		leave(t);
}

/* Paths back to the level's own. */
static void path_level(struct tree *t)
{
	struct check *c = t->c;
	c->lower.len = t->level->lower_len;
	c->lower.data[c->lower.len] = 0;
	c->plain.len = t->level->plain_len;
	c->plain.data[c->plain.len] = 0;
}

/* name: NULL, it is not known. */
static int path_entry(struct tree *t, const char *lower, const char *name)
{
	struct check *c = t->c;
	path_level(t);
	buf_put8(&c->lower, '/');
	buf_str(&c->lower, lower);
	if (c->plain.len != 1) /* "/" */
		buf_put8(&c->plain, '/');
	buf_str(&c->plain, name ? name : "");
	return buf_ok(&c->lower) && buf_ok(&c->plain) ? 0 : -ENOMEM;
}

static int add_name(void *context, const struct walk_entry *e)
{
	struct buf *names = context;
	if (name_is_internal(e->name))
		return 0;
	buf_put8(names, e->type);
	buf_put(names, e->name, strlen(e->name) + 1);
	return buf_ok(names) ? 0 : -ENOMEM;
}

static void bad_attribute(void *context, const char *lower)
{
	struct tree *t = context;
	check_attribute(t->c, t->level->dir->fd, lower, t->level->dir->id);
}

static int look_inside(void *context)
{
	struct tree *t = context;
	struct level *l = t->level;
	buf_reset(&l->names);
	int r = walk_names(t->c->s->lower, l->dir->fd, add_name, &l->names);
	if (r == 0)
		r = xattr_check(NULL, l->dir, bad_attribute, t, &t->c->counts->attributes);
	r = check_unread(t->c, r);
	l->unread = r > 0;
	return r < 0 ? r : 0;
}

static bool stamp_inside(void *context, struct check_stamps *ret)
{
	struct tree *t = context;
	return check_live_stamp(ret, t->c->s->lower, t->level->dir->fd, "");
}

/* Takes dir. Paths are its own. */
static int enter(struct tree *t, struct dir *dir)
{
	struct check *c = t->c;
	const struct check_look look = {look_inside, stamp_inside, t};
	struct level *l = calloc(1, sizeof(*l));
	if (!l) {
		dir_put(dir);
		return -ENOMEM;
	}
	*l = (struct level){
		.up = t->level, .dir = dir, .lower_len = c->lower.len, .plain_len = c->plain.len};
	t->level = l;
	c->counts->directories++;
	return check_live(c, &look);
}

static int enter_next(struct tree *t)
{
	struct dir *dir = t->next;
	t->next = NULL;
	return dir ? enter(t, dir) : 0;
}

static void tell(struct tree *t, const char *kind, const char *detail, bool damage, bool corrected,
	const char *moved)
{
	check_found(t->c, &(struct check_finding){.kind = kind,
				  .detail = detail,
				  .file_id = t->level ? t->level->dir->id : NULL,
				  .block = UINT64_MAX,
				  .damage = damage,
				  .corrected = corrected,
				  .moved = moved && moved[0] ? moved : NULL});
}

/* What cannot be read, whatever it is. */
static void damaged(struct tree *t, const char *lower, const char *kind, const char *detail)
{
	char moved[CHECK_LOST_NAME], kept[sizeof(t->c->alarm)];
	snprintf(kept, sizeof(kept), "%s", detail);
	bool went = check_move(t->c, t->level->dir->fd, lower, kind, kept, moved);
	t->level->moved |= went;
	t->c->incomplete = true;
	tell(t, kind, kept, true, went, moved);
}

/* Length of the text of its record, or -errno. */
static ssize_t record_len(struct tree *t, const char *lower)
{
	struct lower *l = t->c->s->lower;
	char text[DIR_RECORD_MAX];
	AUTO_LOWER_HELD at = {
		l, l->ops->openat(l, t->level->dir->fd, lower, O_PATH | O_DIRECTORY, 0, NULL)};
	return at.fd < 0 ? at.fd : l->ops->readlinkat(l, at.fd, ".dir", text, sizeof(text));
}

static int check_subdir(struct tree *t, const char *lower)
{
	struct check *c = t->c;
	struct dir *child = NULL;
	const ssize_t two = DIR_RECORD_MAX - 1;
	ssize_t before = record_len(t, lower);
	int r = dir_open(t->level->dir, lower, &child);
	if (before == -ENOENT && (r == 0 || r == -EROFS)) {
		tell(t, "directory", "its making or removal was cut short", false, r == 0, NULL);
		if (r == -EROFS) {
			c->counts->directories++;
			return 0;
		}
	}
	if (r == -EBADMSG) {
		c->counts->directories++;
		damaged(t, lower, "directory", c->alarm);
		return 0;
	}
	if (r < 0) {
		r = check_unread(c, r);
		return r < 0 ? r : 0;
	}
	if (before == two)
		tell(t, "directory", "its renaming was cut short: it is bound to two places", false,
			record_len(t, lower) != two, NULL);
	t->next = child;
	return 0;
}

static int check_link(struct tree *t, const char *lower)
{
	struct dir *d = t->level->dir;
	t->c->counts->links++;
	int r = tree_check_link(d, lower);
	if (r == -EBADMSG) {
		damaged(t, lower, "link", "its target does not open, or belongs to another name");
		return 0;
	}
	if (r > 0)
		tell(t, "link", "its renaming was cut short: its name is bound to two links", false,
			t->c->o->repair && tree_check_link(d, lower) == 0, NULL);
	return r < 0 && check_unread(t->c, r) < 0 ? r : 0;
}

static int look_at(void *context)
{
	struct tree *t = context;
	const char *lower = t->entry;
	struct lower *l = t->c->s->lower;
	struct dir *d = t->level->dir;
	char plain[NAME_PLAIN_MAX + 1];
	struct stat st;
	dir_put(t->next);
	t->next = NULL;
	int r = l->ops->fstatat(l, d->fd, lower, &st);
	if (r < 0) /* what was two names of one file may be gone with the first */
		return r == -ENOENT ? 0 : check_unread(t->c, r) < 0 ? r : 0;
	r = name_open(d, lower, plain);
	bool bad = r == -EBADMSG || r == -ENOENT;
	if (r < 0 && !bad)
		return check_unread(t->c, r) < 0 ? r : 0;
	int path = path_entry(t, lower, bad ? NULL : plain);
	crypto_wipe(plain, sizeof(plain));
	if (path < 0)
		return path;
	if (bad) {
		damaged(t, lower, "name",
			r == -ENOENT ? "what holds the rest of a long name is missing"
				     : "the entry's name does not open");
		return 0;
	}
	if (S_ISDIR(st.st_mode))
		return check_subdir(t, lower);
	if (S_ISLNK(st.st_mode))
		return check_link(t, lower);
	if (!S_ISREG(st.st_mode)) {
		t->c->counts->others++;
		return 0;
	}
	bool moved = false;
	r = check_file(t->c, d, lower, &st, &moved);
	t->level->moved |= moved;
	return r;
}

/* By the directory itself, or what is made in it would be its unrest: by its inode and record. */
static void stamp_subdir(struct tree *t, struct check_stamps *ret)
{
	struct lower *l = t->c->s->lower;
	struct check_stamp *whole = &ret->list[0];
	AUTO_LOWER_HELD at = {
		l, l->ops->openat(l, t->level->dir->fd, t->entry, O_PATH | O_DIRECTORY, 0, NULL)};
	if (at.fd >= 0 && check_live_stamp(ret, l, at.fd, ".dir"))
		*whole = (struct check_stamp){.ino = whole->ino};
}

static bool stamp_entry(void *context, struct check_stamps *ret)
{
	struct tree *t = context;
	struct lower *l = t->c->s->lower;
	int fd = t->level->dir->fd;
	char sidecar[64], binding[TREE_CHECK_BINDING_LEN];
	struct stat st;
	bool there = check_live_stamp(ret, l, fd, t->entry);
	int r = there ? l->ops->fstatat(l, fd, t->entry, &st) : -ENOENT;
	if (r < 0)
		return r != -ENOENT;
	if (S_ISDIR(st.st_mode))
		stamp_subdir(t, ret);
	if (S_ISLNK(st.st_mode)) {
		tree_check_binding(t->entry, binding);
		(void)check_live_stamp(ret, l, fd, binding);
	}
	if (t->entry[0] == '~') {
		snprintf(sidecar, sizeof(sidecar), "%.48s.n", t->entry);
		(void)check_live_stamp(ret, l, fd, sidecar);
	}
	return true;
}

static int check_entry(struct tree *t, const char *lower)
{
	const struct check_look look = {look_at, stamp_entry, t};
	t->entry = lower;
	int r = check_live(t->c, &look);
	return r < 0 ? r : enter_next(t);
}

static int orphan(void *context, const char *lower)
{
	struct tree *t = context;
	struct lower *l = t->c->s->lower;
	char moved[CHECK_LOST_NAME] = "";
	int r = path_entry(t, lower, NULL);
	if (r < 0)
		return r;
	bool part = t->level->moved && lower[0] == '~'; /* perhaps of what was moved */
	if (part && check_move(t->c, t->level->dir->fd, lower, "sidecar",
			    "it stood beside an entry that was moved here", moved))
		return 0;
	bool gone =
		t->c->o->repair && !part && l->ops->unlinkat(l, t->level->dir->fd, lower, 0) == 0;
	/* Also what is no crash leaves those: a link that went had a name elsewhere. */
	if (tree_check_is_continuation(lower))
		t->c->counts->settled += gone;
	else
		tell(t, "sidecar", "it belongs to no entry", false, gone, NULL);
	return 0;
}

/* The next entry of the level, or what comes when there is none. */
static int step(struct tree *t)
{
	struct level *l = t->level;
	path_level(t);
	if (l->at < l->names.len) {
		const char *lower = (const char *)l->names.data + l->at + 1;
		l->at += strlen(lower) + 2;
		int r = check_entry(t, lower);
		return r ? r : check_go_on(t->c);
	}
	int r = l->unread ? 0 : check_live_orphans(t->c, l->dir, orphan, t);
	if (r < 0) {
		path_level(t);
		r = check_unread(t->c, r);
	}
	leave(t);
	return r < 0 ? r : 0;
}

static int look_at_root(void *context)
{
	struct tree *t = context;
	dir_put(t->next);
	t->next = NULL;
	int r = dir_open_root(t->c->s, &t->next);
	if (r == -EBADMSG) {
		tell(t, "directory", t->c->alarm, true, false, NULL);
		return 0;
	}
	return r;
}

static bool stamp_root(void *context, struct check_stamps *ret)
{
	struct tree *t = context;
	(void)check_live_stamp(ret, t->c->s->lower, t->c->s->root_fd, ".dir");
	return true;
}

int check_tree(struct check *c)
{
	AUTO(tree_done) struct tree t = {.c = c};
	const struct check_look look = {look_at_root, stamp_root, &t};
	buf_reset(&c->lower);
	buf_str(&c->lower, "root");
	buf_reset(&c->plain);
	buf_str(&c->plain, "/");
	if (!buf_ok(&c->lower) || !buf_ok(&c->plain))
		return -ENOMEM;
	int r = check_live(c, &look);
	if (r == 0)
		r = enter_next(&t);
	while (r == 0 && t.level)
		r = step(&t);
	return r ? r : check_file_links(c);
}
