/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the files of pmap/ share with each other and nobody else: the descriptor of a table page,
 * the pmap itself, its accounts, and the cursor.
 */

#ifndef PMAP_PMAP_PRIV_H
#define PMAP_PMAP_PRIV_H

#include "pmap/pmap.h"
#include "pmap/pte.h"

/* Lock ranks: tables from the root down, then the small locks of the pmap. */
#define PMAP_RANK_TABLE(level) (1 + PT_LEVELS_MAX - (level))
#define PMAP_RANK_SLOTS 10
#define PMAP_RANK_PENDING 11

/*
 * Descriptor of a table page; the host keeps it beside the page. pd_lock guards everything below it
 * except pd_words, which it guards as the protocol says (docs/PROTOCOL-TLB.md).
 *
 * One cache line where a lock takes no more than a word: that is what a table costs beside itself,
 * and a miss each time it is made or goes. So its two addresses are put together from what is here
 * (pt_page_hpa(), pt_page_gpa()), and what is on its way out has no stamps and no spares.
 */
struct pt_page {
	struct host_lock pd_lock;
	struct host_word *pd_words;
	struct pmap *pd_pmap;
	uint32_t pd_region_low; /* first address it maps, in units of what one of level 0 does */
	uint8_t pd_region_high;
	uint8_t pd_level;
	bool pd_dead;  /* unlinked: whoever waited for the lock starts over */
	bool pd_swept; /* linked, and A was cleared in its entries: pd_swept_gen is set */
	union {
		struct pt_page *pd_next; /* spares, chain, gather, limbo */
		uint64_t pd_swept_gen;	 /* the generation that completes that (pmap_quiet.c) */
	};
	union {
		struct { /* until it is dead */
			/* generation that completes the last restriction made here; 0: none */
			uint64_t pd_stamp;
			/* the same, of leaves that went with the tables unlinked from here */
			uint64_t pd_gone;
			/* tables kept to split this table's wired superpages */
			struct pt_page *pd_spares;
		};
		uint64_t pd_limbo_gen; /* limbo: generation that lets it go */
		struct host_epoch_item pd_epoch;
	};
};

_Static_assert(sizeof(struct pt_page) <= HOST_TABLE_DESC_BYTES,
	       "descriptor too large for the host");

/* Accounts, one set per CPU, so that a fault writes no shared line. */
enum pmap_counter {
	PMAP_C_LEAVES,					   /* three: by level */
	PMAP_C_WIRED = PMAP_C_LEAVES + PT_LEAF_LEVELS_MAX, /* in pages */
	PMAP_C_TABLES,
	PMAP_C_SPARES,
	PMAP_C_PROMOTIONS,
	PMAP_C_DEMOTIONS,
	PMAP_C_DEMOTION_FAILURES,
	PMAP_C_AD_EMULATIONS,
	PMAP_C_SPURIOUS,
	PMAP_C_SHOOTDOWNS,
	PMAP_C_MERGED,
	PMAP_C_ELIDED,
	PMAP_C_KICKS,
	PMAP_C_RESTARTS,
	PMAP_C_REVOKED,
	PMAP_COUNTERS,
};

/* The table of 4 KiB leaves that a CPU's last fault went to (pt_hint.h). */
struct pt_hint {
	struct host_word *ph_words; /* or NULL */
	uint64_t ph_region;	    /* what it maps, in units of that */
	uint64_t ph_begun;	    /* pm_unlinks_begun when it was found */
};

/* What is one CPU's: all that a fault writes but the entry itself. */
struct pmap_cpu {
	struct pt_hint pc_hint;
	struct host_word pc_word[PMAP_COUNTERS];
} __attribute__((aligned(64)));

/* Ranges of the last generations, for CPUs that flush page by page. */
#define PMAP_RANGES 8
struct pmap_gen_range {
	struct host_word gr_gen; /* written last; 0 while being written */
	struct host_word gr_start;
	struct host_word gr_end;
};

struct pmap {
	struct pt_fmt pm_fmt; /* first: its head is the hot line */
	struct pt_page *pm_root;
	unsigned int pm_flags;
	void (*pm_note)(void *arg, const struct pmap_leaf *leaf);
	void (*pm_backlog)(void *arg);
	void *pm_arg;

	/* The clock (pmap_tlb.c). */
	struct host_word pm_gen __attribute__((aligned(64)));
	struct host_word pm_completed __attribute__((aligned(64)));
	struct host_word pm_slots; /* first struct pmap_slot * */
	struct host_lock pm_slots_lock;

