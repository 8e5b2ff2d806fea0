/*
 * fs/store/journal_format against docs/format.md ("Journal"), byte by byte: entries of each kind, a
 * record's sectors, a superblock slot. Random bytes are fixed. The seals, checks and hashes were
 * made by a program that shares no code with this one (python3-cryptography, libsodium, libxxhash).
 */
/* Before our own headers, which keep its names from being used. */
#include <sodium.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/journal_format.h"

#include <errno.h>
#include <string.h>

/* Each nonce is a0, a1, ... ab. */
static void fixed_bytes(void *const bytes, const size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)bytes)[i] = (uint8_t)(0xa0 + i % 12);
}

static uint32_t fixed_u32(void)
{
	return 0xa3a2a1a0;
}

static const char *fixed_name(void)
{
	return "fixed";
}

#define FIXED_NONCE 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab
#define FILE_ID 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
/* 64 bits from their first, lowest byte. */
#define UP(first)                                                                                  \
	first, (first) + 1, (first) + 2, (first) + 3, (first) + 4, (first) + 5, (first) + 6,       \
		(first) + 7
#define NUMBER(first)                                                                              \
	((uint64_t)((first) + 7) << 56 | (uint64_t)((first) + 6) << 48 |                           \
		(uint64_t)((first) + 5) << 40 | (uint64_t)((first) + 4) << 32 |                    \
		(uint64_t)((first) + 3) << 24 | (uint64_t)((first) + 2) << 16 |                    \
		(uint64_t)((first) + 1) << 8 | (uint64_t)(first))
#define ZEROS4 0, 0, 0, 0
#define ZEROS8 ZEROS4, ZEROS4

static const uint8_t file_id[CRYPTO_ID_LEN] = {FILE_ID};
#define INO NUMBER(0x20)

static const struct timespec when = {.tv_sec = (time_t)NUMBER(0x30), .tv_nsec = 0x01020304};
#define WHEN UP(0x30), 4, 3, 2, 1

static const uint8_t erase_bytes[] = {
	1, 0, 0, 0, 44, 0, 0, 0, FILE_ID, UP(0x20), UP(0x40), UP(0x50), 1, 0, 0, 0};
static const uint8_t commit_bytes[] = {2, 0, 0, 0, 68 + 2 * 16 + 12 + 3 + 12, 0, 0, 0, FILE_ID,
	UP(0x20), UP(0x40), UP(0x50), WHEN, 1, 0, 0, 0, ZEROS4, 2, 0, 0, 0, ZEROS4,
	/* fresh pages */
	UP(0x60), UP(0x68), UP(0x70), UP(0x78),
	/* ranges */
	UP(0x80), 3, 0, 0, 0, 'a', 'b', 'c', UP(0x90), ZEROS4};
static const uint8_t soft_bytes[] = {
	2, 0, 0, 0, 68, 0, 0, 0, FILE_ID, UP(0x20), UP(0x40), UP(0x50), WHEN, ZEROS8, ZEROS8};
static const uint8_t times_bytes[] = {3, 0, 0, 0, 36, 0, 0, 0, FILE_ID, UP(0x20), WHEN};
static const uint8_t mark_bytes[] = {4, 0, 0, 0, 36, 0, 0, 0, FILE_ID, UP(0x20), UP(0x40), ZEROS4};
static const uint8_t decision_bytes[] = {
	4, 0, 0, 0, 36, 0, 0, 0, FILE_ID, UP(0x20), UP(0x40), 1, 0, 0, 0};

static void expect(const struct buf *text, const uint8_t *bytes, size_t len)
{
	assert_true(buf_ok(text));
	assert_int_equal(text->len, len);
	assert_memory_equal(text->data, bytes, len);
}

