/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Superpages: what may be joined, that splitting and joining change no byte's translation, and what
 * operations do at edges that lie inside one.
 */

#include "tests/unit/pmap_fixture.h"

#include <string.h>

#define WORDS ((unsigned int)HOST_TABLE_WORDS)

/* A place for superpages of every size; frames are as aligned. */
#define AT (6 * GIB)

/* 512 mappings of level - 1, all equal, that make one of `level`. */
static void
fill_parts(struct fx *x, gpa_t gpa, unsigned int level, unsigned int prot, bool wired)
{
	const uint64_t step = pt_level_size(level - 1);

	for (unsigned int i = 0; i < WORDS; i++) {
		struct pmap_mapping m = {.pa_gpa = gpa + i * step,
					 .pa_hpa = FX_HPA + (gpa - AT) + i * step,
					 .pa_prot = prot,
					 .pa_access = prot,
					 .pa_level = level - 1,
					 .pa_wired = wired};

		if (pmap_enter(x->fx_pm, &m) != 0)
			fx_fail("part %u", i);
	}
}

/* Every page of [start, end), level aside: as before, or moved by nothing. */
struct page {
	hpa_t pg_hpa;
	uint8_t pg_prot;
	uint8_t pg_flags;
};

static uint8_t
flags_of(const struct pmap_leaf *leaf)
{
	return (uint8_t)(leaf->pl_wired | leaf->pl_accessed << 1 | leaf->pl_modified << 2 |
			 (unsigned int)leaf->pl_memattr << 3);
}

#define SAMPLES 64

/* Pages at every 4 KiB edge near every boundary that matters, in [AT, AT + 1 GiB + 2 MiB). */
static gpa_t
sample_gpa(unsigned int i)
{
	static const uint64_t bases[] = {0, 2 * MIB, 4 * MIB, 512 * MIB, GIB - 2 * MIB, GIB};

	if (i < 6 * 8)
		return AT + bases[i / 8] + (i % 8) * PAGE - (i >= 8 ? 4 * PAGE : 0);
	return AT + (uint64_t)(i * 2654435761u) % (GIB / PAGE) * PAGE;
}

static void
sample(struct fx *x, struct page pages[SAMPLES])
{
	for (unsigned int i = 0; i < SAMPLES; i++) {
		const gpa_t gpa = sample_gpa(i);
		const struct pmap_leaf leaf = fx_leaf(x, gpa);

		pages[i] = (struct page){
			.pg_hpa = leaf.pl_prot ? leaf.pl_hpa + (gpa - leaf.pl_gpa) : 0,
			.pg_prot = (uint8_t)leaf.pl_prot,
			.pg_flags = leaf.pl_prot ? flags_of(&leaf) : 0,
		};
	}
}

static void
same_pages(struct fx *x, const struct page before[SAMPLES])
{
	struct page now[SAMPLES];

	sample(x, now);
	for (unsigned int i = 0; i < SAMPLES; i++) {
		if (now[i].pg_hpa != before[i].pg_hpa || now[i].pg_prot != before[i].pg_prot ||
		    now[i].pg_flags != before[i].pg_flags)
			fx_fail("page %#llx changed: frame %#llx, rights %x, flags %x",
				(unsigned long long)sample_gpa(i),
				(unsigned long long)now[i].pg_hpa, now[i].pg_prot, now[i].pg_flags);
	}
}

/* ---- There and back -------------------------------------------------------------------------- */

static void
round_trip(struct fx *x)
{
	static const unsigned int prots[] = {PMAP_PROT_RWX, PMAP_PROT_RX};

	for (unsigned int level = 1; level < x->fx_levels; level++) {
		for (unsigned int k = 0; k < 4; k++) {
			const bool wired = k >= 2;
			const uint64_t size = pt_level_size(level);
			struct page before[SAMPLES];
			struct pmap_stats st = fx_stats(x);

			fill_parts(x, AT, level, prots[k % 2], wired);
			fx_forget(x);
			sample(x, before);
			fx_assert(fx_promote(x, AT + size - 1, level) == 0);
			fx_check(x);
			same_pages(x, before);
			fx_assert(fx_leaf(x, AT).pl_level == level);
			fx_assert(fx_stats(x).st_promotions == st.st_promotions + 1);
			fx_assert(fx_stats(x).st_leaves[level] == 1);
			fx_assert(fx_stats(x).st_leaves[level - 1] == 0);
			fx_assert(fx_promote(x, AT, level) == -ENOENT);

			fx_assert(fx_demote(x, AT + PAGE, level) == 0);
			fx_check(x);
			same_pages(x, before);
			fx_assert(fx_leaf(x, AT).pl_level == level - 1);
			fx_assert(fx_stats(x).st_demotions == st.st_demotions + 1);
			fx_assert(fx_demote(x, AT, level) == -ENOENT);
			fx_assert(fx_stats(x).st_leaves[level - 1] == WORDS);
			fx_assert(fx_stats(x).st_wired_pages == (wired ? size / PAGE : 0));
			fx_assert(x->fx_nnotes == 0);
			fx_remove(x, 0, x->fx_limit);
			fx_assert(fx_stats(x).st_spares == 0);
		}
	}
}

