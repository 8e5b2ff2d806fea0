/* keymgmt/crypto: published vectors, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/base/bytes.h"
#include "keymgmt/crypto.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Hexadecimal text to bytes; their count. */
static size_t unhex(const char *text, uint8_t *ret, size_t max)
{
	size_t len = strlen(text) / 2;
	assert_true(len <= max);
	for (size_t i = 0; i < len; i++) {
		unsigned v;
		assert_int_equal(sscanf(text + 2 * i, "%2x", &v), 1);
		ret[i] = (uint8_t)v;
	}
	return len;
}

static struct secret *secret_hex(const char *text)
{
	uint8_t bytes[128];
	size_t len = unhex(text, bytes, sizeof(bytes));
	struct secret *s = secret_new(len);
	assert_non_null(s);
	memcpy(secret_bytes(s), bytes, len);
	return s;
}

static const struct aead_row {
	enum crypto_suite suite;
	const char *key, *nonce, *suffix, *ad, *plain, *sealed, *tag;
} aead_rows[] = {
	/* The GCM specification that SP 800-38D refers to, test cases 13, 14 and 16 */
	{CRYPTO_AES256_GCM, "0000000000000000000000000000000000000000000000000000000000000000",
		"000000000000000000000000", "000000000000000000000000", "", "", "",
		"530f8afbc74536b9a963b4f1c4cb738b"},
	{CRYPTO_AES256_GCM, "0000000000000000000000000000000000000000000000000000000000000000",
		"000000000000000000000000", "ffffffffffffffffffffffff", "",
		"00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18",
		"d0d1c8a799996bf0265b98b5d48ab919"},
	{CRYPTO_AES256_GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
		"cafebabefacedbaddecaf888", "000000000000000000000000",
		"feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532f"
		"cf0e2449"
		"a6b525b16aedf5aa0de657ba637b39",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7"
		"b08b1056"
		"828838c5f61e6393ba7a0abcc9f662",
		"76fc6ece0f4e1768cddf8853bb2d551b"},
	/* draft-irtf-cfrg-xchacha-03, A.3.1 */
	{CRYPTO_XCHACHA20_POLY1305,
		"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
		"404142434445464748494a4b", "4c4d4e4f5051525354555657", "50515253c0c1c2c3c4c5c6c7",
		"4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a"
		"20496620"
		"4920636f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675"
		"747572"
		"652c2073756e73637265656e20776f756c642062652069742e",
		"bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440b"
		"f3a82f4e"
		"da7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369"
		"488f76"
		"b2383565d3fff921f9664c97637da9768812f615c68b13b52e",
		"c0875924c1c7987947deafd8780acf49"},
};

static void content_seals_as_published(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(aead_rows); i++) {
		const struct aead_row *row = &aead_rows[i];
		uint8_t nonce[12], suffix[12], ad[32], plain[256], sealed[256], tag[16], out[256],
			t[16];
		AUTO_SECRET *key = secret_hex(row->key);
		unhex(row->nonce, nonce, 12);
		unhex(row->suffix, suffix, 12);
		size_t ad_len = unhex(row->ad, ad, sizeof(ad));
		size_t len = unhex(row->plain, plain, sizeof(plain));
		unhex(row->sealed, sealed, sizeof(sealed));
		unhex(row->tag, tag, 16);
		for (int round = 0; round < 3; round++) { /* the second with the cached key */
			assert_int_equal(crypto_seal(row->suite, key, nonce, suffix, ad, ad_len,
						 plain, len, out, t),
				0);
			assert_memory_equal(out, sealed, len);
			assert_memory_equal(t, tag, 16);
			/* in place, and back */
			assert_int_equal(crypto_open(row->suite, key, nonce, suffix, ad, ad_len,
						 out, len, out, t),
				0);
			assert_memory_equal(out, plain, len);
		}
	}
}

