/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The contract of vmspace/vm_host.h, clause by clause, in every world that implements it: threads
 * that sleep. Memory and devices are in test_vm_host_memory.c.
 */

#include "tests/unit/world.h"
#include "vmspace/vm_host.h"

#include <criterion/criterion.h>

#define ACTORS 3

static const struct world_config several = {.wc_actors = ACTORS};

/* Tells the others how far this actor is, and waits for one of them. */
static void
wait_for(struct host_word *w, uint64_t value)
{
	while (host_load_acquire(w) < value)
		host_relax();
}

/* ---- Mutexes --------------------------------------------------------------------------------- */

#define TURNS 40

struct shared {
	struct host_mutex sh_mutex;
	struct host_mutex sh_inner;
	uint64_t sh_plain; /* under both mutexes, not atomic */
	uint64_t sh_inside;
};

static void
take_turns(void *arg, unsigned int i)
{
	struct shared *s = arg;

	for (unsigned int n = 0; n < TURNS; n++) {
		if ((n + i) % 2 == 0)
			host_mutex_lock(&s->sh_mutex);
		else
			CHECK(host_mutex_lock_interruptible(&s->sh_mutex) == 0);
		CHECK(host_mutex_held(&s->sh_mutex));
		CHECK(!host_mutex_held(&s->sh_inner));
		CHECK(s->sh_inside++ == 0);
		host_mutex_lock(&s->sh_inner);
		CHECK(host_mutex_held(&s->sh_inner));
		s->sh_plain += i + 1;
		if (n % 8 == 0)
			host_relax(); /* may be held asleep */
		s->sh_inside--;
		if (n % 2 == 0) {
			host_mutex_unlock(&s->sh_mutex); /* in any order */
			host_mutex_unlock(&s->sh_inner);
		} else {
			host_mutex_unlock(&s->sh_inner);
			host_mutex_unlock(&s->sh_mutex);
		}
		CHECK(!host_mutex_held(&s->sh_mutex));
	}
}

static void
init_shared(void *arg, unsigned int i)
{
	struct shared *s = arg;

	(void)i;
	*s = (struct shared){0};
	host_mutex_init(&s->sh_mutex, 1);
	host_mutex_init(&s->sh_inner, 2);
	CHECK(!host_mutex_held(&s->sh_mutex));
}

Test(vm_host, mutexes_exclude)
{
	static struct shared s;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		world_run(1, init_shared, &s);
		world_run(ACTORS, take_turns, &s);
		cr_assert_eq(s.sh_plain, TURNS * (1 + 2 + 3));
		world_end();
	}
}

/* One at a time, in the memory of the last: who unlocks must not touch it any more. */
struct mayfly {
	struct host_mutex mf_mutex;
	struct host_event mf_event;
	struct host_word mf_refs;
};

static void
last_one_frees(void *arg, unsigned int i)
{
	struct host_word *current = arg;
	struct mayfly *m = (struct mayfly *)(uintptr_t)host_load_acquire(current);
	bool last;

	(void)i;
	host_mutex_lock(&m->mf_mutex);
	host_event_post(&m->mf_event);
	host_store(&m->mf_refs, host_load(&m->mf_refs) - 1);
	last = host_load(&m->mf_refs) == 0;
	host_mutex_unlock(&m->mf_mutex);
	CHECK(true);
	if (last)
		host_free(m, sizeof(*m));
}

static void
make_mayfly(void *arg, unsigned int i)
{
	struct mayfly *m = host_alloc(sizeof(*m));

	(void)i;
	CHECK(m != NULL);
	host_mutex_init(&m->mf_mutex, 5);
	host_event_init(&m->mf_event);
	host_store(&m->mf_refs, ACTORS);
	host_store_release(arg, (uintptr_t)m);
}

