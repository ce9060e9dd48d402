/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The world that the simulator runs: address spaces, their vCPUs or threads, and the host's side.
 *
 * A space is what a guest (or a process, or the host kernel) may address. Each is a vmspace, and
 * it is vmspace that decides what is mapped: segments of memory, shown by maps. The simulator
 * keeps no second opinion of that. It keeps ghosts.
 *
 * A segment and each of its pages have a ghost: what the page must contain, byte for byte,
 * whether it was written or used since somebody last asked. A region is the ghost of a map: which
 * pages it shows, with which rights. Ghosts change at the same instant as the simulated access,
 * so they are always right; what the core says is held against them (oracle*.c). Where a page
 * lies is no affair of theirs: the contents show it.
 */

#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "ept/ept.h"
#include "ept/profiles.h"
#include "pmap/pmap_ident.h"
#include "sim/hw/hw.h"
#include "sim/machine/machine_vm.h"
#include "sim/cli/options.h"
#include "sim/oracle/oracle_tlb.h"
#include "vmspace/vmspace.h"

#define REGION_PAGES 512u
#define REGION_BYTES ((uint64_t)REGION_PAGES * SIM_PAGE_SIZE)
#define PAGE_WORDS (SIM_PAGE_SIZE / 8)
#define PAGE_OF(gpa) ((gpa) & ~(uint64_t)(SIM_PAGE_SIZE - 1))

/* What a page must contain, once anybody wrote to it; until then zeros. */
struct ghost {
	uint64_t gh_words[PAGE_WORDS];
	/*
	 * A set bit: the word is either as above or 0, since it was written while the page was
	 * being discarded. The next look tells.
	 */
	uint64_t gh_loose[PAGE_WORDS / 64];
};

/*
 * One page of a segment. Plain memory: between scheduling points a fiber is alone.
 *
 * pg_dirty to pg_asked follow the M bit in the tables: what was written and is not known to
 * vmspace is seen there. pg_log* follow the dirty log: what it owes to the next collection.
 */
struct page {
	struct ghost *pg_ghost; /* NULL: zeros */
	uint16_t pg_holds;	/* by the host's programs, of both kinds */
	uint16_t pg_write_holds;
	uint8_t pg_writers;  /* writes begun and not ended */
	bool pg_touched : 1; /* somebody accessed it, or tried to */
	bool pg_busy : 1;    /* an operation of the host works on it */
	bool pg_discarding : 1;
	bool pg_pinned : 1; /* while being discarded: was held or wired at some time */

	bool pg_dirty : 1;	/* written since the tables were last emptied of M */
	bool pg_maydirty : 1;	/* a write was begun since then */
	bool pg_noted : 1;	/* pc_note said modified */
	bool pg_asked : 1;	/* what was so when a question was asked */
	bool pg_peeked : 1;	/* the same, by who only looks, beside others */
	bool pg_logdirty : 1;	/* written since the log was last cleared */
	bool pg_maylog : 1;	/* the log may report it */
	bool pg_asked_held : 1; /* held for writing since a question was asked */

	bool pg_used : 1;	/* accessed since last aged */
	bool pg_noted_used : 1; /* pc_note said accessed */
};

enum seg_kind {
	SEG_SYSMEM,
	SEG_ROM,	 /* "bootrom": filled by the host, read and executed */
	SEG_FRAMEBUFFER, /* "framebuffer": read and written */
	SEG_WINDOW,	 /* no segment, but frames of a device */
};

/* The ghost of a memory segment. */
struct seg {
	int sg_ident; /* -1: SEG_WINDOW */
	enum seg_kind sg_kind;
	unsigned int sg_npages;
	uint64_t sg_hpa;       /* SEG_WINDOW: of the first frame */
	unsigned int sg_users; /* fibers that count on its pages to stay what they are */
	bool sg_remaking;
	struct page *sg_pages;
};

/*
 * The ghost of a map: pages [rg_first, rg_first + rg_npages) of a segment at rg_base. Rights are
 * changed before vmspace is asked to widen them, and after it has taken them away.
 */
