/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * No memory: each operation, in each state, with the first allocation failing, then the second,
 * until it needs no more; and with all of them failing from one on. After -ENOMEM nothing may have
 * changed; what may not fail (remove, protect, harvest) must do its work all the same, may unmap
 * more than it was asked to, but tells the owner, and never touches what is wired beyond the range.
 */

#include "tests/unit/pmap_fixture.h"
#include "pmap/posix/host_posix.h"

#include <stdlib.h>
#include <string.h>

#define AT (6 * GIB)

/* Where the operations strike: inside the first superpage, up to the inside of the second. */
struct place {
	unsigned int pl_level; /* size of what is there; PT_LEAF_LEVELS_MAX: a mixture */
	bool pl_mapped;
	bool pl_wired;
	unsigned int pl_prot;
};

static const struct place places[] = {
	{0, false, false, 0},
	{0, true, false, PMAP_PROT_RWX},
	{1, true, false, PMAP_PROT_RWX},
	{1, true, false, PMAP_PROT_RX},
	{1, true, true, PMAP_PROT_RWX},
	{2, true, false, PMAP_PROT_RWX},
	{2, true, true, PMAP_PROT_RWX},
	{PT_LEAF_LEVELS_MAX, true, false, PMAP_PROT_RWX},
};

#define NPLACES (sizeof(places) / sizeof(places[0]))

/* Two neighbors of a size; as a mixture, pages in the first and a superpage after it. */
static void
furnish(struct fx *x, const struct place *p)
{
	const bool mixed = p->pl_level == PT_LEAF_LEVELS_MAX;
	const unsigned int level = mixed ? 1 : p->pl_level;

	for (unsigned int i = 0; p->pl_mapped && i < 2; i++) {
		struct pmap_mapping m = {
			.pa_gpa = AT + i * pt_level_size(level),
			.pa_hpa = FX_HPA + i * pt_level_size(level),
			.pa_prot = p->pl_prot,
			.pa_access = p->pl_prot,
			.pa_level = mixed ? i : level,
			.pa_wired = p->pl_wired,
		};

		fx_assert(pmap_enter(x->fx_pm, &m) == 0);
	}
	fx_forget(x);
}

static uint64_t
place_size(const struct place *p)
{
	return pt_level_size(p->pl_level == PT_LEAF_LEVELS_MAX ? 1 : p->pl_level);
}

/* ---- Pages before and after ------------------------------------------------------------------ */

#define SAMPLES 20

/* Both ends of each neighbor, both edges of the range, on both sides. */
static gpa_t
sample_gpa(const struct place *p, unsigned int i)
{
	const uint64_t size = place_size(p);
	const uint64_t at[SAMPLES] = {
		0,
		PAGE,
		2 * PAGE,
		3 * PAGE,
		size - PAGE,
		size,
		size + PAGE,
		size + 2 * PAGE,
		size + 3 * PAGE,
		size + 4 * PAGE,
		2 * size - PAGE,
		2 * size,
		size / 2,
		size / 2 + PAGE,
		2 * MIB - PAGE,
		2 * MIB,
		2 * MIB + PAGE,
		size + 2 * MIB,
		size + 2 * MIB - PAGE,
		size + size / 2 + PAGE,
	};

	return AT + (at[i] & ~(PAGE - 1));
}

struct page {
	gpa_t pg_gpa;
	hpa_t pg_hpa;
	unsigned int pg_prot; /* 0: not mapped */
	bool pg_wired;
	bool pg_a;
	bool pg_m;
};

static void
sample(struct fx *x, const struct place *p, struct page pages[SAMPLES])
{
	for (unsigned int i = 0; i < SAMPLES; i++) {
		const gpa_t gpa = sample_gpa(p, i);
		const struct pmap_leaf leaf = fx_leaf(x, gpa);

		pages[i] = (struct page){.pg_gpa = gpa};
		if (leaf.pl_prot == 0)
			continue;
		pages[i].pg_hpa = leaf.pl_hpa + (gpa - leaf.pl_gpa);
		pages[i].pg_prot = leaf.pl_prot;
		pages[i].pg_wired = leaf.pl_wired;
		pages[i].pg_a = leaf.pl_accessed;
		pages[i].pg_m = leaf.pl_modified;
	}
}

