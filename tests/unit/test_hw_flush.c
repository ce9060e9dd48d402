/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Instructions that invalidate, on the simulated CPUs: what each must drop, and what it must not. A
 * flush that reaches too far hides a missing one.
 */

#include "tests/unit/hw_rig.h"

#define GPA 0x40201000ull
#define NEXT 0x40202000ull
#define FAR 0x80000000ull /* under another entry of level 2 */

static struct hw_context
other_eptp(struct rig *r)
{
	struct hw_context c = r->ctx;

	c.hc_root = table_new() | EPTP_AD;
	return c;
}

/* ---- INVEPT and INVVPID -------------------------------------------------------------------- */

Test(hw_flush, invept_drops_translations_and_tables_of_its_eptp)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, GPA, 0);
	map(r, NEXT, 0, EPT_LEAF);
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, r->ctx.hc_root);
	cr_expect_eq(hw_tlb_count(0), 0);
	*word_at(r, GPA, 1) = 0;
	cr_expect_eq(touch(r, GPA, HW_READ), HW_FAULT);
	cr_expect_eq(touch(r, NEXT, HW_READ), HW_FAULT);
	rig_free(r);
}

Test(hw_flush, invept_single_keeps_other_contexts_and_other_cpus)
{
	struct rig *r = rig_new(HW_EPT);
	struct hw_context other = other_eptp(r);

	load_page(r, GPA, 0);
	hw_access(1, &r->ctx, GPA, HW_READ, &r->out, &r->fault);
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, other.hc_root);
	cr_expect(keeps(r, GPA, 0, HW_READ));
	hw_invept(0, &r->model, HW_INVEPT_ALL, 0);
	cr_expect_eq(hw_tlb_count(0), 0);
	cr_expect_gt(hw_tlb_count(1), 0);
	rig_free(r);
}

/* The tag is EP4TA, bits 51:12 of EPTP: type, length and A/D enable are no part of it. */
Test(hw_flush, contexts_with_one_root_share_whatever_their_eptp)
{
	struct rig *r = rig_new(HW_EPT);
	struct hw_context plain = r->ctx;

	load_page(r, GPA, 0);
	plain.hc_root = r->root | EPTP_PLAIN;
	*word_at(r, GPA, 0) = 0;
	cr_expect_eq(hw_access(0, &plain, GPA, HW_READ, &r->out, &r->fault), HW_OK);
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, plain.hc_root);
	cr_expect_eq(hw_tlb_count(0), 0);
	rig_free(r);
}

Test(hw_flush, invvpid_never_drops_guest_physical_mappings)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, GPA, 0);
	hw_invvpid(0, &r->model, HW_INVVPID_SINGLE, 1, 0);
	cr_expect(keeps(r, GPA, 0, HW_READ));
	load_page(r, NEXT, 0);
	hw_invvpid(0, &r->model, HW_INVVPID_ALL, 0, 0);
	cr_expect(keeps(r, NEXT, 0, HW_READ));
	r->model.hm_kindness = HW_KIND_VPID_FLUSHES_GPA;
	hw_invvpid(0, &r->model, HW_INVVPID_SINGLE, 1, 0);
	cr_expect(!keeps(r, NEXT, 0, HW_READ));
	rig_free(r);
}

/* A guest whose page tables map everything one page up, or do not map at all. */
static bool
guest_map(void *arg, uint64_t linear, uint64_t *gpa)
{
	const int64_t *by = arg;

	*gpa = linear + *by;
	return *by >= 0;
}

static enum hw_result
touch_linear(struct rig *r, const struct hw_context *ctx, uint64_t linear, unsigned int access)
{
	return hw_access_linear(0, ctx, linear, access, &r->out, &r->fault);
}

static uint64_t
combined(struct rig *r, int64_t *by)
{
	const uint64_t there = *word_at(r, GPA + 0x1000, 0) & 0xffffffffff000ull;
	const uint64_t hpa = there ? there : map(r, GPA + 0x1000, 0, EPT_LEAF);

	*by = 0x1000;
	r->ctx.hc_guest_map = guest_map;
	r->ctx.hc_guest_arg = by;
	cr_assert_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_OK);
	cr_assert_eq(r->out.ht_hpa, hpa);
	*by = -1; /* from now on only what is cached answers */
	return hpa;
}

