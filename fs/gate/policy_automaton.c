/*
 * Globs share one trie of components. Being at a path means being at a set of its nodes: the
 * literal child, every child whose pattern matches, and every `**` node passed on the way (a node
 * with a loop, entered without a step). Such sets are numbered as they are met, and never change or
 * go until the policy is freed; so readers need no lock.
 */
#include "fs/gate/policy_parts.h"

#include <errno.h>
#include <xxhash.h>

#define PATTERNS_FEW 8u /* up to here all are tried */

struct nodes {
	uint32_t small[128];
	uint32_t *at; /* small, or heap */
	size_t count, cap;
	bool failed;
};

static void nodes_start(struct nodes *s)
{
	s->at = s->small;
	s->count = 0;
	s->cap = sizeof(s->small) / sizeof(s->small[0]);
	s->failed = false;
}

static void nodes_done(struct nodes *s)
{
	if (s->at != s->small)
		free(s->at);
}

static void nodes_put(struct nodes *s, uint32_t node)
{
	if (s->count == s->cap) {
		uint32_t *more = malloc(s->cap * 2 * sizeof(*more));
		if (!more) {
			s->failed = true;
			return;
		}
		memcpy(more, s->at, s->count * sizeof(*more));
		nodes_done(s);
		s->at = more;
		s->cap *= 2;
	}
	s->at[s->count++] = node;
}

