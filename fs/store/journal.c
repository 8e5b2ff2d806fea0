#include "fs/store/journal_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

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

void journal_forget(struct journal *j)
{
	for (size_t i = 0; i < j->text_count; i++)
		buf_done(&j->texts[i]);
	free(j->texts);
	free(j->entries);
	j->texts = NULL;
	j->entries = NULL;
	j->text_count = j->entry_count = j->entry_room = 0;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	if (j->fd >= 0)
		j->l->ops->close(j->l, j->fd);
	journal_forget(j);
	secret_free(j->key);
	free(j->pending);
	free(j->touched);
	pthread_cond_destroy(&j->flushed);
	lock_done(&j->lock);
	free(j);
}

struct journal *journal_new(struct lower *l, const struct keyring *keys)
{
	struct journal *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->l = l;
	j->keys = keys;
	j->fd = -1;
	lock_init(&j->lock, LOCK_JOURNAL);
	pthread_cond_init(&j->flushed, NULL);
	return j;
}

int journal_transfer(struct journal *j, uint64_t sector, uint8_t *bytes, uint64_t count, bool write)
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

/* Both are sealed first: once one is written there is no going back. */
int journal_write_supers(struct journal *j, struct journal_super *s, const struct secret *key)
{
	uint8_t slots[2][JOURNAL_FORMAT_SECTOR], page[JOURNAL_FORMAT_SUPER_STEP];
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
		uint64_t slot = (s->generation + 1 + i) % 2;
		/* What does not read can only be written as whole pages. */
		crypto_random(page, sizeof(page));
		memcpy(page, slots[i], sizeof(slots[i]));
		rc = lower_write_all(j->l, j->fd, page,
			j->unread & 1u << slot ? sizeof(page) : sizeof(slots[i]),
			slot * JOURNAL_FORMAT_SUPER_STEP);
		if (!rc)
			rc = j->l->ops->fsync(j->l, j->fd, true);
	}
	if (rc < 0)
		j->failed = true;
	else
		j->seen = j->unread = 0;
	return rc < 0 ? rc : 0;
}

/* One record with `text` at the head. Its sectors; the head stays where it is. */
static int write_record(struct journal *j, uint64_t epoch, const struct secret *key,
	const struct buf *text, uint64_t *ret_sectors)
{
	if (!buf_ok(text))
		return -ENOMEM;
	uint64_t sectors = journal_format_sectors(text->len);
	const struct journal_place at = {epoch, j->sequence, j->head, j->ring};
	AUTO_FREE uint8_t *bytes = malloc((size_t)sectors * JOURNAL_FORMAT_SECTOR);
	int rc = bytes ? journal_format_seal(
				 j->super.suite, key, &at, j->durable, text->data, text->len, bytes)
		       : -ENOMEM;
	if (rc)
		return rc;
	j->written = true;
	rc = journal_transfer(j, j->head, bytes, sectors, true);
	if (rc < 0) {
		j->failed = true;
		return rc;
	}
	*ret_sectors = sectors;
	return 0;
}

