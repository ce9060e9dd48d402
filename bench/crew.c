/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Threads that wait for work: under a mutex while they sleep, by words while they measure.
 */

#define _GNU_SOURCE /* CPU_SET() */

#include "bench/crew.h"

#include <sched.h>

#include "pmap/posix/host_posix.h"

static cpu_set_t allowed;
static bool looked;

static void
look(void)
{
	if (looked)
		return;
	CPU_ZERO(&allowed);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	looked = true;
}

unsigned int
crew_processors(void)
{
	look();
	return (unsigned int)CPU_COUNT(&allowed);
}

/* To the n-th processor that this process may use. */
static void
bind_to(unsigned int n)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &allowed) && n-- == 0) {
			CPU_SET(i, &one);
			pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
			return;
		}
	}
}

static void
member_done(struct crew *c)
{
	pthread_mutex_lock(&c->cr_mutex);
	c->cr_busy--;
	pthread_cond_broadcast(&c->cr_changed);
	pthread_mutex_unlock(&c->cr_mutex);
}

static void *
member_main(void *arg)
{
	struct crew_member *const me = arg;
	struct crew *const c = me->cm_crew;

	if (!c->cr_crowded)
		bind_to(me->cm_number + 1);
	me->cm_error = host_posix_cpu_register();
	if (me->cm_error == 0)
		me->cm_cpu = host_cpu();
	member_done(c);
	for (;;) {
		pthread_mutex_lock(&c->cr_mutex);
		while (me->cm_fn == NULL && !c->cr_end)
			pthread_cond_wait(&c->cr_changed, &c->cr_mutex);
		if (me->cm_fn == NULL) {
			pthread_mutex_unlock(&c->cr_mutex);
			return NULL;
		}
		pthread_mutex_unlock(&c->cr_mutex);
		me->cm_fn(me, me->cm_arg);
		me->cm_fn = NULL;
		member_done(c);
	}
}

static void
await_idle(struct crew *c)
{
	pthread_mutex_lock(&c->cr_mutex);
	while (c->cr_busy > 0)
		pthread_cond_wait(&c->cr_changed, &c->cr_mutex);
	pthread_mutex_unlock(&c->cr_mutex);
}

int
crew_start(struct crew *c, unsigned int n, bool crowded)
{
	int error;

	look();
	if (n > CREW_MAX || (!crowded && n + 1 > crew_processors()))
		return -EAGAIN;
	*c = (struct crew){.cr_n = n, .cr_crowded = n + 1 > crew_processors()};
	pthread_mutex_init(&c->cr_mutex, NULL);
	pthread_cond_init(&c->cr_changed, NULL);
	error = host_posix_cpu_register();
	if (error != 0)
		return error;
	if (!c->cr_crowded)
		bind_to(0);
	for (unsigned int i = 0; i < n && error == 0; i++) {
		struct crew_member *const m = &c->cr_member[i];

		m->cm_crew = c;
		m->cm_number = i;
		pthread_mutex_lock(&c->cr_mutex);
		c->cr_busy++;
		pthread_mutex_unlock(&c->cr_mutex);
		error = -pthread_create(&m->cm_thread, NULL, member_main, m);
		if (error != 0) {
			c->cr_busy--;
			c->cr_n = i;
		}
	}
	await_idle(c);
	for (unsigned int i = 0; i < c->cr_n && error == 0; i++)
		error = c->cr_member[i].cm_error;
	if (error != 0)
		crew_end(c);
	return error;
}

void
crew_end(struct crew *c)
{
	pthread_mutex_lock(&c->cr_mutex);
	c->cr_end = true;
	pthread_cond_broadcast(&c->cr_changed);
	pthread_mutex_unlock(&c->cr_mutex);
	for (unsigned int i = 0; i < c->cr_n; i++)
		pthread_join(c->cr_member[i].cm_thread, NULL);
	pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	pthread_mutex_destroy(&c->cr_mutex);
	pthread_cond_destroy(&c->cr_changed);
}

void
crew_send(struct crew *c, unsigned int i, void (*fn)(struct crew_member *me, void *arg), void *arg)
{
	pthread_mutex_lock(&c->cr_mutex);
	c->cr_member[i].cm_arg = arg;
	c->cr_member[i].cm_fn = fn;
	c->cr_busy++;
	pthread_cond_broadcast(&c->cr_changed);
	pthread_mutex_unlock(&c->cr_mutex);
}

void
crew_begun(struct crew_member *me)
{
	host_fetch_add(&me->cm_crew->cr_inside, 1);
}

void
crew_await(struct crew *c, unsigned int n)
{
	while (host_load_acquire(&c->cr_inside) < n)
		host_relax();
}

void
crew_dismiss(struct crew *c)
{
	host_xchg(&c->cr_leave, 1);
	await_idle(c);
	host_store(&c->cr_leave, 0);
	host_store(&c->cr_inside, 0);
}
