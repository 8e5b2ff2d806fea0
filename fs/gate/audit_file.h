/* Segments of the audit trail as files of the folder audit (docs/audit.md, "Segment"). */
#ifndef GATE_AUDIT_FILE_H
#define GATE_AUDIT_FILE_H

#include "fs/gate/audit_reserve.h"
#include "fs/gate/audit_segment.h"
#include "fs/lower/lower.h"

/*
 * A whole segment. *ret: malloc'd, with a spare byte behind len. -ENOENT; -EFBIG beyond
 * AUDIT_SEGMENT_MAX or not a regular file; -ENOMEM; -errno of the calls.
 */
MUST_USE int audit_file_read(
	struct lower *l, int dir_fd, const char *name, uint8_t **ret, size_t *ret_len);
/* Makes durable what a reader finds in a segment now. -ENOENT; -errno of the calls. */
MUST_USE int audit_file_sync(struct lower *l, int dir_fd, const char *name);
/*
 * Makes the file "new", from "reserve" or what a stop left where there is one, with room for a
 * header and `least` bytes behind it, and locks it: readers know by the lock that a segment without
 * an end is being written. Its descriptor, *ret what is reserved; or -errno, and there is no "new".
 */
MUST_USE int audit_file_make(
	struct lower *l, int dir_fd, uint64_t least, struct audit_reserve *ret);
/* The header into fd, the file "new" to its name; durable when it returns 0. */
MUST_USE int audit_file_publish(struct lower *l, int dir_fd, int fd, const char *name,
	const uint8_t header[static AUDIT_HEADER_LEN]);

#endif
