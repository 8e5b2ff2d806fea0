#include "fs/store/file_internal.h"

#include <errno.h>
#include <time.h>

/* Then what lies behind the end must not be freed as it is. */
bool file_commit_owes(struct file *f)
{
	return f->store->journal && journal_concerns(f->store->journal, f->h.file_id);
}

/*
 * Data is in place already. Then tag pages and presence pages, a longer lower length, page 0 with
 * the header, a shorter lower length: whoever is killed in between leaves a header whose lower file
 * is long enough. Header and tags of group 0 go in one write of one page, which a kill does not
 * split.
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
		rc = file_header_write(f, flags & FILE_COMMIT_BOTH);
	if (!rc && f->lower_len > want && !(flags & FILE_COMMIT_LONG) && !file_commit_owes(f))
		rc = file_lower_resize(f, want);
	return rc;
}

int file_commit_now(struct file *f, unsigned flags)
{
	if (!f->dirty)
		return 0;
	struct lower *l = f->store->lower;
	int rc = file_lower_writable(f);
	if (rc)
		return rc;
	/* The application's last word on the modification time is older than this call: keep it. */
	struct stat st;
	rc = l->ops->fstat(l, f->fd, &st);
	if (rc < 0)
		return rc;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, f->keeps_time ? f->kept : st.st_mtim};
	if (flags & FILE_COMMIT_TOUCH)
		f->keeps_time = false;
	if (flags & FILE_COMMIT_TOUCH && clock_gettime(CLOCK_REALTIME, &times[1]) < 0)
		return -EIO;
	f->h.modified_ns = (uint64_t)times[1].tv_sec * 1000000000u + (uint64_t)times[1].tv_nsec;
	rc = write_state(f, flags);
	if (flags & FILE_COMMIT_TOUCH)
		times[1].tv_nsec = UTIME_NOW;
	/* Only the owner and root may set times; with others the lower file's own must do. */
	int set = l->ops->futimens(l, f->write_fd, times);
	if (rc)
		return rc;
	f->dirty = false;
	return set < 0 && set != -EPERM && set != -EACCES ? set : 0;
}
