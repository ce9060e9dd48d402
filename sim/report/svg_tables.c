/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Page tables on the way to the address that a failure is about: before the change that raced, and
 * at the end; beside the last what the CPU had cached of it. A box per level, its entries as text.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/report/html.h"
#include "sim/hw/hw_priv.h"

#define WIDTH 1200
#define GAP 20
#define TARGET 138
#define LINE 17
#define BOX_TOP 30
#define ROWS 4

struct step {
	uint64_t table;
	uint64_t word;
	uint64_t value;
	bool known;
};

struct tables {
	FILE *to;
	const struct html_view *vw;
	const struct story *s;
	unsigned int space;
	uint64_t gpa;
	unsigned int nlevels;
	int box; /* width of one */
};

/* ---- Walking -------------------------------------------------------------------------------- */

/* The tables' path as it was after `at` events, from the top; returns the levels that are told. */
static unsigned int
walk(const struct tables *t, uint32_t at, struct step *path, struct hw_entry *leaf)
{
	const struct story_space *const sa = &t->s->st_spaces[t->space];
	uint64_t table = sa->sa_root;

	memset(leaf, 0, sizeof(*leaf));
	for (unsigned int n = 0; n < t->nlevels; n++) {
		const unsigned int level = t->nlevels - 1 - n;
		struct hw_entry e;

		path[n].table = table;
		path[n].word = hw_slot(table, t->gpa, level);
		path[n].known = story_word(t->s, at, path[n].word, &path[n].value);
		if (!path[n].known)
			return n + 1;
		hw_entry_decode(&sa->sa_ctx, level, path[n].value, &e);
		if (!e.en_present || e.en_leaf) {
			*leaf = e;
			return n + 1;
		}
		table = e.en_addr;
	}
	return t->nlevels;
}

/* Whether a word changed in the picture, up to `at`. */
static bool
changed(const struct tables *t, uint32_t at, uint64_t word)
{
	for (uint32_t i = t->vw->vw_from; i < at; i++) {
		const struct story_event *const e = &t->s->st_events[i];

		if (e->se_kind == STORY_ENTRY && e->se_id == word && e->se_old != e->se_new &&
		    !(e->se_flags & SE_HARDWARE))
			return true;
	}
	return false;
}

/* ---- Boxes ---------------------------------------------------------------------------------- */