struct region {
	gpa_t rg_base;
	unsigned int rg_npages;
	struct seg *rg_seg;
	unsigned int rg_first;
	uint8_t rg_prot;     /* granted */
	uint8_t rg_losing;   /* being taken away: may be used until that is over */
	uint8_t rg_gaining;  /* of rg_prot: being given, may be denied until that is over */
	bool rg_wiring;	     /* being wired: devices may reach it already */
	uint8_t rg_prot_max; /* when it was made */
	uint64_t rg_changes; /* of its rights, begun or over */
	enum pt_memattr rg_memattr;
	bool rg_wired;
	bool rg_absent; /* not mapped at the time (moved, being unmapped) */
	bool rg_shown;	/* it is mapped when the space is made */
	bool rg_super;	/* may be mapped by a superpage */
};

struct space;
struct vmops;

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
	bool vc_ran;
	bool vc_running;
	bool vc_gpa_known;	/* it has made an access */
	bool vc_poisoned;	/* the last one met a bad frame */
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
	struct vmspace_config sp_config;
	struct vmspace *sp_vs;
	struct pmap *sp_pmap;	/* its tables; NULL while there are none */
	uint64_t sp_dying_root; /* of the pmap being destroyed, until its page is free */
	struct pmap_slot *sp_slots[SIM_MAX_CPUS]; /* EPT, X86: one per CPU, once it ran there */
	uint64_t sp_slot_seen[SIM_MAX_CPUS];	  /* ghost generation of their last flush */
	uint64_t sp_slot_online[SIM_MAX_CPUS];	  /* the CPU's online count when last used */
	struct seg *sp_segs;			  /* room for all that will ever be added */
	unsigned int sp_nsegs;
	struct region *sp_regions; /* by address */
	unsigned int sp_nregions;
	struct vcpu *sp_vcpus;
	unsigned int sp_nvcpus;
	unsigned int sp_users; /* fibers inside one of its functions */
	bool sp_closing;       /* about to be destroyed and made anew */
	bool sp_backlogged;
	bool sp_had_super; /* a superpage has been: A and M may have been reported too widely */
	bool sp_log;	   /* the dirty log is on */
	bool sp_log_changing;
	uint64_t sp_log_changes;   /* begun */
	unsigned int sp_log_users; /* fibers that count on it to stay on or off */
	bool sp_nx;		   /* execute control is on, for sure */
	bool sp_nx_changing;
	unsigned int sp_attaching; /* attachments under way that will be refused */
	bool sp_many;		   /* somebody shows more maps than there are regions */
	gpa_t sp_many_base;	   /* where: nothing else is near */
	bool sp_renewed;	   /* a segment was freed: what is held of it is in the accounts */
	uint64_t sp_ghost_gen;	   /* the generation, never wrapped */
	uint64_t sp_last_gen;	   /* as last read */
};

/* What a CPU is doing, as far as others must know. */
struct cpu {
	struct space *cp_loaded; /* X86 space that is loaded, for kicks */
	struct pmap_asid_cpu cp_asids;
	uint64_t cp_online; /* times it came online, from 1 */
	uint64_t cp_faults; /* faults begun or over; odd while one is being handled */
	struct space *cp_fault_space;
	gpa_t cp_fault_gpa;   /* of the page */
	bool cp_inside;	      /* between space_op_begin() and space_op_end() */
	uint64_t cp_failures; /* injected until then */
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
	WC_FAULT_INTERRUPTED,
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
	WC_HARVEST,
	WC_LOG,
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
	WC_ENTER_RUN,
	WC_COUNT,
};

