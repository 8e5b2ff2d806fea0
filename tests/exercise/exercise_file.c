/*
 * Random calls on files by several processes, against a model in memory.
 *
 * A story is two files and a source of random numbers. Whoever has a story's turn does its next few
 * operations, each compared with the model, and hands it to the process that the story drew; the
 * processes work at different stories at the same time, and meet in each with handles and maps that
 * they keep. So a story is the same again from the same seed, whoever is faster.
 */
#include "tests/exercise/exercise.h"
#include "tests/exercise/exercise_model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define STORIES 6u
#define FILES 2u
#define LEN_MAX (384u << 10) /* of one transfer */
#define PATH_LEN 4096

struct exfile {
	struct model model;
	int64_t mtime, ctime; /* ns, as last seen */
	uint64_t ino;
	bool allocated; /* since it was empty */
};

struct story {
	struct sim_random random;
	struct exercise_history history;
	uint64_t done, stop; /* operations */
	uint64_t counts[32]; /* of each kind */
	double spent[32];    /* seconds */
	struct exfile files[FILES];
};

struct shared {
	sem_t turn[EXERCISE_PROCESSES_MAX];          /* something to do: */
	uint64_t stories_of[EXERCISE_PROCESSES_MAX]; /* these; bits */
	sem_t lead;
	unsigned rounds; /* after each of which everything is closed */
	int ended;       /* with this one */
	int expired;     /* the seconds are over */
	struct story stories[STORIES];
};

enum kind { KIND_RW, KIND_RO, KIND_APPEND, KIND_DIRECT, KIND_DUP, KINDS };
static const char *const kind_names[KINDS] = {"rw", "ro", "append", "direct", "dup"};

struct map {
	uint8_t *at;
	uint64_t offset;
	size_t len;
};

/* What one process has open of one file. */
struct open_file {
	int fds[KINDS];
	struct map map;
};

struct run {
	const struct exercise_options *o;
	struct shared *shared;
	unsigned number; /* of this process */
	struct open_file open[STORIES][FILES];
	uint8_t *bytes; /* LEN_MAX and two pages, at a page's beginning */
};

/* One operation. */
struct act {
	struct run *run;
	struct story *story;
	struct exfile *file;
	struct open_file *open;
	unsigned number, index; /* of the story, of the file in it */
	struct timespec began;
};

/* How an operation moves st_mtime. */
enum moves { MOVES_NOT, MOVES_MAYBE, MOVES };

#define FAIL(a, ...) exercise_fail((a)->run->o, &(a)->story->history, (a)->story->done, __VA_ARGS__)
#define NOTE(a, ...) exercise_note_more(&(a)->story->history, __VA_ARGS__)

/* Where a SIGBUS is told. */
static struct act *acting;

static void path_of(const struct act *a, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "%s/story%u-%u", a->run->o->dir, a->number, a->index);
}

static uint64_t below(struct act *a, uint64_t n)
{
	return sim_random_below(&a->story->random, n);
}

static bool chance(struct act *a, unsigned percent)
{
	return below(a, 100) < percent;
}

static int64_t nanoseconds(const struct timespec *t)
{
	return t->tv_sec * 1000000000ll + t->tv_nsec;
}

/* Handles. */

static int fd_of(struct act *a, enum kind kind)
{
	static const int flags[KINDS] = {O_RDWR, O_RDONLY, O_RDWR | O_APPEND, O_RDWR | O_DIRECT, 0};
	int *fd = &a->open->fds[kind];
	char path[PATH_LEN];
	if (*fd >= 0)
		return *fd;
	if (kind == KIND_DUP) {
		*fd = dup(fd_of(a, KIND_RW));
	} else {
		path_of(a, path);
		*fd = open(path, flags[kind] | O_CLOEXEC);
		if (*fd < 0 && errno == EINVAL && kind == KIND_DIRECT && !a->run->o->strict)
			*fd = open(path, O_RDWR | O_CLOEXEC); /* not everywhere */
	}
	if (*fd < 0)
		FAIL(a, "open %s: %s", kind_names[kind], strerror(errno));
	NOTE(a, " opens-%s", kind_names[kind]);
	return *fd;
}

static void close_one(struct act *a, int *fd)
{
	if (*fd >= 0 && close(*fd) < 0)
		FAIL(a, "close: %s", strerror(errno));
	*fd = -1;
}

static void unmap(struct act *a)
{
	struct map *m = &a->open->map;
	if (m->at && munmap(m->at, m->len) < 0)
		FAIL(a, "munmap: %s", strerror(errno));
	m->at = NULL;
}

/* Where and how much. */

static uint64_t near(struct act *a, uint64_t at)
{
	static const unsigned far[] = {0, 1, 2, 8, 100, 4096};
	uint64_t by = below(a, far[below(a, 6)] + 1u);
	return chance(a, 50) ? at + by : at > by ? at - by : 0;
}

