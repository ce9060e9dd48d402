/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap: nested and ordinary page tables, and the invalidation of what CPUs cached of them.
 *
 * A pmap is one address space: a tree of tables in one format (pt_fmt.h), the CPUs that run on it
 * (slots), and a clock of generations by which they drop stale translations (docs/PROTOCOL-TLB.md).
 * It is a cache of what its owner wants mapped: it may be emptied at any time.
 *
 * Rules for every function here unless it says otherwise:
 *  - Returns 0 or a negative errno. After a failure nothing has changed.
 *  - Ranges are [start, end), page aligned, within the address space; anything else is -EINVAL. An
 *    empty range is a success that does nothing. The last page of the space is usable.
 *  - May be called on any CPU, concurrently with every other function, with interrupts on and no
 *    lock held, outside epoch sections; does not sleep. Only pmap_init(), pmap_destroy() and
 *    pmap_drain() may sleep.
 *  - What restricts or removes takes a gather. The change is in the tables when the function
 *    returns, but CPUs may use what they cached until pmap_gather_finish() returns; until then no
 *    frame that was unmapped may be reused, and no dirty bit that was collected may be trusted.
 */

#ifndef PMAP_PMAP_H
#define PMAP_PMAP_H

#include "pmap/pt_fmt.h"

struct pmap;
struct pt_page;

/* pm_flags; the first three keep bhyve's names and values. */
#define PMAP_PDE_SUPERPAGE (1u << 8)	   /* the CPU maps 2 MiB (and 1 GiB, by its caps) */
#define PMAP_EMULATE_AD_BITS (1u << 9)	   /* no A and D in hardware */
#define PMAP_SUPPORTS_EXEC_ONLY (1u << 10) /* execute without read */
#define PMAP_REFERENCE (1u << 16)	   /* plainest form: locks everywhere, entry by entry */
#define PMAP_MIXED_SIZE_ERRATUM \
	(1u << 17)	      /* page sizes must not mix in a TLB (AMD 383, iTLB multihit) */
#define PMAP_DEFER (1u << 18) /* freed tables and aging may wait for a later flush */
#define PMAP_FLAGS_ALL                                                                          \
	(PMAP_PDE_SUPERPAGE | PMAP_EMULATE_AD_BITS | PMAP_SUPPORTS_EXEC_ONLY | PMAP_REFERENCE | \
	 PMAP_MIXED_SIZE_ERRATUM | PMAP_DEFER)

/*
 * A leaf whose accessed or modified state leaves the tables: removed, replaced, made read-only, or
 * collected on demand. The state is final for what happened before the change; a CPU with a cached
 * translation may still write until the gather finishes, always to a page reported modified here.
 */
struct pmap_leaf {
	gpa_t pl_gpa;
	hpa_t pl_hpa;
	unsigned int pl_level;
	unsigned int pl_prot; /* as it was */
	enum pt_memattr pl_memattr;
	bool pl_wired;
	bool pl_accessed;
	bool pl_modified;
};

struct pmap_config {
	enum pt_type pc_type;
	unsigned int
		pc_flags; /* PMAP_*; A/D, execute-only and superpages must agree with the caps */
	struct pt_caps pc_caps;

	/*
	 * Called for each leaf that loses A or M, before the function that caused it returns.
	 * Context: a table lock is held and an epoch section is open; it must not sleep or call
	 * this pmap. May be NULL.
	 */
	void (*pc_note)(void *arg, const struct pmap_leaf *leaf);

	/*
	 * PMAP_DEFER: called when the backlog of deferred work becomes non-empty; the owner then
	 * calls pmap_drain() within the age it is willing to bear. Same context as pc_note. May be
	 * NULL.
	 */
	void (*pc_backlog)(void *arg);
	void *pc_arg;

	/* Where its clock of shootdowns begins; 0: at 1. Tests begin near its end. */
	uint64_t pc_generation;
};

/*
 * Creates an empty pmap. -EINVAL for a contradictory configuration, -ENOMEM. May sleep.
 */
int pmap_init(const struct pmap_config *cfg, struct pmap **out);

/*
 * Removes every mapping (pc_note is called for each), waits for what is deferred, frees everything.
 * The caller has detached every slot and makes no other call from here on. May sleep.
 */
void pmap_destroy(struct pmap *pm);

/* ---- What the entries are made of ----------------------------------------------------------- */

/* Masks of this pmap's format; hoist them once per operation, as `const pt_entry_t PG_M = ...`. */
pt_entry_t pmap_valid_bit(const struct pmap *pm);
pt_entry_t pmap_rw_bit(const struct pmap *pm);
pt_entry_t pmap_accessed_bit(const struct pmap *pm);
pt_entry_t pmap_modified_bit(const struct pmap *pm);
const struct pt_fmt *pmap_fmt(const struct pmap *pm);

