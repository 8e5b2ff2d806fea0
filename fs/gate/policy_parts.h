/*
 * What the files policy*.c share, and nobody else includes. A compiled policy is rules, subject
 * expressions, one trie of path components, and two indexes from trie nodes to the rules that end
 * there or below.
 */
#ifndef GATE_POLICY_PARTS_H
#define GATE_POLICY_PARTS_H

#include "fs/gate/policy.h"
#include "keymgmt/base/lock.h"

#include <stdatomic.h>
#include <string.h>

#define POLICY_TEXT_MAX (1u << 20)
#define POLICY_RULES_LIMIT 20000u
#define POLICY_PATH_MAX 4095u
#define POLICY_NONE UINT32_MAX

/* policy_map.c: (tag, bytes) -> number. Readers need no lock once nobody adds. */
struct policy_map_slot {
	uint64_t hash;
	uint32_t tag, key, len, value; /* key: offset in keys */
};
struct policy_map {
	struct policy_map_slot *slots; /* a power of two of them; value POLICY_NONE: empty */
	size_t cap, count;
	struct buf keys;
};
void policy_map_done(struct policy_map *m);
/* The value, or POLICY_NONE. */
uint32_t policy_map_get(const struct policy_map *m, uint32_t tag, const void *key, size_t len);
/* The key must be new; value is not POLICY_NONE. 0 or -ENOMEM. */
MUST_USE int policy_map_add(
	struct policy_map *m, uint32_t tag, const void *key, size_t len, uint32_t value);

/* Room for one more element in an array that grows by doubling: 0 or -ENOMEM, the array as it was.
 */
MUST_USE int policy_map_grow(void *array, size_t *cap, size_t count, size_t element);

/*
 * A set of subjects: (union of the first `included` items) without (union of the `excluded` ones
 * behind them). An expression only refers to expressions with smaller numbers.
 */
enum policy_item_kind { POLICY_USER, POLICY_GROUP, POLICY_ANYONE, POLICY_EXPR };
struct policy_item {
	uint32_t kind, id;
};
struct policy_expr {
	uint32_t first, included, excluded;
	bool groups; /* whether a group is named anywhere in it */
	bool used;   /* by a rule */
};
#define POLICY_EVERYBODY 0u /* number of the expression that is exactly `anyone` */

struct policy_rule {
	uint32_t name, because; /* offsets in strings; because POLICY_NONE: none */
	uint32_t line, column;
	uint32_t subject; /* an expression */
	uint32_t path, paths;
	bool permit;
	uint8_t acts;        /* of a permit with ACT_LIST where it has ACT_READ */
	int64_t from, until; /* from <= now < until; INT64_MIN and INT64_MAX when open */
};
struct policy_path {
	uint32_t node, column;
	bool splits; /* may treat files of one directory differently */
};

/* policy_automaton.c: nodes, and the sets of nodes that are the states. */
enum policy_node_kind { POLICY_LITERAL, POLICY_PATTERN, POLICY_LOOP };
struct policy_node {
	uint32_t parent;         /* POLICY_NONE for the root */
	uint32_t name, name_len; /* offset in names; in patterns a zero byte stands for `*` */
	uint32_t loop;           /* child for `**`, or POLICY_NONE */
	uint32_t pattern;        /* first child with a `*`, or POLICY_NONE */
	uint32_t next_pattern;   /* next such sibling */
	uint32_t patterns;       /* how many such children */
	uint32_t next_run;       /* next sibling pattern with the same longest run */
	uint32_t run_lengths,
		run_lengths_end; /* lengths of the runs of its patterns, in run_lengths */
	uint8_t kind;
	/* filled by policy_index_build */
	uint8_t group_permit, group_forbid;  /* acts of rules here whose subjects name a group */
	bool group_below;                    /* some permit below names a group */
	bool permits;                        /* a permit ends here */
	bool mixed_here, mixed_permit_below; /* rules for some only, or for a time only */
	bool leads_past; /* some permit below is none to list here: a way for who sees no file */
};
struct policy_set {
	const struct policy_set *next; /* in its hash chain */
	uint64_t hash;
	policy_state id;
	uint32_t count;
	uint8_t group_permit, group_forbid;
	bool group_below, permits, uniform_here, leads_past;
	uint32_t nodes[]; /* ascending */
};
#define POLICY_CHUNK 1024u
#define POLICY_CHUNKS 1024u
#define POLICY_STATES_BYTES ((size_t)128 << 20)
struct policy_automaton {
	struct policy_node *nodes;
	size_t count, cap;
	struct buf names;
	struct policy_map literals; /* (node, component) -> node */
	struct policy_map runs;     /* (node, longest run of a pattern) -> first such pattern */
	struct buf run_lengths;
	/* The rest changes while deciding: writers hold lock, readers load with acquire order. */
	struct lock_mutex lock;
	_Atomic(_Atomic(const struct policy_set *) *) chunks[POLICY_CHUNKS]; /* states by number */
	_Atomic(const struct policy_set *) *chains;
	size_t chain_mask;
	uint32_t states;
	size_t bytes;
};
MUST_USE int policy_automaton_init(struct policy_automaton *a);
void policy_automaton_done(struct policy_automaton *a);
/* Adds a path in the encoded form of policy_parse.c; the node at which it ends. 0 or -ENOMEM. */
MUST_USE int policy_automaton_add(
	struct policy_automaton *a, const uint8_t *path, size_t len, uint32_t *ret_node);
