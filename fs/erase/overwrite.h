/* Random bytes over all that a lower file has on disk: steps 3 to 6 of docs/erase.md, "Procedure
 * for a file". */
#ifndef ERASE_OVERWRITE_H
#define ERASE_OVERWRITE_H

#include "fs/lower/lower.h"

#include <stdatomic.h>

#define OVERWRITE_STEP (1u << 20) /* bytes */

struct overwrite {
	struct lower *lower;
	uint8_t *buffer; /* OVERWRITE_STEP bytes for random ones, of this thread */
	const atomic_bool
		*stop; /* NULL, or: give up (-ECANCELED) between two steps once it is true */
};

/* What was found and done. Everything is 0 or false at the start. */
struct overwrite_result {
	uint8_t file_id[16]; /* of the header (docs/format.md, "Slot"); zeros when there was none */
	uint64_t bytes;      /* overwritten on disk */
	bool never_on_disk;  /* nothing of it had got further than the page cache */
	bool elsewhere; /* some of it is shared, packed, or was moved by the filesystem: old bytes
			   remain */
	bool unmapped;  /* the filesystem does not say where the file lies */
};

/*
 * fd: open for reading and writing. Holes are not filled; what is allocated behind the end is
 * overwritten too, so the file may become longer. Shared extents are left alone: writing there
 * would only take new space. 0; -ECANCELED; -ENOMEM; -errno of the lower calls. After an error any
 * part may be overwritten; calling it again is safe.
 */
MUST_USE int overwrite_file(const struct overwrite *o, int fd, struct overwrite_result *ret);

#endif
