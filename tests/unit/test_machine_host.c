/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Locks and epochs of the simulated host: each rule by a program that keeps it and one that breaks
 * it (CK-SCHED, CK-API).
 */

#include "tests/unit/machine_util.h"

static uint64_t result;
static struct host_lock lock_a;
static struct host_lock lock_b;

/* ---- Locks ----------------------------------------------------------------------------------- */

static void
init_locks(void)
{
	host_lock_init(&lock_a, 1);
	host_lock_init(&lock_b, 2);
	result = 0;
}

static void
increment_locked(void *arg)
{
	struct host_word *w = arg;

	for (unsigned int i = 0; i < 20; i++) {
		host_lock(&lock_a);
		if (!host_lock_held(&lock_a))
			return;
		host_store(w, host_load(w) + 1);
		host_unlock(&lock_a);
		if (host_lock_held(&lock_a))
			return;
	}
}

static void
increment_unlocked(void *arg)
{
	struct host_word *w = arg;

	for (unsigned int i = 0; i < 20; i++)
		host_store(w, host_load(w) + 1);
}

Test(machine_host, locks_exclude)
{
	uint64_t waits = 0;
	bool raced = false;

	for (uint64_t seed = 0; seed < 50; seed++) {
		struct sim_config cfg = config(3, seed);
		struct host_word w = {0};
		struct sim_report r;

		init_locks();
		r = run(&cfg, (program_fn[]){increment_locked, increment_locked, increment_locked},
			&w);
		assert_passed(r);
		cr_assert_eq(w.hw_value, 60);
		waits += r.sr_counters.ct_lock_waits;

		w.hw_value = 0;
		r = run(&cfg,
			(program_fn[]){increment_unlocked, increment_unlocked, increment_unlocked},
			&w);
		assert_passed(r);
		raced = raced || w.hw_value < 60;
	}
	cr_assert_gt(waits, 0);
	cr_assert(raced, "without the lock the same programs lose increments");
}

static void
lock_in_order(void *arg)
{
	(void)arg;
	host_lock(&lock_a);
	host_lock(&lock_b);
	host_unlock(&lock_a);
	host_unlock(&lock_b);
	result = 1;
}

static void
lock_out_of_order(void *arg)
{
	(void)arg;
	host_lock(&lock_b);
	host_lock(&lock_a);
	result = 1;
}

static void
lock_addresses(void *arg)
{
	struct host_lock l[2];
	const unsigned int first = *(unsigned int *)arg;

	host_lock_init(&l[0], 3);
	host_lock_init(&l[1], 3);
	host_lock(&l[first]);
	host_lock(&l[1 - first]);
	host_unlock(&l[0]);
	host_unlock(&l[1]);
	host_fence(); /* the stack goes away */
	result = 1;
}

static void
hold_for_long(void *arg)
{
	(void)arg;
	host_lock(&lock_a);
	host_lock(&lock_b);
	for (unsigned int i = 0; i < 50; i++)
		host_fence();
	host_unlock(&lock_b);
	host_unlock(&lock_a);
}

static void
irqs_off_for_long(void *arg)
{
	(void)arg;
	sim_irq_disable();
	for (unsigned int i = 0; i < 50; i++)
		host_fence();
	sim_irq_enable();
}

Test(machine_host, nothing_is_held_for_too_long)
{
	struct sim_config cfg = config(1, 1);
	struct sim_report r;

	init_locks();
	cfg.sc_longest = 53;
	r = run(&cfg, (program_fn[]){hold_for_long}, NULL);
	assert_passed(r);
	cr_assert_eq(r.sr_counters.ct_longest_locked, 53);
	r = run(&cfg, (program_fn[]){irqs_off_for_long}, NULL);
	assert_passed(r);
	cr_assert_eq(r.sr_counters.ct_longest_irqs_off, 50);
	cfg.sc_longest = 49;
	init_locks();
	r = run(&cfg, (program_fn[]){hold_for_long}, NULL);
	assert_violation(r, "CK-SCHED", "a lock was held for 53 points");
	r = run(&cfg, (program_fn[]){irqs_off_for_long}, NULL);
	assert_violation(r, "CK-SCHED", "interrupts were off for 50 points");
}

Test(machine_host, lock_order)
{
	unsigned int first = 0;
	struct sim_report r;

	init_locks();
	r = run_one(lock_in_order, NULL);
	assert_passed(r);
	cr_assert_eq(result, 1);
	init_locks();
	r = run_one(lock_out_of_order, NULL);
	assert_violation(r, "CK-SCHED", "rank 1 is taken while rank 2 is held");
	cr_assert_str_eq(r.sr_invariant, "I44");
	cr_assert_eq(r.sr_cpu, 0);
	cr_assert_eq(result, 0);
	r = run_one(lock_addresses, &first);
	assert_passed(r);
	first = 1;
	r = run_one(lock_addresses, &first);
	assert_violation(r, "CK-SCHED", "of two locks of rank 3");
}

