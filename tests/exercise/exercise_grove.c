#include "tests/exercise/exercise_grove.h"

#include <stdio.h>
#include <string.h>

void grove_init(struct grove *g, const uint64_t inos[static GROVE_COMMONS])
{
	for (unsigned i = 0; i < GROVE_COMMONS; i++)
		g->nodes[i] = (struct grove_node){.kind = GROVE_DIRECTORY,
			.links = 1,
			.held = 1,
			.mode = 0755,
			.ino = inos[i]};
	g->node_count = GROVE_COMMONS;
}

int grove_find(const struct grove *g, unsigned dir, const char *name)
{
	for (unsigned i = 0; i < GROVE_ENTRIES; i++)
		if (g->entries[i].used && g->entries[i].dir == dir &&
			strcmp(g->entries[i].name, name) == 0)
			return (int)i;
	return -1;
}

int grove_node(struct grove *g, enum grove_kind kind)
{
	for (unsigned i = 0; i < GROVE_NODES; i++)
		if (!g->nodes[i].kind) {
			g->nodes[i] = (struct grove_node){.kind = (uint8_t)kind};
			g->node_count++;
			return (int)i;
		}
	return -1;
}

bool grove_room(const struct grove *g, unsigned nodes, unsigned entries)
{
	return g->node_count + nodes <= GROVE_NODES && g->entry_count + entries <= GROVE_ENTRIES;
}

static void set(struct grove *g, unsigned entry, unsigned node, uint64_t now)
{
	g->entries[entry].node = (uint16_t)node;
	g->entries[entry].born = now;
	if (g->nodes[node].kind == GROVE_DIRECTORY)
		g->nodes[node].entry = (uint16_t)entry;
}

unsigned grove_add(struct grove *g, unsigned dir, const char *name, unsigned node, uint64_t now)
{
	unsigned i = 0;
	while (g->entries[i].used)
		i++;
	g->entries[i].used = true;
	g->entries[i].dir = (uint16_t)dir;
	snprintf(g->entries[i].name, GROVE_NAME, "%s", name);
	g->nodes[node].links++;
	g->entry_count++;
	set(g, i, node, now);
	return i;
}

static void bury(struct grove *g, const struct grove_entry *e, uint64_t now)
{
	struct grove_gone *gone = &g->gone[g->gone_count++ % GROVE_GONE];
	gone->dir = e->dir;
	gone->when = now;
	memcpy(gone->name, e->name, GROVE_NAME);
}

void grove_free(struct grove *g, unsigned node)
{
	if (g->nodes[node].links || g->nodes[node].held || !g->nodes[node].kind)
		return;
	g->nodes[node].kind = GROVE_NONE;
	g->node_count--;
}

void grove_remove(struct grove *g, unsigned entry, uint64_t now)
{
	struct grove_entry *e = &g->entries[entry];
	bury(g, e, now);
	e->used = false;
	g->entry_count--;
	g->nodes[e->node].links--;
	grove_free(g, e->node);
}

void grove_move(struct grove *g, unsigned entry, unsigned dir, const char *name, uint64_t now)
{
	struct grove_entry *e = &g->entries[entry];
	bury(g, e, now);
	e->dir = (uint16_t)dir;
	snprintf(e->name, GROVE_NAME, "%s", name);
	e->born = now;
}

void grove_exchange(struct grove *g, unsigned a, unsigned b, uint64_t now)
{
	unsigned node = g->entries[a].node;
	set(g, a, g->entries[b].node, now);
	set(g, b, node, now);
}

unsigned grove_children(const struct grove *g, unsigned dir, unsigned *ret_directories)
{
	unsigned n = 0;
	*ret_directories = 0;
	for (unsigned i = 0; i < GROVE_ENTRIES; i++)
		if (g->entries[i].used && g->entries[i].dir == dir) {
			n++;
			*ret_directories += g->nodes[g->entries[i].node].kind == GROVE_DIRECTORY;
		}
	return n;
}

unsigned grove_depth(const struct grove *g, unsigned dir)
{
	unsigned depth = 0;
	for (; dir >= GROVE_COMMONS; depth++)
		dir = g->entries[g->nodes[dir].entry].dir;
	return depth;
}

