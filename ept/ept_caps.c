/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Capability words -> what a pmap may use.
 *
 * Each type's decoder first asks, in the order in which a person would look for the cause, for what
 * we cannot do without, and stops at the first thing missing. The answer is built in a local struct
 * and handed over at the end, so a refusal leaves nothing half filled.
 *
 * A VMX "allowed-1" control is announced in the high half of its MSR: bit 32 + n says that control
 * n may be set (SDM vol. 3D A.3).
 */

#include "ept/ept.h"
#include "ept/ept_bits.h"

static const struct ept_policy use_everything;

static int
refuse(const char **why, const char *sentence)
{
	*why = sentence;
	return -ENODEV;
}

/* CPUID 1 EAX, "display" family and model (SDM vol. 2A, CPUID; APM vol. 3 E.3.2). */
static unsigned int
cpu_family(const struct ept_words *w)
{
	const unsigned int base = w->ew_cpuid_1_eax >> 8 & 0xf;

	return base == 0xf ? base + (w->ew_cpuid_1_eax >> 20 & 0xff) : base;
}

static unsigned int
cpu_model(const struct ept_words *w)
{
	return (w->ew_cpuid_1_eax >> 12 & 0xf0) | (w->ew_cpuid_1_eax >> 4 & 0xf);
}

/*
 * Intel's "machine check error on page size change": an instruction fetch that meets the iTLB with
 * pages of two sizes for one address may stop the CPU. Newer CPUs say that they are free of it in
 * IA32_ARCH_CAPABILITIES; of those too old to say so, these models of family 6 are, by Intel's
 * list.
 */
static bool
has_itlb_multihit(const struct ept_words *w)
{
	static const uint8_t spared[] = {
		0x1c, 0x26, 0x27, 0x35, 0x36,	    /* Bonnell, Saltwell */
		0x37, 0x4a, 0x4c, 0x4d, 0x5a, 0x75, /* Silvermont, Airmont */
		0x5c, 0x5f, 0x7a, 0x86,		    /* Goldmont, Tremont */
		0x57, 0x85,			    /* Xeon Phi */
	};
	size_t i;

	if (cpu_family(w) != 6 || (w->ew_arch_capabilities & ARCH_CAP_IF_PSCHANGE_MC_NO))
		return false;
	for (i = 0; i < sizeof(spared); i++) {
		if (cpu_model(w) == spared[i])
			return false;
	}
	return true;
}

/*
 * AMD erratum 383: family 10h may stop when a TLB holds pages of two sizes for one address. The
 * list of OS-visible workarounds tells which CPUs are free of it: the erratum has ID 3 there; if
 * the list reaches that far, its status bit decides. (Revision Guide for AMD Family 10h
 * Processors.)
 */
static bool
has_erratum_383(const struct ept_words *w)
{
	if (cpu_family(w) != 0x10)
		return false;
	if ((w->ew_cpuid_80000001_ecx & CPUID_80000001_ECX_OSVW) == 0 ||
	    w->ew_osvw_id_length <= OSVW_ID_ERRATUM_383)
		return true;
	return (w->ew_osvw_status >> OSVW_ID_ERRATUM_383 & 1) != 0;
}

/* Leaves of system memory are write-back, so an entry must say so (SDM vol. 3A 12.12). */
static bool
pat_has_wb(uint64_t pat)
{
	unsigned int i;

	for (i = 0; i < 8; i++) {
		if ((pat >> (8 * i) & 7) == MEMTYPE_WB)
			return true;
	}
	return false;
}

/* What every type needs and what is decoded alike for all. */
static int
common(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *c,
       const char **why)
{
	unsigned int bits = w->ew_cpuid_80000008_eax & 0xff;

	/* CPUs without this leaf have 36 (SDM vol. 3A 4.1.4). */
	if (w->ew_cpuid_80000008_eax == 0)
		bits = 36;
	if (bits < 36 || bits > 52)
		return refuse(why, "CPUID 80000008H reports a physical address width outside "
				   "36 to 52 bits.");
	c->ec_caps.pc_phys_bits = (uint8_t)bits;
	c->ec_caps.pc_pat = w->ew_host_pat;
	c->ec_caps.pc_leaf_levels = 1;
	if (!policy->ep_no_superpages)
		c->ec_flags |= PMAP_PDE_SUPERPAGE;
	if (has_itlb_multihit(w) || has_erratum_383(w))
		c->ec_flags |= PMAP_MIXED_SIZE_ERRATUM;
	*why = NULL;
	return 0;
}

