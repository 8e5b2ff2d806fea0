/* A record of the audit trail as an event of OCSF 1.8 (docs/audit.md, "Export"). No I/O. */
#ifndef GATE_AUDIT_OCSF_H
#define GATE_AUDIT_OCSF_H

#include "fs/gate/audit_record.h"

struct audit_ocsf_options {
	const char *tenant;         /* its name */
	const uint8_t *tenant_uuid; /* 16 bytes */
	const char *version;        /* of this program */
	/* Users, paths and executables outside /usr, /bin and /sbin as keyed hashes, reasons left
	 * out. NULL: in the clear. */
	const struct secret *pseudonym_key;
	/* A user's name, borrowed until the next call, or NULL. The callback may be NULL. */
	const char *(*user_name)(void *context, uid_t uid);
	void *context;
};

/* Appends one JSON object without a newline: valid JSON whatever bytes a path has. b->failed on
 * ENOMEM. */
void audit_ocsf_format(
	struct buf *b, const struct audit_entry *entry, const struct audit_ocsf_options *o);

#endif
