#include "tests/exercise/exercise_story.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const story_kinds[KINDS] = {"rw", "ro", "append", "direct", "dup"};

void story_name(const struct act *a, unsigned name, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "%s/story%u-%u", a->run->o->dir, a->number, name);
}

bool story_has_fd(const struct open_file *o)
{
	for (unsigned k = 0; k < KINDS; k++)
		if (o->fds[k] >= 0)
			return true;
	return false;
}

bool story_path(const struct act *a, char path[static PATH_LEN])
{
	if (a->file->named) {
		story_name(a, a->file->name, path);
		return true;
	}
	for (unsigned k = 0; k < KINDS; k++)
		if (a->open->fds[k] >= 0) {
			snprintf(path, PATH_LEN, "/proc/self/fd/%d", a->open->fds[k]);
			return true;
		}
	return false;
}

void story_set(struct act *a, unsigned object)
{
	a->index = object;
	a->file = &a->story->files[object];
	a->open = &a->run->open[a->number][object];
}

void story_held(struct act *a)
{
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct exfile *f = &a->story->files[i];
		const struct open_file *o = &a->run->open[a->number][i];
		uint32_t me = 1u << a->run->number;
		if (story_has_fd(o) || o->map.at)
			__atomic_or_fetch(&f->holders, me, __ATOMIC_SEQ_CST);
		else if (__atomic_and_fetch(&f->holders, ~me, __ATOMIC_SEQ_CST) == 0 && !f->named)
			f->used = false;
	}
}

uint64_t story_below(struct act *a, uint64_t n)
{
	return sim_random_below(&a->story->random, n);
}

bool story_chance(struct act *a, unsigned percent)
{
	return story_below(a, 100) < percent;
}

int64_t story_ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000ll + t->tv_nsec;
}

/* Handles. */

int story_fd(struct act *a, enum kind kind)
{
	static const int flags[KINDS] = {O_RDWR, O_RDONLY, O_RDWR | O_APPEND, O_RDWR | O_DIRECT, 0};
	int *fd = &a->open->fds[kind];
	char path[PATH_LEN];
	if (*fd >= 0)
		return *fd;
	if (kind == KIND_DUP) {
		*fd = dup(story_fd(a, KIND_RW));
	} else {
		if (!story_path(a, path))
			FAIL(a, "file %u has neither name nor handle", a->index);
		*fd = open(path, flags[kind] | O_CLOEXEC);
		if (*fd < 0 && errno == EINVAL && kind == KIND_DIRECT && !a->run->o->strict)
			*fd = open(path, O_RDWR | O_CLOEXEC); /* not everywhere */
	}
	if (*fd < 0)
		FAIL(a, "open %s: %s", story_kinds[kind], strerror(errno));
	NOTE(a, " opens-%s", story_kinds[kind]);
	return *fd;
}

void story_close(struct act *a, int *fd)
{
	if (*fd >= 0 && close(*fd) < 0)
		FAIL(a, "close: %s", strerror(errno));
	*fd = -1;
}

void story_unmap(struct act *a)
{
	struct map *m = &a->open->map;
	if (m->at && munmap(m->at, m->len) < 0)
		FAIL(a, "munmap: %s", strerror(errno));
	m->at = NULL;
}

/* Where and how much. */

uint64_t story_near(struct act *a, uint64_t at)
{
	static const unsigned far[] = {0, 1, 2, 8, 100, 4096};
	uint64_t by = story_below(a, far[story_below(a, 6)] + 1u);
	return story_chance(a, 50) ? at + by : at > by ? at - by : 0;
}

/* Every third story has data in all windows, the others in the first. */
static const struct model_window *any_window(struct act *a)
{
	return &model_windows[a->number % 3 == 2 ? story_below(a, MODEL_WINDOWS) : 0];
}

/* Within a window: at the end of the file, at a group's edge, at a block's, anywhere. */
uint64_t story_offset(struct act *a)
{
	/* In the first window a group begins behind 64, 192, 320 and 448 blocks; in two others in
	 * the middle. */
	const struct model_window *w = any_window(a);
	uint64_t at = 0, how = story_below(a, 100), blocks = w->blocks;
	if (story_chance(a, 50)) /* so that what is done meets what was done */
		blocks = blocks / 4;
	if (how < 25)
		at = story_near(a, a->file->model.size);
	else if (how < 45)
		at = story_near(
			a, w->start + (w->base ? w->blocks / 2 : 64 + 128 * story_below(a, 4)) *
					      MODEL_BLOCK);
	else if (how < 75)
		at = story_near(a, w->start + story_below(a, blocks) * MODEL_BLOCK);
	else
		at = w->start + story_below(a, blocks * MODEL_BLOCK);
	return model_window(at) ? at : w->start + story_below(a, blocks * MODEL_BLOCK);
}

size_t story_len(struct act *a)
{
	uint64_t how = story_below(a, 100);
	if (how < 25)
		return (size_t)story_below(a, 100) + 1;
	if (how < 50)
		return (size_t)story_below(a, MODEL_BLOCK) + 1;
	if (how < 75)
		return (size_t)(story_below(a, 4) + 1) * MODEL_BLOCK;
	if (how < 85)
		return (size_t)(story_below(a, 4) + 1) * MODEL_BLOCK + (size_t)story_below(a, 3) -
		       1;
	if (how < 97)
		return (size_t)story_below(a, 64 << 10) + 1;
	return (size_t)story_below(a, LEN_MAX) + 1;
}

