/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of the SVM backend share.
 *
 *   svm.c        the CPU: is it fit, turn it on and off; the table of the backend
 *   svm_vmcb.c   a vCPU's control block: made, reset, which intercepts
 *   svm_run.c    one entry, with ASID and flush; svm_enter.S its innermost part
 *   svm_event.c  what is injected, what was interrupted on its way, windows
 *   svm_exit.c   what an exit was, and svm_exit_cr.c control and debug registers
 *   svm_regs.c   registers by name, segments, raw fields; svm_msr.c MSRs of the vendor's
 *   svm_inst.c   how long an instruction is, where the CPU does not say; svm_decode.c decodes it
 *   vmcb.h       layout, bits and exit codes
 *
 * All state of a vCPU is in the VMCB, but for what struct vcpu holds for both vendors (general
 * registers, CR2, CR8, DR0-3, DR6): svm_run.c moves that in before and out after each entry.
 */

#ifndef KMOD_SVM_SVM_H
#define KMOD_SVM_SVM_H

#include "kmod/vmm.h"
#include "kmod/svm/svm_decode.h"
#include "kmod/svm/vmcb.h"

/* NMIs: blocked from the injection of one to the end of the guest's IRET. The intercept of IRET
 * tells when that is about to be executed; once RIP has moved on, it was. */
enum svm_nmi {
	SVM_NMI_OPEN,
	SVM_NMI_BLOCKED,
	SVM_NMI_IRET,
};

struct svm_vcpu {
	struct vmcb *sv_vmcb;
	u64 sv_vmcb_pa;
	u32 sv_clean;	    /* VMCB_CLEAN_*: parts unchanged since the last VMRUN on sv_cpu */
	int sv_cpu;	    /* -1: it has not run */
	u64 sv_online;	    /* how often that CPU had been turned on */
	bool sv_flush_self; /* the guest's own translations must go: CR4 was written for it */
	u32 sv_exceptions;  /* intercepted because a tool wants it */
	bool sv_bpt_exit;   /* VMM_CAP_BPT_EXIT */

	/* What the entry delivers, in struct vcpu's format (0: nothing); and RIP before, of the
	 * instruction that raised it if it is a software event. */
	u64 sv_event;
	u64 sv_event_rip;

	enum svm_nmi sv_nmi;
	u64 sv_nmi_rip;		 /* SVM_NMI_IRET: of that IRET */
	unsigned int sv_shadows; /* in a row that were forgotten: svm_shadow_after() */
	bool sv_step;		 /* RFLAGS.TF is ours, to come back after the IRET */
	bool sv_step_tf;	 /* and what the guest had there */
	u64 sv_step_dr6;	 /* its DR6 */
	/* State was set from outside, and VMRUN may refuse it: a copy, since Bochs 2.7 then leaves
	 * the host's state in the VMCB, and the manual promises nothing. */
	bool sv_touched;
	u8 sv_before[VMCB_SAVE_BYTES];

	u8 sv_bad_fetch; /* times in a row that no instruction was found at RIP */
};

static inline struct svm_vcpu *
svm_vcpu(const struct vcpu *vcpu)
{
	return vcpu->vc_arch;
}

static inline struct vmcb *
svm_vmcb(const struct vcpu *vcpu)
{
	return svm_vcpu(vcpu)->sv_vmcb;
}

/* The VMCB was changed there. */
static inline void
svm_dirty(struct svm_vcpu *sv, u32 clean)
{
	sv->sv_clean &= ~clean;
}

/* CPUID 8000_000A EDX of the machine; constant after load. */
extern u32 svm_features;

/* ---- svm.c ----------------------------------------------------------------------------------- */

struct svm_cpu {
	struct page *sc_hsave; /* where VMRUN keeps the host's state */
	struct page *sc_host;  /* where VMSAVE does */
	bool sc_enabled;
};
DECLARE_PER_CPU(struct svm_cpu, svm_cpus);

extern u64 svm_iopm_pa;
extern u64 svm_msrpm_pa;

/* ---- svm_vmcb.c ------------------------------------------------------------------------------ */

