/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A run, taken apart: what each CPU's program did, operation by operation, and in which order all
 * moved. A recorded list of choices mixes the two, so that nothing can be taken out of it without
 * shifting all that follows. A plan can be changed: an operation left out, a switch left out, a
 * fault undone; and then be tried.
 *
 * A plan is made from a recording (choices with notes) and tried by answering the machine's
 * choices from it (plan_choose(), as sim_options.choose): what an operation asks for is answered
 * from what that operation was answered then, and who steps next from the list of moves. Where
 * the changed run asks for something else, the answer is the dullest there is, 0. Such a run is
 * recorded like any other, so that what is kept of it is a list of choices again, which must
 * repeat strictly.
 *
 * A move of a CPU says how far it goes: up to a number of points after the begin of an operation.
 * So it means the same when operations before it are gone. A move of an agent is one step.
 */

#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/cli/options.h"

#define PLAN_NONE UINT32_MAX

/* Choices of one origin, in their order: a range of pl_order. */
struct plan_queue {
	uint32_t pq_first;
	uint32_t pq_n;
};

struct plan_operation {
	uint8_t po_cpu;
	bool po_dropped;
	bool po_program;    /* begun by the program; false: what comes before its first */
	uint32_t po_rank;   /* as the program counts, without those that were dropped */
	uint32_t po_begin;  /* points that the CPU had passed */
	uint32_t po_points; /* until the next */
	struct plan_queue po_choices;
	const char *po_word; /* of the choice that it began with, or NULL */
};

struct plan_move {
	bool pm_agent;
	bool pm_dropped;
	bool pm_again;	  /* of a CPU: it had a turn more, which took it to a wait, past no point */
	bool pm_whole;	  /* of a CPU: to the end of the operation, whatever it takes */
	uint8_t pm_actor; /* CPU, or number of the agent */
	/* Of a CPU: index into pl_operations; PLAN_NONE: as long as it lasts. */
	uint32_t pm_operation;
	uint32_t pm_points;	      /* from its begin */
	uint32_t pm_which;	      /* of an agent's steps */
	uint32_t pm_choice;	      /* index of the choice that began it */
	struct plan_queue pm_choices; /* an agent's */
};

/* What a trial does with a choice of a queue. */
enum plan_choice_state {
	PLAN_CHOICE_KEPT,
	PLAN_CHOICE_DROPPED, /* as if it had not been asked for */
	PLAN_CHOICE_ZERO,    /* answered by 0 */
};

struct plan {
	unsigned int pl_cpus; /* with the service CPU */
	uint32_t pl_nchoices;
	struct sim_choice_record *pl_choices;
	const struct sim_choice_note *pl_notes;
	uint8_t *pl_choice_state; /* enum plan_choice_state */
	uint32_t *pl_order;	  /* choices sorted by their origin */
	struct plan_queue pl_set_up;
	struct plan_queue pl_tear_down;
	uint32_t pl_noperations;
	struct plan_operation *pl_operations; /* by CPU, then in their order */
	uint32_t pl_first[SIM_MAX_CPUS + 2];  /* of a CPU, in pl_operations */
	uint32_t pl_nmoves;
	struct plan_move *pl_moves;
	bool pl_may_stop; /* the recording has the choices whether to stop */
	void *pl_memory;  /* of out->choices */
};

/*
 * From a recording, which is taken over (choices and notes of *out are NULL after). -ENOMEM, or
 * -ENODATA if there are none.
 */
int plan_make(struct plan *pl, const struct sim_options *o, struct sim_outcome *out);
void plan_free(struct plan *pl);

/* What it comes to. */
struct plan_size {
	uint32_t ps_operations;
	uint32_t ps_switches;	 /* from one CPU to another */
	uint32_t ps_preemptions; /* of these, in the middle of an operation */
	uint32_t ps_agent_steps;
};
void plan_measure(const struct plan *pl, struct plan_size *size);

/* ---- Trying one ----------------------------------------------------------------------------- */

struct plan_cpu {
	uint32_t pc_operation; /* that it is in: index, or PLAN_NONE past the last */
	uint32_t pc_at;	       /* next of its choices */
	uint64_t pc_begun;     /* operations, as the machine counts */
};

#define PLAN_SWITCHES_MAX 16

/* The place in a plan that a run has come to. */
struct plan_guide {
	const struct plan *pg_plan;
	bool pg_may_stop;
	uint32_t pg_move;
	bool pg_again;	      /* the turn more of this move was had */
	uint32_t pg_asked;    /* decisions within this move */
	uint32_t pg_agent_at; /* choices of the agent that steps */
	uint32_t pg_agent_move;
	uint32_t pg_driver_at;
	bool pg_ran; /* the set-up is over */
	uint32_t pg_round;
	uint32_t pg_enough; /* turns behind the last move after which the run is over; 0: any */
	struct plan_cpu pg_cpus[SIM_MAX_CPUS + 1];

	/* Instead of the moves: the operations in a random order with few switches. */
	bool pg_shuffled;
	uint64_t pg_random;
	unsigned int pg_nswitches;
	uint64_t pg_switches[PLAN_SWITCHES_MAX]; /* steps, in their order */
	unsigned int pg_switched;
	uint64_t pg_turn;  /* step of the last turn */
	uint32_t pg_early; /* turns that came before they were due, in a row */

	/* For `why`: this many choices as recorded, then only the programs' are answered. */
	uint32_t pg_prefix; /* PLAN_NONE: none of this */
	uint32_t pg_made;
};

void plan_guide_init(struct plan_guide *pg, struct plan *pl, bool may_stop);

/* Not its moves, but a random order with so many switches somewhere in the first `steps`. */
void plan_guide_shuffle(struct plan_guide *pg, uint64_t seed, unsigned int switches,
			uint64_t steps);

/* sim_options.choose, with a struct plan_guide as its argument. */
uint32_t plan_choose(void *guide, enum sim_choice kind, uint32_t n);

#endif /* SIM_PLAN_H */
