#include "fs/front/request.h"

#include "keymgmt/base/err.h"

#include <errno.h>
#include <fcntl.h>

#define FIND_TRIES 8

struct inode *request_inode(struct front *f, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? f->inodes.root : (struct inode *)(uintptr_t)ino;
}

fuse_ino_t request_number(struct front *f, struct inode *i)
{
	return i == f->inodes.root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)i;
}

void request_start(
	struct request *q, fuse_req_t fuse, enum op op, fuse_ino_t ino, const char *child)
{
	const struct fuse_ctx *c = fuse_req_ctx(fuse);
	q->fuse = fuse;
	q->front = fuse_req_userdata(fuse);
	q->ticket = (struct gate_ticket){0};
	q->verdicts = __atomic_load_n(&q->front->verdicts, __ATOMIC_SEQ_CST);
	q->gate = (struct gate_request){
		.op = op,
		.caller = {c->uid, c->gid, c->pid},
		.object = {request_inode(q->front, ino), child, false},
		.log_allowed = true,
	};
	if (!child)
		q->gate.object.file = !S_ISDIR(request_inode(q->front, ino)->type);
}

int request_enter(struct request *q, unsigned acts)
{
	q->gate.acts = acts;
	/* The kernel can be told to write after all (mount -o remount,rw); that is not what this
	 * mount was started for. */
	if (front_is_read_only(q->front) &&
		((acts | q->gate.acts2) & ~(unsigned)(ACT_LIST | ACT_READ)))
		return -EROFS;
	return gate_enter(q->front->gate, &q->gate, &q->ticket);
}

int request_leave(struct request *q, int outcome)
{
	if (outcome == -ESTALE)
		inode_gone_missed(&q->front->inodes);
	return err_to_fuse(gate_leave(q->front->gate, &q->gate, &q->ticket, outcome));
}

void request_answer(struct request *q, int outcome)
{
	fuse_reply_err(q->fuse, -request_leave(q, outcome));
}

double request_cache(struct front *f, const struct inode *i, const struct stat *st)
{
	/* By another name it may be reached through another directory. */
	const struct gate_object o = {i, NULL, !S_ISDIR(i->type) && st->st_nlink <= 1};
	return f->one_user || gate_cacheable(f->gate, &o) ? REQUEST_CACHE_SECONDS : 0;
}

const struct lower_cred *request_cred(const struct request *q, struct lower_cred *room)
{
	if (!q->front->as_root)
		return NULL;
	*room = (struct lower_cred){q->gate.caller.uid, q->gate.caller.gid};
	return room;
}

bool request_in_group(const struct op_caller *caller, gid_t gid)
{
	struct subject s;
	size_t count = 0;
	bool found = caller->gid == gid;
	subject_init(&s, caller);
	const gid_t *groups = found ? NULL : subject_groups(&s, &count);
	for (size_t i = 0; groups && i < count && !found; i++)
		found = groups[i] == gid;
	subject_done(&s);
	return found;
}

mode_t request_set_id(const struct op_caller *caller, const struct stat *st)
{
	mode_t drop = st->st_mode & S_ISUID;
	if ((st->st_mode & S_ISGID) &&
		((st->st_mode & S_IXGRP) || !request_in_group(caller, st->st_gid)))
		drop |= S_ISGID;
	return drop;
}

int request_drop_set_id(
	struct front *f, const struct op_caller *caller, struct inode *i, struct file *file)
{
	struct stat st;
	int r = file_stat(file, &st);
	mode_t drop = r == 0 ? request_set_id(caller, &st) : 0;
	if (!drop)
		return r;
	r = file_set_mode(file, st.st_mode & 07777 & ~drop);
	if (r == 0)
		notify_attributes_now(f->notify, i);
	return r;
}

mode_t request_mode(const struct request *q, const struct dir *d, mode_t mode)
{
	struct lower *l = q->front->store->lower;
	bool inherits = l->ops->fgetxattr(l, d->fd, "system.posix_acl_default", NULL, 0) > 0;
	return mode & 07777 & ~(inherits ? 0 : fuse_req_ctx(q->fuse)->umask);
}

/* Through its name: for what is neither a directory nor open. */
static int stat_by_name(struct front *f, struct inode *i, struct stat *ret)
{
	struct inode *parent = NULL;
	struct dir *d = NULL;
	char lower[256];
	int r = inode_where(&f->inodes, i, &parent, lower);
	if (r == 0)
		r = inode_dir(&f->inodes, parent, &d);
	if (r == 0)
		r = tree_stat(d, lower, ret);
	/* A number that is used again may have another type: the kernel would take ours for broken.
	 */
	if (r == 0 && (ret->st_ino != i->ino || (ret->st_mode & S_IFMT) != i->type))
		r = -ESTALE;
	if (d)
		dir_put(d);
	inode_put(&f->inodes, parent);
	return r == -ENOENT ? -ESTALE : r;
}

/* -ESTALE when something else has the name now. */
static int pin_by_name(struct front *f, struct inode *i, struct lower_held *ret)
{
	struct lower *l = f->store->lower;
	struct inode *parent = NULL;
	struct dir *d = NULL;
	struct stat st;
	char lower[256];
	int r = inode_where(&f->inodes, i, &parent, lower);
	if (r == 0)
		r = inode_dir(&f->inodes, parent, &d);
	if (r == 0)
		r = ret->fd = l->ops->openat(l, d->fd, lower, O_PATH, 0, NULL);
	if (r >= 0)
		r = l->ops->fstat(l, ret->fd, &st);
	if (r == 0 && (st.st_ino != i->ino || (st.st_mode & S_IFMT) != i->type))
		r = -ESTALE;
	if (r < 0) {
		lower_held_auto(ret);
		ret->fd = -1;
	}
	if (d)
		dir_put(d);
	inode_put(&f->inodes, parent);
	return r == -ENOENT ? -ESTALE : r;
}