static bool
same_page(const struct page *a, const struct page *b)
{
	return a->pg_hpa == b->pg_hpa && a->pg_prot == b->pg_prot && a->pg_wired == b->pg_wired &&
	       a->pg_a == b->pg_a && a->pg_m == b->pg_m;
}

/* Whether the owner was told that the page had been modified. */
static bool
was_told(const struct fx *x, gpa_t gpa)
{
	for (size_t k = 0; k < x->fx_nnotes; k++) {
		const struct pmap_leaf *n = &x->fx_notes[k];

		if (n->pl_modified && n->pl_gpa <= gpa &&
		    gpa < n->pl_gpa + pt_level_size(n->pl_level))
			return true;
	}
	return false;
}

/* ---- Operations ------------------------------------------------------------------------------ */

enum op {
	OP_ENTER_4K,
	OP_ENTER_2M,
	OP_ENTER_1G,
	OP_ENTER_WIRED_4K,
	OP_ENTER_WIRED_2M,
	OP_ENTER_WIRED_1G,
	OP_PROMOTE,
	OP_DEMOTE_2M,
	OP_DEMOTE_1G,
	OP_EMULATE,
	OP_REMOVE, /* from here on: may not fail */
	OP_PROTECT,
	OP_UNWIRE,
	OP_HARVEST_M,
	OP_HARVEST_A,
	OP_CLEAR_MODIFY,
	OP_TS_REFERENCED,
	OP_COUNT,
};

struct attempt {
	const struct place *at_place;
	enum op at_op;
	gpa_t at_start;
	gpa_t at_end;
	uint64_t *at_bitmap;
};

static int
enter(struct fx *x, const struct attempt *a, unsigned int level, bool wired)
{
	const struct pmap_mapping m = {
		.pa_gpa = a->at_start & ~(pt_level_size(level) - 1),
		.pa_hpa = FX_HPA + 4 * GIB,
		.pa_prot = PMAP_PROT_RX,
		.pa_level = level,
		.pa_wired = wired,
	};

	return pmap_enter(x->fx_pm, &m);
}

static int
operate(struct fx *x, const struct attempt *a)
{
	struct pmap *const pm = x->fx_pm;
	struct pmap_gather g;
	uint64_t n;
	int error;

	pmap_gather_begin(&g, pm);
	switch (a->at_op) {
	case OP_ENTER_4K:
	case OP_ENTER_2M:
	case OP_ENTER_1G:
		return enter(x, a, a->at_op - OP_ENTER_4K, false);
	case OP_ENTER_WIRED_4K:
	case OP_ENTER_WIRED_2M:
	case OP_ENTER_WIRED_1G:
		return enter(x, a, a->at_op - OP_ENTER_WIRED_4K, true);
	case OP_PROMOTE:
		error = pmap_promote(pm, a->at_start, 1, &g);
		break;
	case OP_DEMOTE_2M:
		error = pmap_demote(pm, a->at_start, 1, &g);
		break;
	case OP_DEMOTE_1G:
		error = pmap_demote(pm, a->at_start, 2, &g);
		break;
	case OP_EMULATE:
		return pmap_emulate_accessed_dirty(pm, a->at_start, PMAP_PROT_R);
	case OP_REMOVE:
		error = pmap_remove(pm, a->at_start, a->at_end, &g);
		break;
	case OP_PROTECT:
		error = pmap_protect(pm, a->at_start, a->at_end, PMAP_PROT_R, &g);
		break;
	case OP_UNWIRE:
		return pmap_unwire(pm, a->at_start, a->at_end);
	case OP_HARVEST_M:
		error = pmap_harvest(pm, a->at_start, a->at_end, PMAP_HARVEST_MODIFIED,
				     a->at_bitmap, &n, &g);
		break;
	case OP_HARVEST_A:
		error = pmap_harvest(pm, a->at_start, a->at_end, PMAP_HARVEST_ACCESSED,
				     a->at_bitmap, &n, &g);
		break;
	case OP_CLEAR_MODIFY:
		error = pmap_clear_modify(pm, a->at_start, a->at_end, &g);
		break;
	default:
		error = pmap_ts_referenced(pm, a->at_start, a->at_end, &n, &g);
		break;
	}
	pmap_gather_finish(&g);
	return error;
}

