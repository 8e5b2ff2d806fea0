/*
 * Mistakes as if the store had made them: a lower that passes its calls on to the disk and does one
 * kind of them wrongly. The campaign must find every one.
 */
#ifndef SIM_MISTAKES_H
#define SIM_MISTAKES_H

#include "tests/unit/fail_lower.h"

struct sim_mistakes {
	struct fail_lower fail; /* passes on what is not done wrongly */
	struct lower_ops ops;
	int trash_fd;  /* descriptor of the trash, -1 */
	int erased_fd; /* last one opened in the trash to be written to, -1 */
	int listed_fd; /* last one opened to list the trash, -1 */
};

/* What is wrong, in words; NULL behind the last one. */
const char *sim_mistakes_name(unsigned index);
/* From now on calls of &m->fail.base go to under with that mistake. */
void sim_mistakes_init(struct sim_mistakes *m, struct lower *under, unsigned index);

#endif
