/*
 * audit/reserve: a megabyte of real blocks that is given to the log when the disk is full
 * (docs/audit.md, "Full disk"). Not thread-safe: under the log's lock.
 */
#ifndef GATE_AUDIT_RESERVE_H
#define GATE_AUDIT_RESERVE_H

#include "fs/lower/lower.h"

#define AUDIT_RESERVE_BYTES (1u << 20)

struct audit_reserve {
	struct lower *lower; /* borrowed */
	int fd;              /* owned; -1: there is none */
	bool spent;          /* its blocks are given away */
};

/* Opens or makes dir_fd/reserve. A disk too full for it leaves it spent; that is no failure. -errno
 * otherwise. */
MUST_USE int audit_reserve_open(struct lower *l, int dir_fd, struct audit_reserve *ret);
/* Frees its blocks and claims them at once behind `end` of the segment; only frees them where
 * segment_fd is -1. */
void audit_reserve_spend(struct audit_reserve *r, int segment_fd, uint64_t end);
/* Takes blocks again. True when it is whole. */
bool audit_reserve_refill(struct audit_reserve *r);
void audit_reserve_close(struct audit_reserve *r);

#endif
