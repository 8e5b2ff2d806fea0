#include "fs/store/file_internal.h"

#include "keymgmt/base/buf.h"

#include <errno.h>
#include <string.h>

/*
 * Cutting: what goes is collected first, without changing anything; then the new state is committed
 * and made durable, with the announcement of what goes; then the old ciphertext is overwritten,
 * that too made durable; only then the lower file gets shorter (docs/erase.md).
 */

/* The groups from `group` on: their blocks, and what their entries are in the set hash. */
static int collect_groups(struct file *f, uint64_t group, struct buf *ranges,
	uint8_t hash[static FORMAT_HASH_LEN], struct file_fault *ft)
{
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN];
	for (;; group++) {
		int rc = file_presence_next(f, group, &group, ft);
		if (rc || group >= BLOCK_MAP_GROUPS)
			return rc;
		unsigned blocks = block_map_group_blocks(group);
		uint64_t first = block_map_group_first(group);
		bool fresh;
		rc = file_tags_copy(f, group, 0, blocks, entries, &fresh, ft);
		if (rc)
			return rc;
		for (unsigned i = 0; i < blocks; i++)
			content_toggle(f->keys.hash, first + i, entries + i * FORMAT_TAG_LEN, hash);
		if (group && !fresh)
			file_range_add(ranges, block_map_tag_offset(group), BLOCK_MAP_BLOCK);
		file_range_add_entries(ranges, first, entries, 0, blocks);
	}
}

/* What is left to do once the new state is in memory. */
static int carry_out(
	struct file *f, const struct buf *ranges, const struct file_erase *e, unsigned flags)
{
	uint64_t token;
	int rc = file_range_erase(f, ranges, e, flags, &token);
	uint64_t want = block_map_length(f->h.size);
	if (rc)
		return rc;
	file_range_done(f, token);
	/* Of an earlier cut that failed something may lie there still. */
	if (f->lower_len > want && !file_commit_owes(f))
		rc = file_lower_resize(f, want);
	return rc ? rc : file_commit_time(f);
}

/* To nothing: the old key goes with the content, so that one page destroys it all. */
static int empty(struct file *f, struct file_fault *ft)
{
	uint8_t hash[FORMAT_HASH_LEN] = {0};
	AUTO_BUF ranges = {0};
	const struct file_erase e = {.end = BLOCK_MAP_BLOCKS};
	int rc = collect_groups(f, 0, &ranges, hash, ft);
	if (!rc && !buf_ok(&ranges))
		rc = -ENOMEM;
	if (!rc)
		rc = file_header_rekey(f);
	if (rc)
		return rc;
	f->h.size = 0;
	file_tags_drop(f, 0);
	file_presence_cut(f, 0);
	return carry_out(f, &ranges, &e, FILE_COMMIT_BOTH);
}

/* The last block that stays, its end zeroed. */
static int zero_tail(
	struct file *f, struct file_tag_page *p, uint64_t block, size_t keep, struct file_fault *ft)
{
	unsigned index = block_map_index(block);
	uint8_t plain[BLOCK_MAP_BLOCK], entry[FORMAT_TAG_LEN];
	struct content c = file_content(f);
	int rc = file_io_scratch(f, BLOCK_MAP_BLOCK);
	if (!rc)
		rc = file_io_block(
			f, block, p->entries + index * FORMAT_TAG_LEN, p->fresh, plain, ft);
	if (!rc) {
		memset(plain + keep, 0, BLOCK_MAP_BLOCK - keep);
		rc = content_seal(&c, block, plain, f->scratch, entry);
	}
	crypto_wipe(plain, sizeof(plain));
	if (rc)
		return rc;
	if (file_io_place(f, p, block, 1, f->scratch, &rc) == 1)
		file_tags_set(f, p, index, entry);
	return rc;
}

