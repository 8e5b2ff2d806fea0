/*
 * fs/store/recover_redo and file_recover, rule by rule (docs/format.md, "Journal", Recovery): up to
 * where the records of a file count, who decides that and how long it holds, what of the ranges is
 * left, what is made of lengths, times, first headers and files that are newer than the journal.
 * Disks are made by hand: pages are taken away from where a power cut loses them, records are
 * written that the store would not write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/format.h"
#include "tests/unit/redo_place.h"

#include <linux/falloc.h>
#include <sys/xattr.h>

#define BLOCKS 8u /* of a file, as it is made */
#define SIZE (BLOCKS * PAGE)
#define RAW_MAX (16u * PAGE)
#define FAR 131128u /* first block of group 1024, the first with a presence page */

static uint8_t plain[SIZE], raw[RAW_MAX], now[RAW_MAX];

/* A file as the journal knows it. */
struct whom {
	uint8_t id[FILE_ID_LEN];
	uint64_t ino, commits, length;
};

static struct whom whom(struct store_place *p, const char *name)
{
	uint8_t slots[2][FORMAT_SLOT_LEN];
	struct format_header h;
	struct stat st;
	struct whom w = {.commits = 0};
	AUTO_CLOSE fd = redo_place_fd(p, name);
	assert_int_equal(pread(fd, slots, sizeof(slots), 0), sizeof(slots));
	assert_int_equal(fstat(fd, &st), 0);
	w.ino = st.st_ino;
	w.length = (uint64_t)st.st_size;
	for (unsigned i = 0; i < 2; i++)
		if (!format_header_parse(slots[i], &h) && h.commits > w.commits) {
			w.commits = h.commits;
			memcpy(w.id, h.file_id, sizeof(w.id));
		}
	assert_true(w.commits > 1);
	return w;
}

/* A file of `plain`, in its place, the journal empty. */
static void make(struct store_place *p, const char *name)
{
	struct file *f = redo_place_create(p, name);
	redo_place_pattern(plain, SIZE, 1);
	redo_place_write(f, plain, SIZE, 0);
	file_put(f);
	assert_int_equal(redo_checkpoint(&p->store), 0);
	assert_int_equal(redo_place_status(p).used, 0);
}

/* The file is gone, the journal empty. */
static void make_away(struct store_place *p, const char *name)
{
	redo_place_end(p);
	assert_int_equal(unlinkat(p->root->fd, redo_place_name(p, name).lower, 0), 0);
	redo_place_mount(p);
}

/* New bytes in one block, committed. */
static void change(struct file *f, uint64_t block, unsigned seed, bool hard)
{
	uint8_t bytes[PAGE];
	redo_place_pattern(bytes, PAGE, seed);
	redo_place_write(f, bytes, PAGE, block * PAGE);
	assert_int_equal(hard ? file_sync(f, false) : file_commit(f), 0);
}

static void expect_block(struct file *f, uint64_t block, unsigned seed)
{
	uint8_t want[PAGE], got[PAGE];
	redo_place_pattern(want, PAGE, seed);
	assert_int_equal(file_read(f, got, PAGE, block * PAGE), PAGE);
	assert_memory_equal(got, want, PAGE);
}

static uint64_t size_of(struct file *f)
{
	struct stat st;
	assert_int_equal(file_stat(f, &st), 0);
	return (uint64_t)st.st_size;
}

/* What never reached the disk. */
static void lose(struct store_place *p, const char *name, uint64_t offset, size_t len)
{
	static const uint8_t zeros[PAGE];
	AUTO_CLOSE fd = redo_place_fd(p, name);
	assert_int_equal(pwrite(fd, zeros, len, (off_t)offset), len);
}

/* Nothing is written at its end. */
static void drop_journal(struct store_place *p)
{
	journal_distrust(p->store.journal);
	journal_close(p->store.journal);
	p->store.journal = NULL;
	store_place_mended(p);
}

/* A recovery whose n-th call of this kind fails, with all after it. */
static void recover_until(struct store_place *p, enum fail_lower_op op, unsigned at)
{
	struct recover_result r;
	redo_place_open_journal(p);
	fail_lower_arm(&p->fail, op, at, -EIO, false);
	assert_int_equal(recover_store(&p->store, false, &r), -EIO);
	assert_true(fail_lower_hit(&p->fail));
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
	drop_journal(p);
}

