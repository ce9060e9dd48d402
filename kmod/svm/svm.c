// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// SPDX-FileCopyrightText: The skep authors

/*
 * The CPU under SVM: is it fit, what must be turned on, what does each CPU need.
 *
 * Turning it on is one bit (EFER.SVME) and the address of a page in which VMRUN puts the host's
 * state. That bit is also how users of SVM notice each other: one that finds it set keeps off.
 */

#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include <asm/mem_encrypt.h>
#include <asm/msr.h>
#include <asm/processor.h>

#include "kmod/svm/svm.h"

#define CPUID_SVM 0x8000000au

u32 svm_features;
u64 svm_iopm_pa;
u64 svm_msrpm_pa;
DEFINE_PER_CPU(struct svm_cpu, svm_cpus);

static struct page *svm_iopm;
static struct page *svm_msrpm;

/* ---- Is it fit? ------------------------------------------------------------------------------ */

static u64
read_msr(u32 msr)
{
	u64 value = 0;

	return rdmsrl_safe(msr, &value) ? 0 : value;
}

static void
read_words(struct ept_words *w)
{
	const u32 leaves = cpuid_eax(0x80000000);
	u32 unused;

	memset(w, 0, sizeof(*w));
	cpuid(1, &w->ew_cpuid_1_eax, &unused, &w->ew_cpuid_1_ecx, &unused);
	if (leaves >= 0x80000001)
		cpuid(0x80000001, &unused, &unused, &w->ew_cpuid_80000001_ecx,
		      &w->ew_cpuid_80000001_edx);
	if (leaves >= 0x80000008)
		w->ew_cpuid_80000008_eax = cpuid_eax(0x80000008);
	/* The kernel knows how many bits memory encryption takes. */
	if (boot_cpu_data.x86_phys_bits < (w->ew_cpuid_80000008_eax & 0xff))
		w->ew_cpuid_80000008_eax =
			(w->ew_cpuid_80000008_eax & ~0xffu) | boot_cpu_data.x86_phys_bits;
	w->ew_host_efer = read_msr(MSR_EFER);
	w->ew_host_cr4 = __read_cr4();
	w->ew_host_pat = read_msr(MSR_IA32_CR_PAT);
	/* Another vendor's CPU has neither the leaf nor the registers. */
	if (leaves >= CPUID_SVM)
		cpuid(CPUID_SVM, &w->ew_cpuid_8000000a_eax, &w->ew_cpuid_8000000a_ebx, &unused,
		      &w->ew_cpuid_8000000a_edx);
	w->ew_vm_cr = read_msr(MSR_VM_CR);
	w->ew_osvw_id_length = read_msr(MSR_AMD64_OSVW_ID_LENGTH);
	w->ew_osvw_status = read_msr(MSR_AMD64_OSVW_STATUS);
}

static int
svm_probe(struct ept_words *words, const char **why)
{
	struct ept_cpu cpu;
	int error;

	read_words(words);
	error = ept_caps_rvi(words, NULL, &cpu, why);
	if (error)
		return error;
	if (sme_me_mask) {
		*why = "Memory encryption (SME) is on; nested tables in encrypted memory are not "
		       "supported: boot with mem_encrypt=off.";
		return -ENODEV;
	}
	svm_features = words->ew_cpuid_8000000a_edx;
	return 0;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static void
svm_fini(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
	{
		struct svm_cpu *sc = per_cpu_ptr(&svm_cpus, cpu);

		WARN_ON_ONCE(sc->sc_enabled);
		if (sc->sc_hsave)
			__free_page(sc->sc_hsave);
		if (sc->sc_host)
			__free_page(sc->sc_host);
		*sc = (struct svm_cpu){};
	}
	if (svm_iopm)
		__free_pages(svm_iopm, get_order(SVM_IOPM_BYTES));
	if (svm_msrpm)
		__free_pages(svm_msrpm, get_order(SVM_MSRPM_BYTES));
	svm_iopm = NULL;
	svm_msrpm = NULL;
}

static int
svm_init(const struct ept_cpu *ept)
{
	int cpu;

	if (ept->ec_type != PT_RVI)
		return -EINVAL;
	svm_iopm = alloc_pages(GFP_KERNEL, get_order(SVM_IOPM_BYTES));
	svm_msrpm = alloc_pages(GFP_KERNEL, get_order(SVM_MSRPM_BYTES));
	if (!svm_iopm || !svm_msrpm)
		goto no_memory;
	memset(page_address(svm_iopm), 0xff, SVM_IOPM_BYTES);
	svm_msrpm_fill(page_address(svm_msrpm));
	svm_iopm_pa = page_to_phys(svm_iopm);
	svm_msrpm_pa = page_to_phys(svm_msrpm);
	for_each_possible_cpu(cpu)
	{
		struct svm_cpu *sc = per_cpu_ptr(&svm_cpus, cpu);

		sc->sc_hsave = alloc_page(GFP_KERNEL | __GFP_ZERO);
		sc->sc_host = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!sc->sc_hsave || !sc->sc_host)
			goto no_memory;
	}
	return 0;

no_memory:
	svm_fini();
	return -ENOMEM;
}

/* ---- On and off ------------------------------------------------------------------------------ */

static int
svm_cpu_enable(void)
{
	struct svm_cpu *sc = this_cpu_ptr(&svm_cpus);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME)
		return -EBUSY;
	if (read_msr(MSR_VM_CR) & SVM_VM_CR_DISABLED)
		return -ENODEV; /* firmware treats this CPU otherwise than the one that was asked */
	wrmsrl(MSR_EFER, efer | EFER_SVME);
	wrmsrl(MSR_VM_HSAVE_PA, page_to_phys(sc->sc_hsave));
	sc->sc_enabled = true;
	return 0;
}

/* On a CPU that is crashing GIF may be 0, and would stay so for the next kernel. */
static void
svm_cpu_disable(void)
{
	struct svm_cpu *sc = this_cpu_ptr(&svm_cpus);
	u64 efer;

	if (!sc->sc_enabled)
		return;
	sc->sc_enabled = false;
	asm volatile("stgi" ::: "memory");
	wrmsrl(MSR_VM_HSAVE_PA, 0);
	rdmsrl(MSR_EFER, efer);
	wrmsrl(MSR_EFER, efer & ~EFER_SVME);
}

const struct vmm_backend svm_backend = {
	.vb_name = "SVM",
	.vb_kind = VMM_CPU_SVM,
	.vb_type = PT_RVI,
	.vb_probe = svm_probe,
	.vb_init = svm_init,
	.vb_fini = svm_fini,
	.vb_cpu_enable = svm_cpu_enable,
	.vb_cpu_disable = svm_cpu_disable,
	.vb_vm_init = svm_vm_init,
	.vb_vm_destroy = svm_vm_destroy,
	.vb_vcpu_init = svm_vcpu_init,
	.vb_vcpu_destroy = svm_vcpu_destroy,
	.vb_vcpu_reset = svm_vcpu_reset,
	.vb_load = svm_load,
	.vb_enter = svm_enter,
	.vb_handle = svm_handle,
	.vb_can_intr = svm_can_intr,
	.vb_can_nmi = svm_can_nmi,
	.vb_window = svm_window,
	.vb_inject = svm_inject,
	.vb_get_reg = svm_get_reg,
	.vb_set_reg = svm_set_reg,
	.vb_get_desc = svm_get_desc,
	.vb_set_desc = svm_set_desc,
	.vb_get_field = svm_get_field,
	.vb_set_field = svm_set_field,
	.vb_set_cap = svm_set_cap,
};
