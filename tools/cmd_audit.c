/* tenantctl audit show, verify, export: reading the log of a tenant, mounted or not. */
#include "config.h"
#include "fs/gate/audit_ocsf.h"
#include "fs/gate/audit_read.h"
#include "tools/cmd.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAMES_MAX 64
#define NAME_MAX_LEN 33

enum {
	OPTION_USER = 1,
	OPTION_PATH,
	OPTION_FROM,
	OPTION_TO,
	OPTION_OUTCOME,
	OPTION_OP,
	OPTION_ALL,
	OPTION_PSEUDONYMISE
};

static const struct option filters[] = {
	{"user", required_argument, NULL, OPTION_USER},
	{"path", required_argument, NULL, OPTION_PATH},
	{"from", required_argument, NULL, OPTION_FROM},
	{"to", required_argument, NULL, OPTION_TO},
	{"outcome", required_argument, NULL, OPTION_OUTCOME},
	{"op", required_argument, NULL, OPTION_OP},
	{"all", no_argument, NULL, OPTION_ALL},
	{"pseudonymise", no_argument, NULL, OPTION_PSEUDONYMISE},
	{0},
};

/* What is asked for, and what reading needs. */
struct reading {
	bool by_user, by_outcome, allowed, all, pseudonymise;
	uid_t user;
	const char *path;
	uint64_t from_ns, to_ns; /* to: exclusive; UINT64_MAX: no end */
	int op;                  /* -1: any */

	struct audit_reader reader;
	struct secret *pseudonym_key;
	struct audit_verdict verdict;
	struct audit_ocsf_options ocsf;
	struct buf line;
	struct {
		uid_t uid;
		char name[NAME_MAX_LEN]; /* "" has none */
	} names[NAMES_MAX];
	unsigned names_count;
};

static void reading_done(struct reading *r)
{
	secret_free(r->pseudonym_key);
	buf_done(&r->line);
}

/* NULL when there is none. Asked for once; a log has few users. */
static const char *user_name(void *context, uid_t uid)
{
	struct reading *r = context;
	for (unsigned i = 0; i < r->names_count; i++)
		if (r->names[i].uid == uid)
			return r->names[i].name[0] ? r->names[i].name : NULL;
	if (r->names_count == NAMES_MAX)
		r->names_count = 0;
	const struct passwd *p = getpwuid(uid);
	unsigned i = r->names_count++;
	r->names[i].uid = uid;
	snprintf(r->names[i].name, NAME_MAX_LEN, "%s", p ? p->pw_name : "");
	return r->names[i].name[0] ? r->names[i].name : NULL;
}

/* "2026-11-22", "2026-11-22 07:30", "2026-11-22T07:30:00Z", in UTC. */
static int parse_time(struct cmd *c, const char *text, uint64_t *ret_ns)
{
	static const char *const forms[] = {
		"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, forms[i], &tm);
		time_t t = end && !*end ? timegm(&tm) : -1;
		if (t >= 0) {
			*ret_ns = (uint64_t)t * 1000000000u;
			return 0;
		}
	}
	return err_set(&c->err, -EINVAL,
		"'%s' is no time: write \"2026-11-22\" or \"2026-11-22 07:30\", in UTC", text);
}

static int parse_user(struct cmd *c, const char *text, uid_t *ret)
{
	char *end;
	const struct passwd *p = getpwnam(text);
	errno = 0;
	unsigned long n = strtoul(text, &end, 10);
	if (!p && (!*text || *end || errno || n >= UINT32_MAX))
		return err_set(&c->err, -EINVAL,
			"there is no user '%s'; for one who is gone give the number", text);
	*ret = p ? p->pw_uid : (uid_t)n;
	return 0;
}

static int take(struct cmd *c, void *context, int option, const char *value)
{
	struct reading *r = context;
	switch (option) {
	case OPTION_USER:
		r->by_user = true;
		return parse_user(c, value, &r->user);
	case OPTION_PATH:
		r->path = value;
		return 0;
	case OPTION_FROM:
		return parse_time(c, value, &r->from_ns);
	case OPTION_TO:
		return parse_time(c, value, &r->to_ns);
	case OPTION_OUTCOME:
		r->by_outcome = true;
		r->allowed = strcmp(value, "allowed") == 0;
		if (!r->allowed && strcmp(value, "denied") != 0)
			return err_set(&c->err, -EINVAL, "--outcome is allowed or denied, not '%s'",
				value);
		return 0;
	case OPTION_OP:
		r->op = audit_record_op_number(value);
		if (r->op < 0)
			return err_set(&c->err, -EINVAL,
				"there is no operation '%s': see tenantctl(1), \"audit\"", value);
		return 0;
	case OPTION_ALL:
		r->all = true;
		return 0;
	default:
		r->pseudonymise = true;
		return 0;
	}
}

