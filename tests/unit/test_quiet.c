/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Tables that a harvest passes over (docs/PROTOCOL-TLB.md, clause 12). That one was passed over is
 * seen by an M that is set in it as no CPU could, without A on the way there; where nothing may be
 * passed over, in the reference form and by formats that have no A on the way, it is found.
 */

#include "tests/unit/pmap_fixture.h"

#define TABLE (512 * PAGE)
#define AT (5 * GIB - 2 * TABLE)
#define END (AT + 4 * TABLE) /* two tables at the end of one of the level above, and two more */

static bool
skips(const struct fx *x)
{
	return x->fx_fmt->pf_table_a != 0 && !(x->fx_flags & PMAP_REFERENCE);
}

static uint64_t
harvest(struct fx *x)
{
	return fx_harvest(x, AT, END, PMAP_HARVEST_MODIFIED, NULL);
}

/* M, as by a CPU that has the way cached, or by none. */
static void
set_modified(struct fx *x, gpa_t gpa)
{
	const struct pt_fmt *const f = x->fx_fmt;

	host_fetch_or(fx_word(x, gpa), f->pf_a | f->pf_m | (f->pf_emulated_ad ? f->pf_hw_x : 0));
}

/* A page in each table, written to; all of it harvested until it is quiet. */
static void
make_quiet(struct fx *x)
{
	for (gpa_t gpa = AT; gpa < END; gpa += TABLE) {
		fx_assert(fx_enter(x, gpa, FX_HPA + gpa, PMAP_PROT_RWX, 0, 0) == 0);
		fx_assert(fx_touch(x, gpa, PMAP_PROT_W) == 0);
	}
	fx_assert(harvest(x) == 4);
	fx_assert(harvest(x) == 0);
	fx_check(x);
}

static void
passed_over(struct fx *x)
{
	make_quiet(x);
	for (gpa_t gpa = AT; gpa < END; gpa += TABLE)
		set_modified(x, gpa);
	fx_assert(harvest(x) == (skips(x) ? 0 : 4));
	/* A question is answered by the leaves themselves. */
	fx_assert(fx_harvest(x, AT, END, PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK, NULL) ==
		  (skips(x) ? 4 : 0));
	/* Another page of the first and the last is written to: these are looked at, whole. */
	for (gpa_t gpa = AT + PAGE; gpa < END; gpa += 3 * TABLE) {
		fx_assert(fx_enter(x, gpa, FX_HPA + gpa, PMAP_PROT_RWX, 0, 0) == 0);
		fx_assert(fx_touch(x, gpa, PMAP_PROT_W) == 0);
	}
	fx_assert(harvest(x) == (skips(x) ? 4 : 2));
	fx_check(x);
	fx_remove(x, AT, END);
}

Test(quiet, tables_that_nobody_went_through_are_passed_over)
{
	fx_each(passed_over);
}

/* Until a flush is over, a CPU may set D and go by what it has cached of the way. */
static void
not_flushed(struct fx *x)
{
	for (gpa_t gpa = AT; gpa < END; gpa += TABLE) {
		fx_assert(fx_enter(x, gpa, FX_HPA + gpa, PMAP_PROT_RWX, 0, 0) == 0);
		fx_assert(fx_touch(x, gpa, PMAP_PROT_R) == 0);
	}
	/* Nothing is dirty, so nothing is flushed, however often. */
	for (unsigned int i = 0; i < 3; i++) {
		fx_assert(harvest(x) == 0);
		set_modified(x, AT + i % 2 * TABLE);
		fx_assert(fx_harvest(x, AT, END, PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK, NULL) ==
			  1);
		host_fetch_and(fx_word(x, AT + i % 2 * TABLE), ~x->fx_fmt->pf_m);
	}
	set_modified(x, AT);
	pmap_invalidate_all(x->fx_pm);
	/* D from before the flush is what this one is to find. */
	fx_assert(harvest(x) == 1);
	set_modified(x, AT);
	fx_assert(harvest(x) == (skips(x) ? 0 : 1));
	fx_remove(x, AT, END);
}

Test(quiet, not_before_a_flush)
{
	fx_each(not_flushed);
}

/* What is not looked at whole does not become quiet; what is quiet, is in part, too. */
static void
in_part(struct fx *x)
{
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, 0, 0) == 0);
	for (unsigned int i = 0; i < 4; i++) {
		fx_assert(fx_touch(x, AT, PMAP_PROT_W) == 0);
		fx_assert(fx_harvest(x, AT, AT + PAGE, PMAP_HARVEST_MODIFIED, NULL) == 1);
		set_modified(x, AT);
		fx_assert(fx_harvest(x, AT, AT + TABLE - PAGE, PMAP_HARVEST_MODIFIED, NULL) == 1);
	}
	make_quiet(x);
	set_modified(x, AT);
	fx_assert(fx_harvest(x, AT, AT + PAGE, PMAP_HARVEST_MODIFIED, NULL) == (skips(x) ? 0 : 1));
	fx_assert(fx_touch(x, AT, PMAP_PROT_W) == 0);
	fx_assert(fx_harvest(x, AT, AT + PAGE, PMAP_HARVEST_MODIFIED, NULL) == 1);
	fx_remove(x, AT, END);
}

