/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Operations over a range: remove, protect, unwire, and the loop under them and under harvest.
 *
 * The loop goes table by table. It finds the deepest table for an address without locks, locks that
 * one table, visits what the range covers of it, and lets go; what it holds is never more than a
 * table and, to unlink one, its parent. So a range is not changed at one instant, but each table
 * is.
 *
 * Two things send it back to look again: a table that died before its lock was had, and a slot
 * that is frozen while somebody exchanges what it points to.
 */

#include "pmap/pmap_priv.h"

/*
 * Visits the entries of locked table t, of that level, from gpa on, up to a child table or to
 * `stop`, where table or range ends. Returns where it stopped; *how says why.
 */
static inline gpa_t
visit_table(struct pmap_range *r, struct pt_page *t, unsigned int level, gpa_t gpa, gpa_t stop,
	    enum pt_visit *how)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;
	const uint64_t size = pt_level_size(level);

	/*
	 * A restriction that is not yet flushed: whoever relies on what is read here waits for it.
	 */
	if (!r->pr_lax && pmap_stamp_pending(t))
		pmap_gather_add(r->pr_gather, gpa, HOST_PAGE_SIZE);

	*how = PT_VISIT_NEXT;
	while (gpa < stop) {
		if (level == 0 && r->pr_want != 0 &&
		    (gpa = pmap_lines_visit(r, t, gpa, stop)) == stop)
			break;

		const unsigned int index = pt_index(gpa, level);
		const gpa_t base = gpa & ~(size - 1);
		const pt_entry_t pte = pte_load(&t->pd_words[index]);

		if (pte_is_table(f, pte, level))
			return gpa;
		if (pte_is_frozen(f, pte)) {
			*how = PT_VISIT_WAIT;
			return gpa;
		}
		if (pte_is_leaf(f, pte, level) && r->pr_keep_wired && (pte & f->pf_wired)) {
			r->pr_found++;
		} else if (pte_is_leaf(f, pte, level)) {
			r->pr_partial = base < r->pr_start || r->pr_end < base + size;
			*how = r->pr_visit(r, t, index, pte);
			if (*how != PT_VISIT_NEXT)
				return gpa;
		}
		gpa = base + size;
	}
	return gpa;
}

/* What is due once for all that was done to locked table t in [from, to). */
static inline void
settle_table(struct pmap_range *r, struct pt_page *t, gpa_t from, gpa_t to)
{
	if (!r->pr_stored && r->pr_change == PT_CHANGE_NONE)
		return;
	/*
	 * The stamps so far may be of a generation that others began, and flushed for, while the
	 * stores were visible to this CPU only. One fence for all.
	 */
	if (r->pr_stored) {
		host_fence();
		pmap_stamp(t, from, to - from);
	}
	pmap_change_gather(t, from, to - from, r->pr_change, r->pr_gather);
	r->pr_stored = false;
	r->pr_change = PT_CHANGE_NONE;
}

/* Finds what lines of 4 KiB leaves are next, behind the table at c. */
static void
look_ahead(struct pmap_range *r, const struct pt_cursor *c, gpa_t gpa)
{
	const gpa_t next = (gpa | (pt_level_size(1) - 1)) + 1;
	pt_entry_t pte = 0;

	if (next < r->pr_end && pt_index(next, 1) != 0)
		pte = host_glance(c->pc_above + 1);
	r->pr_near = pt_neighbor_words(c->pc_table, pte);
}

