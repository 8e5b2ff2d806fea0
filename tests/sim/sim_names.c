/*
 * The real store on a simulated disk, ended at random lower calls: names, directories, links,
 * attributes, removal and erasing. After each end it is mounted again, perhaps ended again on the
 * way, and compared with the model.
 *
 *     sim-names [--states N] [--seed S] [--content] [--strict] [--mistakes]
 *
 * --states N   so many crash states (20000); SIM_STATES says it too
 * --seed S     one run, that of this seed: what a failure names
 * --content    also writes, cuts and punches into files that have content; needs a journal
 * --strict     content that was not flushed must be a version of the file too
 * --mistakes   seeded mistakes instead, each of which must be found in N states
 */
#include "tests/sim/sim_look.h"
#include "tests/sim/sim_mistakes.h"
#include "tests/sim/sim_random.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define OUTCOMES 4 /* crash states of one end */
#define LIVES 3

struct campaign {
	const struct keyring *keys;
	const struct sim_disk *base;
	uint32_t base_blocks;
	bool content, strict, trace, quiet;
	int mistake; /* -1: none */
	uint64_t states, powercuts, kills, inner, skipped, gone_checked, lost_files;
};

struct run {
	struct campaign *c;
	uint64_t seed;
	struct sim_random random;
	struct sim_disk *disk;
	struct sim_store s;
	struct sim_mistakes mistakes;
	struct model m;
	char why[256];
};

typedef int step(struct run *r);

/* With one seed: what happens, a line a step. */
__attribute__((format(printf, 2, 3))) static void trace(
	const struct run *r, const char *format, ...)
{
	va_list arguments;
	if (!r->c->trace)
		return;
	va_start(arguments, format);
	printf("# state %u call %llu: ", r->m.now, (unsigned long long)sim_disk_calls(r->disk));
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

static uint64_t pick(struct run *r, uint64_t n)
{
	return sim_random_below(&r->random, n);
}

static int fail(struct run *r, const char *what, int error)
{
	if (!r->why[0])
		snprintf(r->why, sizeof(r->why), "%s: %s (alarms %u: %s, %s)", what,
			strerror(-error), r->s.alarms, r->s.what, r->s.detail);
	return -1;
}

static struct model_state *now(struct run *r)
{
	return &r->m.states[r->m.now];
}

/* A random entry with one of these types (bits by DT_*), or NULL. */
static const struct model_entry *some_entry(struct run *r, unsigned types)
{
	const struct model_state *s = now(r);
	unsigned fit[MODEL_ENTRIES], n = 0;
	for (unsigned e = 0; e < s->count; e++)
		if (types & 1u << r->m.nodes[s->entries[e].node].type)
			fit[n++] = e;
	return n ? &s->entries[fit[pick(r, n)]] : NULL;
}

static unsigned some_dir(struct run *r)
{
	const struct model_entry *e = pick(r, 3) ? some_entry(r, 1u << DT_DIR) : NULL;
	return e ? e->node : 0;
}

static bool seal(struct run *r, const struct dir *d, unsigned name, struct name *ret)
{
	return name_seal(d, sim_look_name(name), ret) == 0 || fail(r, "name_seal", -EIO) == 0;
}

/* The open directory of a node, its parents too. NULL: an error, or the end. */
static struct dir *dir_of(struct run *r, unsigned node)
{
	struct model_node *n = &r->m.nodes[node];
	struct name name;
	if (!node)
		return r->s.root;
	if (n->dir)
		return n->dir;
	const struct model_state *s = now(r);
	unsigned e = 0;
	while (s->entries[e].node != node)
		e++;
	struct dir *parent = dir_of(r, s->entries[e].parent);
	if (!parent || !seal(r, parent, s->entries[e].name, &name))
		return NULL;
	int error = dir_open(parent, name.lower, &n->dir);
	if (error < 0 && !sim_disk_stopped(r->disk))
		fail(r, "dir_open", error);
	return error < 0 ? NULL : n->dir;
}

/* The directory and the sealed name of an entry or of one to be. */
struct place {
	struct dir *dir;
	struct name name;
};

static bool place_of(struct run *r, unsigned parent, unsigned name, struct place *ret)
{
	ret->dir = dir_of(r, parent);
	return ret->dir && seal(r, ret->dir, name, &ret->name);
}

/* What an operation that makes the next state said. */
static int did(struct run *r, int error, const char *what)
{
	if (error >= 0 && !sim_disk_stopped(r->disk)) {
		model_did(&r->m, true);
		return 0;
	}
	/* A call may be done before the end, and what comes after it fail quietly. */
	if (sim_disk_stopped(r->disk)) {
		model_did(&r->m, false);
		return 0;
	}
	return fail(r, what, error);
}

/* These inodes change with the next state. */
static void touched(struct run *r, unsigned a, unsigned b, unsigned c)
{
	r->m.nodes[a].last = r->m.nodes[b].last = r->m.nodes[c].last = r->m.now + 1;
}

static int went(struct run *r, int error, const char *what)
{
	return error < 0 && !sim_disk_stopped(r->disk) ? fail(r, what, error) : 0;
}

static void random_bytes(struct run *r, uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 8) {
		uint64_t x = sim_random_next(&r->random);
		memcpy(bytes + i, &x, len - i < 8 ? len - i : 8);
	}
}

