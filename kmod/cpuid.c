/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a guest's CPUID tells: the host's CPU, less what guests cannot use here.
 *
 * Features pass by a list of those that need nothing of us: a new one is hidden until somebody has
 * thought about it. Hidden for a reason: virtualization itself; XSAVE and all that needs it (AVX,
 * ...), since guests run on the FXSAVE state alone (run.c); MONITOR; PCID, INVPCID; performance
 * counters, tracing, power and microcode matters; speculation controls, whose MSRs are not offered.
 *
 * x2APIC and TSC deadline are emulated, and offered with interrupt hardware alone.
 *
 * Topology: one package, as many cores as the machine may have vCPUs, one thread each; the APIC id
 * is the vCPU's number.
 */

#include <linux/bitops.h>
#include <linux/log2.h>
#include <asm/processor.h>

#include "kmod/platform/lapic.h"
#include "kmod/vmm_priv.h"

struct leaf {
	u32 eax, ebx, ecx, edx;
};

/* ---- Lists: by bit number (SDM vol. 2A, CPUID; APM vol. 3, appendix E) ----------------------- */

#define F(n) (1u << (n))

/* FPU VME DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS */
#define LEAF1_EDX                                                                               \
	(F(0) | F(1) | F(2) | F(3) | F(4) | F(5) | F(6) | F(8) | F(9) | F(11) | F(13) | F(15) | \
	 F(16) | F(17) | F(19) | F(23) | F(24) | F(25) | F(26) | F(27))
#define LEAF1_EDX_HTT F(28)
/* SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND */
#define LEAF1_ECX (F(0) | F(1) | F(9) | F(13) | F(19) | F(20) | F(22) | F(23) | F(25) | F(30))
#define LEAF1_ECX_HYPERVISOR F(31)
/* With interrupt hardware. */
#define LEAF1_EDX_APIC F(9)
#define LEAF1_ECX_X2APIC F(21)
#define LEAF1_ECX_TSC_DEADLINE F(24)
/* FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
#define LEAF7_EBX (F(0) | F(3) | F(7) | F(8) | F(9) | F(18) | F(19) | F(20) | F(23) | F(24) | F(29))
#define LEAF7_EDX F(4) /* FSRM */
/* As leaf 1, and SYSCALL NX MMXEXT 1 GiB RDTSCP LM 3DNOWEXT 3DNOW */
#define LEAF8_1_EDX \
	((LEAF1_EDX & 0x0183f3ffu) | F(11) | F(20) | F(22) | F(26) | F(27) | F(29) | F(30) | F(31))
#define LEAF8_1_EDX_RDTSCP F(27)
/* LAHF CR8 ABM SSE4A MISALIGNSSE PREFETCHW */
#define LEAF8_1_ECX (F(0) | F(4) | F(5) | F(6) | F(7) | F(8))
#define LEAF8_1_ECX_CMP F(1)
#define LEAF8_7_EDX F(8) /* invariant TSC */

#define LAST_BASIC 0xbu
#define LAST_BASIC_FREQUENCY 0x15u
#define LAST_EXTENDED 0x80000008u

/* ---- Topology -------------------------------------------------------------------------------- */

static unsigned int
core_bits(const struct vm *vm)
{
	return vm->vm_maxcpu > 1 ? order_base_2(vm->vm_maxcpu) : 0;
}

/* Deterministic caches: private to a core, but the last one is the package's. */
static void
caches(const struct vm *vm, struct leaf *l)
{
	const u32 level = l->eax >> 5 & 7;
	const u32 sharing = level >= 3 ? (1u << core_bits(vm)) - 1 : 0;

	if ((l->eax & 31) == 0) /* no more caches */
		return;
	l->eax &= 0x3ff;
	l->eax |= sharing << 14 | ((1u << core_bits(vm)) - 1) << 26;
}

/* Threads, then cores (SDM vol. 2A, leaf 0BH). */
static void
topology(struct vcpu *vcpu, u32 sub, struct leaf *l)
{
	*l = (struct leaf){.ecx = sub & 0xff, .edx = vcpu->vc_id};
	if (sub == 0) {
		l->ebx = 1;
		l->ecx |= 1 << 8;
	} else if (sub == 1) {
		l->eax = core_bits(vcpu->vc_vm);
		l->ebx = vcpu->vc_vm->vm_maxcpu;
		l->ecx |= 2 << 8;
	}
}

/* ---- Leaves ---------------------------------------------------------------------------------- */

unsigned int
cpuid_guest_phys_bits(void)
{
	const unsigned int bits = boot_cpu_data.x86_phys_bits;

	return clamp(bits, 32u, 52u);
}

static void
leaf_1(struct vcpu *vcpu, struct leaf *l)
{
	const struct vm *const vm = vcpu->vc_vm;

	l->ebx &= 0x0000ffff; /* brand index, CLFLUSH size */
	l->ebx |= vcpu->vc_id << 24;
	l->edx &= LEAF1_EDX;
	l->ecx &= LEAF1_ECX;
	l->ecx |= LEAF1_ECX_HYPERVISOR;
	if (vcpu->vc_platform)
		l->ecx |= LEAF1_ECX_X2APIC;
	if (vcpu_platform_tsc_khz(vcpu))
		l->ecx |= LEAF1_ECX_TSC_DEADLINE;
	if (!vcpu_platform_apic_on(vcpu))
		l->edx &= ~LEAF1_EDX_APIC;
	if (vm->vm_maxcpu > 1) {
		l->ebx |= (1u << core_bits(vm)) << 16;
		l->edx |= LEAF1_EDX_HTT;
	}
}

