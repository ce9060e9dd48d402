/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Unlinking: a whole table goes, with all leaves that it holds, by one store in its parent.
 *
 * What it held must be counted, and A and M told to the owner, exactly once and for good. For a
 * leaf in which hardware has nothing left to set that is a load: the locks keep other writers away,
 * installers want an empty slot, and nobody is led to the table any more. So a table that was in
 * use costs no more than a look at its lines. Only a slot that somebody might still write, an empty
 * one or a leaf that is not accessed or not modified yet, is exchanged for FROZEN: who comes before
 * the exchange is accounted for by it, who comes after starts over from the root (clause 3).
 */

#include "pmap/pmap_priv.h"

/* What was taken out of a table, for which one account and one flush are due. */
struct taken {
	uint64_t tk_leaves;
	uint64_t tk_wired; /* of 4 KiB leaves; not among tk_leaves */
	enum pt_change tk_change;
};

/* What slot `index` of unlinked, locked table t held last. */
static pt_entry_t
take_slot(struct pt_page *t, unsigned int index)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;
	const pt_entry_t pte = pte_load(&t->pd_words[index]);

	return pte_is_settled(f, pte) ? pte : pte_xchg(&t->pd_words[index], f->pf_frozen);
}

/*
 * Lines from slot `index` on in which all leaves are as they are, none of them wired. Returns where
 * that ends. Meanwhile the lines of `next` are brought near.
 */
static unsigned int
take_settled(const struct pt_page *t, unsigned int index, const struct host_word *next,
	     struct taken *tk)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;
	const pt_entry_t PG_A = f->pf_a;
	const pt_entry_t PG_M = f->pf_m;
	const pt_entry_t PG_RW = f->pf_rw;
	const pt_entry_t PG_WIRED = f->pf_wired;
	const struct host_word *const words = t->pd_words;
	unsigned int i = index;

	for (; i < HOST_TABLE_WORDS; i += PT_LINE_WORDS) {
		const struct pt_line line = pt_line_load(&words[i]);

		__builtin_prefetch(&next[i]);
		if (!(line.pl_all & PG_A) || (!(line.pl_all & PG_M) && (line.pl_any & PG_RW)) ||
		    (line.pl_any & PG_WIRED))
			break;
	}
	if (i > index) {
		tk->tk_leaves += i - index;
		tk->tk_change = PT_CHANGE_FLUSH;
	}
	return i;
}

static void
take_line(struct pt_page *t, unsigned int index, struct taken *tk, struct pmap_gather *g)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;

	for (unsigned int i = index; i < index + PT_LINE_WORDS; i++) {
		const pt_entry_t old = take_slot(t, i);

		if (!pte_is_valid(f, old))
			continue;
		if ((old & f->pf_wired) && t->pd_level > 0) {
			pmap_leaf_changed(t, i, old, f->pf_frozen, g); /* its spares go too */
			continue;
		}

		const enum pt_change change = pt_change_kind(f, old, f->pf_frozen, t->pd_level);

		pmap_leaf_lost(t, i, old, f->pf_frozen);
		if (old & f->pf_wired)
			tk->tk_wired++;
		else
			tk->tk_leaves++;
		if (change > tk->tk_change)
			tk->tk_change = change;
	}
}

/* What comes after the table behind slot `index` of locked table parent. */
static const struct host_word *
neighbor_words(const struct pt_page *parent, unsigned int index, const struct pt_page *t)
{
	pt_entry_t pte = 0;

	if (index + 1 < HOST_TABLE_WORDS)
		pte = pte_load(&parent->pd_words[index + 1]);
	return pt_neighbor_words(t, pte);
}

/*
 * Accounts for every leaf of unlinked, locked table t, and lets nobody add one. Meanwhile the lines
 * of `next` are brought near.
 */
