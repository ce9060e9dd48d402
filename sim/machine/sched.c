/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Who steps next.
 *
 * A scheduling point costs an increment and a compare until the step at which there is more to do:
 * a decision is due, an audit is due, or the budget is spent. A decision picks among the CPUs that
 * can go on and the agents that are enabled; a CPU that is picked runs for a chosen number of
 * points. Agents' steps are made right here, on the stack of the fiber that asked; only going on
 * with another CPU is a switch, and it is made straight from one fiber to the other. The thread's
 * own stack is left when a run begins and reached again when it ends.
 *
 * A CPU that spins (host_relax()) while memory stays as it was would only look again at the same
 * values, so its odds are small until something changes.
 */

#include <inttypes.h>
#include <stdio.h>

#include "sim/machine/machine_priv.h"

/* A CPU that looks again at what has not changed. */
#define SPINNER_WEIGHT 1
/* So many turns of spinning loops without any change of memory are no progress at all. */
#define IDLE_RELAXES_MAX 200000

/*
 * With sc_stalls: once in so many decisions the CPU that runs stops where it is, for 2^STALL_LEAST
 * to 2^(STALL_LEAST + STALL_LENGTHS - 1) steps, or until the others do nothing but wait. So what
 * takes one CPU an instant may last as long as whole operations of all others.
 */
#define STALL_ODDS 64
#define STALL_LEAST 7
#define STALL_LENGTHS 6

struct option {
	bool op_agent;
	uint8_t op_index;
};

struct options {
	unsigned int os_n;
	unsigned int os_cpus; /* how many of them are CPUs; these come first */
	bool os_busy;	      /* one of them has something to do, and is not the service CPU */
	bool os_helps;	      /* an agent that may unblock somebody */
	struct option os_option[NCPUS_MAX + SIM_MAX_AGENTS];
	uint32_t os_weight[NCPUS_MAX + SIM_MAX_AGENTS];
	unsigned int os_enabled[SIM_MAX_AGENTS]; /* by agent */
};

static bool
can_run(const struct sim_machine *m, const struct cpu *c)
{
	/* An interrupt that is to be taken waits for the stores, and everything else for it. */
	if (m->m_cfg.sc_settle && c->cp_irq_pending && c->cp_irq_on && !c->cp_in_guest &&
	    c->cp_nstores > 0)
		return false;
	if (c->cp_state == CPU_READY)
		return true;
	if (c->cp_state != CPU_WAITING)
		return false;
	return cpu_may_take(m, c) || c->cp_ready(c->cp_ready_arg);
}

static bool
is_stalled(const struct sim_machine *m, const struct cpu *c)
{
	return m->m_step < m->m_stall_end && c->cp_id == m->m_stalled;
}

static void
offer_cpu(const struct sim_machine *m, struct options *os, const struct cpu *c)
{
	if (is_stalled(m, c) || !can_run(m, c))
		return;
	bool spins = c->cp_relaxing && c->cp_relax_progress == m->m_progress &&
		     !(c->cp_irq_pending && c->cp_irq_on);
	os->os_option[os->os_n] = (struct option){false, (uint8_t)c->cp_id};
	os->os_weight[os->os_n++] = spins ? SPINNER_WEIGHT : SIM_CPU_WEIGHT;
	os->os_busy = os->os_busy || (!spins && c->cp_id < m->m_ncpus);
}

static void
offer_cpus(const struct sim_machine *m, struct options *os, const struct cpu *running)
{
	os->os_n = 0;
	os->os_busy = false;
	offer_cpu(m, os, running);
	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		if (i != running->cp_id)
			offer_cpu(m, os, &m->m_cpus[i]);
	}
}

/*
 * The CPU that runs comes first: choice 0 is to leave things as they are. Who waits looks at what
 * he waits for, which is no part of anybody's step.
 */
