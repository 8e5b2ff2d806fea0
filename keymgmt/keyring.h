/*
 * A tenant's keyring: KEYS/STORE_UUID/TENANT.json, outside the store (docs/format.md, "Keyring").
 * Loaded from disk, opened by one slot, changed in memory, stored atomically; the replaced file's
 * bytes are overwritten. Locks: none; one thread at a time, except the const getters.
 */
#ifndef KEYMGMT_KEYRING_H
#define KEYMGMT_KEYRING_H

#include "keymgmt/base/buf.h"
#include "keymgmt/base/err.h"
#include "keymgmt/crypto.h"
#include "keymgmt/slot.h"

struct keyring;

/* Who a keyring belongs to; every wrap is bound to it. */
struct keyring_owner {
	uint8_t store_uuid[CRYPTO_ID_LEN];
	uint8_t tenant_uuid[CRYPTO_ID_LEN];
	char tenant[64];
};

void keyring_free(struct keyring *k);
static inline void keyring_auto(struct keyring **k)
{
	keyring_free(*k);
}

/* A new keyring in memory: TRK, MDK, KEK epoch 1, NMK epoch 1, auditor's key pair. No slot yet,
 * open. */
MUST_USE int keyring_create(
	const struct keyring_owner *owner, enum crypto_suite suite, struct keyring **ret);

/*
 * Reads dirfd/TENANT.json (dirfd: KEYS/STORE_UUID, O_PATH will do). Finishes an interrupted update
 * first. Checks what can be checked without keys. -ENOENT; -EBADMSG damaged, or of another store or
 * tenant; -EPROTONOSUPPORT.
 */
MUST_USE int keyring_load(
	int dirfd, const struct keyring_owner *owner, struct keyring **ret, struct err *e);

/* Tries every slot that the key fits; then unwraps all keys and checks the MAC. -EKEYREJECTED wrong
 * passphrase or key file; -EBADMSG the slot opened but the keyring is damaged. */
MUST_USE int keyring_unlock(struct keyring *k, const struct slot_key *key, struct err *e);
bool keyring_is_open(const struct keyring *k);

/*
 * generation + 1, new MAC, atomic replace, old bytes overwritten (link into DIR/trash, write,
 * fsync, rename, fsync directory, overwrite, fsync, unlink). Needs an open keyring with at least
 * one slot that can be opened (-ENOKEY). Excludes other processes by a lock on the directory.
 * -EEXIST a created keyring, and there is a file already; -ESTALE the file is not the one that was
 * loaded (another process stored): load again. After any other failure the file is the old or the
 * new one, both loadable; the next load or store overwrites what must go. The generation in memory
 * follows the file.
 */
MUST_USE int keyring_store(struct keyring *k, int dirfd, struct err *e);

const struct keyring_owner *keyring_owner(const struct keyring *k);
enum crypto_suite keyring_suite(const struct keyring *k);
uint64_t keyring_generation(const struct keyring *k);

/* Borrowed, until the keyring is freed or the epoch destroyed. NULL when there is no such epoch. */
const struct secret *keyring_kek(const struct keyring *k, uint32_t epoch);
const struct secret *keyring_nmk(const struct keyring *k, uint16_t epoch);
uint32_t keyring_kek_epoch(const struct keyring *k); /* newest */
uint16_t keyring_nmk_epoch(const struct keyring *k);
/* Subkey of the metadata key by purpose: "policy", "audit", "journal". New secret, or NULL on
 * ENOMEM. The keyring may hold a retiring MDK (while a rotation is unfinished): retiring=true asks
 * for that one (NULL if none: keyring_mdk_retires). */
struct secret *keyring_mdk_subkey(const struct keyring *k, const char *purpose, bool retiring);
bool keyring_mdk_retires(const struct keyring *k);

/* Hash (32 bytes) of the sealed active policy file; all zero before the first policy. */
void keyring_policy_hash(const struct keyring *k, uint8_t ret[static 32]);
void keyring_set_policy_hash(struct keyring *k, const uint8_t hash[static 32]);

/* Auditors' X25519 public keys: what new audit segments are sealed to. The keyring's newest pair,
 * or, when auditors hold their secrets elsewhere, theirs alone. Count <= 8. */
