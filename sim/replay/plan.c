/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * From a recording to a plan. Who chose is in the notes; so is how far a CPU had come whenever the
 * next actor was chosen, which is all that the order of moves consists of. Choices among one are
 * not recorded, and need not be: the changed run will not ask for them either.
 */

#include "sim/replay/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine/machine.h"

/* A choice of the next actor, not one of whether a CPU stands still. */
static bool
is_turn(const struct plan *pl, uint32_t i)
{
	return pl->pl_choices[i].cr_kind == SIM_CHOICE_ACTOR && pl->pl_notes[i].cn_offered != 0;
}

/* The schedule's own: no program asks for it. */
static bool
is_of_schedule(const struct plan *pl, uint32_t i)
{
	const uint32_t kind = pl->pl_choices[i].cr_kind;

	return kind == SIM_CHOICE_ACTOR || kind == SIM_CHOICE_RUN || kind == SIM_CHOICE_AGENT;
}

static uint32_t
operation_of(const struct plan *pl, uint32_t i)
{
	return pl->pl_first[pl->pl_notes[i].cn_actor] + pl->pl_notes[i].cn_operation;
}

/* ---- Operations ----------------------------------------------------------------------------- */

static int
make_operations(struct plan *pl)
{
	uint32_t most[SIM_MAX_CPUS + 1] = {0};

	for (uint32_t i = 0; i < pl->pl_nchoices; i++) {
		const struct sim_choice_note *note = &pl->pl_notes[i];

		if (note->cn_actor < pl->pl_cpus && note->cn_operation > most[note->cn_actor])
			most[note->cn_actor] = note->cn_operation;
	}
	for (unsigned int c = 0; c < pl->pl_cpus; c++)
		pl->pl_first[c + 1] = pl->pl_first[c] + most[c] + 1;
	pl->pl_noperations = pl->pl_first[pl->pl_cpus];
	pl->pl_operations = calloc(pl->pl_noperations, sizeof(*pl->pl_operations));
	if (!pl->pl_operations)
		return -ENOMEM;
	for (unsigned int c = 0; c < pl->pl_cpus; c++) {
		for (uint32_t i = pl->pl_first[c]; i < pl->pl_first[c + 1]; i++) {
			pl->pl_operations[i].po_cpu = (uint8_t)c;
			pl->pl_operations[i].po_program = i > pl->pl_first[c];
			pl->pl_operations[i].po_rank = i - pl->pl_first[c];
		}
	}
	return 0;
}

/* When each began, and so how long each lasted. */
static void
time_operations(struct plan *pl)
{
	for (uint32_t i = 0; i < pl->pl_nchoices; i++) {
		const struct sim_choice_note *note = &pl->pl_notes[i];
		struct plan_operation *op;

		if (note->cn_actor >= pl->pl_cpus)
			continue;
		op = &pl->pl_operations[operation_of(pl, i)];
		op->po_begin = note->cn_passed - note->cn_points;
		/* A program that chose to be through has begun nothing. */
		if (pl->pl_may_stop && note->cn_begins && pl->pl_choices[i].cr_value == 1) {
			op->po_program = false;
			op->po_dropped = true;
		}
		if (note->cn_points > op->po_points)
			op->po_points = note->cn_points;
		if (!op->po_word && note->cn_word && !is_of_schedule(pl, i) &&
		    pl->pl_choices[i].cr_kind == SIM_CHOICE_WORKLOAD)
			op->po_word = note->cn_word;
	}
	for (uint32_t i = 0; i + 1 < pl->pl_noperations; i++) {
		struct plan_operation *op = &pl->pl_operations[i];

		if (op[1].po_cpu == op->po_cpu && op[1].po_begin > op->po_begin)
			op->po_points = op[1].po_begin - op->po_begin;
	}
}

/* ---- Queues --------------------------------------------------------------------------------- */

/* Of a choice: its operation, or a queue behind these; PLAN_NONE: the schedule's, an agent's. */
static uint32_t
queue_of(const struct plan *pl, uint32_t i, bool ran, bool may_stop)
{
	const struct sim_choice_note *note = &pl->pl_notes[i];

	if (is_of_schedule(pl, i))
		return PLAN_NONE;
	if (note->cn_actor == SIM_ACTOR_DRIVER)
		return pl->pl_noperations + ran;
	if (note->cn_actor >= pl->pl_cpus)
		return PLAN_NONE;
	/* Whether to stop is asked anew. */
	if (may_stop && note->cn_begins)
		return PLAN_NONE;
	return operation_of(pl, i);
}

