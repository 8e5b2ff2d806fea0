/* fs/store/tree_rename: files, links and directories; refused, or cut short at any call of the
 * lower. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tree_place.h"

static void renames_of_files(void **state)
{
	struct store_place *p = *state;
	struct trash *t = with_trash(p);
	struct dir *d;
	struct stat st;
	struct trash_status status;
	char got[16];
	make_dir(p->root, "d", &d);
	make_file(p->root, "a", "aa");
	make_file(d, "b", "bbb");
	assert_int_equal(rename_to(p->root, "a", d, "b", RENAME_NOREPLACE, NULL, NULL), -EEXIST);
	assert_int_equal(rename_to(p->root, "a", d, "x", RENAME_EXCHANGE, NULL, NULL), -ENOENT);
	assert_int_equal(rename_to(p->root, "x", d, "b", 0, NULL, NULL), -ENOENT);
	assert_int_equal(rename_to(p->root, "a", d, "b", 4, NULL, NULL), -EINVAL);
	assert_int_equal(rename_to(p->root, "a", d, "b", RENAME_EXCHANGE, NULL, NULL), 0);
	assert_content(p->root, "a", "bbb");
	assert_content(d, "b", "aa");
	assert_int_equal(rename_to(p->root, "a", d, "b", 0, NULL, NULL), 0);
	assert_content(d, "b", "bbb");
	assert_int_equal(read_file(p->root, "a", got, sizeof(got)), -ENOENT);
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 1);
	/* long names, and back */
	assert_int_equal(rename_to(d, "b", p->root, long_name('l'), 0, NULL, NULL), 0);
	assert_content(p->root, long_name('l'), "bbb");
	assert_int_equal(
		rename_to(p->root, long_name('l'), p->root, long_name('m'), 0, NULL, NULL), 0);
	assert_int_equal(rename_to(p->root, long_name('m'), d, "b", 0, NULL, NULL), 0);
	assert_content(d, "b", "bbb");
	assert_int_equal(lower_count(p->root, true), 2); /* .dir, d */
	/* two names of one file: both stay */
	struct name b = sealed(d, "b"), c = sealed(d, "c");
	assert_int_equal(tree_link(d, b.lower, NULL, d, &c, &st), 0);
	assert_int_equal(rename_to(d, "b", d, "c", 0, NULL, NULL), 0);
	assert_content(d, "b", "bbb");
	assert_content(d, "c", "bbb");
	/* over one of two names: the other keeps its content */
	make_file(d, "n", "new");
	assert_int_equal(rename_to(d, "n", d, "b", 0, NULL, NULL), 0);
	assert_content(d, "b", "new");
	assert_content(d, "c", "bbb");
	/* over a file that somebody has open */
	struct file *f;
	assert_int_equal(file_open(d, c.lower, &f), 0);
	const struct tree_rename over = {.from = d,
		.to = d,
		.old_lower = b.lower,
		.new_name = &c,
		.victim_exists = true,
		.victim_file = f};
	assert_int_equal(tree_rename(&over), 0);
	assert_int_equal(file_read(f, got, sizeof(got), 0), 3);
	assert_memory_equal(got, "bbb", 3);
	file_put(f);
	assert_content(d, "c", "new");
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 2);
	assert_int_equal(rename_to(d, "c", p->root, "d", 0, NULL, d), -EISDIR);
	assert_int_equal(rename_to(p->root, "d", d, "c", 0, d, NULL), -ENOTDIR);
	assert_int_equal(p->alarms, 0);
	dir_put(d);
	without_trash(p);
}

static void renames_of_links_take_their_tails_along(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	struct stat st;
	char a[4001], b[3001], got[4096];
	memset(a, 'a', sizeof(a)), a[4000] = '\0';
	memset(b, 'b', sizeof(b)), b[3000] = '\0';
	make_dir(p->root, "d", &d);
	struct name an = sealed(p->root, "a"), bn = sealed(d, "b");
	assert_int_equal(tree_symlink(p->root, &an, a, NULL, &st), 0);
	assert_int_equal(tree_symlink(d, &bn, b, NULL, &st), 0);
	assert_int_equal(rename_to(p->root, "a", d, "b", RENAME_EXCHANGE, NULL, NULL), 0);
	assert_int_equal(tree_readlink(p->root, an.lower, got, sizeof(got)), 3000);
	assert_int_equal(tree_readlink(d, bn.lower, got, sizeof(got)), 4000);
	assert_int_equal(lower_count(p->root, true), 4 + 4);
	assert_int_equal(lower_count(d, true), 3 + 5);
	assert_int_equal(rename_to(p->root, "a", d, "b", 0, NULL, NULL), 0);
	assert_int_equal(tree_readlink(d, bn.lower, got, sizeof(got)), 3000);
	assert_int_equal(lower_count(p->root, true), 2);
	assert_int_equal(lower_count(d, true), 3 + 4);
	assert_int_equal(rename_to(d, "b", d, long_name('z'), 0, NULL, NULL), 0);
	assert_int_equal(lower_count(d, true), 4 + 4);
	struct name z = sealed(d, long_name('z'));
	assert_int_equal(tree_unlink(d, z.lower, NULL), 0);
	assert_int_equal(lower_count(d, true), 1);
	dir_put(d);
}

