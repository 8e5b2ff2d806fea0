/*
 * audit/next: the secret key that will sign the next segment, wrapped under the metadata key, in
 * two alternating slots (docs/audit.md, "audit/next"). A used key is overwritten in place. One user
 * at a time.
 */
#ifndef GATE_AUDIT_NEXT_H
#define GATE_AUDIT_NEXT_H

#include "fs/gate/audit_segment.h"
#include "fs/lower/lower.h"
#include "keymgmt/base/err.h"
#include "keymgmt/keyring.h"

struct audit_next {
	uint32_t number;        /* of the segment that this key will sign */
	struct secret *signing; /* owned */
	bool ended;             /* segment number - 1 was closed, and then was this: */
	uint64_t pred_len;
	uint8_t pred_head[AUDIT_HEAD_LEN];
	unsigned slot; /* 0 or 1: where it lies */
	uint64_t version;
	int stale;     /* the other slot, when it holds a key that must go; else -1 */
	bool retiring; /* this slot or a stale one is wrapped under the retiring metadata key */
};

void audit_next_done(struct audit_next *n); /* wipes */
static inline void audit_next_auto(struct audit_next *n)
{
	audit_next_done(n);
}

/* Makes audit/next with this as its only key (slot 0, version 1), durable but for the directory.
 * -EEXIST. */
MUST_USE int audit_next_create(
	struct lower *l, int dir_fd, const struct keyring *k, struct audit_next *n);
/*
 * The key in force. Where a stop left two, the segment that the older would sign decides: if it
 * exists the older is stale, else the newer. Changes nothing. -ENOENT; -EBADMSG neither slot opens;
 * -ENOMEM; -errno of the calls.
 */
MUST_USE int audit_next_load(struct lower *l, int dir_fd, const struct keyring *k,
	struct audit_next *ret, struct err *e);
/* Into the slot that is not n->slot, as version + 1; durable; n then names that slot. The old slot
 * is as it was. */
MUST_USE int audit_next_store(
	struct lower *l, int dir_fd, const struct keyring *k, struct audit_next *n);
/* Overwrites a slot with random bytes; durable. */
MUST_USE int audit_next_shred(struct lower *l, int dir_fd, unsigned slot);

#endif
