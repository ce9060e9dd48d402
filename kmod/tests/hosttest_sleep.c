/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Mutexes and events, between threads on two CPUs, with signals.
 */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/sched/signal.h>

#include "hosttest.h"

#define ROUNDS 20000
#define TURNS 500 /* an emulated CPU that sleeps is slow to wake */

/* ---- Mutexes --------------------------------------------------------------------------------- */

static const char *
mutex_held(void)
{
	struct host_mutex m;

	host_mutex_init(&m, 1);
	CHECK(!host_mutex_held(&m));
	host_mutex_lock(&m);
	CHECK(host_mutex_held(&m));
	host_mutex_unlock(&m);
	CHECK(!host_mutex_held(&m));
	CHECK(host_mutex_lock_interruptible(&m) == 0);
	CHECK(host_mutex_held(&m));
	host_mutex_unlock(&m);
	return NULL;
}

struct guarded {
	struct host_mutex gu_mutex;
	unsigned long gu_one, gu_two; /* equal outside */
};

static const char *
guarded_fn(void *arg)
{
	struct guarded *const gu = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned long one, two;

		if (i % 2 == 0)
			host_mutex_lock(&gu->gu_mutex);
		else
			CHECK(host_mutex_lock_interruptible(&gu->gu_mutex) == 0);
		one = READ_ONCE(gu->gu_one);
		WRITE_ONCE(gu->gu_one, one + 1);
		if (i % 1024 == 0)
			usleep_range(10, 20);
		two = READ_ONCE(gu->gu_two);
		WRITE_ONCE(gu->gu_two, two + 1);
		host_mutex_unlock(&gu->gu_mutex);
		CHECK(one == two);
	}
	return NULL;
}

static const char *
mutex_excludes(void)
{
	struct guarded gu = {};
	const char *why;

	host_mutex_init(&gu.gu_mutex, 1);
	why = hosttest_on_two(guarded_fn, &gu);
	CHECK(why != NULL || (gu.gu_one == 2 * ROUNDS && gu.gu_two == 2 * ROUNDS));
	return why;
}

/* A thread that waits for the mutex is signaled, and does not get it. */
struct waiter {
	struct host_mutex wa_mutex;
	struct host_event wa_event;
	bool wa_started;
	bool wa_held; /* seen from a thread that does not hold it */
	uint64_t wa_seen;
	bool wa_interruptible;
	int wa_error;
};

static const char *
lock_fn(void *arg)
{
	struct waiter *const wa = arg;

	wa->wa_held = host_mutex_held(&wa->wa_mutex);
	WRITE_ONCE(wa->wa_started, true);
	wa->wa_error = host_mutex_lock_interruptible(&wa->wa_mutex);
	if (wa->wa_error == 0)
		host_mutex_unlock(&wa->wa_mutex);
	CHECK(host_interrupted());
	return NULL;
}

static const char *
mutex_interrupted(void)
{
	struct waiter wa = {};
	struct hosttest_thread th;
	const char *why;

	host_mutex_init(&wa.wa_mutex, 2);
	host_mutex_lock(&wa.wa_mutex);
	if (!hosttest_start(&th, 0, lock_fn, &wa)) {
		host_mutex_unlock(&wa.wa_mutex);
		return "no thread";
	}
	(void)hosttest_await(&wa.wa_started);
	msleep(50);
	send_sig(SIGUSR1, th.th_task, 1);
	why = hosttest_join(&th); /* while we hold it */
	host_mutex_unlock(&wa.wa_mutex);
	CHECK(!wa.wa_held && wa.wa_error == -EINTR);
	CHECK(host_mutex_lock_interruptible(&wa.wa_mutex) == 0);
	host_mutex_unlock(&wa.wa_mutex);
	return why;
}

/* ---- Events ---------------------------------------------------------------------------------- */

static const char *
event_not_lost(void)
{
	struct host_event e;
	uint64_t seen;

	host_event_init(&e);
	seen = host_event_read(&e);
	host_event_post(&e);
	CHECK(host_event_read(&e) != seen);
	CHECK(host_event_wait(&e, seen, false) == 0); /* at once */
	CHECK(host_event_wait(&e, seen, true) == 0);
	host_epoch_enter();
	host_event_post(&e);
	host_epoch_exit();
	CHECK(!host_interrupted());
	return NULL;
}

static const char *
wait_fn(void *arg)
{
	struct waiter *const wa = arg;

	WRITE_ONCE(wa->wa_started, true);
	wa->wa_error = host_event_wait(&wa->wa_event, wa->wa_seen, wa->wa_interruptible);
	return NULL;
}

/* Sleeps until it is posted; with interruptible, or until it is signaled. */
static const char *
wait_case(bool interruptible, bool post, int want)
{
	struct waiter wa = {.wa_interruptible = interruptible, .wa_error = 1};
	struct hosttest_thread th;

	host_event_init(&wa.wa_event);
	wa.wa_seen = host_event_read(&wa.wa_event);
	CHECK(hosttest_start(&th, 0, wait_fn, &wa));
	(void)hosttest_await(&wa.wa_started);
	msleep(50);
	if (!post || !interruptible)
		send_sig(SIGUSR1, th.th_task, 1);
	msleep(50);
	if (post) {
		const int early = READ_ONCE(wa.wa_error);

		host_event_post(&wa.wa_event);
		(void)hosttest_join(&th);
		CHECK(early == 1);
	} else {
		(void)hosttest_join(&th);
	}
	CHECK(wa.wa_error == want);
	return NULL;
}

static const char *
event_wakes(void)
{
	return wait_case(true, true, 0);
}

static const char *
event_interrupted(void)
{
	return wait_case(true, false, -EINTR);
}

/* A signal does not end a wait that is not interruptible. */
static const char *
event_uninterruptible(void)
{
	return wait_case(false, true, 0);
}

/* Two threads that wake each other in turn, with the posts inside critical sections. */
struct pingpong {
	struct host_event pp_event;
	struct host_lock pp_lock;
	struct host_word pp_turn;
	struct host_word pp_next;
};

static const char *
pingpong_fn(void *arg)
{
	struct pingpong *const pp = arg;
	const uint64_t me = host_fetch_add(&pp->pp_next, 1) & 1;

	for (unsigned int i = 0; i < TURNS; i++) {
		for (;;) {
			const uint64_t seen = host_event_read(&pp->pp_event);

			if ((host_load(&pp->pp_turn) & 1) == me)
				break;
			CHECK(host_event_wait(&pp->pp_event, seen, true) == 0);
		}
		host_lock(&pp->pp_lock);
		host_fetch_add(&pp->pp_turn, 1);
		host_event_post(&pp->pp_event);
		host_unlock(&pp->pp_lock);
	}
	return NULL;
}

static const char *
event_pingpong(void)
{
	static struct pingpong pp;
	const char *why;

	pp = (struct pingpong){};
	host_event_init(&pp.pp_event);
	host_lock_init(&pp.pp_lock, 1);
	why = hosttest_on_two(pingpong_fn, &pp);
	CHECK(why != NULL || host_load(&pp.pp_turn) == 2 * TURNS);
	return why;
}

const struct hosttest hosttest_sleep[] = {
	{"mutex-held", mutex_held},
	{"mutex-excludes", mutex_excludes},
	{"mutex-interrupted", mutex_interrupted},
	{"event-not-lost", event_not_lost},
	{"event-wakes", event_wakes},
	{"event-interrupted", event_interrupted},
	{"event-uninterruptible", event_uninterruptible},
	{"event-pingpong", event_pingpong},
	{},
};
