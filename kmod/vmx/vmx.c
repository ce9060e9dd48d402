/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * VT-x: is it there, and can it do what we need; switching it on and off on a CPU; the table of the
 * backend.
 *
 * What we need is what every CPU with EPT has, and what is less is refused with a sentence: the
 * backend has no second way for a control that is missing. What is optional is in struct vmx_caps.
 */

#define pr_fmt(fmt) "vmm: " fmt

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/percpu.h>

#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/tlbflush.h>

#include "kmod/vmx/vmx_inst.h"
#include "kmod/vmx/vmx_priv.h"

struct vmx_caps vmx_caps;
void *vmx_io_bitmaps;
void *vmx_msr_bitmap;

#define IO_BITMAPS_ORDER 1

static DEFINE_PER_CPU(void *, vmxon_page);

/* ---- What is there --------------------------------------------------------------------------- */

enum ctl {
	VMX_PIN,
	VMX_PROC,
	VMX_PROC2,
	VMX_EXIT,
	VMX_ENTRY,
	VMX_COUNT,
};

/* Low half: bits that must be 1; high half: bits that may be (SDM vol. 3D A.3 to A.5). */
struct ctl_msrs {
	u64 cm[VMX_COUNT];
};

static const struct need {
	enum ctl kind;
	u32 bit;
	bool must_be_0;
	const char *why;
} needs[] = {
	{VMX_PIN, PIN_EXTERNAL_INTR, false, "VT-x here cannot exit for external interrupts"},
	{VMX_PIN, PIN_NMI, false, "VT-x here cannot exit for NMIs"},
	{VMX_PIN, PIN_VIRTUAL_NMI, false, "VT-x here has no virtual NMIs"},
	{VMX_PROC, PROC_INTR_WINDOW, false, "VT-x here has no interrupt-window exiting"},
	{VMX_PROC, PROC_NMI_WINDOW, false, "VT-x here has no NMI-window exiting"},
	{VMX_PROC, PROC_HLT, false, "VT-x here cannot exit for HLT"},
	{VMX_PROC, PROC_MWAIT, false, "VT-x here cannot exit for MWAIT"},
	{VMX_PROC, PROC_MONITOR, false, "VT-x here cannot exit for MONITOR"},
	{VMX_PROC, PROC_RDPMC, false, "VT-x here cannot exit for RDPMC"},
	{VMX_PROC, PROC_CR8_LOAD, false, "VT-x here cannot exit for writes of CR8"},
	{VMX_PROC, PROC_CR8_STORE, false, "VT-x here cannot exit for reads of CR8"},
	{VMX_PROC, PROC_MOV_DR, false, "VT-x here cannot exit for debug registers"},
	{VMX_PROC, PROC_PAUSE, false, "VT-x here cannot exit for PAUSE"},
	{VMX_PROC, PROC_IO_BITMAPS, false, "VT-x here has no I/O bitmaps"},
	{VMX_PROC, PROC_MSR_BITMAPS, false, "VT-x here has no MSR bitmaps"},
	{VMX_PROC, PROC_SECONDARY, false, "VT-x here has no secondary controls, so it has no EPT"},
	{VMX_PROC, PROC_CR3_LOAD, true, "VT-x here insists on exits for writes of CR3"},
	{VMX_PROC, PROC_CR3_STORE, true, "VT-x here insists on exits for reads of CR3"},
	{VMX_PROC, PROC_INVLPG, true, "VT-x here insists on exits for INVLPG"},
	{VMX_PROC, PROC_RDTSC, true, "VT-x here insists on exits for RDTSC"},
	{VMX_PROC2, PROC2_EPT, false, "VT-x here has no EPT"},
	{VMX_EXIT, EXIT_HOST_64, false, "VT-x here does not support a host of 64 bits"},
	{VMX_EXIT, EXIT_SAVE_DEBUG, false, "VT-x here cannot save DR7 at exits"},
	{VMX_EXIT, EXIT_SAVE_PAT, false, "VT-x here cannot save PAT at exits"},
	{VMX_EXIT, EXIT_LOAD_PAT, false, "VT-x here cannot load PAT at exits"},
	{VMX_EXIT, EXIT_SAVE_EFER, false, "VT-x here cannot save EFER at exits"},
	{VMX_EXIT, EXIT_LOAD_EFER, false, "VT-x here cannot load EFER at exits"},
	{VMX_ENTRY, ENTRY_IA32E, false, "VT-x here does not support guests of 64 bits"},
	{VMX_ENTRY, ENTRY_LOAD_DEBUG, false, "VT-x here cannot load DR7 at entries"},
	{VMX_ENTRY, ENTRY_LOAD_PAT, false, "VT-x here cannot load PAT at entries"},
	{VMX_ENTRY, ENTRY_LOAD_EFER, false, "VT-x here cannot load EFER at entries"},
};

