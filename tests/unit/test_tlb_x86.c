/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * PT_X86: CPUs that load the pmap itself, and flush page by page where that is cheaper. What a CPU
 * flushes is seen through the POSIX host's hooks.
 */

#include "tests/unit/pmap_fixture.h"
#include "tests/unit/scripted_cpu.h"

#define AT (7 * GIB)
#define GPA(i) (AT + (i)*PAGE)
#define INVLPG_MAX 33u /* pages; more are a flush of all */

/* What this CPU was told to flush since the last look. */
struct flushes {
	unsigned int fl_ranges;
	unsigned int fl_full;
	unsigned int fl_global;
	gpa_t fl_va;
	uint64_t fl_npages;
};

/* A CPU that the next flush is interrupted on, by the kick of a generation after it. */
static struct {
	struct pmap *in_pmap;
	struct pmap_slot *in_slot;
} interrupted;

static void
interrupt(void)
{
	struct pmap *const pm = interrupted.in_pmap;

	interrupted.in_pmap = NULL;
	if (pm == NULL)
		return;
	pmap_invalidate_all(pm);
	pmap_kicked(pm, interrupted.in_slot);
}

static void
on_invlpg(void *arg, uint64_t va, uint64_t npages)
{
	struct flushes *f = arg;

	f->fl_ranges++;
	f->fl_va = va;
	f->fl_npages = npages;
	interrupt();
}

static void
on_flush(void *arg, bool global)
{
	struct flushes *f = arg;

	f->fl_full += !global;
	f->fl_global += global;
	interrupt();
}

/* Whether exactly this was flushed; forgets it. */
static bool
flushed(struct flushes *f, gpa_t va, uint64_t npages)
{
	const bool ok = f->fl_ranges == 1 && f->fl_full == 0 && f->fl_global == 0 &&
			f->fl_va == va && f->fl_npages == npages;

	*f = (struct flushes){0};
	return ok;
}

static bool
flushed_nothing(const struct flushes *f)
{
	return f->fl_ranges == 0 && f->fl_full == 0 && f->fl_global == 0;
}

/* Everything was flushed, once, with global translations where the format has them. */
static bool
flushed_all(struct fx *x, struct flushes *f)
{
	const bool global = x->fx_format->ff_caps.pc_global;
	const bool ok = f->fl_ranges == 0 && f->fl_full == !global && f->fl_global == global;

	*f = (struct flushes){0};
	return ok;
}

static void
each_x86(void (*body)(struct fx *x, struct pmap_slot *s, struct flushes *f))
{
	static const char *const names[] = {"x86-user", "x86-kernel"};

	for (unsigned int k = 0; k < 4; k++) {
		struct pmap_slot s = {0};
		struct flushes f = {0};
		const struct host_posix_hooks hooks = {
			.ph_invlpg = on_invlpg, .ph_flush_tlb = on_flush, .ph_arg = &f};
		struct fx x;

		world_begin(NULL);
		host_posix_set_hooks(&hooks);
		fx_open(&x, fx_format(names[k / 2]), k % 2 ? PMAP_REFERENCE : 0);
		pmap_slot_attach(x.fx_pm, &s);
		body(&x, &s, &f);
		pmap_slot_detach(x.fx_pm, &s);
		fx_close(&x);
		host_posix_set_hooks(NULL);
		CHECK(true);
		world_end();
	}
}

/* Pages 0 .. n - 1, written. */
static void
fill(struct fx *x, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		fx_assert(fx_enter(x, GPA(i), FX_HPA + i * PAGE, PMAP_PROT_RWX, PMAP_PROT_W, 0) ==
			  0);
}

/* ---- The CPU that changes the tables itself -------------------------------------------------- */

