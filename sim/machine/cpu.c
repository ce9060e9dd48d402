/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * CPUs: interrupts, guest mode, going offline; and the two agents every machine has, which empty
 * store buffers and carry interrupts.
 *
 * An interrupt is in flight, then pending at its CPU, then taken. Two that are pending at once are
 * taken as one, as in an APIC's request register (Intel SDM vol. 3A 10.8.4). Taking one drains the
 * store buffer (11.10), and so does sending one here: whoever sends by an MSR write, which alone
 * does not drain, is expected to fence (10.12.3).
 */

#include <inttypes.h>

#include "sim/machine/machine_priv.h"
#include "sim/story/story_record.h"

/* A delayed interrupt waits for 2^DELAY_LEAST to 2^(DELAY_LEAST + DELAY_LENGTHS - 1) turns. */
#define DELAY_LEAST 2
#define DELAY_LENGTHS 4

unsigned int
sim_cpu(void)
{
	const struct cpu *c = sim_the_machine->m_cpu;

	return c != NULL ? c->cp_id : 0;
}

unsigned int
sim_cpu_count(void)
{
	return sim_the_machine->m_ncpus;
}

static struct cpu *
cpu_at(struct sim_machine *m, unsigned int cpu)
{
	if (cpu > m->m_ncpus)
		sim_violation("CK-API", "I24", "there is no CPU %u", cpu);
	return &m->m_cpus[cpu];
}

uint64_t
sim_cpu_points(unsigned int cpu)
{
	return cpu_at(sim_the_machine, cpu)->cp_points;
}

bool
sim_cpu_online(unsigned int cpu)
{
	return cpu_at(sim_the_machine, cpu)->cp_online;
}

void
sim_cpu_set_online(unsigned int cpu, bool online)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = cpu_at(m, cpu);

	touch(m, SIM_OBJECT(SIM_OBJECT_CPU, cpu), SIM_TOUCH_WRITE);
	touch(m, SIM_OBJECT(SIM_OBJECT_KICK, cpu), SIM_TOUCH_WRITE);
	touch(m, SIM_OBJECT(SIM_OBJECT_IRQ, cpu), SIM_TOUCH_WRITE);
	c->cp_online = online;
	trace(m, SIM_USER, cpu, online);
	if (online || sim_fault_off(SIM_FAULT_KICK_OFFLINE))
		return;
	for (uint32_t i = 0; i < c->cp_kicks; i++)
		sim_fault_met(SIM_FAULT_KICK_OFFLINE, cpu, true);
	m->m_ct.ct_kicks_lost += c->cp_kicks;
	c->cp_kicks = 0;
	c->cp_kick_hold = 0;
	c->cp_irq_pending = false;
	m->m_kicked &= ~((uint32_t)1 << cpu);
}

bool
sim_cpu_kick_pending(unsigned int cpu)
{
	return cpu_at(sim_the_machine, cpu)->cp_irq_pending;
}

bool
sim_cpu_in_guest(unsigned int cpu)
{
	return cpu_at(sim_the_machine, cpu)->cp_in_guest;
}

/* ---- Interrupts ---- */

void
sim_set_irq_handler(void (*handler)(void *arg, unsigned int cpu), void *arg)
{
	sim_the_machine->m_irq_handler = handler;
	sim_the_machine->m_irq_handler_arg = arg;
}

static void
take_interrupt(struct sim_machine *m, struct cpu *c)
{
	unsigned int held = c->cp_nheld;
	uint32_t depth = c->cp_epoch_depth;

	touch(m, SIM_OBJECT(SIM_OBJECT_IRQ, c->cp_id), SIM_TOUCH_WRITE);
	memory_touch_drained(m, c);
	c->cp_irq_pending = false;
	c->cp_irq_on = false;
	c->cp_relaxing = false;
	memory_drain(m, c);
	m->m_ct.ct_interrupts++;
	m->m_progress++;
	trace(m, SIM_IRQ, 0, c->cp_id);
	if (m->m_irq_handler != NULL && c->cp_id < m->m_ncpus)
		m->m_irq_handler(m->m_irq_handler_arg, c->cp_id);
	if (c->cp_nheld != held || c->cp_epoch_depth != depth || c->cp_irq_on)
		sim_violation("CK-SCHED", "I44",
			      "an interrupt handler left locks, sections or interrupts changed");
	c->cp_irq_on = true;
}

/* Where stores leave by themselves an interrupt is taken once they have: it waits for them. */
bool
cpu_may_take(const struct sim_machine *m, const struct cpu *c)
{
	return c->cp_irq_pending && c->cp_irq_on && !(m->m_cfg.sc_settle && c->cp_nstores > 0);
}