static void kept(struct run *r, struct model_node *n, bool synced)
{
	if (sim_disk_stopped(r->disk))
		return;
	n->kept = n->versions - 1;
	if (synced)
		n->synced = n->kept;
}

static int write_at(struct run *r, struct model_node *n, uint32_t offset, uint32_t len)
{
	static uint8_t bytes[MODEL_CONTENT];
	const struct model_version *v = model_content(n);
	uint32_t end = offset + len > v->len ? offset + len : v->len;
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, v->bytes, v->len);
	random_bytes(r, bytes + offset, len);
	model_write(n, bytes, end);
	trace(r, "write %u at %u to %d", len, offset, (int)(n - r->m.nodes));
	ssize_t w = file_write(n->file, bytes + offset, len, offset);
	return went(r, w < 0 ? (int)w : 0, "file_write");
}

static int close_file(struct run *r, struct model_node *n)
{
	file_put(n->file);
	n->file = NULL;
	if (n->versions)
		kept(r, n, false);
	return 0;
}

static int open_file(struct run *r, const struct model_entry *e)
{
	struct model_node *n = &r->m.nodes[e->node];
	struct place p;
	if (n->file)
		return 0;
	if (!place_of(r, e->parent, e->name, &p))
		return -1;
	int error = file_open(p.dir, p.name.lower, &n->file);
	return error < 0 ? (went(r, error, "file_open"), -1) : 0;
}

static int step_create(struct run *r)
{
	unsigned parent = some_dir(r), name = (unsigned)pick(r, MODEL_NAMES);
	struct model_state *next = model_next(&r->m);
	struct place p;
	struct stat st;
	if (!next || next->count == MODEL_ENTRIES || model_find(next, parent, name) >= 0 ||
		!place_of(r, parent, name, &p))
		return 0;
	int node = model_node(&r->m, DT_REG, 0);
	if (node < 0)
		return 0;
	struct model_node *n = &r->m.nodes[node];
	model_add(next, parent, name, (unsigned)node);
	touched(r, parent, (unsigned)node, parent);
	trace(r, "create %u/%u = %d", parent, name, node);
	int error = file_create(p.dir, &p.name, 0644, NULL, &n->file, &st);
	if (error == 0)
		n->ino = (uint32_t)st.st_ino;
	if (did(r, error, "file_create") < 0 || error < 0)
		return error < 0 ? 0 : -1;
	static const uint32_t sizes[] = {1, 100, 4095, 4096, 4097, 9000, MODEL_CONTENT};
	uint64_t kind = pick(r, 10);
	if (kind < 7 && write_at(r, n, 0, sizes[kind]) < 0)
		return -1;
	return pick(r, 3) ? close_file(r, n) : 0;
}

static int step_mkdir(struct run *r)
{
	unsigned parent = some_dir(r), name = (unsigned)pick(r, MODEL_NAMES);
	struct model_state *next = model_next(&r->m);
	struct place p;
	struct stat st = {0};
	if (!next || next->count == MODEL_ENTRIES || model_find(next, parent, name) >= 0 ||
		!place_of(r, parent, name, &p))
		return 0;
	int node = model_node(&r->m, DT_DIR, 0);
	if (node < 0)
		return 0;
	model_add(next, parent, name, (unsigned)node);
	touched(r, parent, (unsigned)node, parent);
	trace(r, "mkdir %u/%u = %d", parent, name, node);
	int error = tree_mkdir(p.dir, &p.name, 0755, NULL, &st);
	r->m.nodes[node].ino = (uint32_t)st.st_ino;
	return did(r, error, "tree_mkdir");
}

