/* Operations that read directories: opendir, readdir, readdirplus, releasedir, fsyncdir. */
#include "fs/front/request.h"

#include "keymgmt/base/err.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

static int open_directory(struct request *q, struct inode *i, struct handle **ret)
{
	struct dir *d;
	int r = inode_dir(&q->front->inodes, i, &d);
	if (r < 0)
		return r;
	struct handle *h = handle_new();
	r = h ? tree_cursor_open(d, &h->cursor) : -ENOMEM;
	dir_put(d);
	if (r < 0) {
		handle_free(h);
		return r;
	}
	inode_get(&q->front->inodes, i);
	h->inode = i;
	h->caller = q->gate.caller;
	h->op = OP_OPENDIR;
	h->acts = ACT_LIST;
	handle_add(&q->front->handles, h);
	*ret = h;
	return 0;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request q;
	struct handle *h = NULL;
	request_start(&q, req, OP_OPENDIR, ino, NULL);
	int r = request_enter(&q, ACT_LIST);
	if (r == 0)
		r = open_directory(&q, request_inode(q.front, ino), &h);
	r = request_leave(&q, r);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	fi->fh = (uintptr_t)h;
	if (fuse_reply_open(req, fi) < 0)
		request_end_handle(q.front, h);
}

/* One answer being filled. */
struct listing {
	struct front *front;
	fuse_req_t fuse;
	struct handle *handle;
	struct dir *dir;
	struct subject subject;
	char *bytes;
	size_t size, used;
	bool plus;
};

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Adds the entry if it fits. 1 added or left out, 0 full, or -errno. */
static int add_plain(struct listing *g, const struct tree_entry *entry)
{
	struct stat st = {.st_ino = entry->ino, .st_mode = (mode_t)entry->type << 12};
	size_t n = fuse_add_direntry(
		g->fuse, g->bytes + g->used, g->size - g->used, entry->plain, &st, entry->next);
	if (n > g->size - g->used)
		return 0;
	g->used += n;
	return 1;
}

static int add_plus(struct listing *g, const struct tree_entry *entry)
{
	struct front *f = g->front;
	const struct fuse_entry_param bare = {
		.attr = {.st_ino = entry->ino, .st_mode = (mode_t)entry->type << 12}};
	struct fuse_entry_param e = bare;
	struct inode *i = NULL;
	if (!is_dots(entry->plain) && g->handle->attributes) {
		int r = request_find(f, g->handle->inode, g->dir, entry->plain, entry->lower,
			entry->ino, &e, &i);
		if (r == -ENOENT)
			return 1; /* removed meanwhile */
		/* Otherwise named without attributes: the kernel knows it already, or a stat tells
		 * what is wrong. */
		if (r != 0)
			e = bare;
		g->handle->attributes--;
	}
	size_t n = fuse_add_direntry_plus(
		g->fuse, g->bytes + g->used, g->size - g->used, entry->plain, &e, entry->next);
	bool fits = n <= g->size - g->used;
	if (fits)
		g->used += n;
	else if (i)
		inode_forget(&f->inodes, i, 1);
	inode_put(&f->inodes, i);
	return fits;
}

/* Attributes cost three times what a name does: whoever lists a large directory and looks nothing
 * up in it gets them of the beginning alone. */
#define ATTRIBUTES 2048

static void grant_attributes(struct handle *h, int64_t offset)
{
	unsigned now = __atomic_load_n(&h->inode->looked_into, __ATOMIC_RELAXED);
	if (offset == 0 || now != h->looked_into)
		h->attributes = ATTRIBUTES;
	h->looked_into = now;
}

/* 1: go on, 0: full or at the end, -errno. *offset moves behind what was taken. */
static int add_next(struct listing *g, int64_t *offset)
{
	struct tree_entry entry;
	int r = tree_cursor_next(g->handle->cursor, *offset, &entry);
	if (r <= 0)
		return r;
	const struct gate_object o = {
		g->handle->inode, entry.plain, entry.type != DT_DIR && entry.type != DT_UNKNOWN};
	if (is_dots(entry.plain) || gate_allows(g->front->gate, &g->subject, &o, ACT_LIST))
		r = g->plus ? add_plus(g, &entry) : add_plain(g, &entry);
	if (r > 0)
		*offset = entry.next;
	return r;
}

static void list(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);
	const struct op_caller caller = {c->uid, c->gid, c->pid};
	struct listing g = {.front = fuse_req_userdata(req),
		.fuse = req,
		.handle = handle_of(fi),
		.size = size,
		.plus = plus};
	int64_t at = offset;
	uint64_t verdicts = __atomic_load_n(&g.front->verdicts, __ATOMIC_SEQ_CST);
	g.bytes = front_buffer(g.front, size);
	int r = g.bytes ? inode_dir(&g.front->inodes, g.handle->inode, &g.dir) : -ENOMEM;
	if (r < 0) {
		fuse_reply_err(req, r == -ESTALE ? ENOENT : -err_to_fuse(r));
		return;
	}
	subject_init(&g.subject, &caller);
	lock_take(&g.handle->cursor_lock);
	grant_attributes(g.handle, offset);
	do
		r = add_next(&g, &at);
	while (r > 0);
	lock_drop(&g.handle->cursor_lock);
	subject_done(&g.subject);
	dir_put(g.dir);
	/* What fits is delivered first; the error comes back with the next call. */
	if (r < 0 && g.used == 0)
		fuse_reply_err(req, -err_to_fuse(r));
	else
		fuse_reply_buf(req, g.bytes, g.used);
	notify_if_changed(g.front->notify, verdicts);
}

static void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)ino;
	list(req, size, offset, fi, false);
}

static void op_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)ino;
	list(req, size, offset, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	request_end_handle(fuse_req_userdata(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct front *f = fuse_req_userdata(req);
	struct dir *d;
	(void)ino;
	int r = inode_dir(&f->inodes, handle_of(fi)->inode, &d);
	if (r == 0) {
		r = dir_sync(d, data_only);
		dir_put(d);
	}
	fuse_reply_err(req, -err_to_fuse(r));
}

void fuse_dirs_fill(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->releasedir = op_releasedir;
	ops->fsyncdir = op_fsyncdir;
}