/* Every third story has data in all windows, the others in the first. */
static const struct model_window *any_window(struct act *a)
{
	return &model_windows[a->number % 3 == 2 ? below(a, MODEL_WINDOWS) : 0];
}

/* Within a window: at the end of the file, at a group's edge, at a block's, anywhere. */
static uint64_t draw_offset(struct act *a)
{
	/* In the first window a group begins behind 64, 192, 320 and 448 blocks; in two others in
	 * the middle. */
	const struct model_window *w = any_window(a);
	uint64_t at = 0, how = below(a, 100), blocks = w->blocks;
	if (chance(a, 50)) /* so that what is done meets what was done */
		blocks = blocks / 4;
	if (how < 25)
		at = near(a, a->file->model.size);
	else if (how < 45)
		at = near(a, w->start + (w->base ? w->blocks / 2 : 64 + 128 * below(a, 4)) *
						MODEL_BLOCK);
	else if (how < 75)
		at = near(a, w->start + below(a, blocks) * MODEL_BLOCK);
	else
		at = w->start + below(a, blocks * MODEL_BLOCK);
	return model_window(at) ? at : w->start + below(a, blocks * MODEL_BLOCK);
}

static size_t draw_len(struct act *a)
{
	uint64_t how = below(a, 100);
	if (how < 25)
		return (size_t)below(a, 100) + 1;
	if (how < 50)
		return (size_t)below(a, MODEL_BLOCK) + 1;
	if (how < 75)
		return (size_t)(below(a, 4) + 1) * MODEL_BLOCK;
	if (how < 85)
		return (size_t)(below(a, 4) + 1) * MODEL_BLOCK + (size_t)below(a, 3) - 1;
	if (how < 97)
		return (size_t)below(a, 64 << 10) + 1;
	return (size_t)below(a, LEN_MAX) + 1;
}

/* At most len bytes at offset are in its window; 0: it is in none. */
static size_t in_window(uint64_t offset, size_t len)
{
	const struct model_window *w = model_window(offset);
	uint64_t left = w ? w->start + (uint64_t)w->blocks * MODEL_BLOCK - offset : 0;
	return left < len ? (size_t)left : len;
}

/* The kernel asks for whole blocks of a direct handle on most filesystems; of ours it does not.
 * Returns by how much the memory is off a page's beginning. */
static size_t align(struct act *a, enum kind kind, uint64_t *offset, size_t *len)
{
	if (kind != KIND_DIRECT)
		return 0;
	if (a->run->o->strict && chance(a, 50))
		return (size_t)below(a, 64);
	*offset -= *offset % MODEL_BLOCK;
	*len = (*len + MODEL_BLOCK - 1) / MODEL_BLOCK * MODEL_BLOCK;
	return 0;
}

/* Bytes that tell which operation wrote them, and where. */
static void fill(struct act *a, uint8_t *to, uint64_t offset, size_t len)
{
	for (size_t done = 0; done < len;) {
		uint64_t word = (offset + done) / 8, at = (offset + done) % 8;
		uint64_t value = a->story->done << 32 |
				 (uint32_t)(word * 2654435761u + a->number * 2 + a->index);
		size_t n = 8 - at < len - done ? 8 - at : len - done;
		memcpy(to + done, (uint8_t *)&value + at, n);
		done += n;
	}
}

static uint64_t word_at(const uint8_t *bytes, size_t at, size_t len)
{
	uint64_t word = 0;
	memcpy(&word, bytes + at, len - at < 8 ? len - at : 8);
	return word;
}

/* Compares what was read. */
static void compare(struct act *a, const char *how, const uint8_t *got, uint64_t offset, size_t len)
{
	uint8_t want[16] = {0};
	size_t at = model_differs(&a->file->model, got, offset, len), last = at;
	if (at == len)
		return;
	for (size_t i = at; i < len; i++)
		if (model_differs(&a->file->model, got + i, offset + i, 1) == 0)
			last = i;
	uint64_t first = offset + at;
	/* A whole word, where that is possible, begins with the number of who wrote it. */
	if (first % 8 <= at) {
		at -= first % 8;
		first -= first % 8;
	}
	model_copy(&a->file->model, want, first, 8);
	uint64_t expected = word_at(want, 0, 8), found = word_at(got, at, len);
	FAIL(a,
		"%s of file %u at %llu, %zu bytes, size %llu: first difference at %llu (block %llu "
		"+ %llu), last at %llu: expected %016llx (of operation %llu), got %016llx (of "
		"operation %llu)",
		how, a->index, (unsigned long long)offset, len,
		(unsigned long long)a->file->model.size,
		(unsigned long long)(offset + model_differs(&a->file->model, got, offset, len)),
		(unsigned long long)(first / MODEL_BLOCK),
		(unsigned long long)(first % MODEL_BLOCK), (unsigned long long)(offset + last),
		(unsigned long long)expected, (unsigned long long)(expected >> 32),
		(unsigned long long)found, (unsigned long long)(found >> 32));
}

