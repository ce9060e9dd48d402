// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * Events: delivered with an entry (EVENTINJ), interrupted by an exit (EXITINTINFO), waited for.
 *
 * struct vcpu has events in VT-x's format. EVENTINJ differs in what software raised. For INT3 and
 * INTO it has the type of other exceptions; and no length of an instruction: what is pushed is RIP
 * as it is, which must be moved past the instruction before. So a software event is injected with
 * RIP moved, and if its delivery is interrupted RIP is moved back. One that the guest raised by
 * itself is not injected again at all: RIP is still at the instruction, which is executed again.
 *
 * Windows. For interrupts: a virtual interrupt that is pending (V_IRQ) and intercepted exits just
 * when the guest could take it. For NMIs: the guest's IRET is intercepted, which says that they are
 * about to be unblocked; to see the end of the IRET, if an NMI waits for it, it is single-stepped.
 */

#include <uapi/asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kmod/svm/svm.h"

/* ---- Can the guest take it? ------------------------------------------------------------------ */

static bool
shadowed(struct vcpu *vcpu)
{
	return svm_vmcb(vcpu)->control.int_state & VMCB_INT_SHADOW;
}

bool
svm_can_intr(struct vcpu *vcpu)
{
	return (svm_vmcb(vcpu)->save.rflags & X86_EFLAGS_IF) && !shadowed(vcpu);
}

/* Also notes that the IRET is over. */
bool
svm_can_nmi(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (sv->sv_nmi == SVM_NMI_IRET && sv->sv_vmcb->save.rip != sv->sv_nmi_rip)
		sv->sv_nmi = SVM_NMI_OPEN;
	return sv->sv_nmi == SVM_NMI_OPEN && !shadowed(vcpu);
}

/* ---- A shadow that is forgotten -------------------------------------------------------------- */

#define SHADOWS_MAX 8u

/*
 * QEMU's emulated CPU (7.2's, to name one) saves an interrupt shadow at an exit, and does not load
 * it at VMRUN: helper_vmrun() does not read int_state. Between STI and HLT that is fatal: the
 * interrupt for which the guest is about to wait comes before the HLT, and it waits on. So where
 * not one instruction was executed since an entry with a shadow, the shadow is put back, and no
 * window asked for at the next entry, for that would exit at once: the HLT exits by itself, and
 * anything else is interrupted by the host soon.
 *
 * A jump to itself looks the same; hence not forever. Only where CPUID tells of a hypervisor: a
 * real CPU forgets nothing.
 */
void
svm_shadow_after(struct vcpu *vcpu, bool before, u64 rip)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (!before || sv->sv_vmcb->save.rip != rip || shadowed(vcpu) ||
	    !boot_cpu_has(X86_FEATURE_HYPERVISOR) || sv->sv_shadows == SHADOWS_MAX) {
		sv->sv_shadows = 0;
		return;
	}
	sv->sv_vmcb->control.int_state |= VMCB_INT_SHADOW;
	sv->sv_shadows++;
}

/* ---- Windows --------------------------------------------------------------------------------- */

static void
intr_window(struct vcpu *vcpu, bool want)
{
	struct vmcb_control *c = &svm_vmcb(vcpu)->control;

	svm_intercept(vcpu, VMCB_I1_VINTR, want);
	c->vintr &= ~(VMCB_V_IRQ | VMCB_V_INTR_PRIO | VMCB_V_IGN_TPR);
	if (want)
		c->vintr |= VMCB_V_IRQ | VMCB_V_INTR_PRIO | VMCB_V_IGN_TPR;
}

/* An NMI waits for the end of the IRET at RIP, which has not been executed yet. */
static void
step_over_iret(struct svm_vcpu *sv)
{
	struct vmcb_save *save = &sv->sv_vmcb->save;

	sv->sv_step = true;
	sv->sv_step_tf = save->rflags & X86_EFLAGS_TF;
	save->rflags |= X86_EFLAGS_TF;
}

void
svm_window(struct vcpu *vcpu, bool intr, bool nmi)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	/* An NMI that only an interrupt shadow holds back waits like an interrupt: after STI, with
	 * IF set, just as long; after MOV SS, until IF is set or another exit comes. */
	if (nmi && svm_can_nmi(vcpu))
		nmi = false;
	else if (nmi && sv->sv_nmi == SVM_NMI_OPEN)
		intr = true;
	intr_window(vcpu, intr && !(sv->sv_shadows && shadowed(vcpu)));
	if (nmi && sv->sv_nmi == SVM_NMI_IRET) {
		sv->sv_step_dr6 = vcpu->vc_dr6;
		step_over_iret(sv);
	}
}

int
svm_exit_vintr(struct vcpu *vcpu)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_INTR_WINDOW);
	intr_window(vcpu, false);
	return VCPU_RESUME;
}

