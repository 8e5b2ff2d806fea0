/* The simulated disk itself: each rule of sim_disk.h, and that it behaves as a real filesystem. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/sim_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS 400

struct disk {
	struct sim_disk *d;
	struct lower *l;
	const struct lower_ops *o;
	int root;
};

static struct disk make(uint64_t seed, unsigned sector, enum sim_sizes sizes)
{
	const struct sim_options o = {.seed = seed, .sector = sector, .sizes = sizes};
	struct disk k = {.d = sim_disk_new(&o)};
	assert_non_null(k.d);
	k.l = sim_disk_lower(k.d);
	k.o = k.l->ops;
	k.root = sim_disk_root(k.d);
	return k;
}

static void cut(struct disk *k)
{
	sim_disk_power_cut(k->d);
	assert_int_equal(sim_disk_open_files(k->d), 0);
	k->root = sim_disk_root(k->d);
}

static int create(struct disk *k, const char *name)
{
	int fd = k->o->openat(k->l, k->root, name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	assert_true(fd >= SIM_FD_BASE);
	return fd;
}

static void fill(struct disk *k, int fd, int c, size_t len, uint64_t offset)
{
	static uint8_t bytes[16 * SIM_PAGE];
	memset(bytes, c, len);
	assert_int_equal(lower_pwrite(k->l, fd, bytes, len, offset), len);
}

static int sync_fd(struct disk *k, int fd, bool data)
{
	return k->o->fsync(k->l, fd, data);
}

static void sync_root(struct disk *k)
{
	assert_int_equal(k->o->fsync(k->l, k->root, false), 0);
}

static bool there(struct disk *k, const char *name)
{
	struct stat st;
	int r = k->o->fstatat(k->l, k->root, name, &st);
	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

/* Length, or -ENOENT; ret 16 pages. */
static ssize_t load(struct disk *k, const char *name, uint8_t *ret)
{
	int fd = k->o->openat(k->l, k->root, name, O_RDONLY, 0, NULL);
	if (fd < 0)
		return fd;
	ssize_t n = lower_pread(k->l, fd, ret, 16 * SIM_PAGE, 0);
	k->o->close(k->l, fd);
	return n;
}

static bool all(const uint8_t *bytes, int c, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != c)
			return false;
	return true;
}

/* On the raw medium, as a whole sector of that byte. */
static bool on_medium(const struct disk *k, int c)
{
	for (uint32_t b = 1; b < sim_disk_blocks(k->d); b++) {
		const uint8_t *bytes = sim_disk_block(k->d, b);
		for (size_t at = 0; bytes && at < SIM_PAGE; at += 512)
			if (all(bytes + at, c, 512))
				return true;
	}
	return false;
}

/* A file "f" of one page of 'a', flushed, then overwritten by 'b' and 'c'. Which sectors are found.
 */
static void overwritten(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	for (unsigned sector = 512; sector <= SIM_PAGE; sector = sector * 8) {
		unsigned old = 0, middle = 0, new = 0, mixed = 0;
		for (uint64_t seed = 0; seed < ROUNDS; seed++) {
			struct disk k = make(seed, sector, seed % 2);
			int fd = create(&k, "f");
			fill(&k, fd, 'a', SIM_PAGE, 0);
			assert_int_equal(sync_fd(&k, fd, false), 0);
			fill(&k, fd, 'b', SIM_PAGE, 0);
			fill(&k, fd, 'c', SIM_PAGE, 0);
			assert_false(on_medium(&k, 'b'));
			cut(&k);
			assert_int_equal(load(&k, "f", got), SIM_PAGE);
			bool uniform = true;
			for (size_t at = 0; at < SIM_PAGE; at += 512) {
				assert_true(got[at] >= 'a' && got[at] <= 'c');
				assert_true(all(got + at, got[at], 512));
				uniform = uniform && got[at] == got[0];
			}
			old += uniform && got[0] == 'a';
			middle += uniform && got[0] == 'b';
			new += uniform &&got[0] == 'c';
			mixed += !uniform;
			sim_disk_free(k.d);
		}
		assert_true(old && middle && new);
		assert_true(sector == 512 ? mixed > 0 : mixed == 0);
	}
}

