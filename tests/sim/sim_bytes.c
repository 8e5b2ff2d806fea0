#include "tests/sim/sim_bytes.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

uint64_t sim_bytes_hash(uint64_t index, const uint8_t *page)
{
	static const uint8_t zeros[SIM_BYTES_PAGE];
	/* Most pages are not zero, and say so at once. */
	if (!page[0] && !page[SIM_BYTES_PAGE - 1] && memcmp(page, zeros, SIM_BYTES_PAGE) == 0)
		return 0;
	return XXH3_64bits_withSeed(page, SIM_BYTES_PAGE, index) | 1u;
}

static size_t position(const struct sim_bytes *b, uint64_t index)
{
	size_t low = 0, high = b->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (b->pages[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const uint8_t *sim_bytes_page(const struct sim_bytes *b, uint64_t index)
{
	size_t at = position(b, index);
	return at < b->count && b->pages[at].index == index ? b->pages[at].bytes : NULL;
}

static struct sim_bytes_page *page_at(struct sim_bytes *b, uint64_t index)
{
	size_t at = position(b, index);
	if (at < b->count && b->pages[at].index == index)
		return &b->pages[at];
	if (b->count == b->room) {
		b->room = b->room ? 2 * b->room : 8;
		b->pages = reallocarray(b->pages, b->room, sizeof(*b->pages));
		if (!b->pages)
			abort();
	}
	memmove(b->pages + at + 1, b->pages + at, (b->count - at) * sizeof(*b->pages));
	b->count++;
	b->pages[at] = (struct sim_bytes_page){index, 0, calloc(1, SIM_BYTES_PAGE)};
	if (!b->pages[at].bytes)
		abort();
	return &b->pages[at];
}

static void changed(struct sim_bytes *b, struct sim_bytes_page *p)
{
	b->digest ^= p->hash;
	p->hash = sim_bytes_hash(p->index, p->bytes);
	b->digest ^= p->hash;
}

void sim_bytes_write(struct sim_bytes *b, const uint8_t *from, size_t len, uint64_t offset)
{
	struct sim_bytes_page *p = page_at(b, offset / SIM_BYTES_PAGE);
	memcpy(p->bytes + offset % SIM_BYTES_PAGE, from, len);
	changed(b, p);
	if (offset + len > b->len)
		b->len = offset + len;
}

/* Pages [first, end). */
static void drop(struct sim_bytes *b, uint64_t first, uint64_t end)
{
	size_t from = position(b, first), to = from;
	while (to < b->count && b->pages[to].index < end) {
		b->digest ^= b->pages[to].hash;
		free(b->pages[to++].bytes);
	}
	if (to == from)
		return;
	memmove(b->pages + from, b->pages + to, (b->count - to) * sizeof(*b->pages));
	b->count -= to - from;
}

static void zero_part(struct sim_bytes *b, uint64_t from, uint64_t to)
{
	size_t at = position(b, from / SIM_BYTES_PAGE);
	if (from >= to || at == b->count || b->pages[at].index != from / SIM_BYTES_PAGE)
		return;
	memset(b->pages[at].bytes + from % SIM_BYTES_PAGE, 0, to - from);
	changed(b, &b->pages[at]);
}

void sim_bytes_zero(struct sim_bytes *b, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;
	uint64_t first = (offset + SIM_BYTES_PAGE - 1) / SIM_BYTES_PAGE;
	uint64_t stop = end / SIM_BYTES_PAGE;
	if (first > stop) {
		zero_part(b, offset, end);
		return;
	}
	zero_part(b, offset, first * SIM_BYTES_PAGE);
	drop(b, first, stop);
	zero_part(b, stop * SIM_BYTES_PAGE, end);
}

void sim_bytes_resize(struct sim_bytes *b, uint64_t len)
{
	uint64_t end = (b->len + SIM_BYTES_PAGE - 1) / SIM_BYTES_PAGE * SIM_BYTES_PAGE;
	if (len < b->len)
		sim_bytes_zero(b, len, end - len);
	b->len = len;
}

void sim_bytes_free(struct sim_bytes *b)
{
	for (size_t i = 0; i < b->count; i++)
		free(b->pages[i].bytes);
	free(b->pages);
	*b = (struct sim_bytes){0};
}