void
cpu_take_interrupts(struct sim_machine *m, struct cpu *c)
{
	if (c->cp_irq_on)
		touch(m, SIM_OBJECT(SIM_OBJECT_IRQ, c->cp_id), SIM_TOUCH_READ);
	while (cpu_may_take(m, c) && !c->cp_in_guest)
		take_interrupt(m, c);
}

void
sim_irq_disable(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	if (c == NULL)
		return;
	point(m, SIM_IRQ);
	trace(m, SIM_IRQ, 1, 0);
	if (c->cp_irq_on)
		c->cp_irqs_off_since = c->cp_points;
	c->cp_irq_on = false;
}

void
sim_irq_enable(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	if (c == NULL)
		return;
	if (c->cp_in_guest)
		sim_violation("CK-SCHED", "I44", "interrupts switched on in guest mode");
	if (!c->cp_irq_on)
		lock_check_length(m, c, c->cp_irqs_off_since, &m->m_ct.ct_longest_irqs_off,
				  "interrupts were off");
	c->cp_irq_on = true;
	if (!m->m_cfg.sc_settle) /* else at the point: it may have to wait */
		cpu_take_interrupts(m, c);
	point(m, SIM_IRQ);
	trace(m, SIM_IRQ, 1, 1);
}

bool
sim_irq_enabled(void)
{
	const struct cpu *c = sim_the_machine->m_cpu;

	return c == NULL || c->cp_irq_on;
}

/* The number-th kick that left for a CPU. */
static void
touch_kick(const struct sim_machine *m, const struct cpu *c, uint64_t number, enum sim_touch how)
{
	touch(m, SIM_OBJECT(SIM_OBJECT_SENT, (uint64_t)c->cp_id << 32 | number), how);
}

void
sim_kick(unsigned int cpu)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = cpu_at(m, cpu);

	trace(m, SIM_KICK, 0, cpu);
	touch(m, SIM_OBJECT(SIM_OBJECT_CPU, cpu), SIM_TOUCH_READ);
	if (c == m->m_cpu)
		return;
	if (!sim_fault_off(SIM_FAULT_KICK_OFFLINE)) {
		sim_fault_met(SIM_FAULT_KICK_OFFLINE, cpu, !c->cp_online);
		if (!c->cp_online)
			return;
	}
	m->m_ct.ct_kicks_sent++;
	touch(m, SIM_OBJECT(SIM_OBJECT_KICK, cpu), SIM_TOUCH_READ);
	if (m->m_cfg.sc_settle && c->cp_kicks > 0)
		return; /* one stands for both */
	touch_kick(m, c, ++c->cp_sent, SIM_TOUCH_RELEASE);
	m->m_kick_clock++;
	if (c->cp_kicks < KICKS_TRACKED)
		c->cp_kick_sent[c->cp_kicks] = m->m_kick_clock;
	c->cp_kicks++;
	m->m_kicked |= (uint32_t)1 << cpu;
	if (fault_at(m, SIM_FAULT_KICK_DELAY, cpu))
		c->cp_kick_hold |= 1u
				   << (DELAY_LEAST + sim_choose(SIM_CHOICE_FAULT, DELAY_LENGTHS));
}

void
sim_host_kick(unsigned int cpu)
{
	struct sim_machine *m = sim_the_machine;

	memory_point(m, SIM_KICK, NULL);
	memory_drain(m, self(m));
	sim_kick(cpu);
}

static void
arrive(struct sim_machine *m, struct cpu *c)
{
	touch(m, SIM_OBJECT(SIM_OBJECT_IRQ, c->cp_id), SIM_TOUCH_WRITE);
	/* A CPU without a program idles with interrupts on: it takes this one and idles on. */
	if (c->cp_state == CPU_IDLE)
		m->m_ct.ct_interrupts++;
	else
		c->cp_irq_pending = true;
	m->m_progress++;
	STORY(arrived(c->cp_id));
}

/* ---- Guest mode ---- */

bool
sim_guest_enter(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	if (c == NULL)
		sim_violation("CK-SCHED", "I20", "only a CPU's program enters a guest");
	memory_point(m, SIM_GUEST, NULL);
	touch(m, SIM_OBJECT(SIM_OBJECT_IRQ, c->cp_id), SIM_TOUCH_READ);
	if (c->cp_irq_on || c->cp_nheld > 0 || c->cp_epoch_depth > 0 || c->cp_in_guest ||
	    !c->cp_online)
		sim_violation("CK-SCHED", "I20", "guest entry %s",
			      c->cp_in_guest	      ? "from a guest"
			      : c->cp_irq_on	      ? "with interrupts on"
			      : c->cp_nheld > 0	      ? "with a lock held"
			      : c->cp_epoch_depth > 0 ? "inside an epoch section"
						      : "on a CPU that is offline");
	memory_drain(m, c);
	m->m_ct.ct_guest_entries++;
	trace(m, SIM_GUEST, 0, !c->cp_irq_pending);
	if (c->cp_irq_pending) {
		m->m_ct.ct_guest_forced++;
		return false;
	}
	c->cp_in_guest = true;
	return true;
}

