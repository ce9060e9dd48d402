/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Who did what when: a lane per CPU and vCPU, time from left to right. Events are as far apart as
 * they are many, not as their steps are: what matters often lies within a few steps after
 * thousands of others, and steps are no time anyway. The axis has the steps' numbers.
 *
 * Colors are those of Okabe and Ito, told apart by shape or pattern as well. Each mark has a title,
 * which browsers show under the pointer.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/report/html.h"

#define WIDTH 1200
#define LEFT 92
#define RIGHT 24
#define TOP 44
#define LANE 86
#define VCPU_LANE 26
#define AXIS 46

/* Where in a CPU's lane, from its top. */
#define OP_Y 7
#define GUEST_Y 24
#define MARK_Y 51
#define STALE_Y 63
#define ROW 15

struct lanes {
	FILE *to;
	const struct html_view *vw;
	const struct story *s;
	int cpu_y[STORY_CPUS_MAX]; /* top of its lane; 0: none */
	int height;
	unsigned int nvcpus;
	struct {
		uint8_t space;
		uint32_t vcpu;
	} vcpus[64];
};

/* ---- Places --------------------------------------------------------------------------------- */

/* Of any event: of the first one in the picture that is not before it. */
static double
x_of(const struct lanes *l, uint32_t i)
{
	const double per = (double)(WIDTH - LEFT - RIGHT) / l->vw->vw_npicks;
	uint32_t lo = 0, hi = l->vw->vw_npicks;

	while (lo < hi) {
		const uint32_t mid = (lo + hi) / 2;

		if (l->vw->vw_picks[mid] < i)
			lo = mid + 1;
		else
			hi = mid;
	}
	return LEFT + per * (lo + 0.5);
}

/* The CPU in whose lane an event is drawn. */
static unsigned int
lane_of(const struct lanes *l, const struct story_event *e)
{
	switch (e->se_kind) {
	case STORY_KICK:
	case STORY_ENTRY:
	case STORY_GEN:
	case STORY_VIOLATION:
	case STORY_FAULT:
		return e->se_actor <= l->s->st_ncpus ? e->se_actor : 0;
	default:
		return e->se_cpu != STORY_NO_CPU ? e->se_cpu : e->se_actor;
	}
}

static void
title(struct lanes *l, uint32_t i)
{
	char actor[64], text[STORY_TEXT_BYTES], change[STORY_TEXT_BYTES];

	fprintf(l->to, "<title>step %" PRIu64 ", ", l->s->st_events[i].se_step);
	html_text(l->to, story_actor(l->s, i, actor, sizeof(actor)));
	fputs(": ", l->to);
	html_text(l->to, story_action(l->s, i, text, sizeof(text)));
	story_change(l->s, i, change, sizeof(change));
	if (*change) {
		fputs(" | ", l->to);
		html_text(l->to, change);
	}
	fputs("</title>", l->to);
}

/* ---- Bars ----------------------------------------------------------------------------------- */

static void
bar(struct lanes *l, const char *class, double x0, double x1, int y, int h, const char *label,
    uint32_t i)
{
	const double w = x1 - x0 < 2 ? 2 : x1 - x0;
	const double wide = strstr(class, "this") != NULL ? 7.4 : 6.7; /* bold */
	const size_t fits = w > 12 ? (size_t)((w - 8) / wide) : 0;

	fprintf(l->to, "<g class=\"%s\"><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>",
		class, x0, y, w, h);
	title(l, i);
	if (label != NULL && fits >= 3) {
		char shown[64];

		snprintf(shown, sizeof(shown), "%.*s%s", (int)(fits < 60 ? fits : 60), label,
			 strlen(label) > fits ? "…" : "");
		fprintf(l->to, "<text x=\"%.1f\" y=\"%d\">", x0 + 4, y + h - 4);
		html_text(l->to, shown);
		fputs("</text>", l->to);
	}
	fputs("</g>\n", l->to);
}

/* The event that ends what began at i, by one of two kinds on the same CPU; the end if none. */
static uint32_t
end_of(const struct lanes *l, uint32_t i, enum story_kind kind)
{
	const struct story_event *const e = &l->s->st_events[i];
	unsigned int depth = 0;

	for (uint32_t j = i + 1; j < l->s->st_n; j++) {
		const struct story_event *const f = &l->s->st_events[j];

		if (f->se_cpu != e->se_cpu)
			continue;
		if (f->se_kind == e->se_kind)
			depth++;
		else if (f->se_kind == kind && (kind != STORY_DONE || depth-- == 0))
			return j;
	}
	return l->vw->vw_end;
}

