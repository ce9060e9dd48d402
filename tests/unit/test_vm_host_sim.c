/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the simulated host adds to the contract of vmspace/vm_host.h: it finds every broken rule of
 * mutexes, events and pages, ends waits by injection, and shows the store buffer in them. Devices
 * are in test_vm_device_sim.c; what holds in every world is in test_vm_host.c.
 */

#include "tests/unit/machine_util.h"
#include "vmspace/vm_host.h"
#include "sim/machine/machine_vm.h"

static struct {
	struct host_mutex mutex[3];
	struct host_lock lock;
	struct host_event event;
	struct host_word x, y;
	struct host_epoch_item item;
	uint64_t saw[2];
	uint64_t interrupted;
	uint64_t turns;
	bool inside;
	uint64_t hpa;
} s;

static void
set_up(void *arg)
{
	(void)arg;
	memset(&s, 0, sizeof s);
	for (unsigned int i = 0; i < 3; i++)
		host_mutex_init(&s.mutex[i], i == 0 ? 1 : 2);
	host_lock_init(&s.lock, 1);
	host_event_init(&s.event);
}

static struct sim_report
run_set_up(const struct sim_config *cfg, const program_fn *programs, void *arg)
{
	struct sim_machine *m = machine(cfg);
	struct sim_report r;

	sim_machine_call(m, set_up, NULL, &r);
	r = run_on(m, programs, arg);
	sim_machine_destroy(m);
	return r;
}

/* ---- Broken rules of sleeping ---------------------------------------------------------------- */

static void
sleep_in_deferred(struct host_epoch_item *item)
{
	(void)item;
	host_mutex_lock(&s.mutex[0]);
}

static void
break_mutex(int how)
{
	struct host_mutex *freed;

	switch (how) {
	case 0:
		host_mutex_lock(&s.mutex[0]);
		host_mutex_lock(&s.mutex[0]);
		break;
	case 1:
		host_mutex_lock(&s.mutex[1]);
		host_mutex_lock(&s.mutex[0]);
		break;
	case 2:
		host_mutex_lock(&s.mutex[2]);
		host_mutex_lock_interruptible(&s.mutex[1]);
		break;
	case 3:
		host_mutex_unlock(&s.mutex[0]);
		break;
	case 4:
		s.mutex[0].hm_magic = 0;
		host_mutex_lock(&s.mutex[0]);
		break;
	case 5:
		host_mutex_lock(&s.mutex[0]);
		break; /* and return */
	case 6:
		freed = host_alloc(sizeof *freed);
		host_mutex_init(freed, 1);
		host_mutex_lock(freed);
		host_free(freed, sizeof *freed);
		break;
	default:
		host_epoch_defer(&s.item, sleep_in_deferred);
		host_epoch_drain();
	}
}

/* Sleeping where one must not, each by three ways to sleep. */
static void
sleep_somehow(int how)
{
	const hpa_t frame = s.hpa;

	if (how == 0)
		host_mutex_lock(&s.mutex[0]);
	else if (how == 1)
		host_event_wait(&s.event, 1, false);
	else
		host_swap_read(0, &frame, 1);
}

static void
break_context(int where, int how)
{
	host_page_alloc(&s.hpa, 0);
	switch (where) {
	case 0:
		host_lock(&s.lock);
		break;
	case 1:
		host_epoch_enter();
		break;
	case 2:
		sim_irq_disable();
		break;
	default:
		sim_irq_disable();
		if (!sim_guest_enter())
			return;
	}
	sleep_somehow(how);
}

static void
break_rule(void *arg)
{
	const int how = *(int *)arg;

	if (how < 10)
		break_mutex(how);
	else
		break_context((how - 10) / 3, (how - 10) % 3);
}

