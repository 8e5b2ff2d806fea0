/* What opens a keyring: a passphrase or a key file. */
#ifndef KEYMGMT_SLOT_H
#define KEYMGMT_SLOT_H

#include "keymgmt/crypto.h"

enum slot_kind { SLOT_PASSPHRASE, SLOT_KEYFILE };

/* What a person offers. `secret` is borrowed. A key file's whole content counts (32 bytes .. 64 KiB). */
struct slot_key {
	enum slot_kind kind;
	const struct secret *secret;
};

/* Argon2id cost of a new passphrase slot. iterations 0: calibrate to milliseconds. */
struct slot_cost {
	unsigned milliseconds; /* default 1000 */
	uint64_t memory_kib;   /* default 262144, or a quarter of the machine's memory if that is less */
	uint64_t iterations;
};

#endif
