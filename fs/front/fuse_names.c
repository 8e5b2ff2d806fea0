/* Operations that change names: mkdir, mknod, symlink, link, unlink, rmdir, rename. */
#include "fs/front/request.h"

#include "keymgmt/base/err.h"
#include "keymgmt/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* A directory and a sealed name in it. */
struct spot {
	struct dir *dir;
	struct name name;
};

static int spot_find(struct front *f, struct inode *parent, const char *plain, struct spot *s)
{
	s->dir = NULL;
	int r = inode_dir(&f->inodes, parent, &s->dir);
	return r < 0 ? r : name_seal(s->dir, plain, &s->name);
}

/* What stands there, as the lower filesystem has it: its number, type and count of names. */
static int spot_stat(const struct spot *s, struct stat *ret)
{
	struct lower *l = s->dir->store->lower;
	return l->ops->fstatat(l, s->dir->fd, s->name.lower, ret);
}

static void spot_done(struct spot *s)
{
	if (s->dir)
		dir_put(s->dir);
}

/* Answers with the entry of what has just been made under (parent, plain): a name, or with
 * `number` an inode too. */
static void reply_new(struct request *q, struct inode *parent, const char *plain,
	const struct spot *s, const struct stat *st, bool number, int r)
{
	struct fuse_entry_param e;
	struct inode *i = NULL;
	if (r == 0 && number)
		inode_number_reused(&q->front->inodes, st->st_ino);
	if (r == 0) {
		r = request_entry(q->front, parent, plain, s->name.lower, st, &e, &i);
		if (r < 0)
			fuse_names_unmake(q->front, parent, plain);
	}
	r = request_leave(q, r);
	if (r < 0)
		fuse_reply_err(q->fuse, -r);
	else if (fuse_reply_entry(q->fuse, &e) < 0)
		inode_forget(&q->front->inodes, i, 1);
	inode_put(&q->front->inodes, i);
	notify_if_changed(q->front->notify, q->verdicts);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct request q;
	struct lower_cred cred;
	struct spot s = {0};
	struct stat st;
	request_start(&q, req, OP_MKDIR, parent, name);
	struct inode *p = request_inode(q.front, parent);
	int r = request_enter(&q, ACT_CREATE);
	if (r == 0)
		r = spot_find(q.front, p, name, &s);
	if (r == 0)
		r = tree_mkdir(s.dir, &s.name, request_mode(&q, s.dir, mode),
			request_cred(&q, &cred), &st);
	reply_new(&q, p, name, &s, &st, true, r);
	spot_done(&s);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	struct request q;
	struct lower_cred cred;
	struct spot s = {0};
	struct stat st;
	request_start(&q, req, OP_MKNOD, parent, name);
	struct inode *p = request_inode(q.front, parent);
	int r = request_enter(&q, ACT_CREATE);
	if (r == 0)
		r = spot_find(q.front, p, name, &s);
	if (r == 0)
		r = tree_mknod(s.dir, &s.name, (mode & S_IFMT) | request_mode(&q, s.dir, mode), dev,
			request_cred(&q, &cred), &st);
	reply_new(&q, p, name, &s, &st, true, r);
	spot_done(&s);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct request q;
	struct lower_cred cred;
	struct spot s = {0};
	struct stat st;
	request_start(&q, req, OP_SYMLINK, parent, name);
	struct inode *p = request_inode(q.front, parent);
	int r = request_enter(&q, ACT_CREATE);
	if (r == 0)
		r = spot_find(q.front, p, name, &s);
	if (r == 0)
		r = tree_symlink(s.dir, &s.name, target, request_cred(&q, &cred), &st);
	reply_new(&q, p, name, &s, &st, true, r);
	spot_done(&s);
}

/* The open file of an entry where its homes change or somebody holds it open. By the holder of the
 * number's stripe. */
struct held {
	struct inode *inode; /* known to the kernel, with a reference; or NULL */
	struct file *file;
	int pin;                 /* of the lower inode when its last name goes, or -1 */
	struct inode_gone *gone; /* what it was, when its name goes; owned */
};

/* homes: it is opened if need be. goes: the name is about to be removed; then `remember`, and
 * `went` when it was. */
