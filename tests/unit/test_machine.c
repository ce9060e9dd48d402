/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulated machine as a whole: determinism, choices and their replay, scheduling, agents, how
 * runs end.
 */

#include "tests/unit/machine_util.h"

#include <stdio.h>

/* ---- A bit of everything --------------------------------------------------------------------- */

#define CPUS 3

struct mixture {
	struct host_word words[4];
	struct host_word list; /* a pointer */
	struct host_lock lock;
	struct host_epoch_item items[CPUS];
	uint64_t reclaimed;
	uint64_t irqs;
};

static struct mixture *mix;

static void
mixture_reclaim(struct host_epoch_item *item)
{
	(void)item;
	host_lock(&mix->lock);
	mix->reclaimed++;
	host_unlock(&mix->lock);
}

static void
mixture_irq(void *arg, unsigned int cpu)
{
	(void)arg;
	(void)cpu;
	host_fetch_add(&mix->words[3], 1);
	mix->irqs++;
}

static void
mixture_step(unsigned int cpu, unsigned int i)
{
	uint64_t old;
	uint64_t hpa;

	switch (sim_choose(SIM_CHOICE_WORKLOAD, 7)) {
	case 0:
		host_store(&mix->words[cpu], i);
		break;
	case 1:
		old = host_load(&mix->words[3]);
		host_cas(&mix->words[3], &old, old + 1);
		break;
	case 2:
		host_lock(&mix->lock);
		host_store_release(&mix->list, (uintptr_t)&mix->words[cpu]);
		host_unlock(&mix->lock);
		break;
	case 3:
		host_kick((cpu + 1) % CPUS);
		break;
	case 4:
		host_epoch_enter();
		if (host_table_alloc(&hpa)) {
			host_store(host_table_words(hpa), hpa);
			host_table_free(hpa);
		}
		host_epoch_exit();
		break;
	case 5:
		host_store(&mix->words[cpu], sim_choose_value(SIM_CHOICE_WORKLOAD));
		host_free(host_alloc(40), 40);
		break;
	default:
		host_relax();
	}
}

static void
mixture_program(void *arg)
{
	unsigned int cpu = host_cpu();

	(void)arg;
	for (unsigned int i = 0; i < 30; i++)
		mixture_step(cpu, i);
	host_epoch_defer(&mix->items[cpu], mixture_reclaim);
}

static struct sim_report
run_mixture(const struct sim_config *cfg, struct sim_choice_record **list, size_t *n)
{
	struct sim_machine *m = machine(cfg);

	mix = sim_alloc(sizeof *mix);
	host_lock_init(&mix->lock, 1);
	sim_set_irq_handler(mixture_irq, NULL);
	struct sim_report r =
		run_on(m, (program_fn[]){mixture_program, mixture_program, mixture_program}, NULL);
	if (r.sr_result == SIM_RUN_PASSED) {
		cr_assert_eq(mix->reclaimed, CPUS);
		sim_machine_check_leaks(m, &r);
	}
	if (list != NULL) {
		const struct sim_choice_record *made = sim_machine_choices(m, n);
		*list = calloc(*n + 1, sizeof **list);
		memcpy(*list, made, *n * sizeof **list);
	}
	sim_machine_destroy(m);
	return r;
}

Test(machine, same_seed_same_trace)
{
	uint64_t previous = 0;

	for (uint64_t seed = 0; seed < 40; seed++) {
		struct sim_config cfg = config(CPUS, seed);
		cfg.sc_memory_model = seed % 2 == 0 ? SIM_TSO : SIM_SC;
		cfg.sc_quarantine = seed % 3 == 0;
		cfg.sc_fault_ppm[SIM_FAULT_TABLE_ALLOC] = 100000;
		cfg.sc_fault_ppm[SIM_FAULT_SPURIOUS_KICK] = 200000;
		struct sim_report a = run_mixture(&cfg, NULL, NULL);
		struct sim_report b = run_mixture(&cfg, NULL, NULL);

		assert_passed(a);
		cr_assert_eq(a.sr_hash, b.sr_hash, "seed %d", (int)seed);
		cr_assert_eq(memcmp(&a.sr_counters, &b.sr_counters, sizeof a.sr_counters), 0);
		cr_assert_neq(a.sr_hash, previous);
		previous = a.sr_hash;
	}
}

