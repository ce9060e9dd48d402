/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the host does to a space while its vCPUs run: move, discard, write-protect, collect, age,
 * wire, join and split. Each operation takes its pages first, so that two never work on the same
 * page; faults, promotions and the vCPUs keep going.
 *
 * An operation that takes something away does so in the order that the core asks for: change the
 * owner's state, publish that (space_revoke()), sweep the tables, finish the gather, wait for
 * faults decided before. Only then is a frame let go.
 */

#include "sim/world.h"

#include <errno.h>
#include <string.h>

#include "sim/invariants.h"

#define BITMAP_WORDS (8 * REGION_PAGES / 64)
#define BITMAP_BYTES_SPAN (8 * REGION_BYTES)

/* ---- Pages of a range ----------------------------------------------------------------------- */

struct range {
	struct space *ra_space;
	gpa_t ra_start;
	gpa_t ra_end;
};

typedef void page_fn(struct space *sp, struct region *rg, struct page *pg, void *arg);

static void
for_pages(const struct range *ra, page_fn *fn, void *arg)
{
	for (unsigned int r = 0; r < ra->ra_space->sp_nregions; r++) {
		struct region *rg = &ra->ra_space->sp_regions[r];

		for (unsigned int i = 0; i < rg->rg_npages; i++) {
			const gpa_t gpa = rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE;

			if (gpa >= ra->ra_start && gpa < ra->ra_end)
				fn(ra->ra_space, rg, &rg->rg_pages[i], arg);
		}
	}
}

static void
count_busy(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	*(unsigned int *)arg += pg->pg_busy;
}

static void
set_busy(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	pg->pg_busy = *(const bool *)arg;
}

static bool
pages_free(void *arg)
{
	unsigned int busy = 0;

	for_pages(arg, count_busy, &busy);
	return busy == 0;
}

static void
take_pages(struct range *ra)
{
	const bool busy = true;

	sim_wait_until("pages that another operation works on", pages_free, ra);
	for_pages(ra, set_busy, (void *)(uintptr_t)&busy);
}

static void
give_pages(struct range *ra)
{
	const bool busy = false;

	for_pages(ra, set_busy, (void *)(uintptr_t)&busy);
}

/* ---- The frame of every operation ----------------------------------------------------------- */

struct hostop {
	struct range ho_range;
	struct oracle_tlb_op ho_op;
	struct pmap_gather ho_gather;
};

static void
begin(struct hostop *ho, struct space *sp, gpa_t start, gpa_t end, enum world_count c)
{
	ho->ho_range = (struct range){sp, start, end};
	world_tick(sp->sp_world, c);
	take_pages(&ho->ho_range);
	oracle_tlb_op_begin(&ho->ho_op, pmap_root(sp->sp_pmap));
	pmap_gather_begin(&ho->ho_gather, sp->sp_pmap);
}

/*
 * A shootdown of more steps than so many times the square of the number of CPUs waits for somebody
 * who was not made to hurry. With kicks 100 times the square is as slow as it gets.
 */
#define SHOOTDOWN_STEPS 1000

static void
check_length(const struct space *sp, uint64_t steps)
{
	const uint64_t ncpus = sim_cpu_count();

	sim_invariant_hit(SIM_I24);
	if (steps > SHOOTDOWN_STEPS * ncpus * ncpus)
		sim_violation("CK-SCHED", "I24", "%s: a shootdown took %llu steps", sp->sp_name,
			      (unsigned long long)steps);
}

/* The shootdown; true if it took place or was not needed, false if it was put off. */
static bool
finish(struct hostop *ho)
{
	struct space *const sp = ho->ho_range.ra_space;
	const bool deferred = ho->ho_gather.pg_deferred && !ho->ho_gather.pg_flush &&
			      (pmap_flags(sp->sp_pmap) & PMAP_DEFER) != 0;
	const uint64_t start = sim_step_count();

	pmap_gather_finish(&ho->ho_gather);
	check_length(sp, sim_step_count() - start);
	space_observe(sp);
	return !deferred;
}

