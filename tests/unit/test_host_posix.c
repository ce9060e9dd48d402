/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the POSIX host promises beyond the contract (pmap/posix/host_posix.h): threads that come and
 * go, kicks that reach them, memory that wanders between them, faults on demand.
 */

#include "pmap/posix/host_posix.h"
#include "tests/unit/world.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static void
run_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, fn, arg), 0);
	pthread_join(thread, NULL);
}

/* ---- Threads --------------------------------------------------------------------------------- */

static void *
tell_cpu(void *arg)
{
	*(unsigned int *)arg = host_cpu();
	return NULL;
}

Test(host_posix, numbers_come_back)
{
	unsigned int first = HOST_MAX_CPUS;

	(void)host_cpu();
	run_thread(tell_cpu, &first);
	for (unsigned int n = 0; n < 3 * HOST_MAX_CPUS; n++) {
		unsigned int cpu = HOST_MAX_CPUS;

		run_thread(tell_cpu, &cpu);
		cr_assert_eq(cpu, first, "the lowest free number, each time");
	}
}

static void *
register_and_release(void *arg)
{
	unsigned int *cpus = arg;

	cpus[0] = (unsigned int)host_posix_cpu_register();
	cpus[1] = host_cpu();
	host_posix_cpu_release();
	host_posix_cpu_release(); /* nothing to give back */
	cpus[2] = host_cpu();	  /* becomes a CPU anew, and gives that back at its end */
	return NULL;
}

Test(host_posix, release_and_come_back)
{
	unsigned int cpus[3];

	run_thread(register_and_release, cpus);
	cr_assert_eq(cpus[0], 0);
	cr_assert_eq(cpus[1], cpus[2]);
}

struct crowd {
	pthread_barrier_t cr_all_here;
	pthread_barrier_t cr_leave;
	struct host_word cr_refused;
};

static void *
one_of_many(void *arg)
{
	struct crowd *c = arg;
	int error = host_posix_cpu_register();

	if (error == -EAGAIN)
		__atomic_fetch_add(&c->cr_refused.hw_value, 1, __ATOMIC_RELAXED);
	pthread_barrier_wait(&c->cr_all_here);
	pthread_barrier_wait(&c->cr_leave);
	return NULL;
}

Test(host_posix, no_number_left)
{
	enum { CROWD = HOST_MAX_CPUS + 2 };
	pthread_t threads[CROWD];
	struct crowd c = {0};

	cr_assert_eq(host_posix_cpu_register(), 0); /* one is ours */
	pthread_barrier_init(&c.cr_all_here, NULL, CROWD + 1);
	pthread_barrier_init(&c.cr_leave, NULL, CROWD + 1);
	for (unsigned int i = 0; i < CROWD; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, one_of_many, &c), 0);
	pthread_barrier_wait(&c.cr_all_here);
	cr_assert_eq(c.cr_refused.hw_value, CROWD - (HOST_MAX_CPUS - 1));
	cr_assert_eq(host_posix_cpu_register(), 0, "who is one already is not refused");
	pthread_barrier_wait(&c.cr_leave);
	for (unsigned int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&c.cr_all_here);
	pthread_barrier_destroy(&c.cr_leave);

	unsigned int cpu = HOST_MAX_CPUS;

	run_thread(tell_cpu, &cpu);
	cr_assert_lt(cpu, HOST_MAX_CPUS);
}

/* ---- Kicks ----------------------------------------------------------------------------------- */

struct target {
	struct host_word ta_cpu; /* + 1 */
	struct host_word ta_taken;
	struct host_word ta_hooked;
	struct host_word ta_go_on;
	uint64_t ta_interrupted;
};

static void
on_kick(void *arg, unsigned int cpu)
{
	struct target *t = arg;

	host_fetch_add(&t->ta_hooked, cpu + 1);
}

