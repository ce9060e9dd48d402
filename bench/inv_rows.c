/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What each row measures, and against what.
 *
 * A shootdown that waits has two parts that nobody can do without: the same unmap with nobody to
 * tell, and the kick there and back. Their sum is the limit. Medians within a round keep out the
 * samples in which a thread was not running.
 */

#include "bench/inv_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET_NS UINT64_C(300000000)
#define BLOCK 64 /* gathers or faults timed together where nobody waits */

/* ---- Parts ---------------------------------------------------------------------------------- */

static int
median_of(struct crew *c, const struct inv_row *row, const struct inv_scheme *scheme,
	  unsigned int vcpus, unsigned int pages, unsigned int in_guest, unsigned int block,
	  struct inv_result *r, double *ns)
{
	const struct inv_setup setup = {.iu_scheme = scheme,
					.iu_type = row->rw_type,
					.iu_emulate_ad = row->rw_emulate_ad,
					.iu_kick = row->rw_kick,
					.iu_vcpus = vcpus,
					.iu_initiators = 1,
					.iu_pages = pages,
					.iu_block = block,
					.iu_gathers = row->rw_gathers,
					.iu_in_guest = in_guest,
					.iu_budget_ns = BUDGET_NS};
	const int error = inv_run(c, &setup, r);

	*ns = (double)hist_at(&r->ir_latency, 500);
	return error;
}

/* Ours for `pages` a gather, and the sum that is its limit. */
static int
against_parts(struct crew *c, struct inv_row *row, unsigned int vcpus, unsigned int pages,
	      double *value, double *limit)
{
	static struct inv_result r;
	double bare;
	double alone;
	int error = median_of(c, row, NULL, vcpus, pages, 100, 1, &r, &bare);

	if (error == 0)
		error = median_of(c, row, inv_scheme_named("none"), vcpus, pages, 100, 1, &r,
				  &alone);
	if (error == 0)
		error = median_of(c, row, inv_scheme_named("gather"), vcpus, pages, 100, 1, &r,
				  value);
	if (error != 0)
		return error;
	*value /= pages;
	*limit = (bare + alone) / pages;
	row->rw_bare = row->rw_bare == 0 || bare < row->rw_bare ? bare : row->rw_bare;
	row->rw_alone = row->rw_alone == 0 || alone < row->rw_alone ? alone : row->rw_alone;
	row->rw_counted = (double)r.ir_counts.ic_shootdowns / (double)r.ir_counts.ic_unmaps;
	return 0;
}

/* ---- Rows ----------------------------------------------------------------------------------- */

static int
run_in(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	return against_parts(c, row, row->rw_n, 1, value, limit);
}

static int
run_batch(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	return against_parts(c, row, 1, row->rw_n, value, limit);
}

static int
run_out(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	static struct inv_result r;
	int error = median_of(c, row, inv_scheme_named("none"), row->rw_n, 1, 0, BLOCK, &r, limit);

	if (error == 0)
		error = median_of(c, row, inv_scheme_named("gather"), row->rw_n, 1, 0, BLOCK, &r,
				  value);
	row->rw_counted = (double)r.ir_counts.ic_kicks;
	return error;
}

/* Generations for each unmap, against one for all who are at it. */
static int
run_storm(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	static struct inv_result r;
	const struct inv_setup setup = {.iu_scheme = inv_scheme_named("gather"),
					.iu_type = row->rw_type,
					.iu_emulate_ad = row->rw_emulate_ad,
					.iu_kick = row->rw_kick,
					.iu_vcpus = 1,
					.iu_initiators = row->rw_n,
					.iu_pages = 1,
					.iu_gathers = row->rw_gathers,
					.iu_in_guest = 100,
					.iu_budget_ns = BUDGET_NS};
	const int error = inv_run(c, &setup, &r);

	if (error != 0)
		return error;
	*value = (double)r.ir_counts.ic_shootdowns / (double)r.ir_counts.ic_unmaps;
	*limit = 1.0 / row->rw_n;
	return 0;
}

