/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * TLBs and paging-structure caches: what a CPU remembers, by which tag, and what makes it forget.
 *
 * Everything stays until an instruction that promises to drop it, a fault that promises to, or an
 * eviction. Stale entries live beside fresh ones of the same address, whatever their sizes.
 */

#include <string.h>

#include "sim/hw/hw_priv.h"
#include "sim/oracle/invariants.h"
#include "sim/machine/side.h"
#include "sim/story/story_record.h"

#define ENTRIES_DEFAULT 65536
#define SPACES_TIDY 16

struct hw_state *hw_state;
uint64_t hw_counters[HW_CT_COUNT];

const char *
hw_counter_name(enum hw_counter c)
{
	static const char *const names[HW_CT_COUNT] = {
		[HW_CT_TLB_HIT] = "tlb-hits",
		[HW_CT_WALK] = "walks",
		[HW_CT_WALK_RESTART] = "walk-restarts",
		[HW_CT_PSC_HIT] = "structure-cache-hits",
		[HW_CT_SET_A] = "accessed-set",
		[HW_CT_SET_D] = "dirty-set",
		[HW_CT_SPEC_FILL] = "speculative-fills",
		[HW_CT_SPEC_TABLE] = "speculative-table-fills",
		[HW_CT_SPEC_SET_A] = "speculative-accessed-set",
		[HW_CT_EVICT] = "evictions",
		[HW_CT_MIXED_SIZE] = "mixed-sizes",
		[HW_CT_AMBIGUOUS] = "ambiguous-hits",
		[HW_CT_CLEAN_WRITE] = "clean-writes",
		[HW_CT_FAULT] = "hardware-faults",
		[HW_CT_FAULT_CACHED] = "cached-faults",
		[HW_CT_INVALIDATE] = "invalidations",
		[HW_CT_INVALIDATED] = "entries-invalidated",
	};

	return (unsigned int)c < HW_CT_COUNT ? names[c] : "?";
}

void
hw_set_dead_use(hw_dead_use_fn *fn, void *arg)
{
	hw_state->st_dead_use = fn;
	hw_state->st_dead_arg = arg;
}

/* ---- Which frames are named ---------------------------------------------------------------- */

static unsigned int
frame_hash(uint64_t number)
{
	return (number ^ (number >> 13)) & (HW_FRAME_COUNTS - 1);
}

static uint32_t *
frame_count(const struct hw_tlb_entry *e)
{
	if (e->te_table || e->te_level == 0)
		return &hw_state->st_frames[frame_hash(e->te_hpa >> hw_shift(0))];
	if (e->te_level == 1)
		return &hw_state->st_runs[frame_hash(e->te_hpa >> hw_shift(1))];
	return &hw_state->st_huge;
}

bool
hw_frame_maybe_cached(uint64_t hpa)
{
	return hw_state->st_frames[frame_hash(hpa >> hw_shift(0))] != 0 ||
	       hw_state->st_runs[frame_hash(hpa >> hw_shift(1))] != 0 || hw_state->st_huge != 0;
}

/* ---- Spaces -------------------------------------------------------------------------------- */

static void
out_of_memory(void)
{
	sim_violation("internal", "", "no memory for the simulated TLBs");
}

static struct hw_space *
space_create(struct hw_cpu *c)
{
	const unsigned int heads = 64;
	struct hw_space **spaces;
	struct hw_space *s = sim_side_alloc(sizeof(*s));

	spaces = sim_side_resize(c->hw_spaces, (c->hw_nspaces + 1) * sizeof(*spaces));
	if (spaces)
		c->hw_spaces = spaces;
	if (s)
		s->sp_heads = sim_side_alloc(heads * sizeof(*s->sp_heads));
	if (!spaces || !s || !s->sp_heads) {
		if (s)
			sim_side_free(s->sp_heads);
		sim_side_free(s);
		out_of_memory();
	}
	s->sp_mask = heads - 1;
	c->hw_spaces[c->hw_nspaces++] = s;
	return s;
}

