/*
 * The inodes that the kernel knows: which lower file each is, under which names it is known, its
 * open directory or file.
 *
 * Locks, in the order in which they are taken: the stripe of a lower inode number (inode_lock: the
 * number's open file, its links and its removal), then table->lock (everything else here). Neither
 * is held while the kernel is notified.
 */
#ifndef FRONT_INODE_H
#define FRONT_INODE_H

#include "fs/gate/policy.h"
#include "fs/store/tree.h"
#include "keymgmt/base/lock.h"
#include "keymgmt/base/pool.h"

#include <limits.h>

#define INODE_STRIPES 64
#define INODE_OPEN_DIRS                                                                            \
	4096 /* directories kept open for their names at a time; the rest is reopened when needed  \
	      */

/* One name under which an inode is known. Owned by the inode; holds a reference on the parent. */
struct inode_name {
	struct inode_name *next;
	struct inode *parent;
	bool gone; /* removed; kept while it is the only one, to judge and log what still has it
		      open */
	uint16_t plain_size; /* of the plaintext name with its zero byte; the lower name follows it
			      */
	char text[];
};

/* What an inode was when its last known name went. */
struct inode_gone {
	struct stat st; /* as applications saw it, with a link less */
	size_t len;
	char text[]; /* a link's target; the access ACL of a fifo, socket or device node */
};

/* Fields are guarded by table->lock unless said otherwise. There may be millions: 128 bytes, and
 * the name. */
struct inode {
	union {
		struct inode *hash_next;     /* while hashed, or on its way out */
		struct inode *detached_next; /* in table->detached: alive, but found by no lookup */
	};
	struct inode *detached_prev;
	ino_t ino;        /* of the lower inode: constant */
	mode_t type;      /* S_IFMT bits: constant */
	bool hashed;      /* found by lookups; false once unlinked or retired */
	bool retired;     /* atomic: revoked or misled, every old handle gets EIO */
	bool misled;      /* atomic, set before retired: the kernel may have a wrong size of it, and
			     nobody lost a right */
	bool kept;        /* one of file_users and of refs is inode_gone_keep's */
	uint64_t lookups; /* the kernel's references */
	uint64_t fresh;   /* of these, told since its size or mode changed last */
	unsigned refs;    /* ours: handles, children's names, running requests */
	union {
		unsigned opens;       /* handles of a regular file */
		unsigned looked_into; /* atomic: names that were looked up in a directory */
	};
	struct inode_name *names;
	policy_state
		state;    /* of the first name, valid while stamp is the table's and the policy's */
	unsigned writers; /* atomic: handles that may write, so that the kernel may hold what we
			     have not seen */
	uint64_t state_generation, state_stamp;
	struct inode_gone *gone; /* owned; of no meaning while it has a name */
	union {
		struct {                 /* directories; the list's head, too */
			struct dir *dir; /* open, or NULL */
			struct inode *lru_prev, *lru_next;
		};
		struct {                   /* regular files, guarded by the stripe */
			struct file *file; /* set while file_users > 0 */
			unsigned file_users;
		};
	};
};

struct inode_table {
	struct lock_mutex lock;
	struct lock_mutex stripes[INODE_STRIPES];
	struct pool pool; /* inodes and names */
	struct inode **buckets;
	size_t bucket_count, count;
	unsigned walks; /* inode_each's under way: the table does not shrink under them */
	struct inode *root;
	struct inode *detached; /* retired, or without a name, and still referenced */
	size_t retired_count;   /* of these */
	struct inode lru;       /* head of the list of open directories, most recent first */
	unsigned open_dirs;
	uint64_t stamp;  /* raised when a directory's rename may have changed states */
	uint64_t missed; /* atomic: when inode_gone_missed was called last, ms */
	const struct store *store;
};

/* Opens the root directory. 0 or -errno of dir_open_root, -ENOMEM. */
MUST_USE int inode_table_init(struct inode_table *t, const struct store *s);
void inode_table_done(struct inode_table *t);

struct lock_mutex *inode_lock(
	struct inode_table *t, ino_t ino); /* takes and returns the number's stripe */