/* One table's worth of a range, in one epoch section. Returns how far it came, in which level. */
static inline gpa_t
range_step(struct pmap_range *r, gpa_t gpa, enum pt_visit *how, unsigned int *level)
{
	const gpa_t from = gpa;
	struct pt_cursor c;

	*how = PT_VISIT_NEXT;
	pt_cursor_seek(&c, r->pr_pm, gpa, 0);

	struct pt_page *const t = c.pc_table;
	const uint64_t span = pt_level_size(c.pc_level) * HOST_TABLE_WORDS;
	const gpa_t end = (gpa | (span - 1)) + 1; /* of what the table maps */

	*level = c.pc_level;
	if (r->pr_quiet != NULL && c.pc_level == 0) {
		const struct pt_cursor at = c; /* so that c itself may be kept in registers */

		gpa = pmap_quiet_until(r, &at, gpa);
		if (gpa != from)
			return gpa;
	}
	if (r->pr_want != 0 && c.pc_level == 0)
		look_ahead(r, &c, gpa);
	if (r->pr_unlinks && c.pc_parent != NULL && gpa == end - span && end <= r->pr_end &&
	    pmap_unlink(r, c.pc_parent, t)) {
		gpa = end;
	} else {
		host_lock(&t->pd_lock);
		if (!t->pd_dead)
			gpa = visit_table(r, t, c.pc_level, gpa, end < r->pr_end ? end : r->pr_end,
					  how);
		settle_table(r, t, from, gpa);
		host_unlock(&t->pd_lock);
	}
	if (r->pr_unlinks && gpa == end)
		pmap_unlink_finished(r, gpa);
	return gpa;
}

void
pmap_range_run(struct pmap_range *r)
{
	gpa_t gpa = r->pr_start;
	enum pt_visit how;
	unsigned int level;

	for (unsigned int steps = 1; gpa < r->pr_end; steps++) {
		const gpa_t before = gpa;

		host_epoch_enter();
		gpa = range_step(r, gpa, &how, &level);
		host_epoch_exit();
		if (how != PT_VISIT_SPLIT) {
			if (gpa == before || steps % 64 == 0)
				host_relax();
		} else if (pmap_split(r->pr_pm, gpa, level, true, r->pr_gather) == -ENOMEM &&
			   r->pr_removed != NULL) {
			r->pr_removed(r, gpa, level);
		}
	}
}

/* ---- Remove --------------------------------------------------------------------------------- */

static enum pt_visit
visit_remove(struct pmap_range *r, struct pt_page *t, unsigned int index, pt_entry_t pte)
{
	(void)pte;
	if (r->pr_partial)
		return PT_VISIT_SPLIT;
	pmap_leaf_changed(t, index, pte_xchg(&t->pd_words[index], 0), 0, r->pr_gather);
	return PT_VISIT_NEXT;
}

static uint64_t
remove_range(struct pmap *pm, gpa_t start, gpa_t end, bool keep_wired, struct pmap_gather *g)
{
	struct pmap_range r = {
		.pr_pm = pm,
		.pr_start = start,
		.pr_end = end,
		.pr_gather = g,
		.pr_visit = visit_remove,
		.pr_unlinks = true,
		.pr_keep_wired = keep_wired,
	};

	pmap_range_run(&r);
	return r.pr_found;
}

void
pmap_remove_unwired(struct pmap *pm, gpa_t start, gpa_t end, uint64_t *kept, struct pmap_gather *g)
{
	*kept = remove_range(pm, start, end, true, g);
}

int
pmap_remove(struct pmap *pm, gpa_t start, gpa_t end, struct pmap_gather *g)
{
	const int error = pmap_range_valid(pm, start, end);

	if (error == 0)
		remove_range(pm, start, end, false, g);
	return error;
}

/* ---- Protect -------------------------------------------------------------------------------- */

static enum pt_visit
visit_protect(struct pmap_range *r, struct pt_page *t, unsigned int index, pt_entry_t pte)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;
	struct host_word *const w = &t->pd_words[index];
	pt_entry_t pte_new;

	/* Hardware may set A and M until the exchange succeeds: decide anew each time. */
	do {
		const unsigned int prot = pte_prot(f, pte) & r->pr_prot;

		pte_new = (f->pf_prot_ok >> prot) & 1 ? pte_reprot(f, pte, prot) : 0;
		if (pte_new == pte)
			return PT_VISIT_NEXT;
		if (r->pr_partial)
			return PT_VISIT_SPLIT;
	} while (!pte_cas(w, &pte, pte_new));
	pmap_leaf_changed(t, index, pte, pte_new, r->pr_gather);
	return PT_VISIT_NEXT;
}

/* Restricts one leaf of a line; false if that leaves it no rights. *pte is what it was. */
static bool
restrict_leaf(struct pmap_range *r, struct host_word *w, pt_entry_t *pte, pt_entry_t *pte_new)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;

	do {
		const unsigned int prot = pte_prot(f, *pte) & r->pr_prot;

		if (!((f->pf_prot_ok >> prot) & 1))
			return false;
		*pte_new = pte_reprot(f, *pte, prot);
		if (pte_is_settled(f, *pte)) {
			pte_store_over(w, *pte, *pte_new, f);
			r->pr_stored = true;
			return true;
		}
	} while (!pte_cas(w, pte, *pte_new));
	return true;
}

