/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Shrinking. What may be left out is seen through lenses: operations, steps of agents, switches,
 * faults, answers. Through each, first halves are left out, then quarters, down to one by one. A
 * trial that still violates the same invariant becomes the new run: it is recorded, so its plan
 * holds what really happened and nothing else, and it goes on from there. All lenses are tried
 * again until none finds anything.
 */

#include "sim/replay/shrink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"

/* ---- Lenses --------------------------------------------------------------------------------- */

struct lens {
	uint32_t (*ln_count)(const struct plan *pl);
	bool (*ln_may)(const struct plan *pl, uint32_t i);
	void (*ln_mark)(struct plan *pl, uint32_t i, bool on);
	bool ln_single; /* one at a time: each stands for many */
};

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
static unsigned int agent_shown;

static bool
may_agent(const struct plan *pl, uint32_t i)
{
	return pl->pl_moves[i].pm_agent && pl->pl_moves[i].pm_actor == agent_shown;
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
static const struct lens lenses[] = {
	{count_operations, may_operation, mark_operation, false},
	{count_moves, may_agent, mark_move, false},
	{count_moves, may_switch, mark_move, false},
	{count_moves, may_finish, mark_whole, false},
	{count_choices, may_answer, mark_tail, true},
	{count_choices, may_answer, mark_head, true},
	{count_choices, may_answer, mark_dropped, false},
	{count_choices, may_spare, mark_zero, false},
	{count_choices, may_answer_0, mark_zero, false},
	{count_choices, may_hardware, mark_zero, false},
};

#define NLENSES (sizeof(lenses) / sizeof(lenses[0]))

/* With another order. */
static const struct lens *const reordered[] = {&lenses[0], &lenses[4], &lenses[5]};

#define NREORDERED (sizeof(reordered) / sizeof(reordered[0]))
#define ORDERS 500
#define ORDERS_EACH 40
#define ENOUGH 500 /* turns behind the last move: it will not happen any more */
#define SWITCHES 8 /* in random orders, up to one less */

/* ---- Sizes ---------------------------------------------------------------------------------- */

static uint64_t
counted(const struct sim_outcome *out, const char *name)
{
	for (unsigned int i = 0; i < out->ncounters; i++) {
		if (strcmp(out->counters[i].name, name) == 0)
			return out->counters[i].value;
	}
	return 0;
}

static void
measure(const struct plan *pl, const struct sim_outcome *out, struct shrink_size *size)
{
	plan_measure(pl, &size->sz_plan);
	size->sz_accesses = counted(out, "guest-reads") + counted(out, "guest-writes") +
			    counted(out, "guest-fetches");
	size->sz_steps = out->steps;
	size->sz_decisions = pl->pl_nchoices;
}

uint64_t
shrink_events(const struct shrink_size *size)
{
	return size->sz_plan.ps_operations + size->sz_accesses + size->sz_plan.ps_switches +
	       size->sz_plan.ps_agent_steps;
}

/* Negative: a is smaller. */
static int
compare(const struct shrink_size *a, const struct shrink_size *b)
{
	const uint64_t as[] = {a->sz_plan.ps_operations, a->sz_plan.ps_preemptions,
			       a->sz_plan.ps_switches + a->sz_plan.ps_agent_steps, a->sz_accesses,
			       a->sz_steps};
	const uint64_t bs[] = {b->sz_plan.ps_operations, b->sz_plan.ps_preemptions,
			       b->sz_plan.ps_switches + b->sz_plan.ps_agent_steps, b->sz_accesses,
			       b->sz_steps};

	for (unsigned int i = 0; i < sizeof(as) / sizeof(as[0]); i++) {
		if (as[i] != bs[i])
			return as[i] < bs[i] ? -1 : 1;
	}
	return 0;
}

bool
shrink_is_same(const struct sim_outcome *a, const struct sim_outcome *b)
{
	return a->verdict == SIM_VIOLATION && b->verdict == SIM_VIOLATION &&
	       strcmp(a->check, b->check) == 0 && strcmp(a->invariant, b->invariant) == 0 &&
	       (*a->invariant || strcmp(a->message, b->message) == 0);
}

/* ---- Trials --------------------------------------------------------------------------------- */

bool
shrink_is_over(struct shrink *sh)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sh->sh_took = (double)(now.tv_sec - sh->sh_start.tv_sec) +
		      (double)(now.tv_nsec - sh->sh_start.tv_nsec) / 1e9;
	return sh->sh_took > sh->sh_seconds || (sh->sh_stopped && *sh->sh_stopped);
}

