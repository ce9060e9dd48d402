/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Table pages: from the host, to the host, and the spares in between.
 *
 * A page is private until an entry points to it. Once unlinked it may still be walked, by hardware
 * through its paging-structure caches and by readers in an epoch section; so it goes back through a
 * gather first and the epoch second. A spare is private for as long as it is one.
 */

#include "pmap/pmap_priv.h"

struct pt_page *
pt_page_alloc(struct pmap *pm, unsigned int level, gpa_t gpa)
{
	hpa_t hpa;

	if (!host_table_alloc(&hpa))
		return NULL;
	HOST_ASSERT((hpa & ~pm->pm_fmt.pf_addr) == 0);

	struct pt_page *t = pt_page_of(hpa);

	t->pd_words = host_table_words(hpa);
	t->pd_pmap = pm;
	pt_page_place(t, level, gpa);
	return t;
}

void
pt_page_place(struct pt_page *t, unsigned int level, gpa_t gpa)
{
	const uint64_t region = gpa >> pt_level_shift(level + 1) << 9 * level;

	host_lock_init(&t->pd_lock, PMAP_RANK_TABLE(level));
	t->pd_region_low = (uint32_t)region;
	t->pd_region_high = (uint8_t)(region >> 32);
	t->pd_level = (uint8_t)level;
}

void
pt_page_free_private(struct pt_page *t)
{
	host_table_free(pt_page_hpa(t));
}

static void
free_after_epoch(struct host_epoch_item *item)
{
	struct pt_page *t =
		(struct pt_page *)(void *)((char *)item -
					   __builtin_offsetof(struct pt_page, pd_epoch));
	struct pmap *pm = t->pd_pmap;

	host_table_free(pt_page_hpa(t));
	host_fetch_add(&pm->pm_unlinked_freed, 1);
}

void
pt_page_free_after_epoch(struct pt_page *t)
{
	HOST_ASSERT(t->pd_spares == NULL); /* for pd_epoch takes its place */
	host_epoch_defer(&t->pd_epoch, free_after_epoch);
}

unsigned int
pt_spares_needed(unsigned int level)
{
	/*
	 * A leaf of level 1 splits once; one of level 2 splits, and then each of its 512 parts
	 * does.
	 */
	return level == 0 ? 0 : level == 1 ? 1 : 1 + HOST_TABLE_WORDS;
}

bool
pt_spares_alloc(struct pmap *pm, unsigned int n, struct pt_page **list)
{
	*list = NULL;
	for (unsigned int i = 0; i < n; i++) {
		struct pt_page *t = pt_page_alloc(pm, 0, 0);

		if (t == NULL) {
			pt_spares_free(*list);
			*list = NULL;
			return false;
		}
		t->pd_next = *list;
		*list = t;
	}
	return true;
}

void
pt_spares_free(struct pt_page *list)
{
	while (list != NULL) {
		struct pt_page *next = list->pd_next;

		pt_page_free_private(list);
		list = next;
	}
}

void
pt_spares_move(struct pt_page **from, struct pt_page **to, unsigned int n)
{
	while (n-- > 0) {
		struct pt_page *t = *from;

		HOST_ASSERT(t != NULL);
		*from = t->pd_next;
		t->pd_next = *to;
		*to = t;
	}
}