/*
 * The same in every build: compiler, optimization and sanitizer must not show. A change of the
 * machine or of the program above changes the number.
 */
#define MIXTURE_HASH 0xebbffdc491757234ull

Test(machine, same_trace_in_every_build)
{
	struct sim_config cfg = config(CPUS, 0x123456789abcdef);
	struct sim_report r = run_mixture(&cfg, NULL, NULL);
	char hash[24];

	assert_passed(r);
	snprintf(hash, sizeof hash, "0x%016llx", (unsigned long long)r.sr_hash);
	cr_assert_eq(r.sr_hash, MIXTURE_HASH, "%s", hash);
}

/* ---- Replay ---------------------------------------------------------------------------------- */

Test(machine, replay)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct sim_config cfg = config(CPUS, seed);
		struct sim_choice_record *list;
		size_t n;

		cfg.sc_record = true;
		cfg.sc_fault_ppm[SIM_FAULT_TABLE_ALLOC] = 100000;
		struct sim_report a = run_mixture(&cfg, &list, &n);
		assert_passed(a);
		cr_assert_eq(n, a.sr_counters.ct_choices);
		cfg.sc_source = SIM_SOURCE_LIST;
		cfg.sc_list = list;
		cfg.sc_list_len = n;
		cfg.sc_seed = 999;
		struct sim_report b = run_mixture(&cfg, NULL, NULL);
		assert_passed(b);
		cr_assert_eq(a.sr_hash, b.sr_hash);
		cr_assert_eq(a.sr_step, b.sr_step);

		/* Not another machine. */
		cfg.sc_memory_model = SIM_SC;
		struct sim_report c = run_mixture(&cfg, NULL, NULL);
		cr_assert_eq(c.sr_result, SIM_RUN_DIVERGED);
		cr_assert_not_null(strstr(c.sr_message, "recorded"), "%s", c.sr_message);
		free(list);
	}
}

Test(machine, replay_says_where_it_parts)
{
	struct sim_config cfg = config(CPUS, 5);
	struct sim_choice_record *list;
	struct sim_report r;
	char expected[64];
	size_t n;

	cfg.sc_record = true;
	run_mixture(&cfg, &list, &n);
	cfg.sc_source = SIM_SOURCE_LIST;
	cfg.sc_list = list;
	for (size_t at = 0; at < n; at += n / 7) {
		struct sim_choice_record was = list[at];

		cfg.sc_list_len = at;
		r = run_mixture(&cfg, NULL, NULL);
		cr_assert_eq(r.sr_result, SIM_RUN_DIVERGED);
		snprintf(expected, sizeof expected, "end after %zu,", at);
		cr_assert_not_null(strstr(r.sr_message, expected), "%s", r.sr_message);

		cfg.sc_list_len = n;
		list[at].cr_n++;
		r = run_mixture(&cfg, NULL, NULL);
		cr_assert_eq(r.sr_result, SIM_RUN_DIVERGED);
		snprintf(expected, sizeof expected, "decision %zu, step ", at);
		cr_assert_not_null(strstr(r.sr_message, expected), "%s", r.sr_message);
		snprintf(expected, sizeof expected, ": recorded %s %u among %u, now ",
			 sim_choice_name((enum sim_choice)was.cr_kind), was.cr_value, was.cr_n + 1);
		cr_assert_not_null(strstr(r.sr_message, expected), "%s", r.sr_message);

		list[at] = was;
		list[at].cr_kind =
			SIM_CHOICE_COUNT; /* hostile: names must not be looked up blindly */
		r = run_mixture(&cfg, NULL, NULL);
		cr_assert_eq(r.sr_result, SIM_RUN_DIVERGED);
		list[at] = was;
		list[at].cr_value = was.cr_n;
		r = run_mixture(&cfg, NULL, NULL);
		cr_assert_eq(r.sr_result, SIM_RUN_DIVERGED);
		list[at] = was;
	}
	/* Leniently, any list is a run. */
	cfg.sc_list_lenient = true;
	cfg.sc_list_len = n / 2;
	for (size_t i = 0; i < n; i++)
		list[i].cr_value = list[n - 1 - i].cr_value ^ (uint32_t)i;
	r = run_mixture(&cfg, NULL, NULL);
	assert_passed(r);
	free(list);
}

