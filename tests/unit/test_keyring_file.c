/* keymgmt/keyring_file: crashes and failures at every step of an update, and other commands
 * meanwhile. */
#include "tests/unit/keyring_fixture.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/*
 * The calls that change the disk, in the place of libc's: the n-th one fails, or the process dies
 * before it (a write: in its middle).
 */
static int calls_left; /* 0: off */
static bool die;

static bool trip(void)
{
	if (calls_left == 0 || --calls_left > 0)
		return false;
	if (die)
		_exit(99);
	errno = EIO;
	return true;
}

int linkat(int olddir, const char *old, int newdir, const char *new, int flags)
{
	return trip() ? -1 : (int)syscall(SYS_linkat, olddir, old, newdir, new, flags);
}

int renameat(int olddir, const char *old, int newdir, const char *new)
{
	return trip() ? -1 : (int)syscall(SYS_renameat, olddir, old, newdir, new);
}

int unlinkat(int dirfd, const char *name, int flags)
{
	return trip() ? -1 : (int)syscall(SYS_unlinkat, dirfd, name, flags);
}

int mkdirat(int dirfd, const char *name, mode_t mode)
{
	return trip() ? -1 : (int)syscall(SYS_mkdirat, dirfd, name, mode);
}

int fsync(int fd)
{
	return trip() ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	if (calls_left == 1 && die && len > 1)
		(void)!syscall(SYS_write, fd, bytes, len / 2);
	return trip() ? -1 : syscall(SYS_write, fd, bytes, len);
}

static void others_stores_are_noticed(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *a = stored(f);
	AUTO(keyring_auto) struct keyring *b = load_open(f, "eva's");
	AUTO(keyring_auto) struct keyring *created = NULL;
	assert_int_equal(keyring_store(b, f->dirfd, NULL), 0);
	assert_int_equal(keyring_store(a, f->dirfd, NULL), -ESTALE);
	assert_int_equal(keyring_generation(a), 1);
	assert_int_equal(keyring_store(b, f->dirfd, NULL), 0);
	assert_int_equal(keyring_generation(b), 3);
	assert_int_equal(keyring_create(&acme, CRYPTO_AES256_GCM, &created), 0);
	assert_int_equal(slot_add(created, "eva", "eva's"), 0);
	assert_int_equal(keyring_store(created, f->dirfd, NULL), -EEXIST);
	AUTO(keyring_auto) struct keyring *now = load_open(f, "eva's");
	assert_same(now, b);
	unlinkat(f->dirfd, "acme.json", 0);
	assert_int_equal(keyring_store(b, f->dirfd, NULL), -ESTALE);
}

static void the_replaced_file_is_overwritten(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	AUTO_BUF before = {0};
	read_text(f, "acme.json", &before);
	AUTO_CLOSE fd = openat(
		f->dirfd, "acme.json", O_RDONLY | O_CLOEXEC); /* the inode, whatever its name */
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	uint8_t after[8192];
	ssize_t n = io_read_full(fd, after, sizeof(after));
	assert_int_equal(n, before.len);
	for (size_t i = 0; i + 16 <= before.len; i += 16)
		assert_memory_not_equal(before.data + i, after + i, 16);
	assert_false(exists(f, "trash/acme.json"));
	assert_false(exists(f, "acme.json.new"));
}

