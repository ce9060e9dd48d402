/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of vmspace/ share with each other and nobody else.
 *
 * Who excludes whom. A page's state is one word, changed by compare-and-swap. Whoever is about to
 * map a page, or to look at its bytes, shares it: then it keeps its frame. Whoever brings it in,
 * takes it out or moves it owns it: then nobody shares it. Owners may sleep; sharers
 * sleep for a gather and for vs_sweep only. Pins (holds, wirings) outlast both: an owner leaves a
 * pinned page as it is, and pins are added by sharers only.
 *
 * Three mutexes, in this order:
 *
 *   vs_lock      of a vmspace: segments, maps, wiring, devices, the dirty log's mode
 *   sy_pageout   of the system: one at a time takes pages from others
 *   vs_sweep     of a vmspace: one at a time collects A and M from its tables (pageout, dirty log,
 *                promotion, execute control), so that what one has cleared in the tables and not
 *                yet written into the pages is not missed by another
 *
 * Memory may be asked for with vs_lock held, not with the other two: asking may take sy_pageout.
 * Nobody who holds sy_pageout or vs_sweep waits for a page.
 *
 * Maps change under vs_lock and are read in epoch sections. Revoking (protocol, clause 4): publish
 * the new map, bump vs_revoke, sweep the tables, finish the gather, wait until nobody shares pages
 * of the range who may have read the old one (vm_object_quiesce()). As long as the sweep lasts the
 * old map stays in vs_leaving: what the tables tell of pages is told by address.
 */

#ifndef VMSPACE_VM_PRIV_H
#define VMSPACE_VM_PRIV_H

#include "vmspace/vm_host.h"
#include "vmspace/vmspace.h"

#define VM_RANK_SPACE 1 /* mutexes, among themselves */
#define VM_RANK_PAGEOUT 2
#define VM_RANK_SWEEP 3
#define VM_RANK_CHUNK 32 /* spin locks: below all of pmap's */
#define VM_RANK_SWAP 33
#define VM_RANK_LISTS 34

#define VM_CHUNK_PAGES 512u
#define VM_CHUNK_BYTES ((uint64_t)VM_CHUNK_PAGES * HOST_PAGE_SIZE)
#define VM_BITMAP_WORDS (VM_CHUNK_PAGES / 64)

/* ---- Accounts (vm_system.c) ------------------------------------------------------------------ */

/*
 * Whom pages are charged to. A guest's, and after its end that of the pages of it which are still
 * held. va_held is what the limit applies to.
 */
struct vm_account {
	struct vm_system *ac_sys;
	struct host_word ac_refs; /* the vmspace, and each object */
	uint64_t ac_limit_pages;
	struct host_word ac_held; /* resident, devmem, reserved */
	struct host_word ac_resident;
	struct host_word ac_wired;
	struct host_word ac_reserved;
	struct host_word ac_devmem;
	struct host_word ac_swapped;
	struct vm_account *ac_next; /* sy_accounts */
};

/* Swap slots of the system (vm_swap.c). */
struct vm_swap {
	struct host_lock sw_lock;
	uint64_t sw_slots;
	uint64_t sw_used;
	uint64_t sw_hand;    /* where the search for free ones begins */
	uint64_t *sw_bitmap; /* set: in use */
};

struct vm_system {
	uint64_t sy_limit_pages;
	struct host_word sy_held; /* of all accounts, and of tables as far as known */
	struct host_mutex sy_pageout;
	struct host_lock sy_lock; /* the lists below */
	struct vm_account *sy_accounts;
	struct vmspace *sy_spaces;
	struct vm_object *sy_clock; /* objects with pages to reclaim, a ring; the next to look at */
	struct vm_swap sy_swap;
};

/*
 * What a lock guards is reached through functions that ask for it, here and in the files: a lock
 * that is not taken is found by whoever comes by, not by whoever loses a race.
 */
