/*
 * The real lower: system calls on a local filesystem. An O_PATH descriptor serves where the kernel
 * wants an ordinary one: those calls go through /proc/self/fd, whose links name the very object,
 * not a path.
 */
#include "fs/lower/lower.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define RETRY(expression)                                                                          \
	({                                                                                         \
		long retry_result;                                                                 \
		do                                                                                 \
			retry_result = (long)(expression);                                         \
		while (retry_result == -1 && errno == EINTR);                                      \
		retry_result == -1 ? -(long)errno : retry_result;                                  \
	})

#define PROC_FD_LEN 32

static const char *proc_fd(int fd, char ret[static PROC_FD_LEN])
{
	snprintf(ret, PROC_FD_LEN, "/proc/self/fd/%d", fd);
	return ret;
}

/* AT_EMPTY_PATH lets name "" mean the descriptor itself. */
static int at_flags(const char *name)
{
	return name[0] ? AT_SYMLINK_NOFOLLOW : AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
}

/*
 * Filesystem ids of this thread alone; glibc's wrappers of their family would change every thread.
 * setfsuid(2) does not report failure, so ask again with an id that cannot be set.
 */
struct saved_cred {
	uid_t uid;
	gid_t gid;
	bool changed;
};

static int set_fs_ids(uid_t uid, gid_t gid)
{
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	bool done =
		(gid_t)syscall(SYS_setfsgid, -1) == gid && (uid_t)syscall(SYS_setfsuid, -1) == uid;
	return done ? 0 : -EPERM;
}

static void cred_leave(struct saved_cred *saved)
{
	int at_call = errno;
	if (saved->changed && set_fs_ids(saved->uid, saved->gid) < 0)
		abort(); /* going on with a stranger's rights would be worse */
	saved->changed = false;
	errno = at_call;
}

static int cred_enter(const struct lower_cred *cred, struct saved_cred *saved)
{
	if (!cred)
		return 0;
	saved->uid = (uid_t)syscall(SYS_setfsuid, -1);
	saved->gid = (gid_t)syscall(SYS_setfsgid, -1);
	if (saved->uid == cred->uid && saved->gid == cred->gid)
		return 0;
	saved->changed = true;
	return set_fs_ids(cred->uid, cred->gid);
}

#define AUTO_CRED AUTO(cred_leave) struct saved_cred

static int posix_openat(struct lower *l, int dirfd, const char *name, int flags, mode_t mode,
	const struct lower_cred *cred)
{
	(void)l;
	AUTO_CRED saved = {0};
	int r = cred_enter(cred, &saved);
	if (r < 0)
		return r;
	/* O_NONBLOCK: a pipe that somebody put where a file was must not hold us up. */
	return (int)RETRY(openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode));
}

static int posix_close(struct lower *l, int fd)
{
	(void)l;
	/* Linux has closed it even when it says EINTR. */
	return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static ssize_t posix_preadv(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	(void)l;
	return RETRY(preadv(fd, iov, n, (off_t)offset));
}

static ssize_t posix_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	(void)l;
	return RETRY(pwritev(fd, iov, n, (off_t)offset));
}

static int posix_reopen(struct lower *l, int fd, int flags)
{
	(void)l;
	char path[PROC_FD_LEN];
	/* O_NOFOLLOW would refuse the link in /proc; what it names is already held. */
	return (int)RETRY(open(proc_fd(fd, path), (flags & ~O_NOFOLLOW) | O_CLOEXEC | O_NONBLOCK));
}

static int posix_fsync(struct lower *l, int fd, bool data_only)
{
	int r = (int)RETRY(data_only ? fdatasync(fd) : fsync(fd));
	if (r != -EBADF)
		return r;
	AUTO_CLOSE ordinary = posix_reopen(l, fd, O_RDONLY);
	if (ordinary < 0)
		return ordinary;
	return (int)RETRY(data_only ? fdatasync(ordinary) : fsync(ordinary));
}

static int posix_syncfs(struct lower *l, int fd)
{
	(void)l;
	return (int)RETRY(syncfs(fd));
}

static int posix_ftruncate(struct lower *l, int fd, uint64_t size)
{
	(void)l;
	return (int)RETRY(ftruncate(fd, (off_t)size));
}

static int posix_fallocate_range(struct lower *l, int fd, int mode, uint64_t offset, uint64_t len)
{
	(void)l;
	return (int)RETRY(fallocate(fd, mode, (off_t)offset, (off_t)len));
}

static int posix_fstat(struct lower *l, int fd, struct stat *ret)
{
	(void)l;
	return (int)RETRY(fstat(fd, ret));
}

