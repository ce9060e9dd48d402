/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of the VT-x backend share.
 *
 * A VMCS is, while it is "active" on a CPU, partly in that CPU: only there can it be read or
 * written. Registers must be had from anywhere. So the guest-state fields have a cache in memory
 * (vmx_field.c): what is asked for is read once, by the CPU that has the VMCS; what is set is
 * written at the next entry. Before a VMCS leaves a CPU, be it for another, be it that the CPU goes
 * offline, all that is not cached yet is read. So at any time a field is cached, or vv_cpu has it.
 */

#ifndef KMOD_VMX_VMX_PRIV_H
#define KMOD_VMX_VMX_PRIV_H

#include <asm/trapnr.h>

#include "kmod/vmm.h"
#include "kmod/vmx/vmcs.h"

/* Guest-state fields, as numbered in the cache. */
enum vmx_field {
	VF_RSP,
	VF_RIP,
	VF_RFLAGS,
	VF_CR0,
	VF_CR0_SHADOW,
	VF_CR3,
	VF_CR4,
	VF_CR4_SHADOW,
	VF_EFER,
	VF_PAT,
	VF_DR7,
	VF_INTERRUPTIBILITY,
	VF_PENDING_DEBUG,
	VF_SYSENTER_CS,
	VF_SYSENTER_ESP,
	VF_SYSENTER_EIP,
	VF_PDPTE0,
	VF_PDPTE1,
	VF_PDPTE2,
	VF_PDPTE3,
	VF_SELECTOR,		   /* ES, CS, SS, DS, FS, GS, LDTR, TR */
	VF_BASE = VF_SELECTOR + 8, /* the same, and GDTR, IDTR */
	VF_LIMIT = VF_BASE + 10,   /* as bases */
	VF_ACCESS = VF_LIMIT + 10, /* as selectors */
	VF_COUNT = VF_ACCESS + 8,
};

/* Segment registers as VF_SELECTOR and the like count them: reg is VMM_REG_ES .. VMM_REG_IDTR. */
#define VMX_SEG(reg) ((unsigned int)(reg)-VMM_REG_ES)

/* MSRs that VM entry and exit switch by lists in memory (SDM vol. 3C 25.7.2, 27.4). */
enum vmx_msr {
	VMX_MSR_STAR,
	VMX_MSR_LSTAR,
	VMX_MSR_CSTAR,
	VMX_MSR_SFMASK,
	VMX_MSR_KGS_BASE,
	VMX_MSR_TSC_AUX, /* the last: left out if guests have no RDTSCP */
	VMX_MSR_COUNT,
};

struct vmx_msr_entry {
	u32 ve_index;
	u32 ve_reserved;
	u64 ve_value;
};

struct vmx_msr_lists {
	struct vmx_msr_entry vl_guest[VMX_MSR_COUNT]; /* loaded at entry, stored at exit */
	struct vmx_msr_entry vl_host[VMX_MSR_COUNT];  /* loaded at exit */
};

/* Controls as this CPU permits them; dynamic bits of a vCPU are added. */
struct vmx_ctls {
	u32 vc_pin;
	u32 vc_proc;
	u32 vc_proc2;
	u32 vc_exit;
	u32 vc_entry;
};

/* What there is, found at load. The same on all CPUs (vmx_cpu_enable() refuses others). */
struct vmx_caps {
	struct vmx_ctls vx_ctls;
	u32 vx_revision;
	bool vx_inout_info;
	bool vx_unrestricted;
	bool vx_monitor_trap;
	bool vx_preemption_timer;
	bool vx_vpid;
	u64 vx_cr0_fixed0; /* bits that must be 1, PE and PG not among them */
	u64 vx_cr0_fixed1; /* bits that may be 1 */
	u64 vx_cr4_fixed0;
	u64 vx_cr4_fixed1;
};
extern struct vmx_caps vmx_caps;

