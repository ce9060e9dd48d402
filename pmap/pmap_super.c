/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Superpages: splitting one leaf into 512, joining 512 into one.
 *
 * Frame and rights stay equal for every byte, so a CPU that still holds translations of the other
 * size is not wrong and nothing is flushed for data; a table joined away is still walked by
 * hardware until a flush, though, and goes through the gather. CPUs that cannot bear both sizes at
 * once (PMAP_MIXED_SIZE_ERRATUM) get break before make: the slot is frozen, flushed, then filled.
 *
 * What makes joining safe without stopping anybody is that the 512 entries have nothing left to
 * change: A is set in each, M in each that is writable, no slot is empty, and the locks are held.
 */

#include "pmap/pmap_priv.h"

/*
 * Replaces slot `index` of a table, which was seen to hold `old`, by way of a flushed frozen slot.
 */
static bool
break_before_make(struct pt_page *t, unsigned int index, pt_entry_t *old, struct pmap_gather *g)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;

	while (!pte_cas(&t->pd_words[index], old, f->pf_frozen)) {
		if (!pte_is_valid(f, *old))
			return false;
	}
	const uint64_t size = pt_level_size(t->pd_level);

	pmap_stamp(t, pt_page_gpa(t) + index * size, size);
	pmap_gather_add(g, pt_page_gpa(t) + index * size, size);
	return true;
}

/* A table with a frozen slot is not unlinked, and a frozen slot is nobody else's. */
static void
refill_slot(struct pt_page *t, unsigned int index, pt_entry_t pte_new)
{
	pt_entry_t frozen = t->pd_pmap->pm_fmt.pf_frozen;

	HOST_ASSERT(host_lock_held(&t->pd_lock) && !t->pd_dead);
	const bool made = pte_cas(&t->pd_words[index], &frozen, pte_new);
	HOST_ASSERT(made);
}

/* The flush of a frozen slot, and its refilling. Holds no lock on entry and exit. */
static void
make(struct pt_page *t, unsigned int index, pt_entry_t pte_new, struct pmap_gather *g)
{
	pmap_gather_finish(g);
	host_lock(&t->pd_lock);
	refill_slot(t, index, pte_new);
	host_unlock(&t->pd_lock);
}

/* ---- Demotion ------------------------------------------------------------------------------- */

/* Fills private table t with what superpage `pte` of the level above says. */
static void
fill_demoted(struct pt_page *t, pt_entry_t pte)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;

	host_fill_private(t->pd_words, HOST_TABLE_WORDS, pte_demoted(f, pte, t->pd_level + 1),
			  pt_level_size(t->pd_level));
}

/* A spare of parent becomes the table that will hold the parts of one of its wired superpages. */
static struct pt_page *
take_spare(struct pt_page *parent, gpa_t gpa)
{
	struct pt_page *list = NULL;

	pt_spares_move(&parent->pd_spares, &list, 1);
	pt_page_place(list, parent->pd_level - 1u, gpa);
	return list;
}

/*
 * Hands the stamp of a superpage of `parent`, and the spares its parts keep, to private table t.
 * Before t is linked: from then on whoever has its lock relies on them.
 */
static void
bequeath(struct pt_page *parent, struct pt_page *t, bool wired)
{
	HOST_ASSERT(host_lock_held(&parent->pd_lock));
	t->pd_stamp = parent->pd_stamp;
	/*
	 * Of a wired leaf's spares one is used (or freed); the parts of a 1 GiB leaf keep the
	 * others.
	 */
	if (wired)
		pt_spares_move(&parent->pd_spares, &t->pd_spares,
			       pt_spares_needed(parent->pd_level) - 1);
}

/* In an epoch. */
static void
account_demotion(struct pmap *pm, unsigned int level, bool wired)
{
	if (wired)
		pmap_count(pm, PMAP_C_SPARES, (uint64_t)-1);
	pmap_count(pm, PMAP_C_LEAVES + level, (uint64_t)-1);
	pmap_count(pm, PMAP_C_LEAVES + level - 1, HOST_TABLE_WORDS);
	pmap_count(pm, PMAP_C_TABLES, 1);
	pmap_count(pm, PMAP_C_DEMOTIONS, 1);
}

/*
 * Splits the leaf at `index` of locked table parent. *fresh is a table for it or NULL; what is left
 * in it is the caller's to free. Returns 0, -ENOMEM, or -EAGAIN when *refill is to be made after a
 * flush.
 */
