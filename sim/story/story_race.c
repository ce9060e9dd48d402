/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The end of a story: which two steps raced, and what the tables above them were. If a translation
 * is to blame, the change that made it stale is known. Else the violation's message names an
 * address, as messages of oracles do ("guest 0: 0x3000 was written, and ..."): the last change of
 * its entry counts, and the access that failed. Else the last entry counts that two actors met at.
 */

#include <stdlib.h>
#include <string.h>

#include "sim/story/story_priv.h"

#define OFFSET_BITS 56
#define NEAR_END 2000 /* events: what lies further back had nothing to do with it */

/* ---- Tables --------------------------------------------------------------------------------- */

/* The entries above an address as they are at last, unless they are there. */
static void
add_path(unsigned int space, uint64_t gpa)
{
	struct story *const s = story_on;
	struct hw_walk w;

	hw_walk_quiet(&s->st_spaces[space].sa_ctx, gpa, &w);
	for (unsigned int i = 0; i < w.wk_n && s->st_npaths < STORY_PATHS_MAX; i++) {
		const unsigned int level = hw_context_levels(&s->st_spaces[space].sa_ctx) - 1 - i;
		bool there = false;

		for (uint32_t j = 0; j < s->st_npaths; j++)
			there = there || s->st_paths[j].pa_hpa == w.wk_where[i];
		if (!there)
			s->st_paths[s->st_npaths++] = (struct story_path){
				w.wk_where[i], gpa >> hw_shift(level) << hw_shift(level),
				w.wk_entries[i], (uint8_t)space, (uint8_t)level};
	}
}

void
story_add_paths(void)
{
	struct story *const s = story_on;

	for (uint32_t i = s->st_n; i-- > 0 && s->st_npaths < STORY_PATHS_MAX;) {
		const struct story_event *const e = &s->st_events[i];
		const bool access = e->se_kind == STORY_ACCESS || e->se_kind == STORY_BLAME;

		if ((e->se_kind == STORY_ENTRY || access) && e->se_space != STORY_NO_SPACE &&
		    s->st_spaces[e->se_space].sa_root != 0)
			add_path(e->se_space, e->se_gpa);
	}
}

/* ---- By blame ------------------------------------------------------------------------------- */

/* The change that made the blamed translation stale; or before it, the last one of its address. */
static uint32_t
change_of(uint32_t blame)
{
	const struct story *const s = story_on;
	const struct story_event *const b = &s->st_events[blame];

	for (uint32_t i = blame; i-- > 0;) {
		if (s->st_events[i].se_kind == STORY_STALE &&
		    s->st_events[i].se_serial == b->se_serial)
			return s->st_events[i].se_link;
	}
	return STORY_NONE;
}

/* ---- By address ----------------------------------------------------------------------------- */

/* The first number of the message that is an address of a space, and not a frame or a word. */
static bool
subject(unsigned int *space, uint64_t *gpa)
{
	const struct story *const s = story_on;
	const char *at = NULL;

	for (uint32_t i = 0; i < s->st_nspaces && at == NULL; i++) {
		const size_t n = strlen(s->st_spaces[i].sa_name);

		if (strncmp(s->st_message, s->st_spaces[i].sa_name, n) == 0 &&
		    s->st_message[n] == ':') {
			at = s->st_message + n;
			*space = i;
		}
	}
	while (at != NULL && (at = strstr(at, "0x")) != NULL) {
		const size_t before = (size_t)(at - s->st_message);

		if (!(before >= 6 && strncmp(at - 6, "frame ", 6) == 0) &&
		    !(before >= 5 && strncmp(at - 5, "word ", 5) == 0)) {
			*gpa = strtoull(at, NULL, 16);
			return true;
		}
		at += 2;
	}
	return false;
}

static bool
covers(const struct story_event *e, unsigned int space, uint64_t gpa)
{
	return e->se_space == space &&
	       (e->se_gpa ^ gpa) >> hw_shift(e->se_kind == STORY_ENTRY ? e->se_level : 0) == 0;
}