int journal_add_pending(struct journal *j, const struct journal_erase *e)
{
	if (j->count >= JOURNAL_PENDING_MAX)
		return -ENOSPC;
	if (j->count == j->room) {
		size_t room = j->room ? 2 * j->room : 16;
		struct journal_pending_erase *more = reallocarray(j->pending, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		j->pending = more;
		j->room = room;
	}
	j->pending[j->count++] = (struct journal_pending_erase){++j->token, *e};
	return 0;
}

static struct journal_touched *find_touched(struct journal *j, uint64_t ino)
{
	size_t i = (ino * 0x9e3779b97f4a7c15u) & (j->touched_room - 1);
	while (j->touched[i].ino && j->touched[i].ino != ino)
		i = (i + 1) & (j->touched_room - 1);
	return &j->touched[i];
}

static int grow_touched(struct journal *j)
{
	struct journal_touched *old = j->touched;
	size_t room = j->touched_room;
	struct journal_touched *more = calloc(room ? 2 * room : 64, sizeof(*more));
	if (!more)
		return -ENOMEM;
	j->touched = more;
	j->touched_room = room ? 2 * room : 64;
	for (size_t i = 0; i < room; i++)
		if (old[i].ino)
			*find_touched(j, old[i].ino) = old[i];
	free(old);
	return 0;
}

int journal_touch(struct journal *j, uint64_t ino, const uint8_t file_id[static CRYPTO_ID_LEN])
{
	int rc = 4 * (j->touched_count + 1) > 3 * j->touched_room ? grow_touched(j) : 0;
	if (rc)
		return rc;
	struct journal_touched *t = find_touched(j, ino);
	j->touched_count += !t->ino;
	t->ino = ino;
	memcpy(t->file_id, file_id, CRYPTO_ID_LEN);
	return 0;
}

/*
 * What must stay free behind the head: a mark for each file that has commits in the ring, twice,
 * since recovery writes another; and a checkpoint with every erasure in it, whoever opens the
 * journal not knowing which of them are done.
 */
static uint64_t spare(const struct journal *j)
{
	return 2 * journal_format_sectors((j->touched_count + 1) * JOURNAL_FORMAT_MARK_LEN) +
	       journal_format_sectors(
		       (j->listed + j->reserved_erasures + 2) * JOURNAL_FORMAT_ERASE_LEN);
}

uint64_t journal_room(size_t text)
{
	/* The marks of one more file are less than this sector. */
	return journal_format_sectors(text) + 1;
}

int journal_reserve(struct journal *j, uint64_t sectors, unsigned erasures)
{
	lock_take(&j->lock);
	int rc = 0;
	j->reserved_erasures += erasures;
	if (j->failed)
		rc = -EIO;
	else if (j->listed + j->reserved_erasures > JOURNAL_PENDING_MAX ||
		 j->used + j->reserved + sectors + spare(j) > j->ring)
		rc = -ENOSPC;
	if (rc)
		j->reserved_erasures -= erasures;
	else
		j->reserved += sectors;
	lock_drop(&j->lock);
	return rc;
}

static void unreserve(struct journal *j, uint64_t sectors, unsigned erasures)
{
	j->reserved -= sectors;
	j->reserved_erasures -= erasures;
}

void journal_unreserve(struct journal *j, uint64_t sectors, unsigned erasures)
{
	lock_take(&j->lock);
	unreserve(j, sectors, erasures);
	lock_drop(&j->lock);
}

static int append(struct journal *j, const struct journal_record *r, uint64_t *ret_token)
{
	uint64_t sectors = journal_format_sectors(r->text->len);
	uint64_t most = r->sectors ? r->sectors : j->ring - j->used - j->reserved;
	if (j->failed)
		return -EIO;
	if (sectors > most)
		return -ENOSPC;
	int rc = r->ino ? journal_touch(j, r->ino, r->file_id) : 0;
	if (!rc && r->erase)
		rc = journal_add_pending(j, r->erase);
	uint64_t token = j->token;
	if (rc)
		return rc;
	rc = write_record(j, j->super.epoch, j->key, r->text, &sectors);
	if (rc) {
		j->count -= r->erase != NULL;
		return rc;
	}
	j->listed += r->erase != NULL;
	j->head = (j->head + sectors) % j->ring;
	j->used += sectors;
	j->sequence++;
	if (ret_token)
		*ret_token = r->erase ? token : 0;
	return 0;
}

int journal_append(struct journal *j, const struct journal_record *r, uint64_t *ret_sequence,
	uint64_t *ret_token)
{
	lock_take(&j->lock);
	*ret_sequence = j->sequence;
	int rc = append(j, r, ret_token);
	if (rc != -ENOMEM)
		unreserve(j, r->sectors, r->erasures);
	lock_drop(&j->lock);
	return rc;
}

static uint64_t known_generation(const struct journal *j)
{
	return j->seen > j->super.generation ? j->seen : j->super.generation;
}

/* Whoever took the tenant meanwhile has written superblocks of a later generation. */
static int check_fence(struct journal *j, uint64_t generation)
{
	for (unsigned i = 0; i < 2; i++) {
		uint8_t slot[JOURNAL_FORMAT_SECTOR];
		int rc = lower_read_all(
			j->l, j->fd, slot, sizeof(slot), i * (uint64_t)JOURNAL_FORMAT_SUPER_STEP);
		if (rc == -EIO && j->unread & 1u << i)
			continue; /* as it was found */
		if (rc)
			return rc;
		if (journal_format_generation(slot) > generation)
			return -EIO;
	}
	return 0;
}

int journal_fence(struct journal *j)
{
	lock_take(&j->lock);
	uint64_t generation = known_generation(j);
	int rc = j->failed ? -EIO : check_fence(j, generation);
	if (rc)
		j->failed = true;
	lock_drop(&j->lock);
	return rc;
}

int journal_flush(struct journal *j, uint64_t sequence)
{
	int rc = 0;
	lock_take(&j->lock);
	while (!j->failed && j->durable <= sequence) {
		if (j->flushing) {
			lock_wait(&j->flushed, &j->lock);
			continue;
		}
		uint64_t reached = j->sequence, generation = known_generation(j);
		j->flushing = true;
		lock_drop(&j->lock);
		rc = check_fence(j, generation);
		if (!rc)
			rc = j->l->ops->fsync(j->l, j->fd, true);
		lock_take(&j->lock);
		j->flushing = false;
		if (rc < 0)
			j->failed = true;
		else
			j->durable = reached;
		pthread_cond_broadcast(&j->flushed);
	}
	if (j->failed && !rc)
		rc = -EIO;
	lock_drop(&j->lock);
	return rc < 0 ? rc : 0;
}

int journal_checkpoint_locked(struct journal *j, bool clean)
{
	if (j->failed)
		return -EIO;
	/* His superblocks must not be written over. */
	int rc = check_fence(j, known_generation(j));
	if (rc) {
		j->failed = true;
		return rc;
	}
	AUTO_BUF text = {0};
	AUTO_SECRET *key = secret_random(KEY_LEN);
	struct journal_super next = j->super;
	struct timespec now;
	uint64_t sectors = 0;
	uint32_t skip;
	rc = key ? 0 : -ENOMEM;
	for (size_t i = 0; i < j->count; i++)
		journal_format_put_erase(&text, &j->pending[i].erase);
	clock_gettime(CLOCK_REALTIME, &now);
	/* Never one that was used: of a checkpoint that was cut short a record may stand there. */
	crypto_random(&skip, sizeof(skip));
	next.epoch += 1 + (uint64_t)skip;
	next.tail = j->head;
	next.sequence = j->sequence;
	next.since_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	next.clean = clean;
	if (!rc && j->count)
		rc = write_record(j, next.epoch, key, &text, &sectors);
	if (!rc && sectors) {
		rc = j->l->ops->fsync(j->l, j->fd, true);
		j->failed = rc < 0;
	}
	if (!rc)
		rc = journal_write_supers(j, &next, key);
	if (rc)
		return rc;
	secret_free(j->key);
	j->key = key;
	key = NULL;
	j->super = next;
	j->written = true;
	j->sequence += sectors ? 1 : 0;
	j->durable = j->sequence;
	j->head = (j->head + sectors) % j->ring;
	j->used = sectors;
	j->listed = j->count;
	j->touched_count = 0;
	if (j->touched)
		memset(j->touched, 0, j->touched_room * sizeof(*j->touched));
	journal_forget(j);
	return 0;
}

int journal_checkpoint(struct journal *j)
{
	lock_take(&j->lock);
	/* Who flushes reads the superblocks. */
	while (j->flushing)
		lock_wait(&j->flushed, &j->lock);
	/* What a recovery leaves is not the end of an orderly one. */
	int rc = journal_checkpoint_locked(j, false);
	lock_drop(&j->lock);
	return rc;
}

void journal_close(struct journal *j)
{
	/* Commits that are not in their place wait for the next mount. */
	if (j && !j->failed && !j->distrusted && !j->touched_count && j->written)
		(void)!journal_checkpoint_locked(j, true);
	journal_free(j);
}

void journal_distrust(struct journal *j)
{
	lock_take(&j->lock);
	j->distrusted = true;
	lock_drop(&j->lock);
}

size_t journal_entries(struct journal *j, const struct journal_entry **ret)
{
	*ret = j->entries;
	return j->entry_count;
}

bool journal_was_unclean(struct journal *j, uint64_t *ret_since_ns)
{
	*ret_since_ns = j->since_ns;
	return j->unclean;
}

bool journal_touches(struct journal *j, uint64_t ino, uint8_t *ret_file_id)
{
	lock_take(&j->lock);
	const struct journal_touched *t = j->touched_count ? find_touched(j, ino) : NULL;
	bool found = t && t->ino;
	if (found && ret_file_id)
		memcpy(ret_file_id, t->file_id, CRYPTO_ID_LEN);
	lock_drop(&j->lock);
	return found;
}

bool journal_is_durable(struct journal *j, uint64_t sequence)
{
	lock_take(&j->lock);
	bool durable = j->durable > sequence;
	lock_drop(&j->lock);
	return durable;
}

uint64_t journal_sequence(struct journal *j)
{
	lock_take(&j->lock);
	uint64_t sequence = j->sequence - 1;
	lock_drop(&j->lock);
	return sequence;
}

void journal_done(struct journal *j, uint64_t token)
{
	lock_take(&j->lock);
	for (size_t i = 0; i < j->count; i++)
		if (j->pending[i].token == token) {
			j->pending[i] = j->pending[--j->count];
			break;
		}
	lock_drop(&j->lock);
}

bool journal_concerns(struct journal *j, const uint8_t file_id[CRYPTO_ID_LEN])
{
	bool found = false;
	lock_take(&j->lock);
	for (size_t i = 0; i < j->count && !found; i++)
		found = memcmp(j->pending[i].erase.file_id, file_id, CRYPTO_ID_LEN) == 0;
	lock_drop(&j->lock);
	return found;
}

size_t journal_pending(
	struct journal *j, struct journal_erase *ret, uint64_t *ret_tokens, size_t max)
{
	lock_take(&j->lock);
	size_t count = j->count;
	for (size_t i = 0; i < count && i < max; i++) {
		ret[i] = j->pending[i].erase;
		ret_tokens[i] = j->pending[i].token;
	}
	lock_drop(&j->lock);
	return count;
}

bool journal_is_copy(struct journal *j)
{
	lock_take(&j->lock);
	bool copy = j->copy;
	lock_drop(&j->lock);
	return copy;
}

void journal_status(struct journal *j, struct journal_status *ret)
{
	lock_take(&j->lock);
	*ret = (struct journal_status){.bytes = j->ring * JOURNAL_FORMAT_SECTOR,
		.used = j->used * JOURNAL_FORMAT_SECTOR,
		.waiting = j->count ? journal_format_sectors(j->count * JOURNAL_FORMAT_ERASE_LEN) *
					      JOURNAL_FORMAT_SECTOR
				    : 0,
		.pending = (unsigned)j->count,
		.failed = j->failed};
	lock_drop(&j->lock);
}
