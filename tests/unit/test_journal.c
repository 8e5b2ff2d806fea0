/*
 * fs/store/journal: every entry whose begin returned 0 is found by whoever opens the file next,
 * with all its fields, whatever failed, was cut short, or was damaged in between, or the journal
 * says that it is damaged; nothing is ever found that was not written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/journal.h"
#include "tests/unit/journal_fixture.h"
#include "keymgmt/base/bytes.h"
#include "tests/unit/store_place.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>
#define SECTOR JOURNAL_FORMAT_SECTOR
#define STEP JOURNAL_FORMAT_SUPER_STEP
#define RING JOURNAL_FORMAT_RING
#define BYTES JOURNAL_BYTES_MIN
#define RING_SECTORS ((BYTES - RING) / SECTOR)
#define WRAP_AT 80 /* of a superblock: the wrapped key */
#define NUMBERS 16384
#define HEAD 44 /* of a record, before its text */

struct place {
	struct store_place *p;
	struct lower disk;   /* under p->fail: nothing is made durable, which would take long */
	struct lower reader; /* writes nothing */
	struct journal *j;
	int copy_fd; /* folder for copies of the file */
	/* Before each write of so many bytes and more, whatever it can leave when it is cut short
	 * is checked; 0: never. */
	size_t crashing;
	unsigned begun;           /* entries 1..begun were announced */
	uint8_t must[NUMBERS];    /* by number: its begin returned 0, and it is not done */
	uint64_t tokens[NUMBERS]; /* by number */
	unsigned checked;         /* states that were opened */
	unsigned writes;
	bool made; /* there is an empty one to be copied */
};

static struct place here;
static struct lower_ops disk_ops, reader_ops;

/* All of an entry follows from its number, which is its first block. */
static struct journal_erase entry_of(uint64_t number)
{
	struct journal_erase e = {.ino = number * 0x9e3779b97f4a7c15u,
		.first = number,
		.end = number % 3 ? UINT64_MAX - number : number + 1,
		.keep_space = number % 2};
	memset(e.file_id, (int)(number * 7 % 251), sizeof(e.file_id));
	bytes_put64(e.file_id + 4, ~number);
	return e;
}

/* What j holds are entries that were begun, each once; all those that must be are there. */
static void check_entries(struct journal *j)
{
	static struct journal_erase found[JOURNAL_PENDING_MAX];
	static uint64_t tokens[JOURNAL_PENDING_MAX];
	static uint8_t seen[NUMBERS];
	size_t count = journal_pending(j, found, tokens, JOURNAL_PENDING_MAX);
	assert_true(count <= JOURNAL_PENDING_MAX);
	memset(seen, 0, sizeof(seen));
	for (size_t i = 0; i < count; i++) {
		const struct journal_erase *e = &found[i], want = entry_of(e->first);
		assert_in_range(e->first, 1, here.begun);
		assert_memory_equal(e->file_id, want.file_id, sizeof(want.file_id));
		assert_int_equal(e->ino, want.ino);
		assert_int_equal(e->end, want.end);
		assert_int_equal(e->keep_space, want.keep_space);
		assert_int_equal(seen[e->first], 0);
		seen[e->first] = 1;
	}
	for (unsigned n = 1; n <= here.begun; n++)
		if (here.must[n] && !seen[n])
			fail_msg("entry %u of %u is lost", n, here.begun);
}

/* journal_open without anything being written, not by its close either. */
static int open_in(int folder, const struct keyring *keys, struct journal **ret)
{
	struct err e = {0};
	int rc = journal_open(&here.reader, folder, keys, false, ret, &e);
	assert_int_equal(rc < 0, e.text[0] != 0);
	if (rc == -EBADMSG)
		assert_non_null(strstr(e.text, "-o journal=reset"));
	if (rc == -EPROTONOSUPPORT)
		assert_non_null(strstr(e.text, "newer"));
	return rc;
}

/* The entries of folder/journal, or what opening it says. */
static int check_folder(int folder)
{
	struct journal *j = NULL;
	int rc = open_in(folder, here.p->keys, &j);
	here.checked++;
	if (rc)
		return rc;
	check_entries(j);
	journal_close(j);
	return 0;
}