/* The host-physical address of the root table, for EPTP, nCR3 or CR3. Constant. */
hpa_t pmap_root(const struct pmap *pm);
unsigned int pmap_flags(const struct pmap *pm);

/* ---- Gather: one shootdown for many changes -------------------------------------------------- */

/*
 * Collects what must be flushed and which tables to free after that. Lives on the caller's stack;
 * the fields are private.
 */
struct pmap_gather {
	struct pmap *pg_pmap;
	struct pt_page *pg_tables; /* unlinked, to be freed after the flush */
	unsigned int pg_ntables;
	bool pg_flush;	  /* something needs a flush before finish returns */
	bool pg_deferred; /* something needs a flush, but not now */
	gpa_t pg_start;	  /* what to flush, for CPUs that can flush less than all */
	gpa_t pg_end;
};

void pmap_gather_begin(struct pmap_gather *g, struct pmap *pm);

/*
 * Returns when no CPU can use any translation that the gathered changes removed or restricted: one
 * new generation at most, one interrupt at most for each CPU that is in the guest with an older
 * one, none if no CPU is. Concurrent initiators share generations. Frees the gathered tables. The
 * gather is empty afterwards and may be used again. Context: interrupts on, no locks, no epoch
 * section.
 */
void pmap_gather_finish(struct pmap_gather *g);

/*
 * Invalidation without a change to the tables, for owners that changed something else that CPUs
 * cache. All end in pmap_invalidate_ept(), which bumps the generation and waits, except for PT_X86,
 * where CPUs flush page by page up to a threshold. -EINVAL as for any range.
 */
int pmap_invalidate_page(struct pmap *pm, gpa_t gpa);
int pmap_invalidate_range(struct pmap *pm, gpa_t start, gpa_t end);
void pmap_invalidate_all(struct pmap *pm);

/* Flushes and frees what PMAP_DEFER left behind. May sleep. */
void pmap_drain(struct pmap *pm);

/* ---- Mappings ------------------------------------------------------------------------------- */

/* What is to be mapped. Zeroed fields are the plain case: 4 KiB, write back, not wired. */
struct pmap_mapping {
	gpa_t pa_gpa; /* both aligned to the leaf's size */
	hpa_t pa_hpa;
	unsigned int pa_prot;	/* rights of the mapping, PMAP_PROT_* */
	unsigned int pa_access; /* rights being used now: sets A, and M for W; 0 maps ahead */
	unsigned int pa_level;	/* size: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB */
	enum pt_memattr pa_memattr;
	bool pa_wired;

	/*
	 * Installing against revoking: the owner's decision to map is only good while *pa_revoked
	 * == pa_revoked_was. Whoever takes such a decision back changes that word, makes a full
	 * fence, and removes; pmap_enter() re-reads it after installing and takes its entry back on
	 * change. NULL if the owner excludes this otherwise.
	 */
	const struct host_word *pa_revoked;
	uint64_t pa_revoked_was;
};

/*
 * Maps a page or superpage. Replaces what was there; if frame or memory type differ, break before
 * make, with a shootdown of its own. An equal mapping that is already there is a success (spurious
 * fault). A writable superpage is entered modified, since a clean one cannot exist.
 *
 * -EINVAL     misaligned, beyond the space or the CPU's physical width, level not supported,
 *             access not within prot
 * -EOPNOTSUPP rights or memory type that the format cannot express
 * -ENOMEM     no table page; every byte is mapped as before, though a superpage in the way may have
 *             been split
 * -EBUSY      a superpage would replace smaller mappings that are wired; what was not wired is gone
 * -EAGAIN     revoked meanwhile (pa_revoked): taken back, as if never entered
 *
 * A wired mapping stays wired, whatever is entered over it with the same frame, until
 * pmap_unwire().
 */
int pmap_enter(struct pmap *pm, const struct pmap_mapping *m);

/*
 * Enters n leaves of consecutive frames, m being the first, as pmap_enter() would one by one; but a
 * table that is missing is built with all its leaves, by plain stores, and then linked. *done is
 * how many are in: all if 0 is returned, else those before the one that failed. -EINVAL n is 0, or
 * the run reaches too far: nothing was done.
 */
int pmap_enter_run(struct pmap *pm, const struct pmap_mapping *m, uint64_t n, uint64_t *done);

/*
 * Unmaps a range. Never fails for lack of memory: a superpage that reaches beyond the range is
 * split; if no table can be had, an unwired one is removed whole (pc_note hears of all of it, and
 * it faults back), a wired one is split with the table that it keeps for this.
 */
