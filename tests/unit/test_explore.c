/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The search on toy programs of which every outcome can be listed by hand. Whatever the reduction,
 * the ends of runs must be the same set; what differs is how many runs it takes.
 */

#include "tests/unit/machine_util.h"

#include <inttypes.h>

#include "sim/explore/explore.h"

#define WORDS 4

struct toy {
	unsigned int ty_cpus;
	enum sim_memory_model ty_model;
	void (*ty_programs[3])(void *arg);
	unsigned int ty_fault_ppm;
	/* Of the run. */
	uint64_t *ty_words;
	uint64_t ty_seen[8]; /* what programs read */
	bool (*ty_wrong)(const struct toy *ty);
	struct host_lock *ty_lock;
};

/* All ends that a search has met, by what programs read. */
struct ends {
	uint64_t en_seen[64];
	unsigned int en_n;
};

static struct toy toy;
static struct ends ends;

static void
note_end(void)
{
	uint64_t end = 0;

	for (unsigned int i = 0; i < 8; i++)
		end = end << 8 | (toy.ty_seen[i] & 255);
	for (unsigned int i = 0; i < ends.en_n; i++) {
		if (ends.en_seen[i] == end)
			return;
	}
	if (ends.en_n < 64)
		ends.en_seen[ends.en_n++] = end;
}

static int
run_toy(void *arg, struct explore *ex, struct sim_report *report, uint64_t *digest, char *why,
	size_t why_bytes)
{
	struct sim_config cfg;

	(void)arg;
	sim_config_init(&cfg);
	cfg.sc_cpus = toy.ty_cpus;
	cfg.sc_memory_model = toy.ty_model;
	cfg.sc_settle = true;
	cfg.sc_frames = 512;
	cfg.sc_source = SIM_SOURCE_CALL;
	cfg.sc_call = explore_choose;
	cfg.sc_call_arg = ex;
	cfg.sc_fault_ppm[SIM_FAULT_ENTRY] = toy.ty_fault_ppm;
	struct sim_machine *m = sim_machine_create(&cfg, why, why_bytes);

	if (m == NULL)
		return -ENOMEM;
	toy.ty_words = sim_alloc(WORDS * 64);
	toy.ty_lock = sim_alloc(sizeof(*toy.ty_lock));
	sim_lock_init(toy.ty_lock, 1);
	memset(toy.ty_seen, 0, sizeof toy.ty_seen);
	sim_set_policy(&explore_policy, ex);
	for (unsigned int i = 0; i < toy.ty_cpus; i++)
		sim_spawn(m, i, toy.ty_programs[i], &toy);
	sim_machine_run(m, report);
	explore_run_over(ex);
	if (report->sr_result == SIM_RUN_PASSED) {
		note_end();
		*digest = 0;
		for (unsigned int i = 0; i < 8; i++)
			*digest = *digest * 31 + toy.ty_seen[i];
		for (unsigned int i = 0; i < WORDS; i++)
			*digest = *digest * 31 + toy.ty_words[i * 8];
	}
	sim_machine_destroy(m);
	return 0;
}

static uint64_t *
word(unsigned int i)
{
	return &toy.ty_words[i * 8];
}

static struct explore_stats
search(const struct toy *ty, enum explore_reduce reduce, uint32_t preemptions)
{
	const struct explore_bounds bounds = {.eb_reduce = reduce, .eb_preemptions = preemptions};
	struct explore *const ex = explore_create(&bounds);
	struct explore_stats st;

	toy = *ty;
	ends.en_n = 0;
	cr_assert_not_null(ex);
	const enum explore_end end = explore_search(ex, run_toy, NULL);

	explore_stats(ex, &st);
	explore_destroy(ex);
	cr_assert(end == EXPLORE_COMPLETE || end == EXPLORE_VIOLATED, "%s", st.es_message);
	return st;
}

/* The three reductions, unbounded: the same ends. */
static void
compare(const struct toy *ty, unsigned int nends, uint64_t dpor_runs)
{
	const struct explore_stats dpor = search(ty, EXPLORE_DPOR, EXPLORE_UNBOUNDED);
	const unsigned int n = ends.en_n;
	const struct explore_stats sleep = search(ty, EXPLORE_SLEEP, EXPLORE_UNBOUNDED);
	const struct explore_stats none = search(ty, EXPLORE_NONE, EXPLORE_UNBOUNDED);

	cr_assert_eq(n, nends, "%u ends, not %u", n, nends);
	cr_assert_eq(dpor.es_finals, none.es_finals,
		     "%" PRIu64 " ends by dpor, %" PRIu64 " by none", dpor.es_finals,
		     none.es_finals);
	cr_assert_eq(sleep.es_finals, none.es_finals);
	cr_assert_eq(dpor.es_finals_sum, none.es_finals_sum);
	cr_assert_eq(sleep.es_finals_sum, none.es_finals_sum);
	cr_assert_eq(sleep.es_states, none.es_states,
		     "%" PRIu64 " states by sleep, %" PRIu64 " by none", sleep.es_states,
		     none.es_states);
	cr_assert_leq(dpor.es_states, none.es_states);
	cr_assert_eq(sleep.es_whole, dpor.es_whole,
		     "%" PRIu64 " whole runs by sleep, %" PRIu64 " by dpor", sleep.es_whole,
		     dpor.es_whole);
	cr_assert_leq(dpor.es_executions, sleep.es_executions);
	if (dpor_runs != 0)
		cr_assert_eq(dpor.es_executions, dpor_runs, "%" PRIu64 " runs by dpor",
			     dpor.es_executions);
}

