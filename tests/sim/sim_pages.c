/* Content: the page cache of the simulated filesystem, its maps, and the medium under them. */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <string.h>

struct sim_buf *sim_pages_hold(struct sim_buf *b)
{
	if (b)
		b->refs++;
	return b;
}

void sim_pages_let(struct sim_buf *b)
{
	if (b && --b->refs == 0)
		free(b);
}

/* A copy to be changed; whole: its content does not matter. */
static struct sim_buf *copy_buf(const struct sim_buf *b, bool whole)
{
	struct sim_buf *n = sim_disk_memory(sizeof(*n));
	n->refs = 1;
	if (b && !whole)
		memcpy(n->bytes, b->bytes, SIM_PAGE);
	else if (!whole)
		memset(n->bytes, 0, SIM_PAGE);
	return n;
}

static void set_medium(struct sim_disk *d, uint32_t phys, struct sim_buf *b)
{
	sim_pages_hold(b);
	sim_pages_let(d->medium[phys]);
	d->medium[phys] = b;
}

static size_t position(const struct sim_inode *i, uint64_t index)
{
	size_t low = 0, high = i->page_count;
	/* Most writes go to the end. */
	if (high && i->pages[high - 1].index < index)
		return high;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (i->pages[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct sim_page *sim_pages_find(const struct sim_inode *i, uint64_t index)
{
	size_t at = position(i, index);
	return at < i->page_count && i->pages[at].index == index ? &i->pages[at] : NULL;
}

static struct sim_page *insert(struct sim_inode *i, uint64_t index)
{
	size_t at = position(i, index);
	uint32_t room = (uint32_t)i->page_room;
	i->pages = sim_disk_grow(i->pages, i->page_count + 1, sizeof(*i->pages), &room);
	i->page_room = room;
	memmove(i->pages + at + 1, i->pages + at, (i->page_count - at) * sizeof(*i->pages));
	i->page_count++;
	i->pages[at] = (struct sim_page){.index = index};
	return &i->pages[at];
}

static void forget_versions(struct sim_page *p)
{
	for (unsigned v = 0; v < p->versions; v++)
		sim_pages_let(p->older[v]);
	p->versions = 0;
}

static void remove_page(struct sim_inode *i, struct sim_page *p)
{
	forget_versions(p);
	sim_pages_let(p->now);
	size_t at = (size_t)(p - i->pages);
	memmove(p, p + 1, (i->page_count - at - 1) * sizeof(*p));
	i->page_count--;
}

static bool no_space(const struct sim_disk *d, uint64_t pages)
{
	uint64_t used = d->block_count - 1 - d->free_count + d->delayed;
	return d->options.space && used + pages > d->options.space;
}

static uint32_t take_block(struct sim_disk *d)
{
	if (d->free_count && (sim_random_chance(&d->random, 512) ||
				     (d->options.space && d->block_count > d->options.space))) {
		uint32_t at = (uint32_t)sim_random_below(&d->random, d->free_count);
		uint32_t phys = d->free_blocks[at];
		d->free_blocks[at] = d->free_blocks[--d->free_count];
		return phys;
	}
	d->medium =
		sim_disk_grow(d->medium, d->block_count + 1u, sizeof(*d->medium), &d->block_room);
	d->medium[d->block_count] = NULL;
	return d->block_count++;
}

void sim_pages_free_block(struct sim_disk *d, uint32_t phys)
{
	d->free_blocks = sim_disk_grow(
		d->free_blocks, d->free_count + 1u, sizeof(*d->free_blocks), &d->free_room);
	d->free_blocks[d->free_count++] = phys;
}

/* The size on the disk follows; part of the transaction that has begun. */
static void log_size(struct sim_disk *d, struct sim_inode *i, uint64_t size)
{
	sim_log_core(d, i, true);
	i->core.disk_size = size;
}

static void follow_size(struct sim_disk *d, struct sim_inode *i, const struct sim_page *p)
{
	uint64_t end = (p->index + 1) * SIM_PAGE;
	uint64_t size = end < i->size ? end : i->size;
	if (size > i->core.disk_size)
		log_size(d, i, size);
}

static void flush(struct sim_disk *d, struct sim_inode *i, struct sim_page *p)
{
	if (!p->dirty)
		return;
	if (p->state == SIM_DELAYED) {
		sim_log_begin(d);
		sim_log_map(d, i, p, false);
		p->phys = take_block(d);
		p->state = SIM_UNWRITTEN;
		d->delayed--;
		/* ext4 logs the size when the write is sent, other ones when it is done. */
		if (sim_random_chance(&d->random, 512))
			follow_size(d, i, p);
	}
	set_medium(d, p->phys, p->now);
	forget_versions(p);
	p->dirty = p->fresh = false;
	if (p->state == SIM_UNWRITTEN || i->core.disk_size < i->size)
		sim_log_begin(d);
	if (p->state == SIM_UNWRITTEN) {
		sim_log_map(d, i, p, false);
		p->state = SIM_WRITTEN;
	}
	follow_size(d, i, p);
}

void sim_pages_flush(struct sim_disk *d, struct sim_inode *i)
{
	for (size_t at = 0; at < i->page_count; at++)
		flush(d, i, &i->pages[at]);
	if (i->core.disk_size < i->size) {
		sim_log_begin(d);
		log_size(d, i, i->size);
	}
}

void sim_pages_flush_some(struct sim_disk *d, struct sim_inode *i)
{
	if (i->page_count)
		flush(d, i, &i->pages[sim_random_below(&d->random, i->page_count)]);
}

void sim_pages_order(struct sim_disk *d, struct sim_inode *i, uint64_t index)
{
	struct sim_page *p = sim_pages_find(i, index);
	if (!p || !p->fresh)
		return;
	set_medium(d, p->phys, p->now);
	forget_versions(p);
	p->dirty = p->fresh = false;
}

/* What there may be of each sector: 0 the medium's, then older ones, then the newest. */
static const struct sim_buf *version(
	const struct sim_disk *d, const struct sim_page *p, unsigned which)
{
	if (which == 0)
		return d->medium[p->phys];
	return which <= p->versions ? p->older[which - 1] : p->now;
}

static void copy_sector(struct sim_buf *to, const struct sim_buf *from, size_t at, size_t len)
{
	if (from)
		memcpy(to->bytes + at, from->bytes + at, len);
	else
		memset(to->bytes + at, 0, len);
}

/* Some of what was written to a block reaches it. */
static void tear(struct sim_disk *d, struct sim_page *p, enum sim_cut mode)
{
	unsigned newest = p->versions + 1u;
	size_t sector = d->options.sector;
	if (mode == SIM_CUT_ANY && sim_random_chance(&d->random, 300))
		sector = SIM_PAGE;
	if (mode == SIM_CUT_OLD)
		return;
	if (mode == SIM_CUT_NEW || sector == SIM_PAGE) {
		unsigned which = mode == SIM_CUT_NEW
					 ? newest
					 : (unsigned)sim_random_below(&d->random, newest + 1u);
		/* version() is not the medium's own only from 1 on. */
		if (which > 0)
			set_medium(d, p->phys, which <= p->versions ? p->older[which - 1] : p->now);
		return;
	}
	struct sim_buf *mixed = copy_buf(NULL, true);
	for (size_t at = 0; at < SIM_PAGE; at += sector)
		copy_sector(mixed,
			version(d, p, (unsigned)sim_random_below(&d->random, newest + 1u)), at,
			sector);
	set_medium(d, p->phys, mixed);
	sim_pages_let(mixed);
}

void sim_pages_lose(struct sim_disk *d, struct sim_inode *i)
{
	for (size_t at = 0; at < i->page_count; at++) {
		struct sim_page *p = &i->pages[at];
		if (!p->dirty || p->state != SIM_WRITTEN || p->fresh)
			continue;
		tear(d, p, SIM_CUT_ANY);
		forget_versions(p);
		p->dirty = false;
		i->lost |= SIM_LOST_CONTENT;
		d->lies = true;
	}
}

void sim_pages_remember(struct sim_inode *i)
{
	for (size_t at = 0; at < i->page_count; at++)
		if (i->pages[at].state == SIM_WRITTEN)
			i->pages[at].dirty = true;
}

void sim_pages_cut(struct sim_disk *d, struct sim_inode *i, enum sim_cut mode)
{
	size_t kept = 0;
	for (size_t at = 0; at < i->page_count; at++) {
		struct sim_page *p = &i->pages[at];
		i->lost |= p->dirty ? SIM_LOST_CONTENT : 0;
		if (p->dirty && p->state >= SIM_UNWRITTEN)
			tear(d, p, mode);
		forget_versions(p);
		sim_pages_let(p->now);
		p->now = p->state == SIM_WRITTEN ? sim_pages_hold(d->medium[p->phys]) : NULL;
		p->dirty = p->fresh = false;
		if (p->state == SIM_DELAYED) {
			d->delayed--;
			continue;
		}
		i->pages[kept++] = *p;
	}
	i->page_count = kept;
	i->lost |= i->size != i->core.disk_size ? SIM_LOST_CONTENT : 0;
}

void sim_pages_restore(
	struct sim_disk *d, struct sim_inode *i, uint64_t index, uint8_t state, uint32_t phys)
{
	struct sim_page *p = sim_pages_find(i, index);
	if (p) {
		if (p->phys && p->phys != phys) {
			sim_pages_free_block(d, p->phys);
			i->lost |= SIM_LOST_BLOCKS;
		}
		remove_page(i, p);
	}
	if (state < SIM_UNWRITTEN)
		return;
	p = insert(i, index);
	p->state = state;
	p->phys = phys;
	if (state == SIM_WRITTEN)
		p->now = sim_pages_hold(d->medium[phys]);
}

/* A page leaves the file, as part of a transaction. Of what was on its way to its block anything
 * may have arrived. */
static void release(struct sim_disk *d, struct sim_inode *i, struct sim_page *p)
{
	if (p->fresh)
		set_medium(d, p->phys,
			p->now); /* its transaction may be committed, and this one not */
	else if (p->dirty && p->state >= SIM_UNWRITTEN)
		tear(d, p, sim_random_chance(&d->random, 512) ? SIM_CUT_ANY : SIM_CUT_OLD);
	if (p->state == SIM_DELAYED)
		d->delayed--;
	else
		sim_log_map(d, i, p, true);
	forget_versions(p);
	sim_pages_let(p->now);
}

/* Pages [first, end). */
static void release_range(struct sim_disk *d, struct sim_inode *i, uint64_t first, uint64_t end)
{
	size_t from = position(i, first), to = from;
	while (to < i->page_count && i->pages[to].index < end)
		release(d, i, &i->pages[to++]);
	if (to == from)
		return;
	memmove(i->pages + from, i->pages + to, (i->page_count - to) * sizeof(*i->pages));
	i->page_count -= to - from;
}

void sim_pages_release(struct sim_disk *d, struct sim_inode *i)
{
	release_range(d, i, 0, UINT64_MAX);
}

void sim_pages_drop(struct sim_disk *d, struct sim_inode *i)
{
	for (size_t at = 0; at < i->page_count; at++) {
		struct sim_page *p = &i->pages[at];
		if (p->phys)
			sim_pages_free_block(d, p->phys);
		if (p->state == SIM_DELAYED)
			d->delayed--;
		forget_versions(p);
		sim_pages_let(p->now);
	}
	i->page_count = 0;
}

void sim_pages_copy(struct sim_inode *to, const struct sim_inode *from)
{
	to->page_room = to->page_count;
	to->pages = to->page_count ? sim_disk_memory(to->page_count * sizeof(*to->pages)) : NULL;
	for (size_t at = 0; at < to->page_count; at++) {
		struct sim_page *p = &to->pages[at];
		*p = from->pages[at];
		sim_pages_hold(p->now);
		for (unsigned v = 0; v < p->versions; v++)
			sim_pages_hold(p->older[v]);
	}
}

ssize_t sim_pages_read(const struct sim_inode *i, const struct iovec *iov, int n, uint64_t offset)
{
	ssize_t done = 0;
	for (int v = 0; v < n; v++) {
		uint8_t *to = iov[v].iov_base;
		size_t left = iov[v].iov_len;
		while (left && offset < i->size) {
			size_t at = offset % SIM_PAGE, len = SIM_PAGE - at;
			const struct sim_page *p = sim_pages_find(i, offset / SIM_PAGE);
			len = len < left ? len : left;
			len = len < i->size - offset ? len : (size_t)(i->size - offset);
			if (p && p->now)
				memcpy(to, p->now->bytes + at, len);
			else
				memset(to, 0, len);
			to += len;
			left -= len;
			offset += len;
			done += (ssize_t)len;
		}
	}
	return done;
}

/* The older content stays as one that a power cut may find, where there is a place for it. */
static void remember(struct sim_disk *d, struct sim_page *p)
{
	if (p->state != SIM_WRITTEN || p->fresh) {
		sim_pages_let(p->now);
		return;
	}
	if (p->versions == SIM_VERSIONS) {
		unsigned out = (unsigned)sim_random_below(&d->random, SIM_VERSIONS);
		sim_pages_let(p->older[out]);
		memmove(p->older + out, p->older + out + 1,
			(SIM_VERSIONS - 1 - out) * sizeof(p->older[0]));
		p->versions--;
	}
	p->older[p->versions++] = p->now;
}

/* Makes the page's content ours to change. */
static struct sim_buf *touch(struct sim_disk *d, struct sim_page *p, bool whole)
{
	struct sim_buf *b = copy_buf(p->now, whole);
	if (p->dirty)
		remember(d, p);
	else
		sim_pages_let(p->now);
	p->now = b;
	p->dirty = true;
	return b;
}

/* NULL: no space. The transaction has begun. */
static struct sim_page *page_for_write(struct sim_disk *d, struct sim_inode *i, uint64_t index)
{
	struct sim_page *p = sim_pages_find(i, index);
	if (p)
		return p;
	if (no_space(d, 1))
		return NULL;
	p = insert(i, index);
	if (d->options.sizes != SIM_SIZE_WITH_DATA) {
		p->state = SIM_DELAYED;
		d->delayed++;
		return p;
	}
	sim_log_map(d, i, p, false);
	p->phys = take_block(d);
	p->state = SIM_WRITTEN;
	p->fresh = true;
	return p;
}

/* Behind the end a page holds zeros. */
static void clean_tail(struct sim_disk *d, struct sim_inode *i, uint64_t size)
{
	size_t at = size % SIM_PAGE;
	struct sim_page *p = at ? sim_pages_find(i, size / SIM_PAGE) : NULL;
	if (!p || !p->now)
		return;
	for (size_t b = at; b < SIM_PAGE; b++)
		if (p->now->bytes[b]) {
			memset(touch(d, p, false)->bytes + at, 0, SIM_PAGE - at);
			return;
		}
}

static void grow_to(struct sim_disk *d, struct sim_inode *i, uint64_t end, bool mapped)
{
	if (end <= i->size)
		return;
	i->size = end;
	/* Where the page had its place, ext4 logs the size at the write even with delayed
	 * allocation.
	 */
	bool early = mapped || d->options.sizes == SIM_SIZE_BEFORE_DATA;
	if (d->options.sizes == SIM_SIZE_WITH_DATA || (early && sim_random_chance(&d->random, 512)))
		log_size(d, i, end);
}

static size_t write_page(
	struct sim_disk *d, struct sim_inode *i, const uint8_t *from, size_t left, uint64_t offset)
{
	size_t at = offset % SIM_PAGE, len = SIM_PAGE - at < left ? SIM_PAGE - at : left;
	struct sim_page *p = page_for_write(d, i, offset / SIM_PAGE);
	if (!p)
		return 0;
	memcpy(touch(d, p, len == SIM_PAGE)->bytes + at, from, len);
	grow_to(d, i, offset + len, p->state >= SIM_UNWRITTEN);
	return len;
}

static void touch_times(struct sim_disk *d, struct sim_inode *i)
{
	const struct timespec t = sim_tree_now(d);
	if (i->core.mtime.tv_sec == t.tv_sec && i->core.mtime.tv_nsec == t.tv_nsec)
		return;
	sim_log_core(d, i, false);
	i->core.mtime = i->core.ctime = t;
}

ssize_t sim_pages_write(struct sim_disk *d, struct sim_inode *i, const struct iovec *iov, int n,
	uint64_t offset, bool in_part)
{
	uint64_t pages = 0;
	ssize_t done = 0;
	for (int v = 0; v < n; v++)
		pages += iov[v].iov_len / SIM_PAGE + 1;
	uint64_t stop = in_part ? sim_random_below(&d->random, pages + 1) : UINT64_MAX;
	sim_log_begin(d);
	touch_times(d, i);
	if (offset > i->size)
		clean_tail(d, i, i->size);
	for (int v = 0; v < n; v++) {
		const uint8_t *from = iov[v].iov_base;
		size_t left = iov[v].iov_len;
		while (left && stop) {
			stop--;
			size_t len = write_page(d, i, from, left, offset);
			if (!len)
				return done ? done : -ENOSPC;
			from += len;
			left -= len;
			offset += len;
			done += (ssize_t)len;
		}
	}
	return done;
}

int sim_pages_resize(struct sim_disk *d, struct sim_inode *i, uint64_t size)
{
	uint64_t old = i->size;
	sim_log_begin(d);
	sim_log_core(d, i, true);
	i->core.mtime = i->core.ctime = sim_tree_now(d);
	i->core.disk_size = i->size = size;
	if (size < old)
		release_range(d, i, (size + SIM_PAGE - 1) / SIM_PAGE, UINT64_MAX);
	clean_tail(d, i, size < old ? size : old);
	return 0;
}

/* Zeros over part of one page. */
static void zero_part(struct sim_disk *d, struct sim_inode *i, uint64_t from, uint64_t to)
{
	struct sim_page *p = from < to ? sim_pages_find(i, from / SIM_PAGE) : NULL;
	if (p && p->now)
		memset(touch(d, p, false)->bytes + from % SIM_PAGE, 0, to - from);
}

static void zero_edges(struct sim_disk *d, struct sim_inode *i, uint64_t offset, uint64_t end,
	uint64_t *ret_first, uint64_t *ret_stop)
{
	uint64_t first = (offset + SIM_PAGE - 1) / SIM_PAGE, stop = end / SIM_PAGE;
	if (first > stop) {
		zero_part(d, i, offset, end);
		stop = first;
	} else {
		zero_part(d, i, offset, first * SIM_PAGE);
		zero_part(d, i, stop * SIM_PAGE, end);
	}
	*ret_first = first;
	*ret_stop = stop;
}

static int reserve(struct sim_disk *d, struct sim_inode *i, uint64_t first, uint64_t stop)
{
	uint64_t missing = 0;
	for (uint64_t index = first; index < stop; index++)
		missing += !sim_pages_find(i, index);
	if (no_space(d, missing))
		return -ENOSPC;
	for (uint64_t index = first; index < stop; index++) {
		struct sim_page *p = sim_pages_find(i, index);
		if (p && p->state >= SIM_UNWRITTEN)
			continue;
		if (!p)
			p = insert(i, index);
		else
			d->delayed--;
		sim_log_map(d, i, p, false);
		p->phys = take_block(d);
		p->state = SIM_UNWRITTEN;
	}
	return 0;
}

/* Written pages become unwritten where they are: their bytes stay on the medium. */
static void unwrite(struct sim_disk *d, struct sim_inode *i, uint64_t first, uint64_t stop)
{
	for (size_t at = position(i, first); at < i->page_count && i->pages[at].index < stop;
		at++) {
		struct sim_page *p = &i->pages[at];
		if (p->dirty && p->state == SIM_WRITTEN)
			tear(d, p, SIM_CUT_ANY);
		if (p->state == SIM_WRITTEN)
			sim_log_map(d, i, p, false);
		forget_versions(p);
		sim_pages_let(p->now);
		p->now = NULL;
		p->dirty = p->fresh = false;
		p->state = SIM_UNWRITTEN;
	}
}

int sim_pages_allocate(
	struct sim_disk *d, struct sim_inode *i, int mode, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len, first, stop;
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	mode &= ~FALLOC_FL_KEEP_SIZE;
	if (!len || end < offset)
		return -EINVAL;
	if ((mode & ~(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) ||
		mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) ||
		(mode == FALLOC_FL_PUNCH_HOLE && !keep))
		return -EOPNOTSUPP;
	sim_log_begin(d);
	sim_log_core(d, i, false);
	i->core.ctime = sim_tree_now(d);
	if (mode)
		i->core.mtime = i->core.ctime;
	if (mode == FALLOC_FL_PUNCH_HOLE) {
		zero_edges(d, i, offset, end, &first, &stop);
		uint64_t middle =
			first < stop ? first + sim_random_below(&d->random, stop - first) : stop;
		release_range(d, i, middle, stop);
		sim_log_begin(d);
		release_range(d, i, first, middle);
		return 0;
	}
	int r = reserve(d, i, offset / SIM_PAGE, (end + SIM_PAGE - 1) / SIM_PAGE);
	if (r == 0 && mode == FALLOC_FL_ZERO_RANGE) {
		zero_edges(d, i, offset, end, &first, &stop);
		unwrite(d, i, first, stop);
	}
	if (r == 0 && !keep && end > i->size) {
		clean_tail(d, i, i->size);
		i->size = end;
		log_size(d, i, end);
	}
	return r;
}

static uint32_t extent_flags(const struct sim_page *p)
{
	if (p->state == SIM_DELAYED)
		return FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNKNOWN;
	return p->state == SIM_UNWRITTEN ? FIEMAP_EXTENT_UNWRITTEN : 0;
}

int sim_pages_fiemap(const struct sim_inode *i, uint64_t offset, struct lower_extent *ret, int n)
{
	int found = 0;
	size_t at = position(i, offset / SIM_PAGE);
	while (at < i->page_count && found < n) {
		const struct sim_page *p = &i->pages[at];
		struct lower_extent e = {p->index * SIM_PAGE, (uint64_t)p->phys * SIM_PAGE,
			SIM_PAGE, extent_flags(p)};
		for (at++; at < i->page_count; at++) {
			const struct sim_page *next = &i->pages[at];
			if (next->index * SIM_PAGE != e.logical + e.length ||
				extent_flags(next) != e.flags ||
				(next->phys &&
					(uint64_t)next->phys * SIM_PAGE != e.physical + e.length))
				break;
			e.length += SIM_PAGE;
		}
		if (at == i->page_count)
			e.flags |= FIEMAP_EXTENT_LAST;
		ret[found++] = e;
	}
	return found;
}