static void entries_are_written_so(void **state)
{
	(void)state;
	struct journal_erase e = {
		.ino = INO, .first = NUMBER(0x40), .end = NUMBER(0x50), .keep_space = true};
	struct journal_commit c = {.commits = NUMBER(0x40), .length = NUMBER(0x50), .hard = true};
	const struct journal_fresh fresh[] = {
		{NUMBER(0x60), NUMBER(0x68)}, {NUMBER(0x70), NUMBER(0x78)}};
	memcpy(e.file_id, file_id, sizeof(file_id));
	AUTO_BUF text = {0};
	journal_format_put_erase(&text, &e);
	expect(&text, erase_bytes, sizeof(erase_bytes));
	assert_int_equal(text.len, JOURNAL_FORMAT_ERASE_LEN);
	buf_reset(&text);
	size_t begun = journal_format_begin_commit(&text, file_id, INO, &c, &when, fresh, 2);
	journal_format_put_range(&text, NUMBER(0x80), "abc", 3);
	journal_format_put_range(&text, NUMBER(0x90), "", 0);
	journal_format_end_commit(&text, begun);
	expect(&text, commit_bytes, sizeof(commit_bytes));
	buf_reset(&text);
	c.hard = false;
	begun = journal_format_begin_commit(&text, file_id, INO, &c, &when, NULL, 0);
	journal_format_end_commit(&text, begun);
	expect(&text, soft_bytes, sizeof(soft_bytes));
	assert_int_equal(text.len, JOURNAL_FORMAT_COMMIT_LEN);
	buf_reset(&text);
	journal_format_put_times(&text, file_id, INO, &when);
	expect(&text, times_bytes, sizeof(times_bytes));
	assert_int_equal(text.len, JOURNAL_FORMAT_TIMES_LEN);
	for (unsigned decision = 0; decision < 2; decision++) {
		buf_reset(&text);
		journal_format_put_mark(&text, file_id, INO, NUMBER(0x40), decision);
		expect(&text, decision ? decision_bytes : mark_bytes, sizeof(mark_bytes));
		assert_int_equal(text.len, JOURNAL_FORMAT_MARK_LEN);
	}
}

static struct journal_entry only(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	struct journal_entry e;
	assert_int_equal(journal_format_next(&c, &e), 1);
	assert_memory_equal(e.file_id, file_id, sizeof(file_id));
	assert_int_equal(e.ino, INO);
	struct journal_entry none;
	assert_int_equal(journal_format_next(&c, &none), 0);
	return e;
}

static void entries_are_read_so(void **state)
{
	(void)state;
	struct journal_entry e = only(erase_bytes, sizeof(erase_bytes));
	assert_int_equal(e.kind, JOURNAL_ERASE);
	assert_memory_equal(e.erase.file_id, file_id, sizeof(file_id));
	assert_int_equal(e.erase.ino, INO);
	assert_int_equal(e.erase.first, NUMBER(0x40));
	assert_int_equal(e.erase.end, NUMBER(0x50));
	assert_true(e.erase.keep_space);
	e = only(commit_bytes, sizeof(commit_bytes));
	assert_int_equal(e.kind, JOURNAL_COMMIT);
	assert_int_equal(e.commit.commits, NUMBER(0x40));
	assert_int_equal(e.commit.length, NUMBER(0x50));
	assert_true(e.commit.hard);
	assert_int_equal(e.modified.tv_sec, when.tv_sec);
	assert_int_equal(e.modified.tv_nsec, when.tv_nsec);
	struct journal_fresh run;
	const uint8_t *bytes;
	uint64_t offset;
	uint32_t len;
	for (unsigned i = 0; i < 2; i++) {
		assert_true(journal_format_next_fresh(&e.fresh, &run));
		assert_int_equal(run.page, i ? NUMBER(0x70) : NUMBER(0x60));
		assert_int_equal(run.count, i ? NUMBER(0x78) : NUMBER(0x68));
	}
	assert_false(journal_format_next_fresh(&e.fresh, &run));
	assert_true(journal_format_next_range(&e.ranges, &offset, &bytes, &len));
	assert_int_equal(offset, NUMBER(0x80));
	assert_int_equal(len, 3);
	assert_memory_equal(bytes, "abc", 3);
	assert_true(journal_format_next_range(&e.ranges, &offset, &bytes, &len));
	assert_int_equal(offset, NUMBER(0x90));
	assert_int_equal(len, 0);
	assert_false(journal_format_next_range(&e.ranges, &offset, &bytes, &len));
	e = only(soft_bytes, sizeof(soft_bytes));
	assert_int_equal(e.kind, JOURNAL_COMMIT);
	assert_false(e.commit.hard);
	assert_false(journal_format_next_fresh(&e.fresh, &run));
	assert_false(journal_format_next_range(&e.ranges, &offset, &bytes, &len));
	e = only(times_bytes, sizeof(times_bytes));
	assert_int_equal(e.kind, JOURNAL_TIMES);
	assert_int_equal(e.modified.tv_sec, when.tv_sec);
	assert_int_equal(e.modified.tv_nsec, when.tv_nsec);
	for (unsigned decision = 0; decision < 2; decision++) {
		e = only(decision ? decision_bytes : mark_bytes, sizeof(mark_bytes));
		assert_int_equal(e.kind, JOURNAL_MARK);
		assert_int_equal(e.upto, NUMBER(0x40));
		assert_int_equal(e.decision, decision);
	}
}