/*
 * What an operation that may not fail must have done to a page in its range, if that is still
 * there.
 */
static bool
done_to(const struct attempt *a, const struct page *now, bool emulated)
{
	switch (a->at_op) {
	case OP_REMOVE:
		return now->pg_prot == 0;
	case OP_PROTECT:
		return now->pg_prot == PMAP_PROT_R;
	case OP_UNWIRE:
		return !now->pg_wired;
	case OP_HARVEST_M:
	case OP_CLEAR_MODIFY:
		return !now->pg_m;
	default:
		return !now->pg_a && !(emulated && now->pg_m);
	}
}

static bool
ages(enum op op)
{
	return op == OP_HARVEST_A || op == OP_TS_REFERENCED;
}

/* One page after an operation that may not fail and got no memory at some point. */
static void
judge(struct fx *x, const struct attempt *a, const struct page *before, const struct page *now)
{
	const bool in = a->at_start <= before->pg_gpa && before->pg_gpa < a->at_end;
	const uint64_t bit = (before->pg_gpa - a->at_start) / PAGE;

	struct page aged = *before;

	/* A superpage ages as one. */
	if (ages(a->at_op))
		aged.pg_a = now->pg_a;
	if (!in && !same_page(&aged, now))
		fx_assert(now->pg_prot == 0 && !before->pg_wired && a->at_op != OP_UNWIRE);
	if (in && before->pg_prot != 0 && now->pg_prot != 0) {
		fx_assert(now->pg_hpa == before->pg_hpa);
		fx_assert(done_to(a, now, x->fx_fmt->pf_emulated_ad));
	}
	if (in && before->pg_wired && a->at_op != OP_REMOVE)
		fx_assert(now->pg_prot != 0);
	/* No write is forgotten: it is in the table, in the bitmap, or was reported. */
	if (before->pg_m && !now->pg_m && !was_told(x, before->pg_gpa))
		fx_assert(in && a->at_op == OP_HARVEST_M &&
			  (a->at_bitmap[bit / 64] >> bit % 64 & 1));
	/* What the bitmap is asked for, it has, even where there was no memory to split. */
	if (in && a->at_op == OP_HARVEST_M)
		fx_assert((a->at_bitmap[bit / 64] >> bit % 64 & 1) == before->pg_m);
}

static void
judge_all(struct fx *x, const struct attempt *a, const struct page before[SAMPLES], int error)
{
	struct page now[SAMPLES];

	fx_check(x);
	sample(x, a->at_place, now);
	for (unsigned int i = 0; i < SAMPLES; i++) {
		if (a->at_op >= OP_REMOVE)
			judge(x, a, &before[i], &now[i]);
		else if (error != 0)
			fx_assert(same_page(&before[i], &now[i]));
	}
	if (a->at_op >= OP_REMOVE)
		fx_assert(error == 0);
	else if (error != 0)
		fx_assert(x->fx_nnotes == 0);
}

/* ---- Failing the n-th ------------------------------------------------------------------------ */

