/* store_trouble and what follows from it in the store and the eraser: a flush that failed is told
 * once, and from then on nothing is changed, promised or erased. */
#include "tests/unit/tree_place.h"

#include "fs/store/file.h"

struct told {
	unsigned times;
	char what[64];
	int error;
};

static struct told told;

static void on_trouble(void *context, const char *what, int error)
{
	(void)context;
	told.times++;
	snprintf(told.what, sizeof(told.what), "%s", what);
	told.error = error;
}

static struct store_place *place(void **state)
{
	struct store_place *p = *state;
	told = (struct told){0};
	p->store.trouble = on_trouble;
	return p;
}

static struct file *new_file(struct store_place *p, const char *plain)
{
	struct name n = sealed(p->root, plain);
	struct file *f = NULL;
	struct stat st;
	assert_int_equal(file_create(p->root, &n, 0644, NULL, &f, &st), 0);
	assert_int_equal(file_write(f, "content", 7, 0), 7);
	return f;
}

static void the_first_failure_is_told_once(void **state)
{
	struct store_place *p = place(state);
	int error = 0;
	assert_false(store_is_read_only(&p->store));
	assert_null(store_trouble_what(&p->store, &error));
	store_trouble(&p->store, "the first", -EIO);
	store_trouble(&p->store, "the second", -ENOSPC);
	assert_true(store_is_read_only(&p->store));
	assert_string_equal(store_trouble_what(&p->store, &error), "the first");
	assert_int_equal(error, -EIO);
	assert_int_equal(told.times, 1);
	assert_string_equal(told.what, "the first");
	assert_int_equal(told.error, -EIO);
}

static void only_what_loses_data_is_trouble(void **state)
{
	static const struct {
		int rc;
		bool trouble;
	} rows[] = {
		{0, false},
		{-EINTR, false},
		{-ENOMEM, false},
		{-EBADF, false},
		{-EINVAL, false},
		{-EIO, true},
		{-ENOSPC, true},
		{-EDQUOT, true},
		{-EROFS, true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store_place *p = place(state);
		store_place_mended(p);
		assert_int_equal(store_flushed(&p->store, "a flush", rows[i].rc), rows[i].rc);
		assert_int_equal(store_is_read_only(&p->store), rows[i].trouble);
		assert_int_equal(told.times, rows[i].trouble);
	}
}

/* A failed fsync of one file: it and all others take nothing and promise nothing; all can be read.
 */
static void one_files_flush_concerns_all(void **state)
{
	static const int errors[] = {-EIO, -ENOSPC, -EDQUOT};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct store_place *p = place(state);
		char name[16], got[16];
		store_place_mended(p);
		snprintf(name, sizeof(name), "victim %zu", i);
		struct file *victim = new_file(p, name);
		snprintf(name, sizeof(name), "other %zu", i);
		struct file *other = new_file(p, name);
		snprintf(name, sizeof(name), "clean %zu", i);
		struct file *clean = new_file(p, name);
		assert_int_equal(file_sync(clean, false), 0);
		fail_lower_arm(&p->fail, FAIL_LOWER_FSYNC, 1, errors[i], true);
		assert_int_equal(file_sync(victim, true), errors[i]);
		assert_string_equal(told.what, "the flush of a file's content");
		assert_int_equal(file_sync(victim, true), -EIO);
		assert_int_equal(file_write(other, "new", 3, 0), -EIO);
		assert_int_equal(file_truncate(clean, 3), -EIO);
		assert_int_equal(file_commit(other), -EIO);
		assert_int_equal(file_commit(clean), 0);
		assert_int_equal(dir_sync(p->root, false), -EIO);
		assert_int_equal(file_read(other, got, sizeof(got), 0), 7);
		assert_int_equal(file_read(clean, got, sizeof(got), 0), 7);
		assert_memory_equal(got, "content", 7);
		assert_int_equal(told.times, 1);
		file_put(victim);
		file_put(other);
		file_put(clean);
		assert_int_equal(read_file(p->root, name, got, sizeof(got)), 7);
		assert_int_equal(p->alarms, 0);
	}
}

