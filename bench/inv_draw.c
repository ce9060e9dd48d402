/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pictures of pmap-inv: where latencies lie, what a page costs by the size of its gather, and how
 * latency grows with CPUs where there are more than two.
 */

#include "bench/inv_out.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/plot.h"

#define HEAT_ROWS 60
#define POINTS_MAX 16

/* ---- Latency as a heat map ------------------------------------------------------------------ */

/* One CPU always in the guest, one page: a column for each scheme. */
static bool
is_plain(const struct inv_setup *su, enum inv_kick_kind kick)
{
	return su->iu_kick == kick && su->iu_vcpus == 1 && su->iu_initiators == 1 &&
	       su->iu_pages == 1 && su->iu_in_guest == 100;
}

static void
draw_heat(const struct inv_report *re, enum inv_kick_kind kick, FILE *to)
{
	static double share[POINTS_MAX * HEAT_ROWS];
	double low[HEAT_ROWS + 1];
	const char *names[POINTS_MAX];
	struct heat heat = {.he_title = kick == INV_POLLED ? "Latency of one unmap, kick by flag"
							   : "Latency of one unmap, kick by signal",
			    .he_x = "scheme; the bare kick is the limit",
			    .he_y = "latency (ns)",
			    .he_names = names,
			    .he_rows = HEAT_ROWS,
			    .he_low = low,
			    .he_share = share};

	memset(share, 0, sizeof(share));
	for (unsigned int r = 0; r <= HEAT_ROWS; r++)
		low[r] = 30 * pow(10, r * 5.0 / HEAT_ROWS);
	for (unsigned int i = 0; i < re->re_nsides && heat.he_columns < POINTS_MAX; i++) {
		const struct inv_side *const sd = &re->re_sides[i];
		const struct hist *const h = &sd->sd_sum.ir_latency;

		if (!is_plain(&sd->sd_setup, kick) || h->hi_count == 0)
			continue;
		for (unsigned int b = 0; b < HIST_BUCKETS; b++) {
			const double at = log10((double)hist_low(b) / 30) * HEAT_ROWS / 5;
			const int row = hist_low(b) < 30  ? 0
					: at >= HEAT_ROWS ? HEAT_ROWS - 1
							  : (int)at;

			share[heat.he_columns * HEAT_ROWS + (unsigned int)row] +=
				(double)h->hi_bucket[b] / (double)h->hi_count;
		}
		names[heat.he_columns++] = inv_side_scheme(sd);
	}
	heat_put(&heat, to);
}

/* ---- Lines ---------------------------------------------------------------------------------- */

struct lines {
	double li_x[PLOT_SERIES_MAX][POINTS_MAX];
	double li_y[PLOT_SERIES_MAX][POINTS_MAX];
};

/* The medians of every setting that is wanted, a line for each scheme. */
static void
collect(const struct inv_report *re, struct plot *p, struct lines *l,
	bool (*wanted)(const struct inv_setup *su), double (*x)(const struct inv_setup *su),
	bool per_page)
{
	for (unsigned int i = 0; i < re->re_nsides; i++) {
		const struct inv_side *const sd = &re->re_sides[i];
		const char *const name = inv_side_scheme(sd);
		unsigned int s = 0;

		if (!wanted(&sd->sd_setup) || sd->sd_rounds == 0)
			continue;
		while (s < p->pl_nseries && strcmp(p->pl_series[s].ps_name, name) != 0)
			s++;
		if (s == PLOT_SERIES_MAX ||
		    (s < p->pl_nseries && p->pl_series[s].ps_n == POINTS_MAX))
			continue;
		if (s == p->pl_nseries)
			p->pl_series[p->pl_nseries++] =
				(struct plot_series){.ps_name = name,
						     .ps_x = l->li_x[s],
						     .ps_y = l->li_y[s],
						     .ps_limit = sd->sd_setup.iu_scheme == NULL};
		l->li_x[s][p->pl_series[s].ps_n] = x(&sd->sd_setup);
		l->li_y[s][p->pl_series[s].ps_n++] = (double)hist_at(&sd->sd_sum.ir_latency, 500) /
						     (per_page ? sd->sd_setup.iu_pages : 1);
	}
}

static bool
wants_batch(const struct inv_setup *su)
{
	return su->iu_kick == INV_POLLED && su->iu_vcpus == 1 && su->iu_initiators == 1 &&
	       su->iu_in_guest == 100 && su->iu_scheme != NULL;
}

static double
pages_of(const struct inv_setup *su)
{
	return su->iu_pages;
}

static bool
wants_scaling(const struct inv_setup *su)
{
	return su->iu_kick == INV_POLLED && su->iu_pages == 1 && su->iu_initiators == 1 &&
	       su->iu_in_guest == 100;
}

static double
cpus_of(const struct inv_setup *su)
{
	return su->iu_vcpus;
}

