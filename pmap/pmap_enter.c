/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Entering a mapping: the fault path.
 *
 * The common case is an empty slot in a table that exists: one compare-and-swap, no lock, no shared
 * line, and nothing set up for what other cases need (enter_at_once()). Missing tables are built
 * privately, the leaf already in them, and linked by one exchange, so that failing leaves nothing
 * behind. Everything else, a leaf or a table in the way, takes the lock.
 *
 * The owner decided to map before we installed, and may have changed its mind: so after installing
 * we look at its word again (clause 4). The exchange was a full fence; its partner is the fence
 * between the revoker's store and its sweep. One of the two sees the other.
 */

#include "pmap/pmap_priv.h"

struct enter {
	struct pmap *e_pm;
	const struct pmap_mapping *e_map;
	pt_entry_t e_pte;	  /* what is to be installed */
	uint64_t e_wanted;	  /* leaves, of consecutive frames */
	uint64_t e_entered;	  /* of them, by the attempt that succeeded */
	struct pt_page *e_spares; /* for a wired superpage */
	struct pmap_gather e_gather;
};

/* How one attempt ended. */
enum attempt {
	ENTER_DONE,  /* the mapping is there */
	ENTER_AGAIN, /* something changed meanwhile */
	ENTER_WAIT,  /* a slot is frozen */
	ENTER_BREAK, /* what was in the way is gone; flush, then try again */
	ENTER_CLEAR, /* a table is in the way: its range must be removed first */
	ENTER_REVOKED,
	ENTER_SPLIT, /* a superpage is in the way */
	ENTER_NOMEM,
};

static inline int
mapping_valid(const struct pmap *pm, const struct pmap_mapping *m)
{
	const struct pt_fmt *const f = &pm->pm_fmt;
	const unsigned int level = m->pa_level;

	if (level >= f->pf_leaf_levels || m->pa_prot >= PMAP_PROT_COUNT ||
	    (unsigned int)m->pa_memattr >= PT_MEMATTR_COUNT || (m->pa_access & ~m->pa_prot) != 0 ||
	    ((m->pa_gpa & f->pf_gpa_wrong[level]) | (m->pa_hpa & f->pf_hpa_wrong[level])) != 0)
		return -EINVAL;
	return f->pf_new_leaf[level][m->pa_memattr][m->pa_prot] != 0 ? 0 : -EOPNOTSUPP;
}

static inline pt_entry_t
new_leaf(const struct pt_fmt *f, const struct pmap_mapping *m)
{
	pt_entry_t pte = pte_leaf(f, m->pa_hpa, m->pa_prot, m->pa_level, m->pa_memattr);

	if (m->pa_wired)
		pte |= f->pf_wired;
	if (m->pa_access != 0)
		pte = pte_set_accessed(f, pte);
	if (m->pa_access & PMAP_PROT_W)
		return pte | f->pf_m;
	return pte_is_clean_superpage(f, pte, m->pa_level) ? pte_set_modified(f, pte) : pte;
}

static inline bool
is_revoked(const struct pmap_mapping *m)
{
	return m->pa_revoked != NULL && host_load_acquire(m->pa_revoked) != m->pa_revoked_was;
}

/* The shootdown, never put off: what is entered next relies on it. */
static void
finish_now(struct pmap_gather *g)
{
	if (!g->pg_flush && !g->pg_deferred)
		return; /* nothing was here before */
	g->pg_flush = true;
	pmap_gather_finish(g);
}

/* ---- The common case ------------------------------------------------------------------------ */

/* The way down once more, for the entry that a hint does not know. */
static __attribute__((__noinline__)) void
mark_used_again(struct pmap *pm, gpa_t gpa)
{
	struct pt_cursor c;

	pt_cursor_seek(&c, pm, gpa, 0);
	if (c.pc_level == 0)
		pt_mark_used(&pm->pm_fmt, c.pc_above);
}

/* An entry, and what was read there; NULL: there is no table that would have it. */
struct spot {
	struct host_word *sp_word;
	pt_entry_t sp_pte;
};

/* Where no hint helps. */
static __attribute__((__noinline__)) struct spot
spot_by_walk(struct pmap *pm, struct pt_hint *hint, gpa_t gpa, unsigned int level, uint64_t begun)
{
	struct pt_cursor c;

	if (level == 0)
		pt_hint_learn(hint, &c, pm, gpa, begun);
	else
		pt_cursor_seek(&c, pm, gpa, level);
	return (struct spot){c.pc_level == level ? c.pc_word : NULL, c.pc_pte};
}

