/*
 * tenantctl fsck: everything of a tenant that is not mounted. Its exit statuses are those of
 * fsck(8), added up, not those of the other verbs. Without --repair all reading goes through
 * lower_readonly, so that nothing can change.
 */
#include "fs/gate/audit_next.h"
#include "fs/gate/policy_file.h"
#include "fs/lower/lower_readonly.h"
#include "fs/lower/walk.h"
#include "tools/cmd_fsck.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* fsck(8) */
enum {
	FSCK_CLEAN = 0,
	FSCK_CORRECTED = 1,
	FSCK_LEFT = 4,
	FSCK_FAILED = 8,
	FSCK_USAGE = 16,
	FSCK_CANCELLED = 32
};

static const struct option own[] = {
	{"json", no_argument, NULL, 'j'},
	{"repair", no_argument, NULL, 'r'},
	{"no-progress", no_argument, NULL, 'p'},
	{0},
};

static int take(struct cmd *c, void *context, int option, const char *value)
{
	struct fsck *f = context;
	(void)c, (void)value;
	f->json |= option == 'j';
	f->repair |= option == 'r';
	f->no_progress |= option == 'p';
	return 0;
}

static bool ending(void)
{
	sigset_t waiting;
	sigpending(&waiting);
	return sigismember(&waiting, SIGINT) || sigismember(&waiting, SIGTERM) ||
	       sigismember(&waiting, SIGHUP);
}

static void on_found(void *context, const struct check_finding *finding)
{
	cmd_fsck_show(context, finding);
}

static int on_progress(void *context, const struct check_counts *counts)
{
	cmd_fsck_bar(context, counts, false);
	return ending() ? -ECANCELED : 0;
}

static int open_log(struct fsck *f)
{
	const struct audit_options options = {.durable = true, .paths = AUDIT_PATH_NONE};
	return f->log ? 0
		      : audit_open(lower_posix(), f->c->layout.tenant_fd, f->c->keyring, &options,
				&f->log, NULL);
}

/* What was erased goes on the log, as from a mount. */
static void on_receipt(void *context, const struct trash_receipt *r)
{
	struct fsck *f = context;
	char message[192];
	snprintf(message, sizeof(message), "%s, %llu bytes, assurance %c%s%s", r->method,
		(unsigned long long)r->bytes, (char)r->assurance, r->error ? ", failed: " : "",
		r->error ? strerror(-r->error) : "");
	const struct audit_event event = {.kind = AUDIT_ERASE,
		.error = r->error,
		.caller = {getuid(), getgid(), getpid()},
		.file_id = r->file_id,
		.bytes_written = r->bytes,
		.message = message,
		.login_uid = (uid_t)-1,
		.session = UINT32_MAX};
	if (open_log(f) < 0 || audit_write(f->log, &event, AUDIT_RESERVE) < 0)
		fprintf(stderr, "tenantctl: a receipt could not be written to the log\n");
}

static void own_finding(
	struct fsck *f, const char *kind, const char *lower, const char *detail, bool damage)
{
	f->own++;
	f->own_left++;
	cmd_fsck_show(f, &(struct check_finding){.kind = kind,
				 .lower = lower,
				 .detail = detail,
				 .block = UINT64_MAX,
				 .damage = damage});
}

static int check_policy(struct fsck *f, struct lower *l)
{
	AUTO_BUF text = {0};
	uint64_t version;
	int r = policy_file_load(l, f->c->layout.tenant_fd, f->c->keyring, &text, &version, NULL);
	if (r == -EBADMSG)
		own_finding(f, "policy", "policy",
			"it is damaged, or not the one that the keyring names", true);
	else if (r == -EPROTONOSUPPORT)
		own_finding(f, "policy", "policy", "its format is newer than this program", true);
	else if (r == -EROFS)
		own_finding(f, "policy", "policy", "an update of it was cut short", false);
	else if (r == -EACCES || r == -EPERM)
		own_finding(f, "unread", "policy", "its mode keeps it from who checks", false);
	else if (r < 0 && r != -ENOENT && r != -ENOMEM)
		own_finding(f, "disk", "policy", "it cannot be read", true);
	return r == -ENOMEM ? r : 0;
}

static int check_log(struct fsck *f, struct lower *l)
{
	AUTO(audit_next_auto) struct audit_next next = {0};
	AUTO_LOWER_HELD at = {l, l->ops->openat(l, f->c->layout.tenant_fd, "audit",
					 O_RDONLY | O_DIRECTORY, 0, NULL)};
	if (at.fd < 0) {
		own_finding(f, at.fd == -EACCES ? "unread" : "log", "audit",
			at.fd == -EACCES ? "its mode keeps it from who checks"
					 : "the folder is missing",
			at.fd != -EACCES);
		return 0;
	}
	int r = audit_next_load(l, at.fd, f->c->keyring, &next, NULL);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		own_finding(f, r == -EACCES ? "unread" : "log", "audit/next",
			r == -EACCES   ? "its mode keeps it from who checks"
			: r == -ENOENT ? "it is missing"
				       : "it does not open",
			r != -EACCES);
	return 0;
}

