/* fs/store/format: every field where docs/format.md has it, there and back; what is not a header is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/format.h"
#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <string.h>

static struct secret *key(uint8_t fill)
{
	struct secret *s = secret_new(KEY_LEN);
	assert_non_null(s);
	memset(secret_bytes(s), fill, KEY_LEN);
	return s;
}

static struct format_header sample(void)
{
	struct format_header h = {.version = 1,
		.suite = 2,
		.flags = FORMAT_MANY_HOMES,
		.epoch = 0x01020304,
		.size = 0x0000060708090a0b,
		.commits = 0x1112131415161718,
		.block_writes = 0x2122232425262728,
		.created_ns = 0x3132333435363738,
		.modified_ns = 0x4142434445464748,
		.boundary = 0x5152535455565758};
	memset(h.file_id, 0xa1, 16);
	memset(h.tenant_uuid, 0xa2, 16);
	for (uint8_t i = 0; i < FORMAT_HOMES; i++) {
		memset(h.homes[i].dir_id, 0xb0 + i, 16);
		h.homes[i].names = i + 1;
	}
	memset(h.presence, 0xc1, sizeof(h.presence));
	memset(h.presence_pages, 0xc2, sizeof(h.presence_pages));
	memset(h.set_hash, 0xc3, sizeof(h.set_hash));
	memset(h.mask_salt, 0xc4, sizeof(h.mask_salt));
	memset(h.fek, 0xd1, sizeof(h.fek));
	memset(h.xk, 0xd2, sizeof(h.xk));
	memset(h.next_fek, 0xd3, sizeof(h.next_fek));
	return h;
}

static void fields_lie_where_the_document_says(void **state)
{
	(void)state;
	static const struct {
		unsigned at, len;
		uint8_t first;
	} fields[] = {{0, 1, 'T'}, {1, 1, 'F'}, {2, 1, 'S'}, {3, 1, 'H'}, {4, 1, 1}, {5, 1, 0},
		{6, 1, 2}, {7, 1, 1}, {8, 16, 0xa1}, {24, 16, 0xa2}, {40, 1, 4}, {43, 1, 1},
		{44, 1, 0x0b}, {49, 1, 6}, {52, 1, 0x18}, {60, 1, 0x28}, {68, 1, 0x38},
		{76, 1, 0x48}, {84, 16, 0xb0}, {100, 1, 1}, {104, 16, 0xb1}, {144, 16, 0xb3},
		{160, 1, 4}, {164, 128, 0xc1}, {292, 128, 0xc2}, {420, 16, 0xc3}, {436, 16, 0xc4},
		{452, 76, 0xd1}, {528, 76, 0xd2}, {604, 76, 0xd3}, {680, 1, 0x58}, {687, 1, 0x51},
		{688, 304, 0}};
	struct format_header h = sample();
	uint8_t slot[FORMAT_SLOT_LEN], mac[32];
	AUTO_SECRET *k = key(7);
	format_header_pack(&h, k, slot);
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		for (unsigned j = 0; j < fields[i].len; j++)
			assert_int_equal(slot[fields[i].at + j], fields[i].first);
	crypto_mac(k, slot, 992, mac, sizeof(mac));
	assert_memory_equal(slot + 992, mac, sizeof(mac));
}

static void there_and_back(void **state)
{
	(void)state;
	struct format_header h = sample(), back;
	uint8_t slot[FORMAT_SLOT_LEN], again[FORMAT_SLOT_LEN];
	AUTO_SECRET *k = key(7);
	AUTO_SECRET *other = key(8);
	format_header_pack(&h, k, slot);
	assert_int_equal(format_header_parse(slot, &back), 0);
	format_header_pack(&back, k, again);
	assert_memory_equal(slot, again, sizeof(slot));
	assert_true(format_header_verify(slot, k));
	assert_false(format_header_verify(slot, other));
	for (size_t i = 0; i < FORMAT_SLOT_LEN; i++) {
		slot[i] ^= 1;
		assert_false(format_header_verify(slot, k));
		slot[i] ^= 1;
	}
}

static void what_is_no_header(void **state)
{
	(void)state;
	static const struct {
		unsigned at;
		uint8_t value;
		int rc;
	} cases[] = {{0, 'X', -EBADMSG}, {3, 0, -EBADMSG}, {4, 0, -EBADMSG},
		{4, 2, -EPROTONOSUPPORT}, {5, 1, -EPROTONOSUPPORT}, {7, 3, -EPROTONOSUPPORT},
		{7, 0x80, -EPROTONOSUPPORT}, {51, 1, -EBADMSG}, {7, 0, 0}, {6, 9, 0}};
	struct format_header h = sample(), back;
	AUTO_SECRET *k = key(7);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint8_t slot[FORMAT_SLOT_LEN];
		format_header_pack(&h, k, slot);
		slot[cases[i].at] = cases[i].value;
		assert_int_equal(format_header_parse(slot, &back), cases[i].rc);
	}
	uint8_t blank[FORMAT_SLOT_LEN] = {0};
	assert_int_equal(format_header_parse(blank, &back), -ENODATA);
	blank[1023] = 1;
	assert_int_equal(format_header_parse(blank, &back), -EBADMSG);
}

static void tag_entries(void **state)
{
	(void)state;
	struct format_tag t = {.state = FORMAT_HOLE}, back;
	uint8_t entry[FORMAT_TAG_LEN];
	memset(t.nonce, 1, sizeof(t.nonce));
	memset(t.tag, 2, sizeof(t.tag));
	format_tag_pack(&t, entry);
	assert_int_equal(entry[0] + entry[11] + entry[12] + entry[27], 6);
	assert_int_equal(entry[28], 2);
	assert_int_equal(format_tag_parse(entry, &back), 0);
	assert_memory_equal(&t, &back, sizeof(t));
	entry[28] = 3;
	assert_int_equal(format_tag_parse(entry, &back), -EBADMSG);
	entry[28] = 1;
	for (unsigned i = 29; i < 32; i++) {
		entry[i] = 1;
		assert_int_equal(format_tag_parse(entry, &back), -EBADMSG);
		entry[i] = 0;
	}
	assert_int_equal(format_tag_parse(entry, &back), 0);
}

static void presence_pages_are_bound(void **state)
{
	(void)state;
	uint8_t page[BLOCK_MAP_BLOCK] = {0}, id[16] = {1}, other[16] = {2};
	AUTO_SECRET *k = key(7);
	format_presence_seal(page, k, id, 3);
	assert_int_equal(FORMAT_PRESENCE_BYTES, 4064);
	assert_true(format_presence_verify(page, k, id, 3));
	assert_false(format_presence_verify(page, k, id, 4));
	assert_false(format_presence_verify(page, k, other, 3));
	page[4063] ^= 0x80;
	assert_false(format_presence_verify(page, k, id, 3));
	memset(page, 0, sizeof(page));
	assert_false(format_presence_verify(page, k, id, 3));
}

static void wraps_are_bound(void **state)
{
	(void)state;
	struct format_header h = sample();
	uint8_t ad[FORMAT_WRAP_AD_LEN];
	format_wrap_ad("xk", &h, ad);
	assert_memory_equal(ad, "xk\0\0", 4);
	assert_memory_equal(ad + 4, h.tenant_uuid, 16);
	assert_memory_equal(ad + 20, h.file_id, 16);
	assert_int_equal(bytes_get32(ad + 36), h.epoch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_lie_where_the_document_says),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(what_is_no_header),
		cmocka_unit_test(tag_entries),
		cmocka_unit_test(presence_pages_are_bound),
		cmocka_unit_test(wraps_are_bound),
	};
	return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
