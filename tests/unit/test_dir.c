/* fs/store/dir: a directory opens only where it belongs; a mkdir cut short is finished; damage is
 * an alarm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/name.h"
#include "fs/store/xattr.h"
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
	assert_int_equal(dir_clear(d, true, record), -ENOTEMPTY);
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
		int r = dir_clear(d, true, record);
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
	assert_int_equal(dir_clear(d, true, record), 0);
	assert_int_equal(unlinkat(p->root->fd, "d", AT_REMOVEDIR), 0);
	dir_put(d);
}

#define KEPT "user.tfs-dir"

static void set_kept(int fd, const void *bytes, size_t len)
{
	struct lower *l = lower_posix();
	assert_int_equal(l->ops->fsetxattr(l, fd, KEPT, bytes, len, 0), 0);
}

static ssize_t get_kept(int fd, void *bytes, size_t size)
{
	struct lower *l = lower_posix();
	return l->ops->fgetxattr(l, fd, KEPT, bytes, size);
}

/* As a crash leaves it. */
static void clear_only(struct dir *d)
{
	char record[DIR_RECORD_MAX];
	assert_int_equal(dir_clear(d, true, record), 0);
	assert_int_equal(faccessat(d->fd, ".dir", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void a_removal_cut_short_is_as_if_it_had_not_begun(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *again;
	char text[256], after[256];
	uint8_t got[16];
	struct stat before, now;
	const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1000000007, .tv_nsec = 42}};
	struct lower *l = lower_posix();
	make(p->root, "d", &d);
	record_of(d, text);
	for (mode_t mode = 0;; mode = 0700) {
		assert_int_equal(xattr_set(NULL, d, "user.a", "value", 5, 0), 0);
		assert_int_equal(symlinkat("x", d->fd, "~orphan.n"), 0);
		assert_int_equal(l->ops->futimens(l, d->fd, long_ago), 0);
		assert_int_equal(l->ops->fchmod(l, d->fd, mode), 0);
		assert_int_equal(fstat(d->fd, &before), 0);
		clear_only(d);
		assert_int_equal(dir_open(p->root, "d", &again), 0);
		assert_memory_equal(again->id, d->id, DIR_ID_LEN);
		assert_int_equal(xattr_get(NULL, again, "user.a", got, sizeof(got)), 5);
		record_of(again, after);
		assert_string_equal(after, text);
		assert_int_equal(fstat(d->fd, &now), 0);
		assert_memory_equal(&now.st_mtim, &before.st_mtim, sizeof(now.st_mtim));
		assert_int_equal(now.st_mode, before.st_mode);
		assert_int_equal(get_kept(d->fd, got, sizeof(got)), -ENODATA);
		dir_put(again);
		if (mode)
			break;
	}
	/* undone by ourselves it is the same */
	clear_only(d);
	assert_int_equal(dir_restore(d, text), 0);
	assert_int_equal(fstat(d->fd, &now), 0);
	assert_memory_equal(&now.st_mtim, &before.st_mtim, sizeof(now.st_mtim));
	assert_int_equal(p->alarms, 0);
	dir_put(d);
}

static void a_kept_record_is_believed_as_little_as_a_record(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *e, *again;
	uint8_t kept[64], other[64], bad[64];
	make(p->root, "d", &d);
	make(p->root, "e", &e);
	clear_only(d);
	ssize_t len = get_kept(d->fd, kept, sizeof(kept));
	assert_int_equal(len, 12 + 35);
	clear_only(e);
	assert_int_equal(get_kept(e->fd, other, sizeof(other)), len);
	set_kept(d->fd, other, (size_t)len);
	assert_bad(p, p->root, "d");
	assert_string_equal(p->detail, "it is not bound to the place where it stands");
	for (size_t i = 12; i < (size_t)len; i++) {
		memcpy(bad, kept, sizeof(bad));
		bad[i] ^= 1;
		set_kept(d->fd, bad, (size_t)len);
		assert_bad(p, p->root, "d");
	}
	static const size_t lengths[] = {0, 1, 11, 12, 13, 46, 48, 62, 64};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		set_kept(d->fd, kept, lengths[i]);
		assert_bad(p, p->root, "d");
	}
	set_kept(d->fd, kept, (size_t)len);
	/* what came to be in it is damage, as without an attribute */
	assert_int_equal(mkdirat(d->fd, "content", 0700), 0);
	assert_bad(p, p->root, "d");
	assert_int_equal(unlinkat(d->fd, "content", AT_REMOVEDIR), 0);
	assert_int_equal(dir_open(p->root, "d", &again), 0);
	dir_put(again);
	/* beside a record it is of no meaning, and no attribute that anybody sees */
	set_kept(d->fd, other, (size_t)len);
	assert_int_equal(dir_open(p->root, "d", &again), 0);
	assert_memory_equal(again->id, d->id, DIR_ID_LEN);
	assert_int_equal(xattr_list(NULL, again, NULL, 0), 0);
	dir_put(again);
	clear_only(d);
	assert_int_equal(dir_open(p->root, "d", &again), 0);
	dir_put(again);
	dir_put(d);
	dir_put(e);
}

static void without_room_or_attributes_it_is_cleared_as_it_can(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *again;
	char text[256], record[DIR_RECORD_MAX];
	make(p->root, "d", &d);
	record_of(d, text);
	fail_lower_arm(&p->fail, FAIL_LOWER_FSETXATTR, 1, -ENOSPC, false);
	assert_int_equal(dir_clear(d, true, record), -ENOSPC);
	assert_int_equal(dir_clear(d, false, record), 0);
	assert_int_equal(dir_restore(d, record), 0);
	fail_lower_arm(&p->fail, FAIL_LOWER_FSETXATTR, 1, -EOPNOTSUPP, false);
	assert_int_equal(dir_clear(d, true, record), 0);
	fail_lower_arm(&p->fail, FAIL_LOWER_FGETXATTR, 1, -EOPNOTSUPP, false);
	assert_int_equal(dir_open(p->root, "d", &again), 0);
	assert_memory_not_equal(again->id, d->id, DIR_ID_LEN);
	assert_int_equal(p->alarms, 0);
	dir_put(again);
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
		CASE(a_removal_cut_short_is_as_if_it_had_not_begun),
		CASE(a_kept_record_is_believed_as_little_as_a_record),
		CASE(without_room_or_attributes_it_is_cleared_as_it_can),
		CASE(a_failing_disk_leaves_the_old_record),
	};
	return cmocka_run_group_tests_name("dir", tests, NULL, NULL);
}
