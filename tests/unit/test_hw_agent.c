/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The hardware at work beside software: speculation, evictions, walks that race with changes of the
 * tables, and a small shootdown protocol of which each part is left out in turn. Gentle hardware
 * hides some of these mistakes; which, is part of what is tested.
 */

#include "sim/oracle/oracle_tlb.h"
#include "tests/unit/hw_rig.h"

#define GPA 0x40201000ull
#define PAGES 8

/* A machine that chooses by a seed, with entries below one table of level 0 at hand. */
struct world {
	struct sim_machine *m;
	struct hw_model model;
	struct hw_context ctx;
	uint64_t *words; /* of GPA and the pages after it */
	unsigned int rounds;

	/* The protocol's. */
	struct host_word active;
	struct host_word ack;
	struct host_word gen;
	struct host_word done;
	uint64_t seen;
	unsigned int without; /* one of WITHOUT_* */
	unsigned int reads;
	unsigned int wrong;
};

enum { WITHOUT_NOTHING, WITHOUT_FLUSH, WITHOUT_WAIT, WITHOUT_KICK_AND_WAIT };

static struct world *
world_new(enum hw_kind kind, uint64_t seed, uint32_t speculate, uint32_t evict)
{
	static struct world world;
	struct world *w = &world;
	struct sim_config cfg = config(2, seed);
	struct hw_config hw = {.hg_speculate_weight = speculate, .hg_evict_weight = evict};
	const uint64_t all = kind == HW_EPT ? EPT_TABLE : X86_ALL;
	uint64_t table;

	if (w->m) {
		hw_destroy();
		sim_machine_destroy(w->m);
	}
	memset(w, 0, sizeof(*w));
	w->m = machine(&cfg);
	cr_assert_eq(hw_create(&hw), 0);
	hw_model_init(&w->model);
	w->ctx = (struct hw_context){
		.hc_model = &w->model, .hc_kind = kind, .hc_levels = 4, .hc_tag = kind != HW_X86};
	table = table_new();
	w->ctx.hc_root = table | (kind == HW_EPT ? EPTP_AD : 0);
	for (unsigned int level = 3; level > 0; level--) {
		const uint64_t next = table_new();

		sim_table_words(table)[(GPA >> (12 + 9 * level)) & 511] = next | all;
		table = next;
	}
	w->words = &sim_table_words(table)[(GPA >> 12) & 511];
	for (unsigned int i = 0; i < PAGES; i++)
		w->words[i] = data_new(0) | (kind == HW_EPT ? EPT_LEAF : X86_ALL);
	return w;
}

static void
world_free(struct world *w)
{
	oracle_tlb_destroy();
	hw_destroy();
	sim_machine_destroy(w->m);
	w->m = NULL;
}

static void
in_guest(void *arg)
{
	struct world *w = arg;

	sim_irq_disable();
	if (sim_guest_enter()) {
		hw_guest_enter(0, &w->ctx, HW_TLB_KEEP);
		for (unsigned int i = 0; i < w->rounds && sim_guest_point(GPA); i++)
			;
		hw_guest_exit(0);
	}
	sim_guest_exit();
	sim_irq_enable();
}

static void
idle(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++)
		sim_point(SIM_USER, NULL);
}

/* ---- Speculation --------------------------------------------------------------------------- */

Test(hw_agent, what_is_present_gets_cached_without_an_access)
{
	for (int kind = HW_EPT; kind <= HW_NPT; kind++) {
		struct world *w = world_new(kind, 7, 50, 0);
		const uint64_t a = kind == HW_EPT ? EPT_A : X86_A;
		const uint64_t d = kind == HW_EPT ? EPT_D : X86_D;
		struct sim_report report;
		unsigned int accessed = 0;

		w->rounds = 2000;
		report = run_on(w->m, (program_fn[]){in_guest, NULL}, w);
		assert_passed(report);
		cr_expect_gt(hw_counters[HW_CT_SPEC_FILL], 0);
		cr_expect_gt(hw_counters[HW_CT_SPEC_TABLE], 0);
		cr_expect_gt(hw_counters[HW_CT_SPEC_SET_A], 0);
		cr_expect_eq(hw_counters[HW_CT_WALK], 0);
		cr_expect_eq(hw_counters[HW_CT_SET_D], 0);
		for (unsigned int i = 0; i < PAGES; i++) {
			cr_expect_eq(w->words[i] & d, 0, "speculation set dirty");
			accessed += (w->words[i] & a) != 0;
		}
		cr_expect_gt(accessed, PAGES / 2);
		world_free(w);
	}
}

