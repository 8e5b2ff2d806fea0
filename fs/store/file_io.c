#include "fs/store/file_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

/* What a request covers only in part goes through a page of its own; whole blocks are sealed and
 * opened where they are. */

int file_io_scratch(struct file *f, size_t len)
{
	if (f->scratch_len >= len)
		return 0;
	uint8_t *bigger = realloc(f->scratch, len);
	if (!bigger)
		return -ENOMEM;
	f->scratch = bigger;
	f->scratch_len = len;
	return 0;
}

void file_io_scratch_free(struct file *f)
{
	free(f->scratch);
	f->scratch = NULL;
	f->scratch_len = 0;
}

static int bad_block(struct file_fault *ft, uint64_t block)
{
	return file_fault_set(ft, "block", "a block does not verify", block);
}

int file_io_block(struct file *f, uint64_t block, const uint8_t entry[static FORMAT_TAG_LEN],
	bool fresh, uint8_t plain[static BLOCK_MAP_BLOCK], struct file_fault *ft)
{
	struct content c = file_content(f);
	int state = content_state(entry);
	if (state == FORMAT_NONE && fresh) {
		memset(plain, 0, BLOCK_MAP_BLOCK);
		return 0;
	}
	if (state == FORMAT_DATA) {
		struct iovec iov = {plain, BLOCK_MAP_BLOCK};
		ssize_t n = file_lower_read(f, &iov, 1, block_map_data_offset(block));
		if (n < 0)
			return (int)n;
		if (n < (ssize_t)BLOCK_MAP_BLOCK)
			return file_fault_set(ft, "block", "a block is cut off", block);
	}
	int rc = content_open(&c, block, entry, plain, plain);
	return rc == -EBADMSG ? bad_block(ft, block) : rc;
}

/* What a request wants of blocks in a row. */
struct window {
	uint8_t *to;      /* where the byte at `from` goes */
	size_t from, len; /* relative to the first block */
};

/* The part of block i that the window wants: its offset in the block, its length, and where it
 * goes. */
static size_t window_part(const struct window *w, unsigned i, size_t *ret_at, uint8_t **ret_to)
{
	size_t begin = (size_t)i * BLOCK_MAP_BLOCK;
	size_t from = w->from > begin ? w->from - begin : 0;
	size_t end = w->from + w->len - begin;
	if (end > BLOCK_MAP_BLOCK)
		end = BLOCK_MAP_BLOCK;
	*ret_at = from;
	*ret_to = w->to + (begin + from - w->from);
	return end - from;
}

/* Blocks [first, first + n) that are all DATA: one read, then opened in place. */
static int read_data(struct file *f, uint64_t first, unsigned n, const uint8_t *entries,
	const struct window *w, struct file_fault *ft)
{
	uint8_t edge[2]
		    [BLOCK_MAP_BLOCK]; /* the first and the last block where wanted only in part */
	struct iovec iov[3];
	int parts = 0;
	uint8_t *to;
	size_t at;
	bool head = window_part(w, 0, &at, &to) < BLOCK_MAP_BLOCK;
	bool tail = n > 1 && window_part(w, n - 1, &at, &to) < BLOCK_MAP_BLOCK;
	if (head)
		iov[parts++] = (struct iovec){edge[0], BLOCK_MAP_BLOCK};
	if (n > (unsigned)head + tail) {
		(void)window_part(w, head, &at, &to);
		iov[parts++] = (struct iovec){to, (size_t)(n - head - tail) * BLOCK_MAP_BLOCK};
	}
	if (tail)
		iov[parts++] = (struct iovec){edge[1], BLOCK_MAP_BLOCK};
	ssize_t got = file_lower_read(f, iov, parts, block_map_data_offset(first));
	if (got < 0)
		return (int)got;
	struct content c = file_content(f);
	int rc = 0;
	for (unsigned i = 0; !rc && i < n; i++) {
		size_t len = window_part(w, i, &at, &to);
		uint8_t *block = i == 0 && head ? edge[0] : i == n - 1 && tail ? edge[1] : to;
		if ((size_t)got < (size_t)(i + 1) * BLOCK_MAP_BLOCK)
			rc = file_fault_set(ft, "block", "a block is cut off", first + i);
		else
			rc = content_open(
				&c, first + i, entries + i * FORMAT_TAG_LEN, block, block);
		if (rc == -EBADMSG && (size_t)got >= (size_t)(i + 1) * BLOCK_MAP_BLOCK)
			rc = bad_block(ft, first + i);
		if (!rc && block != to)
			memcpy(to, block + at, len);
	}
	if (head || tail)
		crypto_wipe(edge, sizeof(edge));
	return rc;
}

static int read_hole(struct file *f, uint64_t block, const uint8_t *entry, bool fresh,
	const struct window *w, struct file_fault *ft)
{
	uint8_t zeros[BLOCK_MAP_BLOCK], *to;
	size_t at;
	int rc = file_io_block(f, block, entry, fresh, zeros, ft);
	if (rc)
		return rc;
	size_t len = window_part(w, 0, &at, &to);
	memset(to, 0, len);
	return 0;
}

