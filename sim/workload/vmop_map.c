/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Maps and segments that come and go while vCPUs run: a device's memory is moved to another
 * address, a guest is reset, segments are made anew while the old one is still held.
 */

#include "sim/workload/vmop.h"

#include <errno.h>

#include "sim/oracle/invariants.h"

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* ---- Pages of a segment --------------------------------------------------------------------- */

struct pages {
	struct seg *pa_seg;
	unsigned int pa_first;
	unsigned int pa_n;
};

static bool
pages_free(void *arg)
{
	const struct pages *const pa = arg;

	for (unsigned int i = 0; i < pa->pa_n; i++) {
		if (pa->pa_seg->sg_pages[pa->pa_first + i].pg_busy)
			return false;
	}
	return true;
}

static void
pages_set(const struct pages *pa, bool busy)
{
	for (unsigned int i = 0; i < pa->pa_n; i++)
		pa->pa_seg->sg_pages[pa->pa_first + i].pg_busy = busy;
}

static void
pages_take(struct pages *pa)
{
	sim_wait_until("pages that another operation works on", pages_free, pa);
	pages_set(pa, true);
}

static struct pages
pages_of(const struct region *rg)
{
	return (struct pages){rg->rg_seg, rg->rg_first, rg->rg_npages};
}

/* ---- One map -------------------------------------------------------------------------------- */

/* From here on a region grants nothing for sure, and may let `prot` through. */
static void
region_unsettle(struct region *rg, unsigned int prot)
{
	rg->rg_changes++;
	rg->rg_absent = false;
	rg->rg_wired = false;
	rg->rg_prot = 0;
	rg->rg_losing = (uint8_t)prot;
}

static void
region_settled(struct region *rg, unsigned int prot, bool wired)
{
	rg->rg_changes++;
	rg->rg_absent = prot == 0;
	rg->rg_wired = wired;
	rg->rg_prot = (uint8_t)prot;
	rg->rg_losing = 0;
}

/* The pages are taken. Takes the map away; false if that was not to be. */
static bool
unmap_region(struct space *sp, struct region *rg)
{
	const unsigned int prot = rg->rg_prot;
	const bool wired = rg->rg_wired;
	bool device = vmop_has_devices(sp);
	const uint64_t len = region_end(rg) - rg->rg_base;
	struct oracle_tlb_op op;
	int error;

	region_unsettle(rg, prot);
	space_op_begin(sp, &op);
	error = rg->rg_seg->sg_kind == SEG_WINDOW ? vm_unmap_mmio(sp->sp_vs, rg->rg_base, len)
						  : vm_munmap_memseg(sp->sp_vs, rg->rg_base, len);
	sim_invariant_hit(SIM_I40);
	device |= vmop_has_devices(sp);
	if (error != 0 && !vmop_excused(error) && !(error == -EINVAL && wired && device))
		sim_violation("CK-API", "I40", "%s: unmapping of 0x%llx ends with error %d",
			      sp->sp_name, ull(rg->rg_base), -error);
	region_settled(rg, error == 0 ? 0 : prot, error != 0 && wired);
	space_op_end(sp, &op, rg->rg_base, region_end(rg));
	vmop_tick(sp->sp_world, VO_UNMAP);
	return error == 0;
}

/* Another place shows the segment now: one at a time may be written through. */
static bool
shown_elsewhere(const struct space *sp, const struct region *rg)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const other = &sp->sp_regions[r];

		if (other != rg && !other->rg_absent && other->rg_seg == rg->rg_seg &&
		    other->rg_first < rg->rg_first + rg->rg_npages &&
		    rg->rg_first < other->rg_first + other->rg_npages)
			return true;
	}
	return false;
}

