/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Epoch-based reclamation.
 *
 * There is one epoch number. A section notes the number that it found when it began; the number may
 * go from e to e + 1 only when every open section has noted e. An item deferred at epoch e may run
 * once the number is e + 2: a section that could still reach it noted e or less before the item was
 * deferred, and holds the number at e + 1 at most until it ends.
 *
 * Items wait in the queue of the CPU that deferred them, oldest first, so their numbers never
 * decrease. They run in batches, when that CPU closes a section, holding no lock, with more than
 * BATCH of them waiting; or in a drain, which empties all queues. Either way it is after the call
 * that deferred them.
 */

#include "pmap/posix/host_posix.h"
#include "pmap/posix/host_priv.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/membarrier.h>
#include <sys/syscall.h>
#endif

#define BATCH 64

struct host_word host_posix_epoch = {1};
bool host_posix_membarrier;

/* The items deferred on one CPU. Under q_lock. */
static struct queue {
	struct host_lock q_lock;
	struct host_epoch_item *q_first;
	struct host_epoch_item **q_end;
	struct host_word q_deferred; /* items ever deferred here */
	struct host_word q_ran;	     /* items ever run by this CPU, whoever deferred them */
	struct host_word q_running;  /* odd while this CPU runs items outside a drain */
} __attribute__((aligned(128))) queues[HOST_MAX_CPUS];

/* Held through a drain: what one drain took, a later one waits for. Drains may sleep. */
static pthread_mutex_t draining = PTHREAD_MUTEX_INITIALIZER;

/* ---- A fence on every CPU -------------------------------------------------------------------- */

/* Linux interrupts the CPUs that run this process; others are fenced when they switch to it. */
static bool
membarrier_set_up(void)
{
#if defined(__linux__) && defined(SYS_membarrier)
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#else
	return false;
#endif
}

static void
fence_everywhere(void)
{
	bool done = true;

	host_fence();
#if defined(__linux__) && defined(SYS_membarrier)
	if (host_posix_membarrier)
		done = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
	/* It was registered, so it does not fail; to go on would free what is in use. */
	if (!done)
		host_posix_assert_failed(__FILE__, __LINE__, "membarrier() works");
}

/* ---- Sections and items ---------------------------------------------------------------------- */

void
host_posix_epoch_set_up(void)
{
	host_posix_membarrier = membarrier_set_up();
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		host_lock_init(&queues[i].q_lock, HOST_POSIX_RANK);
		queues[i].q_end = &queues[i].q_first;
		host_posix_cpu_at(i)->pc_backlog_max = BATCH;
	}
}

/*
 * Raises the epoch by one if no open section stands in the way. The fence makes what the caller
 * unlinked visible before the sections are looked at; its partner is in host_epoch_enter(), or is
 * executed for it here.
 */
static bool
advance(void)
{
	uint64_t epoch = host_load_acquire(&host_posix_epoch);

	fence_everywhere();
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		uint64_t seen = host_load_acquire(&host_posix_cpu_at(i)->pc_epoch);

		if (seen != 0 && seen != epoch * 2 + 1)
			return false;
	}
	return host_cas(&host_posix_epoch, &epoch, epoch + 1);
}

static void
run(struct queue *mine, struct host_epoch_item *item)
{
	while (item) {
		struct host_epoch_item *next = item->ei_next;

		item->ei_fn(item);
		host_count(&mine->q_ran, 1);
		item = next;
	}
}

void
host_posix_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item))
{
	struct host_posix_cpu *self = host_posix_this();
	struct queue *q = &queues[self->pc_id];

	item->ei_next = NULL;
	item->ei_fn = fn;
	host_fence(); /* what was unlinked is unlinked before the epoch is read */
	host_lock(&q->q_lock);
	item->ei_epoch = host_load_acquire(&host_posix_epoch);
	*q->q_end = item;
	q->q_end = &item->ei_next;
	host_count(&q->q_deferred, 1);
	host_unlock(&q->q_lock);
	self->pc_backlog++;
}

/* Takes from the front what may run at this epoch; returns how many stay. */
static unsigned int
take_ripe(struct queue *q, struct host_epoch_item **ripe)
{
	uint64_t epoch = host_load_acquire(&host_posix_epoch);
	struct host_epoch_item **end = ripe;
	unsigned int left = 0;

	*ripe = q->q_first;
	while (*end && (*end)->ei_epoch + 2 <= epoch)
		end = &(*end)->ei_next;
	q->q_first = *end;
	*end = NULL;
	if (!q->q_first)
		q->q_end = &q->q_first;
	for (struct host_epoch_item *i = q->q_first; i; i = i->ei_next)
		left++;
	return left;
}

/* The backlog of this CPU is long: run what may run, and come back after another batch. */
void
host_posix_epoch_run(void)
{
	struct host_posix_cpu *self = host_posix_this();
	struct queue *q = &queues[self->pc_id];
	struct host_epoch_item *ripe;

	if (host_load(&q->q_running) % 2 != 0)
		return; /* called by an item that is being run here */
	if (advance())
		advance();
	host_lock(&q->q_lock);
	host_count(&q->q_running, 1);
	self->pc_backlog = take_ripe(q, &ripe);
	self->pc_backlog_max = self->pc_backlog + BATCH;
	host_unlock(&q->q_lock);

	run(q, ripe);
	host_store_release(&q->q_running, host_load(&q->q_running) + 1);
}

/* Empties every queue into one list; notes which CPUs are running items at this moment. */
static struct host_epoch_item *
take_all(uint64_t running[HOST_MAX_CPUS])
{
	struct host_epoch_item *all = NULL;
	struct host_epoch_item **end = &all;

	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		struct queue *q = &queues[i];

		host_lock(&q->q_lock);
		if (q->q_first) {
			*end = q->q_first;
			end = q->q_end;
			q->q_first = NULL;
			q->q_end = &q->q_first;
		}
		running[i] = host_load_acquire(&q->q_running);
		host_unlock(&q->q_lock);
	}
	return all;
}

void
host_posix_epoch_drain(void)
{
	struct host_posix_cpu *self = host_posix_this();
	struct host_epoch_item *all;
	uint64_t running[HOST_MAX_CPUS];
	uint64_t goal;

	HOST_ASSERT(self->pc_nest == 0 && self->pc_held == 0);
	pthread_mutex_lock(&draining);
	all = take_all(running);
	self->pc_backlog = 0;
	goal = host_load_acquire(&host_posix_epoch) +
	       2; /* no item taken is younger than that - 2 */
	while (host_load_acquire(&host_posix_epoch) < goal) {
		if (!advance())
			sched_yield();
	}
	run(&queues[self->pc_id], all);
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		while (running[i] % 2 != 0 && host_load_acquire(&queues[i].q_running) == running[i])
			sched_yield();
	}
	pthread_mutex_unlock(&draining);
}

uint64_t
host_posix_deferred(void)
{
	uint64_t waiting = 0;

	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++)
		waiting += host_load(&queues[i].q_deferred) - host_load(&queues[i].q_ran);
	return waiting;
}
