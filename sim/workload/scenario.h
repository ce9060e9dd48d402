/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Scenarios: which operations CPUs choose among, how often, and on what kind of spaces. */

#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "sim/workload/world.h"

enum op {
	OP_RUN, /* a vCPU or a thread */
	OP_REMOVE,
	OP_MIGRATE,
	OP_DISCARD,
	OP_PROTECT,
	OP_WIDEN,
	OP_CLEAN,
	OP_LOG,
	OP_CLEAR_MODIFY,
	OP_AGE,
	OP_REFERENCED,
	OP_PEEK,
	OP_PROMOTE,
	OP_DEMOTE,
	OP_PREFAULT,
	OP_WIRE,
	OP_UNWIRE,
	OP_EXTRACT,
	OP_INVALIDATE,
	OP_DRAIN,
	OP_MISUSE,
	OP_RECREATE,
	OP_OFFLINE,
	OP_HOLD,
	OP_HOLD_SEG,
	OP_TOUCH,
	OP_RELEASE,
	OP_COPY,
	OP_PAGEOUT,
	OP_MOVE_MAP,
	OP_MANY_MAPS,
	OP_RESET,
	OP_NEW_SEG,
	OP_ATTACH,
	OP_DETACH,
	OP_LOG_BACK,
	OP_NX,
	OP_HOSTILE,
	OP_QUIET,
	OP_SPLIT_WIRED,
	OP_SWEEP,
	OP_REJOIN,
	OP_GRANT,
	OP_MOVE_WINDOW,
	OP_TRAITS, /* from here on: in worlds with the trait alone */
	OP_ENTER_RUN = OP_TRAITS,
	OP_COUNT,
};

/* What a scenario's spaces are made of. */
enum scale {
	SCALE_FULL,  /* a page table of every size, thousands of pages */
	SCALE_SMALL, /* no superpages */
	SCALE_TINY,  /* one guest, a handful of pages */
	SCALE_MIXED, /* by the seed: seldom full, mostly small */
};

struct scenario {
	struct sim_scenario_info sn_info;
	uint32_t sn_weights[OP_COUNT];
	bool sn_guests_only; /* no process, no kernel */
	enum scale sn_scale;
	bool sn_every_run; /* promises that every counter is exercised over many seeds */
	bool sn_no_tables; /* in half of the seeds a table is often not to be had */
	bool sn_fill;	   /* one 2 MiB is mapped page by page from the beginning */
	bool sn_log;	   /* dirty logs are on from the beginning */
	bool sn_whole;	   /* M is collected from whole tables, mostly */
	bool sn_stalls;	   /* CPUs stand still for long, wherever they are */
	bool sn_hot;	   /* most goes where somebody has just been at work */
	bool sn_window;	   /* a device's window, however small the world is */
	bool sn_reads;	   /* guests mostly read, and seldom leave */
	bool sn_runs;	   /* a device's window across the end of a table */
	bool sn_swarm;	   /* each seed draws a scenario of its own from this one */
	bool sn_even;	   /* and makes no difference between what is rare and what is not */
};

/* What an operation does; NULL for those that are of no space. */
extern hostop_fn *const scenario_ops[OP_COUNT];

/* What people call it. */
extern const char *const scenario_op_names[OP_COUNT];

/*
 * The scenario that a seed of *from stands for. It depends on the seed alone, and takes no choice
 * of the run.
 */
void scenario_draw(const struct scenario *from, uint64_t seed, struct scenario *out);

/*
 * The names of the traits that the seed's scenario has, one with each call: *at is 0 before the
 * first. NULL: no more.
 */
const char *scenario_trait(const struct scenario *from, uint64_t seed, unsigned int *at);

/* By name; NULL: the random workload. NULL if there is none of that name. */
const struct scenario *scenario_find(const char *name);

#endif /* SIM_SCENARIO_H */