/* What is used only where it is there. MTF, PAUSE and the timer are per vCPU, windows per entry. */
static const struct {
	enum ctl kind;
	u32 bit;
} wishes[] = {
	{VMX_PROC2, PROC2_RDTSCP},
	{VMX_PROC2, PROC2_VPID},
	{VMX_PROC2, PROC2_WBINVD},
	{VMX_PROC2, PROC2_UNRESTRICTED},
};

#define PIN_DYNAMIC PIN_PREEMPTION_TIMER
#define PROC_DYNAMIC (PROC_INTR_WINDOW | PROC_NMI_WINDOW | PROC_PAUSE | PROC_MONITOR_TRAP)
#define ENTRY_DYNAMIC ENTRY_IA32E

static bool
may_be_1(const struct ctl_msrs *msrs, enum ctl kind, u32 bit)
{
	return msrs->cm[kind] >> 32 & bit;
}

static bool
must_be_1(const struct ctl_msrs *msrs, enum ctl kind, u32 bit)
{
	return msrs->cm[kind] & bit;
}

/* Where there are "true" ones, the others show some bits as 1 that need not be. */
static void
read_ctl_msrs(struct ctl_msrs *msrs)
{
	u64 basic;
	bool true_ctls;

	memset(msrs, 0, sizeof(*msrs));
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	true_ctls = basic & VMX_BASIC_HAS_TRUE_CTLS;
	rdmsrl(true_ctls ? MSR_IA32_VMX_TRUE_PINBASED_CTLS : MSR_IA32_VMX_PINBASED_CTLS,
	       msrs->cm[VMX_PIN]);
	rdmsrl(true_ctls ? MSR_IA32_VMX_TRUE_PROCBASED_CTLS : MSR_IA32_VMX_PROCBASED_CTLS,
	       msrs->cm[VMX_PROC]);
	rdmsrl(true_ctls ? MSR_IA32_VMX_TRUE_EXIT_CTLS : MSR_IA32_VMX_EXIT_CTLS,
	       msrs->cm[VMX_EXIT]);
	rdmsrl(true_ctls ? MSR_IA32_VMX_TRUE_ENTRY_CTLS : MSR_IA32_VMX_ENTRY_CTLS,
	       msrs->cm[VMX_ENTRY]);
	if (may_be_1(msrs, VMX_PROC, PROC_SECONDARY))
		rdmsrl(MSR_IA32_VMX_PROCBASED_CTLS2, msrs->cm[VMX_PROC2]);
}

static const char *
first_missing(const struct ctl_msrs *msrs)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(needs); i++)
		if (needs[i].must_be_0 ? must_be_1(msrs, needs[i].kind, needs[i].bit)
				       : !may_be_1(msrs, needs[i].kind, needs[i].bit))
			return needs[i].why;
	return NULL;
}

/* A bit that is neither wanted nor obligatory is 0. */
static u32
ctl_value(const struct ctl_msrs *msrs, enum ctl kind, u32 dynamic)
{
	u32 value = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(needs); i++)
		if (needs[i].kind == kind && !needs[i].must_be_0)
			value |= needs[i].bit;
	for (i = 0; i < ARRAY_SIZE(wishes); i++)
		if (wishes[i].kind == kind && may_be_1(msrs, kind, wishes[i].bit))
			value |= wishes[i].bit;
	return (value & ~dynamic) | (u32)msrs->cm[kind];
}

static void
read_caps(struct vmx_caps *caps)
{
	struct ctl_msrs msrs;
	u64 basic;

	memset(caps, 0, sizeof(*caps));
	read_ctl_msrs(&msrs);
	caps->vx_ctls = (struct vmx_ctls){
		.vc_pin = ctl_value(&msrs, VMX_PIN, PIN_DYNAMIC),
		.vc_proc = ctl_value(&msrs, VMX_PROC, PROC_DYNAMIC),
		.vc_proc2 = ctl_value(&msrs, VMX_PROC2, 0),
		.vc_exit = ctl_value(&msrs, VMX_EXIT, 0),
		.vc_entry = ctl_value(&msrs, VMX_ENTRY, ENTRY_DYNAMIC),
	};
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	caps->vx_revision = basic & VMX_BASIC_REVISION;
	caps->vx_inout_info = basic & VMX_BASIC_INOUT_INFO;
	caps->vx_unrestricted = caps->vx_ctls.vc_proc2 & PROC2_UNRESTRICTED;
	caps->vx_monitor_trap = may_be_1(&msrs, VMX_PROC, PROC_MONITOR_TRAP);
	caps->vx_preemption_timer = may_be_1(&msrs, VMX_PIN, PIN_PREEMPTION_TIMER);
	rdmsrl(MSR_IA32_VMX_CR0_FIXED0, caps->vx_cr0_fixed0);
	rdmsrl(MSR_IA32_VMX_CR0_FIXED1, caps->vx_cr0_fixed1);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED0, caps->vx_cr4_fixed0);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED1, caps->vx_cr4_fixed1);
	caps->vx_cr0_fixed0 &= ~(u64)(X86_CR0_PE | X86_CR0_PG);
}

