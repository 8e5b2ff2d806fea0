/* Extended attributes: user.* sealed in name and value; POSIX ACLs kept as they are; others
 * -EOPNOTSUPP. */
#ifndef STORE_XATTR_H
#define STORE_XATTR_H

#include "fs/store/dir.h"
#include "fs/store/file.h"

/* Exactly one of f (regular file) and d (the directory itself) is given. Sizes as getxattr(2): size
 * 0 asks for the length, too small is -ERANGE; -ENODATA; -EBADMSG after an alarm. */
MUST_USE ssize_t xattr_get(struct file *f, struct dir *d, const char *name, void *ret, size_t size);
MUST_USE ssize_t xattr_list(struct file *f, struct dir *d, char *ret, size_t size);
MUST_USE int xattr_set(
	struct file *f, struct dir *d, const char *name, const void *value, size_t size, int flags);
MUST_USE int xattr_remove(struct file *f, struct dir *d, const char *name);
/*
 * The same of a fifo, socket or device node, by any descriptor of the lower one (O_PATH): it has no
 * key, and POSIX ACLs need none. Other names: -EOPNOTSUPP.
 */
MUST_USE ssize_t xattr_get_keyless(
	struct lower *l, int fd, const char *name, void *ret, size_t size);
MUST_USE ssize_t xattr_list_keyless(struct lower *l, int fd, char *ret, size_t size);
MUST_USE int xattr_set_keyless(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags);
MUST_USE int xattr_remove_keyless(struct lower *l, int fd, const char *name);
/*
 * Opens every sealed attribute, name and value; `bad` gets the lower name of each that does not
 * verify. *ret_count grows by those that do. No alarm; -errno of the lower calls, -ENOMEM.
 */
MUST_USE int xattr_check(struct file *f, struct dir *d,
	void (*bad)(void *context, const char *lower), void *context, uint64_t *ret_count);

#endif
