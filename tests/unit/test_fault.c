/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the machine does wrong on request: droughts, late and overtaking interrupts, bad frames. */

#include "machine_util.h"

#include "sim/machine/machine_vm.h"
#include "vmspace/vm_host.h"

#define SLOTS 32
#define PAGES 8

static struct {
	unsigned int failed;
	unsigned int first;   /* CPU at which an interrupt arrived first, + 1 */
	unsigned int arrived; /* CPUs */
	unsigned int killed;
	unsigned int done; /* slots or frames */
	uint64_t late;
} s;

/* ---- Counts --------------------------------------------------------------------------------- */

static void
two_scopes(void *arg)
{
	(void)arg;
	sim_fault_scope(3);
	for (unsigned int i = 0; i < 10; i++)
		s.failed += sim_fault(SIM_FAULT_ENTRY);
	sim_fault_scope(4);
	sim_fault_met(SIM_FAULT_MIGRATION, 0, true);
	sim_fault_met(SIM_FAULT_MIGRATION, 0, false);
	sim_fault_scope(SIM_OPERATIONS_MAX); /* no such operation: in nothing in particular */
	s.failed += sim_fault(SIM_FAULT_ENTRY);
}

Test(fault, what_is_met_is_counted_by_operation)
{
	struct sim_config cfg = config(1, 1);
	struct sim_machine *m;
	struct sim_report r;

	memset(&s, 0, sizeof s);
	cfg.sc_fault_nth[SIM_FAULT_ENTRY] = 8;
	cfg.sc_fault_persist[SIM_FAULT_ENTRY] = true;
	m = machine(&cfg);
	r = run_on(m, (program_fn[]){two_scopes}, NULL);
	assert_passed(r);
	cr_assert_eq(s.failed, 4);
	cr_assert_eq(r.sr_counters.ct_fault_asked[SIM_FAULT_ENTRY], 11);
	cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_ENTRY], 4);
	cr_assert_eq(sim_fault_cell(SIM_FAULT_ENTRY, 3).fc_asked, 10);
	cr_assert_eq(sim_fault_cell(SIM_FAULT_ENTRY, 3).fc_hit, 3);
	cr_assert_eq(sim_fault_cell(SIM_FAULT_ENTRY, 0).fc_hit, 1);
	cr_assert_eq(sim_fault_cell(SIM_FAULT_MIGRATION, 4).fc_asked, 2);
	cr_assert_eq(sim_fault_cell(SIM_FAULT_MIGRATION, 4).fc_hit, 1);
	cr_assert_eq(sim_fault_cell(SIM_FAULT_MIGRATION, 3).fc_asked, 0);
	cr_assert_eq(sim_fault_scopes(3), 1);
	cr_assert_eq(sim_fault_scopes(0), 1);
	sim_machine_destroy(m);
}

/* ---- Memory --------------------------------------------------------------------------------- */

static void
want_tables(void *arg)
{
	hpa_t hpa;

	(void)arg;
	for (unsigned int i = 0; i < 100; i++) {
		if (!host_table_alloc(&hpa)) {
			s.failed++;
			continue;
		}
		host_table_free(hpa);
		s.done++;
	}
}

Test(fault, a_drought_lasts_and_ends)
{
	struct sim_config cfg = config(1, 1);
	struct sim_report r;

	for (cfg.sc_seed = 1; cfg.sc_seed <= 20; cfg.sc_seed++) {
		memset(&s, 0, sizeof s);
		cfg.sc_fault_nth[SIM_FAULT_RESERVE] = 5;
		r = run(&cfg, (program_fn[]){want_tables}, NULL);
		assert_passed(r);
		cr_assert(s.failed >= 8 && s.failed <= 64, "%u", s.failed);
		cr_assert_eq(s.done, 100 - s.failed);
		cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_RESERVE], s.failed);
		cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_TABLE_ALLOC], 0);
	}
}