static void
weigh(void *arg)
{
	static const uint32_t weights[4] = {1, 0, 6, 3};
	unsigned int *count = arg;

	for (unsigned int i = 0; i < 1000; i++) {
		count[sim_choose_weighted(SIM_CHOICE_WORKLOAD, 4, weights)]++;
		count[4 + sim_choose(SIM_CHOICE_WORKLOAD, 4)]++;
		count[8] += sim_choose_chance(SIM_CHOICE_WORKLOAD, 250000);
		count[9] += sim_choose_chance(SIM_CHOICE_WORKLOAD, 1000000);
		count[10] += sim_choose_chance(SIM_CHOICE_WORKLOAD, 0);
		count[11] += sim_choose(SIM_CHOICE_WORKLOAD, 1);
	}
}

static void
choose_among_none(void *arg)
{
	(void)arg;
	sim_choose(SIM_CHOICE_WORKLOAD, 0);
}

static void
choose_without_odds(void *arg)
{
	static const uint32_t weights[2];

	(void)arg;
	sim_choose_weighted(SIM_CHOICE_WORKLOAD, 2, weights);
}

static uint32_t
too_much(void *arg, enum sim_choice kind, uint32_t n)
{
	(void)arg;
	(void)kind;
	return n;
}

static void
do_nothing(void *arg)
{
	(void)arg;
}

static void
choose_often(void *arg)
{
	for (unsigned int i = 0; i < 10000; i++)
		*(uint64_t *)arg += sim_choose(SIM_CHOICE_WORKLOAD, 1000);
}

Test(machine, long_recordings)
{
	struct sim_config cfg = config(1, 1);
	uint64_t sum = 0;
	uint64_t recorded = 0;
	size_t n;

	cfg.sc_record = true;
	struct sim_machine *m = machine(&cfg);
	struct sim_report r = run_on(m, (program_fn[]){choose_often}, &sum);
	assert_passed(r);
	const struct sim_choice_record *list = sim_machine_choices(m, &n);
	cr_assert_geq(n, 10000);
	for (size_t i = 0; i < n; i++)
		recorded += list[i].cr_kind == SIM_CHOICE_WORKLOAD ? list[i].cr_value : 0;
	cr_assert_eq(recorded, sum);
	sim_machine_destroy(m);
}

Test(machine, names)
{
	for (int i = 0; i < SIM_ACCESS_COUNT; i++)
		cr_assert_gt(strlen(sim_access_name((enum sim_access)i)), 1);
	for (int i = 0; i < SIM_FAULT_COUNT; i++)
		cr_assert_gt(strlen(sim_fault_name((enum sim_fault)i)), 2);
	for (int i = 0; i < SIM_CHOICE_COUNT; i++)
		cr_assert_gt(strlen(sim_choice_name((enum sim_choice)i)), 1);
	cr_assert_str_eq(sim_access_name(SIM_USER), "user");
	cr_assert_str_eq(sim_fault_name(SIM_FAULT_SPURIOUS_FAULT), "spurious-fault");
	cr_assert_str_eq(sim_choice_name(SIM_CHOICE_WORKLOAD), "workload");
	cr_assert_str_eq(sim_access_name(SIM_ACCESS_COUNT), "unknown");
}