static void
read_words(struct ept_words *words)
{
	u32 a, b, c, d;

	memset(words, 0, sizeof(*words));
	cpuid(1, &words->ew_cpuid_1_eax, &b, &words->ew_cpuid_1_ecx, &d);
	cpuid(0x80000001, &a, &b, &words->ew_cpuid_80000001_ecx, &words->ew_cpuid_80000001_edx);
	cpuid(0x80000008, &words->ew_cpuid_80000008_eax, &b, &c, &d);
	/* Memory encryption takes bits away; the kernel knows how many. */
	words->ew_cpuid_80000008_eax &= ~0xffu;
	words->ew_cpuid_80000008_eax |= boot_cpu_data.x86_phys_bits;
	rdmsrl(MSR_EFER, words->ew_host_efer);
	words->ew_host_cr4 = __read_cr4();
	rdmsrl(MSR_IA32_CR_PAT, words->ew_host_pat);
	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		rdmsrl(MSR_IA32_ARCH_CAPABILITIES, words->ew_arch_capabilities);
}

static void
read_vmx_words(struct ept_words *words, const struct ctl_msrs *msrs)
{
	words->ew_procbased_ctls = msrs->cm[VMX_PROC];
	words->ew_procbased_ctls2 = msrs->cm[VMX_PROC2];
	if (may_be_1(msrs, VMX_PROC2, PROC2_EPT) || may_be_1(msrs, VMX_PROC2, PROC2_VPID))
		rdmsrl(MSR_IA32_VMX_EPT_VPID_CAP, words->ew_ept_vpid_cap);
}

/* CPUID is asked, not the kernel's features: those are gone if the firmware disabled VT-x. */
static int
vmx_probe(struct ept_words *words, const char **why)
{
	struct ctl_msrs msrs;
	u64 basic;

	read_words(words);
	if (!(words->ew_cpuid_1_ecx & BIT(5))) {
		*why = "it has no VT-x";
		return -ENODEV;
	}
	rdmsrl(MSR_IA32_FEAT_CTL, words->ew_feature_control);
	if (!(words->ew_feature_control & FEAT_CTL_LOCKED) ||
	    !(words->ew_feature_control & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX)) {
		*why = "VT-x is disabled by the firmware: its setup may have a switch for it";
		return -ENODEV;
	}
	read_ctl_msrs(&msrs);
	*why = first_missing(&msrs);
	if (*why)
		return -ENODEV;
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	if (VMX_BASIC_MEMORY_TYPE(basic) != VMX_MEMORY_WB) {
		*why = "VT-x here wants its structures in memory that is not write-back";
		return -ENODEV;
	}
	read_vmx_words(words, &msrs);
	return 0;
}

/* ---- Memory of the module -------------------------------------------------------------------- */

static void
vmx_fini(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
	{
		free_page((unsigned long)per_cpu(vmxon_page, cpu));
		per_cpu(vmxon_page, cpu) = NULL;
	}
	free_page((unsigned long)vmx_msr_bitmap);
	free_pages((unsigned long)vmx_io_bitmaps, IO_BITMAPS_ORDER);
	vmx_msr_bitmap = NULL;
	vmx_io_bitmaps = NULL;
}

static int
alloc_vmxon_pages(void)
{
	unsigned int cpu;
	void *page;

	for_each_possible_cpu(cpu)
	{
		page = (void *)get_zeroed_page(GFP_KERNEL);
		if (!page)
			return -ENOMEM;
		*(u32 *)page = vmx_caps.vx_revision;
		per_cpu(vmxon_page, cpu) = page;
		vmx_cpu_init(cpu);
	}
	return 0;
}