static int file_of(int folder)
{
	int fd = openat(folder, "journal", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void copy_file(int from, int to)
{
	static uint8_t bytes[BYTES];
	AUTO_CLOSE in = file_of(from);
	AUTO_CLOSE out = openat(to, "journal", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n = pread(in, bytes, sizeof(bytes), 0);
	assert_true(n >= 0 && out >= 0);
	assert_int_equal(pwrite(out, bytes, (size_t)n, 0), n);
}

/* The lock of the journal that is at work does not count for another one's. */
static void *check_copy(void *ret_rc)
{
	*(int *)ret_rc = check_folder(here.copy_fd);
	return NULL;
}

/* The first `cut` bytes of a write reach the copy, which then is as it was again. */
static void cut_short(const uint8_t *bytes, size_t cut, uint64_t offset)
{
	static uint8_t old[1u << 20];
	AUTO_CLOSE fd = file_of(here.copy_fd);
	assert_true(cut <= sizeof(old));
	assert_int_equal(pread(fd, old, cut, (off_t)offset), cut);
	assert_int_equal(pwrite(fd, bytes, cut, (off_t)offset), cut);
	pthread_t thread;
	int rc = 0;
	assert_int_equal(pthread_create(&thread, NULL, check_copy, &rc), 0);
	pthread_join(thread, NULL);
	if (rc)
		fail_msg("write of %zu at %llu: %d", cut, (unsigned long long)offset, rc);
	assert_int_equal(pwrite(fd, old, cut, (off_t)offset), cut);
}

static ssize_t disk_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	here.writes++;
	if (here.crashing) {
		/* Of a long one not every sector. */
		size_t step = iov->iov_len > 8 * SECTOR ? iov->iov_len / 3 : SECTOR / 2;
		assert_int_equal(n, 1);
		for (size_t cut = 0; iov->iov_len >= here.crashing && cut < iov->iov_len;
			cut += step)
			cut_short(iov->iov_base, cut, offset);
		if (iov->iov_len >= here.crashing)
			cut_short(iov->iov_base, iov->iov_len, offset);
		AUTO_CLOSE copy = file_of(here.copy_fd);
		assert_int_equal(
			pwrite(copy, iov->iov_base, iov->iov_len, (off_t)offset), iov->iov_len);
	}
	return lower_posix()->ops->pwritev(l, fd, iov, n, offset);
}

static int disk_fsync(struct lower *l, int fd, bool data_only)
{
	(void)l, (void)fd, (void)data_only;
	return 0;
}

static ssize_t reader_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	(void)l, (void)fd, (void)iov, (void)n, (void)offset;
	return -EROFS;
}

static struct lower *disk(void)
{
	return &here.p->fail.base;
}

static void reset_numbers(void)
{
	here.begun = 0;
	memset(here.must, 0, sizeof(here.must));
}

static void open_here(void)
{
	assert_int_equal(
		journal_open(disk(), here.p->tenant_fd, here.p->keys, false, &here.j, NULL), 0);
}

/* As a killed process leaves it. */
static void drop_here(void)
{
	fail_lower_arm(&here.p->fail, FAIL_LOWER_PWRITEV, 1, -EIO, false);
	journal_close(here.j);
	fail_lower_arm(&here.p->fail, FAIL_LOWER_ANY, 0, 0, false);
	here.j = NULL;
}

static void make_here(void)
{
	static uint8_t image[BYTES];
	if (here.j)
		drop_here();
	reset_numbers();
	if (!here.made) {
		assert_int_equal(journal_create(disk(), here.p->tenant_fd, here.p->keys, BYTES), 0);
		/* As a mount does: what it finds from then on is no clean end. */
		open_here();
		assert_int_equal(journal_checkpoint(here.j), 0);
		drop_here();
		AUTO_CLOSE fd = file_of(here.p->tenant_fd);
		assert_int_equal(pread(fd, image, BYTES, 0), BYTES);
		here.made = true;
	}
	(void)unlinkat(here.p->tenant_fd, "journal", 0);
	AUTO_CLOSE fd =
		openat(here.p->tenant_fd, "journal", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(fd, image, BYTES, 0), BYTES);
	open_here();
}

static int setup(void **state)
{
	void *place;
	/* Of 20 million bytes nobody wants to keep one. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TENANTFS_TEST_DIR", "/dev/shm", 0);
	if (store_place_make(&place) < 0)
		return -1;
	memset(&here, 0, sizeof(here));
	here.p = place;
	disk_ops = reader_ops = *lower_posix()->ops;
	disk_ops.pwritev = disk_pwritev;
	disk_ops.fsync = disk_fsync;
	reader_ops.pwritev = reader_pwritev;
	here.disk.ops = &disk_ops;
	here.reader.ops = &reader_ops;
	here.p->fail.under = &here.disk;
	if (mkdirat(here.p->tenant_fd, "copy", 0700) < 0)
		return -1;
	here.copy_fd = openat(here.p->tenant_fd, "copy", O_PATH | O_DIRECTORY | O_CLOEXEC);
	make_here();
	*state = place;
	return here.copy_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	/* A check that failed in the midst of a write holds its lock. */
	if (here.j && !here.crashing)
		drop_here();
	close(here.copy_fd);
	return store_place_remove(state);
}

static int begin(void)
{
	struct journal_erase e = entry_of(++here.begun);
	assert_true(here.begun < NUMBERS);
	int rc = journal_fixture_announce(here.j, &e, &here.tokens[here.begun]);
	here.must[here.begun] = !rc;
	return rc;
}

static void done(unsigned number)
{
	here.must[number] = 0;
	journal_done(here.j, here.tokens[number]);
}

static size_t pending(void)
{
	return journal_pending(here.j, NULL, NULL, 0);
}

static uint64_t used(void)
{
	struct journal_status s;
	journal_status(here.j, &s);
	assert_int_equal(s.pending, pending());
	return s.used / SECTOR;
}

static void entries_are_found_with_all_their_fields(void **state)
{
	(void)state;
	struct stat st;
	assert_int_equal(fstatat(here.p->tenant_fd, "journal", &st, 0), 0);
	assert_int_equal(st.st_size, BYTES);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(journal_create(disk(), here.p->tenant_fd, here.p->keys, BYTES), -EEXIST);
	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(begin(), 0);
		assert_int_equal(pending(), i + 1);
		assert_int_equal(check_folder(here.p->tenant_fd), 0);
	}
	/* A killed process's journal holds what was done, too; the next one forgets it for good. */
	for (unsigned n = 1; n <= 20; n++)
		done(n);
	done(1);
	assert_int_equal(pending(), 10);
	drop_here();
	open_here();
	assert_int_equal(pending(), 30);
	check_entries(here.j);
	assert_int_equal(journal_checkpoint(here.j), 0);
	assert_int_equal(used(), journal_format_sectors(30 * JOURNAL_FORMAT_ERASE_LEN));
	drop_here();
	open_here();
	struct journal_erase found[30];
	uint64_t tokens[30];
	assert_int_equal(journal_pending(here.j, found, tokens, 30), 30);
	memset(here.must, 0, sizeof(here.must));
	for (unsigned i = 0; i < 30; i++)
		journal_done(here.j, tokens[i]);
	assert_int_equal(journal_checkpoint(here.j), 0);
	assert_int_equal(used(), 0);
	drop_here();
	open_here();
	assert_int_equal(pending(), 0);
	/* A clean end writes nothing where nothing was written, and empties it otherwise. */
	unsigned writes = here.writes;
	journal_close(here.j);
	assert_int_equal(here.writes, writes);
	open_here();
	here.begun = 0;
	assert_int_equal(begin(), 0);
	done(1);
	journal_close(here.j);
	open_here();
	assert_int_equal(pending(), 0);
	journal_close(NULL);
}

static void a_full_ring_begins_anew(void **state)
{
	(void)state;
	static const unsigned lasting[] = {1, 7, 100, 2000, 2001, 2500, 4500, 9000};
	unsigned checkpoints = 0;
	uint64_t before = 0;
	for (unsigned n = 1; n <= 10000; n++) {
		bool lasts = false;
		for (size_t i = 0; i < sizeof(lasting) / sizeof(*lasting); i++)
			lasts |= lasting[i] == n;
		assert_int_equal(begin(), 0);
		if (!lasts)
			done(n);
		checkpoints += used() < before;
		before = used();
		assert_true(before <= RING_SECTORS);
		if (n % 1000 == 5)
			assert_int_equal(check_folder(here.p->tenant_fd), 0);
		if (n % 3000 == 7) {
			assert_int_equal(journal_checkpoint(here.j), 0);
			assert_int_equal(check_folder(here.p->tenant_fd), 0);
		}
	}
	assert_true(checkpoints >= 4);
	assert_int_equal(pending(), 8);
	drop_here();
	open_here();
	check_entries(here.j);
}

