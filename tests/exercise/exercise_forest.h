/*
 * What the operations of exercise_tree.c work on: a process with its grove, what it keeps open, how
 * names and entries are drawn, and how content and what stat(2) says are compared with the model.
 */
#ifndef EXERCISE_FOREST_H
#define EXERCISE_FOREST_H

#include "tests/exercise/exercise.h"
#include "tests/exercise/exercise_grove.h"

#include <pthread.h>
#include <sys/stat.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

#define PHASE 200u /* operations between two meetings */
#define MEETING 8u /* moves of a pair */
#define CROWD 220u /* entries of a grove, about */
#define HELD 8u
#define SIZE_MAX_FILE 9000u
#define LISTED 4096u

struct owner {
	struct sim_random random;
	struct exercise_history history;
	struct grove grove;
	uint64_t done;
	uint64_t counts[32];
	double spent[32]; /* seconds */
};

struct shared {
	pthread_barrier_t barrier;
	int expired, ended;
	struct owner owners[EXERCISE_PROCESSES_MAX];
};

/* What one process keeps open; its content is the node's, while that has no name, too. */
struct held {
	int fd;
	unsigned node;
};

struct run {
	const struct exercise_options *o;
	struct shared *shared;
	unsigned number;
	struct owner *owner;
	struct grove *g;
	struct held held[HELD];
	unsigned nested; /* in a listing: no other one */
	double began, until;
	unsigned rounds, remounts;
};

#define FAIL(r, ...) exercise_fail((r)->o, &(r)->owner->history, (r)->owner->done, __VA_ARGS__)
#define NOTE(r, ...) exercise_note_more(&(r)->owner->history, __VA_ARGS__)

/* One kind of operation: each notes what it does before it does it. */
struct tree_act {
	const char *name;
	void (*act)(struct run *r);
	unsigned weight; /* 0: the end of a table */
};
/* The first five of making_acts make something new: they give way when there is enough. */
extern const struct tree_act making_acts[], holding_acts[], listing_acts[];

uint64_t forest_below(struct run *r, uint64_t n);
bool forest_chance(struct run *r, unsigned percent);
/* A name that a person can tell from another; of the last four calls. */
const char *forest_shown(const char *name);
/* One that does not stand there; often one that did once. */
void forest_new_name(struct run *r, unsigned dir, char name[static GROVE_NAME]);
/* An entry, of any kind or of this one, or -1. */
int forest_entry(struct run *r);
int forest_entry_of(struct run *r, enum grove_kind kind);
struct grove_node *forest_node(struct grove *g, int entry);
/* A directory in which something can be made. */
unsigned forest_dir(struct run *r);
void forest_path_in(struct run *r, const struct grove *g, unsigned dir, const char *name,
	char path[static PATH_MAX]);
void forest_path(struct run *r, int entry, char path[static PATH_MAX]);
/* What a call said, against what it should: 0 or an errno. True: it should work, and did. */
bool forest_expect(struct run *r, int result, int want);
/* Whether this process may do what only the owner may. */
bool forest_owns(const struct run *r, const struct grove_node *n);

void forest_content_new(struct run *r, struct grove_node *n);
void forest_content_write(struct run *r, const struct grove_node *n, int fd);
void forest_content_check(struct run *r, const struct grove_node *n, int fd);
void forest_target(const struct grove_node *n, char target[static PATH_MAX]);

mode_t forest_type(const struct grove_node *n);
void forest_check_stat(struct run *r, unsigned node, const struct stat *st);
void forest_see(struct run *r, int entry);
/* The number of what was made. */
void forest_number(struct run *r, unsigned node, const char *path);
void forest_release(struct run *r, struct held *h);
/* A few operations of the same process, in the midst of another. */
void forest_other_acts(struct run *r);

struct listed {
	char name[GROVE_NAME];
	uint64_t ino;
	int64_t next; /* position behind it */
	uint8_t type;
};

struct listing {
	unsigned dir, count;
	uint64_t since; /* the number of the operation that begins it */
	struct listed *all;
};

/* The next piece of a directory; false at its end. */
bool listing_some(struct run *r, int fd, size_t room, struct listing *l);
/* All of it, once, of what was there all the time. Sorts it. */
void listing_check(struct run *r, struct listing *l);

/* Things go from one grove to another: who meets whom follows from the seed and the number. */
void meeting_hold(struct run *r, uint64_t meeting);

#endif
