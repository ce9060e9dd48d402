/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What others do while a slot is frozen, and while an installer waits for a flush. CPUs that cannot
 * bear mixed page sizes flush between the old entry and the new one; a vCPU that does not leave the
 * guest keeps them there for as long as the test wants to look.
 */

#include "tests/unit/scripted_vcpu.h"

#define AT (6 * GIB)

/* A call that is made on a CPU of its own. */
struct call {
	struct scripted_cpu ca_cpu;
	struct fx *ca_x;
	unsigned int ca_what;
	int ca_result;
	struct pmap_leaf ca_leaf;
	struct pmap_mapping ca_mapping;
};

enum { CALL_EXTRACT, CALL_EMULATE, CALL_ENTER, CALL_REMOVE, CALL_PROTECT, CALL_DEMOTE, CALLS };

static void
make_call(void *arg)
{
	struct call *c = arg;
	struct pmap *const pm = c->ca_x->fx_pm;
	struct pmap_gather g;

	pmap_gather_begin(&g, pm);
	switch (c->ca_what) {
	case CALL_EXTRACT:
		c->ca_result = pmap_extract(pm, AT + 5 * PAGE, &c->ca_leaf);
		break;
	case CALL_EMULATE:
		c->ca_result = pmap_emulate_accessed_dirty(pm, AT + 5 * PAGE, PMAP_PROT_R);
		break;
	case CALL_ENTER:
		c->ca_result = pmap_enter(pm, &c->ca_mapping);
		break;
	case CALL_REMOVE:
		c->ca_result = pmap_remove(pm, AT + 5 * PAGE, AT + 6 * PAGE, &g);
		break;
	case CALL_PROTECT:
		c->ca_result = pmap_protect(pm, AT, AT + 2 * MIB, PMAP_PROT_RX, &g);
		break;
	default:
		c->ca_result = pmap_demote(pm, AT, 1, &g);
		break;
	}
	pmap_gather_finish(&g);
}

static void
call(struct call *c, struct fx *x, unsigned int what)
{
	*c = (struct call){.ca_x = x, .ca_what = what, .ca_result = 1};
	c->ca_mapping = (struct pmap_mapping){
		.pa_gpa = AT + 5 * PAGE, .pa_hpa = FX_HPA + GIB, .pa_prot = PMAP_PROT_RX};
	scripted_start(&c->ca_cpu);
}

static int
result(struct call *c)
{
	scripted_wait(&c->ca_cpu);
	scripted_stop(&c->ca_cpu);
	return c->ca_result;
}

/* It has come to the frozen slot, as far as that can be seen, and waits. */
static void
still_waits(struct call *c)
{
	struct pmap_stats st = {0};

	while (c->ca_what == CALL_ENTER && st.st_enter_restarts == 0) {
		sched_yield();
		pmap_stats(c->ca_x->fx_pm, &st);
	}
	for (unsigned int i = 0; i < 50; i++) {
		fx_assert(scripted_busy(&c->ca_cpu));
		sched_yield();
	}
}

static void
each_erratum(void (*body)(struct fx *x, struct vcpu *v))
{
	static const char *const names[] = {"ept", "ept-noad", "rvi-4"};

	for (unsigned int k = 0; k < 6; k++) {
		struct vcpu v;
		struct fx x;

		world_begin(NULL);
		fx_open(&x, fx_format(names[k / 2]),
			PMAP_MIXED_SIZE_ERRATUM | (k % 2 ? PMAP_REFERENCE : 0));
		vcpu_start(&v, &x);
		body(&x, &v);
		vcpu_stop(&v);
		fx_close(&x);
		CHECK(true);
		world_end();
	}
}

/* ---- A frozen slot --------------------------------------------------------------------------- */

/* What a call must have come to, once the superpage is 512 pages. */
static void
came_to(struct fx *x, const struct call *c)
{
	const struct pmap_leaf leaf = fx_leaf(x, AT + 5 * PAGE);

	switch (c->ca_what) {
	case CALL_EXTRACT:
		fx_assert(c->ca_leaf.pl_level == 0 && c->ca_leaf.pl_modified);
		fx_assert(c->ca_leaf.pl_hpa == FX_HPA + 5 * PAGE);
		break;
	case CALL_ENTER:
		fx_assert(leaf.pl_hpa == FX_HPA + GIB && leaf.pl_prot == PMAP_PROT_RX);
		break;
	case CALL_REMOVE:
		fx_assert(leaf.pl_prot == 0);
		break;
	case CALL_PROTECT:
		fx_assert(leaf.pl_prot == PMAP_PROT_RX && leaf.pl_level == 0);
		fx_assert(x->fx_nnotes == HOST_TABLE_WORDS);
		break;
	default:
		fx_assert(leaf.pl_level == 0 && leaf.pl_modified);
		break;
	}
	fx_assert(fx_leaf(x, AT + 6 * PAGE).pl_hpa == FX_HPA + 6 * PAGE);
}

