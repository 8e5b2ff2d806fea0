#include "fs/store/file_internal.h"

#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

/*
 * Ranges of a file: what is freed of it, allocated, punched, zeroed, looked for. Blocks that go are
 * collected; then the state that does not name them is committed, announces in the same record what
 * is to be overwritten, and is made durable; then the old ciphertext is overwritten, that too made
 * durable; only then the lower file gets smaller (docs/erase.md, "Parts of a file").
 */

void file_range_add(struct buf *ranges, uint64_t offset, uint64_t len)
{
	if (ranges->len >= 16) {
		uint8_t *last = ranges->data + ranges->len - 16;
		if (bytes_get64(last) + bytes_get64(last + 8) == offset) {
			bytes_put64(last + 8, bytes_get64(last + 8) + len);
			return;
		}
	}
	buf_put64(ranges, offset);
	buf_put64(ranges, len);
}

void file_range_add_entries(
	struct buf *ranges, uint64_t first, const uint8_t *entries, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (content_state(entries + i * FORMAT_TAG_LEN) == FORMAT_DATA)
			file_range_add(ranges, block_map_data_offset(first + i), BLOCK_MAP_BLOCK);
}

int file_range_overwrite(struct file *f, const struct buf *ranges)
{
	const size_t step = FILE_RUN_BLOCKS * BLOCK_MAP_BLOCK;
	int rc = ranges->len ? file_io_scratch(f, step) : 0;
	for (size_t i = 0; !rc && i < ranges->len; i += 16) {
		uint64_t at = bytes_get64(ranges->data + i),
			 left = bytes_get64(ranges->data + i + 8);
		while (!rc && left) {
			size_t n = left < step ? (size_t)left : step;
			crypto_random(f->scratch, n);
			rc = file_lower_write_all(f, f->scratch, n, at);
			at += n;
			left -= n;
		}
	}
	return rc;
}

void file_range_done(struct file *f, uint64_t token)
{
	if (token)
		journal_done(f->store->journal, token);
}

/* Nothing of the ranges, and nothing behind the end, goes to its place any more. */
static void drop_staged(struct file *f, const struct buf *ranges)
{
	uint64_t end = block_map_length(f->h.size);
	for (size_t i = 0; f->staged_count && i < ranges->len; i += 16) {
		uint64_t at = bytes_get64(ranges->data + i);
		file_stage_drop(f, at, at + bytes_get64(ranges->data + i + 8));
	}
	file_stage_drop(f, end - end % BLOCK_MAP_BLOCK, UINT64_MAX);
}

static int commit_erase(
	struct file *f, const struct file_erase *e, unsigned flags, uint64_t *ret_token)
{
	struct journal_erase entry = {
		.ino = f->ino, .first = e->first, .end = e->end, .keep_space = e->keep_space};
	memcpy(entry.file_id, f->h.file_id, FILE_ID_LEN);
	int rc = file_commit_erasing(f,
		flags | FILE_COMMIT_TOUCH | FILE_COMMIT_LONG | FILE_COMMIT_HARD, &entry, ret_token);
	/* What is in its place is overwritten, and what a commit wrote over goes there, only once
	 * the record is durable: a power cut could bring the old state back. */
	if (!rc && f->store->redo)
		rc = redo_flush(f->store, f->hard);
	if (!rc && f->store->redo)
		rc = file_stage_apply(f);
	if (!rc && !f->store->redo)
		rc = file_lower_sync(f, true);
	return rc;
}

int file_range_erase(struct file *f, const struct buf *ranges, const struct file_erase *e,
	unsigned flags, uint64_t *ret_token)
{
	*ret_token = 0;
	if (!f->dirty)
		return 0;
	drop_staged(f, ranges);
	int rc = commit_erase(f, e, flags, ret_token);
	if (!rc)
		rc = file_range_overwrite(f, ranges);
	if (!rc && (ranges->len || f->store->redo))
		rc = file_lower_sync(f, true);
	/* The journal has what was written over, too, until its key is changed. */
	redo_hurry(f->store);
	return rc;
}

/* Blocks [first, end) of one group become holes; where their bytes are goes to ranges. */
static int dig_group(
	struct file *f, uint64_t first, uint64_t end, struct buf *ranges, struct file_fault *ft)
{
	uint64_t group = block_map_group(first), base = block_map_group_first(group);
	unsigned from = (unsigned)(first - base), to = (unsigned)(end - base);
	uint8_t holes[BLOCK_MAP_GROUP_BLOCKS][FORMAT_TAG_LEN];
	struct content c = file_content(f);
	struct file_tag_page *p;
	if (f->h.block_writes + 2 * BLOCK_MAP_GROUP_BLOCKS >= UINT32_MAX)
		return -EFBIG;
	int rc = file_tags_get(f, group, &p, ft);
	for (unsigned i = from; !rc && i < to; i++)
		if (content_state(p->entries + i * FORMAT_TAG_LEN) == FORMAT_DATA)
			rc = content_seal_hole(&c, base + i, holes[i]);
	/* Half of them would be overwritten and still named. */
	if (!rc && !buf_reserve(ranges, (size_t)(to - from) * 16))
		rc = -ENOMEM;
	if (!rc)
		file_range_add_entries(ranges, base, p->entries, from, to);
	for (unsigned i = from; !rc && i < to; i++)
		if (content_state(p->entries + i * FORMAT_TAG_LEN) == FORMAT_DATA)
			file_tags_set(f, p, i, holes[i]);
	return rc;
}

