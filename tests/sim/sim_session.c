/* The calls of a session on names, and what may be there after them. */
#include "tests/sim/sim_session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sim_session_init(struct session *s, struct sim_disk *disk, const struct keyring *keys)
{
	memset(s, 0, sizeof(*s));
	s->disk = disk;
	s->keys = keys;
	fail_lower_init(&s->fail, sim_disk_lower(disk));
	s->objects[0] = (struct session_object){.type = DT_DIR, .xattr = 1};
	s->object_count = 1;
	s->what = "mount";
}

/* Keeps the first. */
__attribute__((format(printf, 2, 3))) void sim_session_wrong(
	struct session *s, const char *format, ...)
{
	va_list arguments;
	char why[160];
	if (s->why[0])
		return;
	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	snprintf(s->why, sizeof(s->why), "%s (call %u): %s (alarms %u: %s, %s)", s->what, s->calls,
		why, s->s.alarms, s->s.what, s->s.detail);
}

bool sim_session_hit(const struct session *s)
{
	return s->hit || fail_lower_hit(&s->fail);
}

/* What a call said. Only the fault may make it fail. */
int sim_session_said(struct session *s, int r)
{
	if (r >= 0)
		return 0;
	s->refused++;
	/* What is shut after a failed write or flush says EIO, whatever it was that failed. */
	bool fits = r == s->error || r == -EIO;
	if (!fits || !sim_session_hit(s))
		sim_session_wrong(s, "said %s", strerror(-r));
	if (s->s.alarms)
		sim_session_wrong(s, "an alarm");
	return r;
}

bool sim_session_begin(struct session *s, const char *what, bool changes)
{
	s->what = what;
	s->calls++;
	/* The front lets nothing through that changes anything. */
	return !s->why[0] && s->mounted && !(changes && store_is_read_only(&s->s.store));
}

/* The fault is lifted, and comes back where it was. */
unsigned sim_session_lift(struct session *s)
{
	unsigned at = s->fail.at;
	s->fail.at = 0;
	return at;
}

const char *sim_session_name(unsigned index)
{
	static const char *const names[] = {"first", "second", "third", "fourth"};
	static char long_names[2][256];
	if (index < 4)
		return names[index];
	memset(long_names[index & 1], 'a' + (int)index, index & 1 ? 255 : 200);
	return long_names[index & 1];
}

static int find(const struct session *s, unsigned parent, unsigned name)
{
	for (unsigned e = 0; e < s->entry_count; e++)
		if (s->entries[e].parent == parent && s->entries[e].name == name &&
			s->entries[e].object >= 0)
			return (int)e;
	return -1;
}

static int object_at(const struct session *s, unsigned parent, unsigned name)
{
	int e = find(s, parent, name);
	return e < 0 ? -1 : s->entries[e].object;
}

static void set(struct session *s, unsigned parent, unsigned name, int object)
{
	int e = find(s, parent, name);
	if (e >= 0 && object < 0)
		s->entries[e] = s->entries[--s->entry_count];
	else if (e >= 0)
		s->entries[e].object = object;
	else if (object >= 0)
		s->entries[s->entry_count++] = (struct session_entry){parent, name, object};
}

static unsigned links(const struct session *s, int object)
{
	unsigned n = 0;
	for (unsigned e = 0; e < s->entry_count; e++)
		n += s->entries[e].object == object;
	return n;
}

static unsigned inside(const struct session *s, int dir)
{
	unsigned n = 0;
	for (unsigned e = 0; e < s->entry_count; e++)
		n += (int)s->entries[e].parent == dir;
	return n;
}

/* Some entry of it. */
static const struct session_entry *entry_of(const struct session *s, int object)
{
	for (unsigned e = 0; e < s->entry_count; e++)
		if (s->entries[e].object == object)
			return &s->entries[e];
	return NULL;
}

bool sim_session_has_name(const struct session *s, int object)
{
	return object >= 0 && entry_of(s, object);
}