static void hold(struct front *f, struct dir *d, const char *lower, const struct stat *st,
	bool homes, bool goes, struct held *ret)
{
	struct lower *l = f->store->lower;
	*ret = (struct held){.inode = inode_find(&f->inodes, st->st_ino), .pin = -1};
	homes = homes || (goes && ret->inode && st->st_nlink <= 1 && inode_gone_wanted(&f->inodes));
	/* Its number must not be used again before the table has forgotten it. */
	if (ret->inode && goes && st->st_nlink <= 1)
		ret->pin = l->ops->openat(l, d->fd, lower, O_PATH, 0, NULL);
	if (!S_ISREG(st->st_mode))
		return;
	int r = -ESTALE;
	if (ret->inode && homes)
		r = inode_file_locked(&f->inodes, ret->inode, &ret->file);
	else if (ret->inode)
		ret->file = inode_file_if_open(&f->inodes, ret->inode);
	/* Its length was settled, and the inode is found no more. */
	if (ret->inode && homes && r == -ESTALE) {
		inode_put(&f->inodes, ret->inode);
		ret->inode = NULL;
	}
	if (!ret->inode)
		ret->file = inode_file_of_retired(&f->inodes, st->st_ino);
	/* Damaged: its name can still be removed; the alarm is on the log. */
	if (!ret->inode && !ret->file && homes && file_open(d, lower, &ret->file) < 0)
		ret->file = NULL;
}

/* Before the name of something other than a directory goes. */
static void remember(struct dir *d, const char *lower, const struct stat *st, struct held *h)
{
	struct stat view;
	if (!h->inode || S_ISDIR(st->st_mode))
		return;
	int r = h->file ? file_stat(h->file, &view) : tree_view(d, lower, st, &view);
	if (r == 0)
		h->gone = inode_gone_new(d, lower, &view);
}

/* The name went. */
static void went(struct front *f, const struct stat *st, struct held *h)
{
	if (!h->inode)
		return;
	inode_gone_set(&f->inodes, h->inode, h->gone);
	h->gone = NULL;
	if (h->file && st->st_nlink <= 1 && inode_gone_wanted(&f->inodes))
		inode_gone_keep(&f->inodes, h->inode, h->file);
}

static void let_go(struct front *f, struct held *h)
{
	inode_gone_free(h->gone);
	if (h->file && h->inode)
		inode_file_done_locked(&f->inodes, h->inode, h->file);
	else if (h->file)
		file_put(h->file);
	if (h->pin >= 0)
		f->store->lower->ops->close(f->store->lower, h->pin);
	inode_put(&f->inodes, h->inode);
}

static int unlink_spot(struct front *f, struct inode *parent, struct spot *s)
{
	struct stat st;
	struct held h;
	int r = spot_stat(s, &st);
	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	/* The link count must not change between here and the removal: two last names would both
	 * think the other is left. */
	struct lock_mutex *stripe = inode_lock(&f->inodes, st.st_ino);
	ino_t ino = st.st_ino;
	r = spot_stat(s, &st);
	if (r == 0 && st.st_ino != ino)
		r = -ESTALE;
	if (r == 0) {
		hold(f, s->dir, s->name.lower, &st, st.st_nlink > 1, true, &h);
		remember(s->dir, s->name.lower, &st, &h);
		r = tree_unlink(s->dir, s->name.lower, h.file);
		if (r == 0 && h.inode)
			inode_name_removed(
				&f->inodes, h.inode, parent, s->name.lower, st.st_nlink <= 1);
		if (r == 0)
			went(f, &st, &h);
		let_go(f, &h);
	}
	lock_drop(stripe);
	return r;
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request q;
	struct spot s = {0};
	request_start(&q, req, OP_UNLINK, parent, name);
	struct inode *p = request_inode(q.front, parent);
	int r = request_enter(&q, ACT_DELETE);
	if (r == 0)
		r = spot_find(q.front, p, name, &s);
	if (r == 0)
		r = unlink_spot(q.front, p, &s);
	spot_done(&s);
	request_answer(&q, r);
}