static void
judge(struct hostop *ho, bool flushed)
{
	if (flushed)
		oracle_tlb_op_done(&ho->ho_op, ho->ho_range.ra_start, ho->ho_range.ra_end);
	else
		oracle_tlb_op_defer(&ho->ho_op);
	sim_invariant_hit(SIM_I16);
	sim_invariant_hit(SIM_I19);
}

static void
end(struct hostop *ho)
{
	oracle_check_range(ho->ho_range.ra_space, ho->ho_range.ra_start, ho->ho_range.ra_end);
	give_pages(&ho->ho_range);
}

/* Range operations never fail for a valid range. */
static void
must(int error, const char *what)
{
	sim_invariant_hit(SIM_I41);
	if (error != 0)
		sim_violation("CK-API", "I41", "%s failed with error %d", what, -error);
}

static void
page_unwired(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	(void)arg;
	pg->pg_wired = false;
}

/* ---- Unmapping ------------------------------------------------------------------------------ */

void
hostop_remove(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostop ho;

	begin(&ho, sp, start, stop, WC_REMOVE);
	for_pages(&ho.ho_range, page_unwired, NULL);
	space_revoke(sp);
	must(pmap_remove(sp->sp_pmap, start, stop, &ho.ho_gather), "pmap_remove");
	judge(&ho, finish(&ho));
	end(&ho);
}

static void
set_absent(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	pg->pg_absent = *(const bool *)arg;
}

/* Takes all pages of the range out of the tables for good, until they are given back. */
static void
withdraw(struct hostop *ho)
{
	struct space *const sp = ho->ho_range.ra_space;
	const bool absent = true;

	for_pages(&ho->ho_range, page_unwired, NULL);
	for_pages(&ho->ho_range, set_absent, (void *)(uintptr_t)&absent);
	space_revoke(sp);
	must(pmap_remove(sp->sp_pmap, ho->ho_range.ra_start, ho->ho_range.ra_end, &ho->ho_gather),
	     "pmap_remove");

	const bool flushed = finish(ho);

	space_await_faults(sp);
	judge(ho, flushed);
}

static void
give_back(struct hostop *ho)
{
	const bool absent = false;

	end(ho);
	for_pages(&ho->ho_range, set_absent, (void *)(uintptr_t)&absent);
}

/* A frame goes back to where it came from: the region's reservation, or the free list. */
static void
frame_release(struct space *sp, const struct region *rg, const struct page *pg, uint64_t frame)
{
	const uint64_t index = (uint64_t)(pg - rg->rg_pages);

	(void)sp;
	if (rg->rg_run != 0 && frame == rg->rg_run + index * SIM_PAGE_SIZE)
		return;
	sim_frame_free(frame, 0);
}

static void
move_page(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	const uint64_t old = pg->pg_frame;
	const uint64_t fresh = old != 0 ? sim_frame_alloc(SIM_FRAME_DATA, 0) : 0;

	(void)arg;
	if (fresh == 0)
		return;
	sim_data_store(fresh, sim_data_load(old));
	pg->pg_frame = fresh;
	frame_release(sp, rg, pg, old);
}

/* Withdraws the pages, does to each what fn says, and lets faults have them back. */
static void
rework(struct space *sp, gpa_t start, gpa_t stop, enum world_count c, page_fn *fn)
{
	struct hostop ho;

	begin(&ho, sp, start, stop, c);
	withdraw(&ho);
	oracle_check_range(sp, start, stop);
	for_pages(&ho.ho_range, fn, NULL);
	give_back(&ho);
}

void
hostop_migrate(struct space *sp, gpa_t start, gpa_t stop)
{
	rework(sp, start, stop, WC_MIGRATE, move_page);
}

static void
drop_page(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	const uint64_t old = pg->pg_frame;

	(void)arg;
	pg->pg_frame = 0;
	pg->pg_content = 0;
	pg->pg_dirty = false;
	pg->pg_noted = false;
	pg->pg_used = false;
	if (old != 0)
		frame_release(sp, rg, pg, old);
}

