#include "fs/gate/gate.h"

#include "fs/gate/fold.h"
#include "keymgmt/base/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct gate {
	struct lock_rw lock; /* guards policy, version, generation; held while verdicts are made */
	struct policy *policy;
	uint64_t version;
	uint64_t generation; /* of policies in this process: states of another are void */
	struct audit *audit;
	struct gate_front front;
	struct fold *fold;
	struct subject_known *known;
	uint64_t correlation; /* atomic */
};

struct gate *gate_new(struct policy *policy, uint64_t version, struct audit *audit,
	const struct gate_front *front)
{
	struct gate *g = calloc(1, sizeof(*g));
	struct fold *fold = fold_new();
	struct subject_known *known = subject_known_new();
	if (!g || !fold || !known) {
		free(g);
		fold_free(fold);
		subject_known_free(known);
		return NULL;
	}
	/* A stream of verdicts must not keep a new policy waiting. */
	lock_rw_init(&g->lock, LOCK_POLICY, true);
	g->policy = policy;
	g->version = version;
	g->generation = 1;
	g->audit = audit;
	g->front = *front;
	g->fold = fold;
	g->known = known;
	return g;
}

void gate_free(struct gate *g)
{
	if (!g)
		return;
	fold_flush(g->fold, g->audit, true);
	fold_free(g->fold);
	subject_known_free(g->known);
	audit_close(g->audit);
	policy_put(g->policy);
	lock_rw_done(&g->lock);
	free(g);
}

/* Every known name of the object must allow it; the first that does not decides. Policy locked by
 * the caller. */
static void decide(struct gate *g, struct subject *s, const struct gate_object *o, unsigned acts,
	struct policy_verdict *ret)
{
	policy_state states[GATE_NAMES_MAX];
	struct policy_subject who = {s->caller.uid, s->caller.gid, subject_groups, s};
	struct timespec now;
	clock_gettime(
		CLOCK_REALTIME, &now); /* time(2) lags by a tick: a right would outlive its end */
	size_t n = g->front.states(g->front.context, o, g->policy, g->generation, states);
	*ret = (struct policy_verdict){.error = -ENOENT, .failed = "path"};
	for (size_t i = 0; i < n; i++) {
		policy_decide(g->policy, &who, states[i], o->file ? acts | POLICY_FILE : acts,
			now.tv_sec, ret);
		if (!ret->allowed)
			return;
	}
}

/* What a record needs of a verdict, copied while the policy cannot go away. */
struct judged {
	bool allowed;
	int error;
	char rules[256], because[256], failed[32];
};

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static void note(struct judged *j, const struct policy_verdict *v)
{
	size_t used = 0;
	j->allowed = v->allowed;
	j->error = v->error;
	j->rules[0] = 0;
	for (size_t i = 0; i < POLICY_RULES_MAX && v->rules[i]; i++) {
		int n = snprintf(j->rules + used, sizeof(j->rules) - used, "%s%s", used ? "," : "",
			v->rules[i]);
		if (n < 0 || (size_t)n >= sizeof(j->rules) - used)
			break;
		used += (size_t)n;
	}
	copy_text(j->because, sizeof(j->because), v->because);
	copy_text(j->failed, sizeof(j->failed), v->failed);
}

/*
 * At ENOENT to a removal or rename the kernel drops the entry, and with it another user's working
 * directory and whatever is mounted below: the refusal has to own up to the name (docs/policy.md,
 * "Caches").
 */
static int refusal(enum op op, int error)
{
	bool removes = op == OP_UNLINK || op == OP_RMDIR || op == OP_RENAME;
	return removes && error == -ENOENT ? -EACCES : error;
}

static void judge(struct gate *g, const struct gate_request *r, struct judged *ret)
{
	struct policy_verdict v = {.allowed = true};
	struct subject s;
	subject_init(&s, &r->caller);
	lock_rw_read(&g->lock);
	if (r->acts)
		decide(g, &s, &r->object, r->acts, &v);
	if (v.allowed && r->object2.node && r->acts2)
		decide(g, &s, &r->object2, r->acts2, &v);
	if (!v.allowed)
		v.error = refusal(r->op, v.error);
	note(ret, &v);
	lock_rw_drop(&g->lock);
	subject_done(&s);
}