static inline struct vm_account **
vm_system_first_account(struct vm_system *sys)
{
	HOST_ASSERT(host_lock_held(&sys->sy_lock));
	return &sys->sy_accounts;
}

static inline struct vmspace **
vm_system_first_space(struct vm_system *sys)
{
	HOST_ASSERT(host_lock_held(&sys->sy_lock));
	return &sys->sy_spaces;
}

static inline struct vm_object **
vm_system_clock(struct vm_system *sys)
{
	HOST_ASSERT(host_lock_held(&sys->sy_lock));
	return &sys->sy_clock;
}

/* VM_FAULT_NONE, VM_FAULT_GUEST_LIMIT or VM_FAULT_TOTAL_LIMIT. */
enum vm_fault_reason vm_charge(struct vm_account *ac, uint64_t npages);
void vm_uncharge(struct vm_account *ac, uint64_t npages);

struct vm_account *vm_account_create(struct vm_system *sys, uint64_t limit_pages);
void vm_account_ref(struct vm_account *ac);
void vm_account_unref(struct vm_account *ac);

/* ---- Pages (vm_page.c) ----------------------------------------------------------------------- */

/* vp_state */
#define VP_RESIDENT ((uint64_t)1 << 0)	 /* has the frame in VP_FRAME */
#define VP_OWNED ((uint64_t)1 << 1)	 /* busy, exclusively */
#define VP_WANTED ((uint64_t)1 << 2)	 /* somebody waits until it is less busy */
#define VP_DIRTY ((uint64_t)1 << 3)	 /* its bytes are nowhere else: write before dropping */
#define VP_REFERENCED ((uint64_t)1 << 4) /* used since the clock hand passed */
#define VP_LOGGED ((uint64_t)1 << 5)	 /* in the dirty log */
#define VP_FRAME ((((uint64_t)1 << 40) - 1) << HOST_PAGE_SHIFT)
#define VP_SHARE ((uint64_t)1 << 52) /* one who shares it, up to 4095 */
#define VP_SHARES (~(uint64_t)0 << 52)

/* Somebody is busy with the page: a fault, pageout. */
static inline bool
vm_state_busy(uint64_t state)
{
	return (state & (VP_OWNED | VP_SHARES)) != 0;
}

/* vp_pins */
#define VP_HOLD ((uint64_t)1 << 0)
#define VP_WRITE_HOLD ((uint64_t)1 << 24)
#define VP_WIRING ((uint64_t)1 << 48)
#define VP_HOLDS(pins) ((uint32_t)((pins)&0xffffff))
#define VP_WRITE_HOLDS(pins) ((uint32_t)((pins) >> 24 & 0xffffff))
#define VP_WIRINGS(pins) ((uint32_t)((pins) >> 48))

struct vm_page {
	struct host_word vp_state;
	struct host_word vp_pins;
	uint64_t vp_slot; /* the owner's: 1 + the swap slot of its contents; 0: none */
};

#define VM_SLOT_PAGER (~(uint64_t)0) /* in vp_slot: a pager of the host's has them */

/* Shares a resident page that nobody owns; false if it is not so. Any context. */
bool vm_page_share(struct vm_page *pg);
void vm_page_unshare(struct vm_object *ob, struct vm_page *pg);

/* Owns a page that nobody shares or owns, with its state before in *state. Any context. */
bool vm_page_own(struct vm_page *pg, uint64_t *state);
/* Owns one that is in memory and not pinned; false if it is not to be had as such. Any context. */
bool vm_page_own_unpinned(struct vm_object *ob, struct vm_page *pg);
/* Ends that: clears and sets bits of the state in the same step. VP_OWNED is cleared. */
void vm_page_disown(struct vm_object *ob, struct vm_page *pg, uint64_t clear, uint64_t set);
/* From owner to the first sharer. */
void vm_page_downgrade(struct vm_object *ob, struct vm_page *pg, uint64_t clear, uint64_t set);

/*
 * Sleeps until somebody was less busy with the page than at the call, or at once if nobody is. The
 * caller has a reference to the object. -EINTR only if interruptible.
 */
