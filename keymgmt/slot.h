/*
 * What opens a keyring: a passphrase or a key file. A slot is an X25519 key pair whose secret key
 * is sealed by what the person offers; the tenant root key (TRK) is sealed to its public key, so
 * that a new one can be given to it in the person's absence (docs/format.md, "Slots").
 */
#ifndef KEYMGMT_SLOT_H
#define KEYMGMT_SLOT_H

#include "keymgmt/crypto.h"
#include "keymgmt/wrap.h"

enum slot_kind { SLOT_PASSPHRASE, SLOT_KEYFILE };

/* What a person offers. `secret` is borrowed. A key file's whole content counts (32 bytes .. 64
 * KiB). */
struct slot_key {
	enum slot_kind kind;
	const struct secret *secret;
};

/* Argon2id cost of a new passphrase slot. iterations 0: calibrate to milliseconds. */
struct slot_cost {
	unsigned milliseconds; /* default 1000 */
	uint64_t memory_kib; /* default 262144, or a quarter of the machine's memory if that is less
			      */
	uint64_t iterations;
};

#define SLOT_KEYFILE_MIN 32
#define SLOT_KEYFILE_MAX 65536
/* What a keyring may ask of this machine: 4 GiB, and as much work as 64 GiB written once. */
#define SLOT_MEMORY_KIB_MAX (4ull << 20)
#define SLOT_WORK_KIB_MAX (64ull << 20)
/* Sealed box of TRK and the hash of its place. */
#define SLOT_TRK_LEN (2 * KEY_LEN + CRYPTO_SEALED_BOX_EXTRA)
#define SLOT_OWNER_LEN (2 * CRYPTO_ID_LEN)

/* One slot as it is stored. owner, below: store uuid || tenant uuid; everything is bound to it and
 * to id. */
struct slot {
	enum slot_kind kind;
	uint8_t id[CRYPTO_ID_LEN];
	struct crypto_pwhash pwhash; /* of a key file only the salt counts */
	uint8_t public_key[KEY_LEN];
	uint8_t secret_key[WRAP_LEN];
	uint8_t trk[SLOT_TRK_LEN];
};

/* False for parameters that would take too much memory or time here, or none. */
bool slot_cost_ok(const struct crypto_pwhash *p);

/*
 * A new slot for key, with TRK sealed to it. cost NULL or zeros: the defaults. 0; -EINVAL a
 * passphrase without a byte, a key file that is too short or long, a cost beyond the limits;
 * -ENOMEM; -EIO.
 */
MUST_USE int slot_create(enum crypto_suite suite, const uint8_t owner[static SLOT_OWNER_LEN],
	const struct slot_key *key, const struct slot_cost *cost, const struct secret *trk,
	struct slot *ret);

/* Seals TRK to a slot's public key. 0, -EIO for a key of small order, -ENOMEM. */
MUST_USE int slot_seal_trk(const uint8_t owner[static SLOT_OWNER_LEN],
	const uint8_t id[static CRYPTO_ID_LEN], const uint8_t public_key[static KEY_LEN],
	const struct secret *trk, uint8_t ret[static SLOT_TRK_LEN]);

/*
 * TRK of the slot. -EKEYREJECTED another passphrase or key file, or another kind of key; -EBADMSG
 * the key fits but the slot is damaged or of another place; -ENOMEM; -EIO.
 */
MUST_USE int slot_open(enum crypto_suite suite, const uint8_t owner[static SLOT_OWNER_LEN],
	const struct slot *slot, const struct slot_key *key, struct secret **ret_trk);

#endif
