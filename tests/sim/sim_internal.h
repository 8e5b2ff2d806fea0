/*
 * What the files of the simulated disk share; nobody else includes it.
 *
 * sim_disk.c   life and ends
 * sim_calls.c  the table of calls, descriptors
 * sim_tree.c   inodes, directories, names
 * sim_pages.c  content, space, the medium
 * sim_log.c    transactions and their undoing
 */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_random.h"

#include <pthread.h>

#define SIM_VERSIONS 6

/* Content of a page; shared by page cache, medium and clones, changed only by its single owner. */
struct sim_buf {
	unsigned refs;
	uint8_t bytes[SIM_PAGE];
};

/* A name, target or value; shared. */
struct sim_text {
	unsigned refs;
	uint32_t len;
	uint64_t hash;
	char bytes[]; /* and a zero byte */
};

enum sim_state { SIM_NONE, SIM_DELAYED, SIM_UNWRITTEN, SIM_WRITTEN };

struct sim_page {
	uint64_t index;
	struct sim_buf *now; /* NULL: zeros */
	struct sim_buf *older[SIM_VERSIONS];
	uint32_t phys; /* block of the medium, 0 none */
	uint8_t state, versions;
	bool dirty; /* the medium has other content */
	bool fresh; /* mapped by a transaction that its data must precede (SIM_SIZE_WITH_DATA) */
};

struct sim_entry {
	struct sim_text *name;
	uint32_t ino;
	uint8_t type; /* DT_* */
	uint64_t cookie;
};

struct sim_xattr {
	struct sim_text *name, *value;
};

/* What a transaction changes of an inode itself. */
struct sim_core {
	mode_t mode;
	uid_t uid;
	gid_t gid;
	nlink_t nlink;
	dev_t rdev;
	uint32_t parent; /* of a directory */
	uint64_t disk_size;
	struct timespec atime, mtime, ctime;
};

struct sim_inode {
	uint32_t ino;
	struct sim_core core;
	uint64_t size;       /* as everybody sees it */
	uint64_t meta, data; /* transactions that fsync and fdatasync wait for */
	unsigned opens;
	int lock_fd;  /* who has the lock, 0 nobody */
	bool gone;    /* removed, by a transaction that may be undone */
	uint8_t lost; /* SIM_LOST_*, since the last sync */
	struct sim_text *target;
	struct sim_xattr *xattrs;
	struct sim_page *pages;    /* by index */
	struct sim_entry *entries; /* by cookie */
	size_t xattr_count, page_count, page_room, entry_count, entry_room;
	uint64_t cookie; /* the last one given out */
};

enum sim_what { SIM_ENTRY, SIM_CORE, SIM_MAP, SIM_XATTR, SIM_BORN, SIM_GONE };

/* How it was before. */
struct sim_record {
	uint64_t txn;
	uint32_t ino;
	uint8_t what; /* enum sim_what */
	bool frees;   /* SIM_MAP: the block is free once this is committed */
	union {
		struct sim_entry entry; /* ino 0: there was none */
		struct sim_core core;
		struct {
			uint64_t index;
			uint32_t phys;
			uint8_t state;
		} map;
		struct sim_xattr xattr; /* value NULL: there was none */
	};
};

struct sim_fd {
	struct sim_inode *inode; /* NULL: not open */
	int64_t position;
	bool path, reads, writes;
};

struct sim_disk {
	struct lower base;
	struct sim_options options;
	struct sim_random random;
	pthread_mutex_t lock; /* the rest */
	struct sim_inode **inodes;
	uint32_t inode_count, inode_room;
	struct sim_fd *fds;
	unsigned fd_count, fd_room;
	struct sim_buf **medium;
	uint32_t block_count, block_room;
	uint32_t *free_blocks;
	uint32_t free_count, free_room;
	uint64_t delayed; /* pages that have no block yet */
	struct sim_record *log;
	size_t log_first, log_end, log_room;
	int64_t clock_ns; /* since 1970; never behind the real one when a disk is made or cloned */
	uint64_t txn;     /* the newest; all up to `committed` stay */
	uint64_t committed;
	uint64_t calls, stop_at, fail_at;
	int fail_error;
	bool stopped, stopping, failed;
	bool lies; /* pages look clean whose content is not on the medium */
};

void *sim_disk_grow(void *array, size_t need, size_t size, uint32_t *room);
void *sim_disk_memory(size_t bytes);

/* sim_calls.c */
extern const struct lower_ops sim_calls_ops;
int sim_calls_open(struct sim_disk *d, uint32_t ino); /* O_PATH | O_DIRECTORY */
void sim_calls_close_all(struct sim_disk *d);

/* sim_log.c. A transaction begins with sim_log_begin; its records say how things were. */
void sim_log_begin(struct sim_disk *d);
/* Call before the change; the inode's own transaction numbers are kept. data: fdatasync waits for
 * it. */
void sim_log_core(struct sim_disk *d, struct sim_inode *i, bool data);
void sim_log_map(struct sim_disk *d, struct sim_inode *i, const struct sim_page *p, bool frees);
/* e NULL: there is no such entry. */
void sim_log_entry(struct sim_disk *d, struct sim_inode *dir, struct sim_text *name,
	const struct sim_entry *e);