/* The present groups of blocks [first, end). What was dug before an error is in ranges. */
static int dig(
	struct file *f, uint64_t first, uint64_t end, struct buf *ranges, struct file_fault *ft)
{
	while (first < end) {
		uint64_t group;
		int rc = file_presence_next(f, block_map_group(first), &group, ft);
		if (rc || group >= BLOCK_MAP_GROUPS)
			return rc;
		uint64_t begin = block_map_group_first(group),
			 stop = begin + block_map_group_blocks(group);
		if (begin > first)
			first = begin;
		if (stop > end)
			stop = end;
		if (first < stop)
			rc = dig_group(f, first, stop, ranges, ft);
		if (rc)
			return rc;
		first = stop > first ? stop : end;
	}
	return 0;
}

/* Zeros over a part of one block, sealed anew in its place; a block that is none reads as zeros. */
static int zero_part(struct file *f, uint64_t from, uint64_t to, struct file_fault *ft)
{
	static const uint8_t zeros[BLOCK_MAP_BLOCK];
	uint8_t entry[FORMAT_TAG_LEN];
	uint64_t block = from / BLOCK_MAP_BLOCK;
	bool fresh;
	if (from >= to)
		return 0;
	int rc = file_presence_test(f, block_map_group(block), ft);
	if (rc > 0)
		rc = file_tags_copy(
			f, block_map_group(block), block_map_index(block), 1, entry, &fresh, ft);
	else
		return rc;
	if (rc || content_state(entry) == FORMAT_HOLE || (fresh && !content_state(entry)))
		return rc;
	ssize_t n = file_io_write(f, zeros, (size_t)(to - from), from, ft);
	return n < 0 ? (int)n : 0;
}

/* Bytes [offset, end), end <= size: reads zeros afterwards, and what lay there is overwritten. */
static int zero(struct file *f, int mode, uint64_t offset, uint64_t end, struct file_fault *ft)
{
	AUTO_BUF ranges = {0};
	uint64_t token, first = (offset + BLOCK_MAP_BLOCK - 1) / BLOCK_MAP_BLOCK,
			last = end / BLOCK_MAP_BLOCK;
	if (end == f->h.size) /* behind it there are zeros anyway: the last block goes as a whole */
		last = (end + BLOCK_MAP_BLOCK - 1) / BLOCK_MAP_BLOCK;
	const struct file_erase e = {
		first, last > first ? last : first, !(mode & FALLOC_FL_PUNCH_HOLE)};
	int rc;
	if (first > last) { /* inside of one block */
		rc = zero_part(f, offset, end, ft);
	} else {
		uint64_t stop = first * BLOCK_MAP_BLOCK;
		rc = zero_part(f, offset, stop < end ? stop : end, ft);
		if (!rc)
			rc = zero_part(f, last * BLOCK_MAP_BLOCK, end, ft);
		if (!rc)
			rc = dig(f, first, last, &ranges, ft);
	}
	int erased = file_range_erase(f, &ranges, &e, 0, &token);
	if (!erased)
		file_range_done(f, token);
	/* Of what was written before, too: the length tells the size. */
	uint64_t want = block_map_length(f->h.size);
	if (!erased && f->has_header && f->lower_len > want && !file_commit_owes(f))
		erased = file_lower_resize(f, want);
	return rc ? rc : erased;
}

static int lower_allocate(struct file *f, int mode, uint64_t from, uint64_t to)
{
	struct lower *l = f->store->lower;
	int rc = l->ops->fallocate(l, f->write_fd, mode | FALLOC_FL_KEEP_SIZE, from, to - from);
	return rc < 0 ? rc : 0;
}

/*
 * Space for everything that writing [offset, end) can need: data, tag pages, presence pages, page
 * 0. In one piece but for the presence page of the first group, since the lower file has them in
 * this order.
 */