int pmap_remove(struct pmap *pm, gpa_t start, gpa_t end, struct pmap_gather *g);

/*
 * Restricts every mapping in the range to prot, never widens one. No rights left: removed. The same
 * guarantee as pmap_remove() for lack of memory. -EOPNOTSUPP for a prot that cannot be expressed.
 */
int pmap_protect(struct pmap *pm, gpa_t start, gpa_t end, unsigned int prot, struct pmap_gather *g);

/*
 * Makes every wired mapping in the range an unwired one. An owner whose faults may be on their way
 * must change its word (pa_revoked) before, as for anything it takes back: else a fault that was
 * decided while the page was wired enters it so.
 */
int pmap_unwire(struct pmap *pm, gpa_t start, gpa_t end);

/* The leaf that maps gpa, as of some instant of the call. -ENOENT if there is none; -EINVAL. */
int pmap_extract(struct pmap *pm, gpa_t gpa, struct pmap_leaf *leaf);

/*
 * The entries that a hardware walk of gpa meets, top down; *n of them, the last one empty or a
 * leaf.
 */
int pmap_walk(struct pmap *pm, gpa_t gpa, pt_entry_t entries[PT_LEVELS_MAX], unsigned int *n);

/* ---- Accessed and modified ------------------------------------------------------------------ */

/*
 * A guest access with the rights `access` faulted. Sets A, and M for a write, where the CPU leaves
 * that to us; finds spurious faults on every CPU.
 *
 * 0       the mapping permits the access now: resume the guest
 * -ENOENT no mapping
 * -EACCES the mapping does not grant the right: the owner's to decide
 */
int pmap_emulate_accessed_dirty(struct pmap *pm, gpa_t gpa, unsigned int access);

/* Whether any mapping in the range is modified. */
int pmap_is_modified(struct pmap *pm, gpa_t start, gpa_t end, bool *modified);

/* Which bit pmap_harvest() collects, and whether it clears. */
#define PMAP_HARVEST_MODIFIED 0u
#define PMAP_HARVEST_ACCESSED 1u
#define PMAP_HARVEST_PEEK 2u /* read only: clears nothing */
#define PMAP_HARVEST_NOTE 4u /* M that is cleared goes to pc_note, too, not to bitmap alone */

/*
 * Sets bit i of bitmap for each page start + i * 4 KiB that is modified (or accessed), and clears
 * that state in the tables. bitmap holds one bit per page of the range; other bits stay as they
 * are. Of a superpage, all pages in the range are reported; clearing M splits it first, with
 * pmap_remove's guarantee, and then the pages removed outside the range go to pc_note. Clearing A
 * of a modified page under emulation clears M with it and reports that to pc_note. M counts once
 * the gather is finished. *found, if not NULL, is the number of leaves that were,
 * a superpage being one.
 */
int pmap_harvest(struct pmap *pm, gpa_t start, gpa_t end, unsigned int how, uint64_t *bitmap,
		 uint64_t *found, struct pmap_gather *g);

/* Clears M in the range; what was set goes to pc_note. */
int pmap_clear_modify(struct pmap *pm, gpa_t start, gpa_t end, struct pmap_gather *g);

/*
 * Counts and clears A in the range (aging). A superpage counts, and is aged, as one; unless A
 * cannot go without M (emulation) and it is modified: then it is split, and its pages in the range
 * count.
 */
int pmap_ts_referenced(struct pmap *pm, gpa_t start, gpa_t end, uint64_t *referenced,
		       struct pmap_gather *g);

/* ---- Superpages ----------------------------------------------------------------------------- */

/*
 * Joins the 512 mappings of the next smaller size around gpa into one of `level`, in place, if they
 * are contiguous, aligned, equal in rights, type and wiring, all accessed, and, if writable, all
 * modified. -EBUSY if not so; -ENOENT if there is no table of that size at gpa; -EOPNOTSUPP if the
 * CPU has no such size; -ENOMEM (a wired superpage keeps a spare table).
 */
int pmap_promote(struct pmap *pm, gpa_t gpa, unsigned int level, struct pmap_gather *g);

/*
 * Splits the superpage of `level` at gpa into the next smaller size; keeps rights, A and M. -ENOENT
 * if there is none; -ENOMEM.
 */
int pmap_demote(struct pmap *pm, gpa_t gpa, unsigned int level, struct pmap_gather *g);

/* ---- CPUs and vCPUs ------------------------------------------------------------------------- */

