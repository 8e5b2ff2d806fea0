#include "fs/store/file_internal.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <string.h>

/*
 * A file after a crash: the state in its place, and over it, as staged pages, what the journal has
 * of later commits. Of commits whose data was not known to be durable (soft ones) the first that
 * does not verify ends them. Nobody has the file open.
 */

/* What the entry takes away: pages behind the end, and blocks that were erased. */
static void cancel_erased(struct file *f, const struct journal_erase *e)
{
	for (size_t i = f->staged_count; i-- > 0;) {
		enum block_map_use use;
		uint64_t block, at = f->staged[i]->offset;
		if (!block_map_page(at, &use, &block) && use == BLOCK_MAP_DATA &&
			block >= e->first && block < e->end)
			file_stage_drop(f, at, at + BLOCK_MAP_BLOCK);
	}
}

/* The state after this entry. What was written in place since is newer than what was to go there.
 */
static int stage_entry(struct file *f, const struct journal_entry *e)
{
	struct cur fresh = e->fresh, ranges = e->ranges;
	struct journal_fresh run;
	const uint8_t *bytes;
	uint64_t offset;
	uint32_t len;
	int rc = 0;
	if (e->kind == JOURNAL_ERASE)
		cancel_erased(f, &e->erase);
	if (e->kind != JOURNAL_COMMIT)
		return 0;
	while (journal_format_next_fresh(&fresh, &run))
		file_stage_drop(
			f, run.page * BLOCK_MAP_BLOCK, (run.page + run.count) * BLOCK_MAP_BLOCK);
	while (!rc && journal_format_next_range(&ranges, &offset, &bytes, &len))
		rc = file_stage_patch(f, offset, bytes, len);
	file_stage_drop(f, e->commit.length - e->commit.length % BLOCK_MAP_BLOCK, UINT64_MAX);
	return rc;
}

/* The header of the state at hand, whatever was loaded before. */
static int reload(struct file *f, uint64_t length, struct file_fault *ft)
{
	uint64_t actual = f->lower_len;
	file_header_forget(f);
	file_tags_free(f);
	file_presence_free(f);
	f->has_header = false;
	if (f->lower_len < length)
		f->lower_len = length;
	int rc = file_header_load(f, ft);
	f->lower_len = actual;
	return rc;
}

/* Every block of this group that is said to be there; or one of them. */
static int verify_blocks(struct file *f, uint64_t first, unsigned count, struct file_fault *ft)
{
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN], plain[BLOCK_MAP_BLOCK];
	uint64_t group = block_map_group(first);
	bool fresh;
	int rc = file_presence_test(f, group, ft);
	if (rc <= 0)
		return rc;
	rc = file_tags_copy(f, group, block_map_index(first), count, entries, &fresh, ft);
	for (unsigned i = 0; !rc && i < count; i++)
		rc = file_io_block(f, first + i, entries + i * FORMAT_TAG_LEN, false, plain, ft);
	crypto_wipe(plain, sizeof(plain));
	return rc;
}

static bool is_data(uint64_t page)
{
	enum block_map_use use;
	uint64_t block;
	return !block_map_page(page * BLOCK_MAP_BLOCK, &use, &block) && use == BLOCK_MAP_DATA;
}

static int verify_page(struct file *f, uint64_t page, struct file_fault *ft)
{
	enum block_map_use use;
	uint64_t block;
	if (block_map_page(page * BLOCK_MAP_BLOCK, &use, &block) < 0)
		return -EBADMSG;
	switch (use) {
	case BLOCK_MAP_DATA:
		return verify_blocks(f, block, 1, ft);
	case BLOCK_MAP_TAGS:
		return verify_blocks(f, block, block_map_group_blocks(block_map_group(block)), ft);
	case BLOCK_MAP_PRESENCE: {
		int rc = file_presence_test(f, block_map_group(block), ft);
		return rc < 0 ? rc : 0;
	}
	default:
		return 0;
	}
}

/*
 * A tag page in its place may be that of a commit that was dropped by an earlier recovery, in part
 * or as a whole: each of its entries is a good one, but they are not those of this commit.
 */
