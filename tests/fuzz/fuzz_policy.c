/*
 * Policy text. Whatever compiles must decide, in bounded time, and deny those whom no rule names.
 * The hundreds of paths of a policy's own text are tried.
 */
#include "fs/gate/policy.h"
#include "tests/fuzz/fuzz.h"

#define UNINVOLVED 3999999999u
#define PATHS 40

static int find_user(void *context, const char *name, uid_t *ret)
{
	(void)context;
	if (name[0] == 'x')
		return -ENOENT;
	*ret = (uid_t)(1000 + (uint8_t)name[0]);
	return 0;
}

static int find_group(void *context, const char *name, gid_t *ret)
{
	(void)context;
	if (name[0] == 'x')
		return -ENOENT;
	*ret = (gid_t)(2000 + (uint8_t)name[0]);
	return 0;
}

static const struct policy_names names = {find_user, find_group, NULL};

static const gid_t *no_groups(void *context, size_t *ret_count)
{
	static const gid_t none[1];
	(void)context;
	*ret_count = 0;
	return none;
}

static const gid_t *two_groups(void *context, size_t *ret_count)
{
	static const gid_t groups[] = {2000 + 'c', 2000 + 'a'};
	(void)context;
	*ret_count = 2;
	return groups;
}

static void check_verdict(const struct policy_verdict *v)
{
	FUZZ_CHECK(v->allowed ? v->error == 0 : v->error == -ENOENT || v->error == -EACCES);
	FUZZ_CHECK(!v->traverse || v->allowed);
	FUZZ_CHECK(v->allowed || v->failed);
	for (int i = 0; i < POLICY_RULES_MAX; i++)
		if (v->rules[i])
			FUZZ_CHECK(v->rules[i][0]);
}

static void decide(struct policy *p, policy_state at, int64_t now, bool names_all)
{
	const struct policy_subject who[] = {
		{.uid = 1000 + 'm', .gid = 2000 + 'm', .groups = two_groups},
		{.uid = 0, .gid = 0, .groups = no_groups},
		{.uid = 1000 + 'e', .gid = 2000 + 'e'},
		{.uid = UNINVOLVED, .gid = UNINVOLVED, .groups = no_groups},
	};
	struct policy_verdict v, first;
	for (size_t i = 0; i < sizeof(who) / sizeof(who[0]); i++)
		for (unsigned act = 1; act <= ACT_MANAGE; act *= 2) {
			policy_decide(p, &who[i], at, act | (act & 1 ? 0 : POLICY_FILE), now, &v);
			check_verdict(&v);
			policy_decide(
				p, &who[i], at, act | (act & 1 ? 0 : POLICY_FILE), now, &first);
			FUZZ_CHECK(first.allowed == v.allowed && first.error == v.error);
			/* The top folder is everybody's to list. */
			if (who[i].uid == UNINVOLVED && names_all && at != policy_root(p))
				FUZZ_CHECK(!v.allowed);
		}
	/* All at once is permitted only where each is. */
	policy_decide(p, &who[0], at, ACT_READ | ACT_WRITE | POLICY_FILE, now, &first);
	policy_decide(p, &who[0], at, ACT_READ | POLICY_FILE, now, &v);
	FUZZ_CHECK(!first.allowed || v.allowed);
}

static void walk(struct policy *p, char *path, int64_t now, bool names_all)
{
	policy_state at = policy_root(p);
	struct policy_verdict v, again;
	const struct policy_subject who = {
		.uid = 1000 + 'm', .gid = 2000 + 'm', .groups = two_groups};
	char whole[300];
	AUTO_BUF text = {0};
	snprintf(whole, sizeof(whole), "/%s", path);
	for (char *name; (name = strsep(&path, "/"));)
		if (name[0] && strcmp(name, ".") && strcmp(name, ".."))
			at = policy_step(p, at, name);
	decide(p, at, now, names_all);
	(void)policy_all_alike(p, at);
	(void)policy_uniform_here(p, at);
	FUZZ_CHECK(policy_same_rules(p, at, at));
	/* What explain says is what decide does. */
	if (strstr(whole, "//") || strstr(whole, "/."))
		return;
	policy_decide(p, &who, at, ACT_WRITE, now, &v);
	policy_explain(p, &who, whole, ACT_WRITE, now, &again, &text);
	FUZZ_CHECK(v.allowed == again.allowed && v.error == again.error);
}

