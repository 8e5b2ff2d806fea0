/*
 * A directory's record (docs/format.md, "Directories"). `.dir` of X is guarded by the lock of the
 * directory X lies in: mkdir, rename, rmdir and the repair in dir_open all hold that one.
 */
#include "fs/store/dir.h"

#include "fs/store/name.h"
#include "keymgmt/base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define RECORD ".dir"
#define RECORD_NEW ".dir.new"
#define VERSION 1
#define BINDING_LEN 16
#define HEAD_LEN (1 + 2 + DIR_ID_LEN)
#define RECORD_BYTES (HEAD_LEN + 2 * BINDING_LEN)
#define KEPT "user.tfs-dir" /* lower attribute: modification time s u64, ns u32; the record */
#define KEPT_HEAD (8 + 4)
#define KEPT_MAX (KEPT_HEAD + RECORD_BYTES)

struct record {
	uint16_t epoch;
	uint8_t id[DIR_ID_LEN];
	int bindings;
	uint8_t binding[2][BINDING_LEN];
};

static void pack_head(uint16_t epoch, const uint8_t id[static DIR_ID_LEN], uint8_t *ret)
{
	ret[0] = VERSION;
	bytes_put16(ret + 1, epoch);
	memcpy(ret + 3, id, DIR_ID_LEN);
}

static size_t packed_len(const struct record *r)
{
	return HEAD_LEN + (size_t)r->bindings * BINDING_LEN;
}

static void pack_bytes(const struct record *r, uint8_t ret[static RECORD_BYTES])
{
	pack_head(r->epoch, r->id, ret);
	memcpy(ret + HEAD_LEN, r->binding, (size_t)r->bindings * BINDING_LEN);
}

static void pack(const struct record *r, char ret[static DIR_RECORD_MAX])
{
	uint8_t bytes[RECORD_BYTES];
	pack_bytes(r, bytes);
	crypto_b64(bytes, packed_len(r), ret);
}

static bool parse_bytes(const uint8_t *bytes, ssize_t len, struct record *ret)
{
	if (len != HEAD_LEN + BINDING_LEN && len != HEAD_LEN + 2 * BINDING_LEN)
		return false;
	if (bytes[0] != VERSION)
		return false;
	ret->epoch = bytes_get16(bytes + 1);
	memcpy(ret->id, bytes + 3, DIR_ID_LEN);
	ret->bindings = (int)((size_t)len - HEAD_LEN) / BINDING_LEN;
	memcpy(ret->binding, bytes + HEAD_LEN, (size_t)len - HEAD_LEN);
	return true;
}

static bool parse(const char *text, size_t text_len, struct record *ret)
{
	uint8_t bytes[RECORD_BYTES];
	return parse_bytes(bytes, crypto_unb64(text, text_len, bytes, sizeof(bytes)), ret);
}

/* What ties a directory to its place. parent_id NULL: the root. -EBADMSG without that epoch's key.
 */
static int bind_to(const struct store *s, uint16_t epoch, const uint8_t id[static DIR_ID_LEN],
	const struct dir *parent, const char *lower, uint8_t ret[static BINDING_LEN])
{
	const struct secret *nmk = keyring_nmk(s->keys, epoch);
	if (!nmk)
		return -EBADMSG;
	AUTO_SECRET *key = crypto_derive(nmk, "binding", "", 0, KEY_LEN);
	if (!key)
		return -ENOMEM;
	uint8_t in[HEAD_LEN + DIR_ID_LEN + 256] = {0};
	size_t name_len = strnlen(lower, 255);
	pack_head(epoch, id, in);
	if (parent)
		memcpy(in + HEAD_LEN, parent->id, DIR_ID_LEN);
	memcpy(in + HEAD_LEN + DIR_ID_LEN, lower, name_len);
	crypto_mac(key, in, HEAD_LEN + DIR_ID_LEN + name_len, ret, BINDING_LEN);
	return 0;
}

/*
 * An ordinary user's mount must reach into that user's own directories whatever their mode says:
 * the owner's bits are lent for the time of one call. As root nothing is needed.
 */
