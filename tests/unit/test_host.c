/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The contract of pmap/host.h, clause by clause, in every world that implements it.
 */

#include "tests/unit/world.h"

#include <criterion/criterion.h>

#define ACTORS 3

static const struct world_config several = {.wc_actors = ACTORS};

/* ---- Shared words -------------------------------------------------------------------------- */

static void
words(void *arg, unsigned int i)
{
	static struct host_word w;
	uint64_t old = 7;

	(void)arg;
	(void)i;
	host_store(&w, 5);
	CHECK(host_load(&w) == 5);
	host_store_release(&w, UINT64_MAX);
	CHECK(host_load_acquire(&w) == UINT64_MAX);
	CHECK(host_glance(&w) == UINT64_MAX || host_glance(&w) == 0);
	CHECK(host_xchg(&w, 6) == UINT64_MAX);
	CHECK(host_load(&w) == 6);

	CHECK(!host_cas(&w, &old, 100));
	CHECK(old == 6);
	CHECK(host_load(&w) == 6);
	CHECK(host_cas(&w, &old, 100));
	CHECK(old == 6);
	CHECK(host_load(&w) == 100);

	host_store(&w, 0xf0f0);
	CHECK(host_fetch_and(&w, 0xff) == 0xf0f0);
	CHECK(host_load(&w) == 0xf0);
	CHECK(host_fetch_or(&w, (uint64_t)1 << 63 | 1) == 0xf0);
	CHECK(host_load(&w) == ((uint64_t)1 << 63 | 0xf1));
	CHECK(host_fetch_add(&w, UINT64_MAX) == ((uint64_t)1 << 63 | 0xf1));
	CHECK(host_load(&w) == ((uint64_t)1 << 63 | 0xf0));
	host_fence();
	CHECK(host_load(&w) == ((uint64_t)1 << 63 | 0xf0));
}

Test(host, words)
{
	world_begin(NULL);
	world_run(1, words, NULL);
	world_end();
}

static void
fill_private(void *arg, unsigned int i)
{
	struct host_word *w;
	uint64_t hpa = 0;

	(void)arg;
	(void)i;
	CHECK(host_table_alloc(&hpa));
	w = host_table_words(hpa);
	host_fill_private(w, HOST_TABLE_WORDS, 3, 0x1000);
	for (uint64_t n = 0; n < HOST_TABLE_WORDS; n++)
		CHECK(host_load(&w[n]) == 3 + n * 0x1000);
	host_fill_private(w + 10, 2, 9, UINT64_MAX);
	CHECK(host_load(&w[9]) == 3 + 9 * 0x1000);
	CHECK(host_load(&w[10]) == 9 && host_load(&w[11]) == 8);
	CHECK(host_load(&w[12]) == 3 + 12 * 0x1000);
	host_fill_private(w, 0, 1, 1);
	CHECK(host_load(&w[0]) == 3);
	host_table_free(hpa);
}

Test(host, fill_private)
{
	world_begin(NULL);
	world_run(1, fill_private, NULL);
	world_end();
}

#define ADDS 50

static void
add(void *arg, unsigned int i)
{
	struct host_word *w = arg;

	for (unsigned int n = 0; n < ADDS; n++) {
		uint64_t old = host_load(&w[1]);

		host_fetch_add(&w[0], i + 1);
		while (!host_cas(&w[1], &old, old + 1))
			;
		host_fetch_or(&w[2], (uint64_t)1 << ((n + i * ADDS) % 64));
		CHECK((host_xchg(&w[3], i + 1)) <= ACTORS);
	}
}

Test(host, locked_operations_lose_nothing)
{
	static struct host_word w[4];

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		for (unsigned int i = 0; i < 4; i++)
			host_store(&w[i], 0);
		world_run(ACTORS, add, w);
		cr_assert_eq(host_load(&w[0]), ADDS * (1 + 2 + 3));
		cr_assert_eq(host_load(&w[1]), ADDS * ACTORS);
		cr_assert_eq(host_load(&w[2]), UINT64_MAX);
		world_end();
	}
}

/* ---- Order ----------------------------------------------------------------------------------- */

#define LITMUS 200

