/*
 * Text -> rules, expressions and paths. One statement a line. After a mistake in a line's structure
 * the reader goes on at the next line; an unknown name or a bad path costs only itself, so that one
 * run reports everything.
 */
#include "fs/gate/policy_parser.h"

#define COMPONENT_MAX 255u

static void parser_done(struct policy_parser *ps)
{
	policy_map_done(&ps->known);
	buf_done(&ps->scratch);
}

static uint32_t keep_string(struct policy_parser *ps, const char *s, size_t len)
{
	uint32_t at = (uint32_t)ps->p->strings.len;
	buf_put(&ps->p->strings, s, len);
	buf_put8(&ps->p->strings, 0);
	if (!buf_ok(&ps->p->strings))
		policy_parser_no_memory(ps);
	return at;
}

bool policy_parse_take(struct policy_parser *ps, bool stars, bool quoted_only)
{
	size_t at = ps->w.at;
	const char *wrong = NULL;
	buf_reset(&ps->scratch);
	if (policy_words_text(&ps->w, stars, quoted_only, &ps->scratch, &at, &wrong)) {
		if (buf_ok(&ps->scratch))
			return true;
		return policy_parser_no_memory(ps);
	}
	POLICY_MISTAKE(ps, at, "%s", wrong);
	return false;
}

static bool parse_acts(struct policy_parser *ps, unsigned *ret)
{
	bool fine = true;
	do {
		policy_words_more(&ps->w, false);
		struct policy_word word = policy_words_see(&ps->w);
		unsigned act = policy_words_act(word);
		if (!act) {
			POLICY_MISTAKE(ps, ps->w.at,
				"expected an action: list, read, write, create, delete, manage or "
				"any");
			fine = false;
		}
		if (!policy_words_is(word, "on")) /* the word that comes next, when only the action
						     was forgotten */
			policy_words_name(&ps->w);
		*ret |= act;
		policy_words_more(&ps->w, false);
	} while (policy_words_peek(&ps->w) == ',' && ps->w.at++ < ps->w.end);
	return fine;
}

/* Checks the path in scratch. NULL, or what is wrong with it. */
static const char *check_path(const uint8_t *path, size_t len)
{
	if (!len || path[0] != '/')
		return "a path begins with \"/\", the tenant's own top folder";
	if (len > POLICY_PATH_MAX)
		return "a path has at most 4,095 bytes";
	for (size_t at = 1; at < len || (len > 1 && at == len);) {
		const uint8_t *slash = at < len ? memchr(path + at, '/', len - at) : NULL;
		size_t n = (slash ? (size_t)(slash - path) : len) - at;
		const uint8_t *c = path + at;
		if (!n)
			return at == len ? "a path does not end in \"/\"; write /DIR or /DIR/**"
					 : "\"//\" in a path: a name is missing";
		if ((n == 1 && c[0] == '.') || (n == 2 && c[0] == '.' && c[1] == '.'))
			return "\".\" and \"..\" may not stand in a path";
		if (n > COMPONENT_MAX)
			return "a name in a path has at most 255 bytes";
		bool deep = n == 2 && !c[0] && !c[1];
		for (size_t i = 0; i + 1 < n && !deep; i++)
			if (!c[i] && !c[i + 1])
				return "\"**\" stands alone between slashes; within a name one "
				       "\"*\" is enough";
		at += n + 1;
	}
	return NULL;
}

/* Whether files of one directory can be told apart by the last component. */
static bool splits(const uint8_t *path, size_t len)
{
	const uint8_t *last = (const uint8_t *)memrchr(path, '/', len) + 1;
	size_t n = (size_t)(path + len - last);
	return n && !(n == 1 && !last[0]) && !(n == 2 && !last[0] && !last[1]);
}

static bool parse_path(struct policy_parser *ps)
{
	struct policy *p = ps->p;
	size_t at = ps->w.at;
	if (!policy_parse_take(ps, true, false))
		return false;
	const uint8_t *path = ps->scratch.data;
	size_t len = ps->scratch.len;
	const char *wrong = check_path(path, len);
	if (wrong) {
		POLICY_MISTAKE(ps, at, "%s", wrong);
		return false;
	}
	if (policy_map_grow(&p->paths, &p->paths_cap, p->npaths, sizeof(*p->paths)))
		return policy_parser_no_memory(ps);
	struct policy_path new = {
		.column = policy_words_column(&ps->w, at), .splits = splits(path, len)};
	if (policy_automaton_add(&p->automaton, path, len, &new.node))
		return policy_parser_no_memory(ps);
	p->paths[p->npaths++] = new;
	return true;
}

