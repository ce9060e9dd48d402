/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * MSRs: which the guest reaches without an exit, which VM entry and exit switch, and EFER.
 *
 * Those of SYSCALL, and the base that SWAPGS exchanges, are switched by lists in memory: the
 * guest's values are there whenever it is not running, and the host's are back before any of its
 * code runs.
 * FS and GS base, SYSENTER's, PAT and EFER have fields of their own in the VMCS.
 */

#include <linux/bitmap.h>

#include <asm/msr.h>

#include "kmod/vmx/vmx_priv.h"

/* Four bitmaps of 1 KiB: read low, read high, write low, write high (SDM vol. 3C 25.6.9). */
#define BITMAP_HIGH_BYTES 1024
#define BITMAP_WRITE_BYTES 2048
#define BITMAP_MSRS 0x2000
#define MSR_HIGH_FIRST 0xc0000000

static const u32 listed[VMX_MSR_COUNT] = {
	[VMX_MSR_STAR] = MSR_STAR,
	[VMX_MSR_LSTAR] = MSR_LSTAR,
	[VMX_MSR_CSTAR] = MSR_CSTAR,
	[VMX_MSR_SFMASK] = MSR_SYSCALL_MASK,
	[VMX_MSR_KGS_BASE] = MSR_KERNEL_GS_BASE,
	[VMX_MSR_TSC_AUX] = MSR_TSC_AUX,
};

static void
let_pass(u8 *bitmap, u32 index)
{
	if (index >= MSR_HIGH_FIRST) {
		bitmap += BITMAP_HIGH_BYTES;
		index -= MSR_HIGH_FIRST;
	}
	if (WARN_ON_ONCE(index >= BITMAP_MSRS))
		return;
	bitmap[index / 8] &= ~(1u << index % 8);
	bitmap[BITMAP_WRITE_BYTES + index / 8] &= ~(1u << index % 8);
}

void
vmx_msr_bitmap_init(void *bitmap)
{
	static const u32 passed[] = {
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
		MSR_IA32_CR_PAT,
	};
	unsigned int i;

	memset(bitmap, 0xff, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(passed); i++)
		let_pass(bitmap, passed[i]);
}

/* ---- Lists ----------------------------------------------------------------------------------- */

unsigned int
vmx_msr_count(void)
{
	return vmm_guest_rdtscp ? VMX_MSR_COUNT : VMX_MSR_TSC_AUX;
}

void
vmx_msrs_init(struct vmx_vcpu *vv)
{
	unsigned int i;

	BUILD_BUG_ON(sizeof(struct vmx_msr_entry) != 16);
	BUILD_BUG_ON(sizeof(struct vmx_msr_lists) > PAGE_SIZE);
	for (i = 0; i < VMX_MSR_COUNT; i++) {
		vv->vv_msrs->vl_guest[i] = (struct vmx_msr_entry){.ve_index = listed[i]};
		vv->vv_msrs->vl_host[i].ve_index = listed[i];
	}
}

/* KERNEL_GS_BASE is the process's, and read at each entry. */
void
vmx_msrs_read_host(struct vmx_vcpu *vv)
{
	unsigned int i;

	for (i = 0; i < vmx_msr_count(); i++)
		rdmsrl(listed[i], vv->vv_msrs->vl_host[i].ve_value);
}

/* ---- Exits ----------------------------------------------------------------------------------- */

int
vmx_exit_rdmsr(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	u64 efer;

	if ((u32)vcpu->vc_gpr[VMM_REG_RCX] != MSR_EFER)
		return exit_rdmsr(vcpu, vv->vv_exit.xi_inst_bytes);
	vcpu_count(vcpu, VCPU_STAT_EXITS_RDMSR);
	efer = vmx_get(vv, VF_EFER);
	vcpu->vc_gpr[VMM_REG_RAX] = (u32)efer;
	vcpu->vc_gpr[VMM_REG_RDX] = efer >> 32;
	vcpu_skip(vcpu, vv->vv_exit.xi_inst_bytes);
	return VCPU_RESUME;
}

/* LMA is not writable, and ignored; LME cannot be changed while paging is on. */
static int
write_efer(struct vcpu *vcpu, u64 value)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u64 old = vmx_get(vv, VF_EFER);

	if ((value ^ old) & EFER_LME && vmx_get_cr0(vv) & X86_CR0_PG)
		return -EINVAL;
	return vmx_set_efer(vv, (value & ~(u64)EFER_LMA) | (old & EFER_LMA));
}

int
vmx_exit_wrmsr(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u64 value = (u32)vcpu->vc_gpr[VMM_REG_RAX] | vcpu->vc_gpr[VMM_REG_RDX] << 32;

	if ((u32)vcpu->vc_gpr[VMM_REG_RCX] != MSR_EFER)
		return exit_wrmsr(vcpu, vv->vv_exit.xi_inst_bytes);
	vcpu_count(vcpu, VCPU_STAT_EXITS_WRMSR);
	if (write_efer(vcpu, value))
		return vmx_inject_gp(vcpu);
	vcpu_skip(vcpu, vv->vv_exit.xi_inst_bytes);
	return VCPU_RESUME;
}
