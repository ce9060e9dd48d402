/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of the module share: a virtual machine, its vCPUs, and what a CPU backend (VT-x,
 * SVM) must provide.
 *
 * Who does what. A backend knows registers, control structures and exit codes of its vendor, and
 * nothing of memory, threads or user space. Everything else is common: the life of machines and
 * vCPUs (vm.c, vcpu.c), the loop around guest entries (run.c), memory by vmspace, nodes and calls.
 * The shootdown protocol is the core's: run.c calls pmap_guest_enter() and pmap_guest_exit() around
 * each entry, just as the simulator does, and hands the answer to the backend, which flushes.
 *
 * A vCPU's state is its lock (bhyve's way): IDLE -> FROZEN -> RUNNING -> FROZEN -> IDLE. Whoever
 * makes it FROZEN owns it: registers, pending exception, backend state. RUNNING is in guest mode or
 * about to be, interrupts blocked. Who changes maps freezes all vCPUs (vm_lock_all_vcpus()): the
 * runner of each notices at the latest by a kick, goes to IDLE, and waits there for its turn.
 *
 * Lock order: vm_mem_lock (rw semaphore: readers and writers of maps), vCPU states in order of
 * their numbers, vmm_list_lock (mutex: all machines, all nodes), the list of a machine's segments
 * that are mapped (dev_mmap.c: mp_lock), vmm_quiet (who may page), the lock of one such segment
 * (sg_lock), then what vmspace takes. User memory is copied with none held from vmm_list_lock on,
 * since a fault of a mapped node takes the others of them inside mmap_lock.
 */

#ifndef KMOD_VMM_H
#define KMOD_VMM_H

#include <linux/atomic.h>
#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/percpu-rwsem.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/mm_types.h>
/*
 * Linux has an enum of this name, too. Its own is behind us; from here on the word means vmspace's.
 */
#define vm_fault_reason vmspace_fault_reason

#include "ept/ept.h"
#include "kmod/uapi/vmm.h"
#include "pmap/pmap_ident.h"
#include "vmspace/vm_gla.h"
#include "vmspace/vmspace.h"

struct vm;
struct vcpu;

/* ---- Statistics (stats.c) -------------------------------------------------------------------- */

/* Of one vCPU; descriptions in stats.c are bhyve's where it has the same. */
enum vcpu_stat {
	VCPU_STAT_EXITS,
	VCPU_STAT_EXITS_INTR,
	VCPU_STAT_EXITS_NMI,
	VCPU_STAT_EXITS_INOUT,
	VCPU_STAT_EXITS_CPUID,
	VCPU_STAT_EXITS_RDMSR,
	VCPU_STAT_EXITS_WRMSR,
	VCPU_STAT_EXITS_HLT,
	VCPU_STAT_EXITS_PAUSE,
	VCPU_STAT_EXITS_MTRAP,
	VCPU_STAT_EXITS_CR,
	VCPU_STAT_EXITS_DR,
	VCPU_STAT_EXITS_EXCEPTION,
	VCPU_STAT_EXITS_INTR_WINDOW,
	VCPU_STAT_EXITS_NMI_WINDOW,
	VCPU_STAT_EXITS_HYPERCALL,
	VCPU_STAT_EXITS_NESTED_FAULT,
	VCPU_STAT_EXITS_INST_EMUL,
	VCPU_STAT_EXITS_MISCONFIG,
	VCPU_STAT_EXITS_UNKNOWN,
	VCPU_STAT_EXITS_USERSPACE,
	VCPU_STAT_ENTRY_FAILURES,
	VCPU_STAT_FLUSHES,	 /* contexts flushed for the shootdown protocol at an entry */
	VCPU_STAT_IDENT_FLUSHES, /* INVVPID, or a new ASID */
	VCPU_STAT_MIGRATIONS,	 /* entries on another CPU than the one before */
	VCPU_STAT_EVENTS_INJECTED,
	VCPU_STATS,
};

/* ---- vCPUs ----------------------------------------------------------------------------------- */

