/*
 * fs/store/file_range: allocated, punched and zeroed ranges read as they must, after reopening too;
 * the bytes that lay there are gone from the lower file; every lower call may fail; seeking agrees
 * with what was written and believes nobody else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/block_map.h"
#include "fs/store/file.h"
#include "fs/store/format.h"
#include "fs/store/recover.h"
#include "tests/unit/journal_fixture.h"
#include "tests/unit/store_place.h"

#include <errno.h>
#include <linux/falloc.h>

#define PAGE 4096u
#define ROOM (300u * PAGE)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO FALLOC_FL_ZERO_RANGE
#define ZERO_KEEP (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
#define KEEP FALLOC_FL_KEEP_SIZE

static struct file *create(struct store_place *p, const char *plain)
{
	struct name n;
	struct file *f;
	struct stat st;
	assert_int_equal(name_seal(p->root, plain, &n), 0);
	(void)unlinkat(p->root->fd, n.lower, 0);
	assert_int_equal(file_create(p->root, &n, 0640, NULL, &f, &st), 0);
	return f;
}

static struct file *reopen(struct store_place *p, const char *plain)
{
	struct name n;
	struct file *f = NULL;
	assert_int_equal(name_seal(p->root, plain, &n), 0);
	assert_int_equal(file_open(p->root, n.lower, &f), 0);
	return f;
}

static int lower_fd(struct store_place *p, const char *plain, int flags)
{
	struct name n;
	assert_int_equal(name_seal(p->root, plain, &n), 0);
	int fd = openat(p->root->fd, n.lower, flags | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static uint64_t size_of(struct file *f)
{
	struct stat st;
	assert_int_equal(file_stat(f, &st), 0);
	return (uint64_t)st.st_size;
}

/* The file must read as these len bytes. */
static void expect(struct file *f, const uint8_t *bytes, size_t len)
{
	uint8_t *got = malloc(len + 1);
	assert_non_null(got);
	assert_int_equal(size_of(f), len);
	assert_int_equal(file_read(f, got, len + 1, 0), len);
	assert_memory_equal(got, bytes, len);
	free(got);
}

static void fill(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(1 + i % 251);
}

struct range {
	int mode;
	uint64_t offset, len;
};

/* On a file of 200 blocks and 100 bytes, that is group 0, all of group 1 and some of group 2. */
static void each_range_reads_as_it_must(void **state)
{
	struct store_place *p = *state;
	static const struct range ranges[] = {
		{PUNCH, 0, PAGE},
		{PUNCH, 1, 10},
		{PUNCH, 4000, 200},
		{PUNCH, 5, 3 * PAGE},
		{PUNCH, 63 * PAGE + 7, 2 * PAGE},
		{PUNCH, 64 * PAGE, 128 * PAGE},
		{PUNCH, 199 * PAGE, PAGE},
		{PUNCH, 200 * PAGE + 10, 5},
		{PUNCH, 200 * PAGE + 10, 90},
		{PUNCH, 200 * PAGE + 10, 9 * PAGE},
		{PUNCH, 0, UINT64_MAX / 4},
		{PUNCH, 500 * PAGE, PAGE},
		{ZERO_KEEP, 100, 70 * PAGE},
		{ZERO_KEEP, 190 * PAGE, 20 * PAGE},
		{ZERO, 190 * PAGE + 1, 20 * PAGE},
		{ZERO, 250 * PAGE, 100},
		{ZERO, 3, 3},
		{0, 0, PAGE},
		{0, 100 * PAGE, 180 * PAGE + 9},
		{KEEP, 100 * PAGE, 180 * PAGE + 9},
		{KEEP, 0, 1},
	};
	uint8_t *want = malloc(2 * ROOM);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
		const struct range *r = &ranges[i];
		size_t len = 200 * PAGE + 100;
		uint64_t end = r->offset + r->len;
		struct file *f = create(p, "r");
		memset(want, 0, 2 * ROOM);
		fill(want, len);
		assert_int_equal(file_write(f, want, len, 0), len);
		assert_int_equal(file_range_change(f, r->mode, r->offset, r->len), 0);
		if (r->mode & ~KEEP && r->offset < len)
			memset(want + r->offset, 0, (end < len ? end : len) - r->offset);
		if (!(r->mode & KEEP) && end > len)
			len = end;
		expect(f, want, len);
		file_put(f);
		f = reopen(p, "r");
		expect(f, want, len);
		/* Growing over it shows nothing of what was there. */
		assert_int_equal(file_truncate(f, len + 3 * PAGE), 0);
		memset(want + len, 0, 3 * PAGE);
		expect(f, want, len + 3 * PAGE);
		file_put(f);
	}
	free(want);
	assert_int_equal(p->alarms, 0);
}

