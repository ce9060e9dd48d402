/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The rows of pmap-inv among the others: they need a crew of threads that stays together, so they
 * are a program of their own, whose figures are put into the report here.
 */

#include "bench/front.h"

#include <string.h>
#include <sysexits.h>

/* By tier; what is measured in them is compiled as the suite's own rows are. */
static const char *const programs[] = {"pmap-inv", "pmap-inv-kernel"};
static const char *const tiers[] = {"native", "kernel"};
#define WHAT "shootdowns, with threads as CPUs"

void
inv_front_list(json_t *rows)
{
	const char *const args[] = {"--list", NULL};
	json_t *lines;
	json_t *line;
	size_t i;
	int code;

	lines = spawn_lines(programs[0], args, &code);
	json_array_foreach(lines, i, line)
	{
		const char *const text = json_string_value(line);
		const char *const limit = strstr(text, "of: ");
		char name[64] = "inv.";

		if (limit == NULL || sscanf(text, "inv.%58s", name + 4) != 1)
			continue;
		json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:b}", "name", name, "what",
						      WHAT, "limit", limit + 4, "inv", 1));
	}
	json_decref(lines);
}

/* Best, median and rounds, as other rows have them; best below 0: the least of them. */
static json_t *
series_of(json_t *values, double best)
{
	json_t *const out = json_object();
	double sorted[512];
	size_t kept = 0;

	for (size_t i = 0; i < json_array_size(values) && kept < 512; i++) {
		const double v = json_number_value(json_array_get(values, i));
		size_t at = kept++;

		for (; at > 0 && sorted[at - 1] > v; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = v;
	}
	if (best < 0 && kept > 0)
		best = sorted[0];
	json_object_set_new(out, "best", json_real(best));
	json_object_set_new(out, "median", json_real(kept > 0 ? sorted[kept / 2] : best));
	json_object_set(out, "rounds", values);
	return out;
}

static json_t *
record_of(const json_t *row, const char *arch, const char *tier)
{
	json_t *const out =
		json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", record_text(row, "name"), "arch",
			  arch, "tier", tier, "unit", record_text(row, "unit"), "what", WHAT);
	json_t *const counts = json_object();
	json_t *const limit = series_of(json_object_get(row, "limits"), -1);

	json_object_set_new(limit, "what", json_string(record_text(row, "limit_is")));
	json_object_set_new(out, "limit", limit);
	json_object_set_new(out, "value",
			    series_of(json_object_get(row, "values"), record_real(row, "best")));
	json_object_set(out, "ratio", json_object_get(row, "ratio"));
	json_object_set(out, "ratio_median", json_object_get(row, "ratio_median"));
	json_object_set(out, "target", json_object_get(row, "target"));
	json_object_set(out, "reached", json_object_get(row, "reached"));
	if (json_object_get(row, "count") != NULL)
		json_object_set(counts, record_text(row, "count_is"),
				json_object_get(row, "count"));
	json_object_set_new(out, "counts", counts);
	if (json_object_get(row, "parts") != NULL)
		json_object_set(out, "extra", json_object_get(row, "parts"));
	return out;
}

static void
skip(json_t *report, const char *name, const char *why)
{
	json_array_append_new(json_object_get(report, "skipped"),
			      json_pack("{s:s, s:s}", "name", name, "why", why));
}

/* What this machine lacks for a row: said once, whatever the types; the end if it was named. */
static void
refuse(const struct plan *plan, const char *name, const char *why, json_t *report)
{
	bool by_name;
	json_t *known;
	size_t i;

	if (plan_wants(plan, name, &by_name) && by_name)
		front_fail(EX_TEMPFAIL, "%s cannot run here: %s", name, why);
	json_array_foreach(json_object_get(report, "skipped"), i, known)
	{
		if (strcmp(record_text(known, "name"), name) == 0)
			return;
	}
	skip(report, name, why);
}

static void
add_rows(const struct plan *plan, const json_t *measured, const char *arch, const char *tier,
	 json_t *report)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(measured, "rows"), i, row)
	{
		json_t *record;

		if (json_object_get(row, "refused") != NULL) {
			refuse(plan, record_text(row, "name"), record_text(row, "refused"), report);
			continue;
		}
		record = record_of(row, arch, tier);
		table_row(stdout, record);
		json_array_append_new(json_object_get(report, "rows"), record);
	}
	fflush(stdout);
}

static void
run_arch(const struct plan *plan, const char *arch, unsigned int tier, const char **args,
	 unsigned int n, json_t *report)
{
	char cpus[16];
	json_t *measured;
	int code;

	snprintf(cpus, sizeof(cpus), "%u", plan->pl_cpus);
	args[n++] = "--cpus";
	args[n++] = cpus;
	args[n++] = "--arch";
	args[n++] = arch;
	args[n++] = "--json";
	args[n++] = "-";
	if (plan->pl_ms < 500) {
		args[n++] = "--rounds";
		args[n++] = "3";
	}
	/* The comparison of schemes, and its pictures, once. */
	if (!plan_whole_inv(plan) || json_object_get(report, "invalidation") != NULL) {
		args[n++] = "--rows-only";
	} else if (plan->pl_pictures != NULL) {
		args[n++] = "--svg";
		args[n++] = plan->pl_pictures;
	}
	args[n] = NULL;
	measured = spawn_json(programs[tier], args, &code);
	if (measured == NULL) {
		report_failed(report, "inv", arch, tiers[tier], code);
		return;
	}
	add_rows(plan, measured, arch, tiers[tier], report);
	if (json_array_size(json_object_get(measured, "schemes")) > 0)
		json_object_set(report, "invalidation", json_object_get(measured, "schemes"));
	json_decref(measured);
}

void
inv_front_run(const struct plan *plan, const json_t *rows, json_t *report)
{
	const char *args[SPAWN_ARGS_MAX + 1];
	unsigned int n = 0;
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		const char *const name = record_text(row, "name");
		bool by_name;

		if (json_object_get(row, "inv") == NULL || !plan_wants(plan, name, &by_name))
			continue;
		if (plan->pl_cpus < 2 && by_name)
			front_fail(EX_TEMPFAIL, "%s cannot run here: it needs 2 CPUs, and has %u",
				   name, plan->pl_cpus);
		if (plan->pl_cpus < 2)
			skip(report, name, "it needs 2 CPUs");
		else if (!plan_whole_inv(plan) && n < SPAWN_ARGS_MAX - 16)
			args[n++] = name;
	}
	if (plan->pl_cpus < 2 || (!plan_whole_inv(plan) && n == 0))
		return;
	for (unsigned int a = 0; a < FRONT_ARCHES; a++) {
		if (plan->pl_arch[a] && plan->pl_native)
			run_arch(plan, front_arches[a], 0, args, n, report);
		if (plan->pl_arch[a] && plan->pl_kernel)
			run_arch(plan, front_arches[a], 1, args, n, report);
	}
}
