/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What came before what, and the races that this leaves.
 *
 * Steps that may not be exchanged are ordered: those of one actor, those that touch an object of
 * which one of them writes it, and those of which one made the other possible (a store and its
 * leaving the buffer, a lock's release and its next taking). A vector clock per step says which
 * steps came before it in that order. Two steps that are ordered by nothing but their own conflict
 * are a race: the other order is another run, and a decision further down must see to it that it is
 * made (Abdulla, Aronis, Jonsson, Sagonas, "Optimal dynamic partial order reduction", 2014: source
 * sets).
 *
 * The same order gives the runs' beginnings their names: each step is hashed together with the
 * hashes of what it depends on, so that beginnings that differ only in the order of what may be
 * exchanged have equal sums.
 */

#include <stdlib.h>
#include <string.h>

#include "sim/explore/explore_priv.h"

/* Steps of a waiting loop that are looked through for what it waits for. */
#define LOOP_MAX 96

static _Noreturn void
out_of_memory(void)
{
	sim_stop("no memory for the search");
}

/* ---- Objects ------------------------------------------------------------------------------- */

static void
index_insert(struct explore *ex, uint32_t object)
{
	uint32_t i = (uint32_t)mix(ex->ex_objects[object].ob_key, 3) & ex->ex_index_mask;

	while (ex->ex_index[i] != 0)
		i = (i + 1) & ex->ex_index_mask;
	ex->ex_index[i] = object + 1;
}

static void
grow_objects(struct explore *ex)
{
	const uint32_t room = ex->ex_objects_room != 0 ? 2 * ex->ex_objects_room : 512;
	struct object *objects = realloc(ex->ex_objects, room * sizeof(*objects));
	uint32_t *index = calloc(4 * (size_t)room, sizeof(*index));

	if (objects == NULL || index == NULL)
		out_of_memory();
	free(ex->ex_index);
	ex->ex_objects = objects;
	ex->ex_objects_room = room;
	ex->ex_index = index;
	ex->ex_index_mask = 4 * room - 1;
	for (uint32_t i = 0; i < ex->ex_nobjects; i++)
		index_insert(ex, i);
}

uint32_t
order_object(struct explore *ex, uint64_t key)
{
	if (ex->ex_nobjects == ex->ex_objects_room)
		grow_objects(ex);
	for (uint32_t i = (uint32_t)mix(key, 3) & ex->ex_index_mask; ex->ex_index[i] != 0;
	     i = (i + 1) & ex->ex_index_mask) {
		if (ex->ex_objects[ex->ex_index[i] - 1].ob_key == key)
			return ex->ex_index[i] - 1;
	}

	struct object *const ob = &ex->ex_objects[ex->ex_nobjects];

	memset(ob, 0, sizeof(*ob));
	ob->ob_key = key;
	ob->ob_write = -1;
	ob->ob_take = -1;
	ob->ob_release = -1;
	memset(ob->ob_read, -1, sizeof(ob->ob_read));
	index_insert(ex, ex->ex_nobjects);
	return ex->ex_nobjects++;
}

void
order_touch(struct explore *ex, uint64_t key, enum sim_touch how)
{
	const uint32_t index = order_object(ex, key);
	struct object *const ob = &ex->ex_objects[index];

	if (ob->ob_stamp != ex->ex_serial) {
		ob->ob_stamp = ex->ex_serial;
		ob->ob_hows = 0;
	}
	if ((ob->ob_hows & HOW(how)) != 0 ||
	    (how == SIM_TOUCH_READ && (ob->ob_hows & HOW(SIM_TOUCH_WRITE)) != 0))
		return;
	ob->ob_hows |= HOW(how);
	if (ex->ex_ntouches == ex->ex_touches_room) {
		const uint32_t room = ex->ex_touches_room != 0 ? 2 * ex->ex_touches_room : 4096;
		struct touched *touches = realloc(ex->ex_touches, room * sizeof(*touches));

		if (touches == NULL)
			out_of_memory();
		ex->ex_touches = touches;
		ex->ex_touches_room = room;
	}
	ex->ex_touches[ex->ex_ntouches++] =
		(struct touched){.to_object = index, .to_how = (uint8_t)how};
	last_event(ex)->ev_ntouches++;
}

/* ---- Waiting loops ------------------------------------------------------------------------- */

/* Whether another has written, after the step, a word that it read, or sent an interrupt. */
static bool
has_changed(const struct explore *ex, int32_t event)
{
	const struct event *const e = &ex->ex_events[event];

	for (uint32_t i = 0; i < e->ev_ntouches; i++) {
		const struct touched *const t = &ex->ex_touches[e->ev_first + i];
		const struct object *const ob = &ex->ex_objects[t->to_object];
		const uint64_t class = ob->ob_key >> SIM_OBJECT_SHIFT;

		if (t->to_how == SIM_TOUCH_READ && ob->ob_write > event &&
		    ex->ex_events[ob->ob_write].ev_actor != e->ev_actor &&
		    (class == SIM_OBJECT_WORD || class == SIM_OBJECT_IRQ))
			return true;
	}
	return false;
}

static bool
is_word(const struct explore *ex, const struct touched *t)
{
	return ex->ex_objects[t->to_object].ob_key >> SIM_OBJECT_SHIFT == SIM_OBJECT_WORD;
}

/* Whether this actor read the object in one of the steps before event i. */
static bool
was_read_before(const struct explore *ex, int32_t i, uint32_t object)
{
	for (unsigned int n = 0; i >= 0 && n < LOOP_MAX; n++, i = ex->ex_events[i].ev_before) {
		const struct event *const e = &ex->ex_events[i];

		for (uint32_t k = 0; k < e->ev_ntouches; k++) {
			if (ex->ex_touches[e->ev_first + k].to_object == object)
				return true;
		}
	}
	return false;
}

/* A step of a turn that only looks, and at nothing that was not looked at before the turn. */
static bool
looks_again(const struct explore *ex, int32_t event, int32_t turn)
{
	const struct event *const e = &ex->ex_events[event];

	for (uint32_t k = 0; k < e->ev_ntouches; k++) {
		const struct touched *const t = &ex->ex_touches[e->ev_first + k];
		const uint64_t class = ex->ex_objects[t->to_object].ob_key >> SIM_OBJECT_SHIFT;

		if (class == SIM_OBJECT_STORED ||
		    (class == SIM_OBJECT_DEVICE && t->to_how == SIM_TOUCH_WRITE))
			return false;
		if (is_word(ex, t) &&
		    (t->to_how != SIM_TOUCH_READ || !was_read_before(ex, turn, t->to_object)))
			return false;
	}
	return true;
}

/*
 * Some loops relax to let others have a turn, not to wait. One waits if it has been round once and
 * did nothing but look at what it had looked at before.
 */
bool
order_spins(const struct explore *ex, unsigned int cpu)
{
	int32_t turn = ex->ex_last[cpu];
	unsigned int n = 0;

	for (; turn >= 0 && !ex->ex_events[turn].ev_relax; turn = ex->ex_events[turn].ev_before) {
		if (++n == LOOP_MAX || has_changed(ex, turn))
			return false;
	}
	if (turn < 0 || has_changed(ex, turn))
		return false;
	for (int32_t i = ex->ex_last[cpu]; i != turn; i = ex->ex_events[i].ev_before) {
		if (!looks_again(ex, i, turn))
			return false;
	}
	return true;
}

static void
join(uint16_t *clock, const uint16_t *other)
{
	for (unsigned int a = 0; a < ACTORS; a++)
		clock[a] = clock[a] > other[a] ? clock[a] : other[a];
}

/* ---- Steps --------------------------------------------------------------------------------- */

void
order_begin(struct explore *ex, unsigned int actor, bool relax, uint32_t node)
{
	if (ex->ex_nevents == ex->ex_events_room) {
		const uint32_t room = ex->ex_events_room != 0 ? 2 * ex->ex_events_room : 256;
		struct event *events = realloc(ex->ex_events, room * sizeof(*events));

		if (events == NULL)
			out_of_memory();
		ex->ex_events = events;
		ex->ex_events_room = room;
	}
	struct event *const e = &ex->ex_events[ex->ex_nevents++];

	e->ev_actor = (uint8_t)actor;
	e->ev_relax = relax;
	e->ev_node = node;
	e->ev_first = ex->ex_ntouches;
	e->ev_ntouches = 0;
	e->ev_before = ex->ex_last[actor];
	e->ev_hash_before = ex->ex_hash[actor];
	ex->ex_value = 0;
	ex->ex_serial++;
	ex->ex_open = true;
}

void
order_value(struct explore *ex, uint64_t value)
{
	ex->ex_value = mix(ex->ex_value, value + 1);
}

/* Steps that this one races with, by actor: the last of each; -1: none. */
struct rivals {
	int32_t rv_event[ACTORS];
};

static void
note_rival(const struct explore *ex, const struct event *e, int32_t other, struct rivals *rv)
{
	if (other < 0)
		return;

	const unsigned int a = ex->ex_events[other].ev_actor;

	if (a != e->ev_actor && e->ev_clock[a] <= other && rv->rv_event[a] < other)
		rv->rv_event[a] = other;
}

static void
find_rivals(const struct explore *ex, const struct event *e, const struct touched *t,
	    struct rivals *rv)
{
	const struct object *const ob = &ex->ex_objects[t->to_object];

	if (t->to_how != SIM_TOUCH_READ && t->to_how != SIM_TOUCH_WRITE)
		return;
	note_rival(ex, e, ob->ob_write, rv);
	for (unsigned int a = 0; a < ACTORS && t->to_how == SIM_TOUCH_WRITE; a++) {
		if (ob->ob_read[a] > ob->ob_write)
			note_rival(ex, e, ob->ob_read[a], rv);
	}
}

/* A release orders what acquires it; of locks the race is between who takes them. */
static void
acquire(const struct explore *ex, struct event *e, const struct touched *touches,
	struct rivals *takers)
{
	for (uint32_t i = 0; i < e->ev_ntouches; i++) {
		const struct object *const ob = &ex->ex_objects[touches[i].to_object];

		if (touches[i].to_how == SIM_TOUCH_ACQUIRE && ob->ob_release >= 0)
			join(e->ev_clock, ex->ex_events[ob->ob_release].ev_clock);
	}
	for (uint32_t i = 0; i < e->ev_ntouches; i++) {
		const struct object *const ob = &ex->ex_objects[touches[i].to_object];

		if (touches[i].to_how == SIM_TOUCH_TAKE)
			note_rival(ex, e, ob->ob_take, takers);
	}
	for (uint32_t i = 0; i < e->ev_ntouches; i++) {
		const struct object *const ob = &ex->ex_objects[touches[i].to_object];

		if (touches[i].to_how == SIM_TOUCH_TAKE && ob->ob_release >= 0)
			join(e->ev_clock, ex->ex_events[ob->ob_release].ev_clock);
		if (touches[i].to_how == SIM_TOUCH_TAKE && ob->ob_take >= 0)
			join(e->ev_clock, ex->ex_events[ob->ob_take].ev_clock);
	}
}

static uint64_t
hash_touch(const struct object *ob, unsigned int how, uint64_t h)
{
	switch ((enum sim_touch)how) {
	case SIM_TOUCH_READ:
		return mix(h, ob->ob_key + ob->ob_write_hash);
	case SIM_TOUCH_WRITE:
		return mix(h, mix(ob->ob_key, ob->ob_write_hash + ob->ob_reads_hash));
	case SIM_TOUCH_TAKE:
		return mix(h, mix(ob->ob_key, ob->ob_take_hash + ob->ob_release_hash));
	case SIM_TOUCH_ACQUIRE:
		return mix(h, ob->ob_key + ob->ob_release_hash);
	case SIM_TOUCH_RELEASE:
		break;
	}
	return mix(h, ob->ob_key);
}

/* The object is as the step leaves it; what it was is kept for undoing. */
static void
apply_touch(struct object *ob, struct touched *t, unsigned int actor, int32_t event, uint64_t h)
{
	switch ((enum sim_touch)t->to_how) {
	case SIM_TOUCH_READ:
		t->to_before = ob->ob_read[actor];
		t->to_hash = ob->ob_reads_hash;
		ob->ob_read[actor] = event;
		ob->ob_reads_hash += mix(h, ob->ob_key);
		break;
	case SIM_TOUCH_WRITE:
		t->to_before = ob->ob_write;
		t->to_hash = ob->ob_write_hash;
		t->to_hash2 = ob->ob_reads_hash;
		ob->ob_write = event;
		ob->ob_write_hash = mix(h, ob->ob_key);
		ob->ob_reads_hash = 0;
		break;
	case SIM_TOUCH_TAKE:
		t->to_before = ob->ob_take;
		t->to_hash = ob->ob_take_hash;
		ob->ob_take = event;
		ob->ob_take_hash = mix(h, ob->ob_key);
		break;
	case SIM_TOUCH_RELEASE:
		t->to_before = ob->ob_release;
		t->to_hash = ob->ob_release_hash;
		ob->ob_release = event;
		ob->ob_release_hash = mix(h, ob->ob_key);
		break;
	case SIM_TOUCH_ACQUIRE:
		break;
	}
}

static void
undo_touch(struct object *ob, const struct touched *t, unsigned int actor)
{
	switch ((enum sim_touch)t->to_how) {
	case SIM_TOUCH_READ:
		ob->ob_read[actor] = t->to_before;
		ob->ob_reads_hash = t->to_hash;
		break;
	case SIM_TOUCH_WRITE:
		ob->ob_write = t->to_before;
		ob->ob_write_hash = t->to_hash;
		ob->ob_reads_hash = t->to_hash2;
		break;
	case SIM_TOUCH_TAKE:
		ob->ob_take = t->to_before;
		ob->ob_take_hash = t->to_hash;
		break;
	case SIM_TOUCH_RELEASE:
		ob->ob_release = t->to_before;
		ob->ob_release_hash = t->to_hash;
		break;
	case SIM_TOUCH_ACQUIRE:
		break;
	}
}

/* ---- Races --------------------------------------------------------------------------------- */

/*
 * Who could begin, right before step `from`, what comes after it without depending on it, up to
 * `to` and with it.
 */
static actors_t
initials(const struct explore *ex, int32_t from, int32_t to)
{
	const struct event *const ej = &ex->ex_events[from];
	int32_t first[ACTORS];
	actors_t seen = 0;
	actors_t result = 0;

	for (int32_t k = from + 1; k <= to; k++) {
		const struct event *const ek = &ex->ex_events[k];
		const actors_t bit = actor_bit(ek->ev_actor);
		bool begins = true;

		if (k < to && ek->ev_clock[ej->ev_actor] > from)
			continue;
		if (seen & bit)
			continue;
		for (actors_t rest = seen; rest != 0 && begins; rest &= rest - 1) {
			const int b = __builtin_ctzll(rest);

			begins = ek->ev_clock[b] <= first[b];
		}
		seen |= bit;
		first[ek->ev_actor] = k;
		if (begins)
			result |= bit;
	}
	return result;
}

static void
race(struct explore *ex, int32_t from, int32_t to)
{
	struct decision *const de = &ex->ex_stack[ex->ex_events[from].ev_node];
	const unsigned int actor = ex->ex_events[to].ev_actor;

	ex->ex_stats.es_races++;
	if (!explore_by_races(ex))
		return;

	const actors_t begin = initials(ex, from, to);

	if ((begin & (de->de_backtrack | de->de_asleep)) != 0)
		return;

	const actors_t one = begin & actor_bit(actor) ? actor_bit(actor) : begin & -begin;

	explore_add(ex, de, one & de->de_enabled ? one : de->de_enabled);
}

/* Of the rivals those that no other rival comes between. */
static void
races(struct explore *ex, const struct rivals *rv, int32_t event)
{
	for (unsigned int a = 0; a < ACTORS; a++) {
		const int32_t from = rv->rv_event[a];
		bool direct = from >= 0;

		for (unsigned int b = 0; b < ACTORS && direct; b++) {
			const int32_t other = rv->rv_event[b];

			direct = b == a || other < 0 || ex->ex_events[other].ev_clock[a] <= from;
		}
		if (direct)
			race(ex, from, event);
	}
}

/* ---- The end of a step --------------------------------------------------------------------- */

static void
set_hash(struct explore *ex, unsigned int actor, uint64_t hash)
{
	ex->ex_sum -= mix(ex->ex_hash[actor], actor);
	ex->ex_hash[actor] = hash;
	ex->ex_sum += mix(hash, actor);
}

static void
settle(struct explore *ex, struct event *e, struct touched *touches, int32_t event)
{
	uint64_t h = mix(mix(e->ev_hash_before, e->ev_actor), ex->ex_value);

	for (uint32_t i = 0; i < e->ev_ntouches; i++)
		h = hash_touch(&ex->ex_objects[touches[i].to_object], touches[i].to_how, h);
	for (uint32_t i = 0; i < e->ev_ntouches; i++) {
		apply_touch(&ex->ex_objects[touches[i].to_object], &touches[i], e->ev_actor, event,
			    h);
		footprint_add(&ex->ex_stack[e->ev_node].de_foot, touches[i].to_object,
			      touches[i].to_how);
	}
	set_hash(ex, e->ev_actor, h);
	ex->ex_last[e->ev_actor] = event;
}

void
order_end(struct explore *ex)
{
	const int32_t event = (int32_t)ex->ex_nevents - 1;
	struct event *const e = &ex->ex_events[event];
	struct touched *const touches = &ex->ex_touches[e->ev_first];
	struct rivals rivals;
	struct rivals takers;

	memset(&rivals, -1, sizeof(rivals));
	memset(&takers, -1, sizeof(takers));
	memset(e->ev_clock, 0, sizeof(e->ev_clock));
	if (e->ev_before >= 0)
		memcpy(e->ev_clock, ex->ex_events[e->ev_before].ev_clock, sizeof(e->ev_clock));
	acquire(ex, e, touches, &takers);
	for (uint32_t i = 0; i < e->ev_ntouches; i++)
		find_rivals(ex, e, &touches[i], &rivals);
	for (unsigned int a = 0; a < ACTORS; a++) {
		if (rivals.rv_event[a] >= 0)
			join(e->ev_clock, ex->ex_events[rivals.rv_event[a]].ev_clock);
	}
	e->ev_clock[e->ev_actor] = (uint16_t)(event + 1);
	ex->ex_open = false;
	races(ex, &takers, event);
	races(ex, &rivals, event);
	settle(ex, e, touches, event);
}

void
order_undo(struct explore *ex, uint32_t event)
{
	while (ex->ex_nevents > event) {
		struct event *const e = last_event(ex);

		for (uint32_t i = e->ev_ntouches; i-- > 0;) {
			const struct touched *const t = &ex->ex_touches[e->ev_first + i];

			undo_touch(&ex->ex_objects[t->to_object], t, e->ev_actor);
		}
		set_hash(ex, e->ev_actor, e->ev_hash_before);
		ex->ex_last[e->ev_actor] = e->ev_before;
		ex->ex_ntouches = e->ev_first;
		ex->ex_nevents--;
	}
}

void
order_free(struct explore *ex)
{
	free(ex->ex_events);
	free(ex->ex_touches);
	free(ex->ex_objects);
	free(ex->ex_index);
}