static void *
wait_for_kick(void *arg)
{
	struct target *t = arg;
	const struct host_posix_hooks hooks = {.ph_kick = on_kick, .ph_arg = t};

	host_posix_set_hooks(&hooks);
	host_kick(host_cpu());
	if (host_posix_kick_taken())
		return NULL; /* its own kick does nothing */
	host_xchg(&t->ta_cpu, host_cpu() + 1);
	while (!host_posix_kick_taken())
		host_relax();
	host_fetch_add(&t->ta_taken, 1);
	while (host_load_acquire(&t->ta_go_on) == 0)
		host_relax();
	host_fetch_add(&t->ta_taken, host_posix_kick_taken() ? 100 : 1);
	return NULL;
}

Test(host_posix, kick_is_taken_once)
{
	static struct target t;
	struct host_posix_cpu_stats before;
	struct host_posix_cpu_stats after;
	pthread_t thread;
	unsigned int cpu;

	t = (struct target){0};
	(void)host_cpu();
	cr_assert_eq(pthread_create(&thread, NULL, wait_for_kick, &t), 0);
	while (host_load_acquire(&t.ta_cpu) == 0)
		host_relax();
	cpu = (unsigned int)host_load(&t.ta_cpu) - 1;
	host_posix_cpu_stats(cpu, &before);
	host_kick(cpu);
	while (host_load_acquire(&t.ta_taken) == 0)
		host_relax();
	host_xchg(&t.ta_go_on, 1);
	pthread_join(thread, NULL);
	cr_assert_eq(host_load(&t.ta_taken), 2, "taken again without a kick");
	cr_assert_eq(host_load(&t.ta_hooked), cpu + 1);
	host_posix_cpu_stats(cpu, &after);
	cr_assert_eq(after.cs_kicks, before.cs_kicks + 1);

	/* The thread is gone: neither it nor its hook hear of this. */
	host_kick(cpu);
	cr_assert_eq(host_load(&t.ta_hooked), cpu + 1);
	host_posix_cpu_stats(cpu, &after);
	cr_assert_eq(after.cs_kicks, before.cs_kicks + 1);
}

static void *
sleep_until_signal(void *arg)
{
	struct target *t = arg;
	const struct host_posix_hooks hooks = {.ph_signal = true};

	host_posix_set_hooks(&hooks);
	host_xchg(&t->ta_cpu, host_cpu() + 1);
	while (!host_posix_kick_taken()) {
		if (usleep(900000) != 0 && errno == EINTR)
			t->ta_interrupted++;
	}
	host_posix_set_hooks(NULL);
	host_xchg(&t->ta_taken, 1);
	return NULL;
}

/* A signal may come before the thread sleeps: then the next one wakes it. */
Test(host_posix, kick_by_signal_ends_a_system_call)
{
	static struct target t;
	pthread_t thread;

	t = (struct target){0};
	(void)host_cpu();
	cr_assert_eq(pthread_create(&thread, NULL, sleep_until_signal, &t), 0);
	while (host_load_acquire(&t.ta_cpu) == 0)
		host_relax();
	usleep(50000);
	while (host_load_acquire(&t.ta_taken) == 0) {
		host_kick((unsigned int)host_load(&t.ta_cpu) - 1);
		usleep(20000);
	}
	pthread_join(thread, NULL);
	cr_assert_gt(t.ta_interrupted, 0);
}

struct seen {
	uint64_t se_pages;
	unsigned int se_flushes;
	unsigned int se_global;
	unsigned int se_traces;
};

static void
see_invlpg(void *arg, uint64_t va, uint64_t npages)
{
	struct seen *s = arg;

	s->se_pages += va == 0x5000 ? npages : 1000;
}

static void
see_flush(void *arg, bool global)
{
	struct seen *s = arg;

	s->se_flushes++;
	s->se_global += global;
}

static void
see_trace(void *arg, enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	struct seen *s = arg;

	s->se_traces++;
	cr_assert_eq(event, HOST_TRACE_PROMOTE);
	cr_assert(a == 1 && b == 2 && c == 3);
}

Test(host_posix, trace_hook)
{
	struct seen s = {0};
	const struct host_posix_hooks hooks = {.ph_trace = see_trace, .ph_arg = &s};

	host_trace(HOST_TRACE_PROMOTE, 1, 2, 3);
	host_posix_set_hooks(&hooks);
	host_trace(HOST_TRACE_PROMOTE, 1, 2, 3);
	host_posix_set_hooks(NULL);
	host_trace(HOST_TRACE_PROMOTE, 1, 2, 3);
	cr_assert_eq(s.se_traces, 1);
}

