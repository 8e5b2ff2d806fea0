#include "tests/sim/sim_model.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

uint64_t model_hash(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

void model_init(struct model *m, uint32_t root_ino)
{
	memset(m, 0, sizeof(*m));
	m->nodes[0].type = DT_DIR;
	m->nodes[0].ino = root_ino;
}

static void forget(struct model_node *n, unsigned from, unsigned to)
{
	for (unsigned v = from; v < to; v++)
		free(n->v[v].bytes);
}

void model_done(struct model *m)
{
	for (unsigned n = 0; n < MODEL_NODES; n++)
		forget(&m->nodes[n], 0, m->nodes[n].versions);
}

struct model_state *model_next(struct model *m)
{
	if (m->now + 2 >= MODEL_STATES)
		return NULL;
	m->states[m->now + 1] = m->states[m->now];
	return &m->states[m->now + 1];
}

void model_did(struct model *m, bool done)
{
	if (done)
		m->now++;
	else
		m->maybe = true;
}

int model_node(struct model *m, uint8_t type, uint32_t seed)
{
	for (unsigned n = 1; n < MODEL_NODES; n++)
		if (!m->nodes[n].type) {
			m->nodes[n] = (struct model_node){.type = type, .seed = seed};
			if (type == DT_REG)
				model_write(&m->nodes[n], NULL, 0);
			return (int)n;
		}
	return -1;
}

void model_write(struct model_node *n, const uint8_t *bytes, uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	if (!copy)
		abort();
	if (len)
		memcpy(copy, bytes, len);
	if (n->versions == MODEL_VERSIONS) {
		/* One that must not be found any more, else the oldest: the test gets weaker. */
		free(n->v[0].bytes);
		memmove(n->v, n->v + 1, (MODEL_VERSIONS - 1) * sizeof(n->v[0]));
		n->versions--;
		n->kept -= n->kept > 0;
		n->synced -= n->synced > 0;
	}
	n->v[n->versions++] = (struct model_version){len, model_hash(copy, len), copy};
}

const struct model_version *model_content(const struct model_node *n)
{
	return &n->v[n->versions - 1];
}

int model_find(const struct model_state *s, unsigned parent, unsigned name)
{
	for (unsigned e = 0; e < s->count; e++)
		if (s->entries[e].parent == parent && s->entries[e].name == name)
			return (int)e;
	return -1;
}

void model_add(struct model_state *s, unsigned parent, unsigned name, unsigned node)
{
	s->entries[s->count++] =
		(struct model_entry){(uint16_t)parent, (uint16_t)node, (uint8_t)name};
}

void model_drop(struct model_state *s, unsigned parent, unsigned name)
{
	int at = model_find(s, parent, name);
	s->entries[at] = s->entries[--s->count];
}

unsigned model_links(const struct model_state *s, unsigned node)
{
	unsigned links = 0;
	for (unsigned e = 0; e < s->count; e++)
		links += s->entries[e].node == node;
	return links;
}

bool model_inside(const struct model_state *s, unsigned node, unsigned top)
{
	while (node && node != top) {
		unsigned e = 0;
		while (s->entries[e].node != node)
			e++;
		node = s->entries[e].parent;
	}
	return node == top;
}

bool model_empty(const struct model_state *s, unsigned dir)
{
	for (unsigned e = 0; e < s->count; e++)
		if (s->entries[e].parent == dir)
			return false;
	return true;
}

uint32_t model_target(uint32_t seed, char ret[static MODEL_TARGET])
{
	uint32_t len = 1 + seed % 60;
	if (seed % 8 == 0) /* goes on in sidecars */
		len = 700 + seed % (MODEL_TARGET - 700);
	for (uint32_t i = 0; i < len; i++)
		ret[i] = (char)('a' + (seed + i * 7) % 26);
	return len;
}

static const struct look_inode *look_at(const struct look *seen, uint32_t ino)
{
	for (unsigned i = 0; i < seen->inodes; i++)
		if (seen->inode[i].ino == ino)
			return &seen->inode[i];
	return NULL;
}

static const struct look_entry *look_for(const struct look *seen, uint32_t parent, unsigned name)
{
	for (unsigned e = 0; e < seen->count; e++)
		if (seen->entries[e].parent == parent && seen->entries[e].name == name)
			return &seen->entries[e];
	return NULL;
}

/* The version that it is, or -1. */
static int version_of(const struct model_node *n, const struct look_inode *i, unsigned from)
{
	for (unsigned v = from; !i->status && v < n->versions; v++)
		if (n->v[v].len == i->len && n->v[v].hash == i->hash)
			return (int)v;
	return -1;
}

/* Only when its making was cut short a directory gets another id. */
static bool same_dir(const struct model_node *n, unsigned at, const struct look_inode *i)
{
	return !n->id || n->id == i->hash || n->made == at;
}

static bool same_node(const struct model_node *n, uint32_t xattr, const struct look_inode *i,
	unsigned at, bool killed, bool strict)
{
	char target[MODEL_TARGET];
	if (n->type != i->type)
		return false;
	if (n->type == DT_LNK) {
		uint32_t len = model_target(n->seed, target);
		return !i->status && i->len == len && i->hash == model_hash(target, len);
	}
	if (n->type == DT_REG && i->lost && !strict)
		return true;
	if (i->xattr_status || i->xattr != xattr)
		return false;
	return n->type == DT_DIR ? same_dir(n, at, i)
				 : version_of(n, i, killed ? n->kept : n->synced) >= 0;
}

/* Of something that is there when the last operation begins: numbers are reused. */
static bool known(const struct model *m, uint32_t ino)
{
	const struct model_state *s = &m->states[m->now];
	for (unsigned e = 0; e < s->count; e++)
		if (m->nodes[s->entries[e].node].ino == ino)
			return true;
	return false;
}

static bool same_state(
	struct model *m, unsigned at, const struct look *seen, bool killed, bool strict)
{
	const struct model_state *s = &m->states[at];
	if (s->count != seen->count)
		return false;
	/* Parents come first in no particular order: one that was just made has no number yet. */
	for (unsigned e = 0; e < s->count; e++) {
		const struct model_entry *x = &s->entries[e];
		struct model_node *n = &m->nodes[x->node];
		const struct look_entry *found = look_for(seen, m->nodes[x->parent].ino, x->name);
		if (!found)
			return false;
		if (!n->ino && !known(m, found->ino))
			n->ino = found->ino;
		if (n->ino != found->ino)
			return false;
		const struct look_inode *i = look_at(seen, found->ino);
		if (!i || !same_node(n, s->xattr[x->node], i, at, killed, strict))
			return false;
	}
	const struct look_inode *root = look_at(seen, m->nodes[0].ino);
	return root && !root->xattr_status && root->xattr == s->xattr[0];
}

int model_match(struct model *m, const struct look *seen, bool killed, bool strict)
{
	unsigned last = m->now + m->maybe;
	for (unsigned at = killed ? m->now : m->floor; at <= last; at++)
		if (same_state(m, at, seen, killed, strict))
			return (int)at;
	return -1;
}

static void keep_version(struct model_node *n, int v)
{
	if (v < 0) {
		forget(n, 0, n->versions);
		n->versions = 0;
	} else {
		forget(n, 0, (unsigned)v);
		forget(n, (unsigned)v + 1, n->versions);
		n->v[0] = n->v[v];
		n->versions = 1;
	}
	n->kept = n->synced = 0;
}

void model_adopt(struct model *m, const struct look *seen, unsigned state)
{
	m->states[0] = m->states[state];
	m->now = m->floor = m->removed_count = 0;
	m->maybe = false;
	for (unsigned at = 1; at < MODEL_NODES; at++) {
		struct model_node *n = &m->nodes[at];
		n->last = 0;
		if (!n->type)
			continue;
		if (!model_links(&m->states[0], at)) {
			forget(n, 0, n->versions);
			*n = (struct model_node){0};
			m->states[0].xattr[at] = 0;
			continue;
		}
		const struct look_inode *i = look_at(seen, n->ino);
		if (n->type == DT_DIR) {
			m->states[0].xattr[at] = i->xattr;
			n->id = i->hash;
			n->made = MODEL_LONG_AGO;
		}
		if (n->type == DT_REG)
			keep_version(n, i->xattr_status || i->xattr != m->states[0].xattr[at]
						? -1
						: version_of(n, i, 0));
	}
	m->nodes[0].last = 0;
}