static void what_is_refused(void **state)
{
	struct store_place *p = *state;
	static const struct {
		int mode, want;
		uint64_t offset, len;
	} calls[] = {
		{FALLOC_FL_COLLAPSE_RANGE, -EOPNOTSUPP, 0, PAGE},
		{FALLOC_FL_INSERT_RANGE, -EOPNOTSUPP, 0, PAGE},
		{FALLOC_FL_UNSHARE_RANGE, -EOPNOTSUPP, 0, PAGE},
		{FALLOC_FL_PUNCH_HOLE, -EOPNOTSUPP, 0, PAGE},
		{PUNCH | ZERO, -EOPNOTSUPP, 0, PAGE},
		{0, -EINVAL, 5, 0},
		{0, -EFBIG, BLOCK_MAP_SIZE_MAX, 1},
		{ZERO, -EFBIG, UINT64_MAX - 5, 100},
		{PUNCH, 0, BLOCK_MAP_SIZE_MAX, 1},
		{PUNCH, 0, UINT64_MAX - 5, 100},
	};
	struct file *f = create(p, "e");
	assert_int_equal(file_write(f, "abc", 3, 0), 3);
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		assert_int_equal(file_range_change(f, calls[i].mode, calls[i].offset, calls[i].len),
			calls[i].want);
		expect(f, (const uint8_t *)"abc", 3);
	}
	file_put(f);
	/* An empty file stays one. */
	f = create(p, "e");
	assert_int_equal(file_range_change(f, PUNCH, 0, PAGE), 0);
	assert_int_equal(file_range_change(f, KEEP, 0, PAGE), 0);
	assert_int_equal(size_of(f), 0);
	assert_int_equal(file_range_seek(f, 0, true), -ENXIO);
	file_put(f);
	f = reopen(p, "e");
	assert_int_equal(size_of(f), 0);
	file_put(f);
}

/* A page of the lower file as it is now. */
static void page_at(int fd, uint64_t offset, uint8_t ret[static PAGE])
{
	memset(ret, 0, PAGE);
	assert_true(pread(fd, ret, PAGE, (off_t)offset) >= 0);
}

static void old_bytes_are_overwritten(void **state)
{
	struct store_place *p = *state;
	static const int modes[] = {PUNCH, ZERO_KEEP, ZERO};
	static const uint64_t blocks[] = {2, 3, 63, 64, 70, 129};
	uint8_t before[6][PAGE], now[PAGE], zeros[PAGE] = {0};
	uint8_t *bytes = malloc(ROOM);
	fill(bytes, ROOM);
	for (size_t m = 0; m < 3; m++) {
		struct file *f = create(p, "o");
		assert_int_equal(file_write(f, bytes, 140 * PAGE, 0), 140 * PAGE);
		assert_int_equal(file_commit(f), 0);
		AUTO_CLOSE fd = lower_fd(p, "o", O_RDONLY);
		for (size_t i = 0; i < 6; i++)
			page_at(fd, block_map_data_offset(blocks[i]), before[i]);
		/* Blocks 2 and 129 in part, those between as a whole. */
		assert_int_equal(
			file_range_change(f, modes[m], 2 * PAGE + 5, 127 * PAGE - 5 + 1), 0);
		for (size_t i = 0; i < 6; i++) {
			page_at(fd, block_map_data_offset(blocks[i]), now);
			assert_memory_not_equal(now, before[i], PAGE);
			for (size_t at = 0; at < PAGE; at += 16)
				assert_memory_not_equal(now + at, before[i] + at, 16);
			bool whole = blocks[i] != 2 && blocks[i] != 129;
			if (whole && modes[m] == PUNCH)
				assert_memory_equal(now, zeros, PAGE);
			else
				assert_memory_not_equal(now, zeros, PAGE);
		}
		file_put(f);
	}
	free(bytes);
}

