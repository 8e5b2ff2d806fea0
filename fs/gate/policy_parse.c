/*
 * Text -> rules, expressions and paths. One statement a line. After a mistake in a line's structure the reader goes on
 * at the next line; an unknown name or a bad path costs only itself, so that one run reports everything.
 */
#include "fs/gate/policy_parts.h"
#include "fs/gate/policy_words.h"

#include <errno.h>
#include <stdio.h>

#define COMPONENT_MAX 255u
#define NAME_MAX_BYTES 255u

enum tag { TAG_LET, TAG_RULE, TAG_USER, TAG_GROUP, TAG_EXPR };

struct parse {
	struct policy *p;
	const char *tenant;
	const struct policy_names *names;
	struct policy_mistakes *mistakes;
	struct policy_words w;
	struct policy_map known; /* (enum tag, name or items) -> number */
	struct buf scratch;      /* the last quoted text */
	bool has_tenant;
	int rc; /* -ENOMEM ends everything */
};

static void parse_done(struct parse *ps)
{
	policy_map_done(&ps->known);
	buf_done(&ps->scratch);
}

#define MISTAKE(ps, at, ...) \
	policy_mistakes_add((ps)->mistakes, (ps)->w.line, policy_words_column(&(ps)->w, (at)), false, __VA_ARGS__)

static bool no_memory(struct parse *ps)
{
	ps->rc = -ENOMEM;
	return false;
}

static uint32_t keep_string(struct parse *ps, const char *s, size_t len)
{
	uint32_t at = (uint32_t)ps->p->strings.len;
	buf_put(&ps->p->strings, s, len);
	buf_put8(&ps->p->strings, 0);
	if (!buf_ok(&ps->p->strings))
		no_memory(ps);
	return at;
}

/* A quoted or bare text into scratch, escapes resolved; with stars, an unescaped `*` becomes a zero byte. */
static bool take_text(struct parse *ps, bool stars, bool quoted_only)
{
	size_t at = ps->w.at;
	const char *wrong = NULL;
	buf_reset(&ps->scratch);
	if (policy_words_text(&ps->w, stars, quoted_only, &ps->scratch, &at, &wrong)) {
		if (buf_ok(&ps->scratch))
			return true;
		return no_memory(ps);
	}
	MISTAKE(ps, at, "%s", wrong);
	return false;
}

/* Subjects: lists of items, kept apart for what is included and excluded until the expression is complete. */
struct items {
	struct policy_item *list;
	size_t count, cap;
};

static void items_done(struct items *i)
{
	free(i->list);
}

static bool put_item(struct parse *ps, struct items *to, uint32_t kind, uint32_t id)
{
	if (policy_map_grow(&to->list, &to->cap, to->count, sizeof(*to->list)))
		return no_memory(ps);
	to->list[to->count++] = (struct policy_item){kind, id};
	return true;
}

