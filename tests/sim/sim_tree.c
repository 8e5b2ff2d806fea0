/* Inodes, directories and names of the simulated filesystem. Each call is one transaction. */
#include "tests/sim/sim_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

#define FIRST_COOKIE 3 /* 1 and 2 are those of "." and ".." */

#define TICK_NS 10000

struct timespec sim_tree_now(struct sim_disk *d)
{
	if (sim_random_chance(&d->random, 512))
		d->clock_ns += TICK_NS;
	return (struct timespec){d->clock_ns / 1000000000, d->clock_ns % 1000000000};
}

struct sim_text *sim_tree_text(const void *bytes, size_t len)
{
	struct sim_text *t = sim_disk_memory(sizeof(*t) + len + 1);
	t->refs = 1;
	t->len = (uint32_t)len;
	t->hash = 0xcbf29ce484222325u;
	memcpy(t->bytes, bytes, len);
	t->bytes[len] = '\0';
	for (size_t i = 0; i < len; i++)
		t->hash = (t->hash ^ (uint8_t)t->bytes[i]) * 0x100000001b3u;
	return t;
}

struct sim_text *sim_tree_hold(struct sim_text *t)
{
	t->refs++;
	return t;
}

void sim_tree_let(struct sim_text *t)
{
	if (t && --t->refs == 0)
		free(t);
}

static void text_auto(struct sim_text **t)
{
	sim_tree_let(*t);
}
#define AUTO_TEXT AUTO(text_auto) struct sim_text

static bool same(const struct sim_text *a, const struct sim_text *b)
{
	return a == b ||
	       (a->hash == b->hash && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0);
}

struct sim_inode *sim_tree_inode(const struct sim_disk *d, uint32_t ino)
{
	return d->inodes[ino];
}

static struct sim_inode *inode_at(struct sim_disk *d, uint32_t ino)
{
	struct sim_inode *i = sim_disk_memory(sizeof(*i));
	memset(i, 0, sizeof(*i));
	i->ino = ino;
	i->cookie = FIRST_COOKIE - 1;
	d->inodes = sim_disk_grow(d->inodes, ino + 1u, sizeof(struct sim_inode *), &d->inode_room);
	while (d->inode_count <= ino)
		d->inodes[d->inode_count++] = NULL;
	d->inodes[ino] = i;
	return i;
}

struct sim_inode *sim_tree_new(
	struct sim_disk *d, mode_t mode, dev_t rdev, const struct lower_cred *cred)
{
	uint32_t ino = 2;
	while (ino < d->inode_count && d->inodes[ino])
		ino++;
	struct sim_inode *i = inode_at(d, ino);
	i->core = (struct sim_core){.mode = mode,
		.rdev = rdev,
		.uid = cred ? cred->uid : geteuid(),
		.gid = cred ? cred->gid : getegid()};
	i->core.atime = i->core.mtime = i->core.ctime = sim_tree_now(d);
	return i;
}

void sim_tree_free_inode(struct sim_disk *d, struct sim_inode *i)
{
	sim_pages_drop(d, i);
	for (size_t n = 0; n < i->entry_count; n++)
		sim_tree_let(i->entries[n].name);
	for (size_t n = 0; n < i->xattr_count; n++) {
		sim_tree_let(i->xattrs[n].name);
		sim_tree_let(i->xattrs[n].value);
	}
	sim_tree_let(i->target);
	free(i->entries);
	free(i->xattrs);
	free(i->pages);
	d->inodes[i->ino] = NULL;
	free(i);
}

