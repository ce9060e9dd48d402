/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What an exit was, and who handles it. Interrupts are on, and the thread may be on another CPU by
 * now: all that the CPU told is in vv_exit.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/kernel.h>

#include "kmod/vmx/vmx_priv.h"

/* ---- Helpers of all exits -------------------------------------------------------------------- */

int
vmx_inject_gp(struct vcpu *vcpu)
{
	vcpu_inject_exception(vcpu, X86_TRAP_GP, 0);
	return VCPU_RESUME;
}

int
vmx_inject_ud(struct vcpu *vcpu)
{
	vcpu_inject_exception(vcpu, X86_TRAP_UD, -1);
	return VCPU_RESUME;
}

/* Numbers as instructions have them; 4 is RSP, which is in the VMCS. */
static const u8 gpr_of[16] = {
	VMM_REG_RAX, VMM_REG_RCX, VMM_REG_RDX, VMM_REG_RBX, VMM_REG_RSP, VMM_REG_RBP,
	VMM_REG_RSI, VMM_REG_RDI, VMM_REG_R8,  VMM_REG_R9,  VMM_REG_R10, VMM_REG_R11,
	VMM_REG_R12, VMM_REG_R13, VMM_REG_R14, VMM_REG_R15,
};

u64
vmx_gpr(struct vcpu *vcpu, unsigned int number)
{
	const enum vmm_reg reg = gpr_of[number & 15];

	return reg == VMM_REG_RSP ? vmx_get(vmx_of(vcpu), VF_RSP) : vcpu->vc_gpr[reg];
}

void
vmx_set_gpr(struct vcpu *vcpu, unsigned int number, u64 value)
{
	const enum vmm_reg reg = gpr_of[number & 15];

	if (reg == VMM_REG_RSP)
		vmx_set(vmx_of(vcpu), VF_RSP, value);
	else
		vcpu->vc_gpr[reg] = value;
}

bool
vmx_in_64bit_code(struct vmx_vcpu *vv)
{
	return vmx_get(vv, VF_EFER) & EFER_LMA &&
	       vmx_get(vv, VF_ACCESS + VMX_SEG(VMM_REG_CS)) & ACCESS_L;
}

unsigned int
vmx_cpl(struct vmx_vcpu *vv)
{
	return ACCESS_DPL(vmx_get(vv, VF_ACCESS + VMX_SEG(VMM_REG_SS)));
}

static int
skip(struct vcpu *vcpu)
{
	vcpu_skip(vcpu, vmx_of(vcpu)->vv_exit.xi_inst_bytes);
	return VCPU_RESUME;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static int
exit_violation(struct vcpu *vcpu)
{
	const struct vmx_exit_info *const xi = &vmx_of(vcpu)->vv_exit;
	struct ept_fault fault;

	if (WARN_ON_ONCE(ept_fault_violation(xi->xi_qualification, xi->xi_gpa, xi->xi_gla,
					     vmm_ept_cpu.ec_eptp_ad, &fault)))
		return -EIO;
	return exit_nested_fault(vcpu, &fault, NULL, 0);
}

/* Our tables are malformed, or something else wrote there. The guest cannot go on. */
static int
exit_misconfig(struct vcpu *vcpu)
{
	const struct vmx_exit_info *const xi = &vmx_of(vcpu)->vv_exit;
	const struct vmm_exit_raw raw = {.reason = xi->xi_reason, .info1 = xi->xi_gpa};
	struct ept_fault fault;

	ept_fault_misconfig(xi->xi_gpa, &fault);
	vcpu_count(vcpu, VCPU_STAT_EXITS_MISCONFIG);
	pr_err_once("%s: an entry of the nested tables for address %llx is malformed\n",
		    vcpu->vc_vm->vm_name, (u64)fault.ef_gpa);
	return exit_raw(vcpu, VMM_EXIT_UNKNOWN, &raw);
}

/* ---- Instructions ---------------------------------------------------------------------------- */

static int
exit_io(struct vcpu *vcpu)
{
	const struct vmx_exit_info *const xi = &vmx_of(vcpu)->vv_exit;
	const u64 q = xi->xi_qualification;
	struct vmm_exit_inout io = {
		.port = QUAL_IO_PORT(q),
		.bytes = QUAL_IO_BYTES(q),
		.in = !!(q & QUAL_IO_IN),
		.string = !!(q & QUAL_IO_STRING),
		.rep = !!(q & QUAL_IO_REP),
	};

	if (!io.string) {
		io.eax = vcpu->vc_gpr[VMM_REG_RAX];
		if (io.bytes < 4 && !io.in)
			io.eax &= (1u << (8 * io.bytes)) - 1;
	} else if (vmx_caps.vx_inout_info) {
		io.addr_bytes = 1u << INST_INFO_ADDRESS_LG2(xi->xi_inst_info);
		if (!io.in)
			io.seg = VMM_REG_ES + INST_INFO_SEGMENT(xi->xi_inst_info);
	}
	return exit_inout(vcpu, &io, xi->xi_inst_bytes);
}

static int
exit_cpuid_here(struct vcpu *vcpu)
{
	return exit_cpuid(vcpu, vmx_of(vcpu)->vv_exit.xi_inst_bytes);
}

static int
exit_hlt_here(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);

	return exit_hlt(vcpu, vmx_get(vv, VF_RFLAGS), vv->vv_exit.xi_inst_bytes);
}

static int
exit_vmcall(struct vcpu *vcpu)
{
	return exit_hypercall(vcpu, vmx_of(vcpu)->vv_exit.xi_inst_bytes);
}

