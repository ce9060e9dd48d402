/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The experiment's programs: what a CPU with a guest does all day, and what an initiator does.
 *
 * A CPU spends slices of 500 us, as many of them in the guest as the setup says, beginning with
 * another one on each, so that CPUs do not march in step. Stolen is all that it does because of
 * shootdowns: interrupts, the way out and in again, flushes, and the guest's misses after them.
 * Whether a flush came too late is looked at as the oracle of pmap-sim would: after finish, no CPU
 * may be in the guest since before the change, without a flush.
 */

#include "bench/cost/cost_run.h"

#include <stdlib.h>

#define SLICE_NS 500000u
#define SLICES 20u
#define FIRST_START_NS 1000000u /* all guests run by then */

struct run {
	const struct cost_setup *ru_setup;
	struct inv *ru_inv;
	struct cost_result *ru_result;
	unsigned int ru_left; /* initiators at work */
	bool ru_over;
	int ru_error;
	unsigned int ru_cpus[HOST_MAX_CPUS];
};

/* Where a CPU with a guest stands. */
struct guest {
	struct run *gu_run;
	unsigned int gu_cpu;
	bool gu_inside;
	uint64_t gu_clean_ns; /* nothing cached is older than this */
};

static struct guest guests[HOST_MAX_CPUS];
static struct initiator {
	struct run *in_run;
	unsigned int in_number;
	struct inv_initiator in_state;
} initiators[HOST_MAX_CPUS];

/* An interrupt in the host, or after the guest was left: the scheme's part of it. */
static void
serve_kick(struct guest *g)
{
	struct inv *const in = g->gu_run->ru_inv;

	cost_spend(cost_of(COST_IRQ));
	if (in->in_scheme->sc_kicked == NULL)
		return;

	const uint64_t flushes = inv_mine(in)->ic_flushes;

	in->in_scheme->sc_kicked(in);
	if (inv_mine(in)->ic_flushes != flushes) {
		cost_spend(cost_of(COST_FLUSH));
		g->gu_clean_ns = cost_now();
		g->gu_run->ru_result->cr_stolen_ns += cost_of(COST_REFILL);
	}
}

/* One stay in the guest of `ns`, with as many interruptions as come. */
static void
be_in_guest(struct guest *g, struct inv_slot *s, uint64_t ns)
{
	struct run *const ru = g->gu_run;
	struct inv *const in = ru->ru_inv;

	while (ns > 0 && !ru->ru_over) {
		if (in->in_scheme->sc_enter(in, s)) {
			inv_mine(in)->ic_flushes++;
			cost_spend(cost_of(COST_FLUSH));
			g->gu_clean_ns = cost_now();
			in->in_scheme->sc_flushed(in, s);
			ru->ru_result->cr_stolen_ns += cost_of(COST_FLUSH) + cost_of(COST_REFILL);
		}
		cost_spend(cost_of(COST_ENTRY));

		const uint64_t entered = cost_now();

		g->gu_inside = true;

		const bool kicked = cost_wait(ns);
		const uint64_t left = cost_now();

		cost_spend(cost_of(COST_EXIT));
		g->gu_inside = false;
		in->in_scheme->sc_exit(in, s);
		ns = left - entered < ns ? ns - (left - entered) : 0;
		if (!kicked)
			continue;
		serve_kick(g);
		ru->ru_result->cr_stolen_ns += cost_now() - left + cost_of(COST_ENTRY);
	}
}

static void
be_in_host(struct guest *g, uint64_t ns)
{
	struct run *const ru = g->gu_run;

	while (ns > 0 && !ru->ru_over) {
		const uint64_t from = cost_now();
		const bool kicked = cost_wait(ns);
		const uint64_t at = cost_now();

		ns = at - from < ns ? ns - (at - from) : 0;
		if (kicked) {
			serve_kick(g);
			ru->ru_result->cr_stolen_ns += cost_now() - at;
		}
	}
}

/* Slices in the guest are spread evenly; each CPU begins at another. */
static void
guest_program(void *arg)
{
	struct guest *const g = arg;
	struct run *const ru = g->gu_run;
	const unsigned int share = ru->ru_setup->cs_in_guest * SLICES / 100;
	unsigned int slice = g->gu_cpu * 7;

	while (!ru->ru_over) {
		if (slice % SLICES * share / SLICES != (slice + 1) % SLICES * share / SLICES ||
		    share == SLICES || (slice % SLICES == SLICES - 1 && share > 0))
			be_in_guest(g, &ru->ru_inv->in_slots[g->gu_cpu], SLICE_NS);
		else
			be_in_host(g, SLICE_NS);
		slice++;
	}
	cost_exit();
}