void sim_tree_copy(struct sim_disk *to, const struct sim_inode *from)
{
	struct sim_inode *i = inode_at(to, from->ino);
	*i = *from;
	i->opens = 0;
	i->lock_fd = 0;
	if (i->target)
		sim_tree_hold(i->target);
	i->entry_room = i->entry_count;
	i->entries = i->entry_count ? sim_disk_memory(i->entry_count * sizeof(*i->entries)) : NULL;
	for (size_t n = 0; n < i->entry_count; n++) {
		i->entries[n] = from->entries[n];
		sim_tree_hold(i->entries[n].name);
	}
	i->xattrs = i->xattr_count ? sim_disk_memory(i->xattr_count * sizeof(*i->xattrs)) : NULL;
	for (size_t n = 0; n < i->xattr_count; n++) {
		i->xattrs[n] = from->xattrs[n];
		sim_tree_hold(i->xattrs[n].name);
		sim_tree_hold(i->xattrs[n].value);
	}
	sim_pages_copy(i, from);
}

void sim_tree_settle(struct sim_disk *d, struct sim_inode *i)
{
	if (i->opens || i->core.nlink || i->gone)
		return;
	sim_log_begin(d);
	sim_pages_release(d, i);
	sim_log_gone(d, i);
}

static struct sim_entry *find(struct sim_inode *dir, const struct sim_text *name)
{
	for (size_t n = 0; n < dir->entry_count; n++)
		if (same(dir->entries[n].name, name))
			return &dir->entries[n];
	return NULL;
}

/* Takes a reference of the name. */
static void put_entry(struct sim_inode *dir, const struct sim_entry *e)
{
	uint32_t room = (uint32_t)dir->entry_room;
	dir->entries =
		sim_disk_grow(dir->entries, dir->entry_count + 1, sizeof(*dir->entries), &room);
	dir->entry_room = room;
	size_t at = dir->entry_count++;
	for (; at && dir->entries[at - 1].cookie > e->cookie; at--)
		dir->entries[at] = dir->entries[at - 1];
	dir->entries[at] = *e;
	sim_tree_hold(e->name);
}

static void drop_entry(struct sim_inode *dir, struct sim_entry *e)
{
	sim_tree_let(e->name);
	size_t at = (size_t)(e - dir->entries);
	memmove(e, e + 1, (dir->entry_count - at - 1) * sizeof(*e));
	dir->entry_count--;
}

void sim_tree_restore(struct sim_inode *dir, const struct sim_entry *e)
{
	struct sim_entry *now = find(dir, e->name);
	if (now)
		drop_entry(dir, now);
	if (e->ino)
		put_entry(dir, e);
}

static uint8_t type_of(const struct sim_inode *i)
{
	return (uint8_t)IFTODT(i->core.mode);
}

/* The name is another inode's from now on, or nobody's: i NULL. In a transaction. */
static void set_entry(
	struct sim_disk *d, struct sim_inode *dir, struct sim_text *name, struct sim_inode *i)
{
	struct sim_entry *e = find(dir, name);
	sim_log_entry(d, dir, name, e);
	if (e && i) {
		e->ino = i->ino;
		e->type = type_of(i);
	} else if (e) {
		drop_entry(dir, e);
	} else {
		put_entry(dir, &(struct sim_entry){name, i->ino, type_of(i), ++dir->cookie});
	}
}

static void stamp_dir(struct sim_disk *d, struct sim_inode *dir, int links)
{
	sim_log_core(d, dir, false);
	dir->core.mtime = dir->core.ctime = sim_tree_now(d);
	dir->core.nlink += (nlink_t)links;
}

static void stamp_inode(struct sim_disk *d, struct sim_inode *i, int links)
{
	sim_log_core(d, i, false);
	i->core.ctime = sim_tree_now(d);
	i->core.nlink += (nlink_t)links;
}

static int usable(const struct sim_inode *dir, const char *name)
{
	if (!S_ISDIR(dir->core.mode))
		return -ENOTDIR;
	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	return strchr(name, '/') ? -EINVAL : 0;
}

int sim_tree_look(
	struct sim_disk *d, struct sim_inode *dir, const char *name, struct sim_inode **ret)
{
	int r = usable(dir, name);
	if (r < 0)
		return r;
	if (strcmp(name, ".") == 0) {
		*ret = dir;
		return 0;
	}
	if (strcmp(name, "..") == 0) {
		*ret = d->inodes[dir->core.parent];
		return 0;
	}
	AUTO_TEXT *t = sim_tree_text(name, strlen(name));
	const struct sim_entry *e = find(dir, t);
	if (!e)
		return -ENOENT;
	*ret = d->inodes[e->ino];
	return 0;
}

