/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What threads sleep on: mutexes and events, with the checks of a debug build, and the signals that
 * wake them.
 *
 * A mutex is taken and released like a spin lock (lock.c): a locked operation, and a store that
 * waits in the buffer. A thread that sleeps is not run until it has a reason to be, so nobody who
 * waits in vain goes unnoticed: that is a deadlock. Signals do not count as help.
 */

#include <inttypes.h>

#include "sim/machine/machine_priv.h"
#include "sim/machine/machine_vm.h"

#define MUTEX_MAGIC 0x6d757478u
#define EVENT_MAGIC 0x6576656eu

/* ---- Who may sleep, and who is signaled ---- */

void
mutex_check_may_sleep(struct sim_machine *m, const char *what)
{
	const struct cpu *c = self(m);

	lock_check_may_wait(m, what);
	if (c->cp_epoch_depth > 0)
		sim_violation("CK-SCHED", "I44", "%s inside an epoch section", what);
	if (m->m_running_seq != 0 && (m->m_cpu == NULL || c->cp_id == m->m_ncpus))
		sim_violation("CK-SCHED", "I44", "%s in a deferred function", what);
}

void
sim_signal(unsigned int cpu)
{
	struct sim_machine *m = sim_the_machine;

	if (cpu >= m->m_ncpus)
		sim_violation("CK-API", "I24", "there is no CPU %u to signal", cpu);
	trace(m, SIM_USER, cpu, 1);
	touch(m, SIM_OBJECT(SIM_OBJECT_CPU, cpu), SIM_TOUCH_WRITE);
	m->m_cpus[cpu].cp_signaled = true;
	m->m_progress++;
}

void
sim_signal_clear(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);

	touch(m, SIM_OBJECT(SIM_OBJECT_CPU, c->cp_id), SIM_TOUCH_WRITE);
	if (c->cp_signaled)
		trace(m, SIM_USER, c->cp_id, 0);
	c->cp_signaled = false;
}

bool
sim_interrupted(void)
{
	struct cpu *c = self(sim_the_machine);

	touch(sim_the_machine, SIM_OBJECT(SIM_OBJECT_CPU, c->cp_id), SIM_TOUCH_READ);
	if (!c->cp_signaled && sim_fault(SIM_FAULT_INTERRUPT))
		c->cp_signaled = true;
	return c->cp_signaled;
}

static int
end_interrupted(struct sim_machine *m)
{
	m->m_ct.ct_interrupted++;
	trace(m, SIM_USER, self(m)->cp_id, 2);
	return -EINTR;
}

/* Sleepers of the kind that a signal wakes. */
static unsigned int
signal_enabled(void *arg)
{
	const struct sim_machine *m = arg;
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->m_ncpus; i++)
		n += m->m_cpus[i].cp_interruptible && !m->m_cpus[i].cp_signaled;
	return n;
}

static void
signal_step(void *arg, unsigned int which)
{
	struct sim_machine *m = arg;

	for (unsigned int i = 0; i < m->m_ncpus; i++) {
		struct cpu *c = &m->m_cpus[i];
		if (!c->cp_interruptible || c->cp_signaled || which-- > 0)
			continue;
		if (fault_at(m, SIM_FAULT_INTERRUPT, i))
			sim_signal(i);
		return;
	}
}

void
mutex_agent_init(struct sim_machine *m)
{
	m->m_signal_ops =
		(struct sim_agent_ops){"signal", 1, signal_enabled, signal_step, false, NULL};
	if (m->m_cfg.sc_fault_ppm[SIM_FAULT_INTERRUPT] > 0 ||
	    m->m_cfg.sc_fault_nth[SIM_FAULT_INTERRUPT] > 0)
		sim_agent_add(&m->m_signal_ops, m);
}

/* ---- Mutexes ---- */

void
sim_mutex_init(struct host_mutex *x, unsigned int rank)
{
	x->hm_word = 0;
	x->hm_rank = rank;
	x->hm_magic = MUTEX_MAGIC;
}

static void
check_initialized(const struct host_mutex *x, const char *what)
{
	if (x->hm_magic != MUTEX_MAGIC)
		sim_violation("CK-SCHED", "I44", "%s of a mutex that is not initialized, or freed",
			      what);
}

static int
held_index(const struct cpu *c, const struct host_mutex *x)
{
	for (unsigned int i = 0; i < c->cp_nmutexes; i++) {
		if (c->cp_mutexes[i] == x)
			return (int)i;
	}
	return -1;
}

bool
sim_mutex_held(const struct host_mutex *x)
{
	return held_index(self(sim_the_machine), x) >= 0;
}

static void
check_order(const struct cpu *c, const struct host_mutex *x)
{
	if (held_index(c, x) >= 0)
		sim_violation("CK-SCHED", "I44", "a mutex of rank %u is taken twice", x->hm_rank);
	if (c->cp_nmutexes == HELD_MAX)
		sim_violation("CK-SCHED", "I44", "more than %d mutexes held", HELD_MAX);
	for (unsigned int i = 0; i < c->cp_nmutexes; i++) {
		const struct host_mutex *h = c->cp_mutexes[i];
		if (h->hm_rank > x->hm_rank)
			sim_violation("CK-SCHED", "I44",
				      "mutex order: rank %u is taken while rank %u is held",
				      x->hm_rank, h->hm_rank);
		if (h->hm_rank == x->hm_rank && (uintptr_t)h > (uintptr_t)x)
			sim_violation(
				"CK-SCHED", "I44",
				"mutex order: of two of rank %u the higher address came first",
				x->hm_rank);
	}
}

