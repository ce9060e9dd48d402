/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The page walk, and the accessed and dirty flags.
 *
 * A walk starts at the root or at any cached paging-structure entry of the address, stale or not.
 * It reads one entry per step; between any two steps everybody else may act. Accessed flags of the
 * upper levels are set on the way down or only once the walk has succeeded (both exist; Intel SDM
 * vol. 3A 4.8 leaves it open), each by a locked operation of its own that fails, and restarts the
 * walk, if the entry has changed. The dirty flag is set by a walk for a write only, never ahead.
 *
 * An interrupt may be taken between two steps (in the host); if its handler invalidates anything,
 * the walk starts anew, as the instruction would after the handler's return.
 */

#include <string.h>

#include "sim/hw/hw_priv.h"
#include "sim/oracle/invariants.h"

/* ---- Without effect ------------------------------------------------------------------------ */

static bool
peek(void *arg, uint64_t hpa, uint64_t *value)
{
	(void)arg;
	return sim_phys_peek(hpa, value);
}

void
hw_walk_quiet(const struct hw_context *ctx, uint64_t gpa, struct hw_walk *walk)
{
	hw_walk_over(ctx, gpa, peek, NULL, walk);
}

static void
walk_leaf(struct hw_walk *walk, const struct hw_entry *e)
{
	walk->wk_present = true;
	walk->wk_memtype = e->en_memtype;
	walk->wk_ignore_pat = e->en_ignore_pat;
	walk->wk_dirty = e->en_dirty;
	walk->wk_global = e->en_global;
	walk->wk_hpa = e->en_addr;
}

void
hw_walk_over(const struct hw_context *ctx, uint64_t gpa,
	     bool (*load)(void *arg, uint64_t hpa, uint64_t *value), void *arg,
	     struct hw_walk *walk)
{
	uint64_t table = hw_context_root(ctx);
	unsigned int level = hw_context_levels(ctx);

	memset(walk, 0, sizeof(*walk));
	walk->wk_rights = HW_READ | HW_WRITE | HW_EXEC | HW_USER;
	walk->wk_accessed = true;
	if (!hw_in_range(ctx, gpa))
		return;
	while (level-- > 0) {
		const uint64_t where = hw_slot(table, gpa, level);
		struct hw_entry e;
		uint64_t value;

		walk->wk_level = level;
		if (!load(arg, where, &value)) {
			walk->wk_bad = HW_BAD_POINTER;
			return;
		}
		walk->wk_where[walk->wk_n] = where;
		walk->wk_entries[walk->wk_n++] = value;
		hw_entry_decode(ctx, level, value, &e);
		walk->wk_bad = e.en_present ? e.en_bad : HW_FINE;
		if (!e.en_present || e.en_bad != HW_FINE)
			return;
		walk->wk_rights &= e.en_rights;
		walk->wk_accessed &= e.en_accessed;
		if (e.en_leaf) {
			walk_leaf(walk, &e);
			return;
		}
		table = e.en_addr;
	}
}

bool
hw_table_over(const struct hw_context *ctx, uint64_t gpa, unsigned int level,
	      bool (*load)(void *arg, uint64_t hpa, uint64_t *value), void *arg, uint64_t *table,
	      unsigned int *rights, bool *accessed)
{
	unsigned int at = hw_context_levels(ctx);
	uint64_t value;

	*table = hw_context_root(ctx);
	*rights = HW_READ | HW_WRITE | HW_EXEC | HW_USER;
	*accessed = true;
	while (at-- > level) {
		struct hw_entry e;

		if (!load(arg, hw_slot(*table, gpa, at), &value))
			return false;
		hw_entry_decode(ctx, at, value, &e);
		if (!e.en_present || e.en_bad != HW_FINE || e.en_leaf)
			return false;
		*rights &= e.en_rights;
		*accessed &= e.en_accessed;
		*table = e.en_addr;
	}
	return true;
}

/* ---- Illegal entries ----------------------------------------------------------------------- */

