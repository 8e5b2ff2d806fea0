/*
 * An open regular file, shared by all handles of its inode: header, keys, tags, content. Reads run
 * in parallel, changes are exclusive (f->lock inside). Until the journal holds content, writes
 * go in place; header and tags reach the disk in file_commit.
 */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include "fs/store/dir.h"
#include "fs/store/journal.h"
#include "fs/store/name.h"

struct file;

#define FILE_ID_LEN 16

/* A new empty file (no header yet). mode: permission bits. O_EXCL semantics: -EEXIST. ret_st as an
 * application sees. */
MUST_USE int file_create(struct dir *d, const struct name *n, mode_t mode,
	const struct lower_cred *cred, struct file **ret, struct stat *ret_st);
/*
 * Opens what is there, for reading and, where the lower filesystem lets us, writing; verifies the
 * header, the set hash (up to 64 blocks), and that d is among its homes. -EBADMSG after an alarm.
 */
MUST_USE int file_open(struct dir *d, const char *lower, struct file **ret);
/* The inode is known under d as well: -EBADMSG after an alarm when d is not among its homes. */
MUST_USE int file_check_home(struct file *f, const struct dir *d);
struct file *file_get(struct file *f);
/* The last one commits, closes, and hands an unlinked file to the eraser. */
void file_put(struct file *f);
static inline void file_auto(struct file **f)
{
	if (*f)
		file_put(*f);
}

/* Bytes read, 0 at the end. Every block verified; -EBADMSG after an alarm, the buffer then wiped.
 */
MUST_USE ssize_t file_read(struct file *f, void *bytes, size_t len, uint64_t offset);
/* Bytes written: fewer than len only where an error (a full disk) came in between, as write(2); or
 * -errno and nothing of the size has changed. -EFBIG, -ENOSPC, -EROFS when it could not be opened
 * for writing. */
MUST_USE ssize_t file_write(struct file *f, const void *bytes, size_t len, uint64_t offset);
MUST_USE int file_truncate(struct file *f, uint64_t size);
/*
 * fallocate(2). mode 0 or KEEP_SIZE: later writes to the range find space (as far as the lower
 * filesystem keeps that promise). ZERO_RANGE with or without KEEP_SIZE: it reads as zeros, with
 * space. PUNCH_HOLE|KEEP_SIZE: as zeros, without. What lay in a zeroed or punched range is
 * overwritten and durably gone from the disk at the return (docs/erase.md, "Parts of a file").
 * -EOPNOTSUPP for other modes and where the lower filesystem cannot allocate; -EINVAL, -EFBIG,
 * -ENOSPC, -EROFS, -EIO; -EBADMSG after an alarm. After an error a part of it may be done.
 */
MUST_USE int file_range_change(struct file *f, int mode, uint64_t offset, uint64_t len);
/* lseek(2) with SEEK_DATA (data) or SEEK_HOLE, by blocks. -ENXIO at and behind the end and where
 * no data follows; -EBADMSG after an alarm. */
MUST_USE int64_t file_range_seek(struct file *f, uint64_t offset, bool data);
/* Tags and header to the kernel: what was written before is found by the next open. For flush and
 * release. */
MUST_USE int file_commit(struct file *f);
/* commit and fsync/fdatasync. */
MUST_USE int file_sync(struct file *f, bool data_only);
/*
 * A lower file longer than its header says is cut: 1, and whoever told anybody the size by the
 * length told a wrong one. 0 when there is nothing to do. -EROFS, -EACCES and other errnos of a
 * commit: it stays so. Only for a file that was just opened: one that is being written to is longer
 * between commits.
 */