Test(machine, odds)
{
	unsigned int count[12] = {0};
	struct sim_report r = run_one(weigh, count);

	assert_passed(r);
	cr_assert(count[0] > 50 && count[0] < 150, "%u", count[0]);
	cr_assert_eq(count[1], 0);
	cr_assert(count[2] > 500 && count[2] < 700, "%u", count[2]);
	for (unsigned int i = 4; i < 8; i++)
		cr_assert(count[i] > 180 && count[i] < 320, "%u", count[i]);
	cr_assert(count[8] > 180 && count[8] < 320, "%u", count[8]);
	cr_assert(count[9] == 1000 && count[10] == 0 && count[11] == 0);
	r = run_one(choose_among_none, NULL);
	assert_violation(r, "CK-API", "among none");
	r = run_one(choose_without_odds, NULL);
	assert_violation(r, "CK-API", "without odds");
	struct sim_config cfg = config(1, 1);
	cfg.sc_source = SIM_SOURCE_CALL;
	cfg.sc_call = too_much;
	r = run(&cfg, (program_fn[]){do_nothing}, NULL);
	assert_violation(r, "CK-API", "among");
}

/* ---- How runs end ---------------------------------------------------------------------------- */

static bool
never(void *arg)
{
	(void)arg;
	return false;
}

static void
wait_for_ever(void *arg)
{
	(void)arg;
	sim_wait_until("Godot", never, NULL);
}

static struct host_lock lock;

static void
lock_and_wait(void *arg)
{
	(void)arg;
	host_lock(&lock);
	sim_wait_until("an answer", never, NULL);
}

static void
take_lock(void *arg)
{
	struct host_word *w = arg;

	while (host_load(w) == 0 && lock.hl_word == 0)
		host_relax();
	host_lock(&lock);
}

Test(machine, deadlock)
{
	struct sim_config cfg = config(2, 1);
	struct host_word w = {0};
	struct sim_report r = run(&cfg, (program_fn[]){wait_for_ever, do_nothing}, NULL);

	assert_violation(r, "CK-SCHED", "deadlock: CPU 0 waits for Godot;");
	cr_assert_str_eq(r.sr_invariant, "I24");
	host_lock_init(&lock, 1);
	r = run(&cfg, (program_fn[]){lock_and_wait, take_lock}, &w);
	assert_violation(r, "CK-SCHED", "CPU 0 waits for an answer; CPU 1 waits for a lock;");
}

static void
spin(void *arg)
{
	while (host_load(arg) == 0)
		host_relax();
}

static void
run_on_and_on(void *arg)
{
	for (uint64_t i = 0;; i++)
		host_store(arg, i);
}

Test(machine, livelock_and_budget)
{
	struct sim_config cfg = config(2, 1);
	struct host_word w = {0};
	struct sim_report r = run(&cfg, (program_fn[]){spin, spin}, &w);

	assert_violation(r, "CK-SCHED", "livelock");
	struct sim_machine *m = machine(&cfg);
	sim_machine_call(m, spin, &w, &r);
	sim_machine_destroy(m);
	assert_violation(r, "CK-SCHED", "livelock");

	cfg.sc_steps = 777;
	r = run(&cfg, (program_fn[]){spin, run_on_and_on}, &w);
	cr_assert_eq(r.sr_result, SIM_RUN_BUDGET);
	cr_assert_geq(r.sr_step, 777);
	cr_assert_lt(r.sr_step, 780);
}

static void
violate(void *arg)
{
	const char *text = arg;

	for (unsigned int i = 0; i < 10; i++)
		sim_point(SIM_USER, NULL);
	sim_violation("CK-TLB", "I14", "a stale %s on CPU %u", text, sim_cpu());
}

