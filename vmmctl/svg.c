/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A picture of page tables: a column for each level from the root on the left, a box for each table
 * and for each run of like leaves, a line from each to the table that holds it. Colors say what may
 * be done, and are from a palette that the color-blind can tell apart; the words say it too.
 *
 * It is drawn from the module's own text, in which two blanks of indentation are one level.
 */

#define _GNU_SOURCE /* asprintf, memmem */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmctl.h"

#define COLUMN_PX 230
#define ROW_PX 22
#define BOX_PX 18
#define MARGIN_PX 16
#define TITLE_PX 64
#define LEVELS 6
#define LEAF_COLUMN_EXTRA_PX 240

struct picture {
	FILE *pi_file;
	int pi_depths; /* columns */
	int pi_rows;
	int pi_tables;
	int pi_runs;
};

static void
put_escaped(FILE *f, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '<')
			fputs("&lt;", f);
		else if (text[i] == '>')
			fputs("&gt;", f);
		else if (text[i] == '&')
			fputs("&amp;", f);
		else
			fputc(text[i], f);
	}
}

/* Counts, to know the size before anything is drawn. */
static int
measure(struct picture *p, const char *dump)
{
	for (const char *line = dump; *line != '\0';) {
		const size_t n = strcspn(line, "\n");
		const int depth = (int)(strspn(line, " ") / 2);

		if (depth >= LEVELS) {
			errno = EPROTO;
			return -1;
		}
		if (depth + 1 > p->pi_depths)
			p->pi_depths = depth + 1;
		p->pi_rows++;
		if (memmem(line, n, " table ", 7) != NULL)
			p->pi_tables++;
		else
			p->pi_runs++;
		line += n + (line[n] == '\n');
	}
	return 0;
}

/* Of a leaf's line, or a table's. */
static const char *
color_of(const char *line, size_t n)
{
	static const struct {
		const char *word;
		const char *color;
	} colors[] = {
		{" table ", "#d9d9d9"}, {" rwx ", "#e69f00"}, {" rw- ", "#56b4e9"},
		{" r-x ", "#009e73"},	{" r-- ", "#f0e442"}, {" --x ", "#cc79a7"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(colors); i++) {
		if (memmem(line, n, colors[i].word, strlen(colors[i].word)) != NULL)
			return colors[i].color;
	}
	return "#ffffff"; /* nothing is granted: emulated A is clear */
}

static void
draw_legend(const struct picture *p)
{
	static const char *const words[] = {"table", "rwx", "rw-", "r-x", "r--", "--x"};
	static const char *const colors[] = {"#d9d9d9", "#e69f00", "#56b4e9",
					     "#009e73", "#f0e442", "#cc79a7"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		fprintf(p->pi_file,
			"<rect x=\"%zu\" y=\"40\" width=\"12\" height=\"12\" fill=\"%s\" "
			"stroke=\"#555\"/><text x=\"%zu\" y=\"50\">%s</text>\n",
			MARGIN_PX + i * 80, colors[i], MARGIN_PX + 17 + i * 80, words[i]);
}

static void
draw_row(const struct picture *p, const char *text, size_t n, int depth, int row, int parent)
{
	const bool table = memmem(text, n, " table ", 7) != NULL;
	const int x = MARGIN_PX + depth * COLUMN_PX / 2;
	const int y = TITLE_PX + row * ROW_PX;
	const int width = table ? COLUMN_PX + 100 : COLUMN_PX + LEAF_COLUMN_EXTRA_PX;

	if (parent >= 0) {
		const int px = MARGIN_PX + (depth - 1) * COLUMN_PX / 2 + 12;
		const int py = TITLE_PX + parent * ROW_PX + BOX_PX;

		fprintf(p->pi_file, "<path d=\"M%d %d V%d H%d\" fill=\"none\" stroke=\"#888\"/>\n",
			px, py, y + BOX_PX / 2, x);
	}
	fprintf(p->pi_file,
		"<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\" fill=\"%s\" "
		"stroke=\"#555\"/><text x=\"%d\" y=\"%d\">",
		x, y, width, BOX_PX, color_of(text, n), x + 6, y + 13);
	put_escaped(p->pi_file, text, n);
	fputs("</text>\n", p->pi_file);
}

static void
draw(const struct picture *p, const char *dump)
{
	int row_of_depth[LEVELS];
	int row = 0;

	for (const char *line = dump; *line != '\0'; row++) {
		const size_t n = strcspn(line, "\n");
		const size_t blanks = strspn(line, " ");
		const int depth = (int)(blanks / 2);

		draw_row(p, line + blanks, n - blanks, depth, row,
			 depth > 0 ? row_of_depth[depth - 1] : -1);
		row_of_depth[depth] = row;
		line += n + (line[n] == '\n');
	}
}

int
svg_write(const char *path, const char *title, const char *dump)
{
	struct picture p = {0};
	int width, height, error;

	if (measure(&p, dump) != 0)
		return -1;
	p.pi_file = fopen(path, "w");
	if (p.pi_file == NULL)
		return -1;
	width = 2 * MARGIN_PX + (p.pi_depths - 1) * COLUMN_PX / 2 + COLUMN_PX +
		LEAF_COLUMN_EXTRA_PX;
	height = TITLE_PX + p.pi_rows * ROW_PX + MARGIN_PX;
	fprintf(p.pi_file,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"font-family=\"monospace\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
		"<text x=\"%d\" y=\"26\" font-size=\"16\">",
		width, height, MARGIN_PX);
	put_escaped(p.pi_file, title, strlen(title));
	fprintf(p.pi_file, ": %d tables, %d runs of leaves</text>\n", p.pi_tables, p.pi_runs);
	draw_legend(&p);
	draw(&p, dump);
	fputs("</svg>\n", p.pi_file);
	error = ferror(p.pi_file);
	if (fclose(p.pi_file) != 0 || error != 0) {
		if (errno == 0)
			errno = EIO;
		return -1;
	}
	return 0;
}
