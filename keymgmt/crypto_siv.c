/*
 * AES-256-SIV (RFC 5297) put together from libcrypto's AES-CBC (for CMAC, NIST SP 800-38B) and
 * AES-CTR. libcrypto's own SIV fetches its parts and expands both keys for every message, which is
 * ten times the work for a file name. The unit test holds published vectors and ones that
 * libcrypto's SIV computed.
 */
#include <openssl/evp.h>

#include "keymgmt/crypto.h"
#include "keymgmt/crypto_internal.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#define WAYS 8 /* keys that a thread keeps, chosen by the low bits of the id */
#define BLOCK 16

struct siv {
	uint64_t id; /* of the secret; 0: none */
	EVP_CIPHER_CTX *cbc, *ctr;
	uint8_t last_full[BLOCK], last_padded[BLOCK]; /* CMAC's K1 and K2 */
	uint8_t start[BLOCK];                         /* CMAC of the zero block, doubled */
};

struct siv_cache {
	struct siv way[WAYS];
};

/* Set once by crypto_siv_init, before threads start. */
static EVP_CIPHER *cbc_cipher, *ctr_cipher;
static pthread_key_t cache_key;
static _Thread_local struct siv_cache *cache;

static void siv_done(struct siv *s)
{
	EVP_CIPHER_CTX_free(s->cbc); /* wipes the expanded key */
	EVP_CIPHER_CTX_free(s->ctr);
	crypto_wipe(s, sizeof(*s));
}

static void cache_free(void *pointer)
{
	struct siv_cache *c = pointer;
	for (int i = 0; i < WAYS; i++)
		siv_done(&c->way[i]);
	free(c);
	cache = NULL;
}

int crypto_siv_init(void)
{
	EVP_CIPHER *cbc = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	EVP_CIPHER *ctr = EVP_CIPHER_fetch(NULL, "AES-256-CTR", NULL);
	if (!cbc || !ctr || pthread_key_create(&cache_key, cache_free) != 0) {
		EVP_CIPHER_free(cbc);
		EVP_CIPHER_free(ctr);
		return -EIO;
	}
	cbc_cipher = cbc;
	ctr_cipher = ctr;
	return 0;
}

void crypto_siv_forget(void)
{
	if (!cache)
		return;
	struct siv_cache *c = cache;
	pthread_setspecific(cache_key, NULL);
	cache_free(c);
}

static void xor_block(uint8_t *a, const uint8_t *b)
{
	for (int i = 0; i < BLOCK; i++)
		a[i] ^= b[i];
}

/* Doubling in GF(2^128), RFC 5297, 2.3, in constant time. */
static void dbl(uint8_t *b)
{
	uint8_t carry = (uint8_t) - (b[0] >> 7);
	for (int i = 0; i < BLOCK - 1; i++)
		b[i] = (uint8_t)(b[i] << 1 | b[i + 1] >> 7);
	b[BLOCK - 1] = (uint8_t)(b[BLOCK - 1] << 1 ^ (carry & 0x87));
}

/* Chains len bytes, a multiple of the block, through CBC; the last block of output, if any, goes to
 * ret. */
static bool chain(struct siv *s, const uint8_t *in, size_t len, uint8_t *ret)
{
	uint8_t out[256];
	int n;
	while (len) {
		size_t part = len < sizeof(out) ? len : sizeof(out);
		if (EVP_EncryptUpdate(s->cbc, out, &n, in, (int)part) != 1 || n != (int)part)
			return false;
		memcpy(ret, out + part - BLOCK, BLOCK);
		in += part;
		len -= part;
	}
	return true;
}

static bool chain_start(struct siv *s)
{
	static const uint8_t zero[BLOCK];
	return EVP_EncryptInit_ex2(s->cbc, NULL, NULL, zero, NULL) == 1;
}

/*
 * CMAC of in[0..len), with `end` (NULL: nothing) XORed into its last 16 bytes, of which there must
 * be as many then: what RFC 5297 calls xorend.
 */
static bool cmac(struct siv *s, const uint8_t *in, size_t len, const uint8_t *end, uint8_t *ret)
{
	/* The last one or two blocks are put together here, since `end` may straddle both. */
	uint8_t tail[2 * BLOCK] = {0};
	size_t before = len > BLOCK ? (len - 1) / BLOCK * BLOCK - BLOCK : 0;
	size_t left = len - before;
	memcpy(tail, in + before, left);
	for (int i = 0; end && i < BLOCK; i++)
		tail[left - BLOCK + i] ^= end[i];
	size_t padded = left > BLOCK ? 2 * BLOCK : BLOCK;
	if (left < padded)
		tail[left] = 0x80;
	xor_block(tail + padded - BLOCK, left < padded ? s->last_padded : s->last_full);
	bool ok = chain_start(s) && chain(s, in, before, ret) && chain(s, tail, padded, ret);
	crypto_wipe(tail, sizeof(tail));
	return ok;
}