static struct hw_space *
space_get(struct hw_cpu *c, enum hw_space_kind kind, uint64_t key)
{
	struct hw_space *s = c->hw_last;

	if (s && s->sp_kind == kind && s->sp_key == key)
		return s;
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		s = c->hw_spaces[i];
		if (s->sp_kind == kind && s->sp_key == key) {
			c->hw_last = s;
			return s;
		}
	}
	s = space_create(c);
	s->sp_kind = kind;
	s->sp_key = key;
	c->hw_last = s;
	return s;
}

struct hw_space *
hw_space_of(struct hw_cpu *c, const struct hw_context *ctx, bool linear)
{
	uint64_t key = ctx->hc_tag;

	if (ctx->hc_kind == HW_EPT) {
		key = hw_context_root(ctx);
		return linear ? space_get(c, HW_SPACE_EPT_LINEAR, key << 4 | ctx->hc_tag)
			      : space_get(c, HW_SPACE_EPT, key);
	}
	if (hw_kind_of(ctx, HW_KIND_ROOT_TAGS))
		key |= hw_context_root(ctx) << 4;
	if (ctx->hc_kind == HW_NPT)
		return space_get(c, linear ? HW_SPACE_NPT_LINEAR : HW_SPACE_NPT, key);
	return space_get(c, HW_SPACE_X86, key);
}

struct hw_space *
hw_space_global(struct hw_cpu *c)
{
	return space_get(c, HW_SPACE_X86_GLOBAL, 0);
}

static void
space_free(struct hw_space *s)
{
	sim_side_free(s->sp_entries);
	sim_side_free(s->sp_heads);
	sim_side_free(s);
}

/*
 * Forgets the tags of which nothing is cached: pmaps come and go, and with them their roots. Only
 * where no access of this CPU is under way, which could hold a pointer to one.
 */
void
hw_tidy_spaces(struct hw_cpu *c)
{
	unsigned int kept = 0;

	if (c->hw_nspaces < SPACES_TIDY)
		return;
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		if (c->hw_spaces[i]->sp_n == 0)
			space_free(c->hw_spaces[i]);
		else
			c->hw_spaces[kept++] = c->hw_spaces[i];
	}
	c->hw_nspaces = kept;
	c->hw_last = NULL;
	c->hw_flushes++;
}

void
hw_free_spaces(struct hw_cpu *c)
{
	for (unsigned int i = 0; i < c->hw_nspaces; i++)
		space_free(c->hw_spaces[i]);
	sim_side_free(c->hw_spaces);
	c->hw_spaces = NULL;
	c->hw_nspaces = 0;
}

/* ---- Finding ------------------------------------------------------------------------------- */

static uint64_t
key_of(uint64_t va, unsigned int level, bool table)
{
	return (va >> hw_shift(level)) << 4 | (table ? 8 : 0) | level;
}

static uint32_t *
head_of(const struct hw_space *s, uint64_t key)
{
	return &s->sp_heads[((key * UINT64_C(0x9e3779b97f4a7c15)) >> 40) & s->sp_mask];
}

static unsigned int
match(struct hw_space *s, uint64_t key, struct hw_tlb_entry **found, unsigned int n)
{
	for (uint32_t i = *head_of(s, key); i != 0; i = s->sp_entries[i - 1].te_next) {
		struct hw_tlb_entry *e = &s->sp_entries[i - 1];

		if (e->te_key == key && n < HW_MATCH_MAX)
			found[n++] = e;
	}
	return n;
}

unsigned int
hw_match_leaves(struct hw_space *s, uint64_t va, struct hw_tlb_entry **found, unsigned int n)
{
	for (unsigned int level = 0; level < HW_LEAF_LEVELS; level++) {
		if (s->sp_leaves[level] != 0)
			n = match(s, key_of(va, level, false), found, n);
	}
	return n;
}

unsigned int
hw_match_tables(struct hw_space *s, uint64_t va, struct hw_tlb_entry **found, unsigned int n)
{
	for (unsigned int level = 1; level < HW_LEVELS_MAX; level++) {
		if (s->sp_tables[level] != 0)
			n = match(s, key_of(va, level, true), found, n);
	}
	return n;
}

