/*
 * fs/store/recover and file_recover_length: what an unclean end leaves beside the journal
 * (docs/format.md, "Journal", Recovery, its last sentences). A first header that never reached the
 * disk as a whole is no damage, and everything else is; what lies behind the length that the header
 * says is overwritten and cut off; after an orderly end, and of files that did not change since,
 * nothing is looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/format.h"
#include "tests/unit/redo_place.h"

#include <sys/xattr.h>

#define SECTOR 512u
#define BLOCKS 3u
#define LENGTH ((1 + BLOCKS) * PAGE) /* of the lower file */
#define ATTRIBUTE "user.test"

/* How the last mount ended, and when the file changed. */
enum end { UNCLEAN, CLEAN, BEFORE };

/* The journal as such a mount leaves it; then what the next one says. */
static struct recover_result mount_after(struct store_place *p, enum end end)
{
	struct recover_result r;
	redo_place_open_journal(p);
	assert_int_equal(journal_checkpoint(p->store.journal), 0);
	if (end != CLEAN)
		journal_distrust(p->store.journal);
	journal_close(p->store.journal);
	redo_place_open_journal(p);
	/* As if the period had begun ten seconds later. */
	if (end == BEFORE)
		p->store.journal->since_ns += 10000000000u;
	assert_int_equal(recover_store(&p->store, false, &r), 0);
	assert_int_equal(r.unclean, end != CLEAN);
	return r;
}

static struct stat stat_of(struct store_place *p)
{
	struct stat st;
	assert_int_equal(fstatat(p->root->fd, redo_place_name(p, "x").lower, &st, 0), 0);
	return st;
}

/* A file whose data was written and never committed: its first header alone is in its place. */
static void make_newborn(struct store_place *p, uint8_t page[static PAGE])
{
	uint8_t plain[BLOCKS * PAGE];
	static const uint8_t zeros[PAGE];
	redo_place_end(p);
	(void)unlinkat(p->root->fd, redo_place_name(p, "x").lower, 0);
	redo_place_open_journal(p);
	assert_int_equal(journal_checkpoint(p->store.journal), 0);
	store_place_redo(p);
	struct file *f = redo_place_create(p, "x");
	redo_place_pattern(plain, sizeof(plain), 1);
	redo_place_write(f, plain, sizeof(plain), 0);
	redo_place_crash(p, &f, 1);
	AUTO_CLOSE fd = redo_place_fd(p, "x");
	assert_int_equal(pread(fd, page, PAGE, 0), PAGE);
	assert_memory_not_equal(page, zeros, SECTOR);
	assert_memory_not_equal(page + SECTOR, zeros, SECTOR);
	assert_memory_equal(page + 2 * SECTOR, zeros, PAGE - 2 * SECTOR);
	assert_int_equal(ftruncate(fd, LENGTH), 0);
}

static unsigned behind;
static void count_behind(int fd, uint64_t at)
{
	(void)fd;
	behind += at >= PAGE;
}

static void a_first_header_that_never_came(void **state)
{
	struct store_place *p = *state;
	static const struct {
		unsigned lost, other; /* bits of sectors of page 0: zeros, something else */
		enum end end;
		bool emptied, damage;
	} rows[] = {
		{1, 0, UNCLEAN, true, false},
		{2, 0, UNCLEAN, true, false},
		{3, 0, UNCLEAN, true, false},
		{0, 0, UNCLEAN, false, false},
		{1, 1u << 2, UNCLEAN, false, true},
		{2, 1u << 3, UNCLEAN, false, true},
		{1, 1u << 4, UNCLEAN, false, true},
		{3, 1u << 7, UNCLEAN, false, true},
		{0, 1, UNCLEAN, false, true},
		{1, 0, CLEAN, false, true},
		{3, 0, CLEAN, false, true},
		{1, 0, BEFORE, false, true},
	};
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000, .tv_nsec = 7}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t page[PAGE], after[PAGE] = {0};
		make_newborn(p, page);
		AUTO_CLOSE fd = redo_place_fd(p, "x");
		for (unsigned k = 0; k < 8; k++) {
			if (rows[i].lost >> k & 1)
				memset(page + k * SECTOR, 0, SECTOR);
			if (rows[i].other >> k & 1)
				page[k * SECTOR + 77] ^= 1;
		}
		assert_int_equal(pwrite(fd, page, PAGE, 0), PAGE);
		assert_int_equal(fsetxattr(fd, ATTRIBUTE, "1", 1, 0), 0);
		assert_int_equal(futimens(fd, times), 0);
		unsigned alarms = p->alarms;
		behind = 0;
		redo_place_disk.sees = count_behind;
		struct recover_result r = mount_after(p, rows[i].end);
		redo_place_disk.sees = NULL;
		if (r.emptied != rows[i].emptied)
			fail_msg("row %zu: %u emptied", i, r.emptied);
		struct stat st = stat_of(p);
		assert_int_equal(st.st_mtim.tv_sec, 1000);
		assert_int_equal(st.st_mtim.tv_nsec, 7);
		char value;
		if (rows[i].emptied) {
			assert_int_equal(st.st_size, 0);
			assert_int_equal(fgetxattr(fd, ATTRIBUTE, &value, 1), -1);
			/* Its data, of which nobody has the key. */
			assert_true(behind > 0);
			assert_true(r.bytes >= BLOCKS * PAGE);
		} else {
			assert_int_equal(pread(fd, after, PAGE, 0), PAGE);
			assert_memory_equal(after, page, PAGE);
			assert_int_equal(fgetxattr(fd, ATTRIBUTE, &value, 1), 1);
			assert_int_equal(st.st_size, rows[i].damage ? LENGTH : PAGE);
		}
		struct file *f = NULL;
		assert_int_equal(p->alarms, alarms);
		assert_int_equal(file_open(p->root, redo_place_name(p, "x").lower, &f),
			rows[i].damage ? -EBADMSG : 0);
		assert_int_equal(p->alarms, alarms + rows[i].damage);
		if (f) {
			redo_place_expect(f, "", 0);
			file_put(f);
		}
		redo_place_crash(p, NULL, 0);
	}
}

