/* Whole reads and writes over any struct lower. */
#include "fs/lower/lower.h"

#include <errno.h>

int lower_read_all(struct lower *l, int fd, void *bytes, size_t len, uint64_t offset)
{
	uint8_t *at = bytes;
	while (len > 0) {
		ssize_t n = lower_pread(l, fd, at, len, offset);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		at += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int lower_write_all(struct lower *l, int fd, const void *bytes, size_t len, uint64_t offset)
{
	const uint8_t *at = bytes;
	while (len > 0) {
		ssize_t n = lower_pwrite(l, fd, at, len, offset);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		at += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}