static int verify_set(struct file *f, struct file_fault *ft)
{
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN], hash[FORMAT_HASH_LEN] = {0};
	bool fresh;
	for (uint64_t group = 0;; group++) {
		int rc = file_presence_next(f, group, &group, ft);
		if (rc || group >= BLOCK_MAP_GROUPS)
			return rc ? rc : crypto_equal(hash, f->hash, sizeof(hash)) ? 0 : -EBADMSG;
		unsigned blocks = block_map_group_blocks(group);
		rc = file_tags_copy(f, group, 0, blocks, entries, &fresh, ft);
		if (rc)
			return rc;
		for (unsigned i = 0; i < blocks; i++)
			content_toggle(f->keys.hash, block_map_group_first(group) + i,
				entries + i * FORMAT_TAG_LEN, hash);
	}
}

/* Whether all that the commit put in its place is there. -EBADMSG: it is not. */
static int verify(struct file *f, const struct journal_entry *e, struct file_fault *ft)
{
	struct cur fresh = e->fresh;
	struct journal_fresh run;
	int rc = reload(f, e->commit.length, ft);
	if (!rc && (!f->has_header || memcmp(f->h.file_id, e->file_id, FILE_ID_LEN) != 0 ||
			   f->h.commits != e->commit.commits))
		rc = -EBADMSG;
	bool tags = false;
	while (!rc && journal_format_next_fresh(&fresh, &run))
		for (uint64_t i = 0; !rc && i < run.count; i++) {
			rc = verify_page(f, run.page + i, ft);
			tags = tags || !is_data(run.page + i);
		}
	return rc || !tags || !f->has_header ? rc : verify_set(f, ft);
}

/* The version of the newest commit that the entries have; 0: none. */
static uint64_t newest_commit(const struct journal_entry *const *entries, size_t count)
{
	uint64_t newest = 0;
	for (size_t i = 0; i < count; i++)
		if (entries[i]->kind == JOURNAL_COMMIT)
			newest = entries[i]->commit.commits;
	return newest;
}

static int judge(struct file *f, const struct journal_entry *const *entries, size_t count,
	uint64_t hard, uint64_t *ret_upto, struct file_fault *ft)
{
	int rc = reload(f, 0, ft);
	if (!rc && f->has_header && f->h.commits > newest_commit(entries, count))
		return file_fault_set(
			ft, "journal", "it is older than the file that it speaks of", UINT64_MAX);
	if (rc && rc != -EBADMSG)
		return rc;
	*ret_upto = hard;
	for (size_t i = 0; i < count; i++) {
		rc = stage_entry(f, entries[i]);
		if (!rc && entries[i]->sequence > hard && entries[i]->kind == JOURNAL_COMMIT)
			rc = verify(f, entries[i], ft);
		if (rc == -EBADMSG)
			return 0;
		if (rc)
			return rc;
		/* An erasure stands before its commit, and counts with it. */
		if (entries[i]->sequence > hard && entries[i]->kind != JOURNAL_ERASE)
			*ret_upto = entries[i]->sequence;
	}
	return 0;
}

static int open_it(const struct store *s, int dirfd, const char *name, struct file **ret)
{
	const struct dir d = {.store = s, .fd = dirfd};
	int rc = file_new(s, ret);
	if (rc)
		return rc;
	rc = file_lower_open(*ret, &d, name);
	if (rc)
		file_free(*ret);
	return rc;
}

int file_recover_judge(const struct store *s, int dirfd, const char *name,
	const struct journal_entry *const *entries, size_t count, uint64_t hard, uint64_t *ret_upto)
{
	struct file *f;
	struct file_fault ft = FILE_FAULT_NONE;
	int rc = open_it(s, dirfd, name, &f);
	if (rc)
		return rc;
	rc = file_finish(f, judge(f, entries, count, hard, ret_upto, &ft), &ft);
	file_free(f);
	return rc;
}

/* Pages to their place, a length that is long enough; what is behind it goes later, overwritten.
 * Nothing that a user did: the modification time is what he has seen. */
static int apply(
	struct file *f, const struct journal_entry *const *entries, size_t count, uint64_t upto)
{
	struct lower *l = f->store->lower;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	uint64_t length = 0;
	int rc = 0;
	for (size_t i = 0; !rc && i < count && entries[i]->sequence <= upto; i++) {
		rc = stage_entry(f, entries[i]);
		if (entries[i]->kind == JOURNAL_COMMIT)
			length = entries[i]->commit.length;
		if (entries[i]->kind == JOURNAL_COMMIT || entries[i]->kind == JOURNAL_TIMES)
			times[1] = entries[i]->modified;
	}
	if (!rc && !length && times[1].tv_nsec == UTIME_OMIT)
		return 0;
	if (!rc)
		rc = file_lower_writable(f);
	if (!rc)
		rc = file_stage_apply(f);
	if (!rc && f->lower_len < length)
		rc = file_lower_resize(f, length);
	if (rc)
		return rc;
	rc = l->ops->futimens(l, f->write_fd, times);
	return rc && rc != -EPERM && rc != -EACCES ? rc : file_lower_sync(f, false);
}