/* By software, or if nobody did, by a page walker. */
static uint32_t
last_change(uint32_t before, unsigned int space, uint64_t gpa)
{
	const struct story *const s = story_on;
	uint32_t walked = STORY_NONE;

	for (uint32_t i = before; i-- > 0;) {
		const struct story_event *const e = &s->st_events[i];

		if (e->se_kind != STORY_ENTRY || !covers(e, space, gpa) ||
		    (e->se_flags & SE_PRIVATE))
			continue;
		if (!(e->se_flags & SE_HARDWARE))
			return i;
		if (walked == STORY_NONE)
			walked = i;
	}
	return walked;
}

/* What an access was served by, out of a CPU's cache. */
static uint32_t
fill_of(uint32_t access)
{
	const struct story *const s = story_on;
	const struct story_event *const a = &s->st_events[access];

	for (uint32_t i = access; i-- > 0 && (a->se_flags & SE_CACHED);) {
		const struct story_event *const e = &s->st_events[i];
		const uint64_t size = (uint64_t)1 << hw_shift(e->se_level);

		if (e->se_kind == STORY_FILL && !(e->se_flags & SE_TABLE) &&
		    e->se_cpu == a->se_cpu && a->se_gpa - e->se_gpa < size &&
		    a->se_new - e->se_id == a->se_gpa - e->se_gpa)
			return i;
	}
	return STORY_NONE;
}

static bool
find_by_address(uint32_t violation)
{
	struct story *const s = story_on;
	unsigned int space;
	uint64_t gpa;

	if (!subject(&space, &gpa))
		return false;
	s->st_used = violation;
	s->st_changed = last_change(violation, space, gpa);
	/* The access that failed, if it is one: nothing changed after it. */
	for (uint32_t i = violation; i-- > 0 && i + NEAR_END / 10 > violation;) {
		const struct story_event *const e = &s->st_events[i];

		if (i == s->st_changed)
			break;
		if (e->se_kind == STORY_ACCESS && e->se_actor == s->st_actor &&
		    covers(e, space, gpa)) {
			s->st_used = i;
			s->st_fill = fill_of(i);
			break;
		}
	}
	return s->st_changed != STORY_NONE;
}

/* ---- By entry ------------------------------------------------------------------------------- */

/* The last word that the violator read or changed and that somebody else changed before. */
static void
find_conflict(void)
{
	struct story *const s = story_on;
	const uint64_t words = SIM_ID_TABLE >> OFFSET_BITS;

	for (uint32_t i = s->st_n; i-- > 0 && i + NEAR_END > s->st_n;) {
		const struct story_event *const e = &s->st_events[i];

		if (e->se_actor != s->st_actor || e->se_kind != STORY_POINT ||
		    e->se_id >> OFFSET_BITS != words)
			continue;
		for (uint32_t j = i; j-- > 0;) {
			const struct story_event *const w = &s->st_events[j];

			if (w->se_kind != STORY_ENTRY ||
			    w->se_id - sim_the_machine->m_phys_base != (e->se_id & ~SIM_ID_TABLE))
				continue;
			if (w->se_actor != s->st_actor) {
				s->st_used = i;
				s->st_changed = j;
				return;
			}
			break;
		}
	}
}

/* ---- The whole ------------------------------------------------------------------------------ */

void
story_find_race(void)
{
	struct story *const s = story_on;
	uint32_t violation = STORY_NONE;

	for (uint32_t i = s->st_n; i-- > 0 && violation == STORY_NONE;) {
		if (s->st_events[i].se_kind == STORY_VIOLATION)
			violation = i;
	}
	if (s->st_blame != STORY_NONE) {
		const uint32_t serial = s->st_events[s->st_blame].se_serial;

		s->st_used = s->st_blame;
		s->st_changed = change_of(s->st_blame);
		s->st_fill = serial != 0 ? serial - 1 : STORY_NONE;
	} else if (violation != STORY_NONE && !find_by_address(violation)) {
		s->st_used = STORY_NONE;
		find_conflict();
	}
}
