/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The walk: a stack of decisions, each of which says what was chosen, what has been, and what is
 * still to be. A run follows the stack and adds to its end; between two runs the last decision that
 * has something left takes that.
 *
 * A decision of who is next has three sets. `enabled` could go on; `backtrack` must be gone on
 * with; `done` has been. Without reduction, and with sleep sets alone, all that is enabled must be.
 * With source sets it is one to begin with, and each race that a run shows adds to the decision
 * before it. Two more reasons to add: a step that takes away what another actor could have done has
 * to be tried after that, and so has the end of a run.
 *
 * Sleep sets (Godefroid, 1996): what has been gone into at a decision need not be gone into after a
 * step that it commutes with.
 *
 * The bound on preemptions counts switches from a CPU that could go on to another; steps of agents
 * are none. Exchanging an agent's step with another never changes that number, exchanging steps of
 * two CPUs may. So with a bound only agents are reduced, by sleep sets: everybody within the bound
 * is gone on with at every decision, and no CPU is put to sleep for the sake of another CPU; and
 * where a CPU goes on since another cannot, everybody wakes, since an agent that comes first may
 * make that one go on, and the other a preemption.
 */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/explore/explore_priv.h"

const char *
explore_reduce_name(enum explore_reduce r)
{
	static const char *const names[] = {
		[EXPLORE_DPOR] = "dpor",
		[EXPLORE_SLEEP] = "sleep",
		[EXPLORE_NONE] = "none",
	};

	return names[r];
}

/* ---- Sleepers ------------------------------------------------------------------------------ */

void
decision_add_sleeper(struct decision *de, unsigned int actor, const struct footprint *foot,
		     bool own)
{
	struct sleeper *const all = realloc(de->de_sleepers, (de->de_nsleepers + 1) * sizeof(*all));

	if (all == NULL)
		sim_stop("no memory for the search");
	de->de_sleepers = all;
	all[de->de_nsleepers++] = (struct sleeper){(uint8_t)actor, own, foot};
	de->de_asleep |= actor_bit(actor);
}

static void
free_decision(struct decision *de)
{
	for (uint32_t i = 0; i < de->de_nsleepers; i++) {
		struct footprint *const foot = (struct footprint *)de->de_sleepers[i].sl_foot;

		if (!de->de_sleepers[i].sl_own)
			continue;
		footprint_free(foot);
		free(foot);
	}
	free(de->de_sleepers);
	footprint_free(&de->de_foot);
}

/*
 * With a bound: another CPU goes on since the one that ran cannot. A step of an agent could have
 * made it possible again, and then this would be a preemption.
 */
static bool
was_free_for_want(const struct explore *ex, const struct decision *from)
{
	return ex->ex_bounds.eb_preemptions != EXPLORE_UNBOUNDED && actor_is_cpu(from->de_chosen) &&
	       from->de_running != ACTOR_NONE && from->de_chosen != from->de_running &&
	       (from->de_enabled & actor_bit(from->de_running)) == 0;
}

/* The step that was just made wakes whom it does not commute with. */
static void
inherit_sleepers(const struct explore *ex, const struct decision *from, struct decision *de)
{
	const struct event *const e = &ex->ex_events[from->de_event];
	const bool bounded = ex->ex_bounds.eb_preemptions != EXPLORE_UNBOUNDED;
	struct footprint step = {0};

	if (ex->ex_bounds.eb_reduce == EXPLORE_NONE || from->de_nsleepers == 0 ||
	    was_free_for_want(ex, from))
		return;
	for (uint32_t i = 0; i < e->ev_ntouches; i++)
		footprint_add(&step, ex->ex_touches[e->ev_first + i].to_object,
			      ex->ex_touches[e->ev_first + i].to_how);
	for (uint32_t i = 0; i < from->de_nsleepers; i++) {
		const struct sleeper *const s = &from->de_sleepers[i];

		if (s->sl_actor == e->ev_actor || (de->de_enabled & actor_bit(s->sl_actor)) == 0 ||
		    (bounded && actor_is_cpu(s->sl_actor) && actor_is_cpu(e->ev_actor)) ||
		    footprint_conflicts(s->sl_foot, &step))
			continue;
		decision_add_sleeper(de, s->sl_actor, s->sl_foot, false);
	}
	footprint_free(&step);
}

/* ---- A decision that is new ---------------------------------------------------------------- */

