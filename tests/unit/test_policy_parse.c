/* fs/gate/policy_parse.c and policy_words.c: every mistake with its line and column; warnings; odd
 * texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/gate/policy.h"
#include "fs/gate/policy_words.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned lookups;

static int find_user(void *context, const char *name, uid_t *ret)
{
	(void)context;
	lookups++;
	if (!strcmp(name, "broken"))
		return -EIO;
	if (strcmp(name, "maria") && strcmp(name, "domain users"))
		return -ENOENT;
	*ret = 1001;
	return 0;
}

static int find_group(void *context, const char *name, gid_t *ret)
{
	(void)context;
	if (strcmp(name, "clerks"))
		return -ENOENT;
	*ret = 2001;
	return 0;
}

static const struct policy_names names = {find_user, find_group, NULL};

struct row {
	const char *line; /* the second line of a policy; a third one has one more mistake */
	unsigned column;  /* 0: none */
	const char *text; /* of the mistake, a part */
};

static const struct row rows[] = {
	/* what is fine */
	{"", 0, NULL},
	{"  # only a comment", 0, NULL},
	{"permit a: user:maria to read on /a", 0, NULL},
	{"permit a:user:maria,group:clerks to read , write on /a,/b /c # end", 0, NULL},
	{"\tpermit\ta\t:\tuser:#0\tto\tany\ton\t/\r", 0, NULL},
	{"permit a: user:\"domain users\" to list on \"/a \\\" b/**\"", 0, NULL},
	{"permit a: anyone except user:maria group:#7 to list on /** from 2024-02-29 until "
	 "2024-03-01 10:30 because \"a, b # \\\"c\\\"\"",
		0, NULL},
	{"permit a: anyone to list on /a because \"x\" until 2024-03-01 10:30:59 from 0001-01-01",
		0, NULL},
	{"forbid a: anyone to list on /a/**/**/b /x\\ y/\\*\\#\\,\\\\", 0, NULL},
	{"let a = user:maria except user:#5", 0, NULL},
	{"permit via: anyone to list on /a until 2099-01-01", 0, NULL},
	/* statements */
	{"allow x", 1, "expected tenant, let, permit or forbid"},
	{"  /a", 3, "expected tenant"},
	{"tenant t", 1, "already a tenant"},
	{"review every 90d", 1, "\"review\" is not supported by this version"},
	{"lockout after 5 denials in 10m for 30m", 1, "\"lockout\" is not supported"},
	{"alert over 500 opens in 10m", 1, "\"alert\" is not supported"},
	{"dormant after 90d", 1, "\"dormant\" is not supported"},
	{"deletion delay 30d on /a/**", 1, "\"deletion\" is not supported"},
	{"retain /i/** for 10y then erase", 1, "\"retain\" is not supported"},
	{"rotate every 90d", 1, "\"rotate\" is not supported"},
	{"officers user:maria", 1, "\"officers\" is not supported"},
	/* names of rules */
	{"permit", 7, "a rule needs a name"},
	{"permit : anyone to read on /a", 8, "a rule needs a name"},
	{"permit a anyone to read on /a", 10, "a \":\" must follow"},
	{"permit anyone: anyone to read on /a", 8, "word of the language"},
	{"permit a0123456789012345678901234567890123456789012345678901234567890123456789: anyone "
	 "to read on /a",
		8, "1 to 63"},
	/* lets */
	{"let", 4, "a let needs a name"},
	{"let x user:maria", 7, "a \"=\" must follow"},
	{"let x =", 8, "a subject is missing"},
	{"let x = y", 9, "there is no let \"y\""},
	{"let x = x", 9, "there is no let \"x\""},
	{"let o = mon-fri 07:00-19:00 Europe/Berlin", 9,
		"time windows (\"mon-fri\") are not supported"},
	{"let to = user:maria", 5, "word of the language"},
	{"let x = user:maria to", 20, "there is no let \"to\""},
	/* subjects */
	{"permit a: to read on /a", 11, "a subject is missing"},
	{"permit a: anyone except to read on /a", 25, "missing after \"except\""},
	{"permit a: except user:maria to read on /a", 11, "a subject is missing"},
	{"permit a: anyone except user:maria except user:#1 to read on /a", 36, "only once"},
	{"permit a: user:nobody9 to read on /a", 11, "there is no user \"nobody9\""},
	{"permit a: group:maria to read on /a", 11, "there is no group \"maria\""},
	{"permit a: user:broken to read on /a", 11, "cannot be looked up"},
	{"permit a: user: maria to read on /a", 16, "without a blank"},
	{"permit a: user:#x to read on /a", 16, "is not #NUMBER"},
	{"permit a: user:# to read on /a", 16, "is not #NUMBER"},
	{"permit a: user:#4294967295 to read on /a", 16, "is not #NUMBER"},
	{"permit a: user:#99999999999999999999 to read on /a", 16, "is not #NUMBER"},
	{"permit a: user:\"\" to read on /a", 16, "1 to 255 bytes"},
	{"permit a: login:maria to read on /a", 11, "\"login:\" is not supported"},
	{"permit a: service:app to read on /a", 11, "\"service:\" is not supported"},
	{"permit a: role:app to read on /a", 11, "is no kind of subject"},
	{"permit a: maria to read on /a", 11, "there is no let \"maria\""},
	{"permit a: any=1 to read on /a", 11, "expected a subject"},
	{"permit a: anyone read on /a", 18, "expected \"to\" and the actions"},
	{"permit a: anyone on /a", 18, "expected \"to\" and the actions"},
	{"permit a: anyone", 17, "expected \"to\" and the actions"},
	/* actions */
	{"permit a: anyone to on /a", 21, "expected an action"},
	{"permit a: anyone to fly on /a", 21, "expected an action"},
	{"permit a: anyone to read,fly on /a", 26, "expected an action"},
	{"permit a: anyone to read, on /a", 27, "expected an action"},
	{"permit a: anyone to read write on /a", 26, "actions are separated by commas"},
	{"permit a: anyone to read", 25, "expected \"on\""},
	/* paths */
	{"permit a: anyone to read on", 28, "a path is missing"},
	{"permit a: anyone to read on a/b", 29, "a path begins with"},
	{"permit a: anyone to read on /a//b", 29, "a name is missing"},
	{"permit a: anyone to read on /a/ /b", 29, "does not end in"},
	{"permit a: anyone to read on /b /a/../b", 32, "\".\" and \"..\""},
	{"permit a: anyone to read on /./b", 29, "\".\" and \"..\""},
	{"permit a: anyone to read on /a**", 29, "stands alone between slashes"},
	{"permit a: anyone to read on /***", 29, "stands alone between slashes"},
	{"permit a: anyone to read on \"/a", 29, "closing quote is missing"},
	{"permit a: anyone to read on \"/a\"b", 33, "must follow the closing quote"},
	{"permit a: anyone to read on /a\"b", 31, "a quote within a bare word"},
	{"permit a: anyone to read on /a\\b", 31, "a backslash stands only before"},
	{"permit a: anyone to read on \"\"", 29, "a path begins with"},
	/* clauses */
	{"permit a: anyone to read on /a via /usr/bin/restic", 32, "\"via\" is not supported"},
	{"permit a: anyone to read on /a during office", 32, "\"during\" is not supported"},
	{"permit a: anyone to read on /a with session", 32, "\"with\" is not supported"},
	{"permit a: anyone to read on /a from-address 10.0.0.0/8", 32,
		"\"from-address\" is not supported"},
	{"permit a: anyone to read on /a log reads", 32, "\"log\" is not supported"},
	{"permit a: anyone to read on /a maybe", 32, "expected from, until, because"},
	{"permit a: anyone to read on /a = 5", 32, "expected from, until, because"},
	{"permit a: anyone to read on /a until", 37, "YYYY-MM-DD"},
	{"permit a: anyone to read on /a until tomorrow", 38, "YYYY-MM-DD"},
	{"permit a: anyone to read on /a until 2024-02-30", 38, "no such date"},
	{"permit a: anyone to read on /a until 2023-02-29", 38, "no such date"},
	{"permit a: anyone to read on /a until 2024-13-01", 38, "no such date"},
	{"permit a: anyone to read on /a until 2024-01-01T10:00", 38, "YYYY-MM-DD"},
	{"permit a: anyone to list on /a until 2024-01-01T10:00Z from 2024-01-01T09:00:07Z", 0,
		NULL},
	{"permit a: anyone to read on /a until 2024-01-01T10:00:61Z", 38, "no such time"},
	{"permit a: anyone to read on /a until 2024-01-01T1Z", 38, "HH:MM"},
	{"permit a: anyone to read on /a until 2024-01-01T10:00+01:00", 38, "YYYY-MM-DD"},
	{"permit a: anyone to read on /a from 2024-01-01 24:00", 48, "no such time"},
	{"permit a: anyone to read on /a from 2024-01-01 1:00", 48, "HH:MM"},
	{"permit a: anyone to read on /a from 2024-01-01 10:00 from 2024-01-02", 54,
		"\"from\" stands twice"},
	{"permit a: anyone to read on /a because HR", 40, "expected a text in"},
	{"permit a: anyone to read on /a because", 39, "expected a text in"},
	{"permit a: anyone to read on /a because \"HR", 40, "closing quote is missing"},
	{"permit a: anyone to read on /a because \"x\" because \"y\"", 44,
		"\"because\" stands twice"},
};

