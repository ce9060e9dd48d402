/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Small scenarios about accessed and modified bits, and rights, taken from under a running vCPU. */

#include "sim/explore/xp.h"
#include "sim/oracle/invariants.h"

#define NESTED (1u << SIM_ARCH_EPT | 1u << SIM_ARCH_EPT_NOAD | 1u << SIM_ARCH_NPT)

#define HARDWARE_AD (1u << SIM_ARCH_EPT | 1u << SIM_ARCH_NPT)

/* ---- Clean against write -------------------------------------------------------------------- */

static void
written_on_1(struct xp *x)
{
	struct space *const sp = xp_guest(x, 1);

	while (!sp->sp_log)
		hostop_log(sp, 0, 0);
	xp_write(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

static void
collect(struct xp *x)
{
	hostop_clean(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

/* ---- Quiet tables --------------------------------------------------------------------------- */

static void
three_pages(struct xp *x)
{
	struct space *const sp = xp_guest(x, 3);

	xp_warm(sp, XP_PAGE(0));
}

static void
collect_table(struct xp *x)
{
	hostop_clear_modify(x->xp_guest, 0, REGION_BYTES);
}

static void
collect_twice(struct xp *x)
{
	collect_table(x);
	collect_table(x);
}

static void
collect_flush_collect(struct xp *x)
{
	collect_table(x);
	hostop_invalidate(x->xp_guest, 0, SIM_PAGE_SIZE);
	collect_table(x);
}

/* The second goes by the hint that the first has left. */
static void
fault_twice(struct xp *x)
{
	space_fault(x->xp_guest, XP_PAGE(1), PMAP_PROT_W);
	space_fault(x->xp_guest, XP_PAGE(2), PMAP_PROT_W);
}

/* A collection must not pass over what the leaves themselves tell. */
static void
all_is_told(struct xp *x)
{
	struct vmspace *const vs = x->xp_guest->sp_vs;
	uint64_t modified = 0;
	uint64_t told = 0;

	hostop_must(vm_harvest(vs, 0, REGION_BYTES, PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK, NULL,
			       &modified),
		    "vm_harvest");
	hostop_must(vm_harvest(vs, 0, REGION_BYTES, PMAP_HARVEST_MODIFIED, NULL, &told),
		    "vm_harvest");
	sim_invariant_hit(SIM_I25);
	if (told != modified)
		sim_violation("CK-DIRTY", "I25", "%llu pages are modified, and %llu were collected",
			      (unsigned long long)modified, (unsigned long long)told);
}

const struct xp_scenario xp_bits_scenarios[] = {
	{
		.xs_info = {"xp-clean", "a vCPU writes while the dirty log is collected"},
		.xs_mutant = "vm-log-early",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = written_on_1,
		.xs_programs = {collect, xp_write_first},
		.xs_program_choice = VM_DIRTY_CLEAR,
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-quiet", "a vCPU writes while its table is found to be quiet"},
		.xs_mutant = "quiet-unflushed",
		.xs_arches = HARDWARE_AD,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_read,
		.xs_programs = {collect_twice, xp_write_first},
		.xs_check = all_is_told,
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-quiet-fault",
			    "a table is found to be quiet while faults enter pages"},
		.xs_mutant = "quiet-no-relook",
		/* A CPU that bears mixed sizes: with others faults take the lock. */
		.xs_arches = 1u << SIM_ARCH_NPT,
		.xs_vcpus = 1,
		.xs_set_up = three_pages,
		.xs_programs = {collect_flush_collect, fault_twice},
		.xs_check = all_is_told,
		.xs_preemptions = 1,
	},
	{.xs_info = {NULL, NULL}},
};