static bool parse_paths(struct policy_parser *ps, struct policy_rule *r)
{
	bool fine = true;
	size_t start = ps->w.at, tried = 0;
	r->path = (uint32_t)ps->p->npaths;
	while (!ps->rc && policy_words_more(&ps->w, true)) {
		char c = policy_words_peek(&ps->w);
		/* a bare word without a slash in front is the next clause, once there is a path */
		if (c != '/' && c != '"' && tried)
			break;
		tried++;
		if (!parse_path(ps))
			fine = false;
	}
	if (!tried) {
		POLICY_MISTAKE(ps, start, "a path is missing after \"on\"");
		return false;
	}
	r->paths = (uint32_t)ps->p->npaths - r->path;
	return fine;
}

static bool parse_moment(struct policy_parser *ps, const char *word, bool end, int64_t *ret)
{
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	const char *wrong = policy_words_moment(&ps->w, end, &at, ret);
	if (wrong)
		POLICY_MISTAKE(ps, at, "\"%s\": %s", word, wrong);
	return !wrong;
}

static bool parse_because(struct policy_parser *ps, struct policy_rule *r)
{
	policy_words_more(&ps->w, false);
	if (!policy_parse_take(ps, false, true))
		return false;
	r->because = keep_string(ps, (const char *)ps->scratch.data, ps->scratch.len);
	return true;
}

/* Behind the paths. After an unknown clause nothing can be said about the rest of the line. */
static bool parse_clauses(struct policy_parser *ps, struct policy_rule *r)
{
	unsigned seen = 0;
	bool fine = true;
	while (!ps->rc && policy_words_more(&ps->w, false)) {
		size_t at = ps->w.at;
		struct policy_word word = policy_words_name(&ps->w);
		unsigned bit = policy_words_is(word, "from")      ? 1
			       : policy_words_is(word, "until")   ? 2
			       : policy_words_is(word, "because") ? 4
								  : 0;
		int shown = (int)(word.len > 80 ? 80 : word.len);
		if (!bit && policy_words_later(word)) {
			POLICY_MISTAKE(ps, at, "\"%.*s\" is not supported by this version", shown,
				word.at);
			return false;
		}
		if (!bit) {
			POLICY_MISTAKE(
				ps, at, "expected from, until, because or the end of the line");
			return false;
		}
		if (seen & bit) {
			POLICY_MISTAKE(
				ps, at, "\"%.*s\" stands twice in this rule", shown, word.at);
			fine = false;
		}
		seen |= bit;
		if (!(bit == 1         ? parse_moment(ps, "from", false, &r->from)
			    : bit == 2 ? parse_moment(ps, "until", true, &r->until)
				       : parse_because(ps, r)))
			return false;
	}
	return fine;
}

static bool expect(struct policy_parser *ps, const char *word, const char *sentence)
{
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	if (policy_words_is(policy_words_name(&ps->w), word))
		return true;
	POLICY_MISTAKE(ps, at, "%s", sentence);
	return false;
}

/* NAME with its uniqueness among rules or lets. */
static bool parse_name(struct policy_parser *ps, enum policy_tag tag, struct policy_word *ret)
{
	const char *what = tag == POLICY_TAG_LET ? "let" : "rule";
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	*ret = policy_words_name(&ps->w);
	if (!ret->len || ret->len > 63) {
		POLICY_MISTAKE(
			ps, at, "a %s needs a name of 1 to 63 letters, digits and . _ -", what);
		return false;
	}
	if (policy_words_reserved(*ret)) {
		POLICY_MISTAKE(ps, at, "\"%.*s\" is a word of the language and cannot name a %s",
			(int)ret->len, ret->at, what);
		return false;
	}
	if (policy_map_get(&ps->known, (uint32_t)tag, ret->at, ret->len) == POLICY_NONE)
		return true;
	POLICY_MISTAKE(ps, at, "there is already a %s \"%.*s\"", what, (int)ret->len, ret->at);
	return false;
}