static int
exit_pause(struct vcpu *vcpu)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_PAUSE);
	return exit_simple(vcpu, VMM_EXIT_PAUSE, vmx_of(vcpu)->vv_exit.xi_inst_bytes);
}

/* ---- Events ---------------------------------------------------------------------------------- */

/* Interrupts have been on since: the host has had it. */
static int
exit_interrupt(struct vcpu *vcpu)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_INTR);
	return VCPU_RESUME;
}

static int
exit_intr_window(struct vcpu *vcpu)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_INTR_WINDOW);
	return VCPU_RESUME;
}

static int
exit_nmi_window(struct vcpu *vcpu)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_NMI_WINDOW);
	return VCPU_RESUME;
}

static int
exit_mtrap(struct vcpu *vcpu)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_MTRAP);
	return exit_simple(vcpu, VMM_EXIT_MTRAP, 0);
}

static int
exit_timer(struct vcpu *vcpu)
{
	return exit_simple(vcpu, VMM_EXIT_TIMER, 0);
}

static int
exit_task_switch(struct vcpu *vcpu)
{
	return exit_simple(vcpu, VMM_EXIT_TASK_SWITCH, 0);
}

static int
exit_unknown(struct vcpu *vcpu)
{
	const struct vmx_exit_info *const xi = &vmx_of(vcpu)->vv_exit;
	const struct vmm_exit_raw raw = {
		.reason = xi->xi_reason,
		.info1 = xi->xi_qualification,
	};

	return exit_raw(vcpu, VMM_EXIT_UNKNOWN, &raw);
}

/* Since its registers are in the exit, there is more to tell to people than to programs. */
static int
exit_entry_failed(struct vcpu *vcpu)
{
	const struct vmx_exit_info *const xi = &vmx_of(vcpu)->vv_exit;
	const struct vmm_exit_raw raw = {
		.reason = xi->xi_reason,
		.info1 = xi->xi_qualification,
		.error = xi->xi_inst_error,
	};

	if (!vmx_caps.vx_unrestricted &&
	    (vmx_get_cr0(vmx_of(vcpu)) & (X86_CR0_PE | X86_CR0_PG)) != (X86_CR0_PE | X86_CR0_PG))
		pr_info_once("%s: this CPU runs guests in protected mode with paging alone\n",
			     vcpu->vc_vm->vm_name);
	return exit_raw(vcpu, VMM_EXIT_ENTRY_FAILED, &raw);
}

/* ---- Which ----------------------------------------------------------------------------------- */

/*
 * VT-x's own instructions, and MONITOR and MWAIT, are not offered, so they are undefined; XSETBV
 * exits only if the guest could set CR4.OSXSAVE. INVD and WBINVD would drop or write back the
 * host's caches: guests' memory is coherent without.
 */
static int (*const handlers[])(struct vcpu *vcpu) = {
	[REASON_EXCEPTION_NMI] = vmx_exit_exception,
	[REASON_EXTERNAL_INTR] = exit_interrupt,
	[REASON_TRIPLE_FAULT] = exit_triple_fault,
	[REASON_INTR_WINDOW] = exit_intr_window,
	[REASON_NMI_WINDOW] = exit_nmi_window,
	[REASON_TASK_SWITCH] = exit_task_switch,
	[REASON_CPUID] = exit_cpuid_here,
	[REASON_GETSEC] = vmx_inject_ud,
	[REASON_HLT] = exit_hlt_here,
	[REASON_INVD] = skip,
	[REASON_RDPMC] = vmx_inject_gp,
	[REASON_VMCALL] = exit_vmcall,
	[REASON_VMCLEAR... REASON_VMXON] = vmx_inject_ud,
	[REASON_CR] = vmx_exit_cr,
	[REASON_DR] = vmx_exit_dr,
	[REASON_IO] = exit_io,
	[REASON_RDMSR] = vmx_exit_rdmsr,
	[REASON_WRMSR] = vmx_exit_wrmsr,
	[REASON_MWAIT] = vmx_inject_ud,
	[REASON_MONITOR_TRAP] = exit_mtrap,
	[REASON_MONITOR] = vmx_inject_ud,
	[REASON_PAUSE] = exit_pause,
	[REASON_EPT_VIOLATION] = exit_violation,
	[REASON_EPT_MISCONFIG] = exit_misconfig,
	[REASON_INVEPT] = vmx_inject_ud,
	[REASON_PREEMPTION_TIMER] = exit_timer,
	[REASON_INVVPID] = vmx_inject_ud,
	[REASON_WBINVD] = skip,
	[REASON_XSETBV] = vmx_inject_ud,
};

/* After an instruction that we completed comes the single step that TF asks for. */
static void
step(struct vmx_vcpu *vv)
{
	if (vmx_get(vv, VF_RFLAGS) & X86_EFLAGS_TF)
		vmx_set(vv, VF_PENDING_DEBUG, vmx_get(vv, VF_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

int
vmx_handle(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u32 reason = vv->vv_exit.xi_reason & REASON_BASIC;
	u64 rip;
	int result;

	if (vv->vv_exit.xi_failed)
		return exit_entry_failed(vcpu);
	if (reason >= ARRAY_SIZE(handlers) || !handlers[reason])
		return exit_unknown(vcpu);
	rip = vmx_get(vv, VF_RIP);
	result = handlers[reason](vcpu);
	if (result == VCPU_RESUME && reason != REASON_EXCEPTION_NMI && vmx_get(vv, VF_RIP) != rip)
		step(vv);
	return result;
}
