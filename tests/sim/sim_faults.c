/*
 * The real store on the simulated disk, in one fixed session of about a hundred calls, again and
 * again: each time one lower call fails or does less than it was asked for, and the calls after it
 * too or not. The session and its oracle are in sim_session.c; after it everything is looked at
 * in a mount without fault, then removed.
 *
 *     sim-faults [--every N] [--only NAME] [--at N]
 *
 * --every N    every N-th lower call only, beginning at a random one; SIM_FAULTS_EVERY says it too
 * --only NAME  one kind of fault
 * --at N       one lower call
 */
#include "tests/sim/sim_session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Names: 0 to 3 short, 4 and 5 so long that they have sidecars. */
enum { FIRST, SECOND, THIRD, FOURTH, LONG, LONGER };

static const char *long_target(void)
{
	static char target[3001];
	memset(target, 't', sizeof(target) - 1);
	return target;
}

/* Files in three directories. */
static void begin(struct session *s, int ret[static 8])
{
	ret[0] = sim_session_mkdir(s, 0, FIRST);
	ret[1] = sim_session_mkdir(s, 0, LONG);
	unsigned a = ret[0] < 0 ? 0 : (unsigned)ret[0], b = ret[1] < 0 ? 0 : (unsigned)ret[1];
	ret[2] = sim_session_mkdir(s, b, SECOND);
	sim_session_sync_dir(s, 0);
	ret[3] = sim_session_create(s, a, THIRD);
	session_content_write(s, ret[3], 0, 70);
	session_content_fsync(s, ret[3], false);
	ret[4] = sim_session_create(s, a, LONGER);
	session_content_write(s, ret[4], 0, 3);
	session_content_close(s, ret[4]);
	ret[5] = sim_session_create(s, b, FOURTH);
	session_content_write(s, ret[5], 0, 2200);
	session_content_close(s, ret[5]);
	ret[6] = sim_session_create(s, 0, FOURTH);
	ret[7] = sim_session_symlink(s, a, FOURTH, "target");
	sim_session_sync_dir(s, a);
}

/* Into what is there. */
static void change(struct session *s, const int o[static 8])
{
	session_content_write(s, o[3], 20, 40);
	session_content_write(s, o[3], 70, 30);
	session_content_fsync(s, o[3], true);
	session_content_write(s, o[3], 200, 5);
	session_content_read(s, o[3]);
	session_content_close(s, o[3]);
	session_content_write(s, o[5], 2040, 20);
	session_content_truncate(s, o[5], 2101);
	session_content_range(s, o[5], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 33, 190);
	session_content_range(s, o[5], FALLOC_FL_ZERO_RANGE, 2030, 17);
	session_content_fsync(s, o[5], false);
	session_content_range(s, o[4], 0, 0, 100);
	session_content_write(s, o[4], 64, 10);
	session_content_truncate(s, o[4], 300);
	session_content_truncate(s, o[4], 5);
	session_content_truncate(s, o[4], 5);
	session_content_close(s, o[4]);
	session_content_truncate(s, o[3], 0);
	session_content_write(s, o[3], 0, 50);
	session_content_read(s, o[5]);
	session_content_close(s, o[3]);
	session_content_xattr(s, o[3], 3);
	session_content_xattr(s, o[0], 4);
	session_content_xattr(s, o[3], 9);
	session_content_xattr(s, o[6], 2);
	sim_session_statfs(s);
}

