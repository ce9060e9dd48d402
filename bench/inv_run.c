/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Threads that run guests, threads that unmap, and the bare kick beside them.
 */

#include "bench/inv_run.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "pmap/posix/host_posix.h"

#define TURN_POLLS 512 /* how long a stay in the guest or out of it is, in looks for a kick */

struct run {
	const struct inv_setup *ru_setup;
	struct inv *ru_inv;
	struct host_word ru_left; /* initiators that are not through */
	unsigned int ru_cpus[CREW_MAX + 1];
	struct {
		struct host_word acks; /* bare: kicks answered */
	} __attribute__((aligned(64))) ru_bare[CREW_MAX];
};

/* An initiator's own. */
struct initiator {
	struct run *in_run;
	unsigned int in_number;
	struct inv_initiator in_state;
	struct hist in_latency;
	int in_error;
};

static __thread volatile sig_atomic_t signalled;

uint64_t
inv_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool
inv_world_kicked(void)
{
	return host_posix_kick_taken();
}

/* ---- Guests --------------------------------------------------------------------------------- */

static void
on_signal(int signo)
{
	(void)signo;
	signalled = 1;
}

/* The host's own handler only interrupts system calls; this one ends the guest. */
static void
listen(enum inv_kick_kind kind)
{
	const struct host_posix_hooks hooks = {.ph_signal = kind == INV_SIGNAL};
	struct sigaction action = {.sa_handler = on_signal};

	host_posix_set_hooks(&hooks);
	if (kind == INV_SIGNAL) {
		sigemptyset(&action.sa_mask);
		sigaction(SIGURG, &action, NULL);
	}
}

/* In the guest until a kick comes, or, if turns are counted, for as many. True: kicked. */
static bool
be_in_guest(const struct crew_member *me, enum inv_kick_kind kind, bool counted)
{
	for (unsigned int i = 0; !counted || i < TURN_POLLS; i++) {
		if (kind == INV_POLLED ? host_posix_kick_taken() : signalled != 0) {
			signalled = 0;
			host_posix_kick_taken();
			return true;
		}
		if (crew_called_back(me))
			return false;
		crew_breathe(me);
	}
	return false;
}

static void
guest_turn(struct crew_member *me, struct run *ru, struct inv_slot *s, bool counted)
{
	struct inv *const in = ru->ru_inv;

	if (in->in_scheme->sc_enter(in, s)) {
		inv_mine(in)->ic_flushes++;
		in->in_scheme->sc_flushed(in, s);
	}

	const bool kicked = be_in_guest(me, ru->ru_setup->iu_kick, counted);

	in->in_scheme->sc_exit(in, s);
	if (kicked && in->in_scheme->sc_kicked != NULL)
		in->in_scheme->sc_kicked(in);
}

/* Out of the guest: interrupts are taken, if the scheme wants them. */
static void
host_turn(const struct crew_member *me, struct run *ru)
{
	signalled = 0; /* first: what comes meanwhile ends the next stay in the guest */
	for (unsigned int i = 0; i < TURN_POLLS; i++) {
		if (host_posix_kick_taken() && ru->ru_inv->in_scheme->sc_kicked != NULL)
			ru->ru_inv->in_scheme->sc_kicked(ru->ru_inv);
		crew_breathe(me);
	}
}

static void
guest_main(struct crew_member *me, void *arg)
{
	struct run *const ru = arg;
	const unsigned int share = ru->ru_setup->iu_in_guest;
	unsigned int due = 50;

	listen(ru->ru_setup->iu_kick);
	host_posix_kick_taken();
	crew_begun(me);
	while (!crew_called_back(me)) {
		due += share;
		if (due >= 100)
			guest_turn(me, ru, &ru->ru_inv->in_slots[me->cm_number], share < 100);
		else
			host_turn(me, ru);
		due %= 100;
	}
	host_posix_set_hooks(NULL);
}

static void
bare_main(struct crew_member *me, void *arg)
{
	struct run *const ru = arg;
	struct host_word *const acks = &ru->ru_bare[me->cm_number].acks;

	listen(ru->ru_setup->iu_kick);
	host_posix_kick_taken();
	signalled = 0;
	crew_begun(me);
	while (!crew_called_back(me))
		if (be_in_guest(me, ru->ru_setup->iu_kick, false))
			host_store_release(acks, host_load(acks) + 1);
	host_posix_set_hooks(NULL);
}

/* On a machine with other things to do a kick may take a whole slice of time to be answered. */
static uint64_t
end_of(const struct inv_setup *setup)
{
	return setup->iu_budget_ns != 0 ? inv_now_ns() + setup->iu_budget_ns : ~UINT64_C(0);
}

/* ---- Initiators ----------------------------------------------------------------------------- */

static void
answer_others(struct inv *in)
{
	if (inv_world_kicked() && in->in_scheme->sc_kicked != NULL)
		in->in_scheme->sc_kicked(in);
}