/* Overwritten and durable before the space is given back, and committed durably before both. */
static void the_order_of_a_punch(void **state)
{
	struct store_place *p = *state;
	uint8_t *bytes = malloc(ROOM);
	fill(bytes, ROOM);
	struct file *f = create(p, "q");
	assert_int_equal(file_write(f, bytes, 10 * PAGE, 0), 10 * PAGE);
	assert_int_equal(file_commit(f), 0);
	static const struct {
		enum fail_lower_op op;
		unsigned at;
		bool gone; /* the old bytes, when that call fails */
		int error, answer;
	} steps[] = {{FAIL_LOWER_FSYNC, 1, false, -EINTR, -EINTR},
		{FAIL_LOWER_FALLOCATE, 1, true, -EINTR, -EINTR},
		/* A full filesystem that takes nothing back: the hole is one all the same. */
		{FAIL_LOWER_FALLOCATE, 1, true, -ENOSPC, 0},
		{FAIL_LOWER_FALLOCATE, 1, true, -EDQUOT, 0}};
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		uint8_t before[PAGE], now[PAGE];
		uint64_t block = 2 + i;
		AUTO_CLOSE fd = lower_fd(p, "q", O_RDONLY);
		page_at(fd, block_map_data_offset(block), before);
		fail_lower_arm(&p->fail, steps[i].op, steps[i].at, steps[i].error, true);
		assert_int_equal(file_range_change(f, PUNCH, block * PAGE, PAGE), steps[i].answer);
		assert_true(fail_lower_hit(&p->fail));
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		page_at(fd, block_map_data_offset(block), now);
		if (steps[i].gone)
			assert_memory_not_equal(before, now, PAGE);
		else
			assert_memory_equal(before, now, PAGE);
		/* A reader of the disk finds the hole already. */
		struct file *again = reopen(p, "q");
		memset(bytes + block * PAGE, 0, PAGE);
		expect(again, bytes, 10 * PAGE);
		file_put(again);
	}
	/* Of a block that goes in part the old bytes are durably gone, too. */
	for (unsigned i = 0; i < 2; i++) {
		unsigned synced = p->fail.total[FAIL_LOWER_FSYNC];
		if (i)
			assert_int_equal(file_truncate(f, 9 * PAGE + 10), 0);
		else
			assert_int_equal(file_range_change(f, PUNCH, 9 * PAGE + 5, 10), 0);
		assert_true(p->fail.total[FAIL_LOWER_FSYNC] > synced);
	}
	file_put(f);
	free(bytes);
}

#define CUT (-1)
static const struct {
	const char *name;
	int mode;
	unsigned first, end; /* blocks of 140 */
} announced[] = {
	{"truncate to less", CUT, 30, 140},
	{"truncate in the last group", CUT, 100, 140},
	{"truncate to nothing", CUT, 0, 140},
	{"punch", PUNCH, 30, 130},
	{"zero range", ZERO_KEEP, 30, 130},
};
#define ANNOUNCED (sizeof(announced) / sizeof(*announced))
#define CUTTABLE (140u * PAGE)

static int free_blocks(struct file *f, size_t i)
{
	uint64_t from = (uint64_t)announced[i].first * PAGE;
	return announced[i].mode == CUT ? file_truncate(f, from)
					: file_range_change(f, announced[i].mode, from,
						  (uint64_t)announced[i].end * PAGE - from);
}

static void journal_begin(struct store_place *p)
{
	(void)unlinkat(p->tenant_fd, "journal", 0);
	assert_int_equal(
		journal_create(&p->fail.base, p->tenant_fd, p->keys, JOURNAL_BYTES_MIN), 0);
	assert_int_equal(
		journal_open(&p->fail.base, p->tenant_fd, p->keys, false, &p->store.journal, NULL),
		0);
	store_place_redo(p);
}