/* At most len bytes at offset are in its window; 0: it is in none. */
size_t story_in_window(uint64_t offset, size_t len)
{
	const struct model_window *w = model_window(offset);
	uint64_t left = w ? w->start + (uint64_t)w->blocks * MODEL_BLOCK - offset : 0;
	return left < len ? (size_t)left : len;
}

/* The kernel asks for whole blocks of a direct handle on most filesystems; of ours it does not.
 * Returns by how much the memory is off a page's beginning. */
size_t story_align(struct act *a, enum kind kind, uint64_t *offset, size_t *len)
{
	if (kind != KIND_DIRECT)
		return 0;
	if (a->run->o->strict && story_chance(a, 50))
		return (size_t)story_below(a, 64);
	*offset -= *offset % MODEL_BLOCK;
	*len = (*len + MODEL_BLOCK - 1) / MODEL_BLOCK * MODEL_BLOCK;
	return 0;
}

/* Bytes that tell which operation wrote them, and where. */
void story_fill(struct act *a, uint8_t *to, uint64_t offset, size_t len)
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
void story_compare(struct act *a, const char *how, const uint8_t *got, uint64_t offset, size_t len)
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

size_t story_readable(const struct act *a, uint64_t offset, size_t len)
{
	uint64_t size = a->file->model.size;
	return offset >= size ? 0 : size - offset < len ? (size_t)(size - offset) : len;
}

/* Sizes, numbers and times after an operation. */
static void check_stat(struct act *a, const struct stat *st, enum moves moves)
{
	struct exfile *f = a->file;
	int64_t mtime = story_ns(&st->st_mtim), ctime = story_ns(&st->st_ctim);
	if ((uint64_t)st->st_size != f->model.size)
		FAIL(a, "file %u: st_size %lld, expected %llu", a->index, (long long)st->st_size,
			(unsigned long long)f->model.size);
	if (f->ino != st->st_ino)
		FAIL(a, "file %u: st_ino %llu, expected %llu", a->index,
			(unsigned long long)st->st_ino, (unsigned long long)f->ino);
	if (st->st_mode != (S_IFREG | f->mode) || st->st_nlink != f->named)
		FAIL(a, "file %u: mode %o, %llu links", a->index, st->st_mode,
			(unsigned long long)st->st_nlink);
	if (mtime < f->mtime || (moves == MOVES_NOT && mtime != f->mtime))
		FAIL(a, "file %u: st_mtime %lld.%09lld, before %lld.%09lld", a->index,
			(long long)mtime / 1000000000, (long long)mtime % 1000000000,
			(long long)f->mtime / 1000000000, (long long)f->mtime % 1000000000);
	if (ctime < f->ctime)
		FAIL(a, "file %u: st_ctime went back by %lld ns", a->index,
			(long long)(f->ctime - ctime));
	if (moves == MOVES && mtime < story_ns(&a->began))
		FAIL(a, "file %u: changed, and st_mtime is %lld ns earlier than that", a->index,
			(long long)(story_ns(&a->began) - mtime));
	f->mtime = mtime;
	f->ctime = ctime;
}

void story_see(struct act *a, int fd, enum moves moves)
{
	struct stat st;
	char path[PATH_LEN];
	if (fd < 0 && !story_path(a, path))
		return;
	if ((fd >= 0 ? fstat(fd, &st) : stat(path, &st)) < 0)
		FAIL(a, "stat: %s", strerror(errno));
	check_stat(a, &st, moves);
}

uint64_t story_read_offset(struct act *a)
{
	if (story_chance(a, 10) && a->file->model.size)
		return story_below(a, a->file->model.size);
	return story_offset(a);
}

void story_wrote(struct act *a, const char *how, ssize_t n, size_t len)
{
	if (n < 0 || (size_t)n != len)
		FAIL(a, "%s: %zd (%s), expected %zu", how, n, n < 0 ? strerror(errno) : "", len);
}

/* After a flush, blocks are as many as were written, and not many more than have space. The
 * kernel's own number may be older than that; it asks anew after a close. */
void story_blocks(struct act *a, bool ask)
{
	const struct model *m = &a->file->model;
	struct statx st;
	char path[PATH_LEN];
	if (!story_path(a, path))
		return;
	if (statx(AT_FDCWD, path, ask ? AT_STATX_FORCE_SYNC : 0, STATX_BASIC_STATS, &st) < 0)
		FAIL(a, "statx: %s", strerror(errno));
	uint64_t least = 8ull * model_count(m);
	/* Headers, tags, presence; and allocating takes all from the beginning of a group. */
	uint64_t most = 8ull * (a->file->allocated ? MODEL_BLOCKS + 64 : model_count(m) + 64);
	/* xfs takes more than it is asked for behind the end, and gives it back when it likes. */
	if (a->run->o->preallocates)
		most = UINT64_MAX;
	if (a->run->o->strict && (st.stx_blocks < least || st.stx_blocks > most))
		FAIL(a, "st_blocks %llu, expected %llu to %llu", (unsigned long long)st.stx_blocks,
			(unsigned long long)least, (unsigned long long)most);
}
