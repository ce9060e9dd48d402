/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * vmspace: what is mapped where in a guest, and the pages behind it.
 *
 * Three layers that stay three. A memory segment (memseg) is an object of pages with a length, an
 * identity and perhaps a name. A memory map (memmap) is a window of a segment at a guest-physical
 * address. The pmap is a cache of the maps: it may be emptied at any time, and faults fill it.
 *
 * Pages come from the host's free list when they are first touched, up to the limits of the guest
 * and of the system; those of system memory go to swap when they are not used, or come from a pager
 * of the host and go back there (VM_HOST_PAGER). Pages of devices' memory (named segments) stay.
 * Windows onto devices have no pages at all.
 *
 * Rules for every function here unless it says otherwise:
 *  - Returns 0 or a negative errno. After a failure nothing has changed that anybody can see,
 *    except that pages may have come into memory or left it.
 *  - Addresses and lengths are in bytes and aligned to pages; a range that wraps or leaves the
 *    guest's address space is -EINVAL.
 *  - May sleep: interrupts on, no spin lock, no epoch section. Any thread, concurrently with all
 *    others and with running vCPUs. Functions that change segments, maps, wiring, devices or the
 *    dirty log's mode exclude each other.
 *  - Whatever takes something away has done so for every CPU and device when it returns.
 */

#ifndef VMSPACE_VMSPACE_H
#define VMSPACE_VMSPACE_H

#include "pmap/pmap.h"

struct vm_system;
struct vmspace;
struct vm_object;

/* ---- The system ------------------------------------------------------------------------------ */

/*
 * What all guests share: the limit, the swap device, and the clock hand that goes over all pages.
 */
struct vm_system_config {
	uint64_t vy_mem_limit_bytes; /* for guests and their tables together; a page at least */
};

/* -EINVAL, -ENOMEM. */
int vm_system_create(const struct vm_system_config *cfg, struct vm_system **out);

/* Every vmspace is destroyed, every hold released. */
void vm_system_destroy(struct vm_system *sys);

/*
 * mem_total is the configured limit. mem_free is that less all that is held for guests: pages,
 * reserved runs, page tables; 0 if more is held than is allowed (tables are counted after the
 * fact). Exact when nothing else runs.
 */
uint64_t vm_mem_total(const struct vm_system *sys);
uint64_t vm_mem_free(struct vm_system *sys);

/* In pages. Exact when nothing else runs; else each is a value from during the call. */
struct vm_accounts {
	uint64_t va_resident; /* of system memory, in memory */
	uint64_t va_wired;    /* of those, wired */
	uint64_t va_reserved; /* held to complete runs, not in use yet */
	uint64_t va_devmem;   /* of named segments, in memory */
	uint64_t va_swapped;  /* of system memory, in swap only, or with the host's pager only */
	uint64_t va_slots;    /* swap slots in use; a page in memory may keep its slot */
	uint64_t va_tables;   /* page-table pages: linked, spare, and waiting for a flush */
};

void vm_system_accounts(struct vm_system *sys, struct vm_accounts *out);

/* ---- Address spaces -------------------------------------------------------------------------- */

#define VM_EAGER_RUNS (1u << 0)	   /* a first touch fills a whole run if the host has one */
#define VM_NX_SUPERPAGES (1u << 1) /* no executable superpages (iTLB multihit); see below */
#define VM_NO_SUPERPAGES (1u << 2) /* neither runs nor superpages */
#define VM_HOST_PAGER (1u << 3)	   /* the host keeps system memory: vm_host.h, "Pagers" */
#define VMSPACE_FLAGS_ALL (VM_EAGER_RUNS | VM_NX_SUPERPAGES | VM_NO_SUPERPAGES | VM_HOST_PAGER)

struct vmspace_config {
	/*
	 * Of the pmap. Its callbacks may be set, too: pc_note is called after vmspace has taken
	 * note, pc_backlog as pmap.h says; vmspace_drain() is what answers it.
	 */
	struct pmap_config vc_pmap;
	unsigned int vc_flags;	 /* VM_* */
	uint64_t vc_limit_pages; /* of pages in memory and reserved; 0: the system's limit alone */
};

/*
 * -EINVAL: flags, or as pmap_init(). -EOPNOTSUPP: VM_NX_SUPERPAGES on tables that cannot express
 * it; VM_HOST_PAGER on a host that has none. -ENOMEM.
 */
int vmspace_create(struct vm_system *sys, const struct vmspace_config *cfg, struct vmspace **out);

