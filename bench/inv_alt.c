/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Alternatives that kick CPUs out of the guest, each lacking one idea of ours.
 *
 *   nomerge    a generation of its own for each initiator, whoever else is at it
 *   kick       kicks each CPU in the guest, whatever it has acknowledged, and waits until it left
 *   deferred   kicks nobody and waits for nobody until 64 frees have gathered: what was unmapped
 *              stays usable by the guest meanwhile, and its frames are held
 *
 * They share how a CPU enters: publish, full fence, read the generation, compare. Leaving that out
 * would be wrong, not slow.
 */

#include "bench/inv.h"

/* ---- A CPU's side --------------------------------------------------------------------------- */

static bool
alt_enter(struct inv *in, struct inv_slot *s)
{
	host_xchg(&s->is_state, 1); /* the fence's partner is the one in each finish */
	s->is_ack = host_load_acquire(&in->in_gen);
	host_store_release(&s->is_state, s->is_ack << 1 | 1);
	return s->is_seen != s->is_ack;
}

static void
alt_flushed(struct inv *in, struct inv_slot *s)
{
	(void)in;
	s->is_seen = s->is_ack;
}

static void
alt_exit(struct inv *in, struct inv_slot *s)
{
	(void)in;
	host_store_release(&s->is_exits, host_load(&s->is_exits) + 1);
	host_store_release(&s->is_state, 0);
}

/* ---- The initiator's ------------------------------------------------------------------------ */

static void
alt_begin(struct inv *in, struct inv_initiator *ii)
{
	pmap_gather_begin(&ii->ii_gather, in->in_pm);
}

static void
kick_one(struct inv *in, struct inv_slot *s)
{
	host_kick(s->is_cpu);
	inv_mine(in)->ic_kicks++;
}

static bool
behind(uint64_t state, uint64_t gen)
{
	return state != 0 && (state == 1 || state >> 1 < gen);
}

/* Kicks who is behind gen, then waits for each. */
static void
shoot(struct inv *in, uint64_t gen)
{
	for (unsigned int i = 0; i < in->in_ncpus; i++) {
		const uint64_t state = host_load_acquire(&in->in_slots[i].is_state);

		if (state != 1 && behind(state, gen))
			kick_one(in, &in->in_slots[i]);
	}
	for (unsigned int i = 0; i < in->in_ncpus; i++)
		while (behind(host_load_acquire(&in->in_slots[i].is_state), gen))
			host_relax();
	inv_mine(in)->ic_shootdowns++;
}

static void
nomerge_finish(struct inv *in, struct inv_initiator *ii)
{
	pmap_gather_finish(&ii->ii_gather);
	shoot(in, host_fetch_add(&in->in_gen, 1) + 1);
}

/* Each CPU that is in the guest now must have left it once. */
static void
kick_finish(struct inv *in, struct inv_initiator *ii)
{
	pmap_gather_finish(&ii->ii_gather);
	host_fetch_add(&in->in_gen, 1);

	uint64_t *const exits = in->in_counts[host_cpu()].cc_exits;

	for (unsigned int i = 0; i < in->in_ncpus; i++) {
		exits[i] = host_load_acquire(&in->in_slots[i].is_exits);
		if (host_load_acquire(&in->in_slots[i].is_state) != 0)
			kick_one(in, &in->in_slots[i]);
	}
	for (unsigned int i = 0; i < in->in_ncpus; i++)
		while (host_load_acquire(&in->in_slots[i].is_state) != 0 &&
		       host_load_acquire(&in->in_slots[i].is_exits) == exits[i])
			host_relax();
	inv_mine(in)->ic_shootdowns++;
}

const struct inv_scheme inv_nomerge = {
	.sc_name = "nomerge",
	.sc_what = "generations, but one for each initiator",
	.sc_begin = alt_begin,
	.sc_finish = nomerge_finish,
	.sc_enter = alt_enter,
	.sc_flushed = alt_flushed,
	.sc_exit = alt_exit,
};

const struct inv_scheme inv_kick = {
	.sc_name = "kick",
	.sc_what = "kicks every CPU in the guest, whatever it acknowledged",
	.sc_begin = alt_begin,
	.sc_finish = kick_finish,
	.sc_enter = alt_enter,
	.sc_flushed = alt_flushed,
	.sc_exit = alt_exit,
};

/* ---- Deferred ------------------------------------------------------------------------------- */

static bool
passed(struct inv *in, uint64_t gen)
{
	for (unsigned int i = 0; i < in->in_ncpus; i++)
		if (behind(host_load_acquire(&in->in_slots[i].is_state), gen))
			return false;
	return true;
}

/*
 * A generation for every free, begun here and reached whenever CPUs happen to leave and enter. The
 * oldest is looked at first; if it is reached, all that are not younger are.
 */
static void
deferred_finish(struct inv *in, struct inv_initiator *ii)
{
	const unsigned int limit =
		ii->ii_deferred_limit != 0 ? ii->ii_deferred_limit : INV_DEFERRED_MAX;

	pmap_gather_finish(&ii->ii_gather);
	ii->ii_deferred[ii->ii_ndeferred++] = host_fetch_add(&in->in_gen, 1) + 1;
	if (ii->ii_ndeferred > ii->ii_deferred_most)
		ii->ii_deferred_most = ii->ii_ndeferred;
	if (ii->ii_ndeferred < limit)
		return;
	if (!passed(in, ii->ii_deferred[ii->ii_ndeferred - 1]))
		shoot(in, ii->ii_deferred[ii->ii_ndeferred - 1]);
	ii->ii_ndeferred = 0;
}

const struct inv_scheme inv_deferred = {
	.sc_name = "deferred",
	.sc_what = "frees wait for 64 of them; the guest may use the pages until then",
	.sc_unsafe = true,
	.sc_begin = alt_begin,
	.sc_finish = deferred_finish,
	.sc_enter = alt_enter,
	.sc_flushed = alt_flushed,
	.sc_exit = alt_exit,
};

void
inv_settle(struct inv *in, struct inv_initiator *ii)
{
	if (ii->ii_ndeferred == 0)
		return;
	shoot(in, ii->ii_deferred[ii->ii_ndeferred - 1]);
	ii->ii_ndeferred = 0;
}
