#include "fs/gate/audit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int audit_file_read(struct lower *l, int dir_fd, const char *name, uint8_t **ret, size_t *ret_len)
{
	struct stat st;
	uint8_t *bytes = NULL;
	int fd = l->ops->openat(l, dir_fd, name, O_RDONLY | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return fd;
	int r = l->ops->fstat(l, fd, &st);
	if (r == 0 && (st.st_size > AUDIT_SEGMENT_MAX || !S_ISREG(st.st_mode)))
		r = -EFBIG;
	if (r == 0 && !(bytes = malloc((size_t)st.st_size + 1)))
		r = -ENOMEM;
	if (r == 0)
		r = lower_read_all(l, fd, bytes, (size_t)st.st_size, 0);
	l->ops->close(l, fd);
	if (r < 0) {
		free(bytes);
		return r;
	}
	*ret = bytes;
	*ret_len = (size_t)st.st_size;
	return 0;
}

int audit_file_sync(struct lower *l, int dir_fd, const char *name)
{
	int fd = l->ops->openat(l, dir_fd, name, O_RDONLY | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return fd;
	int r = l->ops->fsync(l, fd, false);
	l->ops->close(l, fd);
	return r;
}

/* A file that a stop or audit_reserve_leave has left, if nobody else has to do with it. */
static int recycle(struct lower *l, int dir_fd)
{
	struct stat st;
	int r = l->ops->renameat(l, dir_fd, "reserve", dir_fd, "new", 0);
	if (r < 0 && r != -ENOENT)
		return r;
	int fd = l->ops->openat(l, dir_fd, "new", O_RDWR | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return fd;
	r = l->ops->fstat(l, fd, &st);
	if (r == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == geteuid() &&
		(st.st_mode & 07777) == 0600 && st.st_size <= AUDIT_HEADER_LEN)
		return fd;
	l->ops->close(l, fd);
	return r < 0 ? r : -EEXIST;
}

static int make(struct lower *l, int dir_fd)
{
	int r, fd = recycle(l, dir_fd);
	if (fd >= 0)
		return fd;
	r = l->ops->unlinkat(l, dir_fd, "new", 0);
	if (r < 0 && r != -ENOENT)
		return r;
	return l->ops->openat(l, dir_fd, "new", O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
}

int audit_file_make(struct lower *l, int dir_fd, uint64_t least, struct audit_reserve *ret)
{
	static const uint8_t blank[AUDIT_HEADER_LEN];
	struct audit_reserve reserve = {0};
	int fd = make(l, dir_fd);
	if (fd < 0)
		return fd;
	int r = audit_reserve_take(&reserve, l, fd, AUDIT_HEADER_LEN, least);
	if (r == 0)
		r = lower_write_all(l, fd, blank, sizeof(blank), 0);
	if (r == 0)
		r = l->ops->fsync(l, fd, true);
	/* Readers know by this lock that a segment without an end is being written. */
	if (r == 0)
		r = l->ops->lock(l, fd);
	if (r < 0) {
		l->ops->close(l, fd);
		(void)l->ops->unlinkat(l, dir_fd, "new", 0);
		return r;
	}
	*ret = reserve;
	return fd;
}

int audit_file_publish(struct lower *l, int dir_fd, int fd, const char *name,
	const uint8_t header[static AUDIT_HEADER_LEN])
{
	int r = lower_write_all(l, fd, header, AUDIT_HEADER_LEN, 0);
	if (r == 0)
		r = l->ops->fsync(l, fd, false);
	if (r == 0)
		r = l->ops->renameat(l, dir_fd, "new", dir_fd, name, 0);
	if (r == 0)
		r = l->ops->fsync(l, dir_fd, false);
	return r;
}
