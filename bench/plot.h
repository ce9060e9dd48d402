/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pictures of measurements: lines over an axis, and heat maps, as SVG that a browser shows by day
 * and by night. No more than what the suite needs.
 */

#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

#include <stdbool.h>
#include <stdio.h>

#define PLOT_SERIES_MAX 8

struct plot_series {
	const char *ps_name;
	unsigned int ps_n;
	const double *ps_x;
	const double *ps_y; /* not above 0 on a logarithmic axis: left out */
	bool ps_limit;	    /* a limit: dashed, without points */
};

struct plot {
	const char *pl_title;
	const char *pl_x;
	const char *pl_y;
	bool pl_log_x; /* by twos */
	bool pl_log_y; /* by tens */
	unsigned int pl_nseries;
	struct plot_series pl_series[PLOT_SERIES_MAX];
};

/* How often what was found: one column for each name, log-spaced rows of values. */
struct heat {
	const char *he_title;
	const char *he_x;
	const char *he_y;
	unsigned int he_columns;
	const char *const *he_names;
	unsigned int he_rows;
	const double *he_low;	/* he_rows + 1 borders, ascending */
	const double *he_share; /* [column * he_rows + row], 0 .. 1 */
};

/* False, and errno, if it cannot be written. */
bool plot_write(const struct plot *p, const char *path);
bool heat_write(const struct heat *h, const char *path);

/* Into an open page. */
void plot_put(const struct plot *p, FILE *to);
void heat_put(const struct heat *h, FILE *to);

#endif /* BENCH_PLOT_H */