static int store_until(struct keyring *k, const struct fixture *f, int n, bool dying)
{
	die = dying;
	if (!dying) {
		calls_left = n;
		int r = keyring_store(k, f->dirfd, NULL);
		bool reached = calls_left == 0;
		calls_left = 0;
		assert_true(r == 0 || reached);
		return r;
	}
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		calls_left = n;
		int r = keyring_store(k, f->dirfd, NULL);
		_exit(r < 0 ? 1 : 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void crash_or_fail_everywhere(struct fixture *f, bool dying)
{
	int steps = 0, old_seen = 0, new_seen = 0;
	keyring_free(stored(f));
	for (int n = 1;; n++, steps++) {
		AUTO(keyring_auto) struct keyring *k = load_open(f, "eva's");
		uint64_t generation = keyring_generation(k);
		AUTO_CLOSE old = openat(f->dirfd, "acme.json", O_RDONLY | O_CLOEXEC);
		AUTO_BUF before = {0};
		read_text(f, "acme.json", &before);
		keyring_set_policy_hash(k, (uint8_t[32]){(uint8_t)n});
		int r = store_until(k, f, n, dying);
		/* It loads, old or new, and with that the update is finished. */
		AUTO(keyring_auto) struct keyring *now = load_open(f, "max's");
		uint64_t found = keyring_generation(now);
		assert_true(found == generation || found == generation + 1);
		if (!dying)
			assert_int_equal(keyring_generation(k), found);
		assert_false(exists(f, "trash/acme.json"));
		assert_false(exists(f, "acme.json.new"));
		uint8_t bytes[8192];
		assert_int_equal(io_read_full(old, bytes, sizeof(bytes)), before.len);
		assert_int_equal(memcmp(bytes, before.data, before.len) == 0, found == generation);
		if (found == generation)
			old_seen++;
		else
			new_seen++;
		assert_int_equal(keyring_store(now, f->dirfd, NULL), 0);
		if (r == 0)
			break;
	}
	assert_true(steps >= 8);
	assert_true(old_seen >= 4 && new_seen >= 3);
}

static void a_crash_at_any_step_leaves_a_keyring(void **state)
{
	crash_or_fail_everywhere(*state, true);
}

static void a_failure_at_any_step_leaves_a_keyring(void **state)
{
	crash_or_fail_everywhere(*state, false);
}

static void a_first_store_that_is_cut_short_can_be_repeated(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = NULL;
	assert_int_equal(keyring_create(&acme, CRYPTO_AES256_GCM, &k), 0);
	assert_int_equal(slot_add(k, "eva", "eva's"), 0);
	for (int n = 1;; n++) {
		int r = store_until(k, f, n, true);
		if (r == 0 || exists(f, "acme.json")) {
			assert_true(n > 3);
			break;
		}
		struct keyring *none = NULL;
		assert_int_equal(keyring_load(f->dirfd, &acme, &none, NULL), -ENOENT);
		assert_false(exists(f, "acme.json.new"));
	}
	keyring_free(load_open(f, "eva's"));
}

static void the_last_copy_is_never_overwritten(void **state)
{
	struct fixture *f = *state;
	AUTO(keyring_auto) struct keyring *k = stored(f);
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0); /* makes trash */
	AUTO_BUF text = {0}, after = {0};
	read_text(f, "acme.json", &text);
	assert_int_equal(renameat(f->dirfd, "acme.json", f->dirfd, "trash/acme.json"), 0);
	struct keyring *none = NULL;
	assert_int_equal(keyring_load(f->dirfd, &acme, &none, NULL), -ENOENT);
	read_text(f, "trash/acme.json", &after);
	assert_int_equal(after.len, text.len);
	assert_memory_equal(after.data, text.data, text.len);
}

static void another_tenants_leftovers_are_left_alone(void **state)
{
	struct fixture *f = *state;
	keyring_free(stored(f));
	AUTO(keyring_auto) struct keyring *k = load_open(f, "eva's");
	assert_int_equal(keyring_store(k, f->dirfd, NULL), 0);
	write_text(f, "trash/acme.json.json", "tenant acme.json", 16);
	write_text(f, "acme.json.json.new", "tenant acme.json", 16);
	keyring_free(load(f));
	assert_true(exists(f, "trash/acme.json.json") && exists(f, "acme.json.json.new"));
	unlinkat(f->dirfd, "trash/acme.json.json", 0);
	unlinkat(f->dirfd, "acme.json.json.new", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(others_stores_are_noticed),
		TEST(the_replaced_file_is_overwritten),
		TEST(a_crash_at_any_step_leaves_a_keyring),
		TEST(a_failure_at_any_step_leaves_a_keyring),
		TEST(a_first_store_that_is_cut_short_can_be_repeated),
		TEST(the_last_copy_is_never_overwritten),
		TEST(another_tenants_leftovers_are_left_alone),
	};
	return crypto_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
