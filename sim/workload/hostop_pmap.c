/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What others than vmspace may do to its tables, since they are a cache: empty them of what is
 * not wired, restrict, collect A, make M known, join and split, ask.
 */

#include "sim/workload/hostop.h"

#include <errno.h>

#include "sim/oracle/invariants.h"
#include "sim/story/story_record.h"

#define BITMAP_WORDS (8 * REGION_PAGES / 64)
#define BITMAP_BYTES_SPAN (8 * REGION_BYTES)

/* ---- Unmapping ------------------------------------------------------------------------------ */

void
hostop_unmap(struct hostop *ho)
{
	struct space *const sp = ho->ho_range.ra_space;
	const gpa_t stop = ho->ho_range.ra_end;
	gpa_t at = ho->ho_range.ra_start;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		if (!rg->rg_wired || region_end(rg) <= at || rg->rg_base >= stop)
			continue;
		if (rg->rg_base > at)
			hostop_must(pmap_remove(sp->sp_pmap, at, rg->rg_base, &ho->ho_gather),
				    "pmap_remove");
		at = region_end(rg);
	}
	if (at < stop)
		hostop_must(pmap_remove(sp->sp_pmap, at, stop, &ho->ho_gather), "pmap_remove");
}

static void
remove_begin(struct hostop *ho, struct space *sp, gpa_t start, gpa_t stop)
{
	hostop_begin_bare(ho, sp, start, stop, WC_REMOVE);
	hostop_unmap(ho);
}

void
hostop_remove(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostop ho;

	remove_begin(&ho, sp, start, stop);
	hostop_flush(&ho);
	hostop_end_bare(&ho);
}

/*
 * All that one table maps, with the pages left to others before the shootdown: whoever works on
 * them then finds no table, or a new one, and CPUs that still have what was there.
 */
void
hostop_sweep(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostop ho;

	start &= ~(REGION_BYTES - 1);
	stop = start + REGION_BYTES;
	remove_begin(&ho, sp, start, stop);
	hostop_give(&ho.ho_range);
	hostop_flush(&ho);
	STORY(done(0));
	sp->sp_log_users--;
}

/* ---- Accessed and modified ------------------------------------------------------------------ */

static gpa_t
clamp_span(gpa_t start, gpa_t stop)
{
	return stop - start > BITMAP_BYTES_SPAN ? start + BITMAP_BYTES_SPAN : stop;
}

void
hostop_clear_modify(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostop ho;

	hostop_begin_bare(&ho, sp, start, stop, WC_CLEAR_MODIFY);
	hostop_must(pmap_clear_modify(sp->sp_pmap, start, stop, &ho.ho_gather),
		    "pmap_clear_modify");
	hostop_flush(&ho);
	hostop_end_bare(&ho);
}

struct used_before {
	gpa_t ub_start;
	uint64_t *ub_bitmap;
};

static void
record_used(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	const struct used_before *ub = arg;
	const uint64_t bit = (gpa - ub->ub_start) / SIM_PAGE_SIZE;

	(void)sp;
	(void)rg;
	if (pg->pg_used)
		ub->ub_bitmap[bit / 64] |= UINT64_C(1) << bit % 64;
}

void
hostop_age(struct space *sp, gpa_t start, gpa_t stop)
{
	uint64_t bitmap[BITMAP_WORDS] = {0};
	uint64_t used[BITMAP_WORDS] = {0};
	struct used_before ub = {start, used};
	struct hostop ho;

	stop = clamp_span(start, stop);
	hostop_begin_bare(&ho, sp, start, stop, WC_AGE);
	hostop_pages(&ho.ho_range, record_used, &ub);
	hostop_must(pmap_harvest(sp->sp_pmap, start, stop, PMAP_HARVEST_ACCESSED, bitmap, NULL,
				 &ho.ho_gather),
		    "pmap_harvest");
	hostop_flush(&ho);
	oracle_aged(sp, start, stop, bitmap, used);
	hostop_end_bare(&ho);
}

