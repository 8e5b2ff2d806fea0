/*
 * The keyring's text (docs/format.md, "Keyring"): everything is bounded before it is used, since a
 * damaged file must neither hang nor exhaust the machine.
 */
#include "keymgmt/base/jsontext.h"
#include "keymgmt/keyring_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FORMAT 1
#define OUTSIDE_MAX 8 /* auditors who hold their secrets: what a segment's header takes */
#define LABEL_MAC "tfs-keyring-mac"
#define LABEL_KEY "tfs-keyring-"
#define DUMP_FLAGS (JSON_COMPACT | JSON_SORT_KEYS)

bool keyring_json_string(const json_t *object, const char *name, char *ret, size_t size)
{
	const json_t *v = json_object_get(object, name);
	if (!json_is_string(v))
		return false;
	size_t len = json_string_length(v);
	if (len < 1 || len >= size || memchr(json_string_value(v), 0, len))
		return false;
	memcpy(ret, json_string_value(v), len);
	ret[len] = 0;
	return true;
}

bool keyring_json_bytes(const json_t *object, const char *name, void *ret, size_t len)
{
	const json_t *v = json_object_get(object, name);
	return json_is_string(v) &&
	       crypto_unb64(json_string_value(v), json_string_length(v), ret, len) == (ssize_t)len;
}

bool keyring_json_uint(const json_t *object, const char *name, uint64_t max, uint64_t *ret)
{
	const json_t *v = json_object_get(object, name);
	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
		(uint64_t)json_integer_value(v) > max)
		return false;
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

json_t *keyring_json_from_bytes(const void *bytes, size_t len)
{
	char text[256];
	if (crypto_b64_len(len) >= sizeof(text))
		return NULL;
	crypto_b64(bytes, len, text);
	return json_string(text);
}

json_t *keyring_json_copy(json_t *value, bool deep)
{
	AUTO_JSON *copy = deep ? json_deep_copy(value) : json_copy(value);
	return copy && json_equal(copy, value) ? json_incref(copy) : NULL;
}

static bool parse_key(const json_t *object, struct keyring_key *ret)
{
	uint64_t epoch, most = UINT32_MAX;
	*ret = (struct keyring_key){0};
	if (!keyring_json_string(object, "kind", ret->kind, sizeof(ret->kind)) ||
		!keyring_json_string(object, "created", ret->created, sizeof(ret->created)))
		return false;
	if (strcmp(ret->kind, KEYRING_NMK) == 0)
		most = UINT16_MAX;
	if (!keyring_json_uint(object, "epoch", most, &epoch) || epoch < 1)
		return false;
	ret->epoch = (uint32_t)epoch;
	ret->has_public = json_object_get(object, "public") != NULL;
	if (ret->has_public && !keyring_json_bytes(object, "public", ret->public_key, KEY_LEN))
		return false;
	ret->has_wrap = json_object_get(object, "wrapped") != NULL;
	if (ret->has_wrap && !keyring_json_bytes(object, "wrapped", ret->wrap, WRAP_LEN))
		return false;
	/* Only a key pair may have its secret elsewhere. */
	return strcmp(ret->kind, KEYRING_AUDITOR) == 0 ? ret->has_public : ret->has_wrap;
}

static bool parse_keys(struct keyring *k)
{
	const json_t *keys = json_object_get(k->doc, "keys");
	size_t n = json_array_size(keys), auditors = 0, outside = 0;
	if (!json_is_array(keys) || n > KEYRING_KEYS_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		struct keyring_key *key = &k->keys[i];
		if (!parse_key(json_array_get(keys, i), key))
			return false;
		k->key_count = i + 1;
		if (strcmp(key->kind, KEYRING_AUDITOR) == 0) {
			auditors++;
			outside += !key->has_wrap;
		}
		if (auditors > KEYRING_AUDITORS_MAX || outside > OUTSIDE_MAX ||
			i + 1 - auditors > KEYRING_LIST_MAX)
			return false;
		for (size_t j = 0; j < i; j++)
			if (key->epoch == k->keys[j].epoch &&
				strcmp(key->kind, k->keys[j].kind) == 0)
				return false;
	}
	return keyring_key_newest(k, KEYRING_KEK) && keyring_key_newest(k, KEYRING_NMK) &&
	       keyring_key_newest(k, KEYRING_MDK);
}

static bool escrow_ok(const json_t *list)
{
	size_t i;
	json_t *entry;
	if (!json_is_array(list) || json_array_size(list) > KEYRING_LIST_MAX)
		return false;
	json_array_foreach(list, i, entry)
	{
		char id[24], created[KEYRING_CREATED_LEN];
		uint64_t number;
		if (!keyring_json_string(entry, "id", id, sizeof(id)) ||
			!keyring_json_string(entry, "created", created, sizeof(created)) ||
			!keyring_json_uint(entry, "kek_epoch", UINT32_MAX, &number) ||
			!keyring_json_uint(entry, "generation", INT64_MAX, &number) ||
			!json_is_boolean(json_object_get(entry, "retired")))
			return false;
	}
	return true;
}

