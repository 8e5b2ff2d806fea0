/*
 * Names of one file in two directories, with and without a journal, on the simulated disk: after a
 * power cut every name that is there opens, and removing one leaves the others (docs/format.md,
 * "Homes"). Without a journal this is all that is promised, so that sim_names, which expects more,
 * does not try it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/sim_random.h"
#include "tests/sim/sim_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 2000
#define DIRS 2u
#define SPOTS 6u /* names in each directory by turns */

struct place {
	struct keyring *keys;
	struct sim_disk *base, *disk; /* base: both directories, and the file in the first spot */
	struct sim_store s;
	struct sim_store_options options;
	struct sim_random random;
	struct dir *dirs[DIRS];
	struct file *file; /* open, or NULL */
	uint64_t seed;
	const char *step;
};

static struct name name_of(struct place *p, unsigned spot)
{
	char plain[] = {(char)('a' + spot), 0};
	struct name n;
	assert_int_equal(name_seal(p->dirs[spot % DIRS], plain, &n), 0);
	return n;
}

static void mount(struct place *p)
{
	static const char *const names[DIRS] = {"one", "two"};
	struct name n;
	int r = sim_store_mount(&p->s, p->disk, p->keys, &p->options);
	if (r < 0)
		fail_msg("mount: %s", strerror(-r));
	for (unsigned i = 0; i < DIRS; i++) {
		struct stat st;
		assert_int_equal(name_seal(p->s.root, names[i], &n), 0);
		if (tree_stat(p->s.root, n.lower, &st) == -ENOENT)
			assert_int_equal(tree_mkdir(p->s.root, &n, 0700, NULL, &st), 0);
		assert_int_equal(dir_open(p->s.root, n.lower, &p->dirs[i]), 0);
	}
}

static void close_file(struct place *p)
{
	if (p->file)
		file_put(p->file);
	p->file = NULL;
}

static void unmount(struct place *p)
{
	close_file(p);
	for (unsigned i = 0; i < DIRS; i++)
		dir_put(p->dirs[i]);
	sim_store_unmount(&p->s, false);
}

static int setup(void **state)
{
	const struct sim_options o = {.seed = 1, .sector = SIM_PAGE};
	struct place *p = calloc(1, sizeof(*p));
	struct stat st;
	if (!p || crypto_init() < 0)
		return -1;
	p->keys = sim_store_keys();
	struct sim_disk *fresh = sim_store_base(p->keys);
	p->disk = p->base = sim_disk_clone(fresh, &o);
	sim_disk_free(fresh);
	mount(p);
	struct name n = name_of(p, 0);
	assert_int_equal(file_create(p->dirs[0], &n, 0600, NULL, &p->file, &st), 0);
	assert_int_equal(file_write(p->file, "content", 7, 0), 7);
	assert_int_equal(file_sync(p->file, false), 0);
	unmount(p);
	sim_disk_sync(p->disk);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	sim_disk_free(p->base);
	keyring_free(p->keys);
	free(p);
	return 0;
}

static bool is_there(struct place *p, unsigned spot)
{
	struct stat st;
	return tree_stat(p->dirs[spot % DIRS], name_of(p, spot).lower, &st) == 0;
}

static unsigned count(struct place *p)
{
	unsigned n = 0;
	for (unsigned spot = 0; spot < SPOTS; spot++)
		n += is_there(p, spot);
	return n;
}

/* A random spot with a name, or without. There is one. */
static unsigned some(struct place *p, bool there)
{
	unsigned spot;
	do
		spot = (unsigned)sim_random_below(&p->random, SPOTS);
	while (is_there(p, spot) != there);
	return spot;
}

/* Only the end of the disk excuses an error. */
static void need(struct place *p, int r, unsigned spot)
{
	if (r < 0 && !sim_disk_stopped(p->disk))
		fail_msg("seed %llu, journal %s: %s of %c: %s (%s, %s)",
			(unsigned long long)p->seed, p->options.no_journal ? "off" : "on", p->step,
			'a' + (int)spot, strerror(-r), p->s.what, p->s.detail);
}

