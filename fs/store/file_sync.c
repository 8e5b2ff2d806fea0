#include "fs/store/file_internal.h"

#include "keymgmt/base/buf.h"

#include <errno.h>
#include <linux/magic.h>
#include <time.h>

/* Whether fsync must flush the lower inode: names, owner, mode, attributes may have changed since
 * it did, and whatever did it moved the change time, to a value that its clock gives but once. */
static bool inode_is_clean(const struct file *f, const struct stat *st)
{
	return f->clean_ctime.tv_sec && st->st_ctim.tv_sec == f->clean_ctime.tv_sec &&
	       st->st_ctim.tv_nsec == f->clean_ctime.tv_nsec;
}

/*
 * How long after a change another one may get the same change time: no longer than the clock stands
 * still that our kernel stamps with, where it stamps to the nanosecond. Others may round, or have
 * another machine's clock; some know seconds alone, which shows by what is missing, FAT two.
 */
static int64_t stamp_step(const struct file *f, const struct stat *st)
{
	struct lower *l = f->store->lower;
	if (!st->st_ctim.tv_nsec)
		return 2500000000;
	switch (l->ops->fs_type(l, f->fd)) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return 0;
	default:
		return 20000000;
	}
}

static int sync_inode(struct file *f)
{
	struct lower *l = f->store->lower;
	struct timespec now;
	struct stat st;
	int rc = l->ops->fstat(l, f->fd, &st);
	if (rc < 0 || inode_is_clean(f, &st))
		return rc < 0 ? rc : 0;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	rc = file_lower_sync(f, false);
	int64_t age = ((int64_t)now.tv_sec - st.st_ctim.tv_sec) * 1000000000 + now.tv_nsec -
		      st.st_ctim.tv_nsec;
	if (!rc)
		f->clean_ctime = age > stamp_step(f, &st) ? st.st_ctim : (struct timespec){0};
	return rc;
}

/* Committed, data durable, and known to be so in the journal; that is not flushed yet. */
static int sync_hard(struct file *f, bool data_only)
{
	AUTO_BUF text = {0};
	const struct store *s = f->store;
	int rc = f->fsync_failed ? -EIO : 0;
	if (!rc && !s->redo) {
		rc = file_commit_now(f, 0);
		return rc ? rc : file_lower_sync(f, data_only);
	}
	if (!rc && !data_only)
		rc = sync_inode(f);
	if (!rc)
		rc = file_commit_now(f, FILE_COMMIT_HARD);
	if (!rc && f->unsynced)
		rc = file_lower_sync(f, true);
	if (rc || f->last <= f->hard)
		return rc;
	journal_format_put_mark(&text, f->h.file_id, f->ino, f->last, false);
	const struct journal_record r = {.text = &text};
	uint64_t sequence;
	rc = buf_ok(&text) ? redo_append(s, &r, &sequence, NULL) : -ENOMEM;
	if (!rc)
		f->hard = f->last = sequence;
	return rc;
}

int file_sync(struct file *f, bool data_only)
{
	int rc = file_begin(f, 0, 0);
	if (rc)
		return rc;
	rc = sync_hard(f, data_only);
	uint64_t hard = f->hard;
	/* A time that was set since must not be taken back by what is older in the journal. */
	if (!data_only && f->store->redo && journal_touches(f->store->journal, f->ino, NULL))
		hard = journal_sequence(f->store->journal);
	/* The flush is waited for without the file's lock: one serves all who wait. */
	lock_rw_drop(&f->lock);
	if (!rc && f->store->redo && hard)
		rc = redo_flush(f->store, hard);
	lock_rw_write(&f->lock);
	if (!rc)
		file_ride_synced(f);
	file_end(f);
	return rc;
}
