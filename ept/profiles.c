/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The table of CPU models.
 *
 * Intel processors up to cannonlake carry the words that Bochs 2.7 reports for them, its address
 * width of 40 bits included; those of the other named ones are composed from the vendors'
 * manuals, as far as the decoders look at them. The made-up ones (ept-*, npt-*, x86-*) differ
 * from a complete CPU in what their name says; the rows named after a width fill a covering
 * array: every pair of values of any two features occurs in some row (tests/unit/test_profiles.c
 * lists them).
 *
 * To add one: words first, then what they mean. Leave the order of the others alone.
 */

#include "ept/profiles.h"

#define PAT_RESET 0x0007040600070406 /* at power-on (SDM vol. 3A, table 12-12) */
#define PAT_LINUX 0x0407050600070106 /* WB WC UC- UC, WB WP UC- WT */

/* CPUID 1 EAX, 80000001 EDX, 80000008 EAX; EFER, CR4; ARCH_CAPABILITIES, CTLS2, EPT_VPID_CAP */
#define INTEL(signature, features, widths, efer, cr4, arch, ctls2, cap)                            \
	{                                                                                          \
		.ew_cpuid_1_eax = (signature), .ew_cpuid_1_ecx = 0x80202021,                       \
		.ew_cpuid_80000001_ecx = 0x121, .ew_cpuid_80000001_edx = (features),               \
		.ew_cpuid_80000008_eax = (widths), .ew_host_efer = (efer), .ew_host_cr4 = (cr4),   \
		.ew_host_pat = PAT_LINUX, .ew_feature_control = 5, .ew_arch_capabilities = (arch), \
		.ew_procbased_ctls = 0xfff9fffe0401e172,                                           \
		.ew_procbased_ctls2 = (uint64_t)(ctls2) << 32, .ew_ept_vpid_cap = (cap),           \
	}

/* CPUID 1 EAX, 80000001 ECX and EDX, 80000008 EAX; EFER, CR4, PAT; ASIDs, SVM features; OSVW */
#define AMD(signature, ecx, edx, widths, efer, cr4, pat, asids, svm, osvw_length, osvw_status)   \
	{                                                                                        \
		.ew_cpuid_1_eax = (signature), .ew_cpuid_1_ecx = 0x80802001,                     \
		.ew_cpuid_80000001_ecx = (ecx), .ew_cpuid_80000001_edx = (edx),                  \
		.ew_cpuid_80000008_eax = (widths), .ew_host_efer = (efer), .ew_host_cr4 = (cr4), \
		.ew_host_pat = (pat), .ew_cpuid_8000000a_eax = (asids) ? 1 : 0,                  \
		.ew_cpuid_8000000a_ebx = (asids), .ew_cpuid_8000000a_edx = (svm),                \
		.ew_osvw_id_length = (osvw_length), .ew_osvw_status = (osvw_status),             \
	}

#define SIZES(leaf) ((leaf) > 1 ? PMAP_PDE_SUPERPAGE : 0)
#define MIXED(erratum) ((erratum) ? PMAP_MIXED_SIZE_ERRATUM : 0)

/* What the words mean. VPIDs are usable if some INVVPID type drops all of one. */
#define EPT(levels, leaf, width, xo, ad, narrowest, all, vpid, kinds, erratum)                    \
	{                                                                                         \
		.ec_type = PT_EPT,                                                                \
		.ec_flags = SIZES(leaf) | MIXED(erratum) | ((xo) ? PMAP_SUPPORTS_EXEC_ONLY : 0) | \
			    ((ad) ? 0 : PMAP_EMULATE_AD_BITS),                                    \
		.ec_caps = {.pc_pat = PAT_LINUX,                                                  \
			    .pc_levels = (levels),                                                \
			    .pc_leaf_levels = (leaf),                                             \
			    .pc_phys_bits = (width),                                              \
			    .pc_exec_only = (xo),                                                 \
			    .pc_emulate_ad = !(ad),                                               \
			    .pc_ignore_guest_pat = true},                                         \
		.ec_invept = (narrowest), .ec_invept_all = (all), .ec_vpid = (vpid),              \
		.ec_invvpid = !(vpid)	  ? (enum ept_invvpid)0                                   \
			      : (kinds)&2 ? EPT_INVVPID_SINGLE                                    \
					  : EPT_INVVPID_ALL,                                      \
		.ec_invvpid_kinds = (kinds), .ec_eptp_ad = (ad),                                  \
	}

