/* A tenant's tree on the real disk for tests of the store: scratch folder, keys, a lower that can
 * fail, alarms counted. */
#ifndef TEST_STORE_PLACE_H
#define TEST_STORE_PLACE_H

#include "fs/store/dir.h"
#include "fs/store/redo.h"
#include "tests/unit/fail_lower.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

struct store_place {
	char path[64]; /* of the tenant's folder; its tree is in root/ */
	int tenant_fd, trash_fd;
	struct fail_lower fail;
	struct keyring *keys;
	struct store store;
	struct dir *root;
	unsigned alarms;
	char what[64], detail[128]; /* of the last one */
};

static inline void store_place_alarm(void *context, const struct store_alarm *alarm)
{
	struct store_place *p = context;
	p->alarms++;
	snprintf(p->what, sizeof(p->what), "%s", alarm->what);
	snprintf(p->detail, sizeof(p->detail), "%s", alarm->detail);
}

/* A flush that failed is forgotten, as by a mount anew. */
static inline void store_place_mended(struct store_place *p)
{
	atomic_store(&p->store.troubled, 0);
}

/* Changes go through the journal from now on, which is open and empty; and no more. */
static inline void store_place_redo(struct store_place *p)
{
	const struct redo_options options = {.by_hand = true};
	if (redo_start(&p->store, &options, &p->store.redo) < 0)
		abort();
}
static inline void store_place_no_redo(struct store_place *p)
{
	struct redo *r = p->store.redo;
	(void)!redo_stop(r);
	p->store.redo = NULL;
}

/* cmocka set-up and tear-down; *state is the struct store_place. */
static inline int store_place_make(void **state)
{
	const char *base = getenv("TENANTFS_TEST_DIR");
	struct store_place *p = calloc(1, sizeof(*p));
	if (!p || crypto_init() < 0)
		return -1;
	snprintf(p->path, sizeof(p->path), "%.40s/store_place.XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(p->path))
		return -1;
	p->tenant_fd = open(p->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct keyring_owner owner = {.tenant = "acme"};
	crypto_random(owner.store_uuid, CRYPTO_ID_LEN);
	crypto_random(owner.tenant_uuid, CRYPTO_ID_LEN);
	fail_lower_init(&p->fail, lower_posix());
	if (p->tenant_fd < 0 || mkdirat(p->tenant_fd, "root", 0700) < 0 ||
		lower_posix_prepare() < 0 ||
		keyring_create(&owner, CRYPTO_AES256_GCM, &p->keys) < 0 ||
		store_init(&p->store, &p->fail.base, p->keys, p->tenant_fd) < 0)
		return -1;
	p->store.alarm = store_place_alarm;
	p->store.alarm_context = p;
	if (dir_init(&p->store, p->store.root_fd, NULL, "") < 0 ||
		dir_open_root(&p->store, &p->root) < 0)
		return -1;
	*state = p;
	return 0;
}

static inline int store_place_rm(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static inline int store_place_remove(void **state)
{
	struct store_place *p = *state;
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
	dir_put(p->root);
	store_done(&p->store);
	keyring_free(p->keys);
	close(p->tenant_fd);
	nftw(p->path, store_place_rm, 16, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

#endif
