/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The ABI of vmm.ko: all that user space and the module know of each other.
 *
 * Three kinds of nodes. /dev/vmmctl makes virtual machines and finds them (VMMCTL_*). /dev/vmm/NAME
 * is one of them (VMM_*): ioctl as below; read and write at an offset that is a guest-physical
 * address; mmap of system memory at such an offset. /dev/vmm/NAME.SEG, which is also
 * /dev/vmm.io/NAME.SEG, is a named segment of its memory: mmap only. None can be mapped executable.
 *
 * Rules for every structure: its size is part of the ioctl's number; fields are of fixed width,
 * naturally aligned, without holes; what is called reserved, and flags that have no name, must be 0
 * (-EINVAL), so that they may get a meaning later; pointers travel as 64-bit integers. A structure
 * that is handed in is not changed unless the call succeeds or its comment says so. VMMCTL_VERSION
 * may be asked by any version of user space; the number changes when a structure or a rule does.
 *
 * Errors are errno values as the comments say; beside these every call may fail with
 * -EINVAL     a reserved field, an unknown flag, a vCPU number that is out of range
 * -ENOTTY     no such call
 * -EFAULT     a bad pointer of the caller's
 * -ENXIO      the machine is being destroyed
 * -ENOENT     a vCPU that was never activated (VMM_ACTIVATE_CPU)
 * -EBUSY      the vCPU is used by another thread (class VCPU)
 * -EINTR      a signal came while it waited
 *
 * Each call belongs to a class that says whom it excludes (kmod/ioctl_table.c has the table):
 *   NONE      nobody: may be made while vCPUs run
 *   VCPU      the one vCPU: its state goes from idle to frozen and back around the call
 *   READERS   changes of segments and maps
 *   WRITERS   readers, each other, and all vCPUs: those inside the guest are called out, wait
 *             between two instructions, and go on by themselves afterwards
 */

#ifndef VMM_UAPI_H
#define VMM_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#include "kmod/uapi/vmm_irq.h"
#include "kmod/uapi/vmm_ppt.h"

#define VMM_ABI_VERSION 2

#define VMMCTL_NODE "/dev/vmmctl"
#define VMM_NODE_DIR "/dev/vmm"
#define VMM_IO_NODE_DIR "/dev/vmm.io"

/* A machine's name, with the final 0: letters, digits, then also '-', '_', '.'. */
#define VMM_NAME_BYTES 64
#define VMM_SEG_NAME_BYTES 64
#define VMM_MAXCPU 64 /* vCPUs of one machine that the ABI can tell apart */

/*
 * What a guest's CPUID tells of us: in leaf VMM_CPUID_LEAF, EAX the last leaf, EBX, ECX, EDX the
 * twelve characters; in the next EAX is VMM_ABI_VERSION.
 */
#define VMM_CPUID_LEAF 0x40000000u
#define VMM_CPUID_VENDOR "skepskepskep"

#define VMM_PROT_READ 1u
#define VMM_PROT_WRITE 2u
#define VMM_PROT_EXEC 4u

/* ---- /dev/vmmctl ----------------------------------------------------------------------------- */

enum vmm_cpu_kind {
	VMM_CPU_VTX = 1, /* Intel VT-x with EPT */
	VMM_CPU_SVM = 2, /* AMD-V with nested paging */
};

struct vmm_version {
	__u32 abi;	  /* VMM_ABI_VERSION of the module */
	__u32 cpu_kind;	  /* enum vmm_cpu_kind */
	__u32 maxcpu;	  /* vCPUs that a machine may have: hw.vmm.maxcpu */
	__u32 pmap_flags; /* of the nested tables of new machines: hw.vmm.{ept,npt}.pmap_flags */
	__u64 abi_flags;  /* 0 */
	char release[64]; /* the module's version, for people */
	__u64 reserved[4];
};

#define VMM_CREATE_DESTROY_ON_CLOSE (1u << 0) /* when this file of /dev/vmmctl is closed */

/*
 * Makes a machine without memory and with no vCPU active; its nodes exist when the call returns.
 * -EEXIST a machine, or a node of one's named segment, has that name; -EINVAL not a name; -ENOMEM.
 */
