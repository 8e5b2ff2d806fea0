/*
 * The directories that names left for the trash, kept open until they are fsynced: before that a
 * power cut could bring a name back, so nothing that it names may be overwritten. Not thread-safe:
 * the owner's lock guards a set.
 */
#ifndef ERASE_SETTLE_H
#define ERASE_SETTLE_H

#include "fs/lower/lower.h"

/* At most so many directories are kept open; beyond that the caller fsyncs its own. */
#define SETTLE_MAX 64

struct settle_dir;

/* Starts as {0}. */
struct settle {
	struct settle_dir *dirs;
	unsigned count;
};

/* A descriptor of its own of that directory. NULL when it cannot be had. Needs no lock. */
struct settle_dir *settle_open(struct lower *l, int dirfd);
/* True when the set will fsync that directory; *d is then NULL if the set took it, or still the
 * caller's. */
bool settle_add(struct settle *s, struct settle_dir **d);
/* Frees one that no set took. NULL is fine. */
void settle_close(struct lower *l, struct settle_dir *d);
/* Fsyncs every directory of the set, then trash_fd; the set is {0} afterwards. 0 or the first
 * -errno. */
MUST_USE int settle_sync(struct settle *s, struct lower *l, int trash_fd);
/* Frees the set without fsync. */
void settle_done(struct settle *s, struct lower *l);

#endif
