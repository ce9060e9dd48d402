/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Capability words: golden ones as Bochs reports them, and for each thing that we need, a CPU that
 * has everything else.
 */

#include <criterion/criterion.h>
#include <string.h>

#include "ept/ept.h"

#define PAT_RESET 0x0007040600070406

/* Bochs 2.7, corei7_haswell_4770, under a kernel in long mode. */
static const struct ept_words haswell = {
	.ew_cpuid_1_eax = 0x000306c3,
	.ew_cpuid_1_ecx = 1 << 5,
	.ew_cpuid_80000001_edx = 0x2c100800,
	.ew_cpuid_80000008_eax = 0x3028,
	.ew_host_efer = 0xd01,
	.ew_host_cr4 = 0x6f0,
	.ew_host_pat = PAT_RESET,
	.ew_feature_control = 5,
	.ew_procbased_ctls = 0xfff9fffe0401e172,
	.ew_procbased_ctls2 = 0x0047fff00000000,
	.ew_ept_vpid_cap = 0xf0106334141,
};

/* QEMU 7.2, -cpu EPYC with SVM. */
static const struct ept_words qemu = {
	.ew_cpuid_1_eax = 0x00800f12,
	.ew_cpuid_80000001_ecx = 1 << 2,
	.ew_cpuid_80000001_edx = 0x2fd3fbff,
	.ew_cpuid_80000008_eax = 0x3028,
	.ew_host_efer = 0x1d01,
	.ew_host_cr4 = 0x6f0,
	.ew_host_pat = PAT_RESET,
	.ew_cpuid_8000000a_eax = 1,
	.ew_cpuid_8000000a_ebx = 16,
	.ew_cpuid_8000000a_edx = 1,
};

static struct ept_cpu
decoded(enum pt_type type, const struct ept_words *w, const struct ept_policy *policy)
{
	const char *why = "untouched";
	struct ept_cpu cpu;
	int error;

	memset(&cpu, 0xa5, sizeof(cpu));
	error = ept_caps(type, w, policy, &cpu, &why);
	cr_assert(error == 0, "refused: %s", why);
	cr_assert(why == NULL, "a sentence after success");
	cr_assert(cpu.ec_type == type);
	return cpu;
}

/* Refused, for a reason that the sentence names, and nothing is filled in. */
static void
refused(enum pt_type type, const struct ept_words *w, const struct ept_policy *policy,
	const char *named)
{
	struct ept_cpu cpu, before;
	const char *why = NULL;

	memset(&cpu, 0xa5, sizeof(cpu));
	before = cpu;
	cr_assert(ept_caps(type, w, policy, &cpu, &why) == -ENODEV, "accepted without %s", named);
	cr_assert(why != NULL && strstr(why, named) != NULL, "\"%s\" does not name %s", why, named);
	cr_assert(why[strlen(why) - 1] == '.', "\"%s\" is no sentence", why);
	cr_assert(memcmp(&cpu, &before, sizeof(cpu)) == 0, "changed by a refusal");
}

Test(ept_caps, haswell)
{
	const struct ept_cpu cpu = decoded(PT_EPT, &haswell, NULL);

	cr_assert(cpu.ec_flags ==
		  (PMAP_PDE_SUPERPAGE | PMAP_SUPPORTS_EXEC_ONLY | PMAP_MIXED_SIZE_ERRATUM));
	cr_assert(cpu.ec_caps.pc_levels == 4);
	cr_assert(cpu.ec_caps.pc_leaf_levels == 3);
	cr_assert(cpu.ec_caps.pc_phys_bits == 40);
	cr_assert(cpu.ec_caps.pc_exec_only);
	cr_assert(!cpu.ec_caps.pc_emulate_ad);
	cr_assert(cpu.ec_caps.pc_ignore_guest_pat);
	cr_assert(cpu.ec_eptp_ad);
	cr_assert(cpu.ec_invept == EPT_INVEPT_SINGLE);
	cr_assert(cpu.ec_invept_all);
	cr_assert(cpu.ec_vpid);
	cr_assert(cpu.ec_invvpid == EPT_INVVPID_SINGLE);
	cr_assert(cpu.ec_invvpid_kinds == 0xf);
}