static size_t readable(const struct act *a, uint64_t offset, size_t len)
{
	uint64_t size = a->file->model.size;
	return offset >= size ? 0 : size - offset < len ? (size_t)(size - offset) : len;
}

/* Sizes, numbers and times after an operation. */
static void check_stat(struct act *a, const struct stat *st, enum moves moves)
{
	struct exfile *f = a->file;
	int64_t mtime = nanoseconds(&st->st_mtim), ctime = nanoseconds(&st->st_ctim);
	if ((uint64_t)st->st_size != f->model.size)
		FAIL(a, "file %u: st_size %lld, expected %llu", a->index, (long long)st->st_size,
			(unsigned long long)f->model.size);
	if (f->ino != st->st_ino)
		FAIL(a, "file %u: st_ino %llu, expected %llu", a->index,
			(unsigned long long)st->st_ino, (unsigned long long)f->ino);
	if (!S_ISREG(st->st_mode) || st->st_nlink != 1)
		FAIL(a, "file %u: mode %o, %llu links", a->index, st->st_mode,
			(unsigned long long)st->st_nlink);
	if (mtime < f->mtime || (moves == MOVES_NOT && mtime != f->mtime))
		FAIL(a, "file %u: st_mtime %lld.%09lld, before %lld.%09lld", a->index,
			(long long)mtime / 1000000000, (long long)mtime % 1000000000,
			(long long)f->mtime / 1000000000, (long long)f->mtime % 1000000000);
	if (ctime < f->ctime)
		FAIL(a, "file %u: st_ctime went back by %lld ns", a->index,
			(long long)(f->ctime - ctime));
	if (moves == MOVES && mtime < nanoseconds(&a->began))
		FAIL(a, "file %u: changed, and st_mtime is %lld ns earlier than that", a->index,
			(long long)(nanoseconds(&a->began) - mtime));
	f->mtime = mtime;
	f->ctime = ctime;
}

static void see(struct act *a, int fd, enum moves moves)
{
	struct stat st;
	char path[PATH_LEN];
	path_of(a, path);
	if ((fd >= 0 ? fstat(fd, &st) : stat(path, &st)) < 0)
		FAIL(a, "stat: %s", strerror(errno));
	check_stat(a, &st, moves);
}

/* The operations. Each notes what it does before it does it. */

static enum kind readable_kind(struct act *a)
{
	return (enum kind)below(a, KINDS);
}

static uint64_t draw_read(struct act *a)
{
	if (chance(a, 10) && a->file->model.size)
		return below(a, a->file->model.size);
	return draw_offset(a);
}

static void act_read(struct act *a)
{
	enum kind kind = readable_kind(a);
	uint64_t offset = draw_read(a);
	size_t len = draw_len(a), shift = align(a, kind, &offset, &len);
	NOTE(a, "read %s %llu+%zu", kind_names[kind], (unsigned long long)offset, len);
	int fd = fd_of(a, kind);
	ssize_t n = pread(fd, a->run->bytes + shift, len, (off_t)offset);
	if (n < 0 || (size_t)n != readable(a, offset, len))
		FAIL(a, "read: %zd (%s), expected %zu", n, n < 0 ? strerror(errno) : "",
			readable(a, offset, len));
	compare(a, "read", a->run->bytes + shift, offset, (size_t)n);
	see(a, fd, MOVES_NOT);
}

/* Up to five pieces of len bytes, some of them empty. */
static int pieces(struct act *a, uint8_t *bytes, size_t len, struct iovec iov[static 5])
{
	int n = (int)below(a, 4) + 1;
	size_t done = 0;
	for (int i = 0; i < n; i++) {
		size_t part = (size_t)below(a, len - done + 1);
		iov[i] = (struct iovec){bytes + done, part};
		done += part;
	}
	iov[n] = (struct iovec){bytes + done, len - done};
	return n + 1;
}

static void act_readv(struct act *a)
{
	enum kind kind = chance(a, 50) ? KIND_RW : KIND_RO;
	uint64_t offset = draw_read(a);
	size_t len = draw_len(a);
	struct iovec iov[5];
	int count = pieces(a, a->run->bytes, len, iov);
	NOTE(a, "readv %s %llu+%zu in %d", kind_names[kind], (unsigned long long)offset, len,
		count);
	int fd = fd_of(a, kind);
	ssize_t n = preadv(fd, iov, count, (off_t)offset);
	if (n < 0 || (size_t)n != readable(a, offset, len))
		FAIL(a, "readv: %zd (%s), expected %zu", n, n < 0 ? strerror(errno) : "",
			readable(a, offset, len));
	compare(a, "readv", a->run->bytes, offset, (size_t)n);
	see(a, fd, MOVES_NOT);
}

