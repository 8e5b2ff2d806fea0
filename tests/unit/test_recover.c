/*
 * fs/store/recover and file_sweep: a truncate, punch or zeroed range that was killed at any call is
 * finished by the next mount: each block reads as before or as zeros, and of what reads as zeros no
 * old byte is in the lower file; so too when recovery itself is killed, or repeated much later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/block_map.h"
#include "fs/store/file.h"
#include "fs/store/recover.h"
#include "tests/unit/journal_fixture.h"
#include "tests/unit/store_place.h"

#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/wait.h>

#define PAGE 4096u
#define BLOCKS 140u
#define SIZE (BLOCKS * PAGE)
#define LOWER_MAX (200u * PAGE)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
#define CUT (-1) /* truncate to first */

struct op {
	const char *name;
	int mode;
	unsigned first, end; /* blocks */
};

static const struct op ops[] = {
	{"truncate to less", CUT, 70, BLOCKS},
	{"truncate to one block", CUT, 1, BLOCKS},
	{"truncate to nothing", CUT, 0, BLOCKS},
	{"punch", PUNCH, 60, 130},
	{"punch the end", PUNCH, 64, BLOCKS},
	{"zero range", ZERO, 60, 130},
};
#define OPS (sizeof(ops) / sizeof(*ops))

static struct lower_ops quick_ops;
static struct lower quick = {&quick_ops};
static uint8_t plain[SIZE], old[LOWER_MAX], got[LOWER_MAX];

/* Nothing is cut short but processes: the page cache stays. */
static int no_fsync(struct lower *l, int fd, bool data_only)
{
	(void)l, (void)fd, (void)data_only;
	return 0;
}

static int setup(void **state)
{
	if (store_place_make(state) < 0)
		return -1;
	struct store_place *p = *state;
	quick_ops = *lower_posix()->ops;
	quick_ops.fsync = no_fsync;
	p->fail.under = &quick;
	for (size_t i = 0; i < SIZE; i++)
		plain[i] = (uint8_t)(1 + (i + i / PAGE) % 251);
	return journal_create(&p->fail.base, p->tenant_fd, p->keys, JOURNAL_BYTES_MIN);
}

static struct name name_of(struct store_place *p)
{
	struct name n;
	assert_int_equal(name_seal(p->root, "x", &n), 0);
	return n;
}

