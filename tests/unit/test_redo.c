/*
 * fs/store/redo and file*: what is written over something committed goes to the journal first, to
 * its place at a checkpoint, and never comes there from who has lost the tenant, from an erased
 * file, or before its record is durable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/file_internal.h"
#include "tests/unit/redo_place.h"

#include <linux/falloc.h>

#define BLOCKS 100u /* of the file "x": group 0, and some of the next */
#define SIZE (BLOCKS * PAGE)
#define LOWER_MAX (110u * PAGE)
#define THREADS 16u

static uint8_t plain[SIZE], next[SIZE], raw[LOWER_MAX], now[LOWER_MAX];

/* "x" with `plain` in its place, closed, the journal empty; `raw` is its lower file. */
static void make(struct store_place *p)
{
	struct file *f = redo_place_create(p, "x");
	redo_place_pattern(plain, SIZE, 1);
	redo_place_write(f, plain, SIZE, 0);
	file_put(f);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(redo_place_status(p).used, 0);
	assert_int_equal(redo_place_raw(p, "x", raw, LOWER_MAX), block_map_length(SIZE));
	memcpy(next, plain, SIZE);
}

/* The lower file of "x" is as `raw` has it. */
static void expect_raw(struct store_place *p)
{
	redo_place_raw(p, "x", now, LOWER_MAX);
	assert_memory_equal(now, raw, LOWER_MAX);
}

/* New bytes of [offset, offset + len) in the file and in `next`. */
static void overwrite(struct file *f, size_t offset, size_t len, unsigned seed)
{
	redo_place_pattern(next + offset, len, seed);
	redo_place_write(f, next + offset, len, offset);
}

/* Blocks that were committed, and the pages of tags and header, stay until the record is durable;
 * fsync, too, leaves them to the checkpoint. */
static void what_is_written_over_is_not_in_place_yet(void **state)
{
	struct store_place *p = *state;
	make(p);
	struct file *f = redo_place_open(p, "x");
	overwrite(f, 0, PAGE, 2);
	overwrite(f, 5 * PAGE + 100, 3 * PAGE, 3);
	overwrite(f, 63 * PAGE, 4 * PAGE, 4);
	expect_raw(p);
	redo_place_expect(f, next, SIZE);
	assert_int_equal(file_commit(f), 0);
	expect_raw(p);
	overwrite(f, 5 * PAGE, 10, 5);
	assert_int_equal(file_sync(f, false), 0);
	expect_raw(p);
	redo_place_expect(f, next, SIZE);
	overwrite(f, SIZE - 1, 1, 6);
	file_put(f);
	expect_raw(p);
	f = redo_place_open(p, "x");
	redo_place_expect(f, next, SIZE);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	redo_place_raw(p, "x", now, LOWER_MAX);
	assert_memory_not_equal(now, raw, LOWER_MAX);
	redo_place_expect(f, next, SIZE);
	file_put(f);
	redo_place_end(p);
	f = redo_place_open(p, "x");
	redo_place_expect(f, next, SIZE);
	file_put(f);
	assert_int_equal(p->alarms, 0);
}

/* Times of a closed file are set without it, while it waits for the checkpoint: its next commit has
 * them. */
