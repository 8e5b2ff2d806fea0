/* One mounted tenant as the kernel sees it. Made by main.c; the only room that talks FUSE. */
#ifndef FRONT_FRONT_H
#define FRONT_FRONT_H

#include "fs/erase/trash.h"
#include "fs/front/inode.h"
#include "fs/front/handle.h"
#include "fs/front/notify.h"
#include "fs/gate/gate.h"
#include "fs/store/tree.h"

struct front {
	struct store *store;
	struct gate *gate;
	struct inode_table inodes;
	struct handle_list handles;
	struct notify *notify; /* set before the session answers */
	uint64_t verdicts; /* atomic: raised when they may have changed, before handles are asked
			      again */
	bool one_user;     /* no allow_other: only the mounting user gets in, so everything may be
			      cached */
	uid_t uid;         /* of this process */
	bool as_root;
	bool read_only;     /* mounted so; ask front_is_read_only */
	bool kernel_times;  /* of files' content: the kernel's cache is written back */
	uint64_t for_root;  /* atomic: free blocks of the store's filesystem that only root gets, as
			       it last told; UINT64_MAX: never */
	bool drops_set_id;  /* atomic: set-id bits are dropped by us, not by the kernel (wire.h) */
	uint64_t handshake; /* atomic: for wire.c */
	pthread_key_t buffer_key; /* a thread's answer buffer */
	/* Called once, when the kernel has answered the handshake. */
	void (*ready)(void *context);
	void *ready_context;
};

/* front->store, one_user, read_only and ready are set by the caller; the gate is set by
 * front_set_gate before the session. */
MUST_USE int front_init(struct front *f);
/* Commits and closes what applications still hold open, then frees. */
void front_done(struct front *f);
/* What the gate asks us (struct gate_front), with this front as context. */
void front_gate_calls(struct front *f, struct gate_front *ret);

/* The table for fuse_session_new, whose user data is the front. */
struct fuse_lowlevel_ops;
void front_operations(struct fuse_lowlevel_ops *ret);

/* This thread's buffer of at least size bytes (at most FRONT_BUFFER); kept until the thread ends.
 * NULL: too large, or ENOMEM. */
#define FRONT_BUFFER (1u << 20)
char *front_buffer(struct front *f, size_t size);
/* Wipes and frees it before that. */
void front_buffer_done(struct front *f);

/* The most bytes that the kernel writes with one request. */
#define FRONT_WRITE (256u << 10)

/* Commits every file that somebody has open, as FLUSH does; any thread. What fails stays to be
 * committed: who has the file open is told at his next flush. 0, -ENOMEM. */
MUST_USE int front_commit(struct front *f);

/* Nothing may be changed: it was mounted so, or a flush failed (store_trouble). */
static inline bool front_is_read_only(const struct front *f)
{
	return f->read_only || store_is_read_only(f->store);
}

/* f_bavail of the store's filesystem once so many blocks more are free. They go to root alone as
 * long as he has less than is kept for him; how much that is shows only while others have some. */
uint64_t front_available(struct front *f, const struct statvfs *st, uint64_t blocks);

struct front_counts {
	uint64_t inodes, handles;
};
void front_count(struct front *f, struct front_counts *ret);

#endif
