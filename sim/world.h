/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The world that the simulator runs: address spaces, their vCPUs or threads, and the host's side.
 *
 * A space is what a guest (or a process, or the host kernel) may address: regions of 2 MiB, in each
 * of them pages with rights and a frame. It stands in for the layer that will own pmaps: it decides
 * what is mapped, answers faults, and takes decisions back. The core is a cache of these decisions.
 *
 * Every page has a ghost: what it must contain, whether it was written or used since somebody last
 * asked. Ghosts change at the same instant as the simulated access, so they are always right; what
 * the core says is held against them (oracle.c).
 */

#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "ept/ept.h"
#include "ept/profiles.h"
#include "pmap/pmap_ident.h"
#include "sim/hw.h"
#include "sim/machine.h"
#include "sim/options.h"
#include "sim/oracle_tlb.h"

#define REGION_PAGES 512u
#define REGION_BYTES ((uint64_t)REGION_PAGES * SIM_PAGE_SIZE)

/* One page as its owner sees it. Plain memory: between scheduling points a fiber is alone. */
struct page {
	uint64_t pg_frame;   /* hpa of its data, 0 if it has none yet */
	uint64_t pg_content; /* ghost: what a load must find */
	uint8_t pg_prot;     /* rights that the owner grants */
	uint8_t pg_losing;   /* rights being taken away, until the shootdown is over */
	uint8_t pg_writers;  /* writes begun and not ended */
	bool pg_absent : 1;  /* being moved or discarded: faults come back later */
	bool pg_busy : 1;    /* an operation of the host works on it */
	bool pg_wired : 1;
	bool pg_dirty : 1;	/* ghost: written since last collected */
	bool pg_maydirty : 1;	/* ghost: a write was begun since then */
	bool pg_noted : 1;	/* pc_note said modified */
	bool pg_asked : 1;	/* written and not noted when pmap_is_modified() was asked */
	bool pg_used : 1;	/* ghost: accessed since last aged */
	bool pg_noted_used : 1; /* pc_note said accessed */
};

struct region {
	gpa_t rg_base;
	struct page *rg_pages;	/* REGION_PAGES */
	uint64_t rg_run;	/* first of 512 contiguous frames reserved for it, or 0 */
	unsigned int rg_npages; /* the first so many exist */
	enum pt_memattr rg_memattr;
	bool rg_super;	   /* may be mapped by a superpage */
	bool rg_had_super; /* has been: A and M may have been reported too widely */
};

struct space;

/* A vCPU of a guest, or a thread of an X86 space: what makes accesses. */
struct vcpu {
	struct space *vc_space;
	struct pmap_slot *vc_slot; /* RVI: its own */
	struct pmap_asid vc_asid;
	struct pmap_vpid_home vc_home;
	uint16_t vc_vpid;
	struct hw_context vc_ctx;
	uint64_t vc_seen;    /* ghost generation of its last effective flush (RVI) */
	unsigned int vc_cpu; /* where it ran last */
	bool vc_running;
	unsigned int vc_faults; /* in a row, without an access in between */
	bool vc_have;		/* an access is to be made, or made again after a fault */
	gpa_t vc_gpa;
	unsigned int vc_access;
	void *vc_program; /* what it does next; the workload's */
};

struct space {
	struct world *sp_world;
	unsigned int sp_id;
	enum sim_arch sp_arch;
	const char *sp_name;
	struct ept_cpu sp_cpu;
	struct hw_model sp_model;
	struct hw_context sp_ctx; /* EPT and X86; RVI contexts are the vCPUs' */
	struct pmap_config sp_config;
	struct pmap *sp_pmap;
	uint64_t sp_dying_root;	    /* of the pmap being destroyed, until its page is free */
	struct host_word sp_revoke; /* the word that pmap_enter() reads again */
	struct pmap_slot *sp_slots[SIM_MAX_CPUS]; /* EPT, X86: one per CPU, once it ran there */
	uint64_t sp_slot_seen[SIM_MAX_CPUS];	  /* ghost generation of their last flush */
	uint64_t sp_slot_online[SIM_MAX_CPUS];	  /* the CPU's online count when last used */
	struct region *sp_regions;
	unsigned int sp_nregions;
	struct vcpu *sp_vcpus;
	unsigned int sp_nvcpus;
	unsigned int sp_users; /* fibers inside one of its functions */
	bool sp_closing;       /* about to be destroyed and made anew */
	bool sp_backlogged;
	uint64_t sp_ghost_gen; /* the generation, never wrapped */
	uint64_t sp_last_gen;  /* as last read */
};

