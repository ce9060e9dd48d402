/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Random operations against the flat model (model.h): the fast and the reference form of a pmap and
 * the model do the same things, and must agree on results, on what the owner is told, on every page
 * and on every count, after each step. Seeds are fixed, so a failure repeats itself; the message
 * names seed and step.
 */

#include "tests/unit/model.h"
#include "tests/unit/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAST, REFERENCE, FORMS };

#define WORDS ((unsigned int)HOST_TABLE_WORDS)
#define BITMAP_WORDS(npages) ((npages) / 64 + 1)

/* One run: two pmaps, their model, and what was seen last of their entries. */
struct run {
	struct rng ru_rng;
	uint64_t ru_seed;
	unsigned int ru_step;
	char ru_what[120];
	struct fx ru_x[FORMS];
	struct model ru_model;
	bool ru_quiet; /* nobody is told of what is lost */
	uint64_t ru_npages;
	uint64_t *ru_bitmap[FORMS + 1];
	pt_entry_t *ru_seen; /* entry of each page; of a superpage, at its first page */
};

#define run_assert(r, cond) ((cond) ? (void)0 : run_failed(r, #cond))

static void
run_failed(const struct run *r, const char *what)
{
	fx_fail("seed %#llx, step %u, %s: %s", (unsigned long long)r->ru_seed, r->ru_step,
		r->ru_what, what);
}

static void
run_open(struct run *r, uint64_t seed, const struct fx_format *format, unsigned int flags,
	 uint64_t bytes, bool quiet)
{
	void (*const open)(struct fx *, const struct fx_format *, unsigned int) =
		quiet ? fx_open_quiet : fx_open;

	*r = (struct run){
		.ru_seed = seed, .ru_rng = {seed}, .ru_quiet = quiet, .ru_npages = bytes / PAGE};
	open(&r->ru_x[REFERENCE], format, flags | PMAP_REFERENCE);
	open(&r->ru_x[FAST], format, flags);
	model_open(&r->ru_model, format, r->ru_x[FAST].fx_limit - bytes, r->ru_x[FAST].fx_limit);
	for (unsigned int i = 0; i <= FORMS; i++)
		r->ru_bitmap[i] = calloc(BITMAP_WORDS(r->ru_npages), sizeof(uint64_t));
	r->ru_seen = calloc(r->ru_npages, sizeof(*r->ru_seen));
}

static void
run_close(struct run *r)
{
	for (unsigned int i = 0; i < FORMS; i++)
		fx_close(&r->ru_x[i]);
	model_close(&r->ru_model);
	for (unsigned int i = 0; i <= FORMS; i++)
		free(r->ru_bitmap[i]);
	free(r->ru_seen);
}

/* ---- Every page, after every step ------------------------------------------------------------ */

/* The leaf entry that a pmap has for the page, decoded, against the model. */
static void
compare_leaf(struct run *r, struct fx *x, gpa_t gpa, pt_entry_t pte, unsigned int level)
{
	const struct pt_fmt *const f = x->fx_fmt;
	struct pmap_leaf leaf;

	model_leaf(&r->ru_model, gpa, &leaf);
	if (!pte_is_valid(f, pte)) {
		run_assert(r, pte == 0 && leaf.pl_prot == 0);
		return;
	}
	run_assert(r, leaf.pl_gpa == gpa && leaf.pl_level == level);
	run_assert(r, pte_hpa(f, pte, level) == leaf.pl_hpa);
	run_assert(r, pte_prot(f, pte) == leaf.pl_prot);
	run_assert(r, pte_memattr(f, pte, level) == leaf.pl_memattr);
	run_assert(r, ((pte & f->pf_wired) != 0) == leaf.pl_wired);
	run_assert(r, ((pte & f->pf_a) != 0) == leaf.pl_accessed);
	run_assert(r, ((pte & f->pf_m) != 0) == leaf.pl_modified);
}

/*
 * The entry of one leaf, or of one unmapped page: equal in both forms (`first` is the one that is
 * looked at first), equal to the model if it may have changed, else equal to what it was.
 */