Test(hw_agent, speculation_needs_a_live_context)
{
	struct world *w = world_new(HW_EPT, 7, 50, 0);
	struct sim_report report;

	w->rounds = 2000;
	report = run_on(w->m, (program_fn[]){idle, NULL}, w);
	assert_passed(report);
	cr_expect_eq(hw_tlb_count(0) + hw_tlb_count(1), 0);
	world_free(w);

	w = world_new(HW_EPT, 7, 50, 0);
	w->model.hm_kindness = HW_KIND_NO_SPECULATION;
	w->rounds = 2000;
	report = run_on(w->m, (program_fn[]){in_guest, NULL}, w);
	assert_passed(report);
	cr_expect_eq(hw_tlb_count(0), 0);
	world_free(w);

	w = world_new(HW_X86, 7, 50, 0); /* the host's own space is live while it is loaded */
	w->rounds = 2000;
	hw_load_cr3(0, &w->ctx);
	report = run_on(w->m, (program_fn[]){idle, NULL}, w);
	assert_passed(report);
	cr_expect_gt(hw_tlb_count(0), 0);
	cr_expect_eq(hw_tlb_count(1), 0);
	world_free(w);
}

Test(hw_agent, speculation_leaves_alone_what_is_absent_or_useless)
{
	struct world *w = world_new(HW_EPT, 3, 50, 0);
	struct sim_report report;

	for (unsigned int i = 0; i < PAGES; i++)
		w->words[i] &= ~7ull; /* as with accessed cleared, where software keeps the flags */
	w->rounds = 2000;
	report = run_on(w->m, (program_fn[]){in_guest, NULL}, w);
	assert_passed(report);
	cr_expect_eq(hw_counters[HW_CT_SPEC_FILL], 0);
	world_free(w);

	w = world_new(HW_NPT, 3, 50, 0);
	w->model.hm_tolerant = true;
	for (unsigned int i = 0; i < PAGES; i++)
		w->words[i] &= ~4ull; /* not for user mode: nested walks are user accesses */
	w->rounds = 2000;
	report = run_on(w->m, (program_fn[]){in_guest, NULL}, w);
	assert_passed(report);
	cr_expect_eq(hw_counters[HW_CT_SPEC_FILL], 0);
	world_free(w);
}

Test(hw_agent, evictions_empty_the_caches)
{
	struct world *w = world_new(HW_EPT, 7, 0, 50);
	struct sim_report report;

	for (unsigned int i = 0; i < PAGES; i++) {
		struct hw_translation out;
		struct hw_fault fault;

		hw_access(0, &w->ctx, GPA + i * 0x1000, HW_READ, &out, &fault);
	}
	cr_expect_geq(hw_tlb_count(0), PAGES);
	w->rounds = 2000;
	report = run_on(w->m, (program_fn[]){idle, NULL}, w);
	assert_passed(report);
	cr_expect_eq(hw_tlb_count(0), 0);
	cr_expect_geq(hw_counters[HW_CT_EVICT], PAGES);
	world_free(w);
}

/* ---- Walks that race with changes ---------------------------------------------------------- */

/* Writes and reads that race with an entry going and coming. */
static void
racing_guest(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++) {
		struct hw_translation out;
		struct hw_fault fault;

		hw_access(0, &w->ctx, GPA, i % 3 ? HW_WRITE : HW_READ, &out, &fault);
		hw_invept(0, &w->model, HW_INVEPT_SINGLE, w->ctx.hc_root);
	}
}