#define RVI(levels, leaf, width, nx, pat, asids, by_asid, erratum)           \
	{                                                                    \
		.ec_type = PT_RVI, .ec_flags = SIZES(leaf) | MIXED(erratum), \
		.ec_caps = {.pc_pat = (pat),                                 \
			    .pc_levels = (levels),                           \
			    .pc_leaf_levels = (leaf),                        \
			    .pc_phys_bits = (width),                         \
			    .pc_nx = (nx)},                                  \
		.ec_nasids = (asids), .ec_flush_by_asid = (by_asid),         \
	}

#define X86(levels, leaf, width, nx, pat, erratum)                           \
	{                                                                    \
		.ec_type = PT_X86, .ec_flags = SIZES(leaf) | MIXED(erratum), \
		.ec_caps = {.pc_pat = (pat),                                 \
			    .pc_levels = (levels),                           \
			    .pc_leaf_levels = (leaf),                        \
			    .pc_phys_bits = (width),                         \
			    .pc_nx = (nx)},                                  \
	}

/* clang-format off */
static const struct ept_profile profiles[] = {
	/* Intel, by age. */
	{"lynnfield", "Core i5-750: the first with EPT; no A/D, no unrestricted guest", PT_EPT,
	 INTEL(0x000106e5, 0x28100800, 0x3028, 0xd01, 0x6f0, 0, 0x7f, 0xf0106114141),
	 EPT(4, 2, 40, false, false, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 2, 40, true, PAT_LINUX, true)},
	{"arrandale", "Core i5-520M: no A/D", PT_EPT,
	 INTEL(0x00020652, 0x28100800, 0x3028, 0xd01, 0x6f0, 0, 0xff, 0xf0106114141),
	 EPT(4, 2, 40, false, false, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 2, 40, true, PAT_LINUX, true)},
	{"sandybridge", "Core i7-2600K: no A/D", PT_EPT,
	 INTEL(0x000206a7, 0x28100800, 0x3028, 0xd01, 0x6f0, 0, 0xff, 0xf0106114141),
	 EPT(4, 2, 40, false, false, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 2, 40, true, PAT_LINUX, true)},
	{"ivybridge", "Core i7-3770K: no A/D", PT_EPT,
	 INTEL(0x000306a9, 0x28100800, 0x3028, 0xd01, 0x6f0, 0, 0x8ff, 0xf0106114141),
	 EPT(4, 2, 40, false, false, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 2, 40, true, PAT_LINUX, true)},
	{"haswell", "Core i7-4770: A/D, 1 GiB", PT_EPT,
	 INTEL(0x000306c3, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0, 0x47fff, 0xf0106334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 3, 40, true, PAT_LINUX, true)},
	{"broadwell", "Core, fifth generation: A/D, 1 GiB", PT_EPT,
	 INTEL(0x000306d4, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0, 0x57fff, 0xf0106334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 3, 40, true, PAT_LINUX, true)},
	{"skylake-x", "Core i7-7800X: A/D, 1 GiB, PML", PT_EPT,
	 INTEL(0x00050654, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0, 0x2177fff, 0xf0106334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 3, 40, true, PAT_LINUX, true)},
	{"cannonlake", "Core i3-8121U: A/D, 1 GiB", PT_EPT,
	 INTEL(0x00060663, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0, 0x2157cff, 0xf0106334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 3, 40, true, PAT_LINUX, true)},
	{"cascadelake", "Xeon, second generation: 46 bits", PT_EPT,
	 INTEL(0x00050657, 0x2c100800, 0x302e, 0xd01, 0x6f0, 0x2b, 0x2177fff, 0xf0106734141),
	 EPT(4, 3, 46, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 3, 46, true, PAT_LINUX, true)},
	{"icelake-la57", "Xeon, third generation, five levels: no multihit erratum", PT_EPT,
	 INTEL(0x000606a6, 0x2c100800, 0x392e, 0xd01, 0x16f0, 0xeb, 0x2177fff, 0xf01067341c1),
	 EPT(5, 3, 46, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, false),
	 X86(5, 3, 46, true, PAT_LINUX, false)},
	{"sapphirerapids-la57", "Xeon, fourth generation: five levels, 52 bits", PT_EPT,
	 INTEL(0x000806f8, 0x2c100800, 0x3934, 0xd01, 0x16f0, 0xeb, 0x2177fff, 0xf0106f341c1),
	 EPT(5, 3, 52, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, false),
	 X86(5, 3, 52, true, PAT_LINUX, false)},

	/* Intel, made up. */
	{"ept-no2m", "4 KiB pages only", PT_EPT,
	 INTEL(0x000506c9, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x0, 0x7f, 0xf0106304141),
	 EPT(4, 1, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-no1g", "pages of 2 MiB but not 1 GiB", PT_EPT,
	 INTEL(0x000606a6, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x40, 0x7f, 0xf0106314141),
	 EPT(4, 2, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-noxo", "no execute-only", PT_EPT,
	 INTEL(0x000506c9, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x0, 0x7f, 0xf0106334140),
	 EPT(4, 3, 40, false, true, EPT_INVEPT_SINGLE, true, true, 0xf, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-noad", "no A/D flags, else complete", PT_EPT,
	 INTEL(0x000606a6, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x40, 0x7f, 0xf0106134141),
	 EPT(4, 3, 40, false, false, EPT_INVEPT_SINGLE, true, true, 0xf, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-novpid", "no VPIDs", PT_EPT,
	 INTEL(0x000506c9, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x0, 0x7f, 0x6334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_SINGLE, true, false, 0x0, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-global-invept-only", "an INVEPT that drops all contexts or nothing", PT_EPT,
	 INTEL(0x000606a6, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x40, 0x7f, 0xf0104334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_ALL, true, true, 0xf, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-single-invept-only", "an INVEPT that drops one context at a time", PT_EPT,
	 INTEL(0x000506c9, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x0, 0x7f, 0xf0102334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_SINGLE, false, true, 0xf, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-5level", "EPT of five levels under a host of four", PT_EPT,
	 INTEL(0x000606a6, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x40, 0x7f, 0xf01063341c1),
	 EPT(5, 3, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"ept-multihit", "complete, with the iTLB multihit erratum", PT_EPT,
	 INTEL(0x000306a9, 0x2c100800, 0x3028, 0xd01, 0x6f0, 0x0, 0x7f, 0xf0106334141),
	 EPT(4, 3, 40, true, true, EPT_INVEPT_SINGLE, true, true, 0xf, true),
	 X86(4, 3, 40, true, PAT_LINUX, true)},
	{"ept-phys36", "1G, no A/D, 4 levels, no VPID, multihit", PT_EPT,
	 INTEL(0x00050657, 0x2c100800, 0x3924, 0xd01, 0x16f0, 0x2b, 0x5f, 0xf0106134141),
	 EPT(4, 3, 36, false, false, EPT_INVEPT_SINGLE, true, false, 0x0, true),
	 X86(5, 3, 36, true, PAT_LINUX, true)},
	{"ept-phys36-single", "4K, A/D, 5 levels", PT_EPT,
	 INTEL(0x000506c9, 0x28100800, 0x3024, 0x501, 0x6f0, 0x0, 0x7f, 0x401023041c1),
	 EPT(5, 1, 36, true, true, EPT_INVEPT_SINGLE, false, true, 0x4, false),
	 X86(4, 2, 36, false, PAT_LINUX, false)},
	{"ept-phys36-all", "2M, no A/D, 5 levels, no VPID", PT_EPT,
	 INTEL(0x000606a6, 0x2c000800, 0x3924, 0x501, 0x16f0, 0x40, 0x7f, 0x901041141c1),
	 EPT(5, 2, 36, false, false, EPT_INVEPT_ALL, true, false, 0x9, false),
	 X86(5, 3, 36, false, PAT_LINUX, false)},
	{"ept-phys39", "2M, A/D, 5 levels, no VPID", PT_EPT,
	 INTEL(0x000506c9, 0x28100800, 0x3027, 0xd01, 0x6f0, 0x0, 0x5f, 0xf01063141c1),
	 EPT(5, 2, 39, true, true, EPT_INVEPT_SINGLE, true, false, 0x0, false),
	 X86(4, 2, 39, true, PAT_LINUX, false)},
	{"ept-phys39-single", "4K, no A/D, 5 levels, no VPID, multihit", PT_EPT,
	 INTEL(0x00050657, 0x2c100800, 0x3927, 0xd01, 0x16f0, 0x2b, 0x7f, 0x21041c0),
	 EPT(5, 1, 39, false, false, EPT_INVEPT_SINGLE, false, false, 0x0, true),
	 X86(5, 3, 39, true, PAT_LINUX, true)},
	{"ept-phys39-all", "1G, no A/D, 4 levels", PT_EPT,
	 INTEL(0x000506c9, 0x2c100800, 0x3027, 0x501, 0x6f0, 0x0, 0x7f, 0x40104134140),
	 EPT(4, 3, 39, false, false, EPT_INVEPT_ALL, true, true, 0x4, false),
	 X86(4, 3, 39, false, PAT_LINUX, false)},
	{"ept-phys46", "4K, no A/D, 5 levels, no VPID, multihit", PT_EPT,
	 INTEL(0x00050657, 0x28000800, 0x302e, 0x501, 0x6f0, 0x2b, 0x5f, 0xf01061041c0),
	 EPT(5, 1, 46, false, false, EPT_INVEPT_SINGLE, true, false, 0x0, true),
	 X86(4, 2, 46, false, PAT_LINUX, true)},
	{"ept-phys46-single", "2M, A/D, 4 levels, no VPID, multihit", PT_EPT,
	 INTEL(0x000306a9, 0x28100800, 0x392e, 0x501, 0x16f0, 0x0, 0x7f, 0x2314141),
	 EPT(4, 2, 46, true, true, EPT_INVEPT_SINGLE, false, false, 0x0, true),
	 X86(5, 2, 46, false, PAT_LINUX, true)},
	{"ept-phys46-all", "4K, A/D, 5 levels, no VPID", PT_EPT,
	 INTEL(0x000606a6, 0x2c100800, 0x302e, 0xd01, 0x6f0, 0x40, 0x7f, 0x901043041c1),
	 EPT(5, 1, 46, true, true, EPT_INVEPT_ALL, true, false, 0x9, false),
	 X86(4, 3, 46, true, PAT_LINUX, false)},
	{"ept-phys48", "1G, A/D, 5 levels, no VPID, multihit", PT_EPT,
	 INTEL(0x000306a9, 0x28100800, 0x3930, 0x501, 0x16f0, 0x0, 0x5f, 0xf01063341c1),
	 EPT(5, 3, 48, true, true, EPT_INVEPT_SINGLE, true, false, 0x0, true),
	 X86(5, 2, 48, false, PAT_LINUX, true)},
	{"ept-phys48-single", "2M, A/D, no execute-only, 4 levels, no VPID", PT_EPT,
	 INTEL(0x000606a6, 0x2c100800, 0x3030, 0xd01, 0x6f0, 0x40, 0x7f, 0x2314140),
	 EPT(4, 2, 48, false, true, EPT_INVEPT_SINGLE, false, false, 0x0, false),
	 X86(4, 3, 48, true, PAT_LINUX, false)},
	{"ept-phys48-all", "4K, no A/D, 4 levels, multihit", PT_EPT,
	 INTEL(0x000306a9, 0x2c100800, 0x3030, 0x501, 0x6f0, 0x0, 0x7f, 0xf0104104141),
	 EPT(4, 1, 48, false, false, EPT_INVEPT_ALL, true, true, 0xf, true),
	 X86(4, 3, 48, false, PAT_LINUX, true)},
	{"ept-phys52", "2M, no A/D, 4 levels, no VPID", PT_EPT,
	 INTEL(0x000606a6, 0x28100800, 0x3934, 0xd01, 0x16f0, 0x40, 0x5f, 0xf0106114141),
	 EPT(4, 2, 52, false, false, EPT_INVEPT_SINGLE, true, false, 0x0, false),
	 X86(5, 2, 52, true, PAT_LINUX, false)},
	{"ept-phys52-single", "1G, no A/D, 4 levels", PT_EPT,
	 INTEL(0x000506c9, 0x2c100800, 0x3034, 0x501, 0x6f0, 0x0, 0x7f, 0x40102134141),
	 EPT(4, 3, 52, false, false, EPT_INVEPT_SINGLE, false, true, 0x4, false),
	 X86(4, 3, 52, false, PAT_LINUX, false)},
	{"ept-phys52-all", "4K, no A/D, 4 levels, no VPID, multihit", PT_EPT,
	 INTEL(0x00050657, 0x28000800, 0x3034, 0x501, 0x6f0, 0x2b, 0x7f, 0x90104104141),
	 EPT(4, 1, 52, false, false, EPT_INVEPT_ALL, true, false, 0x9, true),
	 X86(4, 2, 52, false, PAT_LINUX, true)},

	/* AMD, by age. */
	{"phenom-ii", "family 10h: erratum 383, no flush by ASID", PT_RVI,
	 AMD(0x00100f42, 0x37ff, 0x2fd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_LINUX, 64, 0xf, 4, 0x8),
	 RVI(4, 3, 48, true, PAT_LINUX, 64, false, true),
	 X86(4, 3, 48, true, PAT_LINUX, true)},
	{"zambezi", "FX-4100: 64 ASIDs, flush by ASID", PT_RVI,
	 AMD(0x00600f12, 0x1c9bfff, 0x2fd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_LINUX, 64, 0x44f, 0, 0),
	 RVI(4, 3, 48, true, PAT_LINUX, 64, true, false),
	 X86(4, 3, 48, true, PAT_LINUX, false)},
	{"qemu-tcg", "EPYC as QEMU emulates it: 16 ASIDs, no flush by ASID", PT_RVI,
	 AMD(0x00800f12, 0x4003f7, 0x2fd3fbff, 0x3028, 0x1d01, 0x6f0, PAT_LINUX, 16, 0x1, 0, 0),
	 RVI(4, 3, 40, true, PAT_LINUX, 16, false, false),
	 X86(4, 3, 40, true, PAT_LINUX, false)},
	{"qemu-tcg-la57", "QEMU's max, nested walks of five levels", PT_RVI,
	 AMD(0x00800f12, 0x4003f7, 0x2fd3fbff, 0x3928, 0x1d01, 0x16f0, PAT_LINUX, 16, 0x1, 0, 0),
	 RVI(5, 3, 40, true, PAT_LINUX, 16, false, false),
	 X86(5, 3, 40, true, PAT_LINUX, false)},
	{"epyc", "family 17h, Naples: 32768 ASIDs", PT_RVI,
	 AMD(0x00800f12, 0x35c233ff, 0x2fd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_LINUX, 32768, 0x1bcff,
	     0, 0),
	 RVI(4, 3, 48, true, PAT_LINUX, 32768, true, false),
	 X86(4, 3, 48, true, PAT_LINUX, false)},
	{"epyc-rome", "family 17h, Rome", PT_RVI,
	 AMD(0x00830f10, 0x75c237ff, 0x2fd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_LINUX, 32768, 0x13bcff,
	     0, 0),
	 RVI(4, 3, 48, true, PAT_LINUX, 32768, true, false),
	 X86(4, 3, 48, true, PAT_LINUX, false)},
	{"epyc-milan", "family 19h, Milan", PT_RVI,
	 AMD(0x00a00f11, 0x75c237ff, 0x2fd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_LINUX, 32768,
	     0x1119b9ff, 0, 0),
	 RVI(4, 3, 48, true, PAT_LINUX, 32768, true, false),
	 X86(4, 3, 48, true, PAT_LINUX, false)},
	{"epyc-genoa-la57", "family 19h, Genoa, five levels: 52 bits", PT_RVI,
	 AMD(0x00a10f11, 0x75c237ff, 0x2fd3fbff, 0x3934, 0x1d01, 0x16f0, PAT_LINUX, 32768,
	     0x1ebfbcff, 0, 0),
	 RVI(5, 3, 52, true, PAT_LINUX, 32768, true, false),
	 X86(5, 3, 52, true, PAT_LINUX, false)},

	/* AMD, made up. */
	{"npt-2asid", "a single ASID for guests, flush by ASID", PT_RVI,
	 AMD(0x00600f12, 0x1c9bfff, 0x2fd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_RESET, 2, 0x44f, 0, 0),
	 RVI(4, 3, 48, true, PAT_RESET, 2, true, false),
	 X86(4, 3, 48, true, PAT_RESET, false)},
	{"npt-noflushbyasid", "32768 ASIDs, but one can only flush all", PT_RVI,
	 AMD(0x00800f12, 0x35c233ff, 0x2fd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_LINUX, 32768, 0x1bcbf,
	     0, 0),
	 RVI(4, 3, 48, true, PAT_LINUX, 32768, false, false),
	 X86(4, 3, 48, true, PAT_LINUX, false)},
	{"npt-nonx", "host without EFER.NXE: all is executable", PT_RVI,
	 AMD(0x00800f12, 0x35c233ff, 0x2fd3fbff, 0x3030, 0x1501, 0x6f0, PAT_LINUX, 32768, 0x1bcff,
	     0, 0),
	 RVI(4, 3, 48, false, PAT_LINUX, 32768, true, false),
	 X86(4, 3, 48, false, PAT_LINUX, false)},
	{"npt-no1g", "pages of 2 MiB but not 1 GiB", PT_RVI,
	 AMD(0x00800f12, 0x35c233ff, 0x2bd3fbff, 0x3030, 0x1d01, 0x6f0, PAT_LINUX, 32768, 0x1bcff,
	     0, 0),
	 RVI(4, 2, 48, true, PAT_LINUX, 32768, true, false),
	 X86(4, 2, 48, true, PAT_LINUX, false)},
	{"npt-phys40-2asid", "erratum 383", PT_RVI,
	 AMD(0x00100f42, 0x37ff, 0x2fd3fbff, 0x3028, 0x1d01, 0x6f0, PAT_LINUX, 2, 0x4f, 4, 0x8),
	 RVI(4, 3, 40, true, PAT_LINUX, 2, true, true),
	 X86(4, 3, 40, true, PAT_LINUX, true)},
	{"npt-phys48-2asid", "2M, no NX, five levels", PT_RVI,
	 AMD(0x00a10f11, 0x75c237ff, 0x2bc3fbff, 0x3930, 0x1501, 0x16f0, PAT_LINUX, 2, 0x4f, 0, 0),
	 RVI(5, 2, 48, false, PAT_LINUX, 2, true, false),
	 X86(5, 2, 48, false, PAT_LINUX, false)},
	{"npt-phys52-2asid", "2M, no flush by ASID, erratum 383 (list too short to tell)", PT_RVI,
	 AMD(0x00100f22, 0x37ff, 0x2bd3fbff, 0x3034, 0x1d01, 0x6f0, PAT_RESET, 2, 0xf, 3, 0x0),
	 RVI(4, 2, 52, true, PAT_RESET, 2, false, true),
	 X86(4, 2, 52, true, PAT_RESET, true)},
	{"npt-phys40", "2M, no NX, five levels, erratum 383 (no list)", PT_RVI,
	 AMD(0x00100f42, 0x35ff, 0x2bd3fbff, 0x3928, 0x1501, 0x16f0, PAT_LINUX, 32768, 0x4f, 0, 0),
	 RVI(5, 2, 40, false, PAT_LINUX, 32768, true, true),
	 X86(5, 2, 40, false, PAT_LINUX, true)},
	{"npt-phys48", "2M, no NX, no flush by ASID, five levels, erratum 383", PT_RVI,
	 AMD(0x00100f42, 0x37ff, 0x2bc3fbff, 0x3930, 0x1501, 0x16f0, PAT_LINUX, 32768, 0xf, 4, 0x8),
	 RVI(5, 2, 48, false, PAT_LINUX, 32768, false, true),
	 X86(5, 2, 48, false, PAT_LINUX, true)},
	{"npt-phys52", "no NX, erratum 383", PT_RVI,
	 AMD(0x00100f42, 0x37ff, 0x2fd3fbff, 0x3034, 0x1501, 0x6f0, PAT_LINUX, 32768, 0x4f, 4, 0x8),
	 RVI(4, 3, 52, false, PAT_LINUX, 32768, true, true),
	 X86(4, 3, 52, false, PAT_LINUX, true)},
	{"npt-phys52-few", "8 ASIDs, 2M, no NX, five levels", PT_RVI,
	 AMD(0x00a10f11, 0x75c237ff, 0x2bd3fbff, 0x3934, 0x1501, 0x16f0, PAT_RESET, 8, 0x4f, 0, 0),
	 RVI(5, 2, 52, false, PAT_RESET, 8, true, false),
	 X86(5, 2, 52, false, PAT_RESET, false)},

	/* Without nested paging. */
	{"x86-erratum383", "family 10h without SVM: erratum 383", PT_X86,
	 AMD(0x00100f42, 0x37fb, 0x2fd3fbff, 0x3030, 0xd01, 0x6f0, PAT_LINUX, 0, 0, 4, 0x8),
	 X86(4, 3, 48, true, PAT_LINUX, true), X86(4, 3, 48, true, PAT_LINUX, true)},
	{"x86-phys36", "no CPUID leaf 80000008: 36 bits; no NX, 1 GiB", PT_X86,
	 AMD(0x00800f12, 0x4003f3, 0x2fd3fbff, 0, 0x501, 0x6f0, PAT_RESET, 0, 0, 0, 0),
	 X86(4, 3, 36, false, PAT_RESET, false), X86(4, 3, 36, false, PAT_RESET, false)},
};
/* clang-format on */

size_t
ept_profile_count(void)
{
	return sizeof(profiles) / sizeof(profiles[0]);
}

const struct ept_profile *
ept_profile_at(size_t i)
{
	HOST_ASSERT(i < ept_profile_count());
	return &profiles[i];
}

const struct ept_profile *
ept_profile_find(const char *name)
{
	size_t i, c;

	for (i = 0; i < ept_profile_count(); i++) {
		for (c = 0; name[c] != '\0' && name[c] == profiles[i].pr_name[c]; c++)
			;
		if (name[c] == profiles[i].pr_name[c])
			return &profiles[i];
	}
	return NULL;
}
