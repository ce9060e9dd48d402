/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Tables for people, JSON for programs (docs/BENCH.md has its fields), and pictures.
 */

#include "bench/cost/cost_report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench/plot.h"

#define FORMAT 1

void
cost_report_list(FILE *to)
{
	fprintf(to, "schemes:\n");
	for (unsigned int i = 0; i < inv_nschemes; i++)
		fprintf(to, "  %-11s %s\n", inv_schemes[i]->sc_name, inv_schemes[i]->sc_what);
	fprintf(to, "\ncosts (--set ITEM=VALUE):\n");
	for (unsigned int i = 0; i < COST_ITEMS; i++)
		fprintf(to, "  %-11s %5u %s  %s\n              source: %s\n", cost_items[i].ci_name,
			cost_items[i].ci_value, i == COST_CLUSTER || i == COST_SOCKET ? "  " : "ns",
			cost_items[i].ci_what, cost_items[i].ci_source);
}

/* ---- Tables --------------------------------------------------------------------------------- */

static double
per_unmap(const struct cost_result *r, uint64_t n)
{
	return r->cr_counts.ic_unmaps != 0 ? (double)n / (double)r->cr_counts.ic_unmaps : 0;
}

static double
median(const struct cost_result *r)
{
	return (double)hist_at(&r->cr_latency, 500);
}

static double
worst(const struct cost_result *r)
{
	return (double)r->cr_latency.hi_max;
}

static double
stolen(const struct cost_result *r)
{
	return per_unmap(r, r->cr_stolen_ns);
}

static double
shootdowns(const struct cost_result *r)
{
	return per_unmap(r, r->cr_counts.ic_shootdowns);
}

static double
kicks(const struct cost_result *r)
{
	return per_unmap(r, r->cr_counts.ic_kicks);
}

static double
stale(const struct cost_result *r)
{
	return per_unmap(r, r->cr_stale);
}

static const struct quantity {
	const char *qu_title;
	double (*qu_of)(const struct cost_result *r);
	int qu_digits;
	const char *qu_file; /* a picture of it, before the initiators; NULL: none */
	const char *qu_axis;
} quantities[] = {
	{"initiator: median latency, ns", median, 0, "cost-latency", "latency of a gather (ns)"},
	{"initiator: longest latency, ns", worst, 0, NULL, NULL},
	{"taken from the other CPUs, ns per gather", stolen, 0, "cost-stolen",
	 "time taken from others (ns per gather)"},
	{"shootdowns per gather", shootdowns, 3, NULL, NULL},
	{"interrupts per gather", kicks, 2, NULL, NULL},
	{"share of gathers after which a CPU could still use what was unmapped", stale, 2, NULL,
	 NULL},
};
#define QUANTITIES (sizeof(quantities) / sizeof(quantities[0]))

static void
print_table(const struct cost_plan *plan, const struct cost_result *r, const struct quantity *q)
{
	printf("\n%s\n%6s", q->qu_title, "CPUs");
	for (unsigned int s = 0; s < plan->cp_nschemes; s++)
		printf(" %12s", plan->cp_schemes[s]->sc_name);
	printf("\n");
	for (unsigned int n = 0; n < plan->cp_nsizes; n++) {
		printf("%6u", plan->cp_sizes[n]);
		for (unsigned int s = 0; s < plan->cp_nschemes; s++)
			printf(" %12.*f", q->qu_digits, q->qu_of(&r[s * plan->cp_nsizes + n]));
		printf("\n");
	}
}

/* ---- Pictures ------------------------------------------------------------------------------- */

static bool
draw(const struct cost_plan *plan, const struct cost_result *r, const struct quantity *q)
{
	char title[128];
	char name[64];
	struct plot plot = {.pl_title = title,
			    .pl_x = "CPUs that run the guest",
			    .pl_y = q->qu_axis,
			    .pl_log_x = true,
			    .pl_log_y = true,
			    .pl_nseries = plan->cp_nschemes};
	double x[COST_SIZES_MAX];
	double y[COST_SCHEMES_MAX][COST_SIZES_MAX];
	char path[4096];

	snprintf(title, sizeof(title), "%s; CPUs that unmap: %u", q->qu_title, plan->cp_initiators);
	snprintf(name, sizeof(name), "%s-%u.svg", q->qu_file, plan->cp_initiators);
	for (unsigned int n = 0; n < plan->cp_nsizes; n++)
		x[n] = plan->cp_sizes[n];
	for (unsigned int s = 0; s < plan->cp_nschemes; s++) {
		for (unsigned int n = 0; n < plan->cp_nsizes; n++)
			y[s][n] = q->qu_of(&r[s * plan->cp_nsizes + n]);
		plot.pl_series[s] = (struct plot_series){.ps_name = plan->cp_schemes[s]->sc_name,
							 .ps_n = plan->cp_nsizes,
							 .ps_x = x,
							 .ps_y = y[s]};
	}
	if (snprintf(path, sizeof(path), "%s/%s", plan->cp_svg, name) >= (int)sizeof(path))
		return false;
	return plot_write(&plot, path);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *
histogram(const struct hist *h)
{
	json_t *const buckets = json_array();

	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		if (h->hi_bucket[i] != 0)
			json_array_append_new(buckets, json_pack("[I,i]", (json_int_t)hist_low(i),
								 (int)h->hi_bucket[i]));
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "count", (json_int_t)h->hi_count, "min",
			 (json_int_t)h->hi_min, "p50", (json_int_t)hist_at(h, 500), "p99",
			 (json_int_t)hist_at(h, 990), "max", (json_int_t)h->hi_max, "sum",
			 (json_int_t)h->hi_sum, "buckets", buckets);
}

