/*
 * fs/store/redo and file*: random operations (TENANTFS_TEST_COUNT, TENANTFS_TEST_SEED) over 20
 * files and a journal of 1 MiB, in which lower calls and allocations fail now and then: what was
 * there or was asked for reads back, after kills too, and of the room kept in the journal none is
 * lost. And what takes no memory at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/file_internal.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/redo_place.h"

#include <linux/falloc.h>

#define FILES 20u
#define OPERATIONS 10000u
#define SIZE_MAX_ (150u * PAGE)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

struct model {
	struct file *f;
	char name[8];
	size_t size;
	uint8_t bytes[SIZE_MAX_];
};

static struct model files[FILES], wanted;
static uint8_t work[SIZE_MAX_ + 1];
static uint64_t state_;
static unsigned failures, troubles, kills;

static unsigned random_below(unsigned n)
{
	state_ = state_ * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((state_ >> 33) % n);
}

/* One of the next calls fails, in one case of eight. */
static bool arm(bool checkpoint)
{
	static const int errors[] = {-ENOMEM, -EINTR, -ENOSPC};
	if (random_below(8))
		return false;
	if (random_below(2)) {
		fail_alloc_arm(1 + random_below(5), true);
	} else {
		redo_place_disk.error = checkpoint ? -ENOMEM : errors[random_below(3)];
		redo_place_disk.fail_in = 1 + random_below(8);
	}
	return true;
}

static void disarm(struct store_place *p)
{
	(void)fail_alloc_disarm();
	failures += redo_place_disk.failed;
	redo_place_disk.failed = redo_place_disk.fail_in = 0;
	/* A checkpoint that came on the way was told of a full disk. */
	if (store_is_read_only(&p->store)) {
		store_place_mended(p);
		troubles++;
	}
	assert_false(p->store.journal->failed);
}

static void compare(struct model *m)
{
	struct stat st;
	assert_int_equal(file_stat(m->f, &st), 0);
	assert_int_equal(st.st_size, m->size);
	assert_int_equal(file_read(m->f, work, sizeof(work), 0), m->size);
	if (memcmp(work, m->bytes, m->size)) {
		size_t i = 0;
		while (work[i] == m->bytes[i])
			i++;
		fail_msg("%s: byte %zu of %zu is %02x, not %02x", m->name, i, m->size, work[i],
			m->bytes[i]);
	}
}

static uint8_t byte_of(const uint8_t *bytes, size_t size, size_t i)
{
	return i < size ? bytes[i] : 0;
}

/* Something failed: each byte is as before or as wanted. The file is the model from now on. */
static void take_over(struct store_place *p, struct model *m)
{
	size_t low = m->size < wanted.size ? m->size : wanted.size;
	size_t high = m->size < wanted.size ? wanted.size : m->size;
	ssize_t n = file_read(m->f, work, sizeof(work), 0);
	if (n < (ssize_t)low || n > (ssize_t)high)
		fail_msg("%s: %zd bytes, not %zu to %zu (%s: %s)", m->name, n, low, high, p->what,
			p->detail);
	for (size_t i = 0; i < (size_t)n; i++) {
		uint8_t a = byte_of(m->bytes, m->size, i),
			b = byte_of(wanted.bytes, wanted.size, i);
		if (work[i] != a && work[i] != b)
			fail_msg("%s: byte %zu of %zd is %02x, neither %02x nor %02x", m->name, i,
				n, work[i], a, b);
	}
	memcpy(m->bytes, work, (size_t)n);
	m->size = (size_t)n;
}

static void finish(struct store_place *p, struct model *m, bool armed, int64_t rc, int64_t good)
{
	disarm(p);
	if (!armed && rc != good)
		fail_msg("%s: %lld", m->name, (long long)rc);
	if (rc == good) {
		m->size = wanted.size;
		memcpy(m->bytes, wanted.bytes, wanted.size);
	} else {
		take_over(p, m);
	}
}

static void want_size(size_t size)
{
	if (size > wanted.size)
		memset(wanted.bytes + wanted.size, 0, size - wanted.size);
	wanted.size = size;
}