/* Once, after the last add and policy_index_build. State 1 is the root. */
MUST_USE int policy_automaton_start(struct policy_automaton *a);
/* NULL for state 0, which denies everything, and for numbers that are none. */
const struct policy_set *policy_automaton_set(const struct policy_automaton *a, policy_state at);
policy_state policy_automaton_step(struct policy_automaton *a, policy_state dir, const char *name);

/* policy_index.c: for every node the rules by subject. */
struct policy_group {
	uint32_t subject;
	uint32_t first, count;  /* in rules of the index */
	uint8_t permit, forbid; /* union of their acts */
};
struct policy_index {
	uint32_t *node_first; /* count of nodes + 1: a node's groups, ascending by subject */
	struct policy_group *groups;
	uint32_t *rules; /* ascending in a group */
};
void policy_index_done(struct policy_index *x);
/* A subject's rules at a node, or NULL. */
const struct policy_group *policy_index_find(
	const struct policy_index *x, uint32_t node, uint32_t subject);
/* The numbers of all rules that x has at a set, ascending, each once; free() them. NULL on ENOMEM.
 */
uint32_t *policy_index_rules(
	const struct policy_index *x, const struct policy_set *set, size_t *ret_count);

/* policy_subject.c: which expressions hold for a caller, remembered for each distinct caller. */
struct policy_edge {
	uint32_t id, expr; /* the expression includes user, group or expression id */
};
struct policy_edges {
	struct policy_edge *list; /* ascending by id */
	size_t count;
};
struct policy_identity {
	uint64_t hash;
	uid_t uid;
	gid_t gid;
	bool known; /* the groups are */
	uint32_t groups, yes;
	uint32_t data[]; /* groups, then the rules' expressions that surely hold, ascending */
};
#define POLICY_IDENTITIES 8192u
struct policy_subjects {
	struct policy_edges edges[4]; /* by enum policy_item_kind */
	_Atomic(struct policy_identity *) *table;
};
MUST_USE int policy_subject_init(struct policy *p);
void policy_subject_done(struct policy_subjects *s);
/*
 * known false: only what holds whatever the supplementary groups are. NULL on ENOMEM.
 * *ret_temporary is what the caller frees, set when the memory for identities is full.
 */
const struct policy_identity *policy_subject_get(struct policy *p, uid_t uid, gid_t gid, bool known,
	const gid_t *groups, size_t count, struct policy_identity **ret_temporary);

struct policy {
	atomic_uint refs;
	char *text;
	size_t text_len;
	struct buf strings; /* zero-terminated names and reasons */
	struct policy_rule *rules;
	size_t nrules, rules_cap;
	struct policy_path *paths;
	size_t npaths, paths_cap;
	struct policy_expr *exprs;
	size_t nexprs, exprs_cap;
	struct policy_item *items;
	size_t nitems, items_cap;
	struct policy_automaton automaton;
	struct policy_index here, below; /* rules that end at a node; permits that end below it */
	struct policy_subjects subjects;
	int64_t *bounds; /* ascending */
	size_t nbounds;
	bool any_permit;
};

static inline const char *policy_string(const struct policy *p, uint32_t offset)
{
	return offset == POLICY_NONE ? NULL : (const char *)p->strings.data + offset;
}

bool policy_subject_has(const struct policy_identity *id, uint32_t subject);

/* policy_parse.c: fills the rules, expressions and paths of an empty policy. 0, -EBADRQC or
 * -ENOMEM. */
MUST_USE int policy_parse_text(struct policy *p, const char *tenant,
	const struct policy_names *names, struct policy_mistakes *mistakes);
/* policy_index.c */
MUST_USE int policy_index_build(struct policy *p);
/* policy_mistakes.c: adds one; beyond 1,000 they are only counted. text: a printf format. */
void policy_mistakes_add(struct policy_mistakes *m, unsigned line, unsigned column, bool warning,
	const char *format, ...) __attribute__((format(printf, 5, 6)));
/* policy_check.c: warnings about a policy without errors. */
void policy_check_warn(const struct policy *p, struct policy_mistakes *mistakes);
/* policy_glob.c: a component pattern (zero byte: any bytes) against a name. */
bool policy_glob_match(const uint8_t *pattern, size_t pattern_len, const char *name, size_t len);

#endif