static void
see(struct run *r, struct fx *x, bool first, gpa_t gpa, pt_entry_t pte, unsigned int level)
{
	pt_entry_t *const seen = &r->ru_seen[(gpa - r->ru_model.mo_start) / PAGE];

	if (*seen == pte)
		return;
	run_assert(r, first);
	run_assert(r, r->ru_model.mo_dirty_start <= gpa && gpa < r->ru_model.mo_dirty_end);
	compare_leaf(r, x, gpa, pte, level);
	*seen = pte;
}

/* What maps the page at gpa, or would: in how many bytes, by which words. */
static const struct host_word *
look(struct fx *x, gpa_t gpa, unsigned int *level)
{
	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned int n = 0;

	fx_assert(pmap_walk(x->fx_pm, gpa, entries, &n) == 0);
	*level = x->fx_fmt->pf_levels - n;
	if (n == 1)
		return host_table_words(pmap_root(x->fx_pm));
	return host_table_words(pte_hpa(x->fx_fmt, entries[n - 2], 0));
}

/* All entries of 2 MiB; returns where it came to, which is further for a larger leaf. */
static gpa_t
scan_block(struct run *r, struct fx *x, bool first, gpa_t gpa)
{
	unsigned int level;
	const struct host_word *words = look(x, gpa, &level);
	const pt_entry_t pte = host_load(&words[pt_index(gpa, level)]);

	if (level == 0) {
		for (unsigned int i = 0; i < WORDS; i++)
			see(r, x, first, gpa + i * PAGE, host_load(&words[i]), 0);
		return gpa + 2 * MIB;
	}
	if (pte_is_valid(x->fx_fmt, pte)) {
		see(r, x, first, gpa, pte, level);
		return gpa + pt_level_size(level);
	}
	for (unsigned int i = 0; i < WORDS; i++)
		see(r, x, first, gpa + i * PAGE, 0, 0);
	return gpa + 2 * MIB;
}

/*
 * Pages inside of what changed are compared anew: a leaf that became part of a larger one has no
 * entry to look at any more, and one that was split has a new one.
 */
static void
forget_seen(struct run *r)
{
	struct model *m = &r->ru_model;

	for (gpa_t gpa = m->mo_dirty_start; gpa < m->mo_dirty_end; gpa += PAGE)
		r->ru_seen[(gpa - m->mo_start) / PAGE] = ~(pt_entry_t)0;
}

static void
compare_pages(struct run *r)
{
	struct model *m = &r->ru_model;

	forget_seen(r);
	for (unsigned int i = 0; i < FORMS; i++) {
		for (gpa_t gpa = m->mo_start; gpa < m->mo_end;)
			gpa = scan_block(r, &r->ru_x[i], i == 0, gpa);
	}
}

static void
compare_extract(struct run *r, gpa_t gpa)
{
	struct pmap_leaf want;

	model_leaf(&r->ru_model, gpa, &want);
	for (unsigned int i = 0; i < FORMS; i++) {
		const struct pmap_leaf leaf = fx_leaf(&r->ru_x[i], gpa);

		run_assert(r, leaf.pl_prot == want.pl_prot);
		if (want.pl_prot == 0)
			continue;
		run_assert(r, leaf.pl_gpa == want.pl_gpa && leaf.pl_hpa == want.pl_hpa);
		run_assert(r, leaf.pl_level == want.pl_level && leaf.pl_wired == want.pl_wired);
		run_assert(r, leaf.pl_memattr == want.pl_memattr);
		run_assert(r, leaf.pl_accessed == want.pl_accessed);
		run_assert(r, leaf.pl_modified == want.pl_modified);
	}
}

static bool
same_note(const struct pmap_leaf *a, const struct pmap_leaf *b)
{
	return a->pl_gpa == b->pl_gpa && a->pl_hpa == b->pl_hpa && a->pl_level == b->pl_level &&
	       a->pl_prot == b->pl_prot && a->pl_memattr == b->pl_memattr &&
	       a->pl_wired == b->pl_wired && a->pl_accessed == b->pl_accessed &&
	       a->pl_modified == b->pl_modified;
}

static void
compare_notes(struct run *r)
{
	for (unsigned int i = 0; i < FORMS; i++) {
		struct fx *x = &r->ru_x[i];

		run_assert(r, x->fx_nnotes == (r->ru_quiet ? 0 : r->ru_model.mo_nnotes));
		for (size_t k = 0; k < x->fx_nnotes; k++)
			run_assert(r, same_note(&x->fx_notes[k], &r->ru_model.mo_notes[k]));
		fx_forget(x);
	}
}