static void renames_of_directories(void **state)
{
	struct store_place *p = *state;
	struct dir *a, *b, *in, *again;
	struct stat before, after;
	make_dir(p->root, "a", &a);
	make_dir(p->root, "b", &b);
	make_dir(a, "in", &in);
	make_file(in, "f", "deep");
	assert_int_equal(fstat(in->fd, &before), 0);
	assert_int_equal(rename_to(a, "in", b, long_name('n'), 0, in, NULL), 0);
	assert_int_equal(fstat(in->fd, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
	struct name n = sealed(b, long_name('n'));
	assert_int_equal(dir_open(b, n.lower, &again), 0);
	assert_content(again, "f", "deep");
	dir_put(again);
	/* into itself; over one that is not empty; over an empty one; exchange */
	assert_int_equal(rename_to(p->root, "b", in, "x", 0, b, NULL), -EINVAL);
	assert_int_equal(rename_to(p->root, "b", b, "x", 0, b, NULL), -EINVAL);
	assert_int_equal(rename_to(p->root, "a", p->root, "b", 0, a, b), -ENOTEMPTY);
	assert_int_equal(rename_to(b, long_name('n'), p->root, "b", 0, in, b), -ENOTEMPTY);
	assert_int_equal(rename_to(p->root, "b", p->root, "a", 0, b, a), 0);
	assert_int_equal(rename_to(b, long_name('n'), b, "in", RENAME_NOREPLACE, in, NULL), 0);
	struct dir *c;
	make_dir(p->root, "c", &c);
	assert_int_equal(rename_to(b, "in", p->root, "c", RENAME_EXCHANGE, in, c), 0);
	n = sealed(p->root, "c");
	assert_int_equal(dir_open(p->root, n.lower, &again), 0);
	assert_memory_equal(again->id, in->id, DIR_ID_LEN);
	dir_put(again);
	n = sealed(b, "in");
	assert_int_equal(dir_open(b, n.lower, &again), 0);
	assert_memory_equal(again->id, c->id, DIR_ID_LEN);
	dir_put(again);
	/* a directory and a file */
	make_file(b, "f", "");
	assert_int_equal(rename_to(b, "in", b, "f", RENAME_EXCHANGE, c, NULL), 0);
	n = sealed(b, "f");
	assert_int_equal(dir_open(b, n.lower, &again), 0);
	dir_put(again);
	assert_int_equal(lower_count(b, true), 3);
	assert_int_equal(p->alarms, 0);
	dir_put(a), dir_put(b), dir_put(c), dir_put(in);
}

/* As nobody this fails without the owner's bits being lent; as root it shows that they are given
 * back. */
static void a_mode_without_rights_does_not_stop_its_owner(void **state)
{
	struct store_place *p = *state;
	static const mode_t modes[] = {0, 0400, 0500, 0555, 0700};
	p->store.as_root = false;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		struct name old = sealed(p->root, "old"), new = sealed(p->root, "new");
		struct dir *d, *again;
		struct stat st;
		assert_int_equal(tree_mkdir(p->root, &old, modes[i], NULL, &st), 0);
		assert_int_equal(dir_open(p->root, old.lower, &d), 0);
		assert_int_equal(rename_to(p->root, "old", p->root, "new", 0, d, NULL), 0);
		assert_int_equal(tree_stat(p->root, new.lower, &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i]);
		assert_int_equal(dir_open(p->root, new.lower, &again), 0);
		assert_int_equal(tree_stat(p->root, new.lower, &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i]);
		assert_int_equal(tree_rmdir(p->root, new.lower, again), 0);
		dir_put(again);
		dir_put(d);
	}
	assert_int_equal(p->alarms, 0);
}

/* Places where the directory `id` opens, of old and new: exactly one must be it. */
static int places_of(struct store_place *p, const uint8_t id[static DIR_ID_LEN], struct dir *from,
	const char *old, struct dir *to, const char *new)
{
	struct dir *const parents[] = {from, to};
	const char *const names[] = {old, new};
	int found = 0;
	for (int i = 0; i < 2; i++) {
		struct name n = sealed(parents[i], names[i]);
		struct dir *d;
		int r = dir_open(parents[i], n.lower, &d);
		if (r == -ENOENT)
			continue;
		assert_int_equal(r, 0);
		found += !memcmp(d->id, id, DIR_ID_LEN);
		dir_put(d);
	}
	assert_int_equal(p->alarms, 0);
	return found;
}

/*
 * The lower fails from the n-th call on, undoing included: what a crash there leaves. Or only at
 * the n-th: then the state is that before or that after.
 */
static void a_crash_in_a_directory_rename_loses_nothing(void **state)
{
	struct store_place *p = *state;
	struct dir *a, *b;
	make_dir(p->root, "a", &a);
	make_dir(p->root, "b", &b);
	for (int once = 0; once < 2; once++) {
		bool hit = true;
		for (unsigned n = 1; hit; n++) {
			struct dir *moved, *victim, *at;
			struct name old = sealed(a, long_name('o')), new = sealed(b, "new");
			make_dir(a, long_name('o'), &moved);
			make_dir(b, "new", &victim);
			make_file(moved, "f", "");
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, n, -EIO, once);
			int r = rename_to(a, long_name('o'), b, "new", 0, moved, victim);
			hit = fail_lower_hit(&p->fail);
			disarm(p);
			assert_true(r == 0 || r == -EIO);
			assert_int_equal(places_of(p, moved->id, a, long_name('o'), b, "new"), 1);
			/* whatever happened: it can be removed */
			bool done = dir_open(a, old.lower, &at) < 0;
			assert_int_equal(done, r == 0);
			if (done)
				assert_int_equal(dir_open(b, new.lower, &at), 0);
			struct name f = sealed(at, "f");
			assert_int_equal(tree_unlink(at, f.lower, NULL), 0);
			assert_int_equal(
				done ? tree_rmdir(b, new.lower, at) : tree_rmdir(a, old.lower, at),
				0);
			dir_put(at);
			if (!done) {
				assert_int_equal(dir_open(b, new.lower, &at), 0);
				if (once)
					assert_memory_equal(at->id, victim->id, DIR_ID_LEN);
				assert_int_equal(tree_rmdir(b, new.lower, at), 0);
				dir_put(at);
			}
			assert_int_equal(lower_count(a, false), 0);
			assert_int_equal(lower_count(b, false), 0);
			dir_put(moved);
			dir_put(victim);
		}
	}
	dir_put(a);
	dir_put(b);
}