/* An accessed or dirty flag set in an entry that is gone would be a store into nowhere. */
static void
racing_owner(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++) {
		const uint64_t was = sim_word_xchg(&w->words[0], 0);

		w->wrong += (was & 0xffffffffff000ull) == 0;
		w->wrong += sim_word_load(&w->words[0], SIM_LOAD) != 0;
		sim_word_xchg(&w->words[0], was & ~(EPT_A | EPT_D));
	}
}

Test(hw_agent, flags_are_set_only_in_the_entry_that_was_walked)
{
	uint64_t restarts = 0, dirty = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct world *w = world_new(HW_EPT, seed, 3, 1);
		struct sim_report report;

		w->rounds = 40;
		report = run_on(w->m, (program_fn[]){racing_guest, racing_owner}, w);
		assert_passed(report);
		cr_expect_eq(w->wrong, 0, "seed %llu", (unsigned long long)seed);
		restarts += hw_counters[HW_CT_WALK_RESTART];
		dirty += hw_counters[HW_CT_SET_D];
		world_free(w);
	}
	cr_expect_gt(restarts, 0);
	cr_expect_gt(dirty, 0);
}

/* Writes alone, and nothing that speculates: A without D is half of one of them. */
static void
writing_guest(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++) {
		struct hw_translation out;
		struct hw_fault fault;

		hw_access(0, &w->ctx, GPA, HW_WRITE, &out, &fault);
		hw_invept(0, &w->model, HW_INVEPT_SINGLE, w->ctx.hc_root);
	}
}

static void
watching_owner(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < 4 * w->rounds; i++) {
		const uint64_t now = sim_word_load(&w->words[0], SIM_LOAD);

		w->reads += (now & (EPT_A | EPT_D)) == EPT_A;
		w->wrong += (now & (EPT_A | EPT_D)) == EPT_D;
		if (i % 4 == 0)
			sim_word_fetch_and(&w->words[0], ~(EPT_A | EPT_D));
	}
}

/* SDM vol. 3A 4.8: A when an entry is used, D when it is used for a write; not as one event. */
Test(hw_agent, accessed_may_be_seen_before_dirty)
{
	unsigned int half = 0;

	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct world *w = world_new(HW_EPT, seed, 0, 0);
		struct sim_report report;

		w->rounds = 40;
		report = run_on(w->m, (program_fn[]){writing_guest, watching_owner}, w);
		assert_passed(report);
		cr_expect_eq(w->wrong, 0, "seed %llu", (unsigned long long)seed);
		half += w->reads;
		world_free(w);
	}
	cr_expect_gt(half, 10, "%u", half);
}

/* The word of an upper table on the way to GPA. */
static uint64_t *
upper_word(const struct world *w, unsigned int level)
{
	uint64_t table = hw_context_root(&w->ctx);

	for (unsigned int l = 3; l > level; l--)
		table = sim_table_words(table)[(GPA >> (12 + 9 * l)) & 511] & 0xffffffffff000ull;
	return &sim_table_words(table)[(GPA >> (12 + 9 * level)) & 511];
}

/* Changes what hardware ignores: its locked operations fail, and that is all. */
static void
nagging_owner(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < 8 * w->rounds; i++) {
		sim_word_fetch_or(upper_word(w, 1 + i % 2), UINT64_C(1) << 11);
		sim_word_fetch_and(upper_word(w, 1 + i % 2), ~(UINT64_C(1) << 11));
	}
}

/* Whatever was used is marked, also by a walk that had to start over. */
static void
marking_guest(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++) {
		struct hw_translation out;
		struct hw_fault fault;
		struct hw_walk walk;

		for (unsigned int level = 3; level > 0; level--)
			sim_word_fetch_and(upper_word(w, level), ~EPT_A);
		hw_invept(0, &w->model, HW_INVEPT_SINGLE, w->ctx.hc_root);
		if (hw_access(0, &w->ctx, GPA, HW_WRITE, &out, &fault) != HW_OK)
			continue;
		hw_walk_quiet(&w->ctx, GPA, &walk);
		w->reads++;
		for (unsigned int n = 0; n < 3; n++)
			w->wrong += (walk.wk_entries[n] & EPT_A) == 0;
	}
}

