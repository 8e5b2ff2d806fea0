/* fs/store/content: a block opens only where, in what file and as what it was sealed; the hash over
 * the set of blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/content.h"

#include <errno.h>
#include <string.h>

static const enum crypto_suite suites[] = {CRYPTO_AES256_GCM, CRYPTO_XCHACHA20_POLY1305};
static const uint8_t ids[2][CRYPTO_ID_LEN] = {{1}, {2}};

static void a_block_opens_only_in_its_place(void **state)
{
	(void)state;
	AUTO_SECRET *fek = secret_random(KEY_LEN);
	AUTO_SECRET *other = secret_random(KEY_LEN);
	uint8_t plain[4096], sealed[4096], got[4096], entry[32], bad[32], zero[4096] = {0};
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 31);
	for (size_t s = 0; s < 2; s++) {
		struct content c = {suites[s], fek, ids[0]};
		assert_int_equal(content_seal(&c, 77, plain, sealed, entry), 0);
		assert_int_equal(content_state(entry), FORMAT_DATA);
		assert_memory_not_equal(sealed, plain, sizeof(plain));
		assert_int_equal(content_open(&c, 77, entry, sealed, got), 0);
		assert_memory_equal(got, plain, sizeof(plain));
		const struct content wrong[] = {{suites[!s], fek, ids[0]},
			{suites[s], other, ids[0]}, {suites[s], fek, ids[1]}};
		for (size_t i = 0; i < 3; i++) {
			memset(got, 1, sizeof(got));
			assert_int_equal(content_open(&wrong[i], 77, entry, sealed, got), -EBADMSG);
			assert_memory_equal(got, zero, sizeof(got));
		}
		assert_int_equal(content_open(&c, 78, entry, sealed, got), -EBADMSG);
		for (size_t i = 0; i < 32; i++) {
			memcpy(bad, entry, 32);
			bad[i] ^= 3; /* DATA becomes HOLE */
			assert_int_equal(content_open(&c, 77, bad, sealed, got), -EBADMSG);
		}
		sealed[4095] ^= 1;
		assert_int_equal(content_open(&c, 77, entry, sealed, got), -EBADMSG);
		/* In place. */
		memcpy(got, plain, sizeof(got));
		assert_int_equal(content_seal(&c, 1, got, got, entry), 0);
		assert_int_equal(content_open(&c, 1, entry, got, got), 0);
		assert_memory_equal(got, plain, sizeof(plain));
	}
}

static void holes_are_authenticated(void **state)
{
	(void)state;
	AUTO_SECRET *fek = secret_random(KEY_LEN);
	uint8_t entry[32], again[32], got[4096], zero[4096] = {0};
	for (size_t s = 0; s < 2; s++) {
		struct content c = {suites[s], fek, ids[0]};
		assert_int_equal(content_seal_hole(&c, 5, entry), 0);
		assert_int_equal(content_seal_hole(&c, 5, again), 0);
		assert_memory_not_equal(entry, again, 32);
		assert_int_equal(content_state(entry), FORMAT_HOLE);
		memset(got, 1, sizeof(got));
		assert_int_equal(content_open(&c, 5, entry, NULL, got), 0);
		assert_memory_equal(got, zero, sizeof(got));
		assert_int_equal(content_open(&c, 6, entry, NULL, got), -EBADMSG);
		assert_int_equal(content_open(&c, 5, zero, NULL, got), -EBADMSG);
	}
}

static void the_set_hash(void **state)
{
	(void)state;
	AUTO_SECRET *k = secret_new(16);
	uint8_t entries[3][32], hash[16] = {0}, zero[16] = {0}, one[16] = {0}, in[40] = {9},
				direct[16];
	for (size_t i = 0; i < 3; i++) {
		memset(entries[i], (int)i + 1, 28);
		memset(entries[i] + 28, 0, 4);
		entries[i][28] = i == 2 ? FORMAT_NONE : FORMAT_DATA;
	}
	content_toggle(k, 9, entries[0], one);
	memcpy(in + 8, entries[0], 32);
	crypto_siphash(k, in, sizeof(in), direct);
	assert_memory_equal(one, direct, sizeof(one));
	content_toggle(k, 9, entries[0], hash);
	content_toggle(k, 10, entries[1], hash);
	assert_memory_not_equal(hash, one, 16);
	content_toggle(k, 11, entries[2], hash); /* an empty entry does not count */
	content_toggle(k, 10, entries[1], hash);
	assert_memory_equal(hash, one, 16);
	content_toggle(k, 8, entries[0], hash); /* another block */
	assert_memory_not_equal(hash, zero, 16);
	uint8_t salt[16] = {1}, masked[16];
	memcpy(masked, hash, 16);
	content_mask(k, salt, masked);
	assert_memory_not_equal(masked, hash, 16);
	content_mask(k, salt, masked);
	assert_memory_equal(masked, hash, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_opens_only_in_its_place),
		cmocka_unit_test(holes_are_authenticated),
		cmocka_unit_test(the_set_hash),
	};
	return crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