Test(machine, violations_are_reported_once)
{
	struct sim_config cfg = config(2, 1);
	struct sim_machine *m = machine(&cfg);
	struct sim_report r, again;

	cr_assert_eq(sim_spawn(m, 1, violate, (void *)"entry"), 0);
	cr_assert_eq(sim_machine_run(m, &r), SIM_RUN_VIOLATED);
	assert_violation(r, "CK-TLB", "a stale entry on CPU 1");
	cr_assert_str_eq(r.sr_invariant, "I14");
	cr_assert_eq(r.sr_cpu, 1);
	cr_assert_eq(r.sr_step, 10);
	/* There is no going on after it. */
	cr_assert_eq(sim_machine_run(m, &again), SIM_RUN_VIOLATED);
	cr_assert_eq(sim_machine_call(m, violate, (void *)"word", &again), SIM_RUN_VIOLATED);
	cr_assert_str_eq(again.sr_message, r.sr_message);
	sim_machine_destroy(m);

	m = machine(&cfg);
	cr_assert_eq(sim_machine_call(m, violate, (void *)"word", &r), SIM_RUN_VIOLATED);
	cr_assert_eq(r.sr_cpu, SIM_ACTOR_DRIVER);
	assert_violation(r, "CK-TLB", "a stale word on CPU 0");
	sim_machine_destroy(m);
}

/*
 * ---- Runs one after another, programs that meet -----------------------------------------------
 */

struct meeting {
	struct sim_barrier barrier;
	struct host_word before;
	bool overtaken;
};

static void
meet(void *arg)
{
	struct meeting *w = arg;

	for (uint64_t round = 1; round <= 5; round++) {
		host_fetch_add(&w->before, 1);
		sim_barrier_wait(&w->barrier);
		if (host_load(&w->before) < round * CPUS)
			w->overtaken = true;
	}
}

Test(machine, barriers_and_further_runs)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct sim_config cfg = config(CPUS, seed);
		struct sim_machine *m = machine(&cfg);
		struct meeting w = {.barrier = {.ba_parties = CPUS}};
		uint64_t steps = 0;

		for (uint64_t phase = 1; phase <= 3; phase++) {
			w.before.hw_value = 0;
			struct sim_report r = run_on(m, (program_fn[]){meet, meet, meet}, &w);
			assert_passed(r);
			cr_assert(!w.overtaken);
			cr_assert_eq(w.before.hw_value, 5 * CPUS);
			cr_assert_gt(r.sr_step, steps);
			steps = r.sr_step;
		}
		cr_assert_eq(sim_spawn(m, CPUS, meet, &w), -EINVAL);
		cr_assert_eq(sim_spawn(m, 0, do_nothing, &w), 0);
		cr_assert_eq(sim_spawn(m, 0, do_nothing, &w), -EBUSY);
		sim_machine_destroy(m);
	}
}

/* ---- Agents and hooks ------------------------------------------------------------------------ */

static struct {
	unsigned int steps[2];
	bool in_fiber;
	struct host_word *w;
} agent;

static unsigned int
agent_enabled(void *arg)
{
	(void)arg;
	return agent.steps[0] + agent.steps[1] < 10 ? 2 : 0;
}

static void
agent_step(void *arg, unsigned int which)
{
	(void)arg;
	agent.steps[which]++;
	agent.in_fiber = agent.in_fiber || sim_in_fiber();
	sim_point(SIM_HW, NULL);
	if (agent.steps[0] + agent.steps[1] == 10)
		host_store(agent.w, 1);
}

static bool
agent_is_done(void *arg)
{
	return ((struct host_word *)arg)->hw_value == 1;
}

static void
wait_for_agent(void *arg)
{
	sim_wait_until("the agent", agent_is_done, arg);
}

Test(machine, agents)
{
	static struct sim_agent_ops ops = {"tester", 5, agent_enabled, agent_step, true, NULL};
	struct sim_config cfg = config(1, 3);

	for (int helps = 1; helps >= 0; helps--) {
		struct sim_machine *m = machine(&cfg);
		struct host_word w = {0};

		memset(&agent, 0, sizeof agent);
		agent.w = &w;
		ops.ag_helps = helps;
		sim_agent_add(&ops, NULL);
		struct sim_report r = run_on(m, (program_fn[]){wait_for_agent}, &w);
		sim_machine_destroy(m);
		if (!helps) {
			assert_violation(r, "CK-SCHED", "CPU 0 waits for the agent;");
			continue;
		}
		assert_passed(r);
		cr_assert_eq(agent.steps[0] + agent.steps[1], 10);
		cr_assert(agent.steps[0] > 0 && agent.steps[1] > 0 && !agent.in_fiber);
		cr_assert_eq(r.sr_counters.ct_agent_steps, 10);
	}
}