/* One try with the n-th allocation failing; whether it came to that. */
static bool
try_one(const struct fx_format *format, unsigned int flags, const struct attempt *a, uint64_t n,
	bool persistent)
{
	struct page before[SAMPLES];
	struct fx x;
	uint64_t failed;
	int error;

	world_begin(NULL);
	fx_open(&x, format, flags);
	furnish(&x, a->at_place);
	sample(&x, a->at_place, before);
	memset(a->at_bitmap, 0, 2 * GIB / PAGE / 8);
	host_posix_fail_alloc(n, persistent);
	error = operate(&x, a);
	failed = host_posix_failed_allocs();
	host_posix_fail_alloc(0, false);
	if (failed == 0 && error == -ENOMEM)
		fx_fail("op %u: -ENOMEM, but no allocation failed", a->at_op);
	judge_all(&x, a, before, error);
	/* Promotion may have wanted a spare in vain; what is wired is split by its own. */
	if (failed != 0 && a->at_op < OP_PROMOTE && !a->at_place->pl_wired)
		fx_assert(error == -ENOMEM);
	fx_close(&x);
	CHECK(true);
	world_end();
	return failed != 0;
}

static void
each_op(const struct fx_format *format, unsigned int flags, unsigned int place)
{
	static uint64_t bitmap[2 * GIB / PAGE / 64];
	const struct place *const p = &places[place];
	const uint64_t size = place_size(p);
	const unsigned int stride = fx_scale(2) == 1 ? 600 : 169;
	const unsigned int few = fx_scale(2) == 1 && p->pl_level == 2 ? 2 : 4;
	unsigned int failures = 0;

	for (unsigned int op = 0; op < OP_COUNT; op++) {
		const struct attempt a = {
			.at_place = p,
			.at_op = (enum op)op,
			.at_start = AT + (size > PAGE ? 2 * PAGE : 0),
			.at_end = AT + size + (size > PAGE ? 3 * PAGE : PAGE),
			.at_bitmap = bitmap,
		};

		if ((op == OP_ENTER_1G || op == OP_ENTER_WIRED_1G || op == OP_DEMOTE_1G) &&
		    format->ff_caps.pc_leaf_levels < 3)
			continue;
		for (unsigned int persistent = 0; persistent < 2; persistent++) {
			/* Of the 513 tables of a gigabyte, only some. */
			for (uint64_t n = 1; try_one(format, flags, &a, n, persistent != 0);
			     n += n < few || n > 510 ? 1 : stride)
				failures++;
		}
	}
	cr_assert(failures > 0, "%s: nothing failed", fx_name());
}

/* Gigabytes take their time, and little of it depends on the format. */
static void
each_place(const char *name, unsigned int flags, bool gigabytes)
{
	const struct fx_format *const format = fx_format(name);

	for (unsigned int i = 0; i < NPLACES; i++) {
		if (places[i].pl_level == 2 && !gigabytes)
			continue;
		each_op(format, flags, i);
	}
}

Test(oom, ept)
{
	each_place("ept", 0, true);
}

Test(oom, ept_reference)
{
	each_place("ept", PMAP_REFERENCE, false);
}

Test(oom, ept_emulated)
{
	each_place("ept-noad", 0, fx_scale(2) == 2);
}

Test(oom, rvi_deferred)
{
	each_place("rvi-5", PMAP_DEFER, false);
}

Test(oom, x86_erratum)
{
	each_place("x86-kernel", PMAP_MIXED_SIZE_ERRATUM, false);
}

/* ---- The rest -------------------------------------------------------------------------------- */

Test(oom, init)
{
	for (unsigned int i = 0; i < fx_nformats; i++) {
		for (unsigned int n = 1; n <= 3; n++) {
			struct pmap_config cfg;
			struct pmap *pm = NULL;
			int error;

			world_begin(NULL);
			fx_config(&fx_formats[i], 0, &cfg);
			host_posix_fail_alloc(n, false);
			error = pmap_init(&cfg, &pm);
			host_posix_fail_alloc(0, false);
			CHECK(error == (n <= 2 ? -ENOMEM : 0));
			CHECK((pm != NULL) == (error == 0));
			if (pm != NULL)
				pmap_destroy(pm);
			world_end();
		}
	}
}

