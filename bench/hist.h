/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Histograms of latencies, log-linear as HdrHistogram's: 32 buckets for each doubling, so that a
 * value is known to 3 % over the whole range, in 10 KiB and without an allocation.
 */

#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB_LG2 5
#define HIST_SUB (1u << HIST_SUB_LG2)
#define HIST_DOUBLINGS 40 /* to about half an hour, in nanoseconds */
#define HIST_BUCKETS (HIST_SUB * (HIST_DOUBLINGS + 1))

struct hist {
	uint64_t hi_count;
	uint64_t hi_sum;
	uint64_t hi_min;
	uint64_t hi_max;
	uint32_t hi_bucket[HIST_BUCKETS];
};

/* The bucket of a value, and the values of a bucket: [low, low of the next). */
unsigned int hist_index(uint64_t value);
uint64_t hist_low(unsigned int bucket);

void hist_add(struct hist *h, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);

/*
 * The value below or at which permille of a thousand lie: exact at both ends, else the middle of
 * its bucket. 0 if nothing was counted.
 */
uint64_t hist_at(const struct hist *h, unsigned int permille);

#endif /* BENCH_HIST_H */
