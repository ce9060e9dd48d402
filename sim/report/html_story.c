/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The story in the page: in a few sentences, in two pictures, as a table, and the state at the end.
 * The script replaces that state by the one of the step that the slider is at.
 */

#include <inttypes.h>
#include <string.h>

#include "sim/report/html.h"

#define CACHED_SHOWN 16 /* of a CPU's translations; the slider shows all */

/* ---- In sentences --------------------------------------------------------------------------- */

static void
sentence(FILE *to, const struct story *s, uint32_t i, const char *mark)
{
	char actor[64], text[STORY_TEXT_BYTES], change[STORY_TEXT_BYTES];

	fprintf(to, "<li%s><b>Step %" PRIu64 "</b>: ", mark, s->st_events[i].se_step);
	html_text(to, story_actor(s, i, actor, sizeof(actor)));
	fputc(' ', to);
	html_text(to, story_action(s, i, text, sizeof(text)));
	story_change(s, i, change, sizeof(change));
	if (*change) {
		fputs(": <code>", to);
		html_text(to, change);
		fputs("</code>", to);
	}
	fputs(".", to);
}

/* Where that CPU was from one event to another: in the guest, outside, on its way. */
static const char *
whereabouts(const struct story *s, uint32_t from, uint32_t until, unsigned int cpu)
{
	bool was_in = false, left = false, entered = false;

	for (uint32_t i = 0; i < until; i++) {
		const struct story_event *const e = &s->st_events[i];

		if (e->se_cpu != cpu ||
		    (e->se_kind != STORY_GUEST_ON && e->se_kind != STORY_GUEST_OFF))
			continue;
		if (i < from)
			was_in = e->se_kind == STORY_GUEST_ON;
		else if (e->se_kind == STORY_GUEST_ON)
			entered = true;
		else
			left = true;
	}
	if (was_in)
		return !left	 ? "stayed in the guest"
		       : entered ? "left the guest and entered it again"
				 : "left the guest";
	return entered ? "was outside the guest and then entered it" : "was outside the guest";
}

/* What was done meanwhile to make that CPU forget. */
static void
meanwhile(FILE *to, const struct story *s, uint32_t from, uint32_t until, unsigned int cpu)
{
	unsigned int kicks = 0, arrived = 0, flushes = 0;

	for (uint32_t i = from; i < until; i++) {
		const struct story_event *const e = &s->st_events[i];

		kicks += e->se_kind == STORY_KICK && e->se_cpu == cpu;
		arrived += e->se_kind == STORY_ARRIVED && e->se_cpu == cpu;
		flushes += e->se_kind == STORY_FLUSH && e->se_cpu == cpu;
	}
	fprintf(to, "<li>Between the two, CPU %u ", cpu);
	if (kicks == 0)
		fputs("was sent no interrupt", to);
	else
		fprintf(to, "was sent %u interrupt%s%s", kicks, kicks == 1 ? "" : "s",
			arrived >= kicks ? ""
			: kicks == 1	 ? " that has not arrived"
					 : " that have not all arrived");
	fprintf(to, ", %s, and ", whereabouts(s, from, until, cpu));
	if (flushes == 0)
		fputs("flushed nothing", to);
	else
		fprintf(to, "flushed %u time%s, but not this", flushes, flushes == 1 ? "" : "s");
	fputs(".</li>\n", to);
}

/* Whether somebody else read a word between two events. */
static bool
read_between(const struct story *s, uint32_t from, uint32_t until, uint64_t id, unsigned int cpu)
{
	for (uint32_t i = from; i < until; i++) {
		const struct story_event *const e = &s->st_events[i];

		if (e->se_kind == STORY_POINT && e->se_id == id && e->se_actor != cpu &&
		    e->se_access <= SIM_RMW)
			return true;
	}
	return false;
}

/* A store of that CPU that somebody looked for in vain, since it waited in the store buffer. */
static void
unseen(FILE *to, const struct story *s, uint32_t from, uint32_t until, unsigned int cpu)
{
	char text[STORY_TEXT_BYTES];

	for (uint32_t i = from; i < s->st_n; i++) {
		const struct story_event *const e = &s->st_events[i];
		uint32_t b;

		if (e->se_kind != STORY_DRAIN || e->se_cpu != cpu || !story_matters(s, i))
			continue;
		b = story_buffered(s, i);
		if (b == STORY_NONE || b > until || !read_between(s, b, i, e->se_id, cpu))
			continue;
		fprintf(to,
			"<li>A store of CPU %u waited in its store buffer from step %" PRIu64
			" to step %" PRIu64 ", and somebody else read the old value meanwhile: ",
			cpu, s->st_events[b].se_step, e->se_step);
		html_text(to, story_action(s, b, text, sizeof(text)));
		fputs(".</li>\n", to);
		return;
	}
}

