/* fs/store/tree: what applications see, what the lower tree holds, and what is left after a
 * failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tree_place.h"

#include <time.h>

static void directories_have_the_mode_and_links_asked_for(void **state)
{
	struct store_place *p = *state;
	static const struct {
		const char *plain;
		mode_t mode;
	} rows[] = {{"a", 0755}, {"b", 0}, {"c", 01777}, {"d", 0500}, {"e", 0300}};
	struct stat st, again;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct name n = sealed(p->root, rows[i].plain);
		assert_int_equal(tree_mkdir(p->root, &n, rows[i].mode, NULL, &st), 0);
		assert_int_equal(st.st_mode, S_IFDIR | rows[i].mode);
		assert_int_equal(st.st_nlink, 2);
		assert_int_equal(tree_mkdir(p->root, &n, 0700, NULL, &st), -EEXIST);
		assert_int_equal(tree_stat(p->root, n.lower, &again), 0);
		assert_int_equal(again.st_mode, S_IFDIR | rows[i].mode);
	}
	struct dir *a;
	struct name n = sealed(p->root, "a");
	assert_int_equal(dir_open(p->root, n.lower, &a), 0);
	assert_int_equal(tree_rmdir(p->root, n.lower, a), 0);
	assert_int_equal(tree_stat(p->root, n.lower, &st), -ENOENT);
	dir_put(a);
	if (geteuid() == 0) {
		const struct lower_cred cred = {1234, 4321};
		n = sealed(p->root, "theirs");
		assert_int_equal(tree_mkdir(p->root, &n, 0711, &cred, &st), 0);
		assert_int_equal(st.st_uid, 1234);
		assert_int_equal(st.st_gid, 4321);
		assert_int_equal(dir_open(p->root, n.lower, &a), 0);
		assert_int_equal(fstatat(a->fd, ".dir", &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(st.st_uid, 0);
		dir_put(a);
	}
}

static void a_directory_with_content_stays(void **state)
{
	struct store_place *p = *state;
	struct dir *d, *again;
	make_dir(p->root, long_name('d'), &d);
	make_file(d, "f", "");
	struct name n = sealed(p->root, long_name('d')), in = sealed(d, "f");
	assert_int_equal(tree_rmdir(p->root, n.lower, d), -ENOTEMPTY);
	assert_int_equal(dir_open(p->root, n.lower, &again), 0);
	assert_memory_equal(d->id, again->id, DIR_ID_LEN);
	dir_put(again);
	assert_int_equal(tree_unlink(d, in.lower, NULL), 0);
	/* orphans do not count */
	assert_int_equal(symlinkat("x", d->fd, "~orphan.n"), 0);
	for (unsigned i = 1;; i++) {
		fail_lower_arm(&p->fail, FAIL_LOWER_UNLINKAT, i, -EIO, true);
		int r = tree_rmdir(p->root, n.lower, d);
		bool hit = fail_lower_hit(&p->fail);
		disarm(p);
		if (r == 0) {
			/* the record of the root, and the sidecar when removing that was what
			 * failed */
			assert_int_equal(lower_count(p->root, true), 1 + hit);
			break;
		}
		assert_true(hit);
		assert_int_equal(r, -EIO);
		assert_int_equal(dir_open(p->root, n.lower, &again), 0);
		assert_memory_equal(d->id, again->id, DIR_ID_LEN);
		dir_put(again);
	}
	dir_put(d);
	assert_int_equal(p->alarms, 0);
}

