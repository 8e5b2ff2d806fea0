/* keymgmt/keyring, slot: what opens, what must not, and crashes at every step of an update. */
#include "tests/unit/keyring_fixture.h"

#include <pthread.h>
#include <sys/stat.h>

static void what_was_stored_loads(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	AUTO(keyring_auto) struct keyring *loaded = load(f);
	struct stat st;
	assert_false(keyring_is_open(loaded));
	assert_null(keyring_kek(loaded, 1));
	assert_false(keyring_has_auditor_secret(loaded));
	assert_null(keyring_mdk_subkey(loaded, "policy", false));
	assert_int_equal(keyring_store(loaded, f->dirfd, NULL), -ENOKEY);
	assert_int_equal(unlock(loaded, "wrong"), -EKEYREJECTED);
	assert_int_equal(unlock(loaded, "max's"), 0);
	assert_same(k, loaded);
	assert_int_equal(keyring_suite(loaded), CRYPTO_AES256_GCM);
	assert_int_equal(keyring_generation(loaded), 1);
	assert_non_null(keyring_kek(loaded, 1));
	assert_null(keyring_kek(loaded, 2));
	assert_null(keyring_mdk_subkey(loaded, "policy", true));
	AUTO_SECRET *policy = keyring_mdk_subkey(loaded, "policy", false);
	AUTO_SECRET *audit = keyring_mdk_subkey(loaded, "audit", false);
	assert_false(secret_equal(policy, audit));
	uint8_t listed[8][KEY_LEN];
	assert_int_equal(keyring_auditors(loaded, listed), 1);
	assert_true(keyring_has_auditor_secret(loaded));
	assert_non_null(keyring_auditor_secret(loaded, listed[0]));
	listed[0][31] ^= 1;
	assert_null(keyring_auditor_secret(loaded, listed[0]));
	assert_int_equal(fstatat(f->dirfd, "acme.json", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	struct keyring_slot_info info;
	assert_int_equal(keyring_slots(loaded), 2);
	assert_int_equal(keyring_slot_info(loaded, 1, &info), 0);
	assert_string_equal(info.kind, "passphrase");
	assert_string_equal(info.name, "max");
	assert_true(info.known && info.pwhash.iterations == 1 && info.pwhash.memory_kib == 64);
	assert_int_equal(strlen(info.created), 20);
	assert_int_equal(keyring_slot_info(loaded, 2, &info), -ENOENT);
}

static void key_files_and_the_second_suite(void **state)
{
	struct fixture *f = *state;
	static const size_t lengths[] = {31, 32, 65536};
	AUTO(keyring_auto) struct keyring *k = NULL;
	assert_int_equal(keyring_create(&acme, CRYPTO_XCHACHA20_POLY1305, &k), 0);
	for (size_t i = 0; i < COUNT(lengths); i++) {
		AUTO_SECRET *content = secret_random(lengths[i]);
		struct slot_key key = {SLOT_KEYFILE, content};
		char name[8] = {(char)('a' + i), 0};
		assert_int_equal(
			keyring_slot_add(k, name, &key, NULL, NULL), lengths[i] < 32 ? -EINVAL : 0);
		if (lengths[i] < 32)
			continue;
		assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
		AUTO(keyring_auto) struct keyring *loaded = load(f);
		struct slot_key as_passphrase = {SLOT_PASSPHRASE, content};
		assert_int_equal(keyring_unlock(loaded, &as_passphrase, NULL), -EKEYREJECTED);
		AUTO_SECRET *other = secret_copy(content);
		secret_bytes(other)[lengths[i] - 1] ^= 1;
		struct slot_key wrong = {SLOT_KEYFILE, other};
		assert_int_equal(keyring_unlock(loaded, &wrong, NULL), -EKEYREJECTED);
		assert_int_equal(keyring_unlock(loaded, &key, NULL), 0);
		assert_same(k, loaded);
	}
}

static void slots_that_cannot_be(void **state)
{
	(void)state;
	AUTO(keyring_auto) struct keyring *k = NULL;
	assert_int_equal(keyring_create(&acme, CRYPTO_AES256_GCM, &k), 0);
	char longest[65] = {0};
	memset(longest, 'n', 64);
	static const struct slot_cost costs[] = {{.iterations = 1, .memory_kib = (4ull << 20) + 1},
		{.iterations = UINT64_MAX, .memory_kib = 8}, {.iterations = 1, .memory_kib = 7}};
	AUTO_SECRET *s = text_secret("x");
	struct slot_key key = {SLOT_PASSPHRASE, s};
	for (size_t i = 0; i < COUNT(costs); i++)
		assert_int_equal(keyring_slot_add(k, "n", &key, &costs[i], NULL), -EINVAL);
	assert_int_equal(slot_add(k, "", "x"), -EINVAL);
	assert_int_equal(slot_add(k, "a\nb", "x"), -EINVAL);
	assert_int_equal(slot_add(k, "\xff", "x"), -EINVAL);
	assert_int_equal(slot_add(k, longest, "x"), -EINVAL);
	longest[63] = 0;
	assert_int_equal(slot_add(k, longest, "x"), 0);
	assert_int_equal(slot_add(k, longest, "y"), -EEXIST);
	assert_int_equal(keyring_slot_remove(k, "nobody", NULL), -ENOENT);
	assert_int_equal(keyring_slot_remove(k, longest, NULL), -EPERM);
	for (int i = 1; i < 64; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(slot_add(k, name, "x"), 0);
	}
	assert_int_equal(slot_add(k, "65th", "x"), -ENOSPC);
	assert_int_equal(keyring_slots(k), 64);
}

static void whoever_is_removed_is_out(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	AUTO_BUF old = {0};
	read_text(f, "acme.json", &old);
	assert_int_equal(keyring_slot_remove(k, "max", NULL), 0);
	assert_true(keyring_has_old_epochs(k));
	AUTO_SECRET *retiring = keyring_mdk_subkey(k, "policy", true);
	assert_non_null(retiring);
	assert_int_equal(keyring_slot_remove(k, "eva", NULL), -EPERM);
	assert_int_equal(slot_add(k, "kim", "kim's"), 0);
	assert_int_equal(keyring_slot_remove(k, "eva", NULL), -EBUSY);
	assert_int_equal(keyring_slots(k), 2);
	assert_int_equal(keyring_rotate_begin(k), -EBUSY);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	AUTO(keyring_auto) struct keyring *now = load(f);
	assert_int_equal(unlock(now, "max's"), -EKEYREJECTED);
	assert_int_equal(unlock(now, "eva's"), 0);
	assert_same(k, now);
	AUTO_SECRET *still = keyring_mdk_subkey(now, "policy", true);
	assert_true(secret_equal(still, retiring));
	keyring_retire_done(now);
	assert_false(keyring_has_old_epochs(now));
	assert_null(keyring_mdk_subkey(now, "policy", true));
	assert_int_equal(keyring_store(now, f->dirfd, NULL), 0);
	assert_int_equal(keyring_slot_remove(now, "kim", NULL), 0);
	/* The old file with the removed passphrase gives old keys only. */
	write_text(f, "acme.json", old.data, old.len);
	AUTO(keyring_auto) struct keyring *before = load_open(f, "max's");
	AUTO_SECRET *old_policy = keyring_mdk_subkey(before, "policy", false);
	AUTO_SECRET *new_policy = keyring_mdk_subkey(now, "policy", false);
	assert_true(secret_equal(old_policy, retiring));
	assert_false(secret_equal(old_policy, new_policy));
	assert_false(secret_equal(before->trk, now->trk));
}

static void a_changed_passphrase_replaces_the_old(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	AUTO_SECRET *s = text_secret("eva's new one");
	AUTO_SECRET *old_trk = secret_copy(k->trk);
	struct slot_key key = {SLOT_PASSPHRASE, s};
	assert_int_equal(keyring_slot_replace(k, "nobody", &key, &cheap, NULL), -ENOENT);
	assert_int_equal(keyring_slot_replace(k, "eva", &key, &cheap, NULL), 0);
	assert_false(secret_equal(k->trk, old_trk));
	assert_int_equal(keyring_slot_replace(k, "eva", &key, &cheap, NULL), -EBUSY);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	AUTO(keyring_auto) struct keyring *now = load(f);
	assert_int_equal(keyring_slots(now), 2);
	assert_int_equal(unlock(now, "eva's"), -EKEYREJECTED);
	assert_int_equal(unlock(now, "eva's new one"), 0);
	assert_same(k, now);
	AUTO(keyring_auto) struct keyring *by_max = load_open(f, "max's");
	assert_same(k, by_max);
}

static void an_old_keyring_opens_nothing_after_a_rotation(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	AUTO_BUF old = {0}, new = {0};
	read_text(f, "acme.json", &old);
	assert_int_equal(keyring_rotate_begin(k), 0);
	assert_int_equal(keyring_kek_epoch(k), 2);
	assert_non_null(keyring_kek(k, 1));
	assert_int_equal(keyring_rotate_begin(k), -EBUSY);
	/* interrupted: what is on disk goes on */
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	AUTO(keyring_auto) struct keyring *resumed = load_open(f, "eva's");
	assert_same(k, resumed);
	assert_true(keyring_has_old_epochs(resumed));
	keyring_retire_done(resumed);
	assert_null(keyring_kek(resumed, 1));
	assert_non_null(keyring_nmk(resumed, 1));
	assert_int_equal(keyring_store(resumed, f->dirfd, NULL), 0);
	read_text(f, "acme.json", &new);
	AUTO_JSON *doc = json_loadb((char *)new.data, new.len, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(doc, "keys")), 5);
	AUTO(keyring_auto) struct keyring *now = load_open(f, "eva's");
	write_text(f, "acme.json", old.data, old.len);
	AUTO(keyring_auto) struct keyring *before = load_open(f, "eva's");
	assert_false(secret_equal(before->trk, now->trk));
	static const char *const kinds[] = {KEYRING_KEK, KEYRING_MDK, KEYRING_AUDITOR};
	for (size_t i = 0; i < before->key_count; i++)
		for (size_t j = 0; j < COUNT(kinds); j++)
			assert_false(secret_equal(
				before->keys[i].secret, keyring_key_newest(now, kinds[j])->secret));
	/* Nor does the old root key open a wrap of the new file. */
	secret_free(now->trk);
	now->trk = secret_copy(before->trk);
	for (size_t i = 0; i < now->key_count; i++) {
		secret_free(now->keys[i].secret);
		now->keys[i].secret = NULL;
	}
	assert_int_equal(keyring_json_open(now), -EBADMSG);
}

/* The newest pair of the keyring; false when it is not what new segments are sealed to. */
static bool current_auditor(const struct keyring *k, uint8_t ret_public[static KEY_LEN])
{
	uint8_t listed[8][KEY_LEN];
	const struct keyring_key *newest = keyring_key_newest(k, KEYRING_AUDITOR);
	memcpy(ret_public, newest->public_key, KEY_LEN);
	return keyring_auditors(k, listed) == 1 && memcmp(listed[0], ret_public, KEY_LEN) == 0 &&
	       keyring_auditor_secret(k, ret_public) == newest->secret;
}

static void each_renewal_draws_an_auditors_pair(void **state)
{
	struct fixture *f = *state;
	uint8_t pairs[4][KEY_LEN];
	AUTO(keyring_auto) struct keyring *k = stored(f);
	AUTO_SECRET *s = text_secret("eva's new one");
	struct slot_key key = {SLOT_PASSPHRASE, s};
	for (size_t n = 0; n < COUNT(pairs); n++) {
		if (n == 1)
			assert_int_equal(keyring_rotate_begin(k), 0);
		else if (n == 2)
			assert_int_equal(keyring_slot_replace(k, "eva", &key, &cheap, NULL), 0);
		else if (n == 3)
			assert_int_equal(keyring_slot_remove(k, "max", NULL), 0);
		keyring_retire_done(k);
		assert_true(current_auditor(k, pairs[n]));
		assert_int_equal(keyring_key_newest(k, KEYRING_AUDITOR)->epoch, n + 1);
		for (size_t older = 0; older < n; older++)
			assert_memory_not_equal(pairs[older], pairs[n], KEY_LEN);
	}
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	/* All of them are in the file, under the newest root key, and their secrets are theirs. */
	AUTO(keyring_auto) struct keyring *now = load_open(f, "eva's new one");
	AUTO_SECRET *text = text_secret("thirty-two bytes, or what is sealed");
	for (size_t n = 0; n < COUNT(pairs); n++) {
		uint8_t box[128];
		AUTO_SECRET *opened = NULL;
		const struct secret *secret = keyring_auditor_secret(now, pairs[n]);
		size_t len = secret_len(text) + CRYPTO_SEALED_BOX_EXTRA;
		assert_non_null(secret);
		assert_int_equal(crypto_box_seal_to(pairs[n], text, box), 0);
		assert_int_equal(crypto_box_open_with(pairs[n], secret, box, len, &opened), 0);
		assert_true(secret_equal(opened, text));
	}
	AUTO_BUF file = {0};
	read_text(f, "acme.json", &file);
	AUTO_JSON *doc = json_loadb((char *)file.data, file.len, 0, NULL);
	size_t i, active = 0, kept = 0;
	json_t *entry;
	json_array_foreach(json_object_get(doc, "keys"), i, entry)
	{
		const char *state_of = json_string_value(json_object_get(entry, "state"));
		active += strcmp(state_of, "active") == 0;
		kept += strcmp(state_of, "kept") == 0;
	}
	assert_int_equal(active, 4);
	assert_int_equal(kept, 3);
}

/* Who hold their secrets themselves: no pair is drawn for them, and the keyring's is for old
 * segments only. */
static void auditors_outside_replace_the_pair(void **state)
{
	struct fixture *f = *state;
	uint8_t inside[8][KEY_LEN], listed[8][KEY_LEN];
	AUTO(keyring_auto) struct keyring *k = stored(f);
	assert_int_equal(keyring_auditors(k, inside), 1);
	for (uint32_t n = 0; n < 9; n++) {
		AUTO(keyring_auto) struct keyring *loaded = NULL;
		assert_int_equal(
			keyring_key_add(k, KEYRING_AUDITOR, n + 2, secret_random(KEY_LEN)), 0);
		struct keyring_key *key = &k->keys[k->key_count - 1];
		secret_free(key->secret);
		key->secret = NULL;
		key->has_wrap = false;
		key->has_public = true;
		memset(key->public_key, (int)n + 1, KEY_LEN);
		assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
		/* a segment's header has room for eight */
		assert_int_equal(
			keyring_load(f->dirfd, &acme, &loaded, NULL), n < 8 ? 0 : -EBADMSG);
		if (n == 8)
			break;
		assert_int_equal(unlock(loaded, "eva's"), 0);
		assert_int_equal(keyring_auditors(loaded, listed), n + 1);
		assert_memory_equal(listed[n], key->public_key, KEY_LEN);
		assert_memory_not_equal(listed[0], inside[0], KEY_LEN);
		assert_non_null(keyring_auditor_secret(loaded, inside[0]));
		assert_null(keyring_auditor_secret(loaded, listed[0]));
	}
	size_t before = k->key_count;
	assert_int_equal(keyring_rotate_begin(k), 0);
	assert_int_equal(k->key_count, before + 2); /* kek, mdk */
}

static void a_thousand_pairs_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	uint8_t first[8][KEY_LEN];
	AUTO(keyring_auto) struct keyring *k = stored(f);
	assert_int_equal(keyring_auditors(k, first), 1);
	for (int i = 1; i < KEYRING_AUDITORS_MAX; i++) {
		assert_int_equal(keyring_rotate_begin(k), 0);
		keyring_retire_done(k);
	}
	AUTO_SECRET *trk = secret_copy(k->trk);
	size_t before = k->key_count;
	assert_int_equal(keyring_rotate_begin(k), -ENOSPC);
	assert_int_equal(keyring_slot_remove(k, "max", &e), -ENOSPC);
	assert_true(e.text[0]);
	assert_int_equal(k->key_count, before);
	assert_true(secret_equal(trk, k->trk));
	assert_false(keyring_has_old_epochs(k));
	assert_int_equal(keyring_slots(k), 2);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	AUTO(keyring_auto) struct keyring *now = load_open(f, "max's");
	assert_same(k, now);
	assert_non_null(keyring_auditor_secret(now, first[0]));
	/* one more in the file is damage */
	k->keys[k->key_count] = k->keys[k->key_count - 1];
	k->keys[k->key_count].secret = secret_copy(k->keys[k->key_count - 1].secret);
	k->keys[k->key_count++].epoch++;
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	AUTO(keyring_auto) struct keyring *none = NULL;
	assert_int_equal(keyring_load(f->dirfd, &acme, &none, NULL), -EBADMSG);
}

