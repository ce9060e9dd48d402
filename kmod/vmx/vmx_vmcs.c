/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Setting up a VMCS: what is constant, what depends on the CPU it is active on, and the guest's
 * state after a reset.
 */

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/slab.h>

#include <asm/desc.h>
#include <asm/msr.h>
#include <asm/special_insns.h>

#include "kmod/vmx/vmx_inst.h"
#include "kmod/vmx/vmx_priv.h"

/*
 * Exceptions that always exit. #DB: DR6 is ours to keep; and a guest whose handler of #DB or #AC
 * raises the same would otherwise occupy the CPU for good, since no interrupt comes between. #MC is
 * the host's.
 */
#define EXCEPTIONS_ALWAYS (BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC))

/* ---- Life of a vCPU -------------------------------------------------------------------------- */

static void *
alloc_page_zeroed(void)
{
	return (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
}

static void
vcpu_free(struct vmx_vcpu *vv)
{
	free_page((unsigned long)vv->vv_msrs);
	free_page((unsigned long)vv->vv_vmcs);
	kfree(vv);
}

int
vmx_vcpu_init(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = kzalloc(sizeof(*vv), GFP_KERNEL_ACCOUNT);

	if (!vv)
		return -ENOMEM;
	vv->vv_vcpu = vcpu;
	vv->vv_vmcs = alloc_page_zeroed();
	vv->vv_msrs = alloc_page_zeroed();
	if (!vv->vv_vmcs || !vv->vv_msrs) {
		vcpu_free(vv);
		return -ENOMEM;
	}
	*(u32 *)vv->vv_vmcs = vmx_caps.vx_revision;
	vv->vv_vmcs_hpa = virt_to_phys(vv->vv_vmcs);
	raw_spin_lock_init(&vv->vv_lock);
	INIT_LIST_HEAD(&vv->vv_link);
	vv->vv_cpu = -1;

	/* Without one, its entries and exits flush what they leave behind. */
	vcpu->vc_vpid = 0;
	if (vmx_caps.vx_vpid && pmap_vpid_alloc(&vmm_vpids, &vcpu->vc_vpid))
		vcpu->vc_vpid = 0;
	vcpu->vc_vpid_home = (struct pmap_vpid_home){0};
	vcpu->vc_caps[VMM_CAP_UNRESTRICTED_GUEST] = vmx_caps.vx_unrestricted;
	vcpu->vc_arch = vv;
	vmx_vcpu_reset(vcpu);
	return 0;
}

void
vmx_vcpu_destroy(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);

	vmx_evict(vv);
	if (vcpu->vc_vpid)
		pmap_vpid_free(&vmm_vpids, vcpu->vc_vpid);
	vcpu->vc_vpid = 0;
	vcpu->vc_arch = NULL;
	vcpu_free(vv);
}

/* ---- Controls -------------------------------------------------------------------------------- */

/* From capabilities and so on; windows are chosen at each entry. */
void
vmx_choose_ctls(struct vcpu *vcpu)
{
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	const u32 entry = vv->vv_ctls.vc_entry & ENTRY_IA32E;

	vv->vv_ctls = vmx_caps.vx_ctls;
	vv->vv_ctls.vc_entry |= entry;
	if (!vcpu->vc_vpid)
		vv->vv_ctls.vc_proc2 &= ~PROC2_VPID;
	if (vcpu->vc_caps[VMM_CAP_MTRAP_EXIT])
		vv->vv_ctls.vc_proc |= PROC_MONITOR_TRAP;
	if (vcpu->vc_caps[VMM_CAP_PAUSE_EXIT])
		vv->vv_ctls.vc_proc |= PROC_PAUSE;
	if (vcpu->vc_caps[VMM_CAP_PREEMPT_TIMER])
		vv->vv_ctls.vc_pin |= PIN_PREEMPTION_TIMER;
	vv->vv_exceptions = EXCEPTIONS_ALWAYS | vv->vv_exceptions_asked;
	if (vcpu->vc_caps[VMM_CAP_BPT_EXIT])
		vv->vv_exceptions |= BIT(X86_TRAP_BP);
}

static bool
cap_there(enum vmm_cap cap)
{
	switch (cap) {
	case VMM_CAP_HALT_EXIT:
	case VMM_CAP_PAUSE_EXIT:
	case VMM_CAP_BPT_EXIT:
		return true;
	case VMM_CAP_MTRAP_EXIT:
		return vmx_caps.vx_monitor_trap;
	case VMM_CAP_PREEMPT_TIMER:
		return vmx_caps.vx_preemption_timer;
	default:
		return false;
	}
}

int
vmx_set_cap(struct vcpu *vcpu, enum vmm_cap cap, u64 value)
{
	const u64 old = (unsigned int)cap < VMM_CAP_COUNT ? vcpu->vc_caps[cap] : 0;

	if ((unsigned int)cap >= VMM_CAP_COUNT || cap == VMM_CAP_UNRESTRICTED_GUEST)
		return -EINVAL;
	if (!cap_there(cap))
		return -EOPNOTSUPP;
	if (value > (cap == VMM_CAP_PREEMPT_TIMER ? U32_MAX : 1))
		return -EINVAL;
	vcpu->vc_caps[cap] = value;
	vmx_choose_ctls(vcpu);
	vcpu->vc_caps[cap] = old; /* the caller sets it */
	return 0;
}

