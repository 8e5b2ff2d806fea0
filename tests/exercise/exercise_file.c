/*
 * Random calls on files by several processes, against a model in memory.
 *
 * A story is two files and a source of random numbers. Whoever has a story's turn does its next few
 * operations, each compared with the model, and hands it to the process that the story drew; the
 * processes work at different stories at the same time, and meet in each with handles and maps that
 * they keep. A file may lose its name meanwhile, and lives on in them (exercise_names.c). So a
 * story is the same again from the same seed, whoever is faster.
 */
#include "tests/exercise/exercise_story.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where a SIGBUS is told. */
static struct act *acting;

/* A kind of operation, of all tables. */
static struct act_kind act_at(unsigned i)
{
	static const struct act_kind *const tables[] = {content_acts, space_acts, names_acts};
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct act_kind *k = tables[t]; k->weight; k++)
			if (i-- == 0)
				return *k;
	return (struct act_kind){0};
}

static unsigned draw_act(struct sim_random *r)
{
	unsigned all = 0, i = 0;
	for (unsigned n = 0; act_at(n).weight; n++)
		all += act_at(n).weight;
	for (uint64_t at = sim_random_below(r, all); at >= act_at(i).weight; i++)
		at -= act_at(i).weight;
	return i;
}

/* Of those that this process has open and that have no name, or -1. */
static int nameless(struct act *a)
{
	unsigned at = (unsigned)story_below(a, OBJECTS);
	for (unsigned n = 0; n < OBJECTS; n++, at = (at + 1) % OBJECTS) {
		const struct exfile *f = &a->story->files[at];
		if (f->used && !f->named && f->holders & 1u << a->run->number)
			return (int)at;
	}
	return -1;
}

static void one(struct act *a)
{
	struct story *s = a->story;
	a->name = (unsigned)sim_random_below(&s->random, FILES);
	int object = story_chance(a, 20) ? nameless(a) : -1;
	story_set(a, object < 0 ? s->named[a->name] : (unsigned)object);
	unsigned what = draw_act(&s->random);
	/* Of a map alone no more can be had. */
	if (!a->file->named && !story_has_fd(a->open))
		for (what = 0; strcmp(act_at(what).name, "unmap") != 0; what++)
			;
	s->done++;
	s->counts[what]++;
	s->nameless += object >= 0;
	exercise_note(&s->history,
		"%llu: process %u, story %u, file %u%s (%llu): ", (unsigned long long)s->done,
		a->run->number, a->number, a->index, a->file->named ? "" : " without a name",
		(unsigned long long)a->file->model.size);
	clock_gettime(CLOCK_REALTIME_COARSE, &a->began);
	acting = a;
	double began = exercise_clock();
	act_at(what).act(a);
	s->spent[what] += exercise_clock() - began;
	story_held(a);
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
		for (unsigned f = 0; f < OBJECTS; f++) {
			struct act a = {.run = r, .story = &r->shared->stories[s], .number = s};
			story_set(&a, f);
			story_unmap(&a);
			for (unsigned k = 0; k < KINDS; k++)
				story_close(&a, &a.open->fds[k]);
			story_held(&a);
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
		for (unsigned f = 0; f < OBJECTS; f++)
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
			const struct exercise_options *o = r->o;
			story_set(&a, f);
			story_name(&a, f, path);
			int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
			if (fd < 0 ||
				(o->users && (fchown(fd, o->uids[f % 2], o->gid) < 0 ||
						     fchmod(fd, 0660) < 0)) ||
				fstat(fd, &st) < 0 || close(fd) < 0) {
				fprintf(stderr, "%s: %s\n", path, strerror(errno));
				exit(2);
			}
			a.file->used = a.file->named = true;
			a.file->name = a.story->named[f] = f;
			a.file->mode = st.st_mode & 07777;
			a.file->ino = st.st_ino;
			a.file->mtime = story_ns(&st.st_mtim);
		}
}

/* All windows, and some of what lies between them. */
static void compare_file(struct act *a)
{
	const struct model *m = &a->file->model;
	exercise_note(&a->story->history, "after %llu: all of file %u (%llu)",
		(unsigned long long)a->story->done, a->index, (unsigned long long)m->size);
	story_see(a, -1, MOVES_NOT);
	int fd = story_fd(a, KIND_RO);
	for (unsigned w = 0; w < MODEL_WINDOWS; w++) {
		uint64_t end = model_windows[w].start +
			       (uint64_t)(model_windows[w].blocks + 8) * MODEL_BLOCK;
		uint64_t at = model_windows[w].start;
		at = at > 8 * MODEL_BLOCK ? at - 8 * MODEL_BLOCK : 0;
		for (; at < end && at < m->size; at += LEN_MAX) {
			ssize_t n = pread(fd, a->run->bytes, LEN_MAX, (off_t)at);
			if (n < 0 || (size_t)n != story_readable(a, at, LEN_MAX))
				FAIL(a, "read of all: %zd (%s)", n, n < 0 ? strerror(errno) : "");
			story_compare(a, "read of all", a->run->bytes, at, (size_t)n);
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
	story_close(a, &a->open->fds[KIND_RO]);
	story_see(a, -1, MOVES_NOT);
}

static void compare_all(struct run *r)
{
	for (unsigned s = 0; s < STORIES; s++)
		for (unsigned f = 0; f < FILES; f++) {
			struct act a = {.run = r, .story = &r->shared->stories[s], .number = s};
			story_set(&a, a.story->named[f]);
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
	uint64_t gone = 0;
	for (unsigned s = 0; s < STORIES; s++)
		gone += sh->stories[s].nameless;
	printf("%llu operations in %.1f s (%.0f a second), %llu of them on files without a name, "
	       "%u "
	       "rounds, %u remounts, seed %llu\n",
		(unsigned long long)operations(sh), took, (double)operations(sh) / took,
		(unsigned long long)gone, rounds, remounts, (unsigned long long)r->o->seed);
	for (unsigned i = 0; act_at(i).weight && getenv("EXERCISE_COUNTS"); i++) {
		uint64_t n = 0;
		double spent = 0;
		for (unsigned s = 0; s < STORIES; s++) {
			n += sh->stories[s].counts[i];
			spent += sh->stories[s].spent[i];
		}
		printf("  %s: %llu, %.1f s\n", act_at(i).name, (unsigned long long)n, spent);
	}
}

int main(int argc, char **argv)
{
	struct exercise_options o;
	exercise_options(argc, argv, &o);
	struct run r = {.o = &o, .shared = exercise_shared(sizeof(struct shared))};
	struct shared *sh = r.shared;
	umask(0);
	if (o.users && (chown(o.dir, 0, o.gid) < 0 || chmod(o.dir, 02770) < 0)) {
		fprintf(stderr, "%s: %s\n", o.dir, strerror(errno));
		return 2;
	}
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