struct vmm_create {
	char name[VMM_NAME_BYTES];
	__u32 flags;	       /* VMM_CREATE_* */
	__u32 maxcpu;	       /* 0: hw.vmm.maxcpu */
	__u64 mem_limit_bytes; /* of its memory in RAM; 0: only the module's limit */
	__u64 reserved[4];
};

/* Ends a machine: vCPUs leave the guest, calls in progress fail with -ENXIO. -ENOENT none such. */
struct vmm_destroy {
	char name[VMM_NAME_BYTES];
	__u64 reserved[2];
};

/* The machine whose name comes after `name` (in byte order; "" for the first). -ENOENT: none. */
struct vmm_next {
	char name[VMM_NAME_BYTES]; /* in and out */
	__u64 reserved[2];
};

#define VMMCTL_VERSION _IOR('V', 0x01, struct vmm_version)
#define VMMCTL_CREATE _IOW('V', 0x02, struct vmm_create)
#define VMMCTL_DESTROY _IOW('V', 0x03, struct vmm_destroy)
#define VMMCTL_NEXT _IOWR('V', 0x04, struct vmm_next)

/* ---- Memory ---------------------------------------------------------------------------------- */

/*
 * A segment: an object of pages. ident is the caller's number for it, 0 to 65535. name "": system
 * memory, paged; else device memory with nodes of that name.
 *
 * ALLOC: -EINVAL bad ident, length 0 or not of pages, it exists and is another; -EEXIST it exists
 * and is the same, or the name is another segment's or its node's name a machine's; -ENAMETOOLONG
 * no final 0; -ENOSPC too many; -ENOMEM. GET: len_bytes 0 if there is none of that ident.
 */
struct vmm_memseg {
	__s32 ident;
	__u32 reserved0;
	__u64 len_bytes;
	char name[VMM_SEG_NAME_BYTES];
	__u64 reserved[2];
};

#define VMM_MEMMAP_WIRED (1u << 0)
#define VMM_MEMMAP_IOMMU (1u << 1) /* told, not asked for: devices reach it */

/*
 * Shows [segoff, segoff + len) of a segment at gpa. -EINVAL rights 0 or beyond RWX, a bad or
 * unused ident, anything misaligned or beyond its end; -EFAULT overlaps; -ENOSPC; -ENOMEM;
 * -EOPNOTSUPP rights that this CPU's tables cannot express.
 */
struct vmm_memmap {
	__u64 gpa;
	__u64 len_bytes;
	__s32 ident;
	__u32 prot; /* VMM_PROT_* */
	__u64 segoff_bytes;
	__u32 flags; /* VMM_MEMMAP_* */
	__u32 reserved0;
	__u64 reserved[2];
};

/*
 * What is exactly a map: MUNMAP takes it away, PROTECT changes its rights to prot, WIRE and UNWIRE
 * its wiring (prot 0). -EINVAL not exactly a map; -EBUSY devices reach it; -ENOMEM.
 */
struct vmm_range {
	__u64 gpa;
	__u64 len_bytes;
	__u32 prot;
	__u32 reserved0;
	__u64 reserved[2];
};

/* DISCARD forgets the contents of a range (vm_discard); PAGEOUT takes pages out of memory. */
struct vmm_pageout {
	__u64 npages; /* in: how many; out: how many it were */
	__u32 flags;  /* VMM_PAGEOUT_* */
	__u32 reserved0;
	__u64 reserved[2];
};
#define VMM_PAGEOUT_CLEAN (1u << 0) /* only what needs no writing */

#define VMM_ALLOC_MEMSEG _IOW('V', 0x10, struct vmm_memseg)
#define VMM_GET_MEMSEG _IOWR('V', 0x11, struct vmm_memseg)
#define VMM_MMAP_MEMSEG _IOW('V', 0x12, struct vmm_memmap)
#define VMM_MUNMAP_MEMSEG _IOW('V', 0x13, struct vmm_range)
#define VMM_MMAP_GETNEXT _IOWR('V', 0x14, struct vmm_memmap) /* lowest gpa >= gpa; -ENOENT */
#define VMM_PROTECT_MEMMAP _IOW('V', 0x15, struct vmm_range)
#define VMM_WIRE_MEMMAP _IOW('V', 0x16, struct vmm_range)
#define VMM_UNWIRE_MEMMAP _IOW('V', 0x17, struct vmm_range)
#define VMM_DISCARD _IOW('V', 0x18, struct vmm_range)
#define VMM_PAGEOUT _IOWR('V', 0x19, struct vmm_pageout)