Test(vm_host, a_mutex_is_forgotten_once_released)
{
	static struct host_word current;

	for (unsigned int round = 0; round < 10 * world_rounds; round++) {
		world_begin(&several);
		world_run(1, make_mayfly, &current);
		world_run(ACTORS, last_one_frees, &current);
		world_end();
	}
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

struct sleepers {
	struct host_mutex sl_mutex;
	struct host_event sl_event;
	struct host_word sl_stage;
	struct host_word sl_cpu; /* of the one that sleeps, + 1 */
};

static void
init_sleepers(void *arg, unsigned int i)
{
	struct sleepers *s = arg;

	(void)i;
	host_mutex_init(&s->sl_mutex, 1);
	host_event_init(&s->sl_event);
	host_store(&s->sl_stage, 0);
	host_store(&s->sl_cpu, 0);
	CHECK(!host_interrupted());
}

static void
interrupted_lock(void *arg, unsigned int i)
{
	struct sleepers *s = arg;

	if (i == 0) {
		host_mutex_lock(&s->sl_mutex);
		host_store_release(&s->sl_stage, 1);
		wait_for(&s->sl_cpu, 1);
		world_interrupt((unsigned int)host_load(&s->sl_cpu) - 1);
		wait_for(&s->sl_stage, 2);
		host_mutex_unlock(&s->sl_mutex);
		return;
	}
	wait_for(&s->sl_stage, 1);
	host_store_release(&s->sl_cpu, host_cpu() + 1);
	CHECK(host_mutex_lock_interruptible(&s->sl_mutex) == -EINTR);
	CHECK(!host_mutex_held(&s->sl_mutex));
	CHECK(host_interrupted());
	host_store_release(&s->sl_stage, 2);
	host_mutex_lock(&s->sl_mutex); /* for which interrupts are nothing */
	CHECK(host_mutex_held(&s->sl_mutex));
	host_mutex_unlock(&s->sl_mutex);
	world_interrupt_end();
	CHECK(!host_interrupted());
	CHECK(host_mutex_lock_interruptible(&s->sl_mutex) == 0);
	host_mutex_unlock(&s->sl_mutex);
}

Test(vm_host, waiting_for_a_mutex_is_interrupted)
{
	static struct sleepers s;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		world_run(1, init_sleepers, &s);
		world_run(2, interrupted_lock, &s);
		world_end();
	}
}

static void
interrupted_wait(void *arg, unsigned int i)
{
	struct sleepers *s = arg;
	uint64_t seen;

	if (i == 0) {
		wait_for(&s->sl_cpu, 1);
		world_interrupt((unsigned int)host_load(&s->sl_cpu) - 1);
		wait_for(&s->sl_stage, 1);
		host_store_release(&s->sl_stage, 2);
		host_event_post(&s->sl_event);
		return;
	}
	seen = host_event_read(&s->sl_event);
	host_store_release(&s->sl_cpu, host_cpu() + 1);
	CHECK(host_event_wait(&s->sl_event, seen, true) == -EINTR);
	CHECK(host_interrupted());
	CHECK(host_event_read(&s->sl_event) == seen);
	host_store_release(&s->sl_stage, 1);
	while (host_load_acquire(&s->sl_stage) < 2)
		CHECK(host_event_wait(&s->sl_event, seen, false) == 0);
	world_interrupt_end();
	CHECK(!host_interrupted());
}

Test(vm_host, waiting_for_an_event_is_interrupted)
{
	static struct sleepers s;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		world_run(1, init_sleepers, &s);
		world_run(2, interrupted_wait, &s);
		world_end();
	}
}

/* ---- Events ---------------------------------------------------------------------------------- */

#define PASSES 60

struct ring {
	struct host_event ri_event;
	struct host_word ri_turn;
	uint64_t ri_plain;
};

/* A ball goes around: a post that gets lost leaves everybody asleep. */
static void
pass(void *arg, unsigned int i)
{
	struct ring *r = arg;

	for (unsigned int n = 0; n < PASSES; n++) {
		for (;;) {
			uint64_t seen = host_event_read(&r->ri_event);

			if (host_load_acquire(&r->ri_turn) % ACTORS == i)
				break;
			CHECK(host_event_wait(&r->ri_event, seen, n % 2 == 0) == 0);
		}
		CHECK(r->ri_plain == n * ACTORS + i);
		r->ri_plain++;
		host_fetch_add(&r->ri_turn, 1);
		host_event_post(&r->ri_event);
	}
}

static void
init_ring(void *arg, unsigned int i)
{
	struct ring *r = arg;

	(void)i;
	host_event_init(&r->ri_event);
	host_store(&r->ri_turn, 0);
	r->ri_plain = 0;
	CHECK(host_event_read(&r->ri_event) == host_event_read(&r->ri_event));
}

Test(vm_host, no_post_is_lost)
{
	static struct ring r;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		world_run(1, init_ring, &r);
		world_run(ACTORS, pass, &r);
		cr_assert_eq(r.ri_plain, PASSES * ACTORS);
		world_end();
	}
}

static void
post_anywhere(void *arg, unsigned int i)
{
	struct ring *r = arg;
	static struct host_lock l;
	uint64_t before = host_event_read(&r->ri_event);

	(void)i;
	CHECK(host_event_read(&r->ri_event) == before);
	host_event_post(&r->ri_event);
	CHECK(host_event_read(&r->ri_event) != before);
	CHECK(host_event_wait(&r->ri_event, before, false) == 0); /* at once */
	CHECK(host_event_wait(&r->ri_event, before, true) == 0);

	before = host_event_read(&r->ri_event);
	host_lock_init(&l, 7);
	host_epoch_enter();
	host_lock(&l);
	host_event_post(&r->ri_event);
	host_unlock(&l);
	host_epoch_exit();
	CHECK(host_event_read(&r->ri_event) != before);
}

