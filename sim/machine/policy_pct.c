/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * PCT: each actor has a priority, drawn once, and the highest that can step does. At depth - 1
 * places of the run, drawn beforehand, the priority of whoever is about to step falls below all
 * that were drawn, to a level of that place's own. A bug that needs `depth` ordered pairs of steps
 * is then found with a probability of 1 / (n k^(depth - 1)) at least.
 *
 * A CPU that spins, if there is nobody else, falls below everybody: or two that wait for a third
 * would go on forever.
 */

#include <string.h>

#include "sim/machine/policy.h"

static int64_t
priority(struct policy *po, int actor)
{
	if (po->po_priority[actor] == 0) {
		/* Above those of places, and of those who spin. */
		po->po_priority[actor] = (int64_t)(policy_draw(po) >> 2 | (uint64_t)1 << 32);
		po->po_seen[actor / 32] |= (uint32_t)1 << actor % 32;
	}
	return po->po_priority[actor];
}

/* The offer of the actor with the highest priority; who spins comes after all others. */
static uint32_t
highest(struct policy *po, const struct policy_look *lo)
{
	uint32_t best = lo->lo_n;
	int64_t best_priority = 0;

	for (uint32_t i = 0; i < lo->lo_n; i++) {
		if (lo->lo_actors[i] < 0)
			continue;
		const int64_t p = priority(po, lo->lo_actors[i]);
		const bool better = best == lo->lo_n ||
				    (lo->lo_offers[i].of_spins != lo->lo_offers[best].of_spins
					     ? lo->lo_offers[best].of_spins
					     : p > best_priority);
		if (better) {
			best = i;
			best_priority = p;
		}
	}
	return best;
}

static uint32_t
pick(void *arg, const struct sim_offer *offers, uint32_t n)
{
	struct policy *const po = arg;
	struct policy_look lo;
	const uint32_t noise = policy_look(po, offers, n, &lo);

	if (noise < n)
		return noise;
	po->po_picks++;
	uint32_t best = highest(po, &lo);
	while (po->po_next < po->po_nchanges && po->po_changes[po->po_next] <= po->po_picks) {
		po->po_priority[lo.lo_actors[best]] = po->po_levels[po->po_next++];
		best = highest(po, &lo);
	}
	if (offers[best].of_spins)
		po->po_priority[lo.lo_actors[best]] = --po->po_lowest;
	return policy_one_of(po, &lo, best);
}

void
policy_pct(struct policy *po, uint64_t seed, unsigned int depth, uint64_t steps)
{
	static const struct sim_policy_ops ops = {.po_pick = pick};

	memset(po, 0, sizeof(*po));
	po->po_random = seed;
	po->po_nchanges = depth - 1;
	for (unsigned int i = 0; i < po->po_nchanges; i++) {
		const uint64_t at = 1 + policy_draw(po) % (steps > 0 ? steps : 1);
		unsigned int k = i;

		for (; k > 0 && po->po_changes[k - 1] > at; k--) {
			po->po_changes[k] = po->po_changes[k - 1];
			po->po_levels[k] = po->po_levels[k - 1];
		}
		po->po_changes[k] = at;
		po->po_levels[k] = (int64_t)i + 1;
	}
	sim_set_policy(&ops, po);
}
