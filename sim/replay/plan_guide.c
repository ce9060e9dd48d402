/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Answers a machine's choices from a plan.
 *
 * An answer is looked for near the place that its queue has come to: a changed operation may ask
 * less than the recorded one did, and what it then asks has an answer further on. What has none is
 * answered by 0: no fault, the first of all, go on.
 */

#include <string.h>

#include "sim/machine/machine.h"
#include "sim/replay/plan.h"

#define LOOK_AHEAD 64	/* choices of a queue that may be passed over */
#define ASKED_MAX 20000 /* decisions within one move: then it leads nowhere */
#define SPINS_MAX 8	/* turns that came at once: it is somebody else's */
#define ROUND 64	/* decisions before it is another one's turn, when no move is left */

/* Of what a CPU's program comes to next: the operation after, without those that were dropped. */
static uint32_t
next_operation(const struct plan *pl, unsigned int cpu, uint32_t i)
{
	do {
		i++;
	} while (i < pl->pl_first[cpu + 1] && pl->pl_operations[i].po_dropped);
	return i < pl->pl_first[cpu + 1] ? i : PLAN_NONE;
}

void
plan_guide_init(struct plan_guide *pg, struct plan *pl, bool may_stop)
{
	memset(pg, 0, sizeof(*pg));
	pg->pg_plan = pl;
	pg->pg_may_stop = may_stop;
	pg->pg_agent_move = PLAN_NONE;
	pg->pg_prefix = PLAN_NONE;
	for (unsigned int c = 0; c < pl->pl_cpus; c++) {
		uint32_t rank = 0;

		pg->pg_cpus[c].pc_operation = pl->pl_first[c];
		for (uint32_t i = pl->pl_first[c]; i < pl->pl_first[c + 1]; i++) {
			pl->pl_operations[i].po_rank = rank;
			rank += !pl->pl_operations[i].po_dropped;
		}
	}
}

static uint64_t
random_below(struct plan_guide *pg, uint64_t n)
{
	uint64_t z = pg->pg_random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

/* ---- Answers of queues ---------------------------------------------------------------------- */

/* The i-th of a queue; agents' are not sorted. */
static uint32_t
queued(const struct plan *pl, const struct plan_queue *q, uint32_t i, bool sorted)
{
	return sorted ? pl->pl_order[q->pq_first + i] : q->pq_first + i;
}

static uint32_t
take(const struct plan *pl, const struct plan_queue *q, bool sorted, uint32_t *at,
     enum sim_choice kind, uint32_t n)
{
	for (uint32_t i = *at; i < q->pq_n && i < *at + LOOK_AHEAD; i++) {
		const uint32_t k = queued(pl, q, i, sorted);
		const struct sim_choice_record *c = &pl->pl_choices[k];

		if (pl->pl_choice_state[k] == PLAN_CHOICE_DROPPED || c->cr_kind != (uint32_t)kind ||
		    c->cr_n != n)
			continue;
		*at = i + 1;
		return pl->pl_choice_state[k] == PLAN_CHOICE_ZERO ? 0 : c->cr_value;
	}
	if (*at < q->pq_n) {
		const struct sim_choice_record *c = &pl->pl_choices[queued(pl, q, *at, sorted)];

		/* Among more or fewer than there were: as near as it gets. */
		if (c->cr_kind == (uint32_t)kind && kind == SIM_CHOICE_HW) {
			++*at;
			return c->cr_value % n;
		}
	}
	return 0;
}

static uint32_t
answer_cpu(struct plan_guide *pg, unsigned int cpu, enum sim_choice kind, uint32_t n)
{
	const struct plan *pl = pg->pg_plan;
	struct plan_cpu *pc = &pg->pg_cpus[cpu];
	uint64_t points;
	const uint64_t begun = sim_operations(cpu, &points);
	const bool begins = pc->pc_begun < begun;

	for (; pc->pc_begun < begun; pc->pc_begun++) {
		if (pc->pc_operation != PLAN_NONE)
			pc->pc_operation = next_operation(pl, cpu, pc->pc_operation);
		pc->pc_at = 0;
	}
	if (begins && pg->pg_may_stop && kind == SIM_CHOICE_WORKLOAD && n == 2)
		return pc->pc_operation == PLAN_NONE;
	if (pc->pc_operation == PLAN_NONE)
		return 0;
	return take(pl, &pl->pl_operations[pc->pc_operation].po_choices, true, &pc->pc_at, kind, n);
}

static uint32_t
answer_queue(struct plan_guide *pg, enum sim_choice kind, uint32_t n)
{
	const struct plan *pl = pg->pg_plan;
	const unsigned int actor = sim_actor();

	if (actor == SIM_ACTOR_DRIVER)
		return take(pl, pg->pg_ran ? &pl->pl_tear_down : &pl->pl_set_up, true,
			    &pg->pg_driver_at, kind, n);
	if (actor < pl->pl_cpus)
		return answer_cpu(pg, actor, kind, n);
	if (pg->pg_shuffled)
		return (uint32_t)random_below(pg, n);
	if (pg->pg_agent_move == PLAN_NONE)
		return 0;
	return take(pl, &pl->pl_moves[pg->pg_agent_move].pm_choices, false, &pg->pg_agent_at, kind,
		    n);
}

/* ---- Turns ---------------------------------------------------------------------------------- */

/* Which alternative is that actor; n if it is not offered. */
static uint32_t
alternative(unsigned int actor, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++) {
		if (sim_offered_actor(sim_offered(), sim_actor(), k) == actor)
			return k;
	}
	return n;
}