/* SDM vol. 3A 4.10.3.1: nothing is cached, and so used again, before its accessed flag is set. */
Test(hw_agent, accessed_is_set_in_all_that_was_used)
{
	unsigned int used = 0;
	uint64_t restarts = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct world *w = world_new(HW_EPT, seed, 0, 0);
		struct sim_report report;

		w->rounds = 40;
		report = run_on(w->m, (program_fn[]){marking_guest, nagging_owner}, w);
		assert_passed(report);
		cr_expect_eq(w->wrong, 0, "seed %llu", (unsigned long long)seed);
		used += w->reads;
		restarts += hw_counters[HW_CT_WALK_RESTART];
		world_free(w);
	}
	cr_expect_gt(used, 1000, "%u", used);
	cr_expect_gt(restarts, 10);
}

Test(hw_agent, nobody_acts_during_an_atomic_walk)
{
	struct world *w;
	uint64_t restarts = 0;

	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct sim_report report;

		w = world_new(HW_EPT, seed, 3, 1);
		w->model.hm_kindness = HW_KIND_ATOMIC_WALK;
		w->rounds = 40;
		report = run_on(w->m, (program_fn[]){racing_guest, racing_owner}, w);
		assert_passed(report);
		restarts += hw_counters[HW_CT_WALK_RESTART];
		world_free(w);
	}
	cr_expect_eq(restarts, 0);
}

/* An interrupt handler that invalidates in the middle of a walk: the walk begins anew. */
static void
flush_handler(void *arg, unsigned int cpu)
{
	struct world *w = arg;

	hw_flush_cr3(cpu, &w->ctx, true);
	w->seen++;
}

static void
host_reads(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++) {
		struct hw_translation out;
		struct hw_fault fault;

		hw_access(0, &w->ctx, GPA, HW_WRITE, &out, &fault);
		hw_invlpg(0, &w->ctx, GPA);
	}
}

static void
host_kicks(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++)
		sim_host_kick(0);
}

Test(hw_agent, an_invalidation_by_a_handler_restarts_the_walk)
{
	uint64_t restarts = 0;

	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct world *w = world_new(HW_X86, seed, 0, 0);
		struct sim_report report;

		w->rounds = 60;
		for (unsigned int i = 0; i < PAGES; i++)
			w->words[i] |= X86_A | X86_D; /* so that nothing else restarts it */
		sim_set_irq_handler(flush_handler, w);
		hw_load_cr3(0, &w->ctx);
		report = run_on(w->m, (program_fn[]){host_reads, host_kicks}, w);
		assert_passed(report);
		cr_expect_gt(w->seen, 0);
		restarts += hw_counters[HW_CT_WALK_RESTART];
		world_free(w);
	}
	cr_expect_gt(restarts, 0);
}

/* ---- A shootdown protocol, whole and in parts ---------------------------------------------- */

static void
guest_stay(struct world *w)
{
	hw_guest_enter(0, &w->ctx, HW_TLB_KEEP);
	for (unsigned int i = 0; i < 20 && sim_guest_point(GPA); i++) {
		struct hw_translation out;
		struct hw_fault fault;

		if (hw_access(0, &w->ctx, GPA + i % 2 * 0x1000, HW_READ, &out, &fault) != HW_OK)
			break;
		w->reads++;
		w->wrong += sim_data_load(out.ht_hpa) != 0;
	}
	hw_guest_exit(0);
}

static void
protocol_guest(void *arg)
{
	struct world *w = arg;

	while (host_load(&w->done) == 0) {
		uint64_t gen;

		sim_irq_disable();
		host_xchg(&w->active, 1);
		gen = host_load(&w->gen);
		host_store(&w->ack, gen);
		if (gen != w->seen && w->without != WITHOUT_FLUSH)
			hw_invept(0, &w->model, HW_INVEPT_SINGLE, w->ctx.hc_root);
		w->seen = gen;
		if (sim_guest_enter())
			guest_stay(w);
		sim_guest_exit();
		host_store_release(&w->active, 0);
		sim_irq_enable();
	}
}