/* One that was made and never written to has no header, and attributes without one no key. */
static void attributes_without_a_header(void **state)
{
	struct store_place *p = *state;
	char value;
	for (enum end end = UNCLEAN; end <= CLEAN; end++) {
		redo_place_end(p);
		(void)unlinkat(p->root->fd, redo_place_name(p, "x").lower, 0);
		file_put(redo_place_create(p, "x"));
		AUTO_CLOSE fd = redo_place_fd(p, "x");
		assert_int_equal(fsetxattr(fd, ATTRIBUTE, "1", 1, 0), 0);
		(void)mount_after(p, end);
		assert_int_equal(stat_of(p).st_size, 0);
		assert_int_equal(fgetxattr(fd, ATTRIBUTE, &value, 1), end == CLEAN ? 1 : -1);
	}
}

static void what_lies_behind_the_length(void **state)
{
	struct store_place *p = *state;
	static const struct {
		unsigned more; /* pages */
		enum end end;
		bool cut;
	} rows[] = {{5, UNCLEAN, true}, {1, UNCLEAN, true}, {0, UNCLEAN, false}, {5, CLEAN, false},
		{5, BEFORE, false}};
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000, .tv_nsec = 7}};
	uint8_t plain[BLOCKS * PAGE], noise[5 * PAGE];
	struct file *f = redo_place_create(p, "x");
	redo_place_pattern(plain, sizeof(plain), 1);
	redo_place_pattern(noise, sizeof(noise), 2);
	redo_place_write(f, plain, sizeof(plain), 0);
	file_put(f);
	redo_place_end(p);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		AUTO_CLOSE fd = redo_place_fd(p, "x");
		assert_int_equal(
			pwrite(fd, noise, rows[i].more * PAGE, LENGTH), rows[i].more * PAGE);
		assert_int_equal(futimens(fd, times), 0);
		behind = 0;
		redo_place_disk.sees = count_behind;
		struct recover_result r = mount_after(p, rows[i].end);
		redo_place_disk.sees = NULL;
		struct stat st = stat_of(p);
		assert_int_equal(st.st_size, rows[i].cut ? LENGTH : LENGTH + rows[i].more * PAGE);
		assert_int_equal(r.bytes, rows[i].cut ? rows[i].more * PAGE : 0);
		assert_int_equal(behind != 0, rows[i].cut);
		assert_int_equal(r.emptied, 0);
		assert_int_equal(st.st_mtim.tv_sec, 1000);
		assert_int_equal(st.st_mtim.tv_nsec, 7);
		f = redo_place_open(p, "x");
		redo_place_expect(f, plain, sizeof(plain));
		file_put(f);
		redo_place_crash(p, NULL, 0);
		assert_int_equal(ftruncate(fd, LENGTH), 0);
	}
	assert_int_equal(p->alarms, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, redo_place_make, redo_place_remove)
		T(a_first_header_that_never_came),
		T(attributes_without_a_header),
		T(what_lies_behind_the_length),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