/* A node, and the `**` behind it, which also stands for no component at all. */
static void enter(const struct policy_automaton *a, struct nodes *s, uint32_t node)
{
	nodes_put(s, node);
	if (a->nodes[node].loop != POLICY_NONE)
		nodes_put(s, a->nodes[node].loop);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void nodes_sort(struct nodes *s)
{
	if (s->count > 16) {
		qsort(s->at, s->count, sizeof(*s->at), by_number);
	} else {
		for (size_t i = 1; i < s->count; i++)
			for (size_t j = i; j && s->at[j - 1] > s->at[j]; j--) {
				uint32_t swap = s->at[j];
				s->at[j] = s->at[j - 1];
				s->at[j - 1] = swap;
			}
	}
	size_t kept = 0;
	for (size_t i = 0; i < s->count; i++)
		if (!kept || s->at[kept - 1] != s->at[i])
			s->at[kept++] = s->at[i];
	s->count = kept;
}

static int new_node(struct policy_automaton *a, uint32_t parent, enum policy_node_kind kind,
	const uint8_t *name, size_t len, uint32_t *ret)
{
	if (policy_map_grow(&a->nodes, &a->cap, a->count, sizeof(*a->nodes)))
		return -ENOMEM;
	uint32_t node = (uint32_t)a->count;
	if (kind != POLICY_LOOP && parent != POLICY_NONE &&
		policy_map_add(&a->literals, parent, name, len, node))
		return -ENOMEM;
	a->nodes[node] = (struct policy_node){.parent = parent,
		.name = (uint32_t)a->names.len,
		.name_len = (uint32_t)len,
		.loop = POLICY_NONE,
		.pattern = POLICY_NONE,
		.next_pattern = POLICY_NONE,
		.next_run = POLICY_NONE,
		.kind = (uint8_t)kind};
	buf_put(&a->names, name, len);
	if (!buf_ok(&a->names))
		return -ENOMEM;
	a->count++;
	if (parent != POLICY_NONE && kind == POLICY_LOOP)
		a->nodes[parent].loop = node;
	if (parent != POLICY_NONE && kind == POLICY_PATTERN) {
		a->nodes[parent].patterns++;
		a->nodes[node].next_pattern = a->nodes[parent].pattern;
		a->nodes[parent].pattern = node;
	}
	*ret = node;
	return 0;
}

int policy_automaton_init(struct policy_automaton *a)
{
	uint32_t root;
	lock_init(&a->lock, LOCK_STATES);
	int rc = new_node(a, POLICY_NONE, POLICY_LITERAL, (const uint8_t *)"", 0, &root);
	if (rc)
		policy_automaton_done(a);
	return rc;
}

void policy_automaton_done(struct policy_automaton *a)
{
	for (uint32_t i = 0; i < POLICY_CHUNKS && a->chunks[i]; i++) {
		for (uint32_t j = 0; j < POLICY_CHUNK; j++)
			free((void *)(uintptr_t)a->chunks[i][j]);
		free((void *)a->chunks[i]);
	}
	free((void *)a->chains);
	free(a->nodes);
	buf_done(&a->names);
	buf_done(&a->run_lengths);
	policy_map_done(&a->literals);
	policy_map_done(&a->runs);
	lock_done(&a->lock);
}

static int child(
	struct policy_automaton *a, uint32_t parent, const uint8_t *name, size_t len, uint32_t *ret)
{
	enum policy_node_kind kind = POLICY_LITERAL;
	uint32_t found;
	if (len == 2 && !name[0] && !name[1]) {
		kind = POLICY_LOOP;
		/* two in a row say no more than one */
		found = a->nodes[parent].kind == POLICY_LOOP ? parent : a->nodes[parent].loop;
	} else {
		/* patterns are kept among the literals: no name has their zero byte */
		kind = memchr(name, 0, len) ? POLICY_PATTERN : POLICY_LITERAL;
		found = policy_map_get(&a->literals, parent, name, len);
	}
	if (found == POLICY_NONE)
		return new_node(a, parent, kind, name, len, ret);
	*ret = found;
	return 0;
}

int policy_automaton_add(
	struct policy_automaton *a, const uint8_t *path, size_t len, uint32_t *ret_node)
{
	uint32_t node = 0;
	for (size_t at = 1; at < len;) {
		const uint8_t *slash = memchr(path + at, '/', len - at);
		size_t end = slash ? (size_t)(slash - path) : len;
		int rc = child(a, node, path + at, end - at, &node);
		if (rc)
			return rc;
		at = end + 1;
	}
	*ret_node = node;
	return 0;
}

static const struct policy_set *find_set(
	const struct policy_automaton *a, uint64_t hash, const struct nodes *s)
{
	const struct policy_set *set =
		atomic_load_explicit(&a->chains[hash & a->chain_mask], memory_order_acquire);
	for (; set; set = set->next)
		if (set->hash == hash && set->count == s->count &&
			!memcmp(set->nodes, s->at, s->count * sizeof(*s->at)))
			return set;
	return NULL;
}

static struct policy_set *new_set(
	const struct policy_automaton *a, uint64_t hash, const struct nodes *s)
{
	struct policy_set *set = calloc(1, sizeof(*set) + s->count * sizeof(*s->at));
	if (!set)
		return NULL;
	set->hash = hash;
	set->count = (uint32_t)s->count;
	set->uniform_here = true;
	memcpy(set->nodes, s->at, s->count * sizeof(*s->at));
	for (size_t i = 0; i < s->count; i++) {
		const struct policy_node *n = &a->nodes[s->at[i]];
		set->group_permit |= n->group_permit;
		set->group_forbid |= n->group_forbid;
		set->group_below |= n->group_below;
		set->permits |= n->permits;
		set->leads_past |= n->leads_past;
		set->uniform_here &= !n->mixed_here && !n->mixed_permit_below;
	}
	return set;
}

/* With the lock held. The new state's number, or 0 where there is no room. */
static policy_state publish(struct policy_automaton *a, uint64_t hash, const struct nodes *s)
{
	size_t bytes = sizeof(struct policy_set) + s->count * sizeof(*s->at);
	uint32_t chunk = a->states / POLICY_CHUNK;
	if (chunk >= POLICY_CHUNKS || a->bytes + bytes > POLICY_STATES_BYTES)
		return 0;
	if (!a->chunks[chunk]) {
		void *new = calloc(POLICY_CHUNK, sizeof(a->chunks[0][0]));
		if (!new)
			return 0;
		atomic_store_explicit(&a->chunks[chunk], new, memory_order_release);
	}
	struct policy_set *set = new_set(a, hash, s);
	if (!set)
		return 0;
	set->id = a->states++;
	a->bytes += bytes;
	set->next = atomic_load_explicit(&a->chains[hash & a->chain_mask], memory_order_relaxed);
	atomic_store_explicit(&a->chunks[chunk][set->id % POLICY_CHUNK], set, memory_order_release);
	atomic_store_explicit(&a->chains[hash & a->chain_mask], set, memory_order_release);
	return set->id;
}

static policy_state number(struct policy_automaton *a, struct nodes *s)
{
	if (s->failed)
		return 0;
	nodes_sort(s);
	uint64_t hash = XXH3_64bits(s->at, s->count * sizeof(*s->at));
	const struct policy_set *found = find_set(a, hash, s);
	if (found)
		return found->id;
	lock_take(&a->lock);
	found = find_set(a, hash, s);
	policy_state id = found ? found->id : publish(a, hash, s);
	lock_drop(&a->lock);
	return id;
}

/* The longest run of a pattern without a star; 0 for `*` alone. */
static size_t longest_run(const struct policy_automaton *a, uint32_t pattern, const uint8_t **ret)
{
	const uint8_t *at = a->names.data + a->nodes[pattern].name,
		      *end = at + a->nodes[pattern].name_len;
	size_t longest = 0;
	*ret = at;
	while (at < end) {
		const uint8_t *star = memchr(at, 0, (size_t)(end - at));
		size_t len = (size_t)((star ? star : end) - at);
		if (len > longest) {
			longest = len;
			*ret = at;
		}
		at += len + 1;
	}
	return longest;
}

/*
 * Where a node has many patterns, those that can match a name are found by their longest run: every
 * stretch of the name that has the length of some run is looked up.
 */
static int index_patterns(struct policy_automaton *a, uint32_t node)
{
	bool seen[256] = {false};
	struct policy_node *n = &a->nodes[node];
	n->run_lengths = (uint32_t)a->run_lengths.len;
	for (uint32_t p = n->pattern; p != POLICY_NONE; p = a->nodes[p].next_pattern) {
		const uint8_t *run;
		size_t len = longest_run(a, p, &run);
		uint32_t first = policy_map_get(&a->runs, node, run, len);
		if (first != POLICY_NONE) {
			a->nodes[p].next_run = a->nodes[first].next_run;
			a->nodes[first].next_run = p;
		} else if (policy_map_add(&a->runs, node, run, len, p)) {
			return -ENOMEM;
		}
		if (!seen[len])
			buf_put8(&a->run_lengths, (uint8_t)len);
		seen[len] = true;
	}
	n->run_lengths_end = (uint32_t)a->run_lengths.len;
	return buf_ok(&a->run_lengths) ? 0 : -ENOMEM;
}

int policy_automaton_start(struct policy_automaton *a)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (a->nodes[i].patterns > PATTERNS_FEW && index_patterns(a, i))
			return -ENOMEM;
	size_t chains = 256;
	while (chains < a->count * 2 && chains < 65536)
		chains *= 2;
	a->chains = calloc(chains, sizeof(a->chains[0]));
	if (!a->chains)
		return -ENOMEM;
	a->chain_mask = chains - 1;
	a->states = 1;
	struct nodes s __attribute__((cleanup(nodes_done)));
	nodes_start(&s);
	enter(a, &s, 0);
	return number(a, &s) == 1 ? 0 : -ENOMEM;
}