struct decision *
explore_push(struct explore *ex)
{
	if (ex->ex_depth == ex->ex_room) {
		const uint32_t room = ex->ex_room != 0 ? 2 * ex->ex_room : 256;
		struct decision *stack = realloc(ex->ex_stack, room * sizeof(*stack));

		if (stack == NULL || room > 4 * DEPTH_MAX)
			sim_stop("no memory for the search, or runs without an end");
		ex->ex_stack = stack;
		ex->ex_room = room;
	}
	struct decision *const de = &ex->ex_stack[ex->ex_depth++];

	*de = (struct decision){0};
	return de;
}

static unsigned int
actor_of(const struct sim_offer *of)
{
	const unsigned int a = of->of_agent
				       ? EXPLORE_CPUS + of->of_index * EXPLORE_CPUS + of->of_lane
				       : of->of_index;

	if (a >= ACTORS || (!of->of_agent && of->of_index >= EXPLORE_CPUS) ||
	    (of->of_agent && of->of_lane >= EXPLORE_CPUS))
		sim_violation("internal", "", "too many CPUs or agents for a search");
	return a;
}

void
explore_add(struct explore *ex, struct decision *de, actors_t actors)
{
	(void)ex;
	de->de_backtrack |= actors & de->de_enabled;
}

static bool
costs(const struct decision *de, unsigned int actor)
{
	return actor_is_cpu(actor) && !de->de_free && de->de_running != ACTOR_NONE &&
	       actor != de->de_running;
}

/* Who could go on; what that leaves without hope is a violation. */
static void
fill_enabled(struct explore *ex, struct decision *de, const struct sim_offer *offers, uint32_t n)
{
	bool spins = false;
	bool helped = false;

	for (uint32_t i = 0; i < n; i++) {
		const struct sim_offer *const of = &offers[i];
		const unsigned int a = actor_of(of);
		const bool relaxing = !of->of_agent && of->of_kind == SIM_RELAX;

		if (relaxing && order_spins(ex, a)) {
			spins = true;
			continue;
		}
		de->de_enabled |= actor_bit(a);
		helped = helped || of->of_helps;
		if (!of->of_helps)
			de->de_optional |= actor_bit(a);
		if (relaxing && a == de->de_running)
			de->de_free = true;
	}
	if (spins && !helped)
		sim_violation("CK-SCHED", "I24",
			      "livelock: whoever could go on waits for what nobody will change");
	if (de->de_running == ACTOR_NONE ||
	    ((de->de_enabled & actor_bit(de->de_running)) == 0 && !sim_cpu_settles(de->de_running)))
		de->de_free = true;
}

static void
fill_bound(struct explore *ex, struct decision *de)
{
	const actors_t cpus = de->de_enabled & (actor_bit(EXPLORE_CPUS) - 1);

	if (de->de_free || de->de_preemptions < ex->ex_bounds.eb_preemptions)
		return;
	de->de_barred = cpus & ~actor_bit(de->de_running);
	ex->ex_stats.es_bounded += (uint64_t)__builtin_popcountll(de->de_barred);
}

/* What the step before has made impossible is to be tried in its place. */
static void
add_disabled(struct explore *ex, struct decision *before, actors_t enabled)
{
	actors_t lost = before->de_enabled & ~enabled & ~actor_bit(before->de_chosen);

	if (!explore_by_races(ex))
		return;
	explore_add(ex, before, lost & ~before->de_barred);
}

static _Noreturn void
cut(struct explore *ex, enum explore_cut why)
{
	ex->ex_cut = why;
	sim_stop("seen elsewhere");
	abort();
}

/* The one to go on with first: the CPU that runs, any other, who helps, anybody. */
static unsigned int
first_of(const struct decision *de, actors_t from)
{
	const actors_t cpus = from & (actor_bit(EXPLORE_CPUS) - 1);

	if (de->de_running != ACTOR_NONE && (from & actor_bit(de->de_running)) != 0)
		return de->de_running;
	if (cpus != 0)
		return (unsigned int)__builtin_ctzll(cpus);
	if ((from & ~de->de_optional) != 0)
		return (unsigned int)__builtin_ctzll(from & ~de->de_optional);
	return (unsigned int)__builtin_ctzll(from);
}

static void
note_state(struct explore *ex, const struct decision *de)
{
	const uint64_t state = mix(ex->ex_sum, 5);

	if (set_add(&ex->ex_states, state))
		ex->ex_stats.es_states++;
	if (ex->ex_bounds.eb_reduce != EXPLORE_NONE)
		return;

	const uint64_t key = ex->ex_bounds.eb_preemptions == EXPLORE_UNBOUNDED
				     ? state
				     : mix(state, de->de_preemptions << 8 | de->de_running);

	if (!set_add(&ex->ex_seen, key))
		cut(ex, CUT_SEEN);
}

