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

/* Takes dir. Paths are its own. */
static int enter(struct tree *t, struct dir *dir)
{
	struct check *c = t->c;
	struct level *l = calloc(1, sizeof(*l));
	if (!l) {
		dir_put(dir);
		return -ENOMEM;
	}
	*l = (struct level){
		.up = t->level, .dir = dir, .lower_len = c->lower.len, .plain_len = c->plain.len};
	t->level = l;
	c->counts->directories++;
	int r = walk_names(c->s->lower, dir->fd, add_name, &l->names);
	if (r == 0)
		r = xattr_check(NULL, dir, bad_attribute, t, &c->counts->attributes);
	r = check_unread(c, r);
	l->unread = r > 0;
	return r < 0 ? r : 0;
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
	return enter(t, child);
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

static int check_entry(struct tree *t, const char *lower)
{
	struct lower *l = t->c->s->lower;
	struct dir *d = t->level->dir;
	char plain[NAME_PLAIN_MAX + 1];
	struct stat st;
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
	int r = l->unread ? 0 : tree_check_sidecars(l->dir, orphan, t);
	if (r < 0) {
		path_level(t);
		r = check_unread(t->c, r);
	}
	leave(t);
	return r < 0 ? r : 0;
}

int check_tree(struct check *c)
{
	AUTO(tree_done) struct tree t = {.c = c};
	struct dir *root = NULL;
	buf_reset(&c->lower);
	buf_str(&c->lower, "root");
	buf_reset(&c->plain);
	buf_str(&c->plain, "/");
	if (!buf_ok(&c->lower) || !buf_ok(&c->plain))
		return -ENOMEM;
	int r = dir_open_root(c->s, &root);
	if (r == -EBADMSG) {
		tell(&t, "directory", c->alarm, true, false, NULL);
		return 0;
	}
	r = r < 0 ? r : enter(&t, root);
	while (r == 0 && t.level)
		r = step(&t);
	return r ? r : check_file_links(c);
}
