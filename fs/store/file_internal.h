/*
 * What the files file*.c share: the open file, and what each of them does for the others. Nobody
 * else includes it.
 *
 * file.c         the calls of file.h: locks, alarms, reference count
 * file_home.c    the directories in which it has names
 * file_lower.c   descriptors and whole reads and writes on the lower file
 * file_header.c  header slots and keys
 * file_tags.c    cache of tag pages
 * file_presence.c which groups are there
 * file_io.c      read and write
 * file_size.c    truncate
 * file_commit.c  the order in which a state reaches the lower file
 * file_sync.c    fsync
 * file_range.c   ranges: erased, allocated, punched, zeroed, looked for
 * file_stage.c   pages that are newer than what is in their place
 * file_redo.c    what a checkpoint does with a file
 * file_recover.c what recovery does with one
 * file_rewrap.c  new wraps for rotation
 * file_sweep.c   erasing that was cut short, finished
 *
 * Locks: the gate of redo.h, then f->lock (shared: reads; exclusive: everything that changes), then
 * f->cache_lock (caches that readers fill). Unless said otherwise functions want f->lock exclusive,
 * and return -errno with the file as it was.
 */
#ifndef STORE_FILE_INTERNAL_H
#define STORE_FILE_INTERNAL_H

#include "fs/store/content.h"
#include "fs/store/file.h"
#include "fs/store/redo.h"
#include "keymgmt/base/lock.h"

#include <stdatomic.h>

#define FILE_TAG_PAGES 96   /* cached tag pages */
#define FILE_TAG_DIRTY 64   /* of which so many may be dirty: the rest are for reading */
#define FILE_RUN_BLOCKS 32u /* blocks sealed and written at a time: 128 KiB */

/* Pages are logged in units, which no tag entry or header slot shares with another. */
#define FILE_UNIT 32u
#define FILE_UNITS (BLOCK_MAP_BLOCK / FILE_UNIT)
#define FILE_UNIT_WORDS (FILE_UNITS / 64)
struct file_units {
	uint64_t bits[FILE_UNIT_WORDS];
};
/* Bytes of a record that a page takes at most: units far apart take less than one whole. */
#define FILE_STAGE_TEXT (JOURNAL_FORMAT_RANGE_LEN + BLOCK_MAP_BLOCK)
/* What a commit takes beside its pages but page 0. */
#define FILE_COMMIT_TEXT                                                                           \
	(JOURNAL_FORMAT_COMMIT_LEN + JOURNAL_FORMAT_ERASE_LEN + JOURNAL_FORMAT_MARK_LEN +          \
		FILE_STAGE_TEXT)
#define FILE_FRESH_MAX 1024          /* runs of fresh pages in one commit */
#define FILE_PROMISED_MAX (1u << 20) /* bytes of one commit, nearly */

struct file_stage {
	uint64_t offset;                   /* of the lower file */
	uint64_t changed[FILE_UNIT_WORDS]; /* units that the next commit logs */
	struct file_stage *next_changed;   /* of those that have some */
	uint8_t page[BLOCK_MAP_BLOCK];
};

/* What an -EBADMSG is about; becomes the alarm once the locks are released. */
struct file_fault {
	const char *what, *detail;
	uint64_t block;
};
#define FILE_FAULT_NONE                                                                            \
	{                                                                                          \
		"file", "does not verify", UINT64_MAX                                              \
	}

struct buf;

/* Passes rc on, after the alarm that an -EBADMSG calls for. No lock held. */
int file_finish(struct file *f, int rc, const struct file_fault *ft);

/* Fills ft and returns -EBADMSG. */
int file_fault_set(struct file_fault *ft, const char *what, const char *detail, uint64_t block);

struct file_tag_page {
	uint64_t group;
	uint64_t used; /* cache clock */
	bool dirty;
	bool fresh; /* the group came to be since the last commit: FORMAT_NONE entries are holes to
		       be sealed then */
	bool born;  /* so it did, and nothing is committed in its place, whatever is sealed */
	struct file_units written; /* blocks that were put in their place since the last commit */
	struct file_units changed; /* entries that did change since it was last put anywhere; of
				      group 0 units of page 0 */
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN];
};