static int count_one(void *context, const struct walk_entry *e)
{
	struct fsck *f = context;
	struct lower *l = lower_posix();
	struct stat st;
	if (e->type == DT_REG && l->ops->fstatat(l, e->dirfd, e->name, &st) == 0) {
		f->total_files++;
		f->total_bytes += (uint64_t)st.st_blocks * 512;
	}
	return ending() ? -ECANCELED : 0;
}

/* -ECANCELED; else a total, or none where it cannot be had. */
static int count_all(struct fsck *f, struct lower *l)
{
	int r = f->bar ? walk_tree(l, f->c->layout.tenant_fd, "root", count_one, f) : 0;
	return r == -ECANCELED ? r : 0;
}

static int check_all(struct fsck *f, struct lower *l)
{
	struct store s;
	const struct check_options o = {f->repair, on_found, on_progress, on_receipt, f};
	int r = store_init(&s, l, f->c->keyring, f->c->layout.tenant_fd);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
		own_finding(f, "directory", "root", "the tree is missing", true);
		return 0;
	}
	if (r < 0)
		return r;
	r = count_all(f, l);
	clock_gettime(CLOCK_MONOTONIC, &f->begun);
	if (r == 0)
		r = check_policy(f, l);
	if (r == 0)
		r = check_log(f, l);
	if (r == 0)
		r = check_store(&s, f->c->layout.tenant_fd, &o, &f->counts);
	cmd_fsck_bar(f, &f->counts, true);
	store_done(&s);
	return r;
}

/* On the log before the first change, and what came of it. */
static int check_logged(struct fsck *f, struct lower *l)
{
	char message[160];
	int r = f->repair ? cmd_common_log(f->c, AUDIT_RECOVERY, "fsck --repair begins", 0) : 0;
	if (r < 0)
		return r;
	r = check_all(f, l);
	if (f->log)
		audit_close(f->log);
	f->log = NULL;
	if (!f->repair)
		return r;
	snprintf(message, sizeof(message),
		"fsck --repair: %llu findings, %llu corrected, %llu left, %llu moved to lost+found",
		(unsigned long long)(f->counts.findings + f->own),
		(unsigned long long)f->counts.corrected,
		(unsigned long long)(f->counts.left + f->own_left),
		(unsigned long long)f->counts.moved);
	int logged = cmd_common_log(f->c, AUDIT_RECOVERY, message, r);
	return r < 0 ? r : logged;
}

static int check_signals_held(struct fsck *f, struct lower *l)
{
	const struct timespec now = {0};
	sigset_t held, before;
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigprocmask(SIG_BLOCK, &held, &before);
	int r = check_logged(f, l);
	/* The exit status answers a signal that stopped us. */
	while (r == -ECANCELED && sigtimedwait(&held, NULL, &now) > 0)
		;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* A tree may be deeper than the usual number of descriptors. */
static void allow_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)!setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* 0 and a summary; -errno with a sentence. */
static int fsck(struct fsck *f, const char *argument)
{
	struct lower_readonly readonly;
	struct cmd *c = f->c;
	lower_readonly_init(&readonly, lower_posix());
	int r = cmd_common_open(c, argument);
	if (r == 0)
		r = cmd_common_lock(c);
	if (r == -EROFS && !f->repair) { /* then nobody else can change anything either */
		c->err = (struct err){0};
		r = 0;
	}
	if (r == 0)
		r = cmd_common_unlock(c);
	if (r < 0)
		return r;
	allow_descriptors();
	f->bar = !f->no_progress && isatty(STDERR_FILENO);
	clock_gettime(CLOCK_MONOTONIC, &f->begun);
	r = check_signals_held(f, f->repair ? lower_posix() : &readonly.base);
	if (r < 0 && r != -ECANCELED)
		err_default(&c->err, r, "the check cannot go on: %s", strerror(-r));
	if (r == -ECANCELED)
		err_set(&c->err, r, "interrupted: what was not looked at yet is not in this");
	return r;
}

static int status_of(const struct fsck *f)
{
	return (f->counts.corrected ? FSCK_CORRECTED : 0) |
	       (f->counts.left + f->own_left ? FSCK_LEFT : 0);
}

int cmd_fsck_run(struct cmd *c, int argc, char **argv)
{
	struct fsck f = {.c = c};
	char **operands;
	int r = cmd_common_options(c, argc, argv, own, take, &f, 1, 1, &operands);
	if (r == -ECANCELED)
		return r;
	if (r < 0) {
		fprintf(stderr, "tenantctl: %s\n", c->err.text);
		return FSCK_USAGE;
	}
	char store[PATH_MAX], tenant[64];
	r = layout_split(operands[0], true, store, tenant, &c->err);
	int failed = r < 0 ? FSCK_USAGE : FSCK_FAILED;
	if (r == 0)
		r = fsck(&f, operands[0]);
	int status = r == -ECANCELED ? FSCK_CANCELLED : r < 0 ? failed : status_of(&f);
	bool begun = f.begun.tv_sec || f.begun.tv_nsec;
	if (begun)
		cmd_fsck_summary(&f, status, r < 0 ? c->err.text : NULL);
	if (r < 0) {
		err_default(&c->err, r, "%s", strerror(-r));
		fprintf(stderr, "tenantctl: %s\n", c->err.text);
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "tenantctl: cannot write to standard output\n");
		return FSCK_FAILED;
	}
	return status;
}
