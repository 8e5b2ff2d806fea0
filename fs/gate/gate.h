/*
 * The only way from a request to the store: gate_enter is policy, then audit; gate_leave is the
 * outcome. No record, no access. Thread-safe.
 */
#ifndef GATE_GATE_H
#define GATE_GATE_H

#include "fs/gate/audit.h"
#include "fs/gate/policy.h"
#include "fs/gate/subject.h"

struct gate;

/* How the gate asks the front about what a request is about. node is the front's; child: a name
 * below it or NULL. */
#define GATE_NAMES_MAX 16
struct gate_object {
	const void *node;
	const char *child;
	bool file; /* known not to be a directory: a permit below does not make it visible */
};
struct gate_front {
	/* The states of all known names of the object under policy p; the count (0: it has no name
	 * any more). Called with the policy locked for reading. generation: of p. */
	size_t (*states)(void *context, const struct gate_object *o, struct policy *p,
		uint64_t generation, policy_state ret[GATE_NAMES_MAX]);
	/* The states of an object that has one name alone, and of the directory in which that is:
	 * false when it has none or several. Called as `states`. */
	bool (*place)(void *context, const struct gate_object *o, struct policy *p,
		uint64_t generation, policy_state *ret_dir, policy_state *ret);
	/* The path inside the tenant, "/..." */
	void (*path)(void *context, const struct gate_object *o, char *ret, size_t size);
	/* 16 bytes; false when it has none. */
	bool (*file_id)(void *context, const struct gate_object *o, uint8_t ret[16]);
	void *context;
};

struct gate_request {
	enum op op;
	struct op_caller caller;
	struct gate_object object;
	unsigned acts;              /* enum act on object; 0: allowed as far as this object goes */
	struct gate_object object2; /* target of rename and link; node NULL: none */
	unsigned acts2;
	bool log_allowed; /* false: only denials are recorded (lookup, stat) */
	bool empties;     /* truncation to nothing: may use more of the log's reserve */
};

/* What ties the parts of one request together. */
struct gate_ticket {
	uint64_t correlation; /* 0: nothing was recorded */
};

/* policy and audit are taken; front is copied. NULL on ENOMEM. */
struct gate *gate_new(struct policy *policy, uint64_t version, struct audit *audit,
	const struct gate_front *front);
/* Writes what is still folded, closes the log. */
void gate_free(struct gate *g);

/* 0; -ENOENT or -EACCES by policy; -EIO, -ENOSPC or -EDQUOT when it cannot be recorded. On the log
 * before it returns. */
MUST_USE int gate_enter(struct gate *g, const struct gate_request *r, struct gate_ticket *ret);
/* outcome: 0 or the -errno with which an allowed request failed; recorded when it failed. Returns
 * outcome. */
int gate_leave(
	struct gate *g, const struct gate_request *r, const struct gate_ticket *t, int outcome);
/* The end of a handle. */
void gate_close(struct gate *g, const struct gate_request *r, const struct gate_ticket *t,
	uint64_t bytes_read, uint64_t bytes_written);
/* Any other event (mount, alarm, receipt). 0, -EIO; -ENOSPC, -EDQUOT on a full disk. */
int gate_record(struct gate *g, const struct audit_event *event, enum audit_need need);

/* Who is behind a caller, for an event of one's own. */
void gate_facts(struct gate *g, const struct op_caller *caller, struct subject_facts *ret);

/* Verdict without a record: readdir's filter, timers, revocation. subject is reused over many
 * calls. */
bool gate_allows(struct gate *g, struct subject *s, const struct gate_object *o, unsigned acts);
/* May the kernel cache the attributes of the object, now and until a policy changes or it moves:
 * everybody sees the same there; or it is a file, and who sees it is who passes its directory, for
 * which the kernel asks at every walk (docs/decisions/0009). `file` is not to be set of one with
 * several names. */
bool gate_cacheable(struct gate *g, const struct gate_object *o);
/* Do the two places fall under the same rules: otherwise a hard link between them is refused. */
bool gate_same_rules(struct gate *g, const struct gate_object *a, const struct gate_object *b);
/* The same for everything below them, too. */
bool gate_same_below(struct gate *g, const struct gate_object *a, const struct gate_object *b);

/* Puts a new policy in force (taken); what open handles may keep is the caller's to ask again. */
void gate_set_policy(struct gate *g, struct policy *policy, uint64_t version);
uint64_t gate_policy_version(struct gate *g);
/* A reference to the policy in force. */
struct policy *gate_policy(struct gate *g);
/* Seconds since the epoch at which verdicts change by themselves next; INT64_MAX never. */
int64_t gate_boundary(struct gate *g, int64_t now);
/* Every few seconds: writes folded denials whose window is over, and a heartbeat when `heartbeat`.
 */
void gate_tick(struct gate *g, bool heartbeat);
struct audit *gate_audit(struct gate *g);

#endif
