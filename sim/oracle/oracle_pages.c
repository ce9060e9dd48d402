/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the tables and vmspace say of each page, against its ghost: in the middle of everything,
 * after operations, and when all is quiet.
 */

#include "sim/workload/vmop.h"

#include "sim/oracle/invariants.h"

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* What there is to know of a page at one address. */
struct look {
	struct space *lo_space;
	const struct region *lo_region;
	struct page *lo_page;
	gpa_t lo_gpa;
	struct hw_walk lo_walk;
	struct vm_page_info lo_info;
	bool lo_known;	 /* lo_info is there */
	bool lo_steady;	 /* no operation works on the page, or the one that did has done */
	bool lo_settled; /* and nobody reclaims it */
	bool lo_between; /* nobody is in the middle of any operation on tables */
	bool lo_modified;
};

/* ---- Entries -------------------------------------------------------------------------------- */

static void
check_legal(const struct look *lo)
{
	const struct hw_walk *const w = &lo->lo_walk;

	sim_invariant_hit(SIM_I02);
	if (lo->lo_space->sp_cpu.ec_type == PT_EPT)
		sim_invariant_hit(SIM_I03);
	if (w->wk_bad != HW_FINE)
		sim_violation("CK-HW", w->wk_bad == HW_BAD_RESERVED ? "I02" : "I03",
			      "%s: the walk of 0x%llx meets an illegal entry 0x%llx",
			      lo->lo_space->sp_name, ull(lo->lo_gpa),
			      ull(w->wk_entries[w->wk_n - 1]));
}

static void
check_frame(const struct look *lo)
{
	const uint64_t offset = lo->lo_gpa & (pt_level_size(lo->lo_walk.wk_level) - 1);
	const uint64_t frame =
		lo->lo_known ? lo->lo_info.pi_hpa : space_frame(lo->lo_space, lo->lo_gpa);

	if (!lo->lo_known && region_in_doubt(lo->lo_region))
		return;
	sim_invariant_hit(SIM_I30);
	if (lo->lo_walk.wk_hpa + offset != frame)
		sim_violation("CK-WALK", "I30",
			      "%s: 0x%llx is mapped to 0x%llx; its frame is 0x%llx",
			      lo->lo_space->sp_name, ull(lo->lo_gpa),
			      ull(lo->lo_walk.wk_hpa + offset), ull(frame));
}

static void
check_rights(const struct look *lo)
{
	const struct hw_walk *const w = &lo->lo_walk;
	const unsigned int rights = w->wk_rights & (HW_READ | HW_WRITE | HW_EXEC);
	const bool uc = lo->lo_region->rg_memattr == PT_MEMATTR_UC;
	const char *const name = lo->lo_space->sp_name;

	sim_invariant_hit(SIM_I05);
	if ((rights & ~region_rights(lo->lo_region)) != 0)
		sim_violation("CK-WALK", "I05",
			      "%s: 0x%llx is mapped with rights %u; granted is %u", name,
			      ull(lo->lo_gpa), rights, lo->lo_region->rg_prot);
	sim_invariant_hit(SIM_I06);
	if (w->wk_memtype != (uc ? HW_UC : HW_WB))
		sim_violation("CK-WALK", "I06", "%s: 0x%llx is mapped with memory type %u", name,
			      ull(lo->lo_gpa), w->wk_memtype);
	if (lo->lo_space->sp_arch == SIM_ARCH_NPT) {
		sim_invariant_hit(SIM_I04);
		if (!(w->wk_rights & HW_USER) || w->wk_global)
			sim_violation("CK-HW", "I04",
				      "%s: 0x%llx is not a user mapping, or is global", name,
				      ull(lo->lo_gpa));
	}
	if (w->wk_level > 0) {
		sim_invariant_hit(SIM_I07);
		sim_invariant_hit(SIM_I08);
		if ((rights & HW_WRITE) && !w->wk_dirty)
			sim_violation("CK-WALK", "I08", "%s: 0x%llx is a clean writable superpage",
				      name, ull(lo->lo_gpa));
	}
}

/* ---- Who knows that it was written ---------------------------------------------------------- */

