/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The oracle of vmspace, beyond single pages (oracle_pages.c): holds, devices, maps that are not
 * there, execute control; and when nobody moves, maps, accounts, domains and contents as a whole.
 */

#include "sim/workload/vmop.h"

#include <string.h>

#include "sim/oracle/invariants.h"

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* ---- CK-REF: holds -------------------------------------------------------------------------- */

/* A page that is held keeps its frame and its contents, whatever has become of its guest. */
static void
check_grip(const struct grip *gr)
{
	for (unsigned int i = 0; i < gr->gr_npages; i++) {
		const uint64_t hpa = gr->gr_hold.vh_pages[i].hp_hpa;
		const struct sim_frame *const fr = sim_frame_at(hpa);
		unsigned int word;

		sim_invariant_hit(SIM_I33);
		if (fr->fr_kind != SIM_FRAME_DATA || fr->fr_life != gr->gr_lives[i])
			sim_violation("CK-REF", "I33", "%s: frame 0x%llx is held, and was freed",
				      gr->gr_name, ull(hpa));
		if (!ghost_equal(gr->gr_pages[i], sim_frame_bytes(hpa), &word))
			sim_violation("CK-REF", "I33",
				      "%s: frame 0x%llx is held, and word %u of it is not what was "
				      "written",
				      gr->gr_name, ull(hpa), word);
	}
}

static void
check_grips(const struct world *w)
{
	for (unsigned int i = 0; i < GRIPS; i++) {
		if (w->wo_vmops->vo_grips[i].gr_held)
			check_grip(&w->wo_vmops->vo_grips[i]);
	}
}

/* ---- CK-IOMMU: devices ---------------------------------------------------------------------- */

struct shown {
	struct space *sh_space;
	uint64_t sh_pages;
	bool sh_quiet;
};

static void
check_shown(void *arg, uint64_t gpa, uint64_t hpa, unsigned int prot, bool stale)
{
	struct shown *const sh = arg;
	struct space *const sp = sh->sh_space;
	const struct region *const rg = vmop_slot(sp, gpa);
	struct vm_page_info info;

	sim_invariant_hit(SIM_I37);
	if (rg == NULL || rg->rg_seg->sg_kind != SEG_SYSMEM || !space_page_info(sp, gpa, &info) ||
	    info.pi_wirings == 0 || info.pi_hpa != hpa)
		sim_violation("CK-IOMMU", "I37",
			      "%s: devices reach frame 0x%llx at 0x%llx, which is not wired there",
			      sp->sp_name, ull(hpa), ull(gpa));
	sim_invariant_hit(SIM_I36);
	if ((prot & ~region_rights(rg)) != 0)
		sim_violation("CK-IOMMU", "I36",
			      "%s: devices have rights %u at 0x%llx; granted "
			      "is %u",
			      sp->sp_name, prot, ull(gpa), rg->rg_prot);
	if (sh->sh_quiet && (stale || !rg->rg_wired))
		sim_violation("CK-IOMMU", "I37", "%s: devices still reach 0x%llx", sp->sp_name,
			      ull(gpa));
	/* While a map is being wired its frames change hands one after another. */
	if (rg->rg_wired && !region_page(rg, gpa)->pg_busy && sim_iommu_host_maps(hpa))
		sim_violation("CK-IOMMU", "I37",
			      "%s: frame 0x%llx is a guest's, and in the host's domain",
			      sp->sp_name, ull(hpa));
	sh->sh_pages += !stale;
}

/* Pages that devices of a guest should reach, when nobody moves. */
static uint64_t
wired_pages(const struct space *sp)
{
	uint64_t n = 0;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		if (!rg->rg_absent && rg->rg_wired)
			n += rg->rg_npages;
	}
	return n;
}

static void
check_devices(const struct world *w, bool quiet)
{
	for (unsigned int i = 0; i < SIM_DEVICES; i++) {
		const struct host_iommu *const domain = sim_iommu_of_device(i);
		struct space *const sp = w->wo_vmops->vo_devices[i].dd_space;
		struct shown sh = {sp, 0, quiet};

		if (quiet && (domain != NULL) != (sp != NULL))
			sim_violation("CK-IOMMU", "I37", "device %u is %s", i,
				      sp != NULL ? "not in its guest's domain"
						 : "in the domain of a guest that is not its");
		if (domain == NULL || sp == NULL || sp->sp_vs == NULL ||
		    w->wo_vmops->vo_devices[i].dd_changing)
			continue;
		sim_iommu_foreach(domain, check_shown, &sh);
		if (quiet && sh.sh_pages != wired_pages(sp))
			sim_violation("CK-IOMMU", "I37",
				      "%s: devices reach %llu pages; %llu are wired", sp->sp_name,
				      ull(sh.sh_pages), ull(wired_pages(sp)));
	}
}

