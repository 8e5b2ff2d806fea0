/* Operations on content: create, open, read, write, flush, fsync, fallocate, lseek,
 * copy_file_range, release. */
#include "fs/front/request.h"
#include "fs/front/wire.h"

#include "keymgmt/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* Makes the handle of a file that passed the gate. f: a user of inode_file, taken; i: borrowed, and
 * the handle counted in its `opens`. NULL on ENOMEM. */
static struct handle *handle_for(
	struct request *q, struct inode *i, struct file *file, unsigned acts, bool writes)
{
	struct handle *h = handle_new();
	if (!h)
		return NULL;
	inode_get(&q->front->inodes, i);
	h->inode = i;
	h->file = file;
	h->caller = q->gate.caller;
	h->op = q->gate.op;
	h->acts = acts;
	h->writes = writes;
	if (writes) {
		__atomic_add_fetch(&i->writers, 1, __ATOMIC_SEQ_CST);
		inode_changed(&q->front->inodes, i);
	}
	h->ticket = q->ticket;
	handle_add(&q->front->handles, h);
	notify_if_changed(q->front->notify, q->verdicts);
	return h;
}

static unsigned acts_of_flags(int flags)
{
	unsigned acts = 0;
	if ((flags & O_ACCMODE) != O_WRONLY)
		acts |= ACT_READ;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC))
		acts |= ACT_WRITE;
	return acts;
}

/* A truncation at an open, fallocate and copy_file_range drop set-id bits as a write does. Of the
 * first an older kernel does not tell the caller's capabilities, of the others none does: only root
 * keeps the bits. */
static int drop_set_id(
	struct front *f, const struct op_caller *caller, struct inode *i, struct file *file)
{
	return caller->uid ? request_drop_set_id(f, caller, i, file) : 0;
}

static int drop_set_id_at_open(struct request *q, struct inode *i, struct file *file)
{
	if (!__atomic_load_n(&q->front->drops_set_id, __ATOMIC_RELAXED))
		return drop_set_id(q->front, &q->gate.caller, i, file);
	return wire_caller_drops_set_id() ? request_drop_set_id(q->front, &q->gate.caller, i, file)
					  : 0;
}

static struct op_caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	return (struct op_caller){c->uid, c->gid, c->pid};
}

/* The kernel has dropped them itself, where it does not leave that to us. */
static int drop_set_id_for(fuse_req_t req, const struct handle *h)
{
	struct front *f = fuse_req_userdata(req);
	const struct op_caller caller = caller_of(req);
	return __atomic_load_n(&f->drops_set_id, __ATOMIC_RELAXED)
		       ? drop_set_id(f, &caller, h->inode, h->file)
		       : 0;
}

static int open_file(
	struct request *q, struct inode *i, int flags, unsigned acts, struct handle **ret)
{
	struct file *file;
	struct inode_table *t = &q->front->inodes;
	if (!inode_opens(t, i))
		return -ESTALE;
	int r = inode_file(t, i, &file);
	if (r < 0) {
		inode_closes(t, i);
		return r;
	}
	if (flags & O_TRUNC) {
		r = drop_set_id_at_open(q, i, file);
		if (r == 0)
			r = file_truncate(file, 0);
		if (r == 0)
			r = file_commit(file);
	}
	if (r == 0) {
		*ret = handle_for(q, i, file, acts, acts & ACT_WRITE);
		r = *ret ? 0 : -ENOMEM;
	}
	if (r < 0) {
		inode_file_done(t, i, file);
		inode_closes(t, i);
	}
	return r;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request q;
	struct handle *h = NULL;
	unsigned acts = acts_of_flags(fi->flags);
	request_start(&q, req, OP_OPEN, ino, NULL);
	struct inode *i = request_inode(q.front, ino);
	/* ESTALE: the kernel looks the name up again and finds the new node. */
	int r = __atomic_load_n(&i->retired, __ATOMIC_ACQUIRE) ? -ESTALE : 0;
	if (r == 0 && (fi->flags & O_TRUNC)) {
		/* Two things in one call, and two records. */
		q.gate.op = OP_TRUNCATE;
		r = request_enter(&q, ACT_WRITE);
		q.gate.op = OP_OPEN;
	}
	if (r == 0)
		r = request_enter(&q, acts);
	if (r == 0)
		r = open_file(&q, i, fi->flags, acts, &h);
	r = request_leave(&q, r);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fi->fh = (uintptr_t)h;
	fi->keep_cache = 1; /* content changes through this mount alone */
	if (fuse_reply_open(req, fi) < 0)
		request_end_handle(q.front, h);
}

