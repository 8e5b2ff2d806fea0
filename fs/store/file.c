#include "fs/store/file_internal.h"

#include "fs/erase/trash.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

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
	pthread_rwlock_init(&f->lock, NULL);
	pthread_mutex_init(&f->cache_lock, NULL);
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
	free(f->scratch);
	pthread_rwlock_destroy(&f->lock);
	pthread_mutex_destroy(&f->cache_lock);
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

static struct format_home *home_find(struct file *f, const uint8_t dir_id[static DIR_ID_LEN])
{
	for (size_t i = 0; i < FORMAT_HOMES; i++)
		if (f->h.homes[i].names && !memcmp(f->h.homes[i].dir_id, dir_id, DIR_ID_LEN))
			return &f->h.homes[i];
	return NULL;
}

static void home_add(struct file *f, const uint8_t dir_id[static DIR_ID_LEN])
{
	struct format_home *home = home_find(f, dir_id);
	for (size_t i = 0; !home && i < FORMAT_HOMES; i++)
		if (!f->h.homes[i].names)
			home = &f->h.homes[i];
	if (!home) {
		f->h.flags |= FORMAT_MANY_HOMES;
		return;
	}
	memcpy(home->dir_id, dir_id, DIR_ID_LEN);
	if (home->names < UINT32_MAX)
		home->names++;
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
	home_add(f, d->id);
	*ret = f;
	return 0;
}

static int check_home(
	struct file *f, const uint8_t dir_id[static DIR_ID_LEN], struct file_fault *ft)
{
	if (!f->has_header || f->h.flags & FORMAT_MANY_HOMES || home_find(f, dir_id))
		return 0;
	return file_fault_set(ft, "home", "a file was moved here behind our back", UINT64_MAX);
}

/* A file with one name left has one home, however many it had: the one that it is opened in. */
static void single_home(struct file *f, const uint8_t dir_id[static DIR_ID_LEN])
{
	struct stat st;
	struct lower *l = f->store->lower;
	if (!(f->h.flags & FORMAT_MANY_HOMES) || f->write_fd < 0 ||
		l->ops->fstat(l, f->fd, &st) < 0 || st.st_nlink != 1)
		return;
	memset(f->h.homes, 0, sizeof(f->h.homes));
	f->h.flags &= (uint8_t)~FORMAT_MANY_HOMES;
	home_add(f, dir_id);
	f->dirty = true;
}

int file_open(struct dir *d, const char *lower, struct file **ret)
{
	struct file *f;
	struct file_fault ft = FILE_FAULT_NONE;
	int rc = file_new(d->store, &f);
	if (rc)
		return rc;
	rc = file_lower_open(f, d, lower);
	if (!rc)
		rc = file_header_load(f, &ft);
	if (!rc)
		rc = check_home(f, d->id, &ft);
	if (rc) {
		rc = file_finish(f, rc, &ft);
		file_free(f);
		return rc;
	}
	if (f->has_header)
		single_home(f, d->id);
	else
		home_add(f, d->id);
	*ret = f;
	return 0;
}

int file_check_home(struct file *f, const struct dir *d)
{
	struct file_fault ft = FILE_FAULT_NONE;
	pthread_rwlock_wrlock(&f->lock);
	int rc = check_home(f, d->id, &ft);
	if (!f->has_header && !home_find(f, d->id))
		home_add(f, d->id);
	pthread_rwlock_unlock(&f->lock);
	return file_finish(f, rc, &ft);
}

