/*
 * Everything that changes or reads names: one call an operation. `lower` names an existing entry,
 * struct name one to be made. struct stat out is what an application sees (plaintext size and
 * blocks, link count without trash links). All: -EBADMSG after an alarm when the disk lies;
 * otherwise the errno of the lower call.
 */
#ifndef STORE_TREE_H
#define STORE_TREE_H

#include "fs/store/dir.h"
#include "fs/store/file.h"
#include "fs/store/name.h"

/* stat without opening: plaintext size from the lower length (docs/format.md, "Size"), a link's
 * target length. */
MUST_USE int tree_stat(struct dir *d, const char *lower, struct stat *ret);
/* Turns a lower stat into what an application sees; for a symlink it needs d and lower. */
MUST_USE int tree_view(struct dir *d, const char *lower, const struct stat *st, struct stat *ret);

MUST_USE int tree_mkdir(struct dir *d, const struct name *n, mode_t mode,
	const struct lower_cred *cred, struct stat *ret);
/* victim: the opened directory `lower`. -ENOTEMPTY; on any failure its record is as before. */
MUST_USE int tree_rmdir(struct dir *d, const char *lower, struct dir *victim);
MUST_USE int tree_symlink(struct dir *d, const struct name *n, const char *target,
	const struct lower_cred *cred, struct stat *ret);
/* Bytes of the target (no zero byte), at most size. */
MUST_USE ssize_t tree_readlink(struct dir *d, const char *lower, char *ret, size_t size);
/* The same without alarm: for a link that goes. */
MUST_USE ssize_t tree_peek_link(struct dir *d, const char *lower, char *ret, size_t size);
MUST_USE int tree_mknod(struct dir *d, const struct name *n, mode_t mode, dev_t dev,
	const struct lower_cred *cred, struct stat *ret);
/* f: the open file when it is a regular file (its homes change), else NULL. -EMLINK. */
MUST_USE int tree_link(struct dir *from, const char *lower, struct file *f, struct dir *to,
	const struct name *n, struct stat *ret);
/*
 * f: the open file when somebody holds it open, or when it has more than one link; else NULL. The
 * last link of a regular file with content moves to the trash; it is erased at once, or after the
 * last file_put when f was given.
 */
MUST_USE int tree_unlink(struct dir *d, const char *lower, struct file *f);
/*
 * rename(2). f: open file of a regular file that moves between directories (its homes), else NULL;
 * moved: the opened directory when a directory moves, else NULL. victim_f as f of tree_unlink,
 * victim_dir as victim of tree_rmdir, for what stands under the new name (NULL when nothing does).
 * flags: RENAME_NOREPLACE, RENAME_EXCHANGE.
 */
struct tree_rename {
	struct dir *from, *to;
	const char *old_lower;
	const struct name *new_name;
	unsigned flags;
	struct file *file;
	struct dir *moved;
	bool victim_exists;
	struct file *victim_file;
	struct dir *victim_dir;
};
MUST_USE int tree_rename(const struct tree_rename *r);

/* Reading a directory: offsets are the lower d_off and stay valid while the directory changes. */
struct tree_entry {
	char plain[NAME_PLAIN_MAX + 1];
	char lower[256];
	uint64_t ino;
	int64_t next; /* offset of what follows */
	uint8_t type; /* DT_* */
};
struct tree_cursor; /* one opendir; one thread at a time */
MUST_USE int tree_cursor_open(struct dir *d, struct tree_cursor **ret);
void tree_cursor_close(struct tree_cursor *c);
/* 1 and an entry, 0 at the end. offset 0 starts; names that do not open are left out after one
 * alarm. "." and
 * ".." come with their own names as `plain`. */
MUST_USE int tree_cursor_next(struct tree_cursor *c, int64_t offset, struct tree_entry *ret);

/*
 * Removes sidecars of d that no entry refers to, as a kill leaves them: once in the life of d, and
 * only if all that is in it can be read. Takes d->lock. Nothing without a trash (offline tools).
 */
void tree_tidy(struct dir *d);
/* Whether this lower name is that of a sidecar with a part of a name or target in it; bindings say
 * nothing. */
bool tree_tidy_concerns(const char *lower);

#endif
