#include "keymgmt/base/pool.h"

#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define COUNT 20000

struct one {
	uint8_t *at;
	size_t size;
	uint8_t fill;
};

static bool holds(const struct one *o)
{
	for (size_t n = 0; n < o->size; n++)
		if (o->at[n] != o->fill)
			return false;
	return true;
}

static void give(struct pool *p, struct one *o)
{
	assert_true(holds(o));
	pool_free(p, o->at, o->size);
	o->at = NULL;
}

static void take(struct pool *p, struct one *o, unsigned *seed)
{
	o->size = 1 + (size_t)rand_r(seed) % POOL_OBJECT_MAX;
	o->fill = (uint8_t)rand_r(seed);
	o->at = pool_new(p, o->size);
	assert_non_null(o->at);
	assert_int_equal((uintptr_t)o->at % 8, 0);
	memset(o->at, o->fill, o->size);
}

/* In a random order, some again and again: each keeps its bytes until it is freed. */
static void objects_are_their_own(void **state)
{
	(void)state;
	struct pool p = {0};
	struct one *all = calloc(COUNT, sizeof(*all));
	unsigned seed = 1;
	assert_non_null(all);
	for (size_t n = 0; n < COUNT; n++)
		take(&p, &all[n], &seed);
	for (size_t n = 0; n < 5 * (size_t)COUNT; n++) {
		struct one *o = &all[(size_t)rand_r(&seed) % COUNT];
		if (o->at)
			give(&p, o);
		else
			take(&p, o, &seed);
	}
	for (size_t n = 0; n < COUNT; n++)
		if (all[n].at)
			give(&p, &all[n]);
#if !POOL_BY_MALLOC
	assert_int_equal(p.chunks, 1);
#endif
	pool_done(&p);
	free(all);
	pool_free(&p, NULL, 8);
}

#if !POOL_BY_MALLOC
/* Every size fills a chunk to its end, and stays within it. */
static void no_byte_of_a_chunk_is_lost(void **state)
{
	(void)state;
	for (size_t size = 1; size <= POOL_OBJECT_MAX; size++) {
		struct pool p = {0};
		size_t rounded = (size + 7) / 8 * 8, room = (POOL_CHUNK_BYTES - 48) / rounded;
		uint8_t *first = pool_new(&p, size), *last = first, *other;
		assert_non_null(first);
		for (size_t n = 1; n < room; n++)
			last = pool_new(&p, size);
		assert_int_equal(p.chunks, 1);
		assert_true(last >= first && last + size <= first - 48 + POOL_CHUNK_BYTES);
		other = pool_new(&p, size);
		assert_int_equal(p.chunks, 2);
		/* What is freed in a full chunk is what comes next. */
		pool_free(&p, first, size);
		assert_ptr_equal(pool_new(&p, size), first);
		pool_free(&p, other, size);
		for (size_t n = 0; n < room; n++)
			pool_free(&p, first + n * rounded, size);
		assert_int_equal(p.chunks, 1);
		pool_done(&p);
	}
}

static size_t resident(const void *chunk)
{
	unsigned char pages[POOL_CHUNK_BYTES / 4096];
	size_t count = 0;
	if (mincore((void *)(uintptr_t)chunk, POOL_CHUNK_BYTES, pages) < 0)
		return 0; /* not mapped any more */
	for (size_t n = 0; n < sizeof(pages); n++)
		count += pages[n] & 1;
	return count;
}

static void an_empty_chunk_goes_back_at_once(void **state)
{
	(void)state;
	struct pool p = {0};
	uint8_t *objects[3][51];
	for (size_t c = 0; c < 3; c++)
		for (size_t n = 0; n < 51; n++)
			objects[c][n] = memset(pool_new(&p, 640), 1, 640);
	assert_int_equal(p.chunks, 3);
	uint8_t *chunks[3];
	for (size_t c = 0; c < 3; c++) {
		chunks[c] = objects[c][0] - 48;
		assert_int_equal(resident(chunks[c]), 8);
	}
	for (size_t c = 0; c < 3; c++)
		for (size_t n = 0; n < 50; n++)
			pool_free(&p, objects[c][n], 640);
	assert_int_equal(p.chunks, 3);
	for (size_t c = 0; c < 3; c++)
		pool_free(&p, objects[c][50], 640);
	assert_int_equal(p.chunks, 1);
	assert_int_equal(resident(chunks[1]) + resident(chunks[2]), 0);
	/* The one that is kept serves any size. */
	uint8_t *small = pool_new(&p, 8);
	assert_ptr_equal(small, chunks[0] + 48);
	pool_free(&p, small, 8);
	pool_done(&p);
	assert_int_equal(resident(chunks[0]), 0);
}
#endif

static void tables_are_of_zeros(void **state)
{
	(void)state;
	const size_t bytes = 1 << 20;
	uint8_t *p = pool_pages_new(bytes);
	assert_non_null(p);
	for (size_t n = 0; n < bytes; n++)
		assert_int_equal(p[n], 0);
	pool_pages_free(p, bytes);
	pool_pages_free(NULL, bytes);
#if !POOL_BY_MALLOC
	assert_null(pool_pages_new(SIZE_MAX / 2));
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_their_own),
#if !POOL_BY_MALLOC
		cmocka_unit_test(no_byte_of_a_chunk_is_lost),
		cmocka_unit_test(an_empty_chunk_goes_back_at_once),
#endif
		cmocka_unit_test(tables_are_of_zeros),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
