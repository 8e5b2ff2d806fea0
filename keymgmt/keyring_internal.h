/* Between the keyring's own files: keyring.c, keyring_json.c, keyring_slot.c, keyring_epoch.c,
 * keyring_file.c. */
#ifndef KEYMGMT_KEYRING_INTERNAL_H
#define KEYMGMT_KEYRING_INTERNAL_H

#include "keymgmt/keyring.h"
#include "keymgmt/wrap.h"

#include <jansson.h>

#define KEYRING_LIST_MAX 64
#define KEYRING_AUDITORS_MAX 1000 /* pairs in the keyring: one for each renewal of its root key */
#define KEYRING_KEYS_MAX (KEYRING_LIST_MAX + KEYRING_AUDITORS_MAX)
#define KEYRING_FILE_MAX (1u << 20)
#define KEYRING_CREATED_LEN 32

/* Kinds of keys that this program knows; others are carried along. */
#define KEYRING_KEK "kek"
#define KEYRING_NMK "nmk"
#define KEYRING_MDK "mdk"
#define KEYRING_AUDITOR "auditor"

/* One member of "keys". The newest epoch of a kind is the one in use; older ones are retiring, or
 * kept: what was sealed to an auditor's stays as it is. */
struct keyring_key {
	char kind[16];
	uint32_t epoch;
	char created[KEYRING_CREATED_LEN];
	bool has_public;
	uint8_t public_key[KEY_LEN];
	bool has_wrap; /* false: only somebody outside holds the secret key */
	uint8_t wrap[WRAP_LEN];
	struct secret *secret; /* NULL while closed, or without a wrap */
};

struct keyring {
	struct keyring_owner owner;
	enum crypto_suite suite;
	uint64_t generation;
	uint8_t policy_hash[32], audit_root[KEY_LEN];
	struct keyring_key keys[KEYRING_KEYS_MAX];
	size_t key_count;
	struct secret *trk; /* NULL: closed */
	json_t *doc;  /* the whole object; its slots, escrow and unknown members are the truth */
	bool on_disk; /* loaded, or stored once */
	uint8_t file_hash[32]; /* of the file that this was loaded from or stored to */
};

static inline void keyring_json_auto(json_t **j)
{
	json_decref(*j);
}
#define AUTO_JSON AUTO(keyring_json_auto) json_t

/* keyring.c */
void keyring_owner_bytes(const struct keyring *k, uint8_t ret[static SLOT_OWNER_LEN]);
void keyring_now(char ret[static KEYRING_CREATED_LEN]);
/* Adds an entry of a new secret (taken, also on failure). -ENOMEM when secret is NULL, -ENOSPC no
 * room for more of its kind. */
MUST_USE int keyring_key_add(
	struct keyring *k, const char *kind, uint32_t epoch, struct secret *secret);
/* A new auditor's pair as the newest epoch, unless auditors hold their own secrets. -ENOMEM,
 * -ENOSPC, -EOVERFLOW. */
MUST_USE int keyring_auditor_renew(struct keyring *k);
/* Newest entry of the kind, or NULL. */
const struct keyring_key *keyring_key_newest(const struct keyring *k, const char *kind);
void keyring_key_drop(struct keyring *k, size_t index); /* wipes */

/* keyring_json.c */
/* Strings of 1..max bytes and byte strings of exactly len bytes. False when missing or otherwise.
 */
bool keyring_json_string(const json_t *object, const char *name, char *ret, size_t size);
bool keyring_json_bytes(const json_t *object, const char *name, void *ret, size_t len);
bool keyring_json_uint(const json_t *object, const char *name, uint64_t max, uint64_t *ret);
json_t *keyring_json_from_bytes(const void *bytes, size_t len);
/* A whole copy or NULL: jansson's own leave out, without a word, what they have no memory for.
 * deep: of all that is in it too. */
json_t *keyring_json_copy(json_t *value, bool deep);
/* Fills k from a file's text. -EBADMSG, -EPROTONOSUPPORT, -ENOMEM; then k is good for keyring_free
 * only. */
MUST_USE int keyring_json_parse(struct keyring *k, const struct keyring_owner *owner,
	const void *text, size_t len, struct err *e);
/* Appends the text with this generation; wraps and MAC are made anew. */
MUST_USE int keyring_json_dump(const struct keyring *k, uint64_t generation, struct buf *b);
/* Opens every wrapped key with k->trk, then checks the MAC. -EBADMSG, -ENOMEM, -EIO. */
MUST_USE int keyring_json_open(struct keyring *k);

/* keyring_slot.c */
/* -EBADMSG: a list of slots with damaged entries. */
MUST_USE int keyring_slot_check_all(const json_t *slots);
/* Seals trk to every slot of the list that has a public key. */
MUST_USE int keyring_slot_reseal(const struct keyring *k, json_t *slots, const struct secret *trk);
bool keyring_slot_any_known(const json_t *slots);

/* keyring_epoch.c */
/* New TRK, MDK and auditor's pair, sealed to the slots of the list (taken on success), which
 * becomes the keyring's. */
MUST_USE int keyring_epoch_renew(struct keyring *k, json_t *slots);

#endif
