/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One experiment on the machine of costs: N CPUs run guests, some others unmap pages, under one
 * scheme. What comes out is the initiators' latency and what the guests lost by it.
 */

#ifndef BENCH_COST_COST_RUN_H
#define BENCH_COST_COST_RUN_H

#include "bench/cost/cost.h"
#include "bench/hist.h"
#include "bench/inv.h"

struct cost_setup {
	const struct inv_scheme *cs_scheme;
	const struct cost_model *cs_model;
	unsigned int cs_vcpus;	    /* CPUs 0 .. run guests */
	unsigned int cs_initiators; /* the CPUs after them unmap */
	unsigned int cs_pages;	    /* of each gather */
	unsigned int cs_gathers;    /* of each initiator */
	unsigned int cs_in_guest;   /* percent of time */
};

struct cost_result {
	struct hist cr_latency; /* ns, begin to finish */
	struct inv_counts cr_counts;
	struct cost_totals cr_totals;
	uint64_t cr_elapsed_ns;
	uint64_t cr_stolen_ns; /* from guests and from the host's other work, all CPUs together */
	uint64_t cr_held_most; /* gathers whose frames waited, at most, of one initiator */
	uint64_t cr_stale;     /* gathers after which a CPU could still use what was unmapped */
};

/* 0, -ENOMEM, or -EINVAL for more CPUs than there are. */
int cost_run(const struct cost_setup *setup, struct cost_result *r);

#endif /* BENCH_COST_COST_RUN_H */