static void so_many_may_wait(void **state)
{
	(void)state;
	for (unsigned i = 0; i < JOURNAL_PENDING_MAX; i++)
		assert_int_equal(begin(), 0);
	assert_int_equal(begin(), -ENOSPC);
	assert_int_equal(begin(), -ENOSPC);
	assert_int_equal(pending(), JOURNAL_PENDING_MAX);
	drop_here();
	open_here();
	assert_int_equal(pending(), JOURNAL_PENDING_MAX);
	check_entries(here.j);
	assert_int_equal(begin(), -ENOSPC);
	drop_here();
	open_here();
	static struct journal_erase found[1];
	uint64_t token;
	assert_int_equal(journal_pending(here.j, found, &token, 1), JOURNAL_PENDING_MAX);
	here.must[found[0].first] = 0;
	journal_done(here.j, token);
	assert_int_equal(begin(), 0);
	assert_int_equal(journal_checkpoint(here.j), 0);
	assert_int_equal(check_folder(here.p->tenant_fd), 0);
	/* What one done after the other leaves is neither more nor less. */
	for (unsigned n = 0; n < 3000; n++) {
		assert_int_equal(journal_pending(here.j, found, &token, 1), pending());
		here.must[found[0].first] = 0;
		journal_done(here.j, token);
	}
	assert_int_equal(journal_checkpoint(here.j), 0);
	drop_here();
	open_here();
	assert_int_equal(pending(), JOURNAL_PENDING_MAX - 3000);
	check_entries(here.j);
}

static void after_a_failed_write_there_is_no_other(void **state)
{
	(void)state;
	static const struct {
		enum fail_lower_op op;
		bool checkpoint;
		unsigned at;
	} rows[] = {
		{FAIL_LOWER_PWRITEV, false, 1},
		{FAIL_LOWER_FSYNC, false, 1},
		{FAIL_LOWER_PWRITEV, true, 1},
		{FAIL_LOWER_PWRITEV, true, 2},
		{FAIL_LOWER_PWRITEV, true, 3},
		{FAIL_LOWER_FSYNC, true, 1},
		{FAIL_LOWER_FSYNC, true, 2},
		{FAIL_LOWER_FSYNC, true, 3},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		make_here();
		for (unsigned n = 0; n < 5; n++)
			assert_int_equal(begin(), 0);
		fail_lower_arm(&here.p->fail, rows[i].op, rows[i].at, -ENOSPC, true);
		assert_int_equal(
			rows[i].checkpoint ? journal_checkpoint(here.j) : begin(), -ENOSPC);
		assert_true(fail_lower_hit(&here.p->fail));
		fail_lower_arm(&here.p->fail, FAIL_LOWER_ANY, 0, 0, false);
		unsigned writes = here.writes;
		/* What may be on the disk waits. */
		assert_true(pending() == 5 || (pending() == 6 && !rows[i].checkpoint));
		for (unsigned n = 0; n < 3; n++) {
			assert_int_equal(begin(), -EIO);
			assert_int_equal(journal_checkpoint(here.j), -EIO);
		}
		assert_int_equal(here.writes, writes);
		assert_int_equal(check_folder(here.p->tenant_fd), 0);
		journal_close(here.j);
		here.j = NULL;
		assert_int_equal(here.writes, writes);
		assert_int_equal(check_folder(here.p->tenant_fd), 0);
	}
	open_here();
}

enum work { CREATE, BEGIN, BEGIN_FULL, CHECKPOINT, CLOSE, OPEN, RESEAL, RESET };

/* Whether the next entry finds room without a checkpoint. Whoever opens the ring must be able to
 * carry all that is in it, and one more. */
static bool room(void)
{
	uint64_t used_now = used();
	return used_now + 1 +
		       journal_format_sectors((used_now + 2 + 60) * JOURNAL_FORMAT_ERASE_LEN) <=
	       RING_SECTORS;
}

/* A journal with 25 entries of which 20 wait. */
static void prepare_some(void)
{
	make_here();
	for (unsigned n = 1; n <= 25; n++)
		assert_int_equal(begin(), 0);
	for (unsigned n = 1; n <= 5; n++)
		done(n);
}

/* The same; with room for no other record when full. */
static void prepare(bool full)
{
	static unsigned fit;
	prepare_some();
	for (uint64_t before = 0; full && !fit; before = used()) {
		assert_int_equal(begin(), 0);
		done(here.begun);
		if (used() < before)
			fit = here.begun - 25 - 1;
	}
	if (!full)
		return;
	prepare_some();
	for (unsigned n = 0; n < fit; n++) {
		assert_int_equal(begin(), 0);
		done(here.begun);
	}
}

static int run(enum work work)
{
	struct err e = {0};
	struct journal *j = NULL;
	int tenant = here.p->tenant_fd;
	int rc = 0;
	switch (work) {
	case CREATE:
		return journal_create(disk(), tenant, here.p->keys, BYTES);
	case BEGIN:
	case BEGIN_FULL:
		return begin();
	case CHECKPOINT:
		return journal_checkpoint(here.j);
	case CLOSE:
		journal_close(here.j);
		here.j = NULL;
		return 0;
	case OPEN:
		rc = journal_open(disk(), tenant, here.p->keys, false, &j, &e);
		assert_int_equal(rc < 0, e.text[0] != 0);
		if (!rc)
			check_entries(j);
		journal_close(j);
		return rc;
	case RESEAL:
		rc = journal_reseal(disk(), tenant, here.p->keys, &e);
		assert_int_equal(rc < 0, e.text[0] != 0);
		return rc;
	case RESET:
		reset_numbers(); /* nothing must be there any more */
		here.begun = 25;
		return journal_reset(disk(), tenant, here.p->keys);
	}
	return rc;
}

