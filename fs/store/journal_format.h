/*
 * The bytes of a tenant's journal: superblock slots, sectors, records, entries (docs/format.md,
 * "Journal"). No I/O, no locks. Lengths are bytes unless they are called sectors.
 */
#ifndef STORE_JOURNAL_FORMAT_H
#define STORE_JOURNAL_FORMAT_H

#include "keymgmt/base/buf.h"
#include "keymgmt/keyring.h"

#include <time.h>

#define JOURNAL_FORMAT_SECTOR 512u
#define JOURNAL_FORMAT_PAYLOAD 488u     /* of a sector; its last 24 bytes say whose it is */
#define JOURNAL_FORMAT_SUPER_STEP 4096u /* from one superblock slot to the other */
#define JOURNAL_FORMAT_RING 8192u       /* where the records' sectors begin */
#define JOURNAL_FORMAT_TEXT_MAX (2u << 20)

struct journal_super {
	uint64_t generation; /* of two valid slots the higher one counts */
	uint64_t epoch;      /* that its records carry */
	uint64_t size;       /* of the journal file, bytes */
	uint64_t tail;       /* sector of the ring at which the first record begins */
	uint64_t sequence;   /* that this record carries */
	uint64_t ino, fsid; /* of the journal file as inode numbers are written; 0, 0: not stated */
	uint64_t since_ns;  /* when this period began, since 1970: nothing older waits in it */
	bool clean;         /* nobody has the tenant open */
	enum crypto_suite suite;
};

/* key: the journal key of this period; subkey: the metadata key's for "journal". -EIO, -ENOMEM. */
MUST_USE int journal_format_super_seal(const struct journal_super *s,
	const struct keyring_owner *owner, const struct secret *subkey, const struct secret *key,
	uint8_t ret[static JOURNAL_FORMAT_SECTOR]);
/* -EBADMSG damaged, or not a superblock; -EKEYREJECTED sealed under another metadata key;
 * -EPROTONOSUPPORT of a newer format; -ENOMEM. */
MUST_USE int journal_format_super_open(const uint8_t slot[static JOURNAL_FORMAT_SECTOR],
	const struct keyring_owner *owner, const struct secret *subkey, struct journal_super *ret,
	struct secret **ret_key);

/* The generation that a slot claims, 0 when it is none of this format; not authenticated. */
uint64_t journal_format_generation(const uint8_t slot[static JOURNAL_FORMAT_SECTOR]);

/* Where a record stands. */
struct journal_place {
	uint64_t epoch, sequence;
	uint64_t sector; /* of the ring, its first */
	uint64_t ring;   /* sectors of the ring, behind the last of which comes the first */
};

/* What a sector says of itself if it is the first of a record; not authenticated. */
struct journal_head {
	uint64_t epoch, sequence;
	uint64_t durable; /* when it was written, every record before this sequence was durable */
	size_t len;       /* of its text */
};

/* Of a record with a text of len bytes. */
uint64_t journal_format_sectors(size_t len);
/* ret: journal_format_sectors(len) sectors. len <= JOURNAL_FORMAT_TEXT_MAX. -EIO, -ENOMEM. */
MUST_USE int journal_format_seal(enum crypto_suite suite, const struct secret *key,
	const struct journal_place *at, uint64_t durable, const void *text, size_t len,
	uint8_t *ret);
/* Whether this is, whole, sector number `index` of the record that stands there and begins with the
 * sector `first`. */
bool journal_format_is_sector(const struct journal_place *at, uint64_t index, const uint8_t *sector,
	const uint8_t *first);
/* From a record's first sector. -EBADMSG a length beyond JOURNAL_FORMAT_TEXT_MAX. */
MUST_USE int journal_format_head(const uint8_t *sector, struct journal_head *ret);
/* All sectors of a record, each of them whole; appends its text. -EBADMSG, -EIO, -ENOMEM. */
MUST_USE int journal_format_open(enum crypto_suite suite, const struct secret *key,
	const struct journal_place *at, const uint8_t *sectors, size_t len, struct buf *ret_text);

