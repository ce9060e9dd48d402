/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Words, fences, locks, kicks: by themselves, and between two CPUs.
 */

#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/jiffies.h>

#include "hosttest.h"
#include "kmod/host/host_linux.h"

#define ROUNDS 200000

/* ---- Words ----------------------------------------------------------------------------------- */

static const char *
words(void)
{
	struct host_word w = {.hw_value = 0xf0};
	uint64_t old = 1;

	CHECK(host_load(&w) == 0xf0 && host_load_acquire(&w) == 0xf0);
	host_store(&w, 0x123456789abcdef0ull);
	CHECK(w.hw_value == 0x123456789abcdef0ull);
	host_store_release(&w, 5);
	CHECK(w.hw_value == 5);
	CHECK(host_xchg(&w, 7) == 5 && w.hw_value == 7);
	CHECK(!host_cas(&w, &old, 9) && old == 7 && w.hw_value == 7);
	CHECK(host_cas(&w, &old, 9) && old == 7 && w.hw_value == 9);
	CHECK(host_fetch_and(&w, ~(uint64_t)1) == 9 && w.hw_value == 8);
	CHECK(host_fetch_or(&w, (uint64_t)1 << 63) == 8 && w.hw_value == ((uint64_t)1 << 63) + 8);
	CHECK(host_fetch_add(&w, (uint64_t)1 << 63) == ((uint64_t)1 << 63) + 8 && w.hw_value == 8);
	CHECK(host_fetch_add(&w, ~(uint64_t)0) == 8 && w.hw_value == 7);
	host_count(&w, 3);
	CHECK(w.hw_value == 10);
	return NULL;
}

static const char *
fill(void)
{
	struct host_word w[5] = {};

	host_fill_private(w, 4, 100, 7);
	CHECK(w[0].hw_value == 100 && w[1].hw_value == 107 && w[3].hw_value == 121);
	CHECK(w[4].hw_value == 0);
	host_fill_private(w, 5, ~(uint64_t)0, 0);
	CHECK(w[4].hw_value == ~(uint64_t)0);
	return NULL;
}

/* Two CPUs change one word in every way at once; what each took and gave must add up. */
struct shared {
	struct host_word sh_sum;
	struct host_word sh_cas;
	struct host_word sh_bits;
	struct host_word sh_moved; /* exchanged about: the sum of all values is constant */
	struct host_word sh_rest;
	struct host_word sh_next; /* which of the two */
};

static const char *
shared_fn(void *arg)
{
	struct shared *const sh = arg;
	const uint64_t bit = (uint64_t)1 << host_fetch_add(&sh->sh_next, 1);
	uint64_t mine = 0, old = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		host_fetch_add(&sh->sh_sum, 3);
		while (!host_cas(&sh->sh_cas, &old, old + 1))
			;
		CHECK((host_fetch_or(&sh->sh_bits, bit) & bit) == 0);
		CHECK((host_fetch_and(&sh->sh_bits, ~bit) & bit) != 0);
		mine = host_xchg(&sh->sh_moved, mine + 1);
		if (i % 512 == 0)
			host_relax();
	}
	host_fetch_add(&sh->sh_rest, mine);
	return NULL;
}

static const char *
words_shared(void)
{
	struct shared sh = {};
	const char *why = hosttest_on_two(shared_fn, &sh);

	CHECK(why != NULL || sh.sh_sum.hw_value == 6 * ROUNDS);
	CHECK(why != NULL || sh.sh_cas.hw_value == 2 * ROUNDS);
	CHECK(why != NULL || sh.sh_bits.hw_value == 0);
	CHECK(why != NULL || sh.sh_moved.hw_value + sh.sh_rest.hw_value == 2 * ROUNDS);
	return why;
}

/* Each CPU stores, fences, and looks: at least one sees the other's. */
struct duel {
	struct host_word du_said[2] ____cacheline_aligned;
	struct host_word du_saw[2];
	struct host_word du_round[2];
	struct host_word du_next;
};

static const char *
duel_fn(void *arg)
{
	struct duel *const du = arg;
	const unsigned int me = host_fetch_add(&du->du_next, 1) & 1;
	const unsigned long end = jiffies + 30 * HZ;

	for (uint64_t round = 1; round <= ROUNDS / 4; round++) {
		host_store_release(&du->du_round[me], round);
		while (host_load_acquire(&du->du_round[!me]) < round) {
			CHECK(time_before(jiffies, end));
			host_relax();
		}
		host_store(&du->du_said[me], round);
		host_fence();
		host_xchg(&du->du_saw[me], host_load(&du->du_said[!me]));
		host_store_release(&du->du_round[me], round + 1);
		while (host_load_acquire(&du->du_round[!me]) <= round) {
			CHECK(time_before(jiffies, end));
			host_relax();
		}
		CHECK(host_load(&du->du_saw[0]) >= round || host_load(&du->du_saw[1]) >= round);
	}
	host_store_release(&du->du_round[me], ~(uint64_t)0);
	return NULL;
}

