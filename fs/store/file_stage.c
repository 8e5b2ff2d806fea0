#include "fs/store/file_internal.h"

#include <errno.h>
#include <string.h>

/*
 * Pages of the lower file that are newer than what is in their place: written over something that
 * is committed, and therefore kept here, logged by the next commit, and brought to their place by
 * the checkpoint after it. Sorted by offset. What reads the lower file sees them.
 */

/* The first page at or behind the offset. */
static size_t position(const struct file *f, uint64_t offset)
{
	size_t low = 0, high = f->staged_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (f->staged[middle]->offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct file_stage *find(const struct file *f, uint64_t offset)
{
	size_t i = position(f, offset);
	return i < f->staged_count && f->staged[i]->offset == offset ? f->staged[i] : NULL;
}

static struct file_stage *insert(struct file *f, uint64_t offset)
{
	if (f->staged_count == f->staged_room) {
		size_t room = f->staged_room ? 2 * f->staged_room : 8;
		struct file_stage **more =
			reallocarray(f->staged, room, sizeof(struct file_stage *));
		if (!more)
			return NULL;
		f->staged = more;
		f->staged_room = room;
	}
	struct file_stage *p = malloc(sizeof(*p));
	if (!p)
		return NULL;
	size_t i = position(f, offset);
	memmove(f->staged + i + 1, f->staged + i,
		(f->staged_count - i) * sizeof(struct file_stage *));
	f->staged[i] = p;
	f->staged_count++;
	p->offset = offset;
	memset(p->changed, 0, sizeof(p->changed));
	return p;
}

int file_stage_put(struct file *f, uint64_t offset, const uint8_t page[static BLOCK_MAP_BLOCK],
	const struct file_units *changed)
{
	struct file_stage *p = find(f, offset);
	if (!p)
		p = insert(f, offset);
	if (!p)
		return -ENOMEM;
	memcpy(p->page, page, BLOCK_MAP_BLOCK);
	bool known = false, any = false;
	for (size_t i = 0; i < FILE_UNIT_WORDS; i++) {
		known = known || p->changed[i];
		p->changed[i] |= changed ? changed->bits[i] : UINT64_MAX;
		any = any || p->changed[i];
	}
	if (any && !known) {
		f->promised += FILE_STAGE_TEXT;
		p->next_changed = f->changed;
		f->changed = p;
	}
	return 0;
}

int file_stage_patch(struct file *f, uint64_t offset, const uint8_t *bytes, size_t len)
{
	while (len) {
		uint64_t at = offset - offset % BLOCK_MAP_BLOCK;
		size_t skip = (size_t)(offset - at), n = BLOCK_MAP_BLOCK - skip;
		if (n > len)
			n = len;
		struct file_stage *p = find(f, at);
		if (!p) {
			uint8_t page[BLOCK_MAP_BLOCK] = {0};
			struct iovec iov = {page, sizeof(page)};
			ssize_t got = n < sizeof(page) ? file_lower_read(f, &iov, 1, at) : 0;
			if (got < 0)
				return (int)got;
			p = insert(f, at);
			if (!p)
				return -ENOMEM;
			memcpy(p->page, page, sizeof(page));
		}
		memcpy(p->page + skip, bytes, n);
		offset += n;
		bytes += n;
		len -= n;
	}
	return 0;
}

/* How far the staged pages of [offset, offset + room) reach, or len if that is more. */
static size_t reach(const struct file *f, uint64_t offset, size_t room, size_t len)
{
	size_t behind = position(f, offset + room);
	if (!behind)
		return len;
	uint64_t end = f->staged[behind - 1]->offset + BLOCK_MAP_BLOCK;
	if (end <= offset + len)
		return len;
	return end - offset < room ? (size_t)(end - offset) : room;
}

static void zero(const struct iovec *iov, int n, size_t from, size_t to)
{
	for (size_t begin = 0; n && begin < to; begin += iov->iov_len, iov++, n--) {
		size_t a = from > begin ? from - begin : 0;
		size_t b = to - begin < iov->iov_len ? to - begin : iov->iov_len;
		if (a < b)
			memset((uint8_t *)iov->iov_base + a, 0, b - a);
	}
}

size_t file_stage_see(
	const struct file *f, const struct iovec *iov, int n, uint64_t offset, size_t len)
{
	size_t room = 0;
	for (int k = 0; k < n; k++)
		room += iov[k].iov_len;
	size_t all = reach(f, offset, room, len);
	zero(iov, n, len, all);
	uint64_t end = offset + all;
	for (size_t i = position(f, offset - offset % BLOCK_MAP_BLOCK);
		i < f->staged_count && f->staged[i]->offset < end; i++) {
		const struct file_stage *p = f->staged[i];
		uint64_t from = p->offset > offset ? p->offset : offset;
		uint64_t to = p->offset + BLOCK_MAP_BLOCK < end ? p->offset + BLOCK_MAP_BLOCK : end;
		uint64_t begin = offset; /* of the iov at hand */
		for (int k = 0; k < n && begin < to; begin += iov[k++].iov_len) {
			uint64_t a = from > begin ? from : begin;
			uint64_t b = to < begin + iov[k].iov_len ? to : begin + iov[k].iov_len;
			if (a < b)
				memcpy((uint8_t *)iov[k].iov_base + (a - begin),
					p->page + (a - p->offset), (size_t)(b - a));
		}
	}
	return all;
}

void file_stage_drop(struct file *f, uint64_t offset, uint64_t end)
{
	size_t from = position(f, offset), to = position(f, end);
	if (from == to)
		return;
	for (struct file_stage **at = &f->changed; *at;)
		if ((*at)->offset >= offset && (*at)->offset < end)
			*at = (*at)->next_changed;
		else
			at = &(*at)->next_changed;
	for (size_t i = from; i < to; i++)
		free(f->staged[i]);
	memmove(f->staged + from, f->staged + to,
		(f->staged_count - to) * sizeof(struct file_stage *));
	f->staged_count -= to - from;
}

static bool is_changed(const struct file_stage *p, unsigned unit)
{
	return p->changed[unit / 64] >> (unit % 64) & 1;
}

void file_stage_log(const struct file *f, struct buf *text)
{
	for (const struct file_stage *p = f->changed; p; p = p->next_changed) {
		for (unsigned from = 0, to; from < FILE_UNITS; from = to) {
			to = from + 1;
			if (!is_changed(p, from))
				continue;
			while (to < FILE_UNITS && is_changed(p, to))
				to++;
			journal_format_put_range(text, p->offset + from * FILE_UNIT,
				p->page + from * FILE_UNIT, (to - from) * FILE_UNIT);
		}
	}
}

void file_stage_logged(struct file *f)
{
	for (struct file_stage *p = f->changed; p; p = p->next_changed)
		memset(p->changed, 0, sizeof(p->changed));
	f->changed = NULL;
	f->promised = 0;
}

int file_stage_apply(struct file *f)
{
	struct iovec iov[16];
	struct lower *l = f->store->lower;
	f->unsynced = f->unsynced || f->staged_count;
	f->inode_unsynced = f->inode_unsynced || f->staged_count;
	for (size_t i = 0; i < f->staged_count;) {
		uint64_t at = f->staged[i]->offset;
		int n = 0;
		while (n < 16 && i + (size_t)n < f->staged_count &&
			f->staged[i + (size_t)n]->offset == at + (uint64_t)n * BLOCK_MAP_BLOCK) {
			iov[n] = (struct iovec){f->staged[i + (size_t)n]->page, BLOCK_MAP_BLOCK};
			n++;
		}
		ssize_t want = (ssize_t)n * BLOCK_MAP_BLOCK;
		ssize_t got = l->ops->pwritev(l, f->write_fd, iov, n, at);
		/* A full disk or a signal: page by page, for the errno. */
		for (int k = 0; got != want && k < n; k++) {
			int rc = file_lower_write_all(f, iov[k].iov_base, BLOCK_MAP_BLOCK,
				at + (uint64_t)k * BLOCK_MAP_BLOCK);
			if (rc)
				return rc;
		}
		if (f->lower_len < at + (uint64_t)want)
			f->lower_len = at + (uint64_t)want;
		i += (size_t)n;
	}
	file_stage_drop(f, 0, UINT64_MAX);
	return 0;
}

void file_stage_free(struct file *f)
{
	file_stage_drop(f, 0, UINT64_MAX);
	free(f->staged);
	f->staged = NULL;
	f->staged_room = 0;
}
