/*
 * Sealing and opening. The hot path (one call a 4096-byte block) allocates nothing: each thread
 * keeps a few libcrypto contexts with expanded keys, found by the secret's id, which is never
 * reused.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <sodium.h>

#include "keymgmt/crypto.h"
#include "keymgmt/crypto_internal.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define WAYS 8 /* contexts a thread keeps, chosen by the low bits of the id */
#define STOCK_PAGE 4096

/* Zeroed by the kernel in a fork's copy, so that parent and child never hand out the same bytes. */
struct stock {
	uint32_t left; /* bytes, at the end of `bytes` */
	uint8_t bytes[STOCK_PAGE - sizeof(uint32_t)];
};

struct cached {
	uint64_t id; /* 0: no key */
	EVP_CIPHER_CTX *ctx;
};

struct thread_state {
	struct cached gcm[WAYS];
	struct stock *stock; /* NULL when it cannot be had */
};

/* Set once by crypto_aead_init, before threads start. */
static EVP_CIPHER *gcm_cipher;
static pthread_key_t thread_key;
static _Thread_local struct thread_state *thread_state;

static void thread_state_free(void *pointer)
{
	struct thread_state *t = pointer;
	for (int i = 0; i < WAYS; i++)
		EVP_CIPHER_CTX_free(t->gcm[i].ctx); /* wipes the expanded key */
	if (t->stock)
		munmap(t->stock, sizeof(*t->stock));
	free(t);
	thread_state = NULL;
}

int crypto_aead_init(void)
{
	EVP_CIPHER *gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (!gcm || pthread_key_create(&thread_key, thread_state_free) != 0) {
		EVP_CIPHER_free(gcm);
		return -EIO;
	}
	gcm_cipher = gcm;
	return 0;
}

static struct stock *stock_new(void)
{
	_Static_assert(sizeof(struct stock) == STOCK_PAGE, "one page");
	void *p =
		mmap(NULL, STOCK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, STOCK_PAGE, MADV_WIPEONFORK) < 0) {
		munmap(p, STOCK_PAGE);
		return NULL;
	}
	return p;
}

/* This thread's state, or NULL when memory is short. */
static struct thread_state *mine(void)
{
	if (thread_state)
		return thread_state;
	struct thread_state *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->stock = stock_new();
	if (pthread_setspecific(thread_key, t) != 0) {
		thread_state_free(t);
		return NULL;
	}
	thread_state = t;
	return t;
}

void crypto_aead_forget(void)
{
	if (!thread_state)
		return;
	struct thread_state *t = thread_state;
	pthread_setspecific(thread_key, NULL);
	thread_state_free(t);
}

bool crypto_aead_stock(void *bytes, size_t len)
{
	struct thread_state *t = mine();
	if (!t || !t->stock || len > 64)
		return false;
	struct stock *s = t->stock;
	if (s->left < len) {
		randombytes_buf(s->bytes, sizeof(s->bytes));
		s->left = sizeof(s->bytes);
	}
	memcpy(bytes, s->bytes + sizeof(s->bytes) - s->left, len);
	s->left -= (uint32_t)len;
	return true;
}

/* A context that holds key, ready for the nonce. 0, -ENOMEM, -EIO. */
static int gcm_start(
	const struct secret *key, const uint8_t *nonce, bool seal, EVP_CIPHER_CTX **ret)
{
	struct thread_state *t = mine();
	if (!t)
		return -ENOMEM;
	uint64_t id = secret_id(key);
	struct cached *c = &t->gcm[id % WAYS];
	bool known = c->id == id;
	if (!c->ctx && !(c->ctx = EVP_CIPHER_CTX_new()))
		return -ENOMEM;
	c->id = 0; /* until it worked */
	/* The cipher is fetched and the lengths are right: it can only lack memory. */
	if (EVP_CipherInit_ex2(c->ctx, EVP_CIPHER_CTX_get0_cipher(c->ctx) ? NULL : gcm_cipher,
		    known ? NULL : secret_peek(key), nonce, seal, NULL) != 1)
		return -ENOMEM;
	c->id = id;
	*ret = c->ctx;
	return 0;
}