/* What settled leaves lose goes by plain stores; a stamp and a flush are due once for all. */
static void
line_protect(struct pmap_range *r, struct pt_page *t, unsigned int index)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;

	for (unsigned int i = index; i < index + PT_LINE_WORDS; i++) {
		pt_entry_t pte = pte_load(&t->pd_words[i]);
		pt_entry_t pte_new;

		if (!(pte & r->pr_want))
			continue;
		if (!restrict_leaf(r, &t->pd_words[i], &pte, &pte_new)) {
			visit_protect(r, t, i, pte);
			continue;
		}

		const enum pt_change kind = pt_change_kind(f, pte, pte_new, 0);

		if (kind > r->pr_change)
			r->pr_change = kind;
		pmap_leaf_lost(t, i, pte, pte_new);
	}
}

/* Bits that a leaf with more rights than prot is sure to have one of; 0: there are none. */
static pt_entry_t
bits_beyond(const struct pt_fmt *f, unsigned int prot)
{
	const bool x_is_a_bit = f->pf_x_val == f->pf_x_mask;

	if (!(prot & PMAP_PROT_X) && !x_is_a_bit)
		return 0;
	return ((prot & PMAP_PROT_R) ? 0 : f->pf_r) | ((prot & PMAP_PROT_W) ? 0 : f->pf_rw) |
	       ((prot & PMAP_PROT_X) ? 0 : f->pf_x_mask);
}

/* How lines are restricted: most often only the right to write goes. */
static void
choose_line(struct pmap_range *r)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;

	if (r->pr_prot == PMAP_PROT_RX)
		pmap_lines_clear(r, f->pf_rw, f->pf_rw | f->pf_m, r->pr_pm->pm_note != NULL);
	else
		pmap_lines_by(r, bits_beyond(f, r->pr_prot), line_protect);
}

int
pmap_protect(struct pmap *pm, gpa_t start, gpa_t end, unsigned int prot, struct pmap_gather *g)
{
	const int error = pmap_range_valid(pm, start, end);

	if (error != 0)
		return error;
	if (prot >= PMAP_PROT_COUNT)
		return -EINVAL;
	if (prot == 0)
		return pmap_remove(pm, start, end, g);
	if (!((pm->pm_fmt.pf_prot_ok >> prot) & 1))
		return -EOPNOTSUPP;

	struct pmap_range r = {
		.pr_pm = pm,
		.pr_start = start,
		.pr_end = end,
		.pr_gather = g,
		.pr_visit = visit_protect,
		.pr_prot = prot,
	};

	if (!pmap_is_reference(pm))
		choose_line(&r);
	pmap_range_run(&r);
	return 0;
}

/* ---- Unwire --------------------------------------------------------------------------------- */

static enum pt_visit
visit_unwire(struct pmap_range *r, struct pt_page *t, unsigned int index, pt_entry_t pte)
{
	const pt_entry_t PG_WIRED = r->pr_pm->pm_fmt.pf_wired;

	if (!(pte & PG_WIRED))
		return PT_VISIT_NEXT;
	if (r->pr_partial)
		return PT_VISIT_SPLIT;

	const pt_entry_t old = pte_clear_bits(&t->pd_words[index], PG_WIRED);

	pmap_leaf_changed(t, index, old, old & ~PG_WIRED, r->pr_gather);
	return PT_VISIT_NEXT;
}

int
pmap_unwire(struct pmap *pm, gpa_t start, gpa_t end)
{
	const int error = pmap_range_valid(pm, start, end);
	struct pmap_gather g;

	if (error != 0)
		return error;
	pmap_gather_begin(&g, pm);

	struct pmap_range r = {
		.pr_pm = pm,
		.pr_start = start,
		.pr_end = end,
		.pr_gather = &g,
		.pr_visit = visit_unwire,
	};

	pmap_range_run(&r);
	/* Only splitting a superpage at an edge leaves anything to flush. */
	pmap_gather_finish(&g);
	return 0;
}
