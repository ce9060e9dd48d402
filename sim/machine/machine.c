/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A machine's life: configuration, runs, how they end, what is reported.
 *
 * A run ends where it is, in whatever fiber, by going back to the thread's own stack; the fibers
 * are abandoned. That is why all memory of a machine is its own, and goes with it.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine/machine_priv.h"
#include "sim/story/story_record.h"

struct sim_machine *sim_the_machine;

#define STEPS_DEFAULT 100000000
#define FRAMES_DEFAULT 4096
#define FRAMES_MAX ((uint32_t)1 << 22)
#define SWAP_SLOTS_MAX ((uint32_t)1 << 22)
#define PHYS_BASE_DEFAULT ((uint64_t)1 << 30)
#define PHYS_LIMIT ((uint64_t)1 << 52) /* Intel SDM vol. 3A 4.1.4: MAXPHYADDR is at most 52 */
#define STORE_BUFFER_DEFAULT 8
#define RUN_LENGTHS_MAX 16
#define DRAIN_WEIGHT_DEFAULT 4
#define KICK_WEIGHT_DEFAULT 4
#define DEVICE_WEIGHT_DEFAULT 4

/* ---- How things end ---- */

/* The first end counts. */
static void
note_end(struct sim_machine *m, enum sim_result result, const char *check, const char *invariant,
	 const char *message)
{
	struct sim_report *r = &m->m_report;

	if (r->sr_result != SIM_RUN_PASSED)
		return;
	if (result == SIM_RUN_VIOLATED)
		STORY(violation(check, invariant, message));
	r->sr_result = result;
	r->sr_cpu = m->m_actor;
	r->sr_step = m->m_step;
	snprintf(r->sr_check, sizeof r->sr_check, "%s", check);
	snprintf(r->sr_invariant, sizeof r->sr_invariant, "%s", invariant);
	snprintf(r->sr_message, sizeof r->sr_message, "%s", message);
}

_Noreturn void
machine_end(struct sim_machine *m, enum sim_result result, const char *check, const char *invariant,
	    const char *message)
{
	note_end(m, result, check, invariant, message);
	if (m->m_running)
		fiber_switch(&m->m_left, &m->m_main, true);
	else if (m->m_catching)
		longjmp(m->m_catch, 1);
	fprintf(stderr, "sim: %s %s: %s\n", check, invariant, message);
	abort();
}

void
sim_violation(const char *check, const char *invariant, const char *fmt, ...)
{
	struct sim_machine *m = sim_the_machine;
	char message[sizeof m->m_report.sr_message];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof message, fmt, ap);
	va_end(ap);
	if (m == NULL) {
		fprintf(stderr, "sim: %s %s: %s\n", check, invariant, message);
		abort();
	}
	machine_end(m, SIM_RUN_VIOLATED, check, invariant, message);
}

void
sim_assert_failed(const char *expr, const char *file, int line)
{
	const char *slash = strrchr(file, '/');

	sim_violation("CK-API", "", "assertion failed: %s (%s:%d)", expr,
		      slash != NULL ? slash + 1 : file, line);
}

static enum sim_result
fill_report(const struct sim_machine *m, struct sim_report *report)
{
	enum sim_result result = m->m_report.sr_result;

	if (report != NULL) {
		*report = m->m_report;
		if (result == SIM_RUN_PASSED)
			report->sr_step = m->m_step;
		report->sr_hash = m->m_hash;
		report->sr_counters = m->m_ct;
	}
	return result;
}

/* ---- Names ---- */

const char *
sim_access_name(enum sim_access kind)
{
	static const char *const names[SIM_ACCESS_COUNT] = {
		"load",	  "load-acquire", "store",	"store-release", "rmw",	  "fence", "lock",
		"unlock", "epoch-enter",  "epoch-exit", "defer",	 "alloc", "free",  "kick",
		"relax",  "invalidate",	  "irq",	"guest",	 "hw",	  "user",  "io",
	};

	return (unsigned int)kind < SIM_ACCESS_COUNT ? names[kind] : "unknown";
}

/* ---- Hooks and agents ---- */