bool
sim_guest_point(uint64_t gpa)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	if (c == NULL || !c->cp_in_guest)
		sim_violation("CK-SCHED", "I20", "a guest instruction outside guest mode");
	point(m, SIM_GUEST);
	touch(m, SIM_OBJECT(SIM_OBJECT_IRQ, c->cp_id), SIM_TOUCH_READ);
	trace(m, SIM_GUEST, SIM_ID_GPA | gpa, c->cp_irq_pending);
	if (!c->cp_irq_pending)
		return true;
	c->cp_in_guest = false;
	m->m_ct.ct_guest_forced++;
	return false;
}

void
sim_guest_exit(void)
{
	struct sim_machine *m = sim_the_machine;
	struct cpu *c = m->m_cpu;

	if (c == NULL)
		return;
	c->cp_in_guest = false;
	/* The guest could be interrupted all the time. */
	c->cp_irqs_off_since = c->cp_points;
	point(m, SIM_GUEST);
	trace(m, SIM_GUEST, 0, 2);
}

/* ---- Translation caches ---- */

void
sim_set_tlb_ops(const struct sim_tlb_ops *ops, void *arg)
{
	sim_the_machine->m_tlb_ops = ops;
	sim_the_machine->m_tlb_arg = arg;
}

static void
check_invalidate(struct sim_machine *m, const char *what)
{
	const struct cpu *c = m->m_cpu;

	if (m->m_tlb_ops == NULL)
		sim_violation("CK-API", "I18", "%s, but no translation cache is attached", what);
	if (c != NULL && c->cp_irq_on && c->cp_epoch_depth == 0)
		sim_violation("CK-API", "I18", "%s outside an epoch section, interrupts on", what);
	memory_point(m, SIM_INVALIDATE, NULL);
	/* INVLPG and a move to CR3 serialize (Intel SDM vol. 3A 8.3). */
	memory_drain(m, self(m));
}

void
sim_invlpg(uint64_t va, uint64_t npages)
{
	struct sim_machine *m = sim_the_machine;

	check_invalidate(m, "host_invlpg()");
	trace(m, SIM_INVALIDATE, SIM_ID_GPA | va, npages);
	m->m_tlb_ops->to_invlpg(m->m_tlb_arg, sim_cpu(), va, npages);
}

void
sim_flush_tlb(bool global)
{
	struct sim_machine *m = sim_the_machine;

	check_invalidate(m, "host_flush_tlb()");
	trace(m, SIM_INVALIDATE, 0, global);
	m->m_tlb_ops->to_flush(m->m_tlb_arg, sim_cpu(), global);
}

/* ---- The machine's own agents ---- */

static struct cpu *
nth_cpu(struct sim_machine *m, uint32_t mask, unsigned int which)
{
	while (which-- > 0)
		mask &= mask - 1;
	return &m->m_cpus[__builtin_ctz(mask)];
}

static unsigned int
drain_enabled(void *arg)
{
	const struct sim_machine *m = arg;

	return m->m_buffered == 0 ? 0 : (unsigned int)__builtin_popcount(m->m_buffered);
}

static void
drain_step(void *arg, unsigned int which)
{
	struct sim_machine *m = arg;
	struct cpu *c = nth_cpu(m, m->m_buffered, which);

	m->m_ct.ct_drains++;
	sim_fault_met(SIM_FAULT_DELAYED_STORE, c->cp_id, true);
	memory_drain_one(m, c);
}

/* When the oldest interrupt on its way to a CPU was sent. */
static uint64_t
oldest_kick(const struct sim_machine *m, unsigned int cpu)
{
	const uint64_t sent = m->m_cpus[cpu].cp_kick_sent[0];

	if ((m->m_kicked >> cpu & 1) == 0)
		return UINT64_MAX;
	return sent != UINT64_MAX ? sent : UINT64_MAX - 1; /* not known: late */
}

/* The CPU whose oldest one is the oldest of all. */
static unsigned int
first_kicked(const struct sim_machine *m)
{
	unsigned int first = 0;

	for (unsigned int i = 1; i <= m->m_ncpus; i++)
		first = oldest_kick(m, i) < oldest_kick(m, first) ? i : first;
	return first;
}