static const char *
space_of(const struct lanes *l, const struct story_event *e)
{
	return e->se_space < l->s->st_nspaces ? l->s->st_spaces[e->se_space].sa_name : "guest";
}

/* What an operation turned out to be: one within it tells the range, but for running a guest. */
static void
operation_label(const struct lanes *l, uint32_t i, uint32_t end, char *text, size_t bytes)
{
	const struct story_event *e = &l->s->st_events[i];
	const bool runs = strcmp(l->s->st_names[e->se_name], "run") == 0;

	for (uint32_t j = i + 1; j < end && e->se_new == 0 && !runs; j++) {
		const struct story_event *const f = &l->s->st_events[j];

		if (f->se_kind == STORY_BEGIN && f->se_cpu == e->se_cpu)
			e = f;
	}
	if (e->se_new == 0)
		snprintf(text, bytes, "%s", l->s->st_names[e->se_name]);
	else
		snprintf(text, bytes, "%s 0x%" PRIx64 " in %s", l->s->st_names[e->se_name],
			 e->se_gpa, space_of(l, e));
}

/* Of an operation, or of a page fault within the running of a guest. */
static void
operation_bar(struct lanes *l, uint32_t i, unsigned int depth)
{
	const struct story_event *const e = &l->s->st_events[i];
	const uint32_t end = end_of(l, i, STORY_DONE);
	char text[96];

	if (end < l->vw->vw_from || depth > 1 ||
	    (depth == 1 && strcmp(l->s->st_names[e->se_name], "page fault") != 0))
		return;
	operation_label(l, i, end, text, sizeof(text));
	bar(l, depth == 0 ? "op" : "op inner", i < l->vw->vw_from ? LEFT : x_of(l, i), x_of(l, end),
	    l->cpu_y[e->se_cpu] + OP_Y, ROW, text, i);
}

static void
bars(struct lanes *l)
{
	unsigned int depth[STORY_CPUS_MAX] = {0};

	for (uint32_t i = 0; i < l->s->st_n; i++) {
		const struct story_event *const e = &l->s->st_events[i];

		if (e->se_cpu >= STORY_CPUS_MAX || l->cpu_y[e->se_cpu] == 0)
			continue;
		if (e->se_kind == STORY_DONE)
			depth[e->se_cpu] -= depth[e->se_cpu] > 0;
		if (e->se_kind == STORY_BEGIN)
			operation_bar(l, i, depth[e->se_cpu]++);
		if (e->se_kind == STORY_GUEST_ON) {
			const uint32_t end = end_of(l, i, STORY_GUEST_OFF);

			if (end >= l->vw->vw_from)
				bar(l, "guest", i < l->vw->vw_from ? LEFT : x_of(l, i),
				    x_of(l, end), l->cpu_y[e->se_cpu] + GUEST_Y, ROW,
				    space_of(l, e), i);
		}
	}
}

static void
vcpu_bars(struct lanes *l, int y)
{
	for (unsigned int v = 0; v < l->nvcpus; v++, y += VCPU_LANE) {
		fprintf(l->to, "<text class=\"lane\" x=\"8\" y=\"%d\">", y + 11);
		fprintf(l->to, "vCPU %" PRIu32 "<tspan class=\"small\" x=\"8\" dy=\"11\">",
			l->vcpus[v].vcpu);
		html_text(l->to, l->s->st_spaces[l->vcpus[v].space].sa_name);
		fputs("</tspan></text>", l->to);
		for (uint32_t i = 0; i < l->s->st_n; i++) {
			const struct story_event *const e = &l->s->st_events[i];
			uint32_t end;
			char text[24];

			if (e->se_kind != STORY_VCPU_ON || e->se_space != l->vcpus[v].space ||
			    e->se_serial != l->vcpus[v].vcpu)
				continue;
			end = end_of(l, i, STORY_VCPU_OFF);
			if (end < l->vw->vw_from)
				continue;
			snprintf(text, sizeof(text), "on CPU %u", e->se_cpu);
			bar(l, "vcpu", i < l->vw->vw_from ? LEFT : x_of(l, i), x_of(l, end), y + 3,
			    ROW + 2, text, i);
		}
	}
}

/* ---- Stale windows -------------------------------------------------------------------------- */