static void a_full_disk_lets_directories_go(void **state)
{
	struct store_place *p = *state;
	static const int errors[] = {-ENOSPC, -EDQUOT, -EOPNOTSUPP};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct dir *d, *over, *again;
		make_dir(p->root, "d", &d);
		make_dir(p->root, "over", &over);
		struct name n = sealed(p->root, "d"), o = sealed(p->root, "over");
		const struct tree_rename rename = {.from = p->root,
			.to = p->root,
			.old_lower = n.lower,
			.new_name = &o,
			.moved = d,
			.victim_exists = true,
			.victim_dir = over};
		fail_lower_arm(&p->fail, FAIL_LOWER_FSETXATTR, 1, errors[i], false);
		if (errors[i] != -EOPNOTSUPP) {
			/* this one frees nothing */
			assert_int_equal(tree_rename(&rename), errors[i]);
			assert_int_equal(dir_open(p->root, o.lower, &again), 0);
			assert_memory_equal(again->id, over->id, DIR_ID_LEN);
			dir_put(again);
			assert_int_equal(tree_rmdir(p->root, o.lower, over), 0);
			assert_int_equal(tree_rmdir(p->root, n.lower, d), 0);
		} else {
			assert_int_equal(tree_rename(&rename), 0);
			assert_int_equal(tree_rmdir(p->root, o.lower, d), 0);
		}
		disarm(p);
		assert_int_equal(lower_count(p->root, true), 1);
		dir_put(d);
		dir_put(over);
	}
	/* an error of the disk is no want of room */
	struct dir *d;
	make_dir(p->root, "d", &d);
	struct name n = sealed(p->root, "d");
	fail_lower_arm(&p->fail, FAIL_LOWER_FSETXATTR, 1, -EIO, false);
	assert_int_equal(tree_rmdir(p->root, n.lower, d), -EIO);
	disarm(p);
	assert_int_equal(tree_rmdir(p->root, n.lower, d), 0);
	dir_put(d);
	assert_int_equal(p->alarms, 0);
}

static void targets_of_every_length_come_back(void **state)
{
	struct store_place *p = *state;
	static const size_t lengths[] = {
		1, 2, 3, 59, 715, 716, 717, 1000, 1465, 1466, 1467, 4000, 4094, 4095};
	char target[4097], got[4096], plain[256];
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct stat st;
		memset(target, 'a' + (int)i, lengths[i]);
		target[lengths[i]] = '\0';
		snprintf(plain, sizeof(plain), "%.*s%zu", i % 2 ? 200 : 3, long_name('s'), i);
		struct name n = sealed(p->root, plain);
		assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), 0);
		assert_int_equal(st.st_size, lengths[i]);
		assert_true(S_ISLNK(st.st_mode));
		assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), -EEXIST);
		assert_int_equal(tree_stat(p->root, n.lower, &st), 0);
		assert_int_equal(st.st_size, lengths[i]);
		assert_int_equal(tree_readlink(p->root, n.lower, got, sizeof(got)), lengths[i]);
		assert_memory_equal(got, target, lengths[i]);
		assert_int_equal(tree_readlink(p->root, n.lower, got, 1), 1);
	}
	struct name n = sealed(p->root, "bad");
	struct stat st;
	assert_int_equal(tree_symlink(p->root, &n, "", NULL, &st), -ENOENT);
	memset(target, 'x', 4096);
	target[4096] = '\0';
	assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), -ENAMETOOLONG);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		snprintf(plain, sizeof(plain), "%.*s%zu", i % 2 ? 200 : 3, long_name('s'), i);
		n = sealed(p->root, plain);
		assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
	}
	assert_int_equal(lower_count(p->root, true), 1);
	assert_int_equal(p->alarms, 0);
}

static void altered_targets_are_noticed(void **state)
{
	struct store_place *p = *state;
	struct name n = sealed(p->root, "s"), m = sealed(p->root, "t");
	char target[4096], got[4096], text[1100], tail[64];
	struct stat st;
	memset(target, 'l', 4000);
	target[4000] = '\0';
	assert_int_equal(tree_symlink(p->root, &n, target, NULL, &st), 0);
	assert_int_equal(tree_symlink(p->root, &m, "short", NULL, &st), 0);
	ssize_t len = readlinkat(p->root->fd, n.lower, text, sizeof(text));
	assert_int_equal(len, 1001);
	uint8_t head[24];
	assert_int_equal(crypto_unb64(text, 32, head, 24), 24);
	tail[0] = '~';
	crypto_b64(head + 2, 16, tail + 1);
	strncat(tail, ".2", 3);
	assert_int_equal(unlinkat(p->root->fd, tail, 0), 0);
	assert_int_equal(tree_readlink(p->root, n.lower, got, sizeof(got)), -EBADMSG);
	assert_int_equal(symlinkat("AAAA", p->root->fd, tail), 0);
	assert_int_equal(tree_readlink(p->root, n.lower, got, sizeof(got)), -EBADMSG);
	assert_int_equal(p->alarms, 2);
	assert_string_equal(p->what, "link target");
	len = readlinkat(p->root->fd, m.lower, text, sizeof(text));
	for (ssize_t i = 0; i < len; i++) {
		char altered[128];
		memcpy(altered, text, (size_t)len);
		altered[len] = '\0';
		altered[i] = altered[i] == 'A' ? 'B' : 'A';
		assert_int_equal(unlinkat(p->root->fd, m.lower, 0), 0);
		assert_int_equal(symlinkat(altered, p->root->fd, m.lower), 0);
		assert_int_equal(tree_readlink(p->root, m.lower, got, sizeof(got)), -EBADMSG);
	}
	assert_int_equal(tree_stat(p->root, m.lower, &st), 0);
	assert_int_equal(tree_unlink(p->root, m.lower, NULL), 0);
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
}