static void
compare_counts(struct run *r)
{
	struct pmap_stats st[FORMS];
	struct model_counts counts;

	model_count(&r->ru_model, &counts);
	for (unsigned int i = 0; i < FORMS; i++) {
		st[i] = fx_stats(&r->ru_x[i]);
		run_assert(r, st[i].st_resident_pages == counts.mc_resident);
		run_assert(r, st[i].st_wired_pages == counts.mc_wired);
		for (unsigned int level = 0; level < PT_LEAF_LEVELS_MAX; level++)
			run_assert(r, st[i].st_leaves[level] == counts.mc_leaves[level]);
		run_assert(r, st[i].st_promotions == r->ru_model.mo_joins);
		run_assert(r, st[i].st_demotions == r->ru_model.mo_splits);
		run_assert(r, st[i].st_ad_emulations == r->ru_model.mo_emulations);
		run_assert(r, st[i].st_spurious_faults == r->ru_model.mo_spurious);
		run_assert(r, st[i].st_demotion_failures == 0 && st[i].st_enter_restarts == 0 &&
				      st[i].st_revoked == 0 && st[i].st_kicks == 0);
	}
	/* To the last event: alone, the two forms do the same. */
	run_assert(r, memcmp(&st[FAST], &st[REFERENCE], sizeof(st[0])) == 0);
}

/* ---- Random arguments ------------------------------------------------------------------------ */

/* Mostly near the edges of 2 MiB, where things meet. */
static gpa_t
random_page(struct run *r)
{
	const struct model *m = &r->ru_model;
	const unsigned int nblocks = (unsigned int)(r->ru_npages / WORDS);
	gpa_t gpa = m->mo_start + rng_below(&r->ru_rng, nblocks) * 2 * MIB;

	switch (rng_below(&r->ru_rng, 4)) {
	case 0:
		return m->mo_start + rng_below(&r->ru_rng, (unsigned int)r->ru_npages) * PAGE;
	case 1:
		return gpa + 2 * MIB - (1 + rng_below(&r->ru_rng, 3)) * PAGE;
	default:
		return gpa + rng_below(&r->ru_rng, 4) * PAGE;
	}
}

static void
random_range(struct run *r, gpa_t *start, gpa_t *end)
{
	const struct model *m = &r->ru_model;
	const unsigned int how = rng_below(&r->ru_rng, 100);
	gpa_t other;

	*start = random_page(r);
	if (how < 45) {
		*end = *start + (1 + rng_below(&r->ru_rng, 5)) * PAGE;
	} else if (how < 75) {
		other = random_page(r);
		*end = other > *start ? other : *start;
		*start = other > *start ? *start : other;
	} else if (how < 98) {
		*start &= ~(2 * MIB - 1);
		*end = *start + 2 * MIB;
	} else {
		*start = m->mo_start;
		*end = m->mo_end;
	}
	if (*end > m->mo_end)
		*end = m->mo_end;
}

static unsigned int
random_prot(struct run *r)
{
	if (rng_percent(&r->ru_rng, 40))
		return PMAP_PROT_RWX;
	return rng_below(&r->ru_rng, rng_percent(&r->ru_rng, 10) ? 10 : PMAP_PROT_COUNT);
}

