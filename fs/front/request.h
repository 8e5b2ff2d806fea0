/* What all operations of fuse_*.c share: a request on its way through the gate. Internal to
 * fs/front. */
#ifndef FRONT_REQUEST_H
#define FRONT_REQUEST_H

#include "fs/front/front.h"

#include <fuse_lowlevel.h>

/* Seconds for which the kernel may trust what it knows where everybody sees the same: until it is
 * told otherwise. */
#define REQUEST_CACHE_SECONDS 86400.0

struct request {
	fuse_req_t fuse;
	struct front *front;
	struct gate_request gate;
	struct gate_ticket ticket;
	uint64_t verdicts; /* front->verdicts when it came */
};

/* Fills caller and operation; object: inode number as the kernel has it, and a name below it or
 * NULL. */
void request_start(
	struct request *q, fuse_req_t fuse, enum op op, fuse_ino_t ino, const char *child);
/* Through the gate asking acts. 0 or -errno; -EROFS for a change on a read-only mount. */
MUST_USE int request_enter(struct request *q, unsigned acts);
/* The outcome to gate, log and errno for the kernel. */
int request_leave(struct request *q, int outcome);
/* Leaves, and answers with the errno (0: success without data). */
void request_answer(struct request *q, int outcome);

struct inode *request_inode(struct front *f, fuse_ino_t ino);
fuse_ino_t request_number(struct front *f, struct inode *i);
/* How long the kernel may keep these attributes of i. */
double request_cache(struct front *f, const struct inode *i, const struct stat *st);
/* Credentials for a new file. */
const struct lower_cred *request_cred(const struct request *q, struct lower_cred *room);

/* Permission bits for something new in d: without the caller's umask, unless a default ACL there
 * takes its place. */
mode_t request_mode(const struct request *q, const struct dir *d, mode_t mode);

/* The caller has this group, as his own or in addition (subject_groups). */
bool request_in_group(const struct op_caller *caller, gid_t gid);
/* The set-id bits of st that a change of content drops, or one of owners, by somebody without
 * CAP_FSETID (notify_change of Linux): set-user-id; set-group-id where the group may execute, or
 * where the caller is not in it. */
mode_t request_set_id(const struct op_caller *caller, const struct stat *st);
/* Drops them from an open file, and has the kernel ask for the mode once more: before the answer to
 * the request that changes it. 0 or -errno of fstat and fchmod below. */
MUST_USE int request_drop_set_id(
	struct front *f, const struct op_caller *caller, struct inode *i, struct file *file);

/* The end of an open file or directory: its record, what it used, its memory. */
void request_end_handle(struct front *f, struct handle *h);

/* stat of an inode as applications see it: open file, directory, or through its name. */
MUST_USE int request_stat(struct front *f, struct inode *i, struct stat *ret);
/* An O_PATH descriptor of what i is, found by its name, once more under its stripe after a rename
 * that came between name and open: it stays its own whatever becomes of the name. *ret: none on
 * failure. -ESTALE when something else or nothing has the name, or the errno of the lower calls. No
 * stripe held. */
MUST_USE int request_pin(struct front *f, struct inode *i, struct lower_held *ret);
/* Fills an entry for (parent, plain, lower), counting one lookup; the inode comes with a reference.
 * -ENOMEM. */
MUST_USE int request_entry(struct front *f, struct inode *parent, const char *plain,
	const char *lower, const struct stat *st, struct fuse_entry_param *ret,
	struct inode **ret_inode);

/*
 * An entry of d for a lookup or a listing, as request_entry. The kernel believes the size in it for
 * as long as it keeps the inode, so nobody opens or changes the file meanwhile. ino: its number as
 * a listing has it; then 1 and nothing when the kernel knows the inode already: it needs no other
 * answer, which it might take for the truth later. 0: a lookup. -ENOENT, -ESTALE, -ENOMEM, or as
 * tree_view.
 */
MUST_USE int request_find(struct front *f, struct inode *parent, struct dir *d, const char *plain,
	const char *lower, ino_t ino, struct fuse_entry_param *ret, struct inode **ret_inode);

/* Removes what was just made under a name, and of which the kernel cannot be told since memory is
 * short: the caller gets an error, and the kernel goes on knowing that there is nothing. As well as
 * can be; says so on the daemon's log if not. */
void fuse_names_unmake(struct front *f, struct inode *parent, const char *plain);

/* The tables of operations: each file fills its part. */
void fuse_attr_fill(struct fuse_lowlevel_ops *ops);
void fuse_names_fill(struct fuse_lowlevel_ops *ops);
void fuse_data_fill(struct fuse_lowlevel_ops *ops);
void fuse_dirs_fill(struct fuse_lowlevel_ops *ops);
void fuse_xattr_fill(struct fuse_lowlevel_ops *ops);

#endif