/* One byte of an entry, and what it is then. */
static void what_is_no_entry(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		const uint8_t *bytes;
		size_t len, at;
		uint8_t value;
		int want;
	} rows[] = {
#define ROW(bytes, at, value, want) {#bytes " " #at, bytes, sizeof(bytes), at, value, want}
		ROW(mark_bytes, 0, 0, -EPROTONOSUPPORT),
		ROW(mark_bytes, 0, 5, -EPROTONOSUPPORT),
		ROW(mark_bytes, 1, 1, -EPROTONOSUPPORT),
		ROW(mark_bytes, 2, 1, -EPROTONOSUPPORT),
		ROW(mark_bytes, 3, 1, -EPROTONOSUPPORT),
		ROW(mark_bytes, 4, 35, -EBADMSG),
		ROW(mark_bytes, 4, 37, -EBADMSG),
		ROW(mark_bytes, 5, 1, -EBADMSG),
		ROW(mark_bytes, 4, 20, -EBADMSG),
		ROW(mark_bytes, 40, 2, -EBADMSG),
		ROW(mark_bytes, 43, 128, -EBADMSG),
		ROW(mark_bytes, 0, 1, -EBADMSG),
		ROW(times_bytes, 4, 35, -EBADMSG),
		ROW(times_bytes, 43, 0x3c, -EBADMSG),
		ROW(erase_bytes, 4, 43, -EBADMSG),
		ROW(erase_bytes, 48, 3, -EBADMSG),
		ROW(erase_bytes, 51, 1, -EBADMSG),
		ROW(commit_bytes, 4, 67, -EBADMSG),
		ROW(commit_bytes, 4, sizeof(commit_bytes) - 9, -EBADMSG),
		ROW(commit_bytes, 59, 0x3c, -EBADMSG),
		ROW(commit_bytes, 60, 2, -EBADMSG),
		ROW(commit_bytes, 67, 1, -EBADMSG),
		ROW(commit_bytes, 68, 4, -EBADMSG),
		ROW(commit_bytes, 75, 0x10, -EBADMSG),
		ROW(commit_bytes, 116, 12 + 4, -EBADMSG),
		ROW(soft_bytes, 68, 1, -EBADMSG),
#undef ROW
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t bytes[256];
		struct journal_entry e;
		memcpy(bytes, rows[i].bytes, rows[i].len);
		assert_int_not_equal(bytes[rows[i].at], rows[i].value);
		bytes[rows[i].at] = rows[i].value;
		struct cur c = {bytes, bytes + rows[i].len};
		int rc = journal_format_next(&c, &e);
		if (rc != rows[i].want)
			fail_msg("%s: %d", rows[i].name, rc);
	}
	/* Cut anywhere. */
	for (size_t len = 1; len < sizeof(commit_bytes); len++) {
		struct cur c = {commit_bytes, commit_bytes + len};
		struct journal_entry e;
		assert_int_equal(journal_format_next(&c, &e), -EBADMSG);
	}
	/* A range that ends behind the last byte there can be. */
	uint8_t bytes[sizeof(commit_bytes)];
	memcpy(bytes, commit_bytes, sizeof(bytes));
	memset(bytes + 108, 0xff, 8);
	struct cur c = {bytes, bytes + sizeof(bytes)};
	struct journal_entry e;
	assert_int_equal(journal_format_next(&c, &e), -EBADMSG);
}

static struct secret *key(uint8_t fill)
{
	struct secret *s = secret_new(KEY_LEN);
	assert_non_null(s);
	memset(secret_bytes(s), fill, KEY_LEN);
	return s;
}

#define TEXT_LEN 600u
#define SECTOR JOURNAL_FORMAT_SECTOR

