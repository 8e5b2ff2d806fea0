/* Tag entries, presence pages, and where blocks lie. */
#include "fs/store/content.h"
#include "tests/fuzz/fuzz.h"

static struct secret *key_of(uint8_t with)
{
	struct secret *key = secret_new(KEY_LEN);
	FUZZ_CHECK(key);
	memset(secret_bytes(key), with, KEY_LEN);
	return key;
}

static void check_entry(struct cur *c, const struct secret *key)
{
	uint8_t entry[FORMAT_TAG_LEN], again[FORMAT_TAG_LEN], plain[BLOCK_MAP_BLOCK],
		hash[FORMAT_HASH_LEN] = {0};
	struct format_tag t;
	uint64_t block = fuzz_u64(c) % BLOCK_MAP_BLOCKS;
	fuzz_bytes(c, entry, sizeof(entry));
	int r = format_tag_parse(entry, &t);
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	int state = content_state(entry);
	FUZZ_CHECK(r == 0 ? state == (int)t.state : state == -EBADMSG);
	if (r == 0) {
		format_tag_pack(&t, again);
		FUZZ_CHECK(memcmp(again, entry, sizeof(entry)) == 0);
	}
	/* Twice is nothing. */
	content_toggle(key, block, entry, hash);
	content_toggle(key, block, entry, hash);
	FUZZ_CHECK(bytes_all_zero(hash, sizeof(hash)));
	struct content content = {CRYPTO_AES256_GCM, key, fuzz_owner.tenant_uuid};
	memset(plain, 1, sizeof(plain));
	FUZZ_CHECK(content_open(&content, block, entry, plain, plain) == -EBADMSG);
	FUZZ_CHECK(state < FORMAT_DATA || bytes_all_zero(plain, sizeof(plain)));
}

/* Whatever the plaintext, it comes back from its own place and from no other. */
static void check_sealed(struct cur *c, const struct secret *key)
{
	uint8_t entry[FORMAT_TAG_LEN], plain[BLOCK_MAP_BLOCK], sealed[BLOCK_MAP_BLOCK],
		out[BLOCK_MAP_BLOCK];
	enum crypto_suite suite = fuzz_u8(c) & 1 ? CRYPTO_AES256_GCM : CRYPTO_XCHACHA20_POLY1305;
	struct content content = {suite, key, fuzz_owner.tenant_uuid};
	uint64_t block = fuzz_u64(c) % BLOCK_MAP_BLOCKS;
	fuzz_bytes(c, plain, sizeof(plain));
	FUZZ_CHECK(content_seal(&content, block, plain, sealed, entry) == 0);
	FUZZ_CHECK(content_open(&content, block, entry, sealed, out) == 0);
	FUZZ_CHECK(memcmp(out, plain, sizeof(out)) == 0);
	FUZZ_CHECK(content_open(&content, block ^ 1, entry, sealed, out) == -EBADMSG);
	uint16_t at = fuzz_u16(c) % (FORMAT_TAG_LEN * 8);
	entry[at / 8] ^= (uint8_t)(1u << at % 8);
	FUZZ_CHECK(content_open(&content, block, entry, sealed, out) == -EBADMSG);
}

static void check_presence(struct cur *c, const struct secret *key)
{
	uint8_t page[BLOCK_MAP_BLOCK];
	unsigned index = fuzz_u16(c) % BLOCK_MAP_PRESENCE_PAGES;
	fuzz_bytes(c, page, sizeof(page));
	FUZZ_CHECK(!format_presence_verify(page, key, fuzz_owner.tenant_uuid, index));
	format_presence_seal(page, key, fuzz_owner.tenant_uuid, index);
	FUZZ_CHECK(format_presence_verify(page, key, fuzz_owner.tenant_uuid, index));
	FUZZ_CHECK(!format_presence_verify(page, key, fuzz_owner.tenant_uuid, index ^ 1));
	FUZZ_CHECK(!format_presence_verify(page, key, fuzz_owner.store_uuid, index));
}

static void check_map(struct cur *c)
{
	uint64_t size = fuzz_u64(c) % (BLOCK_MAP_SIZE_MAX + 1), length = fuzz_u64(c), found;
	uint64_t block = fuzz_u64(c) % BLOCK_MAP_BLOCKS, group = block_map_group(block);
	FUZZ_CHECK(
		group < BLOCK_MAP_GROUPS && block_map_index(block) < block_map_group_blocks(group));
	FUZZ_CHECK(block_map_group_first(group) + block_map_index(block) == block);
	FUZZ_CHECK(block_map_data_offset(block) > block_map_tag_offset(group));
	FUZZ_CHECK(block_map_data_offset(block) % BLOCK_MAP_BLOCK == 0);
	FUZZ_CHECK(block_map_size(block_map_length(size), &found) == 0 && found == size);
	if (block_map_size(length, &found) == 0 && length)
		FUZZ_CHECK(block_map_length(found) == length);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	AUTO_SECRET *key = key_of(7);
	uint8_t what = fuzz_u8(&c);
	check_map(&c);
	if (what & 1)
		check_entry(&c, key);
	if (what & 2)
		check_sealed(&c, key);
	if (what & 4)
		check_presence(&c, key);
	return 0;
}

void fuzz_seeds(void)
{
	uint8_t zeros[FORMAT_TAG_LEN] = {0};
	AUTO_BUF b = {0};
	for (uint8_t what = 1; what <= 4; what = (uint8_t)(what * 2)) {
		char name[16];
		buf_reset(&b);
		buf_put8(&b, what);
		buf_put64(&b, 70000);
		buf_put64(&b, 4096 * 66);
		buf_put64(&b, 64);
		buf_put64(&b, 63);
		for (int i = 0; i < 28; i++)
			buf_put8(&b, (uint8_t)i);
		buf_put8(&b, FORMAT_DATA);
		buf_put(&b, zeros, 3);
		snprintf(name, sizeof(name), "kind-%u", what);
		fuzz_seed(name, b.data, b.len);
	}
}
