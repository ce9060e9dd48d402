/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the simulated CPUs keep, and what makes them forget. Most tests come in two halves: what an
 * instruction must drop, and what it must not. Being too kind is as wrong as being too harsh: a
 * translation that goes away by itself hides the missing flush.
 */

#include "sim/hw/hw_priv.h"
#include "tests/unit/hw_rig.h"

#define GPA 0x40201000ull
#define NEXT 0x40202000ull
#define FAR 0x80000000ull /* under another entry of level 2 */

/* ---- Keeping ------------------------------------------------------------------------------- */

Test(hw_tlb, a_translation_outlives_its_entry)
{
	for (int kind = HW_X86; kind <= HW_NPT; kind++) {
		struct rig *r = rig_new(kind);
		const uint64_t hpa = load_page(r, GPA, 0);

		*word_at(r, GPA, 0) = 0;
		assert_reaches(r, GPA, HW_READ, hpa);
		cr_expect(r->out.ht_cached);
		hw_tlb_evict(0, 0);
		while (hw_tlb_count(0) != 0)
			hw_tlb_evict(0, 0);
		cr_expect_eq(touch(r, GPA, HW_READ), HW_FAULT);
		rig_free(r);
	}
}

Test(hw_tlb, nothing_is_cached_of_what_is_absent)
{
	struct rig *r = rig_new(HW_EPT);

	uint64_t hpa;

	cr_assert_eq(touch(r, GPA, HW_READ), HW_FAULT);
	hpa = map(r, GPA, 0, EPT_LEAF);
	assert_reaches(r, GPA, HW_READ, hpa);
	rig_free(r);
}

Test(hw_tlb, each_cpu_has_its_own)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, GPA, 0);
	cr_expect_gt(hw_tlb_count(0), 0);
	cr_expect_eq(hw_tlb_count(1), 0);
	*word_at(r, GPA, 0) = 0;
	cr_expect_eq(hw_access(1, &r->ctx, GPA, HW_READ, &r->out, &r->fault), HW_FAULT);
	rig_free(r);
}

/* The old frame and the new one are both cached; either may be used. */
Test(hw_tlb, of_several_translations_any_may_be_used)
{
	struct rig *r = rig_new(HW_EPT);
	const uint64_t old = load_page(r, GPA, 0);
	uint64_t now;

	*word_at(r, GPA, 0) = (old & ~0xfffull) | 0x31; /* read only: a write walks again */
	now = map(r, GPA, 0, EPT_LEAF | EPT_A);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	cr_expect_eq(r->out.ht_hpa, now);
	push(r, 0);
	push(r, 1);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	const uint64_t first = r->out.ht_hpa;

	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	cr_expect_neq(first, r->out.ht_hpa);
	cr_expect((first == old || first == now) && (r->out.ht_hpa == old || r->out.ht_hpa == now));
	cr_expect_eq(hw_counters[HW_CT_AMBIGUOUS], 2);
	rig_free(r);
}

Test(hw_tlb, the_newest_is_used_only_out_of_kindness)
{
	struct rig *r = rig_new(HW_EPT);
	uint64_t now;

	load_page(r, GPA, 0);
	now = map(r, GPA, 0, EPT_LEAF | EPT_A);
	sim_trace(SIM_USER, 0, 0);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK); /* clean: walks */
	r->model.hm_kindness = HW_KIND_NEWEST;
	for (unsigned int i = 0; i < 2; i++) {
		push(r, i);
		cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
		cr_expect_eq(r->out.ht_hpa, now);
	}
	rig_free(r);
}

/* ---- Dirty --------------------------------------------------------------------------------- */