/*
 * A page that nobody calls dirty, and that is not in swap, is as it was made: zeros. While
 * somebody is busy with it, it is being made; what is held for writing counts as dirty.
 */
static void
check_clean(const struct look *lo)
{
	const struct vm_page_info *const pi = &lo->lo_info;
	unsigned int word;

	/* What is never paged need not be known to be written. */
	if (lo->lo_region->rg_seg->sg_kind != SEG_SYSMEM || !lo->lo_known || !pi->pi_resident ||
	    pi->pi_dirty || pi->pi_busy || pi->pi_swapped || pi->pi_write_holds != 0 ||
	    lo->lo_modified || lo->lo_page->pg_ghost == NULL ||
	    vmop_device_writes(lo->lo_space, lo->lo_region, false))
		return;
	sim_invariant_hit(SIM_I27);
	static const uint64_t zeros[PAGE_WORDS];

	if (!ghost_equal(lo->lo_page, zeros, &word))
		sim_violation("CK-DIRTY", "I27",
			      "%s: 0x%llx was written at +%u, and is taken for clean",
			      lo->lo_space->sp_name, ull(lo->lo_gpa), 8 * word);
}

static void
check_dirty(const struct look *lo)
{
	const struct page *const pg = lo->lo_page;
	const char *const name = lo->lo_space->sp_name;

	sim_invariant_hit(SIM_I27);
	if (pg->pg_dirty && !pg->pg_noted && !lo->lo_modified)
		sim_violation("CK-DIRTY", "I27", "%s: 0x%llx was written, and nothing shows it",
			      name, ull(lo->lo_gpa));
	check_clean(lo);
	if (!lo->lo_space->sp_log || !lo->lo_known)
		return;
	sim_invariant_hit(SIM_I29);
	if (pg->pg_logdirty && !lo->lo_info.pi_logged && !lo->lo_modified &&
	    lo->lo_info.pi_write_holds == 0 &&
	    !vmop_device_writes(lo->lo_space, lo->lo_region, false))
		sim_violation("CK-DIRTY", "I29",
			      "%s: 0x%llx was written, and the dirty log will not tell", name,
			      ull(lo->lo_gpa));
}

static void
check_wired(const struct look *lo)
{
	if (!lo->lo_region->rg_wired)
		return;
	sim_invariant_hit(SIM_I32);
	/* Under emulation an aged entry is there, but shows nothing to hardware. */
	if (!lo->lo_walk.wk_present && hw_context_has_ad(&lo->lo_space->sp_ctx))
		sim_violation("CK-WALK", "I32", "%s: 0x%llx is wired and not mapped",
			      lo->lo_space->sp_name, ull(lo->lo_gpa));
	if (lo->lo_info.pi_wirings == 0)
		sim_violation("CK-API", "I32", "%s: 0x%llx is wired, and its page is not",
			      lo->lo_space->sp_name, ull(lo->lo_gpa));
}

/*
 * A table may be passed over by those who collect M when nothing in it has M, nor will have before
 * A is set in the entry that leads to it. Between operations that must hold whether or not the page
 * is ever written to, and whoever has set the M: a guest that goes there later sets A by itself,
 * and hides it.
 */
static void
check_passed_over(const struct look *lo)
{
	const struct pt_fmt *const f = pmap_fmt(lo->lo_space->sp_pmap);
	const struct hw_walk *const w = &lo->lo_walk;

	if (f->pf_table_a == 0 || !w->wk_present || w->wk_level != 0)
		return;
	sim_invariant_hit(SIM_I25);

	const uint64_t above = w->wk_entries[w->wk_n - 2];

	if ((above & (f->pf_quiet | f->pf_table_a)) == f->pf_quiet &&
	    (w->wk_entries[w->wk_n - 1] & f->pf_m))
		sim_violation("CK-DIRTY", "I25",
			      "%s: 0x%llx has M, and who collects M will pass its table over",
			      lo->lo_space->sp_name, ull(lo->lo_gpa));
}

void
oracle_check_passed_over(struct space *sp, gpa_t gpa)
{
	struct look lo = {.lo_space = sp, .lo_gpa = gpa};

	if (space_is_faulting_at(sp, gpa) || world_is_inside(sp->sp_world, true))
		return;
	hw_walk_quiet(&sp->sp_ctx, gpa, &lo.lo_walk);
	check_passed_over(&lo);
}