/* The order of moves is the plan's: no scheduler, one schedule. */
static void
plan_options(const struct shrink *sh, struct sim_options *o)
{
	*o = sh->sh_options;
	o->policy = NULL;
	o->scheduler = SIM_SCHEDULER_RANDOM;
	o->schedule = 0;
	o->schedules = 1;
	o->choices = NULL;
	o->notes = NULL;
	o->nchoices = 0;
	o->may_stop = true;
	o->record_choices = true;
}

/* Runs a plan, or its operations in the n-th of other orders; recorded into *out. */
static int
try_plan(const struct shrink *sh, struct plan *pl, uint64_t order, uint64_t step_limit,
	 struct sim_outcome *out)
{
	struct sim_options o;
	static struct plan_guide guide;

	plan_guide_init(&guide, pl, true);
	/* What is found in the tear-down needs the programs to come to their ends. */
	if (sh->sh_best.cpu < SIM_ACTOR_DRIVER)
		guide.pg_enough = ENOUGH;
	if (order != 0)
		plan_guide_shuffle(&guide, order, (unsigned int)(order % SWITCHES),
				   sh->sh_best.steps);
	plan_options(sh, &o);
	o.choose = plan_choose;
	o.choose_arg = &guide;
	o.step_limit = step_limit;
	return cli_execute(&o, sh->sh_trace, out);
}

/* The plan with its marks, if it is the same violation and no larger: then it is the new one. */
static bool
keep_trial(struct shrink *sh, uint64_t order)
{
	static struct sim_outcome out;
	struct sim_options o = sh->sh_options;
	struct shrink_size size;
	struct plan pl;

	sh->sh_tried++;
	if (try_plan(sh, &sh->sh_plan, order, sh->sh_best.steps + sh->sh_best.steps / 4 + 3000,
		     &out) != 0 ||
	    !shrink_is_same(&out, &sh->sh_best)) {
		free(out.choices);
		return false;
	}
	o.may_stop = true;
	if (plan_make(&pl, &o, &out) != 0) {
		free(out.choices);
		return false;
	}
	measure(&pl, &out, &size);
	if (compare(&size, &sh->sh_size) > (order != 0 ? -1 : 0)) {
		plan_free(&pl);
		return false;
	}
	plan_free(&sh->sh_plan);
	sh->sh_plan = pl;
	sh->sh_best = out;
	sh->sh_size = size;
	sh->sh_kept++;
	return true;
}

/* Marks up to `chunk` of what the lens shows, from its i-th on; how many there were. */
static uint32_t
mark(struct plan *pl, const struct lens *ln, uint32_t i, uint32_t chunk, bool on)
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

static uint32_t
count_shown(const struct plan *pl, const struct lens *ln)
{
	uint32_t shown = 0;

	for (uint32_t k = 0; k < ln->ln_count(pl); k++)
		shown += ln->ln_may(pl, k);
	return shown;
}

/* The largest power of two that is no more. */
static uint32_t
power_below(uint32_t n)
{
	return n == 0 ? 0 : UINT32_C(1) << (31 - __builtin_clz(n));
}

/*
 * In powers of two: much in a run goes by the step's number modulo one, so that a step less is
 * another run, and four less may be the same.
 */
static void
look_through(struct shrink *sh, const struct lens *ln)
{
	uint32_t chunk = ln->ln_single ? 1 : power_below(count_shown(&sh->sh_plan, ln));

	for (; chunk > 0; chunk /= 2) {
		uint32_t i = 0;

		for (uint32_t shown; i < (shown = count_shown(&sh->sh_plan, ln));) {
			if (shrink_is_over(sh))
				return;
			mark(&sh->sh_plan, ln, i, chunk, true);
			if (!keep_trial(sh, 0)) {
				mark(&sh->sh_plan, ln, i, chunk, false);
				i += chunk;
				continue;
			}
			if (sh->sh_tell)
				sh->sh_tell(sh->sh_arg, sh);
			/* What made no difference is still there, and passed over. */
			if (count_shown(&sh->sh_plan, ln) >= shown)
				i += chunk;
		}
	}
}

/* ---- Other orders --------------------------------------------------------------------------- */

/*
 * What is left out shifts the rest, so a race that needs less may need to happen at another time.
 * With one thing less, the same operations are tried in random orders with few switches.
 */
