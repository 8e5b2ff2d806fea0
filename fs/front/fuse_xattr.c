/* Operations on extended attributes. */
#include "fs/front/request.h"

#include "fs/store/xattr.h"
#include "keymgmt/base/err.h"

#include <errno.h>
#include <string.h>

/* The object whose attributes are meant: a directory, an open file, or what has no key for them: a
 * fifo, socket or device node. */
struct owner {
	struct dir *dir;
	struct file *file;
	struct lower_held pin;
	struct inode *gone; /* what has no name any more; with its table */
	struct inode_table *table;
};

#define ACCESS_LIST "system.posix_acl_access"

static int owner_find(struct front *f, struct inode *i, struct owner *o)
{
	*o = (struct owner){.pin = {f->store->lower, -1}};
	if (S_ISDIR(i->type))
		return inode_dir(&f->inodes, i, &o->dir);
	if (S_ISREG(i->type))
		return inode_file(&f->inodes, i, &o->file);
	return S_ISLNK(i->type) ? -EOPNOTSUPP : request_pin(f, i, &o->pin);
}

static void owner_done(struct front *f, struct inode *i, struct owner *o)
{
	if (o->file)
		inode_file_done(&f->inodes, i, o->file);
	if (o->dir)
		dir_put(o->dir);
	if (o->pin.l)
		lower_held_auto(&o->pin);
}

/* As owner_find, to read: who holds it may open it once more when its name is gone. */
static int owner_find_past(struct front *f, struct inode *i, struct owner *o)
{
	int r = owner_find(f, i, o);
	ssize_t n = r == -ESTALE ? inode_gone_acl(&f->inodes, i, NULL, 0) : -ESTALE;
	if (n == -ESTALE)
		return r;
	o->gone = i;
	o->table = &f->inodes;
	return 0;
}

static ssize_t get_past(struct owner *o, const char *name, char *ret, size_t size)
{
	return strcmp(name, ACCESS_LIST) == 0 ? inode_gone_acl(o->table, o->gone, ret, size)
					      : -ENODATA;
}

static ssize_t list_past(struct owner *o, char *ret, size_t size)
{
	if (inode_gone_acl(o->table, o->gone, NULL, 0) <= 0)
		return 0;
	if (size && size < sizeof(ACCESS_LIST))
		return -ERANGE;
	if (size)
		memcpy(ret, ACCESS_LIST, sizeof(ACCESS_LIST));
	return sizeof(ACCESS_LIST);
}

static ssize_t get(struct owner *o, const char *name, void *ret, size_t size)
{
	if (o->gone)
		return get_past(o, name, ret, size);
	return o->pin.fd >= 0 ? xattr_get_keyless(o->pin.l, o->pin.fd, name, ret, size)
			      : xattr_get(o->file, o->dir, name, ret, size);
}

static ssize_t list(struct owner *o, char *ret, size_t size)
{
	if (o->gone)
		return list_past(o, ret, size);
	return o->pin.fd >= 0 ? xattr_list_keyless(o->pin.l, o->pin.fd, ret, size)
			      : xattr_list(o->file, o->dir, ret, size);
}

static int set(struct owner *o, const char *name, const void *value, size_t size, int flags)
{
	return o->pin.fd >= 0 ? xattr_set_keyless(o->pin.l, o->pin.fd, name, value, size, flags)
			      : xattr_set(o->file, o->dir, name, value, size, flags);
}

static int take_away(struct owner *o, const char *name)
{
	return o->pin.fd >= 0 ? xattr_remove_keyless(o->pin.l, o->pin.fd, name)
			      : xattr_remove(o->file, o->dir, name);
}

static void reply_bytes(struct request *q, ssize_t n, const char *bytes, size_t size)
{
	int r = request_leave(q, n < 0 ? (int)n : 0);
	if (r < 0)
		fuse_reply_err(q->fuse, -r);
	else if (size == 0)
		fuse_reply_xattr(q->fuse, (size_t)n);
	else
		fuse_reply_buf(q->fuse, bytes, (size_t)n);
}

/* Part of the mode: whoever may see that may read it, the kernel for its own checks too; to change
 * it is to manage. */
static bool is_access_list(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

/* The kernel asks for file capabilities at every write; there are none (nosuid), and it is no
 * access by anybody. */
static bool never_there(const char *name)
{
	return strncmp(name, "security.", 9) == 0;
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct request q;
	struct owner o = {0};
	ssize_t n;
	if (never_there(name)) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	request_start(&q, req, OP_GETXATTR, ino, NULL);
	struct inode *i = request_inode(q.front, ino);
	char *bytes = front_buffer(q.front, size);
	q.gate.log_allowed = size != 0 && !is_access_list(name);
	n = bytes ? request_enter(&q, is_access_list(name) ? ACT_LIST : ACT_READ) : -ENOMEM;
	if (n == 0)
		n = owner_find_past(q.front, i, &o);
	if (n == 0)
		n = get(&o, name, bytes, size);
	owner_done(q.front, i, &o);
	reply_bytes(&q, n == -EOPNOTSUPP ? -ENODATA : n, bytes, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct request q;
	struct owner o = {0};
	request_start(&q, req, OP_LISTXATTR, ino, NULL);
	struct inode *i = request_inode(q.front, ino);
	char *bytes = front_buffer(q.front, size);
	q.gate.log_allowed = false;
	ssize_t n = bytes ? request_enter(&q, ACT_READ) : -ENOMEM;
	if (n == 0)
		n = owner_find_past(q.front, i, &o);
	if (n == 0)
		n = list(&o, bytes, size);
	owner_done(q.front, i, &o);
	reply_bytes(&q, n == -EOPNOTSUPP ? 0 : n, bytes, size);
}

/* An ACL is part of the mode, and a chmod by who is not in the group drops the set-group-id bit.
 * The kernel leaves this one to us, and does not tell the caller's capabilities: only root keeps
 * it. */
static int drop_set_group_id(const struct request *q, const struct owner *o)
{
	struct lower *l = q->front->store->lower;
	struct stat st;
	int fd = o->file ? file_fd(o->file) : o->dir ? o->dir->fd : o->pin.fd;
	if (q->gate.caller.uid == 0)
		return 0;
	int r = l->ops->fstat(l, fd, &st);
	if (r < 0 || !(st.st_mode & S_ISGID) || request_in_group(&q->gate.caller, st.st_gid))
		return r;
	return l->ops->fchmod(l, fd, st.st_mode & 07777 & ~(mode_t)S_ISGID);
}

static void op_setxattr(
	fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct request q;
	struct owner o = {0};
	request_start(&q, req, OP_SETXATTR, ino, NULL);
	struct inode *i = request_inode(q.front, ino);
	int r = request_enter(&q, is_access_list(name) ? ACT_MANAGE : ACT_WRITE);
	if (r == 0)
		r = owner_find(q.front, i, &o);
	if (r == 0)
		r = set(&o, name, value, size, flags);
	if (r == 0 && strcmp(name, ACCESS_LIST) == 0)
		r = drop_set_group_id(&q, &o);
	owner_done(q.front, i, &o);
	request_answer(&q, r);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct request q;
	struct owner o = {0};
	request_start(&q, req, OP_REMOVEXATTR, ino, NULL);
	struct inode *i = request_inode(q.front, ino);
	int r = request_enter(&q, is_access_list(name) ? ACT_MANAGE : ACT_WRITE);
	if (r == 0)
		r = owner_find(q.front, i, &o);
	if (r == 0)
		r = take_away(&o, name);
	owner_done(q.front, i, &o);
	request_answer(&q, r);
}

void fuse_xattr_fill(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
}
