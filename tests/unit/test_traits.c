/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A trait of swarm and rush is in about one seed of sixteen. All others choose among the operations
 * that there were before, so that what was recorded of them is still a run; with the trait a run is
 * recorded and repeated like any other.
 */

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "sim/workload/scenario.h"
#include "sim/workload/workload.h"

#define SEEDS 1600

static struct sim_outcome outcome; /* large */

static bool
has_runs(const char *scenario, uint64_t seed)
{
	const struct scenario *const from = scenario_find(scenario);
	const char *name;
	unsigned int at = 0;
	bool has = false;

	while ((name = scenario_trait(from, seed, &at)) != NULL)
		has |= strcmp(name, "runs") == 0;
	return has;
}

Test(traits, one_seed_in_sixteen)
{
	unsigned int n = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		const bool has = has_runs("swarm", seed);
		struct scenario drawn;

		scenario_draw(scenario_find("swarm"), seed, &drawn);
		cr_assert_eq(drawn.sn_runs, has);
		cr_assert_eq(drawn.sn_weights[OP_ENTER_RUN] != 0, has);
		cr_assert_eq(has_runs("rush", seed), has);
		cr_assert_not(has_runs("random", seed));
		cr_assert_not(has_runs("runs", seed));
		n += has;
	}
	cr_assert_gt(n, SEEDS / 32);
	cr_assert_lt(n, SEEDS / 8);
}

/* The first seed with the trait, or without any. */
static uint64_t
some_seed(bool with)
{
	uint64_t seed = 0;
	unsigned int at;

	do {
		seed++;
		at = 0;
	} while (with ? !has_runs("swarm", seed)
		      : scenario_trait(scenario_find("swarm"), seed, &at) != NULL);
	return seed;
}

static void
run(uint64_t seed, const struct sim_choice_record *list, size_t n)
{
	struct sim_options o = {
		.scenario = "swarm",
		.arch = SIM_ARCH_EPT,
		.arch_set = 1u << SIM_ARCH_EPT,
		.seed = seed,
	};
	char why[200];

	cr_assert_eq(sim_options_complete(&o, NULL, why, sizeof(why)), 0, "%s", why);
	o.record_choices = list == NULL;
	o.choices = list;
	o.nchoices = n;
	memset(&outcome, 0, sizeof(outcome));
	outcome.arch = o.arch;
	outcome.seed = seed;
	cr_assert_eq(sim_run_workload(&o, &outcome), 0, "%s", outcome.message);
	cr_assert_eq(outcome.verdict, SIM_PASS, "%s", outcome.message);
}

static uint64_t
runs_entered(void)
{
	const struct sim_counter *found = NULL;

	for (unsigned int i = 0; i < outcome.ncounters; i++) {
		if (strcmp(outcome.counters[i].name, "enter-run") == 0)
			found = &outcome.counters[i];
	}
	cr_assert_not_null(found);
	return found->value;
}

/* Choices of the workload among n. */
static size_t
choices_among(uint32_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < outcome.nchoices; i++)
		found += outcome.choices[i].cr_kind == SIM_CHOICE_WORKLOAD &&
			 outcome.choices[i].cr_n == n;
	return found;
}

Test(traits, others_choose_among_what_there_was)
{
	run(some_seed(false), NULL, 0);
	cr_assert_gt(choices_among(OP_TRAITS), 20);
	cr_assert_eq(choices_among(OP_COUNT), 0);
	cr_assert_eq(runs_entered(), 0);
	cr_assert_null(strstr(outcome.made_of, "trait"));
	free(outcome.choices);
}

Test(traits, recorded_and_repeated)
{
	const uint64_t seed = some_seed(true);
	struct sim_choice_record *list;
	uint64_t hash;

	run(seed, NULL, 0);
	cr_assert_gt(runs_entered(), 0);
	cr_assert_gt(choices_among(OP_COUNT), 20);
	cr_assert_not_null(strstr(outcome.made_of, "; trait runs"));
	list = outcome.choices;
	hash = outcome.trace_hash;
	run(seed, list, outcome.nchoices);
	cr_assert_eq(outcome.trace_hash, hash);
	cr_assert_gt(runs_entered(), 0);
	free(list);
}
