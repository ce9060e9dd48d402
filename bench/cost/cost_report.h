/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A plan of experiments on the machine of costs, and what is said about their results.
 */

#ifndef BENCH_COST_COST_REPORT_H
#define BENCH_COST_COST_REPORT_H

#include <stdio.h>

#include "bench/cost/cost_run.h"

#define COST_SIZES_MAX 16
#define COST_SCHEMES_MAX 8

struct cost_plan {
	struct cost_model cp_model;
	unsigned int cp_sizes[COST_SIZES_MAX]; /* CPUs that run guests */
	unsigned int cp_nsizes;
	const struct inv_scheme *cp_schemes[COST_SCHEMES_MAX];
	unsigned int cp_nschemes;
	unsigned int cp_initiators;
	unsigned int cp_pages;
	unsigned int cp_gathers;
	unsigned int cp_in_guest;
	const char *cp_json; /* NULL: none */
	const char *cp_svg;  /* directory; NULL: none */
};

/* Schemes and costs, with where they are from. */
void cost_report_list(FILE *to);

/* Runs all of it; tables to standard output, files as asked. An exit code. */
int cost_report_run(const struct cost_plan *plan);

#endif /* BENCH_COST_COST_REPORT_H */
