/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the machine looks like at any event of a story: its changes, played from the first on. */

#include <stdlib.h>
#include <string.h>

#include "sim/story/story.h"

void
story_state_init(struct story_state *st, const struct story *s)
{
	memset(st, 0, sizeof(*st));
	st->ss_story = s;
	for (unsigned int i = 0; i < STORY_CPUS_MAX; i++) {
		st->ss_cpus[i].sc_guest = STORY_NONE;
		st->ss_cpus[i].sc_vcpu = STORY_NONE;
	}
	for (unsigned int i = 0; i < STORY_SPACES_MAX; i++) {
		for (unsigned int j = 0; j < STORY_SLOTS_MAX; j++)
			st->ss_slots[i][j] = STORY_NONE;
	}
}

void
story_state_free(struct story_state *st)
{
	for (unsigned int i = 0; i < STORY_CPUS_MAX; i++)
		free(st->ss_cpus[i].sc_cached);
	memset(st, 0, sizeof(*st));
}

/* ---- Translations --------------------------------------------------------------------------- */

static struct story_tlb_entry *
cached(struct story_cpu *c, const struct story *s, uint32_t serial)
{
	for (uint32_t i = 0; i < c->sc_ncached; i++) {
		if (s->st_events[c->sc_cached[i].tl_first].se_serial == serial)
			return &c->sc_cached[i];
	}
	return NULL;
}

static bool
fill(struct story_cpu *c, const struct story *s, uint32_t i)
{
	struct story_tlb_entry *t = cached(c, s, s->st_events[i].se_serial);

	if (t != NULL) {
		t->tl_fill = i;
		return true;
	}
	if (c->sc_ncached == c->sc_room) {
		const uint32_t room = c->sc_room != 0 ? 2 * c->sc_room : 64;
		struct story_tlb_entry *more = realloc(c->sc_cached, room * sizeof(*more));

		if (more == NULL)
			return false;
		c->sc_cached = more;
		c->sc_room = room;
	}
	c->sc_cached[c->sc_ncached++] = (struct story_tlb_entry){i, i, STORY_NONE};
	return true;
}

static void
change_cached(struct story_cpu *c, const struct story *s, uint32_t i)
{
	const struct story_event *const e = &s->st_events[i];
	struct story_tlb_entry *const t = cached(c, s, e->se_serial);

	if (t == NULL)
		return;
	if (e->se_kind == STORY_STALE)
		t->tl_stale = i;
	else if (e->se_kind == STORY_FRESH)
		t->tl_stale = STORY_NONE;
	else
		*t = c->sc_cached[--c->sc_ncached];
}

/* ---- The rest of a CPU ---------------------------------------------------------------------- */

static void
drain(struct story_cpu *c)
{
	if (c->sc_nstores == 0)
		return;
	c->sc_nstores--;
	memmove(c->sc_stores, c->sc_stores + 1, c->sc_nstores * sizeof(c->sc_stores[0]));
}

static void
play_cpu(struct story_cpu *c, const struct story_event *e, uint32_t i)
{
	switch (e->se_kind) {
	case STORY_BUFFER:
		if (c->sc_nstores < sizeof(c->sc_stores) / sizeof(c->sc_stores[0]))
			c->sc_stores[c->sc_nstores++] = i;
		break;
	case STORY_DRAIN:
		drain(c);
		break;
	case STORY_VCPU_ON:
		c->sc_vcpu = i;
		break;
	case STORY_VCPU_OFF:
		c->sc_vcpu = STORY_NONE;
		break;
	case STORY_GUEST_ON:
		c->sc_guest = i;
		break;
	case STORY_GUEST_OFF:
		c->sc_guest = STORY_NONE;
		break;
	case STORY_BEGIN:
		if (c->sc_depth < STORY_DEPTH_MAX)
			c->sc_operations[c->sc_depth] = i;
		c->sc_depth++;
		break;
	case STORY_DONE:
		c->sc_depth -= c->sc_depth > 0;
		break;
	case STORY_KICK:
		c->sc_flying++;
		break;
	case STORY_ARRIVED:
		c->sc_flying -= c->sc_flying > 0;
		c->sc_pending = true;
		break;
	case STORY_INTERRUPT:
		c->sc_pending = false;
		break;
	default:
		break;
	}
}

bool
story_state_go(struct story_state *st, uint32_t at)
{
	const struct story *const s = st->ss_story;

	for (; st->ss_at < at && st->ss_at < s->st_n; st->ss_at++) {
		const struct story_event *const e = &s->st_events[st->ss_at];
		struct story_cpu *const c =
			e->se_cpu < STORY_CPUS_MAX ? &st->ss_cpus[e->se_cpu] : NULL;

		switch (e->se_kind) {
		case STORY_FILL:
			if (!fill(c, s, st->ss_at))
				return false;
			break;
		case STORY_DROP:
		case STORY_STALE:
		case STORY_FRESH:
			change_cached(c, s, st->ss_at);
			break;
		case STORY_GEN:
			st->ss_gen[e->se_space] = e->se_new;
			break;
		case STORY_SLOT:
			if (e->se_space < STORY_SPACES_MAX && e->se_serial < STORY_SLOTS_MAX)
				st->ss_slots[e->se_space][e->se_serial] = st->ss_at;
			break;
		default:
			if (c != NULL)
				play_cpu(c, e, st->ss_at);
		}
	}
	return true;
}

/* The last store of that value to that word, by that CPU. */
uint32_t
story_buffered(const struct story *s, uint32_t drain)
{
	const struct story_event *const d = &s->st_events[drain];

	for (uint32_t i = drain; i-- > 0;) {
		const struct story_event *const e = &s->st_events[i];

		if (e->se_kind == STORY_BUFFER && e->se_cpu == d->se_cpu && e->se_id == d->se_id &&
		    e->se_new == d->se_new)
			return i;
	}
	return STORY_NONE;
}

/* ---- Table words ---------------------------------------------------------------------------- */

bool
story_word(const struct story *s, uint32_t at, uint64_t hpa, uint64_t *value)
{
	for (uint32_t i = at; i-- > 0;) {
		const struct story_event *const e = &s->st_events[i];

		if (e->se_kind == STORY_ENTRY && e->se_id == hpa) {
			*value = e->se_new;
			return true;
		}
	}
	for (uint32_t i = at; i < s->st_n; i++) {
		const struct story_event *const e = &s->st_events[i];

		if (e->se_kind == STORY_ENTRY && e->se_id == hpa) {
			*value = e->se_old;
			return true;
		}
	}
	for (uint32_t i = 0; i < s->st_npaths; i++) {
		if (s->st_paths[i].pa_hpa == hpa) {
			*value = s->st_paths[i].pa_value;
			return true;
		}
	}
	return false;
}