const struct policy_set *policy_automaton_set(const struct policy_automaton *a, policy_state at)
{
	if (at / POLICY_CHUNK >= POLICY_CHUNKS)
		return NULL;
	_Atomic(const struct policy_set *) *chunk =
		atomic_load_explicit(&a->chunks[at / POLICY_CHUNK], memory_order_acquire);
	return chunk ? atomic_load_explicit(&chunk[at % POLICY_CHUNK], memory_order_acquire) : NULL;
}

static void try_pattern(const struct policy_automaton *a, struct nodes *s, uint32_t pattern,
	const char *name, size_t len)
{
	const struct policy_node *p = &a->nodes[pattern];
	if (policy_glob_match(a->names.data + p->name, p->name_len, name, len))
		enter(a, s, pattern);
}

static void try_runs(const struct policy_automaton *a, struct nodes *s, uint32_t node,
	const char *name, size_t len)
{
	const struct policy_node *n = &a->nodes[node];
	for (uint32_t i = n->run_lengths; i < n->run_lengths_end; i++) {
		size_t run = a->run_lengths.data[i];
		for (size_t at = 0; at + run <= len; at++) {
			uint32_t p = policy_map_get(&a->runs, node, name + at, run);
			for (; p != POLICY_NONE; p = a->nodes[p].next_run)
				try_pattern(a, s, p, name, len);
			if (!run)
				break;
		}
	}
}

static void try_patterns(const struct policy_automaton *a, struct nodes *s, uint32_t node,
	const char *name, size_t len)
{
	if (a->nodes[node].patterns > PATTERNS_FEW) {
		try_runs(a, s, node, name, len);
		return;
	}
	for (uint32_t p = a->nodes[node].pattern; p != POLICY_NONE; p = a->nodes[p].next_pattern)
		try_pattern(a, s, p, name, len);
}

policy_state policy_automaton_step(struct policy_automaton *a, policy_state dir, const char *name)
{
	const struct policy_set *set = policy_automaton_set(a, dir);
	if (!set)
		return 0;
	size_t len = strlen(name);
	struct nodes s __attribute__((cleanup(nodes_done)));
	nodes_start(&s);
	for (uint32_t i = 0; i < set->count; i++) {
		const struct policy_node *n = &a->nodes[set->nodes[i]];
		if (n->kind == POLICY_LOOP)
			nodes_put(&s, set->nodes[i]);
		uint32_t literal = policy_map_get(&a->literals, set->nodes[i], name, len);
		if (literal != POLICY_NONE)
			enter(a, &s, literal);
		try_patterns(a, &s, set->nodes[i], name, len);
	}
	return number(a, &s);
}