/* CPUs at which one may arrive now: all to which any is on its way, unless told otherwise. */
static uint32_t
deliverable(const struct sim_machine *m)
{
	uint32_t set = m->m_kicked;

	for (unsigned int i = 0; i <= m->m_ncpus; i++) {
		const struct cpu *c = &m->m_cpus[i];
		if (!c->cp_online || (c->cp_irq_pending && c->cp_state != CPU_IDLE &&
				      m->m_cfg.sc_fault_off[SIM_FAULT_KICK_COALESCE]))
			set &= ~((uint32_t)1 << i);
	}
	if (m->m_cfg.sc_fault_off[SIM_FAULT_KICK_REORDER])
		set &= (uint32_t)1 << first_kicked(m);
	return set;
}

/* The word that the oldest store of that buffer goes to. */
static void
drain_about(void *arg, unsigned int which, struct sim_offer *of)
{
	struct sim_machine *m = arg;
	const struct cpu *c = nth_cpu(m, m->m_buffered, which);

	of->of_lane = (uint8_t)c->cp_id;
	of->of_kind = SIM_STORE;
	of->of_id = address_id(m, (uintptr_t)c->cp_stores[0].ps_word);
}

static void
kick_about(void *arg, unsigned int which, struct sim_offer *of)
{
	struct sim_machine *m = arg;

	of->of_lane = (uint8_t)nth_cpu(m, deliverable(m), which)->cp_id;
	of->of_kind = SIM_KICK;
	of->of_id = of->of_lane;
}

static unsigned int
kick_enabled(void *arg)
{
	const struct sim_machine *m = arg;

	return m->m_kicked == 0 ? 0 : (unsigned int)__builtin_popcount(deliverable(m));
}

/* The oldest one on its way leaves the list of those that are. */
static void
forget_oldest(struct cpu *c)
{
	const unsigned int tracked = c->cp_kicks < KICKS_TRACKED ? c->cp_kicks : KICKS_TRACKED;

	for (unsigned int i = 1; i < tracked; i++)
		c->cp_kick_sent[i - 1] = c->cp_kick_sent[i];
	/* Of more than that the order is not known: the youngest of all, then. */
	c->cp_kick_sent[tracked - 1] = UINT64_MAX;
}

static void
kick_step(void *arg, unsigned int which)
{
	struct sim_machine *m = arg;
	struct cpu *c = nth_cpu(m, deliverable(m), which);

	if (c->cp_kick_hold > 0) {
		c->cp_kick_hold--;
		return;
	}
	sim_fault_met(SIM_FAULT_KICK_REORDER, c->cp_id, first_kicked(m) != c->cp_id);
	sim_fault_met(SIM_FAULT_KICK_COALESCE, c->cp_id, c->cp_irq_pending);
	m->m_ct.ct_kicks_arrived++;
	touch_kick(m, c, c->cp_sent - c->cp_kicks + 1, SIM_TOUCH_ACQUIRE);
	touch(m, SIM_OBJECT(SIM_OBJECT_KICK, c->cp_id), SIM_TOUCH_WRITE);
	forget_oldest(c);
	if (--c->cp_kicks == 0)
		m->m_kicked &= ~((uint32_t)1 << c->cp_id);
	arrive(m, c);
}

static unsigned int
spurious_enabled(void *arg)
{
	const struct sim_machine *m = arg;

	return m->m_nlive > 0 ? m->m_ncpus : 0;
}

static void
spurious_step(void *arg, unsigned int which)
{
	struct sim_machine *m = arg;

	if (m->m_cpus[which].cp_online && fault_at(m, SIM_FAULT_SPURIOUS_KICK, which))
		arrive(m, &m->m_cpus[which]);
}

void
cpu_agents_init(struct sim_machine *m)
{
	static const struct sim_agent_ops spurious_ops = {
		"spurious interrupt", 1, spurious_enabled, spurious_step, false, NULL};

	m->m_drain_ops = (struct sim_agent_ops){"store buffer", m->m_cfg.sc_drain_weight,
						drain_enabled,	drain_step,
						true,		drain_about};
	m->m_kick_ops = (struct sim_agent_ops){
		"interrupt", m->m_cfg.sc_kick_weight, kick_enabled, kick_step, true, kick_about};
	sim_agent_add(&m->m_drain_ops, m);
	sim_agent_add(&m->m_kick_ops, m);
	if (m->m_cfg.sc_fault_ppm[SIM_FAULT_SPURIOUS_KICK] > 0 ||
	    m->m_cfg.sc_fault_nth[SIM_FAULT_SPURIOUS_KICK] > 0)
		sim_agent_add(&spurious_ops, m);
}