void
hostop_discard(struct space *sp, gpa_t start, gpa_t stop)
{
	rework(sp, start, stop, WC_DISCARD, drop_page);
}

/* ---- Rights --------------------------------------------------------------------------------- */

static void
lose_rights(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	pg->pg_losing = pg->pg_prot & (uint8_t) ~*(const unsigned int *)arg;
	pg->pg_prot &= (uint8_t) * (const unsigned int *)arg;
}

static void
lost_rights(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	(void)arg;
	pg->pg_losing = 0;
}

void
hostop_protect(struct space *sp, gpa_t start, gpa_t stop)
{
	static const unsigned int prots[] = {PMAP_PROT_RX, PMAP_PROT_RW, PMAP_PROT_R};
	unsigned int prot = prots[sim_choose(SIM_CHOICE_WORKLOAD, 3)];
	struct hostop ho;

	/* Without NX all that is readable is executable. */
	if (!((pmap_fmt(sp->sp_pmap)->pf_prot_ok >> prot) & 1))
		prot = PMAP_PROT_RX;
	begin(&ho, sp, start, stop, WC_PROTECT);
	for_pages(&ho.ho_range, lose_rights, &prot);
	space_revoke(sp);
	must(pmap_protect(sp->sp_pmap, start, stop, prot, &ho.ho_gather), "pmap_protect");

	const bool flushed = finish(&ho);

	space_await_faults(sp);
	judge(&ho, flushed);
	for_pages(&ho.ho_range, lost_rights, NULL);
	end(&ho);
}

static void
widen_page(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	(void)arg;
	pg->pg_prot = PMAP_PROT_RWX;
}

/* Widening changes the owner's mind only; faults bring it into the tables. */
void
hostop_widen(struct space *sp, gpa_t start, gpa_t stop)
{
	struct range ra = {sp, start, stop};

	world_tick(sp->sp_world, WC_WIDEN);
	take_pages(&ra);
	for_pages(&ra, widen_page, NULL);
	give_pages(&ra);
}

/* ---- Accessed and modified ------------------------------------------------------------------ */

static gpa_t
clamp_span(gpa_t start, gpa_t stop)
{
	return stop - start > BITMAP_BYTES_SPAN ? start + BITMAP_BYTES_SPAN : stop;
}

void
hostop_clean(struct space *sp, gpa_t start, gpa_t stop)
{
	uint64_t bitmap[BITMAP_WORDS] = {0};
	struct hostop ho;

	stop = clamp_span(start, stop);
	begin(&ho, sp, start, stop, WC_CLEAN);
	must(pmap_harvest(sp->sp_pmap, start, stop, PMAP_HARVEST_MODIFIED, bitmap, NULL,
			  &ho.ho_gather),
	     "pmap_harvest");
	judge(&ho, finish(&ho));
	oracle_cleaned(sp, start, stop, bitmap);
	end(&ho);
}

void
hostop_clear_modify(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostop ho;

	begin(&ho, sp, start, stop, WC_CLEAR_MODIFY);
	must(pmap_clear_modify(sp->sp_pmap, start, stop, &ho.ho_gather), "pmap_clear_modify");
	judge(&ho, finish(&ho));
	end(&ho);
}

struct used_before {
	gpa_t ub_start;
	uint64_t *ub_bitmap;
};

static void
record_used(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	const struct used_before *ub = arg;
	const gpa_t gpa = rg->rg_base + (gpa_t)(pg - rg->rg_pages) * SIM_PAGE_SIZE;
	const uint64_t bit = (gpa - ub->ub_start) / SIM_PAGE_SIZE;

	(void)sp;
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
	begin(&ho, sp, start, stop, WC_AGE);
	for_pages(&ho.ho_range, record_used, &ub);
	must(pmap_harvest(sp->sp_pmap, start, stop, PMAP_HARVEST_ACCESSED, bitmap, NULL,
			  &ho.ho_gather),
	     "pmap_harvest");
	judge(&ho, finish(&ho));
	oracle_aged(sp, start, stop, bitmap, used);
	end(&ho);
}

