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

void model_forget(struct model_node *n)
{
	free(n->v);
	sim_bytes_free(&n->bytes);
	*n = (struct model_node){0};
}

void model_done(struct model *m)
{
	for (unsigned n = 0; n < MODEL_NODES; n++)
		model_forget(&m->nodes[n]);
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
				model_version(&m->nodes[n]);
			return (int)n;
		}
	return -1;
}

void model_version(struct model_node *n)
{
	const struct model_version v = {n->bytes.len, n->bytes.digest};
	if (n->versions == n->room) {
		n->room = n->room ? 2 * n->room : 16;
		n->v = reallocarray(n->v, n->room, sizeof(*n->v));
		if (!n->v)
			abort();
	}
	n->v[n->versions++] = v;
}

void model_write(struct model_node *n, const uint8_t *bytes, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		size_t left = SIM_BYTES_PAGE - (offset + done) % SIM_BYTES_PAGE;
		left = left < len - done ? left : len - done;
		sim_bytes_write(&n->bytes, bytes + done, left, offset + done);
		model_version(n);
		done += left;
	}
}

uint64_t model_newest(const struct model_node *n)
{
	return n->first + n->versions - 1;
}

uint64_t model_length(const struct model_node *n)
{
	return n->versions ? n->v[n->versions - 1].len : 0;
}

void model_back_to(struct model_node *n, uint64_t version)
{
	n->versions = (unsigned)(version - n->first) + 1;
	n->unread = true;
}

int model_version_of(
	const struct model_node *n, uint64_t from, uint64_t len, uint64_t digest, uint64_t *ret)
{
	for (uint64_t v = from < n->first ? 0 : from - n->first; v < n->versions; v++)
		if (n->v[v].len == len && n->v[v].digest == digest) {
			*ret = n->first + v;
			return 0;
		}
	return -1;
}

static uint64_t key_of(const uint8_t *bytes)
{
	uint64_t a, b;
	/* Where a header's sectors differ from one another, too. */
	memcpy(&a, bytes + 496, 8);
	memcpy(&b, bytes + 16, 8);
	return a ? a ^ b : 0;
}

int model_remove(struct model *m, const struct model_removed *gone)
{
	if (m->removed_count == MODEL_REMOVED)
		return -1;
	m->removed[m->removed_count] = *gone;
	return (int)m->removed_count++;
}

void model_sample(struct model *m, int removed, const uint8_t *bytes)
{
	uint64_t key = key_of(bytes);
	if (removed < 0 || !key || m->sample_count >= MODEL_SAMPLES / 2)
		return;
	size_t at = key % MODEL_SAMPLES;
	while (m->samples[at].key && m->samples[at].key != key)
		at = (at + 1) % MODEL_SAMPLES;
	if (m->samples[at].key)
		return; /* the same sector, removed before: then it must be gone already */
	m->samples[at] = (struct model_sample){key, model_hash(bytes, 512), (unsigned)removed};
	m->sample_count++;
}

