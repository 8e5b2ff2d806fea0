#include "fs/store/file_check.h"

#include "fs/store/file_internal.h"
#include "fs/store/xattr.h"

#include <errno.h>
#include <string.h>

#define GROUP_BYTES ((size_t)BLOCK_MAP_GROUP_BLOCKS * BLOCK_MAP_BLOCK)
#define RANGES_MAX 16 /* of bad blocks that are told one by one; the rest together */

static const char disk_detail[] = "the disk cannot read it";

struct checking {
	struct file *f;
	const struct file_check_hooks *hooks;
	struct file_check *ret;
	uint8_t *blocks; /* GROUP_BYTES, plaintext for a moment */
	uint8_t hash[FORMAT_HASH_LEN];
	bool hash_known;           /* every present group's entries were there */
	uint64_t first, bad;       /* a range of bad blocks that is not told yet */
	const char *detail;        /* of it */
	unsigned ranges;           /* told */
	uint64_t rest, first_rest; /* blocks beyond RANGES_MAX ranges */
};

static void checking_done(struct checking *c)
{
	if (c->blocks)
		crypto_wipe(c->blocks, GROUP_BYTES);
	free(c->blocks);
	if (c->f)
		file_free(c->f);
}

static void tell(struct checking *c, const struct file_check_fault *fault)
{
	c->ret->faults++;
	c->hooks->found(c->hooks->context, fault);
}

/* 0 when r was damage, which is told; else r. */
static int tell_if_damage(struct checking *c, int r, const struct file_fault *ft)
{
	const struct file_check_fault fault = {
		ft->what, ft->detail, ft->block, ft->block != UINT64_MAX, NULL};
	const struct file_check_fault disk = {"disk", disk_detail, ft->block, 0, NULL};
	if (r != -EBADMSG && r != -EIO)
		return r;
	tell(c, r == -EIO ? &disk : &fault);
	return 0;
}

static void tell_range(struct checking *c)
{
	if (c->bad && c->ranges < RANGES_MAX) {
		tell(c, &(struct file_check_fault){c->detail == disk_detail ? "disk" : "block",
				c->detail, c->first, c->bad, NULL});
		c->ranges++;
	} else if (c->bad) {
		if (!c->rest)
			c->first_rest = c->first;
		c->rest += c->bad;
	}
	c->bad = 0;
}

static void bad_block(struct checking *c, uint64_t block, const char *detail)
{
	if (c->bad && (c->first + c->bad != block || c->detail != detail))
		tell_range(c);
	if (!c->bad)
		c->first = block;
	c->detail = detail;
	c->bad++;
}

/* DATA blocks [first, first + n) of one group, read together. */
static int check_run(struct checking *c, uint64_t first, unsigned n, const uint8_t *entries)
{
	struct content content = file_content(c->f);
	struct iovec iov = {c->blocks, (size_t)n * BLOCK_MAP_BLOCK};
	ssize_t got = file_lower_read(c->f, &iov, 1, block_map_data_offset(first));
	if (got == -EIO && n > 1) { /* which of them? */
		int rc = check_run(c, first, n / 2, entries);
		return rc ? rc
			  : check_run(c, first + n / 2, n - n / 2,
				    entries + (size_t)(n / 2) * FORMAT_TAG_LEN);
	}
	if (got == -EIO) {
		bad_block(c, first, disk_detail);
		return 0;
	}
	if (got < 0)
		return (int)got;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *block = c->blocks + (size_t)i * BLOCK_MAP_BLOCK;
		int rc = (size_t)got < (size_t)(i + 1) * BLOCK_MAP_BLOCK
				 ? -ENODATA
				 : content_open(&content, first + i,
					   entries + (size_t)i * FORMAT_TAG_LEN, block, block);
		if (rc == -EBADMSG || rc == -ENODATA)
			bad_block(c, first + i,
				rc == -ENODATA ? "it is cut off" : "it does not verify");
		else if (rc)
			return rc;
		else
			c->ret->blocks++;
	}
	return 0;
}

/* A block that is not DATA: a sealed hole, or nothing that may be in a present group. */
static int check_other_block(struct checking *c, uint64_t block, const uint8_t *entry)
{
	struct content content = file_content(c->f);
	int rc = content_open(&content, block, entry, NULL, c->blocks);
	if (rc == -EBADMSG)
		bad_block(c, block, "it does not verify");
	else if (rc)
		return rc;
	else
		c->ret->holes++;
	return 0;
}

static int check_group(struct checking *c, uint64_t group)
{
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN];
	struct file_fault ft = FILE_FAULT_NONE;
	bool fresh;
	uint64_t first = block_map_group_first(group);
	unsigned n = block_map_group_blocks(group), run;
	uint64_t before = c->ret->blocks;
	int rc = file_tags_copy(c->f, group, 0, n, entries, &fresh, &ft);
	if (rc) {
		c->hash_known = false;
		ft.block = first;
		return tell_if_damage(c, rc, &ft);
	}
	for (unsigned i = 0; i < n; i++)
		content_toggle(c->f->keys.hash, first + i, entries + i * FORMAT_TAG_LEN, c->hash);
	for (unsigned i = 0; !rc && i < n; i += run) {
		const uint8_t *entry = entries + i * FORMAT_TAG_LEN;
		run = 0;
		while (i + run < n && content_state(entry + run * FORMAT_TAG_LEN) == FORMAT_DATA)
			run++;
		rc = run ? check_run(c, first + i, run, entry)
			 : check_other_block(c, first + i, entry);
		run = run ? run : 1;
	}
	if (!rc && c->hooks->progress)
		rc = c->hooks->progress(
			c->hooks->context, (c->ret->blocks - before) * BLOCK_MAP_BLOCK);
	return rc;
}