static void a_directorys_flush_too(void **state)
{
	struct store_place *p = place(state);
	assert_int_equal(dir_sync(p->root, false), 0);
	fail_lower_arm(&p->fail, FAIL_LOWER_FSYNC, 1, -EIO, true);
	assert_int_equal(dir_sync(p->root, true), -EIO);
	assert_string_equal(told.what, "the flush of a directory");
	disarm(p);
	assert_int_equal(dir_sync(p->root, false), -EIO);
	assert_true(store_is_read_only(&p->store));
}

static struct told removal;
static bool is_halted;

static void on_removal(void *context, int error)
{
	(void)context;
	removal.times++;
	removal.error = error;
	is_halted = true;
}

static bool halted(void *context)
{
	(void)context;
	return is_halted;
}

static int receipt_error;

static void on_receipt(void *context, const struct trash_receipt *r)
{
	(void)context;
	receipt_error = r->error;
}

static struct trash *open_trash(struct store_place *p, bool sync)
{
	const struct trash_options options = {.sync = sync,
		.by_hand = true,
		.require = TRASH_C,
		.receipt = on_receipt,
		.trouble = on_removal,
		.halted = halted};
	struct trash *t = NULL;
	removal = (struct told){0};
	is_halted = false;
	(void)mkdirat(p->tenant_fd, "trash", 0700);
	p->trash_fd = openat(p->tenant_fd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(trash_open(&p->fail.base, p->trash_fd, &options, &t, NULL), 0);
	assert_true(trash_resume(t) >= 0);
	p->store.trash = t;
	return t;
}

static int drain(struct trash *t)
{
	receipt_error = 1;
	assert_int_equal(trash_drain(t, -1), 0);
	return receipt_error;
}

/* sync: in the removal itself, else when the queue is worked off. failing: 1 the directory that the
 * name left, 2 the trash. */
static void remove_with_failing_flush(struct store_place *p, bool sync, unsigned failing)
{
	struct trash *t = open_trash(p, sync);
	struct name n = sealed(p->root, "file"), m = sealed(p->root, "next");
	make_file(p->root, "file", "content");
	make_file(p->root, "next", "content");
	fail_lower_arm(&p->fail, FAIL_LOWER_FSYNC, failing, -EIO, true);
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
	int r = sync ? receipt_error : drain(t);
	disarm(p);
	assert_int_equal(removal.times, 1);
	assert_int_equal(removal.error, -EIO);
	/* The file's own fsync stands for that of its directory. */
	assert_int_equal(r, sync && failing == 1 ? 0 : -EIO);
	assert_int_equal(tree_unlink(p->root, m.lower, NULL), 0);
	assert_int_equal(sync ? receipt_error : drain(t), -EROFS);
	trash_close(t, -1);
	close(p->trash_fd);
	/* The next mount finds both, or the one that is left. */
	t = open_trash(p, false);
	assert_int_equal(drain(t), 0);
	struct trash_status s;
	trash_status(t, &s);
	assert_int_equal(s.done_files, r == 0 ? 1 : 2);
	assert_int_equal(s.failed_files, 0);
	trash_close(t, -1);
	close(p->trash_fd);
	p->store.trash = NULL;
}

static void nothing_is_erased_after_a_removals_flush(void **state)
{
	struct store_place *p = place(state);
	for (int sync = 0; sync <= 1; sync++)
		for (unsigned failing = 1; failing <= 2; failing++)
			remove_with_failing_flush(p, sync, failing);
}

/* What lies in the trash is nobody's any more: its receipt says that it is still there. */
static void a_trashed_files_flush_is_its_own_trouble(void **state)
{
	struct store_place *p = place(state);
	struct trash *t = open_trash(p, false);
	struct name n = sealed(p->root, "file");
	/* On the disk, or there is nothing to overwrite. */
	struct file *f = new_file(p, "file");
	assert_int_equal(file_sync(f, false), 0);
	file_put(f);
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
	fail_lower_arm(&p->fail, FAIL_LOWER_FSYNC, 3, -EIO, true);
	assert_int_equal(drain(t), -EIO);
	assert_true(fail_lower_hit(&p->fail));
	assert_int_equal(removal.times, 0);
	disarm(p);
	trash_close(t, -1);
	close(p->trash_fd);
	p->store.trash = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_place_make, store_place_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_failure_is_told_once),
		TEST(only_what_loses_data_is_trouble),
		TEST(one_files_flush_concerns_all),
		TEST(a_directorys_flush_too),
		TEST(nothing_is_erased_after_a_removals_flush),
		TEST(a_trashed_files_flush_is_its_own_trouble),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