/* Sorts choices by queue, each in its order; agents' are found by their moves. */
static int
make_queues(struct plan *pl)
{
	const uint32_t nqueues = pl->pl_noperations + 2;
	uint32_t *end = calloc(nqueues + 1, sizeof(*end));
	bool ran;

	pl->pl_order = malloc((pl->pl_nchoices + 1) * sizeof(*pl->pl_order));
	if (!end || !pl->pl_order) {
		free(end);
		return -ENOMEM;
	}
	for (int pass = 0; pass < 2; pass++) {
		ran = false;
		for (uint32_t i = 0; i < pl->pl_nchoices; i++) {
			uint32_t q;

			ran |= pl->pl_notes[i].cn_actor != SIM_ACTOR_DRIVER;
			q = queue_of(pl, i, ran, pl->pl_may_stop);
			if (q == PLAN_NONE)
				continue;
			if (pass == 0)
				end[q + 1]++;
			else
				pl->pl_order[end[q]++] = i;
		}
		for (uint32_t q = 0; q < nqueues && pass == 0; q++)
			end[q + 1] += end[q];
	}
	/* By now end[q] is where the next one begins. */
	for (uint32_t q = 0; q < nqueues; q++) {
		const uint32_t first = q > 0 ? end[q - 1] : 0;
		const struct plan_queue queue = {first, end[q] - first};

		if (q < pl->pl_noperations)
			pl->pl_operations[q].po_choices = queue;
		else if (q == pl->pl_noperations)
			pl->pl_set_up = queue;
		else
			pl->pl_tear_down = queue;
	}
	free(end);
	return 0;
}

/* ---- Moves ---------------------------------------------------------------------------------- */

/* Where a CPU was after its last move. */
struct place {
	uint32_t operation;
	uint32_t points;
};

/* A CPU has come so far; the move before is continued if it is the same one's. */
static void
add_cpu_move(struct plan *pl, unsigned int cpu, uint32_t operation, uint32_t points,
	     struct place *was)
{
	struct plan_move *last = pl->pl_nmoves > 0 ? &pl->pl_moves[pl->pl_nmoves - 1] : NULL;
	const bool again = operation != PLAN_NONE && was[cpu].operation == operation &&
			   was[cpu].points == points;

	was[cpu] = (struct place){operation, points};
	if (!last || last->pm_agent || last->pm_actor != cpu)
		last = &pl->pl_moves[pl->pl_nmoves++];
	*last = (struct plan_move){
		.pm_actor = (uint8_t)cpu,
		.pm_operation = operation,
		.pm_points = points,
		.pm_again = again,
	};
}

/* An agent was chosen by choice i; what follows it up to the next turn is the agent's. */
static void
add_agent_move(struct plan *pl, uint32_t i, unsigned int agent)
{
	struct plan_move *pm = &pl->pl_moves[pl->pl_nmoves++];
	uint32_t k = i + 1;

	*pm = (struct plan_move){.pm_agent = true, .pm_actor = (uint8_t)agent, .pm_choice = i};
	if (k < pl->pl_nchoices && pl->pl_choices[k].cr_kind == SIM_CHOICE_AGENT)
		pm->pm_which = pl->pl_choices[k++].cr_value;
	pm->pm_choices.pq_first = k;
	while (k < pl->pl_nchoices && pl->pl_notes[k].cn_actor == SIM_ACTOR_AGENT + agent)
		k++;
	pm->pm_choices.pq_n = k - pm->pm_choices.pq_first;
}

/*
 * A CPU was chosen before choice i, and then another one went on without being chosen: the first
 * had to wait, or was through. How far it came by then shows when it chooses next.
 */
static void
add_cut_move(struct plan *pl, uint32_t i, unsigned int cpu, struct place *was)
{
	while (i < pl->pl_nchoices && pl->pl_notes[i].cn_actor != cpu)
		i++;
	if (i == pl->pl_nchoices)
		add_cpu_move(pl, cpu, PLAN_NONE, 0, was);
	else
		add_cpu_move(pl, cpu, operation_of(pl, i), pl->pl_notes[i].cn_points, was);
}

