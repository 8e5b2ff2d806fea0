/*
 * tenantctl fsck: everything of a tenant, whether somebody has it mounted or not. Its exit statuses
 * are those of fsck(8), added up, not those of the other verbs. Without --repair all reading goes
 * through lower_readonly, so that nothing can change.
 */
#include "fs/control/control.h"
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

#define OWN_LOOKS 8 /* at the policy and the log beside a mount */

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

/* Beside a mount: pauses, and has what is committed brought to its place. */
static int settle(void *context, unsigned again)
{
	struct fsck *f = context;
	AUTO_BUF answer = {0};
	long ms = again < 5 ? 15L << again : 500;
	const struct timespec pause = {.tv_nsec = ms * 1000000};
	nanosleep(&pause, NULL);
	if (ending())
		return -ECANCELED;
	int r = control_call(f->c->layout.tenant_fd, "checkpoint", NULL, 0, &answer, &f->c->err);
	if (r == -ENOTCONN)
		return err_set(&f->c->err, r,
			"tenant %s was unmounted meanwhile: check it once more",
			f->c->layout.owner.tenant);
	return r;
}

/* 1: it was changed meanwhile, so that what was read with our keyring says nothing. */
static int is_stale(struct fsck *f)
{
	struct keyring *now = NULL;
	int r = keyring_load(f->c->keys_fd, &f->c->layout.owner, &now, NULL);
	bool stale = r == 0 && keyring_generation(now) != keyring_generation(f->c->keyring);
	keyring_free(now);
	return r == -ENOMEM ? r : stale;
}

static void own_in_use(struct fsck *f, const char *lower)
{
	f->own_in_use++;
	cmd_fsck_show(f, &(struct check_finding){.kind = "in use",
				 .lower = lower,
				 .detail = "it was replaced while it was looked at",
				 .block = UINT64_MAX,
				 .in_use = true});
}

/* What another try may change. */
static bool may_pass(int r)
{
	return r < 0 && r != -EACCES && r != -EPERM && r != -ENOMEM && r != -EPROTONOSUPPORT;
}

/* Beside a mount a load that fails is tried again: somebody may be in the middle of it. *ret_r is
 * the last result. 0; 1: nothing can be said. */
static int load_steadily(
	struct fsck *f, struct lower *l, int (*load)(struct fsck *f, struct lower *l), int *ret_r)
{
	*ret_r = load(f, l);
	for (unsigned again = 1; f->mounted && may_pass(*ret_r) && again < OWN_LOOKS; again++) {
		int r = settle(f, again);
		if (r < 0)
			return r;
		*ret_r = load(f, l);
	}
	return f->mounted && may_pass(*ret_r) ? is_stale(f) : 0;
}

static int load_policy(struct fsck *f, struct lower *l)
{
	AUTO_BUF text = {0};
	uint64_t version;
	int r = policy_file_load(l, f->c->layout.tenant_fd, f->c->keyring, &text, &version, NULL);
	return r == -ENOENT ? 0 : r;
}

static int check_policy(struct fsck *f, struct lower *l)
{
	int r, stale = load_steadily(f, l, load_policy, &r);
	if (stale > 0)
		own_in_use(f, "policy");
	if (stale)
		return stale < 0 ? stale : 0;
	if (r == -EBADMSG)
		own_finding(f, "policy", "policy",
			"it is damaged, or not the one that the keyring names", true);
	else if (r == -EPROTONOSUPPORT)
		own_finding(f, "policy", "policy", "its format is newer than this program", true);
	else if (r == -EROFS)
		own_finding(f, "policy", "policy", "an update of it was cut short", false);
	else if (r == -EACCES || r == -EPERM)
		own_finding(f, "unread", "policy", "its mode keeps it from who checks", false);
	else if (r < 0 && r != -ENOMEM)
		own_finding(f, "disk", "policy", "it cannot be read", true);
	return r == -ENOMEM ? r : 0;
}

