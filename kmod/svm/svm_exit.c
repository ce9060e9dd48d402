// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * What an exit was, and what becomes of it.
 *
 * Most kinds are named here and handled by the common code (kmod/exit.c, cpuid.c, msr.c); what
 * remains is the vendor's. SVM's own instructions and others that the guest was not offered raise
 * #UD, as on a CPU that has them not.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/ratelimit.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include <uapi/asm/debugreg.h>

#include "kmod/svm/svm.h"

/* Times that an instruction is looked for in vain before it is given up. */
#define BAD_FETCHES_MAX 64

int
svm_unknown(struct vcpu *vcpu)
{
	const struct vmcb_control *c = &svm_vmcb(vcpu)->control;
	const struct vmm_exit_raw raw = {
		.reason = c->exit_code,
		.info1 = c->exit_info1,
		.info2 = c->exit_info2,
	};

	return exit_raw(vcpu, VMM_EXIT_UNKNOWN, &raw);
}

static int
entry_failed(struct vcpu *vcpu)
{
	const struct vmcb_control *c = &svm_vmcb(vcpu)->control;
	const struct vmm_exit_raw raw = {.reason = c->exit_code};

	return exit_raw(vcpu, VMM_EXIT_ENTRY_FAILED, &raw);
}

int
svm_fault(struct vcpu *vcpu, u8 vector, int error_code)
{
	vcpu_inject_exception(vcpu, vector, error_code);
	return VCPU_RESUME;
}

/*
 * The CPU executed an instruction that cannot be found now: another vCPU changed the code or its
 * mapping, memory is short, a signal came. The guest tries again, and its CPU tells what is wrong.
 */
int
svm_retry(struct vcpu *vcpu, int error)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (error == -EINTR)
		return VCPU_RESUME; /* the loop sees the signal */
	if (++sv->sv_bad_fetch < BAD_FETCHES_MAX)
		return VCPU_RESUME;
	sv->sv_bad_fetch = 0;
	pr_debug("vCPU %u: no instruction that fits exit 0x%llx at RIP 0x%llx (%d)\n", vcpu->vc_id,
		 svm_vmcb(vcpu)->control.exit_code, svm_vmcb(vcpu)->save.rip, error);
	return svm_unknown(vcpu);
}

/* ---- Memory, I/O ----------------------------------------------------------------------------- */

static int
exit_npf(struct vcpu *vcpu)
{
	const struct vmcb_control *c = &svm_vmcb(vcpu)->control;
	struct ept_fault fault;
	unsigned int n = 0;

	ept_fault_npf(c->exit_info1, (gpa_t)c->exit_info2, &fault);
	if (fault.ef_reserved) {
		/* Never the guest's doing, and nothing that bringing in a page would mend. */
		vcpu_count(vcpu, VCPU_STAT_EXITS_MISCONFIG);
		pr_err_ratelimited(
			"%s: an entry of the nested tables for address %llx is malformed\n",
			vcpu->vc_vm->vm_name, c->exit_info2);
		return svm_unknown(vcpu);
	}
	if (svm_features & SVM_FEATURE_DECODE)
		n = min_t(unsigned int, c->inst_bytes, sizeof(c->inst));
	return exit_nested_fault(vcpu, &fault, c->inst, n);
}

/* enum vmm_reg of the segment that EXITINFO1 numbers. */
static enum vmm_reg
ioio_seg(u64 info)
{
	const unsigned int seg = info >> SVM_IOIO_SEG_SHIFT & 7;

	return seg <= 5 ? VMM_REG_ES + seg : VMM_REG_DS;
}

/* INS, OUTS: what only CPUs with decode assists tell (QEMU 7.2 not even the addresses' width). */
static int
complete_string(struct vcpu *vcpu, struct vmm_exit_inout *io)
{
	const u64 info = svm_vmcb(vcpu)->control.exit_info1;
	struct svm_inst inst;
	int error;

	if (svm_features & SVM_FEATURE_DECODE) {
		io->addr_bytes = (info >> SVM_IOIO_ADDR_SHIFT & 7) << 1;
		io->seg = ioio_seg(info);
		return 0;
	}
	error = svm_inst_fetch(vcpu, &inst);
	if (error)
		return error;
	if (inst.in_op != (io->in ? SVM_OP_INS : SVM_OP_OUTS))
		return -EINVAL;
	io->addr_bytes = inst.in_addr_bytes;
	io->seg = io->in ? VMM_REG_ES : inst.in_seg;
	return 0;
}

