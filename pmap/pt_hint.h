/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A fault's short cut: the next one of this CPU mostly goes to the same table of 4 KiB leaves, so
 * each CPU remembers the last, and is spared the way down the tree. It is part of pmap_priv.h, as
 * pt_cursor.h is.
 *
 * A remembered table may be used only while it is in the tree: one that is not may be somebody
 * else's page by now, and one that was just taken out says what other CPUs no longer go by. Whoever
 * takes a table out raises pm_unlinks_begun before, and pm_unlinks_ended after the entry that leads
 * to it is exchanged. A table that was found while the two were equal is in the tree as long as the
 * former is what it was: at the instant of that load, which is as good as a walk at that instant,
 * and so are the epoch section and the frozen slots that guard what follows.
 */

#ifndef PMAP_PT_HINT_H
#define PMAP_PT_HINT_H

/*
 * A table is about to leave the tree, and has left it. Locked operations: the first is seen by all
 * before the exchange between the two is.
 */
static inline void
pt_unlink_begin(struct pmap *pm)
{
	host_fetch_add(&pm->pm_unlinks_begun, 1);
}

static inline void
pt_unlink_end(struct pmap *pm)
{
	host_fetch_add(&pm->pm_unlinks_ended, 1);
}

/*
 * A was cleared in entries that lead to tables: hints do not know it any more. As if a table had
 * been taken out, and given back at once.
 */
static inline void
pt_hints_void(struct pmap *pm)
{
	pt_unlink_begin(pm);
	pt_unlink_end(pm);
	host_fetch_add(&pm->pm_unlinked_freed, 1);
}

/*
 * Goes to gpa, as deep as there are tables. Then pc_parent and pc_above are not known. If it is to
 * a table of 4 KiB leaves, A is set in the entry that leads there, and has not been cleared as long
 * as pm_unlinks_begun is what is returned.
 */
static inline uint64_t
pt_hint_seek(struct pt_cursor *c, struct pmap *pm, gpa_t gpa)
{
	struct pt_hint *const hint = &pm->pm_cpus[host_cpu()].pc_hint;
	const uint64_t region = gpa >> pt_level_shift(1);
	const uint64_t begun = host_load_acquire(&pm->pm_unlinks_begun);
	struct pt_page *const t = hint->ph_table;

	HOST_ASSERT(host_epoch_held());
	if (t != NULL && hint->ph_region == region && hint->ph_begun == begun) {
		c->pc_table = t;
		c->pc_parent = NULL;
		c->pc_above = NULL;
		c->pc_level = 0;
		c->pc_index = pt_index(gpa, 0);
		c->pc_word = &hint->ph_words[c->pc_index];
		c->pc_pte = pte_load_acquire(c->pc_word);
		return begun;
	}

	const bool quiet = host_load_acquire(&pm->pm_unlinks_ended) == begun;

	pt_cursor_seek(c, pm, gpa, 0);
	if (c->pc_level == 0)
		pt_mark_used(&pm->pm_fmt, c->pc_above);
	hint->ph_table = quiet && c->pc_level == 0 ? c->pc_table : NULL;
	hint->ph_words = c->pc_word - c->pc_index;
	hint->ph_region = region;
	hint->ph_begun = begun;
	return begun;
}

#endif /* PMAP_PT_HINT_H */
