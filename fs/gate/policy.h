/*
 * Need-to-know policy (docs/policy.md): text → compiled policy → verdicts. A pure function of
 * compiled policy, subject, path state, actions and time; no I/O. A compiled policy is immutable
 * but for its cache of path states (own lock), and shared by reference count.
 */
#ifndef GATE_POLICY_H
#define GATE_POLICY_H

#include "fs/op.h"
#include "keymgmt/base/buf.h"
#include "keymgmt/base/cleanup.h"

#include <stdbool.h>

struct policy;

/* One mistake or warning in a policy text. */
struct policy_mistake {
	unsigned line, column; /* from 1, in bytes */
	bool warning;
	char text[160];
};

struct policy_mistakes {
	struct policy_mistake *list; /* owned; policy_mistakes_done */
	size_t count;                /* at most 1,000: the first ones */
	size_t errors;               /* those that are not warnings, listed or not */
};
void policy_mistakes_done(struct policy_mistakes *m);

/* How names become ids: getpwnam/getgrnam in programs, a table in tests. -ENOENT when there is no
 * such name. */
struct policy_names {
	int (*user)(void *context, const char *name, uid_t *ret);
	int (*group)(void *context, const char *name, gid_t *ret);
	void *context;
};
const struct policy_names *policy_names_system(void);

/* -EBADRQC when the text has errors (all of them are in ret_mistakes), -ENOMEM. tenant: the name
 * that `tenant` must have, or NULL. */
MUST_USE int policy_compile(const char *text, size_t len, const char *tenant,
	const struct policy_names *names, struct policy_mistakes *ret_mistakes,
	struct policy **ret);
/* Denies everything: for a tenant without a policy. NULL on ENOMEM. */
struct policy *policy_deny_all(void);
struct policy *policy_get(struct policy *p);
void policy_put(struct policy *p);

/* State of the automaton at a path; cheap to keep per inode. Valid for this policy only. 0 denies
 * everything. */
typedef uint32_t policy_state;
policy_state policy_root(struct policy *p); /* of "/" */
/* Of a child. Thread-safe. Never fails: where memory is short the state is one that denies
 * everything. */
policy_state policy_step(struct policy *p, policy_state dir, const char *name);

/*
 * Who asks. groups() is called at most once, only where the verdict depends on it. groups or its
 * list NULL: unknown, and then only what holds whatever the supplementary groups are is permitted.
 */
struct policy_subject {
	uid_t uid;
	gid_t gid;
	const gid_t *(*groups)(void *context, size_t *ret_count);
	void *context;
};

#define POLICY_RULES_MAX 4
struct policy_verdict {
	bool allowed;
	bool traverse; /* allowed, but `list` only as the way to something permitted below */
	int error;     /* -ENOENT without list, else -EACCES; 0 when allowed */
	const char *rules[POLICY_RULES_MAX]; /* names of deciding rules, borrowed from the policy;
						NULL-filled */
	const char *because;                 /* of the first permit, or NULL */
	const char *
		failed; /* "no rule", "forbidden", "user", "path", "action", "time": nearest miss */
};

/*
 * acts: all must be permitted (bits of enum act); `list` is implied by read, and for directories by
 * any permit below. With POLICY_FILE among acts the object is known not to be a directory. now:
 * seconds since the epoch.
 */
#define POLICY_FILE 256u
void policy_decide(struct policy *p, const struct policy_subject *who, policy_state at,
	unsigned acts, int64_t now, struct policy_verdict *ret);
/* As policy_decide, and writes every rule considered with what matched and what did not, as text
 * lines. */
void policy_explain(struct policy *p, const struct policy_subject *who, const char *path,
	unsigned acts, int64_t now, struct policy_verdict *ret, struct buf *text);

/* True when every caller gets the same verdicts at `at` itself, now and until a policy changes. */
bool policy_uniform_here(struct policy *p, policy_state at);
/* The next moment after `now` at which a verdict can change by itself (from, until); INT64_MAX when
 * never. */
int64_t policy_boundary(struct policy *p, int64_t now);

/* True when every caller may list `at` now and until a policy changes, or none may: the root, which
 * all may, and where policy_uniform_here. */
bool policy_all_alike(struct policy *p, policy_state at);
/*
 * True when everybody who may list the directory at `dir` may also list a file at `file`, which
 * lies in it, and the other way round, at every moment: the same rules stand at both, and none lets
 * somebody pass the directory for what lies below it alone. Never for the root, which all pass.
 */
bool policy_behind(struct policy *p, policy_state dir, policy_state file);
const char *policy_text(const struct policy *p, size_t *ret_len);
/* True when every rule treats two states alike, as the names of one file must be (hard links,
 * EXDEV). */
bool policy_same_rules(struct policy *p, policy_state a, policy_state b);

#endif