static void
take_table(struct pt_page *t, const struct host_word *next, struct pmap_gather *g)
{
	struct pmap *const pm = t->pd_pmap;
	const bool quiet = pm->pm_note == NULL;
	struct taken tk = {.tk_change = PT_CHANGE_NONE};

	for (unsigned int i = 0; i < HOST_TABLE_WORDS; i += PT_LINE_WORDS) {
		if (quiet)
			i = take_settled(t, i, next, &tk);
		if (i < HOST_TABLE_WORDS)
			take_line(t, i, &tk, g);
	}
	pmap_account_leaves(pm, 0, t->pd_level, -tk.tk_leaves);
	if (tk.tk_wired != 0)
		pmap_account_leaves(pm, pm->pm_fmt.pf_wired, t->pd_level, -tk.tk_wired);
	pmap_change_gather(t, pt_page_gpa(t), pt_page_end(t) - pt_page_gpa(t), tk.tk_change, g);
}

/* The same in the reference form: slot by slot. */
static void
freeze_table(struct pt_page *t, struct pmap_gather *g)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;

	for (unsigned int i = 0; i < HOST_TABLE_WORDS; i++) {
		const pt_entry_t old = pte_xchg(&t->pd_words[i], f->pf_frozen);

		if (old != 0)
			pmap_leaf_changed(t, i, old, f->pf_frozen, g);
	}
}

/*
 * Whether locked table t has slots that freezing could not undo: child tables, or frozen ones. A
 * superpage is told from both by a bit; so eight slots are nothing but superpages if all have it.
 */
static bool
has_subtables(const struct pt_page *t)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;

	for (unsigned int i = 0; i < HOST_TABLE_WORDS && t->pd_level > 0; i += PT_LINE_WORDS) {
		const struct pt_line line = pt_line_load(&t->pd_words[i]);

		if ((line.pl_all & f->pf_ps) || line.pl_any == 0)
			continue;
		for (unsigned int k = i; k < i + PT_LINE_WORDS; k++) {
			const pt_entry_t pte = pte_load(&t->pd_words[k]);

			if (pte_is_table(f, pte, t->pd_level) || pte_is_frozen(f, pte))
				return true;
		}
	}
	return false;
}

/* Whether a wired leaf lies in locked table t. */
static bool
has_wired(const struct pt_page *t)
{
	for (unsigned int i = 0; i < HOST_TABLE_WORDS; i += PT_LINE_WORDS) {
		if (pt_line_load(&t->pd_words[i]).pl_any & t->pd_pmap->pm_fmt.pf_wired)
			return true;
	}
	return false;
}

bool
pmap_unlink(struct pmap_range *r, struct pt_page *parent, struct pt_page *t)
{
	struct pmap *const pm = r->pr_pm;
	const unsigned int index = pt_index(pt_page_gpa(t), parent->pd_level);
	bool unlinked = false;

	host_lock(&parent->pd_lock);
	host_lock(&t->pd_lock);
	if (!parent->pd_dead && !t->pd_dead && !has_subtables(t) &&
	    !(r->pr_keep_wired && has_wired(t))) {
		pt_unlink_begin(pm);
		pte_xchg(&parent->pd_words[index], 0);
		pmap_stamp(parent, pt_page_gpa(t), pt_page_end(t) - pt_page_gpa(t));
		if (pmap_is_reference(pm))
			freeze_table(t, r->pr_gather);
		else
			take_table(t, neighbor_words(parent, index, t), r->pr_gather);
		t->pd_dead = true;
		pmap_stamp_unlinked(parent, t);
		pmap_gather_table(r->pr_gather, t);
		pmap_count(pm, PMAP_C_TABLES, (uint64_t)-1);
		unlinked = true;
	}
	host_unlock(&t->pd_lock);
	host_unlock(&parent->pd_lock);
	return unlinked;
}

void
pmap_unlink_finished(struct pmap_range *r, gpa_t gpa)
{
	struct pt_cursor c;

	for (unsigned int level = 1; level + 1 < r->pr_pm->pm_fmt.pf_levels; level++) {
		/* Most tables end where none above does: there is nothing to look for. */
		if ((gpa & (pt_level_size(level + 1) - 1)) != 0)
			return;
		pt_cursor_seek(&c, r->pr_pm, gpa - 1, level);
		if (c.pc_level != level)
			continue;
		if (pt_page_end(c.pc_table) != gpa || !pmap_range_covers(r, c.pc_table))
			return;
		pmap_unlink(r, c.pc_parent, c.pc_table);
	}
}
