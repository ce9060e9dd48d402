/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Operations over ranges of 4 KiB pages, and accessed and modified state: what changes, what is
 * reported, what stays. Superpages are in test_super.c, flushes in test_tlb.c.
 */

#include "tests/unit/pmap_fixture.h"
#include "pmap/pmap_priv.h"

#include <string.h>

/* Pages on both sides of a table's end. */
#define AT (5 * GIB - 4 * PAGE)
#define NPAGES 8u
#define END (AT + NPAGES * PAGE)
#define GPA(i) (AT + (i)*PAGE)

/* Pages 0 .. 7: rights prot, accessed if i & 1, modified if i & 2. */
static void
fill(struct fx *x, unsigned int prot)
{
	for (unsigned int i = 0; i < NPAGES; i++) {
		const unsigned int access = (i & 2 & prot) ? PMAP_PROT_W
					    : (i & 1)	   ? prot & ~PMAP_PROT_W
							   : 0;

		fx_assert(fx_enter(x, GPA(i), FX_HPA + i * PAGE, prot, access, 0) == 0);
	}
	fx_forget(x);
}

/* ---- Remove ---------------------------------------------------------------------------------- */

static void
remove_some(struct fx *x)
{
	for (unsigned int from = 0; from <= NPAGES; from++) {
		for (unsigned int to = from; to <= NPAGES; to++) {
			size_t n = 0;

			fill(x, PMAP_PROT_RWX);
			fx_remove(x, GPA(from), GPA(to));
			for (unsigned int i = 0; i < NPAGES; i++) {
				const bool gone = from <= i && i < to;

				fx_assert((fx_leaf(x, GPA(i)).pl_prot == 0) == gone);
				if (!gone || !(i & 3))
					continue;
				fx_assert(n < x->fx_nnotes && x->fx_notes[n].pl_gpa == GPA(i));
				fx_assert(x->fx_notes[n].pl_accessed);
				fx_assert(x->fx_notes[n].pl_modified == ((i & 2) != 0));
				n++;
			}
			fx_assert(x->fx_nnotes == n);
			fx_assert(fx_stats(x).st_resident_pages == NPAGES - (to - from));
		}
	}
	fx_check(x);
}

Test(range, remove_exactly_the_range)
{
	fx_each(remove_some);
}

static void
remove_tables(struct fx *x)
{
	const uint64_t levels = x->fx_fmt->pf_levels;

	/* The two leaf tables have one table in common at most: the root. */
	fill(x, PMAP_PROT_RWX);
	fx_assert(fx_stats(x).st_tables > levels);
	fx_remove(x, AT & ~(2 * MIB - 1), 5 * GIB); /* all of the first leaf table */
	fx_assert(fx_leaf(x, GPA(3)).pl_prot == 0 && fx_leaf(x, GPA(4)).pl_prot != 0);
	fx_assert(fx_stats(x).st_resident_pages == 4);
	fx_check(x);
	fx_remove(x, 0, x->fx_limit);
	fx_assert(fx_stats(x).st_tables == 1);
	fx_assert(fx_stats(x).st_resident_pages == 0);
	fx_assert(x->fx_nnotes == 6);
}

Test(range, remove_takes_covered_tables_along)
{
	fx_each(remove_tables);
}

#define LINE 8 /* entries of a cache line */

/* Seven superpages and a child table in one line of a table, which goes with what is below it. */
static void
remove_mixed(struct fx *x)
{
	if (x->fx_levels < 2)
		return;
	for (unsigned int child = 0; child < LINE; child++) {
		for (unsigned int i = 0; i < LINE; i++)
			fx_assert(fx_enter(x, GIB + i * 2 * MIB, FX_HPA + i * 2 * MIB,
					   PMAP_PROT_RWX, PMAP_PROT_W, i != child) == 0);
		fx_remove(x, GIB, 2 * GIB);
		fx_check(x);
		fx_assert(fx_stats(x).st_resident_pages == 0);
		fx_remove(x, 0, x->fx_limit);
		fx_assert(fx_stats(x).st_tables == 1);
	}
}

Test(range, remove_superpages_beside_a_table)
{
	fx_each(remove_mixed);
}