static void
count_legality(const struct hw_context *ctx)
{
	sim_invariant_hit(SIM_I02);
	if (ctx->hc_kind == HW_EPT)
		sim_invariant_hit(SIM_I03);
	else if (ctx->hc_kind == HW_NPT)
		sim_invariant_hit(SIM_I04);
}

void
hw_report_bad(const struct hw_context *ctx, uint64_t gpa, unsigned int level, uint64_t value,
	      const struct hw_entry *e)
{
	static const char *const what[] = {
		[HW_BAD_RESERVED] = "a reserved bit is set",
		[HW_BAD_RIGHTS] = "these rights are a misconfiguration",
		[HW_BAD_MEMTYPE] = "this memory type is a misconfiguration",
	};

	if (ctx->hc_model->hm_tolerant)
		return;
	if (e->en_bad != HW_FINE)
		sim_violation("CK-HW", e->en_bad == HW_BAD_RESERVED ? "I02" : "I03",
			      "entry 0x%llx for 0x%llx at level %u: %s", (unsigned long long)value,
			      (unsigned long long)gpa, level, what[e->en_bad]);
	if (ctx->hc_kind == HW_NPT && !(e->en_rights & HW_USER))
		sim_violation("CK-HW", "I04",
			      "entry 0x%llx for 0x%llx at level %u is not a user entry, and nested "
			      "walks are user accesses",
			      (unsigned long long)value, (unsigned long long)gpa, level);
}

/* ---- The walk ------------------------------------------------------------------------------ */

/* An entry whose accessed flag is still to be set. */
struct unset {
	uint64_t un_where;
	uint64_t un_value;
};

struct walk {
	struct hw_cpu *w_c;
	const struct hw_context *w_ctx;
	struct hw_space *w_s;
	uint64_t w_gpa;
	uint64_t w_flushes; /* of the CPU when it began */
	bool w_speculative;
	uint64_t w_table;
	unsigned int w_level; /* of w_table */
	uint8_t w_rights;
	uint64_t w_dead; /* it came through an entry that is dead */
	unsigned int w_nunset;
	struct unset w_unset[HW_LEVELS_MAX];

	/* The entry at hand. */
	uint64_t w_where;
	uint64_t w_value;
	struct hw_entry w_e;
};

enum step { STEP_DOWN, STEP_LEAF, STEP_ABSENT, STEP_BAD, STEP_CHANGED, STEP_GIVE_UP };

/* Somebody else's turn. False if the walk is void after it. */
static bool
walk_point(struct walk *w)
{
	if (w->w_speculative || hw_kind_of(w->w_ctx, HW_KIND_ATOMIC_WALK))
		return true;
	sim_point(SIM_HW, NULL);
	return w->w_c->hw_flushes == w->w_flushes;
}

/*
 * Of the cached entries on the way those that memory contradicts: from any other the walk goes on
 * as from the root. For searches, where walks are single steps.
 */
static unsigned int
only_stale(const struct hw_context *ctx, uint64_t gpa, struct hw_tlb_entry **found, unsigned int n)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t table;
		unsigned int rights;
		bool accessed;

		/* From the root, it would also set A where that is clear by now. */
		if (!hw_table_over(ctx, gpa, found[i]->te_level, peek, NULL, &table, &rights,
				   &accessed) ||
		    !accessed || table != found[i]->te_hpa || rights != found[i]->te_rights ||
		    found[i]->te_dead != 0)
			found[kept++] = found[i];
	}
	return kept;
}

