#include "fs/store/file_internal.h"

#include <errno.h>
#include <string.h>

static struct file_tag_page *find(struct file *f, uint64_t group)
{
	if (!group)
		return &f->first;
	for (unsigned i = 0; i < f->tag_count; i++)
		if (f->tags[i]->group == group) {
			f->tags[i]->used = ++f->clock;
			return f->tags[i];
		}
	return NULL;
}

/* The page that was not used for longest, of the dirty or of the clean ones; NULL when there is
 * none. */
static struct file_tag_page *oldest_page(struct file *f, bool dirty)
{
	struct file_tag_page *oldest = NULL;
	for (unsigned i = 0; i < f->tag_count; i++)
		if (f->tags[i]->dirty == dirty && (!oldest || f->tags[i]->used < oldest->used))
			oldest = f->tags[i];
	return oldest;
}

/* A page to load into, not in use: a new one, or a clean one. Of those there are some: at most
 * FILE_TAG_DIRTY are dirty. */
static struct file_tag_page *vacate(struct file *f)
{
	if (f->tag_count == FILE_TAG_PAGES)
		return oldest_page(f, false);
	struct file_tag_page *p = calloc(1, sizeof(*p));
	if (p)
		f->tags[f->tag_count++] = p;
	return p;
}

/* cache_lock held. */
static int get(struct file *f, uint64_t group, bool present, struct file_tag_page **ret,
	struct file_fault *ft)
{
	struct file_tag_page *p = find(f, group);
	if (!p) {
		p = vacate(f);
		if (!p)
			return -ENOMEM;
		p->group = p->used =
			0; /* group 0 is never looked for here: empty until it is filled */
		p->fresh = p->born = !present;
		memset(&p->written, 0, sizeof(p->written));
		memset(&p->changed, 0, sizeof(p->changed));
		memset(p->entries, 0, sizeof(p->entries));
		if (present) {
			struct iovec iov = {p->entries, sizeof(p->entries)};
			ssize_t n = file_lower_read(f, &iov, 1, block_map_tag_offset(group));
			if (n < 0)
				return (int)n;
			if ((size_t)n < sizeof(p->entries))
				return file_fault_set(ft, "tags", "the tag page is cut off",
					block_map_group_first(group));
		}
		p->group = group;
		p->used = ++f->clock;
	} else if (!present && !p->dirty) {
		p->fresh = p->born = true;
	}
	*ret = p;
	return 0;
}

int file_tags_copy(struct file *f, uint64_t group, unsigned index, unsigned count, uint8_t *ret,
	bool *ret_fresh, struct file_fault *ft)
{
	struct file_tag_page *p = NULL;
	lock_take(&f->cache_lock);
	int rc = get(f, group, true, &p, ft);
	if (p) {
		memcpy(ret, p->entries + index * FORMAT_TAG_LEN, count * FORMAT_TAG_LEN);
		*ret_fresh = p->fresh;
	}
	lock_drop(&f->cache_lock);
	return rc;
}

void file_tags_set(struct file *f, struct file_tag_page *p, unsigned index,
	const uint8_t entry[static FORMAT_TAG_LEN])
{
	uint8_t *old = p->entries + index * FORMAT_TAG_LEN;
	uint64_t block = block_map_group_first(p->group) + index;
	content_toggle(f->keys.hash, block, old, f->hash);
	memcpy(old, entry, FORMAT_TAG_LEN);
	content_toggle(f->keys.hash, block, old, f->hash);
	f->h.block_writes++;
	if (p != &f->first && !file_units_any(&p->changed))
		f->promised += FILE_STAGE_TEXT;
	/* Entries are as long as units; those of group 0 are the second half of page 0. */
	file_unit_set(&p->changed, index + (p == &f->first ? FILE_UNITS / 2 : 0));
	if (!p->dirty && p != &f->first)
		f->tag_dirty++;
	p->dirty = true;
	f->dirty = true;
}

/* In a group that is present every entry says DATA or HOLE. */
static int seal_holes(struct file *f, struct file_tag_page *p)
{
	struct content c = file_content(f);
	uint64_t first = block_map_group_first(p->group);
	for (unsigned i = 0; i < block_map_group_blocks(p->group); i++) {
		uint8_t entry[FORMAT_TAG_LEN];
		if (content_state(p->entries + i * FORMAT_TAG_LEN) != FORMAT_NONE)
			continue;
		int rc = content_seal_hole(&c, first + i, entry);
		if (rc)
			return rc;
		file_tags_set(f, p, i, entry);
	}
	p->fresh = false;
	return 0;
}

static int flush_page(struct file *f, struct file_tag_page *p)
{
	int rc = p->fresh ? seal_holes(f, p) : 0;
	if (rc)
		return rc;
	uint64_t at = block_map_tag_offset(p->group);
	if (p->born && !f->redo_only)
		(void)file_put_fresh(f, p->entries, sizeof(p->entries), at, &rc);
	else
		rc = file_put_page(f, p->entries, at, &p->changed);
	if (rc)
		return rc;
	memset(&p->changed, 0, sizeof(p->changed));
	p->dirty = false;
	f->tag_dirty--;
	return 0;
}

/*
 * A tag page that is put somewhere before its commit does no harm: what is staged is seen by nobody
 * else, and a fresh group is not there for anybody before the header says so.
 */
int file_tags_get(struct file *f, uint64_t group, struct file_tag_page **ret, struct file_fault *ft)
{
	int present = file_presence_test(f, group, ft);
	if (present < 0)
		return present;
	if (f->tag_dirty >= FILE_TAG_DIRTY) {
		int rc = flush_page(f, oldest_page(f, true));
		if (rc)
			return rc;
	}
	lock_take(&f->cache_lock);
	int rc = get(f, group, present, ret, ft);
	lock_drop(&f->cache_lock);
	/* Space for a new tag page is taken now: a commit must not want any. */
	if (!rc && group && (*ret)->born && !(*ret)->dirty && f->store->redo)
		(void)file_put_fresh(f, (*ret)->entries, sizeof((*ret)->entries),
			block_map_tag_offset(group), &rc);
	return rc;
}

int file_tags_flush(struct file *f)
{
	int rc = f->first.dirty && f->first.fresh ? seal_holes(f, &f->first) : 0;
	for (unsigned i = 0; !rc && i < f->tag_count; i++)
		if (f->tags[i]->dirty)
			rc = flush_page(f, f->tags[i]);
	return rc;
}

void file_tags_committed(struct file *f)
{
	const struct file_units none = {0};
	f->first.written = f->first.changed = none;
	f->first.born = false;
	for (unsigned i = 0; i < f->tag_count; i++) {
		f->tags[i]->written = none;
		f->tags[i]->born = false;
	}
}

void file_tags_drop(struct file *f, uint64_t group)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < f->tag_count; i++) {
		struct file_tag_page *p = f->tags[i];
		if (p->group < group) {
			f->tags[kept++] = p;
			continue;
		}
		f->tag_dirty -= p->dirty;
		free(p);
	}
	f->tag_count = kept;
	if (!group) {
		memset(&f->first, 0, sizeof(f->first));
		f->first.changed.bits[FILE_UNIT_WORDS - 1] = UINT64_MAX; /* of page 0 */
	}
}

void file_tags_free(struct file *f)
{
	file_tags_drop(f, 0);
}
