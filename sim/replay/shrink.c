/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Shrinking. What may be left out is seen through lenses (shrink_lens.h). Through each, first
 * halves are left out, then quarters, down to one by one. A trial that still violates the same
 * invariant becomes the new run: it is recorded, so its plan holds what really happened and nothing
 * else, and it goes on from there. All lenses are tried again until none finds anything.
 */

#include "sim/replay/shrink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/replay/shrink_lens.h"

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
	uint32_t chunk = ln->ln_single ? 1 : power_below(lens_shown(&sh->sh_plan, ln));

	for (; chunk > 0; chunk /= 2) {
		uint32_t i = 0;

		for (uint32_t shown; i < (shown = lens_shown(&sh->sh_plan, ln));) {
			if (shrink_is_over(sh))
				return;
			lens_mark(&sh->sh_plan, ln, i, chunk, true);
			if (!keep_trial(sh, 0)) {
				lens_mark(&sh->sh_plan, ln, i, chunk, false);
				i += chunk;
				continue;
			}
			if (sh->sh_tell)
				sh->sh_tell(sh->sh_arg, sh);
			/* What made no difference is still there, and passed over. */
			if (lens_shown(&sh->sh_plan, ln) >= shown)
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
				lens_mark(&sh->sh_plan, ln, i, 1, true);
			found = keep_trial(sh, sh->sh_tried + 1);
			if (ln && !found)
				lens_mark(&sh->sh_plan, ln, i, 1, false);
		}
		if (found && sh->sh_tell)
			sh->sh_tell(sh->sh_arg, sh);
		i += !found;
	} while (ln && i < lens_shown(&sh->sh_plan, ln));
}

/* ---- Another aim ---------------------------------------------------------------------------- */

#define AIM_MOVES 4   /* from the last one back */
#define AIM_POINTS 40 /* to either side */

/* Whether a CPU stops in the middle of an operation there. */
static bool
is_aimed(const struct plan_move *pm)
{
	return !pm->pm_agent && !pm->pm_dropped && !pm->pm_whole && pm->pm_operation != PLAN_NONE &&
	       pm->pm_points > 0;
}

/* The plan as it is marked, with one of its moves going a bit less far, or farther. */
static bool
aim_move(struct shrink *sh, uint32_t i)
{
	struct plan_move *const pm = &sh->sh_plan.pl_moves[i];
	const uint32_t points = pm->pm_points;

	for (uint32_t d = 1; d <= AIM_POINTS && !shrink_is_over(sh); d++) {
		pm->pm_points = points - d;
		if (d < points && keep_trial(sh, 0))
			return true;
		pm->pm_points = points + d;
		if (keep_trial(sh, 0))
			return true;
	}
	pm->pm_points = points;
	return false;
}

/*
 * An operation that has less to do comes to the same place in fewer steps, and there a race hangs
 * on. With one thing less, the last places at which a CPU stops are tried around where they were.
 */
static void
aim(struct shrink *sh, const struct lens *ln)
{
	uint32_t i = 0;

	while (i < lens_shown(&sh->sh_plan, ln) && !shrink_is_over(sh)) {
		unsigned int n = 0;
		bool found = false;

		lens_mark(&sh->sh_plan, ln, i, 1, true);
		for (uint32_t m = sh->sh_plan.pl_nmoves; m-- > 0 && n < AIM_MOVES && !found;) {
			if (is_aimed(&sh->sh_plan.pl_moves[m])) {
				found = aim_move(sh, m);
				n++;
			}
		}
		if (!found)
			lens_mark(&sh->sh_plan, ln, i, 1, false);
		else if (sh->sh_tell)
			sh->sh_tell(sh->sh_arg, sh);
		i += !found;
	}
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
		for (unsigned int i = 0; i < LENS_COUNT && !shrink_is_over(sh); i++) {
			const unsigned int nagents = lens_all[i].ln_agents ? SIM_MAX_AGENTS : 1;

			for (lens_agent = 0; lens_agent < nagents; lens_agent++)
				look_through(sh, &lens_all[i]);
			/* Few operations left, and thousands of moves: another order has few. */
			if (i == 0)
				reorder(sh, NULL, ORDERS_EACH);
		}
		for (unsigned int i = 0; i < LENS_REORDERED && compare(&sh->sh_size, &before) == 0;
		     i++)
			aim(sh, lens_reordered[i]);
		if (compare(&sh->sh_size, &before) == 0) {
			reorder(sh, NULL, ORDERS);
			for (unsigned int i = 0; i < LENS_REORDERED; i++)
				reorder(sh, lens_reordered[i], ORDERS_EACH);
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
