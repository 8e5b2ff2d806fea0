/*
 * Random calls on a tree by several processes, against a model in memory.
 *
 * Each process has a grove: its own names, in directories that are everybody's (c0, c1, c2) and in
 * directories of its own below them. All of them work at the same time, mostly in the same
 * directories; what a process finds of its own names depends on it alone. A name begins with its
 * owner's letter where it stands in a directory of all. Every PHASE operations pairs of processes
 * meet, and one of each moves things between the two groves. So everything follows from the seed.
 */
#include "tests/exercise/exercise_forest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

/* A kind of operation, of all tables. */
static struct tree_act act_at(unsigned i)
{
	static const struct tree_act *const tables[] = {making_acts, holding_acts, listing_acts};
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct tree_act *k = tables[t]; k->weight; k++)
			if (i-- == 0)
				return *k;
	return (struct tree_act){0};
}

static unsigned draw_act(struct run *r)
{
	unsigned all = 0, i = 0;
	for (unsigned n = 0; act_at(n).weight; n++)
		all += act_at(n).weight;
	for (uint64_t at = forest_below(r, all); at >= act_at(i).weight; i++)
		at -= act_at(i).weight;
	/* As many as there should be, about. */
	if (i < 5 && forest_below(r, 2 * CROWD) < r->g->entry_count)
		i = 5 + (unsigned)forest_below(r, 2);
	return i;
}

static void one(struct run *r)
{
	unsigned what = draw_act(r);
	r->owner->done++;
	r->owner->counts[what]++;
	exercise_note(&r->owner->history, "%llu: process %u: %s",
		(unsigned long long)r->owner->done, r->number, act_at(what).name);
	double began = exercise_clock();
	act_at(what).act(r);
	r->owner->spent[what] += exercise_clock() - began;
}

/* While a directory is listed. */
void forest_other_acts(struct run *r)
{
	uint64_t many = forest_below(r, 4) + 1;
	r->nested++;
	for (uint64_t i = 0; i < many; i++)
		one(r);
	r->nested--;
}

/* Rounds. */

static void check_all(struct run *r)
{
	static struct listed all[LISTED];
	char path[PATH_MAX];
	exercise_note(&r->owner->history, "after %llu: all of process %u",
		(unsigned long long)r->owner->done, r->number);
	for (unsigned i = 0; i < GROVE_ENTRIES; i++) {
		const struct grove_entry *e = &r->g->entries[i];
		if (!e->used)
			continue;
		forest_see(r, (int)i);
		if (r->g->nodes[e->node].kind == GROVE_FILE) {
			forest_path(r, (int)i, path);
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				FAIL(r, "open of %s: %s", forest_shown(e->name), strerror(errno));
			forest_content_check(r, &r->g->nodes[e->node], fd);
			close(fd);
		}
	}
	for (unsigned i = 0; i < GROVE_NODES; i++) {
		struct listing l = {.dir = i, .since = r->owner->done + 1, .all = all};
		if (r->g->nodes[i].kind != GROVE_DIRECTORY)
			continue;
		forest_path_in(r, r->g, i, NULL, path);
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			FAIL(r, "open of node %u: %s", i, strerror(errno));
		while (listing_some(r, fd, sizeof(all[0]) * 64, &l))
			;
		close(fd);
		listing_check(r, &l);
	}
}

/* Of all groves together: what stands in everybody's directories, and that numbers are one's own.
 */
static void check_commons(struct run *r)
{
	static struct listed all[LISTED];
	static uint64_t inos[EXERCISE_PROCESSES_MAX * GROVE_NODES];
	char path[PATH_MAX];
	unsigned n = 0, part, sum;
	struct stat st;
	for (unsigned dir = 0; dir < GROVE_COMMONS; dir++) {
		unsigned want = 2, directories = 2;
		struct listing l = {.dir = dir, .since = r->owner->done + 1, .all = all};
		for (unsigned p = 0; p < r->o->processes; p++) {
			want += grove_children(&r->shared->owners[p].grove, dir, &part);
			directories += part;
		}
		forest_path_in(r, r->g, dir, NULL, path);
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0)
			FAIL(r, "open of c%u: %s", dir, strerror(errno));
		while (listing_some(r, fd, 4096, &l))
			;
		close(fd);
		if (l.count != want)
			FAIL(r, "c%u lists %u, expected %u", dir, l.count, want);
		if (st.st_nlink != directories)
			FAIL(r, "c%u has %llu links, expected %u", dir,
				(unsigned long long)st.st_nlink, directories);
	}
	for (unsigned p = 0; p < r->o->processes; p++)
		for (unsigned i = GROVE_COMMONS; i < GROVE_NODES; i++) {
			const struct grove_node *node = &r->shared->owners[p].grove.nodes[i];
			for (sum = 0; node->kind && sum < n; sum++)
				if (inos[sum] == node->ino)
					FAIL(r, "two have st_ino %llu",
						(unsigned long long)node->ino);
			if (node->kind)
				inos[n++] = node->ino;
		}
}