/* The limit of a batch is the sum of its parts: a page's share of the kick, and the page. */
static void
add_batch_limit(const struct inv_report *re, struct plot *p, struct lines *l)
{
	double bare = 0;
	unsigned int none = 0;

	for (unsigned int i = 0; i < re->re_nsides; i++)
		if (re->re_sides[i].sd_setup.iu_scheme == NULL &&
		    is_plain(&re->re_sides[i].sd_setup, INV_POLLED))
			bare = (double)hist_at(&re->re_sides[i].sd_sum.ir_latency, 500);
	while (none < p->pl_nseries && strcmp(p->pl_series[none].ps_name, "none") != 0)
		none++;
	if (bare == 0 || none == p->pl_nseries || p->pl_nseries == PLOT_SERIES_MAX)
		return;

	const unsigned int s = p->pl_nseries++;

	p->pl_series[s] = p->pl_series[none];
	p->pl_series[s].ps_name = "limit";
	p->pl_series[s].ps_limit = true;
	p->pl_series[s].ps_y = l->li_y[s];
	for (unsigned int i = 0; i < p->pl_series[s].ps_n; i++)
		l->li_y[s][i] = l->li_y[none][i] + bare / l->li_x[none][i];
}

static void
draw_batch(const struct inv_report *re, FILE *to)
{
	static struct lines l;
	struct plot p = {.pl_title = "A page's share, by the size of its gather",
			 .pl_x = "pages of a gather",
			 .pl_y = "time per page (ns)",
			 .pl_log_x = true,
			 .pl_log_y = true};

	collect(re, &p, &l, wants_batch, pages_of, true);
	add_batch_limit(re, &p, &l);
	plot_put(&p, to);
}

static void
draw_scaling(const struct inv_report *re, FILE *to)
{
	static struct lines l;
	struct plot p = {.pl_title = "Latency by CPUs in the guest",
			 .pl_x = "CPUs that run the guest",
			 .pl_y = "latency (ns)",
			 .pl_log_x = true,
			 .pl_log_y = true};

	collect(re, &p, &l, wants_scaling, cpus_of, false);
	plot_put(&p, to);
}

static void
draw_heat_flag(const struct inv_report *re, FILE *to)
{
	draw_heat(re, INV_POLLED, to);
}

static void
draw_heat_signal(const struct inv_report *re, FILE *to)
{
	draw_heat(re, INV_SIGNAL, to);
}

static const struct {
	const char *name;
	void (*draw)(const struct inv_report *re, FILE *to);
	unsigned int least; /* processors that it takes for more than a point */
} pictures[] = {
	{"inv-latency-flag.svg", draw_heat_flag, 2},
	{"inv-latency-signal.svg", draw_heat_signal, 2},
	{"inv-batch.svg", draw_batch, 2},
	{"inv-scaling.svg", draw_scaling, 3},
};
#define PICTURES (sizeof(pictures) / sizeof(pictures[0]))

bool
inv_out_svg(const struct inv_report *re, const char *dir)
{
	for (unsigned int i = 0; i < PICTURES; i++) {
		char path[4096];
		FILE *to;

		if (re->re_processors < pictures[i].least)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, pictures[i].name);
		to = fopen(path, "w");
		if (to != NULL)
			pictures[i].draw(re, to);
		if (to == NULL || fclose(to) != 0) {
			fprintf(stderr, "pmap-inv: cannot write %s: %s\n", path, strerror(errno));
			return false;
		}
	}
	return true;
}

static void
put_rows(const struct inv_report *re, FILE *to)
{
	fprintf(to, "<table><tr><th>row<th>best<th>limit<th>ratio<th>target<th>unit<th>\n");
	for (unsigned int i = 0; i < re->re_nrows; i++) {
		const struct inv_row *const row = &re->re_rows[i];

		if (row->rw_refused != NULL) {
			fprintf(to, "<tr><td>%s<td colspan=6>not run: needs %u processors\n",
				row->rw_name, row->rw_needs);
			continue;
		}
		fprintf(to, "<tr><td>%s<td>%.4g<td>%.4g<td>%.2f<td>%.2f<td>%s<td>%s\n",
			row->rw_name, inv_row_best(row), inv_row_limit(row), inv_row_ratio(row),
			row->rw_target, row->rw_unit,
			inv_row_reached(row) ? "reached" : "<b>not reached</b>");
	}
	fprintf(to, "</table>\n");
}

bool
inv_out_html(const struct inv_report *re, const char *path)
{
	FILE *const to = fopen(path, "w");

	if (to == NULL) {
		fprintf(stderr, "pmap-inv: cannot write %s: %s\n", path, strerror(errno));
		return false;
	}
	fprintf(to,
		"<!doctype html><html lang=en><meta charset=utf-8><title>Shootdowns</title>\n"
		"<style>body{font:15px sans-serif;margin:2em;color-scheme:light dark}"
		"td,th{padding:.15em .7em;text-align:right}td:first-child{text-align:left}"
		"svg{display:block;margin:1.5em 0;max-width:100%%;height:auto}</style>\n"
		"<h1>Shootdowns, %u processors, %s</h1>\n",
		re->re_processors, re->re_type);
	put_rows(re, to);
	for (unsigned int i = 0; i < PICTURES; i++)
		if (re->re_processors >= pictures[i].least)
			pictures[i].draw(re, to);
	if (fclose(to) != 0) {
		fprintf(stderr, "pmap-inv: cannot write %s: %s\n", path, strerror(errno));
		return false;
	}
	return true;
}