/*
 * An empty slot in a table that exists. Not in the reference form; not for a wired superpage, whose
 * spares the lock guards, and so for nothing wired; and not where sizes must not mix, since then
 * the flush of what was here before must be over. False: it was not the common case.
 */
static inline bool
enter_at_once(struct pmap *pm, const struct pmap_mapping *m, pt_entry_t pte)
{
	const unsigned int level = m->pa_level;
	struct spot s = {0};
	uint64_t begun = 0;
	pt_entry_t empty = 0;
	bool entered = false;

	if (pmap_is_reference(pm) || !pmap_bears_mixed_sizes(pm) || m->pa_wired)
		return false;
	host_epoch_enter();

	struct pmap_cpu *const cpu = pmap_this_cpu(pm);

	if (level == 0) {
		begun = host_load_acquire(&pm->pm_unlinks_begun);
		s.sp_word = pt_hint_word(&cpu->pc_hint, m->pa_gpa, begun);
	}
	if (s.sp_word != NULL)
		s.sp_pte = pte_load_acquire(s.sp_word);
	else
		s = spot_by_walk(pm, &cpu->pc_hint, m->pa_gpa, level, begun);
	if (s.sp_word != NULL && s.sp_pte == empty && pte_cas(s.sp_word, &empty, pte)) {
		host_count(&cpu->pc_word[PMAP_C_LEAVES + level], 1);
		/* Clause 12. The exchange was a full fence; its partner is pt_hints_void(). */
		if (level == 0 && host_load_acquire(&pm->pm_unlinks_begun) != begun)
			mark_used_again(pm, m->pa_gpa);
		entered = true;
	}
	host_epoch_exit();
	return entered;
}

/* What was installed without the lock is not wanted any more. A wired leaf is, and stays. */
static __attribute__((__noinline__)) int
take_back(struct pmap *pm, const struct pmap_mapping *m)
{
	struct pmap_gather g;
	uint64_t kept;

	pmap_gather_begin(&g, pm);
	pmap_remove_unwired(pm, m->pa_gpa, m->pa_gpa + pt_level_size(m->pa_level), &kept, &g);
	host_epoch_enter();
	pmap_count(pm, PMAP_C_REVOKED, 1);
	host_epoch_exit();
	finish_now(&g);
	return -EAGAIN;
}

/* ---- Into nothing --------------------------------------------------------------------------- */

/*
 * n new leaves are in locked table t, or will be with its chain. A wired superpage, which comes
 * alone, takes over the spares it keeps.
 */
static void
leaves_entered(struct enter *e, struct pt_page *t, uint64_t n)
{
	const unsigned int nspares = e->e_spares != NULL ? pt_spares_needed(e->e_map->pa_level) : 0;

	if (nspares != 0) {
		HOST_ASSERT(host_lock_held(&t->pd_lock));
		pt_spares_move(&e->e_spares, &t->pd_spares, nspares);
		pmap_count(e->e_pm, PMAP_C_SPARES, nspares);
	}
	pmap_account_leaves(e->e_pm, e->e_pte, e->e_map->pa_level, n);
	e->e_entered = n;
}

static enum attempt
install(struct enter *e, const struct pt_cursor *c)
{
	struct pt_page *const t = c->pc_table;
	enum attempt result = ENTER_AGAIN;
	pt_entry_t empty = 0;

	host_lock(&t->pd_lock);
	if (is_revoked(e->e_map)) {
		result = ENTER_REVOKED;
	} else if (!t->pd_dead && !pmap_bears_mixed_sizes(e->e_pm) && pmap_stamp_pending(t)) {
		pmap_gather_add(&e->e_gather, e->e_map->pa_gpa, HOST_PAGE_SIZE);
		result = ENTER_BREAK;
	} else if (!t->pd_dead && pte_cas(c->pc_word, &empty, e->e_pte)) {
		leaves_entered(e, t, 1);
		result = ENTER_DONE;
	}
	host_unlock(&t->pd_lock);
	if (c->pc_level == 0)
		pt_mark_used(&e->e_pm->pm_fmt, c->pc_above);
	return result;
}