/* The pages are taken. Maps what is not, if it is shown nowhere else. */
static void
map_region(struct space *sp, struct region *rg)
{
	const bool wired = rg->rg_seg->sg_kind == SEG_SYSMEM && rg->rg_npages <= 64 &&
			   sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0;
	const uint64_t first = (uint64_t)rg->rg_first * SIM_PAGE_SIZE;
	const uint64_t len = region_end(rg) - rg->rg_base;
	struct oracle_tlb_op op;
	int error;

	if (shown_elsewhere(sp, rg))
		return;
	region_unsettle(rg, rg->rg_prot_max);
	rg->rg_wiring = wired;
	space_op_begin(sp, &op);
	error = rg->rg_seg->sg_kind == SEG_WINDOW
			? vm_map_mmio(sp->sp_vs, rg->rg_base, len, rg->rg_seg->sg_hpa + first)
			: vm_mmap_memseg(sp->sp_vs, rg->rg_base, rg->rg_seg->sg_ident,
					 (int64_t)first, (int64_t)len, rg->rg_prot_max,
					 wired ? VM_MEMMAP_F_WIRED : 0);
	sim_invariant_hit(SIM_I40);
	if (error != 0 && !vmop_excused(error) && !(error == -EFAULT && wired))
		sim_violation("CK-API", "I40", "%s: mapping of 0x%llx ends with error %d",
			      sp->sp_name, ull(rg->rg_base), -error);
	if (error != 0 && wired)
		vmop_may_be_logged(sp);
	region_settled(rg, error == 0 ? rg->rg_prot_max : 0, error == 0 && wired);
	rg->rg_wiring = false;
	space_op_end(sp, &op, rg->rg_base, region_end(rg));
	vmop_tick(sp->sp_world, wired && error == 0 ? VO_MAP_WIRED : VO_MAP);
}

/* Another place at which the same segment could be shown and is not; or the same. */
static struct region *
other_place(struct space *sp, struct region *rg)
{
	const unsigned int from = sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions);

	for (unsigned int i = 0; i < sp->sp_nregions; i++) {
		struct region *const to = &sp->sp_regions[(from + i) % sp->sp_nregions];

		if (to != rg && to->rg_seg == rg->rg_seg && to->rg_absent &&
		    to->rg_first == rg->rg_first)
			return to;
	}
	return rg;
}

static struct region *
region_at(struct space *sp, gpa_t start)
{
	struct region *const rg = hostop_region(sp, start);

	/* What is large comes and goes less often. */
	if (rg->rg_npages <= 64 || sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0)
		return rg;
	return &sp->sp_regions[sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions)];
}

static void
move(struct space *sp, struct region *rg)
{
	struct region *to = rg;
	struct pages pa = {rg->rg_seg, 0, rg->rg_seg->sg_npages};

	pages_take(&pa);
	if (!rg->rg_absent && unmap_region(sp, rg))
		to = other_place(sp, rg);
	/* Now and then it stays away for a while. */
	if (to->rg_absent && (to != rg || sim_choose(SIM_CHOICE_WORKLOAD, 4) != 0))
		map_region(sp, to);
	pages_set(&pa, false);
}

void
vmop_move(struct space *sp, gpa_t start, gpa_t stop)
{
	(void)stop;
	move(sp, region_at(sp, start));
}

/* What a guest does to a device's registers when it sets up the device. */
void
vmop_move_window(struct space *sp, gpa_t start, gpa_t stop)
{
	(void)start;
	(void)stop;
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		if (rg->rg_seg->sg_kind == SEG_WINDOW && !rg->rg_absent) {
			move(sp, rg);
			return;
		}
	}
}

/* ---- Many maps ------------------------------------------------------------------------------ */

#define MANY 64
/* Where nothing else is: a GiB below the last region, page by page with holes between. */
#define MANY_STRIDE (2 * (uint64_t)SIM_PAGE_SIZE)

struct many {
	struct space *my_space;
	struct seg *my_seg;
	gpa_t my_base;
	unsigned int my_n;
	unsigned int my_made;
	unsigned int my_first; /* of the pages shown */
};

static gpa_t
many_at(const struct many *my, unsigned int i)
{
	return my->my_base + i * MANY_STRIDE;
}

