/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the ghosts know against what the core did. Each check names the invariant that it holds
 * (docs/INVARIANTS.md) and counts every time that it really compared something.
 */

#include "sim/world.h"

#include <string.h>

#include "sim/invariants.h"

#define PAGE_OF(gpa) ((gpa) & ~(uint64_t)(SIM_PAGE_SIZE - 1))

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* What the page's tables say now, to hardware. */
static void
walk(const struct space *sp, gpa_t gpa, struct hw_walk *w)
{
	hw_walk_quiet(&sp->sp_ctx, gpa, w);
}

/* Modified, as the tables show it: D, or hardware's right to write where D is emulated. */
static bool
is_modified_now(const struct space *sp, const struct hw_walk *w)
{
	if (!w->wk_present)
		return false;
	return hw_context_has_ad(&sp->sp_ctx) ? w->wk_dirty : (w->wk_rights & HW_WRITE) != 0;
}

static bool
is_used_now(const struct space *sp, const struct hw_walk *w)
{
	if (!w->wk_present)
		return false;
	return !hw_context_has_ad(&sp->sp_ctx) || w->wk_accessed;
}

/* ---- Accesses ------------------------------------------------------------------------------- */

void
oracle_access_begin(struct space *sp, gpa_t gpa, unsigned int access)
{
	struct page *pg = space_page(sp, gpa);

	if (pg == NULL || !(access & PMAP_PROT_W))
		return;
	pg->pg_writers++;
	pg->pg_maydirty = true;
}

void
oracle_access_failed(struct space *sp, gpa_t gpa, unsigned int access)
{
	struct page *pg = space_page(sp, gpa);

	if (pg != NULL && (access & PMAP_PROT_W))
		pg->pg_writers--;
}

/* The access and its judgment are one instant: no scheduling point lies between. */
void
oracle_access_done(struct space *sp, gpa_t gpa, unsigned int access, const struct hw_translation *t)
{
	struct world *const w = sp->sp_world;
	struct region *const rg = space_region(sp, gpa);
	struct page *const pg = space_page(sp, gpa);

	if (pg == NULL || pg->pg_frame == 0)
		sim_violation("CK-TLB", "I14",
			      "%s: access to 0x%llx, where nothing is, reached 0x%llx", sp->sp_name,
			      ull(gpa), ull(t->ht_hpa));
	/* Spaces share no frame: what is reached under a tag of another one shows here, too. */
	if (t->ht_cached)
		sim_invariant_hit(SIM_I18);
	sim_invariant_hit(SIM_I30);
	if (PAGE_OF(t->ht_hpa) != pg->pg_frame)
		sim_violation("CK-TLB", "I14",
			      "%s: access to 0x%llx reached frame 0x%llx, not 0x%llx", sp->sp_name,
			      ull(gpa), ull(PAGE_OF(t->ht_hpa)), ull(pg->pg_frame));
	sim_invariant_hit(SIM_I05);
	if ((access & ~(unsigned int)(pg->pg_prot | pg->pg_losing)) != 0)
		sim_violation("CK-API", "I05",
			      "%s: access %u to 0x%llx was let through; granted is %u", sp->sp_name,
			      access, ull(gpa), pg->pg_prot);
	sim_invariant_hit(SIM_I06);
	if (t->ht_memtype != (rg->rg_memattr == PT_MEMATTR_UC ? HW_UC : HW_WB))
		sim_violation("CK-API", "I06", "%s: 0x%llx was accessed with memory type %u",
			      sp->sp_name, ull(gpa), t->ht_memtype);
	sim_invariant_hit(SIM_I09);
	if (sim_data_load(PAGE_OF(t->ht_hpa)) != pg->pg_content)
		sim_violation("CK-API", "I09", "%s: 0x%llx holds 0x%llx where 0x%llx was written",
			      sp->sp_name, ull(gpa), ull(sim_data_load(PAGE_OF(t->ht_hpa))),
			      ull(pg->pg_content));
	pg->pg_used = true;
	if (access & PMAP_PROT_W) {
		pg->pg_content = ++w->wo_next_content;
		sim_data_store(PAGE_OF(t->ht_hpa), pg->pg_content);
		pg->pg_dirty = true;
		pg->pg_writers--;
	}
	world_tick(w, (access & PMAP_PROT_W)   ? WC_WRITES
		      : (access & PMAP_PROT_X) ? WC_FETCHES
					       : WC_READS);
}

/* ---- Accessed and modified ------------------------------------------------------------------ */