static int
run_elide(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	struct inv_counts counts;
	const int error = inv_elide(row->rw_type, row->rw_emulate_ad, 1000, &counts);

	(void)c;
	row->rw_counted = (double)counts.ic_shootdowns;
	*value = row->rw_counted;
	*limit = 0;
	return error;
}

static int
run_entry(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	(void)c;
	*limit = inv_locked_ns(row->rw_gathers);
	*value = inv_entry_ns(row->rw_type, row->rw_emulate_ad, row->rw_gathers);
	return *value > 0 ? 0 : -ENOMEM;
}

static int
run_faulting(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	static struct hist h;
	int error = inv_faulting(c, row->rw_type, row->rw_emulate_ad, false,
				 BLOCK * row->rw_gathers, BLOCK, &h);

	*limit = (double)hist_at(&h, 500);
	if (error == 0)
		error = inv_faulting(c, row->rw_type, row->rw_emulate_ad, true,
				     BLOCK * row->rw_gathers, BLOCK, &h);
	*value = (double)hist_at(&h, 500);
	return error;
}

/* The 99th percentile of single faults against one round trip. */
static int
run_faulting_tail(struct crew *c, struct inv_row *row, double *value, double *limit)
{
	static struct hist h;
	static struct inv_result r;
	int error = median_of(c, row, NULL, 1, 1, 100, 1, &r, limit);

	if (error == 0)
		error = inv_faulting(c, row->rw_type, row->rw_emulate_ad, true,
				     BLOCK * row->rw_gathers, 1, &h);
	*value = (double)hist_at(&h, 990);
	return error;
}

/* ---- The table ------------------------------------------------------------------------------ */

static const char parts[] = "same unmap, nobody to tell + bare kick and answer";

static const struct row_kind {
	const char *rk_name; /* with %u for the number */
	const char *rk_unit;
	const char *rk_limit;
	double rk_target;
	const char *rk_count;
	double rk_count_target;
	unsigned int
		rk_least; /* numbers: from, to (0: as many as there are processors for), times */
	unsigned int rk_most;
	unsigned int rk_factor;
	unsigned int rk_others; /* processors beside the number */
	bool rk_number_is_cpus;
	enum inv_kick_kind rk_kick;
	unsigned int rk_gathers;
	int (*rk_run)(struct crew *c, struct inv_row *row, double *value, double *limit);
} kinds[] = {
	/* clang-format off */
	{"inv.latency.in.%u", "ns", parts, 1.2, "shootdowns per unmap", 1, 1, 0, 2, 1, true,
		INV_POLLED, 4000, run_in},
	{"inv.latency.in.signal.%u", "ns", parts, 1.2, "shootdowns per unmap", 1, 1, 0, 2, 1, true,
		INV_SIGNAL, 400, run_in},
	{"inv.latency.out.%u", "ns", "the same unmap, nobody to tell", 1.25, "kicks", 0, 1, 0, 2, 1,
		true, INV_POLLED, 64000, run_out},
	{"inv.batch.%u", "ns/page", parts, 1.25, "shootdowns per unmap", 1, 1, 4096, 8, 2, false,
		INV_POLLED, 300, run_batch},
	{"inv.storm.%u", "per unmap", "1 / initiators", 1.5, NULL, 0, 2, 0, 2, 1, true,
		INV_POLLED, 4000, run_storm},
	{"inv.elide", "shootdowns", "none", 0, "shootdowns", 0, 1, 1, 2, 1, false,
		INV_POLLED, 0, run_elide},
	{"inv.entry", "ns", "one locked operation", 1.3, NULL, 0, 1, 1, 2, 1, false,
		INV_POLLED, 10000, run_entry},
	{"inv.faulting", "ns", "the same faults, no shootdowns", 1.2, NULL, 0, 1, 1, 2, 2, false,
		INV_POLLED, 2000, run_faulting},
	{"inv.faulting.p99", "ns", "bare kick and answer", 1.0, NULL, 0, 1, 1, 2, 2, false,
		INV_POLLED, 2000, run_faulting_tail},
	/* clang-format on */
};

