/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The cursor: the one way down the tree. Lock-free, inside an epoch section; at most five loads.
 */

#include "pmap/pmap_priv.h"

void
pt_cursor_begin(struct pt_cursor *c, struct pmap *pm, gpa_t gpa)
{
	HOST_ASSERT(host_epoch_held());
	*c = (struct pt_cursor){.pc_table = pm->pm_root, .pc_level = pm->pm_fmt.pf_levels - 1u};
	c->pc_index = pt_index(gpa, c->pc_level);
	c->pc_pte = pte_load_acquire(&c->pc_table->pd_words[c->pc_index]);
}

bool
pt_cursor_down(struct pt_cursor *c, struct pmap *pm, gpa_t gpa)
{
	if (!pte_is_table(&pm->pm_fmt, c->pc_pte, c->pc_level))
		return false;
	/* The table was complete before the CAS that made this entry (clause 5). */
	c->pc_parent = c->pc_table;
	c->pc_table = pt_page_of(pte_hpa(&pm->pm_fmt, c->pc_pte, 0));
	c->pc_level--;
	c->pc_index = pt_index(gpa, c->pc_level);
	c->pc_pte = pte_load_acquire(&c->pc_table->pd_words[c->pc_index]);
	return true;
}

void
pt_cursor_seek(struct pt_cursor *c, struct pmap *pm, gpa_t gpa, unsigned int level)
{
	pt_cursor_begin(c, pm, gpa);
	while (c->pc_level > level && pt_cursor_down(c, pm, gpa))
		;
}
