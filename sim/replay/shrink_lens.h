/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Lenses: through each, shrinking sees one kind of thing that may be left out of a plan, or made
 * duller: operations, steps of agents, switches, answers, faults.
 */

#ifndef SIM_SHRINK_LENS_H
#define SIM_SHRINK_LENS_H

#include "sim/replay/plan.h"

struct lens {
	uint32_t (*ln_count)(const struct plan *pl);
	bool (*ln_may)(const struct plan *pl, uint32_t i);
	void (*ln_mark)(struct plan *pl, uint32_t i, bool on);
	bool ln_single; /* one at a time: each stands for many */
	bool ln_agents; /* to be looked through once for each agent */
};

#define LENS_COUNT 10
#define LENS_REORDERED 3

extern const struct lens lens_all[LENS_COUNT];
extern const struct lens *const lens_reordered[LENS_REORDERED]; /* for another order, another aim */
extern unsigned int lens_agent;					/* the one that is looked at */

/* Marks up to `chunk` of what the lens shows, from its i-th on; how many there were. */
uint32_t lens_mark(struct plan *pl, const struct lens *ln, uint32_t i, uint32_t chunk, bool on);

/* How much the lens shows. */
uint32_t lens_shown(const struct plan *pl, const struct lens *ln);

#endif /* SIM_SHRINK_LENS_H */
