/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The public functions of pmap, one after the other: configurations, entering, asking, refusing.
 * What is refused must leave the pmap as it was, to the last counter.
 */

#include "tests/unit/pmap_fixture.h"

#include <string.h>

/* ---- Configurations ------------------------------------------------------------------------- */

static void
spoil(struct pmap_config *cfg, unsigned int how)
{
	struct pt_caps *caps = &cfg->pc_caps;

	switch (how) {
	case 0:
		cfg->pc_flags |= 1; /* no such flag */
		break;
	case 1:
		cfg->pc_flags |= 1u << 31;
		break;
	case 2:
		cfg->pc_flags ^= PMAP_EMULATE_AD_BITS;
		break;
	case 3:
		cfg->pc_flags ^= PMAP_SUPPORTS_EXEC_ONLY;
		break;
	case 4:
		cfg->pc_flags ^= PMAP_PDE_SUPERPAGE;
		break;
	case 5:
		cfg->pc_type = PT_TYPE_COUNT;
		break;
	case 6:
		caps->pc_levels = 3;
		break;
	case 7:
		caps->pc_levels = 6;
		break;
	case 8:
		caps->pc_leaf_levels = 4;
		break;
	case 9:
		caps->pc_phys_bits = 35;
		break;
	case 10:
		caps->pc_phys_bits = 53;
		break;
	case 11:
		cfg->pc_flags &= ~PMAP_PDE_SUPERPAGE;
		caps->pc_leaf_levels = 0;
		break;
	default:
		/* A flag that the caps do not bear out. */
		cfg->pc_flags ^= PMAP_EMULATE_AD_BITS;
		break;
	}
}

Test(pmap, init_refuses_contradictions)
{
	for (unsigned int i = 0; i < fx_nformats; i++) {
		world_begin(NULL);
		for (unsigned int how = 0; how <= 12; how++) {
			struct pmap *pm = (struct pmap *)&fx_formats[i];
			struct pmap_config cfg;

			fx_config(&fx_formats[i], 0, &cfg);
			spoil(&cfg, how);
			cr_assert_eq(pmap_init(&cfg, &pm), -EINVAL, "%s, %u", fx_formats[i].ff_name,
				     how);
			cr_assert_eq(pm, (struct pmap *)&fx_formats[i]);
		}
		CHECK(true);
		world_end();
	}
}

Test(pmap, init_refuses_a_pat_without_write_back)
{
	struct pmap_config cfg;
	struct pmap *pm = NULL;

	world_begin(NULL);
	fx_config(fx_format("rvi-4"), 0, &cfg);
	cfg.pc_caps.pc_pat = 0x0001040500070400;
	CHECK(pmap_init(&cfg, &pm) == -EINVAL);
	CHECK(pm == NULL);
	/* EPT has memory types of its own. */
	fx_config(fx_format("ept"), 0, &cfg);
	cfg.pc_caps.pc_pat = 0;
	CHECK(pmap_init(&cfg, &pm) == 0);
	pmap_destroy(pm);
	world_end();
}

static void
fresh(struct fx *x)
{
	const struct pt_fmt *const f = pmap_fmt(x->fx_pm);
	struct pmap_stats st = fx_stats(x);

	fx_assert(pmap_valid_bit(x->fx_pm) == f->pf_valid && f->pf_valid != 0);
	fx_assert(pmap_rw_bit(x->fx_pm) == f->pf_rw && f->pf_rw != 0);
	fx_assert(pmap_accessed_bit(x->fx_pm) == f->pf_a && f->pf_a != 0);
	fx_assert(pmap_modified_bit(x->fx_pm) == f->pf_m && f->pf_m != 0);
	fx_assert(f->pf_type == x->fx_format->ff_type);
	fx_assert(f->pf_limit == x->fx_limit);
	fx_assert(pmap_flags(x->fx_pm) == (x->fx_format->ff_flags | x->fx_flags));
	fx_assert(pmap_root(x->fx_pm) != 0 && pmap_root(x->fx_pm) % PAGE == 0);
	fx_assert(pmap_generation(x->fx_pm) == 1);
	fx_assert(st.st_tables == 1);
	st.st_tables = 0;
	fx_assert(memcmp(&st, &(struct pmap_stats){0}, sizeof(st)) == 0);
	fx_assert(fx_leaf(x, 0).pl_prot == 0);
	fx_assert(fx_leaf(x, x->fx_limit - PAGE).pl_prot == 0);
}