static int step_symlink(struct run *r)
{
	unsigned parent = some_dir(r), name = (unsigned)pick(r, MODEL_NAMES);
	struct model_state *next = model_next(&r->m);
	char target[MODEL_TARGET + 1];
	struct place p;
	struct stat st = {0};
	if (!next || next->count == MODEL_ENTRIES || model_find(next, parent, name) >= 0 ||
		!place_of(r, parent, name, &p))
		return 0;
	int node = model_node(&r->m, DT_LNK, (uint32_t)sim_random_next(&r->random));
	if (node < 0)
		return 0;
	target[model_target(r->m.nodes[node].seed, target)] = '\0';
	model_add(next, parent, name, (unsigned)node);
	touched(r, parent, (unsigned)node, parent);
	trace(r, "symlink %u/%u = %d", parent, name, node);
	int error = tree_symlink(p.dir, &p.name, target, NULL, &st);
	r->m.nodes[node].ino = (uint32_t)st.st_ino;
	return did(r, error, "tree_symlink");
}

static int step_link(struct run *r)
{
	const struct model_entry *e = some_entry(r, 1u << DT_REG | 1u << DT_LNK);
	unsigned parent = some_dir(r), name = (unsigned)pick(r, MODEL_NAMES);
	struct model_state *next = model_next(&r->m);
	struct place from, to;
	struct stat st;
	if (!e || !next || next->count == MODEL_ENTRIES || model_find(next, parent, name) >= 0 ||
		!place_of(r, e->parent, e->name, &from) || !place_of(r, parent, name, &to))
		return 0;
	trace(r, "link %u/%u = %u to %u/%u%s", e->parent, e->name, e->node, parent, name,
		r->m.nodes[e->node].file ? " (open)" : "");
	model_add(next, parent, name, e->node);
	touched(r, parent, e->node, parent);
	return did(r,
		tree_link(
			from.dir, from.name.lower, r->m.nodes[e->node].file, to.dir, &to.name, &st),
		"tree_link");
}

/* What must be gone from the medium once this file's last name is. */
static void remember_content(struct run *r, unsigned node, const struct place *p)
{
	static uint8_t bytes[64 * SIM_PAGE];
	static const uint8_t zeros[512];
	struct lower *l = r->s.lower;
	const struct model_node *n = &r->m.nodes[node];
	if (n->type != DT_REG || model_links(now(r), node) != 1 ||
		r->m.removed_count == MODEL_REMOVED)
		return;
	struct model_removed *gone = &r->m.removed[r->m.removed_count++];
	*gone = (struct model_removed){.state = r->m.now + 1, .ino = n->ino};
	AUTO_LOWER_HELD fd = {l, l->ops->openat(l, p->dir->fd, p->name.lower, O_RDONLY, 0, NULL)};
	ssize_t len = fd.fd < 0 ? 0 : lower_pread(l, fd.fd, bytes, sizeof(bytes), 0);
	for (ssize_t at = 0; at + 512 <= len && gone->count < MODEL_SAMPLES; at += 512)
		if (memcmp(bytes + at, zeros, 512) != 0)
			gone->samples[gone->count++] = model_hash(bytes + at, 512);
}

static int step_unlink(struct run *r)
{
	const struct model_entry *e = some_entry(r, 1u << DT_REG | 1u << DT_LNK);
	struct model_state *next = model_next(&r->m);
	struct place p;
	if (!e || !next || !place_of(r, e->parent, e->name, &p))
		return 0;
	unsigned node = e->node, parent = e->parent;
	trace(r, "unlink %u/%u = %u%s", parent, e->name, node,
		r->m.nodes[node].file ? " (open)" : "");
	remember_content(r, node, &p);
	model_drop(next, parent, e->name);
	touched(r, parent, node, parent);
	return did(r, tree_unlink(p.dir, p.name.lower, r->m.nodes[node].file), "tree_unlink");
}

static void forget_dir(struct run *r, unsigned node)
{
	dir_put(r->m.nodes[node].dir);
	r->m.nodes[node].dir = NULL;
}

static int step_rmdir(struct run *r)
{
	const struct model_entry *e = some_entry(r, 1u << DT_DIR);
	struct model_state *next = model_next(&r->m);
	struct place p;
	if (!e || !next || !model_empty(next, e->node) || !place_of(r, e->parent, e->name, &p) ||
		!dir_of(r, e->node))
		return 0;
	unsigned node = e->node;
	trace(r, "rmdir %u/%u = %u", e->parent, e->name, node);
	model_drop(next, e->parent, e->name);
	touched(r, e->parent, node, e->parent);
	next->xattr[node] = 0;
	next->cleared = node;
	int result = did(r, tree_rmdir(p.dir, p.name.lower, dir_of(r, node)), "tree_rmdir");
	forget_dir(r, node);
	return result;
}

