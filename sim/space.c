/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The owner's side of a space: which frame a page has, and what happens on a fault.
 *
 * Faults run concurrently with everything, the taking back of decisions included; what protects
 * them is pmap_enter()'s second look at sp_revoke. A frame is let go only when the shootdown is
 * over and no fault that may have been decided before is still on its way (space_await_faults()):
 * the faulting CPU's reference to the page, in terms of a real kernel.
 */

#include "sim/world.h"

#include <errno.h>

struct region *
space_region(struct space *sp, gpa_t gpa)
{
	const uint64_t guess = gpa / REGION_BYTES;

	/* In a guest without gaps a region is where its number says. */
	if (guess < sp->sp_nregions && sp->sp_regions[guess].rg_base == guess * REGION_BYTES &&
	    sp->sp_regions[guess].rg_npages == REGION_PAGES)
		return &sp->sp_regions[guess];
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *rg = &sp->sp_regions[r];

		if (gpa - rg->rg_base < (uint64_t)rg->rg_npages * SIM_PAGE_SIZE)
			return rg;
	}
	return NULL;
}

struct page *
space_page(struct space *sp, gpa_t gpa)
{
	struct region *rg = space_region(sp, gpa);

	return rg != NULL ? &rg->rg_pages[(gpa - rg->rg_base) / SIM_PAGE_SIZE] : NULL;
}

/* The frame that the region's reservation holds for a page, if it is free for it. */
static uint64_t
reserved_frame(struct space *sp, struct region *rg, unsigned int index)
{
	const uint64_t hpa = rg->rg_run + (uint64_t)index * SIM_PAGE_SIZE;

	if (rg->rg_run == 0 || sim_frame_at(hpa)->fr_owner != (uint64_t)(sp->sp_id + 1))
		return 0;
	sim_data_store(hpa, 0);
	return hpa;
}

bool
page_fill(struct space *sp, struct region *rg, struct page *pg)
{
	const unsigned int index = (unsigned int)(pg - rg->rg_pages);

	if (pg->pg_frame != 0)
		return true;
	if (rg->rg_super && rg->rg_run == 0) {
		rg->rg_run = sim_frame_alloc(SIM_FRAME_DATA, 9);
		for (unsigned int i = 0; i < REGION_PAGES && rg->rg_run != 0; i++)
			sim_frame_at(rg->rg_run + (uint64_t)i * SIM_PAGE_SIZE)->fr_owner =
				sp->sp_id + 1;
	}
	pg->pg_frame = reserved_frame(sp, rg, index);
	if (pg->pg_frame == 0)
		pg->pg_frame = sim_frame_alloc(SIM_FRAME_DATA, 0);
	if (pg->pg_frame == 0)
		return false;
	pg->pg_content = 0;
	world_tick(sp->sp_world, WC_ZERO_FILLS);
	return true;
}

/* Whether all pages of a region may now be mapped by one superpage that grants `prot`. */
static bool
is_uniform(const struct region *rg)
{
	const struct page *first = &rg->rg_pages[0];

	if (!rg->rg_super || rg->rg_run == 0)
		return false;
	for (unsigned int i = 0; i < REGION_PAGES; i++) {
		const struct page *pg = &rg->rg_pages[i];

		if (pg->pg_absent || pg->pg_frame != rg->rg_run + (uint64_t)i * SIM_PAGE_SIZE ||
		    pg->pg_prot != first->pg_prot || pg->pg_wired != first->pg_wired)
			return false;
	}
	return true;
}

static int
enter_decided(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, unsigned int access,
	      uint64_t seen)
{
	const bool super = is_uniform(rg) && sim_choose_chance(SIM_CHOICE_WORKLOAD, 500000);
	struct pmap_mapping m = {
		.pa_gpa = gpa & ~(uint64_t)(SIM_PAGE_SIZE - 1),
		.pa_hpa = pg->pg_frame,
		.pa_prot = pg->pg_prot,
		.pa_access = access,
		.pa_memattr = rg->rg_memattr,
		.pa_wired = pg->pg_wired,
		.pa_revoked = &sp->sp_revoke,
		.pa_revoked_was = seen,
	};
	struct oracle_tlb_op op;
	int error;

	if (super) {
		m.pa_gpa = rg->rg_base;
		m.pa_hpa = rg->rg_run;
		m.pa_level = 1;
		rg->rg_had_super = true;
		world_tick(sp->sp_world, WC_SUPER_ENTERS);
	}
	oracle_tlb_op_begin(&op, pmap_root(sp->sp_pmap));
	error = pmap_enter(sp->sp_pmap, &m);
	space_observe(sp);
	oracle_tlb_op_done(&op, m.pa_gpa, m.pa_gpa + pt_level_size(m.pa_level));
	return error;
}

static int
fault_decided(struct space *sp, gpa_t gpa, unsigned int access)
{
	/* The word first, the state after it: what is decided is then no older than the word. */
	const uint64_t seen = host_load_acquire(&sp->sp_revoke);
	struct region *const rg = space_region(sp, gpa);
	struct page *const pg = space_page(sp, gpa);

	if (pg == NULL)
		return -EACCES;
	if (pg->pg_absent)
		return -EAGAIN;
	if ((access & ~pg->pg_prot) != 0)
		return -EACCES;
	if (!page_fill(sp, rg, pg))
		return -ENOMEM;

	const int error = enter_decided(sp, rg, pg, gpa, access, seen);

	/* A wired superpage that had to go for a page of its own is refused; the page is mapped. */
	return error == -EBUSY ? -EAGAIN : error;
}

int
space_fault(struct space *sp, gpa_t gpa, unsigned int access)
{
	struct cpu *const cp = &sp->sp_world->wo_cpus[sim_cpu()];
	int error;

	world_tick(sp->sp_world, WC_FAULTS);
	/* A write fault sets M, whether the write is made again or not. */
	oracle_access_begin(sp, gpa, access);
	error = pmap_emulate_accessed_dirty(sp->sp_pmap, gpa, access);
	if (error == 0) {
		oracle_access_failed(sp, gpa, access);
		return 0;
	}
	cp->cp_fault_space = sp;
	cp->cp_faults++;
	error = fault_decided(sp, gpa, access);
	oracle_access_failed(sp, gpa, access);
	cp->cp_faults++;
	if (error == -EAGAIN)
		world_tick(sp->sp_world, WC_FAULT_RETRIES);
	if (error == -ENOMEM)
		world_tick(sp->sp_world, WC_FAULT_NOMEM);
	return error;
}

void
space_revoke(struct space *sp)
{
	host_fetch_add(&sp->sp_revoke, 1);
}

struct fault_wait {
	const struct cpu *fw_cpu;
	uint64_t fw_faults;
};

static bool
fault_over(void *arg)
{
	const struct fault_wait *fw = arg;

	return fw->fw_cpu->cp_faults != fw->fw_faults;
}

void
space_await_faults(struct space *sp)
{
	struct world *const w = sp->sp_world;
	struct fault_wait waits[SIM_MAX_CPUS];
	unsigned int n = 0;

	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++) {
		const struct cpu *cp = &w->wo_cpus[cpu];

		if (cpu != sim_cpu() && (cp->cp_faults & 1) != 0 && cp->cp_fault_space == sp)
			waits[n++] = (struct fault_wait){cp, cp->cp_faults};
	}
	while (n-- > 0)
		sim_wait_until("a fault decided before", fault_over, &waits[n]);
}
