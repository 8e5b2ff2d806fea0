#include "fs/store/format.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <string.h>

/* Offsets in a slot: the table of docs/format.md, "Regular files". */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_SUITE = 6,
	AT_FLAGS = 7,
	AT_FILE_ID = 8,
	AT_TENANT = 24,
	AT_EPOCH = 40,
	AT_SIZE = 44,
	AT_COMMITS = 52,
	AT_BLOCK_WRITES = 60,
	AT_CREATED = 68,
	AT_MODIFIED = 76,
	AT_HOMES = 84,
	AT_PRESENCE = 164,
	AT_PRESENCE_PAGES = 292,
	AT_SET_HASH = 420,
	AT_MASK_SALT = 436,
	AT_FEK = 452,
	AT_XK = 528,
	AT_NEXT_FEK = 604,
	AT_BOUNDARY = 680,
	AT_RESERVED = 688,
	AT_MAC = 992,
};
#define HOME_LEN (CRYPTO_ID_LEN + 4)

static const uint8_t magic[4] = {'T', 'F', 'S', 'H'};

_Static_assert(AT_HOMES + FORMAT_HOMES * HOME_LEN == AT_PRESENCE, "homes");
_Static_assert(AT_PRESENCE + BLOCK_MAP_HEADER_GROUPS / 8 == AT_PRESENCE_PAGES, "presence");
_Static_assert(AT_BOUNDARY + 8 == AT_RESERVED, "reserved");
_Static_assert(AT_MAC + CRYPTO_MAC_LEN == FORMAT_SLOT_LEN, "MAC");

void format_header_pack(const struct format_header *h, const struct secret *mac_key,
	uint8_t ret[static FORMAT_SLOT_LEN])
{
	memset(ret, 0, FORMAT_SLOT_LEN);
	memcpy(ret + AT_MAGIC, magic, sizeof(magic));
	bytes_put16(ret + AT_VERSION, h->version);
	ret[AT_SUITE] = h->suite;
	ret[AT_FLAGS] = h->flags;
	memcpy(ret + AT_FILE_ID, h->file_id, CRYPTO_ID_LEN);
	memcpy(ret + AT_TENANT, h->tenant_uuid, CRYPTO_ID_LEN);
	bytes_put32(ret + AT_EPOCH, h->epoch);
	bytes_put64(ret + AT_SIZE, h->size);
	bytes_put64(ret + AT_COMMITS, h->commits);
	bytes_put64(ret + AT_BLOCK_WRITES, h->block_writes);
	bytes_put64(ret + AT_CREATED, h->created_ns);
	bytes_put64(ret + AT_MODIFIED, h->modified_ns);
	for (size_t i = 0; i < FORMAT_HOMES; i++) {
		uint8_t *home = ret + AT_HOMES + i * HOME_LEN;
		memcpy(home, h->homes[i].dir_id, CRYPTO_ID_LEN);
		bytes_put32(home + CRYPTO_ID_LEN, h->homes[i].names);
	}
	memcpy(ret + AT_PRESENCE, h->presence, sizeof(h->presence));
	memcpy(ret + AT_PRESENCE_PAGES, h->presence_pages, sizeof(h->presence_pages));
	memcpy(ret + AT_SET_HASH, h->set_hash, FORMAT_HASH_LEN);
	memcpy(ret + AT_MASK_SALT, h->mask_salt, FORMAT_HASH_LEN);
	memcpy(ret + AT_FEK, h->fek, WRAP_LEN);
	memcpy(ret + AT_XK, h->xk, WRAP_LEN);
	memcpy(ret + AT_NEXT_FEK, h->next_fek, WRAP_LEN);
	bytes_put64(ret + AT_BOUNDARY, h->boundary);
	crypto_mac(mac_key, ret, AT_MAC, ret + AT_MAC, CRYPTO_MAC_LEN);
}