/* ---- The dirty log, execute control ---------------------------------------------------------- */

enum vmm_dirty_op {
	VMM_DIRTY_ENABLE = 1,  /* flags: VMM_DIRTY_ALL_SET; -EBUSY it is on */
	VMM_DIRTY_DISABLE = 2, /* -ENOENT it is off; so the following */
	VMM_DIRTY_PEEK = 3,
	VMM_DIRTY_GET = 4,
	VMM_DIRTY_CLEAR = 5, /* get, and begin anew for these pages */
	VMM_DIRTY_SET = 6,   /* gives bits back */
};
#define VMM_DIRTY_ALL_SET (1u << 0) /* every page that has contents is reported once */

/* bitmap: bit i of 64-bit words is page gpa + i * 4 KiB; of whole words, len_bytes / 4096 bits. */
struct vmm_dirty {
	__u32 op; /* enum vmm_dirty_op */
	__u32 flags;
	__u64 gpa;
	__u64 len_bytes;
	__u64 bitmap; /* pointer */
	__u64 reserved[2];
};

enum vmm_exec_op {
	VMM_EXEC_NX_SUPERPAGES_ON = 1, /* -EOPNOTSUPP the tables cannot express it */
	VMM_EXEC_NX_SUPERPAGES_OFF = 2,
	VMM_EXEC_RECOVER = 3, /* takes the right away again; superpages come back */
};
struct vmm_exec {
	__u32 op; /* enum vmm_exec_op */
	__u32 reserved0;
	__u64 reserved[2];
};

#define VMM_DIRTY_LOG _IOW('V', 0x20, struct vmm_dirty)
#define VMM_EXEC_CONTROL _IOW('V', 0x21, struct vmm_exec)

/* ---- Looking inside -------------------------------------------------------------------------- */

/* The entries that a walk of gpa meets, top down; the last is empty or a leaf. */
struct vmm_gpa_pmap {
	__u64 gpa;
	__u32 n; /* out */
	__u32 reserved0;
	__u64 entries[5];
	__u64 reserved[2];
};

/* What is known of the page that a map shows at gpa. -EFAULT no map. */
#define VMM_PAGE_RESIDENT (1u << 0)
#define VMM_PAGE_DIRTY (1u << 1)
#define VMM_PAGE_SWAPPED (1u << 2)
#define VMM_PAGE_LOGGED (1u << 3)
#define VMM_PAGE_BUSY (1u << 4)
struct vmm_page_info {
	__u64 gpa;
	__u32 flags; /* VMM_PAGE_* */
	__u32 holds;
	__u32 write_holds;
	__u32 wirings;
	__u64 hpa; /* 0 if not resident, or the caller lacks CAP_SYS_ADMIN */
	__u64 reserved[2];
};

/*
 * Collects A (or M, cleared with its flush) of a range as pageout and log do: bit i is page i. With
 * PEEK nothing changes. For tests and tools.
 */
#define VMM_HARVEST_ACCESSED (1u << 0) /* else modified */
#define VMM_HARVEST_PEEK (1u << 1)
struct vmm_harvest {
	__u32 flags;
	__u32 reserved0;
	__u64 gpa;
	__u64 len_bytes;
	__u64 bitmap; /* pointer, as above */
	__u64 found;  /* out: leaves that were */
	__u64 reserved[2];
};

/*
 * Joins or splits the superpage of a level (1: 2 MiB, 2: 1 GiB) at gpa: vm_promote, vm_demote.
 * -EBUSY cannot be joined, or must not: the dirty log is on, or it would be executable and none may
 * be. -ENOENT nothing of that kind there.
 */
