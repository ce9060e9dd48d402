/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One entry into the guest, and the exit from it.
 *
 * What an exit of VT-x leaves as the host had it is what the VMCS's host-state area has room for.
 * The rest is ours: limits of GDT and IDT (they become FFFFH), the limit of the TSS (67H, without
 * the I/O permission map), LDTR (null), selectors of DS, ES, FS, GS (null: the area takes no
 * selectors of user privilege, and a 32-bit process has some), DEBUGCTL (0).
 *
 * Flushes. Translations that a guest's entry may find in this CPU are tagged by EPTP, and by VPID
 * where there is one. `flush` asks for INVEPT; when that has been executed, nothing from before is
 * left, whether the entry then succeeds or not: so pmap_guest_flushed() comes right after it. If
 * INVEPT itself fails, nothing was flushed and the guest is not entered. A vCPU that comes from
 * another CPU needs INVVPID, since the guest may have changed its own tables since it was here.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/kernel.h>
#include <linux/smp.h>

#include <asm/debugreg.h>
#include <asm/desc.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/segment.h>
#include <asm/special_insns.h>

#include "kmod/vmx/vmx_inst.h"
#include "kmod/vmx/vmx_priv.h"

/* The CPU may have been switched off since run.c looked, but then run.c will not enter. */
void
vmx_load(struct vcpu *vcpu)
{
	if (vmm_cpu_enabled())
		vmx_make_current(vmx_of(vcpu));
}

/* ---- What the host has ----------------------------------------------------------------------- */

struct host_state {
	u64 hs_kgs_base;
	u64 hs_fs_base;
	u64 hs_debugctl;
	u16 hs_ds, hs_es, hs_fs, hs_gs;
	u16 hs_ldt;
	struct desc_ptr hs_gdt, hs_idt;
};

static void
host_save(struct vmx_vcpu *vv, struct host_state *hs)
{
	const u64 cr3 = __read_cr3();
	const u64 cr4 = __read_cr4();

	savesegment(ds, hs->hs_ds);
	savesegment(es, hs->hs_es);
	savesegment(fs, hs->hs_fs);
	savesegment(gs, hs->hs_gs);
	store_ldt(hs->hs_ldt);
	native_store_gdt(&hs->hs_gdt);
	store_idt(&hs->hs_idt);
	rdmsrl(MSR_FS_BASE, hs->hs_fs_base);
	rdmsrl(MSR_KERNEL_GS_BASE, hs->hs_kgs_base);
	hs->hs_debugctl = get_debugctlmsr();

	vmx_write(VMCS_HOST_FS_BASE, hs->hs_fs_base);
	vv->vv_msrs->vl_host[VMX_MSR_KGS_BASE].ve_value = hs->hs_kgs_base;
	if (cr3 != vv->vv_host_cr3) {
		vmx_write(VMCS_HOST_CR3, cr3);
		vv->vv_host_cr3 = cr3;
	}
	if (cr4 != vv->vv_host_cr4) {
		vmx_write(VMCS_HOST_CR4, cr4);
		vv->vv_host_cr4 = cr4;
	}
}

static void
host_restore(const struct host_state *hs)
{
	native_load_gdt(&hs->hs_gdt);
	native_load_idt(&hs->hs_idt);
	invalidate_tss_limit();
	if (unlikely(hs->hs_ldt))
		asm volatile("lldt %0" : : "m"(hs->hs_ldt));
	if (unlikely(hs->hs_ds | hs->hs_es)) {
		loadsegment(ds, hs->hs_ds);
		loadsegment(es, hs->hs_es);
	}
	if (unlikely(hs->hs_fs)) { /* loading a selector loads the base that it stands for */
		loadsegment(fs, hs->hs_fs);
		wrmsrl(MSR_FS_BASE, hs->hs_fs_base);
	}
	if (unlikely(hs->hs_gs)) {
		load_gs_index(hs->hs_gs);
		wrmsrl(MSR_KERNEL_GS_BASE, hs->hs_kgs_base);
	}
	if (unlikely(hs->hs_debugctl))
		update_debugctlmsr(hs->hs_debugctl);
}

/* ---- Flushes --------------------------------------------------------------------------------- */

/* False: an instruction failed that cannot, while the identifiers and the EPTP are right. */
static bool
flush_context(struct vcpu *vcpu, struct pmap_slot *slot)
{
	const enum ept_invept kind = vmm_ept_cpu.ec_invept;
	const u64 eptp = kind == EPT_INVEPT_SINGLE ? vcpu->vc_vm->vm_root : 0;

	if (!vmx_invept(kind, eptp)) {
		pr_err_once("INVEPT of kind %d failed for EPTP %llx\n", kind, eptp);
		return false;
	}
	pmap_guest_flushed(slot);
	return true;
}

