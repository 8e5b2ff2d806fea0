/* keymgmt: each operation with its first, second, ... allocation failing. Afterwards the keyring in
 * memory and its file are as before, and the same call succeeds. */
#include "tests/unit/keyring_fixture.h"

#include "keymgmt/source.h"
#include "tests/unit/fail_alloc.h"

#include <pthread.h>

struct work {
	struct fixture *f;
	struct keyring *k, *reference; /* the same keyring twice */
	json_t *doc;                   /* copy of k->doc before the operation */
	struct secret *eva;
	char id[24];
	int fd;
};

static int open_stored(const struct work *w, struct keyring **ret)
{
	struct slot_key key = {SLOT_PASSPHRASE, w->eva};
	AUTO(keyring_auto) struct keyring *k = NULL;
	int r = keyring_load(w->f->dirfd, &acme, &k, NULL);
	if (r == 0)
		r = keyring_unlock(k, &key, NULL);
	if (r == 0) {
		*ret = k;
		k = NULL;
	}
	return r;
}

static void prepare(void *context)
{
	struct work *w = context;
	assert_int_equal(open_stored(w, &w->k), 0);
	w->doc = json_deep_copy(w->k->doc);
	assert_non_null(w->doc);
}

static void release(void *context)
{
	struct work *w = context;
	keyring_free(w->k);
	json_decref(w->doc);
	w->k = NULL;
	w->doc = NULL;
	/* What is on the disk opens. */
	AUTO(keyring_auto) struct keyring *k = load_open(w->f, "eva's");
	assert_int_equal(keyring_slots(k), 2);
	assert_same(k, w->reference);
}

static void unchanged(void *context, int error)
{
	struct work *w = context;
	(void)error;
	assert_same(w->k, w->reference);
	assert_true(json_equal(w->k->doc, w->doc));
	assert_int_equal(w->k->generation, w->reference->generation);
}

static int run_create(void *context)
{
	struct keyring *k = NULL;
	(void)context;
	int r = keyring_create(&acme, CRYPTO_AES256_GCM, &k);
	keyring_free(k);
	return r;
}

static int run_open(void *context)
{
	struct work *w = context;
	AUTO(keyring_auto) struct keyring *k = NULL;
	int r = open_stored(w, &k);
	if (r == 0)
		assert_same(k, w->reference);
	return r;
}

static int run_slot_add(void *context)
{
	struct work *w = context;
	struct slot_key key = {SLOT_PASSPHRASE, w->eva};
	return keyring_slot_add(w->k, "third", &key, &cheap, NULL);
}

static void added(void *context)
{
	struct work *w = context;
	assert_int_equal(keyring_slots(w->k), 3);
	release(w);
}

static int run_slot_remove(void *context)
{
	struct work *w = context;
	return keyring_slot_remove(w->k, "max", NULL);
}

static void removed(void *context)
{
	struct work *w = context;
	assert_int_equal(keyring_slots(w->k), 1);
	assert_false(secret_equal(w->k->trk, w->reference->trk));
	release(w);
}

static int run_slot_replace(void *context)
{
	struct work *w = context;
	struct slot_key key = {SLOT_PASSPHRASE, w->eva};
	return keyring_slot_replace(w->k, "max", &key, &cheap, NULL);
}

static int run_rotate(void *context)
{
	struct work *w = context;
	return keyring_rotate_begin(w->k);
}

static void rotated(void *context)
{
	struct work *w = context;
	assert_int_equal(keyring_slots(w->k), 2);
	assert_int_equal(keyring_kek_epoch(w->k), keyring_kek_epoch(w->reference) + 1);
	assert_false(secret_equal(w->k->trk, w->reference->trk));
	release(w);
}

static int run_escrow_add(void *context)
{
	struct work *w = context;
	return keyring_escrow_add(w->k, w->id);
}