static struct decision *
new_decision(struct explore *ex, const struct sim_offer *offers, uint32_t n)
{
	const uint32_t before = ex->ex_nevents > 0 ? last_event(ex)->ev_node : UINT32_MAX;
	struct decision *const de = explore_push(ex);
	struct decision *const from = before != UINT32_MAX ? &ex->ex_stack[before] : NULL;
	actors_t choice;

	if (ex->ex_nevents >= DEPTH_MAX)
		sim_violation("CK-SCHED", "I24", "a run without an end");
	de->de_event = ex->ex_nevents;
	de->de_running = ACTOR_NONE;
	if (from != NULL) {
		de->de_running = actor_is_cpu(from->de_chosen) ? from->de_chosen : from->de_running;
		de->de_preemptions = from->de_preemptions + costs(from, from->de_chosen);
	}
	fill_enabled(ex, de, offers, n);
	fill_bound(ex, de);
	if (from != NULL) {
		add_disabled(ex, from, de->de_enabled);
		inherit_sleepers(ex, from, de);
	}
	ex->ex_depth--; /* a run that is cut short here has not come to this decision */
	note_state(ex, de);
	choice = de->de_enabled & ~de->de_barred & ~de->de_asleep;
	if (choice == 0) {
		free_decision(de);
		cut(ex, CUT_SLEEP);
	}
	ex->ex_depth++;
	de->de_chosen = (uint8_t)first_of(de, choice);
	de->de_backtrack = actor_bit(de->de_chosen);
	if (!explore_by_races(ex))
		de->de_backtrack = de->de_enabled;
	return de;
}

/* ---- The policy, and the source of choices ------------------------------------------------- */

static uint32_t
choose_data(struct explore *ex, enum sim_choice kind, uint32_t n)
{
	struct decision *de;

	if (ex->ex_at < ex->ex_depth) {
		de = &ex->ex_stack[ex->ex_at];
		if (!de->de_data || de->de_n != n || de->de_kind != kind)
			sim_violation("internal", "I48", "a run does not follow the search");
	} else {
		de = explore_push(ex);
		de->de_data = true;
		de->de_kind = (uint8_t)kind;
		de->de_n = n;
		de->de_event = ex->ex_step - 1;
	}
	ex->ex_at++;
	if (ex->ex_open)
		order_value(ex, de->de_value);
	return de->de_value;
}

/* The offer of the actor that was chosen; of several one by a choice. */
static uint32_t
offer_of(struct explore *ex, unsigned int actor, const struct sim_offer *offers, uint32_t n)
{
	uint32_t mine = 0;
	uint32_t which = 0;

	for (uint32_t i = 0; i < n; i++)
		mine += actor_of(&offers[i]) == actor;
	if (mine == 0)
		sim_violation("internal", "I48", "a run does not follow the search");
	if (mine > 1)
		which = choose_data(ex, SIM_CHOICE_AGENT, mine);
	for (uint32_t i = 0;; i++) {
		if (actor_of(&offers[i]) == actor && which-- == 0)
			return i;
	}
}

static uint32_t
pick(void *arg, const struct sim_offer *offers, uint32_t n)
{
	struct explore *const ex = arg;
	struct decision *de;

	ex->ex_live = true;
	if (ex->ex_open)
		order_end(ex);
	if (ex->ex_at < ex->ex_depth) {
		de = &ex->ex_stack[ex->ex_at];
		if (de->de_data || de->de_event != ex->ex_step)
			sim_violation("internal", "I48", "a run does not follow the search");
	} else {
		de = new_decision(ex, offers, n);
	}
	const unsigned int actor = de->de_chosen;
	bool relax = false;

	for (uint32_t i = 0; i < n; i++)
		relax = relax || (!offers[i].of_agent && offers[i].of_index == actor &&
				  offers[i].of_kind == SIM_RELAX);
	if (ex->ex_step >= ex->ex_fresh)
		order_begin(ex, actor, relax, ex->ex_at);
	ex->ex_at++;
	ex->ex_step++;
	return offer_of(ex, actor, offers, n);
}

static void
touched(void *arg, uint64_t object, enum sim_touch how)
{
	struct explore *const ex = arg;

	if (ex->ex_open)
		order_touch(ex, object, how);
}

const struct sim_policy_ops explore_policy = {pick, touched};

