/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What pmap-sim compare has measured, for its outputs: a column per figure, a row per type of page
 * table and setting.
 */

#ifndef SIM_CLI_COMPARE_H
#define SIM_CLI_COMPARE_H

#include <stdio.h>

#include "sim/cli/cli.h"
#include "sim/workload/compare.h"

#define COMPARE_ROWS_MAX 96
#define COMPARE_LABEL_BYTES 96

enum compare_figure {
	COMPARE_FAULTS,
	COMPARE_AD,
	COMPARE_SHOOTDOWNS,
	COMPARE_KICKS,
	COMPARE_FLUSHES,
	COMPARE_PROMOTIONS,
	COMPARE_DEMOTIONS,
	COMPARE_SUPERPAGES,
	COMPARE_TABLES,
	COMPARE_PAGES,
	COMPARE_FIGURES,
};

struct compare_column {
	const char *cc_title;
	const char *cc_counter; /* of the outcome */
	const char *cc_meaning;
	bool cc_drawn; /* in the picture */
};

extern const struct compare_column compare_columns[COMPARE_FIGURES];

struct compare_row {
	enum sim_arch cr_arch;
	struct compare_setting cr_setting;
	char cr_label[COMPARE_LABEL_BYTES]; /* "superpages=on batch=1": what was varied */
	bool cr_done;
	enum sim_verdict cr_verdict;
	uint64_t cr_hash;
	uint64_t cr_figures[COMPARE_FIGURES];
};

struct compare_table {
	const char *ct_path;
	const struct trace_info *ct_info;
	uint64_t ct_seed;
	unsigned int ct_nrows;
	struct compare_row ct_rows[COMPARE_ROWS_MAX];
};

void compare_write_text(FILE *to, const struct compare_table *t);
void compare_write_json(FILE *to, const struct compare_table *t);

/* Bars, one group per figure; alone: as a file of its own, with its ground. */
void compare_write_svg(FILE *to, const struct compare_table *t, bool alone);

/* A page with the picture and the table. */
void compare_write_html(FILE *to, const struct compare_table *t);

#endif /* SIM_CLI_COMPARE_H */
