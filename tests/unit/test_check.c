/*
 * fs/store/check and file_check: whatever was changed is found, with the right block; what is good
 * is not; nothing changes through lower_readonly; a repair that is cut short loses nothing.
 */
#include "tests/unit/tree_place.h"

#include "fs/lower/lower_readonly.h"
#include "fs/store/check.h"
#include "fs/store/file_check.h"
#include "fs/store/journal.h"
#include "tests/unit/journal_fixture.h"
#include "fs/store/xattr.h"

#define PAGE 4096u
#define FAR ((uint64_t)(64 + 128 * 1030) * PAGE) /* under a presence page */
#define PRESENCE ((off_t)132032 * PAGE)          /* the first presence page */
#define FOUND_MAX 32

struct found {
	char kind[FOUND_MAX][16], lower[FOUND_MAX][600], path[FOUND_MAX][64];
	char detail[FOUND_MAX][96];
	uint64_t block[FOUND_MAX], blocks[FOUND_MAX];
	bool corrected[FOUND_MAX], damage[FOUND_MAX];
	unsigned count, calls, stop_at;
};

static struct found seen;

static void on_fault(void *context, const struct file_check_fault *f)
{
	struct found *s = context;
	assert_true(s->count < FOUND_MAX);
	snprintf(s->kind[s->count], sizeof(s->kind[0]), "%s", f->what);
	s->block[s->count] = f->block;
	s->blocks[s->count++] = f->blocks;
}

static int check_one(struct store_place *p, const char *plain, struct file_check *ret)
{
	struct name n = sealed(p->root, plain);
	const struct file_check_hooks hooks = {on_fault, NULL, &seen};
	memset(&seen, 0, sizeof(seen));
	return file_check(&p->store, p->root->fd, n.lower, &hooks, ret);
}

static void on_finding(void *context, const struct check_finding *f)
{
	struct found *s = context;
	assert_true(s->count < FOUND_MAX);
	snprintf(s->kind[s->count], sizeof(s->kind[0]), "%s", f->kind);
	snprintf(s->lower[s->count], sizeof(s->lower[0]), "%s", f->lower);
	snprintf(s->detail[s->count], sizeof(s->detail[0]), "%s", f->detail);
	s->damage[s->count] = f->damage;
	snprintf(s->path[s->count], sizeof(s->path[0]), "%s", f->path ? f->path : "");
	s->block[s->count] = f->block;
	s->corrected[s->count++] = f->corrected;
}

static int on_progress(void *context, const struct check_counts *counts)
{
	struct found *s = context;
	(void)counts;
	return ++s->calls == s->stop_at ? -ECANCELED : 0;
}

/* The whole tenant; as tenantctl fsck does it. */
static int check_all(struct store_place *p, bool repair, unsigned stop_at)
{
	struct lower_readonly readonly;
	const struct check_options o = {repair, on_finding, on_progress, NULL, &seen};
	struct check_counts counts;
	lower_readonly_init(&readonly, &p->fail.base);
	memset(&seen, 0, sizeof(seen));
	seen.stop_at = stop_at;
	struct store s = p->store;
	s.lower = repair ? &p->fail.base : &readonly.base;
	int r = check_store(&s, p->tenant_fd, &o, &counts);
	if (r == 0) {
		assert_int_equal(counts.findings, seen.count);
		assert_int_equal(counts.findings, counts.corrected + counts.left);
	}
	return r;
}

/* A clean tenant, and nothing in it yet. */
static struct store_place *tenant(void **state)
{
	struct store_place *p = *state;
	assert_int_equal(
		journal_create(lower_posix(), p->tenant_fd, p->keys, JOURNAL_BYTES_MIN), 0);
	assert_int_equal(mkdirat(p->tenant_fd, "trash", 0700), 0);
	return p;
}

static void write_at(struct store_place *p, const char *plain, const uint64_t *at, unsigned n)
{
	struct name name = sealed(p->root, plain);
	struct file *f;
	struct stat st;
	uint8_t page[PAGE];
	assert_int_equal(file_create(p->root, &name, 0600, NULL, &f, &st), 0);
	for (unsigned i = 0; i < n; i++) {
		memset(page, (int)i + 1, sizeof(page));
		assert_int_equal(file_write(f, page, sizeof(page), at[i]), sizeof(page));
	}
	file_put(f);
}

