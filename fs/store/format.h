/*
 * Bytes on the disk and the structures they stand for: header slots, tag entries and presence pages
 * of regular files (docs/format.md, "Regular files", "Blocks and tags", "Presence"). Pure
 * functions; nothing here is cast.
 */
#ifndef STORE_FORMAT_H
#define STORE_FORMAT_H

#include "fs/store/block_map.h"
#include "keymgmt/crypto.h"
#include "keymgmt/wrap.h"

#define FORMAT_VERSION 1
#define FORMAT_SLOT_LEN 1024u /* slot A at 0, slot B at 1024 of page 0, tags of group 0 at 2048 */
#define FORMAT_TAG_LEN 32u
#define FORMAT_HOMES 4u
#define FORMAT_HASH_LEN 16u

#define FORMAT_MANY_HOMES 1u /* flag: more homes than fit, not checked */

struct format_home {
	uint8_t dir_id[CRYPTO_ID_LEN];
	uint32_t names; /* 0: the place is free */
};

/* A header slot but for its MAC. */
struct format_header {
	uint16_t version;
	uint8_t suite;
	uint8_t flags;
	uint8_t file_id[CRYPTO_ID_LEN];
	uint8_t tenant_uuid[CRYPTO_ID_LEN];
	uint32_t epoch;        /* of the key-encryption key */
	uint64_t size;         /* plaintext bytes */
	uint64_t commits;      /* commit version: the valid slot with the higher one wins */
	uint64_t block_writes; /* entries sealed under this FEK */
	uint64_t created_ns, modified_ns; /* since 1970 */
	struct format_home homes[FORMAT_HOMES];
	uint8_t presence[BLOCK_MAP_HEADER_GROUPS / 8];        /* groups 0..1023 */
	uint8_t presence_pages[BLOCK_MAP_PRESENCE_PAGES / 8]; /* which exist */
	uint8_t set_hash[FORMAT_HASH_LEN];                    /* masked */
	uint8_t mask_salt[FORMAT_HASH_LEN];
	uint8_t fek[WRAP_LEN], xk[WRAP_LEN];
	uint8_t next_fek[WRAP_LEN]; /* zeros: no re-encryption in progress */
	uint64_t boundary;          /* blocks below it are sealed under the next FEK */
};

/* Whole slot with its MAC. */
void format_header_pack(const struct format_header *h, const struct secret *mac_key,
	uint8_t ret[static FORMAT_SLOT_LEN]);
/*
 * Fields of a slot, not authenticated yet. -ENODATA a blank slot (zeros); -EBADMSG not a slot;
 * -EPROTONOSUPPORT a newer version, or flags that this one does not know. ret is untouched unless
 * 0.
 */
MUST_USE int format_header_parse(
	const uint8_t slot[static FORMAT_SLOT_LEN], struct format_header *ret);
/* Whether the MAC at the end of the slot is right. */
bool format_header_verify(const uint8_t slot[static FORMAT_SLOT_LEN], const struct secret *mac_key);

/* A tag entry. */
enum format_state { FORMAT_NONE = 0, FORMAT_DATA = 1, FORMAT_HOLE = 2 };
struct format_tag {
	uint8_t nonce[CRYPTO_NONCE_LEN];
	uint8_t tag[CRYPTO_TAG_LEN];
	enum format_state state;
};
void format_tag_pack(const struct format_tag *t, uint8_t ret[static FORMAT_TAG_LEN]);
/* -EBADMSG: unknown state, or reserved bytes that are not zero. */
MUST_USE int format_tag_parse(const uint8_t entry[static FORMAT_TAG_LEN], struct format_tag *ret);

/* A presence page: 4064 bytes of bits (bit i is byte i / 8, value 1 << i % 8), then the MAC. */
#define FORMAT_PRESENCE_BYTES (BLOCK_MAP_PAGE_GROUPS / 8)
void format_presence_seal(uint8_t page[static BLOCK_MAP_BLOCK], const struct secret *key,
	const uint8_t file_id[static CRYPTO_ID_LEN], unsigned index);
bool format_presence_verify(const uint8_t page[static BLOCK_MAP_BLOCK], const struct secret *key,
	const uint8_t file_id[static CRYPTO_ID_LEN], unsigned index);

/* Associated data of a header's wraps: purpose "fek" or "xk", zero-padded to 4, tenant, file,
 * epoch. */
#define FORMAT_WRAP_AD_LEN 40u
void format_wrap_ad(
	const char *purpose, const struct format_header *h, uint8_t ret[static FORMAT_WRAP_AD_LEN]);

#endif