static void
forget_used(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	(void)sp;
	(void)rg;
	(void)gpa;
	(void)arg;
	pg->pg_used = false;
}

void
hostop_referenced(struct space *sp, gpa_t start, gpa_t stop)
{
	uint64_t referenced;
	struct hostop ho;

	hostop_begin_bare(&ho, sp, start, stop, WC_REFERENCED);
	hostop_must(pmap_ts_referenced(sp->sp_pmap, start, stop, &referenced, &ho.ho_gather),
		    "pmap_ts_referenced");
	hostop_flush(&ho);
	hostop_pages(&ho.ho_range, forget_used, NULL);
	hostop_end_bare(&ho);
}

static void
ask_dirty(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	(void)sp;
	(void)rg;
	(void)gpa;
	(void)arg;
	pg->pg_peeked = pg->pg_dirty && !pg->pg_noted;
}

/* A fault that puts a superpage in the place of pages notes them meanwhile. */
static void
count_dirty(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	(void)sp;
	(void)rg;
	(void)gpa;
	*(unsigned int *)arg += pg->pg_peeked && pg->pg_dirty && !pg->pg_noted;
}

void
hostop_peek(struct space *sp, gpa_t start, gpa_t stop)
{
	struct range ra = {sp, start, stop};
	/* A log that begins or ends meanwhile settles what was to be told. */
	const uint64_t log_changes = sp->sp_log_changes;
	unsigned int dirty = 0;
	bool modified;

	world_tick(sp->sp_world, WC_PEEK);
	hostop_take(&ra);
	hostop_pages(&ra, ask_dirty, NULL);
	hostop_must(pmap_is_modified(sp->sp_pmap, start, stop, &modified), "pmap_is_modified");
	hostop_pages(&ra, count_dirty, &dirty);
	sim_invariant_hit(SIM_I25);
	if (dirty != 0 && !modified && !sp->sp_log_changing && sp->sp_log_changes == log_changes)
		sim_violation("CK-DIRTY", "I25",
			      "%s: %u written pages, and pmap_is_modified() is false", sp->sp_name,
			      dirty);
	hostop_give(&ra);
}

/* ---- Superpages ----------------------------------------------------------------------------- */

/* What may execute is vmspace's affair where superpages may not; it does not tell of its flush. */
static int
promote(struct space *sp, gpa_t gpa, bool *deferred)
{
	const bool may_defer = (pmap_flags(sp->sp_pmap) & PMAP_DEFER) != 0;
	struct pmap_gather g;
	int error;

	if (sp->sp_nx || sp->sp_nx_changing) {
		*deferred = may_defer;
		return vm_promote(sp->sp_vs, gpa, 1);
	}
	pmap_gather_begin(&g, sp->sp_pmap);
	error = pmap_promote(sp->sp_pmap, gpa, 1, &g);
	*deferred = !g.pg_flush && may_defer;
	pmap_gather_finish(&g);
	return error;
}

void
hostop_promote(struct space *sp, gpa_t start, gpa_t stop)
{
	const gpa_t base = start & ~(REGION_BYTES - 1);
	struct oracle_tlb_op op;
	bool deferred;
	int error;

	(void)stop;
	/* While the dirty log is on only vmspace knows what may be joined. */
	if (space_region(sp, start) == NULL || sp->sp_log || sp->sp_log_changing)
		return;
	world_tick(sp->sp_world, WC_PROMOTE);
	sp->sp_log_users++;
	oracle_tlb_op_begin(&op, pmap_root(sp->sp_pmap));
	error = promote(sp, start, &deferred);
	space_observe(sp);
	if (deferred)
		oracle_tlb_op_defer(&op);
	else
		oracle_tlb_op_done(&op, base, base + REGION_BYTES);
	sp->sp_log_users--;
	if (error == 0)
		world_tick(sp->sp_world, WC_PROMOTED);
	else if (error != -EBUSY && error != -ENOENT && error != -EOPNOTSUPP && error != -ENOMEM)
		hostop_must(error, "pmap_promote");
}