static void make_large(struct store_place *p, const char *plain, unsigned blocks)
{
	AUTO_FREE uint64_t *at = calloc(blocks, sizeof(*at));
	assert_non_null(at);
	for (unsigned i = 0; i < blocks; i++)
		at[i] = (uint64_t)i * PAGE;
	write_at(p, plain, at, blocks);
}

static int lower_open(struct store_place *p, const char *plain)
{
	struct name n = sealed(p->root, plain);
	int fd = openat(p->root->fd, n.lower, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void flip(struct store_place *p, const char *plain, off_t at)
{
	uint8_t byte;
	AUTO_CLOSE fd = lower_open(p, plain);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static off_t data_at(uint64_t block)
{
	return (off_t)block_map_data_offset(block);
}

static void expect_fault(const char *what, uint64_t block, uint64_t blocks)
{
	assert_int_equal(seen.count, 1);
	assert_string_equal(seen.kind[0], what);
	assert_int_equal(seen.block[0], block);
	assert_int_equal(seen.blocks[0], blocks);
}

static void good_files_are_good(void **state)
{
	struct store_place *p = *state;
	struct file_check got;
	make_file(p->root, "empty", "");
	make_file(p->root, "small", "content");
	make_large(p, "large", 300);
	write_at(p, "sparse", (const uint64_t[]){0, FAR, FAR + (1ull << 33)}, 3);
	assert_int_equal(check_one(p, "empty", &got), 0);
	assert_false(got.has_header);
	assert_int_equal(check_one(p, "small", &got), 0);
	assert_true(got.has_header);
	assert_int_equal(got.blocks, 1);
	assert_int_equal(got.holes, 63);
	assert_int_equal(got.size, 7);
	assert_int_equal(got.homes[0].names, 1);
	assert_memory_equal(got.homes[0].dir_id, p->root->id, DIR_ID_LEN);
	assert_int_equal(check_one(p, "large", &got), 0);
	assert_int_equal(got.blocks, 300);
	assert_int_equal(got.blocks + got.holes, 64 + 2 * 128);
	assert_int_equal(check_one(p, "sparse", &got), 0);
	assert_int_equal(got.blocks, 3);
	assert_int_equal(got.blocks + got.holes, 64 + 2 * 128);
	assert_int_equal(seen.count, 0);
	assert_int_equal(check_one(p, "none", &got), -ENOENT);
	assert_int_equal(p->alarms, 0);
}

static void bad_blocks_are_named(void **state)
{
	struct store_place *p = *state;
	struct file_check got;
	static const uint64_t blocks[] = {0, 63, 64, 191, 192, 299};
	make_large(p, "f", 300);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		flip(p, "f", data_at(blocks[i]) + 17);
		assert_int_equal(check_one(p, "f", &got), 0);
		expect_fault("block", blocks[i], 1);
		assert_int_equal(got.faults, 1);
		assert_int_equal(got.blocks, 299);
		flip(p, "f", data_at(blocks[i]) + 17);
	}
	for (uint64_t b = 70; b < 80; b++)
		flip(p, "f", data_at(b));
	assert_int_equal(check_one(p, "f", &got), 0);
	expect_fault("block", 70, 10);
	/* Every other block: too many places to be told one by one. */
	for (uint64_t b = 81; b < 141; b += 2)
		flip(p, "f", data_at(b));
	assert_int_equal(check_one(p, "f", &got), 0);
	assert_int_equal(seen.count, 17);
	assert_int_equal(seen.block[16], 81 + 15 * 2);
	assert_int_equal(seen.blocks[16], 15);
	assert_int_equal(got.blocks, 300 - 10 - 30);
}

static void other_damage_is_named(void **state)
{
	struct store_place *p = *state;
	struct file_check got;
	make_large(p, "f", 300);
	flip(p, "f", (off_t)block_map_tag_offset(1) + 5 * FORMAT_TAG_LEN);
	assert_int_equal(check_one(p, "f", &got), 0);
	expect_fault("block", 69, 1);
	make_large(p, "g", 3);
	flip(p, "g", 60);
	assert_int_equal(check_one(p, "g", &got), 0);
	expect_fault("header", UINT64_MAX, 0);
	assert_false(got.has_header);
	make_large(p, "h", 300);
	AUTO_CLOSE fd = lower_open(p, "h");
	assert_int_equal(ftruncate(fd, data_at(200)), 0);
	assert_int_equal(check_one(p, "h", &got), 0);
	expect_fault("size", UINT64_MAX, 0);
	write_at(p, "s", (const uint64_t[]){0, FAR, FAR + (1ull << 38)}, 3);
	flip(p, "s", PRESENCE + 100);
	assert_int_equal(check_one(p, "s", &got), 0);
	assert_int_equal(seen.count, 1);
	assert_string_equal(seen.kind[0], "presence");
	assert_int_equal(got.blocks, 2); /* what is under the other page is looked at */
}

/* What an open of such a file does not see. */
static void old_blocks_are_seen_in_large_files(void **state)
{
	struct store_place *p = *state;
	struct file_check got;
	uint8_t entry[FORMAT_TAG_LEN], block[PAGE];
	off_t entry_at = (off_t)block_map_tag_offset(1) + 36 * FORMAT_TAG_LEN;
	make_large(p, "f", 300);
	AUTO_CLOSE fd = lower_open(p, "f");
	assert_int_equal(pread(fd, entry, sizeof(entry), entry_at), sizeof(entry));
	assert_int_equal(pread(fd, block, sizeof(block), data_at(100)), sizeof(block));
	struct name n = sealed(p->root, "f");
	struct file *f;
	assert_int_equal(file_open(p->root, n.lower, &f), 0);
	assert_int_equal(file_write(f, "newer", 5, 100 * PAGE), 5);
	file_put(f);
	assert_int_equal(check_one(p, "f", &got), 0);
	assert_int_equal(seen.count, 0);
	assert_int_equal(pwrite(fd, entry, sizeof(entry), entry_at), sizeof(entry));
	assert_int_equal(pwrite(fd, block, sizeof(block), data_at(100)), sizeof(block));
	assert_int_equal(file_open(p->root, n.lower, &f), 0);
	file_put(f);
	assert_int_equal(check_one(p, "f", &got), 0);
	expect_fault("tags", UINT64_MAX, 0);
}

/* A call that fails is never taken for a good file. */
static void every_lower_call_may_fail(void **state)
{
	static const enum fail_lower_op ops[] = {FAIL_LOWER_OPENAT, FAIL_LOWER_FSTAT,
		FAIL_LOWER_PREADV, FAIL_LOWER_FLISTXATTR, FAIL_LOWER_FGETXATTR};
	static const int errors[] = {-EIO, -ENOMEM, -EMFILE};
	struct store_place *p = *state;
	struct file_check got;
	unsigned hits = 0;
	write_at(p, "f", (const uint64_t[]){0, 70 * PAGE, 71 * PAGE, FAR}, 4);
	struct name n = sealed(p->root, "f");
	struct file *f;
	assert_int_equal(file_open(p->root, n.lower, &f), 0);
	assert_int_equal(xattr_set(f, NULL, "user.a", "value", 5, 0), 0);
	file_put(f);
	for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++)
		for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
			for (unsigned at = 1;; at++) {
				fail_lower_arm(&p->fail, ops[o], at, errors[e], true);
				int r = check_one(p, "f", &got);
				bool hit = fail_lower_hit(&p->fail);
				disarm(p);
				if (!hit) {
					assert_int_equal(r, 0);
					assert_int_equal(seen.count, 0);
					break;
				}
				hits++;
				/* A read of several blocks is tried again one by one. */
				if (r == 0 && ops[o] == FAIL_LOWER_PREADV && errors[e] == -EIO)
					assert_true(seen.count > 0 || got.blocks == 4);
				else
					assert_true(r == errors[e] || (r == 0 && seen.count > 0));
			}
	assert_true(hits > 20);
	assert_int_equal(p->alarms, 0);
}

static void settling_changes_homes_and_length_alone(void **state)
{
	struct store_place *p = *state;
	struct file_check got;
	struct stat before, after;
	make_large(p, "f", 3);
	AUTO_CLOSE fd = lower_open(p, "f");
	assert_int_equal(ftruncate(fd, data_at(9)), 0);
	assert_int_equal(futimens(fd, (const struct timespec[2]){{5, 6}, {7, 8}}), 0);
	assert_int_equal(fstat(fd, &before), 0);
	assert_int_equal(check_one(p, "f", &got), 0);
	assert_int_equal(seen.count, 0);
	assert_true(got.longer);
	struct format_home homes[5];
	for (unsigned i = 0; i < 5; i++) {
		memset(homes[i].dir_id, (int)i + 1, DIR_ID_LEN);
		homes[i].names = i + 1;
	}
	struct name n = sealed(p->root, "f");
	assert_int_equal(file_check_settle(&p->store, p->root->fd, n.lower, homes, 2), 0);
	assert_int_equal(check_one(p, "f", &got), 0);
	assert_false(got.longer || got.many_homes);
	assert_int_equal(got.homes[1].names, 2);
	assert_int_equal(got.homes[2].names, 0);
	assert_int_equal(file_check_settle(&p->store, p->root->fd, n.lower, homes, 5), 0);
	assert_int_equal(check_one(p, "f", &got), 0);
	assert_true(got.many_homes);
	assert_int_equal(fstat(fd, &after), 0);
	assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
	assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
	assert_int_equal(seen.count, 0);
}

/* Something of every kind, all of it good. */
static void fill(struct store_place *p)
{
	struct dir *d;
	struct stat st;
	struct name n = sealed(p->root, "link"), l = sealed(p->root, long_name('l'));
	struct name second, first = sealed(p->root, "file");
	make_dir(p->root, "d", &d);
	make_large(p, "file", 70);
	make_file(d, long_name('x'), "long");
	second = sealed(d, "second");
	assert_int_equal(tree_link(p->root, first.lower, NULL, d, &second, &st), 0);
	assert_int_equal(tree_symlink(p->root, &n, "target", NULL, &st), 0);
	assert_int_equal(tree_symlink(p->root, &l, long_name('t'), NULL, &st), 0);
	assert_int_equal(xattr_set(NULL, d, "user.a", "value", 5, 0), 0);
	dir_put(d);
}

static void a_clean_tenant_is_left_alone(void **state)
{
	static const enum fail_lower_op changing[] = {FAIL_LOWER_PWRITEV, FAIL_LOWER_FSYNC,
		FAIL_LOWER_SYNCFS, FAIL_LOWER_FTRUNCATE, FAIL_LOWER_FALLOCATE, FAIL_LOWER_MKDIRAT,
		FAIL_LOWER_MKNODAT, FAIL_LOWER_SYMLINKAT, FAIL_LOWER_LINKAT, FAIL_LOWER_LINKFD,
		FAIL_LOWER_UNLINKAT, FAIL_LOWER_RENAMEAT, FAIL_LOWER_FCHMOD, FAIL_LOWER_FCHMODAT,
		FAIL_LOWER_FCHOWNAT, FAIL_LOWER_UTIMENSAT, FAIL_LOWER_FUTIMENS,
		FAIL_LOWER_FSETXATTR, FAIL_LOWER_FREMOVEXATTR};
	struct store_place *p = tenant(state);
	unsigned before[FAIL_LOWER_LOCK + 1];
	fill(p);
	for (int op = 0; op <= FAIL_LOWER_LOCK; op++)
		before[op] = atomic_load(&p->fail.total[op]);
	assert_int_equal(check_all(p, false, 0), 0);
	assert_int_equal(seen.count, 0);
	/* Nor when there is something to be mended. */
	struct name cut = sealed(p->root, "cut");
	assert_int_equal(mkdirat(p->root->fd, cut.lower, 0700), 0);
	assert_int_equal(symlinkat("x", p->root->fd, ".dir.new"), 0);
	flip(p, "file", data_at(1));
	assert_int_equal(check_all(p, false, 0), 0);
	assert_int_equal(seen.count, 4); /* the file has two names */
	for (size_t i = 0; i < sizeof(changing) / sizeof(changing[0]); i++)
		assert_int_equal(atomic_load(&p->fail.total[changing[i]]), before[changing[i]]);
}

static void it_can_be_stopped_anywhere(void **state)
{
	struct store_place *p = tenant(state);
	fill(p);
	assert_int_equal(check_all(p, false, 0), 0);
	unsigned calls = seen.calls;
	assert_true(calls > 6);
	for (unsigned i = 1; i <= calls; i++)
		assert_int_equal(check_all(p, i % 2, i), -ECANCELED);
}

static void the_journal_is_finished(void **state)
{
	struct store_place *p = tenant(state);
	struct journal *j;
	uint64_t token;
	const struct journal_erase e = {.ino = 5, .first = 1, .end = 2, .file_id = {1}};
	fill(p);
	assert_int_equal(journal_open(lower_posix(), p->tenant_fd, p->keys, false, &j, NULL), 0);
	assert_int_equal(journal_fixture_announce(j, &e, &token), 0);
	journal_close(j);
	for (int pass = 0; pass < 3; pass++) {
		assert_int_equal(check_all(p, pass == 1, 0), 0);
		assert_int_equal(seen.count, pass < 2);
		if (pass < 2) {
			assert_string_equal(seen.kind[0], "journal");
			assert_string_equal(seen.lower[0], "journal");
			assert_int_equal(seen.corrected[0], pass == 1);
		}
	}
}

/* A mount that did not end orderly and had brought everything to its place. */
static void an_unclean_end_is_said(void **state)
{
	struct store_place *p = tenant(state);
	struct journal *j;
	fill(p);
	assert_int_equal(journal_open(lower_posix(), p->tenant_fd, p->keys, false, &j, NULL), 0);
	assert_int_equal(journal_checkpoint(j), 0);
	journal_distrust(j);
	journal_close(j);
	for (int pass = 0; pass < 3; pass++) {
		assert_int_equal(check_all(p, pass == 1, 0), 0);
		assert_int_equal(seen.count, pass < 2);
		if (pass == 2)
			break;
		assert_string_equal(seen.kind[0], "journal");
		assert_non_null(
			strstr(seen.detail[0], pass == 1 ? "the last mount did not end orderly: 0"
							 : "it was not unmounted orderly"));
		assert_string_equal(seen.lower[0], "journal");
		assert_int_equal(seen.corrected[0], pass == 1);
		assert_false(seen.damage[0]);
	}
}

static unsigned entries(int at, const char *folder)
{
	unsigned count = 0;
	AUTO_CLOSE fd = openat(at, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dir d = {.fd = fd};
	if (fd >= 0)
		count = lower_count(&d, true);
	return count;
}

/* Whichever call fails: a file is in the tree or in lost+found, and the next repair ends it. */
static void a_repair_may_fail_anywhere(void **state)
{
	struct store_place *p = tenant(state);
	unsigned at = 1, repaired = 0;
	fill(p);
	for (bool hit = true; hit; at++) {
		char name[16];
		snprintf(name, sizeof(name), "bad%u", at);
		make_large(p, name, 2);
		flip(p, name, data_at(1));
		assert_int_equal(symlinkat("x", p->root->fd, ".dir.new"), 0);
		unsigned before = lower_count(p->root, false) + entries(p->tenant_fd, "lost+found");
		bool had_report = faccessat(p->tenant_fd, "lost+found/report", F_OK, 0) == 0;
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at, -EIO, true);
		int r = check_all(p, true, 0);
		hit = fail_lower_hit(&p->fail);
		disarm(p);
		assert_true(r <= 0);
		(void)!check_all(p, true, 0);
		assert_int_equal(check_all(p, false, 0), 0);
		repaired += seen.count == 0;
		assert_int_equal(seen.count, 0);
		unsigned after = lower_count(p->root, false) + entries(p->tenant_fd, "lost+found");
		assert_int_equal(after, before + !had_report);
		(void)unlinkat(p->root->fd, ".dir.new", 0);
		assert_true(at < 2000);
	}
	assert_true(repaired > 20);
}

/* One name is in a directory that cannot be read, another was removed: the first must stay known.
 */
static void names_that_are_not_seen_stay_at_home(void **state)
{
	struct store_place *p = tenant(state);
	struct dir *d[2];
	struct stat st;
	struct name first = sealed(p->root, "file"), names[2];
	static const char *const folders[] = {"d", "e"};
	char record[DIR_RECORD_MAX], there[256];
	make_large(p, "file", 2);
	for (int i = 0; i < 2; i++) {
		make_dir(p->root, folders[i], &d[i]);
		names[i] = sealed(d[i], "file");
		assert_int_equal(tree_link(p->root, first.lower, NULL, d[i], &names[i], &st), 0);
	}
	struct name folder = sealed(p->root, "d");
	ssize_t n = readlinkat(d[0]->fd, ".dir", record, sizeof(record) - 1);
	assert_true(n > 0);
	record[n] = 0;
	assert_int_equal(unlinkat(d[0]->fd, ".dir", 0), 0);
	assert_int_equal(unlinkat(d[1]->fd, names[1].lower, 0), 0);
	assert_int_equal(check_all(p, true, 0), 0);
	assert_int_equal(seen.count, 2);
	assert_true(seen.corrected[0] && !seen.corrected[1]);
	assert_string_equal(seen.kind[1], "homes");
	/* It comes back. */
	snprintf(there, sizeof(there), "lost+found/000001-%.200s", folder.lower);
	assert_int_equal(renameat(p->tenant_fd, there, p->root->fd, folder.lower), 0);
	assert_int_equal(symlinkat(record, d[0]->fd, ".dir"), 0);
	assert_int_equal(check_all(p, true, 0), 0);
	assert_int_equal(seen.count, 1);
	assert_true(seen.corrected[0]);
	struct file *f;
	assert_int_equal(file_open(d[0], names[0].lower, &f), 0);
	file_put(f);
	assert_int_equal(check_all(p, false, 0), 0);
	assert_int_equal(seen.count, 0);
	dir_put(d[0]);
	dir_put(d[1]);
}

static void text_cannot_order_a_terminal_about(void **state)
{
	static const struct {
		const char *bytes, *shown;
	} rows[] = {{"plain-._~/x", "plain-._~/x"}, {"a b", "a\\ b"}, {"a\\b", "a\\\\b"},
		{"\033[31m", "\\033[31m"}, {"\n\t\r\a\b\v\f", "\\n\\t\\r\\a\\b\\v\\f"},
		{"\177\001", "\\177\\001"}, {"M\303\274ller", "M\303\274ller"}, {"\303", "\\303"},
		{"\303\050", "\\303("}, {"\300\257", "\\300\\257"},
		{"\342\200\256gpj", "\\342\\200\\256gpj"}, {"\302\205", "\\302\\205"},
		{"\355\240\200", "\\355\\240\\200"}, {"\360\237\230\200", "\360\237\230\200"},
		{"\364\220\200\200", "\\364\\220\\200\\200"}, {"\377", "\\377"}, {"", ""}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO_BUF b = {0};
		check_text(&b, rows[i].bytes);
		assert_string_equal(b.data ? (const char *)b.data : "", rows[i].shown);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_place_make, store_place_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(good_files_are_good),
		TEST(bad_blocks_are_named),
		TEST(other_damage_is_named),
		TEST(old_blocks_are_seen_in_large_files),
		TEST(every_lower_call_may_fail),
		TEST(settling_changes_homes_and_length_alone),
		TEST(a_clean_tenant_is_left_alone),
		TEST(it_can_be_stopped_anywhere),
		TEST(the_journal_is_finished),
		TEST(an_unclean_end_is_said),
		TEST(a_repair_may_fail_anywhere),
		TEST(names_that_are_not_seen_stay_at_home),
		cmocka_unit_test(text_cannot_order_a_terminal_about),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
