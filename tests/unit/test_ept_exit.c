/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Roots and exits, by literal values: those seen under Bochs and QEMU, and those that the manuals'
 * tables demand.
 */

#include <criterion/criterion.h>
#include <string.h>

#include "ept/ept.h"
#include "ept/profiles.h"

static struct ept_cpu
nested(const char *profile, const struct ept_policy *policy)
{
	const struct ept_profile *p = ept_profile_find(profile);
	const char *why;
	struct ept_cpu cpu;

	cr_assert(p != NULL, "no profile %s", profile);
	cr_assert(ept_caps(p->pr_type, &p->pr_words, policy, &cpu, &why) == 0, "%s", why);
	return cpu;
}

/* ---- Roots ----------------------------------------------------------------------------------- */

Test(ept_root, eptp)
{
	static const struct {
		const char *profile;
		struct ept_policy policy;
		uint64_t eptp;
	} golden[] = {
		/* SDM vol. 3C, table 25-9: type 6, length - 1 in bits 5:3, A/D in bit 6. */
		{"haswell", {0}, 0x12345605e},
		{"haswell", {.ep_no_hw_ad = true}, 0x12345601e},
		{"ivybridge", {0}, 0x12345601e},
		{"icelake-la57", {0}, 0x123456066},
		{"icelake-la57", {.ep_levels = 4}, 0x12345605e},
		{"icelake-la57", {.ep_no_hw_ad = true}, 0x123456026},
	};
	size_t i;

	for (i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		const struct ept_cpu cpu = nested(golden[i].profile, &golden[i].policy);
		const struct ept_profile *p = ept_profile_find(golden[i].profile);
		const char *why = "untouched";
		uint64_t eptp = 0;

		cr_assert(ept_eptp(&cpu, 0x123456000, &eptp) == 0);
		cr_assert(eptp == golden[i].eptp, "row %zu: %lx", i, (unsigned long)eptp);
		cr_assert(ept_eptp_check(&p->pr_words, eptp, &why) == 0, "%s", why);
		cr_assert(why == NULL);
	}
}

Test(ept_root, ncr3)
{
	const struct ept_cpu cpu = nested("epyc", NULL);
	uint64_t ncr3 = 7;

	cr_assert(ept_ncr3(&cpu, 0xfffffffff000, &ncr3) == 0);
	cr_assert(ncr3 == 0xfffffffff000);
}

Test(ept_root, bad_roots)
{
	const struct ept_cpu intel = nested("haswell", NULL), amd = nested("epyc", NULL);
	uint64_t out = 7;

	cr_assert(ept_eptp(&intel, 0x1000 - 1, &out) == -EINVAL);
	cr_assert(ept_eptp(&intel, 0x1800, &out) == -EINVAL);
	cr_assert(ept_eptp(&intel, 1ull << 40, &out) == -EINVAL);
	cr_assert(ept_eptp(&amd, 0x1000, &out) == -EINVAL);
	cr_assert(ept_ncr3(&amd, 0x1008, &out) == -EINVAL);
	cr_assert(ept_ncr3(&amd, 1ull << 48, &out) == -EINVAL);
	cr_assert(ept_ncr3(&intel, 0x1000, &out) == -EINVAL);
	cr_assert(out == 7);
	cr_assert(ept_eptp(&intel, (1ull << 40) - 0x1000, &out) == 0);
}

