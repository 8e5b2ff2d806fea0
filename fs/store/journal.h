/*
 * A tenant's journal: what is committed but not in its place yet, and what has been decided and
 * must be finished whatever happens (docs/format.md, "Journal"). It knows records, not files: who
 * writes them is redo.h, who reads them again is recover.h. Thread-safe.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "fs/lower/lower.h"
#include "fs/store/journal_format.h"
#include "keymgmt/base/err.h"

#define JOURNAL_PENDING_MAX 4096 /* erasures that are not done */
#define JOURNAL_BYTES_MIN (1u << 20)
#define JOURNAL_BYTES_DEFAULT (16u << 20)
#define JOURNAL_BYTES_MAX (1u << 30)

struct journal;

/*
 * tenant_fd/journal with `bytes` bytes (a multiple of 4096): random ones, so that what is used
 * cannot be told from what never was, and an empty journal's superblocks; fsynced. -EEXIST;
 * -ENOSPC and other errnos of the lower calls, then the file may be there in part.
 */
MUST_USE int journal_create(
	struct lower *l, int tenant_fd, const struct keyring *keys, uint64_t bytes);
/*
 * Reads it; changes nothing. l and keys are borrowed. -EBADMSG with a sentence when neither
 * superblock is good, when a record was changed, when one is missing that was durable, or when the
 * file is shorter than it was; -EPROTONOSUPPORT of a newer format; -ENOENT. past_damage: what
 * stands behind a missing record is given up, and 1 is returned.
 */
MUST_USE int journal_open(struct lower *l, int tenant_fd, const struct keyring *keys,
	bool past_damage, struct journal **ret, struct err *e);
/* Brings it under the newest metadata key: for rotation. -EBUSY with a sentence when records wait
 * in it; else as journal_open, and errnos of the lower calls, after which it is as before or done.
 */
MUST_USE int journal_reseal(
	struct lower *l, int tenant_fd, const struct keyring *keys, struct err *e);
/* An empty one in the place of what is there, if anything: for a damaged one. What it held is lost.
 * -EINVAL no regular file; errnos of the lower calls. */
MUST_USE int journal_reset(struct lower *l, int tenant_fd, const struct keyring *keys);
/* Frees. What it holds waits for the next mount; when that is nothing it is said to be clean,
 * unless nothing was ever written to it. */
void journal_close(struct journal *j);

/* What is in the files is not known to be on the disk: the end of this mount is no orderly one. */
void journal_distrust(struct journal *j);

/* What the last mount left: entries in the order in which they were written. Borrowed until
 * journal_forget, or the next checkpoint. */
size_t journal_entries(struct journal *j, const struct journal_entry **ret);
void journal_forget(struct journal *j);
/* Whether the last mount ended without saying so; since when there may be traces of it, in ns since
 * 1970. */
bool journal_was_unclean(struct journal *j, uint64_t *ret_since_ns);
/*
 * Whether the inode numbers of the entries may be those of another filesystem: the journal file is
 * not the one that they were written into, but a copy of it.
 */
bool journal_is_copy(struct journal *j);

/* Sectors that a record with so many bytes of text takes, with what it adds to the room kept for
 * marks. */
uint64_t journal_room(size_t text);
/*
 * Keeps room for records, and for erasures that wait. -ENOSPC: not before a checkpoint; -EIO for
 * ever after a write or a flush failed.
 */
MUST_USE int journal_reserve(struct journal *j, uint64_t sectors, unsigned erasures);
void journal_unreserve(struct journal *j, uint64_t sectors, unsigned erasures);

/* A record to be written. */
struct journal_record {
	const struct buf *text;
	/* Of the room kept, given back whatever becomes of it but -ENOMEM; all 0 for marks, whose
	 * room is always there. */
	uint64_t sectors;
	unsigned erasures;
	const struct journal_erase *erase; /* NULL, or the text's one: it waits from now on */
	uint64_t ino;                      /* whose commit it is; 0: of several, or none */
	uint8_t file_id[CRYPTO_ID_LEN];
};
/*
 * Behind the others, not durable yet. -ENOSPC it is larger than what was kept; -EIO for ever after
 * a write failed; -ENOMEM. ret_token (may be NULL): for journal_done.
 */
MUST_USE int journal_append(struct journal *j, const struct journal_record *r,
	uint64_t *ret_sequence, uint64_t *ret_token);
/* Durable up to that record: one flush for all who wait. -EIO for ever after one failed, or when
 * another host has taken the tenant meanwhile. */
MUST_USE int journal_flush(struct journal *j, uint64_t sequence);

/* Nobody has taken the tenant meanwhile: before anything is written that no journal_flush comes
 * before. -EIO for ever after; errnos of reading, for ever after too. */
MUST_USE int journal_fence(struct journal *j);

/* Of the record that was written last; 0 before the first. */
uint64_t journal_sequence(struct journal *j);
/* Whether the record of this sequence is flushed. */
bool journal_is_durable(struct journal *j, uint64_t sequence);

/* What the entry announced is durably done. */
void journal_done(struct journal *j, uint64_t token);
/* Whether an erasure in this file is not done. */
bool journal_concerns(struct journal *j, const uint8_t file_id[CRYPTO_ID_LEN]);
/* Erasures that are not done: copies of at most `max`, with their tokens. The count of all. */
size_t journal_pending(
	struct journal *j, struct journal_erase *ret, uint64_t *ret_tokens, size_t max);
/* Whether there is a commit of this inode in it; ret_file_id may be NULL. */
bool journal_touches(struct journal *j, uint64_t ino, uint8_t *ret_file_id);
/*
 * A new period: new key, next epoch, and nothing in it but the erasures that are not done. The
 * caller has brought everything else to its place, durably. What was in the journal cannot be read
 * afterwards, by nobody. -EIO for ever after a write or a flush failed; -ENOMEM.
 */
MUST_USE int journal_checkpoint(struct journal *j);

struct journal_status {
	uint64_t bytes, used; /* of the ring */
	uint64_t waiting;     /* of used: what a checkpoint cannot empty, erasures */
	unsigned pending;     /* erasures */
	bool failed;
};
void journal_status(struct journal *j, struct journal_status *ret);

#endif
