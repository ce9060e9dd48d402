/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What goes wrong: whether a fault happens, and what it met.
 *
 * A fault is asked for where it could happen, by the name of its kind, and what is counted is
 * both: how often it could have happened and how often it did, by what the CPU was doing. A cell
 * that was asked for and never hit is a gap in what was tested, one that was never asked for says
 * that the two do not meet.
 *
 * Kinds of nature's are not decided here. A store leaves its buffer late because that is what
 * buffers do; its agent only tells.
 */

#include "sim/machine/machine_priv.h"
#include "sim/machine/machine_vm.h"
#include "sim/story/story_record.h"

/* A drought of tables lasts for 2^DROUGHT_LEAST to 2^(DROUGHT_LEAST + DROUGHT_LENGTHS - 1). */
#define DROUGHT_LEAST 3
#define DROUGHT_LENGTHS 4

const char *
sim_fault_name(enum sim_fault f)
{
	static const char *const names[SIM_FAULT_COUNT] = {
		[SIM_FAULT_TABLE_ALLOC] = "table-alloc",
		[SIM_FAULT_ALLOC] = "alloc",
		[SIM_FAULT_SPURIOUS_KICK] = "spurious-interrupt",
		[SIM_FAULT_ENTRY] = "entry-failure",
		[SIM_FAULT_SPURIOUS_EXIT] = "spurious-exit",
		[SIM_FAULT_SPURIOUS_FAULT] = "spurious-fault",
		[SIM_FAULT_INTERRUPT] = "interrupted-wait",
		[SIM_FAULT_PAGE_ALLOC] = "page-alloc",
		[SIM_FAULT_SWAP_READ] = "swap-read",
		[SIM_FAULT_SWAP_WRITE] = "swap-write",
		[SIM_FAULT_IOMMU] = "iommu",
		[SIM_FAULT_RESERVE] = "reserve",
		[SIM_FAULT_KICK_DELAY] = "ipi-delay",
		[SIM_FAULT_KICK_REORDER] = "ipi-reorder",
		[SIM_FAULT_KICK_COALESCE] = "ipi-coalesce",
		[SIM_FAULT_KICK_OFFLINE] = "ipi-offline",
		[SIM_FAULT_STUCK_GUEST] = "stuck-guest",
		[SIM_FAULT_SWAP_SHORT] = "swap-short",
		[SIM_FAULT_SWAP_LATE] = "swap-late",
		[SIM_FAULT_FLUSH_LATE] = "iommu-flush-late",
		[SIM_FAULT_DMA] = "dma",
		[SIM_FAULT_POISON] = "poison",
		[SIM_FAULT_SPECULATION] = "speculation",
		[SIM_FAULT_EVICTION] = "eviction",
		[SIM_FAULT_DELAYED_STORE] = "delayed-store",
		[SIM_FAULT_MIGRATION] = "migration",
		[SIM_FAULT_OFFLINE] = "cpu-offline",
		[SIM_FAULT_STALL] = "stall",
		[SIM_FAULT_GENERATION] = "generation-wrap",
		[SIM_FAULT_DESTROY] = "destroy",
		[SIM_FAULT_KILL] = "kill",
		[SIM_FAULT_HOSTILE] = "hostile",
	};

	return (unsigned int)f < SIM_FAULT_COUNT ? names[f] : "unknown";
}

/* ---- What was met --------------------------------------------------------------------------- */

static void
count(struct sim_machine *m, enum sim_fault f, unsigned int cpu, bool happened)
{
	struct sim_fault_cell *cell = &m->m_fault_cells[f][m->m_cpus[cpu].cp_fault_scope];

	m->m_ct.ct_fault_asked[f]++;
	m->m_ct.ct_faults[f] += happened;
	cell->fc_asked++;
	cell->fc_hit += happened;
}

/* What happens to no CPU in particular meets whatever each of them does. */
void
fault_met_by_all(struct sim_machine *m, enum sim_fault f)
{
	m->m_ct.ct_fault_asked[f]++;
	m->m_ct.ct_faults[f]++;
	for (unsigned int i = 0; i < m->m_ncpus; i++) {
		struct sim_fault_cell *cell = &m->m_fault_cells[f][m->m_cpus[i].cp_fault_scope];

		cell->fc_asked++;
		cell->fc_hit++;
	}
}

void
sim_fault_met(enum sim_fault f, unsigned int cpu, bool happened)
{
	count(sim_the_machine, f, cpu, happened);
}

bool
sim_fault_off(enum sim_fault f)
{
	return sim_the_machine->m_cfg.sc_fault_off[f];
}

