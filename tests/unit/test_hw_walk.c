/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated page walker against the manuals: which entries are legal at which level, what they
 * grant, what a denied access reports, and which flags a walk sets when.
 */

#include "tests/unit/hw_rig.h"

#define GPA 0x40201000ull /* slot 1 of every table but the root's 0 */

static const enum hw_kind kinds[] = {HW_X86, HW_EPT, HW_NPT};

static uint64_t
leaf_bits(enum hw_kind kind, unsigned int level)
{
	if (kind == HW_EPT)
		return level == 0 ? EPT_LEAF : EPT_LARGE;
	return level == 0 ? X86_ALL : X86_LARGE;
}

/* ---- Legal or not -------------------------------------------------------------------------- */

/* One entry of a path that is otherwise plain, and the bits that must be zero in it. */
struct reserved {
	const char *name;
	enum hw_kind kind;
	unsigned int level;
	bool leaf;
	uint64_t mask; /* without 51:46, which are reserved everywhere (MAXPHYADDR is 46) */
};

/* clang-format off: a table */
static const struct reserved reserved[] = {
	/* SDM vol. 3C tables 29-1, 29-2, 29-3, 29-4, 29-5, 29-6 */
	{"EPT PML4E: bits 7:3", HW_EPT, 3, false, 0xf8},
	{"EPT 1 GiB leaf: 29:12", HW_EPT, 2, true, 0x3ffff000},
	{"EPT PDPTE of a table: 6:3", HW_EPT, 2, false, 0x78},
	{"EPT 2 MiB leaf: 20:12", HW_EPT, 1, true, 0x1ff000},
	{"EPT PDE of a table: 6:3", HW_EPT, 1, false, 0x78},
	{"EPT PTE: nothing", HW_EPT, 0, true, 0},
	/* SDM vol. 3A tables 4-15 to 4-20 */
	{"PML4E: PS", HW_X86, 3, false, 0x80},
	{"1 GiB leaf: 29:13", HW_X86, 2, true, 0x3fffe000},
	{"PDPTE of a table: nothing", HW_X86, 2, false, 0},
	{"2 MiB leaf: 20:13", HW_X86, 1, true, 0x1fe000},
	{"PDE of a table: nothing", HW_X86, 1, false, 0},
	{"PTE: nothing", HW_X86, 0, true, 0},
	/* APM vol. 2 5.3.3 to 5.3.5: bits 8:7 of a PML4E */
	{"nested PML4E: bits 8:7", HW_NPT, 3, false, 0x180},
	{"nested 1 GiB leaf: 29:13", HW_NPT, 2, true, 0x3fffe000},
	{"nested 2 MiB leaf: 20:13", HW_NPT, 1, true, 0x1fe000},
	{"nested PTE: nothing", HW_NPT, 0, true, 0},
};
/* clang-format on */

/* Bits that make the entry another kind of entry, or part of its address: not tried one by one. */
static uint64_t
meaningful(const struct reserved *c)
{
	uint64_t bits = 0x7; /* rights, present */

	if (c->level == 1 || c->level == 2)
		bits |= 0x80; /* size */
	if (c->kind == HW_EPT && c->leaf)
		bits |= 0x38; /* memory type */
	return bits | (0x3ffffffff000ull & ~c->mask);
}

static enum hw_why_bad
verdict(struct rig *r)
{
	struct hw_walk w;

	hw_walk_quiet(&r->ctx, GPA, &w);
	cr_assert_eq(w.wk_present, w.wk_bad == HW_FINE);
	return w.wk_bad;
}

