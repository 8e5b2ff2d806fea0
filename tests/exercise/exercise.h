/*
 * What the two exercisers share: options, memory of several processes, the story of the last
 * operations, the report of a finding. An exerciser makes random calls on a directory, keeps a
 * model of what must be there, and compares. One seed is one story: what is done is drawn from it
 * alone, never from results or from time, and who does it too.
 */
#ifndef EXERCISE_H
#define EXERCISE_H

#include "tests/sim/sim_random.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXERCISE_PROCESSES_MAX 16u

struct exercise_options {
	const char *program;
	const char *dir;
	uint64_t seed;
	uint64_t operations; /* of each story; UINT64_MAX: until the seconds are over */
	uint64_t round;      /* operations of each story between two comparisons of everything */
	double seconds;      /* 0: without end */
	unsigned processes;
	bool strict;       /* what tenantfs promises and POSIX does not: docs/posix.md */
	bool remount;      /* after each round "remount" is printed, and a line awaited */
	bool caches;       /* drops the kernel's caches now and then */
	bool preallocates; /* st_blocks may be more than what was asked for (xfs) */
	bool users;        /* the first of three processes is root, the others are these: */
	uid_t uids[2];
	gid_t gid;
};

/* Reads the command line; ends the process with status 2 and a sentence when it is wrong. */
void exercise_options(int argc, char **argv, struct exercise_options *ret);

/* Zeroed memory that processes forked later share; it is never given back. Ends the process when
 * there is none. */
void *exercise_shared(size_t bytes);

#define EXERCISE_LINES 48u
#define EXERCISE_LINE 160u

/* The last operations of a story; whoever acts in it writes here. */
struct exercise_history {
	uint64_t count;
	char lines[EXERCISE_LINES][EXERCISE_LINE];
};

void exercise_note(struct exercise_history *h, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Adds to the line noted last. */
void exercise_note_more(struct exercise_history *h, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Prints the history's tail, what was found, and the command that tells the story again; ends the
 * process with status 1. Only the first of several processes prints. `story` operations were done,
 * the last one included. */
_Noreturn void exercise_fail(const struct exercise_options *o, const struct exercise_history *h,
	uint64_t story, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Seconds of a clock that only goes forward. */
double exercise_clock(void);
void exercise_drop_caches(unsigned what);
/* Prints "remount" and waits for a line of standard input; false at its end. */
bool exercise_remount(void);

/* Whose number process `number` has: 0 without --users. */
uid_t exercise_uid(const struct exercise_options *o, unsigned number);

/* Forks `processes` times, each calling work(number, context), and calls lead(context) in this one.
 * When a process ends otherwise than with status 0, all others are ended, and this one with status
 * 1. Returns when all are gone. */
void exercise_run(const struct exercise_options *o, void (*work)(unsigned number, void *context),
	void (*lead)(void *context), void *context);

#endif
