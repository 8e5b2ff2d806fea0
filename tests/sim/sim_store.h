/* A tenant on a simulated disk: made once, cloned for each run, mounted as fs/tenant.c does it. */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "fs/erase/trash.h"
#include "fs/store/journal.h"
#include "fs/store/tree.h"
#include "tests/sim/sim_disk.h"

struct sim_store {
	struct sim_disk *disk;      /* borrowed */
	struct lower *lower;        /* the disk's, or another one before it */
	const struct keyring *keys; /* borrowed */
	int tenant_fd, trash_fd;
	bool ready; /* store is */
	struct store store;
	struct trash *trash;
	struct journal *journal;
	struct redo *redo;
	struct dir *root;
	unsigned alarms, bad_receipts;
	char what[64], detail[128]; /* of the last alarm */
};

/* Keys without a slot, and the disk of a fresh tenant, synced. Both end the program on failure. */
struct keyring *sim_store_keys(void);
struct sim_disk *sim_store_base(const struct keyring *keys);
/* What a mount does, recovery and all; everything that waited for the eraser is erased. 0 or
 * -errno; then unmount it all the same. */
struct sim_store_options {
	struct lower *lower; /* NULL: the disk's own */
	bool sync;           /* -o erase=sync */
	bool no_journal;     /* -o journal=off */
};
int sim_store_mount(struct sim_store *s, struct sim_disk *disk, const struct keyring *keys,
	const struct sim_store_options *o);
/* orderly: as fs/tenant.c does it; the trash is emptied first, and 0 or -errno of that. */
int sim_store_unmount(struct sim_store *s, bool orderly);
/* What the daemon's own thread does in so many seconds. 1, or 0 after less than 6 and when nothing
 * goes any more: everything is durable. */
int sim_store_tick(struct sim_store *s, unsigned seconds);
/* Unmounts, and fsck: 0 nothing found; 1 with the first finding; -errno. */
int sim_store_check(struct sim_store *s, char what[static 200]);
/* Entries of the lower trash. */
int sim_store_in_trash(const struct sim_store *s);

#endif
