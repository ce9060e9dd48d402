/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The pmap as a whole: birth, death, questions, and the one funnel through which every change of a
 * leaf passes (pmap_leaf_changed()), so that accounts, dirty bits and shootdowns cannot disagree.
 */

#include "pmap/pmap_priv.h"

/* ---- Life ----------------------------------------------------------------------------------- */

static bool
config_valid(const struct pmap_config *cfg)
{
	const unsigned int flags = cfg->pc_flags;

	if (flags & ~PMAP_FLAGS_ALL)
		return false;
	return ((flags & PMAP_EMULATE_AD_BITS) != 0) == cfg->pc_caps.pc_emulate_ad &&
	       ((flags & PMAP_SUPPORTS_EXEC_ONLY) != 0) == cfg->pc_caps.pc_exec_only &&
	       ((flags & PMAP_PDE_SUPERPAGE) != 0) == (cfg->pc_caps.pc_leaf_levels > 1);
}

int
pmap_init(const struct pmap_config *cfg, struct pmap **out)
{
	if (!config_valid(cfg))
		return -EINVAL;

	struct pmap *pm = host_alloc(sizeof(*pm));

	if (pm == NULL)
		return -ENOMEM;

	int error = pt_fmt_init(&pm->pm_fmt, cfg->pc_type, &cfg->pc_caps);

	if (error != 0)
		goto free_pmap;
	pm->pm_flags = cfg->pc_flags;
	pm->pm_note = cfg->pc_note;
	pm->pm_backlog = cfg->pc_backlog;
	pm->pm_arg = cfg->pc_arg;
	pmap_tlb_init(pm, cfg->pc_generation);
	pm->pm_root = pt_page_alloc(pm, pm->pm_fmt.pf_levels - 1u, 0);
	if (pm->pm_root == NULL) {
		error = -ENOMEM;
		goto free_pmap;
	}
	host_epoch_enter();
	pmap_count(pm, PMAP_C_TABLES, 1);
	host_epoch_exit();
	host_fence(); /* complete before anyone learns of it */
	*out = pm;
	return 0;

free_pmap:
	host_free(pm, sizeof(*pm));
	return error;
}

/* Unlinked, and not yet given back. The order of the loads keeps it from falling below zero. */
static uint64_t
tables_in_limbo(const struct pmap *pm)
{
	const uint64_t freed = host_load_acquire(&pm->pm_unlinked_freed);

	return host_load(&pm->pm_unlinks_ended) - freed;
}

void
pmap_destroy(struct pmap *pm)
{
	struct pmap_gather g;

	HOST_ASSERT(host_load(&pm->pm_slots) == 0);
	pmap_gather_begin(&g, pm);
	pmap_remove(pm, 0, pm->pm_fmt.pf_limit, &g);
	/*
	 * The root goes the way of every table: whoever reuses its address as a root starts unseen.
	 */
	pt_unlink_begin(pm);
	pmap_gather_table(&g, pm->pm_root);
	pmap_gather_add(&g, 0, pm->pm_fmt.pf_limit);
	pmap_gather_finish(&g);
	host_epoch_drain();
	HOST_ASSERT(pm->pm_limbo == NULL);
	HOST_ASSERT(tables_in_limbo(pm) == 0);
	host_free(pm, sizeof(*pm));
}

/* ---- What it is made of --------------------------------------------------------------------- */

pt_entry_t
pmap_valid_bit(const struct pmap *pm)
{
	return pm->pm_fmt.pf_valid;
}

pt_entry_t
pmap_rw_bit(const struct pmap *pm)
{
	return pm->pm_fmt.pf_rw;
}

pt_entry_t
pmap_accessed_bit(const struct pmap *pm)
{
	return pm->pm_fmt.pf_a;
}

pt_entry_t
pmap_modified_bit(const struct pmap *pm)
{
	return pm->pm_fmt.pf_m;
}

const struct pt_fmt *
pmap_fmt(const struct pmap *pm)
{
	return &pm->pm_fmt;
}

hpa_t
pmap_root(const struct pmap *pm)
{
	return pt_page_hpa(pm->pm_root);
}

unsigned int
pmap_flags(const struct pmap *pm)
{
	return pm->pm_flags;
}

/* ---- Leaves --------------------------------------------------------------------------------- */

