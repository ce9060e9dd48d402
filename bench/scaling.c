/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One picture of all rows that run on several CPUs: what they do together over how many they are,
 * and what they would if none hindered another.
 */

#include "bench/front.h"
#include "bench/plot.h"

#include <string.h>

#define POINTS 16

/* The rates of a row by its CPUs, in millions a second; how many points. */
static unsigned int
curve_of(const json_t *record, double *x, double *y)
{
	const json_t *const curve = json_object_get(json_object_get(record, "extra"), "scaling");
	unsigned int n = 0;

	for (size_t i = 0; i < json_array_size(curve) && n < POINTS; i++) {
		const json_t *const pair = json_array_get(curve, i);
		const double ns = json_number_value(json_array_get(pair, 1));

		x[n] = json_number_value(json_array_get(pair, 0));
		y[n] = ns > 0 ? x[n] * 1000 / ns : 0;
		n++;
	}
	return n;
}

bool
scaling_draw(const json_t *report, const char *arch, const char *tier, struct plot *p)
{
	static double x[PLOT_SERIES_MAX][POINTS];
	static double y[PLOT_SERIES_MAX][POINTS];
	json_t *record;
	size_t i;

	*p = (struct plot){.pl_title = "Faults of several CPUs together",
			   .pl_x = "CPUs",
			   .pl_y = "million faults a second",
			   .pl_log_x = true};
	json_array_foreach(json_object_get(report, "rows"), i, record)
	{
		const unsigned int at = p->pl_nseries;
		unsigned int n;

		if (at + 2 > PLOT_SERIES_MAX || strcmp(record_text(record, "arch"), arch) != 0 ||
		    strcmp(record_text(record, "tier"), tier) != 0)
			continue;
		n = curve_of(record, x[at], y[at]);
		if (n < 2)
			continue;
		p->pl_series[at] =
			(struct plot_series){record_text(record, "name"), n, x[at], y[at], false};
		p->pl_nseries++;
	}
	if (p->pl_nseries == 0)
		return false;

	const unsigned int limit = p->pl_nseries++;
	const unsigned int n = p->pl_series[0].ps_n;

	for (unsigned int k = 0; k < n; k++) {
		x[limit][k] = x[0][k];
		y[limit][k] = y[0][0] * x[0][k];
	}
	p->pl_series[limit] = (struct plot_series){"undisturbed", n, x[limit], y[limit], true};
	return true;
}
