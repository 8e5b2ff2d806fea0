/*
 * Many small objects that come and go together, in pages that go back to the system with the last
 * object in them. malloc keeps those: what lies below a live object stays its own, and the kernel
 * refuses to take single pages back from a process that has its memory locked
 * (secret_harden_process), so that malloc_trim(3) does nothing in it. No header precedes an object.
 *
 * A pool has no lock: its owner's guards it. In builds with sanitizers each object is malloc's, so
 * that they see its end.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_OBJECT_MAX 640 /* bytes */
#define POOL_CHUNK_BYTES 32768

struct pool_chunk;

/* All zeros: empty. Objects of sizes that are the same when rounded up to eight share chunks. */
struct pool {
	struct pool_chunk *open[POOL_OBJECT_MAX / 8]; /* by size: lists of chunks with room */
	struct pool_chunk *spare; /* empty, for the next one that is wanted: one, rarely more */
	size_t chunks;            /* that the pool has, spare ones included */
};

/* An object of `size` bytes, 1 to POOL_OBJECT_MAX, aligned to eight, with any content; NULL on
 * ENOMEM. To be freed with pool_free and the same size. */
void *pool_new(struct pool *p, size_t size);
void pool_free(struct pool *p, void *object, size_t size); /* object may be NULL */
/* All objects were freed before. */
void pool_done(struct pool *p);

/* Whole pages of zeros for a table, which go back to the system at once. NULL on ENOMEM. */
void *pool_pages_new(size_t bytes);
void pool_pages_free(void *pages, size_t bytes); /* pages may be NULL */

#endif