struct litmus {
	struct host_word li_ready;
	struct host_word li_x[LITMUS];
	struct host_word li_y[LITMUS];
	uint64_t li_saw[2][LITMUS];
};

static void
store_buffering(void *arg, unsigned int i)
{
	struct litmus *l = arg;

	for (unsigned int n = 0; n < LITMUS; n++) {
		host_fetch_add(&l->li_ready, 1); /* both start each turn together */
		while (host_load(&l->li_ready) < 2 * (n + 1))
			host_relax();
		host_store(i == 0 ? &l->li_x[n] : &l->li_y[n], 1);
		host_fence();
		l->li_saw[i][n] = host_load(i == 0 ? &l->li_y[n] : &l->li_x[n]);
	}
	CHECK(true);
}

/* Dekker: of two who each announce themselves, fence, and look, at least one sees the other. */
Test(host, fence_orders_store_before_load)
{
	static struct litmus l;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		host_store(&l.li_ready, 0);
		for (unsigned int n = 0; n < LITMUS; n++) {
			host_store(&l.li_x[n], 0);
			host_store(&l.li_y[n], 0);
		}
		world_run(2, store_buffering, &l);
		for (unsigned int n = 0; n < LITMUS; n++)
			cr_assert(l.li_saw[0][n] != 0 || l.li_saw[1][n] != 0, "%s: turn %u",
				  world_name, n);
		world_end();
	}
}

static void
message_passing(void *arg, unsigned int i)
{
	struct litmus *l = arg;

	if (i == 0) {
		for (unsigned int n = 0; n < LITMUS; n++) {
			l->li_saw[0][n] = n + 1; /* plain data */
			host_store(&l->li_x[n], n + 2);
			host_store_release(&l->li_y[n], 1);
		}
		return;
	}
	for (unsigned int n = 0; n < LITMUS; n++) {
		while (host_load_acquire(&l->li_y[n]) == 0)
			host_relax();
		CHECK(l->li_saw[0][n] == n + 1);
		CHECK(host_load(&l->li_x[n]) == n + 2);
	}
}

Test(host, release_and_acquire)
{
	static struct litmus l;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		for (unsigned int n = 0; n < LITMUS; n++) {
			l.li_saw[0][n] = 0;
			host_store(&l.li_x[n], 0);
			host_store(&l.li_y[n], 0);
		}
		world_run(2, message_passing, &l);
		world_end();
	}
}

/* ---- CPUs ---------------------------------------------------------------------------------- */

struct roll_call {
	struct host_word rc_present[HOST_MAX_CPUS];
	struct host_word rc_arrived;
	struct host_word rc_count[ACTORS];
};

static void
roll_call(void *arg, unsigned int i)
{
	struct roll_call *r = arg;
	unsigned int cpu = host_cpu();

	CHECK(cpu < HOST_MAX_CPUS);
	CHECK(host_fetch_add(&r->rc_present[cpu], 1) == 0);
	host_fetch_add(&r->rc_arrived, 1);
	while (host_load_acquire(&r->rc_arrived) < ACTORS)
		host_relax();
	host_epoch_enter();
	for (unsigned int n = 0; n < 100; n++) {
		host_count(&r->rc_count[i], UINT64_MAX - i);
		CHECK(host_cpu() == cpu);
	}
	host_epoch_exit();
	CHECK(host_load(&r->rc_count[i]) == (UINT64_MAX - i) * 100);
}

Test(host, cpus_differ_and_count)
{
	static struct roll_call r;

	world_begin(&several);
	r = (struct roll_call){0};
	world_run(ACTORS, roll_call, &r);
	for (unsigned int i = 0; i < ACTORS; i++)
		cr_assert_eq(host_load(&r.rc_count[i]), (UINT64_MAX - i) * 100);
	world_end();
}

static void
kick(void *arg, unsigned int i)
{
	struct host_word *w = arg;

	host_store(&w[1 + i], host_cpu());
	host_fetch_add(&w[0], 1);
	while (host_load_acquire(&w[0]) < 2)
		host_relax();
	for (unsigned int n = 0; n < 20; n++) {
		host_kick(host_cpu());
		host_kick(world_offline_cpu());
		host_kick((unsigned int)host_load(&w[2 - i]));
	}
	host_epoch_enter();
	host_kick((unsigned int)host_load(&w[2 - i]));
	host_epoch_exit();
	CHECK(host_cpu() == host_load(&w[1 + i]));
}