static int load_next(struct fsck *f, struct lower *l)
{
	AUTO(audit_next_auto) struct audit_next next = {0};
	AUTO_LOWER_HELD at = {l, l->ops->openat(l, f->c->layout.tenant_fd, "audit",
					 O_RDONLY | O_DIRECTORY, 0, NULL)};
	return at.fd < 0 ? at.fd : audit_next_load(l, at.fd, f->c->keyring, &next, NULL);
}

static int check_log(struct fsck *f, struct lower *l)
{
	AUTO_LOWER_HELD at = {l, l->ops->openat(l, f->c->layout.tenant_fd, "audit",
					 O_RDONLY | O_DIRECTORY, 0, NULL)};
	if (at.fd < 0) {
		own_finding(f, at.fd == -EACCES ? "unread" : "log", "audit",
			at.fd == -EACCES ? "its mode keeps it from who checks"
					 : "the folder is missing",
			at.fd != -EACCES);
		return 0;
	}
	int r, stale = load_steadily(f, l, load_next, &r);
	if (stale > 0)
		own_in_use(f, "audit/next");
	if (stale || r == -ENOMEM)
		return stale > 0 ? 0 : stale < 0 ? stale : r;
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

/* -ECANCELED; else a total, or a part of it where it cannot be had. */
static int count_all(struct fsck *f, struct lower *l)
{
	int r = f->bar ? -ENOENT : 0;
	/* Beside a mount a folder may go before the walk comes to it. */
	for (unsigned i = 0; r == -ENOENT && i < 3; i++) {
		f->total_files = f->total_bytes = 0;
		r = walk_tree(l, f->c->layout.tenant_fd, "root", count_one, f);
	}
	return r == -ECANCELED ? r : 0;
}

static int check_all(struct fsck *f, struct lower *l)
{
	struct store s;
	const struct check_options o = {
		f->repair, on_found, on_progress, on_receipt, f, f->mounted ? settle : NULL};
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

/* Through whoever has it mounted. */
static int log_beside(struct fsck *f, const char *message)
{
	AUTO_BUF answer = {0};
	return control_call(
		f->c->layout.tenant_fd, "checking", message, strlen(message), &answer, &f->c->err);
}

/* On the log that it is done, since it reads everything; and what came of it. */
static int check_beside(struct fsck *f, struct lower *l)
{
	char message[160];
	int r = log_beside(f, "fsck beside the mount begins");
	if (r < 0)
		return r;
	r = check_all(f, l);
	snprintf(message, sizeof(message),
		"fsck beside the mount: %llu findings, %llu of damage, %llu in use%s",
		(unsigned long long)(f->counts.findings + f->own),
		(unsigned long long)(f->counts.damaged + f->own),
		(unsigned long long)(f->counts.in_use + f->own_in_use), r < 0 ? ", not all" : "");
	int logged = log_beside(f, message);
	return r < 0 ? r : logged;
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
	int r = f->mounted ? check_beside(f, l) : check_logged(f, l);
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

/* The tenant's lock, or an understanding with who has it mounted. */
static int lock_or_join(struct fsck *f)
{
	struct cmd *c = f->c;
	AUTO_BUF answer = {0};
	struct err e = {0};
	int r = cmd_common_lock(c);
	if (r == -EBUSY && !f->repair) {
		int joined = control_call(c->layout.tenant_fd, "checkpoint", NULL, 0, &answer, &e);
		if (joined == -ENOTCONN) /* somebody has it, and no mount */
			return r;
		c->err = e;
		f->mounted = joined == 0;
		return joined;
	}
	if (r == -EROFS && !f->repair) { /* then nobody else can change anything either */
		c->err = (struct err){0};
		r = 0;
	}
	return r;
}

/* 0 and a summary; -errno with a sentence. */
static int fsck(struct fsck *f, const char *argument)
{
	struct lower_readonly readonly;
	struct cmd *c = f->c;
	lower_readonly_init(&readonly, lower_posix());
	int r = cmd_common_open(c, argument);
	if (r == 0)
		r = lock_or_join(f);
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