static void nothing_changed_opens(void **state)
{
	(void)state;
	static const enum crypto_suite suites[] = {CRYPTO_AES256_GCM, CRYPTO_XCHACHA20_POLY1305};
	enum { NONCE, SUFFIX, AD, TEXT, TAG, CHANGES };
	for (size_t i = 0; i < COUNT(suites); i++) {
		AUTO_SECRET *key = secret_random(32);
		for (int change = 0; change < CHANGES; change++) {
			uint8_t nonce[12] = {1}, suffix[12] = {2}, ad[30] = {3}, text[4096] = {4},
				tag[16];
			assert_int_equal(crypto_seal(suites[i], key, nonce, suffix, ad, 30, text,
						 4096, text, tag),
				0);
			uint8_t *const at[CHANGES] = {nonce, suffix, ad, text + 4095, tag};
			*at[change] ^= 0x80;
			bool counts = change != SUFFIX || suites[i] == CRYPTO_XCHACHA20_POLY1305;
			assert_int_equal(crypto_open(suites[i], key, nonce, suffix, ad, 30, text,
						 4096, text, tag),
				counts ? -EBADMSG : 0);
			assert_int_equal(bytes_all_zero(text, 4096), counts);
		}
		AUTO_SECRET *other = secret_random(32);
		uint8_t nonce[12] = {1}, text[16] = {9}, tag[16];
		assert_int_equal(
			crypto_seal(suites[i], key, nonce, nonce, NULL, 0, text, 16, text, tag), 0);
		assert_int_equal(
			crypto_open(suites[i], other, nonce, nonce, NULL, 0, text, 16, text, tag),
			-EBADMSG);
	}
}

static void impossible_parameters_are_refused_and_wiped(void **state)
{
	(void)state;
	uint8_t nonce[12] = {0}, text[16], tag[16];
	AUTO_SECRET *shorter = secret_random(16);
	AUTO_SECRET *key = secret_random(32);
	memset(text, 'x', sizeof(text));
	assert_int_equal(
		crypto_seal((enum crypto_suite)3, key, nonce, nonce, NULL, 0, text, 16, text, tag),
		-EIO);
	assert_true(bytes_all_zero(text, 16));
	assert_int_equal(
		crypto_seal(CRYPTO_AES256_GCM, shorter, nonce, nonce, NULL, 0, text, 16, text, tag),
		-EIO);
	assert_int_equal(crypto_siv_seal(key, "a", 1, text, 16, text), -EIO);
}

/* More keys than a thread caches, both directions mixed, addresses reused: never the wrong key. */
static void cached_keys_are_never_mixed_up(void **state)
{
	(void)state;
	enum { KEYS = 40 };
	struct secret *keys[KEYS];
	uint8_t sealed[KEYS][64], tags[KEYS][16], nonce[12] = {7}, plain[64], out[64];
	memset(plain, 'p', sizeof(plain));
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < KEYS; i++) {
			keys[i] = secret_random(32);
			assert_int_equal(crypto_seal(CRYPTO_AES256_GCM, keys[i], nonce, nonce, NULL,
						 0, plain, 64, sealed[i], tags[i]),
				0);
			int j = i * 7 % (i + 1);
			assert_int_equal(crypto_open(CRYPTO_AES256_GCM, keys[j], nonce, nonce, NULL,
						 0, sealed[j], 64, out, tags[j]),
				0);
			assert_memory_equal(out, plain, 64);
			if (i > 0)
				assert_int_equal(
					crypto_open(CRYPTO_AES256_GCM, keys[i - 1], nonce, nonce,
						NULL, 0, sealed[i], 64, out, tags[i]),
					-EBADMSG);
		}
		/* A secret that is written to is another key, also while the old one is cached. */
		assert_int_equal(crypto_open(CRYPTO_AES256_GCM, keys[0], nonce, nonce, NULL, 0,
					 sealed[0], 64, out, tags[0]),
			0);
		memcpy(secret_bytes(keys[0]), secret_peek(keys[1]), 32);
		assert_int_equal(crypto_open(CRYPTO_AES256_GCM, keys[0], nonce, nonce, NULL, 0,
					 sealed[1], 64, out, tags[1]),
			0);
		for (int i = 0; i < KEYS; i++)
			secret_free(keys[i]);
	}
	crypto_forget();
}

