#include "fs/gate/policy_words.h"
#include "fs/op.h"

#include <string.h>

void policy_words_start(struct policy_words *w, const char *text, size_t len)
{
	*w = (struct policy_words){.text = text, .len = len};
}

bool policy_words_next_line(struct policy_words *w)
{
	if (w->next >= w->len)
		return false;
	w->start = w->at = w->next;
	const char *newline = memchr(w->text + w->start, '\n', w->len - w->start);
	w->end = newline ? (size_t)(newline - w->text) : w->len;
	w->next = w->end + 1;
	w->line++;
	return true;
}

void policy_words_stop(struct policy_words *w)
{
	w->at = w->end;
	w->next = w->len;
}

unsigned policy_words_column(const struct policy_words *w, size_t at)
{
	return (unsigned)(at - w->start) + 1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

bool policy_words_more(struct policy_words *w, bool commas)
{
	while (w->at < w->end && (is_blank(w->text[w->at]) || (commas && w->text[w->at] == ',')))
		w->at++;
	return w->at < w->end && w->text[w->at] != '#';
}

char policy_words_peek(const struct policy_words *w)
{
	return w->at < w->end ? w->text[w->at] : 0;
}

bool policy_words_blank_or_end(const struct policy_words *w)
{
	return w->at >= w->end || is_blank(w->text[w->at]) || w->text[w->at] == ',';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

struct policy_word policy_words_see(const struct policy_words *w)
{
	size_t end = w->at;
	while (end < w->end && is_name(w->text[end]))
		end++;
	return (struct policy_word){w->text + w->at, end - w->at};
}

struct policy_word policy_words_name(struct policy_words *w)
{
	struct policy_word word = policy_words_see(w);
	w->at += word.len;
	return word;
}

void policy_words_skip(struct policy_words *w)
{
	while (!policy_words_blank_or_end(w))
		w->at++;
}

void policy_words_skip_line(struct policy_words *w)
{
	w->at = w->end;
}

static bool wrong_at(size_t at, const char *what, size_t *ret_at, const char **ret_wrong)
{
	*ret_at = at;
	*ret_wrong = what;
	return false;
}

bool policy_words_text(struct policy_words *w, bool stars, bool quoted_only, struct buf *ret,
	size_t *ret_at, const char **ret_wrong)
{
	size_t start = w->at;
	bool quoted = policy_words_peek(w) == '"';
	if (!quoted && quoted_only) {
		policy_words_skip(w);
		return wrong_at(start, "expected a text in \"quotes\"", ret_at, ret_wrong);
	}
	w->at += quoted;
	while (w->at < w->end && (quoted ? w->text[w->at] != '"' : !policy_words_blank_or_end(w))) {
		char c = w->text[w->at++];
		if (c == '"') {
			size_t at = w->at - 1;
			policy_words_skip(w);
			return wrong_at(at, "a quote within a bare word; write it as \\\"", ret_at,
				ret_wrong);
		}
		if (c == '\\') {
			c = policy_words_peek(w);
			if (!c || !strchr(" \"\\*#,", c)) {
				size_t at = w->at - 1;
				policy_words_skip(w);
				return wrong_at(at,
					"a backslash stands only before a blank, \", \\, *, # or "
					"comma",
					ret_at, ret_wrong);
			}
			w->at++;
		} else if (c == '*' && stars) {
			c = 0;
		}
		buf_put8(ret, (uint8_t)c);
	}
	buf_reserve(ret, 1);
	if (ret->data)
		ret->data[ret->len] = 0;
	if (!quoted)
		return true;
	if (w->at == w->end)
		return wrong_at(
			start, "the closing quote is missing on this line", ret_at, ret_wrong);
	w->at++;
	if (policy_words_blank_or_end(w))
		return true;
	start = w->at;
	policy_words_skip(w);
	return wrong_at(start, "a blank or comma must follow the closing quote", ret_at, ret_wrong);
}

/* Exactly n digits. */
static bool digits(const char *s, size_t n, int *ret)
{
	int v = 0;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (s[i] - '0');
	}
	*ret = v;
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01 of a Gregorian date, year 1 to 9999. */
static int64_t day_number(int year, int month, int day)
{
	int64_t y = year - 1;
	int64_t days = y * 365 + y / 4 - y / 100 + y / 400 - 719162;
	for (int m = 1; m < month; m++)
		days += days_in(year, m);
	return days + day - 1;
}

static struct policy_word bare(struct policy_words *w)
{
	size_t start = w->at;
	while (w->at < w->end && !is_blank(w->text[w->at]))
		w->at++;
	return (struct policy_word){w->text + start, w->at - start};
}

static bool parse_day(struct policy_word d, int64_t *ret, const char **ret_wrong)
{
	int year, month, day;
	*ret_wrong = "expected a date YYYY-MM-DD";
	if (d.len != 10 || d.at[4] != '-' || d.at[7] != '-' || !digits(d.at, 4, &year) ||
		!digits(d.at + 5, 2, &month) || !digits(d.at + 8, 2, &day))
		return false;
	*ret_wrong = "there is no such date";
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
		return false;
	*ret = day_number(year, month, day) * 86400;
	return true;
}

/* Adds the time of day. */
static bool parse_time(struct policy_word t, int64_t *moment, const char **ret_wrong)
{
	int hour, minute, second = 0;
	*ret_wrong = "expected a time HH:MM or HH:MM:SS (UTC)";
	if ((t.len != 5 && t.len != 8) || t.at[2] != ':' || !digits(t.at, 2, &hour) ||
		!digits(t.at + 3, 2, &minute) ||
		(t.len == 8 && (t.at[5] != ':' || !digits(t.at + 6, 2, &second))))
		return false;
	*ret_wrong = "there is no such time";
	if (hour > 23 || minute > 59 || second > 59)
		return false;
	*moment += hour * 3600 + minute * 60 + second;
	return true;
}

const char *policy_words_moment(struct policy_words *w, bool end, size_t *ret_at, int64_t *ret)
{
	const char *wrong;
	int64_t moment;
	*ret_at = w->at;
	struct policy_word d = bare(w), t = {0};
	if (d.len > 12 && d.at[10] == 'T' && d.at[d.len - 1] == 'Z') {
		t = (struct policy_word){d.at + 11, d.len - 12};
		d.len = 10;
	}
	if (!parse_day(d, &moment, &wrong))
		return wrong;
	size_t behind = w->at;
	if (!t.at && policy_words_more(w, false) && w->text[w->at] >= '0' &&
		w->text[w->at] <= '9') {
		*ret_at = w->at;
		t = bare(w);
		behind = w->at;
	}
	w->at = behind;
	if (t.at && !parse_time(t, &moment, &wrong))
		return wrong;
	*ret = moment + (end && !t.at ? 86400 : 0);
	return NULL;
}

bool policy_words_is(struct policy_word word, const char *text)
{
	return word.len == strlen(text) && !memcmp(word.at, text, word.len);
}

unsigned policy_words_act(struct policy_word word)
{
	static const struct {
		const char *word;
		unsigned act;
	} words[] = {{"list", ACT_LIST}, {"read", ACT_READ}, {"write", ACT_WRITE},
		{"create", ACT_CREATE}, {"delete", ACT_DELETE}, {"manage", ACT_MANAGE},
		{"any", ACT_ANY}};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (policy_words_is(word, words[i].word))
			return words[i].act;
	return 0;
}

static bool any_of(struct policy_word word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (policy_words_is(word, list[i]))
			return true;
	return false;
}

bool policy_words_later(struct policy_word word)
{
	static const char *const words[] = {"via", "during", "with", "from-address", "log",
		"review", "lockout", "alert", "dormant", "deletion", "retain", "rotate", "officers",
		"restrict", "audit", "session", "erase"};
	return any_of(word, words, sizeof(words) / sizeof(words[0]));
}

bool policy_words_reserved(struct policy_word word)
{
	static const char *const words[] = {"tenant", "let", "permit", "forbid", "to", "on",
		"except", "anyone", "from", "until", "because"};
	return any_of(word, words, sizeof(words) / sizeof(words[0])) || policy_words_is_time(word);
}

bool policy_words_is_time(struct policy_word word)
{
	static const char *const days[] = {
		"mon", "tue", "wed", "thu", "fri", "sat", "sun", "daily"};
	return (word.len == 7 && word.at[3] == '-' &&
		       any_of((struct policy_word){word.at, 3}, days, 7) &&
		       any_of((struct policy_word){word.at + 4, 3}, days, 7)) ||
	       any_of(word, days, sizeof(days) / sizeof(days[0]));
}
