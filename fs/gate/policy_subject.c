/*
 * Which subject expressions hold for a caller. From the caller's uid, groups and `anyone` the
 * including expressions are followed upwards; only those reached can hold. The answer is kept for
 * each distinct caller.
 */
#include "fs/gate/policy_parts.h"

#include <errno.h>
#include <xxhash.h>

enum truth { NO, MAYBE, YES };

struct caller {
	uid_t uid;
	gid_t gid;
	bool known;
	gid_t *sorted;
	size_t count;
};

static int by_id(const void *a, const void *b)
{
	const struct policy_edge *x = a, *y = b;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (x->expr > y->expr) - (x->expr < y->expr);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

int policy_subject_init(struct policy *p)
{
	struct policy_subjects *s = &p->subjects;
	size_t caps[4] = {0};
	s->table = calloc(POLICY_IDENTITIES, sizeof(*s->table));
	if (!s->table)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->nexprs; i++) {
		for (uint32_t j = 0; j < p->exprs[i].included; j++) {
			const struct policy_item *item = &p->items[p->exprs[i].first + j];
			struct policy_edges *e = &s->edges[item->kind];
			if (policy_map_grow(
				    &e->list, &caps[item->kind], e->count, sizeof(*e->list)))
				return -ENOMEM;
			e->list[e->count++] = (struct policy_edge){item->id, i};
		}
	}
	for (int k = 0; k < 4; k++)
		if (s->edges[k].count)
			qsort(s->edges[k].list, s->edges[k].count, sizeof(struct policy_edge),
				by_id);
	return 0;
}

void policy_subject_done(struct policy_subjects *s)
{
	for (uint32_t i = 0; s->table && i < POLICY_IDENTITIES; i++)
		free(s->table[i]);
	free((void *)s->table);
	for (int k = 0; k < 4; k++)
		free(s->edges[k].list);
}

/* Expressions that a caller may be in, unsorted while they are collected. */
struct reached {
	uint32_t *list;
	size_t count, cap;
	uint8_t *truth; /* enum truth of every expression */
	bool *seen;
};

static void reached_done(struct reached *r)
{
	free(r->list);
	free(r->truth);
	free(r->seen);
}

