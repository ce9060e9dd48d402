/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Output for programs: one JSON object. docs/REPORT.md describes it. */

#include <inttypes.h>

#include "sim/cli/cli.h"
#include "sim/oracle/invariants.h"
#include "sim/report/json.h"
#include "sim/cli/version.h"

#define SCHEMA "skep-pmap-sim-report"
#define SCHEMA_VERSION 1

static void
write_tool(struct json *j)
{
	json_object(j, "tool");
	json_string(j, "version", sim_version);
	json_string(j, "commit", sim_commit);
	json_string(j, "options", sim_build_options);
	json_string(j, "compiler", sim_compiler);
	json_close(j);
}

static void
write_options(struct json *j, const struct sim_options *o)
{
	json_object(j, "options");
	json_string(j, "workload", o->scenario ? "scenario" : o->trace_path ? "trace" : "random");
	json_string(j, "scenario", o->scenario);
	json_string(j, "trace", o->trace_path);
	json_array(j, "arch");
	for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
		if (o->arch_set >> i & 1)
			json_string(j, NULL, sim_arch_name((enum sim_arch)i));
	}
	json_close(j);
	json_string(j, "caps", o->caps);
	json_u64(j, "cpus", o->cpus);
	json_u64(j, "vcpus", o->vcpus);
	json_hex(j, "seed", o->seed);
	json_u64(j, "count", o->count);
	json_u64(j, "steps", o->steps);
	json_string(j, "memory_model", o->sequential ? "sc" : "tso");
	json_bool(j, "reference", o->reference);
	json_string(j, "scheduler", o->policy ? o->policy : "random");
	json_u64(j, "schedule", o->schedule);
	json_u64(j, "schedules", o->schedules);
	json_bool(j, "check_determinism", o->check_determinism);
	json_string(j, "faults", o->faults);
	json_string(j, "kindness", o->kindness);
	json_close(j);
}

static void
write_trace(struct json *j, const struct trace *t)
{
	const struct trace_info *i;

	if (!t) {
		json_null(j, "trace");
		return;
	}
	i = trace_info(t);
	json_object(j, "trace");
	json_string(j, "program", i->ti_program);
	json_u64(j, "accesses", i->ti_accesses);
	json_u64(j, "records", i->ti_records);
	json_u64(j, "pages", i->ti_pages);
	json_u64(j, "regions", i->ti_regions);
	json_u64(j, "window", i->ti_window);
	json_close(j);
}

static void
write_runs(struct json *j, const struct cli_sum *s)
{
	json_object(j, "runs");
	json_u64(j, "wanted", s->wanted);
	json_u64(j, "done", s->done);
	json_u64(j, "passed", s->passed);
	json_u64(j, "violations", s->violations);
	json_u64(j, "stopped_by_budget", s->budgets);
	json_u64(j, "errors", s->errors);
	json_close(j);
	json_u64(j, "steps", s->steps);
	json_decimal(j, "seconds", s->seconds);
	json_decimal(j, "steps_per_second", s->seconds > 0 ? (double)s->steps / s->seconds : 0);
	json_hex(j, "trace_hash", s->hash);
}

static void
write_schedules(struct json *j, const struct cli_sum *s)
{
	const struct sim_options *o = &s->args->options;
	const bool bound = o->scheduler == SIM_SCHEDULER_PCT && s->schedules > 0;
	char miss[32];

	snprintf(miss, sizeof(miss), "%.3g",
		 policy_pct_miss(s->actors, s->picks, o->depth, s->schedules));
	json_object(j, "schedules");
	json_u64(j, "made", s->schedules);
	json_decimal(j, "per_second", s->seconds > 0 ? (double)s->schedules / s->seconds : 0);
	json_u64(j, "actors", s->actors);
	json_u64(j, "longest", s->picks);
	json_string(j, "miss_bound", bound ? miss : NULL);
	json_close(j);
}