/* What programs choose, and how long they run, is not the search's affair. */
uint32_t
explore_choose(void *arg, enum sim_choice kind, uint32_t n)
{
	struct explore *const ex = arg;

	if (!ex->ex_live || kind == SIM_CHOICE_RUN)
		return 0;
	if (kind == SIM_CHOICE_WORKLOAD)
		return ex->ex_program_choice < n ? ex->ex_program_choice : n - 1;
	return choose_data(ex, kind, n);
}

void
explore_run_over(struct explore *ex)
{
	if (ex->ex_open)
		order_end(ex);
	ex->ex_live = false;
}

/* ---- From run to run ----------------------------------------------------------------------- */

/* The chosen one of a decision is done, with all its choices: it may sleep. */
static void
close_choice(struct explore *ex, struct decision *de)
{
	struct footprint *foot;

	de->de_done |= actor_bit(de->de_chosen);
	if (ex->ex_bounds.eb_reduce == EXPLORE_NONE) {
		footprint_clear(&de->de_foot);
		return;
	}
	foot = malloc(sizeof(*foot));
	if (foot == NULL)
		sim_stop("no memory for the search");
	*foot = de->de_foot;
	de->de_foot = (struct footprint){0};
	decision_add_sleeper(de, de->de_chosen, foot, true);
}

/* The last decision that has something left takes it; false: none has. */
static bool
backtrack(struct explore *ex)
{
	while (ex->ex_depth > 0) {
		struct decision *const de = &ex->ex_stack[ex->ex_depth - 1];

		if (de->de_data && ++de->de_value < de->de_n)
			break;
		if (!de->de_data) {
			close_choice(ex, de);

			const actors_t left =
				de->de_backtrack & ~de->de_done & ~de->de_barred & ~de->de_asleep;

			if (left != 0) {
				de->de_chosen = (uint8_t)first_of(de, left);
				break;
			}
		}
		free_decision(de);
		ex->ex_depth--;
	}
	if (ex->ex_depth == 0)
		return false;
	ex->ex_fresh = ex->ex_stack[ex->ex_depth - 1].de_event;
	order_undo(ex, ex->ex_fresh);
	return true;
}

/* What could have been done to the very end is to be tried before it. */
static void
add_left_over(struct explore *ex)
{
	struct decision *const de = &ex->ex_stack[last_event(ex)->ev_node];

	if (explore_by_races(ex))
		explore_add(ex, de, de->de_enabled & ~de->de_barred);
}

static void
count_run(struct explore *ex, const struct sim_report *report, uint64_t digest)
{
	struct explore_stats *const st = &ex->ex_stats;

	st->es_executions++;
	st->es_steps += ex->ex_step;
	if (ex->ex_step > st->es_depth)
		st->es_depth = ex->ex_step;
	if (ex->ex_cut == CUT_SLEEP)
		st->es_cut_sleep++;
	else if (ex->ex_cut == CUT_SEEN)
		st->es_cut_seen++;
	if (report->sr_result == SIM_RUN_VIOLATED && st->es_violations++ == 0)
		st->es_report = *report;
	if (report->sr_result != SIM_RUN_PASSED)
		return;
	st->es_whole++;
	if (set_add(&ex->ex_traces, ex->ex_sum))
		st->es_traces++;
	if (set_add(&ex->ex_finals, digest)) {
		st->es_finals++;
		st->es_finals_sum += mix(digest, 7);
	}
	if (ex->ex_nevents > 0)
		add_left_over(ex);
}

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool
is_spent(const struct explore *ex)
{
	const struct explore_bounds *const b = &ex->ex_bounds;
	const struct explore_stats *const st = &ex->ex_stats;

	return (b->eb_max_executions != 0 && st->es_executions >= b->eb_max_executions) ||
	       (b->eb_max_states != 0 && st->es_states >= b->eb_max_states) ||
	       (b->eb_max_ms != 0 && st->es_ms - ex->ex_before_ms >= b->eb_max_ms);
}

/* One run; EXPLORE_COMPLETE: on to the next. */
static enum explore_end
run_once(struct explore *ex, explore_run_fn *run, void *arg)
{
	struct sim_report report = {0};
	uint64_t digest = 0;

	ex->ex_at = 0;
	ex->ex_step = 0;
	ex->ex_cut = CUT_NOT;
	if (run(arg, ex, &report, &digest, ex->ex_stats.es_message,
		sizeof(ex->ex_stats.es_message)) < 0)
		return EXPLORE_FAILED;
	explore_run_over(ex);
	count_run(ex, &report, digest);
	if (report.sr_result == SIM_RUN_BUDGET && ex->ex_cut == CUT_NOT) {
		snprintf(ex->ex_stats.es_message, sizeof(ex->ex_stats.es_message), "%.200s",
			 report.sr_message);
		return EXPLORE_FAILED;
	}
	if (report.sr_result == SIM_RUN_VIOLATED && !ex->ex_bounds.eb_keep_going)
		return EXPLORE_VIOLATED;
	return EXPLORE_COMPLETE;
}

