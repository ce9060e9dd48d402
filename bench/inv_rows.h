/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The rows inv.*: each a figure, the limit measured beside it in the same rounds on the same
 * threads, and counts that must be what they are.
 */

#ifndef BENCH_INV_ROWS_H
#define BENCH_INV_ROWS_H

#include "bench/inv_run.h"

#define INV_ROUNDS_MAX 32
#define INV_ROWS_MAX 40

struct inv_row {
	char rw_name[32];
	const char *rw_unit;
	const char *rw_limit;	/* what the limit is */
	double rw_target;	/* of value / limit */
	double rw_counted;	/* the row's count */
	double rw_count_target; /* at most */
	const char *rw_count;	/* of what; NULL: the row has none */
	const char *rw_refused; /* why it could not be run; NULL: it was */
	unsigned int rw_needs;	/* processors */
	unsigned int rw_n;	/* the number in its name */
	int (*rw_run)(struct crew *c, struct inv_row *row, double *value, double *limit);
	enum pt_type rw_type;
	bool rw_emulate_ad;
	enum inv_kick_kind rw_kick;
	unsigned int rw_gathers; /* of one round */
	double rw_bare;		 /* parts of the limit, the least of each; 0: it has none */
	double rw_alone;
	unsigned int rw_rounds;
	double rw_value[INV_ROUNDS_MAX];
	double rw_limits[INV_ROUNDS_MAX];
};

/* The rows for a machine of so many processors, in order; how many. */
unsigned int inv_rows(struct inv_row rows[INV_ROWS_MAX], unsigned int processors, enum pt_type type,
		      bool emulate_ad);

/* One more round of a row. 0 or a negative errno. */
int inv_row_round(struct crew *c, struct inv_row *row);

double inv_row_best(const struct inv_row *row); /* the smallest value */
double inv_row_median(const struct inv_row *row);
double inv_row_limit(const struct inv_row *row);	/* the smallest limit */
double inv_row_ratio(const struct inv_row *row);	/* best to best */
double inv_row_ratio_median(const struct inv_row *row); /* median of the rounds' ratios */
bool inv_row_reached(const struct inv_row *row);

#endif /* BENCH_INV_ROWS_H */
