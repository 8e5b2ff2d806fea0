#include "fs/store/file_internal.h"

#include <errno.h>
#include <string.h>

/* True unless the slot is blank or holds wraps of the newest epoch: what else is in it may be an
 * old wrap. */
static bool slot_is_old(const struct file *f, unsigned slot)
{
	struct format_header h;
	int rc = format_header_parse(f->slots[slot], &h);
	return rc != -ENODATA && (rc || h.epoch != keyring_kek_epoch(f->store->keys));
}

/*
 * One slot after the other, each durable before the next is touched: whatever happens in between
 * one of them is whole. The set hash and its mask are the old ones; only wraps, epoch and commit
 * version change.
 */
static int write_slots(struct file *f)
{
	struct format_header h = f->h;
	h.commits++;
	uint8_t slot[FORMAT_SLOT_LEN];
	format_header_pack(&h, f->keys.mac, slot);
	for (unsigned i = 0; i < 2; i++) {
		unsigned at = i ? f->slot : !f->slot;
		int rc =
			file_lower_write_all(f, slot, sizeof(slot), (uint64_t)at * FORMAT_SLOT_LEN);
		if (!rc)
			rc = file_lower_sync(f, true);
		if (rc)
			return rc;
	}
	return 0;
}

static int rewrap(struct file *f, struct file_fault *ft)
{
	struct lower *l = f->store->lower;
	struct stat st;
	int rc = l->ops->fstat(l, f->fd, &st);
	if (rc < 0)
		return rc;
	f->ino = st.st_ino;
	f->lower_len = (uint64_t)st.st_size;
	rc = file_header_load(f, ft);
	if (rc)
		return rc;
	if (!f->has_header || (!slot_is_old(f, 0) && !slot_is_old(f, 1)))
		return 1;
	rc = file_header_open_xk(f);
	if (!rc)
		rc = file_header_wrap(f->store, &f->h, f->keys.fek, f->xk);
	if (!rc)
		rc = write_slots(f);
	if (rc)
		return rc;
	/* Nothing that a user did: the modification time stays. */
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
	rc = l->ops->futimens(l, f->write_fd, times);
	return rc == -EPERM || rc == -EACCES ? 0 : rc;
}

int file_rewrap(const struct store *s, int fd)
{
	struct file *f;
	struct file_fault ft = FILE_FAULT_NONE;
	int rc = file_new(s, &f);
	if (rc)
		return rc;
	f->fd = f->write_fd = fd;
	rc = rewrap(f, &ft);
	struct store_alarm alarm = {
		ft.what, ft.detail, f->has_header ? f->h.file_id : NULL, f->ino, ft.block};
	if (rc == -EBADMSG)
		rc = store_alarm(s, &alarm);
	f->fd = f->write_fd = -1; /* borrowed */
	file_free(f);
	return rc;
}
