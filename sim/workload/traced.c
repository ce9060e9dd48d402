/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A trace's memory and accesses in a world. */

#include "sim/workload/traced.h"

/* A look at every page of every guest is dear here. */
#define AUDIT_STEPS 1000003

/* As real ones have: each shootdown looks through them all, and these runs are long. */
#define TLB_ENTRIES 4096

void
traced_world(struct world *w)
{
	w->wo_yielding = true;
	w->wo_tlb_entries = TLB_ENTRIES;
	oracle_audit_every(w, AUDIT_STEPS);
}

void
traced_memory(struct space *sp, const struct trace_info *info)
{
	struct seg *sg;

	space_reserve(sp, 1, info->ti_regions);
	sg = space_add_seg(sp, SEG_SYSMEM, info->ti_regions * REGION_PAGES);
	for (unsigned int r = 0; r < info->ti_regions; r++)
		space_add_region(sp, r * REGION_BYTES, sg, r * REGION_PAGES, REGION_PAGES,
				 PMAP_PROT_RWX);
}

void
traced_access(const struct trace_access *a, gpa_t *gpa, unsigned int *access)
{
	static const unsigned int kinds[TRACE_KINDS] = {
		[TRACE_FETCH] = PMAP_PROT_X,
		[TRACE_LOAD] = PMAP_PROT_R,
		[TRACE_STORE] = PMAP_PROT_W,
		[TRACE_MODIFY] = PMAP_PROT_W,
	};

	*gpa = (gpa_t)a->ta_page << TRACE_PAGE_SHIFT | (a->ta_offset & ~7u);
	*access = kinds[a->ta_kind];
}
