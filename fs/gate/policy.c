#include "fs/gate/policy_parts.h"

#include <errno.h>

/* What the rules at one path say for one caller. */
struct tally {
	unsigned permit, forbid; /* actions, of rules whose time it is */
	unsigned late;           /* actions that a permit would give at another time */
	bool user;               /* a permit here is for this caller */
	bool below;              /* a permit below here is for this caller */
	uint32_t permits[POLICY_RULES_MAX], forbids[POLICY_RULES_MAX];
	unsigned npermits, nforbids;
};

static void free_policy(struct policy *p)
{
	policy_automaton_done(&p->automaton);
	policy_index_done(&p->here);
	policy_index_done(&p->below);
	policy_subject_done(&p->subjects);
	buf_done(&p->strings);
	free(p->text);
	free(p->rules);
	free(p->paths);
	free(p->exprs);
	free(p->items);
	free(p->bounds);
	free(p);
}

static void free_policy_auto(struct policy **p)
{
	if (*p)
		free_policy(*p);
}

static struct policy *new_policy(const char *text, size_t len)
{
	struct policy *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	if (policy_automaton_init(&p->automaton)) {
		free(p);
		return NULL;
	}
	atomic_init(&p->refs, 1);
	p->text = malloc(len + 1);
	if (!p->text) {
		free_policy(p);
		return NULL;
	}
	memcpy(p->text, text, len);
	p->text[len] = 0;
	p->text_len = len;
	return p;
}

