/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What both policies need: who an actor is, and what happens by chance. */

#include "sim/machine/policy.h"

#include <stdio.h>
#include <string.h>

#include "sim/machine/machine_priv.h"
#include "sim/cli/number.h"

/* Odds of something happening by chance, against an actor's step: its weight to this. */
#define ACTORS_WEIGHT 64

bool
sim_scheduler_parse(const char *text, enum sim_scheduler *s, unsigned int *depth)
{
	uint64_t d = 0;

	if (strcmp(text, "random") == 0)
		*s = SIM_SCHEDULER_RANDOM;
	else if (strcmp(text, "pos") == 0)
		*s = SIM_SCHEDULER_POS;
	else if (strncmp(text, "pct:", 4) == 0 && sim_number(text + 4, &d) && d >= 1 &&
		 d <= POLICY_DEPTH_MAX)
		*s = SIM_SCHEDULER_PCT;
	else
		return false;
	*depth = (unsigned int)d;
	return true;
}

void
sim_scheduler_print(enum sim_scheduler s, unsigned int depth, char *text, size_t bytes)
{
	if (s == SIM_SCHEDULER_PCT)
		snprintf(text, bytes, "pct:%u", depth);
	else
		snprintf(text, bytes, "%s", s == SIM_SCHEDULER_POS ? "pos" : "random");
}

/* splitmix64 (Steele, Lea, Flood, 2014). */
uint64_t
policy_draw(struct policy *po)
{
	uint64_t z = po->po_random += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* The which-th bit that is set. */
static unsigned int
nth_bit(uint32_t mask, unsigned int which)
{
	while (which-- > 0)
		mask &= mask - 1;
	return mask != 0 ? (unsigned int)__builtin_ctz(mask) : 0;
}

static int
actor_of(const struct sim_machine *m, const struct sim_offer *of)
{
	if (!of->of_agent)
		return of->of_index;
	const struct sim_agent_ops *const ops = m->m_agents[of->of_index].ag_ops;
	if (!ops->ag_helps)
		return -1;
	if (ops == &m->m_drain_ops)
		return 32 + (int)nth_bit(m->m_buffered, of->of_which);
	if (ops == &m->m_kick_ops)
		return 64 + (int)nth_bit(m->m_kicked, of->of_which);
	return 96 + of->of_index;
}

/* One of the steps of an agent by its odds: r is below the weights of all agents together. */
static uint32_t
by_chance(struct policy *po, const struct policy_look *lo, uint64_t r)
{
	for (uint32_t i = 0; i < lo->lo_n; i++) {
		const struct sim_offer *const of = &lo->lo_offers[i];
		uint32_t steps = 1;

		if (lo->lo_actors[i] >= 0 || of->of_which != 0)
			continue;
		if (r >= of->of_weight) {
			r -= of->of_weight;
			continue;
		}
		while (i + steps < lo->lo_n && of[steps].of_agent &&
		       of[steps].of_index == of->of_index)
			steps++;
		return i + (steps > 1 ? (uint32_t)(policy_draw(po) % steps) : 0);
	}
	return lo->lo_n;
}

uint32_t
policy_look(struct policy *po, const struct sim_offer *offers, uint32_t n, struct policy_look *lo)
{
	const struct sim_machine *const m = sim_the_machine;
	uint32_t total = 0;
	bool actors = false;

	lo->lo_offers = offers;
	lo->lo_n = n;
	for (uint32_t i = 0; i < n; i++) {
		lo->lo_actors[i] = (int8_t)actor_of(m, &offers[i]);
		if (lo->lo_actors[i] >= 0)
			actors = true;
		else if (offers[i].of_which == 0) /* an agent's weight is that of all its steps */
			total += offers[i].of_weight;
	}
	if (total == 0)
		return n;
	const uint64_t r = policy_draw(po) % (total + (actors ? ACTORS_WEIGHT : 0));
	return r < total ? by_chance(po, lo, r) : n;
}

uint32_t
policy_one_of(struct policy *po, const struct policy_look *lo, uint32_t k)
{
	const int actor = lo->lo_actors[k];
	uint32_t same = 0;

	if (actor < 96)
		return k;
	for (uint32_t i = 0; i < lo->lo_n; i++)
		same += lo->lo_actors[i] == actor;
	uint64_t r = policy_draw(po) % same;
	for (uint32_t i = 0; i < lo->lo_n; i++) {
		if (lo->lo_actors[i] == actor && r-- == 0)
			return i;
	}
	return k;
}

unsigned int
policy_actors(const struct policy *po)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < POLICY_ACTORS / 32; i++)
		n += (unsigned int)__builtin_popcount(po->po_seen[i]);
	return n;
}

double
policy_pct_miss(unsigned int n, uint64_t k, unsigned int d, uint64_t schedules)
{
	double hit = 1.0 / (n > 0 ? n : 1);
	double miss = 1;

	for (unsigned int i = 1; i < d; i++)
		hit /= (double)(k > 0 ? k : 1);
	for (double power = 1 - hit; schedules > 0; schedules >>= 1, power *= power)
		miss *= schedules % 2 != 0 ? power : 1;
	return miss;
}