/* What the last entry led to, read before interrupts went on. */
struct vmx_exit_info {
	bool xi_failed; /* the entry: xi_reason is 0, or has REASON_ENTRY_FAILED */
	u32 xi_reason;
	u64 xi_qualification;
	u64 xi_gla; /* violations; string I/O */
	u64 xi_gpa; /* violations, misconfigurations */
	u32 xi_inst_bytes;
	u32 xi_inst_info;
	u32 xi_intr_info; /* exceptions, NMI */
	u32 xi_intr_error;
	u32 xi_inst_error; /* failed */
};

struct vmx_vcpu {
	struct vcpu *vv_vcpu;
	void *vv_vmcs; /* a page */
	u64 vv_vmcs_hpa;
	struct vmx_msr_lists *vv_msrs; /* a page */

	/* Cache of fields; what is dirty is valid. The lock: the owner and the CPU that evicts. */
	raw_spinlock_t vv_lock;
	u64 vv_fields[VF_COUNT];
	u64 vv_valid;
	u64 vv_dirty;
	int vv_cpu; /* where the VMCS is active; -1: nowhere, and all fields are valid */
	struct list_head vv_link; /* of what is active there */
	bool vv_launched;
	bool vv_set_up; /* the VMCS has its constant fields */

	/* Dynamic controls as wanted, and as the VMCS has them. */
	struct vmx_ctls vv_ctls;
	struct vmx_ctls vv_written;
	u32 vv_exceptions;
	u32 vv_exceptions_written;
	u32 vv_exceptions_asked; /* by vb_set_field() */

	u64 vv_event;	       /* this entry delivers it; VCPU_EVENT_* */
	u32 vv_reinject_bytes; /* length of the instruction, if vc_reinject is one's doing */
	bool vv_flush_linear;  /* paging changed behind the CPU's back: INVVPID */
	bool vv_written_event; /* the VMCS holds one that no entry has consumed */

	u64 vv_host_cr3; /* as the VMCS has them */
	u64 vv_host_cr4;
	struct vmx_exit_info vv_exit;
};

static inline struct vmx_vcpu *
vmx_of(struct vcpu *vcpu)
{
	return vcpu->vc_arch;
}

/* ---- vmx.c ----------------------------------------------------------------------------------- */

extern void *vmx_io_bitmaps; /* two pages, all ones */
extern void *vmx_msr_bitmap; /* a page */

/* ---- vmx_field.c: the VMCS of a vCPU, wherever it is ----------------------------------------- */

/* Owner; any context. */
u64 vmx_get(struct vmx_vcpu *vv, unsigned int field);
void vmx_set(struct vmx_vcpu *vv, unsigned int field, u64 value);

void vmx_cpu_init(unsigned int cpu);
/* Preemption off, virtualization on, interrupts on: active and current here, whatever it was. */
void vmx_make_current(struct vmx_vcpu *vv);
/* Interrupts off, after that: current again. False: it is not active here. */
bool vmx_select(struct vmx_vcpu *vv);
/* Here, current: dirty fields go to the VMCS; and what is cached is forgotten. */
void vmx_write_dirty(struct vmx_vcpu *vv);
void vmx_forget(struct vmx_vcpu *vv);
/* Active nowhere; may sleep. */
void vmx_evict(struct vmx_vcpu *vv);
/* All that are active here leave. Interrupts off. */
void vmx_evict_all_here(void);
/* Any field by its encoding. May sleep. -EINVAL, -EAGAIN. */
int vmx_read_anywhere(struct vmx_vcpu *vv, u32 encoding, u64 *value);

/* ---- vmx_vmcs.c ------------------------------------------------------------------------------ */