static void flushed(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed & 1);
		int fd = create(&k, "f");
		fill(&k, fd, 'a', 3 * SIM_PAGE, 0);
		assert_int_equal(sync_fd(&k, fd, seed & 2), 0);
		fill(&k, fd, 'b', 700, 5000);
		assert_int_equal(sync_fd(&k, fd, seed & 4), 0);
		fill(&k, fd, 'x', SIM_PAGE, 8 * SIM_PAGE);
		cut(&k);
		assert_true(load(&k, "f", got) >= 3 * (ssize_t)SIM_PAGE);
		assert_true(all(got, 'a', 5000) && all(got + 5000, 'b', 700));
		assert_true(all(got + 5700, 'a', 3 * SIM_PAGE - 5700));
		sim_disk_free(k.d);
	}
}

/* What is written for the first time is there as a whole or not, and the size no sooner. */
static void appended(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	unsigned empty = 0, whole = 0, part = 0, holes = 0;
	for (uint64_t seed = 0; seed < 4 * ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		int fd = create(&k, "f");
		sync_root(&k);
		fill(&k, fd, 'a', 4 * SIM_PAGE, 0);
		fill(&k, fd, 'b', 100, 4 * SIM_PAGE);
		cut(&k);
		ssize_t n = load(&k, "f", got);
		assert_true(n >= 0 && n <= 4 * (ssize_t)SIM_PAGE + 100);
		assert_true(n % SIM_PAGE == 0 || n == 4 * SIM_PAGE + 100);
		for (ssize_t at = 0; at < n; at += SIM_PAGE) {
			size_t len = n - at < (ssize_t)SIM_PAGE ? (size_t)(n - at) : SIM_PAGE;
			bool zeros = all(got + at, 0, len);
			assert_true(zeros || all(got + at, at < 4 * SIM_PAGE ? 'a' : 'b', len));
			assert_true(!zeros || seed % 2 == SIM_SIZE_AFTER_DATA);
			holes += zeros;
		}
		empty += n == 0;
		whole += n == 4 * SIM_PAGE + 100;
		part += n > 0 && n <= 4 * SIM_PAGE;
		sim_disk_free(k.d);
	}
	assert_true(empty && whole && part && holes);
}

static void in_order(void **state)
{
	(void)state;
	static const char *const names[] = {"a", "b", "c", "d"};
	unsigned seen[5] = {0};
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		unsigned n = 0;
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(k.o->mkdirat(k.l, k.root, names[i], 0700, NULL), 0);
		cut(&k);
		while (n < 4 && there(&k, names[n]))
			n++;
		for (unsigned i = n; i < 4; i++)
			assert_false(there(&k, names[i]));
		seen[n]++;
		sim_disk_free(k.d);
	}
	for (unsigned n = 0; n <= 4; n++)
		assert_true(seen[n]);
}

static void fsync_waits_for_all_before(void **state)
{
	(void)state;
	unsigned later = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		assert_int_equal(k.o->mkdirat(k.l, k.root, "before", 0700, NULL), 0);
		int fd = create(&k, "f");
		assert_int_equal(k.o->symlinkat(k.l, "target", k.root, "after", NULL), 0);
		assert_int_equal(sync_fd(&k, fd, seed & 2), 0);
		cut(&k);
		char target[16];
		assert_true(there(&k, "before") && there(&k, "f"));
		ssize_t n = k.o->readlinkat(k.l, k.root, "after", target, sizeof(target));
		assert_true(n == -ENOENT || (n == 6 && !memcmp(target, "target", 6)));
		later += n == 6;
		sim_disk_free(k.d);
	}
	assert_true(later && later < ROUNDS);
}

/* A write of several parts that is cut short ends between two pages, each of which is in its place.
 */
static void parts(void **state)
{
	(void)state;
	static uint8_t a[SIM_PAGE], b[SIM_PAGE], got[16 * SIM_PAGE];
	const struct iovec iov[2] = {{a, SIM_PAGE}, {b, SIM_PAGE}};
	unsigned seen[3] = {0};
	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		int fd = create(&k, "f");
		sim_disk_stop_at(k.d, 1);
		assert_int_equal(k.o->pwritev(k.l, fd, iov, 2, 0), -EIO);
		sim_disk_kill(k.d);
		k.root = sim_disk_root(k.d);
		size_t len = (size_t)load(&k, "f", got);
		assert_true(len % SIM_PAGE == 0 && len <= 2 * SIM_PAGE);
		assert_true(memcmp(got, a, len ? SIM_PAGE : 0) == 0);
		assert_true(memcmp(got + SIM_PAGE, b, len > SIM_PAGE ? SIM_PAGE : 0) == 0);
		seen[len / SIM_PAGE]++;
		sim_disk_free(k.d);
	}
	assert_true(seen[0] && seen[1] && seen[2]);
}