static void barrier(struct run *r)
{
	pthread_barrier_wait(&r->shared->barrier);
}

/* Everything is compared, and again after a remount. */
static void round_end(struct run *r)
{
	for (unsigned i = 0; i < HELD; i++)
		forest_release(r, &r->held[i]);
	for (unsigned pass = 0; pass < 2; pass++) {
		barrier(r);
		check_all(r);
		barrier(r);
		if (r->number)
			continue;
		check_commons(r);
		if (!pass && r->o->remount && exercise_remount())
			r->remounts++;
	}
	barrier(r);
	r->rounds++;
}

static void report(const struct run *r)
{
	const struct shared *sh = r->shared;
	double took = exercise_clock() - r->began;
	uint64_t all = 0;
	unsigned entries = 0;
	for (unsigned p = 0; p < r->o->processes; p++) {
		all += sh->owners[p].done;
		entries += sh->owners[p].grove.entry_count;
	}
	printf("%llu operations in %.1f s (%.0f a second), %u names, %u rounds, %u remounts, seed "
	       "%llu\n",
		(unsigned long long)all, took, (double)all / took, entries, r->rounds, r->remounts,
		(unsigned long long)r->o->seed);
	for (unsigned i = 0; act_at(i).weight && getenv("EXERCISE_COUNTS"); i++) {
		uint64_t n = 0;
		double spent = 0;
		for (unsigned p = 0; p < r->o->processes; p++) {
			n += sh->owners[p].counts[i];
			spent += sh->owners[p].spent[i];
		}
		printf("  %s: %llu, %.1f s\n", act_at(i).name, (unsigned long long)n, spent);
	}
}

static void work(unsigned number, void *context)
{
	struct run r = *(struct run *)context;
	struct shared *sh = r.shared;
	r.number = number;
	r.owner = &sh->owners[number];
	r.g = &r.owner->grove;
	for (unsigned i = 0; i < HELD; i++)
		r.held[i].fd = -1;
	for (uint64_t phase = 1, next = r.o->round; !sh->ended; phase++) {
		uint64_t stop = phase * PHASE < r.o->operations ? phase * PHASE : r.o->operations;
		while (r.owner->done < stop)
			one(&r);
		barrier(&r);
		if (!number && r.until > 0 && exercise_clock() >= r.until)
			sh->expired = 1;
		if (!number)
			sh->ended = sh->expired || stop >= r.o->operations;
		meeting_hold(&r, phase);
		barrier(&r);
		if (sh->ended || stop >= next) {
			round_end(&r);
			next = stop + r.o->round;
		}
	}
	if (!number)
		report(&r);
}

static void lead(void *context)
{
	(void)context; /* the workers see to everything themselves */
}

int main(int argc, char **argv)
{
	struct exercise_options o;
	uint64_t inos[GROVE_COMMONS];
	exercise_options(argc, argv, &o);
	struct run r = {.o = &o, .shared = exercise_shared(sizeof(struct shared))};
	pthread_barrierattr_t shared;
	umask(0);
	for (unsigned i = 0; i < GROVE_COMMONS; i++) {
		char path[PATH_MAX];
		struct stat st;
		snprintf(path, sizeof(path), "%s/c%u", o.dir, i);
		if (mkdir(path, 0755) < 0 ||
			(o.users && (chown(path, 0, o.gid) < 0 || chmod(path, 02770) < 0)) ||
			stat(path, &st) < 0) {
			fprintf(stderr, "%s: %s\n", path, strerror(errno));
			return 2;
		}
		inos[i] = st.st_ino;
	}
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&r.shared->barrier, &shared, o.processes);
	for (unsigned p = 0; p < o.processes; p++) {
		r.shared->owners[p].random.state = o.seed * EXERCISE_PROCESSES_MAX + p;
		grove_init(&r.shared->owners[p].grove, inos);
		for (unsigned i = 0; i < GROVE_COMMONS && o.users; i++)
			r.shared->owners[p].grove.nodes[i].mode = 02770;
	}
	r.began = exercise_clock();
	r.until = o.seconds > 0 ? r.began + o.seconds : 0;
	exercise_run(&o, work, lead, &r);
	return 0;
}
