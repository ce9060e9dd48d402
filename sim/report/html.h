/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A report for people, as one HTML file (docs/REPORT.md): what was run, what failed, the story of
 * it with pictures, and what was covered. It needs nothing but a browser: no network, and without
 * scripts all but the slider.
 *
 * Below html_write() is what its parts share: html.c (the page), html_text.c (escapes),
 * html_view.c (what is shown), html_story.c (the story and its state), html_data.c (what the script
 * gets), html_counts.c (coverage), html_style.c, html_script.c, svg_lanes.c (who did what when),
 * svg_tables.c (page tables before and after), svg_curve.c (when it became likely).
 */

#ifndef SIM_HTML_H
#define SIM_HTML_H

#include <stdint.h>
#include <stdio.h>

#include "sim/story/story.h"

struct cli_sum;

/* Errors of the stream are for the caller to look up. */
void html_write(FILE *to, const struct cli_sum *s);

/* ---- A curve -------------------------------------------------------------------------------- */

/* How often runs failed that began alike and went on by chance. */
struct html_point {
	uint64_t pt_x;	  /* how much of the run they had in common */
	uint64_t pt_step; /* the step up to which that is */
	uint32_t pt_tries;
	uint32_t pt_failed;
};

struct html_curve {
	const char *cu_x; /* what pt_x counts: "decisions replayed" */
	uint32_t cu_n;
	const struct html_point *cu_points; /* by ascending x */
	uint32_t cu_decisive; /* the jump leads to it from the one before; UINT32_MAX: none */
	const char *cu_text;  /* the decisive step in words, or NULL */
};

/* The picture; alone: as a file of its own, with its style. */
void svg_curve(FILE *to, const struct html_curve *c, bool alone);

/* The picture and its table, in a page. */
void html_curve(FILE *to, const struct html_curve *c);

/* ---- Other pages ---------------------------------------------------------------------------- */

/* Everything of a page up to its first heading; the title is text. */
void html_head(FILE *to, const char *title);

/* ---- For its parts -------------------------------------------------------------------------- */

extern const char html_style[];
extern const char html_script[];

/* Text with what is special in HTML escaped; and within a string of JSON in a page. */
void html_text(FILE *to, const char *text);
void html_json(FILE *to, const char *text);

/* A story, and what of it is shown. */
struct html_view {
	const struct story *vw_story;
	uint32_t vw_first;	  /* event from which on the slider goes */
	uint32_t vw_from;	  /* event at which the picture begins */
	uint32_t vw_npicks;	  /* events in the picture ... */
	const uint32_t *vw_picks; /* ... in order */
	uint32_t vw_fill;	  /* event that cached the blamed translation, or STORY_NONE */
	uint32_t vw_end;	  /* event of the end: the violation, or the last */
};

/* Chooses what to show; false if memory is short. */
bool html_view_init(struct html_view *vw, const struct story *s);
void html_view_free(struct html_view *vw);

void html_story(FILE *to, const struct html_view *vw);
void html_slider(FILE *to);
void html_data(FILE *to, const struct html_view *vw);
void html_counts(FILE *to, const struct cli_sum *s);

void svg_lanes(FILE *to, const struct html_view *vw);
void svg_tables(FILE *to, const struct html_view *vw);

#endif /* SIM_HTML_H */