Test(hw_flush, combined_mappings_answer_for_linear_addresses)
{
	struct rig *r = rig_new(HW_EPT);
	int64_t by;
	const uint64_t hpa = combined(r, &by);

	cr_assert_eq(touch_linear(r, &r->ctx, GPA | 0x12, HW_READ), HW_OK);
	cr_expect_eq(r->out.ht_hpa, hpa | 0x12);
	cr_expect(r->out.ht_cached);
	cr_expect_eq(touch_linear(r, &r->ctx, NEXT, HW_READ), HW_FAULT);
	cr_expect_eq(r->fault.hf_kind, HW_FAULT_GUEST);
	rig_free(r);
}

Test(hw_flush, combined_mappings_are_tagged_by_vpid_and_eptp)
{
	struct rig *r = rig_new(HW_EPT);
	struct hw_context other;
	int64_t by;

	combined(r, &by);
	other = r->ctx;
	other.hc_tag = 2;
	cr_expect_eq(touch_linear(r, &other, GPA, HW_READ), HW_FAULT);
	other = other_eptp(r);
	cr_expect_eq(touch_linear(r, &other, GPA, HW_READ), HW_FAULT);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_OK);
	rig_free(r);
}

Test(hw_flush, what_drops_combined_mappings)
{
	static const struct {
		unsigned int type;
		uint16_t vpid;
		uint64_t linear;
		bool drops;
	} cases[] = {
		{HW_INVVPID_ADDRESS, 1, GPA, true},
		{HW_INVVPID_ADDRESS, 1, NEXT, false},
		{HW_INVVPID_ADDRESS, 2, GPA, false},
		{HW_INVVPID_SINGLE, 1, 0, true},
		{HW_INVVPID_SINGLE, 2, 0, false},
		{HW_INVVPID_ALL, 0, 0, true},
		{HW_INVVPID_SINGLE_KEEP_GLOBAL, 1, 0, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *r = rig_new(HW_EPT);
		int64_t by;

		combined(r, &by);
		hw_invvpid(0, &r->model, cases[i].type, cases[i].vpid, cases[i].linear);
		cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ),
			     cases[i].drops ? HW_FAULT : HW_OK, "case %zu", i);
		rig_free(r);
	}
	struct rig *r = rig_new(HW_EPT);
	int64_t by;

	combined(r, &by);
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, r->ctx.hc_root);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_FAULT);
	combined(r, &by);
	hw_guest_invlpg(0, &r->ctx, GPA);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_FAULT);
	rig_free(r);
}

Test(hw_flush, vpid_zero_is_dropped_by_entry_and_exit)
{
	struct rig *r = rig_new(HW_EPT);
	int64_t by;

	r->ctx.hc_tag = 0;
	combined(r, &by);
	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_FAULT);
	combined(r, &by);
	hw_guest_exit(0);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_FAULT);
	cr_expect(keeps(r, GPA + 0x1000, 0, HW_READ)); /* guest-physical ones stay */

	r->ctx.hc_tag = 3;
	combined(r, &by);
	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
	hw_guest_exit(0);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_OK);
	rig_free(r);
}

/* Of a CPU that uses VPIDs, neither transitions nor INVVPID of all contexts concern VPID 0. */
Test(hw_flush, vpid_zero_is_left_alone_by_what_concerns_the_others)
{
	struct rig *r = rig_new(HW_EPT);
	struct hw_context zero;
	int64_t by;

	r->ctx.hc_tag = 0;
	combined(r, &by);
	zero = r->ctx;
	r->ctx.hc_tag = 3;
	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
	hw_guest_exit(0);
	hw_invvpid(0, &r->model, HW_INVVPID_ALL, 0, 0);
	cr_expect_eq(touch_linear(r, &zero, GPA, HW_READ), HW_OK);
	rig_free(r);
}

