// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * One entry into the guest.
 *
 * Whether the guest's nested translations must be flushed is decided before (run.c asks the core);
 * here it is made true: by TLB_CONTROL, or by an ASID that nothing was cached under. It counts as
 * done only once VMRUN has not failed, since a VMRUN that fails does not get as far.
 *
 * All between CLGI and STGI is closed to interrupts of every kind, NMIs and machine checks
 * included: what the module changes there for the guest's sake, TSC_AUX above all, nobody else
 * sees. What came meanwhile comes at STGI, or when the caller enables interrupts.
 */

#include <linux/build_bug.h>
#include <linux/io.h>
#include <linux/string.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>
#include <asm/trapnr.h>

#include "kmod/svm/svm.h"
#include "kmod/svm/svm_asm.h"

static_assert(SVM_GPR_RBX == VMM_REG_RBX);
static_assert(SVM_GPR_RCX == VMM_REG_RCX);
static_assert(SVM_GPR_RDX == VMM_REG_RDX);
static_assert(SVM_GPR_RSI == VMM_REG_RSI);
static_assert(SVM_GPR_RDI == VMM_REG_RDI);
static_assert(SVM_GPR_RBP == VMM_REG_RBP);
static_assert(SVM_GPR_R8 == VMM_REG_R8);
static_assert(SVM_GPR_R9 == VMM_REG_R9);
static_assert(SVM_GPR_R10 == VMM_REG_R10);
static_assert(SVM_GPR_R11 == VMM_REG_R11);
static_assert(SVM_GPR_R12 == VMM_REG_R12);
static_assert(SVM_GPR_R13 == VMM_REG_R13);
static_assert(SVM_GPR_R14 == VMM_REG_R14);
static_assert(SVM_GPR_R15 == VMM_REG_R15);
static_assert(sizeof(((struct vcpu *)0)->vc_gpr[0]) == 8);

/* Parts of the VMCB whose changes are tracked; the others count as changed each time. */
#define CLEAN_TRACKED                                                                \
	(VMCB_CLEAN_INTERCEPTS | VMCB_CLEAN_IOPM | VMCB_CLEAN_ASID | VMCB_CLEAN_NP | \
	 VMCB_CLEAN_LBR | VMCB_CLEAN_AVIC)

void
svm_load(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	const int cpu = raw_smp_processor_id();
	const u64 online = vmm_cpu_online_count();

	/* It may remember this VMCB from before another CPU ran and changed it. */
	if (sv->sv_cpu != cpu || sv->sv_online != online) {
		sv->sv_cpu = cpu;
		sv->sv_online = online;
		sv->sv_clean = 0;
	}
}

void
svm_sync(struct vcpu *vcpu)
{
	struct vmcb *vmcb = svm_vmcb(vcpu);

	vmcb->save.rax = vcpu->vc_gpr[VMM_REG_RAX];
	vmcb->save.cr2 = vcpu->vc_cr2;
	vmcb->save.dr6 = vcpu->vc_dr6;
	vmcb->control.vintr = (vmcb->control.vintr & ~VMCB_V_TPR) | (vcpu->vc_cr8 & 0xf);
}

static void
sync_back(struct vcpu *vcpu)
{
	const struct vmcb *vmcb = svm_vmcb(vcpu);

	vcpu->vc_gpr[VMM_REG_RAX] = vmcb->save.rax;
	vcpu->vc_cr2 = vmcb->save.cr2;
	vcpu->vc_dr6 = vmcb->save.dr6;
}