Test(host_posix, tlb_hooks)
{
	struct seen s = {0};
	const struct host_posix_hooks hooks = {
		.ph_invlpg = see_invlpg, .ph_flush_tlb = see_flush, .ph_arg = &s};

	host_posix_set_hooks(&hooks);
	host_invlpg(0x5000, 3);
	host_flush_tlb(true);
	host_flush_tlb(false);
	host_posix_set_hooks(NULL);
	host_invlpg(0x5000, 3);
	host_flush_tlb(true);
	cr_assert_eq(s.se_pages, 3);
	cr_assert_eq(s.se_flushes, 2);
	cr_assert_eq(s.se_global, 1);
}

/* ---- Epoch ----------------------------------------------------------------------------------- */

static void
note_nothing(struct host_epoch_item *item)
{
	(void)item;
}

/* Nobody drains, and yet the backlog stays short as long as sections open and close. */
Test(host_posix, backlog_is_bounded_without_a_drain)
{
	static struct host_epoch_item items[5000];

	world_begin(NULL);
	for (unsigned int n = 0; n < 5000; n++) {
		host_epoch_enter();
		host_epoch_defer(&items[n], note_nothing);
		host_epoch_exit();
		CHECK(host_posix_deferred() <= 200);
	}
	CHECK(host_posix_deferred() > 0);
	world_end();
}

static struct host_epoch_item chain[4];

static void
defer_next(struct host_epoch_item *item)
{
	if (item != &chain[3])
		host_epoch_defer(item + 1, defer_next);
}

/* An item that defers another: a drain covers what was deferred before it, and no more. */
Test(host_posix, items_may_defer_items)
{
	world_begin(NULL);
	host_epoch_defer(&chain[0], defer_next);
	for (unsigned int n = 0; n < 3; n++) {
		host_epoch_drain();
		CHECK(host_posix_deferred() == 1);
	}
	host_epoch_drain();
	CHECK(host_posix_deferred() == 0);
	world_end();
}

static void *
defer_and_leave(void *arg)
{
	struct host_epoch_item *items = arg;

	for (unsigned int n = 0; n < 10; n++)
		host_epoch_defer(&items[n], note_nothing);
	return NULL;
}

Test(host_posix, items_outlive_their_thread)
{
	static struct host_epoch_item items[10];
	uint64_t waiting;

	world_begin(NULL);
	run_thread(defer_and_leave, items);
	waiting = host_posix_deferred();
	CHECK(waiting <= 10);
	host_epoch_drain();
	CHECK(host_posix_deferred() == 0);
	world_end();
}

/* Drains at the same time: each covers the items of its own thread, whoever runs them. */
struct counted {
	struct host_epoch_item co_item;
	struct host_word *co_ran;
};

static void
count_own(struct host_epoch_item *item)
{
	host_fetch_add(((struct counted *)item)->co_ran, 1);
}

static void
defer_and_drain(void *arg, unsigned int i)
{
	static struct counted items[3][40];
	struct host_word *ran = arg;

	for (unsigned int n = 0; n < 40; n++) {
		items[i][n].co_ran = &ran[i];
		host_epoch_defer(&items[i][n].co_item, count_own);
		if (n % 8 == 7) {
			host_epoch_drain();
			CHECK(host_load_acquire(&ran[i]) == n + 1);
		}
	}
}

Test(host_posix, drains_at_once)
{
	static struct host_word ran[3];

	for (unsigned int round = 0; round < 20; round++) {
		world_begin(&(struct world_config){.wc_actors = 3});
		for (unsigned int i = 0; i < 3; i++)
			host_store(&ran[i], 0);
		world_run(3, defer_and_drain, ran);
		world_end();
	}
}

/* ---- Memory ---------------------------------------------------------------------------------- */

#define MANY 2000

struct pages {
	uint64_t pg_hpa[MANY];
	bool pg_ok;
};

