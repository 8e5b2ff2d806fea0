/*
 * Making stores and tenants (docs/format.md, "Places"). A tenant is built in the hidden folder
 * t/.new.TENANT and renamed into place last, so that a crash leaves nothing or a whole tenant.
 * Order of a caller:
 *
 *     layout_open(store, "")              the store
 *     layout_create_lock                  one creation at a time in a store
 *     layout_create_leftover              what a crash left; its keyring goes first, the caller
 * knows where layout_create_begin                 hidden folder, tenant.json with a fresh uuid
 *     ... keyring with that owner ...
 *     layout_create_fill                  journal, trash/, root/ with its record, lock
 *     ... audit_create, policy, keyring stored ...
 *     layout_create_commit                rename; or layout_create_abort
 */
#ifndef STORE_LAYOUT_CREATE_H
#define STORE_LAYOUT_CREATE_H

#include "fs/store/journal.h"
#include "fs/store/layout.h"

/*
 * Makes the store folder (mode 0700; an empty one that is there is used), t/ and store.json with a
 * fresh uuid. -EEXIST it is a store already; -ENOTEMPTY something else is in it; -errno with a
 * sentence. After a failure what it made is removed.
 */
MUST_USE int layout_create_store(const char *path, struct err *e);

/* l: an opened store without a tenant. Takes its creation lock into lock_fd. -EBUSY, -EACCES,
 * -EROFS with a sentence. */
MUST_USE int layout_create_lock(struct layout *l, struct err *e);

/* Under the lock: 1 and its tenant uuid when an interrupted creation of tenant left a hidden folder
 * (uuid all zero when it had none yet, and then no keyring either); 0; -errno. */
MUST_USE int layout_create_leftover(
	const struct layout *store, const char *tenant, uint8_t ret_uuid[static 16]);

/*
 * Under the lock: removes a leftover, makes the hidden folder with tenant.json; l then names the
 * new tenant, and tenant_fd is the hidden folder. -EEXIST there is such a tenant; -errno with a
 * sentence. After a failure call layout_create_abort.
 */
MUST_USE int layout_create_begin(
	struct layout *l, const char *tenant, enum crypto_suite suite, struct err *e);

struct layout_create {
	uint64_t journal_bytes;         /* multiple of 4096, JOURNAL_BYTES_MIN .. MAX */
	const struct lower_cred *owner; /* of root/ (then mode 0700); NULL: ourselves, mode 0755 */
};
/* keys: open, of l->owner. Everything in the hidden folder is then durable. -ENOSPC and other
 * -errno with a sentence. */
MUST_USE int layout_create_fill(struct layout *l, const struct keyring *keys,
	const struct layout_create *wanted, struct err *e);
/* fsyncs the hidden folder, renames it to t/TENANT, fsyncs t/; releases the creation lock. After a
 * failure nothing is visible. */
MUST_USE int layout_create_commit(struct layout *l, struct err *e);
/* Removes the hidden folder (also one that begin left half made); releases the lock. 0 or -errno.
 */
int layout_create_abort(struct layout *l);

#endif
