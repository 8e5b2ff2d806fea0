/* New root keys and epochs, and forgetting the old ones. */
#include "keymgmt/keyring_internal.h"

#include <errno.h>
#include <string.h>

static size_t count_kind(const struct keyring *k, const char *kind)
{
	size_t n = 0;
	for (size_t i = 0; i < k->key_count; i++)
		n += strcmp(k->keys[i].kind, kind) == 0;
	return n;
}

int keyring_epoch_renew(struct keyring *k, json_t *slots)
{
	if (!k->trk)
		return -ENOKEY;
	/* One metadata key at most is on its way out: what is sealed under it must be found again.
	 */
	if (count_kind(k, KEYRING_MDK) > 1)
		return -EBUSY;
	uint32_t epoch = keyring_key_newest(k, KEYRING_MDK)->epoch;
	if (epoch == UINT32_MAX)
		return -EOVERFLOW;
	AUTO_SECRET *trk = secret_random(KEY_LEN);
	if (!trk)
		return -ENOMEM;
	int r = keyring_slot_reseal(k, slots, trk);
	if (r < 0)
		return r;
	size_t before = k->key_count;
	r = keyring_key_add(k, KEYRING_MDK, epoch + 1, secret_random(KEY_LEN));
	if (r == 0)
		r = keyring_auditor_renew(k);
	if (r == 0 && json_object_set(k->doc, "slots", slots) < 0)
		r = -ENOMEM;
	if (r < 0) {
		while (k->key_count > before)
			keyring_key_drop(k, k->key_count - 1);
		return r;
	}
	json_decref(slots);
	secret_free(k->trk);
	k->trk = trk;
	trk = NULL;
	return 0;
}

int keyring_rotate_begin(struct keyring *k)
{
	uint32_t epoch = keyring_kek_epoch(k);
	if (!k->trk)
		return -ENOKEY;
	if (keyring_has_old_epochs(k))
		return -EBUSY;
	if (epoch == UINT32_MAX)
		return -EOVERFLOW;
	AUTO_JSON *slots = keyring_json_copy(json_object_get(k->doc, "slots"), true);
	if (!slots)
		return -ENOMEM;
	int r = keyring_key_add(k, KEYRING_KEK, epoch + 1, secret_random(KEY_LEN));
	if (r < 0)
		return r;
	size_t added = k->key_count - 1;
	json_incref(slots);
	r = keyring_epoch_renew(k, slots);
	if (r < 0) {
		json_decref(slots);
		keyring_key_drop(k, added);
	}
	return r;
}

static bool is_old(const struct keyring *k, size_t index)
{
	const struct keyring_key *key = &k->keys[index];
	return (strcmp(key->kind, KEYRING_KEK) == 0 || strcmp(key->kind, KEYRING_MDK) == 0) &&
	       key != keyring_key_newest(k, key->kind);
}

bool keyring_has_old_epochs(const struct keyring *k)
{
	for (size_t i = 0; i < k->key_count; i++)
		if (is_old(k, i))
			return true;
	return false;
}

void keyring_retire_done(struct keyring *k)
{
	for (size_t i = k->key_count; i-- > 0;)
		if (is_old(k, i))
			keyring_key_drop(k, i);
}