size_t keyring_auditors(const struct keyring *k, uint8_t ret_public[8][KEY_LEN]);
/* The secret key to an auditor's public key, as a segment's header lists it: of any epoch, since
 * what was sealed to an older one stays as it is. Borrowed, until the keyring is freed; NULL when
 * it does not hold it. */
const struct secret *keyring_auditor_secret(
	const struct keyring *k, const uint8_t public_key[static KEY_LEN]);
/* False when only auditors hold theirs, or the keyring is closed. */
bool keyring_has_auditor_secret(const struct keyring *k);
/* First Ed25519 public key of the audit chain (32 bytes); set once by create. */
void keyring_audit_root(const struct keyring *k, uint8_t ret[static KEY_LEN]);
void keyring_set_audit_root(struct keyring *k, const uint8_t root[static KEY_LEN]);

/* Slots. Index into the list as `slot list` shows it. */
struct keyring_slot_info {
	char kind[16]; /* "passphrase", "keyfile", or an unknown kind kept untouched */
	char name[64];
	char created[32];            /* RFC 3339 */
	struct crypto_pwhash pwhash; /* passphrase slots */
	bool known;
};
size_t keyring_slots(const struct keyring *k);
int keyring_slot_info(const struct keyring *k, size_t index, struct keyring_slot_info *ret);
/* Adds a slot for key. cost NULL: the defaults. -EEXIST name taken; -EINVAL name (1..63 bytes of
 * UTF-8 without control characters), key file or cost out of range; -ENOSPC 64 slots; -ENOKEY the
 * keyring is not open. */
MUST_USE int keyring_slot_add(struct keyring *k, const char *name, const struct slot_key *key,
	const struct slot_cost *cost, struct err *e);
/* Removes it and draws new TRK, MDK and auditor's pair (the old MDK stays as retiring until
 * keyring_retire_done, older pairs stay). -EPERM the last slot that can be opened; -ENOENT; -EBUSY
 * an older MDK is still retiring; -ENOSPC 1,000 auditor's pairs. */
MUST_USE int keyring_slot_remove(struct keyring *k, const char *name, struct err *e);
/* Puts a new slot for key (new key pair, new id) in the place of the one with this name, and draws
 * new keys as keyring_slot_remove does: a changed passphrase. -ENOENT; -EINVAL; -EBUSY; -ENOKEY;
 * -ENOSPC. */
MUST_USE int keyring_slot_replace(struct keyring *k, const char *name, const struct slot_key *key,
	const struct slot_cost *cost, struct err *e);

/* Register of escrow copies: copies of the keyring outside the key directory. */
struct keyring_escrow {
	char id[24];      /* 22 characters of base64url */
	char created[32]; /* RFC 3339 */
	uint32_t kek_epoch;
	uint64_t generation; /* of the keyring that was copied */
	bool retired;        /* destroyed, as somebody said */
};
/* Registers a copy of the keyring that the next keyring_store writes. -ENOSPC 64 copies. */
MUST_USE int keyring_escrow_add(struct keyring *k, char ret_id[static 24]);
size_t keyring_escrows(const struct keyring *k);
int keyring_escrow_info(const struct keyring *k, size_t index, struct keyring_escrow *ret);
/* -ENOENT; -EALREADY. */
MUST_USE int keyring_escrow_retire(struct keyring *k, const char *id);
/* Appends the text of the open keyring, with its generation and MAC: a file that loads as the
 * stored one does. -ENOKEY, -ENOMEM. */
MUST_USE int keyring_dump(const struct keyring *k, struct buf *b);

/* Rotation. begin: KEK epoch + 1 (old kept), new TRK, new MDK (old kept as retiring), new auditor's
 * pair. -EBUSY an older rotation is not done: go on with that one; -ENOKEY; -ENOMEM; -ENOSPC 1,000
 * auditor's pairs; the keyring is unchanged then. */
MUST_USE int keyring_rotate_begin(struct keyring *k);
bool keyring_has_old_epochs(
	const struct keyring *k); /* KEK epochs older than the newest, or a retiring MDK */
/* Forgets all KEK epochs but the newest, and the retiring MDK; auditor's pairs stay. Call only
 * after everything was re-wrapped. */
void keyring_retire_done(struct keyring *k);

#endif
