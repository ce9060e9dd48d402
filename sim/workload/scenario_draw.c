/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A scenario for each seed: "swarm" draws the world and the operations. What all do at once hides
 * some bugs, since one operation undoes what another needs; leaving half of them out at random
 * brings those together that nobody thought of. "rush" does the same to operations that are all
 * alike: what the swarm has seldom, such as pageout, meets what is seldom there, too.
 */

#include "sim/workload/scenario.h"
#include "sim/workload/workload.h"

/* Salts of what is drawn here; workload.c has those below 64. */
enum {
	SALT_SCALE = 64,
	SALT_WORLD,
	SALT_WEIGHTS, /* and one more for each operation */
	SALT_KINDS = 128,
};

/* Kinds of operations, by what they are about. Guests run in every seed. */
enum {
	KIND_TABLES,
	KIND_RIGHTS,
	KIND_PAGES,
	KIND_WIRING,
	KIND_SIZES,
	KIND_MARKS,
	KIND_HOLDS,
	KIND_MAPS,
	KIND_REST,
	KIND_COUNT,
};

static const uint8_t kind_of[OP_COUNT] = {
	[OP_REMOVE] = KIND_TABLES,     [OP_SWEEP] = KIND_TABLES,     [OP_PREFAULT] = KIND_TABLES,
	[OP_INVALIDATE] = KIND_TABLES, [OP_DRAIN] = KIND_TABLES,     [OP_PROTECT] = KIND_RIGHTS,
	[OP_WIDEN] = KIND_RIGHTS,      [OP_NX] = KIND_RIGHTS,	     [OP_MIGRATE] = KIND_PAGES,
	[OP_DISCARD] = KIND_PAGES,     [OP_PAGEOUT] = KIND_PAGES,    [OP_WIRE] = KIND_WIRING,
	[OP_GRANT] = KIND_WIRING,      [OP_UNWIRE] = KIND_WIRING,    [OP_SPLIT_WIRED] = KIND_WIRING,
	[OP_ATTACH] = KIND_WIRING,     [OP_DETACH] = KIND_WIRING,    [OP_PROMOTE] = KIND_SIZES,
	[OP_REJOIN] = KIND_SIZES,      [OP_DEMOTE] = KIND_SIZES,     [OP_CLEAN] = KIND_MARKS,
	[OP_LOG] = KIND_MARKS,	       [OP_LOG_BACK] = KIND_MARKS,   [OP_CLEAR_MODIFY] = KIND_MARKS,
	[OP_AGE] = KIND_MARKS,	       [OP_REFERENCED] = KIND_MARKS, [OP_PEEK] = KIND_MARKS,
	[OP_HOLD] = KIND_HOLDS,	       [OP_HOLD_SEG] = KIND_HOLDS,   [OP_TOUCH] = KIND_HOLDS,
	[OP_RELEASE] = KIND_HOLDS,     [OP_COPY] = KIND_HOLDS,	     [OP_MOVE_MAP] = KIND_MAPS,
	[OP_MOVE_WINDOW] = KIND_MAPS,  [OP_MANY_MAPS] = KIND_MAPS,   [OP_RESET] = KIND_MAPS,
	[OP_NEW_SEG] = KIND_MAPS,      [OP_RECREATE] = KIND_MAPS,    [OP_EXTRACT] = KIND_REST,
	[OP_MISUSE] = KIND_REST,       [OP_OFFLINE] = KIND_REST,     [OP_HOSTILE] = KIND_REST,
	[OP_QUIET] = KIND_REST,	       [OP_ENTER_RUN] = KIND_TABLES,
};

/* Guests run in every seed; of the rest a third is left out, a third comes often. */
static uint32_t
weight_swarm(uint64_t drawn, uint32_t weight)
{
	static const uint32_t times[] = {0, 1, 4};

	return weight * times[drawn % 3];
}

/*
 * Where all are alike half of them are left out, each for itself; or whole kinds are, in half of
 * the seeds, so that what is there meets itself again and again.
 */
static uint32_t
weight_even(uint64_t seed, unsigned int op, uint64_t drawn)
{
	static const uint32_t some[] = {0, 0, 4, 16}, most[] = {0, 4, 16, 16};

	if (workload_hash(seed, SALT_KINDS) % 2 != 0)
		return some[drawn % 4];
	if (workload_hash(seed, SALT_KINDS + 1 + kind_of[op]) % 3 != 0)
		return 0;
	return most[drawn % 4];
}

/* ---- Traits --------------------------------------------------------------------------------- */

/*
 * What was thought of after seeds had been written down for this or that. A trait is drawn from a
 * salt of its own, and has what it needs of its own, so that a seed without it is the world that it
 * always was. About one seed in sixteen has a given one.
 *
 * The salt is one with which no seed of tests/mutants/, as docs/MUTANTS.md tells them, has the
 * trait.
 */