/* ---- Store buffering ------------------------------------------------------------------------ */

static void
store_then_load(unsigned int mine, unsigned int other, bool fence)
{
	sim_word_store(word(mine), 1, SIM_STORE);
	if (fence)
		sim_fence();
	toy.ty_seen[mine] = sim_word_load(word(other), SIM_LOAD);
}

static void
sb_left(void *arg)
{
	(void)arg;
	store_then_load(0, 1, false);
}

static void
sb_right(void *arg)
{
	(void)arg;
	store_then_load(1, 0, false);
}

static void
sb_left_fenced(void *arg)
{
	(void)arg;
	store_then_load(0, 1, true);
}

static void
sb_right_fenced(void *arg)
{
	(void)arg;
	store_then_load(1, 0, true);
}

Test(explore, store_buffering)
{
	const struct toy sc = {
		.ty_cpus = 2, .ty_model = SIM_SC, .ty_programs = {sb_left, sb_right}};
	const struct toy tso = {
		.ty_cpus = 2, .ty_model = SIM_TSO, .ty_programs = {sb_left, sb_right}};
	const struct toy fenced = {.ty_cpus = 2,
				   .ty_model = SIM_TSO,
				   .ty_programs = {sb_left_fenced, sb_right_fenced}};

	compare(&sc, 3, 3);
	compare(&tso, 4, 4);
	compare(&fenced, 3, 3);
}

/* ---- Nothing in common ---------------------------------------------------------------------- */

static void
write_own(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 3; i++)
		sim_word_store(word(sim_cpu()), i + 1, SIM_STORE);
}

Test(explore, independent_writers_need_one_run)
{
	const struct toy ty = {.ty_cpus = 3,
			       .ty_model = SIM_TSO,
			       .ty_programs = {write_own, write_own, write_own}};

	compare(&ty, 1, 1);
}

/* ---- One word ------------------------------------------------------------------------------- */

static void
add_one(void *arg)
{
	(void)arg;
	toy.ty_seen[sim_cpu()] = sim_word_fetch_add(word(0), 1);
}

static void
add_by_hand(void *arg)
{
	const uint64_t v = sim_word_load(word(0), SIM_LOAD);

	(void)arg;
	sim_word_store(word(0), v + 1, SIM_STORE);
	toy.ty_seen[sim_cpu()] = v;
}

static void
read_twice(void *arg)
{
	(void)arg;
	toy.ty_seen[4] = sim_word_load(word(0), SIM_LOAD);
	toy.ty_seen[5] = sim_word_load(word(0), SIM_LOAD);
}

Test(explore, every_order_of_what_conflicts)
{
	const struct toy three = {
		.ty_cpus = 3, .ty_model = SIM_TSO, .ty_programs = {add_one, add_one, add_one}};
	const struct toy lost = {
		.ty_cpus = 2, .ty_model = SIM_SC, .ty_programs = {add_by_hand, add_by_hand}};
	const struct toy reader = {
		.ty_cpus = 3, .ty_model = SIM_TSO, .ty_programs = {add_one, add_one, read_twice}};

	compare(&three, 6, 6);
	compare(&lost, 3, 0);
	compare(&reader, 12, 12);
}

/* ---- Last zero (Abdulla and others, 2014) --------------------------------------------------- */

static void
last_zero(void *arg)
{
	unsigned int i = 2;

	(void)arg;
	while (i > 0 && sim_word_load(word(i), SIM_LOAD) != 0)
		i--;
	toy.ty_seen[0] = i;
}

static void
copy_next(void *arg)
{
	const unsigned int cpu = sim_cpu();

	(void)arg;
	sim_word_store(word(cpu), sim_word_load(word(cpu - 1), SIM_LOAD) + 1, SIM_STORE);
}