struct world {
	const struct sim_options *wo_options;
	struct sim_machine *wo_machine;
	struct space *wo_spaces[WORLD_SPACES_MAX];
	unsigned int wo_nspaces;
	struct space *wo_kernel; /* or NULL: one of them */
	struct cpu wo_cpus[SIM_MAX_CPUS];
	struct vm_system *wo_system;
	uint64_t wo_mem_limit;	      /* of vm_system, in bytes; 0: all frames */
	bool wo_may_reclaim;	      /* allocations may fail, so vmspace may age and drop pages */
	bool wo_short;		      /* memory is limited: it does so all the time */
	bool wo_unanswered;	      /* a fault ends what a vCPU was about to do */
	bool wo_yielding;	      /* rights taken away are given back to whoever asks */
	uint32_t wo_tlb_entries;      /* room in each CPU's TLB; 0: as good as endless */
	uint64_t wo_devices;	      /* hpa of 2 MiB of devices' memory, for windows */
	unsigned int wo_device_pages; /* of it, in use */
	struct ghost *wo_ghosts;      /* not in use yet; wo_nghosts of them */
	unsigned int wo_nghosts;
	struct pmap_vpids *wo_vpids;
	struct vmops *wo_vmops;	   /* vmop.h */
	struct run_owner *wo_runs; /* hostop_run.c; NULL until there was a run */
	bool wo_iommu;		   /* there is one */
	uint64_t wo_until; /* step at which CPUs stop what would never end; 0: there is no such */
	uint64_t wo_replayed; /* accesses of recorded programs, all vCPUs together */
	uint64_t wo_next_content;
	uint64_t wo_count[WC_COUNT];
	struct pmap_stats wo_stats; /* summed over spaces when they are destroyed */
	struct vmspace_stats wo_vm_stats;
};

extern const char *const world_count_names[WC_COUNT];

/* What to build a space from. */
struct space_plan {
	enum sim_arch sl_arch;
	const char *sl_name;
	const struct ept_profile *sl_profile; /* of the type the arch needs */
	struct ept_policy sl_policy;
	unsigned int sl_flags;	  /* PMAP_REFERENCE, PMAP_DEFER */
	unsigned int sl_vm_flags; /* VM_* */
	uint64_t sl_limit_pages;
	unsigned int sl_nvcpus;
	uint32_t sl_kindness; /* HW_KIND_* */
};

/* ---- world.c -------------------------------------------------------------------------------- */

/* Machine and hardware exist already; the driver's context. Registers all hooks. */
int world_create(struct world *w, const struct sim_options *o, struct sim_machine *m);

/* Adds a space without regions; 0 or a negative errno. Driver or fiber. */
int world_add_space(struct world *w, const struct space_plan *plan, struct space **out);

/*
 * vmspace and slots: made when the space is, and again after space_close(), with the same
 * segments and maps; memory is empty then, but for boot ROMs. -ENOMEM: nothing was made.
 */
int space_open(struct space *sp);
void space_close(struct space *sp);

/* Tears everything down; what is left after it is a leak. */
void world_destroy(struct world *w);

/*
 * The thread that was killed here was its process's last one: the space that it had goes, too; if
 * it had one.
 */
void world_bury(struct world *w, struct space *sp);

/* What must hold of the whole when each space is quiet, then world_destroy(). */
void world_end(struct world *w);

/* Instead, of a world that is not torn down: what it counted is added to wo_stats. */
void world_keep_stats(struct world *w);

void world_tick(struct world *w, enum world_count c);

/* An operation of its pmap is over: reads the clock for CK-GEN. */
void space_observe(struct space *sp);

/* The ghost of a generation that a slot has just acknowledged. */
uint64_t space_ghost_of(const struct space *sp, uint64_t gen);

/* ---- space.c -------------------------------------------------------------------------------- */

/* Makes room for segments and maps first. */
void space_reserve(struct space *sp, unsigned int nsegs, unsigned int nregions);

/*
 * A segment of `npages`, and a map of it; in the driver's context, while the space is open.
 * Failed allocations are tried again. What the tables of this CPU cannot express is not made:
 * NULL.
 */
struct seg *space_add_seg(struct space *sp, enum seg_kind kind, unsigned int npages);
struct region *space_add_region(struct space *sp, gpa_t base, struct seg *sg, unsigned int first,
				unsigned int npages, unsigned int prot);