/* In the group of the last block that stays: blocks behind it become holes. */
static int cut_group(
	struct file *f, uint64_t last, size_t keep, struct buf *ranges, struct file_fault *ft)
{
	uint64_t group = block_map_group(last), first = block_map_group_first(group);
	unsigned blocks = block_map_group_blocks(group), from = block_map_index(last) + 1;
	uint8_t holes[BLOCK_MAP_GROUP_BLOCKS][FORMAT_TAG_LEN];
	struct content c = file_content(f);
	struct file_tag_page *p;
	int rc = file_presence_test(f, group, ft);
	if (rc <= 0)
		return rc;
	rc = file_tags_get(f, group, &p, ft);
	for (unsigned i = from; !rc && i < blocks; i++)
		if (content_state(p->entries + i * FORMAT_TAG_LEN) == FORMAT_DATA)
			rc = content_seal_hole(&c, first + i, holes[i]);
	if (!rc)
		file_range_add_entries(ranges, first, p->entries, from, blocks);
	if (!rc && !buf_ok(ranges))
		rc = -ENOMEM;
	if (!rc && keep && content_state(p->entries + (from - 1) * FORMAT_TAG_LEN) == FORMAT_DATA)
		rc = zero_tail(f, p, last, keep, ft);
	for (unsigned i = from; !rc && i < blocks; i++)
		if (content_state(p->entries + i * FORMAT_TAG_LEN) == FORMAT_DATA)
			file_tags_set(f, p, i, holes[i]);
	return rc;
}

static int cut(struct file *f, uint64_t size, struct file_fault *ft)
{
	uint64_t last = (size - 1) / BLOCK_MAP_BLOCK, group = block_map_group(last) + 1;
	const struct file_erase e = {.first = last + 1, .end = BLOCK_MAP_BLOCKS};
	uint8_t hash[FORMAT_HASH_LEN] = {0};
	AUTO_BUF ranges = {0};
	int rc = collect_groups(f, group, &ranges, hash, ft);
	if (!rc)
		rc = cut_group(f, last, size % BLOCK_MAP_BLOCK, &ranges, ft);
	if (!rc && !buf_ok(&ranges))
		rc = -ENOMEM;
	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof(hash); i++)
		f->hash[i] ^= hash[i];
	file_tags_drop(f, group);
	file_presence_cut(f, group);
	f->h.size = size;
	return carry_out(f, &ranges, &e, 0);
}

/* What was allocated behind the end, as on any filesystem: the kernel may have known of a larger
 * size, which it had not written yet. */
static int give_back_behind(struct file *f)
{
	if (file_commit_owes(f))
		return 0;
	int rc = file_lower_resize(f, block_map_length(f->h.size));
	return rc ? rc : file_commit_time(f);
}

int file_size_set(struct file *f, uint64_t size, struct file_fault *ft)
{
	if (size > BLOCK_MAP_SIZE_MAX)
		return -EFBIG;
	int rc = file_lower_writable(f);
	if (rc)
		return rc;
	file_ride_end(f);
	if (size == f->h.size && f->has_header) {
		f->dirty = true;
		rc = file_commit_now(f, FILE_COMMIT_TOUCH);
		return rc ? rc : give_back_behind(f);
	}
	if (size == f->h.size) {
		f->keeps_time = false;
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
		rc = file_lower_resize(f, 0);
		if (rc)
			return rc;
		rc = f->store->lower->ops->futimens(f->store->lower, f->write_fd, times);
		return rc == -EPERM || rc == -EACCES ? 0 : rc;
	}
	if (size < f->h.size)
		return size ? cut(f, size, ft) : empty(f, ft);
	rc = file_header_make(f);
	if (rc)
		return rc;
	/* The lower filesystem may know no files so long. */
	uint64_t old = f->h.size, want = block_map_length(size);
	if (f->lower_len < want)
		rc = file_lower_resize(f, want);
	if (rc)
		return rc;
	f->h.size = size;
	f->dirty = true;
	rc = file_commit_now(f, FILE_COMMIT_TOUCH);
	if (rc && f->dirty)
		f->h.size = old;
	return rc;
}
