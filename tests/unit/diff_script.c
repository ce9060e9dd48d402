/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Scripts for differential tests (diff_script.h).
 */

#include "tests/unit/diff_script.h"

#include <stdio.h>

#include "tests/unit/rng.h"

#define MIB ((gpa_t)1 << 20)
#define GIB ((gpa_t)1 << 30)

/* Across the edge of two leaf tables, of two tables above these, and the last pages there are. */
const struct diff_map diff_small = {{
	{6 * MIB - 12 * DIFF_PAGE, 0, 24},
	{GIB - 8 * DIFF_PAGE, 64, 16},
	{DIFF_TOP - 8 * DIFF_PAGE, 128, 8},
}};

const struct diff_map diff_tiny = {{
	{6 * MIB - 2 * DIFF_PAGE, 0, 4},
	{GIB - 2 * DIFF_PAGE, 64, 4},
	{DIFF_TOP - 2 * DIFF_PAGE, 128, 2},
}};

const struct diff_map diff_large = {{
	{4 * MIB, 0, DIFF_SUPER_PAGES + 16},
	{GIB - 8 * DIFF_PAGE, 576, 16},
	{DIFF_TOP - 8 * DIFF_PAGE, 640, 8},
}};

const uint8_t diff_odds_pages[DO_COUNT] = {
	[DO_TOUCH] = 60,    [DO_REMOVE] = 4,	  [DO_MOVE] = 4,       [DO_REPLACE] = 4,
	[DO_PROTECT] = 6,   [DO_WIDEN] = 6,	  [DO_ENTER] = 6,      [DO_WIRE] = 3,
	[DO_UNWIRE] = 2,    [DO_CLEAN] = 6,	  [DO_CLEAR_M] = 2,    [DO_AGE] = 4,
	[DO_AGE_COUNT] = 2, [DO_IS_MODIFIED] = 2, [DO_INVALIDATE] = 2, [DO_DRAIN] = 2,
};

const uint8_t diff_odds_superpages[DO_COUNT] = {
	[DO_TOUCH] = 40,    [DO_REMOVE] = 4,	  [DO_MOVE] = 2,       [DO_REPLACE] = 3,
	[DO_PROTECT] = 4,   [DO_WIDEN] = 4,	  [DO_ENTER] = 4,      [DO_WIRE] = 3,
	[DO_UNWIRE] = 3,    [DO_CLEAN] = 4,	  [DO_CLEAR_M] = 2,    [DO_AGE] = 3,
	[DO_AGE_COUNT] = 2, [DO_IS_MODIFIED] = 2, [DO_INVALIDATE] = 2, [DO_DRAIN] = 3,
	[DO_FILL] = 4,	    [DO_SUPER] = 8,	  [DO_PROMOTE] = 10,   [DO_DEMOTE] = 6,
};

static const char *const op_names[DO_COUNT] = {
	[DO_TOUCH] = "touch",
	[DO_REMOVE] = "remove",
	[DO_MOVE] = "move",
	[DO_REPLACE] = "replace",
	[DO_PROTECT] = "protect",
	[DO_WIDEN] = "widen",
	[DO_ENTER] = "enter",
	[DO_WIRE] = "wire",
	[DO_UNWIRE] = "unwire",
	[DO_CLEAN] = "clean",
	[DO_CLEAR_M] = "clear-m",
	[DO_AGE] = "age",
	[DO_AGE_COUNT] = "age-count",
	[DO_IS_MODIFIED] = "is-modified",
	[DO_INVALIDATE] = "invalidate",
	[DO_DRAIN] = "drain",
	[DO_FILL] = "fill",
	[DO_SUPER] = "super",
	[DO_PROMOTE] = "promote",
	[DO_DEMOTE] = "demote",
};

const char *
diff_op_name(enum diff_op op)
{
	return op_names[op];
}

unsigned int
diff_page_at(const struct diff_map *map, gpa_t gpa)
{
	for (unsigned int c = 0; c < DIFF_CLUSTERS; c++) {
		const struct diff_cluster *const dc = &map->dm_clusters[c];

		if (gpa - dc->dc_base < dc->dc_n * DIFF_PAGE)
			return dc->dc_first + (unsigned int)((gpa - dc->dc_base) / DIFF_PAGE);
	}
	return DIFF_PAGES_MAX;
}

gpa_t
diff_gpa(const struct diff_map *map, unsigned int page)
{
	unsigned int c = DIFF_CLUSTERS - 1;

	while (page < map->dm_clusters[c].dc_first)
		c--;
	return map->dm_clusters[c].dc_base + (page - map->dm_clusters[c].dc_first) * DIFF_PAGE;
}

/* ---- Drawing -------------------------------------------------------------------------------- */

/* Mostly the first, the last and the middle of a cluster, where tables end and begin. */
static gpa_t
draw_page(struct rng *r, const struct diff_map *map)
{
	const struct diff_cluster *const dc = &map->dm_clusters[rng_below(r, DIFF_CLUSTERS)];
	unsigned int i = rng_below(r, dc->dc_n);

	if (rng_percent(r, 30))
		i = rng_percent(r, 50) ? 0 : dc->dc_n - 1;
	else if (rng_percent(r, 40))
		i = (dc->dc_n / 2 + rng_below(r, 3) - 1) % dc->dc_n;
	else if (dc->dc_n > DIFF_SUPER_PAGES && rng_percent(r, 30))
		i = DIFF_SUPER_PAGES - 2 + rng_below(r, 4);
	return dc->dc_base + i * DIFF_PAGE;
}

static bool
takes_bitmap(enum diff_op op)
{
	return op == DO_CLEAN || op == DO_AGE;
}