enum vcpu_state {
	VCPU_IDLE,
	VCPU_FROZEN,
	VCPU_RUNNING,
};

/* An event in the VMCS's entry-interruption format, which SVM's EVENTINJ shares but for the type of
 * software exceptions: vector 7:0, type 10:8, error code valid 11, valid 31, error code 63:32. */
#define VCPU_EVENT_VALID (1ull << 31)
#define VCPU_EVENT_ERROR (1ull << 11)
#define VCPU_EVENT_TYPE(e) ((unsigned int)((e) >> 8 & 7))
#define VCPU_EVENT_VECTOR(e) ((unsigned int)((e)&0xff))
#define VCPU_EVENT_ERROR_CODE(e) ((u32)((e) >> 32))
#define VCPU_EVENT_TYPE_INTR 0u
#define VCPU_EVENT_TYPE_NMI 2u
#define VCPU_EVENT_TYPE_EXCEPTION 3u
#define VCPU_EVENT_TYPE_SOFT_INTR 4u
#define VCPU_EVENT_TYPE_PRIV_SOFT 5u
#define VCPU_EVENT_TYPE_SOFT_EXCEPTION 6u

/* Bits of vc_requests: to be looked at before the next entry, set by anybody, then vcpu_kick(). */
#define VCPU_REQ_IDLE 0	   /* somebody wants to freeze it: step aside */
#define VCPU_REQ_NMI 1	   /* an NMI is to be injected */
#define VCPU_REQ_SUSPEND 2 /* the machine is suspended or destroyed: leave */
#define VCPU_REQ_TRIPLE 3  /* an exception could not be delivered: triple fault (vcpu.c's own) */
#define VCPU_REQ_INIT 4	   /* of its local APIC (vcpu_platform.c) */
#define VCPU_REQ_SIPI 5

struct vcpu {
	struct vm *vc_vm;
	unsigned int vc_id;
	void *vc_arch; /* the backend's */

	/* State; vc_lock is a spinlock that is never held across anything. */
	spinlock_t vc_lock;
	enum vcpu_state vc_state;
	bool vc_user;		  /* a call of class VCPU is being made, be it stepping aside */
	bool vc_aside;		  /* that call lost the state by a signal while it stepped aside */
	bool vc_in_run;		  /* and it is VMM_RUN */
	unsigned int vc_freezers; /* who waits to freeze it: the runner steps aside for them */
	wait_queue_head_t vc_wait;
	int vc_cpu; /* RUNNING: the host CPU; else -1 */
	unsigned long vc_requests;

	/*
	 * Owned with FROZEN. General registers by enum vmm_reg. RAX is a matter of vb_get_reg() and
	 * vb_set_reg() alone (SVM: in the VMCB; VT-x keeps it here), as RSP is.
	 */
	u64 vc_gpr[VMM_REG_R15 + 1];
	u64 vc_cr2;
	u64 vc_cr8;
	/*
	 * DR0-3, which run.c loads while DR7, the backend's, enables any of them. DR6 is kept here;
	 * a backend whose hardware does not switch it (VT-x) intercepts #DB and sets it as #DB
	 * would.
	 */
	u64 vc_dr[4];
	u64 vc_dr6;
	u64 vc_tsc_aux;
	u64 vc_apic_base;		 /* IA32_APIC_BASE as the guest sees it */
	u8 vc_fxsave[512] __aligned(16); /* x87, MMX, SSE; guests are not offered more (cpuid.c) */
	u64 vc_exception; /* pending, VCPU_EVENT_*; injected before anything else; 0: none */
	u64 vc_reinject;  /* what an exit interrupted on its way; before vc_exception */
	struct vmm_exit vc_exit;
	bool vc_skip;	   /* move RIP past vc_exit.inst_bytes at the next run */
	bool vc_halted;	   /* after HLT that did not exit: waits for an interrupt */
	bool vc_wait_sipi; /* has interrupt hardware, and was not started yet */
	int vc_last_cpu;   /* where it last entered; -1: nowhere */
	u64 vc_caps[VMM_CAP_COUNT];