struct vmm_super {
	__u64 gpa;
	__u32 level;
	__u32 demote;
	__u64 reserved[2];
};

/*
 * Accounts of the machine, in pages of 4 KiB (vmspace.h: struct vm_accounts). Each number for
 * itself: while the machine runs they are not of one moment.
 */
struct vmm_accounts {
	__u64 resident;
	__u64 wired;
	__u64 reserved_runs;
	__u64 devmem;
	__u64 swapped;
	__u64 tables;
	__u64 mapped;	 /* in the nested tables */
	__u64 leaves[3]; /* of them, by size: 4 KiB, 2 MiB, 1 GiB */
	__u64 limit;	 /* 0: none of its own */
	__u64 eptp;	 /* or nCR3 */
	__u64 reserved[4];
};

/*
 * Verifies page tables and accounts by a full walk (pmap_check, vmspace_check), with all vCPUs
 * frozen. ok is 1, or why says what is wrong; the call succeeds either way.
 */
struct vmm_check {
	__u32 ok;
	__u32 reserved0;
	char why[240];
	__u64 reserved[2];
};

/* The nested tables as text, a line each. buf_bytes in: room; out: what it takes in all. */
struct vmm_dump {
	__u64 buf; /* pointer */
	__u64 buf_bytes;
	__u64 reserved[2];
};

/* Statistics. Of a vCPU, or -1: of the machine. first: index of the first wanted. */
#define VMM_STATS_MAX 32
struct vmm_stats {
	__s32 vcpu;
	__u32 first;
	__u32 n; /* out; 0: there are none from `first` on */
	__u32 reserved0;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 values[VMM_STATS_MAX];
	__u64 reserved[2];
};
struct vmm_stat_desc {
	__s32 vcpu;  /* -1: the machine's */
	__u32 index; /* -ENOENT beyond the last */
	char desc[120];
	__u64 reserved[2];
};

#define VMM_GET_GPA_PMAP _IOWR('V', 0x30, struct vmm_gpa_pmap)
#define VMM_PAGE_INFO _IOWR('V', 0x31, struct vmm_page_info)
#define VMM_HARVEST _IOWR('V', 0x32, struct vmm_harvest)
#define VMM_SUPER _IOW('V', 0x33, struct vmm_super)
#define VMM_ACCOUNTS _IOR('V', 0x34, struct vmm_accounts)
#define VMM_CHECK _IOR('V', 0x35, struct vmm_check)
#define VMM_DUMP _IOWR('V', 0x36, struct vmm_dump)
#define VMM_STATS _IOWR('V', 0x37, struct vmm_stats)
#define VMM_STAT_DESC _IOWR('V', 0x38, struct vmm_stat_desc)

/* ---- vCPUs: registers ------------------------------------------------------------------------ */

enum vmm_reg {
	VMM_REG_RAX,
	VMM_REG_RBX,
	VMM_REG_RCX,
	VMM_REG_RDX,
	VMM_REG_RSI,
	VMM_REG_RDI,
	VMM_REG_RBP,
	VMM_REG_R8,
	VMM_REG_R9,
	VMM_REG_R10,
	VMM_REG_R11,
	VMM_REG_R12,
	VMM_REG_R13,
	VMM_REG_R14,
	VMM_REG_R15,
	VMM_REG_RSP,
	VMM_REG_RIP,
	VMM_REG_RFLAGS,
	VMM_REG_CR0,
	VMM_REG_CR2,
	VMM_REG_CR3,
	VMM_REG_CR4,
	VMM_REG_CR8,
	VMM_REG_EFER,
	VMM_REG_DR0,
	VMM_REG_DR1,
	VMM_REG_DR2,
	VMM_REG_DR3,
	VMM_REG_DR6,
	VMM_REG_DR7,
	VMM_REG_ES, /* selectors; base, limit and rights by VMM_*_DESC */
	VMM_REG_CS,
	VMM_REG_SS,
	VMM_REG_DS,
	VMM_REG_FS,
	VMM_REG_GS,
	VMM_REG_LDTR,
	VMM_REG_TR,
	VMM_REG_GDTR, /* VMM_*_DESC only */
	VMM_REG_IDTR, /* VMM_*_DESC only */
	VMM_REG_PDPTE0,
	VMM_REG_PDPTE1,
	VMM_REG_PDPTE2,
	VMM_REG_PDPTE3,
	VMM_REG_STAR,
	VMM_REG_LSTAR,
	VMM_REG_CSTAR,
	VMM_REG_SFMASK,
	VMM_REG_KGS_BASE,
	VMM_REG_SYSENTER_CS,
	VMM_REG_SYSENTER_ESP,
	VMM_REG_SYSENTER_EIP,
	VMM_REG_PAT,
	VMM_REG_INTR_SHADOW,
	VMM_REG_XMM0, /* its lower half, then its upper half, and so on to XMM15 */
	VMM_REG_XMM_LAST = VMM_REG_XMM0 + 31,
	VMM_REG_COUNT,
};