/* Whatever was before it is there after it, and after one that is cut as much as after none. */
static void syncfs_waits_for_everything(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	unsigned seen[3] = {0};
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		bool whole = seed & 2;
		for (int n = 0; n < 2; n++) {
			int fd = create(&k, n ? "g" : "f");
			fill(&k, fd, 'a', 2 * SIM_PAGE, 0);
			assert_int_equal(sync_fd(&k, fd, false), 0);
			fill(&k, fd, 'b', 3 * SIM_PAGE, 0);
		}
		assert_int_equal(k.o->mkdirat(k.l, k.root, "d", 0700, NULL), 0);
		assert_int_equal(k.o->syncfs(k.l, k.root), -EBADF);
		int fd = k.o->openat(k.l, k.root, "f", O_RDONLY, 0, NULL);
		sim_disk_stop_at(k.d, whole ? 0 : 1);
		assert_int_equal(k.o->syncfs(k.l, fd), whole ? 0 : -EIO);
		cut(&k);
		unsigned all_b = 0;
		for (int n = 0; n < 2; n++)
			all_b += load(&k, n ? "g" : "f", got) == 3 * SIM_PAGE &&
				 all(got, 'b', 3 * SIM_PAGE);
		assert_true(!whole || (all_b == 2 && there(&k, "d")));
		seen[all_b] += !whole;
		sim_disk_free(k.d);
	}
	assert_true(seen[0] && seen[1] && seen[2]);
}

/* fdatasync of an overwrite commits no names; fsync of the directory does. */
static void fdatasync_commits_nothing(void **state)
{
	(void)state;
	unsigned lost[2] = {0};
	for (uint64_t seed = 0; seed < 2 * ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed & 2);
		bool directory = seed % 2;
		int fd = create(&k, "f");
		fill(&k, fd, 'a', SIM_PAGE, 0);
		assert_int_equal(sync_fd(&k, fd, false), 0);
		assert_int_equal(k.o->renameat(k.l, k.root, "f", k.root, "g", 0), 0);
		fill(&k, fd, 'b', SIM_PAGE, 0);
		assert_int_equal(sync_fd(&k, directory ? k.root : fd, !directory), 0);
		cut(&k);
		assert_int_not_equal(there(&k, "f"), there(&k, "g"));
		lost[directory] += there(&k, "f");
		sim_disk_free(k.d);
	}
	assert_true(lost[0]);
	assert_int_equal(lost[1], 0);
}

/* A rename that replaces: always exactly one content under the name. */
static void renames(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	unsigned old = 0, new = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		int f = create(&k, "f"), g = create(&k, "g");
		fill(&k, f, 'f', SIM_PAGE, 0);
		fill(&k, g, 'g', SIM_PAGE, 0);
		sync_fd(&k, f, false);
		sync_fd(&k, g, false);
		k.o->close(k.l, g);
		assert_int_equal(k.o->renameat(k.l, k.root, "f", k.root, "g", 0), 0);
		cut(&k);
		assert_int_equal(load(&k, "g", got), SIM_PAGE);
		assert_true(all(got, there(&k, "f") ? 'g' : 'f', SIM_PAGE));
		old += there(&k, "f");
		new += !there(&k, "f");
		sim_disk_free(k.d);
	}
	assert_true(old && new);
}