static int
split_locked(struct pt_page *parent, unsigned int index, pt_entry_t pte, struct pt_page **fresh,
	     bool may_remove, struct pmap_gather *g, pt_entry_t *refill)
{
	struct pmap *const pm = parent->pd_pmap;
	const struct pt_fmt *const f = &pm->pm_fmt;
	const gpa_t gpa = pt_page_gpa(parent) + index * pt_level_size(parent->pd_level);
	const bool wired = (pte & f->pf_wired) != 0;
	struct host_word *const w = &parent->pd_words[index];
	struct pt_page *t = *fresh;

	if (t == NULL && !wired) {
		if (may_remove) {
			pmap_count(pm, PMAP_C_DEMOTION_FAILURES, 1);
			pmap_leaf_changed(parent, index, pte_xchg(w, 0), 0, g);
		}
		return -ENOMEM;
	}
	/* A wired leaf gives up its own spare; a fresh table, if there is one, is not needed. */
	if (wired)
		t = take_spare(parent, gpa);
	else
		*fresh = NULL;

	bequeath(parent, t, wired);
	if (!pmap_bears_mixed_sizes(pm)) {
		const bool frozen = break_before_make(parent, index, &pte, g);

		HOST_ASSERT(frozen);
		fill_demoted(t, pte);
		*refill = pte_table(f, pt_page_hpa(t));
	} else {
		/* Hardware may set A meanwhile: then the parts are made anew. */
		do {
			fill_demoted(t, pte);
		} while (!pte_cas(w, &pte, pte_table(f, pt_page_hpa(t))));
	}
	account_demotion(pm, parent->pd_level, wired);
	return pmap_bears_mixed_sizes(pm) ? 0 : -EAGAIN;
}

int
pmap_split(struct pmap *pm, gpa_t gpa, unsigned int level, bool may_remove, struct pmap_gather *g)
{
	const struct pt_fmt *const f = &pm->pm_fmt;
	struct pt_page *fresh = pt_page_alloc(pm, level - 1, gpa);
	struct pt_cursor c;
	pt_entry_t refill = 0;
	int error = -ENOENT;

	host_epoch_enter();
	pt_cursor_seek(&c, pm, gpa, level);

	struct pt_page *const parent = c.pc_table;

	host_lock(&parent->pd_lock);

	const pt_entry_t pte = pte_load(&parent->pd_words[c.pc_index]);

	if (!parent->pd_dead && c.pc_level == level && pte_is_leaf(f, pte, level))
		error = split_locked(parent, c.pc_index, pte, &fresh, may_remove, g, &refill);
	host_unlock(&parent->pd_lock);
	host_epoch_exit();

	if (error == -EAGAIN) {
		/* The frozen slot keeps parent in the tree, and so in memory. */
		make(parent, c.pc_index, refill, g);
		error = 0;
	}
	if (fresh != NULL)
		pt_page_free_private(fresh);
	return error;
}

int
pmap_demote(struct pmap *pm, gpa_t gpa, unsigned int level, struct pmap_gather *g)
{
	if (level == 0 || level >= PT_LEAF_LEVELS_MAX || gpa >= pm->pm_fmt.pf_limit)
		return -EINVAL;
	return pmap_split(pm, gpa, level, false, g);
}

/* ---- Promotion ------------------------------------------------------------------------------ */

/* Whether eight entries are `pte` and what follows it. No loop: all of a table is looked at. */
static inline bool
is_run(const struct host_word *w, pt_entry_t pte, uint64_t step)
{
	return pte_load(&w[0]) == pte && pte_load(&w[1]) == pte + step &&
	       pte_load(&w[2]) == pte + 2 * step && pte_load(&w[3]) == pte + 3 * step &&
	       pte_load(&w[4]) == pte + 4 * step && pte_load(&w[5]) == pte + 5 * step &&
	       pte_load(&w[6]) == pte + 6 * step && pte_load(&w[7]) == pte + 7 * step;
}

/* Whether the entries of locked table t but the first, which is `head`, are what follows it. */
static inline bool
all_follow(const struct pt_page *t, pt_entry_t head, uint64_t step)
{
	for (unsigned int i = 1; i < 8; i++) {
		if (pte_load(&t->pd_words[i]) != head + i * step)
			return false;
	}
	for (unsigned int i = 8; i < HOST_TABLE_WORDS; i += 8) {
		if (!is_run(&t->pd_words[i], head + i * step, step))
			return false;
	}
	return true;
}

/*
 * Whether the 512 entries of locked table t say the same of 512 neighbors, with nothing to change.
 */