static void every_mistake_has_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct policy_mistakes m = {0};
		struct policy *p = NULL;
		AUTO_BUF text = {0};
		buf_printf(&text, "tenant t\n%s\n nonsense\n", r->line);
		assert_int_equal(
			policy_compile((char *)text.data, text.len, "t", &names, &m, &p), -EBADRQC);
		assert_null(p);
		if (m.errors != 1 + !!r->column || m.count != m.errors ||
			(r->column && (m.list[0].line != 2 || m.list[0].column != r->column ||
					      !strstr(m.list[0].text, r->text))))
			fail_msg("'%s': %zu, %u:%u %s", r->line, m.errors,
				m.count ? m.list[0].line : 0, m.count ? m.list[0].column : 0,
				m.count ? m.list[0].text : "");
		/* the reader went on */
		assert_int_equal(m.list[m.count - 1].line, 3);
		assert_int_equal(m.list[m.count - 1].column, 2);
		policy_mistakes_done(&m);
	}
}

static void one_line_may_hold_several(void **state)
{
	(void)state;
	static const char text[] = "tenant u\npermit a: user:x group:y login:z to fly on b /c// "
				   "because \"x\" from soon\n"
				   "permit a: user:maria to any on /a\npermit a: user:maria to any "
				   "on /b\nlet l = user:q\n"
				   "permit c: l to any on /q\nlet l = anyone\n";
	static const unsigned want[][2] = {{1, 8}, {2, 11}, {2, 18}, {2, 26}, {2, 37}, {2, 44},
		{2, 46}, {2, 68}, {3, 8}, {4, 8}, {5, 9}, {7, 5}};
	struct policy_mistakes m = {0};
	struct policy *p = NULL;
	assert_int_equal(policy_compile(text, sizeof(text) - 1, "t", &names, &m, &p), -EBADRQC);
	for (size_t i = 0; i < m.count; i++)
		if (i >= sizeof(want) / sizeof(want[0]) || m.list[i].line != want[i][0] ||
			m.list[i].column != want[i][1])
			fail_msg("%zu: %u:%u %s", i, m.list[i].line, m.list[i].column,
				m.list[i].text);
	assert_int_equal(m.count, sizeof(want) / sizeof(want[0]));
	policy_mistakes_done(&m);
}