static int
exit_ioio(struct vcpu *vcpu)
{
	const struct vmcb *vmcb = svm_vmcb(vcpu);
	const u64 info = vmcb->control.exit_info1;
	const unsigned int bytes = (u8)(vmcb->control.exit_info2 - vmcb->save.rip);
	struct vmm_exit_inout io = {
		.port = info >> SVM_IOIO_PORT_SHIFT,
		.bytes = info >> SVM_IOIO_BYTES_SHIFT & 7,
		.in = (info & SVM_IOIO_IN) != 0,
		.string = (info & SVM_IOIO_STRING) != 0,
		.rep = (info & SVM_IOIO_REP) != 0,
		.eax = (u32)vcpu->vc_gpr[VMM_REG_RAX],
	};

	if (bytes == 0 || bytes > 15 || !is_power_of_2(io.bytes))
		return svm_unknown(vcpu);
	if (io.string) {
		int error = complete_string(vcpu, &io);

		if (error)
			return svm_retry(vcpu, error);
	}
	svm_vcpu(vcpu)->sv_bad_fetch = 0;
	return exit_inout(vcpu, &io, bytes);
}

/* ---- Instructions ---------------------------------------------------------------------------- */

/* Those of which nothing but their length is the vendor's. */
static int
exit_instruction(struct vcpu *vcpu, enum svm_op op)
{
	unsigned int bytes;
	int error = svm_inst_bytes(vcpu, op, &bytes);

	if (error)
		return svm_retry(vcpu, error);
	switch (op) {
	case SVM_OP_CPUID:
		return exit_cpuid(vcpu, bytes);
	case SVM_OP_HLT:
		return exit_hlt(vcpu, svm_vmcb(vcpu)->save.rflags, bytes);
	case SVM_OP_VMMCALL:
		return exit_hypercall(vcpu, bytes);
	case SVM_OP_PAUSE:
		vcpu_count(vcpu, VCPU_STAT_EXITS_PAUSE);
		return exit_simple(vcpu, VMM_EXIT_PAUSE, bytes);
	case SVM_OP_INT3:
		return exit_simple(vcpu, VMM_EXIT_BPT, bytes);
	case SVM_OP_RDMSR:
		return svm_exit_msr(vcpu, false, bytes);
	case SVM_OP_WRMSR:
		return svm_exit_msr(vcpu, true, bytes);
	default:
		/* INVD, WBINVD: the host keeps its caches, and the guest's memory in them is
		 * coherent. */
		vcpu_skip(vcpu, bytes);
		return VCPU_RESUME;
	}
}

/*
 * INT n, intercepted along with #BP (svm_intercept_exceptions()), since QEMU 7.2 takes INT3, INTO
 * and INT1 for it and raises no exception that could be intercepted.
 */
static int
exit_swint(struct vcpu *vcpu)
{
	struct svm_inst inst;
	int error = svm_inst_fetch(vcpu, &inst);

	if (error)
		return svm_retry(vcpu, error);
	switch (inst.in_op) {
	case SVM_OP_INT3:
		return exit_simple(vcpu, VMM_EXIT_BPT, inst.in_bytes);
	case SVM_OP_INTN:
		vcpu->vc_exception =
			VCPU_EVENT_VALID | VCPU_EVENT_TYPE_SOFT_INTR << 8 | inst.in_vector;
		return VCPU_RESUME;
	case SVM_OP_INTO:
		vcpu->vc_exception =
			VCPU_EVENT_VALID | VCPU_EVENT_TYPE_SOFT_EXCEPTION << 8 | X86_TRAP_OF;
		return VCPU_RESUME;
	case SVM_OP_INT1:
		vcpu->vc_exception =
			VCPU_EVENT_VALID | VCPU_EVENT_TYPE_PRIV_SOFT << 8 | X86_TRAP_DB;
		return VCPU_RESUME;
	default:
		return svm_retry(vcpu, -EINVAL);
	}
}

/* ---- Exceptions ------------------------------------------------------------------------------ */

/*
 * Intercepted, thus not delivered: deliver it, together with what it may have interrupted. DR6 and
 * CR2 of #DB and #PF are where the guest will look for them.
 */