static inline void
leaf_of(const struct pt_fmt *f, gpa_t gpa, pt_entry_t pte, unsigned int level,
	struct pmap_leaf *leaf)
{
	*leaf = (struct pmap_leaf){
		.pl_gpa = gpa & ~(pt_level_size(level) - 1),
		.pl_hpa = pte_hpa(f, pte, level),
		.pl_level = level,
		.pl_prot = pte_prot(f, pte),
		.pl_memattr = pte_memattr(f, pte, level),
		.pl_wired = (pte & f->pf_wired) != 0,
		.pl_accessed = (pte & f->pf_a) != 0,
		.pl_modified = (pte & f->pf_m) != 0,
	};
}

void
pmap_leaf_of(const struct pmap *pm, gpa_t gpa, pt_entry_t pte, unsigned int level,
	     struct pmap_leaf *leaf)
{
	leaf_of(&pm->pm_fmt, gpa, pte, level, leaf);
}

/* A wired superpage of table t went, or is wired no more: its spares go too. */
static void
release_spares(struct pt_page *t)
{
	struct pt_page *list = NULL;
	const unsigned int n = pt_spares_needed(t->pd_level);

	if (n == 0)
		return;
	pt_spares_move(&t->pd_spares, &list, n);
	pmap_count(t->pd_pmap, PMAP_C_SPARES, (uint64_t) - (int64_t)n);
	pt_spares_free(list);
}

/* Apart from the rest, since most owners do not ask to be told. */
static __attribute__((__noinline__)) void
note_lost(const struct pt_page *t, unsigned int index, pt_entry_t old, pt_entry_t pte_new)
{
	struct pmap *const pm = t->pd_pmap;
	const struct pt_fmt *const f = &pm->pm_fmt;
	struct pmap_leaf leaf;

	if (!pte_is_valid(f, old) || !(old & ~pte_new & (f->pf_a | f->pf_m)))
		return;
	pmap_leaf_of(pm, pt_page_gpa(t) + index * pt_level_size(t->pd_level), old, t->pd_level,
		     &leaf);
	leaf.pl_accessed &= !(pte_new & f->pf_a);
	leaf.pl_modified &= !(pte_new & f->pf_m);
	pm->pm_note(pm->pm_arg, &leaf);
}

void
pmap_leaf_lost(const struct pt_page *t, unsigned int index, pt_entry_t old, pt_entry_t pte_new)
{
	if (t->pd_pmap->pm_note != NULL)
		note_lost(t, index, old, pte_new);
}

void
pmap_change_gather(struct pt_page *t, gpa_t gpa, uint64_t len, enum pt_change kind,
		   struct pmap_gather *g)
{
	switch (kind) {
	case PT_CHANGE_NONE:
		break;
	case PT_CHANGE_UNCACHED:
		/*
		 * A was clear: cached only if a CPU has not yet flushed for the A that was cleared.
		 */
		if (pmap_stamp_pending(t))
			pmap_gather_add(g, gpa, len);
		break;
	case PT_CHANGE_AGED:
		pmap_stamp(t, gpa, len);
		if (t->pd_pmap->pm_flags & PMAP_DEFER) {
			g->pg_deferred = true;
			g->pg_start = gpa < g->pg_start ? gpa : g->pg_start;
			g->pg_end = gpa + len > g->pg_end ? gpa + len : g->pg_end;
		} else {
			pmap_gather_add(g, gpa, len);
		}
		break;
	case PT_CHANGE_FLUSH:
		pmap_stamp(t, gpa, len);
		pmap_gather_add(g, gpa, len);
		break;
	}
}

void
pmap_leaf_settled(struct pt_page *t, unsigned int index, pt_entry_t old, pt_entry_t pte_new,
		  struct pmap_gather *g)
{
	struct pmap *const pm = t->pd_pmap;
	const struct pt_fmt *const f = &pm->pm_fmt;
	const unsigned int level = t->pd_level;
	const bool was = pte_is_valid(f, old);
	const bool is = pte_is_valid(f, pte_new);

	HOST_ASSERT(host_lock_held(&t->pd_lock));
	if (was != is || ((old ^ pte_new) & f->pf_wired) != 0) {
		if (was)
			pmap_account_leaves(pm, old, level, (uint64_t)-1);
		if (is)
			pmap_account_leaves(pm, pte_new, level, 1);
	}
	if (old & ~pte_new & f->pf_wired)
		release_spares(t);

	const uint64_t size = pt_level_size(level);

	pmap_change_gather(t, pt_page_gpa(t) + index * size, size,
			   pt_change_kind(f, old, pte_new, level), g);
}

void
pmap_leaf_changed(struct pt_page *t, unsigned int index, pt_entry_t old, pt_entry_t pte_new,
		  struct pmap_gather *g)
{
	pmap_leaf_lost(t, index, old, pte_new);
	pmap_leaf_settled(t, index, old, pte_new, g);
}

