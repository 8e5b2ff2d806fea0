/* fs/erase/overwrite.c: which bytes are written, in which order, and what is concluded, for maps
 * that a test makes up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/erase/overwrite.h"
#include "keymgmt/crypto.h"
#include "tests/unit/fail_lower.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <stdio.h>
#include <string.h>

#define P 4096u
#define DELAYED (FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNKNOWN)
#define UNWRITTEN FIEMAP_EXTENT_UNWRITTEN
#define SHARED FIEMAP_EXTENT_SHARED
#define MAX_PAGES 1024

/* In pages. A map ends at length 0. */
struct piece {
	unsigned logical, physical, length, flags;
};

static struct {
	struct lower_ops ops;
	struct lower lower;
	const struct piece *maps[2]; /* before, after; NULL: no FIEMAP */
	unsigned map_calls;
	unsigned written[MAX_PAGES]; /* order of the last write, 1.. */
	unsigned writes, syncs, first_sync_after;
} fake;

static int fake_fiemap(struct lower *l, int fd, uint64_t offset, struct lower_extent *ret, int n)
{
	(void)l, (void)fd;
	if (!fake.maps[0])
		return -EOPNOTSUPP;
	/* A load starts at offset 0. */
	fake.map_calls += offset == 0;
	const struct piece *p = fake.maps[fake.map_calls > 1];
	int found = 0;
	for (; p->length && found < n; p++)
		if ((uint64_t)(p->logical + p->length) * P > offset)
			ret[found++] = (struct lower_extent){(uint64_t)p->logical * P,
				(uint64_t)p->physical * P, (uint64_t)p->length * P,
				p->flags | (p[1].length ? 0 : FIEMAP_EXTENT_LAST)};
	return found;
}

static ssize_t fake_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	(void)l;
	assert_int_equal(n, 1);
	fake.writes++;
	for (uint64_t at = offset / P; at * P < offset + iov->iov_len && at < MAX_PAGES; at++)
		fake.written[at] = fake.writes;
	return lower_posix()->ops->pwritev(lower_posix(), fd, iov, n, offset);
}

static int fake_fsync(struct lower *l, int fd, bool data_only)
{
	(void)l, (void)fd;
	assert_true(data_only);
	if (fake.syncs++ == 0)
		fake.first_sync_after = fake.writes;
	return 0;
}

static uint8_t buffer[OVERWRITE_STEP] __attribute__((aligned(4096)));

static void fake_init(const struct piece *before, const struct piece *after)
{
	memset(&fake, 0, sizeof(fake));
	fake.ops = *lower_posix()->ops;
	fake.ops.fiemap = fake_fiemap;
	fake.ops.pwritev = fake_pwritev;
	fake.ops.fsync = fake_fsync;
	fake.lower.ops = &fake.ops;
	fake.maps[0] = before;
	fake.maps[1] = after ? after : before;
}

