/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The oracle of translations: what it must report, and what it must let pass. A false alarm costs
 * as much as a missed one, since nobody believes the next.
 */

#include <stdio.h>

#include "sim/hw/hw_priv.h"
#include "sim/oracle/invariants.h"
#include "sim/oracle/oracle_tlb.h"
#include "tests/unit/hw_rig.h"

#define GPA 0x40201000ull
#define NEXT 0x40202000ull
#define RUN 0x40200000ull /* the 2 MiB around them */
#define FAR 0x40400000ull /* in the next 2 MiB */

static void
write_hook(void *arg, const struct sim_table_write *w)
{
	(void)arg;
	oracle_tlb_write(w);
}

static struct rig *
judged(enum hw_kind kind)
{
	struct rig *r = rig_new(kind);

	cr_assert_eq(oracle_tlb_create(), 0);
	cr_assert_eq(oracle_tlb_register(&r->ctx), 0);
	sim_set_write_hook(write_hook, NULL);
	sim_invariants_reset();
	return r;
}

static void
judged_free(struct rig *r)
{
	oracle_tlb_destroy();
	rig_free(r);
}

/* Changes an entry as the core would, so that the oracle sees it. */
static void
set(struct rig *r, uint64_t gpa, unsigned int level, uint64_t value)
{
	sim_word_xchg(word_at(r, gpa, level), value);
}

static uint64_t
leaf(struct rig *r)
{
	return r->ctx.hc_kind == HW_EPT ? EPT_LEAF : X86_ALL;
}

/* Maps and writes GPA, so that a dirty translation is cached. */
static uint64_t
cached(struct rig *r)
{
	const uint64_t hpa = map(r, GPA, 0, leaf(r));

	assert_reaches(r, GPA, HW_WRITE, hpa);
	return hpa;
}

static void
op_set(struct rig *r, uint64_t gpa, unsigned int level, uint64_t value)
{
	struct oracle_tlb_op op;

	oracle_tlb_op_begin(&op, r->root);
	set(r, gpa, level, value);
	oracle_tlb_op_done(&op, gpa, gpa + 0x1000);
}

static void
op_defer(struct rig *r, uint64_t gpa, unsigned int level, uint64_t value)
{
	struct oracle_tlb_op op;

	oracle_tlb_op_begin(&op, r->root);
	set(r, gpa, level, value);
	oracle_tlb_op_defer(&op);
}

static void
count_dead(void *arg, unsigned int cpu, enum hw_space_kind space, uint64_t key,
	   struct hw_tlb_entry *e)
{
	(void)cpu;
	(void)space;
	(void)key;
	*(unsigned int *)arg += e->te_dead != 0;
}

static unsigned int
dead(void)
{
	unsigned int n = 0;

	hw_tlb_foreach(0, count_dead, &n);
	return n;
}

static void
read_gpa(void *arg)
{
	touch(arg, GPA, HW_READ);
}

static void
remove_gpa(void *arg)
{
	op_set(arg, GPA, 0, 0);
}

#define assert_dead_use(r, inv)                                   \
	do {                                                      \
		struct sim_report report;                         \
                                                                  \
		sim_machine_call((r)->m, read_gpa, r, &report);   \
		assert_violation(report, "CK-TLB", "0x40201000"); \
		cr_assert_str_eq(report.sr_invariant, inv);       \
	} while (0)

/* ---- What must be reported ----------------------------------------------------------------- */

Test(hw_oracle, use_after_removal_is_reported)
{
	for (int kind = HW_X86; kind <= HW_NPT; kind++) {
		struct rig *r = judged(kind);

		cached(r);
		op_set(r, GPA, 0, 0);
		cr_expect_eq(dead(), 1);
		cr_expect_gt(sim_invariant_hits[SIM_I14], 0);
		assert_dead_use(r, "I14");
		judged_free(r);
	}
}

Test(hw_oracle, the_message_names_what_was_cached_and_what_is_true)
{
	struct rig *r = judged(HW_EPT);
	struct sim_report report;
	char frame[32];

	snprintf(frame, sizeof(frame), "frame 0x%llx", (unsigned long long)cached(r));
	op_set(r, GPA, 0, 0);
	sim_machine_call(r->m, read_gpa, r, &report);
	assert_violation(report, "CK-TLB", frame);
	assert_violation(report, "CK-TLB", "4 KiB translation");
	assert_violation(report, "CK-TLB", "nothing there");
	judged_free(r);
}