	/*
	 * Pending external interrupts, by vector; set atomically. With interrupt hardware: those
	 * that it has delivered, and whose way into the guest was interrupted.
	 */
	DECLARE_BITMAP(vc_intr_pending, 256);

	struct vcpu_platform *vc_platform; /* interrupt hardware; NULL: none. vm_platform.h */

	struct pmap_slot vc_slot; /* PT_RVI: this vCPU's */
	struct pmap_asid vc_asid; /* SVM */
	u16 vc_vpid;		  /* VT-x; 0: none */
	struct pmap_vpid_home vc_vpid_home;

	u64 vc_raw_reason;	  /* of the last exit, for traces: set by vb_enter */
	u64 vc_stats[VCPU_STATS]; /* written by the owner */
};

static inline void
vcpu_count(struct vcpu *vcpu, enum vcpu_stat stat)
{
	WRITE_ONCE(vcpu->vc_stats[stat], vcpu->vc_stats[stat] + 1);
}

/*
 * From IDLE to FROZEN and back. For a call that works on it (class VCPU): -EBUSY another such call
 * has it; waits for those who froze it. For one that stops it (class WRITERS): waits until its
 * runner, kicked out, has stepped aside. Both: -EINTR.
 */
int vcpu_acquire(struct vcpu *vcpu);
void vcpu_release(struct vcpu *vcpu);
int vcpu_freeze(struct vcpu *vcpu);
void vcpu_thaw(struct vcpu *vcpu);

/* Any context: makes it leave the guest, or wake up, soon. Sets no request by itself. */
void vcpu_kick(struct vcpu *vcpu);

/*
 * Makes an exception pending, FROZEN. error_code < 0: none. As the CPU does, two of them become a
 * double fault, three a triple fault (SDM vol. 3A 6.15). So it is with one whose delivery was
 * interrupted (vc_reinject): a backend that intercepts an exception sets vc_reinject before this.
 */
void vcpu_inject_exception(struct vcpu *vcpu, u8 vector, int error_code);

/* ---- Machines -------------------------------------------------------------------------------- */

struct vm {
	struct kref vm_kref;
	struct list_head vm_link; /* all machines, by name */
	char vm_name[VMM_NAME_BYTES];
	struct vmspace *vm_space;
	struct pmap *vm_pmap; /* vmspace_pmap() */
	u64 vm_root;	      /* EPTP or nCR3 */
	unsigned int vm_maxcpu;
	u64 vm_mem_limit_bytes;
	struct vcpu *vm_vcpus[VMM_MAXCPU]; /* NULL: not activated; published with release */
	struct mutex vm_activate_lock;
	struct rw_semaphore vm_mem_lock;
	unsigned long vm_suspend; /* enum vmm_suspend_how; set once by cmpxchg until reinit */
	bool vm_dying;
	struct percpu_ref vm_calls; /* in progress; killed by destroy, which waits for them */
	struct completion vm_drained;
	const void *vm_owner; /* file of /dev/vmmctl that destroys it when it is closed, or NULL */
	struct platform *vm_platform; /* interrupt hardware; NULL: none. Before the first vCPU */
	void *vm_arch;		      /* the backend's, if it has use for it */
	bool vm_arch_made;	      /* vb_vm_init succeeded */
	struct delayed_work vm_drain; /* what PMAP_DEFER left behind */

	/*
	 * PT_EPT: a slot per CPU, attached at the first entry there; and how often that CPU had
	 * been brought up when it was last used: else pmap_slot_reset().
	 */
	struct pmap_slot *vm_slots;
	u8 *vm_slot_attached;
	u64 *vm_slot_online;

	struct list_head vm_nodes;	 /* dev.c; vmm_list_lock */
	struct vm_mappings *vm_mappings; /* dev_mmap.c */
	void *vm_debugfs;		 /* debugfs.c */
};

/* ---- What the CPU gives (hw.c) --------------------------------------------------------------- */