/* As the front does before it changes names. */
static bool open_at(struct place *p, unsigned spot)
{
	struct dir *d = p->dirs[spot % DIRS];
	int r = p->file ? file_check_home(p->file, d)
			: file_open(d, name_of(p, spot).lower, &p->file);
	need(p, r, spot);
	return r == 0;
}

static void remove_at(struct place *p, unsigned spot)
{
	if (open_at(p, spot))
		need(p, tree_unlink(p->dirs[spot % DIRS], name_of(p, spot).lower, p->file), spot);
}

static void link_at(struct place *p, unsigned from, unsigned to)
{
	struct name n = name_of(p, to);
	struct stat st;
	if (open_at(p, from))
		need(p,
			tree_link(p->dirs[from % DIRS], name_of(p, from).lower, p->file,
				p->dirs[to % DIRS], &n, &st),
			to);
}

static void rename_at(struct place *p, unsigned from, unsigned to)
{
	struct name old = name_of(p, from), n = name_of(p, to);
	struct tree_rename r = {.from = p->dirs[from % DIRS],
		.to = p->dirs[to % DIRS],
		.old_lower = old.lower,
		.new_name = &n};
	if (!open_at(p, from))
		return;
	r.file = p->file;
	need(p, tree_rename(&r), to);
}

static void step(struct place *p)
{
	unsigned names = count(p);
	uint64_t what = sim_random_below(&p->random, 16);
	if (what < 5 && names < SPOTS) {
		p->step = "link";
		link_at(p, some(p, true), some(p, false));
	} else if (what < 10 && names > 1) {
		p->step = "removal";
		remove_at(p, some(p, true));
	} else if (what < 12 && names < SPOTS) {
		p->step = "rename";
		rename_at(p, some(p, true), some(p, false));
	} else if (what < 13) {
		close_file(p);
	} else if (what < 14) {
		sim_disk_commit(p->disk); /* names, but not what is in the page cache */
	} else if (what < 15 && !p->options.no_journal) {
		(void)sim_store_tick(&p->s, 1 + (unsigned)sim_random_below(&p->random, 3));
	} else if (p->file) {
		p->step = "fsync";
		need(p, file_sync(p->file, false), 0);
	}
}

/* Each name that is there opens by itself; so they do when others were removed. */
static void check(struct place *p)
{
	for (unsigned left = count(p);; left--) {
		for (unsigned spot = 0; spot < SPOTS; spot++) {
			p->step = "opening, after the power cut,";
			if (is_there(p, spot) && open_at(p, spot) &&
				sim_random_chance(&p->random, 512))
				close_file(p);
		}
		assert_true(left);
		if (left == 1)
			return;
		p->step = "removal, after the power cut,";
		remove_at(p, some(p, true));
		close_file(p);
	}
}

static void run(struct place *p, uint64_t seed, bool no_journal)
{
	static const unsigned background[] = {0, 20, 200};
	p->seed = p->random.state = seed;
	const struct sim_options o = {.seed = seed,
		.sector = SIM_PAGE, /* a header is written as a whole */
		.background = background[seed % 3]};
	p->options = (struct sim_store_options){.no_journal = no_journal};
	p->disk = sim_disk_clone(p->base, &o);
	mount(p);
	uint64_t steps = 2 + sim_random_below(&p->random, 14);
	for (uint64_t i = 0; i < steps && !sim_disk_stopped(p->disk); i++) {
		if (i == steps - 1 && sim_random_below(&p->random, 2))
			sim_disk_stop_at(p->disk, 1 + sim_random_below(&p->random, 12));
		step(p);
	}
	if (!sim_disk_stopped(p->disk))
		sim_disk_stop_at(p->disk, 1);
	unmount(p);
	sim_disk_power_cut(p->disk);
	mount(p);
	check(p);
	unmount(p);
	sim_disk_free(p->disk);
}

static void names_open_after_a_power_cut(void **state)
{
	struct place *p = *state;
	for (uint64_t seed = 1; seed <= RUNS; seed++)
		run(p, seed, false);
}

static void without_a_journal_too(void **state)
{
	struct place *p = *state;
	for (uint64_t seed = 1; seed <= RUNS; seed++)
		run(p, seed, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_open_after_a_power_cut),
		cmocka_unit_test(without_a_journal_too),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
