/* What every part of the store shares: one tenant's tree, its keys, and whom to alarm. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "fs/lower/lower.h"
#include "keymgmt/keyring.h"

#include <pthread.h>

struct journal;
struct trash;

/* An integrity event: something on the disk is not what this tenant wrote. */
struct store_alarm {
	const char *what; /* "block", "header", "name", "directory", "link target", "xattr", ... */
	const char *detail;     /* one clause, no plaintext names */
	const uint8_t *file_id; /* 16 bytes of the file or directory, or NULL */
	uint64_t lower_ino;     /* 0 when unknown */
	uint64_t block;         /* block number, UINT64_MAX when none */
};

/* Set up by whoever opens the tenant; then read-only, shared by all threads. Pointers are borrowed.
 */
struct store {
	struct lower *lower;
	const struct keyring *keys;
	uint8_t tenant_uuid[CRYPTO_ID_LEN];
	enum crypto_suite suite;
	int root_fd;         /* lower directory root/ */
	struct trash *trash; /* where removed files go; NULL: offline tools that remove nothing */
	struct journal *journal; /* NULL: offline tools and tests, where nothing is announced */
	bool as_root;            /* may give files to other owners and read what modes forbid */
	/* Called without locks of the store held, from any thread; may be NULL. */
	void (*alarm)(void *context, const struct store_alarm *alarm);
	void *alarm_context;
	/* Directory renames, one at a time; the first lock of the store to be taken. */
	pthread_mutex_t rename_lock;
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

#endif
