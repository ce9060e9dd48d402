/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The epoch: nothing is called too early, nothing is forgotten, and never from an interrupt.
 */

#include <linux/delay.h>
#include <linux/jiffies.h>

#include "hosttest.h"
#include "kmod/host/host_linux.h"

#define ITEMS 10000

struct item {
	struct host_epoch_item it_epoch;
	struct host_word *it_called;
	bool it_in_task;
};

static void
item_fn(struct host_epoch_item *epoch)
{
	struct item *const it = container_of(epoch, struct item, it_epoch);

	it->it_in_task = in_task() && !irqs_disabled() && preemptible();
	host_fetch_add(it->it_called, 1);
}

static const char *
sections(void)
{
	CHECK(host_linux_nest_count() == 0);
	host_epoch_enter();
	host_epoch_enter();
	CHECK(!preemptible());
	host_epoch_exit();
	CHECK(!preemptible());
	host_epoch_exit();
	CHECK(host_linux_nest_count() == 0);
	return NULL;
}

/* A reader on the other CPU: in a section from `entered` on, until `leave`. */
struct reader {
	bool re_entered;
	bool re_leave;
};

static const char *
reader_fn(void *arg)
{
	struct reader *const re = arg;
	const unsigned long end = jiffies + 10 * HZ;
	bool left = false;

	host_epoch_enter();
	WRITE_ONCE(re->re_entered, true);
	while (!left && time_before(jiffies, end)) {
		left = READ_ONCE(re->re_leave);
		cpu_relax();
	}
	host_epoch_exit();
	CHECK(left);
	return NULL;
}

static const char *
waits_for_readers(void)
{
	struct host_word called = {};
	static struct item it;
	struct reader re = {};
	struct hosttest_thread th;
	uint64_t early;
	const char *why;

	it = (struct item){.it_called = &called};
	if (!hosttest_start(&th, 1, reader_fn, &re))
		return HOSTTEST_SKIP "there is one CPU only";
	if (!hosttest_await(&re.re_entered)) {
		WRITE_ONCE(re.re_leave, true);
		(void)hosttest_join(&th);
		return "the reader does not come";
	}
	host_epoch_defer(&it.it_epoch, item_fn);
	msleep(300);
	early = host_load(&called);
	WRITE_ONCE(re.re_leave, true);
	why = hosttest_join(&th);
	host_epoch_drain();
	CHECK(early == 0);
	CHECK(host_load(&called) == 1 && it.it_in_task);
	return why;
}

static const char *
not_from_within(void)
{
	struct host_word called = {};
	static struct item it;
	uint64_t within;

	it = (struct item){.it_called = &called};
	host_epoch_enter();
	host_epoch_defer(&it.it_epoch, item_fn);
	within = host_load(&called);
	host_epoch_exit();
	host_epoch_drain();
	CHECK(within == 0 && host_load(&called) == 1);
	return NULL;
}

static const char *
many(void)
{
	struct item *const items = host_alloc(ITEMS * sizeof(*items));
	struct host_word called = {};
	unsigned int odd = 0;

	CHECK(items != NULL);
	for (unsigned int i = 0; i < ITEMS; i++) {
		items[i].it_called = &called;
		host_epoch_enter();
		host_epoch_defer(&items[i].it_epoch, item_fn);
		host_epoch_exit();
	}
	host_epoch_drain();
	for (unsigned int i = 0; i < ITEMS; i++)
		odd += !items[i].it_in_task;
	host_free(items, ITEMS * sizeof(*items));
	CHECK(host_load(&called) == ITEMS && odd == 0);
	return NULL;
}

/*
 * What a callback may do: take a lock that a thread holds when the grace period ends. From a soft
 * interrupt that would be a deadlock.
 */
static struct host_lock contended;

static void
locks_fn(struct host_epoch_item *epoch)
{
	host_lock(&contended);
	host_unlock(&contended);
	item_fn(epoch);
}

static const char *
callbacks_lock(void)
{
	struct host_word called = {};
	const unsigned long end = jiffies + 2 * HZ;
	static struct item it;
	unsigned int n = 0;

	host_lock_init(&contended, 1);
	do {
		it = (struct item){.it_called = &called};
		host_epoch_defer(&it.it_epoch, locks_fn);
		for (unsigned int i = 0; i < 100; i++) {
			host_lock(&contended);
			udelay(10);
			host_unlock(&contended);
		}
		host_epoch_drain();
		CHECK(host_load(&called) == ++n);
	} while (time_before(jiffies, end) && n < 50);
	return NULL;
}

const struct hosttest hosttest_epoch[] = {
	{"epoch-sections", sections},
	{"epoch-waits-for-readers", waits_for_readers},
	{"epoch-not-from-within", not_from_within},
	{"epoch-many", many},
	{"epoch-callbacks-lock", callbacks_lock},
	{},
};