/* Points that a CPU still has to go, as far as is known; 0: it is there. */
static uint64_t
to_go(const struct plan *pl, const struct plan_move *pm)
{
	const struct plan_operation *ops = pl->pl_operations;
	uint64_t points, left = 0;
	const uint64_t begun = sim_operations(pm->pm_actor, &points);
	uint32_t i = pl->pl_first[pm->pm_actor];

	if (pm->pm_operation == PLAN_NONE)
		return UINT64_MAX;
	/* One that was dropped: up to where it would begin. */
	if (begun + ops[pm->pm_operation].po_dropped > ops[pm->pm_operation].po_rank)
		return 0;
	for (; i < pm->pm_operation; i++) {
		if (ops[i].po_rank >= begun && !ops[i].po_dropped)
			left += ops[i].po_points;
	}
	if (!ops[i].po_dropped)
		left += pm->pm_whole ? ops[i].po_points : pm->pm_points;
	if (left > points)
		return left - points;
	/* It takes longer than it did: go on step by step. */
	return begun < ops[i].po_rank || pm->pm_whole;
}

/* Whether a CPU is just where a move leads. */
static bool
is_at(const struct plan *pl, const struct plan_move *pm)
{
	uint64_t points;

	return sim_operations(pm->pm_actor, &points) ==
		       pl->pl_operations[pm->pm_operation].po_rank &&
	       points == pm->pm_points;
}

static void
next_move(struct plan_guide *pg)
{
	pg->pg_move++;
	pg->pg_asked = 0;
	pg->pg_again = false;
}

static uint32_t
answer_turn(struct plan_guide *pg, uint32_t n)
{
	const struct plan *pl = pg->pg_plan;

	pg->pg_agent_move = PLAN_NONE;
	for (; pg->pg_move < pl->pl_nmoves; next_move(pg)) {
		const struct plan_move *pm = &pl->pl_moves[pg->pg_move];
		const uint32_t k = alternative(
			pm->pm_agent ? SIM_ACTOR_AGENT + pm->pm_actor : pm->pm_actor, n);

		if (pm->pm_dropped || k == n)
			continue;
		if (pm->pm_agent) {
			pg->pg_agent_move = pg->pg_move;
			pg->pg_agent_at = 0;
			next_move(pg);
			return k;
		}
		if (pg->pg_asked++ > ASKED_MAX)
			continue;
		if (to_go(pl, pm) == 0) {
			if (!pm->pm_again || pg->pg_again || !is_at(pl, pm))
				continue;
			pg->pg_again = true;
		}
		return k;
	}
	/* Nothing is planned any more: whoever runs goes on, unless that leads nowhere. */
	if (++pg->pg_round > pg->pg_enough && pg->pg_enough != 0)
		sim_stop("the plan is at its end");
	return pg->pg_round % ROUND != 0 ? 0 : pg->pg_round / ROUND % n;
}

/* For how long: a power of two, no longer than the move. */
static uint32_t
answer_run(const struct plan_guide *pg, uint32_t n)
{
	const struct plan *pl = pg->pg_plan;
	uint64_t left;
	uint32_t run = 0;

	if (pg->pg_move >= pl->pl_nmoves)
		return n - 1;
	left = to_go(pl, &pl->pl_moves[pg->pg_move]);
	while (run + 1 < n && (uint64_t)2 << run <= left)
		run++;
	return run;
}

/* ---- Another order -------------------------------------------------------------------------- */