static int check_format(const json_t *doc, struct err *e)
{
	uint64_t format;
	if (!keyring_json_uint(doc, "format", INT64_MAX, &format) || format < 1)
		return err_set(e, -EBADMSG,
			"The keyring is damaged (no format number); restore it from an escrow "
			"copy.");
	if (format > FORMAT)
		return err_set(e, -EPROTONOSUPPORT,
			"The keyring has format %llu and this program knows up to %d; use a newer "
			"tenantfs.",
			(unsigned long long)format, FORMAT);
	return 0;
}

static int check_owner(const json_t *doc, const struct keyring_owner *owner, struct err *e)
{
	struct keyring_owner found;
	if (!keyring_json_bytes(doc, "store_uuid", found.store_uuid, CRYPTO_ID_LEN) ||
		!keyring_json_bytes(doc, "tenant_uuid", found.tenant_uuid, CRYPTO_ID_LEN) ||
		!keyring_json_string(doc, "tenant", found.tenant, sizeof(found.tenant)))
		return err_set(e, -EBADMSG,
			"The keyring is damaged (its owner); restore it from an escrow copy.");
	if (memcmp(found.store_uuid, owner->store_uuid, CRYPTO_ID_LEN) != 0)
		return err_set(e, -EBADMSG,
			"The keyring belongs to another store; check the key directory.");
	if (memcmp(found.tenant_uuid, owner->tenant_uuid, CRYPTO_ID_LEN) != 0 ||
		strcmp(found.tenant, owner->tenant) != 0)
		return err_set(e, -EBADMSG,
			"The keyring belongs to another tenant; check the key directory.");
	return 0;
}

int keyring_json_parse(struct keyring *k, const struct keyring_owner *owner, const void *text,
	size_t len, struct err *e)
{
	uint64_t suite;
	uint8_t mac[CRYPTO_MAC_LEN];
	int r = jsontext_parse(text, len, &k->doc);
	if (r == -ENOMEM)
		return err_set(e, r, "Not enough memory to read the keyring.");
	if (r < 0 || !json_is_object(k->doc))
		return err_set(e, -EBADMSG,
			"The keyring is damaged (not JSON); restore it from an escrow copy.");
	r = check_format(k->doc, e);
	if (r < 0)
		return r;
	r = check_owner(k->doc, owner, e);
	if (r < 0)
		return r;
	k->owner = *owner;
	const json_t *slots = json_object_get(k->doc, "slots");
	if (!keyring_json_uint(k->doc, "suite", CRYPTO_XCHACHA20_POLY1305, &suite) || suite < 1 ||
		!keyring_json_uint(k->doc, "generation", INT64_MAX - 1, &k->generation) ||
		!keyring_json_bytes(
			k->doc, "policy_hash", k->policy_hash, sizeof(k->policy_hash)) ||
		!keyring_json_bytes(k->doc, "audit_root", k->audit_root, sizeof(k->audit_root)) ||
		!keyring_json_bytes(k->doc, "mac", mac, sizeof(mac)) || !parse_keys(k) ||
		!escrow_ok(json_object_get(k->doc, "escrow")) || keyring_slot_check_all(slots) < 0)
		return err_set(e, -EBADMSG,
			"The keyring is damaged (a member is missing or out of range); restore it "
			"from an escrow copy.");
	k->suite = (enum crypto_suite)suite;
	return 0;
}

/* label || store uuid || tenant uuid || epoch */
static size_t key_place(
	const struct keyring *k, const struct keyring_key *key, uint8_t ret[static 80])
{
	size_t len = (size_t)snprintf((char *)ret, 32, LABEL_KEY "%s", key->kind);
	keyring_owner_bytes(k, ret + len);
	len += SLOT_OWNER_LEN;
	for (int i = 0; i < 4; i++)
		ret[len++] = (uint8_t)(key->epoch >> 8 * i);
	return len;
}

/* For people. */
static const char *key_state(const struct keyring *k, const struct keyring_key *key)
{
	uint8_t current[8][KEY_LEN];
	if (strcmp(key->kind, KEYRING_AUDITOR) != 0)
		return key == keyring_key_newest(k, key->kind) ? "active" : "retiring";
	for (size_t i = keyring_auditors(k, current); i-- > 0;)
		if (memcmp(current[i], key->public_key, KEY_LEN) == 0)
			return "active";
	return "kept";
}

