/*
 * The keyring on disk (docs/format.md, "Updating a keyring"). The names in the key directory are
 * TENANT.json, TENANT.json.new while it is written, and trash/TENANT.json: a second link of the
 * file that is being replaced, so that its bytes can be overwritten after it has lost its name.
 */
#include "keymgmt/base/io.h"
#include "keymgmt/keyring_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

struct place {
	int dirfd;    /* of the key directory, readable */
	int trash_fd; /* of its trash */
	char live[80], fresh[80];
};

static void place_done(struct place *p)
{
	cleanup_close(&p->dirfd); /* releases the lock */
	cleanup_close(&p->trash_fd);
}
#define PLACE_NONE                                                                                 \
	{                                                                                          \
		.dirfd = -1, .trash_fd = -1                                                        \
	}

/* Opens and locks the directory: nobody must finish another one's update while it runs. */
static int place_open(int dirfd, const char *tenant, bool create_trash, struct place *ret)
{
	snprintf(ret->live, sizeof(ret->live), "%s.json", tenant);
	snprintf(ret->fresh, sizeof(ret->fresh), "%s.json.new", tenant);
	ret->dirfd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->dirfd < 0)
		return -errno;
	while (flock(ret->dirfd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	if (create_trash && mkdirat(ret->dirfd, "trash", 0700) < 0 && errno != EEXIST)
		return -errno;
	ret->trash_fd =
		openat(ret->dirfd, "trash", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (ret->trash_fd < 0 && (create_trash || errno != ENOENT))
		return -errno;
	return 0;
}

/* Overwrites dirfd/name and removes it. -ENOENT when there is none. */
static int shred(int dirfd, const char *name)
{
	AUTO_CLOSE fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = io_shred(fd);
	if (r < 0)
		return r;
	if (unlinkat(dirfd, name, 0) < 0 || fsync(dirfd) < 0)
		return -errno;
	return 0;
}

/* Does what an interrupted update left to be done. */
static int finish(const struct place *p)
{
	struct stat live, old;
	int r = shred(p->dirfd, p->fresh);
	if (r < 0 && r != -ENOENT)
		return r;
	if (p->trash_fd < 0 || fstatat(p->trash_fd, p->live, &old, AT_SYMLINK_NOFOLLOW) < 0)
		return p->trash_fd < 0 || errno == ENOENT ? 0 : -errno;
	/* Without a live file, the one in trash may be the last copy: that is for a person to
	 * decide. */
	if (fstatat(p->dirfd, p->live, &live, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (live.st_ino != old.st_ino || live.st_dev != old.st_dev)
		return shred(p->trash_fd, p->live);
	if (unlinkat(p->trash_fd, p->live, 0) < 0 || fsync(p->trash_fd) < 0)
		return -errno;
	return 0;
}

static int read_live(const struct place *p, struct buf *text, uint8_t ret_hash[static 32])
{
	int r = io_read_file(p->dirfd, p->live, KEYRING_FILE_MAX, text);
	if (r < 0)
		return r;
	crypto_digest(text->data, text->len, ret_hash, 32);
	return 0;
}

int keyring_load(int dirfd, const struct keyring_owner *owner, struct keyring **ret, struct err *e)
{
	AUTO(place_done) struct place p = PLACE_NONE;
	AUTO_BUF text = {0};
	AUTO(keyring_auto) struct keyring *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	int r = place_open(dirfd, owner->tenant, false, &p);
	if (r < 0)
		return err_set(e, r, "The key directory cannot be opened: %s.", strerror(-r));
	r = finish(&p);
	/* Where nothing can be written, reading still can. */
	if (r < 0 && r != -EROFS && r != -EACCES)
		return err_set(e, r, "An interrupted change of the keyring cannot be finished: %s.",
			strerror(-r));
	r = read_live(&p, &text, k->file_hash);
	if (r == -ENOENT)
		return err_set(e, r,
			"There is no keyring for tenant %s in the key directory; name the right "
			"one with --keys.",
			owner->tenant);
	if (r == -EFBIG || r == -EINVAL)
		return err_set(e, -EBADMSG,
			"The keyring is damaged (not a file of its size); restore it from an "
			"escrow copy.");
	if (r < 0)
		return err_set(e, r, "The keyring cannot be read: %s.", strerror(-r));
	r = keyring_json_parse(k, owner, text.data, text.len, e);
	if (r < 0)
		return r;
	k->on_disk = true;
	*ret = k;
	k = NULL;
	return 0;
}

static int write_fresh(const struct place *p, const struct buf *text, const struct stat *old)
{
	AUTO_CLOSE fd = openat(
		p->dirfd, p->fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* root working on somebody's keys must not lock him out of them */
	if (old && old->st_uid != geteuid() && fchown(fd, old->st_uid, old->st_gid) < 0)
		return -errno;
	int r = io_write_full(fd, text->data, text->len);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

/* Puts the text in the place of the live file, if any. *ret_live: it is there, whatever failed
 * after. */
static int replace(const struct place *p, const struct buf *text, bool exists, bool *ret_live)
{
	struct stat old;
	if (exists) {
		if (fstatat(p->dirfd, p->live, &old, AT_SYMLINK_NOFOLLOW) < 0 ||
			linkat(p->dirfd, p->live, p->trash_fd, p->live, 0) < 0 ||
			fsync(p->trash_fd) < 0)
			return -errno;
	}
	int r = write_fresh(p, text, exists ? &old : NULL);
	if (r < 0)
		return r;
	if (renameat(p->dirfd, p->fresh, p->dirfd, p->live) < 0)
		return -errno;
	*ret_live = true;
	if (fsync(p->dirfd) < 0)
		return -errno;
	return exists ? shred(p->trash_fd, p->live) : 0;
}

/* That the live file is the one this keyring came from. */
static int check_unchanged(const struct place *p, const struct keyring *k, struct err *e)
{
	AUTO_BUF now = {0};
	uint8_t hash[32];
	int r = read_live(p, &now, hash);
	if (r == -ENOENT && !k->on_disk)
		return 0;
	if (r == 0 && !k->on_disk)
		return err_set(e, -EEXIST,
			"There is a keyring for tenant %s already; it is left as it is.",
			k->owner.tenant);
	if (r == -ENOENT || (r == 0 && memcmp(hash, k->file_hash, sizeof(hash)) != 0))
		return err_set(e, -ESTALE,
			"The keyring was changed by another command meanwhile; try again.");
	return r < 0 ? err_set(e, r, "The keyring cannot be read: %s.", strerror(-r)) : 0;
}

int keyring_store(struct keyring *k, int dirfd, struct err *e)
{
	AUTO(place_done) struct place p = PLACE_NONE;
	AUTO_BUF text = {0};
	bool live = false;
	if (!k->trk || !keyring_slot_any_known(json_object_get(k->doc, "slots")))
		return err_set(
			e, -ENOKEY, "The keyring is not open, or has no slot that opens it.");
	int r = keyring_json_dump(k, k->generation + 1, &text);
	if (r == 0 && text.len > KEYRING_FILE_MAX)
		r = -EFBIG;
	if (r < 0)
		return err_set(e, r, "The keyring could not be put together.");
	r = place_open(dirfd, k->owner.tenant, true, &p);
	if (r < 0)
		return err_set(
			e, r, "The key directory cannot be opened for writing: %s.", strerror(-r));
	r = finish(&p);
	if (r < 0)
		return err_set(e, r, "An interrupted change of the keyring cannot be finished: %s.",
			strerror(-r));
	r = check_unchanged(&p, k, e);
	if (r < 0)
		return r;
	r = replace(&p, &text, k->on_disk, &live);
	if (r < 0 && !live && finish(&p) < 0) {
		/* What is left over is harmless, and the next load or store tries again. */
	}
	if (live) {
		k->generation++;
		k->on_disk = true;
		crypto_digest(text.data, text.len, k->file_hash, sizeof(k->file_hash));
		if (r < 0)
			return err_set(e, r,
				"The new keyring is in place, but the old one could not be "
				"overwritten (%s): "
				"the next command that uses it tries again.",
				strerror(-r));
	}
	return r < 0 ? err_set(e, r, "The keyring could not be written and is as it was: %s.",
			       strerror(-r))
		     : 0;
}

int keyring_dump(const struct keyring *k, struct buf *b)
{
	return k->trk ? keyring_json_dump(k, k->generation, b) : -ENOKEY;
}
