/* keymgmt/wrap: one key under another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/wrap.h"

#include <errno.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const enum crypto_suite suites[] = {CRYPTO_AES256_GCM, CRYPTO_XCHACHA20_POLY1305};

static void a_wrap_opens_where_it_belongs_only(void **state)
{
	(void)state;
	static const uint8_t suffix[12] = {5}, other_suffix[12] = {6};
	for (size_t i = 0; i < COUNT(suites); i++) {
		AUTO_SECRET *kek = secret_random(KEY_LEN);
		AUTO_SECRET *other = secret_random(KEY_LEN);
		AUTO_SECRET *key = secret_random(KEY_LEN);
		AUTO_SECRET *out = NULL;
		uint8_t wrap[WRAP_LEN];
		assert_int_equal(wrap_seal(suites[i], kek, "place", 5, suffix, key, wrap), 0);
		assert_int_equal(wrap_open(suites[i], kek, "place", 5, suffix, wrap, &out), 0);
		assert_true(secret_equal(out, key));
		AUTO_SECRET *none = NULL;
		assert_int_equal(wrap_open(suites[i], other, "place", 5, suffix, wrap, &none),
			-EKEYREJECTED);
		/* The key-check value covers the place too. */
		assert_int_equal(
			wrap_open(suites[i], kek, "plate", 5, suffix, wrap, &none), -EKEYREJECTED);
		int moved = wrap_open(suites[i], kek, "place", 5, other_suffix, wrap, &none);
		if (suites[i] == CRYPTO_XCHACHA20_POLY1305)
			assert_int_equal(moved, -EBADMSG);
		else
			assert_int_equal(moved, 0);
	}
}

static void every_changed_byte_is_noticed(void **state)
{
	(void)state;
	static const uint8_t suffix[12] = {0};
	for (size_t i = 0; i < COUNT(suites); i++) {
		AUTO_SECRET *kek = secret_random(KEY_LEN);
		AUTO_SECRET *key = secret_random(KEY_LEN);
		AUTO_SECRET *out = NULL;
		uint8_t wrap[WRAP_LEN];
		assert_int_equal(wrap_seal(suites[i], kek, "p", 1, suffix, key, wrap), 0);
		for (size_t at = 0; at < WRAP_LEN; at++) {
			wrap[at] ^= 0x10;
			assert_int_equal(wrap_open(suites[i], kek, "p", 1, suffix, wrap, &out),
				at < WRAP_LEN - 16 ? -EBADMSG : -EKEYREJECTED);
			assert_null(out);
			wrap[at] ^= 0x10;
		}
	}
}

static void only_whole_keys_are_wrapped(void **state)
{
	(void)state;
	static const uint8_t suffix[12] = {0};
	uint8_t wrap[WRAP_LEN], place[300] = {0};
	AUTO_SECRET *kek = secret_random(KEY_LEN);
	AUTO_SECRET *key = secret_random(KEY_LEN);
	AUTO_SECRET *longer = secret_random(64);
	AUTO_SECRET *out = NULL;
	assert_int_equal(wrap_seal(CRYPTO_AES256_GCM, kek, "p", 1, suffix, longer, wrap), -EIO);
	assert_int_equal(wrap_seal(CRYPTO_AES256_GCM, longer, "p", 1, suffix, key, wrap), -EIO);
	assert_int_equal(
		wrap_seal(CRYPTO_AES256_GCM, kek, place, sizeof(place), suffix, key, wrap), -EIO);
	assert_int_equal(wrap_seal(CRYPTO_AES256_GCM, kek, NULL, 0, suffix, key, wrap), 0);
	assert_int_equal(wrap_open(CRYPTO_AES256_GCM, longer, NULL, 0, suffix, wrap, &out), -EIO);
	assert_int_equal(wrap_open(CRYPTO_AES256_GCM, kek, NULL, 0, suffix, wrap, &out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrap_opens_where_it_belongs_only),
		cmocka_unit_test(every_changed_byte_is_noticed),
		cmocka_unit_test(only_whole_keys_are_wrapped),
	};
	return crypto_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
