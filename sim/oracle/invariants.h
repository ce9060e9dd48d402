/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The invariants that the simulator establishes, by number, and how often each was evaluated. A
 * checker calls sim_invariant_hit() each time it has really compared something; a check that is
 * never reached thereby shows as a zero in the summary, and fails a run that promised it.
 */

#ifndef SIM_INVARIANTS_H
#define SIM_INVARIANTS_H

#include <stdbool.h>
#include <stdint.h>

/* Numbered as in docs/INVARIANTS.md; there is no I00. */
enum sim_invariant {
	SIM_I01 = 1,
	SIM_I02,
	SIM_I03,
	SIM_I04,
	SIM_I05,
	SIM_I06,
	SIM_I07,
	SIM_I08,
	SIM_I09,
	SIM_I10,
	SIM_I11,
	SIM_I12,
	SIM_I13,
	SIM_I14,
	SIM_I15,
	SIM_I16,
	SIM_I17,
	SIM_I18,
	SIM_I19,
	SIM_I20,
	SIM_I21,
	SIM_I22,
	SIM_I23,
	SIM_I24,
	SIM_I25,
	SIM_I26,
	SIM_I27,
	SIM_I28,
	SIM_I29,
	SIM_I30,
	SIM_I31,
	SIM_I32,
	SIM_I33,
	SIM_I34,
	SIM_I35,
	SIM_I36,
	SIM_I37,
	SIM_I38,
	SIM_I39,
	SIM_I40,
	SIM_I41,
	SIM_I42,
	SIM_I43,
	SIM_I44,
	SIM_I45,
	SIM_I46,
	SIM_I47,
	SIM_I48,
	SIM_INVARIANT_END,
};

/* Which part of skep an invariant speaks about. */
enum sim_invariant_layer {
	SIM_LAYER_CORE,	   /* page tables and shootdown: checked */
	SIM_LAYER_VMSPACE, /* guest address spaces, devices, IOMMU: checked */
	SIM_LAYER_TOOL,	   /* the simulator itself: checked on demand */
};

struct sim_invariant_info {
	const char *id;	   /* "I14" */
	const char *check; /* the mechanism that finds a violation, "CK-TLB" */
	const char *title; /* in plain words, one sentence without its full stop */
	enum sim_invariant_layer layer;
	unsigned int arch_set; /* page-table types it can be evaluated on; 1 << enum sim_arch */
};

/* NULL if i is not one of the numbers above. */
const struct sim_invariant_info *sim_invariant(unsigned int i);

/* By its id; NULL if there is none of that name. */
const struct sim_invariant_info *sim_invariant_by_id(const char *id);

/* Counts one evaluation. Not a scheduling point. */
extern uint64_t sim_invariant_hits[SIM_INVARIANT_END];

static inline void
sim_invariant_hit(enum sim_invariant i)
{
	sim_invariant_hits[i]++;
}

/* Forgets all counts: the start of a run. */
void sim_invariants_reset(void);

#endif /* SIM_INVARIANTS_H */
