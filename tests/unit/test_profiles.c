/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The named CPU models: each decodes to what is written beside it, and together they cover every
 * pair of feature values that one CPU could have.
 */

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "ept/profiles.h"

static void
same_cpu(const char *name, const struct ept_cpu *a, const struct ept_cpu *b)
{
	cr_assert(a->ec_type == b->ec_type, "%s", name);
	cr_assert(a->ec_flags == b->ec_flags, "%s: flags %x, not %x", name, a->ec_flags,
		  b->ec_flags);
	cr_assert(a->ec_caps.pc_pat == b->ec_caps.pc_pat, "%s", name);
	cr_assert(a->ec_caps.pc_levels == b->ec_caps.pc_levels, "%s", name);
	cr_assert(a->ec_caps.pc_leaf_levels == b->ec_caps.pc_leaf_levels, "%s", name);
	cr_assert(a->ec_caps.pc_phys_bits == b->ec_caps.pc_phys_bits, "%s", name);
	cr_assert(a->ec_caps.pc_exec_only == b->ec_caps.pc_exec_only, "%s", name);
	cr_assert(a->ec_caps.pc_emulate_ad == b->ec_caps.pc_emulate_ad, "%s", name);
	cr_assert(a->ec_caps.pc_nx == b->ec_caps.pc_nx, "%s", name);
	cr_assert(a->ec_caps.pc_user == b->ec_caps.pc_user, "%s", name);
	cr_assert(a->ec_caps.pc_global == b->ec_caps.pc_global, "%s", name);
	cr_assert(a->ec_caps.pc_ignore_guest_pat == b->ec_caps.pc_ignore_guest_pat, "%s", name);
	cr_assert(a->ec_invept == b->ec_invept && a->ec_invept_all == b->ec_invept_all, "%s", name);
	cr_assert(a->ec_vpid == b->ec_vpid && a->ec_invvpid == b->ec_invvpid, "%s", name);
	cr_assert(a->ec_invvpid_kinds == b->ec_invvpid_kinds, "%s", name);
	cr_assert(a->ec_eptp_ad == b->ec_eptp_ad, "%s", name);
	cr_assert(a->ec_nasids == b->ec_nasids, "%s", name);
	cr_assert(a->ec_flush_by_asid == b->ec_flush_by_asid, "%s", name);
}

/* The words go through the decoders, and the formats that follow can be built. */
Test(profiles, decode)
{
	static const struct ept_policy process = {.ep_user = true};
	struct ept_cpu cpu;
	const char *why;
	size_t i;

	for (i = 0; i < ept_profile_count(); i++) {
		const struct ept_profile *p = ept_profile_at(i);
		struct pt_fmt fmt;

		cr_assert(ept_caps(p->pr_type, &p->pr_words, NULL, &cpu, &why) == 0, "%s: %s",
			  p->pr_name, why);
		same_cpu(p->pr_name, &cpu, &p->pr_nested);
		cr_assert(pt_fmt_init(&fmt, p->pr_type, &cpu.ec_caps) == 0, "%s", p->pr_name);

		cr_assert(ept_caps(PT_X86, &p->pr_words, NULL, &cpu, &why) == 0, "%s: %s",
			  p->pr_name, why);
		same_cpu(p->pr_name, &cpu, &p->pr_x86);
		cr_assert(pt_fmt_init(&fmt, PT_X86, &cpu.ec_caps) == 0, "%s", p->pr_name);
		cr_assert(ept_caps(PT_X86, &p->pr_words, &process, &cpu, &why) == 0);
		cr_assert(pt_fmt_init(&fmt, PT_X86, &cpu.ec_caps) == 0, "%s", p->pr_name);
	}
}