/* What a CPU is doing, as far as others must know. */
struct cpu {
	struct space *cp_loaded; /* X86 space that is loaded, for kicks */
	struct pmap_asid_cpu cp_asids;
	uint64_t cp_online; /* times it came online, from 1 */
	uint64_t cp_faults; /* faults begun; odd while one is being handled */
	struct space *cp_fault_space;
};

#define WORLD_SPACES_MAX 32

/* Where the host kernel's addresses begin; no process has any above. */
#define WORLD_KERNEL_BASE ((uint64_t)1 << 46)

enum world_count {
	WC_READS,
	WC_WRITES,
	WC_FETCHES,
	WC_DENIED,
	WC_FAULTS,
	WC_FAULT_RETRIES,
	WC_FAULT_NOMEM,
	WC_ZERO_FILLS,
	WC_SUPER_ENTERS,
	WC_MOVES,
	WC_ENTRIES,
	WC_ENTRY_FLUSHES,
	WC_REMOVE,
	WC_MIGRATE,
	WC_DISCARD,
	WC_PROTECT,
	WC_WIDEN,
	WC_CLEAN,
	WC_CLEAR_MODIFY,
	WC_AGE,
	WC_REFERENCED,
	WC_PEEK,
	WC_PROMOTE,
	WC_PROMOTED,
	WC_DEMOTE,
	WC_DEMOTED,
	WC_PREFAULT,
	WC_WIRE,
	WC_UNWIRE,
	WC_EXTRACT,
	WC_INVALIDATE,
	WC_DRAIN,
	WC_MISUSE,
	WC_RECREATE,
	WC_OFFLINE,
	WC_COUNT,
};

struct world {
	const struct sim_options *wo_options;
	struct sim_machine *wo_machine;
	struct space *wo_spaces[WORLD_SPACES_MAX];
	unsigned int wo_nspaces;
	struct space *wo_kernel; /* or NULL: one of them */
	struct cpu wo_cpus[SIM_MAX_CPUS];
	bool wo_yielding;	 /* rights taken away are given back to whoever asks */
	uint32_t wo_tlb_entries; /* room in each CPU's TLB; 0: as good as endless */
	struct pmap_vpids *wo_vpids;
	uint64_t wo_replayed; /* accesses of recorded programs, all vCPUs together */
	uint64_t wo_next_content;
	uint64_t wo_count[WC_COUNT];
	struct pmap_stats wo_stats; /* summed over spaces when they are destroyed */
};

extern const char *const world_count_names[WC_COUNT];

/* What to build a space from. */
struct space_plan {
	enum sim_arch sl_arch;
	const char *sl_name;
	const struct ept_profile *sl_profile; /* of the type the arch needs */
	struct ept_policy sl_policy;
	unsigned int sl_flags; /* PMAP_REFERENCE, PMAP_DEFER */
	unsigned int sl_nvcpus;
	uint32_t sl_kindness; /* HW_KIND_* */
};

/* ---- world.c -------------------------------------------------------------------------------- */

/* Machine and hardware exist already; the driver's context. Registers all hooks. */
int world_create(struct world *w, const struct sim_options *o, struct sim_machine *m);

/* Adds a space without regions; 0 or a negative errno. Driver or fiber. */
int world_add_space(struct world *w, const struct space_plan *plan, struct space **out);

/* A region of `npages`; rights prot for each page. In any order, not overlapping. */
void space_add_region(struct space *sp, gpa_t base, unsigned int npages, unsigned int prot,
		      enum pt_memattr memattr, bool super);
