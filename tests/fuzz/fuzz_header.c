/* A header slot: as it stands, and with its MAC made anew. */
#include "fs/store/format.h"
#include "tests/fuzz/fuzz.h"

#define MAC_AT (FORMAT_SLOT_LEN - CRYPTO_MAC_LEN)
#define RESERVED_AT 688

static const struct secret *mac_key(void)
{
	static struct secret *key;
	if (!key) {
		key = secret_new(KEY_LEN);
		FUZZ_CHECK(key);
		memset(secret_bytes(key), 7, KEY_LEN);
	}
	return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	struct format_header h, untouched, h2;
	uint8_t slot[FORMAT_SLOT_LEN], again[FORMAT_SLOT_LEN], ad[FORMAT_WRAP_AD_LEN];
	fuzz_begin();
	fuzz_bytes(&c, slot, sizeof(slot));
	memset(&h, 0xa5, sizeof(h));
	untouched = h;
	int r = format_header_parse(slot, &h);
	FUZZ_CHECK(r == 0 || r == -ENODATA || r == -EBADMSG || r == -EPROTONOSUPPORT);
	FUZZ_CHECK((r == -ENODATA) == bytes_all_zero(slot, sizeof(slot)));
	(void)format_header_verify(slot, mac_key());
	if (r != 0) {
		FUZZ_CHECK(memcmp(&h, &untouched, sizeof(h)) == 0);
		return 0;
	}
	FUZZ_CHECK(h.size <= BLOCK_MAP_SIZE_MAX && h.version == FORMAT_VERSION);
	format_header_pack(&h, mac_key(), again);
	FUZZ_CHECK(format_header_verify(again, mac_key()));
	/* All that is not reserved comes back. */
	FUZZ_CHECK(memcmp(again, slot, RESERVED_AT) == 0);
	FUZZ_CHECK(bytes_all_zero(again + RESERVED_AT, MAC_AT - RESERVED_AT));
	FUZZ_CHECK(format_header_parse(again, &h2) == 0);
	format_wrap_ad("fek", &h, ad);
	/* One bit of it, and the MAC is wrong. */
	again[fuzz_u16(&c) % FORMAT_SLOT_LEN] ^= (uint8_t)(1u << (fuzz_u8(&c) & 7));
	FUZZ_CHECK(!format_header_verify(again, mac_key()));
	return 0;
}

void fuzz_seeds(void)
{
	struct format_header h = {.version = FORMAT_VERSION,
		.suite = CRYPTO_AES256_GCM,
		.epoch = 3,
		.size = 70000,
		.commits = 9,
		.block_writes = 18,
		.created_ns = 1800000000000000000u,
		.boundary = 4};
	uint8_t slot[FORMAT_SLOT_LEN] = {0};
	fuzz_seed("blank", slot, sizeof(slot));
	h.homes[0].names = 1;
	h.presence[0] = 1;
	format_header_pack(&h, mac_key(), slot);
	fuzz_seed("slot", slot, sizeof(slot));
	h.flags = FORMAT_MANY_HOMES;
	h.size = BLOCK_MAP_SIZE_MAX;
	format_header_pack(&h, mac_key(), slot);
	fuzz_seed("largest", slot, sizeof(slot));
	slot[4] = 2;
	fuzz_seed("newer", slot, sizeof(slot));
}