static int create_file(struct request *q, struct inode *parent, const char *name, mode_t mode,
	struct fuse_entry_param *e, struct handle **ret)
{
	struct front *f = q->front;
	struct lower_cred cred;
	struct dir *d;
	struct name n;
	struct file *file;
	struct inode *i;
	struct stat st;
	int r = inode_dir(&f->inodes, parent, &d);
	if (r < 0)
		return r;
	r = name_seal(d, name, &n);
	if (r == 0)
		r = file_create(
			d, &n, request_mode(q, d, mode), request_cred(q, &cred), &file, &st);
	dir_put(d);
	if (r < 0)
		return r;
	inode_number_reused(&f->inodes, st.st_ino);
	r = request_entry(f, parent, name, n.lower, &st, e, &i);
	if (r < 0) {
		file_put(file);
		fuse_names_unmake(f, parent, name);
		return r;
	}
	file = inode_file_created(&f->inodes, i, file);
	(void)inode_opens(&f->inodes, i); /* nobody knows it yet who could retire it */
	*ret = handle_for(q, i, file, ACT_CREATE, true);
	if (!*ret) {
		inode_file_done(&f->inodes, i, file);
		inode_closes(&f->inodes, i);
		inode_forget(&f->inodes, i, 1);
		r = -ENOMEM;
	}
	inode_put(&f->inodes, i);
	if (r < 0)
		fuse_names_unmake(f, parent, name);
	return r;
}

static void op_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct request q;
	struct fuse_entry_param e;
	struct handle *h = NULL;
	request_start(&q, req, OP_CREATE, parent, name);
	int r = request_enter(&q, ACT_CREATE);
	if (r == 0)
		r = create_file(&q, request_inode(q.front, parent), name, mode, &e, &h);
	r = request_leave(&q, r);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fi->fh = (uintptr_t)h;
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &e, fi) < 0) {
		inode_forget(&q.front->inodes, request_inode(q.front, e.ino), 1);
		request_end_handle(q.front, h);
	}
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct front *f = fuse_req_userdata(req);
	struct handle *h = handle_of(fi);
	char *bytes = front_buffer(f, size);
	(void)ino;
	if (__atomic_load_n(&h->inode->retired, __ATOMIC_ACQUIRE) || !bytes) {
		fuse_reply_err(req, bytes ? EIO : ENOMEM);
		return;
	}
	ssize_t n = file_read(h->file, bytes, size, (uint64_t)offset);
	if (n < 0) {
		fuse_reply_err(req, -err_to_fuse((int)n));
		return;
	}
	__atomic_add_fetch(&h->bytes_read, (uint64_t)n, __ATOMIC_RELAXED);
	fuse_reply_buf(req, bytes, (size_t)n);
}

static int sync_file(const struct front *f, struct file *file, bool data_only)
{
	/* What was lost is not known: nothing can be promised of any file. */
	int r = store_is_read_only(f->store) ? -EIO : file_sync(file, data_only);
	/* A disk that is gone fails before there is anything to flush. */
	if (r == -EIO)
		store_trouble(f->store, "the flush of a file", r);
	return r;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
	struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct front *front = fuse_req_userdata(req);
	(void)ino;
	/* The kernel keeps EIO alone for who flushes or closes what its cache could not get rid of.
	 */
	if (front_is_read_only(front)) {
		fuse_reply_err(req, fi->writepage ? EIO : EROFS);
		return;
	}
	/* What comes from the page cache may be anybody's and is never refused (docs/policy.md,
	 * "Caches"). */
	if (__atomic_load_n(&h->inode->retired, __ATOMIC_ACQUIRE) && !fi->writepage) {
		fuse_reply_err(req, EIO);
		return;
	}
	size_t done = 0;
	ssize_t n = 0;
	if (wire_caller_drops_set_id()) {
		const struct op_caller caller = caller_of(req);
		n = request_drop_set_id(front, &caller, h->inode, h->file);
	}
	/* With its cache the kernel has a time of every write, and tells that by itself. */
	file_keep_time(h->file, fi->writepage || front->kernel_times);
	while (done < size && n >= 0) {
		n = file_write(h->file, bytes + done, size - done, (uint64_t)offset + done);
		done += n > 0 ? (size_t)n : 0;
	}
	__atomic_add_fetch(&h->bytes_written, (uint64_t)done, __ATOMIC_RELAXED);
	/* After this no fsync(2) comes to us any more: now is told whether the disk is gone. */
	if (n == -EIO && fi->writepage)
		(void)!sync_file(front, h->file, true);
	/* The kernel takes a short answer to its own writeback for success: half a page lost is an
	 * error. */
	if (n < 0 && (fi->writepage || done == 0))
		fuse_reply_err(req, -err_to_fuse((int)n));
	else
		fuse_reply_write(req, done);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	(void)ino;
	fuse_reply_err(req, h->writes ? -err_to_fuse(file_commit(h->file)) : 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	const struct front *f = fuse_req_userdata(req);
	(void)ino;
	int r = sync_file(f, handle_of(fi)->file, data_only);
	fuse_reply_err(req, -err_to_fuse(r));
}

static bool is_retired(const struct handle *h)
{
	return __atomic_load_n(&h->inode->retired, __ATOMIC_ACQUIRE);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t len,
	struct fuse_file_info *fi)
{
	struct request q;
	struct handle *h = handle_of(fi);
	request_start(&q, req, OP_FALLOCATE, ino, NULL);
	int r = is_retired(h)                 ? -EIO
		: front_is_read_only(q.front) ? -EROFS
					      : request_enter(&q, h->writes ? 0 : ACT_WRITE);
	if (r == 0)
		file_keep_time(h->file, q.front->kernel_times);
	if (r == 0)
		r = drop_set_id_for(req, h);
	if (r == 0)
		r = file_range_change(h->file, mode, (uint64_t)offset, (uint64_t)len);
	if (r == 0)
		r = file_commit(h->file);
	request_answer(&q, r);
}

/* A request for SEEK_DATA or SEEK_HOLE on its way. */
struct seek {
	fuse_req_t fuse;
	struct handle *handle; /* open until the request is answered */
	uint64_t offset;
	bool data;
};

static void seek_answer(const struct seek *s)
{
	int64_t at =
		is_retired(s->handle) ? -EIO : file_range_seek(s->handle->file, s->offset, s->data);
	if (at < 0)
		fuse_reply_err(s->fuse, -err_to_fuse((int)at));
	else
		fuse_reply_lseek(s->fuse, at);
}

static void seek_later(void *context)
{
	struct seek *s = context;
	seek_answer(s);
	free(s);
}

/* The kernel asks without writing its cache first: what is only there would pass for a hole, or for
 * behind the end. */
static void op_lseek(
	fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct front *f = fuse_req_userdata(req);
	struct seek s = {req, handle_of(fi), (uint64_t)offset, whence == SEEK_DATA}, *later;
	(void)ino;
	if (offset < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, offset < 0 ? ENXIO : EINVAL);
		return;
	}
	if (!__atomic_load_n(&s.handle->inode->writers, __ATOMIC_SEQ_CST)) {
		seek_answer(&s);
		return;
	}
	later = malloc(sizeof(*later));
	if (later)
		*later = s;
	if (!later || notify_written(f->notify, s.handle->inode, seek_later, later) < 0) {
		free(later);
		fuse_reply_err(req, ENOMEM);
	}
}