static void
reorder(struct shrink *sh, const struct lens *ln, unsigned int tries)
{
	uint32_t i = 0;

	do {
		bool found = false;

		for (unsigned int t = 0; t < tries && !found; t++) {
			if (shrink_is_over(sh))
				return;
			if (ln)
				mark(&sh->sh_plan, ln, i, 1, true);
			found = keep_trial(sh, sh->sh_tried + 1);
			if (ln && !found)
				mark(&sh->sh_plan, ln, i, 1, false);
		}
		if (found && sh->sh_tell)
			sh->sh_tell(sh->sh_arg, sh);
		i += !found;
	} while (ln && i < count_shown(&sh->sh_plan, ln));
}

/* ---- The whole ------------------------------------------------------------------------------ */

/* The run as it was asked for, then as a plan of which nothing is left out. */
static int
take_apart(struct shrink *sh)
{
	struct sim_options o = sh->sh_options;
	static struct sim_outcome out;
	struct plan pl;
	int error;

	o.record_choices = true;
	error = cli_execute(&o, sh->sh_trace, &sh->sh_best);
	if (!error && sh->sh_best.verdict != SIM_VIOLATION) {
		free(sh->sh_best.choices);
		sh->sh_best.choices = NULL;
		return -ENOENT;
	}
	if (!error)
		error = plan_make(&sh->sh_plan, &o, &sh->sh_best);
	if (error) {
		free(sh->sh_best.choices);
		sh->sh_best.choices = NULL;
		return error;
	}
	measure(&sh->sh_plan, &sh->sh_best, &sh->sh_before);
	error = try_plan(sh, &sh->sh_plan, 0, 2 * sh->sh_best.steps + 10000, &out);
	if (!error && !shrink_is_same(&out, &sh->sh_best))
		error = -ESRCH;
	o.may_stop = true;
	if (!error)
		error = plan_make(&pl, &o, &out);
	free(out.choices);
	out.choices = NULL;
	if (error)
		return error;
	plan_free(&sh->sh_plan);
	sh->sh_plan = pl;
	sh->sh_best = out;
	measure(&sh->sh_plan, &sh->sh_best, &sh->sh_size);
	return 0;
}

int
shrink_begin(struct shrink *sh)
{
	clock_gettime(CLOCK_MONOTONIC, &sh->sh_start);
	return take_apart(sh);
}

int
shrink_run(struct shrink *sh)
{
	struct shrink_size before;
	int error = shrink_begin(sh);

	if (error)
		return error;
	do {
		before = sh->sh_size;
		for (unsigned int i = 0; i < NLENSES && !shrink_is_over(sh); i++) {
			const unsigned int nagents =
				lenses[i].ln_may == may_agent ? SIM_MAX_AGENTS : 1;

			for (agent_shown = 0; agent_shown < nagents; agent_shown++)
				look_through(sh, &lenses[i]);
			/* Few operations left, and thousands of moves: another order has few. */
			if (i == 0)
				reorder(sh, NULL, ORDERS_EACH);
		}
		if (compare(&sh->sh_size, &before) == 0) {
			reorder(sh, NULL, ORDERS);
			for (unsigned int i = 0; i < NREORDERED; i++)
				reorder(sh, reordered[i], ORDERS_EACH);
		}
	} while (!shrink_is_over(sh) && compare(&sh->sh_size, &before) < 0);
	sh->sh_through = !shrink_is_over(sh);
	return 0;
}

void
shrink_end(struct shrink *sh)
{
	plan_free(&sh->sh_plan);
}

void
shrink_options(const struct shrink *sh, struct sim_options *o)
{
	plan_options(sh, o);
	o->choices = sh->sh_plan.pl_choices;
	o->notes = sh->sh_plan.pl_notes;
	o->nchoices = sh->sh_plan.pl_nchoices;
	o->choices_by_seed = false;
}

int
shrink_verify(const struct shrink *sh, struct sim_outcome *out)
{
	struct sim_options o;
	int error;

	shrink_options(sh, &o);
	error = cli_execute(&o, sh->sh_trace, out);
	if (error)
		return error;
	return shrink_is_same(out, &sh->sh_best) && out->steps == sh->sh_best.steps &&
			       out->trace_hash == sh->sh_best.trace_hash &&
			       out->state_hash == sh->sh_best.state_hash
		       ? 0
		       : -EILSEQ;
}
