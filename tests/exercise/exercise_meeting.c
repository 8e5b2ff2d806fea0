/* Meetings of two processes: one moves things between the two groves. */
#include "tests/exercise/exercise_forest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void put_node(struct grove *g, int entry, unsigned node, uint64_t now)
{
	g->entries[entry].node = (uint16_t)node;
	g->entries[entry].born = now;
	g->nodes[node].links++;
	if (g->nodes[node].kind == GROVE_DIRECTORY)
		g->nodes[node].entry = (uint16_t)entry;
}

/* What has moved, at its new place. */
static void see_other(struct run *r, struct owner *other, int entry)
{
	struct run there = *r;
	there.g = &other->grove;
	forest_see(&there, entry);
}

/* Swaps what an entry of ours and one of the other's name. */
static void swap(struct run *r, struct owner *other, int mine, int theirs)
{
	struct grove *g = r->g, *h = &other->grove;
	unsigned a = g->entries[mine].node, b = h->entries[theirs].node;
	unsigned to = grove_transfer(g, a, h, other->done);
	unsigned back = grove_transfer(h, b, g, r->owner->done);
	g->nodes[a].links--;
	h->nodes[b].links--;
	grove_free(g, a);
	grove_free(h, b);
	put_node(g, mine, back, r->owner->done);
	put_node(h, theirs, to, other->done);
	forest_see(r, mine);
	see_other(r, other, theirs);
}

/* Gives an entry of ours to the other, under a name of his. */
static void give(
	struct run *r, struct owner *other, int mine, unsigned dir, const char *name, int over)
{
	struct grove *g = r->g, *h = &other->grove;
	unsigned node = g->entries[mine].node;
	if (over >= 0)
		grove_remove(h, (unsigned)over, other->done);
	unsigned to = grove_transfer(g, node, h, other->done);
	grove_remove(g, (unsigned)mine, r->owner->done);
	see_other(r, other, (int)grove_add(h, dir, name, to, other->done));
}

/* One rename2 between two groves. */
static void trade(struct run *r, struct owner *other)
{
	static const unsigned all[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	struct run there = *r;
	char name[GROVE_NAME], from[PATH_MAX], to[PATH_MAX];
	unsigned flags = all[forest_below(r, 4)], nodes, entries, back_nodes = 0, back_entries = 0;
	there.owner = other;
	there.g = &other->grove;
	there.number = (unsigned)(other - r->shared->owners);
	int e = forest_entry(r), over = -1;
	unsigned dir = forest_dir(&there);
	if (forest_chance(r, flags ? 80 : 50))
		over = forest_entry(&there);
	if (over >= 0) {
		dir = there.g->entries[over].dir;
		memcpy(name, there.g->entries[over].name, GROVE_NAME);
	} else {
		forest_new_name(&there, dir, name);
	}
	if (e < 0 || !grove_whole(r->g, r->g->entries[e].node, &nodes, &entries) ||
		!grove_room(there.g, nodes + 1, entries + 1) ||
		grove_depth(there.g, dir) + grove_height(r->g, r->g->entries[e].node) >=
			GROVE_DEPTH)
		return;
	unsigned in = r->g->entries[e].dir;
	if (over >= 0 && flags & RENAME_EXCHANGE &&
		(!grove_whole(there.g, there.g->entries[over].node, &back_nodes, &back_entries) ||
			!grove_room(r->g, back_nodes + 1, back_entries + 1) ||
			grove_depth(r->g, in) +
					grove_height(there.g, there.g->entries[over].node) >=
				GROVE_DEPTH))
		return;
	bool is_dir = forest_node(r->g, e)->kind == GROVE_DIRECTORY, over_dir = false;
	unsigned directories, says = 0;
	if (over >= 0)
		over_dir = forest_node(there.g, over)->kind == GROVE_DIRECTORY;
	if (flags & RENAME_EXCHANGE)
		says = over < 0 ? ENOENT : 0;
	else if (over >= 0)
		says = flags                 ? EEXIST
		       : is_dir && !over_dir ? ENOTDIR
		       : !is_dir && over_dir ? EISDIR
		       : over_dir && grove_children(
					     there.g, there.g->entries[over].node, &directories)
			       ? ENOTEMPTY
			       : 0;
	exercise_note(&r->owner->history,
		"%llu: process %u and %u: rename %u %s of %u to %s%s in %u",
		(unsigned long long)r->owner->done, r->number, there.number, flags,
		forest_shown(r->g->entries[e].name), in, forest_shown(name),
		over >= 0 ? " (exists)" : "", dir);
	forest_path(r, e, from);
	forest_path_in(&there, there.g, dir, name, to);
	if (!forest_expect(r, renameat2(AT_FDCWD, from, AT_FDCWD, to, flags), (int)says))
		return;
	if (flags & RENAME_EXCHANGE)
		swap(r, other, e, over);
	else
		give(r, other, e, dir, name, over);
}

/* Who meets whom follows from the seed and the meeting's number. */
void meeting_hold(struct run *r, uint64_t meeting)
{
	struct sim_random random = {r->o->seed ^ meeting * 0x9e3779b97f4a7c15u};
	unsigned order[EXERCISE_PROCESSES_MAX], n = r->o->processes;
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n; i > 1; i--) {
		unsigned k = (unsigned)sim_random_below(&random, i), other = order[k];
		order[k] = order[i - 1];
		order[i - 1] = other;
	}
	for (unsigned i = 0; i + 1 < n; i += 2)
		for (unsigned k = 0; k < MEETING && order[i] == r->number; k++)
			trade(r, &r->shared->owners[order[i + 1]]);
}