/* A cut or a removal that is undone brings content back. */
static void undone(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	unsigned back = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		int fd = create(&k, "f");
		fill(&k, fd, 'a', 5 * SIM_PAGE, 0);
		sync_fd(&k, fd, false);
		switch (seed % 3) {
		case 0:
			assert_int_equal(k.o->ftruncate(k.l, fd, SIM_PAGE), 0);
			break;
		case 1:
			assert_int_equal(k.o->unlinkat(k.l, k.root, "f", 0), 0);
			k.o->close(k.l, fd);
			break;
		default:
			assert_int_equal(
				k.o->fallocate(k.l, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					SIM_PAGE, 4 * SIM_PAGE),
				0);
		}
		/* New blocks must not be the old ones before it is certain. */
		int other = create(&k, "other");
		fill(&k, other, 'x', 8 * SIM_PAGE, 0);
		cut(&k);
		ssize_t n = load(&k, "f", got);
		for (ssize_t at = 0; at < n; at++)
			assert_true(got[at] == 'a' || (seed % 3 == 2 && !got[at]));
		back += n == 5 * SIM_PAGE && all(got, 'a', 5 * SIM_PAGE);
		sim_disk_free(k.d);
	}
	assert_true(back > ROUNDS / 10 && back < ROUNDS);
}

static void medium(void **state)
{
	(void)state;
	struct disk k = make(1, 512, SIM_SIZE_AFTER_DATA);
	int fd = create(&k, "f");
	fill(&k, fd, 'a', SIM_PAGE, 0);
	assert_false(on_medium(&k, 'a')); /* in the page cache alone */
	sync_fd(&k, fd, true);
	assert_true(on_medium(&k, 'a'));
	fill(&k, fd, 'b', SIM_PAGE, 0);
	assert_true(on_medium(&k, 'a') && !on_medium(&k, 'b'));
	sync_fd(&k, fd, true);
	assert_true(!on_medium(&k, 'a') && on_medium(&k, 'b'));
	k.o->fallocate(k.l, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIM_PAGE);
	sync_fd(&k, fd, false);
	assert_true(on_medium(&k, 'b'));
	fill(&k, fd, 'c', SIM_PAGE, 0);
	sync_fd(&k, fd, false);
	k.o->unlinkat(k.l, k.root, "f", 0);
	k.o->close(k.l, fd);
	sim_disk_sync(k.d);
	assert_true(on_medium(&k, 'c'));
	for (int i = 0; i < 64 && (on_medium(&k, 'b') || on_medium(&k, 'c')); i++) {
		char name[8];
		snprintf(name, sizeof(name), "%d", i);
		fd = create(&k, name);
		fill(&k, fd, 'z', SIM_PAGE, 0);
		k.o->close(k.l, fd);
		sim_disk_sync(k.d);
	}
	assert_false(on_medium(&k, 'b') || on_medium(&k, 'c')); /* given out again */
	sim_disk_free(k.d);
}

static void maps(void **state)
{
	(void)state;
	struct lower_extent e[4];
	struct disk k = make(1, 512, SIM_SIZE_AFTER_DATA);
	int fd = create(&k, "f");
	fill(&k, fd, 'a', 2 * SIM_PAGE, 0);
	assert_int_equal(k.o->fiemap(k.l, fd, 0, e, 4), 1);
	assert_true(e[0].flags & FIEMAP_EXTENT_DELALLOC && e[0].flags & FIEMAP_EXTENT_LAST);
	sync_fd(&k, fd, false);
	assert_int_equal(k.o->fallocate(k.l, fd, FALLOC_FL_KEEP_SIZE, 4 * SIM_PAGE, SIM_PAGE), 0);
	assert_int_equal(k.o->fiemap(k.l, fd, 0, e, 4), 2);
	assert_int_equal(e[0].length, 2 * SIM_PAGE);
	assert_int_equal(e[0].flags, 0);
	assert_int_not_equal(e[0].physical, 0);
	assert_int_equal(e[1].logical, 4 * SIM_PAGE);
	assert_int_equal(e[1].flags, FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_LAST);
	assert_int_equal(k.o->fiemap(k.l, fd, 3 * SIM_PAGE, e, 4), 1);
	sim_disk_free(k.d);
}

/* The bytes lie in the place of an unwritten extent; the file reads zeros there. */
static void unwritten(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	unsigned hidden = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, SIM_SIZE_AFTER_DATA);
		int fd = create(&k, "f");
		assert_int_equal(k.o->fallocate(k.l, fd, 0, 0, 2 * SIM_PAGE), 0);
		sync_fd(&k, fd, false);
		fill(&k, fd, 'a', 2 * SIM_PAGE, 0);
		cut(&k);
		assert_int_equal(load(&k, "f", got), 2 * SIM_PAGE);
		for (unsigned p = 0; p < 2; p++)
			assert_true(all(got + p * SIM_PAGE, 0, SIM_PAGE) ||
				    all(got + p * SIM_PAGE, 'a', SIM_PAGE));
		hidden += all(got, 0, 2 * SIM_PAGE) && on_medium(&k, 'a');
		sim_disk_free(k.d);
	}
	assert_true(hidden);
}