Test(hw_walk, every_bit_of_every_entry_is_reserved_or_not)
{
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		const struct reserved *c = &reserved[i];
		struct rig *r = rig_new(c->kind);
		const unsigned int leaf = c->leaf ? c->level : 0;
		struct hw_walk walk;
		uint64_t *w, plain;

		r->model.hm_tolerant = true;
		map(r, GPA, leaf, leaf_bits(c->kind, leaf));
		w = word_at(r, GPA, c->level);
		plain = *w;
		cr_assert_eq(verdict(r), HW_FINE, "%s", c->name);
		for (unsigned int bit = 0; bit < 64; bit++) {
			const uint64_t b = 1ull << bit;
			const bool bad = (c->mask & b) || (bit >= 46 && bit <= 51);

			if (meaningful(c) & b)
				continue;
			*w = plain | b;
			cr_expect_eq(verdict(r), bad ? HW_BAD_RESERVED : HW_FINE, "%s: bit %u",
				     c->name, bit);
		}
		*w = (plain | 0xfffull << 40 | c->mask) & ~7ull; /* not present: nothing counts */
		hw_walk_quiet(&r->ctx, GPA, &walk);
		cr_expect_eq(walk.wk_bad, HW_FINE, "%s: not present", c->name);
		cr_expect(!walk.wk_present, "%s: not present", c->name);
		rig_free(r);
	}
}

Test(hw_walk, the_physical_address_width_bounds_every_address)
{
	for (unsigned int k = 0; k < 3; k++) {
		struct rig *r = rig_new(kinds[k]);
		uint64_t *w;

		r->model.hm_tolerant = true;
		map(r, GPA, 0, leaf_bits(kinds[k], 0));
		w = word_at(r, GPA, 0);
		for (unsigned int bits = 36; bits <= 52; bits++) {
			const uint64_t plain = *w;

			r->model.hm_phys_bits = bits;
			*w = plain | 1ull << (bits - 1);
			cr_expect_eq(verdict(r), HW_FINE, "last bit of %u", bits);
			*w = plain | 1ull << bits;
			cr_expect_eq(verdict(r), bits < 52 ? HW_BAD_RESERVED : HW_FINE,
				     "first bit beyond %u", bits);
			*w = plain;
		}
		rig_free(r);
	}
}

Test(hw_walk, sizes_that_the_cpu_lacks_are_reserved)
{
	for (unsigned int k = 0; k < 3; k++) {
		struct rig *r = rig_new(kinds[k]);

		r->model.hm_tolerant = true;
		map(r, GPA, 2, leaf_bits(kinds[k], 2));
		cr_expect_eq(verdict(r), HW_FINE);
		r->model.hm_page_1g = false;
		cr_expect_eq(verdict(r), HW_BAD_RESERVED, "kind %u", k);
		rig_free(r);
	}
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_tolerant = true;
	map(r, GPA, 1, EPT_LARGE);
	cr_expect_eq(verdict(r), HW_FINE);
	r->model.hm_page_2m = false;
	cr_expect_eq(verdict(r), HW_BAD_RESERVED);
	rig_free(r);
}

Test(hw_walk, execute_disable_is_reserved_while_nxe_is_clear)
{
	for (unsigned int k = 0; k < 3; k += 2) {
		for (unsigned int level = 0; level < 4; level++) {
			struct rig *r = rig_new(kinds[k]);

			r->model.hm_tolerant = true;
			map(r, GPA, 0, X86_ALL);
			*word_at(r, GPA, level) |= X86_NX;
			cr_expect_eq(verdict(r), HW_FINE);
			r->model.hm_nx = false;
			cr_expect_eq(verdict(r), HW_BAD_RESERVED, "level %u", level);
			rig_free(r);
		}
	}
}

/* SDM vol. 3C 29.3.3.1: write without read never; execute alone only with the capability. */
Test(hw_walk, ept_rights_that_are_misconfigurations)
{
	for (unsigned int level = 0; level < 4; level++) {
		for (unsigned int xwr = 1; xwr < 8; xwr++) {
			struct rig *r = rig_new(HW_EPT);
			uint64_t *w;

			r->model.hm_tolerant = true;
			map(r, GPA, 0, EPT_LEAF);
			w = word_at(r, GPA, level);
			*w = (*w & ~7ull) | xwr;
			cr_expect_eq(verdict(r), xwr == 2 || xwr == 6 ? HW_BAD_RIGHTS : HW_FINE,
				     "XWR %u at level %u", xwr, level);
			r->model.hm_exec_only = false;
			cr_expect_eq(verdict(r),
				     xwr == 2 || xwr == 6 || xwr == 4 ? HW_BAD_RIGHTS : HW_FINE,
				     "XWR %u at level %u without execute-only", xwr, level);
			rig_free(r);
		}
	}
}