static void a_closed_file_keeps_no_time(void **state)
{
	struct store_place *p = *state;
	const uint8_t home[DIR_ID_LEN] = {7};
	const struct timespec ts[2] = {{1000, 1}, {2000, 2}};
	struct stat st;
	make(p);
	struct file *f = redo_place_open(p, "x");
	file_keep_time(f, true);
	overwrite(f, 0, PAGE, 2);
	file_put(f);
	f = redo_place_open(p, "x");
	int fd = file_fd(f);
	assert_int_equal(utimensat(fd, "", ts, AT_EMPTY_PATH), 0);
	assert_int_equal(file_home_add(f, home), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	file_put(f);
}

static unsigned file_syncs(void)
{
	return atomic_load(&redo_place_disk.syncs) - atomic_load(&redo_place_disk.journal_syncs);
}

/* A name that went comes back with a power cut until its inode was flushed: its home is not left to
 * a count that lacks it. */
static void names_are_counted_when_none_returns(void **state)
{
	struct store_place *p = *state;
	const uint8_t ids[4][DIR_ID_LEN] = {{7}, {8}, {9}, {10}};
	make(p);
	struct file *f = redo_place_open(p, "x");
	for (int went = 1; went >= 0; went--) {
		assert_int_equal(file_home_add(f, p->root->id), 0);
		assert_int_equal(file_home_remove(f, p->root->id), 0);
		if (!went)
			assert_int_equal(redo_checkpoint(&p->store), 0);
		unsigned before = file_syncs();
		assert_int_equal(file_home_add(f, ids[0]), 0);
		assert_int_equal(file_syncs() - before, went);
		assert_int_equal(file_home_remove(f, ids[0]), 0);
		assert_int_equal(redo_checkpoint(&p->store), 0);
	}
	/* Nor is one that had many homes given back its only one. */
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(file_home_add(f, ids[i]), 0);
	file_put(f);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	unsigned before = file_syncs();
	f = redo_place_open(p, "x");
	assert_int_equal(file_syncs() - before, 1);
	file_put(f);
}

/* The kernel tells the time of what it wrote just before it asks for the flush: one record has
 * both. */
static void a_told_time_goes_with_the_commit(void **state)
{
	struct store_place *p = *state;
	const struct timespec told[2] = {{3000, 3}, {4000, 4}};
	struct stat st;
	make(p);
	struct file *f = redo_place_open(p, "x");
	uint64_t records[2];
	for (int tells = 0; tells < 2; tells++) {
		file_keep_time(f, true);
		overwrite(f, 0, PAGE, 2);
		uint64_t before = journal_sequence(p->store.journal);
		assert_int_equal(tells ? file_tell_time(f, &told[0]) : 0, 0);
		assert_int_equal(file_stat(f, &st), 0);
		if (tells)
			assert_int_equal(st.st_mtim.tv_sec, 3000);
		assert_int_equal(file_sync(f, true), 0);
		records[tells] = journal_sequence(p->store.journal) - before;
	}
	assert_int_equal(records[1], records[0]);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 3000);
	/* With nothing to be committed it is at once. */
	assert_int_equal(file_tell_time(f, &told[1]), 0);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_mtim.tv_nsec, 4);
	file_put(f);
	redo_place_crash(p, NULL, 0);
	assert_int_equal(redo_place_mount(p).files, 1);
	f = redo_place_open(p, "x");
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 4000);
	file_put(f);
}

static unsigned seen;
static void no_write_before_the_flush(int fd, uint64_t at)
{
	(void)fd, (void)at;
	seen++;
	if (atomic_load(&redo_place_disk.unflushed))
		fail_msg("a committed page is written at %llu before its record is durable",
			(unsigned long long)at);
}

/* Whoever starts a checkpoint: a call, a full journal, a truncate, the end. */
static void nothing_goes_to_its_place_before_the_flush(void **state)
{
	struct store_place *p = *state;
	make(p);
	struct file *f = redo_place_open(p, "x");
	redo_place_disk.sees = no_write_before_the_flush;
	for (unsigned i = 0; i < 2000; i++) {
		overwrite(f, i * 7919u % (SIZE - PAGE), 1 + i * 31u % PAGE, i);
		if (i % 3 == 0)
			assert_int_equal(file_commit(f), 0);
		if (i % 50 == 0)
			assert_int_equal(file_sync(f, i % 100 == 0), 0);
		if (i % 300 == 0)
			assert_int_equal(redo_checkpoint(&p->store), 0);
	}
	redo_place_expect(f, next, SIZE);
	overwrite(f, 0, PAGE, 1);
	seen = 0;
	assert_int_equal(file_truncate(f, SIZE - 5 * PAGE), 0);
	assert_true(seen);
	overwrite(f, 0, PAGE, 2);
	file_put(f);
	seen = 0;
	redo_place_end(p);
	assert_true(seen);
	f = redo_place_open(p, "x");
	redo_place_expect(f, next, SIZE - 5 * PAGE);
	redo_place_disk.sees = NULL;
	file_put(f);
}