Test(pmap, init_makes_an_empty_one)
{
	fx_each(fresh);
}

/* ---- Entering into nothing ------------------------------------------------------------------- */

/* What the leaf of a new mapping must say. */
static void
entered_is(struct fx *x, const struct pmap_mapping *m)
{
	const struct pmap_leaf leaf = fx_leaf(x, m->pa_gpa + pt_level_size(m->pa_level) - 1);
	const bool large_rw = m->pa_level > 0 && (m->pa_prot & PMAP_PROT_W);

	fx_assert(leaf.pl_gpa == m->pa_gpa);
	fx_assert(leaf.pl_hpa == m->pa_hpa);
	fx_assert(leaf.pl_level == m->pa_level);
	fx_assert(leaf.pl_prot == m->pa_prot);
	fx_assert(leaf.pl_memattr == m->pa_memattr);
	fx_assert(leaf.pl_wired == m->pa_wired);
	fx_assert(leaf.pl_accessed == (m->pa_access != 0 || large_rw));
	fx_assert(leaf.pl_modified == ((m->pa_access & PMAP_PROT_W) || large_rw));
}

static void
enter_one(struct fx *x, const struct pmap_mapping *m)
{
	const uint64_t npages = (uint64_t)1 << 9 * m->pa_level;
	struct fx_picture before;
	int error;

	fx_picture(x, &before);
	error = pmap_enter(x->fx_pm, m);
	if ((m->pa_access & ~m->pa_prot) != 0) {
		fx_assert(error == -EINVAL);
		fx_same(x, &before, true);
		return;
	}
	if (!fx_prot_ok(x->fx_format, m->pa_prot) || !fx_memattr_ok(x->fx_format, m->pa_memattr)) {
		fx_assert(error == -EOPNOTSUPP);
		fx_same(x, &before, true);
		return;
	}
	fx_picture_free(&before);
	fx_assert(error == 0);
	entered_is(x, m);
	fx_check(x);

	const struct pmap_stats st = fx_stats(x);

	fx_assert(st.st_resident_pages == npages);
	fx_assert(st.st_wired_pages == (m->pa_wired ? npages : 0));
	fx_assert(st.st_leaves[m->pa_level] == 1);
	fx_assert(st.st_tables == x->fx_fmt->pf_levels - m->pa_level);
	fx_assert(fx_leaf(x, m->pa_gpa ^ pt_level_size(m->pa_level)).pl_prot == 0);
	fx_remove(x, m->pa_gpa, m->pa_gpa + pt_level_size(m->pa_level));
	fx_assert(fx_stats(x).st_resident_pages == 0);
}

static void
every_mapping(struct fx *x)
{
	struct pmap_mapping m = {0};

	for (m.pa_level = 0; m.pa_level < x->fx_levels; m.pa_level++) {
		/* The last page of the space. */
		m.pa_gpa = x->fx_limit - pt_level_size(m.pa_level);
		m.pa_hpa = FX_HPA;
		for (m.pa_prot = 0; m.pa_prot < PMAP_PROT_COUNT; m.pa_prot++) {
			for (m.pa_access = 0; m.pa_access < PMAP_PROT_COUNT; m.pa_access++)
				enter_one(x, &m);
		}
		m.pa_prot = PMAP_PROT_RX;
		m.pa_access = PMAP_PROT_R;
		for (m.pa_memattr = 0; m.pa_memattr < PT_MEMATTR_COUNT; m.pa_memattr++)
			enter_one(x, &m);
		m.pa_memattr = PT_MEMATTR_WB;
		m.pa_wired = true;
		enter_one(x, &m);
		m.pa_wired = false;
	}
}

