#include "fs/store/file_internal.h"

#include "fs/erase/trash.h"
#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int file_fault_set(struct file_fault *ft, const char *what, const char *detail, uint64_t block)
{
	*ft = (struct file_fault){what, detail, block};
	return -EBADMSG;
}

int file_new(const struct store *s, struct file **ret)
{
	struct file *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->store = s;
	f->fd = f->write_fd = -1;
	f->slot = 1;
	atomic_init(&f->refs, 1);
	lock_rw_init(&f->lock, LOCK_FILE, false);
	lock_init(&f->cache_lock, LOCK_FILE_CACHE);
	*ret = f;
	return 0;
}

void file_free(struct file *f)
{
	struct lower *l = f->store->lower;
	if (f->write_fd >= 0 && f->write_fd != f->fd)
		(void)l->ops->close(l, f->write_fd);
	if (f->fd >= 0)
		(void)l->ops->close(l, f->fd);
	file_header_forget(f);
	file_tags_free(f);
	file_presence_free(f);
	file_stage_free(f);
	free(f->fresh);
	free(f->scratch);
	lock_rw_done(&f->lock);
	lock_done(&f->cache_lock);
	free(f);
}

int file_finish(struct file *f, int rc, const struct file_fault *ft)
{
	if (rc == -EBADMSG) {
		struct store_alarm alarm = {ft->what, ft->detail,
			f->has_header ? f->h.file_id : NULL, f->ino, ft->block};
		rc = store_alarm(f->store, &alarm);
	}
	return rc;
}

int file_begin(struct file *f, size_t text, unsigned erasures)
{
	uint64_t sectors = journal_room(text + FILE_COMMIT_TEXT + JOURNAL_FORMAT_FRESH_LEN);
	int rc = redo_enter(f->store, sectors, erasures);
	if (rc)
		return rc;
	lock_rw_write(&f->lock);
	if (f->store->redo) {
		f->reserved += sectors;
		f->erasures += erasures;
	}
	return 0;
}

void file_end(struct file *f)
{
	const struct store *s = f->store;
	if (s->redo) {
		uint64_t wanted =
			f->dirty ? journal_room((size_t)f->promised + FILE_COMMIT_TEXT) : 0;
		if (wanted > f->reserved)
			wanted = f->reserved;
		journal_unreserve(s->journal, f->reserved - wanted, f->erasures);
		f->reserved = wanted;
		f->erasures = 0;
		if ((f->dirty || f->unsynced || f->inode_unsynced || f->staged_count ||
			    f->last > f->hard) &&
			!f->forgotten)
			redo_list(f);
	}
	lock_rw_drop(&f->lock);
	redo_leave(s);
}

int file_create(struct dir *d, const struct name *n, mode_t mode, const struct lower_cred *cred,
	struct file **ret, struct stat *ret_st)
{
	struct lower *l = d->store->lower;
	struct file *f;
	int rc = file_new(d->store, &f);
	if (rc)
		return rc;
	lock_take(&d->lock);
	rc = name_prepare(d, n);
	if (rc >= 0)
		rc = l->ops->openat(
			l, d->fd, n->lower, O_RDWR | O_CREAT | O_EXCL, mode & 07777, cred);
	if (rc >= 0) {
		f->fd = f->write_fd = rc;
		rc = l->ops->fstat(l, f->fd, ret_st);
		if (rc < 0)
			(void)l->ops->unlinkat(l, d->fd, n->lower, 0);
	}
	if (rc < 0 && rc != -EEXIST)
		name_forget(d, n->lower);
	lock_drop(&d->lock);
	if (rc < 0) {
		file_free(f);
		return rc;
	}
	f->ino = ret_st->st_ino;
	file_home_count(f, d->id);
	*ret = f;
	return 0;
}