struct warning {
	const char *text;
	unsigned line, column; /* 0: no warning */
	const char *part;
};

static void warnings_do_not_stop(void **state)
{
	(void)state;
	static const struct warning list[] = {
		{"tenant t\npermit a: user:maria to any on /a/**\n", 0, 0, NULL},
		{"tenant t\npermit a: user:maria to any on /a/** from 2024-02-01 until "
		 "2024-01-30\n",
			2, 8, "ends before it begins"},
		{"tenant t\nforbid a: user:maria to any on /a/** from 2024-02-01 12:00 until "
		 "2024-02-01 12:00\n",
			2, 8, "ends before it begins"},
		{"tenant t\npermit a: user:maria to any on /a/** from 2024-02-01 until "
		 "2024-02-01\n",
			0, 0, NULL},
		{"tenant t\npermit a: anyone to read on /a/**\n", 2, 8, "anyone"},
		{"tenant t\nlet all = user:maria anyone\npermit a: all to read on /a/**\n", 3, 8,
			"anyone"},
		{"tenant t\npermit a: anyone except user:maria to read on /a/**\n", 0, 0, NULL},
		{"tenant t\npermit a: anyone to read on /a/** until 2099-01-01\n", 0, 0, NULL},
		{"tenant t\nforbid a: anyone to read on /a/**\n", 0, 0, NULL},
		{"tenant t\nforbid f: user:maria to any on /a/**\npermit p: user:maria to read on "
		 "/a/b/** /a/*/c/**\n",
			3, 8, "forbid covers"},
		{"tenant t\npermit p: user:maria to read on /a/**\nforbid f: anyone to read,list "
		 "on /**\n",
			2, 8, "forbid covers"},
		{"tenant t\npermit p: user:maria to read on /a/**\nforbid f: anyone to read on "
		 "/**\n",
			0, 0, NULL},
		{"tenant t\npermit p: user:maria to read on /a/** /b/**\nforbid f: anyone to any "
		 "on /a/**\n",
			0, 0, NULL},
		{"tenant t\npermit p: user:maria to read on /a/**\nforbid f: user:#5 to any on "
		 "/a/**\n",
			0, 0, NULL},
		{"tenant t\npermit p: user:maria to read on /a/**\nforbid f: anyone to any on "
		 "/a/** until 2099-01-01\n",
			0, 0, NULL},
		{"tenant t\npermit p: user:maria to read on /a/** /b/*.pdf\n", 2, 39,
			"splits a directory"},
		{"tenant t\npermit p: user:maria to write on /b/x\n", 2, 34, "splits a directory"},
		{"tenant t\npermit p: user:maria to list on /b/x\n", 0, 0, NULL},
		{"tenant t\npermit p: user:maria to read on /b/x /b/x/**\n", 0, 0, NULL},
		{"tenant t\npermit p: user:maria to read on /b/*\n", 0, 0, NULL},
	};
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		struct policy_mistakes m = {0};
		struct policy *p = NULL;
		assert_int_equal(
			policy_compile(list[i].text, strlen(list[i].text), "t", &names, &m, &p), 0);
		if (m.errors || m.count != !!list[i].line ||
			(m.count && (!m.list[0].warning || m.list[0].line != list[i].line ||
					    m.list[0].column != list[i].column ||
					    !strstr(m.list[0].text, list[i].part))))
			fail_msg("%zu: %zu, %u:%u %s", i, m.count, m.count ? m.list[0].line : 0,
				m.count ? m.list[0].column : 0, m.count ? m.list[0].text : "");
		policy_mistakes_done(&m);
		policy_put(p);
	}
}

