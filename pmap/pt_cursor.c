/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The cursor: the one way down the tree. Lock-free, inside an epoch section; at most five loads.
 */

#include "pmap/pmap_priv.h"

void
pt_cursor_seek(struct pt_cursor *c, struct pmap *pm, gpa_t gpa, unsigned int level)
{
	const struct pt_fmt *const f = &pm->pm_fmt;

	*c = (struct pt_cursor){.pc_table = pm->pm_root, .pc_level = f->pf_levels - 1u};
	for (;;) {
		c->pc_index = pt_index(gpa, c->pc_level);
		c->pc_pte = pte_load_acquire(&c->pc_table->pd_words[c->pc_index]);
		if (c->pc_level <= level || !pte_is_table(f, c->pc_pte, c->pc_level))
			return;
		/* The table was complete before the CAS that made this entry (clause 5). */
		c->pc_parent = c->pc_table;
		c->pc_table = pt_page_of(pte_hpa(f, c->pc_pte, 0));
		c->pc_level--;
	}
}
