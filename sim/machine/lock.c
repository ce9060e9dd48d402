/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Spin locks of the simulated host, with the checks of a debug build: rank, recursion, release by
 * another, held where one may wait.
 *
 * Taking one is a locked operation. Releasing one is a plain store that waits in the store buffer
 * like any other; the lock is free once that store has reached memory. A CPU that finds it taken is
 * not run again until it is free (it would only look again), but it takes interrupts meanwhile.
 */

#include <inttypes.h>

#include "sim/machine/machine_priv.h"

#define LOCK_MAGIC 0x6c6f636bu

void
sim_lock_init(struct host_lock *l, unsigned int rank)
{
	l->hl_word = 0;
	l->hl_rank = rank;
	l->hl_magic = LOCK_MAGIC;
}

static void
check_initialized(const struct host_lock *l, const char *what)
{
	if (l->hl_magic != LOCK_MAGIC)
		sim_violation("CK-SCHED", "I44", "%s of a lock that is not initialized, or freed",
			      what);
}

static int
held_index(const struct cpu *c, const struct host_lock *l)
{
	for (unsigned int i = 0; i < c->cp_nheld; i++) {
		if (c->cp_held[i] == l)
			return (int)i;
	}
	return -1;
}

static void
check_rank(const struct cpu *c, const struct host_lock *l)
{
	if (held_index(c, l) >= 0)
		sim_violation("CK-SCHED", "I44", "a lock of rank %u is taken twice", l->hl_rank);
	if (c->cp_nheld == HELD_MAX)
		sim_violation("CK-SCHED", "I44", "more than %d locks held", HELD_MAX);
	for (unsigned int i = 0; i < c->cp_nheld; i++) {
		const struct host_lock *h = c->cp_held[i];
		if (h->hl_rank > l->hl_rank)
			sim_violation("CK-SCHED", "I44",
				      "lock order: rank %u is taken while rank %u is held",
				      l->hl_rank, h->hl_rank);
		if (h->hl_rank == l->hl_rank && (uintptr_t)h > (uintptr_t)l)
			sim_violation(
				"CK-SCHED", "I44",
				"lock order: of two locks of rank %u the higher address came first",
				l->hl_rank);
	}
}

static bool
is_free(void *arg)
{
	const struct host_lock *l = arg;

	return l->hl_word == 0;
}

struct taking {
	const struct host_lock *tk_lock;
	const struct cpu *tk_cpu;
};

/* It is free, and the stores of who takes it have all arrived. */
static bool
may_take(void *arg)
{
	const struct taking *tk = arg;

	return tk->tk_lock->hl_word == 0 && tk->tk_cpu->cp_nstores == 0;
}

void
sim_lock(struct host_lock *l)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);
	uint64_t id = address_id(m, (uintptr_t)l);
	struct taking tk = {l, c};

	check_initialized(l, "locking");
	check_rank(c, l);
	sched_point_settled(m, SIM_LOCK, &l->hl_word, may_take, &tk);
	memory_drain(m, c);
	if (l->hl_word != 0) {
		m->m_ct.ct_lock_waits++;
		sim_wait_until("a lock", is_free, l);
	}
	check_initialized(l, "locking");
	trace(m, SIM_LOCK, id, l->hl_rank);
	memory_take(m, &l->hl_word);
	if (c->cp_nheld == 0)
		c->cp_locked_since = c->cp_points;
	c->cp_held[c->cp_nheld++] = l;
}

void
sim_unlock(struct host_lock *l)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);

	check_initialized(l, "unlocking");
	sched_point_settled(m, SIM_UNLOCK, &l->hl_word, memory_has_room, m->m_cpu);
	int i = held_index(c, l);
	if (i < 0)
		sim_violation("CK-SCHED", "I44",
			      "a lock of rank %u is released by a CPU that does not hold it",
			      l->hl_rank);
	c->cp_held[i] = c->cp_held[--c->cp_nheld];
	if (c->cp_nheld == 0)
		lock_check_length(m, c, c->cp_locked_since, &m->m_ct.ct_longest_locked,
				  "a lock was held");
	trace(m, SIM_UNLOCK, address_id(m, (uintptr_t)l), l->hl_rank);
	memory_release(m, &l->hl_word);
}

bool
sim_locks_held(void)
{
	const struct sim_machine *m = sim_the_machine;

	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		if (m->m_cpus[i].cp_nheld > 0)
			return true;
	}
	return false;
}

bool
sim_lock_held(const struct host_lock *l)
{
	return held_index(self(sim_the_machine), l) >= 0;
}

void
lock_check_length(struct sim_machine *m, const struct cpu *c, uint64_t since, uint64_t *longest,
		  const char *what)
{
	uint64_t points = c->cp_points - since;

	if (points > *longest)
		*longest = points;
	if (m->m_cfg.sc_longest > 0 && points > m->m_cfg.sc_longest)
		sim_violation("CK-SCHED", "I24", "%s for %" PRIu64 " points of its CPU", what,
			      points);
}

void
lock_check_may_wait(struct sim_machine *m, const char *what)
{
	const struct cpu *c = self(m);

	if (c->cp_nheld > 0)
		sim_violation("CK-SCHED", "I44", "%s with a lock of rank %u held", what,
			      c->cp_held[c->cp_nheld - 1]->hl_rank);
	if (!c->cp_irq_on)
		sim_violation("CK-SCHED", "I24", "%s with interrupts off", what);
	if (c->cp_in_guest)
		sim_violation("CK-SCHED", "I44", "%s in guest mode", what);
}

void
lock_check_none_in(struct sim_machine *m, const void *p, uint64_t bytes)
{
	for (unsigned int i = 0; i <= m->m_ncpus + 1; i++) {
		const struct cpu *c = i > m->m_ncpus ? &m->m_driver : &m->m_cpus[i];
		mutex_check_none_in(c, p, bytes);
		for (unsigned int k = 0; k < c->cp_nheld; k++) {
			if ((uintptr_t)c->cp_held[k] - (uintptr_t)p < bytes)
				sim_violation(
					"CK-FREE", "I44",
					"freed memory holds a lock of rank %u that CPU %u holds",
					c->cp_held[k]->hl_rank, c->cp_id);
		}
	}
}
