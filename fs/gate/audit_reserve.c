#include "fs/gate/audit_reserve.h"

#include <errno.h>
#include <fcntl.h>

/* For filesystems without fallocate: blocks are what has been written. */
static int write_zeros(struct audit_reserve *r)
{
	static const uint8_t zeros[4096];
	for (uint64_t at = 0; at < AUDIT_RESERVE_BYTES; at += sizeof(zeros)) {
		int result = lower_write_all(r->lower, r->fd, zeros, sizeof(zeros), at);
		if (result < 0)
			return result;
	}
	return r->lower->ops->fsync(r->lower, r->fd, true);
}

bool audit_reserve_refill(struct audit_reserve *r)
{
	if (!r->spent)
		return true;
	int result = r->lower->ops->fallocate(r->lower, r->fd, 0, 0, AUDIT_RESERVE_BYTES);
	if (result == -EOPNOTSUPP)
		result = write_zeros(r);
	/* A part of it would be blocks that neither the log nor the applications can use. */
	if (result < 0 && r->lower->ops->ftruncate(r->lower, r->fd, 0) < 0)
		return false;
	r->spent = result < 0;
	return !r->spent;
}

int audit_reserve_open(struct lower *l, int dir_fd, struct audit_reserve *ret)
{
	int fd = l->ops->openat(l, dir_fd, "reserve", O_RDWR | O_CREAT, 0600, NULL);
	if (fd == -ENOSPC || fd == -EDQUOT) {
		*ret = (struct audit_reserve){.lower = l, .fd = -1, .spent = true};
		return 0;
	}
	if (fd < 0)
		return fd;
	*ret = (struct audit_reserve){.lower = l, .fd = fd, .spent = true};
	audit_reserve_refill(ret);
	return 0;
}

void audit_reserve_spend(struct audit_reserve *r, int segment_fd, uint64_t end)
{
	if (r->spent || r->lower->ops->ftruncate(r->lower, r->fd, 0) < 0)
		return;
	r->spent = true;
	/* Without this an application could take the blocks first. Where it cannot be done the
	 * write must race for them. */
	if (segment_fd >= 0)
		(void)r->lower->ops->fallocate(
			r->lower, segment_fd, FALLOC_FL_KEEP_SIZE, end, AUDIT_RESERVE_BYTES);
}

void audit_reserve_close(struct audit_reserve *r)
{
	if (r->fd >= 0)
		r->lower->ops->close(r->lower, r->fd);
	r->fd = -1;
}