Test(hw_tlb, a_clean_translation_walks_again_for_a_write)
{
	for (int kind = HW_X86; kind <= HW_NPT; kind++) {
		struct rig *r = rig_new(kind);
		const uint64_t d = kind == HW_EPT ? EPT_D : X86_D;

		load_page(r, GPA, 0);
		cr_expect_eq(*word_at(r, GPA, 0) & d, 0);
		cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
		cr_expect(!r->out.ht_cached);
		cr_expect_eq(*word_at(r, GPA, 0) & d, d);
		cr_expect_eq(hw_counters[HW_CT_CLEAN_WRITE], 1);
		cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
		cr_expect(r->out.ht_cached);
		rig_free(r);
	}
}

/* Memory decides: if the right to write has gone, the clean translation is of no use. */
Test(hw_tlb, a_clean_translation_does_not_grant_the_write)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, GPA, 0);
	*word_at(r, GPA, 0) &= ~2ull;
	assert_faults(r, GPA, HW_WRITE, HW_FAULT_EPT_VIOLATION, 0x1aa);
	cr_expect(!r->fault.hf_cached);
	rig_free(r);
}

Test(hw_tlb, a_dirty_translation_never_sets_dirty_again)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, GPA, 0);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	*word_at(r, GPA, 0) &= ~EPT_D;
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	cr_expect_eq(*word_at(r, GPA, 0) & EPT_D, 0); /* the lost dirty bit */
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, r->ctx.hc_root);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	cr_expect_eq(*word_at(r, GPA, 0) & EPT_D, EPT_D);

	*word_at(r, GPA, 0) &= ~EPT_D;
	r->model.hm_kindness = HW_KIND_DIRTY_AGAIN;
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	cr_expect_eq(*word_at(r, GPA, 0) & EPT_D, EPT_D);
	rig_free(r);
}

/* A page cached while accessed stays cached when the flag is cleared, and does not set it again. */
Test(hw_tlb, a_cached_translation_never_sets_accessed_again)
{
	struct rig *r = rig_new(HW_NPT);

	load_page(r, GPA, 0);
	*word_at(r, GPA, 0) &= ~X86_A;
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	cr_expect_eq(*word_at(r, GPA, 0) & X86_A, 0);
	hw_flush_asid(0, 1);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	cr_expect_eq(*word_at(r, GPA, 0) & X86_A, X86_A);
	rig_free(r);
}

/* ---- Lack of rights ------------------------------------------------------------------------ */

Test(hw_tlb, a_cached_lack_of_rights_may_fault_though_memory_grants_them)
{
	struct rig *r = rig_new(HW_EPT);
	const uint64_t hpa = map(r, GPA, 0, 0x31);

	assert_reaches(r, GPA, HW_READ, hpa);
	*word_at(r, GPA, 0) |= 7;
	push(r, 0);
	assert_faults(r, GPA, HW_WRITE, HW_FAULT_EPT_VIOLATION, 0x18a);
	cr_expect(r->fault.hf_cached);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK); /* the fault dropped it: progress */
	rig_free(r);
}

Test(hw_tlb, a_cached_lack_of_rights_may_be_looked_up_again)
{
	struct rig *r = rig_new(HW_EPT);

	map(r, GPA, 0, 0x31);
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	*word_at(r, GPA, 0) |= 7;
	push(r, 1);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	r->model.hm_kindness = HW_KIND_NO_SPURIOUS;
	map(r, NEXT, 0, 0x31);
	cr_assert_eq(touch(r, NEXT, HW_READ), HW_OK);
	*word_at(r, NEXT, 0) |= 7;
	cr_assert_eq(touch(r, NEXT, HW_WRITE), HW_OK);
	rig_free(r);
}