static bool is_dir(const struct run *r, int node)
{
	return node >= 0 && r->m.nodes[node].type == DT_DIR;
}

/* Whether rename(2) would do it. */
static bool may_rename(struct run *r, const struct model_state *s, const struct model_entry *e,
	unsigned parent, int victim, bool exchange)
{
	if (is_dir(r, e->node) && model_inside(s, parent, e->node))
		return false;
	if (victim < 0)
		return !exchange && s->count < MODEL_ENTRIES;
	if (victim == e->node)
		return false;
	if (exchange)
		return !(is_dir(r, victim) && model_inside(s, e->parent, (unsigned)victim));
	if (is_dir(r, victim) != is_dir(r, e->node))
		return false;
	return !is_dir(r, victim) || model_empty(s, (unsigned)victim);
}

static int rename_entry(struct run *r, bool exchange)
{
	const struct model_entry *e = some_entry(r, 1u << DT_REG | 1u << DT_LNK | 1u << DT_DIR);
	const struct model_entry *other = pick(r, 2) || exchange ? some_entry(r, ~0u) : NULL;
	unsigned parent = other ? other->parent : some_dir(r);
	unsigned name = other ? other->name : (unsigned)pick(r, MODEL_NAMES);
	struct model_state *next = model_next(&r->m);
	struct place from, to;
	if (!e || !next)
		return 0;
	int at = model_find(next, parent, name);
	int victim = at < 0 ? -1 : next->entries[at].node;
	if (!may_rename(r, next, e, parent, victim, exchange) ||
		!place_of(r, e->parent, e->name, &from) || !place_of(r, parent, name, &to) ||
		(is_dir(r, e->node) && !dir_of(r, e->node)) ||
		(is_dir(r, victim) && !dir_of(r, (unsigned)victim)))
		return 0;
	const struct model_entry old = *e;
	struct model_node *n = &r->m.nodes[old.node];
	struct model_node *v = victim < 0 ? NULL : &r->m.nodes[victim];
	trace(r, "%s %u/%u = %u to %u/%u = %d", exchange ? "exchange" : "rename", old.parent,
		old.name, old.node, parent, name, victim);
	if (v && !exchange)
		remember_content(r, (unsigned)victim, &to);
	model_drop(next, old.parent, old.name);
	if (victim >= 0)
		model_drop(next, parent, name);
	model_add(next, parent, name, old.node);
	if (exchange)
		model_add(next, old.parent, old.name, (unsigned)victim);
	touched(r, parent, old.parent, old.node);
	if (v)
		v->last = r->m.now + 1;
	if (v && v->type == DT_DIR && !exchange)
		next->cleared = (unsigned)victim;
	const struct tree_rename rename = {.from = from.dir,
		.to = to.dir,
		.old_lower = from.name.lower,
		.new_name = &to.name,
		.flags = exchange ? RENAME_EXCHANGE : 0,
		.file = n->file,
		.moved = n->type == DT_DIR ? n->dir : NULL,
		.victim_exists = v,
		.victim_file = v ? v->file : NULL,
		.victim_dir = v && v->type == DT_DIR ? v->dir : NULL};
	int result = did(r, tree_rename(&rename), "tree_rename");
	if (v && v->type == DT_DIR && !exchange)
		forget_dir(r, (unsigned)victim);
	return result;
}

static int step_rename(struct run *r)
{
	return rename_entry(r, false);
}

static int step_exchange(struct run *r)
{
	return rename_entry(r, true);
}

static int step_xattr(struct run *r)
{
	const struct model_entry *e = some_entry(r, 1u << DT_REG | 1u << DT_DIR);
	struct model_state *next = model_next(&r->m);
	if (!next)
		return 0;
	unsigned node = e && pick(r, 8) ? e->node : 0;
	struct model_node *n = &r->m.nodes[node];
	bool keep_open = n->file;
	if (n->type == DT_REG ? open_file(r, e) < 0 : !dir_of(r, node))
		return 0;
	uint32_t value = pick(r, 4) ? 1 + (uint32_t)pick(r, 1u << 30) : 0;
	if (!value && !next->xattr[node])
		value = 1;
	trace(r, "xattr of %u = %u%s", node, value, keep_open ? " (open)" : "");
	next->xattr[node] = value;
	touched(r, node, node, node);
	int result = did(r,
		sim_look_set_xattr(n->file, n->type == DT_DIR ? dir_of(r, node) : NULL, value),
		"xattr");
	return n->type == DT_REG && !keep_open ? (close_file(r, n), result) : result;
}

