/* fs/gate/policy_file.c: the sealed policy, its updates, and what interrupts them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_lower.h"
#include "fs/gate/policy_file.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct keyring_owner owner = {
	.store_uuid = {1, 2, 3}, .tenant_uuid = {4, 5, 6}, .tenant = "acme"};

struct place {
	char path[64];
	int dir, keys;
	struct keyring *k;
	struct secret *key;
};

/* The keyring as another process finds it. */
static struct keyring *reload(const struct place *p)
{
	struct keyring *k = NULL;
	struct slot_key key = {SLOT_KEYFILE, p->key};
	struct err e = {0};
	assert_int_equal(keyring_load(p->keys, &owner, &k, &e), 0);
	assert_int_equal(keyring_unlock(k, &key, &e), 0);
	return k;
}

static void place_init(struct place *p)
{
	struct err e = {0};
	struct slot_cost cost = {0};
	snprintf(p->path, sizeof(p->path), "/var/tmp/policy-file-XXXXXX");
	assert_non_null(mkdtemp(p->path));
	p->dir = open(p->path, O_PATH | O_DIRECTORY);
	assert_int_equal(mkdirat(p->dir, "keys", 0700), 0);
	p->keys = openat(p->dir, "keys", O_RDONLY | O_DIRECTORY);
	p->key = secret_random(32);
	assert_int_equal(keyring_create(&owner, CRYPTO_AES256_GCM, &p->k), 0);
	struct slot_key key = {SLOT_KEYFILE, p->key};
	assert_int_equal(keyring_slot_add(p->k, "first", &key, &cost, &e), 0);
	assert_int_equal(keyring_store(p->k, p->keys, &e), 0);
}