static void
list_options(struct sim_machine *m, struct options *os, const struct cpu *running)
{
	void (*listener)(void *arg, uint64_t object, enum sim_touch how) = m->m_touch;

	m->m_touch = NULL;
	os->os_helps = false;
	offer_cpus(m, os, running);
	if (!os->os_busy && m->m_step < m->m_stall_end) {
		m->m_stall_steps -= m->m_stall_end - m->m_step;
		m->m_stall_end = 0;
		offer_cpus(m, os, running);
	}
	os->os_cpus = os->os_n;
	m->m_offered = 0;
	for (unsigned int i = 0; i < os->os_n; i++)
		m->m_offered |= SIM_OFFER_CPU(os->os_option[i].op_index);
	for (unsigned int i = 0; i < m->m_nagents; i++) {
		const struct agent *a = &m->m_agents[i];
		if (a->ag_ops->ag_weight == 0)
			continue;
		unsigned int enabled = a->ag_ops->ag_enabled(a->ag_arg);
		if (enabled == 0)
			continue;
		os->os_enabled[i] = enabled;
		os->os_helps = os->os_helps || a->ag_ops->ag_helps;
		m->m_offered |= SIM_OFFER_AGENT(i);
		os->os_option[os->os_n] = (struct option){true, (uint8_t)i};
		os->os_weight[os->os_n++] = a->ag_ops->ag_weight;
	}
	m->m_touch = listener;
}

static void
step_agent(struct sim_machine *m, unsigned int i, unsigned int which)
{
	const struct agent *a = &m->m_agents[i];
	struct cpu *interrupted = m->m_cpu;

	m->m_step++;
	m->m_ct.ct_agent_steps++;
	m->m_cpu = NULL;
	m->m_actor = SIM_ACTOR_AGENT + i;
	trace(m, SIM_HW, 0, which);
	a->ag_ops->ag_step(a->ag_arg, which);
	m->m_cpu = interrupted;
	m->m_actor = interrupted->cp_id;
}

/* ---- Policies ---- */

static struct sim_offer
offer_of_cpu(const struct sim_machine *m, const struct cpu *c, uint32_t weight)
{
	return (struct sim_offer){
		.of_running = c == m->m_cpu,
		.of_spins = weight == SPINNER_WEIGHT,
		.of_index = (uint8_t)c->cp_id,
		.of_helps = true,
		.of_weight = weight,
		.of_kind = c->cp_next_kind,
		.of_id = c->cp_next != NULL ? address_id(m, (uintptr_t)c->cp_next) : 0,
	};
}

static struct sim_offer
offer_of_agent(const struct sim_machine *m, unsigned int i, unsigned int which)
{
	const struct sim_agent_ops *const ops = m->m_agents[i].ag_ops;
	struct sim_offer of = {
		.of_agent = true,
		.of_index = (uint8_t)i,
		.of_which = (uint16_t)which,
		.of_helps = ops->ag_helps,
		.of_weight = ops->ag_weight,
		.of_kind = SIM_HW,
		.of_name = ops->ag_name,
	};

	if (ops->ag_about != NULL)
		ops->ag_about(m->m_agents[i].ag_arg, which, &of);
	return of;
}

/* The policy's pick among the options, and of an agent's steps; both recorded by the caller. */
static uint32_t
ask_policy(const struct sim_machine *m, const struct options *os, unsigned int *which)
{
	static struct sim_offer offers[SIM_OFFERS_MAX]; /* large; there is one machine */
	uint8_t option[SIM_OFFERS_MAX];
	uint32_t n = 0;

	for (unsigned int k = 0; k < os->os_n; k++) {
		const struct option *const op = &os->os_option[k];
		const unsigned int steps = op->op_agent ? os->os_enabled[op->op_index] : 1;

		for (unsigned int w = 0; w < steps && n < SIM_OFFERS_MAX; w++) {
			option[n] = (uint8_t)k;
			offers[n++] = op->op_agent ? offer_of_agent(m, op->op_index, w)
						   : offer_of_cpu(m, &m->m_cpus[op->op_index],
								  os->os_weight[k]);
		}
	}
	const uint32_t pick = m->m_policy->po_pick(m->m_policy_arg, offers, n);
	if (pick >= n)
		sim_violation("CK-API", "I48", "a policy picks %" PRIu32 " among %" PRIu32, pick,
			      n);
	*which = offers[pick].of_which;
	return option[pick];
}

