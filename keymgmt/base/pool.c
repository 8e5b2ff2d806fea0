#include "keymgmt/base/pool.h"

#include "config.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ALIGN 8
#define HEADER 48 /* of a chunk */

/* At the start of POOL_CHUNK_BYTES bytes, and aligned to as many: an object's address tells its
 * chunk. */
struct pool_chunk {
	struct pool_chunk *prev, *next; /* in its list, while it has room */
	void *free;                     /* freed objects, each with the address of the next in it */
	uint32_t size;                  /* of an object */
	uint32_t used;                  /* objects that live */
	uint32_t fresh; /* offset behind which no object was yet: pages there were never touched */
};
_Static_assert(sizeof(struct pool_chunk) <= HEADER, "the header has its room");

#if POOL_BY_MALLOC

void *pool_new(struct pool *p, size_t size)
{
	(void)p;
	assert(size >= 1 && size <= POOL_OBJECT_MAX);
	return malloc(size);
}

void pool_free(struct pool *p, void *object, size_t size)
{
	(void)p;
	(void)size;
	free(object);
}

void pool_done(struct pool *p)
{
	(void)p;
}

void *pool_pages_new(size_t bytes)
{
	return calloc(1, bytes);
}

void pool_pages_free(void *pages, size_t bytes)
{
	(void)bytes;
	free(pages);
}

#else

void *pool_pages_new(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

void pool_pages_free(void *pages, size_t bytes)
{
	if (pages)
		munmap(pages, bytes);
}

/* Twice as much has an aligned chunk in it; mostly the kernel puts one beside the other, and the
 * first try is aligned. */
static struct pool_chunk *map_chunk(void)
{
	uint8_t *at = pool_pages_new(POOL_CHUNK_BYTES);
	size_t past = (uintptr_t)at % POOL_CHUNK_BYTES;
	if (!at || past == 0)
		return (struct pool_chunk *)(void *)at;
	munmap(at, POOL_CHUNK_BYTES);
	uint8_t *twice = pool_pages_new((size_t)2 * POOL_CHUNK_BYTES);
	if (!twice)
		return NULL;
	past = (uintptr_t)twice % POOL_CHUNK_BYTES;
	size_t before = past ? POOL_CHUNK_BYTES - past : 0;
	uint8_t *aligned = twice + before;
	if (before)
		munmap(twice, before);
	munmap(aligned + POOL_CHUNK_BYTES, POOL_CHUNK_BYTES - before);
	return (struct pool_chunk *)(void *)aligned;
}

static void list_in(struct pool_chunk **list, struct pool_chunk *c)
{
	c->prev = NULL;
	c->next = *list;
	if (c->next)
		c->next->prev = c;
	*list = c;
}

static void list_out(struct pool_chunk **list, struct pool_chunk *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		*list = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

static struct pool_chunk **list_of(struct pool *p, size_t size)
{
	return &p->open[(size - 1) / ALIGN];
}

static bool is_full(const struct pool_chunk *c)
{
	return !c->free && c->fresh + c->size > POOL_CHUNK_BYTES;
}

static struct pool_chunk *chunk_new(struct pool *p, size_t size)
{
	struct pool_chunk *c = p->spare;
	if (c)
		p->spare = c->next;
	else
		c = map_chunk();
	if (!c)
		return NULL;
	p->chunks += c->size == 0; /* a new one is of zeros */
	*c = (struct pool_chunk){
		.size = (uint32_t)((size + ALIGN - 1) / ALIGN * ALIGN), .fresh = HEADER};
	list_in(list_of(p, size), c);
	return c;
}

void *pool_new(struct pool *p, size_t size)
{
	assert(size >= 1 && size <= POOL_OBJECT_MAX);
	struct pool_chunk *c = *list_of(p, size);
	if (!c)
		c = chunk_new(p, size);
	if (!c)
		return NULL;
	void *object = c->free;
	if (object) {
		c->free = *(void **)object;
	} else {
		object = (uint8_t *)c + c->fresh;
		c->fresh += c->size;
	}
	c->used++;
	if (is_full(c))
		list_out(list_of(p, size), c);
	return object;
}

/* One is kept, lest somebody who takes and gives one object again and again maps it each time; more
 * only where the kernel refuses, since the process has too many mappings for one to be split. */
static void chunk_free(struct pool *p, struct pool_chunk *c)
{
	if (p->spare && munmap(c, POOL_CHUNK_BYTES) == 0) {
		p->chunks--;
		return;
	}
	c->next = p->spare;
	p->spare = c;
}

void pool_free(struct pool *p, void *object, size_t size)
{
	if (!object)
		return;
	struct pool_chunk *c =
		(struct pool_chunk *)((uintptr_t)object & ~(uintptr_t)(POOL_CHUNK_BYTES - 1));
	assert(c->size == (size + ALIGN - 1) / ALIGN * ALIGN && c->used > 0);
	if (is_full(c))
		list_in(list_of(p, size), c);
	*(void **)object = c->free;
	c->free = object;
	if (--c->used == 0) {
		list_out(list_of(p, size), c);
		chunk_free(p, c);
	}
}

void pool_done(struct pool *p)
{
	while (p->spare) {
		struct pool_chunk *c = p->spare;
		p->spare = c->next;
		munmap(c, POOL_CHUNK_BYTES);
		p->chunks--;
	}
	assert(p->chunks == 0);
}

#endif
