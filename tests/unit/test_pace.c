/* fs/front/pace.c: how long to poll, and when another thread is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/front/pace.h"

#include <linux/fuse.h>
#include <string.h>

#define US 1000u
#define MS 1000000u

static void the_window_follows_the_requests(void **state)
{
	/* Waits one after the other, and the window after each, in microseconds. */
	static const struct {
		const char *what;
		uint32_t most, waited[8], after[8];
	} cases[] = {
		{"grows while requests come just too late for it", 50, {30, 30, 30, 30, 50, 50},
			{10, 20, 40, 40, 50, 50}},
		{"stays when it was enough", 50, {30, 30, 30, 5, 39, 40}, {10, 20, 40, 40, 40, 40}},
		{"nothing once a request let us wait", 50, {40, 40, 40, 51, 1000, 20},
			{10, 20, 40, 0, 0, 10}},
		{"never longer than may be", 15, {12, 12, 15, 16}, {10, 15, 15, 0}},
		{"a limit below the first length", 4, {3, 4, 5}, {4, 4, 0}},
		{"off", 0, {1, 10, 100}, {0, 0, 0}},
	};
	(void)state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct pace_window w;
		pace_window_init(&w, cases[c].most * US);
		assert_int_equal(pace_window_length(&w, 0), 0);
		for (size_t k = 0; k < 8 && cases[c].waited[k]; k++) {
			pace_window_came(&w, cases[c].waited[k] * (uint64_t)US);
			if (pace_window_length(&w, 0) != cases[c].after[k] * US)
				fail_msg("%s: step %zu: %u ns", cases[c].what, k,
					pace_window_length(&w, 0));
		}
	}
}

static void who_is_robbed_stops_for_longer_each_time(void **state)
{
	struct pace_window w;
	uint64_t now = 1000ull * MS;
	(void)state;
	pace_window_init(&w, 50 * US);
	for (unsigned k = 0; k < 3; k++)
		pace_window_came(&w, 40 * US);
	assert_int_equal(pace_window_length(&w, now), 40 * US);
	static const uint64_t pauses[] = {5, 10, 20, 40, 80, 80};
	for (size_t k = 0; k < sizeof(pauses) / sizeof(pauses[0]); k++) {
		pace_window_robbed(&w, now);
		assert_int_equal(pace_window_length(&w, now), 0);
		assert_int_equal(pace_window_length(&w, now + pauses[k] * MS - 1), 0);
		now += pauses[k] * MS;
		assert_int_equal(pace_window_length(&w, now), 40 * US);
	}
	/* It was left alone for longer than the last pause. */
	now += 80 * MS;
	pace_window_robbed(&w, now);
	assert_int_equal(pace_window_length(&w, now + 5 * MS), 40 * US);
}

static unsigned kind_of(uint32_t opcode, uint32_t read_size, size_t size)
{
	static char request[65536];
	struct fuse_in_header h = {.opcode = opcode};
	struct fuse_read_in r = {.size = read_size};
	memcpy(request, &h, sizeof(h));
	memcpy(request + sizeof(h), &r, sizeof(r));
	return pace_kind(request, size);
}

static void large_reads_and_writes_are_kinds_of_their_own(void **state)
{
	const size_t head = sizeof(struct fuse_in_header), read = sizeof(struct fuse_read_in);
	(void)state;
	assert_int_equal(kind_of(FUSE_FSYNC, 0, head + 16), FUSE_FSYNC);
	assert_int_equal(kind_of(FUSE_READ, 4096, head + read), FUSE_READ);
	assert_int_equal(kind_of(FUSE_READ, 131072, head + read), 60);
	assert_int_equal(kind_of(FUSE_READ, 131072, head + read - 1), FUSE_READ);
	assert_int_equal(kind_of(FUSE_WRITE, 0, head + 40 + 4096), FUSE_WRITE);
	assert_int_equal(kind_of(FUSE_WRITE, 0, 60000), 61);
	assert_int_equal(kind_of(4096, 0, head), 0); /* CUSE, and whatever comes one day */
	assert_int_equal(kind_of(UINT32_MAX, 0, head), 0);
	assert_int_equal(kind_of(FUSE_FSYNC, 0, head - 1), 0);
}