/* Everything that wired pages hold goes with the pmap, too: the fixture's end would find a leak. */
static void
destroy_full(struct fx *x)
{
	for (unsigned int level = 0; level < x->fx_levels; level++)
		fx_assert(fx_enter_wired(x, level * GIB, FX_HPA, PMAP_PROT_RX, level) == 0);
	fx_assert(fx_enter(x, x->fx_limit - PAGE, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
}

Test(range, destroy_frees_all)
{
	fx_each(destroy_full);
}

/* ---- Protect --------------------------------------------------------------------------------- */

static void
protect_every(struct fx *x)
{
	for (unsigned int was = 1; was < PMAP_PROT_COUNT; was++) {
		for (unsigned int to = 0; to < PMAP_PROT_COUNT; to++) {
			const unsigned int prot = was & to;
			const bool ok = fx_prot_ok(x->fx_format, prot);
			struct fx_picture before;
			struct pmap_gather g;

			if (!fx_prot_ok(x->fx_format, was))
				continue;
			fill(x, was);
			if (to != 0 && !fx_prot_ok(x->fx_format, to)) {
				fx_picture(x, &before);
				pmap_gather_begin(&g, x->fx_pm);
				fx_assert(pmap_protect(x->fx_pm, GPA(1), GPA(7), to, &g) ==
					  -EOPNOTSUPP);
				fx_same(x, &before, true);
				continue;
			}
			fx_protect(x, GPA(1), GPA(7), to);
			fx_check(x);
			for (unsigned int i = 0; i < NPAGES; i++) {
				const struct pmap_leaf leaf = fx_leaf(x, GPA(i));
				const bool in = 1 <= i && i < 7;
				const bool m = (i & 2) && (was & PMAP_PROT_W);

				fx_assert(leaf.pl_prot == (!in ? was : ok ? prot : 0));
				if (leaf.pl_prot == 0)
					continue;
				fx_assert(leaf.pl_accessed == (m || (i & 1)));
				fx_assert(leaf.pl_modified == (m && (leaf.pl_prot & PMAP_PROT_W)));
				fx_assert(leaf.pl_hpa == FX_HPA + i * PAGE);
			}
			fx_remove(x, AT, END);
		}
	}
}

Test(range, protect_restricts_and_never_widens)
{
	fx_each(protect_every);
}

static void
protect_reports(struct fx *x)
{
	fill(x, PMAP_PROT_RWX);
	fx_protect(x, AT, END, PMAP_PROT_RX);
	fx_assert(x->fx_nnotes == 4); /* pages 2, 3, 6, 7 */
	for (unsigned int k = 0; k < 4; k++) {
		const unsigned int i = k < 2 ? 2 + k : 4 + k;

		fx_assert(x->fx_notes[k].pl_gpa == GPA(i));
		fx_assert(x->fx_notes[k].pl_hpa == FX_HPA + i * PAGE);
		fx_assert(x->fx_notes[k].pl_modified && !x->fx_notes[k].pl_accessed);
		fx_assert(x->fx_notes[k].pl_prot == PMAP_PROT_RWX);
	}
	fx_forget(x);
	fx_protect(x, AT, END, PMAP_PROT_RX); /* again: nothing left to lose */
	fx_assert(x->fx_nnotes == 0);
}

Test(range, protect_reports_dirty_pages)
{
	fx_each(protect_reports);
}

/* ---- Unwire ---------------------------------------------------------------------------------- */

static void
unwire_some(struct fx *x)
{
	for (unsigned int i = 0; i < NPAGES; i++)
		fx_assert(fx_enter_wired(x, GPA(i), FX_HPA + i * PAGE, PMAP_PROT_RWX, 0) == 0);
	fx_assert(pmap_unwire(x->fx_pm, GPA(2), GPA(6)) == 0);
	fx_check(x);
	for (unsigned int i = 0; i < NPAGES; i++) {
		fx_assert(fx_leaf(x, GPA(i)).pl_wired == (i < 2 || i >= 6));
		fx_assert(fx_leaf(x, GPA(i)).pl_modified);
	}
	fx_assert(fx_stats(x).st_wired_pages == 4);
	fx_assert(fx_stats(x).st_resident_pages == NPAGES);
	fx_assert(fx_stats(x).st_shootdowns == 0);
	fx_assert(x->fx_nnotes == 0);
}

Test(range, unwire_changes_nothing_else)
{
	fx_each(unwire_some);
}

/* ---- Faults for A and M ---------------------------------------------------------------------- */

static void
emulate_one(struct fx *x, unsigned int prot, unsigned int access)
{
	const bool emulated = x->fx_fmt->pf_emulated_ad;
	const struct pmap_stats before = fx_stats(x);
	struct pmap_leaf leaf;

	fx_assert(fx_enter(x, AT, FX_HPA, prot, 0, 0) == 0);
	if ((access & ~prot) != 0) {
		fx_assert(pmap_emulate_accessed_dirty(x->fx_pm, AT, access) == -EACCES);
		fx_assert(!fx_leaf(x, AT).pl_accessed && !fx_leaf(x, AT).pl_modified);
		fx_remove(x, AT, AT + PAGE);
		return;
	}
	/* Once for the fault, once for a CPU that met the entry before. */
	for (unsigned int k = 0; k < 2; k++) {
		fx_assert(pmap_emulate_accessed_dirty(x->fx_pm, AT, access) == 0);
		leaf = fx_leaf(x, AT);
		fx_assert(leaf.pl_accessed == emulated);
		fx_assert(leaf.pl_modified == (emulated && (access & PMAP_PROT_W)));
	}
	fx_assert(fx_stats(x).st_ad_emulations == before.st_ad_emulations + emulated);
	fx_assert(fx_stats(x).st_spurious_faults == before.st_spurious_faults + 2 - emulated);
	fx_check(x);
	for (unsigned int right = 1; right < PMAP_PROT_COUNT; right <<= 1) {
		if (access & right)
			fx_assert(fx_hardware(x, AT, right));
		if (right & ~prot)
			fx_assert(!fx_hardware(x, AT, right));
	}
	fx_check(x); /* with A in table pointers, where hardware sets it */
	fx_remove(x, AT, AT + PAGE);
}

static void
emulate_all(struct fx *x)
{
	for (unsigned int prot = 1; prot < PMAP_PROT_COUNT; prot++) {
		for (unsigned int access = 1; access < PMAP_PROT_COUNT; access++) {
			if (fx_prot_ok(x->fx_format, prot))
				emulate_one(x, prot, access);
		}
	}
}

Test(range, emulate_every_access_to_every_right)
{
	fx_each(emulate_all);
}

/* What hardware is shown before and after the fault that sets A, and the one that sets M. */
static void
shown(struct fx *x)
{
	if (!x->fx_fmt->pf_emulated_ad)
		return;
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, 0, 0) == 0);
	fx_assert((host_load(fx_word(x, AT)) & 7) == 0);
	fx_assert(fx_touch(x, AT, PMAP_PROT_X) == 0);
	fx_assert((host_load(fx_word(x, AT)) & 7) == (1 | 4));
	fx_assert(!fx_hardware(x, AT, PMAP_PROT_W));
	fx_assert(fx_touch(x, AT, PMAP_PROT_W) == 0);
	fx_assert((host_load(fx_word(x, AT)) & 7) == 7);
	fx_assert(fx_harvest(x, AT, AT + PAGE, PMAP_HARVEST_ACCESSED, NULL) == 1);
	fx_assert((host_load(fx_word(x, AT)) & 7) == 0);
	fx_assert(fx_leaf(x, AT).pl_prot == PMAP_PROT_RWX);
}