static void every_changed_byte_is_noticed(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = NULL;
	assert_int_equal(keyring_create(&acme, CRYPTO_AES256_GCM, &k), 0);
	assert_int_equal(slot_add(k, "eva", "eva's"), 0);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	AUTO_BUF text = {0};
	read_text(f, "acme.json", &text);
	for (size_t i = 0; i < text.len - 1; i++) {
		struct keyring *loaded = NULL;
		text.data[i] ^= 1;
		write_text(f, "acme.json", text.data, text.len);
		int r = keyring_load(f->dirfd, &acme, &loaded, NULL);
		if (r == 0)
			r = unlock(loaded, "eva's");
		keyring_free(loaded);
		text.data[i] ^= 1;
		if (r != -EBADMSG && r != -EKEYREJECTED && r != -EPROTONOSUPPORT)
			print_error("byte %zu of %s\n", i, (char *)text.data);
		assert_true(r == -EBADMSG || r == -EKEYREJECTED || r == -EPROTONOSUPPORT);
	}
	for (size_t len = 0; len < text.len - 2; len += 7) {
		struct keyring *loaded = NULL;
		write_text(f, "acme.json", text.data, len);
		assert_int_equal(keyring_load(f->dirfd, &acme, &loaded, NULL), -EBADMSG);
	}
}

