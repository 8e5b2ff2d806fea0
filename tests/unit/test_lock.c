/* keymgmt/base/lock: what is in order is let through; what is not ends the process with a sentence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/base/lock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* By ascending address. */
static struct {
	struct lock_mutex stripes[2], dirs[4], cache, queue, unmade;
	struct lock_rw file, other_file;
	pthread_cond_t wake;
	bool woken;
} here;

static int make_here(void **state)
{
	(void)state;
	memset(&here, 0, sizeof(here));
	for (size_t i = 0; i < 2; i++)
		lock_init(&here.stripes[i], LOCK_STRIPE);
	for (size_t i = 0; i < 4; i++)
		lock_init(&here.dirs[i], LOCK_DIR);
	lock_init(&here.cache, LOCK_FILE_CACHE);
	lock_init(&here.queue, LOCK_TRASH);
	lock_rw_init(&here.file, LOCK_FILE, false);
	lock_rw_init(&here.other_file, LOCK_FILE, true);
	pthread_cond_init(&here.wake, NULL);
	return 0;
}

static int drop_here(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++)
		lock_done(&here.stripes[i]);
	for (size_t i = 0; i < 4; i++)
		lock_done(&here.dirs[i]);
	lock_done(&here.cache);
	lock_done(&here.queue);
	lock_rw_done(&here.file);
	lock_rw_done(&here.other_file);
	pthread_cond_destroy(&here.wake);
	return 0;
}

static void what_is_in_order_is_let_through(void **state)
{
	(void)state;
	lock_below(LOCK_CURSOR);
	lock_take(&here.stripes[0]);
	lock_take(&here.stripes[1]);
	for (size_t i = 0; i < 4; i++)
		lock_take(&here.dirs[i]);
	lock_below(LOCK_FILE);
	lock_rw_read(&here.file);
	lock_take(&here.cache);
	lock_drop(&here.cache);
	lock_rw_drop(&here.file);
	lock_rw_write(&here.file);
	lock_take(&here.cache);
	lock_take(&here.queue);
	/* Dropped in any order, and taken again where they belong. */
	lock_rw_drop(&here.file);
	lock_drop(&here.queue);
	lock_drop(&here.dirs[2]);
	lock_drop(&here.cache);
	lock_drop(&here.dirs[3]);
	lock_take(&here.dirs[2]);
	lock_take(&here.dirs[3]);
	for (size_t i = 0; i < 4; i++)
		lock_drop(&here.dirs[i]);
	lock_drop(&here.stripes[0]);
	lock_below(LOCK_RENAME);
	lock_drop(&here.stripes[1]);
	lock_below(LOCK_CURSOR);
}

/* What a thread holds is no other's concern: this one takes what comes before. */
static void *another_thread(void *context)
{
	(void)context;
	lock_below(LOCK_CURSOR);
	lock_take(&here.dirs[0]);
	lock_take(&here.queue);
	here.woken = true;
	pthread_cond_signal(&here.wake);
	lock_drop(&here.queue);
	lock_drop(&here.dirs[0]);
	return NULL;
}

static void one_may_wait_with_the_last_lock(void **state)
{
	(void)state;
	pthread_t thread;
	struct timespec past = {0};
	lock_take(&here.stripes[0]);
	lock_take(&here.queue);
	assert_int_equal(lock_wait_until(&here.wake, &here.queue, &past), -ETIMEDOUT);
	assert_int_equal(pthread_create(&thread, NULL, another_thread, NULL), 0);
	while (!here.woken)
		lock_wait(&here.wake, &here.queue);
	lock_drop(&here.queue);
	lock_take(&here.queue);
	lock_drop(&here.queue);
	lock_drop(&here.stripes[0]);
	pthread_join(thread, NULL);
}

static void another_process_may_be_played(void **state)
{
	(void)state;
	lock_take(&here.queue);
	unsigned before = lock_aside();
	lock_below(LOCK_CURSOR);
	lock_take(&here.dirs[1]);
	unsigned inner = lock_aside();
	lock_take(&here.dirs[0]);
	lock_drop(&here.dirs[0]);
	lock_back(inner);
	lock_drop(&here.dirs[1]);
	lock_back(before);
	lock_drop(&here.queue);
}

static void *floored_thread(void *context)
{
	(void)context;
	lock_floor(LOCK_ERASER);
	lock_take(&here.queue);
	lock_drop(&here.queue);
	return NULL;
}

static void a_floor_ends_with_its_thread(void **state)
{
	(void)state;
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, floored_thread, NULL), 0);
	pthread_join(thread, NULL);
	lock_take(&here.dirs[0]);
	lock_below(LOCK_ERASER);
	lock_drop(&here.dirs[0]);
}

static void backwards(void)
{
	lock_rw_read(&here.file);
	lock_take(&here.dirs[0]);
}

static void backwards_written(void)
{
	lock_take(&here.cache);
	lock_rw_write(&here.file);
}

static void behind_one_that_was_dropped(void)
{
	lock_take(&here.dirs[0]);
	lock_take(&here.queue);
	lock_take(&here.stripes[0]);
}

static void descending(void)
{
	lock_take(&here.dirs[1]);
	lock_take(&here.dirs[0]);
}

static void two_of_one_kind(void)
{
	lock_rw_read(&here.file);
	lock_rw_read(&here.other_file);
}