/* The same word serves lynnfield to ivybridge; it lacks bits 17 (1 GiB) and 21 (A/D). */
Test(ept_caps, ivybridge)
{
	struct ept_words w = haswell;
	struct ept_cpu cpu;

	w.ew_cpuid_1_eax = 0x000306a9;
	w.ew_procbased_ctls2 = 0x8ff00000000;
	w.ew_ept_vpid_cap = 0xf0106114141;
	cpu = decoded(PT_EPT, &w, NULL);
	cr_assert(cpu.ec_flags ==
		  (PMAP_PDE_SUPERPAGE | PMAP_EMULATE_AD_BITS | PMAP_MIXED_SIZE_ERRATUM));
	cr_assert(cpu.ec_caps.pc_leaf_levels == 2);
	cr_assert(cpu.ec_caps.pc_emulate_ad);
	cr_assert(!cpu.ec_eptp_ad);
	cr_assert(!cpu.ec_caps.pc_exec_only); /* the CPU could, emulation cannot */
}

Test(ept_caps, qemu)
{
	const struct ept_cpu cpu = decoded(PT_RVI, &qemu, NULL);

	cr_assert(cpu.ec_flags == PMAP_PDE_SUPERPAGE);
	cr_assert(cpu.ec_caps.pc_pat == PAT_RESET);
	cr_assert(cpu.ec_caps.pc_levels == 4);
	cr_assert(cpu.ec_caps.pc_leaf_levels == 3);
	cr_assert(cpu.ec_caps.pc_phys_bits == 40);
	cr_assert(cpu.ec_caps.pc_nx);
	cr_assert(!cpu.ec_caps.pc_user); /* always so in the format, not asked for */
	cr_assert(!cpu.ec_caps.pc_emulate_ad);
	cr_assert(cpu.ec_nasids == 16);
	cr_assert(!cpu.ec_flush_by_asid);
}

Test(ept_caps, zambezi_flushes_by_asid)
{
	struct ept_words w = qemu;
	struct ept_cpu cpu;

	w.ew_cpuid_8000000a_ebx = 64;
	w.ew_cpuid_8000000a_edx = 0x44f;
	cpu = decoded(PT_RVI, &w, NULL);
	cr_assert(cpu.ec_nasids == 64);
	cr_assert(cpu.ec_flush_by_asid);
}

/* Bits that something we need is announced by: clearing one refuses the CPU. */
Test(ept_caps, ept_needs)
{
	static const struct {
		size_t offset, size;
		uint64_t clear;
		const char *named;
	} needs[] = {
		{offsetof(struct ept_words, ew_cpuid_1_ecx), 4, 1 << 5, "VT-x"},
		{offsetof(struct ept_words, ew_feature_control), 8, 1 << 2, "Firmware"},
		{offsetof(struct ept_words, ew_procbased_ctls), 8, 1ull << 63, "secondary"},
		{offsetof(struct ept_words, ew_procbased_ctls2), 8, 1ull << 33, "no EPT"},
		{offsetof(struct ept_words, ew_ept_vpid_cap), 8, 1 << 6, "bits 6 and 7"},
		{offsetof(struct ept_words, ew_ept_vpid_cap), 8, 1 << 14, "write-back"},
		{offsetof(struct ept_words, ew_ept_vpid_cap), 8, 1 << 20, "no INVEPT"},
		{offsetof(struct ept_words, ew_ept_vpid_cap), 8, 3 << 25, "none of its types"},
	};
	size_t i;

	for (i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		struct ept_words w = haswell;
		unsigned char *word = (unsigned char *)&w + needs[i].offset;
		uint64_t value = 0;

		memcpy(&value, word, needs[i].size);
		cr_assert((value & needs[i].clear) == needs[i].clear);
		value &= ~needs[i].clear;
		memcpy(word, &value, needs[i].size);
		refused(PT_EPT, &w, NULL, needs[i].named);
	}
}

/* Unlocked firmware can still be told to allow VMX; that is the host's task. */
Test(ept_caps, firmware_undecided)
{
	struct ept_words w = haswell;

	w.ew_feature_control = 0;
	decoded(PT_EPT, &w, NULL);
}

