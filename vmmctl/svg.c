/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A picture of page tables: a row for each table, indented below the table that holds it, with its
 * 512 entries as a strip. A guest's memory lies scattered in the host's, so that nearly each leaf
 * is a run of its own: runs are written out only where a table has few. Colors say what may be
 * done, and are from a palette that the color-blind can tell apart; a strip's parts have words,
 * which a viewer shows under the pointer.
 *
 * It is drawn from the module's own text, in which two blanks of indentation are one level.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmctl.h"

#define INDENT_PX 36
#define ROW_PX 22
#define BOX_PX 18
#define BOX_WIDTH_PX 290
#define MARGIN_PX 16
#define TITLE_PX 64
#define CELL_PX 2
#define STRIP_PX (ENTRIES * CELL_PX)
#define COUNT_PX 170 /* for the words behind a strip */
#define ENTRIES 512
#define LEVELS 6
#define RUNS_IN_WORDS 4 /* and no more of a table */

/* What an entry is: C_LEAF with rights and so on, C_TABLE, or 0. */
enum {
	C_X = 1,
	C_W = 2,
	C_R = 4,
	C_PROT = 7,
	C_ACCESSED = 8,
	C_MODIFIED = 16,
	C_TABLE = 64,
	C_LEAF = 128,
};

struct run {
	const char *ru_text;
	int ru_chars;
};

struct table {
	uint64_t ta_gpa;
	const char *ta_text;
	int ta_chars;
	int ta_depth, ta_level;
	int ta_parent; /* an index, or -1 */
	unsigned int ta_leaves, ta_nruns;
	struct run ta_runs[RUNS_IN_WORDS];
	uint8_t ta_cells[ENTRIES];
};

struct picture {
	FILE *pi_file;
	struct table *pi_tables;
	int pi_ntables, pi_room;
	int pi_depths;
	unsigned int pi_runs;
	int pi_last[LEVELS]; /* the table last met at each depth */
};

/* ---- From the text --------------------------------------------------------------------------- */

static uint64_t
entry_bytes(int level)
{
	return 4096ull << 9 * level;
}

/* The place of an address in a table, or -1. */
static int
cell_of(const struct table *t, uint64_t gpa)
{
	const uint64_t at = (gpa - t->ta_gpa) / entry_bytes(t->ta_level);

	return gpa >= t->ta_gpa && at < ENTRIES ? (int)at : -1;
}

static int
take_table(struct picture *p, int depth, uint64_t gpa, int level, const char *text, int chars)
{
	const int parent = depth > 0 ? p->pi_last[depth - 1] : -1;
	struct table *t;

	if (depth > 0) {
		const int cell = cell_of(&p->pi_tables[parent], gpa);

		if (cell < 0)
			return -1;
		p->pi_tables[parent].ta_cells[cell] = C_TABLE;
	}
	if (p->pi_ntables == p->pi_room) {
		const int room = p->pi_room * 2 + 64;

		t = realloc(p->pi_tables, (size_t)room * sizeof(*t));
		if (t == NULL)
			return -1;
		p->pi_tables = t;
		p->pi_room = room;
	}
	p->pi_last[depth] = p->pi_ntables;
	p->pi_tables[p->pi_ntables++] = (struct table){.ta_gpa = gpa,
						       .ta_text = text,
						       .ta_chars = chars,
						       .ta_depth = depth,
						       .ta_level = level,
						       .ta_parent = parent};
	if (depth + 1 > p->pi_depths)
		p->pi_depths = depth + 1;
	return 0;
}

static int
take_run(struct picture *p, int depth, uint64_t gpa, uint64_t n, const char *rights,
	 const struct run *run)
{
	struct table *const t = depth > 0 ? &p->pi_tables[p->pi_last[depth - 1]] : NULL;
	const int cell = t != NULL ? cell_of(t, gpa) : -1;
	uint8_t code = C_LEAF;

	if (cell < 0 || n > (uint64_t)(ENTRIES - cell))
		return -1;
	for (; *rights != '\0'; rights++) {
		static const char letters[] = "rwxAM";
		static const uint8_t codes[] = {C_R, C_W, C_X, C_ACCESSED, C_MODIFIED};
		const char *const at = strchr(letters, *rights);

		if (at != NULL)
			code |= codes[at - letters];
	}
	memset(t->ta_cells + cell, code, n);
	t->ta_leaves += (unsigned int)n;
	if (t->ta_nruns < RUNS_IN_WORDS)
		t->ta_runs[t->ta_nruns] = *run;
	t->ta_nruns++;
	p->pi_runs++;
	return 0;
}

