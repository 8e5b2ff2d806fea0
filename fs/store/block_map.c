#include "fs/store/block_map.h"

#include <errno.h>

/*
 * In pages:
 *
 *   0          1..64          65       66..193        194     ...
 *   header     blocks 0..63   tags 1   blocks 64..191 tags 2  ...
 *
 * Groups 0..1023 take HEADER_RUN pages. Then runs of PAGE_RUN pages: a presence page and the 32,512
 * groups it covers.
 */
#define GROUP_PAGES (1 + BLOCK_MAP_GROUP_BLOCKS)
#define FIRST_PAGES (1 + BLOCK_MAP_FIRST_BLOCKS)
#define HEADER_RUN (FIRST_PAGES + (uint64_t)(BLOCK_MAP_HEADER_GROUPS - 1) * GROUP_PAGES)
#define PAGE_RUN (1 + (uint64_t)BLOCK_MAP_PAGE_GROUPS * GROUP_PAGES)
#define FIRST_TAGS_AT 2048 /* in page 0, behind the two header slots */

uint64_t block_map_group(uint64_t block)
{
	if (block < BLOCK_MAP_FIRST_BLOCKS)
		return 0;
	return 1 + (block - BLOCK_MAP_FIRST_BLOCKS) / BLOCK_MAP_GROUP_BLOCKS;
}

unsigned block_map_index(uint64_t block)
{
	if (block < BLOCK_MAP_FIRST_BLOCKS)
		return (unsigned)block;
	return (unsigned)((block - BLOCK_MAP_FIRST_BLOCKS) % BLOCK_MAP_GROUP_BLOCKS);
}

uint64_t block_map_group_first(uint64_t group)
{
	return group ? BLOCK_MAP_FIRST_BLOCKS + (group - 1) * BLOCK_MAP_GROUP_BLOCKS : 0;
}

unsigned block_map_group_blocks(uint64_t group)
{
	return group ? BLOCK_MAP_GROUP_BLOCKS : BLOCK_MAP_FIRST_BLOCKS;
}

/* Page in which a group begins: its tag page, or page 0. */
static uint64_t group_page(uint64_t group)
{
	if (!group)
		return 0;
	if (group < BLOCK_MAP_HEADER_GROUPS)
		return FIRST_PAGES + (group - 1) * GROUP_PAGES;
	uint64_t behind = group - BLOCK_MAP_HEADER_GROUPS;
	return HEADER_RUN + behind / BLOCK_MAP_PAGE_GROUPS * PAGE_RUN + 1 +
	       behind % BLOCK_MAP_PAGE_GROUPS * GROUP_PAGES;
}

uint64_t block_map_data_offset(uint64_t block)
{
	return (group_page(block_map_group(block)) + 1 + block_map_index(block)) * BLOCK_MAP_BLOCK;
}

uint64_t block_map_tag_offset(uint64_t group)
{
	return group ? group_page(group) * BLOCK_MAP_BLOCK : FIRST_TAGS_AT;
}

unsigned block_map_presence_page(uint64_t group)
{
	return (unsigned)((group - BLOCK_MAP_HEADER_GROUPS) / BLOCK_MAP_PAGE_GROUPS);
}

unsigned block_map_presence_bit(uint64_t group)
{
	return (unsigned)((group - BLOCK_MAP_HEADER_GROUPS) % BLOCK_MAP_PAGE_GROUPS);
}

uint64_t block_map_presence_offset(unsigned page)
{
	return (HEADER_RUN + page * PAGE_RUN) * BLOCK_MAP_BLOCK;
}

uint64_t block_map_presence_first(unsigned page)
{
	return BLOCK_MAP_HEADER_GROUPS + (uint64_t)page * BLOCK_MAP_PAGE_GROUPS;
}

uint64_t block_map_length(uint64_t size)
{
	if (!size)
		return BLOCK_MAP_BLOCK;
	return block_map_data_offset((size - 1) / BLOCK_MAP_BLOCK) + BLOCK_MAP_BLOCK +
	       size % BLOCK_MAP_BLOCK;
}

int block_map_page(uint64_t offset, enum block_map_use *ret_use, uint64_t *ret_block)
{
	uint64_t page = offset / BLOCK_MAP_BLOCK, group, in_group;
	if (page < FIRST_PAGES) {
		group = 0;
		in_group = page;
	} else if (page < HEADER_RUN) {
		group = 1 + (page - FIRST_PAGES) / GROUP_PAGES;
		in_group = (page - FIRST_PAGES) % GROUP_PAGES;
	} else {
		uint64_t run = (page - HEADER_RUN) / PAGE_RUN;
		uint64_t in_run = (page - HEADER_RUN) % PAGE_RUN;
		if (run >= BLOCK_MAP_PRESENCE_PAGES)
			return -ERANGE;
		group = BLOCK_MAP_HEADER_GROUPS + run * BLOCK_MAP_PAGE_GROUPS;
		if (!in_run) {
			*ret_use = BLOCK_MAP_PRESENCE;
			*ret_block = block_map_group_first(group);
			return 0;
		}
		group += (in_run - 1) / GROUP_PAGES;
		in_group = (in_run - 1) % GROUP_PAGES;
	}
	*ret_use = in_group ? BLOCK_MAP_DATA : group ? BLOCK_MAP_TAGS : BLOCK_MAP_HEADER;
	*ret_block = block_map_group_first(group) + (in_group ? in_group - 1 : 0);
	return 0;
}

int block_map_size(uint64_t length, uint64_t *ret_size)
{
	if (!length || length == BLOCK_MAP_BLOCK) {
		*ret_size = 0;
		return 0;
	}
	uint64_t block;
	enum block_map_use use;
	if (length < BLOCK_MAP_BLOCK ||
		block_map_page((length / BLOCK_MAP_BLOCK - 1) * BLOCK_MAP_BLOCK, &use, &block) <
			0 ||
		use != BLOCK_MAP_DATA)
		return -EBADMSG;
	uint64_t rest = length % BLOCK_MAP_BLOCK;
	*ret_size = block * BLOCK_MAP_BLOCK + (rest ? rest : BLOCK_MAP_BLOCK);
	return 0;
}