static int new_file(uint64_t size)
{
	char path[] = "/var/tmp/test_overwrite.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static const struct piece plain[] = {{0, 100, 3, 0}, {0, 0, 0, 0}},
			  with_hole[] = {{0, 100, 1, 0}, {2, 200, 1, 0}, {0, 0, 0, 0}},
			  late[] = {{0, 0, 3, DELAYED}, {0, 0, 0, 0}},
			  late_placed[] = {{0, 300, 3, 0}, {0, 0, 0, 0}},
			  half_late[] = {{0, 100, 1, 0}, {1, 0, 2, DELAYED}, {0, 0, 0, 0}},
			  half_late_after[] = {{0, 100, 1, 0}, {1, 50, 2, 0}, {0, 0, 0, 0}},
			  unwritten[] = {{0, 100, 3, UNWRITTEN}, {0, 0, 0, 0}},
			  behind_end[] = {{0, 100, 3, 0}, {3, 103, 5, UNWRITTEN},
				  {8, 0, 9, DELAYED}, {0, 0, 0, 0}},
			  behind_end_after[] = {{0, 100, 8, 0}, {0, 0, 0, 0}},
			  cloned[] = {{0, 100, 1, 0}, {1, 101, 1, SHARED}, {2, 102, 1, 0},
				  {0, 0, 0, 0}},
			  packed[] = {{0, 100, 3, FIEMAP_EXTENT_ENCODED}, {0, 0, 0, 0}},
			  moved[] = {{0, 100, 1, 0}, {1, 500, 2, 0}, {0, 0, 0, 0}},
			  lost[] = {{0, 100, 1, 0}, {0, 0, 0, 0}},
			  apart[] = {{0, 100, 1, 0}, {1, 101, 1, 0}, {2, 102, 1, 0}, {0, 0, 0, 0}},
			  empty[] = {{0, 0, 0, 0}};

static const struct scene {
	const char *name;
	const struct piece *before, *after;
	unsigned pages, bytes_pages, syncs;
	const char *written; /* a page each: w or - */
	bool never, elsewhere;
} scenes[] = {
	{"plain", plain, plain, 3, 3, 1, "www", false, false},
	{"a hole is not filled", with_hole, with_hole, 3, 2, 1, "w-w", false, false},
	{"never left the cache", late, late, 3, 0, 0, "www", true, false},
	{"left the cache meanwhile", late, late_placed, 3, 3, 1, "www", false, false},
	{"partly in the cache", half_late, half_late_after, 3, 3, 1, "www", false, false},
	{"unwritten may be on its way", unwritten, plain, 3, 3, 1, "www", false, false},
	{"behind the end", behind_end, behind_end_after, 3, 8, 1, "wwwwwwww-", false, false},
	{"cloned", cloned, cloned, 3, 2, 1, "w-w", false, true},
	{"compressed", packed, packed, 3, 3, 1, "www", false, true},
	{"moved", plain, moved, 3, 3, 1, "www", false, true},
	{"gone from the map", plain, lost, 3, 3, 1, "www", false, true},
	{"joined", apart, plain, 3, 3, 1, "www", false, false},
	{"split", plain, apart, 3, 3, 1, "www", false, false},
	{"nothing", empty, empty, 0, 0, 0, "-", true, false},
	{"only a hole", empty, empty, 9, 0, 0, "---------", true, false},
};

static void scenes_hold(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		const struct scene *s = &scenes[i];
		struct overwrite_result got = {0};
		AUTO_CLOSE fd = new_file((uint64_t)s->pages * P);
		fake_init(s->before, s->after);
		struct overwrite o = {&fake.lower, buffer, NULL};
		int r = overwrite_file(&o, fd, &got);
		if (r || got.never_on_disk != s->never || got.elsewhere != s->elsewhere ||
			got.unmapped || got.bytes != (uint64_t)s->bytes_pages * P ||
			fake.syncs != s->syncs)
			fail_msg("%s: %d never %d elsewhere %d bytes %llu syncs %u", s->name, r,
				got.never_on_disk, got.elsewhere, (unsigned long long)got.bytes,
				fake.syncs);
		for (size_t page = 0; s->written[page]; page++)
			if ((fake.written[page] > 0) != (s->written[page] == 'w'))
				fail_msg("%s: page %zu", s->name, page);
	}
}

static void header_dies_first(void **state)
{
	(void)state;
	const struct piece big[] = {{0, 1000, 300, 0}, {0, 0, 0, 0}};
	struct overwrite_result got = {0};
	AUTO_CLOSE fd = new_file(300 * P);
	fake_init(big, NULL);
	struct overwrite o = {&fake.lower, buffer, NULL};
	assert_int_equal(overwrite_file(&o, fd, &got), 0);
	assert_int_equal(fake.first_sync_after, 1); /* the header's page, and nothing with it */
	assert_int_equal(fake.written[0], 1);
	assert_int_equal(fake.written[1], 2);
	assert_int_equal(fake.written[299], 3);
	assert_int_equal(fake.syncs, 2);
	assert_int_equal(got.bytes, 300 * P);
}

static void many_extents(void **state)
{
	(void)state;
	static struct piece many[201];
	for (unsigned i = 0; i < 200; i++)
		many[i] = (struct piece){i * 3, 7000 + i * 5, 1, 0};
	struct overwrite_result got = {0};
	AUTO_CLOSE fd = new_file(600 * P);
	fake_init(many, NULL);
	struct overwrite o = {&fake.lower, buffer, NULL};
	assert_int_equal(overwrite_file(&o, fd, &got), 0);
	assert_int_equal(got.bytes, 200 * P);
	assert_false(got.elsewhere);
	for (unsigned page = 0; page < 600; page++)
		assert_int_equal(fake.written[page] > 0, page % 3 == 0);
}

