/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * POS: each actor's next step has a priority, drawn when it became the next one, and the highest
 * that can be made is. Steps that race with it (the same word, and one of the two writes) draw
 * again: so each order of racing steps is as likely as the other, however many steps that race with
 * nothing lie between.
 */

#include <string.h>

#include "sim/machine/policy.h"

static bool
writes(enum sim_access kind)
{
	return kind != SIM_LOAD && kind != SIM_LOAD_ACQUIRE;
}

static bool
race(const struct sim_offer *a, const struct sim_offer *b)
{
	return a->of_id != 0 && a->of_id == b->of_id && (writes(a->of_kind) || writes(b->of_kind));
}

static int64_t
priority(struct policy *po, int actor)
{
	if (po->po_priority[actor] == 0) {
		po->po_priority[actor] = (int64_t)(policy_draw(po) >> 1 | 1);
		po->po_seen[actor / 32] |= (uint32_t)1 << actor % 32;
	}
	return po->po_priority[actor];
}

static uint32_t
pick(void *arg, const struct sim_offer *offers, uint32_t n)
{
	struct policy *const po = arg;
	struct policy_look lo;
	const uint32_t noise = policy_look(po, offers, n, &lo);
	uint32_t best = n;
	int64_t best_priority = 0;

	if (noise < n)
		return noise;
	po->po_picks++;
	for (uint32_t i = 0; i < n; i++) {
		if (lo.lo_actors[i] < 0)
			continue;
		const int64_t p = priority(po, lo.lo_actors[i]);
		const bool better = best == n || (offers[i].of_spins != offers[best].of_spins
							  ? offers[best].of_spins
							  : p > best_priority);
		if (better) {
			best = i;
			best_priority = p;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		if (lo.lo_actors[i] >= 0 && (i == best || race(&offers[i], &offers[best])))
			po->po_priority[lo.lo_actors[i]] = 0;
	}
	return policy_one_of(po, &lo, best);
}

void
policy_pos(struct policy *po, uint64_t seed)
{
	static const struct sim_policy_ops ops = {.po_pick = pick};

	memset(po, 0, sizeof(*po));
	po->po_random = seed;
	sim_set_policy(&ops, po);
}
