/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * CPUs of the simulated machine: interrupts, guest mode, going offline, invalidation.
 */

#include "tests/unit/machine_util.h"

static uint64_t result;
static struct host_lock lock;

/* ---- Interrupts and guests ------------------------------------------------------------------- */

static struct {
	unsigned int handled[3];
	bool irqs_on_in_handler;
	bool in_section_without; /* a handler ran while interrupts were off */
	bool off;
	uint64_t guest_steps;
	uint64_t refused; /* entries that a pending interrupt turned back */
	bool done;
} irq;

static void
on_irq(void *arg, unsigned int cpu)
{
	(void)arg;
	irq.handled[cpu]++;
	irq.irqs_on_in_handler = irq.irqs_on_in_handler || sim_irq_enabled();
	irq.in_section_without = irq.in_section_without || (cpu == 1 && irq.off);
	host_fence();
}

static void
kick_four(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 4; i++)
		host_kick(1);
	host_kick(0); /* the own CPU: nothing happens */
}

static void
toggle_irqs(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 20; i++) {
		sim_irq_disable();
		irq.off = true;
		host_fence();
		host_fence();
		irq.off = false;
		sim_irq_enable();
		host_fence();
	}
}

Test(machine_cpu, interrupts_come_when_they_may)
{
	unsigned int fewer = 0;

	for (uint64_t seed = 0; seed < 60; seed++) {
		struct sim_config cfg = config(2, seed);
		struct sim_machine *m = machine(&cfg);

		memset(&irq, 0, sizeof irq);
		sim_set_irq_handler(on_irq, NULL);
		struct sim_report r = run_on(m, (program_fn[]){kick_four, toggle_irqs}, NULL);
		sim_machine_destroy(m);
		assert_passed(r);
		cr_assert_eq(irq.handled[0], 0);
		cr_assert_leq(irq.handled[1], 4);
		cr_assert(!irq.irqs_on_in_handler && !irq.in_section_without);
		cr_assert_eq(r.sr_counters.ct_kicks_sent, 4);
		cr_assert_eq(r.sr_counters.ct_kicks_arrived, 4);
		fewer += irq.handled[1] > 0 && irq.handled[1] < 4;
	}
	cr_assert_gt(fewer, 0, "two that are pending at once are taken as one");
}

static void
run_guest(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 3; i++) {
		sim_irq_disable();
		host_fence();
		if (!sim_guest_enter())
			irq.refused++;
		else
			while (sim_guest_point(0x1000 * irq.guest_steps))
				irq.guest_steps++;
		sim_guest_exit();
		sim_irq_enable();
	}
	irq.done = true;
}

static void
kick_until_done(void *arg)
{
	(void)arg;
	while (!irq.done) {
		host_kick(1);
		host_relax();
	}
}

Test(machine_cpu, a_kick_ends_guest_mode)
{
	uint64_t refused = 0;
	uint64_t steps = 0;

	for (uint64_t seed = 0; seed < 60; seed++) {
		struct sim_config cfg = config(2, seed);
		struct sim_machine *m = machine(&cfg);

		memset(&irq, 0, sizeof irq);
		sim_set_irq_handler(on_irq, NULL);
		struct sim_report r = run_on(m, (program_fn[]){kick_until_done, run_guest}, NULL);
		sim_machine_destroy(m);
		assert_passed(r);
		cr_assert_eq(r.sr_counters.ct_guest_entries, 3);
		cr_assert_eq(r.sr_counters.ct_guest_forced, 3);
		cr_assert_geq(irq.handled[1], 3);
		refused += irq.refused;
		steps += irq.guest_steps;
	}
	cr_assert_gt(refused, 0, "a kick that came while interrupts were off turns the entry back");
	cr_assert_gt(steps, 0);
}

static void
offline_then_kick(void *arg)
{
	(void)arg;
	host_kick(1);
	sim_cpu_set_online(1, false);
	host_kick(1);
	result = sim_cpu_online(1);
	sim_cpu_set_online(1, true);
	result += 2 * sim_cpu_online(1);
}

Test(machine_cpu, offline_cpus_lose_interrupts)
{
	struct sim_config cfg = config(2, 1);
	struct sim_report r;

	r = run(&cfg, (program_fn[]){offline_then_kick, NULL}, NULL);
	assert_passed(r);
	cr_assert_eq(result, 2);
	cr_assert_eq(r.sr_counters.ct_kicks_sent, 1);
	cr_assert_eq(r.sr_counters.ct_kicks_lost + r.sr_counters.ct_kicks_arrived, 1);
}

static void
guest(void *arg)
{
	sim_irq_disable();
	if (!sim_guest_enter())
		return;
	switch (*(int *)arg) {
	case 0:
		host_epoch_enter();
		break;
	case 1:
		sim_irq_enable();
		break;
	case 2:
		sim_guest_enter();
		break;
	case 3:
		sim_wait_until("anything", NULL, NULL);
		break;
	case 4:
		sim_guest_exit();
		sim_guest_point(0);
		break;
	default:
		result = sim_cpu_in_guest(0);
		sim_guest_exit();
		result += 2 * sim_cpu_in_guest(0) + 4 * sim_cpu_kick_pending(0);
		sim_irq_enable();
	}
}

Test(machine_cpu, what_a_guest_may_not_do)
{
	static const char *const expected[] = {
		"an epoch section begins in guest mode", "interrupts switched on in guest mode",
		"guest entry from a guest", "wait for anything in guest mode",
		"a guest instruction outside guest mode"};
	struct sim_report r;

	for (int i = 0; i < 5; i++) {
		r = run_one(guest, &i);
		assert_violation(r, "CK-SCHED", expected[i]);
	}
	int fine = 5;
	r = run_one(guest, &fine);
	assert_passed(r);
	cr_assert_eq(result, 1);
}

static void
flush_anywhere(void *arg)
{
	(void)arg;
	host_invlpg(0, 1);
}

static void
lock_in_handler(void *arg, unsigned int cpu)
{
	(void)arg;
	(void)cpu;
	host_lock(&lock);
}

static void
fence_on(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 2000; i++)
		host_fence();
}

Test(machine_cpu, handlers_leave_things_as_they_were)
{
	struct sim_config cfg = config(2, 1);

	host_lock_init(&lock, 1);
	cfg.sc_fault_ppm[SIM_FAULT_SPURIOUS_KICK] = 1000000;
	struct sim_machine *m = machine(&cfg);
	sim_set_irq_handler(lock_in_handler, NULL);
	struct sim_report r = run_on(m, (program_fn[]){fence_on, fence_on}, NULL);
	sim_machine_destroy(m);
	assert_violation(r, "CK-SCHED", "handler left locks");
	cr_assert_gt(r.sr_counters.ct_faults[SIM_FAULT_SPURIOUS_KICK], 0);
}

static void
nothing(void *arg, unsigned int cpu, uint64_t va, uint64_t npages)
{
	(void)arg;
	(void)cpu;
	(void)va;
	(void)npages;
}

Test(machine_cpu, invalidation_wants_a_cpu_that_stays)
{
	static const struct sim_tlb_ops ops = {.to_invlpg = nothing};
	struct sim_config cfg = config(1, 1);
	struct sim_machine *m = machine(&cfg);

	sim_set_tlb_ops(&ops, NULL);
	struct sim_report r = run_on(m, (program_fn[]){flush_anywhere}, NULL);
	sim_machine_destroy(m);
	assert_violation(r, "CK-API", "host_invlpg() outside an epoch section");
}
