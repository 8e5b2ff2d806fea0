/* Operations on sizes, holes and space; flushing, closing and seeking. */
#include "tests/exercise/exercise_story.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

static uint64_t draw_size(struct act *a)
{
	uint64_t how = story_below(a, 100), size = a->file->model.size;
	if (how < 10)
		return 0;
	if (how < 20)
		return story_below(a, 100);
	if (how < 40)
		return story_near(a, size);
	return story_offset(a);
}

static void act_truncate(struct act *a)
{
	uint64_t size = draw_size(a), before = a->file->model.size;
	char path[PATH_LEN];
	int fd = -1, r;
	if (story_chance(a, 60)) {
		NOTE(a, "ftruncate %llu", (unsigned long long)size);
		fd = story_fd(a, story_chance(a, 70) ? KIND_RW : KIND_DIRECT);
		r = ftruncate(fd, (off_t)size);
	} else {
		NOTE(a, "truncate %llu", (unsigned long long)size);
		if (!story_path(a, path))
			FAIL(a, "file %u has neither name nor handle", a->index);
		r = truncate(path, (off_t)size);
	}
	if (r < 0)
		FAIL(a, "truncate: %s", strerror(errno));
	model_resize(&a->file->model, size);
	a->file->allocated &= size || !before;
	story_see(a, fd, size == before ? MOVES_MAYBE : MOVES);
}

static void act_open_truncate(struct act *a)
{
	uint64_t before = a->file->model.size;
	char path[PATH_LEN];
	NOTE(a, "open O_TRUNC");
	if (!story_path(a, path))
		FAIL(a, "file %u has neither name nor handle", a->index);
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		FAIL(a, "open O_TRUNC: %s", strerror(errno));
	/* Only now: it may be by this one that it is found. */
	story_close(a, &a->open->fds[KIND_RW]);
	a->open->fds[KIND_RW] = fd;
	model_resize(&a->file->model, 0);
	a->file->allocated &= !before;
	story_see(a, -1, before ? MOVES : MOVES_MAYBE);
}

/* false: this filesystem has no such mode. */
static bool allocate(struct act *a, int mode, uint64_t offset, size_t len, int *ret_fd)
{
	*ret_fd = story_fd(a, story_chance(a, 80) ? KIND_RW : KIND_DIRECT);
	if (fallocate(*ret_fd, mode, (off_t)offset, (off_t)len) == 0)
		return true;
	if (errno != EOPNOTSUPP || a->run->o->strict)
		FAIL(a, "fallocate: %s", strerror(errno));
	return false;
}

/* Space was taken. */
static void allocated(struct act *a, uint64_t end, bool keep)
{
	a->file->allocated = true;
	if (!keep && a->file->model.size < end)
		model_resize(&a->file->model, end);
}

static void act_allocate(struct act *a)
{
	uint64_t offset = story_offset(a);
	size_t len = story_in_window(offset, story_len(a));
	int fd, mode = story_chance(a, 50) ? FALLOC_FL_KEEP_SIZE : 0;
	NOTE(a, "allocate%s %llu+%zu", mode ? " keep" : "", (unsigned long long)offset, len);
	if (!allocate(a, mode, offset, len, &fd))
		return;
	allocated(a, offset + len, mode != 0);
	story_see(a, fd, MOVES_MAYBE);
}

static void act_punch(struct act *a)
{
	uint64_t offset = story_offset(a);
	size_t len = story_in_window(offset, story_len(a));
	int fd;
	NOTE(a, "punch %llu+%zu", (unsigned long long)offset, len);
	if (!allocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len, &fd))
		return;
	model_zero(&a->file->model, offset, offset + len);
	story_see(a, fd, MOVES_MAYBE);
}

static void act_zero(struct act *a)
{
	uint64_t offset = story_offset(a);
	size_t len = story_in_window(offset, story_len(a));
	int fd, keep = story_chance(a, 50) ? FALLOC_FL_KEEP_SIZE : 0;
	NOTE(a, "zero%s %llu+%zu", keep ? " keep" : "", (unsigned long long)offset, len);
	if (!allocate(a, FALLOC_FL_ZERO_RANGE | keep, offset, len, &fd))
		return;
	model_zero(&a->file->model, offset, offset + len);
	allocated(a, offset + len, keep != 0);
	story_see(a, fd, MOVES_MAYBE);
}

/* Within the file, or from the other one of the story. */
static void act_copy(struct act *a)
{
	struct act from = *a;
	if (story_chance(a, 60)) {
		story_set(&from, a->story->named[!a->name]);
	}
	uint64_t at = story_read_offset(&from), to = story_offset(a);
	size_t len = story_in_window(to, story_len(a)), want;
	if (from.file == a->file && at < to + len && to < at + len) {
		NOTE(a, "copy would overlap");
		return;
	}
	NOTE(a, "copy file %u %llu to %llu+%zu", from.index, (unsigned long long)at,
		(unsigned long long)to, len);
	int in = story_fd(&from, story_chance(a, 50) ? KIND_RO : KIND_RW),
	    out = story_fd(a, KIND_RW);
	off_t in_at = (off_t)at, out_at = (off_t)to;
	want = story_readable(&from, at, len);
	ssize_t n = copy_file_range(in, &in_at, out, &out_at, len, 0);
	/* It may be short, but not nothing. */
	if (n < 0 || (size_t)n > want || (want && !n))
		FAIL(a, "copy: %zd (%s), expected %zu", n, n < 0 ? strerror(errno) : "", want);
	if (in_at != (off_t)at + n || out_at != (off_t)to + n)
		FAIL(a, "copy: positions %lld and %lld", (long long)in_at, (long long)out_at);
	model_copy(&from.file->model, a->run->bytes, at, (size_t)n);
	model_write(&a->file->model, a->run->bytes, to, (size_t)n);
	story_see(a, out, n ? MOVES : MOVES_MAYBE);
}