static void
write_ctl(u32 field, u32 wanted, u32 *written)
{
	if (wanted == *written)
		return;
	vmx_write(field, wanted);
	*written = wanted;
}

void
vmx_write_ctls(struct vmx_vcpu *vv)
{
	struct vmx_ctls *const written = &vv->vv_written;
	const struct vmx_ctls *const c = &vv->vv_ctls;

	write_ctl(VMCS_PIN_CTLS, c->vc_pin, &written->vc_pin);
	write_ctl(VMCS_PROC_CTLS, c->vc_proc, &written->vc_proc);
	write_ctl(VMCS_PROC_CTLS2, c->vc_proc2, &written->vc_proc2);
	write_ctl(VMCS_EXIT_CTLS, c->vc_exit, &written->vc_exit);
	/* The CPU writes here, too: the guest's LMA, at exits. It is ours, so it is the same. */
	write_ctl(VMCS_ENTRY_CTLS, c->vc_entry, &written->vc_entry);
	write_ctl(VMCS_EXCEPTION_BITMAP, vv->vv_exceptions, &vv->vv_exceptions_written);
}

/* ---- Constant fields ------------------------------------------------------------------------- */

static void
set_up_lists(struct vmx_vcpu *vv)
{
	struct vmx_msr_lists *const vl = vv->vv_msrs;

	vmx_write(VMCS_EXIT_MSR_STORE, virt_to_phys(vl->vl_guest));
	vmx_write(VMCS_ENTRY_MSR_LOAD, virt_to_phys(vl->vl_guest));
	vmx_write(VMCS_EXIT_MSR_LOAD, virt_to_phys(vl->vl_host));
	vmx_write(VMCS_EXIT_MSR_STORE_COUNT, vmx_msr_count());
	vmx_write(VMCS_ENTRY_MSR_LOAD_COUNT, vmx_msr_count());
	vmx_write(VMCS_EXIT_MSR_LOAD_COUNT, vmx_msr_count());
}

static void
set_up_host_constants(void)
{
	u64 value;

	vmx_write(VMCS_HOST_CR0, read_cr0());
	vmx_write(VMCS_HOST_ES, 0);
	vmx_write(VMCS_HOST_CS, __KERNEL_CS);
	vmx_write(VMCS_HOST_SS, __KERNEL_DS);
	vmx_write(VMCS_HOST_DS, 0); /* these must not be of user privilege: vmx_run.c */
	vmx_write(VMCS_HOST_FS, 0);
	vmx_write(VMCS_HOST_GS, 0);
	rdmsrl(MSR_EFER, value);
	vmx_write(VMCS_HOST_EFER, value);
	rdmsrl(MSR_IA32_CR_PAT, value);
	vmx_write(VMCS_HOST_PAT, value);
	vmx_write(VMCS_HOST_RIP, (unsigned long)vmx_exit_point);
}

void
vmx_set_up(struct vmx_vcpu *vv)
{
	struct vcpu *const vcpu = vv->vv_vcpu;

	vmx_write(VMCS_IO_BITMAP_A, virt_to_phys(vmx_io_bitmaps));
	vmx_write(VMCS_IO_BITMAP_B, virt_to_phys(vmx_io_bitmaps) + PAGE_SIZE);
	vmx_write(VMCS_MSR_BITMAP, virt_to_phys(vmx_msr_bitmap));
	set_up_lists(vv);
	vmx_write(VMCS_TSC_OFFSET, 0);
	vmx_write(VMCS_EPTP, vcpu->vc_vm->vm_root);
	if (vcpu->vc_vpid)
		vmx_write(VMCS_VPID, vcpu->vc_vpid);
	vmx_write(VMCS_PF_ERROR_MASK, 0); /* bit 14 of the exception bitmap means what it says */
	vmx_write(VMCS_PF_ERROR_MATCH, 0);
	vmx_write(VMCS_CR3_TARGET_COUNT, 0);
	vmx_write(VMCS_CR0_MASK, ~vmx_cr0_owned());
	vmx_write(VMCS_CR4_MASK, ~vmx_cr4_owned());
	vmx_write(VMCS_ENTRY_INTR_INFO, 0);
	vmx_write(VMCS_LINK_POINTER, ~0ull);
	vmx_write(VMCS_GUEST_DEBUGCTL, 0);
	vmx_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE); /* never another: HLT exits */
	set_up_host_constants();

	memset(&vv->vv_written, 0, sizeof(vv->vv_written));
	vmx_write(VMCS_PIN_CTLS, 0);
	vmx_write(VMCS_PROC_CTLS, 0);
	vmx_write(VMCS_PROC_CTLS2, 0);
	vmx_write(VMCS_EXIT_CTLS, 0);
	vmx_write(VMCS_ENTRY_CTLS, 0);
	vv->vv_exceptions_written = 0;
	vmx_write(VMCS_EXCEPTION_BITMAP, 0);
	vmx_write_ctls(vv);
}

