#include "fs/store/layout_create.h"

#include "fs/store/dir.h"
#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HIDDEN_PREFIX ".new."
#define HIDDEN_MAX (sizeof(HIDDEN_PREFIX) + 63)
#define TREE_DEPTH 4 /* of what a half-made tenant can hold */

static void lower_close(const int *fd)
{
	struct lower *l = lower_posix();
	if (*fd >= 0)
		(void)l->ops->close(l, *fd);
}
#define AUTO_LOWER_CLOSE AUTO(lower_close) int

static int write_file(struct lower *l, int dirfd, const char *name, const void *bytes, size_t len)
{
	AUTO_LOWER_CLOSE fd =
		l->ops->openat(l, dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600, NULL);
	if (fd < 0)
		return fd;
	int r = lower_write_all(l, fd, bytes, len, 0);
	return r < 0 ? r : l->ops->fsync(l, fd, false);
}

/* The next name in a buffer of struct linux_dirent64, or NULL. */
static const char *next_entry(struct cur *c)
{
	if (cur_left(c) < 19)
		return NULL;
	const uint8_t *record = cur_take(c, bytes_get16(c->at + 16));
	return record ? (const char *)record + 19 : NULL;
}

typedef int visit_entry(struct lower *l, int dirfd, const char *name, int depth);

/* Calls visit for every entry but "." and ".."; stops at its first value other than 0. */
static int each_entry(struct lower *l, int dirfd, visit_entry *visit, int depth)
{
	uint8_t records[4096];
	AUTO_LOWER_CLOSE fd = l->ops->openat(l, dirfd, ".", O_RDONLY | O_DIRECTORY, 0, NULL);
	if (fd < 0)
		return fd;
	for (;;) {
		ssize_t n = l->ops->getdents(l, fd, records, sizeof(records));
		if (n <= 0)
			return (int)n;
		struct cur c = {records, records + n};
		for (const char *name; (name = next_entry(&c));) {
			int r = strcmp(name, ".") == 0 || strcmp(name, "..") == 0
					? 0
					: visit(l, fd, name, depth);
			if (r != 0)
				return r;
		}
	}
}

/* Removes dirfd/name and, a folder, what is in it. */
static int remove_tree(struct lower *l, int dirfd, const char *name, int depth)
{
	int r = l->ops->unlinkat(l, dirfd, name, 0);
	if (r != -EISDIR && r != -EPERM)
		return r;
	if (depth >= TREE_DEPTH)
		return -ELOOP;
	AUTO_LOWER_CLOSE fd = l->ops->openat(l, dirfd, name, O_PATH | O_DIRECTORY, 0, NULL);
	if (fd < 0)
		return fd;
	r = each_entry(l, fd, remove_tree, depth + 1);
	return r < 0 ? r : l->ops->unlinkat(l, dirfd, name, AT_REMOVEDIR);
}

static void fresh_uuid(uint8_t ret[static 16])
{
	crypto_random(ret, 16);
	ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x40); /* RFC 9562, version 4 */
	ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

/* 1 for what neither a finished store nor an interrupted `init` has in it. */
static int is_foreign(struct lower *l, int dirfd, const char *name, int depth)
{
	(void)l;
	(void)dirfd;
	(void)depth;
	return strcmp(name, "t") != 0 && strcmp(name, "store.json.tmp") != 0 &&
	       strcmp(name, "lost+found") != 0;
}

static int any_entry(struct lower *l, int dirfd, const char *name, int depth)
{
	(void)l;
	(void)dirfd;
	(void)name;
	(void)depth;
	return 1;
}