static json_t *
one_result(const struct cost_plan *plan, unsigned int scheme, unsigned int size,
	   const struct cost_result *r)
{
	const struct inv_counts *const c = &r->cr_counts;

	return json_pack("{s:s,s:i,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "scheme",
			 plan->cp_schemes[scheme]->sc_name, "cpus", (int)plan->cp_sizes[size],
			 "latency_ns", histogram(&r->cr_latency), "gathers",
			 (json_int_t)c->ic_unmaps, "shootdowns", (json_int_t)c->ic_shootdowns,
			 "merged", (json_int_t)c->ic_merged, "kicks", (json_int_t)c->ic_kicks,
			 "flushes", (json_int_t)c->ic_flushes, "stolen_ns",
			 (json_int_t)r->cr_stolen_ns, "elapsed_ns", (json_int_t)r->cr_elapsed_ns,
			 "stale", (json_int_t)r->cr_stale, "held_most", (json_int_t)r->cr_held_most,
			 "lines_moved", (json_int_t)r->cr_totals.ct_lines);
}

static bool
write_json(const struct cost_plan *plan, const struct cost_result *r)
{
	json_t *const costs = json_object();
	json_t *const results = json_array();
	json_t *root;
	int failed;

	for (unsigned int i = 0; i < COST_ITEMS; i++)
		json_object_set_new(costs, cost_items[i].ci_name,
				    json_integer(plan->cp_model.cm_value[i]));
	for (unsigned int s = 0; s < plan->cp_nschemes; s++)
		for (unsigned int n = 0; n < plan->cp_nsizes; n++)
			json_array_append_new(results,
					      one_result(plan, s, n, &r[s * plan->cp_nsizes + n]));
	root = json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:o,s:o}", "kind", "pmap-cost", "format", FORMAT,
			 "initiators", (int)plan->cp_initiators, "pages", (int)plan->cp_pages,
			 "gathers", (int)plan->cp_gathers, "in_guest", (int)plan->cp_in_guest,
			 "costs", costs, "results", results);
	if (root == NULL)
		return false;
	if (strcmp(plan->cp_json, "-") == 0)
		failed = json_dumpf(root, stdout, JSON_INDENT(1)) != 0 || printf("\n") < 0;
	else
		failed = json_dump_file(root, plan->cp_json, JSON_INDENT(1)) != 0;
	json_decref(root);
	return !failed;
}

/* ---- All of it ------------------------------------------------------------------------------ */

static int
run_all(const struct cost_plan *plan, struct cost_result *r)
{
	const bool shown = isatty(STDERR_FILENO) == 1;

	for (unsigned int s = 0; s < plan->cp_nschemes; s++) {
		for (unsigned int n = 0; n < plan->cp_nsizes; n++) {
			const struct cost_setup setup = {.cs_scheme = plan->cp_schemes[s],
							 .cs_model = &plan->cp_model,
							 .cs_vcpus = plan->cp_sizes[n],
							 .cs_initiators = plan->cp_initiators,
							 .cs_pages = plan->cp_pages,
							 .cs_gathers = plan->cp_gathers,
							 .cs_in_guest = plan->cp_in_guest};
			int error;

			if (shown)
				fprintf(stderr, "\r\033[K%s, %u CPUs", setup.cs_scheme->sc_name,
					setup.cs_vcpus);
			error = cost_run(&setup, &r[s * plan->cp_nsizes + n]);
			if (error != 0)
				return error;
		}
	}
	if (shown)
		fprintf(stderr, "\r\033[K");
	return 0;
}

static bool
write_files(const struct cost_plan *plan, const struct cost_result *r)
{
	if (plan->cp_json != NULL && !write_json(plan, r)) {
		fprintf(stderr, "pmap-cost: cannot write %s\n", plan->cp_json);
		return false;
	}
	for (unsigned int i = 0; plan->cp_svg != NULL && i < QUANTITIES; i++) {
		if (quantities[i].qu_file != NULL && !draw(plan, r, &quantities[i])) {
			fprintf(stderr, "pmap-cost: cannot write %s/%s-%u.svg: %s\n", plan->cp_svg,
				quantities[i].qu_file, plan->cp_initiators, strerror(errno));
			return false;
		}
	}
	return true;
}

int
cost_report_run(const struct cost_plan *plan)
{
	struct cost_result *const r =
		calloc((size_t)plan->cp_nschemes * plan->cp_nsizes, sizeof(*r));
	const int error = r != NULL ? run_all(plan, r) : -ENOMEM;
	int status = 0;

	if (error != 0) {
		fprintf(stderr, "pmap-cost: %s\n", strerror(-error));
		free(r);
		return error == -ENOMEM ? EX_TEMPFAIL : EX_SOFTWARE;
	}
	if (plan->cp_json == NULL || strcmp(plan->cp_json, "-") != 0) {
		printf("%u CPU%s unmapping, %u page%s a gather, %u gathers each, %u %% of time in "
		       "the guest\n",
		       plan->cp_initiators, plan->cp_initiators == 1 ? "" : "s", plan->cp_pages,
		       plan->cp_pages == 1 ? "" : "s", plan->cp_gathers, plan->cp_in_guest);
		for (unsigned int i = 0; i < QUANTITIES; i++)
			print_table(plan, r, &quantities[i]);
	}
	if (!write_files(plan, r))
		status = EX_SOFTWARE;
	free(r);
	return status;
}
