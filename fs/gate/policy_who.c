/* Subjects of a policy text: user:, group:, anyone, lets and except, as expressions of items. */
#include "fs/gate/policy_parser.h"

#define NAME_MAX_BYTES 255u

/* Lists of items, kept apart for what is included and excluded until the expression is complete. */
struct items {
	struct policy_item *list;
	size_t count, cap;
};

static void items_done(struct items *i)
{
	free(i->list);
}

static bool put_item(struct policy_parser *ps, struct items *to, uint32_t kind, uint32_t id)
{
	if (policy_map_grow(&to->list, &to->cap, to->count, sizeof(*to->list)))
		return policy_parser_no_memory(ps);
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

static bool resolve_name(struct policy_parser *ps, size_t at, bool user, uint32_t *ret)
{
	const char *name = (const char *)ps->scratch.data;
	size_t len = ps->scratch.len;
	uint32_t tag = user ? POLICY_TAG_USER : POLICY_TAG_GROUP;
	*ret = policy_map_get(&ps->known, tag, name, len);
	if (*ret != POLICY_NONE)
		return true;
	int rc = user ? ps->names->user(ps->names->context, name, ret)
		      : ps->names->group(ps->names->context, name, ret);
	if (!rc && *ret != POLICY_NONE)
		return policy_map_add(&ps->known, tag, name, len, *ret)
			       ? policy_parser_no_memory(ps)
			       : true;
	if (rc == -ENOMEM)
		return policy_parser_no_memory(ps);
	const char *what = user ? "user" : "group";
	if (!rc || rc == -ENOENT)
		POLICY_MISTAKE(ps, at, "there is no %s \"%.80s\" on this machine", what, name);
	else
		POLICY_MISTAKE(
			ps, at, "%s \"%.80s\" cannot be looked up: %s", what, name, strerror(-rc));
	return false;
}

/* Behind `user:` or `group:`. */
static bool parse_principal(struct policy_parser *ps, size_t at, bool user, struct items *to)
{
	const char *what = user ? "user" : "group";
	uint32_t id;
	size_t name_at = ps->w.at;
	if (policy_words_blank_or_end(&ps->w)) {
		POLICY_MISTAKE(
			ps, name_at, "a name or #number must follow \"%s:\" without a blank", what);
		policy_words_more(&ps->w, false);
		struct policy_word next = policy_words_see(&ps->w);
		if (!policy_words_is(next, "to") && !policy_words_is(next, "except"))
			policy_words_skip(&ps->w); /* most likely the name */
		return false;
	}
	bool quoted = policy_words_peek(&ps->w) == '"';
	if (!policy_parse_take(ps, false, false))
		return false;
	const char *name = (const char *)ps->scratch.data;
	if (!ps->scratch.len || ps->scratch.len > NAME_MAX_BYTES) {
		POLICY_MISTAKE(ps, name_at, "a %s name has 1 to %u bytes", what, NAME_MAX_BYTES);
		return false;
	}
	if (!quoted && name[0] == '#') {
		if (!parse_number(name + 1, ps->scratch.len - 1, &id)) {
			POLICY_MISTAKE(ps, name_at,
				"\"%.40s\" is not #NUMBER from #0 to #4294967294", name);
			return false;
		}
	} else if (!resolve_name(ps, at, user, &id)) {
		return false;
	}
	return put_item(ps, to, user ? POLICY_USER : POLICY_GROUP, id);
}

static bool parse_subject(struct policy_parser *ps, struct items *to)
{
	size_t at = ps->w.at;
	struct policy_word word = policy_words_name(&ps->w);
	if (policy_words_peek(&ps->w) == ':' && word.len) {
		ps->w.at++;
		if (policy_words_is(word, "user") || policy_words_is(word, "group"))
			return parse_principal(ps, at, policy_words_is(word, "user"), to);
		bool later = policy_words_is(word, "login") || policy_words_is(word, "service");
		POLICY_MISTAKE(ps, at,
			later ? "subject \"%.*s:\" is not supported by this version"
			      : "\"%.*s:\" is no kind of subject; write user:, group: or anyone",
			(int)word.len, word.at);
		policy_words_skip(&ps->w);
		return false;
	}
	if (!word.len || !policy_words_blank_or_end(&ps->w)) {
		POLICY_MISTAKE(ps, at,
			"expected a subject: user:NAME, user:#UID, group:NAME, group:#GID, anyone "
			"or "
			"the name of a let");
		policy_words_skip(&ps->w);
		return false;
	}
	if (policy_words_is(word, "anyone"))
		return put_item(ps, to, POLICY_ANYONE, 0);
	uint32_t let = policy_map_get(&ps->known, POLICY_TAG_LET, word.at, word.len);
	if (let == POLICY_NONE) {
		bool time = policy_words_is_time(word);
		POLICY_MISTAKE(ps, at,
			time ? "time windows (\"%.*s\") are not supported by this version"
			     : "there is no let \"%.*s\" above this line; a user is written "
			       "user:NAME",
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

static bool add_expr(
	struct policy_parser *ps, const struct items *in, const struct items *out, uint32_t *ret)
{
	struct policy *p = ps->p;
	if (policy_map_grow(&p->exprs, &p->exprs_cap, p->nexprs, sizeof(*p->exprs)))
		return policy_parser_no_memory(ps);
	struct policy_expr e = {.first = (uint32_t)p->nitems,
		.included = (uint32_t)in->count,
		.excluded = (uint32_t)out->count};
	for (size_t i = 0; i < in->count + out->count; i++) {
		const struct policy_item *item =
			i < in->count ? &in->list[i] : &out->list[i - in->count];
		if (policy_map_grow(&p->items, &p->items_cap, p->nitems, sizeof(*p->items)))
			return policy_parser_no_memory(ps);
		p->items[p->nitems++] = *item;
		e.groups |= item->kind == POLICY_GROUP ||
			    (item->kind == POLICY_EXPR && p->exprs[item->id].groups);
	}
	*ret = (uint32_t)p->nexprs;
	p->exprs[p->nexprs++] = e;
	return true;
}

/* The number of the expression; equal ones share it. */
static bool intern_expr(
	struct policy_parser *ps, struct items *in, struct items *out, uint32_t *ret)
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
		return policy_parser_no_memory(ps);
	*ret = policy_map_get(&ps->known, POLICY_TAG_EXPR, ps->scratch.data, ps->scratch.len);
	if (*ret != POLICY_NONE)
		return true;
	if (!add_expr(ps, in, out, ret))
		return false;
	if (policy_map_add(&ps->known, POLICY_TAG_EXPR, ps->scratch.data, ps->scratch.len, *ret))
		return policy_parser_no_memory(ps);
	return true;
}

/* At `to`, or where it was forgotten. */
static bool ends_subjects(const struct policy_parser *ps, struct policy_word word)
{
	char next = ps->w.at + word.len < ps->w.end ? word.at[word.len] : ' ';
	if (next != ' ' && next != '\t' && next != ',')
		return false;
	return policy_words_is(word, "to") || policy_words_is(word, "on") ||
	       (policy_words_act(word) && policy_map_get(&ps->known, POLICY_TAG_LET, word.at,
						  word.len) == POLICY_NONE);
}

bool policy_who_start(struct policy_parser *ps)
{
	struct items everybody AUTO(items_done) = {0};
	struct items nobody = {0};
	uint32_t first;
	return put_item(ps, &everybody, POLICY_ANYONE, 0) &&
	       add_expr(ps, &everybody, &nobody, &first);
}

bool policy_who_parse(struct policy_parser *ps, bool rule, uint32_t *ret)
{
	struct items in AUTO(items_done) = {0};
	struct items out AUTO(items_done) = {0};
	struct items *to = &in;
	size_t missing = 0;
	bool fine = true, tried[2] = {false, false};
	while (!ps->rc && policy_words_more(&ps->w, true)) {
		struct policy_word word = policy_words_see(&ps->w);
		if (rule && ends_subjects(ps, word))
			break;
		if (policy_words_is(word, "except")) {
			if (to == &out) {
				POLICY_MISTAKE(ps, ps->w.at,
					"\"except\" may stand only once in a list of subjects");
				fine = false;
			}
			to = &out;
			missing = ps->w.at;
			policy_words_name(&ps->w);
			continue;
		}
		tried[to == &out] = true;
		if (!parse_subject(ps, to))
			fine = false;
	}
	if (!tried[0] || (to == &out && !tried[1])) {
		POLICY_MISTAKE(ps, !tried[0] && to == &out ? missing : ps->w.at,
			!tried[0] ? "a subject is missing: who is meant?"
				  : "a subject is missing after \"except\"");
		return false;
	}
	return fine && !ps->rc && intern_expr(ps, &in, &out, ret);
}
