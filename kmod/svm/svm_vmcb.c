// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * A vCPU's control block: made, reset, and which of the guest's doings exit.
 *
 * With nested paging a guest's own paging is its own affair: CR0, CR3 and task switches need no
 * exit. What must exit is what reaches beyond the guest (interrupts, I/O, MSRs, SVM itself,
 * caches), what the guest was not offered although the CPU has it (svm_exit.c has the list), and
 * the two exceptions that a guest can make the CPU raise endlessly within one instruction: #DB and
 * #AC, whose delivery may cause another, with no moment for an interrupt in between (CVE-2015-5307,
 * CVE-2015-8104).
 */

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "kmod/svm/svm.h"

/* As after power-on (APM vol. 2, table 14-1). */
#define RESET_CR0 (X86_CR0_CD | X86_CR0_NW | X86_CR0_ET)
#define RESET_RIP 0xfff0u
#define RESET_CS 0xf000u
#define RESET_CS_BASE 0xffff0000u
#define RESET_LIMIT 0xffffu
#define RESET_PAT 0x0007040600070406ull
#define RESET_DR6 0xffff0ff0u
#define RESET_DR7 0x400u

#define ATTR_CODE (VMCB_ATTR_P | VMCB_ATTR_S | 0xbu) /* read, accessed */
#define ATTR_DATA (VMCB_ATTR_P | VMCB_ATTR_S | 0x3u) /* written, accessed */
#define ATTR_LDT (VMCB_ATTR_P | 0x2u)
#define ATTR_TSS (VMCB_ATTR_P | 0xbu) /* 32-bit, busy */

#define CR4_BIT BIT(4)
#define CR8_BIT BIT(8)

#define BASE_INTERCEPTS1                                                                           \
	(VMCB_I1_INTR | VMCB_I1_NMI | VMCB_I1_SMI | VMCB_I1_INIT | VMCB_I1_RDPMC | VMCB_I1_CPUID | \
	 VMCB_I1_INVD | VMCB_I1_HLT | VMCB_I1_INVLPGA | VMCB_I1_IOIO | VMCB_I1_MSR |               \
	 VMCB_I1_FERR_FREEZE | VMCB_I1_SHUTDOWN)

#define BASE_INTERCEPTS2                                                                    \
	(VMCB_I2_VMRUN | VMCB_I2_VMMCALL | VMCB_I2_VMLOAD | VMCB_I2_VMSAVE | VMCB_I2_STGI | \
	 VMCB_I2_CLGI | VMCB_I2_SKINIT | VMCB_I2_WBINVD | VMCB_I2_MONITOR | VMCB_I2_MWAIT | \
	 VMCB_I2_MWAIT_ARMED | VMCB_I2_XSETBV | VMCB_I2_RDPRU)

#define BASE_EXCEPTIONS (BIT(X86_TRAP_MC) | BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC))

/* ---- Machines -------------------------------------------------------------------------------- */

int
svm_vm_init(struct vm *vm)
{
	vm->vm_arch = NULL; /* all that there is belongs to vCPUs, or to everybody */
	return 0;
}

void
svm_vm_destroy(struct vm *vm)
{
}

/* ---- Reset ----------------------------------------------------------------------------------- */

static void
set_seg(struct vmcb_seg *seg, u16 selector, u16 attr, u64 base)
{
	*seg = (struct vmcb_seg){
		.selector = selector, .attr = attr, .limit = RESET_LIMIT, .base = base};
}

static void
reset_save(struct vmcb_save *save)
{
	memset(save, 0, sizeof(*save));
	set_seg(&save->es, 0, ATTR_DATA, 0);
	set_seg(&save->cs, RESET_CS, ATTR_CODE, RESET_CS_BASE);
	set_seg(&save->ss, 0, ATTR_DATA, 0);
	set_seg(&save->ds, 0, ATTR_DATA, 0);
	set_seg(&save->fs, 0, ATTR_DATA, 0);
	set_seg(&save->gs, 0, ATTR_DATA, 0);
	set_seg(&save->gdtr, 0, 0, 0);
	set_seg(&save->ldtr, 0, ATTR_LDT, 0);
	set_seg(&save->idtr, 0, 0, 0);
	set_seg(&save->tr, 0, ATTR_TSS, 0);
	save->efer = EFER_SVME; /* what VMRUN insists on; the guest does not see it */
	save->cr0 = RESET_CR0;
	save->dr6 = RESET_DR6;
	save->dr7 = RESET_DR7;
	save->rflags = X86_EFLAGS_FIXED;
	save->rip = RESET_RIP;
	save->g_pat = RESET_PAT;
}

