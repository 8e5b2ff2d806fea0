#include "fs/store/file_internal.h"

#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

/*
 * Finishing what a truncate, a punch or a zeroed range began: whatever the lower filesystem has
 * allocated there and the committed state does not name is overwritten. It goes by what is
 * committed, not by what was intended, so it may be repeated, and comes too late for nothing.
 */

#define EXTENTS 64
#define BATCH ((size_t)4096 * 16) /* bytes of collected ranges that are overwritten together */

/* The group whose entries are at hand. */
struct sweep {
	struct file *f;
	const struct journal_erase *e;
	struct file_fault *ft;
	uint64_t group; /* UINT64_MAX: none */
	bool present;
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN];
	struct buf ranges;
	uint64_t bytes;
};

static void sweep_done(struct sweep *s)
{
	buf_done(&s->ranges);
}

static int load_group(struct sweep *s, uint64_t group)
{
	bool fresh;
	if (s->group == group)
		return 0;
	int rc = file_presence_test(s->f, group, s->ft);
	if (rc < 0)
		return rc;
	s->present = rc;
	rc = s->present ? file_tags_copy(s->f, group, 0, block_map_group_blocks(group), s->entries,
				  &fresh, s->ft)
			: 0;
	s->group = rc ? UINT64_MAX : group;
	return rc;
}

/* One allocated page of the lower file. */
static int look_at(struct sweep *s, uint64_t offset)
{
	enum block_map_use use;
	uint64_t block;
	if (block_map_page(offset, &use, &block) < 0 || use == BLOCK_MAP_HEADER ||
		use == BLOCK_MAP_PRESENCE || block < s->e->first || block >= s->e->end)
		return 0;
	int rc = load_group(s, block_map_group(block));
	if (rc)
		return rc;
	const uint8_t *entry = s->entries + block_map_index(block) * FORMAT_TAG_LEN;
	if (s->present && (use == BLOCK_MAP_TAGS || content_state(entry) == FORMAT_DATA))
		return 0;
	file_range_add(&s->ranges, offset, BLOCK_MAP_BLOCK);
	s->bytes += BLOCK_MAP_BLOCK;
	return buf_ok(&s->ranges) ? 0 : -ENOMEM;
}

/* Overwritten, durably; then given back, unless it is to stay or there is nothing to be had. */
static int flush(struct sweep *s)
{
	struct file *f = s->f;
	struct lower *l = f->store->lower;
	int rc = s->ranges.len ? file_range_overwrite(f, &s->ranges) : 0;
	if (!rc && s->ranges.len)
		rc = file_lower_sync(f, true);
	for (size_t i = 0; !rc && !s->e->keep_space && i < s->ranges.len; i += 16) {
		rc = l->ops->fallocate(l, f->write_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			bytes_get64(s->ranges.data + i), bytes_get64(s->ranges.data + i + 8));
		rc = rc == -EOPNOTSUPP || rc == -ENOSPC || rc == -EDQUOT ? 0 : rc;
	}
	buf_reset(&s->ranges);
	return rc < 0 ? rc : 0;
}

static int sweep_extent(struct sweep *s, const struct lower_extent *x, uint64_t from, uint64_t to)
{
	uint64_t at = x->logical > from ? x->logical : from, end = x->logical + x->length;
	int rc = 0;
	at -= at % BLOCK_MAP_BLOCK;
	for (; !rc && at < end && at < to; at += BLOCK_MAP_BLOCK) {
		rc = look_at(s, at);
		if (!rc && s->ranges.len >= BATCH)
			rc = flush(s);
	}
	return rc;
}