static int
parse_line(struct picture *p, const char *line, int chars)
{
	const int depth = (int)strspn(line, " ") / 2;
	const char *const text = line + strspn(line, " ");
	char prot[4], flags[3];
	uint64_t gpa, n;
	int level;

	chars -= (int)(text - line);
	if (depth >= LEVELS || (depth == 0 && p->pi_ntables > 0) || depth > p->pi_depths)
		return -1;
	if (sscanf(text, "%" SCNx64 " table %*x level %d", &gpa, &level) == 2)
		return level >= 0 && level < LEVELS ? take_table(p, depth, gpa, level, text, chars)
						    : -1;
	if (sscanf(text, "%" SCNx64 " -> %*x %*2s x %" SCNu64 " %3s %*s %2s", &gpa, &n, prot,
		   flags) == 4) {
		char rights[8];

		snprintf(rights, sizeof(rights), "%s%s", prot, flags);
		return take_run(p, depth, gpa, n, rights, &(struct run){text, chars});
	}
	return -1;
}

static int
parse(struct picture *p, const char *dump)
{
	for (const char *line = dump; *line != '\0';) {
		const size_t n = strcspn(line, "\n");

		errno = EPROTO; /* unless there was no memory */
		if (parse_line(p, line, (int)n) != 0)
			return -1;
		line += n + (line[n] == '\n');
	}
	return 0;
}

/* ---- Drawing --------------------------------------------------------------------------------- */

static void
put_escaped(FILE *f, const char *text, int n)
{
	for (int i = 0; i < n; i++) {
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

static const char *
color_of(uint8_t code)
{
	/* Nothing granted: emulated A is clear. */
	static const char *const colors[] = {"#555555", "#cc79a7", "#d55e00", "#d55e00",
					     "#f0e442", "#009e73", "#56b4e9", "#e69f00"};

	return code & C_LEAF ? colors[code & C_PROT] : "#bdbdbd";
}

/* What has not been accessed is pale, what was modified has a line below. */
static void
draw_part(FILE *f, int x, int y, int width, uint8_t code)
{
	const bool pale = (code & C_LEAF) && !(code & C_ACCESSED);

	fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\"%s/>", x, y,
		width, BOX_PX, color_of(code), pale ? " fill-opacity=\"0.4\"" : "");
	if (code & C_MODIFIED)
		fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"4\" fill=\"#333\"/>", x,
			y + BOX_PX - 4, width);
}

static void
draw_strip(FILE *f, const struct table *t, int x, int y)
{
	const uint64_t bytes = entry_bytes(t->ta_level);

	fprintf(f,
		"<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#fff\" "
		"stroke=\"#999\"/>\n",
		x, y, STRIP_PX, BOX_PX);
	for (int i = 0, n; i < ENTRIES; i += n) {
		const uint8_t code = t->ta_cells[i];

		for (n = 1; i + n < ENTRIES && t->ta_cells[i + n] == code; n++)
			;
		if (code == 0)
			continue;
		fputs("<g>", f);
		draw_part(f, x + i * CELL_PX, y, n * CELL_PX, code);
		fprintf(f, "<title>0x%" PRIx64 " to 0x%" PRIx64 ": %d %s", t->ta_gpa + i * bytes,
			t->ta_gpa + (i + n) * bytes - 1, n,
			code & C_TABLE ? (n == 1 ? "table" : "tables")
				       : (n == 1 ? "leaf" : "leaves"));
		if (code & C_LEAF)
			fprintf(f, " %c%c%c%s%s", code & C_R ? 'r' : '-', code & C_W ? 'w' : '-',
				code & C_X ? 'x' : '-', code & C_ACCESSED ? ", accessed" : "",
				code & C_MODIFIED ? ", modified" : "");
		fputs("</title></g>\n", f);
	}
}

static void
draw_words(FILE *f, const char *text, int chars, int x, int y, int width, const char *color)
{
	fprintf(f,
		"<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"3\" fill=\"%s\" "
		"stroke=\"#555\"/><text x=\"%d\" y=\"%d\">",
		x, y, width, BOX_PX, color, x + 6, y + 13);
	put_escaped(f, text, chars);
	fputs("</text>\n", f);
}