/*
 * Where one CPU (EPT, X86) or one vCPU (RVI) tells initiators what it is doing with a pmap. The
 * host allocates it, one per cache line, and keeps it until an epoch has passed after detaching.
 * The fields are private to pmap_tlb.c.
 */
struct pmap_slot {
	struct host_word ps_state; /* idle, or active with the generation acknowledged */
	struct host_word ps_cpu;   /* where to kick */
	struct host_word ps_force; /* set: ps_seen means nothing any more */
	uint64_t ps_seen;	   /* generation whose flush has taken effect here; 0 = none */
	uint64_t ps_ack;	   /* what this entry is committed to */
	uint64_t ps_forced;	   /* ps_force as this entry saw it */
	struct host_word ps_next;  /* list of pm_slots */
} __attribute__((aligned(64)));

/* Adds a zeroed, idle slot. It has seen nothing: its first entry flushes. */
void pmap_slot_attach(struct pmap *pm, struct pmap_slot *s);

/* Removes an idle slot; the caller frees it after an epoch. */
void pmap_slot_detach(struct pmap *pm, struct pmap_slot *s);

/*
 * What a CPU flushed before is void (VMXON, new ASID, other CPU): the next entry flushes. Idle
 * only.
 */
void pmap_slot_reset(struct pmap_slot *s);

/*
 * Before every guest entry, with interrupts blocked until pmap_guest_exit(): publishes this CPU as
 * active, and returns true if the context must be flushed before the next guest instruction
 * (INVEPT; TLB_CONTROL or a new ASID). Call pmap_guest_flushed() once that flush has taken effect:
 * after INVEPT, or after a VMRUN that did not fail. Context: interrupts blocked, no lock, no epoch
 * section. Intel SDM vol. 3C 29.4.3; AMD APM vol. 2 15.16.
 */
bool pmap_guest_enter(struct pmap *pm, struct pmap_slot *s);
void pmap_guest_flushed(struct pmap_slot *s);

/* After every guest exit, and after an entry that failed or was abandoned. */
void pmap_guest_exit(struct pmap_slot *s);

/*
 * PT_X86: this CPU loads the pmap into CR3, or unloads it; and the handler of the kick while it is
 * loaded. They flush as needed through host_invlpg() and host_flush_tlb(). Interrupts off, but for
 * an initiator that calls its own handler.
 */
void pmap_activate(struct pmap *pm, struct pmap_slot *s);
void pmap_deactivate(struct pmap_slot *s);
void pmap_kicked(struct pmap *pm, struct pmap_slot *s);

/* ---- Looking inside ------------------------------------------------------------------------- */

struct pmap_stats {
	uint64_t st_resident_pages; /* 4 KiB units mapped, superpages included */
	uint64_t st_wired_pages;
	uint64_t st_leaves[PT_LEAF_LEVELS_MAX]; /* by level */
	uint64_t st_tables;			/* table pages linked, the root included */
	uint64_t st_spares;			/* table pages kept for wired superpages */
	uint64_t st_limbo;			/* table pages unlinked, waiting for a flush */
	uint64_t st_promotions;
	uint64_t st_demotions;
	uint64_t st_demotion_failures; /* removed whole for lack of a table */
	uint64_t st_ad_emulations;     /* faults that set A or M */
	uint64_t st_spurious_faults;   /* the mapping permitted it already */
	uint64_t st_shootdowns;	       /* generations begun */
	uint64_t st_shootdowns_merged; /* gathers that rode another's generation */
	uint64_t st_shootdowns_elided; /* gathers with nothing to flush */
	uint64_t st_kicks;
	uint64_t st_enter_restarts; /* installers that met a frozen slot */
	uint64_t st_revoked;	    /* installers that took their entry back */
};

/* Exact when nothing else runs; else each value is one that was true during the call. */
void pmap_stats(struct pmap *pm, struct pmap_stats *st);

/* Table pages that the pmap holds: linked, spare, and unlinked ones waiting for a flush. */
uint64_t pmap_table_pages(struct pmap *pm);

/* Current generation, for tests and traces. */
uint64_t pmap_generation(const struct pmap *pm);

/*
 * Verifies every structural invariant of the tree (docs/INVARIANTS.md: I01-I03, I05, I07, I08, I12,
 * I42, I47) and the accounts against a full walk. Returns 0, or -EINVAL with a sentence in why[].
 * The caller makes no other call meanwhile; vCPUs may run.
 */
int pmap_check(struct pmap *pm, char *why, size_t why_bytes);

/*
 * Prints the tree as text, a line each, through put(arg, line). Runs of like leaves are one line.
 */
void pmap_dump(struct pmap *pm, void (*put)(void *arg, const char *line), void *arg);

#endif /* PMAP_PMAP_H */