static void registered(void *context)
{
	struct work *w = context;
	assert_int_equal(keyring_escrows(w->k), keyring_escrows(w->reference) + 1);
	release(w);
}

static int run_escrow_retire(void *context)
{
	struct work *w = context;
	struct keyring_escrow info;
	int r = keyring_escrow_info(w->k, 0, &info);
	return r < 0 ? r : keyring_escrow_retire(w->k, info.id);
}

static int run_dump(void *context)
{
	struct work *w = context;
	AUTO_BUF b = {0};
	int r = keyring_dump(w->k, &b);
	if (r < 0)
		return r;
	/* It loads as the stored one does, and opens. */
	AUTO(keyring_auto) struct keyring *k = calloc(1, sizeof(*k));
	struct slot_key key = {SLOT_PASSPHRASE, w->eva};
	r = k ? keyring_json_parse(k, &acme, b.data, b.len, NULL) : -ENOMEM;
	if (r == 0)
		r = keyring_unlock(k, &key, NULL);
	if (r == 0) {
		assert_same(k, w->reference);
		assert_int_equal(keyring_slots(k), 2);
		assert_int_equal(keyring_escrows(k), 1);
	}
	return r;
}

static int run_store(void *context)
{
	struct work *w = context;
	return keyring_store(w->k, w->f->dirfd, NULL);
}

/* The file is the old one or the new one; whole. */
static void stored_or_not(void *context, int error)
{
	struct work *w = context;
	(void)error;
	AUTO(keyring_auto) struct keyring *k = load_open(w->f, "max's");
	assert_same(k, w->reference);
	assert_int_equal(keyring_slots(k), 2);
	assert_int_equal(keyring_escrows(k), 1);
	assert_int_equal(keyring_generation(k), keyring_generation(w->k));
	assert_false(exists(w->f, "acme.json.new"));
	assert_false(exists(w->f, "trash/acme.json"));
}

static void stored_now(void *context)
{
	struct work *w = context;
	stored_or_not(w, 0);
	assert_int_equal(keyring_generation(w->k), keyring_generation(w->reference) + 1);
	keyring_free(w->reference);
	w->reference = load_open(w->f, "eva's");
	release(w);
}

/* Sources. */

static int run_source(struct source *s)
{
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	struct err e = {0};
	int r = source_read(s, "Passphrase", false, &key, &secret, &e);
	if (r == 0)
		assert_int_equal(secret_len(key.secret), 40);
	else
		assert_null(secret);
	return r;
}

static int run_passphrase_file(void *context)
{
	struct work *w = context;
	char path[96];
	snprintf(path, sizeof(path), "%s/acme.copy", w->f->path);
	struct source s = {.passphrase_file = path, .fd = -1};
	return run_source(&s);
}

static int run_key_file(void *context)
{
	struct work *w = context;
	char path[96];
	snprintf(path, sizeof(path), "%s/acme.old", w->f->path);
	struct source s = {.key_file = path, .fd = -1};
	return run_source(&s);
}

static int run_descriptor(void *context)
{
	struct work *w = context;
	struct source s = {.fd = w->fd};
	assert_int_equal(lseek(w->fd, 0, SEEK_SET), 0);
	return run_source(&s);
}

static int run_command(void *context)
{
	struct source s = {.command = "echo 0123456789012345678901234567890123456789", .fd = -1};
	(void)context;
	return run_source(&s);
}

/* Ciphers keep contexts by thread: each round in a new one. */

