/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The cursor: the one way down the tree, but for pmap_extract()'s, which makes the same loads and
 * keeps none of this. Lock-free, inside an epoch section; at most five loads. In a header since
 * every fault and every table of a range goes through it, in few instructions. It is part of
 * pmap_priv.h, which includes it where what it needs is known.
 */

#ifndef PMAP_PT_CURSOR_H
#define PMAP_PT_CURSOR_H

/*
 * A position in the tree: the tables from the root down to the deepest one that covers an address.
 * Valid within one epoch section, in which none of these pages is reused; what it says may be out
 * of date as soon as it is read, so writers lock the table and look at pd_dead.
 */
struct pt_cursor {
	struct pt_page *pc_table;   /* the deepest */
	struct pt_page *pc_parent;  /* what points to it; NULL at the root */
	struct host_word *pc_above; /* the entry that does; unknown at the root, and by a hint */
	unsigned int pc_level;	    /* of pc_table */
	unsigned int pc_index;	    /* of the entry for the address, in pc_table */
	struct host_word *pc_word;  /* that entry */
	pt_entry_t pc_pte;	    /* and what was read there */
};

/* At the root's entry for gpa. */
static inline void
pt_cursor_begin(struct pt_cursor *c, struct pmap *pm, gpa_t gpa)
{
	HOST_ASSERT(host_epoch_held());
	c->pc_table = pm->pm_root;
	c->pc_parent = NULL;
	c->pc_above = NULL;
	c->pc_level = pm->pm_fmt.pf_levels - 1u;
	c->pc_index = pt_index(gpa, c->pc_level);
	c->pc_word = &pm->pm_root->pd_words[c->pc_index];
	c->pc_pte = pte_load_acquire(c->pc_word);
}

/*
 * One table further down; false if there is none. Descriptors are not read: each is one more line
 * that a walk would miss.
 */
static inline bool
pt_cursor_down(struct pt_cursor *c, struct pmap *pm, gpa_t gpa)
{
	if (!pte_is_table(&pm->pm_fmt, c->pc_pte, c->pc_level))
		return false;
	/* The table was complete before the CAS that made this entry (clause 5). */
	const hpa_t hpa = c->pc_pte & pm->pm_fmt.pf_addr;

	c->pc_parent = c->pc_table;
	c->pc_above = c->pc_word;
	c->pc_table = pt_page_of(hpa);
	c->pc_level--;
	c->pc_index = pt_index(gpa, c->pc_level);
	c->pc_word = &host_table_words(hpa)[c->pc_index];
	c->pc_pte = pte_load_acquire(c->pc_word);
	return true;
}

/* Goes to gpa, no deeper than `level`. */
static inline void
pt_cursor_seek(struct pt_cursor *c, struct pmap *pm, gpa_t gpa, unsigned int level)
{
	pt_cursor_begin(c, pm, gpa);
	while (c->pc_level > level && pt_cursor_down(c, pm, gpa))
		;
}

/*
 * Sets A in the entry that leads to a table of 4 KiB leaves, as hardware does: software is about to
 * set M in the table, or has (clause 12).
 */
static inline void
pt_mark_used(const struct pt_fmt *f, struct host_word *above)
{
	pt_entry_t pte = pte_load(above);

	while ((~pte & f->pf_table_a) != 0 && pte_is_table(f, pte, 1)) {
		if (pte_cas(above, &pte, pte | f->pf_table_a))
			return;
	}
}

#endif /* PMAP_PT_CURSOR_H */