static int posix_fstatat(struct lower *l, int dirfd, const char *name, struct stat *ret)
{
	(void)l;
	return (int)RETRY(fstatat(dirfd, name, ret, at_flags(name)));
}

static int posix_mkdirat(
	struct lower *l, int dirfd, const char *name, mode_t mode, const struct lower_cred *cred)
{
	(void)l;
	AUTO_CRED saved = {0};
	int r = cred_enter(cred, &saved);
	if (r < 0)
		return r;
	return (int)RETRY(mkdirat(dirfd, name, mode));
}

static int posix_mknodat(struct lower *l, int dirfd, const char *name, mode_t mode, dev_t dev,
	const struct lower_cred *cred)
{
	(void)l;
	AUTO_CRED saved = {0};
	int r = cred_enter(cred, &saved);
	if (r < 0)
		return r;
	return (int)RETRY(mknodat(dirfd, name, mode, dev));
}

static int posix_symlinkat(struct lower *l, const char *target, int dirfd, const char *name,
	const struct lower_cred *cred)
{
	(void)l;
	AUTO_CRED saved = {0};
	int r = cred_enter(cred, &saved);
	if (r < 0)
		return r;
	return (int)RETRY(symlinkat(target, dirfd, name));
}

static ssize_t posix_readlinkat(
	struct lower *l, int dirfd, const char *name, char *ret, size_t size)
{
	(void)l;
	return RETRY(readlinkat(dirfd, name, ret, size));
}

static int posix_linkat(struct lower *l, int olddir, const char *old, int newdir, const char *new)
{
	(void)l;
	return (int)RETRY(linkat(olddir, old, newdir, new, 0));
}

static int posix_linkfd(struct lower *l, int fd, int newdir, const char *new)
{
	(void)l;
	char path[PROC_FD_LEN];
	return (int)RETRY(linkat(AT_FDCWD, proc_fd(fd, path), newdir, new, AT_SYMLINK_FOLLOW));
}

static int posix_unlinkat(struct lower *l, int dirfd, const char *name, int flags)
{
	(void)l;
	return (int)RETRY(unlinkat(dirfd, name, flags));
}

static int posix_renameat(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	(void)l;
	return (int)RETRY(renameat2(olddir, old, newdir, new, flags));
}

static int posix_fchmod(struct lower *l, int fd, mode_t mode)
{
	(void)l;
	char path[PROC_FD_LEN];
	int r = (int)RETRY(fchmod(fd, mode));
	return r == -EBADF ? (int)RETRY(chmod(proc_fd(fd, path), mode)) : r;
}

static int posix_fchmodat(struct lower *l, int dirfd, const char *name, mode_t mode)
{
	(void)l;
	/* The C library does this through an O_PATH descriptor where the kernel lacks fchmodat2. */
	return (int)RETRY(fchmodat(dirfd, name, mode, AT_SYMLINK_NOFOLLOW));
}

static int posix_fchownat(struct lower *l, int dirfd, const char *name, uid_t uid, gid_t gid)
{
	(void)l;
	return (int)RETRY(fchownat(dirfd, name, uid, gid, at_flags(name)));
}

static int posix_utimensat(
	struct lower *l, int dirfd, const char *name, const struct timespec ts[2])
{
	(void)l;
	return (int)RETRY(utimensat(dirfd, name, ts, at_flags(name)));
}

static int posix_futimens(struct lower *l, int fd, const struct timespec ts[2])
{
	(void)l;
	char path[PROC_FD_LEN];
	int r = (int)RETRY(futimens(fd, ts));
	return r == -EBADF ? (int)RETRY(utimensat(AT_FDCWD, proc_fd(fd, path), ts, 0)) : r;
}

static ssize_t posix_fgetxattr(struct lower *l, int fd, const char *name, void *ret, size_t size)
{
	(void)l;
	char path[PROC_FD_LEN];
	ssize_t r = RETRY(fgetxattr(fd, name, ret, size));
	return r == -EBADF ? RETRY(getxattr(proc_fd(fd, path), name, ret, size)) : r;
}

static ssize_t posix_flistxattr(struct lower *l, int fd, char *ret, size_t size)
{
	(void)l;
	char path[PROC_FD_LEN];
	ssize_t r = RETRY(flistxattr(fd, ret, size));
	return r == -EBADF ? RETRY(listxattr(proc_fd(fd, path), ret, size)) : r;
}