static unsigned flushes(bool journal)
{
	return atomic_exchange(
		journal ? &redo_place_disk.journal_syncs : &redo_place_disk.syncs, 0);
}

/* The entries of the journal as it is on the disk, by kind; *ret_hard: of commits. */
static void count_entries(struct store_place *p, unsigned kinds[5], unsigned *ret_hard)
{
	struct journal *j = NULL;
	const struct journal_entry *e;
	memset(kinds, 0, 5 * sizeof(*kinds));
	*ret_hard = 0;
	assert_int_equal(journal_open(lower_posix(), p->tenant_fd, p->keys, false, &j, NULL), 0);
	size_t count = journal_entries(j, &e);
	for (size_t i = 0; i < count; i++) {
		kinds[e[i].kind]++;
		*ret_hard += e[i].kind == JOURNAL_COMMIT && e[i].commit.hard;
	}
	j->written = false;
	journal_close(j);
}

static void close_is_soft_and_fsync_hard(void **state)
{
	struct store_place *p = *state;
	unsigned kinds[5], hard;
	make(p);
	flushes(true), flushes(false);
	struct file *f = redo_place_open(p, "x");
	overwrite(f, 0, PAGE, 2);
	file_put(f);
	assert_int_equal(flushes(false), 0);
	count_entries(p, kinds, &hard);
	assert_int_equal(kinds[JOURNAL_COMMIT], 1);
	assert_int_equal(hard, 0);
	/* fsync of what was committed softly: a mark. */
	f = redo_place_open(p, "x");
	assert_int_equal(file_sync(f, true), 0);
	assert_int_equal(flushes(true), 1);
	assert_int_equal(flushes(false), 1);
	count_entries(p, kinds, &hard);
	assert_int_equal(kinds[JOURNAL_MARK], 1);
	/* With something to commit: one flush, one record. */
	overwrite(f, PAGE, PAGE, 3);
	assert_int_equal(file_sync(f, true), 0);
	assert_int_equal(flushes(true), 1);
	assert_int_equal(flushes(false), 1);
	count_entries(p, kinds, &hard);
	assert_int_equal(kinds[JOURNAL_COMMIT], 2);
	assert_int_equal(hard, 1);
	/* Nothing since. */
	assert_int_equal(file_sync(f, true), 0);
	assert_int_equal(flushes(false), 0);
	/* Fresh data first. */
	redo_place_write(f, plain, PAGE, SIZE);
	assert_int_equal(file_sync(f, true), 0);
	assert_int_equal(flushes(true), 1);
	assert_int_equal(flushes(false), 2);
	count_entries(p, kinds, &hard);
	assert_int_equal(hard, 2);
	file_put(f);
}

struct worker {
	struct store_place *p;
	unsigned number, rounds;
	size_t len;
	bool syncs;
	int rc;
};

static void *work(void *argument)
{
	struct worker *w = argument;
	char name[8];
	AUTO_FREE uint8_t *bytes = malloc(w->len), *got = malloc(w->len);
	struct file *f = NULL;
	snprintf(name, sizeof(name), "w%u", w->number);
	struct name n;
	w->rc = bytes && got ? name_seal(w->p->root, name, &n) : -ENOMEM;
	if (!w->rc)
		w->rc = file_open(w->p->root, n.lower, &f);
	for (unsigned i = 0; !w->rc && i < w->rounds; i++) {
		redo_place_pattern(bytes, w->len, w->number * 1000 + i);
		ssize_t got_len = file_write(f, bytes, w->len, 0);
		w->rc = got_len == (ssize_t)w->len ? 0 : got_len < 0 ? (int)got_len : -EIO;
		if (!w->rc && w->syncs)
			w->rc = file_sync(f, true);
		else if (!w->rc)
			w->rc = file_commit(f);
		if (!w->rc && file_read(f, got, w->len, 0) != (ssize_t)w->len)
			w->rc = -EIO;
		if (!w->rc && memcmp(got, bytes, w->len))
			w->rc = -EILSEQ;
	}
	if (f)
		file_put(f);
	return NULL;
}

