/* fs/gate/gate.c, fold.c, subject.c: no record, no access; denials are folded; who a caller is. */
#include "tests/unit/audit_fixture.h"

#include "fs/gate/fold.h"
#include "fs/gate/gate.h"
#include "fs/gate/subject.h"

#include <grp.h>
#include <sys/wait.h>

static const char text[] = "tenant acme\n"
			   "permit owner: user:#1000 to any on /** because \"job\"\n"
			   "permit readers: user:#1001 to read on /open/**\n"
			   "forbid never: anyone to delete on /kept/**\n";

/* A front of two nodes: "open" and "kept", each a directory below the root. */
static size_t states(void *context, const struct gate_object *o, struct policy *p,
	uint64_t generation, policy_state ret[GATE_NAMES_MAX])
{
	(void)context, (void)generation;
	if (!o->node)
		return 0;
	ret[0] = policy_step(p, policy_root(p), o->node);
	if (o->child)
		ret[0] = policy_step(p, ret[0], o->child);
	return 1;
}

static void path(void *context, const struct gate_object *o, char *ret, size_t size)
{
	(void)context;
	snprintf(ret, size, "/%s%s%s", (const char *)o->node, o->child ? "/" : "",
		o->child ? o->child : "");
}

static bool id(void *context, const struct gate_object *o, uint8_t ret[16])
{
	(void)context, (void)o;
	memset(ret, 9, 16);
	return true;
}

static struct gate *gate_of(struct log_fixture *f)
{
	const struct gate_front front = {.states = states, .path = path, .file_id = id};
	struct policy_mistakes mistakes = {0};
	struct policy *p = NULL;
	struct audit *a = NULL;
	assert_int_equal(
		policy_compile(text, strlen(text), "acme", policy_names_system(), &mistakes, &p),
		0);
	policy_mistakes_done(&mistakes);
	assert_int_equal(log_open(f, NULL, 0, &a), 0);
	struct gate *g = gate_new(p, 1, a, &front);
	assert_non_null(g);
	return g;
}

static int enter(struct gate *g, enum op op, uid_t uid, const char *node, const char *child,
	unsigned acts, struct gate_ticket *t)
{
	const struct gate_request r = {.op = op,
		.caller = {uid, uid, getpid()},
		.object = {node, child},
		.acts = acts,
		.log_allowed = true};
	return gate_enter(g, &r, t);
}

static void verdicts_follow_the_policy(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct gate *g = gate_of(&f);
	struct gate_ticket t;
	static const struct {
		enum op op;
		uid_t uid;
		const char *node;
		unsigned acts;
		int result;
	} rows[] = {
		{OP_OPEN, 1000, "open", ACT_READ | ACT_WRITE, 0},
		{OP_OPEN, 1001, "open", ACT_READ, 0},
		{OP_OPEN, 1001, "open", ACT_WRITE, -EACCES},
		{OP_OPEN, 1001, "kept", ACT_READ, -ENOENT},
		{OP_OPEN, 0, "open", ACT_READ, -ENOENT},
		{OP_UNLINK, 1000, "kept", ACT_DELETE, -EACCES},
		/* Hidden, but ENOENT would make the kernel drop the entry under everybody. */
		{OP_UNLINK, 1001, "kept", ACT_DELETE, -EACCES},
		{OP_RMDIR, 1001, "kept", ACT_DELETE, -EACCES},
		{OP_RENAME, 1001, "kept", ACT_DELETE, -EACCES},
		{OP_MKDIR, 1001, "kept", ACT_CREATE, -ENOENT},
	};
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		uint64_t before = audit_sequence(gate_audit(g));
		assert_int_equal(
			enter(g, rows[k].op, rows[k].uid, rows[k].node, "x", rows[k].acts, &t),
			rows[k].result);
		/* Each has its record when gate_enter returns, and only what is allowed has
		 * something to close. */
		assert_int_equal(audit_sequence(gate_audit(g)), before + 1);
		assert_int_equal(t.correlation != 0, rows[k].result == 0);
	}
	gate_free(g);
	log_free(&f);
}