struct file_presence {
	bool dirty;
	uint8_t page[BLOCK_MAP_BLOCK];
};

/* Keys of the content; replaced as a whole when a file is emptied. */
struct file_keys {
	struct secret *fek, *mac, *hash, *mask, *presence;
};

struct file {
	const struct store *store; /* borrowed */
	atomic_uint refs;
	int fd;       /* owned; constant */
	int write_fd; /* fd, another owned one, or -1 as long as nobody needed one; lock */
	ino_t ino;
	struct lock_rw lock;

	/* lock: */
	bool has_header;
	bool dirty;        /* what is here is newer than what the slots say */
	bool fsync_failed; /* the lower file cannot be trusted any more: no writes */
	struct format_header
		h; /* as it will be committed; homes are kept before there is a header, too */
	uint8_t hash[FORMAT_HASH_LEN];     /* set hash, not masked */
	uint8_t slots[2][FORMAT_SLOT_LEN]; /* as on the disk */
	unsigned slot; /* the valid one; 1 while there is none, so that A comes first */
	uint64_t lower_len;
	struct file_keys keys;
	struct secret *xk;          /* NULL until needed */
	struct file_tag_page first; /* group 0: its entries are in page 0 */
	uint8_t *scratch;           /* ciphertext on its way; grows to FILE_RUN_BLOCKS */
	size_t scratch_len;
	struct file_stage **staged; /* owned; see file_stage.c */
	struct file_stage *changed; /* of these, since the last commit */
	size_t staged_count, staged_room;
	struct journal_fresh *fresh; /* owned; written in place since the last commit */
	size_t fresh_count, fresh_room;
	uint64_t promised;   /* bytes of staged and changed pages in the next record, at most */
	unsigned erasures;   /* of which the next record may announce so many */
	uint64_t reserved;   /* sectors of the journal that are kept for it */
	uint64_t last, hard; /* sequence of its last record, and of the last that is durable with
				its data; 0: none in this period */
	uint64_t home_went;  /* sequence of the last record with a home less; UINT64_MAX: not
				committed yet; 0: none, or durable */
	bool name_went;      /* from its only home, and perhaps not from the disk */
	/* What an erasing commit that failed should have announced: the next one does. */
	bool owes;
	struct journal_erase owed;
	/* Appended bit by bit, each flushed: it rides in the record (file_ride.c). */
	uint64_t since_sync;        /* bytes written since the last fsync */
	unsigned small_syncs;       /* in a row with little written before each; stops at 255 */
	time_t synced_at;           /* the last one; s, monotonic */
	uint64_t ahead_from, ahead; /* what was allocated in advance, the lower length is there for
				       it; 0: nothing */
	bool rides;                 /* what is being written does */
	bool time_behind;    /* the lower modification time is older than that of the last commit */
	bool unsynced;       /* written in place since the last fdatasync */
	bool inode_unsynced; /* so were staged pages since the last fsync: with them it carries the
				times, which moved, and what became of names */
	bool redo_only; /* a commit failed: what is committed is not known, nothing is written in
			   place */
	bool forgotten; /* being erased */
	struct timespec clean_ctime; /* of the lower inode when it was last fsynced; {0}: never */
	struct timespec kept; /* modification time that commits keep, valid while keeps_time */
	bool keeps_time;
	char trash_name[64]; /* "" unless its last name is in the trash */

	struct lock_mutex cache_lock;
	struct file_tag_page *tags[FILE_TAG_PAGES]; /* cache_lock */
	unsigned tag_count, tag_dirty;
	uint64_t clock;
	struct file *listed_next; /* the table of redo.h, which has the lock */
	bool listed;
	struct file_presence *
		*presence; /* BLOCK_MAP_PRESENCE_PAGES pointers, NULL until needed; cache_lock */
};

