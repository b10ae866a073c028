/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers that are the same everywhere for the same seed: splitmix64. */
#ifndef BUSLOCK_VERIFY_RNG_H
#define BUSLOCK_VERIFY_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static inline uint64_t rng_next(struct rng *rng)
{
	return rng_mix(rng->state += 0x9e3779b97f4a7c15);
}

/* 0 to n-1; n is small: the bias is of no consequence. */
static inline unsigned rng_below(struct rng *rng, unsigned n)
{
	return (unsigned)(rng_next(rng) >> 16) % n;
}

/* True in `percent` of 100 cases. */
static inline bool rng_chance(struct rng *rng, unsigned percent)
{
	return rng_below(rng, 100) < percent;
}

#endif
