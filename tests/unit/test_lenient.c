/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A list of decisions that fits, is followed to the letter; any other still makes a run. */

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "sim/replay/lenient.h"

static struct sim_outcome outcome; /* large */

static uint64_t
run(struct sim_options o, const struct sim_choice_record *list, size_t n, bool record)
{
	struct lenient le;

	memset(&outcome, 0, sizeof outcome);
	outcome.arch = o.arch;
	outcome.seed = o.seed;
	o.record_choices = record;
	if (list != NULL) {
		o.choices = list;
		o.nchoices = n;
		lenient_begin(&le, &o);
		cr_assert_null(o.choices);
	}
	cr_assert_eq(sim_run_workload(&o, &outcome), 0, "%s", outcome.message);
	cr_assert_eq(outcome.verdict, SIM_PASS, "%s", outcome.message);
	return outcome.trace_hash;
}

static struct sim_options
options(void)
{
	struct sim_options o = {
		.scenario = "crowd",
		.policy = "pos",
		.arch = SIM_ARCH_EPT,
		.arch_set = 1u << SIM_ARCH_EPT,
		.seed = 7,
		.steps = 2000,
	};
	char why[200];

	cr_assert_eq(sim_options_complete(&o, NULL, why, sizeof why), 0, "%s", why);
	return o;
}

Test(lenient, what_fits_is_the_same_run)
{
	const struct sim_options o = options();
	const uint64_t hash = run(o, NULL, 0, true);
	struct sim_choice_record *const list = outcome.choices;
	const size_t n = outcome.nchoices;

	cr_assert_gt(n, 1000);
	cr_assert_eq(run(o, list, n, false), hash);
	free(list);
}

Test(lenient, what_does_not_fit_is_another_run)
{
	const struct sim_options o = options();
	const uint64_t hash = run(o, NULL, 0, true);
	struct sim_choice_record *const list = outcome.choices;
	const size_t n = outcome.nchoices;
	const uint64_t half = run(o, list, n / 2, false);

	cr_assert_neq(half, hash);
	cr_assert_eq(run(o, list, n / 2, false), half);

	/* Values that there are none of, and a piece missing. */
	for (size_t i = n / 4; i < n; i++)
		list[i].cr_value = (uint32_t)(i * 2654435761u);
	memmove(list + n / 8, list + n / 4, (n - n / 4) * sizeof *list);
	const uint64_t any = run(o, list, n - n / 8, false);

	cr_assert_neq(any, hash);
	cr_assert_neq(any, half);
	cr_assert_eq(run(o, list, n - n / 8, false), any);
	/* None at all: by chance. */
	cr_assert_neq(run(o, list, 0, false), any);
	free(list);
}
