/*
 * What the code under test takes for the kernel's random numbers, libsodium's included: one seed,
 * one history, ids and nonces and names in the trash as well.
 */
#include "tests/sim/sim_entropy.h"

#include "tests/sim/sim_random.h"

#include <string.h>
#include <sys/random.h>

static _Thread_local struct sim_random entropy;

void sim_entropy_seed(uint64_t seed)
{
	entropy.state = seed;
}

/* In the place of the C library's. */
ssize_t getrandom(void *bytes, size_t len, unsigned flags)
{
	uint8_t *to = bytes;
	(void)flags;
	for (size_t at = 0; at < len; at += 8) {
		uint64_t x = sim_random_next(&entropy);
		memcpy(to + at, &x, len - at < 8 ? len - at : 8);
	}
	return (ssize_t)len;
}
