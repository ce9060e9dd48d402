/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated world for tests (world.h): actors are programs of simulated CPUs, one each, and
 * every world is run with another seed. One more CPU exists and is offline.
 */

#include "tests/unit/world_check.h"
#include "sim/machine/machine_vm.h"

#include <criterion/criterion.h>

const char world_name[] = "sim";
const unsigned int world_rounds = 20;

#define SWAP_SLOTS 256

static struct sim_machine *sim;
static uint64_t seed;

static struct {
	uint64_t pages;
	uint64_t flushes[2]; /* by whether global */
} tlb[SIM_MAX_CPUS + 1];

static void
count_invlpg(void *arg, unsigned int cpu, uint64_t va, uint64_t npages)
{
	(void)arg;
	(void)va;
	tlb[cpu].pages += npages;
}

static void
count_flush(void *arg, unsigned int cpu, bool global)
{
	(void)arg;
	tlb[cpu].flushes[global]++;
}

static void
begin(const struct world_config *cfg)
{
	static const struct sim_tlb_ops ops = {count_invlpg, count_flush};
	struct sim_config sc;
	char why[128] = "";

	sim_machine_destroy(sim); /* a test that failed left it */
	sim_config_init(&sc);
	sc.sc_cpus = (cfg != NULL && cfg->wc_actors > 0 ? cfg->wc_actors : 1) + 1;
	sc.sc_seed = ++seed;
	sc.sc_memory_model = seed % 4 == 0 ? SIM_SC : SIM_TSO;
	sc.sc_quarantine = seed % 3 == 0;
	sc.sc_run_lengths = 1 + (unsigned int)(seed % 6);
	sc.sc_swap_slots = SWAP_SLOTS;
	sc.sc_iommu = true;
	sc.sc_pager = true;
	if (cfg != NULL) {
		sc.sc_fault_nth[SIM_FAULT_TABLE_ALLOC] = cfg->wc_fail_table;
		sc.sc_fault_nth[SIM_FAULT_ALLOC] = cfg->wc_fail_alloc;
		sc.sc_fault_nth[SIM_FAULT_PAGE_ALLOC] = cfg->wc_fail_page;
		sc.sc_fault_nth[SIM_FAULT_IOMMU] = cfg->wc_fail_iommu;
		sc.sc_fault_nth[SIM_FAULT_SWAP_READ] = cfg->wc_fail_read;
		sc.sc_fault_nth[SIM_FAULT_SWAP_WRITE] = cfg->wc_fail_write;
		for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++)
			sc.sc_fault_persist[f] = cfg->wc_fail_persistently;
	}
	sim = sim_machine_create(&sc, why, sizeof why);
	cr_assert_not_null(sim, "%s", why);
	sim_set_tlb_ops(&ops, NULL);
	sim_cpu_set_online(world_offline_cpu(), false);
}

static void
end(void)
{
	sim_machine_destroy(sim);
	sim = NULL;
}

/* After the machine is gone, so that a failure leaves none behind. */
static void
judge(const struct sim_report *r)
{
	if (r->sr_result != SIM_RUN_PASSED)
		end();
	cr_assert_eq(r->sr_result, SIM_RUN_PASSED, "seed %d: %s %s at step %d on CPU %u: %s",
		     (int)seed, r->sr_check, r->sr_invariant, (int)r->sr_step, r->sr_cpu,
		     r->sr_message);
}

void
world_begin(const struct world_config *cfg)
{
	begin(cfg);
	world_check_begin();
}

static void
drain(void *arg)
{
	(void)arg;
	host_epoch_drain();
}

void
world_end(void)
{
	struct sim_report r;

	sim_machine_call(sim, drain, NULL, &r);
	judge(&r);
	sim_machine_check_leaks(sim, &r);
	judge(&r);
	end();
	world_check_end();
}

struct actor {
	void (*ac_fn)(void *arg, unsigned int i);
	void *ac_arg;
	unsigned int ac_i;
};

static void
act(void *arg)
{
	const struct actor *a = arg;

	a->ac_fn(a->ac_arg, a->ac_i);
}

void
world_run(unsigned int n, void (*fn)(void *arg, unsigned int i), void *arg)
{
	struct actor actors[WORLD_ACTORS_MAX];
	struct sim_report r;

	cr_assert(n <= WORLD_ACTORS_MAX && n < sim_cpu_count());
	for (unsigned int i = 0; i < n; i++) {
		actors[i] = (struct actor){fn, arg, i};
		cr_assert_eq(sim_spawn(sim, i, act, &actors[i]), 0);
	}
	sim_machine_run(sim, &r);
	judge(&r);
}

bool
world_stops(void (*fn)(void *arg), void *arg)
{
	struct sim_report r;

	begin(NULL);
	sim_machine_call(sim, fn, arg, &r);
	end();
	return r.sr_result != SIM_RUN_PASSED;
}

/* ---- Accounts -------------------------------------------------------------------------------- */

uint64_t
world_tables_in_use(void)
{
	return sim_frame_count(SIM_FRAME_TABLE);
}

uint64_t
world_pages_in_use(void)
{
	return sim_frame_count(SIM_FRAME_DATA);
}

void
world_interrupt(unsigned int cpu)
{
	sim_signal(cpu);
}

void
world_interrupt_end(void)
{
	sim_signal_clear();
}

unsigned int
world_offline_cpu(void)
{
	return sim_cpu_count() - 1;
}

uint64_t
world_tlb_pages(void)
{
	return tlb[host_cpu()].pages;
}

uint64_t
world_tlb_flushes(bool global)
{
	return tlb[host_cpu()].flushes[global];
}