static int
make_moves(struct plan *pl, uint32_t last_cpu)
{
	unsigned int next = SIM_ACTOR_DRIVER;
	struct place was[SIM_MAX_CPUS + 1];

	/* At most three for each choice, and two at the end. */
	pl->pl_moves = malloc((3 * (size_t)pl->pl_nchoices + 2) * sizeof(*pl->pl_moves));
	if (!pl->pl_moves)
		return -ENOMEM;
	memset(was, 0xff, sizeof(was));
	for (uint32_t i = 0; i < pl->pl_nchoices; i++) {
		const struct sim_choice_note *note = &pl->pl_notes[i];

		if (!is_turn(pl, i) || note->cn_actor >= pl->pl_cpus)
			continue;
		if (next < pl->pl_cpus && next != note->cn_actor)
			add_cut_move(pl, i, next, was);
		/* After an agent's step it is asked for the next turn where it was. */
		if (next == SIM_ACTOR_DRIVER || next < pl->pl_cpus)
			add_cpu_move(pl, note->cn_actor, operation_of(pl, i), note->cn_points, was);
		/* If it could not go on, it stands behind its last point, not at it. */
		if (!(note->cn_offered >> note->cn_actor & 1) && pl->pl_nmoves > 0 &&
		    pl->pl_moves[pl->pl_nmoves - 1].pm_actor == note->cn_actor &&
		    !pl->pl_moves[pl->pl_nmoves - 1].pm_agent)
			pl->pl_moves[pl->pl_nmoves - 1].pm_again = true;
		next = sim_offered_actor(note->cn_offered, note->cn_actor,
					 pl->pl_choices[i].cr_value);
		if (next >= SIM_ACTOR_AGENT && next != SIM_ACTOR_DRIVER)
			add_agent_move(pl, i, next - SIM_ACTOR_AGENT);
	}
	if (next < pl->pl_cpus)
		add_cpu_move(pl, next, PLAN_NONE, 0, was);
	/* A turn among one is no choice, and was not recorded. */
	if (last_cpu < pl->pl_cpus && last_cpu != next)
		add_cpu_move(pl, last_cpu, PLAN_NONE, 0, was);
	return 0;
}

/* ---- The whole ------------------------------------------------------------------------------ */

int
plan_make(struct plan *pl, const struct sim_options *o, struct sim_outcome *out)
{
	int error;

	memset(pl, 0, sizeof(*pl));
	if (!out->choices || !out->notes || out->nchoices >= PLAN_NONE / 2)
		return -ENODATA;
	pl->pl_memory = out->choices;
	pl->pl_choices = out->choices;
	pl->pl_notes = out->notes;
	pl->pl_nchoices = (uint32_t)out->nchoices;
	out->choices = NULL;
	out->notes = NULL;
	out->nchoices = 0;
	pl->pl_cpus = o->cpus + 1;
	pl->pl_may_stop = o->may_stop;
	pl->pl_choice_state = calloc(pl->pl_nchoices + 1, 1);
	error = pl->pl_choice_state ? make_operations(pl) : -ENOMEM;
	if (!error) {
		time_operations(pl);
		error = make_queues(pl);
	}
	if (!error)
		error = make_moves(pl, out->cpu);
	if (error)
		plan_free(pl);
	return error;
}

void
plan_free(struct plan *pl)
{
	free(pl->pl_memory);
	free(pl->pl_choice_state);
	free(pl->pl_order);
	free(pl->pl_operations);
	free(pl->pl_moves);
	memset(pl, 0, sizeof(*pl));
}

/* The next move of a CPU behind the i-th: of the same one, or of any; PLAN_NONE: there is none. */
static uint32_t
next_cpu_move(const struct plan *pl, uint32_t i, bool same)
{
	for (uint32_t k = i + 1; k < pl->pl_nmoves; k++) {
		if (!pl->pl_moves[k].pm_agent &&
		    (!same || pl->pl_moves[k].pm_actor == pl->pl_moves[i].pm_actor))
			return k;
	}
	return PLAN_NONE;
}

/* Whether a CPU stops in the middle of an operation, for another one's turn. */
static bool
is_preemption(const struct plan *pl, uint32_t i)
{
	const struct plan_move *pm = &pl->pl_moves[i];
	const uint32_t next = next_cpu_move(pl, i, false), later = next_cpu_move(pl, i, true);

	if (pm->pm_operation == PLAN_NONE || pm->pm_points == 0 || next == PLAN_NONE ||
	    pl->pl_moves[next].pm_actor == pm->pm_actor)
		return false;
	return later == PLAN_NONE || pl->pl_moves[later].pm_operation == pm->pm_operation ||
	       pl->pl_moves[later].pm_operation == PLAN_NONE;
}

void
plan_measure(const struct plan *pl, struct plan_size *size)
{
	unsigned int last = PLAN_NONE;

	memset(size, 0, sizeof(*size));
	for (uint32_t i = 0; i < pl->pl_noperations; i++)
		size->ps_operations += pl->pl_operations[i].po_program;
	for (uint32_t i = 0; i < pl->pl_nmoves; i++) {
		const struct plan_move *pm = &pl->pl_moves[i];

		if (pm->pm_agent) {
			size->ps_agent_steps++;
			continue;
		}
		size->ps_switches += last != PLAN_NONE && last != pm->pm_actor;
		last = pm->pm_actor;
		size->ps_preemptions += is_preemption(pl, i);
	}
}