static void
frozen(struct fx *x, struct vcpu *v)
{
	for (unsigned int what = 0; what < CALL_DEMOTE; what++) {
		struct call splits;
		struct call other;
		pt_entry_t entries[PT_LEVELS_MAX];
		unsigned int n;

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 1) == 0);
		fx_forget(x);
		call(&splits, x, CALL_DEMOTE);
		call(&other, x, what);

		const uint64_t kicks = vcpu_run(v, true);

		scripted_tell(&splits.ca_cpu, make_call, &splits);
		await_kicks(v->vc_cpu.sc_cpu, kicks + 1);
		/* Hardware finds nothing there, and says so to who asks for entries. */
		fx_assert(pmap_walk(x->fx_pm, AT, entries, &n) == 0);
		fx_assert(entries[n - 1] == x->fx_fmt->pf_frozen);
		fx_assert(!pte_is_valid(x->fx_fmt, entries[n - 1]));

		scripted_tell(&other.ca_cpu, make_call, &other);
		still_waits(&other);
		still_waits(&splits);
		vcpu_release(v);
		fx_assert(result(&splits) == 0);
		fx_assert(result(&other) == 0);
		fx_check(x);
		came_to(x, &other);
		fx_remove(x, 0, x->fx_limit);
	}
}

Test(frozen, others_wait_for_what_it_will_be)
{
	each_erratum(frozen);
}

/* ---- Revoked while waiting ------------------------------------------------------------------- */

/* Before the frozen slot becomes a table: the page in it is not touched. */
static void
revoked_at_frozen(struct fx *x, struct vcpu *v)
{
	struct host_word decision = {0};
	struct call splits;
	struct call enters;

	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 1) == 0);
	call(&splits, x, CALL_DEMOTE);
	call(&enters, x, CALL_ENTER);
	enters.ca_mapping.pa_revoked = &decision;

	const uint64_t kicks = vcpu_run(v, true);

	scripted_tell(&splits.ca_cpu, make_call, &splits);
	await_kicks(v->vc_cpu.sc_cpu, kicks + 1);
	scripted_tell(&enters.ca_cpu, make_call, &enters);
	still_waits(&enters);
	host_xchg(&decision, 1);
	vcpu_release(v);
	fx_assert(result(&splits) == 0);
	fx_assert(result(&enters) == -EAGAIN);
	fx_assert(fx_leaf(x, AT + 5 * PAGE).pl_hpa == FX_HPA + 5 * PAGE);
	fx_assert(fx_leaf(x, AT + 5 * PAGE).pl_modified);
	fx_assert(x->fx_nnotes == 0);
}

Test(frozen, revoked_before_it_is_refilled)
{
	each_erratum(revoked_at_frozen);
}

/* An installer that waits for the flush of what was there; level 0: a page, 1: a table. */
static void
revoked_at_flush(struct fx *x, struct vcpu *v)
{
	for (unsigned int k = 0; k < 4; k++) {
		const bool whole_table = k % 2 != 0;
		const bool revoke = k / 2 != 0;
		struct host_word decision = {0};
		struct pmap_gather g;
		struct call enters;

		fx_assert(fx_enter(x, AT + 5 * PAGE, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
		call(&enters, x, CALL_ENTER);
		enters.ca_mapping.pa_revoked = &decision;

		const uint64_t kicks = vcpu_run(v, true);

		pmap_gather_begin(&g, x->fx_pm);
		if (whole_table)
			fx_assert(pmap_remove(x->fx_pm, AT, AT + 2 * MIB, &g) == 0);
		else
			fx_assert(pmap_remove(x->fx_pm, AT + 5 * PAGE, AT + 6 * PAGE, &g) == 0);
		scripted_tell(&enters.ca_cpu, make_call, &enters);
		await_kicks(v->vc_cpu.sc_cpu, kicks + 1);
		fx_assert(fx_leaf(x, AT + 5 * PAGE).pl_prot == 0);
		if (revoke)
			host_xchg(&decision, 1);
		vcpu_release(v);
		fx_assert(result(&enters) == (revoke ? -EAGAIN : 0));
		fx_assert((fx_leaf(x, AT + 5 * PAGE).pl_prot == 0) == revoke);
		pmap_gather_finish(&g);
		fx_check(x);
		fx_remove(x, 0, x->fx_limit);
	}
}

Test(frozen, revoked_while_a_flush_is_under_way)
{
	each_erratum(revoked_at_flush);
}