struct reach {
	struct lower *l;
	int fd;
	mode_t mode;
	bool changed;
};

static void reach_leave(struct reach *r)
{
	if (r->changed)
		(void)r->l->ops->fchmod(r->l, r->fd, r->mode);
}

#define AUTO_REACH AUTO(reach_leave) struct reach

static int reach_enter(const struct store *s, int fd, struct reach *ret)
{
	struct stat st;
	if (s->as_root)
		return 0;
	int r = s->lower->ops->fstat(s->lower, fd, &st);
	if (r < 0 || (st.st_mode & 0700) == 0700)
		return r;
	r = s->lower->ops->fchmod(s->lower, fd, (st.st_mode & 07777) | 0700);
	if (r < 0)
		return r == -EPERM ? -EACCES : r;
	*ret = (struct reach){s->lower, fd, st.st_mode & 07777, true};
	return 0;
}

/* Text of the record, without a zero byte; its length, -ENOENT, -EBADMSG when it is no link. */
static ssize_t read_text(const struct store *s, int fd, char ret[static DIR_RECORD_MAX])
{
	struct lower *l = s->lower;
	ssize_t n = l->ops->readlinkat(l, fd, RECORD, ret, DIR_RECORD_MAX);
	if (n == -EACCES) {
		AUTO_REACH reach = {0};
		int r = reach_enter(s, fd, &reach);
		if (r < 0)
			return r;
		n = l->ops->readlinkat(l, fd, RECORD, ret, DIR_RECORD_MAX);
	}
	return n == -EINVAL ? -EBADMSG : n;
}

/*
 * 1 when nothing but what tenantfs put there itself is in it, 0 otherwise. With `remove` the
 * orphans go, the record stays. Entries removed while a directory is read may hide others: repeat
 * until a pass removes none.
 */
static int only_internal(const struct store *s, int dir_fd, bool remove)
{
	struct lower *l = s->lower;
	_Alignas(struct dirent64) char bytes[4096];
	AUTO_LOWER_HELD list = {l, l->ops->reopen(l, dir_fd, O_RDONLY | O_DIRECTORY)};
	if (list.fd < 0)
		return list.fd;
	ssize_t n;
	while ((n = l->ops->getdents(l, list.fd, bytes, sizeof(bytes))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e =
				(const struct dirent64 *)(const void *)(bytes + at);
			at += e->d_reclen;
			if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
				continue;
			if (!name_is_internal(e->d_name))
				return 0;
			if (!remove || !strcmp(e->d_name, RECORD))
				continue;
			int r = l->ops->unlinkat(l, dir_fd, e->d_name, 0);
			if (r < 0 && r != -ENOENT)
				return r;
		}
	}
	return n < 0 ? (int)n : 1;
}

int dir_init(const struct store *s, int fd, const struct dir *parent, const char *lower)
{
	struct record record = {.epoch = keyring_nmk_epoch(s->keys), .bindings = 1};
	char text[DIR_RECORD_MAX];
	AUTO_REACH reach = {0};
	crypto_random(record.id, DIR_ID_LEN);
	int r = bind_to(s, record.epoch, record.id, parent, lower, record.binding[0]);
	if (r < 0)
		return r;
	pack(&record, text);
	r = reach_enter(s, fd, &reach);
	return r < 0 ? r : s->lower->ops->symlinkat(s->lower, text, fd, RECORD, NULL);
}

/* Atomically: the record is at every moment the old or the new one. */
static int replace_record(const struct store *s, int fd, const char *text)
{
	const struct lower_ops *o = s->lower->ops;
	AUTO_REACH reach = {0};
	struct stat st;
	int r = reach_enter(s, fd, &reach);
	if (r < 0)
		return r;
	r = o->fstat(s->lower, fd, &st);
	if (r < 0)
		return r;
	r = o->symlinkat(s->lower, text, fd, RECORD_NEW, NULL);
	if (r == -EEXIST) {
		r = o->unlinkat(s->lower, fd, RECORD_NEW, 0);
		if (r == 0)
			r = o->symlinkat(s->lower, text, fd, RECORD_NEW, NULL);
	}
	if (r < 0)
		return r;
	r = o->renameat(s->lower, fd, RECORD_NEW, fd, RECORD, 0);
	if (r < 0)
		(void)o->unlinkat(s->lower, fd, RECORD_NEW, 0);
	/* An application did not touch this directory: its times are not ours to change. */
	(void)o->futimens(s->lower, fd, (const struct timespec[2]){st.st_atim, st.st_mtim});
	return r;
}