/* Leaf 15H, of Intel's CPUs. */
static bool
tells_frequency(const struct vcpu *vcpu)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_INTEL && vcpu_platform_tsc_khz(vcpu);
}

/*
 * The TSC as a ratio to the "crystal", by which operating systems take the local APIC's timer to
 * count as well: so that is the one here.
 */
static void
frequency(struct vcpu *vcpu, struct leaf *l)
{
	*l = (struct leaf){0};
	if (!tells_frequency(vcpu))
		return;
	l->eax = LAPIC_TIMER_HZ / 1000;
	l->ebx = vcpu_platform_tsc_khz(vcpu);
	l->ecx = LAPIC_TIMER_HZ;
}

static void
leaf_hypervisor(u32 leaf, struct leaf *l)
{
	static const char vendor[] = VMM_CPUID_VENDOR;

	BUILD_BUG_ON(sizeof(vendor) != 13);
	*l = (struct leaf){0};
	if (leaf == VMM_CPUID_LEAF) {
		l->eax = VMM_CPUID_LEAF + 1;
		memcpy(&l->ebx, vendor, 4);
		memcpy(&l->ecx, vendor + 4, 4);
		memcpy(&l->edx, vendor + 8, 4);
	} else if (leaf == VMM_CPUID_LEAF + 1) {
		l->eax = VMM_ABI_VERSION;
	}
}

static void
leaf_extended(struct vcpu *vcpu, u32 leaf, struct leaf *l)
{
	const u32 maxcpu = vcpu->vc_vm->vm_maxcpu;
	const bool amd = boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
			 boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;

	switch (leaf) {
	case 0x80000000:
		l->eax = min(l->eax, LAST_EXTENDED);
		break;
	case 0x80000001:
		l->edx &= LEAF8_1_EDX;
		if (!vmm_guest_rdtscp)
			l->edx &= ~LEAF8_1_EDX_RDTSCP;
		l->ecx &= LEAF8_1_ECX;
		if (amd && maxcpu > 1)
			l->ecx |= LEAF8_1_ECX_CMP;
		break;
	case 0x80000002 ... 0x80000006: /* brand, caches and TLBs of AMD */
		break;
	case 0x80000007:
		*l = (struct leaf){.edx = l->edx & LEAF8_7_EDX};
		break;
	case 0x80000008:
		l->eax = cpuid_guest_phys_bits() | 48 << 8;
		l->ebx = 0;
		l->ecx = amd ? core_bits(vcpu->vc_vm) << 12 | (maxcpu - 1) : 0;
		l->edx = 0;
		break;
	default:
		*l = (struct leaf){0};
		break;
	}
}

static void
leaf_basic(struct vcpu *vcpu, u32 leaf, u32 sub, struct leaf *l)
{
	switch (leaf) {
	case 0:
		l->eax = tells_frequency(vcpu) ? LAST_BASIC_FREQUENCY : min(l->eax, LAST_BASIC);
		break;
	case 1:
		leaf_1(vcpu, l);
		break;
	case 2: /* descriptors of caches and TLBs */
		break;
	case 4:
		caches(vcpu->vc_vm, l);
		break;
	case 7:
		*l = (struct leaf){
			.ebx = sub == 0 ? l->ebx & LEAF7_EBX : 0,
			.edx = sub == 0 ? l->edx & LEAF7_EDX : 0,
		};
		break;
	case 0xb:
		topology(vcpu, sub, l);
		break;
	case LAST_BASIC_FREQUENCY:
		frequency(vcpu, l);
		break;
	default:
		*l = (struct leaf){0};
		break;
	}
}

/* Beyond the last leaf Intel's CPUs answer with the last basic one; others, and we, with zeros. */
int
exit_cpuid(struct vcpu *vcpu, unsigned int inst_bytes)
{
	const u32 leaf = vcpu_reg(vcpu, VMM_REG_RAX);
	const u32 sub = vcpu_reg(vcpu, VMM_REG_RCX);
	struct leaf l = {0};

	vcpu_count(vcpu, VCPU_STAT_EXITS_CPUID);
	if (leaf >> 28 == 4) {
		leaf_hypervisor(leaf, &l);
	} else {
		/*
		 * The host's own does not go beyond its last leaf; what is hidden anyway costs
		 * nothing.
		 */
		if (leaf >= 0x80000000 ? leaf <= cpuid_eax(0x80000000)
				       : leaf <= (u32)boot_cpu_data.cpuid_level)
			cpuid_count(leaf, sub, &l.eax, &l.ebx, &l.ecx, &l.edx);
		if (leaf >= 0x80000000)
			leaf_extended(vcpu, leaf, &l);
		else
			leaf_basic(vcpu, leaf, sub, &l);
	}
	vcpu_set_reg(vcpu, VMM_REG_RAX, l.eax);
	vcpu_set_reg(vcpu, VMM_REG_RBX, l.ebx);
	vcpu_set_reg(vcpu, VMM_REG_RCX, l.ecx);
	vcpu_set_reg(vcpu, VMM_REG_RDX, l.edx);
	vcpu_skip(vcpu, inst_bytes);
	return VCPU_RESUME;
}
