/* Life and ends of the simulated disk. */
#include "tests/sim/sim_internal.h"

#include <string.h>

#define ROOT_INO 2u

void *sim_disk_memory(size_t bytes)
{
	void *p = malloc(bytes);
	if (!p)
		abort();
	return p;
}

void *sim_disk_grow(void *array, size_t need, size_t size, uint32_t *room)
{
	if (need <= *room)
		return array;
	size_t more = *room ? *room * 2u : 8u;
	array = reallocarray(array, more < need ? need : more, size);
	if (!array)
		abort();
	*room = (uint32_t)(more < need ? need : more);
	return array;
}

static struct sim_disk *blank(const struct sim_options *o)
{
	struct timespec t;
	struct sim_disk *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &t);
	d->clock_ns = t.tv_sec * 1000000000 + t.tv_nsec;
	d->base.ops = &sim_calls_ops;
	d->options = *o;
	d->random.state = o->seed;
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

struct sim_disk *sim_disk_new(const struct sim_options *o)
{
	struct sim_disk *d = blank(o);
	if (!d)
		return NULL;
	d->medium = sim_disk_grow(NULL, 1, sizeof(*d->medium), &d->block_room);
	d->medium[0] = NULL;
	d->block_count = 1;
	struct sim_inode *root = sim_tree_new(d, S_IFDIR | 0700, 0, NULL);
	root->core.nlink = 2;
	root->core.parent = root->ino;
	return d;
}

static void *copy_of(const void *array, size_t bytes)
{
	void *copy = bytes ? sim_disk_memory(bytes) : NULL;
	if (bytes)
		memcpy(copy, array, bytes);
	return copy;
}

struct sim_disk *sim_disk_clone(const struct sim_disk *from, const struct sim_options *o)
{
	struct sim_disk *d = blank(o);
	if (!d)
		return NULL;
	for (uint32_t n = 0; n < from->inode_count; n++)
		if (from->inodes[n])
			sim_tree_copy(d, from->inodes[n]);
	d->block_count = d->block_room = from->block_count;
	d->medium = copy_of(from->medium, from->block_count * sizeof(struct sim_buf *));
	for (uint32_t n = 1; n < d->block_count; n++)
		sim_pages_hold(d->medium[n]);
	d->free_count = d->free_room = from->free_count;
	d->free_blocks = copy_of(from->free_blocks, from->free_count * sizeof(*d->free_blocks));
	d->delayed = from->delayed;
	d->clock_ns = from->clock_ns > d->clock_ns ? from->clock_ns : d->clock_ns;
	d->txn = from->txn;
	d->committed = from->committed;
	d->stopped = from->stopped;
	d->lies = from->lies;
	sim_log_copy(d, from);
	return d;
}

