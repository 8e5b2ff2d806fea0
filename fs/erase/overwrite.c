/*
 * Why unwritten extents are overwritten and not skipped: the flag turns only after the data is on
 * disk. With the write in flight, or lost with the power before the flag was, they hold the file's
 * bytes (measured on xfs and ext4: docs/erase.md). Delayed extents have no place yet. Overwriting
 * them in the page cache and finding them still delayed proves that the old bytes never left
 * memory, since a place is chosen before a write is sent.
 */
#include "fs/erase/overwrite.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/crypto.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <string.h>

#define PAGE 4096u
#define SLOT_LEN 1024u
#define FILE_ID_OFFSET 8u
#define MAP_BATCH 64
#define ELSEWHERE                                                                                  \
	(FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_INLINE |                \
		FIEMAP_EXTENT_DATA_TAIL)

struct map {
	struct lower_extent *extents; /* owned */
	size_t n, room;
};

static void map_done(struct map *m)
{
	free(m->extents);
}

#define AUTO_MAP AUTO(map_done) struct map

static int map_add(struct map *m, const struct lower_extent *e)
{
	if (m->n == m->room) {
		size_t room = m->room ? m->room * 2 : MAP_BATCH;
		struct lower_extent *more = reallocarray(m->extents, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		m->extents = more;
		m->room = room;
	}
	m->extents[m->n++] = *e;
	return 0;
}

/* -EOPNOTSUPP where the filesystem has no maps. */
static int map_load(struct lower *l, int fd, struct map *m)
{
	uint64_t at = 0;
	for (;;) {
		struct lower_extent some[MAP_BATCH];
		int n = l->ops->fiemap(l, fd, at, some, MAP_BATCH);
		if (n <= 0)
			return n;
		for (int i = 0; i < n; i++) {
			int r = map_add(m, &some[i]);
			if (r < 0)
				return r;
			uint64_t end;
			if (!bytes_add64(some[i].logical, some[i].length, &end) || end <= at)
				return -EIO;
			at = end;
			if (some[i].flags & FIEMAP_EXTENT_LAST)
				return 0;
		}
	}
}

static bool delayed(const struct lower_extent *e)
{
	return e->flags & FIEMAP_EXTENT_DELALLOC;
}

static bool all_delayed(const struct map *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (!delayed(&m->extents[i]))
			return false;
	return true;
}

/* True when every place of `before` still belongs to the same range of the file in `after`. Both
 * are sorted. */
static bool in_same_place(const struct map *before, const struct map *after)
{
	size_t j = 0;
	for (size_t i = 0; i < before->n; i++) {
		const struct lower_extent *b = &before->extents[i];
		if (delayed(b) || (b->flags & ELSEWHERE))
			continue;
		for (uint64_t done = 0; done < b->length;) {
			uint64_t at = b->logical + done;
			while (j < after->n &&
				after->extents[j].logical + after->extents[j].length <= at)
				j++;
			if (j == after->n || after->extents[j].logical > at ||
				delayed(&after->extents[j]))
				return false;
			const struct lower_extent *a = &after->extents[j];
			if (a->physical + (at - a->logical) != b->physical + done)
				return false;
			done = a->logical + a->length - b->logical;
		}
	}
	return true;
}

static int write_random(const struct overwrite *o, int fd, uint64_t from, uint64_t to)
{
	while (from < to) {
		if (o->stop && atomic_load(o->stop))
			return -ECANCELED;
		size_t len = to - from < OVERWRITE_STEP ? (size_t)(to - from) : OVERWRITE_STEP;
		crypto_random(o->buffer, len);
		int r = lower_write_all(o->lower, fd, o->buffer, len, from);
		if (r < 0)
			return r;
		from += len;
	}
	return 0;
}

/* The part of the map between two offsets. ret_bytes grows by what was written. */
static int write_extents(const struct overwrite *o, int fd, const struct map *m, uint64_t from,
	uint64_t to, uint64_t *ret_bytes)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct lower_extent *e = &m->extents[i];
		uint64_t start = e->logical > from ? e->logical : from;
		uint64_t end = e->logical + e->length < to ? e->logical + e->length : to;
		if (start >= end || (e->flags & FIEMAP_EXTENT_SHARED))
			continue;
		int r = write_random(o, fd, start, end);
		if (r < 0)
			return r;
		*ret_bytes += end - start;
	}
	return 0;
}

/* Delayed space behind the end is a reservation of the filesystem's own: nothing can have been
 * written there. */
static void map_clip_delayed(struct map *m, uint64_t size)
{
	uint64_t end = (size + PAGE - 1) / PAGE * PAGE;
	size_t kept = 0;
	for (size_t i = 0; i < m->n; i++) {
		struct lower_extent e = m->extents[i];
		if (delayed(&e) && e.logical + e.length > end)
			e.length = e.logical < end ? end - e.logical : 0;
		if (e.length)
			m->extents[kept++] = e;
	}
	m->n = kept;
}