static void each_lower_call_may_fail(void **state)
{
	(void)state;
	unsigned calls = 0;
	for (int work = CREATE; work <= RESET; work++)
		for (unsigned at = 1;; at++, calls++) {
			assert_true(at < 400);
			prepare(work == BEGIN_FULL);
			if (work == CREATE || work >= OPEN)
				drop_here();
			if (work == CREATE) {
				reset_numbers();
				assert_int_equal(unlinkat(here.p->tenant_fd, "journal", 0), 0);
			}
			fail_lower_arm(&here.p->fail, FAIL_LOWER_ANY, at, -EIO, true);
			int rc = run((enum work)work);
			bool hit = fail_lower_hit(&here.p->fail);
			fail_lower_arm(&here.p->fail, FAIL_LOWER_ANY, 0, 0, false);
			assert_true(hit || rc == 0);
			assert_true(rc == 0 || rc == -EIO);
			int found = faccessat(here.p->tenant_fd, "journal", F_OK, 0) < 0
					    ? -ENOENT
					    : check_folder(here.p->tenant_fd);
			if (work == CREATE && rc)
				assert_true(found == 0 || found == -ENOENT || found == -EBADMSG);
			else
				assert_int_equal(found, 0);
			if (here.j)
				drop_here();
			/* Whatever it was, an empty one can take its place. */
			reset_numbers();
			assert_int_equal(journal_reset(disk(), here.p->tenant_fd, here.p->keys), 0);
			open_here();
			assert_int_equal(pending(), 0);
			drop_here();
			if (!hit)
				break;
		}
	assert_true(calls > 60);
	print_message("%u failed calls\n", calls);
}

static void start_crashing(size_t from)
{
	copy_file(here.p->tenant_fd, here.copy_fd);
	here.crashing = from;
}

static void each_write_may_be_cut_short(void **state)
{
	(void)state;
	for (unsigned waiting = 5; waiting < 40; waiting += 17) {
		make_here();
		for (unsigned n = 0; n < waiting; n++)
			assert_int_equal(begin(), 0);
		if (waiting > 5) /* so that the ring's end comes in the midst of a record */
			assert_int_equal(journal_checkpoint(here.j), 0);
		while (room()) {
			assert_int_equal(begin(), 0);
			done(here.begun);
		}
		uint64_t before = 0;
		start_crashing(1);
		for (unsigned more = 0; used() >= before; more++) {
			before = used();
			assert_int_equal(begin(), 0);
			if (more % 5 == 0)
				done(here.begun);
		}
		assert_int_equal(begin(), 0);
		done(2);
		assert_int_equal(journal_checkpoint(here.j), 0);
		assert_int_equal(begin(), 0);
		here.crashing = 0;
		drop_here();
		assert_int_equal(check_folder(here.p->tenant_fd), 0);
		open_here();
		here.crashing = 1;
		journal_close(here.j);
		here.j = NULL;
		here.crashing = 0;
	}
	print_message("%u states\n", here.checked);
	assert_true(here.checked > 100);
}

/* With every fill of the last sector that a checkpoint carries: all that is in the ring waits, so
 * that its last write takes the last of the room; nothing that counts is under it. */
static void a_checkpoint_writes_over_nothing(void **state)
{
	(void)state;
	for (unsigned waiting = 1; waiting <= 11; waiting++) {
		uint64_t before = 0;
		make_here();
		for (unsigned n = 0; n < waiting; n++)
			assert_int_equal(begin(), 0);
		assert_int_equal(journal_checkpoint(here.j), 0);
		start_crashing(2 * SECTOR);
		for (; used() >= before; before = used() > before ? used() : before)
			assert_int_equal(begin(), 0);
		assert_true(before > RING_SECTORS * 8 / 10);
		here.crashing = 0;
		assert_int_equal(check_folder(here.p->tenant_fd), 0);
		drop_here();
	}
	open_here();
}

/* Of what one mount did there may be more in a larger ring than can wait: not for the next one. */
static void a_large_ring_can_be_opened(void **state)
{
	(void)state;
	drop_here();
	assert_int_equal(unlinkat(here.p->tenant_fd, "journal", 0), 0);
	assert_int_equal(journal_create(disk(), here.p->tenant_fd, here.p->keys, 4 * BYTES), 0);
	reset_numbers();
	open_here();
	for (unsigned n = 1; n <= 2 * JOURNAL_PENDING_MAX + 10; n++) {
		assert_int_equal(begin(), 0);
		if (n > 20)
			done(n);
		if (n == 5 || n == 7000) {
			drop_here();
			open_here();
			check_entries(here.j);
			assert_true(pending() <= JOURNAL_PENDING_MAX);
			assert_true(pending() >= 5);
			/* The first that were done are forgotten for good. */
			static struct journal_erase found[JOURNAL_PENDING_MAX];
			static uint64_t tokens[JOURNAL_PENDING_MAX];
			size_t count = journal_pending(here.j, found, tokens, JOURNAL_PENDING_MAX);
			for (size_t i = 0; i < count; i++)
				if (here.must[found[i].first])
					here.tokens[found[i].first] = tokens[i];
				else
					journal_done(here.j, tokens[i]);
		}
	}
	assert_int_equal(pending(), 20);
}

/* Resealing and resetting; the latter leaves the old entries or none. */
static void reseal_and_reset_may_be_cut_short(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		prepare(round);
		drop_here();
		start_crashing(1);
		assert_int_equal(journal_reseal(disk(), here.p->tenant_fd, here.p->keys, NULL), 0);
		memset(here.must, 0, sizeof(here.must));
		assert_int_equal(journal_reset(disk(), here.p->tenant_fd, here.p->keys), 0);
		here.crashing = 0;
		open_here();
		assert_int_equal(pending(), 0);
	}
}

/* A bit of the copy flipped: what opening it says. */
/* As somebody opens it who wants what stands before a missing record. */
static int check_past_damage(int folder)
{
	struct err e = {0};
	struct journal *j = NULL;
	int rc = journal_open(&here.reader, folder, here.p->keys, true, &j, &e);
	if (rc >= 0)
		check_entries(j);
	journal_close(j);
	return rc;
}

