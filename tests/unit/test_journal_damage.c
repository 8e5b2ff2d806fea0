/*
 * A journal with commits in it that somebody damages: each byte of its superblocks changed, records
 * changed and cut, an old copy put back, another tenant's. The store is refused with a sentence, or
 * each file is in a state that was committed; nothing else ever reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/redo_place.h"

#define SECTOR JOURNAL_FORMAT_SECTOR
#define FILES 3u
#define STATES 12u /* of a file, at most */
#define SIZE (8 * PAGE)
#define RAW_MAX (12 * PAGE)
#define KEPT 4u /* saved disks */

/* What is on the disk: journal and lower files. */
struct disk {
	uint8_t journal[JOURNAL_BYTES_MIN];
	uint8_t raw[FILES][RAW_MAX];
	size_t len[FILES];
};

static struct disk disks[KEPT], *here;
static uint8_t states[FILES][STATES][SIZE];
static unsigned counts[FILES], refused, recovered, stale;
static uint64_t flushed; /* sectors of records that are durable, with others behind them */
static const char *const names[FILES] = {"a", "b", "c"};

static int journal_fd(struct store_place *p)
{
	int fd = openat(p->tenant_fd, "journal", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void save(struct store_place *p, struct disk *d)
{
	AUTO_CLOSE fd = journal_fd(p);
	assert_int_equal(pread(fd, d->journal, sizeof(d->journal), 0), sizeof(d->journal));
	for (unsigned i = 0; i < FILES; i++)
		d->len[i] = redo_place_raw(p, names[i], d->raw[i], RAW_MAX);
}

static void put_journal(struct store_place *p, const uint8_t *bytes)
{
	AUTO_CLOSE fd = journal_fd(p);
	assert_int_equal(pwrite(fd, bytes, JOURNAL_BYTES_MIN, 0), JOURNAL_BYTES_MIN);
}

static void put_back(struct store_place *p, const struct disk *d)
{
	put_journal(p, d->journal);
	for (unsigned i = 0; i < FILES; i++) {
		AUTO_CLOSE fd = redo_place_fd(p, names[i]);
		assert_int_equal(ftruncate(fd, (off_t)d->len[i]), 0);
		assert_int_equal(pwrite(fd, d->raw[i], d->len[i], 0), d->len[i]);
	}
}

/* Another committed state of file i: two blocks of it are written over. */
static void change(struct store_place *p, unsigned i, bool hard)
{
	struct file *f = redo_place_open(p, names[i]);
	uint8_t *state = states[i][counts[i]];
	unsigned n = counts[i]++;
	assert_true(n && n < STATES);
	memcpy(state, states[i][n - 1], SIZE);
	redo_place_pattern(state + n % 6 * PAGE, 2 * PAGE, 100 * i + n);
	redo_place_write(f, state + n % 6 * PAGE, 2 * PAGE, n % 6 * PAGE);
	assert_int_equal(hard ? file_sync(f, false) : file_commit(f), 0);
	file_put(f);
}

/* Three files; a checkpoint; commits of them in the ring, hard and soft. */
static int setup(void **state)
{
	if (redo_place_make(state) < 0)
		return -1;
	struct store_place *p = *state;
	refused = recovered = stale = 0;
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = redo_place_create(p, names[i]);
		redo_place_pattern(states[i][0], SIZE, 1000 + i);
		redo_place_write(f, states[i][0], SIZE, 0);
		file_put(f);
		counts[i] = 1;
	}
	assert_int_equal(redo_checkpoint(&p->store), 0);
	for (unsigned n = 0; n < 3; n++)
		for (unsigned i = 0; i < FILES; i++) {
			change(p, i, n != 2 && i != 2);
			if (n == 1 && i == 1)
				flushed = redo_place_status(p).used / SECTOR;
		}
	here = &disks[0];
	save(p, here);
	return 0;
}

/* As the disk is: refused with a sentence, or recovered to states that were committed, after a
 * second recovery, too. first: the oldest state that file i may be in. */
static void check(struct store_place *p, const char *what, uint64_t at, const unsigned *first)
{
	static uint8_t got[SIZE + 1];
	struct recover_result r;
	struct err e = {0};
	int rc = journal_open(&p->fail.base, p->tenant_fd, p->keys, false, &p->store.journal, &e);
	if (rc) {
		assert_int_equal(rc, -EBADMSG);
		assert_non_null(strstr(e.text, "journal=reset"));
		refused++;
		/* With it, what stands before a missing record is recovered. */
		rc = journal_open(
			&p->fail.base, p->tenant_fd, p->keys, true, &p->store.journal, NULL);
		assert_true(rc == 1 || rc == -EBADMSG);
		if (rc < 0)
			return;
	}
	rc = recover_store(&p->store, false, &r);
	if (rc)
		fail_msg("%s at %llu: %d", what, (unsigned long long)at, rc);
	recovered++;
	stale += r.stale;
	journal_close(p->store.journal);
	p->store.journal = NULL;
	for (unsigned i = 0; i < FILES; i++) {
		unsigned n = first ? first[i] : 0;
		struct file *f = redo_place_open(p, names[i]);
		ssize_t len = file_read(f, got, sizeof(got), 0);
		file_put(f);
		if (len != SIZE)
			fail_msg("%s at %llu: %s reads %zd", what, (unsigned long long)at, names[i],
				len);
		while (n < counts[i] && memcmp(got, states[i][n], SIZE))
			n++;
		if (n == counts[i])
			fail_msg("%s at %llu: %s is in no state that was committed", what,
				(unsigned long long)at, names[i]);
	}
}

static void stop(struct store_place *p)
{
	redo_place_crash(p, NULL, 0);
}

static void each_byte_of_the_superblocks(void **state)
{
	struct store_place *p = *state;
	static uint8_t bytes[JOURNAL_BYTES_MIN];
	const unsigned last[FILES] = {counts[0] - 1, counts[1] - 1, counts[2] - 1};
	stop(p);
	for (unsigned which = 1; which <= 3; which++) {
		for (unsigned at = 0; at < SECTOR; at++) {
			put_back(p, here);
			memcpy(bytes, here->journal, sizeof(bytes));
			for (unsigned slot = 0; slot < 2; slot++)
				if (which & 1u << slot)
					bytes[slot * JOURNAL_FORMAT_SUPER_STEP + at] ^=
						(uint8_t)(1 + at % 255);
			put_journal(p, bytes);
			/* One of them loses nothing. */
			unsigned before = refused;
			if (at == 4 || at == 5)
				continue; /* a newer format: unit/journal */
			check(p, "superblock", at, last);
			if (which < 3)
				assert_int_equal(refused, before);
		}
	}
	print_message("%u refused, %u recovered\n", refused, recovered);
	assert_int_equal(stale, 0);
	assert_int_equal(p->alarms, 0);
	assert_true(refused);
}

/* One byte of each sector of each record changed, the sector lost, all from there on lost. */
static void each_sector_of_the_records(void **state)
{
	struct store_place *p = *state;
	static uint8_t bytes[JOURNAL_BYTES_MIN];
	uint64_t used = redo_place_status(p).used, tail = p->store.journal->super.tail;
	stop(p);
	for (uint64_t i = 0; i < used / SECTOR; i++) {
		uint64_t at = JOURNAL_FORMAT_RING + (tail + i) * SECTOR;
		for (unsigned how = 0; how < 3; how++) {
			put_back(p, here);
			memcpy(bytes, here->journal, sizeof(bytes));
			if (how == 0)
				bytes[at + i * 37 % SECTOR] ^= 0x10;
			else
				redo_place_pattern(bytes + at,
					how == 1 ? SECTOR : (size_t)(used - i * SECTOR),
					(unsigned)i);
			put_journal(p, bytes);
			unsigned before = refused;
			check(p, how == 0 ? "bit" : how == 1 ? "sector" : "rest", i, NULL);
			/* Those at the end were not flushed; without the rest nothing is missed. */
			if (how == 2 || i < flushed)
				assert_int_equal(refused - before, how < 2);
		}
	}
	print_message("%u refused, %u recovered\n", refused, recovered);
	assert_int_equal(stale, 0);
	assert_int_equal(p->alarms, 0);
	assert_true(recovered);
}

/* Of an earlier moment, over files that have gone on: what it says is either still so, or of a file
 * that is newer, which is an alarm and not touched. */
static void an_old_copy_is_put_back(void **state)
{
	struct store_place *p = *state;
	unsigned first[FILES];
	for (unsigned k = 1; k < KEPT; k++) {
		for (unsigned i = 0; i < FILES; i++)
			change(p, i, k & 1);
		if (k >= 2)
			assert_int_equal(redo_checkpoint(&p->store), 0);
		save(p, &disks[k]);
	}
	stop(p);
	for (unsigned files = 0; files < KEPT; files++)
		for (unsigned journal = 0; journal < KEPT; journal++) {
			put_back(p, &disks[files]);
			put_journal(p, disks[journal].journal);
			/* What a checkpoint brought in place is not undone. */
			for (unsigned i = 0; i < FILES; i++)
				first[i] = files >= 2 ? counts[i] - (KEPT - files) : 0;
			check(p, "old copy", files * 10 + journal, first);
		}
	print_message("%u refused, %u recovered, %u files newer than a journal\n", refused,
		recovered, stale);
	assert_true(stale);
	assert_true(p->alarms);
}

static void another_tenants_is_refused(void **state)
{
	struct store_place *p = *state, *other;
	void *second = NULL;
	stop(p);
	assert_int_equal(store_place_make(&second), 0);
	other = second;
	assert_int_equal(
		journal_create(lower_posix(), other->tenant_fd, other->keys, JOURNAL_BYTES_MIN), 0);
	static uint8_t bytes[JOURNAL_BYTES_MIN];
	AUTO_CLOSE fd = journal_fd(other);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	put_back(p, here);
	put_journal(p, bytes);
	check(p, "another tenant's", 0, NULL);
	assert_int_equal(refused, 1);
	store_place_remove(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, redo_place_remove)
		T(each_byte_of_the_superblocks),
		T(each_sector_of_the_records),
		T(an_old_copy_is_put_back),
		T(another_tenants_is_refused),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