static void
free_chain(struct pt_page *t)
{
	while (t != NULL) {
		struct pt_page *next = t->pd_next;

		t->pd_next = NULL;
		pt_page_free_private(t);
		t = next;
	}
}

/* How many of the leaves that are wanted fit into one table. */
static unsigned int
leaves_in_table(const struct enter *e)
{
	const unsigned int room = HOST_TABLE_WORDS - pt_index(e->e_map->pa_gpa, e->e_map->pa_level);

	return e->e_wanted < room ? (unsigned int)e->e_wanted : room;
}

/*
 * Tables for levels [target, top), the leaves in the lowest, each in the one above. NULL: no
 * memory.
 */
static struct pt_page *
build_chain(struct enter *e, unsigned int top)
{
	const struct pt_fmt *const f = &e->e_pm->pm_fmt;
	const gpa_t gpa = e->e_map->pa_gpa;
	struct pt_page *chain = NULL;
	pt_entry_t pte = e->e_pte;
	unsigned int n = leaves_in_table(e);

	for (unsigned int level = e->e_map->pa_level; level < top; level++) {
		struct pt_page *t = pt_page_alloc(e->e_pm, level, gpa);

		if (t == NULL) {
			free_chain(chain);
			return NULL;
		}
		host_fill_private(&t->pd_words[pt_index(gpa, level)], n, pte, pt_level_size(level));
		pte = pte_table(f, pt_page_hpa(t));
		n = 1;
		t->pd_next = chain;
		chain = t;
	}
	return chain;
}

/* The lowest table of a chain is the last of its list. */
static struct pt_page *
chain_bottom(struct pt_page *chain)
{
	while (chain->pd_next != NULL)
		chain = chain->pd_next;
	return chain;
}

/* The slot is empty and above the target level: links a chain there, under the lock (clause 5). */
static enum attempt
install_chain(struct enter *e, const struct pt_cursor *c)
{
	struct pmap *const pm = e->e_pm;
	struct pt_page *const parent = c->pc_table;
	struct pt_page *chain = build_chain(e, c->pc_level);
	enum attempt result = ENTER_AGAIN;
	pt_entry_t empty = 0;

	if (chain == NULL)
		return ENTER_NOMEM;

	host_lock(&parent->pd_lock);
	if (is_revoked(e->e_map)) {
		result = ENTER_REVOKED;
	} else if (!parent->pd_dead && !pmap_bears_mixed_sizes(pm) && pmap_stamp_pending(parent)) {
		pmap_gather_add(&e->e_gather, e->e_map->pa_gpa, HOST_PAGE_SIZE);
		result = ENTER_BREAK;
	} else if (!parent->pd_dead) {
		struct pt_page *const bottom = chain_bottom(chain);

		pmap_stamp_inherit(parent, chain);
		/* Once linked, others may change the leaf and expect its account and its spares. */
		host_lock(&bottom->pd_lock);
		if (pte_cas(&parent->pd_words[c->pc_index], &empty,
			    pte_table(&pm->pm_fmt, pt_page_hpa(chain)))) {
			leaves_entered(e, bottom, leaves_in_table(e));
			pmap_count(pm, PMAP_C_TABLES, c->pc_level - e->e_map->pa_level);
			chain = NULL;
			result = ENTER_DONE;
		}
		host_unlock(&bottom->pd_lock);
	}
	host_unlock(&parent->pd_lock);
	free_chain(chain);
	return result;
}

/* ---- Over something ------------------------------------------------------------------------- */

/*
 * What the present leaf `old` becomes when it maps the same frame as before. It stays wired: a
 * fault that was decided before the wiring must not undo it.
 */
static pt_entry_t
merged_leaf(const struct pt_fmt *f, pt_entry_t old, pt_entry_t pte_new)
{
	pte_new |= old & f->pf_wired;
	if (old & f->pf_a)
		pte_new = pte_set_accessed(f, pte_new);
	/* M alone: a page that aged since it was written has not been accessed by this. */
	if (pte_new & f->pf_rw)
		pte_new |= old & f->pf_m;
	return pte_new;
}

/*
 * A leaf of the right size is there: other rights in place, another frame by break before make. The
 * owner's word is read under the lock, which the revoker's sweep must take after changing it; so
 * what is changed here was still wanted, or will still be swept.
 */