Test(vm_host_sim, broken_rules_of_sleeping)
{
	static const struct {
		int how;
		const char *check;
		const char *text;
	} rows[] = {
		{0, "CK-SCHED", "a mutex of rank 1 is taken twice"},
		{1, "CK-SCHED", "rank 1 is taken while rank 2 is held"},
		{2, "CK-SCHED", "of two of rank 2 the higher address came first"},
		{3, "CK-SCHED", "released by a CPU that does not hold it"},
		{4, "CK-SCHED", "not initialized"},
		{5, "CK-SCHED", "a program returned with 1 mutexes held"},
		{6, "CK-FREE", "a mutex of rank 1 that CPU 0 holds"},
		{7, "CK-SCHED", "in a deferred function"},
		{10, "CK-SCHED", "with a lock of rank 1 held"},
		{11, "CK-SCHED", "with a lock of rank 1 held"},
		{12, "CK-SCHED", "with a lock of rank 1 held"},
		{13, "CK-SCHED", "inside an epoch section"},
		{14, "CK-SCHED", "inside an epoch section"},
		{15, "CK-SCHED", "inside an epoch section"},
		{16, "CK-SCHED", "with interrupts off"},
		{17, "CK-SCHED", "with interrupts off"},
		{18, "CK-SCHED", "with interrupts off"},
		{19, "CK-SCHED", "with interrupts off"},
		{20, "CK-SCHED", "with interrupts off"},
		{21, "CK-SCHED", "with interrupts off"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sim_config cfg = config(1, i + 1);
		int how = rows[i].how;

		cfg.sc_swap_slots = 4;
		struct sim_report r = run_set_up(&cfg, (program_fn[]){break_rule}, &how);
		assert_violation(r, rows[i].check, rows[i].text);
	}
}

/* ---- Deadlocks, and the driver --------------------------------------------------------------- */

static void
hold_and_wait(void *arg)
{
	(void)arg;
	host_mutex_lock(&s.mutex[0]);
	host_event_wait(&s.event, host_event_read(&s.event), false);
	host_mutex_unlock(&s.mutex[0]);
}

Test(vm_host_sim, who_waits_in_vain_is_found)
{
	struct sim_config cfg = config(2, 3);
	struct sim_report r = run_set_up(&cfg, (program_fn[]){hold_and_wait, hold_and_wait}, NULL);

	assert_violation(r, "CK-SCHED", "deadlock:");
	cr_assert_not_null(strstr(r.sr_message, "for a mutex"), "%s", r.sr_message);
	cr_assert_not_null(strstr(r.sr_message, "for an event"), "%s", r.sr_message);
}

static void
drive(void *arg)
{
	set_up(NULL);
	host_mutex_lock(&s.mutex[0]);
	HOST_ASSERT(host_mutex_held(&s.mutex[0]));
	HOST_ASSERT(host_mutex_lock_interruptible(&s.mutex[1]) == 0);
	host_mutex_unlock(&s.mutex[0]);
	host_mutex_unlock(&s.mutex[1]);
	host_event_post(&s.event);
	HOST_ASSERT(host_event_wait(&s.event, 0, false) == 0);
	if (*(int *)arg == 1)
		host_event_wait(&s.event, 1, false);
	if (*(int *)arg == 2)
		host_mutex_lock(&s.mutex[0]);
}

Test(vm_host_sim, the_driver_does_not_wait)
{
	for (int how = 0; how < 3; how++) {
		struct sim_config cfg = config(1, 1);
		struct sim_machine *m = machine(&cfg);
		struct sim_report r;

		sim_machine_call(m, drive, &how, &r);
		if (how != 1)
			assert_passed(r);
		if (how == 2)
			sim_machine_check_leaks(m, &r);
		sim_machine_destroy(m);
		if (how == 1)
			assert_violation(r, "CK-SCHED", "the driver waits for an event");
		if (how == 2)
			assert_violation(r, "CK-SCHED", "the driver holds a lock");
	}
}

/* ---- Signals --------------------------------------------------------------------------------- */

#define WAITS 20

static void
lock_often(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < WAITS; i++) {
		int error = host_mutex_lock_interruptible(&s.mutex[0]);
		if (error != 0) {
			HOST_ASSERT(error == -EINTR && !host_mutex_held(&s.mutex[0]));
			HOST_ASSERT(host_interrupted());
			HOST_ASSERT(host_event_wait(&s.event, 0, true) == -EINTR);
			host_mutex_lock(&s.mutex[0]);
			s.interrupted++;
		}
		HOST_ASSERT(!s.inside);
		s.inside = true;
		sim_point(SIM_USER, NULL);
		s.inside = false;
		s.turns++;
		host_mutex_unlock(&s.mutex[0]);
		sim_signal_clear();
	}
}

