/*
 * The redo journal of an open tenant: what is written over is committed in the journal first and
 * brought to its place later (docs/format.md, "Journal"). Here is who may write to the journal, and
 * which files have something that is not in its place.
 *
 * Locks: the gate (shared: whoever commits; exclusive: a checkpoint), then the locks of files, then
 * the table's. Nothing else is taken under the gate.
 */
#ifndef STORE_REDO_H
#define STORE_REDO_H

#include "fs/store/store.h"

struct file;
struct journal_record;

struct redo_options {
	/* No thread: redo_tick is called by whoever wants it. For programs that do everything in
	 * one order. */
	bool by_hand;
};

/*
 * s->journal is open and recovered; s->redo is set by the caller, before anybody uses the tree.
 * Starts the thread that makes everything durable within 5 s, and empties the journal within about
 * 1 s of idleness. -ENOMEM, -EAGAIN.
 */
MUST_USE int redo_start(const struct store *s, const struct redo_options *o, struct redo **ret);
/* Ends the thread, brings everything to its place, frees. Nobody uses the tree any more. The errno
 * of the last checkpoint: then the journal holds the rest, for the next mount. */
int redo_stop(struct redo *r);

/*
 * Every call that changes content: before it takes the file's lock. Room for so many sectors is
 * kept, which the caller gives back, and for erasures. -ENOSPC too many erasures could not be
 * finished; -EIO. Without a redo journal nothing is done.
 */
MUST_USE int redo_enter(const struct store *s, uint64_t sectors, unsigned erasures);
void redo_leave(const struct store *s);

/* As journal_append and journal_flush; the store is read-only after they failed. */
MUST_USE int redo_append(const struct store *s, const struct journal_record *r,
	uint64_t *ret_sequence, uint64_t *ret_token);
MUST_USE int redo_flush(const struct store *s, uint64_t sequence);

/* Under the gate: the file has something that is not committed, not durable or not in its place.
 * The table holds it until a checkpoint has changed that. */
void redo_list(struct file *f);
/* It has nothing any more: after that it may be freed. */
void redo_unlist(struct file *f);
/* The listed file of this inode, with a reference for the caller; NULL. */
struct file *redo_find(const struct store *s, ino_t ino);
/* Gives a reference back: true when it was the last one. *ret_listed: the table has the file, and
 * frees it; else the caller does. */
bool redo_drop(struct file *f, bool *ret_listed);

/* Everything that is written is committed, durable and in its place; the journal is empty and what
 * was in it unreadable. The errno of what failed. */
MUST_USE int redo_checkpoint(const struct store *s);
/* The same, soon, by the thread. */
void redo_hurry(const struct store *s);
/* What the thread does each second. */
void redo_tick(struct redo *r);
/* This inode is about to be erased: nothing is brought to its place any more. True: the journal has
 * something of it, until the next checkpoint. */
bool redo_forget(const struct store *s, ino_t ino);
/* After a change of a file's modification time, open or not: recovery must not undo it. */
void redo_times(const struct store *s, ino_t ino, const struct timespec ts[2]);

#endif
