/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The alternative of 2011: every CPU of the machine is interrupted, in a guest or not, all meet,
 * each flushes, all part. One meeting at a time.
 *
 * Who waits for anything here must take part in the meeting of another, or two initiators would
 * wait for each other.
 */

#include "bench/inv.h"

/* Takes part in a meeting that is under way, once. */
static void
take_part(struct inv *in)
{
	uint64_t *const seen = &in->in_rounds_seen[host_cpu()];
	const uint64_t round = host_load_acquire(&in->in_round);

	if (*seen == round)
		return;
	*seen = round;
	host_fetch_add(&in->in_arrived, 1);
	while (host_load_acquire(&in->in_arrived) < in->in_neverybody)
		host_relax();
	inv_mine(in)->ic_flushes++; /* here: INVEPT */
	host_fetch_add(&in->in_done, 1);
}

static void
meet_kicked(struct inv *in)
{
	take_part(in);
}

/* The interrupts of others are taken while waiting for one's turn. */
static void
take_turn(struct inv *in)
{
	uint64_t free_word = 0;

	while (host_load(&in->in_busy) != 0 || !host_cas(&in->in_busy, &free_word, 1)) {
		free_word = 0;
		if (inv_world_kicked())
			take_part(in);
		host_relax();
	}
	/* The last meeting may have wanted this CPU, too, and its interrupt may still be due. */
	inv_world_kicked();
}

static void
meet_finish(struct inv *in, struct inv_initiator *ii)
{
	pmap_gather_finish(&ii->ii_gather);
	take_turn(in);
	host_store(&in->in_arrived, 0);
	host_store(&in->in_done, 0);
	host_fetch_add(&in->in_round, 1);
	for (unsigned int i = 0; i < in->in_neverybody; i++) {
		if (in->in_everybody[i] == host_cpu())
			continue;
		host_kick(in->in_everybody[i]);
		inv_mine(in)->ic_kicks++;
	}
	take_part(in);
	while (host_load_acquire(&in->in_done) < in->in_neverybody)
		host_relax();
	inv_mine(in)->ic_shootdowns++;
	host_store_release(&in->in_busy, 0);
}

static void
meet_begin(struct inv *in, struct inv_initiator *ii)
{
	pmap_gather_begin(&ii->ii_gather, in->in_pm);
}

static bool
meet_enter(struct inv *in, struct inv_slot *s)
{
	(void)in;
	(void)s;
	return false; /* it has flushed where it met */
}

static void
meet_exit(struct inv *in, struct inv_slot *s)
{
	(void)in;
	(void)s;
}

const struct inv_scheme inv_rendezvous = {
	.sc_name = "rendezvous",
	.sc_what = "every CPU is interrupted and meets the others (2011)",
	.sc_begin = meet_begin,
	.sc_finish = meet_finish,
	.sc_enter = meet_enter,
	.sc_flushed = meet_exit,
	.sc_exit = meet_exit,
	.sc_kicked = meet_kicked,
};