Test(super, promote_and_demote_change_no_translation)
{
	fx_each(round_trip);
}

/* There are not tables enough for the spares of a wired 1 GiB: those that were had go back. */
Test(super, spares_all_or_none)
{
	static const unsigned int nth[] = {3, 4, 300, 514, 515};

	for (unsigned int i = 0; i < sizeof(nth) / sizeof(nth[0]); i++) {
		const struct world_config cfg = {.wc_fail_table = nth[i]};
		struct fx x;

		world_begin(&cfg);
		fx_open(&x, fx_format("ept"), 0);
		fx_assert(fx_enter_wired(&x, AT & ~(GIB - 1), FX_HPA, PMAP_PROT_RW, 2) == -ENOMEM);
		CHECK(world_tables_in_use() == 1);
		fx_check(&x);
		fx_assert(fx_enter_wired(&x, AT & ~(GIB - 1), FX_HPA, PMAP_PROT_RW, 2) == 0);
		fx_assert(fx_stats(&x).st_spares == 513);
		fx_close(&x);
		world_end();
	}
}

/* From 4 KiB to 1 GiB and back, wired and not: every spare has its place in the end. */
static void
all_the_way(struct fx *x)
{
	struct page before[SAMPLES];

	if (x->fx_levels < 3)
		return;
	for (unsigned int wired = 0; wired < 2; wired++) {
		struct pmap_mapping m = {.pa_gpa = AT,
					 .pa_hpa = FX_HPA,
					 .pa_prot = PMAP_PROT_RWX,
					 .pa_level = 2,
					 .pa_wired = wired != 0};

		fx_assert(pmap_enter(x->fx_pm, &m) == 0);
		fx_assert(fx_stats(x).st_spares == wired * 513);
		sample(x, before);
		fx_assert(fx_demote(x, AT, 2) == 0);
		fx_assert(fx_stats(x).st_spares == wired * 512);
		for (unsigned int i = 0; i < WORDS; i++)
			fx_assert(fx_demote(x, AT + i * 2 * MIB, 1) == 0);
		fx_assert(fx_stats(x).st_spares == 0);
		fx_assert(fx_stats(x).st_leaves[0] == GIB / PAGE);
		fx_check(x);
		same_pages(x, before);
		fx_assert(fx_promote(x, AT, 2) == -EBUSY);
		for (unsigned int i = 0; i < WORDS; i++)
			fx_assert(fx_promote(x, AT + i * 2 * MIB, 1) == 0);
		fx_assert(fx_stats(x).st_spares == wired * 512);
		fx_assert(fx_promote(x, AT, 2) == 0);
		fx_assert(fx_stats(x).st_spares == wired * 513);
		fx_check(x);
		same_pages(x, before);
		fx_remove(x, 0, x->fx_limit);
		fx_assert(fx_stats(x).st_spares == 0 && fx_stats(x).st_tables == 1);
	}
}

Test(super, a_gigabyte_from_pages_and_back)
{
	all_the_way(&(struct fx){.fx_levels = 0}); /* no size, nothing to do */
	for (unsigned int k = 0; k < fx_scale(3); k++) {
		static const char *const names[] = {"ept", "ept-noad", "rvi-4"};
		static const unsigned int flags[] = {0, PMAP_REFERENCE, PMAP_MIXED_SIZE_ERRATUM};
		struct fx x;

		world_begin(NULL);
		fx_open(&x, fx_format(names[k]), flags[k]);
		all_the_way(&x);
		CHECK(fx_stats(&x).st_promotions == 2 * 513);
		fx_close(&x);
		world_end();
	}
}