/* "a" has an append that is soft and lost; "b" one behind it that is hard. */
static void each_file_counts_up_to_its_own_hard_record(void **state)
{
	struct store_place *p = *state;
	make(p, "a");
	make(p, "b");
	struct file *f[2] = {redo_place_open(p, "a"), redo_place_open(p, "b")};
	change(f[0], 8, 2, true);
	change(f[0], 9, 3, false);
	change(f[1], 8, 4, true);
	redo_place_crash(p, f, 2);
	lose(p, "a", block_map_data_offset(9), PAGE);
	struct recover_result r = redo_place_mount(p);
	assert_int_equal(r.files, 2);
	assert_int_equal(r.dropped, 1);
	f[0] = redo_place_open(p, "a");
	f[1] = redo_place_open(p, "b");
	assert_int_equal(size_of(f[0]), 9 * PAGE);
	expect_block(f[0], 8, 2);
	assert_int_equal(size_of(f[1]), 9 * PAGE);
	expect_block(f[1], 8, 4);
	for (unsigned i = 0; i < 2; i++)
		file_put(f[i]);
	assert_int_equal(p->alarms, 0);
}

/* What was acknowledged is not thrown away for a page that the disk lost: whoever reads it learns
 * so. Hard by fsync, by a mark that followed, by a hard record that followed. */
static void what_is_hard_is_not_judged(void **state)
{
	struct store_place *p = *state;
	for (unsigned how = 0; how < 3; how++) {
		uint8_t bytes[PAGE];
		make(p, "x");
		struct file *f = redo_place_open(p, "x");
		change(f, 8, 2, how == 0);
		if (how == 1)
			assert_int_equal(file_sync(f, false), 0);
		if (how == 2)
			change(f, 0, 3, true);
		/* A soft one behind it stands on its own. */
		change(f, 1, 4, false);
		redo_place_crash(p, &f, 1);
		lose(p, "x", block_map_data_offset(8), PAGE);
		struct recover_result r = redo_place_mount(p);
		assert_int_equal(r.files, 1);
		assert_int_equal(r.dropped, 0);
		f = redo_place_open(p, "x");
		assert_int_equal(size_of(f), 9 * PAGE);
		expect_block(f, 1, 4);
		unsigned alarms = p->alarms;
		assert_int_equal(file_read(f, bytes, PAGE, 8 * PAGE), -EBADMSG);
		assert_int_equal(p->alarms, alarms + 1);
		file_put(f);
		make_away(p, "x");
	}
}

/* Three soft commits and a time, of which the second has something that is lost, or not: "x" and
 * its time are as one of them left it. */
static void the_first_that_does_not_verify_ends_them(void **state)
{
	struct store_place *p = *state;
	static const struct {
		const char *name;
		uint64_t block;
		bool lost;
		enum block_map_use what;
		size_t len;
	} rows[] = {
		{"nothing", 8, false, BLOCK_MAP_DATA, 0},
		{"nothing, far away", FAR, false, BLOCK_MAP_DATA, 0},
		{"data", 8, true, BLOCK_MAP_DATA, PAGE},
		{"a sector of data", 8, true, BLOCK_MAP_DATA, 512},
		{"tags", 64, true, BLOCK_MAP_TAGS, PAGE},
		{"a sector of tags", 64, true, BLOCK_MAP_TAGS, 512},
		{"data of another group", 64, true, BLOCK_MAP_DATA, PAGE},
		{"presence", FAR, true, BLOCK_MAP_PRESENCE, PAGE},
		{"tags far away", FAR, true, BLOCK_MAP_TAGS, PAGE},
	};
	const struct timespec late[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 3000, .tv_nsec = 3}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct stat first, st;
		make(p, "x");
		struct file *f = redo_place_open(p, "x");
		change(f, 0, 2, false);
		assert_int_equal(file_stat(f, &first), 0);
		change(f, rows[i].block, 3, false);
		change(f, 1, 4, false);
		redo_times(&p->store, whom(p, "x").ino, late);
		redo_place_crash(p, &f, 1);
		uint64_t group = block_map_group(rows[i].block);
		uint64_t at = rows[i].what == BLOCK_MAP_DATA ? block_map_data_offset(rows[i].block)
			      : rows[i].what == BLOCK_MAP_TAGS ? block_map_tag_offset(group)
							       : block_map_presence_offset(0);
		lose(p, "x", at, rows[i].len);
		struct recover_result r = redo_place_mount(p);
		if (r.files != 1 || r.dropped != rows[i].lost)
			fail_msg("%s: %u, %u dropped", rows[i].name, r.files, r.dropped);
		f = redo_place_open(p, "x");
		assert_int_equal(size_of(f), rows[i].lost ? SIZE : (rows[i].block + 1) * PAGE);
		expect_block(f, 0, 2);
		if (!rows[i].lost) {
			expect_block(f, rows[i].block, 3);
			expect_block(f, 1, 4);
		} else {
			assert_int_equal(file_read(f, now, PAGE, PAGE), PAGE);
			assert_memory_equal(now, plain + PAGE, PAGE);
		}
		assert_int_equal(file_stat(f, &st), 0);
		struct timespec want = rows[i].lost ? first.st_mtim : late[1];
		assert_int_equal(st.st_mtim.tv_sec, want.tv_sec);
		assert_int_equal(st.st_mtim.tv_nsec, want.tv_nsec);
		file_put(f);
		assert_int_equal(p->alarms, 0);
		make_away(p, "x");
	}
}