/* Makes room for n regions first. */
void space_reserve_regions(struct space *sp, unsigned int n);

/* pmap and slots: made when the space is, and again after space_close(). */
int space_open(struct space *sp);
void space_close(struct space *sp);

/* Tears everything down; what is left after it is a leak. */
void world_destroy(struct world *w);

void world_tick(struct world *w, enum world_count c);

/* An operation of its pmap is over: reads the clock for CK-GEN. */
void space_observe(struct space *sp);

/* The ghost of a generation that a slot has just acknowledged. */
uint64_t space_ghost_of(const struct space *sp, uint64_t gen);

/* ---- space.c -------------------------------------------------------------------------------- */

struct region *space_region(struct space *sp, gpa_t gpa);
struct page *space_page(struct space *sp, gpa_t gpa);

/* The content word of a page's frame is given; allocated if need be. False without memory. */
bool page_fill(struct space *sp, struct region *rg, struct page *pg);

/* Answers a fault: 0 to resume, -EACCES if denied, -EAGAIN to come back later, -ENOMEM. */
int space_fault(struct space *sp, gpa_t gpa, unsigned int access);

/* Takes a decision back: new state is in place; publishes that, with a full fence. */
void space_revoke(struct space *sp);

/* Waits until no fault that was decided before now is still being answered. */
void space_await_faults(struct space *sp);

/* ---- vcpu.c --------------------------------------------------------------------------------- */

/* One access for a program to make; false to stop. */
typedef bool next_access_fn(void *arg, struct vcpu *v, gpa_t *gpa, unsigned int *access);

/* Runs a vCPU (or thread) on this CPU for a while; false if it was running elsewhere. */
bool vcpu_run(struct vcpu *v, next_access_fn *next, void *arg);

/* The interrupt handler of every CPU. */
void vcpu_kick_handler(void *arg, unsigned int cpu);
/* host_invlpg() and host_flush_tlb() of the simulated CPUs. */
void vcpu_tlb_hooks(struct world *w);

/* A CPU's program begins and ends: between them the host kernel's space is active on it. */
void cpu_begin(struct world *w);
void cpu_end(struct world *w);

/* This CPU, in no space, goes offline and comes back. */
void cpu_bounce(struct world *w);

bool space_is_rvi(const struct space *sp);

/* ---- oracle.c ------------------------------------------------------------------------------- */

void oracle_hooks(struct world *w);

/* How often everything is looked at in the middle of everything; 997 steps at first. */
void oracle_audit_every(struct world *w, uint64_t steps);

/* Around each guest access: before it is tried, and when it succeeded or was given up. */
void oracle_access_begin(struct space *sp, gpa_t gpa, unsigned int access);
void oracle_access_done(struct space *sp, gpa_t gpa, unsigned int access,
			const struct hw_translation *t);
void oracle_access_failed(struct space *sp, gpa_t gpa, unsigned int access);

/* The note callback of every pmap. */
void oracle_note(void *arg, const struct pmap_leaf *leaf);

/* A range after an operation: nothing dirty is lost; rights, frames and types are no wider. */
void oracle_check_range(struct space *sp, gpa_t start, gpa_t end);

/* M (or A) was collected into a bitmap, and its shootdown is over. */
void oracle_cleaned(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap);
void oracle_aged(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap,
		 const uint64_t *used_before);

/* pmap_check() and the whole space. Nothing else runs. */
void oracle_check_quiet(struct space *sp);

/* ---- hostop.c ------------------------------------------------------------------------------- */

/* One operation of the host on [start, end) of a space. */
typedef void hostop_fn(struct space *sp, gpa_t start, gpa_t end);

hostop_fn hostop_remove, hostop_migrate, hostop_discard, hostop_protect, hostop_widen, hostop_clean,
	hostop_clear_modify, hostop_age, hostop_referenced, hostop_peek, hostop_promote,
	hostop_demote, hostop_prefault, hostop_wire, hostop_unwire, hostop_extract,
	hostop_invalidate, hostop_drain, hostop_misuse, hostop_recreate;

#endif /* SIM_WORLD_H */