/* ---- What may not be joined ------------------------------------------------------------------ */

/*
 * Makes part i of a table of promotable ones differ in one way; false if the format has no such
 * way.
 */
static bool
spoil(struct fx *x, unsigned int i, unsigned int level, unsigned int how)
{
	const struct pt_fmt *const f = x->fx_fmt;
	const uint64_t step = pt_level_size(level - 1);
	const gpa_t gpa = AT + i * step;
	struct pmap_mapping m = {.pa_gpa = gpa,
				 .pa_hpa = FX_HPA + i * step,
				 .pa_prot = PMAP_PROT_RWX,
				 .pa_access = PMAP_PROT_RWX,
				 .pa_level = level - 1};

	switch (how) {
	case 0:
		m.pa_hpa += pt_level_size(level); /* frame */
		break;
	case 1:
		m.pa_prot = PMAP_PROT_RX;
		m.pa_access = PMAP_PROT_RX;
		break;
	case 2:
		m.pa_prot = PMAP_PROT_RW;
		m.pa_access = PMAP_PROT_RW;
		break;
	case 3:
		m.pa_memattr = PT_MEMATTR_UC;
		break;
	case 4:
		m.pa_wired = true;
		break;
	case 5: /* not accessed; under emulation that is not modified either */
		host_fetch_and(fx_word(x, gpa), ~f->pf_a_clear);
		return level == 1 || !f->pf_emulated_ad;
	case 6: /* not modified: a superpage never is that, with rights to write */
		host_fetch_and(fx_word(x, gpa), ~f->pf_m);
		return level == 1;
	case 7: /* absent */
		fx_remove(x, gpa, gpa + step);
		return true;
	default: /* a table, where a superpage should be */
		return level == 2 && fx_demote(x, gpa, 1) == 0;
	}
	return fx_prot_ok(x->fx_format, m.pa_prot) && pmap_enter(x->fx_pm, &m) == 0;
}

#define WAYS 9

/* Part i as it should be. */
static void
mend(struct fx *x, unsigned int i, unsigned int level)
{
	const uint64_t step = pt_level_size(level - 1);

	fx_remove(x, AT + i * step, AT + (i + 1) * step);
	fx_assert(fx_enter(x, AT + i * step, FX_HPA + i * step, PMAP_PROT_RWX, PMAP_PROT_RWX,
			   level - 1) == 0);
}

static void
refused(struct fx *x)
{
	/* Each place in a line of eight, in the first one and later. */
	static const unsigned int positions[] = {0, 1, 2,   3,	 4,   5,   6,	7,
						 8, 9, 130, 259, 260, 389, 510, 511};
	unsigned int refusals = 0;

	for (unsigned int level = 1; level < x->fx_levels; level++) {
		fill_parts(x, AT, level, PMAP_PROT_RWX, false);
		for (unsigned int k = 0; k < 16 * WAYS; k++) {
			const unsigned int i = positions[k / WAYS];
			struct fx_picture before;

			if (spoil(x, i, level, k % WAYS)) {
				fx_picture(x, &before);
				if (fx_promote(x, AT, level) != -EBUSY)
					fx_fail("level %u, part %u, way %u", level, i, k % WAYS);
				fx_same(x, &before, false);
				refusals++;
			}
			mend(x, i, level);
		}
		fx_assert(fx_promote(x, AT, level) == 0);
		fx_remove(x, 0, x->fx_limit);
	}
	fx_assert(x->fx_levels == 1 || refusals >= 16 * (WAYS - 2));
}

Test(super, promote_refuses_each_difference)
{
	fx_each(refused);
}

