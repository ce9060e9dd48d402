/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Two policies that sample schedules better than chance does: PCT (Burckhardt, Kothari, Musuvathi,
 * Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding bugs", 2010) and
 * POS (Yuan, Yang, Gu, "Partial order aware concurrency sampling", 2018).
 *
 * Actors, to them, are CPUs, and of each CPU its store buffer and the interrupts on the way to it;
 * and devices that somebody may wait for. What hardware does without end, unasked (speculation,
 * evictions, DMA, spurious interrupts, signals), happens by chance in between.
 *
 * A CPU whose loop would only look again at what has not changed is asked last.
 */

#ifndef SIM_POLICY_H
#define SIM_POLICY_H

#include "sim/machine/machine.h"

enum sim_scheduler {
	SIM_SCHEDULER_RANDOM,
	SIM_SCHEDULER_PCT,
	SIM_SCHEDULER_POS,
};

/* "random", "pos", "pct:DEPTH"; false if it is none of them. */
bool sim_scheduler_parse(const char *text, enum sim_scheduler *s, unsigned int *depth);

/* The other way round. */
void sim_scheduler_print(enum sim_scheduler s, unsigned int depth, char *text, size_t bytes);

#define POLICY_DEPTH_MAX 16 /* more ordered pairs of steps than anybody has needed for a bug */

/* Actor numbers: CPU, 32 + CPU for its store buffer, 64 + CPU for its interrupts, 96 + agent. */
#define POLICY_ACTORS 128

/* One run's; the caller's memory, until the run is over. */
struct policy {
	uint64_t po_random;
	uint64_t po_picks;		      /* of actors: not of what happens by chance */
	uint32_t po_seen[POLICY_ACTORS / 32]; /* actors that could step at some time */
	int64_t po_priority[POLICY_ACTORS];   /* 0: none yet */

	/* PCT. */
	int64_t po_lowest;		       /* the last one who spun */
	uint64_t po_changes[POLICY_DEPTH_MAX]; /* picks before which a priority falls, in order */
	int64_t po_levels[POLICY_DEPTH_MAX];   /* and to what */
	unsigned int po_nchanges;
	unsigned int po_next;
};

/*
 * Sets the policy of the machine of this process for one run, before sim_machine_run(). PCT: depth
 * is the number of ordered pairs of steps that a bug needs, 1 at least; steps is how many picks the
 * run is expected to make.
 */
void policy_pct(struct policy *po, uint64_t seed, unsigned int depth, uint64_t steps);
void policy_pos(struct policy *po, uint64_t seed);

/* How many actors there were so far. */
unsigned int policy_actors(const struct policy *po);

/*
 * PCT's promise: n actors, k steps, depth d: one schedule finds a bug of that depth with a
 * probability of 1 / (n k^(d - 1)) at least, so this many in a row miss it with what is returned,
 * at most.
 */
double policy_pct_miss(unsigned int n, uint64_t k, unsigned int d, uint64_t schedules);

/* ---- For the two of them ---- */

/* A generator of its own: what a policy draws is no choice, what it picks is. */
uint64_t policy_draw(struct policy *po);

/* Offers with the numbers of their actors; -1: what happens by chance. */
struct policy_look {
	const struct sim_offer *lo_offers;
	uint32_t lo_n;
	int8_t lo_actors[SIM_OFFERS_MAX];
};

/* Fills in *lo. Whether something happens by chance now, and then which offer; n if not. */
uint32_t policy_look(struct policy *po, const struct sim_offer *offers, uint32_t n,
		     struct policy_look *lo);

/* Any of the offers of the actor of offer k: a disk may have several requests to go on with. */
uint32_t policy_one_of(struct policy *po, const struct policy_look *lo, uint32_t k);

#endif /* SIM_POLICY_H */