static void
write_counters(struct json *j, const struct cli_sum *s)
{
	json_object(j, "counters");
	for (unsigned int g = 0; g < SIM_COUNT_GROUPS; g++) {
		json_object(j, cli_group_name((enum sim_counter_group)g));
		for (unsigned int i = 0; i < s->counters.ncounters; i++) {
			const struct sim_counter *c = &s->counters.counters[i];

			if (c->group == g)
				json_u64(j, c->name, c->value);
		}
		json_close(j);
	}
	json_close(j);

	json_bool(j, "coverage_judged", cli_sum_judges_coverage(s));
	json_array(j, "never_exercised");
	for (unsigned int i = 0; i < s->counters.ncounters; i++) {
		const struct sim_counter *c = &s->counters.counters[i];
		char name[2 * SIM_COUNTER_NAME_BYTES];

		if (cli_never_exercised(s, c)) {
			snprintf(name, sizeof(name), "%s/%s", cli_group_name(c->group), c->name);
			json_string(j, NULL, name);
		}
	}
	json_close(j);
}

static void
write_replay(struct json *j, const struct cli_sum *s)
{
	json_object(j, "replay");
	json_string(j, "command", s->line[0] ? s->line : NULL);
	json_bool(j, "tried", s->repeat != CLI_REPEAT_NONE);
	json_bool(j, "reproduced", s->repeat == CLI_REPEAT_SAME);
	json_string(j, "saved", s->saved);
	json_close(j);
}

static void
write_failure(struct json *j, const struct cli_sum *s)
{
	const struct sim_outcome *out = &s->first.pr_outcome;
	const bool violation = out->verdict == SIM_VIOLATION && !s->first.pr_error &&
			       !s->first.pr_signal && !s->first.pr_exit;
	const struct sim_invariant_info *info = sim_invariant_by_id(out->invariant);
	char text[CLI_WHY_BYTES];

	if (!s->failed) {
		json_null(j, "failure");
		return;
	}
	cli_failure_text(&s->first, text, sizeof(text));
	json_object(j, "failure");
	json_string(j, "kind", violation ? "violation" : s->first.pr_signal ? "crash" : "error");
	json_hex(j, "seed", out->seed);
	json_string(j, "arch", sim_arch_name(out->arch));
	json_string(j, "message", violation ? out->message : text);
	if (violation) {
		json_string(j, "check", out->check);
		json_string(j, "invariant", *out->invariant ? out->invariant : NULL);
		json_string(j, "invariant_title", info ? info->title : NULL);
		json_u64(j, "step", out->steps);
		if (out->cpu == SIM_NO_CPU)
			json_null(j, "cpu");
		else
			json_u64(j, "cpu", out->cpu);
		json_hex(j, "trace_hash", out->trace_hash);
	} else {
		json_u64(j, "signal", (uint64_t)s->first.pr_signal);
	}
	write_replay(j, s);
	json_close(j);
}

static void
write_recorded(struct json *j, const struct cli_sum *s)
{
	const struct replay *re = s->recorded;

	if (!re) {
		json_null(j, "recorded");
		return;
	}
	json_object(j, "recorded");
	json_string(j, "build", re->re_build);
	json_string(j, "verdict", sim_verdict_name(re->re_verdict));
	json_string(j, "check", *re->re_check ? re->re_check : NULL);
	json_string(j, "invariant", *re->re_invariant ? re->re_invariant : NULL);
	json_u64(j, "step", re->re_step);
	json_hex(j, "trace_hash", re->re_trace_hash);
	json_bool(j, "choices_unfit", s->choices_unfit);
	json_string(j, "parted_at", *s->unfit ? s->unfit : NULL);
	json_bool(j, "same_run", cli_same_run(s));
	json_close(j);
}

void
cli_write_json(FILE *to, const struct cli_sum *s)
{
	const int code = cli_sum_exit(s);
	struct json j;

	json_start(&j, to);
	json_object(&j, NULL);
	json_string(&j, "schema", SCHEMA);
	json_u64(&j, "schema_version", SCHEMA_VERSION);
	write_tool(&j);
	write_options(&j, &s->args->options);
	write_trace(&j, s->args->trace);
	json_string(&j, "verdict", cli_exit_word(s, code));
	json_u64(&j, "exit_code", (uint64_t)code);
	write_runs(&j, s);
	write_schedules(&j, s);
	write_counters(&j, s);
	write_failure(&j, s);
	write_recorded(&j, s);
	json_close(&j);
	json_finish(&j);
}