/* Whether some CPU has been in the guest since before `changed`, without a flush. */
static bool
is_stale(const struct run *ru, uint64_t changed)
{
	for (unsigned int i = 0; i < ru->ru_setup->cs_vcpus; i++)
		if (guests[i].gu_inside && guests[i].gu_clean_ns < changed)
			return true;
	return false;
}

/* Initiators are out of step by a prime, and take part in meetings between their gathers. */
static void
initiator_program(void *arg)
{
	struct initiator *const me = arg;
	struct run *const ru = me->in_run;
	struct inv *const in = ru->ru_inv;
	const struct cost_setup *const cs = ru->ru_setup;
	const gpa_t base = (gpa_t)me->in_number << 30;

	for (unsigned int i = 0; i < cs->cs_gathers && ru->ru_error == 0; i++) {
		const gpa_t gpa = base + (gpa_t)(i % 8) * cs->cs_pages * HOST_PAGE_SIZE;
		int error = inv_map(in, gpa, cs->cs_pages);

		if (cost_wait(997 * (me->in_number + 1)) && in->in_scheme->sc_kicked != NULL)
			in->in_scheme->sc_kicked(in);

		const uint64_t from = cost_now();

		if (error == 0)
			error = inv_unmap(in, &me->in_state, gpa, cs->cs_pages);
		hist_add(&ru->ru_result->cr_latency, cost_now() - from);
		ru->ru_result->cr_stale += is_stale(ru, from);
		if (error != 0)
			ru->ru_error = error;
	}
	ru->ru_left--;
	while (ru->ru_left > 0)
		if (cost_wait(1000000) && in->in_scheme->sc_kicked != NULL)
			in->in_scheme->sc_kicked(in);
	if (!ru->ru_over) {
		ru->ru_result->cr_elapsed_ns = cost_now() - FIRST_START_NS;
		ru->ru_over = true;
	}
	cost_wake_all();
	cost_exit();
}

bool
inv_world_kicked(void)
{
	return cost_kick_taken();
}

static bool
spawn_all(struct run *ru)
{
	const struct cost_setup *const cs = ru->ru_setup;

	for (unsigned int i = 0; i < cs->cs_vcpus; i++) {
		guests[i] = (struct guest){.gu_run = ru, .gu_cpu = i};
		if (!cost_spawn(i, i * 97, guest_program, &guests[i]))
			return false;
	}
	for (unsigned int i = 0; i < cs->cs_initiators; i++) {
		initiators[i] = (struct initiator){.in_run = ru, .in_number = i};
		if (!cost_spawn(cs->cs_vcpus + i, FIRST_START_NS, initiator_program,
				&initiators[i]))
			return false;
	}
	return true;
}

int
cost_run(const struct cost_setup *setup, struct cost_result *r)
{
	const unsigned int all = setup->cs_vcpus + setup->cs_initiators;
	struct run *const ru = calloc(1, sizeof(*ru));
	int error;

	*r = (struct cost_result){0};
	if (ru == NULL)
		return -ENOMEM;
	if (all > HOST_MAX_CPUS || setup->cs_initiators == 0) {
		free(ru);
		return -EINVAL;
	}
	ru->ru_setup = setup;
	ru->ru_result = r;
	ru->ru_left = setup->cs_initiators;
	for (unsigned int i = 0; i < all; i++)
		ru->ru_cpus[i] = i;
	error = inv_open(&ru->ru_inv, setup->cs_scheme, PT_EPT, false, ru->ru_cpus, setup->cs_vcpus,
			 ru->ru_cpus, all);
	if (error == 0) {
		if (cost_machine_begin(setup->cs_model, all) && spawn_all(ru)) {
			cost_machine_run();
			error = ru->ru_error;
		} else {
			error = -ENOMEM;
		}
		cost_totals(&r->cr_totals);
		cost_machine_end();
		inv_counts(ru->ru_inv, &r->cr_counts);
		for (unsigned int i = 0; i < setup->cs_initiators; i++) {
			const struct inv_initiator *const ii = &initiators[i].in_state;

			if (ii->ii_deferred_most > r->cr_held_most)
				r->cr_held_most = ii->ii_deferred_most;
		}
		inv_close(ru->ru_inv);
	}
	free(ru);
	return error;
}
