/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Schedulers PCT and POS on programs small enough to know what they should find: how often, and
 * that what they picked replays without them.
 */

#include "tests/unit/machine_util.h"

#include <stdlib.h>

#include "sim/machine/policy.h"
#include "sim/machine/snapshot.h"

#define SCHEDULES 4000

static struct {
	struct host_word *x;
	struct host_word *y;
	unsigned int saw[2];
	bool bad;
} t;

/* ---- Programs ------------------------------------------------------------------------------- */

/* Lost update: a bug of depth 2, between the load and the store of the other. */
static void
add_one(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 4; i++)
		host_load(t.y);
	const uint64_t was = host_load(t.x);
	host_store(t.x, was + 1);
	host_fence();
}

/* Long, and only the first step of one must come after the last of the other: depth 1. */
static void
early(void *arg)
{
	(void)arg;
	host_store(t.x, 1);
	host_fence();
}

static void
late(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 40; i++)
		host_load(t.y);
	t.bad = host_load(t.x) == 0;
}

/* Store buffering: both see nothing only if stores wait in their buffers. */
static void
store_then_load(void *arg)
{
	const unsigned int me = sim_cpu();

	(void)arg;
	host_store(me == 0 ? t.x : t.y, 1);
	t.saw[me] = (unsigned int)host_load(me == 0 ? t.y : t.x);
}

/* Waits for the other by looking again and again. */
static void
spin(void *arg)
{
	(void)arg;
	while (host_load(t.x) == 0)
		host_relax();
}

/* ---- Running them --------------------------------------------------------------------------- */

static struct sim_machine *
begin(unsigned int cpus, enum sim_memory_model model)
{
	struct sim_config cfg = config(cpus, 1);

	cfg.sc_memory_model = model;
	cfg.sc_record = true;
	memset(&t, 0, sizeof t);
	struct sim_machine *m = machine(&cfg);
	t.x = sim_alloc(sizeof *t.x);
	t.y = sim_alloc(sizeof *t.y);
	return m;
}

static struct sim_snapshot *
save(void)
{
	const struct sim_region regions[] = {{&t, sizeof t, false}};
	struct sim_snapshot *s = sim_save(regions, 1, NULL, 0);

	cr_assert_not_null(s);
	return s;
}

static void
set(struct policy *po, enum sim_scheduler how, unsigned int depth, uint64_t seed, uint64_t steps)
{
	if (how == SIM_SCHEDULER_PCT)
		policy_pct(po, seed, depth, steps);
	else
		policy_pos(po, seed);
}

/* How many of SCHEDULES end as `bad` says; *longest picks and *actors at most. */
static unsigned int
count(enum sim_scheduler how, unsigned int depth, enum sim_memory_model model,
      const program_fn *programs, bool (*bad)(void), uint64_t *longest, unsigned int *actors)
{
	struct sim_machine *const m = begin(2, model);
	struct sim_snapshot *const s = save();
	struct policy po;
	unsigned int n = 0;

	*longest = 1;
	*actors = 0;
	for (uint64_t i = 0; i < SCHEDULES; i++) {
		sim_restore(s);
		set(&po, how, depth, 77 * i + 5, *longest);
		const struct sim_report r = run_on(m, programs, NULL);

		assert_passed(r);
		n += bad();
		if (po.po_picks > *longest)
			*longest = po.po_picks;
		if (policy_actors(&po) > *actors)
			*actors = policy_actors(&po);
	}
	sim_snapshot_free(s);
	sim_machine_destroy(m);
	return n;
}

static bool
lost(void)
{
	return t.x->hw_value != 2;
}

static bool
was_late(void)
{
	return t.bad;
}

static bool
saw_nothing(void)
{
	return t.saw[0] == 0 && t.saw[1] == 0;
}

/* ---- What they find ------------------------------------------------------------------------- */

static void
keeps_its_promise(unsigned int depth, const program_fn *programs, bool (*bad)(void))
{
	unsigned int actors;
	uint64_t longest;
	const unsigned int n =
		count(SIM_SCHEDULER_PCT, depth, SIM_SC, programs, bad, &longest, &actors);
	double promise = (double)SCHEDULES / actors;

	for (unsigned int i = 1; i < depth; i++)
		promise /= (double)longest;
	/* Three standard deviations is what chance may take away from a promise kept exactly. */
	cr_assert(n >= promise || (promise - n) * (promise - n) <= 9 * promise,
		  "%u of %d, %.0f were promised", n, SCHEDULES, promise);
}

Test(policy, pct_keeps_its_promise)
{
	keeps_its_promise(1, (program_fn[]){early, late}, was_late);
	keeps_its_promise(2, (program_fn[]){add_one, add_one}, lost);
	keeps_its_promise(3, (program_fn[]){add_one, add_one}, lost);
}

Test(policy, pct_of_depth_one_never_interrupts)
{
	unsigned int actors;
	uint64_t longest;

	cr_assert_eq(count(SIM_SCHEDULER_PCT, 1, SIM_SC, (program_fn[]){add_one, add_one}, lost,
			   &longest, &actors),
		     0);
}