/* ---- Adding and removing ------------------------------------------------------------------- */

static void
count_entry(struct hw_cpu *c, struct hw_space *s, const struct hw_tlb_entry *e, int by)
{
	uint32_t *n = e->te_table ? &s->sp_tables[e->te_level] : &s->sp_leaves[e->te_level];

	*n += by;
	*frame_count(e) += by;
	c->hw_entries += by;
	hw_state->st_entries += by;
}

/* The link that leads to an entry: its bucket's head, or the entry before it in the bucket. */
static uint32_t *
link_to(struct hw_space *s, uint32_t index)
{
	uint32_t *link = head_of(s, s->sp_entries[index].te_key);

	while (*link != index + 1)
		link = &s->sp_entries[*link - 1].te_next;
	return link;
}

static void
remove_entry(struct hw_cpu *c, struct hw_space *s, uint32_t index)
{
	struct hw_tlb_entry *e = &s->sp_entries[index];
	const uint32_t last = s->sp_n - 1;

	hw_touch_tlb(c->hw_id, SIM_TOUCH_WRITE);
	STORY(drop(c->hw_id, e));
	count_entry(c, s, e, -1);
	*link_to(s, index) = e->te_next;
	if (index != last) {
		*link_to(s, last) = index + 1;
		*e = s->sp_entries[last];
	}
	s->sp_n--;
}

static void
grow(struct hw_space *s)
{
	const uint32_t room = s->sp_room ? 2 * s->sp_room : 64;
	const uint32_t heads = 2 * room;
	struct hw_tlb_entry *entries = sim_side_resize(s->sp_entries, room * sizeof(*entries));
	uint32_t *h = sim_side_alloc(heads * sizeof(*h));

	if (entries)
		s->sp_entries = entries;
	if (!entries || !h) {
		sim_side_free(h);
		out_of_memory();
	}
	sim_side_free(s->sp_heads);
	s->sp_heads = h;
	s->sp_mask = heads - 1;
	s->sp_room = room;
	for (uint32_t i = 0; i < s->sp_n; i++) {
		uint32_t *head = head_of(s, entries[i].te_key);

		entries[i].te_next = *head;
		*head = i + 1;
	}
}

static bool
overlap(const struct hw_tlb_entry *a, const struct hw_tlb_entry *b)
{
	const unsigned int level = a->te_level > b->te_level ? a->te_level : b->te_level;

	return (a->te_va >> hw_shift(level)) == (b->te_va >> hw_shift(level));
}

/* Index + 1 of a translation of another size for part of the same addresses; 0: none. */
static uint32_t
other_size(struct hw_space *s, const struct hw_tlb_entry *e)
{
	uint32_t others = 0;

	for (unsigned int level = 0; level < HW_LEAF_LEVELS; level++)
		others += level == e->te_level ? 0 : s->sp_leaves[level];
	if (others == 0)
		return 0;
	for (unsigned int level = e->te_level + 1; level < HW_LEAF_LEVELS; level++) {
		struct hw_tlb_entry *found[HW_MATCH_MAX];

		if (match(s, key_of(e->te_va, level, false), found, 0) != 0)
			return found[0] - s->sp_entries + 1;
	}
	if (e->te_level == 0)
		return 0;
	for (uint32_t i = 0; i < s->sp_n; i++) {
		const struct hw_tlb_entry *o = &s->sp_entries[i];

		if (!o->te_table && o->te_level < e->te_level && overlap(o, e))
			return i + 1;
	}
	return 0;
}

/*
 * Two sizes for one address: legal on most CPUs; on some a machine check (AMD family 10h erratum
 * 383; Intel's instruction TLB multihit, CVE-2018-12207).
 */