static void an_object_without_a_name_is_nobodys(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct gate *g = gate_of(&f);
	struct gate_ticket t;
	assert_int_equal(enter(g, OP_OPEN, 1000, NULL, NULL, ACT_READ, &t), -ENOENT);
	gate_free(g);
	log_free(&f);
}

static void without_a_record_nothing_is_opened(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct gate *g = gate_of(&f);
	struct gate_ticket t;
	assert_int_equal(enter(g, OP_OPEN, 1000, "open", "x", ACT_READ, &t), 0);
	empty_folder(f.dir);
	assert_int_equal(enter(g, OP_OPEN, 1000, "open", "x", ACT_READ, &t), -EIO);
	assert_int_equal(t.correlation, 0);
	/* What needs no record of its own is refused too from then on. */
	const struct gate_request stat = {.op = OP_GETATTR,
		.caller = {1000, 1000, 1},
		.object = {"open", NULL},
		.acts = ACT_LIST};
	assert_int_equal(gate_enter(g, &stat, &t), -EIO);
	gate_free(g);
	log_free(&f);
}

static void a_failed_outcome_is_recorded(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct gate *g = gate_of(&f);
	struct gate_ticket t;
	const struct gate_request r = {.op = OP_MKDIR,
		.caller = {1000, 1000, 1},
		.object = {"open", "new"},
		.acts = ACT_CREATE,
		.log_allowed = true};
	assert_int_equal(gate_enter(g, &r, &t), 0);
	uint64_t before = audit_sequence(gate_audit(g));
	assert_int_equal(gate_leave(g, &r, &t, 0), 0);
	assert_int_equal(audit_sequence(gate_audit(g)), before);
	assert_int_equal(gate_leave(g, &r, &t, -ENOSPC), -ENOSPC);
	assert_int_equal(audit_sequence(gate_audit(g)), before + 1);
	gate_free(g);
	log_free(&f);
}

static void floods_of_one_denial_are_counted(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct gate *g = gate_of(&f);
	struct gate_ticket t;
	uint64_t before = audit_sequence(gate_audit(g));
	for (int k = 0; k < 100; k++)
		assert_int_equal(enter(g, OP_OPEN, 1001, "open", "x", ACT_WRITE, &t), -EACCES);
	assert_int_equal(audit_sequence(gate_audit(g)), before + FOLD_FREE);
	/* Another name, user or action is another denial. */
	assert_int_equal(enter(g, OP_OPEN, 1001, "open", "y", ACT_WRITE, &t), -EACCES);
	assert_int_equal(enter(g, OP_OPEN, 1002, "open", "x", ACT_WRITE, &t), -ENOENT);
	assert_int_equal(enter(g, OP_UNLINK, 1001, "open", "x", ACT_DELETE, &t), -EACCES);
	assert_int_equal(audit_sequence(gate_audit(g)), before + FOLD_FREE + 3);
	gate_free(g); /* the count is written at the latest now */
	struct audit *again;
	assert_int_equal(log_open(&f, NULL, 0, &again), 0);
	assert_true(audit_sequence(again) >= before + FOLD_FREE + 4);
	audit_close(again);
	log_free(&f);
}

static void a_new_policy_counts_at_once(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct gate *g = gate_of(&f);
	struct gate_ticket t;
	assert_int_equal(enter(g, OP_OPEN, 1000, "open", "x", ACT_READ, &t), 0);
	gate_set_policy(g, policy_deny_all(), 2);
	assert_int_equal(gate_policy_version(g), 2);
	assert_int_equal(enter(g, OP_OPEN, 1000, "open", "x", ACT_READ, &t), -ENOENT);
	gate_free(g);
	log_free(&f);
}

static void hard_links_stay_under_their_rules(void **state)
{
	(void)state;
	struct log_fixture f = log_new(1);
	struct gate *g = gate_of(&f);
	const struct gate_object open_x = {"open", "x"}, open_y = {"open", "y"},
				 kept = {"kept", "x"};
	assert_true(gate_same_rules(g, &open_x, &open_y));
	assert_false(gate_same_rules(g, &open_x, &kept));
	gate_free(g);
	log_free(&f);
}

