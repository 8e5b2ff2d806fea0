/* What every part of the store shares: one tenant's tree, its keys, and whom to alarm. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "fs/lower/lower.h"
#include "keymgmt/base/lock.h"
#include "keymgmt/keyring.h"

#include <stdatomic.h>

struct journal;
struct redo;
struct trash;

/* An integrity event: something on the disk is not what this tenant wrote. */
struct store_alarm {
	const char *what; /* "block", "header", "name", "directory", "link target", "xattr", ... */
	const char *detail;     /* one clause, no plaintext names */
	const uint8_t *file_id; /* 16 bytes of the file or directory, or NULL */
	uint64_t lower_ino;     /* 0 when unknown */
	uint64_t block;         /* block number, UINT64_MAX when none */
};

/* Set up by whoever opens the tenant; then read-only, shared by all threads, but for `troubled` and
 * the lock. Pointers are borrowed. */
struct store {
	struct lower *lower;
	const struct keyring *keys;
	uint8_t tenant_uuid[CRYPTO_ID_LEN];
	enum crypto_suite suite;
	int root_fd;         /* lower directory root/ */
	struct trash *trash; /* where removed files go; NULL: offline tools that remove nothing */
	struct journal *journal; /* NULL: -o journal=off, offline tools */
	struct redo *redo;       /* NULL: everything is written in place at once */
	bool as_root;            /* may give files to other owners and read what modes forbid */
	/* Called without locks of the store held, from any thread; may be NULL. */
	void (*alarm)(void *context, const struct store_alarm *alarm);
	void *alarm_context;
	/* Called once, by store_trouble, with alarm_context, under whatever locks its caller holds:
	 * may take none but the log's. May be NULL. */
	void (*trouble)(void *context, const char *what, int error);
	/* Private to store.c. */
	atomic_int troubled; /* 0, or the -errno that made the store read-only */
	_Atomic(const char *) trouble_what;
	/* Directory renames, one at a time; the first lock of the store to be taken. */
	struct lock_mutex rename_lock;
};

/*
 * Opens tenant_fd/root and fills s; trash and the alarm are the caller's to set, before threads
 * start. 0 or -errno of the lower openat, then s is untouched. store_done closes what it opened.
 */
MUST_USE int store_init(
	struct store *s, struct lower *l, const struct keyring *keys, int tenant_fd);
void store_done(struct store *s);
/* Reports an alarm and returns -EBADMSG. */
int store_alarm(const struct store *s, const struct store_alarm *alarm);

/*
 * A flush of what belongs to the store (content, directories, journal) failed with `error`, a
 * -errno. The kernel has forgotten what it could not write: whatever it says of later flushes
 * proves nothing. From now on the store is read-only, until it is opened anew; it stays so whatever
 * is reported afterwards, and only the first report is told. what: a string literal, what was
 * flushed. Any thread, any locks.
 */
void store_trouble(const struct store *s, const char *what, int error);
/* The same where `rc` is the result of a flush: nothing unless it is -EIO, -ENOSPC, -EDQUOT, or
 * -EROFS, which a lower filesystem says that has given up. Returns rc. */
int store_flushed(const struct store *s, const char *what, int rc);
/* True from the first store_trouble on. Nothing may be changed or promised then: -EROFS for who
 * wants to begin, -EIO for who has something unsaved. */
bool store_is_read_only(const struct store *s);
/* What failed first, and *ret_error with which -errno; NULL while nothing did. */
const char *store_trouble_what(const struct store *s, int *ret_error);

#endif
