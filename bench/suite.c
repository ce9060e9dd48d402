/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The run: which rows, types and tiers, one after another, and the report that grows from them.
 * The counts of a row come from the counting worker; they are the same for all tiers.
 */

#include "bench/front.h"

#include <string.h>
#include <sysexits.h>
#include <unistd.h>

json_t *
suite_list(void)
{
	const char *const args[] = {"list", NULL};
	int code;
	json_t *const rows = spawn_worker("native", args, &code);

	if (rows == NULL)
		front_fail(code, "the rows could not be listed");
	inv_front_list(rows);
	return rows;
}

static void
check_names(const struct plan *plan, const json_t *rows)
{
	for (unsigned int i = 0; i < plan->pl_nnames; i++) {
		struct plan one = {.pl_names = {plan->pl_names[i]}, .pl_nnames = 1};
		bool any = false;
		bool by_name;
		json_t *row;
		size_t k;

		json_array_foreach(rows, k, row) any |=
			plan_wants(&one, record_text(row, "name"), &by_name);
		if (!any)
			front_fail(EX_USAGE, "'%s': there is no such row; try: pmap-bench list",
				   plan->pl_names[i]);
	}
}

/* Why a row cannot run here; false if it can. */
static bool
cannot(const struct plan *plan, const json_t *row, char *why, size_t bytes)
{
	const unsigned int cpus = (unsigned int)record_real(row, "cpus");
	const unsigned int mib = (unsigned int)record_real(row, "mib");

	if (plan->pl_cpus < cpus)
		snprintf(why, bytes, "it needs %u CPUs, and has %u", cpus, plan->pl_cpus);
	else if (machine_free_mib() < mib)
		snprintf(why, bytes, "it needs %u MiB of memory, and %u are free", mib,
			 machine_free_mib());
	else
		return false;
	return true;
}

static double
ratio_of(const json_t *measured, const char *which)
{
	const double limit = record_real(json_object_get(measured, "limit"), which);

	return limit > 0 ? record_real(json_object_get(measured, "value"), which) / limit : 0;
}

/* The counts by the unit, but for those that say by themselves what they are of. */
static json_t *
counts_of(const json_t *counted)
{
	static const char *const whole[] = {"shootdowns", "kicks", "table_bytes",
					    "left_after_unmap"};
	const double units = record_real(counted, "units");
	json_t *const out = json_object();
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(counted, "counts"), key, value)
	{
		bool is_whole = false;

		for (unsigned int i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
			is_whole |= strcmp(key, whole[i]) == 0;
		json_object_set_new(out, key,
				    json_real(json_number_value(value) / (is_whole ? 1 : units)));
	}
	return out;
}

static json_t *
record_of(const json_t *row, const char *arch, const char *tier, json_t *measured,
	  const json_t *counted)
{
	const double target =
		record_real(row, strcmp(tier, "kernel") == 0 ? "target_kernel" : "target_native");
	const double ratio = ratio_of(measured, "best");
	json_t *const out = json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", record_text(row, "name"),
				      "arch", arch, "tier", tier, "unit", record_text(row, "unit"),
				      "what", record_text(row, "what"));

	json_object_set_new(json_object_get(measured, "limit"), "what",
			    json_string(record_text(row, "limit")));
	json_object_set(out, "limit", json_object_get(measured, "limit"));
	json_object_set(out, "value", json_object_get(measured, "value"));
	json_object_set_new(out, "ratio", json_real(ratio));
	json_object_set_new(out, "ratio_median", json_real(ratio_of(measured, "median")));
	json_object_set_new(out, "target", json_real(target));
	json_object_set_new(out, "reached", json_boolean(ratio <= target));
	json_object_set_new(out, "counts", counts_of(counted));
	if (json_object_get(measured, "hardware") != NULL)
		json_object_set(out, "hardware", json_object_get(measured, "hardware"));
	if (json_object_get(measured, "extra") != NULL)
		json_object_set(out, "extra", json_object_get(measured, "extra"));
	return out;
}

/* Of rows by types: how many will be run, and how many have been. */
static unsigned int planned;
static unsigned int started;

