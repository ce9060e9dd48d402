/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Exits that mean the same whichever vendor's CPU reports them: what is handled here and now, and
 * what becomes the end of VMM_RUN.
 *
 * An instruction that user space completes (IN, HLT, ...) leaves RIP where it is and its length in
 * the exit; the next VMM_RUN moves past it (vc_skip).
 */

#include "kmod/trace.h"
#include "kmod/vmm_priv.h"

static int
begin_exit(struct vcpu *vcpu, enum vmm_exitcode code, unsigned int inst_bytes)
{
	memset(&vcpu->vc_exit, 0, sizeof(vcpu->vc_exit));
	vcpu->vc_exit.code = code;
	vcpu->vc_exit.inst_bytes = inst_bytes;
	vcpu->vc_exit.rip = vcpu_reg(vcpu, VMM_REG_RIP);
	return VCPU_EXIT;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/*
 * Pages that processes have mapped are held and stay in memory. When the guest finds none left for
 * itself, they go back, and it tries once more.
 */
static int
fault(struct vcpu *vcpu, const struct ept_fault *f, struct vm_fault_record *record)
{
	struct vm *const vm = vcpu->vc_vm;
	int error, tries;

	for (tries = 0;; tries++) {
		percpu_down_read(&vmm_quiet);
		error = vm_fault(vm->vm_space, f->ef_gpa, f->ef_access, record);
		percpu_up_read(&vmm_quiet);
		if (error != -ENOMEM || tries > 0)
			break;
		mappings_release_all(vm);
	}
	trace_vmm_fault(vm->vm_name, vcpu->vc_id, f->ef_gpa, f->ef_access, error);
	return error;
}

/*
 * An access that user space can emulate as one to a device: there is no memory, and an instruction
 * was to move data. Fetches and the CPU's own accesses to the guest's page tables are not.
 */
static bool
is_mmio(const struct ept_fault *f, const struct vm_fault_record *record)
{
	return record->fr_reason == VM_FAULT_UNMAPPED && !f->ef_walk &&
	       !(f->ef_access & PMAP_PROT_X);
}

int
exit_nested_fault(struct vcpu *vcpu, const struct ept_fault *f, const u8 *inst,
		  unsigned int inst_bytes)
{
	struct vm_fault_record record = {.fr_reason = VM_FAULT_NONE};
	struct vmm_exit_paging *paging;
	int error;

	vcpu_count(vcpu, VCPU_STAT_EXITS_NESTED_FAULT);
	error = fault(vcpu, f, &record);
	if (!error)
		return VCPU_RESUME;
	if (error == -EINTR)
		return -EINTR;

	begin_exit(vcpu, is_mmio(f, &record) ? VMM_EXIT_MMIO : VMM_EXIT_PAGING, 0);
	paging = &vcpu->vc_exit.u.paging;
	paging->gpa = f->ef_gpa;
	paging->gla = f->ef_gla_valid ? f->ef_gla : 0;
	paging->gla_valid = f->ef_gla_valid;
	paging->walk = f->ef_walk;
	paging->len_bytes = record.fr_len_bytes;
	paging->access = f->ef_access;
	paging->reason = record.fr_reason;
	paging->error = error;
	if (vcpu->vc_exit.code == VMM_EXIT_MMIO) {
		vcpu_count(vcpu, VCPU_STAT_EXITS_INST_EMUL);
		paging->inst_bytes = min_t(unsigned int, inst_bytes, sizeof(paging->inst));
		memcpy(paging->inst, inst, paging->inst_bytes);
	}
	return VCPU_EXIT;
}

/* ---- For user space -------------------------------------------------------------------------- */

/* To the module's own hardware. What IN leaves of RAX: all but the bytes; of EAX nothing. */
static bool
inout_here(struct vcpu *vcpu, const struct vmm_exit_inout *io)
{
	u32 value = io->eax;
	u64 rax;

	if (!platform_inout(vcpu->vc_vm, io->port, io->bytes, io->in, &value))
		return false;
	if (!io->in)
		return true;
	rax = vcpu_reg(vcpu, VMM_REG_RAX);
	if (io->bytes < 4) {
		const u64 mask = (1u << 8 * io->bytes) - 1;

		rax = (rax & ~mask) | (value & mask);
	} else {
		rax = value;
	}
	vcpu_set_reg(vcpu, VMM_REG_RAX, rax);
	return true;
}

int
exit_inout(struct vcpu *vcpu, const struct vmm_exit_inout *io, unsigned int inst_bytes)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_INOUT);
	if (vcpu->vc_platform && !io->string && inout_here(vcpu, io)) {
		vcpu_skip(vcpu, inst_bytes);
		return VCPU_RESUME;
	}
	begin_exit(vcpu, VMM_EXIT_INOUT, inst_bytes);
	vcpu->vc_exit.u.inout = *io;
	return VCPU_EXIT;
}

