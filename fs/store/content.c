#include "fs/store/content.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <string.h>

#define AD_LEN (CRYPTO_ID_LEN + 8 + 1)

/* Everything but the key and the nonce that a block is bound to. */
struct binding {
	uint8_t ad[AD_LEN];
	uint8_t suffix[12];
};

static void bind_block(
	const struct content *c, uint64_t block, enum format_state state, struct binding *ret)
{
	memcpy(ret->ad, c->file_id, CRYPTO_ID_LEN);
	bytes_put64(ret->ad + CRYPTO_ID_LEN, block);
	ret->ad[CRYPTO_ID_LEN + 8] = (uint8_t)state;
	memset(ret->suffix, 0, sizeof(ret->suffix));
	bytes_put64(ret->suffix, block);
}

static int seal(const struct content *c, uint64_t block, enum format_state state, const void *plain,
	size_t len, void *sealed, uint8_t *ret_entry)
{
	struct binding b;
	struct format_tag t = {.state = state};
	bind_block(c, block, state, &b);
	crypto_nonce(t.nonce, sizeof(t.nonce));
	int rc = crypto_seal(
		c->suite, c->fek, t.nonce, b.suffix, b.ad, sizeof(b.ad), plain, len, sealed, t.tag);
	if (!rc)
		format_tag_pack(&t, ret_entry);
	return rc;
}

int content_seal(const struct content *c, uint64_t block, const void *plain, void *sealed,
	uint8_t ret_entry[static FORMAT_TAG_LEN])
{
	return seal(c, block, FORMAT_DATA, plain, BLOCK_MAP_BLOCK, sealed, ret_entry);
}

int content_seal_hole(
	const struct content *c, uint64_t block, uint8_t ret_entry[static FORMAT_TAG_LEN])
{
	uint8_t none[1] = {0};
	return seal(c, block, FORMAT_HOLE, none, 0, none, ret_entry);
}

int content_open(const struct content *c, uint64_t block,
	const uint8_t entry[static FORMAT_TAG_LEN], const void *sealed, void *plain)
{
	struct binding b;
	struct format_tag t;
	uint8_t none[1] = {0};
	int rc = format_tag_parse(entry, &t);
	if (!rc && t.state == FORMAT_NONE)
		rc = -EBADMSG;
	if (!rc) {
		bind_block(c, block, t.state, &b);
		if (t.state == FORMAT_DATA)
			rc = crypto_open(c->suite, c->fek, t.nonce, b.suffix, b.ad, sizeof(b.ad),
				sealed, BLOCK_MAP_BLOCK, plain, t.tag);
		else
			rc = crypto_open(c->suite, c->fek, t.nonce, b.suffix, b.ad, sizeof(b.ad),
				none, 0, none, t.tag);
	}
	if (rc)
		crypto_wipe(plain, BLOCK_MAP_BLOCK);
	else if (t.state == FORMAT_HOLE)
		memset(plain, 0, BLOCK_MAP_BLOCK);
	return rc;
}

int content_state(const uint8_t entry[static FORMAT_TAG_LEN])
{
	struct format_tag t;
	int rc = format_tag_parse(entry, &t);
	return rc ? rc : (int)t.state;
}

void content_toggle(const struct secret *key, uint64_t block,
	const uint8_t entry[static FORMAT_TAG_LEN], uint8_t hash[static FORMAT_HASH_LEN])
{
	if (content_state(entry) == FORMAT_NONE)
		return;
	uint8_t in[8 + FORMAT_TAG_LEN], out[FORMAT_HASH_LEN];
	bytes_put64(in, block);
	memcpy(in + 8, entry, FORMAT_TAG_LEN);
	crypto_siphash(key, in, sizeof(in), out);
	for (size_t i = 0; i < FORMAT_HASH_LEN; i++)
		hash[i] ^= out[i];
}

void content_mask(const struct secret *key, const uint8_t salt[static FORMAT_HASH_LEN],
	uint8_t hash[static FORMAT_HASH_LEN])
{
	uint8_t mask[FORMAT_HASH_LEN];
	crypto_mac(key, salt, FORMAT_HASH_LEN, mask, sizeof(mask));
	for (size_t i = 0; i < FORMAT_HASH_LEN; i++)
		hash[i] ^= mask[i];
}
