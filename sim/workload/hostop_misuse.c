/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Calls that make no sense: refused with the right error, and without effect. Whether anything
 * changed is seen by all the other checks; the ghosts do not move.
 */

#include "sim/workload/hostop.h"

#include <errno.h>

#include "sim/oracle/invariants.h"

/* ---- Ranges of the tables ------------------------------------------------------------------- */

/* An empty range is nothing. */
static void
misuse_tables(struct space *sp, gpa_t start, gpa_t stop)
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

/* ---- Calls of vmspace ----------------------------------------------------------------------- */

enum bad_call {
	BAD_IDENT,
	BAD_SEG_LEN,
	BAD_SEG_AGAIN,
	BAD_FREE_SHOWN,
	BAD_MAP_OVERLAP,
	BAD_MAP_PROT,
	BAD_MAP_BEYOND_SEG,
	BAD_MAP_BEYOND_SPACE,
	BAD_UNMAP_PART,
	BAD_PROTECT_PART,
	BAD_WIRE_PART,
	BAD_WINDOW_OVERLAP,
	BAD_FAULT_NOTHING,
	BAD_FAULT_BEYOND,
	BAD_HOLD_EMPTY,
	BAD_MIGRATE_UNALIGNED,
	BAD_DISCARD_HOLE,
	BAD_LOG_UNALIGNED,
	BAD_CALLS,
};

struct bad {
	struct space *ba_space;
	const struct region *ba_region;
	gpa_t ba_limit;
	uint64_t ba_len; /* of the region */
	int ba_ident;	 /* of a segment */
};

static int
bad_segment(const struct bad *ba, enum bad_call call)
{
	struct vmspace *const vs = ba->ba_space->sp_vs;

	switch (call) {
	case BAD_IDENT:
		return vm_alloc_memseg(vs, VM_IDENT_MAX + 1, SIM_PAGE_SIZE, NULL);
	case BAD_SEG_LEN:
		return vm_alloc_memseg(vs, 1000, SIM_PAGE_SIZE + 8, NULL);
	case BAD_SEG_AGAIN:
		return vm_alloc_memseg(vs, ba->ba_ident, UINT64_C(1) << 40, NULL);
	default:
		return vm_free_memseg(vs, ba->ba_ident);
	}
}

static int
bad_map(const struct bad *ba, enum bad_call call)
{
	struct vmspace *const vs = ba->ba_space->sp_vs;
	const gpa_t base = ba->ba_region->rg_base;
	const int64_t page = SIM_PAGE_SIZE;

	switch (call) {
	case BAD_MAP_OVERLAP:
		return vm_mmap_memseg(vs, base, ba->ba_ident, 0, page, PMAP_PROT_RWX, 0);
	case BAD_MAP_PROT:
		return vm_mmap_memseg(vs, base, ba->ba_ident, 0, page, 0, 0);
	case BAD_MAP_BEYOND_SEG:
		return vm_mmap_memseg(vs, base, ba->ba_ident, INT64_C(1) << 50, page, PMAP_PROT_RWX,
				      0);
	case BAD_MAP_BEYOND_SPACE:
		return vm_mmap_memseg(vs, ba->ba_limit, ba->ba_ident, 0, page, PMAP_PROT_RWX, 0);
	case BAD_UNMAP_PART:
		return vm_munmap_memseg(vs, base, ba->ba_len + SIM_PAGE_SIZE);
	case BAD_PROTECT_PART:
		return vm_protect_memmap(vs, base, ba->ba_len + SIM_PAGE_SIZE, PMAP_PROT_RX);
	case BAD_WIRE_PART:
		return vm_wire_memmap(vs, base, ba->ba_len + SIM_PAGE_SIZE);
	default:
		return vm_map_mmio(vs, base, SIM_PAGE_SIZE, ba->ba_space->sp_world->wo_devices);
	}
}

