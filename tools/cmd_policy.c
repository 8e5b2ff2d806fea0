/* tenantctl policy check|explain|apply|show */
#include "fs/control/control.h"
#include "fs/gate/policy_file.h"
#include "fs/gate/policy_words.h"
#include "keymgmt/base/io.h"
#include "keymgmt/base/jsontext.h"
#include "keymgmt/crypto.h"
#include "tools/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define GROUPS_MAX 1024

static int take_nothing(struct cmd *c, void *context, int option, const char *value)
{
	(void)c, (void)context, (void)option, (void)value;
	return 0;
}

/* A file, a pipe, or "-" for standard input: at most one byte more than a policy may have. */
static int read_text(struct cmd *c, const char *file, struct buf *ret)
{
	AUTO_CLOSE fd = strcmp(file, "-") ? open(file, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
	if (fd < 0)
		return err_set(&c->err, -errno, "cannot open %s: %s", file, strerror(errno));
	size_t max = CONTROL_PAYLOAD_MAX + 1;
	if (!buf_reserve(ret, max))
		return err_set(&c->err, -ENOMEM, "not enough memory");
	ssize_t n = io_read_full(fd, ret->data, max);
	if (n < 0)
		return err_set(&c->err, (int)n, "cannot read %s: %s", file, strerror((int)-n));
	ret->len = (size_t)n;
	return 0;
}

static void print_mistakes(FILE *to, const struct policy_mistakes *m)
{
	for (size_t i = 0; i < m->count; i++)
		fprintf(to, "%u:%u: %s%s\n", m->list[i].line, m->list[i].column,
			m->list[i].warning ? "warning: " : "", m->list[i].text);
	size_t shown = 0;
	for (size_t i = 0; i < m->count; i++)
		shown += !m->list[i].warning;
	if (shown < m->errors)
		fprintf(to, "and %zu more\n", m->errors - shown);
}

/* Mistakes and warnings go to `to`. */
static int compile(
	struct cmd *c, const struct buf *text, const char *tenant, FILE *to, struct policy **ret)
{
	struct policy_mistakes m = {0};
	int r = policy_compile(
		(const char *)text->data, text->len, tenant, policy_names_system(), &m, ret);
	print_mistakes(to, &m);
	if (r == -EBADRQC)
		err_set(&c->err, r, "the policy has %zu mistake%s", m.errors,
			m.errors == 1 ? "" : "s");
	policy_mistakes_done(&m);
	return r < 0 ? err_default(&c->err, r, "cannot compile the policy: %s", strerror(-r)) : 0;
}

static int take_check(struct cmd *c, void *context, int option, const char *value)
{
	(void)c, (void)option;
	*(const char **)context = value;
	return 0;
}

int cmd_policy_run_check(struct cmd *c, int argc, char **argv)
{
	static const struct option own[] = {{"tenant", required_argument, NULL, 't'}, {0}};
	const char *tenant = NULL;
	char **operands;
	AUTO_BUF text = {0};
	struct policy *p = NULL;
	int r = cmd_common_options(c, argc, argv, own, take_check, &tenant, 1, 1, &operands);
	if (r < 0)
		return r;
	r = read_text(c, operands[0], &text);
	if (r == 0)
		r = compile(c, &text, tenant, stdout, &p);
	policy_put(p);
	return r;
}

/* The text in force: of the daemon that has the tenant mounted, else from the sealed file. */
static int read_in_force(
	struct cmd *c, const char *argument, struct buf *ret_text, uint64_t *ret_version)
{
	AUTO_BUF answer = {0};
	int r = cmd_common_open(c, argument);
	if (r < 0)
		return r;
	r = control_call(c->layout.tenant_fd, "policy-show", NULL, 0, &answer, &c->err);
	if (r == -ENOTCONN) {
		r = cmd_common_lock(c);
		if (r == 0)
			r = cmd_common_unlock(c);
		return r < 0 ? r
			     : policy_file_load(lower_posix(), c->layout.tenant_fd, c->keyring,
				       ret_text, ret_version, &c->err);
	}
	if (r < 0)
		return r;
	json_t *root = NULL;
	r = jsontext_parse(answer.data, answer.len, &root);
	if (r == -ENOMEM)
		return err_set(&c->err, r, "not enough memory");
	const char *text = json_string_value(json_object_get(root, "text_b64"));
	size_t room = text ? strlen(text) : 0;
	ssize_t len = text && buf_reserve(ret_text, room)
			      ? crypto_unb64(text, room, ret_text->data, room)
			      : -1;
	if (len > 0)
		ret_text->len = (size_t)len;
	*ret_version = (uint64_t)json_integer_value(json_object_get(root, "version"));
	json_decref(root);
	if (len < 0)
		return err_set(&c->err, -EPROTO,
			"the daemon's answer has no policy; are daemon and tool of one version?");
	return 0;
}

int cmd_policy_run_show(struct cmd *c, int argc, char **argv)
{
	char **operands;
	AUTO_BUF text = {0};
	uint64_t version = 0;
	int r = cmd_common_options(c, argc, argv, NULL, take_nothing, NULL, 1, 1, &operands);
	if (r < 0)
		return r;
	r = read_in_force(c, operands[0], &text, &version);
	if (r < 0)
		return r;
	fprintf(stderr, "policy version %llu\n", (unsigned long long)version);
	fwrite(text.data, 1, text.len, stdout);
	return 0;
}

static int apply_offline(struct cmd *c, const struct buf *text, uint64_t *ret_version)
{
	struct err why = {0};
	int r = cmd_common_lock(c);
	if (r == 0)
		r = cmd_common_unlock(c);
	if (r == 0)
		r = cmd_common_log(c, AUDIT_POLICY, "policy apply, not mounted", 0);
	if (r < 0)
		return r;
	r = policy_file_apply(lower_posix(), c->layout.tenant_fd, c->keyring, c->keys_fd,
		(const char *)text->data, text->len, ret_version, &why);
	if (r == 0)
		return 0;
	/* The failure that counts is the first one. */
	if (cmd_common_log(c, AUDIT_POLICY, "policy apply failed", r) < 0)
		fprintf(stderr, "tenantctl: %s\n", c->err.text);
	return err_set(&c->err, r, "%s", why.code ? why.text : strerror(-r));
}

static uint64_t version_in(const struct buf *answer)
{
	json_t *root = NULL;
	if (jsontext_parse(answer->data, answer->len, &root) < 0)
		return 0;
	uint64_t version = (uint64_t)json_integer_value(json_object_get(root, "version"));
	if (json_is_false(json_object_get(root, "settled")))
		fprintf(stderr, "tenantctl: the daemon is still taking open files from those who "
				"lost their "
				"right; look again with tenantctl status.\n");
	json_decref(root);
	return version;
}

int cmd_policy_run_apply(struct cmd *c, int argc, char **argv)
{
	char **operands;
	AUTO_BUF text = {0};
	AUTO_BUF answer = {0};
	struct policy *p = NULL;
	uint64_t version = 0;
	int r = cmd_common_options(c, argc, argv, NULL, take_nothing, NULL, 2, 2, &operands);
	if (r < 0)
		return r;
	r = cmd_common_open(c, operands[0]);
	if (r == 0)
		r = read_text(c, operands[1], &text);
	if (r == 0)
		r = compile(c, &text, c->layout.owner.tenant, stderr, &p);
	policy_put(p);
	if (r < 0)
		return r;
	r = control_call(c->layout.tenant_fd, "policy-apply", (const char *)text.data, text.len,
		&answer, &c->err);
	bool mounted = r != -ENOTCONN;
	if (!mounted)
		r = apply_offline(c, &text, &version);
	else if (r == 0)
		version = version_in(&answer);
	if (r < 0)
		return r;
	printf("policy version %llu is %s\n", (unsigned long long)version,
		mounted ? "in force" : "stored, in force from the next mount on");
	return 0;
}

/* Who is asked about, and when. */
struct question {
	const char *file, *user, *at;
	gid_t groups[GROUPS_MAX];
	size_t count;
	bool groups_given;
};

static bool parse_id(const char *text, uint32_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || n >= UINT32_MAX)
		return false;
	*ret = (uint32_t)n;
	return true;
}

