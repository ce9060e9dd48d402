/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The report as pictures and as one page that needs nothing else. A bar is a row's ratio to its
 * limit, on a logarithmic axis; the mark is what is to be reached.
 */

#include "bench/front.h"
#include "bench/plot.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BAR 18 /* pixels from a row to the next */
#define LEFT 190
#define WIDTH 620
#define RIGHT 70
#define DECADES 3.0 /* from 0.1 on: to 100 */

/* Colors by day and by night. */
#define STYLE                                                                                  \
	"<style>:root{--ink:#1c2330;--dim:#667085;--line:#d8dde6;--ok:#2a7f62;--miss:#c2603a;" \
	"--bg:#fff}@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a2b3;"       \
	"--line:#3a4150;--ok:#4fb38f;--miss:#e08a62;--bg:#14171d}}"                            \
	".ratios text{font:12px system-ui,sans-serif;fill:var(--ink)}"                         \
	".ratios .dim{fill:var(--dim)}.ratios .line{stroke:var(--line)}"                       \
	".ratios .ok{fill:var(--ok)}.ratios .miss{fill:var(--miss)}"                           \
	".ratios .mark{stroke:var(--ink);stroke-width:2}</style>"

static void
put_text(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else
			fputc(*text, out);
	}
}

static double
place(double ratio)
{
	const double at = (log10(ratio > 1e-9 ? ratio : 1e-9) + 1) / DECADES;

	return LEFT + WIDTH * (at < 0.004 ? 0.004 : at > 1 ? 1 : at);
}

static bool
belongs(const json_t *record, const char *arch, const char *tier)
{
	return strcmp(record_text(record, "arch"), arch) == 0 &&
	       strcmp(record_text(record, "tier"), tier) == 0;
}

static void
put_bar(FILE *out, const json_t *record, unsigned int y)
{
	const double ratio = record_ratio(record);
	const double end = place(ratio);
	const double mark = place(record_real(record, "target"));

	fprintf(out, "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">", LEFT - 8, y + 11);
	put_text(out, record_text(record, "name"));
	fprintf(out,
		"</text><rect class=\"%s\" x=\"%d\" y=\"%u\" width=\"%.1f\" height=\"12\" rx=\"2\">"
		"<title>",
		json_is_true(json_object_get(record, "reached")) ? "ok" : "miss", LEFT, y + 1,
		end - LEFT);
	put_text(out, record_text(record, "what"));
	fprintf(out, "</title></rect><text x=\"%.1f\" y=\"%u\" class=\"dim\">%.3g</text>",
		fmax(end, mark) + 5, y + 11, ratio);
	fprintf(out, "<path class=\"mark\" d=\"M%.1f %uv16\"/>\n", mark, y - 1);
}

/* Empty if there is no such row. */
static bool
put_bars(FILE *out, const json_t *report, const char *arch, const char *tier)
{
	json_t *const rows = json_object_get(report, "rows");
	unsigned int n = 0;
	unsigned int y = 44;
	json_t *record;
	size_t i;

	json_array_foreach(rows, i, record) n += belongs(record, arch, tier);
	if (n == 0)
		return false;
	fprintf(out,
		"<svg class=\"ratios\" xmlns=\"http://www.w3.org/2000/svg\" "
		"viewBox=\"0 0 %d %u\" width=\"%d\" "
		"role=\"img\">" STYLE "<text x=\"0\" y=\"14\"><tspan font-weight=\"600\">%s, %s"
		"</tspan>: ratio to the limit; the mark is what is to be reached</text>\n",
		LEFT + WIDTH + RIGHT, 56 + n * BAR, LEFT + WIDTH + RIGHT, arch, tier);
	for (int decade = -1; decade <= 2; decade++) {
		const double x = place(pow(10, decade));

		fprintf(out,
			"<path class=\"line\" d=\"M%.1f 40V%u\"/><text class=\"dim\" x=\"%.1f\" "
			"y=\"36\" text-anchor=\"middle\">%g</text>\n",
			x, 44 + n * BAR, x, pow(10, decade));
	}
	json_array_foreach(rows, i, record)
	{
		if (belongs(record, arch, tier)) {
			put_bar(out, record, y);
			y += BAR;
		}
	}
	fputs("</svg>\n", out);
	return true;
}

static const char *const tiers[] = {"native", "kernel"};

bool
page_svg(const char *folder, const json_t *report)
{
	struct plot scaling;

	if (mkdir(folder, 0777) != 0 && errno != EEXIST)
		return false;
	for (unsigned int a = 0; a < FRONT_ARCHES; a++) {
		for (unsigned int t = 0; t < 2; t++) {
			char path[PATH_MAX];
			bool any;
			FILE *out;

			snprintf(path, sizeof(path), "%s/ratios-%s-%s.svg", folder, front_arches[a],
				 tiers[t]);
			out = fopen(path, "w");
			if (out == NULL)
				return false;
			any = put_bars(out, report, front_arches[a], tiers[t]);
			if (fclose(out) != 0 || (!any && remove(path) != 0))
				return false;
			snprintf(path, sizeof(path), "%s/scaling-%s-%s.svg", folder,
				 front_arches[a], tiers[t]);
			if (scaling_draw(report, front_arches[a], tiers[t], &scaling) &&
			    !plot_write(&scaling, path))
				return false;
		}
	}
	return true;
}

/* ---- The page -------------------------------------------------------------------------------- */

static void
put_facts(FILE *out, const json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		char *const text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(4));

		fputs("<tr><th>", out);
		put_text(out, key);
		fputs("</th><td>", out);
		if (json_is_string(value))
			put_text(out, json_string_value(value));
		else if (text != NULL)
			put_text(out, text);
		fputs("</td></tr>\n", out);
		free(text);
	}
}

