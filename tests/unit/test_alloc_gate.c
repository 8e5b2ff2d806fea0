/* fs/gate, fs/control: each operation with its first, second, ... allocation failing. Nothing is
 * permitted or called intact that is not, what was in force stays, and the same call succeeds
 * afterwards. And what is written in several steps, with each lower call failing. */
#include "tests/unit/audit_fixture.h"

#include "fs/control/control.h"
#include "fs/gate/audit_ocsf.h"
#include "fs/gate/gate.h"
#include "fs/gate/policy_file.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/fail_lower.h"

#include <sys/syscall.h>

static const char text[] =
	"tenant acme\n"
	"let clerks = group:staff user:maria\n"
	"permit owner: user:#1000 to any on /** because \"job\"\n"
	"permit readers: clerks user:#1001 to read on /open/** until 2099-12-31\n"
	"permit a: group:#4711 to list,write on /o*n/*a*/b*c/**\n"
	"permit b: anyone except user:#7 to create on /x/y/z/** from 2020-01-01\n"
	"forbid never: anyone to delete on /kept/**\n";

struct work {
	struct log_fixture f;
	struct fail_lower fail;
	char keys_path[64];
	int keys_fd;
	struct policy *policy;
	struct audit *audit;
	struct gate *gate;
	struct control *control;
	struct buf text;
	uint64_t version, sequence;
	unsigned applied;
};

/* Memory is what runs short here: nothing is gained by waiting for the disk. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

static int id_of(const char *name, unsigned *ret)
{
	*ret = !strcmp(name, "maria") ? 1002 : 50;
	return strcmp(name, "maria") && strcmp(name, "staff") ? -ENOENT : 0;
}

static int user_id(void *context, const char *name, uid_t *ret)
{
	(void)context;
	return id_of(name, ret);
}

static int group_id(void *context, const char *name, gid_t *ret)
{
	(void)context;
	return id_of(name, ret);
}

static const struct policy_names names = {user_id, group_id, NULL};

/* Policy. */

static int compile(struct policy **ret)
{
	struct policy_mistakes mistakes = {0};
	int r = policy_compile(text, strlen(text), "acme", &names, &mistakes, ret);
	policy_mistakes_done(&mistakes);
	return r;
}

static int run_compile(void *context)
{
	struct work *w = context;
	return compile(&w->policy);
}

static void policy_done(void *context)
{
	struct work *w = context;
	policy_put(w->policy);
	w->policy = NULL;
}

/* All mistakes, or none of them. */
static int run_mistakes(void *context)
{
	static const char wrong[] = "tenant other\npermit x: nobody to fly on /a/**\nforbid\n";
	struct policy_mistakes mistakes = {0};
	struct policy *p = NULL;
	(void)context;
	int r = policy_compile(wrong, strlen(wrong), "acme", &names, &mistakes, &p);
	assert_true(r < 0);
	if (r == -EBADRQC)
		assert_int_equal(mistakes.errors, 4);
	policy_mistakes_done(&mistakes);
	return r == -EBADRQC ? 0 : r;
}

static const gid_t *some_groups(void *context, size_t *ret_count)
{
	static const gid_t groups[] = {50, 4711};
	(void)context;
	*ret_count = 2;
	return groups;
}

static const struct {
	uid_t uid;
	const char *path[4];
	unsigned acts;
	bool allowed;
} asked[] = {
	{1000, {"kept", "a"}, ACT_READ, true},
	{1000, {"kept", "a"}, ACT_DELETE, false},
	{1001, {"open", "a"}, ACT_READ, true},
	{1001, {"open", "a"}, ACT_CREATE, false},
	{1003, {"open", "kart", "bxc"}, ACT_WRITE, true},
	{1003, {"closed"}, ACT_WRITE, false},
	{7, {"x", "y", "z"}, ACT_CREATE, false},
};
#define ASKED (sizeof(asked) / sizeof(asked[0]))