void
sim_agent_add(const struct sim_agent_ops *ops, void *arg)
{
	struct sim_machine *m = sim_the_machine;

	if (m->m_nagents == SIM_MAX_AGENTS)
		sim_violation("CK-API", "", "more than %d agents", SIM_MAX_AGENTS);
	m->m_agents[m->m_nagents++] = (struct agent){ops, arg};
}

void
sim_set_write_hook(void (*hook)(void *arg, const struct sim_table_write *w), void *arg)
{
	sim_the_machine->m_write_hook = hook;
	sim_the_machine->m_write_hook_arg = arg;
}

void
sim_set_free_hook(void (*hook)(void *arg, uint64_t hpa, enum sim_frame_kind kind), void *arg)
{
	sim_the_machine->m_free_hook = hook;
	sim_the_machine->m_free_hook_arg = arg;
}

void
sim_set_step_hook(void (*hook)(void *arg, const struct sim_step *st), void *arg)
{
	sim_the_machine->m_step_hook = hook;
	sim_the_machine->m_step_hook_arg = arg;
}

void
sim_set_audit_hook(void (*hook)(void *arg), void *arg, uint64_t every)
{
	struct sim_machine *m = sim_the_machine;

	m->m_audit = hook;
	m->m_audit_arg = arg;
	m->m_audit_every = every > 0 ? every : 1;
	m->m_audit_at = hook != NULL ? m->m_step + m->m_audit_every : UINT64_MAX;
	sched_set_slow_at(m);
}

/* ---- Life ---- */

void
sim_config_init(struct sim_config *cfg)
{
	*cfg = (struct sim_config){
		.sc_cpus = 2,
		.sc_memory_model = SIM_TSO,
		.sc_store_buffer = STORE_BUFFER_DEFAULT,
		.sc_steps = STEPS_DEFAULT,
		.sc_run_lengths = 4,
		.sc_frames = FRAMES_DEFAULT,
		.sc_phys_base = PHYS_BASE_DEFAULT,
		.sc_drain_weight = DRAIN_WEIGHT_DEFAULT,
		.sc_kick_weight = KICK_WEIGHT_DEFAULT,
		.sc_disk_weight = DEVICE_WEIGHT_DEFAULT,
		.sc_iommu_weight = DEVICE_WEIGHT_DEFAULT,
		.sc_dma_weight = DEVICE_WEIGHT_DEFAULT,
		.sc_source = SIM_SOURCE_SEED,
		.sc_seed = 1,
	};
}

static void
fill_defaults(struct sim_config *c)
{
	if (c->sc_store_buffer == 0)
		c->sc_store_buffer = STORE_BUFFER_DEFAULT;
	if (c->sc_steps == 0)
		c->sc_steps = STEPS_DEFAULT;
	if (c->sc_run_lengths == 0)
		c->sc_run_lengths = 1;
	if (c->sc_frames == 0)
		c->sc_frames = FRAMES_DEFAULT;
	if (c->sc_phys_base == 0)
		c->sc_phys_base = PHYS_BASE_DEFAULT;
	if (c->sc_drain_weight == 0)
		c->sc_drain_weight = DRAIN_WEIGHT_DEFAULT;
	if (c->sc_kick_weight == 0)
		c->sc_kick_weight = KICK_WEIGHT_DEFAULT;
	if (c->sc_disk_weight == 0)
		c->sc_disk_weight = DEVICE_WEIGHT_DEFAULT;
	if (c->sc_iommu_weight == 0)
		c->sc_iommu_weight = DEVICE_WEIGHT_DEFAULT;
	if (c->sc_dma_weight == 0)
		c->sc_dma_weight = DEVICE_WEIGHT_DEFAULT;
}

