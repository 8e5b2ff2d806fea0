#include "fs/gate/audit_segment.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* docs/audit.md, "Segment" */
enum {
	AT_VERSION = 8,
	AT_FLAGS = 10,
	AT_NUMBER = 12,
	AT_STORE = 16,
	AT_TENANT = 32,
	AT_CREATED = 48,
	AT_SEQUENCE = 56,
	AT_PRED_LEN = 64,
	AT_PRED_HEAD = 72,
	AT_NEXT = 104,
	AT_AUDITORS = 136,
	AT_BOXES = 144,
	AT_SIGNATURE = AUDIT_HEADER_LEN - CRYPTO_SIGNATURE_LEN,
};
#define BOX_STEP (KEY_LEN + AUDIT_BOX_LEN)
#define VERSION 1

#define END_FLAG 0x80000000u
#define GUARD_LEN 4

static const uint8_t magic[8] = "TFSAUDIT";
/* As crypto_derive(key, label, "", 32) computes it, without allocating: the label behind its
 * length. */
static const uint8_t evolve_label[] = "\x0c"
				      "audit-record";

void audit_segment_header_pack(const struct audit_header *h, const struct secret *signing,
	uint8_t ret[static AUDIT_HEADER_LEN])
{
	memset(ret, 0, AUDIT_HEADER_LEN);
	memcpy(ret, magic, sizeof(magic));
	bytes_put16(ret + AT_VERSION, VERSION);
	bytes_put16(ret + AT_FLAGS, h->flags);
	bytes_put32(ret + AT_NUMBER, h->number);
	memcpy(ret + AT_STORE, h->store_uuid, CRYPTO_ID_LEN);
	memcpy(ret + AT_TENANT, h->tenant_uuid, CRYPTO_ID_LEN);
	bytes_put64(ret + AT_CREATED, h->created_ns);
	bytes_put64(ret + AT_SEQUENCE, h->first_sequence);
	bytes_put64(ret + AT_PRED_LEN, h->pred_len);
	memcpy(ret + AT_PRED_HEAD, h->pred_head, AUDIT_HEAD_LEN);
	memcpy(ret + AT_NEXT, h->next_public, KEY_LEN);
	bytes_put32(ret + AT_AUDITORS, h->auditors);
	for (unsigned i = 0; i < h->auditors; i++) {
		memcpy(ret + AT_BOXES + i * BOX_STEP, h->auditor[i], KEY_LEN);
		memcpy(ret + AT_BOXES + i * BOX_STEP + KEY_LEN, h->box[i], AUDIT_BOX_LEN);
	}
	crypto_sign_with(signing, ret, AT_SIGNATURE, ret + AT_SIGNATURE);
}

