/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Shootdowns with threads as CPUs: what is set up, and what comes out.
 *
 * "In the guest" is a loop that leaves when it was kicked: because it polls a flag, or because a
 * signal came. Beside each latency stands the bare round trip of the very same kick, on the same
 * threads: nothing that kicks can be faster.
 */

#ifndef BENCH_INV_RUN_H
#define BENCH_INV_RUN_H

#include "bench/crew.h"
#include "bench/hist.h"
#include "bench/inv.h"

enum inv_kick_kind {
	INV_POLLED,
	INV_SIGNAL,
};

struct inv_setup {
	const struct inv_scheme *iu_scheme; /* NULL: no scheme, the bare round trip */
	enum pt_type iu_type;
	bool iu_emulate_ad;
	enum inv_kick_kind iu_kick;
	unsigned int iu_vcpus;	    /* the crew's first members */
	unsigned int iu_initiators; /* the caller, and members after those */
	unsigned int iu_pages;	    /* of a gather */
	unsigned int iu_block;	    /* gathers timed together, and divided; 0: one */
	unsigned int iu_gathers;    /* of each initiator */
	unsigned int iu_in_guest;   /* percent of the CPUs' turns */
	uint64_t iu_budget_ns;	    /* gathers that would begin later are left out; 0: none */
};

struct inv_result {
	struct hist ir_latency; /* ns, of all initiators */
	struct inv_counts ir_counts;
	uint64_t ir_elapsed_ns; /* of the caller's gathers, mapping included */
	unsigned int ir_held_most;
};

/*
 * One run; the crew must have members enough and be idle. 0, -ENOMEM, or -EAGAIN: too few members.
 */
int inv_run(struct crew *c, const struct inv_setup *setup, struct inv_result *r);

/*
 * Ours: ns for one entry into the guest and the way out, when nothing was invalidated, at best of
 * some loops of so many turns; 0: no memory.
 */
double inv_entry_ns(enum pt_type type, bool emulate_ad, unsigned int turns);
/* ns for one locked operation on a line at hand, likewise: what an entry cannot do without. */
double inv_locked_ns(unsigned int turns);

/*
 * Latency of faults, n of them, timed in blocks, while a member of the crew unmaps elsewhere in
 * the same pmap without a pause (loud), or not. 0, -ENOMEM, -EAGAIN.
 */
int inv_faulting(struct crew *c, enum pt_type type, bool emulate_ad, bool loud, unsigned int n,
		 unsigned int block, struct hist *h);

/*
 * Changes that need no flush, `rounds` of each kind, with a CPU in the guest: new pages, wider
 * rights, pages that were never accessed, the same again. What they cost in shootdowns: 0.
 */
int inv_elide(enum pt_type type, bool emulate_ad, unsigned int rounds, struct inv_counts *counts);

uint64_t inv_now_ns(void);

#endif /* BENCH_INV_RUN_H */
