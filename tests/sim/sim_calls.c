/* The table of calls of the simulated disk, and its descriptors. */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define XFS_MAGIC 0x58465342

static struct sim_disk *of(struct lower *l)
{
	return (struct sim_disk *)l;
}

/* Descriptors. */

static struct sim_fd *fd_of(struct sim_disk *d, int fd)
{
	unsigned n = (unsigned)(fd - SIM_FD_BASE);
	return fd >= SIM_FD_BASE && n < d->fd_count && d->fds[n].inode ? &d->fds[n] : NULL;
}

static int fd_new(struct sim_disk *d, struct sim_inode *i, int flags)
{
	unsigned n = 0;
	uint32_t room = d->fd_room;
	while (n < d->fd_count && d->fds[n].inode)
		n++;
	d->fds = sim_disk_grow(d->fds, n + 1u, sizeof(*d->fds), &room);
	d->fd_room = room;
	if (n == d->fd_count)
		d->fd_count++;
	int access = flags & O_ACCMODE;
	bool path = flags & O_PATH;
	d->fds[n] = (struct sim_fd){
		.inode = i,
		.path = path,
		.reads = !path && access != O_WRONLY,
		.writes = !path && access != O_RDONLY,
	};
	i->opens++;
	return SIM_FD_BASE + (int)n;
}

static void fd_done(struct sim_disk *d, struct sim_fd *f)
{
	struct sim_inode *i = f->inode;
	if (i->lock_fd == SIM_FD_BASE + (int)(f - d->fds))
		i->lock_fd = 0;
	i->opens--;
	f->inode = NULL;
	if (!d->stopped)
		sim_tree_settle(d, i);
}

int sim_calls_open(struct sim_disk *d, uint32_t ino)
{
	return fd_new(d, d->inodes[ino], O_PATH | O_DIRECTORY);
}

void sim_calls_close_all(struct sim_disk *d)
{
	d->stopped = true; /* nothing of it is a transaction yet */
	for (unsigned n = 0; n < d->fd_count; n++)
		if (d->fds[n].inode)
			fd_done(d, &d->fds[n]);
	d->fd_count = 0;
}

/* What the kernel does by itself. */
static void background(struct sim_disk *d)
{
	if (!d->options.background || !sim_random_chance(&d->random, d->options.background))
		return;
	uint64_t pending = d->txn - d->committed;
	if (pending && sim_random_chance(&d->random, 400)) {
		sim_log_commit(d, d->committed + 1 + sim_random_below(&d->random, pending));
		return;
	}
	struct sim_inode *i = d->inodes[sim_random_below(&d->random, d->inode_count)];
	if (i && !i->gone && sim_random_chance(&d->random, 700))
		sim_pages_flush_some(d, i);
	else if (i && !i->gone)
		sim_pages_flush(d, i);
}

/*
 * Around each call. With `changes` it counts, and may be the last one: then it happens or not, and
 * says -EIO.
 */
static int begin(struct sim_disk *d, bool changes, const char *name)
{
	pthread_mutex_lock(&d->lock);
	if (d->stopped)
		return -EIO;
	if (!changes)
		return 0;
	d->calls++;
	if (d->options.trace)
		printf("#   call %llu %s\n", (unsigned long long)d->calls, name + 4);
	background(d);
	if (d->calls == d->fail_at) {
		d->failed = true;
		if (d->options.trace)
			printf("#     fails: %s\n", strerror(-d->fail_error));
		return d->fail_error;
	}
	if (d->calls == d->stop_at) {
		d->stopping = true;
		if (sim_random_chance(&d->random, 512)) {
			d->stopped = true;
			return -EIO;
		}
	}
	return 0;
}