void inode_lock_two(struct inode_table *t, ino_t a, ino_t b, struct lock_mutex *ret[2]);
void inode_unlock_two(struct lock_mutex *held[2]);

/*
 * The inode of a lower inode number as found under (parent, plain, lower), made when it is new;
 * adds the name, and `lookups` kernel references. NULL on ENOMEM. The caller also gets a reference
 * (inode_put).
 */
struct inode *inode_found(struct inode_table *t, struct inode *parent, const char *plain,
	const char *lower, ino_t ino, mode_t mode, uint64_t lookups);
/* The hashed inode of a number with a reference, or NULL. */
struct inode *inode_find(struct inode_table *t, ino_t ino);
void inode_get(struct inode_table *t, struct inode *i);
void inode_put(struct inode_table *t, struct inode *i);
void inode_forget(struct inode_table *t, struct inode *i, uint64_t lookups);
/*
 * The kernel has dropped its inode, and with it all the references that it had counted. True when
 * an answer with more of them is still on its way to it, and tells what may not be so any more: of
 * that it would make an inode whose size it never asks for again. Then the inode is retired as
 * misled, and the caller gets a reference.
 */
MUST_USE bool inode_forgotten(struct inode_table *t, struct inode *i, uint64_t lookups);
/* Whether the kernel has been told of the number's inode, and has not dropped it since. */
bool inode_known(struct inode_table *t, ino_t ino);
/* The same of this very inode, found by its number or not. */
bool inode_told(struct inode_table *t, const struct inode *i);
/* Its size or mode changes, or may have changed: what the kernel was told before is not fresh. */
void inode_changed(struct inode_table *t, struct inode *i);
/* A handle more; false, and none, when it is retired already. inode_closes takes it back. */
bool inode_opens(struct inode_table *t, struct inode *i);
void inode_closes(struct inode_table *t, struct inode *i);
/* Whether inode_find finds this very inode: false once it was removed or retired. */
bool inode_found_by_number(struct inode_table *t, const struct inode *i);
/* Something new has this number: what is still known by it is gone, and is not found any more. */
void inode_number_reused(struct inode_table *t, ino_t ino);

/* A name is gone. last: the lower inode has none left; it is found no more, since its number may be
 * used again. */
void inode_name_removed(
	struct inode_table *t, struct inode *i, struct inode *parent, const char *lower, bool last);
/* Renamed. Raises the stamp when a directory moved. -ENOMEM: the old name is dropped, a lookup will
 * find the new one. */
void inode_renamed(struct inode_table *t, struct inode *i, struct inode *old_parent,
	const char *old_lower, struct inode *new_parent, const char *new_plain,
	const char *new_lower);
/* The inode is not found any more by its number; a lookup makes a new one. */
void inode_retire(struct inode_table *t, struct inode *i);
/* The same because the kernel has a wrong size of it. */
void inode_mislead(struct inode_table *t, struct inode *i);

/* Its first name: parent with a reference and the lower name. -ESTALE when it has none. */
MUST_USE int inode_where(
	struct inode_table *t, struct inode *i, struct inode **ret_parent, char ret_lower[256]);
/* The open directory, with a reference. -ENOTDIR, -ESTALE, or as dir_open. */
MUST_USE int inode_dir(struct inode_table *t, struct inode *i, struct dir **ret);
/* Its open directory is not counted among the others any more: before it is freed. table->lock
 * held. */
void inode_dir_unlist(struct inode_table *t, struct inode *i);
/* The open file shared by all its users; each inode_file is ended by inode_file_done. The stripe
 * must not be held. -EISDIR, -ESTALE, or as file_open: every known parent must be among the file's
 * homes. */
MUST_USE int inode_file(struct inode_table *t, struct inode *i, struct file **ret);
void inode_file_done(struct inode_table *t, struct inode *i, struct file *f);
/* The same, by one who holds the stripe. */
MUST_USE int inode_file_locked(struct inode_table *t, struct inode *i, struct file **ret);
void inode_file_done_locked(struct inode_table *t, struct inode *i, struct file *f);
/* A file just created becomes the inode's open file; f is taken. Returns the one open file with one
 * user more: another than f if somebody was faster to open it. */