static int set_key(struct siv *s, const struct secret *key)
{
	static const uint8_t zero[BLOCK];
	s->id = 0;
	if ((!s->cbc && !(s->cbc = EVP_CIPHER_CTX_new())) ||
		(!s->ctr && !(s->ctr = EVP_CIPHER_CTX_new())))
		return -ENOMEM;
	const uint8_t *bytes = secret_peek(key);
	/* Ciphers are fetched and the length is right: it can only lack memory. */
	if (EVP_EncryptInit_ex2(s->cbc, cbc_cipher, bytes, zero, NULL) != 1 ||
		EVP_EncryptInit_ex2(s->ctr, ctr_cipher, bytes + KEY_LEN, zero, NULL) != 1)
		return -ENOMEM;
	if (EVP_CIPHER_CTX_set_padding(s->cbc, 0) != 1 || !chain(s, zero, BLOCK, s->last_full))
		return -EIO;
	dbl(s->last_full);
	memcpy(s->last_padded, s->last_full, BLOCK);
	dbl(s->last_padded);
	if (!cmac(s, zero, BLOCK, NULL, s->start))
		return -EIO;
	dbl(s->start);
	s->id = secret_id(key);
	return 0;
}

/* The thread's entry for the key. 0, -ENOMEM, -EIO. */
static int find(const struct secret *key, struct siv **ret)
{
	if (secret_len(key) != 2 * KEY_LEN)
		return -EIO;
	if (!cache) {
		struct siv_cache *c = calloc(1, sizeof(*c));
		if (!c)
			return -ENOMEM;
		if (pthread_setspecific(cache_key, c) != 0) {
			free(c);
			return -ENOMEM;
		}
		cache = c;
	}
	*ret = &cache->way[secret_id(key) % WAYS];
	return (*ret)->id == secret_id(key) ? 0 : set_key(*ret, key);
}

/* The synthetic IV of one associated string and a text, RFC 5297, 2.4. */
static bool s2v(
	struct siv *s, const void *ad, size_t ad_len, const uint8_t *text, size_t len, uint8_t *ret)
{
	uint8_t d[BLOCK];
	if (!cmac(s, ad, ad_len, NULL, d))
		return false;
	xor_block(d, s->start);
	if (len >= BLOCK)
		return cmac(s, text, len, d, ret);
	uint8_t last[BLOCK] = {0};
	memcpy(last, text, len);
	last[len] = 0x80;
	dbl(d);
	xor_block(last, d);
	bool ok = cmac(s, last, BLOCK, NULL, ret);
	crypto_wipe(last, sizeof(last));
	return ok;
}

static bool ctr(struct siv *s, const uint8_t *iv, const uint8_t *in, size_t len, uint8_t *out)
{
	uint8_t counter[BLOCK];
	int n;
	memcpy(counter, iv, BLOCK);
	counter[8] &= 0x7f;
	counter[12] &= 0x7f;
	return EVP_EncryptInit_ex2(s->ctr, NULL, NULL, counter, NULL) == 1 &&
	       EVP_EncryptUpdate(s->ctr, out, &n, in, (int)len) == 1 && n == (int)len;
}

int crypto_siv_seal(const struct secret *key, const void *ad, size_t ad_len, const void *in,
	size_t len, uint8_t *out)
{
	struct siv *s;
	uint8_t iv[BLOCK];
	if (ad_len < 1 || len < 1 || len > INT_MAX || ad_len > INT_MAX)
		return -EIO;
	int r = find(key, &s);
	if (r < 0)
		return r;
	if (!s2v(s, ad, ad_len, in, len, iv) || !ctr(s, iv, in, len, out + CRYPTO_SIV_LEN)) {
		crypto_wipe(out, len + CRYPTO_SIV_LEN);
		return -EIO;
	}
	memcpy(out, iv, CRYPTO_SIV_LEN);
	return 0;
}

int crypto_siv_open(const struct secret *key, const void *ad, size_t ad_len, const uint8_t *in,
	size_t len, void *out)
{
	struct siv *s;
	uint8_t expected[BLOCK];
	if (len <= CRYPTO_SIV_LEN)
		return -EBADMSG;
	if (ad_len < 1 || len > INT_MAX || ad_len > INT_MAX)
		return -EIO;
	int r = find(key, &s);
	if (r < 0)
		return r;
	len -= CRYPTO_SIV_LEN;
	bool ok =
		ctr(s, in, in + CRYPTO_SIV_LEN, len, out) && s2v(s, ad, ad_len, out, len, expected);
	if (ok && crypto_equal(in, expected, BLOCK))
		return 0;
	crypto_wipe(out, len);
	return ok ? -EBADMSG : -EIO;
}