static void durable(struct run *r, unsigned state)
{
	if (!sim_disk_stopped(r->disk) && state > r->m.floor)
		r->m.floor = state;
}

static int step_fsync(struct run *r)
{
	const struct model_entry *e = some_entry(r, 1u << DT_REG);
	if (!e)
		return 0;
	struct model_node *n = &r->m.nodes[e->node];
	bool keep_open = n->file, data_only = pick(r, 4) == 0;
	if (open_file(r, e) < 0)
		return 0;
	trace(r, "fsync %u%s%s", e->node, data_only ? " data" : "", keep_open ? " (open)" : "");
	int error = file_sync(n->file, data_only);
	if (error == 0)
		kept(r, n, true);
	/* fdatasync is about content: a name that it got later may still be lost. */
	if (error == 0 && !data_only)
		durable(r, n->last);
	if (!keep_open)
		close_file(r, n);
	return went(r, error, "file_sync");
}

static int step_fsyncdir(struct run *r)
{
	unsigned node = some_dir(r);
	struct dir *d = dir_of(r, node);
	if (!d)
		return 0;
	trace(r, "fsync directory %u", node);
	int error = r->s.lower->ops->fsync(r->s.lower, d->fd, false);
	if (error == 0)
		durable(r, r->m.nodes[node].last);
	return went(r, error, "fsync of a directory");
}

static int step_open(struct run *r)
{
	const struct model_entry *e = some_entry(r, 1u << DT_REG);
	return e && open_file(r, e) < 0 && r->why[0] ? -1 : 0;
}

static int step_close(struct run *r)
{
	unsigned start = (unsigned)pick(r, MODEL_NODES);
	for (unsigned n = 0; n < MODEL_NODES; n++) {
		struct model_node *node = &r->m.nodes[(start + n) % MODEL_NODES];
		if (node->file) {
			trace(r, "close %u", (start + n) % MODEL_NODES);
			return close_file(r, node);
		}
	}
	return 0;
}

static int step_commit(struct run *r)
{
	const struct model_entry *e = some_entry(r, 1u << DT_REG);
	struct model_node *n = e ? &r->m.nodes[e->node] : NULL;
	if (!n || !n->file)
		return 0;
	trace(r, "commit %u", e->node);
	int error = file_commit(n->file);
	if (error == 0)
		kept(r, n, false);
	return went(r, error, "file_commit");
}

static int step_erase(struct run *r)
{
	trace(r, "erase");
	return went(r, trash_drain(r->s.trash, -1), "trash_drain");
}

/* Into what is there: only where a journal keeps overwrites whole. */
static int step_content(struct run *r)
{
	static uint8_t bytes[MODEL_CONTENT];
	const struct model_entry *e = r->c->content ? some_entry(r, 1u << DT_REG) : NULL;
	if (!e || open_file(r, e) < 0)
		return 0;
	struct model_node *n = &r->m.nodes[e->node];
	const struct model_version *v = model_content(n);
	uint32_t at = (uint32_t)pick(r, v->len + 1u), len, error;
	switch (pick(r, 4)) {
	case 0: /* append */
		at = v->len;
		/* fall through */
	case 1:
		len = (uint32_t)pick(r, 6000) + 1;
		if (at + len > MODEL_CONTENT)
			return 0;
		return write_at(r, n, at, len);
	case 2:
		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes, v->bytes, v->len);
		at = pick(r, 3) ? at : (uint32_t)pick(r, MODEL_CONTENT);
		model_write(n, bytes, at);
		error = (uint32_t)file_truncate(n->file, at);
		break;
	default:
		len = (uint32_t)pick(r, v->len - at + 1u);
		if (!len)
			return 0;
		memcpy(bytes, v->bytes, v->len);
		memset(bytes + at, 0, len);
		model_write(n, bytes, v->len);
		error = (uint32_t)file_range_change(
			n->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len);
	}
	kept(r, n, false);
	return went(r, (int)error, "content");
}

