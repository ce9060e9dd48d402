/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * libvmm: virtual machines of vmm.ko, for programs.
 *
 * A struct vmctx is an open machine, a struct vcpu one of its virtual CPUs. Names are bhyve's where
 * a call does what bhyve's does. Structures and enumerations that travel to the module are those of
 * kmod/uapi/vmm.h, which this header brings along.
 *
 * Rules for every function here unless it says otherwise:
 *  - Returns 0 or a negative errno; what returns a pointer returns NULL (MAP_FAILED where it maps)
 *    and leaves the errno, positive, in errno. After a failure nothing has changed, and
 *    vmm_errmsg() is a sentence about it.
 *  - Sizes and addresses are in bytes; gpa is guest-physical, gla guest-linear. Ranges are given by
 *    start and length, multiples of 4 KiB.
 *  - Functions of one machine may be called from several threads at once, except that memory is set
 *    up (vm_setup_memory(), vm_set_lowmem_limit(), vm_set_memflags(), vm_close()) by one while no
 *    other uses the context. A vCPU is for one thread at a time: -EBUSY for another one.
 *  - Errors that every call may give: -ENXIO the machine is being destroyed, -EINTR a signal came
 *    while it waited, -ENOMEM.
 */

#ifndef LIBVMM_LIBVMM_H
#define LIBVMM_LIBVMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kmod/uapi/vmm.h"

