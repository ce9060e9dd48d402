/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Schemes side by side in one run: each setting is measured for every scheme in turn, round after
 * round, so that what disturbs one disturbs all.
 */

#ifndef BENCH_INV_SIDE_H
#define BENCH_INV_SIDE_H

#include "bench/inv_run.h"

#define INV_SIDE_MAX 160

/* One setting under one scheme (NULL: the bare round trip); a histogram over all rounds. */
struct inv_side {
	struct inv_setup sd_setup;
	struct inv_result sd_sum;
	unsigned int sd_rounds;
};

/*
 * All that a machine of so many processors can run: by CPUs in the guest, by share of time there,
 * by pages of a gather, by initiators; both kinds of kick. How many.
 */
unsigned int inv_sides(struct inv_side sides[INV_SIDE_MAX], unsigned int processors,
		       enum pt_type type, bool emulate_ad);

/* One more round of one. 0 or a negative errno. */
int inv_side_round(struct crew *c, struct inv_side *side);

const char *inv_side_scheme(const struct inv_side *side);

#endif /* BENCH_INV_SIDE_H */
