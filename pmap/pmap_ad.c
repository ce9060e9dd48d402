/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Accessed and modified: set by faults where the CPU cannot, collected by owners everywhere.
 *
 * Collecting M costs a locked operation per entry in the reference form, and A too. The fast form
 * goes line by line (pmap_line.c); 512 entries take one lock, one fence and one stamp.
 */

#include "pmap/pmap_priv.h"

/* ---- Faults --------------------------------------------------------------------------------- */

/* One look at the entry. -EAGAIN: it changed under us, or is frozen. */
static int
emulate_once(struct pmap *pm, const struct pt_cursor *c, unsigned int access)
{
	const struct pt_fmt *const f = &pm->pm_fmt;
	pt_entry_t old = c->pc_pte;

	HOST_ASSERT(!pmap_is_reference(pm) || host_lock_held(&c->pc_table->pd_lock));

	/* Read again under the lock, it may be a table by now: a superpage was split. */
	if (pte_is_frozen(f, old) || pte_is_table(f, old, c->pc_level))
		return -EAGAIN;
	if (!pte_is_leaf(f, old, c->pc_level))
		return -ENOENT;
	if ((access & ~pte_prot(f, old)) != 0)
		return -EACCES;

	const pt_entry_t wanted =
		(access & PMAP_PROT_W) ? pte_set_modified(f, old) : pte_set_accessed(f, old);
	/* Where hardware sets A and M itself there is nothing to set: the fault was spurious. */
	const pt_entry_t pte_new = old | (wanted & f->pf_soft_ad);

	if (pte_new == old) {
		pmap_count(pm, PMAP_C_SPURIOUS, 1);
		return 0;
	}
	/* Clause 9: the whole value, without the lock. Whoever changed it made us look again. */
	if (!pte_cas(c->pc_word, &old, pte_new))
		return -EAGAIN;
	pmap_count(pm, PMAP_C_AD_EMULATIONS, 1);
	return 0;
}

/* The same under the lock of the table, as the reference form does. */
static int
emulate_locked(struct pmap *pm, gpa_t gpa, unsigned int access)
{
	struct pt_cursor c;
	int error = -EAGAIN;

	pt_cursor_seek(&c, pm, gpa, 0);
	host_lock(&c.pc_table->pd_lock);
	c.pc_pte = pte_load(c.pc_word);
	if (!c.pc_table->pd_dead)
		error = emulate_once(pm, &c, access);
	host_unlock(&c.pc_table->pd_lock);
	return error;
}

static int
emulate_by_hint(struct pmap *pm, gpa_t gpa, unsigned int access)
{
	struct pt_hint *const hint = &pmap_this_cpu(pm)->pc_hint;
	const uint64_t begun = host_load_acquire(&pm->pm_unlinks_begun);
	struct pt_cursor c = {.pc_word = pt_hint_word(hint, gpa, begun)};

	if (c.pc_word != NULL)
		c.pc_pte = pte_load_acquire(c.pc_word);
	else
		pt_hint_learn(hint, &c, pm, gpa, begun);
	return emulate_once(pm, &c, access);
}

int
pmap_emulate_accessed_dirty(struct pmap *pm, gpa_t gpa, unsigned int access)
{
	int error;

	if (gpa >= pm->pm_fmt.pf_limit || access == 0 || access >= PMAP_PROT_COUNT)
		return -EINVAL;
	do {
		host_epoch_enter();
		error = pmap_is_reference(pm) ? emulate_locked(pm, gpa, access)
					      : emulate_by_hint(pm, gpa, access);
		host_epoch_exit();
		if (error == -EAGAIN)
			host_relax();
	} while (error == -EAGAIN);
	return error;
}

/* ---- Harvest -------------------------------------------------------------------------------- */

/*
 * Reports the pages of the leaf of `level` at gpa that lie in the range. What was to be split, and
 * was removed for lack of a table, is reported too: it had the bit, or splitting had not been
 * needed.
 */
static void
report_leaf(struct pmap_range *r, gpa_t gpa, unsigned int level)
{
	const uint64_t size = pt_level_size(level);
	const gpa_t base = gpa & ~(size - 1);
	const gpa_t start = base > r->pr_start ? base : r->pr_start;
	const gpa_t end = base + size < r->pr_end ? base + size : r->pr_end;

	r->pr_found++;
	if (r->pr_bitmap == NULL)
		return;
	for (gpa_t page = start; page < end; page += HOST_PAGE_SIZE) {
		const uint64_t bit = (page - r->pr_start) >> HOST_PAGE_SHIFT;

		r->pr_bitmap[bit / 64] |= (uint64_t)1 << bit % 64;
	}
}

static void
report(struct pmap_range *r, const struct pt_page *t, unsigned int index)
{
	report_leaf(r, pt_page_gpa(t) + index * pt_level_size(t->pd_level), t->pd_level);
}

/* Peeking, at either bit. */
static enum pt_visit
visit_peek(struct pmap_range *r, struct pt_page *t, unsigned int index, pt_entry_t pte)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;

	if (pte & ((r->pr_how & PMAP_HARVEST_ACCESSED) ? f->pf_a : f->pf_m))
		report(r, t, index);
	return PT_VISIT_NEXT;
}