/* Two sectors, the first of them the last one of the ring. */
static void a_record_is(void **state)
{
	(void)state;
	static const struct {
		enum crypto_suite suite;
		uint8_t tag[16];
		uint8_t checks[2][8];
		uint8_t hash[32]; /* of both sectors */
	} rows[] = {
		{CRYPTO_AES256_GCM,
			{0xd6, 0x3e, 0xda, 0xd3, 0x5f, 0xd3, 0x1d, 0x9c, 0x47, 0x05, 0xe8, 0x54,
				0xc6, 0xbc, 0xdf, 0x51},
			{{0xac, 0xf8, 0xb3, 0x64, 0x55, 0x2c, 0xf7, 0xe3},
				{0xf4, 0x43, 0xe5, 0xfd, 0x51, 0x33, 0xf1, 0xe2}},
			{0x4b, 0x20, 0x68, 0xd9, 0x38, 0x45, 0x9c, 0x68, 0x50, 0x0b, 0x5d, 0x16,
				0xf4, 0x33, 0xeb, 0x40, 0x2d, 0x02, 0x3f, 0x49, 0x1a, 0xcc, 0xc4,
				0xa1, 0xa8, 0x29, 0xf8, 0x40, 0x86, 0x36, 0x57, 0x2a}},
		{CRYPTO_XCHACHA20_POLY1305,
			{0x87, 0x41, 0x5a, 0x6d, 0x6a, 0xa7, 0xa9, 0x88, 0xc0, 0x05, 0xe4, 0x41,
				0xfc, 0x0e, 0x5b, 0x44},
			{{0xe7, 0x95, 0xfa, 0x93, 0xeb, 0x63, 0x5e, 0xbf},
				{0xc3, 0xbb, 0xe2, 0xee, 0xfd, 0x2c, 0xa0, 0x6c}},
			{0x1a, 0x11, 0x89, 0x37, 0xc5, 0x87, 0x5e, 0x36, 0x20, 0x2c, 0x54, 0x16,
				0x35, 0x19, 0x61, 0x86, 0x80, 0xe5, 0x17, 0xf4, 0xb6, 0x77, 0xe5,
				0x88, 0x09, 0x80, 0xfe, 0x51, 0xac, 0x43, 0xd2, 0x84}},
	};
	static const uint8_t head[] = {0x58, 2, 0, 0, ZEROS4, 9, 7, 6, 5, 4, 3, 2, 1, FIXED_NONCE};
	static const uint8_t marks[] = {
		0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 8, 7, 6, 5, 4, 3, 2, 1};
	const struct journal_place at = {.epoch = 0x0102030405060708,
		.sequence = 0x1112131415161718,
		.sector = 98,
		.ring = 99};
	static const uint8_t zeros[SECTOR];
	uint8_t text[TEXT_LEN];
	for (size_t i = 0; i < TEXT_LEN; i++)
		text[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < 2; i++) {
		uint8_t sectors[2 * SECTOR], hash[32];
		struct journal_head h;
		AUTO_SECRET *k = key(0x22);
		AUTO_BUF back = {0};
		assert_int_equal(journal_format_sectors(TEXT_LEN), 2);
		assert_int_equal(journal_format_seal(rows[i].suite, k, &at, 0x0102030405060709,
					 text, TEXT_LEN, sectors),
			0);
		assert_memory_equal(sectors, head, sizeof(head));
		assert_memory_equal(sectors + 28, rows[i].tag, 16);
		for (unsigned k2 = 0; k2 < 2; k2++) {
			const uint8_t *trailer = sectors + k2 * SECTOR + 488;
			assert_memory_equal(trailer, marks, sizeof(marks));
			assert_memory_equal(trailer + 16, rows[i].checks[k2], 8);
		}
		/* Behind the text, 44 bytes of which are the head. */
		assert_memory_equal(
			sectors + SECTOR + 44 + TEXT_LEN - 488, zeros, 2 * 488 - 44 - TEXT_LEN);
		crypto_digest(sectors, sizeof(sectors), hash, sizeof(hash));
		assert_memory_equal(hash, rows[i].hash, sizeof(hash));
		assert_int_equal(journal_format_head(sectors, &h), 0);
		assert_int_equal(h.len, TEXT_LEN);
		assert_int_equal(h.durable, 0x0102030405060709);
		assert_int_equal(h.sequence, at.sequence);
		assert_int_equal(h.epoch, at.epoch);
		assert_true(journal_format_is_sector(&at, 0, sectors, sectors));
		assert_true(journal_format_is_sector(&at, 1, sectors + SECTOR, sectors));
		assert_int_equal(
			journal_format_open(rows[i].suite, k, &at, sectors, TEXT_LEN, &back), 0);
		expect(&back, text, TEXT_LEN);
		/* Of a record that was begun here with another nonce. */
		sectors[16] ^= 1;
		assert_false(journal_format_is_sector(&at, 1, sectors + SECTOR, sectors));
	}
}