struct trait {
	const char *tr_name;
	uint64_t tr_salt;
	void (*tr_add)(struct scenario *sn);
};

/* Pages are entered together, mostly where somebody is using them. */
static void
add_runs(struct scenario *sn)
{
	sn->sn_runs = true;
	sn->sn_hot = true;
	sn->sn_weights[OP_ENTER_RUN] = 30;
	if (sn->sn_weights[OP_SWEEP] == 0)
		sn->sn_weights[OP_SWEEP] = 3;
}

/* What else is done is done seldom. */
static void
make_rare(struct scenario *sn)
{
	for (unsigned int op = 0; op < OP_TRAITS; op++)
		sn->sn_weights[op] /= 16;
}

/* A guest that mostly reads, and stays inside, while its tables are asked for M again and again. */
static void
add_watched(struct scenario *sn)
{
	make_rare(sn);
	sn->sn_scale = SCALE_TINY;
	sn->sn_stalls = false;
	sn->sn_whole = true;
	sn->sn_reads = true;
	sn->sn_weights[OP_RUN] = 20;
	sn->sn_weights[OP_CLEAN] = 10;
	sn->sn_weights[OP_CLEAR_MODIFY] = 20;
}

/* CPUs stand still while their tables are asked for M again and again, and come and go. */
static void
add_dozing(struct scenario *sn)
{
	make_rare(sn);
	sn->sn_scale = SCALE_TINY;
	sn->sn_stalls = true;
	sn->sn_whole = true;
	sn->sn_weights[OP_RUN] = 20;
	sn->sn_weights[OP_CLEAR_MODIFY] = 30;
	sn->sn_weights[OP_REMOVE] = 10;
	sn->sn_weights[OP_INVALIDATE] = 5;
}

/* Maps are made ready for devices and given back, again and again, under guests that use them. */
static void
add_lent(struct scenario *sn)
{
	make_rare(sn);
	sn->sn_scale = SCALE_TINY;
	sn->sn_stalls = true;
	sn->sn_weights[OP_RUN] = 40;
	sn->sn_weights[OP_GRANT] = 30;
	sn->sn_weights[OP_UNWIRE] = 30;
	sn->sn_weights[OP_REMOVE] = 30;
}

/* A device's window goes from place to place under those who use it. */
static void
add_windows(struct scenario *sn)
{
	make_rare(sn);
	sn->sn_scale = SCALE_TINY;
	sn->sn_window = true;
	sn->sn_stalls = true;
	sn->sn_weights[OP_RUN] = 40;
	sn->sn_weights[OP_MOVE_WINDOW] = 40;
	sn->sn_weights[OP_PREFAULT] = 10;
}

static const struct trait traits[] = {
	{"runs", 1044, add_runs}, {"watched", 2045, add_watched}, {"dozing", 2515, add_dozing},
	{"lent", 2351, add_lent}, {"windows", 2490, add_windows},
};

#define NTRAITS (sizeof(traits) / sizeof(traits[0]))

static bool
has_trait(const struct scenario *from, uint64_t seed, unsigned int i)
{
	return from->sn_swarm && workload_hash(seed, traits[i].tr_salt) % 16 == 0;
}

const char *
scenario_trait(const struct scenario *from, uint64_t seed, unsigned int *at)
{
	while (*at < NTRAITS) {
		const unsigned int i = (*at)++;

		if (has_trait(from, seed, i))
			return traits[i].tr_name;
	}
	return NULL;
}

/* ---- The whole ------------------------------------------------------------------------------ */

void
scenario_draw(const struct scenario *from, uint64_t seed, struct scenario *out)
{
	static const enum scale scales[] = {SCALE_TINY, SCALE_TINY, SCALE_SMALL, SCALE_FULL};
	const uint64_t bits = workload_hash(seed, SALT_WORLD);

	*out = *from;
	if (!from->sn_swarm)
		return;
	out->sn_scale = scales[workload_hash(seed, SALT_SCALE) % 4];
	out->sn_guests_only = bits % 4 != 0;
	out->sn_fill = (bits >> 8) % 2 == 0;
	out->sn_log = (bits >> 16) % 4 == 0;
	out->sn_stalls = (bits >> 24) % 4 == 0;
	out->sn_no_tables = (bits >> 32) % 4 == 0;
	out->sn_hot = (bits >> 40) % 2 == 0;
	out->sn_window = (bits >> 48) % 4 == 0;
	for (unsigned int op = 0; op < OP_COUNT; op++) {
		const uint64_t drawn = workload_hash(seed, SALT_WEIGHTS + op);
		uint32_t *const weight = &out->sn_weights[op];

		if (op == OP_RUN || *weight == 0)
			continue;
		*weight =
			from->sn_even ? weight_even(seed, op, drawn) : weight_swarm(drawn, *weight);
	}
	for (unsigned int i = 0; i < NTRAITS; i++) {
		if (has_trait(from, seed, i))
			traits[i].tr_add(out);
	}
}
