/* A directory of the tree: its record `.dir`, its binding to parent and name, its name key. */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include "fs/store/store.h"

#define DIR_ID_LEN 16

/* Reference-counted; everything but the count and what `lock` guards is constant once opened. */
struct dir {
	const struct store *store; /* borrowed */
	int fd;                    /* O_PATH | O_DIRECTORY, owned */
	uint8_t id[DIR_ID_LEN];
	uint16_t epoch;          /* of the name master key */
	struct secret *name_key; /* 64 bytes, AES-256-SIV */
	struct lock_mutex lock;  /* additions, removals and the emptiness check of this directory */
	bool tidied;             /* by tree_tidy; guarded by lock */
	unsigned refs;           /* atomic */
};

/* Text of a record with two bindings, and its zero byte (docs/format.md, "Directories"). */
#define DIR_RECORD_MAX 69

/* The tenant's root directory. -EBADMSG (after an alarm) when its record does not verify. */
MUST_USE int dir_open_root(const struct store *s, struct dir **ret);
/*
 * The directory `lower` of parent: reads `.dir`, checks that one of its bindings is to this parent
 * and name. An empty one without `.dir` is initialised (mkdir cut short) or gets back the one that
 * it had (rmdir cut short). -ENOENT, -ENOTDIR, -EBADMSG after an alarm.
 */
MUST_USE int dir_open(struct dir *parent, const char *lower, struct dir **ret);
struct dir *dir_get(struct dir *d);
void dir_put(struct dir *d);
static inline void dir_auto(struct dir **d)
{
	dir_put(*d);
}
/*
 * Writes a fresh `.dir` into the empty lower directory fd: for mkdir, and for the root (parent
 * NULL, lower ""). -EEXIST when it has one. The parent's lock is held.
 */
MUST_USE int dir_init(const struct store *s, int fd, const struct dir *parent, const char *lower);
/*
 * Replaces the record of d by one bound to (parent, lower) and, when second_parent is given, to
 * that too. Times stay. The lock of the directory d lies in is held. On failure the old record
 * stands.
 */
MUST_USE int dir_rebind(struct dir *d, const struct dir *parent, const char *lower,
	const struct dir *second_parent, const char *second_lower);
/*
 * Makes d ready to be removed: orphan sidecars and then the record go; ret_record is its text.
 * keep: until the directory is gone an attribute of it holds the record, from which dir_open puts
 * it back after a crash (nothing is kept where the lower filesystem has no attributes). -ENOTEMPTY
 * when anything else is in it; -EBADMSG without alarm: its record is none; -ENOSPC, -EDQUOT: no
 * room for the attribute. d->lock and that of its parent are held. On failure the record is as
 * before.
 */
MUST_USE int dir_clear(struct dir *d, bool keep, char ret_record[static DIR_RECORD_MAX]);
/* fsync or fdatasync of the directory: its names and attributes are durable. -EIO too once the
 * store is read-only; a failure makes it so. */
MUST_USE int dir_sync(const struct dir *d, bool data_only);
/* d stays after all: the record that dir_clear took away, and its modification time. 0, or -errno
 * of the lower call. */
MUST_USE int dir_restore(struct dir *d, const char *record);

#endif
