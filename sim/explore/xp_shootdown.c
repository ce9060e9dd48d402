/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Small scenarios about the clock: entries and exits against changes of the tables. In all of them
 * a CPU has cached, in an earlier entry, what is taken away; its next entry flushes nothing unless
 * it sees that it must.
 */

#include "sim/explore/xp.h"

#define NESTED (1u << SIM_ARCH_EPT | 1u << SIM_ARCH_EPT_NOAD | 1u << SIM_ARCH_NPT)

static void
remove_second(struct xp *x)
{
	hostop_remove(x->xp_guest, XP_PAGE(1), XP_PAGE(2));
}

/* ---- Enter and exit against unmap ----------------------------------------------------------- */

static void
ran_on_1(struct xp *x)
{
	struct space *const sp = xp_guest(x, 2);

	xp_warm(sp, XP_PAGE(0));
	xp_warm(sp, XP_PAGE(1));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

/* ---- Two initiators ------------------------------------------------------------------------- */

static void
read_then_remove(struct xp *x)
{
	xp_read_first(x);
	remove_second(x);
}

/* Only the clock: what a shootdown does once the entries have been changed. */
static void
invalidate(struct xp *x)
{
	struct oracle_tlb_op op;

	oracle_tlb_op_begin(&op, pmap_root(x->xp_guest->sp_pmap));
	pmap_invalidate_all(x->xp_guest->sp_pmap);
	space_observe(x->xp_guest);
	oracle_tlb_op_done(&op, 0, 0);
}

/* ---- A vCPU that changes CPU ---------------------------------------------------------------- */

static void
ran_on_0_then_1(struct xp *x)
{
	struct space *const sp = xp_guest(x, 1);

	xp_warm(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
	xp_ran(sp, 0, 0, XP_PAGE(0));
}

static void
remove_then_read(struct xp *x)
{
	xp_remove_first(x);
	xp_read_first(x);
}

/* ---- The clock turns ------------------------------------------------------------------------ */

/* Generations in a turn, 0 left out, of the narrowest clock here: 8 bits, or even fewer. */
#define TURN ((1u << (PMAP_GEN_BITS < 8 ? PMAP_GEN_BITS : 8)) - 1)

/*
 * The CPU has cached a page, which then goes; and the clock is turned on until one more generation
 * makes it show what it showed then, where a clock is so narrow that this can be.
 */
static void
almost_a_turn(struct xp *x)
{
	struct space *const sp = xp_guest(x, 2);

	xp_warm(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
	xp_remove_first(x);
	for (unsigned int i = 0; i < TURN - 2; i++)
		invalidate(x);
}

const struct xp_scenario xp_shootdown_scenarios[] = {
	{
		.xs_info = {"xp-unmap",
			    "a vCPU enters, reads and exits while its page is unmapped"},
		.xs_mutant = "no-fence",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = ran_on_1,
		.xs_programs = {xp_remove_first, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-initiators", "two CPUs unmap, one of them after it has run a vCPU"},
		.xs_mutant = "complete-unawaited",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = ran_on_1,
		.xs_programs = {xp_remove_first, read_then_remove},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-migrate", "a vCPU that changes CPU while its page is unmapped"},
		.xs_mutant = "asid-kept",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = ran_on_0_then_1,
		.xs_programs = {remove_then_read, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-failed-entry",
			    "an entry that may fail, and the next one, against an unmap"},
		.xs_mutant = "seen-on-failed-entry",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = ran_on_1,
		.xs_programs = {xp_remove_first, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_faults = 1u << SIM_FAULT_ENTRY,
		.xs_fault_count = 1,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-wrap", "an entry while a narrow clock completes a turn"},
		.xs_mutant = "no-force",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = almost_a_turn,
		.xs_programs = {invalidate, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{.xs_info = {NULL, NULL}},
};