int request_pin(struct front *f, struct inode *i, struct lower_held *ret)
{
	*ret = (struct lower_held){f->store->lower, -1};
	int r = pin_by_name(f, i, ret);
	if (r != -ESTALE)
		return r;
	/* Renamed or removed meanwhile: once more while nobody does either. */
	struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
	r = pin_by_name(f, i, ret);
	lock_drop(stripe);
	return r;
}

static int stat_dir(struct front *f, struct inode *i, struct stat *ret)
{
	const struct lower *l = f->store->lower;
	struct dir *d;
	struct stat st;
	int r = inode_dir(&f->inodes, i, &d);
	if (r < 0)
		return r;
	r = l->ops->fstat(f->store->lower, d->fd, &st);
	if (r == 0)
		r = tree_view(d, NULL, &st, ret);
	dir_put(d);
	return r;
}

int request_stat(struct front *f, struct inode *i, struct stat *ret)
{
	if (S_ISDIR(i->type))
		return stat_dir(f, i, ret);
	if (S_ISREG(i->type)) {
		struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
		struct file *file = inode_file_if_open(&f->inodes, i);
		/* Closed, its length tells its size, and only while nobody opens it. */
		int r = file ? file_stat(file, ret) : stat_by_name(f, i, ret);
		if (r == -ESTALE)
			r = inode_gone_stat(&f->inodes, i, ret);
		if (file)
			inode_file_done_locked(&f->inodes, i, file);
		lock_drop(stripe);
		return r;
	}
	int r = stat_by_name(f, i, ret);
	if (r != -ESTALE)
		return r;
	/* Renamed or removed meanwhile: once more while nobody does either. */
	struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
	r = stat_by_name(f, i, ret);
	if (r == -ESTALE)
		r = inode_gone_stat(&f->inodes, i, ret);
	lock_drop(stripe);
	return r;
}

int request_entry(struct front *f, struct inode *parent, const char *plain, const char *lower,
	const struct stat *st, struct fuse_entry_param *ret, struct inode **ret_inode)
{
	struct inode *i = inode_found(&f->inodes, parent, plain, lower, st->st_ino, st->st_mode, 1);
	if (!i)
		return -ENOMEM;
	*ret = (struct fuse_entry_param){.ino = request_number(f, i), .attr = *st};
	/* A name never hides by time-out: what may not be seen is refused at GETATTR
	 * (docs/policy.md, "Caches"). */
	ret->entry_timeout = REQUEST_CACHE_SECONDS;
	ret->attr_timeout = request_cache(f, i, st);
	*ret_inode = i;
	return 0;
}

/* The number's stripe is held. */
static int find_locked(struct front *f, struct inode *parent, struct dir *d, const char *plain,
	const char *lower, const struct stat *st, struct fuse_entry_param *ret,
	struct inode **ret_inode)
{
	struct inode *i;
	int r = request_entry(f, parent, plain, lower, st, ret, &i);
	if (r < 0)
		return r;
	/* Somebody has it open: its size is not in the lower length yet. */
	struct file *file = S_ISREG(st->st_mode) ? inode_file_if_open(&f->inodes, i) : NULL;
	r = file ? file_stat(file, &ret->attr) : tree_view(d, lower, st, &ret->attr);
	if (file)
		inode_file_done_locked(&f->inodes, i, file);
	if (r == 0) {
		*ret_inode = i;
		return 0;
	}
	inode_forget(&f->inodes, i, 1);
	inode_put(&f->inodes, i);
	return r;
}

int request_find(struct front *f, struct inode *parent, struct dir *d, const char *plain,
	const char *lower, ino_t ino, struct fuse_entry_param *ret, struct inode **ret_inode)
{
	struct lower *l = f->store->lower;
	const bool listed = ino != 0;
	struct stat st = {.st_ino = ino};
	int r = listed ? 0 : l->ops->fstatat(l, d->fd, lower, &st);
	/* Another object may take the name before the stripe is ours. */
	for (int tries = 0; r == 0 && tries < FIND_TRIES; tries++) {
		ino = st.st_ino;
		struct lock_mutex *stripe = inode_lock(&f->inodes, ino);
		bool known = listed && inode_known(&f->inodes, ino);
		r = known ? 1 : l->ops->fstatat(l, d->fd, lower, &st);
		bool same = r == 0 && st.st_ino == ino;
		if (same)
			r = find_locked(f, parent, d, plain, lower, &st, ret, ret_inode);
		lock_drop(stripe);
		if (same)
			return r;
	}
	return r == 0 ? -ESTALE : r;
}

void request_end_handle(struct front *f, struct handle *h)
{
	const struct gate_request r = {.op = h->op,
		.caller = h->caller,
		.object = {.node = h->inode},
		.acts = h->acts,
		.log_allowed = true};
	if (h->file)
		gate_close(f->gate, &r, &h->ticket,
			__atomic_load_n(&h->bytes_read, __ATOMIC_RELAXED),
			__atomic_load_n(&h->bytes_written, __ATOMIC_RELAXED));
	handle_remove(&f->handles, h);
	if (h->writes)
		__atomic_sub_fetch(&h->inode->writers, 1, __ATOMIC_SEQ_CST);
	if (h->file) {
		inode_file_done(&f->inodes, h->inode, h->file);
		/* What was told while it was being written to may be old. */
		if (h->writes)
			inode_changed(&f->inodes, h->inode);
		inode_closes(&f->inodes, h->inode);
	}
	if (h->cursor)
		tree_cursor_close(h->cursor);
	inode_put(&f->inodes, h->inode);
	handle_free(h);
}
