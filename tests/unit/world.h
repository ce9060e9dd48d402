/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The same tests in every world: what a test needs of the world it was linked for.
 *
 * A test calls world_begin(), then functions of pmap/host.h and of the core by itself or in
 * actors that run at the same time, each on a CPU of its own, and ends with world_end(). An
 * actor is a thread here and a fiber there, so it uses CHECK() and not Criterion's assertions,
 * which must not leave it.
 */

#ifndef TESTS_UNIT_WORLD_H
#define TESTS_UNIT_WORLD_H

#include "pmap/host.h"

#define WORLD_ACTORS_MAX 8

struct world_config {
	unsigned int wc_actors;	   /* at most so many at a time; 0: one */
	uint64_t wc_fail_table;	   /* the n-th host_table_alloc() fails, from 1; 0: none */
	uint64_t wc_fail_alloc;	   /* likewise host_alloc(); one kind at a time */
	uint64_t wc_fail_page;	   /* likewise host_page_alloc() */
	uint64_t wc_fail_iommu;	   /* likewise host_iommu_create(), _map() and _attach() */
	uint64_t wc_fail_read;	   /* likewise host_swap_read() */
	uint64_t wc_fail_write;	   /* and host_swap_write(), which may fail both */
	bool wc_fail_persistently; /* and all later ones */
};

extern const char world_name[];

/* How often to repeat what depends on timing, each time between world_begin() and world_end(). */
extern const unsigned int world_rounds;

/* NULL: no actors but one, no faults. Every call may bring another order of events. */
void world_begin(const struct world_config *cfg);

/* Fails the test unless all CHECK()s passed, there was one, and nothing is left allocated. */
void world_end(void);

/* Runs fn(arg, i) for i in 0 .. n - 1 at the same time; returns when all have returned. */
void world_run(unsigned int n, void (*fn)(void *arg, unsigned int i), void *arg);

/*
 * Runs fn(arg) in a world of its own, outside world_begin() and world_end(): whether an
 * assertion, or whatever else guards the rules of the interface, stopped it.
 */
bool world_stops(void (*fn)(void *arg), void *arg);

uint64_t world_tables_in_use(void);
uint64_t world_pages_in_use(void);    /* of data */
unsigned int world_offline_cpu(void); /* one that exists and is not there now */
uint64_t world_tlb_pages(void);	      /* for which the calling CPU did INVLPG */
uint64_t world_tlb_flushes(bool global);

/* Interrupts the actor on that CPU, until it ends that itself. */
void world_interrupt(unsigned int cpu);
void world_interrupt_end(void);

/* Notes a failure with its place; the first one counts. */
void world_check(bool ok, const char *file, int line, const char *what);
#define CHECK(cond) world_check((cond), __FILE__, __LINE__, #cond)

#endif /* TESTS_UNIT_WORLD_H */