/* From the tag page in front of the first block to the last block's end. */
static int sweep_extents(struct sweep *s)
{
	struct lower *l = s->f->store->lower;
	struct lower_extent extents[EXTENTS];
	uint64_t end = s->e->end < BLOCK_MAP_BLOCKS ? s->e->end : BLOCK_MAP_BLOCKS, next;
	if (s->e->first >= end)
		return 0;
	uint64_t from = block_map_data_offset(s->e->first);
	uint64_t to = block_map_data_offset(end - 1) + BLOCK_MAP_BLOCK;
	if (from > BLOCK_MAP_BLOCK)
		from -= BLOCK_MAP_BLOCK;
	for (uint64_t at = from; at < to; at = next) {
		int n = l->ops->fiemap(l, s->f->write_fd, at, extents, EXTENTS);
		/* It does not say where anything lies: nothing can be promised there either. */
		if (n == -EOPNOTSUPP)
			return 0;
		if (n <= 0)
			return n < 0 ? n : flush(s);
		for (int i = 0; i < n; i++) {
			int rc = sweep_extent(s, &extents[i], from, to);
			if (rc)
				return rc;
		}
		next = extents[n - 1].logical + extents[n - 1].length;
		if (next <= at)
			return -EIO;
	}
	return flush(s);
}

static int sweep_range(
	struct file *f, const struct journal_erase *e, uint64_t *ret_bytes, struct file_fault *ft)
{
	AUTO(sweep_done) struct sweep s = {.f = f, .e = e, .ft = ft, .group = UINT64_MAX};
	int rc = sweep_extents(&s);
	*ret_bytes += s.bytes;
	return rc;
}

/* 1: another file. */
static int sweep(
	struct file *f, const struct journal_erase *e, uint64_t *ret_bytes, struct file_fault *ft)
{
	struct lower *l = f->store->lower;
	struct stat st;
	int rc = file_header_load(f, ft);
	if (rc)
		return rc;
	if (!f->has_header || memcmp(f->h.file_id, e->file_id, FILE_ID_LEN) != 0)
		return 1;
	rc = file_lower_writable(f);
	if (!rc)
		rc = l->ops->fstat(l, f->fd, &st);
	/* What was committed may be in the page cache alone: a power cut must not bring back a
	 * state that names what is overwritten now. */
	if (rc >= 0)
		rc = file_lower_sync(f, false);
	if (rc < 0)
		return rc;
	rc = sweep_range(f, e, ret_bytes, ft);
	/* What is cut off below goes with it, whichever call it was that left it; overwriting what
	 * was allocated behind the end made the file longer, too. */
	uint64_t want = block_map_length(f->h.size);
	const struct journal_erase behind = {
		.first = (f->h.size + BLOCK_MAP_BLOCK - 1) / BLOCK_MAP_BLOCK,
		.end = BLOCK_MAP_BLOCKS,
		.keep_space = true};
	if (!rc && f->lower_len > want)
		rc = sweep_range(f, &behind, ret_bytes, ft);
	if (!rc && f->lower_len > want)
		rc = file_lower_resize(f, want);
	/* Nothing that a user did: the modification time stays. */
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
	int set = l->ops->futimens(l, f->write_fd, times);
	return rc ? rc : set == -EPERM || set == -EACCES || !set ? file_lower_sync(f, false) : set;
}

int file_sweep_all(struct file *f, uint64_t *ret_bytes)
{
	struct file_fault ft = FILE_FAULT_NONE;
	const struct journal_erase all = {.end = BLOCK_MAP_BLOCKS, .keep_space = true};
	return sweep_range(f, &all, ret_bytes, &ft);
}

int file_sweep(const struct store *s, int dirfd, const char *name, const struct journal_erase *e,
	uint64_t *ret_bytes)
{
	struct file *f;
	struct file_fault ft = FILE_FAULT_NONE;
	const struct dir d = {.store = s, .fd = dirfd};
	int rc = file_new(s, &f);
	if (rc)
		return rc;
	rc = file_lower_open(f, &d, name);
	if (!rc)
		rc = sweep(f, e, ret_bytes, &ft);
	rc = file_finish(f, rc, &ft);
	file_free(f);
	return rc;
}