/* The open directory, its parents too; NULL: an errno, which was counted. */
struct dir *sim_session_dir(struct session *s, unsigned object)
{
	struct session_object *o = &s->objects[object];
	struct name n;
	if (!object)
		return s->s.root;
	if (o->dir)
		return o->dir;
	const struct session_entry *e = entry_of(s, (int)object);
	struct dir *parent = e ? sim_session_dir(s, e->parent) : NULL;
	if (!parent)
		return NULL;
	int r = name_seal(parent, sim_session_name(e->name), &n);
	if (r == 0)
		r = dir_open(parent, n.lower, &o->dir);
	return sim_session_said(s, r) < 0 ? NULL : o->dir;
}

struct spot {
	struct dir *dir;
	struct name name;
};

static bool spot(struct session *s, unsigned parent, unsigned name, struct spot *ret)
{
	ret->dir = sim_session_dir(s, parent);
	return ret->dir &&
	       sim_session_said(s, name_seal(ret->dir, sim_session_name(name), &ret->name)) == 0;
}

struct file *sim_session_file(struct session *s, int object)
{
	struct session_object *o = &s->objects[object];
	struct spot p;
	if (o->file || o->gone)
		return o->file;
	const struct session_entry *e = entry_of(s, object);
	if (!e || !spot(s, e->parent, e->name, &p))
		return NULL;
	return sim_session_said(s, file_open(p.dir, p.name.lower, &o->file)) < 0 ? NULL : o->file;
}

/* The number of what stands there; 0 nothing. Without the fault. */
static ino_t look(struct session *s, unsigned parent, unsigned name)
{
	struct stat st = {0};
	struct spot p;
	unsigned at = sim_session_lift(s);
	int r = spot(s, parent, name, &p) ? tree_stat(p.dir, p.name.lower, &st) : -EIO;
	if (r < 0 && r != -ENOENT)
		sim_session_wrong(
			s, "then there is no telling what stands there: %s", strerror(-r));
	s->fail.at = at;
	return r < 0 ? 0 : st.st_ino;
}

static int new_object(struct session *s, uint8_t type)
{
	if (s->object_count == SESSION_OBJECTS)
		return -1;
	s->objects[s->object_count] = (struct session_object){.type = type, .xattr = 1};
	return (int)s->object_count++;
}

/* Something was to be made: after an error it is there or not. */
static int made(struct session *s, int object, unsigned parent, unsigned name, int r, ino_t ino)
{
	if (sim_session_said(s, r) < 0) {
		ino = look(s, parent, name);
		if (!ino) {
			s->objects[object].gone = true;
			return -1;
		}
	}
	s->objects[object].ino = ino;
	set(s, parent, name, object);
	return object;
}

int sim_session_create(struct session *s, unsigned parent, unsigned name)
{
	struct spot p;
	struct stat st = {0};
	if (!sim_session_begin(s, "create", true) || find(s, parent, name) >= 0 ||
		!spot(s, parent, name, &p))
		return -1;
	int object = new_object(s, DT_REG);
	int r = file_create(p.dir, &p.name, 0644, NULL, &s->objects[object].file, &st);
	return made(s, object, parent, name, r, st.st_ino);
}

int sim_session_mkdir(struct session *s, unsigned parent, unsigned name)
{
	struct spot p;
	struct stat st = {0};
	if (!sim_session_begin(s, "mkdir", true) || find(s, parent, name) >= 0 ||
		!spot(s, parent, name, &p))
		return -1;
	int object = new_object(s, DT_DIR);
	int r = tree_mkdir(p.dir, &p.name, 0755, NULL, &st);
	return made(s, object, parent, name, r, st.st_ino);
}

int sim_session_symlink(struct session *s, unsigned parent, unsigned name, const char *target)
{
	struct spot p;
	struct stat st = {0};
	if (!sim_session_begin(s, "symlink", true) || find(s, parent, name) >= 0 ||
		!spot(s, parent, name, &p))
		return -1;
	int object = new_object(s, DT_LNK);
	s->objects[object].target = target;
	int r = tree_symlink(p.dir, &p.name, target, NULL, &st);
	return made(s, object, parent, name, r, st.st_ino);
}