/* "NIST SIV test vectors (256-bit subkeys)", one header; RFC 5297's own have 128-bit subkeys. */
static void names_seal_as_published(void **state)
{
	(void)state;
	static const struct {
		const char *key, *ad, *plain, *sealed;
	} rows[] = {
		{"fffefdfcfbfaf9f8f7f6f5f4f3f2f1f06f6e6d6c6b6a69686766656463626160"
		 "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f",
			"101112131415161718191a1b1c1d1e1f2021222324252627",
			"112233445566778899aabbccddee",
			"f125274c598065cfc26b0e71575029088b035217e380cac8919ee800c126"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t ad[64], plain[64], sealed[80], out[80];
		AUTO_SECRET *key = secret_hex(rows[i].key);
		size_t ad_len = unhex(rows[i].ad, ad, sizeof(ad));
		size_t len = unhex(rows[i].plain, plain, sizeof(plain));
		size_t sealed_len = unhex(rows[i].sealed, sealed, sizeof(sealed));
		for (int round = 0; round < 3; round++) {
			assert_int_equal(crypto_siv_seal(key, ad, ad_len, plain, len, out), 0);
			assert_memory_equal(out, sealed, sealed_len);
			memset(out, 0, sizeof(out));
			assert_int_equal(
				crypto_siv_open(key, ad, ad_len, sealed, sealed_len, out), 0);
			assert_memory_equal(out, plain, len);
		}
	}
}

/* Every way in which a text can end: digests of what libcrypto's own AES-256-SIV makes of it. */
static void names_of_every_length_seal_as_elsewhere(void **state)
{
	(void)state;
	static const struct {
		size_t len, ad_len;
		const char *digest;
	} rows[] = {
		{1, 16, "2b8e021e9d54f765e826346ad49c0190"},
		{15, 16, "5bbb054371b2f0d445a170e0543d3a04"},
		{16, 16, "26f1bdc5cfaa434f23f46138df509de2"},
		{17, 1, "d936865d5b21b75808e0c75e73f7bfd3"},
		{31, 16, "b106edfc13a26dd6244e10d6c9ac537d"},
		{32, 16, "0f7cbe4d3b07fcdafe41321f8f5fe002"},
		{33, 16, "6bb70efb73462c8a11c07c558a52d9bd"},
		{48, 16, "756a9a9054cda7a8d748363beb3a4821"},
		{255, 16, "9139b8461358496b202fb32e5008e906"},
	};
	AUTO_SECRET *key = secret_new(64);
	uint8_t plain[256], ad[16], sealed[272], digest[16], expected[16];
	for (int i = 0; i < 256; i++)
		plain[i] = (uint8_t)i;
	for (int i = 0; i < 16; i++)
		ad[i] = (uint8_t)(255 - i);
	memcpy(secret_bytes(key), plain, 64);
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(
			crypto_siv_seal(key, ad, rows[i].ad_len, plain, rows[i].len, sealed), 0);
		crypto_digest(sealed, rows[i].len + 16, digest, 16);
		unhex(rows[i].digest, expected, 16);
		assert_memory_equal(digest, expected, 16);
	}
}