/* -EINVAL no such register, or a value that no CPU would hold there. All or nothing. */
#define VMM_REGS_MAX 64
struct vmm_regs {
	__s32 vcpu;
	__u32 n;
	__u32 regs[VMM_REGS_MAX];   /* enum vmm_reg */
	__u64 values[VMM_REGS_MAX]; /* in or out */
	__u64 reserved[2];
};

/* access: as in a VMCS (SDM vol. 3C 25.4.1): type, S, DPL, P, AVL, L, D/B, G; bit 16 unusable. */
struct vmm_desc {
	__s32 vcpu;
	__u32 reg; /* VMM_REG_ES .. VMM_REG_IDTR */
	__u64 base;
	__u32 limit;
	__u32 access; /* of GDTR and IDTR: 0 */
	__u64 reserved[2];
};

/*
 * A field of the VMCS by its encoding, or of the VMCB: offset in bits 15:0, width in bytes in bits
 * 19:16. For tools that show them; setting is for those who know (the two that 2011's vmmctl could
 * set: exception bitmap, entry-interruption information). -EINVAL no such field or not settable.
 */
struct vmm_field {
	__s32 vcpu;
	__u32 field;
	__u64 value;
	__u64 reserved[2];
};

#define VMM_GET_REGS _IOWR('V', 0x40, struct vmm_regs)
#define VMM_SET_REGS _IOW('V', 0x41, struct vmm_regs)
#define VMM_GET_DESC _IOWR('V', 0x42, struct vmm_desc)
#define VMM_SET_DESC _IOW('V', 0x43, struct vmm_desc)
#define VMM_GET_FIELD _IOWR('V', 0x44, struct vmm_field)
#define VMM_SET_FIELD _IOW('V', 0x45, struct vmm_field)

/* ---- vCPUs: capabilities, events ------------------------------------------------------------- */

enum vmm_cap {
	VMM_CAP_HALT_EXIT,  /* HLT ends VMM_RUN; on from the start */
	VMM_CAP_MTRAP_EXIT, /* after every instruction (VT-x with monitor trap flag) */
	VMM_CAP_PAUSE_EXIT,
	VMM_CAP_UNRESTRICTED_GUEST, /* real mode and unpaged; get only */
	VMM_CAP_BPT_EXIT,	    /* #BP ends VMM_RUN */
	VMM_CAP_PREEMPT_TIMER,	    /* VT-x: value is the timer's start at each entry, 0: off */
	VMM_CAP_COUNT,
};

/* -EOPNOTSUPP this CPU has it not; -EINVAL no such capability, or get only. */
struct vmm_capability {
	__s32 vcpu;
	__u32 cap; /* enum vmm_cap */
	__u64 value;
	__u64 reserved[2];
};

enum vmm_event {
	VMM_EVENT_EXCEPTION = 1, /* vector below 32 */
	VMM_EVENT_INTR = 2,	 /* an external interrupt: delivered when the guest can take it */
	VMM_EVENT_NMI = 3,
};
#define VMM_EVENT_HAS_ERROR (1u << 0) /* exceptions that push an error code */

/*
 * Injects an event at the next entry where it is possible. An exception has its vCPU frozen, and
 * there can be one at a time (-EBUSY); interrupts and NMIs may be posted while it runs, each
 * pending once, and make it look at them. -EINVAL bad vector, error code where none belongs.
 */
