/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Exhaustive search: every run that a program on the simulated machine can make, within bounds.
 *
 * The search runs the program again and again from the same beginning, each time with other
 * choices, in the order of a depth-first walk. It knows nothing of page tables: its subject is
 * whatever makes a machine run (a scenario, or a toy of a test) with the search as the policy and
 * as the source of choices.
 *
 * A step is what one actor does from one scheduling point to the next, with all choices inside. The
 * actors are the CPUs, and each lane of each agent: the store buffer of a CPU, the interrupts to a
 * CPU, the walker that speculates for a CPU. docs/EXPLORE.md tells which of the runs need not be
 * made, and why that loses none that matters.
 */

#ifndef SIM_EXPLORE_H
#define SIM_EXPLORE_H

#include <stdio.h>

#include "sim/machine/machine.h"

enum explore_reduce {
	EXPLORE_DPOR,  /* dynamic partial-order reduction: source sets, and sleep sets */
	EXPLORE_SLEEP, /* sleep sets alone */
	EXPLORE_NONE,  /* no reduction; what has been seen is not gone into again */
};

#define EXPLORE_UNBOUNDED UINT32_MAX

struct explore_bounds {
	enum explore_reduce eb_reduce;
	uint32_t eb_preemptions;    /* of CPUs that could go on, in one run; or EXPLORE_UNBOUNDED */
	uint64_t eb_max_executions; /* stop there; 0: no limit */
	uint64_t eb_max_states;
	uint64_t eb_max_ms;
	bool eb_keep_going; /* after a violation */
};

enum explore_end {
	EXPLORE_COMPLETE,
	EXPLORE_BUDGET,
	EXPLORE_VIOLATED,
	EXPLORE_STOPPED, /* explore_stop() */
	EXPLORE_FAILED,	 /* the subject did: es_message */
};

struct explore_stats {
	uint64_t es_executions; /* runs, whole or cut short */
	uint64_t es_whole;	/* of these, to their end */
	uint64_t es_cut_sleep;	/* cut short: all that could go on has been seen elsewhere */
	uint64_t es_cut_seen;	/* the same, by EXPLORE_NONE */
	uint64_t es_bounded;	/* CPUs that were not gone on with for the bound on preemptions */
	uint64_t es_states;	/* different beginnings of runs: what happened so far, not in which
				   order where that does not matter */
	uint64_t es_traces;	/* different whole runs: in order, where the order matters */
	uint64_t es_finals;	/* different ends, by what is left behind */
	uint64_t es_finals_sum; /* over them, in no order: equal sets have equal sums */
	uint64_t es_races;
	uint64_t es_violations;
	uint64_t es_steps; /* over all runs */
	uint32_t es_depth; /* steps of the longest run */
	uint64_t es_ms;
	struct sim_report es_report; /* of the first violation */
	char es_message[256];
};

struct explore;

/*
 * The subject's part: one run from the beginning, up to the end of all programs, with
 * explore_policy as the policy and explore_choose as the source of choices. *digest is a value of
 * what the run has left behind, if it passed. Anything but a negative errno; with a sentence in
 * why[], then.
 */
typedef int explore_run_fn(void *arg, struct explore *ex, struct sim_report *report,
			   uint64_t *digest, char *why, size_t why_bytes);

/* At most this many CPUs, the service CPU included, and lanes of an agent. */
#define EXPLORE_CPUS 4

/* NULL: no memory. */
struct explore *explore_create(const struct explore_bounds *bounds);
void explore_destroy(struct explore *ex);

/* Searches; may be called again after a stop or a budget, to go on. */
enum explore_end explore_search(struct explore *ex, explore_run_fn *run, void *arg);

/* After a violation: the next run repeats it, and is not counted. */
void explore_follow(struct explore *ex);

/* Async-signal-safe: the search stops after the run that is under way. */
void explore_stop(struct explore *ex);

void explore_stats(const struct explore *ex, struct explore_stats *stats);

/* Called now and then from within the search, for progress and for saving. */
void explore_set_tick(struct explore *ex, void (*tick)(void *arg), void *arg);

/* Other bounds for going on: budgets only. */
void explore_set_budget(struct explore *ex, const struct explore_bounds *bounds);

/* For the subject: what it gives to sim_set_policy() and to sc_call. */
extern const struct sim_policy_ops explore_policy;
uint32_t explore_choose(void *arg, enum sim_choice kind, uint32_t n);

/* Where programs choose, the search does not: they get this, or the last alternative. */
void explore_set_program_choice(struct explore *ex, uint32_t choice);

/* For the subject, as soon as sim_machine_run() has returned: what follows is no part of it. */
void explore_run_over(struct explore *ex);

/*
 * A search as text: where it stands between two runs, and what it has seen. `what` names the
 * subject and its bounds in one line; a search of anything else is not read. Returns 0 or a
 * negative errno with a sentence in why[].
 */
int explore_write(const struct explore *ex, FILE *to, const char *what);
int explore_read(struct explore *ex, FILE *from, const char *what, char *why, size_t why_bytes);

const char *explore_reduce_name(enum explore_reduce r);

#endif /* SIM_EXPLORE_H */