Test(hw_walk, ept_memory_types)
{
	static const bool legal[8] = {true, true, false, false, true, true, true, false};

	for (unsigned int level = 0; level < 3; level++) {
		for (unsigned int type = 0; type < 8; type++) {
			struct rig *r = rig_new(HW_EPT);
			struct hw_walk w;
			uint64_t *word;

			map(r, GPA, level, leaf_bits(HW_EPT, level));
			word = word_at(r, GPA, level);
			*word = (*word & ~0x38ull) | type << 3 | 0x40; /* and ignore PAT */
			hw_walk_quiet(&r->ctx, GPA, &w);
			cr_expect_eq(w.wk_bad, legal[type] ? HW_FINE : HW_BAD_MEMTYPE,
				     "type %u at level %u", type, level);
			cr_expect(!legal[type] || (w.wk_memtype == type && w.wk_ignore_pat));
			rig_free(r);
		}
	}
}

/* SDM vol. 3A 12.12.3: PAT, PCD, PWT index the PAT; the PAT bit moves on large pages. */
Test(hw_walk, pat_picks_the_type_and_its_bit_moves)
{
	static const uint8_t type[8] = {6, 4, 7, 0, 6, 4, 7, 1};

	for (unsigned int k = 0; k < 3; k += 2) {
		for (unsigned int level = 0; level < 3; level++) {
			for (unsigned int i = 0; i < 8; i++) {
				struct rig *r = rig_new(kinds[k]);
				struct hw_walk w;

				r->model.hm_pat = 0x0107040600070406ull;
				map(r, GPA, level,
				    leaf_bits(kinds[k], level) | (i & 3) << 3 |
					    (i & 4 ? (level == 0 ? 0x80 : 0x1000) : 0));
				hw_walk_quiet(&r->ctx, GPA, &w);
				cr_expect_eq(w.wk_memtype, type[i], "index %u level %u", i, level);
				cr_expect_eq(w.wk_bad, HW_FINE);
				rig_free(r);
			}
		}
	}
}

Test(hw_walk, illegal_entries_are_violations_unless_tolerated)
{
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_tolerant = true;
	map(r, GPA, 0, 0x32); /* W without R */
	assert_faults(r, GPA, HW_READ, HW_FAULT_EPT_MISCONFIG, 0);
	cr_assert(r->fault.hf_reserved);
	cr_assert_eq(r->fault.hf_level, 0);
	cr_assert_eq(r->fault.hf_entry & 7, 2);
	rig_free(r);

	r = rig_new(HW_X86);
	r->model.hm_tolerant = true;
	map(r, GPA, 1, X86_LARGE | 0x2000);
	assert_faults(r, GPA, HW_READ, HW_FAULT_PAGE, 0x9); /* present, reserved */
	rig_free(r);

	r = rig_new(HW_NPT);
	r->model.hm_tolerant = true;
	map(r, GPA, 1, X86_LARGE | 0x2000);
	assert_faults(r, GPA, HW_WRITE, HW_FAULT_NPF, 0x10000000full);
	rig_free(r);
}

static void
touch_it(void *arg)
{
	touch(arg, GPA, HW_READ);
}

static struct sim_report
violation_of(enum hw_kind kind, uint64_t bits)
{
	struct rig *r = rig_new(kind);
	struct sim_report report;

	map(r, GPA, 0, bits);
	sim_machine_call(r->m, touch_it, r, &report);
	rig_free(r);
	return report;
}

Test(hw_walk, what_software_must_never_write_ends_the_run)
{
	struct sim_report report = violation_of(HW_EPT, 0x36);

	assert_violation(report, "CK-HW", "misconfiguration");
	cr_assert_str_eq(report.sr_invariant, "I03");
	report = violation_of(HW_EPT, 0x17); /* memory type 2 */
	assert_violation(report, "CK-HW", "memory type");
	report = violation_of(HW_EPT, 0x37 | 1ull << 50);
	assert_violation(report, "CK-HW", "reserved");
	cr_assert_str_eq(report.sr_invariant, "I02");
	report = violation_of(HW_NPT, 0x3); /* not a user page */
	assert_violation(report, "CK-HW", "user");
	cr_assert_str_eq(report.sr_invariant, "I04");
	report = violation_of(HW_X86, 0x3);
	assert_passed(report);
}

