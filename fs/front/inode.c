#include "fs/front/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define BUCKETS_AT_START 1024
#define SHRINK_AT 8 /* buckets an inode, at which the table is halved */

static size_t bucket_of(const struct inode_table *t, ino_t ino)
{
	/* Fibonacci hashing: lower inode numbers come in runs. */
	return (size_t)((uint64_t)ino * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (t->bucket_count - 1);
}

static struct inode **new_buckets(size_t count)
{
	return pool_pages_new(count * sizeof(struct inode *));
}

static void free_buckets(struct inode **buckets, size_t count)
{
	pool_pages_free(buckets, count * sizeof(struct inode *));
}

static struct inode *new_inode(struct inode_table *t)
{
	struct inode *i = pool_new(&t->pool, sizeof(*i));
	if (i)
		memset(i, 0, sizeof(*i));
	return i;
}

static size_t size_of_name(size_t plain_size, size_t lower_size)
{
	return offsetof(struct inode_name, text) + plain_size + lower_size;
}

static void free_name(struct inode_table *t, struct inode_name *n)
{
	pool_free(&t->pool, n, size_of_name(n->plain_size, strlen(n->text + n->plain_size) + 1));
}

int inode_table_init(struct inode_table *t, const struct store *s)
{
	memset(t, 0, sizeof(*t));
	lock_init(&t->lock, LOCK_INODES);
	for (size_t n = 0; n < INODE_STRIPES; n++)
		lock_init(&t->stripes[n], LOCK_STRIPE);
	t->lru.lru_next = t->lru.lru_prev = &t->lru;
	t->store = s;
	t->bucket_count = BUCKETS_AT_START;
	t->stamp = 1;
	t->buckets = new_buckets(t->bucket_count);
	t->root = new_inode(t);
	struct stat st;
	int r = t->buckets && t->root ? dir_open_root(s, &t->root->dir) : -ENOMEM;
	if (r == 0)
		r = s->lower->ops->fstat(s->lower, t->root->dir->fd, &st);
	if (r < 0) {
		if (t->root && t->root->dir)
			dir_put(t->root->dir);
		pool_free(&t->pool, t->root, sizeof(*t->root));
		pool_done(&t->pool);
		free_buckets(t->buckets, t->bucket_count);
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

static void free_names(struct inode_table *t, struct inode *i)
{
	while (i->names) {
		struct inode_name *n = i->names;
		i->names = n->next;
		free_name(t, n);
	}
}

static void free_inode(struct inode_table *t, struct inode *i)
{
	if (S_ISDIR(i->type) && i->dir)
		dir_put(i->dir);
	free_names(t, i);
	inode_gone_free(i->gone);
	pool_free(&t->pool, i, sizeof(*i));
}

static void free_left(struct inode_table *t, struct inode *i)
{
	if (i->kept)
		file_put(i->file);
	if (S_ISREG(i->type) && i->file)
		file_put(i->file);
	free_inode(t, i);
}

void inode_table_done(struct inode_table *t)
{
	while (t->detached) {
		struct inode *i = t->detached;
		t->detached = i->detached_next;
		free_left(t, i);
	}
	for (size_t b = 0; t->buckets && b < t->bucket_count; b++)
		while (t->buckets[b]) {
			struct inode *i = t->buckets[b];
			t->buckets[b] = i->hash_next;
			free_left(t, i);
		}
	free_buckets(t->buckets, t->bucket_count);
	pool_done(&t->pool);
	t->buckets = NULL;
	t->root = NULL;
	for (size_t n = 0; n < INODE_STRIPES; n++)
		lock_done(&t->stripes[n]);
	lock_done(&t->lock);
}

static size_t stripe_of(ino_t ino)
{
	return (size_t)((uint64_t)ino * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

struct lock_mutex *inode_lock(struct inode_table *t, ino_t ino)
{
	struct lock_mutex *stripe = &t->stripes[stripe_of(ino)];
	lock_take(stripe);
	return stripe;
}

void inode_lock_two(struct inode_table *t, ino_t a, ino_t b, struct lock_mutex *ret[2])
{
	size_t x = stripe_of(a), y = stripe_of(b);
	if (x > y) {
		size_t swap = x;
		x = y;
		y = swap;
	}
	ret[0] = &t->stripes[x];
	ret[1] = x == y ? NULL : &t->stripes[y];
	lock_take(ret[0]);
	if (ret[1])
		lock_take(ret[1]);
}

void inode_unlock_two(struct lock_mutex *held[2])
{
	if (held[1])
		lock_drop(held[1]);
	lock_drop(held[0]);
}

/* Without memory it stays as it is: longer chains, or a table too large. */
static void resize(struct inode_table *t, size_t count)
{
	size_t old_count = t->bucket_count;
	struct inode **old = t->buckets, **other = new_buckets(count);
	if (!other)
		return;
	t->buckets = other;
	t->bucket_count = count;
	for (size_t b = 0; b < old_count; b++)
		while (old[b]) {
			struct inode *i = old[b];
			old[b] = i->hash_next;
			i->hash_next = t->buckets[bucket_of(t, i->ino)];
			t->buckets[bucket_of(t, i->ino)] = i;
		}
	free_buckets(old, old_count);
}

static void hash_in(struct inode_table *t, struct inode *i)
{
	if (t->count >= t->bucket_count)
		resize(t, t->bucket_count * 2);
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
	if (t->bucket_count > BUCKETS_AT_START && t->count * SHRINK_AT < t->bucket_count &&
		!t->walks)
		resize(t, t->bucket_count / 2);
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
	i->hash_next = NULL;
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
			free_name(t, n);
			parent->refs--;
			if (unused(t, parent)) {
				take_out(t, parent);
				parent->hash_next = pending;
				pending = parent;
			}
		}
		inode_dir_unlist(t, i);
		free_inode(t, i);
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
	free_name(t, gone);
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
	struct inode_name *n = pool_new(&t->pool, size_of_name(plain_size, lower_size));
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
	lock_take(&t->lock);
	struct inode *i = lookup(t, ino);
	if (i && i->type != (mode & S_IFMT)) {
		/* The number was used again behind our back: the old inode is not found any more.
		 */
		detach(t, i);
		i = NULL;
	}
	bool fresh = !i;
	if (fresh)
		i = new_inode(t);
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
		i->fresh += lookups;
		i->refs++;
	}
	lock_drop(&t->lock);
	return i;
}

struct inode *inode_find(struct inode_table *t, ino_t ino)
{
	lock_take(&t->lock);
	struct inode *i = lookup(t, ino);
	if (i)
		i->refs++;
	lock_drop(&t->lock);
	return i;
}

void inode_get(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	i->refs++;
	lock_drop(&t->lock);
}

void inode_put(struct inode_table *t, struct inode *i)
{
	if (!i)
		return;
	lock_take(&t->lock);
	i->refs--;
	release_if_unused(t, i);
	lock_drop(&t->lock);
}

void inode_forget(struct inode_table *t, struct inode *i, uint64_t lookups)
{
	lock_take(&t->lock);
	i->lookups -= lookups < i->lookups ? lookups : i->lookups;
	release_if_unused(t, i);
	lock_drop(&t->lock);
}

static void retire(struct inode_table *t, struct inode *i)
{
	if (i->retired)
		return;
	detach(t, i);
	t->retired_count++;
	__atomic_store_n(&i->retired, true, __ATOMIC_RELEASE);
}

static void mislead(struct inode_table *t, struct inode *i)
{
	if (!i->retired)
		__atomic_store_n(&i->misled, true, __ATOMIC_RELEASE);
	retire(t, i);
}

bool inode_forgotten(struct inode_table *t, struct inode *i, uint64_t lookups)
{
	lock_take(&t->lock);
	i->lookups -= lookups < i->lookups ? lookups : i->lookups;
	/* Whoever has it open has the kernel's inode: then this was not its end. */
	bool stale = i->lookups > i->fresh && i->hashed && S_ISREG(i->type) && !i->opens;
	if (stale) {
		mislead(t, i);
		i->refs++;
	}
	release_if_unused(t, i);
	lock_drop(&t->lock);
	return stale;
}

bool inode_known(struct inode_table *t, ino_t ino)
{
	lock_take(&t->lock);
	const struct inode *i = lookup(t, ino);
	bool known = i && i->lookups > 0;
	lock_drop(&t->lock);
	return known;
}

bool inode_told(struct inode_table *t, const struct inode *i)
{
	lock_take(&t->lock);
	bool told = i->lookups > 0;
	lock_drop(&t->lock);
	return told;
}

void inode_changed(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	i->fresh = 0;
	lock_drop(&t->lock);
}

bool inode_opens(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	bool good = !i->retired;
	/* A FORGET that is taken for the end of the kernel's inode sees it, or it sees that. */
	i->opens += good;
	lock_drop(&t->lock);
	return good;
}

void inode_closes(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	i->opens--;
	lock_drop(&t->lock);
}

bool inode_found_by_number(struct inode_table *t, const struct inode *i)
{
	lock_take(&t->lock);
	bool found = i->hashed;
	lock_drop(&t->lock);
	return found;
}

void inode_number_reused(struct inode_table *t, ino_t ino)
{
	lock_take(&t->lock);
	struct inode *i = lookup(t, ino);
	if (i && i != t->root)
		detach(t, i);
	lock_drop(&t->lock);
}

void inode_name_removed(
	struct inode_table *t, struct inode *i, struct inode *parent, const char *lower, bool last)
{
	lock_take(&t->lock);
	struct inode_name *n = find_name(i, parent, lower);
	if (n && n == i->names && !n->next)
		n->gone = true;
	else if (n)
		drop_name(t, i, n);
	if (last)
		detach(t, i);
	/* Somebody may be in it: it stays open, since it cannot be opened again. */
	if (last)
		inode_dir_unlist(t, i);
	lock_drop(&t->lock);
}

void inode_renamed(struct inode_table *t, struct inode *i, struct inode *old_parent,
	const char *old_lower, struct inode *new_parent, const char *new_plain,
	const char *new_lower)
{
	lock_take(&t->lock);
	/* Without memory the inode keeps no name; the next lookup gives it one. */
	bool added = add_name(t, i, new_parent, new_plain, new_lower);
	struct inode_name *n = find_name(i, old_parent, old_lower);
	if (n && (!added || i->names != n))
		drop_name(t, i, n);
	if (S_ISDIR(i->type))
		t->stamp++;
	lock_drop(&t->lock);
}

void inode_retire(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	retire(t, i);
	lock_drop(&t->lock);
}

void inode_mislead(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	mislead(t, i);
	lock_drop(&t->lock);
}

int inode_where(
	struct inode_table *t, struct inode *i, struct inode **ret_parent, char ret_lower[256])
{
	int r = -ESTALE;
	lock_take(&t->lock);
	struct inode_name *n = i->names;
	if (n && !n->gone) {
		snprintf(ret_lower, 256, "%s", n->text + n->plain_size);
		n->parent->refs++;
		*ret_parent = n->parent;
		r = 0;
	}
	lock_drop(&t->lock);
	return r;
}