/* Of another space than the access that used it: identifiers are mixed up. */
static void
whose(FILE *to, const struct story *s, uint32_t fill)
{
	const unsigned int space = s->st_events[fill].se_space;

	if (s->st_used == STORY_NONE || s->st_events[s->st_used].se_space == space ||
	    space >= s->st_nspaces)
		return;
	fputs(" It belongs to ", to);
	html_text(to, s->st_spaces[space].sa_name);
	fputs(".", to);
}

static void
sentences(FILE *to, const struct html_view *vw)
{
	const struct story *const s = vw->vw_story;
	const uint32_t changed = s->st_changed, used = s->st_used;

	fputs("<ol class=\"short\">\n", to);
	if (vw->vw_fill != STORY_NONE) {
		sentence(to, s, vw->vw_fill, "");
		whose(to, s, vw->vw_fill);
		fputs("</li>\n", to);
	}
	if (changed != STORY_NONE) {
		sentence(to, s, changed, " class=\"race\" data-n=\"1\"");
		if (s->st_blame != STORY_NONE && vw->vw_fill != STORY_NONE)
			fprintf(to,
				" From here on what CPU %u has cached is <b>stale</b>: it must be "
				"gone before this change counts as done.",
				s->st_events[vw->vw_fill].se_cpu);
		fputs("</li>\n", to);
	}
	if (changed != STORY_NONE && s->st_blame != STORY_NONE && vw->vw_fill != STORY_NONE) {
		const uint32_t until = used != STORY_NONE ? used : vw->vw_end;

		meanwhile(to, s, changed, until, s->st_events[vw->vw_fill].se_cpu);
		unseen(to, s, changed, until, s->st_events[vw->vw_fill].se_cpu);
	}
	if (used != STORY_NONE && used != vw->vw_end) {
		sentence(to, s, used, " class=\"race\" data-n=\"2\"");
		fputs("</li>\n", to);
	}
	if (s->st_ended) {
		fprintf(to, "<li%s><b>Step %" PRIu64 "</b>: the check %s fires. ",
			used == vw->vw_end ? " class=\"race\" data-n=\"2\"" : "",
			s->st_events[vw->vw_end].se_step, s->st_check);
		html_text(to, s->st_message);
		fputs(".</li>\n", to);
	}
	fputs("</ol>\n", to);
}

/* ---- As a table ----------------------------------------------------------------------------- */

static const char *
race_mark(const struct story *s, uint32_t i)
{
	return i == s->st_changed ? "①" : i == s->st_used ? "②" : "";
}

static void
table(FILE *to, const struct html_view *vw)
{
	const struct story *const s = vw->vw_story;
	char text[STORY_TEXT_BYTES];

	fputs("<details class=\"words\" open><summary>The same in words</summary>\n"
	      "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Events\">"
	      "<table><caption class=\"hidden\">Events of the "
	      "picture</caption><thead><tr><th scope=\"col\"></th><th scope=\"col\">step</th>"
	      "<th scope=\"col\">who</th><th scope=\"col\">does what</th>"
	      "<th scope=\"col\">what changes</th></tr></thead><tbody>\n",
	      to);
	for (uint32_t k = 0; k < vw->vw_npicks; k++) {
		const uint32_t i = vw->vw_picks[k];
		const char *const mark = race_mark(s, i);

		fprintf(to,
			"<tr%s data-step=\"%" PRIu64 "\"><td>%s</td><td class=\"n\">%" PRIu64
			"</td><td>",
			*mark ? " class=\"race\"" : "", s->st_events[i].se_step, mark,
			s->st_events[i].se_step);
		html_text(to, story_actor(s, i, text, sizeof(text)));
		fputs("</td><td>", to);
		html_text(to, story_action(s, i, text, sizeof(text)));
		fputs("</td><td><code>", to);
		html_text(to, story_change(s, i, text, sizeof(text)));
		fputs("</code></td></tr>\n", to);
	}
	fputs("</tbody></table></div></details>\n", to);
}