/* ---- Rights and reports -------------------------------------------------------------------- */

/*
 * An access to a page whose entry at one level has these bits; faults by this code, or not at all.
 */
struct access_case {
	enum hw_kind kind;
	unsigned int level;
	uint64_t bits; /* of that entry, below the address */
	unsigned int access;
	uint64_t code;
};

#define OK (~0ull) /* no fault */

/* clang-format off: a table */
static const struct access_case accesses[] = {
	/*
	 * SDM vol. 3C table 28-7. Bits 2:0 the access, 5:3 the rights found, 7 linear address
	 * valid, 8 the translation's own address (not one of the guest's table entries).
	 */
	{HW_EPT, 0, 0, HW_READ, 0x181},
	{HW_EPT, 0, 0, HW_WRITE, 0x182},
	{HW_EPT, 0, 0, HW_EXEC, 0x184},
	{HW_EPT, 3, 0, HW_READ | HW_WRITE, 0x183},
	{HW_EPT, 0, 0x31, HW_READ, OK},
	{HW_EPT, 0, 0x31, HW_WRITE, 0x18a},
	{HW_EPT, 0, 0x31, HW_EXEC, 0x18c},
	{HW_EPT, 0, 0x33, HW_WRITE, OK},
	{HW_EPT, 0, 0x33, HW_EXEC, 0x19c},
	{HW_EPT, 0, 0x35, HW_WRITE, 0x1aa},
	{HW_EPT, 0, 0x34, HW_EXEC, OK},
	{HW_EPT, 0, 0x34, HW_READ, 0x1a1},
	{HW_EPT, 0, 0x34, HW_WRITE, 0x1a2},
	{HW_EPT, 1, 0x5, HW_WRITE, 0x1aa},
	{HW_EPT, 2, 0x1, HW_EXEC, 0x18c},
	{HW_EPT, 3, 0x3, HW_EXEC, 0x19c},
	{HW_EPT, 3, 0x4, HW_READ, 0x1a1},
	/* With A/D, the guest's page walk counts as a write: both bits are set (28-7, note). */
	{HW_EPT, 0, 0x35, HW_READ | HW_GUEST_WALK, 0xab},
	{HW_EPT, 0, 0, HW_READ | HW_GUEST_WALK, 0x83},
	{HW_EPT, 0, 0x33, HW_READ | HW_GUEST_WALK, OK},
	/* APM vol. 2 15.25.6: bit 32 the final address, 33 the guest's tables; always user. */
	{HW_NPT, 0, 0, HW_READ, 0x100000004},
	{HW_NPT, 0, 0, HW_WRITE, 0x100000006},
	{HW_NPT, 0, 0, HW_EXEC, 0x100000014},
	{HW_NPT, 0, 0x5, HW_READ, OK},
	{HW_NPT, 0, 0x5, HW_WRITE, 0x100000007},
	{HW_NPT, 2, 0x5, HW_WRITE, 0x100000007},
	{HW_NPT, 0, X86_NX | 7, HW_EXEC, 0x100000015},
	{HW_NPT, 1, X86_NX | 7, HW_EXEC, 0x100000015},
	{HW_NPT, 0, X86_NX | 7, HW_WRITE, OK},
	{HW_NPT, 0, 0x3, HW_READ, 0x100000005},
	{HW_NPT, 3, 0x3, HW_READ, 0x100000005},
	{HW_NPT, 0, 0x5, HW_READ | HW_GUEST_WALK, 0x200000007},
	{HW_NPT, 0, 0, HW_READ | HW_GUEST_WALK, 0x200000006},
	/* SDM vol. 3A 4.7: P, W/R, U/S, RSVD, I/D. */
	{HW_X86, 0, 0, HW_READ, 0},
	{HW_X86, 0, 0, HW_WRITE, 0x2},
	{HW_X86, 0, 0, HW_EXEC, 0x10},
	{HW_X86, 0, 0, HW_READ | HW_USER, 0x4},
	{HW_X86, 0, 0x1, HW_WRITE, 0x3},
	{HW_X86, 0, 0x1, HW_READ, OK},
	{HW_X86, 3, 0x5, HW_WRITE | HW_USER, 0x7},
	{HW_X86, 0, 0x3, HW_READ | HW_USER, 0x5},
	{HW_X86, 1, 0x3, HW_READ | HW_USER, 0x5},
	{HW_X86, 0, 0x3, HW_WRITE, OK},
	{HW_X86, 0, X86_NX | 7, HW_EXEC | HW_USER, 0x15},
	{HW_X86, 2, X86_NX | 7, HW_EXEC, 0x11},
	{HW_X86, 0, X86_NX | 7, HW_READ, OK},
};
/* clang-format on */