Test(quiet, only_what_was_looked_at_whole)
{
	fx_each(in_part);
}

/* Software sets M: in a new leaf, with the lock and without, by a hint or not; in an old one. */
static void
by_software(struct fx *x)
{
	const gpa_t other = END + GIB;

	make_quiet(x);
	fx_assert(fx_enter(x, AT + PAGE, FX_HPA + PAGE, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(harvest(x) == 1);
	/* By the hint that the last one left. */
	fx_assert(harvest(x) == 0);
	fx_assert(fx_enter(x, AT + 2 * PAGE, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(fx_enter(x, AT + 3 * PAGE, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(harvest(x) == 2);
	/* Not by one. */
	fx_assert(harvest(x) == 0);
	fx_assert(fx_enter(x, other, FX_HPA, PMAP_PROT_RWX, 0, 0) == 0);
	fx_assert(fx_enter(x, AT + 4 * PAGE, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(harvest(x) == 1);
	/* With the lock. */
	fx_assert(harvest(x) == 0);
	fx_assert(fx_enter_wired(x, AT + 5 * PAGE, FX_HPA, PMAP_PROT_RWX, 0) == 0);
	fx_assert(harvest(x) == 1);
	/* Over a clean one. */
	fx_assert(harvest(x) == 0);
	fx_assert(fx_enter(x, AT, FX_HPA + AT, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(harvest(x) == 1);
	/* Over another frame. */
	fx_assert(harvest(x) == 0);
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(harvest(x) == 1);
	fx_check(x);
	fx_remove(x, 0, x->fx_limit);
}

Test(quiet, software_that_sets_m)
{
	fx_each(by_software);
}

/* Another table in the place of a quiet one is not. */
static void
replaced(struct fx *x)
{
	make_quiet(x);
	fx_remove(x, AT, AT + TABLE);
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, 0, 0) == 0);
	set_modified(x, AT);
	fx_assert(harvest(x) == 1);
	if (x->fx_levels > 1) {
		make_quiet(x);
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 1) == 0);
		fx_assert(fx_demote(x, AT, 1) == 0);
		fx_assert(harvest(x) == 512);
		fx_assert(harvest(x) == 0);
	}
	fx_check(x);
	fx_remove(x, AT, END);
}

Test(quiet, another_table_in_its_place)
{
	fx_each(replaced);
}

/* Eight quiet tables in a line of the table above go at one look; not if one of them is busy. */
static void
in_lines(struct fx *x)
{
	enum { TABLES = 24, LINE = 8 };
	const gpa_t at = 3 * GIB;
	const gpa_t end = at + TABLES * TABLE;

	for (unsigned int i = 0; i < TABLES; i++) {
		fx_assert(fx_enter(x, at + i * TABLE, FX_HPA + i * PAGE, PMAP_PROT_RWX, 0, 0) == 0);
		fx_assert(fx_touch(x, at + i * TABLE, PMAP_PROT_W) == 0);
	}
	fx_assert(fx_harvest(x, at, end, PMAP_HARVEST_MODIFIED, NULL) == TABLES);
	fx_assert(fx_harvest(x, at, end, PMAP_HARVEST_MODIFIED, NULL) == 0);
	for (unsigned int busy = 0; busy < TABLES; busy++) {
		const gpa_t from = at + busy % 3 * TABLE; /* not always a line's first */
		const gpa_t page = at + (gpa_t)(busy / LINE * LINE + 7) * TABLE;
		uint64_t found = 0;

		fx_assert(fx_touch(x, at + busy * TABLE, PMAP_PROT_W) == 0);
		found += at + busy * TABLE >= from;
		/* The last of its line, as by a CPU that must not be there. */
		set_modified(x, page);
		found += !skips(x) && page != at + busy * TABLE;
		fx_assert(fx_harvest(x, from, end, PMAP_HARVEST_MODIFIED, NULL) == found);
		/* It has lost A above, but a flush may have been due: it is not passed over yet. */
		set_modified(x, at + busy * TABLE);
		fx_assert(fx_harvest(x, at, end, PMAP_HARVEST_MODIFIED, NULL) == 1);
		/* All of it, and once more, so that what was busy is quiet again. */
		for (unsigned int i = 0; i < TABLES; i++)
			host_fetch_and(fx_word(x, at + i * TABLE), ~x->fx_fmt->pf_m);
		fx_assert(fx_harvest(x, at, end, PMAP_HARVEST_MODIFIED, NULL) == 0);
		pmap_invalidate_all(x->fx_pm);
		fx_assert(fx_harvest(x, at, end, PMAP_HARVEST_MODIFIED, NULL) == 0);
	}
	fx_check(x);
	fx_remove(x, at, end);
}

Test(quiet, lines_of_eight)
{
	fx_each(in_lines);
}
