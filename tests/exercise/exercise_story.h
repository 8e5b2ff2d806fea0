/*
 * What the operations of exercise_file.c work on: stories, their files, what a process has open of
 * them, and an operation under way; how places and lengths are drawn, and how what was read and
 * what stat(2) says is compared with the model. A file that lost its name while somebody had it
 * open lives on as an object of its story until the last handle or map of it goes.
 */
#ifndef EXERCISE_STORY_H
#define EXERCISE_STORY_H

#include "tests/exercise/exercise.h"
#include "tests/exercise/exercise_model.h"

#include <semaphore.h>
#include <sys/stat.h>
#include <time.h>

#define STORIES 6u
#define FILES 2u
#define OBJECTS 5u           /* of a story: its files, and what lost its name while it was open */
#define LEN_MAX (384u << 10) /* of one transfer */
#define PATH_LEN 4096

struct exfile {
	struct model model;
	int64_t mtime, ctime; /* ns, as last seen */
	uint64_t ino;
	bool allocated; /* since it was empty */
	bool used;
	bool named;    /* else it lives by its handles and maps alone */
	unsigned name; /* while it is named: below FILES */
	unsigned mode;
	uint32_t holders; /* processes that have it open or mapped; bits */
};

struct story {
	struct sim_random random;
	struct exercise_history history;
	uint64_t done, stop; /* operations */
	uint64_t counts[32]; /* of each kind */
	double spent[32];    /* seconds */
	uint64_t nameless;   /* operations on what has no name */
	struct exfile files[OBJECTS];
	unsigned named[FILES]; /* which of them has this name */
};

struct shared {
	sem_t turn[EXERCISE_PROCESSES_MAX];          /* something to do: */
	uint64_t stories_of[EXERCISE_PROCESSES_MAX]; /* these; bits */
	sem_t lead;
	unsigned rounds; /* after each of which everything is closed */
	int ended;       /* with this one */
	int expired;     /* the seconds are over */
	struct story stories[STORIES];
};

enum kind { KIND_RW, KIND_RO, KIND_APPEND, KIND_DIRECT, KIND_DUP, KINDS };
extern const char *const story_kinds[KINDS];

struct map {
	uint8_t *at;
	uint64_t offset;
	size_t len;
};

/* What one process has open of one file. */
struct open_file {
	int fds[KINDS];
	struct map map;
};

struct run {
	const struct exercise_options *o;
	struct shared *shared;
	unsigned number; /* of this process */
	struct open_file open[STORIES][OBJECTS];
	uint8_t *bytes; /* LEN_MAX and two pages, at a page's beginning */
};

/* One operation. */
struct act {
	struct run *run;
	struct story *story;
	struct exfile *file;
	struct open_file *open;
	unsigned number, index; /* of the story, of the file among its objects */
	unsigned name;          /* drawn with it, for what changes names */
	struct timespec began;
};

/* How an operation moves st_mtime. */
enum moves { MOVES_NOT, MOVES_MAYBE, MOVES };

#define FAIL(a, ...) exercise_fail((a)->run->o, &(a)->story->history, (a)->story->done, __VA_ARGS__)
#define NOTE(a, ...) exercise_note_more(&(a)->story->history, __VA_ARGS__)

/* One kind of operation: each notes what it does before it does it. */
struct act_kind {
	const char *name;
	void (*act)(struct act *a);
	unsigned weight; /* 0: the end of a table */
};
extern const struct act_kind content_acts[], space_acts[], names_acts[];

uint64_t story_below(struct act *a, uint64_t n);
bool story_chance(struct act *a, unsigned percent);
int64_t story_ns(const struct timespec *t);

/* Where the name is. */
void story_name(const struct act *a, unsigned name, char path[static PATH_LEN]);
/* By which the file is found now: its name, or a handle that this process has of it. False: a map
 * is all there is. */
bool story_path(const struct act *a, char path[static PATH_LEN]);
/* Its handle of this kind, opened if need be. */
int story_fd(struct act *a, enum kind kind);
void story_close(struct act *a, int *fd);
void story_unmap(struct act *a);
void story_set(struct act *a, unsigned object);
bool story_has_fd(const struct open_file *o);
/* What this process has open of its story is noted; what nobody has and has no name is gone. */
void story_held(struct act *a);

/* Within a window: at the end of the file, at a group's edge, at a block's, anywhere. */
uint64_t story_offset(struct act *a);
uint64_t story_read_offset(struct act *a);
size_t story_len(struct act *a);
uint64_t story_near(struct act *a, uint64_t at);
/* At most len bytes at offset are in its window; 0: it is in none. */
size_t story_in_window(uint64_t offset, size_t len);
/* The kernel asks for whole blocks of a direct handle on most filesystems; of ours it does not.
 * Returns by how much the memory is off a page's beginning. */
size_t story_align(struct act *a, enum kind kind, uint64_t *offset, size_t *len);
/* Bytes that tell which operation wrote them, and where. */
void story_fill(struct act *a, uint8_t *to, uint64_t offset, size_t len);
/* Bytes that a read gets. */
size_t story_readable(const struct act *a, uint64_t offset, size_t len);

void story_compare(struct act *a, const char *how, const uint8_t *got, uint64_t offset, size_t len);
void story_wrote(struct act *a, const char *how, ssize_t n, size_t len);
/* Compares sizes, numbers and times after an operation; fd -1: by its path. */
void story_see(struct act *a, int fd, enum moves moves);
/* After a flush or, where `ask` is false, a close: blocks are as many as were written, and not many
 * more than have space. */
void story_blocks(struct act *a, bool ask);

#endif