static enum attempt
replace_leaf(struct enter *e, const struct pt_cursor *c)
{
	const struct pt_fmt *const f = &e->e_pm->pm_fmt;
	struct pt_page *const t = c->pc_table;
	struct host_word *const w = &t->pd_words[c->pc_index];
	const pt_entry_t frame = f->pf_addr | f->pf_memattr_mask[c->pc_level > 0];
	enum attempt result = ENTER_AGAIN;

	host_lock(&t->pd_lock);

	pt_entry_t old = pte_load(w);

	if (is_revoked(e->e_map))
		result = ENTER_REVOKED;
	while (result == ENTER_AGAIN && !t->pd_dead && pte_is_leaf(f, old, c->pc_level)) {
		const bool same = ((old ^ e->e_pte) & frame) == 0;
		const pt_entry_t pte_new = same ? merged_leaf(f, old, e->e_pte) : 0;

		if (pte_new != old && !pte_cas(w, &old, pte_new))
			continue;
		if ((pte_new & ~old & f->pf_wired) && e->e_spares != NULL) {
			const unsigned int n = pt_spares_needed(c->pc_level);

			pt_spares_move(&e->e_spares, &t->pd_spares, n);
			pmap_count(e->e_pm, PMAP_C_SPARES, n);
		}
		if (pte_new != old)
			pmap_leaf_changed(t, c->pc_index, old, pte_new, &e->e_gather);
		result = same ? ENTER_DONE : ENTER_BREAK;
	}
	host_unlock(&t->pd_lock);
	if (c->pc_level == 0)
		pt_mark_used(f, c->pc_above);
	return result;
}

/* Whether superpage `pte` says of the page in question what the mapping asks for, A and M aside. */
static bool
covered_by(const struct enter *e, pt_entry_t pte, unsigned int level)
{
	const struct pt_fmt *const f = &e->e_pm->pm_fmt;
	const struct pmap_mapping *const m = e->e_map;
	struct pmap_leaf leaf;

	pmap_leaf_of(e->e_pm, m->pa_gpa, pte, level, &leaf);
	return leaf.pl_hpa + (m->pa_gpa - leaf.pl_gpa) == m->pa_hpa && leaf.pl_prot == m->pa_prot &&
	       leaf.pl_memattr == m->pa_memattr && leaf.pl_wired == m->pa_wired &&
	       ((m->pa_access == 0) || (pte & f->pf_a)) &&
	       (!(m->pa_access & PMAP_PROT_W) || (pte & f->pf_m));
}

static enum attempt
attempt_enter(struct enter *e)
{
	const struct pt_fmt *const f = &e->e_pm->pm_fmt;
	const unsigned int level = e->e_map->pa_level;
	struct pt_cursor c;

	pt_cursor_seek(&c, e->e_pm, e->e_map->pa_gpa, level);
	if (pte_is_frozen(f, c.pc_pte))
		return ENTER_WAIT;
	if (!pte_is_valid(f, c.pc_pte))
		return c.pc_level == level ? install(e, &c) : install_chain(e, &c);
	if (c.pc_level > level)
		return covered_by(e, c.pc_pte, c.pc_level) ? ENTER_DONE : ENTER_SPLIT;
	return pte_is_leaf(f, c.pc_pte, level) ? replace_leaf(e, &c) : ENTER_CLEAR;
}

/* ---- The whole ------------------------------------------------------------------------------ */

/* Splits the superpage above the page that is to be entered, whatever its size. */
static int
split_above(struct enter *e)
{
	struct pmap_leaf leaf;
	int error = pmap_extract(e->e_pm, e->e_map->pa_gpa, &leaf);

	if (error == 0 && leaf.pl_level > e->e_map->pa_level)
		error = pmap_split(e->e_pm, e->e_map->pa_gpa, leaf.pl_level, false, &e->e_gather);
	return error == -ENOMEM ? error : 0;
}

/* Removes the smaller mappings where a superpage is to be entered; never a wired one. */
static int
clear_below(struct enter *e)
{
	const gpa_t gpa = e->e_map->pa_gpa;
	uint64_t kept;

	if (is_revoked(e->e_map))
		return -EAGAIN;
	pmap_remove_unwired(e->e_pm, gpa, gpa + pt_level_size(e->e_map->pa_level), &kept,
			    &e->e_gather);
	finish_now(&e->e_gather);
	return kept != 0 ? -EBUSY : 0;
}