Test(ept_caps, rvi_needs)
{
	struct ept_words w = qemu;

	w.ew_cpuid_80000001_ecx = 0;
	refused(PT_RVI, &w, NULL, "no SVM");
	w = qemu;
	w.ew_vm_cr = 1 << 4;
	refused(PT_RVI, &w, NULL, "Firmware");
	w = qemu;
	w.ew_cpuid_8000000a_edx = 0xfffffffe;
	refused(PT_RVI, &w, NULL, "nested paging");
	w = qemu;
	w.ew_cpuid_8000000a_ebx = 1;
	refused(PT_RVI, &w, NULL, "ASID");
	w = qemu;
	w.ew_host_efer &= ~(1ull << 10);
	refused(PT_RVI, &w, NULL, "long mode");
	w = qemu;
	w.ew_host_pat = 0x0001040500010405;
	refused(PT_RVI, &w, NULL, "write-back");
}

Test(ept_caps, x86_needs)
{
	struct ept_words w = qemu;

	w.ew_cpuid_80000001_edx &= ~(1u << 29);
	refused(PT_X86, &w, NULL, "long mode");
	w = qemu;
	w.ew_host_pat = 0;
	refused(PT_X86, &w, NULL, "write-back");
}

/* Write-back may be any of the eight entries; bits between the entries do not count. */
Test(ept_caps, write_back_anywhere)
{
	struct ept_words w = qemu;
	unsigned int i;

	for (i = 0; i < 8; i++) {
		w.ew_host_pat = 6ull << 8 * i;
		cr_assert(decoded(PT_X86, &w, NULL).ec_caps.pc_pat == w.ew_host_pat);
		w.ew_host_pat = 0x30ull << 8 * i;
		refused(PT_X86, &w, NULL, "write-back");
	}
}

/* Intel's words say nothing to an AMD decoder, and the other way round. */
Test(ept_caps, wrong_vendor)
{
	refused(PT_RVI, &haswell, NULL, "no SVM");
	refused(PT_EPT, &qemu, NULL, "VT-x");
	refused(PT_TYPE_COUNT, &haswell, NULL, "no such type");
}

Test(ept_caps, width)
{
	static const enum pt_type types[] = {PT_EPT, PT_RVI, PT_X86};
	size_t t;
	unsigned int bits;

	for (t = 0; t < 3; t++) {
		struct ept_words w = types[t] == PT_EPT ? haswell : qemu;

		for (bits = 1; bits < 256; bits++) {
			w.ew_cpuid_80000008_eax = 0x303000 | bits;
			if (bits < 36 || bits > 52)
				refused(types[t], &w, NULL, "width");
			else
				cr_assert(decoded(types[t], &w, NULL).ec_caps.pc_phys_bits == bits);
		}
		w.ew_cpuid_80000008_eax = 0; /* no such leaf */
		cr_assert(decoded(types[t], &w, NULL).ec_caps.pc_phys_bits == 36);
	}
}

/* EPT is the CPU's own; what the host's paging is like does not matter to it. */
Test(ept_caps, ept_ignores_host_paging)
{
	struct ept_words w = haswell;

	w.ew_host_cr4 = 0x16f0;
	w.ew_host_efer = 0;
	w.ew_host_pat = 0;
	w.ew_cpuid_80000001_edx = 0;
	cr_assert(decoded(PT_EPT, &w, NULL).ec_caps.pc_levels == 4);
	cr_assert(decoded(PT_EPT, &w, NULL).ec_caps.pc_leaf_levels == 3);
}

Test(ept_caps, superpages)
{
	const struct ept_policy small = {.ep_no_superpages = true};
	struct ept_words w = haswell;
	struct ept_cpu cpu;

	cpu = decoded(PT_EPT, &w, &small);
	cr_assert(cpu.ec_caps.pc_leaf_levels == 1 && !(cpu.ec_flags & PMAP_PDE_SUPERPAGE));
	w.ew_ept_vpid_cap &= ~(1ull << 16); /* 1 GiB without 2 MiB is of no use */
	cpu = decoded(PT_EPT, &w, NULL);
	cr_assert(cpu.ec_caps.pc_leaf_levels == 1 && !(cpu.ec_flags & PMAP_PDE_SUPERPAGE));

	w = qemu;
	cpu = decoded(PT_RVI, &w, &small);
	cr_assert(cpu.ec_caps.pc_leaf_levels == 1 && !(cpu.ec_flags & PMAP_PDE_SUPERPAGE));
	w.ew_cpuid_80000001_edx &= ~(1u << 26);
	cpu = decoded(PT_RVI, &w, NULL);
	cr_assert(cpu.ec_caps.pc_leaf_levels == 2 && (cpu.ec_flags & PMAP_PDE_SUPERPAGE));
}