static void
random_mapping(struct run *r, struct pmap_mapping *map)
{
	const struct model *m = &r->ru_model;
	struct rng *const g = &r->ru_rng;

	*map = (struct pmap_mapping){.pa_gpa = random_page(r), .pa_prot = random_prot(r)};
	if (rng_percent(g, 30))
		map->pa_level = rng_below(g, rng_percent(g, 10) ? 4 : PT_LEAF_LEVELS_MAX);
	if (map->pa_level == 2 && r->ru_npages < GIB / PAGE)
		map->pa_level = 1;
	if (map->pa_level < PT_LEAF_LEVELS_MAX && !rng_percent(g, 3))
		map->pa_gpa &= ~(pt_level_size(map->pa_level) - 1);
	if (map->pa_gpa < m->mo_start)
		map->pa_gpa = m->mo_start + 2 * MIB;
	/* Frames that go together, or others. */
	map->pa_hpa = FX_HPA + map->pa_gpa % GIB;
	if (rng_percent(g, 25))
		map->pa_hpa = FX_HPA + 4 * GIB + rng_below(g, 4) * GIB;
	else if (rng_percent(g, 3))
		map->pa_hpa = rng_next(g) & ~(PAGE - 1);
	if (rng_percent(g, 60))
		map->pa_access = map->pa_prot & rng_below(g, PMAP_PROT_COUNT);
	else if (rng_percent(g, 5))
		map->pa_access = rng_below(g, PMAP_PROT_COUNT);
	if (rng_percent(g, 15))
		map->pa_memattr = (enum pt_memattr)rng_below(g, PT_MEMATTR_COUNT);
	map->pa_wired = rng_percent(g, 15);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static void
step_enter_one(struct run *r, const struct pmap_mapping *map)
{
	const int want = model_enter(&r->ru_model, map);

	for (unsigned int i = 0; i < FORMS; i++)
		run_assert(r, pmap_enter(r->ru_x[i].fx_pm, map) == want);
}

static void
step_enter(struct run *r)
{
	struct pmap_mapping map;

	random_mapping(r, &map);
	snprintf(r->ru_what, sizeof(r->ru_what),
		 "enter %#llx -> %#llx level %u rights %u access %u%s",
		 (unsigned long long)map.pa_gpa, (unsigned long long)map.pa_hpa, map.pa_level,
		 map.pa_prot, map.pa_access, map.pa_wired ? " wired" : "");
	step_enter_one(r, &map);
}

/* 512 mappings that can be joined, or nearly so. */
static void
step_fill(struct run *r)
{
	const bool large = r->ru_npages >= GIB / PAGE && rng_percent(&r->ru_rng, 50);
	struct pmap_mapping map = {
		.pa_gpa = random_page(r) & ~(pt_level_size(large ? 2 : 1) - 1),
		.pa_prot = rng_percent(&r->ru_rng, 70) ? PMAP_PROT_RWX : PMAP_PROT_RX,
		.pa_level = large,
		.pa_wired = rng_percent(&r->ru_rng, 20),
	};
	const uint64_t size = pt_level_size(map.pa_level);

	if (map.pa_gpa < r->ru_model.mo_start)
		return;
	map.pa_access = map.pa_prot;
	snprintf(r->ru_what, sizeof(r->ru_what), "fill %#llx level %u rights %u%s",
		 (unsigned long long)map.pa_gpa, map.pa_level, map.pa_prot,
		 map.pa_wired ? " wired" : "");
	for (unsigned int i = 0; i < WORDS; i++, map.pa_gpa += size) {
		map.pa_hpa = FX_HPA + map.pa_gpa % GIB;
		step_enter_one(r, &map);
	}
}

static void
step_remove(struct run *r)
{
	gpa_t start;
	gpa_t end;

	random_range(r, &start, &end);
	snprintf(r->ru_what, sizeof(r->ru_what), "remove %#llx..%#llx", (unsigned long long)start,
		 (unsigned long long)end);
	model_remove(&r->ru_model, start, end);
	for (unsigned int i = 0; i < FORMS; i++)
		fx_remove(&r->ru_x[i], start, end);
}

static void
step_protect(struct run *r)
{
	const unsigned int prot = rng_below(&r->ru_rng, PMAP_PROT_COUNT);
	struct pmap_gather g;
	gpa_t start;
	gpa_t end;
	int want;

	random_range(r, &start, &end);
	snprintf(r->ru_what, sizeof(r->ru_what), "protect %#llx..%#llx to %u",
		 (unsigned long long)start, (unsigned long long)end, prot);
	want = model_protect(&r->ru_model, start, end, prot);
	for (unsigned int i = 0; i < FORMS; i++) {
		pmap_gather_begin(&g, r->ru_x[i].fx_pm);
		run_assert(r, pmap_protect(r->ru_x[i].fx_pm, start, end, prot, &g) == want);
		pmap_gather_finish(&g);
	}
}

static void
step_unwire(struct run *r)
{
	gpa_t start;
	gpa_t end;

	random_range(r, &start, &end);
	snprintf(r->ru_what, sizeof(r->ru_what), "unwire %#llx..%#llx", (unsigned long long)start,
		 (unsigned long long)end);
	model_unwire(&r->ru_model, start, end);
	for (unsigned int i = 0; i < FORMS; i++)
		run_assert(r, pmap_unwire(r->ru_x[i].fx_pm, start, end) == 0);
}

static void
step_harvest(struct run *r)
{
	const unsigned int how = rng_below(&r->ru_rng, 4);
	const bool quiet = rng_percent(&r->ru_rng, 60);
	uint64_t want;
	size_t bytes;
	gpa_t start;
	gpa_t end;

	random_range(r, &start, &end);
	snprintf(r->ru_what, sizeof(r->ru_what), "harvest %u %#llx..%#llx%s", how,
		 (unsigned long long)start, (unsigned long long)end, quiet ? " bitmap" : "");
	bytes = BITMAP_WORDS((end - start) / PAGE) * sizeof(uint64_t);
	for (unsigned int i = 0; i <= FORMS; i++)
		memset(r->ru_bitmap[i], 0, bytes);
	want = model_harvest(&r->ru_model, start, end, how, quiet ? r->ru_bitmap[FORMS] : NULL);
	for (unsigned int i = 0; i < FORMS; i++) {
		uint64_t *const bitmap = r->ru_bitmap[i];

		run_assert(r,
			   fx_harvest(&r->ru_x[i], start, end, how, quiet ? bitmap : NULL) == want);
		run_assert(r, memcmp(bitmap, r->ru_bitmap[FORMS], bytes) == 0);
	}
}

static void
step_ask(struct run *r)
{
	gpa_t start;
	gpa_t end;

	random_range(r, &start, &end);
	snprintf(r->ru_what, sizeof(r->ru_what), "is_modified %#llx..%#llx",
		 (unsigned long long)start, (unsigned long long)end);
	for (unsigned int i = 0; i < FORMS; i++) {
		bool modified = false;

		run_assert(r, pmap_is_modified(r->ru_x[i].fx_pm, start, end, &modified) == 0);
		run_assert(r, modified == model_is_modified(&r->ru_model, start, end));
		pmap_drain(r->ru_x[i].fx_pm);
	}
	compare_extract(r, start);
}

static void
step_access(struct run *r)
{
	const gpa_t gpa = random_page(r);
	const unsigned int right = 1u << rng_below(&r->ru_rng, 3);
	const unsigned int access = 1 + rng_below(&r->ru_rng, PMAP_PROT_COUNT - 1);
	const bool walks = rng_percent(&r->ru_rng, 60);

	snprintf(r->ru_what, sizeof(r->ru_what), "%s %#llx for %u", walks ? "hardware" : "fault",
		 (unsigned long long)gpa, walks ? right : access);
	if (walks) {
		const bool want = model_hardware(&r->ru_model, gpa, right);

		for (unsigned int i = 0; i < FORMS; i++)
			run_assert(r, fx_hardware(&r->ru_x[i], gpa, right) == want);
	} else {
		const int want = model_emulate(&r->ru_model, gpa, access);

		for (unsigned int i = 0; i < FORMS; i++)
			run_assert(r, pmap_emulate_accessed_dirty(r->ru_x[i].fx_pm, gpa, access) ==
					      want);
	}
	compare_extract(r, gpa);
}

static void
step_resize(struct run *r)
{
	const unsigned int level = r->ru_npages < GIB / PAGE ? 1 : 1 + rng_below(&r->ru_rng, 2);
	const bool joins = rng_percent(&r->ru_rng, 65);
	gpa_t gpa = random_page(r);
	bool maybe = false;
	int got[FORMS];
	int want;

	if ((gpa & ~(pt_level_size(level) - 1)) < r->ru_model.mo_start)
		gpa += 2 * MIB;
	snprintf(r->ru_what, sizeof(r->ru_what), "%s %#llx level %u", joins ? "promote" : "demote",
		 (unsigned long long)gpa, level);
	want = joins ? model_promote(&r->ru_model, gpa, level, &maybe)
		     : model_demote(&r->ru_model, gpa, level);
	for (unsigned int i = 0; i < FORMS; i++) {
		got[i] = joins ? fx_promote(&r->ru_x[i], gpa, level)
			       : fx_demote(&r->ru_x[i], gpa, level);
		run_assert(r, got[i] == want || (maybe && got[i] == -ENOENT));
	}
	run_assert(r, got[FAST] == got[REFERENCE]);
}

/* How often each is chosen, of all. */
static const struct {
	void (*st_fn)(struct run *r);
	unsigned int st_weight;
} steps[] = {
	{step_enter, 34},  {step_fill, 2},    {step_remove, 8}, {step_protect, 8}, {step_unwire, 4},
	{step_harvest, 9}, {step_access, 25}, {step_ask, 3},	{step_resize, 7},
};

static void
step(struct run *r)
{
	unsigned int n = rng_below(&r->ru_rng, 100);
	unsigned int i = 0;

	while (n >= steps[i].st_weight)
		n -= steps[i++].st_weight;
	steps[i].st_fn(r);
	r->ru_step++;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

/* What all runs together did: a test of promotion in which nothing was promoted is none. */
static struct pmap_stats done;

static void
add_up(struct run *r)
{
	const struct pmap_stats st = fx_stats(&r->ru_x[FAST]);

	done.st_promotions += st.st_promotions;
	done.st_demotions += st.st_demotions;
	done.st_ad_emulations += st.st_ad_emulations;
	done.st_spurious_faults += st.st_spurious_faults;
	done.st_shootdowns += st.st_shootdowns;
	done.st_shootdowns_elided += st.st_shootdowns_elided;
}

static void
run(uint64_t seed, const struct fx_format *format, unsigned int flags, uint64_t bytes,
    unsigned int nsteps, bool quiet)
{
	const unsigned int rarely = bytes > GIB ? 4 : 1;
	struct run r;

	world_begin(NULL);
	run_open(&r, seed, format, flags, bytes, quiet);
	while (r.ru_step < nsteps) {
		step(&r);
		compare_notes(&r);
		compare_pages(&r);
		if (r.ru_step % (4 * rarely) == 0)
			compare_counts(&r);
		for (unsigned int i = 0; i < FORMS && r.ru_step % rarely == 0; i++) {
			char why[FX_WHY_BYTES] = "";

			if (pmap_check(r.ru_x[i].fx_pm, why, sizeof(why)) != 0)
				run_failed(&r, why);
		}
		model_settle(&r.ru_model);
	}
	CHECK(fx_stats(&r.ru_x[FAST]).st_tables >= 1);
	add_up(&r);
	run_close(&r);
	world_end();
}

/* Three times 2 MiB at the end of the space. */
Test(model, pages_and_2m_superpages)
{
	static const unsigned int flags[] = {0, PMAP_MIXED_SIZE_ERRATUM, PMAP_DEFER,
					     PMAP_DEFER | PMAP_MIXED_SIZE_ERRATUM};

	for (unsigned int i = 0; i < fx_nformats * 4; i++)
		run(0x5ee0 + i, &fx_formats[i / 4], flags[i % 4], 6 * MIB, fx_scale(3200), false);
	cr_assert(done.st_promotions > 0 && done.st_demotions > 0);
	cr_assert(done.st_ad_emulations > 0 && done.st_spurious_faults > 0);
	cr_assert(done.st_shootdowns > 0 && done.st_shootdowns_elided > 0);
}

/* A gigabyte and what lies before it. */
Test(model, one_gigabyte)
{
	for (unsigned int i = 0; i < fx_nformats; i++) {
		if (fx_formats[i].ff_caps.pc_leaf_levels == 3)
			run(0xb160 + i, &fx_formats[i], i % 2 ? PMAP_MIXED_SIZE_ERRATUM : 0,
			    GIB + 2 * MIB, fx_scale(100), false);
	}
}

/* The same for an owner who is told nothing: then lines of eight leaves go at once. */
Test(model, nobody_is_told)
{
	for (unsigned int i = 0; i < fx_nformats * 2; i++)
		run(0xd0d0 + i, &fx_formats[i / 2], i % 2 != 0 ? PMAP_DEFER : 0, 6 * MIB,
		    fx_scale(1600), true);
}
