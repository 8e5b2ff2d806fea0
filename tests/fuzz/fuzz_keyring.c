/*
 * The keyring's text. Input: kind, then the text. Kind bit 0: wraps are opened with the root key
 * that the corpus was sealed with, and the MAC is made anew, so that everything behind it is
 * reached.
 */
#include "keymgmt/keyring_json.c"

#include "tests/fuzz/fuzz.h"

static const char passphrase[] = "fuzz";

static struct secret *passphrase_secret(void)
{
	struct secret *s = secret_new(sizeof(passphrase) - 1);
	FUZZ_CHECK(s);
	memcpy(secret_bytes(s), passphrase, sizeof(passphrase) - 1);
	return s;
}

/* The same in every run. */
static struct keyring *sample(void)
{
	static bool ready;
	struct keyring *k = fuzz_keyring();
	if (ready)
		return k;
	static const struct slot_cost cheap = {.iterations = 1, .memory_kib = 8};
	AUTO_SECRET *s = passphrase_secret();
	const struct slot_key key = {SLOT_PASSPHRASE, s};
	FUZZ_CHECK(keyring_slot_add(k, "eva", &key, &cheap, NULL) == 0);
	ready = true;
	return k;
}

/* Everything that is told without keys. */
static bool look_at(const struct keyring *k)
{
	bool cheap = true;
	struct keyring_slot_info info;
	struct keyring_escrow escrow;
	uint8_t auditors[8][KEY_LEN];
	FUZZ_CHECK(keyring_slots(k) <= KEYRING_LIST_MAX && keyring_escrows(k) <= KEYRING_LIST_MAX);
	for (size_t i = 0; i < keyring_slots(k); i++) {
		FUZZ_CHECK(keyring_slot_info(k, i, &info) == 0);
		FUZZ_CHECK(info.kind[0] && info.name[0]);
		if (info.pwhash.memory_kib > 64 || info.pwhash.iterations > 3)
			cheap = false;
	}
	for (size_t i = 0; i < keyring_escrows(k); i++)
		FUZZ_CHECK(keyring_escrow_info(k, i, &escrow) == 0);
	FUZZ_CHECK(keyring_auditors(k, auditors) <= 8);
	FUZZ_CHECK(keyring_kek_epoch(k) >= 1 && keyring_nmk_epoch(k) >= 1);
	FUZZ_CHECK(!keyring_is_open(k) && !keyring_kek(k, keyring_kek_epoch(k)));
	return cheap && keyring_slots(k) <= 4;
}

/* What can be opened is written so that it can be opened again. */
static void write_again(struct keyring *k)
{
	AUTO_BUF text = {0};
	struct err e = {0};
	FUZZ_CHECK(keyring_json_dump(k, k->generation, &text) == 0);
	AUTO(keyring_auto) struct keyring *again = calloc(1, sizeof(*again));
	FUZZ_CHECK(again && keyring_json_parse(again, &fuzz_owner, text.data, text.len, &e) == 0);
	again->trk = secret_copy(k->trk);
	FUZZ_CHECK(again->trk && keyring_json_open(again) == 0);
	FUZZ_CHECK(again->key_count == k->key_count && again->generation == k->generation);
	for (size_t i = 0; i < k->key_count; i++)
		FUZZ_CHECK(k->keys[i].has_wrap
				   ? secret_equal(again->keys[i].secret, k->keys[i].secret)
				   : !again->keys[i].secret);
	FUZZ_CHECK(keyring_slots(again) == keyring_slots(k));
}

static void rotate(struct keyring *k)
{
	uint32_t before = keyring_kek_epoch(k);
	int r = keyring_rotate_begin(k);
	FUZZ_CHECK(r == 0 || r == -EBUSY || r == -ENOSPC || r == -EOVERFLOW || r == -EIO);
	if (r == 0)
		FUZZ_CHECK(keyring_kek_epoch(k) == before + 1 && keyring_has_old_epochs(k));
	else
		FUZZ_CHECK(keyring_kek_epoch(k) == before);
	write_again(k);
	if (r == 0) {
		keyring_retire_done(k);
		FUZZ_CHECK(!keyring_has_old_epochs(k));
		write_again(k);
	}
}

static void open_with_root_key(struct keyring *k)
{
	uint8_t place[80], mac[CRYPTO_MAC_LEN];
	struct keyring_key *key = (struct keyring_key *)keyring_key_newest(k, KEYRING_MDK);
	k->trk = secret_copy(sample()->trk);
	FUZZ_CHECK(k->trk);
	size_t len = key_place(k, key, place);
	int r = wrap_open(
		k->suite, k->trk, place, len, k->owner.tenant_uuid, key->wrap, &key->secret);
	FUZZ_CHECK(r == 0 || r == -EKEYREJECTED || r == -EBADMSG);
	if (r < 0)
		return;
	FUZZ_CHECK(compute_mac(k, k->doc, mac) == 0);
	secret_free(key->secret);
	key->secret = NULL;
	json_object_set_new(k->doc, "mac", keyring_json_from_bytes(mac, sizeof(mac)));
	r = keyring_json_open(k);
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	write_again(k);
	rotate(k);
}

static void unlock(struct keyring *k)
{
	struct err e = {0};
	AUTO_SECRET *s = passphrase_secret();
	const struct slot_key key = {SLOT_PASSPHRASE, s};
	int r = keyring_unlock(k, &key, &e);
	FUZZ_CHECK(r == 0 || r == -EKEYREJECTED || r == -EBADMSG);
	FUZZ_CHECK((r < 0) == (e.text[0] != 0) && keyring_is_open(k) == (r == 0));
	if (r == 0)
		write_again(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	struct err e = {0};
	fuzz_begin();
	(void)sample();
	uint8_t kind = fuzz_u8(&c);
	AUTO(keyring_auto) struct keyring *k = calloc(1, sizeof(*k));
	FUZZ_CHECK(k);
	int r = keyring_json_parse(k, &fuzz_owner, c.at, cur_left(&c), &e);
	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	FUZZ_CHECK((r < 0) == (e.text[0] != 0));
	if (r < 0)
		return 0;
	bool cheap = look_at(k);
	if (kind & 1)
		open_with_root_key(k);
	else if (cheap)
		unlock(k);
	return 0;
}

static void seed(const char *name, uint8_t kind, struct keyring *k)
{
	AUTO_BUF text = {0};
	buf_put8(&text, kind);
	FUZZ_CHECK(keyring_json_dump(k, k->generation, &text) == 0);
	fuzz_seed(name, text.data, text.len);
}

void fuzz_seeds(void)
{
	char id[24];
	struct keyring *k = sample();
	AUTO_SECRET *old = secret_copy(k->trk);
	FUZZ_CHECK(old);
	seed("plain", 0, k);
	seed("opened", 1, k);
	FUZZ_CHECK(keyring_escrow_add(k, id) == 0);
	json_object_set_new(k->doc, "unknown", json_string("kept"));
	json_array_append_new(json_object_get(k->doc, "slots"),
		json_pack("{s:s,s:s,s:s,s:i}", "kind", "recipient", "name", "max", "created",
			"then", "x", 1));
	seed("more", 1, k);
	/* A second epoch, sealed to the root key that the harness knows. */
	FUZZ_CHECK(keyring_rotate_begin(k) == 0);
	secret_free(k->trk);
	k->trk = secret_copy(old);
	FUZZ_CHECK(k->trk);
	seed("rotating", 1, k);
}
