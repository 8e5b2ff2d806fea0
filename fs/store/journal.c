#include "fs/store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

/*
 * A ring of sectors, in which records follow one another from the tail that the superblock names:
 * sequence and epoch chain them, and the first that does not fit ends them. Nothing that a crash
 * could ask for is ever written over:
 *
 *     superblocks | ...free... | record | record | record | ...free... |
 *                                ^ tail                     ^ head
 *
 * A checkpoint writes what is not done behind the head, as a record of the next epoch, which nobody
 * takes for one of this; then a superblock with this record as tail, and then the other one, so
 * that the old key is nowhere. Each of the three is durable before the next begins.
 */

struct pending {
	uint64_t token;
	struct journal_erase erase;
};

struct journal {
	struct lower *l;            /* borrowed */
	const struct keyring *keys; /* borrowed */
	int fd;                     /* owned */
	pthread_mutex_t lock;
	/* lock: */
	struct journal_super super; /* as the newest slot has it */
	struct secret *key;
	uint64_t ring, head, used; /* sectors */
	uint64_t sequence;         /* of the next record */
	struct pending *pending;
	size_t count, room;
	size_t listed;      /* entries that the ring's records hold, done or not */
	uint64_t token;     /* the last one given away */
	uint64_t ino, fsid; /* of the file that is open */
	bool copy;          /* its entries are from another one */
	bool failed;        /* what is on the disk is not known any more: nothing is written */
};

static void free_journal(struct journal *j)
{
	if (!j)
		return;
	if (j->fd >= 0)
		j->l->ops->close(j->l, j->fd);
	secret_free(j->key);
	free(j->pending);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

static struct journal *new_journal(struct lower *l, const struct keyring *keys)
{
	struct journal *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->l = l;
	j->keys = keys;
	j->fd = -1;
	pthread_mutex_init(&j->lock, NULL);
	return j;
}

static void auto_journal(struct journal **j)
{
	free_journal(*j);
}

/* Sectors of the ring, which may pass its end. */
static int transfer(struct journal *j, uint64_t sector, uint8_t *bytes, uint64_t count, bool write)
{
	int rc = 0;
	while (!rc && count) {
		uint64_t n = j->ring - sector < count ? j->ring - sector : count;
		size_t len = (size_t)n * JOURNAL_FORMAT_SECTOR;
		uint64_t at = JOURNAL_FORMAT_RING + sector * JOURNAL_FORMAT_SECTOR;
		rc = write ? lower_write_all(j->l, j->fd, bytes, len, at)
			   : lower_read_all(j->l, j->fd, bytes, len, at);
		bytes += len;
		count -= n;
		sector = (sector + n) % j->ring;
	}
	return rc;
}

/* Into both slots, one after the other, each durable before the next; s->generation grows. Both are
 * sealed first: once one is written there is no going back. */
static int write_supers(struct journal *j, struct journal_super *s, const struct secret *key)
{
	uint8_t slots[2][JOURNAL_FORMAT_SECTOR];
	AUTO_SECRET *subkey = keyring_mdk_subkey(j->keys, "journal", false);
	int rc = subkey ? 0 : -ENOMEM;
	/* As long as there are entries from elsewhere, the next mount must know. */
	bool known = !j->copy || !j->count;
	s->ino = known ? j->ino : 0;
	s->fsid = known ? j->fsid : 0;
	for (unsigned i = 0; !rc && i < 2; i++) {
		s->generation++;
		rc = journal_format_super_seal(s, keyring_owner(j->keys), subkey, key, slots[i]);
	}
	if (rc)
		return rc;
	for (unsigned i = 0; !rc && i < 2; i++) {
		rc = lower_write_all(j->l, j->fd, slots[i], sizeof(slots[i]),
			(s->generation + 1 + i) % 2 * JOURNAL_FORMAT_SUPER_STEP);
		if (!rc)
			rc = j->l->ops->fsync(j->l, j->fd, true);
	}
	if (rc < 0)
		j->failed = true;
	return rc < 0 ? rc : 0;
}

/* One record with `text` at the head, durable. Its sectors; the head stays where it is. */
static int write_record(struct journal *j, uint64_t epoch, const struct secret *key,
	const struct buf *text, uint64_t *ret_sectors)
{
	if (!buf_ok(text))
		return -ENOMEM;
	uint64_t sectors = journal_format_sectors(text->len);
	const struct journal_place at = {epoch, j->sequence, j->head, j->ring};
	AUTO_FREE uint8_t *bytes = malloc((size_t)sectors * JOURNAL_FORMAT_SECTOR);
	int rc = bytes ? journal_format_seal(j->super.suite, key, &at, text->data, text->len, bytes)
		       : -ENOMEM;
	if (rc)
		return rc;
	rc = transfer(j, j->head, bytes, sectors, true);
	if (!rc)
		rc = j->l->ops->fsync(j->l, j->fd, true);
	if (rc < 0) {
		j->failed = true;
		return rc;
	}
	*ret_sectors = sectors;
	return 0;
}

/*
 * Whether a record of one more entry, of so many sectors, may be written. Behind it there must be
 * room for a checkpoint with every entry that is in the ring: whoever opens it does not know which
 * of them are done. Of one entry more, even: the next one may come with the checkpoint. And they
 * must not be more than may wait.
 */
static bool has_room(const struct journal *j, uint64_t sectors)
{
	return j->listed < JOURNAL_PENDING_MAX &&
	       j->used + sectors +
			       journal_format_sectors((j->listed + 2) * JOURNAL_FORMAT_ERASE_LEN) <=
		       j->ring;
}

static int checkpoint(struct journal *j)
{
	if (j->failed)
		return -EIO;
	AUTO_BUF text = {0};
	AUTO_SECRET *key = secret_random(KEY_LEN);
	struct journal_super next = j->super;
	uint64_t sectors = 0;
	for (size_t i = 0; i < j->count; i++)
		journal_format_put_erase(&text, &j->pending[i].erase);
	if (!key)
		return -ENOMEM;
	next.epoch++;
	next.tail = j->head;
	next.sequence = j->sequence;
	int rc = j->count ? write_record(j, next.epoch, key, &text, &sectors) : 0;
	if (!rc)
		rc = write_supers(j, &next, key);
	if (rc)
		return rc;
	secret_free(j->key);
	j->key = key;
	key = NULL;
	j->super = next;
	j->sequence += sectors ? 1 : 0;
	j->head = (j->head + sectors) % j->ring;
	j->used = sectors;
	j->listed = j->count;
	return 0;
}

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
	AUTO(auto_journal) struct journal *j = new_journal(l, keys);
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
	struct journal_super s = {
		.epoch = 1, .size = bytes, .sequence = 1, .suite = keyring_suite(keys)};
	rc = write_supers(j, &s, key);
	return rc ? rc : l->ops->fsync(l, j->fd, false);
}