static void averages_forget(void **state)
{
	struct pace p;
	(void)state;
	pace_init(&p);
	assert_int_equal(pace_expect(&p, FUSE_FSYNC), 0);
	for (unsigned k = 0; k < 100; k++)
		pace_took(&p, FUSE_FSYNC, 4 * MS);
	assert_in_range(pace_expect(&p, FUSE_FSYNC), 39 * MS / 10, 4 * MS);
	assert_int_equal(pace_expect(&p, FUSE_RENAME), 0);
	for (unsigned k = 0; k < 100; k++)
		pace_took(&p, FUSE_FSYNC, 10 * US);
	assert_in_range(pace_expect(&p, FUSE_FSYNC), 9 * US, 11 * US);
	/* An hour is no small number. */
	for (unsigned k = 0; k < 100; k++)
		pace_took(&p, FUSE_FSYNC, 3600000ull * MS);
	assert_true(pace_expect(&p, FUSE_FSYNC) > 4000u * MS);
}

static void slow_requests_are_left_alone_where_others_wait(void **state)
{
	struct pace p;
	(void)state;
	pace_init(&p);
	assert_false(pace_hand_over(&p, 0));
	assert_false(pace_hand_over(&p, 300 * US));
	assert_true(pace_hand_over(&p, 5 * MS));
	pace_crowd(&p, true);
	assert_true(pace_hand_over(&p, 300 * US));
	assert_false(pace_hand_over(&p, 50 * US));
	unsigned times = 0;
	for (; pace_hand_over(&p, 300 * US) && times < 1000; times++)
		pace_crowd(&p, false);
	assert_int_equal(times, 32);
	pace_crowd(&p, false);
	assert_false(pace_hand_over(&p, 300 * US));
}

static void what_waits_is_known_by_its_kind(void **state)
{
	struct pace p;
	(void)state;
	pace_init(&p);
	assert_false(pace_waits(&p, FUSE_FSYNC));
	for (unsigned k = 0; k < 40; k++) {
		pace_waited(&p, FUSE_FSYNC, true);
		pace_waited(&p, FUSE_READ, k % 4 == 0); /* a lock, now and then */
		pace_waited(&p, FUSE_WRITE, true);
	}
	assert_true(pace_waits(&p, FUSE_FSYNC));
	assert_false(pace_waits(&p, FUSE_READ));
	assert_false(pace_waits(&p, FUSE_WRITE));
	for (unsigned k = 0; k < 40; k++)
		pace_waited(&p, FUSE_FSYNC, false);
	assert_false(pace_waits(&p, FUSE_FSYNC));
}

static void many_are_many_only_after_a_while(void **state)
{
	struct pace p;
	unsigned steps = 0;
	(void)state;
	pace_init(&p);
	/* The closes of one caller: every third. */
	for (unsigned k = 0; k < 1000; k++) {
		pace_met(&p, k % 3 == 0);
		assert_false(pace_many(&p));
	}
	for (; !pace_many(&p) && steps < 1000; steps++)
		pace_met(&p, true);
	assert_in_range(steps, 5, 40);
	/* Half of them: it stays. */
	for (unsigned k = 0; k < 1000; k++) {
		pace_met(&p, k % 2 == 0);
		assert_true(pace_many(&p));
	}
	for (steps = 0; pace_many(&p) && steps < 1000; steps++)
		pace_met(&p, false);
	assert_in_range(steps, 1, 40);
	for (unsigned k = 0; k < 100; k++)
		pace_met(&p, true);
	assert_true(pace_many(&p));
	pace_rest(&p);
	assert_false(pace_many(&p));
	pace_met(&p, true);
	assert_false(pace_many(&p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_window_follows_the_requests),
		cmocka_unit_test(who_is_robbed_stops_for_longer_each_time),
		cmocka_unit_test(large_reads_and_writes_are_kinds_of_their_own),
		cmocka_unit_test(averages_forget),
		cmocka_unit_test(slow_requests_are_left_alone_where_others_wait),
		cmocka_unit_test(what_waits_is_known_by_its_kind),
		cmocka_unit_test(many_are_many_only_after_a_while),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
