/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Ranges of 4 KiB leaves, a cache line of eight at a time.
 *
 * Most lines of a range have nothing to do, and of those that have, most hold leaves in which
 * hardware has nothing left to set. The former are passed over by eight loads and one test; of the
 * latter bits are cleared by plain stores (pte_store_over()), and what that takes by way of fence,
 * stamp and flush is left to the end of the table. What hardware may still write to takes its
 * locked operation.
 */

#include "pmap/pmap_priv.h"

/* Reports those of the eight pages at `index` of t that lanes has a bit for: n of them. */
static inline void
report_lanes(struct pmap_range *r, const struct pt_page *t, unsigned int index, uint64_t lanes,
	     unsigned int n)
{
	r->pr_found += n;
	if (r->pr_bitmap == NULL || lanes == 0)
		return;

	const uint64_t page =
		(pt_page_gpa(t) + index * HOST_PAGE_SIZE - r->pr_start) / HOST_PAGE_SIZE;
	const unsigned int shift = page % 64;

	r->pr_bitmap[page / 64] |= lanes << shift;
	/* Only a line that reaches into the next word may look at it: there may be none. */
	if (shift > 64 - PT_LINE_WORDS && lanes >> (64 - shift) != 0)
		r->pr_bitmap[page / 64 + 1] |= lanes >> (64 - shift);
}

/* For pr_line: those that have pr_want are reported. */
static void
peek_line(struct pmap_range *r, struct pt_page *t, unsigned int index)
{
	uint64_t lanes = 0;
	unsigned int n = 0;

	for (unsigned int i = 0; i < PT_LINE_WORDS; i++) {
		const bool is_set = (pte_load(&t->pd_words[index + i]) & r->pr_want) != 0;

		lanes |= (uint64_t)is_set << i;
		n += is_set;
	}
	report_lanes(r, t, index, lanes, n);
}

/* What leaves lost by losing r->pr_clear, of which one at least was accessed, or none. */
static inline void
note_change(struct pmap_range *r, bool accessed)
{
	enum pt_change kind = accessed ? PT_CHANGE_FLUSH : PT_CHANGE_UNCACHED;

	if (r->pr_clear & r->pr_pm->pm_fmt.pf_a)
		kind = PT_CHANGE_AGED;
	if (kind > r->pr_change)
		r->pr_change = kind;
}

/*
 * For pr_line: those that have pr_want are reported, and lose pr_clear. A plain store may lose an A
 * that is set after it was read, which says less than the access that set it: that it was at the
 * time of the harvest. It must not lose M.
 */
static void
clear_line(struct pmap_range *r, struct pt_page *t, unsigned int index)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;
	struct host_word *const first = &t->pd_words[index];
	const pt_entry_t want = r->pr_want;
	const pt_entry_t clear = r->pr_clear;
	const bool tells = r->pr_tells;
	pt_entry_t any = 0;
	uint64_t lanes = 0;
	unsigned int n = 0;
	bool stored = false;

	for (unsigned int i = 0; i < PT_LINE_WORDS; i++) {
		pt_entry_t pte = pte_load(first + i);

		if (!(pte & want))
			continue;
		if (pte_is_settled(f, pte)) {
			pte_store_over(first + i, pte, pte & ~clear, f);
			stored = true;
		} else if (tells || !(pte & f->pf_a)) {
			pte = pte_clear_bits(first + i, clear);
		} else {
			/* Cheaper where nobody asks what it held. */
			pte_clear_bits(first + i, clear);
		}
		any |= pte;
		lanes |= (uint64_t)1 << i;
		n++;
		if (tells)
			pmap_leaf_lost(t, index + i, pte, pte & ~clear);
	}
	r->pr_stored |= stored;
	note_change(r, (any & f->pf_a) != 0);
	report_lanes(r, t, index, lanes, n);
}

/* The same without a branch, if all eight are settled and nobody is to be told of them. */
static inline bool
clear_dense_line(struct pmap_range *r, struct pt_page *t, unsigned int index)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;
	struct host_word *const w = &t->pd_words[index];
	const struct pt_line line = pt_line_load(w);
	const pt_entry_t keep = ~r->pr_clear;

	if ((line.pl_all & r->pr_dense) != r->pr_dense)
		return false;
	pte_store_over(w, line.pl_pte[0], line.pl_pte[0] & keep, f);
	pte_store_over(w + 1, line.pl_pte[1], line.pl_pte[1] & keep, f);
	pte_store_over(w + 2, line.pl_pte[2], line.pl_pte[2] & keep, f);
	pte_store_over(w + 3, line.pl_pte[3], line.pl_pte[3] & keep, f);
	pte_store_over(w + 4, line.pl_pte[4], line.pl_pte[4] & keep, f);
	pte_store_over(w + 5, line.pl_pte[5], line.pl_pte[5] & keep, f);
	pte_store_over(w + 6, line.pl_pte[6], line.pl_pte[6] & keep, f);
	pte_store_over(w + 7, line.pl_pte[7], line.pl_pte[7] & keep, f);
	report_lanes(r, t, index, (1 << PT_LINE_WORDS) - 1, PT_LINE_WORDS);
	return true;
}

/* No entry has all bits, so by this no line is one. */
#define NO_DENSE (~(pt_entry_t)0)

void
pmap_lines_by(struct pmap_range *r, pt_entry_t want,
	      void (*line)(struct pmap_range *r, struct pt_page *t, unsigned int index))
{
	r->pr_line = line;
	r->pr_want = want;
	r->pr_dense = NO_DENSE;
}

void
pmap_lines_peek(struct pmap_range *r, pt_entry_t want)
{
	pmap_lines_by(r, want, peek_line);
}

void
pmap_lines_clear(struct pmap_range *r, pt_entry_t want, pt_entry_t clear, bool tells)
{
	const struct pt_fmt *const f = &r->pr_pm->pm_fmt;

	pmap_lines_by(r, want, clear_line);
	r->pr_clear = clear;
	r->pr_tells = tells;
	if (!tells)
		r->pr_dense = want | f->pf_a | f->pf_m;
}

gpa_t
pmap_lines_visit(struct pmap_range *r, struct pt_page *t, gpa_t gpa, gpa_t stop)
{
	const pt_entry_t frozen = r->pr_pm->pm_fmt.pf_frozen;
	const pt_entry_t want = r->pr_want | frozen;
	const struct host_word *const near = r->pr_near;
	const struct host_word *const first = &t->pd_words[pt_index(gpa, 0)];
	const struct host_word *const end = first + (stop - gpa) / HOST_PAGE_SIZE;
	const struct host_word *w = first;
	bool dense = false;

	if (pt_index(gpa, 0) % PT_LINE_WORDS != 0)
		return gpa;
	r->pr_partial = false;
	for (; w + PT_LINE_WORDS <= end; w += PT_LINE_WORDS) {
		const pt_entry_t any = pt_line_load(w).pl_any;

		__builtin_prefetch(&near[w - t->pd_words]);
		if (!(any & want))
			continue;
		if (any & frozen)
			break;
		if (clear_dense_line(r, t, (unsigned int)(w - t->pd_words)))
			dense = true;
		else
			r->pr_line(r, t, (unsigned int)(w - t->pd_words));
	}
	if (dense) {
		r->pr_stored = true;
		note_change(r, true);
	}
	return gpa + (uint64_t)(w - first) * HOST_PAGE_SIZE;
}