/* One member (of the object, or of its first slot, key, escrow entry) gets this JSON value. */
static const struct bad_row {
	const char *list, *member, *value; /* value NULL: removed */
	int result;
} bad_rows[] = {
	{NULL, "format", "2", -EPROTONOSUPPORT},
	{NULL, "format", "4611686018427387904", -EPROTONOSUPPORT},
	{NULL, "format", "0", -EBADMSG},
	{NULL, "format", "\"1\"", -EBADMSG},
	{NULL, "format", NULL, -EBADMSG},
	{NULL, "store_uuid", "\"AAAAAAAAAAAAAAAAAAAAAA\"", -EBADMSG},
	{NULL, "tenant_uuid", "\"AAAAAAAAAAAAAAAAAAAAAA\"", -EBADMSG},
	{NULL, "tenant", "\"acne\"", -EBADMSG},
	{NULL, "tenant", "\"acme\\u0000\"", -EBADMSG},
	{NULL, "store_uuid", NULL, -EBADMSG},
	{NULL, "suite", "0", -EBADMSG},
	{NULL, "suite", "3", -EBADMSG},
	{NULL, "generation", "-1", -EBADMSG},
	{NULL, "generation", "9223372036854775807", -EBADMSG},
	{NULL, "generation", "1.0", -EBADMSG},
	{NULL, "policy_hash", "\"AA\"", -EBADMSG},
	{NULL, "audit_root", NULL, -EBADMSG},
	{NULL, "mac", NULL, -EBADMSG},
	{NULL, "slots", "{}", -EBADMSG},
	{NULL, "slots", "[1]", -EBADMSG},
	{NULL, "keys", "[]", -EBADMSG},
	{NULL, "keys", NULL, -EBADMSG},
	{NULL, "escrow", NULL, -EBADMSG},
	{NULL, "escrow", "[{}]", -EBADMSG},
	{"slots", "kind", NULL, -EBADMSG},
	{"slots", "kind", "\"a kind of slot that is too long\"", -EBADMSG},
	{"slots", "name", "\"\"", -EBADMSG},
	{"slots", "name", "\"max\"", -EBADMSG},
	{"slots", "created", NULL, -EBADMSG},
	{"slots", "id", NULL, -EBADMSG},
	{"slots", "public", "\"AAAA\"", -EBADMSG},
	{"slots", "secret", NULL, -EBADMSG},
	{"slots", "trk", NULL, -EBADMSG},
	{"slots", "salt", "\"AAAAAAAAAAAAAAAAAAAAAB\"", -EBADMSG},
	{"slots", "iterations", "0", -EBADMSG},
	{"slots", "iterations", "4294967295", -EBADMSG},
	{"slots", "memory_kib", "4194305", -EBADMSG},
	{"slots", "memory_kib", "7", -EBADMSG},
	{"slots", "memory_kib", NULL, -EBADMSG},
	{"keys", "kind", "\"nmk\"", -EBADMSG},
	{"keys", "epoch", "0", -EBADMSG},
	{"keys", "epoch", "4294967296", -EBADMSG},
	{"keys", "wrapped", NULL, -EBADMSG},
	{"keys", "wrapped", "\"AAAA\"", -EBADMSG},
	{"keys", "public", "\"AAAA\"", -EBADMSG},
};