int file_open(struct dir *d, const char *lower, struct file **ret)
{
	struct file *f;
	struct file_fault ft = FILE_FAULT_NONE;
	int rc = file_new(d->store, &f);
	if (rc)
		return rc;
	rc = file_lower_open(f, d, lower);
	struct file *listed = rc ? NULL : redo_find(d->store, f->ino);
	if (listed) { /* it was closed a moment ago */
		file_free(f);
		rc = file_check_home(listed, d);
		if (rc)
			file_put(listed);
		else
			*ret = listed;
		return rc;
	}
	if (!rc)
		rc = file_header_load(f, &ft);
	if (!rc)
		rc = file_home_check(f, d->id, &ft);
	if (rc) {
		rc = file_finish(f, rc, &ft);
		file_free(f);
		return rc;
	}
	if (f->has_header)
		file_home_single(f, d->id);
	else
		file_home_count(f, d->id);
	*ret = f;
	return 0;
}

int file_check_home(struct file *f, const struct dir *d)
{
	struct file_fault ft = FILE_FAULT_NONE;
	lock_rw_write(&f->lock);
	int rc = file_home_check(f, d->id, &ft);
	if (!f->has_header && !file_home_find(f, d->id))
		file_home_count(f, d->id);
	lock_rw_drop(&f->lock);
	return file_finish(f, rc, &ft);
}

