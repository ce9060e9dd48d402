/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Small scenarios about guests' memory: what is wired and shown to devices, discarded, moved to
 * another frame or another address; and guests and CPUs that go and come back.
 */

#include "sim/workload/vmop.h"
#include "sim/explore/xp.h"

#include <errno.h>

#define EPT (1u << SIM_ARCH_EPT)
#define NOAD (1u << SIM_ARCH_EPT_NOAD)
#define NPT (1u << SIM_ARCH_NPT)
#define NESTED (EPT | NOAD | NPT)

/* ---- Guests --------------------------------------------------------------------------------- */

/* Their frames are no run, in whichever order the host gives them. */
static void
three_read(struct xp *x)
{
	struct space *const sp = xp_guest(x, 3);

	xp_warm(sp, XP_PAGE(1));
	xp_warm(sp, XP_PAGE(0));
	xp_warm(sp, XP_PAGE(2));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

/* ---- vCPUs ---------------------------------------------------------------------------------- */

/* ---- Devices -------------------------------------------------------------------------------- */

static void
attach(struct xp *x)
{
	struct dma_device *const dd = &x->xp_world.wo_vmops->vo_devices[0];
	int error;

	*dd = (struct dma_device){x->xp_guest, true};
	error = vm_attach_device(x->xp_guest->sp_vs, 0);
	if (error != 0 && !vmop_excused(error))
		sim_violation("CK-API", "I40", "attaching of a device ends with error %d", -error);
	if (error != 0)
		dd->dd_space = NULL;
	dd->dd_changing = false;
}

/* The host may lack memory for any of the three pages. */
static void
wire(struct xp *x)
{
	hostop_wire(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

/* Devices make no access of their own: what they could reach is looked at instead. */
static void
three_and_a_device(struct xp *x)
{
	three_read(x);
	vmop_devices_run(&x->xp_world, false);
	attach(x);
}

/* ---- Other frames ---------------------------------------------------------------------------- */

static void
migrate(struct xp *x)
{
	hostop_migrate(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

static void
discard(struct xp *x)
{
	hostop_discard(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

/* ---- Swap ----------------------------------------------------------------------------------- */

/*
 * Written, and not used since: pageout takes the first page that it looks at, or the second. Any
 * other would have it look at all of the chunk, three times.
 */
static void
two_written_long_ago(struct xp *x)
{
	struct space *const sp = xp_guest(x, 2);

	x->xp_world.wo_may_reclaim = true;
	xp_write(sp, XP_PAGE(0));
	xp_write(sp, XP_PAGE(1));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
	hostop_age(sp, XP_PAGE(0), XP_PAGE(2));
}

static void
page_out(struct xp *x)
{
	vmop_pageout_pages(x->xp_guest, true, 1, 0);
}

/* Writes through it, too: some bytes of the page are what the host put there. */
static void
hold_and_release(struct xp *x)
{
	vmop_hold_bytes(x->xp_guest, XP_PAGE(0), 8, PMAP_PROT_RW);
	vmop_touch(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
	vmop_release(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

/* ---- Devices' memory at another address ----------------------------------------------------- */

static void
device_page(struct xp *x, enum seg_kind kind)
{
	struct space *const sp = xp_guest(x, 0);
	struct seg *const sg = space_add_seg(sp, kind, 1);

	space_add_region(sp, XP_PAGE(0), sg, 0, 1, PMAP_PROT_RW);
	space_add_place(sp, XP_PAGE(4), sg, 0, 1, PMAP_PROT_RW);
	xp_warm(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

static void
framebuffer(struct xp *x)
{
	device_page(x, SEG_FRAMEBUFFER);
}

/* Its table is there, and is empty. */
static void
framebuffer_unmapped(struct xp *x)
{
	framebuffer(x);
	hostop_remove(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

/* The same of a device's own frames: what stands for them ends when they move. */
static void
window_unmapped(struct xp *x)
{
	device_page(x, SEG_WINDOW);
	hostop_remove(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

/* Two pages of a device's own frames, whose tables are gone, up to the root. */
static void
window_gone(struct xp *x)
{
	struct space *const sp = xp_guest(x, 0);

	space_add_region(sp, XP_PAGE(0), space_add_seg(sp, SEG_WINDOW, 2), 0, 2, PMAP_PROT_RW);
	hostop_enter_run(sp, XP_PAGE(0), XP_PAGE(2));
	xp_warm(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
	hostop_remove(sp, 0, pmap_fmt(sp->sp_pmap)->pf_limit);
}

static void
enter_both(struct xp *x)
{
	hostop_enter_run(x->xp_guest, XP_PAGE(0), XP_PAGE(2));
}

static void
revoke_both(struct xp *x)
{
	hostop_revoke_run(x->xp_guest, 0, 0);
}

static void
fault_second(struct xp *x)
{
	space_fault(x->xp_guest, XP_PAGE(1), PMAP_PROT_W);
}

static void
move(struct xp *x)
{
	vmop_move(x->xp_guest, XP_PAGE(0), XP_PAGE(1));
}

static void
fault_first(struct xp *x)
{
	space_fault(x->xp_guest, XP_PAGE(0), PMAP_PROT_R);
}

/* ---- Ends ----------------------------------------------------------------------------------- */

/* Whether the guest is there is no word of the core's: who asks, and who changes it, says so. */
static void
destroy(struct xp *x)
{
	struct space *const sp = x->xp_guest;

	sim_touch_ghost(sp);
	sp->sp_users++;
	hostop_recreate(sp, 0, 0);
	hostop_invalidate(sp, XP_PAGE(0), XP_PAGE(1));
	sim_touch_ghost(sp);
	host_fence();
	sp->sp_users--;
}

static void
read_if_there(struct xp *x)
{
	sim_touch_ghost(x->xp_guest);
	xp_read_first(x);
}

static void
two_guests(struct xp *x)
{
	struct space *const other = xp_guest_named(x, "other", 1);
	struct space *const sp = xp_guest(x, 1);

	xp_warm(other, XP_PAGE(0));
	xp_warm(sp, XP_PAGE(0));
	xp_target(XP_PAGE(0));
	xp_ran(sp, 0, 1, XP_PAGE(0));
}

/* The other guest takes what the CPU has to give after it came back, then the first one again. */
static void
bounce_and_read(struct xp *x)
{
	cpu_bounce(&x->xp_world);
	XP_RUN(x, x->xp_world.wo_spaces[0], 0, {XP_PAGE(0), PMAP_PROT_R});
	xp_read_first(x);
}

const struct xp_scenario xp_memory_scenarios[] = {

	{
		.xs_info = {"xp-iommu", "wiring for a device, and memory may lack, under a vCPU"},
		.xs_mutant = "vm-iommu-undo-short",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = three_and_a_device,
		.xs_programs = {wire, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_iommu = true,
		.xs_faults = 1u << SIM_FAULT_IOMMU | 1u << SIM_FAULT_ALLOC,
		.xs_fault_count = 1,
		.xs_unanswered = true,
	},

	{
		.xs_info = {"xp-discard", "a page is discarded while a vCPU writes it"},
		.xs_mutant = "no-initiator-fence",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_written,
		.xs_programs = {discard, xp_write_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-move", "a page moves to another frame while a vCPU writes it"},
		.xs_mutant = "change-after-flush",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_written,
		.xs_programs = {migrate, xp_write_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-pageout", "a page goes to swap while a vCPU writes it"},
		.xs_mutant = "vm-swap-early",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = two_written_long_ago,
		.xs_programs = {page_out, xp_write_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_swap_slots = 4,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-swap", "a page goes to swap while the host holds it"},
		.xs_mutant = "vm-hold-late",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = two_written_long_ago,
		.xs_programs = {page_out, hold_and_release},
		.xs_program_choice = 1, /* what is held is written */
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_swap_slots = 4,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-remap", "a framebuffer moves while a vCPU reads it"},
		.xs_mutant = "skip-remove",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = framebuffer,
		.xs_programs = {move, xp_read_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-remap-fault",
			    "a framebuffer moves while a fault on it is answered"},
		.xs_mutant = "vm-word-late",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = framebuffer_unmapped,
		.xs_programs = {move, fault_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-window", "a device's window moves while a fault on it is answered"},
		.xs_mutant = "vm-window-shared",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = window_unmapped,
		.xs_programs = {move, fault_first},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_frames = 1536, /* devices' are 512 of them */
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-run",
			    "pages are entered together while a fault brings one of them"},
		.xs_mutant = "run-lost-counted",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = window_gone,
		.xs_programs = {enter_both, fault_second},
		.xs_program_choice = 1, /* over what is there */
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_frames = 1536, /* devices' are 512 of them */
	},
	{
		.xs_info = {"xp-run-revoke", "pages are entered together while they are revoked"},
		.xs_mutant = "run-unread",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = window_gone,
		.xs_programs = {enter_both, revoke_both},
		.xs_program_choice = 1,
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_frames = 1536,
	},
	{
		.xs_info = {"xp-destroy", "a guest ends, and another begins, under a vCPU"},
		.xs_mutant = "root-reuse",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = xp_one_read,
		.xs_programs = {destroy, read_if_there},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{
		.xs_info = {"xp-offline", "a CPU goes offline and comes back during an unmap"},
		.xs_mutant = "asid-round-reset",
		.xs_arches = NESTED,
		.xs_vcpus = 1,
		.xs_set_up = two_guests,
		.xs_programs = {xp_remove_first, bounce_and_read},
		.xs_preemptions = EXPLORE_UNBOUNDED,
		.xs_fills = 2,
		.xs_unanswered = true,
	},
	{.xs_info = {NULL, NULL}},
};