void sim_session_link(struct session *s, int object, unsigned parent, unsigned name)
{
	struct spot from, to;
	struct stat st;
	if (!sim_session_begin(s, "link", true) || !sim_session_has_name(s, object) ||
		find(s, parent, name) >= 0)
		return;
	struct session_object *o = &s->objects[object];
	const struct session_entry *e = entry_of(s, object);
	struct file *f = o->type == DT_REG ? sim_session_file(s, object) : NULL;
	if ((o->type == DT_REG && !f) || !spot(s, e->parent, e->name, &from) ||
		!spot(s, parent, name, &to))
		return;
	s->what = "link";
	int r = sim_session_said(s, tree_link(from.dir, from.name.lower, f, to.dir, &to.name, &st));
	ino_t there = r < 0 ? look(s, parent, name) : o->ino;
	if (there && there != o->ino)
		sim_session_wrong(s, "then something else has the name");
	if (there)
		set(s, parent, name, object);
}

static void lose_name(struct session *s, unsigned parent, unsigned name)
{
	int object = object_at(s, parent, name);
	set(s, parent, name, -1);
	s->objects[object].gone = !links(s, object);
}

void sim_session_unlink(struct session *s, unsigned parent, unsigned name)
{
	struct spot p;
	int object = object_at(s, parent, name);
	if (!sim_session_begin(s, "unlink", true) || object < 0 ||
		s->objects[object].type == DT_DIR || !spot(s, parent, name, &p))
		return;
	struct session_object *o = &s->objects[object];
	/* As the front does: a damaged one could go without. */
	struct file *f =
		o->type == DT_REG && links(s, object) > 1 ? sim_session_file(s, object) : o->file;
	if (o->type == DT_REG && links(s, object) > 1 && !f)
		return;
	s->what = "unlink";
	int r = sim_session_said(s, tree_unlink(p.dir, p.name.lower, f));
	ino_t there = r < 0 ? look(s, parent, name) : 0;
	if (there && there != o->ino)
		sim_session_wrong(s, "then something else has the name");
	if (!there)
		lose_name(s, parent, name);
}

void sim_session_rmdir(struct session *s, unsigned parent, unsigned name)
{
	struct spot p;
	int object = object_at(s, parent, name);
	if (!sim_session_begin(s, "rmdir", true) || object < 0 ||
		s->objects[object].type != DT_DIR || inside(s, object) ||
		!spot(s, parent, name, &p) || !sim_session_dir(s, (unsigned)object))
		return;
	s->what = "rmdir";
	int r = sim_session_said(s, tree_rmdir(p.dir, p.name.lower, s->objects[object].dir));
	ino_t there = r < 0 ? look(s, parent, name) : 0;
	if (there && there != s->objects[object].ino)
		sim_session_wrong(s, "then something else has the name");
	if (there)
		return;
	dir_put(s->objects[object].dir);
	s->objects[object].dir = NULL;
	lose_name(s, parent, name);
}

/* After one that failed: as before or as after, and nothing is lost. */
static bool renamed(struct session *s, const struct session_entry *old,
	const struct session_entry *new, bool exchange)
{
	ino_t at_old = look(s, old->parent, old->name), at_new = look(s, new->parent, new->name);
	ino_t source = s->objects[old->object].ino;
	ino_t victim = new->object < 0 ? 0 : s->objects[new->object].ino;
	if (at_old == source && at_new == victim)
		return false;
	if (at_new != source || at_old != (exchange ? victim : 0))
		sim_session_wrong(s, "then %lu is where %lu was, and %lu where %lu was",
			(unsigned long)at_old, (unsigned long)source, (unsigned long)at_new,
			(unsigned long)victim);
	return true;
}

static void move_names(struct session *s, const struct session_entry *old,
	const struct session_entry *new, bool exchange)
{
	if (new->object >= 0 && !exchange) {
		if (s->objects[new->object].dir)
			dir_put(s->objects[new->object].dir);
		s->objects[new->object].dir = NULL;
		lose_name(s, new->parent, new->name);
	}
	set(s, new->parent, new->name, old->object);
	set(s, old->parent, old->name, exchange ? new->object : -1);
}