struct file *file_get(struct file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

/* Its names went while it was empty, then it was written to: nobody else will erase that. */
static bool is_nameless(const struct file *f)
{
	struct lower *l = f->store->lower;
	struct stat st;
	return f->has_header && f->write_fd >= 0 && l->ops->fstat(l, f->fd, &st) >= 0 &&
	       !st.st_nlink;
}

static void erase_nameless(struct file *f)
{
	struct trash_receipt receipt = {0};
	int rc = trash_overwrite(f->store->lower, f->write_fd, &receipt);
	if (rc < 0)
		log_say(LOG_LEVEL_ERROR, "a file without a name could not be erased: %s",
			strerror(-rc));
}

/* Nothing of it will be seen again. */
static void forget(struct file *f)
{
	file_stage_drop(f, 0, UINT64_MAX);
	f->dirty = f->unsynced = f->inode_unsynced = false;
	f->promised = 0;
	f->forgotten = true;
}

/* What a reference that is gone leaves. */
enum let_go { LET_OTHERS, LET_LISTED, LET_FREE };

static enum let_go drop(struct file *f)
{
	bool listed = false;
	bool last = f->store->redo
			    ? redo_drop(f, &listed)
			    : atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1;
	return !last ? LET_OTHERS : listed ? LET_LISTED : LET_FREE;
}

/* The last one commits, or forgets. */
static enum let_go let_go(struct file *f, bool dies)
{
	lock_rw_write(&f->lock);
	bool dirty = f->dirty, settles = f->ahead || f->time_behind;
	/* Nothing of the page cache comes any more, and who sets times now does not come by here.
	 */
	if (!dirty) {
		f->keeps_time = false;
		file_io_scratch_free(f);
	}
	lock_rw_drop(&f->lock);
	if (!dirty && !settles && !dies)
		return drop(f);
	/* Without room there is no journal any more: what was not committed is lost, and said. */
	int rc = file_begin(f, 0, 0);
	bool begun = !rc;
	if (begun && dies)
		forget(f);
	else if (begun)
		rc = f->ahead ? file_ride_stop(f) : file_commit_now(f, 0);
	if (begun && !dies && !rc && f->time_behind)
		rc = file_commit_time(f);
	if (begun && !rc)
		f->keeps_time = false;
	if (rc && (begun || f->dirty))
		log_say(LOG_LEVEL_ERROR, "a file could not be committed at its close: %s",
			strerror(-rc));
	if (begun && dies && f->store->redo)
		redo_unlist(f);
	/* It may wait for a checkpoint with thousands of others. */
	if (begun) {
		file_io_scratch_free(f);
		file_end(f);
	}
	return drop(f);
}

void file_put(struct file *f)
{
	unsigned refs = atomic_load_explicit(&f->refs, memory_order_relaxed);
	while (refs > 1)
		if (atomic_compare_exchange_weak_explicit(
			    &f->refs, &refs, refs - 1, memory_order_acq_rel, memory_order_relaxed))
			return;
	const struct store *s = f->store;
	char trash_name[sizeof(f->trash_name)];
	memcpy(trash_name, f->trash_name, sizeof(trash_name));
	bool nameless = !trash_name[0] && is_nameless(f);
	/* As long as the eraser has not begun, a power cut may undo a removal. */
	enum let_go left = let_go(f, nameless);
	if (left == LET_FREE && nameless)
		erase_nameless(f);
	if (left == LET_FREE)
		file_free(f);
	if (left != LET_OTHERS && trash_name[0] && s->trash)
		trash_erase(s->trash, trash_name, -1);
}

ssize_t file_read(struct file *f, void *bytes, size_t len, uint64_t offset)
{
	struct file_fault ft = FILE_FAULT_NONE;
	lock_rw_read(&f->lock);
	ssize_t n = file_io_read(f, bytes, len, offset, &ft);
	lock_rw_drop(&f->lock);
	return n < 0 ? file_finish(f, (int)n, &ft) : n;
}

/* At most so much of a write at a time, for each of which room in the journal is kept. */
#define WRITE_STEP ((size_t)FILE_RUN_BLOCKS * BLOCK_MAP_BLOCK)

static ssize_t write_some(
	struct file *f, const uint8_t *bytes, size_t len, uint64_t offset, struct file_fault *ft)
{
	int rc = file_begin(f, file_io_text(offset, len), 0);
	if (rc)
		return rc;
	ssize_t n = file_io_write(f, bytes, len, offset, ft);
	/* Nothing grows without end: neither the next record nor what waits for it. */
	if (f->promised > FILE_PROMISED_MAX || f->fresh_count > FILE_FRESH_MAX) {
		rc = file_commit_now(f, 0);
		if (rc)
			n = rc;
	}
	file_end(f);
	return n;
}

ssize_t file_write(struct file *f, const void *bytes, size_t len, uint64_t offset)
{
	struct file_fault ft = FILE_FAULT_NONE;
	uint64_t end;
	if (__builtin_add_overflow(offset, len, &end) || end > BLOCK_MAP_SIZE_MAX)
		return -EFBIG;
	size_t done = 0;
	do {
		size_t n = WRITE_STEP - (size_t)((offset + done) % BLOCK_MAP_BLOCK);
		if (n > len - done)
			n = len - done;
		ssize_t got = write_some(f, (const uint8_t *)bytes + done, n, offset + done, &ft);
		if (got < 0)
			return done ? (ssize_t)done : file_finish(f, (int)got, &ft);
		done += (size_t)got;
		if ((size_t)got < n)
			break;
	} while (done < len);
	return (ssize_t)done;
}

/* The blocks at both edges, the tag pages that change, a presence page, and for holes of whole
 * groups one more. */
#define SIZE_TEXT (8 * FILE_STAGE_TEXT)

int file_truncate(struct file *f, uint64_t size)
{
	struct file_fault ft = FILE_FAULT_NONE;
	int rc = file_begin(f, SIZE_TEXT, 1);
	if (rc)
		return rc;
	f->keeps_time = false;
	rc = file_size_set(f, size, &ft);
	file_end(f);
	return file_finish(f, rc, &ft);
}

int file_commit(struct file *f)
{
	int rc = file_begin(f, 0, 0);
	if (rc)
		return rc;
	rc = file_commit_now(f, 0);
	file_end(f);
	return rc;
}

int file_settle_length(struct file *f)
{
	lock_rw_read(&f->lock);
	bool longer = f->has_header && f->lower_len > block_map_length(f->h.size);
	lock_rw_drop(&f->lock);
	if (!longer)
		return 0;
	int rc = file_begin(f, 0, 0);
	if (rc)
		return rc;
	if (f->has_header && f->lower_len > block_map_length(f->h.size) && !file_commit_owes(f) &&
		!f->dirty) {
		f->dirty = true;
		rc = file_commit_now(f, 0);
		rc = rc ? rc : 1;
	}
	file_end(f);
	return rc;
}

int file_stat(struct file *f, struct stat *ret)
{
	struct lower *l = f->store->lower;
	lock_rw_read(&f->lock);
	int rc = l->ops->fstat(l, f->fd, ret);
	if (rc >= 0) {
		rc = 0;
		ret->st_size = (off_t)f->h.size;
		ret->st_blksize = BLOCK_MAP_BLOCK;
		if (f->dirty && f->keeps_time)
			ret->st_mtim = f->kept;
		else if (f->time_behind)
			ret->st_mtim = file_modified(f);
		if (f->trash_name[0] && ret->st_nlink)
			ret->st_nlink--;
	}
	lock_rw_drop(&f->lock);
	return rc;
}

void file_id(struct file *f, uint8_t ret[FILE_ID_LEN])
{
	lock_rw_read(&f->lock);
	memcpy(ret, f->h.file_id, FILE_ID_LEN);
	lock_rw_drop(&f->lock);
}

int file_fd(const struct file *f)
{
	return f->fd;
}

int file_set_mode(struct file *f, mode_t mode)
{
	struct lower *l = f->store->lower;
	lock_rw_write(&f->lock);
	int rc = l->ops->fchmod(l, f->fd, mode & 07777);
	lock_rw_drop(&f->lock);
	return rc;
}

const struct store *file_store(const struct file *f)
{
	return f->store;
}

void file_set_trashed(struct file *f, const char *trash_name)
{
	lock_rw_write(&f->lock);
	snprintf(f->trash_name, sizeof(f->trash_name), "%s", trash_name);
	lock_rw_drop(&f->lock);
}

static void keep_time(struct file *f)
{
	struct stat st;
	struct lower *l = f->store->lower;
	f->keeps_time = l->ops->fstat(l, f->fd, &st) >= 0;
	if (f->keeps_time)
		f->kept = f->time_behind ? file_modified(f) : st.st_mtim;
}

int file_set_times(struct file *f, const struct timespec ts[2])
{
	struct lower *l = f->store->lower;
	int rc = file_begin(f, 0, 0);
	if (rc)
		return rc;
	/* Content still in memory would move the time again when it is written. */
	rc = file_commit_now(f, 0);
	if (!rc)
		rc = l->ops->utimensat(l, f->fd, "", ts);
	if (!rc && ts[1].tv_nsec != UTIME_OMIT) {
		f->time_behind = false;
		if (f->keeps_time)
			keep_time(f);
	}
	file_end(f);
	if (!rc)
		redo_times(f->store, f->ino, ts);
	return rc;
}

int file_tell_time(struct file *f, const struct timespec *modified)
{
	const struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, *modified};
	lock_rw_write(&f->lock);
	bool later = f->dirty && f->keeps_time && f->store->redo && f->write_fd >= 0;
	if (later)
		f->kept = *modified;
	lock_rw_drop(&f->lock);
	return later ? 0 : file_set_times(f, ts);
}

void file_keep_time(struct file *f, bool keep)
{
	lock_rw_write(&f->lock);
	if (keep && !f->keeps_time)
		keep_time(f);
	else if (!keep)
		f->keeps_time = false;
	lock_rw_drop(&f->lock);
}

int file_xattr_key(struct file *f, const struct secret **ret)
{
	struct file_fault ft = {"header", "the wrapped xattr key does not open", UINT64_MAX};
	int rc = file_begin(f, 0, 0);
	if (rc)
		return rc;
	rc = file_header_make(f);
	if (!rc)
		rc = file_header_open_xk(f);
	if (!rc)
		*ret = f->xk;
	file_end(f);
	return file_finish(f, rc, &ft);
}