static enum pt_visit
visit_clear_modified(struct pmap_range *r, struct pt_page *t, unsigned int index, pt_entry_t pte)
{
	struct pmap *const pm = r->pr_pm;
	const struct pt_fmt *const f = &pm->pm_fmt;
	const pt_entry_t PG_M = f->pf_m;
	struct host_word *const w = &t->pd_words[index];

	if (!(pte & PG_M))
		return PT_VISIT_NEXT;
	/* A modified superpage is writable, so this is every one of them. */
	if (pte_is_clean_superpage(f, pte & ~PG_M, t->pd_level))
		return PT_VISIT_SPLIT;
	if (!pmap_is_reference(pm) && (pte & f->pf_a)) {
		pte_store_over(w, pte, pte & ~PG_M, f);
		r->pr_stored = true;
	} else {
		pte = pte_clear_bits(w, PG_M);
	}
	report(r, t, index);
	if (r->pr_bitmap != NULL && !(r->pr_how & PMAP_HARVEST_NOTE))
		pmap_leaf_settled(t, index, pte, pte & ~PG_M, r->pr_gather);
	else
		pmap_leaf_changed(t, index, pte, pte & ~PG_M, r->pr_gather);
	return PT_VISIT_NEXT;
}

static enum pt_visit
visit_clear_accessed(struct pmap_range *r, struct pt_page *t, unsigned int index, pt_entry_t pte)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;

	if (!(pte & f->pf_a))
		return PT_VISIT_NEXT;
	if (pte_is_clean_superpage(f, pte & ~f->pf_a_clear, t->pd_level))
		return PT_VISIT_SPLIT;

	const pt_entry_t old = pte_clear_bits(&t->pd_words[index], f->pf_a_clear);
	const pt_entry_t pte_new = old & ~f->pf_a_clear;

	report(r, t, index);
	/* A is what was asked for; an M that had to go with it is news. */
	if (old & ~pte_new & f->pf_m)
		pmap_leaf_changed(t, index, old, pte_new, r->pr_gather);
	else
		pmap_leaf_settled(t, index, old, pte_new, r->pr_gather);
	return PT_VISIT_NEXT;
}

/* Under emulation A goes with rights and with M: entry by entry. */
static void
line_clear_emulated(struct pmap_range *r, struct pt_page *t, unsigned int index)
{
	for (unsigned int i = 0; i < PT_LINE_WORDS; i++)
		visit_clear_accessed(r, t, index + i, pte_load(&t->pd_words[index + i]));
}

/* What a harvest does with lines. The reference form visits every leaf. */
static void
choose_line(struct pmap_range *r)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;
	const bool accessed = (r->pr_how & PMAP_HARVEST_ACCESSED) != 0;

	if (pmap_is_reference(r->pr_pm))
		return;

	const pt_entry_t want = accessed ? f->pf_a : f->pf_m;
	/* That a page was accessed is told by the count and the bitmap alone. */
	const bool tells = !accessed && r->pr_pm->pm_note != NULL &&
			   (r->pr_bitmap == NULL || (r->pr_how & PMAP_HARVEST_NOTE) != 0);

	if (r->pr_how & PMAP_HARVEST_PEEK)
		pmap_lines_peek(r, want);
	else if (accessed && f->pf_a_clear != f->pf_a)
		pmap_lines_by(r, want, line_clear_emulated);
	else
		pmap_lines_clear(r, want, want, tells);
}

int
pmap_harvest(struct pmap *pm, gpa_t start, gpa_t end, unsigned int how, uint64_t *bitmap,
	     uint64_t *found, struct pmap_gather *g)
{
	const int error = pmap_range_valid(pm, start, end);

	if (error != 0)
		return error;
	if (how & ~(PMAP_HARVEST_ACCESSED | PMAP_HARVEST_PEEK | PMAP_HARVEST_NOTE))
		return -EINVAL;

	const bool accessed = (how & PMAP_HARVEST_ACCESSED) != 0;
	const bool peek = (how & PMAP_HARVEST_PEEK) != 0;
	const bool skips =
		!peek && !accessed && !pmap_is_reference(pm) && pm->pm_fmt.pf_table_a != 0;
	struct pmap_quiet quiet = {0};
	struct pmap_range r = {
		.pr_pm = pm,
		.pr_start = start,
		.pr_end = end,
		.pr_gather = g,
		.pr_visit = peek       ? visit_peek
			    : accessed ? visit_clear_accessed
				       : visit_clear_modified,
		.pr_removed = report_leaf,
		.pr_lax = peek || accessed,
		.pr_quiet = skips ? &quiet : NULL,
		.pr_how = how,
		.pr_bitmap = bitmap,
	};

	choose_line(&r);
	pmap_range_run(&r);
	if (found != NULL)
		*found = r.pr_found;
	return 0;
}

int
pmap_clear_modify(struct pmap *pm, gpa_t start, gpa_t end, struct pmap_gather *g)
{
	return pmap_harvest(pm, start, end, PMAP_HARVEST_MODIFIED, NULL, NULL, g);
}

int
pmap_ts_referenced(struct pmap *pm, gpa_t start, gpa_t end, uint64_t *referenced,
		   struct pmap_gather *g)
{
	return pmap_harvest(pm, start, end, PMAP_HARVEST_ACCESSED, NULL, referenced, g);
}

int
pmap_is_modified(struct pmap *pm, gpa_t start, gpa_t end, bool *modified)
{
	uint64_t found = 0;
	const int error = pmap_harvest(pm, start, end, PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK,
				       NULL, &found, NULL);

	if (error == 0)
		*modified = found != 0;
	return error;
}