Test(explore, last_zero)
{
	const struct toy ty = {
		.ty_cpus = 3, .ty_model = SIM_SC, .ty_programs = {last_zero, copy_next, copy_next}};

	compare(&ty, 3, 0);
}

/* ---- Locks, and loops that wait -------------------------------------------------------------- */

static void
under_lock(void *arg)
{
	(void)arg;
	sim_lock(toy.ty_lock);
	add_by_hand(NULL);
	sim_unlock(toy.ty_lock);
}

static void
raise_flag(void *arg)
{
	(void)arg;
	sim_word_store(word(1), 7, SIM_STORE);
	sim_word_store(word(0), 1, SIM_STORE);
}

static void
await_flag(void *arg)
{
	(void)arg;
	while (sim_word_load(word(0), SIM_LOAD) == 0)
		sim_relax();
	toy.ty_seen[1] = sim_word_load(word(1), SIM_LOAD);
}

Test(explore, locks_and_loops)
{
	const struct toy locked = {.ty_cpus = 3,
				   .ty_model = SIM_TSO,
				   .ty_programs = {under_lock, under_lock, under_lock}};
	const struct toy flag = {
		.ty_cpus = 2, .ty_model = SIM_TSO, .ty_programs = {raise_flag, await_flag}};

	compare(&locked, 6, 0);
	compare(&flag, 1, 3);
}

static void
await_for_good(void *arg)
{
	(void)arg;
	while (sim_word_load(word(3), SIM_LOAD) == 0)
		sim_relax();
}

Test(explore, a_wait_for_nothing_is_found)
{
	const struct toy ty = {
		.ty_cpus = 2, .ty_model = SIM_TSO, .ty_programs = {raise_flag, await_for_good}};
	const struct explore_stats st = search(&ty, EXPLORE_DPOR, EXPLORE_UNBOUNDED);

	cr_assert_gt(st.es_violations, 0);
	cr_assert_str_eq(st.es_report.sr_check, "CK-SCHED");
}

/* ---- Choices inside steps ------------------------------------------------------------------- */

static void
may_fail(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 3; i++) {
		sim_point(SIM_USER, NULL);
		toy.ty_seen[i] = sim_fault(SIM_FAULT_ENTRY);
	}
}

Test(explore, every_choice_is_taken)
{
	const struct toy ty = {
		.ty_cpus = 1, .ty_model = SIM_TSO, .ty_programs = {may_fail}, .ty_fault_ppm = 1};

	compare(&ty, 8, 8);
}

/* ---- The bound ------------------------------------------------------------------------------ */

/* Three switches away from a CPU that could go on are what it takes. */
static void
ping(void *arg)
{
	(void)arg;
	toy.ty_seen[0] = sim_word_fetch_add(word(0), 1);
	toy.ty_seen[1] = sim_word_fetch_add(word(0), 1);
	toy.ty_seen[2] = sim_word_fetch_add(word(0), 1);
}

static void
pong(void *arg)
{
	(void)arg;
	toy.ty_seen[4] = sim_word_fetch_add(word(0), 1);
	toy.ty_seen[5] = sim_word_fetch_add(word(0), 1);
}

Test(explore, preemptions_are_bounded)
{
	const struct toy ty = {.ty_cpus = 2, .ty_model = SIM_SC, .ty_programs = {ping, pong}};
	/* Of the 10 orders of 3 and 2 those with so many switches from who could go on. */
	static const unsigned int orders[] = {2, 5, 9, 10};

	for (uint32_t bound = 0; bound < 4; bound++) {
		const struct explore_stats dpor = search(&ty, EXPLORE_DPOR, bound);

		cr_assert_eq(ends.en_n, orders[bound], "%u orders with %" PRIu32 " preemptions",
			     ends.en_n, bound);
		const struct explore_stats none = search(&ty, EXPLORE_NONE, bound);

		cr_assert_eq(dpor.es_finals_sum, none.es_finals_sum);
	}
	compare(&ty, 10, 10);
}

Test(explore, agents_are_free_within_the_bound)
{
	const struct toy ty = {
		.ty_cpus = 2, .ty_model = SIM_TSO, .ty_programs = {sb_left, sb_right}};

	for (uint32_t bound = 0; bound < 3; bound++) {
		const struct explore_stats dpor = search(&ty, EXPLORE_DPOR, bound);
		const struct explore_stats sleep = search(&ty, EXPLORE_SLEEP, bound);
		const struct explore_stats none = search(&ty, EXPLORE_NONE, bound);

		cr_assert_eq(dpor.es_finals_sum, none.es_finals_sum);
		cr_assert_eq(sleep.es_finals_sum, none.es_finals_sum);
		cr_assert_eq(none.es_finals, bound == 0 ? 3u : 4u, "%" PRIu64, none.es_finals);
	}
}