void
oracle_note(void *arg, const struct pmap_leaf *leaf)
{
	struct space *const sp = arg;
	const gpa_t end = leaf->pl_gpa + pt_level_size(leaf->pl_level);

	for (gpa_t gpa = leaf->pl_gpa; gpa < end; gpa += SIM_PAGE_SIZE) {
		const struct region *rg = space_region(sp, gpa);
		struct page *pg = space_page(sp, gpa);

		if (pg == NULL)
			continue;
		sim_invariant_hit(SIM_I26);
		if (leaf->pl_modified && !rg->rg_had_super && !pg->pg_maydirty)
			sim_violation("CK-DIRTY", "I26",
				      "%s: 0x%llx was noted as modified, unwritten", sp->sp_name,
				      ull(gpa));
		pg->pg_noted |= leaf->pl_modified;
		pg->pg_noted_used |= leaf->pl_accessed;
	}
}

static bool
in_bitmap(const uint64_t *bitmap, gpa_t start, gpa_t gpa)
{
	const uint64_t bit = (gpa - start) / SIM_PAGE_SIZE;

	return bitmap != NULL && (bitmap[bit / 64] >> bit % 64 & 1) != 0;
}

void
oracle_cleaned(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap)
{
	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		const struct region *rg = space_region(sp, gpa);
		struct page *pg = space_page(sp, gpa);
		const bool told = in_bitmap(bitmap, start, gpa);
		struct hw_walk w;

		if (pg == NULL)
			continue;
		walk(sp, gpa, &w);

		const bool now = is_modified_now(sp, &w);

		sim_invariant_hit(SIM_I25);
		if (pg->pg_dirty && !told && !pg->pg_noted && !now)
			sim_violation("CK-DIRTY", "I25",
				      "%s: 0x%llx was written, and cleaning it did not tell",
				      sp->sp_name, ull(gpa));
		if (told && !rg->rg_had_super && !pg->pg_maydirty)
			sim_violation("CK-DIRTY", "I26",
				      "%s: 0x%llx was reported modified, unwritten", sp->sp_name,
				      ull(gpa));
		/* All up to now is told. What the tables still show will be told again. */
		pg->pg_dirty = now && pg->pg_dirty;
		pg->pg_maydirty = now || pg->pg_writers != 0;
		pg->pg_noted = false;
	}
}

void
oracle_aged(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap,
	    const uint64_t *used_before)
{
	const bool deferred = (pmap_flags(sp->sp_pmap) & PMAP_DEFER) != 0;

	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		const struct region *rg = space_region(sp, gpa);
		struct page *pg = space_page(sp, gpa);
		struct hw_walk w;

		if (pg == NULL)
			continue;
		walk(sp, gpa, &w);
		sim_invariant_hit(SIM_I28);
		/* With deferral a translation may serve on without A; superpages age as one. */
		if (in_bitmap(used_before, start, gpa) && !in_bitmap(bitmap, start, gpa) &&
		    !pg->pg_noted_used && !is_used_now(sp, &w) && !deferred && !rg->rg_had_super)
			sim_violation("CK-ACC", "I28",
				      "%s: 0x%llx was used, and aging did not see it", sp->sp_name,
				      ull(gpa));
		pg->pg_used = false;
		pg->pg_noted_used = false;
	}
}

/* ---- What the tables say -------------------------------------------------------------------- */