static void journal_end(struct store_place *p)
{
	store_place_no_redo(p);
	store_place_mended(p);
	journal_close(p->store.journal);
	p->store.journal = NULL;
}

/* What the next mount could not finish does not begin: content and size stay, here and below. */
static void what_cannot_be_announced_does_not_begin(void **state)
{
	struct store_place *p = *state;
	uint8_t *bytes = malloc(CUTTABLE);
	fill(bytes, CUTTABLE);
	for (size_t i = 0; i < ANNOUNCED; i++) {
		const struct journal_erase none = {.ino = 1, .end = 1};
		uint64_t token;
		journal_begin(p);
		struct file *f = create(p, "j");
		assert_int_equal(file_write(f, bytes, CUTTABLE, 0), CUTTABLE);
		assert_int_equal(file_commit(f), 0);
		fail_lower_arm(&p->fail, FAIL_LOWER_FSYNC, 1, -EIO, true);
		assert_int_equal(journal_fixture_announce(p->store.journal, &none, &token), -EIO);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		assert_int_equal(free_blocks(f, i), -EIO);
		expect(f, bytes, CUTTABLE);
		file_put(f);
		f = reopen(p, "j");
		expect(f, bytes, CUTTABLE);
		file_put(f);
		journal_end(p);
	}
	free(bytes);
	assert_int_equal(p->alarms, 0);
}

/* The lower file and its old bytes, for cut_below: what is freed must not be what was there. */
static struct lower_ops watching_ops;
static struct lower watching = {&watching_ops};
static uint8_t old_bytes[300 * PAGE];
static unsigned freed_as_they_were;

static void look_at_freed(int fd, uint64_t from, uint64_t to)
{
	uint8_t now[PAGE];
	for (uint64_t at = from; at + PAGE <= to && at < sizeof(old_bytes); at += PAGE) {
		page_at(fd, at, now);
		freed_as_they_were += !memcmp(now, old_bytes + at, PAGE) && at;
	}
}

static int cut_below(struct lower *l, int fd, uint64_t length)
{
	struct stat st;
	if (fstat(fd, &st) == 0)
		look_at_freed(fd, (length + PAGE - 1) / PAGE * PAGE, (uint64_t)st.st_size);
	return lower_posix()->ops->ftruncate(l, fd, length);
}

static int punch_below(struct lower *l, int fd, int mode, uint64_t offset, uint64_t length)
{
	if (mode & FALLOC_FL_PUNCH_HOLE)
		look_at_freed(fd, offset, offset + length);
	return lower_posix()->ops->fallocate(l, fd, mode, offset, length);
}

static int no_fsync(struct lower *l, int fd, bool data_only)
{
	(void)l, (void)fd, (void)data_only;
	return 0;
}

static int no_syncfs(struct lower *l, int fd)
{
	(void)l, (void)fd;
	return 0;
}

/* Without a journal nothing is written. */
static void write_if_it_can(struct file *f, const uint8_t *bytes)
{
	ssize_t n = file_write(f, bytes, 10, 0);
	assert_true(n == 10 || n == -EIO);
}

/* After an error the file is used, cut, closed, opened, used: the next mount still has it to do. */
enum then { THEN_NOTHING, THEN_SAME_SIZE, THEN_CUT, THEN_COUNT };
static void go_on_using(struct store_place *p, struct file *f, const uint8_t *bytes, enum then then)
{
	int rc = then == THEN_CUT         ? file_truncate(f, PAGE)
		 : then == THEN_SAME_SIZE ? file_truncate(f, size_of(f))
					  : 0;
	assert_true(rc == 0 || rc == -EIO); /* the journal's call was it that failed */
	write_if_it_can(f, bytes);
	file_put(f);
	f = reopen(p, "k");
	rc = file_settle_length(f);
	assert_true(rc == 0 || rc == -EIO);
	write_if_it_can(f, bytes);
	file_put(f);
	journal_end(p);
	struct recover_result r;
	assert_int_equal(
		journal_open(&p->fail.base, p->tenant_fd, p->keys, false, &p->store.journal, NULL),
		0);
	assert_int_equal(recover_store(&p->store, false, &r), 0);
	journal_end(p);
}

