/*
 * rename(2). Each step is either undone when a later one fails, or leaves what a crash may leave:
 * an additional home, a directory bound to both places, a sidecar or trash link too many. What
 * stands under the new name is linked into the trash before it loses that name.
 *
 *   prepare   sidecars, tails, bindings of links, homes, victim's trash link or cleared record,
 * both bindings of directories rename    the one step that applications see finish    what the old
 * places no longer need
 */
#include "fs/store/tree_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct move {
	const struct tree_rename *r;
	const struct store *s;
	bool exchange, exists, across; /* across: two directories */
	struct stat src, dst;
	struct file *src_file, *dst_file;     /* borrowed: whose homes change */
	struct file *src_opened, *dst_opened; /* owned */
	struct tree_tail src_tail, dst_tail;
	struct tree_head src_head, dst_head; /* of links that belong to their names */
	bool src_link, dst_link;             /* these are set */
	/* Done so far. */
	bool src_copied, dst_copied, src_home, dst_home, cleared, linked, src_bound, dst_bound;
	bool to_marked, from_marked;  /* names bound to the links that come, besides those there */
	char record[DIR_RECORD_MAX];  /* cleared: of the victim */
	char trashed[TRASH_NAME_LEN]; /* linked */
	bool erase;                   /* trashed is to be erased by us */
	bool bad_record;              /* the victim's */
	const struct dir *bad_link;   /* directory of a link that does not belong to its name */
};

static const char *new_lower(const struct move *m)
{
	return m->r->new_name->lower;
}

static int look(struct move *m)
{
	const struct tree_rename *r = m->r;
	struct lower *l = m->s->lower;
	int e = l->ops->fstatat(l, r->from->fd, r->old_lower, &m->src);
	if (e < 0)
		return e;
	e = l->ops->fstatat(l, r->to->fd, new_lower(m), &m->dst);
	if (e < 0 && e != -ENOENT)
		return e;
	m->exists = e == 0;
	m->across = r->from != r->to;
	m->exchange = r->flags & RENAME_EXCHANGE;
	if (m->exists && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!m->exists && m->exchange)
		return -ENOENT;
	bool src_dir = S_ISDIR(m->src.st_mode), dst_dir = m->exists && S_ISDIR(m->dst.st_mode);
	if (m->exists && !m->exchange && src_dir != dst_dir)
		return dst_dir ? -EISDIR : -ENOTDIR;
	/* The caller looked before the locks were ours; the lower tree may have been changed behind
	 * us, too. */
	if (src_dir != !!r->moved || dst_dir != !!r->victim_dir)
		return -ESTALE;
	return 0;
}

/* Regular files whose homes change are opened before the locks: nobody opens files under a
 * directory's lock. */
static int open_for_homes(struct dir *d, const char *lower, struct file *given,
	struct file **ret_opened, struct file **ret)
{
	struct lower *l = d->store->lower;
	struct stat st;
	int r = l->ops->fstatat(l, d->fd, lower, &st);
	*ret = given;
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode) || given || st.st_size == 0)
		return 0;
	r = file_open(d, lower, ret_opened);
	if (r == 0)
		*ret = *ret_opened;
	return r;
}

static int open_files(struct move *m)
{
	const struct tree_rename *r = m->r;
	struct lower *l = m->s->lower;
	struct stat st;
	int e = 0;
	if (r->from != r->to)
		e = open_for_homes(r->from, r->old_lower, r->file, &m->src_opened, &m->src_file);
	if (e < 0)
		return e;
	m->dst_file = r->victim_file;
	e = l->ops->fstatat(l, r->to->fd, new_lower(m), &st);
	if (e < 0)
		return e == -ENOENT ? 0 : e; /* with RENAME_EXCHANGE that is said under the locks */
	if ((r->flags & RENAME_EXCHANGE) && r->from != r->to)
		return open_for_homes(
			r->to, new_lower(m), r->victim_file, &m->dst_opened, &m->dst_file);
	/* A victim that does not open may still be replaced. */
	if (!(r->flags & RENAME_EXCHANGE) && S_ISREG(st.st_mode) && st.st_nlink > 1 &&
		!m->dst_file && file_open(r->to, new_lower(m), &m->dst_opened) == 0)
		m->dst_file = m->dst_opened;
	return 0;
}

static int prepare_links(struct move *m)
{
	const struct tree_rename *r = m->r;
	int e = name_prepare(r->to, r->new_name);
	if (e < 0)
		return e;
	e = tree_target_tail(r->from, r->old_lower, &m->src, &m->src_tail);
	if (e == 0 && m->exists)
		e = tree_target_tail(r->to, new_lower(m), &m->dst, &m->dst_tail);
	if (e < 0 || !m->across)
		return e;
	e = tree_target_copy(r->from, r->to, &m->src_tail);
	m->src_copied = e > 0;
	if (e >= 0 && m->exchange) {
		e = tree_target_copy(r->to, r->from, &m->dst_tail);
		m->dst_copied = e > 0;
	}
	return e < 0 ? e : 0;
}

