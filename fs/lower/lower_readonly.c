#include "fs/lower/lower_readonly.h"

#include <errno.h>
#include <fcntl.h>

static struct lower *under(struct lower *l)
{
	return ((struct lower_readonly *)(void *)l)->under;
}

/* -EROFS, or the flags of an open that changes nothing. */
static int reading(int flags)
{
	if (flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE ||
		(flags & O_ACCMODE) == O_WRONLY)
		return -EROFS;
	/* What turns out to be a FIFO must not hold us up. */
	return (flags & ~O_ACCMODE) | O_RDONLY | O_NONBLOCK;
}

static int readonly_openat(struct lower *l, int dirfd, const char *name, int flags, mode_t mode,
	const struct lower_cred *cred)
{
	int r = reading(flags);
	(void)mode;
	return r < 0 ? r : under(l)->ops->openat(under(l), dirfd, name, r, 0, cred);
}

static int readonly_close(struct lower *l, int fd)
{
	return under(l)->ops->close(under(l), fd);
}

static ssize_t readonly_preadv(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	return under(l)->ops->preadv(under(l), fd, iov, n, offset);
}

static ssize_t readonly_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	(void)l, (void)fd, (void)iov, (void)n, (void)offset;
	return -EROFS;
}

/* Nothing was written that could be flushed; what others wrote is theirs to flush. */
static int readonly_fsync(struct lower *l, int fd, bool data_only)
{
	(void)l, (void)fd, (void)data_only;
	return -EROFS;
}

static int readonly_syncfs(struct lower *l, int fd)
{
	(void)l, (void)fd;
	return -EROFS;
}

static int readonly_ftruncate(struct lower *l, int fd, uint64_t size)
{
	(void)l, (void)fd, (void)size;
	return -EROFS;
}

static int readonly_fallocate(struct lower *l, int fd, int mode, uint64_t offset, uint64_t len)
{
	(void)l, (void)fd, (void)mode, (void)offset, (void)len;
	return -EROFS;
}

static int readonly_fstat(struct lower *l, int fd, struct stat *ret)
{
	return under(l)->ops->fstat(under(l), fd, ret);
}

static int readonly_fstatat(struct lower *l, int dirfd, const char *name, struct stat *ret)
{
	return under(l)->ops->fstatat(under(l), dirfd, name, ret);
}

static int readonly_mkdirat(
	struct lower *l, int dirfd, const char *name, mode_t mode, const struct lower_cred *cred)
{
	(void)l, (void)dirfd, (void)name, (void)mode, (void)cred;
	return -EROFS;
}

static int readonly_mknodat(struct lower *l, int dirfd, const char *name, mode_t mode, dev_t dev,
	const struct lower_cred *cred)
{
	(void)l, (void)dirfd, (void)name, (void)mode, (void)dev, (void)cred;
	return -EROFS;
}

static int readonly_symlinkat(struct lower *l, const char *target, int dirfd, const char *name,
	const struct lower_cred *cred)
{
	(void)l, (void)target, (void)dirfd, (void)name, (void)cred;
	return -EROFS;
}

static ssize_t readonly_readlinkat(
	struct lower *l, int dirfd, const char *name, char *ret, size_t size)
{
	return under(l)->ops->readlinkat(under(l), dirfd, name, ret, size);
}

static int readonly_linkat(
	struct lower *l, int olddir, const char *old, int newdir, const char *new)
{
	(void)l, (void)olddir, (void)old, (void)newdir, (void)new;
	return -EROFS;
}

static int readonly_linkfd(struct lower *l, int fd, int newdir, const char *new)
{
	(void)l, (void)fd, (void)newdir, (void)new;
	return -EROFS;
}

static int readonly_unlinkat(struct lower *l, int dirfd, const char *name, int flags)
{
	(void)l, (void)dirfd, (void)name, (void)flags;
	return -EROFS;
}

static int readonly_renameat(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	(void)l, (void)olddir, (void)old, (void)newdir, (void)new, (void)flags;
	return -EROFS;
}

static int readonly_fchmod(struct lower *l, int fd, mode_t mode)
{
	(void)l, (void)fd, (void)mode;
	return -EROFS;
}

