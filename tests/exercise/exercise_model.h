/*
 * What a file must be: its size, its bytes, and which of its blocks were written. Bytes are kept
 * for four windows of the file only, at the edges of the format (docs/format.md, "Blocks and tags",
 * "Presence"); elsewhere a file has zeros, since nothing else is written there. For the memory that
 * processes share: no pointers in it.
 */
#ifndef EXERCISE_MODEL_H
#define EXERCISE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_BLOCK 4096u
#define MODEL_WINDOWS 4u
#define MODEL_BLOCKS 960u /* of all windows */

/* Offset of the first byte and number of blocks. */
struct model_window {
	uint64_t start;
	uint32_t blocks;
	uint32_t base; /* number of its first block among those of all windows */
};
extern const struct model_window model_windows[MODEL_WINDOWS];

struct model {
	uint64_t size;
	uint8_t written[MODEL_BLOCKS];
	uint8_t bytes[MODEL_BLOCKS * MODEL_BLOCK]; /* zeros behind size */
};

/* The window of this byte, or NULL. */
const struct model_window *model_window(uint64_t offset);
/* The bytes from offset on: *ret_run of them follow each other, at most len. NULL: zeros. */
const uint8_t *model_at(const struct model *m, uint64_t offset, size_t len, size_t *ret_run);
/* The first of len bytes at offset that differs from `got`, or len. */
size_t model_differs(const struct model *m, const uint8_t *got, uint64_t offset, size_t len);
void model_copy(const struct model *m, uint8_t *to, uint64_t offset, size_t len);
/* All of it in one window. */
void model_write(struct model *m, const uint8_t *from, uint64_t offset, size_t len);
void model_resize(struct model *m, uint64_t size);
/* Zeros in [offset, end); whole blocks were not written then, nor is the last one up to the size.
 */
void model_zero(struct model *m, uint64_t offset, uint64_t end);
/* Whether anything was written to the block of this byte. */
bool model_written(const struct model *m, uint64_t offset);
/* What SEEK_DATA or SEEK_HOLE must answer at offset < size; UINT64_MAX: no data. */
uint64_t model_seek(const struct model *m, uint64_t offset, bool data);
/* Blocks that were written. */
unsigned model_count(const struct model *m);

#endif