static void
reset_control(struct vcpu *vcpu, struct vmcb_control *c)
{
	memset(c, 0, sizeof(*c));
	c->cr_intercepts.read = CR8_BIT;
	c->cr_intercepts.write = CR4_BIT | CR8_BIT;
	c->dr_intercepts.read = 0xffff;
	c->dr_intercepts.write = 0xffff;
	c->intercepts1 = BASE_INTERCEPTS1;
	if (vcpu->vc_caps[VMM_CAP_PAUSE_EXIT])
		c->intercepts1 |= VMCB_I1_PAUSE;
	c->intercepts2 = BASE_INTERCEPTS2;
	c->iopm_pa = svm_iopm_pa;
	c->msrpm_pa = svm_msrpm_pa;
	c->vintr = VMCB_V_INTR_MASKING;
	c->nested = VMCB_NESTED_ENABLE;
	c->ncr3 = vcpu->vc_vm->vm_root;
}

void
svm_vcpu_reset(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	reset_control(vcpu, &sv->sv_vmcb->control);
	reset_save(&sv->sv_vmcb->save);
	svm_intercept_exceptions(vcpu);
	sv->sv_clean = 0;
	sv->sv_flush_self = true;
	sv->sv_touched = true;
	sv->sv_event = 0;
	sv->sv_nmi = SVM_NMI_OPEN;
	sv->sv_step = false;
	sv->sv_bad_fetch = 0;
	vcpu->vc_gpr[VMM_REG_RAX] = 0;
	vcpu->vc_dr6 = RESET_DR6;
}

int
svm_vcpu_init(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = kzalloc(sizeof(*sv), GFP_KERNEL_ACCOUNT);
	struct page *page;

	if (!sv)
		return -ENOMEM;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page) {
		kfree(sv);
		return -ENOMEM;
	}
	sv->sv_vmcb = page_address(page);
	sv->sv_vmcb_pa = page_to_phys(page);
	sv->sv_cpu = -1;
	vcpu->vc_caps[VMM_CAP_UNRESTRICTED_GUEST] = 1; /* every mode is one that VMRUN can enter */
	vcpu->vc_arch = sv;
	svm_vcpu_reset(vcpu);
	return 0;
}

void
svm_vcpu_destroy(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (!sv)
		return;
	free_page((unsigned long)sv->sv_vmcb);
	kfree(sv);
	vcpu->vc_arch = NULL;
}

/* ---- What exits ------------------------------------------------------------------------------ */

void
svm_intercept(struct vcpu *vcpu, u32 bits, bool on)
{
	struct vmcb_control *c = &svm_vmcb(vcpu)->control;
	u32 want = on ? c->intercepts1 | bits : c->intercepts1 & ~bits;

	if (want == c->intercepts1)
		return;
	c->intercepts1 = want;
	svm_dirty(svm_vcpu(vcpu), VMCB_CLEAN_INTERCEPTS);
}

void
svm_intercept_exceptions(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	u32 bits = BASE_EXCEPTIONS | sv->sv_exceptions;

	if (sv->sv_bpt_exit)
		bits |= BIT(X86_TRAP_BP);
	sv->sv_vmcb->control.exception_intercepts = bits;
	svm_dirty(sv, VMCB_CLEAN_INTERCEPTS);
	svm_intercept(vcpu, VMCB_I1_SWINT, sv->sv_bpt_exit);
}

int
svm_set_cap(struct vcpu *vcpu, enum vmm_cap cap, u64 value)
{
	switch (cap) {
	case VMM_CAP_HALT_EXIT:
		return 0; /* HLT always exits; what becomes of it is exit_hlt()'s to say */
	case VMM_CAP_PAUSE_EXIT:
		svm_intercept(vcpu, VMCB_I1_PAUSE, value != 0);
		return 0;
	case VMM_CAP_BPT_EXIT:
		svm_vcpu(vcpu)->sv_bpt_exit = value != 0;
		svm_intercept_exceptions(vcpu);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}
