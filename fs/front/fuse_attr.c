/* Operations on attributes: lookup, forget, getattr, setattr, statfs, access, readlink. */
#include "fs/front/request.h"
#include "fs/front/wire.h"

#include "fs/store/redo.h"
#include "keymgmt/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

static int find(
	struct front *f, struct inode *parent, const char *name, struct fuse_entry_param *ret)
{
	struct dir *d;
	struct name n;
	struct inode *i = NULL;
	int r = inode_dir(&f->inodes, parent, &d);
	if (r < 0)
		return r;
	__atomic_add_fetch(&parent->looked_into, 1, __ATOMIC_RELAXED);
	r = name_seal(d, name, &n);
	if (r == 0)
		r = request_find(f, parent, d, name, n.lower, 0, ret, &i);
	dir_put(d);
	inode_put(&f->inodes, i);
	return r;
}

/* Lookups are not refused for policy where the entry exists: ENOENT would make the kernel drop a
 * directory in which another user is. */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct front *f = fuse_req_userdata(req);
	struct fuse_entry_param e = {0};
	uint64_t verdicts = __atomic_load_n(&f->verdicts, __ATOMIC_SEQ_CST);
	int r = find(f, request_inode(f, parent), name, &e);
	if (r == -ENOENT) {
		e.ino = 0;
		/* Who may ask is told this in any case, and the kernel learns of each new name. */
		e.entry_timeout = REQUEST_CACHE_SECONDS;
		r = 0;
	}
	if (r < 0)
		fuse_reply_err(req, -err_to_fuse(r));
	else if (fuse_reply_entry(req, &e) < 0 && e.ino)
		inode_forget(&f->inodes, request_inode(f, e.ino), 1);
	notify_if_changed(f->notify, verdicts);
}

static void forgotten(struct front *f, fuse_ino_t ino, uint64_t lookups)
{
	struct inode *i = request_inode(f, ino);
	inode_get(&f->inodes, i);
	if (inode_forgotten(&f->inodes, i, lookups)) {
		notify_attributes(f->notify, i);
		inode_put(&f->inodes, i);
	}
	inode_gone_forgotten(&f->inodes, i);
	inode_put(&f->inodes, i);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	struct front *f = fuse_req_userdata(req);
	forgotten(f, ino, lookups);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *list)
{
	struct front *f = fuse_req_userdata(req);
	for (size_t k = 0; k < count; k++)
		forgotten(f, list[k].ino, list[k].nlookup);
	fuse_reply_none(req);
}