static void wrote(struct act *a, const char *how, ssize_t n, size_t len)
{
	if (n < 0 || (size_t)n != len)
		FAIL(a, "%s: %zd (%s), expected %zu", how, n, n < 0 ? strerror(errno) : "", len);
}

static void act_write(struct act *a)
{
	enum kind kind = chance(a, 70) ? KIND_RW : KIND_DIRECT;
	uint64_t offset = draw_offset(a);
	size_t len = draw_len(a), shift = align(a, kind, &offset, &len);
	uint8_t *bytes = a->run->bytes + shift;
	len = in_window(offset, len);
	NOTE(a, "write %s %llu+%zu", kind_names[kind], (unsigned long long)offset, len);
	int fd = fd_of(a, kind);
	fill(a, bytes, offset, len);
	wrote(a, "write", pwrite(fd, bytes, len, (off_t)offset), len);
	model_write(&a->file->model, bytes, offset, len);
	see(a, fd, MOVES);
}

static void act_writev(struct act *a)
{
	uint64_t offset = draw_offset(a);
	size_t len = in_window(offset, draw_len(a));
	struct iovec iov[5];
	int count = pieces(a, a->run->bytes, len, iov);
	NOTE(a, "writev %llu+%zu in %d", (unsigned long long)offset, len, count);
	int fd = fd_of(a, KIND_RW);
	fill(a, a->run->bytes, offset, len);
	wrote(a, "writev", pwritev(fd, iov, count, (off_t)offset), len);
	model_write(&a->file->model, a->run->bytes, offset, len);
	see(a, fd, MOVES);
}

static void act_append(struct act *a)
{
	uint64_t offset = a->file->model.size;
	size_t len = in_window(offset, draw_len(a));
	NOTE(a, "append %llu+%zu", (unsigned long long)offset, len);
	if (!len)
		return;
	int fd = fd_of(a, KIND_APPEND);
	fill(a, a->run->bytes, offset, len);
	/* Linux appends whatever offset pwrite is given. */
	wrote(a, "append",
		chance(a, 70) ? write(fd, a->run->bytes, len)
			      : pwrite(fd, a->run->bytes, len, (off_t)below(a, 100000)),
		len);
	model_write(&a->file->model, a->run->bytes, offset, len);
	see(a, fd, MOVES);
}

/* A handle and its duplicate have one position. */
static void act_position(struct act *a)
{
	uint64_t offset = draw_offset(a);
	bool writes = chance(a, 40);
	size_t len = draw_len(a);
	NOTE(a, "position %s %llu+%zu", writes ? "write" : "read", (unsigned long long)offset, len);
	int dup = fd_of(a, KIND_DUP), fd = fd_of(a, KIND_RW);
	/* The original may have been closed and opened anew. */
	close_one(a, &a->open->fds[KIND_DUP]);
	dup = fd_of(a, KIND_DUP);
	if (lseek(fd, (off_t)offset, SEEK_SET) != (off_t)offset)
		FAIL(a, "lseek: %s", strerror(errno));
	if (writes) {
		len = in_window(offset, len);
		fill(a, a->run->bytes, offset, len);
		wrote(a, "write", write(dup, a->run->bytes, len), len);
		model_write(&a->file->model, a->run->bytes, offset, len);
	} else {
		ssize_t n = read(dup, a->run->bytes, len);
		if (n < 0 || (size_t)n != readable(a, offset, len))
			FAIL(a, "read: %zd, expected %zu", n, readable(a, offset, len));
		len = (size_t)n;
		compare(a, "read", a->run->bytes, offset, len);
	}
	if (lseek(fd, 0, SEEK_CUR) != (off_t)(offset + len))
		FAIL(a, "the position is %lld", (long long)lseek(fd, 0, SEEK_CUR));
	see(a, dup, writes ? MOVES : MOVES_NOT);
}

/* A map that is kept, or a new one. */
static struct map *map_of(struct act *a)
{
	struct map *m = &a->open->map;
	if (m->at && chance(a, 70))
		return m;
	unmap(a);
	uint64_t offset = draw_offset(a) / MODEL_BLOCK * MODEL_BLOCK;
	size_t len = in_window(offset, ((size_t)below(a, 64) + 1) * MODEL_BLOCK);
	void *at = mmap(
		NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd_of(a, KIND_RW), (off_t)offset);
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
	size_t len = left < m->len ? (size_t)left : m->len, n = draw_len(a);
	if (!len)
		return false;
	*ret_at = (size_t)below(a, len);
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
	compare(a, "map", a->run->bytes, m->offset + at, len);
	see(a, -1, MOVES_NOT);
}

static void act_map_write(struct act *a)
{
	size_t at, len;
	NOTE(a, "map write");
	struct map *m = map_of(a);
	if (!map_part(a, m, a->file->model.size, &at, &len))
		return;
	NOTE(a, " %llu+%zu", (unsigned long long)(m->offset + at), len);
	fill(a, a->run->bytes, m->offset + at, len);
	memcpy(m->at + at, a->run->bytes, len);
	model_write(&a->file->model, a->run->bytes, m->offset + at, len);
	see(a, -1, MOVES_MAYBE);
	if (chance(a, 3) && msync(m->at, m->len, chance(a, 50) ? MS_SYNC : MS_ASYNC) < 0)
		FAIL(a, "msync: %s", strerror(errno));
}