/* Each round replaces the frame of the page; the old one is reused for something else. */
static void
protocol_owner(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; i < w->rounds; i++) {
		struct oracle_tlb_op op;
		uint64_t gen, was;

		oracle_tlb_op_begin(&op, hw_context_root(&w->ctx));
		was = sim_word_xchg(&w->words[0], 0);
		gen = host_fetch_add(&w->gen, 1) + 1;
		if (host_load(&w->active) != 0 && host_load(&w->ack) < gen &&
		    w->without != WITHOUT_KICK_AND_WAIT)
			host_kick(0);
		while (w->without < WITHOUT_WAIT && host_load(&w->active) != 0 &&
		       host_load(&w->ack) < gen)
			host_relax();
		oracle_tlb_op_done(&op, GPA, GPA + 0x1000);
		oracle_tlb_frame_freed(was & 0xffffffffff000ull);
		sim_frame_free(was & 0xffffffffff000ull, 0);
		sim_word_xchg(&w->words[0], sim_frame_alloc(SIM_FRAME_DATA, 0) | EPT_LEAF);
	}
	host_xchg(&w->done, 1);
}

static void
feed_oracle(void *arg, const struct sim_table_write *write)
{
	(void)arg;
	oracle_tlb_write(write);
}

static uint64_t reads; /* over all runs of a test */

static struct sim_report
protocol(uint64_t seed, unsigned int without, uint32_t kindness)
{
	struct world *w = world_new(HW_EPT, seed, 3, 1);
	struct sim_report report;

	cr_assert_eq(oracle_tlb_create(), 0);
	cr_assert_eq(oracle_tlb_register(&w->ctx), 0);
	sim_set_write_hook(feed_oracle, NULL);
	w->model.hm_kindness = kindness;
	w->without = without;
	w->rounds = 60;
	report = run_on(w->m, (program_fn[]){protocol_guest, protocol_owner}, w);
	reads += w->reads;
	cr_expect_eq(w->wrong, 0);
	world_free(w);
	return report;
}

/* The number of seeds in which CK-TLB or CK-FREE fired; nothing else may. */
static unsigned int
found(unsigned int without, uint32_t kindness)
{
	unsigned int n = 0;

	reads = 0;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		const struct sim_report report = protocol(seed, without, kindness);

		if (report.sr_result == SIM_RUN_PASSED)
			continue;
		cr_expect_eq(report.sr_result, SIM_RUN_VIOLATED);
		cr_expect(strcmp(report.sr_check, "CK-TLB") == 0 ||
				  strcmp(report.sr_check, "CK-FREE") == 0,
			  "%s: %s", report.sr_check, report.sr_message);
		n++;
	}
	cr_expect_gt(reads, 60);
	return n;
}

Test(hw_agent, a_correct_protocol_passes_on_unkind_hardware)
{
	cr_expect_eq(found(WITHOUT_NOTHING, 0), 0);
}

Test(hw_agent, a_missing_flush_is_found_unless_exits_flush)
{
	cr_expect_gt(found(WITHOUT_FLUSH, 0), 50);
	cr_expect_eq(found(WITHOUT_FLUSH, HW_KIND_EXIT_FLUSHES), 0);
	cr_expect_eq(found(WITHOUT_FLUSH, HW_KIND_NO_TLB), 0);
}

Test(hw_agent, a_missing_wait_is_found)
{
	cr_expect_gt(found(WITHOUT_WAIT, 0), 20);
	cr_expect_gt(found(WITHOUT_WAIT, HW_KIND_EXIT_FLUSHES), 20);
}

Test(hw_agent, a_missing_kick_and_wait_is_found)
{
	cr_expect_gt(found(WITHOUT_KICK_AND_WAIT, 0), 50);
}

/* ---- Determinism --------------------------------------------------------------------------- */

Test(hw_agent, equal_seeds_give_equal_runs)
{
	uint64_t last = 0;

	for (uint64_t seed = 1; seed <= 10; seed++) {
		const uint64_t hash = protocol(seed, WITHOUT_NOTHING, 0).sr_hash;

		cr_expect_eq(protocol(seed, WITHOUT_NOTHING, 0).sr_hash, hash);
		cr_expect_neq(hash, last);
		last = hash;
	}
}
