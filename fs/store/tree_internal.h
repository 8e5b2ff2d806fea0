/*
 * What the files tree*.c share; nobody else includes it.
 *
 * tree.c         stat and the calls that make or remove one entry
 * tree_target.c  link targets and their continuations
 * tree_bind.c    which link stands under which name
 * tree_rename.c  rename
 * tree_cursor.c  reading a directory
 *
 * Locks: store->rename_lock, then those of directories by ascending address, then those of a file.
 * trash_erase and alarms come after all are released.
 */
#ifndef STORE_TREE_INTERNAL_H
#define STORE_TREE_INTERNAL_H

#include "fs/erase/trash.h"
#include "fs/store/tree.h"

/* Up to four directories, NULL and doubles allowed, locked in the one order that cannot deadlock.
 */
struct tree_locks {
	struct dir *dirs[4];
};
/* Sorts and locks. */
void tree_lock(struct tree_locks *l);
void tree_unlock(struct tree_locks *l);

struct lock_mutex *tree_rename_lock(const struct store *s);

/* A removal that failed with r for want of space for the trash's own entry is worth another try:
 * true once the eraser has emptied the trash. No locks of the store held. */
bool tree_trash_may_help(const struct store *s, int r);

/* -EBADMSG becomes an alarm about d; every other r is returned as it is. No locks held. */
int tree_alarm(const struct dir *d, const char *what, const char *detail, int r);

/* Whether removing the entry st frees content that must be overwritten; f as in tree_unlink. */
bool tree_frees_content(const struct stat *st, const struct file *f);

/* Where the rest of a link's target lies: common part of its sidecars' names, "" when there is no
 * rest. */
struct tree_tail {
	char base[24];
};

/*
 * Makes the link d/lower with its binding and continuation; d->lock held. -ENAMETOOLONG over 4,095
 * bytes, -ENOENT for an empty one, -EEXIST, -errno of the lower calls; then nothing of it stays.
 */
MUST_USE int tree_target_make(
	struct dir *d, const char *lower, const char *target, const struct lower_cred *cred);
/*
 * The target, without a zero byte; its whole length. -EBADMSG without alarm: it does not open, or
 * the link does not belong to this name. d->lock not held. ret: TREE_TARGET_MAX bytes.
 */
#define TREE_TARGET_MAX 4095
MUST_USE ssize_t tree_target_read(
	struct dir *d, const char *lower, char ret[static TREE_TARGET_MAX]);
/* Length of the target from the lengths alone; 0 for what is too short to be one. st: of the link.
 */
uint64_t tree_target_length(const struct dir *d, const char *lower, const struct stat *st);
/* The tail of a link; none on failure, -errno of the lower call. st: of the entry, of any type. */
MUST_USE int tree_target_tail(
	const struct dir *d, const char *lower, const struct stat *st, struct tree_tail *ret);
/* The same tail in another directory. 1 made, 0 nothing to do or there already, -errno and nothing
 * made. */
MUST_USE int tree_target_copy(
	const struct dir *from, const struct dir *to, const struct tree_tail *tail);
void tree_target_forget(const struct dir *d, const struct tree_tail *tail);

/* Epoch and salt of a sealed target: they tell it from every other link of the tenant. */
#define TREE_HEAD_LEN 18
struct tree_head {
	uint8_t bytes[TREE_HEAD_LEN];
};

/* Name of the record beside the entry `lower` that says what it is bound to. */
#define TREE_RECORD_LEN 26
void tree_bind_record(const char *lower, char ret[static TREE_RECORD_LEN]);
/* From the text of an entry, which may be cut behind its 32nd character. False: it is no sealed
 * target. */
MUST_USE bool tree_bind_head(const char *text, ssize_t len, struct tree_head *ret);
/* Whether the name d/lower is bound to that link. 0; 1: to another one too; -EBADMSG without alarm;
 * -errno of the lower call. */
MUST_USE int tree_bind_holds(const struct dir *d, const char *lower, const struct tree_head *head);
/* Head of the link d/lower, which is bound to its name. -EBADMSG without alarm when it is not,
 * -ESTALE when it is no link. */
MUST_USE int tree_bind_of(const struct dir *d, const char *lower, struct tree_head *ret);
/*
 * Binds the name d/lower to a link and, when given, to a second one: atomically, whatever it was
 * bound to. d->lock held, here and below. On failure the old binding stands.
 */
MUST_USE int tree_bind_set(const struct dir *d, const char *lower, const struct tree_head *head,
	const struct tree_head *second);
/* The same for a name that is about to be made. -EEXIST when an entry is there, with its binding as
 * it was. */
MUST_USE int tree_bind_claim(const struct dir *d, const char *lower, const struct tree_head *head);
/* A name bound to two links, as a crash leaves it, is bound to the one that stands there. Best
 * effort; the directory's times stay. */
void tree_bind_settle(const struct dir *d, const char *lower, const struct tree_head *head);
/* The entry is gone, or is no link any more. */
void tree_bind_forget(const struct dir *d, const char *lower);

#endif