/* settled: no operation works on the page, or the one that did has done. */
static void
check_page(struct space *sp, const struct region *rg, const struct page *pg, gpa_t gpa,
	   bool settled)
{
	struct hw_walk w;

	walk(sp, gpa, &w);
	/*
	 * Joining and splitting have a page out of the tables for a while, where sizes must not
	 * mix.
	 */
	if (!w.wk_present && (pmap_flags(sp->sp_pmap) & PMAP_MIXED_SIZE_ERRATUM))
		settled = false;
	sim_invariant_hit(SIM_I02);
	if (sp->sp_cpu.ec_type == PT_EPT)
		sim_invariant_hit(SIM_I03);
	if (w.wk_bad != HW_FINE)
		sim_violation("CK-HW", w.wk_bad == HW_BAD_RESERVED ? "I02" : "I03",
			      "%s: the walk of 0x%llx meets an illegal entry 0x%llx", sp->sp_name,
			      ull(gpa), ull(w.wk_entries[w.wk_n - 1]));
	sim_invariant_hit(SIM_I27);
	if (settled && pg->pg_dirty && !pg->pg_noted && !is_modified_now(sp, &w))
		sim_violation("CK-DIRTY", "I27", "%s: 0x%llx was written, and nothing shows it",
			      sp->sp_name, ull(gpa));
	/* Under emulation an aged entry is there, but shows nothing to hardware. */
	if (settled && pg->pg_wired && hw_context_has_ad(&sp->sp_ctx)) {
		sim_invariant_hit(SIM_I32);
		if (!w.wk_present)
			sim_violation("CK-WALK", "I32", "%s: 0x%llx is wired and not mapped",
				      sp->sp_name, ull(gpa));
	}
	if (!w.wk_present || pg->pg_absent)
		return;

	const uint64_t offset = gpa & (pt_level_size(w.wk_level) - 1);
	const unsigned int rights = w.wk_rights & (HW_READ | HW_WRITE | HW_EXEC);

	sim_invariant_hit(SIM_I05);
	if (w.wk_hpa + offset != pg->pg_frame)
		sim_violation("CK-WALK", "I30",
			      "%s: 0x%llx is mapped to 0x%llx; its frame is 0x%llx", sp->sp_name,
			      ull(gpa), ull(w.wk_hpa + offset), ull(pg->pg_frame));
	if ((rights & ~(unsigned int)(pg->pg_prot | pg->pg_losing)) != 0)
		sim_violation("CK-WALK", "I05",
			      "%s: 0x%llx is mapped with rights %u; granted is %u", sp->sp_name,
			      ull(gpa), rights, pg->pg_prot);
	sim_invariant_hit(SIM_I06);
	if (w.wk_memtype != (rg->rg_memattr == PT_MEMATTR_UC ? HW_UC : HW_WB))
		sim_violation("CK-WALK", "I06", "%s: 0x%llx is mapped with memory type %u",
			      sp->sp_name, ull(gpa), w.wk_memtype);
	if (sp->sp_arch == SIM_ARCH_NPT) {
		sim_invariant_hit(SIM_I04);
		if (!(w.wk_rights & HW_USER) || w.wk_global)
			sim_violation("CK-HW", "I04",
				      "%s: 0x%llx is not a user mapping, or is global", sp->sp_name,
				      ull(gpa));
	}
	if (w.wk_level > 0) {
		sim_invariant_hit(SIM_I07);
		sim_invariant_hit(SIM_I08);
		if ((rights & HW_WRITE) && !w.wk_dirty)
			sim_violation("CK-WALK", "I08", "%s: 0x%llx is a clean writable superpage",
				      sp->sp_name, ull(gpa));
	}
}

/* A fault may be putting a superpage in the place of pages, which are out of sight meanwhile. */
static bool
is_faulting(const struct space *sp)
{
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++) {
		const struct cpu *cp = &sp->sp_world->wo_cpus[cpu];

		if ((cp->cp_faults & 1) != 0 && cp->cp_fault_space == sp)
			return true;
	}
	return false;
}

static void
check_pages(struct space *sp, gpa_t start, gpa_t end, bool own)
{
	const bool quiet = !is_faulting(sp);

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *rg = &sp->sp_regions[r];

		for (unsigned int i = 0; i < rg->rg_npages; i++) {
			const gpa_t gpa = rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE;

			/* A page that nobody ever touched has nothing to show. */
			if (gpa >= start && gpa < end && rg->rg_pages[i].pg_frame != 0)
				check_page(sp, rg, &rg->rg_pages[i], gpa,
					   (quiet || !rg->rg_super) &&
						   (own || !rg->rg_pages[i].pg_busy));
		}
	}
}

void
oracle_check_range(struct space *sp, gpa_t start, gpa_t end)
{
	check_pages(sp, start, end, true);
}

/* What is wired in the tables is what the owner wired. */
static void
check_wired(struct space *sp)
{
	struct pmap_stats st;
	uint64_t wired = 0;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		for (unsigned int i = 0; i < sp->sp_regions[r].rg_npages; i++)
			wired += sp->sp_regions[r].rg_pages[i].pg_wired;
	}
	pmap_stats(sp->sp_pmap, &st);
	sim_invariant_hit(SIM_I32);
	if (st.st_wired_pages != wired)
		sim_violation("CK-WALK", "I32", "%s: %llu pages are wired in the tables, not %llu",
			      sp->sp_name, ull(st.st_wired_pages), ull(wired));
}

void
oracle_check_quiet(struct space *sp)
{
	char why[256];

	sim_invariant_hit(SIM_I01);
	sim_invariant_hit(SIM_I12);
	sim_invariant_hit(SIM_I42);
	sim_invariant_hit(SIM_I47);
	if (pmap_check(sp->sp_pmap, why, sizeof(why)) != 0) {
		char invariant[4] = {why[0], why[1], why[2], '\0'};

		sim_violation("CK-WALK", invariant, "%s: %s", sp->sp_name, why);
	}
	check_wired(sp);
	oracle_check_range(sp, 0, ~(gpa_t)0);
}

/* ---- Writes to tables ----------------------------------------------------------------------- */