static void *
take_pages(void *arg)
{
	struct pages *p = arg;

	p->pg_ok = true;
	for (unsigned int n = 0; n < MANY; n++) {
		p->pg_ok &= host_table_alloc(&p->pg_hpa[n]);
		p->pg_ok &= p->pg_hpa[n] >= HOST_POSIX_TABLES_START &&
			    p->pg_hpa[n] < HOST_POSIX_TABLES_END;
		host_store(host_table_words(p->pg_hpa[n]), n);
	}
	return NULL;
}

static void *
give_pages(void *arg)
{
	struct pages *p = arg;

	for (unsigned int n = 0; n < MANY; n++)
		host_table_free(p->pg_hpa[n]);
	return NULL;
}

/* Allocated on one CPU, freed on another: they come back, and the arena does not grow for ever. */
Test(host_posix, pages_wander_between_cpus)
{
	static struct pages p;
	uint64_t highest = 0;

	world_begin(NULL);
	for (unsigned int round = 0; round < 5; round++) {
		run_thread(take_pages, &p);
		CHECK(p.pg_ok);
		CHECK(host_posix_tables_in_use() == MANY);
		for (unsigned int n = 0; n < MANY; n++) {
			CHECK(host_load(host_table_words(p.pg_hpa[n])) == n);
			if (round == 0 && p.pg_hpa[n] > highest)
				highest = p.pg_hpa[n];
			CHECK(p.pg_hpa[n] <= highest + 200 * HOST_PAGE_SIZE);
		}
		give_pages(&p);
		CHECK(host_posix_tables_in_use() == 0);
	}
	world_end();
}

Test(host_posix, failures_cover_both_kinds)
{
	uint64_t hpa;
	void *p;

	world_begin(NULL);
	host_posix_fail_alloc(2, false);
	p = host_alloc(10);
	CHECK(p != NULL);
	CHECK(host_posix_failed_allocs() == 0);
	CHECK(!host_table_alloc(&hpa));
	CHECK(host_posix_failed_allocs() == 1);
	host_free(p, 10);
	CHECK(host_table_alloc(&hpa));
	host_table_free(hpa);

	host_posix_fail_alloc(1, true);
	CHECK(host_posix_failed_allocs() == 0);
	for (unsigned int n = 0; n < 5; n++) {
		CHECK(!host_table_alloc(&hpa));
		CHECK(host_alloc(10) == NULL);
	}
	CHECK(host_posix_failed_allocs() == 10);
	host_posix_fail_alloc(0, false);
	CHECK(host_table_alloc(&hpa));
	host_table_free(hpa);
	CHECK(host_posix_failed_allocs() == 0);
	world_end();
}

Test(host_posix, impossible_sizes)
{
	world_begin(NULL);
	CHECK(host_alloc(SIZE_MAX) == NULL);
	host_free(NULL, 0);
	world_end();
}

#if PMAP_CHECK >= 1

static void
words_of_nothing(void *arg)
{
	(void)arg;
	(void)host_table_words(0);
}

static void
free_of_nothing(void *arg)
{
	(void)arg;
	host_table_free(HOST_POSIX_TABLES_END);
}

static void
kick_beyond(void *arg)
{
	(void)arg;
	host_kick(HOST_MAX_CPUS);
}

static void
alloc_in_section(void *arg)
{
	(void)arg;
	host_epoch_enter();
	host_free(host_alloc(1), 1);
	host_epoch_exit();
}

/* With full checks: what lies behind an allocation is looked at when it goes. */
static void
free_of_less(void *arg)
{
	host_free(arg, 56);
}

Test(host_posix, misuse_is_stopped)
{
	void *const p = host_alloc(64);

	if (PMAP_CHECK >= 2)
		cr_assert(world_stops(free_of_less, p));
	host_free(p, 64);
	cr_assert(world_stops(words_of_nothing, NULL));
	cr_assert(world_stops(free_of_nothing, NULL));
	cr_assert(world_stops(kick_beyond, NULL));
	cr_assert(world_stops(alloc_in_section, NULL), "it may sleep");
}

Test(host_posix, failed_assertion_ends_the_process, .signal = SIGABRT)
{
	host_epoch_exit();
}

#endif