Test(host, kicks_return_and_do_no_harm)
{
	static struct host_word w[3];

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		host_store(&w[0], 0);
		world_run(2, kick, w);
		world_end();
	}
}

static void
tlb(void *arg, unsigned int i)
{
	uint64_t pages = world_tlb_pages();
	uint64_t flushes = world_tlb_flushes(false);
	uint64_t global = world_tlb_flushes(true);

	(void)arg;
	(void)i;
	host_epoch_enter();
	host_invlpg(0x1000, 1);
	host_invlpg(0x7fff0000, 16);
	host_flush_tlb(false);
	host_flush_tlb(true);
	host_flush_tlb(true);
	host_epoch_exit();
	CHECK(world_tlb_pages() == pages + 17);
	CHECK(world_tlb_flushes(false) == flushes + 1);
	CHECK(world_tlb_flushes(true) == global + 2);
}

Test(host, tlb_of_this_cpu)
{
	world_begin(NULL);
	world_run(1, tlb, NULL);
	world_end();
}

/* ---- Locks --------------------------------------------------------------------------------- */

struct locked {
	struct host_lock lk_lock;
	struct host_lock lk_inner[2]; /* of one rank; the second has the higher address */
	struct host_word lk_inside;
	struct host_word lk_counter; /* loaded and stored, so that an overlap loses counts */
	uint64_t lk_plain;
};

#define TURNS 60

static void
exclude(void *arg, unsigned int i)
{
	struct locked *l = arg;

	for (unsigned int n = 0; n < TURNS; n++) {
		CHECK(!host_lock_held(&l->lk_lock));
		host_lock(&l->lk_lock);
		CHECK(host_lock_held(&l->lk_lock));
		CHECK(host_load(&l->lk_inside) == 0);
		host_store(&l->lk_inside, i + 1);
		host_store(&l->lk_counter, host_load(&l->lk_counter) + 1);
		l->lk_plain++;
		host_lock(&l->lk_inner[0]);
		host_lock(&l->lk_inner[1]);
		CHECK(host_lock_held(&l->lk_inner[0]) && host_lock_held(&l->lk_inner[1]));
		host_unlock(&l->lk_inner[0]);
		CHECK(host_load(&l->lk_inside) == i + 1);
		host_store(&l->lk_inside, 0);
		host_unlock(&l->lk_inner[1]);
		CHECK(!host_lock_held(&l->lk_inner[0]) && !host_lock_held(&l->lk_inner[1]));
		host_unlock(&l->lk_lock);
	}
}

static void
init_locks(struct locked *l)
{
	*l = (struct locked){0};
	host_lock_init(&l->lk_lock, 4);
	host_lock_init(&l->lk_inner[0], 5);
	host_lock_init(&l->lk_inner[1], 5);
}

Test(host, locks_exclude)
{
	static struct locked l;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		init_locks(&l);
		world_run(ACTORS, exclude, &l);
		cr_assert_eq(host_load(&l.lk_counter), TURNS * ACTORS);
		cr_assert_eq(l.lk_plain, TURNS * ACTORS);
		world_end();
	}
}

#if PMAP_CHECK >= 1

static void
in_order(void *arg)
{
	struct locked *l = arg;

	init_locks(l);
	host_lock(&l->lk_lock);
	host_lock(&l->lk_inner[0]);
	host_lock(&l->lk_inner[1]);
	host_unlock(&l->lk_inner[1]);
	host_unlock(&l->lk_inner[0]);
	host_unlock(&l->lk_lock);
}

static void
rank_down(void *arg)
{
	struct locked *l = arg;

	init_locks(l);
	host_lock(&l->lk_inner[0]);
	host_lock(&l->lk_lock);
}

