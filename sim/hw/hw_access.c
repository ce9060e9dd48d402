/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Accesses: by what is cached if there is any, else by a walk; and what a fault makes a CPU forget.
 */

#include <string.h>

#include "sim/hw/hw_priv.h"
#include "sim/story/story_record.h"

void
hw_dead_use(struct hw_cpu *c, const struct hw_context *ctx, const struct hw_tlb_entry *e,
	    uint64_t gpa, unsigned int access)
{
	if (hw_state->st_dead_use)
		hw_state->st_dead_use(hw_state->st_dead_arg, c->hw_id, ctx, e, gpa, access);
	sim_violation("CK-TLB", "I14", "CPU %u used a dead entry for 0x%llx", c->hw_id,
		      (unsigned long long)gpa);
}

static void
translate(const struct hw_tlb_entry *e, uint64_t va, bool cached, struct hw_translation *out)
{
	out->ht_hpa = e->te_hpa + (va & (hw_entry_bytes(e) - 1));
	out->ht_level = e->te_level;
	out->ht_rights = e->te_rights;
	out->ht_memtype = e->te_memtype;
	out->ht_ignore_pat = e->te_ignore_pat;
	out->ht_dirty = e->te_dirty;
	out->ht_cached = cached;
}

/*
 * What a fault makes the CPU forget: what it would have used for this address (EPT violation: SDM
 * vol. 3C 29.4.3.1; #PF: vol. 3A 4.10.4.1; an EPT misconfiguration: nothing).
 */
static enum hw_result
fault_now(struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa,
	  const struct hw_fault *fault)
{
	struct hw_space *s = hw_space_of(c, ctx, false);

	hw_counters[HW_CT_FAULT]++;
	if (fault->hf_kind == HW_FAULT_EPT_MISCONFIG)
		return HW_FAULT;
	if (hw_kind_of(ctx, HW_KIND_FAULT_FLUSHES))
		hw_drop_space(c, s);
	hw_drop_address(c, s, gpa, true);
	if (ctx->hc_kind == HW_X86)
		hw_drop_address(c, hw_space_global(c), gpa, false);
	return HW_FAULT;
}

static void
remember(struct hw_cpu *c, uint64_t gpa)
{
	c->hw_recent[c->hw_nrecent++ % HW_RECENT] = gpa & ~(uint64_t)4095;
}

void
hw_hint(unsigned int cpu, uint64_t gpa)
{
	remember(hw_cpu_at(cpu), gpa);
}

static enum hw_result
walk(struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa, unsigned int access,
     struct hw_tlb_entry *e, struct hw_fault *fault)
{
	enum hw_walked walked;

	hw_counters[HW_CT_WALK]++;
	remember(c, gpa);
	while ((walked = hw_walk_once(c, ctx, gpa, access, e, fault)) == HW_WALK_CHANGED)
		hw_counters[HW_CT_WALK_RESTART]++;
	return walked == HW_WALK_DONE ? HW_OK : fault_now(c, ctx, gpa, fault);
}

/* One of the cached translations that serve the address. */
static struct hw_tlb_entry *
pick(const struct hw_context *ctx, struct hw_tlb_entry **found, unsigned int n)
{
	unsigned int i = 0;

	if (n <= 1)
		return n == 0 ? NULL : found[0];
	hw_counters[HW_CT_AMBIGUOUS]++;
	if (!hw_kind_of(ctx, HW_KIND_NEWEST))
		return found[sim_choose(SIM_CHOICE_HW, n)];
	for (unsigned int j = 1; j < n; j++) {
		if (found[j]->te_step > found[i]->te_step)
			i = j;
	}
	return found[i];
}

/*
 * Whether a cached translation decides the access: it serves it, or (*result HW_FAULT) denies it. A
 * lack of rights may be looked up again or not; a write through a clean translation always is,
 * since only a walk can set D.
 */
static bool
decide(struct hw_cpu *c, const struct hw_context *ctx, struct hw_tlb_entry *e, uint64_t va,
       unsigned int access, struct hw_fault *fault, enum hw_result *result)
{
	const bool dirty = hw_wants_dirty(ctx, access);

	if (e->te_dead != 0)
		hw_dead_use(c, ctx, e, va, access);
	if (!hw_allows(ctx, e->te_rights, access)) {
		if (hw_kind_of(ctx, HW_KIND_NO_SPURIOUS) || sim_choose(SIM_CHOICE_HW, 2) == 1)
			return false;
		hw_make_fault(ctx, va, access, e->te_rights, true, false, fault);
		fault->hf_cached = true;
		hw_counters[HW_CT_FAULT_CACHED]++;
		*result = HW_FAULT;
		return true;
	}
	if (dirty && (!e->te_dirty || hw_kind_of(ctx, HW_KIND_DIRTY_AGAIN))) {
		hw_counters[HW_CT_CLEAN_WRITE]++;
		return false;
	}
	hw_counters[HW_CT_TLB_HIT]++;
	*result = HW_OK;
	return true;
}

