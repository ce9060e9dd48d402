/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The page of pmap-sim compare: the picture, and beside it the table that says the same in figures.
 * It looks like other reports and is as shut: nothing is fetched, and there are no scripts.
 */

#include <inttypes.h>

#include "sim/cli/cli_compare.h"
#include "sim/cli/version.h"
#include "sim/report/html.h"

static void
facts(FILE *to, const struct compare_table *t)
{
	const struct trace_info *const info = t->ct_info;

	fputs("<dl class=\"facts\"><dt>Trace</dt><dd>", to);
	html_text(to, t->ct_path);
	fprintf(to,
		": %" PRIu64 " %s, %u vCPU%s, %" PRIu64 " pages</dd>"
		"<dt>Replays</dt><dd>%u, each with seed %" PRIu64 "</dd><dt>Tool</dt><dd>pmap-sim ",
		info->ti_records, info->ti_timed ? "faults of a guest" : "records of a program",
		info->ti_vcpus, info->ti_vcpus == 1 ? "" : "s", info->ti_pages, t->ct_nrows,
		t->ct_seed);
	html_text(to, sim_build_id);
	fputs(", ", to);
	html_text(to, sim_compiler);
	fputs("</dd></dl>\n", to);
}

static void
row(FILE *to, const struct compare_row *r)
{
	fprintf(to, "<tr><th scope=\"row\">%s</th><td>", sim_arch_name(r->cr_arch));
	html_text(to, r->cr_label);
	fputs("</td>", to);
	for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
		fprintf(to, "<td class=\"n\">%" PRIu64 "</td>", r->cr_figures[f]);
	fputs("</tr>\n", to);
}

static void
table(FILE *to, const struct compare_table *t)
{
	fputs("<section aria-label=\"Figures\"><h2>The figures</h2>\n<div class=\"wide\">"
	      "<table>\n<thead><tr><th scope=\"col\">type</th><th scope=\"col\">setting</th>",
	      to);
	for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
		fprintf(to, "<th scope=\"col\">%s</th>", compare_columns[f].cc_title);
	fputs("</tr></thead>\n<tbody>\n", to);
	for (unsigned int r = 0; r < t->ct_nrows; r++)
		row(to, &t->ct_rows[r]);
	fputs("</tbody>\n</table></div>\n<dl class=\"facts\">", to);
	for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
		fprintf(to, "<dt>%s</dt><dd>%s</dd>", compare_columns[f].cc_title,
			compare_columns[f].cc_meaning);
	fputs("</dl></section>\n", to);
}

void
compare_write_html(FILE *to, const struct compare_table *t)
{
	html_head(to, "compare");
	fputs("<h1>What a trace costs under several settings</h1>\n</header>\n<main>\n", to);
	facts(to, t);
	fputs("<figure class=\"wide\">\n", to);
	compare_write_svg(to, t, false);
	fputs("<figcaption>Each group has a scale of its own: the longest bar is its most."
	      "</figcaption></figure>\n",
	      to);
	table(to, t);
	fputs("</main>\n</body>\n</html>\n", to);
}