static void do_write(struct store_place *p, struct model *m)
{
	size_t len = 1 + random_below(random_below(20) ? 3 * PAGE : 45 * PAGE);
	size_t at = random_below(SIZE_MAX_ - (unsigned)len);
	if (random_below(3) == 0 && m->size + len < SIZE_MAX_)
		at = m->size;
	if (random_below(3) == 0)
		at -= at % PAGE;
	if (at > wanted.size)
		want_size(at);
	redo_place_pattern(wanted.bytes + at, len, random_below(1u << 30));
	if (at + len > wanted.size)
		wanted.size = at + len;
	memcpy(work, wanted.bytes + at, len);
	bool armed = arm(false);
	ssize_t n = file_write(m->f, work, len, at);
	finish(p, m, armed, n, (ssize_t)len);
}

static void do_truncate(struct store_place *p, struct model *m)
{
	size_t size = random_below(5) ? random_below(SIZE_MAX_) : 0;
	want_size(size);
	bool armed = arm(false);
	finish(p, m, armed, file_truncate(m->f, size), 0);
}

static void do_range(struct store_place *p, struct model *m, int mode)
{
	size_t at = random_below(SIZE_MAX_ - 1);
	size_t len = 1 + random_below(SIZE_MAX_ - (unsigned)at);
	for (size_t i = at; mode && i < at + len && i < m->size; i++)
		wanted.bytes[i] = 0;
	if (!mode && at + len > m->size)
		want_size(at + len);
	bool armed = arm(false);
	finish(p, m, armed, file_range_change(m->f, mode, at, len), 0);
}

static void reopen(struct store_place *p, struct model *m, bool armed)
{
	int rc = file_open(p->root, redo_place_name(p, m->name).lower, &m->f);
	disarm(p);
	if (rc && armed)
		m->f = redo_place_open(p, m->name);
	else
		assert_int_equal(rc, 0);
}

/* Removed, closed before or after; another one of this name. */
static void replace(struct store_place *p, struct model *m)
{
	struct name n = redo_place_name(p, m->name);
	ino_t ino = m->f->ino;
	bool open = random_below(2);
	if (!open)
		file_put(m->f);
	assert_int_equal(unlinkat(p->root->fd, n.lower, 0), 0);
	if (open)
		file_put(m->f);
	(void)redo_forget(&p->store, ino);
	m->f = redo_place_create(p, m->name);
	m->size = 0;
}

static void small_operation(struct store_place *p, struct model *m, unsigned kind)
{
	const struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = random_below(1000)}};
	bool armed = arm(kind >= 6);
	int rc = 0;
	switch (kind) {
	case 0:
	case 1:
		rc = file_commit(m->f);
		break;
	case 2:
		rc = file_sync(m->f, random_below(2));
		break;
	case 3:
	case 4:
		file_put(m->f);
		reopen(p, m, armed);
		break;
	case 5:
		rc = file_set_times(m->f, ts);
		break;
	case 6:
		redo_tick(p->store.redo);
		break;
	default:
		rc = redo_checkpoint(&p->store);
		break;
	}
	disarm(p);
	if (!armed && rc)
		fail_msg("%s: small operation %u: %d, %llu bytes promised, %llu sectors kept",
			m->name, kind, rc, (unsigned long long)m->f->promised,
			(unsigned long long)m->f->reserved);
}

static void operation(struct store_place *p)
{
	struct model *m = &files[random_below(FILES)];
	unsigned kind = random_below(1000);
	wanted.size = m->size;
	memcpy(wanted.bytes, m->bytes, m->size);
	if (kind < 450)
		do_write(p, m);
	else if (kind < 560)
		compare(m);
	else if (kind < 600)
		do_truncate(p, m);
	else if (kind < 640)
		do_range(p, m, kind < 620 ? PUNCH : kind < 630 ? ZERO : 0);
	else if (kind < 650)
		replace(p, m);
	else if (kind < 655)
		small_operation(p, m, 7);
	else
		small_operation(p, m, kind % 7);
}