/* Whether rename(2) would do it: a session without fault asks for nothing else. */
static bool may_rename(const struct session *s, const struct session_entry *old,
	const struct session_entry *new, bool exchange)
{
	if (old->object < 0 || old->object == new->object || (exchange && new->object < 0) ||
		old->object == (int)new->parent)
		return false;
	if (exchange || new->object < 0)
		return true;
	bool dir = s->objects[old->object].type == DT_DIR;
	return dir == (s->objects[new->object].type == DT_DIR) && !(dir && inside(s, new->object));
}

/* As the front opens what a rename needs; false: an errno. */
static bool open_for_rename(struct session *s, const struct session_entry *e, bool homes,
	struct file **ret_file, struct dir **ret_dir)
{
	*ret_file = NULL;
	*ret_dir = NULL;
	if (e->object < 0)
		return true;
	const struct session_object *o = &s->objects[e->object];
	if (o->type == DT_DIR)
		return (*ret_dir = sim_session_dir(s, (unsigned)e->object));
	if (o->type != DT_REG)
		return true;
	*ret_file = o->file;
	if (homes || links(s, e->object) > 1)
		return (*ret_file = sim_session_file(s, e->object));
	return true;
}

void sim_session_rename(struct session *s, unsigned from, unsigned old_name, unsigned to,
	unsigned new_name, unsigned flags)
{
	const struct session_entry old = {from, old_name, object_at(s, from, old_name)};
	const struct session_entry new = {to, new_name, object_at(s, to, new_name)};
	struct spot a, b;
	bool exchange = flags & RENAME_EXCHANGE;
	struct tree_rename r = {.flags = flags, .victim_exists = new.object >= 0};
	if (!sim_session_begin(s, "rename", true) || !may_rename(s, &old, &new, exchange) ||
		!spot(s, from, old_name, &a) || !spot(s, to, new_name, &b) ||
		!open_for_rename(s, &old, from != to, &r.file, &r.moved) ||
		!open_for_rename(s, &new, exchange && from != to, &r.victim_file, &r.victim_dir))
		return;
	s->what = exchange ? "exchange" : new.object >= 0 ? "rename over" : "rename";
	r.from = a.dir;
	r.to = b.dir;
	r.old_lower = a.name.lower;
	r.new_name = &b.name;
	int rc = sim_session_said(s, tree_rename(&r));
	if (rc == 0 || renamed(s, &old, &new, exchange))
		move_names(s, &old, &new, exchange);
}

void sim_session_mount(struct session *s)
{
	const struct sim_store_options o = {.lower = &s->fail.base};
	s->what = "mount";
	int r = sim_store_mount(&s->s, s->disk, s->keys, &o);
	if (r < 0 && sim_session_said(s, r) < 0) {
		sim_store_unmount(&s->s, false);
		s->hit = true;
		s->fail.at = 0;
		r = sim_store_mount(&s->s, s->disk, s->keys, &o);
		if (r < 0)
			sim_session_wrong(s, "again without the fault: %s", strerror(-r));
	}
	s->mounted = r >= 0;
}

void sim_session_unmount(struct session *s)
{
	for (unsigned i = 0; i < s->object_count; i++)
		if (s->objects[i].file)
			session_content_close(s, (int)i);
	for (unsigned i = 0; i < s->object_count; i++) {
		dir_put(s->objects[i].dir);
		s->objects[i].dir = NULL;
	}
	s->what = "unmount";
	unsigned alarms = s->s.alarms;
	sim_store_unmount(&s->s, true);
	if (s->s.alarms != alarms)
		sim_session_wrong(s, "an alarm");
	if (sim_disk_open_files(s->disk))
		sim_session_wrong(s, "%u descriptors are left open", sim_disk_open_files(s->disk));
	s->mounted = false;
}