static bool
enters(enum diff_op op)
{
	return op == DO_ENTER || op == DO_WIRE || op == DO_REPLACE;
}

/* A page, a few, one or two tables' worth, or (not into bitmaps, not page by page) everything. */
static void
draw_range(struct rng *r, struct diff_step *st, const struct diff_map *map)
{
	const unsigned int size = rng_below(r, enters(st->ds_op) ? 60 : 100);

	st->ds_start = draw_page(r, map);
	if (size < 40) {
		st->ds_end = st->ds_start + DIFF_PAGE;
	} else if (size < 75) {
		st->ds_end = st->ds_start + (2 + rng_below(r, 14)) * DIFF_PAGE;
	} else if (size < 95 || takes_bitmap(st->ds_op)) {
		st->ds_start &= ~(2 * MIB - 1);
		st->ds_end = st->ds_start + (1 + rng_below(r, 2)) * 2 * MIB;
	} else {
		st->ds_start = 0;
		st->ds_end = DIFF_TOP;
	}
	if (st->ds_end > DIFF_TOP)
		st->ds_end = DIFF_TOP;
}

/* Superpages are where clusters allow; some tries are elsewhere, in vain. */
static void
draw_superpage(struct rng *r, struct diff_step *st, const struct diff_map *map)
{
	const gpa_t base = map->dm_clusters[0].dc_base;

	st->ds_start = rng_percent(r, 80) ? base + rng_below(r, DIFF_SUPER_PAGES) * DIFF_PAGE
					  : draw_page(r, map);
	st->ds_end = st->ds_start + DIFF_PAGE;
	if (st->ds_op == DO_FILL || st->ds_op == DO_SUPER) {
		st->ds_start = base;
		st->ds_end = base + DIFF_SUPER_PAGES * DIFF_PAGE;
	}
}

/* Often the same page again: what is cached by then is what makes it interesting. */
static void
draw_touches(struct rng *r, struct diff_step *st, const struct diff_map *map)
{
	static const unsigned int kinds[] = {PMAP_PROT_R, PMAP_PROT_R, PMAP_PROT_W, PMAP_PROT_W,
					     PMAP_PROT_X};

	st->ds_ntouches = 1 + rng_below(r, DIFF_TOUCHES_MAX);
	for (unsigned int i = 0; i < st->ds_ntouches; i++) {
		st->ds_touches[i].dt_page = i > 0 && rng_percent(r, 30)
						    ? st->ds_touches[i - 1].dt_page
						    : diff_page_at(map, draw_page(r, map));
		st->ds_touches[i].dt_access = kinds[rng_below(r, 5)];
	}
}

static enum diff_op
draw_op(struct rng *r, const uint8_t *odds)
{
	unsigned int sum = 0;
	unsigned int op = 0;
	unsigned int at;

	for (unsigned int i = 0; i < DO_COUNT; i++)
		sum += odds[i];
	at = rng_below(r, sum);
	while (at >= odds[op])
		at -= odds[op++];
	return (enum diff_op)op;
}

static void
draw_step(struct rng *r, struct diff_step *st, const struct diff_plan *plan)
{
	static const unsigned int prots[] = {PMAP_PROT_R, PMAP_PROT_RX, PMAP_PROT_RW, PMAP_PROT_R,
					     PMAP_PROT_X};
	static const unsigned int accesses[] = {0, 0, PMAP_PROT_R, PMAP_PROT_RW};

	*st = (struct diff_step){.ds_op = draw_op(r, plan->dp_odds)};
	st->ds_cpu = rng_below(r, plan->dp_ncpus);
	st->ds_vcpu = rng_below(r, plan->dp_nvcpus);
	if (st->ds_op == DO_TOUCH)
		draw_touches(r, st, plan->dp_map);
	else
		draw_range(r, st, plan->dp_map);
	if (st->ds_op >= DO_FILL)
		draw_superpage(r, st, plan->dp_map);
	st->ds_prot = prots[rng_below(r, plan->dp_exec_only ? 5 : 4)];
	st->ds_access = accesses[rng_below(r, 4)];
}

void
diff_script_draw(struct diff_script *s, uint64_t seed, const struct diff_plan *plan)
{
	struct rng r = {seed * UINT64_C(0x9e3779b97f4a7c15) + 1};

	*s = (struct diff_script){
		.di_seed = seed, .di_map = plan->dp_map, .di_nsteps = plan->dp_nsteps};
	for (unsigned int i = 0; i < s->di_nsteps; i++)
		draw_step(&r, &s->di_steps[i], plan);
}

/* ---- Text ----------------------------------------------------------------------------------- */

void
diff_step_text(const struct diff_step *st, const struct diff_map *map, char *text, size_t bytes)
{
	size_t n = (size_t)snprintf(text, bytes, "CPU %u: %s", st->ds_cpu, op_names[st->ds_op]);

	if (st->ds_op != DO_TOUCH) {
		snprintf(text + n, bytes - n, " [0x%llx, 0x%llx) prot %u access %u",
			 (unsigned long long)st->ds_start, (unsigned long long)st->ds_end,
			 st->ds_prot, st->ds_access);
		return;
	}
	n += (size_t)snprintf(text + n, bytes - n, " by vCPU %u", st->ds_vcpu);
	for (unsigned int i = 0; i < st->ds_ntouches && n < bytes; i++)
		n += (size_t)snprintf(text + n, bytes - n, " %c 0x%llx",
				      " rw x"[st->ds_touches[i].dt_access],
				      (unsigned long long)diff_gpa(map, st->ds_touches[i].dt_page));
}
