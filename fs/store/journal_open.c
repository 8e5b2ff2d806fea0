#include "fs/store/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

static int identify(struct journal *j, struct stat *ret)
{
	struct statvfs fs;
	int rc = j->l->ops->fstat(j->l, j->fd, ret);
	if (rc >= 0)
		rc = j->l->ops->fstatvfs(j->l, j->fd, &fs);
	if (rc < 0)
		return rc;
	j->ino = ret->st_ino;
	j->fsid = fs.f_fsid;
	return 0;
}

int journal_create(struct lower *l, int tenant_fd, const struct keyring *keys, uint64_t bytes)
{
	struct stat st;
	const size_t chunk = 1u << 20;
	AUTO_FREE uint8_t *noise = malloc(chunk);
	AUTO(journal_auto) struct journal *j = journal_new(l, keys);
	AUTO_SECRET *key = secret_random(KEY_LEN);
	if (!noise || !j || !key)
		return -ENOMEM;
	j->fd = l->ops->openat(l, tenant_fd, "journal", O_WRONLY | O_CREAT | O_EXCL, 0600, NULL);
	if (j->fd < 0)
		return j->fd;
	int rc = identify(j, &st);
	for (uint64_t at = 0; !rc && at < bytes;) {
		size_t n = bytes - at < chunk ? (size_t)(bytes - at) : chunk;
		crypto_random(noise, n);
		rc = lower_write_all(l, j->fd, noise, n, at);
		at += n;
	}
	if (rc)
		return rc;
	struct journal_super s = {.epoch = 1,
		.size = bytes,
		.sequence = 1,
		.clean = true,
		.suite = keyring_suite(keys)};
	rc = journal_write_supers(j, &s, key);
	return rc ? rc : l->ops->fsync(l, j->fd, false);
}

/* The better of both slots: one that does not read is as one that is damaged. -EBADMSG,
 * -EPROTONOSUPPORT, or an errno of reading. */
static int read_super(struct journal *j)
{
	int worst = -EBADMSG;
	for (unsigned i = 0; i < 4; i++) {
		uint8_t slot[JOURNAL_FORMAT_SECTOR];
		struct journal_super s;
		AUTO_SECRET *key = NULL;
		AUTO_SECRET *subkey = keyring_mdk_subkey(j->keys, "journal", i >= 2);
		if (!subkey && i >= 2 && !keyring_mdk_retires(j->keys))
			break;
		if (!subkey)
			return -ENOMEM;
		int rc = lower_read_all(j->l, j->fd, slot, sizeof(slot),
			i % 2 * (uint64_t)JOURNAL_FORMAT_SUPER_STEP);
		if (!rc && journal_format_generation(slot) > j->seen)
			j->seen = journal_format_generation(slot);
		if (!rc)
			rc = journal_format_super_open(
				slot, keyring_owner(j->keys), subkey, &s, &key);
		if (rc && rc != -EBADMSG && rc != -EKEYREJECTED && rc != -EPROTONOSUPPORT &&
			rc != -EIO)
			return rc;
		if (rc == -EIO)
			j->unread |= (uint8_t)(1u << i % 2);
		if (rc == -EPROTONOSUPPORT || (rc == -EIO && worst == -EBADMSG))
			worst = rc;
		if (rc || (j->key && s.generation <= j->super.generation))
			continue;
		secret_free(j->key);
		j->key = key;
		key = NULL;
		j->super = s;
	}
	return j->key ? 0 : worst;
}

