/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pt_change_kind() over its whole domain: every pair of leaf states that the core can make, in
 * every format and at every level, against the same judgment passed on what the states mean.
 */

#include <criterion/criterion.h>
#include <inttypes.h>

#include "pmap/pte.h"

/* A leaf as people speak of it. */
struct said {
	bool valid, a, m, wired;
	unsigned int prot, ma, frame;
};

struct state {
	struct said said;
	pt_entry_t pte;
};
#define STATES_MAX 512

/* Every state that a leaf of a level can be in, empty and frozen included; returns how many. */
static unsigned int
leaf_states(const struct pt_fmt *f, unsigned int level, struct state *states)
{
	unsigned int prot, ma, bits, n = 0;

	states[n++] = (struct state){.pte = 0};
	states[n++] = (struct state){.pte = f->pf_frozen};
	for (prot = 0; prot < PMAP_PROT_COUNT; prot++) {
		for (ma = 0; ma < PT_MEMATTR_COUNT; ma++) {
			for (bits = 0; bits < 16; bits++) {
				const struct said s = {
					.valid = true,
					.a = bits & 1,
					.m = bits >> 1 & 1,
					.wired = bits >> 2 & 1,
					.frame = bits >> 3,
					.prot = prot,
					.ma = ma,
				};
				/* The nearest other frame is the hardest to tell apart. */
				const hpa_t hpa = (2 + s.frame) * pt_level_size(level);
				pt_entry_t pte;

				if (!(f->pf_prot_ok >> prot & 1) || !(f->pf_memattr_ok >> ma & 1))
					continue;
				if (s.m && (!(prot & PMAP_PROT_W) || (f->pf_emulated_ad && !s.a)))
					continue;
				pte = pte_leaf(f, hpa, prot, level, (enum pt_memattr)ma);
				if (s.a)
					pte = pte_set_accessed(f, pte);
				if (s.m)
					pte |= f->pf_m;
				if (s.wired)
					pte |= f->pf_wired;
				cr_assert(n < STATES_MAX);
				states[n++] = (struct state){s, pte};
			}
		}
	}
	return n;
}

/* What pt_change_kind() promises, in plain words. */
static enum pt_change
change_said(const struct said *old, const struct said *new)
{
	const bool gone = !new->valid, moved = old->frame != new->frame || old->ma != new->ma;
	const bool restricted = (old->prot & ~new->prot) != 0 || (old->m && !new->m);

	if (!old->valid)
		return PT_CHANGE_NONE;
	if (gone || moved || restricted)
		return old->a ? PT_CHANGE_FLUSH : PT_CHANGE_UNCACHED;
	return old->a && !new->a ? PT_CHANGE_AGED : PT_CHANGE_NONE;
}

/* Checks every pair; returns how many there were. */
static uint64_t
check_pairs(const struct pt_fmt *f, unsigned int level)
{
	static struct state states[STATES_MAX];
	const unsigned int n = leaf_states(f, level, states);
	unsigned int old, new;

	for (old = 0; old < n; old++) {
		for (new = 0; new < n; new ++) {
			const enum pt_change got =
				pt_change_kind(f, states[old].pte, states[new].pte, level);
			const enum pt_change want =
				change_said(&states[old].said, &states[new].said);

			if (got != want) /* a passing cr_assert() is too slow for millions */
				cr_assert(got == want,
					  "%016" PRIx64 " -> %016" PRIx64 ": %d, not %d",
					  states[old].pte, states[new].pte, got, want);
		}
	}
	return (uint64_t)n * n;
}

static const struct {
	enum pt_type type;
	struct pt_caps caps;
} formats[] = {
#define COMMON .pc_levels = 4, .pc_leaf_levels = 3, .pc_phys_bits = 52
#define PAT_LINUX .pc_pat = 0x0407050600070106
#define PAT_LAST .pc_pat = 0x0600010405000000 /* types at the upper indices */
	{PT_X86, {COMMON, PAT_LINUX, .pc_nx = true}},
	{PT_X86, {COMMON, PAT_LINUX, .pc_nx = true, .pc_global = true}},
	{PT_X86, {COMMON, PAT_LINUX, .pc_user = true}},
	{PT_X86, {COMMON, PAT_LAST, .pc_nx = true, .pc_user = true}},
	{PT_RVI, {COMMON, PAT_LINUX, .pc_nx = true}},
	{PT_RVI, {COMMON, PAT_LAST}},
	{PT_EPT, {COMMON}},
	{PT_EPT, {COMMON, .pc_exec_only = true, .pc_ignore_guest_pat = true}},
	{PT_EPT, {COMMON, .pc_emulate_ad = true}},
	{PT_EPT, {COMMON, .pc_emulate_ad = true, .pc_ignore_guest_pat = true}},
};

Test(change, all_pairs)
{
	uint64_t count = 0;
	struct pt_fmt f;
	unsigned int level;
	size_t i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		cr_assert(pt_fmt_init(&f, formats[i].type, &formats[i].caps) == 0);
		for (level = 0; level < PT_LEAF_LEVELS_MAX; level++)
			count += check_pairs(&f, level);
	}
	cr_assert(count > 1000000, "only %" PRIu64 " pairs", count);
}