struct file *inode_file_created(struct inode_table *t, struct inode *i, struct file *f);
/* The file of a number whose inode is found no more but still has it open, with a reference, or
 * NULL. Stripe held. */
struct file *inode_file_of_retired(struct inode_table *t, ino_t ino);
/* The file if somebody has it open, with one more user, else NULL. Stripe held. */
struct file *inode_file_if_open(struct inode_table *t, struct inode *i);

/*
 * Who looks a name up and then uses what he found may come after it was removed or replaced.
 * Elsewhere he holds the old inode by then, and nothing happens to him; here the kernel's next
 * request comes by the number of an inode that has no name any more. ESTALE makes the kernel look
 * the name up again, but only once. So links and what stat(2) tells are remembered until the kernel
 * forgets the inode, and ACLs of fifos, sockets and device nodes, which the kernel asks for before
 * it lets somebody open what another holds; and when the open of a file had to be refused with
 * ESTALE, files that go soon afterwards are kept open for the second try: until then they are not
 * erased.
 */
/* What d/lower is, before its name goes. st: as applications see it. NULL: no memory, or a link
 * or an ACL that cannot be read. */
struct inode_gone *inode_gone_new(struct dir *d, const char *lower, const struct stat *st);
void inode_gone_free(struct inode_gone *g);
/* Its last known name went; g is taken, may be NULL. By the holder of the stripe. */
void inode_gone_set(struct inode_table *t, struct inode *i, struct inode_gone *g);
/* -ESTALE: it has a name, or is not remembered. */
MUST_USE int inode_gone_stat(struct inode_table *t, struct inode *i, struct stat *ret);
/* From now on it was that. -ESTALE too when it has names elsewhere, which nobody looked up. */
MUST_USE int inode_gone_change(struct inode_table *t, struct inode *i, const struct stat *st);
/* The target of a link, without a zero byte, at most size. */
MUST_USE ssize_t inode_gone_target(struct inode_table *t, struct inode *i, char *ret, size_t size);
/* The access ACL of a fifo, socket or device node, as getxattr(2); -ENODATA: it has none. */
MUST_USE ssize_t inode_gone_acl(struct inode_table *t, struct inode *i, char *ret, size_t size);
/* The kernel was told ESTALE. */
void inode_gone_missed(struct inode_table *t);
/* Whether a file that goes now is to be kept. */
bool inode_gone_wanted(struct inode_table *t);
/* i, whose last name went, keeps its open file f until the kernel forgets it. Stripe held. */
void inode_gone_keep(struct inode_table *t, struct inode *i, struct file *f);
/* After the kernel has dropped references of i, by one who holds one of ours: lets go of what was
 * kept when that was the last. Takes the stripe. */
void inode_gone_forgotten(struct inode_table *t, struct inode *i);

/* For the gate (struct gate_front): states of all known names of i, or of i's child. */
size_t inode_name_states(struct inode_table *t, const struct inode *i, const char *child,
	struct policy *p, uint64_t generation, policy_state *ret, size_t max);
/* The same of i's only name, or of i's child, and the state of the directory in which that is.
 * False when it has none or several.
 * One that is removed counts where it was the file's last: only who holds it open gets there. Else
 * there is another, which nobody has looked up yet. */
bool inode_name_place(struct inode_table *t, const struct inode *i, const char *child,
	struct policy *p, uint64_t generation, policy_state *ret_dir, policy_state *ret);
/* "/a/b" of the first name and, when given, the child; "(removed)" when it has none. Cut at size.
 */
void inode_name_path(
	struct inode_table *t, const struct inode *i, const char *child, char *ret, size_t size);

/* The k-th name: its parent with a reference and the plaintext, or NULL. */
struct inode *inode_name_at(struct inode_table *t, const struct inode *i, unsigned k,
	char ret_plain[NAME_PLAIN_MAX + 1]);

/* Calls visit for every inode, removed and retired ones too, with a reference held (table
 * unlocked); for revocation. One that is removed meanwhile may come twice. */
void inode_each(
	struct inode_table *t, void (*visit)(void *context, struct inode *i), void *context);

#endif
