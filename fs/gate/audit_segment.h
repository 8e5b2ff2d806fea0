/*
 * One segment of the audit trail as bytes (docs/audit.md, "Segment", "Record"): its signed header,
 * its sealed frames, the evolving record key and the running hash over everything written. No I/O.
 * Not thread-safe.
 */
#ifndef GATE_AUDIT_SEGMENT_H
#define GATE_AUDIT_SEGMENT_H

#include "keymgmt/crypto.h"

#include "keymgmt/base/cleanup.h"

#include <sys/types.h>

#define AUDIT_HEADER_LEN 4096
#define AUDIT_FRAME_LEN 12 /* before the sealed JSON */
#define AUDIT_FRAME_EXTRA                                                                          \
	(AUDIT_FRAME_LEN + CRYPTO_TAG_LEN) /* a frame is that much longer than its JSON */
#define AUDIT_JSON_MAX (1u << 18)          /* bytes */
#define AUDIT_HEAD_LEN 32
#define AUDIT_AUDITORS_MAX 8
#define AUDIT_BOX_LEN (KEY_LEN + CRYPTO_SEALED_BOX_EXTRA)
#define AUDIT_SEGMENT_NAME_LEN 13    /* "00000001.seg" and its zero byte */
#define AUDIT_SEGMENT_MAX (1u << 30) /* bytes; no reader takes a longer one */

/* What a header says about how its predecessor was found. */
#define AUDIT_PRED_CLEAN 1u   /* its last frame is an end record */
#define AUDIT_PRED_ALTERED 2u /* it had ended cleanly, and is not what it was then */
#define AUDIT_PRED_MISSING 4u /* there is no such file */

struct audit_header {
	uint32_t number; /* from 1 */
	uint16_t flags;  /* AUDIT_PRED_* */
	uint8_t store_uuid[CRYPTO_ID_LEN], tenant_uuid[CRYPTO_ID_LEN];
	uint64_t created_ns, first_sequence;
	uint64_t pred_len; /* bytes; 0 for the first */
	uint8_t pred_head[AUDIT_HEAD_LEN];
	uint8_t next_public[KEY_LEN]; /* Ed25519 key that signs segment number + 1 */
	unsigned auditors;
	uint8_t auditor[AUDIT_AUDITORS_MAX][KEY_LEN];
	uint8_t box[AUDIT_AUDITORS_MAX]
		   [AUDIT_BOX_LEN]; /* the segment key, sealed to that auditor */
};

/* Packs and signs. */
void audit_segment_header_pack(const struct audit_header *h, const struct secret *signing,
	uint8_t ret[static AUDIT_HEADER_LEN]);
/* Checks magic, version and lengths, not the signature. -EBADMSG; -EPROTONOSUPPORT a newer version.
 */
MUST_USE int audit_segment_header_parse(
	const uint8_t bytes[static AUDIT_HEADER_LEN], struct audit_header *ret);
bool audit_segment_header_signed(
	const uint8_t bytes[static AUDIT_HEADER_LEN], const uint8_t public_key[static KEY_LEN]);

void audit_segment_name(uint32_t number, char ret[static AUDIT_SEGMENT_NAME_LEN]);
/* The number that a file name stands for, or 0 when it is not a segment's. */
uint32_t audit_segment_number(const char *name);

/* Where a segment stands: the key of its next record, and what is behind it. */
struct audit_chain {
	struct secret *key, *spare; /* owned; spare is zero between calls */
	uint8_t tenant_uuid[CRYPTO_ID_LEN];
	uint32_t number;
	uint32_t attempt;         /* tries of the next record that failed: part of its nonce */
	uint64_t sequence;        /* of the next record */
	uint64_t records, length; /* so far, length in bytes with the header */
	uint8_t head[AUDIT_HEAD_LEN];
};

/* Takes segment_key. -ENOMEM (segment_key is then freed). */
MUST_USE int audit_segment_chain_init(struct audit_chain *c, const struct audit_header *h,
	const uint8_t header[static AUDIT_HEADER_LEN], struct secret *segment_key);
void audit_segment_chain_done(struct audit_chain *c); /* wipes */

/*
 * frame: AUDIT_FRAME_LEN bytes to be filled, then len (1..AUDIT_JSON_MAX) bytes of JSON that become
 * ciphertext in place, then room for the tag. Does not move the chain: a frame that could not be
 * written is sealed again after `attempt` + 1.
 */
MUST_USE int audit_segment_seal(struct audit_chain *c, uint8_t *frame, size_t len, bool end);
/* The frame of frame_len bytes is on the log: key, head, sequence and length move on, the old key
 * is gone. At least AUDIT_HEAD_LEN bytes before frame must be accessible; they are restored. */
void audit_segment_advance(struct audit_chain *c, uint8_t *frame, size_t frame_len);

/* What audit_segment_frame finds at a record boundary. */
enum audit_frame {
	AUDIT_FRAME_WHOLE,   /* a complete frame */
	AUDIT_FRAME_NONE,    /* no bytes left */
	AUDIT_FRAME_PARTIAL, /* the beginning of a frame, or zeros to the end: writing was
				interrupted here */
	AUDIT_FRAME_BAD,     /* nothing this log wrote */
};
/* c NULL: framing only, nothing is authenticated. ret_len: bytes of the whole frame. */
enum audit_frame audit_segment_frame(const struct audit_chain *c, const uint8_t *frame,
	size_t available, size_t *ret_len, bool *ret_end);
/* Opens a whole frame into ret (frame_len - AUDIT_FRAME_EXTRA bytes). -EBADMSG. Does not move the
 * chain. */
MUST_USE int audit_segment_open(
	const struct audit_chain *c, const uint8_t *frame, size_t frame_len, uint8_t *ret);

/* How a segment ends, as far as it can be seen without its key. */
struct audit_end {
	uint64_t length, records;
	uint8_t head[AUDIT_HEAD_LEN];
	bool clean; /* the last frame is flagged as the end and nothing follows */
};
/* bytes: the whole file; changed and restored meanwhile. */
void audit_segment_scan(uint8_t *bytes, size_t len, struct audit_end *ret);

#endif