void
sim_fault_scope(unsigned int operation)
{
	struct sim_machine *m = sim_the_machine;

	self(m)->cp_fault_scope = operation < SIM_OPERATIONS_MAX ? operation : 0;
	m->m_scopes[self(m)->cp_fault_scope]++;
}

uint64_t
sim_fault_scopes(unsigned int operation)
{
	return operation < SIM_OPERATIONS_MAX ? sim_the_machine->m_scopes[operation] : 0;
}

struct sim_fault_cell
sim_fault_cell(enum sim_fault f, unsigned int operation)
{
	return operation < SIM_OPERATIONS_MAX ? sim_the_machine->m_fault_cells[f][operation]
					      : (struct sim_fault_cell){0};
}

uint64_t
sim_cpu_failures(unsigned int cpu)
{
	return sim_the_machine->m_cpus[cpu].cp_failures;
}

/* ---- Whether it happens --------------------------------------------------------------------- */

/* While a drought lasts, every request for a table fails. */
static bool
drought(struct sim_machine *m, bool happens)
{
	if (m->m_drought > 0) {
		m->m_drought--;
		return true;
	}
	if (happens)
		m->m_drought =
			(1u << (DROUGHT_LEAST + sim_choose(SIM_CHOICE_FAULT, DROUGHT_LENGTHS))) - 1;
	return happens;
}

/* After which the core may have to look for memory, or to give up; others only take time. */
static bool
is_failure(enum sim_fault f)
{
	return f <= SIM_FAULT_RESERVE || f == SIM_FAULT_SWAP_SHORT || f == SIM_FAULT_KILL;
}

bool
fault_at(struct sim_machine *m, enum sim_fault f, unsigned int cpu)
{
	uint64_t asked = m->m_ct.ct_fault_asked[f] + 1;
	uint64_t nth = m->m_cfg.sc_fault_nth[f];
	if (m->m_cfg.sc_fault_ppm[f] > 0 || nth != 0)
		touch(m, SIM_OBJECT(SIM_OBJECT_FAULT, f), SIM_TOUCH_WRITE);
	bool happens = false;

	if (m->m_cfg.sc_fault_budget == 0 || m->m_happened < m->m_cfg.sc_fault_budget)
		happens = sim_choose_chance(SIM_CHOICE_FAULT, m->m_cfg.sc_fault_ppm[f]);
	m->m_happened += happens;

	if (m->m_cfg.sc_fault_ppm[f] != 0)
		sim_choice_word(sim_fault_name(f));
	if (nth != 0 && (asked == nth || (asked > nth && m->m_cfg.sc_fault_persist[f])))
		happens = true;
	if (f == SIM_FAULT_RESERVE)
		happens = drought(m, happens);
	count(m, f, cpu, happens);
	self(m)->cp_failures += happens && is_failure(f);
	if (happens)
		STORY(fault(f));
	return happens;
}

bool
sim_fault(enum sim_fault f)
{
	struct sim_machine *m = sim_the_machine;

	return fault_at(m, f, self(m)->cp_id);
}

/* ---- Threads that are killed ---------------------------------------------------------------- */

/*
 * A killed thread is signaled for good: no wait of it that can be interrupted lasts, until it is
 * where it would return to user space. What it had begun must have been finished or undone there.
 */

static bool
can_be_killed(const struct cpu *c)
{
	return c->cp_state != CPU_IDLE && c->cp_fault_scope != 0 && !c->cp_killed;
}

static unsigned int
kill_enabled(void *arg)
{
	const struct sim_machine *m = arg;
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->m_ncpus; i++)
		n += can_be_killed(&m->m_cpus[i]);
	return n;
}

static void
kill_step(void *arg, unsigned int which)
{
	struct sim_machine *m = arg;
	unsigned int i = 0;

	while (!can_be_killed(&m->m_cpus[i]) || which-- > 0)
		i++;
	if (!fault_at(m, SIM_FAULT_KILL, i))
		return;
	m->m_cpus[i].cp_killed = true;
	sim_signal(i);
}

bool
sim_killed(void)
{
	struct cpu *c = self(sim_the_machine);
	const bool killed = c->cp_killed;

	c->cp_killed = false;
	return killed;
}

void
fault_agent_init(struct sim_machine *m)
{
	m->m_kill_ops = (struct sim_agent_ops){"kill", 1, kill_enabled, kill_step, false, NULL};
	if (m->m_cfg.sc_fault_ppm[SIM_FAULT_KILL] > 0 || m->m_cfg.sc_fault_nth[SIM_FAULT_KILL] > 0)
		sim_agent_add(&m->m_kill_ops, m);
}
