/*
 * What a file of the model should hold: pages, as few as there are bytes other than zero, and a
 * digest of all of it that a change of one page changes in no time.
 */
#ifndef SIM_BYTES_H
#define SIM_BYTES_H

#include <stddef.h>
#include <stdint.h>

#define SIM_BYTES_PAGE 4096u

struct sim_bytes_page {
	uint64_t index, hash;
	uint8_t *bytes;
};

struct sim_bytes {
	uint64_t len;
	uint64_t digest; /* of the pages: XOR of their hashes */
	struct sim_bytes_page *pages;
	size_t count, room;
};

/* Of a whole page; one of zeros has 0. */
uint64_t sim_bytes_hash(uint64_t index, const uint8_t *page);
/* Within one page: offset % SIM_BYTES_PAGE + len <= SIM_BYTES_PAGE. */
void sim_bytes_write(struct sim_bytes *b, const uint8_t *from, size_t len, uint64_t offset);
void sim_bytes_zero(struct sim_bytes *b, uint64_t offset, uint64_t len);
/* Shorter, or longer by zeros. */
void sim_bytes_resize(struct sim_bytes *b, uint64_t len);
/* NULL: zeros. */
const uint8_t *sim_bytes_page(const struct sim_bytes *b, uint64_t index);
void sim_bytes_free(struct sim_bytes *b);

#endif