/* More keys than a thread keeps, and keys that change. */
static void name_keys_are_never_mixed_up(void **state)
{
	(void)state;
	enum { KEYS = 20 };
	struct secret *keys[KEYS];
	uint8_t sealed[KEYS][36], plain[20] = {1}, out[20];
	for (int i = 0; i < KEYS; i++) {
		keys[i] = secret_random(64);
		assert_int_equal(crypto_siv_seal(keys[i], "ad", 2, plain, 20, sealed[i]), 0);
	}
	for (int i = 0; i < KEYS; i++) {
		assert_int_equal(crypto_siv_open(keys[i], "ad", 2, sealed[i], 36, out), 0);
		assert_int_equal(crypto_siv_open(keys[i], "ad", 2, sealed[(i + 8) % KEYS], 36, out),
			-EBADMSG);
		memcpy(secret_bytes(keys[i]), secret_peek(keys[(i + 1) % KEYS]), 64);
		assert_int_equal(crypto_siv_open(keys[i], "ad", 2, sealed[i], 36, out), -EBADMSG);
		assert_int_equal(crypto_siv_open(keys[i], "ad", 2, sealed[(i + 1) % KEYS], 36, out),
			i + 1 < KEYS ? 0 : -EBADMSG);
		crypto_forget();
	}
	for (int i = 0; i < KEYS; i++)
		secret_free(keys[i]);
}

static void a_changed_name_does_not_open(void **state)
{
	(void)state;
	AUTO_SECRET *key = secret_random(64);
	AUTO_SECRET *other = secret_random(64);
	for (size_t len = 1; len <= 300; len++) {
		uint8_t plain[300], sealed[316], out[300], ad[16] = {1};
		memset(plain, (int)len, sizeof(plain));
		assert_int_equal(crypto_siv_seal(key, ad, 16, plain, len, sealed), 0);
		assert_int_equal(crypto_siv_open(key, ad, 16, sealed, len + 16, out), 0);
		assert_memory_equal(out, plain, len);
		sealed[len + 15] ^= 1;
		assert_int_equal(crypto_siv_open(key, ad, 16, sealed, len + 16, out), -EBADMSG);
		assert_true(bytes_all_zero(out, len));
		sealed[len + 15] ^= 1;
		sealed[0] ^= 1;
		assert_int_equal(crypto_siv_open(key, ad, 16, sealed, len + 16, out), -EBADMSG);
		sealed[0] ^= 1;
		ad[15] ^= 1;
		assert_int_equal(crypto_siv_open(key, ad, 16, sealed, len + 16, out), -EBADMSG);
		ad[15] ^= 1;
		assert_int_equal(crypto_siv_open(other, ad, 16, sealed, len + 16, out), -EBADMSG);
		assert_int_equal(crypto_siv_open(key, ad, 16, sealed, 16, out), -EBADMSG);
	}
}

static void hashes_are_as_published(void **state)
{
	(void)state;
	uint8_t expected[64], out[64], in[256];
	for (int i = 0; i < 256; i++)
		in[i] = (uint8_t)i;
	/* RFC 7693, appendix A */
	unhex("ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
	      "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
		expected, 64);
	crypto_digest("abc", 3, out, 64);
	assert_memory_equal(out, expected, 64);
	/* blake2b-kat.txt: key 00..3f, inputs of 0 and 3 bytes */
	AUTO_SECRET *key = secret_new(64);
	memcpy(secret_bytes(key), in, 64);
	unhex("10ebb67700b1868efb4417987acf4690ae9d972fb7a590c2f02871799aaa4786"
	      "b5e996e8f0f4eb981fc214b005f42d2ff4233499391653df7aefcbc13fc51568",
		expected, 64);
	crypto_mac(key, NULL, 0, out, 64);
	assert_memory_equal(out, expected, 64);
	unhex("33d0825dddf7ada99b0e7e307104ad07ca9cfd9692214f1561356315e784f3e5"
	      "a17e364ae9dbb14cb2036df932b77f4b292761365fb328de7afdc6d8998f5fc1",
		expected, 64);
	crypto_mac(key, in, 3, out, 64);
	assert_memory_equal(out, expected, 64);
	/* SipHash reference, vectors_sip128: key 00..0f, inputs of 0, 1 and 2 bytes */
	static const char *const sip[] = {"a3817f04ba25a8e66df67214c7550293",
		"da87c1d86b99af44347659119b22fc45", "8177228da4a45dc7fca38bdef60affe4"};
	for (size_t i = 0; i < COUNT(sip); i++) {
		unhex(sip[i], expected, 16);
		crypto_siphash(key, in, i, out);
		assert_memory_equal(out, expected, 16);
	}
}