/*
 * After reading: the run that was made last, for its steps. What it shows of races is known, and it
 * is not counted.
 */
static enum explore_end
run_again(struct explore *ex, explore_run_fn *run, void *arg)
{
	const struct explore_stats before = ex->ex_stats;
	struct sim_report report = {0};
	uint64_t digest = 0;
	int error;

	ex->ex_at = 0;
	ex->ex_step = 0;
	ex->ex_fresh = 0;
	ex->ex_cut = CUT_NOT;
	error = run(arg, ex, &report, &digest, ex->ex_stats.es_message,
		    sizeof(ex->ex_stats.es_message));
	if (error < 0)
		return EXPLORE_FAILED;
	explore_run_over(ex);
	ex->ex_stats = before;
	ex->ex_again = false;
	ex->ex_ran = true;
	return EXPLORE_COMPLETE;
}

enum explore_end
explore_search(struct explore *ex, explore_run_fn *run, void *arg)
{
	const uint64_t begin = now_ms() - ex->ex_stats.es_ms;
	enum explore_end end = EXPLORE_COMPLETE;

	ex->ex_before_ms = ex->ex_stats.es_ms;
	while (!ex->ex_over && end == EXPLORE_COMPLETE) {
		if (ex->ex_again) {
			end = run_again(ex, run, arg);
			if (end != EXPLORE_COMPLETE)
				break;
		}
		if (ex->ex_ran && !backtrack(ex)) {
			ex->ex_over = true;
			break;
		}
		ex->ex_ran = false;
		end = run_once(ex, run, arg);
		if (end == EXPLORE_FAILED)
			break;
		ex->ex_ran = true;
		if (ex->ex_stats.es_executions % 64 == 0) {
			ex->ex_stats.es_ms = now_ms() - begin;
			if (ex->ex_tick != NULL)
				ex->ex_tick(ex->ex_tick_arg);
		}
		if (end != EXPLORE_COMPLETE)
			break;
		if (ex->ex_stop)
			end = EXPLORE_STOPPED;
		else if (is_spent(ex))
			end = EXPLORE_BUDGET;
	}
	ex->ex_stats.es_ms = now_ms() - begin;
	return end == EXPLORE_COMPLETE && ex->ex_stats.es_violations > 0 ? EXPLORE_VIOLATED : end;
}

/* ---- Life ---------------------------------------------------------------------------------- */

struct explore *
explore_create(const struct explore_bounds *bounds)
{
	struct explore *const ex = calloc(1, sizeof(*ex));

	if (ex == NULL)
		return NULL;
	ex->ex_bounds = *bounds;
	for (unsigned int a = 0; a < ACTORS; a++)
		ex->ex_last[a] = -1;
	return ex;
}

void
explore_destroy(struct explore *ex)
{
	if (ex == NULL)
		return;
	for (uint32_t i = 0; i < ex->ex_depth; i++)
		free_decision(&ex->ex_stack[i]);
	free(ex->ex_stack);
	order_free(ex);
	set_free(&ex->ex_states);
	set_free(&ex->ex_finals);
	set_free(&ex->ex_traces);
	set_free(&ex->ex_seen);
	free(ex);
}

void
explore_follow(struct explore *ex)
{
	ex->ex_at = 0;
	ex->ex_step = 0;
	ex->ex_fresh = ex->ex_nevents;
}

void
explore_set_program_choice(struct explore *ex, uint32_t choice)
{
	ex->ex_program_choice = choice;
}

void
explore_stop(struct explore *ex)
{
	ex->ex_stop = 1;
}

void
explore_stats(const struct explore *ex, struct explore_stats *stats)
{
	*stats = ex->ex_stats;
}

void
explore_set_tick(struct explore *ex, void (*tick)(void *arg), void *arg)
{
	ex->ex_tick = tick;
	ex->ex_tick_arg = arg;
}

void
explore_set_budget(struct explore *ex, const struct explore_bounds *bounds)
{
	ex->ex_bounds.eb_max_executions = bounds->eb_max_executions;
	ex->ex_bounds.eb_max_states = bounds->eb_max_states;
	ex->ex_bounds.eb_max_ms = bounds->eb_max_ms;
}