static void special_files_and_hard_links(void **state)
{
	struct store_place *p = *state;
	struct trash *t = with_trash(p);
	struct dir *d;
	struct stat st;
	make_dir(p->root, "d", &d);
	struct name fifo = sealed(p->root, "fifo"), fifo2 = sealed(d, long_name('f'));
	assert_int_equal(tree_mknod(p->root, &fifo, S_IFIFO | 0640, 0, NULL, &st), 0);
	assert_int_equal(st.st_mode, S_IFIFO | 0640);
	assert_int_equal(tree_link(p->root, fifo.lower, NULL, d, &fifo2, &st), 0);
	assert_int_equal(st.st_nlink, 2);
	/* a file with content, and one that is empty and gets some later */
	static const char *const names[] = {"full", "empty"};
	for (int i = 0; i < 2; i++) {
		make_file(p->root, names[i], i ? "" : "content");
		struct name a = sealed(p->root, names[i]), b = sealed(d, long_name('b')),
			    c = sealed(d, "c");
		assert_int_equal(tree_link(p->root, a.lower, NULL, d, &b, &st), 0);
		assert_int_equal(tree_link(d, b.lower, NULL, d, &c, &st), 0);
		assert_int_equal(st.st_nlink, 3);
		assert_int_equal(st.st_size, i ? 0 : 7);
		assert_int_equal(tree_link(d, b.lower, NULL, d, &c, &st), -EEXIST);
		AUTO(file_auto) struct file *f = NULL;
		assert_int_equal(file_open(p->root, a.lower, &f), 0);
		assert_int_equal(file_write(f, "CONTENT", 7, 0), 7);
		assert_int_equal(tree_unlink(p->root, a.lower, f), 0);
		assert_int_equal(file_check_home(f, d), 0);
		assert_int_equal(file_check_home(f, p->root), -EBADMSG);
		file_put(f);
		f = NULL;
		assert_content(d, "c", "CONTENT");
		assert_int_equal(tree_unlink(d, b.lower, NULL), 0);
		assert_content(d, "c", "CONTENT");
		assert_int_equal(tree_stat(d, c.lower, &st), 0);
		assert_int_equal(st.st_nlink, 1);
		assert_int_equal(tree_unlink(d, c.lower, NULL), 0);
		assert_int_equal(trash_drain(t, 10000), 0);
		struct trash_status status;
		trash_status(t, &status);
		assert_int_equal(status.done_files, i + 1);
	}
	struct name dn = sealed(p->root, "d"), x = sealed(p->root, "x");
	assert_int_equal(tree_link(p->root, dn.lower, NULL, p->root, &x, &st), -EPERM);
	assert_int_equal(tree_unlink(p->root, dn.lower, NULL), -EISDIR);
	assert_int_equal(tree_unlink(p->root, x.lower, NULL), -ENOENT);
	assert_int_equal(tree_unlink(d, fifo2.lower, NULL), 0);
	assert_int_equal(lower_count(d, true), 1);
	assert_int_equal(p->alarms, 2); /* the two foreign homes asked for above */
	dir_put(d);
	without_trash(p);
}

static void hard_links_of_long_links_keep_their_tails(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	char target[4096], got[4096];
	struct stat st;
	make_dir(p->root, "d", &d);
	memset(target, 't', 4095);
	target[4095] = '\0';
	struct name a = sealed(p->root, "a"), b = sealed(d, "b");
	assert_int_equal(tree_symlink(p->root, &a, target, NULL, &st), 0);
	assert_int_equal(tree_link(p->root, a.lower, NULL, d, &b, &st), 0);
	assert_int_equal(tree_unlink(p->root, a.lower, NULL), 0);
	assert_int_equal(tree_readlink(d, b.lower, got, sizeof(got)), 4095);
	assert_int_equal(rename_to(d, "b", p->root, "c", 0, NULL, NULL), 0);
	struct name c = sealed(p->root, "c");
	assert_int_equal(tree_readlink(p->root, c.lower, got, sizeof(got)), 4095);
	assert_memory_equal(got, target, 4095);
	assert_int_equal(lower_count(d, true), 1);
	dir_put(d);
}

