/*
 * Reading and verifying the audit trail (docs/audit.md, "Verifying"). Changes nothing, needs no
 * lock, and works while the log is being written.
 */
#ifndef GATE_AUDIT_READ_H
#define GATE_AUDIT_READ_H

#include "fs/gate/audit_record.h"

/* In the order of the exit statuses of `audit verify`. */
enum audit_state {
	AUDIT_INTACT,
	AUDIT_BROKEN, /* something was changed, removed or added */
	AUDIT_UNCLEAN /* some segment has no end record: the writer was stopped. What was cut off
			 there cannot be known */
};

struct audit_reader {
	struct lower *lower;
	int tenant_fd;
	const struct keyring *keyring; /* open: the first public key, audit/next, auditors' secrets
					  of all epochs */
	const struct secret
		*auditor; /* X25519, of an auditor who holds his own; NULL: the keyring's only */
	uint8_t auditor_public[KEY_LEN]; /* with auditor */
};

struct audit_verdict {
	enum audit_state state;
	bool live;                            /* the newest segment is being written */
	uint32_t segments;                    /* found */
	uint64_t records;                     /* that verified, with heartbeats and ends */
	uint64_t last_sequence, last_time_ns; /* of the last of them */
	uint32_t segment;                     /* broken: the first bad place */
	uint64_t record;       /* 0: the segment's header, or the segment as a whole */
	char text[160];        /* broken: what is wrong with it */
	uint32_t unclean_ends; /* segments that have no end record, and of the newest of them: */
	uint32_t unclean_segment;
	uint64_t unclean_time_ns; /* its last record's time, 0 when it has none */
	uint32_t unreadable; /* segments sealed to keys that the reader does not have: only chained,
				not opened */
};

/* Every record in order, heartbeats and end records too. Not 0 stops the reading; audit_read then
 * returns it. */
typedef int audit_read_each(void *context, const struct audit_entry *entry);

/*
 * Reads all segments in order; a damaged record is left out and what follows it is `suspect`. each
 * may be NULL. 0 with a verdict whatever the log is like; -ENOKEY no auditor's key, neither given
 * nor in the keyring; -ENOENT no folder audit; -ENOMEM; -errno of the calls.
 */
MUST_USE int audit_read(const struct audit_reader *reader, audit_read_each *each, void *context,
	struct audit_verdict *ret, struct err *e);

#endif