/* Which option is next; of an agent also which of its steps. */
static uint32_t
pick_option(struct sim_machine *m, const struct options *os, unsigned int *which)
{
	uint32_t k;

	if (m->m_policy != NULL && m->m_cfg.sc_source != SIM_SOURCE_LIST) {
		k = choice_made(m, SIM_CHOICE_ACTOR, os->os_n, ask_policy(m, os, which));
		if (os->os_option[k].op_agent)
			choice_made(m, SIM_CHOICE_AGENT, os->os_enabled[os->os_option[k].op_index],
				    *which);
		return k;
	}
	k = sim_choose_weighted(SIM_CHOICE_ACTOR, os->os_n, os->os_weight);
	if (os->os_option[k].op_agent)
		*which = sim_choose(SIM_CHOICE_AGENT, os->os_enabled[os->os_option[k].op_index]);
	return k;
}

bool
sim_cpu_settles(unsigned int cpu)
{
	const struct cpu *const c = &sim_the_machine->m_cpus[cpu];

	return c->cp_state != CPU_IDLE && c->cp_nstores > 0;
}

void
sim_set_policy(const struct sim_policy_ops *ops, void *arg)
{
	struct sim_machine *m = sim_the_machine;

	m->m_policy = ops;
	m->m_policy_arg = arg;
	m->m_touch = ops != NULL ? ops->po_touch : NULL;
	if (ops != NULL)
		m->m_cfg.sc_run_lengths = 1;
}

static _Noreturn void
deadlock(struct sim_machine *m)
{
	char message[sizeof m->m_report.sr_message];
	size_t used = (size_t)snprintf(message, sizeof message, "deadlock:");

	for (unsigned int i = 0; i <= m->m_ncpus && used < sizeof message; i++) {
		const struct cpu *c = &m->m_cpus[i];
		if (c->cp_state != CPU_WAITING)
			continue;
		used += (size_t)snprintf(message + used, sizeof message - used,
					 " CPU %u waits for %s%s;", i, c->cp_what,
					 c->cp_irq_on ? "" : " with interrupts off");
	}
	machine_end(m, SIM_RUN_VIOLATED, "CK-SCHED", "I24", message);
}

/* All programs have returned, and nothing they started is under way. */
bool
sched_quiet(const struct sim_machine *m)
{
	return m->m_nlive == 0 && m->m_buffered == 0 && m->m_kicked == 0 && m->m_deferred == NULL &&
	       m->m_running_seq == 0;
}

void
sched_set_slow_at(struct sim_machine *m)
{
	m->m_slow_at = m->m_decide_at;
	if (m->m_audit_at < m->m_slow_at)
		m->m_slow_at = m->m_audit_at;
	if (m->m_budget_at < m->m_slow_at)
		m->m_slow_at = m->m_budget_at;
	if (m->m_break_at < m->m_slow_at)
		m->m_slow_at = m->m_break_at;
}

static void
audit_and_budget(struct sim_machine *m)
{
	if (m->m_step >= m->m_break_at) {
		m->m_break_at = UINT64_MAX;
		sim_breakpoint(m->m_step);
	}
	if (m->m_step >= m->m_budget_at)
		machine_end(m, SIM_RUN_BUDGET, "", "", "the step budget is spent");
	if (m->m_step < m->m_audit_at)
		return;
	struct cpu *interrupted = m->m_cpu;
	void (*listener)(void *arg, uint64_t object, enum sim_touch how) = m->m_touch;
	m->m_audit_at = m->m_step + m->m_audit_every;
	m->m_cpu = NULL;
	m->m_touch = NULL; /* who only looks is nobody's concern */
	m->m_audit(m->m_audit_arg);
	m->m_touch = listener;
	m->m_cpu = interrupted;
}