/* 16 threads, each on its own file, which it writes over again and again. */
static void run_workers(struct store_place *p, size_t len, unsigned rounds, bool syncs)
{
	struct worker w[THREADS];
	pthread_t threads[THREADS];
	AUTO_FREE uint8_t *bytes = calloc(1, len);
	char name[8];
	assert_non_null(bytes);
	for (unsigned i = 0; i < THREADS; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		struct file *f = redo_place_create(p, name);
		redo_place_write(f, bytes, len, 0);
		file_put(f);
	}
	assert_int_equal(redo_checkpoint(&p->store), 0);
	flushes(true);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){p, i, rounds, len, syncs, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(w[i].rc, 0);
	}
}

static void check_workers(struct store_place *p, size_t len, unsigned rounds)
{
	AUTO_FREE uint8_t *bytes = malloc(len);
	char name[8];
	assert_non_null(bytes);
	for (unsigned i = 0; i < THREADS; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		redo_place_pattern(bytes, len, i * 1000 + rounds - 1);
		struct file *f = redo_place_open(p, name);
		redo_place_expect(f, bytes, len);
		file_put(f);
	}
}

static void one_flush_serves_all_who_wait(void **state)
{
	struct store_place *p = *state;
	redo_place_disk.sync_us = 3000;
	run_workers(p, PAGE, 40, true);
	unsigned count = flushes(true);
	print_message("%u flushes for %u fsyncs\n", count, THREADS * 40);
	assert_true(count >= 40);
	assert_true(count < THREADS * 40 / 4);
	redo_place_disk.sync_us = 0;
	redo_place_crash(p, NULL, 0);
	assert_in_range(redo_place_mount(p).files, 1, THREADS);
	check_workers(p, PAGE, 40);
	assert_int_equal(p->alarms, 0);
}

/* Each writes as much as the whole journal holds. */
static void large_writes_of_many_find_room(void **state)
{
	struct store_place *p = *state;
	alarm(240);
	run_workers(p, 1u << 20, 3, false);
	alarm(0);
	check_workers(p, 1u << 20, 3);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(p->store.journal->reserved, 0);
	redo_place_end(p);
	check_workers(p, 1u << 20, 3);
}

