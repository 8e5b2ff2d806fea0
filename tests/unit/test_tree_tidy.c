/* fs/store/tree_tidy: sidecars that a kill left go, those that are needed stay, whatever fails. */
#include "tests/unit/tree_place.h"

#include <string.h>

#define ORPHANS 6

static const char *const orphans[ORPHANS] = {
	"~AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.n",
	"~BBBBBBBBBBBBBBBBBBBBBA.0",
	"~BBBBBBBBBBBBBBBBBBBBBA.1",
	"~CCCCCCCCCCCCCCCCCCCCCA.0",
	"~DDDDDDDDDDDDDDDDDDDDDA.b",
	"~DDDDDDDDDDDDDDDDDDDDDA.c",
};

static void plant(const struct dir *d)
{
	for (int i = 0; i < ORPHANS; i++)
		if (symlinkat("left", d->fd, orphans[i]) < 0)
			assert_int_equal(errno, EEXIST);
}

static unsigned planted(const struct dir *d)
{
	unsigned count = 0;
	for (int i = 0; i < ORPHANS; i++)
		count += faccessat(d->fd, orphans[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	return count;
}

/* A long name, a link with a long name and target, one with a short name and a long target. */
static void fill(struct dir *d, char target[static 4001])
{
	struct stat st;
	struct name a = sealed(d, long_name('l')), b = sealed(d, "short");
	memset(target, 't', 4000);
	target[4000] = 0;
	make_file(d, long_name('f'), "");
	assert_int_equal(tree_symlink(d, &a, target, NULL, &st), 0);
	assert_int_equal(tree_symlink(d, &b, target, NULL, &st), 0);
}

static void check_filled(struct dir *d, const char *target)
{
	char got[4096];
	struct name names[] = {sealed(d, long_name('l')), sealed(d, "short")};
	struct stat st;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(tree_readlink(d, names[i].lower, got, sizeof(got)), 4000);
		assert_memory_equal(got, target, 4000);
	}
	assert_int_equal(stat_of(d, long_name('f'), &st), 0);
	char plain[NAME_PLAIN_MAX + 1];
	struct name f = sealed(d, long_name('f'));
	assert_int_equal(name_open(d, f.lower, plain), 0);
}

static void list(struct dir *d)
{
	struct tree_cursor *c;
	struct tree_entry e;
	int64_t at = 0;
	assert_int_equal(tree_cursor_open(d, &c), 0);
	int r;
	while ((r = tree_cursor_next(c, at, &e)) > 0)
		at = e.next;
	assert_int_equal(r, 0);
	tree_cursor_close(c);
}

static void a_listing_removes_what_nothing_needs(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	char target[4001];
	struct trash *t = with_trash(p);
	assert_non_null(t);
	make_dir(p->root, "d", &d);
	fill(d, target);
	unsigned before = lower_count(d, true);
	plant(d);
	list(d);
	assert_int_equal(planted(d), 0);
	assert_int_equal(lower_count(d, true), before);
	check_filled(d, target);
	/* once is enough: what comes later is not left by a kill */
	plant(d);
	list(d);
	assert_int_equal(planted(d), ORPHANS);
	dir_put(d);
	without_trash(p);
}

static void without_a_trash_nothing_is_removed(void **state)
{
	struct store_place *p = *state;
	plant(p->root);
	list(p->root);
	assert_int_equal(planted(p->root), ORPHANS);
}

static void whatever_fails_what_is_needed_stays(void **state)
{
	struct store_place *p = *state;
	struct dir *d;
	char target[4001];
	struct trash *t = with_trash(p);
	assert_non_null(t);
	make_dir(p->root, "d", &d);
	fill(d, target);
	for (unsigned at = 1;; at++) {
		d->tidied = false;
		plant(d);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at, -EIO, true);
		tree_tidy(d);
		bool hit = fail_lower_hit(&p->fail);
		disarm(p);
		check_filled(d, target);
		if (!hit)
			break;
	}
	assert_int_equal(planted(d), 0);
	dir_put(d);
	without_trash(p);
}

/* A link whose continuation cannot be told might need any of them. */
static void beside_a_damaged_link_all_stay(void **state)
{
	struct store_place *p = *state;
	char text[1002];
	struct trash *t = with_trash(p);
	assert_non_null(t);
	struct name n = sealed(p->root, "damaged");
	memset(text, '!', sizeof(text) - 1);
	text[1001] = 0;
	assert_int_equal(symlinkat(text, p->root->fd, n.lower), 0);
	plant(p->root);
	tree_tidy(p->root);
	assert_int_equal(planted(p->root), ORPHANS);
	without_trash(p);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
#define CASE(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)
	const struct CMUnitTest tests[] = {
		CASE(a_listing_removes_what_nothing_needs),
		CASE(without_a_trash_nothing_is_removed),
		CASE(whatever_fails_what_is_needed_stays),
		CASE(beside_a_damaged_link_all_stay),
	};
	return cmocka_run_group_tests_name("tree_tidy", tests, NULL, NULL);
}
