/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What pmap-sim compare says: a table, JSON, a picture. */

#include <inttypes.h>
#include <string.h>

#include "sim/cli/cli_compare.h"
#include "sim/report/html.h"
#include "sim/report/json.h"

const struct compare_column compare_columns[COMPARE_FIGURES] = {
	[COMPARE_FAULTS] = {"faults", "faults", "exits for a fault of the nested tables", true},
	[COMPARE_AD] = {"A/D", "ad-emulations", "of these, to set A or D by software", true},
	[COMPARE_SHOOTDOWNS] = {"shootdowns", "shootdowns", "generations begun", true},
	[COMPARE_KICKS] = {"kicks", "kicks", "interrupts to make a guest exit", true},
	[COMPARE_FLUSHES] = {"flushes", "entry-flushes", "entries that flush translations first",
			     true},
	[COMPARE_PROMOTIONS] = {"promoted", "promotions", "512 pages made one", false},
	[COMPARE_DEMOTIONS] = {"demoted", "demotions", "one made 512", false},
	[COMPARE_SUPERPAGES] = {"large", "superpages", "large pages at the end", false},
	[COMPARE_TABLES] = {"tables", "table-pages", "pages of page tables at the end", true},
	[COMPARE_PAGES] = {"pages", "pages", "4 KiB pages mapped at the end", false},
};

/* ---- Text ----------------------------------------------------------------------------------- */

static int
label_width(const struct compare_table *t)
{
	size_t most = strlen("setting");

	for (unsigned int r = 0; r < t->ct_nrows; r++) {
		if (strlen(t->ct_rows[r].cr_label) > most)
			most = strlen(t->ct_rows[r].cr_label);
	}
	return (int)most;
}

void
compare_write_text(FILE *to, const struct compare_table *t)
{
	const int width = label_width(t);

	fprintf(to, "%s: %" PRIu64 " %s, %u vCPU%s, %" PRIu64 " pages, seed %" PRIu64 "\n\n",
		t->ct_path, t->ct_info->ti_records,
		t->ct_info->ti_timed ? "faults of a guest" : "records of a program",
		t->ct_info->ti_vcpus, t->ct_info->ti_vcpus == 1 ? "" : "s", t->ct_info->ti_pages,
		t->ct_seed);
	fprintf(to, "%-8s  %-*s", "type", width, "setting");
	for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
		fprintf(to, " %10s", compare_columns[f].cc_title);
	fputc('\n', to);
	for (unsigned int r = 0; r < t->ct_nrows; r++) {
		const struct compare_row *const row = &t->ct_rows[r];

		fprintf(to, "%-8s  %-*s", sim_arch_name(row->cr_arch), width, row->cr_label);
		for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
			fprintf(to, " %10" PRIu64, row->cr_figures[f]);
		fputc('\n', to);
	}
	fputc('\n', to);
	for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
		fprintf(to, "%-10s  %s\n", compare_columns[f].cc_title,
			compare_columns[f].cc_meaning);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

void
compare_write_json(FILE *to, const struct compare_table *t)
{
	static const char *const superpages[] = {"off", "on", "eager"};
	static const char *const hosts[] = {"none", "age", "dirty", "remove"};
	char hash[32];
	struct json j;

	json_start(&j, to);
	json_object(&j, NULL);
	json_string(&j, "trace", t->ct_path);
	json_u64(&j, "records", t->ct_info->ti_records);
	json_u64(&j, "pages", t->ct_info->ti_pages);
	json_u64(&j, "vcpus", t->ct_info->ti_vcpus);
	json_u64(&j, "ns", t->ct_info->ti_ns);
	json_u64(&j, "seed", t->ct_seed);
	json_array(&j, "rows");
	for (unsigned int r = 0; r < t->ct_nrows; r++) {
		const struct compare_row *const row = &t->ct_rows[r];

		json_object(&j, NULL);
		json_string(&j, "arch", sim_arch_name(row->cr_arch));
		json_object(&j, "set");
		json_string(&j, "superpages", superpages[row->cr_setting.cs_superpages]);
		json_u64(&j, "batch", row->cr_setting.cs_batch);
		json_string(&j, "defer", row->cr_setting.cs_defer ? "on" : "off");
		json_string(&j, "host", hosts[row->cr_setting.cs_host]);
		json_u64(&j, "passes", row->cr_setting.cs_passes);
		json_close(&j);
		snprintf(hash, sizeof(hash), "0x%016" PRIx64, row->cr_hash);
		json_string(&j, "trace_hash", hash);
		for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
			json_u64(&j, compare_columns[f].cc_counter, row->cr_figures[f]);
		json_close(&j);
	}
	json_close(&j);
	json_close(&j);
	json_finish(&j);
}

/* ---- The picture ---------------------------------------------------------------------------- */

#define LEFT 260
#define BARS 420
#define BAR 14
#define GAP 46

/* Okabe and Ito's colors, which differ for every kind of color vision. */
static const char *
color_of(enum sim_arch arch)
{
	return arch == SIM_ARCH_EPT ? "#0072b2" : arch == SIM_ARCH_NPT ? "#009e73" : "#e69f00";
}

static unsigned int
draw_figure(FILE *to, const struct compare_table *t, unsigned int f, unsigned int y)
{
	uint64_t most = 1;

	for (unsigned int r = 0; r < t->ct_nrows; r++) {
		if (t->ct_rows[r].cr_figures[f] > most)
			most = t->ct_rows[r].cr_figures[f];
	}
	fprintf(to, "<text x=\"10\" y=\"%u\" font-weight=\"bold\">%s: %s</text>\n", y,
		compare_columns[f].cc_title, compare_columns[f].cc_meaning);
	y += 8;
	for (unsigned int r = 0; r < t->ct_nrows; r++, y += BAR + 4) {
		const struct compare_row *const row = &t->ct_rows[r];
		const unsigned int w = (unsigned int)(row->cr_figures[f] * BARS / most);

		fprintf(to, "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">%s ", LEFT - 8,
			y + BAR - 2, sim_arch_name(row->cr_arch));
		html_text(to, row->cr_label);
		fprintf(to,
			"</text><rect x=\"%d\" y=\"%u\" width=\"%u\" height=\"%d\" fill=\"%s\"/>"
			"<text x=\"%d\" y=\"%u\">%" PRIu64 "</text>\n",
			LEFT, y, w, BAR, color_of(row->cr_arch), LEFT + (int)w + 6, y + BAR - 2,
			row->cr_figures[f]);
	}
	return y + GAP - BAR;
}

void
compare_write_svg(FILE *to, const struct compare_table *t, bool alone)
{
	unsigned int drawn = 0, y = 50;

	for (unsigned int f = 0; f < COMPARE_FIGURES; f++)
		drawn += compare_columns[f].cc_drawn;
	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
		"font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n<title>What a trace "
		"costs under several settings</title>\n%s<text x=\"10\" y=\"22\" "
		"font-size=\"15\">",
		LEFT + BARS + 120, 60 + drawn * (t->ct_nrows * (BAR + 4) + GAP - BAR + 8),
		alone ? "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" : "");
	html_text(to, t->ct_path);
	fprintf(to, ", %" PRIu64 " %s</text>\n", t->ct_info->ti_records,
		t->ct_info->ti_timed ? "faults" : "records");
	for (unsigned int f = 0; f < COMPARE_FIGURES; f++) {
		if (compare_columns[f].cc_drawn)
			y = draw_figure(to, t, f, y);
	}
	fputs("</svg>\n", to);
}
