/* Between crypto.c, crypto_aead.c and crypto_siv.c only. */
#ifndef KEYMGMT_CRYPTO_INTERNAL_H
#define KEYMGMT_CRYPTO_INTERNAL_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

/* Fetch the ciphers, once. 0 or -EIO. */
MUST_USE int crypto_aead_init(void);
MUST_USE int crypto_siv_init(void);
/* Wipe what this thread keeps. */
void crypto_aead_forget(void);
void crypto_siv_forget(void);
/* len <= 64 bytes of this thread's stock, or false: take them from the kernel. */
bool crypto_aead_stock(void *bytes, size_t len);

#endif
