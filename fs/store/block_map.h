/*
 * Where things of a regular file lie in its lower file: offset arithmetic only, no I/O
 * (docs/format.md, "Blocks and tags", "Presence", "Size"). All offsets and sizes are bytes. Blocks
 * and groups count from 0; group 0 has 64 blocks whose tags are in page 0, every other group 128
 * behind a tag page of its own.
 */
#ifndef STORE_BLOCK_MAP_H
#define STORE_BLOCK_MAP_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_MAP_BLOCK 4096u         /* bytes of a block and of a page */
#define BLOCK_MAP_FIRST_BLOCKS 64u    /* blocks of group 0 */
#define BLOCK_MAP_GROUP_BLOCKS 128u   /* blocks of any other */
#define BLOCK_MAP_HEADER_GROUPS 1024u /* whose presence bits are in the header */
#define BLOCK_MAP_PAGE_GROUPS 32512u  /* whose presence bits are in one presence page */
#define BLOCK_MAP_PRESENCE_PAGES 1024u
#define BLOCK_MAP_GROUPS                                                                           \
	(BLOCK_MAP_HEADER_GROUPS + (uint64_t)BLOCK_MAP_PRESENCE_PAGES * BLOCK_MAP_PAGE_GROUPS)
#define BLOCK_MAP_BLOCKS (BLOCK_MAP_FIRST_BLOCKS + (BLOCK_MAP_GROUPS - 1) * BLOCK_MAP_GROUP_BLOCKS)
#define BLOCK_MAP_SIZE_MAX (BLOCK_MAP_BLOCKS * BLOCK_MAP_BLOCK) /* about 15.8 TiB */

/* block < BLOCK_MAP_BLOCKS, group < BLOCK_MAP_GROUPS, page < BLOCK_MAP_PRESENCE_PAGES: the caller's
 * duty. */
uint64_t block_map_group(uint64_t block);
unsigned block_map_index(uint64_t block); /* within its group */
uint64_t block_map_group_first(uint64_t group);
unsigned block_map_group_blocks(uint64_t group);
uint64_t block_map_data_offset(uint64_t block);
uint64_t block_map_tag_offset(uint64_t group); /* of the group's first tag entry */

/* Presence page and bit in it of a group >= BLOCK_MAP_HEADER_GROUPS; offset and first group of such
 * a page. */
unsigned block_map_presence_page(uint64_t group);
unsigned block_map_presence_bit(uint64_t group);
uint64_t block_map_presence_offset(unsigned page);
uint64_t block_map_presence_first(unsigned page);

/* What a page of the lower file is for. */
enum block_map_use { BLOCK_MAP_HEADER, BLOCK_MAP_TAGS, BLOCK_MAP_PRESENCE, BLOCK_MAP_DATA };
/*
 * Of the page at this lower offset (a multiple of 4096): DATA with its block, TAGS with its group's
 * first block, PRESENCE with the first block it speaks of, HEADER with 0. -ERANGE behind the end of
 * the largest file.
 */
MUST_USE int block_map_page(uint64_t offset, enum block_map_use *ret_use, uint64_t *ret_block);

/* Lower length of a file with a header whose plaintext has size <= BLOCK_MAP_SIZE_MAX bytes. */
uint64_t block_map_length(uint64_t size);
/* The plaintext size that a lower length stands for (0: an empty file without a header). -EBADMSG,
 * ret_size untouched, when no size has this length. */
MUST_USE int block_map_size(uint64_t length, uint64_t *ret_size);

#endif
