/* The keyring in memory: its keys and the getters that other threads may call. */
#include "keymgmt/keyring_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void keyring_free(struct keyring *k)
{
	if (!k)
		return;
	while (k->key_count)
		keyring_key_drop(k, k->key_count - 1);
	secret_free(k->trk);
	json_decref(k->doc);
	free(k);
}

void keyring_owner_bytes(const struct keyring *k, uint8_t ret[static SLOT_OWNER_LEN])
{
	memcpy(ret, k->owner.store_uuid, CRYPTO_ID_LEN);
	memcpy(ret + CRYPTO_ID_LEN, k->owner.tenant_uuid, CRYPTO_ID_LEN);
}

void keyring_now(char ret[static KEYRING_CREATED_LEN])
{
	time_t now = time(NULL);
	struct tm tm;
	gmtime_r(&now, &tm);
	strftime(ret, KEYRING_CREATED_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static bool is_auditor(const struct keyring_key *key)
{
	return strcmp(key->kind, KEYRING_AUDITOR) == 0;
}

/* Auditors have many epochs; everything else shares the bound of all lists. */
static bool has_room(const struct keyring *k, const char *kind)
{
	size_t auditors = 0;
	for (size_t i = 0; i < k->key_count; i++)
		auditors += is_auditor(&k->keys[i]);
	return strcmp(kind, KEYRING_AUDITOR) == 0 ? auditors < KEYRING_AUDITORS_MAX
						  : k->key_count - auditors < KEYRING_LIST_MAX;
}

int keyring_key_add(struct keyring *k, const char *kind, uint32_t epoch, struct secret *secret)
{
	if (!secret)
		return -ENOMEM;
	if (!has_room(k, kind)) {
		secret_free(secret);
		return -ENOSPC;
	}
	struct keyring_key *key = &k->keys[k->key_count++];
	*key = (struct keyring_key){.epoch = epoch, .has_wrap = true, .secret = secret};
	snprintf(key->kind, sizeof(key->kind), "%s", kind);
	keyring_now(key->created);
	return 0;
}

void keyring_key_drop(struct keyring *k, size_t index)
{
	secret_free(k->keys[index].secret);
	k->key_count--;
	memmove(&k->keys[index], &k->keys[index + 1], (k->key_count - index) * sizeof(k->keys[0]));
	crypto_wipe(&k->keys[k->key_count], sizeof(k->keys[0]));
}

const struct keyring_key *keyring_key_newest(const struct keyring *k, const char *kind)
{
	const struct keyring_key *newest = NULL;
	for (size_t i = 0; i < k->key_count; i++)
		if (strcmp(k->keys[i].kind, kind) == 0 &&
			(!newest || k->keys[i].epoch > newest->epoch))
			newest = &k->keys[i];
	return newest;
}

/* Auditors whose secrets are elsewhere; an older pair of the keyring then is for older segments
 * only. */
static size_t count_outside(const struct keyring *k)
{
	size_t n = 0;
	for (size_t i = 0; i < k->key_count; i++)
		n += is_auditor(&k->keys[i]) && !k->keys[i].has_wrap;
	return n;
}

int keyring_auditor_renew(struct keyring *k)
{
	uint8_t public_key[KEY_LEN];
	struct secret *secret = NULL;
	const struct keyring_key *newest = keyring_key_newest(k, KEYRING_AUDITOR);
	uint32_t epoch = newest ? newest->epoch : 0;
	if (count_outside(k) > 0)
		return 0;
	if (epoch == UINT32_MAX)
		return -EOVERFLOW;
	int r = crypto_box_new(public_key, &secret);
	if (r < 0)
		return r;
	r = keyring_key_add(k, KEYRING_AUDITOR, epoch + 1, secret);
	if (r < 0)
		return r;
	struct keyring_key *key = &k->keys[k->key_count - 1];
	key->has_public = true;
	memcpy(key->public_key, public_key, KEY_LEN);
	return 0;
}

int keyring_create(const struct keyring_owner *owner, enum crypto_suite suite, struct keyring **ret)
{
	AUTO(keyring_auto) struct keyring *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->owner = *owner;
	k->suite = suite;
	k->doc = json_pack("{s:[],s:[]}", "slots", "escrow");
	k->trk = secret_random(KEY_LEN);
	if (!k->doc || !k->trk)
		return -ENOMEM;
	static const char *const kinds[] = {KEYRING_KEK, KEYRING_NMK, KEYRING_MDK};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int r = keyring_key_add(k, kinds[i], 1, secret_random(KEY_LEN));
		if (r < 0)
			return r;
	}
	int r = keyring_auditor_renew(k);
	if (r < 0)
		return r;
	*ret = k;
	k = NULL;
	return 0;
}

bool keyring_is_open(const struct keyring *k)
{
	return k->trk != NULL;
}

const struct keyring_owner *keyring_owner(const struct keyring *k)
{
	return &k->owner;
}

enum crypto_suite keyring_suite(const struct keyring *k)
{
	return k->suite;
}

uint64_t keyring_generation(const struct keyring *k)
{
	return k->generation;
}

static const struct secret *key_of_epoch(const struct keyring *k, const char *kind, uint32_t epoch)
{
	for (size_t i = 0; i < k->key_count; i++)
		if (k->keys[i].epoch == epoch && strcmp(k->keys[i].kind, kind) == 0)
			return k->keys[i].secret;
	return NULL;
}

const struct secret *keyring_kek(const struct keyring *k, uint32_t epoch)
{
	return key_of_epoch(k, KEYRING_KEK, epoch);
}

const struct secret *keyring_nmk(const struct keyring *k, uint16_t epoch)
{
	return key_of_epoch(k, KEYRING_NMK, epoch);
}

uint32_t keyring_kek_epoch(const struct keyring *k)
{
	return keyring_key_newest(k, KEYRING_KEK)->epoch;
}

uint16_t keyring_nmk_epoch(const struct keyring *k)
{
	return (uint16_t)keyring_key_newest(k, KEYRING_NMK)->epoch;
}

static const struct secret *retiring_mdk(const struct keyring *k)
{
	const struct keyring_key *newest = keyring_key_newest(k, KEYRING_MDK);
	const struct secret *mdk = NULL;
	for (size_t i = 0; i < k->key_count; i++)
		if (strcmp(k->keys[i].kind, KEYRING_MDK) == 0 && &k->keys[i] != newest)
			mdk = k->keys[i].secret;
	return mdk;
}

bool keyring_mdk_retires(const struct keyring *k)
{
	return retiring_mdk(k) != NULL;
}

struct secret *keyring_mdk_subkey(const struct keyring *k, const char *purpose, bool retiring)
{
	const struct secret *mdk =
		retiring ? retiring_mdk(k) : keyring_key_newest(k, KEYRING_MDK)->secret;
	uint8_t owner[SLOT_OWNER_LEN];
	if (!mdk)
		return NULL;
	keyring_owner_bytes(k, owner);
	return crypto_derive(mdk, purpose, owner, sizeof(owner), KEY_LEN);
}

void keyring_policy_hash(const struct keyring *k, uint8_t ret[static 32])
{
	memcpy(ret, k->policy_hash, 32);
}

void keyring_set_policy_hash(struct keyring *k, const uint8_t hash[static 32])
{
	memcpy(k->policy_hash, hash, 32);
}

size_t keyring_auditors(const struct keyring *k, uint8_t ret_public[8][KEY_LEN])
{
	size_t n = 0, outside = count_outside(k);
	const struct keyring_key *newest = keyring_key_newest(k, KEYRING_AUDITOR);
	for (size_t i = 0; i < k->key_count && n < 8; i++) {
		const struct keyring_key *key = &k->keys[i];
		if (is_auditor(key) && (outside ? !key->has_wrap : key == newest))
			memcpy(ret_public[n++], key->public_key, KEY_LEN);
	}
	return n;
}

bool keyring_has_auditor_secret(const struct keyring *k)
{
	for (size_t i = 0; i < k->key_count; i++)
		if (is_auditor(&k->keys[i]) && k->keys[i].secret)
			return true;
	return false;
}

const struct secret *keyring_auditor_secret(
	const struct keyring *k, const uint8_t public_key[static KEY_LEN])
{
	for (size_t i = 0; i < k->key_count; i++) {
		const struct keyring_key *key = &k->keys[i];
		if (is_auditor(key) && key->secret &&
			memcmp(key->public_key, public_key, KEY_LEN) == 0)
			return key->secret;
	}
	return NULL;
}

void keyring_audit_root(const struct keyring *k, uint8_t ret[static KEY_LEN])
{
	memcpy(ret, k->audit_root, KEY_LEN);
}

void keyring_set_audit_root(struct keyring *k, const uint8_t root[static KEY_LEN])
{
	memcpy(k->audit_root, root, KEY_LEN);
}