static void what_failed_is_not_freed_as_it_was(void **state)
{
	struct store_place *p = *state;
	uint8_t *bytes = malloc(CUTTABLE), now[PAGE], zeros[PAGE] = {0}, got[PAGE];
	fill(bytes, CUTTABLE);
	watching_ops = *lower_posix()->ops;
	watching_ops.ftruncate = cut_below;
	watching_ops.fallocate = punch_below;
	watching_ops.fsync = no_fsync;
	watching_ops.syncfs = no_syncfs;
	p->fail.under = &watching;
	for (size_t i = 0; i < ANNOUNCED; i++)
		for (unsigned at = THEN_COUNT;; at++) { /* each call once for each of them */
			assert_true(at < 600);
			memset(old_bytes, 0, sizeof(old_bytes));
			struct file *f = create(p, "k");
			assert_int_equal(file_write(f, bytes, CUTTABLE, 0), CUTTABLE);
			file_put(f);
			AUTO_CLOSE fd = lower_fd(p, "k", O_RDONLY);
			assert_true(pread(fd, old_bytes, sizeof(old_bytes), 0) > 0);
			journal_begin(p);
			f = reopen(p, "k");
			freed_as_they_were = 0;
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at / THEN_COUNT, -EINTR, true);
			(void)!free_blocks(f, i);
			bool hit = fail_lower_hit(&p->fail);
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
			go_on_using(p, f, bytes, (enum then)(at % THEN_COUNT));
			if (freed_as_they_were)
				fail_msg("%s, call %u: %u pages freed as they were",
					announced[i].name, at / THEN_COUNT, freed_as_they_were);
			f = reopen(p, "k");
			for (unsigned b = announced[i].first ? announced[i].first : 1;
				b < announced[i].end; b++) {
				memset(got, 0, sizeof(got));
				assert_true(file_read(f, got, PAGE, (uint64_t)b * PAGE) >= 0);
				page_at(fd, block_map_data_offset(b), now);
				if (!memcmp(got, zeros, PAGE) &&
					!memcmp(now, old_bytes + block_map_data_offset(b), PAGE))
					fail_msg("%s, call %u: block %u is still there",
						announced[i].name, at / THEN_COUNT, b);
			}
			file_put(f);
			if (!hit && at % THEN_COUNT == THEN_COUNT - 1)
				break;
		}
	p->fail.under = lower_posix();
	free(bytes);
	assert_int_equal(p->alarms, 0);
}

/* Whatever fails, a block reads as before or as zeros, here and after reopening. */
static void each_lower_call_may_fail(void **state)
{
	struct store_place *p = *state;
	static const int modes[] = {PUNCH, ZERO_KEEP, ZERO, 0};
	uint8_t *bytes = malloc(ROOM), *got = malloc(ROOM);
	fill(bytes, ROOM);
	for (size_t m = 0; m < 4; m++)
		for (unsigned at = 1;; at++) {
			assert_true(at < 1000);
			struct file *f = create(p, "n");
			assert_int_equal(file_write(f, bytes, 150 * PAGE, 0), 150 * PAGE);
			file_put(f);
			f = reopen(p, "n");
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at, -EINTR, true);
			int rc = file_range_change(f, modes[m], 60 * PAGE + 9, 85 * PAGE);
			bool hit = fail_lower_hit(&p->fail);
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
			/* Nobody needs to know when there are times that could not be set. */
			assert_true(rc == -EINTR || rc == 0);
			assert_true(hit || rc == 0);
			for (unsigned i = 0; i < 2; i++) {
				assert_int_equal(file_read(f, got, ROOM, 0), 150 * PAGE);
				for (size_t k = 0; k < 150 * PAGE; k++) {
					bool inside = modes[m] && k >= 60 * PAGE + 9 &&
						      k < 145 * PAGE + 9;
					if (got[k] != bytes[k] && !(inside && got[k] == 0))
						fail_msg("mode %d call %u byte %zu", modes[m], at,
							k);
					if (rc == 0 && inside && got[k])
						fail_msg("mode %d call %u byte %zu stays", modes[m],
							at, k);
				}
				file_put(f);
				f = i ? NULL : reopen(p, "n");
			}
			if (!hit)
				break;
		}
	assert_int_equal(p->alarms, 0);
	free(bytes);
	free(got);
}