static const char *
fence(void)
{
	static struct duel du;

	du = (struct duel){};
	return hosttest_on_two(duel_fn, &du);
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

static const char *
this_cpu(void)
{
	host_epoch_enter();
	CHECK(host_cpu() == smp_processor_id() && host_cpu() < HOST_MAX_CPUS);
	host_epoch_exit();
	return NULL;
}

/*
 * Allowed for all: others, this one, those that are offline or do not exist. Slowly: interrupts
 * that come before the last one was taken are one, and the script counts them.
 */
static const char *
kick(void)
{
	for (unsigned int i = 0; i < 200; i++) {
		for (unsigned int cpu = 0; cpu < HOST_MAX_CPUS; cpu += cpu < 8 ? 1 : 31)
			host_kick(cpu);
		usleep_range(500, 600);
	}
	return NULL;
}

/* A thread that only relaxes lets another one of its CPU in. */
static const char *
set_flag(void *arg)
{
	WRITE_ONCE(*(bool *)arg, true);
	return NULL;
}

static const char *
relax_fn(void *arg)
{
	const unsigned long end = jiffies + 10 * HZ;

	while (!READ_ONCE(*(bool *)arg)) {
		CHECK(time_before(jiffies, end));
		host_relax();
	}
	return NULL;
}

static const char *
relax(void)
{
	struct hosttest_thread waits, sets;
	bool flag = false;
	const char *why;

	CHECK(hosttest_start(&waits, 0, relax_fn, &flag));
	msleep(20);
	if (!hosttest_start(&sets, 0, set_flag, &flag)) {
		WRITE_ONCE(flag, true);
		(void)hosttest_join(&waits);
		return "no thread";
	}
	why = hosttest_join(&waits);
	(void)hosttest_join(&sets);
	return why;
}

/* ---- Locks ----------------------------------------------------------------------------------- */

static const char *
lock_held(void)
{
	struct host_lock l;

	host_lock_init(&l, 3);
	CHECK(!host_lock_held(&l));
	host_lock(&l);
	CHECK(host_lock_held(&l) && !preemptible());
	host_unlock(&l);
	CHECK(!host_lock_held(&l));
	return NULL;
}

/* Smaller ranks first; within a rank lower addresses; given back in any order. */
static const char *
lock_order(void)
{
	struct host_lock l[4];

	if (PMAP_CHECK == 0)
		return HOSTTEST_SKIP "built without checks";
	host_lock_init(&l[0], 2);
	host_lock_init(&l[1], 2);
	host_lock_init(&l[2], 1);
	host_lock_init(&l[3], 3);
	host_lock(&l[0]);
	CHECK(host_linux_lock_in_order(&l[1]) && host_linux_lock_in_order(&l[3]));
	CHECK(!host_linux_lock_in_order(&l[2]) && !host_linux_lock_in_order(&l[0]));
	host_lock(&l[1]);
	CHECK(!host_linux_lock_in_order(&l[0]));
	host_lock(&l[3]);
	CHECK(!host_linux_lock_in_order(&l[1]));
	host_unlock(&l[1]);
	host_unlock(&l[3]);
	CHECK(host_linux_lock_in_order(&l[3]));
	host_unlock(&l[0]);
	CHECK(host_linux_held_count() == 0);
	return NULL;
}

struct guarded {
	struct host_lock gu_lock;
	unsigned long gu_one, gu_two; /* equal outside */
};

static const char *
guarded_fn(void *arg)
{
	struct guarded *const gu = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned long one, two;

		host_lock(&gu->gu_lock);
		one = READ_ONCE(gu->gu_one);
		WRITE_ONCE(gu->gu_one, one + 1);
		two = READ_ONCE(gu->gu_two);
		WRITE_ONCE(gu->gu_two, two + 1);
		host_unlock(&gu->gu_lock);
		CHECK(one == two);
	}
	return NULL;
}

static const char *
lock_excludes(void)
{
	struct guarded gu = {};
	const char *why;

	host_lock_init(&gu.gu_lock, 1);
	why = hosttest_on_two(guarded_fn, &gu);
	CHECK(why != NULL || (gu.gu_one == 2 * ROUNDS && gu.gu_two == 2 * ROUNDS));
	return why;
}

const struct hosttest hosttest_cpu[] = {
	{"words", words},
	{"fill", fill},
	{"words-shared", words_shared},
	{"fence", fence},
	{"cpu-number", this_cpu},
	{"kick", kick},
	{"relax", relax},
	{"lock-held", lock_held},
	{"lock-order", lock_order},
	{"lock-excludes", lock_excludes},
	{},
};
