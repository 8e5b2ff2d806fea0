/* fs/store/dir: a directory opens only where it belongs; a mkdir cut short is finished; damage is
 * an alarm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/name.h"
#include "tests/unit/store_place.h"

#include <errno.h>

static int at(const struct dir *d, const char *lower)
{
	int fd = openat(d->fd, lower, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void make(struct dir *parent, const char *lower, struct dir **ret)
{
	assert_int_equal(mkdirat(parent->fd, lower, 0700), 0);
	assert_int_equal(dir_open(parent, lower, ret), 0);
}

static void record_of(const struct dir *d, char text[static 256])
{
	ssize_t n = readlinkat(d->fd, ".dir", text, 255);
	assert_true(n > 0);
	text[n] = '\0';
}

static void replace_record(const struct dir *d, const char *text)
{
	assert_int_equal(unlinkat(d->fd, ".dir", 0), 0);
	if (text)
		assert_int_equal(symlinkat(text, d->fd, ".dir"), 0);
}

static void assert_bad(struct store_place *p, struct dir *parent, const char *lower)
{
	struct dir *d = NULL;
	unsigned before = p->alarms;
	assert_int_equal(dir_open(parent, lower, &d), -EBADMSG);
	assert_null(d);
	assert_int_equal(p->alarms, before + 1);
	assert_string_equal(p->what, "directory");
}

static void the_record_is_47_characters_and_stable(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *again;
	char first[256], second[256];
	make(p->root, "d", &d);
	record_of(d, first);
	assert_int_equal(strlen(first), 47);
	assert_int_equal(dir_open(p->root, "d", &again), 0);
	record_of(again, second);
	assert_string_equal(first, second);
	assert_memory_equal(d->id, again->id, DIR_ID_LEN);
	assert_true(secret_equal(d->name_key, again->name_key));
	assert_false(secret_equal(d->name_key, p->root->name_key));
	dir_put(dir_get(d));
	dir_put(d);
	dir_put(again);
	assert_int_equal(dir_open(p->root, "none", &d), -ENOENT);
	assert_int_equal(symlinkat("d", p->root->fd, "s"), 0);
	assert_int_equal(dir_open(p->root, "s", &d), -ENOTDIR);
	assert_int_equal(p->alarms, 0);
}

static void only_an_empty_directory_gets_a_record(void **state)
{
	struct store_place *p = *state;
	assert_int_equal(mkdirat(p->root->fd, "d", 0700), 0);
	AUTO_CLOSE fd = at(p->root, "d");
	assert_int_equal(symlinkat("x", fd, "~left.n"), 0);
	struct dir *d;
	assert_int_equal(dir_open(p->root, "d", &d), 0);
	dir_put(d);
	assert_int_equal(mkdirat(p->root->fd, "e", 0700), 0);
	AUTO_CLOSE e = at(p->root, "e");
	assert_int_equal(mkdirat(e, "content", 0700), 0);
	assert_bad(p, p->root, "e");
	assert_string_equal(p->detail, "it has content but no record");
}

static void a_removed_copied_or_altered_record_is_noticed(void **state)
{
	struct store_place *p = *state;
	struct dir *a, *b, *in;
	char of_a[256], of_b[256], altered[256];
	make(p->root, "a", &a);
	make(p->root, "b", &b);
	make(a, "in", &in);
	record_of(a, of_a);
	record_of(b, of_b);
	replace_record(a, NULL);
	assert_bad(p, p->root, "a");
	assert_int_equal(symlinkat(of_b, a->fd, ".dir"), 0);
	assert_bad(p, p->root, "a");
	assert_string_equal(p->detail, "it is not bound to the place where it stands");
	for (size_t i = 0; of_a[i]; i++) {
		memcpy(altered, of_a, sizeof(altered));
		altered[i] = altered[i] == 'A' ? 'B' : 'A';
		replace_record(a, altered);
		assert_bad(p, p->root, "a");
		altered[i] = '\0';
		if (i > 0) {
			replace_record(a, altered);
			assert_bad(p, p->root, "a");
		}
	}
	/* not even when the directory is empty: it once had a record */
	replace_record(b, of_a);
	assert_bad(p, p->root, "b");
	replace_record(a, of_a);
	replace_record(b, of_b);
	/* a file in its place */
	assert_int_equal(unlinkat(b->fd, ".dir", 0), 0);
	AUTO_CLOSE fd = openat(b->fd, ".dir", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_bad(p, p->root, "b");
	struct dir *again;
	assert_int_equal(dir_open(p->root, "a", &again), 0);
	dir_put(again);
	dir_put(a);
	dir_put(b);
	dir_put(in);
}