static void seeking_finds_data_and_holes(void **state)
{
	struct store_place *p = *state;
	const uint64_t far = (64 + 128 * 1030ull) * PAGE; /* behind a presence page */
	struct file *f = create(p, "s");
	static uint8_t block[PAGE];
	fill(block, PAGE);
	assert_int_equal(file_write(f, block, 100, 3 * PAGE + 5), 100);
	assert_int_equal(file_write(f, block, PAGE, 64 * PAGE), PAGE);
	assert_int_equal(file_write(f, block, PAGE, 65 * PAGE), PAGE);
	assert_int_equal(file_write(f, block, 10, far), 10);
	assert_int_equal(file_truncate(f, far + 3 * PAGE), 0);
	const struct {
		uint64_t from;
		int64_t data, hole;
	} want[] = {
		{0, 3 * PAGE, 0},
		{3 * PAGE, 3 * PAGE, 4 * PAGE},
		{3 * PAGE + 7, 3 * PAGE + 7, 4 * PAGE},
		{4 * PAGE + 1, 64 * PAGE, 4 * PAGE + 1},
		{64 * PAGE, 64 * PAGE, 66 * PAGE},
		{65 * PAGE + 4095, 65 * PAGE + 4095, 66 * PAGE},
		{66 * PAGE, (int64_t)far, 66 * PAGE},
		{far + 4000, (int64_t)far + 4000, (int64_t)far + PAGE},
		{far + PAGE, -ENXIO, (int64_t)far + PAGE},
		{far + 3 * PAGE, -ENXIO, -ENXIO},
		{UINT64_MAX, -ENXIO, -ENXIO},
	};
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
			assert_int_equal(file_range_seek(f, want[i].from, true), want[i].data);
			assert_int_equal(file_range_seek(f, want[i].from, false), want[i].hole);
		}
		file_put(f);
		f = reopen(p, "s");
	}
	/* A file that ends in data ends in a hole. */
	assert_int_equal(file_truncate(f, 66 * PAGE - 9), 0);
	assert_int_equal(file_range_seek(f, 65 * PAGE, false), 66 * PAGE - 9);
	assert_int_equal(file_range_change(f, PUNCH, 64 * PAGE, PAGE), 0);
	assert_int_equal(file_range_seek(f, 4 * PAGE, true), 65 * PAGE);
	assert_int_equal(p->alarms, 0);
	file_put(f);
	/* Somebody makes a hole of data. */
	AUTO_CLOSE fd = lower_fd(p, "s", O_RDWR);
	uint8_t state_byte = FORMAT_HOLE;
	assert_int_equal(pwrite(fd, &state_byte, 1, (off_t)block_map_tag_offset(1) + 32 + 28), 1);
	f = reopen(p, "s");
	assert_int_equal(file_range_seek(f, 64 * PAGE, true), -EBADMSG);
	assert_int_equal(p->alarms, 1);
	file_put(f);
}

