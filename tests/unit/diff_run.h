/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One script on several pmaps, step by step: no step begins before the one before it has ended on
 * every pmap. The owner decides once, the same for all, frames included.
 */

#ifndef TESTS_UNIT_DIFF_RUN_H
#define TESTS_UNIT_DIFF_RUN_H

#include "tests/unit/diff_script.h"
#include "tests/unit/twin.h"

/* What the owner has decided about a page. */
struct diff_page {
	hpa_t gp_frames[2];
	unsigned int gp_which; /* of them */
	unsigned int gp_prot;
	enum pt_memattr gp_memattr;
	bool gp_wired;
};

/* What a step gave on one pmap, and how things stand there after it. */
struct diff_state {
	int st_error; /* of the operation; of many, all in one number */
	uint64_t st_found;
	uint64_t st_bitmap[DIFF_WORDS];	      /* of what was collected, by page */
	uint64_t st_noted_a[DIFF_WORDS];      /* by notes */
	uint64_t st_noted_m[DIFF_WORDS];      /* */
	int st_touch_error[DIFF_TOUCHES_MAX]; /* 0, or why the access was given up */
	hpa_t st_touch_hpa[DIFF_TOUCHES_MAX]; /* the frame that it reached */
	uint64_t st_a[DIFF_WORDS];	      /* as a harvest that only looks tells */
	uint64_t st_m[DIFF_WORDS];	      /* */
	struct pmap_stats st_stats;

	uint64_t st_written[DIFF_WORDS]; /* by accesses, or entered so */
	uint64_t st_used[DIFF_WORDS];	 /* by accesses */

	/* Kept over steps: pages written and not reported since. */
	uint64_t st_owed[DIFF_WORDS];
	/* Likewise: M that went with A where they cannot part, and was noted then. */
	uint64_t st_aged[DIFF_WORDS];

	/* Of each page looked at; pl_prot 0: not mapped. */
	struct pmap_leaf st_leaf[DIFF_PAGES_MAX];
};

struct diff_run {
	const struct diff_script *dr_script;
	struct rig dr_rig;
	struct diff_page dr_pages[DIFF_PAGES_MAX];
	struct diff_state dr_states[TWINS_MAX];
	unsigned int dr_step;
	unsigned int dr_touch; /* within DO_TOUCH, of the twin that runs */
	struct twin *dr_twin;

	/* Holds the states against each other after each step: in the driver. */
	void (*dr_compare)(struct diff_run *run);
};

/* Which twins, on what. */
struct diff_setup {
	struct twin_cpus du_cpus;
	bool du_speculation;
	void (*du_open)(struct rig *r); /* opens them: in the driver */
};

/*
 * Runs a script from end to end, destruction and the search for leaks included; false with a
 * sentence in why[], and *at the step that failed.
 */
bool diff_run(struct diff_run *run, const struct diff_script *s, const struct diff_setup *setup,
	      char *why, size_t why_bytes, unsigned int *at);

/* Whether the state after this step tells of a page in full: each if few, else some in turn. */
bool diff_looks_at(const struct diff_run *run, unsigned int page);

static inline void
diff_set_bit(uint64_t *bits, unsigned int page)
{
	bits[page / 64] |= (uint64_t)1 << page % 64;
}

static inline bool
diff_bit(const uint64_t *bits, unsigned int page)
{
	return (bits[page / 64] >> page % 64 & 1) != 0;
}

#endif /* TESTS_UNIT_DIFF_RUN_H */