unsigned grove_height(const struct grove *g, unsigned node)
{
	unsigned height = 0;
	if (g->nodes[node].kind != GROVE_DIRECTORY)
		return 0;
	for (unsigned i = 0; i < GROVE_ENTRIES; i++)
		if (g->entries[i].used && g->entries[i].dir == node) {
			unsigned h = 1 + grove_height(g, g->entries[i].node);
			height = h > height ? h : height;
		}
	return height ? height : 1;
}

bool grove_inside(const struct grove *g, unsigned dir, unsigned node)
{
	while (dir != node && dir >= GROVE_COMMONS)
		dir = g->entries[g->nodes[dir].entry].dir;
	return dir == node;
}

/* Counts names into `named`. */
static bool count(const struct grove *g, unsigned node, uint16_t named[static GROVE_NODES],
	unsigned *ret_nodes, unsigned *ret_entries)
{
	if (g->nodes[node].held)
		return false;
	*ret_nodes += !named[node]++;
	if (g->nodes[node].kind != GROVE_DIRECTORY)
		return true;
	for (unsigned i = 0; i < GROVE_ENTRIES; i++)
		if (g->entries[i].used && g->entries[i].dir == node) {
			++*ret_entries;
			if (!count(g, g->entries[i].node, named, ret_nodes, ret_entries))
				return false;
		}
	return true;
}

bool grove_whole(const struct grove *g, unsigned node, unsigned *ret_nodes, unsigned *ret_entries)
{
	uint16_t named[GROVE_NODES] = {0};
	*ret_nodes = *ret_entries = 0;
	if (!count(g, node, named, ret_nodes, ret_entries))
		return false;
	for (unsigned i = 0; i < GROVE_NODES; i++)
		if (named[i] && named[i] != g->nodes[i].links)
			return false;
	return true;
}

static unsigned transfer(struct grove *from, unsigned node, struct grove *to,
	int map[static GROVE_NODES], uint64_t now)
{
	if (map[node] < 0) {
		int n = grove_node(to, (enum grove_kind)from->nodes[node].kind);
		to->nodes[n] = from->nodes[node];
		to->nodes[n].links = 0;
		map[node] = n;
	}
	unsigned at = (unsigned)map[node];
	for (unsigned i = 0; i < GROVE_ENTRIES && from->nodes[node].kind == GROVE_DIRECTORY; i++)
		if (from->entries[i].used && from->entries[i].dir == node) {
			unsigned child = from->entries[i].node;
			unsigned there = transfer(from, child, to, map, now);
			(void)grove_add(to, at, from->entries[i].name, there, now);
			grove_remove(from, i, now);
		}
	return at;
}

unsigned grove_transfer(struct grove *from, unsigned node, struct grove *to, uint64_t now)
{
	int map[GROVE_NODES];
	for (unsigned i = 0; i < GROVE_NODES; i++)
		map[i] = -1;
	return transfer(from, node, to, map, now);
}

bool grove_path(const struct grove *g, const char *top, unsigned dir, const char *name,
	char path[static PATH_MAX])
{
	const char *parts[GROVE_DEPTH + 4];
	unsigned n = 0;
	size_t len;
	for (; dir >= GROVE_COMMONS; dir = g->entries[g->nodes[dir].entry].dir) {
		if (n >= GROVE_DEPTH + 3)
			return false;
		parts[n++] = g->entries[g->nodes[dir].entry].name;
	}
	len = (size_t)snprintf(path, PATH_MAX, "%s/c%u", top, dir);
	while (n && len < PATH_MAX)
		len += (size_t)snprintf(path + len, PATH_MAX - len, "/%s", parts[--n]);
	if (name && len < PATH_MAX)
		len += (size_t)snprintf(path + len, PATH_MAX - len, "/%s", name);
	return len < PATH_MAX;
}

bool grove_was(const struct grove *g, unsigned dir, const char *name, uint64_t since)
{
	for (unsigned i = 0; i < GROVE_GONE; i++)
		if (g->gone[i].when >= since && g->gone[i].dir == dir && g->gone[i].when &&
			strcmp(g->gone[i].name, name) == 0)
			return true;
	return false;
}