static int try(const char *text, size_t len, const char *tenant, unsigned *ret_line,
	char ret_text[static 160])
{
	struct policy_mistakes m = {0};
	struct policy *p = NULL;
	int rc = policy_compile(text, len, tenant, &names, &m, &p);
	assert_true((rc == 0) == (p != NULL));
	assert_true((rc == -EBADRQC) == (m.errors > 0));
	*ret_line = m.count ? m.list[0].line : 0;
	snprintf(ret_text, 160, "%s", m.count ? m.list[0].text : "");
	policy_mistakes_done(&m);
	policy_put(p);
	return rc;
}

static void texts_as_a_whole(void **state)
{
	(void)state;
	unsigned line;
	char text[160];
	assert_int_equal(try("", 0, "t", &line, text), -EBADRQC);
	assert_string_equal(text, "a policy names its tenant: tenant NAME");
	assert_int_equal(try("tenant t", 8, "t", &line, text), 0);
	assert_int_equal(try("tenant t", 8, NULL, &line, text), 0);
	assert_int_equal(try("tenant u", 8, "t", &line, text), -EBADRQC);
	assert_string_equal(text, "this policy is for tenant \"u\", not for \"t\"");
	assert_int_equal(try("tenant", 6, NULL, &line, text), -EBADRQC);
	assert_int_equal(try("tenant t x", 10, NULL, &line, text), -EBADRQC);
	assert_int_equal(try("tenant t\n\0\n", 11, NULL, &line, text), -EBADRQC);
	assert_int_equal(line, 2);
	assert_int_equal(try("tenant t\r\n\r\n", 12, NULL, &line, text), 0);
	/* a user is looked up once */
	static const char twice[] =
		"tenant t\npermit a: user:maria to list on /a\npermit b: user:maria to list on /b";
	lookups = 0;
	assert_int_equal(try(twice, sizeof(twice) - 1, NULL, &line, text), 0);
	assert_int_equal(lookups, 1);
}