static bool parse_number(const char *s, size_t len, uint32_t *ret)
{
	uint64_t v = 0;
	if (!len || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	if (v >= UINT32_MAX) /* (uid_t)-1 is nobody's */
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool resolve_name(struct parse *ps, size_t at, bool user, uint32_t *ret)
{
	const char *name = (const char *)ps->scratch.data;
	size_t len = ps->scratch.len;
	uint32_t tag = user ? TAG_USER : TAG_GROUP;
	*ret = policy_map_get(&ps->known, tag, name, len);
	if (*ret != POLICY_NONE)
		return true;
	int rc = user ? ps->names->user(ps->names->context, name, ret) :
			ps->names->group(ps->names->context, name, ret);
	if (!rc && *ret != POLICY_NONE)
		return policy_map_add(&ps->known, tag, name, len, *ret) ? no_memory(ps) : true;
	if (rc == -ENOMEM)
		return no_memory(ps);
	const char *what = user ? "user" : "group";
	if (!rc || rc == -ENOENT)
		MISTAKE(ps, at, "there is no %s \"%.80s\" on this machine", what, name);
	else
		MISTAKE(ps, at, "%s \"%.80s\" cannot be looked up: %s", what, name, strerror(-rc));
	return false;
}

/* Behind `user:` or `group:`. */
static bool parse_principal(struct parse *ps, size_t at, bool user, struct items *to)
{
	const char *what = user ? "user" : "group";
	uint32_t id;
	size_t name_at = ps->w.at;
	if (policy_words_blank_or_end(&ps->w)) {
		MISTAKE(ps, name_at, "a name or #number must follow \"%s:\" without a blank", what);
		return false;
	}
	bool quoted = policy_words_peek(&ps->w) == '"';
	if (!take_text(ps, false, false))
		return false;
	const char *name = (const char *)ps->scratch.data;
	if (!ps->scratch.len || ps->scratch.len > NAME_MAX_BYTES) {
		MISTAKE(ps, name_at, "a %s name has 1 to %u bytes", what, NAME_MAX_BYTES);
		return false;
	}
	if (!quoted && name[0] == '#') {
		if (!parse_number(name + 1, ps->scratch.len - 1, &id)) {
			MISTAKE(ps, name_at, "\"%.40s\" is not #NUMBER from #0 to #4294967294", name);
			return false;
		}
	} else if (!resolve_name(ps, at, user, &id)) {
		return false;
	}
	return put_item(ps, to, user ? POLICY_USER : POLICY_GROUP, id);
}

static bool parse_subject(struct parse *ps, struct items *to)
{
	size_t at = ps->w.at;
	struct policy_word word = policy_words_name(&ps->w);
	if (policy_words_peek(&ps->w) == ':' && word.len) {
		ps->w.at++;
		if (policy_words_is(word, "user") || policy_words_is(word, "group"))
			return parse_principal(ps, at, policy_words_is(word, "user"), to);
		bool later = policy_words_is(word, "login") || policy_words_is(word, "service");
		MISTAKE(ps, at, later ? "subject \"%.*s:\" is not supported by this version" :
			"\"%.*s:\" is no kind of subject; write user:, group: or anyone", (int)word.len, word.at);
		policy_words_skip(&ps->w);
		return false;
	}
	if (!word.len || !policy_words_blank_or_end(&ps->w)) {
		MISTAKE(ps, at, "expected a subject: user:NAME, user:#UID, group:NAME, group:#GID, anyone or "
			"the name of a let");
		policy_words_skip(&ps->w);
		return false;
	}
	if (policy_words_is(word, "anyone"))
		return put_item(ps, to, POLICY_ANYONE, 0);
	uint32_t let = policy_map_get(&ps->known, TAG_LET, word.at, word.len);
	if (let == POLICY_NONE) {
		bool time = policy_words_is_time(word);
		MISTAKE(ps, at, time ? "time windows (\"%.*s\") are not supported by this version" :
			"there is no let \"%.*s\" above this line; a user is written user:NAME",
			(int)(word.len > 80 ? 80 : word.len), word.at);
		if (time)
			policy_words_skip_line(&ps->w);
		return false;
	}
	return put_item(ps, to, POLICY_EXPR, let);
}

static int by_item(const void *a, const void *b)
{
	const struct policy_item *x = a, *y = b;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static void sort_items(struct items *i)
{
	size_t kept = 0;
	if (i->count)
		qsort(i->list, i->count, sizeof(*i->list), by_item);
	for (size_t at = 0; at < i->count; at++)
		if (!kept || by_item(&i->list[kept - 1], &i->list[at]))
			i->list[kept++] = i->list[at];
	i->count = kept;
}

static bool holds_everybody(const struct items *i)
{
	for (size_t at = 0; at < i->count; at++)
		if (i->list[at].kind == POLICY_ANYONE ||
			(i->list[at].kind == POLICY_EXPR && i->list[at].id == POLICY_EVERYBODY))
			return true;
	return false;
}

static bool add_expr(struct parse *ps, const struct items *in, const struct items *out, uint32_t *ret)
{
	struct policy *p = ps->p;
	if (policy_map_grow(&p->exprs, &p->exprs_cap, p->nexprs, sizeof(*p->exprs)))
		return no_memory(ps);
	struct policy_expr e = {.first = (uint32_t)p->nitems, .included = (uint32_t)in->count,
		.excluded = (uint32_t)out->count};
	for (size_t i = 0; i < in->count + out->count; i++) {
		const struct policy_item *item = i < in->count ? &in->list[i] : &out->list[i - in->count];
		if (policy_map_grow(&p->items, &p->items_cap, p->nitems, sizeof(*p->items)))
			return no_memory(ps);
		p->items[p->nitems++] = *item;
		e.groups |= item->kind == POLICY_GROUP ||
			(item->kind == POLICY_EXPR && p->exprs[item->id].groups);
	}
	*ret = (uint32_t)p->nexprs;
	p->exprs[p->nexprs++] = e;
	return true;
}

/* The number of the expression; equal ones share it. */
static bool intern_expr(struct parse *ps, struct items *in, struct items *out, uint32_t *ret)
{
	sort_items(in);
	sort_items(out);
	if (!out->count && holds_everybody(in)) {
		*ret = POLICY_EVERYBODY;
		return true;
	}
	if (!out->count && in->count == 1 && in->list[0].kind == POLICY_EXPR) {
		*ret = in->list[0].id;
		return true;
	}
	buf_reset(&ps->scratch);
	buf_put32(&ps->scratch, (uint32_t)in->count);
	buf_put(&ps->scratch, in->list, in->count * sizeof(*in->list));
	buf_put(&ps->scratch, out->list, out->count * sizeof(*out->list));
	if (!buf_ok(&ps->scratch))
		return no_memory(ps);
	*ret = policy_map_get(&ps->known, TAG_EXPR, ps->scratch.data, ps->scratch.len);
	if (*ret != POLICY_NONE)
		return true;
	if (!add_expr(ps, in, out, ret))
		return false;
	if (policy_map_add(&ps->known, TAG_EXPR, ps->scratch.data, ps->scratch.len, *ret))
		return no_memory(ps);
	return true;
}

/* Up to the word `to` (in a rule) or the end of the line. False when any of it is wrong; the cursor is behind it all the same. */
static bool parse_subjects(struct parse *ps, bool rule, uint32_t *ret)
{
	struct items in AUTO(items_done) = {0};
	struct items out AUTO(items_done) = {0};
	struct items *to = &in;
	size_t start = ps->w.at;
	bool fine = true, tried[2] = {false, false};
	while (!ps->rc && policy_words_more(&ps->w, true)) {
		struct policy_word word = policy_words_see(&ps->w);
		if (rule && policy_words_is(word, "to"))
			break;
		if (policy_words_is(word, "except")) {
			if (to == &out) {
				MISTAKE(ps, ps->w.at, "\"except\" may stand only once in a list of subjects");
				fine = false;
			}
			to = &out;
			start = ps->w.at;
			policy_words_name(&ps->w);
			continue;
		}
		tried[to == &out] = true;
		if (!parse_subject(ps, to))
			fine = false;
	}
	if (!tried[0] || (to == &out && !tried[1])) {
		MISTAKE(ps, start, !tried[0] ? "a subject is missing: who is meant?" :
			"a subject is missing after \"except\"");
		return false;
	}
	return fine && !ps->rc && intern_expr(ps, &in, &out, ret);
}

static bool parse_acts(struct parse *ps, unsigned *ret)
{
	static const struct {
		const char *word;
		unsigned act;
	} words[] = {{"list", ACT_LIST}, {"read", ACT_READ}, {"write", ACT_WRITE}, {"create", ACT_CREATE},
		{"delete", ACT_DELETE}, {"manage", ACT_MANAGE}, {"any", ACT_ANY}};
	bool fine = true;
	do {
		policy_words_more(&ps->w, false);
		size_t at = ps->w.at;
		struct policy_word word = policy_words_name(&ps->w);
		unsigned act = 0;
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (policy_words_is(word, words[i].word))
				act = words[i].act;
		if (!act) {
			MISTAKE(ps, at, "expected an action: list, read, write, create, delete, manage or any");
			fine = false;
			if (!word.len)
				return false;
		}
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
			return at == len ? "a path does not end in \"/\"; write /DIR or /DIR/**" :
					   "\"//\" in a path: a name is missing";
		if ((n == 1 && c[0] == '.') || (n == 2 && c[0] == '.' && c[1] == '.'))
			return "\".\" and \"..\" may not stand in a path";
		if (n > COMPONENT_MAX)
			return "a name in a path has at most 255 bytes";
		bool deep = n == 2 && !c[0] && !c[1];
		for (size_t i = 0; i + 1 < n && !deep; i++)
			if (!c[i] && !c[i + 1])
				return "\"**\" stands alone between slashes; within a name one \"*\" is enough";
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

static bool parse_path(struct parse *ps)
{
	struct policy *p = ps->p;
	size_t at = ps->w.at;
	if (!take_text(ps, true, false))
		return false;
	const uint8_t *path = ps->scratch.data;
	size_t len = ps->scratch.len;
	const char *wrong = check_path(path, len);
	if (wrong) {
		MISTAKE(ps, at, "%s", wrong);
		return false;
	}
	if (policy_map_grow(&p->paths, &p->paths_cap, p->npaths, sizeof(*p->paths)))
		return no_memory(ps);
	struct policy_path new = {.column = policy_words_column(&ps->w, at), .splits = splits(path, len)};
	if (policy_automaton_add(&p->automaton, path, len, &new.node))
		return no_memory(ps);
	p->paths[p->npaths++] = new;
	return true;
}

static bool parse_paths(struct parse *ps, struct policy_rule *r)
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
		MISTAKE(ps, start, "a path is missing after \"on\"");
		return false;
	}
	r->paths = (uint32_t)ps->p->npaths - r->path;
	return fine;
}

static bool parse_moment(struct parse *ps, const char *word, bool end, int64_t *ret)
{
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	const char *wrong = policy_words_moment(&ps->w, end, &at, ret);
	if (wrong)
		MISTAKE(ps, at, "\"%s\": %s", word, wrong);
	return !wrong;
}

static bool parse_because(struct parse *ps, struct policy_rule *r)
{
	policy_words_more(&ps->w, false);
	if (!take_text(ps, false, true))
		return false;
	r->because = keep_string(ps, (const char *)ps->scratch.data, ps->scratch.len);
	return true;
}

/* Behind the paths. After an unknown clause nothing can be said about the rest of the line. */
static bool parse_clauses(struct parse *ps, struct policy_rule *r)
{
	unsigned seen = 0;
	bool fine = true;
	while (!ps->rc && policy_words_more(&ps->w, false)) {
		size_t at = ps->w.at;
		struct policy_word word = policy_words_name(&ps->w);
		unsigned bit = policy_words_is(word, "from") ? 1 : policy_words_is(word, "until") ? 2 :
			policy_words_is(word, "because") ? 4 : 0;
		int shown = (int)(word.len > 80 ? 80 : word.len);
		if (!bit && policy_words_later(word)) {
			MISTAKE(ps, at, "\"%.*s\" is not supported by this version", shown, word.at);
			return false;
		}
		if (!bit) {
			MISTAKE(ps, at, "expected from, until, because or the end of the line");
			return false;
		}
		if (seen & bit) {
			MISTAKE(ps, at, "\"%.*s\" stands twice in this rule", shown, word.at);
			fine = false;
		}
		seen |= bit;
		if (!(bit == 1 ? parse_moment(ps, "from", false, &r->from) :
			    bit == 2 ? parse_moment(ps, "until", true, &r->until) : parse_because(ps, r)))
			return false;
	}
	return fine;
}

static bool expect(struct parse *ps, const char *word, const char *sentence)
{
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	if (policy_words_is(policy_words_name(&ps->w), word))
		return true;
	MISTAKE(ps, at, "%s", sentence);
	return false;
}

/* NAME with its uniqueness among rules or lets. */
static bool parse_name(struct parse *ps, enum tag tag, struct policy_word *ret)
{
	const char *what = tag == TAG_LET ? "let" : "rule";
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	*ret = policy_words_name(&ps->w);
	if (!ret->len || ret->len > 63) {
		MISTAKE(ps, at, "a %s needs a name of 1 to 63 letters, digits and . _ -", what);
		return false;
	}
	if (policy_words_reserved(*ret)) {
		MISTAKE(ps, at, "\"%.*s\" is a word of the language and cannot name a %s", (int)ret->len,
			ret->at, what);
		return false;
	}
	if (policy_map_get(&ps->known, (uint32_t)tag, ret->at, ret->len) == POLICY_NONE)
		return true;
	MISTAKE(ps, at, "there is already a %s \"%.*s\"", what, (int)ret->len, ret->at);
	return false;
}

static void parse_rule(struct parse *ps, bool permit)
{
	struct policy *p = ps->p;
	struct policy_rule r = {.line = ps->w.line, .permit = permit, .from = INT64_MIN,
		.until = INT64_MAX, .because = POLICY_NONE};
	struct policy_word name;
	unsigned acts = 0;
	policy_words_more(&ps->w, false);
	r.column = policy_words_column(&ps->w, ps->w.at);
	bool fine = parse_name(ps, TAG_RULE, &name);
	policy_words_more(&ps->w, false);
	if (policy_words_peek(&ps->w) != ':') {
		if (fine)
			MISTAKE(ps, ps->w.at, "a \":\" must follow the rule's name");
		return;
	}
	ps->w.at++;
	if (fine && policy_map_add(&ps->known, TAG_RULE, name.at, name.len, 0))
		no_memory(ps);
	fine &= parse_subjects(ps, true, &r.subject);
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
		MISTAKE(ps, ps->w.start, "a policy has at most %u rules", POLICY_RULES_LIMIT);
		policy_words_stop(&ps->w);
		return;
	}
	r.acts = (uint8_t)(permit && (acts & ACT_READ) ? acts | ACT_LIST : acts);
	r.name = keep_string(ps, name.at, name.len);
	if (policy_map_grow(&p->rules, &p->rules_cap, p->nrules, sizeof(*p->rules)))
		no_memory(ps);
	else
		p->rules[p->nrules++] = r;
}

static void parse_let(struct parse *ps)
{
	struct policy_word name;
	uint32_t expr = POLICY_EVERYBODY;
	if (!parse_name(ps, TAG_LET, &name))
		return;
	policy_words_more(&ps->w, false);
	if (policy_words_peek(&ps->w) != '=') {
		MISTAKE(ps, ps->w.at, "a \"=\" must follow the let's name");
		return;
	}
	ps->w.at++;
	/* A let with mistakes still exists: its uses are not mistakes of their own. */
	parse_subjects(ps, false, &expr);
	if (!ps->rc && policy_map_add(&ps->known, TAG_LET, name.at, name.len, expr))
		no_memory(ps);
}

static void parse_tenant(struct parse *ps)
{
	policy_words_more(&ps->w, false);
	size_t at = ps->w.at;
	struct policy_word name = policy_words_name(&ps->w);
	if (!name.len)
		MISTAKE(ps, at, "the tenant's name is missing");
	else if (ps->has_tenant)
		MISTAKE(ps, ps->w.start, "there is already a tenant statement");
	else if (ps->tenant && !policy_words_is(name, ps->tenant))
		MISTAKE(ps, at, "this policy is for tenant \"%.*s\", not for \"%.63s\"",
			(int)(name.len > 63 ? 63 : name.len), name.at, ps->tenant);
	ps->has_tenant = true;
	if (policy_words_more(&ps->w, false) && name.len)
		MISTAKE(ps, ps->w.at, "nothing may follow the tenant's name");
}

static void parse_line(struct parse *ps)
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
		MISTAKE(ps, at, "\"%.*s\" is not supported by this version", shown, word.at);
	else
		MISTAKE(ps, at, "expected tenant, let, permit or forbid");
}

int policy_parse_text(struct policy *p, const char *tenant, const struct policy_names *names,
	struct policy_mistakes *mistakes)
{
	struct parse ps AUTO(parse_done) = {.p = p, .tenant = tenant, .names = names, .mistakes = mistakes};
	struct items everybody AUTO(items_done) = {0};
	struct items nobody AUTO(items_done) = {0};
	uint32_t first;
	if (p->text_len > POLICY_TEXT_MAX) {
		policy_mistakes_add(mistakes, 1, 1, false, "a policy has at most 1 MiB");
		return -EBADRQC;
	}
	if (!put_item(&ps, &everybody, POLICY_ANYONE, 0) || !add_expr(&ps, &everybody, &nobody, &first))
		return -ENOMEM;
	policy_words_start(&ps.w, p->text, p->text_len);
	while (!ps.rc && policy_words_next_line(&ps.w)) {
		const char *bad = memchr(p->text + ps.w.start, 0, ps.w.end - ps.w.start);
		if (bad)
			MISTAKE(&ps, (size_t)(bad - p->text), "a zero byte: this is no text");
		else
			parse_line(&ps);
	}
	if (!ps.rc && !ps.has_tenant)
		policy_mistakes_add(mistakes, 1, 1, false, "a policy names its tenant: tenant NAME");
	if (ps.rc)
		return ps.rc;
	return mistakes->errors ? -EBADRQC : 0;
}