/* The words of the text that look like paths, and some of our own. */
static void walk_all(struct policy *p, const char *text, size_t len, int64_t now, bool names_all)
{
	char own[] = "payroll/2026/a.txt", deep[] = "a/b/c/d/e/f/g/h/i/j", path[256];
	unsigned count = 0;
	walk(p, own, now, names_all);
	walk(p, deep, now, names_all);
	for (size_t i = 0; i < len && count < PATHS; i++) {
		if (text[i] != '/' || (i && text[i - 1] != ' '))
			continue;
		size_t n = 0;
		while (i + 1 + n < len && n < sizeof(path) - 1 &&
			(unsigned char)text[i + 1 + n] > ' ') {
			path[n] = text[i + 1 + n] == '*' || text[i + 1 + n] == '?'
					  ? 'z'
					  : text[i + 1 + n];
			n++;
		}
		path[n] = 0;
		walk(p, path, now, names_all);
		count++;
	}
}

static void check_mistakes(const struct policy_mistakes *m, int r)
{
	size_t errors = 0;
	for (size_t i = 0; i < m->count; i++) {
		errors += !m->list[i].warning;
		FUZZ_CHECK(
			m->list[i].text[0] && memchr(m->list[i].text, 0, sizeof(m->list[i].text)));
	}
	FUZZ_CHECK(
		m->count <= 1000 && (m->count < 1000 ? errors == m->errors : errors <= m->errors));
	FUZZ_CHECK((r == -EBADRQC) == (m->errors > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct policy_mistakes m = {0};
	struct policy *p = NULL;
	fuzz_begin();
	int r = policy_compile((const char *)bytes, len, NULL, &names, &m, &p);
	FUZZ_CHECK(r == 0 || r == -EBADRQC);
	check_mistakes(&m, r);
	policy_mistakes_done(&m);
	if (r < 0) {
		FUZZ_CHECK(!p);
		return 0;
	}
	size_t text_len;
	const char *text = policy_text(p, &text_len);
	FUZZ_CHECK(text_len == len && memcmp(text, bytes, len) == 0);
	/* Without these words nobody is meant but those whom a rule names. */
	bool names_all = !memmem(text, len, "anyone", 6) && !memmem(text, len, "3999999999", 10);
	int64_t now = 1790000000, next = policy_boundary(p, now);
	FUZZ_CHECK(next > now);
	walk_all(p, text, len, now, names_all);
	if (next < INT64_MAX)
		walk_all(p, text, len, next, names_all);
	policy_put(p);
	return 0;
}

void fuzz_seeds(void)
{
	static const char *const texts[] = {
		"tenant acme\nlet clerks = group:acme user:maria except user:temp\n"
		"permit payroll: clerks to read,write,create,delete on /payroll/** "
		"until "
		"2026-12-31 because \"HR\"\n"
		"permit board: group:board to list on /payroll/** from 2026-10-01 until 2026-10-31 "
		"18:00\n"
		"forbid no-root: user:root to any on /payroll/**\n",
		"tenant acme\npermit a: user:maria to read on /**\n",
		"tenant acme\npermit a: anyone to list on /a/*/b/**/c\n",
		"tenant acme\npermit a:user:#5,group:#6 to read , write on /x,/y /z from "
		"2026-01-01 until "
		"2027-01-01T10:00Z # end\n",
		"tenant acme\npermit a: anyone except user:eva group:#7 to read on /x/** because "
		"\"y\" until "
		"2027-03-01 10:30:59\n",
		"# nothing\n",
		"",
		"tenant acme\npermit a: user:maria to read on /**/a/**/a/**/a/**/a/**/b\n",
		"tenant acme\npermit a: user:maria to read on /a*a*a*a*a*a*a*b\n",
		"tenant acme\npermit a: user:\"domain users\" to read on \"/a \\\" b/**\" /c\\ d\n",
		"tenant acme\nlet a = user:m\nlet b = a group:c\npermit p: b to manage on /**\n",
		"tenant acme\npermit p: login:m to read on /**\n",
		"tenant acme\npermit p: user:m to fly on /a/../b maybe\n",
	};
	char name[16];
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(name, sizeof(name), "seed-%02zu", i);
		fuzz_seed(name, texts[i], strlen(texts[i]));
	}
}
