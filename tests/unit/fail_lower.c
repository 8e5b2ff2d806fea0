/* One function an operation: count, perhaps fail, else pass on. */
#include "tests/unit/fail_lower.h"

#include <string.h>

static struct fail_lower *of(struct lower *l)
{
	return (struct fail_lower *)l;
}

/* 0, the -errno that this call is to have, or SHORTEN. */
#define SHORTEN 1
static int step(struct fail_lower *f, enum fail_lower_op op)
{
	atomic_fetch_add(&f->total[op], 1);
	atomic_fetch_add(&f->total[FAIL_LOWER_ANY], 1);
	if (f->only != FAIL_LOWER_ANY && f->only != op)
		return 0;
	unsigned n = atomic_fetch_add(&f->counted, 1) + 1;
	if (!f->at || n < f->at || (f->once && n > f->at))
		return 0;
	if (f->instead)
		f->instead();
	return f->how == FAIL_LOWER_ERROR ? f->error : f->how == FAIL_LOWER_SHORT ? SHORTEN : 0;
}

/* At most len bytes of it; the number of members that they are in. */
#define SHORT_MEMBERS 64
static int shorten(
	struct iovec ret[static SHORT_MEMBERS], const struct iovec *iov, int n, size_t len)
{
	int used = 0;
	while (len && used < n && used < SHORT_MEMBERS) {
		ret[used] = iov[used];
		if (ret[used].iov_len > len)
			ret[used].iov_len = len;
		len -= ret[used++].iov_len;
	}
	return used;
}

static int fail_openat(struct lower *l, int dirfd, const char *name, int flags, mode_t mode,
	const struct lower_cred *cred)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_OPENAT);
	return r < 0 ? r : f->under->ops->openat(f->under, dirfd, name, flags, mode, cred);
}

static int fail_close(struct lower *l, int fd)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_CLOSE);
	int closed = f->under->ops->close(f->under, fd);
	return r < 0 ? r : closed;
}

static ssize_t fail_preadv(struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	struct fail_lower *f = of(l);
	struct iovec some[SHORT_MEMBERS];
	int r = step(f, FAIL_LOWER_PREADV);
	if (r == SHORTEN) {
		n = shorten(some, iov, n, f->keep);
		iov = some;
	}
	return r < 0 ? r : f->under->ops->preadv(f->under, fd, iov, n, offset);
}

static ssize_t fail_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	struct fail_lower *f = of(l);
	struct iovec some[SHORT_MEMBERS];
	int r = step(f, FAIL_LOWER_PWRITEV);
	if (r == SHORTEN) {
		n = shorten(some, iov, n, f->keep);
		iov = some;
	}
	return r < 0 ? r : f->under->ops->pwritev(f->under, fd, iov, n, offset);
}

static int fail_fsync(struct lower *l, int fd, bool data_only)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FSYNC);
	return r < 0 ? r : f->under->ops->fsync(f->under, fd, data_only);
}

static int fail_syncfs(struct lower *l, int fd)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_SYNCFS);
	return r < 0 ? r : f->under->ops->syncfs(f->under, fd);
}

static int fail_ftruncate(struct lower *l, int fd, uint64_t size)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FTRUNCATE);
	return r < 0 ? r : f->under->ops->ftruncate(f->under, fd, size);
}

static int fail_fallocate(struct lower *l, int fd, int mode, uint64_t offset, uint64_t len)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FALLOCATE);
	return r < 0 ? r : f->under->ops->fallocate(f->under, fd, mode, offset, len);
}

static int fail_fstat(struct lower *l, int fd, struct stat *ret)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FSTAT);
	return r < 0 ? r : f->under->ops->fstat(f->under, fd, ret);
}

static int fail_fstatat(struct lower *l, int dirfd, const char *name, struct stat *ret)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FSTATAT);
	return r < 0 ? r : f->under->ops->fstatat(f->under, dirfd, name, ret);
}

static int fail_mkdirat(
	struct lower *l, int dirfd, const char *name, mode_t mode, const struct lower_cred *cred)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_MKDIRAT);
	return r < 0 ? r : f->under->ops->mkdirat(f->under, dirfd, name, mode, cred);
}

static int fail_mknodat(struct lower *l, int dirfd, const char *name, mode_t mode, dev_t dev,
	const struct lower_cred *cred)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_MKNODAT);
	return r < 0 ? r : f->under->ops->mknodat(f->under, dirfd, name, mode, dev, cred);
}

static int fail_symlinkat(struct lower *l, const char *target, int dirfd, const char *name,
	const struct lower_cred *cred)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_SYMLINKAT);
	return r < 0 ? r : f->under->ops->symlinkat(f->under, target, dirfd, name, cred);
}

static ssize_t fail_readlinkat(struct lower *l, int dirfd, const char *name, char *ret, size_t size)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_READLINKAT);
	return r < 0 ? r : f->under->ops->readlinkat(f->under, dirfd, name, ret, size);
}

static int fail_linkat(struct lower *l, int olddir, const char *old, int newdir, const char *new)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_LINKAT);
	return r < 0 ? r : f->under->ops->linkat(f->under, olddir, old, newdir, new);
}

static int fail_linkfd(struct lower *l, int fd, int newdir, const char *new)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_LINKFD);
	return r < 0 ? r : f->under->ops->linkfd(f->under, fd, newdir, new);
}

static int fail_unlinkat(struct lower *l, int dirfd, const char *name, int flags)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_UNLINKAT);
	return r < 0 ? r : f->under->ops->unlinkat(f->under, dirfd, name, flags);
}