static void
own_cpu(struct fx *x, struct pmap_slot *s, struct flushes *f)
{
	fill(x, 100);
	pmap_activate(x->fx_pm, s);
	fx_assert(flushed_all(x, f)); /* the first time */
	fx_remove(x, GPA(0), GPA(1));
	fx_assert(flushed(f, GPA(0), 1));
	fx_protect(x, GPA(1), GPA(4), PMAP_PROT_RX);
	fx_assert(flushed(f, GPA(1), 3));
	fx_remove(x, GPA(1), GPA(1 + INVLPG_MAX));
	fx_assert(flushed(f, GPA(1), INVLPG_MAX));
	fx_remove(x, GPA(40), GPA(40 + INVLPG_MAX + 1));
	fx_assert(flushed_all(x, f));
	/* Far apart: as one range it is too long. */
	struct pmap_gather g;

	pmap_gather_begin(&g, x->fx_pm);
	fx_assert(pmap_remove(x->fx_pm, GPA(35), GPA(36), &g) == 0);
	fx_assert(pmap_remove(x->fx_pm, GPA(99), GPA(100), &g) == 0);
	fx_assert(flushed_nothing(f));
	pmap_gather_finish(&g);
	fx_assert(flushed_all(x, f));

	fx_assert(pmap_invalidate_page(x->fx_pm, 0) == 0);
	fx_assert(flushed(f, 0, 1));
	fx_assert(pmap_invalidate_range(x->fx_pm, x->fx_limit - 4 * PAGE, x->fx_limit) == 0);
	fx_assert(flushed(f, x->fx_limit - 4 * PAGE, 4));
	pmap_invalidate_all(x->fx_pm);
	fx_assert(flushed_all(x, f));
	/* No change, no flush; nothing to do for a kick that came for nothing. */
	fx_assert(fx_enter(x, GPA(0), FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	pmap_kicked(x->fx_pm, s);
	fx_assert(flushed_nothing(f));
	pmap_deactivate(s);
	pmap_kicked(x->fx_pm, s); /* it came late */
	fx_assert(flushed_nothing(f));
	fx_assert(fx_stats(x).st_kicks == 0);
}

Test(tlb_x86, pages_up_to_a_threshold_then_everything)
{
	each_x86(own_cpu);
}

/* An initiator that is its own handler has interrupts on: the newer acknowledgement stays. */
static void
kicked_meanwhile(struct fx *x, struct pmap_slot *s, struct flushes *f)
{
	struct pmap_slot own = {0}; /* on no list, so that nobody waits for it */

	(void)s;
	pmap_activate(x->fx_pm, &own);
	pmap_invalidate_all(x->fx_pm);
	*f = (struct flushes){0};
	interrupted.in_pmap = x->fx_pm;
	interrupted.in_slot = &own;
	pmap_kicked(x->fx_pm, &own);
	fx_assert(f->fl_full + f->fl_global == 2);
	fx_assert(host_load(&own.ps_state) >> 1 == pmap_generation(x->fx_pm));
	*f = (struct flushes){0};
	/* All is flushed and acknowledged: a kick finds nothing left to do. */
	pmap_kicked(x->fx_pm, &own);
	fx_assert(flushed_nothing(f));
	pmap_deactivate(&own);
}

Test(tlb_x86, an_acknowledgement_replaces_no_newer_one)
{
	each_x86(kicked_meanwhile);
}

/* An unlinked table is flushed for, though none of its pages was accessed. */
static void
tables(struct fx *x, struct pmap_slot *s, struct flushes *f)
{
	pmap_activate(x->fx_pm, s);
	fx_assert(flushed_all(x, f));
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
	fx_assert(fx_enter(x, AT + 2 * MIB, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
	fx_remove(x, AT, AT + 2 * MIB);
	fx_assert(flushed_all(x, f)); /* more pages than one would flush one by one */
	pmap_deactivate(s);
}

/* A superpage is flushed from its first byte to its last, not only where it begins. */
static void
superpages(struct fx *x, struct pmap_slot *s, struct flushes *f)
{
	pmap_activate(x->fx_pm, s);
	fx_assert(flushed_all(x, f));
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 1) == 0);
	fx_protect(x, AT, AT + 2 * MIB, PMAP_PROT_RX);
	fx_assert(flushed_all(x, f));
	fx_remove(x, AT, AT + 2 * MIB);
	fx_assert(flushed_all(x, f));
	pmap_deactivate(s);
}

Test(tlb_x86, a_superpage_is_flushed_whole)
{
	each_x86(superpages);
}

Test(tlb_x86, an_unlinked_table_is_flushed)
{
	each_x86(tables);
}

/* No translation changed, but paging-structure caches still lead to the table that is gone. */
static void
joined(struct fx *x, struct pmap_slot *s, struct flushes *f)
{
	fill(x, 512);
	pmap_activate(x->fx_pm, s);
	*f = (struct flushes){0};
	fx_assert(fx_promote(x, AT, 1) == 0);
	fx_assert(flushed(f, AT, 1));
	pmap_deactivate(s);
}

Test(tlb_x86, a_table_that_was_joined_away_is_flushed)
{
	each_x86(joined);
}

/* ---- Away for some time ---------------------------------------------------------------------- */

static void
away(struct fx *x, struct pmap_slot *s, struct flushes *f)
{
	fill(x, 100);
	for (unsigned int n = 0; n <= 20; n++) {
		pmap_activate(x->fx_pm, s);
		*f = (struct flushes){0};
		pmap_deactivate(s);
		for (unsigned int i = 0; i < n; i++)
			fx_assert(pmap_invalidate_page(x->fx_pm, GPA(i)) == 0);
		fx_assert(flushed_nothing(f));
		pmap_activate(x->fx_pm, s);
		if (n == 0)
			fx_assert(flushed_nothing(f));
		else if (n <= 8) /* as many generations as have their ranges on record */
			fx_assert(flushed(f, GPA(0), n));
		else
			fx_assert(flushed_all(x, f));
		pmap_deactivate(s);
	}
	/* Another CPU, or whatever else made what it had void. */
	pmap_slot_reset(s);
	pmap_activate(x->fx_pm, s);
	fx_assert(flushed_all(x, f));
	pmap_deactivate(s);
	/* A short record of long ranges. */
	fx_assert(pmap_invalidate_page(x->fx_pm, GPA(0)) == 0);
	fx_assert(pmap_invalidate_page(x->fx_pm, GPA(INVLPG_MAX)) == 0);
	pmap_activate(x->fx_pm, s);
	fx_assert(flushed_all(x, f));
	pmap_deactivate(s);
}

Test(tlb_x86, a_cpu_that_was_away_catches_up)
{
	each_x86(away);
}

/* ---- Another CPU ----------------------------------------------------------------------------- */

struct other {
	struct scripted_cpu ot_cpu;
	struct fx *ot_x;
	struct pmap_slot ot_slot;
	struct flushes ot_flushes;
	struct host_word ot_quit;
};

/* Has the pmap loaded, and handles kicks until told to stop. */
static void
loaded(void *arg)
{
	struct other *o = arg;
	const struct host_posix_hooks hooks = {
		.ph_invlpg = on_invlpg, .ph_flush_tlb = on_flush, .ph_arg = &o->ot_flushes};

	host_posix_set_hooks(&hooks);
	(void)host_posix_kick_taken();
	pmap_activate(o->ot_x->fx_pm, &o->ot_slot);
	while (host_load_acquire(&o->ot_quit) == 0) {
		if (host_posix_kick_taken())
			pmap_kicked(o->ot_x->fx_pm, &o->ot_slot);
		sched_yield();
	}
	pmap_deactivate(&o->ot_slot);
	host_posix_set_hooks(NULL);
}

static void
other_cpu(struct fx *x, struct pmap_slot *s, struct flushes *f)
{
	static struct other o;
	struct pmap_slot *slot = &o.ot_slot;

	o = (struct other){.ot_x = x};
	pmap_slot_attach(x->fx_pm, slot);
	scripted_start(&o.ot_cpu);
	fill(x, 100);
	scripted_tell(&o.ot_cpu, loaded, &o);
	while (host_load_acquire(&slot->ps_state) == 0)
		sched_yield();
	for (unsigned int i = 0; i < 50; i++)
		fx_remove(x, GPA(i), GPA(i + 1));
	host_store_release(&o.ot_quit, 1);
	scripted_wait(&o.ot_cpu);
	/* Each was flushed before the remover went on; the first, perhaps, with everything. */
	fx_assert(o.ot_flushes.fl_full + o.ot_flushes.fl_global >= 1);
	fx_assert(o.ot_flushes.fl_ranges >= 49);
	fx_assert(o.ot_flushes.fl_va == GPA(49) && o.ot_flushes.fl_npages == 1);
	fx_assert(fx_stats(x).st_kicks >= 49);
	fx_assert(flushed_nothing(f)); /* this CPU has nothing loaded */
	fx_assert(!pmap_guest_enter(x->fx_pm, slot));
	pmap_guest_exit(slot);
	scripted_stop(&o.ot_cpu);
	pmap_slot_detach(x->fx_pm, slot);
	host_epoch_drain();
	fx_assert(s->ps_seen == 0);
}

Test(tlb_x86, a_kicked_cpu_flushes_what_changed)
{
	each_x86(other_cpu);
}