static void
text(struct tables *t, int x, int y, const char *class, const char *what)
{
	fprintf(t->to, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
	html_text(t->to, what);
	fputs("</text>", t->to);
}

static void
entry_row(struct tables *t, int x, int y, unsigned int level, uint64_t word, uint64_t value,
	  bool on_path, bool marked)
{
	char entry[STORY_TEXT_BYTES], line[STORY_TEXT_BYTES + 32];

	story_entry(t->s, t->space, level, value, entry, sizeof(entry));
	snprintf(line, sizeof(line), "%s[%" PRIu64 "] %s", marked ? "◆ " : "", word / 8 % 512,
		 entry);
	if (marked)
		fprintf(t->to,
			"<rect class=\"changed\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>",
			x + 3, y - 13, t->box - 6, LINE);
	text(t, x + 8, y, on_path ? "cell path" : "cell", line);
}

/* Other entries of the table that changed in the picture: the last few of them, by number. */
static int
other_rows(struct tables *t, int x, int y, uint32_t at, unsigned int level, const struct step *st)
{
	uint64_t seen[ROWS - 1], values[ROWS - 1];
	unsigned int n = 0;

	for (uint32_t i = at; i-- > t->vw->vw_from && n < ROWS - 1;) {
		const struct story_event *const e = &t->s->st_events[i];
		bool known = e->se_id == st->word;
		unsigned int k = n;

		if (e->se_kind != STORY_ENTRY || (e->se_id & ~UINT64_C(4095)) != st->table ||
		    (e->se_flags & SE_HARDWARE))
			continue;
		for (unsigned int m = 0; m < n; m++)
			known = known || seen[m] == e->se_id;
		if (known)
			continue;
		for (; k > 0 && seen[k - 1] > e->se_id; k--) {
			seen[k] = seen[k - 1];
			values[k] = values[k - 1];
		}
		seen[k] = e->se_id;
		story_word(t->s, at, e->se_id, &values[k]);
		n++;
	}
	for (unsigned int m = 0; m < n; m++, y += LINE)
		entry_row(t, x, y, level, seen[m], values[m], false, true);
	return y;
}

static int
box(struct tables *t, unsigned int n, int y, uint32_t at, const struct step *st)
{
	const unsigned int level = t->nlevels - 1 - n;
	const int x = 8 + (int)n * (t->box + GAP);
	char head[64];
	int bottom;

	snprintf(head, sizeof(head), "level %u at 0x%" PRIx64, level, st->table);
	text(t, x + 8, y + BOX_TOP + 16, "head", head);
	if (st->known)
		entry_row(t, x, y + BOX_TOP + 38, level, st->word, st->value, true,
			  changed(t, at, st->word));
	else
		text(t, x + 8, y + BOX_TOP + 38, "cell", "(not told)");
	bottom = other_rows(t, x, y + BOX_TOP + 38 + LINE, at, level, st);
	fprintf(t->to, "<rect class=\"box\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", x,
		y + BOX_TOP, t->box, bottom - y - BOX_TOP - 4);
	if (n > 0)
		fprintf(t->to, "<path class=\"edge\" d=\"M%d %dH%d\" marker-end=\"url(#edge)\"/>\n",
			x - GAP, y + BOX_TOP + 33, x - 1);
	return bottom;
}

/* Where the address leads, at the right. */
static void
target(struct tables *t, unsigned int n, int y, const struct hw_entry *leaf, unsigned int level)
{
	const int x = 8 + (int)n * (t->box + GAP);
	const uint64_t mask = ((uint64_t)1 << hw_shift(level)) - 1;
	char line[64];

	if (leaf->en_present)
		snprintf(line, sizeof(line), "frame 0x%" PRIx64,
			 leaf->en_addr + (t->gpa & mask & ~UINT64_C(4095)));
	else
		snprintf(line, sizeof(line), "nothing: a fault");
	fprintf(t->to, "<path class=\"edge\" d=\"M%d %dH%d\" marker-end=\"url(#edge)\"/>", x - GAP,
		y + BOX_TOP + 33, x - 1);
	fprintf(t->to, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"28\" rx=\"6\"/>",
		leaf->en_present ? "frame" : "frame none", x, y + BOX_TOP + 19, TARGET);
	text(t, x + 9, y + BOX_TOP + 38, "cell path", line);
}

/* What the CPU had cached, as a way of its own past the tables. */
static int
cached(struct tables *t, int y)
{
	const struct story_event *const e = &t->s->st_events[t->vw->vw_fill];
	char line[STORY_TEXT_BYTES + 32], entry[STORY_TEXT_BYTES];

	story_cached(t->s, t->vw->vw_fill, entry, sizeof(entry));
	snprintf(line, sizeof(line), "CPU %u still has cached, since step %" PRIu64 ":", e->se_cpu,
		 e->se_step);
	fprintf(t->to,
		"<rect class=\"tlb\" x=\"8\" y=\"%d\" width=\"%d\" height=\"46\" rx=\"4\"/>\n", y,
		WIDTH - 16);
	text(t, 20, y + 19, "head", line);
	text(t, 20, y + 37, "cell path", entry);
	return y + 56;
}

static int
tree(struct tables *t, int y, uint32_t at, const char *heading)
{
	struct step path[HW_LEVELS_MAX];
	struct hw_entry leaf;
	const unsigned int n = walk(t, at, path, &leaf);
	int bottom = y;

	text(t, 8, y + 18, "when", heading);
	for (unsigned int i = 0; i < n; i++) {
		const int b = box(t, i, y, at, &path[i]);

		bottom = b > bottom ? b : bottom;
	}
	if (path[n - 1].known)
		target(t, n, y, &leaf, t->nlevels - n);
	return bottom + 8;
}

/* ---- The whole ------------------------------------------------------------------------------ */

/* The address that it is about: of the blamed translation, the change, or the last access. */
static bool
focus(struct tables *t)
{
	const struct story *const s = t->s;
	uint32_t i = s->st_blame != STORY_NONE ? s->st_blame : s->st_changed;

	if (i == STORY_NONE) {
		for (i = s->st_n; i-- > 0;) {
			const struct story_event *const e = &s->st_events[i];

			if ((e->se_kind == STORY_ACCESS || e->se_kind == STORY_ENTRY) &&
			    e->se_space < s->st_nspaces)
				break;
		}
	}
	if (i >= s->st_n || s->st_events[i].se_space >= s->st_nspaces)
		return false;
	t->space = s->st_events[i].se_space;
	t->gpa = s->st_events[i].se_gpa;
	t->nlevels = hw_context_levels(&s->st_spaces[t->space].sa_ctx);
	t->box = (WIDTH - 16 - TARGET - (int)t->nlevels * GAP) / (int)t->nlevels;
	return true;
}

/* ---- In words ------------------------------------------------------------------------------- */

static void
cell(struct tables *t, const struct step *path, unsigned int n, unsigned int told)
{
	char entry[STORY_TEXT_BYTES];

	fputs("<td><code>", t->to);
	if (n < told && path[n].known)
		html_text(t->to, story_entry(t->s, t->space, t->nlevels - 1 - n, path[n].value,
					     entry, sizeof(entry)));
	else
		fputs("–", t->to);
	fputs("</code></td>", t->to);
}

/* The same as a table: a row per level. */
static void
in_words(struct tables *t, uint32_t before, uint32_t after)
{
	struct step old[HW_LEVELS_MAX], new[HW_LEVELS_MAX];
	struct hw_entry leaf;
	const unsigned int nold = walk(t, before, old, &leaf);
	const unsigned int nnew = walk(t, after, new, &leaf);

	fprintf(t->to,
		"<details class=\"words\"><summary>The tables in words</summary><table><caption "
		"class=\"hidden\">The way of 0x%" PRIx64 " through the tables</caption><thead><tr>"
		"<th scope=\"col\">level</th><th scope=\"col\">before (step %" PRIu64 ")</th>"
		"<th scope=\"col\">at the end (step %" PRIu64 ")</th></tr></thead><tbody>\n",
		t->gpa, t->s->st_events[before].se_step, t->s->st_events[after].se_step);
	for (unsigned int n = 0; n < t->nlevels; n++) {
		const bool both = n < nold && n < nnew && old[n].known && new[n].known;

		fprintf(t->to, "<tr%s><th scope=\"row\">%u, entry %" PRIu64 "</th>",
			both && old[n].value != new[n].value ? " class=\"touched\"" : "",
			t->nlevels - 1 - n, t->gpa >> hw_shift(t->nlevels - 1 - n) & 511);
		cell(t, old, n, nold);
		cell(t, new, n, nnew);
		fputs("</tr>\n", t->to);
	}
	fputs("</tbody></table></details>\n", t->to);
}

void
svg_tables(FILE *to, const struct html_view *vw)
{
	struct tables t = {.to = to, .vw = vw, .s = vw->vw_story};
	const bool race = vw->vw_story->st_changed != STORY_NONE;
	const uint32_t before = race ? vw->vw_story->st_changed : vw->vw_from;
	char heading[160];
	char *body = NULL;
	size_t bytes = 0;
	int height;

	if (vw->vw_npicks == 0 || !focus(&t))
		return;
	t.to = open_memstream(&body, &bytes);
	if (t.to == NULL)
		return;
	snprintf(heading, sizeof(heading),
		 "%s (step %" PRIu64 "): the tables for 0x%" PRIx64 " in %s",
		 race ? "Before the change, 1" : "At first", t.s->st_events[before].se_step, t.gpa,
		 t.s->st_spaces[t.space].sa_name);
	height = tree(&t, 0, before, heading);
	snprintf(heading, sizeof(heading), "At the end (step %" PRIu64 ")",
		 t.s->st_events[vw->vw_end].se_step);
	height = tree(&t, height + 6, vw->vw_end, heading);
	if (vw->vw_fill != STORY_NONE)
		height = cached(&t, height + 4);
	fclose(t.to);
	fprintf(to,
		"<svg class=\"tables%s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Page "
		"tables before and after; a diamond marks what changed\" "
		"xmlns=\"http://www.w3.org/2000/svg\">\n"
		"<defs><marker id=\"edge\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" "
		"markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" "
		"orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" class=\"edge-head\"/></marker></defs>\n"
		"%s</svg>\n",
		t.nlevels > 4 ? " narrow" : "", WIDTH, height, body);
	free(body);
	t.to = to;
	in_words(&t, before, vw->vw_end);
}