/* The same, for a place at which a segment may be shown later; NULL if it cannot be. */
struct region *space_add_place(struct space *sp, gpa_t base, struct seg *sg, unsigned int first,
			       unsigned int npages, unsigned int prot);

/* Makes a segment in vmspace, with its first contents. 0 or as vm_alloc_memseg(). */
int space_make_seg(struct space *sp, struct seg *sg);

/* Its pages are new ones; those that are held live on without it. */
void space_renew_seg(struct space *sp, struct seg *sg);

/* The ghosts as they are when a space is new, before anybody sees it. */
void space_renew(struct space *sp);

/* All segments and maps again, in a new vmspace. 0 or -ENOMEM. */
int space_populate(struct space *sp);

struct region *space_region(struct space *sp, gpa_t gpa);
struct page *space_page(struct space *sp, gpa_t gpa);

static inline struct page *
region_page(const struct region *rg, gpa_t gpa)
{
	struct page *const pg =
		&rg->rg_seg->sg_pages[rg->rg_first + (gpa - rg->rg_base) / SIM_PAGE_SIZE];

	sim_touch_ghost(pg);
	return pg;
}

/* Rights that a map grants or is about to lose. */
static inline unsigned int
region_rights(const struct region *rg)
{
	return rg->rg_prot | rg->rg_losing;
}

/* Its map is coming or going: vmspace may know it or not, and it grants nothing for sure. */
static inline bool
region_in_doubt(const struct region *rg)
{
	return rg->rg_prot == 0;
}

/*
 * vm_fault() on behalf of a guest or, ahead of it, of the host: 0 to go on, -EACCES or -EFAULT if
 * that is what the ghost says, too; -ENOMEM, -EINTR, -EIO to come back later.
 */
int space_fault(struct space *sp, gpa_t gpa, unsigned int access);

/*
 * Around a call of vmspace that may take anything out of the tables: what CPUs have cached of
 * [start, end) is judged at the end, unless its flush may have been left for a later drain.
 */
void space_op_begin(struct space *sp, struct oracle_tlb_op *op);
void space_op_end(struct space *sp, struct oracle_tlb_op *op, gpa_t start, gpa_t end);

/* Does what the space has put off. */
void space_drain(struct space *sp);

/* Whether somebody may be taking pages from anybody just now, for lack of memory. */
bool world_may_reclaim(const struct world *w);

/*
 * Whether anybody is in the middle of an operation that may take something out of any tables;
 * but_faults: of one that is no fault.
 */
bool world_is_inside(const struct world *w, bool but_faults);

/* Whether a fault is being handled on any CPU. */
bool space_is_faulting(const struct space *sp);

/* Whether one is at this page: who finds himself revoked takes back what he has entered. */
bool space_is_faulting_at(const struct space *sp, gpa_t gpa);

/* What vmspace knows of a page, without a scheduling point; false: no map, or a window. */
bool space_page_info(struct space *sp, gpa_t gpa, struct vm_page_info *info);

/* The frame that a page has now; 0: none. */
uint64_t space_frame(struct space *sp, gpa_t gpa);

/* ---- ghost.c -------------------------------------------------------------------------------- */

/* A word as it must be, and whether `value` may be found there. A look settles what was loose. */
uint64_t ghost_word(const struct page *pg, unsigned int word);
bool ghost_found(struct page *pg, unsigned int word, uint64_t value);

/* A word is written, at the instant when the bytes are. */
void ghost_write(struct world *w, struct page *pg, unsigned int word, uint64_t value);

/* From here on the page reads as zeros. */
void ghost_clear(struct page *pg);

/*
 * Around a discard of a page. Meanwhile each word may be found as written or as 0. If it was
 * done: zeros, but for what was written meanwhile, which is loose; if it may have been done, all
 * is loose.
 */
enum ghost_fate { GHOST_KEPT, GHOST_DISCARDED, GHOST_UNKNOWN };
void ghost_discard_begin(struct world *w, struct page *pg);
void ghost_discard_end(struct page *pg, enum ghost_fate fate);