void
hostop_demote(struct space *sp, gpa_t start, gpa_t stop)
{
	const gpa_t base = start & ~(REGION_BYTES - 1);
	struct oracle_tlb_op op;
	struct pmap_gather g;
	int error;

	(void)stop;
	if (space_region(sp, start) == NULL)
		return;
	world_tick(sp->sp_world, WC_DEMOTE);
	oracle_tlb_op_begin(&op, pmap_root(sp->sp_pmap));
	pmap_gather_begin(&g, sp->sp_pmap);
	error = pmap_demote(sp->sp_pmap, start, 1, &g);
	pmap_gather_finish(&g);
	space_observe(sp);
	oracle_tlb_op_done(&op, base, base + REGION_BYTES);
	if (error == 0)
		world_tick(sp->sp_world, WC_DEMOTED);
	else if (error != -ENOENT && error != -ENOMEM)
		hostop_must(error, "pmap_demote");
}

/* A superpage is split and joined again, and its pages are used meanwhile. */
void
hostop_rejoin(struct space *sp, gpa_t start, gpa_t stop)
{
	const unsigned int from = sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions);

	for (unsigned int i = 0; i < sp->sp_nregions; i++) {
		const struct region *const rg = &sp->sp_regions[(from + i) % sp->sp_nregions];
		unsigned int turns = 1 + sim_choose(SIM_CHOICE_WORKLOAD, 64);

		if (!rg->rg_super || rg->rg_absent)
			continue;
		start = rg->rg_base;
		stop = start + REGION_BYTES;
		hostop_demote(sp, start, stop);
		while (turns-- > 0)
			sim_point(SIM_USER, NULL);
		hostop_promote(sp, start, stop);
		return;
	}
}

/* ---- Questions, and the rest ---------------------------------------------------------------- */

/* The answer is as of some instant: where it still holds, it names the page's frame. */
void
hostop_extract(struct space *sp, gpa_t start, gpa_t stop)
{
	struct range ra = {sp, start, start + SIM_PAGE_SIZE};
	struct pmap_leaf leaf;
	struct hw_walk w;

	(void)stop;
	if (space_region(sp, start) == NULL)
		return;
	world_tick(sp->sp_world, WC_EXTRACT);
	hostop_take(&ra);
	if (pmap_extract(sp->sp_pmap, start, &leaf) == 0) {
		const uint64_t hpa = leaf.pl_hpa + (start - leaf.pl_gpa);

		hw_walk_quiet(&sp->sp_ctx, start, &w);
		sim_invariant_hit(SIM_I30);
		if (w.wk_present && hpa != space_frame(sp, start))
			sim_violation("CK-API", "I30", "%s: pmap_extract() of 0x%llx gives 0x%llx",
				      sp->sp_name, (unsigned long long)start,
				      (unsigned long long)hpa);
	}
	hostop_give(&ra);
}

void
hostop_invalidate(struct space *sp, gpa_t start, gpa_t stop)
{
	struct oracle_tlb_op op;

	world_tick(sp->sp_world, WC_INVALIDATE);
	oracle_tlb_op_begin(&op, pmap_root(sp->sp_pmap));
	switch (sim_choose(SIM_CHOICE_WORKLOAD, 3)) {
	case 0:
		hostop_must(pmap_invalidate_page(sp->sp_pmap, start), "pmap_invalidate_page");
		stop = start + SIM_PAGE_SIZE;
		break;
	case 1:
		hostop_must(pmap_invalidate_range(sp->sp_pmap, start, stop),
			    "pmap_invalidate_range");
		break;
	default:
		pmap_invalidate_all(sp->sp_pmap);
		break;
	}
	space_observe(sp);
	oracle_tlb_op_done(&op, start, stop);
}

void
hostop_drain(struct space *sp, gpa_t start, gpa_t stop)
{
	(void)start;
	(void)stop;
	world_tick(sp->sp_world, WC_DRAIN);
	space_drain(sp);
}