/* 0 when a name may be made here. */
static int free_name(struct sim_inode *dir, const char *name, const struct sim_text *text)
{
	int r = usable(dir, name);
	if (r < 0)
		return r;
	if (!name[0])
		return -ENOENT;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || find(dir, text))
		return -EEXIST;
	return dir->core.nlink ? 0 : -ENOENT;
}

int sim_tree_create(struct sim_disk *d, struct sim_inode *dir, const char *name, mode_t mode,
	dev_t rdev, const char *target, const struct lower_cred *cred, struct sim_inode **ret)
{
	AUTO_TEXT *text = sim_tree_text(name, strlen(name));
	int r = free_name(dir, name, text);
	if (r < 0)
		return r;
	bool is_dir = S_ISDIR(mode);
	struct sim_inode *i = sim_tree_new(d, mode, rdev, cred);
	if (dir->core.mode & S_ISGID) {
		i->core.gid = dir->core.gid;
		i->core.mode |= is_dir ? S_ISGID : 0;
	}
	sim_log_begin(d);
	sim_log_born(d, i);
	set_entry(d, dir, text, i);
	stamp_dir(d, dir, is_dir);
	i->core.nlink = is_dir ? 2 : 1;
	i->core.parent = dir->ino;
	if (target) {
		i->target = sim_tree_text(target, strlen(target));
		i->size = i->core.disk_size = i->target->len;
	}
	*ret = i;
	return 0;
}

int sim_tree_link(struct sim_disk *d, struct sim_inode *i, struct sim_inode *dir, const char *name)
{
	AUTO_TEXT *text = sim_tree_text(name, strlen(name));
	int r = free_name(dir, name, text);
	if (r < 0)
		return r;
	if (S_ISDIR(i->core.mode))
		return -EPERM;
	sim_log_begin(d);
	stamp_inode(d, i, 1);
	set_entry(d, dir, text, i);
	stamp_dir(d, dir, 0);
	return 0;
}

/* An inode loses a name, in a transaction. */
static void lose_name(struct sim_disk *d, struct sim_inode *i)
{
	stamp_inode(d, i, S_ISDIR(i->core.mode) ? -(int)i->core.nlink : -1);
}

int sim_tree_unlink(struct sim_disk *d, struct sim_inode *dir, const char *name, int flags)
{
	struct sim_inode *i;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	int r = sim_tree_look(d, dir, name, &i);
	if (r < 0)
		return r;
	bool is_dir = S_ISDIR(i->core.mode);
	if (flags & AT_REMOVEDIR ? !is_dir : is_dir)
		return is_dir ? -EISDIR : -ENOTDIR;
	if (i->entry_count)
		return -ENOTEMPTY;
	AUTO_TEXT *text = sim_tree_text(name, strlen(name));
	sim_log_begin(d);
	set_entry(d, dir, text, NULL);
	stamp_dir(d, dir, is_dir ? -1 : 0);
	lose_name(d, i);
	sim_tree_settle(d, i);
	return 0;
}

static bool inside(struct sim_disk *d, const struct sim_inode *dir, const struct sim_inode *top)
{
	while (dir != top && dir->ino != 2)
		dir = d->inodes[dir->core.parent];
	return dir == top;
}

static int may_replace(struct sim_disk *d, const struct sim_inode *i, struct sim_inode *victim,
	const struct sim_inode *from, const struct sim_inode *to, unsigned flags)
{
	bool is_dir = S_ISDIR(i->core.mode);
	if (is_dir && inside(d, to, i))
		return -EINVAL;
	if (!victim)
		return flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (flags & RENAME_EXCHANGE)
		return S_ISDIR(victim->core.mode) && inside(d, from, victim) ? -EINVAL : 0;
	if (is_dir != (bool)S_ISDIR(victim->core.mode))
		return is_dir ? -ENOTDIR : -EISDIR;
	return victim->entry_count ? -ENOTEMPTY : 0;
}