static int
enter_loop(struct enter *e)
{
	struct pmap *const pm = e->e_pm;

	for (;;) {
		int error = 0;

		host_epoch_enter();
		const enum attempt result = attempt_enter(e);

		if (result == ENTER_WAIT)
			pmap_count(pm, PMAP_C_RESTARTS, 1);
		host_epoch_exit();

		switch (result) {
		case ENTER_DONE:
			return 0;
		case ENTER_NOMEM:
			return -ENOMEM;
		case ENTER_AGAIN:
			break;
		case ENTER_WAIT:
			host_relax();
			break;
		case ENTER_REVOKED:
			return -EAGAIN;
		case ENTER_CLEAR:
			error = clear_below(e);
			break;
		case ENTER_BREAK:
			finish_now(&e->e_gather);
			break;
		case ENTER_SPLIT:
			error = split_above(e);
			break;
		}
		if (error != 0)
			return error;
	}
}

/*
 * Whatever is there: the same, with all that it may take. Apart from the common case, which would
 * be slowed down by what this one needs on the stack.
 */
static __attribute__((__noinline__)) int
enter_anyhow(struct pmap *pm, const struct pmap_mapping *m, pt_entry_t pte, uint64_t wanted,
	     uint64_t *entered)
{
	struct enter e = {.e_pm = pm, .e_map = m, .e_pte = pte, .e_wanted = wanted, .e_entered = 1};
	int error;

	if (m->pa_wired && m->pa_level > 0 &&
	    !pt_spares_alloc(pm, pt_spares_needed(m->pa_level), &e.e_spares))
		return -ENOMEM;
	pmap_gather_begin(&e.e_gather, pm);
	error = enter_loop(&e);
	if (e.e_spares != NULL)
		pt_spares_free(e.e_spares);
	finish_now(&e.e_gather);
	if (entered != NULL)
		*entered = e.e_entered;
	return error;
}

/*
 * The leaf of a valid mapping, or as many as a table that must be built holds: then that is told by
 * *entered, unless it is NULL. What is there already counts.
 */
static int
enter_some(struct pmap *pm, const struct pmap_mapping *m, pt_entry_t pte, uint64_t wanted,
	   uint64_t *entered)
{
	if (is_revoked(m))
		return -EAGAIN;
	if (!enter_at_once(pm, m, pte))
		return enter_anyhow(pm, m, pte, wanted, entered);
	return is_revoked(m) ? take_back(pm, m) : 0;
}

int
pmap_enter(struct pmap *pm, const struct pmap_mapping *m)
{
	const int error = mapping_valid(pm, m);

	return error != 0 ? error : enter_some(pm, m, new_leaf(&pm->pm_fmt, m), 1, NULL);
}

/* The last leaf of a run must be as valid as the first, and no address wrap on the way to it. */
static int
run_valid(const struct pmap *pm, const struct pmap_mapping *m, uint64_t n)
{
	struct pmap_mapping last = *m;
	int error = mapping_valid(pm, m);

	if (error != 0 || n == 0)
		return error != 0 ? error : -EINVAL;
	if (n > pm->pm_fmt.pf_limit >> pt_level_shift(m->pa_level))
		return -EINVAL;
	last.pa_gpa += (n - 1) << pt_level_shift(m->pa_level);
	last.pa_hpa += (n - 1) << pt_level_shift(m->pa_level);
	return mapping_valid(pm, &last);
}

int
pmap_enter_run(struct pmap *pm, const struct pmap_mapping *m, uint64_t n, uint64_t *done)
{
	struct pmap_mapping next = *m;
	int error = run_valid(pm, m, n);

	*done = 0;
	while (error == 0 && *done < n) {
		/* The spares of wired superpages are had one by one. */
		const uint64_t wanted = m->pa_wired && m->pa_level > 0 ? 1 : n - *done;
		uint64_t entered = 1;

		error = enter_some(pm, &next, new_leaf(&pm->pm_fmt, &next), wanted, &entered);
		if (error == 0) {
			*done += entered;
			next.pa_gpa += entered << pt_level_shift(m->pa_level);
			next.pa_hpa += entered << pt_level_shift(m->pa_level);
		}
	}
	return error;
}