/* Of the address that failed; of any, if that is not known. */
static bool
is_about(const struct lanes *l, const struct story_event *e)
{
	const uint32_t about = l->vw->vw_fill != STORY_NONE ? l->vw->vw_fill : l->s->st_changed;
	const struct story_event *const a = about != STORY_NONE ? &l->s->st_events[about] : NULL;

	return a == NULL || (a->se_space == e->se_space &&
			     (a->se_gpa ^ e->se_gpa) >> (12 + 9u * a->se_level) == 0);
}

static void
stale_windows(struct lanes *l)
{
	const uint32_t blamed =
		l->vw->vw_fill != STORY_NONE ? l->s->st_events[l->vw->vw_fill].se_serial : 0;
	char text[STORY_TEXT_BYTES];

	for (uint32_t i = 0; i < l->s->st_n; i++) {
		const struct story_event *const e = &l->s->st_events[i];
		const bool this = blamed != 0 && e->se_serial == blamed;
		uint32_t end = l->vw->vw_end;
		uint32_t from;

		if (e->se_kind != STORY_STALE || l->cpu_y[e->se_cpu] == 0 || e->se_serial == 0 ||
		    !is_about(l, e))
			continue;
		for (uint32_t j = i + 1; j < l->s->st_n && end == l->vw->vw_end; j++) {
			const struct story_event *const f = &l->s->st_events[j];

			if ((f->se_kind == STORY_DROP || f->se_kind == STORY_FRESH) &&
			    f->se_serial == e->se_serial)
				end = j;
		}
		if (end < l->vw->vw_from)
			continue;
		story_cached(l->s, e->se_serial - 1, text, sizeof(text));
		from = e->se_link != STORY_NONE ? e->se_link : i; /* from the change on */
		bar(l, this ? "stale this" : "stale", from < l->vw->vw_from ? LEFT : x_of(l, from),
		    x_of(l, end), l->cpu_y[e->se_cpu] + STALE_Y, ROW, this ? text : NULL, i);
	}
}

/* ---- Marks ---------------------------------------------------------------------------------- */

static void
arrow(struct lanes *l, uint32_t i)
{
	const struct story_event *const e = &l->s->st_events[i];
	const unsigned int from = lane_of(l, e);
	uint32_t to = l->vw->vw_end;

	if (from >= STORY_CPUS_MAX || l->cpu_y[from] == 0 || e->se_cpu >= STORY_CPUS_MAX ||
	    l->cpu_y[e->se_cpu] == 0)
		return;
	for (uint32_t j = i; j < l->s->st_n; j++) {
		if (l->s->st_events[j].se_kind == STORY_ARRIVED &&
		    l->s->st_events[j].se_cpu == e->se_cpu) {
			to = j;
			break;
		}
	}
	fprintf(l->to, "<g class=\"%s\"><path d=\"M%.1f %d L%.1f %d\" marker-end=\"url(#head)\"/>",
		to == l->vw->vw_end ? "kick flying" : "kick", x_of(l, i), l->cpu_y[from] + MARK_Y,
		x_of(l, to), l->cpu_y[e->se_cpu] + MARK_Y);
	title(l, i);
	fputs("</g>\n", l->to);
}

/* A store that waited: from when it was made until it was visible. */
static void
waited(struct lanes *l, uint32_t i)
{
	const struct story_event *const e = &l->s->st_events[i];
	const int y = l->cpu_y[e->se_cpu] + MARK_Y;
	const uint32_t from = story_buffered(l->s, i);
	double x0;

	if (from == STORY_NONE)
		return;
	x0 = from < l->vw->vw_from ? LEFT : x_of(l, from);
	if (x_of(l, i) - x0 < 16)
		return;
	fprintf(l->to, "<g class=\"waits\"><path d=\"M%.1f %dV%dM%.1f %dH%.1f\"/>", x0, y - 5,
		y + 5, x0, y, x_of(l, i) - 5);
	title(l, i);
	fputs("</g>\n", l->to);
}