static void move_parent(
	struct sim_disk *d, struct sim_inode *i, struct sim_inode *from, struct sim_inode *to)
{
	stamp_inode(d, i, 0);
	if (!S_ISDIR(i->core.mode) || from == to)
		return;
	i->core.parent = to->ino;
	from->core.nlink--;
	to->core.nlink++;
}

int sim_tree_rename(struct sim_disk *d, struct sim_inode *from, const char *old,
	struct sim_inode *to, const char *new, unsigned flags)
{
	struct sim_inode *i, *victim = NULL;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	int r = sim_tree_look(d, from, old, &i);
	if (r < 0)
		return r;
	r = sim_tree_look(d, to, new, &victim);
	if (r < 0 && r != -ENOENT)
		return r;
	if (!to->core.nlink)
		return -ENOENT;
	r = may_replace(d, i, victim, from, to, flags);
	if (r < 0 || i == victim)
		return r;
	AUTO_TEXT *old_text = sim_tree_text(old, strlen(old));
	AUTO_TEXT *new_text = sim_tree_text(new, strlen(new));
	bool exchange = flags & RENAME_EXCHANGE, lost_dir = false;
	sim_log_begin(d);
	stamp_dir(d, from, 0);
	if (to != from)
		stamp_dir(d, to, 0);
	set_entry(d, to, new_text, i);
	set_entry(d, from, old_text, exchange ? victim : NULL);
	move_parent(d, i, from, to);
	if (exchange) {
		move_parent(d, victim, to, from);
	} else if (victim) {
		lost_dir = S_ISDIR(victim->core.mode);
		lose_name(d, victim);
	}
	to->core.nlink -= lost_dir;
	if (victim)
		sim_tree_settle(d, victim);
	return 0;
}

static bool put_dirent(
	uint8_t **at, size_t *left, const char *name, uint32_t ino, uint8_t type, uint64_t next)
{
	size_t len = strlen(name) + 1, whole = (offsetof(struct dirent64, d_name) + len + 7) & ~7u;
	if (whole > *left)
		return false;
	struct dirent64 *e = (struct dirent64 *)(void *)*at;
	memset(e, 0, whole);
	e->d_ino = ino;
	e->d_off = (off64_t)next;
	e->d_reclen = (unsigned short)whole;
	e->d_type = type;
	memcpy(e->d_name, name, len);
	*at += whole;
	*left -= whole;
	return true;
}

ssize_t sim_tree_list(const struct sim_disk *d, const struct sim_inode *dir, int64_t *position,
	void *ret, size_t size)
{
	uint8_t *at = ret;
	size_t left = size;
	bool more = true;
	(void)d;
	if (!S_ISDIR(dir->core.mode))
		return -ENOTDIR;
	if (!dir->core.nlink)
		return 0;
	if (*position < 1 && (more = put_dirent(&at, &left, ".", dir->ino, DT_DIR, 1)))
		*position = 1;
	if (more && *position < 2 &&
		(more = put_dirent(&at, &left, "..", dir->core.parent, DT_DIR, 2)))
		*position = 2;
	for (size_t n = 0; more && n < dir->entry_count; n++) {
		const struct sim_entry *e = &dir->entries[n];
		if ((int64_t)e->cookie <= *position)
			continue;
		more = put_dirent(&at, &left, e->name->bytes, e->ino, e->type, e->cookie);
		if (more)
			*position = (int64_t)e->cookie;
	}
	return !more && left == size ? -EINVAL : (ssize_t)(size - left);
}

static struct sim_xattr *find_xattr(const struct sim_inode *i, const struct sim_text *name)
{
	for (size_t n = 0; n < i->xattr_count; n++)
		if (same(i->xattrs[n].name, name))
			return &i->xattrs[n];
	return NULL;
}

