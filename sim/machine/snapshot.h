/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The state of a run after its set-up, saved once and put back in microseconds: whoever runs the
 * same scenario a million times, with another schedule each time, sets it up once.
 *
 * What is saved: the machine with its CPUs, memory, devices and heap; the hardware's caches; the
 * oracles; and what the caller names, which is where its own structures lie outside of sim_alloc().
 * What is not: stacks, since in the driver's context no program is under way; and counters that
 * nobody decides by, which go on counting.
 */

#ifndef SIM_SNAPSHOT_H
#define SIM_SNAPSHOT_H

#include "sim/machine/machine.h"

/* Memory of the caller's that belongs to the state, or, if it goes on counting, does not. */
struct sim_region {
	void *rg_at;
	size_t rg_bytes;
	bool rg_counts;
};

struct sim_snapshot;

/*
 * Saves the state of the machine of this process, in the driver's context. NULL, with a sentence in
 * why[], if memory is short, or the machine is in no state to be saved: after a violation, or
 * with requests of a disk under way.
 */
struct sim_snapshot *sim_save(const struct sim_region *regions, unsigned int n, char *why,
			      size_t why_bytes);

/*
 * Puts the state back, whatever has happened to the machine since, a violation included; programs
 * that have not returned are abandoned. Any number of times. The machine is to be the one that was
 * saved.
 */
void sim_restore(const struct sim_snapshot *s);

/*
 * A value, never 0, of the state that a run from here has left, in the driver's context: equal
 * states have equal values, bit for bit. What of the state follows from when things were done, and
 * not from what, is no part of it: clocks, counters, the generator of choices. Within one process.
 */
uint64_t sim_state_value(const struct sim_snapshot *s);

/* Whether this state has been noted: what is to be done with it has been done, and went well. */
bool sim_state_known(const struct sim_snapshot *s, uint64_t value);
void sim_state_note(struct sim_snapshot *s, uint64_t value);

/* How much a restore copies. */
size_t sim_snapshot_bytes(const struct sim_snapshot *s);

void sim_snapshot_free(struct sim_snapshot *s);

/*
 * From here on choices come from elsewhere: sc_source, sc_seed, sc_list (from its beginning),
 * sc_call and the like of *cfg. A restore does not undo that; but it takes the generator, and the
 * place in a list, back to where they were, so whoever wants another run does this after it. What
 * is recorded goes on. In the driver's context.
 */
void sim_choose_from(const struct sim_config *cfg);

#endif /* SIM_SNAPSHOT_H */