static void
stall(struct sim_machine *m, const struct cpu *c)
{
	if (m->m_step < m->m_stall_end || c->cp_id == m->m_ncpus)
		return;
	const bool now = sim_choose(SIM_CHOICE_ACTOR, STALL_ODDS) == 0;
	sim_fault_met(SIM_FAULT_STALL, c->cp_id, now);
	if (!now)
		return;
	m->m_stalled = c->cp_id;
	m->m_stall_end =
		m->m_step + (1u << (STALL_LEAST + sim_choose(SIM_CHOICE_RUN, STALL_LENGTHS)));
	m->m_stall_steps += m->m_stall_end - m->m_step;
}

/* Picks who is next; returns when that is the CPU that called, maybe much later. */
static void
decide(struct sim_machine *m)
{
	struct cpu *me = m->m_cpu;

	if (m->m_cfg.sc_stalls)
		stall(m, me);
	for (;;) {
		struct options os;

		if (m->m_step >= m->m_budget_at || m->m_step >= m->m_audit_at ||
		    m->m_step >= m->m_break_at)
			audit_and_budget(m);
		if (sched_quiet(m))
			machine_end(m, SIM_RUN_PASSED, "", "", "");
		list_options(m, &os, me);
		if (os.os_cpus == 0 && !os.os_helps)
			deadlock(m);

		m->m_ct.ct_decisions++;
		unsigned int which = 0;
		uint32_t k = pick_option(m, &os, &which);
		m->m_offered = 0;
		if (os.os_option[k].op_agent) {
			step_agent(m, os.os_option[k].op_index, which);
			continue;
		}
		uint32_t run = sim_choose(SIM_CHOICE_RUN, m->m_cfg.sc_run_lengths);
		m->m_decide_at = m->m_step + ((uint64_t)1 << run);
		sched_set_slow_at(m);
		struct cpu *next = &m->m_cpus[os.os_option[k].op_index];
		if (next != me) {
			m->m_ct.ct_switches++;
			m->m_cpu = next;
			m->m_actor = next->cp_id;
			fiber_switch(&me->cp_fiber, &next->cp_fiber, false);
		}
		return;
	}
}

void
sched_point_slow(struct sim_machine *m)
{
	struct cpu *me = m->m_cpu;

	if (m->m_step >= m->m_budget_at || m->m_step >= m->m_audit_at || m->m_step >= m->m_break_at)
		audit_and_budget(m);
	if (m->m_step >= m->m_decide_at)
		decide(m);
	cpu_take_interrupts(m, me);
}

void
sched_point_settled(struct sim_machine *m, enum sim_access kind, const void *addr,
		    bool (*ready)(void *arg), void *arg)
{
	struct cpu *const c = m->m_cpu;

	if (!m->m_cfg.sc_settle || c == NULL) {
		point_at(m, kind, addr);
		return;
	}
	c->cp_relaxing = false;
	c->cp_next_kind = kind;
	c->cp_next = addr;
	c->cp_points++;
	m->m_ct.ct_points[kind]++;
	m->m_step++;
	do {
		c->cp_ready = ready;
		c->cp_ready_arg = arg;
		c->cp_what = "its stores to arrive";
		c->cp_state = CPU_WAITING;
		decide(m);
		c->cp_state = CPU_READY;
		cpu_take_interrupts(m, c);
	} while (!ready(arg));
}

void
sim_touch(uint64_t object, enum sim_touch how)
{
	touch(sim_the_machine, object, how);
}

void
sim_touch_ghost(const void *ghost)
{
	const struct sim_machine *m = sim_the_machine;

	if (m->m_touch != NULL)
		m->m_touch(m->m_policy_arg, word_object(m, ghost, SIM_OBJECT_GHOST),
			   SIM_TOUCH_WRITE);
}

void
sim_point(enum sim_access kind, const void *addr)
{
	struct sim_machine *m = sim_the_machine;

	if (m->m_cpu == NULL)
		return;
	point(m, kind);
	trace(m, kind, addr == NULL ? 0 : address_id(m, (uintptr_t)addr), 0);
}