int format_header_parse(const uint8_t slot[static FORMAT_SLOT_LEN], struct format_header *ret)
{
	if (bytes_all_zero(slot, FORMAT_SLOT_LEN))
		return -ENODATA;
	if (memcmp(slot + AT_MAGIC, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	uint16_t version = bytes_get16(slot + AT_VERSION);
	if (!version)
		return -EBADMSG;
	if (version > FORMAT_VERSION || slot[AT_FLAGS] & ~FORMAT_MANY_HOMES)
		return -EPROTONOSUPPORT;
	uint64_t size = bytes_get64(slot + AT_SIZE);
	if (size > BLOCK_MAP_SIZE_MAX)
		return -EBADMSG;
	*ret = (struct format_header){.version = version,
		.suite = slot[AT_SUITE],
		.flags = slot[AT_FLAGS],
		.epoch = bytes_get32(slot + AT_EPOCH),
		.size = size,
		.commits = bytes_get64(slot + AT_COMMITS),
		.block_writes = bytes_get64(slot + AT_BLOCK_WRITES),
		.created_ns = bytes_get64(slot + AT_CREATED),
		.modified_ns = bytes_get64(slot + AT_MODIFIED),
		.boundary = bytes_get64(slot + AT_BOUNDARY)};
	memcpy(ret->file_id, slot + AT_FILE_ID, CRYPTO_ID_LEN);
	memcpy(ret->tenant_uuid, slot + AT_TENANT, CRYPTO_ID_LEN);
	for (size_t i = 0; i < FORMAT_HOMES; i++) {
		const uint8_t *home = slot + AT_HOMES + i * HOME_LEN;
		memcpy(ret->homes[i].dir_id, home, CRYPTO_ID_LEN);
		ret->homes[i].names = bytes_get32(home + CRYPTO_ID_LEN);
	}
	memcpy(ret->presence, slot + AT_PRESENCE, sizeof(ret->presence));
	memcpy(ret->presence_pages, slot + AT_PRESENCE_PAGES, sizeof(ret->presence_pages));
	memcpy(ret->set_hash, slot + AT_SET_HASH, FORMAT_HASH_LEN);
	memcpy(ret->mask_salt, slot + AT_MASK_SALT, FORMAT_HASH_LEN);
	memcpy(ret->fek, slot + AT_FEK, WRAP_LEN);
	memcpy(ret->xk, slot + AT_XK, WRAP_LEN);
	memcpy(ret->next_fek, slot + AT_NEXT_FEK, WRAP_LEN);
	return 0;
}

bool format_header_verify(const uint8_t slot[static FORMAT_SLOT_LEN], const struct secret *mac_key)
{
	uint8_t mac[CRYPTO_MAC_LEN];
	crypto_mac(mac_key, slot, AT_MAC, mac, sizeof(mac));
	return crypto_equal(mac, slot + AT_MAC, sizeof(mac));
}

#define AT_TAG 12
#define AT_STATE 28

void format_tag_pack(const struct format_tag *t, uint8_t ret[static FORMAT_TAG_LEN])
{
	memcpy(ret, t->nonce, CRYPTO_NONCE_LEN);
	memcpy(ret + AT_TAG, t->tag, CRYPTO_TAG_LEN);
	ret[AT_STATE] = (uint8_t)t->state;
	memset(ret + AT_STATE + 1, 0, FORMAT_TAG_LEN - AT_STATE - 1);
}

int format_tag_parse(const uint8_t entry[static FORMAT_TAG_LEN], struct format_tag *ret)
{
	uint8_t state = entry[AT_STATE];
	if (state > FORMAT_HOLE ||
		!bytes_all_zero(entry + AT_STATE + 1, FORMAT_TAG_LEN - AT_STATE - 1))
		return -EBADMSG;
	memcpy(ret->nonce, entry, CRYPTO_NONCE_LEN);
	memcpy(ret->tag, entry + AT_TAG, CRYPTO_TAG_LEN);
	ret->state = (enum format_state)state;
	return 0;
}

/* Over file id || page index (u64) || bits. */
static void presence_mac(const uint8_t *page, const struct secret *key, const uint8_t *file_id,
	unsigned index, uint8_t mac[static CRYPTO_MAC_LEN])
{
	uint8_t in[CRYPTO_ID_LEN + 8 + FORMAT_PRESENCE_BYTES];
	memcpy(in, file_id, CRYPTO_ID_LEN);
	bytes_put64(in + CRYPTO_ID_LEN, index);
	memcpy(in + CRYPTO_ID_LEN + 8, page, FORMAT_PRESENCE_BYTES);
	crypto_mac(key, in, sizeof(in), mac, CRYPTO_MAC_LEN);
}

void format_presence_seal(uint8_t page[static BLOCK_MAP_BLOCK], const struct secret *key,
	const uint8_t file_id[static CRYPTO_ID_LEN], unsigned index)
{
	presence_mac(page, key, file_id, index, page + FORMAT_PRESENCE_BYTES);
}

bool format_presence_verify(const uint8_t page[static BLOCK_MAP_BLOCK], const struct secret *key,
	const uint8_t file_id[static CRYPTO_ID_LEN], unsigned index)
{
	uint8_t mac[CRYPTO_MAC_LEN];
	presence_mac(page, key, file_id, index, mac);
	return crypto_equal(mac, page + FORMAT_PRESENCE_BYTES, sizeof(mac));
}

void format_wrap_ad(
	const char *purpose, const struct format_header *h, uint8_t ret[static FORMAT_WRAP_AD_LEN])
{
	memset(ret, 0, 4);
	memcpy(ret, purpose, strnlen(purpose, 4));
	memcpy(ret + 4, h->tenant_uuid, CRYPTO_ID_LEN);
	memcpy(ret + 20, h->file_id, CRYPTO_ID_LEN);
	bytes_put32(ret + 36, h->epoch);
}