static int
vmx_init(const struct ept_cpu *cpu)
{
	read_caps(&vmx_caps);
	vmx_caps.vx_vpid = cpu->ec_vpid && vmx_caps.vx_ctls.vc_proc2 & PROC2_VPID;
	if (!(vmx_caps.vx_ctls.vc_proc2 & PROC2_RDTSCP))
		vmm_guest_rdtscp = false;
	if (!vmm_guest_rdtscp)
		vmx_caps.vx_ctls.vc_proc2 &= ~PROC2_RDTSCP;

	vmx_io_bitmaps = (void *)__get_free_pages(GFP_KERNEL, IO_BITMAPS_ORDER);
	vmx_msr_bitmap = (void *)get_zeroed_page(GFP_KERNEL);
	if (!vmx_io_bitmaps || !vmx_msr_bitmap || alloc_vmxon_pages()) {
		vmx_fini();
		return -ENOMEM;
	}
	memset(vmx_io_bitmaps, 0xff, PAGE_SIZE << IO_BITMAPS_ORDER);
	vmx_msr_bitmap_init(vmx_msr_bitmap);
	return 0;
}

/* ---- On and off, here ------------------------------------------------------------------------ */

/* VMCSs travel between CPUs, so they must all be able to do the same. */
static bool
like_the_first(void)
{
	struct vmx_caps here;
	u64 feature_control;

	rdmsrl(MSR_IA32_FEAT_CTL, feature_control);
	if (!(feature_control & FEAT_CTL_LOCKED) ||
	    !(feature_control & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX))
		return false;
	read_caps(&here);
	here.vx_vpid = vmx_caps.vx_vpid;
	if (!vmm_guest_rdtscp)
		here.vx_ctls.vc_proc2 &= ~PROC2_RDTSCP;
	return memcmp(&here, &vmx_caps, sizeof(here)) == 0;
}

/*
 * Translations outlive VMXOFF and VMXON: what may be left of a time before us goes now. Where
 * INVEPT has no type for everything, each address space is flushed at its first entry on this CPU,
 * since vmm_cpu_online_count() has changed.
 */
static bool
flush_everything(void)
{
	if (vmm_ept_cpu.ec_invept_all && !vmx_invept(EPT_INVEPT_ALL, 0))
		return false;
	if (vmx_caps.vx_vpid && vmm_ept_cpu.ec_invvpid_kinds & BIT(EPT_INVVPID_ALL) &&
	    !vmx_invvpid(EPT_INVVPID_ALL, 0, 0))
		return false;
	return true;
}

static int
vmx_cpu_enable(void)
{
	if (__read_cr4() & X86_CR4_VMXE)
		return -EBUSY;
	if (!like_the_first()) {
		pr_err("CPU %u: its VT-x is not that of the first CPU\n", smp_processor_id());
		return -ENODEV;
	}
	cr4_set_bits(X86_CR4_VMXE);
	if (!vmx_on(virt_to_phys(this_cpu_read(vmxon_page)))) {
		cr4_clear_bits(X86_CR4_VMXE);
		return -EIO;
	}
	if (!flush_everything()) {
		vmx_off();
		cr4_clear_bits(X86_CR4_VMXE);
		return -EIO;
	}
	return 0;
}

static void
vmx_cpu_disable(void)
{
	vmx_evict_all_here();
	vmx_off();
	cr4_clear_bits(X86_CR4_VMXE);
}

/* ---- Machines -------------------------------------------------------------------------------- */

/* The bitmaps are the same for all, and the rest belongs to vCPUs. */
static int
vmx_vm_init(struct vm *vm)
{
	vm->vm_arch = NULL;
	return 0;
}

static void
vmx_vm_destroy(struct vm *vm)
{
}

const struct vmm_backend vmx_backend = {
	.vb_name = "VT-x",
	.vb_kind = VMM_CPU_VTX,
	.vb_type = PT_EPT,
	.vb_probe = vmx_probe,
	.vb_init = vmx_init,
	.vb_fini = vmx_fini,
	.vb_cpu_enable = vmx_cpu_enable,
	.vb_cpu_disable = vmx_cpu_disable,
	.vb_vm_init = vmx_vm_init,
	.vb_vm_destroy = vmx_vm_destroy,
	.vb_vcpu_init = vmx_vcpu_init,
	.vb_vcpu_destroy = vmx_vcpu_destroy,
	.vb_vcpu_reset = vmx_vcpu_reset,
	.vb_load = vmx_load,
	.vb_enter = vmx_enter,
	.vb_handle = vmx_handle,
	.vb_can_intr = vmx_can_intr,
	.vb_can_nmi = vmx_can_nmi,
	.vb_window = vmx_window,
	.vb_inject = vmx_inject,
	.vb_get_reg = vmx_get_reg,
	.vb_set_reg = vmx_set_reg,
	.vb_get_desc = vmx_get_desc,
	.vb_set_desc = vmx_set_desc,
	.vb_get_field = vmx_get_field,
	.vb_set_field = vmx_set_field,
	.vb_set_cap = vmx_set_cap,
};