/* The path itself, what is below it, or what a pattern with * ? [ matches. */
static bool path_matches(const char *wanted, const char *path)
{
	size_t len = strlen(wanted);
	if (!path)
		return false;
	if (wanted[strcspn(wanted, "*?[")])
		return fnmatch(wanted, path, 0) == 0;
	while (len > 0 && wanted[len - 1] == '/')
		len--;
	return strncmp(wanted, path, len) == 0 && (!path[len] || path[len] == '/');
}

static bool is_access(const struct audit_entry *entry)
{
	return !entry->end &&
	       (entry->event.kind == AUDIT_ACCESS || entry->event.kind == AUDIT_CLOSE);
}

static bool wanted(const struct reading *r, const struct audit_entry *entry)
{
	const struct audit_event *e = &entry->event;
	if (entry->time_ns < r->from_ns || entry->time_ns >= r->to_ns)
		return false;
	if ((r->by_user || r->path || r->by_outcome || r->op >= 0) && !is_access(entry))
		return false;
	return (!r->by_user || e->caller.uid == r->user) && (r->op < 0 || (int)e->op == r->op) &&
	       (!r->by_outcome || e->allowed == r->allowed) &&
	       (!r->path || path_matches(r->path, e->path) || path_matches(r->path, e->path2));
}