void sim_log_xattr(
	struct sim_disk *d, struct sim_inode *i, struct sim_text *name, struct sim_text *value);
void sim_log_born(struct sim_disk *d, struct sim_inode *i);
void sim_log_gone(struct sim_disk *d, struct sim_inode *i);
void sim_log_commit(struct sim_disk *d, uint64_t upto);
void sim_log_undo(struct sim_disk *d, uint64_t downto);
void sim_log_copy(struct sim_disk *to, const struct sim_disk *from);

/* sim_pages.c */
struct sim_page *sim_pages_find(const struct sim_inode *i, uint64_t index);
ssize_t sim_pages_read(const struct sim_inode *i, const struct iovec *iov, int n, uint64_t offset);
ssize_t sim_pages_write(struct sim_disk *d, struct sim_inode *i, const struct iovec *iov, int n,
	uint64_t offset, bool in_part);
int sim_pages_resize(struct sim_disk *d, struct sim_inode *i, uint64_t size);
int sim_pages_allocate(
	struct sim_disk *d, struct sim_inode *i, int mode, uint64_t offset, uint64_t len);
int sim_pages_fiemap(const struct sim_inode *i, uint64_t offset, struct lower_extent *ret, int n);
/* All that is dirty of one inode. */
void sim_pages_flush(struct sim_disk *d, struct sim_inode *i);
/* All that is dirty could not be written, and is forgotten. */
void sim_pages_lose(struct sim_disk *d, struct sim_inode *i);
/* And is dirty again. */
void sim_pages_remember(struct sim_inode *i);
/* One page that happens to be dirty. */
void sim_pages_flush_some(struct sim_disk *d, struct sim_inode *i);
/* What must precede the transaction that mapped it. */
void sim_pages_order(struct sim_disk *d, struct sim_inode *i, uint64_t index);
/* The power goes, the page cache with it. Of what was on its way there arrived: */
enum sim_cut { SIM_CUT_OLD, SIM_CUT_NEW, SIM_CUT_ANY };
void sim_pages_cut(struct sim_disk *d, struct sim_inode *i, enum sim_cut mode);
/* Puts a page back as it was on the disk. */
void sim_pages_restore(
	struct sim_disk *d, struct sim_inode *i, uint64_t index, uint8_t state, uint32_t phys);
void sim_pages_drop(struct sim_disk *d, struct sim_inode *i); /* without transaction */
/* A transaction gives them back. */
void sim_pages_release(struct sim_disk *d, struct sim_inode *i);
void sim_pages_free_block(struct sim_disk *d, uint32_t phys);
void sim_pages_copy(struct sim_inode *to, const struct sim_inode *from);
struct sim_buf *sim_pages_hold(struct sim_buf *b);
void sim_pages_let(struct sim_buf *b);

/* sim_tree.c */
struct sim_text *sim_tree_text(const void *bytes, size_t len);
struct sim_text *sim_tree_hold(struct sim_text *t);
void sim_tree_let(struct sim_text *t);
struct sim_inode *sim_tree_inode(const struct sim_disk *d, uint32_t ino);
struct sim_inode *sim_tree_new(
	struct sim_disk *d, mode_t mode, dev_t rdev, const struct lower_cred *cred);
void sim_tree_free_inode(struct sim_disk *d, struct sim_inode *i);
/* Nobody has it open and no name is left: its space goes. */
void sim_tree_settle(struct sim_disk *d, struct sim_inode *i);
void sim_tree_copy(struct sim_disk *to, const struct sim_inode *from);
/* As it was: ino 0 none. Takes a reference of the name when it keeps it. */
void sim_tree_restore(struct sim_inode *dir, const struct sim_entry *e);
void sim_tree_set_xattr(struct sim_inode *i, struct sim_text *name, struct sim_text *value);
/* The clock of files: it stands still between two ticks. */
struct timespec sim_tree_now(struct sim_disk *d);

int sim_tree_look(
	struct sim_disk *d, struct sim_inode *dir, const char *name, struct sim_inode **ret);
/* An inode, or that of name in it; "" the directory itself. */
int sim_tree_create(struct sim_disk *d, struct sim_inode *dir, const char *name, mode_t mode,
	dev_t rdev, const char *target, const struct lower_cred *cred, struct sim_inode **ret);
int sim_tree_link(struct sim_disk *d, struct sim_inode *i, struct sim_inode *dir, const char *name);
int sim_tree_unlink(struct sim_disk *d, struct sim_inode *dir, const char *name, int flags);
int sim_tree_rename(struct sim_disk *d, struct sim_inode *from, const char *old,
	struct sim_inode *to, const char *new, unsigned flags);
ssize_t sim_tree_list(const struct sim_disk *d, const struct sim_inode *dir, int64_t *position,
	void *ret, size_t size);
int sim_tree_setxattr(struct sim_disk *d, struct sim_inode *i, const char *name, const void *value,
	size_t size, int flags);
int sim_tree_removexattr(struct sim_disk *d, struct sim_inode *i, const char *name);
ssize_t sim_tree_getxattr(const struct sim_inode *i, const char *name, void *ret, size_t size);
ssize_t sim_tree_listxattr(const struct sim_inode *i, char *ret, size_t size);
void sim_tree_stat(const struct sim_inode *i, struct stat *ret);

#endif