static void a_checkpoint_empties_the_ring_and_keeps_times(void **state)
{
	struct store_place *p = *state;
	struct stat before, after;
	make(p);
	AUTO_CLOSE fd = redo_place_fd(p, "x");
	assert_int_equal(fchmod(fd, 06755), 0);
	struct file *f = redo_place_open(p, "x");
	const struct timespec old[2] = {
		{.tv_sec = 1000, .tv_nsec = 5}, {.tv_sec = 2000, .tv_nsec = 7}};
	overwrite(f, 3 * PAGE, 2 * PAGE, 2);
	assert_int_equal(file_set_times(f, old), 0);
	assert_true(redo_place_status(p).used);
	uint64_t epoch = p->store.journal->super.epoch;
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(redo_place_status(p).used, 0);
	assert_true(p->store.journal->super.epoch > epoch);
	assert_false(journal_touches(p->store.journal, f->ino, NULL));
	assert_int_equal(file_stat(f, &after), 0);
	assert_int_equal(after.st_mtim.tv_sec, 2000);
	assert_int_equal(after.st_mtim.tv_nsec, 7);
	assert_int_equal(after.st_mode & 07777, 06755);
	/* A write moves the time when it is made, not when it comes to its place. */
	overwrite(f, 3 * PAGE, 2 * PAGE, 3);
	assert_int_equal(file_commit(f), 0);
	assert_int_equal(file_stat(f, &before), 0);
	assert_true(before.st_mtim.tv_sec > 2000);
	usleep(20000);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(file_stat(f, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
	/* Nothing to do, nothing done. */
	epoch = p->store.journal->super.epoch;
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(p->store.journal->super.epoch, epoch);
	redo_place_expect(f, next, SIZE);
	file_put(f);
}

static void a_closed_file_waits_for_the_checkpoint(void **state)
{
	struct store_place *p = *state;
	make(p);
	struct file *f = redo_place_open(p, "x"), *parked = f;
	for (unsigned i = 0; i < 20; i++) {
		overwrite(f, i * 3 * PAGE, PAGE + i, 10 + i);
		file_put(f);
		f = redo_place_open(p, "x");
		assert_ptr_equal(f, parked);
		redo_place_expect(f, next, SIZE);
	}
	expect_raw(p);
	/* Two handles of it at a time, one after the other closed. */
	struct file *other = redo_place_open(p, "x");
	assert_ptr_equal(other, f);
	file_put(f);
	overwrite(other, 7, 7, 7);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	redo_place_expect(other, next, SIZE);
	file_put(other);
	f = redo_place_open(p, "x");
	redo_place_expect(f, next, SIZE);
	file_put(f);
}

static void a_full_ring_forces_a_checkpoint(void **state)
{
	struct store_place *p = *state;
	make(p);
	struct file *f = redo_place_open(p, "x");
	uint64_t epoch = p->store.journal->super.epoch, most = 0;
	for (unsigned i = 0; i < 1500; i++) {
		overwrite(f, i % BLOCKS * PAGE, PAGE, i);
		assert_int_equal(i % 2 ? file_commit(f) : file_sync(f, true), 0);
		struct journal_status s = redo_place_status(p);
		assert_true(s.used <= s.bytes);
		most = s.used > most ? s.used : most;
	}
	assert_true(most > (JOURNAL_BYTES_MIN / 2));
	assert_true(p->store.journal->super.epoch > epoch + 4);
	redo_place_expect(f, next, SIZE);
	file_put(f);
	redo_place_crash(p, NULL, 0);
	redo_place_mount(p);
	f = redo_place_open(p, "x");
	redo_place_expect(f, next, SIZE);
	file_put(f);
}

static void a_large_write_is_several_records(void **state)
{
	struct store_place *p = *state;
	const size_t len = 3u << 20;
	uint8_t *bytes = malloc(len);
	assert_non_null(bytes);
	struct file *f = redo_place_create(p, "large");
	for (unsigned i = 0; i < 2; i++) {
		redo_place_pattern(bytes, len, i);
		uint64_t sequence = journal_sequence(p->store.journal);
		redo_place_write(f, bytes, len, 0);
		assert_int_equal(file_commit(f), 0);
		/* The first time everything is fresh. */
		assert_true(journal_sequence(p->store.journal) >= sequence + (i ? 3 : 1));
		redo_place_expect(f, bytes, len);
	}
	file_put(f);
	redo_place_crash(p, NULL, 0);
	redo_place_mount(p);
	f = redo_place_open(p, "large");
	redo_place_expect(f, bytes, len);
	file_put(f);
	free(bytes);
}

static void a_users_time_survives_a_recovery(void **state)
{
	struct store_place *p = *state;
	const struct timespec first[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 3000, .tv_nsec = 3}};
	const struct timespec second[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 4000, .tv_nsec = 4}};
	struct stat st;
	for (unsigned hard = 0; hard < 2; hard++) {
		(void)unlinkat(p->root->fd, redo_place_name(p, "x").lower, 0);
		make(p);
		struct file *f = redo_place_open(p, "x");
		overwrite(f, 0, PAGE, 2);
		assert_int_equal(hard ? file_sync(f, false) : file_commit(f), 0);
		assert_int_equal(file_set_times(f, first), 0);
		ino_t ino = f->ino;
		/* Not open: by its name. */
		file_put(f);
		assert_int_equal(
			utimensat(p->root->fd, redo_place_name(p, "x").lower, second, 0), 0);
		redo_times(&p->store, ino, second);
		redo_place_crash(p, NULL, 0);
		assert_int_equal(redo_place_mount(p).files, 1);
		f = redo_place_open(p, "x");
		assert_int_equal(file_stat(f, &st), 0);
		assert_int_equal(st.st_mtim.tv_sec, 4000);
		assert_int_equal(st.st_mtim.tv_nsec, 4);
		redo_place_expect(f, next, SIZE);
		file_put(f);
	}
	/* Of what the journal does not speak of nothing is written. */
	uint64_t used = redo_place_status(p).used;
	redo_times(&p->store, 1, second);
	assert_int_equal(redo_place_status(p).used, used);
}

