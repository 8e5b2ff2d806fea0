/* Between crypto.c and crypto_aead.c only. */
#ifndef KEYMGMT_CRYPTO_INTERNAL_H
#define KEYMGMT_CRYPTO_INTERNAL_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

/* Fetches the ciphers. 0 or -EIO. */
MUST_USE int crypto_aead_init(void);
/* len <= 64 bytes of this thread's stock, or false: take them from the kernel. */
bool crypto_aead_stock(void *bytes, size_t len);

#endif