static void an_unlinked_file_lives_as_long_as_it_is_open(void **state)
{
	struct store_place *p = *state;
	struct name n = sealed(p->root, "f");
	make_file(p->root, "f", "still here");
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), -EROFS); /* nowhere to put it */
	struct trash *t = with_trash(p);
	struct file *f;
	char got[16];
	struct stat st;
	struct trash_status status;
	assert_int_equal(file_open(p->root, n.lower, &f), 0);
	assert_int_equal(tree_unlink(p->root, n.lower, f), 0);
	assert_int_equal(tree_stat(p->root, n.lower, &st), -ENOENT);
	assert_int_equal(trash_drain(t, 10000), 0);
	assert_int_equal(file_read(f, got, sizeof(got), 0), 10);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 0);
	file_put(f);
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 1);
	/* an empty one leaves nothing to erase */
	make_file(p->root, "f", "");
	assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
	assert_int_equal(trash_drain(t, 10000), 0);
	trash_status(t, &status);
	assert_int_equal(status.done_files, 1);
	without_trash(p);
}

static int make_one(struct store_place *p, int kind, const struct name *n)
{
	static char target[2001];
	struct stat st;
	memset(target, 'x', 2000);
	return kind == 0   ? tree_mkdir(p->root, n, 0500, NULL, &st)
	       : kind == 1 ? tree_symlink(p->root, n, target, NULL, &st)
			   : tree_mknod(p->root, n, S_IFREG | 0600, 0, NULL, &st);
}

static void what_cannot_be_made_leaves_nothing(void **state)
{
	struct store_place *p = *state;
	struct name n = sealed(p->root, long_name('q'));
	static const enum fail_lower_op ops[] = {FAIL_LOWER_MKDIRAT, FAIL_LOWER_SYMLINKAT,
		FAIL_LOWER_MKNODAT, FAIL_LOWER_OPENAT, FAIL_LOWER_FCHMOD, FAIL_LOWER_FSTAT};
	for (int kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
			for (unsigned at = 1;; at++) {
				fail_lower_arm(&p->fail, ops[i], at, -ENOSPC, true);
				int r = make_one(p, kind, &n);
				bool hit = fail_lower_hit(&p->fail);
				disarm(p);
				assert_int_equal(r, hit ? -ENOSPC : 0);
				if (!hit)
					break;
				assert_int_equal(lower_count(p->root, true), 1);
			}
			struct dir *d = NULL;
			if (kind == 0) {
				assert_int_equal(dir_open(p->root, n.lower, &d), 0);
				assert_int_equal(tree_rmdir(p->root, n.lower, d), 0);
				dir_put(d);
			} else {
				assert_int_equal(tree_unlink(p->root, n.lower, NULL), 0);
			}
			assert_int_equal(lower_count(p->root, true), 1);
		}
	}
}

#define MANY 3000

static void a_cursor_sees_each_name_once_and_seeks(void **state)
{
	struct store_place *p = *state;
	static bool seen[MANY];
	struct tree_cursor *c;
	struct tree_entry e;
	struct stat st;
	char plain[256];
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < MANY; i++) {
		snprintf(plain, sizeof(plain), "%d%.200s", i, i % 10 ? "" : long_name('x') + 55);
		struct name n = sealed(p->root, plain);
		assert_int_equal(tree_mknod(p->root, &n, S_IFREG | 0600, 0, NULL, &st), 0);
	}
	assert_int_equal(tree_cursor_open(p->root, &c), 0);
	int64_t at = 0, middle = 0;
	int count = 0, dots = 0, r;
	char behind_middle[256] = "";
	while ((r = tree_cursor_next(c, at, &e)) > 0) {
		at = e.next;
		if (!strcmp(e.plain, ".") || !strcmp(e.plain, "..")) {
			dots++;
			continue;
		}
		long i = strtol(e.plain, NULL, 10);
		assert_false(seen[i]);
		seen[i] = true;
		assert_int_equal(e.type, DT_REG);
		if (count == MANY / 2)
			middle = e.next;
		if (count == MANY / 2 + 1)
			snprintf(behind_middle, sizeof(behind_middle), "%s", e.plain);
		/* what was seen already may go without disturbing the rest */
		if (count % 3 == 0 && count < MANY / 2)
			assert_int_equal(tree_unlink(p->root, e.lower, NULL), 0);
		count++;
	}
	assert_int_equal(r, 0);
	assert_int_equal(count, MANY);
	assert_int_equal(dots, 2);
	assert_int_equal(tree_cursor_next(c, at, &e), 0);
	assert_int_equal(tree_cursor_next(c, middle, &e), 1);
	assert_string_equal(e.plain, behind_middle);
	tree_cursor_close(c);
	assert_int_equal(p->alarms, 0);
}