static void damaged_members_are_refused_without_keys(void **state)
{
	struct fixture *f = *state;
	keyring_free(stored(f));
	AUTO_BUF text = {0};
	read_text(f, "acme.json", &text);
	for (size_t i = 0; i < COUNT(bad_rows); i++) {
		const struct bad_row *row = &bad_rows[i];
		AUTO_JSON *doc = json_loadb((char *)text.data, text.len, 0, NULL);
		json_t *at = row->list ? json_array_get(json_object_get(doc, row->list), 0) : doc;
		if (row->value)
			json_object_set_new(at, row->member,
				json_loads(row->value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
		else
			json_object_del(at, row->member);
		AUTO_FREE char *changed = json_dumps(doc, 0);
		write_text(f, "acme.json", changed, strlen(changed));
		struct keyring *loaded = NULL;
		struct err e = {0};
		int r = keyring_load(f->dirfd, &acme, &loaded, &e);
		if (r != row->result)
			print_error("%s = %s\n", row->member, row->value ? row->value : "nothing");
		assert_int_equal(r, row->result);
		assert_null(loaded);
		assert_true(e.text[0]);
	}
}

static void lists_are_bounded_and_names_unique(void **state)
{
	struct fixture *f = *state;
	keyring_free(stored(f));
	AUTO_BUF text = {0};
	read_text(f, "acme.json", &text);
	static const char *const lists[] = {"slots", "keys", "escrow"};
	static const uint8_t wrap[WRAP_LEN] = {0};
	for (size_t i = 0; i < COUNT(lists); i++) {
		AUTO_JSON *doc = json_loadb((char *)text.data, text.len, 0, NULL);
		json_t *list = json_object_get(doc, lists[i]);
		const int most =
			i == 1 ? 65 : 64; /* an auditor's pair does not count with the other keys */
		for (int n = (int)json_array_size(list); n < most + 1; n++) {
			char name[16];
			snprintf(name, sizeof(name), "%d", n);
			AUTO_JSON *entry = json_pack("{s:s,s:s,s:s,s:i,s:s,s:i,s:i,s:b}", "kind",
				"future", "name", name, "created", "2030", "epoch", n + 10, "id",
				name, "kek_epoch", 1, "generation", 1, "retired", 0);
			json_object_set_new(
				entry, "wrapped", keyring_json_from_bytes(wrap, sizeof(wrap)));
			assert_non_null(entry);
			json_array_append(list, entry);
			if (n < most - 1)
				continue;
			AUTO_FREE char *changed = json_dumps(doc, 0);
			write_text(f, "acme.json", changed, strlen(changed));
			AUTO(keyring_auto) struct keyring *loaded = NULL;
			assert_int_equal(keyring_load(f->dirfd, &acme, &loaded, NULL),
				n == most - 1 ? 0 : -EBADMSG);
		}
	}
	/* The same member twice, a file that is too large, and one that is no file. */
	buf_reset(&text);
	buf_str(&text, "{\"format\":1,\"format\":1}");
	write_text(f, "acme.json", text.data, text.len);
	struct keyring *none = NULL;
	assert_int_equal(keyring_load(f->dirfd, &acme, &none, NULL), -EBADMSG);
	int fd = openat(f->dirfd, "acme.json", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, KEYRING_FILE_MAX + 1), 0);
	close(fd);
	assert_int_equal(keyring_load(f->dirfd, &acme, &none, NULL), -EBADMSG);
	unlinkat(f->dirfd, "acme.json", 0);
	assert_int_equal(keyring_load(f->dirfd, &acme, &none, NULL), -ENOENT);
	assert_null(none);
}

static void what_is_not_known_is_kept(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	uint8_t public_key[KEY_LEN], id[CRYPTO_ID_LEN] = {7}, owner[SLOT_OWNER_LEN],
				     box[SLOT_TRK_LEN];
	AUTO_SECRET *secret_key = NULL;
	assert_int_equal(crypto_box_new(public_key, &secret_key), 0);
	json_t *slots = json_object_get(k->doc, "slots");
	json_t *plain = json_pack("{s:s,s:s,s:s,s:{s:[i,f,n]}}", "kind", "fido2", "name", "stick",
		"created", "2030-01-01T00:00:00Z", "more", "list", 1, 0.5);
	json_t *recipient = json_pack("{s:s,s:s,s:s}", "kind", "recipient", "name", "officer",
		"created", "2030-01-01T00:00:00Z");
	json_object_set_new(recipient, "id", keyring_json_from_bytes(id, sizeof(id)));
	json_object_set_new(recipient, "public", keyring_json_from_bytes(public_key, KEY_LEN));
	assert_int_equal(json_array_append(slots, plain) | json_array_append(slots, recipient), 0);
	json_object_set_new(k->doc, "future", json_pack("{s:s}", "member", "kept"));
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);

	AUTO(keyring_auto) struct keyring *now = load_open(f, "eva's");
	struct keyring_slot_info info;
	assert_int_equal(keyring_slot_info(now, 2, &info), 0);
	assert_false(info.known);
	assert_string_equal(info.kind, "fido2");
	assert_int_equal(keyring_rotate_begin(now), 0);
	assert_int_equal(keyring_store(now, f->dirfd, NULL), 0);
	keyring_free(now);
	now = load_open(f, "eva's");
	slots = json_object_get(now->doc, "slots");
	assert_true(json_equal(plain, json_array_get(slots, 2)));
	assert_non_null(json_object_get(json_object_get(now->doc, "future"), "member"));
	/* Whoever carries a public key got the new root key. */
	const json_t *resealed = json_array_get(slots, 3);
	assert_true(keyring_json_bytes(resealed, "trk", box, sizeof(box)));
	AUTO_SECRET *both = NULL;
	assert_int_equal(crypto_box_open_with(public_key, secret_key, box, sizeof(box), &both), 0);
	assert_memory_equal(secret_peek(both), secret_peek(now->trk), KEY_LEN);
	keyring_owner_bytes(now, owner);
	/* The last slots that this program can open may not go, whatever others there are. */
	keyring_retire_done(now);
	assert_int_equal(keyring_slot_remove(now, "eva", NULL), 0);
	keyring_retire_done(now);
	assert_int_equal(keyring_slot_remove(now, "max", NULL), -EPERM);
	assert_int_equal(keyring_slot_remove(now, "stick", NULL), 0);
	json_decref(plain);
	json_decref(recipient);
}

