#include "fs/store/file_internal.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <string.h>

/* Bits of the header for groups 0..1023, then presence pages (docs/format.md, "Presence"). */

static bool bit_test(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static void bit_set(uint8_t *bits, uint64_t i)
{
	bits[i / 8] |= (uint8_t)(1u << (i % 8));
}

/* Clears bits [from, count). */
static void bits_cut(uint8_t *bits, uint64_t from, uint64_t count)
{
	uint64_t byte = from / 8;
	bits[byte] &= (uint8_t)((1u << (from % 8)) - 1);
	memset(bits + byte + 1, 0, count / 8 - byte - 1);
}

/* The first set bit in [from, count), or count. */
static uint64_t bits_next(const uint8_t *bits, uint64_t from, uint64_t count)
{
	for (uint64_t i = from; i < count; i++) {
		if (!(i % 8) && !bits[i / 8])
			i += 7;
		else if (bit_test(bits, i))
			return i;
	}
	return count;
}

/* A place for page index, zeroed. cache_lock held. */
static int place(struct file *f, unsigned index, struct file_presence **ret)
{
	if (!f->presence)
		f->presence = calloc(BLOCK_MAP_PRESENCE_PAGES, sizeof(struct file_presence *));
	if (!f->presence)
		return -ENOMEM;
	if (!f->presence[index])
		f->presence[index] = calloc(1, sizeof(struct file_presence));
	*ret = f->presence[index];
	return *ret ? 0 : -ENOMEM;
}

/* The page in memory; NULL when the header says that there is none. cache_lock held. */
static int load(struct file *f, unsigned index, struct file_presence **ret, struct file_fault *ft)
{
	*ret = f->presence ? f->presence[index] : NULL;
	if (!bit_test(f->h.presence_pages, index) || *ret)
		return 0;
	struct file_presence *p;
	int rc = place(f, index, &p);
	if (rc)
		return rc;
	struct iovec iov = {p->page, sizeof(p->page)};
	ssize_t n = file_lower_read(f, &iov, 1, block_map_presence_offset(index));
	uint64_t block = block_map_group_first(block_map_presence_first(index));
	if (n >= 0 &&
		((size_t)n < sizeof(p->page) ||
			!format_presence_verify(p->page, f->keys.presence, f->h.file_id, index)))
		n = file_fault_set(ft, "presence", "a presence page does not verify", block);
	if (n < 0) {
		free(p);
		f->presence[index] = NULL;
		return (int)n;
	}
	*ret = p;
	return 0;
}

static int load_locked(
	struct file *f, unsigned index, struct file_presence **ret, struct file_fault *ft)
{
	lock_take(&f->cache_lock);
	int rc = load(f, index, ret, ft);
	lock_drop(&f->cache_lock);
	return rc;
}

int file_presence_test(struct file *f, uint64_t group, struct file_fault *ft)
{
	if (group < BLOCK_MAP_HEADER_GROUPS)
		return bit_test(f->h.presence, group);
	struct file_presence *p;
	int rc = load_locked(f, block_map_presence_page(group), &p, ft);
	if (rc)
		return rc;
	return p && bit_test(p->page, block_map_presence_bit(group));
}

int file_presence_prepare(struct file *f, uint64_t group, struct file_fault *ft)
{
	if (group < BLOCK_MAP_HEADER_GROUPS)
		return 0;
	struct file_presence *p;
	int rc = load_locked(f, block_map_presence_page(group), &p, ft);
	if (rc || p)
		return rc;
	/* Space for a new page is taken now: a commit must not want any. */
	static const uint8_t blank[BLOCK_MAP_BLOCK];
	unsigned index = block_map_presence_page(group);
	if (f->store->redo)
		(void)file_put_fresh(
			f, blank, sizeof(blank), block_map_presence_offset(index), &rc);
	return rc ? rc : place(f, index, &p);
}

void file_presence_set(struct file *f, uint64_t group)
{
	f->dirty = true;
	if (group < BLOCK_MAP_HEADER_GROUPS) {
		bit_set(f->h.presence, group);
		return;
	}
	unsigned index = block_map_presence_page(group);
	bit_set(f->presence[index]->page, block_map_presence_bit(group));
	if (!f->presence[index]->dirty)
		f->promised += FILE_STAGE_TEXT;
	f->presence[index]->dirty = true;
	bit_set(f->h.presence_pages, index);
}

int file_presence_next(struct file *f, uint64_t from, uint64_t *ret_group, struct file_fault *ft)
{
	if (from < BLOCK_MAP_HEADER_GROUPS) {
		from = bits_next(f->h.presence, from, BLOCK_MAP_HEADER_GROUPS);
		if (from < BLOCK_MAP_HEADER_GROUPS) {
			*ret_group = from;
			return 0;
		}
	}
	while (from < BLOCK_MAP_GROUPS) {
		unsigned index = block_map_presence_page(from);
		struct file_presence *p;
		int rc = load_locked(f, index, &p, ft);
		if (rc)
			return rc;
		uint64_t bit =
			p ? bits_next(p->page, block_map_presence_bit(from), BLOCK_MAP_PAGE_GROUPS)
			  : BLOCK_MAP_PAGE_GROUPS;
		from = block_map_presence_first(index) + bit;
		if (bit < BLOCK_MAP_PAGE_GROUPS)
			break;
	}
	*ret_group = from;
	return 0;
}

void file_presence_cut(struct file *f, uint64_t group)
{
	unsigned keep = 0; /* presence pages that stay, the last of them perhaps in part */
	if (group < BLOCK_MAP_HEADER_GROUPS)
		bits_cut(f->h.presence, group, BLOCK_MAP_HEADER_GROUPS);
	else if (group > BLOCK_MAP_HEADER_GROUPS)
		keep = block_map_presence_page(group - 1) + 1;
	for (unsigned i = keep; f->presence && i < BLOCK_MAP_PRESENCE_PAGES; i++) {
		free(f->presence[i]);
		f->presence[i] = NULL;
	}
	if (keep < BLOCK_MAP_PRESENCE_PAGES)
		bits_cut(f->h.presence_pages, keep, BLOCK_MAP_PRESENCE_PAGES);
	struct file_presence *last = keep && f->presence ? f->presence[keep - 1] : NULL;
	if (last && group - block_map_presence_first(keep - 1) < BLOCK_MAP_PAGE_GROUPS) {
		bits_cut(last->page, block_map_presence_bit(group), BLOCK_MAP_PAGE_GROUPS);
		if (!last->dirty)
			f->promised += FILE_STAGE_TEXT;
		last->dirty = bit_test(f->h.presence_pages, keep - 1);
	}
	f->dirty = true;
}

/* Whether the last commit has this page. */
static bool is_committed(const struct file *f, unsigned index)
{
	struct format_header h;
	return f->redo_only || format_header_parse(f->slots[f->slot], &h) ||
	       bit_test(h.presence_pages, index);
}

int file_presence_flush(struct file *f)
{
	for (unsigned i = 0; f->presence && i < BLOCK_MAP_PRESENCE_PAGES; i++) {
		struct file_presence *p = f->presence[i];
		if (!p || !p->dirty)
			continue;
		format_presence_seal(p->page, f->keys.presence, f->h.file_id, i);
		uint64_t at = block_map_presence_offset(i);
		int rc = 0;
		if (is_committed(f, i))
			rc = file_put_page(f, p->page, at, NULL);
		else
			(void)file_put_fresh(f, p->page, sizeof(p->page), at, &rc);
		if (rc)
			return rc;
		p->dirty = false;
	}
	return 0;
}

void file_presence_free(struct file *f)
{
	for (unsigned i = 0; f->presence && i < BLOCK_MAP_PRESENCE_PAGES; i++)
		free(f->presence[i]);
	free(f->presence);
	f->presence = NULL;
}