static bool ask(struct policy *p, size_t k)
{
	struct policy_verdict v;
	const struct policy_subject who = {asked[k].uid, 9, some_groups, NULL};
	policy_state at = policy_root(p);
	for (int i = 0; i < 4 && asked[k].path[i]; i++)
		at = policy_step(p, at, asked[k].path[i]);
	policy_decide(p, &who, at, asked[k].acts, 1800000000, &v);
	return v.allowed;
}

static void prepare_policy(void *context)
{
	assert_int_equal(run_compile(context), 0);
}

/* Short memory only ever denies. */
static int run_decide(void *context)
{
	struct work *w = context;
	int r = 0;
	for (size_t k = 0; k < ASKED; k++) {
		bool allowed = ask(w->policy, k);
		assert_true(asked[k].allowed || !allowed);
		r = allowed == asked[k].allowed ? r : -ENOMEM;
	}
	return r;
}

static int run_explain(void *context)
{
	struct work *w = context;
	AUTO_BUF b = {0};
	struct policy_verdict v;
	const struct policy_subject who = {1001, 9, some_groups, NULL};
	policy_explain(w->policy, &who, "/open/a", ACT_READ, 1800000000, &v, &b);
	if (!buf_ok(&b) || !v.allowed)
		return -ENOMEM;
	assert_non_null(strstr((char *)b.data, "permit owner"));
	assert_non_null(strstr((char *)b.data, "permit readers"));
	return 0;
}

static int run_apply(void *context)
{
	struct work *w = context;
	char next[64];
	int len = snprintf(next, sizeof(next), "# %u\n%.12s", w->applied + 1, text);
	int r = policy_file_apply(&w->fail.base, w->f.fd, w->f.keys, w->keys_fd, next, (size_t)len,
		&w->version, NULL);
	w->applied += r == 0;
	return r;
}

/* Version and text in force: those of the last apply that said so, or of one that failed and is in
 * force all the same. */
static int run_load(void *context)
{
	struct work *w = context;
	AUTO_BUF b = {0};
	struct err e = {0};
	uint64_t version;
	int r = policy_file_load(&w->fail.base, w->f.fd, w->f.keys, &b, &version, &e);
	if (r == 0) {
		assert_int_equal(version, w->applied);
		assert_int_equal(strtoul((char *)b.data + 2, NULL, 10), w->applied);
	}
	return r;
}

static void applied(void *context)
{
	assert_int_equal(run_load(context), 0);
}

static void not_applied(void *context, int error)
{
	(void)error;
	assert_int_equal(run_load(context), 0);
}

static int run_reseal(void *context)
{
	struct work *w = context;
	return policy_file_reseal(&w->fail.base, w->f.fd, w->f.keys, w->keys_fd, NULL);
}

static void begin_rotation(void *context)
{
	struct work *w = context;
	assert_int_equal(keyring_rotate_begin(w->f.keys), 0);
}

static int run_rewrap(void *context)
{
	struct work *w = context;
	return audit_rewrap(&w->fail.base, w->f.fd, w->f.keys, NULL);
}

static void rotated(void *context)
{
	struct work *w = context;
	assert_int_equal(run_reseal(w), 0);
	keyring_retire_done(w->f.keys);
	log_session(&w->f, 1, 0);
}

/* Log. */

static int run_create_log(void *context)
{
	struct work *w = context;
	struct err e = {0};
	return audit_create(&w->fail.base, w->f.fd, w->f.keys, &e);
}