static void a_root_key_sealed_for_another_place_is_refused(void **state)
{
	(void)state;
	uint8_t owner[SLOT_OWNER_LEN] = {1}, other[SLOT_OWNER_LEN] = {2}, id[CRYPTO_ID_LEN] = {3};
	AUTO_SECRET *passphrase = text_secret("eva's");
	AUTO_SECRET *trk = secret_random(KEY_LEN);
	AUTO_SECRET *out = NULL;
	struct slot_key key = {SLOT_PASSPHRASE, passphrase};
	struct slot slot;
	assert_int_equal(slot_create(CRYPTO_AES256_GCM, owner, &key, &cheap, trk, &slot), 0);
	assert_int_equal(slot_open(CRYPTO_AES256_GCM, other, &slot, &key, &out), -EKEYREJECTED);
	assert_int_equal(slot_seal_trk(other, slot.id, slot.public_key, trk, slot.trk), 0);
	assert_int_equal(slot_open(CRYPTO_AES256_GCM, owner, &slot, &key, &out), -EBADMSG);
	assert_int_equal(slot_seal_trk(owner, id, slot.public_key, trk, slot.trk), 0);
	assert_int_equal(slot_open(CRYPTO_AES256_GCM, owner, &slot, &key, &out), -EBADMSG);
	assert_null(out);
	assert_int_equal(slot_seal_trk(owner, slot.id, slot.public_key, trk, slot.trk), 0);
	assert_int_equal(slot_open(CRYPTO_AES256_GCM, owner, &slot, &key, &out), 0);
	assert_true(secret_equal(out, trk));
}