static void act_unmap(struct act *a)
{
	NOTE(a, "unmap");
	unmap(a);
	see(a, -1, MOVES_NOT);
}

static uint64_t draw_size(struct act *a)
{
	uint64_t how = below(a, 100), size = a->file->model.size;
	if (how < 10)
		return 0;
	if (how < 20)
		return below(a, 100);
	if (how < 40)
		return near(a, size);
	return draw_offset(a);
}

static void act_truncate(struct act *a)
{
	uint64_t size = draw_size(a), before = a->file->model.size;
	char path[PATH_LEN];
	int fd = -1, r;
	if (chance(a, 60)) {
		NOTE(a, "ftruncate %llu", (unsigned long long)size);
		fd = fd_of(a, chance(a, 70) ? KIND_RW : KIND_DIRECT);
		r = ftruncate(fd, (off_t)size);
	} else {
		NOTE(a, "truncate %llu", (unsigned long long)size);
		path_of(a, path);
		r = truncate(path, (off_t)size);
	}
	if (r < 0)
		FAIL(a, "truncate: %s", strerror(errno));
	model_resize(&a->file->model, size);
	a->file->allocated &= size || !before;
	see(a, fd, size == before ? MOVES_MAYBE : MOVES);
}

static void act_open_truncate(struct act *a)
{
	uint64_t before = a->file->model.size;
	char path[PATH_LEN];
	NOTE(a, "open O_TRUNC");
	path_of(a, path);
	close_one(a, &a->open->fds[KIND_RW]);
	a->open->fds[KIND_RW] = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
	if (a->open->fds[KIND_RW] < 0)
		FAIL(a, "open O_TRUNC: %s", strerror(errno));
	model_resize(&a->file->model, 0);
	a->file->allocated &= !before;
	see(a, -1, before ? MOVES : MOVES_MAYBE);
}

/* false: this filesystem has no such mode. */
static bool allocate(struct act *a, int mode, uint64_t offset, size_t len, int *ret_fd)
{
	*ret_fd = fd_of(a, chance(a, 80) ? KIND_RW : KIND_DIRECT);
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
	uint64_t offset = draw_offset(a);
	size_t len = in_window(offset, draw_len(a));
	int fd, mode = chance(a, 50) ? FALLOC_FL_KEEP_SIZE : 0;
	NOTE(a, "allocate%s %llu+%zu", mode ? " keep" : "", (unsigned long long)offset, len);
	if (!allocate(a, mode, offset, len, &fd))
		return;
	allocated(a, offset + len, mode != 0);
	see(a, fd, MOVES_MAYBE);
}

static void act_punch(struct act *a)
{
	uint64_t offset = draw_offset(a);
	size_t len = in_window(offset, draw_len(a));
	int fd;
	NOTE(a, "punch %llu+%zu", (unsigned long long)offset, len);
	if (!allocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len, &fd))
		return;
	model_zero(&a->file->model, offset, offset + len);
	see(a, fd, MOVES_MAYBE);
}

static void act_zero(struct act *a)
{
	uint64_t offset = draw_offset(a);
	size_t len = in_window(offset, draw_len(a));
	int fd, keep = chance(a, 50) ? FALLOC_FL_KEEP_SIZE : 0;
	NOTE(a, "zero%s %llu+%zu", keep ? " keep" : "", (unsigned long long)offset, len);
	if (!allocate(a, FALLOC_FL_ZERO_RANGE | keep, offset, len, &fd))
		return;
	model_zero(&a->file->model, offset, offset + len);
	allocated(a, offset + len, keep != 0);
	see(a, fd, MOVES_MAYBE);
}

/* Within the file, or from the other one of the story. */
static void act_copy(struct act *a)
{
	struct act from = *a;
	if (chance(a, 60)) {
		from.index = !a->index;
		from.file = &a->story->files[from.index];
		from.open = &a->run->open[a->number][from.index];
	}
	uint64_t at = draw_read(&from), to = draw_offset(a);
	size_t len = in_window(to, draw_len(a)), want;
	if (from.file == a->file && at < to + len && to < at + len) {
		NOTE(a, "copy would overlap");
		return;
	}
	NOTE(a, "copy file %u %llu to %llu+%zu", from.index, (unsigned long long)at,
		(unsigned long long)to, len);
	int in = fd_of(&from, chance(a, 50) ? KIND_RO : KIND_RW), out = fd_of(a, KIND_RW);
	off_t in_at = (off_t)at, out_at = (off_t)to;
	want = readable(&from, at, len);
	ssize_t n = copy_file_range(in, &in_at, out, &out_at, len, 0);
	/* It may be short, but not nothing. */
	if (n < 0 || (size_t)n > want || (want && !n))
		FAIL(a, "copy: %zd (%s), expected %zu", n, n < 0 ? strerror(errno) : "", want);
	if (in_at != (off_t)at + n || out_at != (off_t)to + n)
		FAIL(a, "copy: positions %lld and %lld", (long long)in_at, (long long)out_at);
	model_copy(&from.file->model, a->run->bytes, at, (size_t)n);
	model_write(&a->file->model, a->run->bytes, to, (size_t)n);
	see(a, out, n ? MOVES : MOVES_MAYBE);
}

