/*
 * What journal.c (writing) and journal_open.c (creating, reading) share. Nobody else includes it.
 * Functions want j->lock, or a journal that nobody else has yet.
 */
#ifndef STORE_JOURNAL_INTERNAL_H
#define STORE_JOURNAL_INTERNAL_H

#include "fs/store/journal.h"
#include "keymgmt/base/lock.h"

struct journal_pending_erase {
	uint64_t token;
	struct journal_erase erase;
};

/* Inodes that have commits in the ring: open addressing by number, 0 is free. */
struct journal_touched {
	uint64_t ino;
	uint8_t file_id[CRYPTO_ID_LEN];
};

struct journal {
	struct lower *l;            /* borrowed */
	const struct keyring *keys; /* borrowed */
	int fd;                     /* owned */
	struct lock_mutex lock;
	pthread_cond_t flushed;
	/* lock: */
	struct journal_super super; /* as the newest slot has it */
	struct secret *key;
	uint64_t ring, head, used;  /* sectors */
	uint64_t reserved;          /* sectors that somebody will write */
	unsigned reserved_erasures; /* of them */
	uint64_t sequence;          /* of the next record */
	uint64_t durable;           /* everything before this one is */
	bool flushing;              /* somebody is at it */
	struct journal_pending_erase *pending;
	size_t count, room;
	size_t listed;  /* erasures that the ring's records hold, done or not */
	uint64_t token; /* the last one given away */
	struct journal_touched *touched;
	size_t touched_count, touched_room;
	uint64_t ino, fsid; /* of the file that is open */
	uint8_t unread;     /* bits: superblock slots that did not read when they were looked for */
	uint64_t seen;      /* generation that a damaged superblock claimed when it was found */
	bool copy;          /* its entries are from another one */
	bool unclean;       /* as it was found */
	uint64_t since_ns;  /* as it was found */
	bool written;       /* by us */
	bool distrusted;    /* journal_distrust */
	bool failed;        /* what is on the disk is not known any more: nothing is written */
	struct journal_entry *entries; /* as they were found */
	size_t entry_count, entry_room;
	struct buf *texts; /* that the entries point into */
	size_t text_count;
};

struct journal *journal_new(struct lower *l, const struct keyring *keys);
void journal_free(struct journal *j);
static inline void journal_auto(struct journal **j)
{
	journal_free(*j);
}
/* Sectors of the ring, which may pass its end. */
MUST_USE int journal_transfer(
	struct journal *j, uint64_t sector, uint8_t *bytes, uint64_t count, bool write);
/* Into both slots, one after the other, each durable before the next; s->generation grows. */
MUST_USE int journal_write_supers(
	struct journal *j, struct journal_super *s, const struct secret *key);
MUST_USE int journal_add_pending(struct journal *j, const struct journal_erase *e);
MUST_USE int journal_touch(
	struct journal *j, uint64_t ino, const uint8_t file_id[static CRYPTO_ID_LEN]);
MUST_USE int journal_checkpoint_locked(struct journal *j, bool clean);

#endif