void
plan_guide_shuffle(struct plan_guide *pg, uint64_t seed, unsigned int switches, uint64_t steps)
{
	pg->pg_shuffled = true;
	pg->pg_random = seed;
	pg->pg_nswitches = switches < PLAN_SWITCHES_MAX ? switches : PLAN_SWITCHES_MAX;
	for (unsigned int i = 0; i < pg->pg_nswitches; i++) {
		uint64_t at = random_below(pg, steps);

		/* Sorted as they come. */
		for (unsigned int k = 0; k < i; k++) {
			if (pg->pg_switches[k] > at) {
				const uint64_t later = pg->pg_switches[k];

				pg->pg_switches[k] = at;
				at = later;
			}
		}
		pg->pg_switches[i] = at;
	}
}

/* Steps up to the next switch. */
static uint64_t
to_switch(const struct plan_guide *pg)
{
	const uint64_t step = sim_step_count();

	if (pg->pg_switched >= pg->pg_nswitches)
		return UINT64_MAX;
	return pg->pg_switches[pg->pg_switched] > step ? pg->pg_switches[pg->pg_switched] - step
						       : 0;
}

static uint32_t
shuffle_turn(struct plan_guide *pg, uint32_t n)
{
	const uint64_t step = sim_step_count();
	const uint32_t ncpus = (uint32_t)__builtin_popcountll(sim_offered() & UINT32_MAX);

	/* A CPU that spins or waits asks at once. */
	pg->pg_early = step - pg->pg_turn < 2 ? pg->pg_early + 1 : 0;
	pg->pg_turn = step;
	if (to_switch(pg) == 0) {
		pg->pg_switched++;
		return (uint32_t)random_below(pg, n);
	}
	if (pg->pg_early > SPINS_MAX) {
		pg->pg_early = 0;
		return (uint32_t)random_below(pg, n);
	}
	if (alternative(sim_actor(), n) == 0)
		return 0;
	return (uint32_t)random_below(pg, ncpus > 0 ? ncpus : n);
}

static uint32_t
shuffle_run(const struct plan_guide *pg, uint32_t n)
{
	const uint64_t left = to_switch(pg);
	uint32_t run = 0;

	while (run + 1 < n && (uint64_t)2 << run <= left)
		run++;
	return run;
}

/* ---- All of them ---------------------------------------------------------------------------- */

static uint32_t
answer(struct plan_guide *pg, enum sim_choice kind, uint32_t n)
{
	if (!pg->pg_ran && sim_actor() != SIM_ACTOR_DRIVER) {
		pg->pg_ran = true;
		pg->pg_driver_at = 0; /* of the tear-down */
	}
	switch (kind) {
	case SIM_CHOICE_ACTOR:
		/* Without offers it is about standing still for long (0), which moves do not. */
		if (sim_offered() == 0)
			return 1;
		return pg->pg_shuffled ? shuffle_turn(pg, n) : answer_turn(pg, n);
	case SIM_CHOICE_RUN:
		return pg->pg_shuffled ? shuffle_run(pg, n) : answer_run(pg, n);
	case SIM_CHOICE_AGENT:
		if (pg->pg_shuffled)
			return (uint32_t)random_below(pg, n);
		return pg->pg_agent_move != PLAN_NONE
			       ? pg->pg_plan->pl_moves[pg->pg_agent_move].pm_which % n
			       : 0;
	default:
		return answer_queue(pg, kind, n);
	}
}

/* The choice as recorded; what its queue says of it is passed over. */
static uint32_t
answer_prefix(struct plan_guide *pg, enum sim_choice kind, uint32_t n)
{
	const struct sim_choice_record *c = &pg->pg_plan->pl_choices[pg->pg_made];

	if (kind != SIM_CHOICE_ACTOR && kind != SIM_CHOICE_RUN && kind != SIM_CHOICE_AGENT)
		answer(pg, kind, n);
	pg->pg_made++;
	return c->cr_kind == (uint32_t)kind && c->cr_n == n ? c->cr_value : SIM_CHOICE_DRAW;
}

/* Behind the prefix: programs do what they did, the rest is chance. */
static uint32_t
answer_rest(struct plan_guide *pg, enum sim_choice kind, uint32_t n)
{
	if (kind == SIM_CHOICE_WORKLOAD)
		return answer(pg, kind, n);
	return SIM_CHOICE_DRAW;
}

uint32_t
plan_choose(void *guide, enum sim_choice kind, uint32_t n)
{
	struct plan_guide *pg = guide;

	if (pg->pg_prefix == PLAN_NONE)
		return answer(pg, kind, n);
	if (pg->pg_made < pg->pg_prefix && pg->pg_made < pg->pg_plan->pl_nchoices)
		return answer_prefix(pg, kind, n);
	return answer_rest(pg, kind, n);
}