Test(pmap, enter_every_right_type_and_size)
{
	fx_each(every_mapping);
}

static void
frames(struct fx *x)
{
	const hpa_t top = (uint64_t)1 << x->fx_format->ff_caps.pc_phys_bits;

	for (unsigned int level = 0; level < x->fx_levels; level++) {
		const uint64_t size = pt_level_size(level);
		struct fx_picture before;

		fx_assert(fx_enter(x, 0, top - size, PMAP_PROT_RX, 0, level) == 0);
		fx_assert(fx_leaf(x, size - 1).pl_hpa == top - size);
		fx_check(x);
		fx_picture(x, &before);
		fx_assert(fx_enter(x, size, top, PMAP_PROT_RX, 0, level) == -EINVAL);
		fx_assert(fx_enter(x, size, ~(hpa_t)0 & ~(size - 1), PMAP_PROT_RX, 0, level) ==
			  -EINVAL);
		fx_assert(fx_enter(x, size, FX_HPA + size / 2, PMAP_PROT_RX, 0, level) == -EINVAL);
		fx_assert(fx_enter(x, size, FX_HPA + 1, PMAP_PROT_RX, 0, level) == -EINVAL);
		fx_assert(fx_enter(x, size + 1, FX_HPA, PMAP_PROT_RX, 0, level) == -EINVAL);
		fx_assert(fx_enter(x, size / 2, FX_HPA, PMAP_PROT_RX, 0, level) == -EINVAL);
		fx_assert(fx_enter(x, x->fx_limit, FX_HPA, PMAP_PROT_RX, 0, level) == -EINVAL);
		fx_assert(fx_enter(x, (gpa_t)0 - size, FX_HPA, PMAP_PROT_RX, 0, level) == -EINVAL);
		fx_same(x, &before, true);
		fx_remove(x, 0, size);
	}
}

Test(pmap, enter_refuses_what_is_out_of_reach)
{
	fx_each(frames);
}

static void
nonsense(struct fx *x)
{
	struct fx_picture before;
	struct pmap_mapping m = {.pa_hpa = FX_HPA, .pa_prot = PMAP_PROT_COUNT};

	fx_picture(x, &before);
	fx_assert(pmap_enter(x->fx_pm, &m) == -EINVAL);
	m.pa_prot = PMAP_PROT_RX;
	m.pa_access = PMAP_PROT_COUNT;
	fx_assert(pmap_enter(x->fx_pm, &m) == -EINVAL);
	m.pa_access = 0;
	m.pa_memattr = PT_MEMATTR_COUNT;
	fx_assert(pmap_enter(x->fx_pm, &m) == -EINVAL);
	m.pa_memattr = PT_MEMATTR_WB;
	for (m.pa_level = x->fx_levels; m.pa_level < PT_LEVELS_MAX; m.pa_level++)
		fx_assert(pmap_enter(x->fx_pm, &m) == -EINVAL);
	m.pa_level = ~0u;
	fx_assert(pmap_enter(x->fx_pm, &m) == -EINVAL);
	fx_same(x, &before, true);
}

Test(pmap, enter_refuses_nonsense)
{
	fx_each(nonsense);
}

/* ---- Entering over something ----------------------------------------------------------------- */

#define AT (3 * GIB)