static void kills(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	unsigned cuts = 0, none = 0, whole = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, 512, seed % 2);
		int fd = create(&k, "f"), nameless = create(&k, "g");
		fill(&k, fd, 'a', 2 * SIM_PAGE, 0);
		assert_int_equal(k.o->unlinkat(k.l, k.root, "g", 0), 0);
		assert_int_equal(k.o->lock(k.l, fd), 0);
		fill(&k, nameless, 'n', SIM_PAGE, 0);
		sim_disk_stop_at(k.d, 1);
		static uint8_t more[4 * SIM_PAGE];
		memset(more, 'b', sizeof(more));
		assert_int_equal(lower_pwrite(k.l, fd, more, sizeof(more), 2 * SIM_PAGE), -EIO);
		assert_true(sim_disk_stopped(k.d));
		assert_int_equal(k.o->unlinkat(k.l, k.root, "f", 0), -EIO);
		assert_int_equal(lower_pread(k.l, fd, more, 1, 0), -EIO);
		sim_disk_kill(k.d);
		assert_int_equal(sim_disk_open_files(k.d), 0);
		k.root = sim_disk_root(k.d);
		ssize_t n = load(&k, "f", got);
		assert_true(n >= 2 * (ssize_t)SIM_PAGE && n % SIM_PAGE == 0);
		assert_true(all(got, 'a', 2 * SIM_PAGE));
		assert_true(all(got + 2 * SIM_PAGE, 'b', (size_t)n - 2 * SIM_PAGE));
		none += n == 2 * SIM_PAGE;
		whole += n == 6 * SIM_PAGE;
		cuts += n > 2 * SIM_PAGE && n < 6 * SIM_PAGE;
		(void)k.o->openat(k.l, k.root, "f", O_RDWR, 0, NULL); /* another number */
		fd = k.o->openat(k.l, k.root, "f", O_RDWR, 0, NULL);
		int other = k.o->openat(k.l, k.root, "f", O_RDWR, 0, NULL);
		assert_int_equal(k.o->lock(k.l, fd), 0);
		assert_int_equal(k.o->lock(k.l, other), -EAGAIN);
		sim_disk_free(k.d);
	}
	assert_true(cuts && none && whole);
}

/* Without the process doing anything, things become durable; never out of order. */
static void background(void **state)
{
	(void)state;
	unsigned found = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		const struct sim_options o = {
			.seed = seed, .sector = 512, .background = 300, .sizes = seed % 2};
		struct disk k = {.d = sim_disk_new(&o)};
		k.l = sim_disk_lower(k.d);
		k.o = k.l->ops;
		k.root = sim_disk_root(k.d);
		int fd = create(&k, "f");
		fill(&k, fd, 'a', SIM_PAGE, 0);
		for (int i = 0; i < 20; i++)
			k.o->fchmod(k.l, k.root, 0700);
		found += on_medium(&k, 'a');
		sim_disk_free(k.d);
	}
	assert_true(found > ROUNDS / 10 && found < ROUNDS);
}

/* A call that fails does nothing; an fsync that fails leaves pages that only look clean. */
static void faults(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	unsigned old = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct disk k = make(seed, SIM_PAGE, seed % 2);
		int fd = create(&k, "f");
		fill(&k, fd, 'a', SIM_PAGE, 0);
		sync_fd(&k, fd, false);
		sim_disk_fail_at(k.d, 2, -ENOSPC);
		assert_int_equal(k.o->mkdirat(k.l, k.root, "a", 0700, NULL), 0);
		assert_int_equal(k.o->mkdirat(k.l, k.root, "b", 0700, NULL), -ENOSPC);
		assert_true(sim_disk_failed(k.d) && there(&k, "a") && !there(&k, "b"));
		assert_int_equal(k.o->mkdirat(k.l, k.root, "b", 0700, NULL), 0);
		fill(&k, fd, 'b', SIM_PAGE, 0);
		sim_disk_fail_at(k.d, 1, -EIO);
		assert_int_equal(sync_fd(&k, fd, true), -EIO);
		assert_int_equal(sync_fd(&k, fd, false), 0);
		assert_int_equal(load(&k, "f", got), SIM_PAGE);
		assert_true(all(got, 'b', SIM_PAGE));
		cut(&k);
		assert_int_equal(load(&k, "f", got), SIM_PAGE);
		old += all(got, 'a', SIM_PAGE);
		sim_disk_free(k.d);
	}
	assert_true(old && old < ROUNDS);
}

