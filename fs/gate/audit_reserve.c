#include "fs/gate/audit_reserve.h"

#include "fs/gate/audit_segment.h"

#include <errno.h>
#include <fcntl.h>

/* Taken beyond the reserve at a time: one call for thousands of records. */
#define AHEAD (1u << 20)
#define BLOCK 4096u
/* Less is not worth a file. */
#define LEAST (4 * BLOCK)

uint64_t audit_reserve_floor(enum audit_need need, bool end)
{
	static const uint64_t floors[] = {
		[AUDIT_ORDINARY] = AUDIT_RESERVE_BYTES,
		[AUDIT_READING] = AUDIT_RESERVE_BYTES / 2,
		[AUDIT_SHRINKING] = AUDIT_RESERVE_BYTES / 4,
		[AUDIT_RESERVE] = BLOCK, /* for the end record */
	};
	return end ? 0 : floors[need];
}

static bool is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

static int extend(struct audit_reserve *r, struct lower *l, int fd, uint64_t len)
{
	int result = l->ops->fallocate(l, fd, FALLOC_FL_KEEP_SIZE, r->upto, len);
	if (result == 0)
		r->upto += len;
	return result;
}

/* Up to `whole`, in steps that get smaller as the disk has less. */
static int extend_to(struct audit_reserve *r, struct lower *l, int fd, uint64_t whole)
{
	int result = 0;
	uint64_t step = whole - r->upto;
	while (r->upto < whole) {
		if (step > whole - r->upto)
			step = whole - r->upto;
		result = extend(r, l, fd, step);
		if (result < 0 && (!is_full(result) || step <= BLOCK))
			return result;
		if (result < 0)
			step = step / 4 < BLOCK ? BLOCK : step / 4 / BLOCK * BLOCK;
	}
	return 0;
}

int audit_reserve_take(
	struct audit_reserve *r, struct lower *l, int fd, uint64_t end, uint64_t floor)
{
	uint64_t whole = (end + AUDIT_RESERVE_BYTES + BLOCK - 1) / BLOCK * BLOCK;
	if (r->none || r->upto >= end + AUDIT_RESERVE_BYTES)
		return 0;
	int result = extend(r, l, fd, whole + AHEAD - r->upto);
	if (is_full(result))
		result = extend_to(r, l, fd, whole);
	if (result == -EOPNOTSUPP || result == -ENOSYS) {
		r->none = true;
		return 0;
	}
	return is_full(result) && r->upto >= end + floor ? 0 : result;
}

int audit_reserve_cut(struct audit_reserve *r, struct lower *l, int fd, uint64_t end)
{
	int result = l->ops->ftruncate(l, fd, end);
	if (result == 0 && r->upto > end)
		r->upto = end / BLOCK * BLOCK;
	return result;
}

void audit_reserve_leave(struct lower *l, int dir_fd)
{
	struct audit_reserve r = {0};
	int fd = l->ops->openat(l, dir_fd, "reserve", O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	if (fd < 0)
		return;
	int result = extend_to(&r, l, fd, AUDIT_HEADER_LEN + AUDIT_RESERVE_BYTES);
	if (is_full(result) && r.upto >= LEAST)
		result = 0;
	if (result == 0)
		result = l->ops->fsync(l, fd, false);
	l->ops->close(l, fd);
	if (result < 0)
		(void)l->ops->unlinkat(l, dir_fd, "reserve", 0);
}

void audit_reserve_reclaim(struct lower *l, int dir_fd, const char *name)
{
	struct stat st;
	int fd = l->ops->openat(l, dir_fd, name, O_RDWR | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return;
	if (l->ops->fstat(l, fd, &st) == 0 && S_ISREG(st.st_mode) &&
		(uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size + 2 * BLOCK &&
		l->ops->lock(l, fd) == 0)
		(void)l->ops->ftruncate(l, fd, (uint64_t)st.st_size);
	l->ops->close(l, fd);
}