static void
put_row(FILE *out, const json_t *record)
{
	const json_t *const value = json_object_get(record, "value");
	const json_t *const limit = json_object_get(record, "limit");
	const char *key;
	json_t *count;

	fprintf(out, "<tr class=\"%s\"><td title=\"",
		json_is_true(json_object_get(record, "reached")) ? "ok" : "miss");
	put_text(out, record_text(record, "what"));
	fputs("\">", out);
	put_text(out, record_text(record, "name"));
	fprintf(out,
		"</td><td>%s</td><td>%s</td><td class=\"n\">%.4g</td><td class=\"n\">%.4g</td>"
		"<td class=\"n\" title=\"",
		record_text(record, "arch"), record_text(record, "tier"),
		record_real(value, "best"), record_real(value, "median"));
	put_text(out, record_text(limit, "what"));
	fprintf(out,
		"\">%.4g</td><td>%s</td><td class=\"n r\">%.3g</td><td class=\"n\">%.3g</td><td>",
		record_real(limit, "best"), record_text(record, "unit"), record_ratio(record),
		record_real(record, "target"));
	json_object_foreach(json_object_get(record, "counts"), key, count)
	{
		if (json_number_value(count) != 0)
			fprintf(out, "%s&nbsp;%.5g ", key, json_number_value(count));
	}
	fputs("</td></tr>\n", out);
}

/* Pictures that pmap-inv wrote beside ours. */
static void
put_others(FILE *out, const char *folder)
{
	char pattern[PATH_MAX];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*.svg", folder);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *const slash = strrchr(found.gl_pathv[i], '/');
		char text[4096];
		size_t n;
		FILE *in;

		if (strncmp(slash + 1, "ratios-", 7) == 0 || strncmp(slash + 1, "scaling-", 8) == 0)
			continue;
		in = fopen(found.gl_pathv[i], "r");
		while (in != NULL && (n = fread(text, 1, sizeof(text), in)) > 0)
			fwrite(text, 1, n, out);
		if (in != NULL)
			fclose(in);
	}
	globfree(&found);
}

static void
put_page(FILE *out, const char *pictures, const json_t *report)
{
	struct plot scaling;
	json_t *record;
	size_t i;

	fputs("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>pmap-bench</title>"
	      "<meta name=\"viewport\" content=\"width=device-width\">" STYLE
	      "<style>body{font:14px/1.5 system-ui,sans-serif;color:var(--ink);"
	      "background:var(--bg);margin:2em auto;max-width:70em;padding:0 1em}"
	      "table{border-collapse:collapse}td,th{padding:.15em .7em .15em 0;text-align:left;"
	      "font-weight:400;vertical-align:top;border-bottom:1px solid var(--line)}"
	      "th{color:var(--dim)}.n{text-align:right;font-variant-numeric:tabular-nums}"
	      ".miss .r{color:var(--miss);font-weight:600}.ok .r{color:var(--ok)}"
	      "svg{max-width:100%;height:auto;margin:1em 0}.scroll{overflow-x:auto}</style>"
	      "<h1>pmap-bench</h1><p>Each row beside its limit, measured in the same process in "
	      "turn with it. What counts is the ratio of the best rounds; counts are of atomic "
	      "operations and shootdowns, by unit, and do not vary.</p>\n",
	      out);
	for (unsigned int t = 0; t < 2; t++) {
		for (unsigned int a = 0; a < FRONT_ARCHES; a++)
			put_bars(out, report, front_arches[a], tiers[t]);
	}
	for (unsigned int a = 0; a < FRONT_ARCHES; a++) {
		if (scaling_draw(report, front_arches[a], "native", &scaling)) {
			plot_put(&scaling, out);
			break;
		}
	}
	if (pictures != NULL && json_object_get(report, "simulated") != NULL)
		put_others(out, pictures);
	fputs("<div class=\"scroll\"><table><tr><th>row<th>type<th>tier<th>best<th>median<th>limit"
	      "<th>unit<th>ratio<th>to reach<th>counts</tr>\n",
	      out);
	json_array_foreach(json_object_get(report, "rows"), i, record) put_row(out, record);
	fputs("</table></div>\n<h2>Where and how</h2><div class=\"scroll\"><table>\n", out);
	put_facts(out, json_object_get(report, "machine"));
	put_facts(out, json_object_get(report, "build"));
	put_facts(out, json_object_get(report, "run"));
	fputs("</table></div>\n", out);
	json_array_foreach(json_object_get(report, "skipped"), i, record)
	{
		fputs("<p>Left out: ", out);
		put_text(out, record_text(record, "name"));
		fputs(": ", out);
		put_text(out, record_text(record, "why"));
		fputs(".</p>\n", out);
	}
	fputs("</html>\n", out);
}

bool
page_html(const char *path, const char *pictures, const json_t *report)
{
	FILE *const out = fopen(path, "w");

	if (out == NULL)
		return false;
	put_page(out, pictures, report);
	return fclose(out) == 0;
}
