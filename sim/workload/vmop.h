/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the host does to guests' address spaces beyond their tables: holds, copies, pageout, maps
 * that come and go, devices, the dirty log's way back, execute control; and a caller who means
 * harm. And what the oracle of vmspace (oracle_vm.c) knows of it.
 *
 * A region is a place at which a segment may be mapped; it need not be (rg_absent). Regions do not
 * overlap, so an address shows the same page whenever it shows one, and who raced with a map that
 * came or went still knows which page it was about. While a map comes or goes its region grants
 * nothing for sure and may let everything through (rg_prot is 0, rg_losing what it had or will
 * have).
 */

#ifndef SIM_VMOP_H
#define SIM_VMOP_H

#include "sim/workload/hostop.h"
#include "sim/workload/world.h"

#define GRIPS 12
#define GRIP_PAGES 6
#define VMOP_REGIONS_MAX 64

/* A hold of a program of the host, and what must be true of it. */
struct grip {
	struct vm_hold gr_hold;
	struct page *gr_pages[GRIP_PAGES];
	uint32_t gr_lives[GRIP_PAGES]; /* of the frames */
	unsigned int gr_npages;
	unsigned int gr_users; /* fibers that read or write through it */
	bool gr_taken;
	bool gr_held;	     /* from the return of the hold to the call of the release */
	const char *gr_name; /* of the space that it is of */
};

/* A copy that a CPU is making, by holds: which pages it will meet, byte by byte. */
struct copying {
	bool cy_on;
	uint64_t cy_offset; /* of the next byte, in the first page */
	unsigned int cy_npages;
	struct page *cy_pages[GRIP_PAGES];
	const char *cy_check; /* what a wrong byte is */
	const char *cy_invariant;
	const char *cy_name;
};

struct dma_device {
	struct space *dd_space; /* attached to; or being attached or detached */
	bool dd_changing;
};

enum vmop_count {
	VO_HOLD,
	VO_HOLD_REFUSED,
	VO_HOLD_SEG,
	VO_TOUCH,
	VO_RELEASE,
	VO_COPY_IN,
	VO_COPY_OUT,
	VO_PAGEOUT,
	VO_PAGED_OUT,
	VO_MAP,
	VO_MAP_WIRED,
	VO_UNMAP,
	VO_MANY_MAPS,
	VO_RESET,
	VO_NEW_SEG,
	VO_ATTACH,
	VO_DETACH,
	VO_DMA_READ,
	VO_DMA_WRITE,
	VO_LOG_BACK,
	VO_NX,
	VO_EXEC_RECOVER,
	VO_HOSTILE,
	VO_QUIET,
	VO_COUNT,
};

struct vmops {
	struct grip vo_grips[GRIPS];
	struct copying vo_copying[SIM_MAX_CPUS + 1];
	struct dma_device vo_devices[SIM_DEVICES];
	uint64_t vo_count[VO_COUNT];
	unsigned int vo_active; /* CPUs inside an operation */
	bool vo_stopping;	/* one of them wants to be alone */
};

/* ---- vmop.c --------------------------------------------------------------------------------- */

/* In world_create(): hooks. */
void vmop_create(struct world *w); /* vmop_device.c */
void vmop_hooks(struct world *w);

/* Every space is closed, and the system still there: the last holds go. */
void vmop_release_all(struct world *w);

/* A space is about to be destroyed; it has been, with its devices. */
void vmop_space_closed(struct space *sp);

/* Around each operation of a CPU's program, the running of vCPUs included. */
void vmop_enter(struct world *w);
void vmop_leave(struct world *w);

void vmop_tick(struct world *w, enum vmop_count c);

/* The counters, into an outcome. */
void vmop_report(const struct world *w, unsigned int flags, struct sim_outcome *out);

/* The region of an address, mapped or not; NULL if there is none. */
struct region *vmop_slot(struct space *sp, gpa_t gpa);

/* Begins to follow a copy on this CPU of [offset, ...) from the first of these pages on. */
void vmop_follow(struct world *w, struct page *const *pages, unsigned int npages, uint64_t offset,
		 const char *check, const char *invariant, const char *name);
void vmop_unfollow(struct world *w);

/* What may happen to anybody who asks for memory or waits; a signal has done its work then. */
bool vmop_excused(int error);

/* The host writes a word of a page, by whatever way, at this instant. */
void vmop_wrote(struct world *w, struct page *pg, unsigned int word, uint64_t value);

hostop_fn vmop_hold, vmop_hold_seg, vmop_touch, vmop_release, vmop_copy;
void vmop_hold_bytes(struct space *sp, gpa_t gpa, uint64_t len, unsigned int prot);

/* ---- vmop_map.c ----------------------------------------------------------------------------- */

hostop_fn vmop_move, vmop_move_window, vmop_many, vmop_reset, vmop_new_seg;

/* ---- vmop_mode.c ---------------------------------------------------------------------------- */

hostop_fn vmop_pageout, vmop_log_back, vmop_nx, vmop_quiet;
void vmop_pageout_pages(struct space *sp, bool only_its, uint64_t npages, unsigned int flags);

/* ---- vmop_device.c -------------------------------------------------------------------------- */

hostop_fn vmop_attach, vmop_detach;

/* Whether any device is attached to a space, or about to be. */
bool vmop_has_devices(const struct space *sp);

/*
 * Whether devices may write what a region shows: the dirty log then always tells of it. Surely, or
 * also while the only device is being attached or detached.
 */
bool vmop_device_writes(const struct space *sp, const struct region *rg, bool surely);

/* Devices make accesses, or are still. */
void vmop_devices_run(struct world *w, bool run);

/* Whatever a device of a space could write may be in the log from here on. */
void vmop_may_be_logged(struct space *sp);

/* vm_attach_device() that is to be refused. */
int vmop_attach_nothing(struct space *sp, uint64_t device);

/* ---- vmop_hostile.c ------------------------------------------------------------------------- */

hostop_fn vmop_hostile, vmop_hostile_alone;

/* ---- oracle_vm.c ---------------------------------------------------------------------------- */

/* Between steps. */
void oracle_vm_audit(struct world *w);

/* A table word is about to name a frame of data: not where no map is. */
void oracle_vm_installing(struct space *sp, const struct sim_table_write *tw);

/* A wired leaf is about to go: not where a map is wired. */
void oracle_vm_removing(struct space *sp, const struct sim_table_write *tw);

/* Nothing runs: all of vmspace's accounts, maps, pages and contents. */
void oracle_vm_quiet(struct world *w);

/* At the end of a run: everything that was ever written is still there, in memory or in swap. */
void oracle_vm_read_back(struct world *w);

#endif /* SIM_VMOP_H */