static void a_slot_cannot_be_moved(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	AUTO_BUF text = {0};
	read_text(f, "acme.json", &text);
	/* Somebody who can write the file seals a root key of his own to eva's public key, for
	 * another place. */
	AUTO_JSON *doc = json_loadb((char *)text.data, text.len, 0, NULL);
	json_t *slot = json_array_get(json_object_get(doc, "slots"), 0);
	uint8_t owner[SLOT_OWNER_LEN] = {99}, id[CRYPTO_ID_LEN], public_key[KEY_LEN],
		box[SLOT_TRK_LEN];
	assert_true(keyring_json_bytes(slot, "id", id, sizeof(id)));
	assert_true(keyring_json_bytes(slot, "public", public_key, sizeof(public_key)));
	assert_int_equal(slot_seal_trk(owner, id, public_key, k->trk, box), 0);
	json_object_set_new(slot, "trk", keyring_json_from_bytes(box, sizeof(box)));
	AUTO_FREE char *changed = json_dumps(doc, 0);
	write_text(f, "acme.json", changed, strlen(changed));
	AUTO(keyring_auto) struct keyring *loaded = load(f);
	assert_int_equal(unlock(loaded, "eva's"), -EBADMSG);
	assert_null(keyring_kek(loaded, 1));
}

static void the_mac_covers_what_is_not_wrapped(void **state)
{
	struct fixture *f = *state;
	keyring_free(stored(f));
	AUTO_BUF text = {0};
	read_text(f, "acme.json", &text);
	static const struct {
		const char *member;
		json_int_t value;
	} rows[] = {{"generation", 2}, {"added", 1}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		AUTO_JSON *doc = json_loadb((char *)text.data, text.len, 0, NULL);
		json_object_set_new(doc, rows[i].member, json_integer(rows[i].value));
		AUTO_FREE char *changed = json_dumps(doc, 0);
		write_text(f, "acme.json", changed, strlen(changed));
		AUTO(keyring_auto) struct keyring *loaded = load(f);
		assert_int_equal(unlock(loaded, "eva's"), -EBADMSG);
		assert_null(keyring_kek(loaded, 1)); /* closed again */
	}
	/* Order and white space do not count. */
	AUTO_JSON *doc = json_loadb((char *)text.data, text.len, 0, NULL);
	AUTO_FREE char *compact = json_dumps(doc, JSON_COMPACT);
	write_text(f, "acme.json", compact, strlen(compact));
	keyring_free(load_open(f, "eva's"));
}

