/*
 * One sealed block, and the hash over the set of all sealed blocks of a file (docs/format.md,
 * "Blocks and tags", "Set hash"). No I/O, no locks: thread-safe as long as the keys stay.
 */
#ifndef STORE_CONTENT_H
#define STORE_CONTENT_H

#include "fs/store/format.h"

/* What a block is sealed with. Borrowed. */
struct content {
	enum crypto_suite suite;
	const struct secret *fek;
	const uint8_t *file_id; /* CRYPTO_ID_LEN */
};

/*
 * Seals BLOCK_MAP_BLOCK bytes (plain and sealed may be the same) under a fresh nonce; its tag
 * entry. -EIO, -ENOMEM.
 */
MUST_USE int content_seal(const struct content *c, uint64_t block, const void *plain, void *sealed,
	uint8_t ret_entry[static FORMAT_TAG_LEN]);
/* The entry of a block that is not there and reads as zeros. */
MUST_USE int content_seal_hole(
	const struct content *c, uint64_t block, uint8_t ret_entry[static FORMAT_TAG_LEN]);
/*
 * The plaintext of a DATA or HOLE block; sealed is not looked at for a HOLE (may be NULL). plain
 * and sealed may be the same. -EBADMSG: not what this file wrote there (plain is then wiped), no
 * entry included; -EIO, -ENOMEM.
 */
MUST_USE int content_open(const struct content *c, uint64_t block,
	const uint8_t entry[static FORMAT_TAG_LEN], const void *sealed, void *plain);
/* FORMAT_NONE, _DATA or _HOLE as the entry says, not authenticated; -EBADMSG for anything else. */
MUST_USE int content_state(const uint8_t entry[static FORMAT_TAG_LEN]);

/*
 * Adds an entry to the set hash, or takes it away again: the same operation. Entries of state
 * FORMAT_NONE do not count. key: the file's "set hash" subkey.
 */
void content_toggle(const struct secret *key, uint64_t block,
	const uint8_t entry[static FORMAT_TAG_LEN], uint8_t hash[static FORMAT_HASH_LEN]);
/* XORs the mask of this salt over a set hash: masks and unmasks. key: the file's "set mask" subkey.
 */
void content_mask(const struct secret *key, const uint8_t salt[static FORMAT_HASH_LEN],
	uint8_t hash[static FORMAT_HASH_LEN]);

#endif
