/* Random numbers that can be told again, in the place of the kernel's. */
#ifndef SIM_ENTROPY_H
#define SIM_ENTROPY_H

#include <stdint.h>

/* From now on, in this thread. */
void sim_entropy_seed(uint64_t seed);

#endif
