/* Offset arithmetic of regular files, exhaustively over the first groups and around every kind of
 * boundary. */
#include "fs/store/block_map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define PAGE ((uint64_t)BLOCK_MAP_BLOCK)

static void check_page(uint64_t page, enum block_map_use use, uint64_t block)
{
	enum block_map_use is = BLOCK_MAP_HEADER;
	uint64_t of = UINT64_MAX;
	assert_int_equal(block_map_page(page * PAGE, &is, &of), 0);
	assert_int_equal(is, use);
	assert_int_equal(of, block);
}

/* Walks the pages of the lower file in order, as a reader without arithmetic would. */
static void test_walk_of_pages(void **state)
{
	(void)state;
	uint64_t page = 0, block = 0;
	for (uint64_t group = 0; group < BLOCK_MAP_HEADER_GROUPS + BLOCK_MAP_PAGE_GROUPS + 3;
		group++) {
		if (group == BLOCK_MAP_HEADER_GROUPS ||
			group == BLOCK_MAP_HEADER_GROUPS + BLOCK_MAP_PAGE_GROUPS) {
			unsigned n = block_map_presence_page(group);
			assert_int_equal(n, group == BLOCK_MAP_HEADER_GROUPS ? 0 : 1);
			assert_int_equal(block_map_presence_bit(group), 0);
			assert_int_equal(block_map_presence_first(n), group);
			assert_int_equal(block_map_presence_offset(n), page * PAGE);
			check_page(page, BLOCK_MAP_PRESENCE, block);
			page++;
		}
		assert_int_equal(block_map_tag_offset(group), group ? page * PAGE : 2048);
		assert_int_equal(block_map_group_first(group), block);
		check_page(page, group ? BLOCK_MAP_TAGS : BLOCK_MAP_HEADER, block);
		page++;
		unsigned blocks = block_map_group_blocks(group);
		assert_int_equal(blocks, group ? 128 : 64);
		for (unsigned i = 0; i < blocks; i++, block++, page++) {
			assert_int_equal(block_map_group(block), group);
			assert_int_equal(block_map_index(block), i);
			assert_int_equal(block_map_data_offset(block), page * PAGE);
			check_page(page, BLOCK_MAP_DATA, block);
		}
	}
	enum block_map_use use;
	uint64_t last = block_map_data_offset(BLOCK_MAP_BLOCKS - 1);
	check_page(last / PAGE, BLOCK_MAP_DATA, BLOCK_MAP_BLOCKS - 1);
	assert_int_equal(block_map_page(last + PAGE, &use, &block), -ERANGE);
	assert_int_equal(block_map_page(UINT64_MAX, &use, &block), -ERANGE);
}

static void check_size(uint64_t size)
{
	uint64_t length = block_map_length(size), back = UINT64_MAX;
	assert_int_equal(block_map_size(length, &back), 0);
	assert_int_equal(back, size);
	if (size) {
		uint64_t end = block_map_data_offset((size - 1) / PAGE) + PAGE;
		assert_int_equal(length, end + size % PAGE);
	}
}

static void test_size_and_length_are_inverse(void **state)
{
	(void)state;
	for (uint64_t size = 0; size < 3 * PAGE; size++)
		check_size(size);
	static const uint64_t groups[] = {0, 1, 2, 3, 1022, 1023, 1024, 1025, 1026, 33534, 33535,
		33536, 33537, 66047, 66048, 66049, BLOCK_MAP_GROUPS - 2, BLOCK_MAP_GROUPS - 1};
	static const int64_t bytes[] = {
		-4097, -4096, -4095, -2, -1, 0, 1, 2, 2048, 4095, 4096, 4097};
	for (size_t g = 0; g < sizeof(groups) / sizeof(*groups); g++)
		for (unsigned i = 0; i <= block_map_group_blocks(groups[g]); i++)
			for (size_t b = 0; b < sizeof(bytes) / sizeof(*bytes); b++) {
				uint64_t size = (block_map_group_first(groups[g]) + i) * PAGE +
						(uint64_t)bytes[b];
				if ((int64_t)size >= 0 && size <= BLOCK_MAP_SIZE_MAX)
					check_size(size);
			}
	check_size(BLOCK_MAP_SIZE_MAX);
}

/* Every length of the first groups either stands for exactly one size or is refused. */
static void test_every_length(void **state)
{
	(void)state;
	uint64_t size = UINT64_MAX, expected = 0;
	assert_int_equal(block_map_size(0, &size), 0);
	assert_int_equal(size, 0);
	for (uint64_t length = 1; length < 200 * PAGE; length++) {
		uint64_t got = UINT64_MAX;
		int rc = block_map_size(length, &got);
		if (length == block_map_length(expected)) {
			assert_int_equal(rc, 0);
			assert_int_equal(got, expected);
			expected++;
		} else {
			/* Sizes that end a block: the page's end, before those that end inside the
			 * next one. */
			if (rc) {
				assert_int_equal(rc, -EBADMSG);
				assert_int_equal(got, UINT64_MAX);
			} else {
				assert_int_equal(block_map_length(got), length);
			}
		}
	}
}

static void test_bad_lengths(void **state)
{
	(void)state;
	const uint64_t presence = block_map_presence_offset(0);
	const uint64_t bad[] = {1, 4095, 4097, 8191, block_map_tag_offset(1) + PAGE,
		block_map_tag_offset(1) + PAGE + 1, block_map_tag_offset(5) + PAGE, presence + PAGE,
		presence + 2 * PAGE, presence + 2 * PAGE + 7,
		block_map_length(BLOCK_MAP_SIZE_MAX) + PAGE, UINT64_MAX, UINT64_MAX - PAGE};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint64_t size = 77;
		assert_int_equal(block_map_size(bad[i], &size), -EBADMSG);
		assert_int_equal(size, 77);
	}
}

static void test_fixed_points(void **state)
{
	(void)state;
	assert_int_equal(block_map_length(0), 4096);
	assert_int_equal(block_map_length(1), 8193);
	assert_int_equal(block_map_length(4095), 8192 + 4095);
	assert_int_equal(block_map_length(4096), 8192);
	assert_int_equal(block_map_length(4097), 12289);
	assert_int_equal(block_map_length(64 * PAGE), 65 * PAGE);
	assert_int_equal(block_map_length(64 * PAGE + 1), 67 * PAGE + 1);
	assert_int_equal(block_map_presence_offset(0), 132032 * PAGE);
	assert_int_equal(block_map_presence_offset(1), (132032 + 4194049) * PAGE);
	/* Within what ext4 can address: 2^32 pages less one. */
	assert_true(block_map_length(BLOCK_MAP_SIZE_MAX) < (UINT64_C(1) << 32) * PAGE - PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_of_pages),
		cmocka_unit_test(test_size_and_length_are_inverse),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_bad_lengths),
		cmocka_unit_test(test_fixed_points),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
