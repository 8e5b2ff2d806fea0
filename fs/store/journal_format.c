#include "fs/store/journal_format.h"

#include "keymgmt/base/bytes.h"
#include "keymgmt/wrap.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#define VERSION 1u
#define FIELDS_LEN 80u /* of a superblock, in front of the wrapped key */
#define HEAD_LEN 44u   /* of a record: length, zeros, durable, nonce, tag */
#define NONCE_AT 16u   /* in it */
#define ENTRY_HEAD 8u  /* kind, zeros, length of the body */
#define ERASE_BODY (JOURNAL_FORMAT_ERASE_LEN - ENTRY_HEAD)
#define MARK_BODY (JOURNAL_FORMAT_MARK_LEN - ENTRY_HEAD)
#define COMMIT_BODY (JOURNAL_FORMAT_COMMIT_LEN - ENTRY_HEAD)
#define WHOSE_LEN (CRYPTO_ID_LEN + 8u) /* every body begins with file id and inode number */
#define TIME_LEN 12u
#define TIMES_BODY (WHOSE_LEN + TIME_LEN)
#define CLEAN 1u      /* flag of a superblock */
#define KEEP_SPACE 1u /* of an ERASE */
#define HARD 1u       /* of a COMMIT */
#define DECISION 1u   /* of a MARK */

static const uint8_t magic[4] = {'T', 'F', 'S', 'J'};
static const char super_label[] = "tfs-journal-super", record_label[] = "tfs-journal-record";
#define SUPER_AD (sizeof(super_label) - 1 + FIELDS_LEN + 2 * CRYPTO_ID_LEN)
#define RECORD_AD (sizeof(record_label) - 1 + NONCE_AT + 24)

static void super_associate(
	const uint8_t *slot, const struct keyring_owner *owner, uint8_t ret[static SUPER_AD])
{
	memcpy(ret, super_label, sizeof(super_label) - 1);
	ret += sizeof(super_label) - 1;
	memcpy(ret, slot, FIELDS_LEN);
	memcpy(ret + FIELDS_LEN, owner->store_uuid, CRYPTO_ID_LEN);
	memcpy(ret + FIELDS_LEN + CRYPTO_ID_LEN, owner->tenant_uuid, CRYPTO_ID_LEN);
}

int journal_format_super_seal(const struct journal_super *s, const struct keyring_owner *owner,
	const struct secret *subkey, const struct secret *key,
	uint8_t ret[static JOURNAL_FORMAT_SECTOR])
{
	uint8_t slot[JOURNAL_FORMAT_SECTOR] = {0}, ad[SUPER_AD];
	memcpy(slot, magic, sizeof(magic));
	bytes_put16(slot + 4, VERSION);
	slot[6] = (uint8_t)s->suite;
	bytes_put64(slot + 8, s->generation);
	bytes_put64(slot + 16, s->epoch);
	bytes_put64(slot + 24, s->size);
	bytes_put64(slot + 32, s->tail);
	bytes_put64(slot + 40, s->sequence);
	bytes_put64(slot + 48, s->ino);
	bytes_put64(slot + 56, s->fsid);
	bytes_put64(slot + 64, s->since_ns);
	bytes_put64(slot + 72, s->clean ? CLEAN : 0);
	super_associate(slot, owner, ad);
	int rc = wrap_seal(
		s->suite, subkey, ad, sizeof(ad), owner->tenant_uuid, key, slot + FIELDS_LEN);
	if (!rc)
		memcpy(ret, slot, sizeof(slot));
	return rc;
}