/* ---- Legend --------------------------------------------------------------------------------- */

static void
legend(FILE *to)
{
	static const struct {
		const char *class;
		const char *shape;
		const char *text;
	} rows[] = {
		{"m entry", "M0 -7 7 0 0 7 -7 0z", "table entry changed"},
		{"m walker", "M0 -4 4 0 0 4 -4 0z", "page walker sets A or D"},
		{"m fill", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", "translation cached"},
		{"m flush", "M-7 -6 7 -6 0 7z", "flush"},
		{"m access", "M0 -7V7M-3 -7H3M-3 7H3", "access"},
		{"m access denied", "M-5 -5 5 5M-5 5 5 -5", "fault"},
		{"m irq", "M-2 -8 3 -8 0 -2 4 -2 -3 8 -1 1 -4 1z", "interrupt taken"},
		{"m gen", "M-6 -4H6V4H-6z", "new generation"},
		{"m drain", "M-5 -3H1V-6L7 0 1 6V3H-5z", "store leaves its buffer"},
		{"m fault", "M0 -7 6 5 -6 5z", "injected fault"},
		{"guest", "M-11 -6H11V6H-11z", "in the guest"},
		{"op", "M-11 -6H11V6H-11z", "operation of the host"},
		{"stale", "M-11 -6H11V6H-11z", "a stale translation is cached"},
		{"stale this", "M-11 -6H11V6H-11z", "the one that failed"},
	};

	fputs("<ul class=\"legend\">", to);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		fprintf(to,
			"<li><svg viewBox=\"-13 -10 26 20\" width=\"26\" height=\"20\" "
			"aria-hidden=\"true\"><g class=\"%s\"><path class=\"key\" d=\"%s\"/></g>"
			"</svg>%s</li>",
			rows[i].class, rows[i].shape, rows[i].text);
	fputs("<li><svg viewBox=\"-13 -10 26 20\" width=\"26\" height=\"20\" aria-hidden=\"true\">"
	      "<g class=\"kick\"><path d=\"M-11 6 L9 -5\" marker-end=\"url(#head)\"/></g></svg>"
	      "interrupt sent</li></ul>\n",
	      to);
}

/* ---- State ---------------------------------------------------------------------------------- */

static void
cpu_state(FILE *to, const struct story_state *st, unsigned int cpu)
{
	const struct story *const s = st->ss_story;
	const struct story_cpu *const c = &st->ss_cpus[cpu];
	char text[STORY_TEXT_BYTES];
	uint32_t shown = 0;

	fprintf(to, "<section class=\"cpu\"><h4>CPU %u%s%s</h4>\n", cpu,
		c->sc_guest != STORY_NONE ? " · in the guest" : "",
		c->sc_pending ? " · interrupt pending" : "");
	fprintf(to, "<p class=\"small\">Cached translations: %" PRIu32 "</p><ul class=\"tlb\">",
		c->sc_ncached);
	for (unsigned int pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < c->sc_ncached && shown < CACHED_SHOWN; i++) {
			const struct story_tlb_entry *const t = &c->sc_cached[i];
			const bool stale = t->tl_stale != STORY_NONE;

			if (stale != (pass == 0))
				continue;
			fprintf(to, "<li%s><code>", stale ? " class=\"stale\"" : "");
			html_text(to, story_cached(s, t->tl_fill, text, sizeof(text)));
			fprintf(to, "</code>%s</li>", stale ? " stale" : "");
			shown++;
		}
	}
	if (c->sc_ncached > shown)
		fprintf(to, "<li>and %" PRIu32 " more</li>", c->sc_ncached - shown);
	fprintf(to, "</ul><p class=\"small\">Store buffer: %s</p><ol class=\"stores\">",
		c->sc_nstores == 0 ? "empty" : "");
	for (uint32_t i = 0; i < c->sc_nstores; i++) {
		fputs("<li><code>", to);
		html_text(to, story_action(s, c->sc_stores[i], text, sizeof(text)));
		fputs("</code></li>", to);
	}
	fputs("</ol></section>\n", to);
}

