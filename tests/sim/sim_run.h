/* A run of the campaign: a tenant on a disk of its own, several lives long. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "tests/sim/sim_look.h"
#include "tests/sim/sim_mistakes.h"
#include "tests/sim/sim_random.h"

struct campaign {
	const struct keyring *keys;
	const struct sim_disk *base;
	uint32_t base_blocks;
	bool content, strict, trace, quiet;
	int mistake; /* -1: none */
	uint64_t states, powercuts, kills, inner, skipped, gone_checked, lost_files, faults;
};

struct run {
	struct campaign *c;
	uint64_t seed;
	struct sim_random random;
	struct sim_disk *disk;
	struct sim_store s;
	struct sim_mistakes mistakes;
	struct model m;
	char why[256];
};

/* sim_steps.c: one random operation. 0, also when the disk has stopped; -1 with r->why. */
int sim_steps_run(struct run *r);
/* Closes what the steps have open. */
void sim_steps_end(struct run *r);
/* Removes the files that have no version: their content was lost. */
int sim_steps_clear(struct run *r);
uint64_t sim_steps_pick(struct run *r, uint64_t n);
/* Says what went wrong, once; -1. */
int sim_steps_fail(struct run *r, const char *what, int error);
/* With one seed alone. */
__attribute__((format(printf, 2, 3))) void sim_steps_trace(
	const struct run *r, const char *format, ...);

/* sim_run.c: a whole run. 0, or -1 after a line that says why, unless c->quiet. */
int sim_run_one(struct campaign *c, uint64_t seed);

#endif