/*
 * What is bound nowhere must not get a binding by being moved: it is refused. As a victim it may
 * go, and then the new name needs no binding to it.
 */
static int prepare_heads(struct move *m)
{
	const struct tree_rename *r = m->r;
	int e = 0;
	if (S_ISLNK(m->src.st_mode)) {
		e = tree_bind_of(r->from, r->old_lower, &m->src_head);
		m->src_link = e == 0;
		if (e == -EBADMSG)
			m->bad_link = r->from;
	}
	if (e == 0 && m->exists && S_ISLNK(m->dst.st_mode)) {
		e = tree_bind_of(r->to, new_lower(m), &m->dst_head);
		m->dst_link = e == 0;
		if (e == -EBADMSG && m->exchange)
			m->bad_link = r->to;
		else if (e == -EBADMSG)
			e = 0;
	}
	return e;
}

static int prepare_marks(struct move *m)
{
	const struct tree_rename *r = m->r;
	int e = prepare_heads(m);
	if (e == 0 && m->src_link) {
		e = tree_bind_set(
			r->to, new_lower(m), &m->src_head, m->dst_link ? &m->dst_head : NULL);
		m->to_marked = e == 0;
	}
	if (e == 0 && m->exchange && m->dst_link) {
		e = tree_bind_set(
			r->from, r->old_lower, &m->dst_head, m->src_link ? &m->src_head : NULL);
		m->from_marked = e == 0;
	}
	return e;
}

/* Binds d/lower to what stands there now. Where that fails two bindings stay, which a reader
 * settles. */
static void mark(const struct dir *d, const char *lower, bool is_link, const struct tree_head *head)
{
	if (is_link)
		(void)!tree_bind_set(d, lower, head, NULL);
	else
		tree_bind_forget(d, lower);
}

static void undo_marks(const struct move *m)
{
	const struct tree_rename *r = m->r;
	if (m->from_marked)
		mark(r->from, r->old_lower, m->src_link, &m->src_head);
	if (m->to_marked)
		mark(r->to, new_lower(m), m->dst_link, &m->dst_head);
}

static void finish_marks(const struct move *m)
{
	const struct tree_rename *r = m->r;
	bool link_comes = m->exchange && m->dst_link;
	if (m->exists && S_ISLNK(m->dst.st_mode))
		mark(r->to, new_lower(m), m->src_link, &m->src_head);
	if (m->src_link)
		mark(r->from, r->old_lower, link_comes, &m->dst_head);
}

static bool content_unopened(const struct stat *st, const struct file *f)
{
	return S_ISREG(st->st_mode) && st->st_size > 0 && !f;
}

static int prepare_homes(struct move *m)
{
	const struct tree_rename *r = m->r;
	int e = 0;
	if (!m->across)
		return 0;
	/* Content that came to be since it was looked at would lie in a directory that is none of
	 * its homes. */
	if (content_unopened(&m->src, m->src_file) ||
		(m->exchange && content_unopened(&m->dst, m->dst_file)))
		return -ESTALE;
	if (S_ISREG(m->src.st_mode) && m->src_file) {
		e = file_home_add(m->src_file, r->to->id);
		m->src_home = e == 0;
	}
	if (e == 0 && m->exchange && S_ISREG(m->dst.st_mode) && m->dst_file) {
		e = file_home_add(m->dst_file, r->from->id);
		m->dst_home = e == 0;
	}
	return e;
}

static int prepare_victim(struct move *m)
{
	const struct tree_rename *r = m->r;
	int e = 0;
	if (!m->exists || m->exchange)
		return 0;
	if (S_ISDIR(m->dst.st_mode)) {
		e = dir_clear(r->victim_dir, true, m->record);
		m->bad_record = e == -EBADMSG;
		m->cleared = e == 0;
	} else if (tree_frees_content(&m->dst, m->dst_file)) {
		if (!m->s->trash)
			return m->dst.st_size > 0 ? -EROFS : 0;
		e = trash_link(m->s->trash, r->to->fd, new_lower(m), m->trashed);
		m->linked = e == 0;
	}
	return e;
}

static int prepare_bindings(struct move *m)
{
	const struct tree_rename *r = m->r;
	int e = 0;
	if (r->moved) {
		e = dir_rebind(r->moved, r->from, r->old_lower, r->to, new_lower(m));
		m->src_bound = e == 0;
	}
	if (e == 0 && m->exchange && r->victim_dir) {
		e = dir_rebind(r->victim_dir, r->to, new_lower(m), r->from, r->old_lower);
		m->dst_bound = e == 0;
	}
	return e;
}