/* Paths, facts and ids of a request around an event. Large: lives on the caller's stack for one
 * record. */
struct record {
	char path[8192], path2[8192];
	uint8_t file_id[16];
	struct subject_facts facts;
	struct audit_event event;
};

static void fill_caller(struct gate *g, const struct gate_request *r, struct record *c)
{
	gate_facts(g, &r->caller, &c->facts);
	c->event.exe = c->facts.exe[0] ? c->facts.exe : NULL;
	c->event.login_uid = c->facts.login_uid;
	c->event.session = c->facts.session;
}

static void fill(struct gate *g, const struct gate_request *r, struct record *c)
{
	void *x = g->front.context;
	c->event = (struct audit_event){.kind = AUDIT_ACCESS,
		.op = r->op,
		.caller = r->caller,
		.login_uid = (uid_t)-1,
		.session = UINT32_MAX,
		.acts = r->acts};
	g->front.path(x, &r->object, c->path, sizeof(c->path));
	c->event.path = c->path;
	if (r->object2.node) {
		g->front.path(x, &r->object2, c->path2, sizeof(c->path2));
		c->event.path2 = c->path2;
	}
	if (g->front.file_id(x, &r->object, c->file_id))
		c->event.file_id = c->file_id;
}

/* How much of the log's reserve an allowed request may use on a full disk (docs/audit.md, "Full
 * disk"). */
static enum audit_need need_of(const struct gate_request *r)
{
	if (r->op == OP_UNLINK)
		return AUDIT_RESERVE;
	/* These can be repeated without end by whoever wants to use it up. */
	if (r->op == OP_RMDIR || r->op == OP_RENAME || r->op == OP_REMOVEXATTR || r->empties)
		return AUDIT_SHRINKING;
	return (r->acts | r->acts2) & ~(unsigned)(ACT_LIST | ACT_READ) ? AUDIT_ORDINARY
								       : AUDIT_READING;
}

int gate_enter(struct gate *g, const struct gate_request *r, struct gate_ticket *ret)
{
	struct judged j;
	struct record c;
	ret->correlation = 0;
	judge(g, r, &j);
	if (j.allowed && !r->log_allowed)
		return audit_broken(g->audit) ? -EIO : 0;
	fill(g, r, &c);
	fill_caller(g, r, &c);
	c.event.allowed = j.allowed;
	c.event.error = j.allowed ? 0 : j.error;
	c.event.rules = j.rules[0] ? j.rules : NULL;
	c.event.because = j.because[0] ? j.because : NULL;
	c.event.failed = j.allowed || !j.failed[0] ? NULL : j.failed;
	c.event.correlation = __atomic_add_fetch(&g->correlation, 1, __ATOMIC_RELAXED);
	if (!j.allowed && fold_denial(g->fold, &c.event))
		return audit_broken(g->audit) ? -EIO : j.error;
	int written = audit_write(g->audit, &c.event, j.allowed ? need_of(r) : AUDIT_READING);
	if (written < 0)
		return written;
	if (!j.allowed)
		return j.error;
	ret->correlation = c.event.correlation;
	return 0;
}

int gate_leave(
	struct gate *g, const struct gate_request *r, const struct gate_ticket *t, int outcome)
{
	if (outcome < 0 && t->correlation) {
		struct record c;
		fill(g, r, &c);
		fill_caller(g, r, &c);
		c.event.allowed = true;
		c.event.error = outcome;
		c.event.correlation = t->correlation;
		if (audit_write(g->audit, &c.event, AUDIT_RESERVE) < 0)
			return -EIO;
	}
	return outcome;
}

