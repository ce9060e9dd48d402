/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Log-linear histograms: the first HIST_SUB buckets hold one value each, then each doubling is cut
 * into HIST_SUB equal parts.
 */

#include "bench/hist.h"

unsigned int
hist_index(uint64_t value)
{
	if (value < HIST_SUB)
		return (unsigned int)value;

	const unsigned int lg2 = 63u - (unsigned int)__builtin_clzll(value);
	const unsigned int index = ((lg2 - HIST_SUB_LG2 + 1) << HIST_SUB_LG2) +
				   ((unsigned int)(value >> (lg2 - HIST_SUB_LG2)) - HIST_SUB);

	return index < HIST_BUCKETS ? index : HIST_BUCKETS - 1;
}

uint64_t
hist_low(unsigned int bucket)
{
	const unsigned int doubling = bucket >> HIST_SUB_LG2;

	if (doubling == 0)
		return bucket;
	return (uint64_t)(HIST_SUB + (bucket & (HIST_SUB - 1))) << (doubling - 1);
}

void
hist_add(struct hist *h, uint64_t value)
{
	if (h->hi_count++ == 0 || value < h->hi_min)
		h->hi_min = value;
	if (value > h->hi_max)
		h->hi_max = value;
	h->hi_sum += value;
	h->hi_bucket[hist_index(value)]++;
}

void
hist_merge(struct hist *into, const struct hist *from)
{
	if (from->hi_count == 0)
		return;
	if (into->hi_count == 0 || from->hi_min < into->hi_min)
		into->hi_min = from->hi_min;
	if (from->hi_max > into->hi_max)
		into->hi_max = from->hi_max;
	into->hi_count += from->hi_count;
	into->hi_sum += from->hi_sum;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		into->hi_bucket[i] += from->hi_bucket[i];
}

uint64_t
hist_at(const struct hist *h, unsigned int permille)
{
	const uint64_t wanted = (h->hi_count * permille + 999) / 1000;
	uint64_t below = 0;

	if (h->hi_count == 0 || permille == 0)
		return h->hi_min;
	if (wanted >= h->hi_count)
		return h->hi_max;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		below += h->hi_bucket[i];
		if (below >= wanted) {
			const uint64_t middle = (hist_low(i) + hist_low(i + 1) - 1) / 2;

			return middle < h->hi_min   ? h->hi_min
			       : middle > h->hi_max ? h->hi_max
						    : middle;
		}
	}
	return h->hi_max;
}
