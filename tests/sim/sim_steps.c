/* The operations of the campaign, each checked against the model before it is tried. */
#include "tests/sim/sim_run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef int step(struct run *r);

/* With one seed: what happens, a line a step. */
void sim_steps_trace(const struct run *r, const char *format, ...)
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

uint64_t sim_steps_pick(struct run *r, uint64_t n)
{
	return sim_random_below(&r->random, n);
}

int sim_steps_fail(struct run *r, const char *what, int error)
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

/* The disk has stopped, or refused a call: what was done since is not certain. */
bool sim_steps_uncertain(const struct run *r)
{
	return sim_disk_stopped(r->disk) || sim_disk_failed(r->disk) || r->refused;
}

/* A random entry with one of these types (bits by DT_*), or NULL. */
const struct model_entry *sim_steps_some(struct run *r, unsigned types)
{
	const struct model_state *s = now(r);
	unsigned fit[MODEL_ENTRIES], n = 0;
	for (unsigned e = 0; e < s->count; e++)
		if (types & 1u << r->m.nodes[s->entries[e].node].type)
			fit[n++] = e;
	return n ? &s->entries[fit[sim_steps_pick(r, n)]] : NULL;
}

static unsigned some_dir(struct run *r)
{
	const struct model_entry *e = sim_steps_pick(r, 3) ? sim_steps_some(r, 1u << DT_DIR) : NULL;
	return e ? e->node : 0;
}