/* X86 and RVI follow the paging mode that the host is in (APM vol. 2 15.25.3). */
static int
host_paging(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *c,
	    const char **why)
{
	int error;

	if (!(w->ew_cpuid_80000001_edx & CPUID_80000001_EDX_LM) ||
	    !(w->ew_host_efer & EPT_EFER_LMA))
		return refuse(why, "The host is not in long mode (EFER bit 10 is 0).");
	if (!pat_has_wb(w->ew_host_pat))
		return refuse(why, "The host's PAT has no write-back entry.");
	error = common(w, policy, c, why);
	if (error != 0)
		return error;

	c->ec_caps.pc_levels = (w->ew_host_cr4 & EPT_CR4_LA57) ? 5 : 4;
	if (policy->ep_levels != 0 && policy->ep_levels != c->ec_caps.pc_levels)
		return refuse(why, "The host's own paging has another number of levels than asked "
				   "for.");
	if (!policy->ep_no_superpages)
		c->ec_caps.pc_leaf_levels =
			(w->ew_cpuid_80000001_edx & CPUID_80000001_EDX_PAGE1GB) ? 3 : 2;
	c->ec_caps.pc_nx = (w->ew_cpuid_80000001_edx & CPUID_80000001_EDX_NX) &&
			   (w->ew_host_efer & EPT_EFER_NXE);
	return 0;
}

/* ---- Intel ----------------------------------------------------------------------------------- */

static int
vmx_present(const struct ept_words *w, const char **why)
{
	const uint64_t feature = w->ew_feature_control;

	if (!(w->ew_cpuid_1_ecx & CPUID_1_ECX_VMX))
		return refuse(why, "The CPU has no VT-x (CPUID 1 ECX bit 5 is 0).");
	if ((feature & FEATURE_CONTROL_LOCKED) && !(feature & FEATURE_CONTROL_VMX))
		return refuse(why, "Firmware has disabled VT-x (IA32_FEATURE_CONTROL is locked "
				   "with bit 2 clear).");
	if (!(w->ew_procbased_ctls & ALLOWED_1(CTL_SECONDARY)))
		return refuse(why, "The CPU has no secondary processor-based controls, thus no "
				   "EPT.");
	if (!(w->ew_procbased_ctls2 & ALLOWED_1(CTL2_EPT)))
		return refuse(why, "The CPU has no EPT (secondary control 1 cannot be set).");
	return 0;
}

static int
ept_walk_levels(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *c,
		const char **why)
{
	const bool four = (w->ew_ept_vpid_cap & EPT_CAP_WALK_4) != 0;
	const bool five = (w->ew_ept_vpid_cap & EPT_CAP_WALK_5) != 0;
	const unsigned int wanted = policy->ep_levels ? policy->ep_levels : five ? 5 : 4;

	if (!four && !five)
		return refuse(why, "EPT walks neither 4 nor 5 levels (IA32_VMX_EPT_VPID_CAP bits "
				   "6 and 7 are 0).");
	if (wanted != 4 && wanted != 5)
		return refuse(why, "EPT can walk 4 or 5 levels, not as many as asked for.");
	if (wanted == 4 && !four)
		return refuse(why, "EPT cannot walk 4 levels (IA32_VMX_EPT_VPID_CAP bit 6 is 0).");
	if (wanted == 5 && !five)
		return refuse(why, "EPT cannot walk 5 levels (IA32_VMX_EPT_VPID_CAP bit 7 is 0).");
	c->ec_caps.pc_levels = (uint8_t)wanted;
	return 0;
}

/* Flushing: without INVEPT no mapping could ever be taken back. */
static int
ept_flushes(const struct ept_words *w, struct ept_cpu *c, const char **why)
{
	const uint64_t cap = w->ew_ept_vpid_cap;
	const bool single = (cap & EPT_CAP_INVEPT_SINGLE) != 0;

	if (!(cap & EPT_CAP_INVEPT))
		return refuse(why, "The CPU has no INVEPT (IA32_VMX_EPT_VPID_CAP bit 20 is 0).");
	c->ec_invept_all = (cap & EPT_CAP_INVEPT_ALL) != 0;
	if (!single && !c->ec_invept_all)
		return refuse(why, "The CPU has INVEPT but none of its types "
				   "(IA32_VMX_EPT_VPID_CAP bits 25 and 26 are 0).");
	c->ec_invept = single ? EPT_INVEPT_SINGLE : EPT_INVEPT_ALL;

	/*
	 * VPIDs are a gain, not a need: without them every VM transition drops linear and combined
	 * translations (SDM vol. 3C 29.4.3.1). One that cannot be flushed is worse than none.
	 */
	if (!(w->ew_procbased_ctls2 & ALLOWED_1(CTL2_VPID)) || !(cap & EPT_CAP_INVVPID))
		return 0;
	c->ec_invvpid_kinds = (uint8_t)(cap >> EPT_CAP_INVVPID_KINDS_SHIFT & 0xf);
	c->ec_vpid =
		(c->ec_invvpid_kinds & (1u << EPT_INVVPID_SINGLE | 1u << EPT_INVVPID_ALL)) != 0;
	if (c->ec_vpid)
		c->ec_invvpid = (c->ec_invvpid_kinds & 1u << EPT_INVVPID_SINGLE)
					? EPT_INVVPID_SINGLE
					: EPT_INVVPID_ALL;
	return 0;
}