static int flip(int fd, uint64_t at, unsigned bit)
{
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= (uint8_t)(1u << bit % 8);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	int rc = check_folder(here.copy_fd);
	if (at >= RING)
		assert_int_equal(check_past_damage(here.copy_fd), rc ? 1 : 0);
	byte ^= (uint8_t)(1u << bit % 8);
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	return rc;
}

/* After a checkpoint both slots say the same, so that either may go: nothing is lost. */
static void one_slot_carries_the_other(void **state)
{
	(void)state;
	prepare(false);
	assert_int_equal(journal_checkpoint(here.j), 0);
	for (unsigned n = 0; n < 3; n++)
		assert_int_equal(begin(), 0);
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_CLOSE fd = file_of(here.copy_fd);
	for (unsigned slot = 0; slot < 2; slot++)
		for (unsigned at = 0; at < SECTOR; at++)
			assert_int_equal(flip(fd, slot * STEP + at, at), 0);
	/* And zeroed as a whole. */
	static const uint8_t zeros[SECTOR];
	uint8_t slots[2][SECTOR];
	for (unsigned slot = 0; slot < 2; slot++) {
		assert_int_equal(pread(fd, slots[slot], SECTOR, slot * STEP), SECTOR);
		assert_int_equal(pwrite(fd, zeros, SECTOR, slot * STEP), SECTOR);
		assert_int_equal(check_folder(here.copy_fd), 0);
		assert_int_equal(pwrite(fd, slots[slot], SECTOR, slot * STEP), SECTOR);
	}
	/* One in the place of the other says as much. */
	assert_int_equal(pwrite(fd, slots[0], SECTOR, STEP), SECTOR);
	assert_int_equal(check_folder(here.copy_fd), 0);
	/* Both: damaged, and said so. */
	assert_int_equal(pwrite(fd, zeros, SECTOR, 0), SECTOR);
	for (unsigned at = 0; at < WRAP_AT + WRAP_LEN; at++) {
		int rc = flip(fd, STEP + at, at);
		assert_int_equal(rc, at == 4 || at == 5 ? -EPROTONOSUPPORT : -EBADMSG);
	}
	assert_int_equal(pwrite(fd, zeros, SECTOR, STEP), SECTOR);
	assert_int_equal(check_folder(here.copy_fd), -EBADMSG);
	assert_int_equal(journal_reset(disk(), here.copy_fd, here.p->keys), 0);
	reset_numbers();
	assert_int_equal(check_folder(here.copy_fd), 0);
}

/*
 * A checkpoint that was cut short between the slots: the older one still names a chain that is
 * whole, with the same entries and those that are done since.
 */
static void the_older_slot_of_an_unfinished_checkpoint(void **state)
{
	(void)state;
	prepare(false);
	fail_lower_arm(&here.p->fail, FAIL_LOWER_PWRITEV, 3, -EIO, true);
	assert_int_equal(journal_checkpoint(here.j), -EIO);
	fail_lower_arm(&here.p->fail, FAIL_LOWER_ANY, 0, 0, false);
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_CLOSE fd = file_of(here.copy_fd);
	for (unsigned at = 0; at < WRAP_AT + WRAP_LEN; at++)
		for (unsigned slot = 0; slot < 2; slot++)
			assert_int_equal(flip(fd, slot * STEP + at, at + 3), 0);
}

/* Every record's every byte, as prepare makes them: 25 of one sector, each flushed. It is missing
 * then, which the ones behind it tell; whoever wants so goes on with what is before it. */
static void a_changed_record_is_missed(void **state)
{
	(void)state;
	prepare(false);
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_CLOSE fd = file_of(here.copy_fd);
	static uint8_t must[NUMBERS];
	memcpy(must, here.must, sizeof(must));
	for (unsigned record = 0; record < 25; record += 6) {
		int missed = record < 24 ? -EBADMSG : 0;
		for (unsigned at = 0; at < SECTOR; at++) {
			/* The check fails, and what is before it stays. */
			memcpy(here.must, must, sizeof(must));
			for (unsigned n = record + 1; n <= 25; n++)
				here.must[n] = 0;
			uint64_t offset = RING + record * SECTOR + at;
			assert_int_equal(flip(fd, offset, at), missed);
			/* With a check that is right it is known for a forgery. */
			uint8_t sector[SECTOR], forged[SECTOR];
			if (at >= JOURNAL_FORMAT_PAYLOAD)
				continue;
			assert_int_equal(pread(fd, sector, SECTOR, RING + record * SECTOR), SECTOR);
			memcpy(forged, sector, SECTOR);
			forged[at] ^= 0x10;
			bytes_put64(forged + SECTOR - 8,
				XXH3_64bits_withSeed(forged, SECTOR - 8, record));
			assert_int_equal(
				pwrite(fd, forged, SECTOR, RING + record * SECTOR), SECTOR);
			/* Behind the text there is nothing. */
			bool text = at < HEAD + JOURNAL_FORMAT_ERASE_LEN;
			int rc = check_folder(here.copy_fd);
			/* A length that takes in the next sectors: they are another's. */
			if (at < 4 && rc == 0)
				assert_true(bytes_get32(forged) > JOURNAL_FORMAT_PAYLOAD - HEAD);
			else
				assert_int_equal(rc, text ? -EBADMSG : 0);
			assert_int_equal(
				pwrite(fd, sector, SECTOR, RING + record * SECTOR), SECTOR);
		}
	}
	memcpy(here.must, must, sizeof(must));
	assert_int_equal(check_folder(here.copy_fd), 0);
}

/* Of records that nobody flushed any may be there after a power cut, with those before it gone. */
static void a_record_that_was_not_flushed_is_not_missed(void **state)
{
	(void)state;
	prepare(false);
	uint64_t sequence, before = used();
	for (unsigned n = 0; n < 3; n++) {
		AUTO_BUF text = {0};
		const struct journal_erase e = entry_of(++here.begun);
		const struct journal_record r = {.text = &text};
		journal_format_put_erase(&text, &e);
		assert_int_equal(journal_append(here.j, &r, &sequence, NULL), 0);
	}
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_CLOSE fd = file_of(here.copy_fd);
	assert_int_equal(flip(fd, RING + before * SECTOR, 1), 0);
	assert_int_equal(flip(fd, RING + (before + 1) * SECTOR, 1), 0);
	/* The one in front of them was. */
	here.must[25] = 0;
	assert_int_equal(flip(fd, RING + (before - 1) * SECTOR, 1), -EBADMSG);
}