void
sim_trace(enum sim_access kind, uint64_t id, uint64_t value)
{
	trace(sim_the_machine, kind, id, value);
}

uint64_t
sim_step_count(void)
{
	return sim_the_machine->m_step;
}

uint64_t
sim_stalled_steps(void)
{
	const struct sim_machine *m = sim_the_machine;
	const uint64_t left = m->m_step < m->m_stall_end ? m->m_stall_end - m->m_step : 0;

	return m->m_stall_steps - left;
}

void
sim_aside(void (*fn)(void *arg), void *arg)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	m->m_cpu = NULL;
	fn(arg);
	m->m_cpu = c;
}

bool
sim_in_fiber(void)
{
	return sim_the_machine->m_cpu != NULL;
}

void
sim_wait_until(const char *what, bool (*ready)(void *arg), void *arg)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	if (c == NULL) {
		if (!ready(arg))
			sim_violation("CK-SCHED", "I24", "the driver waits for %s", what);
		return;
	}
	if (c->cp_in_guest)
		sim_violation("CK-SCHED", "I44", "wait for %s in guest mode", what);
	while (!ready(arg)) {
		c->cp_ready = ready;
		c->cp_ready_arg = arg;
		c->cp_what = what;
		c->cp_state = CPU_WAITING;
		decide(m);
		c->cp_state = CPU_READY;
		cpu_take_interrupts(m, c);
	}
}

/* A turn of a loop that waits for another CPU: always a decision. */
void
sim_relax(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	lock_check_may_wait(m, "host_relax()");
	if (m->m_relax_progress != m->m_progress) {
		m->m_relax_progress = m->m_progress;
		m->m_idle_relaxes = 0;
	} else if (++m->m_idle_relaxes > IDLE_RELAXES_MAX) {
		sim_violation("CK-SCHED", "I24", "livelock: CPUs spin, and nothing ever changes");
	}
	if (c == NULL)
		return;
	m->m_step++;
	c->cp_points++;
	m->m_ct.ct_points[SIM_RELAX]++;
	trace(m, SIM_RELAX, 0, 0);
	c->cp_next_kind = SIM_RELAX;
	c->cp_next = NULL;
	c->cp_relaxing = true;
	c->cp_relax_progress = m->m_progress;
	decide(m);
	cpu_take_interrupts(m, c);
}

struct barrier_wait {
	const struct sim_barrier *bw_barrier;
	uint64_t bw_round;
};

static bool
round_over(void *arg)
{
	const struct barrier_wait *w = arg;

	return w->bw_barrier->ba_round != w->bw_round;
}

void
sim_barrier_wait(struct sim_barrier *b)
{
	struct barrier_wait w = {b, b->ba_round};

	point(sim_the_machine, SIM_USER);
	trace(sim_the_machine, SIM_USER, 0, b->ba_round);
	if (++b->ba_arrived == b->ba_parties) {
		b->ba_arrived = 0;
		b->ba_round++;
		return;
	}
	sim_wait_until("the others at a barrier", round_over, &w);
}

/* The whole life of a CPU's fiber. */
void
sched_fiber_start(void *arg)
{
	struct cpu *c = arg;
	struct sim_machine *m = sim_the_machine;

	c->cp_fn(c->cp_arg);
	if (c->cp_nheld > 0)
		sim_violation("CK-SCHED", "I44", "a program returned with %u locks held",
			      c->cp_nheld);
	if (c->cp_nmutexes > 0)
		sim_violation("CK-SCHED", "I44", "a program returned with %u mutexes held",
			      c->cp_nmutexes);
	if (c->cp_epoch_depth > 0 || !c->cp_irq_on || c->cp_in_guest)
		sim_violation("CK-SCHED", "I44", "a program returned %s",
			      c->cp_epoch_depth > 0 ? "inside an epoch section"
			      : c->cp_in_guest	    ? "in guest mode"
						    : "with interrupts off");
	c->cp_state = CPU_IDLE;
	m->m_nlive--;
	m->m_progress++;
	for (;;)
		decide(m);
}