static void derived_keys_depend_on_everything(void **state)
{
	(void)state;
	AUTO_SECRET *key =
		secret_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
	AUTO_SECRET *a = crypto_derive(key, "label", "context", 7, 32);
	/* By its definition: keyed BLAKE2b over length, label, context. */
	uint8_t mac[32];
	crypto_mac(key, "\005labelcontext", 13, mac, 32);
	assert_memory_equal(secret_peek(a), mac, 32);
	static const struct {
		const char *label, *context;
		size_t len;
	} rows[] = {{"labelc", "ontext", 32}, {"label", "contexu", 32}, {"label", "", 32},
		{"label", "context", 64}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_SECRET *b = crypto_derive(
			key, rows[i].label, rows[i].context, strlen(rows[i].context), rows[i].len);
		assert_int_equal(secret_len(b), rows[i].len);
		assert_memory_not_equal(secret_peek(b), mac, 32);
	}
	assert_null(crypto_derive(key, "l", NULL, 0, 15));
	assert_null(crypto_derive(key, "l", NULL, 0, 65));
	/* A key of more than 64 bytes counts as its hash. */
	AUTO_SECRET *longer = secret_random(1000);
	AUTO_SECRET *hashed = secret_new(64);
	crypto_digest(secret_peek(longer), 1000, secret_bytes(hashed), 64);
	AUTO_SECRET *c = crypto_derive(longer, "l", NULL, 0, 32);
	AUTO_SECRET *d = crypto_derive(hashed, "l", NULL, 0, 32);
	assert_true(secret_equal(c, d));
}

static void base64url_is_canonical(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		ssize_t result;
		const char *bytes;
	} rows[] = {
		/* RFC 4648, section 10, without padding */
		{"", 0, ""},
		{"Zg", 1, "f"},
		{"Zm8", 2, "fo"},
		{"Zm9v", 3, "foo"},
		{"Zm9vYg", 4, "foob"},
		{"Zm9vYmE", 5, "fooba"},
		{"Zm9vYmFy", 6, "foobar"},
		{"-_-_", 3, "\xfb\xff\xbf"},
		{"Zg==", -EBADMSG, ""},
		{"Zm8=", -EBADMSG, ""},
		{"+_-_", -EBADMSG, ""},
		{"-/-_", -EBADMSG, ""},
		{"Zh", -EBADMSG, ""},
		{"Zm9", -EBADMSG, ""},
		{"Z", -EBADMSG, ""},
		{"Zm9vY", -EBADMSG, ""},
		{"Zm 9", -EBADMSG, ""},
		{"Zm9\n", -EBADMSG, ""},
		{"Zm\xc3\xa4", -EBADMSG, ""},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t out[16];
		char text[32];
		ssize_t n = crypto_unb64(rows[i].text, strlen(rows[i].text), out, sizeof(out));
		assert_int_equal(n, rows[i].result);
		if (n < 0)
			continue;
		assert_memory_equal(out, rows[i].bytes, n);
		if (n > 0)
			assert_int_equal(crypto_unb64(rows[i].text, strlen(rows[i].text), out,
						 (size_t)n - 1),
				-EBADMSG);
		crypto_b64(rows[i].bytes, (size_t)n, text);
		assert_string_equal(text, rows[i].text);
		assert_int_equal(strlen(text), crypto_b64_len((size_t)n));
	}
	for (size_t len = 0; len < 70; len++) {
		uint8_t in[70], out[70];
		char text[100];
		crypto_random(in, sizeof(in));
		crypto_b64(in, len, text);
		assert_int_equal(crypto_unb64(text, strlen(text), out, sizeof(out)), len);
		assert_memory_equal(in, out, len);
	}
}