/* The shapes: outlines about (0, 0), 12 wide. */
static const char *
shape_of(const struct story_event *e)
{
	switch (e->se_kind) {
	case STORY_ENTRY:
		return e->se_flags & SE_HARDWARE ? "M0 -4 4 0 0 4 -4 0z" : "M0 -7 7 0 0 7 -7 0z";
	case STORY_FILL:
		return "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z";
	case STORY_FLUSH:
		return "M-7 -6 7 -6 0 7z";
	case STORY_ACCESS:
		return e->se_flags & SE_DENIED ? "M-5 -5 5 5M-5 5 5 -5" : "M0 -7V7M-3 -7H3M-3 7H3";
	case STORY_INTERRUPT:
		return "M-2 -8 3 -8 0 -2 4 -2 -3 8 -1 1 -4 1z";
	case STORY_GEN:
		return "M-6 -4H6V4H-6z";
	case STORY_FAULT:
		return "M0 -7 6 5 -6 5z";
	case STORY_DRAIN:
		return "M-5 -3H1V-6L7 0 1 6V3H-5z";
	default:
		return NULL;
	}
}

static const char *
class_of(const struct story_event *e)
{
	switch (e->se_kind) {
	case STORY_ENTRY:
		return e->se_flags & SE_HARDWARE ? "m walker" : "m entry";
	case STORY_FILL:
		return e->se_flags & SE_TABLE ? "m fill table" : "m fill";
	case STORY_FLUSH:
		return "m flush";
	case STORY_ACCESS:
		return e->se_flags & SE_DENIED ? "m access denied" : "m access";
	case STORY_INTERRUPT:
		return "m irq";
	case STORY_GEN:
		return "m gen";
	case STORY_FAULT:
		return "m fault";
	default:
		return "m drain";
	}
}

static void
marks(struct lanes *l)
{
	for (uint32_t k = 0; k < l->vw->vw_npicks; k++) {
		const uint32_t i = l->vw->vw_picks[k];
		const struct story_event *const e = &l->s->st_events[i];
		const char *const shape = shape_of(e);
		const unsigned int cpu = lane_of(l, e);

		if (e->se_kind == STORY_KICK)
			arrow(l, i);
		if (e->se_kind == STORY_DRAIN && cpu < STORY_CPUS_MAX && l->cpu_y[cpu] != 0)
			waited(l, i);
		if (shape == NULL || cpu >= STORY_CPUS_MAX || l->cpu_y[cpu] == 0)
			continue;
		fprintf(l->to, "<g class=\"%s\" transform=\"translate(%.1f %d)\"><path d=\"%s\"/>",
			class_of(e), x_of(l, i), l->cpu_y[cpu] + MARK_Y, shape);
		title(l, i);
		if (e->se_kind == STORY_GEN)
			fprintf(l->to, "<text y=\"-7\">g%" PRIu64 "</text>", e->se_new);
		fputs("</g>\n", l->to);
	}
}

/* ---- The two steps that race ---------------------------------------------------------------- */

static void
racer(struct lanes *l, uint32_t i, const char *number, double *x, int *y)
{
	const struct story_event *const e = &l->s->st_events[i];
	unsigned int cpu = lane_of(l, e);

	if (cpu >= STORY_CPUS_MAX || l->cpu_y[cpu] == 0)
		cpu = 0;
	*x = x_of(l, i);
	*y = l->cpu_y[cpu] + MARK_Y;
	fprintf(l->to, "<path class=\"racer\" d=\"M%.1f %dV%d\"/>", *x, TOP - 8, l->height - AXIS);
	fprintf(l->to,
		"<g class=\"racer\"><circle cx=\"%.1f\" cy=\"%d\" r=\"11\"/><text x=\"%.1f\" "
		"y=\"%d\">%s</text>",
		*x, TOP - 18, *x, TOP - 13, number);
	title(l, i);
	fputs("</g>\n", l->to);
}