static bool
is_promotable(const struct pt_page *t, pt_entry_t *first)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;
	const uint64_t step = pt_level_size(t->pd_level);
	const pt_entry_t head = pte_load(&t->pd_words[0]);

	if (!pte_is_leaf(f, head, t->pd_level) || !(head & f->pf_a) ||
	    (head & (f->pf_rw | f->pf_m)) == f->pf_rw)
		return false;
	if ((pte_hpa(f, head, t->pd_level) & (pt_level_size(t->pd_level + 1) - 1)) != 0)
		return false;
	*first = head;
	/* The common level once more, for a constant. */
	return t->pd_level == 0 ? all_follow(t, head, HOST_PAGE_SIZE) : all_follow(t, head, step);
}

/* Moves accounts, spares and stamp of the parts in t to the superpage in `parent`. In an epoch. */
static void
account_promotion(struct pt_page *parent, struct pt_page *t, bool wired, struct pt_page **spare)
{
	struct pmap *const pm = parent->pd_pmap;
	const unsigned int level = parent->pd_level;

	/* Not t's own stamp: the parent may have a later one. */
	if (pmap_stamp_pending(t))
		pmap_stamp(parent, pt_page_gpa(t), pt_level_size(level));
	if (wired) {
		pt_spares_move(&t->pd_spares, &parent->pd_spares, pt_spares_needed(level) - 1);
		pt_spares_move(spare, &parent->pd_spares, 1);
		pmap_count(pm, PMAP_C_SPARES, 1);
	}
	pmap_count(pm, PMAP_C_LEAVES + level, 1);
	pmap_count(pm, PMAP_C_LEAVES + level - 1, (uint64_t)-HOST_TABLE_WORDS);
	pmap_count(pm, PMAP_C_TABLES, (uint64_t)-1);
	pmap_count(pm, PMAP_C_PROMOTIONS, 1);
	host_trace(HOST_TRACE_PROMOTE, pmap_root(pm), pt_page_gpa(t), level);
}

/*
 * Joins the entries of locked t into one of locked parent, if that may be. Errors as
 * pmap_promote().
 */
static int
promote_locked(struct pt_page *parent, struct pt_page *t, struct pt_page **spare,
	       struct pmap_gather *g, pt_entry_t *refill)
{
	struct pmap *const pm = parent->pd_pmap;
	const struct pt_fmt *const f = &pm->pm_fmt;
	const unsigned int index = pt_index(pt_page_gpa(t), parent->pd_level);
	pt_entry_t first;
	int error = 0;

	if (parent->pd_dead || t->pd_dead)
		return -ENOENT;
	if (!is_promotable(t, &first))
		return -EBUSY;

	const bool wired = (first & f->pf_wired) != 0;
	const pt_entry_t large = pte_promoted(f, first, parent->pd_level);

	if (wired && *spare == NULL)
		return -ENOMEM;
	pt_unlink_begin(pm);
	if (pmap_bears_mixed_sizes(pm)) {
		pte_xchg(&parent->pd_words[index], large);
	} else {
		pt_entry_t old = pte_load(&parent->pd_words[index]);

		break_before_make(parent, index, &old, g);
		*refill = large;
		error = -EAGAIN;
	}
	t->pd_dead = true;
	account_promotion(parent, t, wired, spare);
	pmap_gather_table(g, t);
	return error;
}

/* One attempt. -ENOMEM: it takes a spare, and *spare is none. */
static int
promote_once(struct pmap *pm, gpa_t gpa, unsigned int level, struct pt_page **spare,
	     struct pmap_gather *g)
{
	struct pt_cursor c;
	pt_entry_t refill = 0;
	int error = -ENOENT;

	host_epoch_enter();
	pt_cursor_seek(&c, pm, gpa, level - 1);

	struct pt_page *const parent = c.pc_parent;
	struct pt_page *const t = c.pc_table;

	if (c.pc_level == level - 1) {
		host_lock(&parent->pd_lock);
		host_lock(&t->pd_lock);
		error = promote_locked(parent, t, spare, g, &refill);
		host_unlock(&t->pd_lock);
		host_unlock(&parent->pd_lock);
	}
	host_epoch_exit();

	if (error == -EAGAIN) {
		make(parent, pt_index(gpa, level), refill, g);
		error = 0;
	}
	return error;
}

int
pmap_promote(struct pmap *pm, gpa_t gpa, unsigned int level, struct pmap_gather *g)
{
	struct pt_page *spare = NULL;
	int error;

	if (level == 0 || gpa >= pm->pm_fmt.pf_limit)
		return -EINVAL;
	if (level >= pm->pm_fmt.pf_leaf_levels)
		return -EOPNOTSUPP;
	/* Only a wired superpage keeps a spare; that these are wired, the lock tells. Then anew. */
	do {
		error = promote_once(pm, gpa, level, &spare, g);
	} while (error == -ENOMEM && spare == NULL && (spare = pt_page_alloc(pm, 0, 0)) != NULL);
	pt_spares_free(spare);
	return error;
}
