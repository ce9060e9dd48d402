/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What changes how a guest's memory is kept: pageout, the dirty log's way back, execute control;
 * and a look at everything while nobody moves.
 */

#include "sim/workload/vmop.h"

#include <errno.h>
#include <string.h>

#include "sim/oracle/invariants.h"

/* ---- Pageout -------------------------------------------------------------------------------- */

void
vmop_pageout_pages(struct space *sp, bool only_its, uint64_t npages, unsigned int flags)
{
	struct world *const w = sp->sp_world;
	struct oracle_tlb_op op;
	uint64_t freed = 0;
	int error;

	space_op_begin(sp, &op);
	error = vm_pageout(w->wo_system, only_its ? sp->sp_vs : NULL, npages, flags, &freed);
	space_op_end(sp, &op, 0, 0);
	if (error == -EINTR)
		sim_signal_clear();
	if (error != 0 && error != -EINTR)
		sim_violation("CK-API", "I40", "pageout ends with error %d", -error);
	vmop_tick(w, VO_PAGEOUT);
	w->wo_vmops->vo_count[VO_PAGED_OUT] += freed;
}

/* As a thread of the host does that is ahead of those who need memory. */
void
vmop_pageout(struct space *sp, gpa_t start, gpa_t stop)
{
	static const uint32_t amounts[] = {1, 8, 40, 200, 5000};
	static const uint32_t odds[] = {4, 6, 6, 3, 1};
	const uint64_t npages = amounts[sim_choose_weighted(SIM_CHOICE_WORKLOAD, 5, odds)];
	const bool only_its = sim_choose(SIM_CHOICE_WORKLOAD, 3) == 0;
	const unsigned int flags = sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0 ? VM_PAGEOUT_CLEAN : 0;

	(void)start;
	(void)stop;
	if (sp->sp_world->wo_may_reclaim)
		vmop_pageout_pages(sp, only_its, npages, flags);
}

/* ---- The dirty log's way back --------------------------------------------------------------- */

#define BACK_PAGES 96u

static bool
log_settled(void *arg)
{
	const struct space *const sp = arg;

	return !sp->sp_log_changing;
}

static bool
is_set(const uint64_t *bitmap, unsigned int i)
{
	return (bitmap[i / 64] >> i % 64 & 1) != 0;
}

/* The pages of a bitmap are owed again. */
static void
owe(struct space *sp, gpa_t start, unsigned int npages, const uint64_t *bitmap, bool surely)
{
	for (unsigned int i = 0; i < npages; i++) {
		struct page *const pg = space_page(sp, start + (gpa_t)i * SIM_PAGE_SIZE);

		if (pg == NULL || !is_set(bitmap, i))
			continue;
		pg->pg_maylog = true;
		pg->pg_logdirty |= surely;
	}
}

static void
collect(struct space *sp, gpa_t start, gpa_t stop, enum vm_dirty_op op, uint64_t *bitmap)
{
	struct oracle_tlb_op tlb;

	oracle_log_begin(sp, start, stop);
	space_op_begin(sp, &tlb);
	hostop_must(vm_dirty_log(sp->sp_vs, start, stop - start, op, bitmap), "vm_dirty_log");
	oracle_log_end(sp, start, stop, op, bitmap);
	space_op_end(sp, &tlb, start, stop);
}

/* Collects in pieces; the transfer fails; all goes back, and is told again. */
static void
collect_and_give_back(struct space *sp, gpa_t start, unsigned int npages)
{
	uint64_t bitmap[BACK_PAGES / 64 + 1] = {0};
	const gpa_t stop = start + (gpa_t)npages * SIM_PAGE_SIZE;
	gpa_t at = start;
	unsigned int n;

	for (; at < stop; at += (gpa_t)n * SIM_PAGE_SIZE) {
		n = 1 + sim_choose(SIM_CHOICE_WORKLOAD, 64);
		if (n > (stop - at) / SIM_PAGE_SIZE)
			n = (unsigned int)((stop - at) / SIM_PAGE_SIZE);
		memset(bitmap, 0, sizeof(bitmap));
		collect(sp, at, at + (gpa_t)n * SIM_PAGE_SIZE, VM_DIRTY_CLEAR, bitmap);
		owe(sp, at, n, bitmap, false);
		hostop_must(vm_dirty_log_set(sp->sp_vs, at, (uint64_t)n * SIM_PAGE_SIZE, bitmap),
			    "vm_dirty_log_set");
		owe(sp, at, n, bitmap, true);
	}
	memset(bitmap, 0, sizeof(bitmap));
	collect(sp, start, stop, VM_DIRTY_GET, bitmap);
}