int file_recover_apply(const struct store *s, int dirfd, const char *name,
	const struct journal_entry *const *entries, size_t count, uint64_t upto)
{
	struct file *f;
	int rc = open_it(s, dirfd, name, &f);
	if (rc)
		return rc;
	rc = apply(f, entries, count, upto);
	file_free(f);
	return rc;
}

#define SECTOR 512u

/*
 * What a power cut leaves of a file whose first data was never durable: its first header, which
 * names nothing, did not reach the disk as a whole. Of a header that is older there are two slots.
 */
static bool is_newborn(const uint8_t page[static BLOCK_MAP_BLOCK])
{
	bool torn = false;
	for (unsigned i = 0; i < FORMAT_SLOT_LEN / SECTOR; i++)
		torn = torn || bytes_all_zero(page + i * SECTOR, SECTOR);
	return torn && bytes_all_zero(page + FORMAT_SLOT_LEN, BLOCK_MAP_BLOCK - FORMAT_SLOT_LEN);
}

/* Attributes that nobody can open without the key that was in the header. */
static int drop_attributes(struct file *f)
{
	struct lower *l = f->store->lower;
	char names[65536];
	ssize_t len = l->ops->flistxattr(l, f->fd, names, sizeof(names));
	int rc = len < 0 && len != -EOPNOTSUPP ? (int)len : 0;
	for (ssize_t at = 0; !rc && at < len; at += (ssize_t)strlen(names + at) + 1)
		if (!strncmp(names + at, "user.", 5)) {
			rc = file_lower_writable(f);
			if (!rc)
				rc = l->ops->fremovexattr(l, f->write_fd, names + at);
		}
	return rc;
}

/* Page 0 first: as long as that is blank whoever is cut short begins again. Then what lies behind
 * it, which nobody has the key of any more. */
static int empty_newborn(struct file *f, bool is_blank, uint64_t *ret_bytes)
{
	static const uint8_t blank[BLOCK_MAP_BLOCK];
	struct lower *l = f->store->lower;
	struct stat st;
	int rc = file_lower_writable(f);
	if (!rc)
		rc = l->ops->fstat(l, f->fd, &st);
	/* On a full disk there may be no place for a page 0 that never had one. */
	if (!rc && !is_blank)
		rc = file_lower_write_all(f, blank, sizeof(blank), 0);
	if (!rc)
		rc = file_lower_sync(f, true);
	if (!rc)
		rc = drop_attributes(f);
	if (!rc)
		rc = file_sweep_all(f, ret_bytes);
	if (!rc)
		rc = file_lower_resize(f, 0);
	if (rc < 0)
		return rc;
	/* Nothing that a user did. */
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
	rc = l->ops->futimens(l, f->write_fd, times);
	return rc && rc != -EPERM && rc != -EACCES ? rc : file_lower_sync(f, false);
}

int file_recover_length(const struct store *s, int dirfd, const char *name, uint64_t *ret_bytes)
{
	struct file *f;
	struct file_fault ft = FILE_FAULT_NONE;
	uint8_t page[BLOCK_MAP_BLOCK] = {0};
	struct iovec iov = {page, sizeof(page)};
	struct journal_erase behind = {.end = 0};
	int rc = open_it(s, dirfd, name, &f);
	if (rc)
		return rc;
	ssize_t n = f->lower_len ? file_lower_read(f, &iov, 1, 0) : 0;
	if (f->lower_len && n >= 0 && is_newborn(page)) {
		rc = empty_newborn(f, bytes_all_zero(page, sizeof(page)), ret_bytes);
		rc = rc < 0 ? rc : 1;
	} else if (n > 0) {
		rc = file_header_load(f, &ft);
		bool longer = !rc && f->has_header && f->lower_len > block_map_length(f->h.size);
		memcpy(behind.file_id, f->h.file_id, FILE_ID_LEN);
		/* What is damaged alarms whoever opens it. */
		rc = longer ? file_sweep(s, dirfd, name, &behind, ret_bytes) : 0;
		rc = rc < 0 && rc != -EBADMSG ? rc : 0;
	} else {
		rc = n < 0 ? (int)n : drop_attributes(f);
	}
	file_free(f);
	return rc;
}
