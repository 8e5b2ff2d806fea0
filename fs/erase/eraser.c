/* docs/erase.md, "Procedure for a file", steps 3 to 7. */
#include "fs/erase/eraser.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool out_of_space(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

static enum trash_assurance worse(enum trash_assurance a, enum trash_assurance b)
{
	return a > b ? a : b;
}

int eraser_overwrite(const struct assurance *assurance, const struct overwrite *o, int fd,
	struct trash_receipt *ret)
{
	struct overwrite_result done = {0};
	int r = overwrite_file(o, fd, &done);
	/* Where every write takes new space, a full disk must still be emptied; the old bytes would
	 * have stayed anyhow. */
	bool gave_up = out_of_space(r) && !assurance->in_place;
	memcpy(ret->file_id, done.file_id, sizeof(ret->file_id));
	ret->bytes = done.bytes;
	ret->method = "overwritten";
	ret->assurance = assurance->level;
	ret->error = gave_up ? 0 : r;
	if (done.unmapped)
		ret->assurance = worse(ret->assurance, TRASH_C);
	if (done.elsewhere || gave_up) {
		ret->method = "key destroyed";
		ret->assurance = TRASH_C;
	} else if (done.never_on_disk) {
		ret->method = "never on disk";
		ret->assurance = TRASH_A;
	}
	return ret->error;
}

/* ERASER_ERASED when it is a regular file's last link and must be overwritten. */
static int drop_unless_last(struct eraser *e, const char *name)
{
	struct lower *l = e->lower;
	struct stat st;
	lock_take(&e->links);
	int r = l->ops->fstatat(l, e->trash_fd, name, &st);
	if (r == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
		r = ERASER_ERASED;
	else if (r == 0)
		r = l->ops->unlinkat(l, e->trash_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	lock_drop(&e->links);
	return r == -ENOENT ? ERASER_DROPPED : r;
}

/* An ordinary user's own file may be closed even to its owner; in the trash the mode serves nobody
 * any more. */
static int open_writable(struct eraser *e, const char *name)
{
	struct lower *l = e->lower;
	/* Without O_NONBLOCK somebody who swaps the name for a fifo could hold the thread for ever.
	 */
	const int flags = O_RDWR | O_NONBLOCK | O_NOCTTY;
	int fd = l->ops->openat(l, e->trash_fd, name, flags, 0, NULL);
	if (fd != -EACCES)
		return fd;
	int r = l->ops->fchmodat(l, e->trash_fd, name, 0600);
	return r < 0 ? r : l->ops->openat(l, e->trash_fd, name, flags, 0, NULL);
}

static int overwrite_name(struct eraser *e, const struct overwrite *o, const char *name,
	bool settle, struct trash_receipt *ret, bool *ret_elsewhere)
{
	struct lower *l = e->lower;
	struct stat st;
	int fd = open_writable(e, name);
	if (fd < 0)
		return fd;
	/* The removal changed the inode too, so its own fsync carries it (ext4 and xfs journal both
	 * in one transaction). */
	int r = settle ? l->ops->fsync(l, fd, false) : 0;
	if (r == 0)
		r = l->ops->fstat(l, fd, &st);
	if (r == 0 && e->begin && e->begin(e->context, st.st_ino))
		*ret_elsewhere = true;
	if (r == 0)
		r = eraser_overwrite(&e->assurance, o, fd, ret);
	int closed = l->ops->close(l, fd);
	return r < 0 ? r : closed;
}

int eraser_run(struct eraser *e, const struct overwrite *o, const char *name, bool settle,
	struct trash_receipt *ret, bool *ret_elsewhere)
{
	*ret = (struct trash_receipt){.method = "overwritten", .assurance = e->assurance.level};
	int r = drop_unless_last(e, name);
	if (r == ERASER_ERASED) {
		r = overwrite_name(e, o, name, settle, ret, ret_elsewhere);
		if (r == 0)
			return ERASER_ERASED;
	}
	ret->error = r;
	return r;
}

int eraser_free(struct eraser *e, const char *name, int outcome, struct trash_receipt *ret)
{
	if (outcome != ERASER_ERASED)
		return outcome;
	int r = e->lower->ops->unlinkat(e->lower, e->trash_fd, name, 0);
	if (r == 0)
		return ERASER_ERASED;
	ret->error = r;
	return r;
}