static void twice(void)
{
	lock_take(&here.dirs[0]);
	lock_take(&here.dirs[1]);
	lock_take(&here.dirs[0]);
}

static void shared_twice(void)
{
	lock_rw_read(&here.file);
	lock_rw_read(&here.file);
}

static void never_made(void)
{
	lock_take(&here.unmade);
}

static void not_held(void)
{
	lock_take(&here.dirs[0]);
	lock_drop(&here.dirs[1]);
}

static void *taker(void *context)
{
	lock_take(&here.dirs[0]);
	return context;
}

static void anothers(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, taker, NULL);
	pthread_join(thread, NULL);
	lock_drop(&here.dirs[0]);
}

static void waiting_with_an_earlier_one(void)
{
	lock_take(&here.dirs[0]);
	lock_take(&here.queue);
	lock_wait(&here.wake, &here.dirs[0]);
}

static void waiting_a_while_with_none(void)
{
	struct timespec past = {0};
	(void)!lock_wait_until(&here.wake, &here.queue, &past);
}

static void after_a_wait(void)
{
	struct timespec past = {0};
	lock_take(&here.queue);
	(void)!lock_wait_until(&here.wake, &here.queue, &past);
	lock_take(&here.dirs[0]);
}

static void ended_while_held(void)
{
	lock_rw_write(&here.file);
	lock_rw_done(&here.file);
}

static void called_with_too_much(void)
{
	lock_take(&here.stripes[0]);
	lock_below(LOCK_RENAME);
	lock_take(&here.queue);
	lock_below(LOCK_ERASER);
}

static void under_the_floor(void)
{
	lock_floor(LOCK_ERASER);
	lock_take(&here.stripes[0]);
}

static void another_process_that_keeps_one(void)
{
	lock_take(&here.queue);
	unsigned before = lock_aside();
	lock_take(&here.dirs[0]);
	lock_back(before);
}

static const struct {
	void (*run)(void);
	const char *sentence;
} wrong[] = {
	{backwards,
		"Lock order: backwards() takes a directory's lock while it holds a file's lock, "
		"taken by backwards(): that one comes later"},
	{backwards_written,
		"backwards_written() takes a file's lock while it holds a file's cache lock"},
	{behind_one_that_was_dropped, "takes a stripe of inode numbers while it holds the trash's "
				      "queue, taken by behind_one_that_was_dropped(): that one"},
	{descending, "takes a directory's lock while it holds a directory's lock, taken by "
		     "descending(): these are taken by ascending address"},
	{two_of_one_kind,
		"two_of_one_kind() takes a file's lock while it holds a file's lock, taken "
		"by two_of_one_kind(): only one of these may be held"},
	{twice, "it holds that already"},
	{shared_twice, "it holds that already"},
	{never_made,
		"never_made() takes a lock that was never made while it holds nothing, taken by "
		"nobody(): nobody made it"},
	{not_held, "not_held() drops a directory's lock, which its thread does not hold"},
	{anothers, "anothers() drops a directory's lock, which its thread does not hold"},
	{waiting_with_an_earlier_one, "waits with a directory's lock while the lock taken last is "
				      "the trash's queue, taken by waiting_with_an_earlier_one()"},
	{waiting_a_while_with_none,
		"waits with the trash's queue while the lock taken last is none"},
	{after_a_wait, "takes a directory's lock while it holds the trash's queue"},
	{ended_while_held,
		"ended_while_held() ends a file's lock, which ended_while_held() has taken"},
	{called_with_too_much, "called_with_too_much() may not be called with the trash's queue, "
			       "taken by called_with_too_much(): only with what comes before the "
			       "eraser's thread"},
	{under_the_floor, "takes a stripe of inode numbers while it holds the eraser's thread"},
	{another_process_that_keeps_one, "lock_back() may not be called with a directory's lock"},
};

/* In a child of its own, which must end by SIGABRT with one sentence. */
static void expect_end(void (*run)(void), const char *sentence)
{
	int ends[2], status;
	char text[1024] = "";
	size_t len = 0;
	ssize_t n;
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(ends[1], STDERR_FILENO);
		alarm(20);
		run();
		_exit(0);
	}
	close(ends[1]);
	while ((n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, sentence))
		fail_msg("status %x, not SIGABRT with \"%s\": %s", status, sentence, text);
	if (strchr(text, '\n') != text + len - 1)
		fail_msg("not one line: %s", text);
}

static void what_is_not_ends_the_process(void **state)
{
	(void)state;
	if (!LOCK_ORDER)
		skip();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect_end(wrong[i].run, wrong[i].sentence);
}

static void one_takes_too_many(void)
{
	static struct lock_mutex many[1000];
	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
		lock_init(&many[i], LOCK_DIR);
		lock_take(&many[i]);
	}
}

static void so_do_too_many(void **state)
{
	(void)state;
	if (!LOCK_ORDER)
		skip();
	expect_end(one_takes_too_many, "that is one too many");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_order_is_let_through),
		cmocka_unit_test(one_may_wait_with_the_last_lock),
		cmocka_unit_test(another_process_may_be_played),
		cmocka_unit_test(a_floor_ends_with_its_thread),
		cmocka_unit_test(what_is_not_ends_the_process),
		cmocka_unit_test(so_do_too_many),
	};
	return cmocka_run_group_tests_name("lock", tests, make_here, drop_here);
}
