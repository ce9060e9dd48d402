/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Threads that are CPUs of the POSIX host, each on a processor of its own, that sleep until they
 * are given something to do. They live for the whole of a measurement, so that what is compared
 * runs on the same threads.
 */

#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <pthread.h>

#include "pmap/pmap.h"

#define CREW_MAX 62 /* HOST_MAX_CPUS, less the caller and one to spare */

struct crew;

struct crew_member {
	struct crew *cm_crew;
	unsigned int cm_number;
	unsigned int cm_cpu; /* its host_cpu() */
	int cm_error;
	pthread_t cm_thread;
	void (*cm_fn)(struct crew_member *me, void *arg);
	void *cm_arg;
};

struct crew {
	unsigned int cr_n;
	bool cr_crowded;	    /* processors must be shared: who waits lets go */
	struct host_word cr_leave;  /* members: come back */
	struct host_word cr_inside; /* members that have begun */
	pthread_mutex_t cr_mutex;
	pthread_cond_t cr_changed;
	unsigned int cr_busy;
	bool cr_end;
	struct crew_member cr_member[CREW_MAX];
};

/* How many processors this process may use. */
unsigned int crew_processors(void);

/*
 * Starts n threads; the caller becomes a CPU, too, on the first processor, unless `crowded`: then
 * nobody is bound to a processor, and there may be more than those. -EAGAIN: fewer processors than
 * n + 1. Other errors are those of threads.
 */
int crew_start(struct crew *c, unsigned int n, bool crowded);
void crew_end(struct crew *c);

/* Gives member i a function; crew_dismiss() makes crew_called_back() true and waits for all. */
void crew_send(struct crew *c, unsigned int i, void (*fn)(struct crew_member *me, void *arg),
	       void *arg);
void crew_dismiss(struct crew *c);

/* For members: the function is really under way; should it end? */
void crew_begun(struct crew_member *me);
static inline bool
crew_called_back(const struct crew_member *me)
{
	return host_load(&me->cm_crew->cr_leave) != 0;
}

/* In a loop that waits for a kick: as fast as can be, or, where processors are shared, politely. */
static inline void
crew_breathe(const struct crew_member *me)
{
	if (me->cm_crew->cr_crowded)
		host_relax();
}

/* Waits until n members have begun since the last dismissal. */
void crew_await(struct crew *c, unsigned int n);

#endif /* BENCH_CREW_H */