/* What VM entry rejects (SDM vol. 3C 27.2.1.1), and the word in the sentence that says why. */
Test(ept_root, eptp_check)
{
	static const struct {
		const char *profile;
		uint64_t eptp;
		const char *named; /* NULL: accepted */
	} rows[] = {
		{"haswell", 0x1000 | 3 << 3 | 6, NULL},
		{"haswell", 0x1000 | 3 << 3 | 0, NULL}, /* uncached: slow, legal */
		{"haswell", 0x1000 | 3 << 3 | 1, "2:0"},
		{"haswell", 0x1000 | 3 << 3 | 7, "2:0"},
		{"haswell", 0x1000 | 2 << 3 | 6, "neither"},
		{"haswell", 0x1000 | 4 << 3 | 6, "5:3"}, /* no 5-level walk */
		{"haswell", 0x1000 | 5 << 3 | 6, "neither"},
		{"icelake-la57", 0x1000 | 4 << 3 | 6, NULL},
		{"haswell", 0x1000 | 1 << 6 | 3 << 3 | 6, NULL},
		{"ivybridge", 0x1000 | 1 << 6 | 3 << 3 | 6, "bit 6"}, /* VM-instruction error 7 */
		{"haswell", 0x1000 | 1 << 7 | 3 << 3 | 6, "bit 7"},
		{"sapphirerapids-la57", 0x1000 | 1 << 7 | 3 << 3 | 6, NULL},
		{"haswell", 0x1000 | 1 << 8 | 3 << 3 | 6, "11:8"},
		{"haswell", 0x1000 | 1 << 11 | 3 << 3 | 6, "11:8"},
		{"haswell", 1ull << 39 | 3 << 3 | 6, NULL},
		{"haswell", 1ull << 40 | 3 << 3 | 6, "width"},
		{"haswell", 1ull << 63 | 3 << 3 | 6, "width"},
	};
	struct ept_words w;
	const char *why;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct ept_profile *p = ept_profile_find(rows[i].profile);
		const int expected = rows[i].named ? -EINVAL : 0;

		cr_assert(ept_eptp_check(&p->pr_words, rows[i].eptp, &why) == expected,
			  "row %zu: %s", i, why);
		if (rows[i].named)
			cr_assert(strstr(why, rows[i].named) != NULL, "row %zu: %s", i, why);
	}

	/* A CPU may lack either memory type; one without CPUID 80000008 has 36 bits. */
	w = ept_profile_find("haswell")->pr_words;
	w.ew_ept_vpid_cap &= ~(1ull << 8);
	cr_assert(ept_eptp_check(&w, 0x1018, &why) == -EINVAL && strstr(why, "2:0"));
	cr_assert(ept_eptp_check(&w, 0x101e, &why) == 0);
	w.ew_ept_vpid_cap = (w.ew_ept_vpid_cap | 1 << 8) & ~(1ull << 14);
	cr_assert(ept_eptp_check(&w, 0x101e, &why) == -EINVAL && strstr(why, "2:0"));
	w = ept_profile_find("haswell")->pr_words;
	w.ew_cpuid_80000008_eax = 0;
	cr_assert(ept_eptp_check(&w, 1ull << 35 | 0x1e, &why) == 0);
	cr_assert(ept_eptp_check(&w, 1ull << 36 | 0x1e, &why) == -EINVAL);
	w.ew_cpuid_80000008_eax = 0xff; /* nonsense, but no undefined shift */
	cr_assert(ept_eptp_check(&w, 1ull << 63 | 0x1e, &why) == 0);
}

/* ---- EPT violations -------------------------------------------------------------------------- */

static const struct {
	uint64_t qualification;
	bool ad;
	uint8_t access;
	bool present, walk, gla_valid, nmi_iret;
} violations[] = {
	/* Reads, writes and fetches of the final address, by linear address. */
	{0x181, false, PMAP_PROT_R, false, false, true, false},
	{0x182, false, PMAP_PROT_W, false, false, true, false},
	{0x184, false, PMAP_PROT_X, false, false, true, false},
	{0x183, false, PMAP_PROT_RW, false, false, true, false}, /* read-modify-write */
	{0x18a, true, PMAP_PROT_W, true, false, true, false},	 /* mapped R-- */
	{0x1aa, true, PMAP_PROT_W, true, false, true, false},	 /* mapped R-X */
	{0x18c, true, PMAP_PROT_X, true, false, true, false},
	{0x1a1, true, PMAP_PROT_R, true, false, true, false}, /* mapped --X */
	{0x1181, false, PMAP_PROT_R, false, false, true, true},
	/* Guest page tables. Bochs reports 0xaa where a directory is mapped R-X and A/D is on. */
	{0xaa, true, PMAP_PROT_RW, true, true, true, false},
	{0xab, true, PMAP_PROT_RW, true, true, true, false},
	{0x81, true, PMAP_PROT_RW, false, true, true, false},
	{0x81, false, PMAP_PROT_R, false, true, true, false},
	{0x82, false, PMAP_PROT_W, false, true, true, false}, /* the guest's own A or D bit */
	{0x84, true, PMAP_PROT_RWX, false, true, true, false},
	/* Without a linear address (PDPTE loads): bit 8 says nothing. */
	{0x1, true, PMAP_PROT_R, false, false, false, false},
	{0x101, true, PMAP_PROT_R, false, false, false, false},
	/* Bits 9 to 11 (advanced information) and 13 to 16 change none of this. */
	{0x1ef82, false, PMAP_PROT_W, false, false, true, false},
};