/* Of a run of 8 frames the sixth is bad: all others are used again, it never is. */
static void
find_bad(void *arg)
{
	hpa_t run;
	hpa_t bad;
	hpa_t page;
	unsigned int order;

	(void)arg;
	HOST_ASSERT(host_page_alloc(&run, 3));
	bad = run + 5 * SIM_PAGE_SIZE;
	sim_frame_at(bad)->fr_bad = true;
	host_page_free(run, 3);
	HOST_ASSERT(sim_frame_at(bad)->fr_kind == SIM_FRAME_BAD);
	while (host_page_alloc(&page, 0)) {
		HOST_ASSERT(page != bad);
		s.done++;
	}
	HOST_ASSERT(sim_frame_count(SIM_FRAME_BAD) == 1);
	for (hpa_t f = sim_phys_base(); f < sim_phys_limit(); f += SIM_PAGE_SIZE) {
		if (sim_frame_at(f)->fr_kind == SIM_FRAME_DATA)
			host_page_free(f, 0);
	}
	/* Nor does a run over it come together again. */
	for (order = 9; host_page_alloc(&page, order); s.late++)
		HOST_ASSERT(bad - page >= (hpa_t)SIM_PAGE_SIZE << order);
}

Test(fault, a_bad_frame_is_never_used_again)
{
	for (int quarantine = 0; quarantine < 2; quarantine++) {
		struct sim_config cfg = config(1, 1);
		struct sim_report r;

		memset(&s, 0, sizeof s);
		cfg.sc_frames = 2048;
		cfg.sc_quarantine = quarantine != 0;
		r = run(&cfg, (program_fn[]){find_bad}, NULL);
		assert_passed(r);
		cr_assert_eq(s.done, 2048 - 2, "%u", s.done); /* the canary is no page either */
		cr_assert_leq(s.late, 3);
	}
}

/* ---- Interrupts ----------------------------------------------------------------------------- */

static void
note_arrival(void *arg, unsigned int cpu)
{
	(void)arg;
	s.first = s.first == 0 ? cpu + 1 : s.first;
	s.arrived |= 1u << cpu;
	s.late = sim_step_count();
}

static bool
all_arrived(void *arg)
{
	(void)arg;
	return s.arrived == 6;
}

static void
kick_two(void *arg)
{
	(void)arg;
	host_kick(1);
	host_kick(2);
	sim_wait_until("both", all_arrived, NULL);
}

static void
wait_for_kick(void *arg)
{
	(void)arg;
	while (!all_arrived(NULL))
		sim_point(SIM_USER, NULL);
}

static struct sim_report
kick(const struct sim_config *cfg)
{
	struct sim_machine *m = machine(cfg);
	struct sim_report r;

	memset(&s, 0, sizeof s);
	sim_set_irq_handler(note_arrival, NULL);
	r = run_on(m, (program_fn[]){kick_two, wait_for_kick, wait_for_kick}, NULL);
	sim_machine_destroy(m);
	assert_passed(r);
	return r;
}

Test(fault, interrupts_overtake_unless_told_not_to)
{
	unsigned int second_first = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct sim_config cfg = config(3, seed);
		struct sim_report r = kick(&cfg);

		/* Arriving and being taken are two things; what is counted is arriving. */
		second_first += r.sr_counters.ct_faults[SIM_FAULT_KICK_REORDER] > 0;
		cr_assert_eq(r.sr_counters.ct_fault_asked[SIM_FAULT_KICK_REORDER], 2);
		cfg.sc_fault_off[SIM_FAULT_KICK_REORDER] = true;
		r = kick(&cfg);
		cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_KICK_REORDER], 0);
	}
	cr_assert(second_first > 10 && second_first < 90, "%u of 100", second_first);
}

Test(fault, interrupts_are_late)
{
	uint64_t sum[2] = {0};

	for (uint64_t seed = 1; seed <= 50; seed++) {
		for (unsigned int late = 0; late < 2; late++) {
			struct sim_config cfg = config(3, seed);
			struct sim_report r;

			cfg.sc_fault_ppm[SIM_FAULT_KICK_DELAY] = late * 1000000;
			r = kick(&cfg);
			cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_KICK_DELAY], 2 * late);
			sum[late] += s.late;
		}
	}
	cr_assert_gt(sum[1], 2 * sum[0], "%d against %d", (int)sum[1], (int)sum[0]);
}

static void
pend_twice(void *arg)
{
	(void)arg;
	sim_irq_disable();
	for (unsigned int i = 0; i < 400; i++)
		sim_point(SIM_USER, NULL);
	sim_irq_enable();
}

static void
kick_often(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 10; i++)
		host_kick(1);
}

Test(fault, interrupts_coalesce_unless_told_not_to)
{
	uint64_t coalesced = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_config cfg = config(2, seed);
		struct sim_report r = run(&cfg, (program_fn[]){kick_often, pend_twice}, NULL);

		assert_passed(r);
		coalesced += r.sr_counters.ct_faults[SIM_FAULT_KICK_COALESCE];
		cfg.sc_fault_off[SIM_FAULT_KICK_COALESCE] = true;
		r = run(&cfg, (program_fn[]){kick_often, pend_twice}, NULL);
		assert_passed(r);
		cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_KICK_COALESCE], 0);
		cr_assert_eq(r.sr_counters.ct_interrupts, 10);
	}
	cr_assert_gt(coalesced, 20, "%d", (int)coalesced);
}