/* SDM vol. 3C 29.4.3.1: what would translate the faulting address goes, and nothing else. */
Test(hw_tlb, a_fault_drops_what_served_its_address_only)
{
	for (int kind = HW_X86; kind <= HW_NPT; kind++) {
		struct rig *r = rig_new(kind);
		uint64_t ro = kind == HW_EPT ? 0x31 : 0x5;

		map(r, GPA, 0, ro);
		cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
		load_page(r, NEXT, 0);
		load_page(r, FAR, 0);
		cr_assert_eq(touch(r, GPA, HW_WRITE), HW_FAULT);
		cr_expect(!keeps(r, GPA, 0, HW_READ), "kind %d", kind);
		cr_expect(keeps(r, NEXT, 0, HW_READ), "kind %d", kind);
		cr_expect(keeps(r, FAR, 0, HW_READ), "kind %d", kind);
		rig_free(r);
	}
}

/*
 * Rights are cached in table entries too: the fault must drop those on the way, or it never ends.
 */
Test(hw_tlb, a_fault_drops_the_table_entries_on_its_path)
{
	struct rig *r = rig_new(HW_EPT);

	map(r, GPA, 0, EPT_LEAF);
	*word_at(r, GPA, 2) &= ~2ull;
	cr_assert_eq(touch(r, GPA, HW_READ), HW_OK);
	*word_at(r, GPA, 2) |= 2;
	push(r, 1); /* walk again, from the cached level-1 entry: no W */
	push(r, 0);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_FAULT);
	cr_expect_eq(r->fault.hf_code, 0x1aa);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	rig_free(r);
}

Test(hw_tlb, a_misconfiguration_drops_nothing)
{
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_tolerant = true;
	load_page(r, GPA, 0);
	*word_at(r, GPA, 0) = (*word_at(r, GPA, 0) & ~7ull) | 2;
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_FAULT); /* clean: walks */
	cr_expect_eq(r->fault.hf_kind, HW_FAULT_EPT_MISCONFIG);
	cr_expect_eq(touch(r, GPA, HW_READ), HW_OK);
	rig_free(r);
}

Test(hw_tlb, a_fault_that_drops_the_whole_context_is_a_kindness)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, NEXT, 0);
	r->model.hm_kindness = HW_KIND_FAULT_FLUSHES;
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_FAULT);
	cr_expect(!keeps(r, NEXT, 0, HW_READ));
	rig_free(r);
}

/* ---- Paging-structure caches --------------------------------------------------------------- */

Test(hw_tlb, a_cached_pointer_is_followed_after_the_entry_is_gone)
{
	for (unsigned int level = 1; level < 4; level++) {
		struct rig *r = rig_new(HW_EPT);
		const uint64_t was = (load_page(r, GPA, 0), *word_at(r, GPA, level));
		const uint64_t hpa = map(r, NEXT, 0, EPT_LEAF);

		*word_at(r, GPA, level) = 0;
		push(r, level - 1); /* start from that level's entry */
		assert_reaches(r, NEXT, HW_READ, hpa);
		cr_expect_gt(hw_counters[HW_CT_PSC_HIT], 0);
		*word_at(r, GPA, level) = was;
		rig_free(r);
	}
}

Test(hw_tlb, a_walk_may_also_begin_at_the_root)
{
	struct rig *r = rig_new(HW_EPT);

	load_page(r, GPA, 0);
	map(r, NEXT, 0, EPT_LEAF);
	*word_at(r, GPA, 1) = 0;
	push(r, 3); /* entries of levels 1, 2, 3; then the root */
	cr_expect_eq(touch(r, NEXT, HW_READ), HW_FAULT);
	rig_free(r);
}

/* From a stale upper entry, the entries below are read anew: both ages meet in one path. */
Test(hw_tlb, a_stale_upper_entry_leads_to_fresh_lower_ones)
{
	struct rig *r = rig_new(HW_EPT);
	uint64_t hpa, *slot;

	load_page(r, GPA, 0);
	hpa = map(r, GPA + 0x200000, 0, EPT_LEAF); /* other level-1 entry, same level-2 table */
	slot = word_at(r, GPA, 2);
	*slot = 0;
	push(r, 0); /* of that address only levels 2 and 3 are cached: start at 2 */
	assert_reaches(r, GPA + 0x200000, HW_READ, hpa);
	rig_free(r);
}