static void passphrases_stretch_as_argon2id_does(void **state)
{
	(void)state;
	/* Computed by another implementation (OpenSSL's ARGON2ID): one lane, 3 passes, 8 MiB. */
	struct crypto_pwhash p = {3, 8192, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
	AUTO_SECRET *expected =
		secret_hex("77af1c306ae70c8ad00394b671ee364ffb2e7e12f88e5045953b12dd0ccaa9db");
	AUTO_SECRET *passphrase = secret_new(13);
	memcpy(secret_bytes(passphrase), "correct horse", 13);
	AUTO_SECRET *key = NULL;
	assert_int_equal(crypto_pwhash_run(passphrase, &p, &key), 0);
	assert_true(secret_equal(key, expected));
	static const struct crypto_pwhash bad[] = {
		{0, 8192, {0}}, {1ull << 32, 8192, {0}}, {1, 7, {0}}, {1, UINT64_MAX / 1024, {0}}};
	AUTO_SECRET *none = NULL;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(crypto_pwhash_run(passphrase, &bad[i], &none), -EINVAL);
	assert_null(none);
	struct crypto_pwhash calibrated;
	assert_int_equal(crypto_pwhash_calibrate(20, 16384, &calibrated), 0);
	assert_true(calibrated.iterations >= 1 && calibrated.iterations < 1000);
	assert_true(calibrated.memory_kib >= 8192 && calibrated.memory_kib <= 16384);
	assert_false(bytes_all_zero(calibrated.salt, 16));
}

static void *spin(void *stop)
{
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED))
		;
	return NULL;
}

/* What a slot costs is what was asked for, however much else the machine has to do. */
static void calibration_is_not_disturbed(void **state)
{
	(void)state;
	pthread_t others[8];
	bool stop = false;
	AUTO_SECRET *passphrase = secret_new(16);
	for (size_t i = 0; i < COUNT(others); i++)
		assert_int_equal(pthread_create(&others[i], NULL, spin, &stop), 0);
	int64_t took[3];
	for (size_t i = 0; i < COUNT(took); i++) {
		struct crypto_pwhash p;
		struct timespec from, to;
		AUTO_SECRET *key = NULL;
		assert_int_equal(crypto_pwhash_calibrate(100, 8192, &p), 0);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
		assert_int_equal(crypto_pwhash_run(passphrase, &p, &key), 0);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
		took[i] = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < COUNT(others); i++)
		pthread_join(others[i], NULL);
	for (size_t i = 0; i < COUNT(took); i++)
		assert_in_range(took[i], 40, 300);
}

static void boxes_open_only_with_their_key(void **state)
{
	(void)state;
	uint8_t public[KEY_LEN], other_public[KEY_LEN], box[32 + CRYPTO_SEALED_BOX_EXTRA];
	AUTO_SECRET *secret = NULL;
	AUTO_SECRET *other = NULL;
	AUTO_SECRET *content = secret_random(32);
	AUTO_SECRET *out = NULL;
	assert_int_equal(crypto_box_new(public, &secret), 0);
	assert_int_equal(crypto_box_new(other_public, &other), 0);
	assert_int_equal(crypto_box_seal_to(public, content, box), 0);
	assert_int_equal(
		crypto_box_open_with(other_public, other, box, sizeof(box), &out), -EBADMSG);
	assert_int_equal(crypto_box_open_with(public, secret, box, 48, &out), -EBADMSG);
	box[40] ^= 1;
	assert_int_equal(crypto_box_open_with(public, secret, box, sizeof(box), &out), -EBADMSG);
	box[40] ^= 1;
	assert_null(out);
	assert_int_equal(crypto_box_open_with(public, secret, box, sizeof(box), &out), 0);
	assert_true(secret_equal(out, content));
	memset(public, 0, sizeof(public));
	assert_int_equal(crypto_box_seal_to(public, content, box), -EIO);
}

