/* inode.h: all inodes, one after another, while others come and go. */
#include "fs/front/inode.h"

/* Takes references from bucket *at on and moves it on: whole chains, since one that loses a member
 * meanwhile tells no place in it; *skip is for one that is longer than all the room. */
static size_t take_some(
	struct inode_table *t, size_t *at, size_t *skip, struct inode **ret, size_t room)
{
	size_t count = 0;
	lock_take(&t->lock);
	for (; *at < t->bucket_count && count < room; *skip = 0, ++*at) {
		size_t before = count;
		struct inode *i = t->buckets[*at];
		for (size_t k = 0; i && k < *skip; k++)
			i = i->hash_next;
		for (; i && count < room; i = i->hash_next) {
			i->refs++;
			ret[count++] = i;
		}
		if (i && before == 0)
			*skip += count;
		while (i && before > 0 && count > before)
			ret[--count]->refs--;
		if (i)
			break;
	}
	lock_drop(&t->lock);
	return count;
}

/* Takes references on those that no lookup finds, behind `last`, whose place among them is kept by
 * its reference; NULL: from the first. What is detached from now on is put before the first. */
static size_t take_detached(
	struct inode_table *t, const struct inode *last, struct inode **ret, size_t room)
{
	size_t count = 0;
	lock_take(&t->lock);
	struct inode *i = last ? last->detached_next : t->detached;
	for (; i && count < room; i = i->detached_next) {
		i->refs++;
		ret[count++] = i;
	}
	lock_drop(&t->lock);
	return count;
}

static void walk(struct inode_table *t, bool begins)
{
	lock_take(&t->lock);
	if (begins)
		t->walks++;
	else
		t->walks--;
	lock_drop(&t->lock);
}

/* Needs no memory: rights are taken away by it. A table that grows meanwhile moves an inode further
 * on only; one that shrank would move it back, past us. */
static void each_hashed(
	struct inode_table *t, void (*visit)(void *context, struct inode *i), void *context)
{
	struct inode *some[256];
	size_t at = 0, skip = 0, count;
	walk(t, true);
	while ((count = take_some(t, &at, &skip, some, sizeof(some) / sizeof(some[0]))) > 0)
		for (size_t k = 0; k < count; k++) {
			visit(context, some[k]);
			inode_put(t, some[k]);
		}
	walk(t, false);
}

static void each_detached(
	struct inode_table *t, void (*visit)(void *context, struct inode *i), void *context)
{
	struct inode *some[256], *last = NULL;
	size_t count;
	while ((count = take_detached(t, last, some, sizeof(some) / sizeof(some[0]))) > 0) {
		inode_put(t, last);
		for (size_t k = 0; k < count; k++) {
			visit(context, some[k]);
			if (k + 1 < count)
				inode_put(t, some[k]);
		}
		last = some[count - 1];
	}
	inode_put(t, last);
}

/* In this order: what is detached meanwhile was visited before, or is among the detached. */
void inode_each(struct inode_table *t, void (*visit)(void *context, struct inode *i), void *context)
{
	each_hashed(t, visit, context);
	each_detached(t, visit, context);
}