static int check_empty(int store_fd, const char *path, struct err *e)
{
	struct lower *l = lower_posix();
	struct stat st;
	int r = l->ops->fstatat(l, store_fd, "store.json", &st);
	if (r == 0)
		return err_set(e, -EEXIST, "%s is a tenantfs store already", path);
	r = each_entry(l, store_fd, is_foreign, 0);
	if (r == 0) {
		AUTO_LOWER_CLOSE t =
			l->ops->openat(l, store_fd, "t", O_PATH | O_DIRECTORY, 0, NULL);
		r = t == -ENOENT ? 0 : t < 0 ? t : each_entry(l, t, any_entry, 0);
	}
	if (r > 0)
		return err_set(
			e, -ENOTEMPTY, "%s is not empty: give an empty folder or a new name", path);
	return r < 0 ? err_set(e, r, "cannot read %s: %s", path, strerror(-r)) : 0;
}

static int fill_store(int store_fd)
{
	struct lower *l = lower_posix();
	char text[128], uuid_text[LAYOUT_UUID_TEXT];
	uint8_t uuid[16];
	fresh_uuid(uuid);
	layout_uuid_text(uuid, uuid_text);
	int n = snprintf(text, sizeof(text), "{\"format\": %d, \"store_uuid\": \"%s\"}\n",
		LAYOUT_FORMAT, uuid_text);
	int r = l->ops->mkdirat(l, store_fd, "t", 0700, NULL);
	if (r < 0 && r != -EEXIST)
		return r;
	r = write_file(l, store_fd, "store.json.tmp", text, (size_t)n);
	if (r == 0)
		r = l->ops->renameat(
			l, store_fd, "store.json.tmp", store_fd, "store.json", RENAME_NOREPLACE);
	return r < 0 ? r : l->ops->fsync(l, store_fd, false);
}

int layout_create_store(const char *path, struct err *e)
{
	struct lower *l = lower_posix();
	bool made = mkdir(path, 0700) == 0;
	if (!made && errno != EEXIST)
		return err_set(e, -errno, "cannot make %s: %s", path, strerror(errno));
	AUTO_CLOSE fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
	int r = made ? 0 : check_empty(fd, path, e);
	if (r < 0)
		return r;
	r = l->ops->fchmod(l, fd, 0700);
	if (r == 0)
		r = fill_store(fd);
	AUTO_LOWER_CLOSE parent = l->ops->openat(l, fd, "..", O_RDONLY | O_DIRECTORY, 0, NULL);
	/* A parent that may not be read cannot be fsynced; then the name lasts when the filesystem
	 * says so. */
	if (r == 0 && made && parent >= 0)
		r = l->ops->fsync(l, parent, false);
	if (r == -EEXIST)
		return err_set(e, r, "%s has just become a tenantfs store", path);
	if (r < 0) {
		static const char *const ours[] = {"store.json", "store.json.tmp", "t"};
		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
			(void)remove_tree(l, fd, ours[i], TREE_DEPTH - 1);
		if (made)
			(void)rmdir(path);
		return err_set(e, r, "cannot make a store in %s: %s", path, strerror(-r));
	}
	return 0;
}

static void hidden_name(const char *tenant, char ret[static HIDDEN_MAX])
{
	snprintf(ret, HIDDEN_MAX, HIDDEN_PREFIX "%s", tenant);
}

/* O_PATH descriptor of t/. */
static int open_t(const struct layout *l)
{
	struct lower *lower = l->lower;
	return lower->ops->openat(lower, l->store_fd, "t", O_PATH | O_DIRECTORY, 0, NULL);
}

