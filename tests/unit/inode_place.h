/* A table of inodes over a store of its own, as a cmocka fixture. */
#ifndef UNIT_INODE_PLACE_H
#define UNIT_INODE_PLACE_H

#include "fs/front/inode.h"
#include "tests/unit/store_place.h"

#include <stdlib.h>

struct table_place {
	void *store; /* struct store_place */
	struct inode_table t;
};

static inline int setup(void **state)
{
	struct table_place *p = calloc(1, sizeof(*p));
	if (!p || store_place_make(&p->store) < 0)
		return -1;
	struct store_place *s = p->store;
	if (inode_table_init(&p->t, &s->store) < 0)
		return -1;
	*state = p;
	return 0;
}

static inline int teardown(void **state)
{
	struct table_place *p = *state;
	inode_table_done(&p->t);
	store_place_remove(&p->store);
	free(p);
	return 0;
}

#endif