/* Marks and checks can be made up behind the end, seals cannot: nothing is missed for them. */
static void what_is_made_up_tells_nothing(void **state)
{
	(void)state;
	prepare(false);
	uint64_t end = used();
	uint8_t last[SECTOR];
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_CLOSE fd = file_of(here.copy_fd);
	assert_int_equal(pread(fd, last, SECTOR, RING + (off_t)(end - 1) * SECTOR), SECTOR);
	uint64_t sequence = bytes_get64(last + JOURNAL_FORMAT_PAYLOAD);
	for (unsigned ahead = 2; ahead < 5; ahead++) {
		uint64_t at = end + 7 * ahead;
		bytes_put64(last + 8, sequence + ahead);
		bytes_put64(last + JOURNAL_FORMAT_PAYLOAD, sequence + ahead);
		bytes_put64(last + SECTOR - 8, XXH3_64bits_withSeed(last, SECTOR - 8, at));
		assert_int_equal(pwrite(fd, last, SECTOR, RING + (off_t)at * SECTOR), SECTOR);
		assert_int_equal(check_folder(here.copy_fd), 0);
	}
}

/* A record whose sectors are whole and which does not open, or which does not read: those in front
 * of it are there for whoever wants them. */
static void a_record_that_is_damaged_hides_none_before_it(void **state)
{
	(void)state;
	prepare(false);
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_CLOSE fd = file_of(here.copy_fd);
	uint8_t sector[SECTOR];
	const uint64_t at = RING + 12 * SECTOR;
	assert_int_equal(pread(fd, sector, SECTOR, (off_t)at), SECTOR);
	sector[60] ^= 1;
	bytes_put64(sector + SECTOR - 8, XXH3_64bits_withSeed(sector, SECTOR - 8, 12));
	assert_int_equal(pwrite(fd, sector, SECTOR, (off_t)at), SECTOR);
	for (unsigned n = 13; n <= 25; n++)
		here.must[n] = 0;
	assert_int_equal(check_folder(here.copy_fd), -EBADMSG);
	assert_int_equal(check_past_damage(here.copy_fd), 1);
}

static uint64_t bad_from, bad_to; /* of the journal file: reading there is EIO */

static ssize_t bad_preadv(struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	uint64_t end = offset;
	for (int i = 0; i < n; i++)
		end += iov[i].iov_len;
	return offset < bad_to && end > bad_from
		       ? -EIO
		       : lower_posix()->ops->preadv(l, fd, iov, n, offset);
}

/* A sector that was being written when the power failed, and is none of those that count. */
static void sectors_that_do_not_read(void **state)
{
	(void)state;
	static uint8_t must[NUMBERS];
	prepare(false);
	uint64_t end = RING + used() * SECTOR;
	drop_here();
	memcpy(must, here.must, sizeof(must));
	reader_ops.preadv = bad_preadv;
	for (unsigned i = 0; i < 4; i++) {
		const uint64_t free[] = {end, end + 7 * SECTOR, end + 100 * SECTOR, BYTES - SECTOR};
		bad_from = free[i];
		bad_to = bad_from + SECTOR;
		assert_int_equal(check_folder(here.p->tenant_fd), i ? 0 : -EIO);
		assert_int_equal(check_past_damage(here.p->tenant_fd), i ? 0 : 1);
	}
	/* One of them in the midst of the records. */
	bad_from = RING + 12 * SECTOR;
	bad_to = bad_from + SECTOR;
	assert_int_equal(check_folder(here.p->tenant_fd), -EIO);
	for (unsigned n = 13; n <= 25; n++)
		here.must[n] = 0;
	assert_int_equal(check_past_damage(here.p->tenant_fd), 1);
	/* A superblock is as one that is damaged, both of them are what the disk says. */
	memcpy(here.must, must, sizeof(must));
	for (unsigned i = 0; i < 2; i++) {
		bad_from = i * STEP;
		bad_to = bad_from + SECTOR;
		assert_int_equal(check_folder(here.p->tenant_fd), 0);
	}
	bad_from = 0;
	assert_int_equal(check_folder(here.p->tenant_fd), -EIO);
	bad_from = bad_to = 0;
}

static ssize_t healing_pwritev(
	struct lower *l, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	if (n == 1 && offset == bad_from && iov[0].iov_len == STEP)
		bad_from = bad_to = 0;
	if (offset < bad_to && offset + iov[0].iov_len > bad_from)
		return -EIO; /* a part of a page that does not read */
	return lower_posix()->ops->pwritev(l, fd, iov, n, offset);
}

/* With one of its superblocks on a page that does not read it goes on, and writes it anew. */
static void a_superblock_that_does_not_read(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		prepare(false);
		drop_here();
		disk_ops.preadv = bad_preadv;
		disk_ops.pwritev = healing_pwritev;
		bad_from = i * STEP;
		bad_to = bad_from + STEP;
		open_here();
		check_entries(here.j);
		assert_int_equal(begin(), 0);
		assert_int_equal(bad_to - bad_from, STEP);
		assert_int_equal(journal_checkpoint(here.j), 0);
		assert_int_equal(bad_to, 0);
		assert_int_equal(begin(), 0);
		disk_ops.preadv = lower_posix()->ops->preadv;
		disk_ops.pwritev = disk_pwritev;
		for (unsigned slot = 0; slot < 2; slot++) {
			bad_from = slot * STEP;
			bad_to = bad_from + STEP;
			reader_ops.preadv = bad_preadv;
			assert_int_equal(check_folder(here.p->tenant_fd), 0);
		}
		bad_from = bad_to = 0;
	}
}

/* A checkpoint that was cut short behind its record, whose erasure the next mount finished. */
static void what_a_checkpoint_left_is_no_record_of_the_next(void **state)
{
	(void)state;
	struct journal_erase found;
	uint64_t token;
	assert_int_equal(begin(), 0);
	fail_lower_arm(&here.p->fail, FAIL_LOWER_PWRITEV, 2, -EIO, true);
	assert_int_equal(journal_checkpoint(here.j), -EIO);
	drop_here();
	open_here();
	assert_int_equal(journal_pending(here.j, &found, &token, 1), 1);
	journal_done(here.j, token);
	here.must[1] = 0;
	assert_int_equal(journal_checkpoint(here.j), 0);
	assert_int_equal(check_folder(here.p->tenant_fd), 0);
}