static uint64_t audits;
static uint64_t steps_seen;

static void
audit(void *arg)
{
	(void)arg;
	audits++;
}

static void
see_step(void *arg, const struct sim_step *st)
{
	(void)arg;
	steps_seen += st->st_kind == SIM_STORE && st->st_actor < CPUS;
}

static struct sim_report
run_watched(uint64_t every, bool steps)
{
	struct sim_config cfg = config(CPUS, 9);
	struct sim_machine *m = machine(&cfg);

	audits = 0;
	steps_seen = 0;
	mix = sim_alloc(sizeof *mix);
	host_lock_init(&mix->lock, 1);
	if (every > 0)
		sim_set_audit_hook(audit, NULL, every);
	if (steps)
		sim_set_step_hook(see_step, NULL);
	struct sim_report r =
		run_on(m, (program_fn[]){mixture_program, mixture_program, mixture_program}, NULL);
	sim_machine_destroy(m);
	assert_passed(r);
	return r;
}

Test(machine, watching_changes_nothing)
{
	struct sim_report plain = run_watched(0, false);

	cr_assert_eq(audits, 0);
	for (uint64_t every = 1; every < 50; every += 12) {
		struct sim_report r = run_watched(every, every == 1);
		cr_assert_eq(r.sr_hash, plain.sr_hash);
		cr_assert_eq(r.sr_step, plain.sr_step);
		cr_assert_geq(audits, r.sr_step / every - 1);
		cr_assert_leq(audits, r.sr_step / every + 1);
		if (every == 1)
			cr_assert_gt(steps_seen, plain.sr_counters.ct_points[SIM_STORE] / 2);
	}
}

/* ---- Configuration --------------------------------------------------------------------------- */

static uint32_t
zero(void *arg, enum sim_choice kind, uint32_t n)
{
	(void)arg;
	(void)kind;
	(void)n;
	return 0;
}

Test(machine, configurations_that_make_no_sense)
{
	struct sim_config cfg[11];
	char why[128];

	for (size_t i = 0; i < 11; i++)
		sim_config_init(&cfg[i]);
	cfg[0].sc_cpus = 0;
	cfg[1].sc_cpus = SIM_MAX_CPUS + 1;
	cfg[2].sc_store_buffer = 17;
	cfg[3].sc_frames = (1u << 22) + 1;
	cfg[4].sc_phys_base = 4096;
	cfg[5].sc_phys_base = (uint64_t)1 << 52;
	cfg[6].sc_fault_ppm[2] = 1000001;
	cfg[7].sc_source = SIM_SOURCE_CALL;
	cfg[8].sc_source = SIM_SOURCE_LIST;
	cfg[8].sc_list_len = 1;
	cfg[9].sc_run_lengths = 17;
	cfg[10].sc_swap_slots = (1u << 22) + 1;
	for (size_t i = 0; i < 11; i++) {
		why[0] = '\0';
		cr_assert_null(sim_machine_create(&cfg[i], why, sizeof why), "%zu", i);
		cr_assert_gt(strlen(why), 10, "%zu", i);
	}
	struct sim_config zeros = {
		.sc_cpus = SIM_MAX_CPUS, .sc_source = SIM_SOURCE_CALL, .sc_call = zero};
	struct sim_machine *m = machine(&zeros);
	cr_assert_null(sim_machine_create(&zeros, why, sizeof why));
	cr_assert_str_eq(why, "there is a machine already");
	struct sim_report r = run_on(m, (program_fn[]){do_nothing, NULL}, NULL);
	assert_passed(r);
	sim_machine_destroy(m);
	sim_machine_destroy(NULL);
}
