/*
 * What the files check*.c share; nobody else includes it.
 *
 * check.c        the order of things; findings
 * check_tree.c   directories and their entries
 * check_file.c   regular files, their names and homes
 * check_links.c  files with several names, until all of them were seen
 * check_lost.c   lost+found
 * check_rest.c   journal and trash
 * check_live.c   beside a mount: what is believed
 * check_text.c   bytes for people
 */
#ifndef STORE_CHECK_INTERNAL_H
#define STORE_CHECK_INTERNAL_H

#include "fs/store/check.h"
#include "fs/store/dir.h"
#include "fs/store/file_check.h"

#define CHECK_LOST_NAME 256

/* lost+found, made when something comes into it. */
struct check_lost {
	struct lower *l;
	int tenant_fd, fd, report_fd; /* -1 until needed */
	unsigned next;
	uint64_t report_end;
};
void check_lost_init(struct check_lost *lost, struct lower *l, int tenant_fd);
void check_lost_done(struct check_lost *lost);
/*
 * Moves dirfd/name there, durably, after a line about it in the report. lower: its path until now.
 * -errno of the lower calls: it is where it was.
 */
MUST_USE int check_lost_move(struct check_lost *lost, int dirfd, const char *name,
	const char *lower, const char *why, char ret_name[static CHECK_LOST_NAME]);
/* Puts the value of an attribute of fd there, and removes it from fd. */
MUST_USE int check_lost_attribute(struct check_lost *lost, int fd, const char *attribute,
	const char *lower, char ret_name[static CHECK_LOST_NAME]);

/* A regular file with several names. */
struct check_link {
	uint64_t ino; /* 0: a free place */
	uint64_t nlink;
	struct file_check state;
	char *lower, *plain;      /* paths of its first name, owned */
	struct format_home *seen; /* owned: the directories it was seen in */
	size_t seen_count;
	bool bad;                /* it does not verify: every name of it is moved */
	bool disk;               /* but for this: only the disk does not read it */
	bool waits;              /* or this: see struct check_finding */
	struct timespec changed; /* its ctime then */
};
struct check_links {
	struct check_link **slots; /* owned, as are they */
	size_t size, used;
};
void check_links_done(struct check_links *l);
/* The file of this inode number, a new one with everything 0 but that; NULL without memory. */
struct check_link *check_links_get(struct check_links *l, uint64_t ino);
/* Beside a mount: as if it had not been seen, unless it is as it was then. */
void check_links_renew(struct check_link *link, const struct stat *st, bool again);
/* One name more in this directory. -ENOMEM. */
MUST_USE int check_links_seen(struct check_link *link, const uint8_t dir_id[static DIR_ID_LEN]);

/* A file of which the journal speaks. */
struct check_waiting {
	uint64_t ino;
	uint8_t file_id[CRYPTO_ID_LEN];
};

struct check {
	struct store *s;
	const struct check_options *o;
	struct check_options careful; /* what o points to once nothing may be put right */
	struct check_counts *counts;
	struct check_lost lost;
	struct check_links links;
	struct buf lower, plain; /* paths of what is looked at */
	char alarm[160];         /* the last alarm's detail */
	bool incomplete;         /* there are directories or entries that were not looked at */
	/* Of whom the journal speaks, when it was left that way. */
	struct check_waiting *waiting; /* owned */
	size_t waiting_count;
	bool waiting_copy;         /* its inode numbers are those of another filesystem */
	uint64_t unclean_since_ns; /* from then on a file may be half made; UINT64_MAX: none is */
	/* check_live.c */
	struct check_held *held; /* owned */
	size_t held_count;
	bool holding, held_failed;
	bool again; /* it is not the first look at this */
};

/* Tells of a finding about what c->lower and c->plain name. */
void check_found(struct check *c, const struct check_finding *f);
/* Calls progress. */
MUST_USE int check_go_on(struct check *c);
/* 1 when r means that this cannot be read, by us or by anybody, which is told; else r. */
MUST_USE int check_unread(struct check *c, int r);
/* With repair: moves dirfd/name to lost+found. True when it went; ret_name "" otherwise. */
bool check_move(struct check *c, int dirfd, const char *name, const char *kind, const char *detail,
	char ret_name[static CHECK_LOST_NAME]);

/* Whether what is wrong with a file may be the next mount's to put right. changed: its ctime. */
bool check_waits(const struct check *c, const struct file_check *state, uint64_t ino,
	const struct timespec *changed);

/* What tells whether an object moved. */
struct check_stamp {
	uint64_t error, ino, nlink, size, ctime_s, ctime_ns;
};
struct check_stamps {
	struct check_stamp list[4];
	size_t count;
};
struct check_look {
	/* Finds what there is to find, with check_found; may be repeated. 0 or -errno. */
	int (*look)(void *context);
	/* At most four stamps of all that the look goes by. False: it is not there any more. */
	bool (*stamp)(void *context, struct check_stamps *ret);
	void *context;
};
/*
 * Looks once; beside a mount as often as it takes to believe what is found, or until it is given
 * up as in use. What look returned, when that was so with nothing moving; what settle returned.
 */
MUST_USE int check_live(struct check *c, const struct check_look *l);
/* Adds the stamp of dirfd/name, "" for dirfd itself; false when there is none. */
bool check_live_stamp(struct check_stamps *s, struct lower *l, int dirfd, const char *name);
/* As tree_check_sidecars; beside a mount for those that stay. */
MUST_USE int check_live_orphans(struct check *c, struct dir *d,
	int (*orphan)(void *context, const char *lower), void *context);
/* For check_found: while something is looked at, a copy of what is found is kept. */
void check_live_hold(struct check *c, const struct check_finding *f);
void check_live_done(struct check *c);

/* One attribute that does not verify. */
void check_attribute(struct check *c, int fd, const char *attribute, const uint8_t *file_id);

MUST_USE int check_journal(struct check *c, int tenant_fd);
MUST_USE int check_trash(struct check *c, int tenant_fd);
/* Both, beside a mount. */
MUST_USE int check_beside(struct check *c, int tenant_fd);
MUST_USE int check_tree(struct check *c);
/* The file d/lower; *ret_moved: it is not there any more. */
MUST_USE int check_file(
	struct check *c, struct dir *d, const char *lower, const struct stat *st, bool *ret_moved);
/* What can be said of files with several names once all were seen. */
MUST_USE int check_file_links(struct check *c);

#endif