/* Stores k with the n-th call failing, or in a child that dies there. Its result; 99 for the
 * child's death. */
static void escrow_copies_are_registered(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	char id[24];
	struct keyring_escrow info;
	assert_int_equal(keyring_escrows(k), 0);
	assert_int_equal(keyring_escrow_add(k, id), 0);
	assert_int_equal(strlen(id), 22);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	AUTO_BUF copy = {0}, closed = {0};
	assert_int_equal(keyring_dump(k, &copy), 0);
	/* The copy opens like the original. */
	write_text(f, "acme.json", copy.data, copy.len);
	AUTO(keyring_auto) struct keyring *now = load(f);
	assert_int_equal(keyring_dump(now, &closed), -ENOKEY);
	assert_int_equal(unlock(now, "max's"), 0);
	assert_same(now, k);
	assert_int_equal(keyring_escrow_info(now, 0, &info), 0);
	assert_string_equal(info.id, id);
	assert_int_equal(info.kek_epoch, 1);
	assert_int_equal(info.generation, keyring_generation(now));
	assert_false(info.retired);
	assert_int_equal(keyring_escrow_retire(now, "nothing"), -ENOENT);
	assert_int_equal(keyring_escrow_retire(now, id), 0);
	assert_int_equal(keyring_escrow_retire(now, id), -EALREADY);
	assert_int_equal(keyring_escrow_info(now, 0, &info), 0);
	assert_true(info.retired);
	assert_int_equal(keyring_escrow_info(now, 1, &info), -ENOENT);
	for (int i = 1; i < 64; i++)
		assert_int_equal(keyring_escrow_add(now, id), 0);
	assert_int_equal(keyring_escrow_add(now, id), -ENOSPC);
	assert_int_equal(keyring_store(now, f->dirfd, NULL), 0);
	keyring_free(load_open(f, "eva's"));
}

