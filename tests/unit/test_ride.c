/* What is appended a little at a time, each flushed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/redo_place.h"

#include <linux/falloc.h>
#include <sys/stat.h>
#include <time.h>

#define LEN 1000u

static uint8_t plain[300 * LEN];

static unsigned file_syncs(void)
{
	return atomic_load(&redo_place_disk.syncs) - atomic_load(&redo_place_disk.journal_syncs);
}

/* Longer than change times can be the same. */
static void wait_for_the_clock(void)
{
	const struct timespec t = {.tv_nsec = 25000000};
	nanosleep(&t, NULL);
}

static void append(struct file *f, size_t *size)
{
	redo_place_write(f, plain + *size, LEN, *size);
	*size += LEN;
	assert_int_equal(file_sync(f, false), 0);
}

/* A new file that has been appended to until it rides, and whose inode is known to be clean. */
static struct file *make(struct store_place *p, size_t *size)
{
	redo_place_pattern(plain, sizeof(plain), 1);
	*size = 0;
	struct file *f = redo_place_create(p, "log");
	struct lower_extent extent;
	if (lower_posix()->ops->fiemap(lower_posix(), file_fd(f), 0, &extent, 1) < 0)
		skip();
	file_keep_time(f, true); /* as the kernel's are */
	while (*size < 12 * LEN)
		append(f, size);
	wait_for_the_clock();
	append(f, size);
	return f;
}

static unsigned allocations(const struct store_place *p)
{
	return atomic_load(&p->fail.total[FAIL_LOWER_FALLOCATE]);
}

static void one_flush_has_all(void **state)
{
	struct store_place *p = *state;
	static uint8_t raw[1u << 21];
	struct stat before, after;
	size_t size, first;
	struct file *f = make(p, &size);
	unsigned syncs = file_syncs(), taken = allocations(p);
	unsigned journal = atomic_load(&redo_place_disk.journal_syncs);
	first = size;
	for (unsigned n = 1; n <= 30; n++) {
		append(f, &size);
		assert_int_equal(file_syncs(), syncs);
		assert_int_equal(atomic_load(&redo_place_disk.journal_syncs), journal + n);
	}
	assert_int_equal(allocations(p), taken);
	redo_place_expect(f, plain, size);
	/* It is in the record alone. */
	size_t len = redo_place_raw(p, "log", raw, sizeof(raw));
	assert_true(len > block_map_length(size));
	for (size_t at = block_map_length(first); at < len; at++)
		assert_int_equal(raw[at], 0);
	assert_int_equal(file_stat(f, &before), 0);
	redo_place_crash(p, &f, 1);
	redo_place_mount(p);
	f = redo_place_open(p, "log");
	redo_place_expect(f, plain, size);
	assert_int_equal(file_stat(f, &after), 0);
	assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
	assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
	file_put(f);
	assert_int_equal(p->alarms, 0);
}

/* Whoever has not opened the file takes its size from the lower length. */
static void a_close_leaves_length_and_time(void **state)
{
	struct store_place *p = *state;
	struct stat open, closed;
	size_t size;
	struct file *f = make(p, &size);
	append(f, &size);
	assert_int_equal(file_stat(f, &open), 0);
	file_put(f);
	AUTO_CLOSE fd = redo_place_fd(p, "log");
	assert_int_equal(fstat(fd, &closed), 0);
	assert_int_equal(closed.st_size, block_map_length(size));
	assert_int_equal(closed.st_mtim.tv_sec, open.st_mtim.tv_sec);
	assert_int_equal(closed.st_mtim.tv_nsec, open.st_mtim.tv_nsec);
	f = redo_place_open(p, "log");
	redo_place_expect(f, plain, size);
	file_put(f);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	f = redo_place_open(p, "log");
	redo_place_expect(f, plain, size);
	file_put(f);
}

/* A size that ends with a block has a shorter lower length than the one before: a record that a
 * power cut can take is not what it is cut for. */
static void a_close_is_durable_before_it_cuts(void **state)
{
	struct store_place *p = *state;
	size_t size;
	struct file *f = make(p, &size);
	append(f, &size);
	redo_place_write(f, plain + size, PAGE - size % PAGE, size);
	size += PAGE - size % PAGE;
	assert_int_equal(file_commit(f), 0);
	unsigned journal = atomic_load(&redo_place_disk.journal_syncs);
	file_put(f);
	assert_int_equal(atomic_load(&redo_place_disk.journal_syncs), journal + 1);
	f = redo_place_open(p, "log");
	redo_place_expect(f, plain, size);
	file_put(f);
}

/* What somebody has allocated stays his. */
static void what_is_allocated_stays(void **state)
{
	struct store_place *p = *state;
	const uint64_t much = 4u << 20;
	struct stat st;
	size_t size;
	struct file *f = make(p, &size);
	for (int k = 0; k < 2; k++) {
		append(f, &size);
		assert_int_equal(file_range_change(f, FALLOC_FL_KEEP_SIZE, 0, much), 0);
		append(f, &size);
		append(f, &size);
		append(f, &size);
		assert_int_equal(redo_checkpoint(&p->store), 0);
		assert_int_equal(file_stat(f, &st), 0);
		assert_true((uint64_t)st.st_blocks * 512 >= much);
		file_put(f);
		f = redo_place_open(p, "log");
	}
	redo_place_expect(f, plain, size);
	file_put(f);
}

