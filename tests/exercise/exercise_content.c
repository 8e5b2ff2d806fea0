/* Operations that read and write content: through handles, positions and maps. */
#include "tests/exercise/exercise_story.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static enum kind readable_kind(struct act *a)
{
	return (enum kind)story_below(a, KINDS);
}

static void act_read(struct act *a)
{
	enum kind kind = readable_kind(a);
	uint64_t offset = story_read_offset(a);
	size_t len = story_len(a), shift = story_align(a, kind, &offset, &len);
	NOTE(a, "read %s %llu+%zu", story_kinds[kind], (unsigned long long)offset, len);
	int fd = story_fd(a, kind);
	ssize_t n = pread(fd, a->run->bytes + shift, len, (off_t)offset);
	if (n < 0 || (size_t)n != story_readable(a, offset, len))
		FAIL(a, "read: %zd (%s), expected %zu", n, n < 0 ? strerror(errno) : "",
			story_readable(a, offset, len));
	story_compare(a, "read", a->run->bytes + shift, offset, (size_t)n);
	story_see(a, fd, MOVES_NOT);
}

/* Up to five pieces of len bytes, some of them empty. */
static int pieces(struct act *a, uint8_t *bytes, size_t len, struct iovec iov[static 5])
{
	int n = (int)story_below(a, 4) + 1;
	size_t done = 0;
	for (int i = 0; i < n; i++) {
		size_t part = (size_t)story_below(a, len - done + 1);
		iov[i] = (struct iovec){bytes + done, part};
		done += part;
	}
	iov[n] = (struct iovec){bytes + done, len - done};
	return n + 1;
}

static void act_readv(struct act *a)
{
	enum kind kind = story_chance(a, 50) ? KIND_RW : KIND_RO;
	uint64_t offset = story_read_offset(a);
	size_t len = story_len(a);
	struct iovec iov[5];
	int count = pieces(a, a->run->bytes, len, iov);
	NOTE(a, "readv %s %llu+%zu in %d", story_kinds[kind], (unsigned long long)offset, len,
		count);
	int fd = story_fd(a, kind);
	ssize_t n = preadv(fd, iov, count, (off_t)offset);
	if (n < 0 || (size_t)n != story_readable(a, offset, len))
		FAIL(a, "readv: %zd (%s), expected %zu", n, n < 0 ? strerror(errno) : "",
			story_readable(a, offset, len));
	story_compare(a, "readv", a->run->bytes, offset, (size_t)n);
	story_see(a, fd, MOVES_NOT);
}

static void act_write(struct act *a)
{
	enum kind kind = story_chance(a, 70) ? KIND_RW : KIND_DIRECT;
	uint64_t offset = story_offset(a);
	size_t len = story_len(a), shift = story_align(a, kind, &offset, &len);
	uint8_t *bytes = a->run->bytes + shift;
	len = story_in_window(offset, len);
	NOTE(a, "write %s %llu+%zu", story_kinds[kind], (unsigned long long)offset, len);
	int fd = story_fd(a, kind);
	story_fill(a, bytes, offset, len);
	story_wrote(a, "write", pwrite(fd, bytes, len, (off_t)offset), len);
	model_write(&a->file->model, bytes, offset, len);
	story_see(a, fd, MOVES);
}

static void act_writev(struct act *a)
{
	uint64_t offset = story_offset(a);
	size_t len = story_in_window(offset, story_len(a));
	struct iovec iov[5];
	int count = pieces(a, a->run->bytes, len, iov);
	NOTE(a, "writev %llu+%zu in %d", (unsigned long long)offset, len, count);
	int fd = story_fd(a, KIND_RW);
	story_fill(a, a->run->bytes, offset, len);
	story_wrote(a, "writev", pwritev(fd, iov, count, (off_t)offset), len);
	model_write(&a->file->model, a->run->bytes, offset, len);
	story_see(a, fd, MOVES);
}

static void act_append(struct act *a)
{
	uint64_t offset = a->file->model.size;
	size_t len = story_in_window(offset, story_len(a));
	NOTE(a, "append %llu+%zu", (unsigned long long)offset, len);
	if (!len)
		return;
	int fd = story_fd(a, KIND_APPEND);
	story_fill(a, a->run->bytes, offset, len);
	/* Linux appends whatever offset pwrite is given. */
	story_wrote(a, "append",
		story_chance(a, 70) ? write(fd, a->run->bytes, len)
				    : pwrite(fd, a->run->bytes, len, (off_t)story_below(a, 100000)),
		len);
	model_write(&a->file->model, a->run->bytes, offset, len);
	story_see(a, fd, MOVES);
}

