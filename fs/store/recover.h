/* What the last mount left unfinished in a tenant's tree, because it ended without saying so. */
#ifndef STORE_RECOVER_H
#define STORE_RECOVER_H

#include "fs/store/store.h"

struct recover_result {
	unsigned entries;    /* in the journal */
	unsigned done, gone; /* finished; of files that are not there any more */
	unsigned failed;     /* stay for the next mount */
	uint64_t bytes;      /* overwritten */
	int error;           /* the first that stopped one of those that failed, or 0 */
};

/*
 * Finishes what s->journal holds, and begins a new period of it. After store_init, before anybody
 * uses the tree. A file that is damaged raises its alarm and is done with. 0; -ENOMEM; -errno of
 * reading folders or of writing the journal: then what was not done waits for the next mount.
 */
MUST_USE int recover_store(const struct store *s, struct recover_result *ret);

#endif