/*
 * Backends decide nothing about when to flush: run.c asks the core and says so in `flush`.
 * Contexts: "here" is on this CPU with interrupts off; "frozen" is a thread that owns the vCPU, may
 * sleep unless said otherwise. Errors are negative errno.
 */
struct vmm_backend {
	const char *vb_name; /* "VT-x", "SVM" */
	enum vmm_cpu_kind vb_kind;
	enum pt_type vb_type;

	/*
	 * Is this the vendor's CPU, and fit? -ENODEV, and *why a sentence that names what is
	 * missing. Reads the words for ept_caps() into *words. At load, on one CPU.
	 */
	int (*vb_probe)(struct ept_words *words, const char **why);
	/* Memory of the module for what each CPU needs; cpu is what ept_caps() decided. */
	int (*vb_init)(const struct ept_cpu *cpu);
	void (*vb_fini)(void);
	/*
	 * VMXON and flush all; SVME, HSAVE. Here. Refuses (-EBUSY) a CPU that somebody else uses.
	 */
	int (*vb_cpu_enable)(void);
	void (*vb_cpu_disable)(void); /* here; also on a CPU that is crashing */

	int (*vb_vm_init)(struct vm *vm);
	void (*vb_vm_destroy)(struct vm *vm);
	int (*vb_vcpu_init)(struct vcpu *vcpu); /* all of vc_arch, then as vb_vcpu_reset */
	void (*vb_vcpu_destroy)(struct vcpu *vcpu);
	void (*vb_vcpu_reset)(struct vcpu *vcpu); /* registers as after INIT/reset; frozen */

	/*
	 * Before an entry, preemption off, interrupts on: makes the vCPU current on this CPU
	 * (VMPTRLD, after VMCLEAR where it was). Then, here: enters once, with the pending event
	 * run.c chose (vcpu->..., see vb_inject), and returns after the exit with everything saved
	 * that later code on another CPU needs. `flush`: the context must be flushed before the
	 * guest's next instruction; the backend calls pmap_guest_flushed(slot) when that has taken
	 * effect. Returns 0, or -EIO if entry failed (then slot is left as it was, facts for
	 * exit_raw saved, and vb_handle, called all the same, reports VMM_EXIT_ENTRY_FAILED).
	 */
	void (*vb_load)(struct vcpu *vcpu);
	int (*vb_enter)(struct vcpu *vcpu, struct pmap_slot *slot, bool flush);

	/*
	 * After vb_enter, interrupts on, frozen, may sleep: what was it? Handles what concerns the
	 * vendor alone, calls the common handlers below for the rest. Returns VCPU_RESUME,
	 * VCPU_EXIT (vcpu->vc_exit is filled) or a negative errno for VMM_RUN.
	 */
	int (*vb_handle)(struct vcpu *vcpu);

	/*
	 * Events. Here, before entry, loaded; vb_window is called at each entry, vb_inject at most
	 * once. Can the guest take it now? If not, vb_window asks for an exit when it can.
	 * vb_inject sets what the entry delivers. CR8 (vc_cr8) is run.c's to compare with an
	 * interrupt's priority.
	 */
	bool (*vb_can_intr)(struct vcpu *vcpu);
	bool (*vb_can_nmi)(struct vcpu *vcpu);
	void (*vb_window)(struct vcpu *vcpu, bool intr,
			  bool nmi); /* both: what is wanted; or none */
	void (*vb_inject)(struct vcpu *vcpu, u64 event);

	/*
	 * Registers, frozen; preemption and interrupts may be on or off. reg as in enum vmm_reg,
	 * those that are not in struct vcpu, and RAX. -EINVAL.
	 */
	int (*vb_get_reg)(struct vcpu *vcpu, enum vmm_reg reg, u64 *value);
	int (*vb_set_reg)(struct vcpu *vcpu, enum vmm_reg reg, u64 value);
	int (*vb_get_desc)(struct vcpu *vcpu, enum vmm_reg reg, struct vmm_desc *desc);
	int (*vb_set_desc)(struct vcpu *vcpu, enum vmm_reg reg, const struct vmm_desc *desc);
	int (*vb_get_field)(struct vcpu *vcpu, u32 field, u64 *value);
	int (*vb_set_field)(struct vcpu *vcpu, u32 field, u64 value);
	/* vc_caps[cap] is set by the caller afterwards. -EOPNOTSUPP. value of get: vc_caps. */
	int (*vb_set_cap)(struct vcpu *vcpu, enum vmm_cap cap, u64 value);
};