static bool
flush_linear(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const enum ept_invvpid kind = vmm_ept_cpu.ec_invvpid;
	const u32 cpu = smp_processor_id();
	const u64 online = vmm_cpu_online_count();

	if (vcpu->vc_vpid == 0)
		return true;
	if (!vv->vv_flush_linear && !pmap_vpid_stale(&vcpu->vc_vpid_home, cpu, online))
		return true;
	if (!vmx_invvpid(kind, kind == EPT_INVVPID_ALL ? 0 : vcpu->vc_vpid, 0)) {
		pr_err_once("INVVPID of kind %d failed for VPID %u\n", kind, vcpu->vc_vpid);
		return false;
	}
	pmap_vpid_flushed(&vcpu->vc_vpid_home, cpu, online);
	vv->vv_flush_linear = false;
	vcpu_count(vcpu, VCPU_STAT_IDENT_FLUSHES);
	return true;
}

/* ---- Exit ------------------------------------------------------------------------------------ */

static void
read_exit(struct vmx_vcpu *vv)
{
	struct vmx_exit_info *const xi = &vv->vv_exit;

	xi->xi_qualification = vmx_read(VMCS_EXIT_QUALIFICATION);
	xi->xi_inst_bytes = vmx_read(VMCS_EXIT_INST_BYTES);
	switch (xi->xi_reason & REASON_BASIC) {
	case REASON_EXCEPTION_NMI:
		xi->xi_intr_info = vmx_read(VMCS_EXIT_INTR_INFO);
		xi->xi_intr_error = vmx_read(VMCS_EXIT_INTR_ERROR);
		break;
	case REASON_IO:
		xi->xi_inst_info = vmx_read(VMCS_EXIT_INST_INFO);
		break;
	case REASON_EPT_VIOLATION:
		xi->xi_gla = vmx_read(VMCS_GUEST_LINEAR_ADDRESS);
		fallthrough;
	case REASON_EPT_MISCONFIG:
		xi->xi_gpa = vmx_read(VMCS_GUEST_PHYSICAL_ADDRESS);
		break;
	default:
		break;
	}
	vmx_forget(vv);
	vmx_read_events(vv);
}

/*
 * NMIs and machine checks of the host's that ended the guest's turn: the CPU does not deliver them
 * by itself any more. Interrupts are still off; NMIs are blocked until the handler's IRET.
 */
static void
deliver_to_host(struct vmx_vcpu *vv)
{
	const u32 info = vv->vv_exit.xi_intr_info;

	if ((vv->vv_exit.xi_reason & REASON_BASIC) != REASON_EXCEPTION_NMI)
		return;
	if (VCPU_EVENT_TYPE(info) == VCPU_EVENT_TYPE_NMI)
		asm volatile("int $2");
	else if (VCPU_EVENT_TYPE(info) == VCPU_EVENT_TYPE_EXCEPTION &&
		 VCPU_EVENT_VECTOR(info) == X86_TRAP_MC)
		asm volatile("int $18");
}

static int
entry_failed(struct vmx_vcpu *vv, u32 reason)
{
	struct vmx_exit_info *const xi = &vv->vv_exit;

	vv->vv_event = 0; /* run.c still has it */
	xi->xi_failed = true;
	xi->xi_reason = reason;
	if (reason) {
		xi->xi_qualification = vmx_read(VMCS_EXIT_QUALIFICATION);
	} else {
		/* A control or the host's state was refused; the guest's was not looked at. */
		xi->xi_inst_error = vmx_read(VMCS_INSTRUCTION_ERROR);
	}
	return -EIO;
}

/* ---- The entry ------------------------------------------------------------------------------- */

int
vmx_enter(struct vcpu *vcpu, struct pmap_slot *slot, bool flush)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	struct host_state hs;
	u32 reason;
	int failed;

	memset(&vv->vv_exit, 0, sizeof(vv->vv_exit));
	vcpu->vc_raw_reason = 0;
	/* Since vmx_load() another CPU may have asked for some VMCS, which is current now. */
	if (!vmx_select(vv))
		return entry_failed(vv, 0);
	if ((flush && !flush_context(vcpu, slot)) || !flush_linear(vcpu))
		return entry_failed(vv, 0);

	vmx_write_event(vv);
	vmx_write_dirty(vv);
	vmx_write_ctls(vv);
	if (vv->vv_ctls.vc_pin & PIN_PREEMPTION_TIMER)
		vmx_write(VMCS_PREEMPTION_TIMER, vcpu->vc_caps[VMM_CAP_PREEMPT_TIMER]);
	vv->vv_msrs->vl_guest[VMX_MSR_TSC_AUX].ve_value = vcpu->vc_tsc_aux;

	host_save(vv, &hs);
	native_write_cr2(vcpu->vc_cr2);
	failed = vmx_enter_guest(vcpu->vc_gpr, vv->vv_launched);
	vcpu->vc_cr2 = native_read_cr2();
	if (unlikely(failed))
		return entry_failed(vv, 0); /* nothing was loaded, and nothing is to be restored */
	host_restore(&hs);

	reason = vmx_read(VMCS_EXIT_REASON);
	vcpu->vc_raw_reason = reason;
	if (unlikely(reason & REASON_ENTRY_FAILED))
		return entry_failed(vv, reason);
	vv->vv_launched = true;
	vv->vv_exit.xi_reason = reason;
	read_exit(vv);
	deliver_to_host(vv);
	return 0;
}