#ifdef __cplusplus
extern "C" {
#endif

struct vmctx;
struct vcpu;

/* The sentence about the calling thread's last call that failed; "" if none did. Valid until the
 * next one. */
const char *vmm_errmsg(void);

/* ---- The module ------------------------------------------------------------------------------ */

/* -ENODEV the module is not loaded; -EACCES; -EPROTO it speaks another version of the ABI. */
int vmm_get_version(struct vmm_version *version);

/* hw.vmm.mem_total and hw.vmm.mem_free, in bytes: what guests and their tables may take in all, and
 * what of it is not taken. -ENODEV the module is not loaded. */
int vmm_get_mem_total(uint64_t *bytes);
int vmm_get_mem_free(uint64_t *bytes);

/* The machine whose name comes after name; start with "". In place. -ENOENT there is none. */
int vmm_next_name(char name[VMM_NAME_BYTES]);

/*
 * Parses a size: a number with K, M, G or T (or none) behind it. Without a suffix, less than 1 MiB
 * means MiB, as in bhyve's options. -EINVAL not a size, or 0; -ERANGE more than 64 bits.
 */
int vm_parse_memsize(const char *text, uint64_t *bytes);

/* ---- Machines -------------------------------------------------------------------------------- */

/* Makes one that stays until vm_destroy() or vm_destroy_name(). -EEXIST; -EINVAL not a name. */
int vm_create(const char *name);

/* Opens one. NULL with ENOENT none such; ENODEV no module; EACCES; EINVAL not a name; EPROTO. */
struct vmctx *vm_open(const char *name);

/* The same with more choices; NULL for opts is vm_open(). */
#define VMMAPI_OPEN_CREATE (1u << 0)		      /* make it if there is none */
#define VMMAPI_OPEN_CREATE_DESTROY_ON_CLOSE (1u << 1) /* and it ends with vm_close(), or with us */
#define VMMAPI_OPEN_EXCLUSIVE (1u << 2)		      /* with CREATE: EEXIST if there is one */
#define VMMAPI_OPEN_REINIT (1u << 3)		      /* if there is one: as after vm_reinit() */
struct vm_open_opts {
	uint32_t flags;		  /* VMMAPI_OPEN_* */
	uint32_t maxcpu;	  /* vCPUs it may have; 0: hw.vmm.maxcpu */
	uint64_t mem_limit_bytes; /* of its memory in RAM; 0: only the module's limit */
};
struct vmctx *vm_openf(const char *name, const struct vm_open_opts *opts);

/* Gives the context, its mappings and its open vCPUs back; the machine stays. NULL is nothing. */
void vm_close(struct vmctx *ctx);

/* Ends the machine, then as vm_close(), even if it fails: then the machine is still there. */
int vm_destroy(struct vmctx *ctx);
int vm_destroy_name(const char *name);

const char *vm_get_name(const struct vmctx *ctx);
/* Of /dev/vmm/NAME, owned by the context: for poll, seccomp and the like. */
int vm_get_device_fd(const struct vmctx *ctx);

/* ---- Memory, the easy way -------------------------------------------------------------------- */

/*
 * Low memory begins at 0 and ends where the limit says; what is more begins at 4 GiB. Both are
 * parts of one segment, so the hole between them costs nothing.
 */
#define VM_LOWMEM_LIMIT (3ull << 30)
#define VM_HIGHMEM_BASE (4ull << 30)
#define VM_GUARD_BYTES (4ull << 20)
/* What idents vm_setup_memory() and friends use; others are free. */
enum {
	VM_SYSMEM,
	VM_BOOTROM,
	VM_FRAMEBUFFER,
	VM_PCIROM,
};

/*
 * A machine's framebuffer: the first VM_FRAMEBUFFER_BYTES of the segment of that ident and name are
 * what the guest draws into; the page behind them, which it does not see, says how.
 */
#define VM_FRAMEBUFFER_NAME "framebuffer"
#define VM_FRAMEBUFFER_BYTES (16u << 20)
#define VM_FRAMEBUFFER_MODE_BYTES 4096u
#define VM_FRAMEBUFFER_MAGIC 0x31626670656b73ull /* "skepfb1" */
struct vm_framebuffer {
	uint64_t fb_magic;
	uint32_t fb_width;  /* pixels */
	uint32_t fb_height; /* lines */
	uint32_t
		fb_stride_bytes; /* from a line to the next; a pixel is blue, green, red, nothing */
	uint32_t fb_reserved;
};

/* Before vm_setup_memory() (-EBUSY after it); a multiple of 2 MiB up to 4 GiB (-EINVAL). */
int vm_set_lowmem_limit(struct vmctx *ctx, uint64_t bytes);
uint64_t vm_get_lowmem_limit(const struct vmctx *ctx);

/* bhyve's VM_MEM_F_INCORE has no place here: memory of guests is never part of core dumps. */
#define VM_MEM_F_WIRED 0x02u /* guest memory never leaves RAM */
/* Before vm_setup_memory() (-EBUSY after it). -EINVAL an unknown flag. */
int vm_set_memflags(struct vmctx *ctx, unsigned int flags);
unsigned int vm_get_memflags(const struct vmctx *ctx);

/*
 * Gives the machine `bytes` of memory, and maps it here unless `how` is VM_MMAP_NONE, with
 * VM_GUARD_BYTES of inaccessible addresses before and behind. Idempotent: what exists and is the
 * same is taken, by this context or by another one that comes later, with the same limit and flags.
 *
 * -EINVAL bytes 0 or not of pages; -EEXIST the machine has memory that differs: the sentence names
 * what does; -ENOMEM no room in the address space, or for wiring. After a failure the segment may
 * exist (nothing can take it away), what was mapped of it is not.
 */
enum vm_mmap_how {
	VM_MMAP_NONE,
	VM_MMAP_ALL,
};
int vm_setup_memory(struct vmctx *ctx, uint64_t bytes, enum vm_mmap_how how);

/*
 * Where [gpa, gpa + len) of that memory is here, or NULL (EFAULT) if it is not wholly in low or
 * wholly in high memory or was not mapped. len 0 asks for one byte's place. Valid until vm_close().
 */
void *vm_map_gpa(struct vmctx *ctx, uint64_t gpa, uint64_t len);
/* The other way: -EFAULT unless addr is in memory that vm_setup_memory() mapped. */
int vm_rev_map_gpa(struct vmctx *ctx, const void *addr, uint64_t *gpa);

uint64_t vm_get_lowmem_size(const struct vmctx *ctx);
uint64_t vm_get_highmem_size(const struct vmctx *ctx);
uint64_t vm_get_highmem_base(const struct vmctx *ctx);

/* By the machine's node: any gpa, no mapping needed. Holes below the last map read as zeros. All of
 * it, or -EFAULT and what was written before the failure stays. */
int vm_read_mem(struct vmctx *ctx, uint64_t gpa, void *to, size_t bytes);
int vm_write_mem(struct vmctx *ctx, uint64_t gpa, const void *from, size_t bytes);

/* ---- Segments and maps ----------------------------------------------------------------------- */

/*
 * A segment of that ident; name "" or NULL: system memory, else device memory with nodes
 * /dev/vmm/VM.NAME. 0 too if it exists and is the same; -EEXIST it exists and differs (the sentence
 * names how), or the name is taken; -EINVAL; -ENAMETOOLONG; -ENOSPC.
 */
int vm_alloc_memseg(struct vmctx *ctx, int ident, uint64_t len, const char *name);
/* len 0 if there is none. name (room for VMM_SEG_NAME_BYTES) may be NULL. */
int vm_get_memseg(struct vmctx *ctx, int ident, uint64_t *len, char *name);

/*
 * Shows [off, off + len) of a segment at gpa with rights VMM_PROT_*, flags VMM_MEMMAP_WIRED. 0 too
 * if it is there already; -EEXIST a map begins at gpa and differs (the sentence names how); -EFAULT
 * overlaps; -EINVAL; -ENOSPC; -ENOMEM; -EOPNOTSUPP rights that the CPU's tables cannot express.
 */
int vm_mmap_memseg(struct vmctx *ctx, uint64_t gpa, int ident, uint64_t off, uint64_t len,
		   unsigned int prot, unsigned int flags);
/* These name exactly a map: -EINVAL else; -EBUSY devices reach it. */
int vm_munmap_memseg(struct vmctx *ctx, uint64_t gpa, uint64_t len);
int vm_protect_memmap(struct vmctx *ctx, uint64_t gpa, uint64_t len, unsigned int prot);
int vm_wire_memmap(struct vmctx *ctx, uint64_t gpa, uint64_t len);
int vm_unwire_memmap(struct vmctx *ctx, uint64_t gpa, uint64_t len);
/* The map with the lowest gpa at or above map->gpa, in place. -ENOENT: none. */
int vm_mmap_getnext(struct vmctx *ctx, struct vmm_memmap *map);

/*
 * Device memory: a named segment (as vm_alloc_memseg()), mapped here between guards. MAP_FAILED
 * with EINVAL for an empty name, and as above. Valid until vm_close(), wherever the guest sees it.
 */
void *vm_create_devmem(struct vmctx *ctx, int ident, const char *name, uint64_t len);

/* The contents of [gpa, gpa + len), forgotten: zeros at the next touch. */
int vm_discard(struct vmctx *ctx, uint64_t gpa, uint64_t len);
/* Takes up to *npages out of RAM, and says how many; clean_only: none that needs writing. */
int vm_pageout(struct vmctx *ctx, uint64_t *npages, bool clean_only);

/* ---- The dirty log; execute control ---------------------------------------------------------- */

/* all_set: every page that has contents is reported once. -EBUSY it is on, -ENOENT it is off. */
int vm_dirty_enable(struct vmctx *ctx, bool all_set);
int vm_dirty_disable(struct vmctx *ctx);
/*
 * Bit i of the 64-bit words of bitmap is page gpa + i * 4 KiB; it has room for the last page's
 * word. peek: what is logged so far. get: and what is only in page tables. clear: get, and begin
 * anew for these pages; what is not handed over must be given back by _set, or it is lost.
 * -ENOENT the log is off.
 */
int vm_dirty_peek(struct vmctx *ctx, uint64_t gpa, uint64_t len, uint64_t *bitmap);
int vm_dirty_get(struct vmctx *ctx, uint64_t gpa, uint64_t len, uint64_t *bitmap);
int vm_dirty_clear(struct vmctx *ctx, uint64_t gpa, uint64_t len, uint64_t *bitmap);
int vm_dirty_set(struct vmctx *ctx, uint64_t gpa, uint64_t len, const uint64_t *bitmap);

/* Superpages are not executable and are split where code runs (on), or not; recover joins them. */
int vm_exec_control(struct vmctx *ctx, enum vmm_exec_op op);

/* ---- Looking inside -------------------------------------------------------------------------- */

/* The entries that a walk of gpa meets, top down; *n of them, the last empty or a leaf. */
int vm_get_gpa_pmap(struct vmctx *ctx, uint64_t gpa, uint64_t entries[5], unsigned int *n);
/* info->gpa is in. -EFAULT no map. */
int vm_get_page_info(struct vmctx *ctx, struct vmm_page_info *info);
/* VMM_HARVEST_* of a range; bitmap as for the dirty log; *found may be NULL. */
int vm_harvest(struct vmctx *ctx, uint64_t gpa, uint64_t len, unsigned int flags, uint64_t *bitmap,
	       uint64_t *found);
/* Joins, or splits, the superpage of a level (1: 2 MiB, 2: 1 GiB) at gpa. -EBUSY cannot be joined;
 * -ENOENT nothing there. */
int vm_promote(struct vmctx *ctx, uint64_t gpa, unsigned int level);
int vm_demote(struct vmctx *ctx, uint64_t gpa, unsigned int level);
int vm_get_accounts(struct vmctx *ctx, struct vmm_accounts *accounts);
/* Verifies tables and accounts by a full walk. -EUCLEAN they are wrong: the sentence is how. */
int vm_check(struct vmctx *ctx);
/* The nested page tables as text, a line each. *text is the caller's to free(). */
int vm_dump_pmap(struct vmctx *ctx, char **text);

/* Statistics of a vCPU, or of the machine (vcpu -1): n values, of which `index` is called desc. */
struct vm_stats {
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	unsigned int n;
	uint64_t values[]; /* n of them */
};
/* *stats is the caller's to free(). -ENOENT the vCPU was never activated. */
int vm_get_stats(struct vmctx *ctx, int vcpu, struct vm_stats **stats);
/* -ENOENT beyond the last. */
int vm_get_stat_desc(struct vmctx *ctx, int vcpu, unsigned int index, char desc[120]);

/* ---- vCPUs ----------------------------------------------------------------------------------- */

/* A handle: it does not make the vCPU exist. NULL with EINVAL. Closed with the context at last. */
struct vcpu *vm_vcpu_open(struct vmctx *ctx, int id);
void vm_vcpu_close(struct vcpu *vcpu);
int vcpu_id(const struct vcpu *vcpu);
struct vmctx *vcpu_ctx(const struct vcpu *vcpu);

/* Makes it exist, as after a reset. -EBUSY it does. Until then all calls on it are -ENOENT. */
int vm_activate_cpu(struct vcpu *vcpu);
/* Bit i: vCPU i. */
int vm_get_cpus(struct vmctx *ctx, struct vmm_cpus *cpus);

/* n registers at once; -EINVAL no such one, or a value that no CPU would hold there: all or
 * nothing. More than VMM_REGS_MAX are -EINVAL. */
int vm_get_register_set(struct vcpu *vcpu, unsigned int n, const enum vmm_reg *regs,
			uint64_t *values);
int vm_set_register_set(struct vcpu *vcpu, unsigned int n, const enum vmm_reg *regs,
			const uint64_t *values);
int vm_get_register(struct vcpu *vcpu, enum vmm_reg reg, uint64_t *value);
int vm_set_register(struct vcpu *vcpu, enum vmm_reg reg, uint64_t value);
/* VMM_REG_ES to VMM_REG_IDTR; access as kmod/uapi/vmm.h has it. */
int vm_get_desc(struct vcpu *vcpu, enum vmm_reg reg, uint64_t *base, uint32_t *limit,
		uint32_t *access);
int vm_set_desc(struct vcpu *vcpu, enum vmm_reg reg, uint64_t base, uint32_t limit,
		uint32_t access);
/* A field of the VMCS or VMCB (struct vmm_field). -EINVAL no such field, or not to be set. */
int vm_get_field(struct vcpu *vcpu, uint32_t field, uint64_t *value);
int vm_set_field(struct vcpu *vcpu, uint32_t field, uint64_t value);

/* -EOPNOTSUPP this CPU has it not; -EINVAL no such capability, or to be read only. */
int vm_get_capability(struct vcpu *vcpu, enum vmm_cap cap, uint64_t *value);
int vm_set_capability(struct vcpu *vcpu, enum vmm_cap cap, uint64_t value);
/* The number of a capability's name ("hlt_exit", ...), or -ENOENT; its name, or NULL. */
int vm_capability_name2type(const char *name);
const char *vm_capability_type2name(enum vmm_cap cap);

/* Events for the next entry where they are possible. error_code < 0: none. -EBUSY one is pending
 * (exceptions). */
int vm_inject_exception(struct vcpu *vcpu, unsigned int vector, int64_t error_code);
int vm_inject_intr(struct vcpu *vcpu, unsigned int vector);
int vm_inject_nmi(struct vcpu *vcpu);
int vm_get_intinfo(struct vcpu *vcpu, uint64_t *exit_intinfo, uint64_t *event_intinfo);

/* Runs until something happens that the caller must handle. -EINTR a signal: nothing happened. */
int vm_run(struct vcpu *vcpu, struct vmm_exit *exit);
/* All vCPUs leave for good. -EALREADY they were told to before. */
int vm_suspend(struct vmctx *ctx, enum vmm_suspend_how how);
/* Registers as after reset; named segments' maps go. -EBUSY unless all vCPUs are suspended. */
int vm_reinit(struct vmctx *ctx);

/* Names for people: "" is never returned; what has no name is "unknown". */
const char *vm_exit_name(uint32_t exitcode);	   /* "inout", "hlt", ... */
const char *vm_fault_reason_text(uint32_t reason); /* of struct vmm_exit_paging */
const char *vm_suspend_name(uint32_t how);

/* ---- Addresses of the guest's own ------------------------------------------------------------ */

/*
 * Where gla leads by the vCPU's own tables, for an access with rights prot. *fault, if the guest
 * would get an exception: 1, and it is injected (not by _nofault, which leaves the guest's tables
 * as they are); *gpa is then nothing. -EFAULT a table lies where no memory is.
 */
int vm_gla2gpa(struct vcpu *vcpu, uint64_t gla, unsigned int prot, uint64_t *gpa, int *fault);
int vm_gla2gpa_nofault(struct vcpu *vcpu, uint64_t gla, unsigned int prot, uint64_t *gpa,
		       int *fault);
/* Copies from, or to, guest-linear addresses. At most VMM_COPY_BYTES_MAX; all or nothing; *fault as
 * above: then an exception was injected. */
int vm_copyin(struct vcpu *vcpu, uint64_t gla, void *to, size_t bytes, int *fault);
int vm_copyout(struct vcpu *vcpu, const void *from, uint64_t gla, size_t bytes, int *fault);

/* ---- Interrupt and timer hardware (kmod/uapi/vmm_irq.h) ------------------------------------- */

/*
 * Gives the machine a PC's: local APICs, IOAPIC, 8259, PIT, RTC, ACPI timer, in the module. Before
 * the first vCPU is activated (-EBUSY). flags: VMM_PLATFORM_*. The calls below are -ENODEV without,
 * and may be made from any thread while vCPUs run, vm_apic_access() from that of its vCPU.
 */
int vm_set_platform(struct vmctx *ctx, unsigned int flags);
/* A wire to the IOAPIC's pin, and the 8259's if below 16. -EINVAL no pin, or 0, 2, 8 (PIT, RTC). */
int vm_irq_line(struct vmctx *ctx, unsigned int pin, enum vmm_irq_level level);
/* What a device does by writing data to addr. -EINVAL no address of interrupt messages. */
int vm_msi(struct vmctx *ctx, uint64_t addr, uint32_t data);
/* An access to local APIC or IOAPIC that VMM_EXIT_MMIO told of. -EFAULT neither is at gpa. */
int vm_apic_access(struct vcpu *vcpu, uint64_t gpa, unsigned int bytes, bool write,
		   uint64_t *value);
int vm_apic_state(struct vcpu *vcpu, struct vmm_apic_state *state);
/* The clock, in seconds since 1970 (it begins with the host's), and its memory: offsets 14 to 127,
 * but for 50. -EINVAL. */
int vm_rtc_gettime(struct vmctx *ctx, uint64_t *seconds);
int vm_rtc_settime(struct vmctx *ctx, uint64_t seconds);
int vm_rtc_read(struct vmctx *ctx, unsigned int offset, uint8_t *value);
int vm_rtc_write(struct vmctx *ctx, unsigned int offset, uint8_t value);

/* ---- PCI devices of the host (kmod/uapi/vmm_ppt.h) ------------------------------------------ */

/*
 * Gives the machine a device that the driver vmm_ppt owns, and takes it back; dev: VMM_PPT_DEV().
 * The errors are many, and each has a sentence of its own. All maps of system memory must be wired
 * (-EAGAIN). The other calls: -ENOENT it has no such device.
 */
int vm_assign_pptdev(struct vmctx *ctx, uint32_t dev);
int vm_unassign_pptdev(struct vmctx *ctx, uint32_t dev);
int vm_pptdev_info(struct vmctx *ctx, uint32_t dev, struct vmm_ppt_info *info);
/* Of its configuration space; BARs read 0, and few writes arrive. */
int vm_pptdev_config(struct vmctx *ctx, uint32_t dev, bool write, unsigned int off,
		     unsigned int bytes, uint32_t *value);
/* Shows a part of a BAR, in pages, at gpa; or no longer, exactly as it was shown. -EPERM it holds
 * the MSI-X table. */
int vm_map_pptdev_mmio(struct vmctx *ctx, uint32_t dev, unsigned int bar, uint64_t off,
		       uint64_t len, uint64_t gpa);
int vm_unmap_pptdev_mmio(struct vmctx *ctx, uint32_t dev, unsigned int bar, uint64_t off,
			 uint64_t len, uint64_t gpa);
/* The messages that its interrupts become. vectors 0: off. */
int vm_setup_pptdev_msi(struct vmctx *ctx, uint32_t dev, uint64_t addr, uint32_t data,
			unsigned int vectors);
int vm_setup_pptdev_msix(struct vmctx *ctx, uint32_t dev, unsigned int vector, uint64_t addr,
			 uint32_t data, bool masked);
int vm_disable_pptdev_msix(struct vmctx *ctx, uint32_t dev);

/* ---- A guest's first page tables ------------------------------------------------------------- */

/*
 * Builds 4-level tables that map [0, map_bytes) to itself, writable and executable, supervisor
 * only, write back; with leaves of page_bytes (4 KiB, 2 MiB, 1 GiB), of which map_bytes is a
 * multiple. They are put into guest memory from tables_gpa on, the root first, and take *used_bytes
 * (may be NULL) of the room_bytes there. *cr3 is what to load. Tables are made by libpmap's own
 * PT_X86; nothing here knows a bit of an entry.
 *
 * -EINVAL misaligned, 0, or beyond 256 TiB; -ENOSPC more room is needed, and the sentence says how
 * much: nothing was written; -EFAULT no memory there; -EAGAIN too many threads use libpmap.
 */
struct vm_boot_cfg {
	uint64_t tables_gpa;
	uint64_t room_bytes;
	uint64_t map_bytes;
	uint64_t page_bytes;
};
int vm_boot_tables(struct vmctx *ctx, const struct vm_boot_cfg *cfg, uint64_t *cr3,
		   uint64_t *used_bytes);

/*
 * Makes a vCPU as a boot loader would leave it: 64-bit mode with flat segments, interrupts off,
 * those tables, and rip and rsp. Other registers stay as they are.
 */
int vm_setup_long_mode(struct vcpu *vcpu, uint64_t rip, uint64_t rsp, uint64_t cr3);

#ifdef __cplusplus
}
#endif

#endif /* LIBVMM_LIBVMM_H */