int journal_format_super_open(const uint8_t slot[static JOURNAL_FORMAT_SECTOR],
	const struct keyring_owner *owner, const struct secret *subkey, struct journal_super *ret,
	struct secret **ret_key)
{
	uint8_t ad[SUPER_AD];
	if (memcmp(slot, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	if (bytes_get16(slot + 4) != VERSION)
		return bytes_get16(slot + 4) > VERSION ? -EPROTONOSUPPORT : -EBADMSG;
	struct journal_super s = {.generation = bytes_get64(slot + 8),
		.epoch = bytes_get64(slot + 16),
		.size = bytes_get64(slot + 24),
		.tail = bytes_get64(slot + 32),
		.sequence = bytes_get64(slot + 40),
		.ino = bytes_get64(slot + 48),
		.fsid = bytes_get64(slot + 56),
		.since_ns = bytes_get64(slot + 64),
		.clean = bytes_get64(slot + 72) & CLEAN,
		.suite = (enum crypto_suite)slot[6]};
	if (s.suite != CRYPTO_AES256_GCM && s.suite != CRYPTO_XCHACHA20_POLY1305)
		return -EBADMSG;
	super_associate(slot, owner, ad);
	int rc = wrap_open(
		s.suite, subkey, ad, sizeof(ad), owner->tenant_uuid, slot + FIELDS_LEN, ret_key);
	if (!rc)
		*ret = s;
	return rc;
}

uint64_t journal_format_generation(const uint8_t slot[static JOURNAL_FORMAT_SECTOR])
{
	if (memcmp(slot, magic, sizeof(magic)) != 0 || bytes_get16(slot + 4) != VERSION)
		return 0;
	return bytes_get64(slot + 8);
}

/*
 * What is wrong with a sector that was only written in part, or that is another one's. The nonce in
 * the first sector's head tells a record from one that was begun at the same place with the same
 * sequence, and never whole.
 */
static uint64_t check(
	const struct journal_place *at, uint64_t index, const uint8_t *sector, const uint8_t *first)
{
	uint64_t seed = (at->sector + index) % at->ring;
	return XXH3_64bits_withSeed(sector, JOURNAL_FORMAT_PAYLOAD + 16,
		index ? seed ^ bytes_get64(first + NONCE_AT) : seed);
}

static void associate(
	const struct journal_place *at, const uint8_t *head, uint8_t ret[static RECORD_AD])
{
	memcpy(ret, record_label, sizeof(record_label) - 1);
	ret += sizeof(record_label) - 1;
	memcpy(ret, head, NONCE_AT);
	ret += NONCE_AT;
	bytes_put64(ret, at->epoch);
	bytes_put64(ret + 8, at->sequence);
	bytes_put64(ret + 16, at->sector);
}

uint64_t journal_format_sectors(size_t len)
{
	return (HEAD_LEN + len + JOURNAL_FORMAT_PAYLOAD - 1) / JOURNAL_FORMAT_PAYLOAD;
}

int journal_format_seal(enum crypto_suite suite, const struct secret *key,
	const struct journal_place *at, uint64_t durable, const void *text, size_t len,
	uint8_t *ret)
{
	uint64_t sectors = journal_format_sectors(len);
	uint8_t ad[RECORD_AD], suffix[12] = {0};
	AUTO_BUF whole = {0};
	if (len > JOURNAL_FORMAT_TEXT_MAX ||
		!buf_reserve(&whole, (size_t)sectors * JOURNAL_FORMAT_PAYLOAD))
		return -ENOMEM;
	uint8_t *head = whole.data;
	memset(head, 0, (size_t)sectors * JOURNAL_FORMAT_PAYLOAD);
	bytes_put32(head, (uint32_t)len);
	bytes_put64(head + 8, durable);
	crypto_nonce(head + NONCE_AT, CRYPTO_NONCE_LEN);
	bytes_put64(suffix, at->sequence);
	associate(at, head, ad);
	int rc = crypto_seal(suite, key, head + NONCE_AT, suffix, ad, sizeof(ad), text, len,
		head + HEAD_LEN, head + NONCE_AT + CRYPTO_NONCE_LEN);
	for (uint64_t i = 0; !rc && i < sectors; i++) {
		uint8_t *sector = ret + i * JOURNAL_FORMAT_SECTOR;
		memcpy(sector, head + i * JOURNAL_FORMAT_PAYLOAD, JOURNAL_FORMAT_PAYLOAD);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD, at->sequence);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD + 8, at->epoch);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD + 16, check(at, i, sector, head));
	}
	return rc;
}

bool journal_format_is_sector(
	const struct journal_place *at, uint64_t index, const uint8_t *sector, const uint8_t *first)
{
	const uint8_t *mark = sector + JOURNAL_FORMAT_PAYLOAD;
	return bytes_get64(mark) == at->sequence && bytes_get64(mark + 8) == at->epoch &&
	       bytes_get64(mark + 16) == check(at, index, sector, first);
}

int journal_format_head(const uint8_t *sector, struct journal_head *ret)
{
	*ret = (struct journal_head){.len = bytes_get32(sector),
		.durable = bytes_get64(sector + 8),
		.sequence = bytes_get64(sector + JOURNAL_FORMAT_PAYLOAD),
		.epoch = bytes_get64(sector + JOURNAL_FORMAT_PAYLOAD + 8)};
	return ret->len > JOURNAL_FORMAT_TEXT_MAX ? -EBADMSG : 0;
}