struct sleep {
	const struct host_mutex *sl_mutex;
	const struct host_event *sl_event;
	uint64_t sl_seen;
	const struct cpu *sl_cpu;
};

static bool
mutex_ready(void *arg)
{
	const struct sleep *s = arg;

	return s->sl_mutex->hm_word == 0 || (s->sl_cpu->cp_interruptible && s->sl_cpu->cp_signaled);
}

static void
sleep_until(struct cpu *c, const char *what, bool (*ready)(void *arg), struct sleep *s,
	    bool interruptible)
{
	c->cp_interruptible = interruptible;
	sim_wait_until(what, ready, s);
	c->cp_interruptible = false;
}

static int
take_mutex(struct host_mutex *x, bool interruptible)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);
	uint64_t id = address_id(m, (uintptr_t)x);

	check_initialized(x, "locking");
	mutex_check_may_sleep(m, "a mutex is taken");
	check_order(c, x);
	memory_point(m, SIM_LOCK, &x->hm_word);
	memory_drain(m, c);
	if (interruptible && sim_interrupted())
		return end_interrupted(m);
	touch_word(m, &x->hm_word, SIM_TOUCH_READ);
	if (x->hm_word != 0) {
		struct sleep s = {.sl_mutex = x, .sl_cpu = c};
		m->m_ct.ct_mutex_waits++;
		sleep_until(c, "a mutex", mutex_ready, &s, interruptible);
		if (interruptible && c->cp_signaled)
			return end_interrupted(m);
	}
	check_initialized(x, "locking");
	trace(m, SIM_LOCK, id, x->hm_rank);
	memory_write_now(m, &x->hm_word, (uint64_t)c->cp_id + 1, SIM_WRITE_LOCKED, c->cp_id);
	c->cp_mutexes[c->cp_nmutexes++] = x;
	return 0;
}

void
sim_mutex_lock(struct host_mutex *x)
{
	take_mutex(x, false);
}

int
sim_mutex_lock_interruptible(struct host_mutex *x)
{
	return take_mutex(x, true);
}

void
sim_mutex_unlock(struct host_mutex *x)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);

	check_initialized(x, "unlocking");
	sched_point_settled(m, SIM_UNLOCK, &x->hm_word, memory_has_room, c);
	int i = held_index(c, x);
	if (i < 0)
		sim_violation("CK-SCHED", "I44",
			      "a mutex of rank %u is released by a CPU that does not hold it",
			      x->hm_rank);
	c->cp_mutexes[i] = c->cp_mutexes[--c->cp_nmutexes];
	trace(m, SIM_UNLOCK, address_id(m, (uintptr_t)x), x->hm_rank);
	memory_write(m, &x->hm_word, 0);
}

void
mutex_check_none_in(const struct cpu *c, const void *p, uint64_t bytes)
{
	for (unsigned int k = 0; k < c->cp_nmutexes; k++) {
		if ((uintptr_t)c->cp_mutexes[k] - (uintptr_t)p < bytes)
			sim_violation("CK-FREE", "I44",
				      "freed memory holds a mutex of rank %u that CPU %u holds",
				      c->cp_mutexes[k]->hm_rank, c->cp_id);
	}
}

/* ---- Events ---- */

void
sim_event_init(struct host_event *e)
{
	e->he_count = 0;
	e->he_magic = EVENT_MAGIC;
}

static void
check_event(const struct host_event *e, const char *what)
{
	if (e->he_magic != EVENT_MAGIC)
		sim_violation("CK-SCHED", "I44", "%s of an event that is not initialized, or freed",
			      what);
}

uint64_t
sim_event_read(struct host_event *e)
{
	check_event(e, "reading");
	return sim_word_load(&e->he_count, SIM_LOAD_ACQUIRE);
}

void
sim_event_post(struct host_event *e)
{
	check_event(e, "a post");
	sim_word_fetch_add(&e->he_count, 1);
}

static bool
event_ready(void *arg)
{
	const struct sleep *s = arg;

	return s->sl_event->he_count != s->sl_seen ||
	       (s->sl_cpu->cp_interruptible && s->sl_cpu->cp_signaled);
}

int
sim_event_wait(struct host_event *e, uint64_t seen, bool interruptible)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);
	struct sleep s = {.sl_event = e, .sl_seen = seen, .sl_cpu = c};

	check_event(e, "a wait");
	mutex_check_may_sleep(m, "a wait for an event");
	point_at(m, SIM_LOAD_ACQUIRE, &e->he_count);
	trace(m, SIM_LOAD_ACQUIRE, address_id(m, (uintptr_t)e), seen);
	touch_word(m, &e->he_count, SIM_TOUCH_READ);
	if (interruptible && sim_interrupted())
		return end_interrupted(m);
	if (e->he_count != seen)
		return 0;
	m->m_ct.ct_event_waits++;
	sleep_until(c, "an event", event_ready, &s, interruptible);
	check_event(e, "a wait");
	return interruptible && c->cp_signaled ? end_interrupted(m) : 0;
}
