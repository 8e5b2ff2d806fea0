/* Listing directories in pieces, from any place, while they change. */
#include "tests/exercise/exercise_forest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct dirent_head {
	uint64_t ino;
	int64_t next;
	uint16_t len;
	uint8_t type;
} __attribute__((packed));

/* The next piece of a directory; false at its end. */
bool listing_some(struct run *r, int fd, size_t room, struct listing *l)
{
	char bytes[32768];
	long n = syscall(SYS_getdents64, fd, bytes, room);
	if (n < 0 && errno == ENOENT && !r->g->nodes[l->dir].links)
		return false; /* removed meanwhile */
	if (n < 0)
		FAIL(r, "getdents: %s", strerror(errno));
	for (long at = 0; at < n;) {
		struct dirent_head head;
		memcpy(&head, bytes + at, sizeof(head));
		if (l->count == LISTED)
			FAIL(r, "a listing without end");
		struct listed *e = &l->all[l->count++];
		snprintf(e->name, GROVE_NAME, "%s", bytes + at + 19);
		e->ino = head.ino;
		e->next = head.next;
		e->type = head.type;
		at += head.len;
	}
	return n > 0;
}

/* One that was listed, against the grove as it is now. */
static void check_listed(struct run *r, const struct listing *l, const struct listed *e)
{
	const struct grove *g = r->g;
	unsigned who = (unsigned)(uint8_t)e->name[0] - 'A';
	if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		return;
	if (l->dir < GROVE_COMMONS && who < r->o->processes && who != r->number)
		return;
	int at = grove_find(g, l->dir, e->name);
	if (at < 0 && !grove_was(g, l->dir, e->name, l->since))
		FAIL(r, "node %u lists %s, which is not there", l->dir, forest_shown(e->name));
	if (at < 0 || g->entries[at].born >= l->since)
		return;
	const struct grove_node *n = forest_node(r->g, at);
	if (e->ino != n->ino)
		FAIL(r, "node %u lists %s with number %llu, expected %llu", l->dir,
			forest_shown(e->name), (unsigned long long)e->ino,
			(unsigned long long)n->ino);
	if (e->type != DT_UNKNOWN && e->type != forest_type(n) >> 12)
		FAIL(r, "node %u lists %s with type %u", l->dir, forest_shown(e->name), e->type);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* All of it, once, of what was there all the time. */
void listing_check(struct run *r, struct listing *l)
{
	const struct grove *g = r->g;
	unsigned dots = 0;
	for (unsigned i = 0; i < l->count; i++) {
		check_listed(r, l, &l->all[i]);
		dots += strcmp(l->all[i].name, ".") == 0 || strcmp(l->all[i].name, "..") == 0;
	}
	/* When ext4 gives a directory its index, these two move while somebody lists it. */
	if (dots != 2 && l->since > r->owner->done)
		FAIL(r, "node %u lists %u dots among %u", l->dir, dots, l->count);
	qsort(l->all, l->count, sizeof(*l->all), by_name);
	for (unsigned i = 1; i < l->count; i++) {
		const char *name = l->all[i].name;
		/* What another makes, removes and makes again may come twice, as one's own. */
		if (strcmp(name, l->all[i - 1].name) != 0)
			continue;
		int at = grove_find(g, l->dir, name);
		if (at >= 0 && g->entries[at].born < l->since)
			FAIL(r, "node %u lists %s twice", l->dir, forest_shown(name));
	}
	for (unsigned i = 0; i < GROVE_ENTRIES; i++) {
		const struct grove_entry *e = &g->entries[i];
		struct listed key;
		if (!e->used || e->dir != l->dir || e->born >= l->since)
			continue;
		memcpy(key.name, e->name, GROVE_NAME);
		if (!bsearch(&key, l->all, l->count, sizeof(key), by_name))
			FAIL(r, "node %u does not list %s, node %u", l->dir, forest_shown(e->name),
				e->node);
	}
}

/* Back to a place of before: what comes there must be what came then, as far as it is still there.
 */
static void seek_back(struct run *r, int fd, size_t room, const struct listing *l)
{
	static struct listed again[LISTED];
	unsigned from = (unsigned)forest_below(r, l->count);
	struct listing second = {.dir = l->dir, .since = l->since, .all = again};
	/* Sometimes from the beginning forward. */
	if (forest_chance(r, 50)) {
		if (lseek(fd, 0, SEEK_SET) < 0)
			FAIL(r, "rewind of a directory: %s", strerror(errno));
		(void)listing_some(r, fd, room, &second);
		second.count = 0;
	}
	if (lseek(fd, l->all[from].next, SEEK_SET) < 0)
		FAIL(r, "seek in a directory: %s", strerror(errno));
	while (listing_some(r, fd, room, &second))
		;
	for (unsigned i = 0; i < second.count; i++)
		check_listed(r, &second, &again[i]);
	for (unsigned i = from + 1; i < l->count; i++) {
		int at = grove_find(r->g, l->dir, l->all[i].name);
		bool there = false;
		if (at < 0 || r->g->entries[at].born >= l->since)
			continue;
		for (unsigned k = 0; k < second.count && !there; k++)
			there = strcmp(again[k].name, l->all[i].name) == 0;
		if (!there)
			FAIL(r, "node %u, sought back to %lld: %s does not come again", l->dir,
				(long long)l->all[from].next, forest_shown(l->all[i].name));
	}
	for (unsigned k = 0; k < second.count; k++)
		for (unsigned i = 0; i <= from; i++) {
			int at = grove_find(r->g, l->dir, again[k].name);
			if (strcmp(again[k].name, l->all[i].name) == 0 && at >= 0 &&
				r->g->entries[at].born < l->since)
				FAIL(r, "node %u, sought back to %lld: %s comes again", l->dir,
					(long long)l->all[from].next, forest_shown(again[k].name));
		}
}

static void act_list(struct run *r)
{
	static const size_t rooms[] = {320, 700, 4096, 32768};
	static struct listed all[LISTED];
	struct listing l = {.all = all};
	char path[PATH_MAX];
	if (r->nested)
		return;
	l.dir = forest_dir(r);
	l.since = r->owner->done;
	size_t room = rooms[forest_below(r, 4)];
	bool changes = forest_chance(r, 40), back = forest_chance(r, 30);
	NOTE(r, " node %u, %zu bytes at a time%s", l.dir, room, changes ? ", with changes" : "");
	forest_path_in(r, r->g, l.dir, NULL, path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		FAIL(r, "open of a directory: %s", strerror(errno));
	r->g->nodes[l.dir].held++;
	while (listing_some(r, fd, room, &l))
		if (changes && forest_chance(r, 40))
			forest_other_acts(r);
	bool there = r->g->nodes[l.dir].links;
	/* Seeking first: the check sorts. */
	if (there && back && l.count)
		seek_back(r, fd, room, &l);
	if (there)
		listing_check(r, &l);
	if (close(fd) < 0)
		FAIL(r, "close: %s", strerror(errno));
	r->g->nodes[l.dir].held--;
	grove_free(r->g, l.dir);
}

const struct tree_act listing_acts[] = {
	{"list", act_list, 40},
	{0},
};
