/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The shootdown clock: who must flush, who is interrupted, who waits for whom, and how often,
 * counted exactly. Other CPUs are scripted, so that nothing here depends on timing.
 */

#include "tests/unit/pmap_fixture.h"
#include "tests/unit/scripted_vcpu.h"

#ifndef PMAP_GEN_BITS
#define PMAP_GEN_BITS 64
#endif

#define AT (7 * GIB)
#define GPA(i) (AT + (i)*PAGE)
#define MANY 40u

/* Runs body with a pmap of each type of nested paging, in both forms. */
static void
each_nested(unsigned int flags, void (*body)(struct fx *x))
{
	static const char *const names[] = {"ept", "ept-noad", "rvi-4"};

	for (unsigned int k = 0; k < 6; k++) {
		struct fx x;

		world_begin(NULL);
		fx_open(&x, fx_format(names[k / 2]), flags | (k % 2 ? PMAP_REFERENCE : 0));
		body(&x);
		fx_close(&x);
		CHECK(true);
		world_end();
	}
}

/* Entry, flush, exit of this CPU; whether the flush was asked for. */
static bool
pass(struct fx *x, struct pmap_slot *s, bool flush_works)
{
	const bool asked = pmap_guest_enter(x->fx_pm, s);

	if (asked && flush_works)
		pmap_guest_flushed(s);
	pmap_guest_exit(s);
	return asked;
}

/* Pages 0 .. MANY - 1, written. */
static void
fill(struct fx *x)
{
	for (unsigned int i = 0; i < MANY; i++)
		fx_assert(fx_enter(x, GPA(i), FX_HPA + i * PAGE, PMAP_PROT_RWX, PMAP_PROT_W, 0) ==
			  0);
}

/* ---- Entries --------------------------------------------------------------------------------- */