/* Blocks [first, first + n) of one group that is present. */
static int read_group(
	struct file *f, uint64_t first, unsigned n, const struct window *w, struct file_fault *ft)
{
	uint8_t entries[BLOCK_MAP_GROUP_BLOCKS * FORMAT_TAG_LEN];
	bool fresh;
	int rc = file_tags_copy(
		f, block_map_group(first), block_map_index(first), n, entries, &fresh, ft);
	for (unsigned i = 0, run; !rc && i < n; i += run) {
		const uint8_t *entry = entries + i * FORMAT_TAG_LEN;
		bool data = content_state(entry) == FORMAT_DATA;
		for (run = 1; data && i + run < n; run++)
			if (content_state(entry + run * FORMAT_TAG_LEN) != FORMAT_DATA)
				break;
		/* The window as blocks [i, i + run) see it. */
		struct window part = *w;
		size_t begin = (size_t)i * BLOCK_MAP_BLOCK,
		       end = begin + (size_t)run * BLOCK_MAP_BLOCK;
		size_t w_end = w->from + w->len < end ? w->from + w->len : end;
		part.from = w->from > begin ? w->from - begin : 0;
		part.to = w->to + (begin + part.from - w->from);
		part.len = w_end - begin - part.from;
		rc = data ? read_data(f, first + i, run, entry, &part, ft)
			  : read_hole(f, first + i, entry, fresh, &part, ft);
	}
	return rc;
}

/* How many bytes from offset on are in one group, at most len; the blocks that they touch. */
static size_t in_group(uint64_t offset, size_t len, uint64_t *ret_first, unsigned *ret_blocks)
{
	uint64_t first = offset / BLOCK_MAP_BLOCK;
	uint64_t left = block_map_group_blocks(block_map_group(first)) - block_map_index(first);
	uint64_t bytes = left * BLOCK_MAP_BLOCK - offset % BLOCK_MAP_BLOCK;
	if (len > bytes)
		len = (size_t)bytes;
	*ret_first = first;
	*ret_blocks = (unsigned)((offset % BLOCK_MAP_BLOCK + len + BLOCK_MAP_BLOCK - 1) /
				 BLOCK_MAP_BLOCK);
	return len;
}

ssize_t file_io_read(
	struct file *f, void *bytes, size_t len, uint64_t offset, struct file_fault *ft)
{
	uint8_t *to = bytes;
	if (offset >= f->h.size)
		return 0;
	if (len > f->h.size - offset)
		len = (size_t)(f->h.size - offset);
	for (size_t done = 0, n; done < len; done += n) {
		uint64_t first;
		unsigned blocks;
		n = in_group(offset + done, len - done, &first, &blocks);
		int rc = file_presence_test(f, block_map_group(first), ft);
		struct window w = {to + done, (offset + done) % BLOCK_MAP_BLOCK, n};
		if (rc > 0)
			rc = read_group(f, first, blocks, &w, ft);
		else if (!rc)
			memset(to + done, 0, n);
		if (rc < 0) {
			crypto_wipe(bytes, len);
			return rc;
		}
	}
	return (ssize_t)len;
}

/* Seals one block of a write into *sealed; what the bytes do not cover of it stays as it was. */
static int seal_block(struct file *f, const struct file_tag_page *p, uint64_t block,
	const uint8_t *bytes, size_t at, size_t len, uint8_t *sealed, uint8_t *ret_entry,
	struct file_fault *ft)
{
	struct content c = file_content(f);
	if (len == BLOCK_MAP_BLOCK)
		return content_seal(&c, block, bytes, sealed, ret_entry);
	uint8_t plain[BLOCK_MAP_BLOCK];
	int rc = file_io_block(f, block, p->entries + block_map_index(block) * FORMAT_TAG_LEN,
		p->fresh, plain, ft);
	if (!rc) {
		memcpy(plain + at, bytes, len);
		rc = content_seal(&c, block, plain, sealed, ret_entry);
	}
	crypto_wipe(plain, sizeof(plain));
	return rc;
}

/* Where nothing that is committed lies, or may lie. */
static bool is_fresh(const struct file *f, const struct file_tag_page *p, uint64_t block)
{
	unsigned index = block_map_index(block);
	return !f->store->redo ||
	       (!f->redo_only && !f->rides &&
		       (content_state(p->entries + index * FORMAT_TAG_LEN) != FORMAT_DATA ||
			       file_unit_test(&p->written, index)));
}

/* After a commit that failed there may be nothing where the block is to go; what is named has its
 * place. */
static int take_space(struct file *f, const struct file_tag_page *p, uint64_t block)
{
	struct lower *l = f->store->lower;
	const uint8_t *entry = p->entries + block_map_index(block) * FORMAT_TAG_LEN;
	if (!f->redo_only || content_state(entry) == FORMAT_DATA)
		return 0;
	int rc = l->ops->fallocate(
		l, f->write_fd, FALLOC_FL_KEEP_SIZE, block_map_data_offset(block), BLOCK_MAP_BLOCK);
	return rc == -EOPNOTSUPP ? 0 : rc;
}

