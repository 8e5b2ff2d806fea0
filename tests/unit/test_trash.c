/* fs/erase/trash.c and eraser.c on a real directory: moves, links, the thread, what is left for the
 * next mount. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/erase/trash.h"
#include "keymgmt/crypto.h"
#include "tests/unit/fail_lower.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define FILE_LEN 12288
#define DRAIN_MS 20000

struct place {
	char path[64];
	int root, trash_fd;
	struct fail_lower f;
	struct trash_options options;
	pthread_mutex_t lock;
	unsigned receipts;
	struct trash_receipt last;
};

static void take_receipt(void *context, const struct trash_receipt *receipt)
{
	struct place *p = context;
	pthread_mutex_lock(&p->lock);
	p->receipts++;
	p->last = *receipt;
	pthread_mutex_unlock(&p->lock);
}

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	snprintf(p->path, sizeof(p->path), "/var/tmp/test_trash.XXXXXX");
	if (!p || !mkdtemp(p->path))
		return -1;
	int dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(dir, "root", 0700);
	mkdirat(dir, "trash", 0700);
	p->root = openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->trash_fd = openat(dir, "trash", O_PATH | O_DIRECTORY | O_CLOEXEC);
	close(dir);
	fail_lower_init(&p->f, lower_posix());
	p->options =
		(struct trash_options){.require = TRASH_C, .receipt = take_receipt, .context = p};
	pthread_mutex_init(&p->lock, NULL);
	*state = p;
	return p->root < 0 || p->trash_fd < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int teardown(void **state)
{
	struct place *p = *state;
	close(p->root);
	close(p->trash_fd);
	nftw(p->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static void make(struct place *p, const char *name)
{
	static uint8_t bytes[FILE_LEN];
	memset(bytes, 9, sizeof(bytes));
	memcpy(bytes, "TFSH\1\0\1\0IDENTIFIER-OF-16", 24);
	int fd = openat(p->root, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

/* Entries of the trash; ret_name: one of them, where not NULL. */
static int in_trash(struct place *p, char *ret_name)
{
	int fd = openat(p->trash_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	DIR *d = fdopendir(fd);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			n++;
			if (ret_name)
				snprintf(ret_name, TRASH_NAME_LEN, "%.39s", e->d_name);
		}
	closedir(d);
	return n;
}

static bool untouched(int dirfd, const char *name)
{
	uint8_t bytes[FILE_LEN] = {0};
	AUTO_CLOSE fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, bytes, sizeof(bytes)) == sizeof(bytes) && bytes[0] == 'T' &&
	       bytes[5000] == 9 && bytes[5001] == 9 && bytes[5002] == 9;
}

static struct trash *start(struct place *p)
{
	struct trash *t = NULL;
	struct err e = {0};
	assert_int_equal(trash_open(&p->f.base, p->trash_fd, &p->options, &t, &e), 0);
	assert_true(trash_resume(t) >= 0);
	return t;
}

static void erase(struct place *p, struct trash *t, const char *name)
{
	char there[TRASH_NAME_LEN];
	assert_int_equal(trash_move(t, p->root, name, there), 0);
	trash_erase(t, there, p->root);
}

