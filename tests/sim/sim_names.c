/*
 * The real store on a simulated disk, ended at random lower calls: names, directories, links,
 * attributes, times, content, removal and erasing. After each end it is mounted again, perhaps
 * ended again on the way, and compared with the model.
 *
 *     sim-names [--states N] [--seed S] [--content] [--sparse] [--calls] [--brief] [--calm]
 * [--find]
 * [--mistakes]
 *
 * --states N   so many crash states (20000); SIM_STATES says it too
 * --seed S     one run, that of this seed: what a failure names
 * --content    mostly writes, cuts and punches; without it mostly names
 * --sparse     content goes to a few groups far behind each other, which one run in eight does
 * anyway
 * --calls      with --seed: lower calls that change something, too
 * --brief      lives of a few steps: for short histories of failures
 * --calm       the ends come when all files are closed, and are mere kills
 * --find       until the first failure, which is to be there: status 0 when it is
 * --mistakes   seeded mistakes instead, each of which must be found in N states
 */
#include "tests/sim/sim_entropy.h"
#include "tests/sim/sim_run.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

static double seconds(void)
{
	struct timespec t;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t); /* not the simulated one */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Each must be found within so many states. */
static int find_mistakes(struct campaign *c, uint64_t states, uint64_t seed)
{
	int status = 0;
	struct sim_random seeds = {seed};
	printf("# sim mistakes: seed 0x%016llx\n", (unsigned long long)seed);
	for (c->mistake = 0; sim_mistakes_name((unsigned)c->mistake); c->mistake++) {
		bool found = false;
		c->states = 0;
		while (!found && c->states < states)
			found = sim_run_one(c, sim_random_next(&seeds)) < 0;
		printf("%s - sim mistakes: \"%s\" is found (%llu states)\n",
			found ? "ok" : "not ok", sim_mistakes_name((unsigned)c->mistake),
			(unsigned long long)c->states);
		status |= !found;
	}
	return status;
}

/* A simulation into which somebody put a mistake. */
static int find_it(struct campaign *c, uint64_t states, uint64_t seed)
{
	struct sim_random seeds = {seed};
	while (c->states < states) {
		uint64_t one = sim_random_next(&seeds);
		if (sim_run_one(c, one) < 0) {
			printf("%llu states: %s\n", (unsigned long long)c->states, c->why);
			return 0;
		}
	}
	printf("%llu states\n", (unsigned long long)c->states);
	return 1;
}

static int campaign(struct campaign *c, uint64_t states, uint64_t seed)
{
	double begun = seconds();
	struct sim_random seeds = {seed};
	unsigned failures = 0;
	const char *name = c->content ? "content" : "names";
	printf("# sim %s: seed 0x%016llx\n", name, (unsigned long long)seed);
	fflush(stdout);
	while (c->states < states && failures < (c->brief ? 40 : 5))
		failures += sim_run_one(c, sim_random_next(&seeds)) < 0;
	double took = seconds() - begun;
	printf("# %llu crash states in %.1f s (%.0f a second): %llu power cuts, %llu kills, %llu "
	       "ends in recovery, %llu calls failed, %llu removed files looked for on the medium, "
	       "%llu files given up after a call that failed, %llu second recoveries, %llu checked "
	       "by fsck, %llu "
	       "calls "
	       "and %llu commits refused by a full disk\n",
		(unsigned long long)c->states, took, (double)c->states / took,
		(unsigned long long)c->powercuts, (unsigned long long)c->kills,
		(unsigned long long)c->inner, (unsigned long long)c->faults,
		(unsigned long long)c->gone_checked, (unsigned long long)c->lost_files,
		(unsigned long long)c->again, (unsigned long long)c->checked,
		(unsigned long long)c->full, (unsigned long long)c->commits_refused);
	if (!failures)
		printf("ok - sim %s: %llu crash states, nothing lost, nothing half erased\n", name,
			(unsigned long long)c->states);
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct campaign c = {.mistake = -1};
	uint64_t states = 20000, seed = 0;
	bool one = false, find = false;
	struct timespec t;
	const char *wanted = getenv("SIM_STATES");
	if (wanted)
		states = strtoull(wanted, NULL, 0);
	if (crypto_init() < 0)
		return 1;
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
	seed = sim_random_next(&(struct sim_random){
		(uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec + (uint64_t)getpid()});
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--states") && i + 1 < argc) {
			states = strtoull(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 0);
			one = c.trace = true;
		} else if (!strcmp(argv[i], "--content")) {
			c.content = true;
		} else if (!strcmp(argv[i], "--sparse")) {
			c.sparse = true;
		} else if (!strcmp(argv[i], "--calls")) {
			c.calls = true;
		} else if (!strcmp(argv[i], "--brief")) {
			c.brief = true;
		} else if (!strcmp(argv[i], "--calm")) {
			c.calm = true;
		} else if (!strcmp(argv[i], "--find")) {
			c.quiet = find = true;
		} else if (!strcmp(argv[i], "--mistakes")) {
			c.quiet = true;
		} else {
			fprintf(stderr, "usage: sim-names [--states N] [--seed S] [--content] "
					"[--sparse] [--calm] [--find] [--mistakes]\n");
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* What the store says of each failed call is of no interest. */
	FILE *null = fopen("/dev/null", "w");
	if (null)
		stderr = null;
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	/* The same keys for all: lower names, and so their order, are those of any other process.
	 */
	sim_entropy_seed(0);
	AUTO(keyring_auto) struct keyring *keys = sim_store_keys();
	struct sim_disk *base = sim_store_base(keys);
	c.keys = keys;
	c.base = base;
	c.base_blocks = sim_disk_blocks(base);
	int status = find      ? find_it(&c, states, seed)
		     : c.quiet ? find_mistakes(&c, states, seed)
		     : one     ? sim_run_one(&c, seed) < 0
			       : campaign(&c, states, seed);
	sim_disk_free(base);
	return status;
}