	struct host_lock pm_pending_lock; /* the rest */
	gpa_t pm_pending_start;		  /* to be flushed by the next generation */
	gpa_t pm_pending_end;
	struct pmap_gen_range pm_ranges[PMAP_RANGES];
	struct pt_page *pm_limbo; /* deferred, newest first */
	unsigned int pm_nlimbo;
	bool pm_backlogged;	 /* pc_backlog was called and pmap_drain() was not */
	uint64_t pm_backlog_gen; /* generation that completes all that was deferred; 0: nothing */
	struct host_word pm_unlinked_freed; /* of pm_unlinks_ended: given back */

	/* Tables that were ever about to leave the tree, and that have left it (pt_hint.h). */
	struct host_word pm_unlinks_begun __attribute__((aligned(64)));
	struct host_word pm_unlinks_ended;

	struct pmap_cpu pm_cpus[HOST_MAX_CPUS];
};

/* Both inside an epoch section. */
static inline struct pmap_cpu *
pmap_this_cpu(struct pmap *pm)
{
	return &pm->pm_cpus[host_cpu()];
}

static inline void
pmap_count(struct pmap *pm, unsigned int counter, uint64_t addend)
{
	host_count(&pmap_this_cpu(pm)->pc_word[counter], addend);
}

static inline bool
pmap_is_reference(const struct pmap *pm)
{
	return (pm->pm_flags & PMAP_REFERENCE) != 0;
}

static inline bool
pmap_bears_mixed_sizes(const struct pmap *pm)
{
	return (pm->pm_flags & PMAP_MIXED_SIZE_ERRATUM) == 0;
}

/* -EINVAL unless [start, end) is page aligned and within the space. */
static inline int
pmap_range_valid(const struct pmap *pm, gpa_t start, gpa_t end)
{
	if (((start | end) & (HOST_PAGE_SIZE - 1)) != 0 || start > end || end > pm->pm_fmt.pf_limit)
		return -EINVAL;
	return 0;
}

/* ---- Table pages (pt_page.c) ----------------------------------------------------------------- */

/* A table page for `level`, not linked, or NULL. Never with a table lock held. */
struct pt_page *pt_page_alloc(struct pmap *pm, unsigned int level, gpa_t gpa);
/* Gives back a page that was never linked. */
void pt_page_free_private(struct pt_page *t);
/* Gives back an unlinked page, after the flush, once no reader can still see it. */
void pt_page_free_after_epoch(struct pt_page *t);

/* Says which table it is: the one of `level` that covers gpa. While it is private. */
void pt_page_place(struct pt_page *t, unsigned int level, gpa_t gpa);

/* A list of `n` spares; all or none. Spares that one wired leaf of `level` must keep. */
bool pt_spares_alloc(struct pmap *pm, unsigned int n, struct pt_page **list);
void pt_spares_free(struct pt_page *list);
unsigned int pt_spares_needed(unsigned int level);
/* Moves n spares between the lists of locked tables (or a private list). */
void pt_spares_move(struct pt_page **from, struct pt_page **to, unsigned int n);

static inline struct pt_page *
pt_page_of(hpa_t hpa)
{
	return host_table_desc(hpa);
}

static inline hpa_t
pt_page_hpa(const struct pt_page *t)
{
	return host_table_hpa(t->pd_words);
}

/* The first address that a table maps, and the first behind that. */
static inline gpa_t
pt_page_gpa(const struct pt_page *t)
{
	return ((gpa_t)t->pd_region_high << 32 | t->pd_region_low) << pt_level_shift(1);
}

static inline gpa_t
pt_page_end(const struct pt_page *t)
{
	return pt_page_gpa(t) + (pt_level_size(t->pd_level) << 9);
}

/*
 * The words of the table that pte, the entry behind the one that leads to t, leads to, or else t's
 * own: to be brought near meanwhile, if the neighbor is next. A CPU knows nothing of tables, and
 * would wait for the first lines of each.
 */
static inline const struct host_word *
pt_neighbor_words(const struct pt_page *t, pt_entry_t pte)
{
	const struct pt_fmt *const f = &t->pd_pmap->pm_fmt;

	if (!pte_is_table(f, pte, t->pd_level + 1u))
		return t->pd_words;
	__builtin_prefetch(pt_page_of(pte_hpa(f, pte, 0)), 1);
	return host_table_words(pte_hpa(f, pte, 0));
}

#include "pmap/pt_cursor.h"
#include "pmap/pt_hint.h"

/* ---- Ranges (pmap_range.c) ------------------------------------------------------------------- */

/* What a visit of a table's entries found at the entry where it stopped. */
enum pt_visit {
	PT_VISIT_NEXT,	/* go on behind what was visited */
	PT_VISIT_SPLIT, /* a superpage that must be split first */
	PT_VISIT_WAIT,	/* a slot that somebody is about to refill */
};

#define PT_LINE_WORDS 8 /* entries of a cache line */