static int open_files(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void erases(void **state)
{
	struct place *p = *state;
	for (int sync = 0; sync < 2; sync++) {
		uint64_t files, bytes;
		p->options.sync = sync;
		p->receipts = 0;
		struct trash *t = start(p);
		struct trash_status s;
		make(p, "a");
		AUTO_CLOSE before = openat(p->root, "a", O_RDONLY | O_CLOEXEC);
		erase(p, t, "a");
		if (!sync) {
			trash_status(t, &s);
			assert_int_equal(s.files, 1);
			assert_true(s.bytes >= FILE_LEN);
			trash_backlog(t, &files, &bytes);
			assert_int_equal(files, 1);
			assert_int_equal(bytes, s.bytes);
			assert_int_equal(trash_drain(t, DRAIN_MS), 0);
		}
		trash_status(t, &s);
		assert_int_equal(s.files + s.bytes + s.failed_files, 0);
		trash_backlog(t, &files, &bytes);
		assert_int_equal(files + bytes, 0);
		assert_int_equal(s.done_files, 1);
		assert_int_equal(s.done_bytes, FILE_LEN);
		assert_true(s.why[0] != 0);
		assert_int_equal(p->receipts, 1);
		assert_int_equal(p->last.error, 0);
		assert_int_equal(p->last.bytes, FILE_LEN);
		assert_string_equal(p->last.method, "overwritten");
		assert_memory_equal(p->last.file_id, "IDENTIFIER-OF-16", 16);
		assert_int_equal(in_trash(p, NULL), 0);
		uint8_t now[FILE_LEN];
		assert_int_equal(read(before, now, sizeof(now)), FILE_LEN);
		assert_true(memcmp(now, "TFSH", 4) != 0 &&
			    (now[9000] != 9 || now[9001] != 9 || now[9002] != 9));
		trash_close(t, 0);
	}
}

static void begins_by_itself(void **state)
{
	struct place *p = *state;
	struct trash *t = start(p);
	make(p, "a");
	erase(p, t, "a");
	struct timespec pause = {0, 10000000};
	int waited_ms = 0;
	for (; in_trash(p, NULL) && waited_ms < 5000; waited_ms += 10)
		nanosleep(&pause, NULL);
	assert_in_range(waited_ms, 0, 1000);
	trash_close(t, DRAIN_MS);
}

static void other_names_stay(void **state)
{
	struct place *p = *state;
	struct trash *t = start(p);
	make(p, "a");
	assert_int_equal(linkat(p->root, "a", p->root, "b", 0), 0);
	erase(p, t, "a");
	assert_int_equal(trash_drain(t, DRAIN_MS), 0);
	assert_true(untouched(p->root, "b"));
	assert_int_equal(in_trash(p, NULL), 0);
	assert_int_equal(p->receipts, 0);
	/* Both names in the trash at once: the later one erases. */
	assert_int_equal(linkat(p->root, "b", p->root, "c", 0), 0);
	erase(p, t, "b");
	erase(p, t, "c");
	assert_int_equal(trash_drain(t, DRAIN_MS), 0);
	assert_int_equal(in_trash(p, NULL), 0);
	assert_int_equal(p->receipts, 1);
	trash_close(t, 0);
}

struct pairs {
	struct place *p;
	struct trash *t;
	char prefix;
};

static void *erase_pairs(void *argument)
{
	struct pairs *pairs = argument;
	for (int i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%c%d", pairs->prefix, i);
		erase(pairs->p, pairs->t, name);
	}
	return NULL;
}

static int slow_fstatat(struct lower *l, int dirfd, const char *name, struct stat *ret)
{
	(void)l;
	struct timespec pause = {0, 2000000};
	int r = lower_posix()->ops->fstatat(lower_posix(), dirfd, name, ret);
	nanosleep(&pause, NULL);
	return r;
}

/* With erase=sync two threads meet at the two names of one file: exactly one of them must overwrite
 * it. */
static void names_race(void **state)
{
	struct place *p = *state;
	struct lower_ops ops = *p->f.base.ops;
	ops.fstatat = slow_fstatat;
	p->f.base.ops = &ops;
	p->options.sync = true;
	struct trash *t = start(p);
	for (int i = 0; i < 20; i++) {
		char a[16], b[16];
		snprintf(a, sizeof(a), "a%d", i);
		snprintf(b, sizeof(b), "b%d", i);
		make(p, a);
		assert_int_equal(linkat(p->root, a, p->root, b, 0), 0);
	}
	pthread_t threads[2];
	struct pairs pairs[2] = {{p, t, 'a'}, {p, t, 'b'}};
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, erase_pairs, &pairs[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(p->receipts, 20);
	assert_int_equal(in_trash(p, NULL), 0);
	trash_close(t, 0);
}

static void replaced(void **state)
{
	struct place *p = *state;
	struct trash *t = start(p);
	char there[TRASH_NAME_LEN];
	make(p, "old");
	make(p, "new");
	assert_int_equal(trash_link(t, p->root, "old", there), 0);
	trash_unlink(t, there);
	assert_int_equal(in_trash(p, NULL), 0);
	assert_true(untouched(p->root, "old"));
	assert_int_equal(trash_link(t, p->root, "old", there), 0);
	assert_int_equal(renameat(p->root, "new", p->root, "old"), 0);
	trash_erase(t, there, p->root);
	assert_int_equal(trash_drain(t, DRAIN_MS), 0);
	assert_int_equal(p->receipts, 1);
	assert_true(untouched(p->root, "old"));
	trash_close(t, 0);
}

static void moves_fail(void **state)
{
	struct place *p = *state;
	struct trash *t = start(p);
	char there[TRASH_NAME_LEN] = "as it was";
	assert_int_equal(trash_move(t, p->root, "none", there), -ENOENT);
	assert_int_equal(trash_link(t, p->root, "none", there), -ENOENT);
	assert_string_equal(there, "as it was");
	/* A name that is not there is nothing to erase. */
	trash_erase(t, "0123456789abcdef", -1);
	assert_int_equal(trash_drain(t, DRAIN_MS), 0);
	assert_int_equal(p->receipts, 0);
	trash_close(t, 0);
}

static void leftovers(void **state)
{
	struct place *p = *state;
	struct trash *t = start(p);
	char there[TRASH_NAME_LEN], one[TRASH_NAME_LEN];
	make(p, "a");
	make(p, "undone");
	assert_int_equal(trash_move(t, p->root, "a", there), 0);
	assert_int_equal(trash_link(t, p->root, "undone", there), 0);
	assert_int_equal(symlinkat("x", p->trash_fd, "link"), 0);
	assert_int_equal(mkdirat(p->trash_fd, "dir", 0700), 0);
	trash_close(t, 0);
	assert_int_equal(in_trash(p, one), 4);

	assert_int_equal(trash_open(&p->f.base, p->trash_fd, &p->options, &t, NULL), 0);
	assert_int_equal(trash_resume(t), 4);
	assert_int_equal(trash_drain(t, DRAIN_MS), 0);
	assert_int_equal(in_trash(p, NULL), 0);
	assert_int_equal(p->receipts, 1);
	assert_true(untouched(p->root, "undone"));
	trash_close(t, 0);
}

static void close_in_time(void **state)
{
	struct place *p = *state;
	struct trash *t = start(p);
	make(p, "a");
	erase(p, t, "a");
	trash_close(t, DRAIN_MS);
	assert_int_equal(in_trash(p, NULL), 0);

	assert_int_equal(trash_open(&p->f.base, p->trash_fd, &p->options, &t, NULL), 0);
	make(p, "a");
	erase(p, t, "a"); /* no thread yet */
	assert_int_equal(trash_drain(t, 50), -ETIMEDOUT);
	trash_close(t, 0);
	assert_int_equal(in_trash(p, NULL), 1);
	trash_close(NULL, 0);
}

static void closed_to_its_owner(void **state)
{
	struct place *p = *state;
	p->options.sync = true;
	struct trash *t = start(p);
	make(p, "a");
	fail_lower_arm(&p->f, FAIL_LOWER_OPENAT, 1, -EACCES, true);
	unsigned changed = atomic_load(&p->f.total[FAIL_LOWER_FCHMODAT]);
	erase(p, t, "a");
	assert_int_equal(atomic_load(&p->f.total[FAIL_LOWER_FCHMODAT]), changed + 1);
	assert_int_equal(p->last.error, 0);
	assert_int_equal(in_trash(p, NULL), 0);
	trash_close(t, 0);
}

/* Before its removal is durable no byte of a file changes. */
static void removal_first(void **state)
{
	struct place *p = *state;
	for (unsigned n = 1; n <= 2; n++) {
		for (int sync = 0; sync < 2; sync++) {
			char there[TRASH_NAME_LEN];
			p->options.sync = sync;
			p->receipts = 0;
			struct trash *t = start(p);
			make(p, "a");
			/* In sync mode the directory's failing fsync is made good by the file's
			 * own. */
			fail_lower_arm(&p->f, FAIL_LOWER_FSYNC, sync ? 2 : n, -EIO, true);
			erase(p, t, "a");
			assert_int_equal(trash_drain(t, DRAIN_MS), 0);
			assert_true(fail_lower_hit(&p->f));
			assert_int_equal(in_trash(p, there), 1);
			assert_true(untouched(p->trash_fd, there));
			assert_int_equal(p->receipts, 1);
			assert_int_equal(p->last.error, -EIO);
			struct trash_status s;
			trash_status(t, &s);
			assert_int_equal(s.failed_files, 1);
			assert_int_equal(s.files + s.bytes, 0);
			fail_lower_arm(&p->f, FAIL_LOWER_ANY, 0, 0, true);
			trash_close(t, 0);
			t = start(p);
			assert_int_equal(trash_drain(t, DRAIN_MS), 0);
			assert_int_equal(in_trash(p, NULL), 0);
			trash_close(t, 0);
		}
	}
}

/* The directory is not known, as after a kill: the file's own fsync comes before its bytes change.
 */
static void left_removal_first(void **state)
{
	struct place *p = *state;
	char there[TRASH_NAME_LEN];
	for (unsigned i = 0; i < 4; i++) {
		unsigned n = 1 + i % 2;
		bool left = i / 2;
		struct trash *t = start(p);
		make(p, "a");
		assert_int_equal(trash_move(t, p->root, "a", there), 0);
		if (left) {
			trash_close(t, 0);
			t = NULL;
		}
		fail_lower_arm(&p->f, FAIL_LOWER_FSYNC, n, -EIO, true);
		if (left)
			t = start(p);
		else
			trash_erase(t, there, -1);
		assert_int_equal(trash_drain(t, DRAIN_MS), 0);
		assert_int_equal(p->last.error, -EIO);
		assert_true(untouched(p->trash_fd, there));
		fail_lower_arm(&p->f, FAIL_LOWER_ANY, 0, 0, true);
		trash_close(t, 0);
		t = start(p);
		assert_int_equal(trash_drain(t, DRAIN_MS), 0);
		assert_int_equal(in_trash(p, NULL), 0);
		trash_close(t, 0);
	}
}

static void disk_fault(void **state)
{
	struct place *p = *state;
	struct trash *t = start(p);
	make(p, "a");
	make(p, "b");
	fail_lower_arm(&p->f, FAIL_LOWER_PWRITEV, 1, -EIO, true);
	erase(p, t, "a");
	erase(p, t, "b");
	assert_int_equal(trash_drain(t, DRAIN_MS), 0);
	/* The thread went on with the other one. */
	assert_int_equal(in_trash(p, NULL), 1);
	assert_int_equal(p->receipts, 2);
	struct trash_status s;
	trash_status(t, &s);
	assert_int_equal(s.failed_files, 1);
	assert_int_equal(s.done_files, 1);
	trash_close(t, 0);
}

/* Wherever a call fails: the file is whole under its name or in the trash, and the next mount ends
 * it. Nothing leaks. */
static void each_call_fails(void **state)
{
	struct place *p = *state;
	unsigned n = 1;
	int files_before = open_files();
	for (;; n++) {
		struct trash *t = start(p);
		char there[TRASH_NAME_LEN];
		make(p, "a");
		fail_lower_arm(&p->f, FAIL_LOWER_ANY, n, -EIO, true);
		int moved = trash_move(t, p->root, "a", there);
		if (moved == 0)
			trash_erase(t, there, p->root);
		assert_int_equal(trash_drain(t, DRAIN_MS), 0);
		bool hit = fail_lower_hit(&p->f);
		fail_lower_arm(&p->f, FAIL_LOWER_ANY, 0, 0, true);
		trash_close(t, 0);
		if (moved < 0) {
			assert_true(untouched(p->root, "a"));
			assert_int_equal(unlinkat(p->root, "a", 0), 0);
		}
		t = start(p);
		assert_int_equal(trash_drain(t, DRAIN_MS), 0);
		assert_int_equal(in_trash(p, NULL), 0);
		trash_close(t, 0);
		assert_int_equal(open_files(), files_before);
		if (!hit)
			break;
	}
	assert_in_range(n, 15, 40);
}

static void many_directories(void **state)
{
	struct place *p = *state;
	int files_before = open_files();
	struct trash *t = NULL;
	/* Without its thread, as if that were busy. */
	assert_int_equal(trash_open(&p->f.base, p->trash_fd, &p->options, &t, NULL), 0);
	for (int i = 0; i < 200; i++) {
		char name[16], there[TRASH_NAME_LEN];
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(mkdirat(p->root, name, 0700), 0);
		AUTO_CLOSE dir = openat(p->root, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		make(p, "a");
		assert_int_equal(renameat(p->root, "a", dir, "a"), 0);
		assert_int_equal(trash_move(t, dir, "a", there), 0);
		trash_erase(t, there, dir);
		assert_true(open_files() < files_before + 100);
	}
	trash_close(t, 0);
	assert_int_equal(in_trash(p, NULL), 200);
	t = start(p);
	assert_int_equal(trash_drain(t, DRAIN_MS), 0);
	assert_int_equal(p->receipts, 200);
	assert_int_equal(in_trash(p, NULL), 0);
	trash_close(t, 0);
	assert_int_equal(open_files(), files_before);
}

/* Nothing happens but where the caller asks for it. */
static void by_hand(void **state)
{
	struct place *p = *state;
	p->options.by_hand = true;
	make(p, "a");
	make(p, "b");
	struct trash *t = start(p);
	erase(p, t, "a");
	assert_int_equal(in_trash(p, NULL), 1);
	assert_int_equal(trash_drain(t, 0), 0);
	assert_int_equal(in_trash(p, NULL), 0);
	assert_int_equal(p->receipts, 1);
	erase(p, t, "b");
	trash_close(t, -1);
	assert_int_equal(in_trash(p, NULL), 1);
	t = start(p);
	assert_int_equal(in_trash(p, NULL), 1);
	assert_int_equal(trash_drain(t, -1), 0);
	assert_int_equal(in_trash(p, NULL), 0);
	assert_int_equal(p->receipts, 2);
	trash_close(t, -1);
}

static int64_t says_tmpfs(struct lower *l, int fd)
{
	(void)l, (void)fd;
	return TMPFS_MAGIC;
}

/* Where every write takes new space, a full disk is still emptied; elsewhere the file waits. */
static void full_disk(void **state)
{
	struct place *p = *state;
	struct lower_ops ops = *p->f.base.ops;
	ops.fs_type = says_tmpfs;
	for (int copies = 0; copies < 2; copies++) {
		if (copies)
			p->f.base.ops = &ops;
		p->options.sync = true;
		struct trash *t = start(p);
		make(p, "a");
		fail_lower_arm(&p->f, FAIL_LOWER_PWRITEV, 1, -ENOSPC, false);
		erase(p, t, "a");
		assert_int_equal(p->last.error, copies ? 0 : -ENOSPC);
		assert_int_equal(in_trash(p, NULL), copies ? 0 : 1);
		if (copies) {
			assert_string_equal(p->last.method, "key destroyed");
			assert_int_equal(p->last.assurance, TRASH_C);
		}
		fail_lower_arm(&p->f, FAIL_LOWER_ANY, 0, 0, true);
		trash_close(t, 0);
		t = start(p);
		assert_int_equal(trash_drain(t, DRAIN_MS), 0);
		trash_close(t, 0);
	}
}

static void requirement(void **state)
{
	struct place *p = *state;
	struct lower_ops ops = *p->f.base.ops;
	struct trash *t = NULL;
	struct err e = {0};
	ops.fs_type = says_tmpfs;
	p->f.base.ops = &ops;
	p->options.require = TRASH_B;
	assert_int_equal(trash_open(&p->f.base, p->trash_fd, &p->options, &t, &e), -EOPNOTSUPP);
	assert_non_null(strstr(e.text, "assurance C"));
	assert_non_null(strstr(e.text, "tmpfs"));
	assert_null(t);
	p->options.require = TRASH_C;
	assert_int_equal(trash_open(&p->f.base, p->trash_fd, &p->options, &t, &e), 0);
	trash_close(t, 0);
	fail_lower_arm(&p->f, FAIL_LOWER_FSTAT, 1, -EIO, true);
	assert_int_equal(trash_open(&p->f.base, p->trash_fd, &p->options, &t, &e), -EIO);
}

static void names(void **state)
{
	(void)state;
	char seen[100][TRASH_NAME_LEN];
	for (size_t i = 0; i < 100; i++) {
		trash_name(NULL, seen[i]);
		assert_int_equal(strlen(seen[i]), 32);
		assert_int_equal(strspn(seen[i], "0123456789abcdef"), 32);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(seen[i], seen[j]);
	}
}

static void one_open_file(void **state)
{
	struct place *p = *state;
	struct trash_receipt got;
	make(p, "a");
	AUTO_CLOSE fd = openat(p->root, "a", O_RDWR | O_CLOEXEC);
	assert_int_equal(trash_overwrite(&p->f.base, fd, &got), 0);
	assert_int_equal(got.bytes, FILE_LEN);
	assert_int_equal(got.error, 0);
	assert_false(untouched(p->root, "a"));
	fail_lower_arm(&p->f, FAIL_LOWER_FSYNC, 1, -EIO, true);
	assert_int_equal(trash_overwrite(&p->f.base, fd, &got), -EIO);
	assert_int_equal(got.error, -EIO);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(erases),
		WITH_PLACE(begins_by_itself),
		WITH_PLACE(other_names_stay),
		WITH_PLACE(names_race),
		WITH_PLACE(replaced),
		WITH_PLACE(moves_fail),
		WITH_PLACE(leftovers),
		WITH_PLACE(close_in_time),
		WITH_PLACE(closed_to_its_owner),
		WITH_PLACE(removal_first),
		WITH_PLACE(left_removal_first),
		WITH_PLACE(disk_fault),
		WITH_PLACE(each_call_fails),
		WITH_PLACE(many_directories),
		WITH_PLACE(by_hand),
		WITH_PLACE(full_disk),
		WITH_PLACE(requirement),
		cmocka_unit_test(names),
		WITH_PLACE(one_open_file),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("trash", tests, NULL, NULL);
}