/* Tags and data of an earlier commit that did not count: each entry and each block verifies, and
 * they are not what was committed. */
static void pages_of_a_commit_that_was_dropped(void **state)
{
	struct store_place *p = *state;
	const uint64_t at[2] = {block_map_tag_offset(1), block_map_data_offset(64)};
	uint8_t old[2][PAGE];
	make(p, "x");
	for (unsigned lost = 0; lost < 2; lost++) {
		for (unsigned round = 0; round < 2; round++) {
			struct file *f = redo_place_open(p, "x");
			change(f, 64, 2 + round, false);
			redo_place_crash(p, &f, 1);
			AUTO_CLOSE fd = redo_place_fd(p, "x");
			for (unsigned i = 0; i < 2 && round == 0; i++)
				assert_int_equal(pread(fd, old[i], PAGE, (off_t)at[i]), PAGE);
			for (unsigned i = 0; i < 2 && round == 1 && lost; i++)
				assert_int_equal(pwrite(fd, old[i], PAGE, (off_t)at[i]), PAGE);
			if (round == 0)
				assert_int_equal(
					journal_reset(&p->fail.base, p->tenant_fd, p->keys), 0);
			struct recover_result r = redo_place_mount(p);
			assert_int_equal(r.dropped, round && lost);
			assert_int_equal(r.files, round && !lost);
		}
		struct file *f = redo_place_open(p, "x");
		assert_int_equal(size_of(f), lost ? SIZE : 65 * PAGE);
		if (!lost)
			expect_block(f, 64, 3);
		file_put(f);
		make_away(p, "x");
		make(p, "x");
	}
	assert_int_equal(p->alarms, 0);
}

/* A commit of "x" that changes block 0; a second one that appends, soft. */
static void two_commits(struct store_place *p, const char *name)
{
	struct file *f = redo_place_open(p, name);
	change(f, 0, 2, false);
	change(f, 8, 3, false);
	file_put(f);
}

/* What came out of them: the second one counts or not. */
static void expect_commits(struct store_place *p, const char *name, bool second)
{
	struct file *f = redo_place_open(p, name);
	expect_block(f, 0, 2);
	assert_int_equal(size_of(f), second ? 9 * PAGE : SIZE);
	file_put(f);
}

/* Of every file, before anything of it is done, and whatever the disk holds when it is done again:
 * of "x" or of "y" the append is lost at first, and of the other one afterwards. */
static void a_decision_is_obeyed(void **state)
{
	struct store_place *p = *state;
	static const char *const both[2] = {"x", "y"};
	const uint64_t at = block_map_data_offset(8);
	uint8_t kept[PAGE];
	for (unsigned round = 0; round < 4; round++) {
		const char *first = both[round % 2], *second = both[1 - round % 2];
		for (unsigned i = 0; i < 2; i++)
			make(p, both[i]);
		for (unsigned i = 0; i < 2; i++)
			two_commits(p, both[i]);
		redo_place_crash(p, NULL, 0);
		AUTO_CLOSE fd = redo_place_fd(p, first);
		assert_int_equal(pread(fd, kept, PAGE, (off_t)at), PAGE);
		lose(p, first, at, PAGE);
		/* The first write is the decision, the second one the first page. */
		recover_until(
			p, round < 2 ? FAIL_LOWER_PWRITEV : FAIL_LOWER_FUTIMENS, round < 2 ? 2 : 1);
		assert_int_equal(pwrite(fd, kept, PAGE, (off_t)at), PAGE);
		lose(p, second, at, PAGE);
		assert_int_equal(redo_place_mount(p).files, 2);
		expect_commits(p, first, false);
		expect_commits(p, second, true);
		for (unsigned i = 0; i < 2; i++)
			make_away(p, both[i]);
	}
}