/*
 * With VMM_CAP_HALT_EXIT, which is how vCPUs begin, user space waits for what wakes the guest. Else
 * run.c does.
 */
int
exit_hlt(struct vcpu *vcpu, u64 rflags, unsigned int inst_bytes)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_HLT);
	if (!vcpu->vc_caps[VMM_CAP_HALT_EXIT]) {
		vcpu_skip(vcpu, inst_bytes);
		vcpu->vc_halted = true;
		return VCPU_RESUME;
	}
	begin_exit(vcpu, VMM_EXIT_HLT, inst_bytes);
	vcpu->vc_exit.u.rflags = rflags;
	return VCPU_EXIT;
}

int
exit_hypercall(struct vcpu *vcpu, unsigned int inst_bytes)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_HYPERCALL);
	begin_exit(vcpu, VMM_EXIT_HYPERCALL, inst_bytes);
	vcpu->vc_exit.u.hypercall = (struct vmm_exit_hypercall){
		.rax = vcpu_reg(vcpu, VMM_REG_RAX),
		.rbx = vcpu_reg(vcpu, VMM_REG_RBX),
		.rcx = vcpu_reg(vcpu, VMM_REG_RCX),
		.rdx = vcpu_reg(vcpu, VMM_REG_RDX),
		.rsi = vcpu_reg(vcpu, VMM_REG_RSI),
		.rdi = vcpu_reg(vcpu, VMM_REG_RDI),
	};
	return VCPU_EXIT;
}

/* PAUSE, MTRAP, BPT, TIMER, TASK_SWITCH: the code says it all. */
int
exit_simple(struct vcpu *vcpu, enum vmm_exitcode code, unsigned int inst_bytes)
{
	return begin_exit(vcpu, code, inst_bytes);
}

int
exit_raw(struct vcpu *vcpu, enum vmm_exitcode code, const struct vmm_exit_raw *raw)
{
	if (code == VMM_EXIT_UNKNOWN)
		vcpu_count(vcpu, VCPU_STAT_EXITS_UNKNOWN);
	begin_exit(vcpu, code, 0);
	vcpu->vc_exit.u.raw = *raw;
	return VCPU_EXIT;
}

/* What was being delivered is lost: a vCPU that is given another state is not to be bothered. */
int
exit_triple_fault(struct vcpu *vcpu)
{
	vcpu->vc_reinject = 0;
	vcpu->vc_exception = 0;
	return begin_exit(vcpu, VMM_EXIT_SHUTDOWN, 0);
}

/* ---- Registers kept in struct vcpu ----------------------------------------------------------- */

int
exit_cr8(struct vcpu *vcpu, bool write, u64 *value)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_CR);
	if (!write) {
		*value = vcpu->vc_cr8;
		return 0;
	}
	if (*value > 15)
		return -EINVAL;
	vcpu_set_cr8(vcpu, *value);
	return 0;
}

/* DR6: bits that are fixed (SDM vol. 3A 18.2.3); of RTM, bit 16, nothing is offered. */
#define DR6_FIXED_1 0xffff0ff0u
#define DR6_WRITABLE 0x0000e00fu

int
exit_dr(struct vcpu *vcpu, unsigned int dr, bool write, u64 *value)
{
	vcpu_count(vcpu, VCPU_STAT_EXITS_DR);
	if (dr > 3 && dr != 6)
		return -EINVAL;
	if (!write) {
		*value = dr == 6 ? vcpu->vc_dr6 : vcpu->vc_dr[dr];
	} else if (dr != 6) {
		vcpu->vc_dr[dr] = *value;
	} else {
		if (*value >> 32)
			return -EINVAL;
		vcpu->vc_dr6 = (*value & DR6_WRITABLE) | DR6_FIXED_1;
	}
	return 0;
}