/* Equal and contiguous, but a table full of it starts in the middle of a superpage of frames. */
static void
misaligned(struct fx *x)
{
	if (x->fx_levels < 2)
		return;
	for (unsigned int i = 0; i < WORDS; i++)
		fx_assert(fx_enter(x, AT + i * PAGE, FX_HPA + (i + 1) * PAGE, PMAP_PROT_RX,
				   PMAP_PROT_RX, 0) == 0);
	fx_assert(fx_promote(x, AT, 1) == -EBUSY);
	fx_remove(x, AT, AT + 2 * MIB);

	/* All alike, but not accessed, or not modified. */
	for (unsigned int i = 0; i < WORDS; i++)
		fx_assert(fx_enter(x, AT + i * PAGE, FX_HPA + i * PAGE, PMAP_PROT_RX, 0, 0) == 0);
	fx_assert(fx_promote(x, AT, 1) == -EBUSY);
	for (unsigned int i = 0; i < WORDS; i++)
		fx_assert(fx_enter(x, AT + i * PAGE, FX_HPA + i * PAGE, PMAP_PROT_RWX, PMAP_PROT_R,
				   0) == 0);
	fx_assert(fx_promote(x, AT, 1) == -EBUSY);
	fx_remove(x, AT, AT + 2 * MIB);

	/* Clean and accessed is fine where nobody can write. */
	for (unsigned int i = 0; i < WORDS; i++)
		fx_assert(fx_enter(x, AT + i * PAGE, FX_HPA + i * PAGE, PMAP_PROT_RX, PMAP_PROT_R,
				   0) == 0);
	fx_assert(fx_promote(x, AT, 1) == 0);
	fx_assert(!fx_leaf(x, AT).pl_modified);
	fx_assert(fx_promote(x, AT + 2 * MIB, 1) == -ENOENT);
	if (x->fx_levels > 2)
		fx_assert(fx_promote(x, AT, 2) == -EBUSY);
	if (x->fx_levels > 2)
		fx_assert(fx_promote(x, AT + GIB, 2) == -ENOENT);
}

Test(super, promote_wants_aligned_frames)
{
	fx_each(misaligned);
}

/* ---- Accessed and modified ------------------------------------------------------------------- */

static void
ad_of_superpages(struct fx *x)
{
	const bool emulated = x->fx_fmt->pf_emulated_ad;

	for (unsigned int level = 1; level < x->fx_levels; level++) {
		const uint64_t size = pt_level_size(level);
		struct pmap_leaf leaf;

		/* Read only: clean, aged as one, and still one after that. */
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, level) == 0);
		fx_assert(fx_leaf(x, AT).pl_accessed && !fx_leaf(x, AT).pl_modified);
		fx_assert(fx_harvest(x, AT + size / 2, AT + size / 2 + PAGE, PMAP_HARVEST_ACCESSED,
				     NULL) == 1);
		leaf = fx_leaf(x, AT);
		fx_assert(leaf.pl_level == level && !leaf.pl_accessed);
		fx_assert(fx_touch(x, AT + 9 * PAGE, PMAP_PROT_X) == 0);
		fx_assert(fx_touch(x, AT + 9 * PAGE, PMAP_PROT_W) == -EACCES);
		leaf = fx_leaf(x, AT);
		fx_assert(leaf.pl_level == level && leaf.pl_accessed && !leaf.pl_modified);
		fx_check(x);

		/* Widened in place: a writable superpage is never clean. */
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, 0, level) == 0);
		leaf = fx_leaf(x, AT);
		fx_assert(leaf.pl_level == level && leaf.pl_modified);
		fx_check(x);

		/* Aging keeps M with hardware flags; under emulation M goes too, page by page. */
		fx_forget(x);
		fx_assert(fx_harvest(x, AT, AT + 3 * PAGE, PMAP_HARVEST_ACCESSED, NULL) ==
			  (emulated ? 3 : 1));
		fx_check(x);
		fx_assert(fx_leaf(x, AT).pl_level == (emulated ? 0 : level));
		fx_assert(fx_leaf(x, AT).pl_modified == !emulated);
		fx_assert(fx_leaf(x, AT + 3 * PAGE).pl_modified);
		fx_assert(fx_leaf(x, AT + 3 * PAGE).pl_accessed == emulated);
		fx_assert(x->fx_nnotes == (emulated ? 3 : 0));
		fx_remove(x, 0, x->fx_limit);
	}
}

Test(super, accessed_and_modified_of_superpages)
{
	fx_each(ad_of_superpages);
}