/* The record at whose place it stands was cut, and those behind it are whole and fit. */
static void behind_a_decision_there_is_nothing(void **state)
{
	struct store_place *p = *state;
	const struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 3000, .tv_nsec = 3}};
	uint8_t byte;
	make(p, "x");
	make(p, "y");
	struct file *f[2] = {redo_place_open(p, "x"), redo_place_open(p, "y")};
	change(f[0], 0, 2, false);
	uint64_t cut = redo_place_status(p).used / JOURNAL_FORMAT_SECTOR;
	redo_times(&p->store, whom(p, "x").ino, ts);
	/* As long as a decision for one file. */
	assert_int_equal(redo_place_status(p).used / JOURNAL_FORMAT_SECTOR, cut + 1);
	change(f[1], 0, 3, false);
	uint64_t sector = (p->store.journal->super.tail + cut) % p->store.journal->ring;
	redo_place_crash(p, f, 2);
	AUTO_CLOSE fd = openat(p->tenant_fd, "journal", O_RDWR | O_CLOEXEC);
	off_t at = (off_t)(JOURNAL_FORMAT_RING + sector * JOURNAL_FORMAT_SECTOR + 100);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	recover_until(p, FAIL_LOWER_PWRITEV, 2);
	assert_int_equal(redo_place_mount(p).files, 1);
	f[0] = redo_place_open(p, "x");
	f[1] = redo_place_open(p, "y");
	expect_block(f[0], 0, 2);
	redo_place_expect(f[1], plain, SIZE);
	for (unsigned i = 0; i < 2; i++)
		file_put(f[i]);
	assert_int_equal(p->alarms, 0);
}

static char order[64];
static void event(char c)
{
	size_t n = strlen(order);
	if (!n || order[n - 1] != c) {
		assert_true(n + 1 < sizeof(order));
		order[n] = c;
	}
}

static ssize_t order_pwritev(struct lower *l, int fd, const struct iovec *iov, int n, uint64_t at)
{
	event(!redo_place_is_journal(fd) ? 'd' : at < JOURNAL_FORMAT_RING ? 's' : 'r');
	return redo_place_pwritev(l, fd, iov, n, at);
}

static int order_fsync(struct lower *l, int fd, bool data_only)
{
	event(redo_place_is_journal(fd) ? 'J' : 'F');
	return redo_place_fsync(l, fd, data_only);
}

static int order_syncfs(struct lower *l, int fd)
{
	event('T');
	return redo_place_syncfs(l, fd);
}

static int order_ftruncate(struct lower *l, int fd, uint64_t size)
{
	event('l');
	return redo_place_ftruncate(l, fd, size);
}

static int order_futimens(struct lower *l, int fd, const struct timespec ts[2])
{
	event('m');
	return redo_place_futimens(l, fd, ts);
}

/*
 * Tree and journal are flushed; the decision (r) is written and flushed, if there is one to be
 * made; data, length, time of the file, and they are flushed; both superblocks. What there was is
 * gone then: the next mount finds nothing, and an epoch more.
 */