Test(policy, pos_finds_a_lost_update_as_often_as_published)
{
	unsigned int actors;
	uint64_t longest;
	const unsigned int n = count(SIM_SCHEDULER_POS, 0, SIM_SC, (program_fn[]){add_one, add_one},
				     lost, &longest, &actors);

	/* The published algorithm, written down apart from this one, finds it in 8.9 % of runs. */
	cr_assert_gt(n, SCHEDULES * 6 / 100, "%u of %d", n, SCHEDULES);
	cr_assert_lt(n, SCHEDULES * 12 / 100, "%u of %d", n, SCHEDULES);
}

Test(policy, buffers_are_actors)
{
	const program_fn both[] = {store_then_load, store_then_load};
	unsigned int actors;
	uint64_t longest;

	for (enum sim_scheduler how = SIM_SCHEDULER_PCT; how <= SIM_SCHEDULER_POS; how++) {
		const unsigned int tso =
			count(how, 3, SIM_TSO, both, saw_nothing, &longest, &actors);

		cr_assert_gt(tso, 0, "scheduler %u never lets stores wait", how);
		cr_assert_lt(tso, SCHEDULES);
		cr_assert_eq(count(how, 3, SIM_SC, both, saw_nothing, &longest, &actors), 0);
	}
}

Test(policy, those_who_spin_let_others_go_on)
{
	for (enum sim_scheduler how = SIM_SCHEDULER_PCT; how <= SIM_SCHEDULER_POS; how++) {
		for (uint64_t seed = 1; seed <= 300; seed++) {
			struct sim_machine *const m = begin(3, SIM_TSO);
			struct policy po;

			set(&po, how, 2, seed, 50);
			const struct sim_report r =
				run_on(m, (program_fn[]){spin, spin, early}, NULL);

			assert_passed(r);
			cr_assert_lt(po.po_picks, 200);
			sim_machine_destroy(m);
		}
	}
}

/* ---- Replay --------------------------------------------------------------------------------- */

Test(policy, what_was_picked_replays_without_it)
{
	for (enum sim_scheduler how = SIM_SCHEDULER_PCT; how <= SIM_SCHEDULER_POS; how++) {
		for (uint64_t seed = 1; seed <= 100; seed++) {
			const program_fn both[] = {add_one, store_then_load};
			struct sim_machine *m = begin(2, SIM_TSO);
			struct sim_config cfg = config(2, 1);
			struct policy po;
			size_t n;

			set(&po, how, 3, seed, 30);
			const struct sim_report first = run_on(m, both, NULL);
			const struct sim_choice_record *made = sim_machine_choices(m, &n);
			struct sim_choice_record *const list = malloc((n + 1) * sizeof *list);

			assert_passed(first);
			memcpy(list, made, n * sizeof *list);
			sim_machine_destroy(m);

			cfg.sc_run_lengths = 1;
			cfg.sc_source = SIM_SOURCE_LIST;
			cfg.sc_list = list;
			cfg.sc_list_len = n;
			memset(&t, 0, sizeof t);
			m = machine(&cfg);
			t.x = sim_alloc(sizeof *t.x);
			t.y = sim_alloc(sizeof *t.y);
			const struct sim_report again = run_on(m, both, NULL);

			assert_passed(again);
			cr_assert_eq(again.sr_hash, first.sr_hash);
			sim_machine_destroy(m);
			free(list);
		}
	}
}

Test(policy, the_bound)
{
	/* By hand: 1 / (2 * 10^1) = 0.05; 0.95^10 = 0.5987. */
	cr_assert_float_eq(policy_pct_miss(2, 10, 2, 10), 0.59873693923837890625, 1e-12);
	cr_assert_float_eq(policy_pct_miss(2, 10, 2, 0), 1, 1e-12);
	cr_assert_eq(policy_pct_miss(1, 10, 1, 1), 0);
	cr_assert_lt(policy_pct_miss(4, 200, 3, 2200000), 1.1e-6);
}

Test(policy, names)
{
	enum sim_scheduler s;
	unsigned int depth;
	char text[16];

	cr_assert(sim_scheduler_parse("pct:3", &s, &depth));
	cr_assert(s == SIM_SCHEDULER_PCT && depth == 3);
	sim_scheduler_print(s, depth, text, sizeof text);
	cr_assert_str_eq(text, "pct:3");
	cr_assert(sim_scheduler_parse("pos", &s, &depth) && s == SIM_SCHEDULER_POS);
	cr_assert(sim_scheduler_parse("random", &s, &depth) && s == SIM_SCHEDULER_RANDOM);
	static const char *const none[] = {"", "pct", "pct:", "pct:0", "pct:17", "pct:x", "POS"};
	for (unsigned int i = 0; i < sizeof none / sizeof none[0]; i++)
		cr_assert_not(sim_scheduler_parse(none[i], &s, &depth), "%s", none[i]);
}