static int allocate(struct file *f, uint64_t offset, uint64_t end)
{
	uint64_t group = block_map_group(offset / BLOCK_MAP_BLOCK);
	uint64_t from = group ? block_map_tag_offset(group) : 0;
	uint64_t to = block_map_data_offset((end - 1) / BLOCK_MAP_BLOCK) + BLOCK_MAP_BLOCK;
	int rc = group ? lower_allocate(f, 0, 0, BLOCK_MAP_BLOCK) : 0;
	if (!rc && group >= BLOCK_MAP_HEADER_GROUPS) {
		uint64_t at = block_map_presence_offset(block_map_presence_page(group));
		rc = lower_allocate(f, 0, at, at + BLOCK_MAP_BLOCK);
	}
	return rc ? rc : lower_allocate(f, 0, from, to);
}

/* The first block behind what can be punched with `block` in one call; *ret_from: where that
 * begins in the lower file. Tag pages of absent groups go too, presence pages never. */
static int punch_step(struct file *f, uint64_t block, uint64_t end, uint64_t *ret_from,
	uint64_t *ret_stop, struct file_fault *ft)
{
	uint64_t group = block_map_group(block), next;
	*ret_from = block_map_data_offset(block);
	*ret_stop = block_map_group_first(group) + block_map_group_blocks(group);
	if (group && block == block_map_group_first(group) && *ret_stop <= end) {
		int rc = file_presence_next(f, group, &next, ft);
		if (rc)
			return rc;
		uint64_t limit =
			group < BLOCK_MAP_HEADER_GROUPS
				? BLOCK_MAP_HEADER_GROUPS
				: block_map_presence_first(block_map_presence_page(group)) +
					  BLOCK_MAP_PAGE_GROUPS;
		if (next > limit)
			next = limit;
		if (end < BLOCK_MAP_BLOCKS && next > block_map_group(end))
			next = block_map_group(end);
		if (next > group) {
			*ret_from = block_map_tag_offset(group);
			*ret_stop = block_map_group_first(next);
		}
	}
	if (*ret_stop > end)
		*ret_stop = end;
	return 0;
}

/* Gives the space of blocks [first, end) back: holes, all of them, and durably so. */
static int punch(struct file *f, uint64_t first, uint64_t end, struct file_fault *ft)
{
	int rc = 0;
	for (uint64_t block = first, from, stop; !rc && block < end; block = stop) {
		rc = punch_step(f, block, end, &from, &stop, ft);
		if (!rc)
			rc = lower_allocate(f, FALLOC_FL_PUNCH_HOLE, from,
				block_map_data_offset(stop - 1) + BLOCK_MAP_BLOCK);
	}
	/* They read as zeros with or without it. A full filesystem may want a block to give some
	 * back: XFS, to split an extent. */
	return rc == -EOPNOTSUPP || rc == -ENOSPC || rc == -EDQUOT ? 0 : rc;
}

/* So many groups are zeroed or punched at a time, for each of which room in the journal is kept:
 * the pages at both edges, and for each group its tag page and one that makes way. */
#define STEP_GROUPS 32u
#define STEP_TEXT ((2 * STEP_GROUPS + 8) * FILE_STAGE_TEXT)

/* The end of the first step of [offset, end): behind so many groups that are there, and all that
 * are not. */
static int step_end(
	struct file *f, uint64_t offset, uint64_t end, uint64_t *ret_stop, struct file_fault *ft)
{
	uint64_t group = block_map_group(offset / BLOCK_MAP_BLOCK), present;
	*ret_stop = end;
	for (unsigned i = 0; i < STEP_GROUPS; i++, group = present + 1) {
		int rc = file_presence_next(f, group, &present, ft);
		if (rc || present >= BLOCK_MAP_GROUPS - 1)
			return rc;
	}
	uint64_t stop = block_map_group_first(group) * BLOCK_MAP_BLOCK;
	if (stop < end)
		*ret_stop = stop;
	return 0;
}

static int change_step(struct file *f, int mode, uint64_t offset, uint64_t end, uint64_t *ret_stop,
	struct file_fault *ft)
{
	int rc = file_begin(f, STEP_TEXT, 1);
	if (rc)
		return rc;
	/* Somebody may have appended since. */
	f->dirty = f->dirty || f->ahead;
	file_ride_end(f);
	rc = step_end(f, offset, end, &end, ft);
	*ret_stop = end;
	uint64_t old_end = end < f->h.size ? end : f->h.size;
	if (!rc && offset < old_end)
		rc = zero(f, mode, offset, old_end, ft);
	if (!rc && (mode & FALLOC_FL_PUNCH_HOLE)) {
		uint64_t stop = end < f->h.size ? end : end + BLOCK_MAP_BLOCK - 1;
		rc = punch(f, (offset + BLOCK_MAP_BLOCK - 1) / BLOCK_MAP_BLOCK,
			stop / BLOCK_MAP_BLOCK, ft);
	}
	file_end(f);
	return rc;
}