static void the_order_of_it_all(void **state)
{
	struct store_place *p = *state;
	struct lower_ops *ops = &redo_place_disk.ops;
	for (unsigned hard = 0; hard < 2; hard++) {
		make(p, "x");
		struct file *f = redo_place_open(p, "x");
		change(f, 0, 2, false);
		assert_int_equal(file_truncate(f, 12 * PAGE), 0);
		assert_int_equal(hard ? file_sync(f, false) : file_commit(f), 0);
		redo_place_crash(p, &f, 1);
		AUTO_CLOSE fd = redo_place_fd(p, "x");
		/* The longer length did not reach the disk. */
		assert_int_equal(ftruncate(fd, (off_t)block_map_length(SIZE)), 0);
		redo_place_open_journal(p);
		uint64_t epoch = p->store.journal->super.epoch;
		const struct lower_ops before = *ops;
		ops->pwritev = order_pwritev;
		ops->fsync = order_fsync;
		ops->syncfs = order_syncfs;
		ops->ftruncate = order_ftruncate;
		ops->futimens = order_futimens;
		memset(order, 0, sizeof(order));
		struct recover_result r;
		assert_int_equal(recover_store(&p->store, false, &r), 0);
		*ops = before;
		assert_string_equal(order, hard ? "TJdlmFsJsJ" : "TJrJdlmFsJsJ");
		assert_true(r.unclean);
		assert_true(p->store.journal->super.epoch > epoch);
		epoch = p->store.journal->super.epoch;
		assert_int_equal(redo_place_status(p).used, 0);
		drop_journal(p);
		r = redo_place_mount(p);
		assert_int_equal(r.files + r.dropped + r.entries, 0);
		assert_true(p->store.journal->super.epoch > epoch);
		f = redo_place_open(p, "x");
		assert_int_equal(size_of(f), 12 * PAGE);
		expect_block(f, 0, 2);
		file_put(f);
		make_away(p, "x");
	}
	assert_int_equal(p->alarms, 0);
}

/* A commit as it could be there. */
struct commit {
	uint64_t commits, length; /* counted from those of the file; pages less */
	struct journal_fresh fresh;
	uint64_t at; /* of a range of one block; 0: none */
	unsigned seed;
	struct journal_erase erase; /* in front of it; end 0: none */
	bool soft;
	const uint8_t *header; /* NULL, or page 0 */
};

static void append(struct store_place *p, const struct whom *w, const struct commit *c)
{
	const struct timespec modified = {.tv_sec = 5000, .tv_nsec = 5};
	const struct journal_commit state = {
		w->commits + c->commits, w->length - c->length * PAGE, !c->soft};
	struct journal_erase e = c->erase;
	AUTO_BUF text = {0};
	uint64_t sequence;
	uint8_t bytes[PAGE];
	e.ino = w->ino;
	memcpy(e.file_id, w->id, sizeof(e.file_id));
	if (e.end)
		journal_format_put_erase(&text, &e);
	size_t begun = journal_format_begin_commit(
		&text, w->id, w->ino, &state, &modified, &c->fresh, c->fresh.count != 0);
	redo_place_pattern(bytes, PAGE, c->seed);
	if (c->header)
		journal_format_put_range(&text, 0, c->header, PAGE);
	if (c->at)
		journal_format_put_range(&text, c->at, bytes, PAGE);
	journal_format_end_commit(&text, begun);
	struct journal_record r = {.text = &text, .ino = w->ino};
	memcpy(r.file_id, w->id, sizeof(r.file_id));
	assert_int_equal(journal_append(p->store.journal, &r, &sequence, NULL), 0);
	assert_int_equal(journal_flush(p->store.journal, sequence), 0);
}

/* Whether anything of the lower file was changed by these. */
static bool changes(struct store_place *p, const struct whom *w, const struct commit *c, unsigned n,
	struct recover_result *ret)
{
	redo_place_end(p);
	memset(raw, 0, sizeof(raw));
	redo_place_raw(p, "x", raw, RAW_MAX);
	redo_place_open_journal(p);
	assert_int_equal(journal_checkpoint(p->store.journal), 0);
	for (unsigned i = 0; i < n; i++)
		append(p, w, &c[i]);
	drop_journal(p);
	*ret = redo_place_mount(p);
	redo_place_raw(p, "x", now, RAW_MAX);
	return memcmp(raw, now, RAW_MAX) != 0;
}