int dir_rebind(struct dir *d, const struct dir *parent, const char *lower,
	const struct dir *second_parent, const char *second_lower)
{
	struct record record = {.epoch = d->epoch, .bindings = second_parent ? 2 : 1};
	char text[DIR_RECORD_MAX];
	memcpy(record.id, d->id, DIR_ID_LEN);
	int r = bind_to(d->store, d->epoch, d->id, parent, lower, record.binding[0]);
	if (r == 0 && second_parent)
		r = bind_to(
			d->store, d->epoch, d->id, second_parent, second_lower, record.binding[1]);
	if (r < 0)
		return r;
	pack(&record, text);
	return replace_record(d->store, d->fd, text);
}

/*
 * A lower directory is removed or replaced only when nothing is in it, `.dir` neither. What is not
 * in it is lost with it and not before: an attribute of its inode keeps the record meanwhile, and
 * the times that taking it out changes. So a crash before the lower rmdir or rename leaves the
 * directory that it was.
 */
static int keep_record(const struct store *s, int fd, const struct record *record)
{
	struct lower *l = s->lower;
	uint8_t kept[KEPT_MAX];
	struct stat st;
	int r = l->ops->fstat(l, fd, &st);
	if (r < 0)
		return r;
	bytes_put64(kept, (uint64_t)st.st_mtim.tv_sec);
	bytes_put32(kept + 8, (uint32_t)st.st_mtim.tv_nsec);
	pack_bytes(record, kept + KEPT_HEAD);
	return l->ops->fsetxattr(l, fd, KEPT, kept, KEPT_HEAD + packed_len(record), 0);
}

/* -ENODATA: there is none. */
static int read_kept(
	const struct store *s, int fd, struct record *ret_record, struct timespec *ret_mtime)
{
	struct lower *l = s->lower;
	uint8_t kept[KEPT_MAX];
	ssize_t n = l->ops->fgetxattr(l, fd, KEPT, kept, sizeof(kept));
	if (n < 0)
		return n == -EOPNOTSUPP ? -ENODATA : n == -ERANGE ? -EBADMSG : (int)n;
	if (n <= KEPT_HEAD || !parse_bytes(kept + KEPT_HEAD, n - KEPT_HEAD, ret_record))
		return -EBADMSG;
	ret_mtime->tv_sec = (time_t)bytes_get64(kept);
	ret_mtime->tv_nsec = (long)bytes_get32(kept + 8);
	return 0;
}

/* Of a directory that stays: it has its record again, or still. What fails here leaves a time that
 * is wrong, and an attribute that nobody looks at. */
static void let_kept_go(const struct store *s, int fd)
{
	struct lower *l = s->lower;
	struct record record;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	if (read_kept(s, fd, &record, &times[1]) == 0)
		(void)l->ops->futimens(l, fd, times);
	(void)l->ops->fremovexattr(l, fd, KEPT);
}

static int clear(const struct store *s, int fd, bool keep, char ret_record[static DIR_RECORD_MAX])
{
	struct record record;
	char text[DIR_RECORD_MAX];
	AUTO_REACH reach = {0};
	int r = reach_enter(s, fd, &reach);
	if (r < 0)
		return r;
	ssize_t len = read_text(s, fd, text);
	if (len < 0)
		return (int)len;
	if (!parse(text, (size_t)len, &record))
		return -EBADMSG;
	r = only_internal(s, fd, false);
	if (r <= 0)
		return r == 0 ? -ENOTEMPTY : r;
	r = keep ? keep_record(s, fd, &record) : 0;
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	r = only_internal(s, fd, true);
	if (r > 0)
		r = s->lower->ops->unlinkat(s->lower, fd, RECORD, 0);
	if (r < 0 && keep)
		let_kept_go(s, fd);
	if (r == 0)
		pack(&record, ret_record);
	return r;
}

