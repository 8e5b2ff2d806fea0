/*
 * The bytes of a tenant's journal: superblock slots, sectors, records, entries (docs/format.md,
 * "Journal"). No I/O, no locks. Lengths are bytes unless they are called sectors.
 */
#ifndef STORE_JOURNAL_FORMAT_H
#define STORE_JOURNAL_FORMAT_H

#include "keymgmt/base/buf.h"
#include "keymgmt/keyring.h"

#define JOURNAL_FORMAT_SECTOR 512u
#define JOURNAL_FORMAT_PAYLOAD 488u     /* of a sector; its last 24 bytes say whose it is */
#define JOURNAL_FORMAT_SUPER_STEP 4096u /* from one superblock slot to the other */
#define JOURNAL_FORMAT_RING 8192u       /* where the records' sectors begin */
#define JOURNAL_FORMAT_TEXT_MAX (256u << 10)

struct journal_super {
	uint64_t generation; /* of two valid slots the higher one counts */
	uint64_t epoch;      /* that its records carry */
	uint64_t size;       /* of the journal file, bytes */
	uint64_t tail;       /* sector of the ring at which the first record begins */
	uint64_t sequence;   /* that this record carries */
	uint64_t ino, fsid; /* of the journal file as inode numbers are written; 0, 0: not stated */
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

/* Where a record stands. */
struct journal_place {
	uint64_t epoch, sequence;
	uint64_t sector; /* of the ring, its first */
	uint64_t ring;   /* sectors of the ring, behind the last of which comes the first */
};

/* Of a record with a text of len bytes. */
uint64_t journal_format_sectors(size_t len);
/* ret: journal_format_sectors(len) sectors. len <= JOURNAL_FORMAT_TEXT_MAX. -EIO, -ENOMEM. */
MUST_USE int journal_format_seal(enum crypto_suite suite, const struct secret *key,
	const struct journal_place *at, const void *text, size_t len, uint8_t *ret);
/* Whether this is, whole, sector number `index` of the record that stands there. */
bool journal_format_is_sector(
	const struct journal_place *at, uint64_t index, const uint8_t *sector);
/* The length of the text, from a record's first sector. -EBADMSG beyond JOURNAL_FORMAT_TEXT_MAX. */
MUST_USE int journal_format_length(const uint8_t *sector, size_t *ret_len);
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

void journal_format_put_erase(struct buf *text, const struct journal_erase *e);
/* The next entry of a text. 1; 0 at its end; -EBADMSG; -EPROTONOSUPPORT a kind of a newer format.
 */
MUST_USE int journal_format_next(struct cur *text, struct journal_erase *ret);

#endif