static void reply_attr(struct request *q, struct inode *i, int r, struct stat *st)
{
	r = request_leave(q, r);
	if (r < 0)
		fuse_reply_err(q->fuse, -r);
	else
		fuse_reply_attr(q->fuse, st, request_cache(q->front, i, st));
	notify_if_changed(q->front->notify, q->verdicts);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request q;
	struct stat st = {0};
	(void)fi;
	request_start(&q, req, OP_GETATTR, ino, NULL);
	struct inode *i = request_inode(q.front, ino);
	q.gate.log_allowed = false;
	bool retired = __atomic_load_n(&i->retired, __ATOMIC_ACQUIRE);
	if (retired && __atomic_load_n(&i->misled, __ATOMIC_ACQUIRE)) {
		/* The kernel looks the name up again and finds the new node. */
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (retired) {
		/* Another type than before: the kernel turns the old node bad, and all its handles
		 * with it. */
		st.st_ino = i->ino;
		st.st_mode = S_IFIFO | 0600;
		st.st_nlink = 1;
		fuse_reply_attr(req, &st, 0);
		return;
	}
	int r = request_enter(&q, ACT_LIST);
	if (r == 0)
		r = request_stat(q.front, i, &st);
	reply_attr(&q, i, r, &st);
}

/* The object whose attributes change: a descriptor that stays its own whatever becomes of its name.
 */
struct place {
	struct dir *dir;
	struct file *file;
	struct lower_held pin; /* of what is neither a directory nor open */
	int fd;                /* of one of these */
};

static int place_find(struct front *f, struct inode *i, bool content, struct place *p)
{
	int r;
	*p = (struct place){.pin = {f->store->lower, -1}, .fd = -1};
	if (S_ISDIR(i->type)) {
		r = inode_dir(&f->inodes, i, &p->dir);
		p->fd = r == 0 ? p->dir->fd : -1;
		return r;
	}
	if (S_ISREG(i->type)) {
		struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
		p->file = content ? NULL : inode_file_if_open(&f->inodes, i);
		r = content ? inode_file_locked(&f->inodes, i, &p->file) : 0;
		lock_drop(stripe);
		if (r < 0 || p->file) {
			p->fd = p->file ? file_fd(p->file) : -1;
			return r;
		}
	}
	r = request_pin(f, i, &p->pin);
	p->fd = p->pin.fd;
	return r;
}

static void place_done(struct front *f, struct inode *i, struct place *p)
{
	if (p->file)
		inode_file_done(&f->inodes, i, p->file);
	if (p->dir)
		dir_put(p->dir);
	lower_held_auto(&p->pin);
}

/* Opening a file may lift its mode for a moment: not while it is changed. */
static int set_mode(struct front *f, struct inode *i, const struct place *p, mode_t mode)
{
	struct lower *l = f->store->lower;
	if (!S_ISREG(i->type))
		return l->ops->fchmod(l, p->fd, mode);
	struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
	struct file *file = inode_file_if_open(&f->inodes, i);
	int r = file ? file_set_mode(file, mode) : l->ops->fchmod(l, p->fd, mode);
	if (file)
		inode_file_done_locked(&f->inodes, i, file);
	lock_drop(stripe);
	return r;
}

/* tells: the kernel, of what it has written. */
static int set_times(struct front *f, struct inode *i, const struct place *p,
	const struct stat *attr, int valid, bool tells)
{
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	if (valid & FUSE_SET_ATTR_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (valid & FUSE_SET_ATTR_ATIME)
		ts[0] = attr->st_atim;
	if (valid & FUSE_SET_ATTR_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (valid & FUSE_SET_ATTR_MTIME)
		ts[1] = attr->st_mtim;
	if (p->file && tells)
		return file_tell_time(p->file, &ts[1]);
	if (p->file)
		return file_set_times(p->file, ts);
	struct lower *l = f->store->lower;
	int r = l->ops->utimensat(l, p->fd, "", ts);
	if (r == 0 && S_ISREG(i->type))
		redo_times(f->store, i->ino, ts);
	return r;
}

#define SET_TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)

/* A file with another owner or group loses its set-id bits, whoever gives it away (chown(2)): from
 * an older kernel its new mode comes along. */
static int set_owner(struct front *f, const struct op_caller *caller, struct inode *i,
	const struct place *p, const struct stat *attr, int valid)
{
	struct lower *l = f->store->lower;
	struct stat st;
	mode_t drop = 0;
	int r = 0;
	if (S_ISREG(i->type) && !(valid & FUSE_SET_ATTR_MODE) &&
		__atomic_load_n(&f->drops_set_id, __ATOMIC_RELAXED)) {
		r = request_stat(f, i, &st);
		if (r == 0)
			drop = request_set_id(caller, &st);
		/* Root may keep the mark on what the group may not execute. */
		if (r == 0 && caller->uid == 0 && !(st.st_mode & S_IXGRP))
			drop &= ~(mode_t)S_ISGID;
	}
	if (r == 0)
		r = l->ops->fchownat(l, p->fd, "",
			valid & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1,
			valid & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1);
	if (r == 0 && drop)
		r = set_mode(f, i, p, st.st_mode & 07777 & ~drop);
	return r;
}

/* A kernel with a cache tells the time of a cut itself, and none where it knows of no change: then
 * it goes on with the one it has. */
static int set_size(struct front *f, struct file *file, uint64_t size, int valid)
{
	const bool keeps = f->kernel_times && !(valid & SET_TIMES);
	struct stat st = {0};
	int r = keeps ? file_stat(file, &st) : 0;
	if (r == 0)
		r = file_truncate(file, size);
	if (r == 0)
		r = file_commit(file);
	const struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
	return r == 0 && keeps ? file_set_times(file, ts) : r;
}

static int set_attributes(struct front *f, const struct op_caller *caller, struct inode *i,
	const struct stat *attr, int valid, bool tells)
{
	struct place p;
	int r = place_find(f, i, valid & FUSE_SET_ATTR_SIZE, &p);
	if (r == 0 && (valid & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
		r = set_owner(f, caller, i, &p, attr, valid);
	if (r == 0 && (valid & FUSE_SET_ATTR_MODE))
		r = set_mode(f, i, &p, attr->st_mode & 07777);
	if (r == 0 && (valid & FUSE_SET_ATTR_SIZE) && wire_caller_drops_set_id())
		r = request_drop_set_id(f, caller, i, p.file);
	if (r == 0 && (valid & FUSE_SET_ATTR_SIZE))
		r = set_size(f, p.file, (uint64_t)attr->st_size, valid);
	if (r == 0 && (valid & SET_TIMES))
		r = set_times(f, i, &p, attr, valid, tells);
	/* Under way it was told as it had been. */
	if (valid & ~(SET_TIMES | FUSE_SET_ATTR_CTIME))
		inode_changed(&f->inodes, i);
	place_done(f, i, &p);
	return r;
}

/* A write by another than the owner drops set-id bits: the kernel's doing, not a change of mode by
 * the caller. */
static bool only_drops_set_id(struct front *f, struct inode *i, const struct stat *attr)
{
	struct stat now;
	if (request_stat(f, i, &now) < 0)
		return false;
	return ((now.st_mode ^ attr->st_mode) & 07777 & ~(mode_t)(S_ISUID | S_ISGID)) == 0 &&
	       (attr->st_mode & ~now.st_mode & (S_ISUID | S_ISGID)) == 0;
}

/* What a policy must permit for these changes, and what to call them in the log. */
static unsigned acts_of(struct front *f, struct inode *i, const struct stat *attr, int valid,
	const struct handle *h, enum op *ret_op)
{
	unsigned acts = 0;
	bool by_writer = h && h->writes;
	if ((valid & SET_TIMES) && !(by_writer && !(valid & FUSE_SET_ATTR_ATIME))) {
		acts |= ACT_WRITE;
		*ret_op = OP_UTIMENS;
	}
	if (valid & FUSE_SET_ATTR_SIZE) {
		acts |= by_writer ? 0 : ACT_WRITE;
		*ret_op = OP_TRUNCATE;
	}
	if ((valid & FUSE_SET_ATTR_MODE) && !only_drops_set_id(f, i, attr)) {
		acts |= ACT_MANAGE;
		*ret_op = OP_CHMOD;
	}
	if (valid & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
		acts |= ACT_MANAGE;
		*ret_op = OP_CHOWN;
	}
	return acts;
}

/* The kernel flushes its times of a file that was removed meanwhile: nothing is left to set them
 * on, and syncfs(2) must not fail. */
static bool only_times_of_the_past(
	struct front *f, const struct inode *i, int valid, struct stat *ret)
{
	if ((valid & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME)) ||
		inode_found_by_number(&f->inodes, i))
		return false;
	*ret = (struct stat){.st_ino = i->ino, .st_mode = i->type | 0600};
	return true;
}

/* What has no name and is not open was removed while somebody was on his way to it: nobody will see
 * more of it than he does. */
static int change_the_past(struct front *f, struct inode *i, const struct stat *attr, int valid)
{
	struct timespec now;
	struct stat st;
	int r = inode_gone_stat(&f->inodes, i, &st);
	if (r < 0)
		return r;
	clock_gettime(CLOCK_REALTIME, &now);
	if (valid & FUSE_SET_ATTR_MODE)
		st.st_mode = (st.st_mode & S_IFMT) | (attr->st_mode & 07777);
	if (valid & FUSE_SET_ATTR_UID)
		st.st_uid = attr->st_uid;
	if (valid & FUSE_SET_ATTR_GID)
		st.st_gid = attr->st_gid;
	if (valid & FUSE_SET_ATTR_SIZE)
		st.st_size = attr->st_size;
	if (valid & FUSE_SET_ATTR_ATIME)
		st.st_atim = valid & FUSE_SET_ATTR_ATIME_NOW ? now : attr->st_atim;
	if (valid & FUSE_SET_ATTR_MTIME)
		st.st_mtim = valid & FUSE_SET_ATTR_MTIME_NOW ? now : attr->st_mtim;
	st.st_ctim = now;
	return inode_gone_change(&f->inodes, i, &st);
}

/* With its cache the kernel tells the times of whatever is renamed, linked or removed, in the name
 * of who did that: they are what they were, and nobody asked for a change of them. Nothing is done
 * then, since utimensat(2) looks the same. Who may not even know of it is refused as ever. */
static bool nothing_asked(
	struct request *q, struct inode *i, const struct stat *attr, int valid, bool open)
{
	struct subject s;
	struct stat st;
	if (valid != (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME) || open ||
		!q->front->kernel_times || request_stat(q->front, i, &st) < 0 ||
		attr->st_mtim.tv_sec != st.st_mtim.tv_sec ||
		attr->st_mtim.tv_nsec != st.st_mtim.tv_nsec)
		return false;
	subject_init(&s, &q->gate.caller);
	bool allowed = gate_allows(q->front->gate, &s, &q->gate.object, ACT_LIST);
	subject_done(&s);
	return allowed;
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid, struct fuse_file_info *fi)
{
	struct request q;
	struct stat st = {0};
	struct handle *h = fi ? (struct handle *)(uintptr_t)fi->fh : NULL;
	request_start(&q, req, OP_UTIMENS, ino, NULL);
	struct inode *i = request_inode(q.front, ino);
	bool nothing = nothing_asked(&q, i, attr, valid, h);
	unsigned acts = nothing ? 0 : acts_of(q.front, i, attr, valid, h, &q.gate.op);
	q.gate.log_allowed = acts != 0 || (valid & FUSE_SET_ATTR_SIZE);
	q.gate.empties = (valid & FUSE_SET_ATTR_SIZE) && attr->st_size == 0;
	/* The kernel may still flush times of what was written before; whoever opened it may change
	 * no more. */
	bool refused = __atomic_load_n(&i->retired, __ATOMIC_ACQUIRE) &&
		       (acts || (valid & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW |
						 FUSE_SET_ATTR_CTIME)));
	bool misled = __atomic_load_n(&i->misled, __ATOMIC_ACQUIRE);
	/* The kernel flushes its times before a close, a reader's too, and before it asks for much
	 * else: of a store that takes no changes any more they are dropped, since neither is wrong
	 * for that. Whatever content they go with has an EIO of its own. So are those it has. */
	bool drops = !refused && !acts && !(valid & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME)) &&
		     (nothing || store_is_read_only(q.front->store));
	/* utimensat(2) never names a handle, also where it is of a descriptor. */
	bool tells = h && h->writes && q.front->kernel_times &&
		     valid == (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME);
	int r = refused                       ? (misled ? -ESTALE : -EIO)
		: drops                       ? 0
		: front_is_read_only(q.front) ? -EROFS
		: tells && !acts              ? 0 /* a log that fails keeps nothing from the disk */
					      : request_enter(&q, acts);
	if (r == 0 && !drops)
		r = set_attributes(q.front, &q.gate.caller, i, attr, valid, tells);
	if (r == -ESTALE && !refused)
		r = change_the_past(q.front, i, attr, valid);
	if (r == 0)
		r = request_stat(q.front, i, &st);
	/* ENOENT: a new file has its name, and the gate finds none. */
	if ((r == -ESTALE || r == -ENOENT) && only_times_of_the_past(q.front, i, valid, &st)) {
		reply_attr(&q, i, 0, &st);
		return;
	}
	/* ESTALE makes the kernel look it up again. */
	reply_attr(&q, i, r, &st);
}

static void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct request q;
	(void)mask;
	request_start(&q, req, OP_ACCESS, ino, NULL);
	q.gate.log_allowed = false;
	request_answer(&q, request_enter(&q, ACT_LIST));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct request q;
	struct inode *parent = NULL;
	struct dir *d = NULL;
	char lower[256], target[PATH_MAX];
	ssize_t n = -1;
	request_start(&q, req, OP_READLINK, ino, NULL);
	int r = request_enter(&q, ACT_READ);
	if (r == 0) {
		struct inode *i = request_inode(q.front, ino);
		/* While its name is looked up and read no other link takes it. */
		struct lock_mutex *stripe = inode_lock(&q.front->inodes, i->ino);
		r = inode_where(&q.front->inodes, i, &parent, lower);
		if (r == 0)
			r = inode_dir(&q.front->inodes, parent, &d);
		if (r == 0) {
			n = tree_readlink(d, lower, target, sizeof(target) - 1);
			r = n < 0 ? (int)n : 0;
		}
		if (r == -ESTALE) {
			n = inode_gone_target(&q.front->inodes, i, target, sizeof(target) - 1);
			r = n < 0 ? (int)n : 0;
		}
		lock_drop(stripe);
	}
	if (d)
		dir_put(d);
	inode_put(&q.front->inodes, parent);
	r = request_leave(&q, r);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	target[n] = 0;
	fuse_reply_readlink(req, target);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct front *f = fuse_req_userdata(req);
	struct statvfs st;
	uint64_t files, bytes;
	(void)ino;
	/* First: what is freed in between shall not count twice. */
	int r = f->store->lower->ops->fstatvfs(f->store->lower, f->store->root_fd, &st);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	trash_backlog(f->store->trash, &files, &bytes);
	uint64_t blocks = st.f_frsize ? bytes / st.f_frsize : 0;
	st.f_bavail = least(front_available(f, &st, blocks), st.f_blocks);
	st.f_bfree = least(st.f_bfree + blocks, st.f_blocks);
	st.f_ffree = least(st.f_ffree + files, st.f_files);
	st.f_favail = least(st.f_favail + files, st.f_files);
	st.f_namemax = NAME_PLAIN_MAX;
	fuse_reply_statfs(req, &st);
}

void fuse_attr_fill(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->access = op_access;
	ops->readlink = op_readlink;
	ops->statfs = op_statfs;
}