/* The better of both slots. -EBADMSG, -EPROTONOSUPPORT, or an errno of reading. */
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
		if (!rc)
			rc = journal_format_super_open(
				slot, keyring_owner(j->keys), subkey, &s, &key);
		if (rc && rc != -EBADMSG && rc != -EKEYREJECTED && rc != -EPROTONOSUPPORT)
			return rc;
		if (rc == -EPROTONOSUPPORT)
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

static int add(struct journal *j, const struct journal_erase *e)
{
	if (j->count >= JOURNAL_PENDING_MAX)
		return -ENOSPC;
	if (j->count == j->room) {
		size_t room = j->room ? 2 * j->room : 16;
		struct pending *more = reallocarray(j->pending, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		j->pending = more;
		j->room = room;
	}
	j->pending[j->count++] = (struct pending){++j->token, *e};
	return 0;
}

/* The record at the head: 1 and its sectors, 0 when there is none. */
static int read_record(struct journal *j, struct buf *text, uint64_t *ret_sectors)
{
	uint8_t first[JOURNAL_FORMAT_SECTOR];
	const struct journal_place at = {j->super.epoch, j->sequence, j->head, j->ring};
	size_t len;
	int rc = transfer(j, j->head, first, 1, false);
	if (rc)
		return rc;
	if (!journal_format_is_sector(&at, 0, first))
		return 0;
	rc = journal_format_length(first, &len);
	if (rc)
		return rc;
	uint64_t sectors = journal_format_sectors(len);
	if (sectors > j->ring - j->used)
		return -EBADMSG;
	AUTO_FREE uint8_t *bytes = malloc((size_t)sectors * JOURNAL_FORMAT_SECTOR);
	if (!bytes)
		return -ENOMEM;
	rc = transfer(j, j->head, bytes, sectors, false);
	for (uint64_t i = 0; !rc && i < sectors; i++)
		if (!journal_format_is_sector(&at, i, bytes + i * JOURNAL_FORMAT_SECTOR))
			return 0; /* the power failed before it was whole */
	if (!rc)
		rc = journal_format_open(j->super.suite, j->key, &at, bytes, len, text);
	*ret_sectors = sectors;
	return rc ? rc : 1;
}

static int read_records(struct journal *j)
{
	for (;;) {
		AUTO_BUF text = {0};
		struct journal_erase e;
		uint64_t sectors = 0;
		int rc = read_record(j, &text, &sectors);
		if (rc <= 0)
			return rc;
		struct cur c = {text.data, text.data + text.len};
		while ((rc = journal_format_next(&c, &e)) > 0) {
			rc = add(j, &e);
			if (rc)
				return rc == -ENOSPC ? -EBADMSG : rc;
			j->listed++;
		}
		if (rc)
			return rc;
		j->head = (j->head + sectors) % j->ring;
		j->used += sectors;
		j->sequence++;
	}
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

static int load(struct journal *j, int tenant_fd)
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
	return read_records(j);
}

int journal_open(struct lower *l, int tenant_fd, const struct keyring *keys, struct journal **ret,
	struct err *e)
{
	AUTO(auto_journal) struct journal *j = new_journal(l, keys);
	int rc = j ? load(j, tenant_fd) : -ENOMEM;
	switch (rc) {
	case 0:
		*ret = j;
		j = NULL;
		return 0;
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
	default:
		return err_set(e, rc, "The tenant's journal cannot be read: %s.", strerror(-rc));
	}
}

int journal_reseal(struct lower *l, int tenant_fd, const struct keyring *keys, struct err *e)
{
	AUTO(auto_journal) struct journal *j = NULL;
	int rc = journal_open(l, tenant_fd, keys, &j, e);
	if (rc)
		return rc;
	rc = checkpoint(j);
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
	rc = s.size > size ? j->l->ops->fallocate(j->l, j->fd, 0, 0, s.size) : 0;
	if (rc >= 0)
		rc = write_supers(j, &s, key);
	return rc < 0 ? rc : j->l->ops->fsync(j->l, j->fd, false);
}

int journal_reset(struct lower *l, int tenant_fd, const struct keyring *keys)
{
	AUTO(auto_journal) struct journal *j = new_journal(l, keys);
	uint64_t size;
	int rc = j ? open_fd(j, tenant_fd, &size) : -ENOMEM;
	if (rc == -ENOENT)
		return journal_create(l, tenant_fd, keys, JOURNAL_BYTES_DEFAULT);
	if (rc)
		return rc == -EBADMSG ? -EINVAL : rc;
	return start_anew(j, size);
}

void journal_close(struct journal *j)
{
	/* What is not done waits for the next mount, whether this succeeds or not. */
	if (j && (j->used || j->count))
		(void)!journal_checkpoint(j);
	free_journal(j);
}

int journal_erase_begin(struct journal *j, const struct journal_erase *e, uint64_t *ret_token)
{
	AUTO_BUF text = {0};
	uint64_t sectors = 0;
	journal_format_put_erase(&text, e);
	pthread_mutex_lock(&j->lock);
	int rc = j->failed ? -EIO : add(j, e);
	uint64_t token = j->token;
	bool added = !rc;
	if (!rc && !has_room(j, journal_format_sectors(text.len))) {
		rc = checkpoint(j); /* with this one in it */
	} else if (!rc) {
		rc = write_record(j, j->super.epoch, j->key, &text, &sectors);
		if (!rc) {
			j->head = (j->head + sectors) % j->ring;
			j->used += sectors;
			j->listed++;
			j->sequence++;
		}
	}
	if (rc && added)
		j->count--;
	pthread_mutex_unlock(&j->lock);
	if (!rc)
		*ret_token = token;
	return rc;
}

void journal_done(struct journal *j, uint64_t token)
{
	pthread_mutex_lock(&j->lock);
	for (size_t i = 0; i < j->count; i++)
		if (j->pending[i].token == token) {
			j->pending[i] = j->pending[--j->count];
			break;
		}
	pthread_mutex_unlock(&j->lock);
}

bool journal_concerns(struct journal *j, const uint8_t file_id[CRYPTO_ID_LEN])
{
	bool found = false;
	pthread_mutex_lock(&j->lock);
	for (size_t i = 0; i < j->count && !found; i++)
		found = memcmp(j->pending[i].erase.file_id, file_id, CRYPTO_ID_LEN) == 0;
	pthread_mutex_unlock(&j->lock);
	return found;
}

size_t journal_pending(
	struct journal *j, struct journal_erase *ret, uint64_t *ret_tokens, size_t max)
{
	pthread_mutex_lock(&j->lock);
	size_t count = j->count;
	for (size_t i = 0; i < count && i < max; i++) {
		ret[i] = j->pending[i].erase;
		ret_tokens[i] = j->pending[i].token;
	}
	pthread_mutex_unlock(&j->lock);
	return count;
}

bool journal_is_copy(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	bool copy = j->copy;
	pthread_mutex_unlock(&j->lock);
	return copy;
}

int journal_checkpoint(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	int rc = checkpoint(j);
	pthread_mutex_unlock(&j->lock);
	return rc;
}

void journal_status(struct journal *j, struct journal_status *ret)
{
	pthread_mutex_lock(&j->lock);
	*ret = (struct journal_status){.bytes = j->ring * JOURNAL_FORMAT_SECTOR,
		.used = j->used * JOURNAL_FORMAT_SECTOR,
		.pending = (unsigned)j->count};
	pthread_mutex_unlock(&j->lock);
}