/* Names that come, move and go. */
static void move(struct session *s, const int o[static 8])
{
	unsigned a = o[0] < 0 ? 0 : (unsigned)o[0], b = o[1] < 0 ? 0 : (unsigned)o[1];
	unsigned c = o[2] < 0 ? 0 : (unsigned)o[2];
	int more = sim_session_symlink(s, b, LONGER, long_target());
	sim_session_readlink(s, more);
	sim_session_link(s, o[3], b, THIRD);
	sim_session_link(s, o[7], b, FIRST);
	sim_session_rename(s, a, THIRD, a, SECOND, 0);
	sim_session_rename(s, a, LONGER, c, LONG, 0);
	sim_session_rename(s, 0, FOURTH, b, FOURTH, RENAME_EXCHANGE);
	sim_session_rename(s, a, FOURTH, b, FIRST, 0);
	sim_session_list(s, b);
	sim_session_rename(s, b, THIRD, a, SECOND, 0);
	sim_session_rename(s, a, SECOND, 0, THIRD, 0);
	sim_session_rename(s, 0, FOURTH, 0, THIRD, 0);
	sim_session_rename(s, b, SECOND, a, LONGER, 0);
	sim_session_mkdir(s, b, SECOND);
	sim_session_rename(s, a, LONGER, b, SECOND, 0);
	sim_session_rename(s, b, LONGER, b, LONG, 0);
	sim_session_list(s, 0);
	sim_session_erase(s);
	sim_session_unlink(s, b, THIRD);
	session_content_write(s, o[5], 100, 9);
	int last = sim_session_create(s, a, FIRST);
	session_content_write(s, last, 0, 40);
	session_content_fsync(s, last, false);
	sim_session_unlink(s, a, FIRST);
	session_content_write(s, last, 10, 10);
	session_content_close(s, last);
	int empty = sim_session_mkdir(s, a, SECOND);
	session_content_xattr(s, empty, 5);
	sim_session_rmdir(s, a, SECOND);
	sim_session_unlink(s, b, LONG);
	session_content_xattr(s, o[3], 0);
}

static void run_session(struct session *s)
{
	int o[8];
	sim_session_mount(s);
	begin(s, o);
	change(s, o);
	move(s, o);
	sim_session_unmount(s);
	sim_session_mount(s);
	for (int i = 3; i < 7; i++) {
		session_content_read(s, o[i]);
		session_content_write(s, o[i], 1, 2);
		session_content_fsync(s, o[i], i & 1);
	}
	sim_session_list(s, 0);
	sim_session_unmount(s);
}

/* What goes wrong at the n-th lower call. */
struct fault {
	const char *name;
	enum fail_lower_op only;
	enum fail_lower_how how;
	int error;
	bool once, forgets; /* forgets: an fsync, with what it should have written */
	size_t keep;
	bool full; /* none of this: the disk has so many pages more than it needs at first */
};

static const struct fault faults[] = {
	{"EIO", FAIL_LOWER_ANY, FAIL_LOWER_ERROR, -EIO, true, false, 0, false},
	{"EIO from there on", FAIL_LOWER_ANY, FAIL_LOWER_ERROR, -EIO, false, false, 0, false},
	{"ENOSPC", FAIL_LOWER_ANY, FAIL_LOWER_ERROR, -ENOSPC, true, false, 0, false},
	{"EDQUOT", FAIL_LOWER_ANY, FAIL_LOWER_ERROR, -EDQUOT, true, false, 0, false},
	{"EDQUOT from there on", FAIL_LOWER_ANY, FAIL_LOWER_ERROR, -EDQUOT, false, false, 0, false},
	{"an fsync that forgets", FAIL_LOWER_FSYNC, FAIL_LOWER_PASS, -EIO, true, true, 0, false},
	{"a write of 1 byte", FAIL_LOWER_PWRITEV, FAIL_LOWER_SHORT, 0, true, false, 1, false},
	{"a write of 4,095 bytes", FAIL_LOWER_PWRITEV, FAIL_LOWER_SHORT, 0, true, false, 4095,
		false},
	{"writes of 4,096 bytes", FAIL_LOWER_PWRITEV, FAIL_LOWER_SHORT, 0, false, false, 4096,
		false},
	{"writes of 1,000 bytes", FAIL_LOWER_PWRITEV, FAIL_LOWER_SHORT, 0, false, false, 1000,
		false},
	{"a read of 1 byte", FAIL_LOWER_PREADV, FAIL_LOWER_SHORT, 0, true, false, 1, false},
	{"a read of 4,100 bytes", FAIL_LOWER_PREADV, FAIL_LOWER_SHORT, 0, true, false, 4100, false},
	{"reads of 1,000 bytes", FAIL_LOWER_PREADV, FAIL_LOWER_SHORT, 0, false, false, 1000, false},
	{"a full disk", FAIL_LOWER_ANY, FAIL_LOWER_ERROR, -ENOSPC, false, false, 0, true},
};

/* Pages that the last write of a session, after all was removed, must find. */
#define MARGIN 24

struct sweep {
	const struct keyring *keys;
	const struct sim_disk *base;
	unsigned every, only_at;
	uint64_t seed;
	unsigned sessions, hits, refused, failures;
};