/* Whatever is turned off, what remains is a format. */
Test(profiles, policies)
{
	unsigned int bits;
	size_t i;

	for (i = 0; i < ept_profile_count(); i++) {
		const struct ept_profile *p = ept_profile_at(i);

		for (bits = 0; bits < 16; bits++) {
			const struct ept_policy policy = {
				.ep_no_superpages = bits & 1,
				.ep_no_hw_ad = bits >> 1 & 1,
				.ep_no_exec_only = bits >> 2 & 1,
				.ep_guest_pat = bits >> 3 & 1,
			};
			const bool xo = !(bits & 6) && p->pr_nested.ec_caps.pc_exec_only;
			struct ept_cpu cpu;
			struct pt_fmt fmt;
			const char *why;

			cr_assert(ept_caps(p->pr_type, &p->pr_words, &policy, &cpu, &why) == 0);
			cr_assert(pt_fmt_init(&fmt, p->pr_type, &cpu.ec_caps) == 0, "%s, %x",
				  p->pr_name, bits);
			cr_assert(fmt.pf_leaf_levels ==
				  ((bits & 1) ? 1 : p->pr_nested.ec_caps.pc_leaf_levels));
			cr_assert((fmt.pf_prot_ok >> PMAP_PROT_X & 1) == xo, "%s, %x", p->pr_name,
				  bits);
		}
	}
}

Test(profiles, names)
{
	static const char *const promised[] = {
		"lynnfield",  "ivybridge",  "haswell",	  "skylake-x",	       "zambezi",
		"qemu-tcg",   "epyc",	    "epyc-milan", "epyc-genoa-la57",   "ept-no2m",
		"ept-phys36", "ept-phys52", "npt-2asid",  "npt-noflushbyasid", "x86-erratum383",
	};
	size_t i, j;

	cr_assert(ept_profile_count() >= 24);
	for (i = 0; i < ept_profile_count(); i++) {
		const struct ept_profile *p = ept_profile_at(i);

		cr_assert(p->pr_name[0] != '\0' && p->pr_about[0] != '\0');
		cr_assert(strspn(p->pr_name, "abcdefghijklmnopqrstuvwxyz0123456789-") ==
				  strlen(p->pr_name),
			  "%s", p->pr_name);
		cr_assert(ept_profile_find(p->pr_name) == p, "%s is not unique", p->pr_name);
		for (j = 0; j < i; j++)
			cr_assert(memcmp(&ept_profile_at(j)->pr_words, &p->pr_words,
					 sizeof(p->pr_words)) != 0,
				  "%s is %s under another name", p->pr_name,
				  ept_profile_at(j)->pr_name);
	}
	for (i = 0; i < sizeof(promised) / sizeof(promised[0]); i++)
		cr_assert(ept_profile_find(promised[i]) != NULL, "%s", promised[i]);
	cr_assert(ept_profile_find("haswel") == NULL);
	cr_assert(ept_profile_find("haswell2") == NULL);
	cr_assert(ept_profile_find("") == NULL);
}

/* ---- Pairs ----------------------------------------------------------------------------------- */

/*
 * A feature has numbered values; `value` says which one a CPU has, -1 for one outside the list (as
 * a width of 40 bits among Intel's). One pair is excluded, for emulated A/D takes execute-only
 * away; else a CPU could have any two values at once.
 */
#define VALUES_MAX 5
struct feature {
	const char *name;
	int values;
	int (*value)(const struct ept_cpu *c);
};

static int
index_of(unsigned int value, const unsigned int *list, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		if (list[i] == value)
			return i;
	}
	return -1;
}

static int
leaf_sizes(const struct ept_cpu *c)
{
	return c->ec_caps.pc_leaf_levels - 1;
}

static int
large_leaf_sizes(const struct ept_cpu *c)
{
	return c->ec_caps.pc_leaf_levels - 2;
}

static int
levels(const struct ept_cpu *c)
{
	return c->ec_caps.pc_levels - 4;
}

static int
width(const struct ept_cpu *c)
{
	static const unsigned int list[] = {36, 39, 46, 48, 52};

	return index_of(c->ec_caps.pc_phys_bits, list, 5);
}