Test(hw_oracle, a_cpu_in_the_guest_must_not_even_have_it)
{
	for (int kind = HW_EPT; kind <= HW_NPT; kind++) {
		struct rig *r = judged(kind);
		struct sim_report report;

		hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
		cached(r);
		sim_machine_call(r->m, remove_gpa, r, &report);
		assert_violation(report, "CK-TLB", "still has");
		judged_free(r);
	}
}

/* In the guest of another address space it lies idle. */
Test(hw_oracle, a_cpu_in_another_guest_may_keep_it)
{
	struct rig *r = judged(HW_EPT);
	struct hw_context other = r->ctx;

	other.hc_root = table_new() | EPTP_AD;
	cached(r);
	hw_guest_enter(0, &other, HW_TLB_KEEP);
	op_set(r, GPA, 0, 0);
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

Test(hw_oracle, lost_rights_frames_types_and_dirty_are_reported)
{
	for (unsigned int i = 0; i < 5; i++) {
		struct rig *r = judged(HW_EPT);
		const uint64_t now = (cached(r), *word_at(r, GPA, 0));
		const uint64_t then[] = {
			now & ~2ull,				   /* no write */
			now & ~4ull,				   /* no execute */
			(now & ~0xffffffffff000ull) | data_new(0), /* another frame */
			now & ~0x38ull,				   /* uncached */
			now & ~EPT_D,				   /* clean */
		};

		op_set(r, GPA, 0, then[i]);
		cr_expect_eq(dead(), 1, "case %u", i);
		judged_free(r);
	}
}

Test(hw_oracle, a_pointer_to_an_unlinked_table_is_reported)
{
	struct rig *r = judged(HW_EPT);

	cached(r);
	op_set(r, GPA, 1, 0);
	cr_expect_eq(dead(), 2); /* the translation, and the cached level-1 entry */
	hw_tlb_evict(0, 3);	 /* the translation: it came last */
	cr_expect_eq(dead(), 1);
	assert_dead_use(r, "I14"); /* the walk starts from the dead entry */
	judged_free(r);
}

Test(hw_oracle, a_restricted_upper_entry_is_reported)
{
	struct rig *r = judged(HW_NPT);

	cached(r);
	op_set(r, GPA, 2, *word_at(r, GPA, 2) & ~2ull);
	cr_expect_eq(dead(), 3); /* the translation, level 1, level 2; not level 3 */
	judged_free(r);
}

Test(hw_oracle, a_hole_in_a_superpage_is_reported)
{
	struct rig *r = judged(HW_NPT);
	const uint64_t run = map(r, RUN, 1, X86_LARGE);
	const uint64_t table = table_new();
	struct oracle_tlb_op op;

	cr_assert_eq(touch(r, RUN, HW_READ), HW_OK);
	for (unsigned int i = 0; i < 512; i++)
		sim_table_words(table)[i] = (run + i * 0x1000ull) | X86_ALL;
	oracle_tlb_op_begin(&op, r->root);
	set(r, RUN, 1, table | X86_ALL);
	oracle_tlb_op_done(&op, RUN, RUN + 0x200000);
	cr_expect_eq(dead(), 0); /* split alone changes nothing */

	op_set(r, RUN + 0x5000, 0, 0);
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

Test(hw_oracle, every_page_of_a_superpage_is_judged)
{
	struct rig *r = judged(HW_NPT);
	const uint64_t run = map(r, RUN, 1, X86_LARGE);
	struct oracle_tlb_op op;

	cr_assert_eq(touch(r, RUN, HW_READ), HW_OK);
	*word_at(r, RUN, 1) = 0;
	for (unsigned int i = 0; i < 511; i++)
		*word_at(r, RUN + i * 0x1000ull, 0) = (run + i * 0x1000ull) | X86_ALL;
	oracle_tlb_op_begin(&op, r->root);
	oracle_tlb_op_done(&op, 0, 0);
	cr_expect_eq(dead(), 1); /* the last page is missing */
	judged_free(r);
}

/* The hardware may follow a stale pointer ahead of time; what it finds there is as dead. */
Test(hw_oracle, what_comes_through_a_dead_pointer_is_dead)
{
	struct rig *r = judged(HW_EPT);

	cached(r);
	map(r, NEXT, 0, EPT_LEAF);
	op_set(r, GPA, 1, 0);
	cr_expect_eq(dead(), 2);
	hw_speculate(hw_cpu_at(0), &r->ctx, NEXT, HW_LEVELS_MAX);
	cr_expect_eq(dead(), 3);
	judged_free(r);
}

/* The table is replaced by a copy: pointers to the old one are dead, the translations are not. */
Test(hw_oracle, a_live_translation_stays_alive_when_a_dead_pointer_leads_to_it_too)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t hpa = cached(r);
	const uint64_t copy = table_new();

	sim_table_words(copy)[(GPA >> 12) & 511] = *word_at(r, GPA, 0);
	op_set(r, GPA, 1, copy | EPT_TABLE | EPT_A);
	cr_expect_eq(dead(), 1);
	hw_speculate(hw_cpu_at(0), &r->ctx, GPA, HW_LEVELS_MAX); /* from the old table */
	cr_expect_eq(dead(), 1);
	assert_reaches(r, GPA, HW_WRITE, hpa);
	judged_free(r);
}

Test(hw_oracle, a_dead_translation_does_not_stand_for_a_live_one)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t was = (cached(r), *word_at(r, GPA, 0));
	unsigned int before;

	op_set(r, GPA, 0, was & ~2ull);
	before = hw_tlb_count(0);
	hw_speculate(hw_cpu_at(0), &r->ctx, GPA, HW_LEVELS_MAX);
	cr_expect_eq(hw_tlb_count(0), before + 1); /* read only, and alive */
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

Test(hw_oracle, a_scan_is_limited_to_its_range)
{
	struct rig *r = judged(HW_EPT);
	struct oracle_tlb_op op;

	cached(r);
	oracle_tlb_op_begin(&op, r->root);
	set(r, GPA, 0, 0);
	oracle_tlb_op_done(&op, NEXT, NEXT + 0x1000); /* a wrong range: not judged ... */
	cr_expect_eq(dead(), 0);
	oracle_tlb_op_begin(&op, r->root);
	oracle_tlb_op_done(&op, 0, 0); /* ... until all is */
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

Test(hw_oracle, an_address_space_that_is_gone_takes_its_translations_along)
{
	struct rig *r = judged(HW_EPT);
	struct hw_context again = r->ctx;

	cached(r);
	oracle_tlb_forget(r->root);
	cr_expect_eq(dead(), hw_tlb_count(0));
	cr_assert_eq(oracle_tlb_register(&again), 0); /* the same page, a new owner */
	op_set(r, GPA, 0, 0);
	assert_dead_use(r, "I18");
	judged_free(r);
}

/* ---- What must pass ------------------------------------------------------------------------ */

Test(hw_oracle, a_flush_in_time_passes)
{
	struct rig *r = judged(HW_EPT);
	struct oracle_tlb_op op;

	hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
	cached(r);
	oracle_tlb_op_begin(&op, r->root);
	set(r, GPA, 0, 0);
	hw_invept(0, &r->model, HW_INVEPT_SINGLE, r->ctx.hc_root);
	oracle_tlb_op_done(&op, GPA, NEXT);
	cr_expect_eq(dead(), 0);
	cr_expect_eq(touch(r, GPA, HW_READ), HW_FAULT);
	judged_free(r);
}

Test(hw_oracle, a_flush_before_the_next_use_passes)
{
	struct rig *r = judged(HW_NPT);

	cached(r);
	op_set(r, GPA, 0, 0);
	cr_expect_eq(dead(), 1);
	hw_guest_enter(0, &r->ctx, HW_TLB_FLUSH_ASID);
	cr_expect_eq(touch(r, GPA, HW_READ), HW_FAULT);
	judged_free(r);
}

Test(hw_oracle, use_before_the_end_of_the_operation_passes)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t hpa = cached(r);
	struct oracle_tlb_op op;

	oracle_tlb_op_begin(&op, r->root);
	set(r, GPA, 0, 0);
	assert_reaches(r, GPA, HW_READ, hpa);
	oracle_tlb_op_done(&op, GPA, NEXT);
	judged_free(r);
}

Test(hw_oracle, widening_and_promotion_pass)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t run = data_new(9);

	for (unsigned int i = 0; i < 512; i++)
		*word_at(r, RUN + i * 0x1000ull, 0) = (run + i * 0x1000ull) | 0x31 | EPT_A;
	assert_reaches(r, GPA, HW_READ, run + 0x1000);
	op_set(r, GPA, 0, (run + 0x1000) | EPT_LEAF | EPT_A | EPT_D);
	cr_expect_eq(dead(), 0);
	r->model.hm_kindness = HW_KIND_NO_PSC;
	hw_tlb_evict(0, 0); /* the level-3 entry ... */
	while (hw_tlb_count(0) > 1)
		hw_tlb_evict(0, 0); /* ... down to the translation */
	op_set(r, GPA, 1, run | 0xb1 | EPT_A);
	cr_expect_eq(dead(), 0);
	judged_free(r);
}

