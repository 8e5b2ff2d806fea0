/* What the verbs of tenantkey and tenantctl both do with a tenant that is not mounted. Failures
 * leave a sentence. */
#ifndef KEYMGMT_CMD_TENANT_H
#define KEYMGMT_CMD_TENANT_H

#include "fs/gate/audit.h"
#include "fs/store/layout.h"
#include "keymgmt/keyring.h"
#include "keymgmt/source.h"

/*
 * The key directory (keys_dir: of --keys, or NULL) and the keyring, without its keys. *ret_keys_fd
 * is the caller's to close, *ret to keyring_free, also after a failure. -ENOENT says where to look;
 * -errno of layout_open_keys and keyring_load.
 */
MUST_USE int cmd_tenant_load(const char *keys_dir, const struct layout *l, int *ret_keys_fd,
	struct keyring **ret, struct err *e);
/* Asks for the secret, on a terminal with the tenant's name, and opens the keyring with it. -errno
 * of source_read and keyring_unlock. */
MUST_USE int cmd_tenant_unlock(
	struct keyring *k, const struct layout *l, const struct source *s, struct err *e);
/*
 * One durable record on the tenant's log, which is opened and closed for it; needs the lock. error
 * 0: about to be done, or done; else the -errno with which it failed. When this fails the caller
 * must not go on.
 */
MUST_USE int cmd_tenant_log(const struct layout *l, struct keyring *k, enum audit_kind kind,
	const char *message, int error, struct err *e);

#endif