static json_t *dump_key(const struct keyring *k, const struct keyring_key *key)
{
	uint8_t place[80], wrap[WRAP_LEN];
	const char *state = key_state(k, key);
	AUTO_JSON *object = json_pack("{s:s,s:I,s:s,s:s}", "kind", key->kind, "epoch",
		(json_int_t)key->epoch, "created", key->created, "state", state);
	if (!object)
		return NULL;
	int bad = 0;
	if (key->has_public)
		bad |= json_object_set_new(
			object, "public", keyring_json_from_bytes(key->public_key, KEY_LEN));
	if (key->has_wrap) {
		size_t len = key_place(k, key, place);
		if (!key->secret || wrap_seal(k->suite, k->trk, place, len, k->owner.tenant_uuid,
					    key->secret, wrap) < 0)
			return NULL;
		bad |= json_object_set_new(
			object, "wrapped", keyring_json_from_bytes(wrap, WRAP_LEN));
	}
	return bad ? NULL : json_incref(object);
}

/* Hashes everything but "mac". */
static int compute_mac(const struct keyring *k, json_t *doc, uint8_t ret[static CRYPTO_MAC_LEN])
{
	uint8_t owner[SLOT_OWNER_LEN];
	AUTO_JSON *copy = keyring_json_copy(doc, false);
	if (!copy)
		return -ENOMEM;
	json_object_del(copy, "mac");
	AUTO_FREE char *text = jsontext_dump(copy, DUMP_FLAGS);
	keyring_owner_bytes(k, owner);
	AUTO_SECRET *key = crypto_derive(keyring_key_newest(k, KEYRING_MDK)->secret, LABEL_MAC,
		owner, sizeof(owner), KEY_LEN);
	if (!text || !key)
		return -ENOMEM;
	crypto_mac(key, text, strlen(text), ret, CRYPTO_MAC_LEN);
	return 0;
}

static int check_mac(const struct keyring *k)
{
	uint8_t stored[CRYPTO_MAC_LEN], computed[CRYPTO_MAC_LEN];
	if (!keyring_json_bytes(k->doc, "mac", stored, sizeof(stored)))
		return -EBADMSG;
	int r = compute_mac(k, k->doc, computed);
	if (r < 0)
		return r;
	return crypto_equal(stored, computed, CRYPTO_MAC_LEN) ? 0 : -EBADMSG;
}

int keyring_json_open(struct keyring *k)
{
	for (size_t i = 0; i < k->key_count; i++) {
		struct keyring_key *key = &k->keys[i];
		uint8_t place[80];
		if (!key->has_wrap)
			continue;
		size_t len = key_place(k, key, place);
		int r = wrap_open(k->suite, k->trk, place, len, k->owner.tenant_uuid, key->wrap,
			&key->secret);
		if (r < 0)
			return r == -EKEYREJECTED ? -EBADMSG : r;
	}
	return check_mac(k);
}

int keyring_json_dump(const struct keyring *k, uint64_t generation, struct buf *b)
{
	uint8_t mac[CRYPTO_MAC_LEN];
	AUTO_JSON *doc =
		keyring_json_copy(k->doc, false); /* shares slots, escrow and unknown members */
	AUTO_JSON *keys = json_array();
	if (!doc || !keys)
		return -ENOMEM;
	int bad = 0;
	for (size_t i = 0; i < k->key_count; i++)
		bad |= json_array_append_new(keys, dump_key(k, &k->keys[i]));
	bad |= json_object_set(doc, "keys", keys);
	bad |= json_object_set_new(doc, "format", json_integer(FORMAT));
	bad |= json_object_set_new(doc, "suite", json_integer(k->suite));
	bad |= json_object_set_new(doc, "generation", json_integer((json_int_t)generation));
	bad |= json_object_set_new(doc, "tenant", json_string(k->owner.tenant));
	bad |= json_object_set_new(
		doc, "store_uuid", keyring_json_from_bytes(k->owner.store_uuid, CRYPTO_ID_LEN));
	bad |= json_object_set_new(
		doc, "tenant_uuid", keyring_json_from_bytes(k->owner.tenant_uuid, CRYPTO_ID_LEN));
	bad |= json_object_set_new(doc, "policy_hash",
		keyring_json_from_bytes(k->policy_hash, sizeof(k->policy_hash)));
	bad |= json_object_set_new(
		doc, "audit_root", keyring_json_from_bytes(k->audit_root, sizeof(k->audit_root)));
	if (bad)
		return -ENOMEM;
	int r = compute_mac(k, doc, mac);
	if (r < 0)
		return r;
	bad |= json_object_set_new(doc, "mac", keyring_json_from_bytes(mac, sizeof(mac)));
	AUTO_FREE char *text = jsontext_dump(doc, JSON_INDENT(1) | JSON_SORT_KEYS);
	if (bad || !text)
		return -ENOMEM;
	buf_str(b, text);
	buf_put8(b, '\n');
	return buf_ok(b) ? 0 : -ENOMEM;
}
