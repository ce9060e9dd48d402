/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a search has seen, as sets of 64-bit hashes; and what steps touch, as lists with filters in
 * front. Two states of one hash would be taken for one: with 10^7 of them the odds against that are
 * 10^5 to 1.
 */

#include <stdlib.h>
#include <string.h>

#include "sim/explore/explore_priv.h"

static void
out_of_memory(void)
{
	sim_stop("no memory for the search");
}

static void
insert(struct value_set *s, uint64_t value)
{
	uint64_t i = mix(value, 1) & (s->vs_room - 1);

	while (s->vs_slots[i] != 0)
		i = (i + 1) & (s->vs_room - 1);
	s->vs_slots[i] = value;
}

static void
grow(struct value_set *s)
{
	struct value_set bigger = {.vs_room = s->vs_room != 0 ? 2 * s->vs_room : 1024};

	bigger.vs_slots = calloc(bigger.vs_room, sizeof(*bigger.vs_slots));
	if (bigger.vs_slots == NULL)
		out_of_memory();
	for (uint64_t i = 0; i < s->vs_room; i++) {
		if (s->vs_slots[i] != 0)
			insert(&bigger, s->vs_slots[i]);
	}
	bigger.vs_n = s->vs_n;
	free(s->vs_slots);
	*s = bigger;
}

bool
set_add(struct value_set *s, uint64_t value)
{
	value += value == 0;
	if (4 * s->vs_n >= 3 * s->vs_room)
		grow(s);

	uint64_t i = mix(value, 1) & (s->vs_room - 1);

	for (; s->vs_slots[i] != 0; i = (i + 1) & (s->vs_room - 1)) {
		if (s->vs_slots[i] == value)
			return false;
	}
	s->vs_slots[i] = value;
	s->vs_n++;
	return true;
}

/*
 * Values in the order of a larger table, as they are saved in, would lie side by side in one that
 * grows, and each would have to pass all those before it. Not more than a gigabyte: a damaged file
 * may say anything.
 */
void
set_reserve(struct value_set *s, uint64_t n)
{
	while (s->vs_room < (uint64_t)1 << 27 && 4 * n >= 3 * s->vs_room)
		grow(s);
}

void
set_free(struct value_set *s)
{
	free(s->vs_slots);
	*s = (struct value_set){0};
}

/* ---- Footprints ---------------------------------------------------------------------------- */

static uint64_t
filter_bit(uint64_t object)
{
	return (uint64_t)1 << (mix(object, 2) & 63);
}

void
footprint_add(struct footprint *f, uint32_t object, unsigned int how)
{
	const uint64_t touch = (uint64_t)object << 8 | how;

	if (f->fp_any & filter_bit(object)) {
		for (uint32_t i = 0; i < f->fp_n; i++) {
			if (f->fp_touches[i] == touch)
				return;
		}
	}
	if (f->fp_n == f->fp_room) {
		const uint32_t room = f->fp_room != 0 ? 2 * f->fp_room : 16;
		uint64_t *touches = realloc(f->fp_touches, room * sizeof(*touches));

		if (touches == NULL)
			out_of_memory();
		f->fp_touches = touches;
		f->fp_room = room;
	}
	f->fp_touches[f->fp_n++] = touch;
	f->fp_any |= filter_bit(object);
	if (how != SIM_TOUCH_READ)
		f->fp_write |= filter_bit(object);
}

void
footprint_clear(struct footprint *f)
{
	f->fp_any = 0;
	f->fp_write = 0;
	f->fp_n = 0;
}

void
footprint_free(struct footprint *f)
{
	free(f->fp_touches);
	*f = (struct footprint){0};
}

/* Two that acquire, or two that release, what is different each time, never meet. */
static bool
touches_conflict(uint64_t a, uint64_t b)
{
	return a >> 8 == b >> 8 && ((a & 255) != SIM_TOUCH_READ || (b & 255) != SIM_TOUCH_READ);
}

bool
footprint_conflicts(const struct footprint *a, const struct footprint *b)
{
	if ((a->fp_any & b->fp_write) == 0 && (a->fp_write & b->fp_any) == 0)
		return false;
	for (uint32_t i = 0; i < a->fp_n; i++) {
		for (uint32_t k = 0; k < b->fp_n; k++) {
			if (touches_conflict(a->fp_touches[i], b->fp_touches[k]))
				return true;
		}
	}
	return false;
}