static void names_that_do_not_open_are_left_out_with_one_alarm(void **state)
{
	struct store_place *p = *state;
	struct tree_cursor *c;
	struct tree_entry e;
	static const char *const foreign[] = {"foreign.txt", "AAAAAAAAAAAAAAAAAAAAAAAAAAA", "~abc"};
	make_file(p->root, "good", "");
	for (int i = 0; i < 3; i++)
		assert_int_equal(mkdirat(p->root->fd, foreign[i], 0700), 0);
	struct name n = sealed(p->root, long_name('k'));
	make_file(p->root, long_name('k'), "");
	char sidecar[128];
	snprintf(sidecar, sizeof(sidecar), "%.60s.n", n.lower);
	assert_int_equal(unlinkat(p->root->fd, sidecar, 0), 0);
	for (int round = 1; round <= 2; round++) {
		int count = 0;
		int64_t at = 0;
		assert_int_equal(tree_cursor_open(p->root, &c), 0);
		while (tree_cursor_next(c, at, &e) > 0) {
			at = e.next;
			count += !strcmp(e.plain, "good") ? 1 : e.plain[0] == '.' ? 0 : 100;
		}
		assert_int_equal(count, 1);
		tree_cursor_close(c);
		assert_int_equal(p->alarms, round);
		assert_string_equal(p->what, "name");
	}
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Not a test of speed: figures for who wants them, with TENANTFS_TEST_FIGURES set. */
static void figures(void **state)
{
	struct store_place *p = *state;
	struct stat st;
	char plain[64];
	if (!getenv("TENANTFS_TEST_FIGURES"))
		skip();
	uint64_t start = now_ns();
	for (int i = 0; i < 2000; i++) {
		snprintf(plain, sizeof(plain), "directory-%d", i);
		struct name n = sealed(p->root, plain);
		assert_int_equal(tree_mkdir(p->root, &n, 0755, NULL, &st), 0);
	}
	uint64_t made = now_ns();
	for (int i = 0; i < 2000; i++) {
		snprintf(plain, sizeof(plain), "directory-%d", i);
		assert_int_equal(stat_of(p->root, plain, &st), 0);
	}
	uint64_t looked = now_ns();
	for (int i = 0; i < 2000; i++) {
		struct dir *d;
		snprintf(plain, sizeof(plain), "directory-%d", i);
		struct name n = sealed(p->root, plain);
		assert_int_equal(dir_open(p->root, n.lower, &d), 0);
		dir_put(d);
	}
	uint64_t opened = now_ns();
	struct tree_cursor *c;
	struct tree_entry e;
	int64_t at = 0;
	assert_int_equal(tree_cursor_open(p->root, &c), 0);
	while (tree_cursor_next(c, at, &e) > 0)
		at = e.next;
	tree_cursor_close(c);
	printf("mkdir %lu ns, lookup %lu ns, dir_open %lu ns, readdir %lu ns an entry\n",
		(unsigned long)(made - start) / 2000, (unsigned long)(looked - made) / 2000,
		(unsigned long)(opened - looked) / 2000, (unsigned long)(now_ns() - opened) / 2000);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
#define CASE(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)
	const struct CMUnitTest tests[] = {
		CASE(directories_have_the_mode_and_links_asked_for),
		CASE(a_directory_with_content_stays),
		CASE(a_full_disk_lets_directories_go),
		CASE(targets_of_every_length_come_back),
		CASE(altered_targets_are_noticed),
		CASE(special_files_and_hard_links),
		CASE(hard_links_of_long_links_keep_their_tails),
		CASE(an_unlinked_file_lives_as_long_as_it_is_open),
		CASE(what_cannot_be_made_leaves_nothing),
		CASE(a_cursor_sees_each_name_once_and_seeks),
		CASE(names_that_do_not_open_are_left_out_with_one_alarm),
		CASE(figures),
	};
	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