unsigned int
inv_rows(struct inv_row rows[INV_ROWS_MAX], unsigned int processors, enum pt_type type,
	 bool emulate_ad)
{
	unsigned int n = 0;

	for (unsigned int k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		const struct row_kind *const rk = &kinds[k];
		/* At least the first is shown, with what it lacks. */
		const unsigned int room =
			processors > rk->rk_others ? processors - rk->rk_others : 0;
		const unsigned int most = rk->rk_most != 0	? rk->rk_most
					  : room > rk->rk_least ? room
								: rk->rk_least;

		for (unsigned int i = rk->rk_least; i <= most && n < INV_ROWS_MAX;
		     i *= rk->rk_factor) {
			struct inv_row *const row = &rows[n++];

			*row = (struct inv_row){
				.rw_unit = rk->rk_unit,
				.rw_limit = rk->rk_limit,
				.rw_target = rk->rk_target,
				.rw_count = rk->rk_count,
				.rw_count_target = rk->rk_count_target,
				.rw_needs = rk->rk_others + (rk->rk_number_is_cpus ? i : 0),
				.rw_n = i,
				.rw_run = rk->rk_run,
				.rw_type = type,
				.rw_emulate_ad = emulate_ad,
				.rw_kick = rk->rk_kick,
				.rw_gathers = rk->rk_gathers,
			};
			snprintf(row->rw_name, sizeof(row->rw_name), rk->rk_name, i);
			if (row->rw_needs > processors)
				row->rw_refused = "too few processors";
		}
	}
	return n;
}

int
inv_row_round(struct crew *c, struct inv_row *row)
{
	const double before = row->rw_counted;
	int error;

	if (row->rw_rounds == INV_ROUNDS_MAX)
		return 0;
	error = row->rw_run(c, row, &row->rw_value[row->rw_rounds],
			    &row->rw_limits[row->rw_rounds]);
	if (before > row->rw_counted) /* a count is exact: the worst of all rounds stands */
		row->rw_counted = before;
	row->rw_rounds += error == 0;
	return error;
}

/* ---- Of rounds ------------------------------------------------------------------------------ */

static int
by_size(const void *a, const void *b)
{
	const double x = *(const double *)a;
	const double y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
pick(const double *values, unsigned int n, bool median)
{
	double sorted[INV_ROUNDS_MAX];

	if (n == 0)
		return 0;
	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), by_size);
	return sorted[median ? n / 2 : 0];
}

double
inv_row_best(const struct inv_row *row)
{
	return pick(row->rw_value, row->rw_rounds, false);
}

double
inv_row_median(const struct inv_row *row)
{
	return pick(row->rw_value, row->rw_rounds, true);
}

double
inv_row_limit(const struct inv_row *row)
{
	return pick(row->rw_limits, row->rw_rounds, false);
}

double
inv_row_ratio(const struct inv_row *row)
{
	const double limit = inv_row_limit(row);

	return limit > 0 ? inv_row_best(row) / limit : 0;
}

double
inv_row_ratio_median(const struct inv_row *row)
{
	double ratios[INV_ROUNDS_MAX];

	for (unsigned int i = 0; i < row->rw_rounds; i++)
		ratios[i] = row->rw_limits[i] > 0 ? row->rw_value[i] / row->rw_limits[i] : 0;
	return pick(ratios, row->rw_rounds, true);
}

bool
inv_row_reached(const struct inv_row *row)
{
	return row->rw_rounds > 0 && inv_row_ratio(row) <= row->rw_target &&
	       (row->rw_count == NULL || row->rw_counted <= row->rw_count_target);
}