void sim_disk_free(struct sim_disk *d)
{
	if (!d)
		return;
	sim_log_commit(d, d->txn);
	for (uint32_t n = 0; n < d->inode_count; n++)
		if (d->inodes[n])
			sim_tree_free_inode(d, d->inodes[n]);
	for (uint32_t n = 1; n < d->block_count; n++)
		sim_pages_let(d->medium[n]);
	free(d->medium);
	free(d->free_blocks);
	free(d->log);
	free(d->inodes);
	free(d->fds);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

struct lower *sim_disk_lower(struct sim_disk *d)
{
	return &d->base;
}

int sim_disk_root(struct sim_disk *d)
{
	return sim_calls_open(d, ROOT_INO);
}

void sim_disk_stop_at(struct sim_disk *d, uint64_t n)
{
	d->stop_at = n ? d->calls + n : 0;
}

bool sim_disk_stopped(const struct sim_disk *d)
{
	return d->stopped;
}

void sim_disk_fail_at(struct sim_disk *d, uint64_t n, int error)
{
	d->fail_at = n ? d->calls + n : 0;
	d->fail_error = error;
	d->failed = false;
}

bool sim_disk_failed(const struct sim_disk *d)
{
	return d->failed;
}

uint64_t sim_disk_calls(const struct sim_disk *d)
{
	return d->calls;
}

bool sim_disk_lies(const struct sim_disk *d)
{
	return d->lies;
}

/* Calls work again; what nobody has open and nothing names goes. */
static void go_on(struct sim_disk *d)
{
	d->stopped = d->stopping = false;
	d->stop_at = d->fail_at = 0;
	d->failed = false;
	for (uint32_t n = 0; n < d->inode_count; n++)
		if (d->inodes[n])
			sim_tree_settle(d, d->inodes[n]);
}

void sim_disk_kill(struct sim_disk *d)
{
	sim_calls_close_all(d);
	go_on(d);
}

/* Pages that the kernel had begun to write back. */
static void last_writeback(struct sim_disk *d)
{
	for (uint32_t n = 0; n < d->inode_count; n++) {
		struct sim_inode *i = d->inodes[n];
		if (i && !i->gone && sim_random_chance(&d->random, 300))
			sim_pages_flush_some(d, i);
	}
}

void sim_disk_power_cut(struct sim_disk *d)
{
	uint64_t how = sim_random_below(&d->random, 100), pending;
	enum sim_cut cut = how < 15 ? SIM_CUT_OLD : how < 30 ? SIM_CUT_NEW : SIM_CUT_ANY;
	sim_calls_close_all(d);
	if (cut == SIM_CUT_ANY)
		last_writeback(d);
	pending = d->txn - d->committed;
	how = sim_random_below(&d->random, 100);
	uint64_t upto = how < 15   ? d->committed
			: how < 30 ? d->txn
				   : d->committed + sim_random_below(&d->random, pending + 1);
	sim_log_commit(d, upto);
	for (uint32_t n = 0; n < d->inode_count; n++)
		if (d->inodes[n])
			sim_pages_cut(d, d->inodes[n], cut);
	sim_log_undo(d, upto);
	for (uint32_t n = 0; n < d->inode_count; n++) {
		struct sim_inode *i = d->inodes[n];
		if (i && S_ISREG(i->core.mode))
			i->size = i->core.disk_size;
		if (i)
			i->meta = i->data = 0;
	}
	d->txn = upto;
	d->lies = false;
	go_on(d);
	sim_log_commit(d, d->txn);
}

unsigned sim_disk_open_files(const struct sim_disk *d)
{
	unsigned count = 0;
	for (unsigned n = 0; n < d->fd_count; n++)
		count += d->fds[n].inode != NULL;
	return count;
}

const int64_t *sim_disk_clock(const struct sim_disk *d)
{
	return &d->clock_ns;
}

uint64_t sim_disk_used(const struct sim_disk *d)
{
	return d->block_count - 1u - d->free_count + d->delayed;
}

void sim_disk_set_space(struct sim_disk *d, uint64_t pages)
{
	d->options.space = pages;
}

unsigned sim_disk_lost(const struct sim_disk *d, ino_t ino)
{
	return ino < d->inode_count && d->inodes[ino] ? d->inodes[ino]->lost : 0;
}

uint32_t sim_disk_blocks(const struct sim_disk *d)
{
	return d->block_count;
}

const uint8_t *sim_disk_block(const struct sim_disk *d, uint32_t block)
{
	return d->medium[block] ? d->medium[block]->bytes : NULL;
}

ino_t sim_disk_owner(const struct sim_disk *d, uint32_t block, uint64_t *ret_page)
{
	for (uint32_t n = 0; n < d->inode_count; n++)
		for (size_t at = 0; d->inodes[n] && at < d->inodes[n]->page_count; at++)
			if (d->inodes[n]->pages[at].phys == block) {
				*ret_page = d->inodes[n]->pages[at].index;
				return n;
			}
	return 0;
}

void sim_disk_sync(struct sim_disk *d)
{
	for (uint32_t n = 0; n < d->inode_count; n++) {
		struct sim_inode *i = d->inodes[n];
		if (i && !i->gone) {
			sim_pages_remember(i);
			sim_pages_flush(d, i);
		}
		if (i)
			i->lost = 0;
	}
	d->lies = false;
	sim_log_commit(d, d->txn);
}

void sim_disk_commit(struct sim_disk *d)
{
	sim_log_commit(d, d->txn);
}

uint64_t sim_disk_random(struct sim_disk *d, uint64_t below)
{
	return sim_random_below(&d->random, below);
}