static void
racers(struct lanes *l)
{
	double x0, x1;
	int y0, y1;

	if (l->s->st_changed == STORY_NONE || l->s->st_used == STORY_NONE)
		return;
	racer(l, l->s->st_changed, "1", &x0, &y0);
	racer(l, l->s->st_used, "2", &x1, &y1);
	if (x1 - x0 < 40)
		return;
	fprintf(l->to,
		"<path class=\"link\" d=\"M%.1f %dC%.1f %d %.1f %d %.1f %d\" "
		"marker-end=\"url(#race)\"/>\n",
		x0 + 11, TOP - 18, x0 + (x1 - x0) / 3, TOP - 40, x1 - (x1 - x0) / 3, TOP - 40,
		x1 - 13, TOP - 20);
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void
axis(struct lanes *l)
{
	const uint32_t every = l->vw->vw_npicks > 14 ? l->vw->vw_npicks / 14 : 1;

	for (uint32_t k = 0; k < l->vw->vw_npicks; k += every) {
		const uint32_t i = l->vw->vw_picks[k];

		fprintf(l->to,
			"<path class=\"grid\" d=\"M%.1f %dV%d\"/><text class=\"tick\" x=\"%.1f\" "
			"y=\"%d\">%" PRIu64 "</text>\n",
			x_of(l, i), TOP, l->height - AXIS + 4, x_of(l, i), l->height - AXIS + 18,
			l->s->st_events[i].se_step);
	}
	fprintf(l->to,
		"<text class=\"tick\" x=\"%d\" y=\"%d\">step (each mark as far from the next as "
		"any other)</text>\n",
		WIDTH / 2, l->height - 8);
}

/* A lane for each CPU, and for each vCPU that runs in the picture. */
static void
lay_out(struct lanes *l)
{
	int y = TOP;

	for (unsigned int i = 0; i < l->s->st_ncpus; i++, y += LANE)
		l->cpu_y[i] = y;
	for (uint32_t i = 0; i < l->s->st_n; i++) {
		const struct story_event *const e = &l->s->st_events[i];
		unsigned int v = 0;

		if (e->se_kind != STORY_VCPU_ON || e->se_space >= l->s->st_nspaces ||
		    end_of(l, i, STORY_VCPU_OFF) < l->vw->vw_from)
			continue;
		while (v < l->nvcpus &&
		       (l->vcpus[v].space != e->se_space || l->vcpus[v].vcpu != e->se_serial))
			v++;
		if (v == l->nvcpus && v < sizeof(l->vcpus) / sizeof(l->vcpus[0])) {
			l->vcpus[v].space = e->se_space;
			l->vcpus[v].vcpu = e->se_serial;
			l->nvcpus++;
		}
	}
	l->height = y + (int)l->nvcpus * VCPU_LANE + 8 + AXIS;
}

/* Patterns and arrow heads; those of the legend, too. */
static const char definitions[] =
	"<defs><pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" "
	"patternTransform=\"rotate(45)\"><rect width=\"7\" height=\"7\" class=\"hatch-ground\"/>"
	"<path d=\"M0 0V7\" class=\"hatch\"/></pattern>"
	"<pattern id=\"hatch-light\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" "
	"patternTransform=\"rotate(-45)\"><path d=\"M0 0V7\" class=\"hatch-thin\"/></pattern>"
	"<marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" "
	"markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">"
	"<path d=\"M0 0 8 4 0 8z\" class=\"kick-head\"/></marker>"
	"<marker id=\"race\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"12\" "
	"markerHeight=\"12\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">"
	"<path d=\"M0 0 8 4 0 8z\" class=\"race-head\"/></marker></defs>\n";

static void
frame(struct lanes *l)
{
	fprintf(l->to,
		"<svg class=\"lanes\" viewBox=\"0 0 %d %d\" data-left=\"%d\" data-width=\"%d\" "
		"role=\"img\" aria-label=\"Who did what when: a lane per CPU and vCPU\" "
		"xmlns=\"http://www.w3.org/2000/svg\">\n%s",
		WIDTH, l->height, LEFT, WIDTH - LEFT - RIGHT, definitions);
	for (unsigned int i = 0; i < l->s->st_ncpus; i++)
		fprintf(l->to,
			"<rect class=\"ground\" x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\"/>"
			"<text class=\"lane\" x=\"8\" y=\"%d\">CPU %u</text>"
			"<text class=\"row\" x=\"8\" y=\"%d\">what happens</text>"
			"<text class=\"row\" x=\"8\" y=\"%d\">stale in its TLB</text>\n",
			l->cpu_y[i] + 2, WIDTH, LANE - 4, l->cpu_y[i] + 26, i,
			l->cpu_y[i] + MARK_Y + 4, l->cpu_y[i] + STALE_Y + 11);
}

void
svg_lanes(FILE *to, const struct html_view *vw)
{
	struct lanes l = {.to = to, .vw = vw, .s = vw->vw_story};

	if (vw->vw_npicks == 0)
		return;
	lay_out(&l);
	frame(&l);
	axis(&l);
	stale_windows(&l);
	bars(&l);
	vcpu_bars(&l, TOP + (int)l.s->st_ncpus * LANE);
	racers(&l);
	marks(&l);
	fprintf(to, "<path id=\"playhead\" class=\"playhead\" d=\"M0 %dV%d\"/>\n</svg>\n", TOP - 4,
		l.height - AXIS);
}