/* Feeds the associated data and the text, without the tag. */
static bool gcm_update(
	EVP_CIPHER_CTX *ctx, const void *ad, size_t ad_len, const void *in, size_t len, void *out)
{
	int n;
	if (ad_len && EVP_CipherUpdate(ctx, NULL, &n, ad, (int)ad_len) != 1)
		return false;
	return !len || (EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1 && n == (int)len);
}

static int gcm_seal(const struct secret *key, const uint8_t *nonce, const void *ad, size_t ad_len,
	const void *in, size_t len, void *out, uint8_t *tag)
{
	EVP_CIPHER_CTX *ctx;
	uint8_t none[16];
	int n, r = gcm_start(key, nonce, true, &ctx);
	if (r < 0)
		return r;
	if (!gcm_update(ctx, ad, ad_len, in, len, out) || EVP_CipherFinal_ex(ctx, none, &n) != 1 ||
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_LEN, tag) != 1)
		return -EIO;
	return 0;
}

static int gcm_open(const struct secret *key, const uint8_t *nonce, const void *ad, size_t ad_len,
	const void *in, size_t len, void *out, const uint8_t *tag)
{
	EVP_CIPHER_CTX *ctx;
	uint8_t none[16], expected[CRYPTO_TAG_LEN];
	int n, r = gcm_start(key, nonce, false, &ctx);
	if (r < 0)
		return r;
	memcpy(expected, tag, sizeof(expected));
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG_LEN, expected) != 1 ||
		!gcm_update(ctx, ad, ad_len, in, len, out))
		return -EIO;
	return EVP_CipherFinal_ex(ctx, none, &n) == 1 ? 0 : -EBADMSG;
}

static int xchacha_seal(const struct secret *key, const uint8_t *nonce, const uint8_t *suffix,
	const void *ad, size_t ad_len, const void *in, size_t len, void *out, uint8_t *tag)
{
	uint8_t full[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
	memcpy(full, nonce, 12);
	memcpy(full + 12, suffix, 12);
	crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
		out, tag, NULL, in, len, ad, ad_len, NULL, full, secret_peek(key));
	return 0;
}

static int xchacha_open(const struct secret *key, const uint8_t *nonce, const uint8_t *suffix,
	const void *ad, size_t ad_len, const void *in, size_t len, void *out, const uint8_t *tag)
{
	uint8_t full[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
	memcpy(full, nonce, 12);
	memcpy(full + 12, suffix, 12);
	int r = crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
		out, NULL, in, len, tag, ad, ad_len, full, secret_peek(key));
	return r == 0 ? 0 : -EBADMSG;
}

int crypto_seal(enum crypto_suite suite, const struct secret *key, const uint8_t nonce[static 12],
	const uint8_t nonce_suffix[static 12], const void *ad, size_t ad_len, const void *in,
	size_t len, void *out, uint8_t tag[static CRYPTO_TAG_LEN])
{
	if (secret_len(key) != KEY_LEN || len > INT_MAX || ad_len > INT_MAX)
		return -EIO;
	int r = -EIO;
	if (suite == CRYPTO_AES256_GCM)
		r = gcm_seal(key, nonce, ad, ad_len, in, len, out, tag);
	else if (suite == CRYPTO_XCHACHA20_POLY1305)
		r = xchacha_seal(key, nonce, nonce_suffix, ad, ad_len, in, len, out, tag);
	if (r < 0 && len)
		sodium_memzero(out, len); /* in place, it may still be the plaintext */
	return r;
}

int crypto_open(enum crypto_suite suite, const struct secret *key, const uint8_t nonce[static 12],
	const uint8_t nonce_suffix[static 12], const void *ad, size_t ad_len, const void *in,
	size_t len, void *out, const uint8_t tag[static CRYPTO_TAG_LEN])
{
	if (secret_len(key) != KEY_LEN || len > INT_MAX || ad_len > INT_MAX)
		return -EIO;
	int r = -EIO;
	if (suite == CRYPTO_AES256_GCM)
		r = gcm_open(key, nonce, ad, ad_len, in, len, out, tag);
	else if (suite == CRYPTO_XCHACHA20_POLY1305)
		r = xchacha_open(key, nonce, nonce_suffix, ad, ad_len, in, len, out, tag);
	if (r < 0 && len)
		sodium_memzero(out, len);
	return r;
}
