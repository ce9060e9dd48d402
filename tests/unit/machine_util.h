/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Small programs on a simulated machine, for its own tests. A program is a function run on each of
 * the first CPUs; it must not use Criterion's assertions (it runs on a stack of its own), so it
 * leaves what it saw in memory.
 */

#ifndef TESTS_UNIT_MACHINE_UTIL_H
#define TESTS_UNIT_MACHINE_UTIL_H

#include "pmap/host.h"

#include <criterion/criterion.h>
#include <string.h>

typedef void (*program_fn)(void *arg);

__attribute__((unused)) static struct sim_machine *
machine(const struct sim_config *cfg)
{
	char why[128] = "";
	struct sim_machine *m = sim_machine_create(cfg, why, sizeof why);

	cr_assert_not_null(m, "%s", why);
	return m;
}

__attribute__((unused)) static struct sim_config
config(unsigned int cpus, uint64_t seed)
{
	struct sim_config cfg;

	sim_config_init(&cfg);
	cfg.sc_cpus = cpus;
	cfg.sc_seed = seed;
	cfg.sc_steps = 1000000;
	return cfg;
}

/* Runs program i on CPU i, up to the first NULL or all CPUs, on a machine that exists. */
__attribute__((unused)) static struct sim_report
run_on(struct sim_machine *m, const program_fn *programs, void *arg)
{
	struct sim_report r;

	for (unsigned int i = 0; i < sim_cpu_count() && programs[i] != NULL; i++)
		cr_assert_eq(sim_spawn(m, i, programs[i], arg), 0);
	sim_machine_run(m, &r);
	return r;
}

/* The same on a machine of its own, which is prepared, and left as it was, outside of the run. */
__attribute__((unused)) static void
run_between(const struct sim_config *cfg, program_fn set_up, const program_fn *programs,
	    program_fn tear_down)
{
	struct sim_machine *m = machine(cfg);
	struct sim_report r;

	cr_assert_eq(sim_machine_call(m, set_up, NULL, &r), SIM_RUN_PASSED);
	for (unsigned int i = 0; i < cfg->sc_cpus; i++)
		cr_assert_eq(sim_spawn(m, i, programs[i], NULL), 0);
	cr_assert_eq(sim_machine_run(m, &r), SIM_RUN_PASSED, "seed %llu: %s: %s",
		     (unsigned long long)cfg->sc_seed, r.sr_check, r.sr_message);
	cr_assert_eq(sim_machine_call(m, tear_down, NULL, &r), SIM_RUN_PASSED, "seed %llu: %s: %s",
		     (unsigned long long)cfg->sc_seed, r.sr_check, r.sr_message);
	sim_machine_destroy(m);
}

/* The same on a machine of its own. */
__attribute__((unused)) static struct sim_report
run(const struct sim_config *cfg, const program_fn *programs, void *arg)
{
	struct sim_machine *m = machine(cfg);
	struct sim_report r = run_on(m, programs, arg);

	sim_machine_destroy(m);
	return r;
}

__attribute__((unused)) static struct sim_report
run_one(program_fn program, void *arg)
{
	struct sim_config cfg = config(1, 1);

	return run(&cfg, (program_fn[]){program}, arg);
}

#define assert_passed(r)                                                                         \
	cr_assert_eq((r).sr_result, SIM_RUN_PASSED, "%s %s: %s", (r).sr_check, (r).sr_invariant, \
		     (r).sr_message)

/* The run ended by this check, and its message says so. */
#define assert_violation(r, check, text)                                                       \
	do {                                                                                   \
		cr_assert_eq((r).sr_result, SIM_RUN_VIOLATED, "result %d: %s", (r).sr_result,  \
			     (r).sr_message);                                                  \
		cr_assert_str_eq((r).sr_check, check, "%s: %s", (r).sr_check, (r).sr_message); \
		cr_assert_not_null(strstr((r).sr_message, text), "%s", (r).sr_message);        \
	} while (0)

#endif /* TESTS_UNIT_MACHINE_UTIL_H */
