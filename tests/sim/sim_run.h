/* A run of the campaign: a tenant on a disk of its own, several lives long. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "tests/sim/sim_look.h"
#include "tests/sim/sim_mistakes.h"
#include "tests/sim/sim_random.h"

struct campaign {
	const struct keyring *keys;
	const struct sim_disk *base;
	char why[256]; /* of the last failure */
	uint32_t base_blocks;
	bool content, sparse, calm, brief, trace, calls, quiet;
	int mistake; /* -1: none */
	uint64_t states, powercuts, kills, inner, gone_checked, lost_files, faults, again, checked,
		full, commits_refused;
};

struct run {
	struct campaign *c;
	uint64_t seed;
	struct sim_random random;
	struct sim_disk *disk;
	struct sim_store s;
	struct sim_mistakes mistakes;
	struct model m;
	bool cut; /* the end that this life began with had a power cut */
	enum { FLAVOUR_PLAIN, FLAVOUR_SPARSE, FLAVOUR_HEAVY } flavour; /* of its writes */
	bool full;                                                     /* the disk has a limit */
	bool refused;     /* which a commit met: the life ends */
	struct look seen; /* by the last check */
	char why[256];
};

/* sim_steps.c: one random operation. 0, also when the disk has stopped; -1 with r->why. */
int sim_steps_run(struct run *r);
/* Closes what the steps have open. */
void sim_steps_end(struct run *r);
/* Removes the files that have no version: their content was lost. */
int sim_steps_clear(struct run *r);
/* The disk has stopped, or refused a call: what was done since is not certain. */
bool sim_steps_uncertain(const struct run *r);
/* A random entry with one of these types (bits by DT_*), or NULL. */
const struct model_entry *sim_steps_some(struct run *r, unsigned types);
/* -1: an error (r->why), or the end. */
int sim_steps_open(struct run *r, const struct model_entry *e);
int sim_steps_went(struct run *r, int error, const char *what);
/* What led to this state survives a power cut from now on. */
void sim_steps_durable(struct run *r, unsigned state);

/* sim_content.c: operations on content, as above. */
int sim_content_step(struct run *r);
int sim_content_fsync(struct run *r);
int sim_content_append(struct run *r);
int sim_content_open(struct run *r);
int sim_content_release(struct run *r);
int sim_content_commit(struct run *r);
int sim_content_times(struct run *r);
int sim_content_write(struct run *r, struct model_node *n, uint64_t offset, size_t len);
/* One handle less. */
int sim_content_close(struct run *r, struct model_node *n);
/* All that was written survives a power cut. */
void sim_content_all_durable(struct run *r);
/* Some of the sectors of a lower file whose last name is removed. */
void sim_content_remember(struct run *r, const struct model_node *n, int fd);

uint64_t sim_steps_pick(struct run *r, uint64_t n);
/* Says what went wrong, once; -1. */
int sim_steps_fail(struct run *r, const char *what, int error);
/* With one seed alone. */
__attribute__((format(printf, 2, 3))) void sim_steps_trace(
	const struct run *r, const char *format, ...);

/* sim_run.c: a whole run. 0, or -1 after a line that says why, unless c->quiet. */
int sim_run_one(struct campaign *c, uint64_t seed);
/* 0 or -errno. */
int sim_run_mount(struct run *r, struct sim_disk *d);

#endif