Test(ept_caps, policy_restricts)
{
	const struct ept_policy nothing = {
		.ep_no_hw_ad = true, .ep_no_exec_only = true, .ep_guest_pat = true};
	const struct ept_cpu cpu = decoded(PT_EPT, &haswell, &nothing);

	cr_assert(cpu.ec_caps.pc_emulate_ad && (cpu.ec_flags & PMAP_EMULATE_AD_BITS));
	cr_assert(!cpu.ec_eptp_ad);
	cr_assert(!cpu.ec_caps.pc_exec_only && !(cpu.ec_flags & PMAP_SUPPORTS_EXEC_ONLY));
	cr_assert(!cpu.ec_caps.pc_ignore_guest_pat);
}

/* What the CPU lacks no policy can bring back. */
Test(ept_caps, policy_grants_nothing)
{
	const struct ept_policy everything = {.ep_levels = 4};
	struct ept_words w = haswell;
	struct ept_cpu cpu;

	w.ew_ept_vpid_cap &= ~(1ull << 0 | 1ull << 21);
	cpu = decoded(PT_EPT, &w, &everything);
	cr_assert(cpu.ec_caps.pc_emulate_ad && !cpu.ec_caps.pc_exec_only);
	cpu = decoded(PT_RVI, &qemu, &everything);
	cr_assert(!cpu.ec_caps.pc_emulate_ad && !cpu.ec_caps.pc_exec_only);
}

Test(ept_caps, ept_levels)
{
	struct ept_policy policy = {0};
	struct ept_words w = haswell;

	policy.ep_levels = 5;
	refused(PT_EPT, &w, &policy, "bit 7");
	w.ew_ept_vpid_cap |= 1 << 7;
	cr_assert(decoded(PT_EPT, &w, NULL).ec_caps.pc_levels == 5);
	cr_assert(decoded(PT_EPT, &w, &policy).ec_caps.pc_levels == 5);
	policy.ep_levels = 4;
	cr_assert(decoded(PT_EPT, &w, &policy).ec_caps.pc_levels == 4);
	w.ew_ept_vpid_cap &= ~(1ull << 6);
	refused(PT_EPT, &w, &policy, "bit 6");
	cr_assert(decoded(PT_EPT, &w, NULL).ec_caps.pc_levels == 5);
	policy.ep_levels = 3;
	refused(PT_EPT, &w, &policy, "4 or 5");
}

/* Nested paging follows CR4.LA57 of the host. */
Test(ept_caps, host_levels)
{
	struct ept_policy policy = {0};
	struct ept_words w = qemu;

	w.ew_host_cr4 |= 1 << 12;
	cr_assert(decoded(PT_RVI, &w, NULL).ec_caps.pc_levels == 5);
	cr_assert(decoded(PT_X86, &w, NULL).ec_caps.pc_levels == 5);
	policy.ep_levels = 5;
	decoded(PT_RVI, &w, &policy);
	policy.ep_levels = 4;
	refused(PT_RVI, &w, &policy, "levels");
	refused(PT_X86, &w, &policy, "levels");
}

Test(ept_caps, nx_takes_cpu_and_host)
{
	struct ept_words w = qemu;

	w.ew_host_efer &= ~(1ull << 11);
	cr_assert(!decoded(PT_RVI, &w, NULL).ec_caps.pc_nx);
	cr_assert(!decoded(PT_X86, &w, NULL).ec_caps.pc_nx);
	w = qemu;
	w.ew_cpuid_80000001_edx &= ~(1u << 20);
	cr_assert(!decoded(PT_RVI, &w, NULL).ec_caps.pc_nx);
}

Test(ept_caps, x86_spaces)
{
	const struct ept_policy process = {.ep_user = true}, kernel = {.ep_global = true};
	struct ept_cpu cpu = decoded(PT_X86, &haswell, &process);

	cr_assert(cpu.ec_caps.pc_user && !cpu.ec_caps.pc_global);
	cpu = decoded(PT_X86, &haswell, &kernel);
	cr_assert(!cpu.ec_caps.pc_user && cpu.ec_caps.pc_global);
	cr_assert(cpu.ec_flags == (PMAP_PDE_SUPERPAGE | PMAP_MIXED_SIZE_ERRATUM));
}