static void
forget_used(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	(void)arg;
	pg->pg_used = false;
}

void
hostop_referenced(struct space *sp, gpa_t start, gpa_t stop)
{
	uint64_t referenced;
	struct hostop ho;

	begin(&ho, sp, start, stop, WC_REFERENCED);
	must(pmap_ts_referenced(sp->sp_pmap, start, stop, &referenced, &ho.ho_gather),
	     "pmap_ts_referenced");
	judge(&ho, finish(&ho));
	for_pages(&ho.ho_range, forget_used, NULL);
	end(&ho);
}

static void
ask_dirty(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	(void)arg;
	pg->pg_asked = pg->pg_dirty && !pg->pg_noted;
}

/* A fault that puts a superpage in the place of pages notes them meanwhile. */
static void
count_dirty(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)sp;
	(void)rg;
	*(unsigned int *)arg += pg->pg_asked && pg->pg_dirty && !pg->pg_noted;
}

void
hostop_peek(struct space *sp, gpa_t start, gpa_t stop)
{
	struct range ra = {sp, start, stop};
	unsigned int dirty = 0;
	bool modified;

	world_tick(sp->sp_world, WC_PEEK);
	take_pages(&ra);
	for_pages(&ra, ask_dirty, NULL);
	must(pmap_is_modified(sp->sp_pmap, start, stop, &modified), "pmap_is_modified");
	for_pages(&ra, count_dirty, &dirty);
	sim_invariant_hit(SIM_I25);
	if (dirty != 0 && !modified)
		sim_violation("CK-DIRTY", "I25",
			      "%s: %u written pages, and pmap_is_modified() is false", sp->sp_name,
			      dirty);
	give_pages(&ra);
}

/* ---- Superpages ----------------------------------------------------------------------------- */

void
hostop_promote(struct space *sp, gpa_t start, gpa_t stop)
{
	struct region *const rg = space_region(sp, start);
	struct oracle_tlb_op op;
	struct pmap_gather g;
	int error;

	(void)stop;
	if (rg == NULL)
		return;
	world_tick(sp->sp_world, WC_PROMOTE);
	oracle_tlb_op_begin(&op, pmap_root(sp->sp_pmap));
	pmap_gather_begin(&g, sp->sp_pmap);
	rg->rg_had_super |= rg->rg_super;
	error = pmap_promote(sp->sp_pmap, start, 1, &g);

	const bool deferred = !g.pg_flush && (pmap_flags(sp->sp_pmap) & PMAP_DEFER) != 0;

	pmap_gather_finish(&g);
	space_observe(sp);
	if (deferred)
		oracle_tlb_op_defer(&op);
	else
		oracle_tlb_op_done(&op, rg->rg_base, rg->rg_base + REGION_BYTES);
	if (error == 0)
		world_tick(sp->sp_world, WC_PROMOTED);
	else if (error != -EBUSY && error != -ENOENT && error != -EOPNOTSUPP && error != -ENOMEM)
		must(error, "pmap_promote");
}

void
hostop_demote(struct space *sp, gpa_t start, gpa_t stop)
{
	const struct region *const rg = space_region(sp, start);
	struct oracle_tlb_op op;
	struct pmap_gather g;
	int error;

	(void)stop;
	if (rg == NULL)
		return;
	world_tick(sp->sp_world, WC_DEMOTE);
	oracle_tlb_op_begin(&op, pmap_root(sp->sp_pmap));
	pmap_gather_begin(&g, sp->sp_pmap);
	error = pmap_demote(sp->sp_pmap, start, 1, &g);
	pmap_gather_finish(&g);
	space_observe(sp);
	oracle_tlb_op_done(&op, rg->rg_base, rg->rg_base + REGION_BYTES);
	if (error == 0)
		world_tick(sp->sp_world, WC_DEMOTED);
	else if (error != -ENOENT && error != -ENOMEM)
		must(error, "pmap_demote");
}