/* ---- One page ------------------------------------------------------------------------------- */

static void
check_page(struct space *sp, const struct region *rg, unsigned int i, bool steady, bool between)
{
	struct look lo = {
		.lo_space = sp,
		.lo_region = rg,
		.lo_page = &rg->rg_seg->sg_pages[rg->rg_first + i],
		.lo_gpa = rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE,
		.lo_steady = steady,
		/* What is being reclaimed is out of the tables before its M is known. */
		.lo_settled = steady && !world_may_reclaim(sp->sp_world),
		.lo_between = between,
	};
	const struct hw_walk *const w = &lo.lo_walk;

	hw_walk_quiet(&sp->sp_ctx, lo.lo_gpa, &lo.lo_walk);
	lo.lo_known = space_page_info(sp, lo.lo_gpa, &lo.lo_info);
	lo.lo_modified =
		w->wk_present &&
		(hw_context_has_ad(&sp->sp_ctx) ? w->wk_dirty : (w->wk_rights & HW_WRITE) != 0);
	/*
	 * Joining and splitting have a page out of the tables for a while, where sizes must not
	 * mix.
	 */
	if (!w->wk_present && (pmap_flags(sp->sp_pmap) & PMAP_MIXED_SIZE_ERRATUM))
		lo.lo_steady = lo.lo_settled = false;
	/* Pageout takes pages that no operation here has: under a table's lock M is on its way. */
	if (sp->sp_world->wo_may_reclaim && sim_locks_held())
		lo.lo_settled = false;
	check_legal(&lo);
	if (lo.lo_settled && rg->rg_seg->sg_kind != SEG_WINDOW)
		check_dirty(&lo);
	/* Nobody reclaims what is wired. */
	if (lo.lo_steady && rg->rg_seg->sg_kind != SEG_WINDOW)
		check_wired(&lo);
	if (lo.lo_between)
		check_passed_over(&lo);
	if (w->wk_present) {
		check_frame(&lo);
		check_rights(&lo);
	}
}

/* own: the caller's operation is the one that works on the pages, and it has done. */
static void
check_pages(struct space *sp, gpa_t start, gpa_t end, bool own)
{
	/* A fault may be putting a superpage in the place of pages, out of sight meanwhile. */
	const bool quiet = !space_is_faulting(sp);
	const bool between = !world_is_inside(sp->sp_world, false);

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *rg = &sp->sp_regions[r];
		const bool still = (quiet || !rg->rg_super) && !sp->sp_log_changing;

		if (rg->rg_absent || rg->rg_base >= end ||
		    rg->rg_base + (gpa_t)rg->rg_npages * SIM_PAGE_SIZE <= start)
			continue;
		for (unsigned int i = 0; i < rg->rg_npages; i++) {
			const gpa_t gpa = rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE;
			const struct page *const pg = &rg->rg_seg->sg_pages[rg->rg_first + i];

			/* A page that nobody ever touched has nothing to show. */
			if (gpa >= start && gpa < end && pg->pg_touched)
				check_page(sp, rg, i,
					   still && (own || !pg->pg_busy) &&
						   (quiet || !space_is_faulting_at(sp, gpa)),
					   between);
		}
	}
}

void
oracle_check_range(struct space *sp, gpa_t start, gpa_t end)
{
	check_pages(sp, start, end, true);
}

/* ---- When all is quiet ---------------------------------------------------------------------- */

/* What is wired in the tables is what the ghosts wired. */
static void
check_wirings(struct space *sp)
{
	struct pmap_stats st;
	uint64_t wired = 0;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		if (sp->sp_regions[r].rg_wired)
			wired += sp->sp_regions[r].rg_npages;
	}
	pmap_stats(sp->sp_pmap, &st);
	sim_invariant_hit(SIM_I32);
	if (st.st_wired_pages != wired)
		sim_violation("CK-WALK", "I32", "%s: %llu pages are wired in the tables, not %llu",
			      sp->sp_name, ull(st.st_wired_pages), ull(wired));
}