/* After a flush, blocks are as many as were written, and not many more than have space. The
 * kernel's own number may be older than that; it asks anew after a close. */
static void check_blocks(struct act *a, bool ask)
{
	const struct model *m = &a->file->model;
	struct statx st;
	char path[PATH_LEN];
	path_of(a, path);
	if (statx(AT_FDCWD, path, ask ? AT_STATX_FORCE_SYNC : 0, STATX_BASIC_STATS, &st) < 0)
		FAIL(a, "statx: %s", strerror(errno));
	uint64_t least = 8ull * model_count(m);
	/* Headers, tags, presence; and allocating takes all from the beginning of a group. */
	uint64_t most = 8ull * (a->file->allocated ? MODEL_BLOCKS + 64 : model_count(m) + 64);
	if (a->run->o->strict && (st.stx_blocks < least || st.stx_blocks > most))
		FAIL(a, "st_blocks %llu, expected %llu to %llu", (unsigned long long)st.stx_blocks,
			(unsigned long long)least, (unsigned long long)most);
}

static void act_sync(struct act *a)
{
	enum kind kind = (enum kind)below(a, KINDS);
	bool data = chance(a, 50);
	NOTE(a, "%s %s", data ? "fdatasync" : "fsync", kind_names[kind]);
	int fd = fd_of(a, kind);
	if ((data ? fdatasync(fd) : fsync(fd)) < 0)
		FAIL(a, "fsync: %s", strerror(errno));
	see(a, fd, MOVES_NOT);
	check_blocks(a, true);
}