static void limits(void **state)
{
	(void)state;
	unsigned line;
	char text[160];
	AUTO_BUF b = {0};
	buf_str(&b, "tenant t\n");
	for (int i = 0; i < 20000; i++)
		buf_printf(&b, "permit r%d: user:#%d to any on /%d/**\n", i, i, i);
	assert_int_equal(try((char *)b.data, b.len, "t", &line, text), 0);
	buf_str(&b, "permit more: user:#1 to any on /more\nnonsense\n");
	assert_int_equal(try((char *)b.data, b.len, "t", &line, text), -EBADRQC);
	assert_int_equal(line, 20002);
	assert_string_equal(text, "a policy has at most 20000 rules");
	/* 1 MiB, and a byte more */
	buf_reset(&b);
	buf_str(&b, "tenant t\n#");
	while (b.len < 1u << 20)
		buf_str(&b, "x");
	assert_int_equal(try((char *)b.data, b.len, "t", &line, text), 0);
	buf_str(&b, "x");
	assert_int_equal(try((char *)b.data, b.len, "t", &line, text), -EBADRQC);
	/* paths and names in them */
	for (int extra = 0; extra < 2; extra++) {
		buf_reset(&b);
		buf_str(&b, "tenant t\npermit a: user:#1 to any on /");
		for (int i = 0; i < 255 + extra; i++)
			buf_str(&b, "x");
		assert_int_equal(
			try((char *)b.data, b.len, "t", &line, text), extra ? -EBADRQC : 0);
		buf_reset(&b);
		buf_str(&b, extra ? "tenant t\npermit a: user:#1 to any on /b"
				  : "tenant t\npermit a: user:#1 to any on ");
		for (int i = 0; i < 4094; i += 2)
			buf_str(&b, "/a");
		assert_int_equal(
			try((char *)b.data, b.len, "t", &line, text), extra ? -EBADRQC : 0);
	}
	/* a deep chain of lets, and one that doubles at each step, cost neither stack nor time */
	buf_reset(&b);
	buf_str(&b, "tenant t\nlet l0 = group:#1 user:#1\n");
	for (int i = 1; i < 20000; i++)
		buf_printf(&b, "let l%d = l%d l%d except user:#%d\n", i, i - 1, i / 2, i + 5);
	buf_str(&b, "permit a: l19999 to any on /**\n");
	assert_true(b.len < 1u << 20);
	struct policy_mistakes m = {0};
	struct policy *p = NULL;
	assert_int_equal(policy_compile((char *)b.data, b.len, "t", &names, &m, &p), 0);
	struct policy_subject who = {1, 9, NULL, NULL};
	struct policy_verdict v;
	policy_decide(p, &who, policy_step(p, policy_root(p), "x"), ACT_READ, 0, &v);
	assert_true(v.allowed);
	who.uid = 19000; /* excluded near the end, and no member anyhow */
	policy_decide(p, &who, policy_step(p, policy_root(p), "x"), ACT_READ, 0, &v);
	assert_false(v.allowed);
	policy_put(p);
	/* mistakes are counted beyond those that are kept */
	buf_reset(&b);
	for (int i = 0; i < 5000; i++)
		buf_str(&b, "x\n");
	assert_int_equal(policy_compile((char *)b.data, b.len, "t", &names, &m, &p), -EBADRQC);
	assert_int_equal(m.count, 1000);
	assert_int_equal(m.errors, 5001);
	policy_mistakes_done(&m);
}

