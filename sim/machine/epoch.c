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

#include "sim/machine/machine_priv.h"

/* Enough of a choice of order; the list is in order of deferral. */
#define DUE_MAX 8

/* A section of a CPU, by its number; a deferral, likewise. */
static void
touch_numbered(const struct sim_machine *m, enum sim_object what, unsigned int cpu, uint64_t number,
	       enum sim_touch how)
{
	touch(m, SIM_OBJECT(what, (uint64_t)cpu << 32 | number), how);
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
}

/* What waits for the section that ends waits for what was stored in it, too. */
static void
note_exit(struct sim_machine *m, const struct cpu *c)
{
	for (unsigned int i = 0; i < DEFERRALS_KEPT; i++) {
		struct deferral *const df = &m->m_deferrals[i];

		if (df->df_sections[c->cp_id] == c->cp_sections)
			df->df_exits[c->cp_id] = c->cp_stored;
	}
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
	c->cp_exit_stored = c->cp_stored;
	if (m->m_deferred != NULL && (m->m_cfg.sc_settle || m->m_policy != NULL))
		note_exit(m, c);
	touch_numbered(m, SIM_OBJECT_EPOCH, c->cp_id, c->cp_sections, SIM_TOUCH_RELEASE);
}

bool
sim_epoch_held(void)
{
	return self(sim_the_machine)->cp_epoch_depth > 0;
}

static void
note_deferral(struct sim_machine *m, const struct host_epoch_item *item)
{
	struct deferral *const df = &m->m_deferrals[m->m_deferral_next++ % DEFERRALS_KEPT];
	struct cpu *const c = self(m);

	df->df_item = item;
	df->df_cpu = c->cp_id;
	df->df_number = ++c->cp_deferrals;
	df->df_stored = c->cp_stored;
	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		df->df_sections[i] = m->m_cpus[i].cp_sections;
		df->df_exits[i] = m->m_cpus[i].cp_exit_stored;
	}
	touch_numbered(m, SIM_OBJECT_DEFERRED, df->df_cpu, df->df_number, SIM_TOUCH_RELEASE);
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
	note_deferral(m, item);
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

/* The last deferral of an item; NULL: long ago. */
static const struct deferral *
deferral_of(const struct sim_machine *m, const struct host_epoch_item *item)
{
	for (unsigned int i = 1; i <= DEFERRALS_KEPT; i++) {
		const struct deferral *df =
			&m->m_deferrals[(m->m_deferral_next - i) % DEFERRALS_KEPT];

		if (df->df_item == item)
			return df;
	}
	return NULL;
}

/* How many stores of a CPU must have arrived before the function runs. */
static uint64_t
stores_due(const struct deferral *df, unsigned int cpu)
{
	const uint64_t own = cpu == df->df_cpu ? df->df_stored : 0;

	return df->df_exits[cpu] > own ? df->df_exits[cpu] : own;
}

/* What was stored before the deferral, and before the end of sections that it waits for. */
static bool
is_settled(const struct sim_machine *m, const struct host_epoch_item *item)
{
	const struct deferral *const df = deferral_of(m, item);

	for (unsigned int i = 0; i <= m->m_ncpus && df != NULL; i++) {
		const struct cpu *const c = &m->m_cpus[i];

		if (c->cp_stored - c->cp_nstores < stores_due(df, i))
			return false;
	}
	return true;
}

static bool
is_due(void *arg)
{
	const struct sim_machine *m = arg;

	return m->m_deferred != NULL && m->m_deferred->ei_seq < oldest_section(m) &&
	       (!m->m_cfg.sc_settle || is_settled(m, m->m_deferred));
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
touch_due(const struct sim_machine *m, const struct host_epoch_item *item)
{
	const struct deferral *const df = deferral_of(m, item);

	if (df == NULL)
		return;
	touch_numbered(m, SIM_OBJECT_DEFERRED, df->df_cpu, df->df_number, SIM_TOUCH_ACQUIRE);
	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		const uint64_t stores = stores_due(df, i);

		if (df->df_sections[i] > 0)
			touch_numbered(m, SIM_OBJECT_EPOCH, i, df->df_sections[i],
				       SIM_TOUCH_ACQUIRE);
		if (stores > 0)
			touch_numbered(m, SIM_OBJECT_DRAINED, i, stores, SIM_TOUCH_ACQUIRE);
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
	/* A search takes them in order: how many are due is not what a step says it looks at. */
	if (m->m_cfg.sc_settle && n > 1)
		n = 1;
	uint32_t k = sim_choose(SIM_CHOICE_EPOCH, n);
	struct host_epoch_item *item = *links[k];
	unlink_item(m, links[k]);
	touch_due(m, item);

	for (unsigned int i = 0; i <= m->m_ncpus && !m->m_cfg.sc_settle; i++) {
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
	touch(m, SIM_OBJECT(SIM_OBJECT_DEFERRED, 0), SIM_TOUCH_WRITE);
	struct cpu *c = self(m);
	if (c->cp_nheld > 0 || c->cp_epoch_depth > 0)
		sim_violation("CK-SCHED", "I44", "a deferred function returned holding something");
}

void
epoch_service(void *arg)
{
	struct sim_machine *m = arg;

	for (;;) {
		/* For a search: a step of its own for each, and none that does nothing. */
		if (m->m_cfg.sc_settle) {
			sched_point_settled(m, SIM_DEFER, NULL, is_due, m);
			run_due(m);
			continue;
		}
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
	touch(m, SIM_OBJECT(SIM_OBJECT_CLOCK, 0), SIM_TOUCH_READ);
	/* For a search: whether there is anything to wait for makes no step of its own. */
	sched_point_settled(m, SIM_EPOCH_EXIT, NULL, all_have_run, &w);
	trace(m, SIM_EPOCH_EXIT, 0, w.dw_seq);
	sim_wait_until("deferred work to be done", all_have_run, &w);
	touch(m, SIM_OBJECT(SIM_OBJECT_DEFERRED, 0), SIM_TOUCH_READ);
}