/* Block 5 of what is committed, and what takes the first range away. */
static void what_comes_later_takes_ranges_away(void **state)
{
	struct store_place *p = *state;
	const uint64_t at = block_map_data_offset(5);
	const struct journal_erase block = {.first = 5, .end = 6}, other = {.first = 6, .end = 7};
	const struct {
		const char *name;
		struct commit c[3];
		unsigned seed; /* of what is there; 0: what was */
	} rows[] = {
		{"the first alone", {{1, 0, {0}, at, 7, {.end = 0}}, {2}, {3}}, 7},
		{"a later range",
			{{1, 0, {0}, at, 7, {.end = 0}}, {2, 0, {0}, at, 8, {.end = 0}}, {3}}, 8},
		{"a fresh page",
			{{1, 0, {0}, at, 7, {.end = 0}}, {2, 0, {6, 1}, 0, 0, {.end = 0}}, {3}}, 0},
		{"another fresh page",
			{{1, 0, {0}, at, 7, {.end = 0}}, {2, 0, {7, 1}, 0, 0, {.end = 0}}, {3}}, 7},
		{"an erasure", {{1, 0, {0}, at, 7, {.end = 0}}, {2, 0, {0}, 0, 0, block}, {3}}, 0},
		{"another erasure", {{1, 0, {0}, at, 7, {.end = 0}}, {2, 0, {0}, 0, 0, other}, {3}},
			7},
		{"an erasure in front of it", {{1}, {2, 0, {0}, at, 7, block}, {3}}, 7},
		{"a length", {{1, 0, {0}, at, 7, {.end = 0}}, {2, 3, {0}, 0, 0, {.end = 0}}, {3}},
			0},
		{"a length behind it",
			{{1, 0, {0}, at, 7, {.end = 0}}, {2, 2, {0}, 0, 0, {.end = 0}}, {3}}, 7},
		/* What is cut off is overwritten first: not here. */
		{"a shorter end", {{1}, {2}, {3, 3, {0}, 0, 0, {.end = 0}}}, 0},
	};
	make(p, "x");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct whom w = whom(p, "x");
		struct recover_result r;
		uint8_t want[PAGE];
		bool changed = changes(p, &w, rows[i].c, 3, &r);
		assert_int_equal(r.files, 1);
		memcpy(want, raw + at, PAGE);
		if (rows[i].seed)
			redo_place_pattern(want, PAGE, rows[i].seed);
		if (changed != (rows[i].seed != 0) || memcmp(now + at, want, PAGE) != 0)
			fail_msg("%s", rows[i].name);
		AUTO_CLOSE fd = redo_place_fd(p, "x");
		struct stat st;
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, w.length);
		assert_int_equal(st.st_mtim.tv_sec, 5000);
		assert_int_equal(st.st_mtim.tv_nsec, 5);
		assert_int_equal(pwrite(fd, raw + at, PAGE, (off_t)at), PAGE);
	}
	assert_int_equal(p->alarms, 0);
}

/* An older journal put back, or of a file that another one has the number of. */
static void what_is_older_or_anothers_is_not_touched(void **state)
{
	struct store_place *p = *state;
	make(p, "x");
	make(p, "y");
	const struct whom x = whom(p, "x"), y = whom(p, "y");
	struct commit c = {0, 0, {0}, block_map_data_offset(5), 7, {.end = 0}};
	struct recover_result r;
	struct whom w = x;
	w.commits--;
	assert_false(changes(p, &w, &c, 1, &r));
	assert_int_equal(r.stale, 1);
	assert_int_equal(r.files, 0);
	assert_int_equal(p->alarms, 1);
	assert_string_equal(p->what, "journal");
	w = x;
	w.ino = y.ino;
	assert_false(changes(p, &w, &c, 1, &r));
	w = y;
	w.ino = x.ino;
	assert_false(changes(p, &w, &c, 1, &r));
	assert_int_equal(r.stale + r.files, 0);
	/* Both numbers are looked for, and each file is found under the other one's. */
	redo_place_end(p);
	redo_place_open_journal(p);
	assert_int_equal(journal_checkpoint(p->store.journal), 0);
	w = x;
	w.ino = y.ino;
	append(p, &w, &c);
	w = y;
	w.ino = x.ino;
	append(p, &w, &c);
	drop_journal(p);
	r = redo_place_mount(p);
	assert_int_equal(r.stale + r.files, 0);
	/* As old as it is: a recovery that is done again. */
	assert_true(changes(p, &x, &c, 1, &r));
	assert_int_equal(r.files, 1);
	assert_int_equal(p->alarms, 1);
}