static int readonly_fchmodat(struct lower *l, int dirfd, const char *name, mode_t mode)
{
	(void)l, (void)dirfd, (void)name, (void)mode;
	return -EROFS;
}

static int readonly_fchownat(struct lower *l, int dirfd, const char *name, uid_t uid, gid_t gid)
{
	(void)l, (void)dirfd, (void)name, (void)uid, (void)gid;
	return -EROFS;
}

static int readonly_utimensat(
	struct lower *l, int dirfd, const char *name, const struct timespec ts[2])
{
	(void)l, (void)dirfd, (void)name, (void)ts;
	return -EROFS;
}

static int readonly_futimens(struct lower *l, int fd, const struct timespec ts[2])
{
	(void)l, (void)fd, (void)ts;
	return -EROFS;
}

static ssize_t readonly_fgetxattr(struct lower *l, int fd, const char *name, void *ret, size_t size)
{
	return under(l)->ops->fgetxattr(under(l), fd, name, ret, size);
}

static ssize_t readonly_flistxattr(struct lower *l, int fd, char *ret, size_t size)
{
	return under(l)->ops->flistxattr(under(l), fd, ret, size);
}

static int readonly_fsetxattr(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	(void)l, (void)fd, (void)name, (void)value, (void)size, (void)flags;
	return -EROFS;
}

static int readonly_fremovexattr(struct lower *l, int fd, const char *name)
{
	(void)l, (void)fd, (void)name;
	return -EROFS;
}

static ssize_t readonly_getdents(struct lower *l, int fd, void *ret, size_t size)
{
	return under(l)->ops->getdents(under(l), fd, ret, size);
}

static int readonly_seekdir(struct lower *l, int fd, int64_t offset)
{
	return under(l)->ops->seekdir(under(l), fd, offset);
}

static int readonly_reopen(struct lower *l, int fd, int flags)
{
	int r = reading(flags);
	return r < 0 ? r : under(l)->ops->reopen(under(l), fd, r);
}

static int readonly_fstatvfs(struct lower *l, int fd, struct statvfs *ret)
{
	return under(l)->ops->fstatvfs(under(l), fd, ret);
}

static int readonly_fiemap(
	struct lower *l, int fd, uint64_t offset, struct lower_extent *ret, int n)
{
	return under(l)->ops->fiemap(under(l), fd, offset, ret, n);
}

static int64_t readonly_fs_type(struct lower *l, int fd)
{
	return under(l)->ops->fs_type(under(l), fd);
}

static int readonly_lock(struct lower *l, int fd)
{
	return under(l)->ops->lock(under(l), fd);
}

static const struct lower_ops readonly_ops = {
	.openat = readonly_openat,
	.close = readonly_close,
	.preadv = readonly_preadv,
	.pwritev = readonly_pwritev,
	.fsync = readonly_fsync,
	.syncfs = readonly_syncfs,
	.ftruncate = readonly_ftruncate,
	.fallocate = readonly_fallocate,
	.fstat = readonly_fstat,
	.fstatat = readonly_fstatat,
	.mkdirat = readonly_mkdirat,
	.mknodat = readonly_mknodat,
	.symlinkat = readonly_symlinkat,
	.readlinkat = readonly_readlinkat,
	.linkat = readonly_linkat,
	.linkfd = readonly_linkfd,
	.unlinkat = readonly_unlinkat,
	.renameat = readonly_renameat,
	.fchmod = readonly_fchmod,
	.fchmodat = readonly_fchmodat,
	.fchownat = readonly_fchownat,
	.utimensat = readonly_utimensat,
	.futimens = readonly_futimens,
	.fgetxattr = readonly_fgetxattr,
	.flistxattr = readonly_flistxattr,
	.fsetxattr = readonly_fsetxattr,
	.fremovexattr = readonly_fremovexattr,
	.getdents = readonly_getdents,
	.seekdir = readonly_seekdir,
	.reopen = readonly_reopen,
	.fstatvfs = readonly_fstatvfs,
	.fiemap = readonly_fiemap,
	.fs_type = readonly_fs_type,
	.lock = readonly_lock,
};

void lower_readonly_init(struct lower_readonly *r, struct lower *under_it)
{
	*r = (struct lower_readonly){{&readonly_ops}, under_it};
}