/* Begins at the root, or at one of the cached entries on the way. */
static void
walk_begin(struct walk *w, struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa,
	   unsigned int access)
{
	struct hw_tlb_entry *found[HW_MATCH_MAX];
	unsigned int n, pick;

	memset(w, 0, offsetof(struct walk, w_unset));
	w->w_c = c;
	w->w_ctx = ctx;
	w->w_s = hw_space_of(c, ctx, false);
	w->w_gpa = gpa;
	w->w_flushes = c->hw_flushes;
	w->w_speculative = access == 0;
	w->w_table = hw_context_root(ctx);
	w->w_level = hw_context_levels(ctx) - 1;
	w->w_rights = HW_READ | HW_WRITE | HW_EXEC | HW_USER;
	hw_touch_tlb(c->hw_id, SIM_TOUCH_READ);
	n = hw_match_tables(w->w_s, gpa, found, 0);
	if (hw_state->st_search.hs_on)
		n = only_stale(ctx, gpa, found, n);
	pick = sim_choose(SIM_CHOICE_HW, n + 1);
	if (pick == n)
		return;
	hw_counters[HW_CT_PSC_HIT]++;
	w->w_table = found[pick]->te_hpa;
	w->w_level = found[pick]->te_level - 1;
	w->w_rights = found[pick]->te_rights;
	w->w_dead = found[pick]->te_dead;
	if (w->w_dead != 0 && !w->w_speculative)
		hw_dead_use(c, ctx, found[pick], gpa, access);
}

/* Sets flags in an entry by a locked operation that insists on the value read. */
static bool
set_flags(const struct walk *w, uint64_t where, uint64_t *value, uint64_t flags)
{
	uint64_t expect = *value;

	if (!sim_phys_cas(where, &expect, *value | flags))
		return false;
	if (flags & ~*value & hw_accessed_bit(w->w_ctx))
		hw_counters[w->w_speculative ? HW_CT_SPEC_SET_A : HW_CT_SET_A]++;
	if (flags & ~*value & hw_dirty_bit(w->w_ctx))
		hw_counters[HW_CT_SET_D]++;
	*value |= flags;
	return true;
}

static void
cache_table(struct walk *w)
{
	struct hw_tlb_entry e = {
		.te_va = w->w_gpa,
		.te_gpa = w->w_gpa,
		.te_hpa = w->w_e.en_addr,
		.te_root = hw_context_root(w->w_ctx),
		.te_dead = w->w_dead,
		.te_level = w->w_level,
		.te_table = true,
		.te_rights = w->w_rights,
	};

	if (w->w_speculative)
		hw_counters[HW_CT_SPEC_TABLE]++;
	hw_cache(w->w_c, w->w_ctx, w->w_s, &e);
}

/*
 * Below an entry that leads to a table. It may be cached only if its accessed flag and those above
 * are set (SDM vol. 3A 4.10.3.1).
 */
static enum step
walk_down(struct walk *w)
{
	if (!w->w_e.en_accessed) {
		if (!hw_kind_of(w->w_ctx, HW_KIND_EARLY_AD) && sim_choose(SIM_CHOICE_HW, 2) == 1) {
			if (w->w_speculative)
				return STEP_GIVE_UP;
			w->w_unset[w->w_nunset++] = (struct unset){w->w_where, w->w_value};
		} else if (!walk_point(w) ||
			   !set_flags(w, w->w_where, &w->w_value, hw_accessed_bit(w->w_ctx))) {
			return STEP_CHANGED;
		}
	}
	if (w->w_nunset == 0 && w->w_rights != 0)
		cache_table(w);
	w->w_table = w->w_e.en_addr;
	w->w_level--;
	return STEP_DOWN;
}

static enum step
walk_step(struct walk *w)
{
	if (!walk_point(w))
		return STEP_CHANGED;
	w->w_where = hw_slot(w->w_table, w->w_gpa, w->w_level);
	w->w_value = sim_phys_load(w->w_where);
	hw_entry_decode(w->w_ctx, w->w_level, w->w_value, &w->w_e);
	if (!w->w_e.en_present)
		return STEP_ABSENT;
	count_legality(w->w_ctx);
	hw_report_bad(w->w_ctx, w->w_gpa, w->w_level, w->w_value, &w->w_e);
	if (w->w_e.en_bad != HW_FINE)
		return STEP_BAD;
	w->w_rights &= w->w_e.en_rights;
	return w->w_e.en_leaf ? STEP_LEAF : walk_down(w);
}