/* Which tables under one of level 1 a range passes over, since nobody went through them. */
struct pmap_quiet {
	gpa_t pq_swept; /* it is known up to there: those with a bit set are to be looked at */
	uint8_t pq_busy[HOST_TABLE_WORDS / PT_LINE_WORDS];
};

/*
 * One operation over a range. visit() is called with a table locked and a leaf of it that lies in
 * the range, and says what becomes of it. Whether one that reaches beyond the range (pr_partial)
 * must be split is visit()'s to say: splitting costs, and may unmap, so not for one that stays as
 * it is.
 */
struct pmap_range {
	struct pmap *pr_pm;
	gpa_t pr_start;
	gpa_t pr_end;
	struct pmap_gather *pr_gather;
	enum pt_visit (*pr_visit)(struct pmap_range *r, struct pt_page *t, unsigned int index,
				  pt_entry_t pte);
	/*
	 * The same for a line of 4 KiB leaves that has any of the bits pr_want, all of it in the
	 * range, none of it frozen; others are passed over. NULL, and 0: visit() for every leaf.
	 */
	void (*pr_line)(struct pmap_range *r, struct pt_page *t, unsigned int index);
	pt_entry_t pr_want;
	const struct host_word *pr_near; /* lines of the table that is next, to be brought near */
	pt_entry_t pr_clear;		 /* pmap_lines_clear(): what those leaves lose */
	pt_entry_t pr_dense;		 /* what all eight must have to lose it by plain stores */
	bool pr_tells;			 /* pc_note is to learn of each M that goes */
	/* For the leaf of `level` at gpa, to be split and removed instead. May be NULL. */
	void (*pr_removed)(struct pmap_range *r, gpa_t gpa, unsigned int level);
	bool pr_unlinks;	  /* wholly covered tables go, with all they hold */
	bool pr_partial;	  /* the leaf being visited reaches beyond the range */
	bool pr_keep_wired;	  /* pass over wired leaves, and count them */
	bool pr_lax;		  /* content with what is true once pending flushes are done */
	bool pr_stored;		  /* plain stores were made in the table that is locked */
	enum pt_change pr_change; /* the strongest that lines of it have had */
	unsigned int pr_prot;
	unsigned int pr_how;
	struct pmap_quiet *pr_quiet; /* NULL: it looks at all tables */
	uint64_t *pr_bitmap;
	uint64_t pr_found;
};

void pmap_range_run(struct pmap_range *r);

/* Whether the range covers all that a table could map. */
static inline bool
pmap_range_covers(const struct pmap_range *r, const struct pt_page *t)
{
	return r->pr_start <= pt_page_gpa(t) && pt_page_end(t) <= r->pr_end;
}

/* ---- Lines (pmap_line.c) --------------------------------------------------------------------- */

struct pt_line {
	pt_entry_t pl_pte[PT_LINE_WORDS];
	pt_entry_t pl_any; /* bits that any of them has */
	pt_entry_t pl_all; /* bits that each of them has */
};

/* Spelled out, since only then compilers keep it in registers. */
static inline struct pt_line
pt_line_load(const struct host_word *w)
{
	struct pt_line l = {
		.pl_pte = {pte_load(w), pte_load(w + 1), pte_load(w + 2), pte_load(w + 3),
			   pte_load(w + 4), pte_load(w + 5), pte_load(w + 6), pte_load(w + 7)},
	};

	l.pl_any = l.pl_pte[0] | l.pl_pte[1] | l.pl_pte[2] | l.pl_pte[3] | l.pl_pte[4] |
		   l.pl_pte[5] | l.pl_pte[6] | l.pl_pte[7];
	l.pl_all = l.pl_pte[0] & l.pl_pte[1] & l.pl_pte[2] & l.pl_pte[3] & l.pl_pte[4] &
		   l.pl_pte[5] & l.pl_pte[6] & l.pl_pte[7];
	return l;
}

/*
 * What a range does with lines in which a leaf has any of the bits `want`; with others it has
 * nothing to do. By a function of its own; or the leaves that have one of the bits are reported; or
 * that, and they lose the bits `clear`, of which pc_note is told if it is to be.
 */
void pmap_lines_by(struct pmap_range *r, pt_entry_t want,
		   void (*line)(struct pmap_range *r, struct pt_page *t, unsigned int index));
void pmap_lines_peek(struct pmap_range *r, pt_entry_t want);
void pmap_lines_clear(struct pmap_range *r, pt_entry_t want, pt_entry_t clear, bool tells);
/*
 * Goes over whole lines of locked table t of 4 KiB leaves, from gpa on, and returns where the first
 * begins that is not there whole, or needs a look at each of its entries.
 */
gpa_t pmap_lines_visit(struct pmap_range *r, struct pt_page *t, gpa_t gpa, gpa_t stop);