static struct sim_disk *forgetting; /* the disk of the session under way */

static void forget(void)
{
	sim_disk_fail_at(forgetting, 1, -EIO);
}

static void arm(struct session *s, struct sim_disk *disk, const struct fault *f, unsigned at)
{
	s->error = f->error;
	if (f->full) {
		s->hit = true;
		return;
	}
	fail_lower_arm(&s->fail, f->only, at, f->error, f->once);
	s->fail.how = f->how;
	s->fail.keep = f->keep;
	forgetting = disk;
	s->fail.instead = f->forgets ? forget : NULL;
}

/* Without fault: what is there, that it can be removed, on a full disk too, and space for more. */
static void look_after(struct session *s)
{
	sim_session_mount(s);
	sim_session_check(s);
	sim_session_empty(s);
	s->error = 0;
	int last = sim_session_create(s, 0, FIRST);
	session_content_write(s, last, 0, 600);
	session_content_fsync(s, last, false);
	session_content_read(s, last);
	sim_session_empty(s);
	sim_session_unmount(s);
}

/* False: the fault did not come any more. */
static bool one(struct sweep *w, const struct fault *f, unsigned at)
{
	static struct session s;
	const struct sim_options o = {.seed = w->seed + at,
		.sector = 512,
		.space = f->full ? sim_disk_blocks(w->base) + MARGIN + at : 0};
	struct sim_disk *disk = sim_disk_clone(w->base, &o);
	sim_session_init(&s, disk, w->keys);
	arm(&s, disk, f, at);
	run_session(&s);
	unsigned refused = s.refused;
	bool hit = f->full ? refused : sim_session_hit(&s);
	(void)sim_session_lift(&s);
	sim_disk_fail_at(disk, 0, 0);
	look_after(&s);
	w->sessions++;
	w->hits += hit;
	w->refused += refused;
	if (!hit && refused)
		sim_session_wrong(&s, "a call was refused without a fault");
	if (f->how == FAIL_LOWER_SHORT && refused)
		sim_session_wrong(&s, "a short transfer made %u calls fail", refused);
	if (s.why[0]) {
		w->failures++;
		printf("not ok - sim faults: %s at call %u: %s\n# again: sim-faults --only \"%s\" "
		       "--at %u\n",
			f->name, at, s.why, f->name, at);
	}
	sim_disk_free(disk);
	return hit;
}

static void sweep(struct sweep *w, const struct fault *f)
{
	struct timespec begun, ended;
	unsigned at = w->only_at ? w->only_at : 1 + (unsigned)(w->seed % w->every);
	w->sessions = w->hits = w->refused = w->failures = 0;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	while (one(w, f, at) && !w->only_at && w->failures < 10)
		at += w->every;
	clock_gettime(CLOCK_MONOTONIC, &ended);
	printf("# %u sessions in %.1f s, up to lower call %u, %u calls of the store refused\n",
		w->sessions,
		(double)(ended.tv_sec - begun.tv_sec) +
			(double)(ended.tv_nsec - begun.tv_nsec) / 1e9,
		at, w->refused);
	if (!w->failures)
		printf("ok - sim faults: %s: at %u lower calls, nothing acknowledged is lost\n",
			f->name, w->hits);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct sweep w = {.every = 1};
	const char *only = NULL, *wanted = getenv("SIM_FAULTS_EVERY");
	unsigned failures = 0;
	if (wanted)
		w.every = (unsigned)strtoul(wanted, NULL, 10);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--every"))
			w.every = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--only"))
			only = argv[i + 1];
		else if (!strcmp(argv[i], "--at"))
			w.only_at = (unsigned)strtoul(argv[i + 1], NULL, 10);
	}
	w.every = w.every ? w.every : 1;
	if (crypto_init() < 0)
		return 1;
	crypto_random(&w.seed, sizeof(w.seed));
	/* What the store says of each failed call is of no interest. */
	FILE *null = fopen("/dev/null", "w");
	if (null && !w.only_at)
		stderr = null;
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	AUTO(keyring_auto) struct keyring *keys = sim_store_keys();
	struct sim_disk *base = sim_store_base(keys);
	w.keys = keys;
	w.base = base;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (!only || !strcmp(only, faults[i].name)) {
			sweep(&w, &faults[i]);
			failures += w.failures;
		}
	sim_disk_free(base);
	return failures != 0;
}