struct vmm_inject {
	__s32 vcpu;
	__u32 event; /* enum vmm_event */
	__u32 vector;
	__u32 flags; /* VMM_EVENT_* flags */
	__u32 error_code;
	__u32 reserved0;
	__u64 reserved[2];
};

/* What is pending (in VMCS entry-interruption format; 0: nothing): what an exit interrupted, and
 * what was injected. */
struct vmm_intinfo {
	__s32 vcpu;
	__u32 reserved0;
	__u64 exit_intinfo;
	__u64 event_intinfo;
	__u64 reserved[2];
};

#define VMM_GET_CAPABILITY _IOWR('V', 0x50, struct vmm_capability)
#define VMM_SET_CAPABILITY _IOW('V', 0x51, struct vmm_capability)
#define VMM_INJECT _IOW('V', 0x52, struct vmm_inject)
#define VMM_GET_INTINFO _IOWR('V', 0x53, struct vmm_intinfo)

/* ---- vCPUs: life and running ----------------------------------------------------------------- */

enum vmm_suspend_how {
	VMM_SUSPEND_NONE,
	VMM_SUSPEND_RESET,
	VMM_SUSPEND_POWEROFF,
	VMM_SUSPEND_HALT,
	VMM_SUSPEND_TRIPLEFAULT,
};

/* Makes a vCPU exist; -EBUSY it does. Its registers are as after a reset (SDM vol. 3A 10.1.1). */
struct vmm_cpu {
	__s32 vcpu;
	__u32 how; /* VMM_SUSPEND: enum vmm_suspend_how; else 0 */
	__u64 reserved[2];
};

/* Bit i: vCPU i. */
struct vmm_cpus {
	__u64 active;
	__u64 suspended; /* have left for good, until VMM_REINIT */
	__u64 running;	 /* inside the guest now */
	__u32 how;	 /* enum vmm_suspend_how */
	__u32 reserved0;
	__u64 reserved[2];
};

enum vmm_exitcode {
	VMM_EXIT_NONE,
	VMM_EXIT_INOUT,
	VMM_EXIT_RDMSR,
	VMM_EXIT_WRMSR,
	VMM_EXIT_HLT,
	VMM_EXIT_PAUSE,
	VMM_EXIT_MTRAP,
	VMM_EXIT_BPT,
	VMM_EXIT_HYPERCALL, /* VMCALL or VMMCALL */
	VMM_EXIT_PAGING,    /* memory that vmspace cannot bring in: see the record */
	VMM_EXIT_MMIO,	    /* no memory at that address, by an instruction that can be emulated */
	VMM_EXIT_SUSPENDED,
	VMM_EXIT_SHUTDOWN, /* triple fault */
	VMM_EXIT_TIMER,	   /* VMM_CAP_PREEMPT_TIMER ran out */
	VMM_EXIT_TASK_SWITCH,
	VMM_EXIT_ENTRY_FAILED, /* the guest's state is not one that can be entered */
	VMM_EXIT_UNKNOWN,      /* an exit that the module has no use for */
};

/* A memory access that failed: enum vm_fault_reason by number, and its words by libvmm. */
struct vmm_exit_paging {
	__u64 gpa;
	__u64 gla;	 /* if gla_valid */
	__u64 len_bytes; /* the same answer holds for so much from gpa's page on */
	__u32 access;	 /* VMM_PROT_* */
	__u32 reason;
	__s32 error; /* negative errno */
	__u8 gla_valid;
	__u8 walk;	 /* the guest's page tables were being walked */
	__u8 inst_bytes; /* VMM_EXIT_MMIO: bytes of the instruction that are known, else 0 */
	__u8 reserved0;
	__u8 inst[16];
};

struct vmm_exit_inout {
	__u16 port;
	__u8 bytes; /* 1, 2, 4 */
	__u8 in;
	__u8 string; /* INS, OUTS: nothing was moved; registers are as before */
	__u8 rep;
	__u8 addr_bytes; /* string: width of addresses, 2, 4, 8; 0 not known */
	__u8 seg;	 /* string OUTS: enum vmm_reg of its segment */
	__u32 eax;	 /* out: the value; in: what to replace (set RAX before going on) */
	__u32 reserved0;
};

