/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Limits: the least that memory and CPU charge for what rows do, as bare loops over words.
 * Compiled once per tier with that tier's flags, so each is compared with what it may use itself.
 */

#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <stdint.h>

/* order: which word comes when; NULL: ascending. */
void limit_cas(uint64_t *w, const uint32_t *order, uint64_t n);	 /* from 0 to something */
void limit_xchg(uint64_t *w, const uint32_t *order, uint64_t n); /* to 0 */
void limit_fill(uint64_t *w, uint64_t n, uint64_t first, uint64_t step);
uint64_t limit_scan(const uint64_t *w, uint64_t n, uint64_t mask); /* words that have the bit */
void limit_clear(uint64_t *w, uint64_t n, uint64_t mask);	   /* by plain loads and stores */
void limit_and(uint64_t *w, uint64_t n, uint64_t mask);		   /* by locked operations */
uint64_t limit_loads(const uint64_t *w, const uint32_t *order, uint64_t n);
uint64_t limit_chase(const uint64_t *w, uint64_t from, uint64_t n);
/*
 * Goes down four levels for each page number in order, and looks at nothing on the way: what the
 * four loads cost whose addresses depend on each other. Tables begin at base.
 */
uint64_t limit_walk(const char *base, uint64_t root, const uint32_t *order, uint64_t n);
/* n times clears one of LIMIT_ZEROED pages, which caches hold, and exchanges a word. */
#define LIMIT_ZEROED 64
void limit_zero(uint64_t *pages, uint64_t *w, uint64_t n);

#endif /* BENCH_LIMIT_H */