int
svm_exit_iret(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	vcpu_count(vcpu, VCPU_STAT_EXITS_NMI_WINDOW);
	svm_intercept(vcpu, VMCB_I1_IRET, false);
	sv->sv_nmi = SVM_NMI_IRET;
	sv->sv_nmi_rip = sv->sv_vmcb->save.rip;
	return VCPU_RESUME;
}

/* ---- Steps ----------------------------------------------------------------------------------- */

static void
step_end(struct svm_vcpu *sv)
{
	sv->sv_step = false;
	if (!sv->sv_step_tf)
		sv->sv_vmcb->save.rflags &= ~(u64)X86_EFLAGS_TF;
}

/*
 * After an exit: takes TF back, unless the IRET loaded flags of its own. If it raised a fault
 * instead, TF is in the image of the flags that the handler got: it would be stepped once.
 */
static void
step_after(struct svm_vcpu *sv)
{
	if (sv->sv_step && sv->sv_vmcb->save.rip == sv->sv_nmi_rip)
		step_end(sv);
}

bool
svm_step_done(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (!sv->sv_step)
		return false;
	sv->sv_step = false;
	/* BS alone is the step; Bochs 2.7 does not even save that when #DB is intercepted. */
	if (sv->sv_step_tf || (vcpu->vc_dr6 & ~sv->sv_step_dr6 & ~(u64)DR_STEP))
		return false;
	vcpu->vc_dr6 = sv->sv_step_dr6;
	return true;
}

/* ---- Injection ------------------------------------------------------------------------------- */

static bool
is_software(u64 event)
{
	switch (VCPU_EVENT_TYPE(event)) {
	case VCPU_EVENT_TYPE_SOFT_INTR:
	case VCPU_EVENT_TYPE_PRIV_SOFT:
	case VCPU_EVENT_TYPE_SOFT_EXCEPTION:
		return true;
	default:
		return false;
	}
}

/* The type that SVM has for it. */
static u64
to_vmcb(u64 event)
{
	u64 type = VCPU_EVENT_TYPE(event);

	if (type == VCPU_EVENT_TYPE_SOFT_EXCEPTION || type == VCPU_EVENT_TYPE_PRIV_SOFT)
		type = VMCB_EVENT_EXCEPTION;
	return (event & ~VMCB_EVENT_TYPE) | type << VMCB_EVENT_TYPE_SHIFT;
}

static unsigned int
software_bytes(u64 event)
{
	return VCPU_EVENT_TYPE(event) == VCPU_EVENT_TYPE_SOFT_INTR ? 2 : 1; /* CD n; CC, CE, F1 */
}

static u64
rip_after(const struct vmcb_save *save, unsigned int bytes)
{
	u64 rip = save->rip + bytes;

	return (save->efer & EFER_LMA) && (save->cs.attr & VMCB_ATTR_L) ? rip : (u32)rip;
}

void
svm_inject(struct vcpu *vcpu, u64 event)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *vmcb = sv->sv_vmcb;

	if (sv->sv_step)
		step_end(sv); /* not now: TF would be in the flags that the event pushes */
	sv->sv_event = event;
	sv->sv_event_rip = vmcb->save.rip;
	if (is_software(event))
		vmcb->save.rip = rip_after(&vmcb->save, software_bytes(event));
	vmcb->control.event_inj = to_vmcb(event);
	if (VCPU_EVENT_TYPE(event) == VCPU_EVENT_TYPE_NMI) {
		sv->sv_nmi = SVM_NMI_BLOCKED;
		svm_intercept(vcpu, VMCB_I1_IRET, true);
	}
}

/* ---- After an exit --------------------------------------------------------------------------- */

/* The delivery of `info` was interrupted. */
static void
interrupted(struct vcpu *vcpu, u64 info)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	const unsigned int vector = VCPU_EVENT_VECTOR(info);
	const unsigned int type = VCPU_EVENT_TYPE(info);

	const bool ours = sv->sv_event && vector == VCPU_EVENT_VECTOR(sv->sv_event);

	if (ours && is_software(sv->sv_event)) {
		sv->sv_vmcb->save.rip = sv->sv_event_rip;
		vcpu->vc_reinject = sv->sv_event;
		return;
	}
	if (type == VMCB_EVENT_SOFT)
		return;
	if (type == VMCB_EVENT_EXCEPTION && !ours &&
	    (vector == X86_TRAP_BP || vector == X86_TRAP_OF))
		return;
	vcpu->vc_reinject = info;
}

void
svm_events_after(struct vcpu *vcpu, bool failed)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *vmcb = sv->sv_vmcb;

	vmcb->control.event_inj = 0;
	if (failed) {
		/* run.c keeps what was to be delivered. */
		if (sv->sv_event)
			vmcb->save.rip = sv->sv_event_rip;
	} else if (vmcb->control.exit_int_info & VCPU_EVENT_VALID) {
		interrupted(vcpu, vmcb->control.exit_int_info);
	}
	sv->sv_event = 0;
	step_after(sv);
}