/* The directory under (d, lower): the kernel's, or one opened here. */
static int open_child(
	struct front *f, struct inode *i, struct dir *d, const char *lower, struct dir **ret)
{
	int r = i ? inode_dir(&f->inodes, i, ret) : -ESTALE;
	return r == -ESTALE ? dir_open(d, lower, ret) : r;
}

static int rmdir_spot(struct front *f, struct inode *parent, struct spot *s)
{
	struct stat st;
	struct dir *victim = NULL;
	int r = spot_stat(s, &st);
	if (r < 0)
		return r;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* No lookup comes to know it while it goes. */
	struct lock_mutex *stripe = inode_lock(&f->inodes, st.st_ino);
	struct inode *i = inode_find(&f->inodes, st.st_ino);
	r = open_child(f, i, s->dir, s->name.lower, &victim);
	if (r == 0)
		r = tree_rmdir(s->dir, s->name.lower, victim);
	if (r == 0 && i)
		inode_name_removed(&f->inodes, i, parent, s->name.lower, true);
	lock_drop(stripe);
	if (victim)
		dir_put(victim);
	inode_put(&f->inodes, i);
	return r;
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request q;
	struct spot s = {0};
	request_start(&q, req, OP_RMDIR, parent, name);
	struct inode *p = request_inode(q.front, parent);
	int r = request_enter(&q, ACT_DELETE);
	if (r == 0)
		r = spot_find(q.front, p, name, &s);
	if (r == 0)
		r = rmdir_spot(q.front, p, &s);
	spot_done(&s);
	request_answer(&q, r);
}

/* Who makes it holds the kernel's lock of the directory: it is what he made. */
void fuse_names_unmake(struct front *f, struct inode *parent, const char *plain)
{
	struct spot s;
	int r = spot_find(f, parent, plain, &s);
	if (r == 0)
		r = unlink_spot(f, parent, &s);
	if (r == -EISDIR)
		r = rmdir_spot(f, parent, &s);
	spot_done(&s);
	if (r < 0)
		log_say(LOG_LEVEL_WARNING,
			"A name was made for which there was not enough memory, and could not be "
			"removed again (%s). It may not be seen until the tenant is mounted again.",
			strerror(-r));
}

static int link_to(struct request *q, struct inode *i, struct inode *parent, const char *name,
	struct spot *s, struct stat *ret)
{
	struct front *f = q->front;
	struct inode *from_parent = NULL;
	struct dir *from = NULL;
	struct file *file = NULL;
	char lower[256];
	/* One file under two rules would be open to whoever passes the laxer one. */
	if (!gate_same_rules(f->gate, &q->gate.object, &q->gate.object2))
		return -EXDEV;
	int r = spot_find(f, parent, name, s);
	struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
	if (r == 0)
		r = inode_where(&f->inodes, i, &from_parent, lower);
	if (r == 0)
		r = inode_dir(&f->inodes, from_parent, &from);
	if (r == 0 && S_ISREG(i->type))
		r = inode_file_locked(&f->inodes, i, &file);
	if (r == 0)
		r = tree_link(from, lower, file, s->dir, &s->name, ret);
	if (r == 0 && file)
		r = file_stat(file, ret);
	if (file)
		inode_file_done_locked(&f->inodes, i, file);
	lock_drop(stripe);
	if (from)
		dir_put(from);
	inode_put(&f->inodes, from_parent);
	/* Misled: the kernel looks it up again. */
	return r == -ESTALE && !__atomic_load_n(&i->misled, __ATOMIC_ACQUIRE) ? -ENOENT : r;
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct request q;
	struct spot s = {0};
	struct stat st;
	request_start(&q, req, OP_LINK, ino, NULL);
	struct inode *p = request_inode(q.front, parent);
	q.gate.object2 = (struct gate_object){p, name};
	q.gate.acts2 = ACT_CREATE;
	int r = request_enter(&q, ACT_READ | ACT_WRITE);
	if (r == 0)
		r = link_to(&q, request_inode(q.front, ino), p, name, &s, &st);
	reply_new(&q, p, name, &s, &st, false, r);
	spot_done(&s);
}