static int by_moment(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static int note_bounds(struct policy *p)
{
	p->bounds = calloc(p->nrules * 2 + 1, sizeof(*p->bounds));
	if (!p->bounds)
		return -ENOMEM;
	for (size_t i = 0; i < p->nrules; i++) {
		if (p->rules[i].from != INT64_MIN)
			p->bounds[p->nbounds++] = p->rules[i].from;
		if (p->rules[i].until != INT64_MAX)
			p->bounds[p->nbounds++] = p->rules[i].until;
	}
	if (p->nbounds)
		qsort(p->bounds, p->nbounds, sizeof(*p->bounds), by_moment);
	return 0;
}

static int finish(struct policy *p)
{
	int rc = note_bounds(p);
	if (!rc)
		rc = policy_index_build(p);
	if (!rc)
		rc = policy_subject_init(p);
	return rc ? rc : policy_automaton_start(&p->automaton);
}

int policy_compile(const char *text, size_t len, const char *tenant,
	const struct policy_names *names, struct policy_mistakes *ret_mistakes, struct policy **ret)
{
	struct policy *p AUTO(free_policy_auto) = new_policy(text, len);
	if (!p)
		return -ENOMEM;
	*ret_mistakes = (struct policy_mistakes){0};
	int rc = policy_parse_text(p, tenant, names, ret_mistakes);
	if (!rc)
		rc = finish(p);
	if (rc)
		return rc;
	policy_check_warn(p, ret_mistakes);
	*ret = p;
	p = NULL;
	return 0;
}

struct policy *policy_deny_all(void)
{
	struct policy *p AUTO(free_policy_auto) = new_policy("", 0);
	if (!p || finish(p))
		return NULL;
	struct policy *ret = p;
	p = NULL;
	return ret;
}

struct policy *policy_get(struct policy *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void policy_put(struct policy *p)
{
	if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		free_policy(p);
}

policy_state policy_root(struct policy *p)
{
	(void)p;
	return 1;
}

policy_state policy_step(struct policy *p, policy_state dir, const char *name)
{
	return policy_automaton_step(&p->automaton, dir, name);
}

static bool in_time(const struct policy_rule *r, int64_t now)
{
	return now >= r->from && now < r->until;
}

/* A group of rules of one subject at one node. Ends early once no further rule can add an action.
 */
static void add_rules(const struct policy *p, const struct policy_group *g, unsigned wanted,
	unsigned acts, int64_t now, struct tally *t)
{
	t->user |= g->permit != 0;
	if (!((g->permit | g->forbid) & wanted))
		return;
	for (uint32_t i = 0; i < g->count; i++) {
		uint32_t number = p->here.rules[g->first + i];
		const struct policy_rule *r = &p->rules[number];
		unsigned hits = r->acts & wanted;
		if (!hits)
			continue;
		if (!in_time(r, now)) {
			t->late |= r->permit ? hits : 0;
			continue;
		}
		if (r->permit) {
			t->permit |= hits;
			if ((hits & acts) && t->npermits < POLICY_RULES_MAX)
				t->permits[t->npermits++] = number;
		} else {
			t->forbid |= hits;
			if ((hits & acts) && t->nforbids < POLICY_RULES_MAX)
				t->forbids[t->nforbids++] = number;
		}
		if (!((g->permit & ~t->permit) & wanted) && !((g->forbid & ~t->forbid) & wanted))
			return;
	}
}

static bool below_in_time(const struct policy *p, const struct policy_group *g, int64_t now)
{
	for (uint32_t i = 0; i < g->count; i++)
		if (in_time(&p->rules[p->below.rules[g->first + i]], now))
			return true;
	return false;
}

/*
 * Iterates over the groups at a node that hold for the caller, from the shorter side: the node's
 * groups or the caller's expressions. cursor starts at 0; NULL ends.
 */
static const struct policy_group *next_group(const struct policy_index *x, uint32_t node,
	const struct policy_identity *id, uint32_t *cursor)
{
	uint32_t from = x->node_first[node], to = x->node_first[node + 1];
	if (to - from <= id->yes) {
		while (from + *cursor < to) {
			const struct policy_group *g = &x->groups[from + (*cursor)++];
			if (policy_subject_has(id, g->subject))
				return g;
		}
		return NULL;
	}
	while (*cursor < id->yes) {
		const struct policy_group *g =
			policy_index_find(x, node, id->data[id->groups + (*cursor)++]);
		if (g)
			return g;
	}
	return NULL;
}

static void count(const struct policy *p, const struct policy_set *set,
	const struct policy_identity *id, unsigned wanted, unsigned acts, int64_t now,
	struct tally *t)
{
	*t = (struct tally){0};
	for (uint32_t i = 0; i < set->count; i++) {
		uint32_t cursor = 0;
		const struct policy_group *g;
		while ((g = next_group(&p->here, set->nodes[i], id, &cursor)))
			add_rules(p, g, wanted, acts, now, t);
		cursor = 0;
		while (!t->below && (g = next_group(&p->below, set->nodes[i], id, &cursor)))
			t->below = below_in_time(p, g, now);
	}
}

struct outcome {
	bool allowed, listed, traverse;
};

/* docs/policy.md, "Who sees a directory": the root for everybody, and the way to what is permitted.
 */
static struct outcome judge(
	policy_state at, unsigned acts, unsigned permit, unsigned forbid, bool below)
{
	below = below && !(acts & POLICY_FILE);
	acts &= ACT_ANY;
	unsigned fine = permit & ~forbid;
	bool own = fine & ACT_LIST;
	bool way = !own && (at == 1 || (below && !(forbid & ACT_LIST)));
	if (own || way)
		fine |= ACT_LIST;
	return (struct outcome){.allowed = !(acts & ~fine),
		.listed = own || way,
		.traverse = way && (acts & ACT_LIST)};
}

static const char *nearest_miss(
	const struct policy *p, const struct policy_set *set, const struct tally *t, unsigned acts)
{
	unsigned missing = acts & ACT_ANY & ~t->permit;
	if (acts & t->forbid)
		return "forbidden";
	if (missing & t->late)
		return "time";
	if (t->user)
		return "action";
	if (set->permits)
		return "user";
	return p->any_permit ? "path" : "no rule";
}

static void fill(const struct policy *p, const struct policy_set *set, const struct tally *t,
	const struct outcome *o, unsigned acts, struct policy_verdict *ret)
{
	*ret = (struct policy_verdict){0};
	ret->allowed = o->allowed;
	ret->traverse = o->allowed && o->traverse;
	if (!o->allowed) {
		ret->error = o->listed ? -EACCES : -ENOENT;
		ret->failed = nearest_miss(p, set, t, acts);
		for (unsigned i = 0; i < t->nforbids; i++)
			ret->rules[i] = policy_string(p, p->rules[t->forbids[i]].name);
		return;
	}
	for (unsigned i = 0; i < t->npermits; i++)
		ret->rules[i] = policy_string(p, p->rules[t->permits[i]].name);
	if (t->npermits)
		ret->because = policy_string(p, p->rules[t->permits[0]].because);
}

/* False when it depends on the groups. ret: what holds at least. */
static bool decide_by_ids(struct policy *p, const struct policy_subject *who, policy_state at,
	const struct policy_set *set, unsigned acts, int64_t now, struct tally *t,
	struct outcome *ret)
{
	unsigned wanted = (acts & ACT_ANY) | ACT_LIST;
	struct policy_identity *temporary AUTO(cleanup_free) = NULL;
	const struct policy_identity *id =
		policy_subject_get(p, who->uid, who->gid, false, NULL, 0, &temporary);
	if (!id) { /* no memory */
		*t = (struct tally){.forbid = wanted};
		*ret = judge(at, acts, 0, wanted, false);
		return true;
	}
	count(p, set, id, wanted, acts, now, t);
	struct outcome least = judge(at, acts, t->permit, t->forbid | set->group_forbid, t->below);
	struct outcome most = judge(
		at, acts, t->permit | set->group_permit, t->forbid, t->below || set->group_below);
	*ret = least;
	return least.allowed == most.allowed &&
	       (least.allowed ? least.traverse == most.traverse : least.listed == most.listed);
}

static bool decide_by_groups(struct policy *p, const struct policy_subject *who, policy_state at,
	const struct policy_set *set, unsigned acts, int64_t now, struct tally *t,
	struct outcome *ret)
{
	size_t n = 0;
	const gid_t *groups = who->groups ? who->groups(who->context, &n) : NULL;
	if (!groups)
		return false;
	struct policy_identity *temporary AUTO(cleanup_free) = NULL;
	const struct policy_identity *id =
		policy_subject_get(p, who->uid, who->gid, true, groups, n, &temporary);
	if (!id)
		return false;
	count(p, set, id, (acts & ACT_ANY) | ACT_LIST, acts, now, t);
	*ret = judge(at, acts, t->permit, t->forbid, t->below);
	return true;
}

void policy_decide(struct policy *p, const struct policy_subject *who, policy_state at,
	unsigned acts, int64_t now, struct policy_verdict *ret)
{
	*ret = (struct policy_verdict){.error = -ENOENT, .failed = "no rule"};
	const struct policy_set *set = policy_automaton_set(&p->automaton, at);
	if (!set)
		return;
	struct tally t;
	struct outcome o;
	if (!decide_by_ids(p, who, at, set, acts, now, &t, &o))
		(void)decide_by_groups(p, who, at, set, acts, now, &t, &o);
	fill(p, set, &t, &o, acts, ret);
}

bool policy_uniform_here(struct policy *p, policy_state at)
{
	const struct policy_set *set = policy_automaton_set(&p->automaton, at);
	return set && set->uniform_here;
}

bool policy_all_alike(struct policy *p, policy_state at)
{
	return at == policy_root(p) || policy_uniform_here(p, at);
}

/* The next node of a set, from *at on, at which rules end; POLICY_NONE: no more. */
static uint32_t next_ruled(const struct policy *p, const struct policy_set *set, uint32_t *at)
{
	const uint32_t *first = p->here.node_first;
	while (*at < set->count) {
		uint32_t node = set->nodes[(*at)++];
		if (first[node] < first[node + 1])
			return node;
	}
	return POLICY_NONE;
}

bool policy_behind(struct policy *p, policy_state dir, policy_state file)
{
	const struct policy_set *d = policy_automaton_set(&p->automaton, dir);
	const struct policy_set *f = policy_automaton_set(&p->automaton, file);
	uint32_t node, i = 0, k = 0;
	if (!d || !f || dir == policy_root(p) || d->leads_past)
		return false;
	do {
		node = next_ruled(p, d, &i);
		if (next_ruled(p, f, &k) != node)
			return false;
	} while (node != POLICY_NONE);
	return true;
}

int64_t policy_boundary(struct policy *p, int64_t now)
{
	size_t low = 0, high = p->nbounds;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (p->bounds[middle] <= now)
			low = middle + 1;
		else
			high = middle;
	}
	return low < p->nbounds ? p->bounds[low] : INT64_MAX;
}

const char *policy_text(const struct policy *p, size_t *ret_len)
{
	*ret_len = p->text_len;
	return p->text;
}

bool policy_same_rules(struct policy *p, policy_state a, policy_state b)
{
	const struct policy_set *x = policy_automaton_set(&p->automaton, a);
	const struct policy_set *y = policy_automaton_set(&p->automaton, b);
	if (!x || !y)
		return false;
	if (x == y)
		return true;
	size_t nx = 0, ny = 0;
	AUTO_FREE uint32_t *rx = policy_index_rules(&p->here, x, &nx);
	AUTO_FREE uint32_t *ry = policy_index_rules(&p->here, y, &ny);
	return rx && ry && nx == ny && !memcmp(rx, ry, nx * sizeof(*rx));
}