static const struct {
	step *run;
	unsigned weight;
} steps[] = {
	{step_create, 16},
	{step_mkdir, 8},
	{step_symlink, 6},
	{step_link, 6},
	{step_unlink, 9},
	{step_rmdir, 4},
	{step_rename, 14},
	{step_exchange, 5},
	{step_xattr, 5},
	{step_fsync, 8},
	{step_fsyncdir, 5},
	{step_open, 3},
	{step_close, 6},
	{step_commit, 2},
	{step_erase, 3},
	{step_content, 12},
};

static int one_step(struct run *r)
{
	unsigned total = 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		total += steps[i].weight;
	uint64_t at = pick(r, total);
	size_t i = 0;
	while (at >= steps[i].weight)
		at -= steps[i++].weight;
	return steps[i].run(r);
}

static void let_go(struct run *r)
{
	for (unsigned n = 0; n < MODEL_NODES; n++) {
		if (r->m.nodes[n].file)
			close_file(r, &r->m.nodes[n]);
		if (r->m.nodes[n].dir)
			forget_dir(r, n);
	}
}

/* No sector of what is removed in this state may be on the medium. */
static int check_gone(struct run *r, const struct sim_disk *d, unsigned state, const bool *excused)
{
	static const uint8_t zeros[512];
	uint32_t from = pick(r, 16) ? r->c->base_blocks : 1;
	unsigned checked = 0;
	for (unsigned g = 0; g < r->m.removed_count; g++)
		checked += r->m.removed[g].state <= state && !excused[g];
	r->c->gone_checked += checked;
	for (uint32_t b = from; checked && b < sim_disk_blocks(d); b++) {
		const uint8_t *bytes = sim_disk_block(d, b);
		for (size_t at = 0; bytes && at < SIM_PAGE; at += 512) {
			if (memcmp(bytes + at, zeros, 512) == 0)
				continue;
			uint64_t hash = model_hash(bytes + at, 512);
			for (unsigned g = 0; g < r->m.removed_count; g++) {
				const struct model_removed *gone = &r->m.removed[g];
				for (unsigned n = 0; n < gone->count; n++)
					if (gone->samples[n] == hash && gone->state <= state &&
						!excused[g]) {
						snprintf(r->why, sizeof(r->why),
							"inode %u, removed by state %u of %u, "
							"found %u: sector %u of it is in block %u",
							gone->ino, gone->state, r->m.now, state, n,
							b);
						return -1;
					}
			}
		}
	}
	return 0;
}

static void end_disk(struct run *r, struct sim_disk *d, bool cut, bool *excused)
{
	if (cut)
		sim_disk_power_cut(d);
	else
		sim_disk_kill(d);
	for (unsigned g = 0; cut && g < r->m.removed_count; g++)
		excused[g] = excused[g] || sim_disk_lost(d, r->m.removed[g].ino) & SIM_LOST_BLOCKS;
}

static int mount(struct run *r, struct sim_disk *d)
{
	struct sim_store_options o = {.sync = pick(r, 4) == 0};
	if (r->c->mistake >= 0) {
		sim_mistakes_init(&r->mistakes, sim_disk_lower(d), (unsigned)r->c->mistake);
		o.lower = &r->mistakes.fail.base;
	}
	return sim_store_mount(&r->s, d, r->c->keys, &o);
}

/* Mounts what the end left, ended again on the way now and then. */
static int recover(struct run *r, struct sim_disk *d, bool *cut, bool *excused)
{
	for (int attempt = 0;; attempt++) {
		bool again = attempt < 2 && pick(r, 3) == 0;
		if (again)
			sim_disk_stop_at(d, 1 + pick(r, 60));
		int error = mount(r, d);
		if (!sim_disk_stopped(d)) {
			sim_disk_stop_at(d, 0);
			return error < 0 ? fail(r, "mount", error) : 0;
		}
		sim_store_unmount(&r->s, false);
		bool power = pick(r, 3);
		*cut = *cut || power;
		r->c->inner++;
		end_disk(r, d, power, excused);
	}
}