struct file *file_get(struct file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

/* Its names went while it was empty, then it was written to: nobody else will erase that. */
static void erase_nameless(struct file *f)
{
	struct lower *l = f->store->lower;
	struct stat st;
	struct trash_receipt receipt = {0};
	if (!f->has_header || f->write_fd < 0 || l->ops->fstat(l, f->fd, &st) < 0 || st.st_nlink)
		return;
	int rc = trash_overwrite(l, f->write_fd, &receipt);
	if (rc < 0)
		log_say(LOG_LEVEL_ERROR, "a file without a name could not be erased: %s",
			strerror(-rc));
}

void file_put(struct file *f)
{
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	const struct store *s = f->store;
	char trash_name[sizeof(f->trash_name)];
	memcpy(trash_name, f->trash_name, sizeof(trash_name));
	if (!trash_name[0]) {
		int rc = file_commit_now(f, 0);
		if (rc)
			log_say(LOG_LEVEL_ERROR, "a file could not be committed at its close: %s",
				strerror(-rc));
		erase_nameless(f);
	}
	file_free(f);
	if (trash_name[0] && s->trash)
		trash_erase(s->trash, trash_name, -1);
}

ssize_t file_read(struct file *f, void *bytes, size_t len, uint64_t offset)
{
	struct file_fault ft = FILE_FAULT_NONE;
	pthread_rwlock_rdlock(&f->lock);
	ssize_t n = file_io_read(f, bytes, len, offset, &ft);
	pthread_rwlock_unlock(&f->lock);
	return n < 0 ? file_finish(f, (int)n, &ft) : n;
}

ssize_t file_write(struct file *f, const void *bytes, size_t len, uint64_t offset)
{
	struct file_fault ft = FILE_FAULT_NONE;
	pthread_rwlock_wrlock(&f->lock);
	ssize_t n = file_io_write(f, bytes, len, offset, &ft);
	pthread_rwlock_unlock(&f->lock);
	return n < 0 ? file_finish(f, (int)n, &ft) : n;
}

int file_truncate(struct file *f, uint64_t size)
{
	struct file_fault ft = FILE_FAULT_NONE;
	pthread_rwlock_wrlock(&f->lock);
	int rc = file_size_set(f, size, &ft);
	pthread_rwlock_unlock(&f->lock);
	return file_finish(f, rc, &ft);
}

int file_commit(struct file *f)
{
	pthread_rwlock_wrlock(&f->lock);
	int rc = file_commit_now(f, 0);
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

int file_sync(struct file *f, bool data_only)
{
	pthread_rwlock_wrlock(&f->lock);
	int rc = f->fsync_failed ? -EIO : file_commit_now(f, 0);
	if (!rc)
		rc = file_lower_sync(f, data_only);
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

int file_settle_length(struct file *f)
{
	pthread_rwlock_wrlock(&f->lock);
	int rc = 0;
	if (f->has_header && f->lower_len > block_map_length(f->h.size) && !file_commit_owes(f)) {
		f->dirty = true;
		rc = file_commit_now(f, 0);
		rc = rc ? rc : 1;
	}
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

int file_stat(struct file *f, struct stat *ret)
{
	struct lower *l = f->store->lower;
	pthread_rwlock_rdlock(&f->lock);
	int rc = l->ops->fstat(l, f->fd, ret);
	if (rc >= 0) {
		rc = 0;
		ret->st_size = (off_t)f->h.size;
		ret->st_blksize = BLOCK_MAP_BLOCK;
		if (f->trash_name[0] && ret->st_nlink)
			ret->st_nlink--;
	}
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

void file_id(struct file *f, uint8_t ret[FILE_ID_LEN])
{
	pthread_rwlock_rdlock(&f->lock);
	memcpy(ret, f->h.file_id, FILE_ID_LEN);
	pthread_rwlock_unlock(&f->lock);
}

int file_fd(const struct file *f)
{
	return f->fd;
}

int file_set_mode(struct file *f, mode_t mode)
{
	struct lower *l = f->store->lower;
	pthread_rwlock_wrlock(&f->lock);
	int rc = l->ops->fchmod(l, f->fd, mode & 07777);
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

const struct store *file_store(const struct file *f)
{
	return f->store;
}

int file_home_add(struct file *f, const uint8_t dir_id[DIR_ID_LEN])
{
	pthread_rwlock_wrlock(&f->lock);
	struct format_header old = f->h;
	home_add(f, dir_id);
	int rc = 0;
	if (f->has_header) {
		bool dirty = f->dirty;
		f->dirty = true;
		rc = file_commit_now(f, 0);
		if (!rc)
			rc = file_lower_sync(f, true);
		if (rc) {
			memcpy(f->h.homes, old.homes, sizeof(old.homes));
			f->h.flags = old.flags;
			f->dirty = f->dirty || dirty;
		}
	}
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

int file_home_remove(struct file *f, const uint8_t dir_id[DIR_ID_LEN])
{
	pthread_rwlock_wrlock(&f->lock);
	struct format_home *home = home_find(f, dir_id);
	/* A power cut that brings the name back must find its home: what became of the name first.
	 * It changed the inode, whose fsync therefore carries it. */
	int rc = home && f->has_header ? file_lower_sync(f, false) : 0;
	if (home && !rc) {
		home->names--;
		if (!home->names)
			memset(home, 0, sizeof(*home));
		f->dirty = f->has_header;
		rc = file_commit_now(f, 0);
	}
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

void file_set_trashed(struct file *f, const char *trash_name)
{
	pthread_rwlock_wrlock(&f->lock);
	snprintf(f->trash_name, sizeof(f->trash_name), "%s", trash_name);
	pthread_rwlock_unlock(&f->lock);
}

static void keep_time(struct file *f)
{
	struct stat st;
	struct lower *l = f->store->lower;
	f->keeps_time = l->ops->fstat(l, f->fd, &st) >= 0;
	if (f->keeps_time)
		f->kept = st.st_mtim;
}

int file_set_times(struct file *f, const struct timespec ts[2])
{
	struct lower *l = f->store->lower;
	pthread_rwlock_wrlock(&f->lock);
	/* Content still in memory would move the time again when it is written. */
	int rc = file_commit_now(f, 0);
	if (!rc)
		rc = l->ops->utimensat(l, f->fd, "", ts);
	if (!rc && f->keeps_time && ts[1].tv_nsec != UTIME_OMIT)
		keep_time(f);
	pthread_rwlock_unlock(&f->lock);
	return rc;
}

void file_keep_time(struct file *f, bool keep)
{
	pthread_rwlock_wrlock(&f->lock);
	if (keep && !f->keeps_time)
		keep_time(f);
	else if (!keep)
		f->keeps_time = false;
	pthread_rwlock_unlock(&f->lock);
}

int file_xattr_key(struct file *f, const struct secret **ret)
{
	struct file_fault ft = {"header", "the wrapped xattr key does not open", UINT64_MAX};
	pthread_rwlock_wrlock(&f->lock);
	int rc = file_header_make(f);
	if (!rc)
		rc = file_header_open_xk(f);
	if (!rc)
		*ret = f->xk;
	pthread_rwlock_unlock(&f->lock);
	return file_finish(f, rc, &ft);
}
