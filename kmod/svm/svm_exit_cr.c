// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * MOV to and from control and debug registers, as far as they exit.
 *
 * CR8 and DR0-6 are kept by the common code. CR4 is written here, because the CPU would accept bits
 * of features that the guest was not offered and whose state nobody switches (XCR0, PKRU). DR7 is
 * written here, because run.c must know when breakpoints are enabled.
 */

#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kmod/svm/svm.h"

static bool
long_mode(const struct vmcb_save *save)
{
	return save->efer & EFER_LMA;
}

static bool
code_64bit(const struct vmcb_save *save)
{
	return long_mode(save) && (save->cs.attr & VMCB_ATTR_L);
}

/* ---- Which registers ------------------------------------------------------------------------- */

struct mov {
	unsigned int mv_gpr; /* as the instruction numbers it */
	unsigned int mv_reg; /* CR or DR */
	unsigned int mv_bytes;
	bool mv_write;
};

/* 0; else what svm_retry() is to hear. */
static int
find_mov(struct vcpu *vcpu, bool cr, bool write, unsigned int reg, struct mov *mov)
{
	const enum svm_op to = cr ? SVM_OP_MOV_TO_CR : SVM_OP_MOV_TO_DR;
	const enum svm_op from = cr ? SVM_OP_MOV_FROM_CR : SVM_OP_MOV_FROM_DR;
	const u64 info = svm_vmcb(vcpu)->control.exit_info1;
	struct svm_inst inst;
	int error;

	*mov = (struct mov){.mv_reg = reg, .mv_write = write};
	if ((svm_features & SVM_FEATURE_DECODE) && (!cr || (info & SVM_MOV_CR))) {
		mov->mv_gpr = info & SVM_MOV_GPR;
		return svm_inst_bytes(vcpu, write ? to : from, &mov->mv_bytes);
	}
	error = svm_inst_fetch(vcpu, &inst);
	if (error)
		return error;
	if (inst.in_op != (write ? to : from) || inst.in_reg != reg)
		return -EINVAL;
	mov->mv_gpr = inst.in_gpr;
	mov->mv_bytes = inst.in_bytes;
	return 0;
}

static u64
read_gpr(struct vcpu *vcpu, unsigned int gpr)
{
	const u64 value = vcpu_reg(vcpu, svm_gpr(gpr));

	return code_64bit(&svm_vmcb(vcpu)->save) ? value : (u32)value;
}

/* In 64-bit code all of it; else the low half, and the high one is not to be seen. */
static void
write_gpr(struct vcpu *vcpu, unsigned int gpr, u64 value)
{
	vcpu_set_reg(vcpu, svm_gpr(gpr), code_64bit(&svm_vmcb(vcpu)->save) ? value : (u32)value);
}

/* ---- Control registers ----------------------------------------------------------------------- */

/* What drops the guest's own cached translations (APM vol. 2 5.5.2). */
#define CR4_FLUSHES (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_SMEP | X86_CR4_SMAP)

/* APM vol. 2 3.1.3, 5.5.1. */
static bool
cr4_refused(const struct vmcb_save *save, u64 cr4)
{
	return (cr4 & ~svm_cr4_allowed()) || (long_mode(save) && !(cr4 & X86_CR4_PAE));
}

static int
write_cr4(struct vcpu *vcpu, u64 cr4)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb_save *save = &sv->sv_vmcb->save;

	vcpu_count(vcpu, VCPU_STAT_EXITS_CR);
	if (cr4_refused(save, cr4))
		return -EINVAL;
	if ((save->cr4 ^ cr4) & CR4_FLUSHES)
		sv->sv_flush_self = true;
	save->cr4 = cr4;
	return 0;
}

int
svm_exit_cr(struct vcpu *vcpu, u32 code)
{
	const bool write = code >= SVM_EXIT_CR_WRITE;
	struct mov mov;
	u64 value = 0;
	int error;

	error = find_mov(vcpu, true, write, code & 0xf, &mov);
	if (error)
		return svm_retry(vcpu, error);
	if (write)
		value = read_gpr(vcpu, mov.mv_gpr);
	if (mov.mv_reg == 8)
		error = exit_cr8(vcpu, write, &value);
	else if (mov.mv_reg == 4 && write)
		error = write_cr4(vcpu, value);
	else
		return svm_unknown(vcpu);
	if (error == -EINVAL)
		return svm_fault(vcpu, X86_TRAP_GP, 0);
	if (!write)
		write_gpr(vcpu, mov.mv_gpr, value);
	vcpu_skip(vcpu, mov.mv_bytes);
	return VCPU_RESUME;
}

/* ---- Debug registers ------------------------------------------------------------------------- */

/* Bits of DR7 that are 0 and 1 (APM vol. 2 13.1.1.4). */
#define DR7_ZERO 0xffffffff0000d800ull
#define DR7_ONE 0x400ull
#define DR7_GD BIT_ULL(13)
#define DR6_BD BIT_ULL(13)

static int
access_dr7(struct vcpu *vcpu, bool write, u64 *value)
{
	struct vmcb_save *save = &svm_vmcb(vcpu)->save;

	vcpu_count(vcpu, VCPU_STAT_EXITS_DR);
	if (!write) {
		*value = save->dr7;
		return 0;
	}
	if (*value >> 32 != 0)
		return -EINVAL;
	save->dr7 = (*value & ~DR7_ZERO) | DR7_ONE;
	return 0;
}

int
svm_exit_dr(struct vcpu *vcpu, u32 code)
{
	const struct vmcb_save *save = &svm_vmcb(vcpu)->save;
	const bool write = code >= SVM_EXIT_DR_WRITE;
	struct mov mov;
	u64 value = 0;
	int error;

	error = find_mov(vcpu, false, write, code & 0xf, &mov);
	if (error)
		return svm_retry(vcpu, error);
	/* 4 and 5 are other names of 6 and 7, or nothing. */
	if (mov.mv_reg > 7 || (mov.mv_reg / 2 == 2 && (save->cr4 & X86_CR4_DE)))
		return svm_fault(vcpu, X86_TRAP_UD, -1);
	mov.mv_reg |= mov.mv_reg / 2 == 2 ? 2 : 0;
	if (save->dr7 & DR7_GD) {
		/* The guest's debugger guards them; delivery clears GD. */
		vcpu->vc_dr6 |= DR6_BD;
		svm_vmcb(vcpu)->save.dr7 &= ~DR7_GD;
		return svm_fault(vcpu, X86_TRAP_DB, -1);
	}
	if (write)
		value = read_gpr(vcpu, mov.mv_gpr);
	if (mov.mv_reg == 7)
		error = access_dr7(vcpu, write, &value);
	else
		error = exit_dr(vcpu, mov.mv_reg, write, &value);
	if (error == -EINVAL)
		return svm_fault(vcpu, X86_TRAP_GP, 0);
	if (!write)
		write_gpr(vcpu, mov.mv_gpr, value);
	vcpu_skip(vcpu, mov.mv_bytes);
	return VCPU_RESUME;
}
