#include "fs/front/request.h"

#include "keymgmt/base/pool.h"
#include "keymgmt/crypto.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A thread's answers: plaintext. They begin with a page: AMD's processors copy four times slower to
 * where the last bits of the address are a few more than those of the source, a page of a cache
 * (measured: 2.4 and 10 GB/s; decisions/0008). */
struct answer {
	char bytes[FRONT_BUFFER];
	size_t used; /* of them, at most */
};
_Static_assert(offsetof(struct answer, bytes) == 0, "answers begin with a page");

static void free_buffer(void *at)
{
	struct answer *a = at;
	if (!a)
		return;
	crypto_wipe(a->bytes, a->used);
	pool_pages_free(a, sizeof(*a));
}

uint64_t front_available(struct front *f, const struct statvfs *st, uint64_t blocks)
{
	uint64_t free = st->f_bfree, avail = st->f_bavail;
	if (avail) {
		__atomic_store_n(&f->for_root, free > avail ? free - avail : 0, __ATOMIC_RELAXED);
		return avail + blocks;
	}
	uint64_t for_root = __atomic_load_n(&f->for_root, __ATOMIC_RELAXED);
	return free + blocks > for_root ? free + blocks - for_root : 0;
}

int front_init(struct front *f)
{
	struct statvfs st;
	f->for_root = UINT64_MAX;
	if (f->store->lower->ops->fstatvfs(f->store->lower, f->store->root_fd, &st) == 0)
		(void)front_available(f, &st, 0);
	handle_list_init(&f->handles);
	int r = pthread_key_create(&f->buffer_key, free_buffer);
	return r ? -r : inode_table_init(&f->inodes, f->store);
}

/* The kernel is gone: what applications had open is committed, recorded and closed. */
static void close_all(struct front *f)
{
	while (f->handles.head.next != &f->handles.head)
		request_end_handle(f, f->handles.head.next);
}

void front_done(struct front *f)
{
	close_all(f);
	inode_table_done(&f->inodes);
	handle_list_done(&f->handles);
	front_buffer_done(f);
	pthread_key_delete(f->buffer_key);
}

char *front_buffer(struct front *f, size_t size)
{
	if (size > FRONT_BUFFER)
		return NULL;
	struct answer *a = pthread_getspecific(f->buffer_key);
	if (!a) {
		a = pool_pages_new(sizeof(*a)); /* only what is used of it takes memory */
		if (a && pthread_setspecific(f->buffer_key, a)) {
			pool_pages_free(a, sizeof(*a));
			a = NULL;
		}
	}
	if (a && size > a->used)
		a->used = size;
	return a ? a->bytes : NULL;
}

void front_buffer_done(struct front *f)
{
	free_buffer(pthread_getspecific(f->buffer_key));
	pthread_setspecific(f->buffer_key, NULL);
}

static size_t states_of(void *context, const struct gate_object *o, struct policy *p,
	uint64_t generation, policy_state ret[GATE_NAMES_MAX])
{
	struct front *f = context;
	return inode_name_states(&f->inodes, o->node, o->child, p, generation, ret, GATE_NAMES_MAX);
}

static bool place_of(void *context, const struct gate_object *o, struct policy *p,
	uint64_t generation, policy_state *ret_dir, policy_state *ret)
{
	struct front *f = context;
	return inode_name_place(&f->inodes, o->node, o->child, p, generation, ret_dir, ret);
}

static void path_of(void *context, const struct gate_object *o, char *ret, size_t size)
{
	struct front *f = context;
	inode_name_path(&f->inodes, o->node, o->child, ret, size);
}

/* Known while it is open; a directory's always. */
static bool file_id_of(void *context, const struct gate_object *o, uint8_t ret[16])
{
	struct front *f = context;
	struct inode *i = (struct inode *)(uintptr_t)o->node;
	static const uint8_t none[16];
	if (o->child)
		return false;
	memcpy(ret, none, 16);
	if (S_ISDIR(i->type)) {
		lock_take(&f->inodes.lock);
		if (i->dir)
			memcpy(ret, i->dir->id, 16);
		lock_drop(&f->inodes.lock);
	} else if (S_ISREG(i->type)) {
		struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
		if (i->file)
			file_id(i->file, ret);
		lock_drop(stripe);
	}
	return memcmp(ret, none, 16) != 0;
}

void front_gate_calls(struct front *f, struct gate_front *ret)
{
	*ret = (struct gate_front){states_of, place_of, path_of, file_id_of, f};
}

struct opened {
	struct front *f;
	struct inode **list; /* owned, with a reference each */
	size_t count, room;
};

static void collect_opened(void *context, struct handle *h)
{
	struct opened *o = context;
	if (!h->file || o->count == o->room)
		return;
	inode_get(&o->f->inodes, h->inode);
	o->list[o->count++] = h->inode;
}

static void commit_one(struct front *f, struct inode *i)
{
	struct lock_mutex *stripe = inode_lock(&f->inodes, i->ino);
	struct file *file = i->file ? inode_file_if_open(&f->inodes, i) : NULL;
	lock_drop(stripe);
	if (!file)
		return;
	(void)!file_commit(file);
	inode_file_done(&f->inodes, i, file);
}

int front_commit(struct front *f)
{
	struct front_counts counts;
	front_count(f, &counts);
	struct opened o = {.f = f, .room = counts.handles};
	o.list = calloc(o.room + 1, sizeof(struct inode *));
	if (!o.list)
		return -ENOMEM;
	handle_each(&f->handles, collect_opened, &o);
	for (size_t i = 0; i < o.count; i++) {
		commit_one(f, o.list[i]);
		inode_put(&f->inodes, o.list[i]);
	}
	free(o.list);
	return 0;
}

void front_count(struct front *f, struct front_counts *ret)
{
	lock_take(&f->inodes.lock);
	ret->inodes = f->inodes.count;
	lock_drop(&f->inodes.lock);
	lock_take(&f->handles.lock);
	ret->handles = f->handles.count;
	lock_drop(&f->handles.lock);
}

/* What the kernel offers and we take. */
static void op_init(void *context, struct fuse_conn_info *conn)
{
	static const unsigned wanted =
		FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS |
		FUSE_CAP_READDIRPLUS | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ASYNC_DIO |
		FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
	struct front *f = context;
	/* AUTO_INVAL_DATA off: content changes through this mount alone. READDIRPLUS_AUTO off:
	 * attributes always come along. */
	conn->want = wanted & conn->capable;
	f->kernel_times = conn->want & FUSE_CAP_WRITEBACK_CACHE;
	conn->max_write = FRONT_WRITE;
	conn->max_readahead = 1024 * 1024;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
	if (f->ready)
		f->ready(f->ready_context);
}

void front_operations(struct fuse_lowlevel_ops *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->init = op_init;
	fuse_attr_fill(ret);
	fuse_names_fill(ret);
	fuse_data_fill(ret);
	fuse_dirs_fill(ret);
	fuse_xattr_fill(ret);
}