static int lower_fd(struct store_place *p)
{
	int fd = openat(p->root->fd, name_of(p).lower, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* A new file, the bytes of its lower one in `old`. */
static void make(struct store_place *p)
{
	struct name n = name_of(p);
	struct file *f;
	struct stat st;
	(void)unlinkat(p->root->fd, n.lower, 0);
	assert_int_equal(file_create(p->root, &n, 0640, NULL, &f, &st), 0);
	assert_int_equal(file_write(f, plain, SIZE, 0), SIZE);
	file_put(f);
	AUTO_CLOSE fd = lower_fd(p);
	memset(old, 0, sizeof(old));
	assert_true(pread(fd, old, LOWER_MAX, 0) > 0);
}

static int change(struct file *f, const struct op *o)
{
	return o->mode == CUT ? file_truncate(f, o->first * PAGE)
			      : file_range_change(f, o->mode, (uint64_t)o->first * PAGE,
					(uint64_t)(o->end - o->first) * PAGE);
}

static void open_journal(struct store_place *p)
{
	assert_int_equal(
		journal_open(&p->fail.base, p->tenant_fd, p->keys, false, &p->store.journal, NULL),
		0);
}

/* Nothing is written at its end. */
static void drop_journal(struct store_place *p)
{
	fail_lower_arm(&p->fail, FAIL_LOWER_PWRITEV, 1, -EROFS, false);
	journal_close(p->store.journal);
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
	p->store.journal = NULL;
}

static void die(void)
{
	_exit(3);
}

/* In a process that is killed at the n-th lower call: whether it was. */
static bool killed(struct store_place *p, unsigned at, const struct op *o)
{
	struct recover_result r;
	struct file *f;
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child) {
		p->fail.instead = die;
		if (journal_open(
			    &p->fail.base, p->tenant_fd, p->keys, false, &p->store.journal, NULL) ||
			((store_place_redo(p), o) && file_open(p->root, name_of(p).lower, &f)))
			_exit(2);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at, -EIO, false);
		_exit(o ? change(f, o) != 0 : recover_store(&p->store, false, &r) != 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 3 || WEXITSTATUS(status) == 0);
	return WEXITSTATUS(status) == 3;
}

static struct recover_result recover(struct store_place *p)
{
	struct recover_result r;
	open_journal(p);
	assert_int_equal(recover_store(&p->store, false, &r), 0);
	assert_int_equal(r.entries, r.done + r.gone + r.failed);
	assert_int_equal(journal_pending(p->store.journal, NULL, NULL, 0), r.failed);
	drop_journal(p);
	return r;
}

/* Of the old ciphertext of this page no 16 bytes are where they were. */
static void assert_gone(uint64_t at, const char *name, unsigned call)
{
	for (size_t i = 0; i < PAGE; i += 16)
		if (!memcmp(got + at + i, old + at + i, 16))
			fail_msg("%s, killed at call %u: old bytes at %llu", name, call,
				(unsigned long long)at + i);
}

/* After recovery: true when the new state is there. */
static bool check(struct store_place *p, const struct op *o, unsigned call)
{
	static uint8_t now[SIZE + 1];
	static const uint8_t zeros[PAGE];
	struct file *f = NULL;
	struct stat st;
	bool all = true;
	assert_int_equal(file_open(p->root, name_of(p).lower, &f), 0);
	assert_int_equal(file_stat(f, &st), 0);
	uint64_t size = (uint64_t)st.st_size;
	assert_true(size == SIZE || (o->mode == CUT && size == (uint64_t)o->first * PAGE));
	assert_int_equal(file_read(f, now, sizeof(now), 0), size);
	file_put(f);
	AUTO_CLOSE fd = lower_fd(p);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, block_map_length(size));
	memset(got, 0, sizeof(got));
	assert_int_equal(pread(fd, got, LOWER_MAX, 0), st.st_size);
	for (unsigned b = 0; b < BLOCKS; b++) {
		uint64_t at = block_map_data_offset(b);
		bool is_old = b * PAGE < size && !memcmp(now + b * PAGE, plain + b * PAGE, PAGE);
		if (b < o->first || b >= o->end)
			assert_true(is_old);
		if (is_old) {
			all &= b < o->first || b >= o->end;
			continue;
		}
		assert_true(b * PAGE >= size || !memcmp(now + b * PAGE, zeros, PAGE));
		assert_gone(at, o->name, call);
		assert_int_equal(memcmp(got + at, zeros, PAGE) == 0, o->mode != ZERO);
	}
	/* Tags are in place before the header: zeros may come before the new size. */
	all &= o->mode != CUT || size == (uint64_t)o->first * PAGE;
	if (all && o->mode == CUT) {
		if (o->first <= 64) /* the tag page of group 1 */
			assert_gone(block_map_tag_offset(1), o->name, call);
		assert_true((uint64_t)st.st_blocks * 512 <= block_map_length(size) + 16 * PAGE);
	}
	assert_int_equal(p->alarms, 0);
	return all;
}

static struct timespec changed(struct store_place *p)
{
	struct stat st;
	assert_int_equal(fstatat(p->root->fd, name_of(p).lower, &st, 0), 0);
	return st.st_mtim;
}

static void assert_times(struct timespec a, struct timespec b)
{
	assert_int_equal(a.tv_sec, b.tv_sec);
	assert_int_equal(a.tv_nsec, b.tv_nsec);
}

static void each_kind_killed_at_each_call(void **state)
{
	struct store_place *p = *state;
	unsigned calls = 0, finished = 0;
	for (size_t i = 0; i < OPS; i++)
		for (unsigned at = 1;; at++, calls++) {
			assert_true(at < 300);
			make(p);
			bool hit = killed(p, at, &ops[i]);
			struct timespec before = changed(p);
			struct recover_result r = recover(p);
			assert_int_equal(r.gone + r.failed, 0);
			bool new = check(p, &ops[i], at);
			/* The new state may have its own, which the kill kept from its place. */
			if (!new || !hit)
				assert_times(changed(p), before);
			finished += new &&r.bytes;
			assert_true(hit || new);
			/* Again: nothing is left to do. */
			r = recover(p);
			assert_int_equal(r.entries, 0);
			assert_int_equal(check(p, &ops[i], at), new);
			if (!hit)
				break;
		}
	print_message("%u kills, %u finished by the next mount\n", calls, finished);
	assert_true(finished > OPS);
}

/* Committed, and not a byte of it erased: what the journal is for. */
static void leave_undone(struct store_place *p, const struct op *o)
{
	struct file *f = NULL;
	uint64_t token;
	uint8_t id[FILE_ID_LEN];
	assert_null(p->store.journal);
	make(p);
	AUTO_CLOSE fd = lower_fd(p);
	assert_int_equal(file_open(p->root, name_of(p).lower, &f), 0);
	file_id(f, id);
	assert_int_equal(change(f, o), 0);
	file_put(f);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	struct journal_erase e = {.ino = st.st_ino,
		.first = o->first,
		.end = o->mode == CUT ? BLOCK_MAP_BLOCKS : o->end,
		.keep_space = o->mode == ZERO};
	memcpy(e.file_id, id, sizeof(id));
	for (unsigned b = o->first; b < o->end; b++) {
		uint64_t at = block_map_data_offset(b);
		assert_int_equal(pwrite(fd, old + at, PAGE, (off_t)at), PAGE);
	}
	if (o->mode == CUT && o->first <= 64)
		assert_int_equal(pwrite(fd, old + block_map_tag_offset(1), PAGE,
					 (off_t)block_map_tag_offset(1)),
			PAGE);
	open_journal(p);
	assert_int_equal(journal_fixture_announce(p->store.journal, &e, &token), 0);
	drop_journal(p);
}