/* A child in groups of its own: what its parent reads in /proc. */
static void groups_are_read_from_proc(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	int ready[2], end[2];
	char byte;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(end), 0);
	pid_t child = fork();
	if (child == 0) {
		const gid_t list[] = {70001, 70002, 70003};
		if (setgroups(3, list) < 0 || write(ready[1], "x", 1) != 1 ||
			read(end[0], &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	struct subject s;
	struct op_caller caller = {0, 0, child};
	size_t n = 0;
	subject_init(&s, &caller);
	const gid_t *groups = subject_groups(&s, &n);
	assert_non_null(groups);
	assert_int_equal(n, 3);
	assert_int_equal(groups[2], 70003);
	subject_done(&s);
	/* The pid belongs to another user by now: nothing of it is believed. */
	caller.uid = 12345;
	subject_init(&s, &caller);
	assert_null(subject_groups(&s, &n));
	subject_done(&s);
	caller = (struct op_caller){0, 0, 0};
	subject_init(&s, &caller);
	assert_null(subject_groups(&s, &n));
	subject_done(&s);
	assert_int_equal(write(end[1], "x", 1), 1);
	waitpid(child, NULL, 0);
}

static bool is_in(const struct subject_facts *facts, const char *part)
{
	return strstr(facts->exe, part) != NULL;
}

static void facts_are_those_of_now(void **state)
{
	(void)state;
	struct subject_known *known = subject_known_new();
	struct subject_facts facts;
	char path[64];
	assert_non_null(known);
	struct op_caller caller = {0, 0, getpid()};
	subject_facts(known, &caller, &facts);
	assert_true(is_in(&facts, "unit-gate"));
	/* A process that becomes another program, asked before and after. */
	pid_t child = fork();
	if (child == 0) {
		raise(SIGSTOP);
		execl("/bin/sleep", "sleep", "100", (char *)NULL);
		_exit(1);
	}
	waitpid(child, NULL, WUNTRACED);
	caller.pid = child;
	subject_facts(known, &caller, &facts);
	assert_true(is_in(&facts, "unit-gate"));
	kill(child, SIGCONT);
	for (int tries = 0; tries < 500 && !is_in(&facts, "sleep"); tries++) {
		usleep(10000);
		subject_facts(known, &caller, &facts);
	}
	assert_true(is_in(&facts, "sleep"));
	/* Gone, and then another has its place among those who asked last. */
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	subject_facts(known, &caller, &facts);
	assert_string_equal(facts.exe, "");
	assert_int_equal(facts.login_uid, (uid_t)-1);
	assert_int_equal(facts.session, UINT32_MAX);
	/* Its number again, now somebody else's. */
	snprintf(path, sizeof(path), "%d", (int)child - 1);
	int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
	if (last < 0 || write(last, path, strlen(path)) < 0)
		print_message("no process can be given a number here\n");
	pid_t again = fork();
	if (again == 0) {
		execl("/bin/sleep", "sleep", "100", (char *)NULL);
		_exit(1);
	}
	caller.pid = again;
	facts.exe[0] = 0;
	for (int tries = 0; tries < 500 && !is_in(&facts, "sleep"); tries++) {
		usleep(10000);
		subject_facts(known, &caller, &facts);
	}
	assert_true(is_in(&facts, "sleep"));
	if (last >= 0 && again != child)
		print_message("the number was taken by somebody else\n");
	kill(again, SIGKILL);
	waitpid(again, NULL, 0);
	if (last >= 0)
		close(last);
	subject_known_free(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts_follow_the_policy),
		cmocka_unit_test(an_object_without_a_name_is_nobodys),
		cmocka_unit_test(without_a_record_nothing_is_opened),
		cmocka_unit_test(a_failed_outcome_is_recorded),
		cmocka_unit_test(floods_of_one_denial_are_counted),
		cmocka_unit_test(a_new_policy_counts_at_once),
		cmocka_unit_test(hard_links_stay_under_their_rules),
		cmocka_unit_test(groups_are_read_from_proc),
		cmocka_unit_test(facts_are_those_of_now),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
