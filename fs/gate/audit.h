/*
 * The tamper-evident log of a tenant (docs/audit.md): segments audit/NNNNNNNN.seg, signed, sealed,
 * key-evolving. Writing; reading is in audit_read.h. Thread-safe; records are written in the order
 * of their sequence.
 */
#ifndef GATE_AUDIT_H
#define GATE_AUDIT_H

#include "fs/lower/lower.h"
#include "fs/op.h"
#include "keymgmt/base/err.h"
#include "keymgmt/keyring.h"

struct audit;

enum audit_kind {
	AUDIT_ACCESS, /* a decision on an operation */
	AUDIT_CLOSE,  /* what a handle read and wrote */
	AUDIT_MOUNT,
	AUDIT_UNMOUNT,
	AUDIT_RECOVERY,
	AUDIT_POLICY,
	AUDIT_KEY,
	AUDIT_ALARM,
	AUDIT_ERASE,
	AUDIT_HEARTBEAT
};

/*
 * What a record is of decides how much of the log's reserve must be left behind it when the disk is
 * full: so that nobody who writes or reads can use up what removals need.
 */
enum audit_need {
	AUDIT_ORDINARY,  /* whatever creates or grows: all of it */
	AUDIT_READING,   /* reading, listing, denials: half */
	AUDIT_SHRINKING, /* renaming, emptying, removing a folder: a quarter */
	AUDIT_RESERVE    /* removing a file, closes, alarms, unmount, policy and keys: nothing */
};

/* One event. Strings are borrowed and may be NULL; everything else 0 when unknown
 * but login_uid and session. */
struct audit_event {
	enum audit_kind kind;
	enum op op;
	bool allowed;
	int error; /* -errno of the outcome, 0 fine or not yet known */
	struct op_caller caller;
	uid_t login_uid;  /* (uid_t)-1 unknown */
	uint32_t session; /* (uint32_t)-1 unknown */
	const char *exe;
	const char *path, *path2;
	const uint8_t *file_id; /* 16 bytes or NULL */
	unsigned acts;          /* asked for, enum act */
	const char *rules;      /* comma-separated */
	const char *failed;     /* which of user, path, action, time failed */
	const char *because;
	uint64_t correlation; /* ties open to close; 0 none */
	uint64_t bytes_read, bytes_written;
	uint32_t count;      /* folded repetitions; 0 counts as 1 */
	const char *message; /* free text of the other kinds; no plaintext names */
};

struct audit_options {
	bool durable; /* fdatasync before audit_write returns */
	enum { AUDIT_PATH_CLEAR, AUDIT_PATH_HMAC, AUDIT_PATH_NONE } paths;
	uint64_t segment_bytes; /* a new segment beyond this; 0: 64 MiB */
};

/* The first segment's signing key for a new tenant: audit/ and audit/next, public key into the
 * keyring (not stored here). */
MUST_USE int audit_create(struct lower *l, int tenant_fd, struct keyring *k, struct err *e);
/* Begins a segment (checks its predecessor's end). tenant_fd and k are borrowed while open.
 * -ENOSPC, -EDQUOT: the disk is full and the log left no space for itself when it was closed. */
MUST_USE int audit_open(struct lower *l, int tenant_fd, const struct keyring *k,
	const struct audit_options *o, struct audit **ret, struct err *e);
/*
 * On the log when it returns 0. Otherwise nothing of it is, and the caller must refuse what it was
 * about to allow: -EIO (and from then on always -EIO, after one log_say) when the segment is not
 * the file with its name and link count 1 any more, or cannot be written; -ENOSPC, -EDQUOT the disk
 * is full as far as `need` goes (the log goes on once there is room); -ENOMEM. A heartbeat carries
 * the chain's head and is flushed to the disk with all before it.
 */
MUST_USE int audit_write(struct audit *a, const struct audit_event *event, enum audit_need need);
/* audit_write of a heartbeat, from the reserve if need be. */
MUST_USE int audit_heartbeat(struct audit *a);
/* Of the last record written; 0 before the first. */
uint64_t audit_sequence(const struct audit *a);
bool audit_broken(const struct audit *a);
/* Writes the end record and frees. */
void audit_close(struct audit *a);
/* Wraps audit/next anew under the current MDK where a rotation left it under the retiring one. */
MUST_USE int audit_rewrap(struct lower *l, int tenant_fd, struct keyring *k, struct err *e);

#endif
