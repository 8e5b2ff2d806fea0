#include "keymgmt/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

ssize_t io_read_full(int fd, void *bytes, size_t len)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = read(fd, (uint8_t *)bytes + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_write_full(int fd, const void *bytes, size_t len)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = write(fd, (const uint8_t *)bytes + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

int io_read_file(int dirfd, const char *name, size_t max, struct buf *b)
{
	struct stat st;
	AUTO_CLOSE fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	if (!buf_reserve(b, (size_t)st.st_size))
		return -ENOMEM;
	ssize_t n = io_read_full(fd, b->data + b->len, (size_t)st.st_size);
	if (n < 0)
		return (int)n;
	b->len += (size_t)n;
	b->data[b->len] = 0;
	return 0;
}

static int write_and_sync(int dirfd, const char *name, mode_t mode, const void *bytes, size_t len)
{
	AUTO_CLOSE fd =
		openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int r = io_write_full(fd, bytes, len);
	if (r < 0)
		return r;
	if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int io_write_file(
	int dirfd, const char *name, mode_t mode, const void *bytes, size_t len, bool create_only)
{
	char tmp[NAME_MAX + 1];
	if (snprintf(tmp, sizeof(tmp), "%s.tmp", name) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	int r = write_and_sync(dirfd, tmp, mode, bytes, len);
	if (r == 0 && renameat2(dirfd, tmp, dirfd, name, create_only ? RENAME_NOREPLACE : 0) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, tmp, 0);
		return r;
	}
	return fsync(dirfd) < 0 ? -errno : 0;
}

int io_shred(int fd)
{
	uint8_t noise[4096];
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	for (off_t at = 0; at < st.st_size; at += (off_t)sizeof(noise)) {
		size_t n = sizeof(noise);
		if ((off_t)n > st.st_size - at)
			n = (size_t)(st.st_size - at);
		if (getrandom(noise, sizeof(noise), 0) != (ssize_t)sizeof(noise))
			return -EIO;
		if (pwrite(fd, noise, n, at) != (ssize_t)n)
			return errno ? -errno : -EIO;
	}
	return fsync(fd) < 0 ? -errno : 0;
}