static void recovery_killed_at_each_call(void **state)
{
	struct store_place *p = *state;
	static const size_t which[] = {1, 3, 5};
	for (size_t i = 0; i < 3; i++)
		for (unsigned at = 1;; at++) {
			const struct op *o = &ops[which[i]];
			leave_undone(p, o);
			struct timespec before = changed(p);
			bool hit = killed(p, at, NULL);
			struct recover_result r = recover(p);
			assert_int_equal(r.failed + r.gone, 0);
			assert_true(check(p, o, at));
			/* Between overwriting and setting it back it is later. */
			if (!hit)
				assert_times(changed(p), before);
			if (!hit)
				break;
		}
}

static void copy_journal(struct store_place *p, const char *from, const char *to)
{
	static uint8_t bytes[JOURNAL_BYTES_MIN];
	AUTO_CLOSE in = openat(p->tenant_fd, from, O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE out = openat(p->tenant_fd, to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(pread(in, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(pwrite(out, bytes, sizeof(bytes), 0), sizeof(bytes));
}

static void become_another_inode(struct store_place *p)
{
	AUTO_CLOSE in = lower_fd(p);
	AUTO_CLOSE out = openat(p->root->fd, "other", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t len = pread(in, got, LOWER_MAX, 0);
	assert_int_equal(pwrite(out, got, (size_t)len, 0), len);
	assert_int_equal(renameat(p->root->fd, "other", p->root->fd, name_of(p).lower), 0);
}

static void become_a_copied_store(struct store_place *p)
{
	become_another_inode(p);
	copy_journal(p, "journal", "other");
	assert_int_equal(renameat(p->tenant_fd, "other", p->tenant_fd, "journal"), 0);
}

/* In the store that it was written in nobody reads the headers of all files for one that is gone.
 */
static void what_is_gone_costs_one_walk(void **state)
{
	struct store_place *p = *state;
	for (unsigned copied = 0; copied < 2; copied++) {
		struct recover_result r = {0};
		leave_undone(p, &ops[1]);
		if (copied)
			become_a_copied_store(p);
		else
			become_another_inode(p);
		open_journal(p);
		fail_lower_arm(&p->fail, FAIL_LOWER_PREADV, UINT_MAX, -EIO, true);
		assert_int_equal(recover_store(&p->store, false, &r), 0);
		unsigned reads = atomic_load(&p->fail.counted);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		assert_int_equal(r.gone, !copied);
		assert_int_equal(r.done, copied);
		/* Both superblocks are read before they are written over. */
		assert_true(copied ? reads > 2 : reads == 2);
		drop_journal(p);
	}
}

static void an_error_leaves_it_for_the_next(void **state)
{
	struct store_place *p = *state;
	unsigned failed = 0, copied = 0;
	for (unsigned at = 1;; at++) {
		struct recover_result r = {0};
		leave_undone(p, &ops[1]);
		if (copied)
			become_a_copied_store(p);
		open_journal(p);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at, -EIO, true);
		int rc = recover_store(&p->store, false, &r);
		bool hit = fail_lower_hit(&p->fail);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		store_place_mended(p);
		assert_true(rc == 0 || (hit && rc == -EIO));
		assert_int_equal(r.gone, 0);
		if (r.failed)
			assert_int_equal(r.error, -EIO);
		failed += r.failed;
		drop_journal(p);
		(void)recover(p);
		assert_true(check(p, &ops[1], at));
		if (!hit && copied++)
			break;
		if (!hit)
			at = 0;
	}
	assert_true(failed > 6);
}

/* The file under another name, in another folder, as another inode, with two names. */
static void a_file_is_found_wherever_it_is(void **state)
{
	struct store_place *p = *state;
	static const char *const ways[] = {"renamed", "moved", "copied", "linked"};
	assert_int_equal(mkdirat(p->root->fd, "sub", 0700), 0);
	for (size_t i = 0; i < 4; i++) {
		int root = p->root->fd;
		struct name n = name_of(p);
		leave_undone(p, &ops[0]);
		(void)unlinkat(root, "other", 0);
		if (i == 0)
			assert_int_equal(renameat(root, n.lower, root, "other"), 0);
		if (i == 1)
			assert_int_equal(renameat(root, n.lower, root, "sub/other"), 0);
		if (i == 3)
			assert_int_equal(linkat(root, n.lower, root, "sub/second", 0), 0);
		if (i == 2)
			become_a_copied_store(p);
		struct recover_result r = recover(p);
		if (r.done != 1 || !r.bytes)
			fail_msg("%s: %u done", ways[i], r.done);
		if (i < 2)
			assert_int_equal(
				renameat(root, i ? "sub/other" : "other", root, n.lower), 0);
		assert_true(check(p, &ops[0], 0));
	}
}

static void of_a_file_that_is_gone_nothing_is_left_to_do(void **state)
{
	struct store_place *p = *state;
	leave_undone(p, &ops[0]);
	assert_int_equal(unlinkat(p->root->fd, name_of(p).lower, 0), 0);
	assert_int_equal(recover(p).gone, 1);
	/* Another one with its inode number perhaps, and one without a header. */
	AUTO_CLOSE empty = openat(p->root->fd, "empty", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(empty >= 0);
	leave_undone(p, &ops[0]);
	make(p);
	assert_int_equal(recover(p).gone, 1);
	assert_int_equal(recover(p).entries, 0);
	assert_int_equal(p->alarms, 0);
	static uint8_t now[LOWER_MAX];
	AUTO_CLOSE fd = lower_fd(p);
	assert_true(pread(fd, now, LOWER_MAX, 0) > 0);
	assert_memory_equal(now, old, LOWER_MAX);
}

static void a_damaged_file_raises_its_alarm(void **state)
{
	struct store_place *p = *state;
	leave_undone(p, &ops[0]);
	AUTO_CLOSE fd = lower_fd(p);
	uint8_t byte[2];
	for (unsigned slot = 0; slot < 2; slot++) {
		assert_int_equal(pread(fd, byte, 1, slot * 1024 + 1020), 1);
		byte[0] ^= 1;
		assert_int_equal(pwrite(fd, byte, 1, slot * 1024 + 1020), 1);
	}
	assert_int_equal(recover(p).done, 1);
	assert_int_equal(p->alarms, 1);
	assert_int_equal(recover(p).entries, 0);
}

/* An old journal put back, after the range was written anew. */
static void what_came_later_survives_a_replay(void **state)
{
	struct store_place *p = *state;
	for (size_t i = 0; i < OPS; i++) {
		static uint8_t now[SIZE];
		struct file *f = NULL;
		leave_undone(p, &ops[i]);
		copy_journal(p, "journal", "kept");
		assert_true(recover(p).bytes > 0);
		assert_int_equal(file_open(p->root, name_of(p).lower, &f), 0);
		assert_int_equal(file_write(f, plain, SIZE, 0), SIZE);
		file_put(f);
		AUTO_CLOSE fd = lower_fd(p);
		memset(old, 0, sizeof(old));
		assert_true(pread(fd, old, LOWER_MAX, 0) > 0);
		copy_journal(p, "kept", "journal");
		assert_int_equal(recover(p).done, 1);
		memset(got, 0, sizeof(got));
		assert_true(pread(fd, got, LOWER_MAX, 0) > 0);
		assert_memory_equal(got, old, LOWER_MAX);
		f = NULL;
		assert_int_equal(file_open(p->root, name_of(p).lower, &f), 0);
		assert_int_equal(file_read(f, now, SIZE, 0), SIZE);
		assert_memory_equal(now, plain, SIZE);
		file_put(f);
		assert_int_equal(p->alarms, 0);
	}
}

/* Two entries of one file, in either order, do no more and no less than both. */
static void entries_of_one_file_in_either_order(void **state)
{
	struct store_place *p = *state;
	for (unsigned order = 0; order < 2; order++) {
		struct journal_erase e[2];
		memset(e, 0, sizeof(e));
		uint64_t token[2];
		leave_undone(p, &ops[3]);
		open_journal(p);
		assert_int_equal(journal_pending(p->store.journal, e, token, 1), 1);
		journal_done(p->store.journal, token[0]);
		assert_int_equal(journal_checkpoint(p->store.journal), 0);
		e[1] = e[0];
		e[0].end = e[1].first = 100;
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(
				journal_fixture_announce(p->store.journal, &e[i ^ order], token),
				0);
		drop_journal(p);
		assert_int_equal(recover(p).done, 2);
		assert_true(check(p, &ops[3], 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, store_place_remove)
		T(each_kind_killed_at_each_call),
		T(recovery_killed_at_each_call),
		T(an_error_leaves_it_for_the_next),
		T(what_is_gone_costs_one_walk),
		T(a_file_is_found_wherever_it_is),
		T(of_a_file_that_is_gone_nothing_is_left_to_do),
		T(a_damaged_file_raises_its_alarm),
		T(what_came_later_survives_a_replay),
		T(entries_of_one_file_in_either_order),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