/* NULL, or what is wrong. */
static const char *
config_problem(const struct sim_config *c)
{
	if (c->sc_cpus < 1 || c->sc_cpus > SIM_MAX_CPUS)
		return "the number of CPUs must be 1 to 31";
	if (c->sc_memory_model != SIM_TSO && c->sc_memory_model != SIM_SC)
		return "there is no such memory model";
	if (c->sc_store_buffer > STORE_BUFFER_MAX)
		return "a store buffer has at most 16 entries";
	if (c->sc_run_lengths > RUN_LENGTHS_MAX)
		return "at most 16 run lengths";
	if (c->sc_frames > FRAMES_MAX)
		return "at most 4194304 frames (16 GiB)";
	if (c->sc_swap_slots > SWAP_SLOTS_MAX)
		return "at most 4194304 slots of swap (16 GiB)";
	if (c->sc_phys_base % (512 * SIM_PAGE_SIZE) != 0)
		return "physical memory must begin at a multiple of 2 MiB";
	if (c->sc_phys_base >= PHYS_LIMIT ||
	    PHYS_LIMIT - c->sc_phys_base < (uint64_t)c->sc_frames * SIM_PAGE_SIZE)
		return "physical memory must end below 2^52";
	if (c->sc_source == SIM_SOURCE_LIST && c->sc_list == NULL && c->sc_list_len > 0)
		return "a list of choices was announced, but there is none";
	if (c->sc_source == SIM_SOURCE_CALL && c->sc_call == NULL)
		return "a function for choices was announced, but there is none";
	for (int f = 0; f < SIM_FAULT_COUNT; f++) {
		if (c->sc_fault_ppm[f] > 1000000)
			return "a probability is above one";
	}
	return NULL;
}

static void
init_cpu(struct cpu *c, unsigned int id)
{
	c->cp_id = id;
	c->cp_online = true;
	c->cp_irq_on = true;
}

struct sim_machine *
sim_machine_create(const struct sim_config *cfg, char *why, size_t why_bytes)
{
	struct sim_config c = *cfg;

	fill_defaults(&c);
	const char *problem = config_problem(&c);
	if (problem == NULL && sim_the_machine != NULL)
		problem = "there is a machine already";
	struct sim_machine *m = problem == NULL ? calloc(1, sizeof *m) : NULL;
	if (m == NULL) {
		snprintf(why, why_bytes, "%s", problem != NULL ? problem : "no memory");
		return NULL;
	}
	c.sc_frames = (c.sc_frames + 511) / 512 * 512;
	m->m_cfg = c;
	m->m_ncpus = c.sc_cpus;
	m->m_tso = c.sc_memory_model == SIM_TSO && !c.sc_fault_off[SIM_FAULT_DELAYED_STORE];
	m->m_store_buffer = c.sc_store_buffer;
	m->m_actor = SIM_ACTOR_DRIVER;
	m->m_audit_at = UINT64_MAX;
	m->m_budget_at = c.sc_steps;
	m->m_break_at = c.sc_break_at != 0 ? c.sc_break_at : UINT64_MAX;
	m->m_deferred_end = &m->m_deferred;
	for (unsigned int i = 0; i <= m->m_ncpus; i++)
		init_cpu(&m->m_cpus[i], i);
	init_cpu(&m->m_driver, 0);
	fiber_init_main(&m->m_main);

	sim_the_machine = m;
	if (!choice_init(m) || !heap_init(m) || !phys_init(m) || !disk_init(m)) {
		sim_machine_destroy(m);
		snprintf(why, why_bytes, "no memory");
		return NULL;
	}
	cpu_agents_init(m);
	mutex_agent_init(m);
	iommu_init(m);
	dma_init(m);
	fault_agent_init(m);
	return m;
}

void
sim_machine_destroy(struct sim_machine *m)
{
	if (m == NULL)
		return;
	for (unsigned int i = 0; i <= m->m_ncpus; i++)
		fiber_end(&m->m_cpus[i].cp_fiber);
	disk_fini(m);
	phys_fini(m);
	heap_fini(m);
	choice_fini(m);
	free(m);
	sim_the_machine = NULL;
}

static bool
begin_program(struct sim_machine *m, struct cpu *c, void (*fn)(void *arg), void *arg)
{
	if (!fiber_begin(&c->cp_fiber, sched_fiber_start, c))
		return false;
	c->cp_fn = fn;
	c->cp_arg = arg;
	c->cp_signaled = false;
	c->cp_killed = false;
	c->cp_fault_scope = 0;
	c->cp_state = CPU_READY;
	m->m_nlive++;
	return true;
}