/* Whatever was kept has been used or given back. */
static void nothing_is_kept(struct store_place *p)
{
	assert_int_equal(redo_checkpoint(&p->store), 0);
	const struct journal *j = p->store.journal;
	assert_int_equal(j->reserved, 0);
	assert_int_equal(j->reserved_erasures, 0);
	assert_int_equal(j->touched_count, 0);
	assert_int_equal(redo_place_status(p).used, redo_place_status(p).waiting);
	for (unsigned i = 0; i < FILES; i++) {
		const struct file *f = files[i].f;
		assert_int_equal(f->reserved, 0);
		assert_int_equal(f->staged_count, 0);
		assert_false(f->dirty || f->listed);
	}
}

static void kill_it(struct store_place *p)
{
	struct file *open[FILES];
	for (unsigned i = 0; i < FILES; i++) {
		assert_int_equal(file_commit(files[i].f), 0);
		open[i] = files[i].f;
	}
	redo_place_crash(p, open, FILES);
	(void)redo_place_mount(p);
	for (unsigned i = 0; i < FILES; i++) {
		files[i].f = redo_place_open(p, files[i].name);
		compare(&files[i]);
	}
	kills++;
}

static void random_operations(void **state)
{
	struct store_place *p = *state;
	const char *seed = getenv("TENANTFS_TEST_SEED"), *count = getenv("TENANTFS_TEST_COUNT");
	state_ = seed ? strtoull(seed, NULL, 10) : 1;
	unsigned operations = count ? (unsigned)strtoul(count, NULL, 10) : OPERATIONS;
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(files[i].name, sizeof(files[i].name), "f%u", i);
		files[i].f = redo_place_create(p, files[i].name);
	}
	for (unsigned i = 1; i <= operations; i++) {
		operation(p);
		if (i % 1000 == 0)
			nothing_is_kept(p);
		if (i % 3700 == 0)
			kill_it(p);
	}
	print_message(
		"%u failures, %u checkpoints among them, %u kills\n", failures, troubles, kills);
	assert_true(failures > operations / 200);
	nothing_is_kept(p);
	for (unsigned i = 0; i < FILES; i++)
		file_put(files[i].f);
	redo_place_end(p);
	for (unsigned i = 0; i < FILES; i++) {
		files[i].f = redo_place_open(p, files[i].name);
		compare(&files[i]);
		file_put(files[i].f);
	}
	assert_int_equal(p->alarms, 0);
}

/* Whether it takes more than so many allocations; it must not, since one more would fail. */
static void takes_at_most(unsigned most, struct file *f, bool write, uint64_t block, size_t blocks)
{
	fail_alloc_arm(most + 1, false);
	ssize_t n = write ? file_write(f, work, blocks * PAGE, block * PAGE)
			  : file_read(f, work, blocks * PAGE, block * PAGE);
	if (fail_alloc_disarm())
		fail_msg(
			"%s %zu blocks from %u", write ? "write" : "read", blocks, (unsigned)block);
	assert_int_equal(n, blocks * PAGE);
}

/* Once a file is warm: neither what is read nor what is written where nothing was; over what is
 * there only the copy of each block that waits for the checkpoint, and now and then their list. */
static void reading_and_writing_take_no_memory(void **state)
{
	struct store_place *p = *state;
	struct file *f = redo_place_create(p, "x");
	redo_place_pattern(work, sizeof(work), 1);
	assert_int_equal(file_write(f, work, 100 * PAGE, 0), 100 * PAGE);
	assert_int_equal(file_commit(f), 0);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(file_read(f, work, 100 * PAGE, 0), 100 * PAGE);
	for (uint64_t block = 0; block < 64; block++)
		takes_at_most(0, f, false, block, block % 2 ? 1 : 36);
	for (uint64_t block = 100; block < 120; block++)
		takes_at_most(0, f, true, block, 1);
	assert_int_equal(file_commit(f), 0);
	for (uint64_t block = 0; block < 8; block++)
		takes_at_most(2, f, true, block, 1);
	for (uint64_t block = 0; block < 8; block++)
		takes_at_most(0, f, true, block, 1);
	takes_at_most(0, f, true, 0, 8);
	file_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			reading_and_writing_take_no_memory, redo_place_make, redo_place_remove),
		cmocka_unit_test_setup_teardown(
			random_operations, redo_place_make, redo_place_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