/* Records of before in the place of those of now, and of another place in this one. */
static void records_of_elsewhere_are_none(void **state)
{
	(void)state;
	static uint8_t old[RING_SECTORS * SECTOR];
	prepare(true);
	AUTO_CLOSE fd = file_of(here.p->tenant_fd);
	assert_int_equal(pread(fd, old, sizeof(old), RING), sizeof(old));
	for (unsigned n = 1; n <= here.begun; n++)
		done(n);
	for (unsigned lap = 0; lap < 2; lap++) {
		for (uint64_t before = 0; used() >= before; done(here.begun)) {
			before = used();
			assert_int_equal(begin(), 0);
		}
		assert_int_equal(journal_checkpoint(here.j), 0);
		/* None of those that are done may be there. */
		assert_int_equal(begin(), 0);
		copy_file(here.p->tenant_fd, here.copy_fd);
		AUTO_CLOSE copy = file_of(here.copy_fd);
		assert_int_equal(pwrite(copy, old, sizeof(old), RING), sizeof(old));
		here.must[here.begun] = 0;
		struct journal *j = NULL;
		assert_int_equal(open_in(here.copy_fd, here.p->keys, &j), 0);
		assert_int_equal(journal_pending(j, NULL, NULL, 0), 0);
		journal_close(j);
		here.must[here.begun] = 1;
		done(here.begun);
	}
	/* A record twice, and two of them swapped: the chain ends where they are. */
	make_here();
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(begin(), 0);
	AUTO_CLOSE now = file_of(here.p->tenant_fd);
	uint8_t sectors[4 * SECTOR];
	assert_int_equal(pread(now, sectors, sizeof(sectors), RING), sizeof(sectors));
	here.must[2] = here.must[3] = here.must[4] = 0;
	assert_int_equal(pwrite(now, sectors, SECTOR, RING + SECTOR), SECTOR);
	assert_int_equal(check_folder(here.p->tenant_fd), -EBADMSG);
	assert_int_equal(check_past_damage(here.p->tenant_fd), 1);
	assert_int_equal(pwrite(now, sectors + 2 * SECTOR, SECTOR, RING + SECTOR), SECTOR);
	assert_int_equal(pwrite(now, sectors + SECTOR, SECTOR, RING + 2 * SECTOR), SECTOR);
	assert_int_equal(check_folder(here.p->tenant_fd), -EBADMSG);
	assert_int_equal(check_past_damage(here.p->tenant_fd), 1);
}

/* All of an earlier file: what it held is there again, and nothing else. */
static void an_old_copy_is_what_it_was(void **state)
{
	(void)state;
	prepare(false);
	copy_file(here.p->tenant_fd, here.copy_fd);
	static uint8_t must[NUMBERS];
	memcpy(must, here.must, sizeof(must));
	for (unsigned n = 6; n <= 25; n++)
		done(n);
	for (unsigned n = 0; n < 10; n++)
		assert_int_equal(begin(), 0);
	assert_int_equal(journal_checkpoint(here.j), 0);
	drop_here();
	copy_file(here.copy_fd, here.p->tenant_fd);
	memcpy(here.must, must, sizeof(must));
	here.begun = 25;
	open_here();
	check_entries(here.j);
	assert_int_equal(pending(), 25);
}

static void what_is_no_journal_of_ours(void **state)
{
	(void)state;
	struct keyring_owner other = *keyring_owner(here.p->keys);
	struct keyring *keys = NULL;
	struct journal *j = NULL;
	assert_int_equal(begin(), 0);
	for (unsigned i = 0; i < 3; i++) {
		/* Another key; of another tenant; of another store. */
		if (i)
			(i == 1 ? other.tenant_uuid : other.store_uuid)[3] ^= 1;
		assert_int_equal(keyring_create(&other, CRYPTO_AES256_GCM, &keys), 0);
		assert_int_equal(open_in(here.p->tenant_fd, keys, &j), -EBADMSG);
		keyring_free(keys);
	}
	drop_here();
	static const struct {
		off_t length;
		int want;
	} cut[] = {{0, -EBADMSG}, {1, -EBADMSG}, {SECTOR, -EBADMSG}, {RING - 1, -EBADMSG},
		{RING, -EBADMSG}, {BYTES - SECTOR, -EBADMSG}, {BYTES - 1, -EBADMSG}};
	for (size_t i = 0; i < sizeof(cut) / sizeof(*cut); i++) {
		copy_file(here.p->tenant_fd, here.copy_fd);
		AUTO_CLOSE fd = file_of(here.copy_fd);
		assert_int_equal(ftruncate(fd, cut[i].length), 0);
		assert_int_equal(check_folder(here.copy_fd), cut[i].want);
		/* A new one has room for what there must be. */
		reset_numbers();
		assert_int_equal(journal_reset(disk(), here.copy_fd, here.p->keys), 0);
		assert_int_equal(check_folder(here.copy_fd), 0);
		struct stat st;
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, BYTES);
		here.begun = here.must[1] = 1;
	}
	/* Longer is no harm. */
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_CLOSE fd = file_of(here.copy_fd);
	assert_int_equal(ftruncate(fd, BYTES + 5), 0);
	assert_int_equal(check_folder(here.copy_fd), 0);
}

static void what_is_no_file(void **state)
{
	(void)state;
	static const struct {
		mode_t type;
		int want, reset;
	} rows[] = {{0, -ENOENT, 0}, {S_IFDIR, -EBADMSG, -EINVAL}, {S_IFIFO, -EBADMSG, -EINVAL},
		{S_IFLNK, -EBADMSG, -EINVAL}, {S_IFSOCK, -EBADMSG, -EINVAL}};
	drop_here();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int at = here.copy_fd;
		reset_numbers();
		if (rows[i].type == S_IFDIR)
			assert_int_equal(mkdirat(at, "journal", 0700), 0);
		else if (rows[i].type == S_IFLNK)
			assert_int_equal(symlinkat("../journal", at, "journal"), 0);
		else if (rows[i].type)
			assert_int_equal(mknodat(at, "journal", rows[i].type | 0600, 0), 0);
		assert_int_equal(check_folder(at), rows[i].want);
		assert_int_equal(journal_reset(disk(), at, here.p->keys), rows[i].reset);
		if (!rows[i].reset)
			assert_int_equal(check_folder(at), 0);
		assert_int_equal(
			unlinkat(at, "journal", rows[i].type == S_IFDIR ? AT_REMOVEDIR : 0), 0);
	}
	open_here();
}

