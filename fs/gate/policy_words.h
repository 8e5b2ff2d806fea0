/* Reading a policy text word by word: for the parser, and programs that take a moment on their
 * command line. No function reads beyond the current line. */
#ifndef GATE_POLICY_WORDS_H
#define GATE_POLICY_WORDS_H

#include "keymgmt/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy_words {
	const char *text;
	size_t len;
	size_t start, end; /* the current line without its newline */
	size_t at;         /* next byte; never beyond end */
	size_t next;       /* start of the following line */
	unsigned line;     /* from 1 */
};

struct policy_word {
	const char *at; /* borrowed from the text */
	size_t len;
};

void policy_words_start(struct policy_words *w, const char *text, size_t len);
bool policy_words_next_line(struct policy_words *w);
/* There will be no further line. */
void policy_words_stop(struct policy_words *w);
unsigned policy_words_column(const struct policy_words *w, size_t at);

/* Skips blanks (and commas): false at the end of the line or at a comment. */
bool policy_words_more(struct policy_words *w, bool commas);
/* The byte at the cursor, 0 at the end of the line. */
char policy_words_peek(const struct policy_words *w);
bool policy_words_blank_or_end(const struct policy_words *w); /* a comma counts as a blank */
/* Letters, digits and . _ - from the cursor on; may be empty. see: without moving. */
struct policy_word policy_words_name(struct policy_words *w);
struct policy_word policy_words_see(const struct policy_words *w);
/* Moves to the next blank, comma or end. */
void policy_words_skip(struct policy_words *w);
void policy_words_skip_line(struct policy_words *w);

/*
 * A "quoted" text, or unless quoted_only a bare one up to a blank or comma. A backslash takes a
 * blank, ", \, *, # or comma literally. With stars an unescaped `*` is put as a zero byte. False:
 * *ret_at is where, *ret_wrong what is wrong.
 */
bool policy_words_text(struct policy_words *w, bool stars, bool quoted_only, struct buf *ret,
	size_t *ret_at, const char **ret_wrong);

/*
 * YYYY-MM-DD [HH:MM[:SS]] or YYYY-MM-DDTHH:MM[:SS]Z, UTC; seconds since the epoch. end: a date
 * without a time is the end of that day. NULL, or what is wrong, at *ret_at.
 */
const char *policy_words_moment(struct policy_words *w, bool end, size_t *ret_at, int64_t *ret);

bool policy_words_is(struct policy_word word, const char *text);
/* The action that a word names (enum act, ACT_ANY), or 0. */
unsigned policy_words_act(struct policy_word word);
/* A word of the grammar that this version does not know yet. */
bool policy_words_later(struct policy_word word);
/* A word that cannot be a name. */
bool policy_words_reserved(struct policy_word word);
/* A day or days, as time windows begin. */
bool policy_words_is_time(struct policy_word word);

#endif