Test(range, emulated_entries_show_hardware_nothing_until_accessed)
{
	fx_each(shown);
}

/* ---- Harvest --------------------------------------------------------------------------------- */

/* Which pages of fill() a harvest must find. */
static unsigned int
wanted(unsigned int how)
{
	return (how & PMAP_HARVEST_ACCESSED) ? 0xee : 0xcc;
}

static void
harvest_part(struct fx *x, unsigned int how, unsigned int from, unsigned int to)
{
	const bool emulated = x->fx_fmt->pf_emulated_ad;
	const bool peek = (how & PMAP_HARVEST_PEEK) != 0;
	const bool accessed = (how & PMAP_HARVEST_ACCESSED) != 0;
	const unsigned int mask = ((1u << to) - 1) & ~((1u << from) - 1);
	uint64_t bitmap[2] = {(uint64_t)1 << 63, ~(uint64_t)0};
	struct pmap_leaf leaf;

	fill(x, PMAP_PROT_RWX);
	fx_assert(fx_harvest(x, GPA(from), GPA(to), how, bitmap) ==
		  (uint64_t)__builtin_popcount(wanted(how) & mask));
	fx_assert(bitmap[0] == ((uint64_t)1 << 63 | (wanted(how) & mask) >> from));
	fx_assert(bitmap[1] == ~(uint64_t)0);
	fx_check(x);
	for (unsigned int i = 0; i < NPAGES; i++) {
		const bool cleared = !peek && (mask >> i & 1);
		const bool m_goes = cleared && (!accessed || emulated);

		leaf = fx_leaf(x, GPA(i));
		fx_assert(leaf.pl_accessed == ((i & 3) != 0 && !(cleared && accessed)));
		fx_assert(leaf.pl_modified == ((i & 2) != 0 && !m_goes));
		fx_assert(leaf.pl_prot == PMAP_PROT_RWX);
	}
	/* Only an M that goes with A under emulation is news. */
	if (accessed && emulated && !peek)
		fx_assert(x->fx_nnotes == (size_t)__builtin_popcount(0xcc & mask));
	else
		fx_assert(x->fx_nnotes == 0);
	for (size_t k = 0; k < x->fx_nnotes; k++)
		fx_assert(x->fx_notes[k].pl_modified && x->fx_notes[k].pl_accessed);
	/* There is nothing left to find where it cleared. */
	if (!peek)
		fx_assert(fx_harvest(x, GPA(from), GPA(to), how, NULL) == 0);
	fx_remove(x, AT, END);
}

