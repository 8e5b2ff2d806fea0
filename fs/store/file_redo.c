#include "fs/store/file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* What a checkpoint does with a file. The gate is closed for everybody else. */

bool file_redo_may_pass(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT || rc == -EINTR || rc == -ENOMEM || rc == -EROFS ||
	       rc == -EACCES || rc == -EFBIG;
}

int file_redo_commit(struct file *f)
{
	if (f->forgotten)
		return 0;
	int rc = file_commit_now(f, 0);
	/* One that cannot be committed now, or not at all, is no reason not to commit the others,
	 * unless there is a part of it in the journal. */
	return file_redo_may_pass(rc) && !f->last ? 0 : rc;
}

int file_redo_apply(struct file *f)
{
	struct lower *l = f->store->lower;
	struct stat st;
	uint64_t want = block_map_length(f->h.size);
	/* When cutting it failed: the length tells the size to whoever does not open the file. */
	bool cut = f->has_header && f->write_fd >= 0 && f->lower_len > want && !file_commit_owes(f);
	if (f->forgotten || f->dirty || (!f->staged_count && !cut))
		return 0;
	int rc = l->ops->fstat(l, f->fd, &st);
	if (rc < 0)
		return rc;
	rc = file_stage_apply(f);
	if (!rc && cut)
		rc = file_lower_resize(f, want);
	f->unsynced = f->inode_unsynced = true;
	/* Nothing that a user did: the modification time stays, and the set-id bits, which the
	 * kernel takes away when anybody but root writes, also where only a part was written. Who
	 * changes them takes the file's lock. */
	const struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT}, f->time_behind ? file_modified(f) : st.st_mtim};
	int set = l->ops->futimens(l, f->write_fd, times);
	if (set == -EPERM || set == -EACCES)
		set = 0;
	f->time_behind = f->time_behind && set;
	if (!rc)
		rc = set;
	if (rc >= 0 && !f->store->as_root && st.st_mode & (S_ISUID | S_ISGID))
		rc = l->ops->fchmod(l, f->fd, st.st_mode & 07777);
	return rc;
}