int vm_page_wait(struct vm_object *ob, struct vm_page *pg, bool interruptible);

/* Sets bits of the state (VP_DIRTY, VP_REFERENCED, VP_LOGGED) of a page in any state. */
static inline void
vm_page_mark(struct vm_page *pg, uint64_t bits)
{
	if ((host_load(&pg->vp_state) & bits) != bits)
		host_fetch_or(&pg->vp_state, bits);
}

/* ---- Objects (vm_object.c) ------------------------------------------------------------------- */

enum vm_objtype {
	OBJT_DEFAULT, /* system memory: zero-filled, swap-backed */
	OBJT_DEVMEM,  /* named segments: zero-filled, never paged */
	OBJT_SG,      /* device windows: host-physical memory that has no pages */
};

/* chunk flags */
#define CH_EXEC ((uint64_t)1 << 0)   /* an instruction was fetched from a superpage: 4K for now */
#define CH_NO_RUN ((uint64_t)1 << 1) /* there was no run; do not ask again */

/* What 2 MiB of an object share. Made at the first touch, kept as long as the object. */
struct vm_chunk {
	struct host_word ch_resident; /* pages in memory */
	struct host_word ch_flags;
	struct host_lock ch_lock; /* the two below */
	hpa_t ch_run;		  /* 512 contiguous frames that were reserved for it, or 0 */
	uint64_t ch_free[VM_BITMAP_WORDS]; /* frames of the run that no page uses */
	struct vm_page ch_pages[VM_CHUNK_PAGES];
};

struct vm_object {
	struct vm_system *ob_sys;
	struct vm_account *ob_account;
	struct vmspace *ob_space; /* NULL after its end; read it under sy_pageout, or known alive */
	enum vm_objtype ob_type;
	bool ob_runs; /* may have runs: set when created */
	uint64_t ob_npages;
	hpa_t ob_base;		     /* OBJT_SG */
	struct host_pager *ob_pager; /* OBJT_DEFAULT, or NULL: frames and slots of our own */
	struct vm_page ob_window;    /* OBJT_SG: shared instead of a page */
	struct host_word ob_refs;    /* segment or window, holds page by page, sleepers */
	struct host_word ob_dead;    /* its segment is gone: who unpins a page frees it */
	struct host_event ob_event;  /* pages became less busy */
	struct vm_object *ob_clock_next, *ob_clock_prev; /* sy_lock */
	uint64_t ob_hand;				 /* sy_pageout: next chunk to look at */
	struct host_epoch_item ob_epoch;
	uint64_t ob_bytes;	      /* of this structure */
	struct host_word ob_chunks[]; /* struct vm_chunk *, or 0 */
};

/* -ENOMEM. With one reference, the caller's. Sleeps. */
int vm_object_create(struct vmspace *vs, enum vm_objtype type, uint64_t npages, hpa_t base,
		     struct vm_object **out);

/*
 * Within an epoch section that found it, or with a reference: another one; false if it is ending.
 * Dropping it may sleep.
 */
bool vm_object_ref(struct vm_object *ob);
void vm_object_unref(struct vm_object *ob);

/*
 * Its segment is gone, no map shows it and no map will: frees every page that is not held, drops
 * the owner's reference. The pages that are held go as they are released.
 */
void vm_object_terminate(struct vm_object *ob);

/*
 * The chunk of a page, or NULL if it was never touched. vm_object_chunk() makes it: NULL = no
 * memory.
 */
struct vm_chunk *vm_object_peek(const struct vm_object *ob, uint64_t index);
struct vm_chunk *vm_object_chunk(struct vm_object *ob, uint64_t index);
/* The page, or NULL; of a window its stand-in. */
struct vm_page *vm_object_page(struct vm_object *ob, uint64_t index);

/* Waits until nobody shares any page of the range who did when this was called. Sleeps. */
void vm_object_quiesce(struct vm_object *ob, uint64_t first, uint64_t npages);