/*
 * All slots are detached, no vCPU runs, no other call is being made. Devices are detached, maps and
 * segments go, and have given their memory back on return. Pages that are held stay, with what they
 * belong to, until they are released.
 */
void vmspace_destroy(struct vmspace *vs);

/*
 * The page tables, for slots, guest entry, walks and dumps. Its owner is the vmspace: others may
 * remove what is not wired, promote, demote and ask, but not enter.
 */
struct pmap *vmspace_pmap(struct vmspace *vs);

/* Flushes and frees what PMAP_DEFER left behind. */
void vmspace_drain(struct vmspace *vs);

/* va_slots is 0 here: slots are the system's. */
void vmspace_accounts(struct vmspace *vs, struct vm_accounts *out);

/* Counts of what happened, since creation. */
struct vmspace_stats {
	uint64_t vt_faults;	     /* calls of vm_fault() */
	uint64_t vt_faults_spurious; /* the mapping permitted it, or lacked A or M only */
	uint64_t vt_faults_failed;   /* ended with a record */
	uint64_t vt_fault_retries;   /* something changed meanwhile */
	uint64_t vt_zero_fills;	     /* pages */
	uint64_t vt_swap_ins;	     /* pages read because they were wanted */
	uint64_t vt_read_ahead;	     /* pages read beside them */
	uint64_t vt_swap_outs;	     /* pages written, or given to the host's pager dirty */
	uint64_t vt_swap_errors;     /* pages not read or not written */
	uint64_t vt_reclaimed;	     /* pages taken out of memory */
	uint64_t vt_reclaimed_clean; /* of those, without writing */
	uint64_t vt_runs;	     /* contiguous runs obtained */
	uint64_t vt_runs_broken;     /* given back for lack of memory */
	uint64_t vt_super_enters;    /* superpages mapped by a fault */
	uint64_t vt_promotions;	     /* runs promoted in place */
	uint64_t vt_exec_splits;
	uint64_t vt_holds;
	uint64_t vt_moved; /* pages given another frame */
};

void vmspace_stats(struct vmspace *vs, struct vmspace_stats *out);

/*
 * Verifies maps, objects, pages, pins and accounts against a full walk and against the page tables
 * (docs/INVARIANTS.md: I30, I32, I33, I35, I36, I38, I42). 0, or -EINVAL with a sentence that
 * begins with the invariant's number. Nothing else runs meanwhile, except vCPUs inside the guest.
 */
int vmspace_check(struct vmspace *vs, char *why, size_t why_bytes);

/* The same for what is the system's: totals, swap slots, and every vmspace in it. */
int vm_system_check(struct vm_system *sys, char *why, size_t why_bytes);

/* ---- Memory segments ------------------------------------------------------------------------- */

/*
 * Identities are the caller's names for segments, nothing more: any number in [0, VM_IDENT_MAX],
 * up to VM_MAX_MEMSEGS of them at a time.
 */
#define VM_IDENT_MAX 65535
#define VM_MAX_MEMSEGS 64
#define VM_MAX_MEMMAPS 1024
#define VM_MEMSEG_NAME_BYTES 64

struct vm_memseg {
	int vg_ident;
	uint64_t vg_len_bytes; /* 0: there is none of that identity */
	bool vg_sysmem;
	char vg_name[VM_MEMSEG_NAME_BYTES]; /* "" for system memory */
};

/*
 * name NULL: system memory, zero-filled on demand, paged. Otherwise device memory ("bootrom",
 * "framebuffer"): named, zero-filled on demand, never paged, not counted as the guest's memory.
 *
 * -EINVAL        identity out of range; len 0 or unaligned; it exists and is another (len, name);
 *                name empty, or with a character that no file name should have
 * -EEXIST        it exists and is the same; or another segment has that name
 * -ENAMETOOLONG
 * -ENOSPC        VM_MAX_MEMSEGS
 * -ENOMEM
 */
int vm_alloc_memseg(struct vmspace *vs, int ident, uint64_t len, const char *name);

/* -EINVAL for a bad identity. An unused one is a success with vg_len_bytes = 0. */
int vm_get_memseg(struct vmspace *vs, int ident, struct vm_memseg *out);

/* -EINVAL bad identity, -ENOENT unused, -EBUSY a map shows it. Held pages outlive it. */
int vm_free_memseg(struct vmspace *vs, int ident);

/* ---- Maps ------------------------------------------------------------------------------------ */

#define VM_MEMMAP_F_WIRED 1u
#define VM_MEMMAP_F_IOMMU 2u /* set by the system: devices reach it */