static void a_moved_renamed_or_swapped_directory_is_noticed(void **state)
{
	struct store_place *p = *state;
	struct dir *a, *b, *in;
	make(p->root, "a", &a);
	make(p->root, "b", &b);
	make(a, "in", &in);
	assert_int_equal(renameat(p->root->fd, "a", p->root->fd, "c"), 0);
	assert_bad(p, p->root, "c");
	assert_int_equal(renameat(p->root->fd, "c", p->root->fd, "a"), 0);
	assert_int_equal(renameat2(p->root->fd, "a", p->root->fd, "b", RENAME_EXCHANGE), 0);
	assert_bad(p, p->root, "a");
	assert_bad(p, p->root, "b");
	assert_int_equal(renameat2(p->root->fd, "a", p->root->fd, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(renameat(a->fd, "in", b->fd, "in"), 0);
	assert_bad(p, b, "in");
	assert_int_equal(renameat(b->fd, "in", p->root->fd, "in"), 0);
	assert_bad(p, p->root, "in");
	dir_put(a);
	dir_put(b);
	dir_put(in);
}

static void the_root_is_checked_too(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *root = NULL;
	char of_d[256];
	make(p->root, "d", &d);
	record_of(d, of_d);
	replace_record(p->root, of_d);
	assert_int_equal(dir_open_root(&p->store, &root), -EBADMSG);
	replace_record(p->root, NULL);
	assert_int_equal(dir_open_root(&p->store, &root), -EBADMSG);
	assert_int_equal(p->alarms, 2);
	assert_int_equal(dir_init(&p->store, p->root->fd, NULL, ""), 0);
	assert_int_equal(dir_init(&p->store, p->root->fd, NULL, ""), -EEXIST);
	assert_int_equal(dir_open_root(&p->store, &root), 0);
	dir_put(root);
	dir_put(d);
}

static void two_bindings_open_at_either_place_and_shrink_to_one(void **state)
{
	struct store_place *p = *state;
	struct dir *a, *b, *moved, *again;
	char text[256];
	make(p->root, "a", &a);
	make(p->root, "b", &b);
	for (int there = 0; there < 2; there++) {
		make(a, "old", &moved);
		struct stat before, after;
		assert_int_equal(futimens(moved->fd, NULL), -1); /* O_PATH */
		assert_int_equal(fstat(moved->fd, &before), 0);
		assert_int_equal(dir_rebind(moved, a, "old", b, "new"), 0);
		assert_int_equal(fstat(moved->fd, &after), 0);
		assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
		record_of(moved, text);
		assert_int_equal(strlen(text), 68);
		if (there)
			assert_int_equal(renameat(a->fd, "old", b->fd, "new"), 0);
		assert_int_equal(dir_open(there ? b : a, there ? "new" : "old", &again), 0);
		assert_memory_equal(again->id, moved->id, DIR_ID_LEN);
		record_of(moved, text);
		assert_int_equal(strlen(text), 47);
		dir_put(again);
		/* and from then on the other place is a foreign one */
		if (!there)
			assert_int_equal(renameat(a->fd, "old", b->fd, "new"), 0);
		else
			assert_int_equal(renameat(b->fd, "new", a->fd, "old"), 0);
		assert_bad(p, there ? a : b, there ? "old" : "new");
		dir_put(moved);
		if (!there) {
			AUTO_CLOSE fd = at(b, "new");
			assert_int_equal(unlinkat(fd, ".dir", 0), 0);
			assert_int_equal(unlinkat(b->fd, "new", AT_REMOVEDIR), 0);
		}
	}
	dir_put(a);
	dir_put(b);
}

static void clearing_is_all_or_nothing(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *in;
	char text[256], record[DIR_RECORD_MAX] = "untouched", after[256];
	make(p->root, "d", &d);
	make(d, "in", &in);
	dir_put(in);
	record_of(d, text);
	assert_int_equal(dir_clear(d, record), -ENOTEMPTY);
	assert_string_equal(record, "untouched");
	AUTO_CLOSE fd = at(d, "in");
	assert_int_equal(unlinkat(fd, ".dir", 0), 0);
	assert_int_equal(unlinkat(d->fd, "in", AT_REMOVEDIR), 0);
	for (int i = 0; i < 100; i++) {
		char name[32];
		snprintf(name, sizeof(name), "~orphan%d.%c", i, i % 2 ? 'n' : '0');
		assert_int_equal(symlinkat("x", d->fd, name), 0);
	}
	for (unsigned n = 1;; n++) {
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, n, -EIO, true);
		int r = dir_clear(d, record);
		bool hit = fail_lower_hit(&p->fail);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		if (r == 0) /* a close may fail unseen */
			assert_int_equal(dir_restore(d, record), 0);
		record_of(d, after);
		assert_string_equal(after, text);
		if (!hit)
			break;
	}
	assert_string_equal(record, text);
	assert_int_equal(dir_clear(d, record), 0);
	assert_int_equal(unlinkat(p->root->fd, "d", AT_REMOVEDIR), 0);
	dir_put(d);
}

static void a_failing_disk_leaves_the_old_record(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *again;
	char before[256], after[256];
	make(p->root, "d", &d);
	for (unsigned n = 1;; n++) {
		record_of(d, before);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, n, -ENOSPC, true);
		int r = dir_rebind(d, p->root, "d", p->root, "e");
		bool hit = fail_lower_hit(&p->fail);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		record_of(d, after);
		if (r < 0) {
			assert_int_equal(r, -ENOSPC);
			assert_string_equal(before, after);
		}
		assert_int_equal(faccessat(d->fd, ".dir.new", F_OK, AT_SYMLINK_NOFOLLOW), -1);
		assert_int_equal(dir_open(p->root, "d", &again), 0);
		dir_put(again);
		if (!hit)
			break;
	}
	for (unsigned n = 1;; n++) {
		assert_int_equal(unlinkat(d->fd, ".dir", 0), 0);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, n, -EIO, true);
		int r = dir_open(p->root, "d", &again);
		bool hit = fail_lower_hit(&p->fail);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		if (r == 0)
			dir_put(again);
		else
			assert_int_equal(r, -EIO);
		if (!hit)
			break;
		assert_int_equal(dir_open(p->root, "d", &again), 0);
		dir_put(again);
	}
	assert_int_equal(p->alarms, 0);
	dir_put(d);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)
	const struct CMUnitTest tests[] = {
		CASE(the_record_is_47_characters_and_stable),
		CASE(only_an_empty_directory_gets_a_record),
		CASE(a_removed_copied_or_altered_record_is_noticed),
		CASE(a_moved_renamed_or_swapped_directory_is_noticed),
		CASE(the_root_is_checked_too),
		CASE(two_bindings_open_at_either_place_and_shrink_to_one),
		CASE(clearing_is_all_or_nothing),
		CASE(a_failing_disk_leaves_the_old_record),
	};
	return cmocka_run_group_tests_name("dir", tests, NULL, NULL);
}