/* ---- Ahead of faults ------------------------------------------------------------------------ */

/* Enters one page by decision of the host, as written or as not yet used. */
static int
enter_page(struct space *sp, struct region *rg, struct page *pg, unsigned int access)
{
	const gpa_t gpa = rg->rg_base + (gpa_t)(pg - rg->rg_pages) * SIM_PAGE_SIZE;
	struct pmap_mapping m = {
		.pa_gpa = gpa,
		.pa_prot = pg->pg_prot,
		.pa_access = access & pg->pg_prot,
		.pa_memattr = rg->rg_memattr,
		.pa_wired = pg->pg_wired,
	};

	if (!page_fill(sp, rg, pg))
		return -ENOMEM;
	m.pa_hpa = pg->pg_frame;
	if (m.pa_access & PMAP_PROT_W)
		pg->pg_maydirty = true;

	return pmap_enter(sp->sp_pmap, &m);
}

/* Without memory nothing has changed. */
static void
check_unentered(struct space *sp, const struct region *rg, const struct page *pg)
{
	const gpa_t gpa = rg->rg_base + (gpa_t)(pg - rg->rg_pages) * SIM_PAGE_SIZE;

	sim_invariant_hit(SIM_I40);
	oracle_check_range(sp, gpa, gpa + SIM_PAGE_SIZE);
}

static void
prefault_page(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	if (enter_page(sp, rg, pg, *(const unsigned int *)arg) == -ENOMEM)
		check_unentered(sp, rg, pg);
}

void
hostop_prefault(struct space *sp, gpa_t start, gpa_t stop)
{
	const unsigned int access = sim_choose(SIM_CHOICE_WORKLOAD, 3) != 0 ? PMAP_PROT_RW : 0;
	struct hostop ho;

	begin(&ho, sp, start, stop, WC_PREFAULT);
	for_pages(&ho.ho_range, prefault_page, (void *)(uintptr_t)&access);
	judge(&ho, finish(&ho));
	end(&ho);
}

/* ---- Wiring --------------------------------------------------------------------------------- */

static void
wire_page(struct space *sp, struct region *rg, struct page *pg, void *arg)
{
	(void)arg;
	if (!page_fill(sp, rg, pg))
		return;
	pg->pg_wired = true;
	/* Faults decided before must not undo it. */
	space_revoke(sp);
	if (enter_page(sp, rg, pg, PMAP_PROT_R) != 0) {
		pg->pg_wired = false;
		check_unentered(sp, rg, pg);
	}
}

void
hostop_wire(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostop ho;

	begin(&ho, sp, start, stop, WC_WIRE);
	for_pages(&ho.ho_range, wire_page, NULL);
	judge(&ho, finish(&ho));
	end(&ho);
}

void
hostop_unwire(struct space *sp, gpa_t start, gpa_t stop)
{
	struct hostop ho;

	begin(&ho, sp, start, stop, WC_UNWIRE);
	for_pages(&ho.ho_range, page_unwired, NULL);
	space_revoke(sp);
	must(pmap_unwire(sp->sp_pmap, start, stop), "pmap_unwire");
	judge(&ho, finish(&ho));
	end(&ho);
}

/* ---- Questions, and the rest ---------------------------------------------------------------- */

void
hostop_extract(struct space *sp, gpa_t start, gpa_t stop)
{
	struct range ra = {sp, start, start + SIM_PAGE_SIZE};
	const struct page *const pg = space_page(sp, start);
	struct pmap_leaf leaf;

	(void)stop;
	if (pg == NULL)
		return;
	world_tick(sp->sp_world, WC_EXTRACT);
	take_pages(&ra);
	if (pmap_extract(sp->sp_pmap, start, &leaf) == 0 && !pg->pg_absent) {
		sim_invariant_hit(SIM_I30);
		if (leaf.pl_hpa + (start - leaf.pl_gpa) != pg->pg_frame)
			sim_violation("CK-API", "I30", "%s: pmap_extract() of 0x%llx gives 0x%llx",
				      sp->sp_name, (unsigned long long)start,
				      (unsigned long long)leaf.pl_hpa);
	}
	give_pages(&ra);
}