/* Both ends of a rename. */
struct move {
	struct inode *from_inode, *to_inode;
	const char *old_plain, *new_plain;
	struct spot from, to;
	struct stat source, victim;
	bool victim_exists;
	struct held source_held, victim_held;
	struct dir *moved, *victim_dir;
};

/* What tree_rename needs open. By the holder of both stripes. */
static int move_open(struct front *f, struct move *m, unsigned flags)
{
	bool homes = m->from.dir != m->to.dir;
	int r = 0;
	hold(f, m->from.dir, m->from.name.lower, &m->source, homes, false, &m->source_held);
	if (m->victim_exists)
		hold(f, m->to.dir, m->to.name.lower, &m->victim,
			m->victim.st_nlink > 1 || (homes && (flags & RENAME_EXCHANGE)),
			!(flags & RENAME_EXCHANGE), &m->victim_held);
	if (m->victim_exists && !(flags & RENAME_EXCHANGE))
		remember(m->to.dir, m->to.name.lower, &m->victim, &m->victim_held);
	if (homes && S_ISREG(m->source.st_mode) && m->source.st_size > 0 && !m->source_held.file)
		return -EBADMSG;
	if (S_ISDIR(m->source.st_mode))
		r = open_child(f, m->source_held.inode, m->from.dir, m->from.name.lower, &m->moved);
	if (r == 0 && m->victim_exists && S_ISDIR(m->victim.st_mode))
		r = open_child(
			f, m->victim_held.inode, m->to.dir, m->to.name.lower, &m->victim_dir);
	return r;
}

static void move_names(struct front *f, struct move *m, unsigned flags)
{
	if (m->source_held.inode)
		inode_renamed(&f->inodes, m->source_held.inode, m->from_inode, m->from.name.lower,
			m->to_inode, m->new_plain, m->to.name.lower);
	if (!m->victim_held.inode)
		return;
	if (flags & RENAME_EXCHANGE)
		inode_renamed(&f->inodes, m->victim_held.inode, m->to_inode, m->to.name.lower,
			m->from_inode, m->old_plain, m->from.name.lower);
	else
		inode_name_removed(&f->inodes, m->victim_held.inode, m->to_inode, m->to.name.lower,
			S_ISDIR(m->victim.st_mode) || m->victim.st_nlink <= 1);
	if (!(flags & RENAME_EXCHANGE))
		went(f, &m->victim, &m->victim_held);
}

static int move_locked(struct front *f, struct move *m, unsigned flags)
{
	int r = move_open(f, m, flags);
	if (r == 0) {
		const struct tree_rename order = {
			.from = m->from.dir,
			.to = m->to.dir,
			.old_lower = m->from.name.lower,
			.new_name = &m->to.name,
			.flags = flags,
			.file = m->source_held.file,
			.moved = m->moved,
			.victim_exists = m->victim_exists,
			.victim_file = m->victim_held.file,
			.victim_dir = m->victim_dir,
		};
		r = tree_rename(&order);
	}
	if (r == 0)
		move_names(f, m, flags);
	if (m->moved)
		dir_put(m->moved);
	if (m->victim_dir)
		dir_put(m->victim_dir);
	let_go(f, &m->source_held);
	let_go(f, &m->victim_held);
	return r;
}

static int move_stat(struct move *m, unsigned flags)
{
	int r = spot_stat(&m->from, &m->source);
	if (r < 0)
		return r;
	r = spot_stat(&m->to, &m->victim);
	m->victim_exists = r == 0;
	if (r == -ENOENT)
		r = flags & RENAME_EXCHANGE ? -ENOENT : 0;
	else if (r == 0 && (flags & RENAME_NOREPLACE))
		r = -EEXIST;
	return r;
}

static bool has_other_names(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_nlink > 1;
}

/* What a rename changes in what others may see. */
struct verge {
	bool same;   /* what moves falls under the same rules there, and all that is below it */
	bool cached; /* as long as it is known of one place as of the other */
};