/* The record that stands there: 1 and its sectors, 0 when there is none. */
static int read_record(struct journal *j, const struct journal_place *at, struct buf *text,
	uint64_t *ret_sectors, uint64_t *ret_durable)
{
	uint8_t first[JOURNAL_FORMAT_SECTOR];
	struct journal_head head;
	int rc = journal_transfer(j, at->sector, first, 1, false);
	if (rc)
		return rc;
	if (!journal_format_is_sector(at, 0, first, first))
		return 0;
	rc = journal_format_head(first, &head);
	if (rc)
		return rc;
	uint64_t sectors = journal_format_sectors(head.len);
	if (sectors > j->ring - j->used)
		return -EBADMSG;
	AUTO_FREE uint8_t *bytes = malloc((size_t)sectors * JOURNAL_FORMAT_SECTOR);
	if (!bytes)
		return -ENOMEM;
	rc = journal_transfer(j, at->sector, bytes, sectors, false);
	for (uint64_t i = 0; !rc && i < sectors; i++)
		if (!journal_format_is_sector(at, i, bytes + i * JOURNAL_FORMAT_SECTOR, bytes))
			return 0; /* the power failed before it was whole */
	if (!rc)
		rc = journal_format_open(j->super.suite, j->key, at, bytes, head.len, text);
	*ret_sectors = sectors;
	*ret_durable = head.durable;
	return rc ? rc : 1;
}

/* Whether a sector behind the last record begins one that was written when the one that is missing
 * at the head was durable. 1, 0, -EIO, -ENOMEM. */
static int is_witness(struct journal *j, uint64_t sector, const uint8_t *bytes)
{
	AUTO_BUF text = {0};
	struct journal_head head;
	uint64_t sectors, durable;
	if (journal_format_head(bytes, &head) || head.epoch != j->super.epoch ||
		head.sequence <= j->sequence || head.durable <= j->sequence)
		return 0;
	const struct journal_place at = {head.epoch, head.sequence, sector, j->ring};
	int rc = read_record(j, &at, &text, &sectors, &durable);
	return rc == -EBADMSG ? 0 : rc;
}

/* In so many sectors; one that does not read is none: it may have been in the midst of being
 * written when the power failed. As is_witness. */
static int find_witness(struct journal *j, uint64_t at, uint64_t count, uint8_t *bytes)
{
	int whole = journal_transfer(j, at, bytes, count, false);
	if (whole && whole != -EIO)
		return whole;
	for (uint64_t i = 0; i < count; i++) {
		uint8_t *sector = bytes + i * JOURNAL_FORMAT_SECTOR;
		uint64_t number = (at + i) % j->ring;
		int rc = whole ? journal_transfer(j, number, sector, 1, false) : 0;
		if (!rc)
			rc = is_witness(j, number, sector);
		if (rc && rc != -EIO)
			return rc;
	}
	return 0;
}

/*
 * The records end at the head. A power cut may have left that one cut and a later one whole, as
 * long as neither was durable; but if it was, it is the disk that lost it. -EUCLEAN then.
 */
static int check_end(struct journal *j)
{
	const uint64_t chunk = 2048;
	AUTO_FREE uint8_t *bytes = malloc((size_t)chunk * JOURNAL_FORMAT_SECTOR);
	if (!bytes)
		return -ENOMEM;
	for (uint64_t left = j->ring - j->used, at = j->head, n; left; left -= n) {
		n = left < chunk ? left : chunk;
		int rc = find_witness(j, at, n, bytes);
		if (rc)
			return rc < 0 ? rc : -EUCLEAN;
		at = (at + n) % j->ring;
	}
	return 0;
}