extern const struct vmm_backend vmx_backend; /* kmod/vmx/vmx.c */
extern const struct vmm_backend svm_backend; /* kmod/svm/svm.c */

/* The one in use, and what this machine's CPUs can do, after policy (module parameters). Constant
 * after load. */
extern const struct vmm_backend *vmm_backend;
extern struct ept_cpu vmm_ept_cpu;

/*
 * Per CPU, here or preemption off: whether virtualization is on (not while it goes offline), and
 * how many times it was turned on: what was cached before is void.
 */
bool vmm_cpu_enabled(void);
u64 vmm_cpu_online_count(void);

/*
 * What guests are offered only if the backend can: on from hw.c if the CPU has it, turned off by
 * vb_init where the backend finds that it cannot (VT-x: no control for it).
 */
extern bool vmm_guest_rdtscp;

/*
 * Everything that may page, of any machine, reads; an audit (VMM_CHECK), for which all must be
 * still, writes. Readers do not touch user memory.
 */
extern struct percpu_rw_semaphore vmm_quiet;
extern struct vm_system *vmm_system; /* all memory of all machines; constant after load */

extern struct pmap_vpids vmm_vpids;	       /* VT-x; ident in hw.c */
struct pmap_asid_cpu *vmm_asid_this_cpu(void); /* SVM; here */

/* ---- Common exits (exit.c, cpuid.c, msr.c) --------------------------------------------------- */

#define VCPU_RESUME 0
#define VCPU_EXIT 1

/*
 * For vb_handle; all return as it does. inst_bytes is the length of the instruction, and where the
 * handler completes it the guest's RIP is moved past it (vcpu_skip()).
 */
int exit_nested_fault(struct vcpu *vcpu, const struct ept_fault *fault, const u8 *inst,
		      unsigned int inst_bytes);
int exit_inout(struct vcpu *vcpu, const struct vmm_exit_inout *io, unsigned int inst_bytes);
int exit_cpuid(struct vcpu *vcpu, unsigned int inst_bytes);
int exit_rdmsr(struct vcpu *vcpu, unsigned int inst_bytes);
int exit_wrmsr(struct vcpu *vcpu, unsigned int inst_bytes);
int exit_hlt(struct vcpu *vcpu, u64 rflags, unsigned int inst_bytes);
int exit_hypercall(struct vcpu *vcpu, unsigned int inst_bytes);
int exit_simple(struct vcpu *vcpu, enum vmm_exitcode code, unsigned int inst_bytes);
int exit_raw(struct vcpu *vcpu, enum vmm_exitcode code, const struct vmm_exit_raw *raw);
int exit_triple_fault(struct vcpu *vcpu);
/* MOV to and from CR8, and DR0-3, DR6, which live in struct vcpu. value in or out. -EINVAL: #GP */
int exit_cr8(struct vcpu *vcpu, bool write, u64 *value);
int exit_dr(struct vcpu *vcpu, unsigned int dr, bool write, u64 *value);

/* RIP and RAX live in the backend for SVM: by vb_get_reg and vb_set_reg. */
u64 vcpu_reg(struct vcpu *vcpu, enum vmm_reg reg);
void vcpu_set_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 value);
void vcpu_skip(struct vcpu *vcpu, unsigned int inst_bytes);

/* What gla2gpa and copies need, from the vCPU's registers. Frozen. */
void vcpu_paging(struct vcpu *vcpu, struct vm_guest_paging *paging);

#endif /* KMOD_VMM_H */
