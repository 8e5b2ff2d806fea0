/* fs/front/inode.c, inode_each.c: many inodes at once. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/inode_place.h"

#define MANY 100000
#define FIRST ((ino_t)1 << 40) /* no number of a real file */

static struct inode *nth(struct table_place *p, unsigned n)
{
	char plain[32], lower[64];
	snprintf(plain, sizeof(plain), "file-%07u.txt", n);
	snprintf(lower, sizeof(lower), "%044u", n);
	struct inode *i = inode_found(&p->t, p->t.root, plain, lower, FIRST + n, S_IFREG, 1);
	assert_non_null(i);
	return i;
}

struct walked {
	struct table_place *p;
	uint8_t *seen;   /* MANY */
	unsigned forget; /* inodes that go when the first one is visited */
};

/* The first visit takes most inodes away: a table that shrank would bring the others back to where
 * the walk has been. */
static void see(void *context, struct inode *i)
{
	struct walked *w = context;
	for (unsigned n = 0; n < w->forget; n++) {
		struct inode *gone = inode_find(&w->p->t, FIRST + n);
		assert_non_null(gone);
		inode_put(&w->p->t, gone);
		inode_forget(&w->p->t, gone, 1);
	}
	w->forget = 0;
	if (i->ino >= FIRST && i->ino < FIRST + MANY)
		w->seen[i->ino - FIRST] = 1;
}

static void memory_comes_back_and_no_walk_misses_an_inode(void **state)
{
	struct table_place *p = *state;
	const size_t before = p->t.bucket_count;
	for (unsigned n = 0; n < MANY; n++)
		inode_put(&p->t, nth(p, n));
	assert_int_equal(p->t.count, MANY + 1);
	assert_true(p->t.bucket_count >= MANY);
#if !POOL_BY_MALLOC
	/* 128 bytes an inode, a name of 17 and one of 45 bytes with 20 before them;
	 * docs/performance.md. */
	assert_true(p->t.pool.chunks * POOL_CHUNK_BYTES < (size_t)MANY * 220);
#endif
	struct walked w = {.p = p, .seen = calloc(1, MANY), .forget = MANY - 500};
	assert_non_null(w.seen);
	inode_each(&p->t, see, &w);
	for (unsigned n = MANY - 500; n < MANY; n++)
		assert_int_equal(w.seen[n], 1);
	free(w.seen);
	for (unsigned n = MANY - 500; n < MANY; n++)
		inode_forget(&p->t, inode_find(&p->t, FIRST + n), 1);
	assert_int_equal(p->t.walks, 0);
	assert_int_equal(p->t.count, 501); /* inode_find's references are here still */
	for (unsigned n = MANY - 500; n < MANY; n++) {
		struct inode *i = inode_find(&p->t, FIRST + n);
		inode_put(&p->t, i);
		inode_put(&p->t, i);
	}
	assert_int_equal(p->t.count, 1);
	assert_true(p->t.bucket_count <= 4 * before);
#if !POOL_BY_MALLOC
	assert_true(p->t.pool.chunks <= 4);
#endif
}

struct removing {
	struct table_place *p;
	uint8_t *seen; /* of the first LESS */
	bool begun;
};

#define LESS 1000u

static void remove_nth(struct table_place *p, unsigned n)
{
	char lower[64];
	struct inode *i = inode_find(&p->t, FIRST + n);
	assert_non_null(i);
	snprintf(lower, sizeof(lower), "%044u", n);
	inode_name_removed(&p->t, i, p->t.root, lower, true);
	inode_put(&p->t, i);
}

/* The second half is removed while the walk is at the beginning. */
static void see_removed(void *context, struct inode *i)
{
	struct removing *w = context;
	for (unsigned n = LESS / 2; !w->begun && n < LESS; n++)
		remove_nth(w->p, n);
	w->begun = true;
	if (i->ino >= FIRST && i->ino < FIRST + LESS)
		w->seen[i->ino - FIRST] = 1;
}

static void what_was_removed_is_walked_too(void **state)
{
	struct table_place *p = *state;
	uint8_t seen[LESS] = {0};
	static struct inode *all[LESS];
	for (unsigned n = 0; n < LESS; n++)
		all[n] = nth(p, n);
	for (unsigned n = 0; n < LESS / 2; n++)
		remove_nth(p, n);
	struct removing w = {.p = p, .seen = seen};
	inode_each(&p->t, see_removed, &w);
	for (unsigned n = 0; n < LESS; n++)
		assert_int_equal(seen[n], 1);
	for (unsigned n = 0; n < LESS; n++) {
		inode_put(&p->t, all[n]);
		inode_forget(&p->t, all[n], 1);
	}
	assert_null(p->t.detached);
	assert_int_equal(p->t.count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_removed_is_walked_too, setup, teardown),
		cmocka_unit_test_setup_teardown(
			memory_comes_back_and_no_walk_misses_an_inode, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
