/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Tables and JSON of pmap-inv.
 */

#include "bench/inv_out.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define FORMAT 1

#ifndef INV_TIER
#define INV_TIER "native"
#endif

/* ---- For people ----------------------------------------------------------------------------- */

void
inv_out_rows(const struct inv_report *re)
{
	double load;

	if (getloadavg(&load, 1) == 1 && load > re->re_processors + 0.5)
		printf("the load is %.1f on %u processors: threads wait for each other's, and "
		       "figures are worth little\n",
		       load, re->re_processors);
	printf("%-24s %10s %10s %10s %7s %7s %7s  %s\n", "row", "best", "median", "limit", "ratio",
	       "median", "target", "unit, count, verdict");
	for (unsigned int i = 0; i < re->re_nrows; i++) {
		const struct inv_row *const row = &re->re_rows[i];

		if (row->rw_refused != NULL) {
			printf("%-24s not run: needs %u processors, there are %u\n", row->rw_name,
			       row->rw_needs, re->re_processors);
			continue;
		}
		printf("%-24s %10.4g %10.4g %10.4g %7.2f %7.2f %7.2f  %s", row->rw_name,
		       inv_row_best(row), inv_row_median(row), inv_row_limit(row),
		       inv_row_ratio(row), inv_row_ratio_median(row), row->rw_target, row->rw_unit);
		if (row->rw_count != NULL)
			printf(", %g %s", row->rw_counted, row->rw_count);
		printf(": %s\n", inv_row_reached(row) ? "reached" : "NOT reached");
	}
}

static bool
same_setting(const struct inv_setup *a, const struct inv_setup *b)
{
	return a->iu_kick == b->iu_kick && a->iu_vcpus == b->iu_vcpus &&
	       a->iu_initiators == b->iu_initiators && a->iu_pages == b->iu_pages &&
	       a->iu_in_guest == b->iu_in_guest;
}

static double
per_gather(const struct inv_side *sd, uint64_t n)
{
	return sd->sd_sum.ir_counts.ic_unmaps > 0
		       ? (double)n / (double)sd->sd_sum.ir_counts.ic_unmaps
		       : 0;
}

void
inv_out_sides(const struct inv_report *re)
{
	for (unsigned int i = 0; i < re->re_nsides; i++) {
		const struct inv_side *const sd = &re->re_sides[i];
		const struct inv_setup *const su = &sd->sd_setup;
		const struct hist *const h = &sd->sd_sum.ir_latency;

		if (i == 0 || !same_setting(su, &re->re_sides[i - 1].sd_setup))
			printf("\n%s; %u CPU%s, %u %% in the guest; %u initiator%s, %u page%s a "
			       "gather\n%-12s %10s %10s %10s %10s %10s %9s %9s\n",
			       su->iu_kick == INV_POLLED ? "kick by flag" : "kick by signal",
			       su->iu_vcpus, su->iu_vcpus == 1 ? "" : "s", su->iu_in_guest,
			       su->iu_initiators, su->iu_initiators == 1 ? "" : "s", su->iu_pages,
			       su->iu_pages == 1 ? "" : "s", "scheme", "min ns", "p50", "p90",
			       "p99", "p50/page", "shots", "kicks");
		printf("%-12s %10llu %10llu %10llu %10llu %10.1f %9.3f %9.3f\n",
		       inv_side_scheme(sd), (unsigned long long)h->hi_min,
		       (unsigned long long)hist_at(h, 500), (unsigned long long)hist_at(h, 900),
		       (unsigned long long)hist_at(h, 990), (double)hist_at(h, 500) / su->iu_pages,
		       per_gather(sd, sd->sd_sum.ir_counts.ic_shootdowns),
		       per_gather(sd, sd->sd_sum.ir_counts.ic_kicks));
	}
}

/* ---- For programs --------------------------------------------------------------------------- */

/* "model name" of the first processor. */
static void
cpu_model(char *to, size_t bytes)
{
	FILE *const in = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(to, bytes, "unknown");
	while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
		char *const colon = strstr(line, ": ");

		if (strncmp(line, "model name", 10) != 0 || colon == NULL)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(to, bytes, "%s", colon + 2);
		break;
	}
	if (in != NULL)
		fclose(in);
}

static json_t *
machine(const struct inv_report *re)
{
	char model[200];
	struct utsname un;
	double load[1] = {-1};

	cpu_model(model, sizeof(model));
	uname(&un);
	if (getloadavg(load, 1) != 1)
		load[0] = -1;
	return json_pack("{s:s,s:s,s:s,s:i,s:f}", "cpu", model, "kernel", un.release, "compiler",
			 __VERSION__, "processors", (int)re->re_processors, "load", load[0]);
}