struct vm_memmap {
	gpa_t vp_gpa;
	uint64_t vp_len_bytes;
	int vp_ident;		  /* -1: a window onto a device */
	uint64_t vp_offset_bytes; /* in the segment; of a window: its host-physical address */
	unsigned int vp_prot;
	unsigned int vp_flags;
};

/*
 * Shows [first, first + len) of a segment at gpa.
 *
 * -EINVAL     prot 0 or beyond RWX; flags beyond VM_MEMMAP_F_WIRED; bad or unused identity; first
 *             negative, len 0 or negative, beyond the segment's end; anything misaligned; beyond
 *             the guest's address space; wired device memory
 * -EOPNOTSUPP rights that this CPU's tables cannot express
 * -ENOSPC     VM_MAX_MEMMAPS
 * -EFAULT     overlaps another map; or a page cannot be brought in to be wired (swap I/O)
 * -ENOMEM     no memory for the map, or to wire it
 * -EINTR      while wiring
 */
int vm_mmap_memseg(struct vmspace *vs, gpa_t gpa, int ident, int64_t first, int64_t len,
		   unsigned int prot, unsigned int flags);

/*
 * gpa and len are exactly those of a map of a segment that no device reaches; else -EINVAL.
 * -ENOMEM.
 */
int vm_munmap_memseg(struct vmspace *vs, gpa_t gpa, uint64_t len);

/* The map of a segment with the lowest address >= gpa. -ENOENT: none. Does not sleep. */
int vm_mmap_getnext(struct vmspace *vs, gpa_t gpa, struct vm_memmap *out);

/*
 * Changes the rights of a map (exact, as above). Widening is left to faults. -EINVAL, -EOPNOTSUPP,
 * -EBUSY (a device reaches it), -ENOMEM.
 */
int vm_protect_memmap(struct vmspace *vs, gpa_t gpa, uint64_t len, unsigned int prot);

/*
 * Windows onto devices: host-physical memory shown read-write, uncached, never executable, never
 * paged, not to be held. -EINVAL misaligned, empty, or beyond either address space; -EFAULT
 * overlap;
 * -ENOSPC; -ENOMEM. Unmapping: exact, else -EINVAL.
 */
int vm_map_mmio(struct vmspace *vs, gpa_t gpa, uint64_t len, hpa_t hpa);
int vm_unmap_mmio(struct vmspace *vs, gpa_t gpa, uint64_t len);

/*
 * Guest reset: maps of device memory and windows go, segments and maps of system memory stay, with
 * their contents. -ENOMEM.
 */
int vm_reset(struct vmspace *vs);

/* ---- Faults ---------------------------------------------------------------------------------- */

enum vm_fault_reason {
	VM_FAULT_NONE,
	VM_FAULT_BEYOND,      /* -EINVAL: beyond the guest's address space */
	VM_FAULT_UNMAPPED,    /* -EFAULT: no map; the length is that of the hole from here on */
	VM_FAULT_DENIED,      /* -EACCES: the map does not grant the right */
	VM_FAULT_NO_MEMORY,   /* -ENOMEM: neither the host nor reclaim found a page */
	VM_FAULT_GUEST_LIMIT, /* -ENOMEM: the guest's limit, and nothing of it can be paged out */
	VM_FAULT_TOTAL_LIMIT, /* -ENOMEM: the system's limit */
	VM_FAULT_NO_TABLE,    /* -ENOMEM: no page for a page table */
	VM_FAULT_SWAP_READ,   /* -EIO: the contents cannot be read back; another try may succeed */
	VM_FAULT_INTERRUPTED, /* -EINTR */
	VM_FAULT_WINDOW,      /* -EFAULT: a hold on a device's window */
	VM_FAULT_REASON_COUNT,
};

struct vm_fault_record {
	gpa_t fr_gpa;		/* of the page, or where the hole begins */
	uint64_t fr_len_bytes;	/* the same answer holds for so much */
	unsigned int fr_access; /* PMAP_PROT_*: what was tried */
	enum vm_fault_reason fr_reason;
	int fr_error; /* negative errno */
};

/* A word for messages. */
const char *vm_fault_reason_name(enum vm_fault_reason reason);

/*
 * A guest access with the rights `access` (at least one) faulted at gpa, which need not be aligned.
 * 0: the access can be made again. Retries by itself what is raced by other calls; a fault that
 * was none changes nothing. On failure *record, which may be NULL, is filled. Sleeps only to get
 * memory; -EINTR if interrupted in that.
 */
