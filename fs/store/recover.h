/* What the last mount left unfinished in a tenant's tree, because it ended without saying so. */
#ifndef STORE_RECOVER_H
#define STORE_RECOVER_H

#include "fs/store/store.h"

struct recover_result {
	bool unclean;        /* the last mount ended without saying so */
	unsigned files;      /* whose last commits were brought to their place */
	unsigned dropped;    /* of them, whose latest changes had not reached the disk */
	unsigned stale;      /* not touched: the journal is older than they are */
	unsigned emptied;    /* new ones whose first data had not reached the disk */
	unsigned entries;    /* erasures in the journal */
	unsigned done, gone; /* finished; of files that are not there any more */
	unsigned failed;     /* stay for the next mount */
	uint64_t bytes;      /* overwritten */
	unsigned unread;     /* whose changes were given up, since they cannot be read */
	ino_t unread_ino;    /* of the first file that could not be read, or 0 */
	int error;           /* the first that stopped one of those that failed, or 0 */
};
#define RECOVER_TEXT 512

/* What was done, in a sentence without its stop, for logs. */
void recover_describe(const struct recover_result *r, char ret[static RECOVER_TEXT]);

/*
 * Finishes what s->journal holds, and begins a new period of it. After store_init, before anybody
 * uses the tree. A file that is damaged raises its alarm and is done with. 0; -ENOMEM; -errno of
 * reading folders and files or of writing the journal: then what was not done waits for the next
 * mount. past_damage: what the journal has of a file that cannot be read is given up.
 */
MUST_USE int recover_store(const struct store *s, bool past_damage, struct recover_result *ret);

/* What recover.c and recover_redo.c share: commits that are not in their place. As recover_store.
 */
MUST_USE int recover_redo(const struct store *s, bool past_damage, struct recover_result *ret);
/* The file id that a header claims. 1; 0 there is none that could be read; -errno: nobody knows. */
struct walk_entry;
MUST_USE int recover_claimed_id(
	struct lower *l, const struct walk_entry *e, uint8_t ret[CRYPTO_ID_LEN]);

#endif