Test(hw_walk, rights_are_those_of_all_levels_and_faults_say_what_was_missing)
{
	for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
		const struct access_case *c = &accesses[i];
		struct rig *r = rig_new(c->kind);
		uint64_t hpa, *w;

		r->model.hm_tolerant = true;
		hpa = map(r, GPA, 0, leaf_bits(c->kind, 0));
		w = word_at(r, GPA, c->level);
		*w = c->bits ? (*w & 0xffffffffff000ull) | c->bits : 0;
		if (c->code == OK) {
			cr_expect_eq(touch(r, GPA, c->access), HW_OK, "case %zu", i);
			cr_expect_eq(r->out.ht_hpa, hpa, "case %zu", i);
		} else {
			cr_expect_eq(touch(r, GPA, c->access), HW_FAULT, "case %zu", i);
			cr_expect_eq(r->fault.hf_code, c->code, "case %zu: code 0x%llx", i,
				     (unsigned long long)r->fault.hf_code);
			cr_expect_eq(r->fault.hf_gpa, GPA);
			cr_expect_eq(r->fault.hf_level, c->level * (c->bits == 0), "case %zu", i);
		}
		rig_free(r);
	}
}

Test(hw_walk, without_ad_the_guests_page_walk_only_reads)
{
	struct rig *r = rig_new(HW_EPT);

	r->ctx.hc_root = r->root | EPTP_PLAIN;
	map(r, GPA, 0, 0x35);
	cr_assert_eq(touch(r, GPA, HW_READ | HW_GUEST_WALK), HW_OK);
	assert_faults(r, GPA, HW_WRITE | HW_READ | HW_GUEST_WALK, HW_FAULT_EPT_VIOLATION, 0xab);
	rig_free(r);
}

/* SDM vol. 3A 4.6.1. */
Test(hw_walk, smep_and_smap_keep_the_kernel_off_user_pages)
{
	struct rig *r = rig_new(HW_X86);

	map(r, GPA, 0, 0x7);
	cr_assert_eq(touch(r, GPA, HW_EXEC), HW_OK);
	r->ctx.hc_smep = true;
	assert_faults(r, GPA, HW_EXEC, HW_FAULT_PAGE, 0x11);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	r->ctx.hc_smap = true;
	assert_faults(r, GPA, HW_READ, HW_FAULT_PAGE, 0x1);
	cr_assert_eq(touch(r, GPA, HW_READ | HW_USER), HW_OK);
	cr_assert_eq(touch(r, GPA, HW_EXEC | HW_USER), HW_OK);
	rig_free(r);
}

/* ---- Shapes -------------------------------------------------------------------------------- */

Test(hw_walk, all_three_sizes_translate_every_offset)
{
	for (unsigned int k = 0; k < 3; k++) {
		for (unsigned int level = 0; level < 3; level++) {
			struct rig *r = rig_new(kinds[k]);
			const uint64_t hpa = map(r, GPA, level, leaf_bits(kinds[k], level));
			const uint64_t offset = 0xabc + ((1ull << (12 + 9 * level)) - 0x1000);
			const uint64_t gpa = (GPA >> (12 + 9 * level) << (12 + 9 * level)) + offset;

			cr_assert_eq(touch(r, gpa, HW_READ), HW_OK);
			cr_expect_eq(r->out.ht_hpa, hpa + offset, "kind %u level %u", k, level);
			cr_expect_eq(r->out.ht_level, level);
			cr_expect(!r->out.ht_cached);
			cr_assert_eq(touch(r, gpa, HW_READ), HW_OK);
			cr_expect(r->out.ht_cached);
			rig_free(r);
		}
	}
}

