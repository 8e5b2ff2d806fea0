/* Whole reads and writes on file descriptors, and small files that are replaced atomically. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include "keymgmt/base/buf.h"
#include "keymgmt/base/cleanup.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads until len bytes or the end; EINTR is retried. Bytes read, or -errno of read(2). */
MUST_USE ssize_t io_read_full(int fd, void *bytes, size_t len);

/* Writes all len bytes; EINTR and short writes are continued. 0, or -errno of write(2). */
MUST_USE int io_write_full(int fd, const void *bytes, size_t len);

/*
 * Appends the whole regular file dirfd/name (a link is not followed) to b. At most max bytes.
 * 0; -EFBIG beyond max; -EINVAL when it is not a regular file; -ENOMEM; -errno of openat, read.
 */
MUST_USE int io_read_file(int dirfd, const char *name, size_t max, struct buf *b);

/*
 * Writes dirfd/name with mode, durably and atomically: NAME.tmp, fsync, rename, fsync(dirfd).
 * With `create_only` an existing name is -EEXIST. After a failure the old file is as it was.
 * The old bytes are freed, not overwritten: for files that hold no keys.
 */
MUST_USE int io_write_file(
	int dirfd, const char *name, mode_t mode, const void *bytes, size_t len, bool create_only);

/* Overwrites all bytes of the open regular file with random ones and fsyncs it. 0 or -errno. */
MUST_USE int io_shred(int fd);

#endif