static void newer_formats_are_told_from_damage(void **state)
{
	(void)state;
	assert_int_equal(begin(), 0);
	AUTO_CLOSE fd = file_of(here.p->tenant_fd);
	const uint8_t newer[2] = {2, 0}, none[2] = {0, 0};
	assert_int_equal(pwrite(fd, newer, 2, 4), 2);
	assert_int_equal(pwrite(fd, newer, 2, STEP + 4), 2);
	assert_int_equal(check_folder(here.p->tenant_fd), -EPROTONOSUPPORT);
	assert_int_equal(pwrite(fd, none, 2, 4), 2);
	assert_int_equal(pwrite(fd, none, 2, STEP + 4), 2);
	assert_int_equal(check_folder(here.p->tenant_fd), -EBADMSG);
}

static bool holds(int folder, const uint8_t *bytes, size_t len)
{
	static uint8_t all[BYTES];
	AUTO_CLOSE fd = file_of(folder);
	assert_int_equal(pread(fd, all, BYTES, 0), BYTES);
	return memmem(all, BYTES, bytes, len);
}

static void of_the_old_key_nothing_stays(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		uint8_t wrap[2][WRAP_LEN];
		prepare(false);
		AUTO_CLOSE fd = file_of(here.p->tenant_fd);
		for (unsigned slot = 0; slot < 2; slot++) {
			assert_int_equal(
				pread(fd, wrap[slot], WRAP_LEN, slot * STEP + WRAP_AT), WRAP_LEN);
			assert_true(holds(here.p->tenant_fd, wrap[slot], WRAP_LEN));
		}
		if (round == 0) {
			assert_int_equal(journal_checkpoint(here.j), 0);
		} else if (round == 1) {
			journal_close(here.j);
			here.j = NULL;
		} else {
			assert_int_equal(journal_reset(disk(), here.p->tenant_fd, here.p->keys), 0);
		}
		for (unsigned slot = 0; slot < 2; slot++)
			for (unsigned at = 0; at + 16 <= WRAP_LEN; at += 4)
				assert_false(holds(here.p->tenant_fd, wrap[slot] + at, 16));
	}
}

static void rotation_takes_it_along(void **state)
{
	(void)state;
	struct keyring *keys = here.p->keys;
	prepare(false);
	drop_here();
	copy_file(here.p->tenant_fd, here.copy_fd);
	AUTO_SECRET *old = keyring_mdk_subkey(keys, "journal", false);
	assert_int_equal(keyring_rotate_begin(keys), 0);
	/* Under the retiring key it opens, and goes on. */
	assert_int_equal(check_folder(here.p->tenant_fd), 0);
	assert_int_equal(journal_reseal(disk(), here.p->tenant_fd, keys, NULL), 0);
	assert_int_equal(check_folder(here.p->tenant_fd), 0);
	assert_int_equal(journal_reseal(disk(), here.p->tenant_fd, keys, NULL), 0);
	/* Neither slot opens under the old key. */
	AUTO_CLOSE fd = file_of(here.p->tenant_fd);
	for (unsigned slot = 0; slot < 2; slot++) {
		uint8_t bytes[SECTOR];
		struct journal_super s;
		AUTO_SECRET *key = NULL;
		assert_int_equal(pread(fd, bytes, SECTOR, slot * STEP), SECTOR);
		assert_int_equal(
			journal_format_super_open(bytes, keyring_owner(keys), old, &s, &key),
			-EKEYREJECTED);
	}
	keyring_retire_done(keys);
	assert_int_equal(check_folder(here.p->tenant_fd), 0);
	/* What was not brought along is lost with the old key. */
	assert_int_equal(check_folder(here.copy_fd), -EBADMSG);
	open_here();
	assert_int_equal(pending(), 25);
}

/* A reset one is not taken for one with the records that are still in its ring. */
static void a_reset_forgets_what_the_ring_holds(void **state)
{
	(void)state;
	static const uint8_t zeros[SECTOR];
	for (unsigned damaged = 0; damaged < 4; damaged++) {
		prepare(false);
		drop_here();
		AUTO_CLOSE fd = file_of(here.p->tenant_fd);
		for (unsigned slot = 0; slot < 2; slot++)
			if (damaged >> slot & 1)
				assert_int_equal(pwrite(fd, zeros, SECTOR, slot * STEP), SECTOR);
		reset_numbers();
		assert_int_equal(journal_reset(disk(), here.p->tenant_fd, here.p->keys), 0);
		open_here();
		assert_int_equal(pending(), 0);
		assert_int_equal(begin(), 0);
		assert_int_equal(check_folder(here.p->tenant_fd), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		T(entries_are_found_with_all_their_fields),
		T(a_full_ring_begins_anew),
		T(so_many_may_wait),
		T(after_a_failed_write_there_is_no_other),
		T(each_lower_call_may_fail),
		T(each_write_may_be_cut_short),
		T(a_checkpoint_writes_over_nothing),
		T(a_large_ring_can_be_opened),
		T(reseal_and_reset_may_be_cut_short),
		T(one_slot_carries_the_other),
		T(the_older_slot_of_an_unfinished_checkpoint),
		T(a_changed_record_is_missed),
		T(a_record_that_is_damaged_hides_none_before_it),
		T(sectors_that_do_not_read),
		T(a_superblock_that_does_not_read),
		T(what_a_checkpoint_left_is_no_record_of_the_next),
		T(a_record_that_was_not_flushed_is_not_missed),
		T(what_is_made_up_tells_nothing),
		T(records_of_elsewhere_are_none),
		T(an_old_copy_is_what_it_was),
		T(what_is_no_journal_of_ours),
		T(what_is_no_file),
		T(newer_formats_are_told_from_damage),
		T(of_the_old_key_nothing_stays),
		T(rotation_takes_it_along),
		T(a_reset_forgets_what_the_ring_holds),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