Test(ept_caps, invept_narrowest)
{
	struct ept_words w = haswell;
	struct ept_cpu cpu;

	w.ew_ept_vpid_cap = 0xf0104334141; /* all contexts only */
	cpu = decoded(PT_EPT, &w, NULL);
	cr_assert(cpu.ec_invept == EPT_INVEPT_ALL && cpu.ec_invept_all);
	w.ew_ept_vpid_cap = 0xf0102334141; /* single only */
	cpu = decoded(PT_EPT, &w, NULL);
	cr_assert(cpu.ec_invept == EPT_INVEPT_SINGLE && !cpu.ec_invept_all);
}

/* VPIDs are used if the control, the instruction, and a type that drops a whole VPID exist. */
Test(ept_caps, vpid)
{
	unsigned int kinds, control, instruction;

	for (kinds = 0; kinds < 16; kinds++) {
		for (control = 0; control < 2; control++) {
			for (instruction = 0; instruction < 2; instruction++) {
				const bool usable = control && instruction && (kinds & 6);
				struct ept_words w = haswell;
				struct ept_cpu cpu;

				w.ew_ept_vpid_cap = 0x6334141 | (uint64_t)instruction << 32 |
						    (uint64_t)kinds << 40;
				w.ew_procbased_ctls2 = 2ull << 32 | (uint64_t)control << 37;
				cpu = decoded(PT_EPT, &w, NULL);
				cr_assert(cpu.ec_vpid == usable);
				cr_assert(!usable || cpu.ec_invvpid_kinds == kinds);
				cr_assert(!usable ||
					  cpu.ec_invvpid == ((kinds & 2) ? EPT_INVVPID_SINGLE
									 : EPT_INVVPID_ALL));
			}
		}
	}
}

static bool
mixed(const struct ept_words *w)
{
	return (decoded(PT_X86, w, NULL).ec_flags & PMAP_MIXED_SIZE_ERRATUM) != 0;
}

Test(ept_caps, itlb_multihit)
{
	static const uint32_t spared[] = {0x000106c2, 0x00030678, 0x000506c9, 0x00080650};
	struct ept_words w = haswell;
	size_t i;

	cr_assert(mixed(&w));
	w.ew_arch_capabilities = 1 << 6;
	cr_assert(!mixed(&w));
	w.ew_arch_capabilities = ~(1ull << 6);
	cr_assert(mixed(&w));
	for (i = 0; i < sizeof(spared) / sizeof(spared[0]); i++) {
		w.ew_cpuid_1_eax = spared[i];
		cr_assert(!mixed(&w), "signature %x", spared[i]);
	}
	/* Model numbers mean this in family 6 only. */
	w = qemu;
	w.ew_cpuid_1_eax = 0x00800f82;
	cr_assert(!mixed(&w));
}

Test(ept_caps, erratum_383)
{
	struct ept_words w = qemu;

	w.ew_cpuid_1_eax = 0x00100f42;
	cr_assert(mixed(&w));
	w.ew_osvw_id_length = 4; /* the list reaches it, but CPUID does not announce the list */
	cr_assert(mixed(&w));
	w.ew_cpuid_80000001_ecx |= 1 << 9;
	cr_assert(!mixed(&w));
	w.ew_osvw_status = 1 << 3;
	cr_assert(mixed(&w));
	w.ew_osvw_status = ~(1ull << 3);
	cr_assert(!mixed(&w));
	w.ew_osvw_id_length = 3;
	cr_assert(mixed(&w));
	w.ew_cpuid_1_eax = 0x00600f12; /* family 15h */
	cr_assert(!mixed(&w));
}

Test(ept_caps, config)
{
	const struct ept_cpu cpu = decoded(PT_EPT, &haswell, NULL);
	struct pmap_config cfg = {.pc_arg = &cfg};

	ept_pmap_config(&cpu, &cfg);
	cr_assert(cfg.pc_type == PT_EPT);
	cr_assert(cfg.pc_flags == cpu.ec_flags);
	cr_assert(cfg.pc_caps.pc_phys_bits == 40);
	cr_assert(cfg.pc_arg == &cfg && cfg.pc_note == NULL);
}