int svm_vm_init(struct vm *vm);
void svm_vm_destroy(struct vm *vm);
int svm_vcpu_init(struct vcpu *vcpu);
void svm_vcpu_destroy(struct vcpu *vcpu);
void svm_vcpu_reset(struct vcpu *vcpu);
/* Sets or clears intercepts of the first word (VMCB_I1_*). */
void svm_intercept(struct vcpu *vcpu, u32 bits, bool on);
/* Those of exceptions, as is wanted now. */
void svm_intercept_exceptions(struct vcpu *vcpu);
int svm_set_cap(struct vcpu *vcpu, enum vmm_cap cap, u64 value);

/* ---- svm_run.c, svm_enter.S ------------------------------------------------------------------ */

void svm_load(struct vcpu *vcpu);
int svm_enter(struct vcpu *vcpu, struct pmap_slot *slot, bool flush);
/* Puts into the VMCB what struct vcpu holds. */
void svm_sync(struct vcpu *vcpu);
asmlinkage void svm_enter_guest(u64 *gprs, u64 vmcb_pa, u64 host_pa);

/* ---- svm_event.c ----------------------------------------------------------------------------- */

bool svm_can_intr(struct vcpu *vcpu);
bool svm_can_nmi(struct vcpu *vcpu);
void svm_window(struct vcpu *vcpu, bool intr, bool nmi);
void svm_inject(struct vcpu *vcpu, u64 event);
/* After each exit, or failed entry, before all else. */
void svm_events_after(struct vcpu *vcpu, bool failed);
/* Likewise; before, rip: was there a shadow at the entry, and where. */
void svm_shadow_after(struct vcpu *vcpu, bool before, u64 rip);
int svm_exit_vintr(struct vcpu *vcpu);
int svm_exit_iret(struct vcpu *vcpu);
/* #DB: true if it ended a step of svm_window()'s, and is not the guest's. */
bool svm_step_done(struct vcpu *vcpu);

/* ---- svm_exit.c, svm_exit_cr.c --------------------------------------------------------------- */

int svm_handle(struct vcpu *vcpu);
int svm_exit_cr(struct vcpu *vcpu, u32 code);
int svm_exit_dr(struct vcpu *vcpu, u32 code);
/* The exception, and on with the guest. */
int svm_fault(struct vcpu *vcpu, u8 vector, int error_code);
/* When no instruction is found at RIP that fits the exit: again, or VCPU_EXIT if that is hopeless.
 */
int svm_retry(struct vcpu *vcpu, int error);
int svm_unknown(struct vcpu *vcpu);

/* ---- svm_regs.c ------------------------------------------------------------------------------ */

int svm_get_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 *value);
int svm_set_reg(struct vcpu *vcpu, enum vmm_reg reg, u64 value);
int svm_get_desc(struct vcpu *vcpu, enum vmm_reg reg, struct vmm_desc *desc);
int svm_set_desc(struct vcpu *vcpu, enum vmm_reg reg, const struct vmm_desc *desc);
int svm_get_field(struct vcpu *vcpu, u32 field, u64 *value);
int svm_set_field(struct vcpu *vcpu, u32 field, u64 value);
/* Bits of CR4 and EFER that a guest may set: what the CPU has and the module switches. */
u64 svm_cr4_allowed(void);
u64 svm_efer_allowed(void);

/* ---- svm_msr.c ------------------------------------------------------------------------------- */

/* The map that all vCPUs share: every MSR exits but those that VMLOAD and VMSAVE switch. */
void svm_msrpm_fill(u8 *map);
int svm_exit_msr(struct vcpu *vcpu, bool write, unsigned int inst_bytes);
bool svm_pat_valid(u64 pat);

/* ---- svm_inst.c ------------------------------------------------------------------------------ */

/* Fetches and decodes the one at RIP. Also as vm_gla2gpa_nofault(), vm_gpa_read(); -EFAULT where
 * the guest itself could not fetch it. */
int svm_inst_fetch(struct vcpu *vcpu, struct svm_inst *inst);

/* Length of the instruction that exited, which is an op: told by the CPU where it can. As above. */
int svm_inst_bytes(struct vcpu *vcpu, enum svm_op op, unsigned int *bytes);

/* enum vmm_reg of a general register's number in an instruction. */
enum vmm_reg svm_gpr(unsigned int number);

#endif /* KMOD_SVM_SVM_H */
