/*
 * The random numbers of the simulator: splitmix64 (Steele, Lea, Flood 2014), which is its seed plus
 * a constant at each step, mixed. One 64-bit seed decides everything that a run chooses.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random {
	uint64_t state; /* the seed at first */
};

static inline uint64_t sim_random_next(struct sim_random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* 0 .. n-1; n > 0. */
static inline uint64_t sim_random_below(struct sim_random *r, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)sim_random_next(r) * n) >> 64);
}

/* True in n of 1024 cases. */
static inline bool sim_random_chance(struct sim_random *r, unsigned n)
{
	return (sim_random_next(r) >> 54) < n;
}

#endif