static void
count_planned(const struct plan *plan, const json_t *rows)
{
	unsigned int arches = 0;
	bool by_name;
	json_t *row;
	size_t i;

	for (unsigned int a = 0; a < FRONT_ARCHES; a++)
		arches += plan->pl_arch[a];
	json_array_foreach(rows, i, row)
	{
		char why[128];

		if (json_object_get(row, "inv") == NULL &&
		    plan_wants(plan, record_text(row, "name"), &by_name) &&
		    !cannot(plan, row, why, sizeof(why)))
			planned += json_is_true(json_object_get(row, "any_arch")) ? 1 : arches;
	}
}

static void
progress(const char *row, const char *arch, const char *tier)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%u of %u: %s %s %s ...", started, planned, row, arch,
			tier);
}

static void
progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static void
run_row(const struct plan *plan, const json_t *row, const char *arch, json_t *report)
{
	json_t *const records = json_object_get(report, "rows");
	const char *const name = record_text(row, "name");
	char cpus[16];
	char ms[16];
	const char *const args[] = {name, arch, cpus, ms, NULL};
	json_t *counted;
	int code;

	snprintf(cpus, sizeof(cpus), "%u", plan->pl_cpus);
	snprintf(ms, sizeof(ms), "%u", plan->pl_ms);
	started++;
	progress(name, arch, "count");
	counted = spawn_worker("count", args, &code);
	progress_end();
	if (counted == NULL) {
		report_failed(report, name, arch, "count", code);
		return;
	}
	for (unsigned int t = 0; t < 2; t++) {
		const char *const tier = t == 0 ? "native" : "kernel";
		json_t *measured;
		json_t *record;

		if (!(t == 0 ? plan->pl_native : plan->pl_kernel))
			continue;
		progress(name, arch, tier);
		measured = spawn_worker(tier, args, &code);
		progress_end();
		if (measured == NULL) {
			report_failed(report, name, arch, tier, code);
			continue;
		}
		record = record_of(row, arch, tier, measured, counted);
		table_row(stdout, record);
		fflush(stdout);
		json_array_append_new(records, record);
		json_decref(measured);
	}
	json_decref(counted);
}

static void
run_arches(const struct plan *plan, const json_t *row, json_t *report)
{
	for (unsigned int a = 0; a < FRONT_ARCHES; a++) {
		if (!plan->pl_arch[a])
			continue;
		run_row(plan, row, front_arches[a], report);
		if (json_is_true(json_object_get(row, "any_arch")))
			return;
	}
}

json_t *
suite_run(const struct plan *plan)
{
	json_t *const rows = suite_list();
	json_t *const report = json_object();
	json_t *const records = json_array();
	json_t *const skipped = json_array();
	json_t *const run = json_object();
	json_t *row;
	size_t i;

	check_names(plan, rows);
	count_planned(plan, rows);
	json_object_set_new(report, "format", json_string(FRONT_FORMAT));
	json_object_set_new(report, "machine", machine_describe());
	json_object_set_new(report, "build", machine_build());
	json_object_set_new(report, "run", run);
	json_object_set_new(report, "rows", records);
	json_object_set_new(report, "skipped", skipped);
	json_object_set_new(report, "failed", json_array());
	json_object_set_new(run, "milliseconds_per_row", json_integer(plan->pl_ms));
	json_object_set_new(run, "cpus", json_integer(plan->pl_cpus));
	machine_before(run);
	table_head(stdout);
	json_array_foreach(rows, i, row)
	{
		const char *const name = record_text(row, "name");
		char why[128];
		bool by_name;

		if (!plan_wants(plan, name, &by_name) || json_object_get(row, "inv") != NULL)
			continue;
		if (!cannot(plan, row, why, sizeof(why))) {
			run_arches(plan, row, report);
			continue;
		}
		if (by_name)
			front_fail(EX_TEMPFAIL, "%s cannot run here: %s", name, why);
		json_array_append_new(skipped, json_pack("{s:s, s:s}", "name", name, "why", why));
	}
	inv_front_run(plan, rows, report);
	if (plan_whole_inv(plan))
		cost_front_run(plan, report);
	machine_after(run);
	json_decref(rows);
	return report;
}