static bool
has_come_back(void *arg)
{
	(void)arg;
	return s.done != 0;
}

static void
go_offline(void *arg)
{
	(void)arg;
	sim_cpu_set_online(1, false);
	s.arrived = 1;
	while (s.late == 0)
		sim_point(SIM_USER, NULL);
	sim_cpu_set_online(1, true);
	s.done = 1;
}

static void
kick_absent(void *arg)
{
	(void)arg;
	while (s.arrived == 0)
		sim_point(SIM_USER, NULL);
	host_kick(1);
	s.late = 1;
	sim_wait_until("the CPU to come back", has_come_back, NULL);
}

Test(fault, an_interrupt_is_lost_to_a_cpu_that_is_offline)
{
	struct sim_config cfg = config(2, 1);
	struct sim_report r;

	memset(&s, 0, sizeof s);
	r = run(&cfg, (program_fn[]){kick_absent, go_offline}, NULL);
	assert_passed(r);
	cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_KICK_OFFLINE], 1);
	cr_assert_eq(r.sr_counters.ct_interrupts, 0);

	memset(&s, 0, sizeof s);
	cfg.sc_fault_off[SIM_FAULT_KICK_OFFLINE] = true;
	r = run(&cfg, (program_fn[]){kick_absent, go_offline}, NULL);
	assert_passed(r);
	cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_KICK_OFFLINE], 0);
	cr_assert_eq(r.sr_counters.ct_interrupts, 1);
}

/* ---- The disk, threads ---------------------------------------------------------------------- */

static void
write_short(void *arg)
{
	hpa_t frames[PAGES];
	int error;

	(void)arg;
	for (unsigned int i = 0; i < PAGES; i++) {
		HOST_ASSERT(host_page_alloc(&frames[i], 0));
		host_page_zero(frames[i]);
		sim_data_store(frames[i], i + 1);
	}
	error = host_swap_write(0, frames, PAGES);
	s.failed = error == -EIO;
	for (unsigned int i = 0; i < PAGES; i++) {
		const uint64_t *const slot = sim_swap_bytes(i);

		/* Done, or as it was: nothing is spoiled. */
		HOST_ASSERT(slot[0] == i + 1 || slot[0] == SIM_PAGE_POISON);
		s.done += slot[0] == i + 1;
		host_page_free(frames[i], 0);
	}
}

Test(fault, a_short_request_does_a_part)
{
	unsigned int part = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_config cfg = config(1, seed);
		struct sim_report r;

		memset(&s, 0, sizeof s);
		cfg.sc_swap_slots = SLOTS;
		cfg.sc_fault_nth[SIM_FAULT_SWAP_SHORT] = 1;
		r = run(&cfg, (program_fn[]){write_short}, NULL);
		assert_passed(r);
		cr_assert_eq(s.failed, 1);
		cr_assert_lt(s.done, PAGES);
		part += s.done > 0;
	}
	cr_assert_gt(part, 10, "%u of 20", part);
}

static struct host_event event;

static void
wait_long(void *arg)
{
	(void)arg;
	sim_fault_scope(1);
	s.failed = host_event_wait(&event, host_event_read(&event), true) == -EINTR;
	s.killed = sim_killed();
	s.killed += 2 * sim_killed();
	sim_signal_clear();
	sim_fault_scope(0);
}

static void
wait_for_the_dead(void *arg)
{
	(void)arg;
	while (s.killed == 0)
		sim_point(SIM_USER, NULL);
}

Test(fault, a_killed_thread_waits_for_nothing)
{
	struct sim_config cfg = config(2, 1);
	struct sim_machine *m;
	struct sim_report r;

	memset(&s, 0, sizeof s);
	cfg.sc_fault_nth[SIM_FAULT_KILL] = 1;
	m = machine(&cfg);
	host_event_init(&event);
	r = run_on(m, (program_fn[]){wait_long, wait_for_the_dead}, NULL);
	sim_machine_destroy(m);
	assert_passed(r);
	cr_assert_eq(s.failed, 1);
	cr_assert_eq(s.killed, 1);
	cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_KILL], 1);
}
