#include "tests/sim/sim_mistakes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static struct sim_mistakes *of(struct lower *l)
{
	return (struct sim_mistakes *)l;
}

#define UNDER(l, call, ...) (of(l)->fail.under->ops->call(of(l)->fail.under, __VA_ARGS__))

static int watch_openat(struct lower *l, int dirfd, const char *name, int flags, mode_t mode,
	const struct lower_cred *cred)
{
	struct sim_mistakes *m = of(l);
	int fd = UNDER(l, openat, dirfd, name, flags, mode, cred);
	if (fd >= 0 && strcmp(name, "trash") == 0)
		m->trash_fd = fd;
	if (fd >= 0 && dirfd == m->trash_fd && strcmp(name, ".") == 0)
		m->listed_fd = fd;
	else if (fd >= 0 && dirfd == m->trash_fd)
		m->erased_fd = fd;
	return fd;
}

static int watch_close(struct lower *l, int fd)
{
	struct sim_mistakes *m = of(l);
	m->erased_fd = m->erased_fd == fd ? -1 : m->erased_fd;
	m->listed_fd = m->listed_fd == fd ? -1 : m->listed_fd;
	m->trash_fd = m->trash_fd == fd ? -1 : m->trash_fd;
	return UNDER(l, close, fd);
}

static bool is_dir(struct lower *l, int fd)
{
	struct stat st;
	return UNDER(l, fstat, fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static int no_dir_fsync(struct lower *l, int fd, bool data_only)
{
	return is_dir(l, fd) ? 0 : UNDER(l, fsync, fd, data_only);
}

static int no_file_fsync(struct lower *l, int fd, bool data_only)
{
	return is_dir(l, fd) ? UNDER(l, fsync, fd, data_only) : 0;
}

static int data_fsync(struct lower *l, int fd, bool data_only)
{
	return UNDER(l, fsync, fd, data_only || !is_dir(l, fd));
}

static int no_fdatasync(struct lower *l, int fd, bool data_only)
{
	return data_only ? 0 : UNDER(l, fsync, fd, data_only);
}

static int no_erase_fsync(struct lower *l, int fd, bool data_only)
{
	return fd == of(l)->erased_fd ? 0 : UNDER(l, fsync, fd, data_only);
}

static ssize_t no_overwrite(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	ssize_t len = 0;
	if (fd != of(l)->erased_fd)
		return UNDER(l, pwritev, fd, iov, n, offset);
	for (int i = 0; i < n; i++)
		len += (ssize_t)iov[i].iov_len;
	return len;
}

static int plain_unlink(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	return newdir == of(l)->trash_fd ? UNDER(l, unlinkat, olddir, old, 0)
					 : UNDER(l, renameat, olddir, old, newdir, new, flags);
}

static int no_trash_link(struct lower *l, int olddir, const char *old, int newdir, const char *new)
{
	return newdir == of(l)->trash_fd ? 0 : UNDER(l, linkat, olddir, old, newdir, new);
}

static int rename_by_link(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	int r = flags || old[0] == '.' ? -EPERM : UNDER(l, linkat, olddir, old, newdir, new);
	return r == 0 ? UNDER(l, unlinkat, olddir, old, 0)
		      : UNDER(l, renameat, olddir, old, newdir, new, flags);
}

static int remove_then_rename(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	if (!flags && old[0] != '.')
		(void)!UNDER(l, unlinkat, newdir, new, 0);
	return UNDER(l, renameat, olddir, old, newdir, new, flags);
}

static int exchange_by_steps(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	static const char *const between = ".between";
	if (!(flags & RENAME_EXCHANGE))
		return UNDER(l, renameat, olddir, old, newdir, new, flags);
	int r = UNDER(l, renameat, olddir, old, olddir, between, 0);
	if (r == 0)
		r = UNDER(l, renameat, newdir, new, olddir, old, 0);
	return r == 0 ? UNDER(l, renameat, olddir, between, newdir, new, 0) : r;
}

static int record_removed_first(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	if (strcmp(new, ".dir") == 0)
		(void)!UNDER(l, unlinkat, newdir, new, 0);
	return UNDER(l, renameat, olddir, old, newdir, new, flags);
}

static int xattr_removed_first(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	(void)!UNDER(l, fremovexattr, fd, name);
	return UNDER(l, fsetxattr, fd, name, value, size, flags);
}

static int keeps_no_record(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	return strcmp(name, "user.tfs-dir") == 0
		       ? 0
		       : UNDER(l, fsetxattr, fd, name, value, size, flags);
}

static int unlinked_first(struct lower *l, int dirfd, const char *name, int flags, mode_t mode,
	const struct lower_cred *cred)
{
	int fd = watch_openat(l, dirfd, name, flags, mode, cred);
	if (fd >= 0 && fd == of(l)->erased_fd)
		(void)!UNDER(l, unlinkat, dirfd, name, 0);
	return fd;
}

static int gone_is_fine(struct lower *l, int dirfd, const char *name, int flags)
{
	int r = UNDER(l, unlinkat, dirfd, name, flags);
	return r == -ENOENT && dirfd == of(l)->trash_fd ? 0 : r;
}

static ssize_t nothing_listed(struct lower *l, int fd, void *ret, size_t size)
{
	return fd == of(l)->listed_fd ? 0 : UNDER(l, getdents, fd, ret, size);
}

static void unlink_before(struct lower_ops *o)
{
	o->openat = unlinked_first;
	o->unlinkat = gone_is_fine;
}

#define OVERRIDE(function, member, wrong)                                                          \
	static void function(struct lower_ops *o)                                                  \
	{                                                                                          \
		o->member = wrong;                                                                 \
	}
OVERRIDE(set_no_dir_fsync, fsync, no_dir_fsync)
OVERRIDE(set_no_file_fsync, fsync, no_file_fsync)
OVERRIDE(set_data_fsync, fsync, data_fsync)
OVERRIDE(set_no_fdatasync, fsync, no_fdatasync)
OVERRIDE(set_no_erase_fsync, fsync, no_erase_fsync)
OVERRIDE(set_no_overwrite, pwritev, no_overwrite)
OVERRIDE(set_plain_unlink, renameat, plain_unlink)
OVERRIDE(set_no_trash_link, linkat, no_trash_link)
OVERRIDE(set_rename_by_link, renameat, rename_by_link)
OVERRIDE(set_remove_then_rename, renameat, remove_then_rename)
OVERRIDE(set_exchange_by_steps, renameat, exchange_by_steps)
OVERRIDE(set_record_removed_first, renameat, record_removed_first)
OVERRIDE(set_xattr_removed_first, fsetxattr, xattr_removed_first)
OVERRIDE(set_keeps_no_record, fsetxattr, keeps_no_record)
OVERRIDE(set_nothing_listed, getdents, nothing_listed)

static const struct {
	const char *name;
	void (*set)(struct lower_ops *o);
} mistakes[] = {
	{"fsync of directories does nothing", set_no_dir_fsync},
	{"fsync of files does nothing", set_no_file_fsync},
	{"fsync of files forgets their names", set_data_fsync},
	{"fdatasync does nothing", set_no_fdatasync},
	{"what is overwritten is not flushed", set_no_erase_fsync},
	{"nothing is overwritten", set_no_overwrite},
	{"removed without the trash", set_plain_unlink},
	{"replaced without a link to the trash", set_no_trash_link},
	{"unlinked before it is overwritten", unlink_before},
	{"what a mount finds in the trash is left there", set_nothing_listed},
	{"a rename is a link and an unlink", set_rename_by_link},
	{"a rename removes what it replaces first", set_remove_then_rename},
	{"an exchange is three renames", set_exchange_by_steps},
	{"a directory's record is removed before the new one comes", set_record_removed_first},
	{"an attribute is removed before it is set", set_xattr_removed_first},
	{"the record of a directory that goes is not kept", set_keeps_no_record},
};

const char *sim_mistakes_name(unsigned index)
{
	return index < sizeof(mistakes) / sizeof(mistakes[0]) ? mistakes[index].name : NULL;
}

void sim_mistakes_init(struct sim_mistakes *m, struct lower *under, unsigned index)
{
	fail_lower_init(&m->fail, under);
	m->ops = *m->fail.base.ops;
	m->ops.openat = watch_openat;
	m->ops.close = watch_close;
	mistakes[index].set(&m->ops);
	m->fail.base.ops = &m->ops;
	m->trash_fd = m->erased_fd = m->listed_fd = -1;
}
