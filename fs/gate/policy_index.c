#include "fs/gate/policy_parts.h"

#include <errno.h>

/* Rule `rule` for `subject` ends at node, or below it. */
struct entry {
	uint32_t node, subject, rule;
};
struct entries {
	struct entry *list;
	size_t count, cap;
};

static void entries_done(struct entries *e)
{
	free(e->list);
}

static int put(struct entries *e, uint32_t node, uint32_t subject, uint32_t rule)
{
	if (policy_map_grow(&e->list, &e->cap, e->count, sizeof(*e->list)))
		return -ENOMEM;
	e->list[e->count++] = (struct entry){node, subject, rule};
	return 0;
}

static int by_node(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	if (x->subject != y->subject)
		return x->subject < y->subject ? -1 : 1;
	return (x->rule > y->rule) - (x->rule < y->rule);
}

void policy_index_done(struct policy_index *x)
{
	free(x->node_first);
	free(x->groups);
	free(x->rules);
	*x = (struct policy_index){0};
}

static bool mixed(const struct policy_rule *r)
{
	return r->subject != POLICY_EVERYBODY || r->from != INT64_MIN || r->until != INT64_MAX;
}

static void note_here(struct policy *p, const struct policy_rule *r, struct policy_node *n)
{
	n->permits |= r->permit;
	n->mixed_here |= mixed(r);
	if (!p->exprs[r->subject].groups)
		return;
	if (r->permit)
		n->group_permit |= r->acts;
	else
		n->group_forbid |= r->acts;
}

static int note_below(struct policy *p, uint32_t rule, uint32_t node, struct entries *below)
{
	const struct policy_rule *r = &p->rules[rule];
	struct policy_node *n = &p->automaton.nodes[node];
	if (!r->permit)
		return 0;
	n->mixed_permit_below |= mixed(r);
	n->group_below |= p->exprs[r->subject].groups;
	return put(below, node, r->subject, rule);
}

static int note_path(
	struct policy *p, uint32_t rule, uint32_t node, struct entries *here, struct entries *below)
{
	struct policy_node *nodes = p->automaton.nodes;
	note_here(p, &p->rules[rule], &nodes[node]);
	int rc = put(here, node, p->rules[rule].subject, rule);
	/* what a final `**` permits lies also below every directory that it matches */
	if (!rc && nodes[node].kind == POLICY_LOOP)
		rc = note_below(p, rule, node, below);
	for (uint32_t up = nodes[node].parent; !rc && up != POLICY_NONE; up = nodes[up].parent)
		rc = note_below(p, rule, up, below);
	return rc;
}

static bool same_group(const struct entry *a, const struct entry *b)
{
	return a->node == b->node && a->subject == b->subject;
}

static void group_rules(const struct policy *p, struct policy_index *x, struct policy_group *g,
	const struct entry *from, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i && from[i].rule == from[i - 1].rule)
			continue;
		const struct policy_rule *r = &p->rules[from[i].rule];
		x->rules[g->first + g->count++] = from[i].rule;
		if (r->permit)
			g->permit |= r->acts;
		else
			g->forbid |= r->acts;
	}
}

static int arrange(const struct policy *p, struct entries *e, struct policy_index *x)
{
	size_t nodes = p->automaton.count, groups = 0, rules = 0;
	if (e->count)
		qsort(e->list, e->count, sizeof(*e->list), by_node);
	x->node_first = calloc(nodes + 1, sizeof(*x->node_first));
	x->groups = calloc(e->count + 1, sizeof(*x->groups));
	x->rules = calloc(e->count + 1, sizeof(*x->rules));
	if (!x->node_first || !x->groups || !x->rules)
		return -ENOMEM;
	uint32_t node = 0;
	for (size_t i = 0, end; i < e->count; i = end) {
		for (end = i + 1; end < e->count && same_group(&e->list[i], &e->list[end]); end++)
			;
		while (node < e->list[i].node)
			x->node_first[++node] = (uint32_t)groups;
		struct policy_group *g = &x->groups[groups++];
		*g = (struct policy_group){.subject = e->list[i].subject, .first = (uint32_t)rules};
		group_rules(p, x, g, &e->list[i], end - i);
		rules += g->count;
	}
	while (node < nodes)
		x->node_first[++node] = (uint32_t)groups;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static bool lists_at(const struct policy *p, uint32_t node, uint32_t subject, uint32_t rule)
{
	const struct policy_group *g =
		node == POLICY_NONE ? NULL : policy_index_find(&p->here, node, subject);
	return g && (p->rules[rule].acts & ACT_LIST) &&
	       bsearch(&rule, &p->here.rules[g->first], g->count, sizeof(rule), by_number);
}

/* Who is at a node is also at the `**` behind it. */
static bool leads_past(const struct policy *p, uint32_t node)
{
	const struct policy_index *x = &p->below;
	for (uint32_t g = x->node_first[node]; g < x->node_first[node + 1]; g++)
		for (uint32_t i = 0; i < x->groups[g].count; i++) {
			uint32_t subject = x->groups[g].subject,
				 rule = x->rules[x->groups[g].first + i];
			if (!lists_at(p, node, subject, rule) &&
				!lists_at(p, p->automaton.nodes[node].loop, subject, rule))
				return true;
		}
	return false;
}

int policy_index_build(struct policy *p)
{
	struct entries here AUTO(entries_done) = {0};
	struct entries below AUTO(entries_done) = {0};
	for (uint32_t i = 0; i < p->nrules; i++) {
		p->exprs[p->rules[i].subject].used = true;
		p->any_permit |= p->rules[i].permit;
		for (uint32_t j = 0; j < p->rules[i].paths; j++) {
			int rc =
				note_path(p, i, p->paths[p->rules[i].path + j].node, &here, &below);
			if (rc)
				return rc;
		}
	}
	int rc = arrange(p, &here, &p->here);
	if (!rc)
		rc = arrange(p, &below, &p->below);
	for (uint32_t i = 0; !rc && i < p->automaton.count; i++)
		p->automaton.nodes[i].leads_past = leads_past(p, i);
	return rc;
}

uint32_t *policy_index_rules(
	const struct policy_index *x, const struct policy_set *set, size_t *ret_count)
{
	size_t n = 0, kept = 0;
	for (uint32_t i = 0; i < set->count; i++)
		for (uint32_t g = x->node_first[set->nodes[i]];
			g < x->node_first[set->nodes[i] + 1]; g++)
			n += x->groups[g].count;
	uint32_t *list = calloc(n + 1, sizeof(*list));
	if (!list)
		return NULL;
	n = 0;
	for (uint32_t i = 0; i < set->count; i++)
		for (uint32_t g = x->node_first[set->nodes[i]];
			g < x->node_first[set->nodes[i] + 1]; g++)
			for (uint32_t r = 0; r < x->groups[g].count; r++)
				list[n++] = x->rules[x->groups[g].first + r];
	qsort(list, n, sizeof(*list), by_number);
	for (size_t i = 0; i < n; i++)
		if (!kept || list[kept - 1] != list[i])
			list[kept++] = list[i];
	*ret_count = kept;
	return list;
}

const struct policy_group *policy_index_find(
	const struct policy_index *x, uint32_t node, uint32_t subject)
{
	uint32_t from = x->node_first[node], to = x->node_first[node + 1];
	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		if (x->groups[middle].subject == subject)
			return &x->groups[middle];
		if (x->groups[middle].subject < subject)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}
