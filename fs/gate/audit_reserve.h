/*
 * Space for the log on a full disk (docs/audit.md, "Full disk"): blocks that fallocate takes behind
 * the end of the open segment, and, while the log is closed, those of the file audit/reserve, which
 * the next segment is written in. Not thread-safe: under the log's lock.
 */
#ifndef GATE_AUDIT_RESERVE_H
#define GATE_AUDIT_RESERVE_H

#include "fs/gate/audit.h"
#include "fs/lower/lower.h"

#define AUDIT_RESERVE_BYTES (1u << 20)

/* Of one segment. Zeros: nothing taken yet. */
struct audit_reserve {
	uint64_t upto; /* bytes of the file that have blocks, multiple of 4096 */
	bool none;     /* the filesystem has no fallocate */
};

/* Bytes that must be left behind a record for `need`; end: the segment's own last record. */
uint64_t audit_reserve_floor(enum audit_need need, bool end);
/*
 * Makes the reserve behind offset `end` of the segment fd whole, or as large as the disk allows. 0
 * when `floor` bytes are there (always without fallocate); -ENOSPC or -EDQUOT when fewer are;
 * another -errno of fallocate.
 */
MUST_USE int audit_reserve_take(
	struct audit_reserve *r, struct lower *l, int fd, uint64_t end, uint64_t floor);
/* Gives back what is behind `end`: the file's length. */
MUST_USE int audit_reserve_cut(struct audit_reserve *r, struct lower *l, int fd, uint64_t end);
/* Leaves dir_fd/reserve for the next start, as large as the disk allows; none is no failure. */
void audit_reserve_leave(struct lower *l, int dir_fd);
/* Gives back what a stop has left behind the end of the segment `name`, where nobody writes it. */
void audit_reserve_reclaim(struct lower *l, int dir_fd, const char *name);

#endif
