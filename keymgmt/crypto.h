/*
 * The only callers of libsodium and libcrypto are secret.c and crypto*.c. Standard constructions
 * only. All functions are thread-safe after crypto_init(). Lengths are bytes.
 */
#ifndef KEYMGMT_CRYPTO_H
#define KEYMGMT_CRYPTO_H

#include "keymgmt/secret.h"

#include <sys/types.h>

/*
 * libsodium exports these names. A program that defined or called them by mistake would be linked
 * to, or would replace, libsodium's own: use crypto_digest, crypto_box_new, crypto_sign_new,
 * crypto_pwhash_run.
 */
#if !defined(sodium_H)
#pragma GCC poison crypto_hash crypto_box_keypair crypto_sign_keypair
#endif

/* Content suites, docs/format.md: stored as one byte. */
enum crypto_suite {
	CRYPTO_AES256_GCM = 1,
	CRYPTO_XCHACHA20_POLY1305 = 2,
};

#define CRYPTO_NONCE_LEN 12 /* as stored, in both suites */
#define CRYPTO_TAG_LEN 16
#define CRYPTO_SIV_LEN 16 /* what sealing with SIV adds */
#define CRYPTO_MAC_LEN 32
#define CRYPTO_ID_LEN 16
#define CRYPTO_SIGNATURE_LEN 64
#define CRYPTO_SEALED_BOX_EXTRA 48 /* crypto_box_seal: ephemeral key and tag */

/* Once per process, before any other call. 0, or -EIO when a library refuses. */
MUST_USE int crypto_init(void);

/* Random bytes of the kernel; more than 1,024, as for overwriting, are ChaCha20's under a key that
 * the kernel gave (libsodium's randombytes_buf_deterministic, to 256 GiB). Aborts the process when
 * the kernel gives none. */
void crypto_random(void *bytes, size_t len);
/*
 * Random bytes that are stored in the clear (nonces, salts; len <= 64): taken from a stock that
 * each thread draws from the kernel a page at a time, and that a fork empties. Not for keys.
 */
void crypto_nonce(void *bytes, size_t len);
bool crypto_equal(const void *a, const void *b, size_t len); /* constant-time */
void crypto_wipe(void *bytes, size_t len);

/*
 * Content AEAD. nonce: 12 bytes, random per message. nonce_suffix: the 12 bytes that suite 2 puts
 * behind it to make its 24 (block number 8 || zeros 4, or the first 12 of the file id); suite 1
 * ignores it. in and out may be the same. Keys are 32 bytes. Source: NIST SP 800-38D; libsodium's
 * IETF XChaCha20. 0; -EBADMSG from open (out is then wiped); -EIO when the library fails; -ENOMEM.
 */
MUST_USE int crypto_seal(enum crypto_suite suite, const struct secret *key,
	const uint8_t nonce[static 12], const uint8_t nonce_suffix[static 12], const void *ad,
	size_t ad_len, const void *in, size_t len, void *out, uint8_t tag[static CRYPTO_TAG_LEN]);
MUST_USE int crypto_open(enum crypto_suite suite, const struct secret *key,
	const uint8_t nonce[static 12], const uint8_t nonce_suffix[static 12], const void *ad,
	size_t ad_len, const void *in, size_t len, void *out,
	const uint8_t tag[static CRYPTO_TAG_LEN]);

/*
 * Each thread keeps the expanded keys of the last few secrets that it sealed or opened with, until
 * it uses others, ends or calls this.
 */
void crypto_forget(void);

/*
 * AES-256-SIV (RFC 5297), deterministic. key: 64 bytes. ad_len and len >= 1.
 * out of seal: SIV 16 bytes || len bytes. in of open: len >= 17, out: len - 16 bytes. in and out do
 * not overlap. 0; -EBADMSG; -EIO; -ENOMEM.
 */
MUST_USE int crypto_siv_seal(const struct secret *key, const void *ad, size_t ad_len,
	const void *in, size_t len, uint8_t *out);
MUST_USE int crypto_siv_open(const struct secret *key, const void *ad, size_t ad_len,
	const uint8_t *in, size_t len, void *out);

/*
 * A new secret of out_len (16..64) bytes: BLAKE2b-out_len keyed by `key`, over label (its length as
 * one byte, then its bytes) and context. The same inputs give the same secret. A key longer than 64
 * bytes counts as its BLAKE2b-512. label: at most 255 bytes. NULL when memory is short.
 */
struct secret *crypto_derive(const struct secret *key, const char *label, const void *context,
	size_t context_len, size_t out_len);

/* Keyed BLAKE2b (a key longer than 64 bytes counts as its BLAKE2b-512), mac_len 16..64 bytes. */
void crypto_mac(const struct secret *key, const void *in, size_t len, uint8_t *mac, size_t mac_len);
/* Unkeyed BLAKE2b, hash_len 16..64 bytes. */
void crypto_digest(const void *in, size_t len, uint8_t *hash, size_t hash_len);
/* SipHash-2-4 with 128-bit output; the first 16 bytes of key are used. */
void crypto_siphash(const struct secret *key, const void *in, size_t len, uint8_t out[static 16]);

/* base64url without padding, RFC 4648. ret_text needs crypto_b64_len(len) + 1 bytes. */
static inline size_t crypto_b64_len(size_t len)
{
	return (len * 4 + 2) / 3;
}
void crypto_b64(const void *in, size_t len, char *ret_text);
/* Bytes decoded (<= max), or -EBADMSG for anything but the canonical encoding. */
MUST_USE ssize_t crypto_unb64(const char *text, size_t text_len, void *ret_bytes, size_t max);

/* Argon2id (RFC 9106), one lane. 32 bytes. -ENOMEM when memory_kib cannot be had; -EINVAL outside
 * libsodium's limits. */
struct crypto_pwhash {
	uint64_t iterations; /* opslimit */
	uint64_t memory_kib;
	uint8_t salt[16];
};
MUST_USE int crypto_pwhash_run(const struct secret *passphrase,
	const struct crypto_pwhash *parameters, struct secret **ret_key);
/* Parameters that take about milliseconds of processor time here with at most memory_kib; fresh
 * salt. Takes about as long itself. -ENOMEM. */
MUST_USE int crypto_pwhash_calibrate(
	unsigned milliseconds, uint64_t memory_kib, struct crypto_pwhash *ret);

/* X25519 sealed boxes (libsodium crypto_box_seal). out: len + 48 bytes. */
MUST_USE int crypto_box_new(uint8_t ret_public[static KEY_LEN], struct secret **ret_secret);
MUST_USE int crypto_box_seal_to(
	const uint8_t public_key[static KEY_LEN], const struct secret *in, uint8_t *out);
/* in_len = secret length + 48. -EBADMSG when it was not sealed to this key. */
MUST_USE int crypto_box_open_with(const uint8_t public_key[static KEY_LEN],
	const struct secret *secret_key, const uint8_t *in, size_t in_len, struct secret **ret);

/* Ed25519. secret_key is libsodium's 64-byte form. */
MUST_USE int crypto_sign_new(uint8_t ret_public[static KEY_LEN], struct secret **ret_secret);
void crypto_sign_with(const struct secret *secret_key, const void *in, size_t len,
	uint8_t ret_signature[static CRYPTO_SIGNATURE_LEN]);
bool crypto_sign_verify(const uint8_t public_key[static KEY_LEN], const void *in, size_t len,
	const uint8_t signature[static CRYPTO_SIGNATURE_LEN]);

#endif