/* 0: the model goes on from what was found. */
static int check(struct run *r, struct sim_disk *d, bool cut, const bool *excused, bool adopt)
{
	struct look seen;
	if (sim_look(&r->s, &seen, r->why) < 0)
		return -1;
	int state = model_match(&r->m, &seen, !cut, r->c->strict);
	if (state < 0) {
		for (unsigned e = 0; e < seen.count; e++)
			trace(r, "found %u/%u = inode %u", seen.entries[e].parent,
				seen.entries[e].name, seen.entries[e].ino);
		for (unsigned at = cut ? r->m.floor : r->m.now; at <= r->m.now + r->m.maybe; at++)
			for (unsigned e = 0; e < r->m.states[at].count; e++) {
				const struct model_entry *x = &r->m.states[at].entries[e];
				trace(r, "in state %u: %u/%u = %u, inode %u", at,
					r->m.nodes[x->parent].ino, x->name, x->node,
					r->m.nodes[x->node].ino);
			}
		snprintf(r->why, sizeof(r->why),
			"%u names found, which is no state from %u on (of %u%s)", seen.count,
			cut ? r->m.floor : r->m.now, r->m.now, r->m.maybe ? " and one begun" : "");
		return -1;
	}
	if (r->s.bad_receipts || sim_store_in_trash(&r->s) != 0)
		return fail(r, "the trash is not empty", 0);
	if (check_gone(r, d, (unsigned)state, excused) < 0)
		return -1;
	if (adopt)
		model_adopt(&r->m, &seen, (unsigned)state);
	return 0;
}

static int one_outcome(struct run *r, struct sim_disk *d, bool adopt)
{
	bool excused[MODEL_REMOVED] = {false};
	bool cut = pick(r, 4);
	r->c->states++;
	r->c->powercuts += cut;
	r->c->kills += !cut;
	end_disk(r, d, cut, excused);
	trace(r, "%s, floor %u%s", cut ? "power cut" : "kill", r->m.floor,
		r->m.maybe ? ", the last step not finished" : "");
	if (recover(r, d, &cut, excused) < 0)
		return -1;
	if (check(r, d, cut, excused, adopt) < 0)
		return -1;
	return 0;
}

static struct sim_options options(struct run *r)
{
	static const unsigned background[] = {0, 20, 200};
	return (struct sim_options){
		.seed = sim_random_next(&r->random),
		.sector = pick(r, 2) ? 512 : 4096,
		.sizes = pick(r, 2) ? SIM_SIZE_AFTER_DATA : SIM_SIZE_WITH_DATA,
		.background = background[pick(r, 3)],
	};
}

/* All outcomes but the last on copies of the disk. */
static int outcomes(struct run *r)
{
	for (int n = 1; n < OUTCOMES; n++) {
		const struct sim_options o = options(r);
		struct sim_disk *copy = sim_disk_clone(r->disk, &o);
		int result = one_outcome(r, copy, false);
		sim_store_unmount(&r->s, false);
		if (result == 0 && sim_disk_open_files(copy))
			result = fail(r, "descriptors are left open after recovery", 0);
		sim_disk_free(copy);
		if (result < 0)
			return result;
	}
	return one_outcome(r, r->disk, true);
}

/* Files whose content the end took cannot be worked with: away with them. */
static int clear_broken(struct run *r)
{
	for (unsigned e = 0; e < now(r)->count; e++) {
		const struct model_entry x = now(r)->entries[e];
		struct place p;
		if (r->m.nodes[x.node].type != DT_REG || r->m.nodes[x.node].versions)
			continue;
		r->c->lost_files++;
		if (!place_of(r, x.parent, x.name, &p))
			return -1;
		int error = tree_unlink(p.dir, p.name.lower, NULL);
		if (error < 0)
			return fail(r, "a broken file cannot be removed", error);
		model_drop(now(r), x.parent, x.name);
		e = (unsigned)-1;
	}
	for (unsigned n = 1; n < MODEL_NODES; n++)
		if (r->m.nodes[n].type == DT_REG && !r->m.nodes[n].versions) {
			r->m.nodes[n].type = 0;
			now(r)->xattr[n] = 0;
		}
	r->m.floor = 0;
	int error = trash_drain(r->s.trash, -1);
	sim_disk_sync(r->disk);
	return error < 0 ? fail(r, "trash_drain", error) : 0;
}

static int one_life(struct run *r)
{
	uint64_t steps_left = 3 + pick(r, 45);
	sim_disk_stop_at(r->disk, 1 + pick(r, 20 + 8 * steps_left));
	while (steps_left-- && !sim_disk_stopped(r->disk) && !r->m.maybe)
		if (one_step(r) < 0)
			return -1;
	/* No step came to an end with the disk: the end comes now. */
	if (!sim_disk_stopped(r->disk)) {
		sim_disk_stop_at(r->disk, 1);
		let_go(r);
	}
	let_go(r);
	sim_store_unmount(&r->s, false);
	if (sim_disk_open_files(r->disk))
		return fail(r, "descriptors are left open", 0);
	if (outcomes(r) < 0)
		return -1;
	return clear_broken(r);
}