int
sim_spawn(struct sim_machine *m, unsigned int cpu, void (*fn)(void *arg), void *arg)
{
	if (cpu >= m->m_ncpus)
		return -EINVAL;
	if (m->m_cpus[cpu].cp_state != CPU_IDLE)
		return -EBUSY;
	return begin_program(m, &m->m_cpus[cpu], fn, arg) ? 0 : -ENOMEM;
}

enum sim_result
sim_machine_run(struct sim_machine *m, struct sim_report *report)
{
	if (m->m_report.sr_result != SIM_RUN_PASSED)
		return fill_report(m, report);

	/* The service CPU makes the first decision, and is not counted as a live program. */
	struct cpu *service = &m->m_cpus[m->m_ncpus];
	if (!begin_program(m, service, epoch_service, m)) {
		note_end(m, SIM_RUN_BUDGET, "", "", "no memory for a stack");
		return fill_report(m, report);
	}
	m->m_nlive--;
	m->m_running = true;
	m->m_cpu = service;
	m->m_actor = service->cp_id;
	m->m_decide_at = m->m_step;
	sched_set_slow_at(m);
	fiber_switch(&m->m_main, &service->cp_fiber, false);
	m->m_running = false;
	m->m_cpu = NULL;
	m->m_actor = SIM_ACTOR_DRIVER;
	service->cp_state = CPU_IDLE;
	return fill_report(m, report);
}

enum sim_result
sim_machine_call(struct sim_machine *m, void (*fn)(void *arg), void *arg, struct sim_report *report)
{
	if (m->m_report.sr_result != SIM_RUN_PASSED)
		return fill_report(m, report);
	m->m_catching = true;
	if (setjmp(m->m_catch) == 0)
		fn(arg);
	m->m_catching = false;
	return fill_report(m, report);
}

static void
check_leaks(void *arg)
{
	struct sim_machine *m = arg;

	if (m->m_deferred != NULL)
		sim_violation("CK-LEAK", "I43", "%" PRIu64 " deferred items have not run",
			      m->m_ndeferred);
	if (m->m_kinds[SIM_FRAME_TABLE] > 0)
		sim_violation("CK-LEAK", "I43", "%" PRIu64 " table frames were not freed",
			      m->m_kinds[SIM_FRAME_TABLE]);
	if (m->m_kinds[SIM_FRAME_DATA] > 0)
		sim_violation("CK-LEAK", "I43", "%" PRIu64 " data frames were not freed",
			      m->m_kinds[SIM_FRAME_DATA]);
	if (m->m_npagers > 0)
		sim_violation("CK-LEAK", "I43", "%u pagers were not destroyed", m->m_npagers);
	if (m->m_heap_blocks > 0)
		sim_violation("CK-LEAK", "I43", "%" PRIu64 " blocks of host_alloc() were not freed",
			      m->m_heap_blocks);
	iommu_check_leaks(m);
	if (m->m_driver.cp_nheld > 0 || m->m_driver.cp_nmutexes > 0 ||
	    m->m_driver.cp_epoch_depth > 0)
		sim_violation("CK-SCHED", "I44", "the driver holds a lock, or a section is open");
}

enum sim_result
sim_machine_check_leaks(struct sim_machine *m, struct sim_report *report)
{
	return sim_machine_call(m, check_leaks, m, report);
}

const struct sim_choice_record *
sim_machine_choices(struct sim_machine *m, size_t *n)
{
	*n = m->m_nrecord;
	return m->m_record;
}

const struct sim_choice_note *
sim_machine_notes(struct sim_machine *m)
{
	return m->m_notes;
}

const char *
sim_agent_name(unsigned int i)
{
	const struct sim_machine *m = sim_the_machine;

	return m != NULL && i < m->m_nagents ? m->m_agents[i].ag_ops->ag_name : NULL;
}

__attribute__((noinline)) void
sim_breakpoint(uint64_t step)
{
	static volatile uint64_t reached; /* or a compiler would drop the call */

	if (reached != step)
		reached = step;
}