static void a_crash_in_a_file_rename_loses_nothing(void **state)
{
	struct store_place *p = *state;
	struct trash *t = with_trash(p);
	struct dir *a, *b;
	char got[64];
	make_dir(p->root, "a", &a);
	make_dir(p->root, "b", &b);
	/* Renames only: the eraser's calls are not counted with ours. */
	static const enum fail_lower_op ops[] = {
		FAIL_LOWER_RENAMEAT, FAIL_LOWER_LINKAT, FAIL_LOWER_SYMLINKAT, FAIL_LOWER_FSTATAT};
	for (size_t i = 0; i < 4; i++) {
		bool hit = true;
		for (unsigned n = 1; hit; n++) {
			make_file(a, "f", "moved");
			make_file(b, long_name('v'), "victim");
			assert_int_equal(trash_drain(t, 10000), 0);
			fail_lower_arm(&p->fail, ops[i], n, -ENOSPC, true);
			int r = rename_to(a, "f", b, long_name('v'), 0, NULL, NULL);
			hit = fail_lower_hit(&p->fail);
			disarm(p);
			assert_int_equal(trash_drain(t, 10000), 0);
			if (r == 0) {
				assert_content(b, long_name('v'), "moved");
				assert_int_equal(read_file(a, "f", got, sizeof(got)), -ENOENT);
			} else {
				assert_int_equal(r, -ENOSPC);
				assert_content(b, long_name('v'), "victim");
				assert_content(a, "f", "moved");
				struct name f = sealed(a, "f");
				assert_int_equal(tree_unlink(a, f.lower, NULL), 0);
			}
			struct name v = sealed(b, long_name('v'));
			assert_int_equal(tree_unlink(b, v.lower, NULL), 0);
			assert_int_equal(trash_drain(t, 10000), 0);
			AUTO_CLOSE fd = openat(p->tenant_fd, "trash", O_PATH | O_CLOEXEC);
			const struct dir view = {.fd = fd};
			assert_int_equal(lower_count(&view, true), 0);
			assert_int_equal(lower_count(a, false) + lower_count(b, true), 1);
		}
	}
	assert_int_equal(p->alarms, 0);
	dir_put(a);
	dir_put(b);
	without_trash(p);
}

