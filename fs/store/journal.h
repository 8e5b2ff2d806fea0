/*
 * A tenant's journal: what has been decided and must be finished whatever happens. Each entry is
 * durable before what it announces begins, and stays until it is done (docs/format.md, "Journal").
 * Thread-safe.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "fs/lower/lower.h"
#include "fs/store/journal_format.h"
#include "keymgmt/base/err.h"

#define JOURNAL_PENDING_MAX 4096 /* entries that are not done */
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
 * superblock is good, when a record was changed, or when the file is shorter than it was;
 * -EPROTONOSUPPORT of a newer format; -ENOENT.
 */
MUST_USE int journal_open(struct lower *l, int tenant_fd, const struct keyring *keys,
	struct journal **ret, struct err *e);
/* Brings it under the newest metadata key, entries and all: for rotation. As journal_open, and
 * errnos of the lower calls, after which it is as before or done. */
MUST_USE int journal_reseal(
	struct lower *l, int tenant_fd, const struct keyring *keys, struct err *e);
/* An empty one in the place of what is there, if anything: for a damaged one. What it held is lost.
 * -EINVAL no regular file; errnos of the lower calls. */
MUST_USE int journal_reset(struct lower *l, int tenant_fd, const struct keyring *keys);
/* Empties it (journal_checkpoint) unless it was never written to or has failed; frees. */
void journal_close(struct journal *j);

/*
 * Durable when it returns; *ret_token is for journal_done. -ENOSPC: JOURNAL_PENDING_MAX entries
 * wait, which is only so when as many could not be finished; -EIO for ever after a write or a flush
 * failed; -ENOMEM. After an error the entry may be found by the next mount.
 */
MUST_USE int journal_erase_begin(
	struct journal *j, const struct journal_erase *e, uint64_t *ret_token);
/* What the entry announced is durably done. */
void journal_done(struct journal *j, uint64_t token);
/* Whether an entry about this file is not done. */
bool journal_concerns(struct journal *j, const uint8_t file_id[CRYPTO_ID_LEN]);
/* Entries that are not done: copies of at most `max`, with their tokens. The count of all. */
size_t journal_pending(
	struct journal *j, struct journal_erase *ret, uint64_t *ret_tokens, size_t max);
/*
 * Whether the inode numbers of the entries may be those of another filesystem: the journal file is
 * not the one that they were written into, but a copy of it.
 */
bool journal_is_copy(struct journal *j);
/*
 * A new period: new key, next epoch, and nothing in it but the entries that are not done. What was
 * in the journal cannot be read afterwards, by nobody. -EIO for ever after a write or a flush
 * failed; -ENOMEM.
 */
MUST_USE int journal_checkpoint(struct journal *j);

struct journal_status {
	uint64_t bytes, used; /* of the ring */
	unsigned pending;
};
void journal_status(struct journal *j, struct journal_status *ret);

#endif