/* ---- Places and tables ---------------------------------------------------------------------- */

/* Nothing is mapped where no map is; where one is, a superpage obeys execute control. */
static void
check_place(struct space *sp, const struct region *rg, gpa_t gpa)
{
	struct hw_walk w;

	hw_walk_quiet(&sp->sp_ctx, gpa, &w);
	if (rg->rg_absent) {
		sim_invariant_hit(SIM_I31);
		if (w.wk_present)
			sim_violation("CK-REF", "I31",
				      "%s: 0x%llx is mapped to 0x%llx, and no map shows it",
				      sp->sp_name, ull(gpa), ull(w.wk_hpa));
		return;
	}
	if (sp->sp_nx && !sp->sp_nx_changing && w.wk_present) {
		sim_invariant_hit(SIM_I11);
		if (w.wk_level > 0 && (w.wk_rights & HW_EXEC) != 0)
			sim_violation("CK-HW", "I11", "%s: 0x%llx is an executable superpage",
				      sp->sp_name, ull(gpa));
	}
	if (rg->rg_seg->sg_kind == SEG_ROM) {
		sim_invariant_hit(SIM_I36);
		if (w.wk_present && (w.wk_rights & HW_WRITE) != 0)
			sim_violation("CK-API", "I36", "%s: the boot ROM is writable at 0x%llx",
				      sp->sp_name, ull(gpa));
	}
}

/* Whether the walk of a page ends at this word, so that what is written there maps the page. */
static bool
leads_to(const struct space *sp, gpa_t gpa, uint64_t word)
{
	struct hw_walk w;

	hw_walk_quiet(&sp->sp_ctx, gpa, &w);
	return w.wk_n != 0 && w.wk_where[w.wk_n - 1] == word;
}

/*
 * CK-REF, at the instant of the write: when unmapping has returned, no fault that was decided
 * before is still on its way.
 */
void
oracle_vm_installing(struct space *sp, const struct sim_table_write *tw)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];
		gpa_t gpa = rg->rg_base;

		for (; rg->rg_absent && gpa < region_end(rg); gpa += SIM_PAGE_SIZE) {
			if (!region_page(rg, gpa)->pg_touched)
				continue;
			sim_invariant_hit(SIM_I31);
			if (leads_to(sp, gpa, tw->tw_hpa))
				sim_violation(
					"CK-REF", "I31",
					"%s: 0x%llx is being mapped, where no map is any more",
					sp->sp_name, ull(gpa));
		}
	}
}

/*
 * CK-WALK, at the instant of the write: what is wired stays in the tables, and not only in the end.
 * A fault that takes it out may put it back at once, before anybody looks. Superpages may be out of
 * sight while they are joined or split.
 */
void
oracle_vm_removing(struct space *sp, const struct sim_table_write *tw)
{
	for (unsigned int r = 0; r < sp->sp_nregions && !sp->sp_closing; r++) {
		const struct region *const rg = &sp->sp_regions[r];
		gpa_t gpa = rg->rg_base;

		if (!rg->rg_wired || rg->rg_absent || rg->rg_super)
			continue;
		for (; gpa < region_end(rg); gpa += SIM_PAGE_SIZE) {
			if (region_page(rg, gpa)->pg_busy)
				continue;
			sim_invariant_hit(SIM_I32);
			if (leads_to(sp, gpa, tw->tw_hpa))
				sim_violation("CK-WALK", "I32",
					      "%s: 0x%llx is wired, and taken out of the tables",
					      sp->sp_name, ull(gpa));
		}
	}
}

static bool
has_contents(const struct page *pg)
{
	static const uint64_t zeros[PAGE_WORDS];
	unsigned int word;

	return pg->pg_ghost != NULL && !pg->pg_discarding && !ghost_equal(pg, zeros, &word);
}