/*
 * Where there are no maps: pages that are not zero, until as many bytes as the file has allocated
 * are gone. Ciphertext has no page of zeros, so reading tells holes from content and a sparse file
 * is not filled.
 */
static int map_guess(const struct overwrite *o, int fd, const struct stat *st, struct map *m)
{
	uint64_t size = (uint64_t)st->st_size, allocated = (uint64_t)st->st_blocks * 512;
	struct lower_extent whole = {.length = size};
	if (size <= OVERWRITE_STEP || allocated >= size)
		return size ? map_add(m, &whole) : 0;
	uint64_t seen = 0;
	for (uint64_t at = 0; at < size && seen < allocated;) {
		if (o->stop && atomic_load(o->stop))
			return -ECANCELED;
		ssize_t n = lower_pread(o->lower, fd, o->buffer, OVERWRITE_STEP, at);
		if (n <= 0)
			return (int)n;
		for (size_t page = 0; page < (size_t)n; page += PAGE) {
			size_t len = (size_t)n - page < PAGE ? (size_t)n - page : PAGE;
			struct lower_extent e = {.logical = at + page, .length = len};
			if (bytes_all_zero(o->buffer + page, len))
				continue;
			int r = map_add(m, &e);
			if (r < 0)
				return r;
			seen += len;
		}
		at += (uint64_t)n;
	}
	return 0;
}

static int read_file_id(const struct overwrite *o, int fd, uint8_t ret[static 16])
{
	uint8_t *page = o->buffer;
	memset(page, 0, PAGE);
	ssize_t n = lower_pread(o->lower, fd, page, PAGE, 0);
	/* Unreadable is no reason not to overwrite. */
	for (size_t slot = 0; n == PAGE && slot < 2; slot++) {
		const uint8_t *p = page + slot * SLOT_LEN;
		if (memcmp(p, "TFSH", 4) == 0) {
			memcpy(ret, p + FILE_ID_OFFSET, 16);
			return 0;
		}
	}
	return 0;
}

static uint64_t map_bytes(const struct map *m)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < m->n; i++)
		bytes += m->extents[i].length;
	return bytes;
}

/* Header first, alone: once it is on disk the rest is ciphertext without a key. One step covers a
 * small file whole. */
static int write_and_sync(
	const struct overwrite *o, int fd, const struct map *m, uint64_t *ret_bytes)
{
	struct lower *l = o->lower;
	uint64_t first = map_bytes(m) <= OVERWRITE_STEP ? UINT64_MAX : PAGE;
	int r = write_extents(o, fd, m, 0, first, ret_bytes);
	if (r == 0)
		r = l->ops->fsync(l, fd, true);
	if (r < 0 || first == UINT64_MAX)
		return r;
	r = write_extents(o, fd, m, first, UINT64_MAX, ret_bytes);
	return r < 0 ? r : l->ops->fsync(l, fd, true);
}

/* 1: nothing of the file had a place on disk, before and after its cached pages were overwritten.
 */
static int try_never_on_disk(const struct overwrite *o, int fd, const struct map *before)
{
	if (!all_delayed(before))
		return 0;
	uint64_t cached = 0;
	int r = write_extents(o, fd, before, 0, UINT64_MAX, &cached);
	if (r < 0)
		return r;
	AUTO_MAP after = {0};
	r = map_load(o->lower, fd, &after);
	return r < 0 ? r : all_delayed(&after);
}

int overwrite_file(const struct overwrite *o, int fd, struct overwrite_result *ret)
{
	struct lower *l = o->lower;
	struct stat st;
	AUTO_MAP before = {0};
	AUTO_MAP after = {0};
	int r = l->ops->fstat(l, fd, &st);
	if (r == 0)
		r = map_load(l, fd, &before);
	ret->unmapped = r == -EOPNOTSUPP;
	if (ret->unmapped)
		r = map_guess(o, fd, &st, &before);
	if (r == 0)
		r = read_file_id(o, fd, ret->file_id);
	if (r < 0)
		return r;
	map_clip_delayed(&before, (uint64_t)st.st_size);
	if (!ret->unmapped) {
		r = try_never_on_disk(o, fd, &before);
		ret->never_on_disk = r == 1;
		if (r != 0)
			return r < 0 ? r : 0;
	}
	r = write_and_sync(o, fd, &before, &ret->bytes);
	if (r < 0 || ret->unmapped)
		return r;
	r = map_load(l, fd, &after);
	if (r < 0)
		return r;
	for (size_t i = 0; i < before.n; i++)
		ret->elsewhere = ret->elsewhere || (before.extents[i].flags & ELSEWHERE);
	ret->elsewhere = ret->elsewhere || !in_same_place(&before, &after);
	return 0;
}