static void
same_frame(struct fx *x)
{
	struct pmap_stats st;
	struct fx_picture before;
	struct pmap_leaf leaf;

	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	fx_picture(x, &before);
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
	st = fx_stats(x);
	fx_assert(st.st_spurious_faults == 0);
	fx_assert(st.st_shootdowns == 0);
	fx_same(x, &before, false);

	/* Wider, and written: nothing to flush, nothing lost. */
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	leaf = fx_leaf(x, AT);
	fx_assert(leaf.pl_prot == PMAP_PROT_RWX && leaf.pl_accessed && leaf.pl_modified);
	fx_assert(fx_stats(x).st_shootdowns == 0);
	fx_assert(x->fx_nnotes == 0);

	/* Narrower: M goes, and is reported. */
	fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, 0, 0) == 0);
	leaf = fx_leaf(x, AT);
	fx_assert(leaf.pl_prot == PMAP_PROT_RX && leaf.pl_accessed && !leaf.pl_modified);
	fx_assert(fx_stats(x).st_shootdowns == 1);
	fx_assert(x->fx_nnotes == 1);
	fx_assert(x->fx_notes[0].pl_gpa == AT && x->fx_notes[0].pl_hpa == FX_HPA);
	fx_assert(x->fx_notes[0].pl_modified && !x->fx_notes[0].pl_accessed);
	fx_assert(x->fx_notes[0].pl_prot == PMAP_PROT_RWX);
	fx_assert(fx_stats(x).st_resident_pages == 1);
}

Test(pmap, enter_over_the_same_frame)
{
	fx_each(same_frame);
}

static void
other_frame(struct fx *x)
{
	for (unsigned int level = 0; level < x->fx_levels; level++) {
		const uint64_t size = pt_level_size(level);
		struct pmap_mapping m = {.pa_gpa = AT,
					 .pa_hpa = FX_HPA + size,
					 .pa_prot = PMAP_PROT_RX,
					 .pa_level = level};
		const uint64_t flushes = fx_stats(x).st_shootdowns;

		fx_forget(x);
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, level) == 0);
		fx_assert(pmap_enter(x->fx_pm, &m) == 0);
		entered_is(x, &m);
		fx_assert(x->fx_nnotes == 1);
		fx_assert(x->fx_notes[0].pl_hpa == FX_HPA && x->fx_notes[0].pl_level == level);
		fx_assert(x->fx_notes[0].pl_accessed && x->fx_notes[0].pl_modified);
		fx_assert(fx_stats(x).st_shootdowns == flushes + 1);

		/* Never accessed: nothing can be cached, nothing is flushed or reported. */
		m.pa_memattr = PT_MEMATTR_UC;
		fx_assert(pmap_enter(x->fx_pm, &m) == 0);
		entered_is(x, &m);
		fx_assert(x->fx_nnotes == 1);
		fx_assert(fx_stats(x).st_shootdowns == flushes + 1);
		fx_assert(fx_stats(x).st_leaves[level] == 1);
		fx_remove(x, 0, x->fx_limit); /* with its tables */
	}
}

Test(pmap, enter_over_another_frame_breaks_before_it_makes)
{
	fx_each(other_frame);
}

static void
wiring(struct fx *x)
{
	for (unsigned int level = 0; level < x->fx_levels; level++) {
		const uint64_t size = pt_level_size(level);
		const uint64_t npages = size / PAGE;
		const uint64_t spares = level == 0 ? 0 : level == 1 ? 1 : 513;

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, level) == 0);
		fx_assert(fx_stats(x).st_spares == 0);
		fx_assert(fx_enter_wired(x, AT, FX_HPA, PMAP_PROT_RX, level) == 0);
		fx_assert(fx_stats(x).st_wired_pages == npages);
		fx_assert(fx_stats(x).st_spares == spares);
		fx_check(x);
		/* Wired already: what was set aside for it is given back. */
		fx_assert(fx_enter_wired(x, AT, FX_HPA, PMAP_PROT_RX, level) == 0);
		fx_assert(fx_stats(x).st_spares == spares);
		/* A fault decided before the wiring does not undo it. */
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_X, level) == 0);
		fx_assert(fx_leaf(x, AT).pl_wired);
		fx_assert(fx_stats(x).st_spares == spares);
		/* Another frame does. */
		fx_assert(fx_enter(x, AT, FX_HPA + size, PMAP_PROT_RX, 0, level) == 0);
		fx_assert(!fx_leaf(x, AT).pl_wired);
		fx_assert(fx_stats(x).st_wired_pages == 0 && fx_stats(x).st_spares == 0);
		fx_check(x);

		fx_assert(fx_enter_wired(x, AT, FX_HPA, PMAP_PROT_RX, level) == 0);
		fx_assert(pmap_unwire(x->fx_pm, AT, AT) == 0);
		fx_assert(fx_stats(x).st_wired_pages == npages);
		fx_assert(pmap_unwire(x->fx_pm, AT, AT + size) == 0);
		fx_assert(fx_stats(x).st_wired_pages == 0 && fx_stats(x).st_spares == 0);
		fx_assert(fx_leaf(x, AT).pl_level == level && !fx_leaf(x, AT).pl_wired);
		fx_check(x);
		fx_remove(x, AT, AT + size);
	}
}