/* Everything that is listed is known; the count is right. */
void sim_session_list(struct session *s, unsigned object)
{
	struct tree_cursor *c = NULL;
	struct tree_entry *e = malloc(sizeof(*e));
	struct dir *d = sim_session_begin(s, "list", false) ? sim_session_dir(s, object) : NULL;
	unsigned found = 0, known = 0;
	int64_t at = 0;
	int r = d && e ? tree_cursor_open(d, &c) : -ENOENT;
	while (r >= 0 && (r = tree_cursor_next(c, at, e)) > 0) {
		unsigned name = 0;
		at = e->next;
		if (strcmp(e->plain, ".") == 0 || strcmp(e->plain, "..") == 0)
			continue;
		while (name < SESSION_NAMES && strcmp(e->plain, sim_session_name(name)) != 0)
			name++;
		int there = object_at(s, object, name);
		if (there < 0 || s->objects[there].ino != e->ino)
			sim_session_wrong(s, "%u/%u should not be there, inode %lu, object %d",
				object, name, (unsigned long)e->ino, there);
		found++;
	}
	for (unsigned n = 0; n < s->entry_count; n++)
		known += s->entries[n].parent == object;
	if (c)
		tree_cursor_close(c);
	free(e);
	if (d && sim_session_said(s, r) == 0 && found != known)
		sim_session_wrong(s, "%u names, not %u", found, known);
}

void sim_session_check(struct session *s)
{
	sim_session_list(s, 0);
	for (unsigned n = 0; n < s->entry_count; n++) {
		int object = s->entries[n].object;
		const struct session_object *o = &s->objects[object];
		if (look(s, s->entries[n].parent, s->entries[n].name) != o->ino)
			sim_session_wrong(s, "a name is missing or another's");
		if (o->type == DT_DIR)
			sim_session_list(s, (unsigned)object);
		else if (o->type == DT_LNK)
			sim_session_readlink(s, object);
		else
			session_content_read(s, object);
		session_content_check_xattr(s, object);
	}
	session_content_check_xattr(s, 0);
	if (s->s.alarms)
		sim_session_wrong(s, "an alarm");
}

void sim_session_empty(struct session *s)
{
	while (s->entry_count && !s->why[0]) {
		unsigned n = 0;
		/* Leaves first. */
		while (n + 1 < s->entry_count && s->objects[s->entries[n].object].type == DT_DIR) {
			if (!inside(s, s->entries[n].object))
				break;
			n++;
		}
		const struct session_entry e = s->entries[n];
		unsigned before = s->entry_count;
		if (s->objects[e.object].type == DT_DIR)
			sim_session_rmdir(s, e.parent, e.name);
		else
			sim_session_unlink(s, e.parent, e.name);
		if (s->objects[e.object].gone && s->objects[e.object].file)
			session_content_close(s, e.object);
		if (s->entry_count == before)
			sim_session_wrong(s, "cannot be removed");
	}
	sim_session_list(s, 0);
	sim_session_erase(s);
	if (s->mounted && sim_store_in_trash(&s->s) != 0)
		sim_session_wrong(s, "the trash is not empty");
}

void sim_session_readlink(struct session *s, int object)
{
	static char target[4096];
	struct spot p;
	const struct session_entry *e = object < 0 ? NULL : entry_of(s, object);
	if (!sim_session_begin(s, "readlink", false) || !e || !spot(s, e->parent, e->name, &p))
		return;
	const char *wanted = s->objects[object].target;
	ssize_t n = tree_readlink(p.dir, p.name.lower, target, sizeof(target));
	if (n < 0)
		(void)sim_session_said(s, (int)n);
	else if ((size_t)n != strlen(wanted) || memcmp(target, wanted, (size_t)n) != 0)
		sim_session_wrong(s, "another target");
}

void sim_session_sync_dir(struct session *s, unsigned object)
{
	const struct dir *d = sim_session_begin(s, "fsync of a directory", false)
				      ? sim_session_dir(s, object)
				      : NULL;
	if (d)
		(void)sim_session_said(s, dir_sync(d, false));
}

void sim_session_statfs(struct session *s)
{
	struct statvfs st;
	if (sim_session_begin(s, "statfs", false))
		(void)sim_session_said(
			s, s->s.lower->ops->fstatvfs(s->s.lower, s->s.store.root_fd, &st));
}

void sim_session_erase(struct session *s)
{
	if (sim_session_begin(s, "erase", false))
		(void)sim_session_said(s, trash_drain(s->s.trash, -1));
}