/* Device memory that has contents is in memory, and nowhere else. */
static void
check_unpaged(struct space *sp, const struct region *rg, gpa_t gpa)
{
	const struct page *const pg = region_page(rg, gpa);
	struct vm_page_info info;

	if (rg->rg_absent ||
	    (rg->rg_seg->sg_kind != SEG_ROM && rg->rg_seg->sg_kind != SEG_FRAMEBUFFER) ||
	    !space_page_info(sp, gpa, &info))
		return;
	sim_invariant_hit(SIM_I35);
	if (info.pi_swapped || (!info.pi_resident && !info.pi_busy && has_contents(pg)))
		sim_violation("CK-API", "I35", "%s: devices' memory at 0x%llx was paged out",
			      sp->sp_name, ull(gpa));
}

static void
check_places(struct space *sp)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		for (gpa_t gpa = rg->rg_base; gpa < region_end(rg); gpa += SIM_PAGE_SIZE) {
			if (!region_page(rg, gpa)->pg_touched)
				continue;
			check_place(sp, rg, gpa);
			check_unpaged(sp, rg, gpa);
		}
	}
}

void
oracle_vm_audit(struct world *w)
{
	check_grips(w);
	check_devices(w, false);
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		if (w->wo_spaces[i]->sp_vs != NULL)
			check_places(w->wo_spaces[i]);
	}
}

/* ---- Nobody moves --------------------------------------------------------------------------- */

/* The next region at or after `at` that vm_mmap_getnext() must tell of. */
static const struct region *
next_region(const struct space *sp, gpa_t at)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		if (!rg->rg_absent && rg->rg_seg->sg_kind != SEG_WINDOW && rg->rg_base >= at)
			return rg;
	}
	return NULL;
}

/* CK-API: the maps, one after another, are the ghosts'. */
static void
check_maps(struct space *sp)
{
	const bool devices = vmop_has_devices(sp);
	struct vm_memmap m;
	gpa_t at = 0;

	for (;;) {
		const struct region *const rg = next_region(sp, at);
		const bool found = vm_mmap_getnext(sp->sp_vs, at, &m) == 0;
		unsigned int flags;

		sim_invariant_hit(SIM_I38);
		if (found != (rg != NULL))
			sim_violation("CK-API", "I38", "%s: from 0x%llx on there is %s map",
				      sp->sp_name, ull(at), found ? "a" : "no");
		if (!found)
			return;
		flags = rg->rg_wired ? VM_MEMMAP_F_WIRED | (devices ? VM_MEMMAP_F_IOMMU : 0) : 0;
		if (m.vp_gpa != rg->rg_base || m.vp_len_bytes != region_end(rg) - rg->rg_base ||
		    m.vp_ident != rg->rg_seg->sg_ident ||
		    m.vp_offset_bytes != (uint64_t)rg->rg_first * SIM_PAGE_SIZE ||
		    m.vp_prot != rg->rg_prot || m.vp_flags != flags)
			sim_violation("CK-API", "I38",
				      "%s: the map at 0x%llx is not the one that was made: 0x%llx, "
				      "rights %u, flags %u",
				      sp->sp_name, ull(rg->rg_base), ull(m.vp_gpa), m.vp_prot,
				      m.vp_flags);
		at = region_end(rg);
	}
}

/* Found by each address inside, and by none beside. */
static void
check_edges(struct space *sp)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];
		const bool pages = !rg->rg_absent && rg->rg_seg->sg_kind != SEG_WINDOW;
		struct vm_page_info info;

		sim_invariant_hit(SIM_I38);
		if (space_page_info(sp, rg->rg_base, &info) != pages ||
		    space_page_info(sp, region_end(rg) - 1, &info) != pages)
			sim_violation("CK-API", "I38", "%s: the map at 0x%llx is %s at its edges",
				      sp->sp_name, ull(rg->rg_base), pages ? "not found" : "found");
		if (vmop_slot(sp, region_end(rg)) == NULL &&
		    space_page_info(sp, region_end(rg), &info))
			sim_violation("CK-API", "I38", "%s: the map at 0x%llx goes on at its end",
				      sp->sp_name, ull(rg->rg_base));
	}
}