MUST_USE int file_settle_length(struct file *f);
/* fstat with the plaintext size and the modification time as they are now, committed or not. */
MUST_USE int file_stat(struct file *f, struct stat *ret);
/* File id; all zero while the file is empty and has none. */
void file_id(struct file *f, uint8_t ret[FILE_ID_LEN]);
/* chmod(2), not while its mode is lifted to open it for writing. -errno of the lower call. */
MUST_USE int file_set_mode(struct file *f, mode_t mode);
/* The lower descriptor, borrowed: for chown. */
int file_fd(const struct file *f);
const struct store *file_store(const struct file *f);

/*
 * A name more or less under directory id (docs/format.md, "Homes"), with its other names elsewhere;
 * committed. add: durable where the directory is not its only home already. remove: after the lower
 * name is gone, and makes that durable first (without a journal itself, too); of the only home the
 * count alone falls, at most to 1, since names are left. No-op without a header.
 */
MUST_USE int file_home_add(struct file *f, const uint8_t dir_id[DIR_ID_LEN]);
MUST_USE int file_home_remove(struct file *f, const uint8_t dir_id[DIR_ID_LEN]);
/* Its last name has moved to the trash under this name: erase at the last put. */
void file_set_trashed(struct file *f, const char *trash_name);
/* Sets times as utimensat(2), after a commit; later commits keep the modification time if it is
 * kept. -errno of the commit or the lower call. */
MUST_USE int file_set_times(struct file *f, const struct timespec ts[2]);
/*
 * The kernel's word of the modification time of what it wrote: as file_set_times, or where that is
 * not committed yet, with the commit that the kernel asks for next. file_stat has it at once.
 */
MUST_USE int file_tell_time(struct file *f, const struct timespec *modified);
/*
 * Whether the next write or change of a range leaves the modification time as it is. One from the
 * kernel's cache does: the kernel has its own time of it, and tells that by file_set_times, sooner
 * or later than the data, or never when it is none but the old one.
 */
void file_keep_time(struct file *f, bool keep);
/* Key for extended attributes: 32 bytes XK; gives an empty file its header first. Borrowed. */
MUST_USE int file_xattr_key(struct file *f, const struct secret **ret);

/* Re-wraps a header to the newest key epoch, both slots, in place, and fsyncs: for rotation. 0
 * done, 1 nothing to do. fd: read-write descriptor of a lower file that nobody has open. */
MUST_USE int file_rewrap(const struct store *s, int fd);

/*
 * Finishes at a mount what a truncate, punch or zeroed range began: commits are made durable, then
 * what lies in these blocks and is not named by them is overwritten and, unless keep_space, given
 * back; the lower file is cut to its length. Nobody has the file open. 0 done, *ret_bytes grows by
 * what was overwritten; 1 dirfd/name is another file, without a header perhaps; -EBADMSG after an
 * alarm; -ENOMEM; -errno of the lower calls: may be repeated.
 */
MUST_USE int file_sweep(const struct store *s, int dirfd, const char *name,
	const struct journal_erase *e, uint64_t *ret_bytes);

/*
 * After a crash, of a file that nobody has open: dirfd/name, and the journal's entries about it in
 * their order. All that come up to `hard` count; of the later ones *ret_upto is the last that
 * counts, since everything in the file up to there is whole. Changes nothing. -EBADMSG after an
 * alarm: the journal is older than the file; errnos of reading.
 */
MUST_USE int file_recover_judge(const struct store *s, int dirfd, const char *name,
	const struct journal_entry *const *entries, size_t count, uint64_t hard,
	uint64_t *ret_upto);
/* The state after the entry `upto`, in its place and durable. May be repeated. Errnos of the lower
 * calls. */
MUST_USE int file_recover_apply(const struct store *s, int dirfd, const char *name,
	const struct journal_entry *const *entries, size_t count, uint64_t upto);
/*
 * What is left of writes that were never committed: 1, a file whose first header is not whole is
 * empty again; 0, what lies behind the end was overwritten, if anything, and cut off. Errnos of the
 * lower calls.
 */
MUST_USE int file_recover_length(
	const struct store *s, int dirfd, const char *name, uint64_t *ret_bytes);

#endif
