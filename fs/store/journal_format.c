#include "fs/store/journal_format.h"

#include "keymgmt/base/bytes.h"
#include "keymgmt/wrap.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#define VERSION 1u
#define FIELDS_LEN 64u /* of a superblock, in front of the wrapped key */
#define HEAD_LEN 36u   /* of a record: length, zeros, nonce, tag */
#define ENTRY_HEAD 8u  /* kind, zeros, length of the body */
#define ERASE 1u
#define ERASE_BODY (JOURNAL_FORMAT_ERASE_LEN - ENTRY_HEAD)
#define KEEP_SPACE 1u

static const uint8_t magic[4] = {'T', 'F', 'S', 'J'};
static const char super_label[] = "tfs-journal-super", record_label[] = "tfs-journal-record";
#define SUPER_AD (sizeof(super_label) - 1 + FIELDS_LEN + 2 * CRYPTO_ID_LEN)
#define RECORD_AD (sizeof(record_label) - 1 + 8 + 24)

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

/* What is wrong with a sector that was only written in part, or that is another one's. */
static uint64_t check(const struct journal_place *at, uint64_t index, const uint8_t *sector)
{
	return XXH3_64bits_withSeed(
		sector, JOURNAL_FORMAT_PAYLOAD + 16, (at->sector + index) % at->ring);
}

static void associate(
	const struct journal_place *at, const uint8_t *head, uint8_t ret[static RECORD_AD])
{
	memcpy(ret, record_label, sizeof(record_label) - 1);
	ret += sizeof(record_label) - 1;
	memcpy(ret, head, 8);
	bytes_put64(ret + 8, at->epoch);
	bytes_put64(ret + 16, at->sequence);
	bytes_put64(ret + 24, at->sector);
}

uint64_t journal_format_sectors(size_t len)
{
	return (HEAD_LEN + len + JOURNAL_FORMAT_PAYLOAD - 1) / JOURNAL_FORMAT_PAYLOAD;
}

int journal_format_seal(enum crypto_suite suite, const struct secret *key,
	const struct journal_place *at, const void *text, size_t len, uint8_t *ret)
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
	crypto_nonce(head + 8, CRYPTO_NONCE_LEN);
	bytes_put64(suffix, at->sequence);
	associate(at, head, ad);
	int rc = crypto_seal(suite, key, head + 8, suffix, ad, sizeof(ad), text, len,
		head + HEAD_LEN, head + 8 + CRYPTO_NONCE_LEN);
	for (uint64_t i = 0; !rc && i < sectors; i++) {
		uint8_t *sector = ret + i * JOURNAL_FORMAT_SECTOR;
		memcpy(sector, head + i * JOURNAL_FORMAT_PAYLOAD, JOURNAL_FORMAT_PAYLOAD);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD, at->sequence);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD + 8, at->epoch);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD + 16, check(at, i, sector));
	}
	return rc;
}

bool journal_format_is_sector(const struct journal_place *at, uint64_t index, const uint8_t *sector)
{
	const uint8_t *mark = sector + JOURNAL_FORMAT_PAYLOAD;
	return bytes_get64(mark) == at->sequence && bytes_get64(mark + 8) == at->epoch &&
	       bytes_get64(mark + 16) == check(at, index, sector);
}

int journal_format_length(const uint8_t *sector, size_t *ret_len)
{
	uint32_t len = bytes_get32(sector);
	if (len > JOURNAL_FORMAT_TEXT_MAX)
		return -EBADMSG;
	*ret_len = len;
	return 0;
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
	int rc = crypto_open(suite, key, head + 8, suffix, ad, sizeof(ad), head + HEAD_LEN, len,
		ret_text->data + ret_text->len, head + 8 + CRYPTO_NONCE_LEN);
	if (!rc)
		ret_text->len += len;
	return rc;
}

void journal_format_put_erase(struct buf *text, const struct journal_erase *e)
{
	buf_put16(text, ERASE);
	buf_put16(text, 0);
	buf_put32(text, ERASE_BODY);
	buf_put(text, e->file_id, sizeof(e->file_id));
	buf_put64(text, e->ino);
	buf_put64(text, e->first);
	buf_put64(text, e->end);
	buf_put32(text, e->keep_space ? KEEP_SPACE : 0);
}

int journal_format_next(struct cur *text, struct journal_erase *ret)
{
	if (!cur_left(text))
		return 0;
	const uint8_t *head = cur_take(text, ENTRY_HEAD);
	if (!head)
		return -EBADMSG;
	const uint8_t *body = cur_take(text, bytes_get32(head + 4));
	if (!body)
		return -EBADMSG;
	if (bytes_get16(head) != ERASE || bytes_get16(head + 2))
		return -EPROTONOSUPPORT;
	if (bytes_get32(head + 4) != ERASE_BODY || bytes_get32(body + 40) & ~KEEP_SPACE)
		return -EBADMSG;
	*ret = (struct journal_erase){.ino = bytes_get64(body + 16),
		.first = bytes_get64(body + 24),
		.end = bytes_get64(body + 32),
		.keep_space = bytes_get32(body + 40) & KEEP_SPACE};
	memcpy(ret->file_id, body, sizeof(ret->file_id));
	return 1;
}