static void
check_bytes(struct space *sp, const struct region *rg)
{
	for (unsigned int i = 0; i < rg->rg_npages; i++) {
		const gpa_t gpa = rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE;
		const struct page *const pg = &rg->rg_seg->sg_pages[rg->rg_first + i];
		const uint64_t frame = space_frame(sp, gpa);
		unsigned int word;

		if (frame == 0 || (!pg->pg_touched && i % 64 != 0))
			continue;
		sim_invariant_hit(SIM_I34);
		if (!ghost_equal(pg, sim_frame_bytes(frame), &word))
			sim_violation("CK-API", "I34",
				      "%s: 0x%llx ends with another value than was written",
				      sp->sp_name, ull(gpa + 8 * word));
	}
}

static void
report(const char *check, const char *name, const char *why)
{
	const char invariant[4] = {why[0], why[1], why[2], '\0'};

	sim_violation(check, invariant, "%s: %s", name, why);
}

static void
check_tables(void *arg)
{
	struct space *const sp = arg;
	char why[256];

	sim_invariant_hit(SIM_I01);
	sim_invariant_hit(SIM_I12);
	sim_invariant_hit(SIM_I42);
	sim_invariant_hit(SIM_I47);
	if (pmap_check(sp->sp_pmap, why, sizeof(why)) != 0)
		report("CK-WALK", sp->sp_name, why);
	check_wirings(sp);
}

static void
check_all(void *arg)
{
	struct space *const sp = arg;

	check_pages(sp, 0, ~(gpa_t)0, true);
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		if (!sp->sp_regions[r].rg_absent)
			check_bytes(sp, &sp->sp_regions[r]);
	}
}

/* Takes locks, and time. */
static void
check_vmspace(struct space *sp)
{
	char why[256];

	sim_invariant_hit(SIM_I33);
	sim_invariant_hit(SIM_I35);
	sim_invariant_hit(SIM_I38);
	if (vmspace_check(sp->sp_vs, why, sizeof(why)) != 0)
		report("CK-WALK", sp->sp_name, why);
}

void
oracle_check_quiet(struct space *sp)
{
	sim_aside(check_all, sp);
	/* Whoever looks for memory for another guest may be in the middle of this one. */
	if (sim_in_fiber() && sp->sp_world->wo_may_reclaim)
		return;
	sim_aside(check_tables, sp);
	/* In the driver, oracle_check_system() does that for all of them. */
	if (sim_in_fiber() && sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0)
		check_vmspace(sp);
}

void
oracle_check_system(struct world *w)
{
	char why[256];

	sim_invariant_hit(SIM_I42);
	if (vm_system_check(w->wo_system, why, sizeof(why)) != 0)
		report("CK-WALK", "the system", why);
}

/* Every account is zero when nobody is left. */
void
oracle_check_empty(struct world *w)
{
	struct vm_accounts va;

	vm_system_accounts(w->wo_system, &va);
	sim_invariant_hit(SIM_I43);
	if ((va.va_resident | va.va_wired | va.va_reserved | va.va_devmem | va.va_swapped |
	     va.va_slots | va.va_tables) != 0 ||
	    vm_mem_free(w->wo_system) != vm_mem_total(w->wo_system))
		sim_violation("CK-LEAK", "I43",
			      "without guests: %llu pages, %llu wired, %llu reserved, %llu of "
			      "devices, %llu swapped, %llu slots, %llu tables",
			      ull(va.va_resident), ull(va.va_wired), ull(va.va_reserved),
			      ull(va.va_devmem), ull(va.va_swapped), ull(va.va_slots),
			      ull(va.va_tables));
	oracle_check_system(w);
}

/* ---- In the middle of everything ------------------------------------------------------------ */

/* Between steps. */
static void
audit(void *arg)
{
	struct world *const w = arg;

	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		if (w->wo_spaces[i]->sp_pmap != NULL)
			check_pages(w->wo_spaces[i], 0, ~(gpa_t)0, false);
	}
	oracle_vm_audit(w);
}

void
oracle_audit_every(struct world *w, uint64_t steps)
{
	sim_set_audit_hook(audit, w, steps);
}

void
oracle_hooks(struct world *w)
{
	oracle_audit_every(w, 997);
}