/* A soft commit counts if it leaves the header that it speaks of: of its version, of its file. */
static void a_header_that_says_otherwise(void **state)
{
	struct store_place *p = *state;
	uint8_t own[PAGE], other[PAGE];
	struct recover_result r;
	make(p, "x");
	make(p, "y");
	const struct whom x = whom(p, "x"), y = whom(p, "y");
	assert_int_equal(x.commits, y.commits);
	redo_place_raw(p, "x", own, PAGE);
	redo_place_raw(p, "y", other, PAGE);
	const struct {
		struct commit c;
		bool counts;
	} rows[] = {
		{{.commits = 0, .soft = true}, true},
		{{.commits = 1, .soft = true}, false},
		{{.commits = 0, .soft = true, .header = own}, true},
		{{.commits = 0, .soft = true, .header = other}, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_false(changes(p, &x, &rows[i].c, 1, &r));
		assert_int_equal(r.files, rows[i].counts);
		assert_int_equal(r.dropped, !rows[i].counts);
	}
	assert_int_equal(p->alarms, 0);
}

static void copy_over(int folder, const char *name)
{
	static uint8_t bytes[JOURNAL_BYTES_MIN];
	AUTO_CLOSE in = openat(folder, name, O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE out = openat(folder, "other", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t n = pread(in, bytes, sizeof(bytes), 0);
	assert_true(n > 0 && pwrite(out, bytes, (size_t)n, 0) == n);
	assert_int_equal(renameat(folder, "other", folder, name), 0);
}

/* Under another name, in another folder, in a store that was copied; or gone. */
static void a_file_is_found_wherever_it_is(void **state)
{
	struct store_place *p = *state;
	static const char *const ways[] = {"renamed", "moved", "linked", "copied", "gone"};
	int root = p->root->fd;
	assert_int_equal(mkdirat(root, "sub", 0700), 0);
	for (unsigned i = 0; i < 5; i++) {
		make(p, "x");
		struct name n = redo_place_name(p, "x");
		const char *other = i ? "sub/other" : "other";
		struct file *f = redo_place_open(p, "x");
		change(f, 0, 2, i % 2);
		redo_place_crash(p, &f, 1);
		if (i < 2)
			assert_int_equal(renameat(root, n.lower, root, other), 0);
		if (i == 2)
			assert_int_equal(linkat(root, n.lower, root, other, 0), 0);
		if (i == 3) {
			copy_over(root, n.lower);
			copy_over(p->tenant_fd, "journal");
		}
		if (i == 4)
			assert_int_equal(unlinkat(root, n.lower, 0), 0);
		struct recover_result r = redo_place_mount(p);
		if (r.files != (i < 4) || r.dropped)
			fail_msg("%s: %u, %u dropped", ways[i], r.files, r.dropped);
		if (i == 4)
			break;
		if (i < 2)
			assert_int_equal(renameat(root, other, root, n.lower), 0);
		f = redo_place_open(p, "x");
		expect_block(f, 0, 2);
		file_put(f);
		(void)unlinkat(root, "sub/other", 0);
		make_away(p, "x");
	}
	assert_int_equal(p->alarms, 0);
}

struct disk {
	uint8_t journal[JOURNAL_BYTES_MIN];
	uint8_t raw[2][RAW_MAX];
	size_t len[2];
};
static const char *const names[2] = {"a", "b"};

static void put_back(struct store_place *p, const struct disk *d)
{
	AUTO_CLOSE journal = openat(p->tenant_fd, "journal", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(journal, d->journal, sizeof(d->journal), 0), sizeof(d->journal));
	for (unsigned i = 0; i < 2; i++) {
		AUTO_CLOSE fd = redo_place_fd(p, names[i]);
		assert_int_equal(ftruncate(fd, (off_t)d->len[i]), 0);
		assert_int_equal(pwrite(fd, d->raw[i], d->len[i], 0), d->len[i]);
	}
}

/* By an error that goes away, and as a kill, after which nothing is done. */
static void a_recovery_may_end_at_each_call(void **state)
{
	struct store_place *p = *state;
	static struct disk d;
	unsigned calls = 0;
	for (unsigned i = 0; i < 2; i++)
		make(p, names[i]);
	for (unsigned i = 0; i < 2; i++)
		two_commits(p, names[i]);
	redo_place_crash(p, NULL, 0);
	lose(p, "a", block_map_data_offset(8), PAGE);
	AUTO_CLOSE journal = openat(p->tenant_fd, "journal", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(journal, d.journal, sizeof(d.journal), 0), sizeof(d.journal));
	for (unsigned i = 0; i < 2; i++)
		d.len[i] = redo_place_raw(p, names[i], d.raw[i], RAW_MAX);
	for (unsigned kill = 0; kill < 2; kill++)
		for (unsigned at = 1;; at++, calls++) {
			struct recover_result r;
			put_back(p, &d);
			redo_place_open_journal(p);
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at, -EIO, !kill);
			int rc = recover_store(&p->store, false, &r);
			bool hit = fail_lower_hit(&p->fail);
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
			assert_true(rc == 0 || (hit && rc == -EIO));
			drop_journal(p);
			redo_place_mount(p);
			expect_commits(p, "a", false);
			expect_commits(p, "b", true);
			redo_place_crash(p, NULL, 0);
			if (!hit)
				break;
		}
	print_message("%u calls\n", calls);
	assert_true(calls > 60);
	assert_int_equal(p->alarms, 0);
}

/* A file with commits in the journal whose first page does not read: nothing is touched, and the
 * file is named; given up for good only if somebody wants that, and the others are not. */
static void a_file_that_does_not_read(void **state)
{
	struct store_place *p = *state;
	struct file *f[2];
	struct recover_result r;
	for (unsigned i = 0; i < 2; i++)
		make(p, i ? "y" : "x");
	for (unsigned i = 0; i < 2; i++) {
		f[i] = redo_place_open(p, i ? "y" : "x");
		change(f[i], 0, 2, false);
		assert_int_equal(file_sync(f[i], false), 0);
	}
	redo_place_crash(p, f, 2);
	struct stat st;
	AUTO_CLOSE fd = redo_place_fd(p, "x");
	assert_int_equal(fstat(fd, &st), 0);
	ino_t bad = st.st_ino;
	for (unsigned i = 0; i < 4; i++) {
		redo_place_open_journal(p);
		redo_place_disk.unreadable = i < 3 ? bad : 0;
		int rc = recover_store(&p->store, i == 2, &r);
		redo_place_disk.unreadable = 0;
		assert_int_equal(rc, i < 2 ? -EIO : 0);
		assert_int_equal(r.unread_ino, i < 3 ? bad : 0);
		assert_int_equal(r.unread, i == 2);
		assert_int_equal(r.files, i == 2);
		if (i < 3)
			drop_journal(p);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct file *again = redo_place_open(p, i ? "y" : "x");
		expect_block(again, 0, i ? 2 : 1);
		file_put(again);
	}
}

/* Whoever gives up what does not read gives up nothing for a write or a flush that fails. */
static void nothing_is_given_up_for_a_write(void **state)
{
	struct store_place *p = *state;
	static const enum fail_lower_op ops[] = {FAIL_LOWER_PWRITEV, FAIL_LOWER_FSYNC};
	struct recover_result r;
	unsigned tried = 0;
	for (unsigned k = 0; k < 2; k++)
		for (unsigned at = 1, hit = 1; hit; at++, tried++) {
			struct file *f[2];
			for (unsigned i = 0; i < 2; i++)
				make(p, i ? "y" : "x");
			for (unsigned i = 0; i < 2; i++) {
				f[i] = redo_place_open(p, i ? "y" : "x");
				change(f[i], 0, 2, false);
				assert_int_equal(file_sync(f[i], false), 0);
			}
			redo_place_crash(p, f, 2);
			redo_place_open_journal(p);
			/* What several pages do in one write is tried again page by page. */
			fail_lower_arm(&p->fail, ops[k], at, -EIO, ops[k] == FAIL_LOWER_FSYNC);
			int rc = recover_store(&p->store, true, &r);
			hit = fail_lower_hit(&p->fail);
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
			assert_int_equal(rc, hit ? -EIO : 0);
			assert_int_equal(r.unread, 0);
			drop_journal(p);
			redo_place_mount(p);
			for (unsigned i = 0; i < 2; i++) {
				f[i] = redo_place_open(p, i ? "y" : "x");
				expect_block(f[i], 0, 2);
				file_put(f[i]);
				make_away(p, i ? "y" : "x");
			}
		}
	print_message("%u failed\n", tried);
	assert_true(tried > 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, redo_place_make, redo_place_remove)
		T(each_file_counts_up_to_its_own_hard_record),
		T(what_is_hard_is_not_judged),
		T(the_first_that_does_not_verify_ends_them),
		T(pages_of_a_commit_that_was_dropped),
		T(a_decision_is_obeyed),
		T(behind_a_decision_there_is_nothing),
		T(the_order_of_it_all),
		T(a_file_that_does_not_read),
		T(nothing_is_given_up_for_a_write),
		T(what_comes_later_takes_ranges_away),
		T(what_is_older_or_anothers_is_not_touched),
		T(a_header_that_says_otherwise),
		T(a_file_is_found_wherever_it_is),
		T(a_recovery_may_end_at_each_call),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
