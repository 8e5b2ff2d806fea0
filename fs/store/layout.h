/*
 * The folder of a store and of a tenant in it (docs/format.md, "Places"): finding, locking, and the
 * key directory. Making them is in layout_create.h. No locks; one thread at a time for one struct
 * layout.
 */
#ifndef STORE_LAYOUT_H
#define STORE_LAYOUT_H

#include "fs/lower/lower.h"
#include "keymgmt/base/err.h"
#include "keymgmt/crypto.h"
#include "keymgmt/keyring.h"

#include <limits.h>

#define LAYOUT_FORMAT 1             /* of store.json and tenant.json */
#define LAYOUT_JSON_MAX (64u << 10) /* bytes of store.json, tenant.json, lock */
#define LAYOUT_UUID_TEXT 37         /* with the zero byte */

struct layout {
	char store_path[PATH_MAX]; /* absolute, links resolved */
	struct keyring_owner owner;
	enum crypto_suite suite;
	int store_fd, tenant_fd; /* O_PATH|O_DIRECTORY; -1 when there is none */
	int lock_fd;             /* -1 until layout_lock */
	char created[32];        /* of the tenant, RFC 3339; "" without one */
	struct lower *lower;     /* borrowed; lower_posix() after layout_open, tests put another */
};

#define LAYOUT_NONE                                                                                \
	{                                                                                          \
		.store_fd = -1, .tenant_fd = -1, .lock_fd = -1                                     \
	}

/* "STORE#TENANT" (the last '#'), or only "STORE" when tenant_needed is false. -EINVAL with a
 * sentence. */
MUST_USE int layout_split(const char *argument, bool tenant_needed, char ret_store[static PATH_MAX],
	char ret_tenant[static 64], struct err *e);
/* [a-z0-9][a-z0-9._-]{0,62} */
bool layout_tenant_name_ok(const char *tenant);
/* Opens and checks store.json and, unless tenant is "", tenant.json. -ENOENT, -EBADMSG,
 * -EPROTONOSUPPORT; -EACCES. After a failure ret holds nothing. */
MUST_USE int layout_open(const char *store, const char *tenant, struct layout *ret, struct err *e);
void layout_done(struct layout *l); /* closes; releases the lock */
static inline void layout_auto(struct layout *l)
{
	layout_done(l);
}
/*
 * Takes t/TENANT/lock and writes who we are into it (pid, mount point, host; JSON), with a
 * generation one above what stood there. mountpoint: NULL for a program that mounts nothing. The
 * lock belongs to the open file description: a child that keeps lock_fd open keeps it too. -EBUSY:
 * the sentence says who has it.
 */
MUST_USE int layout_lock(
	struct layout *l, const char *purpose, const char *mountpoint, struct err *e);
/* 1 and a clause ("is mounted at /srv/acme by process 7 on host a since ...") when somebody else
 * has the lock; 0; -errno. */
MUST_USE int layout_holder(const struct layout *l, char ret_clause[static 512]);

/* The key directory: keys_dir, or when NULL as root /var/lib/tenantfs/keys, a user:
 * ~/.local/share/tenantfs/keys. Descriptor of KEYS/STORE_UUID (created with mode 0700 when create),
 * or -ENOENT with a sentence; -EPERM when others may write to it or read it, or it lies in a store.
 */
MUST_USE int layout_open_keys(
	const char *keys_dir, const uint8_t store_uuid[static 16], bool create, struct err *e);
/* The path that layout_open_keys uses for keys_dir. -ENAMETOOLONG; -ENOENT: the user has no home.
 */
MUST_USE int layout_keys_path(const char *keys_dir, char ret[static PATH_MAX], struct err *e);

/* RFC 9562 text of a uuid, and back: -EBADMSG unless exactly 36 lower-case characters. */
void layout_uuid_text(const uint8_t uuid[static 16], char ret[static LAYOUT_UUID_TEXT]);
MUST_USE int layout_uuid_parse(const char *text, uint8_t ret[static 16]);
/* "aes-256-gcm", "xchacha20-poly1305"; NULL, 0 for what is unknown. */
const char *layout_suite_name(enum crypto_suite suite);
int layout_suite(const char *name);

#endif