static int take_group(struct cmd *c, struct question *q, const char *value)
{
	uint32_t gid;
	if (q->count == GROUPS_MAX)
		return err_set(&c->err, -EINVAL, "--group: more than %d groups", GROUPS_MAX);
	if (!parse_id(value, &gid) && policy_names_system()->group(NULL, value, &gid) < 0)
		return err_set(
			&c->err, -EINVAL, "--group: there is no group '%s' on this machine", value);
	q->groups[q->count++] = gid;
	q->groups_given = true;
	return 0;
}

static int take_explain(struct cmd *c, void *context, int option, const char *value)
{
	struct question *q = context;
	switch (option) {
	case 'f':
		q->file = value;
		return 0;
	case 'u':
		q->user = value;
		return 0;
	case 'g':
		return take_group(c, q, value);
	default:
		q->at = value;
		return 0;
	}
}

/* The uid, and unless groups were given those of the account, the primary one too. */
static int find_user(struct cmd *c, struct question *q, struct policy_subject *ret)
{
	uint32_t uid = getuid();
	bool number = !q->user || parse_id(q->user, &uid);
	errno = 0;
	const struct passwd *account = number ? getpwuid(uid) : getpwnam(q->user);
	if (!account && !number)
		return err_set(
			&c->err, -EINVAL, "--user: there is no user '%s' on this machine", q->user);
	ret->uid = account ? account->pw_uid : uid;
	ret->gid = (gid_t)-1;
	if (q->groups_given || !account)
		return 0;
	int n = GROUPS_MAX;
	ret->gid = account->pw_gid;
	if (getgrouplist(account->pw_name, account->pw_gid, q->groups, &n) < 0)
		return err_set(&c->err, -E2BIG, "user %u is in more than %d groups",
			(unsigned)ret->uid, GROUPS_MAX);
	q->count = (size_t)n;
	return 0;
}