Test(hw_walk, five_levels)
{
	for (unsigned int k = 0; k < 3; k += 2) {
		struct rig *r = rig_new(kinds[k]);
		const uint64_t gpa = 0x00ff123456789000ull;
		struct hw_walk w;
		uint64_t hpa;

		r->levels = r->ctx.hc_levels = 5;
		hpa = map(r, gpa, 0, X86_ALL);
		assert_reaches(r, gpa, HW_WRITE, hpa);
		hw_walk_quiet(&r->ctx, gpa, &w);
		cr_assert_eq(w.wk_n, 5);
		cr_assert_eq(w.wk_entries[4] & 0xffffffffff000ull, hpa);
		cr_assert_eq(w.wk_where[0] & ~0xfffull, r->root);
		r->model.hm_tolerant = true;
		*word_at(r, gpa, 4) |= 0x80;
		hw_walk_quiet(&r->ctx, gpa, &w);
		cr_assert_eq(w.wk_bad, HW_BAD_RESERVED);
		rig_free(r);
	}
}

Test(hw_walk, five_levels_of_ept)
{
	struct rig *r = rig_new(HW_EPT);
	const uint64_t gpa = 0x00ff123456789000ull;
	uint64_t hpa;

	r->model.hm_ept_5_levels = true;
	r->ctx.hc_root = r->root | 0x66; /* write back, walk of 5, A/D */
	r->levels = 5;
	hpa = map(r, gpa, 0, EPT_LEAF);
	assert_reaches(r, gpa, HW_WRITE, hpa);
	cr_expect_eq(*word_at(r, gpa, 4) & EPT_A, EPT_A);
	assert_faults(r, 1ull << 57, HW_READ, HW_FAULT_EPT_VIOLATION, 0x181);
	r->model.hm_tolerant = true;
	*word_at(r, gpa, 4) |= 0x8;
	hw_invept(0, &r->model, HW_INVEPT_ALL, 0);
	assert_faults(r, gpa, HW_READ, HW_FAULT_EPT_MISCONFIG, 0);
	rig_free(r);
}

Test(hw_walk, addresses_beyond_the_tables)
{
	struct rig *r = rig_new(HW_EPT);

	assert_faults(r, 1ull << 48, HW_WRITE, HW_FAULT_EPT_VIOLATION, 0x182);
	assert_faults(r, (1ull << 48) - 1, HW_WRITE, HW_FAULT_EPT_VIOLATION, 0x182);
	map(r, (1ull << 48) - 0x1000, 0, EPT_LEAF);
	cr_assert_eq(touch(r, (1ull << 48) - 1, HW_WRITE), HW_OK);
	rig_free(r);

	r = rig_new(HW_NPT);
	assert_faults(r, 1ull << 48, HW_READ, HW_FAULT_NPF, 0x100000004);
	rig_free(r);

	r = rig_new(HW_X86);
	assert_faults(r, 1ull << 47, HW_READ, HW_FAULT_NONCANONICAL, 0);
	assert_faults(r, 0xffff7ffffffff000ull, HW_READ, HW_FAULT_NONCANONICAL, 0);
	map(r, 0xffffffff80000000ull, 0, X86_ALL);
	cr_assert_eq(touch(r, 0xffffffff80000123ull, HW_READ), HW_OK);
	cr_assert_eq(r->out.ht_hpa & 0xfff, 0x123);
	rig_free(r);
}

Test(hw_walk, a_pointer_to_what_is_no_table_is_seen)
{
	struct rig *r = rig_new(HW_EPT);
	struct sim_report report;
	struct hw_walk w;

	*word_at(r, GPA, 1) = data_new(0) | EPT_TABLE;
	hw_walk_quiet(&r->ctx, GPA, &w);
	cr_assert_eq(w.wk_bad, HW_BAD_POINTER);
	cr_assert(!w.wk_present);
	sim_machine_call(r->m, touch_it, r, &report);
	assert_violation(report, "CK-WALK", "");
	rig_free(r);
}

/* ---- Registers ----------------------------------------------------------------------------- */