/* What the i-th map shows is what the page holds; just beside it is nothing. */
static void
look_at_one(const struct many *my, unsigned int i)
{
	struct space *const sp = my->my_space;
	struct page *const pg = &my->my_seg->sg_pages[(my->my_first + i) % my->my_seg->sg_npages];
	struct page *const pages[] = {pg};
	struct vm_page_info info;
	uint64_t word;
	uint64_t done;
	int error;

	pg->pg_holds++;
	pg->pg_touched = true;
	pg->pg_pinned |= pg->pg_discarding;
	vmop_follow(sp->sp_world, pages, 1, SIM_PAGE_SIZE - 8, "CK-API", "I38", sp->sp_name);
	error = vm_gpa_read(sp->sp_vs, many_at(my, i) + SIM_PAGE_SIZE - 8, &word, 8, &done);
	vmop_unfollow(sp->sp_world);
	pg->pg_holds--;
	sim_invariant_hit(SIM_I38);
	if (error != 0 && !vmop_excused(error))
		sim_violation("CK-API", "I38", "%s: 0x%llx is mapped, and cannot be read: %d",
			      sp->sp_name, ull(many_at(my, i)), -error);
	if (space_page_info(sp, many_at(my, i) + SIM_PAGE_SIZE, &info))
		sim_violation("CK-API", "I38", "%s: beyond the end of the map of 0x%llx is a page",
			      sp->sp_name, ull(many_at(my, i)));
}

static void
make_many(struct many *my)
{
	struct space *const sp = my->my_space;

	for (; my->my_made < my->my_n; my->my_made++) {
		const uint64_t page = (my->my_first + my->my_made) % my->my_seg->sg_npages;
		const int error = vm_mmap_memseg(
			sp->sp_vs, many_at(my, my->my_made), my->my_seg->sg_ident,
			(int64_t)(page * SIM_PAGE_SIZE), SIM_PAGE_SIZE, PMAP_PROT_RX, 0);

		if (error == 0)
			continue;
		if (!vmop_excused(error))
			sim_violation("CK-API", "I38", "%s: map %u of many ends with error %d",
				      sp->sp_name, my->my_made, -error);
		return;
	}
}

static void
unmake_many(struct many *my)
{
	struct space *const sp = my->my_space;

	while (my->my_made > 0) {
		const gpa_t at = many_at(my, my->my_made - 1);
		const int error = vm_munmap_memseg(sp->sp_vs, at, SIM_PAGE_SIZE);

		if (error == 0)
			my->my_made--;
		else if (!vmop_excused(error))
			sim_violation("CK-API", "I38", "%s: 0x%llx cannot be unmapped: %d",
				      sp->sp_name, ull(at), -error);
	}
}

/* A segment's pages shown once more, each by a map of its own, and for a while. */
void
vmop_many(struct space *sp, gpa_t start, gpa_t stop)
{
	const struct region *const rg = hostop_region(sp, start);
	struct many my = {
		.my_space = sp,
		.my_seg = rg->rg_seg,
		.my_n = sim_choose(SIM_CHOICE_WORKLOAD, 8) == 0
				? MANY
				: 1 + sim_choose(SIM_CHOICE_WORKLOAD, 5),
	};

	struct oracle_tlb_op op;

	(void)stop;
	if (sp->sp_many || rg->rg_seg->sg_kind == SEG_WINDOW || rg->rg_seg->sg_remaking)
		return;
	sp->sp_many = true;
	my.my_seg->sg_users++;
	my.my_base = sp->sp_many_base;
	my.my_first = sim_choose(SIM_CHOICE_WORKLOAD, my.my_seg->sg_npages);
	space_op_begin(sp, &op);
	make_many(&my);
	for (unsigned int i = 0; i < 3 && my.my_made != 0; i++) {
		const unsigned int one = sim_choose(SIM_CHOICE_WORKLOAD, my.my_made);
		struct vm_fault_record record;
		int error;

		error = vm_fault(sp->sp_vs, many_at(&my, one),
				 sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0 ? PMAP_PROT_X
									 : PMAP_PROT_R,
				 &record);
		if (error != 0 && !vmop_excused(error))
			sim_violation("CK-API", "I38", "%s: a fault in map %u of many ends with %d",
				      sp->sp_name, one, -error);
		look_at_one(&my, one);
	}
	if (my.my_made != 0)
		vmop_tick(sp->sp_world, VO_MANY_MAPS);
	unmake_many(&my);
	space_op_end(sp, &op, 0, 0);
	my.my_seg->sg_users--;
	sp->sp_many = false;
}

/* ---- Reset ---------------------------------------------------------------------------------- */

static bool
is_device(const struct region *rg)
{
	return rg->rg_seg->sg_kind != SEG_SYSMEM;
}

