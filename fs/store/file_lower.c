#include "fs/store/file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/*
 * Modes are the lower inode's own. Root passes them by; an ordinary user's mount lifts what stops
 * it from reaching his own file for the moment of the open (docs/format.md, "Regular files").
 */
static int open_lifted(struct lower *l, const struct dir *d, const char *lower, int flags)
{
	struct stat st;
	int rc = l->ops->fstatat(l, d->fd, lower, &st);
	if (rc < 0)
		return rc;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return -EACCES;
	rc = l->ops->fchmodat(l, d->fd, lower, (st.st_mode & 07777) | 0600);
	if (rc < 0)
		return rc;
	int fd = l->ops->openat(l, d->fd, lower, flags, 0, NULL);
	rc = l->ops->fchmodat(l, d->fd, lower, st.st_mode & 07777);
	if (rc < 0 && fd >= 0) {
		(void)l->ops->close(l, fd);
		return rc;
	}
	return fd;
}

int file_lower_open(struct file *f, const struct dir *d, const char *lower)
{
	struct lower *l = f->store->lower;
	/* O_NONBLOCK: what turns out to be a FIFO must not hold us up. */
	const int flags = O_NONBLOCK | O_NOCTTY;
	int fd = l->ops->openat(l, d->fd, lower, O_RDWR | flags, 0, NULL);
	bool writable = fd >= 0;
	if (fd == -EACCES || fd == -EPERM || fd == -EROFS || fd == -ETXTBSY)
		fd = l->ops->openat(l, d->fd, lower, O_RDONLY | flags, 0, NULL);
	if (fd == -EACCES) {
		fd = open_lifted(l, d, lower, O_RDWR | flags);
		writable = fd >= 0;
	}
	if (fd < 0)
		return fd;
	f->fd = fd;
	f->write_fd = writable ? fd : -1;
	struct stat st;
	int rc = l->ops->fstat(l, fd, &st);
	if (rc < 0)
		return rc;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	f->ino = st.st_ino;
	f->lower_len = (uint64_t)st.st_size;
	return 0;
}

int file_lower_writable(struct file *f)
{
	struct lower *l = f->store->lower;
	if (f->fsync_failed || store_is_read_only(f->store))
		return -EIO;
	if (f->write_fd >= 0)
		return 0;
	int fd = l->ops->reopen(l, f->fd, O_RDWR);
	struct stat st;
	if (fd == -EACCES && l->ops->fstat(l, f->fd, &st) >= 0 && st.st_uid == geteuid()) {
		int rc = l->ops->fchmod(l, f->fd, (st.st_mode & 07777) | 0600);
		if (rc < 0)
			return rc;
		fd = l->ops->reopen(l, f->fd, O_RDWR);
		rc = l->ops->fchmod(l, f->fd, st.st_mode & 07777);
		if (rc < 0 && fd >= 0) {
			(void)l->ops->close(l, fd);
			return rc;
		}
	}
	if (fd < 0)
		return fd;
	f->write_fd = fd;
	return 0;
}

ssize_t file_lower_read(struct file *f, struct iovec *iov, int n, uint64_t offset)
{
	struct lower *l = f->store->lower;
	struct iovec whole[4];
	const int parts = n;
	size_t done = 0;
	if (f->staged_count)
		memcpy(whole, iov, (size_t)n * sizeof(*iov));
	while (n) {
		ssize_t got = l->ops->preadv(l, f->fd, iov, n, offset + done);
		if (got < 0)
			return got;
		if (!got)
			break;
		done += (size_t)got;
		while (n && (size_t)got >= iov->iov_len) {
			got -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (uint8_t *)iov->iov_base + got;
			iov->iov_len -= (size_t)got;
		}
	}
	if (f->staged_count)
		done = file_stage_see(f, whole, parts, offset, done);
	return (ssize_t)done;
}

size_t file_lower_write(
	struct file *f, const void *bytes, size_t len, uint64_t offset, int *ret_error)
{
	struct lower *l = f->store->lower;
	size_t done = 0;
	while (done < len) {
		ssize_t n = lower_pwrite(
			l, f->write_fd, (const uint8_t *)bytes + done, len - done, offset + done);
		if (n <= 0) {
			*ret_error = n ? (int)n : -EIO;
			break;
		}
		done += (size_t)n;
	}
	if (done && offset + done > f->lower_len)
		f->lower_len = offset + done;
	return done;
}

int file_lower_write_all(struct file *f, const void *bytes, size_t len, uint64_t offset)
{
	int error = 0;
	(void)file_lower_write(f, bytes, len, offset, &error);
	return error;
}

int file_lower_resize(struct file *f, uint64_t len)
{
	struct lower *l = f->store->lower;
	int rc = l->ops->ftruncate(l, f->write_fd, len);
	if (rc < 0)
		return rc;
	f->lower_len = len;
	file_ride_end(f);
	/* The length tells the size to whoever does not open the file. */
	f->unsynced = true;
	return 0;
}

int file_lower_sync(struct file *f, bool data_only)
{
	struct lower *l = f->store->lower;
	int rc = l->ops->fsync(l, f->write_fd >= 0 ? f->write_fd : f->fd, data_only);
	/* The kernel forgets what it could not write: trying again would succeed and prove nothing.
	 */
	if (rc == -EIO || rc == -ENOSPC || rc == -EDQUOT)
		f->fsync_failed = true;
	(void)store_flushed(f->store, "the flush of a file's content", rc);
	if (rc >= 0)
		f->unsynced = false;
	if (rc >= 0 && !data_only)
		f->inode_unsynced = false;
	return rc < 0 ? rc : 0;
}

int file_put_page(struct file *f, const uint8_t page[static BLOCK_MAP_BLOCK], uint64_t offset,
	const struct file_units *changed)
{
	return f->store->redo ? file_stage_put(f, offset, page, changed)
			      : file_lower_write_all(f, page, BLOCK_MAP_BLOCK, offset);
}

/* Whole pages. */
static int add_fresh(struct file *f, uint64_t page, uint64_t count)
{
	for (size_t i = f->fresh_count; i-- > 0 && i + 4 > f->fresh_count;) {
		struct journal_fresh *run = &f->fresh[i];
		if (page >= run->page && page + count <= run->page + run->count)
			return 0;
		if (page == run->page + run->count) {
			run->count += count;
			return 0;
		}
	}
	if (f->fresh_count == f->fresh_room) {
		size_t room = f->fresh_room ? 2 * f->fresh_room : 8;
		struct journal_fresh *more = reallocarray(f->fresh, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		f->fresh = more;
		f->fresh_room = room;
	}
	f->fresh[f->fresh_count++] = (struct journal_fresh){page, count};
	f->promised += JOURNAL_FORMAT_FRESH_LEN;
	return 0;
}

size_t file_put_fresh(
	struct file *f, const void *bytes, size_t len, uint64_t offset, int *ret_error)
{
	/* Before it is written: a commit that did not name it would be found torn later. */
	int rc = f->store->redo ? add_fresh(f, offset / BLOCK_MAP_BLOCK, len / BLOCK_MAP_BLOCK) : 0;
	if (rc) {
		*ret_error = rc;
		return 0;
	}
	file_stage_drop(f, offset, offset + len);
	f->unsynced = true;
	return file_lower_write(f, bytes, len, offset, ret_error);
}
