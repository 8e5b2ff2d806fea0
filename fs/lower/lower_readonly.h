/*
 * A lower that only reads another one: for programs that promise to change nothing. Every call that
 * would change something is refused with -EROFS and never reaches the other one, whoever makes it.
 */
#ifndef LOWER_LOWER_READONLY_H
#define LOWER_LOWER_READONLY_H

#include "fs/lower/lower.h"

struct lower_readonly {
	struct lower base;   /* give &r.base to whoever is to read */
	struct lower *under; /* borrowed */
};

/*
 * Files that are asked for with O_RDWR are opened for reading; what would have to be made or cut is
 * -EROFS. Nothing to free. Thread-safe as far as `under` is.
 */
void lower_readonly_init(struct lower_readonly *r, struct lower *under);

#endif
