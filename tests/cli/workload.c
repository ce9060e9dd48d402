/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A workload for tests of the command line: in place of the simulator, runs that pass, violate,
 * crash, hang on, or contradict themselves, each on demand, by the name of a scenario.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/workload/compare.h"
#include "sim/oracle/invariants.h"
#include "sim/machine/machine.h"
#include "sim/cli/options.h"
#include "sim/trace/trace.h"
#include "tests/cli/lost.h"
#include "tests/cli/race.h"

#define BAD_SEED 5 /* the one that goes wrong, where one does */
#define COVERAGE_SEEDS 8
#define RECORDED 100 /* choices */

static const struct sim_scenario_info scenarios[] = {
	{"pass", "every run passes"},
	{"violate", "seed 5 violates I14"},
	{"violate-all", "every run violates I25"},
	{"crash", "seed 5 is killed by a signal"},
	{"quit", "seed 5 calls exit(0)"},
	{"error", "seed 5 cannot be run"},
	{"budget", "no run is through before its budget is"},
	{"slow", "a run takes half a second"},
	{"unsteady", "seed 5 violates I14 in ever other steps"},
	{"uncovered", "what should be exercised is not"},
	{"unfit", "no list of choices fits"},
	{"race", "every run violates I14 on a small machine, with hostile names"},
	{"lost", "additions are lost, on a real machine"},
};

const struct sim_scenario_info *
sim_scenario(unsigned int i)
{
	return i < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[i] : NULL;
}

int
sim_options_complete(struct sim_options *o, const struct trace *trace, char *why, size_t why_bytes)
{
	bool known = !o->scenario;

	(void)trace;
	for (unsigned int i = 0; sim_scenario(i); i++)
		known |= o->scenario && strcmp(o->scenario, sim_scenario(i)->name) == 0;
	if (!known) {
		snprintf(why, why_bytes, "there is no scenario '%s'", o->scenario);
		return -EINVAL;
	}
	o->cpus = o->cpus ? o->cpus : 3;
	o->vcpus = o->vcpus ? o->vcpus : 4;
	o->steps = o->steps ? o->steps : 2000;
	return 0;
}

const char *
sim_workload_operation(unsigned int i)
{
	static const char *const names[] = {"none", "work", "rest"};

	return i < 3 ? names[i] : NULL;
}

uint64_t
sim_coverage_seeds(const struct sim_options *o)
{
	return o->trace_path ? UINT64_MAX : COVERAGE_SEEDS;
}

static bool
is_scenario(const struct sim_options *o, const char *name)
{
	return o->scenario && strcmp(o->scenario, name) == 0;
}

static void
violate(struct sim_outcome *out, const char *check, const char *invariant)
{
	out->verdict = SIM_VIOLATION;
	out->cpu = 2;
	out->steps = 1234;
	snprintf(out->check, sizeof(out->check), "%s", check);
	snprintf(out->invariant, sizeof(out->invariant), "%s", invariant);
	snprintf(out->message, sizeof(out->message), "a \"stale\" entry\tfor gpa 0x%llx was used",
		 (unsigned long long)out->seed << 12);
}

static int
record(struct sim_outcome *out)
{
	out->choices = calloc(RECORDED, sizeof(*out->choices));
	if (!out->choices)
		return -ENOMEM;
	for (uint32_t i = 0; i < RECORDED; i++)
		out->choices[i] = (struct sim_choice_record){i / 40, 2 + i / 10, i / 20};
	out->nchoices = RECORDED;
	return 0;
}

/* What the seed that goes wrong does. */
static int
go_wrong(const struct sim_options *o, struct sim_outcome *out)
{
	if (is_scenario(o, "violate"))
		violate(out, "CK-TLB", "I14");
	if (is_scenario(o, "crash"))
		raise(SIGKILL); /* sanitizers would take the others as their own */
	if (is_scenario(o, "quit"))
		exit(0);
	if (is_scenario(o, "error")) {
		snprintf(out->message, sizeof(out->message), "no memory for 3 CPUs");
		return -ENOMEM;
	}
	if (is_scenario(o, "unsteady")) {
		static uint64_t again;

		violate(out, "CK-TLB", "I14");
		out->trace_hash ^= ((uint64_t)getpid() << 8) + ++again;
	}
	return 0;
}

