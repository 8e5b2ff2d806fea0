/* The register of escrow copies: what must be destroyed too before an erased key is gone
 * everywhere. */
#include "keymgmt/keyring_internal.h"

#include <errno.h>
#include <string.h>

static json_t *escrow_of(const struct keyring *k)
{
	return json_object_get(k->doc, "escrow");
}

int keyring_escrow_add(struct keyring *k, char ret_id[static 24])
{
	uint8_t id[CRYPTO_ID_LEN];
	char text[24], created[KEYRING_CREATED_LEN];
	if (keyring_escrows(k) >= KEYRING_LIST_MAX)
		return -ENOSPC;
	crypto_random(id, sizeof(id));
	crypto_b64(id, sizeof(id), text);
	keyring_now(created);
	json_t *entry = json_pack("{s:s,s:s,s:I,s:I,s:b}", "id", text, "created", created,
		"kek_epoch", (json_int_t)keyring_kek_epoch(k), "generation",
		(json_int_t)k->generation + 1, "retired", 0);
	if (json_array_append_new(escrow_of(k), entry) < 0)
		return -ENOMEM;
	memcpy(ret_id, text, sizeof(text));
	return 0;
}

size_t keyring_escrows(const struct keyring *k)
{
	return json_array_size(escrow_of(k));
}

int keyring_escrow_info(const struct keyring *k, size_t index, struct keyring_escrow *ret)
{
	struct keyring_escrow info = {0};
	uint64_t epoch;
	const json_t *entry = json_array_get(escrow_of(k), index);
	if (!entry)
		return -ENOENT;
	if (!keyring_json_string(entry, "id", info.id, sizeof(info.id)) ||
		!keyring_json_string(entry, "created", info.created, sizeof(info.created)) ||
		!keyring_json_uint(entry, "kek_epoch", UINT32_MAX, &epoch) ||
		!keyring_json_uint(entry, "generation", INT64_MAX, &info.generation))
		return -EBADMSG;
	info.kek_epoch = (uint32_t)epoch;
	info.retired = json_is_true(json_object_get(entry, "retired"));
	*ret = info;
	return 0;
}

int keyring_escrow_retire(struct keyring *k, const char *id)
{
	struct keyring_escrow info;
	for (size_t i = 0; keyring_escrow_info(k, i, &info) == 0; i++) {
		if (strcmp(info.id, id) != 0)
			continue;
		if (info.retired)
			return -EALREADY;
		json_t *entry = json_array_get(escrow_of(k), i);
		return json_object_set_new(entry, "retired", json_true()) < 0 ? -ENOMEM : 0;
	}
	return -ENOENT;
}