static void
rank_down_behind_another(void *arg)
{
	struct locked *l = arg;

	init_locks(l);
	host_lock(&l->lk_inner[0]);
	host_lock(&l->lk_inner[1]);
	host_unlock(&l->lk_inner[1]);
	host_lock(&l->lk_lock);
}

static void
address_down(void *arg)
{
	struct locked *l = arg;

	init_locks(l);
	host_lock(&l->lk_inner[1]);
	host_lock(&l->lk_inner[0]);
}

static void
lock_twice(void *arg)
{
	struct locked *l = arg;

	init_locks(l);
	host_lock(&l->lk_lock);
	host_lock(&l->lk_lock);
}

static void
unlock_not_held(void *arg)
{
	struct locked *l = arg;

	init_locks(l);
	host_unlock(&l->lk_lock);
}

static void
relax_locked(void *arg)
{
	struct locked *l = arg;

	init_locks(l);
	host_lock(&l->lk_lock);
	host_relax();
}

static void
table_alloc_locked(void *arg)
{
	struct locked *l = arg;
	uint64_t hpa;

	init_locks(l);
	host_lock(&l->lk_lock);
	if (host_table_alloc(&hpa))
		host_table_free(hpa);
}

Test(host, lock_rules_are_checked)
{
	static struct locked l;

	cr_assert(!world_stops(in_order, &l));
	cr_assert(world_stops(rank_down, &l));
	cr_assert(world_stops(rank_down_behind_another, &l));
	cr_assert(world_stops(address_down, &l));
	cr_assert(world_stops(lock_twice, &l));
	cr_assert(world_stops(unlock_not_held, &l));
	cr_assert(world_stops(relax_locked, &l));
	cr_assert(world_stops(table_alloc_locked, &l));
	cr_assert(!world_stops(in_order, &l));
}

#endif

/* ---- Epoch --------------------------------------------------------------------------------- */

struct wait {
	struct host_epoch_item wa_item; /* first, so that the item's address is this one's */
	struct host_word wa_ran;
	struct host_word wa_open;
	struct host_word wa_deferred;
	struct host_word wa_closing;
};

static void
note_run(struct host_epoch_item *item)
{
	struct wait *w = (struct wait *)item;

	host_fetch_add(&w->wa_ran, 1);
}

static void
defer_alone(void *arg, unsigned int i)
{
	struct wait *w = arg;

	(void)i;
	host_epoch_defer(&w->wa_item, note_run);
	host_epoch_drain();
	CHECK(host_load_acquire(&w->wa_ran) == 1);
	host_epoch_drain();
	CHECK(host_load_acquire(&w->wa_ran) == 1);

	/* In a section of its own: not before that ends. */
	host_epoch_enter();
	host_epoch_defer(&w->wa_item, note_run);
	CHECK(host_load_acquire(&w->wa_ran) == 1);
	host_epoch_exit();
	host_epoch_drain();
	CHECK(host_load_acquire(&w->wa_ran) == 2);
}

Test(host, epoch_defers_and_drains)
{
	static struct wait w;

	world_begin(NULL);
	w = (struct wait){0};
	world_run(1, defer_alone, &w);
	world_end();
}

/* Actor 0 has a section open, with another nested in it, while actor 1 defers and drains. */
static void
hold_open(struct wait *w)
{
	CHECK(!host_epoch_held());
	host_epoch_enter();
	host_epoch_enter();
	host_fetch_add(&w->wa_open, 1);
	while (host_load_acquire(&w->wa_deferred) == 0)
		host_relax();
	for (unsigned int n = 0; n < 50; n++) {
		CHECK(host_load_acquire(&w->wa_ran) == 0);
		host_relax();
	}
	host_epoch_exit(); /* the nested one, which ends nothing */
	CHECK(host_epoch_held());
	for (unsigned int n = 0; n < 50; n++) {
		CHECK(host_load_acquire(&w->wa_ran) == 0);
		host_relax();
	}
	host_xchg(&w->wa_closing, 1);
	host_epoch_exit();
	CHECK(!host_epoch_held());
}