Test(vm_host_sim, waits_are_interrupted_by_injection)
{
	uint64_t interrupted = 0;
	uint64_t waits = 0;

	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct sim_config cfg = config(3, seed);

		cfg.sc_fault_ppm[SIM_FAULT_INTERRUPT] = 200000;
		struct sim_report r =
			run_set_up(&cfg, (program_fn[]){lock_often, lock_often, lock_often}, NULL);
		assert_passed(r);
		cr_assert_eq(s.turns, 3 * WAITS);
		cr_assert_eq(r.sr_counters.ct_interrupted, 2 * s.interrupted);
		interrupted += s.interrupted;
		waits += r.sr_counters.ct_mutex_waits;
	}
	cr_assert_gt(interrupted, 300);
	cr_assert_gt(waits, 100);

	struct sim_config cfg = config(1, 1);
	cfg.sc_fault_nth[SIM_FAULT_INTERRUPT] = 7;
	struct sim_report r = run_set_up(&cfg, (program_fn[]){lock_often}, NULL);
	assert_passed(r);
	cr_assert_eq(s.interrupted, 1);
	cr_assert_eq(r.sr_counters.ct_faults[SIM_FAULT_INTERRUPT], 1);
}

/* Nobody posts: only a signal that comes while it sleeps helps. */
static void
sleep_for_good(void *arg)
{
	(void)arg;
	s.interrupted += host_event_wait(&s.event, 0, true) == -EINTR;
	host_store(&s.x, 1);
}

static void
spin(void *arg)
{
	(void)arg;
	while (host_load(&s.x) == 0)
		sim_point(SIM_USER, NULL);
}

static void
signal_other(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 20; i++)
		sim_point(SIM_USER, NULL);
	sim_signal(0);
}

Test(vm_host_sim, who_sleeps_is_woken_by_a_signal)
{
	uint64_t slept = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_config cfg = config(2, seed);
		cfg.sc_fault_ppm[SIM_FAULT_INTERRUPT] = 20000;
		struct sim_report r = run_set_up(&cfg, (program_fn[]){sleep_for_good, spin}, NULL);
		assert_passed(r);
		cr_assert_eq(s.interrupted, 1);
		slept += r.sr_counters.ct_event_waits;

		cfg.sc_fault_ppm[SIM_FAULT_INTERRUPT] = 0;
		r = run_set_up(&cfg, (program_fn[]){sleep_for_good, signal_other}, NULL);
		assert_passed(r);
		cr_assert_eq(s.interrupted, 1);
		slept += r.sr_counters.ct_event_waits;
	}
	cr_assert_gt(slept, 20);
}

static void
signal_self(void *arg)
{
	(void)arg;
	s.interrupted += host_interrupted();
	sim_signal(sim_cpu());
	HOST_ASSERT(host_mutex_lock_interruptible(&s.mutex[0]) == -EINTR);
	HOST_ASSERT(host_interrupted());
}

Test(vm_host_sim, a_signal_ends_with_its_program)
{
	struct sim_config cfg = config(1, 1);
	struct sim_machine *m = machine(&cfg);
	struct sim_report r;

	sim_machine_call(m, set_up, NULL, &r);
	for (int i = 0; i < 2; i++)
		r = run_on(m, (program_fn[]){signal_self}, NULL);
	sim_machine_destroy(m);
	assert_passed(r);
	cr_assert_eq(s.interrupted, 0);
	cr_assert_eq(r.sr_counters.ct_interrupted, 2);
}

/* ---- Fences ---------------------------------------------------------------------------------- */

static void
store_buffering(void *arg)
{
	const bool post = *(bool *)arg;
	const unsigned int cpu = sim_cpu();

	host_store(cpu == 0 ? &s.x : &s.y, 1);
	if (post)
		host_event_post(&s.event);
	s.saw[cpu] = host_load(cpu == 0 ? &s.y : &s.x);
}

