/*
 * What is freed: moved to trash/, overwritten, then unlinked (docs/erase.md). Works on lower files
 * only, without keys. Thread-safe. One eraser thread a tenant.
 */
#ifndef ERASE_TRASH_H
#define ERASE_TRASH_H

#include "fs/lower/lower.h"
#include "keymgmt/base/err.h"

struct trash;

#define TRASH_NAME_LEN 40 /* with the zero byte */

enum trash_assurance { TRASH_A = 'A', TRASH_B = 'B', TRASH_C = 'C' };

/* What became of one file: goes to the log as a receipt. */
struct trash_receipt {
	uint8_t file_id[16]; /* from its header; zeros when it had none */
	uint64_t bytes;      /* overwritten */
	const char *method;  /* "overwritten", "never on disk", "key destroyed" */
	enum trash_assurance assurance;
	int error; /* 0, or -errno: still in the trash, tried again at the next mount */
};

struct trash_options {
	bool sync; /* -o erase=sync: trash_erase returns when the bytes are overwritten */
	enum trash_assurance require; /* refuse to open below this; 'C' accepts all */
	/* No thread: trash_drain works in its caller. For programs with a thread of their own, and
	 * simulations, which must do the same things in the same order each time. */
	bool by_hand;
	/* Before a file is overwritten: nobody may write to it any more. True: what somebody else
	 * has of it must go before its receipt. */
	bool (*begin)(void *context, ino_t ino);
	/* Everything that others have of these files goes, and everything that was written is made
	 * durable: before a batch begins, and after it when `begin` said so: 0, or -errno, and the
	 * receipts say assurance C. Both may be NULL, and are called as `receipt` is. */
	int (*settle)(void *context);
	/* Without trash locks held: by the eraser's thread, with `sync` by the caller of
	 * trash_erase. May be NULL. */
	void (*receipt)(void *context, const struct trash_receipt *receipt);
	/*
	 * Making removals durable failed with this -errno, that is: the fsync of a directory of the
	 * tree or of the trash. (One of a file in the trash harms nothing but its receipt.) Without
	 * trash locks held, by any caller; may be NULL.
	 */
	void (*trouble)(void *context, int error);
	/* True: what fsync says proves nothing any more, so that nothing may be overwritten; jobs
	 * end with -EROFS and stay in the trash. As `trouble`. */
	bool (*halted)(void *context);
	void *context; /* of all three */
};

/* lower and the descriptors are borrowed. -EOPNOTSUPP with a sentence when the filesystem's
 * assurance is below `require`. */
MUST_USE int trash_open(struct lower *l, int trash_fd, const struct trash_options *o,
	struct trash **ret, struct err *e);
/* Queues what an earlier run left; the count. Then starts the thread, unless `by_hand`. */
MUST_USE int trash_resume(struct trash *t);
/* Finishes what is queued (at most timeout_ms, -1 without limit; `by_hand`: nothing), stops the
 * thread, frees. What is left stays for the next mount. */
void trash_close(struct trash *t, int timeout_ms);

/* A fresh unused name. */
void trash_name(struct trash *t, char ret[static TRASH_NAME_LEN]);
/* Moves dirfd/name there (renameat); ret: its name there. The parent is fsynced before anything is
 * overwritten. */
MUST_USE int trash_move(
	struct trash *t, int dirfd, const char *name, char ret[static TRASH_NAME_LEN]);
/* As a second link, before a rename replaces dirfd/name. */
MUST_USE int trash_link(
	struct trash *t, int dirfd, const char *name, char ret[static TRASH_NAME_LEN]);
/* The replacing rename failed: drops the link again. */
void trash_unlink(struct trash *t, const char *name);
/*
 * Erase it now; returns at once unless `sync`. parent_fd: the directory it left (duplicated
 * inside), fsynced together with the trash before anything is overwritten; -1 when it is not at
 * hand: then the file's own fsync makes the removal durable. With a link count above 1 only our
 * link goes. Call it without locks that the receipt needs.
 */
void trash_erase(struct trash *t, const char *name, int parent_fd);

struct trash_status {
	uint64_t files, bytes;           /* waiting */
	uint64_t done_files, done_bytes; /* since mount */
	uint64_t failed_files;           /* since mount; still in the trash */
	enum trash_assurance assurance;
	char why[128]; /* reason of the assurance */
};
void trash_status(struct trash *t, struct trash_status *ret);
/* What statfs may count as free: files and bytes that wait and that the lower filesystem does not
 * count as free itself. */
void trash_backlog(struct trash *t, uint64_t *ret_files, uint64_t *ret_bytes);
/* Waits until the queue is empty or timeout_ms passed; `by_hand`: empties it. 0 or -ETIMEDOUT. */
MUST_USE int trash_drain(struct trash *t, int timeout_ms);

/* Overwrite of one open file as steps 3 to 6 of docs/erase.md, for old policies, log segments and
 * tests. */
MUST_USE int trash_overwrite(struct lower *l, int fd, struct trash_receipt *ret);

#endif