int dir_clear(struct dir *d, bool keep, char ret_record[static DIR_RECORD_MAX])
{
	return clear(d->store, d->fd, keep, ret_record);
}

static int put_back(const struct store *s, int fd, const char *record)
{
	AUTO_REACH reach = {0};
	int r = reach_enter(s, fd, &reach);
	if (r == 0)
		r = s->lower->ops->symlinkat(s->lower, record, fd, RECORD, NULL);
	if (r == 0)
		let_kept_go(s, fd);
	return r;
}

int dir_restore(struct dir *d, const char *record)
{
	return put_back(d->store, d->fd, record);
}

static int dir_new(const struct store *s, int fd, const struct record *record, struct dir **ret)
{
	const struct secret *nmk = keyring_nmk(s->keys, record->epoch);
	struct dir *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->name_key = crypto_derive(nmk, "name", record->id, DIR_ID_LEN, 64);
	if (!d->name_key) {
		free(d);
		return -ENOMEM;
	}
	d->store = s;
	d->fd = fd;
	d->epoch = record->epoch;
	d->refs = 1;
	memcpy(d->id, record->id, DIR_ID_LEN);
	lock_init(&d->lock, LOCK_DIR);
	*ret = d;
	return 0;
}

/* What open_once found besides a good directory. */
enum { OPEN_GOOD, OPEN_TWO_BINDINGS, OPEN_NO_RECORD, OPEN_BAD_RECORD, OPEN_FOREIGN };

static const char *const open_words[] = {
	[OPEN_NO_RECORD] = "it has content but no record",
	[OPEN_BAD_RECORD] = "its record is damaged or of an unknown epoch",
	[OPEN_FOREIGN] = "it is not bound to the place where it stands",
};

static int check_record(const struct store *s, const struct record *record,
	const struct dir *parent, const char *lower)
{
	uint8_t expected[BINDING_LEN];
	int r = bind_to(s, record->epoch, record->id, parent, lower, expected);
	if (r < 0)
		return r == -EBADMSG ? OPEN_BAD_RECORD : r;
	for (int i = 0; i < record->bindings; i++)
		if (crypto_equal(expected, record->binding[i], BINDING_LEN))
			return record->bindings == 1 ? OPEN_GOOD : OPEN_TWO_BINDINGS;
	return OPEN_FOREIGN;
}

/* OPEN_* or -errno. *ret for OPEN_GOOD and OPEN_TWO_BINDINGS only. */
static int open_once(const struct store *s, const struct dir *parent, const char *lower,
	struct dir **ret, uint64_t *ret_ino)
{
	struct lower *l = s->lower;
	struct record record;
	struct stat st;
	char text[DIR_RECORD_MAX];
	AUTO_LOWER_HELD at = {l, l->ops->openat(l, parent ? parent->fd : s->root_fd,
					 parent ? lower : ".", O_PATH | O_DIRECTORY, 0, NULL)};
	if (at.fd < 0)
		return at.fd;
	int r = l->ops->fstat(l, at.fd, &st);
	if (r < 0)
		return r;
	*ret_ino = st.st_ino;
	ssize_t len = read_text(s, at.fd, text);
	if (len < 0)
		return len == -ENOENT    ? OPEN_NO_RECORD
		       : len == -EBADMSG ? OPEN_BAD_RECORD
					 : (int)len;
	if (!parse(text, (size_t)len, &record))
		return OPEN_BAD_RECORD;
	int found = check_record(s, &record, parent, lower);
	if (found != OPEN_GOOD && found != OPEN_TWO_BINDINGS)
		return found;
	r = dir_new(s, at.fd, &record, ret);
	if (r < 0)
		return r;
	at.fd = -1; /* the directory's now */
	return found;
}