Test(ept_exit, violation)
{
	size_t i;

	for (i = 0; i < sizeof(violations) / sizeof(violations[0]); i++) {
		struct ept_fault f;

		memset(&f, 0xa5, sizeof(f));
		cr_assert(ept_fault_violation(violations[i].qualification, 0x7654321,
					      0xffff800000001234, violations[i].ad, &f) == 0);
		cr_assert(f.ef_gpa == 0x7654321, "row %zu", i);
		cr_assert(f.ef_access == violations[i].access, "row %zu: access %x", i,
			  f.ef_access);
		cr_assert(f.ef_present == violations[i].present, "row %zu", i);
		cr_assert(f.ef_walk == violations[i].walk, "row %zu", i);
		cr_assert(f.ef_gla_valid == violations[i].gla_valid, "row %zu", i);
		cr_assert(f.ef_gla == (f.ef_gla_valid ? 0xffff800000001234 : 0), "row %zu", i);
		cr_assert(f.ef_nmi_iret == violations[i].nmi_iret, "row %zu", i);
		cr_assert(!f.ef_reserved, "row %zu", i);
	}
}

/* Every combination of the bits that decide, against table 28-7 read once more. */
Test(ept_exit, violation_all)
{
	uint64_t q;

	for (q = 0; q < 1 << 13; q++) {
		const bool valid = q >> 7 & 1, walk = valid && !(q >> 8 & 1);
		struct ept_fault f = {.ef_gpa = 99};
		unsigned int ad;

		for (ad = 0; ad < 2; ad++) {
			const int error = ept_fault_violation(q, 5, 6, ad, &f);

			if ((q & 7) == 0) {
				cr_assert(error == -EINVAL && f.ef_gpa == 99);
				continue;
			}
			cr_assert(error == 0);
			cr_assert(f.ef_access == ((q & 7) | (walk && ad ? 3 : 0)));
			cr_assert(f.ef_present == ((q >> 3 & 7) != 0));
			cr_assert(f.ef_walk == walk && f.ef_gla_valid == valid);
			cr_assert(f.ef_nmi_iret == (q >> 12 & 1));
		}
	}
}

Test(ept_exit, misconfig)
{
	struct ept_fault f;

	memset(&f, 0xa5, sizeof(f));
	ept_fault_misconfig(0xfee00000, &f);
	cr_assert(f.ef_gpa == 0xfee00000);
	cr_assert(f.ef_reserved && f.ef_present);
	cr_assert(f.ef_access == 0 && !f.ef_walk && !f.ef_gla_valid && !f.ef_nmi_iret);
}

/* ---- Nested page faults ---------------------------------------------------------------------- */

static const struct {
	uint64_t exitinfo1;
	uint8_t access;
	bool present, walk, reserved;
} npfs[] = {
	{0x100000004, PMAP_PROT_R, false, false, false}, /* read, not present */
	{0x100000006, PMAP_PROT_W, false, false, false}, /* write, not present */
	{0x100000007, PMAP_PROT_W, true, false, false},	 /* write, write-protected */
	{0x100000014, PMAP_PROT_X, false, false, false}, /* fetch, not present */
	{0x100000015, PMAP_PROT_X, true, false, false},	 /* fetch, NX */
	{0x200000006, PMAP_PROT_RW, false, true, false}, /* guest table not present */
	{0x200000007, PMAP_PROT_RW, true, true, false},	 /* guest table write-protected */
	{0x200000004, PMAP_PROT_RW, false, true, false}, /* told as a read: still a write */
	{0x200000014, PMAP_PROT_RW, false, true, false}, /* the walk for a fetch: likewise */
	{0x10000000c, PMAP_PROT_R, true, false, true},	 /* reserved bit, as QEMU has it */
	{0x10000000d, PMAP_PROT_R, true, false, true},	 /* and as the manual has it */
	{0x10000000f, PMAP_PROT_W, true, false, true},
	{0x20000000f, PMAP_PROT_RW, true, true, true},
};

Test(ept_exit, npf)
{
	size_t i;

	for (i = 0; i < sizeof(npfs) / sizeof(npfs[0]); i++) {
		struct ept_fault f;

		memset(&f, 0xa5, sizeof(f));
		ept_fault_npf(npfs[i].exitinfo1, 0x123456789a, &f);
		cr_assert(f.ef_gpa == 0x123456789a, "row %zu", i);
		cr_assert(f.ef_access == npfs[i].access, "row %zu: access %x", i, f.ef_access);
		cr_assert(f.ef_present == npfs[i].present, "row %zu", i);
		cr_assert(f.ef_walk == npfs[i].walk, "row %zu", i);
		cr_assert(f.ef_reserved == npfs[i].reserved, "row %zu", i);
		cr_assert(!f.ef_gla_valid && f.ef_gla == 0 && !f.ef_nmi_iret, "row %zu", i);
	}
}
