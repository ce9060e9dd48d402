/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the random workload and the replay of traces share: a machine's run from end to end. */

#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "sim/workload/world.h"

#define WORKLOAD_VCPUS_MAX 16

/* A run in three parts; the first and the last in the driver's context, the second on every CPU. */
struct workload_parts {
	void (*wp_set_up)(void *arg);
	void (*wp_program)(void *arg);
	void (*wp_tear_down)(void *arg);
	void *wp_arg; /* the world is in it; what else is not in sim_alloc(), too */
	size_t wp_arg_bytes;
	const struct hw_config *wp_hw; /* or NULL: as usual */
};

/* A number that depends on the seed alone, for what is fixed before the first choice. */
uint64_t workload_hash(uint64_t seed, uint64_t salt);

/* A machine as the options ask for, without injected faults. */
void workload_machine_config(const struct sim_options *o, struct sim_config *cfg);

/*
 * The CPU model for a type of tables: the one asked for, else one chosen by the seed. NULL: none.
 */
const struct ept_profile *workload_profile(const struct sim_options *o, enum sim_arch arch);

/* Adds a space of a type, on the CPU model that the options ask for; user space if it is PT_X86. */
int workload_add_guest(struct world *w, enum sim_arch arch, const char *name, unsigned int nvcpus,
		       struct space **out);

/*
 * Makes machine, hardware, oracle and an empty world, runs the parts, looks for leaks, takes all
 * down again, and fills in *out. required: every kind of operation must occur over many seeds. 0,
 * or a negative errno with a sentence in out->message if there was no run.
 */
int workload_run(const struct sim_options *o, const struct sim_config *cfg, struct world *w,
		 const struct workload_parts *parts, bool required, struct sim_outcome *out);

/*
 * Everything after the set-up, as often as the options ask for schedules, to the first that does
 * not pass; 0, or a negative errno with a sentence in out->message.
 */
int workload_schedules(const struct sim_config *cfg, struct world *w,
		       const struct workload_parts *parts, struct sim_report *report,
		       struct sim_outcome *out);

/*
 * A snapshot of a world in the driver's context, whose structure is part of the caller's [at, at +
 * bytes). NULL with a sentence in why[].
 */
struct sim_snapshot *workload_save(struct world *w, void *at, size_t bytes, char *why,
				   size_t why_bytes);

#endif /* SIM_WORKLOAD_H */