/* One answer copies so much at most: the rest is asked for again, and others get their turn. */
#define COPY_BYTES (16u << 20)

/* Bytes copied, fewer than len at the end of `from` and where an error came in between; or -errno.
 */
static ssize_t copy(struct handle *from, uint64_t from_at, struct handle *to, uint64_t to_at,
	size_t len, char *bytes)
{
	size_t done = 0;
	ssize_t n = 0;
	if (len > COPY_BYTES)
		len = COPY_BYTES;
	while (done < len) {
		size_t want = len - done < FRONT_BUFFER ? len - done : FRONT_BUFFER;
		n = file_read(from->file, bytes, want, from_at + done);
		if (n <= 0)
			break;
		__atomic_add_fetch(&from->bytes_read, (uint64_t)n, __ATOMIC_RELAXED);
		n = file_write(to->file, bytes, (size_t)n, to_at + done);
		if (n <= 0)
			break;
		__atomic_add_fetch(&to->bytes_written, (uint64_t)n, __ATOMIC_RELAXED);
		done += (size_t)n;
	}
	return done ? (ssize_t)done : n;
}

/* Both handles were judged when they were opened, and the bytes are counted at their closes: as a
 * read and a write. */
static void op_copy(fuse_req_t req, fuse_ino_t ino, off_t from_at, struct fuse_file_info *from_fi,
	fuse_ino_t to_ino, off_t to_at, struct fuse_file_info *to_fi, size_t len, int flags)
{
	struct handle *from = handle_of(from_fi), *to = handle_of(to_fi);
	struct front *f = fuse_req_userdata(req);
	char *bytes = front_buffer(f, FRONT_BUFFER);
	(void)ino, (void)to_ino;
	ssize_t n = flags                                ? -EINVAL
		    : front_is_read_only(f)              ? -EROFS
		    : is_retired(from) || is_retired(to) ? -EIO
		    : bytes                              ? 0
							 : -ENOMEM;
	if (n == 0)
		file_keep_time(to->file, f->kernel_times);
	if (n == 0)
		n = drop_set_id_for(req, to);
	if (n == 0)
		n = copy(from, (uint64_t)from_at, to, (uint64_t)to_at, len, bytes);
	if (n < 0)
		fuse_reply_err(req, -err_to_fuse((int)n));
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	request_end_handle(fuse_req_userdata(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

void fuse_data_fill(struct fuse_lowlevel_ops *ops)
{
	ops->create = op_create;
	ops->open = op_open;
	ops->read = op_read;
	ops->write = op_write;
	ops->flush = op_flush;
	ops->fsync = op_fsync;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
	ops->copy_file_range = op_copy;
	ops->release = op_release;
}
