/*
 * The hot paths of the store and the gate, each run many times on the real code over a scratch
 * folder, for tests/integ/test_hot_paths.py, which counts their instructions (docs/performance.md,
 * "Instruction counts"). hot-paths prints the name of each path in the order in which it is
 * measured: each first MANY times for nothing, so that what is allocated once is there, then FEW
 * and MANY times, in one call of hot_measured each.
 */
#include "tests/unit/audit_fixture.h"
#include "tests/unit/redo_place.h"

#include "fs/gate/gate.h"

#define FEW 20u
#define MANY 60u
#define FILE_BYTES (2u << 20)
#define LARGE (256u << 10)
#define NAMES 20u /* how many branches a name takes depends on its random bytes */

struct hot {
	struct store_place *place;
	struct file *file; /* of FILE_BYTES */
	struct name name;  /* its */
	struct name names[NAMES];
	struct log_fixture log;
	struct gate *gate;
	uint8_t *bytes; /* LARGE */
	unsigned round;
};

static const char text[] = "tenant acme\n"
			   "permit owner: user:#1000 to any on /** because \"job\"\n"
			   "permit readers: user:#1001 to read on /open/**\n"
			   "forbid never: anyone to delete on /kept/**\n";

static size_t states(void *context, const struct gate_object *o, struct policy *p,
	uint64_t generation, policy_state ret[GATE_NAMES_MAX])
{
	(void)context, (void)generation;
	ret[0] = policy_step(p, policy_step(p, policy_root(p), "open"), o->node);
	return 1;
}

static void path(void *context, const struct gate_object *o, char *ret, size_t size)
{
	(void)context;
	snprintf(ret, size, "/open/%s", (const char *)o->node);
}

static bool id(void *context, const struct gate_object *o, uint8_t ret[16])
{
	(void)context, (void)o;
	memset(ret, 9, 16);
	return true;
}

static void set_up(struct hot *h)
{
	const struct gate_front front = {.states = states, .path = path, .file_id = id};
	struct policy_mistakes mistakes = {0};
	struct policy *p = NULL;
	struct audit *a = NULL;
	void *place = NULL;
	assert_int_equal(redo_place_make(&place), 0);
	h->place = place;
	h->bytes = calloc(1, LARGE);
	assert_non_null(h->bytes);
	redo_place_pattern(h->bytes, LARGE, 1);
	h->file = redo_place_create(h->place, "file");
	for (uint64_t at = 0; at < FILE_BYTES; at += LARGE)
		assert_int_equal(file_write(h->file, h->bytes, LARGE, at), LARGE);
	assert_int_equal(file_sync(h->file, false), 0);
	h->name = redo_place_name(h->place, "file");
	for (unsigned n = 0; n < NAMES; n++) {
		char plain[32];
		snprintf(plain, sizeof(plain), "a name of %u characters", n + 100);
		h->names[n] = redo_place_name(h->place, plain);
	}
	h->log = log_new(1);
	assert_int_equal(
		policy_compile(text, strlen(text), "acme", policy_names_system(), &mistakes, &p),
		0);
	policy_mistakes_done(&mistakes);
	assert_int_equal(log_open(&h->log, NULL, 0, &a), 0);
	h->gate = gate_new(p, 1, a, &front);
	assert_non_null(h->gate);
}

static void tear_down(struct hot *h)
{
	gate_free(h->gate);
	log_free(&h->log);
	file_put(h->file);
	redo_place_end(h->place);
	void *place = h->place;
	store_place_remove(&place);
	free(h->bytes);
}

static uint64_t place_of(struct hot *h, size_t len)
{
	return (uint64_t)h->round++ * len % FILE_BYTES;
}

static void read_4k(struct hot *h)
{
	assert_int_equal(file_read(h->file, h->bytes, 4096, place_of(h, 4096)), 4096);
}

static void read_256k(struct hot *h)
{
	assert_int_equal(file_read(h->file, h->bytes, LARGE, place_of(h, LARGE)), LARGE);
}

static void write_4k(struct hot *h)
{
	assert_int_equal(file_write(h->file, h->bytes, 4096, place_of(h, 4096)), 4096);
}

static void write_256k(struct hot *h)
{
	assert_int_equal(file_write(h->file, h->bytes, LARGE, place_of(h, LARGE)), LARGE);
}

