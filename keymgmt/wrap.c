#include "keymgmt/wrap.h"

#include <errno.h>
#include <string.h>

#define KCV_LEN 16
#define KCV_LABEL "tfs-kcv"

/* Offsets within a wrap, docs/format.md "Wraps". */
enum { AT_NONCE = 0, AT_KEY = 12, AT_TAG = AT_KEY + KEY_LEN, AT_KCV = AT_TAG + CRYPTO_TAG_LEN };
_Static_assert(AT_KCV + KCV_LEN == WRAP_LEN, "a wrap has no gaps");

static int key_check_value(
	const struct secret *key, const void *ad, size_t ad_len, uint8_t ret[static KCV_LEN])
{
	uint8_t in[256];
	const size_t label_len = sizeof(KCV_LABEL) - 1;
	if (ad_len > sizeof(in) - label_len)
		return -EIO;
	memcpy(in, KCV_LABEL, label_len);
	if (ad_len)
		memcpy(in + label_len, ad, ad_len);
	crypto_mac(key, in, label_len + ad_len, ret, KCV_LEN);
	return 0;
}

int wrap_seal(enum crypto_suite suite, const struct secret *wrapping_key, const void *ad,
	size_t ad_len, const uint8_t nonce_suffix[static 12], const struct secret *key,
	uint8_t ret_wrap[static WRAP_LEN])
{
	uint8_t wrap[WRAP_LEN];
	if (secret_len(key) != KEY_LEN || secret_len(wrapping_key) != KEY_LEN)
		return -EIO;
	crypto_nonce(wrap + AT_NONCE, CRYPTO_NONCE_LEN);
	int r = key_check_value(wrapping_key, ad, ad_len, wrap + AT_KCV);
	if (r < 0)
		return r;
	r = crypto_seal(suite, wrapping_key, wrap + AT_NONCE, nonce_suffix, ad, ad_len,
		secret_peek(key), KEY_LEN, wrap + AT_KEY, wrap + AT_TAG);
	if (r < 0)
		return r;
	memcpy(ret_wrap, wrap, WRAP_LEN);
	return 0;
}

int wrap_open(enum crypto_suite suite, const struct secret *wrapping_key, const void *ad,
	size_t ad_len, const uint8_t nonce_suffix[static 12], const uint8_t wrap[static WRAP_LEN],
	struct secret **ret_key)
{
	uint8_t kcv[KCV_LEN];
	if (secret_len(wrapping_key) != KEY_LEN)
		return -EIO;
	int r = key_check_value(wrapping_key, ad, ad_len, kcv);
	if (r < 0)
		return r;
	if (!crypto_equal(kcv, wrap + AT_KCV, KCV_LEN))
		return -EKEYREJECTED;
	AUTO_SECRET *key = secret_new(KEY_LEN);
	if (!key)
		return -ENOMEM;
	r = crypto_open(suite, wrapping_key, wrap + AT_NONCE, nonce_suffix, ad, ad_len,
		wrap + AT_KEY, KEY_LEN, secret_bytes(key), wrap + AT_TAG);
	if (r < 0)
		return r;
	*ret_key = key;
	key = NULL;
	return 0;
}