Test(hw_flush, an_ept_violation_drops_the_combined_mapping_too)
{
	struct rig *r = rig_new(HW_EPT);
	int64_t by;

	combined(r, &by);
	*word_at(r, GPA + 0x1000, 0) &= ~2ull;
	by = 0x1000;
	cr_assert_eq(touch_linear(r, &r->ctx, GPA, HW_WRITE), HW_FAULT); /* clean: asks memory */
	by = -1;
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_FAULT);
	rig_free(r);
}

Test(hw_flush, transitions_and_cpus_that_come_back_drop_nothing)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, GPA, 0);
	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
	hw_guest_exit(0);
	cr_expect(keeps(r, GPA, 0, HW_READ));
	load_page(r, NEXT, 0);
	r->model.hm_kindness = HW_KIND_EXIT_FLUSHES;
	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
	hw_guest_exit(0);
	cr_expect(!keeps(r, NEXT, 0, HW_READ));
	rig_free(r);
}

/* ---- ASIDs --------------------------------------------------------------------------------- */

/* The ASID is all the tag there is: another VM that gets it meets the translations of the first. */
Test(hw_flush, an_asid_used_again_meets_old_translations)
{
	struct rig *r = rig_new(HW_NPT);
	const uint64_t hpa = load_page(r, GPA, 0);
	struct hw_context other = r->ctx;

	other.hc_root = table_new();
	cr_expect_eq(hw_access(0, &other, GPA, HW_READ, &r->out, &r->fault), HW_OK);
	cr_expect_eq(r->out.ht_hpa, hpa);
	other.hc_tag = 2;
	cr_expect_eq(hw_access(0, &other, GPA, HW_READ, &r->out, &r->fault), HW_FAULT);
	rig_free(r);

	r = rig_new(HW_NPT);
	r->model.hm_kindness = HW_KIND_ROOT_TAGS;
	load_page(r, GPA, 0);
	other = r->ctx;
	other.hc_root = table_new();
	cr_expect_eq(hw_access(0, &other, GPA, HW_READ, &r->out, &r->fault), HW_FAULT);
	hw_flush_asid(0, 1);
	cr_expect_eq(hw_tlb_count(0), 0);
	rig_free(r);
}

Test(hw_flush, flushes_by_asid)
{
	struct rig *r = rig_new(HW_NPT);

	load_page(r, GPA, 0);
	hw_flush_asid(0, 2);
	cr_expect(keeps(r, GPA, 0, HW_READ));
	hw_flush_asid(0, 1);
	cr_expect(!keeps(r, GPA, 0, HW_READ));
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	hw_flush_all_asids(0);
	cr_expect_eq(hw_tlb_count(0), 0);
	rig_free(r);
}

/* APM vol. 2 15.16.1: everything of the ASID, what serves linear addresses included. */
Test(hw_flush, a_flush_by_asid_drops_linear_translations_too)
{
	struct rig *r = rig_new(HW_NPT);

	map(r, GPA, 0, X86_ALL);
	cr_assert_eq(hw_access_linear(0, &r->ctx, GPA, HW_READ, &r->out, &r->fault), HW_OK);
	*word_at(r, GPA, 0) = 0;
	hw_flush_asid(0, 2);
	cr_assert_eq(hw_access_linear(0, &r->ctx, GPA, HW_READ, &r->out, &r->fault), HW_OK);
	hw_flush_asid(0, 1);
	cr_expect_eq(hw_access_linear(0, &r->ctx, GPA, HW_READ, &r->out, &r->fault), HW_FAULT);
	cr_expect_eq(hw_tlb_count(0), 0);
	rig_free(r);
}