static enum hw_result
out_of_range(struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa, unsigned int access,
	     struct hw_fault *fault)
{
	hw_make_fault(ctx, gpa, access, 0, false, false, fault);
	if (ctx->hc_kind == HW_X86) {
		fault->hf_kind = HW_FAULT_NONCANONICAL;
		fault->hf_code = 0;
	}
	return fault_now(c, ctx, gpa, fault);
}

static enum hw_result
access_gpa(unsigned int cpu, const struct hw_context *ctx, uint64_t gpa, unsigned int access,
	   struct hw_translation *out, struct hw_fault *fault)
{
	struct hw_cpu *c = hw_cpu_at(cpu);
	struct hw_tlb_entry *found[HW_MATCH_MAX], *hit, e;
	enum hw_result result;
	unsigned int n;

	if (!hw_in_range(ctx, gpa))
		return out_of_range(c, ctx, gpa, access, fault);
	hw_touch_tlb(cpu, SIM_TOUCH_READ);
	n = hw_match_leaves(hw_space_of(c, ctx, false), gpa, found, 0);
	if (ctx->hc_global)
		n = hw_match_leaves(hw_space_global(c), gpa, found, n);
	hit = pick(ctx, found, n);
	if (hit && decide(c, ctx, hit, gpa, access, fault, &result)) {
		if (result == HW_FAULT)
			return fault_now(c, ctx, gpa, fault);
		translate(hit, gpa, true, out);
		return HW_OK;
	}
	result = walk(c, ctx, gpa, access, &e, fault);
	if (result == HW_OK)
		translate(&e, gpa, false, out);
	return result;
}

/*
 * Combined mappings are cached in pages of 4 KiB: the smaller of the guest's and the host's size. A
 * fault on the way drops that of this linear address as well (SDM vol. 3C 29.4.3.1).
 */
static enum hw_result
access_linear(unsigned int cpu, const struct hw_context *ctx, uint64_t linear, unsigned int access,
	      struct hw_translation *out, struct hw_fault *fault)
{
	struct hw_cpu *c = hw_cpu_at(cpu);
	struct hw_tlb_entry *found[HW_MATCH_MAX], *hit, e;
	enum hw_result result = HW_FAULT;
	uint64_t gpa = linear;
	unsigned int n;

	hw_touch_tlb(cpu, SIM_TOUCH_READ);
	n = hw_match_leaves(hw_space_of(c, ctx, true), linear, found, 0);
	hit = pick(ctx, found, n);
	if (hit && hw_allows(ctx, hit->te_rights, access) &&
	    decide(c, ctx, hit, linear, access, fault, &result)) {
		translate(hit, linear, true, out);
		return HW_OK;
	}
	if (ctx->hc_guest_map && !ctx->hc_guest_map(ctx->hc_guest_arg, linear, &gpa)) {
		memset(fault, 0, sizeof(*fault));
		fault->hf_kind = HW_FAULT_GUEST;
		fault->hf_gpa = linear;
		hw_drop_address(c, hw_space_of(c, ctx, true), linear, true);
		return HW_FAULT;
	}
	if (access_gpa(cpu, ctx, gpa, access, out, fault) != HW_OK) {
		hw_drop_address(c, hw_space_of(c, ctx, true), linear, true);
		return HW_FAULT;
	}
	e = (struct hw_tlb_entry){
		.te_va = linear,
		.te_gpa = gpa,
		.te_hpa = out->ht_hpa & ~(uint64_t)4095,
		.te_root = hw_context_root(ctx),
		.te_rights = out->ht_rights,
		.te_memtype = out->ht_memtype,
		.te_ignore_pat = out->ht_ignore_pat,
		.te_dirty = out->ht_dirty,
	};
	hw_cache(c, ctx, hw_space_of(c, ctx, true), &e);
	return HW_OK;
}

enum hw_result
hw_access(unsigned int cpu, const struct hw_context *ctx, uint64_t gpa, unsigned int access,
	  struct hw_translation *out, struct hw_fault *fault)
{
	const enum hw_result result = access_gpa(cpu, ctx, gpa, access, out, fault);

	STORY(access(cpu, ctx, gpa, access, result == HW_OK ? out : NULL, fault));
	return result;
}

enum hw_result
hw_access_linear(unsigned int cpu, const struct hw_context *ctx, uint64_t linear,
		 unsigned int access, struct hw_translation *out, struct hw_fault *fault)
{
	const enum hw_result result = access_linear(cpu, ctx, linear, access, out, fault);

	STORY(access(cpu, ctx, linear, access, result == HW_OK ? out : NULL, fault));
	return result;
}