/* The rows of a table: itself, and its runs if they are few. */
static int
rows_of(const struct table *t)
{
	return 1 + (t->ta_nruns <= RUNS_IN_WORDS ? (int)t->ta_nruns : 0);
}

static void
draw_table(const struct picture *p, const struct table *t, int y, int parent_y)
{
	const int x = MARGIN_PX + t->ta_depth * INDENT_PX;
	const int strip = MARGIN_PX + p->pi_depths * INDENT_PX + BOX_WIDTH_PX;

	if (t->ta_parent >= 0)
		fprintf(p->pi_file, "<path d=\"M%d %d V%d H%d\" fill=\"none\" stroke=\"#888\"/>\n",
			x - INDENT_PX + 12, parent_y + BOX_PX, y + BOX_PX / 2, x);
	draw_words(p->pi_file, t->ta_text, t->ta_chars, x, y, BOX_WIDTH_PX, "#e8e8e8");
	draw_strip(p->pi_file, t, strip, y);
	if (t->ta_leaves != 0)
		fprintf(p->pi_file, "<text x=\"%d\" y=\"%d\">%u %s in %u run%s</text>\n",
			strip + STRIP_PX + 8, y + 13, t->ta_leaves,
			t->ta_leaves == 1 ? "leaf" : "leaves", t->ta_nruns,
			t->ta_nruns == 1 ? "" : "s");
	for (int i = 0; i < rows_of(t) - 1; i++)
		draw_words(p->pi_file, t->ta_runs[i].ru_text, t->ta_runs[i].ru_chars, strip,
			   y + (i + 1) * ROW_PX, BOX_WIDTH_PX + 100, "#ffffff");
}

static void
draw_legend(FILE *f)
{
	static const struct {
		const char *word;
		uint8_t code;
	} parts[] = {
		{"a table", C_TABLE},
		{"rwx", C_LEAF | C_ACCESSED | C_PROT},
		{"rw-", C_LEAF | C_ACCESSED | C_R | C_W},
		{"r-x", C_LEAF | C_ACCESSED | C_R | C_X},
		{"r--", C_LEAF | C_ACCESSED | C_R},
		{"--x", C_LEAF | C_ACCESSED | C_X},
		{"---", C_LEAF | C_ACCESSED},
		{"modified", C_LEAF | C_ACCESSED | C_MODIFIED | C_PROT},
		{"not accessed", C_LEAF | C_PROT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const int x = MARGIN_PX + (int)i * 90;

		draw_part(f, x, 37, 14, parts[i].code);
		fprintf(f, "<text x=\"%d\" y=\"50\">%s</text>\n", x + 20, parts[i].word);
	}
}

static int
draw(const struct picture *p, const char *title)
{
	int rows = 0, *y_of = calloc((size_t)p->pi_ntables + 1, sizeof(*y_of));

	if (y_of == NULL)
		return -1;
	for (int i = 0; i < p->pi_ntables; i++) {
		y_of[i] = TITLE_PX + rows * ROW_PX;
		rows += rows_of(&p->pi_tables[i]);
	}
	fprintf(p->pi_file,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"font-family=\"monospace\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
		"<text x=\"%d\" y=\"26\" font-size=\"16\">",
		2 * MARGIN_PX + p->pi_depths * INDENT_PX + BOX_WIDTH_PX + STRIP_PX + COUNT_PX,
		TITLE_PX + rows * ROW_PX + MARGIN_PX, MARGIN_PX);
	put_escaped(p->pi_file, title, (int)strlen(title));
	fprintf(p->pi_file, ": %d tables, %u runs of leaves</text>\n", p->pi_ntables, p->pi_runs);
	draw_legend(p->pi_file);
	for (int i = 0; i < p->pi_ntables; i++) {
		const struct table *const t = &p->pi_tables[i];

		draw_table(p, t, y_of[i], t->ta_parent >= 0 ? y_of[t->ta_parent] : 0);
	}
	fputs("</svg>\n", p->pi_file);
	free(y_of);
	return 0;
}

int
svg_write(const char *path, const char *title, const char *dump)
{
	struct picture p = {0};
	int error = -1, bad;

	if (parse(&p, dump) == 0 && (p.pi_file = fopen(path, "w")) != NULL) {
		error = draw(&p, title);
		bad = ferror(p.pi_file);
		if (fclose(p.pi_file) != 0 || bad != 0) {
			if (errno == 0)
				errno = EIO;
			error = -1;
		}
	}
	free(p.pi_tables);
	return error;
}
