/* Open handles: what each may do, for whom, and how much it did. */
#ifndef FRONT_HANDLE_H
#define FRONT_HANDLE_H

#include "fs/front/inode.h"
#include "fs/gate/gate.h"

struct handle {
	struct handle *prev, *next; /* guarded by handle_list.lock */
	struct inode *inode;        /* with a reference */
	struct file *file;          /* regular files: a user of inode_file */
	struct tree_cursor *cursor; /* directories, guarded by cursor_lock */
	struct lock_mutex cursor_lock;
	unsigned attributes;     /* so many more entries are listed with theirs; as the cursor */
	unsigned looked_into;    /* inode->looked_into when that was decided */
	struct op_caller caller; /* who opened it */
	enum op op;              /* OP_OPEN, OP_CREATE or OP_OPENDIR */
	unsigned acts;           /* what was granted: asked again when the policy changes */
	bool writes;
	struct gate_ticket ticket;
	uint64_t bytes_read, bytes_written; /* atomic */
};

struct handle_list {
	struct lock_mutex lock;
	struct handle head; /* ring */
	uint64_t count;
};

void handle_list_init(struct handle_list *l);
void handle_list_done(struct handle_list *l); /* all handles must have been removed */
/* NULL on ENOMEM. Nothing is referenced yet. */
struct handle *handle_new(void);
void handle_add(struct handle_list *l, struct handle *h);
void handle_remove(struct handle_list *l, struct handle *h);
/* Frees a handle that is in no list and holds nothing. */
void handle_free(struct handle *h);
/*
 * Visits all handles under the list's lock. visit may take inode_table.lock and the gate's; it must
 * not wait for the kernel.
 */
void handle_each(
	struct handle_list *l, void (*visit)(void *context, struct handle *h), void *context);

#endif
