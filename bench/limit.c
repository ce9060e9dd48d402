/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The loops of limit.h. Vectors are the compiler's, as wide as the tier has them; without any, the
 * loops are unrolled by hand, as kernel code would be.
 */

#include "bench/limit.h"

#include <string.h>

#define LINE 8 /* words */

void
limit_cas(uint64_t *w, const uint32_t *order, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t old = 0;

		__atomic_compare_exchange_n(&w[order ? order[i] : i], &old, i + 1, 0,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
}

void
limit_xchg(uint64_t *w, const uint32_t *order, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		__atomic_exchange_n(&w[order ? order[i] : i], 0, __ATOMIC_SEQ_CST);
}

void
limit_and(uint64_t *w, uint64_t n, uint64_t mask)
{
	for (uint64_t i = 0; i < n; i++)
		__atomic_fetch_and(&w[i], mask, __ATOMIC_SEQ_CST);
}

#ifdef __SSE2__
typedef uint64_t line_t __attribute__((vector_size(64), may_alias));

void
limit_fill(uint64_t *w, uint64_t n, uint64_t first, uint64_t step)
{
	const line_t lanes = {0, 1, 2, 3, 4, 5, 6, 7};
	line_t value = first + lanes * step;

	for (uint64_t i = 0; i < n; i += LINE) {
		*(line_t *)(void *)&w[i] = value;
		value += LINE * step;
	}
}

void
limit_clear(uint64_t *w, uint64_t n, uint64_t mask)
{
	for (uint64_t i = 0; i < n; i += LINE)
		*(line_t *)(void *)&w[i] &= mask;
}
#else
void
limit_fill(uint64_t *w, uint64_t n, uint64_t first, uint64_t step)
{
	for (uint64_t i = 0; i < n; i += 4, first += 4 * step) {
		w[i] = first;
		w[i + 1] = first + step;
		w[i + 2] = first + 2 * step;
		w[i + 3] = first + 3 * step;
	}
}

void
limit_clear(uint64_t *w, uint64_t n, uint64_t mask)
{
	for (uint64_t i = 0; i < n; i += 4) {
		w[i] &= mask;
		w[i + 1] &= mask;
		w[i + 2] &= mask;
		w[i + 3] &= mask;
	}
}
#endif

/* Words with the bit are rare, or all: a branch per line decides. */
uint64_t
limit_scan(const uint64_t *w, uint64_t n, uint64_t mask)
{
	uint64_t found = 0;

	for (uint64_t i = 0; i < n; i += LINE) {
		const uint64_t any = w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] |
				     w[i + 6] | w[i + 7];

		if (any & mask) {
			for (unsigned int k = 0; k < LINE; k++)
				found += (w[i + k] & mask) != 0;
		}
	}
	return found;
}

uint64_t
limit_loads(const uint64_t *w, const uint32_t *order, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += w[order[i]];
	return sum;
}

uint64_t
limit_chase(const uint64_t *w, uint64_t from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		from = w[from];
	return from;
}

#define ENTRY_ADDR 0x000ffffffffff000

uint64_t
limit_walk(const char *base, uint64_t root, const uint32_t *order, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		const uint64_t page = order[i];
		uint64_t entry = root;

		for (int shift = 27; shift >= 0; shift -= 9)
			entry = *(const uint64_t *)(const void *)(base + (entry & ENTRY_ADDR) +
								  (page >> shift & 511) * 8);
		sum += entry;
	}
	return sum;
}

void
limit_zero(uint64_t *pages, uint64_t *w, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t old = 0;

		memset(&pages[i % LIMIT_ZEROED * 512], 0, 4096);
		__atomic_compare_exchange_n(&w[i], &old, i + 1, 0, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	}
}