/* Of an erased file nothing is written any more: not what was staged, and not by a recovery. */
static void a_forgotten_file_is_not_written(void **state)
{
	struct store_place *p = *state;
	static uint8_t noise[LOWER_MAX];
	make(p);
	struct file *f = redo_place_open(p, "x"), *none = NULL;
	overwrite(f, 0, SIZE / 2, 2);
	assert_int_equal(file_sync(f, false), 0);
	ino_t ino = f->ino;
	AUTO_CLOSE fd = redo_place_fd(p, "x");
	for (unsigned open = 0; open < 2; open++) {
		overwrite(f, SIZE / 2, PAGE, 3);
		assert_int_equal(file_commit(f), 0);
		overwrite(f, SIZE / 2 + PAGE, PAGE, 4);
		if (!open)
			file_put(f);
		assert_int_equal(renameat(p->root->fd, redo_place_name(p, "x").lower, p->tenant_fd,
					 "in the trash"),
			0);
		assert_true(redo_forget(&p->store, ino));
		assert_null(redo_find(&p->store, ino));
		redo_place_pattern(noise, LOWER_MAX, 99);
		assert_int_equal(pwrite(fd, noise, LOWER_MAX, 0), LOWER_MAX);
		assert_int_equal(redo_checkpoint(&p->store), 0);
		assert_int_equal(pread(fd, now, LOWER_MAX, 0), LOWER_MAX);
		assert_memory_equal(now, noise, LOWER_MAX);
		assert_false(redo_forget(&p->store, ino));
		assert_int_equal(p->store.journal->reserved, 0);
		if (open) {
			file_put(f);
			break;
		}
		make(p);
		close(fd);
		fd = redo_place_fd(p, "x");
		f = redo_place_open(p, "x");
		ino = f->ino;
	}
	assert_int_equal(pread(fd, now, LOWER_MAX, 0), LOWER_MAX);
	assert_memory_equal(now, noise, LOWER_MAX);
	redo_place_crash(p, &none, 1);
	assert_int_equal(redo_place_mount(p).files, 0);
	assert_int_equal(pread(fd, now, LOWER_MAX, 0), LOWER_MAX);
	assert_memory_equal(now, noise, LOWER_MAX);
}

/* A second of idleness empties the journal; with somebody at work the fifth second does. */
static void the_clock_empties_the_journal(void **state)
{
	struct store_place *p = *state;
	struct redo *r = p->store.redo;
	make(p);
	struct file *f = redo_place_open(p, "x");
	redo_tick(r);
	redo_tick(r);
	uint64_t epoch = p->store.journal->super.epoch;
	redo_tick(r);
	assert_int_equal(p->store.journal->super.epoch, epoch);
	/* Dirty in memory alone counts. */
	overwrite(f, 0, PAGE, 2);
	redo_tick(r);
	assert_int_equal(p->store.journal->super.epoch, epoch);
	redo_tick(r);
	assert_true(p->store.journal->super.epoch > epoch);
	redo_place_raw(p, "x", now, LOWER_MAX);
	assert_memory_not_equal(now, raw, LOWER_MAX);
	epoch = p->store.journal->super.epoch;
	for (unsigned second = 1; second <= 5; second++) {
		assert_int_equal(p->store.journal->super.epoch, epoch);
		overwrite(f, 0, PAGE, second);
		redo_tick(r);
	}
	assert_true(p->store.journal->super.epoch > epoch);
	epoch = p->store.journal->super.epoch;
	/* Somebody is in a hurry: what was freed is still in the journal. */
	overwrite(f, 0, PAGE, 2);
	redo_hurry(&p->store);
	redo_tick(r);
	assert_true(p->store.journal->super.epoch > epoch);
	file_put(f);
}

static void the_thread_does_so(void **state)
{
	struct store_place *p = *state;
	const struct redo_options options = {.by_hand = false};
	make(p);
	assert_int_equal(redo_stop(p->store.redo), 0);
	assert_int_equal(redo_start(&p->store, &options, &p->store.redo), 0);
	struct file *f = redo_place_open(p, "x");
	for (unsigned hurry = 0; hurry < 2; hurry++) {
		overwrite(f, 0, PAGE, 2 + hurry);
		assert_int_equal(file_commit(f), 0);
		if (hurry)
			redo_hurry(&p->store);
		for (unsigned i = 0; redo_place_status(p).used && i < 600; i++)
			usleep(50000);
		assert_int_equal(redo_place_status(p).used, 0);
	}
	file_put(f);
}

