/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Random numbers for tests: the same from the same seed, on every machine. splitmix64 (Steele, Lea
 * and Flood, "Fast splittable pseudorandom number generators", 2014): one word of state, any seed
 * will do.
 */

#ifndef TESTS_UNIT_RNG_H
#define TESTS_UNIT_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t r_state;
};

static inline uint64_t
rng_next(struct rng *r)
{
	uint64_t z = r->r_state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* 0 .. n - 1; n > 0. The bias of the remainder does not matter for n this small. */
static inline unsigned int
rng_below(struct rng *r, unsigned int n)
{
	return (unsigned int)(rng_next(r) % n);
}

static inline bool
rng_percent(struct rng *r, unsigned int percent)
{
	return rng_below(r, 100) < percent;
}

#endif /* TESTS_UNIT_RNG_H */