static void
harvest_all(struct fx *x)
{
	for (unsigned int how = 0; how < 4; how++) {
		for (unsigned int from = 0; from <= NPAGES; from += 2) {
			for (unsigned int to = from; to <= NPAGES; to++)
				harvest_part(x, how, from, to);
		}
	}
}

Test(range, harvest_collects_and_clears_in_the_range_only)
{
	fx_each(harvest_all);
}

static void
clear_modify(struct fx *x)
{
	struct pmap_gather g;

	fill(x, PMAP_PROT_RWX);
	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_clear_modify(x->fx_pm, GPA(3), GPA(7), &g) == 0);
	fx_assert(g.pg_flush);
	pmap_gather_finish(&g);
	fx_assert(x->fx_nnotes == 2);
	fx_assert(x->fx_notes[0].pl_gpa == GPA(3) && x->fx_notes[1].pl_gpa == GPA(6));
	for (size_t k = 0; k < 2; k++)
		fx_assert(x->fx_notes[k].pl_modified && !x->fx_notes[k].pl_accessed);
	for (unsigned int i = 0; i < NPAGES; i++) {
		fx_assert(fx_leaf(x, GPA(i)).pl_accessed == ((i & 3) != 0));
		fx_assert(fx_leaf(x, GPA(i)).pl_modified == (i == 2 || i == 7));
	}
	fx_check(x);
	/* The next write is seen again. */
	fx_assert(fx_touch(x, GPA(3), PMAP_PROT_W) == 0);
	fx_assert(fx_leaf(x, GPA(3)).pl_modified);
}

Test(range, clear_modify_reports_what_was_set)
{
	fx_each(clear_modify);
}

static void
ts_referenced(struct fx *x)
{
	struct pmap_gather g;
	uint64_t n = 99;

	fill(x, PMAP_PROT_RX);
	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_ts_referenced(x->fx_pm, GPA(0), GPA(4), &n, &g) == 0);
	pmap_gather_finish(&g);
	fx_assert(n == 2);
	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_ts_referenced(x->fx_pm, AT, END, &n, &g) == 0);
	pmap_gather_finish(&g);
	fx_assert(n == 2);
	for (unsigned int i = 0; i < NPAGES; i++)
		fx_assert(!fx_leaf(x, GPA(i)).pl_accessed);
	fx_assert(fx_touch(x, GPA(5), PMAP_PROT_R) == 0);
	fx_assert(fx_leaf(x, GPA(5)).pl_accessed);
	fx_assert(x->fx_nnotes == 0);
	fx_check(x);
}

Test(range, ts_referenced_counts_and_clears)
{
	fx_each(ts_referenced);
}

/*
 * M without A: hardware that speculates sets A alone, so only a CPU that lost A has such an entry.
 */
static void
modified_only(struct fx *x)
{
	uint64_t bitmap[1] = {0};

	if (x->fx_fmt->pf_emulated_ad)
		return;
	fill(x, PMAP_PROT_RWX);
	fx_assert(fx_harvest(x, AT, END, PMAP_HARVEST_ACCESSED, NULL) == 6);
	fx_assert(fx_leaf(x, GPA(2)).pl_modified && !fx_leaf(x, GPA(2)).pl_accessed);
	/* Entered anew, ahead of any access: still so. */
	fx_assert(fx_enter(x, GPA(2), FX_HPA + 2 * PAGE, PMAP_PROT_RW | PMAP_PROT_X, 0, 0) == 0);
	fx_assert(fx_leaf(x, GPA(2)).pl_modified && !fx_leaf(x, GPA(2)).pl_accessed);
	fx_assert(fx_harvest(x, AT, END, PMAP_HARVEST_MODIFIED, bitmap) == 4);
	fx_assert(bitmap[0] == 0xcc);
	fx_check(x);
}

