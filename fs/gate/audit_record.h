/* One audit event as compact JSON and back (docs/audit.md, "Fields"). No I/O. */
#ifndef GATE_AUDIT_RECORD_H
#define GATE_AUDIT_RECORD_H

#include "fs/gate/audit.h"
#include "keymgmt/base/buf.h"

struct json_t;

/* What a record has beside its event. */
struct audit_stamp {
	uint64_t sequence, time_ns;    /* since the epoch, UTC */
	int paths;                     /* AUDIT_PATH_* */
	const struct secret *path_key; /* for AUDIT_PATH_HMAC */
	const uint8_t *head;           /* 32 bytes: the chain before this record, or NULL */
	bool end;                      /* closes the segment; the event is not used */
};

/*
 * Appends the JSON object. Longer strings than PATH_MAX (paths, executables) or 1 KiB (others) are
 * cut, so that it never exceeds AUDIT_JSON_MAX. b->failed on ENOMEM; nothing is allocated where b
 * has room.
 */
void audit_record_format(
	struct buf *b, const struct audit_event *event, const struct audit_stamp *stamp);

/* A record read back. Strings and file_id of the event belong to it. */
struct audit_entry {
	uint64_t sequence, time_ns;
	uint32_t segment;
	uint64_t record; /* in its segment, from 1 */
	bool suspect;    /* behind a place that does not verify */
	bool end;        /* a segment's end record */
	bool hidden;     /* the paths are keyed hashes */
	bool has_head;
	uint8_t head[32];
	struct audit_event event;
	uint8_t file_id[16];
	char *owned[2]; /* paths that are not UTF-8 */
	struct json_t *json;
};

/* -EBADMSG: not a record. -ENOMEM. Unknown members are ignored. */
MUST_USE int audit_record_parse(const char *json, size_t len, struct audit_entry *ret);
void audit_record_done(struct audit_entry *entry);

/* Names of kinds, operations and errnos in the log: "access", "open", "EACCES" ("E123" without a
 * name). */
const char *audit_record_kind(enum audit_kind kind);
const char *audit_record_op(enum op op);
/* enum op of its name, or -ENOENT. */
int audit_record_op_number(const char *name);
void audit_record_errno(int error, char ret[static 24]);

/* Each component of a path replaced by the b64 of its keyed BLAKE2b-128; separators stay. */
void audit_record_hide_path(struct buf *b, const struct secret *key, const char *path);
/* The key of hidden paths: stable until the names' key changes. NULL on ENOMEM. */
struct secret *audit_record_path_key(const struct keyring *k);

#endif