/*
 * Brings a page into memory and shares it (of a window: its stand-in). The caller has a reference.
 * Sleeps for memory, I/O, and others who are busy with it. On failure *why says more.
 */
int vm_object_getpage(struct vm_object *ob, uint64_t index, struct vm_page **out,
		      enum vm_fault_reason *why);

/*
 * Owns a page that is not in memory, to fill it. -EAGAIN: the object is dead; -EBUSY: somebody is
 * busy with it, or it is there already.
 */
int vm_object_own_absent(struct vm_object *ob, struct vm_page *pg);

/* Takes it off the clock's ring. */
void vm_object_unclock(struct vm_object *ob);

/* Unpins: takes `pins` off vp_pins, and frees the page if it was the last of a dead object. */
void vm_object_unpin(struct vm_object *ob, uint64_t index, uint64_t pins);

/* Where a resident page of an object that the caller shares or owns is. */
static inline hpa_t
vm_page_hpa(const struct vm_page *pg)
{
	return host_load(&pg->vp_state) & VP_FRAME;
}

/* ---- Memory (vm_anon.c) ---------------------------------------------------------------------- */

/*
 * A frame for a page, charged; *run is set if a whole run was obtained just now. Makes room if it
 * must. Not owned by anybody yet.
 */
int vm_frame_alloc(struct vm_object *ob, uint64_t index, hpa_t *hpa, bool *run,
		   enum vm_fault_reason *why);
/* The same without making room. Sleeps. */
enum vm_fault_reason vm_frame_try(struct vm_object *ob, uint64_t index, hpa_t *hpa, bool *run);
/*
 * Gives a frame back: to the chunk's run if it is of it, or to the host. dirty matters to a pager
 * of the host's: whether its bytes are the contents of the page now.
 */
void vm_frame_free(struct vm_object *ob, uint64_t index, hpa_t hpa, bool dirty);
/*
 * Gives the unused frames of the run of a chunk, whose first page is `first`, back to the host; how
 * many. The run is none any more.
 */
uint64_t vm_run_break(struct vm_object *ob, struct vm_chunk *ch, uint64_t first);

/*
 * Fills a page that the caller owns and that is not resident; it becomes resident and stays owned.
 */
int vm_page_fill(struct vm_object *ob, uint64_t index, enum vm_fault_reason *why);
/* The owned page, not resident, has this frame and its contents from now on: accounts. */
void vm_page_settle(struct vm_object *ob, uint64_t index, hpa_t hpa);
/*
 * Takes the frame of an owned resident page away; its contents are lost unless they were saved. By
 * VP_DIRTY a pager of the host's knows whether they changed.
 */
void vm_page_empty(struct vm_object *ob, uint64_t index);

/* ---- Pagers (vm_pager.c) --------------------------------------------------------------------- */

/* Of an object that is being made, and of one that has no pages in memory any more. Sleep. */
int vm_pager_create(struct vm_object *ob);
void vm_pager_destroy(struct vm_object *ob);

/*
 * A frame, charged already: for a page that the caller owns, or 512 of them for a chunk. What is in
 * it says vm_pager_read(). Sleep. Giving it back does not.
 */
enum vm_fault_reason vm_pager_get(struct vm_object *ob, uint64_t index, hpa_t *hpa);
bool vm_pager_get_run(struct vm_object *ob, uint64_t first, hpa_t *base);
void vm_pager_put(struct vm_object *ob, uint64_t index, hpa_t hpa, bool dirty);

/* The owned page's contents into a frame that was got for it. -EIO: they cannot be read now. */
int vm_pager_read(struct vm_object *ob, uint64_t index, hpa_t hpa);
/*
 * The bytes of dirty pages that the caller owns, unmapped everywhere, are to be found again when
 * they have lost their frames: of pages[i] if done[i]. Sleeps.
 */
