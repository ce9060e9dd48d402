/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Makes a run that violates an invariant as small as it can, so that a person can follow it: fewest
 * operations, then fewest preemptions, then fewest switches and steps of agents, then the dullest
 * answers; the same check and the same invariant all the way.
 */

#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include <signal.h>
#include <time.h>

#include "sim/cli/options.h"
#include "sim/replay/plan.h"

struct shrink_size {
	struct plan_size sz_plan;
	uint64_t sz_accesses; /* by guests and threads */
	uint64_t sz_steps;
	uint64_t sz_decisions;
};

/* Lines of the told story: operations, accesses, switches, steps of agents. */
uint64_t shrink_events(const struct shrink_size *size);

struct shrink {
	struct sim_options sh_options; /* of the run; its choices are the plan's */
	const struct trace *sh_trace;
	double sh_seconds;			 /* budget */
	const volatile sig_atomic_t *sh_stopped; /* not 0: enough */

	/* Called when something smaller was found, and now and then; or NULL. */
	void (*sh_tell)(void *arg, const struct shrink *sh);
	void *sh_arg;

	/* Results. */
	struct plan sh_plan;	    /* of the smallest */
	struct sim_outcome sh_best; /* its choices are the plan's */
	struct shrink_size sh_before;
	struct shrink_size sh_size;
	uint64_t sh_tried;
	uint64_t sh_kept;
	bool sh_through; /* there was time for everything */
	struct timespec sh_start;
	double sh_took;
};

/*
 * Runs o, by its choices or its seed, which must violate something; then shrinks. 0; -ENOENT if the
 * run does not violate anything, or cannot be followed as a plan; another negative errno with a
 * sentence in sh_best.message. shrink_end() in any case.
 */
int shrink_run(struct shrink *sh);
int shrink_begin(struct shrink *sh); /* takes it apart only */
void shrink_end(struct shrink *sh);

/* Whether time is up; notes how much it was. */
bool shrink_is_over(struct shrink *sh);

/* The same violation: check and invariant, or the sentence where there is no invariant. */
bool shrink_is_same(const struct sim_outcome *a, const struct sim_outcome *b);

/*
 * The smallest run, strictly by its list of choices, recorded into *out (choices to be freed).
 * 0 if it is the same step by step, -EILSEQ if it is not.
 */
int shrink_verify(const struct shrink *sh, struct sim_outcome *out);

/* The options under which the smallest run is repeated. */
void shrink_options(const struct shrink *sh, struct sim_options *o);

#endif /* SIM_SHRINK_H */