int journal_format_open(enum crypto_suite suite, const struct secret *key,
	const struct journal_place *at, const uint8_t *sectors, size_t len, struct buf *ret_text)
{
	uint8_t ad[RECORD_AD], suffix[12] = {0};
	uint64_t count = journal_format_sectors(len);
	AUTO_BUF whole = {0};
	if (!buf_reserve(&whole, (size_t)count * JOURNAL_FORMAT_PAYLOAD) ||
		!buf_reserve(ret_text, len))
		return -ENOMEM;
	for (uint64_t i = 0; i < count; i++)
		buf_put(&whole, sectors + i * JOURNAL_FORMAT_SECTOR, JOURNAL_FORMAT_PAYLOAD);
	const uint8_t *head = whole.data;
	bytes_put64(suffix, at->sequence);
	associate(at, head, ad);
	int rc = crypto_open(suite, key, head + NONCE_AT, suffix, ad, sizeof(ad), head + HEAD_LEN,
		len, ret_text->data + ret_text->len, head + NONCE_AT + CRYPTO_NONCE_LEN);
	if (!rc)
		ret_text->len += len;
	return rc;
}

static void put_head(struct buf *text, enum journal_kind kind, size_t body)
{
	buf_put16(text, (uint16_t)kind);
	buf_put16(text, 0);
	buf_put32(text, (uint32_t)body);
}

static void put_time(struct buf *text, const struct timespec *t)
{
	buf_put64(text, (uint64_t)t->tv_sec);
	buf_put32(text, (uint32_t)t->tv_nsec);
}

void journal_format_put_erase(struct buf *text, const struct journal_erase *e)
{
	put_head(text, JOURNAL_ERASE, ERASE_BODY);
	buf_put(text, e->file_id, sizeof(e->file_id));
	buf_put64(text, e->ino);
	buf_put64(text, e->first);
	buf_put64(text, e->end);
	buf_put32(text, e->keep_space ? KEEP_SPACE : 0);
}

void journal_format_put_times(struct buf *text, const uint8_t file_id[static CRYPTO_ID_LEN],
	uint64_t ino, const struct timespec *modified)
{
	put_head(text, JOURNAL_TIMES, TIMES_BODY);
	buf_put(text, file_id, CRYPTO_ID_LEN);
	buf_put64(text, ino);
	put_time(text, modified);
}

void journal_format_put_mark(struct buf *text, const uint8_t file_id[static CRYPTO_ID_LEN],
	uint64_t ino, uint64_t upto, bool decision)
{
	put_head(text, JOURNAL_MARK, MARK_BODY);
	buf_put(text, file_id, CRYPTO_ID_LEN);
	buf_put64(text, ino);
	buf_put64(text, upto);
	buf_put32(text, decision ? DECISION : 0);
}

size_t journal_format_begin_commit(struct buf *text, const uint8_t file_id[static CRYPTO_ID_LEN],
	uint64_t ino, const struct journal_commit *c, const struct timespec *modified,
	const struct journal_fresh *fresh, size_t count)
{
	size_t begun = text->len;
	put_head(text, JOURNAL_COMMIT, 0);
	buf_put(text, file_id, CRYPTO_ID_LEN);
	buf_put64(text, ino);
	buf_put64(text, c->commits);
	buf_put64(text, c->length);
	put_time(text, modified);
	buf_put64(text, c->hard ? HARD : 0);
	buf_put64(text, count);
	for (size_t i = 0; i < count; i++) {
		buf_put64(text, fresh[i].page);
		buf_put64(text, fresh[i].count);
	}
	return begun;
}

void journal_format_put_range(struct buf *text, uint64_t offset, const void *bytes, uint32_t len)
{
	buf_put64(text, offset);
	buf_put32(text, len);
	buf_put(text, bytes, len);
}

void journal_format_end_commit(struct buf *text, size_t begun)
{
	if (buf_ok(text))
		bytes_put32(text->data + begun + 4, (uint32_t)(text->len - begun - ENTRY_HEAD));
}

bool journal_format_next_fresh(struct cur *fresh, struct journal_fresh *ret)
{
	const uint8_t *at = cur_take(fresh, JOURNAL_FORMAT_FRESH_LEN);
	if (at)
		*ret = (struct journal_fresh){bytes_get64(at), bytes_get64(at + 8)};
	return at;
}