/* Removes what is not wired in a valid range; *kept is the number of wired leaves passed over. */
void pmap_remove_unwired(struct pmap *pm, gpa_t start, gpa_t end, uint64_t *kept,
			 struct pmap_gather *g);

/* ---- Quiet tables (pmap_quiet.c) ------------------------------------------------------------- */

/*
 * c is where the range has come to, at gpa, in a table of 4 KiB leaves: how far the tables from
 * there on are quiet. gpa if that one is not. In an epoch section.
 */
gpa_t pmap_quiet_until(struct pmap_range *r, const struct pt_cursor *c, gpa_t gpa);

/* ---- Unlinking (pmap_unlink.c) --------------------------------------------------------------- */

/*
 * Takes table t, which the range covers, out of the tree with all leaves that it holds. False if t
 * is not what it was, or holds what must stay: child tables, wired leaves that the range passes
 * over.
 */
bool pmap_unlink(struct pmap_range *r, struct pt_page *parent, struct pt_page *t);
/* All up to gpa is done: upper tables that end there, and that the range covers, go too. */
void pmap_unlink_finished(struct pmap_range *r, gpa_t gpa);

/* ---- Leaves: accounts and shootdown in one place (pmap.c) ------------------------------------ */

/* n leaves like pte appeared; (uint64_t)-1: one went. In an epoch section. */
static inline void
pmap_account_leaves(struct pmap *pm, pt_entry_t pte, unsigned int level, uint64_t n)
{
	pmap_count(pm, PMAP_C_LEAVES + level, n);
	if (pte & pm->pm_fmt.pf_wired)
		pmap_count(pm, PMAP_C_WIRED, n << 9 * level);
}

/* Fills *leaf from an entry. */
void pmap_leaf_of(const struct pmap *pm, gpa_t gpa, pt_entry_t pte, unsigned int level,
		  struct pmap_leaf *leaf);

/*
 * The entry at `index` of a locked table was changed from old to new by an atomic operation: notes
 * what is lost of A and M, moves the accounts, and gathers the flush that this takes.
 */
void pmap_leaf_changed(struct pt_page *t, unsigned int index, pt_entry_t old, pt_entry_t pte_new,
		       struct pmap_gather *g);
/* Tells the owner what of A and M the change loses. Its first half. */
void pmap_leaf_lost(const struct pt_page *t, unsigned int index, pt_entry_t old,
		    pt_entry_t pte_new);
/* Gathers what changes of that kind in [gpa, gpa + len) of a locked table take. */
void pmap_change_gather(struct pt_page *t, gpa_t gpa, uint64_t len, enum pt_change kind,
			struct pmap_gather *g);
/* The same, but the owner learns of A and M by other means (a bitmap, a count). */
void pmap_leaf_settled(struct pt_page *t, unsigned int index, pt_entry_t old, pt_entry_t pte_new,
		       struct pmap_gather *g);

/* ---- Superpages (pmap_super.c) --------------------------------------------------------------- */

/*
 * Splits the leaf at gpa in table t (seen there without a lock) by a table, a spare if it is wired,
 * or removes it whole. Outside locks and epoch sections. may_remove = false: -ENOMEM instead.
 */
int pmap_split(struct pmap *pm, gpa_t gpa, unsigned int level, bool may_remove,
	       struct pmap_gather *g);

/* ---- The clock (pmap_tlb.c) ------------------------------------------------------------------ */

void pmap_tlb_init(struct pmap *pm, uint64_t generation);

/* Gathers a flush of [gpa, gpa + len). */
void pmap_gather_add(struct pmap_gather *g, gpa_t gpa, uint64_t len);
/* Gathers an unlinked table: to be freed after a flush. */
void pmap_gather_table(struct pmap_gather *g, struct pt_page *t);

/*
 * A restriction of [gpa, gpa + len) was just made in locked table t: stamps the table with the
 * generation that completes it.
 */
void pmap_stamp(struct pt_page *t, gpa_t gpa, uint64_t len);
/* The generation that completes what locked operations have done up to now. */
uint64_t pmap_gen_due(const struct pmap *pm);
/* Whether it is not complete yet. 0 is. */
bool pmap_gen_pending(const struct pmap *pm, uint64_t gen);
/* Whether a restriction made in locked table t may still be cached around. */
bool pmap_stamp_pending(const struct pt_page *t);
/*
 * t was unlinked from `parent`, both locked; a chain of new tables is about to be linked there, the
 * list of which begins with `chain`. Leaves of the old one may be cached until its stamp is
 * complete, and whoever finds nothing in the new ones must know.
 */
void pmap_stamp_unlinked(struct pt_page *parent, const struct pt_page *t);
void pmap_stamp_inherit(const struct pt_page *parent, struct pt_page *chain);

#endif /* PMAP_PMAP_PRIV_H */