static void
entries(struct fx *x)
{
	struct pmap_slot *s = new_slot(x);
	struct pmap_slot *other = new_slot(x);

	fill(x);
	fx_assert(pass(x, s, false)); /* the first */
	fx_assert(pass(x, s, false)); /* that one failed */
	fx_assert(pass(x, s, true));
	fx_assert(!pass(x, s, true));
	fx_assert(!pass(x, s, true));

	/* Nothing changed that could be cached. */
	fx_assert(fx_enter(x, GPA(MANY), FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	fx_assert(!pass(x, s, true));

	fx_remove(x, GPA(0), GPA(1));
	fx_assert(pass(x, s, false));
	fx_assert(pass(x, s, true));
	fx_assert(!pass(x, s, true));

	/* Two changes, one flush. */
	fx_protect(x, GPA(1), GPA(2), PMAP_PROT_RX);
	fx_remove(x, GPA(2), GPA(3));
	fx_assert(pass(x, s, true));
	fx_assert(!pass(x, s, true));

	pmap_slot_reset(s);
	fx_assert(pass(x, s, true));
	fx_assert(!pass(x, s, true));

	/* Each has seen for itself. */
	fx_assert(pass(x, other, true));
	fx_assert(!pass(x, s, true));
	fx_assert(fx_stats(x).st_kicks == 0);
	free_slot(x, s);
	free_slot(x, other);
}

Test(tlb, entries_flush_what_they_have_not_seen)
{
	each_nested(0, entries);
}

/* Attached and detached in any order; what is attached is seen, what is not is not. */
static void
slots(struct fx *x)
{
	for (unsigned int k = 0; k < 6; k++) {
		static const unsigned int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
							  {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
		struct pmap_slot *s[3];

		for (unsigned int i = 0; i < 3; i++)
			s[i] = new_slot(x);
		for (unsigned int i = 0; i < 3; i++) {
			fx_assert(pass(x, s[orders[k][i]], true));
			pmap_invalidate_all(x->fx_pm);
			fx_assert(pass(x, s[orders[k][i]], true));
			free_slot(x, s[orders[k][i]]);
			pmap_invalidate_all(x->fx_pm);
		}
	}
	fx_assert(fx_stats(x).st_kicks == 0);
	fx_assert(fx_stats(x).st_shootdowns == 6 * 6);
}

Test(tlb, slots_come_and_go)
{
	each_nested(0, slots);
}

/* ---- What needs no flush --------------------------------------------------------------------- */

static void
elided(struct fx *x)
{
	struct pmap_stats st;

	for (unsigned int i = 0; i < 4; i++)
		fx_assert(fx_enter(x, GPA(i), FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
	fx_assert(fx_enter(x, GPA(1), FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0); /* wider */
	fx_protect(x, GPA(1), GPA(2), PMAP_PROT_RWX);				    /* equal */
	fx_assert(pmap_unwire(x->fx_pm, AT, GPA(4)) == 0);
	fx_protect(x, GPA(2), GPA(3), PMAP_PROT_R); /* A is clear */
	fx_remove(x, GPA(0), GPA(1));		    /* A is clear */
	fx_remove(x, GPA(5), GPA(9));		    /* nothing there */
	fx_assert(fx_harvest(x, GPA(2), GPA(4), PMAP_HARVEST_MODIFIED, NULL) == 0);
	fx_assert(fx_harvest(x, GPA(2), GPA(4), PMAP_HARVEST_ACCESSED, NULL) == 0);
	fx_assert(fx_enter(x, GPA(3), FX_HPA + PAGE, PMAP_PROT_RX, 0, 0) == 0); /* A is clear */
	st = fx_stats(x);
	fx_assert(st.st_shootdowns == 0 && st.st_shootdowns_merged == 0);
	fx_assert(st.st_shootdowns_elided > 0);
	fx_assert(pmap_generation(x->fx_pm) == 1);
	fx_remove(x, GPA(1), GPA(2)); /* this one was accessed */
	fx_assert(fx_stats(x).st_shootdowns == 1);
	fx_assert(pmap_generation(x->fx_pm) == 2);
}

Test(tlb, nothing_cached_nothing_flushed)
{
	each_nested(0, elided);
}

/* ---- Other CPUs ------------------------------------------------------------------------------ */

/* N unmaps in one gather: one generation, one interrupt for each CPU that is in the guest. */
static void
one_kick(struct fx *x)
{
	struct vcpu v[3];
	uint64_t kicks[3];
	struct pmap_gather g;

	fill(x);
	for (unsigned int i = 0; i < 3; i++) {
		vcpu_start(&v[i], x);
		kicks[i] = kicks_of(v[i].vc_cpu.sc_cpu);
	}
	for (unsigned int i = 0; i < 2; i++) {
		scripted_call(&v[i].vc_cpu, vcpu_enter, &v[i]);
		fx_assert(v[i].vc_flush);
		scripted_tell(&v[i].vc_cpu, vcpu_until_kicked, &v[i]);
	}
	pmap_gather_begin(&g, x->fx_pm);
	for (unsigned int i = 0; i < MANY; i++)
		fx_assert(pmap_remove(x->fx_pm, GPA(i), GPA(i + 1), &g) == 0);
	fx_assert(fx_stats(x).st_kicks == 0 && pmap_generation(x->fx_pm) == 1);
	pmap_gather_finish(&g);
	fx_assert(fx_stats(x).st_shootdowns == 1);
	fx_assert(fx_stats(x).st_kicks == 2);
	fx_assert(pmap_generation(x->fx_pm) == 2);
	for (unsigned int i = 0; i < 3; i++) {
		scripted_wait(&v[i].vc_cpu);
		fx_assert(kicks_of(v[i].vc_cpu.sc_cpu) == kicks[i] + (i < 2));
	}
	/* All are out: the next one disturbs no one. */
	pmap_invalidate_all(x->fx_pm);
	fx_assert(fx_stats(x).st_kicks == 2);
	for (unsigned int i = 0; i < 3; i++) {
		scripted_call(&v[i].vc_cpu, vcpu_enter, &v[i]);
		fx_assert(v[i].vc_flush);
		scripted_call(&v[i].vc_cpu, vcpu_exit, &v[i]);
		vcpu_stop(&v[i]);
	}
}

Test(tlb, one_gather_one_generation_one_kick_per_cpu)
{
	each_nested(0, one_kick);
}

static void
invalidate(void *arg)
{
	struct fx *x = arg;

	pmap_invalidate_all(x->fx_pm);
}

/* An initiator waits for who was in the guest before, not for who entered after its generation. */
static void
waits(struct fx *x)
{
	struct scripted_cpu initiator;
	struct vcpu before;
	struct vcpu after;
	uint64_t kicks;

	scripted_start(&initiator);
	vcpu_start(&before, x);
	vcpu_start(&after, x);
	kicks = vcpu_run(&before, true);

	scripted_tell(&initiator, invalidate, x);
	await_kicks(before.vc_cpu.sc_cpu, kicks + 1);
	fx_assert(pmap_generation(x->fx_pm) == 2);
	scripted_call(&after.vc_cpu, vcpu_enter, &after);
	fx_assert(after.vc_flush);
	for (unsigned int i = 0; i < 100; i++) {
		fx_assert(scripted_busy(&initiator));
		sched_yield();
	}
	host_store_release(&before.vc_stay, 0);
	scripted_wait(&initiator);
	scripted_wait(&before.vc_cpu);
	fx_assert(fx_stats(x).st_kicks == 1);
	scripted_call(&after.vc_cpu, vcpu_exit, &after);
	vcpu_stop(&before);
	vcpu_stop(&after);
	scripted_stop(&initiator);
}

Test(tlb, an_initiator_waits_for_those_that_were_there_before)
{
	each_nested(0, waits);
}

static void
enter_superpage(void *arg)
{
	struct fx *x = arg;

	fx_assert(fx_enter(x, AT, FX_HPA + 2 * MIB, PMAP_PROT_RW, PMAP_PROT_W, 1) == 0);
}

/* Pages make way for a superpage of other frames: nobody has both (clause 7). */
static void
makes_way(struct fx *x)
{
	struct scripted_cpu initiator;
	struct vcpu v;
	uint64_t kicks;

	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RW, PMAP_PROT_W, 0) == 0);
	scripted_start(&initiator);
	vcpu_start(&v, x);
	kicks = vcpu_run(&v, true);
	scripted_tell(&initiator, enter_superpage, x);
	await_kicks(v.vc_cpu.sc_cpu, kicks + 1);
	fx_assert(fx_leaf(x, AT).pl_prot == 0);
	vcpu_release(&v);
	scripted_wait(&initiator);
	fx_assert(fx_leaf(x, AT).pl_level == 1 && fx_leaf(x, AT).pl_hpa == FX_HPA + 2 * MIB);
	vcpu_stop(&v);
	scripted_stop(&initiator);
}

Test(tlb, what_makes_way_is_flushed_first)
{
	each_nested(0, makes_way);
}

/* Two that come while one is in flight share the next one. */
static void
merging(struct fx *x)
{
	struct scripted_cpu initiators[3];
	struct vcpu v;
	uint64_t kicks;

	vcpu_start(&v, x);
	kicks = vcpu_run(&v, true);
	for (unsigned int i = 0; i < 3; i++) {
		scripted_start(&initiators[i]);
		scripted_tell(&initiators[i], invalidate, x);
		/* Each kicks for itself, after it has read which generation it needs. */
		await_kicks(v.vc_cpu.sc_cpu, kicks + i + 1);
		fx_assert(pmap_generation(x->fx_pm) == 2);
	}
	host_store_release(&v.vc_stay, 0);
	for (unsigned int i = 0; i < 3; i++) {
		scripted_wait(&initiators[i]);
		scripted_stop(&initiators[i]);
	}
	scripted_wait(&v.vc_cpu);
	fx_assert(pmap_generation(x->fx_pm) == 3);
	fx_assert(fx_stats(x).st_shootdowns == 2);
	fx_assert(fx_stats(x).st_shootdowns_merged == 1);
	fx_assert(fx_stats(x).st_kicks == 3);
	vcpu_stop(&v);
}

Test(tlb, initiators_share_a_generation)
{
	each_nested(0, merging);
}

/* ---- Restrictions that are pending ----------------------------------------------------------- */

/* A was cleared, but not flushed yet: who finds A clear may not conclude that nothing is cached. */
static void
pending(struct fx *x)
{
	const bool defer = (x->fx_flags & PMAP_DEFER) != 0;
	struct pmap_gather aging;
	struct pmap_gather g;

	for (unsigned int op = 0; op < 4; op++) {
		const uint64_t before = fx_stats(x).st_shootdowns;

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
		pmap_gather_begin(&aging, x->fx_pm);
		fx_assert(pmap_ts_referenced(x->fx_pm, AT, GPA(1), NULL, &aging) == 0);
		fx_assert(aging.pg_flush == !defer && aging.pg_deferred == defer);
		fx_assert(!fx_leaf(x, AT).pl_accessed);
		if (defer)
			pmap_gather_finish(&aging);
		fx_assert(fx_stats(x).st_shootdowns == before);

		pmap_gather_begin(&g, x->fx_pm);
		if (op == 0)
			fx_assert(pmap_remove(x->fx_pm, AT, GPA(1), &g) == 0);
		else if (op == 1)
			fx_assert(pmap_protect(x->fx_pm, AT, GPA(1), PMAP_PROT_R, &g) == 0);
		else if (op == 2)
			fx_assert(pmap_remove(x->fx_pm, AT, AT + 2 * MIB, &g) == 0);
		else
			fx_assert(pmap_clear_modify(x->fx_pm, AT, GPA(1), &g) == 0);
		fx_assert(g.pg_flush);
		pmap_gather_finish(&g);
		fx_assert(fx_stats(x).st_shootdowns == before + 1);

		/* Flushed: nothing is pending any more, whoever had it done. */
		pmap_gather_finish(&aging);
		pmap_drain(x->fx_pm);
		fx_assert(fx_stats(x).st_shootdowns == before + (defer ? 1 : 2));
		fx_assert(pmap_protect(x->fx_pm, AT, GPA(1), PMAP_PROT_R, &g) == 0);
		fx_assert(!g.pg_flush && !g.pg_deferred);
		fx_remove(x, 0, x->fx_limit);
		pmap_drain(x->fx_pm);
	}
}

Test(tlb, what_relies_on_a_clear_bit_waits_for_its_flush)
{
	each_nested(0, pending);
	each_nested(PMAP_DEFER, pending);
}

/* Splitting and joining take along what is pending. */
static void
resized_stamp(struct fx *x)
{
	struct pmap_gather first;
	struct pmap_gather g;

	for (unsigned int k = 0; k < 2; k++) {
		const uint64_t before = fx_stats(x).st_shootdowns;

		pmap_gather_begin(&first, x->fx_pm);
		pmap_gather_begin(&g, x->fx_pm);
		if (k == 0) {
			/* An aged superpage; then one of its pages goes, with A clear. */
			fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 1) == 0);
			fx_assert(pmap_ts_referenced(x->fx_pm, AT, GPA(1), NULL, &first) == 0);
			fx_assert(pmap_demote(x->fx_pm, AT, 1, &g) == 0);
			fx_assert(!g.pg_flush);
			fx_assert(pmap_remove(x->fx_pm, GPA(3), GPA(4), &g) == 0);
		} else {
			/* Write-protected pages; then their superpage is found to be clean. */
			fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 1) == 0);
			fx_assert(pmap_demote(x->fx_pm, AT, 1, &g) == 0);
			fx_assert(pmap_protect(x->fx_pm, AT, AT + 2 * MIB, PMAP_PROT_RX, &first) ==
				  0);
			fx_assert(pmap_promote(x->fx_pm, AT, 1, &g) == 0);
			fx_assert(!g.pg_flush && g.pg_deferred);
			fx_assert(pmap_clear_modify(x->fx_pm, AT, GPA(1), &g) == 0);
		}
		fx_assert(g.pg_flush);
		pmap_gather_finish(&g);
		fx_assert(fx_stats(x).st_shootdowns == before + 1);
		pmap_gather_finish(&first);
		fx_remove(x, 0, x->fx_limit);
	}
}

