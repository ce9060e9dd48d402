/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Model-specific registers that are neither the backend's nor user space's: those that every
 * operating system reads while it starts, and that have an answer without a device behind them. The
 * others end VMM_RUN.
 *
 * Memory types are those of the nested tables and of the guest's PAT; so variable and fixed MTRRs
 * read as 0 (none), and what is written there is forgotten.
 */

#include <asm/msr-index.h>
#include <asm/msr.h>
#include <asm/mtrr.h>

#include <asm/trapnr.h>

#include "kmod/vmm_priv.h"

enum msr_result {
	MSR_DONE,
	MSR_FAULT, /* #GP */
	MSR_USER,
};

static bool
is_mtrr(u32 index)
{
	return (index >= MTRRphysBase_MSR(0) && index <= MTRRphysMask_MSR(7)) ||
	       index == MSR_MTRRfix64K_00000 || index == MSR_MTRRfix16K_80000 ||
	       index == MSR_MTRRfix16K_A0000 ||
	       (index >= MSR_MTRRfix4K_C0000 && index <= MSR_MTRRfix4K_F8000) ||
	       index == MSR_MTRRdefType;
}

/* BTS and PEBS are not there; the guest's string instructions are as fast as the host's. */
#define MISC_ENABLE_VALUE                                                      \
	(MSR_IA32_MISC_ENABLE_FAST_STRING | MSR_IA32_MISC_ENABLE_BTS_UNAVAIL | \
	 MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL)

static enum msr_result
read_msr(struct vcpu *vcpu, u32 index, u64 *value)
{
	*value = 0;
	if (is_mtrr(index))
		return MSR_DONE;
	if (vcpu_platform_has_msr(vcpu, index))
		return vcpu_platform_rdmsr(vcpu, index, value) ? MSR_FAULT : MSR_DONE;
	switch (index) {
	case MSR_IA32_TSC:
		*value = rdtsc();
		return MSR_DONE;
	case MSR_IA32_APICBASE:
		*value = vcpu->vc_apic_base;
		return MSR_DONE;
	case MSR_TSC_AUX:
		if (!vmm_guest_rdtscp)
			return MSR_FAULT;
		*value = vcpu->vc_tsc_aux;
		return MSR_DONE;
	case MSR_IA32_MISC_ENABLE:
		*value = MISC_ENABLE_VALUE;
		return MSR_DONE;
	case MSR_IA32_UCODE_REV:
		*value = boot_cpu_data.x86_vendor == X86_VENDOR_INTEL
				 ? (u64)boot_cpu_data.microcode << 32
				 : boot_cpu_data.microcode;
		return MSR_DONE;
	case MSR_IA32_FEAT_CTL:
		*value = FEAT_CTL_LOCKED;
		return MSR_DONE;
	case MSR_MTRRcap:
	case MSR_IA32_PLATFORM_ID:
	case MSR_IA32_MCG_CAP:
	case MSR_IA32_MCG_STATUS:
	case MSR_K7_HWCR:
	case MSR_AMD64_SYSCFG:
	case MSR_AMD64_NB_CFG:
	case MSR_K8_INT_PENDING_MSG:
		return MSR_DONE;
	default:
		return MSR_USER;
	}
}

/* Base address, enable, BSP; without interrupt hardware no x2APIC is offered. */
static enum msr_result
write_apic_base(struct vcpu *vcpu, u64 value)
{
	const u64 address = GENMASK_ULL(cpuid_guest_phys_bits() - 1, 12);

	if (value & ~(address | MSR_IA32_APICBASE_ENABLE | MSR_IA32_APICBASE_BSP))
		return MSR_FAULT;
	vcpu->vc_apic_base = value;
	return MSR_DONE;
}

static enum msr_result
write_msr(struct vcpu *vcpu, u32 index, u64 value)
{
	if (is_mtrr(index))
		return MSR_DONE;
	if (vcpu_platform_has_msr(vcpu, index))
		return vcpu_platform_wrmsr(vcpu, index, value) ? MSR_FAULT : MSR_DONE;
	switch (index) {
	case MSR_IA32_APICBASE:
		return write_apic_base(vcpu, value);
	case MSR_TSC_AUX:
		if (!vmm_guest_rdtscp || value >> 32)
			return MSR_FAULT;
		vcpu->vc_tsc_aux = value;
		return MSR_DONE;
	case MSR_IA32_UCODE_REV: /* so the revision is asked for: 0, CPUID, read */
	case MSR_IA32_MISC_ENABLE:
	case MSR_IA32_MCG_STATUS:
	case MSR_K7_HWCR:
	case MSR_AMD64_NB_CFG:
	case MSR_K8_INT_PENDING_MSG:
		return MSR_DONE;
	case MSR_MTRRcap:
	case MSR_IA32_FEAT_CTL:
	case MSR_IA32_PLATFORM_ID:
	case MSR_IA32_MCG_CAP:
		return MSR_FAULT;
	default:
		return MSR_USER;
	}
}

static int
finish(struct vcpu *vcpu, enum msr_result result, unsigned int inst_bytes)
{
	if (result == MSR_FAULT)
		vcpu_inject_exception(vcpu, X86_TRAP_GP, 0);
	else
		vcpu_skip(vcpu, inst_bytes);
	return VCPU_RESUME;
}

static int
to_user(struct vcpu *vcpu, enum vmm_exitcode code, u32 index, u64 value, unsigned int inst_bytes)
{
	exit_simple(vcpu, code, inst_bytes);
	vcpu->vc_exit.u.msr.index = index;
	vcpu->vc_exit.u.msr.value = value;
	return VCPU_EXIT;
}

int
exit_rdmsr(struct vcpu *vcpu, unsigned int inst_bytes)
{
	const u32 index = vcpu_reg(vcpu, VMM_REG_RCX);
	enum msr_result result;
	u64 value;

	vcpu_count(vcpu, VCPU_STAT_EXITS_RDMSR);
	result = read_msr(vcpu, index, &value);
	if (result == MSR_USER)
		return to_user(vcpu, VMM_EXIT_RDMSR, index, 0, inst_bytes);
	if (result == MSR_DONE) {
		vcpu_set_reg(vcpu, VMM_REG_RAX, (u32)value);
		vcpu_set_reg(vcpu, VMM_REG_RDX, value >> 32);
	}
	return finish(vcpu, result, inst_bytes);
}

int
exit_wrmsr(struct vcpu *vcpu, unsigned int inst_bytes)
{
	const u32 index = vcpu_reg(vcpu, VMM_REG_RCX);
	const u64 value = (u32)vcpu_reg(vcpu, VMM_REG_RAX) | vcpu_reg(vcpu, VMM_REG_RDX) << 32;
	enum msr_result result;

	vcpu_count(vcpu, VCPU_STAT_EXITS_WRMSR);
	result = write_msr(vcpu, index, value);
	if (result == MSR_USER)
		return to_user(vcpu, VMM_EXIT_WRMSR, index, value, inst_bytes);
	return finish(vcpu, result, inst_bytes);
}
