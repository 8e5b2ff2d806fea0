#include "fs/store/file_internal.h"

#include <time.h>

/*
 * Who appends a little and flushes it waits for two flushes, of the data in its place and of the
 * record. When that has come a few times in a row the data goes into the record: it is staged as
 * what is written over something is, and nothing is done to the lower file until the checkpoint or
 * the close. Space for it is there in advance, and durable before the first record depends on it.
 */

#define RIDE_AFTER 2 /* flushes */
#define RIDE_MOST (64u << 10)
#define RIDE_QUICK_S 1 /* between two of them, at most */
#define AHEAD_LEAST (64u << 10)
#define AHEAD_MOST (1u << 20)

static bool is_data(const struct file_tag_page *p, uint64_t block)
{
	return content_state(p->entries + block_map_index(block) * FORMAT_TAG_LEN) == FORMAT_DATA;
}

/* Behind the length and the block that it ends in nothing is allocated: whoever did that would lose
 * it with what is taken here. False, too, where that cannot be told. */
static bool is_end_of_space(const struct file *f)
{
	struct lower *l = f->store->lower;
	struct lower_extent extent;
	uint64_t from = f->lower_len + BLOCK_MAP_BLOCK - 1;
	from -= from % BLOCK_MAP_BLOCK;
	return l->ops->fiemap(l, f->fd, from, &extent, 1) == 0;
}

/* Behind the end alone: before it there are holes that have no space. */
static bool take_ahead(struct file *f, uint64_t from)
{
	struct lower *l = f->store->lower;
	uint64_t blocks = (f->h.size + BLOCK_MAP_BLOCK - 1) / BLOCK_MAP_BLOCK;
	uint64_t end = blocks ? block_map_data_offset(blocks - 1) + BLOCK_MAP_BLOCK : 0;
	if (from < end || (f->lower_len > block_map_length(f->h.size) && f->lower_len > f->ahead))
		return false;
	/* As much as there is already, so that small files take little from others. */
	uint64_t len = f->h.size - f->h.size % AHEAD_LEAST + AHEAD_LEAST;
	if (len > AHEAD_MOST)
		len = AHEAD_MOST;
	if (!is_end_of_space(f)) {
		f->small_syncs = 0;
		return false;
	}
	if (l->ops->fallocate(l, f->write_fd, 0, from, len) < 0) {
		/* What it took all the same. */
		(void)!file_lower_resize(f, f->lower_len);
		f->small_syncs = 0;
		return false;
	}
	if (from != f->ahead)
		f->ahead_from = from;
	f->ahead = from + len;
	if (f->lower_len < f->ahead)
		f->lower_len = f->ahead;
	f->unsynced = true;
	return true;
}

bool file_ride_may(struct file *f, const struct file_tag_page *p, uint64_t offset, size_t len)
{
	uint64_t first = offset / BLOCK_MAP_BLOCK, last = (offset + len - 1) / BLOCK_MAP_BLOCK;
	if (!f->store->redo || f->redo_only || f->fresh_count || p->born || p->fresh ||
		f->small_syncs < RIDE_AFTER || f->since_sync + len > RIDE_MOST ||
		(f->unsynced && !f->ahead) || file_commit_owes(f))
		return false;
	while (first <= last && is_data(p, first))
		first++;
	uint64_t from = block_map_data_offset(first);
	uint64_t to = block_map_data_offset(last) + BLOCK_MAP_BLOCK;
	if (first > last) /* only the length would change in its place */
		return offset + len <= f->h.size || f->ahead || take_ahead(f, to);
	return (from >= f->ahead_from && to <= f->ahead) || take_ahead(f, from);
}

void file_ride_wrote(struct file *f, size_t len)
{
	f->since_sync += len;
	if (f->since_sync > RIDE_MOST)
		f->small_syncs = 0;
}

void file_ride_synced(struct file *f)
{
	struct timespec now = {0};
	if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now) < 0 ||
		now.tv_sec > f->synced_at + RIDE_QUICK_S)
		f->small_syncs = 0;
	else if (f->since_sync && f->since_sync <= RIDE_MOST && f->small_syncs < 255)
		f->small_syncs++;
	f->synced_at = now.tv_sec;
	f->since_sync = 0;
}

void file_ride_end(struct file *f)
{
	f->ahead_from = f->ahead = 0;
}

struct timespec file_modified(const struct file *f)
{
	return (struct timespec){
		(time_t)(f->h.modified_ns / 1000000000u), (long)(f->h.modified_ns % 1000000000u)};
}

int file_ride_stop(struct file *f)
{
	if (!f->ahead)
		return 0;
	file_ride_end(f);
	f->dirty = true;
	return file_commit_now(f, 0);
}
