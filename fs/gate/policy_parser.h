/* What policy_parse.c and policy_who.c share: the reader of a policy text. */
#ifndef GATE_POLICY_PARSER_H
#define GATE_POLICY_PARSER_H

#include "fs/gate/policy_parts.h"
#include "fs/gate/policy_words.h"

#include <errno.h>

enum policy_tag {
	POLICY_TAG_LET,
	POLICY_TAG_RULE,
	POLICY_TAG_USER,
	POLICY_TAG_GROUP,
	POLICY_TAG_EXPR
};

struct policy_parser {
	struct policy *p;
	const char *tenant;
	const struct policy_names *names;
	struct policy_mistakes *mistakes;
	struct policy_words w;
	struct policy_map known; /* (enum policy_tag, name or items) -> number */
	struct buf scratch;      /* the last text */
	bool has_tenant;
	int rc; /* -ENOMEM ends everything */
};

/* A mistake at a byte of the current line. */
#define POLICY_MISTAKE(ps, at, ...)                                                                \
	policy_mistakes_add((ps)->mistakes, (ps)->w.line, policy_words_column(&(ps)->w, (at)),     \
		false, __VA_ARGS__)

static inline bool policy_parser_no_memory(struct policy_parser *ps)
{
	ps->rc = -ENOMEM;
	return false;
}

/*
 * A quoted or bare text into scratch, escapes resolved; with stars, an unescaped `*` becomes a zero
 * byte. False: the mistake is noted.
 */
bool policy_parse_take(struct policy_parser *ps, bool stars, bool quoted_only);

/* policy_who.c: adds the expression POLICY_EVERYBODY; before any other. False: no memory. */
bool policy_who_start(struct policy_parser *ps);
/*
 * Subjects up to the word `to` (in a rule) or the end of the line, as an expression. False when any
 * of it is wrong, or no memory; the cursor is behind it all the same.
 */
bool policy_who_parse(struct policy_parser *ps, bool rule, uint32_t *ret);

#endif