int
ept_caps_ept(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *cpu,
	     const char **why)
{
	const uint64_t cap = w->ew_ept_vpid_cap;
	struct ept_cpu c = {.ec_type = PT_EPT};
	int error;

	if (policy == NULL)
		policy = &use_everything;
	error = vmx_present(w, why);
	if (error == 0)
		error = ept_walk_levels(w, policy, &c, why);
	if (error == 0 && !(cap & EPT_CAP_WB))
		error = refuse(why, "EPT tables cannot be in write-back memory "
				    "(IA32_VMX_EPT_VPID_CAP bit 14 is 0).");
	if (error == 0)
		error = ept_flushes(w, &c, why);
	if (error == 0)
		error = common(w, policy, &c, why);
	if (error != 0)
		return error;

	if (!policy->ep_no_superpages && (cap & EPT_CAP_2M))
		c.ec_caps.pc_leaf_levels = (cap & EPT_CAP_1G) ? 3 : 2;
	if (c.ec_caps.pc_leaf_levels == 1)
		c.ec_flags &= ~PMAP_PDE_SUPERPAGE;

	c.ec_eptp_ad = (cap & EPT_CAP_AD) && !policy->ep_no_hw_ad;
	c.ec_caps.pc_emulate_ad = !c.ec_eptp_ad;
	if (c.ec_caps.pc_emulate_ad)
		c.ec_flags |= PMAP_EMULATE_AD_BITS;

	/* Emulation keeps A where hardware has the right to read: no X without it. */
	c.ec_caps.pc_exec_only =
		(cap & EPT_CAP_EXEC_ONLY) && !policy->ep_no_exec_only && c.ec_eptp_ad;
	if (c.ec_caps.pc_exec_only)
		c.ec_flags |= PMAP_SUPPORTS_EXEC_ONLY;

	c.ec_caps.pc_ignore_guest_pat = !policy->ep_guest_pat;
	*cpu = c;
	return 0;
}

/* ---- AMD, and ordinary paging ---------------------------------------------------------------- */

int
ept_caps_rvi(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *cpu,
	     const char **why)
{
	struct ept_cpu c = {.ec_type = PT_RVI};
	int error;

	if (policy == NULL)
		policy = &use_everything;
	if (!(w->ew_cpuid_80000001_ecx & CPUID_80000001_ECX_SVM))
		return refuse(why, "The CPU has no SVM (CPUID 80000001H ECX bit 2 is 0).");
	if (w->ew_vm_cr & VM_CR_SVMDIS)
		return refuse(why, "Firmware has disabled SVM (VM_CR bit 4 is 1).");
	if (!(w->ew_cpuid_8000000a_edx & CPUID_8000000A_EDX_NP))
		return refuse(why,
			      "The CPU has no nested paging (CPUID 8000000AH EDX bit 0 is 0).");
	if (w->ew_cpuid_8000000a_ebx < 2)
		return refuse(why,
			      "The CPU has no ASID for guests (CPUID 8000000AH EBX is below 2).");
	error = host_paging(w, policy, &c, why);
	if (error != 0)
		return error;

	c.ec_nasids = w->ew_cpuid_8000000a_ebx;
	c.ec_flush_by_asid = (w->ew_cpuid_8000000a_edx & CPUID_8000000A_EDX_FLUSH_BY_ASID) != 0;
	*cpu = c;
	return 0;
}

int
ept_caps_x86(const struct ept_words *w, const struct ept_policy *policy, struct ept_cpu *cpu,
	     const char **why)
{
	struct ept_cpu c = {.ec_type = PT_X86};
	int error;

	if (policy == NULL)
		policy = &use_everything;
	error = host_paging(w, policy, &c, why);
	if (error != 0)
		return error;

	c.ec_caps.pc_user = policy->ep_user;
	c.ec_caps.pc_global = policy->ep_global;
	*cpu = c;
	return 0;
}

int
ept_caps(enum pt_type type, const struct ept_words *w, const struct ept_policy *policy,
	 struct ept_cpu *cpu, const char **why)
{
	switch (type) {
	case PT_EPT:
		return ept_caps_ept(w, policy, cpu, why);
	case PT_RVI:
		return ept_caps_rvi(w, policy, cpu, why);
	case PT_X86:
		return ept_caps_x86(w, policy, cpu, why);
	default:
		return refuse(why, "There is no such type of page table.");
	}
}

void
ept_pmap_config(const struct ept_cpu *cpu, struct pmap_config *cfg)
{
	cfg->pc_type = cpu->ec_type;
	cfg->pc_flags = cpu->ec_flags;
	cfg->pc_caps = cpu->ec_caps;
}