static int check_groups(struct checking *c)
{
	uint64_t group = 0;
	int rc = 0;
	while (!rc && group < BLOCK_MAP_GROUPS) {
		struct file_fault ft = FILE_FAULT_NONE;
		rc = file_presence_next(c->f, group, &group, &ft);
		if (rc) {
			/* A presence page: what it speaks of is not known; on with the next. */
			uint64_t at = block_map_group(ft.block == UINT64_MAX ? 0 : ft.block);
			if (at < BLOCK_MAP_HEADER_GROUPS)
				return rc;
			c->hash_known = false;
			rc = tell_if_damage(c, rc, &ft);
			group = at + BLOCK_MAP_PAGE_GROUPS;
		} else if (group < BLOCK_MAP_GROUPS) {
			rc = check_group(c, group++);
		}
	}
	tell_range(c);
	if (c->rest)
		tell(c, &(struct file_check_fault){"block",
				"and others behind it: they do not verify", c->first_rest, c->rest,
				NULL});
	return rc;
}

static void bad_attribute(void *context, const char *lower)
{
	struct checking *c = context;
	c->ret->bad_attributes++;
	tell(c, &(struct file_check_fault){"attribute", "an extended attribute does not verify",
			UINT64_MAX, 0, lower});
}

static int check_content(struct checking *c)
{
	struct file_fault ft = {
		"header", "the wrapped key of its attributes does not open", UINT64_MAX};
	int rc = file_header_open_xk(c->f);
	if (rc)
		return tell_if_damage(c, rc, &ft);
	c->blocks = malloc(GROUP_BYTES);
	if (!c->blocks)
		return -ENOMEM;
	c->hash_known = true;
	unsigned before = c->ret->faults;
	rc = check_groups(c);
	/* Blocks that were changed are told as such; what is left is what verifies and still is not
	 * what was last written. */
	if (!rc && c->hash_known && c->ret->faults == before &&
		!crypto_equal(c->hash, c->f->hash, sizeof(c->hash)))
		tell(c, &(struct file_check_fault){"tags",
				"the set of its blocks is not the one last written: blocks of an "
				"earlier time were put back, or a crash came between them and "
				"their "
				"commit",
				UINT64_MAX, 0, NULL});
	return rc;
}

static int check(struct checking *c)
{
	struct file *f = c->f;
	struct file_check *ret = c->ret;
	struct file_fault ft = FILE_FAULT_NONE;
	int rc = file_header_load(f, &ft);
	if (rc)
		return tell_if_damage(c, rc, &ft);
	ret->lower_len = f->lower_len;
	ret->has_header = f->has_header;
	if (!f->has_header)
		return 0;
	memcpy(ret->id, f->h.file_id, FILE_ID_LEN);
	memcpy(ret->homes, f->h.homes, sizeof(ret->homes));
	ret->many_homes = f->h.flags & FORMAT_MANY_HOMES;
	ret->size = f->h.size;
	ret->longer = f->lower_len > block_map_length(f->h.size);
	rc = check_content(c);
	if (!rc)
		rc = xattr_check(f, NULL, bad_attribute, c, &ret->attributes);
	return rc;
}

int file_check(const struct store *s, int dirfd, const char *name,
	const struct file_check_hooks *hooks, struct file_check *ret)
{
	AUTO(checking_done) struct checking c = {.hooks = hooks, .ret = ret};
	const struct dir d = {.store = s, .fd = dirfd};
	struct file_fault ft = FILE_FAULT_NONE;
	*ret = (struct file_check){0};
	int rc = file_new(s, &c.f);
	if (!rc)
		rc = file_lower_open(c.f, &d, name);
	if (rc)
		return rc == -EIO ? tell_if_damage(&c, rc, &ft) : rc;
	return check(&c);
}

int file_check_settle(const struct store *s, int dirfd, const char *name,
	const struct format_home *homes, size_t count)
{
	struct file *f;
	struct file_fault ft = FILE_FAULT_NONE;
	const struct dir d = {.store = s, .fd = dirfd};
	int rc = file_new(s, &f);
	if (rc)
		return rc;
	rc = file_lower_open(f, &d, name);
	if (!rc)
		rc = file_header_load(f, &ft);
	if (!rc && f->has_header) {
		memset(f->h.homes, 0, sizeof(f->h.homes));
		f->h.flags &= (uint8_t)~FORMAT_MANY_HOMES;
		if (count > FORMAT_HOMES)
			f->h.flags |= FORMAT_MANY_HOMES;
		for (size_t i = 0; i < count && i < FORMAT_HOMES; i++)
			f->h.homes[i] = homes[i];
		f->dirty = true;
		rc = file_commit_now(f, 0);
		if (!rc)
			rc = file_lower_sync(f, false);
	}
	file_free(f);
	return rc;
}