/* A name may hold what a terminal would obey. */
static void put_safe(struct buf *b, const char *text)
{
	for (const uint8_t *p = (const uint8_t *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || *p == '\\')
			buf_printf(b, "\\x%02x", *p);
		else
			buf_put8(b, *p);
}

static void put_safe_word(struct buf *b, const char *before, const char *text)
{
	if (!text || !*text)
		return;
	buf_str(b, before);
	put_safe(b, text);
}

static void put_time(struct buf *b, uint64_t ns)
{
	char text[32] = "?";
	time_t t = (time_t)(ns / 1000000000u);
	struct tm tm;
	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_printf(b, "%s.%03uZ", text, (unsigned)(ns / 1000000 % 1000));
}

static void put_outcome(struct buf *b, const struct audit_event *e)
{
	char error[24] = "", text[48];
	if (e->error)
		audit_record_errno(e->error, error);
	snprintf(text, sizeof(text), "%s%s%s", e->allowed ? "allowed" : "denied",
		e->error ? " " : "", error);
	buf_printf(b, " %-14s", text);
}

static void put_access(struct buf *b, struct reading *r, const struct audit_event *e)
{
	const char *name = user_name(r, e->caller.uid);
	put_outcome(b, e);
	buf_printf(b, " %-9s ", audit_record_op(e->op));
	if (name)
		buf_printf(b, "%-10s", name);
	else
		buf_printf(b, "%-10" PRIu32, e->caller.uid);
	put_safe_word(b, " ", e->path ? e->path : "-");
	put_safe_word(b, " -> ", e->path2);
	if (e->kind == AUDIT_CLOSE)
		buf_printf(
			b, "  read %" PRIu64 " written %" PRIu64, e->bytes_read, e->bytes_written);
	put_safe_word(b, "  rule ", e->rules);
	put_safe_word(b, "  failed: ", e->failed);
	put_safe_word(b, "  because: ", e->because);
	if (e->count > 1)
		buf_printf(b, "  x%" PRIu32, e->count);
	put_safe_word(b, "  by ", e->exe);
	if (e->caller.pid)
		buf_printf(b, "[%d]", (int)e->caller.pid);
}

static int show_entry(void *context, const struct audit_entry *entry)
{
	struct reading *r = context;
	struct buf *b = &r->line;
	bool silent = entry->end || entry->event.kind == AUDIT_HEARTBEAT;
	if (!wanted(r, entry) || (silent && !r->all))
		return 0;
	buf_reset(b);
	buf_printf(b, "%c%8" PRIu64 " ", entry->suspect ? '!' : ' ', entry->sequence);
	put_time(b, entry->time_ns);
	if (is_access(entry)) {
		put_access(b, r, &entry->event);
	} else {
		buf_printf(b, " %-14s", entry->end ? "end" : audit_record_kind(entry->event.kind));
		if (!silent && entry->event.error)
			put_outcome(b, &entry->event);
		put_safe_word(b, " ", entry->event.message);
		put_safe_word(b, " ", entry->event.path);
	}
	if (!buf_ok(b))
		return -ENOMEM;
	buf_put8(b, '\n');
	fwrite(b->data, 1, b->len, stdout);
	return 0;
}

static int export_entry(void *context, const struct audit_entry *entry)
{
	struct reading *r = context;
	if (!wanted(r, entry))
		return 0;
	buf_reset(&r->line);
	audit_ocsf_format(&r->line, entry, &r->ocsf);
	buf_put8(&r->line, '\n');
	if (!buf_ok(&r->line))
		return -ENOMEM;
	fwrite(r->line.data, 1, r->line.len, stdout);
	return 0;
}

/* Options, tenant, keys. */
static int begin(struct cmd *c, struct reading *r, const struct option *own, int argc, char **argv)
{
	char **operands;
	int result = cmd_common_options(c, argc, argv, own, take, r, 1, 1, &operands);
	if (result >= 0)
		result = cmd_common_open(c, operands[0]);
	if (result == 0)
		result = cmd_common_unlock(c);
	if (result < 0)
		return result;
	r->reader.lower = lower_posix();
	r->reader.tenant_fd = c->layout.tenant_fd;
	r->reader.keyring = c->keyring;
	r->ocsf = (struct audit_ocsf_options){.tenant = c->layout.owner.tenant,
		.tenant_uuid = c->layout.owner.tenant_uuid,
		.version = TENANTFS_VERSION,
		.user_name = user_name,
		.context = r};
	if (!r->pseudonymise)
		return 0;
	r->pseudonym_key = audit_record_path_key(c->keyring);
	r->ocsf.pseudonym_key = r->pseudonym_key;
	return r->pseudonym_key ? 0 : -ENOMEM;
}

/* What a person must know of a log that is not whole. */
static void print_trouble(FILE *to, const char *prefix, const struct audit_verdict *v)
{
	AUTO_BUF when = {0};
	if (v->state == AUDIT_BROKEN && v->record)
		fprintf(to, "%sBROKEN at segment %" PRIu32 ", record %" PRIu64 ": %s\n", prefix,
			v->segment, v->record, v->text);
	else if (v->state == AUDIT_BROKEN)
		fprintf(to, "%sBROKEN at segment %" PRIu32 ": %s\n", prefix, v->segment, v->text);
	if (v->unclean_ends) {
		if (v->unclean_time_ns)
			put_time(&when, v->unclean_time_ns);
		fprintf(to,
			"%sunclean end: %" PRIu32
			" segment%s without an end record, the newest of them %" PRIu32
			"; its last record is %s%s\n",
			prefix, v->unclean_ends, v->unclean_ends == 1 ? "" : "s",
			v->unclean_segment, v->unclean_time_ns ? "of " : "missing",
			v->unclean_time_ns ? (const char *)when.data : "");
	}
	if (v->unreadable)
		fprintf(to,
			"%s%" PRIu32 " segments are sealed to keys that this keyring does not "
			"hold: chained, not read\n",
			prefix, v->unreadable);
}

static int run_each(
	struct cmd *c, int argc, char **argv, const struct option *own, audit_read_each *each)
{
	AUTO(reading_done) struct reading r = {.to_ns = UINT64_MAX, .op = -1};
	int result = begin(c, &r, own, argc, argv);
	if (result == 0)
		result = audit_read(&r.reader, each, &r, &r.verdict, &c->err);
	if (result < 0)
		return result;
	fflush(stdout);
	print_trouble(stderr, "tenantctl: the log is not whole: ", &r.verdict);
	return r.verdict.state == AUDIT_BROKEN ? EXIT_DAMAGED : 0;
}

int cmd_audit_run_show(struct cmd *c, int argc, char **argv)
{
	struct option own[sizeof(filters) / sizeof(filters[0])];
	memcpy(own, filters, sizeof(filters));
	own[sizeof(filters) / sizeof(filters[0]) - 2] = (struct option){0}; /* --pseudonymise */
	return run_each(c, argc, argv, own, show_entry);
}

int cmd_audit_run_export(struct cmd *c, int argc, char **argv)
{
	return run_each(c, argc, argv, filters, export_entry);
}

int cmd_audit_run_verify(struct cmd *c, int argc, char **argv)
{
	AUTO(reading_done) struct reading r = {.to_ns = UINT64_MAX, .op = -1};
	AUTO_BUF when = {0};
	const struct audit_verdict *v = &r.verdict;
	int result = begin(c, &r, NULL, argc, argv);
	if (result == 0)
		result = audit_read(&r.reader, NULL, NULL, &r.verdict, &c->err);
	if (result < 0)
		return result;
	print_trouble(stdout, "", v);
	if (v->state == AUDIT_INTACT)
		printf("intact%s\n", v->live ? ", and being written" : "");
	printf("segments: %" PRIu32 "\nrecords:  %" PRIu64 " that verify\n", v->segments,
		v->records);
	if (v->records) {
		put_time(&when, v->last_time_ns);
		printf("last:     record %" PRIu64 " of %s\n", v->last_sequence,
			(const char *)when.data);
	}
	return (int)v->state;
}
