/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Small scenarios about accessed and modified bits, and rights, taken from under a running vCPU. */

#include "sim/explore/xp.h"

#define NESTED (1u << SIM_ARCH_EPT | 1u << SIM_ARCH_EPT_NOAD | 1u << SIM_ARCH_NPT)

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
	{.xs_info = {NULL, NULL}},
};
