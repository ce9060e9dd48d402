/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What of a plan may be left out, or made duller, one kind of it after the other. */

#include "sim/replay/shrink_lens.h"

static uint32_t
count_operations(const struct plan *pl)
{
	return pl->pl_noperations;
}

static bool
may_operation(const struct plan *pl, uint32_t i)
{
	return pl->pl_operations[i].po_program;
}

static void
mark_operation(struct plan *pl, uint32_t i, bool on)
{
	pl->pl_operations[i].po_dropped = on;
}

static uint32_t
count_moves(const struct plan *pl)
{
	return pl->pl_nmoves;
}

/*
 * Agents are looked at one after the other: interrupts that come to nothing can go by the hundred,
 * if there is no eviction between them that something hangs on.
 */
unsigned int lens_agent;

static bool
may_agent(const struct plan *pl, uint32_t i)
{
	return pl->pl_moves[i].pm_agent && pl->pl_moves[i].pm_actor == lens_agent;
}

static bool
may_switch(const struct plan *pl, uint32_t i)
{
	return !pl->pl_moves[i].pm_agent && pl->pl_moves[i].pm_operation != PLAN_NONE;
}

static void
mark_move(struct plan *pl, uint32_t i, bool on)
{
	pl->pl_moves[i].pm_dropped = on;
}

/* A CPU goes on to the end of its operation before another one's turn. */
static bool
may_finish(const struct plan *pl, uint32_t i)
{
	return may_switch(pl, i) && pl->pl_moves[i].pm_points > 0;
}

static void
mark_whole(struct plan *pl, uint32_t i, bool on)
{
	pl->pl_moves[i].pm_whole = on;
}

static uint32_t
count_choices(const struct plan *pl)
{
	return pl->pl_nchoices;
}

static bool
may_spare(const struct plan *pl, uint32_t i)
{
	return pl->pl_choices[i].cr_kind == SIM_CHOICE_FAULT && pl->pl_choices[i].cr_value != 0;
}

/* An answer within an operation; the one that it began with says what it is. */
static bool
may_answer(const struct plan *pl, uint32_t i)
{
	return pl->pl_choices[i].cr_kind == SIM_CHOICE_WORKLOAD && !pl->pl_notes[i].cn_begins &&
	       !pl->pl_notes[i].cn_word && pl->pl_notes[i].cn_operation != 0;
}

static bool
may_answer_0(const struct plan *pl, uint32_t i)
{
	return may_answer(pl, i) && pl->pl_choices[i].cr_value != 0;
}

static bool
may_hardware(const struct plan *pl, uint32_t i)
{
	return (pl->pl_choices[i].cr_kind == SIM_CHOICE_HW ||
		pl->pl_choices[i].cr_kind == SIM_CHOICE_EPOCH) &&
	       pl->pl_choices[i].cr_value != 0;
}

static void
mark_dropped(struct plan *pl, uint32_t i, bool on)
{
	pl->pl_choice_state[i] = on ? PLAN_CHOICE_DROPPED : PLAN_CHOICE_KEPT;
}

static void
mark_zero(struct plan *pl, uint32_t i, bool on)
{
	pl->pl_choice_state[i] = on ? PLAN_CHOICE_ZERO : PLAN_CHOICE_KEPT;
}

/* All answers of the same operation behind this one, it included; and all before it. */
static void
mark_answers(struct plan *pl, uint32_t i, uint32_t step, bool on)
{
	const struct sim_choice_note *note = &pl->pl_notes[i];

	for (uint32_t k = i; k < pl->pl_nchoices; k += step) {
		if (pl->pl_notes[k].cn_actor != note->cn_actor)
			continue;
		if (pl->pl_notes[k].cn_operation != note->cn_operation)
			break;
		if (may_answer(pl, k))
			mark_dropped(pl, k, on);
	}
}

static void
mark_tail(struct plan *pl, uint32_t i, bool on)
{
	mark_answers(pl, i, 1, on);
}

static void
mark_head(struct plan *pl, uint32_t i, bool on)
{
	mark_answers(pl, i, UINT32_MAX, on); /* backward: i - 1 is i plus this much */
}

/* What shortens a run most comes first: it makes all further trials shorter. */
const struct lens lens_all[LENS_COUNT] = {
	{count_operations, may_operation, mark_operation, .ln_single = false},
	{count_moves, may_agent, mark_move, .ln_agents = true},
	{count_moves, may_switch, mark_move, .ln_single = false},
	{count_moves, may_finish, mark_whole, .ln_single = false},
	{count_choices, may_answer, mark_tail, .ln_single = true},
	{count_choices, may_answer, mark_head, .ln_single = true},
	{count_choices, may_answer, mark_dropped, .ln_single = false},
	{count_choices, may_spare, mark_zero, .ln_single = false},
	{count_choices, may_answer_0, mark_zero, .ln_single = false},
	{count_choices, may_hardware, mark_zero, .ln_single = false},
};

const struct lens *const lens_reordered[LENS_REORDERED] = {&lens_all[0], &lens_all[4],
							   &lens_all[5]};

uint32_t
lens_mark(struct plan *pl, const struct lens *ln, uint32_t i, uint32_t chunk, bool on)
{
	uint32_t shown = 0, marked = 0;

	for (uint32_t k = 0; k < ln->ln_count(pl) && marked < chunk; k++) {
		if (!ln->ln_may(pl, k) || shown++ < i)
			continue;
		ln->ln_mark(pl, k, on);
		marked++;
	}
	return marked;
}

uint32_t
lens_shown(const struct plan *pl, const struct lens *ln)
{
	uint32_t shown = 0;

	for (uint32_t k = 0; k < ln->ln_count(pl); k++)
		shown += ln->ln_may(pl, k);
	return shown;
}