static void append_sync(struct hot *h)
{
	struct stat st;
	assert_int_equal(file_stat(h->file, &st), 0);
	assert_int_equal(file_write(h->file, h->bytes, 4096, (uint64_t)st.st_size), 4096);
	assert_int_equal(file_sync(h->file, false), 0);
}

static void open_close(struct hot *h)
{
	struct file *f = NULL;
	assert_int_equal(file_open(h->place->root, h->name.lower, &f), 0);
	file_put(f);
}

static void seal_name(struct hot *h)
{
	struct name n;
	assert_int_equal(name_seal(h->place->root, "a name of 24 characters.", &n), 0);
}

static void open_name(struct hot *h)
{
	char plain[NAME_PLAIN_MAX + 1];
	assert_int_equal(name_open(h->place->root, h->names[h->round++ % NAMES].lower, plain), 0);
}

static struct gate_request request(const char *node, bool log_allowed)
{
	return (struct gate_request){.op = OP_OPEN,
		.caller = {1000, 1000, getpid()},
		.object = {.node = node, .file = true},
		.acts = ACT_READ | ACT_WRITE,
		.log_allowed = log_allowed};
}

static void gate_logged(struct hot *h)
{
	const struct gate_request r = request("file", true);
	struct gate_ticket t;
	assert_int_equal(gate_enter(h->gate, &r, &t), 0);
	assert_int_equal(gate_leave(h->gate, &r, &t, 0), 0);
}

static void gate_silent(struct hot *h)
{
	const struct gate_request r = request("file", false);
	struct gate_ticket t;
	assert_int_equal(gate_enter(h->gate, &r, &t), 0);
	assert_int_equal(gate_leave(h->gate, &r, &t, 0), 0);
}

static void policy_decision(struct hot *h)
{
	struct policy *p = gate_policy(h->gate);
	const struct policy_subject who = {.uid = 1000, .gid = 1000};
	struct policy_verdict v;
	policy_decide(p, &who, policy_step(p, policy_root(p), "open"), ACT_READ, 1, &v);
	assert_true(v.allowed);
	policy_put(p);
}

static void log_record(struct hot *h)
{
	assert_int_equal(log_put(gate_audit(h->gate), AUDIT_ORDINARY), 0);
}

static const struct {
	const char *name;
	void (*run)(struct hot *h);
} paths[] = {
	{"file_read-4k", read_4k},
	{"file_read-256k", read_256k},
	{"file_write-4k", write_4k},
	{"file_write-256k", write_256k},
	{"append-fsync", append_sync},
	{"file_open-close", open_close},
	{"name_seal", seal_name},
	{"name_open", open_name},
	{"gate_enter-logged", gate_logged},
	{"gate_enter-silent", gate_silent},
	{"policy_decide", policy_decision},
	{"audit_write", log_record},
};

/* callgrind begins and ends a count with it, by this name. */
__attribute__((noinline)) void hot_measured(
	struct hot *h, void (*run)(struct hot *h), unsigned times);
void hot_measured(struct hot *h, void (*run)(struct hot *h), unsigned times)
{
	for (unsigned n = 0; n < times; n++)
		run(h);
}

int main(void)
{
	struct hot h = {0};
	set_up(&h);
	for (size_t k = 0; k < sizeof(paths) / sizeof(paths[0]); k++) {
		/* Not where the file is opened: what nobody has open is opened anew. */
		if (paths[k].run == open_close) {
			file_put(h.file);
			h.file = NULL;
			assert_int_equal(redo_checkpoint(&h.place->store), 0);
		} else if (!h.file) {
			h.file = redo_place_open(h.place, "file");
		}
		for (unsigned n = 0; n < MANY; n++)
			paths[k].run(&h);
		/* Nothing waits that one of both would have to bring to its place. */
		assert_int_equal(redo_checkpoint(&h.place->store), 0);
		hot_measured(&h, paths[k].run, FEW);
		assert_int_equal(redo_checkpoint(&h.place->store), 0);
		hot_measured(&h, paths[k].run, MANY);
		printf("%s %u\n", paths[k].name, MANY - FEW);
	}
	tear_down(&h);
	return 0;
}