static void without_maps(void **state)
{
	(void)state;
	struct overwrite_result got = {0};
	AUTO_CLOSE fd = new_file(5000);
	fake_init(NULL, NULL);
	struct overwrite o = {&fake.lower, buffer, NULL};
	assert_int_equal(overwrite_file(&o, fd, &got), 0);
	assert_true(got.unmapped);
	assert_int_equal(got.bytes, 5000);
	assert_int_equal(fake.syncs, 1);

	/* Sparse: only what is not zero. */
	AUTO_CLOSE sparse = new_file(1000 * P);
	uint8_t page[P];
	memset(page, 7, sizeof(page));
	assert_int_equal(pwrite(sparse, page, P, 10 * P), P);
	assert_int_equal(pwrite(sparse, page, P, 900 * P), P);
	fake_init(NULL, NULL);
	got = (struct overwrite_result){0};
	assert_int_equal(overwrite_file(&o, sparse, &got), 0);
	assert_int_equal(got.bytes, 2 * P);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(fake.written[i] > 0, i == 10 || i == 900);
}

static void file_id(void **state)
{
	(void)state;
	static const struct {
		int slot; /* -1: none */
		int expect;
	} cases[] = {{0, 1}, {1, 1}, {-1, 0}};
	for (size_t i = 0; i < 3; i++) {
		uint8_t page[P] = {0}, expected[16] = {0};
		struct overwrite_result got = {0};
		AUTO_CLOSE fd = new_file(3 * P);
		if (cases[i].slot >= 0) {
			uint8_t *slot = page + cases[i].slot * 1024;
			memcpy(slot, "TFSH\1\0\1\0", 8);
			memset(expected, 0xA5, 16);
			memcpy(slot + 8, expected, 16);
		}
		assert_int_equal(pwrite(fd, page, P, 0), P);
		fake_init(plain, NULL);
		struct overwrite o = {&fake.lower, buffer, NULL};
		assert_int_equal(overwrite_file(&o, fd, &got), 0);
		assert_memory_equal(got.file_id, expected, 16);
		assert_int_equal(pread(fd, page, P, 0), P);
		assert_memory_not_equal(page, "TFSH", 4);
	}
}

static void stop_is_obeyed(void **state)
{
	(void)state;
	struct overwrite_result got = {0};
	AUTO_CLOSE fd = new_file(3 * P);
	fake_init(plain, NULL);
	atomic_bool stop = true;
	struct overwrite o = {&fake.lower, buffer, &stop};
	assert_int_equal(overwrite_file(&o, fd, &got), -ECANCELED);
	assert_int_equal(fake.writes, 0);
}

/* The real filesystem: every byte differs, and each failing call is told. */
static void each_call_fails(void **state)
{
	(void)state;
	struct fail_lower f;
	fail_lower_init(&f, lower_posix());
	struct overwrite o = {&f.base, buffer, NULL};
	unsigned n = 1;
	for (;; n++) {
		struct overwrite_result got = {0};
		AUTO_CLOSE fd = new_file(0);
		uint8_t *bytes = malloc(600 * P);
		memset(bytes, 9, 600 * P);
		assert_int_equal(pwrite(fd, bytes, 600 * P, 0), 600 * P);
		assert_int_equal(fsync(fd), 0);
		fail_lower_arm(&f, FAIL_LOWER_ANY, n, -EIO, true);
		int r = overwrite_file(&o, fd, &got);
		assert_int_equal(pread(fd, bytes, 600 * P, 0), 600 * P);
		size_t same = 0;
		for (size_t i = 0; i < 600; i++)
			same += bytes[i * P] == 9 && bytes[i * P + 1] == 9 && bytes[i * P + 2] == 9;
		free(bytes);
		if (fail_lower_hit(&f)) {
			/* Reading the file id is the one call that may fail without harm. */
			assert_true(r == -EIO || (r == 0 && same == 0));
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(same, 0);
		break;
	}
	assert_in_range(n, 8, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scenes_hold),
		cmocka_unit_test(header_dies_first),
		cmocka_unit_test(many_extents),
		cmocka_unit_test(without_maps),
		cmocka_unit_test(file_id),
		cmocka_unit_test(stop_is_obeyed),
		cmocka_unit_test(each_call_fails),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("overwrite", tests, NULL, NULL);
}
