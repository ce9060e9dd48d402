/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Other CPUs that do one thing at a time, when told: so that a test can put a CPU into the guest,
 * let another wait for it, and look at both. POSIX world. Assertions stay on the test's own thread.
 */

#ifndef TESTS_UNIT_SCRIPTED_CPU_H
#define TESTS_UNIT_SCRIPTED_CPU_H

#include "pmap/posix/host_posix.h"

#include <pthread.h>
#include <sched.h>

struct scripted_cpu {
	pthread_t sc_thread;
	pthread_mutex_t sc_mutex;
	pthread_cond_t sc_changed;
	void (*sc_fn)(void *arg); /* what it does now; NULL: waits */
	void *sc_arg;
	unsigned int sc_cpu;
	bool sc_ready;
	bool sc_quit;
};

static void *
scripted_main(void *arg)
{
	struct scripted_cpu *c = arg;

	pthread_mutex_lock(&c->sc_mutex);
	c->sc_cpu = host_cpu();
	c->sc_ready = true;
	pthread_cond_broadcast(&c->sc_changed);
	while (!c->sc_quit) {
		if (c->sc_fn != NULL) {
			pthread_mutex_unlock(&c->sc_mutex);
			c->sc_fn(c->sc_arg);
			pthread_mutex_lock(&c->sc_mutex);
			c->sc_fn = NULL;
			pthread_cond_broadcast(&c->sc_changed);
		} else {
			pthread_cond_wait(&c->sc_changed, &c->sc_mutex);
		}
	}
	pthread_mutex_unlock(&c->sc_mutex);
	host_posix_cpu_release();
	return NULL;
}

static inline void
scripted_start(struct scripted_cpu *c)
{
	*c = (struct scripted_cpu){0};
	pthread_mutex_init(&c->sc_mutex, NULL);
	pthread_cond_init(&c->sc_changed, NULL);
	pthread_create(&c->sc_thread, NULL, scripted_main, c);
	pthread_mutex_lock(&c->sc_mutex);
	while (!c->sc_ready)
		pthread_cond_wait(&c->sc_changed, &c->sc_mutex);
	pthread_mutex_unlock(&c->sc_mutex);
}

/* Returns when it has done what it was told last. */
static inline void
scripted_wait(struct scripted_cpu *c)
{
	pthread_mutex_lock(&c->sc_mutex);
	while (c->sc_fn != NULL)
		pthread_cond_wait(&c->sc_changed, &c->sc_mutex);
	pthread_mutex_unlock(&c->sc_mutex);
}

/* Lets it begin, and returns. It must be waiting. */
static inline void
scripted_tell(struct scripted_cpu *c, void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&c->sc_mutex);
	c->sc_arg = arg;
	c->sc_fn = fn;
	pthread_cond_broadcast(&c->sc_changed);
	pthread_mutex_unlock(&c->sc_mutex);
}

static inline void
scripted_call(struct scripted_cpu *c, void (*fn)(void *arg), void *arg)
{
	scripted_tell(c, fn, arg);
	scripted_wait(c);
}

static inline bool
scripted_busy(struct scripted_cpu *c)
{
	pthread_mutex_lock(&c->sc_mutex);
	const bool busy = c->sc_fn != NULL;
	pthread_mutex_unlock(&c->sc_mutex);
	return busy;
}

static inline void
scripted_stop(struct scripted_cpu *c)
{
	pthread_mutex_lock(&c->sc_mutex);
	c->sc_quit = true;
	pthread_cond_broadcast(&c->sc_changed);
	pthread_mutex_unlock(&c->sc_mutex);
	pthread_join(c->sc_thread, NULL);
	pthread_cond_destroy(&c->sc_changed);
	pthread_mutex_destroy(&c->sc_mutex);
}

/* Kicks that a CPU number has received since the process began. */
static inline uint64_t
kicks_of(unsigned int cpu)
{
	struct host_posix_cpu_stats stats;

	host_posix_cpu_stats(cpu, &stats);
	return stats.cs_kicks;
}

/* Waits until a CPU has received so many. */
static inline void
await_kicks(unsigned int cpu, uint64_t n)
{
	while (kicks_of(cpu) < n)
		sched_yield();
}

#endif /* TESTS_UNIT_SCRIPTED_CPU_H */