Test(hw_flush, tlb_control_acts_at_entry)
{
	static const struct {
		enum hw_tlb_control control;
		uint16_t tag;
		bool keeps;
	} cases[] = {
		{HW_TLB_KEEP, 1, true},	      {HW_TLB_FLUSH_ASID, 1, false},
		{HW_TLB_FLUSH_ASID, 2, true}, {HW_TLB_FLUSH_ASID_KEEP_GLOBAL, 1, false},
		{HW_TLB_FLUSH_ALL, 2, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *r = rig_new(HW_NPT);

		load_page(r, GPA, 0);
		r->ctx.hc_tag = cases[i].tag;
		hw_guest_enter(0, &r->ctx, cases[i].control);
		hw_guest_exit(0);
		r->ctx.hc_tag = 1;
		cr_expect_eq(keeps(r, GPA, 0, HW_READ), cases[i].keeps, "case %zu", i);
		rig_free(r);
	}
}

Test(hw_flush, invlpga_drops_linear_addresses_only)
{
	struct rig *r = rig_new(HW_NPT);
	int64_t by = 0;

	r->ctx.hc_guest_map = guest_map;
	r->ctx.hc_guest_arg = &by;
	map(r, GPA, 0, X86_ALL);
	cr_assert_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_OK);
	by = -1;
	hw_invlpga(0, 2, GPA);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_OK);
	hw_invlpga(0, 1, GPA);
	cr_expect_eq(touch_linear(r, &r->ctx, GPA, HW_READ), HW_FAULT);
	cr_expect(keeps(r, GPA, 0, HW_READ));
	rig_free(r);
}

/* ---- INVLPG and CR3 ------------------------------------------------------------------------ */

Test(hw_flush, invlpg_drops_one_page_and_every_table_entry)
{
	struct rig *r = rig_new(HW_X86);
	unsigned int tables = 0;

	load_page(r, GPA, 0);
	load_page(r, NEXT, 0);
	load_page(r, FAR, 0);
	hw_invlpg(0, &r->ctx, GPA | 0x7ff);
	hw_tlb_foreach(0, count_tables, &tables);
	cr_expect_eq(tables, 0); /* also of addresses far away */
	cr_expect(!keeps(r, GPA, 0, HW_READ));
	cr_expect(keeps(r, NEXT, 0, HW_READ));
	cr_expect(keeps(r, FAR, 0, HW_READ));
	rig_free(r);
}

Test(hw_flush, invlpg_of_any_address_drops_the_superpage)
{
	struct rig *r = rig_new(HW_X86);

	load_page(r, 0x40200000, 1);
	hw_invlpg(0, &r->ctx, 0x403ff000);
	cr_expect(!keeps(r, 0x40200000, 1, HW_READ));
	rig_free(r);
}

/*
 * What a promotion leaves behind: 4 KiB translations that one INVLPG of the superpage does not
 * reach.
 */
Test(hw_flush, invlpg_of_a_superpages_base_keeps_small_translations_inside)
{
	struct rig *r = rig_new(HW_X86);

	load_page(r, 0x40203000, 0);
	hw_invlpg(0, &r->ctx, 0x40200000);
	cr_expect(keeps(r, 0x40203000, 0, HW_READ));
	rig_free(r);
}

Test(hw_flush, cr3_keeps_global_translations_and_pge_does_not)
{
	struct rig *r = rig_new(HW_X86);
	struct hw_context other;

	r->ctx.hc_global = true;
	map(r, GPA, 0, X86_ALL | X86_G);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	load_page(r, NEXT, 0);
	hw_flush_cr3(0, &r->ctx, false);
	cr_expect(!keeps(r, NEXT, 0, HW_READ));
	cr_expect(keeps(r, GPA, 0, HW_READ));
	cr_assert_eq(touch(r, NEXT, HW_READ), HW_OK);
	other = r->ctx;
	other.hc_tag = 9;
	hw_flush_cr3(0, &other, true); /* whatever the PCID */
	cr_expect(!keeps(r, GPA, 0, HW_READ));
	cr_expect(!keeps(r, NEXT, 0, HW_READ));

	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	hw_invlpg(0, &r->ctx, GPA);
	cr_expect(!keeps(r, GPA, 0, HW_READ));
	rig_free(r);
}

Test(hw_flush, global_translations_serve_every_address_space)
{
	struct rig *r = rig_new(HW_X86);
	struct hw_context other;

	r->ctx.hc_global = true;
	map(r, GPA, 0, X86_ALL | X86_G);
	load_page(r, NEXT, 0);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	other = r->ctx;
	other.hc_root = table_new();
	hw_load_cr3(0, &other);
	cr_expect_eq(hw_access(0, &other, GPA, HW_READ, &r->out, &r->fault), HW_OK);
	cr_expect_eq(hw_access(0, &other, NEXT, HW_READ, &r->out, &r->fault), HW_FAULT);
	other.hc_global = false; /* CR4.PGE clear: G means nothing */
	cr_expect_eq(hw_access(0, &other, GPA, HW_READ, &r->out, &r->fault), HW_FAULT);
	rig_free(r);
}