/* ---- Questions ------------------------------------------------------------------------------ */

/*
 * The entry that decides about gpa, and its level: the loads of a cursor's way down, without what
 * only those need who will write. In an epoch section. How many walks a CPU has under way at a time
 * is how often their instructions fit into its window, so these are few: what is left of the
 * address is kept in the uppermost bits, nine of which are the next index.
 */
static inline pt_entry_t
look_up(const struct pmap *pm, gpa_t gpa, unsigned int *level)
{
	const struct pt_fmt *const f = &pm->pm_fmt;
	unsigned int n = f->pf_levels - 1u;
	uint64_t rest = gpa << (64 - pt_level_shift(n + 1));

	HOST_ASSERT(host_epoch_held());

	pt_entry_t pte = pte_load_acquire(&pm->pm_root->pd_words[rest >> 55]);

	while (pte_is_table(f, pte, n)) {
		rest <<= 9;
		n--;
		pte = pte_load_acquire(&host_table_words(pte & f->pf_addr)[rest >> 55]);
	}
	*level = n;
	return pte;
}

int
pmap_extract(struct pmap *pm, gpa_t gpa, struct pmap_leaf *leaf)
{
	const struct pt_fmt *const f = &pm->pm_fmt;
	unsigned int level;
	pt_entry_t pte;

	if (gpa >= f->pf_limit)
		return -EINVAL;
	for (;;) {
		host_epoch_enter();
		pte = look_up(pm, gpa, &level);
		host_epoch_exit();
		if (pte_is_valid(f, pte))
			break;
		if (!pte_is_frozen(f, pte))
			return -ENOENT;
		host_relax();
	}
	/* What is valid and no table is a leaf. The common level once more, for constants. */
	if (level == 0)
		leaf_of(f, gpa, pte, 0, leaf);
	else
		leaf_of(f, gpa, pte, level, leaf);
	return 0;
}

int
pmap_walk(struct pmap *pm, gpa_t gpa, pt_entry_t entries[PT_LEVELS_MAX], unsigned int *n)
{
	struct pt_cursor c;

	if (gpa >= pm->pm_fmt.pf_limit)
		return -EINVAL;
	*n = 0;
	host_epoch_enter();
	pt_cursor_begin(&c, pm, gpa);
	do {
		entries[(*n)++] = c.pc_pte;
	} while (pt_cursor_down(&c, pm, gpa));
	host_epoch_exit();
	return 0;
}

static uint64_t
counter_sum(const struct pmap *pm, unsigned int counter)
{
	uint64_t sum = 0;

	for (unsigned int cpu = 0; cpu < HOST_MAX_CPUS; cpu++)
		sum += host_load(&pm->pm_cpus[cpu].pc_word[counter]);
	return sum;
}

uint64_t
pmap_table_pages(struct pmap *pm)
{
	return counter_sum(pm, PMAP_C_TABLES) + counter_sum(pm, PMAP_C_SPARES) +
	       tables_in_limbo(pm);
}

void
pmap_stats(struct pmap *pm, struct pmap_stats *st)
{
	*st = (struct pmap_stats){
		.st_wired_pages = counter_sum(pm, PMAP_C_WIRED),
		.st_tables = counter_sum(pm, PMAP_C_TABLES),
		.st_spares = counter_sum(pm, PMAP_C_SPARES),
		.st_limbo = tables_in_limbo(pm),
		.st_promotions = counter_sum(pm, PMAP_C_PROMOTIONS),
		.st_demotions = counter_sum(pm, PMAP_C_DEMOTIONS),
		.st_demotion_failures = counter_sum(pm, PMAP_C_DEMOTION_FAILURES),
		.st_ad_emulations = counter_sum(pm, PMAP_C_AD_EMULATIONS),
		.st_spurious_faults = counter_sum(pm, PMAP_C_SPURIOUS),
		.st_shootdowns = counter_sum(pm, PMAP_C_SHOOTDOWNS),
		.st_shootdowns_merged = counter_sum(pm, PMAP_C_MERGED),
		.st_shootdowns_elided = counter_sum(pm, PMAP_C_ELIDED),
		.st_kicks = counter_sum(pm, PMAP_C_KICKS),
		.st_enter_restarts = counter_sum(pm, PMAP_C_RESTARTS),
		.st_revoked = counter_sum(pm, PMAP_C_REVOKED),
	};
	for (unsigned int level = 0; level < PT_LEAF_LEVELS_MAX; level++) {
		st->st_leaves[level] = counter_sum(pm, PMAP_C_LEAVES + level);
		st->st_resident_pages += st->st_leaves[level] << 9 * level;
	}
}
