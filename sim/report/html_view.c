/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What of a story is shown. The slider goes over thousands of steps, the picture and the table
 * beside it over some hundred events: those that tell the failure always, then what moves CPUs in
 * and out of guests and flushes, then the rest, nearest to the end first.
 */

#include <stdlib.h>

#include "sim/report/html.h"
#include "sim/hw/hw_priv.h"

#define PICKS_MAX 110
#define BEFORE 14	 /* picks before the first that tells the failure */
#define SLIDER_MAX 12000 /* events */
#define SLIDER_LEAST 1500
#define STEP_MOST 400 /* events in one step, to begin with a whole one */
#define PRIORITIES 4

static bool
same_place(const struct story *s, const struct story_event *a, const struct story_event *b)
{
	const unsigned int shift = hw_shift(b->se_kind == STORY_ENTRY ? b->se_level : 0);

	(void)s;
	return a->se_space == b->se_space && a->se_gpa >> shift == b->se_gpa >> shift;
}

/* 0: tells the failure, and so on to PRIORITIES: not shown. */
static unsigned int
priority(const struct html_view *vw, uint32_t i)
{
	const struct story *const s = vw->vw_story;
	const struct story_event *const e = &s->st_events[i];
	const struct story_event *const about =
		s->st_blame != STORY_NONE     ? &s->st_events[s->st_blame]
		: s->st_changed != STORY_NONE ? &s->st_events[s->st_changed]
					      : NULL;
	const uint32_t blamed = vw->vw_fill != STORY_NONE ? s->st_events[vw->vw_fill].se_serial : 0;

	if (i == s->st_changed || i == s->st_used || i == vw->vw_end || i == vw->vw_fill)
		return 0;
	if (!story_matters(s, i))
		return PRIORITIES;
	switch (e->se_kind) {
	case STORY_VIOLATION:
	case STORY_BLAME:
		return 0;
	case STORY_STALE:
		return e->se_serial == blamed && blamed != 0 ? 0 : PRIORITIES;
	case STORY_FILL:
		return about != NULL && same_place(s, about, e) && !(e->se_flags & SE_TABLE) ? 1
		       : e->se_flags & SE_TABLE						     ? 4
											     : 3;
	case STORY_ENTRY:
		return about != NULL && same_place(s, about, e) && !(e->se_flags & SE_HARDWARE) ? 1
		       : e->se_flags & SE_HARDWARE						? 3
												: 2;
	case STORY_ACCESS:
		return about != NULL && same_place(s, about, e) ? 1 : 2;
	case STORY_SLOT:
	case STORY_BUFFER:
		return 3;
	case STORY_DRAIN:
		return 2;
	default:
		return 1;
	}
}

/* ---- Picks ---------------------------------------------------------------------------------- */

/* The earliest event that the picture should reach back to. */
static uint32_t
anchor(const struct html_view *vw)
{
	const struct story *const s = vw->vw_story;
	uint32_t a = vw->vw_end;

	if (s->st_changed != STORY_NONE)
		a = s->st_changed;
	if (vw->vw_fill != STORY_NONE && vw->vw_fill < a)
		a = vw->vw_fill;
	return a;
}

/*
 * What tells the failure, then what has one of these priorities, nearest to the end first, as far
 * as there is room. Returns their number.
 */
static uint32_t
pick(struct html_view *vw, uint32_t *picks, unsigned int most, uint32_t from)
{
	uint32_t n = 0;

	for (uint32_t i = vw->vw_end + 1; i-- > 0 && n < PICKS_MAX / 2;) {
		if (priority(vw, i) == 0)
			picks[n++] = i;
	}
	for (uint32_t i = vw->vw_end + 1; i-- > from && n < PICKS_MAX;) {
		const unsigned int p = priority(vw, i);

		if (p != 0 && p <= most)
			picks[n++] = i;
	}
	return n;
}

static int
by_number(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Where `count` events of the more important kinds before `i` begin. */
static uint32_t
back_from(const struct html_view *vw, uint32_t i, unsigned int count)
{
	while (i > 0 && count > 0) {
		i--;
		count -= priority(vw, i) <= 2;
	}
	return i;
}

static bool
choose_picks(struct html_view *vw)
{
	uint32_t *const picks = malloc((PICKS_MAX + 1) * sizeof(*picks));
	const uint32_t from = back_from(vw, anchor(vw), BEFORE);
	unsigned int most = PRIORITIES - 1;

	if (picks == NULL)
		return false;
	/* Of a run without a failure: as much as there is room for. */
	vw->vw_npicks = pick(vw, picks, most, vw->vw_story->st_changed != STORY_NONE ? from : 0);
	while (vw->vw_npicks == PICKS_MAX && most > 1)
		vw->vw_npicks = pick(vw, picks, --most, from);
	qsort(picks, vw->vw_npicks, sizeof(*picks), by_number);
	vw->vw_picks = picks;
	vw->vw_from = vw->vw_npicks > 0 ? picks[0] : 0;
	return true;
}

/* ---- The slider ----------------------------------------------------------------------------- */

static uint32_t
slider_from(const struct html_view *vw)
{
	const struct story *const s = vw->vw_story;
	uint32_t i = vw->vw_from > 200 ? vw->vw_from - 200 : 0;

	if (vw->vw_end > SLIDER_LEAST && i > vw->vw_end - SLIDER_LEAST)
		i = vw->vw_end - SLIDER_LEAST;
	if (vw->vw_end > SLIDER_MAX && i < vw->vw_end - SLIDER_MAX)
		i = vw->vw_end - SLIDER_MAX;
	/* A whole step, but for the driver's, which has no steps of its own. */
	for (unsigned int more = 0; more < STEP_MOST && i > 0 && i < s->st_n; more++) {
		if (s->st_events[i - 1].se_step != s->st_events[i].se_step)
			break;
		i--;
	}
	return i;
}

/* The violation; else the last of a run, before the driver takes everything down. */
static uint32_t
last_event(const struct story *s)
{
	for (uint32_t i = s->st_n; i-- > 0;) {
		const struct story_event *const e = &s->st_events[i];

		if (s->st_ended ? e->se_kind == STORY_VIOLATION : e->se_actor != SIM_ACTOR_DRIVER)
			return i;
	}
	return s->st_n > 0 ? s->st_n - 1 : 0;
}

bool
html_view_init(struct html_view *vw, const struct story *s)
{
	*vw = (struct html_view){.vw_story = s, .vw_fill = STORY_NONE};
	vw->vw_end = last_event(s);
	vw->vw_fill = s->st_fill;
	if (s->st_n == 0)
		return true;
	if (!choose_picks(vw))
		return false;
	vw->vw_first = slider_from(vw);
	return true;
}

void
html_view_free(struct html_view *vw)
{
	free((uint32_t *)vw->vw_picks);
}
