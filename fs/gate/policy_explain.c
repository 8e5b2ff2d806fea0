#include "fs/gate/policy_parts.h"

#include <errno.h>

static const char *const act_words[] = {"list", "read", "write", "create", "delete", "manage"};

static void put_acts(struct buf *text, unsigned acts)
{
	bool first = true;
	for (unsigned i = 0; i < sizeof(act_words) / sizeof(act_words[0]); i++) {
		if (!(acts & 1u << i))
			continue;
		buf_printf(text, "%s%s", first ? "" : ",", act_words[i]);
		first = false;
	}
}

static policy_state walk(struct policy *p, const char *path)
{
	policy_state at = policy_root(p);
	AUTO_BUF name = {0};
	while (*path) {
		size_t len = strcspn(path, "/");
		if (len) {
			buf_reset(&name);
			buf_put(&name, path, len);
			if (!buf_ok(&name))
				return 0;
			at = policy_step(p, at, (const char *)name.data);
		}
		path += len + (path[len] == '/');
	}
	return at;
}

static bool has(const uint32_t *list, size_t count, uint32_t rule)
{
	size_t from = 0, to = count;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (list[middle] == rule)
			return true;
		if (list[middle] < rule)
			from = middle + 1;
		else
			to = middle;
	}
	return false;
}

static const char *yes_no(bool yes)
{
	return yes ? "yes" : "no";
}

struct trace {
	const struct policy_identity *id;
	const uint32_t *here, *below;
	size_t nhere, nbelow;
	unsigned acts;
	int64_t now;
};

/* False when neither user nor path fit: such rules are only counted. */
static bool put_rule(
	const struct policy *p, uint32_t number, const struct trace *t, struct buf *text)
{
	const struct policy_rule *r = &p->rules[number];
	bool user = t->id && policy_subject_has(t->id, r->subject);
	bool path = has(t->here, t->nhere, number);
	bool below = !path && has(t->below, t->nbelow, number);
	if (!user && !path)
		return false;
	const char *time = t->now < r->from ? "not yet" : t->now >= r->until ? "over" : "yes";
	buf_printf(text, "  %s %s (line %u): user %s, path %s, action %s, time %s\n",
		r->permit ? "permit" : "forbid", policy_string(p, r->name), r->line, yes_no(user),
		path    ? "yes"
		: below ? "below"
			: "no",
		yes_no(r->acts & t->acts), time);
	return true;
}

static void put_verdict(const char *path, const struct policy_subject *who, unsigned acts,
	const struct policy_verdict *v, struct buf *text)
{
	buf_printf(text, "user %u, ", (unsigned)who->uid);
	put_acts(text, acts);
	buf_printf(text, " on %s: ", path);
	if (!v->allowed) {
		buf_printf(text, "denied with %s: %s\n", v->error == -EACCES ? "EACCES" : "ENOENT",
			v->failed);
		return;
	}
	if (v->traverse)
		buf_str(text,
			strcmp(path, "/")
				? "allowed for a directory, as the way to what is permitted below"
				: "allowed, as for everybody");
	else
		buf_str(text, "allowed");
	for (unsigned i = 0; i < POLICY_RULES_MAX && v->rules[i]; i++)
		buf_printf(text, "%s%s", i ? ", " : " by ", v->rules[i]);
	if (v->because)
		buf_printf(text, " because \"%s\"", v->because);
	buf_str(text, "\n");
}

void policy_explain(struct policy *p, const struct policy_subject *who, const char *path,
	unsigned acts, int64_t now, struct policy_verdict *ret, struct buf *text)
{
	policy_state at = walk(p, path);
	policy_decide(p, who, at, acts, now, ret);
	put_verdict(path, who, acts, ret, text);
	const struct policy_set *set = policy_automaton_set(&p->automaton, at);
	if (!set)
		return;
	size_t groups = 0, others = 0;
	const gid_t *list = who->groups ? who->groups(who->context, &groups) : NULL;
	struct policy_identity *temporary AUTO(cleanup_free) = NULL;
	struct trace t = {.acts = acts, .now = now};
	AUTO_FREE uint32_t *here = policy_index_rules(&p->here, set, &t.nhere);
	AUTO_FREE uint32_t *below = policy_index_rules(&p->below, set, &t.nbelow);
	text->failed |= !here || !below;
	if (!here || !below)
		return;
	t.here = here;
	t.below = below;
	t.id = policy_subject_get(p, who->uid, who->gid, list != NULL, list, groups, &temporary);
	for (uint32_t i = 0; i < p->nrules; i++)
		others += !put_rule(p, i, &t, text);
	if (others)
		buf_printf(text, "  %zu other rule%s: neither user nor path\n", others,
			others == 1 ? "" : "s");
}