int
sim_run_workload(const struct sim_options *o, struct sim_outcome *out)
{
	const bool covers = !is_scenario(o, "uncovered");

	if (is_scenario(o, "lost"))
		return lost_run(o, out);
	if (is_scenario(o, "race"))
		return race_run(o, out);
	if (is_scenario(o, "slow"))
		usleep(500000);
	if (is_scenario(o, "unfit") && o->choices) {
		snprintf(out->message, sizeof(out->message),
			 "decision 7, step 9: recorded run 1 among 3, now run among 2");
		return -EILSEQ;
	}
	out->steps = o->steps;
	out->trace_hash = (o->seed * 2654435761u) ^ o->arch ^ (uint64_t)o->cpus << 32;
	if (o->choices) {
		for (size_t i = 0; i < o->nchoices; i++)
			out->trace_hash += o->choices[i].cr_value;
		out->trace_hash -= o->nchoices == RECORDED ? 200 : 0; /* their sum */
	}
	for (unsigned int i = 1; i < SIM_INVARIANT_END; i++) {
		if (covers || i != SIM_I14)
			sim_invariant_hit((enum sim_invariant)i);
	}
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "enter", 1000 + o->seed,
			  SIM_COUNTER_REQUIRED | SIM_COUNTER_HEADLINE);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "remove", covers ? 7 : 0,
			  SIM_COUNTER_REQUIRED);
	sim_outcome_count(out, SIM_COUNT_FAULTS, "alloc-failure", 3, SIM_COUNTER_REQUIRED);
	sim_outcome_count(out, SIM_COUNT_HARDWARE, "tlb-fills", 12, 0);
	out->faults.begun[1] = 9;
	out->faults.asked[SIM_FAULT_ALLOC][1] = 7;
	out->faults.hit[SIM_FAULT_ALLOC][1] = 2;
	if (is_scenario(o, "budget"))
		out->verdict = SIM_BUDGET;
	if (is_scenario(o, "violate-all"))
		violate(out, "CK-DIRTY", "I25");
	if (o->record_choices) {
		const int error = record(out);

		if (error)
			return error;
	}
	return o->seed == BAD_SEED ? go_wrong(o, out) : 0;
}

int
sim_run_trace(const struct sim_options *o, const struct trace *trace, struct sim_outcome *out)
{
	struct trace_cursor c;
	struct trace_access a;

	(void)o;
	trace_rewind(&c, trace);
	while (trace_next(&c, &a)) {
		out->steps++;
		out->trace_hash = (out->trace_hash ^ a.ta_page ^ a.ta_count) * 0x100000001b3u;
	}
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "accesses", out->steps, SIM_COUNTER_HEADLINE);
	return 0;
}

/* Figures that follow from the setting, so that rows can be told apart. */
int
sim_run_compare(const struct sim_options *o, const struct trace *trace,
		const struct compare_setting *s, struct sim_outcome *out)
{
	(void)trace;
	if (o->seed == BAD_SEED && s->cs_batch == 2) {
		out->verdict = SIM_VIOLATION;
		strcpy(out->check, "CK-TLB");
		strcpy(out->invariant, "I14");
		strcpy(out->message, "on demand");
	}
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "faults", 1000 + s->cs_superpages, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "kicks", s->cs_batch, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "shootdowns", s->cs_passes, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "pages", 10 * s->cs_host + s->cs_defer, 0);
	return 0;
}

/* There is nothing small enough here to be searched. */
bool
sim_search_complete(struct sim_options *o, struct explore_bounds *b, char *why, size_t why_bytes)
{
	(void)b;
	snprintf(why, why_bytes, "scenario '%s' cannot be searched", o->scenario);
	return false;
}

enum explore_end
sim_search(const struct sim_options *o, struct explore *ex, char *why, size_t why_bytes)
{
	(void)o;
	(void)ex;
	snprintf(why, why_bytes, "no search");
	return EXPLORE_FAILED;
}