static void *cipher_in_thread(void *context)
{
	int *ret = context;
	static const uint8_t nonce[12] = {1}, text[48] = {2};
	uint8_t sealed[64], opened[48], tag[CRYPTO_TAG_LEN];
	AUTO_SECRET *key = secret_random(KEY_LEN);
	AUTO_SECRET *siv = secret_random(2 * KEY_LEN);
	*ret = key && siv ? 0 : -ENOMEM;
	if (*ret == 0)
		*ret = crypto_seal(
			CRYPTO_AES256_GCM, key, nonce, nonce, "a", 1, text, 48, sealed, tag);
	if (*ret == 0)
		*ret = crypto_open(
			CRYPTO_AES256_GCM, key, nonce, nonce, "a", 1, sealed, 48, opened, tag);
	if (*ret == 0)
		assert_memory_equal(opened, text, 48);
	if (*ret == 0)
		*ret = crypto_siv_seal(siv, "a", 1, text, 48, sealed);
	memset(opened, 0xff, sizeof(opened));
	if (*ret == 0)
		*ret = crypto_siv_open(siv, "a", 1, sealed, 64, opened);
	if (*ret == 0)
		assert_memory_equal(opened, text, 48);
	return NULL;
}

static int run_ciphers(void *context)
{
	pthread_t t;
	int r;
	(void)context;
	int started = pthread_create(&t, NULL, cipher_in_thread, &r);
	if (started != 0)
		return -started;
	pthread_join(t, NULL);
	return r;
}

static const struct fail_alloc_case in_memory[] = {
	{.name = "keyring created", .run = run_create},
	{.name = "keyring opened", .run = run_open},
	{.name = "slot added",
		.prepare = prepare,
		.run = run_slot_add,
		.failed = unchanged,
		.done = added},
	{.name = "slot removed",
		.prepare = prepare,
		.run = run_slot_remove,
		.failed = unchanged,
		.done = removed},
	{.name = "slot replaced",
		.prepare = prepare,
		.run = run_slot_replace,
		.failed = unchanged,
		.done = release},
	{.name = "rotation begun",
		.prepare = prepare,
		.run = run_rotate,
		.failed = unchanged,
		.done = rotated},
	{.name = "escrow copy registered",
		.prepare = prepare,
		.run = run_escrow_add,
		.failed = unchanged,
		.done = registered},
	{.name = "escrow copy retired",
		.prepare = prepare,
		.run = run_escrow_retire,
		.failed = unchanged,
		.done = release},
	{.name = "escrow copy written",
		.prepare = prepare,
		.run = run_dump,
		.failed = unchanged,
		.done = release},
	{.name = "keyring stored",
		.prepare = prepare,
		.run = run_store,
		.failed = stored_or_not,
		.done = stored_now},
};

static const struct fail_alloc_case sources[] = {
	{.name = "passphrase from a file", .run = run_passphrase_file},
	{.name = "key file", .run = run_key_file},
	{.name = "passphrase from a descriptor", .run = run_descriptor},
	{.name = "passphrase from a command", .run = run_command},
	{.name = "ciphers of a new thread", .run = run_ciphers, .also = -EAGAIN, .threads = true},
};

/* Memory is what runs short here: nothing is gained by waiting for the disk. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

static void keyrings_are_as_before(void **state)
{
	struct work w = {.f = *state, .eva = text_secret("eva's")};
	struct keyring *k = stored(w.f);
	assert_int_equal(keyring_escrow_add(k, w.id), 0);
	assert_int_equal(keyring_store(k, w.f->dirfd, NULL), 0);
	keyring_free(k);
	w.reference = load_open(w.f, "eva's");
	for (size_t i = 0; i < COUNT(in_memory); i++)
		fail_alloc_sweep(&in_memory[i], &w);
	keyring_free(w.reference);
	secret_free(w.eva);
}

static void sources_give_all_or_nothing(void **state)
{
	static const char text[] = "0123456789012345678901234567890123456789";
	struct work w = {.f = *state};
	write_text(w.f, "acme.copy", text, sizeof(text) - 1);
	write_text(w.f, "acme.old", text, sizeof(text) - 1);
	w.fd = openat(w.f->dirfd, "acme.copy", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < COUNT(sources); i++)
		assert_true(fail_alloc_sweep(&sources[i], &w) > 0);
	close(w.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keyrings_are_as_before),
		TEST(sources_give_all_or_nothing),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
