/* The folder of a store and of a tenant in it (docs/format.md, "Places"): finding, creating, locking. */
#ifndef STORE_LAYOUT_H
#define STORE_LAYOUT_H

#include "fs/lower/lower.h"
#include "keymgmt/base/err.h"
#include "keymgmt/crypto.h"
#include "keymgmt/keyring.h"

#include <limits.h>

struct layout {
	char store_path[PATH_MAX]; /* absolute, links resolved */
	struct keyring_owner owner;
	enum crypto_suite suite;
	int store_fd, tenant_fd;   /* O_PATH|O_DIRECTORY; -1 when there is none */
	int lock_fd;               /* -1 until layout_lock */
};

#define LAYOUT_NONE {.store_fd = -1, .tenant_fd = -1, .lock_fd = -1}

/* "STORE#TENANT" (the last '#'), or only "STORE" when tenant_needed is false. -EINVAL with a sentence. */
MUST_USE int layout_split(const char *argument, bool tenant_needed, char ret_store[static PATH_MAX],
	char ret_tenant[static 64], struct err *e);
/* [a-z0-9][a-z0-9._-]{0,62} */
bool layout_tenant_name_ok(const char *tenant);
/* Opens and checks store.json and, unless tenant is "", tenant.json. -ENOENT, -EBADMSG, -EPROTONOSUPPORT. */
MUST_USE int layout_open(const char *store, const char *tenant, struct layout *ret, struct err *e);
void layout_done(struct layout *l); /* closes; releases the lock */
/* Takes t/TENANT/lock and writes who we are into it (pid, mount point, host; JSON). -EBUSY: the sentence says who has it. */
MUST_USE int layout_lock(struct layout *l, const char *purpose, const char *mountpoint, struct err *e);

/* The key directory: keys_dir, or when NULL as root /var/lib/tenantfs/keys, a user:
 * ~/.local/share/tenantfs/keys. Descriptor of KEYS/STORE_UUID (created with mode 0700 when create), or -ENOENT with a
 * sentence; -EPERM when others may write to it or read it. */
MUST_USE int layout_open_keys(const char *keys_dir, const uint8_t store_uuid[static 16], bool create,
	struct err *e);

#endif