static void act_sync(struct act *a)
{
	enum kind kind = (enum kind)story_below(a, KINDS);
	bool data = story_chance(a, 50);
	NOTE(a, "%s %s", data ? "fdatasync" : "fsync", story_kinds[kind]);
	int fd = story_fd(a, kind);
	if ((data ? fdatasync(fd) : fsync(fd)) < 0)
		FAIL(a, "fsync: %s", strerror(errno));
	story_see(a, fd, MOVES_NOT);
	story_blocks(a, true);
}

/* The kernel writes its cache, and forgets it: the next read is one of the filesystem. */
static void act_uncache(struct act *a)
{
	NOTE(a, "uncache");
	int fd = story_fd(a, KIND_RW);
	if (sync_file_range(fd, 0, 0,
		    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			    SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		FAIL(a, "sync_file_range: %s", strerror(errno));
	if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		FAIL(a, "posix_fadvise");
	story_see(a, fd, MOVES_NOT);
}

static void act_close(struct act *a)
{
	enum kind kind = (enum kind)story_below(a, KINDS);
	bool open = a->open->fds[kind] >= 0;
	NOTE(a, "close %s", story_kinds[kind]);
	story_close(a, &a->open->fds[kind]);
	story_see(a, -1, MOVES_NOT);
	if (open)
		story_blocks(a, false);
}

/* Elsewhere than on a strict filesystem: a hole must read as zeros, data must not be passed over.
 */
static void check_seek(struct act *a, uint64_t offset, bool data, int64_t got)
{
	const struct model *m = &a->file->model;
	uint64_t end = got < 0 ? m->size : (uint64_t)got;
	if (got >= 0 && (end < offset || end > m->size))
		FAIL(a, "seek: %lld", (long long)got);
	if (data) {
		for (uint64_t at = offset, stop = end; at < stop;) {
			size_t run, len = stop - at < LEN_MAX ? (size_t)(stop - at) : LEN_MAX;
			const uint8_t *bytes = model_at(m, at, len, &run);
			for (size_t i = 0; bytes && i < run; i++)
				if (bytes[i])
					FAIL(a, "seek: no data before %llu, but there is at %llu",
						(unsigned long long)stop,
						(unsigned long long)(at + i));
			at += bytes ? run : stop - at < run ? stop - at : run;
		}
	} else if (end < m->size) {
		size_t run;
		const uint8_t *bytes = model_at(
			m, end, story_readable(a, end, MODEL_BLOCK - end % MODEL_BLOCK), &run);
		for (size_t i = 0; bytes && i < run; i++)
			if (bytes[i])
				FAIL(a, "seek: a hole at %llu, where data is",
					(unsigned long long)end);
	}
}

static void act_seek(struct act *a)
{
	bool data = story_chance(a, 50);
	uint64_t offset = story_read_offset(a), size = a->file->model.size;
	NOTE(a, "seek %s %llu", data ? "data" : "hole", (unsigned long long)offset);
	int fd = story_fd(a, story_chance(a, 50) ? KIND_RO : KIND_RW);
	int64_t got = lseek(fd, (off_t)offset, data ? SEEK_DATA : SEEK_HOLE);
	if (got < 0 && errno != ENXIO)
		FAIL(a, "seek: %s", strerror(errno));
	uint64_t want = offset < size ? model_seek(&a->file->model, offset, data) : UINT64_MAX;
	if (offset >= size && got >= 0)
		FAIL(a, "seek behind the end: %lld", (long long)got);
	if (offset >= size)
		return;
	if (a->run->o->strict && (uint64_t)got != want)
		FAIL(a, "seek: %lld, expected %lld", (long long)got, (long long)want);
	check_seek(a, offset, data, got);
	story_see(a, fd, MOVES_NOT);
}

static void act_look(struct act *a)
{
	NOTE(a, "stat");
	story_see(a, -1, MOVES_NOT);
}

static void act_drop(struct act *a)
{
	unsigned what = (unsigned)story_below(a, 3) + 1;
	NOTE(a, "drop caches %u", what);
	if (a->run->o->caches && story_chance(a, 10))
		exercise_drop_caches(what);
	story_see(a, -1, MOVES_NOT);
}

const struct act_kind space_acts[] = {
	{"truncate", act_truncate, 20},
	{"open O_TRUNC", act_open_truncate, 3},
	{"allocate", act_allocate, 20},
	{"punch", act_punch, 15},
	{"zero", act_zero, 15},
	{"copy", act_copy, 30},
	{"sync", act_sync, 4},
	{"uncache", act_uncache, 15},
	{"close", act_close, 30},
	{"seek", act_seek, 20},
	{"stat", act_look, 15},
	{"drop", act_drop, 3},
	{0},
};