unsigned file_io_place(struct file *f, struct file_tag_page *p, uint64_t first, unsigned n,
	const uint8_t *sealed, int *ret_error)
{
	unsigned done = 0;
	while (done < n) {
		const uint8_t *from = sealed + (size_t)done * BLOCK_MAP_BLOCK;
		uint64_t at = block_map_data_offset(first + done);
		unsigned run = 1, placed = 1;
		if (!is_fresh(f, p, first + done)) {
			*ret_error = take_space(f, p, first + done);
			if (!*ret_error)
				*ret_error = file_stage_put(f, at, from, NULL);
			if (*ret_error)
				return done;
		} else {
			while (done + run < n && is_fresh(f, p, first + done + run))
				run++;
			placed = (unsigned)(file_put_fresh(f, from, (size_t)run * BLOCK_MAP_BLOCK,
						    at, ret_error) /
					    BLOCK_MAP_BLOCK);
			for (unsigned i = 0; i < placed; i++)
				file_unit_set(&p->written, block_map_index(first + done + i));
		}
		done += placed;
		if (placed < run)
			break;
	}
	return done;
}

/* The beginning of a write, at most FILE_RUN_BLOCKS of one group: bytes written, or -errno. */
static ssize_t write_step(
	struct file *f, const uint8_t *bytes, size_t len, uint64_t offset, struct file_fault *ft)
{
	uint8_t entries[FILE_RUN_BLOCKS][FORMAT_TAG_LEN];
	uint64_t first;
	unsigned blocks;
	size_t most = FILE_RUN_BLOCKS * BLOCK_MAP_BLOCK - offset % BLOCK_MAP_BLOCK;
	len = in_group(offset, len < most ? len : most, &first, &blocks);
	struct file_tag_page *p;
	uint64_t group = block_map_group(first);
	int rc = file_io_scratch(f, (size_t)blocks * BLOCK_MAP_BLOCK);
	if (!rc)
		rc = file_tags_get(f, group, &p, ft);
	if (!rc)
		rc = file_presence_prepare(f, group, ft);
	size_t at = offset % BLOCK_MAP_BLOCK, used = 0;
	for (unsigned i = 0; !rc && i < blocks; i++, at = 0) {
		size_t n = len - used < BLOCK_MAP_BLOCK - at ? len - used : BLOCK_MAP_BLOCK - at;
		rc = seal_block(f, p, first + i, bytes + used, at, n,
			f->scratch + (size_t)i * BLOCK_MAP_BLOCK, entries[i], ft);
		used += n;
	}
	if (rc)
		return rc;
	/* Blocks that reached their place count even when the rest did not: without a journal their
	 * old bytes are gone. */
	f->rides = file_ride_may(f, p, offset, len);
	unsigned written = file_io_place(f, p, first, blocks, f->scratch, &rc);
	f->rides = false;
	if (!written)
		return rc;
	for (unsigned i = 0; i < written; i++)
		file_tags_set(f, p, block_map_index(first + i), entries[i]);
	file_presence_set(f, group);
	uint64_t end = (first + written) * BLOCK_MAP_BLOCK;
	if (end > offset + len)
		end = offset + len;
	if (end > f->h.size)
		f->h.size = end;
	file_ride_wrote(f, (size_t)(end - offset));
	return (ssize_t)(end - offset);
}

size_t file_io_text(uint64_t offset, size_t len)
{
	uint64_t first = offset / BLOCK_MAP_BLOCK;
	uint64_t last = (offset + len + BLOCK_MAP_BLOCK - 1) / BLOCK_MAP_BLOCK;
	/* Each block, the tag pages of its group and of one that makes way, a presence page. */
	uint64_t groups = last > first ? block_map_group(last - 1) - block_map_group(first) + 1 : 1;
	return (size_t)(last - first + 2 * groups + 2) *
	       (FILE_STAGE_TEXT + JOURNAL_FORMAT_FRESH_LEN);
}

ssize_t file_io_write(
	struct file *f, const void *bytes, size_t len, uint64_t offset, struct file_fault *ft)
{
	uint64_t end;
	if (__builtin_add_overflow(offset, len, &end) || end > BLOCK_MAP_SIZE_MAX)
		return -EFBIG;
	/* GCM with random nonces: never more than 2^32 messages under one key (NIST SP
	 * 800-38D, 8.3). */
	if (f->h.block_writes + len / BLOCK_MAP_BLOCK + 2 * BLOCK_MAP_GROUP_BLOCKS >= UINT32_MAX)
		return -EFBIG;
	int rc = file_lower_writable(f);
	if (!rc && len)
		rc = file_header_make(f);
	if (rc)
		return rc;
	for (size_t done = 0; done < len;) {
		ssize_t n =
			write_step(f, (const uint8_t *)bytes + done, len - done, offset + done, ft);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	}
	/* What is staged has not moved the time. */
	if (f->staged_count && !f->keeps_time) {
		struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
		rc = f->store->lower->ops->futimens(f->store->lower, f->write_fd, now);
		if (rc < 0 && rc != -EPERM && rc != -EACCES)
			return rc;
	}
	f->time_behind = f->time_behind && f->keeps_time;
	return (ssize_t)len;
}
