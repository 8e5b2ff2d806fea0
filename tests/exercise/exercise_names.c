/* Operations on names: a file is replaced or removed while others have it open, and lives on. */
#include "tests/exercise/exercise_story.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

/* One that nothing lives in, or -1. */
static int free_object(const struct act *a)
{
	for (unsigned i = 0; i < OBJECTS; i++)
		if (!a->story->files[i].used)
			return (int)i;
	return -1;
}

/* It has a name, or somebody has it open: nothing else may have its number. */
static bool lives(const struct act *a, unsigned object)
{
	const struct exfile *f = &a->story->files[object];
	const struct open_file *o = &a->run->open[a->number][object];
	return f->used && (f->named || f->holders || story_has_fd(o) || o->map.at);
}

/* What has just been made, with its handle. */
static void born(struct act *a, unsigned object, int fd)
{
	struct stat st;
	story_set(a, object);
	struct exfile *f = a->file;
	if (fstat(fd, &st) < 0)
		FAIL(a, "stat of what was made: %s", strerror(errno));
	for (unsigned i = 0; i < OBJECTS; i++)
		if (lives(a, i) && a->story->files[i].ino == st.st_ino)
			FAIL(a, "st_ino %llu is that of file %u", (unsigned long long)st.st_ino, i);
	model_resize(&f->model, 0);
	f->ino = st.st_ino;
	f->mtime = story_ns(&st.st_mtim);
	f->ctime = story_ns(&st.st_ctim);
	f->mode = st.st_mode & 07777;
	f->allocated = false;
	f->used = f->named = true;
	a->open->fds[KIND_RW] = fd;
}

static int make(struct act *a, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, a->run->o->users ? 0660 : 0600);
	if (fd < 0)
		FAIL(a, "create: %s", strerror(errno));
	return fd;
}

/* Something in it, flushed or not; the handle stays or not. */
static void begin(struct act *a)
{
	int fd = a->open->fds[KIND_RW];
	size_t len = story_in_window(0, story_len(a));
	if (story_chance(a, 60)) {
		story_fill(a, a->run->bytes, 0, len);
		story_wrote(a, "write", pwrite(fd, a->run->bytes, len, 0), len);
		model_write(&a->file->model, a->run->bytes, 0, len);
	}
	if (story_chance(a, 20) && fsync(fd) < 0)
		FAIL(a, "fsync: %s", strerror(errno));
	if (story_chance(a, 50))
		story_close(a, &a->open->fds[KIND_RW]);
}

/* The name's file goes, and another takes its place; whoever has it open goes on. */
static void act_replace(struct act *a)
{
	char path[PATH_LEN], fresh_path[PATH_LEN];
	unsigned old = a->story->named[a->name];
	int fresh = free_object(a);
	bool renames = story_chance(a, 60), first = story_chance(a, 60),
	     holds = story_chance(a, 70);
	NOTE(a, "%s %u", renames ? "replace" : "remove", a->name);
	if (fresh < 0) {
		NOTE(a, ": too many are open");
		return;
	}
	story_set(a, old);
	if (holds)
		(void)story_fd(a, KIND_RW);
	story_name(a, a->name, path);
	story_name(a, FILES, fresh_path);
	if (!renames && unlink(path) < 0)
		FAIL(a, "unlink: %s", strerror(errno));
	if (!renames && access(path, F_OK) == 0)
		FAIL(a, "a removed file is still there");
	if (!renames)
		a->file->named = false;
	born(a, (unsigned)fresh, make(a, renames ? fresh_path : path));
	a->file->name = renames ? FILES : a->name;
	if (renames && first)
		begin(a);
	if (renames && rename(fresh_path, path) < 0)
		FAIL(a, "rename: %s", strerror(errno));
	a->file->name = a->name;
	a->story->named[a->name] = (unsigned)fresh;
	story_see(a, -1, first ? MOVES_MAYBE : MOVES_NOT);
	if (!(renames && first) && a->open->fds[KIND_RW] >= 0)
		begin(a);
	story_see(a, -1, MOVES_MAYBE);
	story_set(a, old);
	a->file->named = false;
	story_see(a, -1, MOVES_NOT);
}

static void act_exchange(struct act *a)
{
	char one[PATH_LEN], two[PATH_LEN];
	unsigned *named = a->story->named, first = named[0];
	NOTE(a, "exchange");
	story_name(a, 0, one);
	story_name(a, 1, two);
	if (renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE) < 0)
		FAIL(a, "exchange: %s", strerror(errno));
	named[0] = named[1];
	named[1] = first;
	for (unsigned n = 0; n < FILES; n++) {
		story_set(a, named[n]);
		a->file->name = n;
		story_see(a, -1, MOVES_NOT);
	}
}

const struct act_kind names_acts[] = {
	{"replace", act_replace, 14},
	{"exchange", act_exchange, 4},
	{0},
};
