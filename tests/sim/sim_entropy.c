/*
 * What the code under test takes for the kernel's random numbers, libsodium's included, and for
 * its clocks: one seed, one history, ids and nonces and names in the trash as well.
 */
#include "tests/sim/sim_entropy.h"

#include "tests/sim/sim_random.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#define SOME_DAY 1700000000
#define SECOND 1000000000

static _Thread_local struct sim_random entropy;
static _Thread_local const int64_t *clock_ns;

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

void sim_entropy_clock(const int64_t *ns)
{
	clock_ns = ns;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	(void)clock;
	*ret = clock_ns ? (struct timespec){*clock_ns / SECOND, *clock_ns % SECOND}
			: (struct timespec){.tv_sec = SOME_DAY};
	return 0;
}