Test(hw_tlb, without_structure_caches_walks_see_the_truth)
{
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_kindness = HW_KIND_NO_PSC;
	load_page(r, GPA, 0);
	map(r, NEXT, 0, EPT_LEAF);
	*word_at(r, GPA, 1) = 0;
	cr_expect_eq(touch(r, NEXT, HW_READ), HW_FAULT);
	cr_expect_eq(touch(r, GPA, HW_READ), HW_OK); /* the translation itself stays */
	cr_expect_eq(hw_counters[HW_CT_PSC_HIT], 0);
	rig_free(r);
}

/* SDM vol. 3A 4.10.3.1: an entry whose accessed flag is clear is not cached, nor those below. */
Test(hw_tlb, no_table_entry_is_cached_before_its_accessed_flag_is_set)
{
	struct rig *r = rig_new(HW_EPT);
	unsigned int tables = 0;

	map(r, GPA, 0, EPT_LEAF);
	push(r, 1); /* does not want to set it */
	hw_speculate(hw_cpu_at(0), &r->ctx, GPA, 1);
	hw_tlb_foreach(0, count_tables, &tables);
	cr_expect_eq(tables, 0);
	cr_expect_eq(*word_at(r, GPA, 3) & EPT_A, 0);
	hw_speculate(hw_cpu_at(0), &r->ctx, GPA, 1);
	hw_tlb_foreach(0, count_tables, &tables);
	cr_expect_eq(tables, 1);
	cr_expect_eq(*word_at(r, GPA, 3) & EPT_A, EPT_A);
	rig_free(r);
}

Test(hw_tlb, the_rights_of_a_cached_table_entry_count)
{
	struct rig *r = rig_new(HW_NPT);

	load_page(r, GPA, 0);
	map(r, NEXT, 0, X86_ALL);
	*word_at(r, GPA, 1) &= ~2ull; /* no write any more, but cached with it */
	cr_expect_eq(touch(r, NEXT, HW_WRITE), HW_OK);
	hw_flush_asid(0, 1);
	cr_expect_eq(touch(r, NEXT, HW_WRITE), HW_FAULT);
	rig_free(r);
}

/* ---- Sizes --------------------------------------------------------------------------------- */

Test(hw_tlb, small_translations_survive_promotion)
{
	struct rig *r = rig_new(HW_EPT);
	const uint64_t run = data_new(9);
	struct sim_report report;

	*word_at(r, 0x40200000, 0) = run | EPT_LEAF;
	cr_assert_eq(touch(r, 0x40200000, HW_READ), HW_OK);
	*word_at(r, 0x40200000, 1) = run | EPT_LARGE | EPT_A | EPT_D;
	cr_assert_eq(touch(r, 0x40200000, HW_READ), HW_OK);
	cr_expect_eq(r->out.ht_level, 0);
	push(r, 3); /* from the root: what is cached of level 1 leads to the old table */
	cr_assert_eq(touch(r, 0x40201000, HW_READ), HW_OK);
	cr_expect_eq(r->out.ht_level, 1);
	cr_expect_eq(hw_counters[HW_CT_MIXED_SIZE], 1);
	push(r, 1); /* two match now */
	cr_assert_eq(touch(r, 0x40200000, HW_READ), HW_OK);
	cr_expect_eq(r->out.ht_level, 1);
	cr_assert_eq(sim_machine_check_leaks(r->m, &report),
		     SIM_RUN_VIOLATED); /* tables are in use */
	rig_free(r);
}

