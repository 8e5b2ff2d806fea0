/* inode.h: what the names of an inode say: policy states, paths. */
#include "fs/front/inode.h"

#include <stdio.h>
#include <string.h>

/* The state of i's first name, cached while neither policy nor directory names change. Lock held.
 */
static policy_state state_of(
	struct inode_table *t, struct inode *i, struct policy *p, uint64_t generation)
{
	struct inode *chain[PATH_MAX / 2];
	size_t depth = 0;
	policy_state s = policy_root(p);
	while (i != t->root && i->names && depth < PATH_MAX / 2) {
		if (i->state_stamp == t->stamp && i->state_generation == generation) {
			s = i->state;
			break;
		}
		chain[depth++] = i;
		i = i->names->parent;
	}
	while (depth > 0) {
		struct inode *at = chain[--depth];
		s = policy_step(p, s, at->names->text);
		at->state = s;
		at->state_generation = generation;
		/* The state that denies everything, where memory was short, is asked for again. */
		at->state_stamp = s ? t->stamp : 0;
	}
	return s;
}

size_t inode_name_states(struct inode_table *t, const struct inode *node, const char *child,
	struct policy *p, uint64_t generation, policy_state *ret, size_t max)
{
	struct inode *i = (struct inode *)(uintptr_t)node; /* only its cache changes */
	size_t n = 0;
	lock_take(&t->lock);
	if (i == t->root) {
		ret[n++] = policy_root(p);
	} else if (i->names && !i->names->next) {
		ret[n++] = state_of(t, i, p, generation);
	} else {
		for (struct inode_name *name = i->names; name && n < max; name = name->next)
			ret[n++] = policy_step(
				p, state_of(t, name->parent, p, generation), name->text);
	}
	if (child)
		for (size_t k = 0; k < n; k++)
			ret[k] = policy_step(p, ret[k], child);
	lock_drop(&t->lock);
	return n;
}

bool inode_name_place(struct inode_table *t, const struct inode *node, const char *child,
	struct policy *p, uint64_t generation, policy_state *ret_dir, policy_state *ret)
{
	struct inode *i = (struct inode *)(uintptr_t)node; /* only its cache changes */
	lock_take(&t->lock);
	const struct inode_name *n = i->names;
	bool one = i == t->root ? child != NULL : n && !n->next && (!n->gone || !i->hashed);
	if (one && child) {
		*ret_dir = i == t->root ? policy_root(p) : state_of(t, i, p, generation);
		*ret = policy_step(p, *ret_dir, child);
	} else if (one) {
		*ret_dir = n->parent == t->root ? policy_root(p)
						: state_of(t, n->parent, p, generation);
		*ret = state_of(t, i, p, generation);
	}
	lock_drop(&t->lock);
	return one;
}

/* Puts text in front of *at, which moves down towards start; what does not fit is left out. */
static void prepend(char *start, char **at, const char *text)
{
	size_t len = strlen(text);
	if ((size_t)(*at - start) < len + 1)
		return;
	*at -= len;
	memcpy(*at, text, len);
	*--*at = '/';
}

void inode_name_path(
	struct inode_table *t, const struct inode *i, const char *child, char *ret, size_t size)
{
	char *at = ret + size - 1;
	*at = 0;
	if (child)
		prepend(ret, &at, child);
	lock_take(&t->lock);
	bool removed = i != t->root && !i->names;
	for (; i != t->root && i->names; i = i->names->parent)
		prepend(ret, &at, i->names->text);
	lock_drop(&t->lock);
	if (removed)
		prepend(ret, &at, "(removed)");
	if (!*at)
		*--at = '/';
	memmove(ret, at, (size_t)(ret + size - at));
}

struct inode *inode_name_at(struct inode_table *t, const struct inode *i, unsigned k,
	char ret_plain[NAME_PLAIN_MAX + 1])
{
	struct inode *parent = NULL;
	lock_take(&t->lock);
	struct inode_name *n = i->names;
	while (n && k-- > 0)
		n = n->next;
	if (n) {
		snprintf(ret_plain, NAME_PLAIN_MAX + 1, "%s", n->text);
		parent = n->parent;
		parent->refs++;
	}
	lock_drop(&t->lock);
	return parent;
}