Test(pmap, wiring_and_its_spares)
{
	fx_each(wiring);
}

/* A smaller mapping within a superpage, and a superpage over smaller ones. */
static void
other_size(struct fx *x)
{
	for (unsigned int level = 1; level < x->fx_levels; level++) {
		const uint64_t size = pt_level_size(level);
		const gpa_t in = AT + size / 2 + 5 * PAGE;
		struct fx_picture before;

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RW | PMAP_PROT_X, 0, level) == 0);
		fx_picture(x, &before);
		fx_assert(fx_enter(x, in, FX_HPA + (in - AT), PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
		fx_same(x, &before, false); /* covered already */
		fx_assert(fx_leaf(x, in).pl_level == level);

		fx_forget(x);
		fx_assert(fx_enter(x, in, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
		fx_check(x);
		fx_assert(fx_leaf(x, in).pl_level == 0 && fx_leaf(x, in).pl_hpa == FX_HPA);
		fx_assert(fx_leaf(x, in + PAGE).pl_hpa == FX_HPA + (in - AT) + PAGE);
		fx_assert(fx_leaf(x, in + PAGE).pl_modified);
		fx_assert(x->fx_nnotes == 1 && x->fx_notes[0].pl_gpa == in);
		fx_assert(x->fx_notes[0].pl_modified && x->fx_notes[0].pl_level == 0);
		fx_assert(fx_stats(x).st_resident_pages == size / PAGE);
		fx_assert(fx_stats(x).st_demotions >= level);

		/* Over all of it again: what was there is removed and reported, piece by piece. */
		const struct pmap_stats st = fx_stats(x);
		const uint64_t leaves = st.st_leaves[0] + st.st_leaves[1] + st.st_leaves[2];

		fx_forget(x);
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, 0, level) == 0);
		fx_check(x);
		fx_assert(x->fx_nnotes == leaves);
		fx_assert(fx_leaf(x, in).pl_level == level && !fx_leaf(x, in).pl_accessed);
		fx_assert(fx_stats(x).st_tables == x->fx_fmt->pf_levels - level);
		fx_remove(x, AT, AT + size);
	}
}

Test(pmap, enter_over_another_size)
{
	fx_each(other_size);
}

/* A superpage never replaces smaller wired mappings. */
static void
over_wired(struct fx *x)
{
	for (unsigned int level = 1; level < x->fx_levels; level++) {
		const uint64_t size = pt_level_size(level);

		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, 0) == 0);
		fx_assert(fx_enter_wired(x, AT + 7 * PAGE, FX_HPA, PMAP_PROT_RX, 0) == 0);
		fx_forget(x);
		fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, 0, level) == -EBUSY);
		fx_check(x);
		fx_assert(fx_leaf(x, AT).pl_prot == 0);
		fx_assert(x->fx_nnotes == 1 && x->fx_notes[0].pl_gpa == AT);
		fx_assert(fx_leaf(x, AT + 7 * PAGE).pl_wired);
		fx_assert(fx_stats(x).st_resident_pages == 1);
		fx_remove(x, AT, AT + size);
	}
}

Test(pmap, enter_over_wired_pages_is_refused)
{
	fx_each(over_wired);
}

/* ---- Revoked meanwhile ----------------------------------------------------------------------- */