/* Clearing M of some pages splits the superpage, and loses no one else's M. */
static void
harvest_modified(struct fx *x)
{
	for (unsigned int level = 1; level < x->fx_levels; level++) {
		const gpa_t from = AT + pt_level_size(level) / 2 - 2 * PAGE;
		uint64_t bitmap[1] = {0};

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_R, level) == 0);
		/* Peeking reports every page in the range, and splits nothing. */
		fx_assert(fx_harvest(x, from, from + 5 * PAGE,
				     PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK, bitmap) == 1);
		fx_assert(bitmap[0] == 0x1f);
		fx_assert(fx_leaf(x, AT).pl_level == level);
		bitmap[0] = 0;
		fx_assert(fx_harvest(x, from, from + 5 * PAGE, PMAP_HARVEST_MODIFIED, bitmap) == 5);
		fx_assert(bitmap[0] == 0x1f);
		fx_check(x);
		for (unsigned int i = 0; i < 7; i++) {
			const struct pmap_leaf leaf = fx_leaf(x, from + i * PAGE - PAGE);

			fx_assert(leaf.pl_level == 0 && leaf.pl_accessed);
			fx_assert(leaf.pl_modified == (i == 0 || i == 6));
			fx_assert(leaf.pl_prot == PMAP_PROT_RWX);
		}
		fx_assert(fx_leaf(x, AT).pl_modified);
		fx_assert(x->fx_nnotes == 0);
		fx_remove(x, 0, x->fx_limit);
		fx_forget(x);
	}
}

Test(super, harvesting_modified_splits_first)
{
	fx_each(harvest_modified);
}

/* ---- Edges ----------------------------------------------------------------------------------- */

static int
at_edges(struct fx *x, unsigned int op, gpa_t start, gpa_t end)
{
	struct pmap_gather g;
	int error = 0;

	pmap_gather_begin(&g, x->fx_pm);
	switch (op) {
	case 0:
		error = pmap_remove(x->fx_pm, start, end, &g);
		break;
	case 1:
		error = pmap_protect(x->fx_pm, start, end, PMAP_PROT_RX, &g);
		break;
	default:
		error = pmap_unwire(x->fx_pm, start, end);
		break;
	}
	pmap_gather_finish(&g);
	return error;
}

/* Pages of superpages next to each other: only [start, end) is other than before. */
static void
edges_are(struct fx *x, unsigned int op, gpa_t start, gpa_t end, gpa_t gpa)
{
	const struct pmap_leaf leaf = fx_leaf(x, gpa);
	const bool in = start <= gpa && gpa < end;

	if (in && op == 0) {
		fx_assert(leaf.pl_prot == 0);
		return;
	}
	fx_assert(leaf.pl_prot == (in && op == 1 ? PMAP_PROT_RX : PMAP_PROT_RWX));
	fx_assert(leaf.pl_hpa + (gpa - leaf.pl_gpa) == FX_HPA + (gpa - AT));
	fx_assert(leaf.pl_wired == !(in && op == 2));
	fx_assert(leaf.pl_modified == !(in && op == 1));
	fx_assert(leaf.pl_accessed);
}

static void
edges(struct fx *x)
{
	for (unsigned int k = 0; k < 3 * (x->fx_levels - 1); k++) {
		const unsigned int level = 1 + k / 3;
		const unsigned int op = k % 3;
		const uint64_t size = pt_level_size(level);
		const gpa_t ranges[][2] = {
			{AT + PAGE, AT + 2 * PAGE},
			{AT + size - PAGE, AT + size + PAGE},
			{AT + size - 3 * PAGE, AT + 2 * size + 5 * PAGE},
			{AT, AT + size + PAGE},
			{AT + size + size / 2, AT + 3 * size},
		};

		for (unsigned int r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++) {
			const gpa_t start = ranges[r][0];
			const gpa_t end = ranges[r][1];

			for (unsigned int i = 0; i < 3; i++)
				fx_assert(fx_enter_wired(x, AT + i * size, FX_HPA + i * size,
							 PMAP_PROT_RWX, level) == 0);
			fx_assert(at_edges(x, op, start, end) == 0);
			fx_check(x);
			for (unsigned int i = 0; i < 3; i++) {
				edges_are(x, op, start, end, AT + i * size);
				edges_are(x, op, start, end, AT + (i + 1) * size - PAGE);
			}
			edges_are(x, op, start, end, start - (start != AT ? PAGE : 0));
			edges_are(x, op, start, end, start);
			edges_are(x, op, start, end, end - PAGE);
			if (end != AT + 3 * size)
				edges_are(x, op, start, end, end);
			fx_remove(x, 0, x->fx_limit);
			fx_assert(fx_stats(x).st_spares == 0);
		}
	}
}

Test(super, edges_inside_superpages)
{
	fx_each(edges);
}

/*
 * What has nothing to do at a superpage that reaches beyond the range leaves it whole: splitting
 * would cost, and without memory would even unmap it.
 */
