/* Random numbers and a clock that can be told again, in the place of the kernel's. */
#ifndef SIM_ENTROPY_H
#define SIM_ENTROPY_H

#include <stdint.h>

/* From now on, in this thread. */
void sim_entropy_seed(uint64_t seed);
/* From now on, in this thread: every clock shows these ns; NULL: some day. */
void sim_entropy_clock(const int64_t *ns);

#endif