static struct host_word decision;

static void
revoke(struct fx *x)
{
	(void)x;
	host_fetch_add(&decision, 1);
}

static void
revoked(struct fx *x)
{
	for (unsigned int level = 0; level < x->fx_levels; level++) {
		const uint64_t size = pt_level_size(level);
		struct pmap_mapping m = {.pa_gpa = AT,
					 .pa_hpa = FX_HPA,
					 .pa_prot = PMAP_PROT_RX,
					 .pa_level = level,
					 .pa_revoked = &decision,
					 .pa_revoked_was = 7};
		struct fx_picture before;
		const uint64_t taken_back = fx_stats(x).st_revoked;

		/* Too late from the start. */
		host_store(&decision, 8);
		fx_picture(x, &before);
		fx_assert(pmap_enter(x->fx_pm, &m) == -EAGAIN);
		fx_same(x, &before, true);

		/* Not revoked. */
		host_store(&decision, 7);
		fx_assert(pmap_enter(x->fx_pm, &m) == 0);
		fx_assert(fx_touch(x, AT, PMAP_PROT_R) == 0);

		/* Revoked between the removal of what was there and the look under the lock. */
		fx_forget(x);
		x->fx_on_note = revoke;
		m.pa_hpa = FX_HPA + size;
		for (unsigned int wired = 0; wired < 2; wired++) {
			host_store(&decision, 7);
			m.pa_wired = wired != 0;
			fx_assert(pmap_enter(x->fx_pm, &m) == -EAGAIN);
			fx_check(x);
			fx_assert(fx_leaf(x, AT).pl_prot == 0);
			fx_assert(fx_stats(x).st_resident_pages == 0);
			fx_assert(fx_stats(x).st_spares == 0);
			/* It was not even installed. */
			fx_assert(fx_stats(x).st_revoked == taken_back);
			fx_assert(fx_enter(x, AT, FX_HPA, PMAP_PROT_RX, PMAP_PROT_R, level) == 0);
		}
		x->fx_on_note = NULL;
		fx_remove(x, AT, AT + size);
	}
}

