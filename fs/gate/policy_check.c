#include "fs/gate/policy_parts.h"

/* Actions that forbids without an end deny to exactly these subjects at a node. */
static unsigned forbidden_to(const struct policy *p, uint32_t node, uint32_t subject)
{
	const struct policy_group *g = policy_index_find(&p->here, node, subject);
	unsigned acts = 0;
	for (uint32_t i = 0; g && i < g->count && (g->forbid & ~acts); i++) {
		const struct policy_rule *r = &p->rules[p->here.rules[g->first + i]];
		if (!r->permit && r->from == INT64_MIN && r->until == INT64_MAX)
			acts |= r->acts;
	}
	return acts;
}

static unsigned forbidden_at(const struct policy *p, uint32_t node, uint32_t subject)
{
	return forbidden_to(p, node, subject) | forbidden_to(p, node, POLICY_EVERYBODY);
}

/* Whether forbids on the same path, or on a `**` around it, leave nothing of a permit at one of its
 * paths. */
static bool path_shadowed(const struct policy *p, const struct policy_rule *r, uint32_t node)
{
	const struct policy_node *nodes = p->automaton.nodes;
	unsigned acts = forbidden_at(p, node, r->subject);
	for (uint32_t up = node; (r->acts & ~acts) && up != POLICY_NONE; up = nodes[up].parent)
		if (nodes[up].loop != POLICY_NONE)
			acts |= forbidden_at(p, nodes[up].loop, r->subject);
	return !(r->acts & ~acts);
}

static bool shadowed(const struct policy *p, const struct policy_rule *r)
{
	for (uint32_t i = 0; i < r->paths; i++)
		if (!path_shadowed(p, r, p->paths[r->path + i].node))
			return false;
	return true;
}

/* A path is surely a directory's where the same rule goes on below it. */
static bool goes_on_below(const struct policy *p, const struct policy_rule *r, uint32_t node)
{
	uint32_t loop = p->automaton.nodes[node].loop;
	for (uint32_t i = 0; loop != POLICY_NONE && i < r->paths; i++)
		if (p->paths[r->path + i].node == loop)
			return true;
	return false;
}

static void warn_rule(
	const struct policy *p, const struct policy_rule *r, struct policy_mistakes *m)
{
	if (r->until <= r->from)
		policy_mistakes_add(m, r->line, r->column, true,
			"this rule can never apply: it ends before it begins");
	else if (r->permit && shadowed(p, r))
		policy_mistakes_add(m, r->line, r->column, true,
			"this permit can never apply: forbid covers its subjects, actions and "
			"paths");
	if (r->permit && r->subject == POLICY_EVERYBODY && r->until == INT64_MAX)
		policy_mistakes_add(m, r->line, r->column, true,
			"this permits anyone something without an end; name the subjects or add "
			"until");
	for (uint32_t i = 0; i < r->paths; i++) {
		const struct policy_path *path = &p->paths[r->path + i];
		if (path->splits && (r->acts & (ACT_READ | ACT_WRITE)) &&
			!goes_on_below(p, r, path->node))
			policy_mistakes_add(m, r->line, path->column, true,
				"this rule splits a directory: whoever writes to the store could "
				"swap two "
				"files in it; give such files a directory of their own");
	}
}

void policy_check_warn(const struct policy *p, struct policy_mistakes *mistakes)
{
	for (size_t i = 0; i < p->nrules; i++)
		warn_rule(p, &p->rules[i], mistakes);
}