void gate_close(struct gate *g, const struct gate_request *r, const struct gate_ticket *t,
	uint64_t bytes_read, uint64_t bytes_written)
{
	struct record c;
	/* Whose process it was says the record of its open: it may be another one by now. */
	fill(g, r, &c);
	c.event.kind = AUDIT_CLOSE;
	c.event.allowed = true;
	c.event.correlation = t->correlation;
	c.event.bytes_read = bytes_read;
	c.event.bytes_written = bytes_written;
	/* A close cannot be refused; a log that fails here refuses the next open. */
	if (audit_write(g->audit, &c.event, AUDIT_RESERVE) < 0)
		return;
}

int gate_record(struct gate *g, const struct audit_event *event, enum audit_need need)
{
	return audit_write(g->audit, event, need);
}

void gate_facts(struct gate *g, const struct op_caller *caller, struct subject_facts *ret)
{
	subject_facts(g->known, caller, ret);
}

bool gate_allows(struct gate *g, struct subject *s, const struct gate_object *o, unsigned acts)
{
	struct policy_verdict v;
	lock_rw_read(&g->lock);
	decide(g, s, o, acts, &v);
	lock_rw_drop(&g->lock);
	return v.allowed;
}

bool gate_cacheable(struct gate *g, const struct gate_object *o)
{
	policy_state states[GATE_NAMES_MAX], dir, file;
	lock_rw_read(&g->lock);
	size_t n = g->front.states(g->front.context, o, g->policy, g->generation, states);
	bool uniform = n > 0;
	for (size_t i = 0; i < n; i++)
		uniform = uniform && policy_all_alike(g->policy, states[i]);
	bool behind = !uniform && o->file &&
		      g->front.place(g->front.context, o, g->policy, g->generation, &dir, &file) &&
		      policy_behind(g->policy, dir, file);
	lock_rw_drop(&g->lock);
	return uniform || behind;
}

bool gate_same_below(struct gate *g, const struct gate_object *a, const struct gate_object *b)
{
	policy_state sa[GATE_NAMES_MAX], sb[GATE_NAMES_MAX];
	lock_rw_read(&g->lock);
	size_t na = g->front.states(g->front.context, a, g->policy, g->generation, sa);
	size_t nb = g->front.states(g->front.context, b, g->policy, g->generation, sb);
	bool same = na == 1 && nb == 1 && sa[0] && sa[0] == sb[0];
	lock_rw_drop(&g->lock);
	return same;
}

bool gate_same_rules(struct gate *g, const struct gate_object *a, const struct gate_object *b)
{
	policy_state sa[GATE_NAMES_MAX], sb[GATE_NAMES_MAX];
	bool same = true;
	lock_rw_read(&g->lock);
	size_t na = g->front.states(g->front.context, a, g->policy, g->generation, sa);
	size_t nb = g->front.states(g->front.context, b, g->policy, g->generation, sb);
	for (size_t i = 0; i < na; i++)
		for (size_t k = 0; k < nb; k++)
			same = same && policy_same_rules(g->policy, sa[i], sb[k]);
	lock_rw_drop(&g->lock);
	return same;
}

void gate_set_policy(struct gate *g, struct policy *policy, uint64_t version)
{
	lock_rw_write(&g->lock);
	struct policy *old = g->policy;
	g->policy = policy;
	g->version = version;
	g->generation++;
	lock_rw_drop(&g->lock);
	policy_put(old);
}

uint64_t gate_policy_version(struct gate *g)
{
	lock_rw_read(&g->lock);
	uint64_t version = g->version;
	lock_rw_drop(&g->lock);
	return version;
}

struct policy *gate_policy(struct gate *g)
{
	lock_rw_read(&g->lock);
	struct policy *p = policy_get(g->policy);
	lock_rw_drop(&g->lock);
	return p;
}

int64_t gate_boundary(struct gate *g, int64_t now)
{
	lock_rw_read(&g->lock);
	int64_t at = policy_boundary(g->policy, now);
	lock_rw_drop(&g->lock);
	return at;
}

void gate_tick(struct gate *g, bool heartbeat)
{
	fold_flush(g->fold, g->audit, false);
	/* A failed heartbeat marks the log broken, and that refuses the next open. */
	if (heartbeat && audit_heartbeat(g->audit) < 0)
		return;
}

struct audit *gate_audit(struct gate *g)
{
	return g->audit;
}