/* ---- What depends on the CPU ----------------------------------------------------------------- */

/* The base of a system segment, whose descriptor has two slots of the GDT. */
static u64
tss_base(const struct desc_ptr *gdt, u16 selector)
{
	const struct desc_struct *const desc = (void *)(gdt->address + (selector & ~7));
	const struct ldttss_desc *const tss = (const void *)desc;

	return get_desc_base(desc) | (u64)tss->base3 << 32;
}

void
vmx_set_up_host(struct vmx_vcpu *vv)
{
	struct desc_ptr gdt, idt;
	u64 value;
	u16 tr;

	native_store_gdt(&gdt);
	store_idt(&idt);
	tr = native_store_tr();
	vmx_write(VMCS_HOST_TR, tr);
	vmx_write(VMCS_HOST_TR_BASE, tss_base(&gdt, tr));
	vmx_write(VMCS_HOST_GDTR_BASE, gdt.address);
	vmx_write(VMCS_HOST_IDTR_BASE, idt.address);
	rdmsrl(MSR_GS_BASE, value);
	vmx_write(VMCS_HOST_GS_BASE, value);
	rdmsrl(MSR_IA32_SYSENTER_CS, value);
	vmx_write(VMCS_HOST_SYSENTER_CS, value);
	rdmsrl(MSR_IA32_SYSENTER_ESP, value);
	vmx_write(VMCS_HOST_SYSENTER_ESP, value);
	rdmsrl(MSR_IA32_SYSENTER_EIP, value);
	vmx_write(VMCS_HOST_SYSENTER_EIP, value);
	vmx_msrs_read_host(vv);

	vv->vv_host_cr3 = __read_cr3();
	vv->vv_host_cr4 = __read_cr4();
	vmx_write(VMCS_HOST_CR3, vv->vv_host_cr3);
	vmx_write(VMCS_HOST_CR4, vv->vv_host_cr4);
}

/* ---- Reset ----------------------------------------------------------------------------------- */

#define PAT_AFTER_RESET 0x0007040600070406ull

static void
reset_segment(struct vmx_vcpu *vv, enum vmm_reg reg, u32 access)
{
	const unsigned int i = VMX_SEG(reg);

	vmx_set(vv, VF_SELECTOR + i, 0);
	vmx_set(vv, VF_BASE + i, 0);
	vmx_set(vv, VF_LIMIT + i, 0xffff);
	vmx_set(vv, VF_ACCESS + i, access);
}

static void
reset_segments(struct vmx_vcpu *vv)
{
	enum vmm_reg reg;

	for (reg = VMM_REG_ES; reg <= VMM_REG_GS; reg++)
		reset_segment(vv, reg, 0x93);
	vmx_set(vv, VF_SELECTOR + VMX_SEG(VMM_REG_CS), 0xf000);
	vmx_set(vv, VF_BASE + VMX_SEG(VMM_REG_CS), 0xffff0000);
	reset_segment(vv, VMM_REG_LDTR, 0x82);
	reset_segment(vv, VMM_REG_TR, 0x8b);
	for (reg = VMM_REG_GDTR; reg <= VMM_REG_IDTR; reg++) {
		vmx_set(vv, VF_BASE + VMX_SEG(reg), 0);
		vmx_set(vv, VF_LIMIT + VMX_SEG(reg), 0xffff);
	}
}

/* SDM vol. 3A table 10-1. What is in struct vcpu is reset already. */
void
vmx_vcpu_reset(struct vcpu *vcpu)
{
	static const enum vmx_field zeros[] = {
		VF_RSP,		  VF_CR3,	  VF_EFER,	   VF_INTERRUPTIBILITY,
		VF_PENDING_DEBUG, VF_SYSENTER_CS, VF_SYSENTER_ESP, VF_SYSENTER_EIP,
		VF_PDPTE0,	  VF_PDPTE1,	  VF_PDPTE2,	   VF_PDPTE3,
	};
	struct vmx_vcpu *const vv = vmx_of(vcpu);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(zeros); i++)
		vmx_set(vv, zeros[i], 0);
	reset_segments(vv);
	vmx_set(vv, VF_RIP, 0xfff0);
	vmx_set(vv, VF_RFLAGS, X86_EFLAGS_FIXED);
	vmx_set(vv, VF_DR7, 0x400);
	vmx_set(vv, VF_PAT, PAT_AFTER_RESET);
	WARN_ON_ONCE(vmx_set_cr0(vv, X86_CR0_CD | X86_CR0_NW | X86_CR0_ET));
	WARN_ON_ONCE(vmx_set_cr4(vv, 0));
	vmx_msrs_init(vv);

	vv->vv_event = 0;
	vv->vv_exceptions_asked = 0;
	vv->vv_flush_linear = true;
	vv->vv_ctls.vc_entry = 0;
	vmx_choose_ctls(vcpu);
}