static void
nothing_to_do(struct fx *x)
{
	for (unsigned int level = 1; level < x->fx_levels; level++) {
		struct pmap_stats st;

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, level) == 0);
		st = fx_stats(x);
		fx_protect(x, AT + PAGE, AT + 2 * PAGE, PMAP_PROT_RX);
		fx_protect(x, AT + PAGE, AT + 2 * PAGE, PMAP_PROT_RWX);
		fx_assert(pmap_unwire(x->fx_pm, AT + PAGE, AT + 2 * PAGE) == 0);
		fx_assert(fx_harvest(x, AT + PAGE, AT + 2 * PAGE, PMAP_HARVEST_MODIFIED, NULL) ==
			  0);
		fx_assert(fx_leaf(x, AT).pl_level == level);
		fx_assert(fx_stats(x).st_demotions == st.st_demotions);
		fx_assert(fx_stats(x).st_shootdowns == st.st_shootdowns);
		fx_remove(x, 0, x->fx_limit);
	}
}

Test(super, no_split_without_need)
{
	fx_each(nothing_to_do);
}

/* A whole table of them, to its end: only who removes takes the table. */
static void
whole_table(struct fx *x)
{
	uint64_t found = 0;
	uint64_t tables;
	struct pmap_gather g;

	if (x->fx_levels < 2)
		return;
	fill_parts(x, AT, 2, PMAP_PROT_RWX, false);
	tables = fx_stats(x).st_tables;
	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_harvest(x->fx_pm, AT, AT + GIB, PMAP_HARVEST_ACCESSED | PMAP_HARVEST_PEEK,
			       NULL, &found, &g) == 0);
	pmap_gather_finish(&g);
	fx_assert(found == WORDS);
	fx_protect(x, AT, AT + GIB, PMAP_PROT_RX);
	fx_assert(fx_stats(x).st_resident_pages == GIB / PAGE);
	fx_assert(fx_stats(x).st_tables == tables);
	fx_assert(pmap_unwire(x->fx_pm, AT, AT + GIB) == 0);
	fx_assert(fx_leaf(x, AT).pl_prot == PMAP_PROT_RX);
	fx_assert(fx_leaf(x, AT + GIB - PAGE).pl_prot == PMAP_PROT_RX);
	fx_check(x);
	fx_remove(x, AT, AT + GIB);
	fx_assert(fx_stats(x).st_tables < tables);
}

Test(super, only_who_removes_takes_the_table)
{
	fx_each(whole_table);
}

/* ---- The erratum ----------------------------------------------------------------------------- */

/*
 * Splitting and joining flush where sizes must not mix, and only there (but for the joined table).
 */
static void
flushes(struct fx *x)
{
	const bool bears = (x->fx_flags & PMAP_MIXED_SIZE_ERRATUM) == 0;
	uint64_t before;

	if (x->fx_levels < 2)
		return;
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 1) == 0);
	before = fx_stats(x).st_shootdowns;
	fx_assert(fx_demote(x, AT, 1) == 0);
	fx_assert(fx_stats(x).st_shootdowns == before + !bears);
	before = fx_stats(x).st_shootdowns;
	fx_assert(fx_promote(x, AT, 1) == 0);
	fx_assert(fx_stats(x).st_shootdowns == before + 1);

	/* What is entered where a flush has yet to come waits for it. */
	for (unsigned int level = 0; level < 2; level++) {
		struct pmap_gather g;

		fx_remove(x, 0, x->fx_limit);
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, level) == 0);
		pmap_gather_begin(&g, x->fx_pm);
		fx_assert(pmap_remove(x->fx_pm, AT, AT + pt_level_size(level), &g) == 0);
		before = fx_stats(x).st_shootdowns;
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, level) == 0);
		fx_assert(fx_stats(x).st_shootdowns == before + !bears);
		pmap_gather_finish(&g);
	}
	/* The same with the whole table gone: then a new one must be linked. */
	struct pmap_gather g;

	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_remove(x->fx_pm, 0, x->fx_limit, &g) == 0);
	before = fx_stats(x).st_shootdowns;
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(fx_stats(x).st_shootdowns == before + !bears);
	pmap_gather_finish(&g);
}

Test(super, mixed_sizes_are_flushed_on_cpus_that_cannot_bear_them)
{
	fx_each(flushes);
}