static int
amd_width(const struct ept_cpu *c)
{
	static const unsigned int list[] = {40, 48, 52};

	return index_of(c->ec_caps.pc_phys_bits, list, 3);
}

static int
ad(const struct ept_cpu *c)
{
	return !c->ec_caps.pc_emulate_ad;
}

static int
exec_only(const struct ept_cpu *c)
{
	return c->ec_caps.pc_exec_only;
}

static int
invept(const struct ept_cpu *c)
{
	return c->ec_invept == EPT_INVEPT_ALL ? 0 : c->ec_invept_all ? 1 : 2;
}

static int
vpid(const struct ept_cpu *c)
{
	return c->ec_vpid;
}

static int
nx(const struct ept_cpu *c)
{
	return c->ec_caps.pc_nx;
}

/* The least there can be, few enough to wrap soon, or many. */
static int
asids(const struct ept_cpu *c)
{
	return c->ec_nasids == 2 ? 0 : c->ec_nasids <= 64 ? 1 : 2;
}

static int
flush_by_asid(const struct ept_cpu *c)
{
	return c->ec_flush_by_asid;
}

static int
erratum(const struct ept_cpu *c)
{
	return (c->ec_flags & PMAP_MIXED_SIZE_ERRATUM) != 0;
}

static const struct feature ept_features[] = {
	{"A/D", 2, ad},	       {"leaf sizes", 3, leaf_sizes}, {"execute-only", 2, exec_only},
	{"INVEPT", 3, invept}, {"width", 5, width},	      {"levels", 2, levels},
	{"VPID", 2, vpid},     {"mixed sizes", 2, erratum},
};
static const struct feature rvi_features[] = {
	{"NX", 2, nx},
	{"ASIDs", 3, asids},
	{"flush by ASID", 2, flush_by_asid},
	{"leaf sizes", 2, large_leaf_sizes},
	{"width", 3, amd_width},
	{"levels", 2, levels},
	{"mixed sizes", 2, erratum},
};
static const struct feature x86_features[] = {
	{"NX", 2, nx},	       {"leaf sizes", 2, large_leaf_sizes}, {"width", 5, width},
	{"levels", 2, levels}, {"mixed sizes", 2, erratum},
};

static const struct ept_cpu *
cpu_of(const struct ept_profile *p, enum pt_type type)
{
	if (type == PT_X86)
		return &p->pr_x86;
	return p->pr_type == type ? &p->pr_nested : NULL;
}

static bool
excluded(const struct feature *a, int va, const struct feature *b, int vb)
{
	return a->value == ad && va == 0 && b->value == exec_only && vb == 1;
}

static bool
covered(enum pt_type type, const struct feature *a, int va, const struct feature *b, int vb)
{
	size_t i;

	for (i = 0; i < ept_profile_count(); i++) {
		const struct ept_cpu *c = cpu_of(ept_profile_at(i), type);

		if (c != NULL && a->value(c) == va && b->value(c) == vb)
			return true;
	}
	return false;
}

static int
check_pairs(enum pt_type type, const struct feature *f, size_t n)
{
	int va, vb, pairs = 0;
	size_t a, b;

	for (a = 0; a < n; a++) {
		for (b = a + 1; b < n; b++) {
			for (va = 0; va < f[a].values; va++) {
				for (vb = 0; vb < f[b].values; vb++, pairs++)
					cr_assert(covered(type, &f[a], va, &f[b], vb) !=
							  excluded(&f[a], va, &f[b], vb),
						  "profiles for %s #%d and %s #%d", f[a].name, va,
						  f[b].name, vb);
			}
		}
	}
	return pairs;
}

Test(profiles, ept_pairs)
{
	cr_assert(check_pairs(PT_EPT, ept_features, 8) == 189);
}

Test(profiles, rvi_pairs)
{
	cr_assert(check_pairs(PT_RVI, rvi_features, 7) == 109);
}

Test(profiles, x86_pairs)
{
	cr_assert(check_pairs(PT_X86, x86_features, 5) == 64);
}