/* The record that a removal which was cut short had taken out comes back. OPEN_*, or -errno. */
static int undo_removal(const struct dir *parent, const char *lower, int fd)
{
	const struct store *s = parent->store;
	struct record record;
	struct timespec mtime;
	char text[DIR_RECORD_MAX];
	int r = read_kept(s, fd, &record, &mtime);
	if (r < 0)
		return r == -EBADMSG ? OPEN_BAD_RECORD : r;
	int found = check_record(s, &record, parent, lower);
	if (found != OPEN_GOOD && found != OPEN_TWO_BINDINGS)
		return found;
	pack(&record, text);
	return put_back(s, fd, text);
}

/* A mkdir that was cut short, or a removal: only an empty directory may get a record. OPEN_GOOD
 * when it has one now, another OPEN_*, or -errno. */
static int give_record(const struct dir *parent, const char *lower)
{
	const struct store *s = parent->store;
	AUTO_LOWER_HELD at = {s->lower,
		s->lower->ops->openat(s->lower, parent->fd, lower, O_PATH | O_DIRECTORY, 0, NULL)};
	AUTO_REACH reach = {0};
	if (at.fd < 0)
		return at.fd;
	int r = reach_enter(s, at.fd, &reach);
	if (r < 0)
		return r;
	r = only_internal(s, at.fd, false);
	if (r == 0)
		return OPEN_NO_RECORD;
	if (r > 0)
		r = undo_removal(parent, lower, at.fd);
	return r == -ENODATA ? dir_init(s, at.fd, parent, lower) : r;
}

/*
 * With the parent's lock, so that no mkdir, rename or rmdir of ours is half done: what is wrong now
 * is wrong. A record that a crash left with two bindings gets back to the one that holds.
 */
static int open_locked(struct dir *parent, const char *lower, struct dir **ret, uint64_t *ret_ino)
{
	int found = open_once(parent->store, parent, lower, ret, ret_ino);
	if (found == OPEN_NO_RECORD) {
		int r = give_record(parent, lower);
		if (r != 0)
			return r;
		found = open_once(parent->store, parent, lower, ret, ret_ino);
	}
	if (found == OPEN_TWO_BINDINGS) {
		/* On a read-only lower filesystem it stays with two, which is no worse than after
		 * the crash. */
		int r = dir_rebind(*ret, parent, lower, NULL, NULL);
		(void)r;
		found = OPEN_GOOD;
	}
	return found;
}

static int finish_open(const struct store *s, int found, uint64_t ino)
{
	if (found <= OPEN_GOOD)
		return found;
	return store_alarm(s, &(struct store_alarm){.what = "directory",
				      .detail = open_words[found],
				      .lower_ino = ino,
				      .block = UINT64_MAX});
}

int dir_open_root(const struct store *s, struct dir **ret)
{
	uint64_t ino = 0;
	struct dir *d = NULL;
	int found = open_once(s, NULL, "", &d, &ino);
	if (found == OPEN_TWO_BINDINGS) {
		/* The root never moves. */
		dir_put(d);
		found = OPEN_FOREIGN;
	}
	int r = finish_open(s, found, ino);
	if (r == 0)
		*ret = d;
	return r;
}

int dir_open(struct dir *parent, const char *lower, struct dir **ret)
{
	uint64_t ino = 0;
	struct dir *d = NULL;
	int found = open_once(parent->store, parent, lower, &d, &ino);
	if (found > OPEN_GOOD) {
		dir_put(d);
		d = NULL;
		lock_take(&parent->lock);
		found = open_locked(parent, lower, &d, &ino);
		lock_drop(&parent->lock);
	}
	int r = finish_open(parent->store, found, ino);
	if (r == 0)
		*ret = d;
	return r;
}

int dir_sync(const struct dir *d, bool data_only)
{
	struct lower *l = d->store->lower;
	if (store_is_read_only(d->store))
		return -EIO;
	return store_flushed(
		d->store, "the flush of a directory", l->ops->fsync(l, d->fd, data_only));
}

struct dir *dir_get(struct dir *d)
{
	__atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
	return d;
}

void dir_put(struct dir *d)
{
	if (!d || __atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	d->store->lower->ops->close(d->store->lower, d->fd);
	lock_done(&d->lock);
	secret_free(d->name_key);
	free(d);
}