void
hostop_invalidate(struct space *sp, gpa_t start, gpa_t stop)
{
	struct oracle_tlb_op op;

	world_tick(sp->sp_world, WC_INVALIDATE);
	oracle_tlb_op_begin(&op, pmap_root(sp->sp_pmap));
	switch (sim_choose(SIM_CHOICE_WORKLOAD, 3)) {
	case 0:
		must(pmap_invalidate_page(sp->sp_pmap, start), "pmap_invalidate_page");
		stop = start + SIM_PAGE_SIZE;
		break;
	case 1:
		must(pmap_invalidate_range(sp->sp_pmap, start, stop), "pmap_invalidate_range");
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
	const uint64_t root = pmap_root(sp->sp_pmap);
	const uint64_t ticket = oracle_tlb_drain_begin();

	(void)start;
	(void)stop;
	world_tick(sp->sp_world, WC_DRAIN);
	sp->sp_backlogged = false;
	pmap_drain(sp->sp_pmap);
	space_observe(sp);
	oracle_tlb_drain_done(root, ticket);
}

/* Ranges that make no sense are refused, and an empty one is nothing. */
void
hostop_misuse(struct space *sp, gpa_t start, gpa_t stop)
{
	const gpa_t limit = pmap_fmt(sp->sp_pmap)->pf_limit;
	const struct {
		gpa_t start;
		gpa_t stop;
		int error;
	} rows[] = {
		{start + 1, stop, -EINVAL},
		{start, stop + 8, -EINVAL},
		{stop, start, start == stop ? 0 : -EINVAL},
		{limit - SIM_PAGE_SIZE, limit + SIM_PAGE_SIZE, -EINVAL},
		{start, start, 0},
		{limit, limit, 0},
	};
	const unsigned int row = sim_choose(SIM_CHOICE_WORKLOAD, sizeof(rows) / sizeof(rows[0]));
	struct pmap_gather g;
	int error;

	world_tick(sp->sp_world, WC_MISUSE);
	pmap_gather_begin(&g, sp->sp_pmap);
	switch (sim_choose(SIM_CHOICE_WORKLOAD, 3)) {
	case 0:
		error = pmap_remove(sp->sp_pmap, rows[row].start, rows[row].stop, &g);
		break;
	case 1:
		error = pmap_protect(sp->sp_pmap, rows[row].start, rows[row].stop, PMAP_PROT_RX,
				     &g);
		break;
	default:
		error = pmap_clear_modify(sp->sp_pmap, rows[row].start, rows[row].stop, &g);
		break;
	}
	sim_invariant_hit(SIM_I39);
	if (error != rows[row].error || g.pg_flush || g.pg_deferred)
		sim_violation("CK-API", "I39", "%s: range 0x%llx to 0x%llx gave error %d",
			      sp->sp_name, (unsigned long long)rows[row].start,
			      (unsigned long long)rows[row].stop, -error);
	pmap_gather_finish(&g);
}

static bool
space_unused(void *arg)
{
	const struct space *sp = arg;

	return sp->sp_users == 1; /* the one who waits */
}

/* Destroys the pmap while others want to use it, and makes a new one. */
void
hostop_recreate(struct space *sp, gpa_t start, gpa_t stop)
{
	(void)start;
	(void)stop;
	if (sp->sp_closing || sp == sp->sp_world->wo_kernel)
		return;
	sp->sp_closing = true;
	sim_wait_until("a space to be left by all", space_unused, sp);
	world_tick(sp->sp_world, WC_RECREATE);
	oracle_check_quiet(sp);
	space_close(sp);
	while (space_open(sp) != 0)
		sim_point(SIM_USER, NULL);
	sp->sp_closing = false;
}