static struct verge verge_of(const struct request *q, mode_t type)
{
	struct gate *g = q->front->gate;
	struct gate_object a = q->gate.object, b = q->gate.object2;
	a.file = b.file = !S_ISDIR(type);
	if (S_ISDIR(type))
		return (struct verge){gate_same_below(g, &a, &b), true};
	return (struct verge){
		gate_same_rules(g, &a, &b), gate_cacheable(g, &a) == gate_cacheable(g, &b)};
}

/* Before the kernel learns that it is in another place. */
static void settle_move(struct front *f, const struct verge *v, ino_t ino)
{
	struct inode *i = v->same && v->cached ? NULL : inode_find(&f->inodes, ino);
	if (i)
		notify_attributes_now(f->notify, i);
	inode_put(&f->inodes, i);
	if (v->same)
		return;
	/* Under other rules now: caches and handles of what moved are asked again. */
	notify_all_attributes(f->notify);
	notify_rejudge(f->notify, false);
}

static int move(struct request *q, struct move *m, unsigned flags)
{
	struct front *f = q->front;
	struct lock_mutex *held[2];
	int r = spot_find(f, m->from_inode, m->old_plain, &m->from);
	if (r == 0)
		r = spot_find(f, m->to_inode, m->new_plain, &m->to);
	if (r == 0)
		r = move_stat(m, flags);
	if (r < 0)
		return r;
	if (m->victim_exists && m->victim.st_ino == m->source.st_ino)
		return 0; /* two names of one file: rename(2) does nothing */
	bool swaps = m->victim_exists && (flags & RENAME_EXCHANGE);
	bool same = gate_same_rules(f->gate, &q->gate.object, &q->gate.object2);
	struct verge there = verge_of(q, m->source.st_mode), back = {true, true};
	if (swaps)
		back = verge_of(q, m->victim.st_mode);
	inode_lock_two(&f->inodes, m->source.st_ino,
		m->victim_exists ? m->victim.st_ino : m->source.st_ino, held);
	const ino_t source = m->source.st_ino, victim = m->victim_exists ? m->victim.st_ino : 0;
	r = move_stat(m, flags);
	/* The stripes are those of others. */
	if (r == 0 &&
		(m->source.st_ino != source || (m->victim_exists ? m->victim.st_ino : 0) != victim))
		r = -ESTALE;
	if (r == 0 && !same &&
		(has_other_names(&m->source) || (swaps && has_other_names(&m->victim))))
		r = -EXDEV; /* those would stay under other rules */
	if (r == 0)
		r = move_locked(f, m, flags);
	inode_unlock_two(held);
	/* What was compared is another by now, and was forgotten while it was there: a directory
	 * above moved, or there is a new policy. */
	if (__atomic_load_n(&f->verdicts, __ATOMIC_SEQ_CST) != q->verdicts)
		there = back = (struct verge){false, false};
	if (r == 0) {
		settle_move(f, &there, source);
		settle_move(f, &back, victim);
	}
	return r;
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned flags)
{
	struct request q;
	request_start(&q, req, OP_RENAME, parent, name);
	struct move m = {.from_inode = request_inode(q.front, parent),
		.to_inode = request_inode(q.front, new_parent),
		.old_plain = name,
		.new_plain = new_name,
		.source_held = {.pin = -1},
		.victim_held = {.pin = -1}};
	q.gate.object2 = (struct gate_object){m.to_inode, new_name};
	q.gate.acts2 = ACT_CREATE;
	unsigned acts = ACT_DELETE;
	int r = flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ? -EINVAL : 0;
	if (r == 0 && spot_find(q.front, m.to_inode, new_name, &m.to) == 0 &&
		spot_stat(&m.to, &m.victim) == 0)
		q.gate.acts2 |= ACT_DELETE; /* what stands there is replaced */
	spot_done(&m.to);
	m.to.dir = NULL;
	if (flags & RENAME_EXCHANGE)
		acts |= ACT_CREATE;
	if (r == 0)
		r = request_enter(&q, acts);
	if (r == 0)
		r = move(&q, &m, flags);
	spot_done(&m.from);
	spot_done(&m.to);
	request_answer(&q, r);
}

void fuse_names_fill(struct fuse_lowlevel_ops *ops)
{
	ops->mkdir = op_mkdir;
	ops->mknod = op_mknod;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
}
