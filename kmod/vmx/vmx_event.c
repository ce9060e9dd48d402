/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Events: what an entry delivers to the guest, what an exit interrupted on its way, and exceptions
 * that exit. The format of VCPU_EVENT_* is VT-x's own (SDM vol. 3C 25.8.3, 25.9.3).
 */

#include "kmod/vmx/vmx_inst.h"
#include "kmod/vmx/vmx_priv.h"

#define DR7_GD BIT_ULL(13)
#define DR6_SINGLE 0xfull /* B0 to B3, of which each #DB tells anew */

/* ---- Before an entry ------------------------------------------------------------------------- */

bool
vmx_can_intr(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);

	return vmx_get(vv, VF_RFLAGS) & X86_EFLAGS_IF &&
	       !(vmx_get(vv, VF_INTERRUPTIBILITY) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

/* Some CPUs refuse an entry that delivers an NMI in the shadow of STI; SDM vol. 3C 27.3.1.5. */
bool
vmx_can_nmi(struct vcpu *vcpu)
{
	return !(vmx_get(vmx_of(vcpu), VF_INTERRUPTIBILITY) &
		 (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS | BLOCKED_BY_NMI));
}

void
vmx_window(struct vcpu *vcpu, bool intr, bool nmi)
{
	u32 *const proc = &vmx_of(vcpu)->vv_ctls.vc_proc;

	*proc &= ~(PROC_INTR_WINDOW | PROC_NMI_WINDOW);
	if (intr)
		*proc |= PROC_INTR_WINDOW;
	if (nmi)
		*proc |= PROC_NMI_WINDOW;
}

void
vmx_inject(struct vcpu *vcpu, u64 event)
{
	vmx_of(vcpu)->vv_event = event;
}

static bool
has_instruction(u64 event)
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

/*
 * An event makes the CPU leave the shadow of STI or MOV SS. What the entry checks of these (SDM
 * vol. 3C 27.3.1.5): none of STI while interrupts are disabled; and in either the single step is
 * pending that TF asks for. Registers may have been set one by one.
 */
static void
settle_shadow(struct vmx_vcpu *vv, bool event)
{
	const u64 had = vmx_get(vv, VF_INTERRUPTIBILITY);
	u64 blocked = had;

	if (!(had & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		return;
	if (event)
		blocked &= ~(u64)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
	else if (!(vmx_get(vv, VF_RFLAGS) & X86_EFLAGS_IF))
		blocked &= ~(u64)BLOCKED_BY_STI;
	if (blocked != had)
		vmx_set(vv, VF_INTERRUPTIBILITY, blocked);
	if (blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS) &&
	    vmx_get(vv, VF_RFLAGS) & X86_EFLAGS_TF)
		vmx_set(vv, VF_PENDING_DEBUG, vmx_get(vv, VF_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

/* An exit clears the field's valid bit; an entry that failed does not. */
void
vmx_write_event(struct vmx_vcpu *vv)
{
	u64 event = vv->vv_event;

	vv->vv_event = 0;
	settle_shadow(vv, event & VCPU_EVENT_VALID);
	if (!(event & VCPU_EVENT_VALID)) {
		if (vv->vv_written_event)
			vmx_write(VMCS_ENTRY_INTR_INFO, 0);
		vv->vv_written_event = false;
		return;
	}
	if (!(vmx_get_cr0(vv) & X86_CR0_PE))
		event &= ~(u64)VCPU_EVENT_ERROR; /* real mode has no error codes */
	if (event & VCPU_EVENT_ERROR)
		vmx_write(VMCS_ENTRY_INTR_ERROR, VCPU_EVENT_ERROR_CODE(event));
	if (has_instruction(event))
		vmx_write(VMCS_ENTRY_INST_BYTES, vv->vv_reinject_bytes);
	vmx_write(VMCS_ENTRY_INTR_INFO, event & INTR_INFO_EVENT);
	vv->vv_written_event = true;
}

/* ---- After an exit --------------------------------------------------------------------------- */

static void
block_nmi(struct vmx_vcpu *vv, bool blocked)
{
	const u64 had = vmx_get(vv, VF_INTERRUPTIBILITY);
	const u64 has = blocked ? had | BLOCKED_BY_NMI : had & ~(u64)BLOCKED_BY_NMI;

	if (has != had)
		vmx_set(vv, VF_INTERRUPTIBILITY, has);
}

/*
 * Whether the exit was a fault of the IRET that unblocked NMIs: when it is executed again they must
 * be blocked again (SDM vol. 3C 28.2.3). Violations of EPT tell it in the same bit of the
 * qualification.
 */
static bool
iret_unblocked_nmi(const struct vmx_exit_info *xi)
{
	switch (xi->xi_reason & REASON_BASIC) {
	case REASON_EXCEPTION_NMI:
		return xi->xi_intr_info & INTR_INFO_NMI_UNBLOCKED &&
		       VCPU_EVENT_VECTOR(xi->xi_intr_info) != X86_TRAP_DF;
	case REASON_EPT_VIOLATION:
		return xi->xi_qualification & INTR_INFO_NMI_UNBLOCKED;
	default:
		return false;
	}
}

void
vmx_read_events(struct vmx_vcpu *vv)
{
	const u64 info = vmx_read(VMCS_IDT_VECTORING_INFO);

	vv->vv_written_event = false;
	vv->vv_vcpu->vc_reinject = 0;
	if (!(info & VCPU_EVENT_VALID)) {
		if (iret_unblocked_nmi(&vv->vv_exit))
			block_nmi(vv, true);
		return;
	}
	vv->vv_vcpu->vc_reinject = info & INTR_INFO_EVENT;
	if (info & VCPU_EVENT_ERROR)
		vv->vv_vcpu->vc_reinject |= vmx_read(VMCS_IDT_VECTORING_ERROR) << 32;
	vv->vv_reinject_bytes = vv->vv_exit.xi_inst_bytes;
	/* Its delivery began to block NMIs; the next one will again, and an entry wants it so. */
	if (VCPU_EVENT_TYPE(info) == VCPU_EVENT_TYPE_NMI)
		block_nmi(vv, false);
}

/* ---- Exceptions that exit -------------------------------------------------------------------- */

/* The CPU tells what DR6 would be, and leaves to us what a #DB does: set it, and clear DR7.GD. */
static int
exit_debug(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const struct vmx_exit_info *const xi = &vv->vv_exit;

	vcpu->vc_dr6 = (vcpu->vc_dr6 & ~DR6_SINGLE) | (xi->xi_qualification & QUAL_DEBUG);
	vmx_set(vv, VF_DR7, vmx_get(vv, VF_DR7) & ~DR7_GD);
	if (VCPU_EVENT_TYPE(xi->xi_intr_info) == VCPU_EVENT_TYPE_PRIV_SOFT)
		vcpu_skip(vcpu, xi->xi_inst_bytes); /* INT1: a trap */
	vcpu_inject_exception(vcpu, X86_TRAP_DB, -1);
	return VCPU_RESUME;
}

/* Somebody asked for it by vb_set_field(). */
static int
exit_asked(struct vcpu *vcpu)
{
	const struct vmx_exit_info *const xi = &vmx_of(vcpu)->vv_exit;
	const struct vmm_exit_raw raw = {
		.reason = xi->xi_reason,
		.info1 = xi->xi_intr_info | (u64)xi->xi_intr_error << 32,
		.info2 = xi->xi_qualification,
	};

	return exit_raw(vcpu, VMM_EXIT_UNKNOWN, &raw);
}

int
vmx_exit_exception(struct vcpu *vcpu)
{
	const struct vmx_exit_info *const xi = &vmx_of(vcpu)->vv_exit;
	const unsigned int vector = VCPU_EVENT_VECTOR(xi->xi_intr_info);

	if (VCPU_EVENT_TYPE(xi->xi_intr_info) == VCPU_EVENT_TYPE_NMI) {
		vcpu_count(vcpu, VCPU_STAT_EXITS_NMI);
		return VCPU_RESUME;
	}
	vcpu_count(vcpu, VCPU_STAT_EXITS_EXCEPTION);
	switch (vector) {
	case X86_TRAP_MC: /* the host has had it */
		return VCPU_RESUME;
	case X86_TRAP_DB:
		return exit_debug(vcpu);
	case X86_TRAP_AC:
		vcpu_inject_exception(vcpu, X86_TRAP_AC, (int)xi->xi_intr_error);
		return VCPU_RESUME;
	case X86_TRAP_BP:
		if (vcpu->vc_caps[VMM_CAP_BPT_EXIT])
			return exit_simple(vcpu, VMM_EXIT_BPT, xi->xi_inst_bytes);
		fallthrough;
	default:
		return exit_asked(vcpu);
	}
}