int vm_fault(struct vmspace *vs, gpa_t gpa, unsigned int access, struct vm_fault_record *record);

/* ---- Holds ----------------------------------------------------------------------------------- */

struct vm_hold_page {
	struct vm_object *hp_object;
	uint64_t hp_index;
	hpa_t hp_hpa;
};

/* Pinned pages. On the caller's stack or in its structures; not copied while held. */
struct vm_hold {
	uint64_t vh_offset; /* of the first byte in the first page */
	uint64_t vh_len_bytes;
	uint64_t vh_npages;
	unsigned int vh_prot;
	struct vm_hold_page *vh_pages;
	struct vm_hold_page vh_one; /* vh_pages, when that is enough */
};

/*
 * Pins the pages behind [gpa, gpa + len), of any length and alignment, of any number of maps. It is
 * the pages that are pinned, not the translation: they keep frame and contents until
 * vm_gpa_release(), whatever becomes of maps, segments and the vmspace. Pages held for writing
 * count as dirty while held, and are marked so at release.
 *
 * 0, or as vm_fault(), with all or nothing held: -EFAULT also for device windows, -EINVAL for prot
 * 0 or beyond RWX, len 0, a range that wraps. -ENOMEM for the list as well.
 */
int vm_gpa_hold(struct vmspace *vs, gpa_t gpa, uint64_t len, unsigned int prot,
		struct vm_hold *hold, struct vm_fault_record *record);

/* The same by offset in a segment: for mappings of it in processes of the host. */
int vm_memseg_hold(struct vmspace *vs, int ident, uint64_t offset, uint64_t len, unsigned int prot,
		   struct vm_hold *hold);

void vm_gpa_release(struct vm_hold *hold);

/* Bytes at [offset, offset + len) of what is held, for reading or writing as it is held. */
void vm_hold_read(const struct vm_hold *hold, uint64_t offset, void *to, size_t len);
void vm_hold_write(const struct vm_hold *hold, uint64_t offset, const void *from, size_t len);

/*
 * Reads and writes guest memory by holds, page by page, as the node does: with a map's rights to
 * read and write. -EFAULT, -EACCES and so on as above; *done bytes were copied before.
 */
int vm_gpa_read(struct vmspace *vs, gpa_t gpa, void *to, uint64_t len, uint64_t *done);
int vm_gpa_write(struct vmspace *vs, gpa_t gpa, const void *from, uint64_t len, uint64_t *done);

/* ---- Wiring and devices ---------------------------------------------------------------------- */

/*
 * Wires a map of system memory (exact, as for vm_munmap_memseg()): every page in memory, mapped,
 * and staying so. All or nothing. If devices are attached it becomes theirs, too. Wiring what is
 * wired is a success. -EINVAL, -ENOMEM, -EFAULT (a page could not be read), -EINTR.
 */
int vm_wire_memmap(struct vmspace *vs, gpa_t gpa, uint64_t len);

/* -EINVAL; -EBUSY: devices reach it. Unwiring what is not wired is a success. -ENOMEM. */
int vm_unwire_memmap(struct vmspace *vs, gpa_t gpa, uint64_t len);

/*
 * Devices that access the guest's memory by themselves. With the first one an IOMMU domain is
 * created that shows exactly the wired maps of system memory, at their guest-physical addresses and
 * with their rights, and the frames leave the host's domain; with the last one it goes again.
 * Attaching: -ENOENT, -EBUSY as the host says, -EEXIST already attached here, -ENXIO no IOMMU,
 * -ENOMEM, -ENOSPC too many. Detaching: -ENOENT not attached here; -ENOMEM for the last one.
 */
#define VM_MAX_DEVICES 16
int vm_attach_device(struct vmspace *vs, uint64_t device);
int vm_detach_device(struct vmspace *vs, uint64_t device);

/* ---- Pages come and go ----------------------------------------------------------------------- */

#define VM_PAGEOUT_CLEAN (1u << 0) /* drop what needs no writing; does no I/O */

/*
 * Takes up to npages out of memory, least recently used first, over all guests (vs NULL) or of one;
 * returns how many, in *freed, which may be fewer. Does its own I/O. Allocations that find nothing
 * call it; hosts that want to be ahead call it from a thread of its own. -EINTR. What cannot be
 * written stays in memory and is counted.
 */
int vm_pageout(struct vm_system *sys, struct vmspace *vs, uint64_t npages, unsigned int flags,
	       uint64_t *freed);