static void
clock_state(FILE *to, const struct story_state *st)
{
	const struct story *const s = st->ss_story;
	char text[STORY_TEXT_BYTES], change[STORY_TEXT_BYTES];

	fputs("<section class=\"clock\"><h4>Generations and slots</h4><ul>", to);
	for (uint32_t i = 0; i < s->st_nspaces; i++) {
		if (st->ss_gen[i] == 0)
			continue;
		fputs("<li>", to);
		html_text(to, s->st_spaces[i].sa_name);
		fprintf(to, ": generation %" PRIu64 "<ul>", st->ss_gen[i]);
		for (unsigned int j = 0; j < STORY_SLOTS_MAX; j++) {
			const uint32_t at = st->ss_slots[i][j];

			if (at == STORY_NONE)
				continue;
			fputs("<li>", to);
			html_text(to, story_action(s, at, text, sizeof(text)));
			fputs(", ", to);
			html_text(to, story_change(s, at, change, sizeof(change)));
			fputs("</li>", to);
		}
		fputs("</ul></li>", to);
	}
	fputs("</ul></section>\n", to);
}

static void
state(FILE *to, const struct html_view *vw)
{
	struct story_state st;

	story_state_init(&st, vw->vw_story);
	if (story_state_go(&st, vw->vw_end + 1)) {
		for (unsigned int i = 0; i < vw->vw_story->st_ncpus; i++)
			cpu_state(to, &st, i);
		clock_state(to, &st);
	}
	story_state_free(&st);
}

/* ---- The whole ------------------------------------------------------------------------------ */

/* At the foot of the window, so that it can be seen beside each part that it moves. */
void
html_slider(FILE *to)
{
	fputs("<div id=\"player\" hidden>\n"
	      "<label for=\"step\">Step <output id=\"now\" for=\"step\"></output></label>\n"
	      "<input id=\"step\" type=\"range\" min=\"0\" max=\"0\" value=\"0\" step=\"1\">\n"
	      "<div class=\"buttons\" role=\"group\" aria-label=\"Go to a step\">"
	      "<button type=\"button\" id=\"to-first\">|◀ first</button>"
	      "<button type=\"button\" id=\"to-back\">◀ event</button>"
	      "<button type=\"button\" id=\"to-on\">event ▶</button>"
	      "<button type=\"button\" id=\"to-changed\">① change</button>"
	      "<button type=\"button\" id=\"to-used\">② use</button>"
	      "<button type=\"button\" id=\"to-end\">end ▶|</button></div>\n</div>\n",
	      to);
}

void
html_story(FILE *to, const struct html_view *vw)
{
	const struct story *const s = vw->vw_story;

	fprintf(to, "<section aria-label=\"Story\"><h2 id=\"h-story\">%s</h2>\n",
		s->st_ended ? "How it came to that" : "The end of the run");
	if (s->st_ended)
		sentences(to, vw);
	fputs("<figure class=\"wide\">\n", to);
	svg_lanes(to, vw);
	legend(to);
	fputs("<figcaption>Who did what when. Point at a mark to read it.", to);
	if (s->st_blame != STORY_NONE && s->st_changed != STORY_NONE)
		fputs(" ① is the change and ② the use that race.", to);
	else if (s->st_changed != STORY_NONE)
		fputs(" ① is the last change of the entry that this is about, ② what failed.", to);
	fputs("</figcaption></figure>\n", to);
	table(to, vw);
	/* Of what failed elsewhere no tables are worth a picture. */
	if (!s->st_ended || s->st_changed != STORY_NONE) {
		fputs("<figure class=\"wide\">\n", to);
		svg_tables(to, vw);
		fputs("<figcaption>The page tables of that address. ◆ marks entries that changed "
		      "in the picture's time; in bold the way that the hardware takes."
		      "</figcaption></figure>\n",
		      to);
	}
	fputs("</section>\n", to);
	fputs("<section aria-label=\"State\"><h2 id=\"h-state\">The machine, step by "
	      "step</h2>\n",
	      to);
	fputs("<p id=\"at-end\" class=\"small\">At the end:</p>\n"
	      "<p id=\"keys\" class=\"small\" hidden>Move the slider at the foot of the window: "
	      "arrow keys, one step; page up and down, a tenth; <kbd>[</kbd> and <kbd>]</kbd>, the "
	      "picture's event before and after.</p>\n<ul id=\"events\" aria-live=\"polite\">"
	      "</ul>\n"
	      "<div id=\"state\">\n",
	      to);
	state(to, vw);
	fputs("</div>\n<div id=\"tables\"></div>\n</section>\n", to);
}