/* A handle and its duplicate have one position. */
static void act_position(struct act *a)
{
	uint64_t offset = story_offset(a);
	bool writes = story_chance(a, 40);
	size_t len = story_len(a);
	NOTE(a, "position %s %llu+%zu", writes ? "write" : "read", (unsigned long long)offset, len);
	int dup = story_fd(a, KIND_DUP), fd = story_fd(a, KIND_RW);
	/* The original may have been closed and opened anew. */
	story_close(a, &a->open->fds[KIND_DUP]);
	dup = story_fd(a, KIND_DUP);
	if (lseek(fd, (off_t)offset, SEEK_SET) != (off_t)offset)
		FAIL(a, "lseek: %s", strerror(errno));
	if (writes) {
		len = story_in_window(offset, len);
		story_fill(a, a->run->bytes, offset, len);
		story_wrote(a, "write", write(dup, a->run->bytes, len), len);
		model_write(&a->file->model, a->run->bytes, offset, len);
	} else {
		ssize_t n = read(dup, a->run->bytes, len);
		if (n < 0 || (size_t)n != story_readable(a, offset, len))
			FAIL(a, "read: %zd, expected %zu", n, story_readable(a, offset, len));
		len = (size_t)n;
		story_compare(a, "read", a->run->bytes, offset, len);
	}
	if (lseek(fd, 0, SEEK_CUR) != (off_t)(offset + len))
		FAIL(a, "the position is %lld", (long long)lseek(fd, 0, SEEK_CUR));
	story_see(a, dup, writes ? MOVES : MOVES_NOT);
}

/* A map that is kept, or a new one. */
static struct map *map_of(struct act *a)
{
	struct map *m = &a->open->map;
	if (m->at && story_chance(a, 70))
		return m;
	story_unmap(a);
	uint64_t offset = story_offset(a) / MODEL_BLOCK * MODEL_BLOCK;
	size_t len = story_in_window(offset, ((size_t)story_below(a, 64) + 1) * MODEL_BLOCK);
	void *at = mmap(
		NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, story_fd(a, KIND_RW), (off_t)offset);
	if (at == MAP_FAILED)
		FAIL(a, "mmap: %s", strerror(errno));
	*m = (struct map){at, offset, len};
	NOTE(a, " maps");
	return m;
}

/* A part of the map before `end`; false where there is none. */
static bool map_part(
	struct act *a, const struct map *m, uint64_t end, size_t *ret_at, size_t *ret_len)
{
	uint64_t left = end > m->offset ? end - m->offset : 0;
	size_t len = left < m->len ? (size_t)left : m->len, n = story_len(a);
	if (!len)
		return false;
	*ret_at = (size_t)story_below(a, len);
	*ret_len = n < len - *ret_at ? n : len - *ret_at;
	return true;
}

/* Behind the end of the file its last page has zeros. */
static void act_map_read(struct act *a)
{
	uint64_t size = a->file->model.size;
	size_t at, len;
	NOTE(a, "map read");
	struct map *m = map_of(a);
	if (!map_part(a, m, (size + MODEL_BLOCK - 1) / MODEL_BLOCK * MODEL_BLOCK, &at, &len))
		return;
	NOTE(a, " %llu+%zu", (unsigned long long)(m->offset + at), len);
	memcpy(a->run->bytes, m->at + at, len);
	story_compare(a, "map", a->run->bytes, m->offset + at, len);
	story_see(a, -1, MOVES_NOT);
}

static void act_map_write(struct act *a)
{
	size_t at, len;
	NOTE(a, "map write");
	struct map *m = map_of(a);
	if (!map_part(a, m, a->file->model.size, &at, &len))
		return;
	NOTE(a, " %llu+%zu", (unsigned long long)(m->offset + at), len);
	story_fill(a, a->run->bytes, m->offset + at, len);
	memcpy(m->at + at, a->run->bytes, len);
	model_write(&a->file->model, a->run->bytes, m->offset + at, len);
	story_see(a, -1, MOVES_MAYBE);
	if (story_chance(a, 3) &&
		msync(m->at, m->len, story_chance(a, 50) ? MS_SYNC : MS_ASYNC) < 0)
		FAIL(a, "msync: %s", strerror(errno));
}

static void act_unmap(struct act *a)
{
	NOTE(a, "unmap");
	story_unmap(a);
	story_see(a, -1, MOVES_NOT);
}

const struct act_kind content_acts[] = {
	{"read", act_read, 180},
	{"readv", act_readv, 40},
	{"map read", act_map_read, 120},
	{"write", act_write, 160},
	{"writev", act_writev, 50},
	{"append", act_append, 60},
	{"position", act_position, 60},
	{"map write", act_map_write, 120},
	{"unmap", act_unmap, 10},
	{0},
};
