/*
 * What the files file*.c share: the open file, and what each of them does for the others. Nobody
 * else includes it.
 *
 * file.c         the calls of file.h: locks, alarms, reference count, homes
 * file_lower.c   descriptors and whole reads and writes on the lower file
 * file_header.c  header slots and keys
 * file_tags.c    cache of tag pages
 * file_presence.c which groups are there
 * file_io.c      read and write
 * file_size.c    truncate
 * file_commit.c  the order in which a state reaches the lower file
 * file_range.c   ranges: erased, allocated, punched, zeroed, looked for
 * file_rewrap.c  new wraps for rotation
 * file_sweep.c   erasing that was cut short, finished
 *
 * Locks: f->lock (shared: reads; exclusive: everything that changes), then f->cache_lock (caches
 * that readers fill). Unless said otherwise functions want f->lock exclusive, and return -errno
 * with the file as it was.
 */
#ifndef STORE_FILE_INTERNAL_H
#define STORE_FILE_INTERNAL_H

#include "fs/store/content.h"
#include "fs/store/file.h"

#include <stdatomic.h>

#define FILE_TAG_PAGES 96   /* cached tag pages */
#define FILE_TAG_DIRTY 64   /* of which so many may be dirty: the rest are for reading */
#define FILE_RUN_BLOCKS 32u /* blocks sealed and written at a time: 128 KiB */

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
	pthread_rwlock_t lock;

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
	struct timespec kept; /* modification time that commits keep, valid while keeps_time */
	bool keeps_time;
	char trash_name[64]; /* "" unless its last name is in the trash */

	pthread_mutex_t cache_lock;
	struct file_tag_page *tags[FILE_TAG_PAGES]; /* cache_lock */
	unsigned tag_count, tag_dirty;
	uint64_t clock;
	struct file_presence *
		*presence; /* BLOCK_MAP_PRESENCE_PAGES pointers, NULL until needed; cache_lock */
};

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
/* Page 0: the next commit version into the other slot (both: into both), and the tags of group 0.
 */
MUST_USE int file_header_write(struct file *f, bool both);
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
/* The plaintext of one block of a present group whose entry is given. f->lock shared will do. */
MUST_USE int file_io_block(struct file *f, uint64_t block,
	const uint8_t entry[static FORMAT_TAG_LEN], bool fresh,
	uint8_t plain[static BLOCK_MAP_BLOCK], struct file_fault *ft);
/* f->scratch for at least len bytes. */
MUST_USE int file_io_scratch(struct file *f, size_t len);

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
/* Durably in the journal, before anything of it is changed in memory: after an error nothing may
 * begin. As journal_erase_begin; *ret_token is 0 without a journal, and then needs no end. */
MUST_USE int file_range_announce(struct file *f, const struct file_erase *e, uint64_t *ret_token);
/* It is done, or did not begin. */
void file_range_done(struct file *f, uint64_t token);
/*
 * Commits (enum file_commit_flags), and overwrites the ranges once that is durable; durable itself;
 * then what was announced is done. After an error the state in memory is the new one, and the old
 * bytes are there until the next mount, or until the blocks are written again or the file is
 * erased: the lower file does not get shorter before (file_commit.c).
 */
MUST_USE int file_range_erase(
	struct file *f, const struct buf *ranges, uint64_t token, unsigned flags);

MUST_USE int file_size_set(struct file *f, uint64_t size, struct file_fault *ft);

enum file_commit_flags {
	FILE_COMMIT_BOTH = 1,  /* into both slots: a wrap changed */
	FILE_COMMIT_TOUCH = 2, /* the modification time moves on: a change of size */
	FILE_COMMIT_LONG =
		4, /* leave the lower file longer than it should be: its end is erased first */
};
MUST_USE int file_commit_now(struct file *f, unsigned flags);
/* Whether an erasure in it failed and waits for the next mount. */
bool file_commit_owes(struct file *f);

#endif