/*
 * Blocks [first, end) of a file, and its tag pages in between, are to be overwritten where its
 * committed state does not name them.
 */
struct journal_erase {
	uint8_t file_id[CRYPTO_ID_LEN];
	uint64_t ino; /* lower inode number when it was written; a copied store has others */
	uint64_t first, end;
	bool keep_space; /* else it is given back */
};
#define JOURNAL_FORMAT_ERASE_LEN 52 /* with its head */
#define JOURNAL_FORMAT_MARK_LEN 44  /* with its head */
#define JOURNAL_FORMAT_TIMES_LEN 44 /* with its head */

/* Which state of a file a commit is. */
struct journal_commit {
	uint64_t commits; /* version, as in its header */
	uint64_t length;  /* of the lower file */
	bool hard;        /* the data that it names was durable before */
};
/* Lower pages in a row that were written in place since the commit before: they were not named by
 * anything. */
struct journal_fresh {
	uint64_t page, count; /* in units of BLOCK_MAP_BLOCK */
};
#define JOURNAL_FORMAT_COMMIT_LEN 76 /* without its fresh pages and ranges, with its head */
#define JOURNAL_FORMAT_FRESH_LEN 16
#define JOURNAL_FORMAT_RANGE_LEN 12 /* without its bytes */

enum journal_kind { JOURNAL_ERASE = 1, JOURNAL_COMMIT = 2, JOURNAL_TIMES = 3, JOURNAL_MARK = 4 };

/* One entry as it is read. */
struct journal_entry {
	enum journal_kind kind;
	uint64_t sequence; /* of its record; not of journal_format_next */
	uint8_t file_id[CRYPTO_ID_LEN];
	uint64_t ino;
	struct journal_erase erase;   /* ERASE */
	struct journal_commit commit; /* COMMIT */
	struct timespec modified;     /* COMMIT, TIMES: the modification time from then on */
	struct cur fresh, ranges;     /* COMMIT: borrowed from the text */
	uint64_t upto;                /* MARK: the file's records up to there count */
	bool decision;                /* MARK: and none after it; of a recovery */
};

void journal_format_put_erase(struct buf *text, const struct journal_erase *e);
void journal_format_put_times(struct buf *text, const uint8_t file_id[static CRYPTO_ID_LEN],
	uint64_t ino, const struct timespec *modified);
/* The file's records up to `upto` are durable, data and all; decision: the later ones do not count.
 */
void journal_format_put_mark(struct buf *text, const uint8_t file_id[static CRYPTO_ID_LEN],
	uint64_t ino, uint64_t upto, bool decision);
/* A commit is begun, gets its ranges of bytes of the lower file, and is ended with what begin
 * returned. */
MUST_USE size_t journal_format_begin_commit(struct buf *text,
	const uint8_t file_id[static CRYPTO_ID_LEN], uint64_t ino, const struct journal_commit *c,
	const struct timespec *modified, const struct journal_fresh *fresh, size_t count);
void journal_format_put_range(struct buf *text, uint64_t offset, const void *bytes, uint32_t len);
void journal_format_end_commit(struct buf *text, size_t begun);

/* The next entry of a text. 1; 0 at its end; -EBADMSG; -EPROTONOSUPPORT a kind of a newer format.
 */
MUST_USE int journal_format_next(struct cur *text, struct journal_entry *ret);
/* The next of a commit's fresh pages or ranges: false at the end. What journal_format_next returned
 * is well-formed. */
bool journal_format_next_fresh(struct cur *fresh, struct journal_fresh *ret);
bool journal_format_next_range(
	struct cur *ranges, uint64_t *ret_offset, const uint8_t **ret_bytes, uint32_t *ret_len);

#endif
