/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Scripts for differential tests: accesses of guests and operations of the host, drawn from a seed
 * before anything runs, so that several pmaps can be given exactly the same.
 */

#ifndef TESTS_UNIT_DIFF_SCRIPT_H
#define TESTS_UNIT_DIFF_SCRIPT_H

#include "pmap/pmap.h"

#define DIFF_PAGE HOST_PAGE_SIZE
#define DIFF_SUPER_PAGES 512u
#define DIFF_STEPS_MAX 64
#define DIFF_TOUCHES_MAX 6

/* Pages have numbers; those of a cluster are neighbors, and begin at a multiple of 64. */
#define DIFF_WORDS 11
#define DIFF_PAGES_MAX (64 * DIFF_WORDS)
#define DIFF_CLUSTERS 3

/* Behind the last page of the lower half, which every format can name. */
#define DIFF_TOP ((gpa_t)1 << 47)

struct diff_cluster {
	gpa_t dc_base;
	unsigned int dc_first;
	unsigned int dc_n;
};

/* Which pages there are: a few at the edges of tables, or 2 MiB in whole and some around. */
struct diff_map {
	struct diff_cluster dm_clusters[DIFF_CLUSTERS];
};
extern const struct diff_map diff_small;
extern const struct diff_map diff_tiny;	 /* so few that all meet there */
extern const struct diff_map diff_large; /* pages 0 .. 511 may be one superpage */

/* The page at gpa, or DIFF_PAGES_MAX if there is none. */
unsigned int diff_page_at(const struct diff_map *map, gpa_t gpa);
gpa_t diff_gpa(const struct diff_map *map, unsigned int page);

enum diff_op {
	DO_TOUCH,     /* a vCPU reads, writes, fetches */
	DO_REMOVE,    /* unmapped; faults bring pages back */
	DO_MOVE,      /* unmapped, and to another frame */
	DO_REPLACE,   /* another frame, by entering over the old one */
	DO_PROTECT,   /* rights taken away */
	DO_WIDEN,     /* all rights, in the owner's mind: faults bring them */
	DO_ENTER,     /* pages mapped ahead */
	DO_WIRE,      /* and wired */
	DO_UNWIRE,    /* */
	DO_CLEAN,     /* M collected into a bitmap */
	DO_CLEAR_M,   /* M collected by notes */
	DO_AGE,	      /* A collected into a bitmap */
	DO_AGE_COUNT, /* A counted */
	DO_IS_MODIFIED,
	DO_INVALIDATE,
	DO_DRAIN,
	DO_FILL,  /* all of pages 0 .. 511 alike, used and written */
	DO_SUPER, /* entered as one, if the owner has them alike */
	DO_PROMOTE,
	DO_DEMOTE,
	DO_COUNT,
};

struct diff_touch {
	unsigned int dt_page;
	unsigned int dt_access;
};

struct diff_step {
	enum diff_op ds_op;
	unsigned int ds_cpu;  /* where it runs */
	unsigned int ds_vcpu; /* DO_TOUCH */
	unsigned int ds_ntouches;
	struct diff_touch ds_touches[DIFF_TOUCHES_MAX];
	gpa_t ds_start; /* of a range; of a page for DO_PROMOTE and DO_DEMOTE */
	gpa_t ds_end;
	unsigned int ds_prot;
	unsigned int ds_access; /* of what is entered; 0: ahead of any use */
};

struct diff_script {
	uint64_t di_seed;
	const struct diff_map *di_map;
	unsigned int di_nsteps;
	struct diff_step di_steps[DIFF_STEPS_MAX];
};

/* What scripts are made of. */
struct diff_plan {
	const struct diff_map *dp_map;
	const uint8_t *dp_odds; /* by operation */
	unsigned int dp_nsteps;
	unsigned int dp_ncpus;
	unsigned int dp_nvcpus;
	bool dp_exec_only; /* rights may be taken down to X alone */
};

extern const uint8_t diff_odds_pages[DO_COUNT];
extern const uint8_t diff_odds_superpages[DO_COUNT];

void diff_script_draw(struct diff_script *s, uint64_t seed, const struct diff_plan *plan);

/* A step in a line, without a newline. */
void diff_step_text(const struct diff_step *st, const struct diff_map *map, char *text,
		    size_t bytes);
const char *diff_op_name(enum diff_op op);

#endif /* TESTS_UNIT_DIFF_SCRIPT_H */
