/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Tables of 4 KiB leaves that nobody went through: a harvest of M passes them over, by a look at
 * the entry that leads to each.
 *
 * Hardware sets A in that entry before it sets D below, unless it has the entry, or a leaf, cached.
 * So a harvest clears A, and looks at the leaves. Once a flush is over that began after that, no
 * CPU has anything cached that came this way as long as A is clear; the next harvest notes so much
 * (pf_quiet), and looks at the leaves once more, for D that was set before the flush. From then on
 * A says it all. Software that sets M sets A, too, and looks again if it went by a hint (clause
 * 12).
 *
 * The flush is one that somebody needs anyway, mostly the harvest for the M that it found. There is
 * none of its own: tables that are only read would cost one each time.
 */

#include "pmap/pmap_priv.h"

/* Whether the eight entries at `index` of locked table `parent` all lead to quiet tables. */
static inline bool
is_quiet_line(const struct pt_fmt *f, const struct pt_page *parent, unsigned int index)
{
	const struct pt_line l = pt_line_load(&parent->pd_words[index]);

	return (l.pl_all & f->pf_quiet) != 0 && !(l.pl_any & f->pf_table_a);
}

/*
 * One look at the entry at `index` of locked table `parent`. Returns whether what it leads to must
 * be looked at; *cleared if A was cleared in it.
 */
static bool
sweep_entry(const struct pmap_range *r, struct pt_page *parent, unsigned int index, bool flushed,
	    bool *cleared)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;
	const pt_entry_t PG_A = f->pf_table_a;
	const gpa_t gpa = pt_page_gpa(parent) + index * pt_level_size(1);
	struct host_word *const w = &parent->pd_words[index];
	pt_entry_t pte = pte_load(w);

	HOST_ASSERT(host_lock_held(&parent->pd_lock));
	/* Leaves and empty slots never have it. */
	if ((pte & (PG_A | f->pf_quiet)) == f->pf_quiet)
		return false;
	if (!pte_is_table(f, pte, 1))
		return true;
	/* What is not looked at whole stays as it is. */
	if (gpa < r->pr_start || r->pr_end < gpa + pt_level_size(1))
		return true;
	if (pte & PG_A) {
		pte_clear_bits(w, PG_A | f->pf_quiet);
		*cleared = true;
	} else if (flushed) {
		/* If this fails, hardware has set A: the next harvest starts over. */
		pte_cas(w, &pte, pte | f->pf_quiet);
	}
	return true;
}

/* Looks at all entries of `parent` from gpa on that the range reaches. */
static void
sweep(struct pmap_range *r, struct pt_page *parent, gpa_t gpa)
{
	struct pmap *const pm = r->pr_pm;
	const struct pt_fmt *const f = &pm->pm_fmt;
	const gpa_t stop = pt_page_end(parent) < r->pr_end ? pt_page_end(parent) : r->pr_end;
	const unsigned int last = pt_index(stop - 1, 1);
	bool cleared = false;

	host_lock(&parent->pd_lock);

	/* Of all that was cleared here before: those who clear hold the lock. */
	const bool flushed = !parent->pd_swept || !pmap_gen_pending(pm, parent->pd_swept_gen);

	for (unsigned int i = pt_index(gpa, 1); i <= last; i++) {
		uint8_t *const busy = &r->pr_quiet->pq_busy[i / PT_LINE_WORDS];

		if (i % PT_LINE_WORDS == 0 && is_quiet_line(f, parent, i)) {
			*busy = 0;
			i += PT_LINE_WORDS - 1;
			continue;
		}
		*busy &= (uint8_t) ~(1u << i % PT_LINE_WORDS);
		if (parent->pd_dead || sweep_entry(r, parent, i, flushed, &cleared))
			*busy |= (uint8_t)(1u << i % PT_LINE_WORDS);
	}
	if (cleared) {
		parent->pd_swept = true;
		parent->pd_swept_gen = pmap_gen_due(pm);
		/* A full fence, before a leaf is read. Partner: the exchange in enter_at_once(). */
		pt_hints_void(pm);
	}
	host_unlock(&parent->pd_lock);
	r->pr_quiet->pq_swept = stop;
}

gpa_t
pmap_quiet_until(struct pmap_range *r, const struct pt_cursor *c, gpa_t gpa)
{
	if (r->pr_quiet->pq_swept <= gpa)
		sweep(r, c->pc_parent, gpa);
	while (gpa < r->pr_quiet->pq_swept) {
		const unsigned int index = pt_index(gpa, 1);
		const uint8_t busy = r->pr_quiet->pq_busy[index / PT_LINE_WORDS];
		const unsigned int n = index % PT_LINE_WORDS == 0 && busy == 0 ? PT_LINE_WORDS : 1;

		if (busy >> index % PT_LINE_WORDS & 1)
			break;
		gpa = (gpa & ~(pt_level_size(1) - 1)) + n * pt_level_size(1);
	}
	return gpa < r->pr_end ? gpa : r->pr_end;
}