/* CK-ATOM: hardware may write a present entry at any time; nobody else may write it plainly. */
static void
check_write(const struct space *sp, const struct sim_table_write *tw)
{
	const bool ad = hw_context_has_ad(&sp->sp_ctx);
	const bool ept = sp->sp_cpu.ec_type == PT_EPT;
	/* From the manuals: A and D are bits 5 and 6 of ordinary, 8 and 9 of EPT entries; where EPT
	 * has neither, the core uses R and W in their place. */
	const uint64_t a = !ept ? 0x20 : ad ? 0x100 : 1;
	const uint64_t d = !ept ? 0x40 : ad ? 0x200 : 2;

	if (tw->tw_old == 0 || tw->tw_old == tw->tw_new)
		return;
	if ((tw->tw_old & (a | d)) == (a | d) && tw->tw_new == (tw->tw_old & ~d))
		return;
	sim_violation("CK-ATOM", "I13",
		      "%s: table word 0x%llx was changed from 0x%llx to 0x%llx by a plain store",
		      sp->sp_name, ull(tw->tw_hpa), ull(tw->tw_old), ull(tw->tw_new));
}

/* Frame numbers lie below bit 52 in every format; above are rights and software's own bits. */
static struct sim_frame *
frame_of_entry(uint64_t entry)
{
	return sim_frame_at(entry & ((UINT64_C(1) << 52) - SIM_PAGE_SIZE));
}

/* A table, and what was built below it in private, becomes part of a space's tree. */
static void
link_tables(uint64_t hpa, uint64_t owner)
{
	sim_frame_at(hpa)->fr_owner = owner;
	for (unsigned int i = 0; i < SIM_TABLE_WORDS; i++) {
		uint64_t entry;

		if (!sim_phys_peek(hpa + i * 8u, &entry) || entry == 0)
			continue;

		const struct sim_frame *const child = frame_of_entry(entry);

		if (child != NULL && child->fr_kind == SIM_FRAME_TABLE && child->fr_owner == 0)
			link_tables(entry & ((UINT64_C(1) << 52) - SIM_PAGE_SIZE), owner);
	}
}

/* Which space a table frame belongs to, counted from 1; 0 while it is private. */
static uint64_t
table_owner(const struct world *w, uint64_t hpa)
{
	const struct sim_frame *const fr = sim_frame_at(hpa);

	for (unsigned int i = 0; i < w->wo_nspaces && fr->fr_owner == 0; i++) {
		if (w->wo_spaces[i]->sp_pmap != NULL && pmap_root(w->wo_spaces[i]->sp_pmap) == hpa)
			return i + 1;
	}
	return fr->fr_owner;
}

static void
table_written(void *arg, const struct sim_table_write *tw)
{
	const struct world *const w = arg;
	const uint64_t owner = table_owner(w, PAGE_OF(tw->tw_hpa));
	const struct sim_frame *const child = frame_of_entry(tw->tw_new);

	oracle_tlb_write(tw);
	if (owner == 0)
		return;
	if (tw->tw_how == SIM_WRITE_PRIVATE)
		sim_violation("CK-ATOM", "I01", "table 0x%llx is filled while it is linked",
			      ull(PAGE_OF(tw->tw_hpa)));
	sim_invariant_hit(SIM_I13);
	if (tw->tw_how == SIM_WRITE_PLAIN)
		check_write(w->wo_spaces[owner - 1], tw);
	if (child != NULL && child->fr_kind == SIM_FRAME_TABLE && child->fr_owner == 0)
		link_tables(tw->tw_new & ((UINT64_C(1) << 52) - SIM_PAGE_SIZE), owner);
}

/*
 * A root that is free may be the next space's in a moment: here its pmap ends for the TLB's oracle.
 */
static void
root_freed(struct space *sp)
{
	oracle_tlb_forget(sp->sp_dying_root);
	sp->sp_dying_root = 0;
}

static void
frame_freed(void *arg, uint64_t hpa, enum sim_frame_kind kind)
{
	const struct world *const w = arg;

	(void)kind;
	oracle_tlb_frame_freed(hpa);
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		if (w->wo_spaces[i]->sp_dying_root == PAGE_OF(hpa))
			root_freed(w->wo_spaces[i]);
	}
}

/* Between steps: everything, as it is in the middle of everything. */
static void
audit(void *arg)
{
	struct world *const w = arg;

	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		if (w->wo_spaces[i]->sp_pmap != NULL)
			check_pages(w->wo_spaces[i], 0, ~(gpa_t)0, false);
	}
}

void
oracle_audit_every(struct world *w, uint64_t steps)
{
	sim_set_audit_hook(audit, w, steps);
}

void
oracle_hooks(struct world *w)
{
	sim_set_write_hook(table_written, w);
	sim_set_free_hook(frame_freed, w);
	oracle_audit_every(w, 997);
}