/* What was allocated is there for all that a write needs, in every kind of place. */
static void allocated_space_is_there(void **state)
{
	struct store_place *p = *state;
	static const uint64_t at[] = {0, 5, 63 * PAGE, 64 * PAGE, 100 * PAGE + 1,
		(64 + 128 * 1023ull) * PAGE, (64 + 128 * 1030ull) * PAGE + 77};
	static uint8_t bytes[70 * PAGE];
	fill(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++)
		for (int mode = 0; mode <= KEEP; mode += KEEP) {
			struct stat before, after;
			struct file *f = create(p, "a");
			assert_int_equal(file_range_change(f, mode, at[i], sizeof(bytes)), 0);
			assert_int_equal(size_of(f), mode ? 0 : at[i] + sizeof(bytes));
			AUTO_CLOSE fd = lower_fd(p, "a", O_RDONLY);
			assert_int_equal(fstat(fd, &before), 0);
			assert_int_equal(file_write(f, bytes, sizeof(bytes), at[i]), sizeof(bytes));
			assert_int_equal(file_sync(f, false), 0);
			assert_int_equal(fstat(fd, &after), 0);
			assert_int_equal(before.st_blocks, after.st_blocks);
			/* And a punch gives all of it back but tags and header. */
			assert_int_equal(file_range_change(f, PUNCH, 0, BLOCK_MAP_SIZE_MAX), 0);
			assert_int_equal(fstat(fd, &after), 0);
			assert_true(after.st_blocks <= 8 * 5);
			file_put(f);
		}
}

/* Space behind the end goes with a cut to the size that there is: empty without a header, empty
 * with one, and not empty. */
static void a_cut_to_its_size_gives_space_back(void **state)
{
	struct store_place *p = *state;
	static const size_t sizes[] = {0, 0, 5000};
	static uint8_t bytes[5000];
	fill(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct stat before, after;
		struct file *f = create(p, "b");
		if (i) {
			assert_int_equal(file_write(f, bytes, sizeof(bytes), 0), sizeof(bytes));
			assert_int_equal(file_truncate(f, sizes[i]), 0);
		}
		assert_int_equal(file_range_change(f, KEEP, 0, 100 * PAGE), 0);
		assert_int_equal(file_range_change(f, KEEP, 1000 * PAGE, PAGE), 0);
		AUTO_CLOSE fd = lower_fd(p, "b", O_RDONLY);
		assert_int_equal(fstat(fd, &before), 0);
		assert_true(before.st_blocks > 8 * 100);
		assert_int_equal(file_truncate(f, sizes[i]), 0);
		assert_int_equal(fstat(fd, &after), 0);
		assert_true(after.st_blocks <= 8 * 5);
		expect(f, bytes, sizes[i]);
		file_put(f);
		f = reopen(p, "b");
		expect(f, bytes, sizes[i]);
		file_put(f);
	}
	assert_int_equal(p->alarms, 0);
}

/* The kernel tells the time of a change sooner or later
					      than the change comes, as of a write. */
static void a_time_that_is_kept_stays(void **state)
{
	static const int modes[] = {PUNCH, ZERO, ZERO_KEEP, 0, KEEP};
	struct store_place *p = *state;
	static uint8_t bytes[ROOM];
	const struct timespec ts[2] = {{1000, 1}, {2000, 2}};
	struct stat st;
	fill(bytes, ROOM);
	for (unsigned i = 0; i < 2 * sizeof(modes) / sizeof(modes[0]); i++) {
		int mode = modes[i / 2];
		struct file *f = create(p, "t");
		file_keep_time(f, i % 2);
		assert_int_equal(file_write(f, bytes, ROOM, 0), ROOM);
		assert_int_equal(file_commit(f), 0);
		assert_int_equal(file_set_times(f, ts), 0);
		file_keep_time(f, i % 2);
		assert_int_equal(file_range_change(f, mode, ROOM - PAGE - 1, 2 * PAGE), 0);
		assert_int_equal(file_commit(f), 0);
		file_put(f);
		f = reopen(p, "t");
		assert_int_equal(file_stat(f, &st), 0);
		if (i % 2)
			assert_int_equal(st.st_mtim.tv_sec, 2000);
		else if (mode & ~KEEP)
			assert_true(st.st_mtim.tv_sec > 2000);
		file_put(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, store_place_make, store_place_remove)
		T(each_range_reads_as_it_must),
		T(what_is_refused),
		T(old_bytes_are_overwritten),
		T(the_order_of_a_punch),
		T(what_cannot_be_announced_does_not_begin),
		T(what_failed_is_not_freed_as_it_was),
		T(each_lower_call_may_fail),
		T(seeking_finds_data_and_holes),
		T(allocated_space_is_there),
		T(a_cut_to_its_size_gives_space_back),
		T(a_time_that_is_kept_stays),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
