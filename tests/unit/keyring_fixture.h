/* What the keyring's two test programs share: a key directory, slots, files in it. */
#ifndef TESTS_UNIT_KEYRING_FIXTURE_H
#define TESTS_UNIT_KEYRING_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/base/io.h"
#include "keymgmt/keyring_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct keyring_owner acme = {{1, 2, 3}, {4, 5, 6}, "acme"};
static const struct slot_cost cheap = {.iterations = 1, .memory_kib = 64};

struct fixture {
	char path[64];
	int dirfd;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	snprintf(f->path, sizeof(f->path), "/tmp/test-keyring-XXXXXX");
	if (!mkdtemp(f->path))
		return -1;
	f->dirfd = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*state = f;
	return f->dirfd < 0 ? -1 : 0;
}

static inline int teardown(void **state)
{
	static const char *const names[] = {
		"trash/acme.json", "acme.json", "acme.json.new", "acme.old", "acme.copy"};
	struct fixture *f = *state;
	for (size_t i = 0; i < COUNT(names); i++)
		unlinkat(f->dirfd, names[i], 0);
	unlinkat(f->dirfd, "trash", AT_REMOVEDIR);
	close(f->dirfd);
	int r = rmdir(f->path);
	free(f);
	return r;
}

static inline struct secret *text_secret(const char *text)
{
	struct secret *s = secret_new(strlen(text));
	assert_non_null(s);
	memcpy(secret_bytes(s), text, strlen(text));
	return s;
}

/* 0 or the error of unlocking with this passphrase. */
static inline int unlock(struct keyring *k, const char *passphrase)
{
	AUTO_SECRET *s = text_secret(passphrase);
	struct slot_key key = {SLOT_PASSPHRASE, s};
	struct err e = {0};
	int r = keyring_unlock(k, &key, &e);
	assert_int_equal(r < 0, e.text[0] != 0);
	assert_int_equal(r == 0, keyring_is_open(k));
	return r;
}

static inline int slot_add(struct keyring *k, const char *name, const char *passphrase)
{
	AUTO_SECRET *s = text_secret(passphrase);
	struct slot_key key = {SLOT_PASSPHRASE, s};
	return keyring_slot_add(k, name, &key, &cheap, NULL);
}

static inline struct keyring *load(const struct fixture *f)
{
	struct keyring *k = NULL;
	struct err e = {0};
	int r = keyring_load(f->dirfd, &acme, &k, &e);
	if (r < 0)
		print_error("%s\n", e.text);
	assert_int_equal(r, 0);
	return k;
}

static inline struct keyring *load_open(const struct fixture *f, const char *passphrase)
{
	struct keyring *k = load(f);
	assert_int_equal(unlock(k, passphrase), 0);
	return k;
}

/* A stored keyring with slots "eva" (passphrase "eva's") and "max" ("max's"), still open. */
static inline struct keyring *stored(const struct fixture *f)
{
	static const uint8_t root[KEY_LEN] = {9}, hash[32] = {8};
	struct keyring *k = NULL;
	assert_int_equal(keyring_create(&acme, CRYPTO_AES256_GCM, &k), 0);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), -ENOKEY); /* nobody could open it */
	assert_int_equal(slot_add(k, "eva", "eva's"), 0);
	assert_int_equal(slot_add(k, "max", "max's"), 0);
	keyring_set_audit_root(k, root);
	keyring_set_policy_hash(k, hash);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	assert_int_equal(keyring_generation(k), 1);
	return k;
}

static inline void read_text(const struct fixture *f, const char *name, struct buf *b)
{
	assert_int_equal(io_read_file(f->dirfd, name, KEYRING_FILE_MAX, b), 0);
}

static inline void write_text(
	const struct fixture *f, const char *name, const void *text, size_t len)
{
	int fd = openat(f->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, len), 0);
	close(fd);
}

static inline bool exists(const struct fixture *f, const char *name)
{
	return faccessat(f->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Same keys, epochs and public data. */
static inline void assert_same(const struct keyring *a, const struct keyring *b)
{
	uint8_t pa[8][KEY_LEN], pb[8][KEY_LEN];
	assert_int_equal(keyring_kek_epoch(a), keyring_kek_epoch(b));
	assert_int_equal(keyring_nmk_epoch(a), keyring_nmk_epoch(b));
	assert_int_equal(a->key_count, b->key_count);
	for (size_t i = 0; i < a->key_count; i++)
		assert_true(secret_equal(a->keys[i].secret, b->keys[i].secret));
	assert_true(secret_equal(a->trk, b->trk));
	assert_int_equal(keyring_auditors(a, pa), 1);
	assert_int_equal(keyring_auditors(b, pb), 1);
	assert_memory_equal(pa[0], pb[0], KEY_LEN);
	keyring_policy_hash(a, pa[0]);
	keyring_policy_hash(b, pb[0]);
	assert_memory_equal(pa[0], pb[0], 32);
	keyring_audit_root(a, pa[0]);
	keyring_audit_root(b, pb[0]);
	assert_memory_equal(pa[0], pb[0], KEY_LEN);
}

#endif