static ssize_t end(struct sim_disk *d, ssize_t r)
{
	if (d->stopping && !d->stopped) {
		/* A call that made a descriptor leaves nobody to close it. */
		if (r >= SIM_FD_BASE && fd_of(d, (int)r))
			fd_done(d, fd_of(d, (int)r));
		d->stopped = true;
		r = -EIO;
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

#define CALL(l, changes, expression)                                                               \
	({                                                                                         \
		struct sim_disk *d = of(l);                                                        \
		ssize_t call_result = begin(d, changes, __func__);                                 \
		end(d, call_result < 0 ? call_result : (ssize_t)(expression));                     \
	})

/* The inode of a descriptor; reads, writes: opened for that. NULL: -EBADF. */
static struct sim_inode *inode_of(struct sim_disk *d, int fd, bool reads, bool writes)
{
	const struct sim_fd *f = fd_of(d, fd);
	if (!f || (reads && !f->reads) || (writes && !f->writes))
		return NULL;
	return f->inode;
}

#define INODE(fd, reads, writes)                                                                   \
	struct sim_inode *i = inode_of(d, fd, reads, writes);                                      \
	if (!i)                                                                                    \
	return -EBADF

/* dirfd/name, "" the descriptor itself. */
static int look(struct sim_disk *d, int dirfd, const char *name, struct sim_inode **ret)
{
	INODE(dirfd, false, false);
	*ret = i;
	return name[0] ? sim_tree_look(d, i, name, ret) : 0;
}

static int open_inode(struct sim_disk *d, struct sim_inode *i, int flags)
{
	int access = flags & O_ACCMODE;
	if ((flags & O_DIRECTORY) && !S_ISDIR(i->core.mode))
		return -ENOTDIR;
	if (flags & O_PATH)
		return fd_new(d, i, flags);
	if (S_ISLNK(i->core.mode))
		return -ELOOP;
	if (S_ISDIR(i->core.mode) && access != O_RDONLY)
		return -EISDIR;
	if (S_ISBLK(i->core.mode) || S_ISCHR(i->core.mode) || S_ISSOCK(i->core.mode))
		return -ENXIO;
	if ((flags & O_TRUNC) && S_ISREG(i->core.mode))
		sim_pages_resize(d, i, 0);
	return fd_new(d, i, flags);
}

static int do_open(struct sim_disk *d, int dirfd, const char *name, int flags, mode_t mode,
	const struct lower_cred *cred)
{
	struct sim_inode *found;
	INODE(dirfd, false, false);
	int r = sim_tree_look(d, i, name, &found);
	if (r == -ENOENT && (flags & O_CREAT)) {
		r = sim_tree_create(d, i, name, S_IFREG | (mode & 07777), 0, NULL, cred, &found);
		return r < 0 ? r : fd_new(d, found, flags);
	}
	if (r == 0 && (flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	return r < 0 ? r : open_inode(d, found, flags);
}

static int sim_openat(struct lower *l, int dirfd, const char *name, int flags, mode_t mode,
	const struct lower_cred *cred)
{
	return (int)CALL(l, (flags & (O_CREAT | O_TRUNC)) && !(flags & O_PATH),
		do_open(d, dirfd, name, flags, mode, cred));
}

static int sim_close(struct lower *l, int fd)
{
	struct sim_disk *d = of(l);
	pthread_mutex_lock(&d->lock);
	struct sim_fd *f = fd_of(d, fd);
	if (f)
		fd_done(d, f);
	pthread_mutex_unlock(&d->lock);
	return f ? 0 : -EBADF;
}

static ssize_t do_read(struct sim_disk *d, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	INODE(fd, true, false);
	return S_ISDIR(i->core.mode) ? -EISDIR : sim_pages_read(i, iov, n, offset);
}

static ssize_t sim_preadv(struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	return CALL(l, false, do_read(d, fd, iov, n, offset));
}

static ssize_t do_write(struct sim_disk *d, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	INODE(fd, false, true);
	ssize_t done = sim_pages_write(d, i, iov, n, offset, d->stopping);
	if (d->options.trace)
		printf("#     inode %u, %d parts, first %zu at %llu: %zd\n", i->ino, n,
			iov[0].iov_len, (unsigned long long)offset, done);
	return done;
}

static ssize_t sim_pwritev(struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	return CALL(l, true, do_write(d, fd, iov, n, offset));
}

static int do_fsync(struct sim_disk *d, int fd, bool data_only)
{
	INODE(fd, false, false);
	if (d->options.trace)
		printf("#     inode %u\n", i->ino);
	if (S_ISREG(i->core.mode))
		sim_pages_flush(d, i);
	sim_log_commit(d, data_only ? i->data : i->meta);
	return 0;
}

static int sim_fsync(struct lower *l, int fd, bool data_only)
{
	struct sim_disk *d = of(l);
	int r = begin(d, true, __func__);
	const struct sim_fd *f = fd_of(d, fd);
	if (r == 0)
		r = do_fsync(d, fd, data_only);
	else if (!d->stopped && f)
		sim_pages_lose(d, f->inode);
	return (int)end(d, r);
}

/* A last one gets to some of it. */
static int do_syncfs(struct sim_disk *d, int fd)
{
	const struct sim_fd *f = fd_of(d, fd);
	if (!f || f->path)
		return -EBADF;
	for (uint32_t n = 0; n < d->inode_count; n++) {
		struct sim_inode *i = d->inodes[n];
		if (i && !i->gone && (!d->stopping || sim_random_chance(&d->random, 512)))
			sim_pages_flush(d, i);
	}
	uint64_t pending = d->txn - d->committed;
	if (d->stopping)
		pending = sim_random_below(&d->random, pending + 1);
	sim_log_commit(d, d->committed + pending);
	return 0;
}

/* One that fails forgets of all files what it should have written. */
static int sim_syncfs(struct lower *l, int fd)
{
	struct sim_disk *d = of(l);
	int r = begin(d, true, __func__);
	if (r == 0)
		r = do_syncfs(d, fd);
	else if (!d->stopped)
		for (uint32_t n = 0; n < d->inode_count; n++)
			if (d->inodes[n] && !d->inodes[n]->gone)
				sim_pages_lose(d, d->inodes[n]);
	return (int)end(d, r);
}

static int do_ftruncate(struct sim_disk *d, int fd, uint64_t size)
{
	INODE(fd, false, true);
	if (!S_ISREG(i->core.mode) || size > INT64_MAX)
		return -EINVAL;
	return sim_pages_resize(d, i, size);
}

static int sim_ftruncate(struct lower *l, int fd, uint64_t size)
{
	return (int)CALL(l, true, do_ftruncate(d, fd, size));
}

static int do_fallocate(struct sim_disk *d, int fd, int mode, uint64_t offset, uint64_t len)
{
	INODE(fd, false, true);
	return S_ISREG(i->core.mode) ? sim_pages_allocate(d, i, mode, offset, len) : -ENODEV;
}

static int sim_fallocate(struct lower *l, int fd, int mode, uint64_t offset, uint64_t len)
{
	return (int)CALL(l, true, do_fallocate(d, fd, mode, offset, len));
}

static int do_stat(struct sim_disk *d, int dirfd, const char *name, struct stat *ret)
{
	struct sim_inode *i;
	int r = look(d, dirfd, name, &i);
	if (r == 0)
		sim_tree_stat(i, ret);
	return r;
}

static int sim_fstat(struct lower *l, int fd, struct stat *ret)
{
	return (int)CALL(l, false, do_stat(d, fd, "", ret));
}

static int sim_fstatat(struct lower *l, int dirfd, const char *name, struct stat *ret)
{
	return (int)CALL(l, false, do_stat(d, dirfd, name, ret));
}

static int do_create(struct sim_disk *d, int dirfd, const char *name, mode_t mode, dev_t rdev,
	const char *target, const struct lower_cred *cred)
{
	struct sim_inode *made;
	INODE(dirfd, false, false);
	if (target && !target[0])
		return -ENOENT;
	if (target && strlen(target) >= SIM_PAGE)
		return -ENAMETOOLONG;
	return sim_tree_create(d, i, name, mode, rdev, target, cred, &made);
}

static int sim_mkdirat(
	struct lower *l, int dirfd, const char *name, mode_t mode, const struct lower_cred *cred)
{
	return (int)CALL(
		l, true, do_create(d, dirfd, name, S_IFDIR | (mode & 07777), 0, NULL, cred));
}

static int sim_mknodat(struct lower *l, int dirfd, const char *name, mode_t mode, dev_t dev,
	const struct lower_cred *cred)
{
	mode |= mode & S_IFMT ? 0 : S_IFREG;
	return (int)CALL(l, true, do_create(d, dirfd, name, mode, dev, NULL, cred));
}

static int sim_symlinkat(struct lower *l, const char *target, int dirfd, const char *name,
	const struct lower_cred *cred)
{
	return (int)CALL(l, true, do_create(d, dirfd, name, S_IFLNK | 0777, 0, target, cred));
}

static ssize_t do_readlink(struct sim_disk *d, int dirfd, const char *name, char *ret, size_t size)
{
	struct sim_inode *i;
	int r = look(d, dirfd, name, &i);
	if (r < 0)
		return r;
	if (!S_ISLNK(i->core.mode))
		return -EINVAL;
	size = size < i->target->len ? size : i->target->len;
	memcpy(ret, i->target->bytes, size);
	return (ssize_t)size;
}

static ssize_t sim_readlinkat(struct lower *l, int dirfd, const char *name, char *ret, size_t size)
{
	return CALL(l, false, do_readlink(d, dirfd, name, ret, size));
}

static int do_link(struct sim_disk *d, int olddir, const char *old, int newdir, const char *new)
{
	struct sim_inode *linked;
	int r = look(d, olddir, old, &linked);
	if (r < 0)
		return r;
	if (!linked->core.nlink)
		return -ENOENT;
	INODE(newdir, false, false);
	return sim_tree_link(d, linked, i, new);
}

static int sim_linkat(struct lower *l, int olddir, const char *old, int newdir, const char *new)
{
	return (int)CALL(l, true, do_link(d, olddir, old, newdir, new));
}

static int sim_linkfd(struct lower *l, int fd, int newdir, const char *new)
{
	return (int)CALL(l, true, do_link(d, fd, "", newdir, new));
}

static int do_unlink(struct sim_disk *d, int dirfd, const char *name, int flags)
{
	INODE(dirfd, false, false);
	return sim_tree_unlink(d, i, name, flags);
}

static int sim_unlinkat(struct lower *l, int dirfd, const char *name, int flags)
{
	return (int)CALL(l, true, do_unlink(d, dirfd, name, flags));
}

static int do_rename(struct sim_disk *d, int olddir, const char *old, int newdir, const char *new,
	unsigned flags)
{
	struct sim_inode *to = inode_of(d, newdir, false, false);
	INODE(olddir, false, false);
	return to ? sim_tree_rename(d, i, old, to, new, flags) : -EBADF;
}

static int sim_renameat(
	struct lower *l, int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
	return (int)CALL(l, true, do_rename(d, olddir, old, newdir, new, flags));
}

/* Attributes: one transaction that fdatasync does not wait for. */
static struct sim_core *change(struct sim_disk *d, struct sim_inode *i)
{
	sim_log_begin(d);
	sim_log_core(d, i, false);
	i->core.ctime = sim_tree_now(d);
	return &i->core;
}

static int do_chmod(struct sim_disk *d, int dirfd, const char *name, mode_t mode)
{
	struct sim_inode *i;
	int r = look(d, dirfd, name, &i);
	if (r < 0 || S_ISLNK(i->core.mode))
		return r < 0 ? r : -EOPNOTSUPP;
	struct sim_core *c = change(d, i);
	c->mode = (c->mode & S_IFMT) | (mode & 07777);
	return 0;
}

static int sim_fchmod(struct lower *l, int fd, mode_t mode)
{
	return (int)CALL(l, true, do_chmod(d, fd, "", mode));
}

static int sim_fchmodat(struct lower *l, int dirfd, const char *name, mode_t mode)
{
	return (int)CALL(l, true, do_chmod(d, dirfd, name, mode));
}

static int do_chown(struct sim_disk *d, int dirfd, const char *name, uid_t uid, gid_t gid)
{
	struct sim_inode *i;
	int r = look(d, dirfd, name, &i);
	if (r < 0)
		return r;
	struct sim_core *c = change(d, i);
	if (uid != (uid_t)-1)
		c->uid = uid;
	if (gid != (gid_t)-1)
		c->gid = gid;
	if (S_ISREG(c->mode))
		c->mode &= ~(mode_t)(S_ISUID | (c->mode & S_IXGRP ? S_ISGID : 0));
	return 0;
}

static int sim_fchownat(struct lower *l, int dirfd, const char *name, uid_t uid, gid_t gid)
{
	return (int)CALL(l, true, do_chown(d, dirfd, name, uid, gid));
}

static void set_time(struct sim_disk *d, struct timespec *t, const struct timespec *wanted)
{
	if (!wanted || wanted->tv_nsec == UTIME_NOW)
		*t = sim_tree_now(d);
	else if (wanted->tv_nsec != UTIME_OMIT)
		*t = *wanted;
}

static int do_utimens(struct sim_disk *d, int dirfd, const char *name, const struct timespec *times)
{
	struct sim_inode *i;
	int r = look(d, dirfd, name, &i);
	if (r < 0)
		return r;
	struct sim_core *c = change(d, i);
	set_time(d, &c->atime, times);
	set_time(d, &c->mtime, times ? times + 1 : NULL);
	return 0;
}

static int sim_utimensat(struct lower *l, int dirfd, const char *name, const struct timespec ts[2])
{
	return (int)CALL(l, true, do_utimens(d, dirfd, name, ts));
}

static int sim_futimens(struct lower *l, int fd, const struct timespec ts[2])
{
	return (int)CALL(l, true, do_utimens(d, fd, "", ts));
}

static ssize_t do_getxattr(struct sim_disk *d, int fd, const char *name, void *ret, size_t size)
{
	INODE(fd, false, false);
	return sim_tree_getxattr(i, name, ret, size);
}

static ssize_t sim_fgetxattr(struct lower *l, int fd, const char *name, void *ret, size_t size)
{
	return CALL(l, false, do_getxattr(d, fd, name, ret, size));
}

static ssize_t do_listxattr(struct sim_disk *d, int fd, char *ret, size_t size)
{
	INODE(fd, false, false);
	return sim_tree_listxattr(i, ret, size);
}

static ssize_t sim_flistxattr(struct lower *l, int fd, char *ret, size_t size)
{
	return CALL(l, false, do_listxattr(d, fd, ret, size));
}

static int do_setxattr(
	struct sim_disk *d, int fd, const char *name, const void *value, size_t size, int flags)
{
	INODE(fd, false, false);
	return sim_tree_setxattr(d, i, name, value, size, flags);
}

static int sim_fsetxattr(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	return (int)CALL(l, true, do_setxattr(d, fd, name, value, size, flags));
}

static int do_removexattr(struct sim_disk *d, int fd, const char *name)
{
	INODE(fd, false, false);
	return sim_tree_removexattr(d, i, name);
}

static int sim_fremovexattr(struct lower *l, int fd, const char *name)
{
	return (int)CALL(l, true, do_removexattr(d, fd, name));
}

static ssize_t do_getdents(struct sim_disk *d, int fd, void *ret, size_t size)
{
	INODE(fd, true, false);
	return sim_tree_list(d, i, &fd_of(d, fd)->position, ret, size);
}

static ssize_t sim_getdents(struct lower *l, int fd, void *ret, size_t size)
{
	return CALL(l, false, do_getdents(d, fd, ret, size));
}

static int do_seekdir(struct sim_disk *d, int fd, int64_t offset)
{
	INODE(fd, true, false);
	if (offset < 0 || !S_ISDIR(i->core.mode))
		return -EINVAL;
	fd_of(d, fd)->position = offset;
	return 0;
}

static int sim_seekdir(struct lower *l, int fd, int64_t offset)
{
	return (int)CALL(l, false, do_seekdir(d, fd, offset));
}

static int do_reopen(struct sim_disk *d, int fd, int flags)
{
	INODE(fd, false, false);
	return open_inode(d, i, flags);
}

static int sim_reopen(struct lower *l, int fd, int flags)
{
	return (int)CALL(l, flags & O_TRUNC, do_reopen(d, fd, flags));
}

static int do_statvfs(struct sim_disk *d, int fd, struct statvfs *ret)
{
	INODE(fd, false, false);
	(void)i;
	uint64_t used = sim_disk_used(d);
	uint64_t all = d->options.space ? d->options.space : 1u << 20;
	uint64_t left = all > used ? all - used : 0;
	*ret = (struct statvfs){.f_bsize = SIM_PAGE,
		.f_frsize = SIM_PAGE,
		.f_blocks = all,
		.f_bfree = left,
		.f_bavail = left,
		.f_files = 1u << 20,
		.f_ffree = (1u << 20) - d->inode_count,
		.f_favail = (1u << 20) - d->inode_count,
		.f_namemax = 255};
	return 0;
}

static int sim_fstatvfs(struct lower *l, int fd, struct statvfs *ret)
{
	return (int)CALL(l, false, do_statvfs(d, fd, ret));
}

static int do_fiemap(struct sim_disk *d, int fd, uint64_t offset, struct lower_extent *ret, int n)
{
	const struct sim_fd *f = fd_of(d, fd);
	if (!f || f->path)
		return -EBADF;
	return sim_pages_fiemap(f->inode, offset, ret, n);
}

static int sim_fiemap(struct lower *l, int fd, uint64_t offset, struct lower_extent *ret, int n)
{
	return (int)CALL(l, false, do_fiemap(d, fd, offset, ret, n));
}

static int64_t do_fs_type(struct sim_disk *d, int fd)
{
	INODE(fd, false, false);
	(void)i;
	return d->options.fs_type ? d->options.fs_type : XFS_MAGIC;
}

static int64_t sim_fs_type(struct lower *l, int fd)
{
	return CALL(l, false, do_fs_type(d, fd));
}

static int do_lock(struct sim_disk *d, int fd)
{
	INODE(fd, false, true);
	if (i->lock_fd && i->lock_fd != fd)
		return -EAGAIN;
	i->lock_fd = fd;
	return 0;
}

static int sim_lock(struct lower *l, int fd)
{
	return (int)CALL(l, false, do_lock(d, fd));
}

const struct lower_ops sim_calls_ops = {
	.openat = sim_openat,
	.close = sim_close,
	.preadv = sim_preadv,
	.pwritev = sim_pwritev,
	.fsync = sim_fsync,
	.syncfs = sim_syncfs,
	.ftruncate = sim_ftruncate,
	.fallocate = sim_fallocate,
	.fstat = sim_fstat,
	.fstatat = sim_fstatat,
	.mkdirat = sim_mkdirat,
	.mknodat = sim_mknodat,
	.symlinkat = sim_symlinkat,
	.readlinkat = sim_readlinkat,
	.linkat = sim_linkat,
	.linkfd = sim_linkfd,
	.unlinkat = sim_unlinkat,
	.renameat = sim_renameat,
	.fchmod = sim_fchmod,
	.fchmodat = sim_fchmodat,
	.fchownat = sim_fchownat,
	.utimensat = sim_utimensat,
	.futimens = sim_futimens,
	.fgetxattr = sim_fgetxattr,
	.flistxattr = sim_flistxattr,
	.fsetxattr = sim_fsetxattr,
	.fremovexattr = sim_fremovexattr,
	.getdents = sim_getdents,
	.seekdir = sim_seekdir,
	.reopen = sim_reopen,
	.fstatvfs = sim_fstatvfs,
	.fiemap = sim_fiemap,
	.fs_type = sim_fs_type,
	.lock = sim_lock,
};