void sim_tree_set_xattr(struct sim_inode *i, struct sim_text *name, struct sim_text *value)
{
	struct sim_xattr *x = find_xattr(i, name);
	if (x && value) {
		sim_tree_let(x->value);
		x->value = sim_tree_hold(value);
	} else if (x) {
		sim_tree_let(x->name);
		sim_tree_let(x->value);
		*x = i->xattrs[--i->xattr_count];
	} else if (value) {
		struct sim_xattr *more = sim_disk_memory((i->xattr_count + 1) * sizeof(*i->xattrs));
		if (i->xattr_count)
			memcpy(more, i->xattrs, i->xattr_count * sizeof(*more));
		free(i->xattrs);
		i->xattrs = more;
		i->xattrs[i->xattr_count++] =
			(struct sim_xattr){sim_tree_hold(name), sim_tree_hold(value)};
	}
}

static void change_xattr(
	struct sim_disk *d, struct sim_inode *i, struct sim_text *name, struct sim_text *value)
{
	const struct sim_xattr *x = find_xattr(i, name);
	sim_log_begin(d);
	sim_log_xattr(d, i, name, x ? x->value : NULL);
	stamp_inode(d, i, 0);
	sim_tree_set_xattr(i, name, value);
}

int sim_tree_setxattr(struct sim_disk *d, struct sim_inode *i, const char *name, const void *value,
	size_t size, int flags)
{
	AUTO_TEXT *text = sim_tree_text(name, strlen(name));
	AUTO_TEXT *bytes = sim_tree_text(value, size);
	bool there = find_xattr(i, text);
	if (there && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!there && (flags & XATTR_REPLACE))
		return -ENODATA;
	change_xattr(d, i, text, bytes);
	return 0;
}

int sim_tree_removexattr(struct sim_disk *d, struct sim_inode *i, const char *name)
{
	AUTO_TEXT *text = sim_tree_text(name, strlen(name));
	if (!find_xattr(i, text))
		return -ENODATA;
	change_xattr(d, i, text, NULL);
	return 0;
}

ssize_t sim_tree_getxattr(const struct sim_inode *i, const char *name, void *ret, size_t size)
{
	AUTO_TEXT *text = sim_tree_text(name, strlen(name));
	const struct sim_xattr *x = find_xattr(i, text);
	if (!x)
		return -ENODATA;
	if (size && size < x->value->len)
		return -ERANGE;
	if (size)
		memcpy(ret, x->value->bytes, x->value->len);
	return x->value->len;
}

ssize_t sim_tree_listxattr(const struct sim_inode *i, char *ret, size_t size)
{
	size_t need = 0;
	for (size_t n = 0; n < i->xattr_count; n++)
		need += i->xattrs[n].name->len + 1u;
	if (!size)
		return (ssize_t)need;
	if (need > size)
		return -ERANGE;
	for (size_t n = 0; n < i->xattr_count; n++) {
		memcpy(ret, i->xattrs[n].name->bytes, i->xattrs[n].name->len + 1u);
		ret += i->xattrs[n].name->len + 1u;
	}
	return (ssize_t)need;
}

void sim_tree_stat(const struct sim_inode *i, struct stat *ret)
{
	uint64_t pages = i->page_count;
	*ret = (struct stat){.st_dev = 1,
		.st_ino = i->ino,
		.st_mode = i->core.mode,
		.st_nlink = i->core.nlink,
		.st_uid = i->core.uid,
		.st_gid = i->core.gid,
		.st_rdev = i->core.rdev,
		.st_size = S_ISDIR(i->core.mode) ? (off_t)SIM_PAGE : (off_t)i->size,
		.st_blksize = SIM_PAGE,
		.st_blocks = (blkcnt_t)(pages * (SIM_PAGE / 512)),
		.st_atim = i->core.atime,
		.st_mtim = i->core.mtime,
		.st_ctim = i->core.ctime};
}
