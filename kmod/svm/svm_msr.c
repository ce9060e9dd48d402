// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * MSRs. A guest reads and writes without an exit what VMLOAD and VMSAVE switch, and nothing else.
 * EFER and PAT are in the VMCB, too, but exit: EFER, since SVME in it must stay set and hidden, and
 * features that guests are not offered clear; PAT, since a bad value must be refused before VMRUN
 * fails on it. All other MSRs are the common code's (kmod/msr.c).
 */

#include <linux/kernel.h>
#include <linux/string.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kmod/svm/svm.h"

/* ---- The map --------------------------------------------------------------------------------- */

static const u32 switched[] = {
	MSR_FS_BASE,
	MSR_GS_BASE,
	MSR_KERNEL_GS_BASE,
	MSR_STAR,
	MSR_LSTAR,
	MSR_CSTAR,
	MSR_SYSCALL_MASK,
	MSR_IA32_SYSENTER_CS,
	MSR_IA32_SYSENTER_ESP,
	MSR_IA32_SYSENTER_EIP,
};

static void
let_through(u8 *map, u32 msr)
{
	static const u32 bases[] = {SVM_MSRPM_BASE_0, SVM_MSRPM_BASE_1, SVM_MSRPM_BASE_2};

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		const u32 n = msr - bases[i];

		if (msr >= bases[i] && n < SVM_MSRPM_RANGE_MSRS)
			map[i * SVM_MSRPM_RANGE_BYTES + n / 4] &= ~(3u << n % 4 * 2);
	}
}

void
svm_msrpm_fill(u8 *map)
{
	memset(map, 0xff, SVM_MSRPM_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(switched); i++)
		let_through(map, switched[i]);
}

/* ---- EFER, PAT ------------------------------------------------------------------------------- */

/* APM vol. 2 3.1.7, 5.6. LMA is read-only: what is written there counts for nothing. */
static int
write_efer(struct vcpu *vcpu, u64 value)
{
	struct vmcb_save *save = &svm_vmcb(vcpu)->save;
	const u64 own = EFER_LMA | EFER_SVME;

	value &= ~(u64)EFER_LMA;
	if (value & ~svm_efer_allowed())
		return -EINVAL;
	if ((save->cr0 & X86_CR0_PG) && ((value ^ save->efer) & EFER_LME))
		return -EINVAL;
	if ((value ^ save->efer) & EFER_NX)
		svm_vcpu(vcpu)->sv_flush_self = true;
	save->efer = (save->efer & own) | value;
	return 0;
}

/* Types 0 (UC), 1 (WC), 4 (WT), 5 (WP), 6 (WB), 7 (UC-). */
bool
svm_pat_valid(u64 pat)
{
	for (unsigned int i = 0; i < 8; i++, pat >>= 8)
		if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
			return false;
	return true;
}

static int
write_pat(struct vcpu *vcpu, u64 value)
{
	if (!svm_pat_valid(value))
		return -EINVAL;
	svm_vmcb(vcpu)->save.g_pat = value;
	svm_dirty(svm_vcpu(vcpu), VMCB_CLEAN_NP);
	svm_vcpu(vcpu)->sv_flush_self = true;
	return 0;
}

/* ---- Exits ----------------------------------------------------------------------------------- */

static int
write_own(struct vcpu *vcpu, u32 msr, unsigned int inst_bytes)
{
	const u64 value = (u32)vcpu->vc_gpr[VMM_REG_RAX] | vcpu->vc_gpr[VMM_REG_RDX] << 32;
	int error = msr == MSR_EFER ? write_efer(vcpu, value) : write_pat(vcpu, value);

	if (error)
		return svm_fault(vcpu, X86_TRAP_GP, 0);
	vcpu_skip(vcpu, inst_bytes);
	return VCPU_RESUME;
}

static int
read_own(struct vcpu *vcpu, u32 msr, unsigned int inst_bytes)
{
	const struct vmcb_save *save = &svm_vmcb(vcpu)->save;
	const u64 value = msr == MSR_EFER ? save->efer & ~(u64)EFER_SVME : save->g_pat;

	vcpu->vc_gpr[VMM_REG_RAX] = (u32)value;
	vcpu->vc_gpr[VMM_REG_RDX] = value >> 32;
	vcpu_skip(vcpu, inst_bytes);
	return VCPU_RESUME;
}

int
svm_exit_msr(struct vcpu *vcpu, bool write, unsigned int inst_bytes)
{
	const u32 msr = (u32)vcpu->vc_gpr[VMM_REG_RCX];

	if (msr != MSR_EFER && msr != MSR_IA32_CR_PAT)
		return write ? exit_wrmsr(vcpu, inst_bytes) : exit_rdmsr(vcpu, inst_bytes);
	vcpu_count(vcpu, write ? VCPU_STAT_EXITS_WRMSR : VCPU_STAT_EXITS_RDMSR);
	return write ? write_own(vcpu, msr, inst_bytes) : read_own(vcpu, msr, inst_bytes);
}