static int fail_renameat(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_RENAMEAT);
	return r < 0 ? r : f->under->ops->renameat(f->under, olddir, old, newdir, new, flags);
}

static int fail_fchmod(struct lower *l, int fd, mode_t mode)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FCHMOD);
	return r < 0 ? r : f->under->ops->fchmod(f->under, fd, mode);
}

static int fail_fchmodat(struct lower *l, int dirfd, const char *name, mode_t mode)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FCHMODAT);
	return r < 0 ? r : f->under->ops->fchmodat(f->under, dirfd, name, mode);
}

static int fail_fchownat(struct lower *l, int dirfd, const char *name, uid_t uid, gid_t gid)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FCHOWNAT);
	return r < 0 ? r : f->under->ops->fchownat(f->under, dirfd, name, uid, gid);
}

static int fail_utimensat(struct lower *l, int dirfd, const char *name, const struct timespec ts[2])
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_UTIMENSAT);
	return r < 0 ? r : f->under->ops->utimensat(f->under, dirfd, name, ts);
}

static int fail_futimens(struct lower *l, int fd, const struct timespec ts[2])
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FUTIMENS);
	return r < 0 ? r : f->under->ops->futimens(f->under, fd, ts);
}

static ssize_t fail_fgetxattr(struct lower *l, int fd, const char *name, void *ret, size_t size)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FGETXATTR);
	return r < 0 ? r : f->under->ops->fgetxattr(f->under, fd, name, ret, size);
}

static ssize_t fail_flistxattr(struct lower *l, int fd, char *ret, size_t size)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FLISTXATTR);
	return r < 0 ? r : f->under->ops->flistxattr(f->under, fd, ret, size);
}

static int fail_fsetxattr(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FSETXATTR);
	return r < 0 ? r : f->under->ops->fsetxattr(f->under, fd, name, value, size, flags);
}

static int fail_fremovexattr(struct lower *l, int fd, const char *name)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FREMOVEXATTR);
	return r < 0 ? r : f->under->ops->fremovexattr(f->under, fd, name);
}

static ssize_t fail_getdents(struct lower *l, int fd, void *ret, size_t size)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_GETDENTS);
	return r < 0 ? r : f->under->ops->getdents(f->under, fd, ret, size);
}

static int fail_seekdir(struct lower *l, int fd, int64_t offset)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_SEEKDIR);
	return r < 0 ? r : f->under->ops->seekdir(f->under, fd, offset);
}

static int fail_reopen(struct lower *l, int fd, int flags)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_REOPEN);
	return r < 0 ? r : f->under->ops->reopen(f->under, fd, flags);
}

static int fail_fstatvfs(struct lower *l, int fd, struct statvfs *ret)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FSTATVFS);
	return r < 0 ? r : f->under->ops->fstatvfs(f->under, fd, ret);
}

static int fail_fiemap(struct lower *l, int fd, uint64_t offset, struct lower_extent *ret, int n)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FIEMAP);
	return r < 0 ? r : f->under->ops->fiemap(f->under, fd, offset, ret, n);
}

static int64_t fail_fs_type(struct lower *l, int fd)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_FS_TYPE);
	return r < 0 ? r : f->under->ops->fs_type(f->under, fd);
}

static int fail_lock(struct lower *l, int fd)
{
	struct fail_lower *f = of(l);
	int r = step(f, FAIL_LOWER_LOCK);
	return r < 0 ? r : f->under->ops->lock(f->under, fd);
}

static const struct lower_ops fail_ops = {
	.openat = fail_openat,
	.close = fail_close,
	.preadv = fail_preadv,
	.pwritev = fail_pwritev,
	.fsync = fail_fsync,
	.syncfs = fail_syncfs,
	.ftruncate = fail_ftruncate,
	.fallocate = fail_fallocate,
	.fstat = fail_fstat,
	.fstatat = fail_fstatat,
	.mkdirat = fail_mkdirat,
	.mknodat = fail_mknodat,
	.symlinkat = fail_symlinkat,
	.readlinkat = fail_readlinkat,
	.linkat = fail_linkat,
	.linkfd = fail_linkfd,
	.unlinkat = fail_unlinkat,
	.renameat = fail_renameat,
	.fchmod = fail_fchmod,
	.fchmodat = fail_fchmodat,
	.fchownat = fail_fchownat,
	.utimensat = fail_utimensat,
	.futimens = fail_futimens,
	.fgetxattr = fail_fgetxattr,
	.flistxattr = fail_flistxattr,
	.fsetxattr = fail_fsetxattr,
	.fremovexattr = fail_fremovexattr,
	.getdents = fail_getdents,
	.seekdir = fail_seekdir,
	.reopen = fail_reopen,
	.fstatvfs = fail_fstatvfs,
	.fiemap = fail_fiemap,
	.fs_type = fail_fs_type,
	.lock = fail_lock,
};

void fail_lower_init(struct fail_lower *f, struct lower *under)
{
	memset(f, 0, sizeof(*f));
	f->base.ops = &fail_ops;
	f->under = under;
}

void fail_lower_arm(
	struct fail_lower *f, enum fail_lower_op only, unsigned at, int error, bool once)
{
	f->only = only;
	f->at = at;
	f->error = error;
	f->how = FAIL_LOWER_ERROR;
	f->once = once;
	atomic_store(&f->counted, 0);
}

bool fail_lower_hit(const struct fail_lower *f)
{
	return f->at && atomic_load(&f->counted) >= f->at;
}