/* The kernel writes its cache, and forgets it: the next read is one of the filesystem. */
static void act_uncache(struct act *a)
{
	NOTE(a, "uncache");
	int fd = fd_of(a, KIND_RW);
	if (sync_file_range(fd, 0, 0,
		    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			    SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		FAIL(a, "sync_file_range: %s", strerror(errno));
	if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		FAIL(a, "posix_fadvise");
	see(a, fd, MOVES_NOT);
}

static void act_close(struct act *a)
{
	enum kind kind = (enum kind)below(a, KINDS);
	bool open = a->open->fds[kind] >= 0;
	NOTE(a, "close %s", kind_names[kind]);
	close_one(a, &a->open->fds[kind]);
	see(a, -1, MOVES_NOT);
	if (open)
		check_blocks(a, false);
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
		const uint8_t *bytes =
			model_at(m, end, readable(a, end, MODEL_BLOCK - end % MODEL_BLOCK), &run);
		for (size_t i = 0; bytes && i < run; i++)
			if (bytes[i])
				FAIL(a, "seek: a hole at %llu, where data is",
					(unsigned long long)end);
	}
}

static void act_seek(struct act *a)
{
	bool data = chance(a, 50);
	uint64_t offset = draw_read(a), size = a->file->model.size;
	NOTE(a, "seek %s %llu", data ? "data" : "hole", (unsigned long long)offset);
	int fd = fd_of(a, chance(a, 50) ? KIND_RO : KIND_RW);
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
	see(a, fd, MOVES_NOT);
}

static void act_look(struct act *a)
{
	NOTE(a, "stat");
	see(a, -1, MOVES_NOT);
}

static void act_drop(struct act *a)
{
	unsigned what = (unsigned)below(a, 3) + 1;
	NOTE(a, "drop caches %u", what);
	if (a->run->o->caches && chance(a, 10))
		exercise_drop_caches(what);
	see(a, -1, MOVES_NOT);
}

static const struct {
	const char *name;
	void (*act)(struct act *a);
	unsigned weight;
} acts[] = {
	{"read", act_read, 180},
	{"readv", act_readv, 40},
	{"map read", act_map_read, 120},
	{"write", act_write, 160},
	{"writev", act_writev, 50},
	{"append", act_append, 60},
	{"position", act_position, 60},
	{"map write", act_map_write, 120},
	{"unmap", act_unmap, 10},
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
};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

static unsigned draw_act(struct sim_random *r)
{
	unsigned all = 0, i = 0;
	for (unsigned n = 0; n < ACTS; n++)
		all += acts[n].weight;
	for (uint64_t at = sim_random_below(r, all); at >= acts[i].weight; i++)
		at -= acts[i].weight;
	return i;
}

static void set_file(struct act *a, unsigned index)
{
	a->index = index;
	a->file = &a->story->files[index];
	a->open = &a->run->open[a->number][index];
}

static void one(struct act *a)
{
	struct story *s = a->story;
	set_file(a, (unsigned)sim_random_below(&s->random, FILES));
	unsigned what = draw_act(&s->random);
	s->done++;
	s->counts[what]++;
	exercise_note(&s->history,
		"%llu: process %u, story %u, file %u (%llu): ", (unsigned long long)s->done,
		a->run->number, a->number, a->index, (unsigned long long)a->file->model.size);
	clock_gettime(CLOCK_REALTIME_COARSE, &a->began);
	acting = a;
	double began = exercise_clock();
	acts[what].act(a);
	s->spent[what] += exercise_clock() - began;
}

/* To whom the story says. */
static void hand_on(struct run *r, unsigned number)
{
	struct story *s = &r->shared->stories[number];
	unsigned to = (unsigned)sim_random_below(&s->random, r->o->processes);
	__atomic_or_fetch(&r->shared->stories_of[to], 1ull << number, __ATOMIC_SEQ_CST);
	sem_post(&r->shared->turn[to]);
}

static void take_turn(struct run *r, unsigned number)
{
	struct story *s = &r->shared->stories[number];
	struct act a = {.run = r, .story = s, .number = number};
	uint64_t many = sim_random_below(&s->random, 8) + 1;
	for (uint64_t i = 0; i < many && s->done < s->stop; i++)
		one(&a);
	if (s->done >= s->stop || __atomic_load_n(&r->shared->expired, __ATOMIC_SEQ_CST))
		sem_post(&r->shared->lead);
	else
		hand_on(r, number);
}

static void close_all(struct run *r)
{
	for (unsigned s = 0; s < STORIES; s++)
		for (unsigned f = 0; f < FILES; f++) {
			struct act a = {.run = r, .story = &r->shared->stories[s], .number = s};
			set_file(&a, f);
			unmap(&a);
			for (unsigned k = 0; k < KINDS; k++)
				close_one(&a, &a.open->fds[k]);
		}
}

static void on_bus(int signal)
{
	(void)signal;
	FAIL(acting, "SIGBUS of a map at %llu+%zu, size %llu",
		(unsigned long long)acting->open->map.offset, acting->open->map.len,
		(unsigned long long)acting->file->model.size);
}

static void run_init(struct run *r)
{
	for (unsigned s = 0; s < STORIES; s++)
		for (unsigned f = 0; f < FILES; f++)
			for (unsigned k = 0; k < KINDS; k++)
				r->open[s][f].fds[k] = -1;
	r->bytes = exercise_shared(LEN_MAX + 2 * MODEL_BLOCK);
	signal(SIGBUS, on_bus);
}

static void wait_for(sem_t *s)
{
	while (sem_wait(s) < 0)
		;
}

static void work(unsigned number, void *context)
{
	struct run r = *(struct run *)context;
	struct shared *sh = r.shared;
	r.number = number;
	run_init(&r);
	for (unsigned closed = 0;;) {
		wait_for(&sh->turn[number]);
		uint64_t mine = __atomic_exchange_n(&sh->stories_of[number], 0, __ATOMIC_SEQ_CST);
		for (unsigned s = 0; s < STORIES; s++)
			if (mine & 1ull << s)
				take_turn(&r, s);
		/* Two stories may have been taken at one wake: there are wakes for nothing. */
		unsigned rounds = __atomic_load_n(&sh->rounds, __ATOMIC_SEQ_CST);
		if (mine || rounds == closed)
			continue;
		close_all(&r);
		closed = rounds;
		bool ended = __atomic_load_n(&sh->ended, __ATOMIC_SEQ_CST);
		sem_post(&sh->lead);
		if (ended)
			return;
	}
}

/* The leader, between rounds. */

static void make_files(struct run *r)
{
	char path[PATH_LEN];
	struct stat st;
	for (unsigned s = 0; s < STORIES; s++)
		for (unsigned f = 0; f < FILES; f++) {
			struct act a = {.run = r, .story = &r->shared->stories[s], .number = s};
			set_file(&a, f);
			path_of(&a, path);
			int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
			if (fd < 0 || fstat(fd, &st) < 0 || close(fd) < 0) {
				fprintf(stderr, "%s: %s\n", path, strerror(errno));
				exit(2);
			}
			a.file->ino = st.st_ino;
			a.file->mtime = nanoseconds(&st.st_mtim);
		}
}

/* All windows, and some of what lies between them. */
static void compare_file(struct act *a)
{
	const struct model *m = &a->file->model;
	exercise_note(&a->story->history, "after %llu: all of file %u (%llu)",
		(unsigned long long)a->story->done, a->index, (unsigned long long)m->size);
	see(a, -1, MOVES_NOT);
	int fd = fd_of(a, KIND_RO);
	for (unsigned w = 0; w < MODEL_WINDOWS; w++) {
		uint64_t end = model_windows[w].start +
			       (uint64_t)(model_windows[w].blocks + 8) * MODEL_BLOCK;
		uint64_t at = model_windows[w].start;
		at = at > 8 * MODEL_BLOCK ? at - 8 * MODEL_BLOCK : 0;
		for (; at < end && at < m->size; at += LEN_MAX) {
			ssize_t n = pread(fd, a->run->bytes, LEN_MAX, (off_t)at);
			if (n < 0 || (size_t)n != readable(a, at, LEN_MAX))
				FAIL(a, "read of all: %zd (%s)", n, n < 0 ? strerror(errno) : "");
			compare(a, "read of all", a->run->bytes, at, (size_t)n);
		}
	}
	for (uint64_t at = 0, want; at < m->size && a->run->o->strict; at = want) {
		bool data = !model_written(m, at);
		want = model_seek(m, at, data);
		int64_t got = lseek(fd, (off_t)at, data ? SEEK_DATA : SEEK_HOLE);
		if ((uint64_t)got != want)
			FAIL(a, "seek %s from %llu: %lld, expected %lld", data ? "data" : "hole",
				(unsigned long long)at, (long long)got, (long long)want);
	}
	close_one(a, &a->open->fds[KIND_RO]);
	see(a, -1, MOVES_NOT);
}

static void compare_all(struct run *r)
{
	for (unsigned s = 0; s < STORIES; s++)
		for (unsigned f = 0; f < FILES; f++) {
			struct act a = {.run = r, .story = &r->shared->stories[s], .number = s};
			set_file(&a, f);
			compare_file(&a);
		}
}

static uint64_t operations(const struct shared *sh)
{
	uint64_t n = 0;
	for (unsigned s = 0; s < STORIES; s++)
		n += sh->stories[s].done;
	return n;
}

/* Until all stories have done their share of this round, or the seconds are over. */
static void round_end(struct run *r, double until)
{
	for (unsigned left = STORIES; left;) {
		struct timespec t;
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 100000000;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
		if (sem_timedwait(&r->shared->lead, &t) == 0)
			left--;
		if (until > 0 && exercise_clock() >= until)
			__atomic_store_n(&r->shared->expired, 1, __ATOMIC_SEQ_CST);
	}
}

static void everybody_closes(struct run *r)
{
	__atomic_add_fetch(&r->shared->rounds, 1, __ATOMIC_SEQ_CST);
	for (unsigned p = 0; p < r->o->processes; p++)
		sem_post(&r->shared->turn[p]);
	for (unsigned p = 0; p < r->o->processes; p++)
		wait_for(&r->shared->lead);
}

static void lead(void *context)
{
	struct run *r = context;
	struct shared *sh = r->shared;
	double began = exercise_clock(), until = r->o->seconds > 0 ? began + r->o->seconds : 0;
	unsigned rounds = 0, remounts = 0;
	while (!sh->expired && sh->stories[0].done < r->o->operations) {
		for (unsigned s = 0; s < STORIES; s++) {
			struct story *story = &sh->stories[s];
			story->stop = story->done + r->o->round < r->o->operations
					      ? story->done + r->o->round
					      : r->o->operations;
			hand_on(r, s);
		}
		round_end(r, until);
		sh->ended = sh->expired || sh->stories[0].done >= r->o->operations;
		everybody_closes(r);
		rounds++;
		compare_all(r);
		if (r->o->remount && exercise_remount()) {
			remounts++;
			compare_all(r);
		}
	}
	double took = exercise_clock() - began;
	printf("%llu operations in %.1f s (%.0f a second), %u rounds, %u remounts, seed %llu\n",
		(unsigned long long)operations(sh), took, (double)operations(sh) / took, rounds,
		remounts, (unsigned long long)r->o->seed);
	for (unsigned i = 0; i < ACTS && getenv("EXERCISE_COUNTS"); i++) {
		uint64_t n = 0;
		double spent = 0;
		for (unsigned s = 0; s < STORIES; s++) {
			n += sh->stories[s].counts[i];
			spent += sh->stories[s].spent[i];
		}
		printf("  %s: %llu, %.1f s\n", acts[i].name, (unsigned long long)n, spent);
	}
}

int main(int argc, char **argv)
{
	struct exercise_options o;
	exercise_options(argc, argv, &o);
	struct run r = {.o = &o, .shared = exercise_shared(sizeof(struct shared))};
	struct shared *sh = r.shared;
	run_init(&r);
	sem_init(&sh->lead, 1, 0);
	for (unsigned p = 0; p < o.processes; p++)
		sem_init(&sh->turn[p], 1, 0);
	for (unsigned s = 0; s < STORIES; s++)
		sh->stories[s].random.state = o.seed * STORIES + s;
	make_files(&r);
	exercise_run(&o, work, lead, &r);
	return 0;
}