static void moments(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool end;
		int64_t want;
	} list[] = {{"1970-01-01", false, 0}, {"1970-01-01", true, 86400},
		{"1969-12-31 23:59:59", true, -1}, {"2000-02-29 12:30", false, 951827400},
		{"2000-02-29T12:30:00Z", true, 951827400}, {"2100-03-01", false, 4107542400},
		{"0001-01-01", false, -62135596800}, {"9999-12-31 23:59:59", true, 253402300799}};
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		struct policy_words w;
		size_t at;
		int64_t got = 0;
		policy_words_start(&w, list[i].text, strlen(list[i].text));
		assert_true(policy_words_next_line(&w));
		assert_null(policy_words_moment(&w, list[i].end, &at, &got));
		assert_true(got == list[i].want);
	}
}

/* Lines put together and damaged at random: no crash, and a mistake's place is inside the text. */
static void random_texts_do_no_harm(void **state)
{
	(void)state;
	uint64_t seed = 88172645463325252u;
	for (int round = 0; round < 30000; round++) {
		AUTO_BUF b = {0};
		struct policy_mistakes m = {0};
		struct policy *p = NULL;
		buf_str(&b, "tenant t\n");
		for (int i = 0; i < 3; i++) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			buf_str(&b, rows[(seed >> 33) % (sizeof(rows) / sizeof(rows[0]))].line);
			buf_str(&b, "\n");
		}
		for (int i = round % 4; i > 0; i--) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			b.data[(seed >> 20) % b.len] =
				(uint8_t) " \"\\*/:,#\n=\0x"[(seed >> 50) % 12];
		}
		/* exact length on the heap, so that a byte read too far is seen */
		char *exact = malloc(b.len);
		memcpy(exact, b.data, b.len);
		int rc = policy_compile(exact, b.len, "t", &names, &m, &p);
		free(exact);
		assert_true(rc == 0 || rc == -EBADRQC);
		for (size_t i = 0; i < m.count; i++)
			assert_true(m.list[i].line >= 1 && m.list[i].line <= 8 &&
				    m.list[i].column >= 1 && m.list[i].column <= b.len &&
				    m.list[i].text[0]);
		policy_mistakes_done(&m);
		policy_put(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mistake_has_its_place),
		cmocka_unit_test(one_line_may_hold_several),
		cmocka_unit_test(warnings_do_not_stop),
		cmocka_unit_test(texts_as_a_whole),
		cmocka_unit_test(limits),
		cmocka_unit_test(moments),
		cmocka_unit_test(random_texts_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