static void
check_sizes(struct hw_cpu *c, const struct hw_context *ctx, struct hw_space *s,
	    const struct hw_tlb_entry *e)
{
	const bool one = hw_kind_of(ctx, HW_KIND_ONE_SIZE);
	uint32_t i;

	if (ctx->hc_model->hm_mixed_size_mce)
		sim_invariant_hit(SIM_I10);
	while ((i = other_size(s, e)) != 0) {
		const struct hw_tlb_entry *o = &s->sp_entries[i - 1];

		hw_counters[HW_CT_MIXED_SIZE]++;
		if (ctx->hc_model->hm_mixed_size_mce && !one)
			sim_violation("CK-HW", "I10",
				      "machine check: CPU %u caches 0x%llx in two sizes, level %u "
				      "(frame 0x%llx) and level %u (frame 0x%llx)",
				      c->hw_id, (unsigned long long)e->te_va, o->te_level,
				      (unsigned long long)o->te_hpa, e->te_level,
				      (unsigned long long)e->te_hpa);
		if (!one)
			return;
		remove_entry(c, s, i - 1);
	}
}

/*
 * The same frame again: kept once, with the larger rights. Rights that went away stay cached, since
 * nothing made the CPU forget them; a dead entry does not stand for a live one.
 */
static bool
merge(unsigned int cpu, struct hw_space *s, const struct hw_tlb_entry *e)
{
	struct hw_tlb_entry *found[HW_MATCH_MAX];
	const unsigned int n = match(s, e->te_key, found, 0);

	for (unsigned int i = 0; i < n; i++) {
		struct hw_tlb_entry *o = found[i];

		if (o->te_hpa != e->te_hpa || o->te_root != e->te_root || o->te_gpa != e->te_gpa ||
		    o->te_memtype != e->te_memtype || o->te_ignore_pat != e->te_ignore_pat)
			continue;
		if ((o->te_rights & ~e->te_rights) == 0 && o->te_dirty <= e->te_dirty &&
		    (e->te_dead == 0 || o->te_dead != 0)) {
			o->te_rights = e->te_rights;
			o->te_dirty = e->te_dirty;
			o->te_dead = e->te_dead;
			o->te_step = e->te_step;
			STORY(fill(cpu, s->sp_kind, o));
			return true;
		}
		if ((e->te_rights & ~o->te_rights) == 0 && e->te_dirty <= o->te_dirty &&
		    (o->te_dead == 0 || e->te_dead != 0))
			return true;
	}
	return false;
}

/* Makes room: of one address no more than can be matched, of all no more than the CPU has. */
static void
make_room(struct hw_cpu *c, const struct hw_context *ctx, struct hw_space *s, uint64_t key)
{
	uint32_t limit = ctx->hc_model->hm_tlb_entries;
	struct hw_tlb_entry *found[HW_MATCH_MAX];
	const unsigned int n = match(s, key, found, 0);

	if (n == HW_MATCH_MAX) {
		uint32_t oldest = 0;

		for (unsigned int i = 1; i < n; i++) {
			if (found[i]->te_step < found[oldest]->te_step)
				oldest = i;
		}
		remove_entry(c, s, found[oldest] - s->sp_entries);
	}
	if (limit == 0)
		limit = ENTRIES_DEFAULT;
	while (c->hw_entries >= limit)
		hw_tlb_evict(c->hw_id, sim_choose(SIM_CHOICE_HW, c->hw_entries));
	if (s->sp_n == s->sp_room)
		grow(s);
}

void
hw_cache(struct hw_cpu *c, const struct hw_context *ctx, struct hw_space *s, struct hw_tlb_entry *e)
{
	uint32_t *head;

	if (hw_kind_of(ctx, HW_KIND_NO_TLB) || (e->te_table && hw_kind_of(ctx, HW_KIND_NO_PSC)))
		return;
	e->te_va &= ~(hw_entry_bytes(e) - 1);
	e->te_gpa &= ~(hw_entry_bytes(e) - 1);
	e->te_key = key_of(e->te_va, e->te_level, e->te_table);
	e->te_step = sim_step_count();
	hw_touch_tlb(c->hw_id, SIM_TOUCH_WRITE);
	if (merge(c->hw_id, s, e))
		return;
	if (!e->te_table)
		check_sizes(c, ctx, s, e);
	make_room(c, ctx, s, e->te_key);
	head = head_of(s, e->te_key);
	e->te_next = *head;
	s->sp_entries[s->sp_n] = *e;
	*head = ++s->sp_n;
	count_entry(c, s, e, 1);
	STORY(fill(c->hw_id, s->sp_kind, &s->sp_entries[s->sp_n - 1]));
}

