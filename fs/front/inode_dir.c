/* inode.h: open directories, as many as were used last. */
#include "fs/front/inode.h"

#include <errno.h>

void inode_dir_unlist(struct inode_table *t, struct inode *i)
{
	if (!S_ISDIR(i->type) || !i->lru_next)
		return;
	i->lru_prev->lru_next = i->lru_next;
	i->lru_next->lru_prev = i->lru_prev;
	i->lru_prev = i->lru_next = NULL;
	t->open_dirs--;
}

static void lru_front(struct inode_table *t, struct inode *i)
{
	inode_dir_unlist(t, i);
	i->lru_next = t->lru.lru_next;
	i->lru_prev = &t->lru;
	t->lru.lru_next->lru_prev = i;
	t->lru.lru_next = i;
	t->open_dirs++;
}

/* Closes what was not used for longest. What a request uses stays: a directory's lock is in the one
 * object. Lock held. */
static void lru_trim(struct inode_table *t)
{
	struct inode *oldest = t->lru.lru_prev, *newer;
	for (; t->open_dirs > INODE_OPEN_DIRS && oldest != &t->lru; oldest = newer) {
		newer = oldest->lru_prev;
		if (__atomic_load_n(&oldest->dir->refs, __ATOMIC_ACQUIRE) > 1)
			continue;
		inode_dir_unlist(t, oldest);
		dir_put(oldest->dir);
		oldest->dir = NULL;
	}
}

/* The open directory if there is one, with a reference. */
static struct dir *cached_dir(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	struct dir *d = i->dir ? dir_get(i->dir) : NULL;
	if (d && i != t->root && i->hashed)
		lru_front(t, i);
	lock_drop(&t->lock);
	return d;
}

static int reopen_dir(struct inode_table *t, struct inode *i, struct dir *parent, const char *lower,
	struct dir **ret)
{
	struct stat st;
	struct dir *d;
	int r = dir_open(parent, lower, &d);
	if (r < 0)
		return r;
	r = t->store->lower->ops->fstat(t->store->lower, d->fd, &st);
	if (r < 0 || st.st_ino != i->ino) {
		dir_put(d);
		return r < 0 ? r : -ESTALE;
	}
	lock_take(&t->lock);
	if (i->dir) {
		dir_put(d); /* somebody was faster: one object for a directory, since its lock is in
			       it */
	} else {
		i->dir = d;
		lru_front(t, i);
		lru_trim(t);
	}
	*ret = dir_get(i->dir);
	lock_drop(&t->lock);
	return 0;
}

int inode_dir(struct inode_table *t, struct inode *i, struct dir **ret)
{
	if (!S_ISDIR(i->type))
		return -ENOTDIR;
	*ret = cached_dir(t, i);
	if (*ret)
		return 0;
	/* Up to the nearest open ancestor, then down again: a chain of names, no recursion. */
	struct inode *chain[PATH_MAX / 2];
	size_t depth = 0;
	struct dir *at = NULL;
	int r = 0;
	inode_get(t, i);
	chain[depth++] = i;
	while (!at && r == 0 && depth < PATH_MAX / 2) {
		char lower[256];
		struct inode *parent;
		r = inode_where(t, chain[depth - 1], &parent, lower);
		if (r < 0)
			break;
		chain[depth++] = parent;
		at = cached_dir(t, parent);
	}
	if (at)
		inode_put(t, chain[--depth]);
	else if (r == 0)
		r = -ELOOP;
	while (depth > 0) {
		struct inode *child = chain[--depth], *parent = NULL;
		struct dir *below = NULL;
		char lower[256];
		if (r == 0)
			r = inode_where(t, child, &parent, lower);
		if (r == 0)
			r = reopen_dir(t, child, at, lower, &below);
		if (at)
			dir_put(at);
		at = below;
		inode_put(t, parent);
		inode_put(t, child);
	}
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	*ret = at;
	return 0;
}
