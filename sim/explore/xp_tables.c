/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Small scenarios about the tables under a running vCPU: rights and bits taken away, tables
 * unlinked, superpages split and joined.
 */

#include "sim/explore/xp.h"

#define EPT (1u << SIM_ARCH_EPT)
#define NOAD (1u << SIM_ARCH_EPT_NOAD)
#define NPT (1u << SIM_ARCH_NPT)

#define SUPER_PAGES REGION_PAGES

/* ---- Guests --------------------------------------------------------------------------------- */

static void
super_written(struct xp *x)
{
	struct space *const sp = xp_guest(x, SUPER_PAGES);

	xp_write(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

/* Single pages that agree in everything, with no flush left over from the split. */
static void
split_written(struct xp *x)
{
	struct space *const sp = xp_guest(x, SUPER_PAGES);

	xp_write(sp, XP_PAGE(0));
	hostop_demote(sp, XP_PAGE(0), XP_PAGE(1));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

/* All but one are there, and agree: the fault that brings it may be who joins them. */
static void
split_but_one(struct xp *x)
{
	split_written(x);
	hostop_remove(x->xp_guest, XP_PAGE(SUPER_PAGES - 1), XP_PAGE(SUPER_PAGES));
	xp_ran(x->xp_guest, 0, 1, XP_PAGE(0));
}

/* ---- vCPUs ---------------------------------------------------------------------------------- */

static void
fetch_once(struct xp *x)
{
	XP_RUN(x, x->xp_guest, 0, {XP_PAGE(0), PMAP_PROT_X});
}

/* ---- The host ------------------------------------------------------------------------------- */

static void
protect_first(struct xp *x)
{
	hostop_protect(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

static void
clear_modify(struct xp *x)
{
	hostop_clear_modify(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

static void
age(struct xp *x)
{
	hostop_age(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

static void
age_and_drain(struct xp *x)
{
	hostop_age(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
	hostop_drain(x->xp_guest, 0, 0);
}

/* So wide that a table goes, too. */
static void
remove_all(struct xp *x)
{
	hostop_remove(x->xp_guest, 0, REGION_BYTES);
}

static void
demote(struct xp *x)
{
	hostop_demote(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

static void
promote(struct xp *x)
{
	hostop_promote(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

/* By the host alone: a vCPU that goes there itself, and is answered, does not close in minutes. */
static void
fault_last(struct xp *x)
{
	space_fault(x->xp_guest, XP_PAGE(SUPER_PAGES - 1), PMAP_PROT_W);
}

const struct xp_scenario xp_tables_scenarios[] = {
	{
		.xs_info = {"xp-protect", "a vCPU writes while its right to do so is taken away"},
		.xs_mutant = "skip-write",
		.xs_arches = EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_read,
		.xs_programs = {protect_first, xp_write_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-execute", "a vCPU fetches while its right to do so is taken away"},
		.xs_mutant = "skip-execute",
		.xs_arches = EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_read,
		.xs_programs = {protect_first, fetch_once},
		.xs_program_choice = 1, /* the map loses it, too */
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-clear-modify", "a vCPU writes while the modified bit is cleared"},
		.xs_mutant = "skip-modified",
		.xs_arches = EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_written,
		.xs_programs = {clear_modify, xp_write_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-age",
			    "a vCPU reads while the accessed bit, emulated, is collected"},
		.xs_mutant = "write-without-read",
		.xs_arches = NOAD | EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_written,
		.xs_programs = {age, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-deferred", "a flush that is put off, and made, under a vCPU"},
		.xs_mutant = "drain-no-flush",
		.xs_arches = NOAD | EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_read,
		.xs_programs = {age_and_drain, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_flags = PMAP_DEFER,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-unlink", "a vCPU reads while its table is unlinked and freed"},
		.xs_mutant = "free-before-flush",
		.xs_arches = EPT | NOAD | NPT,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_read,
		.xs_programs = {remove_all, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},

	{
		.xs_info = {"xp-demote", "a vCPU writes a superpage while it is split"},
		.xs_mutant = "demote-clean",
		.xs_arches = EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = super_written,
		.xs_programs = {demote, xp_write_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_frames = 2048,
		.xs_vm_flags = VM_EAGER_RUNS,
		.xs_unanswered = true,
	},

	{
		.xs_info = {"xp-promote", "a vCPU writes a page while it is joined with others"},
		.xs_mutant = "free-before-flush",
		.xs_arches = EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = split_written,
		.xs_programs = {promote, xp_write_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_frames = 2048,
		.xs_vm_flags = VM_EAGER_RUNS,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-promote-fault", "pages are joined while a fault brings the last"},
		.xs_mutant = "promote-first-only",
		.xs_arches = EPT | NPT,
		.xs_vcpus = 1,
		.xs_set_up = split_but_one,
		.xs_programs = {promote, fault_last},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_frames = 2048,
		.xs_vm_flags = VM_EAGER_RUNS,
	},

	{.xs_info = {NULL, NULL}},
};