/* Best effort: what cannot be undone now is what a crash here would leave. */
static void undo(struct move *m)
{
	const struct tree_rename *r = m->r;
	if (m->dst_bound)
		(void)!dir_rebind(r->victim_dir, r->to, new_lower(m), NULL, NULL);
	if (m->src_bound)
		(void)!dir_rebind(r->moved, r->from, r->old_lower, NULL, NULL);
	if (m->cleared)
		(void)!dir_restore(r->victim_dir, m->record);
	if (m->linked)
		trash_unlink(m->s->trash, m->trashed);
	if (m->dst_home)
		(void)!file_home_remove(m->dst_file, r->from->id);
	if (m->src_home)
		(void)!file_home_remove(m->src_file, r->to->id);
	if (m->dst_copied)
		tree_target_forget(r->from, &m->dst_tail);
	if (m->src_copied)
		tree_target_forget(r->to, &m->src_tail);
	undo_marks(m);
	name_forget(r->to, new_lower(m));
}

static void finish_victim(struct move *m)
{
	const struct tree_rename *r = m->r;
	if (S_ISREG(m->dst.st_mode) && m->dst.st_nlink > 1 && m->dst_file)
		(void)!file_home_remove(m->dst_file, r->to->id);
	if (m->dst.st_nlink == 1)
		tree_target_forget(r->to, &m->dst_tail);
	if (m->linked && m->dst_file)
		file_set_trashed(m->dst_file, m->trashed);
	else
		m->erase = m->linked;
}

/* The rename has happened and is reported as done: from here on failures leave only what is
 * superfluous. */
static void finish(struct move *m)
{
	const struct tree_rename *r = m->r;
	finish_marks(m);
	if (m->src_bound)
		(void)!dir_rebind(r->moved, r->to, new_lower(m), NULL, NULL);
	if (m->dst_bound)
		(void)!dir_rebind(r->victim_dir, r->from, r->old_lower, NULL, NULL);
	if (m->src_home)
		(void)!file_home_remove(m->src_file, r->from->id);
	if (m->dst_home)
		(void)!file_home_remove(m->dst_file, r->to->id);
	if (m->across && m->src.st_nlink == 1)
		tree_target_forget(r->from, &m->src_tail);
	if (m->exchange) {
		if (m->across && m->dst.st_nlink == 1)
			tree_target_forget(r->to, &m->dst_tail);
		return;
	}
	if (m->exists)
		finish_victim(m);
	name_forget(r->from, r->old_lower);
}

/* 1 when a victim turned out to have another name and the rename lock is not held: nothing has
 * happened then. */
static int rename_locked(struct move *m, bool global)
{
	const struct tree_rename *r = m->r;
	struct lower *l = m->s->lower;
	int e = look(m);
	if (e < 0)
		return e;
	/* Two names of one file: rename(2) leaves both. */
	if (m->exists && m->src.st_ino == m->dst.st_ino && m->src.st_dev == m->dst.st_dev)
		return 0;
	if (!global && m->exists && m->dst.st_nlink > 1)
		return 1;
	e = prepare_links(m);
	if (e == 0)
		e = prepare_marks(m);
	if (e == 0)
		e = prepare_homes(m);
	if (e == 0)
		e = prepare_victim(m);
	if (e == 0)
		e = prepare_bindings(m);
	if (e == 0)
		e = l->ops->renameat(
			l, r->from->fd, r->old_lower, r->to->fd, new_lower(m), r->flags);
	if (e < 0)
		undo(m);
	else
		finish(m);
	return e;
}

static int rename_once(struct move *m, bool global)
{
	const struct tree_rename *r = m->r;
	struct tree_locks locks = {{r->from, r->to, r->moved, r->victim_dir}};
	if (global)
		lock_take(tree_rename_lock(m->s));
	tree_lock(&locks);
	int e = rename_locked(m, global);
	tree_unlock(&locks);
	if (global)
		lock_drop(tree_rename_lock(m->s));
	return e;
}

/* The rename lock: as in tree_unlink, and because two directory renames could make a ring of each
 * other. */
int tree_rename(const struct tree_rename *r)
{
	struct move m = {.r = r, .s = r->from->store};
	if (r->flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	const bool global = r->moved || r->victim_dir || (r->flags & RENAME_EXCHANGE);
	int e = open_files(&m);
	if (e == 0)
		e = rename_once(&m, global);
	if (m.exists && !m.exchange && tree_trash_may_help(m.s, e)) {
		struct move again = {.r = r,
			.s = m.s,
			.src_file = m.src_file,
			.dst_file = m.dst_file,
			.src_opened = m.src_opened,
			.dst_opened = m.dst_opened};
		m = again;
		e = rename_once(&m, global);
	}
	if (e == 1)
		e = rename_once(&m, true);
	if (m.bad_record)
		e = tree_alarm(r->victim_dir, "directory", "its record is none", e);
	if (m.bad_link)
		e = tree_alarm(m.bad_link, "link target", "it does not belong to its name", e);
	if (m.erase)
		trash_erase(m.s->trash, m.trashed, r->to->fd);
	if (m.src_opened)
		file_put(m.src_opened);
	if (m.dst_opened)
		file_put(m.dst_opened);
	return e;
}