static bool
devices_free(void *arg)
{
	struct space *const sp = arg;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct pages pa = pages_of(&sp->sp_regions[r]);

		if (is_device(&sp->sp_regions[r]) && !pages_free(&pa))
			return false;
	}
	return true;
}

static void
devices_set(struct space *sp, bool busy)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct pages pa = pages_of(&sp->sp_regions[r]);

		if (is_device(&sp->sp_regions[r]))
			pages_set(&pa, busy);
	}
}

/* Maps of devices' memory go, those of system memory stay. */
void
vmop_reset(struct space *sp, gpa_t start, gpa_t stop)
{
	struct oracle_tlb_op op;
	uint8_t prots[VMOP_REGIONS_MAX];
	int error;

	(void)start;
	(void)stop;
	if (sp->sp_many || sp->sp_nregions > VMOP_REGIONS_MAX)
		return; /* many maps would go, too */
	sp->sp_many = true;
	sim_wait_until("the devices' memory", devices_free, sp);
	devices_set(sp, true);
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		prots[r] = rg->rg_prot;
		if (is_device(rg) && !rg->rg_absent)
			region_unsettle(rg, rg->rg_prot);
	}
	space_op_begin(sp, &op);
	error = vm_reset(sp->sp_vs);
	if (error != 0 && !vmop_excused(error))
		sim_violation("CK-API", "I40", "%s: a reset ends with error %d", sp->sp_name,
			      -error);
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		if (is_device(rg) && !rg->rg_absent)
			region_settled(rg, error == 0 ? 0 : prots[r], false);
	}
	space_op_end(sp, &op, 0, 0);
	vmop_tick(sp->sp_world, VO_RESET);
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		if (is_device(rg) && rg->rg_absent && rg->rg_shown)
			map_region(sp, rg);
	}
	devices_set(sp, false);
	sp->sp_many = false;
}

/* ---- Segments ------------------------------------------------------------------------------- */

static bool
seg_unused(void *arg)
{
	const struct pages *const pa = arg;

	return pa->pa_seg->sg_users == 0 && pages_free(arg);
}

/* All maps of a segment, pages taken. False if one stayed. */
static bool
unmap_all(struct space *sp, struct seg *sg)
{
	bool all = true;

	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		if (rg->rg_seg == sg && !rg->rg_absent)
			all = unmap_region(sp, rg) && all;
	}
	return all;
}

/* Frees a segment, which may be held, and makes one of the same identity, which is another one. */
void
vmop_new_seg(struct space *sp, gpa_t start, gpa_t stop)
{
	struct seg *const sg = hostop_region(sp, start)->rg_seg;
	struct pages pa = {sg, 0, sg->sg_npages};
	struct oracle_tlb_op op;
	int error;

	(void)stop;
	if (sg->sg_kind == SEG_WINDOW || sg->sg_npages > 64 || sg->sg_remaking)
		return;
	sg->sg_remaking = true;
	sim_wait_until("a segment to be left alone", seg_unused, &pa);
	pages_set(&pa, true);
	if (unmap_all(sp, sg)) {
		error = vm_free_memseg(sp->sp_vs, sg->sg_ident);
		sim_invariant_hit(SIM_I38);
		if (error != 0)
			sim_violation("CK-API", "I38", "%s: segment %d cannot be freed: %d",
				      sp->sp_name, sg->sg_ident, -error);
		space_renew_seg(sp, sg);
		pages_set(&pa, true);
		space_op_begin(sp, &op); /* what fills it may take pages from anybody */
		/* All the memory there is may be held by those who are through with their work. */
		for (error = space_make_seg(sp, sg); vmop_excused(error);
		     error = space_make_seg(sp, sg))
			vmop_release(sp, 0, 0);
		if (error != 0)
			sim_violation("CK-API", "I38", "%s: segment %d cannot be made again: %d",
				      sp->sp_name, sg->sg_ident, -error);
		space_op_end(sp, &op, 0, 0);
		vmop_tick(sp->sp_world, VO_NEW_SEG);
	}
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		if (rg->rg_seg == sg && rg->rg_shown && rg->rg_absent)
			map_region(sp, rg);
	}
	pages_set(&pa, false);
	sg->sg_remaking = false;
}
