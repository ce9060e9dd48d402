/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Page-table entries: the only way to read or write one, and what their values mean.
 *
 * A published entry may be changed by hardware at any moment (A and D), so it changes by single
 * atomic operations only, and whoever changes one decides by the value that the operation returned.
 * pte_store_over() is the one exception; its comment says why it may be.
 */

#ifndef PMAP_PTE_H
#define PMAP_PTE_H

#include "pmap/pt_fmt.h"

/* ---- Access --------------------------------------------------------------------------------- */

static inline pt_entry_t
pte_load(const struct host_word *w)
{
	return host_load(w);
}

/* For going down: what the entry points to is seen as it was before the entry was published. */
static inline pt_entry_t
pte_load_acquire(const struct host_word *w)
{
	return host_load_acquire(w);
}

static inline pt_entry_t
pte_xchg(struct host_word *w, pt_entry_t pte_new)
{
	return host_xchg(w, pte_new);
}

static inline bool
pte_cas(struct host_word *w, pt_entry_t *old, pt_entry_t pte_new)
{
	return host_cas(w, old, pte_new);
}

/* Clears bits; returns what the entry held. */
static inline pt_entry_t
pte_clear_bits(struct host_word *w, pt_entry_t bits)
{
	return host_fetch_and(w, ~bits);
}

/* Whether hardware, and who does its work, have nothing left to set in a leaf. */
static inline bool
pte_is_settled(const struct pt_fmt *f, pt_entry_t pte)
{
	return (pte & f->pf_a) != 0 && ((pte & f->pf_m) != 0 || !(pte & f->pf_rw));
}

/*
 * Replaces a leaf by a plain store: one that was read as `old` and is settled, under its table's
 * lock. Hardware has nothing to set in it, the lock keeps software writers away, and the lock-free
 * A/D fix-up finds nothing to do: no one can write between our load and our store.
 */
static inline void
pte_store_over(struct host_word *w, pt_entry_t old, pt_entry_t pte_new, const struct pt_fmt *f)
{
	HOST_ASSERT(pte_is_settled(f, old));
	host_store(w, pte_new);
}

/* ---- What an entry says --------------------------------------------------------------------- */

static inline bool
pte_is_valid(const struct pt_fmt *f, pt_entry_t pte)
{
	return (pte & f->pf_valid) != 0;
}

static inline bool
pte_is_leaf(const struct pt_fmt *f, pt_entry_t pte, unsigned int level)
{
	return pte_is_valid(f, pte) && (level == 0 || (pte & f->pf_ps) != 0);
}

static inline bool
pte_is_table(const struct pt_fmt *f, pt_entry_t pte, unsigned int level)
{
	return pte_is_valid(f, pte) && level > 0 && !(pte & f->pf_ps);
}

static inline bool
pte_is_frozen(const struct pt_fmt *f, pt_entry_t pte)
{
	return pte == f->pf_frozen;
}

/* The frame a leaf maps; with level 0 also the table that a non-leaf entry points to. */
static inline hpa_t
pte_hpa(const struct pt_fmt *f, pt_entry_t pte, unsigned int level)
{
	return pte & f->pf_addr & ~(pt_level_size(level) - 1);
}

static inline unsigned int
pte_prot(const struct pt_fmt *f, pt_entry_t pte)
{
	return ((pte & f->pf_r) ? PMAP_PROT_R : 0) | ((pte & f->pf_rw) ? PMAP_PROT_W : 0) |
	       ((pte & f->pf_x_mask) == f->pf_x_val ? PMAP_PROT_X : 0);
}

static inline enum pt_memattr
pte_memattr(const struct pt_fmt *f, pt_entry_t pte, unsigned int level)
{
	const bool large = level > 0;
	unsigned int ma = 0;

	while (ma < PT_MEMATTR_COUNT - 1 &&
	       (pte & f->pf_memattr_mask[large]) != f->pf_memattr[large][ma])
		ma++;
	return (enum pt_memattr)ma;
}

/* ---- New values ----------------------------------------------------------------------------- */

/* A leaf with A and M clear. prot and memattr must be expressible, hpa aligned and within reach. */
static inline pt_entry_t
pte_leaf(const struct pt_fmt *f, hpa_t hpa, unsigned int prot, unsigned int level,
	 enum pt_memattr memattr)
{
	return hpa | f->pf_new_leaf[level][memattr][prot];
}

static inline pt_entry_t
pte_table(const struct pt_fmt *f, hpa_t table)
{
	return table | f->pf_table;
}

/* With emulated A/D, hardware's read and execute rights appear together with A. */
static inline pt_entry_t
pte_set_accessed(const struct pt_fmt *f, pt_entry_t pte)
{
	return pte | f->pf_a | ((pte & f->pf_x_mask) == f->pf_x_val ? f->pf_hw_x : 0);
}

static inline pt_entry_t
pte_set_modified(const struct pt_fmt *f, pt_entry_t pte)
{
	return pte_set_accessed(f, pte) | f->pf_m;
}

/* The same leaf with other rights: keeps A, and M as long as it stays writable. */
static inline pt_entry_t
pte_reprot(const struct pt_fmt *f, pt_entry_t pte, unsigned int prot)
{
	const pt_entry_t rights = f->pf_r | f->pf_rw | f->pf_x_mask | f->pf_hw_x;
	const pt_entry_t keep = (prot & PMAP_PROT_W) ? rights : rights | f->pf_m;
	const pt_entry_t a = pte & f->pf_a;
	pt_entry_t pte_new = (pte & ~keep) | f->pf_prot[prot];

	if (a)
		pte_new = pte_set_accessed(f, pte_new);
	return pte_new;
}

/* The first of the 512 smaller leaves that say what a leaf of `level` says. */
static inline pt_entry_t
pte_demoted(const struct pt_fmt *f, pt_entry_t pte, unsigned int level)
{
	const enum pt_memattr ma = pte_memattr(f, pte, level);

	return (pte & ~(f->pf_ps | f->pf_memattr_mask[1])) | f->pf_memattr[level > 1][ma] |
	       (level > 1 ? f->pf_ps : 0);
}

/* The leaf of `level` that says what its first of 512 smaller leaves says. */
static inline pt_entry_t
pte_promoted(const struct pt_fmt *f, pt_entry_t pte, unsigned int level)
{
	const enum pt_memattr ma = pte_memattr(f, pte, level - 1);

	return (pte & ~f->pf_memattr_mask[level > 1]) | f->pf_memattr[1][ma] | f->pf_ps;
}

/* A writable superpage that is clean cannot exist: its first write could be seen by no one. */
static inline bool
pte_is_clean_superpage(const struct pt_fmt *f, pt_entry_t pte, unsigned int level)
{
	return level > 0 && (pte & (f->pf_rw | f->pf_m)) == f->pf_rw;
}

#endif /* PMAP_PTE_H */