int vmx_vcpu_init(struct vcpu *vcpu);
void vmx_vcpu_destroy(struct vcpu *vcpu);
void vmx_vcpu_reset(struct vcpu *vcpu);
void vmx_set_up(struct vmx_vcpu *vv);	   /* here, current: fields that never change */
void vmx_set_up_host(struct vmx_vcpu *vv); /* here, current: what depends on the CPU alone */
void vmx_choose_ctls(struct vcpu *vcpu);
void vmx_write_ctls(struct vmx_vcpu *vv); /* here, current */
int vmx_set_cap(struct vcpu *vcpu, enum vmm_cap cap, u64 value);

/* ---- vmx_run.c ------------------------------------------------------------------------------- */

void vmx_load(struct vcpu *vcpu);
int vmx_enter(struct vcpu *vcpu, struct pmap_slot *slot, bool flush);
/* vmx_enter.S. regs: by enum vmm_reg, up to R15. 0, or 1: VMLAUNCH or VMRESUME failed. */
asmlinkage int vmx_enter_guest(u64 *regs, unsigned long launched);
void vmx_exit_point(void);

/* ---- vmx_exit.c, vmx_cr.c -------------------------------------------------------------------- */

int vmx_handle(struct vcpu *vcpu);
int vmx_exit_cr(struct vcpu *vcpu);
int vmx_exit_dr(struct vcpu *vcpu);
void vmx_reload_pdptes(struct vcpu *vcpu); /* may sleep */
int vmx_inject_gp(struct vcpu *vcpu);
int vmx_inject_ud(struct vcpu *vcpu);
u64 vmx_gpr(struct vcpu *vcpu, unsigned int number); /* number as instructions have it */
void vmx_set_gpr(struct vcpu *vcpu, unsigned int number, u64 value);
bool vmx_in_64bit_code(struct vmx_vcpu *vv);
unsigned int vmx_cpl(struct vmx_vcpu *vv);

/* ---- vmx_regs.c ------------------------------------------------------------------------------ */

int vmx_get_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 *value);
int vmx_set_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 value);
int vmx_get_desc(struct vcpu *vcpu, enum vmm_reg reg, struct vmm_desc *desc);
int vmx_set_desc(struct vcpu *vcpu, enum vmm_reg reg, const struct vmm_desc *desc);
int vmx_get_field(struct vcpu *vcpu, u32 encoding, u64 *value);
int vmx_set_field(struct vcpu *vcpu, u32 encoding, u64 value);

/* Control registers as the guest has them; set: -EINVAL for what no CPU would hold there. */
u64 vmx_cr0_owned(void); /* bits that the guest changes without us */
u64 vmx_cr4_owned(void);
u64 vmx_get_cr0(struct vmx_vcpu *vv);
u64 vmx_get_cr4(struct vmx_vcpu *vv);
int vmx_set_cr0(struct vmx_vcpu *vv, u64 value);
int vmx_set_cr4(struct vmx_vcpu *vv, u64 value);
int vmx_set_efer(struct vmx_vcpu *vv, u64 value);

/* ---- vmx_msr.c ------------------------------------------------------------------------------- */

void vmx_msr_bitmap_init(void *bitmap);
unsigned int vmx_msr_count(void);
void vmx_msrs_init(struct vmx_vcpu *vv);
void vmx_msrs_read_host(struct vmx_vcpu *vv); /* here: what depends on the CPU alone */
int vmx_exit_rdmsr(struct vcpu *vcpu);
int vmx_exit_wrmsr(struct vcpu *vcpu);

/* ---- vmx_event.c ----------------------------------------------------------------------------- */

bool vmx_can_intr(struct vcpu *vcpu);
bool vmx_can_nmi(struct vcpu *vcpu);
void vmx_window(struct vcpu *vcpu, bool intr, bool nmi);
void vmx_inject(struct vcpu *vcpu, u64 event);
/* Here, current: before an entry; and after one that did not fail. */
void vmx_write_event(struct vmx_vcpu *vv);
void vmx_read_events(struct vmx_vcpu *vv);
int vmx_exit_exception(struct vcpu *vcpu);

#endif /* KMOD_VMX_VMX_PRIV_H */