struct vmm_exit_msr {
	__u32 index;
	__u32 reserved0;
	__u64 value; /* WRMSR */
};

struct vmm_exit_hypercall {
	__u64 rax, rbx, rcx, rdx, rsi, rdi;
};

/* Raw facts, for UNKNOWN, ENTRY_FAILED and messages. VT-x: reason, qualification; SVM: EXITCODE. */
struct vmm_exit_raw {
	__u64 reason;
	__u64 info1;
	__u64 info2;
	__u64 error; /* VM-instruction error; entry failures */
};

/*
 * How a run ended. inst_bytes: length of the instruction that did it. VMM_RUN moves RIP past it
 * when it is called again, unless RIP was set meanwhile: INOUT, RDMSR, WRMSR, HLT, HYPERCALL,
 * PAUSE, BPT. For the others it is 0, and the instruction is tried again.
 */
struct vmm_exit {
	__u32 code; /* enum vmm_exitcode */
	__u32 inst_bytes;
	__u64 rip;
	union {
		struct vmm_exit_paging paging;
		struct vmm_exit_inout inout;
		struct vmm_exit_msr msr;
		struct vmm_exit_hypercall hypercall;
		struct vmm_exit_raw raw;
		__u64 rflags; /* HLT */
		__u32 how;    /* SUSPENDED: enum vmm_suspend_how */
		__u64 words[12];
	} u;
};

/*
 * Runs a vCPU until something happens that is not the module's to handle. -EINTR: a signal;
 * nothing happened. -ENOMEM and the like never: they are exits.
 */
struct vmm_run {
	__s32 vcpu;
	__u32 flags;	      /* 0 */
	struct vmm_exit exit; /* out */
	__u64 reserved[2];
};

#define VMM_ACTIVATE_CPU _IOW('V', 0x60, struct vmm_cpu)
#define VMM_GET_CPUS _IOR('V', 0x61, struct vmm_cpus)
#define VMM_RUN _IOWR('V', 0x62, struct vmm_run)
/* All vCPUs leave for good with that reason; the first one counts. -EALREADY: it is so already. */
#define VMM_SUSPEND _IOW('V', 0x63, struct vmm_cpu)
/*
 * -EBUSY unless all active vCPUs are suspended. Registers as after reset; named segments' maps go.
 */
#define VMM_REINIT _IO('V', 0x64)

/* ---- Addresses of the guest's own ------------------------------------------------------------ */

/*
 * gla2gpa by the vCPU's own registers. fault: 0, or the exception that the guest would get (with
 * VMM_GLA_NOFAULT it is told and not injected, and the guest's tables stay as they are).
 * -EFAULT a table is no memory.
 */
#define VMM_GLA_NOFAULT (1u << 0)
struct vmm_gla {
	__s32 vcpu;
	__u32 flags; /* VMM_GLA_* */
	__u32 prot;  /* VMM_PROT_* */
	__u32 fault; /* out: 0, or 1 */
	__u64 gla;
	__u64 gpa;	  /* out */
	__u64 page_bytes; /* out: what the guest maps by one entry around it */
	__u32 vector;	  /* out, if fault */
	__u32 error_code;
	__u64 reserved[2];
};

/* Copies between a buffer and guest-linear addresses, all or nothing; fault as above. */
struct vmm_copy {
	__s32 vcpu;
	__u32 flags; /* VMM_COPY_OUT: into the guest */
	__u64 gla;
	__u64 buf;	 /* pointer */
	__u64 len_bytes; /* at most VMM_COPY_BYTES_MAX */
	__u32 fault;
	__u32 vector;
	__u32 error_code;
	__u32 reserved0;
	__u64 reserved[2];
};
#define VMM_COPY_OUT (1u << 0)
#define VMM_COPY_BYTES_MAX 65536u

#define VMM_GLA2GPA _IOWR('V', 0x70, struct vmm_gla)
#define VMM_COPY _IOWR('V', 0x71, struct vmm_copy)

#endif /* VMM_UAPI_H */