static void without_a_journal_it_is_written_in_place(void **state)
{
	struct store_place *p = *state;
	make(p);
	redo_place_end(p);
	flushes(false);
	struct file *f = redo_place_open(p, "x");
	overwrite(f, 10 * PAGE, PAGE, 2);
	redo_place_raw(p, "x", now, LOWER_MAX);
	assert_memory_not_equal(
		now + block_map_data_offset(10), raw + block_map_data_offset(10), PAGE);
	file_put(f);
	assert_int_equal(flushes(false), 0);
	f = redo_place_open(p, "x");
	redo_place_expect(f, next, SIZE);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_false(redo_forget(&p->store, f->ino));
	file_put(f);
	struct stat st;
	assert_int_equal(fstatat(p->tenant_fd, "journal", &st, 0), 0);
}

/* Whoever hung while another took the tenant writes nothing when he wakes up: not what he was about
 * to promise, and not what he had promised, since the other has brought that to its place and gone
 * on. */
static void who_has_lost_the_tenant_writes_nothing(void **state)
{
	struct store_place *p = *state;
	for (unsigned before = 0; before < 3; before++) {
		(void)unlinkat(p->root->fd, redo_place_name(p, "x").lower, 0);
		make(p);
		struct file *f = redo_place_open(p, "x");
		overwrite(f, 0, PAGE, 2);
		if (before)
			assert_int_equal(before == 1 ? file_commit(f) : file_sync(f, false), 0);
		/* The other one: its own journal, its own store; it recovers and writes. */
		struct store mine = p->store;
		struct recover_result r;
		p->store.redo = NULL;
		redo_place_open_journal(p);
		assert_int_equal(recover_store(&p->store, false, &r), 0);
		store_place_redo(p);
		struct file *g = redo_place_open(p, "x");
		uint8_t theirs[PAGE];
		redo_place_pattern(theirs, PAGE, 77);
		redo_place_write(g, theirs, PAGE, 0);
		file_put(g);
		redo_place_end(p);
		redo_place_raw(p, "x", raw, LOWER_MAX);
		AUTO_CLOSE fd = openat(p->tenant_fd, "journal", O_RDONLY | O_CLOEXEC);
		uint8_t supers[2 * PAGE], after[2 * PAGE];
		assert_int_equal(pread(fd, supers, sizeof(supers), 0), sizeof(supers));
		/* The first wakes up. */
		p->store.journal = mine.journal;
		p->store.redo = mine.redo;
		if (before < 2)
			assert_int_equal(file_sync(f, false), -EIO);
		assert_true(redo_checkpoint(&p->store) < 0);
		assert_true(store_is_read_only(&p->store));
		assert_true(file_sync(f, false) < 0);
		file_put(f);
		(void)!redo_stop(p->store.redo);
		journal_close(p->store.journal);
		assert_int_equal(pread(fd, after, sizeof(after), 0), sizeof(after));
		assert_memory_equal(after, supers, sizeof(after));
		expect_raw(p);
		store_place_mended(p);
		p->store.redo = NULL;
		redo_place_mount(p);
		g = redo_place_open(p, "x");
		memcpy(next, theirs, PAGE);
		redo_place_expect(g, next, SIZE);
		file_put(g);
	}
	assert_int_equal(p->alarms, 0);
}

/* As long as something cannot be brought to its place: the journal does not grow by the tries, and
 * with space it is emptied. */