static void signatures_are_ed25519(void **state)
{
	(void)state;
	/* RFC 8032, 7.1, test 2: seed and public key */
	AUTO_SECRET *key =
		secret_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
			   "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
	uint8_t expected[64], signature[64], message = 0x72;
	unhex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
	      "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		expected, 64);
	crypto_sign_with(key, &message, 1, signature);
	assert_memory_equal(signature, expected, 64);
	assert_true(crypto_sign_verify(secret_peek(key) + 32, &message, 1, signature));
	signature[0] ^= 1;
	assert_false(crypto_sign_verify(secret_peek(key) + 32, &message, 1, signature));
	uint8_t public[KEY_LEN];
	AUTO_SECRET *drawn = NULL;
	assert_int_equal(crypto_sign_new(public, &drawn), 0);
	crypto_sign_with(drawn, &message, 1, signature);
	assert_true(crypto_sign_verify(public, &message, 1, signature));
}

static void a_fork_draws_other_nonces(void **state)
{
	(void)state;
	uint8_t first[12], here[12], there[12];
	int ends[2];
	crypto_nonce(first, sizeof(first)); /* the stock is filled now */
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		crypto_nonce(there, sizeof(there));
		_exit(write(ends[1], there, sizeof(there)) != sizeof(there));
	}
	crypto_nonce(here, sizeof(here));
	assert_int_equal(read(ends[0], there, sizeof(there)), sizeof(there));
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_memory_not_equal(first, here, sizeof(here));
	assert_memory_not_equal(here, there, sizeof(here));
	uint8_t longer[300] = {0};
	crypto_nonce(longer, sizeof(longer));
	assert_false(bytes_all_zero(longer + 280, 20));
}

static char wrong_content[] = "content";
static char wrong_name[] = "name";

static void *seal_and_open(void *key)
{
	uint8_t nonce[12], plain[512], sealed[512], tag[16], name[40];
	AUTO_SECRET *siv = secret_random(64);
	memset(plain, 'x', sizeof(plain));
	for (int i = 0; i < 2000; i++) {
		crypto_nonce(nonce, sizeof(nonce));
		if (crypto_seal(CRYPTO_AES256_GCM, key, nonce, nonce, NULL, 0, plain, 512, sealed,
			    tag) != 0 ||
			crypto_open(CRYPTO_AES256_GCM, key, nonce, nonce, NULL, 0, sealed, 512,
				sealed, tag) != 0 ||
			memcmp(plain, sealed, 512) != 0)
			return wrong_content;
		if (crypto_siv_seal(siv, nonce, 12, plain, 20, name) != 0 ||
			crypto_siv_open(siv, nonce, 12, name, 36, sealed) != 0 ||
			memcmp(plain, sealed, 20) != 0)
			return wrong_name;
	}
	return NULL;
}

static void threads_may_share_a_key(void **state)
{
	(void)state;
	pthread_t threads[4];
	AUTO_SECRET *key = secret_random(32);
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, seal_and_open, key), 0);
	for (size_t i = 0; i < COUNT(threads); i++) {
		void *result;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_seals_as_published),
		cmocka_unit_test(nothing_changed_opens),
		cmocka_unit_test(impossible_parameters_are_refused_and_wiped),
		cmocka_unit_test(cached_keys_are_never_mixed_up),
		cmocka_unit_test(names_seal_as_published),
		cmocka_unit_test(names_of_every_length_seal_as_elsewhere),
		cmocka_unit_test(name_keys_are_never_mixed_up),
		cmocka_unit_test(a_changed_name_does_not_open),
		cmocka_unit_test(hashes_are_as_published),
		cmocka_unit_test(derived_keys_depend_on_everything),
		cmocka_unit_test(base64url_is_canonical),
		cmocka_unit_test(passphrases_stretch_as_argon2id_does),
		cmocka_unit_test(calibration_is_not_disturbed),
		cmocka_unit_test(boxes_open_only_with_their_key),
		cmocka_unit_test(signatures_are_ed25519),
		cmocka_unit_test(a_fork_draws_other_nonces),
		cmocka_unit_test(threads_may_share_a_key),
	};
	return crypto_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
