/* One key encrypted under another, bound to its purpose and place (docs/format.md, "Wraps"). */
#ifndef KEYMGMT_WRAP_H
#define KEYMGMT_WRAP_H

#include "keymgmt/crypto.h"

/*
 * nonce 12 || ciphertext KEY_LEN || tag 16 || key-check value 16. The key-check value is
 * BLAKE2b-128 keyed by the wrapping key over "tfs-kcv" || ad: neither AEAD commits to its key.
 */
#define WRAP_LEN 76

/* key and wrapping key: KEY_LEN bytes. 0 or -EIO, -ENOMEM. */
MUST_USE int wrap_seal(enum crypto_suite suite, const struct secret *wrapping_key, const void *ad,
	size_t ad_len, const uint8_t nonce_suffix[static 12], const struct secret *key,
	uint8_t ret_wrap[static WRAP_LEN]);
/* -EKEYREJECTED when the key-check value says that it is another wrapping key, -EBADMSG when
 * damaged. */
MUST_USE int wrap_open(enum crypto_suite suite, const struct secret *wrapping_key, const void *ad,
	size_t ad_len, const uint8_t nonce_suffix[static 12], const uint8_t wrap[static WRAP_LEN],
	struct secret **ret_key);

#endif