/* The flags of a walk that succeeds: what was put off, then A and D of the leaf. */
static bool
walk_flags(struct walk *w, bool dirty)
{
	const uint64_t a = w->w_e.en_accessed ? 0 : hw_accessed_bit(w->w_ctx);
	const uint64_t d = dirty && !w->w_e.en_dirty ? hw_dirty_bit(w->w_ctx) : 0;

	for (unsigned int i = 0; i < w->w_nunset; i++) {
		if (!walk_point(w) || !set_flags(w, w->w_unset[i].un_where, &w->w_unset[i].un_value,
						 hw_accessed_bit(w->w_ctx)))
			return false;
	}
	if (a != 0 && d != 0 && !hw_kind_of(w->w_ctx, HW_KIND_EARLY_AD) &&
	    sim_choose(SIM_CHOICE_HW, 2) == 1) {
		if (!walk_point(w) || !set_flags(w, w->w_where, &w->w_value, a))
			return false;
		if (!walk_point(w) || !set_flags(w, w->w_where, &w->w_value, d))
			return false;
	} else if ((a | d) != 0) {
		if (!walk_point(w) || !set_flags(w, w->w_where, &w->w_value, a | d))
			return false;
	}
	w->w_e.en_dirty |= dirty;
	return true;
}

static void
leaf_entry(const struct walk *w, struct hw_tlb_entry *e)
{
	*e = (struct hw_tlb_entry){
		.te_va = w->w_gpa,
		.te_gpa = w->w_gpa,
		.te_hpa = w->w_e.en_addr,
		.te_root = hw_context_root(w->w_ctx),
		.te_dead = w->w_dead,
		.te_level = w->w_level,
		.te_rights = w->w_rights,
		.te_memtype = w->w_e.en_memtype,
		.te_ignore_pat = w->w_e.en_ignore_pat,
		.te_dirty = w->w_e.en_dirty,
		.te_global = w->w_e.en_global && w->w_ctx->hc_global,
	};
}

static void
cache_leaf(struct walk *w, struct hw_tlb_entry *e)
{
	hw_cache(w->w_c, w->w_ctx, e->te_global ? hw_space_global(w->w_c) : w->w_s, e);
}

/* Any right at all will do; for nested paging, a user right. */
static bool
grants_something(const struct hw_context *ctx, unsigned int rights)
{
	if (ctx->hc_kind == HW_NPT && !(rights & HW_USER))
		return false;
	return (rights & (HW_READ | HW_WRITE | HW_EXEC)) != 0;
}

enum hw_walked
hw_walk_once(struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa, unsigned int access,
	     struct hw_tlb_entry *e, struct hw_fault *fault)
{
	enum step step = STEP_DOWN;
	struct walk w;

	walk_begin(&w, c, ctx, gpa, access);
	while (step == STEP_DOWN)
		step = walk_step(&w);
	if (step == STEP_CHANGED)
		return HW_WALK_CHANGED;
	if (step == STEP_LEAF && hw_allows(ctx, w.w_rights, access)) {
		if (!walk_flags(&w, hw_wants_dirty(ctx, access)))
			return HW_WALK_CHANGED;
		leaf_entry(&w, e);
		cache_leaf(&w, e);
		return HW_WALK_DONE;
	}
	hw_make_fault(ctx, gpa, access, w.w_rights, step != STEP_ABSENT, step == STEP_BAD, fault);
	fault->hf_entry = w.w_value;
	fault->hf_level = w.w_level;
	return HW_WALK_FAULT;
}

bool
hw_speculate(struct hw_cpu *c, const struct hw_context *ctx, uint64_t gpa, unsigned int levels)
{
	enum step step = STEP_DOWN;
	struct hw_tlb_entry e;
	struct walk w;

	if (!hw_in_range(ctx, gpa))
		return false;
	walk_begin(&w, c, ctx, gpa, 0);
	while (levels-- > 0 && step == STEP_DOWN)
		step = walk_step(&w);
	if (step != STEP_LEAF || !grants_something(ctx, w.w_rights))
		return false;
	if (!w.w_e.en_accessed && sim_choose(SIM_CHOICE_HW, 2) == 1)
		return false;
	if (!walk_flags(&w, false))
		return false;
	leaf_entry(&w, &e);
	cache_leaf(&w, &e);
	hw_counters[HW_CT_SPEC_FILL]++;
	return true;
}