/* Destroying needs no memory. */
Test(oom, destroy)
{
	for (unsigned int i = 0; i < fx_nformats; i++) {
		struct fx x;

		world_begin(NULL);
		fx_open(&x, &fx_formats[i], PMAP_DEFER);
		for (unsigned int level = 0; level < x.fx_levels; level++)
			CHECK(fx_enter_wired(&x, AT + level * GIB, FX_HPA, PMAP_PROT_RX, level) ==
			      0);
		host_posix_fail_alloc(1, true);
		fx_close(&x);
		CHECK(host_posix_failed_allocs() == 0);
		world_end();
	}
}

/* Promotion of wired mappings wants a spare, and does not begin without. */
static void
promote_wired(struct fx *x)
{
	struct fx_picture before;

	if (x->fx_levels < 2)
		return;
	for (unsigned int i = 0; i < HOST_TABLE_WORDS; i++)
		fx_assert(fx_enter_wired(x, AT + i * PAGE, FX_HPA + i * PAGE, PMAP_PROT_RWX, 0) ==
			  0);
	fx_picture(x, &before);
	host_posix_fail_alloc(1, false);
	fx_assert(fx_promote(x, AT, 1) == -ENOMEM);
	fx_same(x, &before, false);
	fx_assert(fx_promote(x, AT, 1) == 0);
	fx_assert(fx_stats(x).st_spares == 1);
	/* What it keeps splits it, when there is nothing else. */
	host_posix_fail_alloc(1, true);
	fx_assert(fx_demote(x, AT, 1) == 0);
	fx_assert(fx_leaf(x, AT).pl_wired && fx_leaf(x, AT).pl_level == 0);
	fx_assert(fx_stats(x).st_spares == 0);
	host_posix_fail_alloc(0, false);

	/* Nor without memory does an unwired one begin to be split; nothing counts as removed. */
	fx_remove(x, 0, x->fx_limit);
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, 0, 1) == 0);
	fx_forget(x);
	fx_picture(x, &before);
	host_posix_fail_alloc(1, false);
	fx_assert(fx_demote(x, AT, 1) == -ENOMEM);
	fx_assert(fx_stats(x).st_demotion_failures == 0);
	fx_same(x, &before, false);
	/* Only where it may be removed. */
	host_posix_fail_alloc(1, false);
	fx_remove(x, AT, AT + PAGE);
	fx_assert(fx_stats(x).st_demotion_failures == 1);
	fx_assert(fx_stats(x).st_resident_pages == 0);
	fx_assert(x->fx_nnotes == 1 && x->fx_notes[0].pl_level == 1);
	fx_assert(x->fx_notes[0].pl_modified && x->fx_notes[0].pl_gpa == AT);
	host_posix_fail_alloc(0, false);
}

Test(oom, promote_and_demote)
{
	fx_each(promote_wired);
}

/* What is not wired keeps no spare, and asks for none. */
static void
promote_unwired(struct fx *x)
{
	if (x->fx_levels < 2)
		return;
	for (unsigned int i = 0; i < HOST_TABLE_WORDS; i++)
		fx_assert(fx_enter(x, AT + i * PAGE, FX_HPA + i * PAGE, PMAP_PROT_RWX, PMAP_PROT_W,
				   0) == 0);
	host_posix_fail_alloc(1, true);
	fx_assert(fx_promote(x, AT, 1) == 0);
	fx_assert(host_posix_failed_allocs() == 0);
	host_posix_fail_alloc(0, false);
	fx_assert(fx_leaf(x, AT).pl_level == 1 && fx_stats(x).st_spares == 0);
}

Test(oom, promote_unwired_without_memory)
{
	fx_each(promote_unwired);
}