int audit_segment_header_parse(
	const uint8_t bytes[static AUDIT_HEADER_LEN], struct audit_header *ret)
{
	struct audit_header h = {0};
	if (memcmp(bytes, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	if (bytes_get16(bytes + AT_VERSION) != VERSION)
		return bytes_get16(bytes + AT_VERSION) > VERSION ? -EPROTONOSUPPORT : -EBADMSG;
	h.flags = bytes_get16(bytes + AT_FLAGS);
	h.number = bytes_get32(bytes + AT_NUMBER);
	memcpy(h.store_uuid, bytes + AT_STORE, CRYPTO_ID_LEN);
	memcpy(h.tenant_uuid, bytes + AT_TENANT, CRYPTO_ID_LEN);
	h.created_ns = bytes_get64(bytes + AT_CREATED);
	h.first_sequence = bytes_get64(bytes + AT_SEQUENCE);
	h.pred_len = bytes_get64(bytes + AT_PRED_LEN);
	memcpy(h.pred_head, bytes + AT_PRED_HEAD, AUDIT_HEAD_LEN);
	memcpy(h.next_public, bytes + AT_NEXT, KEY_LEN);
	h.auditors = bytes_get32(bytes + AT_AUDITORS);
	if (h.auditors > AUDIT_AUDITORS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < h.auditors; i++) {
		memcpy(h.auditor[i], bytes + AT_BOXES + i * BOX_STEP, KEY_LEN);
		memcpy(h.box[i], bytes + AT_BOXES + i * BOX_STEP + KEY_LEN, AUDIT_BOX_LEN);
	}
	*ret = h;
	return 0;
}

bool audit_segment_header_signed(
	const uint8_t bytes[static AUDIT_HEADER_LEN], const uint8_t public_key[static KEY_LEN])
{
	return crypto_sign_verify(public_key, bytes, AT_SIGNATURE, bytes + AT_SIGNATURE);
}

void audit_segment_name(uint32_t number, char ret[static AUDIT_SEGMENT_NAME_LEN])
{
	/* eight digits; a log that exceeds them has written 6 PB */
	snprintf(ret, AUDIT_SEGMENT_NAME_LEN, "%08u.seg", number % 100000000u);
}

uint32_t audit_segment_number(const char *name)
{
	uint32_t number = 0;
	if (strlen(name) != AUDIT_SEGMENT_NAME_LEN - 1 || strcmp(name + 8, ".seg") != 0)
		return 0;
	for (int i = 0; i < 8; i++) {
		if (name[i] < '0' || name[i] > '9')
			return 0;
		number = number * 10 + (uint32_t)(name[i] - '0');
	}
	return number;
}

int audit_segment_chain_init(struct audit_chain *c, const struct audit_header *h,
	const uint8_t header[static AUDIT_HEADER_LEN], struct secret *segment_key)
{
	*c = (struct audit_chain){
		.key = segment_key,
		.spare = secret_new(KEY_LEN),
		.number = h->number,
		.sequence = h->first_sequence,
		.length = AUDIT_HEADER_LEN,
	};
	memcpy(c->tenant_uuid, h->tenant_uuid, CRYPTO_ID_LEN);
	crypto_digest(header, AUDIT_HEADER_LEN, c->head, AUDIT_HEAD_LEN);
	if (c->spare)
		return 0;
	audit_segment_chain_done(c);
	return -ENOMEM;
}

void audit_segment_chain_done(struct audit_chain *c)
{
	secret_free(c->key);
	secret_free(c->spare);
	*c = (struct audit_chain){0};
}

/* Binds the length to this very record, so that a changed length is never taken for an interrupted
 * write. */
static void guard(const struct audit_chain *c, const uint8_t *frame, uint8_t ret[static GUARD_LEN])
{
	uint8_t in[32] = "audit-frame", mac[16];
	memcpy(in + 12, frame, 8);
	bytes_put64(in + 20, c->sequence);
	bytes_put32(in + 28, c->number);
	crypto_siphash(c->key, in, sizeof(in), mac);
	memcpy(ret, mac, GUARD_LEN);
}

struct sealing {
	uint8_t nonce[CRYPTO_NONCE_LEN], ad[CRYPTO_ID_LEN + 8];
};

static struct sealing sealing(const struct audit_chain *c, const uint8_t *frame)
{
	struct sealing s;
	bytes_put64(s.nonce, c->sequence);
	memcpy(s.nonce + 8, frame + 4, 4); /* attempt */
	memcpy(s.ad, c->tenant_uuid, CRYPTO_ID_LEN);
	bytes_put32(s.ad + CRYPTO_ID_LEN, c->number);
	memcpy(s.ad + CRYPTO_ID_LEN + 4, frame, 4); /* length and flags */
	return s;
}

static const uint8_t no_suffix[CRYPTO_NONCE_LEN];

int audit_segment_seal(struct audit_chain *c, uint8_t *frame, size_t len, bool end)
{
	uint8_t *json = frame + AUDIT_FRAME_LEN;
	if (len < 1 || len > AUDIT_JSON_MAX)
		return -EMSGSIZE;
	bytes_put32(frame, (uint32_t)len | (end ? END_FLAG : 0));
	bytes_put32(frame + 4, c->attempt);
	guard(c, frame, frame + 8);
	struct sealing s = sealing(c, frame);
	return crypto_seal(CRYPTO_XCHACHA20_POLY1305, c->key, s.nonce, no_suffix, s.ad,
		sizeof(s.ad), json, len, json, json + len);
}

/* head = BLAKE2b-256(head || bytes). */
static void chain_hash(uint8_t head[static AUDIT_HEAD_LEN], uint8_t *bytes, size_t len)
{
	uint8_t saved[AUDIT_HEAD_LEN];
	memcpy(saved, bytes - AUDIT_HEAD_LEN, AUDIT_HEAD_LEN);
	memcpy(bytes - AUDIT_HEAD_LEN, head, AUDIT_HEAD_LEN);
	crypto_digest(bytes - AUDIT_HEAD_LEN, AUDIT_HEAD_LEN + len, head, AUDIT_HEAD_LEN);
	memcpy(bytes - AUDIT_HEAD_LEN, saved, AUDIT_HEAD_LEN);
}

void audit_segment_advance(struct audit_chain *c, uint8_t *frame, size_t frame_len)
{
	struct secret *old = c->key;
	chain_hash(c->head, frame, frame_len);
	crypto_mac(old, evolve_label, sizeof(evolve_label) - 1, secret_bytes(c->spare), KEY_LEN);
	crypto_wipe(secret_bytes(old), KEY_LEN);
	c->key = c->spare;
	c->spare = old;
	c->sequence++;
	c->records++;
	c->length += frame_len;
	c->attempt = 0;
}

/*
 * Blocks that never reached the disk read as zeros, from some sector to the end of the file. The
 * first byte of them behind frame, or `available`. Whoever writes zeros there on purpose has cut
 * the log, no more.
 */
static size_t lost_from(const struct audit_chain *c, const uint8_t *frame, size_t available)
{
	size_t zeros = available;
	while (zeros > 0 && frame[zeros - 1] == 0)
		zeros--;
	uint64_t sector = (c->length + zeros + 511) / 512 * 512;
	return sector - c->length < available ? (size_t)(sector - c->length) : available;
}

enum audit_frame audit_segment_frame(const struct audit_chain *c, const uint8_t *frame,
	size_t available, size_t *ret_len, bool *ret_end)
{
	uint8_t expected[GUARD_LEN];
	if (available == 0)
		return AUDIT_FRAME_NONE;
	if (available < AUDIT_FRAME_LEN || bytes_all_zero(frame, available))
		return AUDIT_FRAME_PARTIAL;
	size_t lost = c ? lost_from(c, frame, available) : available;
	if (lost < AUDIT_FRAME_LEN)
		return AUDIT_FRAME_PARTIAL;
	uint32_t word = bytes_get32(frame), len = word & ~END_FLAG;
	if (len < 1 || len > AUDIT_JSON_MAX)
		return AUDIT_FRAME_BAD;
	if (c) {
		guard(c, frame, expected);
		if (!crypto_equal(expected, frame + 8, GUARD_LEN))
			return AUDIT_FRAME_BAD;
	}
	if (available < len + AUDIT_FRAME_EXTRA || lost < len + AUDIT_FRAME_EXTRA)
		return AUDIT_FRAME_PARTIAL;
	*ret_len = len + AUDIT_FRAME_EXTRA;
	*ret_end = word & END_FLAG;
	return AUDIT_FRAME_WHOLE;
}

int audit_segment_open(
	const struct audit_chain *c, const uint8_t *frame, size_t frame_len, uint8_t *ret)
{
	size_t len = frame_len - AUDIT_FRAME_EXTRA;
	struct sealing s = sealing(c, frame);
	return crypto_open(CRYPTO_XCHACHA20_POLY1305, c->key, s.nonce, no_suffix, s.ad,
		sizeof(s.ad), frame + AUDIT_FRAME_LEN, len, ret, frame + AUDIT_FRAME_LEN + len);
}

void audit_segment_scan(uint8_t *bytes, size_t len, struct audit_end *ret)
{
	size_t at = len < AUDIT_HEADER_LEN ? len : AUDIT_HEADER_LEN, frame_len = 0;
	bool end = false;
	*ret = (struct audit_end){.length = len};
	crypto_digest(bytes, at, ret->head, AUDIT_HEAD_LEN);
	while (!end && audit_segment_frame(NULL, bytes + at, len - at, &frame_len, &end) ==
			       AUDIT_FRAME_WHOLE) {
		chain_hash(ret->head, bytes + at, frame_len);
		at += frame_len;
		ret->records++;
	}
	ret->clean = end && at == len;
	if (at < len)
		chain_hash(ret->head, bytes + at, len - at);
}