void
vmop_log_back(struct space *sp, gpa_t start, gpa_t stop)
{
	const struct region *const rg = hostop_region(sp, start);
	struct range ra = {sp, rg->rg_base, region_end(rg)};

	(void)stop;
	if (rg->rg_npages > BACK_PAGES) {
		ra.ra_start += (gpa_t)sim_choose(SIM_CHOICE_WORKLOAD, rg->rg_npages - BACK_PAGES) *
			       SIM_PAGE_SIZE;
		ra.ra_end = ra.ra_start + (gpa_t)BACK_PAGES * SIM_PAGE_SIZE;
	}
	sim_wait_until("the dirty log to be on or off", log_settled, sp);
	if (!sp->sp_log || rg->rg_seg->sg_kind == SEG_WINDOW)
		return;
	sp->sp_log_users++;
	hostop_take(&ra);
	collect_and_give_back(sp, ra.ra_start,
			      (unsigned int)((ra.ra_end - ra.ra_start) / SIM_PAGE_SIZE));
	hostop_give(&ra);
	sp->sp_log_users--;
	vmop_tick(sp->sp_world, VO_LOG_BACK);
}

/* ---- Execute control ------------------------------------------------------------------------ */

static bool
nx_expressible(const struct space *sp)
{
	const uint8_t ok = pmap_fmt(sp->sp_pmap)->pf_prot_ok;

	return ((ok >> PMAP_PROT_R) & 1) != 0 && ((ok >> PMAP_PROT_RW) & 1) != 0;
}

static void
switch_nx(struct space *sp)
{
	const bool on = !sp->sp_nx;
	int error;

	sp->sp_nx = false;
	error = vm_set_nx_superpages(sp->sp_vs, on);
	sim_invariant_hit(SIM_I40);
	if (error == -EOPNOTSUPP ? nx_expressible(sp) : error != 0 && !vmop_excused(error))
		sim_violation("CK-API", "I40", "%s: switching execute control ends with error %d",
			      sp->sp_name, -error);
	/* A switch that failed has changed nothing. */
	sp->sp_nx = error == 0 ? on : !on;
	vmop_tick(sp->sp_world, VO_NX);
}

void
vmop_nx(struct space *sp, gpa_t start, gpa_t stop)
{
	struct oracle_tlb_op op;
	int error;

	(void)start;
	(void)stop;
	if (sp->sp_nx_changing)
		return;
	sp->sp_nx_changing = true;
	space_op_begin(sp, &op);
	if (sim_choose(SIM_CHOICE_WORKLOAD, 3) != 0) {
		error = vm_exec_recover(sp->sp_vs);
		if (error != 0 && !vmop_excused(error))
			sim_violation("CK-API", "I40", "%s: vm_exec_recover() ends with error %d",
				      sp->sp_name, -error);
		vmop_tick(sp->sp_world, VO_EXEC_RECOVER);
	} else {
		switch_nx(sp);
	}
	space_op_end(sp, &op, 0, 0);
	sp->sp_nx_changing = false;
}

/* ---- Nobody moves --------------------------------------------------------------------------- */

static bool
is_alone(void *arg)
{
	const struct vmops *const vo = arg;

	return vo->vo_active == 1;
}

void
vmop_quiet(struct space *sp, gpa_t start, gpa_t stop)
{
	struct world *const w = sp->sp_world;
	struct vmops *const vo = w->wo_vmops;

	if (vo->vo_stopping)
		return;
	vo->vo_stopping = true;
	sim_wait_until("all others to stop", is_alone, vo);
	host_epoch_drain(); /* what was put off is in the middle of nothing either */
	oracle_vm_quiet(w);
	/* What devices write next would be a change, too. */
	vmop_devices_run(w, false);
	if (!sim_fault_off(SIM_FAULT_HOSTILE))
		vmop_hostile_alone(sp, start, stop);
	vmop_devices_run(w, true);
	vo->vo_stopping = false;
	vmop_tick(w, VO_QUIET);
}
