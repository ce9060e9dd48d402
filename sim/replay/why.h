/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * When did a failure become likely? The run is begun as it was, up to some decision, and goes on
 * by chance: the programs do what they did, but who steps when, what hardware does and which faults
 * happen is drawn anew. How often that fails as the run did, by how much was kept, is a curve;
 * where it jumps is the decision that made the difference.
 */

#ifndef SIM_WHY_H
#define SIM_WHY_H

#include "sim/report/html.h"
#include "sim/replay/shrink.h"

#define WHY_POINTS_MAX 64

struct why {
	struct shrink wy_run; /* the run: its options, trace, time, and then its plan */
	uint32_t wy_tries;    /* at each point */
	void (*wy_tell)(void *arg, const struct why *wy); /* now and then; or NULL */
	void *wy_arg;

	/* Results. Points by ascending pt_x: decisions kept. */
	uint32_t wy_npoints;
	struct html_point wy_points[WHY_POINTS_MAX];
	uint32_t wy_decisive; /* the jump leads to this point; UINT32_MAX: there is none */
	uint64_t wy_runs;
	bool wy_exact; /* the jump is a single decision's */
};

/*
 * As shrink_run(); takes the run apart, then makes points until the largest jump between two is a
 * single decision's, or time is up.
 */
int why_run(struct why *wy);

/* Its share of failures at a point. */
double why_share(const struct html_point *pt);

#endif /* SIM_WHY_H */
