/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Small scenarios about the clock: entries and exits against changes of the tables. */

#include "sim/xp.h"

/* ---- Enter and exit against unmap ----------------------------------------------------------- */

static void
two_pages(struct xp *x)
{
	struct space *const sp = xp_guest(x, 2);

	xp_warm(sp, XP_PAGE(0));
	xp_warm(sp, XP_PAGE(1));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

static void
remove_first(struct xp *x)
{
	hostop_remove(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

static void
read_first(struct xp *x)
{
	XP_RUN(x, x->xp_guest, 0, {XP_PAGE(0), PMAP_PROT_R});
}

const struct xp_scenario xp_shootdown_scenarios[] = {
	{
		.xs_info = {"xp-unmap",
			    "a vCPU enters, reads and exits while its page is unmapped"},
		.xs_mutant = "no-fence",
		.xs_arches = 1u << SIM_ARCH_EPT | 1u << SIM_ARCH_NPT,
		.xs_vcpus = 1,
		.xs_set_up = two_pages,
		.xs_programs = {remove_first, read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{.xs_info = {NULL, NULL}},
};

const struct xp_scenario xp_bits_scenarios[] = {
	{.xs_info = {NULL, NULL}},
};