Test(hw_flush, the_global_bit_means_nothing_without_pge)
{
	struct rig *r = rig_new(HW_X86);

	map(r, GPA, 0, X86_ALL | X86_G);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	cr_expect(keeps(r, GPA, 0, HW_READ)); /* cached as any other */
	hw_flush_cr3(0, &r->ctx, false);
	cr_expect(!keeps(r, GPA, 0, HW_READ));
	rig_free(r);
}

Test(hw_flush, pcids_keep_address_spaces_apart)
{
	struct rig *r = rig_new(HW_X86);
	struct hw_context other;

	load_page(r, GPA, 0);
	other = r->ctx;
	other.hc_root = table_new();
	other.hc_tag = 5;
	cr_expect_eq(hw_access(0, &other, GPA, HW_READ, &r->out, &r->fault), HW_FAULT);
	hw_flush_cr3(0, &other, false);
	cr_expect(keeps(r, GPA, 0, HW_READ));
	rig_free(r);
}

/* ---- Instructions that fail ---------------------------------------------------------------- */

static void
bad_invept_type(void *arg)
{
	struct rig *r = arg;

	r->model.hm_invept = 1u << HW_INVEPT_ALL;
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, r->ctx.hc_root);
}

static void
bad_invept_eptp(void *arg)
{
	struct rig *r = arg;

	hw_invept(0, &r->model, HW_INVEPT_SINGLE, r->root);
}

static void
bad_invvpid_type(void *arg)
{
	struct rig *r = arg;

	r->model.hm_invvpid = 1u << HW_INVVPID_ALL;
	hw_invvpid(0, &r->model, HW_INVVPID_SINGLE, 1, 0);
}

static void
bad_invvpid_zero(void *arg)
{
	struct rig *r = arg;

	hw_invvpid(0, &r->model, HW_INVVPID_SINGLE, 0, 0);
}

static void
bad_invvpid_address(void *arg)
{
	struct rig *r = arg;

	hw_invvpid(0, &r->model, HW_INVVPID_ADDRESS, 1, 1ull << 47);
}

static void
bad_eptp_entry(void *arg)
{
	struct rig *r = arg;

	r->ctx.hc_root |= 0x80;
	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
}

static void
bad_asid_entry(void *arg)
{
	struct rig *r = arg;

	r->ctx.hc_kind = HW_NPT;
	r->ctx.hc_root = r->root;
	r->ctx.hc_tag = 0;
	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
}

static void
bad_tlb_control(void *arg)
{
	struct rig *r = arg;

	r->ctx.hc_kind = HW_NPT;
	r->ctx.hc_root = r->root;
	r->model.hm_flush_by_asid = false;
	hw_guest_enter(0, &r->ctx, HW_TLB_FLUSH_ASID);
}

Test(hw_flush, what_the_cpu_would_refuse_is_a_violation)
{
	static const struct {
		void (*fn)(void *arg);
		const char *text;
	} cases[] = {
		{bad_invept_type, "type 1"},	    {bad_invept_eptp, "page-walk length"},
		{bad_invvpid_type, "type 1"},	    {bad_invvpid_zero, "VPID 0"},
		{bad_invvpid_address, "canonical"}, {bad_eptp_entry, "reserved bits"},
		{bad_asid_entry, "ASID 0"},	    {bad_tlb_control, "TLB_CONTROL 3"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *r = rig_new(HW_EPT);
		struct sim_report report;

		sim_machine_call(r->m, cases[i].fn, r, &report);
		assert_violation(report, "CK-HW", cases[i].text);
		rig_free(r);
	}
}

Test(hw_flush, an_invalidation_that_drops_everything_is_a_kindness)
{
	struct rig *r = rig_new(HW_EPT);
	struct hw_context other = other_eptp(r);

	load_page(r, GPA, 0);
	r->model.hm_kindness = HW_KIND_WIDE_FLUSH;
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, other.hc_root);
	cr_expect_eq(hw_tlb_count(0), 0);
	rig_free(r);
}
