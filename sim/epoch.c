/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Epoch sections and what is deferred to their end.
 *
 * A clock ticks at the begin of each section and at each deferral; an item is due when every open
 * section began after it was deferred. The service CPU runs due items, one at a time, in an order
 * of the scheduler's choice, as late as the scheduler likes: its functions meet scheduling points
 * like any other code.
 *
 * As with RCU, what a CPU stored before its section ended, or before it deferred an item, is
 * visible to the functions that run later: these stores are drained before one is called. Later
 * stores wait on.
 */

#include "sim/machine_priv.h"

/* Enough of a choice of order; the list is in order of deferral. */
#define DUE_MAX 8

/* The section that began last on a CPU. */
static void
touch_section(const struct sim_machine *m, const struct cpu *c, enum sim_touch how)
{
	touch(m, SIM_OBJECT(SIM_OBJECT_EPOCH, (uint64_t)c->cp_id << 32 | c->cp_sections), how);
}

void
sim_epoch_enter(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);

	point(m, SIM_EPOCH_ENTER);
	trace(m, SIM_EPOCH_ENTER, 0, c->cp_epoch_depth);
	if (c->cp_in_guest)
		sim_violation("CK-SCHED", "I44", "an epoch section begins in guest mode");
	if (c->cp_epoch_depth++ > 0)
		return;
	touch(m, SIM_OBJECT(SIM_OBJECT_CLOCK, 0), SIM_TOUCH_READ);
	c->cp_epoch_begin = ++m->m_epoch_clock;
	c->cp_sections++;
	c->cp_section_begin = c->cp_epoch_begin;
}

void
sim_epoch_exit(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);

	point(m, SIM_EPOCH_EXIT);
	trace(m, SIM_EPOCH_EXIT, 0, c->cp_epoch_depth);
	if (c->cp_epoch_depth == 0)
		sim_violation("CK-SCHED", "I44", "an epoch section ends that did not begin");
	if (--c->cp_epoch_depth > 0)
		return;
	c->cp_epoch_begin = 0;
	c->cp_settled = c->cp_nstores;
	touch_section(m, c, SIM_TOUCH_RELEASE);
}

bool
sim_epoch_held(void)
{
	return self(sim_the_machine)->cp_epoch_depth > 0;
}

void
sim_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	struct sim_machine *m = sim_the_machine;

	point(m, SIM_DEFER);
	trace(m, SIM_DEFER, address_id(m, (uintptr_t)item), 0);
	item->ei_next = NULL;
	item->ei_fn = fn;
	item->ei_seq = ++m->m_epoch_clock;
	touch(m, SIM_OBJECT(SIM_OBJECT_CLOCK, 0), SIM_TOUCH_WRITE);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEFERRED, item->ei_seq), SIM_TOUCH_RELEASE);
	*m->m_deferred_end = item;
	m->m_deferred_end = &item->ei_next;
	m->m_ndeferred++;
	self(m)->cp_settled = self(m)->cp_nstores;
	m->m_ct.ct_deferred++;
}

/* When the oldest open section began; UINT64_MAX if none is open. */
static uint64_t
oldest_section(const struct sim_machine *m)
{
	uint64_t oldest = UINT64_MAX;

	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		uint64_t begin = m->m_cpus[i].cp_epoch_begin;
		if (begin != 0 && begin < oldest)
			oldest = begin;
	}
	return oldest;
}

/* What was stored before the sections' ends and the deferrals has arrived. */
static bool
is_settled(const struct sim_machine *m)
{
	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		if (m->m_cpus[i].cp_settled > 0)
			return false;
	}
	return true;
}

static bool
is_due(void *arg)
{
	const struct sim_machine *m = arg;

	return m->m_deferred != NULL && m->m_deferred->ei_seq < oldest_section(m) &&
	       (!m->m_cfg.sc_settle || is_settled(m));
}

static void
unlink_item(struct sim_machine *m, struct host_epoch_item **link)
{
	struct host_epoch_item *item = *link;

	*link = item->ei_next;
	if (item->ei_next == NULL)
		m->m_deferred_end = link;
	m->m_ndeferred--;
}

/* Whatever section had begun before the deferral is over. */
static void
touch_due(const struct sim_machine *m, uint64_t seq)
{
	touch(m, SIM_OBJECT(SIM_OBJECT_DEFERRED, seq), SIM_TOUCH_ACQUIRE);
	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		const struct cpu *c = &m->m_cpus[i];

		if (c->cp_sections > 0 && c->cp_section_begin < seq)
			touch_section(m, c, SIM_TOUCH_ACQUIRE);
	}
}

static void
run_due(struct sim_machine *m)
{
	uint64_t oldest = oldest_section(m);
	struct host_epoch_item **links[DUE_MAX];
	uint32_t n = 0;

	for (struct host_epoch_item **link = &m->m_deferred;
	     *link != NULL && (*link)->ei_seq < oldest && n < DUE_MAX; link = &(*link)->ei_next)
		links[n++] = link;
	uint32_t k = sim_choose(SIM_CHOICE_EPOCH, n);
	struct host_epoch_item *item = *links[k];
	unlink_item(m, links[k]);
	touch_due(m, item->ei_seq);

	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		while (m->m_cpus[i].cp_settled > 0) {
			m->m_ct.ct_drains_forced++;
			memory_drain_one(m, &m->m_cpus[i]);
		}
	}
	m->m_running_seq = item->ei_seq;
	m->m_ct.ct_deferred_run++;
	trace(m, SIM_DEFER, address_id(m, (uintptr_t)item), 1);
	item->ei_fn(item);
	m->m_running_seq = 0;
	m->m_progress++;
	struct cpu *c = self(m);
	if (c->cp_nheld > 0 || c->cp_epoch_depth > 0)
		sim_violation("CK-SCHED", "I44", "a deferred function returned holding something");
}

void
epoch_service(void *arg)
{
	struct sim_machine *m = arg;

	for (;;) {
		sim_wait_until("deferred work", is_due, m);
		run_due(m);
		point(m, SIM_USER);
	}
}

struct drain_wait {
	const struct sim_machine *dw_machine;
	uint64_t dw_seq;
};

/* The list is in order of deferral, so its head is the oldest that has not begun. */
static bool
all_have_run(void *arg)
{
	const struct drain_wait *w = arg;
	const struct sim_machine *m = w->dw_machine;

	if (m->m_running_seq != 0 && m->m_running_seq <= w->dw_seq)
		return false;
	return m->m_deferred == NULL || m->m_deferred->ei_seq > w->dw_seq;
}

void
sim_epoch_drain(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = self(m);
	struct drain_wait w = {m, m->m_epoch_clock};

	lock_check_may_wait(m, "host_epoch_drain()");
	if (c->cp_epoch_depth > 0)
		sim_violation("CK-SCHED", "I44", "host_epoch_drain() inside an epoch section");
	if (m->m_cpu == NULL) {
		while (m->m_deferred != NULL && m->m_running_seq == 0)
			run_due(m);
		return;
	}
	if (c->cp_id == m->m_ncpus)
		sim_violation("CK-SCHED", "I44", "host_epoch_drain() in a deferred function");
	point(m, SIM_EPOCH_EXIT);
	trace(m, SIM_EPOCH_EXIT, 0, w.dw_seq);
	sim_wait_until("deferred work to be done", all_have_run, &w);
}
