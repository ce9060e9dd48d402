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
 * The entry for gpa in the remembered table, which is in the tree if pm_unlinks_begun is `begun`.
 * NULL: another one, or none, is remembered.
 */
static inline struct host_word *
pt_hint_word(const struct pt_hint *hint, gpa_t gpa, uint64_t begun)
{
	HOST_ASSERT(host_epoch_held());
	if (hint->ph_words == NULL || hint->ph_region != gpa >> pt_level_shift(1) ||
	    hint->ph_begun != begun)
		return NULL;
	return &hint->ph_words[pt_index(gpa, 0)];
}

/*
 * Walks to gpa, as deep as there are tables, and remembers where. If it is to a table of 4 KiB
 * leaves, A is set in the entry that leads there, and has not been cleared as long as
 * pm_unlinks_begun is `begun`: what it was before this call, and that is when hints are good.
 */
static inline void
pt_hint_learn(struct pt_hint *hint, struct pt_cursor *c, struct pmap *pm, gpa_t gpa, uint64_t begun)
{
	const bool quiet = host_load_acquire(&pm->pm_unlinks_ended) == begun;

	pt_cursor_seek(c, pm, gpa, 0);
	if (c->pc_level == 0)
		pt_mark_used(&pm->pm_fmt, c->pc_above);
	hint->ph_words = quiet && c->pc_level == 0 ? c->pc_word - c->pc_index : NULL;
	hint->ph_region = gpa >> pt_level_shift(1);
	hint->ph_begun = begun;
}

#endif /* PMAP_PT_HINT_H */