Test(tlb, splitting_and_joining_keep_what_is_pending)
{
	each_nested(0, resized_stamp);
}

/* A table, or three of them, linked where others were unlinked whose leaves may be cached. */
static void
anew_stamp(struct fx *x)
{
	for (unsigned int k = 0; k < 4; k++) {
		const bool cached = k % 2 == 0;
		const uint64_t len = k < 2 ? 2 * MIB : GIB;
		struct pmap_gather first;
		struct pmap_gather g;

		pmap_gather_begin(&first, x->fx_pm);
		pmap_gather_begin(&g, x->fx_pm);
		/* What is beyond keeps the tables above. */
		fx_assert(fx_enter(x, AT + 2 * GIB, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
		fx_assert(fx_enter(x, AT & ~(len - 1), FX_HPA, PMAP_PROT_RX,
				   cached ? PMAP_PROT_R : 0, 0) == 0);
		fx_assert(pmap_remove(x->fx_pm, AT & ~(len - 1), (AT & ~(len - 1)) + len, &first) ==
			  0);
		fx_assert(fx_enter(x, (AT & ~(len - 1)) + PAGE, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
		fx_assert(pmap_remove(x->fx_pm, AT & ~(len - 1), (AT & ~(len - 1)) + PAGE, &g) ==
			  0);
		/* Of an upper table it is not known what its tables were: once too often. */
		fx_assert(k == 3 || g.pg_flush == cached);
		pmap_gather_finish(&g);
		pmap_gather_finish(&first);
		fx_remove(x, 0, x->fx_limit);
	}
}

Test(tlb, a_new_table_knows_what_is_pending_of_the_old_one)
{
	each_nested(0, anew_stamp);
	each_nested(PMAP_DEFER, anew_stamp);
}

/* Promotion joins two histories: the later of both restrictions is what remains pending. */
static void
promoted_stamp(struct fx *x)
{
	struct scripted_cpu initiator;
	struct pmap_gather g[3];
	struct vcpu v;
	uint64_t kicks;

	for (unsigned int i = 0; i < HOST_TABLE_WORDS; i++)
		fx_assert(fx_enter(x, GPA(i), FX_HPA + i * PAGE, PMAP_PROT_RWX, PMAP_PROT_W, 0) ==
			  0);
	fx_assert(fx_enter(x, AT + 2 * MIB, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 1) == 0);
	for (unsigned int i = 0; i < 3; i++)
		pmap_gather_begin(&g[i], x->fx_pm);
	/* In the table: generation 2 completes it. */
	fx_assert(pmap_protect(x->fx_pm, AT, AT + 2 * MIB, PMAP_PROT_RX, &g[0]) == 0);

	scripted_start(&initiator);
	vcpu_start(&v, x);
	kicks = vcpu_run(&v, true);
	scripted_tell(&initiator, invalidate, x);
	await_kicks(v.vc_cpu.sc_cpu, kicks + 1);

	/* Beside it, in the table above: generation 3 completes it, while 2 is in flight. */
	fx_assert(pmap_ts_referenced(x->fx_pm, AT + 2 * MIB, AT + 4 * MIB, NULL, &g[1]) == 0);
	fx_assert(pmap_promote(x->fx_pm, AT, 1, &g[2]) == 0);
	host_store_release(&v.vc_stay, 0);
	scripted_wait(&initiator);
	scripted_wait(&v.vc_cpu);

	struct pmap_gather last;

	pmap_gather_begin(&last, x->fx_pm);
	fx_assert(pmap_remove(x->fx_pm, AT + 2 * MIB, AT + 4 * MIB, &last) == 0);
	fx_assert(last.pg_flush);
	pmap_gather_finish(&last);
	for (unsigned int i = 0; i < 3; i++)
		pmap_gather_finish(&g[i]);
	vcpu_stop(&v);
	scripted_stop(&initiator);
}

Test(tlb, promotion_keeps_the_later_restriction_pending)
{
	each_nested(0, promoted_stamp);
}

/* ---- Deferral -------------------------------------------------------------------------------- */

#define LIMBO_MAX 64u

/* A table of its own for each, with a page that was never accessed; then all of it unmapped. */
static void
unlink_tables(struct fx *x, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		fx_assert(fx_enter(x, AT + i * 2 * MIB, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
		fx_remove(x, AT + i * 2 * MIB, AT + (i + 1) * 2 * MIB);
	}
}

static void
deferral(struct fx *x)
{
	const uint64_t tables = world_tables_in_use();
	struct pmap_gather g;

	pmap_drain(x->fx_pm); /* nothing to drain */
	fx_assert(fx_stats(x).st_shootdowns == 0);

	/* One more page, so that the upper tables stay. */
	fx_assert(fx_enter(x, AT + 128 * 2 * MIB, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
	const uint64_t upper = world_tables_in_use() - tables;

	unlink_tables(x, LIMBO_MAX);
	fx_assert(fx_stats(x).st_limbo == LIMBO_MAX);
	fx_assert(world_tables_in_use() == tables + upper + LIMBO_MAX);
	fx_assert(fx_stats(x).st_shootdowns == 0);
	fx_assert(x->fx_backlogs == 1);

	/* One too many: synchronous, and all the others go with it. */
	unlink_tables(x, 1);
	fx_assert(fx_stats(x).st_shootdowns == 1);
	fx_assert(fx_stats(x).st_limbo == 0);
	fx_assert(world_tables_in_use() == tables + upper);
	fx_assert(x->fx_backlogs == 1);

	/* The owner drains as it was asked to: there is nothing left to wait for. */
	pmap_drain(x->fx_pm);
	fx_assert(fx_stats(x).st_shootdowns == 1);
	unlink_tables(x, 3);
	fx_assert(x->fx_backlogs == 2);
	fx_assert(fx_stats(x).st_limbo == 3);
	pmap_drain(x->fx_pm);
	fx_assert(fx_stats(x).st_shootdowns == 2);
	fx_assert(fx_stats(x).st_limbo == 0);
	fx_assert(world_tables_in_use() == tables + upper);
	pmap_drain(x->fx_pm);
	fx_assert(fx_stats(x).st_shootdowns == 2);

	/* What was accessed is never deferred, and takes the backlog along. */
	unlink_tables(x, 2);
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_remove(x->fx_pm, AT, GPA(1), &g) == 0);
	pmap_gather_finish(&g);
	fx_assert(fx_stats(x).st_shootdowns == 3);
	fx_assert(fx_stats(x).st_limbo == 0);
	unlink_tables(x, 5); /* destroying drains */
	fx_assert(fx_stats(x).st_limbo != 0);
}

static void
defer_more(void *arg, enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	struct fx *const x = arg;

	(void)a;
	(void)b;
	(void)c;
	if (event != HOST_TRACE_SHOOTDOWN_END)
		return;
	host_posix_set_hooks(NULL);
	unlink_tables(x, 2);
}

/*
 * What is deferred while the owner drains (the end of its shootdown is told when the thread holds
 * nothing) is for the next drain, which must know of it. */
static void
deferred_meanwhile(struct fx *x)
{
	const struct host_posix_hooks hooks = {.ph_trace = defer_more, .ph_arg = x};

	fx_assert(fx_enter(x, AT + 128 * 2 * MIB, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
	unlink_tables(x, 3);
	host_posix_set_hooks(&hooks);
	pmap_drain(x->fx_pm);
	fx_assert(fx_stats(x).st_limbo == 2 && fx_stats(x).st_shootdowns == 1);
	fx_assert(x->fx_backlogs == 2); /* it was asked again */
	pmap_drain(x->fx_pm);
	fx_assert(fx_stats(x).st_limbo == 0 && fx_stats(x).st_shootdowns == 2);
}

Test(tlb, deferred_while_draining)
{
	each_nested(PMAP_DEFER, deferred_meanwhile);
}

Test(tlb, deferral_is_bounded)
{
	each_nested(PMAP_DEFER, deferral);
}

/* A backlog that outlives many generations of others is freed all the same. */
static void
old_backlog(struct fx *x)
{
	for (unsigned int n = 1; n < 600; n += n < 8 ? 1 : 61) {
		unlink_tables(x, 2);
		fx_assert(fx_stats(x).st_limbo >= 2);
		for (unsigned int i = 0; i < n; i++)
			pmap_invalidate_all(x->fx_pm);
		pmap_drain(x->fx_pm);
		fx_assert(fx_stats(x).st_limbo == 0);
	}
}

Test(tlb, an_old_backlog_is_freed)
{
	each_nested(PMAP_DEFER, old_backlog);
}

/* ---- A clock that turns ---------------------------------------------------------------------- */

/* However long a slot was idle, its next entry flushes; and then no more. */
static void
idle_for_long(struct fx *x)
{
	struct pmap_slot *s = new_slot(x);
	struct pmap_slot *never = new_slot(x);

	/* Among them are 255 and 510: whole turns of a clock of 8 bits, which leaves out 0. */
	for (unsigned int n = 3; n <= 1100; n += n < 520 ? 3 : 41) {
		fx_assert(pass(x, s, true) || n > 3);
		for (unsigned int i = 0; i < n; i++)
			pmap_invalidate_all(x->fx_pm);
		fx_assert(pass(x, s, false));
		fx_assert(pass(x, s, true));
		fx_assert(!pass(x, s, true));
		fx_assert(pmap_generation(x->fx_pm) != 0);
	}
	if (PMAP_GEN_BITS == 8)
		fx_assert(pmap_generation(x->fx_pm) < 256);
	fx_assert(pass(x, never, true));
	free_slot(x, s);
	free_slot(x, never);
}

Test(tlb, an_idle_slot_flushes_however_far_the_clock_went)
{
	each_nested(0, idle_for_long);
}

/* A slot that is kicked out again and again, over more than a turn of a narrow clock. */
static void
kicked_often(struct fx *x)
{
	struct vcpu v;

	vcpu_start(&v, x);
	for (unsigned int i = 0; i < fx_scale(300); i++) {
		scripted_call(&v.vc_cpu, vcpu_enter, &v);
		fx_assert(v.vc_flush);
		scripted_tell(&v.vc_cpu, vcpu_until_kicked, &v);
		pmap_invalidate_all(x->fx_pm);
		scripted_wait(&v.vc_cpu);
	}
	fx_assert(fx_stats(x).st_kicks == fx_scale(300));
	vcpu_stop(&v);
}

Test(tlb, a_kick_for_each_generation)
{
	each_nested(0, kicked_often);
}

/*
 * The clock of a pmap that is years old, at each quarter of a turn. A CPU in the guest is kicked
 * for every generation, the one at which the clock wraps included, and none of them is none.
 */
static void
years_later(struct fx *x)
{
	const uint64_t quarter = (uint64_t)1 << ((PMAP_GEN_BITS < 63 ? PMAP_GEN_BITS : 63) - 2);
	struct pmap_config cfg;
	struct fx old = *x;

	fx_config(x->fx_format, x->fx_flags, &cfg);
	for (unsigned int i = 1; i <= 4; i++) {
		struct pmap_slot *idle;
		struct vcpu v;

		cfg.pc_generation = i * quarter - 3;
		fx_assert(pmap_init(&cfg, &old.fx_pm) == 0);
		fx_assert(pmap_generation(old.fx_pm) == i * quarter - 3);
		vcpu_start(&v, &old);
		idle = new_slot(&old);
		fx_assert(pass(&old, idle, true));
		for (unsigned int n = 0; n < 6; n++) {
			scripted_call(&v.vc_cpu, vcpu_enter, &v);
			fx_assert(v.vc_flush);
			scripted_tell(&v.vc_cpu, vcpu_until_kicked, &v);
			pmap_invalidate_all(old.fx_pm);
			scripted_wait(&v.vc_cpu);
			fx_assert(pass(&old, idle, true));
			fx_assert(pmap_generation(old.fx_pm) - 1 < 4 * quarter - 1);
		}
		fx_assert(fx_stats(&old).st_kicks == 6);
		free_slot(&old, idle);
		vcpu_stop(&v);
		pmap_destroy(old.fx_pm);
	}
}

Test(tlb, a_clock_that_is_years_old)
{
	each_nested(0, years_later);
}