/*
 * Gives every page of a range that is in memory and can be moved another frame (compaction);
 * *moved of them. Pages that are held, wired or busy stay. -EINVAL, -EINTR.
 */
int vm_migrate(struct vmspace *vs, gpa_t gpa, uint64_t len, uint64_t *moved);

/*
 * Forgets the contents of a range of system memory: it reads as zeros, and takes no memory until it
 * is touched. -EINVAL; -EFAULT a page without map; -EACCES not mapped writable, or device memory;
 * -EBUSY held, wired: what was not is discarded.
 */
int vm_discard(struct vmspace *vs, gpa_t gpa, uint64_t len);

/*
 * What is known of the page that a map shows at gpa. -EFAULT: no map, or a device's window. Does
 * not sleep, takes no lock: for reports and checks.
 */
struct vm_page_info {
	hpa_t pi_hpa;	   /* if resident */
	uint32_t pi_holds; /* of both kinds */
	uint32_t pi_write_holds;
	uint32_t pi_wirings;
	bool pi_resident;
	bool pi_dirty;	 /* differs from what is in swap, as far as the tables have told */
	bool pi_swapped; /* swap, or the host's pager, has contents of it */
	bool pi_logged;	 /* in the dirty log */
	bool pi_busy;	 /* being brought in, written, moved */
};

int vmspace_page_info(struct vmspace *vs, gpa_t gpa, struct vm_page_info *out);

/* ---- Dirty log ------------------------------------------------------------------------------- */

/*
 * Which pages were written, for migration and display. By any path: the guest, holds, copies into
 * the guest, devices. Kept for each page of a segment: one that is shown twice is reported at the
 * address that is asked first. While devices are attached every page that they may write is
 * reported each time; so is one that is held for writing.
 *
 * Enabling splits writable superpages, so that a page is reported alone; from its return on every
 * write is reported. With initially_set every page that has contents is reported once. Disabling
 * lets superpages come back. -EBUSY: it is enabled already; -ENOENT: it is not. -ENOMEM.
 */
int vm_dirty_log_enable(struct vmspace *vs, bool initially_set);
int vm_dirty_log_disable(struct vmspace *vs);

enum vm_dirty_op {
	VM_DIRTY_PEEK,	/* looks; no flush, nothing changes: what is being written may be missed */
	VM_DIRTY_GET,	/* collects what the tables know; reports, and keeps it reported */
	VM_DIRTY_CLEAR, /* collects, reports, and starts anew for these pages */
};

/*
 * Bit i of bitmap is set for page gpa + i * 4 KiB if it is dirty, cleared if not; of bytes beyond
 * the range nothing is touched, pages without a map are clean. Chunks of any size make up one
 * collection. A write that ended before the call is reported; one that is made meanwhile is
 * reported by this call or by the next. Bits are valid only on success. -ENOENT not enabled;
 * -EINVAL.
 */
int vm_dirty_log(struct vmspace *vs, gpa_t gpa, uint64_t len, enum vm_dirty_op op,
		 uint64_t *bitmap);

/*
 * For tools: A or M of the tables, by pmap_harvest(). Pages learn of M that is cleared, so that
 * neither pageout nor the log misses what was written.
 */
int vm_harvest(struct vmspace *vs, gpa_t gpa, uint64_t len, unsigned int how, uint64_t *bitmap,
	       uint64_t *found);

/* Gives bits back, after a transfer that failed. */
int vm_dirty_log_set(struct vmspace *vs, gpa_t gpa, uint64_t len, const uint64_t *bitmap);

/*
 * For tools: joins or splits the superpage of a level at gpa, as pmap_promote() and pmap_demote().
 * Also -EBUSY where the guest's modes want no superpage: while the dirty log is on, with
 * VM_NO_SUPERPAGES, and an executable one with VM_NX_SUPERPAGES.
 */
int vm_promote(struct vmspace *vs, gpa_t gpa, unsigned int level);
int vm_demote(struct vmspace *vs, gpa_t gpa, unsigned int level);

/* ---- Execute control ------------------------------------------------------------------------- */

/*
 * With VM_NX_SUPERPAGES no superpage is executable. An instruction fetch from one splits it, and
 * maps the page alone. vm_exec_recover() takes the right away again and lets superpages come back;
 * call it from time to time. The switch may be set and cleared at run time: -EOPNOTSUPP if the
 * CPU's tables cannot express memory that is not executable.
 */
int vm_set_nx_superpages(struct vmspace *vs, bool on);
int vm_exec_recover(struct vmspace *vs);

#endif /* VMSPACE_VMSPACE_H */