static json_t *
numbers(const double *values, unsigned int n)
{
	json_t *const a = json_array();

	for (unsigned int i = 0; i < n; i++)
		json_array_append_new(a, json_real(values[i]));
	return a;
}

static json_t *
one_row(const struct inv_report *re, const struct inv_row *row)
{
	json_t *const o = json_pack("{s:s,s:s,s:s,s:f}", "name", row->rw_name, "unit", row->rw_unit,
				    "limit_is", row->rw_limit, "target", row->rw_target);

	if (row->rw_refused != NULL) {
		json_object_set_new(o, "refused",
				    json_sprintf("it needs %u CPUs, and has %u", row->rw_needs,
						 re->re_processors));
		return o;
	}
	json_object_set_new(o, "values", numbers(row->rw_value, row->rw_rounds));
	json_object_set_new(o, "limits", numbers(row->rw_limits, row->rw_rounds));
	json_object_set_new(o, "best", json_real(inv_row_best(row)));
	json_object_set_new(o, "ratio", json_real(inv_row_ratio(row)));
	json_object_set_new(o, "ratio_median", json_real(inv_row_ratio_median(row)));
	json_object_set_new(o, "reached", json_boolean(inv_row_reached(row)));
	if (row->rw_bare > 0)
		json_object_set_new(
			o, "parts",
			json_pack("{s:f,s:f}", "bare_kick", row->rw_bare, "alone", row->rw_alone));
	if (row->rw_count != NULL) {
		json_object_set_new(o, "count_is", json_string(row->rw_count));
		json_object_set_new(o, "count", json_real(row->rw_counted));
	}
	return o;
}

static json_t *
one_side(const struct inv_side *sd)
{
	const struct inv_setup *const su = &sd->sd_setup;
	const struct hist *const h = &sd->sd_sum.ir_latency;
	const struct inv_counts *const c = &sd->sd_sum.ir_counts;
	json_t *const buckets = json_array();
	json_t *latency;

	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		if (h->hi_bucket[i] != 0)
			json_array_append_new(buckets, json_pack("[I,i]", (json_int_t)hist_low(i),
								 (int)h->hi_bucket[i]));
	latency = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "count", (json_int_t)h->hi_count,
			    "min", (json_int_t)h->hi_min, "p50", (json_int_t)hist_at(h, 500), "p99",
			    (json_int_t)hist_at(h, 990), "max", (json_int_t)h->hi_max, "sum",
			    (json_int_t)h->hi_sum, "buckets", buckets);
	return json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:o,s:I,s:I,s:I,s:I,s:I,s:i}", "scheme",
			 inv_side_scheme(sd), "kick", su->iu_kick == INV_POLLED ? "flag" : "signal",
			 "cpus", (int)su->iu_vcpus, "in_guest", (int)su->iu_in_guest, "initiators",
			 (int)su->iu_initiators, "pages", (int)su->iu_pages, "latency_ns", latency,
			 "gathers", (json_int_t)c->ic_unmaps, "shootdowns",
			 (json_int_t)c->ic_shootdowns, "merged", (json_int_t)c->ic_merged, "kicks",
			 (json_int_t)c->ic_kicks, "flushes", (json_int_t)c->ic_flushes, "held_most",
			 (int)sd->sd_sum.ir_held_most);
}

bool
inv_out_json(const struct inv_report *re, const char *path)
{
	json_t *const rows = json_array();
	json_t *const sides = json_array();
	json_t *root;
	int failed;

	for (unsigned int i = 0; i < re->re_nrows; i++)
		json_array_append_new(rows, one_row(re, &re->re_rows[i]));
	for (unsigned int i = 0; i < re->re_nsides; i++)
		json_array_append_new(sides, one_side(&re->re_sides[i]));
	root = json_pack("{s:s,s:i,s:s,s:s,s:i,s:o,s:o,s:o}", "kind", "pmap-inv", "format", FORMAT,
			 "arch", re->re_type, "tier", INV_TIER, "rounds", (int)re->re_rounds,
			 "machine", machine(re), "rows", rows, "schemes", sides);
	if (root == NULL)
		return false;
	if (strcmp(path, "-") == 0)
		failed = json_dumpf(root, stdout, JSON_INDENT(1)) != 0 || printf("\n") < 0;
	else
		failed = json_dump_file(root, path, JSON_INDENT(1)) != 0;
	json_decref(root);
	if (failed)
		fprintf(stderr, "pmap-inv: cannot write %s\n", path);
	return !failed;
}