Test(range, harvest_modified_without_accessed)
{
	fx_each(modified_only);
}

/* Without pc_note nobody is told, and nothing else changes. */
Test(range, no_note_no_backlog)
{
	struct pmap_config cfg;
	struct pmap_gather g;
	struct fx x = {0};

	for (unsigned int i = 0; i < fx_nformats; i++) {
		world_begin(NULL);
		fx_config(&fx_formats[i], PMAP_DEFER, &cfg);
		CHECK(pmap_init(&cfg, &x.fx_pm) == 0);
		CHECK(fx_enter(&x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
		pmap_gather_begin(&g, x.fx_pm);
		CHECK(pmap_clear_modify(x.fx_pm, AT, AT + PAGE, &g) == 0);
		CHECK(pmap_ts_referenced(x.fx_pm, AT, AT + PAGE, &(uint64_t){0}, &g) == 0);
		pmap_gather_finish(&g);
		CHECK(pmap_remove(x.fx_pm, 0, pmap_fmt(x.fx_pm)->pf_limit, &g) == 0);
		pmap_gather_finish(&g);
		pmap_drain(x.fx_pm);
		CHECK(fx_stats(&x).st_resident_pages == 0);
		CHECK(fx_stats(&x).st_limbo == 0);
		pmap_destroy(x.fx_pm);
		world_end();
	}
}

/*
 * Without pc_note lines of eight that are all accessed and modified go by plain stores; those in
 * which one is not, do not. Either way each leaf loses what it should, and a flush is due.
 */
Test(range, dense_lines)
{
	struct pmap_config cfg;
	struct pmap_gather g;
	struct fx x = {0};

	for (unsigned int i = 0; i < fx_nformats; i++) {
		uint64_t found, shootdowns;

		world_begin(NULL);
		fx_config(&fx_formats[i], 0, &cfg);
		CHECK(pmap_init(&cfg, &x.fx_pm) == 0);
		x.fx_fmt = pmap_fmt(x.fx_pm);
		for (unsigned int page = 0; page < 24; page++) {
			CHECK(fx_enter(&x, GPA(page), FX_HPA + page * PAGE,
				       page == 17 ? PMAP_PROT_RX : PMAP_PROT_RWX, 0, 0) == 0);
			CHECK(fx_touch(&x, GPA(page),
				       page == 9 || page == 17 ? PMAP_PROT_R : PMAP_PROT_W) == 0);
		}

		pmap_gather_begin(&g, x.fx_pm);
		CHECK(pmap_ts_referenced(x.fx_pm, GPA(0), GPA(24), &found, &g) == 0);
		pmap_gather_finish(&g);
		CHECK(found == 24);
		for (unsigned int page = 0; page < 24; page++) {
			CHECK(!fx_leaf(&x, GPA(page)).pl_accessed);
			CHECK(fx_touch(&x, GPA(page),
				       page == 9 || page == 17 ? PMAP_PROT_R : PMAP_PROT_W) == 0);
		}

		pmap_gather_begin(&g, x.fx_pm);
		CHECK(pmap_protect(x.fx_pm, GPA(0), GPA(24), PMAP_PROT_RX, &g) == 0);
		shootdowns = fx_stats(&x).st_shootdowns;
		pmap_gather_finish(&g);
		CHECK(fx_stats(&x).st_shootdowns == shootdowns + 1);
		for (unsigned int page = 0; page < 24; page++) {
			const struct pmap_leaf leaf = fx_leaf(&x, GPA(page));

			CHECK(leaf.pl_prot == PMAP_PROT_RX && leaf.pl_hpa == FX_HPA + page * PAGE);
			CHECK(leaf.pl_accessed && !leaf.pl_modified);
			CHECK(fx_touch(&x, GPA(page), PMAP_PROT_W) == -EACCES);
		}
		pmap_gather_begin(&g, x.fx_pm);
		CHECK(pmap_remove(x.fx_pm, 0, x.fx_fmt->pf_limit, &g) == 0);
		pmap_gather_finish(&g);
		pmap_destroy(x.fx_pm);
		world_end();
	}
}