static void clones(void **state)
{
	(void)state;
	static uint8_t got[16 * SIM_PAGE];
	struct disk k = make(7, 512, SIM_SIZE_AFTER_DATA);
	int fd = create(&k, "f");
	fill(&k, fd, 'a', SIM_PAGE, 0);
	sync_fd(&k, fd, false);
	fill(&k, fd, 'b', SIM_PAGE, 0);
	k.o->mkdirat(k.l, k.root, "d", 0700, NULL);
	unsigned old = 0, new = 0;
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		const struct sim_options o = {.seed = seed, .sector = SIM_PAGE};
		struct disk c = {.d = sim_disk_clone(k.d, &o)};
		c.l = sim_disk_lower(c.d);
		c.o = c.l->ops;
		cut(&c);
		assert_int_equal(load(&c, "f", got), SIM_PAGE);
		old += all(got, 'a', SIM_PAGE) && !there(&c, "d");
		new += all(got, 'b', SIM_PAGE) && there(&c, "d");
		sim_disk_free(c.d);
	}
	assert_true(old && new);
	assert_int_equal(load(&k, "f", got), SIM_PAGE);
	assert_true(all(got, 'b', SIM_PAGE) && there(&k, "d"));
	sim_disk_free(k.d);
}

static void full(void **state)
{
	(void)state;
	static uint8_t bytes[8 * SIM_PAGE];
	for (int sizes = 0; sizes < 2; sizes++) {
		const struct sim_options o = {
			.seed = 1, .sector = 512, .space = 5, .sizes = (enum sim_sizes)sizes};
		struct disk k = {.d = sim_disk_new(&o)};
		struct statvfs vfs;
		k.l = sim_disk_lower(k.d);
		k.o = k.l->ops;
		k.root = sim_disk_root(k.d);
		int fd = create(&k, "f");
		assert_int_equal(lower_pwrite(k.l, fd, bytes, sizeof(bytes), 0), 5 * SIM_PAGE);
		assert_int_equal(lower_pwrite(k.l, fd, bytes, 10, 7 * SIM_PAGE), -ENOSPC);
		assert_int_equal(k.o->fallocate(k.l, fd, 0, 0, sizeof(bytes)), -ENOSPC);
		assert_int_equal(k.o->fstatvfs(k.l, fd, &vfs), 0);
		assert_int_equal(vfs.f_bavail, 0);
		assert_int_equal(sync_fd(&k, fd, false), 0);
		assert_int_equal(k.o->ftruncate(k.l, fd, SIM_PAGE), 0);
		assert_int_equal(sync_fd(&k, fd, false), 0);
		assert_int_equal(k.o->fstatvfs(k.l, fd, &vfs), 0);
		assert_int_equal(vfs.f_bavail, 4);
		sim_disk_free(k.d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overwritten),
		cmocka_unit_test(flushed),
		cmocka_unit_test(appended),
		cmocka_unit_test(in_order),
		cmocka_unit_test(fsync_waits_for_all_before),
		cmocka_unit_test(parts),
		cmocka_unit_test(syncfs_waits_for_everything),
		cmocka_unit_test(fdatasync_commits_nothing),
		cmocka_unit_test(renames),
		cmocka_unit_test(undone),
		cmocka_unit_test(medium),
		cmocka_unit_test(maps),
		cmocka_unit_test(unwritten),
		cmocka_unit_test(kills),
		cmocka_unit_test(background),
		cmocka_unit_test(faults),
		cmocka_unit_test(clones),
		cmocka_unit_test(full),
	};
	return cmocka_run_group_tests_name("sim_disk", tests, NULL, NULL);
}
