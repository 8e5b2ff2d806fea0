/* The keyring's slots as JSON, and opening the keyring by one of them. */
#include "keymgmt/keyring_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_names[] = {
	[SLOT_PASSPHRASE] = "passphrase", [SLOT_KEYFILE] = "keyfile"};

static json_t *slots_of(const struct keyring *k)
{
	return json_object_get(k->doc, "slots");
}

/* 1 a slot of a known kind, 0 of an unknown one (*ret is left alone), -EBADMSG. */
static int parse_slot(const json_t *object, struct slot *ret)
{
	char kind[16], name[64], created[KEYRING_CREATED_LEN];
	struct slot s = {0};
	if (!keyring_json_string(object, "kind", kind, sizeof(kind)) ||
		!keyring_json_string(object, "name", name, sizeof(name)) ||
		!keyring_json_string(object, "created", created, sizeof(created)))
		return -EBADMSG;
	if (strcmp(kind, kind_names[SLOT_KEYFILE]) == 0)
		s.kind = SLOT_KEYFILE;
	else if (strcmp(kind, kind_names[SLOT_PASSPHRASE]) != 0)
		return 0;
	if (!keyring_json_bytes(object, "id", s.id, sizeof(s.id)) ||
		!keyring_json_bytes(object, "salt", s.pwhash.salt, sizeof(s.pwhash.salt)) ||
		!keyring_json_bytes(object, "public", s.public_key, sizeof(s.public_key)) ||
		!keyring_json_bytes(object, "secret", s.secret_key, sizeof(s.secret_key)) ||
		!keyring_json_bytes(object, "trk", s.trk, sizeof(s.trk)))
		return -EBADMSG;
	if (s.kind == SLOT_PASSPHRASE &&
		(!keyring_json_uint(object, "iterations", INT64_MAX, &s.pwhash.iterations) ||
			!keyring_json_uint(object, "memory_kib", INT64_MAX, &s.pwhash.memory_kib) ||
			!slot_cost_ok(&s.pwhash)))
		return -EBADMSG;
	*ret = s;
	return 1;
}

static const char *name_of(const json_t *slot)
{
	const char *name = json_string_value(json_object_get(slot, "name"));
	return name ? name : "";
}

/* Index, or -ENOENT. */
static int find(const json_t *slots, const char *name)
{
	for (size_t i = 0; i < json_array_size(slots); i++)
		if (strcmp(name_of(json_array_get(slots, i)), name) == 0)
			return (int)i;
	return -ENOENT;
}

int keyring_slot_check_all(const json_t *slots)
{
	size_t i;
	json_t *object;
	struct slot s;
	if (!json_is_array(slots) || json_array_size(slots) > KEYRING_LIST_MAX)
		return -EBADMSG;
	json_array_foreach(slots, i, object)
	{
		if (parse_slot(object, &s) < 0 || find(slots, name_of(object)) != (int)i)
			return -EBADMSG;
	}
	return 0;
}

bool keyring_slot_any_known(const json_t *slots)
{
	struct slot s;
	for (size_t i = 0; i < json_array_size(slots); i++)
		if (parse_slot(json_array_get(slots, i), &s) == 1)
			return true;
	return false;
}

int keyring_slot_reseal(const struct keyring *k, json_t *slots, const struct secret *trk)
{
	size_t i;
	json_t *object;
	uint8_t owner[SLOT_OWNER_LEN], id[CRYPTO_ID_LEN], public_key[KEY_LEN], box[SLOT_TRK_LEN];
	keyring_owner_bytes(k, owner);
	json_array_foreach(slots, i, object)
	{
		/* A slot of an unknown kind that carries no public key cannot get the new one. */
		if (!keyring_json_bytes(object, "id", id, sizeof(id)) ||
			!keyring_json_bytes(object, "public", public_key, sizeof(public_key)))
			continue;
		int r = slot_seal_trk(owner, id, public_key, trk, box);
		if (r < 0)
			return r;
		if (json_object_set_new(object, "trk", keyring_json_from_bytes(box, sizeof(box))) <
			0)
			return -ENOMEM;
	}
	return 0;
}