static void
lock_twice(void *arg)
{
	(void)arg;
	host_lock(&lock_a);
	host_lock(&lock_a);
}

static void
unlock_only(void *arg)
{
	(void)arg;
	host_unlock(&lock_a);
}

static void
lock_uninitialized(void *arg)
{
	struct host_lock l = {0};

	(void)arg;
	host_lock(&l);
}

static void
return_locked(void *arg)
{
	(void)arg;
	host_lock(&lock_a);
}

static void
return_in_section(void *arg)
{
	(void)arg;
	host_epoch_enter();
}

static void
return_irqs_off(void *arg)
{
	(void)arg;
	sim_irq_disable();
}

static void
relax_locked(void *arg)
{
	(void)arg;
	host_lock(&lock_a);
	host_relax();
}

static void
relax_irqs_off(void *arg)
{
	(void)arg;
	sim_irq_disable();
	host_relax();
}

static void
table_alloc_locked(void *arg)
{
	uint64_t hpa;

	(void)arg;
	host_lock(&lock_a);
	host_table_alloc(&hpa);
}

static void
alloc_in_section(void *arg)
{
	(void)arg;
	host_epoch_enter();
	host_alloc(64);
}

static void
drain_in_section(void *arg)
{
	(void)arg;
	host_epoch_enter();
	host_epoch_drain();
}

static void
section_end_only(void *arg)
{
	(void)arg;
	host_epoch_exit();
}

static void
guest_irqs_on(void *arg)
{
	(void)arg;
	sim_guest_enter();
}

static void
guest_in_section(void *arg)
{
	(void)arg;
	host_epoch_enter();
	sim_irq_disable();
	sim_guest_enter();
}

static void
guest_locked(void *arg)
{
	(void)arg;
	host_lock(&lock_a);
	sim_irq_disable();
	sim_guest_enter();
}

static void
assert_false(void *arg)
{
	HOST_ASSERT(arg != NULL);
}

static void
flush_unattached(void *arg)
{
	(void)arg;
	host_epoch_enter();
	host_flush_tlb(true);
}

static void
kick_nobody(void *arg)
{
	(void)arg;
	host_kick(3);
}

static void
lock_many(void *arg)
{
	static struct host_lock many[17];

	(void)arg;
	for (unsigned int i = 0; i < 17; i++) {
		host_lock_init(&many[i], i);
		host_lock(&many[i]);
	}
}

static void
drain_inside(struct host_epoch_item *item)
{
	(void)item;
	host_epoch_drain();
}

static void
lock_inside(struct host_epoch_item *item)
{
	(void)item;
	host_lock(&lock_a);
}

static struct host_epoch_item an_item;

static void
defer_drain(void *arg)
{
	(void)arg;
	host_epoch_defer(&an_item, drain_inside);
}

static void
defer_lock(void *arg)
{
	(void)arg;
	host_epoch_defer(&an_item, lock_inside);
}

Test(machine_host, broken_rules)
{
	static const struct {
		program_fn program;
		const char *check;
		const char *text;
	} rules[] = {
		{lock_twice, "CK-SCHED", "taken twice"},
		{unlock_only, "CK-SCHED", "does not hold"},
		{lock_uninitialized, "CK-SCHED", "not initialized"},
		{return_locked, "CK-SCHED", "returned with 1 locks held"},
		{return_in_section, "CK-SCHED", "returned inside an epoch section"},
		{return_irqs_off, "CK-SCHED", "returned with interrupts off"},
		{relax_locked, "CK-SCHED", "host_relax() with a lock"},
		{relax_irqs_off, "CK-SCHED", "host_relax() with interrupts off"},
		{table_alloc_locked, "CK-SCHED", "host_table_alloc() with a lock"},
		{alloc_in_section, "CK-SCHED", "host_alloc() inside an epoch section"},
		{drain_in_section, "CK-SCHED", "host_epoch_drain() inside an epoch section"},
		{section_end_only, "CK-SCHED", "ends that did not begin"},
		{guest_irqs_on, "CK-SCHED", "guest entry with interrupts on"},
		{guest_in_section, "CK-SCHED", "guest entry inside an epoch section"},
		{guest_locked, "CK-SCHED", "guest entry with a lock held"},
		{assert_false, "CK-API", "arg != NULL"},
		{flush_unattached, "CK-API", "no translation cache"},
		{kick_nobody, "CK-API", "there is no CPU 3"},
		{lock_many, "CK-SCHED", "more than 16 locks"},
		{defer_drain, "CK-SCHED", "host_epoch_drain() in a deferred function"},
		{defer_lock, "CK-SCHED", "a deferred function returned holding"},
	};

	for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		init_locks();
		struct sim_report r = run_one(rules[i].program, NULL);
		assert_violation(r, rules[i].check, rules[i].text);
	}
}

/* ---- Epochs ---------------------------------------------------------------------------------- */