/* ---- Several operations -------------------------------------------------------------------- */

/* Removed by one that is not over; another, elsewhere or on the same page, must not be blamed. */
Test(hw_oracle, what_a_pending_operation_took_is_not_yet_dead)
{
	struct rig *r = judged(HW_EPT);
	uint64_t ticket;

	cached(r);
	op_defer(r, GPA, 0, 0);
	cr_expect_eq(oracle_tlb_backlog(), 1);
	op_set(r, NEXT, 0, 0);
	op_set(r, GPA, 0, 0); /* nothing there any more: equal value, no write */
	cr_expect_eq(dead(), 0);
	ticket = oracle_tlb_drain_begin();
	oracle_tlb_drain_done(r->root, ticket);
	cr_expect_eq(dead(), 1);
	cr_expect_eq(oracle_tlb_backlog(), 0);
	assert_dead_use(r, "I14");
	judged_free(r);
}

Test(hw_oracle, a_drain_covers_what_was_deferred_before_it_began)
{
	struct rig *r = judged(HW_EPT);
	uint64_t early = oracle_tlb_drain_begin();

	cached(r);
	op_defer(r, GPA, 0, 0);
	oracle_tlb_drain_done(r->root, early);
	cr_expect_eq(dead(), 0);
	oracle_tlb_drain_done(r->root + 0x1000, oracle_tlb_drain_begin()); /* of another pmap */
	cr_expect_eq(dead(), 0);
	oracle_tlb_drain_done(r->root, oracle_tlb_drain_begin());
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

/* Into the slot that a pending operation has emptied, somebody installs another page. */
Test(hw_oracle, an_installer_is_not_blamed_for_what_was_there_before)
{
	for (unsigned int as_operation = 0; as_operation < 2; as_operation++) {
		struct rig *r = judged(HW_EPT);

		cached(r);
		op_defer(r, GPA, 0, 0);
		if (as_operation)
			op_set(r, GPA, 0, data_new(0) | EPT_LEAF);
		else
			set(r, GPA, 0, data_new(0) | EPT_LEAF);
		op_set(r, NEXT, 0, data_new(0) | EPT_LEAF);
		cr_expect_eq(dead(), 0, "%u", as_operation);
		judged_free(r);
	}
}

/*
 * Accessed was cleared, flush still to come, and with emulated flags the hardware sees nothing of
 * the entry: an operation that then removes it must wait for that flush, or it returns too early.
 */
Test(hw_oracle, relying_on_a_pending_clear_is_reported)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t hpa = cached(r);

	op_defer(r, GPA, 0, hpa); /* frame and software's bits, no rights */
	cr_expect_eq(dead(), 0);
	op_set(r, GPA, 0, 0);
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

/* A superpage is restricted by an operation that is pending, then split by one that is over. */
Test(hw_oracle, a_split_is_not_blamed_for_what_was_taken_before)
{
	struct rig *r = judged(HW_NPT);
	const uint64_t run = map(r, RUN, 1, X86_LARGE);
	const uint64_t table = table_new();
	struct oracle_tlb_op op;
	uint64_t ticket;

	cr_assert_eq(touch(r, RUN, HW_READ), HW_OK);
	op_defer(r, RUN, 1, *word_at(r, RUN, 1) & ~2ull);
	for (unsigned int i = 0; i < 512; i++)
		sim_table_words(table)[i] = (run + i * 0x1000ull) | (X86_ALL & ~2ull);
	oracle_tlb_op_begin(&op, r->root);
	set(r, RUN, 1, table | X86_ALL);
	oracle_tlb_op_done(&op, RUN, RUN + 0x200000);
	cr_expect_eq(dead(), 0);

	ticket = oracle_tlb_drain_begin();
	oracle_tlb_drain_done(r->root, ticket);
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

/* A page was made clean by an operation that is pending; then a fault widened it. */
Test(hw_oracle, who_widens_is_not_blamed_for_what_was_taken_before)
{
	struct rig *r = judged(HW_NPT);
	uint64_t ticket;

	map(r, GPA, 0, X86_ALL | X86_NX);
	cr_assert_eq(touch(r, GPA, HW_WRITE), HW_OK);
	op_defer(r, GPA, 0, *word_at(r, GPA, 0) & ~X86_D);
	op_set(r, GPA, 0, *word_at(r, GPA, 0) & ~X86_NX);
	cr_expect_eq(dead(), 0);

	ticket = oracle_tlb_drain_begin();
	oracle_tlb_drain_done(r->root, ticket);
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

/* One restricts the leaf and is over; another, pending, has unlinked the table: blame the first. */
Test(hw_oracle, the_one_who_is_over_is_found_behind_one_who_is_not)
{
	struct rig *r = judged(HW_EPT);
	struct oracle_tlb_op op;

	cached(r);
	op_defer(r, NEXT, 0, data_new(0) | EPT_LEAF); /* keeps the log alive */
	oracle_tlb_op_begin(&op, r->root);
	set(r, GPA, 0, 0);
	oracle_tlb_op_done(&op, NEXT, NEXT + 0x1000); /* judges another page */
	op_defer(r, GPA, 1, 0);
	cr_expect_eq(dead(), 0);
	oracle_tlb_op_begin(&op, r->root);
	oracle_tlb_op_done(&op, GPA, NEXT);
	cr_expect_eq(dead(), 1); /* the translation; the table entry is merely early */
	judged_free(r);
}

/* A page that is entered in the table that `r` had for GPA, by whoever had found it before. */
static void
enter_in_unlinked(struct rig *r, bool deferred)
{
	uint64_t *const slot = word_at(r, NEXT, 0);
	struct oracle_tlb_op op;

	cached(r);
	oracle_tlb_op_begin(&op, r->root);
	set(r, GPA, 1, 0);
	if (deferred)
		oracle_tlb_op_defer(&op);
	else
		oracle_tlb_op_done(&op, FAR, FAR + 0x1000); /* judges others */
	oracle_tlb_op_begin(&op, r->root);
	sim_word_xchg(slot, data_new(0) | EPT_LEAF | EPT_A);
	oracle_tlb_op_done(&op, NEXT, NEXT + 0x1000);
	hw_speculate(hw_cpu_at(0), &r->ctx, NEXT, HW_LEVELS_MAX);
	oracle_tlb_op_begin(&op, r->root);
	oracle_tlb_op_done(&op, NEXT, NEXT + 0x1000);
}

/* Memory never led to it. What is cached of the way does, until the flush that is to come. */
Test(hw_oracle, what_a_fault_enters_in_an_unlinked_table_is_early_while_that_is_pending)
{
	struct rig *r = judged(HW_EPT);

	enter_in_unlinked(r, true);
	cr_assert_eq(hw_tlb_count(0), 5);
	cr_expect_eq(dead(), 0);
	oracle_tlb_drain_done(r->root, oracle_tlb_drain_begin());
	cr_expect_eq(dead(), 3); /* both translations, and what led to them */
	judged_free(r);
}

Test(hw_oracle, what_a_fault_enters_in_an_unlinked_table_is_dead_when_that_is_over)
{
	struct rig *r = judged(HW_EPT);

	op_defer(r, RUN + 0x5000, 0, data_new(0) | EPT_LEAF); /* keeps the log alive */
	enter_in_unlinked(r, false);
	cr_expect_eq(dead(), 2); /* the translation, and what led to it */
	judged_free(r);
}

/*
 * Unlinked by one that is over; then the leaf was taken, by one that is pending, while nothing led
 * to it. That the table is back since does not make what was cached before that one's to end.
 */
Test(hw_oracle, a_leaf_taken_from_a_table_out_of_the_tree_excuses_nothing)
{
	struct rig *r = judged(HW_EPT);
	uint64_t *const slot = (cached(r), word_at(r, GPA, 0));
	const uint64_t table = *word_at(r, GPA, 1);
	struct oracle_tlb_op op;

	oracle_tlb_op_begin(&op, r->root);
	set(r, GPA, 1, 0);
	oracle_tlb_op_done(&op, FAR, FAR + 0x1000); /* judges others */
	oracle_tlb_op_begin(&op, r->root);
	sim_word_xchg(slot, 0);
	oracle_tlb_op_defer(&op);
	op_set(r, GPA, 1, table);
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

/* A table is linked in a locked one that is known to be linked: no early pointer leads to it. */
Test(hw_oracle, a_table_linked_in_an_unlinked_one_is_dead)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t table = (cached(r), table_new());
	uint64_t *const slot = word_at(r, FAR, 1);
	struct oracle_tlb_op op;

	sim_table_words(table)[0] = data_new(0) | EPT_LEAF | EPT_A;
	op_defer(r, GPA, 2, 0);
	oracle_tlb_op_begin(&op, r->root);
	sim_word_xchg(slot, table | EPT_TABLE | EPT_A);
	oracle_tlb_op_done(&op, FAR, FAR + 0x1000);
	hw_speculate(hw_cpu_at(0), &r->ctx, FAR, HW_LEVELS_MAX);
	oracle_tlb_op_begin(&op, r->root);
	oracle_tlb_op_done(&op, FAR, FAR + 0x1000);
	cr_expect_eq(dead(), 1); /* the pointer; its translation is early */
	judged_free(r);
}

/* ---- Frames -------------------------------------------------------------------------------- */

struct freed {
	struct rig *r;
	uint64_t hpa;
};

static void
free_frame(void *arg)
{
	const struct freed *f = arg;

	oracle_tlb_frame_freed(f->hpa);
}

Test(hw_oracle, a_frame_freed_while_a_guest_may_use_it_is_reported)
{
	for (unsigned int table = 0; table < 2; table++) {
		struct rig *r = judged(HW_EPT);
		struct freed f = {r, cached(r)};
		struct sim_report report;

		if (table)
			f.hpa = *word_at(r, GPA, 1) & 0xffffffffff000ull;
		hw_guest_enter(0, &r->ctx, HW_TLB_KEEP);
		sim_machine_call(r->m, free_frame, &f, &report);
		assert_violation(report, "CK-FREE", "is freed while CPU 0 may use");
		cr_expect_str_eq(report.sr_invariant, "I15");
		judged_free(r);
	}
}

Test(hw_oracle, a_frame_freed_while_nobody_is_there_is_dead_from_then_on)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t hpa = cached(r);

	oracle_tlb_frame_freed(hpa + 0x100000); /* some other */
	cr_expect_eq(dead(), 0);
	oracle_tlb_frame_freed(hpa);
	cr_expect_eq(dead(), 1);
	cr_expect_gt(sim_invariant_hits[SIM_I15], 0);
	assert_dead_use(r, "I14");
	judged_free(r);
}

Test(hw_oracle, a_frame_inside_a_superpage_counts)
{
	struct rig *r = judged(HW_NPT);
	const uint64_t run = map(r, RUN, 1, X86_LARGE);

	cr_assert_eq(touch(r, RUN, HW_READ), HW_OK);
	oracle_tlb_frame_freed(run + 0x1ff000);
	cr_expect_eq(dead(), 1);
	judged_free(r);
}

/* The frame comes back to the same place: the same translation is alive again. */
Test(hw_oracle, a_translation_made_anew_is_not_dead)
{
	struct rig *r = judged(HW_EPT);
	const uint64_t hpa = cached(r);

	op_set(r, GPA, 0, 0);
	op_set(r, GPA, 0, hpa | EPT_LEAF | EPT_A | EPT_D);
	cr_expect_eq(dead(), 1);
	hw_invept(0, &r->model, HW_INVEPT_ALL, 0);
	assert_reaches(r, GPA, HW_WRITE, hpa);
	cr_expect_eq(dead(), 0);
	judged_free(r);
}

/* ---- Misuse -------------------------------------------------------------------------------- */

static void
nested_ops(void *arg)
{
	struct rig *r = arg;
	struct oracle_tlb_op a, b;

	oracle_tlb_op_begin(&a, r->root);
	oracle_tlb_op_begin(&b, r->root);
}

static void
unknown_root(void *arg)
{
	struct rig *r = arg;
	struct oracle_tlb_op op;

	oracle_tlb_op_begin(&op, r->root + 0x1000);
	oracle_tlb_op_done(&op, 0, 0);
}

Test(hw_oracle, misuse_is_reported)
{
	void (*const ways[])(void *) = {nested_ops, unknown_root};

	for (unsigned int i = 0; i < 2; i++) {
		struct rig *r = judged(HW_EPT);
		struct sim_report report;

		sim_machine_call(r->m, ways[i], r, &report);
		assert_violation(report, "internal", "");
		judged_free(r);
	}
}