/* Whether 4096 bytes are what the page must contain; if not, *word is the first that differs. */
bool ghost_equal(const struct page *pg, const uint64_t *bytes, unsigned int *word);

/* A new value to write, unlike all others. */
uint64_t ghost_value(struct world *w);

/* ---- vcpu.c --------------------------------------------------------------------------------- */

/* One access for a program to make; false to stop. */
typedef bool next_access_fn(void *arg, struct vcpu *v, gpa_t *gpa, unsigned int *access);

/* Runs a vCPU (or thread) on this CPU for a while; false if it was running elsewhere. */
bool vcpu_run(struct vcpu *v, next_access_fn *next, void *arg);

/* In the driver's context: the slots of a space for all CPUs, as if each had run it. */
void vcpu_attach(struct space *sp);

/*
 * Likewise: as if the vCPU had run on that CPU just now, and left; what an entry would have flushed
 * is flushed.
 */
void vcpu_ran(struct vcpu *v, unsigned int cpu);

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

/* The note callback of every pmap, after vmspace's. */
void oracle_note(void *arg, const struct pmap_leaf *leaf);

/* What the tables show of a page now: M, or the right to write where M is emulated; A. */
bool oracle_modified_now(struct space *sp, gpa_t gpa);
bool oracle_used_now(struct space *sp, gpa_t gpa);

/* The tables are about to be asked for M, and have told, without losing it. */
void oracle_m_begin(struct space *sp, gpa_t start, gpa_t end);
void oracle_m_end(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap);
/* The same, and they have lost it. */
void oracle_m_taken(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap);

/* A collection of the dirty log begins on a range, and is over; bitmap is what it told. */
void oracle_log_begin(struct space *sp, gpa_t start, gpa_t end);
void oracle_log_end(struct space *sp, gpa_t start, gpa_t end, enum vm_dirty_op op,
		    const uint64_t *bitmap);
/* The log was switched on (initially_set as in vmspace.h) or off. */
void oracle_log_switched(struct space *sp, bool initially_set);

/* A was collected into a bitmap, and its shootdown is over. */
void oracle_aged(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap,
		 const uint64_t *used_before);

/* ---- oracle_pages.c ------------------------------------------------------------------------- */

/* A fault is over: while nobody may be collecting, no M is where it would be passed over. */
void oracle_check_passed_over(struct space *sp, gpa_t gpa);

/* A range after an operation: nothing dirty is lost; rights, frames and types are no wider. */
void oracle_check_range(struct space *sp, gpa_t start, gpa_t end);

/*
 * Everything, from the tables to the bytes of every page. Nothing else runs in this space. In the
 * driver, oracle_check_system() and oracle_vm_quiet() come after it, in this order: so nothing is
 * audited twice.
 */
void oracle_check_quiet(struct space *sp);

/* The system, when nothing runs at all; and when every space is gone. */
void oracle_check_system(struct world *w);
void oracle_check_empty(struct world *w);

/* ---- oracle_writes.c ------------------------------------------------------------------------ */

/* Watches every write to tables, and every frame that is freed. */
void oracle_write_hooks(struct world *w);

/* ---- hostop*.c ------------------------------------------------------------------------------ */

/*
 * One operation of the host on [start, end) of a space. What they share is in hostop.h; those on
 * the tables alone are in hostop_pmap.c, those of vmspace in hostop_vm.c.
 */
typedef void hostop_fn(struct space *sp, gpa_t start, gpa_t end);

hostop_fn hostop_remove, hostop_migrate, hostop_discard, hostop_protect, hostop_widen, hostop_clean,
	hostop_log, hostop_clear_modify, hostop_age, hostop_referenced, hostop_peek, hostop_promote,
	hostop_demote, hostop_prefault, hostop_wire, hostop_unwire, hostop_split_wired,
	hostop_sweep, hostop_rejoin, hostop_grant, hostop_extract, hostop_invalidate, hostop_drain,
	hostop_misuse, hostop_recreate, hostop_enter_run, hostop_revoke_run;

#endif /* SIM_WORLD_H */
