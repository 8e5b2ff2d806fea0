#include <sodium.h>

#include "keymgmt/crypto.h"
#include "keymgmt/crypto_internal.h"

#include <errno.h>
#include <string.h>

int crypto_init(void)
{
	static bool done; /* before threads start */
	if (done)
		return 0;
	if (sodium_init() < 0)
		return -EIO;
	int r = crypto_aead_init();
	if (r < 0)
		return r;
	r = crypto_siv_init();
	if (r < 0)
		return r;
	done = true;
	return 0;
}

void crypto_forget(void)
{
	crypto_aead_forget();
	crypto_siv_forget();
}

/* The kernel is asked for 256 bytes at a time, a system call each: more come from a seed of its. */
#define FROM_THE_KERNEL 1024

void crypto_random(void *bytes, size_t len)
{
	uint8_t seed[randombytes_SEEDBYTES];
	if (len <= FROM_THE_KERNEL) {
		randombytes_buf(bytes, len);
		return;
	}
	randombytes_buf(seed, sizeof(seed));
	randombytes_buf_deterministic(bytes, len, seed);
	sodium_memzero(seed, sizeof(seed));
}

void crypto_nonce(void *bytes, size_t len)
{
	if (!crypto_aead_stock(bytes, len))
		randombytes_buf(bytes, len);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

void crypto_wipe(void *bytes, size_t len)
{
	sodium_memzero(bytes, len);
}

/* BLAKE2b takes keys of up to 64 bytes; longer ones (key files) are hashed first, as HMAC does. */
static void keyed_start(crypto_generichash_state *state, const struct secret *key, size_t out_len)
{
	if (secret_len(key) <= crypto_generichash_KEYBYTES_MAX) {
		crypto_generichash_init(state, secret_peek(key), secret_len(key), out_len);
		return;
	}
	uint8_t hash[crypto_generichash_KEYBYTES_MAX];
	crypto_generichash(hash, sizeof(hash), secret_peek(key), secret_len(key), NULL, 0);
	crypto_generichash_init(state, hash, sizeof(hash), out_len);
	sodium_memzero(hash, sizeof(hash));
}

struct secret *crypto_derive(const struct secret *key, const char *label, const void *context,
	size_t context_len, size_t out_len)
{
	size_t label_len = strlen(label);
	if (label_len > UINT8_MAX || out_len < 16 || out_len > 64)
		return NULL;
	struct secret *out = secret_new(out_len);
	if (!out)
		return NULL;
	crypto_generichash_state state;
	uint8_t prefix = (uint8_t)label_len;
	keyed_start(&state, key, out_len);
	crypto_generichash_update(&state, &prefix, 1);
	crypto_generichash_update(&state, (const uint8_t *)label, label_len);
	if (context_len)
		crypto_generichash_update(&state, context, context_len);
	crypto_generichash_final(&state, secret_bytes(out), out_len);
	sodium_memzero(&state, sizeof(state));
	return out;
}

void crypto_mac(const struct secret *key, const void *in, size_t len, uint8_t *mac, size_t mac_len)
{
	crypto_generichash_state state;
	keyed_start(&state, key, mac_len);
	if (len)
		crypto_generichash_update(&state, in, len);
	crypto_generichash_final(&state, mac, mac_len);
	sodium_memzero(&state, sizeof(state));
}

void crypto_digest(const void *in, size_t len, uint8_t *hash, size_t hash_len)
{
	crypto_generichash(hash, hash_len, in, len, NULL, 0);
}

void crypto_siphash(const struct secret *key, const void *in, size_t len, uint8_t out[static 16])
{
	crypto_shorthash_siphashx24(out, in, len, secret_peek(key));
}

static const char b64_digits[64] = {'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M',
	'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e',
	'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w',
	'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-', '_'};

void crypto_b64(const void *in, size_t len, char *ret_text)
{
	const uint8_t *p = in;
	while (len >= 3) {
		uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
		*ret_text++ = b64_digits[v >> 18];
		*ret_text++ = b64_digits[v >> 12 & 63];
		*ret_text++ = b64_digits[v >> 6 & 63];
		*ret_text++ = b64_digits[v & 63];
		p += 3;
		len -= 3;
	}
	if (len) {
		uint32_t v = (uint32_t)p[0] << 16 | (len == 2 ? (uint32_t)p[1] << 8 : 0);
		*ret_text++ = b64_digits[v >> 18];
		*ret_text++ = b64_digits[v >> 12 & 63];
		if (len == 2)
			*ret_text++ = b64_digits[v >> 6 & 63];
	}
	*ret_text = 0;
}

/* 0..63, or -1 */
static int b64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

ssize_t crypto_unb64(const char *text, size_t text_len, void *ret_bytes, size_t max)
{
	size_t len = text_len / 4 * 3 + text_len % 4 * 3 / 4;
	if (text_len % 4 == 1 || len > max)
		return -EBADMSG;
	uint8_t *out = ret_bytes;
	uint32_t v = 0;
	unsigned bits = 0;
	for (size_t i = 0; i < text_len; i++) {
		int digit = b64_value(text[i]);
		if (digit < 0)
			return -EBADMSG;
		v = v << 6 | (uint32_t)digit;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			*out++ = (uint8_t)(v >> bits);
			v &= (1u << bits) - 1;
		}
	}
	/* One text for one value: bits that encode nothing must be zero. */
	return v ? -EBADMSG : (ssize_t)len;
}
