/*
 * The only system calls on the backing tree and the log, behind a table that tests replace:
 * lower_posix.c is the real one; the simulated and the failing disk of the tests are others. Every
 * call returns >= 0 or -errno; EINTR never comes out. Every open adds O_CLOEXEC and O_NOFOLLOW.
 * Names are single components relative to a directory descriptor; "" in fstatat, fchownat,
 * utimensat and readlinkat means the descriptor itself. An O_PATH descriptor will do for every call
 * but preadv, pwritev, syncfs, ftruncate, fallocate, getdents, fiemap and lock. Thread-safe.
 */
#ifndef LOWER_LOWER_H
#define LOWER_LOWER_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

struct lower;

/* Whom a new file belongs to. NULL in a call: the process itself. Only root may name others. */
struct lower_cred {
	uid_t uid;
	gid_t gid;
};

/* What FIEMAP says of a range, as far as erasing asks (docs/erase.md). */
struct lower_extent {
	uint64_t logical, physical, length; /* bytes */
	uint32_t flags;                     /* FIEMAP_EXTENT_* of linux/fiemap.h */
};

struct lower_ops {
	int (*openat)(struct lower *l, int dirfd, const char *name, int flags, mode_t mode,
		const struct lower_cred *cred);
	int (*close)(struct lower *l, int fd);
	ssize_t (*preadv)(struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset);
	ssize_t (*pwritev)(
		struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset);
	int (*fsync)(struct lower *l, int fd, bool data_only);
	/* Everything of the filesystem that fd is on, whosever it is: content, names, attributes.
	 */
	int (*syncfs)(struct lower *l, int fd);
	int (*ftruncate)(struct lower *l, int fd, uint64_t size);
	int (*fallocate)(struct lower *l, int fd, int mode, uint64_t offset, uint64_t len);
	int (*fstat)(struct lower *l, int fd, struct stat *ret);
	int (*fstatat)(struct lower *l, int dirfd, const char *name, struct stat *ret);
	int (*mkdirat)(struct lower *l, int dirfd, const char *name, mode_t mode,
		const struct lower_cred *cred);
	int (*mknodat)(struct lower *l, int dirfd, const char *name, mode_t mode, dev_t dev,
		const struct lower_cred *cred);
	int (*symlinkat)(struct lower *l, const char *target, int dirfd, const char *name,
		const struct lower_cred *cred);
	ssize_t (*readlinkat)(struct lower *l, int dirfd, const char *name, char *ret, size_t size);
	int (*linkat)(struct lower *l, int olddir, const char *old, int newdir, const char *new);
	int (*linkfd)(struct lower *l, int fd, int newdir, const char *new);
	int (*unlinkat)(struct lower *l, int dirfd, const char *name, int flags);
	int (*renameat)(struct lower *l, int olddir, const char *old, int newdir, const char *new,
		unsigned flags);
	int (*fchmod)(struct lower *l, int fd, mode_t mode);
	int (*fchmodat)(struct lower *l, int dirfd, const char *name, mode_t mode);
	int (*fchownat)(struct lower *l, int dirfd, const char *name, uid_t uid, gid_t gid);
	int (*utimensat)(struct lower *l, int dirfd, const char *name, const struct timespec ts[2]);
	int (*futimens)(struct lower *l, int fd, const struct timespec ts[2]);
	/* On an O_PATH or ordinary descriptor alike. */
	ssize_t (*fgetxattr)(struct lower *l, int fd, const char *name, void *ret, size_t size);
	ssize_t (*flistxattr)(struct lower *l, int fd, char *ret, size_t size);
	int (*fsetxattr)(struct lower *l, int fd, const char *name, const void *value, size_t size,
		int flags);
	int (*fremovexattr)(struct lower *l, int fd, const char *name);
	/* getdents64 records (struct linux_dirent64), from the descriptor's position; lseek to a
	 * d_off. */
	ssize_t (*getdents)(struct lower *l, int fd, void *ret, size_t size);
	int (*seekdir)(struct lower *l, int fd, int64_t offset);
	/* A second descriptor for what an O_PATH one names, with these open(2) flags. */
	int (*reopen)(struct lower *l, int fd, int flags);
	int (*fstatvfs)(struct lower *l, int fd, struct statvfs *ret);
	/* Up to n extents at and behind `offset`; the count. -EOPNOTSUPP where the filesystem has
	 * none. */
	int (*fiemap)(struct lower *l, int fd, uint64_t offset, struct lower_extent *ret, int n);
	/* statfs f_type (EXT4_SUPER_MAGIC, ...) */
	int64_t (*fs_type)(struct lower *l, int fd);
	/* OFD write lock on the whole file without waiting: 0, or -EAGAIN when another holds it. */
	int (*lock)(struct lower *l, int fd);
};

/* First member of every implementation. */
struct lower {
	const struct lower_ops *ops;
};

/* The real one; static, nothing to free. */
struct lower *lower_posix(void);
/*
 * Call once, before threads start: modes are taken as given (umask 0 for the whole process), and as
 * root the capabilities stay when a call takes on another's filesystem ids
 * (SECBIT_NO_SETUID_FIXUP). Anybody else: only the umask. -EPERM without CAP_SETPCAP: then creating
 * for others is checked as if they did it themselves.
 */
MUST_USE int lower_posix_prepare(void);

/* A descriptor that is closed through its lower when it leaves its scope; {l, -1}: none. */
struct lower_held {
	struct lower *l;
	int fd;
};
static inline void lower_held_auto(struct lower_held *f)
{
	if (f->fd >= 0)
		f->l->ops->close(f->l, f->fd);
}
#define AUTO_LOWER_HELD AUTO(lower_held_auto) struct lower_held

static inline ssize_t lower_pread(struct lower *l, int fd, void *bytes, size_t len, uint64_t offset)
{
	struct iovec iov = {bytes, len};
	return l->ops->preadv(l, fd, &iov, 1, offset);
}

static inline ssize_t lower_pwrite(
	struct lower *l, int fd, const void *bytes, size_t len, uint64_t offset)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	return l->ops->pwritev(l, fd, &iov, 1, offset);
}

/* All len bytes or an error: -EIO when the file ends before. */
MUST_USE int lower_read_all(struct lower *l, int fd, void *bytes, size_t len, uint64_t offset);
MUST_USE int lower_write_all(
	struct lower *l, int fd, const void *bytes, size_t len, uint64_t offset);

#endif