struct deferred {
	struct host_epoch_item item;
	struct host_word published; /* 1: reachable */
	uint64_t alive;
	uint64_t readers_in; /* that found it, not yet out of their section */
	uint64_t ran;
	unsigned int ran_on;
	bool early;
};

static void
reclaim(struct host_epoch_item *item)
{
	struct deferred *d = (struct deferred *)item; /* item is first */

	d->early = d->early || d->readers_in != 0;
	d->alive = 0;
	d->ran++;
	d->ran_on = host_cpu();
}

static void
read_section(void *arg)
{
	struct deferred *d = arg;

	for (unsigned int i = 0; i < 6; i++) {
		host_epoch_enter();
		if (host_load(&d->published) == 1) {
			d->readers_in++;
			sim_point(SIM_USER, NULL);
			host_epoch_enter();
			sim_point(SIM_USER, NULL);
			host_epoch_exit();
			sim_point(SIM_USER, NULL);
			if (d->alive == 0)
				d->early = true;
			d->readers_in--;
		}
		host_epoch_exit();
	}
}

static void
unpublish(void *arg)
{
	struct deferred *d = arg;

	sim_point(SIM_USER, NULL);
	host_xchg(&d->published, 0);
	host_epoch_defer(&d->item, reclaim);
	if (d->ran != 0)
		d->early = true;
	host_epoch_drain();
	result += d->ran;
}

Test(machine_host, epoch_outlives_sections)
{
	uint64_t held_up = 0;

	result = 0;
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct sim_config cfg = config(3, seed);
		struct deferred d = {.published = {1}, .alive = 1};
		struct sim_report r =
			run(&cfg, (program_fn[]){unpublish, read_section, read_section}, &d);

		assert_passed(r);
		cr_assert(!d.early, "seed %d", (int)seed);
		cr_assert_eq(d.ran, 1);
		cr_assert_eq(d.ran_on, 3, "on the service CPU");
		cr_assert_eq(r.sr_counters.ct_deferred_run, 1);
		held_up += r.sr_counters.ct_points[SIM_USER] > 2;
	}
	cr_assert_eq(result, 100, "each drain waited");
	cr_assert_gt(held_up, 0);
}

static void
defer_three(void *arg)
{
	struct deferred *d = arg;

	host_epoch_enter();
	for (unsigned int i = 0; i < 3; i++)
		host_epoch_defer(&d[i].item, reclaim);
	for (unsigned int i = 0; i < 50; i++)
		host_fence();
	if (d[0].ran || d[1].ran || d[2].ran)
		d[0].early = true;
	host_epoch_exit();
	/* No drain: the run itself waits for what is deferred. */
}

Test(machine_host, epoch_runs_everything_before_the_end)
{
	struct deferred d[3] = {{.alive = 1}, {.alive = 1}, {.alive = 1}};
	struct sim_report r = run_one(defer_three, d);

	assert_passed(r);
	cr_assert(!d[0].early && d[0].ran == 1 && d[1].ran == 1 && d[2].ran == 1);
	cr_assert_eq(r.sr_counters.ct_deferred, 3);
}

static struct {
	struct host_word before; /* stored by a reader inside its section */
	struct host_word after;	 /* stored by it later, without a fence */
	struct host_word own;	 /* stored by the one who defers */
	struct host_epoch_item item;
	uint64_t saw[3];
	bool in_section;
} order;

static void
look_at_stores(struct host_epoch_item *item)
{
	(void)item;
	order.saw[0] = host_load(&order.before);
	order.saw[1] = host_load(&order.after);
	order.saw[2] = host_load(&order.own);
}

static void
store_around_section_end(void *arg)
{
	(void)arg;
	host_epoch_enter();
	order.in_section = true;
	for (unsigned int i = 0; i < 5; i++)
		sim_point(SIM_USER, NULL);
	host_store(&order.before, 1);
	host_epoch_exit();
	host_store(&order.after, 1);
	for (unsigned int i = 0; i < 5; i++)
		sim_point(SIM_USER, NULL);
}

static bool
section_open(void *arg)
{
	(void)arg;
	return order.in_section;
}

static void
defer_in_section(void *arg)
{
	(void)arg;
	sim_wait_until("a section", section_open, NULL);
	host_store(&order.own, 1);
	host_epoch_defer(&order.item, look_at_stores);
}

Test(machine_host, epoch_settles_what_came_before_and_no_more)
{
	unsigned int unsettled = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sim_config cfg = config(2, seed);

		memset(&order, 0, sizeof order);
		cfg.sc_drain_weight = 1;
		struct sim_report r =
			run(&cfg, (program_fn[]){store_around_section_end, defer_in_section}, NULL);
		assert_passed(r);
		cr_assert_eq(order.saw[2], 1);
		cr_assert(order.saw[0] == 1, "seed %d", (int)seed);
		unsettled += order.saw[1] == 0;
	}
	cr_assert(unsettled > 0 && unsettled < 200, "%u of 200", unsettled);
}
