#include "fs/front/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_AT_START 1024

static size_t bucket_of(const struct inode_table *t, ino_t ino)
{
	/* Fibonacci hashing: lower inode numbers come in runs. */
	return (size_t)((uint64_t)ino * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (t->bucket_count - 1);
}

static void lru_remove(struct inode_table *t, struct inode *i)
{
	if (!i->lru_next)
		return;
	i->lru_prev->lru_next = i->lru_next;
	i->lru_next->lru_prev = i->lru_prev;
	i->lru_prev = i->lru_next = NULL;
	t->open_dirs--;
}

static void lru_front(struct inode_table *t, struct inode *i)
{
	lru_remove(t, i);
	i->lru_next = t->lru.lru_next;
	i->lru_prev = &t->lru;
	t->lru.lru_next->lru_prev = i;
	t->lru.lru_next = i;
	t->open_dirs++;
}

int inode_table_init(struct inode_table *t, const struct store *s)
{
	memset(t, 0, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
	for (size_t n = 0; n < INODE_STRIPES; n++)
		pthread_mutex_init(&t->stripes[n], NULL);
	t->lru.lru_next = t->lru.lru_prev = &t->lru;
	t->store = s;
	t->bucket_count = BUCKETS_AT_START;
	t->stamp = 1;
	t->buckets = calloc(t->bucket_count, sizeof(*t->buckets));
	t->root = calloc(1, sizeof(*t->root));
	struct stat st;
	int r = t->buckets && t->root ? dir_open_root(s, &t->root->dir) : -ENOMEM;
	if (r == 0)
		r = s->lower->ops->fstat(s->lower, t->root->dir->fd, &st);
	if (r < 0) {
		if (t->root && t->root->dir)
			dir_put(t->root->dir);
		free(t->root);
		free(t->buckets);
		t->root = NULL;
		t->buckets = NULL;
		return r;
	}
	t->root->ino = st.st_ino;
	t->root->type = S_IFDIR;
	t->root->refs = 1;
	t->root->lookups = 1;
	t->root->hashed = true;
	t->root->hash_next = t->buckets[bucket_of(t, st.st_ino)];
	t->buckets[bucket_of(t, st.st_ino)] = t->root;
	t->count = 1;
	return 0;
}

static void free_names(struct inode *i)
{
	while (i->names) {
		struct inode_name *n = i->names;
		i->names = n->next;
		free(n);
	}
}

static void free_inode(struct inode *i)
{
	if (i->dir)
		dir_put(i->dir);
	free_names(i);
	free(i);
}

static void free_left(struct inode *i)
{
	if (i->file)
		file_put(i->file);
	free_inode(i);
}

void inode_table_done(struct inode_table *t)
{
	while (t->detached) {
		struct inode *i = t->detached;
		t->detached = i->detached_next;
		free_left(i);
	}
	for (size_t b = 0; t->buckets && b < t->bucket_count; b++)
		while (t->buckets[b]) {
			struct inode *i = t->buckets[b];
			t->buckets[b] = i->hash_next;
			free_left(i);
		}
	free(t->buckets);
	t->buckets = NULL;
	t->root = NULL;
	for (size_t n = 0; n < INODE_STRIPES; n++)
		pthread_mutex_destroy(&t->stripes[n]);
	pthread_mutex_destroy(&t->lock);
}

static size_t stripe_of(ino_t ino)
{
	return (size_t)((uint64_t)ino * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

pthread_mutex_t *inode_lock(struct inode_table *t, ino_t ino)
{
	pthread_mutex_t *stripe = &t->stripes[stripe_of(ino)];
	pthread_mutex_lock(stripe);
	return stripe;
}

void inode_lock_two(struct inode_table *t, ino_t a, ino_t b, pthread_mutex_t *ret[2])
{
	size_t x = stripe_of(a), y = stripe_of(b);
	if (x > y) {
		size_t swap = x;
		x = y;
		y = swap;
	}
	ret[0] = &t->stripes[x];
	ret[1] = x == y ? NULL : &t->stripes[y];
	pthread_mutex_lock(ret[0]);
	if (ret[1])
		pthread_mutex_lock(ret[1]);
}

void inode_unlock_two(pthread_mutex_t *held[2])
{
	if (held[1])
		pthread_mutex_unlock(held[1]);
	pthread_mutex_unlock(held[0]);
}

static void grow(struct inode_table *t)
{
	size_t old_count = t->bucket_count;
	struct inode **old = t->buckets, **more = calloc(old_count * 2, sizeof(*more));
	if (!more)
		return; /* longer chains until there is memory again */
	t->buckets = more;
	t->bucket_count = old_count * 2;
	for (size_t b = 0; b < old_count; b++)
		while (old[b]) {
			struct inode *i = old[b];
			old[b] = i->hash_next;
			i->hash_next = t->buckets[bucket_of(t, i->ino)];
			t->buckets[bucket_of(t, i->ino)] = i;
		}
	free(old);
}

static void hash_in(struct inode_table *t, struct inode *i)
{
	if (t->count >= t->bucket_count)
		grow(t);
	i->hash_next = t->buckets[bucket_of(t, i->ino)];
	t->buckets[bucket_of(t, i->ino)] = i;
	i->hashed = true;
	t->count++;
}

static void hash_out(struct inode_table *t, struct inode *i)
{
	struct inode **at = &t->buckets[bucket_of(t, i->ino)];
	if (!i->hashed)
		return;
	while (*at != i)
		at = &(*at)->hash_next;
	*at = i->hash_next;
	i->hash_next = NULL;
	i->hashed = false;
	t->count--;
}

static struct inode *lookup(struct inode_table *t, ino_t ino)
{
	struct inode *i = t->buckets[bucket_of(t, ino)];
	while (i && i->ino != ino)
		i = i->hash_next;
	return i;
}

static bool unused(const struct inode_table *t, const struct inode *i)
{
	return i->refs == 0 && i->lookups == 0 && i != t->root;
}

/* Still alive, but no lookup finds it. */
static void detach(struct inode_table *t, struct inode *i)
{
	if (!i->hashed)
		return;
	hash_out(t, i);
	i->detached_prev = NULL;
	i->detached_next = t->detached;
	if (t->detached)
		t->detached->detached_prev = i;
	t->detached = i;
}

/* Out of the table or of the detached ones, to be freed. */
static void take_out(struct inode_table *t, struct inode *i)
{
	if (i->hashed) {
		hash_out(t, i);
		return;
	}
	if (i->detached_prev)
		i->detached_prev->detached_next = i->detached_next;
	else
		t->detached = i->detached_next;
	if (i->detached_next)
		i->detached_next->detached_prev = i->detached_prev;
	t->retired_count -= i->retired;
}

/* Frees i when nobody needs it, and then the parents that only its names kept. Lock held. */
static void release_if_unused(struct inode_table *t, struct inode *i)
{
	struct inode *pending = NULL; /* linked by hash_next: they are in no chain any more */
	if (!unused(t, i))
		return;
	take_out(t, i);
	pending = i;
	while (pending) {
		i = pending;
		pending = i->hash_next;
		while (i->names) {
			struct inode_name *n = i->names;
			struct inode *parent = n->parent;
			i->names = n->next;
			free(n);
			parent->refs--;
			if (unused(t, parent)) {
				take_out(t, parent);
				parent->hash_next = pending;
				pending = parent;
			}
		}
		lru_remove(t, i);
		free_inode(i);
	}
}

static struct inode_name *find_name(
	const struct inode *i, const struct inode *parent, const char *lower)
{
	struct inode_name *n = i->names;
	while (n && (n->parent != parent || strcmp(n->text + n->plain_size, lower) != 0))
		n = n->next;
	return n;
}

static void drop_name(struct inode_table *t, struct inode *i, struct inode_name *gone)
{
	struct inode_name **at = &i->names;
	struct inode *parent = gone->parent;
	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	free(gone);
	i->state_stamp = 0;
	parent->refs--;
	release_if_unused(t, parent);
}

/* False on ENOMEM. Lock held. */
static bool add_name(struct inode_table *t, struct inode *i, struct inode *parent,
	const char *plain, const char *lower)
{
	size_t plain_size = strlen(plain) + 1, lower_size = strlen(lower) + 1;
	struct inode_name *known = find_name(i, parent, lower);
	if (known) {
		known->gone = false;
		return true;
	}
	struct inode_name *n = malloc(sizeof(*n) + plain_size + lower_size);
	if (!n)
		return false;
	n->parent = parent;
	n->gone = false;
	n->plain_size = (uint16_t)plain_size;
	memcpy(n->text, plain, plain_size);
	memcpy(n->text + plain_size, lower, lower_size);
	parent->refs++;
	/* The newest name is the first: it is the one most likely to be there still. */
	n->next = i->names;
	i->names = n;
	i->state_stamp = 0;
	if (n->next && n->next->gone)
		drop_name(t, i, n->next);
	return true;
}

struct inode *inode_found(struct inode_table *t, struct inode *parent, const char *plain,
	const char *lower, ino_t ino, mode_t mode, uint64_t lookups)
{
	pthread_mutex_lock(&t->lock);
	struct inode *i = lookup(t, ino);
	if (i && i->type != (mode & S_IFMT)) {
		/* The number was used again behind our back: the old inode is not found any more.
		 */
		detach(t, i);
		i = NULL;
	}
	bool fresh = !i;
	if (fresh)
		i = calloc(1, sizeof(*i));
	if (i && fresh) {
		i->ino = ino;
		i->type = mode & S_IFMT;
		hash_in(t, i);
	}
	if (i && i != t->root) {
		/* A directory has one name: an older one was left behind by a rename that we did
		 * not see. */
		while (S_ISDIR(i->type) && i->names && !find_name(i, parent, lower))
			drop_name(t, i, i->names);
		if (!add_name(t, i, parent, plain, lower)) {
			release_if_unused(t, i);
			i = NULL;
		}
	}
	if (i) {
		i->lookups += lookups;
		i->refs++;
	}
	pthread_mutex_unlock(&t->lock);
	return i;
}

struct inode *inode_find(struct inode_table *t, ino_t ino)
{
	pthread_mutex_lock(&t->lock);
	struct inode *i = lookup(t, ino);
	if (i)
		i->refs++;
	pthread_mutex_unlock(&t->lock);
	return i;
}

void inode_get(struct inode_table *t, struct inode *i)
{
	pthread_mutex_lock(&t->lock);
	i->refs++;
	pthread_mutex_unlock(&t->lock);
}

void inode_put(struct inode_table *t, struct inode *i)
{
	if (!i)
		return;
	pthread_mutex_lock(&t->lock);
	i->refs--;
	release_if_unused(t, i);
	pthread_mutex_unlock(&t->lock);
}

void inode_forget(struct inode_table *t, struct inode *i, uint64_t lookups)
{
	pthread_mutex_lock(&t->lock);
	i->lookups -= lookups < i->lookups ? lookups : i->lookups;
	release_if_unused(t, i);
	pthread_mutex_unlock(&t->lock);
}

void inode_name_removed(
	struct inode_table *t, struct inode *i, struct inode *parent, const char *lower, bool last)
{
	pthread_mutex_lock(&t->lock);
	struct inode_name *n = find_name(i, parent, lower);
	if (n && n == i->names && !n->next)
		n->gone = true;
	else if (n)
		drop_name(t, i, n);
	if (last)
		detach(t, i);
	pthread_mutex_unlock(&t->lock);
}

void inode_renamed(struct inode_table *t, struct inode *i, struct inode *old_parent,
	const char *old_lower, struct inode *new_parent, const char *new_plain,
	const char *new_lower)
{
	pthread_mutex_lock(&t->lock);
	/* Without memory the inode keeps no name; the next lookup gives it one. */
	bool added = add_name(t, i, new_parent, new_plain, new_lower);
	struct inode_name *n = find_name(i, old_parent, old_lower);
	if (n && (!added || i->names != n))
		drop_name(t, i, n);
	if (S_ISDIR(i->type))
		t->stamp++;
	pthread_mutex_unlock(&t->lock);
}

void inode_retire(struct inode_table *t, struct inode *i)
{
	pthread_mutex_lock(&t->lock);
	if (!i->retired) {
		detach(t, i);
		t->retired_count++;
		__atomic_store_n(&i->retired, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&t->lock);
}

int inode_where(
	struct inode_table *t, struct inode *i, struct inode **ret_parent, char ret_lower[256])
{
	int r = -ESTALE;
	pthread_mutex_lock(&t->lock);
	struct inode_name *n = i->names;
	if (n && !n->gone) {
		snprintf(ret_lower, 256, "%s", n->text + n->plain_size);
		n->parent->refs++;
		*ret_parent = n->parent;
		r = 0;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
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
		lru_remove(t, oldest);
		dir_put(oldest->dir);
		oldest->dir = NULL;
	}
}

/* The open directory if there is one, with a reference. */
static struct dir *cached_dir(struct inode_table *t, struct inode *i)
{
	pthread_mutex_lock(&t->lock);
	struct dir *d = i->dir ? dir_get(i->dir) : NULL;
	if (d && i != t->root && i->names)
		lru_front(t, i);
	pthread_mutex_unlock(&t->lock);
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
	pthread_mutex_lock(&t->lock);
	if (i->dir) {
		dir_put(d); /* somebody was faster: one object for a directory, since its lock is in
			       it */
	} else {
		i->dir = d;
		lru_front(t, i);
		lru_trim(t);
	}
	*ret = dir_get(i->dir);
	pthread_mutex_unlock(&t->lock);
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

/* Takes references from bucket *at on, behind the first *skip of its chain, and moves both on. */
static size_t take_some(
	struct inode_table *t, size_t *at, size_t *skip, struct inode **ret, size_t room)
{
	size_t count = 0;
	pthread_mutex_lock(&t->lock);
	for (; *at < t->bucket_count && count < room; *skip = 0, ++*at) {
		struct inode *i = t->buckets[*at];
		for (size_t k = 0; i && k < *skip; k++)
			i = i->hash_next;
		for (; i && count < room; i = i->hash_next, ++*skip) {
			i->refs++;
			ret[count++] = i;
		}
		if (i)
			break;
	}
	pthread_mutex_unlock(&t->lock);
	return count;
}

/* Needs no memory: rights are taken away by it. A table that grows meanwhile moves an inode further
 * on only. */
void inode_each(struct inode_table *t, void (*visit)(void *context, struct inode *i), void *context)
{
	struct inode *some[256];
	size_t at = 0, skip = 0, count;
	while ((count = take_some(t, &at, &skip, some, sizeof(some) / sizeof(some[0]))) > 0)
		for (size_t k = 0; k < count; k++) {
			visit(context, some[k]);
			inode_put(t, some[k]);
		}
}