static void parse_rule(struct policy_parser *ps, bool permit)
{
	struct policy *p = ps->p;
	struct policy_rule r = {.line = ps->w.line,
		.permit = permit,
		.from = INT64_MIN,
		.until = INT64_MAX,
		.because = POLICY_NONE};
	struct policy_word name;
	unsigned acts = 0;
	policy_words_more(&ps->w, false);
	r.column = policy_words_column(&ps->w, ps->w.at);
	bool fine = parse_name(ps, POLICY_TAG_RULE, &name);
	policy_words_more(&ps->w, false);
	if (policy_words_peek(&ps->w) != ':') {
		if (fine)
			POLICY_MISTAKE(ps, ps->w.at, "a \":\" must follow the rule's name");
		return;
	}
	ps->w.at++;
	if (fine && policy_map_add(&ps->known, POLICY_TAG_RULE, name.at, name.len, 0))
		policy_parser_no_memory(ps);
	fine &= policy_who_parse(ps, true, &r.subject);
	if (ps->rc || !expect(ps, "to", "expected \"to\" and the actions"))
		return;
	fine &= parse_acts(ps, &acts);
	if (!expect(ps, "on", "expected \"on\" and the paths; actions are separated by commas"))
		return;
	fine &= parse_paths(ps, &r);
	fine &= !ps->rc && parse_clauses(ps, &r);
	if (!fine || ps->rc)
		return;
	if (p->nrules == POLICY_RULES_LIMIT) {
		POLICY_MISTAKE(
			ps, ps->w.start, "a policy has at most %u rules", POLICY_RULES_LIMIT);
		policy_words_stop(&ps->w);
		return;
	}
	r.acts = (uint8_t)(permit && (acts & ACT_READ) ? acts | ACT_LIST : acts);
	r.name = keep_string(ps, name.at, name.len);
	if (policy_map_grow(&p->rules, &p->rules_cap, p->nrules, sizeof(*p->rules)))
		policy_parser_no_memory(ps);
	else
		p->rules[p->nrules++] = r;
}

static void parse_let(struct policy_parser *ps)
{
	struct policy_word name;
	uint32_t expr = POLICY_EVERYBODY;
	if (!parse_name(ps, POLICY_TAG_LET, &name))
		return;
	policy_words_more(&ps->w, false);
	if (policy_words_peek(&ps->w) != '=') {
		POLICY_MISTAKE(ps, ps->w.at, "a \"=\" must follow the let's name");
		return;
	}
	ps->w.at++;
	/* A let with mistakes still exists: its uses are not mistakes of their own. */
	policy_who_parse(ps, false, &expr);
	if (!ps->rc && policy_map_add(&ps->known, POLICY_TAG_LET, name.at, name.len, expr))
		policy_parser_no_memory(ps);
}

static void parse_tenant(struct policy_parser *ps)
{
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	struct policy_word name = policy_words_name(&ps->w);
	if (!name.len)
		POLICY_MISTAKE(ps, at, "the tenant's name is missing");
	else if (ps->has_tenant)
		POLICY_MISTAKE(ps, ps->w.start, "there is already a tenant statement");
	else if (ps->tenant && !policy_words_is(name, ps->tenant))
		POLICY_MISTAKE(ps, at, "this policy is for tenant \"%.*s\", not for \"%.63s\"",
			(int)(name.len > 63 ? 63 : name.len), name.at, ps->tenant);
	ps->has_tenant = true;
	if (policy_words_more(&ps->w, false) && name.len)
		POLICY_MISTAKE(ps, ps->w.at, "nothing may follow the tenant's name");
}

static void parse_line(struct policy_parser *ps)
{
	if (!policy_words_more(&ps->w, false))
		return;
	size_t at = ps->w.at;
	struct policy_word word = policy_words_name(&ps->w);
	int shown = (int)(word.len > 60 ? 60 : word.len);
	if (policy_words_is(word, "tenant"))
		parse_tenant(ps);
	else if (policy_words_is(word, "let"))
		parse_let(ps);
	else if (policy_words_is(word, "permit") || policy_words_is(word, "forbid"))
		parse_rule(ps, word.at[0] == 'p');
	else if (policy_words_later(word))
		POLICY_MISTAKE(ps, at, "\"%.*s\" is not supported by this version", shown, word.at);
	else
		POLICY_MISTAKE(ps, at, "expected tenant, let, permit or forbid");
}

int policy_parse_text(struct policy *p, const char *tenant, const struct policy_names *names,
	struct policy_mistakes *mistakes)
{
	struct policy_parser ps AUTO(parser_done) = {
		.p = p, .tenant = tenant, .names = names, .mistakes = mistakes};
	if (p->text_len > POLICY_TEXT_MAX) {
		policy_mistakes_add(mistakes, 1, 1, false, "a policy has at most 1 MiB");
		return -EBADRQC;
	}
	if (!policy_who_start(&ps))
		return ps.rc;
	policy_words_start(&ps.w, p->text, p->text_len);
	while (!ps.rc && policy_words_next_line(&ps.w)) {
		const char *bad = memchr(p->text + ps.w.start, 0, ps.w.end - ps.w.start);
		if (bad)
			POLICY_MISTAKE(
				&ps, (size_t)(bad - p->text), "a zero byte: this is no text");
		else
			parse_line(&ps);
	}
	if (!ps.rc && !ps.has_tenant)
		policy_mistakes_add(
			mistakes, 1, 1, false, "a policy names its tenant: tenant NAME");
	if (ps.rc)
		return ps.rc;
	return mistakes->errors ? -EBADRQC : 0;
}