static void prepare_no_log(void *context)
{
	struct work *w = context;
	AUTO_CLOSE dir = openat(w->f.fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		empty_folder(dir);
	unlinkat(w->f.fd, "audit", AT_REMOVEDIR);
}

static void intact(void *context)
{
	struct work *w = context;
	close(w->f.dir);
	w->f.dir = openat(w->f.fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	log_session(&w->f, 2, 0);
	assert_int_equal(log_verify(&w->f), AUDIT_INTACT);
}

/* A log of one short session. */
static void prepare_log(void *context)
{
	struct work *w = context;
	prepare_no_log(w);
	assert_int_equal(run_create_log(w), 0);
	close(w->f.dir);
	w->f.dir = openat(w->f.fd, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	log_session(&w->f, 1, 0);
}

static int run_open_log(void *context)
{
	struct work *w = context;
	return log_open(&w->f, &w->fail.base, 0, &w->audit);
}

static void close_log(void *context)
{
	struct work *w = context;
	assert_int_equal(log_put(w->audit, AUDIT_ORDINARY), 0);
	audit_close(w->audit);
	assert_true(log_verify(&w->f) != AUDIT_BROKEN);
}

static void still_sound(void *context, int error)
{
	struct work *w = context;
	(void)error;
	assert_true(log_verify(&w->f) != AUDIT_BROKEN);
}

static int run_write(void *context)
{
	struct work *w = context;
	struct audit_event event = log_event("/a path of \xff bytes that is no text");
	event.path2 = event.because = "\"quoted\"";
	uint64_t before = audit_sequence(w->audit);
	int r = audit_write(w->audit, &event, AUDIT_ORDINARY);
	assert_int_equal(audit_sequence(w->audit), before + (r == 0));
	return r;
}

/* A record behind the end of a segment: it begins the next one. */
static int run_rotate(void *context)
{
	struct work *w = context;
	struct audit *a;
	int r = log_open(&w->f, NULL, 4096, &a);
	if (r < 0)
		return r;
	for (int i = 0; i < 8 && r == 0; i++)
		r = log_put(a, AUDIT_ORDINARY);
	/* Put off, and gone on with. */
	assert_false(audit_broken(a));
	assert_true(r == 0 || log_put(a, AUDIT_ORDINARY) == 0);
	audit_close(a);
	return r;
}

static int run_close_log(void *context)
{
	struct work *w = context;
	audit_close(w->audit); /* has no result: the next start finds what is missing */
	return 0;
}

static void prepare_close(void *context)
{
	prepare_log(context);
	assert_int_equal(run_open_log(context), 0);
	assert_int_equal(run_write(context), 0);
}

static void closed_log(void *context)
{
	struct work *w = context;
	assert_true(log_verify(&w->f) != AUDIT_BROKEN);
}

static int export_one(void *context, const struct audit_entry *entry)
{
	struct work *w = context;
	const struct audit_ocsf_options o = {.tenant = "acme",
		.tenant_uuid = keyring_owner(w->f.keys)->tenant_uuid,
		.version = "1"};
	audit_ocsf_format(&w->text, entry, &o);
	return buf_ok(&w->text) ? 0 : -ENOMEM;
}

/* An error, never a verdict of damage. */
static int run_read(void *context)
{
	struct work *w = context;
	struct err e = {0};
	buf_done(&w->text);
	int r = audit_read(&w->f.reader, export_one, w, &w->f.verdict, &e);
	if (r == 0) {
		assert_true(w->f.verdict.state != AUDIT_BROKEN);
		assert_true(w->f.verdict.records > 3);
		assert_non_null(strstr((char *)w->text.data, "no text"));
	}
	return r;
}

/* Gate. */

static size_t states(void *context, const struct gate_object *o, struct policy *p,
	uint64_t generation, policy_state ret[GATE_NAMES_MAX])
{
	(void)context, (void)generation;
	ret[0] = policy_step(p, policy_step(p, policy_root(p), o->node), o->child);
	return 1;
}

static void path_of(void *context, const struct gate_object *o, char *ret, size_t size)
{
	(void)context;
	snprintf(ret, size, "/%s/%s", (const char *)o->node, o->child);
}

static bool file_id_of(void *context, const struct gate_object *o, uint8_t ret[16])
{
	(void)context, (void)o;
	memset(ret, 9, 16);
	return true;
}

static int run_gate_new(void *context)
{
	struct work *w = context;
	const struct gate_front front = {.states = states, .path = path_of, .file_id = file_id_of};
	w->gate = gate_new(w->policy, 1, w->audit, &front);
	return w->gate ? 0 : -ENOMEM;
}

static void prepare_gate(void *context)
{
	prepare_log(context);
	assert_int_equal(run_compile(context), 0);
	assert_int_equal(run_open_log(context), 0);
}

static void free_gate(void *context)
{
	struct work *w = context;
	gate_free(w->gate);
	assert_true(log_verify(&w->f) != AUDIT_BROKEN);
}

static void prepare_enter(void *context)
{
	struct work *w = context;
	const struct op_caller self = {1001, 1001, getpid()};
	struct subject_facts facts;
	prepare_gate(context);
	assert_int_equal(run_gate_new(context), 0);
	/* What is opened to know a caller stays open for his next request. */
	gate_facts(w->gate, &self, &facts);
}

static int enter(struct work *w, uid_t uid, const char *node, unsigned acts)
{
	struct gate_ticket t;
	const struct gate_request r = {.op = OP_OPEN,
		.caller = {uid, uid, getpid()},
		.object = {node, "kart"},
		.acts = acts,
		.log_allowed = true};
	uint64_t before = audit_sequence(gate_audit(w->gate));
	int result = gate_enter(w->gate, &r, &t);
	/* No record, no access. */
	assert_true(result < 0 || audit_sequence(gate_audit(w->gate)) == before + 1);
	return result < 0 ? result : gate_leave(w->gate, &r, &t, 0);
}

static int run_enter(void *context)
{
	return enter(context, 1001, "open", ACT_READ);
}

static int run_refuse(void *context)
{
	int r = enter(context, 1001, "kept", ACT_READ);
	assert_true(r < 0);
	return r == -ENOENT ? 0 : r;
}

static int run_set_policy(void *context)
{
	struct work *w = context;
	struct policy *p = NULL;
	int r = compile(&p);
	if (r == 0)
		gate_set_policy(w->gate, p, 2);
	return r;
}

static void still_in_force(void *context, int error)
{
	struct work *w = context;
	(void)error;
	assert_int_equal(gate_policy_version(w->gate), 1);
	assert_int_equal(run_enter(w), 0);
	assert_int_equal(run_refuse(w), 0);
}

/* Control. */

static void answer(void *context, const struct control_request *r, struct buf *b)
{
	(void)context;
	buf_printf(b, "{\"code\": 0, \"message\": \"ok\", \"len\": %zu, \"text\": \"%s\"}",
		r->payload_len, r->payload);
}

static int run_control(void *context)
{
	struct work *w = context;
	AUTO_BUF b = {0};
	struct err e = {0};
	static const char payload[] = "a payload of some length that is said back, so that the "
				      "answer has to grow more than once on its way";
	int r = control_call(w->f.fd, "status", payload, sizeof(payload) - 1, &b, &e);
	if (r == 0)
		assert_non_null(strstr((char *)b.data, payload));
	else
		assert_true(e.text[0]);
	return r;
}

static int run_control_start(void *context)
{
	struct work *w = context;
	struct err e = {0};
	return control_start(w->f.fd, answer, w, &w->control, &e);
}

static void stop_control(void *context)
{
	struct work *w = context;
	assert_int_equal(run_control(w), 0);
	control_stop(w->control);
}

static const struct fail_alloc_case policies[] = {
	{.name = "policy compiled", .run = run_compile, .done = policy_done},
	{.name = "mistakes found", .run = run_mistakes},
	{.name = "decisions", .prepare = prepare_policy, .run = run_decide, .done = policy_done},
	{.name = "explained", .prepare = prepare_policy, .run = run_explain, .done = policy_done},
};

static const struct fail_alloc_case stored[] = {
	{.name = "policy applied", .run = run_apply, .failed = not_applied, .done = applied},
	{.name = "policy loaded", .run = run_load},
	{.name = "log wrapped anew", .prepare = begin_rotation, .run = run_rewrap, .done = rotated},
};

static const struct fail_alloc_case logs[] = {
	{.name = "log created",
		.prepare = prepare_no_log,
		.run = run_create_log,
		.done = intact,
		.once = true},
	{.name = "log opened",
		.prepare = prepare_log,
		.run = run_open_log,
		.failed = still_sound,
		.done = close_log},
	{.name = "log rotated",
		.prepare = prepare_log,
		.run = run_rotate,
		.failed = still_sound,
		.done = closed_log},
	{.name = "log closed", .prepare = prepare_close, .run = run_close_log, .done = closed_log},
};

static const struct fail_alloc_case gates[] = {
	{.name = "gate opened", .prepare = prepare_gate, .run = run_gate_new, .done = free_gate},
	{.name = "request permitted",
		.prepare = prepare_enter,
		.run = run_enter,
		.done = free_gate,
		.also = -ENOENT},
	{.name = "request refused", .prepare = prepare_enter, .run = run_refuse, .done = free_gate},
	{.name = "policy replaced",
		.prepare = prepare_enter,
		.run = run_set_policy,
		.failed = still_in_force,
		.done = free_gate},
};

static const struct fail_alloc_case controls[] = {
	{.name = "control started",
		.run = run_control_start,
		.done = stop_control,
		.also = -EAGAIN},
};

static const struct fail_alloc_case call = {
	.name = "control asked", .run = run_control, .threads = true, .also = -ECONNRESET};

static struct work work_new(void)
{
	static const struct slot_cost cheap = {.iterations = 1, .memory_kib = 64};
	struct work w = {.f = log_new(1), .keys_path = "/tmp/tenantfs-keys-XXXXXX"};
	AUTO_SECRET *s = secret_random(32);
	const struct slot_key key = {SLOT_KEYFILE, s};
	fail_lower_init(&w.fail, lower_posix());
	assert_non_null(mkdtemp(w.keys_path));
	w.keys_fd = open(w.keys_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(keyring_slot_add(w.f.keys, "eva", &key, &cheap, NULL), 0);
	assert_int_equal(keyring_store(w.f.keys, w.keys_fd, NULL), 0);
	assert_int_equal(run_apply(&w), 0);
	return w;
}

static void work_free(struct work *w)
{
	unlinkat(w->keys_fd, "trash", AT_REMOVEDIR);
	unlinkat(w->keys_fd, "acme.json", 0);
	assert_int_equal(rmdir(w->keys_path), 0);
	close(w->keys_fd);
	buf_done(&w->text);
	log_free(&w->f);
}

#define SWEEP(list, w)                                                                             \
	for (size_t i = 0; i < sizeof(list) / sizeof((list)[0]); i++)                              \
	fail_alloc_sweep(&(list)[i], w)

static void policies_only_deny(void **state)
{
	struct work w = {0};
	(void)state;
	SWEEP(policies, &w);
}

static void the_policy_in_force_stays(void **state)
{
	struct work w = work_new();
	(void)state;
	SWEEP(stored, &w);
	assert_int_equal(log_verify(&w.f), AUDIT_INTACT);
	static const struct fail_alloc_case reseal = {
		.name = "policy sealed anew", .run = run_reseal, .failed = not_applied};
	begin_rotation(&w);
	fail_alloc_sweep(&reseal, &w);
	keyring_retire_done(w.f.keys);
	applied(&w);
	work_free(&w);
}

static void logs_stay_sound(void **state)
{
	struct work w = work_new();
	static const struct fail_alloc_case write = {.name = "record written", .run = run_write};
	static const struct fail_alloc_case read = {
		.name = "log read and exported", .run = run_read};
	(void)state;
	SWEEP(logs, &w);
	prepare_log(&w);
	assert_int_equal(run_open_log(&w), 0);
	fail_alloc_sweep(&write, &w);
	assert_int_equal(run_write(&w), 0);
	close_log(&w);
	fail_alloc_sweep(&read, &w);
	work_free(&w);
}

/* Short transfers change nothing. keep: bytes of each read and write. */
static void short_run(const struct fail_alloc_case *c, struct work *w, size_t keep)
{
	if (c->prepare)
		c->prepare(w);
	fail_lower_arm(&w->fail, FAIL_LOWER_ANY, 1, 0, false);
	w->fail.how = FAIL_LOWER_SHORT;
	w->fail.keep = keep;
	int r = c->run(w);
	fail_lower_arm(&w->fail, FAIL_LOWER_ANY, 0, 0, false);
	if (r < 0)
		fail_msg("%s: error %d when %zu bytes are transferred at a time", c->name, r, keep);
	if (c->done)
		c->done(w);
}

/* As fail_alloc_sweep, with the lower calls: each fails once, with this errno. */
static unsigned lower_sweep(const struct fail_alloc_case *c, struct work *w, int error)
{
	unsigned failed = 0;
	bool hit = true;
	for (unsigned n = 1; hit; n++) {
		if (c->prepare)
			c->prepare(w);
		fail_lower_arm(&w->fail, FAIL_LOWER_ANY, n, error, true);
		int r = c->run(w);
		hit = fail_lower_hit(&w->fail);
		fail_lower_arm(&w->fail, FAIL_LOWER_ANY, 0, 0, false);
		failed += hit;
		if (r < 0 && !(hit && (r == error || r == -EIO)))
			fail_msg("%s: error %d with lower call %u failing", c->name, r, n);
		if (r < 0 && c->failed)
			c->failed(w, r);
		if (r < 0 && c->once)
			continue;
		if (r < 0 && c->run(w) < 0)
			fail_msg("%s: fails after lower call %u had failed", c->name, n);
		if (c->done)
			c->done(w);
		assert_true(n < 1000);
	}
	return failed;
}

static void each_lower_call_may_fail(void **state)
{
	struct work w = work_new();
	static const struct fail_alloc_case reseal = {
		.name = "policy sealed anew", .run = run_reseal, .failed = not_applied};
	(void)state;
	static const int errors[] = {-EIO, -ENOSPC, -EDQUOT};
	static const size_t keeps[] = {1, 7, 1000};
	unsigned total = 0;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		total += lower_sweep(&stored[0], &w, errors[i]);
		total += lower_sweep(&stored[1], &w, errors[i]);
		begin_rotation(&w);
		total += lower_sweep(&reseal, &w, errors[i]);
		keyring_retire_done(w.f.keys);
		applied(&w);
		total += lower_sweep(&logs[0], &w, errors[i]);
		total += lower_sweep(&logs[1], &w, errors[i]);
	}
	assert_true(total > 240);
	for (size_t i = 0; i < sizeof(keeps) / sizeof(keeps[0]); i++) {
		short_run(&stored[0], &w, keeps[i]);
		short_run(&stored[1], &w, keeps[i]);
		short_run(&logs[0], &w, keeps[i]);
		short_run(&logs[1], &w, keeps[i]);
	}
	if (getenv("TENANTFS_TEST_FIGURES"))
		print_message("# %u lower calls failed\n", total);
	work_free(&w);
}

static void gates_stay_shut(void **state)
{
	struct work w = work_new();
	(void)state;
	SWEEP(gates, &w);
	work_free(&w);
}

static void requests_are_answered(void **state)
{
	struct work w = work_new();
	(void)state;
	SWEEP(controls, &w);
	assert_int_equal(run_control_start(&w), 0);
	fail_alloc_sweep(&call, &w);
	control_stop(w.control);
	work_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policies_only_deny),
		cmocka_unit_test(the_policy_in_force_stays),
		cmocka_unit_test(logs_stay_sound),
		cmocka_unit_test(each_lower_call_may_fail),
		cmocka_unit_test(gates_stay_shut),
		cmocka_unit_test(requests_are_answered),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
