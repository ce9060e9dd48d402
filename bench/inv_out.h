/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a run of pmap-inv leaves: tables, JSON (docs/BENCH.md has its fields), pictures, a page.
 */

#ifndef BENCH_INV_OUT_H
#define BENCH_INV_OUT_H

#include "bench/inv_rows.h"
#include "bench/inv_side.h"

struct inv_report {
	struct inv_row *re_rows;
	unsigned int re_nrows;
	struct inv_side *re_sides;
	unsigned int re_nsides;
	unsigned int re_rounds;
	unsigned int re_processors;
	const char *re_type;
};

void inv_out_rows(const struct inv_report *re);
void inv_out_sides(const struct inv_report *re);

/* False, with a message, if it cannot be written. */
bool inv_out_json(const struct inv_report *re, const char *path);
bool inv_out_svg(const struct inv_report *re, const char *dir);
bool inv_out_html(const struct inv_report *re, const char *path);

#endif /* BENCH_INV_OUT_H */