bool journal_format_next_range(
	struct cur *ranges, uint64_t *ret_offset, const uint8_t **ret_bytes, uint32_t *ret_len)
{
	const uint8_t *head = cur_take(ranges, JOURNAL_FORMAT_RANGE_LEN);
	if (!head)
		return false;
	*ret_offset = bytes_get64(head);
	*ret_len = bytes_get32(head + 8);
	*ret_bytes = cur_take(ranges, *ret_len);
	return *ret_bytes;
}

static bool get_time(const uint8_t *at, struct timespec *ret)
{
	ret->tv_sec = (time_t)bytes_get64(at);
	ret->tv_nsec = bytes_get32(at + 8);
	return ret->tv_nsec < 1000000000;
}

static int read_commit(struct cur c, struct journal_entry *ret)
{
	const uint8_t *fixed = cur_take(&c, COMMIT_BODY - WHOSE_LEN);
	if (!fixed || !get_time(fixed + 16, &ret->modified))
		return -EBADMSG;
	ret->commit = (struct journal_commit){.commits = bytes_get64(fixed),
		.length = bytes_get64(fixed + 8),
		.hard = bytes_get64(fixed + 28) & HARD};
	uint64_t count = bytes_get64(fixed + 36), offset;
	if (bytes_get64(fixed + 28) & ~(uint64_t)HARD ||
		count > cur_left(&c) / JOURNAL_FORMAT_FRESH_LEN)
		return -EBADMSG;
	ret->fresh.at = cur_take(&c, (size_t)count * JOURNAL_FORMAT_FRESH_LEN);
	ret->fresh.end = c.at;
	ret->ranges = c;
	const uint8_t *bytes;
	uint32_t len;
	while (cur_left(&c))
		if (!journal_format_next_range(&c, &offset, &bytes, &len) || offset + len < offset)
			return -EBADMSG;
	return 0;
}

static int read_erase(struct cur c, struct journal_entry *ret)
{
	const uint8_t *rest = cur_take(&c, ERASE_BODY - WHOSE_LEN);
	if (!rest || cur_left(&c) || bytes_get32(rest + 16) & ~KEEP_SPACE)
		return -EBADMSG;
	ret->erase = (struct journal_erase){.ino = ret->ino,
		.first = bytes_get64(rest),
		.end = bytes_get64(rest + 8),
		.keep_space = bytes_get32(rest + 16) & KEEP_SPACE};
	memcpy(ret->erase.file_id, ret->file_id, CRYPTO_ID_LEN);
	return 0;
}

static int read_times(struct cur c, struct journal_entry *ret)
{
	const uint8_t *rest = cur_take(&c, TIME_LEN);
	return rest && !cur_left(&c) && get_time(rest, &ret->modified) ? 0 : -EBADMSG;
}

static int read_mark(struct cur c, struct journal_entry *ret)
{
	const uint8_t *rest = cur_take(&c, MARK_BODY - WHOSE_LEN);
	if (!rest || cur_left(&c) || bytes_get32(rest + 8) & ~DECISION)
		return -EBADMSG;
	ret->upto = bytes_get64(rest);
	ret->decision = bytes_get32(rest + 8) & DECISION;
	return 0;
}

int journal_format_next(struct cur *text, struct journal_entry *ret)
{
	static int (*const readers[])(struct cur, struct journal_entry *) = {
		[JOURNAL_ERASE] = read_erase,
		[JOURNAL_COMMIT] = read_commit,
		[JOURNAL_TIMES] = read_times,
		[JOURNAL_MARK] = read_mark,
	};
	if (!cur_left(text))
		return 0;
	const uint8_t *head = cur_take(text, ENTRY_HEAD);
	if (!head)
		return -EBADMSG;
	uint32_t len = bytes_get32(head + 4);
	const uint8_t *body = cur_take(text, len);
	if (!body)
		return -EBADMSG;
	uint16_t kind = bytes_get16(head);
	if (!kind || kind >= sizeof(readers) / sizeof(*readers) || bytes_get16(head + 2))
		return -EPROTONOSUPPORT;
	struct cur c = {body, body + len};
	const uint8_t *whose = cur_take(&c, WHOSE_LEN);
	if (!whose)
		return -EBADMSG;
	struct journal_entry e = {
		.kind = (enum journal_kind)kind, .ino = bytes_get64(whose + CRYPTO_ID_LEN)};
	memcpy(e.file_id, whose, CRYPTO_ID_LEN);
	int rc = readers[kind](c, &e);
	if (rc)
		return rc;
	*ret = e;
	return 1;
}