static void
defer_against(void *arg, unsigned int i)
{
	struct wait *w = arg;

	if (i == 0) {
		hold_open(w);
		return;
	}
	while (host_load_acquire(&w->wa_open) == 0)
		host_relax();
	host_epoch_defer(&w->wa_item, note_run);
	host_fetch_add(&w->wa_deferred, 1);
	host_epoch_drain();
	CHECK(host_load_acquire(&w->wa_closing) == 1);
	CHECK(host_load_acquire(&w->wa_ran) == 1);
}

Test(host, epoch_waits_for_open_sections)
{
	static struct wait w;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		w = (struct wait){0};
		world_run(2, defer_against, &w);
		world_end();
	}
}

/* A drain also covers what other CPUs deferred, even if they do nothing more. */
static void
defer_here_drain_there(void *arg, unsigned int i)
{
	struct wait *w = arg;

	if (i == 0) {
		host_epoch_defer(&w->wa_item, note_run);
		host_fetch_add(&w->wa_deferred, 1);
		while (host_load_acquire(&w->wa_closing) == 0)
			host_relax();
		return;
	}
	while (host_load_acquire(&w->wa_deferred) == 0)
		host_relax();
	host_epoch_drain();
	CHECK(host_load_acquire(&w->wa_ran) == 1);
	host_xchg(&w->wa_closing, 1);
}

Test(host, epoch_drain_covers_every_cpu)
{
	static struct wait w;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		w = (struct wait){0};
		world_run(2, defer_here_drain_there, &w);
		world_end();
	}
}

/*
 * Readers look at the current object inside a section; writers replace it and spoil the old one
 * after an epoch. A reader that meets a spoiled object caught the epoch out. Objects are used
 * once each.
 */
#define OBJECTS 24

struct object {
	struct host_epoch_item ob_item;
	struct host_word ob_spoiled;
	uint64_t ob_value;
};

struct publication {
	struct host_word pu_current; /* index */
	struct host_word pu_next;
	struct object pu_objects[OBJECTS];
};

static void
spoil(struct host_epoch_item *item)
{
	struct object *o = (struct object *)item;

	o->ob_value = 0;
	host_store(&o->ob_spoiled, 1);
}

static void
publish_and_read(void *arg, unsigned int i)
{
	struct publication *p = arg;

	for (unsigned int n = 0; n < OBJECTS * 4; n++) {
		if ((n + i) % 5 == 0) {
			uint64_t index = host_fetch_add(&p->pu_next, 1);
			uint64_t old;

			if (index >= OBJECTS)
				break;
			p->pu_objects[index].ob_value = index + 1;
			old = host_xchg(&p->pu_current, index);
			host_epoch_defer(&p->pu_objects[old].ob_item, spoil);
		} else {
			struct object *o;

			host_epoch_enter();
			o = &p->pu_objects[host_load_acquire(&p->pu_current)];
			for (unsigned int look = 0; look < 4; look++) {
				CHECK(host_load(&o->ob_spoiled) == 0);
				CHECK(o->ob_value == (uint64_t)(o - p->pu_objects) + 1);
			}
			host_epoch_exit();
		}
	}
}

Test(host, epoch_keeps_what_readers_hold)
{
	static struct publication p;

	for (unsigned int round = 0; round < world_rounds; round++) {
		world_begin(&several);
		p = (struct publication){0};
		p.pu_objects[0].ob_value = 1;
		host_store(&p.pu_next, 1);
		world_run(ACTORS, publish_and_read, &p);
		world_end();
	}
}

#if PMAP_CHECK >= 1

static void
exit_without_enter(void *arg)
{
	(void)arg;
	host_epoch_exit();
}

static void
drain_in_section(void *arg)
{
	(void)arg;
	host_epoch_enter();
	host_epoch_drain();
	host_epoch_exit();
}

static void
nest(void *arg)
{
	(void)arg;
	for (unsigned int n = 0; n < 10; n++)
		host_epoch_enter();
	for (unsigned int n = 0; n < 10; n++)
		host_epoch_exit();
	host_epoch_drain();
}

Test(host, epoch_rules_are_checked)
{
	cr_assert(!world_stops(nest, NULL));
	cr_assert(world_stops(exit_without_enter, NULL));
	cr_assert(world_stops(drain_in_section, NULL));
}

#endif