Test(vm_host_sim, a_post_is_a_fence)
{
	for (int post = 0; post < 2; post++) {
		bool with = post == 1;
		unsigned int both_missed = 0;

		for (uint64_t seed = 1; seed <= 200; seed++) {
			struct sim_config cfg = config(2, seed);
			struct sim_report r = run_set_up(
				&cfg, (program_fn[]){store_buffering, store_buffering}, &with);
			assert_passed(r);
			both_missed += s.saw[0] == 0 && s.saw[1] == 0;
		}
		cr_assert(with ? both_missed == 0 : both_missed > 0, "%u", both_missed);
	}
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static bool
all_words(hpa_t hpa, uint64_t value)
{
	const uint64_t *w = sim_frame_bytes(hpa);

	for (unsigned int i = 0; i < 512; i++) {
		if (w[i] != value)
			return false;
	}
	return true;
}

static void
frames_of_bytes(void *arg)
{
	hpa_t a, b, run;

	(void)arg;
	HOST_ASSERT(all_words(sim_phys_limit() - SIM_PAGE_SIZE, SIM_PAGE_POISON));
	HOST_ASSERT(sim_frame_bytes(sim_phys_limit()) == NULL);
	HOST_ASSERT(host_page_alloc(&a, 0) && host_page_alloc(&b, 0) && host_page_alloc(&run, 9));
	HOST_ASSERT(all_words(a, SIM_PAGE_POISON));
	HOST_ASSERT(all_words(run + 511 * SIM_PAGE_SIZE, SIM_PAGE_POISON));
	host_page_zero(a);
	HOST_ASSERT(all_words(a, 0) && sim_data_load(a + 8) == 0);
	sim_data_store(a + 4088, 7);
	sim_data_store(a, 6);
	HOST_ASSERT(sim_data_load(a + 4080) == 0 && sim_data_load(a + 4088) == 7);
	host_page_copy(b, a);
	HOST_ASSERT(sim_data_load(b) == 6 && sim_data_load(b + 4088) == 7);
	HOST_ASSERT(host_load(host_page_word(b, 4088)) == 7);
	HOST_ASSERT(*(uint64_t *)sim_frame_bytes(b + 4088) == 7);
	host_page_free(a, 0);
	HOST_ASSERT(all_words(a, SIM_PAGE_POISON));
	HOST_ASSERT(sim_frame_alloc(SIM_FRAME_DATA, 0) == a && all_words(a, 0));

	/* A table and data never meet in one place. */
	host_page_free(b, 0);
	hpa_t table;
	HOST_ASSERT(host_table_alloc(&table) && table == b);
	host_store(host_table_words(table), 5);
	host_fence();
	HOST_ASSERT(all_words(table, SIM_PAGE_POISON));
	host_table_free(table);
	s.turns++;
}

Test(vm_host_sim, frames_hold_bytes_and_poison)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct sim_config cfg = config(1, seed);
		struct sim_report r = run_set_up(&cfg, (program_fn[]){frames_of_bytes}, NULL);

		assert_passed(r);
		cr_assert_eq(s.turns, 1);
	}
}

/* What a CPU itself stored to a word it finds there, whatever others see. */
static void
words_and_bytes(void *arg)
{
	uint64_t value[3];
	hpa_t hpa;

	(void)arg;
	HOST_ASSERT(host_page_alloc(&hpa, 0));
	for (uint64_t i = 1; i <= WAITS; i++) {
		host_page_zero(hpa);
		host_store(host_page_word(hpa, 8), i);
		host_page_read(hpa, 4, value, sizeof value);
		HOST_ASSERT(value[0] == i << 32 && value[1] == i >> 32 && value[2] == 0);
		s.saw[0] += *(uint64_t *)sim_frame_bytes(hpa + 8) != i;

		host_store(host_page_word(hpa, 16), 1);
		value[0] = 2;
		host_page_write(hpa, 16, value, 8);
		host_fence();
		HOST_ASSERT(sim_data_load(hpa + 16) == 2);

		host_store(host_page_word(hpa, 24), i);
		host_page_zero(hpa);
		host_fence();
		HOST_ASSERT(sim_data_load(hpa + 24) == 0);
	}
	host_store(host_page_word(hpa, 0), 3);
	host_page_free(hpa, 0);
}

Test(vm_host_sim, words_wait_in_the_store_buffer)
{
	struct sim_config cfg = config(1, 5);
	struct sim_report r = run_set_up(&cfg, (program_fn[]){words_and_bytes}, NULL);

	assert_passed(r);
	cr_assert_gt(s.saw[0], 0);
	cfg.sc_memory_model = SIM_SC;
	r = run_set_up(&cfg, (program_fn[]){words_and_bytes}, NULL);
	assert_passed(r);
	cr_assert_eq(s.saw[0], 0);
}