Test(vm_host, posts_are_made_in_any_context)
{
	static struct ring r;

	world_begin(NULL);
	world_run(1, init_ring, &r);
	world_run(1, post_anywhere, &r);
	world_end();
}

#define LITMUS 100

struct litmus {
	struct host_event li_event;
	struct host_word li_ready;
	struct host_word li_x[LITMUS];
	struct host_word li_y[LITMUS];
	uint64_t li_saw[2][LITMUS];
};

static void
init_litmus(void *arg, unsigned int i)
{
	struct litmus *l = arg;

	(void)i;
	host_event_init(&l->li_event);
}

static void
store_post_load(void *arg, unsigned int i)
{
	struct litmus *l = arg;

	for (unsigned int n = 0; n < LITMUS; n++) {
		host_fetch_add(&l->li_ready, 1); /* both start each turn together */
		wait_for(&l->li_ready, 2 * (n + 1));
		host_store(i == 0 ? &l->li_x[n] : &l->li_y[n], 1);
		host_event_post(&l->li_event);
		l->li_saw[i][n] = host_load(i == 0 ? &l->li_y[n] : &l->li_x[n]);
	}
	CHECK(true);
}

Test(vm_host, a_post_is_a_fence)
{
	for (unsigned int round = 0; round < world_rounds; round++) {
		static struct litmus l;

		l = (struct litmus){0};
		world_begin(&several);
		world_run(1, init_litmus, &l);
		world_run(2, store_post_load, &l);
		for (unsigned int n = 0; n < LITMUS; n++)
			cr_assert(l.li_saw[0][n] || l.li_saw[1][n], "turn %u", n);
		world_end();
	}
}

/* ---- Broken rules ---------------------------------------------------------------------------- */

#if PMAP_CHECK >= 1

static struct host_mutex low, high[2];

static void
init_mutexes(void)
{
	host_mutex_init(&low, 1);
	host_mutex_init(&high[0], 2);
	host_mutex_init(&high[1], 2);
}

static void
obey(void *arg)
{
	(void)arg;
	init_mutexes();
	host_mutex_lock(&low);
	host_mutex_lock(&high[0]);
	host_mutex_lock(&high[1]);
	host_mutex_unlock(&low);
	host_mutex_unlock(&high[0]);
	host_mutex_unlock(&high[1]);
}

static void
against_rank(void *arg)
{
	(void)arg;
	init_mutexes();
	host_mutex_lock(&high[0]);
	host_mutex_lock(&low);
	host_mutex_unlock(&low);
	host_mutex_unlock(&high[0]);
}

static void
against_address(void *arg)
{
	(void)arg;
	init_mutexes();
	host_mutex_lock(&high[1]);
	host_mutex_lock(&high[0]);
	host_mutex_unlock(&high[0]);
	host_mutex_unlock(&high[1]);
}

static void
twice(void *arg)
{
	(void)arg;
	init_mutexes();
	host_mutex_lock(&low);
	host_mutex_lock(&low);
}

static void
not_ours(void *arg)
{
	(void)arg;
	init_mutexes();
	host_mutex_unlock(&low);
}

static void
under_spin_lock(void *arg)
{
	static struct host_lock l;

	(void)arg;
	init_mutexes();
	host_lock_init(&l, 1);
	host_lock(&l);
	host_mutex_lock(&low);
	host_mutex_unlock(&low);
	host_unlock(&l);
}

static void
in_section(void *arg)
{
	(void)arg;
	init_mutexes();
	host_epoch_enter();
	host_mutex_lock(&low);
	host_mutex_unlock(&low);
	host_epoch_exit();
}

static void
wait_in_section(void *arg)
{
	static struct host_event e;

	(void)arg;
	host_event_init(&e);
	host_epoch_enter();
	(void)host_event_wait(&e, host_event_read(&e) + 1, false);
	host_epoch_exit();
}

Test(vm_host, sleeping_out_of_order_is_stopped)
{
	cr_assert(!world_stops(obey, NULL), "the rules themselves");
	cr_assert(world_stops(against_rank, NULL));
	cr_assert(world_stops(against_address, NULL));
	cr_assert(world_stops(twice, NULL));
	cr_assert(world_stops(not_ours, NULL));
	cr_assert(world_stops(under_spin_lock, NULL));
	cr_assert(world_stops(in_section, NULL));
	cr_assert(world_stops(wait_in_section, NULL));
}

#endif