static void assert_home(struct dir *d, const char *plain, const struct dir *home, int code)
{
	struct name n = sealed(d, plain);
	AUTO(file_auto) struct file *f = NULL;
	assert_int_equal(file_open(d, n.lower, &f), 0);
	assert_int_equal(file_check_home(f, home), code);
}

static void homes_follow_a_file(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	make_dir(p->root, "d", &d);
	make_file(p->root, "f", "content");
	fail_lower_arm(&p->fail, FAIL_LOWER_RENAMEAT, 1, -EIO, true);
	assert_int_equal(rename_to(p->root, "f", d, "g", 0, NULL, NULL), -EIO);
	disarm(p);
	assert_home(p->root, "f", p->root, 0);
	assert_home(p->root, "f", d, -EBADMSG);
	assert_int_equal(rename_to(p->root, "f", d, "g", 0, NULL, NULL), 0);
	assert_home(d, "g", d, 0);
	assert_home(d, "g", p->root, -EBADMSG);
	make_file(p->root, "h", "other");
	assert_int_equal(rename_to(p->root, "h", d, "g", RENAME_EXCHANGE, NULL, NULL), 0);
	assert_home(p->root, "h", d, -EBADMSG);
	assert_home(d, "g", p->root, -EBADMSG);
	/* and moved behind our back it does not open */
	struct name g = sealed(d, "g"), x = sealed(p->root, "x");
	struct file *f;
	assert_int_equal(renameat(d->fd, g.lower, p->root->fd, x.lower), 0);
	assert_int_equal(file_open(p->root, x.lower, &f), -EBADMSG);
	dir_put(d);
}

static size_t record_length(const struct dir *d)
{
	char text[256];
	return (size_t)readlinkat(d->fd, ".dir", text, sizeof(text));
}

/* Whatever the kernel refuses in the end leaves the lower tree as it was. */
static void a_refused_rename_leaves_nothing(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *e;
	struct stat st;
	char target[3001];
	memset(target, 't', 3000);
	target[3000] = '\0';
	make_dir(p->root, "d", &d);
	make_dir(p->root, "e", &e);
	struct name s = sealed(p->root, "s"), t = sealed(d, "t");
	assert_int_equal(tree_symlink(p->root, &s, target, NULL, &st), 0);
	assert_int_equal(tree_symlink(d, &t, target, NULL, &st), 0);
	unsigned in_root = lower_count(p->root, true), in_d = lower_count(d, true);
	for (int flags = 0; flags <= RENAME_EXCHANGE; flags += RENAME_EXCHANGE) {
		fail_lower_arm(&p->fail, FAIL_LOWER_RENAMEAT, 1, -EIO, true);
		const char *to = flags ? "t" : long_name('t');
		assert_int_equal(rename_to(p->root, "s", d, to, (unsigned)flags, NULL, NULL), -EIO);
		disarm(p);
		assert_int_equal(lower_count(p->root, true), in_root);
		assert_int_equal(lower_count(d, true), in_d);
	}
	assert_int_equal(rename_to(p->root, "d", d, long_name('x'), 0, d, NULL), -EINVAL);
	assert_int_equal(record_length(d), 47);
	assert_int_equal(lower_count(d, true), in_d);
	assert_int_equal(rename_to(p->root, "d", e, "x", 0, d, NULL), 0);
	assert_int_equal(record_length(d), 47);
	assert_int_equal(rename_to(e, "x", p->root, "e", RENAME_EXCHANGE, d, e), -EINVAL);
	assert_int_equal(record_length(d), 47);
	assert_int_equal(record_length(e), 47);
	dir_put(d);
	dir_put(e);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
#define CASE(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)
	const struct CMUnitTest tests[] = {
		CASE(renames_of_files),
		CASE(renames_of_links_take_their_tails_along),
		CASE(renames_of_directories),
		CASE(a_mode_without_rights_does_not_stop_its_owner),
		CASE(a_crash_in_a_directory_rename_loses_nothing),
		CASE(a_crash_in_a_file_rename_loses_nothing),
		CASE(homes_follow_a_file),
		CASE(a_refused_rename_leaves_nothing),
	};
	return cmocka_run_group_tests_name("tree_rename", tests, NULL, NULL);
}