/* Whether a write of len bytes, > 0, all in the page's group, rides; takes space for it. */
bool file_ride_may(struct file *f, const struct file_tag_page *p, uint64_t offset, size_t len);
/* len bytes were written; everything is durable. */
void file_ride_wrote(struct file *f, size_t len);
void file_ride_synced(struct file *f);
/* Nothing is kept in advance any more. The lower file is as long as before: the next commit cuts
 * it, and there must be one, since a length that gets shorter waits for its record to be durable.
 */
void file_ride_end(struct file *f);
/* With that commit; 0 when nothing was kept. After an error it is still to come. */
MUST_USE int file_ride_stop(struct file *f);
/* The modification time of the last commit. */
struct timespec file_modified(const struct file *f);

/* The file without lower file or header; *ret with one reference. */
MUST_USE int file_new(const struct store *s, struct file **ret);
/* Closes and frees, without commit. */
void file_free(struct file *f);

/* Read-write where possible, else for reading; modes that forbid even that to their owner are
 * lifted for a moment. */
MUST_USE int file_lower_open(struct file *f, const struct dir *d, const char *lower);
/* Makes write_fd usable. -EROFS, -EACCES, -EIO after a failed fsync. */
MUST_USE int file_lower_writable(struct file *f);
/* Bytes until len or the end of the lower file. The iov is used up. Any lock. */
MUST_USE ssize_t file_lower_read(struct file *f, struct iovec *iov, int n, uint64_t offset);
/* len, or how much before an error (then *ret_error is set); keeps lower_len. */
size_t file_lower_write(
	struct file *f, const void *bytes, size_t len, uint64_t offset, int *ret_error);
MUST_USE int file_lower_write_all(struct file *f, const void *bytes, size_t len, uint64_t offset);
MUST_USE int file_lower_resize(struct file *f, uint64_t len);
MUST_USE int file_lower_sync(struct file *f, bool data_only);

/* Reads and verifies the header; the file may be shorter or longer by what a kill can leave
 * (file_header.c). */
MUST_USE int file_header_load(struct file *f, struct file_fault *ft);
/* Id, keys and header for a file that has none; on the disk when it returns. */
MUST_USE int file_header_make(struct file *f);
/* New FEK for an emptied file; the old one lives on in the slots until the next commit into both.
 */
MUST_USE int file_header_rekey(struct file *f);
/* Page 0: the next commit version into the other slot (FILE_COMMIT_BOTH: into both), and the tags
 * of group 0. FILE_COMMIT_FIRST: in its place. */
MUST_USE int file_header_write(struct file *f, unsigned flags);
MUST_USE int file_header_open_xk(struct file *f);
/* Seals fek and xk under the newest epoch into *h. */
MUST_USE int file_header_wrap(const struct store *s, struct format_header *h,
	const struct secret *fek, const struct secret *xk);
/* Wipes and frees the keys. */
void file_header_forget(struct file *f);
static inline struct content file_content(const struct file *f)
{
	return (struct content){(enum crypto_suite)f->h.suite, f->keys.fek, f->h.file_id};
}

/* Copies entries [index, index + count) of a group that is present. f->lock shared will do. */
MUST_USE int file_tags_copy(struct file *f, uint64_t group, unsigned index, unsigned count,
	uint8_t *ret, bool *ret_fresh, struct file_fault *ft);
/* The page of a group to be changed; a fresh one when the group is not present. May write another
 * one out. Borrowed until the next call. */
MUST_USE int file_tags_get(
	struct file *f, uint64_t group, struct file_tag_page **ret, struct file_fault *ft);
/* Replaces an entry (set hash, dirty). Cannot fail. */
void file_tags_set(struct file *f, struct file_tag_page *p, unsigned index,
	const uint8_t entry[static FORMAT_TAG_LEN]);
/* Seals the holes of fresh pages and writes the dirty ones but group 0. */
MUST_USE int file_tags_flush(struct file *f);
/* What was written is committed. */
void file_tags_committed(struct file *f);
/* Forgets groups >= group, dirty or not. */
void file_tags_drop(struct file *f, uint64_t group);
void file_tags_free(struct file *f);