Test(hw_walk, which_eptp_is_valid)
{
	static const struct {
		uint64_t bits;
		bool valid;
	} cases[] = {
		{0x1e, true},
		{0x18, true},
		{0x5e, true},
		{0x19, false},
		{0x1f, false},
		{0x16, false},
		{0x26, false},
		{0x9e, false},
		{0x11e, false},
		{0x81e, false},
		{0x1e | 1ull << 45, true},
		{0x1e | 1ull << 46, false},
	};
	struct rig *r = rig_new(HW_EPT);
	char why[100];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		r->ctx.hc_root = cases[i].bits;
		cr_expect_eq(hw_context_valid(&r->ctx, why, sizeof(why)), cases[i].valid,
			     "case %zu", i);
	}
	r->model.hm_ept_5_levels = true;
	r->ctx.hc_root = 0x26;
	cr_expect(hw_context_valid(&r->ctx, why, sizeof(why)));
	r->ctx.hc_root = 0x2e;
	cr_expect(!hw_context_valid(&r->ctx, why, sizeof(why)));
	r->model.hm_ept_ad = false;
	r->ctx.hc_root = 0x5e;
	cr_expect(!hw_context_valid(&r->ctx, why, sizeof(why)));
	cr_expect_not_null(strstr(why, "A/D"));
	rig_free(r);
}

Test(hw_walk, which_asid_is_valid)
{
	struct rig *r = rig_new(HW_NPT);
	char why[100];

	cr_expect(hw_context_valid(&r->ctx, why, sizeof(why)));
	r->ctx.hc_tag = 0; /* the host's */
	cr_expect(!hw_context_valid(&r->ctx, why, sizeof(why)));
	r->ctx.hc_tag = 15;
	cr_expect(hw_context_valid(&r->ctx, why, sizeof(why)));
	r->ctx.hc_tag = 16;
	cr_expect(!hw_context_valid(&r->ctx, why, sizeof(why)));
	r->ctx.hc_tag = 1;
	r->ctx.hc_root |= 1ull << 46;
	cr_expect(!hw_context_valid(&r->ctx, why, sizeof(why)));
	rig_free(r);
}

/* ---- Accessed and dirty -------------------------------------------------------------------- */

struct flags {
	uint64_t a;
	uint64_t d;
};

static struct flags
flags_of(enum hw_kind kind)
{
	return kind == HW_EPT ? (struct flags){EPT_A, EPT_D} : (struct flags){X86_A, X86_D};
}

Test(hw_walk, a_read_sets_accessed_on_all_levels_and_dirty_nowhere)
{
	for (unsigned int k = 0; k < 3; k++) {
		struct rig *r = rig_new(kinds[k]);
		const struct flags f = flags_of(kinds[k]);

		map(r, GPA, 0, leaf_bits(kinds[k], 0));
		cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
		for (unsigned int level = 0; level < 4; level++)
			cr_expect_eq(*word_at(r, GPA, level) & (f.a | f.d), f.a, "level %u", level);
		cr_expect(!r->out.ht_dirty);
		rig_free(r);
	}
}

Test(hw_walk, a_write_sets_dirty_in_the_leaf_only)
{
	for (unsigned int k = 0; k < 3; k++) {
		for (unsigned int level = 0; level < 3; level++) {
			struct rig *r = rig_new(kinds[k]);
			const struct flags f = flags_of(kinds[k]);

			map(r, GPA, level, leaf_bits(kinds[k], level));
			cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
			cr_expect_eq(*word_at(r, GPA, level) & (f.a | f.d), f.a | f.d);
			cr_expect_eq(*word_at(r, GPA, 3) & (f.a | f.d), f.a);
			cr_expect(r->out.ht_dirty);
			rig_free(r);
		}
	}
}

Test(hw_walk, the_guests_page_walk_makes_its_tables_dirty)
{
	for (unsigned int k = 1; k < 3; k++) {
		struct rig *r = rig_new(kinds[k]);
		const struct flags f = flags_of(kinds[k]);

		map(r, GPA, 0, leaf_bits(kinds[k], 0));
		cr_assert_eq(touch(r, GPA, HW_READ | HW_GUEST_WALK), HW_OK);
		cr_expect_eq(*word_at(r, GPA, 0) & f.d, f.d, "kind %u", k);
		rig_free(r);
	}
}