Test(hw_tlb, large_translations_survive_demotion)
{
	struct rig *r = rig_new(HW_NPT);
	const uint64_t run = load_page(r, 0x40200000, 1);

	*word_at(r, 0x40200000, 1) = 0;
	for (unsigned int i = 0; i < 512; i++)
		*word_at(r, 0x40200000 + i * 0x1000ull, 0) = (run + i * 0x1000ull) | X86_ALL;
	*word_at(r, 0x40205000, 0) = 0;
	cr_assert_eq(touch(r, 0x40205000, HW_READ), HW_OK);
	cr_expect_eq(r->out.ht_hpa, run + 0x5000);
	hw_flush_asid(0, 1);
	cr_expect_eq(touch(r, 0x40205000, HW_READ), HW_FAULT);
	cr_expect_eq(touch(r, 0x40206000, HW_READ), HW_OK);
	rig_free(r);
}

static void
mix_sizes(void *arg)
{
	struct rig *r = arg;
	const uint64_t run = load_page(r, 0x40200000, 1);

	*word_at(r, 0x40200000, 1) = 0;
	*word_at(r, 0x40203000, 0) = (run + 0x3000) | EPT_LEAF;
	touch(r, 0x40203000, HW_WRITE); /* the large one is clean: walks */
}

static void
mix_other_way(void *arg)
{
	struct rig *r = arg;
	const uint64_t run = data_new(9);

	*word_at(r, 0x40203000, 0) = (run + 0x3000) | EPT_LEAF;
	touch(r, 0x40203000, HW_READ);
	*word_at(r, 0x40200000, 1) = run | EPT_LARGE | EPT_A | EPT_D;
	push(r, 3);
	touch(r, 0x40200000, HW_READ);
}

Test(hw_tlb, mixed_sizes_are_a_machine_check_under_the_erratum)
{
	void (*const ways[])(void *) = {mix_sizes, mix_other_way};

	for (unsigned int i = 0; i < 4; i++) {
		struct rig *r = rig_new(HW_EPT);
		struct sim_report report;

		r->model.hm_mixed_size_mce = i < 2;
		sim_machine_call(r->m, ways[i % 2], r, &report);
		if (i < 2) {
			assert_violation(report, "CK-HW", "machine check");
			cr_assert_str_eq(report.sr_invariant, "I10");
		} else {
			assert_passed(report);
			cr_expect_eq(hw_counters[HW_CT_MIXED_SIZE], 1);
		}
		rig_free(r);
	}
}

Test(hw_tlb, one_size_at_a_time_is_a_kindness)
{
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_kindness = HW_KIND_ONE_SIZE;
	mix_other_way(r);
	*word_at(r, 0x40200000, 1) = 0;
	cr_expect_eq(touch(r, 0x40203000, HW_READ), HW_OK);
	cr_expect_eq(r->out.ht_level, 1); /* the small one went when the large one came */
	rig_free(r);
}

/* ---- Room, counting, looking in ------------------------------------------------------------ */

Test(hw_tlb, without_a_tlb_every_access_walks)
{
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_kindness = HW_KIND_NO_TLB;
	load_page(r, GPA, 0);
	cr_expect_eq(hw_tlb_count(0), 0);
	cr_expect(!keeps(r, GPA, 0, HW_READ));
	rig_free(r);
}

Test(hw_tlb, a_small_tlb_forgets)
{
	struct rig *r = rig_new(HW_EPT);

	r->model.hm_tlb_entries = 8;
	for (uint64_t i = 0; i < 64; i++) {
		map(r, GPA + i * 0x1000, 0, EPT_LEAF);
		cr_assert_eq(touch(r, GPA + i * 0x1000, HW_READ), HW_OK);
		cr_assert_leq(hw_tlb_count(0), 8);
	}
	rig_free(r);
}

static void
count_entries(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key,
	      struct hw_tlb_entry *e)
{
	(void)cpu;
	(void)space;
	(void)key;
	(void)e;
	++*(unsigned int *)arg;
}