static void
initiate(struct initiator *me)
{
	struct run *const ru = me->in_run;
	const struct inv_setup *const iu = ru->ru_setup;
	const gpa_t base = (gpa_t)(me->in_number + 1) << 30;

	const unsigned int block = iu->iu_block != 0 ? iu->iu_block : 1;

	const uint64_t end = end_of(iu);

	for (unsigned int i = 0; i < iu->iu_gathers && me->in_error == 0; i += block) {
		if (inv_now_ns() > end)
			break;

		/* Not the same entries again and again. */
		const gpa_t gpa = base + (gpa_t)(i % 64) * iu->iu_pages * HOST_PAGE_SIZE;

		me->in_error = inv_map(ru->ru_inv, gpa, iu->iu_pages * block);
		answer_others(ru->ru_inv);

		const uint64_t from = inv_now_ns();

		for (unsigned int b = 0; b < block && me->in_error == 0; b++)
			me->in_error = inv_unmap(ru->ru_inv, &me->in_state,
						 gpa + (gpa_t)b * iu->iu_pages * HOST_PAGE_SIZE,
						 iu->iu_pages);
		hist_add(&me->in_latency, (inv_now_ns() - from) / block);
	}
	host_fetch_add(&ru->ru_left, (uint64_t)-1);
	while (host_load_acquire(&ru->ru_left) > 0) {
		answer_others(ru->ru_inv);
		host_relax();
	}
}

static void
initiator_main(struct crew_member *me, void *arg)
{
	struct initiator *const in = arg;
	const struct inv_setup *const iu = in->in_run->ru_setup;

	host_posix_kick_taken();
	crew_begun(me);
	/* Nobody is kicked who would still take the kick for an old one. */
	crew_await(me->cm_crew, iu->iu_vcpus + iu->iu_initiators - 1);
	initiate(in);
}

/* Kicks every CPU and waits until each has answered: all that any scheme can do, and no more. */
static void
kick_bare(struct run *ru, struct hist *h)
{
	uint64_t was[CREW_MAX];
	const unsigned int n = ru->ru_setup->iu_vcpus;

	const uint64_t end = end_of(ru->ru_setup);

	for (unsigned int k = 0; k < ru->ru_setup->iu_gathers; k++) {
		const uint64_t from = inv_now_ns();

		if (from > end)
			break;

		for (unsigned int i = 0; i < n; i++) {
			was[i] = host_load(&ru->ru_bare[i].acks);
			host_kick(ru->ru_cpus[i]);
		}
		for (unsigned int i = 0; i < n; i++)
			while (host_load_acquire(&ru->ru_bare[i].acks) == was[i])
				host_relax();
		hist_add(h, inv_now_ns() - from);
	}
}

/* ---- A run ---------------------------------------------------------------------------------- */

static int
run_scheme(struct crew *c, struct run *ru, struct inv_result *r)
{
	const struct inv_setup *const iu = ru->ru_setup;
	struct initiator *const all = calloc(iu->iu_initiators, sizeof(*all));
	int error = -ENOMEM;

	if (all == NULL)
		return error;
	error = inv_open(&ru->ru_inv, iu->iu_scheme, iu->iu_type, iu->iu_emulate_ad, ru->ru_cpus,
			 iu->iu_vcpus, ru->ru_cpus, iu->iu_vcpus + iu->iu_initiators);
	if (error != 0) {
		free(all);
		return error;
	}
	host_store(&ru->ru_left, iu->iu_initiators);
	for (unsigned int i = 0; i < iu->iu_initiators; i++) {
		all[i].in_run = ru;
		all[i].in_number = i;
	}
	host_posix_kick_taken();
	for (unsigned int i = 0; i < iu->iu_vcpus; i++)
		crew_send(c, i, guest_main, ru);
	for (unsigned int i = 1; i < iu->iu_initiators; i++)
		crew_send(c, iu->iu_vcpus + i - 1, initiator_main, &all[i]);
	crew_await(c, iu->iu_vcpus + iu->iu_initiators - 1);

	const uint64_t from = inv_now_ns();

	initiate(&all[0]);
	r->ir_elapsed_ns = inv_now_ns() - from;
	crew_dismiss(c);
	inv_counts(ru->ru_inv, &r->ir_counts);
	for (unsigned int i = 0; i < iu->iu_initiators; i++) {
		hist_merge(&r->ir_latency, &all[i].in_latency);
		if (all[i].in_state.ii_deferred_most > r->ir_held_most)
			r->ir_held_most = all[i].in_state.ii_deferred_most;
		if (error == 0)
			error = all[i].in_error;
	}
	inv_close(ru->ru_inv);
	free(all);
	return error;
}

int
inv_run(struct crew *c, const struct inv_setup *setup, struct inv_result *r)
{
	struct run *const ru = aligned_alloc(64, sizeof(*ru));
	int error = 0;

	*r = (struct inv_result){0};
	if (ru == NULL)
		return -ENOMEM;
	*ru = (struct run){.ru_setup = setup};
	if (setup->iu_initiators == 0 || setup->iu_vcpus + setup->iu_initiators - 1 > c->cr_n) {
		free(ru);
		return -EAGAIN;
	}
	for (unsigned int i = 0; i < c->cr_n; i++)
		ru->ru_cpus[i] = c->cr_member[i].cm_cpu;
	/* Everybody, for those who meet: guests, then initiators of the crew, then the caller. */
	ru->ru_cpus[setup->iu_vcpus + setup->iu_initiators - 1] = host_cpu();
	if (setup->iu_scheme == NULL) {
		for (unsigned int i = 0; i < setup->iu_vcpus; i++)
			crew_send(c, i, bare_main, ru);
		crew_await(c, setup->iu_vcpus);
		kick_bare(ru, &r->ir_latency);
		crew_dismiss(c);
	} else {
		error = run_scheme(c, ru, r);
	}
	free(ru);
	return error;
}