static json_t *slot_to_json(const char *name, const struct slot *s)
{
	char created[KEYRING_CREATED_LEN];
	keyring_now(created);
	AUTO_JSON *object = json_pack(
		"{s:s,s:s,s:s}", "kind", kind_names[s->kind], "name", name, "created", created);
	if (!object)
		return NULL;
	int bad = 0;
	bad |= json_object_set_new(object, "id", keyring_json_from_bytes(s->id, sizeof(s->id)));
	bad |= json_object_set_new(
		object, "salt", keyring_json_from_bytes(s->pwhash.salt, sizeof(s->pwhash.salt)));
	bad |= json_object_set_new(
		object, "public", keyring_json_from_bytes(s->public_key, sizeof(s->public_key)));
	bad |= json_object_set_new(
		object, "secret", keyring_json_from_bytes(s->secret_key, sizeof(s->secret_key)));
	bad |= json_object_set_new(object, "trk", keyring_json_from_bytes(s->trk, sizeof(s->trk)));
	if (s->kind == SLOT_PASSPHRASE) {
		bad |= json_object_set_new(
			object, "iterations", json_integer((json_int_t)s->pwhash.iterations));
		bad |= json_object_set_new(
			object, "memory_kib", json_integer((json_int_t)s->pwhash.memory_kib));
	}
	return bad ? NULL : json_incref(object);
}

/* 0, -EINVAL, -ENOMEM. */
static int check_name(const char *name)
{
	size_t len = strlen(name);
	if (len < 1 || len > 63)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return -EINVAL;
	errno = 0;
	AUTO_JSON *text = json_string(name); /* NULL when it is not UTF-8 */
	if (text)
		return 0;
	return errno == ENOMEM ? -ENOMEM : -EINVAL;
}

/* A new slot's JSON. -EINVAL and others with a sentence. */
static int make_slot(const struct keyring *k, const char *name, const struct slot_key *key,
	const struct slot_cost *cost, json_t **ret, struct err *e)
{
	struct slot s;
	uint8_t owner[SLOT_OWNER_LEN];
	if (!k->trk)
		return err_set(e, -ENOKEY, "The keyring is not open.");
	int r = check_name(name);
	if (r == -EINVAL)
		return err_set(e, r,
			"A slot's name has 1 to 63 bytes of UTF-8 without control characters.");
	if (r < 0)
		return r;
	keyring_owner_bytes(k, owner);
	r = slot_create(k->suite, owner, key, cost, k->trk, &s);
	if (r == -EINVAL)
		return err_set(e, r,
			"A key file has 32 bytes to 64 KiB, and a passphrase's cost at most 4 GiB "
			"of memory.");
	if (r == -ENOMEM)
		return err_set(e, r,
			"Not enough memory for the passphrase's cost; ask for less with --memory.");
	if (r < 0)
		return err_set(e, r, "The slot could not be made.");
	*ret = slot_to_json(name, &s);
	return *ret ? 0 : -ENOMEM;
}

size_t keyring_slots(const struct keyring *k)
{
	return json_array_size(slots_of(k));
}

int keyring_slot_info(const struct keyring *k, size_t index, struct keyring_slot_info *ret)
{
	struct keyring_slot_info info = {0};
	struct slot s = {0};
	const json_t *object = json_array_get(slots_of(k), index);
	if (!object)
		return -ENOENT;
	int known = parse_slot(object, &s);
	if (known < 0 || !keyring_json_string(object, "kind", info.kind, sizeof(info.kind)) ||
		!keyring_json_string(object, "name", info.name, sizeof(info.name)) ||
		!keyring_json_string(object, "created", info.created, sizeof(info.created)))
		return -EBADMSG;
	info.known = known == 1;
	if (info.known && s.kind == SLOT_PASSPHRASE)
		info.pwhash = s.pwhash;
	*ret = info;
	return 0;
}