const struct model_removed *model_is_sample(const struct model *m, const uint8_t *bytes)
{
	uint64_t key = key_of(bytes);
	for (size_t at = key % MODEL_SAMPLES; key && m->samples[at].key;
		at = (at + 1) % MODEL_SAMPLES)
		if (m->samples[at].key == key && m->samples[at].hash == model_hash(bytes, 512))
			return &m->removed[m->samples[at].removed];
	return NULL;
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

static bool same_inode(const struct look_inode *a, const struct look_inode *b)
{
	/* A directory whose making was cut short gets another id each time. */
	return a->type == b->type && a->status == b->status && a->len == b->len &&
	       (a->hash == b->hash || a->type == DT_DIR) && a->xattr == b->xattr &&
	       a->time.tv_sec == b->time.tv_sec && a->time.tv_nsec == b->time.tv_nsec;
}

bool look_same(const struct look *a, const struct look *b)
{
	if (a->count != b->count || a->inodes != b->inodes)
		return false;
	for (unsigned e = 0; e < a->count; e++) {
		const struct look_entry *x = &a->entries[e];
		const struct look_entry *y = look_for(b, x->parent, x->name);
		if (!y || y->ino != x->ino)
			return false;
	}
	for (unsigned i = 0; i < a->inodes; i++) {
		const struct look_inode *x = look_at(b, a->inode[i].ino);
		if (!x || !same_inode(&a->inode[i], x))
			return false;
	}
	return true;
}

static bool same_time(const struct model_times *t, const struct timespec *seen, bool killed)
{
	if (t->refused)
		return true;
	if (killed)
		return t->open ||
		       (t->now.tv_sec == seen->tv_sec && t->now.tv_nsec == seen->tv_nsec);
	for (unsigned n = 0; n < t->count; n++)
		if (t->synced[n].tv_sec == seen->tv_sec && t->synced[n].tv_nsec == seen->tv_nsec)
			return true;
	return t->any;
}

static bool same_content(struct model_node *n, const struct look_inode *i, bool killed)
{
	if (n->wild && !i->status) {
		n->found = 0;
		return true;
	}
	if (i->status ||
		model_version_of(n, killed ? n->kept : n->synced, i->len, i->hash, &n->found))
		return false;
	return same_time(&n->times, &i->time, killed);
}

/* Only when its making was cut short a directory gets another id. */
static bool same_dir(const struct model_node *n, unsigned at, const struct look_inode *i)
{
	return !n->id || n->id == i->hash || n->made == at;
}

static bool same_node(
	struct model_node *n, uint32_t xattr, const struct look_inode *i, unsigned at, bool killed)
{
	char target[MODEL_TARGET];
	if (n->type != i->type)
		return false;
	if (n->type == DT_LNK) {
		uint32_t len = model_target(n->seed, target);
		return !i->status && i->len == len && i->hash == model_hash(target, len);
	}
	n->found = 0;
	bool dropped = !killed && !n->anchored && !i->xattr && !i->len && n->type == DT_REG;
	if (i->xattr_status || (i->xattr != xattr && !dropped))
		return false;
	return n->type == DT_DIR ? same_dir(n, at, i) : same_content(n, i, killed);
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

static bool same_state(struct model *m, unsigned at, const struct look *seen, bool killed)
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
		if (!i || !same_node(n, s->xattr[x->node], i, at, killed))
			return false;
	}
	const struct look_inode *root = look_at(seen, m->nodes[0].ino);
	return root && !root->xattr_status && root->xattr == s->xattr[0];
}

int model_match(struct model *m, const struct look *seen, bool killed)
{
	unsigned last = m->now + m->maybe;
	for (unsigned at = killed ? m->now : m->floor; at <= last; at++)
		if (same_state(m, at, seen, killed))
			return (int)at;
	return -1;
}

/* Goes on with what was found: one version, or none. */
static void keep_version(struct model_node *n, const struct look_inode *i)
{
	uint64_t v;
	if (i->status || i->xattr_status ||
		model_version_of(n, n->synced, i->len, i->hash, &v) < 0) {
		n->versions = 0;
		n->wild = false;
		return;
	}
	n->unread = n->unread || v != model_newest(n);
	n->v[0] = n->v[v - n->first];
	n->first = n->kept = n->synced = v;
	n->versions = 1;
	n->wild = false;
	n->times = (struct model_times){.now = i->time, .count = 1, .synced = {i->time}};
}

void model_adopt(struct model *m, const struct look *seen, unsigned state)
{
	m->states[0] = m->states[state];
	m->now = m->floor = m->removed_count = 0;
	m->maybe = false;
	if (m->sample_count)
		memset(m->samples, 0, sizeof(m->samples));
	m->sample_count = 0;
	for (unsigned at = 1; at < MODEL_NODES; at++) {
		struct model_node *n = &m->nodes[at];
		n->last = n->removed = 0;
		if (!n->type)
			continue;
		if (!model_links(&m->states[0], at)) {
			model_forget(n);
			m->states[0].xattr[at] = 0;
			continue;
		}
		const struct look_inode *i = look_at(seen, n->ino);
		if (n->type == DT_DIR) {
			m->states[0].xattr[at] = i->xattr;
			n->id = i->hash;
			n->made = MODEL_LONG_AGO;
		}
		if (n->type == DT_REG) {
			n->anchored = i->len || i->xattr;
			m->states[0].xattr[at] = i->xattr;
			keep_version(n, i);
		}
	}
	m->nodes[0].last = 0;
}