int layout_create_leftover(
	const struct layout *store, const char *tenant, uint8_t ret_uuid[static 16])
{
	struct lower *l = store->lower;
	char hidden[HIDDEN_MAX], text[512] = "";
	hidden_name(tenant, hidden);
	AUTO_LOWER_CLOSE t = open_t(store);
	AUTO_LOWER_CLOSE dir =
		t < 0 ? t : l->ops->openat(l, t, hidden, O_PATH | O_DIRECTORY, 0, NULL);
	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	memset(ret_uuid, 0, 16);
	AUTO_LOWER_CLOSE fd = l->ops->openat(l, dir, "tenant.json", O_RDONLY | O_NONBLOCK, 0, NULL);
	ssize_t n = fd < 0 ? fd : lower_pread(l, fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return n == -ENOENT ? 1 : (int)n;
	/* Our own writing, perhaps cut short: then no keyring had been stored. */
	static const char key[] = "\"tenant_uuid\": \"";
	char *at = strstr(text, key);
	if (at && strlen(at) > sizeof(key) + LAYOUT_UUID_TEXT) {
		at += sizeof(key) - 1;
		at[LAYOUT_UUID_TEXT - 1] = 0;
		if (layout_uuid_parse(at, ret_uuid) < 0)
			memset(ret_uuid, 0, 16);
	}
	return 1;
}

/* An OFD lock on store.json: it is there, and nobody opens it to write. */
int layout_create_lock(struct layout *l, struct err *e)
{
	struct lower *lower = l->lower;
	AUTO_LOWER_CLOSE fd = lower->ops->openat(lower, l->store_fd, "store.json", O_RDWR, 0, NULL);
	int r = fd < 0 ? fd : lower->ops->lock(lower, fd);
	if (r == -EAGAIN)
		return err_set(e, -EBUSY,
			"another 'tenantkey create' runs in store %s: wait for it", l->store_path);
	if (r < 0)
		return err_set(e, r, "cannot lock store %s: %s", l->store_path, strerror(-r));
	l->lock_fd = fd;
	fd = -1;
	return 0;
}

static int write_tenant_json(const struct layout *l)
{
	AUTO_BUF b = {0};
	char uuid[LAYOUT_UUID_TEXT];
	layout_uuid_text(l->owner.tenant_uuid, uuid);
	buf_printf(&b,
		"{\"format\": %d, \"tenant\": \"%s\", \"tenant_uuid\": \"%s\", \"suite\": \"%s\", "
		"\"created\": \"%s\"}\n",
		LAYOUT_FORMAT, l->owner.tenant, uuid, layout_suite_name(l->suite), l->created);
	return buf_ok(&b) ? write_file(l->lower, l->tenant_fd, "tenant.json", b.data, b.len)
			  : -ENOMEM;
}

/* The hidden folder, fresh, with its tenant.json: durable before anything is done under its uuid.
 */
static int make_hidden(struct layout *l, int t)
{
	struct lower *lower = l->lower;
	char hidden[HIDDEN_MAX];
	hidden_name(l->owner.tenant, hidden);
	int r = remove_tree(lower, t, hidden, 0);
	if (r < 0 && r != -ENOENT)
		return r;
	r = lower->ops->mkdirat(lower, t, hidden, 0700, NULL);
	if (r < 0)
		return r;
	int fd = lower->ops->openat(lower, t, hidden, O_PATH | O_DIRECTORY, 0, NULL);
	if (fd < 0)
		return fd;
	l->tenant_fd = fd;
	r = write_tenant_json(l);
	if (r == 0)
		r = lower->ops->fsync(lower, fd, false);
	return r < 0 ? r : lower->ops->fsync(lower, t, false);
}

int layout_create_begin(
	struct layout *l, const char *tenant, enum crypto_suite suite, struct err *e)
{
	struct lower *lower = l->lower;
	struct stat st;
	time_t now = time(NULL);
	struct tm tm;
	if (!layout_tenant_name_ok(tenant))
		return err_set(e, -EINVAL, "'%s' is no tenant name", tenant);
	AUTO_LOWER_CLOSE t = open_t(l);
	if (t < 0)
		return err_set(e, t, "cannot open t/ of store %s: %s", l->store_path, strerror(-t));
	int r = lower->ops->fstatat(lower, t, tenant, &st);
	if (r == 0)
		return err_set(
			e, -EEXIST, "store %s has a tenant %s already", l->store_path, tenant);
	if (r != -ENOENT)
		return err_set(e, r, "cannot read t/ of store %s: %s", l->store_path, strerror(-r));
	snprintf(l->owner.tenant, sizeof(l->owner.tenant), "%s", tenant);
	strftime(l->created, sizeof(l->created), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	l->suite = suite;
	fresh_uuid(l->owner.tenant_uuid);
	r = make_hidden(l, t);
	return r < 0 ? err_set(e, r, "cannot make tenant %s: %s", tenant, strerror(-r)) : 0;
}

static int make_root(struct layout *l, const struct keyring *keys, const struct lower_cred *owner)
{
	struct lower *lower = l->lower;
	int r = lower->ops->mkdirat(lower, l->tenant_fd, "root", owner ? 0700 : 0755, NULL);
	if (r < 0)
		return r;
	struct store s;
	r = store_init(&s, lower, keys, l->tenant_fd);
	if (r < 0)
		return r;
	r = dir_init(&s, s.root_fd, NULL, "");
	/* The umask of the caller must not decide. */
	if (r == 0)
		r = lower->ops->fchmodat(lower, l->tenant_fd, "root", owner ? 0700 : 0755);
	if (r == 0 && owner)
		r = lower->ops->fchownat(lower, l->tenant_fd, "root", owner->uid, owner->gid);
	if (r == 0)
		r = lower->ops->fsync(lower, s.root_fd, false);
	store_done(&s);
	return r;
}

int layout_create_fill(struct layout *l, const struct keyring *keys,
	const struct layout_create *wanted, struct err *e)
{
	struct lower *lower = l->lower;
	if (wanted->journal_bytes % 4096 || wanted->journal_bytes < JOURNAL_BYTES_MIN ||
		wanted->journal_bytes > JOURNAL_BYTES_MAX)
		return err_set(
			e, -EINVAL, "a journal has 1 MiB to 1 GiB and is a multiple of 4096 bytes");
	int r = journal_create(lower, l->tenant_fd, keys, wanted->journal_bytes);
	if (r == 0)
		r = lower->ops->mkdirat(lower, l->tenant_fd, "trash", 0700, NULL);
	if (r == 0)
		r = make_root(l, keys, wanted->owner);
	if (r == 0)
		r = write_file(l->lower, l->tenant_fd, "lock", "{}\n", 3);
	if (r == 0)
		r = lower->ops->fsync(lower, l->tenant_fd, false);
	return r < 0 ? err_default(e, r, "cannot make tenant %s: %s", l->owner.tenant, strerror(-r))
		     : 0;
}

static void unlock_store(struct layout *l)
{
	lower_close(&l->lock_fd);
	l->lock_fd = -1;
}

int layout_create_commit(struct layout *l, struct err *e)
{
	struct lower *lower = l->lower;
	char hidden[HIDDEN_MAX];
	hidden_name(l->owner.tenant, hidden);
	AUTO_LOWER_CLOSE t = open_t(l);
	int r = t < 0 ? t : lower->ops->fsync(lower, l->tenant_fd, false);
	if (r == 0)
		r = lower->ops->renameat(lower, t, hidden, t, l->owner.tenant, RENAME_NOREPLACE);
	if (r == 0) {
		r = lower->ops->fsync(lower, t, false);
		if (r < 0)
			(void)lower->ops->renameat(
				lower, t, l->owner.tenant, t, hidden, RENAME_NOREPLACE);
	}
	if (r < 0)
		return err_set(e, r, "cannot make tenant %s: %s", l->owner.tenant, strerror(-r));
	unlock_store(l);
	return 0;
}

int layout_create_abort(struct layout *l)
{
	struct lower *lower = l->lower;
	char hidden[HIDDEN_MAX];
	if (!l->owner.tenant[0] || l->lock_fd < 0)
		return 0;
	hidden_name(l->owner.tenant, hidden);
	AUTO_LOWER_CLOSE t = open_t(l);
	int r = t < 0 ? t : remove_tree(lower, t, hidden, 0);
	if (r == 0)
		r = lower->ops->fsync(lower, t, false);
	unlock_store(l);
	return r == -ENOENT ? 0 : r;
}