static int
exit_exception(struct vcpu *vcpu, unsigned int vector)
{
	const struct vmcb_control *c = &svm_vmcb(vcpu)->control;

	vcpu_count(vcpu, VCPU_STAT_EXITS_EXCEPTION);
	if (svm_vcpu(vcpu)->sv_exceptions & BIT(vector))
		return svm_unknown(vcpu);
	switch (vector) {
	case X86_TRAP_DB:
		if (svm_step_done(vcpu))
			return VCPU_RESUME;
		return svm_fault(vcpu, X86_TRAP_DB, -1);
	case X86_TRAP_BP:
		if (svm_vcpu(vcpu)->sv_bpt_exit)
			return exit_instruction(vcpu, SVM_OP_INT3);
		return svm_unknown(vcpu);
	case X86_TRAP_AC:
		return svm_fault(vcpu, X86_TRAP_AC, (int)c->exit_info1);
	case X86_TRAP_MC:
		return VCPU_RESUME; /* the host has looked at it (svm_enter()) */
	default:
		return svm_unknown(vcpu);
	}
}

/* ---- All of them ----------------------------------------------------------------------------- */

/* 1F1h and others above are not reached: what is not intercepted does not exit. */
static int
exit_by_code(struct vcpu *vcpu, u32 code)
{
	switch (code) {
	case SVM_EXIT_INTR:
		vcpu_count(vcpu, VCPU_STAT_EXITS_INTR);
		return VCPU_RESUME; /* the host took it when interrupts came on */
	case SVM_EXIT_NMI:
		vcpu_count(vcpu, VCPU_STAT_EXITS_NMI);
		return VCPU_RESUME; /* likewise, at STGI */
	case SVM_EXIT_SMI:
	case SVM_EXIT_INIT:
		return VCPU_RESUME;
	case SVM_EXIT_VINTR:
		return svm_exit_vintr(vcpu);
	case SVM_EXIT_SWINT:
		return exit_swint(vcpu);
	case SVM_EXIT_IRET:
		return svm_exit_iret(vcpu);
	case SVM_EXIT_NPF:
		return exit_npf(vcpu);
	case SVM_EXIT_IOIO:
		return exit_ioio(vcpu);
	case SVM_EXIT_MSR:
		return exit_instruction(vcpu, svm_vmcb(vcpu)->control.exit_info1 & SVM_MSR_WRITE
						      ? SVM_OP_WRMSR
						      : SVM_OP_RDMSR);
	case SVM_EXIT_CPUID:
		return exit_instruction(vcpu, SVM_OP_CPUID);
	case SVM_EXIT_HLT:
		return exit_instruction(vcpu, SVM_OP_HLT);
	case SVM_EXIT_PAUSE:
		return exit_instruction(vcpu, SVM_OP_PAUSE);
	case SVM_EXIT_VMMCALL:
		return exit_instruction(vcpu, SVM_OP_VMMCALL);
	case SVM_EXIT_INVD:
	case SVM_EXIT_WBINVD:
		return exit_instruction(vcpu, SVM_OP_INVD);
	case SVM_EXIT_SHUTDOWN:
		return exit_triple_fault(vcpu);
	case SVM_EXIT_RDPMC:
		return svm_fault(vcpu, X86_TRAP_GP, 0);
	case SVM_EXIT_INVLPGA:
	case SVM_EXIT_VMRUN:
	case SVM_EXIT_VMLOAD:
	case SVM_EXIT_VMSAVE:
	case SVM_EXIT_STGI:
	case SVM_EXIT_CLGI:
	case SVM_EXIT_SKINIT:
	case SVM_EXIT_MONITOR:
	case SVM_EXIT_MWAIT:
	case SVM_EXIT_MWAIT_ARMED:
	case SVM_EXIT_XSETBV:
	case SVM_EXIT_RDPRU:
		return svm_fault(vcpu, X86_TRAP_UD, -1);
	default:
		return svm_unknown(vcpu);
	}
}

int
svm_handle(struct vcpu *vcpu)
{
	const struct vmcb *vmcb = svm_vmcb(vcpu);
	const u64 code = vmcb->control.exit_code;
	const u64 rip = vmcb->save.rip;
	const bool step = vmcb->save.rflags & X86_EFLAGS_TF;
	int result;

	if (SVM_EXIT_FAILED(code))
		return entry_failed(vcpu);
	if (code < SVM_EXIT_DR_READ)
		result = svm_exit_cr(vcpu, (u32)code);
	else if (code < SVM_EXIT_EXCEPTION)
		result = svm_exit_dr(vcpu, (u32)code);
	else if (code < SVM_EXIT_INTR)
		result = exit_exception(vcpu, (u32)code - SVM_EXIT_EXCEPTION);
	else
		result = exit_by_code(vcpu, (u32)code);
	/* After an instruction that was completed here comes the single step that TF asks for. */
	if (step && result == VCPU_RESUME && vmcb->save.rip != rip) {
		vcpu->vc_dr6 |= DR_STEP;
		vcpu_inject_exception(vcpu, X86_TRAP_DB, -1);
	}
	return result;
}