void vm_pager_save(struct vm_object *ob, const uint64_t *index, unsigned int n, bool *done);
/* What is known outside of memory of an owned page is worth nothing: accounts, and its slot. */
void vm_pager_forget(struct vm_object *ob, struct vm_page *pg);
/*
 * After that, before anybody can bring one of them in: the same of a range, none of it in memory,
 * to a pager of the host's. Sleeps.
 */
void vm_pager_discard(struct vm_object *ob, uint64_t first, uint64_t npages);

/* ---- Swap (vm_swap.c) ------------------------------------------------------------------------ */

int vm_swap_init(struct vm_swap *sw);
void vm_swap_destroy(struct vm_swap *sw);

/*
 * Writes pages of one object that the caller owns, unmapped everywhere, to slots, as clustered as
 * slots are free: pages[i] is written if done[i] afterwards, and has its slot then (an old one is
 * given back). Sleeps.
 */
void vm_swap_out(struct vm_object *ob, const uint64_t *index, unsigned int n, bool *done);

/*
 * Reads a page that the caller owns into `hpa`, and beside it neighbors that were written together,
 * if they are out of memory, not busy, and there are frames for the asking. -EIO: the frame has
 * undefined contents, the slot is kept.
 */
int vm_swap_in(struct vm_object *ob, uint64_t index, hpa_t hpa);

/* Gives a slot back, as it is in vp_slot. */
void vm_swap_give(struct vm_swap *sw, uint64_t vp_slot);

/* How many slots are in use. With sw_lock held. */
uint64_t *vm_swap_used(struct vm_swap *sw);

/* ---- Maps (vm_map.c) ------------------------------------------------------------------------- */

struct vm_map_entry {
	gpa_t me_start;
	gpa_t me_end;
	struct vm_object *me_object;
	uint64_t me_first; /* index of the page shown at me_start */
	unsigned int me_prot;
	unsigned int me_flags; /* VM_MEMMAP_F_* */
	int me_ident;
};

static inline uint64_t
vm_entry_pages(const struct vm_map_entry *e)
{
	return (e->me_end - e->me_start) / HOST_PAGE_SIZE;
}

/* Immutable once published. Sorted, not overlapping. */
struct vm_map {
	struct host_epoch_item mp_epoch;
	uint64_t mp_bytes;
	unsigned int mp_n;
	struct vm_map_entry mp_entries[];
};

/* The map in force. Inside an epoch section, or under vs_lock. Never NULL. */
const struct vm_map *vm_map_current(const struct vmspace *vs);
/* The entry that covers gpa, or NULL; and the first that ends beyond gpa, mp_n if none. */
const struct vm_map_entry *vm_map_lookup(const struct vm_map *map, gpa_t gpa);
unsigned int vm_map_search(const struct vm_map *map, gpa_t gpa);
/* 0 if it is pages within the address space, and not none; else -EINVAL. */
int vm_range_valid(const struct vmspace *vs, gpa_t gpa, uint64_t len);
/* The one that is exactly [gpa, gpa + len), or NULL. */
const struct vm_map_entry *vm_map_exact(const struct vm_map *map, gpa_t gpa, uint64_t len);

/*
 * New maps from the current one; under vs_lock; NULL without memory. Copies may be edited by the
 * caller until they are published.
 */
struct vm_map *vm_map_with(const struct vmspace *vs, const struct vm_map_entry *added);
struct vm_map *vm_map_without(const struct vmspace *vs,
			      bool (*goes)(const struct vm_map_entry *e, void *arg), void *arg);
struct vm_map *vm_map_copy(const struct vmspace *vs);
void vm_map_discard(struct vm_map *map); /* never published */
struct vm_map *vm_map_alloc(unsigned int n);

/* Publishes a map that shows no less than the one before. */
void vm_map_publish(struct vmspace *vs, struct vm_map *map);

/*
 * Publishes one that shows or grants less in [start, end), and revokes: calls sweep (pmap_remove,
 * pmap_protect ...) with a gather, finishes it, waits for faults that were decided before. The old
 * map can be read, as *old, in sweep only.
 */