/* CK-MEM: what the accounts say is what the pages say, as far as ghosts can see them all. */
static void
check_accounts(struct space *sp)
{
	struct vm_accounts va;
	uint64_t resident = 0;
	uint64_t swapped = 0;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		if (rg->rg_seg->sg_kind != SEG_SYSMEM)
			continue;
		if (rg->rg_absent)
			return; /* its pages cannot be asked for */
		for (gpa_t gpa = rg->rg_base; gpa < region_end(rg); gpa += SIM_PAGE_SIZE) {
			struct vm_page_info info;

			if (!space_page_info(sp, gpa, &info))
				return;
			resident += info.pi_resident;
			swapped += !info.pi_resident && info.pi_swapped;
		}
	}
	vmspace_accounts(sp->sp_vs, &va);
	sim_invariant_hit(SIM_I42);
	/* Held pages of segments that are gone are in the account, too. */
	if (va.va_resident < resident || va.va_swapped < swapped ||
	    (!sp->sp_renewed && (va.va_resident != resident || va.va_swapped != swapped)))
		sim_violation("CK-MEM", "I42",
			      "%s: %llu pages are in memory and %llu in swap; the accounts say "
			      "%llu and %llu",
			      sp->sp_name, ull(resident), ull(swapped), ull(va.va_resident),
			      ull(va.va_swapped));
}

static void
complain(const char *name, const char *why)
{
	const char id[4] = {why[0], why[1], why[2], '\0'};
	const struct sim_invariant_info *const info = sim_invariant_by_id(id);

	sim_violation(info != NULL ? info->check : "CK-API", id, "%s: %s", name, why);
}

static void
look_at_system(void *arg)
{
	struct world *const w = arg;
	char why[256];

	sim_invariant_hit(SIM_I42);
	sim_invariant_hit(SIM_I33);
	sim_invariant_hit(SIM_I35);
	if (vm_system_check(w->wo_system, why, sizeof(why)) != 0)
		complain("the system", why);
}

static void
look_at_all(void *arg)
{
	struct world *const w = arg;

	check_grips(w);
	check_devices(w, true);
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		struct space *const sp = w->wo_spaces[i];

		if (sp->sp_vs == NULL)
			continue;
		check_places(sp);
		check_maps(sp);
		check_edges(sp);
		check_accounts(sp);
	}
}

void
oracle_vm_quiet(struct world *w)
{
	/* In the driver, that has just been done: oracle_check_system(). */
	if (sim_in_fiber())
		sim_aside(look_at_system, w);
	sim_aside(look_at_all, w);
}

/* ---- At the end ----------------------------------------------------------------------------- */

#define READ_TRIES 50

/* Reads a page as the host does, by segment: from swap, if it is there. */
static void
read_back(struct space *sp, const struct seg *sg, unsigned int i)
{
	struct page *const pg = &sg->sg_pages[i];
	struct page *const pages[] = {pg};
	uint64_t words[PAGE_WORDS];
	unsigned int tries = 0;
	struct vm_hold hold;
	int error;

	/* Injected failures end sometime; where nothing can be paged out a page may wait. */
	do {
		error = vm_memseg_hold(sp->sp_vs, sg->sg_ident, (uint64_t)i * SIM_PAGE_SIZE,
				       SIM_PAGE_SIZE, PMAP_PROT_R, &hold);
	} while (error != 0 && vmop_excused(error) && ++tries < READ_TRIES);
	if (error != 0 && tries == READ_TRIES)
		return;
	if (error != 0)
		sim_violation("CK-API", "I34", "%s: page %u of segment %d cannot be read: %d",
			      sp->sp_name, i, sg->sg_ident, -error);
	vmop_follow(sp->sp_world, pages, 1, 0, "CK-DIRTY", "I34", sp->sp_name);
	vm_hold_read(&hold, 0, words, sizeof(words));
	vmop_unfollow(sp->sp_world);
	sim_invariant_hit(SIM_I34);
	vm_gpa_release(&hold);
}

void
oracle_vm_read_back(struct world *w)
{
	vmop_release_all(w);
	for (unsigned int s = 0; s < w->wo_nspaces; s++) {
		struct space *const sp = w->wo_spaces[s];

		for (unsigned int g = 0; g < sp->sp_nsegs; g++) {
			const struct seg *const sg = &sp->sp_segs[g];

			for (unsigned int i = 0; sg->sg_kind != SEG_WINDOW && i < sg->sg_npages;
			     i++) {
				if (sg->sg_pages[i].pg_ghost != NULL)
					read_back(sp, sg, i);
			}
		}
	}
}