static int one_run(struct campaign *c, uint64_t seed)
{
	struct run *r = malloc(sizeof(*r));
	if (!r)
		abort();
	*r = (struct run){.c = c, .seed = seed, .random.state = seed};
	const struct sim_options o = options(r);
	r->disk = sim_disk_clone(c->base, &o);
	int result = mount(r, r->disk);
	struct stat st;
	if (result == 0)
		result = r->s.lower->ops->fstat(r->s.lower, r->s.root->fd, &st);
	if (result < 0)
		fail(r, "first mount", result);
	else
		model_init(&r->m, (uint32_t)st.st_ino);
	for (int life = 0; result == 0 && life < LIVES; life++)
		result = one_life(r);
	if (result < 0 && !c->quiet)
		printf("not ok - sim names: seed 0x%016llx: %s\n# again: sim-names --seed "
		       "0x%016llx%s%s\n",
			(unsigned long long)seed, r->why, (unsigned long long)seed,
			c->content ? " --content" : "", c->strict ? " --strict" : "");
	let_go(r);
	sim_store_unmount(&r->s, false);
	model_done(&r->m);
	sim_disk_free(r->disk);
	free(r);
	return result;
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Each must be found within so many states. */
static int find_mistakes(struct campaign *c, uint64_t states, uint64_t seed)
{
	int status = 0;
	struct sim_random seeds = {seed};
	printf("# sim mistakes: seed 0x%016llx\n", (unsigned long long)seed);
	for (c->mistake = 0; sim_mistakes_name((unsigned)c->mistake); c->mistake++) {
		bool found = false;
		c->states = 0;
		while (!found && c->states < states)
			found = one_run(c, sim_random_next(&seeds)) < 0;
		printf("%s - sim mistakes: \"%s\" is found (%llu states)\n",
			found ? "ok" : "not ok", sim_mistakes_name((unsigned)c->mistake),
			(unsigned long long)c->states);
		status |= !found;
	}
	return status;
}

static int campaign(struct campaign *c, uint64_t states, uint64_t seed)
{
	double begun = seconds();
	struct sim_random seeds = {seed};
	unsigned failures = 0;
	printf("# sim names: seed 0x%016llx\n", (unsigned long long)seed);
	fflush(stdout);
	while (c->states < states && failures < 5)
		failures += one_run(c, sim_random_next(&seeds)) < 0;
	double took = seconds() - begun;
	printf("# %llu crash states in %.1f s (%.0f a second): %llu power cuts, %llu kills, %llu "
	       "ends "
	       "in recovery, %llu removed files looked for on the medium, %llu unflushed files "
	       "lost\n",
		(unsigned long long)c->states, took, (double)c->states / took,
		(unsigned long long)c->powercuts, (unsigned long long)c->kills,
		(unsigned long long)c->inner, (unsigned long long)c->gone_checked,
		(unsigned long long)c->lost_files);
	if (!failures)
		printf("ok - sim names: %llu crash states, no name lost, nothing half erased\n",
			(unsigned long long)c->states);
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct campaign c = {.mistake = -1};
	uint64_t states = 20000, seed = 0;
	bool one = false;
	const char *wanted = getenv("SIM_STATES");
	if (wanted)
		states = strtoull(wanted, NULL, 0);
	if (crypto_init() < 0)
		return 1;
	crypto_random(&seed, sizeof(seed));
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--states") && i + 1 < argc) {
			states = strtoull(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 0);
			one = c.trace = true;
		} else if (!strcmp(argv[i], "--content")) {
			c.content = true;
		} else if (!strcmp(argv[i], "--strict")) {
			c.strict = true;
		} else if (!strcmp(argv[i], "--mistakes")) {
			c.quiet = true;
		} else {
			fprintf(stderr, "usage: sim-names [--states N] [--seed S] [--content] "
					"[--strict]\n");
			return 2;
		}
	}
	/* What the store says of each failed call is of no interest. */
	FILE *null = fopen("/dev/null", "w");
	if (null)
		stderr = null;
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	AUTO(keyring_auto) struct keyring *keys = sim_store_keys();
	struct sim_disk *base = sim_store_base(keys);
	c.keys = keys;
	c.base = base;
	c.base_blocks = sim_disk_blocks(base);
	int status = c.quiet ? find_mistakes(&c, states, seed)
		     : one   ? one_run(&c, seed) < 0
			     : campaign(&c, states, seed);
	sim_disk_free(base);
	return status;
}