static void a_checkpoint_that_fails_again_and_again(void **state)
{
	struct store_place *p = *state;
	make(p);
	struct file *f = redo_place_open(p, "x");
	overwrite(f, 0, PAGE, 2);
	assert_int_equal(file_commit(f), 0);
	redo_place_disk.full = true;
	assert_int_equal(redo_checkpoint(&p->store), -ENOSPC);
	uint64_t used = redo_place_status(p).used;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(redo_checkpoint(&p->store), -ENOSPC);
	assert_int_equal(redo_place_status(p).used, used);
	assert_false(store_is_read_only(&p->store));
	redo_place_disk.full = false;
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(redo_place_status(p).used, 0);
	file_put(f);
}

/* A page of which nothing changed is in no record, and in the list of those that are but once. */
static void a_page_without_changes_is_not_logged(void **state)
{
	struct store_place *p = *state;
	const struct file_units none = {{0}};
	uint8_t page[PAGE];
	make(p);
	struct file *f = redo_place_open(p, "x");
	redo_place_raw(p, "x", now, LOWER_MAX);
	memcpy(page, now + 2 * PAGE, PAGE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(file_stage_put(f, 2 * PAGE, page, &none), 0);
	assert_null(f->changed);
	for (int i = 0; i < 2; i++)
		assert_int_equal(file_stage_put(f, 2 * PAGE, page, NULL), 0);
	assert_non_null(f->changed);
	assert_null(f->changed->next_changed);
	overwrite(f, 0, PAGE, 2);
	assert_int_equal(file_commit(f), 0);
	redo_place_expect(f, next, SIZE);
	file_put(f);
}

static void then_it_is_full(int fd, uint64_t at)
{
	(void)fd, (void)at;
	redo_place_disk.full = true;
}

/* Whatever a checkpoint fails at: the next one flushes what the first has put in place, with the
 * times and with what became of names. The time stays where it was. */
static void a_checkpoint_that_failed_is_made_good(void **state)
{
	struct store_place *p = *state;
	const struct timespec ts[2] = {{1000, 1}, {2000, 2}};
	struct stat st;
	make(p);
	struct file *f = redo_place_open(p, "x");
	unsigned at = 1;
	for (bool failed = true; failed; at++) {
		overwrite(f, 0, PAGE, at);
		assert_int_equal(file_set_times(f, ts), 0);
		redo_place_disk.fail_in = at;
		redo_place_disk.error = -ENOMEM;
		redo_place_disk.failed = 0;
		int rc = redo_checkpoint(&p->store);
		failed = redo_place_disk.failed;
		assert_true(rc == 0 || (failed && rc == -ENOMEM));
		redo_place_disk.fail_in = 0;
		assert_int_equal(redo_checkpoint(&p->store), 0);
		assert_int_equal(redo_place_status(p).used, 0);
		assert_int_equal(redo_place_disk.in_place, 0);
	}
	assert_in_range(at, 5, 20);
	overwrite(f, 50 * PAGE, PAGE, at);
	assert_int_equal(file_set_times(f, ts), 0);
	redo_place_disk.sees = then_it_is_full;
	assert_int_equal(redo_checkpoint(&p->store), -ENOSPC);
	redo_place_disk.sees = NULL;
	redo_place_disk.full = false;
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(file_stat(f, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	redo_place_expect(f, next, SIZE);
	file_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, redo_place_make, redo_place_remove)
		T(what_is_written_over_is_not_in_place_yet),
		T(a_checkpoint_that_fails_again_and_again),
		T(a_checkpoint_that_failed_is_made_good),
		T(a_page_without_changes_is_not_logged),
		T(a_closed_file_keeps_no_time),
		T(names_are_counted_when_none_returns),
		T(a_told_time_goes_with_the_commit),
		T(nothing_goes_to_its_place_before_the_flush),
		T(close_is_soft_and_fsync_hard),
		T(one_flush_serves_all_who_wait),
		T(large_writes_of_many_find_room),
		T(a_checkpoint_empties_the_ring_and_keeps_times),
		T(a_closed_file_waits_for_the_checkpoint),
		T(a_full_ring_forces_a_checkpoint),
		T(a_large_write_is_several_records),
		T(a_users_time_survives_a_recovery),
		T(a_forgotten_file_is_not_written),
		T(the_clock_empties_the_journal),
		T(the_thread_does_so),
		T(without_a_journal_it_is_written_in_place),
		T(who_has_lost_the_tenant_writes_nothing),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