Test(pmap, enter_gives_up_what_was_revoked)
{
	fx_each(revoked);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void
questions(struct fx *x)
{
	const gpa_t last = x->fx_limit - PAGE;
	struct pmap_leaf leaf = {.pl_prot = 99};
	pt_entry_t entries[PT_LEVELS_MAX];
	bool modified = true;
	unsigned int n = 77;

	fx_assert(fx_enter(x, last, FX_HPA, PMAP_PROT_RX, PMAP_PROT_X, 0) == 0);
	fx_assert(pmap_extract(x->fx_pm, x->fx_limit, &leaf) == -EINVAL);
	fx_assert(pmap_extract(x->fx_pm, ~(gpa_t)0, &leaf) == -EINVAL);
	fx_assert(pmap_extract(x->fx_pm, last - 1, &leaf) == -ENOENT);
	fx_assert(leaf.pl_prot == 99);
	fx_assert(pmap_extract(x->fx_pm, x->fx_limit - 1, &leaf) == 0);
	fx_assert(leaf.pl_gpa == last && leaf.pl_hpa == FX_HPA);

	fx_assert(pmap_walk(x->fx_pm, x->fx_limit, entries, &n) == -EINVAL);
	fx_assert(n == 77);
	fx_assert(pmap_walk(x->fx_pm, last, entries, &n) == 0);
	fx_assert(n == x->fx_fmt->pf_levels);
	fx_assert(pte_hpa(x->fx_fmt, entries[n - 1], 0) == FX_HPA);
	for (unsigned int i = 0; i + 1 < n; i++)
		fx_assert(pte_is_table(x->fx_fmt, entries[i], x->fx_fmt->pf_levels - 1 - i));
	fx_assert(pmap_walk(x->fx_pm, 0, entries, &n) == 0);
	fx_assert(n == 1 && entries[0] == 0);

	fx_assert(pmap_is_modified(x->fx_pm, 0, x->fx_limit, &modified) == 0 && !modified);
	fx_assert(fx_enter(x, 0, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(pmap_is_modified(x->fx_pm, 0, x->fx_limit, &modified) == 0 && modified);
	fx_assert(pmap_is_modified(x->fx_pm, PAGE, x->fx_limit, &modified) == 0 && !modified);
	fx_assert(pmap_is_modified(x->fx_pm, 0, PAGE, &modified) == 0 && modified);
	fx_assert(pmap_is_modified(x->fx_pm, 0, 0, &modified) == 0 && !modified);
}

Test(pmap, extract_walk_and_is_modified)
{
	fx_each(questions);
}

/* ---- Ranges that are none -------------------------------------------------------------------- */

/* Every function that takes a range; the result. */
static int
ranged(struct fx *x, unsigned int which, gpa_t start, gpa_t end)
{
	struct pmap *const pm = x->fx_pm;
	struct pmap_gather g;
	bool modified;
	uint64_t n;
	int error;

	pmap_gather_begin(&g, pm);
	switch (which) {
	case 0:
		return pmap_invalidate_range(pm, start, end);
	case 1:
		return pmap_unwire(pm, start, end);
	case 2:
		return pmap_is_modified(pm, start, end, &modified);
	case 3:
		error = pmap_remove(pm, start, end, &g);
		break;
	case 4:
		error = pmap_protect(pm, start, end, PMAP_PROT_R, &g);
		if (!fx_prot_ok(x->fx_format, PMAP_PROT_R) && error == -EOPNOTSUPP)
			error = 0;
		break;
	case 5:
		error = pmap_protect(pm, start, end, 0, &g);
		break;
	case 6:
		error = pmap_harvest(pm, start, end, PMAP_HARVEST_MODIFIED, NULL, &n, &g);
		break;
	case 7:
		error = pmap_clear_modify(pm, start, end, &g);
		break;
	default:
		error = pmap_ts_referenced(pm, start, end, &n, &g);
		break;
	}
	/* Nothing was gathered: finishing would only count that. */
	fx_assert(!g.pg_flush && !g.pg_deferred && g.pg_tables == NULL);
	return error;
}

#define RANGED 9

static void
bad_ranges(struct fx *x)
{
	const gpa_t top = x->fx_limit;
	const gpa_t bad[][2] = {
		{1, PAGE},
		{0, PAGE - 1},
		{PAGE, 0},
		{top - PAGE, 0},
		{0, top + PAGE},
		{top, top + PAGE},
		{top - PAGE, top + PAGE},
		{top + PAGE, top + PAGE},
		{0, ~(gpa_t)0 & ~(PAGE - 1)},
		{~(gpa_t)0 & ~(PAGE - 1), 0},
		{~(gpa_t)0 & ~(PAGE - 1), PAGE},
		{512, 512},
	};
	const gpa_t empty[] = {0, PAGE, top - PAGE, top};

	fx_assert(fx_enter(x, 0, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_assert(fx_enter_wired(x, top - PAGE, FX_HPA, PMAP_PROT_RWX, 0) == 0);
	for (unsigned int which = 0; which < RANGED; which++) {
		struct fx_picture before;

		fx_picture(x, &before);
		for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
			fx_assert(ranged(x, which, bad[i][0], bad[i][1]) == -EINVAL);
		/* pmap_unwire() has a gather of its own, which it counts. */
		fx_same(x, &before, true);
		fx_picture(x, &before);
		for (unsigned int i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
			fx_assert(ranged(x, which, empty[i], empty[i]) == 0);
		fx_same(x, &before, false);
	}
}

Test(pmap, bad_ranges_change_nothing_and_empty_ones_succeed)
{
	fx_each(bad_ranges);
}

static void
bad_pages(struct fx *x)
{
	struct pmap *const pm = x->fx_pm;
	struct fx_picture before;
	struct pmap_gather g;
	uint64_t bitmap[1] = {0};

	fx_assert(fx_enter(x, 0, FX_HPA, PMAP_PROT_RWX, PMAP_PROT_W, 0) == 0);
	fx_picture(x, &before);
	pmap_gather_begin(&g, pm);
	fx_assert(pmap_emulate_accessed_dirty(pm, x->fx_limit, PMAP_PROT_R) == -EINVAL);
	fx_assert(pmap_emulate_accessed_dirty(pm, 0, 0) == -EINVAL);
	fx_assert(pmap_emulate_accessed_dirty(pm, 0, PMAP_PROT_COUNT) == -EINVAL);
	fx_assert(pmap_emulate_accessed_dirty(pm, PAGE, PMAP_PROT_R) == -ENOENT);
	fx_assert(pmap_protect(pm, 0, PAGE, PMAP_PROT_COUNT, &g) == -EINVAL);
	fx_assert(pmap_harvest(pm, 0, PAGE, 8, bitmap, NULL, &g) == -EINVAL);
	fx_assert(pmap_harvest(pm, 0, PAGE, ~0u, bitmap, NULL, &g) == -EINVAL);
	fx_assert(bitmap[0] == 0);
	fx_assert(pmap_invalidate_page(pm, x->fx_limit) == -EINVAL);
	fx_assert(pmap_invalidate_page(pm, 5) == -EINVAL);
	fx_assert(pmap_invalidate_page(pm, ~(gpa_t)0 & ~(PAGE - 1)) == -EINVAL);
	fx_assert(pmap_promote(pm, 0, 0, &g) == -EINVAL);
	fx_assert(pmap_promote(pm, x->fx_limit, 1, &g) == -EINVAL);
	fx_assert(pmap_promote(pm, 0, x->fx_levels, &g) == -EOPNOTSUPP);
	fx_assert(pmap_promote(pm, 0, PT_LEAF_LEVELS_MAX, &g) == -EOPNOTSUPP);
	fx_assert(pmap_demote(pm, 0, 0, &g) == -EINVAL);
	fx_assert(pmap_demote(pm, 0, PT_LEAF_LEVELS_MAX, &g) == -EINVAL);
	fx_assert(pmap_demote(pm, x->fx_limit, 1, &g) == -EINVAL);
	fx_assert(pmap_demote(pm, 0, 1, &g) == -ENOENT);
	fx_assert(pmap_demote(pm, x->fx_limit - 1, 2, &g) == -ENOENT);
	if (x->fx_levels > 1)
		fx_assert(pmap_promote(pm, 0, 1, &g) == -EBUSY);
	if (x->fx_levels > 1)
		fx_assert(pmap_promote(pm, 2 * MIB, 1, &g) == -ENOENT);
	fx_assert(!g.pg_flush && !g.pg_deferred);
	fx_same(x, &before, true);
}

Test(pmap, bad_pages_rights_and_sizes_change_nothing)
{
	fx_each(bad_pages);
}

/* ---- Flushing for others --------------------------------------------------------------------- */

static void
invalidate(struct fx *x)
{
	const uint64_t gen = pmap_generation(x->fx_pm);

	fx_assert(pmap_invalidate_page(x->fx_pm, x->fx_limit - PAGE) == 0);
	fx_assert(pmap_generation(x->fx_pm) == gen + 1);
	fx_assert(pmap_invalidate_range(x->fx_pm, 0, x->fx_limit) == 0);
	fx_assert(pmap_invalidate_range(x->fx_pm, PAGE, PAGE) == 0);
	fx_assert(pmap_generation(x->fx_pm) == gen + 2);
	pmap_invalidate_all(x->fx_pm);
	fx_assert(pmap_generation(x->fx_pm) == gen + 3);
	fx_assert(fx_stats(x).st_shootdowns == 3);
	fx_assert(fx_stats(x).st_kicks == 0);
	pmap_drain(x->fx_pm);
	fx_assert(pmap_generation(x->fx_pm) == gen + 3);
}

Test(pmap, invalidate_takes_one_generation_each)
{
	fx_each(invalidate);
}