/* 1 or 0. Reads the presence page where there is one. f->lock shared will do. */
MUST_USE int file_presence_test(struct file *f, uint64_t group, struct file_fault *ft);
/* Memory for marking this group: file_presence_set then cannot fail. */
MUST_USE int file_presence_prepare(struct file *f, uint64_t group, struct file_fault *ft);
void file_presence_set(struct file *f, uint64_t group);
/* The first present group >= from, or BLOCK_MAP_GROUPS. */
MUST_USE int file_presence_next(
	struct file *f, uint64_t from, uint64_t *ret_group, struct file_fault *ft);
/* Groups >= group are absent from now on. All their pages have been read (file_presence_next). */
void file_presence_cut(struct file *f, uint64_t group);
MUST_USE int file_presence_flush(struct file *f);
void file_presence_free(struct file *f);

/* f->lock shared. */
MUST_USE ssize_t file_io_read(
	struct file *f, void *bytes, size_t len, uint64_t offset, struct file_fault *ft);
MUST_USE ssize_t file_io_write(
	struct file *f, const void *bytes, size_t len, uint64_t offset, struct file_fault *ft);
/* Puts sealed blocks [first, first + n) of p's group where they may go: in their place where
 * nothing is committed, else staged. How many; of the rest *ret_error is set. Their entries are the
 * caller's to set. */
unsigned file_io_place(struct file *f, struct file_tag_page *p, uint64_t first, unsigned n,
	const uint8_t *sealed, int *ret_error);
/* Bytes of a record that a write can need at most, beside what any commit does. */
size_t file_io_text(uint64_t offset, size_t len);
/* The plaintext of one block of a present group whose entry is given. f->lock shared will do. */
MUST_USE int file_io_block(struct file *f, uint64_t block,
	const uint8_t entry[static FORMAT_TAG_LEN], bool fresh,
	uint8_t plain[static BLOCK_MAP_BLOCK], struct file_fault *ft);
/* f->scratch for at least len bytes. */
MUST_USE int file_io_scratch(struct file *f, size_t len);
/* f->lock. */
void file_io_scratch_free(struct file *f);

/* Homes, in memory; f->lock. NULL: not among them. */
struct format_home *file_home_find(struct file *f, const uint8_t dir_id[static DIR_ID_LEN]);
/* A name more there. */
void file_home_count(struct file *f, const uint8_t dir_id[static DIR_ID_LEN]);
/* 0, or the fault when it is none of its homes. */
MUST_USE int file_home_check(
	struct file *f, const uint8_t dir_id[static DIR_ID_LEN], struct file_fault *ft);
/* A file with one name left has one home, however many it had: the one that it is opened in. */
void file_home_single(struct file *f, const uint8_t dir_id[static DIR_ID_LEN]);

/* Lower ranges whose bytes go, as pairs of offset and length (64 bits each); see buf_ok. */
void file_range_add(struct buf *ranges, uint64_t offset, uint64_t len);
/* The DATA blocks among entries [from, to) of a group that begins with block `first`. */
void file_range_add_entries(
	struct buf *ranges, uint64_t first, const uint8_t *entries, unsigned from, unsigned to);
/* Random bytes there; not durable. */
MUST_USE int file_range_overwrite(struct file *f, const struct buf *ranges);
/* Blocks [first, end), in which all of the ranges lie, for the journal. */
struct file_erase {
	uint64_t first, end;
	bool keep_space;
};
/*
 * Commits (enum file_commit_flags) and announces the erasure in the same record; overwrites the
 * ranges once that is durable; durable itself. The announcement stands until file_range_done. After
 * an error the state in memory is the new one, and the old bytes are there until the next mount, or
 * until the blocks are written again or the file is erased: the lower file does not get shorter
 * before (file_commit.c). The caller has room for it (file_begin).
 */
MUST_USE int file_range_erase(struct file *f, const struct buf *ranges, const struct file_erase *e,
	unsigned flags, uint64_t *ret_token);
