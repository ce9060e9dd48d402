/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the operations of the host share (hostop*.c): the pages that they work on, and how an
 * operation begins and ends for the oracles.
 *
 * Each operation takes its pages first, so that two never work on the same page as far as a ghost
 * is concerned; faults, promotions and the vCPUs keep going.
 */

#ifndef SIM_HOSTOP_H
#define SIM_HOSTOP_H

#include "sim/workload/world.h"

struct range {
	struct space *ra_space;
	gpa_t ra_start;
	gpa_t ra_end;
};

/* Calls fn for each page of the range that a map shows. */
typedef void page_fn(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg);
void hostop_pages(const struct range *ra, page_fn *fn, void *arg);

/* Waits until no other operation has any page of the range, and takes them; gives them back. */
void hostop_take(struct range *ra);
void hostop_give(struct range *ra);

/* One operation. ho_gather is for those that work on the tables directly. */
struct hostop {
	struct range ho_range;
	struct oracle_tlb_op ho_op;
	struct pmap_gather ho_gather;
};

/* Counts it, takes its pages, and begins it for the oracle of translations. */
void hostop_begin(struct hostop *ho, struct space *sp, gpa_t start, gpa_t end, enum world_count c);

/*
 * The same for one that takes M out of the tables, or a right to write, with nobody told. vmspace
 * does so only where a log that begins can see it; so the log is neither on its way nor moved.
 */
void hostop_begin_bare(struct hostop *ho, struct space *sp, gpa_t start, gpa_t end,
		       enum world_count c);

/* Removes all of the operation's pages but wired maps. */
void hostop_unmap(struct hostop *ho);

/* The shootdown of ho_gather, and its judgment. */
void hostop_flush(struct hostop *ho);

/* The judgment alone, where the gather was vmspace's own. */
void hostop_judge(struct hostop *ho);

/* Looks at the pages, and gives them back. */
void hostop_end(struct hostop *ho);
void hostop_end_bare(struct hostop *ho);

/* What never fails for a valid range: CK-API I41. */
void hostop_must(int error, const char *what);

/*
 * What may fail for lack of memory, or be interrupted, and has changed nothing then. True if it
 * was done. Any other error is CK-API I40.
 */
bool hostop_may(struct space *sp, int error, const char *what);

/* The map at an address, or the first one after it, or the first of all. Never NULL. */
struct region *hostop_region(struct space *sp, gpa_t gpa);

/* The end of a region. */
static inline gpa_t
region_end(const struct region *rg)
{
	return rg->rg_base + (gpa_t)rg->rg_npages * SIM_PAGE_SIZE;
}

#endif /* SIM_HOSTOP_H */