static char wrong_missing[] = "missing";

static void *read_getters(void *keyring)
{
	const struct keyring *k = keyring;
	for (int i = 0; i < 2000; i++) {
		AUTO_SECRET *policy = keyring_mdk_subkey(k, "policy", false);
		uint8_t auditors[8][KEY_LEN];
		if (!policy || keyring_auditors(k, auditors) != 1 ||
			!keyring_auditor_secret(k, auditors[0]) ||
			!keyring_kek(k, keyring_kek_epoch(k)) ||
			!keyring_nmk(k, keyring_nmk_epoch(k)) || keyring_slots(k) != 2)
			return wrong_missing;
	}
	return NULL;
}

static void threads_may_read_it(void **state)
{
	AUTO(keyring_auto) struct keyring *k = stored(*state);
	pthread_t threads[4];
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_getters, k), 0);
	for (size_t i = 0; i < COUNT(threads); i++) {
		void *result;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_stored_loads),
		TEST(key_files_and_the_second_suite),
		TEST(slots_that_cannot_be),
		TEST(whoever_is_removed_is_out),
		TEST(a_changed_passphrase_replaces_the_old),
		TEST(an_old_keyring_opens_nothing_after_a_rotation),
		TEST(each_renewal_draws_an_auditors_pair),
		TEST(auditors_outside_replace_the_pair),
		TEST(a_thousand_pairs_and_no_more),
		TEST(every_changed_byte_is_noticed),
		TEST(damaged_members_are_refused_without_keys),
		TEST(lists_are_bounded_and_names_unique),
		TEST(what_is_not_known_is_kept),
		TEST(a_root_key_sealed_for_another_place_is_refused),
		TEST(a_slot_cannot_be_moved),
		TEST(the_mac_covers_what_is_not_wrapped),
		TEST(escrow_copies_are_registered),
		TEST(threads_may_read_it),
	};
	return crypto_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