Test(hw_walk, ept_without_ad_never_writes_an_entry)
{
	struct rig *r = rig_new(HW_EPT);
	struct hw_walk w;
	uint64_t before[4];

	r->ctx.hc_root = r->root | EPTP_PLAIN;
	map(r, GPA, 0, EPT_LEAF);
	for (unsigned int level = 0; level < 4; level++)
		before[level] = *word_at(r, GPA, level);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	cr_assert_eq(touch(r, GPA, HW_EXEC), HW_OK);
	hw_walk_quiet(&r->ctx, GPA, &w);
	cr_expect(w.wk_accessed && w.wk_dirty); /* there is no flag that is clear */
	for (unsigned int level = 0; level < 4; level++)
		cr_expect_eq(*word_at(r, GPA, level), before[level]);
	cr_expect_eq(hw_counters[HW_CT_SET_A] + hw_counters[HW_CT_SET_D], 0);
	cr_expect(r->out.ht_dirty); /* no D to set */
	rig_free(r);
}

/* SDM vol. 3A 4.8 leaves open whether a walk that fails has set A on its way: both happen. */
Test(hw_walk, a_failed_walk_may_or_may_not_leave_accessed_above)
{
	for (unsigned int late = 0; late < 2; late++) {
		struct rig *r = rig_new(HW_EPT);

		*word_at(r, GPA, 0) = 0;
		for (unsigned int i = 0; i < 3; i++)
			push(r, late);
		cr_assert_eq(touch(r, GPA, HW_READ), HW_FAULT);
		for (unsigned int level = 1; level < 4; level++)
			cr_expect_eq(*word_at(r, GPA, level) & EPT_A, late ? 0 : EPT_A);
		rig_free(r);
	}
}

Test(hw_walk, flags_set_early_are_a_kindness)
{
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_kindness = HW_KIND_EARLY_AD;
	push(r, 1); /* to put off; not asked */
	map(r, GPA, 0, EPT_LEAF & ~2ull);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_FAULT);
	for (unsigned int level = 1; level < 4; level++)
		cr_expect_eq(*word_at(r, GPA, level) & EPT_A, EPT_A);
	cr_expect_eq(r->nused, 0);
	rig_free(r);
}

Test(hw_walk, a_denied_access_sets_nothing_in_the_leaf)
{
	for (unsigned int k = 0; k < 3; k++) {
		struct rig *r = rig_new(kinds[k]);
		const struct flags f = flags_of(kinds[k]);

		map(r, GPA, 0, leaf_bits(kinds[k], 0) & ~2ull);
		cr_assert_eq(touch(r, GPA, HW_WRITE), HW_FAULT);
		cr_expect_eq(*word_at(r, GPA, 0) & (f.a | f.d), 0, "kind %u", k);
		rig_free(r);
	}
}

Test(hw_walk, accessed_put_off_is_set_in_the_end)
{
	struct rig *r = rig_new(HW_EPT);

	map(r, GPA, 0, EPT_LEAF);
	for (unsigned int i = 0; i < 4; i++)
		push(r, 1);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	for (unsigned int level = 0; level < 4; level++)
		cr_expect_eq(*word_at(r, GPA, level) & EPT_A, EPT_A);
	cr_expect_eq(*word_at(r, GPA, 0) & EPT_D, EPT_D);
	rig_free(r);
}

Test(hw_walk, quiet_walks_change_nothing)
{
	struct rig *r = rig_new(HW_NPT);
	struct hw_walk w;
	uint64_t hpa = map(r, GPA, 0, X86_ALL);

	hw_walk_quiet(&r->ctx, GPA, &w);
	cr_expect(w.wk_present && !w.wk_accessed && !w.wk_dirty);
	cr_expect_eq(w.wk_hpa, hpa);
	cr_expect_eq(w.wk_rights, HW_READ | HW_WRITE | HW_EXEC | HW_USER);
	cr_expect_eq(*word_at(r, GPA, 0), hpa | X86_ALL);
	cr_expect_eq(hw_tlb_count(0), 0);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	hw_walk_quiet(&r->ctx, GPA, &w);
	cr_expect(w.wk_accessed && w.wk_dirty);
	rig_free(r);
}