static int follow(const struct policy_edges *e, uint32_t id, struct reached *r)
{
	size_t low = 0, high = e->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (e->list[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < e->count && e->list[low].id == id; low++) {
		uint32_t expr = e->list[low].expr;
		if (r->seen[expr])
			continue;
		if (policy_map_grow(&r->list, &r->cap, r->count, sizeof(*r->list)))
			return -ENOMEM;
		r->seen[expr] = true;
		r->list[r->count++] = expr;
	}
	return 0;
}

static int reach(const struct policy *p, const struct caller *c, struct reached *r)
{
	const struct policy_edges *edges = p->subjects.edges;
	r->truth = calloc(p->nexprs, 1);
	r->seen = calloc(p->nexprs, sizeof(*r->seen));
	if (!r->truth || !r->seen)
		return -ENOMEM;
	int rc = follow(&edges[POLICY_ANYONE], 0, r);
	if (!rc)
		rc = follow(&edges[POLICY_USER], c->uid, r);
	if (!rc)
		rc = follow(&edges[POLICY_GROUP], c->gid, r);
	for (size_t i = 0; !rc && i < c->count; i++)
		rc = follow(&edges[POLICY_GROUP], c->sorted[i], r);
	for (size_t i = 0; !rc && i < r->count; i++) /* the list grows meanwhile */
		rc = follow(&edges[POLICY_EXPR], r->list[i], r);
	if (!rc && r->count)
		qsort(r->list, r->count, sizeof(*r->list), by_number);
	return rc;
}

static enum truth item_truth(const struct policy *p, const struct caller *c,
	const struct reached *r, const struct policy_item *item)
{
	switch ((enum policy_item_kind)item->kind) {
	case POLICY_ANYONE:
		return YES;
	case POLICY_USER:
		return item->id == c->uid ? YES : NO;
	case POLICY_GROUP:
		if (item->id == c->gid)
			return YES;
		if (!c->known)
			return MAYBE;
		return c->count && bsearch(&item->id, c->sorted, c->count, sizeof(gid_t), by_number)
			       ? YES
			       : NO;
	case POLICY_EXPR:
		if (!r->seen[item->id])
			return !c->known && p->exprs[item->id].groups ? MAYBE : NO;
		return (enum truth)r->truth[item->id];
	}
	return NO;
}

/* Of expressions in ascending order: those that e refers to have been judged. */
static enum truth expr_truth(const struct policy *p, const struct caller *c,
	const struct reached *r, const struct policy_expr *e)
{
	enum truth in = NO, out = NO;
	const struct policy_item *items = &p->items[e->first];
	for (uint32_t i = 0; i < e->included && in != YES; i++) {
		enum truth t = item_truth(p, c, r, &items[i]);
		in = t > in ? t : in;
	}
	for (uint32_t i = 0; i < e->excluded && out != YES; i++) {
		enum truth t = item_truth(p, c, r, &items[e->included + i]);
		out = t > out ? t : out;
	}
	enum truth without = (enum truth)(YES - out);
	return in < without ? in : without;
}

static struct policy_identity *judge(
	const struct policy *p, const struct caller *c, uint64_t hash, const gid_t *groups)
{
	struct reached r AUTO(reached_done) = {0};
	if (reach(p, c, &r))
		return NULL;
	struct policy_identity *id =
		malloc(sizeof(*id) + (c->count + r.count) * sizeof(id->data[0]));
	if (!id)
		return NULL;
	*id = (struct policy_identity){.hash = hash,
		.uid = c->uid,
		.gid = c->gid,
		.known = c->known,
		.groups = (uint32_t)c->count};
	if (c->count)
		memcpy(id->data, groups, c->count * sizeof(*groups));
	for (size_t i = 0; i < r.count; i++) {
		const struct policy_expr *e = &p->exprs[r.list[i]];
		enum truth t = expr_truth(p, c, &r, e);
		r.truth[r.list[i]] = (uint8_t)t;
		if (t == YES && e->used)
			id->data[id->groups + id->yes++] = r.list[i];
	}
	return id;
}

static bool is_identity(const struct policy_identity *id, uint64_t hash, const struct caller *c,
	const gid_t *groups)
{
	return id->hash == hash && id->uid == c->uid && id->gid == c->gid &&
	       id->known == c->known && id->groups == c->count &&
	       (!c->count || !memcmp(id->data, groups, c->count * sizeof(*groups)));
}

static uint64_t hash_caller(const struct caller *c, const gid_t *groups)
{
	uint64_t seed = (uint64_t)c->uid << 32 | c->gid;
	if (!c->known)
		return (seed ^ seed >> 29) * 0x9e3779b97f4a7c15u;
	return XXH3_64bits_withSeed(
		c->count ? (const void *)groups : "", c->count * sizeof(*groups), seed);
}

/* The remembered identity, or NULL; *ret_slot: where a new one would go, or NULL when there is no
 * room. */
static const struct policy_identity *remembered(const struct policy_subjects *s, uint64_t hash,
	const struct caller *c, const gid_t *groups, _Atomic(struct policy_identity *) **ret_slot)
{
	*ret_slot = NULL;
	for (uint32_t i = 0; i < 16; i++) {
		_Atomic(struct policy_identity *) *slot =
			&s->table[((hash >> 32) + i) % POLICY_IDENTITIES];
		const struct policy_identity *id = atomic_load_explicit(slot, memory_order_acquire);
		if (!id) {
			*ret_slot = slot;
			return NULL;
		}
		if (is_identity(id, hash, c, groups))
			return id;
	}
	return NULL;
}

const struct policy_identity *policy_subject_get(struct policy *p, uid_t uid, gid_t gid, bool known,
	const gid_t *groups, size_t count, struct policy_identity **ret_temporary)
{
	struct caller c = {.uid = uid, .gid = gid, .known = known, .count = known ? count : 0};
	_Atomic(struct policy_identity *) *slot;
	uint64_t hash = hash_caller(&c, groups);
	const struct policy_identity *id = remembered(&p->subjects, hash, &c, groups, &slot);
	if (id)
		return id;
	AUTO_FREE gid_t *sorted = NULL;
	if (c.count) {
		sorted = malloc(c.count * sizeof(*sorted));
		if (!sorted)
			return NULL;
		memcpy(sorted, groups, c.count * sizeof(*sorted));
		qsort(sorted, c.count, sizeof(*sorted), by_number);
		c.sorted = sorted;
	}
	struct policy_identity *new = judge(p, &c, hash, groups), *none = NULL;
	if (new &&slot && atomic_compare_exchange_strong(slot, &none, new))
		return new;
	*ret_temporary = new;
	return new;
}

bool policy_subject_has(const struct policy_identity *id, uint32_t subject)
{
	const uint32_t *list = id->data + id->groups;
	uint32_t from = 0, to = id->yes;
	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		if (list[middle] == subject)
			return true;
		if (list[middle] < subject)
			from = middle + 1;
		else
			to = middle;
	}
	return false;
}