static const gid_t *give_groups(void *context, size_t *ret_count)
{
	const struct question *q = context;
	*ret_count = q->count;
	return q->groups;
}

static int parse_acts(struct cmd *c, const char *text, unsigned *ret)
{
	const char *at = text;
	do {
		struct policy_word word = {at, strcspn(at, ",")};
		unsigned act = policy_words_act(word);
		if (!act)
			return err_set(&c->err, -EINVAL,
				"'%s' is no action: list, read, write, create, delete, manage "
				"or any, comma-separated",
				text);
		*ret |= act;
		at += word.len;
	} while (*at++);
	return 0;
}

static int parse_at(struct cmd *c, const char *text, int64_t *ret)
{
	struct policy_words w;
	size_t at = 0;
	*ret = time(NULL);
	if (!text)
		return 0;
	policy_words_start(&w, text, strlen(text));
	if (!policy_words_next_line(&w) || policy_words_moment(&w, false, &at, ret) ||
		policy_words_more(&w, false))
		return err_set(&c->err, -EINVAL,
			"--at: '%s' is not \"YYYY-MM-DD\" or \"YYYY-MM-DD HH:MM\" (UTC)", text);
	return 0;
}

/* A path as the daemon would meet it: ".." and the like never reach it, so nothing may be said
 * about them. */
static int check_path(struct cmd *c, const char *path)
{
	if (path[0] != '/')
		return err_set(&c->err, -EINVAL,
			"'%s' is no path inside the tenant: it begins with '/'", path);
	for (const char *at = path + 1; path[1]; at += strcspn(at, "/") + 1) {
		size_t len = strcspn(at, "/");
		if (len == 0 || (len == 1 && at[0] == '.') ||
			(len == 2 && at[0] == '.' && at[1] == '.'))
			return err_set(&c->err, -EINVAL,
				"'%s' is no path inside the tenant: leave out '.', '..', double "
				"slashes and the "
				"one at the end",
				path);
		if (!at[len])
			break;
	}
	return 0;
}

static int explain(struct cmd *c, struct question *q, const struct buf *policy, const char *path,
	const char *action)
{
	struct policy_subject who = {.groups = give_groups, .context = q};
	struct policy_verdict v;
	struct policy *p = NULL;
	unsigned acts = 0;
	int64_t now;
	AUTO_BUF text = {0};
	int r = check_path(c, path);
	if (r == 0)
		r = parse_acts(c, action, &acts);
	if (r == 0)
		r = parse_at(c, q->at, &now);
	if (r == 0)
		r = find_user(c, q, &who);
	if (r == 0)
		r = compile(c, policy, c->layout.tenant_fd >= 0 ? c->layout.owner.tenant : NULL,
			stderr, &p);
	if (r < 0)
		return r;
	policy_explain(p, &who, path, acts, now, &v, &text);
	policy_put(p);
	if (!buf_ok(&text))
		return err_set(&c->err, -ENOMEM, "not enough memory");
	fwrite(text.data, 1, text.len, stdout);
	return v.allowed ? 0 : EXIT_DENIED;
}

int cmd_policy_run_explain(struct cmd *c, int argc, char **argv)
{
	static const struct option own[] = {{"file", required_argument, NULL, 'f'},
		{"user", required_argument, NULL, 'u'}, {"group", required_argument, NULL, 'g'},
		{"at", required_argument, NULL, 'a'}, {0}};
	struct question *q AUTO(cleanup_free) = calloc(1, sizeof(*q));
	char **operands;
	AUTO_BUF text = {0};
	uint64_t version;
	if (!q)
		return -ENOMEM;
	int n = cmd_common_options(c, argc, argv, own, take_explain, q, 2, 3, &operands);
	if (n < 0)
		return n;
	if ((n == 2) != (q->file != NULL))
		return err_set(&c->err, -EINVAL,
			"usage: tenantctl policy explain STORE#TENANT|--file FILE [--user "
			"NAME|UID] "
			"[--group NAME|GID] [--at TIME] PATH ACTION");
	int r = q->file ? read_text(c, q->file, &text)
			: read_in_force(c, operands[0], &text, &version);
	return r < 0 ? r : explain(c, q, &text, operands[n - 2], operands[n - 1]);
}