/* An entry as it was found, for whoever recovers. */
static int keep(struct journal *j, const struct journal_entry *e)
{
	if (j->entry_count == j->entry_room) {
		size_t room = j->entry_room ? 2 * j->entry_room : 64;
		struct journal_entry *more = reallocarray(j->entries, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		j->entries = more;
		j->entry_room = room;
	}
	j->entries[j->entry_count++] = *e;
	return 0;
}

/* *ret_last: it is a recovery's, and nothing comes behind it. */
static int read_entries(struct journal *j, const struct buf *text, bool *ret_last)
{
	struct journal_entry e;
	struct cur c = {text->data, text->data + text->len};
	int rc;
	while ((rc = journal_format_next(&c, &e)) > 0) {
		e.sequence = j->sequence;
		*ret_last = *ret_last || (e.kind == JOURNAL_MARK && e.decision);
		rc = keep(j, &e);
		if (!rc && e.kind == JOURNAL_ERASE) {
			rc = journal_add_pending(j, &e.erase);
			j->listed++;
		} else if (!rc && e.kind == JOURNAL_COMMIT) {
			rc = journal_touch(j, e.ino, e.file_id);
		}
		if (rc)
			return rc == -ENOSPC ? -EBADMSG : rc;
	}
	return rc;
}

/*
 * A recovery's decision ends them: what stood behind the place that it was written to, and fits
 * well, is what the decision was about, or came after it. -EUCLEAN: see check_end.
 */
static int read_records(struct journal *j)
{
	for (bool last = false; !last;) {
		struct buf *more = reallocarray(j->texts, j->text_count + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		j->texts = more;
		struct buf *text = &j->texts[j->text_count++];
		*text = (struct buf){0};
		const struct journal_place at = {j->super.epoch, j->sequence, j->head, j->ring};
		uint64_t sectors = 0, durable;
		const size_t entries = j->entry_count, pending = j->count, listed = j->listed;
		int rc = read_record(j, &at, text, &sectors, &durable);
		if (rc == 0)
			return j->super.clean ? 0 : check_end(j);
		if (rc > 0)
			rc = read_entries(j, text, &last);
		if (rc == -EBADMSG || rc == -EIO) {
			j->entry_count = entries;
			j->count = pending;
			j->listed = listed;
			return rc == -EIO ? rc : -EUCLEAN;
		}
		if (rc)
			return rc;
		j->head = (j->head + sectors) % j->ring;
		j->used += sectors;
		j->sequence++;
	}
	return 0;
}

static int open_fd(struct journal *j, int tenant_fd, uint64_t *ret_size)
{
	struct stat st;
	j->fd = j->l->ops->openat(j->l, tenant_fd, "journal", O_RDWR, 0, NULL);
	if (j->fd == -EROFS || j->fd == -EACCES)
		j->fd = j->l->ops->openat(j->l, tenant_fd, "journal", O_RDONLY, 0, NULL);
	if (j->fd == -EISDIR || j->fd == -ELOOP || j->fd == -ENXIO)
		return -EBADMSG; /* a folder, a link, a socket */
	if (j->fd < 0)
		return j->fd;
	int rc = identify(j, &st);
	if (rc < 0)
		return rc;
	*ret_size = (uint64_t)st.st_size;
	return S_ISREG(st.st_mode) ? 0 : -EBADMSG;
}

static int load(struct journal *j, int tenant_fd, bool past_damage)
{
	uint64_t size;
	int rc = open_fd(j, tenant_fd, &size);
	if (!rc && size < JOURNAL_FORMAT_RING)
		rc = -EBADMSG;
	if (!rc)
		rc = read_super(j);
	if (rc)
		return rc;
	if (j->super.size > size || j->super.size < 2 * JOURNAL_FORMAT_RING)
		return -EBADMSG;
	j->ring = (j->super.size - JOURNAL_FORMAT_RING) / JOURNAL_FORMAT_SECTOR;
	if (j->super.tail >= j->ring)
		return -EBADMSG;
	j->head = j->super.tail;
	j->sequence = j->super.sequence;
	j->copy = j->super.ino != j->ino || j->super.fsid != j->fsid;
	j->unclean = !j->super.clean;
	j->since_ns = j->super.since_ns;
	rc = read_records(j);
	if ((rc == -EUCLEAN || rc == -EIO) && past_damage)
		rc = 1;
	j->durable = j->super.sequence; /* it may be in the page cache alone */
	return rc;
}

int journal_open(struct lower *l, int tenant_fd, const struct keyring *keys, bool past_damage,
	struct journal **ret, struct err *e)
{
	AUTO(journal_auto) struct journal *j = journal_new(l, keys);
	int rc = j ? load(j, tenant_fd, past_damage) : -ENOMEM;
	switch (rc) {
	case 0:
	case 1:
		*ret = j;
		j = NULL;
		return rc;
	case -EUCLEAN:
		return err_set(e, -EBADMSG,
			"A record of the tenant's journal is damaged that was safe on the disk, "
			"with "
			"others behind it; the disk may be failing. Mount once with -o "
			"journal=reset "
			"to go on with what stands before it: changes of the last seconds before "
			"the "
			"tenant was ended are then missing, and files that were cut in them may be "
			"unreadable there.");
	case -EBADMSG:
		return err_set(e, rc,
			"The tenant's journal is damaged or from another time; mount once with -o "
			"journal=reset to start a new one: what was being erased may then stay on "
			"the disk, as ciphertext.");
	case -EPROTONOSUPPORT:
		return err_set(e, rc,
			"The tenant's journal has a newer format than this program; use a newer "
			"tenantfs.");
	case -ENOENT:
		return err_set(e, rc,
			"The tenant's journal is missing; restore it, or mount once with -o "
			"journal=reset to start a new one.");
	case -EIO:
		return err_set(e, rc,
			"The tenant's journal cannot be read: %s. If that stays so, mount once "
			"with -o journal=reset to start a new one: the last changes before the "
			"tenant was ended are then lost.",
			strerror(-rc));
	default:
		return err_set(e, rc, "The tenant's journal cannot be read: %s.", strerror(-rc));
	}
}

int journal_reseal(struct lower *l, int tenant_fd, const struct keyring *keys, struct err *e)
{
	AUTO(journal_auto) struct journal *j = NULL;
	int rc = journal_open(l, tenant_fd, keys, false, &j, e);
	if (!j)
		return rc;
	if (j->touched_count)
		return err_set(e, -EBUSY,
			"The tenant was not unmounted orderly: mount it once, or run tenantctl "
			"fsck "
			"--repair.");
	rc = journal_checkpoint_locked(j, !j->unclean);
	return rc ? err_set(e, rc, "The tenant's journal cannot be written: %s.", strerror(-rc))
		  : 0;
}

/* Superblocks of an empty journal, above whatever the slots hold: an old one must not win. */
static int start_anew(struct journal *j, uint64_t size)
{
	int rc = size < JOURNAL_FORMAT_RING ? -EBADMSG : read_super(j);
	if (rc && rc != -EBADMSG && rc != -EPROTONOSUPPORT && rc != -EIO)
		return rc;
	AUTO_SECRET *key = secret_random(KEY_LEN);
	struct journal_super s = j->super;
	uint32_t skip;
	if (!key)
		return -ENOMEM;
	s.size = size > JOURNAL_BYTES_MIN ? size - size % JOURNAL_FORMAT_SUPER_STEP
					  : JOURNAL_BYTES_MIN;
	s.suite = keyring_suite(j->keys);
	/* What lies in the ring must not fit, and of a damaged one nobody knows the epoch. */
	crypto_random(&skip, sizeof(skip));
	s.epoch += 1 + (uint64_t)skip;
	s.tail = 0;
	s.sequence++;
	/* Nobody knows what the last mount left, and so nothing of it is taken for that. */
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	s.since_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	s.clean = false;
	rc = s.size > size ? j->l->ops->fallocate(j->l, j->fd, 0, 0, s.size) : 0;
	if (rc >= 0)
		rc = journal_write_supers(j, &s, key);
	return rc < 0 ? rc : j->l->ops->fsync(j->l, j->fd, false);
}

int journal_reset(struct lower *l, int tenant_fd, const struct keyring *keys)
{
	AUTO(journal_auto) struct journal *j = journal_new(l, keys);
	uint64_t size;
	int rc = j ? open_fd(j, tenant_fd, &size) : -ENOMEM;
	if (rc == -ENOENT)
		return journal_create(l, tenant_fd, keys, JOURNAL_BYTES_DEFAULT);
	if (rc)
		return rc == -EBADMSG ? -EINVAL : rc;
	return start_anew(j, size);
}