/* Much at once goes to its place, and so does what follows it. */
static void much_does_not_ride(void **state)
{
	struct store_place *p = *state;
	size_t size;
	struct file *f = make(p, &size);
	unsigned syncs = file_syncs();
	redo_place_write(f, plain + size, 100 * LEN, size);
	size += 100 * LEN;
	assert_int_equal(file_sync(f, false), 0);
	assert_true(file_syncs() > syncs);
	redo_place_expect(f, plain, size);
	file_put(f);
}

/* A hole that is punched gives its space back. */
static void a_hole_has_no_space(void **state)
{
	struct store_place *p = *state;
	size_t size;
	struct file *f = make(p, &size);
	while (size < 30 * LEN)
		append(f, &size);
	assert_int_equal(
		file_range_change(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * PAGE, PAGE),
		0);
	assert_int_equal(file_sync(f, false), 0);
	unsigned syncs = file_syncs();
	redo_place_write(f, plain + (size_t)5 * PAGE, PAGE, (uint64_t)5 * PAGE);
	assert_int_equal(file_sync(f, true), 0);
	assert_int_equal(file_syncs() - syncs, 1); /* it went to its place */
	redo_place_expect(f, plain, size);
	file_put(f);
}

/* What a recovery needs is there before a record depends on it. */
static void space_is_durable(void **state)
{
	struct store_place *p = *state;
	size_t size;
	struct file *f = make(p, &size);
	unsigned times = 0;
	for (int k = 0; k < 20; k++) {
		unsigned taken = allocations(p), syncs = file_syncs();
		redo_place_write(f, plain + size, LEN, size);
		size += LEN;
		assert_int_equal(file_sync(f, true), 0);
		assert_int_equal(file_syncs() - syncs, allocations(p) - taken);
		times += allocations(p) - taken;
		if (k % 10 == 5) /* it gives back what was there in advance */
			assert_int_equal(redo_checkpoint(&p->store), 0);
	}
	assert_in_range(times, 1, 4);
	file_put(f);
}

static struct store_place *place;

/* A filesystem keeps what it found before the disk was full. */
static void take_a_part(void)
{
	AUTO_CLOSE fd = redo_place_fd(place, "log");
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(fallocate(fd, 0, st.st_size, 40000), 0);
}

/* Nothing of it is refused that would not be without: space is taken before. */
static void a_full_disk_takes_no_promise(void **state)
{
	struct store_place *p = *state;
	size_t size;
	struct file *f = make(p, &size);
	file_put(f);
	f = redo_place_open(p, "log");
	for (int k = 0; k < 3; k++)
		append(f, &size);
	fail_lower_arm(&p->fail, FAIL_LOWER_FALLOCATE, 1, -ENOSPC, false);
	place = p;
	p->fail.instead = take_a_part;
	for (int k = 0; k < 120; k++)
		append(f, &size);
	/* A size that ends with a block is not made right by what comes behind it. */
	for (size_t len = PAGE - size % PAGE; size < 30 * PAGE + 120 * LEN; len = PAGE) {
		redo_place_write(f, plain + size, len, size);
		size += len;
		assert_int_equal(file_sync(f, false), 0);
	}
	assert_true(fail_lower_hit(&p->fail));
	p->fail.instead = NULL;
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
	AUTO_CLOSE fd = redo_place_fd(p, "log");
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, block_map_length(size));
	redo_place_expect(f, plain, size);
	file_put(f);
	assert_int_equal(redo_checkpoint(&p->store), 0);
}

static void the_time_is_that_of_the_last_commit(void **state)
{
	struct store_place *p = *state;
	const struct timespec told = {2000000000, 5}, set[2] = {{3, 3}, {4, 4}};
	const uint8_t home[DIR_ID_LEN] = {7};
	struct stat st;
	size_t size;
	struct file *f = make(p, &size);
	redo_place_write(f, plain + size, LEN, size);
	assert_int_equal(file_tell_time(f, &told), 0);
	assert_int_equal(file_sync(f, false), 0);
	size += LEN;
	file_keep_time(f, false);
	/* A commit that writes no content. */
	assert_int_equal(file_home_add(f, home), 0);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, told.tv_sec);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(fstat(file_fd(f), &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, told.tv_sec);
	/* What is set stands, also through a close. */
	file_keep_time(f, true);
	append(f, &size);
	wait_for_the_clock();
	redo_place_write(f, plain + size, LEN, size);
	size += LEN;
	assert_int_equal(file_tell_time(f, &told), 0);
	assert_int_equal(file_sync(f, false), 0);
	file_keep_time(f, false);
	assert_int_equal(file_set_times(f, set), 0);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 4);
	file_put(f);
	AUTO_CLOSE fd = redo_place_fd(p, "log");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 4);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, redo_place_make, redo_place_remove)
	const struct CMUnitTest tests[] = {
		T(one_flush_has_all),
		T(a_close_leaves_length_and_time),
		T(a_close_is_durable_before_it_cuts),
		T(what_is_allocated_stays),
		T(much_does_not_ride),
		T(a_hole_has_no_space),
		T(space_is_durable),
		T(a_full_disk_takes_no_promise),
		T(the_time_is_that_of_the_last_commit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
