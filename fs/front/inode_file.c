/* inode.h: the one open file of a lower inode, whoever uses it. */
#include "fs/front/inode.h"

#include "fs/store/redo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PARENTS_MAX                                                                                \
	64 /* names of one inode that are checked at an open; its header knows four homes */

/* A retired inode may still hold the number's file open: there is one struct file for a lower
 * inode. */
struct file *inode_file_of_retired(struct inode_table *t, ino_t ino)
{
	struct file *f = NULL;
	lock_take(&t->lock);
	for (struct inode *r = t->retired_count ? t->detached : NULL; r && !f; r = r->detached_next)
		if (r->retired && r->ino == ino && S_ISREG(r->type) && r->file)
			f = file_get(r->file);
	lock_drop(&t->lock);
	return f;
}

struct file *inode_file_if_open(struct inode_table *t, struct inode *i)
{
	struct file *f = i->file ? file_get(i->file) : inode_file_of_retired(t, i->ino);
	/* Closed a moment ago, and not in its place yet: its times and its length are its own. The
	 * number of one that is gone may be another's by now. */
	if (!f && !__atomic_load_n(&i->retired, __ATOMIC_ACQUIRE) && inode_found_by_number(t, i))
		f = redo_find(t->store, i->ino);
	if (!f)
		return NULL;
	if (!i->file)
		i->file = file_get(f);
	i->file_users++;
	return f;
}

/* Content opens only when every parent under which the inode is known is among its homes
 * (docs/format.md, "Homes"). */
static int check_homes(struct inode_table *t, struct inode *i, struct file *f)
{
	struct inode *parents[PARENTS_MAX];
	size_t count = 0;
	int r = 0;
	lock_take(&t->lock);
	for (struct inode_name *n = i->names; n && count < PARENTS_MAX; n = n->next) {
		/* The home went with the name; the file may have others, which nobody looked up. */
		if (n->gone)
			continue;
		n->parent->refs++;
		parents[count++] = n->parent;
	}
	lock_drop(&t->lock);
	for (size_t k = 0; k < count; k++) {
		struct dir *d = NULL;
		if (r == 0)
			r = inode_dir(t, parents[k], &d);
		if (r == 0)
			r = file_check_home(f, d);
		if (d)
			dir_put(d);
		inode_put(t, parents[k]);
	}
	return r;
}

static int open_first_name(struct inode_table *t, struct inode *i, struct file **ret)
{
	char lower[256];
	struct inode *parent = NULL;
	struct dir *d = NULL;
	struct stat st;
	struct lower *l = t->store->lower;
	int r = inode_where(t, i, &parent, lower);
	if (r == 0)
		r = inode_dir(t, parent, &d);
	/* Before it is opened: another file there may be open already, and must not be twice. */
	if (r == 0)
		r = l->ops->fstatat(l, d->fd, lower, &st);
	if (r == 0 && st.st_ino != i->ino)
		r = -ESTALE;
	if (r == 0)
		r = file_open(d, lower, ret);
	if (r == 0) {
		r = file_stat(*ret, &st);
		if (r == 0 && st.st_ino != i->ino)
			r = -ESTALE;
		if (r < 0) {
			file_put(*ret);
			*ret = NULL;
		}
	}
	if (d)
		dir_put(d);
	inode_put(t, parent);
	return r == -ENOENT ? -ESTALE : r;
}

int inode_file_locked(struct inode_table *t, struct inode *i, struct file **ret)
{
	if (!S_ISREG(i->type))
		return S_ISDIR(i->type) ? -EISDIR : -EINVAL;
	struct file *f = inode_file_if_open(t, i);
	/* Its number is another inode's now, who would open it a second time. */
	if (!f && __atomic_load_n(&i->retired, __ATOMIC_ACQUIRE))
		return -ESTALE;
	if (!f) {
		int r = 0;
		/* A rename may be under way between where it was and the open: once more finds the
		 * new name. */
		for (int tries = 0; !f && tries < 3; tries++) {
			r = open_first_name(t, i, &f);
			if (r != -ESTALE)
				break;
			f = NULL;
		}
		if (!f)
			return r < 0 ? r : -ESTALE;
		/* The kernel has a wrong size, and takes no other for this node: ESTALE makes it
		 * look up a new one. */
		r = file_settle_length(f);
		if (r != 0) {
			if (r > 0)
				inode_mislead(t, i);
			file_put(f);
			return r < 0 ? r : -ESTALE;
		}
		i->file = file_get(f);
		i->file_users = 1;
	}
	int r = check_homes(t, i, f);
	if (r < 0) {
		inode_file_done_locked(t, i, f);
		return r;
	}
	*ret = f;
	return 0;
}

int inode_file(struct inode_table *t, struct inode *i, struct file **ret)
{
	struct lock_mutex *stripe = inode_lock(t, i->ino);
	int r = inode_file_locked(t, i, ret);
	lock_drop(stripe);
	return r;
}

void inode_file_done_locked(struct inode_table *t, struct inode *i, struct file *f)
{
	(void)t;
	file_put(f);
	if (--i->file_users == 0) {
		file_put(i->file);
		i->file = NULL;
	}
}

void inode_file_done(struct inode_table *t, struct inode *i, struct file *f)
{
	struct lock_mutex *stripe = inode_lock(t, i->ino);
	inode_file_done_locked(t, i, f);
	lock_drop(stripe);
}

struct file *inode_file_created(struct inode_table *t, struct inode *i, struct file *f)
{
	struct lock_mutex *stripe = inode_lock(t, i->ino);
	struct file *one = inode_file_if_open(t, i);
	if (!one) {
		i->file = file_get(f);
		i->file_users = 1;
		one = f;
	} else {
		file_put(f);
	}
	lock_drop(stripe);
	return one;
}