static bool seal(struct run *r, const struct dir *d, unsigned name, struct name *ret)
{
	return name_seal(d, sim_look_name(name), ret) == 0 ||
	       sim_steps_fail(r, "name_seal", -EIO) == 0;
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
	if (error < 0 && !sim_steps_uncertain(r))
		sim_steps_fail(r, "dir_open", error);
	if (error == 0)
		n->id = model_hash(n->dir->id, DIR_ID_LEN);
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

/* What an operation that makes the next state said. A call may be done before the end, and what
 * comes after it fail quietly. */
static int did(struct run *r, int error, const char *what)
{
	bool done = error >= 0 && !sim_disk_stopped(r->disk);
	if (error == -ENOSPC && r->full && !sim_steps_uncertain(r)) {
		r->c->full++;
		r->refused = true;
	}
	if (!done && !sim_steps_uncertain(r))
		return sim_steps_fail(r, what, error);
	model_did(&r->m, done);
	for (unsigned n = 0; n < MODEL_NODES && !done; n++)
		if (r->m.nodes[n].last == r->m.now + 1 && !model_length(&r->m.nodes[n]))
			r->m.nodes[n].times.open = r->m.nodes[n].times.any = true;
	/* What sets a time back may have been what failed. */
	for (unsigned n = 0; n < MODEL_NODES && sim_disk_failed(r->disk); n++)
		if (r->m.nodes[n].last == r->m.now + r->m.maybe)
			r->m.nodes[n].times.open = r->m.nodes[n].times.any = true;
	return 0;
}

/* These inodes change with the next state. */
static void touched(struct run *r, unsigned a, unsigned b, unsigned c)
{
	r->m.nodes[a].last = r->m.nodes[b].last = r->m.nodes[c].last = r->m.now + 1;
}

int sim_steps_went(struct run *r, int error, const char *what)
{
	/* What was accepted before should have had its space; the promises hold all the same. */
	if (error == -ENOSPC && r->full && !sim_steps_uncertain(r)) {
		sim_steps_trace(r, "%s is refused by a full disk", what);
		r->c->commits_refused++;
		r->refused = true;
	}
	return error < 0 && !sim_steps_uncertain(r) ? sim_steps_fail(r, what, error) : 0;
}

int sim_steps_open(struct run *r, const struct model_entry *e)
{
	struct model_node *n = &r->m.nodes[e->node];
	struct place p;
	if (n->file)
		return 0;
	if (!place_of(r, e->parent, e->name, &p))
		return -1;
	int error = file_open(p.dir, p.name.lower, &n->file);
	n->handles = error == 0;
	return error < 0 ? (sim_steps_went(r, error, "file_open"), -1) : 0;
}

static int step_create(struct run *r)
{
	unsigned parent = some_dir(r), name = (unsigned)sim_steps_pick(r, MODEL_NAMES);
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
	sim_steps_trace(r, "create %u/%u = %d", parent, name, node);
	n->times.open = n->times.any = true;
	int error = file_create(p.dir, &p.name, 0644, NULL, &n->file, &st);
	if (error == 0) {
		n->ino = (uint32_t)st.st_ino;
		n->times.now = st.st_mtim;
		n->times.open = sim_steps_uncertain(r);
	}
	sim_steps_trace(r, "inode %u", n->ino);
	if (did(r, error, "file_create") < 0 || error < 0)
		return error < 0 ? 0 : -1;
	n->handles = 1;
	static const uint32_t sizes[] = {1, 100, 4095, 4096, 4097, 9000, 24576};
	uint64_t kind = sim_steps_pick(r, 10);
	if (kind < 7 && sim_content_write(r, n, 0, sizes[kind]) < 0)
		return -1;
	return sim_steps_pick(r, 3) ? sim_content_close(r, n) : 0;
}

static int step_mkdir(struct run *r)
{
	unsigned parent = some_dir(r), name = (unsigned)sim_steps_pick(r, MODEL_NAMES);
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
	sim_steps_trace(r, "mkdir %u/%u = %d", parent, name, node);
	int error = tree_mkdir(p.dir, &p.name, 0755, NULL, &st);
	r->m.nodes[node].ino = (uint32_t)st.st_ino;
	r->m.nodes[node].made = r->m.now + 1;
	return did(r, error, "tree_mkdir");
}

static int step_symlink(struct run *r)
{
	unsigned parent = some_dir(r), name = (unsigned)sim_steps_pick(r, MODEL_NAMES);
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
	sim_steps_trace(r, "symlink %u/%u = %d", parent, name, node);
	int error = tree_symlink(p.dir, &p.name, target, NULL, &st);
	r->m.nodes[node].ino = (uint32_t)st.st_ino;
	return did(r, error, "tree_symlink");
}

static int step_link(struct run *r)
{
	const struct model_entry *e = sim_steps_some(r, 1u << DT_REG | 1u << DT_LNK);
	unsigned parent = some_dir(r), name = (unsigned)sim_steps_pick(r, MODEL_NAMES);
	struct model_state *next = model_next(&r->m);
	struct place from, to;
	struct stat st;
	if (!e || !next || next->count == MODEL_ENTRIES || model_find(next, parent, name) >= 0 ||
		!place_of(r, e->parent, e->name, &from) || !place_of(r, parent, name, &to))
		return 0;
	sim_steps_trace(r, "link %u/%u = %u to %u/%u%s", e->parent, e->name, e->node, parent, name,
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
	struct lower *l = r->s.lower;
	struct model_node *n = &r->m.nodes[node];
	if (n->type != DT_REG || model_links(now(r), node) != 1)
		return;
	n->removed = r->m.now + 1;
	AUTO_LOWER_HELD fd = {l, l->ops->openat(l, p->dir->fd, p->name.lower, O_RDONLY, 0, NULL)};
	if (fd.fd >= 0)
		sim_content_remember(r, n, fd.fd);
}

static int step_unlink(struct run *r)
{
	const struct model_entry *e = sim_steps_some(r, 1u << DT_REG | 1u << DT_LNK);
	struct model_state *next = model_next(&r->m);
	struct place p;
	if (!e || !next || !place_of(r, e->parent, e->name, &p))
		return 0;
	unsigned node = e->node, parent = e->parent;
	sim_steps_trace(r, "unlink %u/%u = %u%s", parent, e->name, node,
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
	const struct model_entry *e = sim_steps_some(r, 1u << DT_DIR);
	struct model_state *next = model_next(&r->m);
	struct place p;
	if (!e || !next || !model_empty(next, e->node) || !place_of(r, e->parent, e->name, &p) ||
		!dir_of(r, e->node))
		return 0;
	unsigned node = e->node;
	sim_steps_trace(r, "rmdir %u/%u = %u", e->parent, e->name, node);
	model_drop(next, e->parent, e->name);
	touched(r, e->parent, node, e->parent);
	next->xattr[node] = 0;
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
	const struct model_entry *e = sim_steps_some(r, 1u << DT_REG | 1u << DT_LNK | 1u << DT_DIR);
	const struct model_entry *other =
		sim_steps_pick(r, 2) || exchange ? sim_steps_some(r, ~0u) : NULL;
	unsigned parent = other ? other->parent : some_dir(r);
	unsigned name = other ? other->name : (unsigned)sim_steps_pick(r, MODEL_NAMES);
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
	sim_steps_trace(r, "%s %u/%u = %u to %u/%u = %d", exchange ? "exchange" : "rename",
		old.parent, old.name, old.node, parent, name, victim);
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
	const struct model_entry *e = sim_steps_some(r, 1u << DT_REG | 1u << DT_DIR);
	struct model_state *next = model_next(&r->m);
	if (!next)
		return 0;
	unsigned node = e && sim_steps_pick(r, 8) ? e->node : 0;
	struct model_node *n = &r->m.nodes[node];
	bool keep_open = n->file;
	if (n->type == DT_REG ? sim_steps_open(r, e) < 0 : !dir_of(r, node))
		return 0;
	uint32_t value = sim_steps_pick(r, 4) ? 1 + (uint32_t)sim_steps_pick(r, 1u << 30) : 0;
	if (!value && !next->xattr[node])
		value = 1;
	n->times.open = n->times.any = true; /* an empty file gets a header */
	sim_steps_trace(r, "xattr of %u = %u%s", node, value, keep_open ? " (open)" : "");
	next->xattr[node] = value;
	touched(r, node, node, node);
	int result = did(r,
		sim_look_set_xattr(n->file, n->type == DT_DIR ? dir_of(r, node) : NULL, value),
		"xattr");
	return n->type == DT_REG && !keep_open ? (sim_content_close(r, n), result) : result;
}

void sim_steps_durable(struct run *r, unsigned state)
{
	if (!sim_steps_uncertain(r) && state > r->m.floor)
		r->m.floor = state;
}

static int step_fsyncdir(struct run *r)
{
	unsigned node = some_dir(r);
	struct dir *d = dir_of(r, node);
	if (!d)
		return 0;
	sim_steps_trace(r, "fsync directory %u", node);
	int error = r->s.lower->ops->fsync(r->s.lower, d->fd, false);
	if (error == 0)
		sim_steps_durable(r, r->m.nodes[node].last);
	return sim_steps_went(r, error, "fsync of a directory");
}

static int step_erase(struct run *r)
{
	sim_steps_trace(r, "erase");
	return sim_steps_went(r, trash_drain(r->s.trash, -1), "trash_drain");
}

/* What the daemon's own thread does while nothing happens. */
static int step_tick(struct run *r)
{
	bool late = sim_steps_pick(r, 2);
	sim_steps_trace(r, "tick%s", late ? ", late" : "");
	int error = sim_store_tick(&r->s, late ? 6 : 1);
	if (error == 1)
		sim_content_all_durable(r);
	return sim_steps_went(r, error, "tick");
}

static int step_remount(struct run *r)
{
	sim_steps_trace(r, "remount");
	sim_steps_end(r);
	int error = sim_store_unmount(&r->s, true);
	if (sim_steps_uncertain(r))
		return 0;
	if (error < 0)
		return sim_steps_fail(r, "unmount", error);
	if (sim_disk_open_files(r->disk))
		return sim_steps_fail(r, "descriptors are left open by an unmount", 0);
	sim_content_all_durable(r);
	return sim_steps_went(r, sim_run_mount(r, r->disk), "mount after an unmount");
}

static const struct {
	step *run;
	unsigned names, content; /* weights in the campaigns */
} steps[] = {
	{step_create, 16, 10},
	{step_mkdir, 8, 2},
	{step_symlink, 6, 1},
	{step_link, 6, 3},
	{step_unlink, 9, 4},
	{step_rmdir, 4, 1},
	{step_rename, 14, 8},
	{step_exchange, 5, 2},
	{step_xattr, 5, 2},
	{step_fsyncdir, 5, 2},
	{step_erase, 3, 3},
	{step_tick, 1, 5},
	{step_remount, 1, 1},
	{sim_content_fsync, 8, 8},
	{sim_content_append, 0, 6},
	{sim_content_open, 3, 6},
	{sim_content_release, 6, 6},
	{sim_content_commit, 2, 4},
	{sim_content_step, 0, 45},
	{sim_content_times, 2, 4},
};

int sim_steps_run(struct run *r)
{
	const bool content = r->c->content;
	unsigned total = 0, i = 0;
	for (size_t n = 0; n < sizeof(steps) / sizeof(steps[0]); n++)
		total += content ? steps[n].content : steps[n].names;
	uint64_t at = sim_steps_pick(r, total);
	while (at >= (content ? steps[i].content : steps[i].names)) {
		at -= content ? steps[i].content : steps[i].names;
		i++;
	}
	return steps[i].run(r);
}

void sim_steps_end(struct run *r)
{
	for (unsigned n = 0; n < MODEL_NODES; n++) {
		while (r->m.nodes[n].file)
			sim_content_close(r, &r->m.nodes[n]);
		if (r->m.nodes[n].dir)
			forget_dir(r, n);
	}
}

/* Files whose content the end took cannot be worked with: away with them. */
int sim_steps_clear(struct run *r)
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
			return sim_steps_fail(r, "a broken file cannot be removed", error);
		model_drop(now(r), x.parent, x.name);
		e = (unsigned)-1;
	}
	for (unsigned n = 1; n < MODEL_NODES; n++)
		if (r->m.nodes[n].type == DT_REG && !r->m.nodes[n].versions) {
			model_forget(&r->m.nodes[n]);
			now(r)->xattr[n] = 0;
		}
	r->m.floor = 0;
	int error = trash_drain(r->s.trash, -1);
	/* What a power cut left is on the disk; what recovery made of its content must be, too. */
	if (r->cut && sim_steps_pick(r, 4))
		sim_disk_commit(r->disk);
	else
		sim_disk_sync(r->disk);
	return error < 0 ? sim_steps_fail(r, "trash_drain", error) : 0;
}