typedef void vm_sweep_fn(struct vmspace *vs, const struct vm_map *old, struct pmap_gather *g,
			 void *arg);
void vm_map_revoke(struct vmspace *vs, struct vm_map *map, vm_sweep_fn *sweep, void *arg);

/* pc_note of the pmap: hands A and M to the pages. */
void vm_map_note(struct vmspace *vs, const struct pmap_leaf *leaf);

/*
 * Where the maps show pages of an object, one place at a time: begin with a zeroed place, call with
 * what came before, until false. Nothing is held between the calls, so tables may be changed: every
 * place is found that shows pages which the caller owns, since owned pages appear nowhere anew. A
 * place may be found twice.
 */
struct vm_place {
	gpa_t pl_gpa;	   /* of the first page of the object's range that is shown here */
	uint64_t pl_index; /* of that page */
	uint64_t pl_npages;
	unsigned int pl_flags; /* of the map */
	unsigned int pl_prot;
	gpa_t pl_next;	 /* private: go on here */
	bool pl_leaving; /* private */
};
bool vm_map_next_place(struct vmspace *vs, const struct vm_object *ob, uint64_t first,
		       uint64_t npages, struct vm_place *place);

/* ---- Vmspaces (vmspace.c) -------------------------------------------------------------------- */

struct vm_seg {
	int sg_ident;
	struct vm_object *sg_object; /* NULL: not in use */
	char sg_name[VM_MEMSEG_NAME_BYTES];
};

enum vm_counter {
	VM_C_FAULTS,
	VM_C_SPURIOUS,
	VM_C_FAILED,
	VM_C_RETRIES,
	VM_C_ZERO_FILLS,
	VM_C_SWAP_INS,
	VM_C_READ_AHEAD,
	VM_C_SWAP_OUTS,
	VM_C_SWAP_ERRORS,
	VM_C_RECLAIMED,
	VM_C_RECLAIMED_CLEAN,
	VM_C_RUNS,
	VM_C_RUNS_BROKEN,
	VM_C_SUPER_ENTERS,
	VM_C_PROMOTIONS,
	VM_C_EXEC_SPLITS,
	VM_C_HOLDS,
	VM_C_MOVED,
	VM_COUNTERS,
};

struct vm_cpu_counters {
	struct host_word cc_word[VM_COUNTERS];
} __attribute__((aligned(64)));

struct vmspace {
	struct pmap *vs_pmap;
	struct host_word vs_map;     /* struct vm_map * */
	struct host_word vs_revoke;  /* the word that pmap_enter() reads again */
	struct host_word vs_mode;    /* VM_* flags in force, VM_MODE_LOG */
	struct host_word vs_leaving; /* struct vm_map *: being swept out of the tables */
	struct vm_system *vs_sys;
	struct vm_account *vs_account;
	struct pmap_config vs_config; /* callbacks of the caller */
	struct host_mutex vs_lock;
	struct host_mutex vs_sweep;
	struct vmspace *vs_next; /* sy_spaces */

	/* Under vs_lock. */
	struct vm_seg vs_segs[VM_MAX_MEMSEGS];
	struct host_iommu *vs_domain; /* NULL: no devices */
	uint64_t vs_devices[VM_MAX_DEVICES];
	unsigned int vs_ndevices;

	struct host_word vs_tables; /* table pages that are counted in sy_held */
	struct vm_cpu_counters vs_counters[HOST_MAX_CPUS];
};

/* The tables, for those who collect A and M from them, join entries or split them. */
static inline struct pmap *
vm_swept_pmap(const struct vmspace *vs)
{
	HOST_ASSERT(host_mutex_held(&vs->vs_sweep));
	return vs->vs_pmap;
}

#define VM_MODE_LOG (1u << 31) /* the dirty log is on; beside VM_* flags in vs_mode */

/* Adds to a counter; of an object's guest, if that is still there. Any context. */
void vm_count(struct vmspace *vs, enum vm_counter c, uint64_t addend);
void vm_object_count(const struct vm_object *ob, enum vm_counter c, uint64_t addend);

