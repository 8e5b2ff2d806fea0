#include "fs/store/file_internal.h"

#include "keymgmt/base/buf.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Then what lies behind the end must not be freed as it is. */
bool file_commit_owes(struct file *f)
{
	return f->owes || (f->store->journal && journal_concerns(f->store->journal, f->h.file_id));
}

/*
 * Fresh data is in place already. Then tag pages and presence pages, a longer lower length, page 0
 * with the header, a shorter lower length. Without a redo journal this is the order on the disk:
 * whoever is killed in between leaves a header whose lower file is long enough. Header and tags of
 * group 0 go in one write of one page, which a kill does not split.
 */
static int write_state(struct file *f, unsigned flags)
{
	int rc = file_tags_flush(f);
	if (!rc)
		rc = file_presence_flush(f);
	uint64_t want = block_map_length(f->h.size);
	/* A file without page 0 gets it whole or not at all: never a blank one. */
	if (!rc && f->lower_len < want && want > BLOCK_MAP_BLOCK)
		rc = file_lower_resize(f, want);
	if (!rc)
		rc = file_header_write(f, flags);
	if (!rc && f->lower_len > want && !f->ahead && !(flags & FILE_COMMIT_LONG) &&
		!file_commit_owes(f))
		rc = file_lower_resize(f, want);
	return rc;
}

static void committed(struct file *f, unsigned flags, uint64_t sequence)
{
	file_stage_logged(f);
	file_tags_committed(f);
	f->fresh_count = 0;
	f->reserved = 0;
	f->last = sequence;
	if (flags & FILE_COMMIT_HARD)
		f->hard = sequence;
}

/* What was put somewhere becomes a record. */
static int log_state(struct file *f, unsigned flags, const struct timespec *modified,
	const struct journal_erase *e, uint64_t *ret_token)
{
	AUTO_BUF text = {0};
	const struct journal_commit c = {
		f->h.commits, block_map_length(f->h.size), flags & FILE_COMMIT_HARD};
	uint64_t sequence;
	int rc = flags & FILE_COMMIT_HARD && f->unsynced ? file_lower_sync(f, true) : 0;
	if (rc)
		return rc;
	/* First: it takes away what older records have for these blocks, not what this one has. */
	if (e)
		journal_format_put_erase(&text, e);
	size_t begun = journal_format_begin_commit(
		&text, f->h.file_id, f->ino, &c, modified, f->fresh, f->fresh_count);
	file_stage_log(f, &text);
	journal_format_end_commit(&text, begun);
	if (!buf_ok(&text))
		return -ENOMEM;
	struct journal_record r = {.text = &text,
		.sectors = f->reserved,
		.erasures = e ? f->erasures : 0,
		.erase = e,
		.ino = f->ino};
	memcpy(r.file_id, f->h.file_id, sizeof(r.file_id));
	rc = redo_append(f->store, &r, &sequence, ret_token);
	if (rc == -ENOMEM) /* the next one will be as long */
		return rc;
	f->reserved = 0;
	if (e)
		f->erasures = 0;
	if (!rc)
		committed(f, flags, sequence);
	return rc;
}

/* Nothing of it may be freed as it was. */
static void owe(struct file *f, const struct journal_erase *e)
{
	if (!e || e == &f->owed)
		return;
	struct journal_erase all = *e;
	if (f->owes) {
		all.first = f->owed.first < e->first ? f->owed.first : e->first;
		all.end = f->owed.end > e->end ? f->owed.end : e->end;
		all.keep_space = f->owed.keep_space && e->keep_space;
	}
	f->owed = all;
	f->owes = true;
}

static struct timespec modified_before(const struct file *f, const struct stat *st)
{
	if (f->keeps_time)
		return f->kept;
	return f->time_behind ? file_modified(f) : st->st_mtim;
}

static int commit(
	struct file *f, unsigned flags, const struct journal_erase *e, uint64_t *ret_token)
{
	struct lower *l = f->store->lower;
	bool logs = f->store->redo && !(flags & FILE_COMMIT_FIRST);
	uint64_t lower_len = f->lower_len;
	int rc = file_lower_writable(f);
	if (rc)
		return rc;
	/* The application's last word on the modification time is older than this call: keep it. */
	struct stat st;
	rc = l->ops->fstat(l, f->fd, &st);
	if (rc < 0)
		return rc;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, modified_before(f, &st)};
	const bool touch = flags & FILE_COMMIT_TOUCH && !f->keeps_time;
	if (touch && clock_gettime(CLOCK_REALTIME, &times[1]) < 0)
		return -EIO;
	f->h.modified_ns = (uint64_t)times[1].tv_sec * 1000000000u + (uint64_t)times[1].tv_nsec;
	rc = write_state(f, logs ? flags | FILE_COMMIT_LONG : flags);
	/* The older state's length must be there until this one cannot be lost any more. */
	bool shrinks = !rc && logs && !f->ahead && f->lower_len > block_map_length(f->h.size) &&
		       !(flags & FILE_COMMIT_LONG) && !file_commit_owes(f);
	if (shrinks)
		flags |= FILE_COMMIT_HARD;
	bool in_place = !logs || f->fresh_count || f->unsynced;
	if (!rc && logs)
		rc = log_state(f, flags, &times[1], e, ret_token);
	/* Nothing but the disk says which homes it has once it is closed. */
	if (!rc && !f->store->redo && f->home_went)
		rc = file_lower_sync(f, true);
	if (!rc && !f->store->redo)
		f->home_went = 0;
	if (!rc && shrinks)
		rc = redo_flush(f->store, f->hard);
	if (!rc && shrinks)
		rc = file_lower_resize(f, block_map_length(f->h.size));
	if (!rc && !touch && !in_place && f->lower_len == lower_len) {
		/* Nothing was done to the lower file: nothing makes its fsync one more flush. */
		f->time_behind = times[1].tv_sec != st.st_mtim.tv_sec ||
				 times[1].tv_nsec != st.st_mtim.tv_nsec;
		f->dirty = f->owes = f->redo_only = false;
		return 0;
	}
	f->time_behind = false;
	int set = l->ops->futimens(l, f->write_fd, times);
	/* Only the owner and root may set times; with others the lower file's own must do. */
	if (touch && (set == -EPERM || set == -EACCES)) {
		times[1].tv_nsec = UTIME_NOW;
		set = l->ops->futimens(l, f->write_fd, times);
	}
	if (rc)
		return rc;
	f->dirty = f->owes = f->redo_only = false;
	return set < 0 && set != -EPERM && set != -EACCES ? set : 0;
}

int file_commit_erasing(
	struct file *f, unsigned flags, const struct journal_erase *e, uint64_t *ret_token)
{
	/* The next mount does what is owed, and this one with it: nobody here overwrites both. */
	if (f->owes) {
		owe(f, e);
		e = &f->owed;
		ret_token = NULL;
		flags |= FILE_COMMIT_LONG;
	}
	int rc = commit(f, flags, e, ret_token);
	if (f->dirty) { /* it failed */
		f->redo_only = true;
		owe(f, e);
	}
	return rc;
}

int file_commit_time(struct file *f)
{
	struct lower *l = f->store->lower;
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, file_modified(f)};
	int rc = l->ops->futimens(l, f->write_fd, times);
	f->time_behind = false;
	return rc == -EPERM || rc == -EACCES ? 0 : rc;
}

int file_commit_now(struct file *f, unsigned flags)
{
	return f->dirty ? file_commit_erasing(f, flags, NULL, NULL) : 0;
}