Test(hw_tlb, many_translations_are_found_again)
{
	struct rig *r = rig_new(HW_EPT);
	uint64_t hpa[300];
	unsigned int n = 0;

	for (unsigned int i = 0; i < 300; i++)
		hpa[i] = load_page(r, GPA + i * 0x3000ull, 0);
	cr_expect_geq(hw_tlb_count(0), 300);
	for (unsigned int i = 0; i < 300; i++)
		*word_at(r, GPA + i * 0x3000ull, 0) = 0;
	for (unsigned int i = 0; i < 300; i++)
		assert_reaches(r, GPA + i * 0x3000ull, HW_READ, hpa[i]);
	hw_tlb_foreach(0, count_entries, &n);
	cr_expect_eq(n, hw_tlb_count(0));
	while (hw_tlb_count(0) > 0)
		hw_tlb_evict(0, hw_tlb_count(0) * 7 / 11);
	n = 0;
	hw_tlb_foreach(0, count_entries, &n);
	cr_expect_eq(n, 0);
	for (unsigned int i = 0; i < 300; i++)
		cr_expect(!hw_frame_maybe_cached(hpa[i]));
	rig_free(r);
}

/* Two address spaces under one ASID, one frame: told apart, since their tables are judged apart. */
Test(hw_tlb, entries_remember_the_root_they_came_from)
{
	struct rig *r = rig_new(HW_NPT);
	const uint64_t hpa = load_page(r, GPA, 0);
	const uint64_t first = r->root;
	unsigned int n = 0;

	r->root = r->ctx.hc_root = table_new();
	*word_at(r, GPA, 0) = hpa | X86_ALL;
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK); /* clean: walks, now these tables */
	hw_tlb_foreach_range(0, r->root, GPA, NEXT, count_entries, &n);
	cr_expect_geq(n, 1);
	n = 0;
	hw_tlb_foreach_range(0, first, GPA, NEXT, count_entries, &n);
	cr_expect_geq(n, 1);
	rig_free(r);
}

Test(hw_tlb, ranges_of_the_scan_are_exact)
{
	struct rig *r = rig_new(HW_EPT);
	unsigned int n = 0;

	r->model.hm_kindness = HW_KIND_NO_PSC;
	load_page(r, GPA, 0);
	load_page(r, 0x40400000, 1);
	hw_tlb_foreach_range(0, r->root, 0, GPA, count_entries, &n);
	cr_expect_eq(n, 0);
	hw_tlb_foreach_range(0, r->root, GPA, GPA + 1, count_entries, &n);
	cr_expect_eq(n, 1);
	hw_tlb_foreach_range(0, r->root, GPA + 0x1000, 0x40400000, count_entries, &n);
	cr_expect_eq(n, 1);
	hw_tlb_foreach_range(0, r->root, 0x405ff000, 0x40600000, count_entries, &n);
	cr_expect_eq(n, 2);
	hw_tlb_foreach_range(0, r->root + 0x1000, 0, 0, count_entries, &n);
	cr_expect_eq(n, 2);
	rig_free(r);
}

Test(hw_tlb, frames_that_are_cached_are_known)
{
	struct rig *r = rig_new(HW_EPT);
	const uint64_t hpa = load_page(r, GPA, 0);
	const uint64_t run = load_page(r, 0x40400000, 1);

	cr_expect(hw_frame_maybe_cached(hpa));
	cr_expect(hw_frame_maybe_cached(run + 0x5000));
	cr_expect(hw_frame_maybe_cached(*word_at(r, GPA, 1) & 0xffffffffff000ull)); /* a table */
	hw_invept(0, &r->model, HW_INVEPT_ALL, 0);
	cr_expect(!hw_frame_maybe_cached(hpa));
	cr_expect(!hw_frame_maybe_cached(run + 0x5000));
	rig_free(r);
}

Test(hw_tlb, every_counter_has_a_name)
{
	for (unsigned int i = 0; i < HW_CT_COUNT; i++) {
		cr_expect_not_null(hw_counter_name(i));
		for (unsigned int j = 0; j < i; j++)
			cr_expect_str_neq(hw_counter_name(i), hw_counter_name(j));
	}
}