/* ---- Dropping ------------------------------------------------------------------------------ */

void
hw_drop_space(struct hw_cpu *c, struct hw_space *s)
{
	hw_touch_tlb(c->hw_id, s->sp_n == 0 ? SIM_TOUCH_READ : SIM_TOUCH_WRITE);
	for (uint32_t i = 0; i < s->sp_n; i++) {
		STORY(drop(c->hw_id, &s->sp_entries[i]));
		count_entry(c, s, &s->sp_entries[i], -1);
	}
	hw_counters[HW_CT_INVALIDATED] += s->sp_n;
	if (s->sp_n != 0)
		memset(s->sp_heads, 0, (s->sp_mask + 1) * sizeof(*s->sp_heads));
	s->sp_n = 0;
}

void
hw_drop_all(struct hw_cpu *c)
{
	for (unsigned int i = 0; i < c->hw_nspaces; i++)
		hw_drop_space(c, c->hw_spaces[i]);
}

static void
drop_found(struct hw_cpu *c, struct hw_space *s, uint64_t key)
{
	struct hw_tlb_entry *found[HW_MATCH_MAX];

	while (match(s, key, found, 0) != 0) {
		remove_entry(c, s, found[0] - s->sp_entries);
		hw_counters[HW_CT_INVALIDATED]++;
	}
}

void
hw_drop_address(struct hw_cpu *c, struct hw_space *s, uint64_t va, bool tables)
{
	hw_touch_tlb(c->hw_id, SIM_TOUCH_READ);
	for (unsigned int level = 0; level < HW_LEAF_LEVELS; level++)
		drop_found(c, s, key_of(va, level, false));
	for (unsigned int level = 1; tables && level < HW_LEVELS_MAX; level++)
		drop_found(c, s, key_of(va, level, true));
}

void
hw_drop_tables(struct hw_cpu *c, struct hw_space *s)
{
	hw_touch_tlb(c->hw_id, SIM_TOUCH_READ);
	for (uint32_t i = s->sp_n; i-- > 0;) {
		if (s->sp_entries[i].te_table) {
			remove_entry(c, s, i);
			hw_counters[HW_CT_INVALIDATED]++;
		}
	}
}

/* ---- Looking in ---------------------------------------------------------------------------- */

void
hw_tlb_foreach(unsigned int cpu, hw_tlb_fn *fn, void *arg)
{
	struct hw_cpu *c = hw_cpu_at(cpu);

	hw_touch_tlb(cpu, SIM_TOUCH_READ);
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		struct hw_space *s = c->hw_spaces[i];

		for (uint32_t j = 0; j < s->sp_n; j++)
			fn(arg, cpu, s->sp_kind, s->sp_key, &s->sp_entries[j]);
	}
}

void
hw_tlb_foreach_range(unsigned int cpu, uint64_t root, uint64_t start, uint64_t end, hw_tlb_fn *fn,
		     void *arg)
{
	struct hw_cpu *c = hw_cpu_at(cpu);

	hw_touch_tlb(cpu, SIM_TOUCH_READ);
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		struct hw_space *s = c->hw_spaces[i];

		for (uint32_t j = 0; j < s->sp_n; j++) {
			struct hw_tlb_entry *e = &s->sp_entries[j];

			if (e->te_root != root)
				continue;
			if (end != 0 &&
			    (e->te_gpa >= end || e->te_gpa + hw_entry_bytes(e) - 1 < start))
				continue;
			fn(arg, cpu, s->sp_kind, s->sp_key, e);
		}
	}
}

unsigned int
hw_tlb_count(unsigned int cpu)
{
	return hw_cpu_at(cpu)->hw_entries;
}

void
hw_tlb_evict(unsigned int cpu, unsigned int index)
{
	struct hw_cpu *c = hw_cpu_at(cpu);

	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		struct hw_space *s = c->hw_spaces[i];

		if (index < s->sp_n) {
			remove_entry(c, s, index);
			return;
		}
		index -= s->sp_n;
	}
}