/* Space, where it is wanted, and in the end the new size. */
static int change_space(
	struct file *f, int mode, uint64_t offset, uint64_t end, bool after, struct file_fault *ft)
{
	int rc = file_begin(f, STEP_TEXT, 1);
	if (rc)
		return rc;
	/* Its commit takes the room that is kept for one: afterwards there is another. */
	rc = after ? 0 : file_ride_stop(f);
	if (!rc)
		rc = file_lower_writable(f);
	if (!rc && !after && !(mode & FALLOC_FL_PUNCH_HOLE))
		rc = allocate(f, offset, end);
	/* Nothing may follow that would bring the time back. */
	if (!after && f->keeps_time && f->write_fd >= 0)
		(void)!f->store->lower->ops->futimens(f->store->lower, f->write_fd,
			(const struct timespec[2]){{.tv_nsec = UTIME_OMIT}, f->kept});
	if (!rc && after && !(mode & FALLOC_FL_KEEP_SIZE) && end > f->h.size)
		rc = file_size_set(f, end, ft);
	/* What gives space back moves the time, too. */
	if (!rc && after && f->has_header && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		f->dirty = true;
		rc = file_commit_now(f, FILE_COMMIT_TOUCH);
	}
	file_end(f);
	return rc;
}

static int change(struct file *f, int mode, uint64_t offset, uint64_t end, struct file_fault *ft)
{
	int rc = change_space(f, mode, offset, end, false, ft);
	bool zeros = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
	for (uint64_t at = offset, stop = end; zeros && !rc && at < end; at = stop)
		rc = change_step(f, mode, at, end, &stop, ft);
	return rc ? rc : change_space(f, mode, offset, end, true, ft);
}

int file_range_change(struct file *f, int mode, uint64_t offset, uint64_t len)
{
	struct file_fault ft = FILE_FAULT_NONE;
	uint64_t end;
	if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE && mode != FALLOC_FL_ZERO_RANGE &&
		mode != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE) &&
		mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (!len)
		return -EINVAL;
	if (__builtin_add_overflow(offset, len, &end) || end > BLOCK_MAP_SIZE_MAX) {
		/* What is not there needs no hole. */
		if (!(mode & FALLOC_FL_PUNCH_HOLE))
			return -EFBIG;
		if (offset >= BLOCK_MAP_SIZE_MAX)
			return 0;
		end = BLOCK_MAP_SIZE_MAX;
	}
	return file_finish(f, change(f, mode, offset, end, &ft), &ft);
}

/* The first block >= *block of one present group that is DATA (or is none: data false); *block is
 * the first of the next group when there is none. 1 found, 0 not, -errno. */
static int seek_group(struct file *f, uint64_t *block, bool data, struct file_fault *ft)
{
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN], plain[BLOCK_MAP_BLOCK];
	uint64_t group = block_map_group(*block);
	unsigned blocks = block_map_group_blocks(group);
	bool fresh;
	int rc = file_tags_copy(f, group, 0, blocks, entries, &fresh, ft);
	for (unsigned i = block_map_index(*block); !rc && i < blocks; i++, ++*block) {
		const uint8_t *entry = entries + i * FORMAT_TAG_LEN;
		bool is_data = content_state(entry) == FORMAT_DATA;
		if (!is_data) /* nobody but us says that there is nothing */
			rc = file_io_block(f, *block, entry, fresh, plain, ft);
		if (!rc && is_data == data)
			return 1;
	}
	return rc;
}

/* As file_range_seek; f->lock shared. */
static int64_t seek(struct file *f, uint64_t offset, bool data, struct file_fault *ft)
{
	uint64_t block = offset / BLOCK_MAP_BLOCK, group;
	int rc = 0;
	if (offset >= f->h.size)
		return -ENXIO;
	while (!rc && block * BLOCK_MAP_BLOCK < f->h.size) {
		rc = file_presence_next(f, block_map_group(block), &group, ft);
		if (rc)
			break;
		if (group != block_map_group(block)) {
			if (!data)
				break;
			block = group < BLOCK_MAP_GROUPS ? block_map_group_first(group)
							 : BLOCK_MAP_BLOCKS;
			continue;
		}
		rc = seek_group(f, &block, data, ft);
	}
	if (rc < 0)
		return rc;
	uint64_t at = block * BLOCK_MAP_BLOCK;
	if (at >= f->h.size)
		return data ? -ENXIO : (int64_t)f->h.size;
	return (int64_t)(at > offset ? at : offset);
}

int64_t file_range_seek(struct file *f, uint64_t offset, bool data)
{
	struct file_fault ft = FILE_FAULT_NONE;
	lock_rw_read(&f->lock);
	int64_t at = seek(f, offset, data, &ft);
	lock_rw_drop(&f->lock);
	return at < 0 ? file_finish(f, (int)at, &ft) : at;
}