/* The space is given back too; 0: nothing was announced. */
void file_range_done(struct file *f, uint64_t token);

MUST_USE int file_size_set(struct file *f, uint64_t size, struct file_fault *ft);

enum file_commit_flags {
	FILE_COMMIT_BOTH = 1,  /* into both slots: a wrap changed */
	FILE_COMMIT_TOUCH = 2, /* the modification time moves on, unless it is kept */
	FILE_COMMIT_LONG =
		4, /* leave the lower file longer than it should be: its end is erased first */
	FILE_COMMIT_HARD = 8,   /* with its data durable; flush the journal up to f->last then */
	FILE_COMMIT_FIRST = 16, /* a header that names no data, in its place */
};
MUST_USE int file_commit_now(struct file *f, unsigned flags);
/* With the announcement of an erasure, or NULL. */
MUST_USE int file_commit_erasing(
	struct file *f, unsigned flags, const struct journal_erase *e, uint64_t *ret_token);
/* The modification time is that of the last commit, which a recovery would give back, not of what
 * was done to the lower file since. */
MUST_USE int file_commit_time(struct file *f);
/* Whether an erasure in it failed and waits for the next mount. */
bool file_commit_owes(struct file *f);

/*
 * A change: room for a record of so many bytes beside the commit's own is kept, the gate entered,
 * f->lock taken. Errors are those of redo_enter; then nothing is held. file_end gives back what is
 * not promised.
 */
MUST_USE int file_begin(struct file *f, size_t text, unsigned erasures);
void file_end(struct file *f);

/* Overwrites all that is allocated behind page 0 and not named by f->h; durable. */
MUST_USE int file_sweep_all(struct file *f, uint64_t *ret_bytes);

/* Of one page of the lower file (a copy); changed NULL: all of it. -ENOMEM. */
MUST_USE int file_stage_put(struct file *f, uint64_t offset,
	const uint8_t page[static BLOCK_MAP_BLOCK], const struct file_units *changed);
/* Bytes anywhere, over what is in place where a page is new here: for recovery. */
MUST_USE int file_stage_patch(struct file *f, uint64_t offset, const uint8_t *bytes, size_t len);
/* Puts staged bytes over the len bytes that were read at `offset` into the iov. Staged pages may
 * lie behind the end of the lower file, too: the length with them, zeros between. Any lock. */
MUST_USE size_t file_stage_see(
	const struct file *f, const struct iovec *iov, int n, uint64_t offset, size_t len);
/* Pages that begin in [offset, end) are not brought to their place. */
void file_stage_drop(struct file *f, uint64_t offset, uint64_t end);
/* Appends what changed to a commit; it is logged. */
void file_stage_log(const struct file *f, struct buf *text);
void file_stage_logged(struct file *f);
/* Everything to its place, not durable; nothing is staged then. */
MUST_USE int file_stage_apply(struct file *f);
void file_stage_free(struct file *f);

/* A page that is committed already, or may be: staged; without a redo journal to its place. */
MUST_USE int file_put_page(struct file *f, const uint8_t page[static BLOCK_MAP_BLOCK],
	uint64_t offset, const struct file_units *changed);
/* Bytes to their place, where nothing is committed: as file_lower_write, and remembered for the
 * next commit. */
size_t file_put_fresh(
	struct file *f, const void *bytes, size_t len, uint64_t offset, int *ret_error);

/* Two steps of a checkpoint, each for all files before the next. */
bool file_redo_may_pass(int rc); /* it says nothing of the disk's health */
MUST_USE int file_redo_commit(struct file *f);
MUST_USE int file_redo_apply(struct file *f);

static inline bool file_unit_test(const struct file_units *u, unsigned i)
{
	return u->bits[i / 64] >> (i % 64) & 1;
}
static inline void file_unit_set(struct file_units *u, unsigned i)
{
	u->bits[i / 64] |= (uint64_t)1 << (i % 64);
}
static inline bool file_units_any(const struct file_units *u)
{
	return u->bits[0] | u->bits[1];
}

#endif