static int posix_fsetxattr(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	(void)l;
	char path[PROC_FD_LEN];
	int r = (int)RETRY(fsetxattr(fd, name, value, size, flags));
	return r == -EBADF ? (int)RETRY(setxattr(proc_fd(fd, path), name, value, size, flags)) : r;
}

static int posix_fremovexattr(struct lower *l, int fd, const char *name)
{
	(void)l;
	char path[PROC_FD_LEN];
	int r = (int)RETRY(fremovexattr(fd, name));
	return r == -EBADF ? (int)RETRY(removexattr(proc_fd(fd, path), name)) : r;
}

static ssize_t posix_getdents(struct lower *l, int fd, void *ret, size_t size)
{
	(void)l;
	return RETRY(getdents64(fd, ret, size));
}

static int posix_seekdir(struct lower *l, int fd, int64_t offset)
{
	(void)l;
	/* A d_off of ext4 is a 63-bit hash: as a result it would not fit an int. */
	return lseek(fd, offset, SEEK_SET) == (off_t)-1 ? -errno : 0;
}

static int posix_fstatvfs(struct lower *l, int fd, struct statvfs *ret)
{
	(void)l;
	return (int)RETRY(fstatvfs(fd, ret));
}

#define FIEMAP_BATCH 64

static int posix_fiemap(struct lower *l, int fd, uint64_t offset, struct lower_extent *ret, int n)
{
	(void)l;
	union {
		struct fiemap map;
		uint8_t room[sizeof(struct fiemap) + FIEMAP_BATCH * sizeof(struct fiemap_extent)];
	} request;
	memset(&request, 0, sizeof(request));
	if (n > FIEMAP_BATCH)
		n = FIEMAP_BATCH;
	request.map.fm_start = offset;
	request.map.fm_length = FIEMAP_MAX_OFFSET - offset;
	request.map.fm_extent_count = (uint32_t)n;
	int r = (int)RETRY(ioctl(fd, FS_IOC_FIEMAP, &request.map));
	if (r == -ENOTTY)
		return -EOPNOTSUPP;
	if (r < 0)
		return r;
	int found = (int)request.map.fm_mapped_extents;
	for (int i = 0; i < found; i++) {
		const struct fiemap_extent *e = &request.map.fm_extents[i];
		ret[i] = (struct lower_extent){
			e->fe_logical, e->fe_physical, e->fe_length, e->fe_flags};
	}
	return found;
}

static int64_t posix_fs_type(struct lower *l, int fd)
{
	(void)l;
	struct statfs st;
	int r = (int)RETRY(fstatfs(fd, &st));
	/* f_type is signed and some magics have the top bit: not an errno. */
	return r < 0 ? r : (int64_t)(uint32_t)st.f_type;
}

static int posix_lock(struct lower *l, int fd)
{
	(void)l;
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int r = (int)RETRY(fcntl(fd, F_OFD_SETLK, &whole));
	return r == -EACCES ? -EAGAIN : r;
}

static const struct lower_ops posix_ops = {
	.openat = posix_openat,
	.close = posix_close,
	.preadv = posix_preadv,
	.pwritev = posix_pwritev,
	.fsync = posix_fsync,
	.syncfs = posix_syncfs,
	.ftruncate = posix_ftruncate,
	.fallocate = posix_fallocate_range,
	.fstat = posix_fstat,
	.fstatat = posix_fstatat,
	.mkdirat = posix_mkdirat,
	.mknodat = posix_mknodat,
	.symlinkat = posix_symlinkat,
	.readlinkat = posix_readlinkat,
	.linkat = posix_linkat,
	.linkfd = posix_linkfd,
	.unlinkat = posix_unlinkat,
	.renameat = posix_renameat,
	.fchmod = posix_fchmod,
	.fchmodat = posix_fchmodat,
	.fchownat = posix_fchownat,
	.utimensat = posix_utimensat,
	.futimens = posix_futimens,
	.fgetxattr = posix_fgetxattr,
	.flistxattr = posix_flistxattr,
	.fsetxattr = posix_fsetxattr,
	.fremovexattr = posix_fremovexattr,
	.getdents = posix_getdents,
	.seekdir = posix_seekdir,
	.reopen = posix_reopen,
	.fstatvfs = posix_fstatvfs,
	.fiemap = posix_fiemap,
	.fs_type = posix_fs_type,
	.lock = posix_lock,
};

struct lower *lower_posix(void)
{
	static struct lower posix = {&posix_ops};
	return &posix;
}

int lower_posix_prepare(void)
{
	umask(0);
	if (geteuid() != 0)
		return 0;
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0)
		return -errno;
	return prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) < 0 ? -errno : 0;
}