static void a_superblock_is(void **state)
{
	(void)state;
	static const struct {
		enum crypto_suite suite;
		uint8_t rest[64]; /* of the wrap, behind its nonce */
	} rows[] = {
		{CRYPTO_AES256_GCM,
			{0x41, 0x96, 0x52, 0x6f, 0x62, 0x36, 0xa1, 0xb1, 0x1a, 0x3d, 0x91, 0x79,
				0x5d, 0x67, 0x1f, 0xce, 0x80, 0xd5, 0xe4, 0x10, 0x2b, 0xaf, 0xa3,
				0x89, 0x36, 0xf6, 0xcc, 0xcc, 0x7a, 0xf4, 0x14, 0x48, 0xc8, 0x45,
				0x00, 0xf7, 0x8d, 0x52, 0x63, 0x78, 0x77, 0xea, 0x91, 0xd4, 0x9a,
				0x6d, 0x23, 0x57, 0xdc, 0xf1, 0x11, 0x5f, 0x66, 0xb9, 0x04, 0x10,
				0x1f, 0x73, 0x0e, 0x2c, 0x38, 0x78, 0x15, 0x1a}},
		{CRYPTO_XCHACHA20_POLY1305,
			{0x20, 0xb1, 0xbe, 0x67, 0xe1, 0x32, 0xdc, 0x02, 0x1b, 0x44, 0x77, 0xdb,
				0xf1, 0x67, 0xa7, 0x4c, 0xd9, 0xba, 0x23, 0x41, 0x4a, 0x37, 0x62,
				0xd2, 0x92, 0x7d, 0x8a, 0xd9, 0xf9, 0x6b, 0xf3, 0x18, 0x87, 0xc7,
				0x0c, 0xbc, 0xee, 0x70, 0xbe, 0x5f, 0x44, 0x46, 0x07, 0xc2, 0xd3,
				0x2f, 0x9f, 0x02, 0x85, 0x39, 0x92, 0xfc, 0xff, 0x99, 0x32, 0x8c,
				0xc5, 0x26, 0x62, 0xc1, 0x40, 0xd4, 0x4d, 0x95}},
	};
	const struct keyring_owner owner = {.tenant = "acme",
		.store_uuid = {0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33,
			0x33, 0x33, 0x33, 0x33, 0x33},
		.tenant_uuid = {0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44,
			0x44, 0x44, 0x44, 0x44, 0x44}};
	for (size_t i = 0; i < 2; i++) {
		const struct journal_super s = {.generation = NUMBER(0x01),
			.epoch = NUMBER(0x11),
			.size = NUMBER(0x21),
			.tail = NUMBER(0x31),
			.sequence = NUMBER(0x41),
			.ino = NUMBER(0x51),
			.fsid = NUMBER(0x61),
			.since_ns = NUMBER(0x71),
			.clean = true,
			.suite = rows[i].suite};
		const uint8_t fields[] = {'T', 'F', 'S', 'J', 1, 0, (uint8_t)rows[i].suite, 0,
			UP(0x01), UP(0x11), UP(0x21), UP(0x31), UP(0x41), UP(0x51), UP(0x61),
			UP(0x71), 1, 0, 0, 0, ZEROS4, FIXED_NONCE};
		static const uint8_t zeros[SECTOR];
		uint8_t slot[SECTOR];
		AUTO_SECRET *sub = key(0x11), *k = key(0x22);
		assert_int_equal(journal_format_super_seal(&s, &owner, sub, k, slot), 0);
		assert_int_equal(sizeof(fields), 92);
		assert_memory_equal(slot, fields, sizeof(fields));
		assert_memory_equal(slot + 92, rows[i].rest, sizeof(rows[i].rest));
		assert_memory_equal(slot + 156, zeros, SECTOR - 156);
		struct journal_super back;
		AUTO_SECRET *found = NULL;
		assert_int_equal(journal_format_super_open(slot, &owner, sub, &back, &found), 0);
		assert_true(secret_equal(found, k));
		assert_int_equal(back.generation, s.generation);
		assert_int_equal(back.epoch, s.epoch);
		assert_int_equal(back.size, s.size);
		assert_int_equal(back.tail, s.tail);
		assert_int_equal(back.sequence, s.sequence);
		assert_int_equal(back.ino, s.ino);
		assert_int_equal(back.fsid, s.fsid);
		assert_int_equal(back.since_ns, s.since_ns);
		assert_true(back.clean);
	}
}

int main(void)
{
	static randombytes_implementation fixed = {
		.implementation_name = fixed_name, .random = fixed_u32, .buf = fixed_bytes};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_written_so),
		cmocka_unit_test(entries_are_read_so),
		cmocka_unit_test(what_is_no_entry),
		cmocka_unit_test(a_record_is),
		cmocka_unit_test(a_superblock_is),
	};
	randombytes_set_implementation(&fixed);
	return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