/* Chooses ASID and TLB_CONTROL. */
static enum pmap_tlb_control
set_asid(struct vcpu *vcpu, struct pmap_asid_cpu *asids, bool flush)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb_control *c = &sv->sv_vmcb->control;
	enum pmap_tlb_control tlb = pmap_asid_assign(asids, sv->sv_cpu, &vcpu->vc_asid, flush);

	if (c->asid != vcpu->vc_asid.as_asid) {
		c->asid = vcpu->vc_asid.as_asid;
		svm_dirty(sv, VMCB_CLEAN_ASID);
		vcpu_count(vcpu, VCPU_STAT_IDENT_FLUSHES);
	} else if (sv->sv_flush_self && tlb == PMAP_TLB_KEEP) {
		tlb = asids->ac_flush_by_asid ? PMAP_TLB_FLUSH_ASID : PMAP_TLB_FLUSH_ALL;
	}
	c->tlb_control = tlb;
	return tlb;
}

/*
 * TSC_AUX is no part of the VMCB. The kernel keeps the number of the CPU there. CR2 is one, but
 * Bochs 2.7 saves it at an exit and does not load it at VMRUN. The kernel's is of no use any more.
 */
static void
switch_and_enter(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	u64 host_aux = 0;

	asm volatile("clgi" ::: "memory");
	if (vmm_guest_rdtscp) {
		rdmsrl(MSR_TSC_AUX, host_aux);
		if (host_aux != vcpu->vc_tsc_aux)
			wrmsrl(MSR_TSC_AUX, vcpu->vc_tsc_aux);
	}
	native_write_cr2(vcpu->vc_cr2);
	svm_enter_guest(vcpu->vc_gpr, sv->sv_vmcb_pa,
			page_to_phys(this_cpu_read(svm_cpus.sc_host)));
	if (vmm_guest_rdtscp && host_aux != vcpu->vc_tsc_aux)
		wrmsrl(MSR_TSC_AUX, host_aux);
	/* An exit leaves the guest's there: the host's next #DB would be taken for more. */
	if (sv->sv_vmcb->save.dr6 != DR6_RESERVED)
		set_debugreg(DR6_RESERVED, 6);
	asm volatile("stgi" ::: "memory");
}

int
svm_enter(struct vcpu *vcpu, struct pmap_slot *slot, bool flush)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *vmcb = sv->sv_vmcb;
	struct pmap_asid_cpu *asids = vmm_asid_this_cpu();
	enum pmap_tlb_control tlb = set_asid(vcpu, asids, flush);
	const bool shadow = vmcb->control.int_state & VMCB_INT_SHADOW;
	const u64 rip = vmcb->save.rip;
	bool failed;

	svm_sync(vcpu);
	/* Derived state, whatever order the registers were set in. */
	if ((vmcb->save.cr0 & X86_CR0_PG) && (vmcb->save.efer & EFER_LME))
		vmcb->save.efer |= EFER_LMA;
	else
		vmcb->save.efer &= ~(u64)EFER_LMA;
	vmcb->control.clean = svm_features & SVM_FEATURE_CLEAN ? sv->sv_clean : 0;
	vmcb->control.exit_code = 0;
	if (sv->sv_touched)
		memcpy(sv->sv_before, &vmcb->save, sizeof(sv->sv_before));

	switch_and_enter(vcpu);

	failed = SVM_EXIT_FAILED(vmcb->control.exit_code);
	if (failed && sv->sv_touched)
		memcpy(&vmcb->save, sv->sv_before, sizeof(sv->sv_before));
	if (!failed) {
		sync_back(vcpu);
		pmap_asid_flushed(asids, tlb);
		if (flush)
			pmap_guest_flushed(slot);
		sv->sv_flush_self = false;
		sv->sv_touched = false;
		sv->sv_clean = CLEAN_TRACKED;
	} else {
		sv->sv_clean = 0;
	}
	vcpu->vc_raw_reason = vmcb->control.exit_code;
	svm_events_after(vcpu, failed);
	svm_shadow_after(vcpu, shadow, rip);
	/* A machine check that the guest ran into is the host's to handle. */
	if (vmcb->control.exit_code == SVM_EXIT_EXCEPTION + X86_TRAP_MC)
		asm volatile("int %0" : : "i"(X86_TRAP_MC));
	return failed ? -EIO : 0;
}