int keyring_slot_add(struct keyring *k, const char *name, const struct slot_key *key,
	const struct slot_cost *cost, struct err *e)
{
	AUTO_JSON *object = NULL;
	if (find(slots_of(k), name) >= 0)
		return err_set(e, -EEXIST,
			"There is a slot of this name; choose another or remove that one first.");
	if (keyring_slots(k) >= KEYRING_LIST_MAX)
		return err_set(e, -ENOSPC, "The keyring has %d slots; remove one first.",
			KEYRING_LIST_MAX);
	int r = make_slot(k, name, key, cost, &object, e);
	if (r < 0)
		return r;
	return json_array_append(slots_of(k), object) < 0 ? -ENOMEM : 0;
}

/* Renews the root key for the changed list (taken, also on failure). */
static int renew_with(struct keyring *k, json_t *slots, struct err *e)
{
	int r = keyring_epoch_renew(k, slots);
	if (r == 0)
		return 0;
	json_decref(slots);
	if (r == -EBUSY)
		return err_set(e, r,
			"An earlier change of keys is not finished; run tenantkey rotate first.");
	if (r == -ENOSPC)
		return err_set(e, r,
			"The keyring holds the log's keys of %d renewals and takes no more; "
			"nothing was "
			"changed.",
			KEYRING_AUDITORS_MAX);
	return err_set(e, r, "New keys could not be drawn.");
}

int keyring_slot_remove(struct keyring *k, const char *name, struct err *e)
{
	int at = find(slots_of(k), name);
	if (!k->trk)
		return err_set(e, -ENOKEY, "The keyring is not open.");
	if (at < 0)
		return err_set(e, -ENOENT,
			"There is no slot of this name; tenantkey slot list shows them.");
	AUTO_JSON *slots = keyring_json_copy(slots_of(k), true);
	if (!slots || json_array_remove(slots, (size_t)at) < 0)
		return -ENOMEM;
	if (!keyring_slot_any_known(slots))
		return err_set(e, -EPERM,
			"This is the last slot that opens the keyring; add another one first.");
	return renew_with(k, json_incref(slots), e);
}

int keyring_slot_replace(struct keyring *k, const char *name, const struct slot_key *key,
	const struct slot_cost *cost, struct err *e)
{
	AUTO_JSON *object = NULL;
	int at = find(slots_of(k), name);
	if (at < 0)
		return err_set(e, -ENOENT,
			"There is no slot of this name; tenantkey slot list shows them.");
	int r = make_slot(k, name, key, cost, &object, e);
	if (r < 0)
		return r;
	AUTO_JSON *slots = keyring_json_copy(slots_of(k), true);
	if (!slots || json_array_set(slots, (size_t)at, object) < 0)
		return -ENOMEM;
	return renew_with(k, json_incref(slots), e);
}

int keyring_unlock(struct keyring *k, const struct slot_key *key, struct err *e)
{
	uint8_t owner[SLOT_OWNER_LEN];
	AUTO_SECRET *trk = NULL;
	int r = -EKEYREJECTED;
	keyring_owner_bytes(k, owner);
	for (size_t i = 0; i < keyring_slots(k) && r == -EKEYREJECTED; i++) {
		struct slot s;
		if (parse_slot(json_array_get(slots_of(k), i), &s) == 1)
			r = slot_open(k->suite, owner, &s, key, &trk);
	}
	if (r == -EKEYREJECTED)
		return err_set(e, r, "Wrong %s for tenant %s.",
			key->kind == SLOT_KEYFILE ? "key file" : "passphrase", k->owner.tenant);
	if (r == -ENOMEM)
		return err_set(e, r,
			"Not enough memory to stretch the passphrase, or too little may be "
			"locked.");
	if (r == 0) {
		k->trk = trk;
		trk = NULL;
		r = keyring_json_open(k);
	}
	if (r == 0)
		return 0;
	/* Nothing of a keyring that is not whole stays open. */
	secret_free(k->trk);
	k->trk = NULL;
	for (size_t i = 0; i < k->key_count; i++) {
		secret_free(k->keys[i].secret);
		k->keys[i].secret = NULL;
	}
	if (r == -EBADMSG)
		return err_set(e, r,
			"The keyring of tenant %s is damaged; restore it from an escrow copy.",
			k->owner.tenant);
	return err_set(e, r, "The keyring could not be opened.");
}