/* Counts the tables that came or went since the last time into what is held. */
void vm_charge_tables(struct vmspace *vs);

/*
 * Makes room after `why` (a limit, or no frame): pages out. 0: try again. -ENOMEM: nothing could be
 * freed. -EINTR. Sleeps; vs_lock may be held.
 */
int vm_make_room(struct vmspace *vs, enum vm_fault_reason why);

/*
 * The same for a page table; *rounds, 0 at first, bounds how often. 0: try again. -ENOMEM, -EINTR.
 */
int vm_make_table_room(struct vmspace *vs, unsigned int *rounds);

/* ---- Faults and superpages (vm_fault.c, vm_super.c) ------------------------------------------ */

/* A decision to map, read in one epoch section: as good as vs_revoke == fl_seen. */
struct vm_decision {
	uint64_t fl_seen;
	struct vm_map_entry fl_entry;
	gpa_t fl_gpa; /* of the page */
	unsigned int fl_access;
	struct vm_page *fl_page; /* shared */
	uint64_t fl_index;
};

/* Decides for one page, or fills *r and fails. Inside an epoch section; shares nothing. */
int vm_decide(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_decision *d,
	      struct vm_fault_record *r);
/* Decides with the page in memory and shared. Sleeps; retries until the map and the page agree. */
int vm_decide_page(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_decision *d,
		   struct vm_fault_record *r);

/*
 * Maps the page at gpa for that access, or for none (ahead of it), as vm_fault() does for a mapping
 * that is not there. *r is filled on failure.
 */
int vm_fault_in(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_fault_record *r);

/* Maps the page as decided, by a superpage if that is right. As pmap_enter(). */
int vm_enter(struct vmspace *vs, const struct vm_decision *d);

/* The rights that a page is entered with: those of the entry, less execution where it must wait. */
unsigned int vm_enter_prot(const struct vmspace *vs, const struct vm_decision *d);

/* Tries to map 2 MiB around d by one entry. 0; -ENOENT: not possible now; or as pmap_enter(). */
int vm_super_enter(struct vmspace *vs, const struct vm_decision *d);
/* The chunk is complete: joins its mappings at this address if they agree. */
void vm_super_promote(struct vmspace *vs, const struct vm_decision *d);

/* The object of a segment: -EINVAL for an identity that is bad or unused. Under vs_lock. */
int vm_memseg_object(struct vmspace *vs, int ident, struct vm_object **out);

/* ---- Wiring (vm_wire.c) ---------------------------------------------------------------------- */

/* Wires the map e, an entry of the current one that is not. As vm_wire_memmap(). Under vs_lock. */
int vm_wire_entry(struct vmspace *vs, const struct vm_map_entry *e);
/* No map shows these pages as wired any more: takes their pins off. */
void vm_unpin_entry(struct vmspace *vs, const struct vm_map_entry *e);
/* At the guest's end, with pageout kept away. */
void vm_unwire_all(struct vmspace *vs);

/* 0, or -EOPNOTSUPP: memory that does not execute cannot be expressed. */
int vm_nx_supported(const struct pt_fmt *f);

/* ---- Execute control (vm_exec.c) ------------------------------------------------------------- */

/* Tries to join every complete chunk, wherever it is shown. Under vs_lock and vs_sweep. */
void vm_promote_all(struct vmspace *vs, struct pmap_gather *g);

/* ---- Devices (vm_iommu.c) -------------------------------------------------------------------- */

/*
 * A map of system memory has just been wired, every page pinned, and devices are attached: shows it
 * to them. All or nothing. Under vs_lock.
 */
int vm_iommu_show(struct vmspace *vs, const struct vm_map_entry *e);

/* Detaches all, without fail: at the guest's end. Under vs_lock. */
void vm_iommu_detach_all(struct vmspace *vs);

#endif /* VMSPACE_VM_PRIV_H */