static void place_done(struct place *p)
{
	static const char *const names[] = {
		"policy", "policy.new", "policy.old", "saved", "keys/acme.json"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(p->dir, names[i], 0);
	unlinkat(p->keys, "trash", AT_REMOVEDIR);
	unlinkat(p->dir, "keys", AT_REMOVEDIR);
	assert_int_equal(rmdir(p->path), 0);
	close(p->dir);
	close(p->keys);
	keyring_free(p->k);
	secret_free(p->key);
}

static bool exists(const struct place *p, const char *name)
{
	return !faccessat(p->dir, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

static void apply(struct place *p, const char *text, uint64_t want)
{
	struct err e = {0};
	uint64_t version = 0;
	assert_int_equal(policy_file_apply(lower_posix(), p->dir, p->k, p->keys, text, strlen(text),
				 &version, &e),
		0);
	assert_true(version == want);
}

static void is_in_force(const struct place *p, struct keyring *k, const char *text, uint64_t want)
{
	struct err e = {0};
	AUTO_BUF got = {0};
	uint64_t version = 0;
	int rc = policy_file_load(lower_posix(), p->dir, k, &got, &version, &e);
	if (rc)
		fail_msg("%d %s", rc, e.text);
	assert_string_equal((char *)got.data, text);
	assert_true(version == want);
	assert_false(exists(p, "policy.old"));
}

static void a_policy_comes_back_with_its_version(void **state)
{
	(void)state;
	struct place p;
	struct err e = {0};
	AUTO_BUF got = {0};
	uint64_t version;
	place_init(&p);
	assert_int_equal(policy_file_load(lower_posix(), p.dir, p.k, &got, &version, &e), -ENOENT);
	assert_true(strlen(e.text) > 10);
	apply(&p, "tenant acme\n", 1);
	is_in_force(&p, p.k, "tenant acme\n", 1);
	apply(&p, "tenant acme\n# two\n", 2);
	apply(&p, "", 3);
	struct keyring *k = reload(&p);
	is_in_force(&p, k, "", 3);
	keyring_free(k);
	assert_false(exists(&p, "policy.new"));
	char *big = calloc(1, (1 << 20) + 1);
	assert_int_equal(policy_file_apply(lower_posix(), p.dir, p.k, p.keys, big, (1 << 20) + 1,
				 &version, &e),
		-EFBIG);
	memset(big, 'x', 1 << 20);
	apply(&p, big, 4);
	is_in_force(&p, p.k, big, 4);
	free(big);
	place_done(&p);
}

static void copy(const struct place *p, const char *from, const char *to)
{
	AUTO_BUF b = {0};
	assert_int_equal(io_read_file(p->dir, from, 2 << 20, &b), 0);
	unlinkat(p->dir, to, 0);
	AUTO_CLOSE fd = openat(p->dir, to, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_int_equal(io_write_full(fd, b.data, b.len), 0);
}

static void what_the_keyring_does_not_name_is_refused(void **state)
{
	(void)state;
	struct place p;
	struct err e = {0};
	AUTO_BUF got = {0};
	AUTO_BUF bytes = {0};
	uint64_t version;
	place_init(&p);
	apply(&p, "tenant acme\n", 1);
	copy(&p, "policy", "saved");
	apply(&p, "tenant acme\n# 2\n", 2);
	copy(&p, "saved", "policy"); /* the old one, in place of the new */
	assert_int_equal(policy_file_load(lower_posix(), p.dir, p.k, &got, &version, &e), -EBADMSG);
	assert_int_equal(got.len, 0);
	apply(&p, "tenant acme\n# 3\n", 2); /* what the damaged one claims, and one more */
	is_in_force(&p, p.k, "tenant acme\n# 3\n", 2);
	/* each byte counts */
	assert_int_equal(io_read_file(p.dir, "policy", 4096, &bytes), 0);
	for (size_t i = 0; i < bytes.len; i++) {
		AUTO_CLOSE fd = openat(p.dir, "policy", O_WRONLY);
		uint8_t wrong = bytes.data[i] ^ 1;
		assert_int_equal(pwrite(fd, &wrong, 1, (off_t)i), 1);
		assert_int_equal(
			policy_file_load(lower_posix(), p.dir, p.k, &got, &version, &e), -EBADMSG);
		assert_int_equal(pwrite(fd, &bytes.data[i], 1, (off_t)i), 1);
	}
	is_in_force(&p, p.k, "tenant acme\n# 3\n", 2);
	/* a right hash alone is not enough: another tenant's, a newer format */
	uint8_t hash[32];
	bytes.data[4] = 2;
	AUTO_CLOSE fd = openat(p.dir, "policy", O_WRONLY);
	assert_int_equal(pwrite(fd, bytes.data, bytes.len, 0), (ssize_t)bytes.len);
	crypto_digest(bytes.data, bytes.len, hash, sizeof(hash));
	keyring_set_policy_hash(p.k, hash);
	assert_int_equal(
		policy_file_load(lower_posix(), p.dir, p.k, &got, &version, &e), -EPROTONOSUPPORT);
	bytes.data[4] = 1;
	bytes.data[20] ^= 1;
	assert_int_equal(pwrite(fd, bytes.data, bytes.len, 0), (ssize_t)bytes.len);
	crypto_digest(bytes.data, bytes.len, hash, sizeof(hash));
	keyring_set_policy_hash(p.k, hash);
	assert_int_equal(policy_file_load(lower_posix(), p.dir, p.k, &got, &version, &e), -EBADMSG);
	assert_int_equal(unlinkat(p.dir, "policy", 0), 0);
	assert_int_equal(policy_file_load(lower_posix(), p.dir, p.k, &got, &version, &e), -EBADMSG);
	place_done(&p);
}

static void a_rotation_reseals_it(void **state)
{
	(void)state;
	struct place p;
	struct err e = {0};
	AUTO_BUF before = {0};
	AUTO_BUF after = {0};
	place_init(&p);
	assert_int_equal(
		policy_file_reseal(lower_posix(), p.dir, p.k, p.keys, &e), 0); /* none yet */
	apply(&p, "tenant acme\n", 1);
	assert_int_equal(io_read_file(p.dir, "policy", 4096, &before), 0);
	assert_int_equal(keyring_rotate_begin(p.k), 0);
	is_in_force(&p, p.k, "tenant acme\n", 1); /* by the retiring key */
	assert_int_equal(policy_file_reseal(lower_posix(), p.dir, p.k, p.keys, &e), 0);
	keyring_retire_done(p.k);
	assert_int_equal(keyring_store(p.k, p.keys, &e), 0);
	struct keyring *k = reload(&p);
	is_in_force(&p, k, "tenant acme\n", 1);
	keyring_free(k);
	assert_int_equal(io_read_file(p.dir, "policy", 4096, &after), 0);
	assert_true(before.len == after.len && memcmp(before.data + 40, after.data + 40, 12));
	place_done(&p);
}

static void die(void)
{
	_exit(7);
}

/* In a child: an update that is cut at the n-th call. True when the call came. */
static bool crash_at(const struct place *p, unsigned n)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct fail_lower f;
		struct err e = {0};
		uint64_t version;
		fail_lower_init(&f, lower_posix());
		f.instead = die;
		struct keyring *k = reload(p);
		fail_lower_arm(&f, FAIL_LOWER_ANY, n, -EIO, true);
		_exit(policy_file_apply(&f.base, p->dir, k, p->keys, "new", 3, &version, &e) ? 1
											     : 0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 7 || WEXITSTATUS(status) == 0));
	return WEXITSTATUS(status) == 7;
}

static void after_a_crash_the_old_or_the_new_one_is_in_force(void **state)
{
	(void)state;
	unsigned old = 0, new = 0;
	for (unsigned n = 1;; n++) {
		struct place p;
		struct err e = {0};
		AUTO_BUF got = {0};
		uint64_t version;
		place_init(&p);
		apply(&p, "old", 1);
		bool hit = crash_at(&p, n);
		struct keyring *k = reload(&p);
		assert_int_equal(policy_file_load(lower_posix(), p.dir, k, &got, &version, &e), 0);
		bool is_new = !strcmp((char *)got.data, "new");
		assert_true(
			is_new ? version == 2 : version == 1 && !strcmp((char *)got.data, "old"));
		*(is_new ? &new : &old) += hit;
		assert_false(exists(&p, "policy.old"));
		/* nor does one stay that never came into force */
		assert_false(exists(&p, "policy.new"));
		keyring_free(p.k);
		p.k = k;
		apply(&p, "third", is_new ? 3 : 2);
		is_in_force(&p, p.k, "third", is_new ? 3 : 2);
		assert_false(exists(&p, "policy.new"));
		place_done(&p);
		if (!hit) {
			assert_true(is_new);
			break;
		}
	}
	print_message("%u crashes left the old policy, %u the new one\n", old, new);
	assert_true(old >= 5 && new >= 4);
}

static void a_failing_call_leaves_one_of_both_in_force(void **state)
{
	(void)state;
	for (unsigned n = 1;; n++) {
		struct place p;
		struct fail_lower f;
		struct err e = {0};
		uint64_t version = 0;
		place_init(&p);
		apply(&p, "old", 1);
		fail_lower_init(&f, lower_posix());
		fail_lower_arm(&f, FAIL_LOWER_ANY, n, -ENOSPC, true);
		int rc = policy_file_apply(&f.base, p.dir, p.k, p.keys, "new", 3, &version, &e);
		assert_true(rc == 0 || rc == -ENOSPC);
		assert_true(rc == 0 || e.text[0]);
		is_in_force(&p, p.k, rc ? "old" : "new", rc ? 1 : 2);
		struct keyring *k = reload(&p);
		is_in_force(&p, k, rc ? "old" : "new", rc ? 1 : 2);
		keyring_free(k);
		apply(&p, "third", rc ? 2 : 3);
		is_in_force(&p, p.k, "third", rc ? 2 : 3);
		assert_false(exists(&p, "policy.new"));
		bool hit = fail_lower_hit(&f);
		place_done(&p);
		if (!hit)
			break;
	}
}

/* Storing the keyring fails after the keyring on disk already names the new policy: nothing may be
 * thrown away. */
static void a_half_stored_keyring_loses_nothing(void **state)
{
	(void)state;
	struct place p;
	struct err e = {0};
	uint64_t version;
	place_init(&p);
	apply(&p, "old", 1);
	assert_true(policy_file_apply(lower_posix(), p.dir, p.k, -1, "new", 3, &version, &e) < 0);
	assert_true(exists(&p, "policy.new"));
	apply(&p, "third", 2);
	assert_false(exists(&p, "policy.new"));
	is_in_force(&p, p.k, "third", 2);
	place_done(&p);
}

/* The file system is asked for the inode's bytes after it has lost its name. */
static void the_old_bytes_are_overwritten(void **state)
{
	(void)state;
	struct place p;
	uint8_t before[64], after[64];
	place_init(&p);
	apply(&p, "old old old", 1);
	AUTO_CLOSE fd = openat(p.dir, "policy", O_RDONLY);
	assert_int_equal(pread(fd, before, sizeof(before), 0), sizeof(before));
	apply(&p, "new", 2);
	assert_int_equal(pread(fd, after, sizeof(after), 0), sizeof(after));
	for (size_t i = 0; i + 8 <= sizeof(before); i += 8)
		assert_memory_not_equal(before + i, after + i, 8);
	place_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_policy_comes_back_with_its_version),
		cmocka_unit_test(what_the_keyring_does_not_name_is_refused),
		cmocka_unit_test(a_rotation_reseals_it),
		cmocka_unit_test(after_a_crash_the_old_or_the_new_one_is_in_force),
		cmocka_unit_test(a_failing_call_leaves_one_of_both_in_force),
		cmocka_unit_test(a_half_stored_keyring_loses_nothing),
		cmocka_unit_test(the_old_bytes_are_overwritten),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