static int
bad_access(const struct bad *ba, enum bad_call call)
{
	struct vmspace *const vs = ba->ba_space->sp_vs;
	const gpa_t base = ba->ba_region->rg_base;
	struct vm_hold hold;
	uint64_t n;

	switch (call) {
	case BAD_FAULT_NOTHING:
		return vm_fault(vs, base, 0, NULL);
	case BAD_FAULT_BEYOND:
		return vm_fault(vs, ba->ba_limit, PMAP_PROT_R, NULL);
	case BAD_HOLD_EMPTY:
		return vm_gpa_hold(vs, base, 0, PMAP_PROT_R, &hold, NULL);
	case BAD_MIGRATE_UNALIGNED:
		return vm_migrate(vs, base + 8, SIM_PAGE_SIZE, &n);
	case BAD_DISCARD_HOLE:
		return vm_discard(vs, ba->ba_limit, SIM_PAGE_SIZE);
	default:
		return vm_dirty_log_set(vs, base + 8, SIM_PAGE_SIZE, &n);
	}
}

/* The error that the call must end with; some depend on what else is allowed to fail first. */
static bool
is_right(const struct bad *ba, enum bad_call call, int error)
{
	switch (call) {
	case BAD_FREE_SHOWN:
		return error == -EBUSY;
	case BAD_MAP_OVERLAP:
		return error == -EFAULT || error == -ENOMEM;
	case BAD_WINDOW_OVERLAP:
		return error == -EFAULT || error == -ENOMEM || error == -EOPNOTSUPP;
	case BAD_LOG_UNALIGNED:
		return error == -EINVAL || (error == -ENOENT && !ba->ba_space->sp_log);
	default:
		return error == -EINVAL;
	}
}

static void
misuse_vmspace(struct space *sp, gpa_t start)
{
	const enum bad_call call = (enum bad_call)sim_choose(SIM_CHOICE_WORKLOAD, BAD_CALLS);
	const struct region *const rg = hostop_region(sp, start);
	const struct bad ba = {
		.ba_space = sp,
		.ba_region = rg,
		.ba_limit = pmap_fmt(sp->sp_pmap)->pf_limit,
		.ba_len = region_end(rg) - rg->rg_base,
		.ba_ident = sp->sp_regions[0].rg_seg->sg_ident,
	};
	struct seg *const sg = sp->sp_regions[0].rg_seg;
	/* What is in the way: the map there, or the one that shows the segment. */
	const struct region *const obstacle = call == BAD_FREE_SHOWN ? &sp->sp_regions[0] : rg;
	struct range ra = {sp, obstacle->rg_base, region_end(obstacle)};
	/* It must stay: who moves maps takes their pages. */
	const bool stays =
		call == BAD_FREE_SHOWN || call == BAD_MAP_OVERLAP || call == BAD_WINDOW_OVERLAP;
	struct oracle_tlb_op op;
	int error;

	/* A segment that is being made anew is not there for a while. */
	if (rg->rg_absent || ba.ba_ident < 0 || sg->sg_remaking)
		return;
	sg->sg_users++;
	if (stays)
		hostop_take(&ra);
	if (rg->rg_absent || obstacle->rg_absent)
		goto out;
	space_op_begin(sp, &op);
	if (call <= BAD_FREE_SHOWN)
		error = bad_segment(&ba, call);
	else if (call <= BAD_WINDOW_OVERLAP)
		error = bad_map(&ba, call);
	else
		error = bad_access(&ba, call);
	space_op_end(sp, &op, rg->rg_base, region_end(rg));
	sim_invariant_hit(SIM_I39);
	if (!is_right(&ba, call, error))
		sim_violation("CK-API", "I39", "%s: misuse %u of 0x%llx ends with error %d",
			      sp->sp_name, (unsigned int)call, (unsigned long long)rg->rg_base,
			      -error);
out:
	if (stays)
		hostop_give(&ra);
	sg->sg_users--;
}

void
hostop_misuse(struct space *sp, gpa_t start, gpa_t stop)
{
	world_tick(sp->sp_world, WC_MISUSE);
	if (sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0)
		misuse_tables(sp, start, stop);
	else
		misuse_vmspace(sp, start);
}