static void
misuse_page(void *arg)
{
	const int how = *(int *)arg;
	char buffer[16] = {0};
	struct host_word *w;
	hpa_t hpa, table;

	HOST_ASSERT(host_page_alloc(&hpa, 0) && host_table_alloc(&table));
	w = host_page_word(hpa, 0);
	switch (how) {
	case 0:
		host_page_read(table, 0, buffer, 1);
		break;
	case 1:
		host_page_write(sim_canary(), 0, buffer, 1);
		break;
	case 2:
		host_page_write(hpa, 4090, buffer, 7);
		break;
	case 3:
		host_page_zero(hpa + 8);
		break;
	case 4:
		host_page_word(hpa, 12);
		break;
	case 5:
		host_page_free(table, 0);
		break;
	case 6:
		host_page_copy(hpa, table);
		break;
	case 7:
		sim_data_load(hpa + 4);
		break;
	case 8:
		host_page_free(hpa, 3);
		break;
	case 9:
		host_page_copy(hpa, hpa);
		break;
	default:
		host_page_free(hpa, 0);
	}
	if (how == 10)
		host_page_zero(hpa);
	if (how == 11)
		host_load(w);
	if (how == 12)
		host_cas(w, &(uint64_t){0}, 1);
	if (how == 13)
		host_page_free(hpa, 0);
}

Test(vm_host_sim, misuse_of_pages_is_found)
{
	static const char *const expected[][2] = {
		{"CK-FREE", "host_page_read at"},
		{"CK-FREE", "host_page_write in the canary frame"},
		{"CK-API", "host_page_write() of 7 bytes at 4090 leaves the frame"},
		{"CK-API", "which is no frame"},
		{"CK-API", "misaligned"},
		{"CK-FREE", "which is a table"},
		{"CK-FREE", "host_page_copy at"},
		{"CK-API", "misaligned"},
		{"CK-FREE", ""},
		{"CK-API", "host_page_copy()"},
		{"CK-FREE", "in a frame that was freed"},
		{"CK-FREE", "load of a word of data frame"},
		{"CK-FREE", "locked operation of a word of data frame"},
		{"CK-FREE", "freed twice"},
	};

	for (int how = 0; how < (int)(sizeof expected / sizeof expected[0]); how++) {
		struct sim_config cfg = config(1, 1);
		struct sim_report r = run_set_up(&cfg, (program_fn[]){misuse_page}, &how);

		assert_violation(r, expected[how][0], expected[how][1]);
	}
}

/* ---- Runs ------------------------------------------------------------------------------------ */

#define RUNS_FRAMES 4096

static void
exhaust(void *arg)
{
	static hpa_t singles[RUNS_FRAMES];
	hpa_t hpa;
	uint64_t n = 0;

	(void)arg;
	while (host_page_alloc(&hpa, 0))
		singles[n++] = hpa;
	HOST_ASSERT(n == RUNS_FRAMES - 1 && !host_page_alloc(&hpa, 3));

	/* Freed one by one, in no order, they become runs again; as many as there can be. */
	for (uint64_t i = 0; i < n; i++)
		host_page_free(singles[i * 1021 % n], 0);
	uint64_t runs = 0;
	while (host_page_alloc(&hpa, 9)) {
		HOST_ASSERT(hpa % (512 * SIM_PAGE_SIZE) == 0);
		singles[runs++] = hpa;
	}
	HOST_ASSERT(runs == RUNS_FRAMES / 512 - 1); /* the canary is in one */

	/* And what is free as a run serves for all sizes below. */
	host_page_free(singles[0], 9);
	uint64_t count = 0;
	for (unsigned int order = 1; order < 9; order++) {
		HOST_ASSERT(host_page_alloc(&hpa, order));
		HOST_ASSERT(hpa % ((uint64_t)SIM_PAGE_SIZE << order) == 0);
		count += (uint64_t)1 << order;
	}
	while (host_page_alloc(&hpa, 0))
		count++;
	HOST_ASSERT(count == 512 + 511);
	HOST_ASSERT(sim_frame_count(SIM_FRAME_DATA) == RUNS_FRAMES - 1);
	s.turns++;
}

Test(vm_host_sim, runs_are_broken_up_and_joined)
{
	for (int quarantine = 0; quarantine < 2; quarantine++) {
		struct sim_config cfg = config(1, 1);

		cfg.sc_frames = RUNS_FRAMES;
		cfg.sc_quarantine = quarantine == 1;
		struct sim_report r = run_set_up(&cfg, (program_fn[]){exhaust}, NULL);
		assert_passed(r);
		cr_assert_eq(s.turns, 1);
	}
}
