/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * CPUs as fibers, in the order of their clocks: a heap says who is furthest behind.
 *
 * A CPU acts only when its clock is the earliest, so whatever it sees was done before. A wait in
 * the guest is a clock set to its end; an interrupt that arrives before pulls it back.
 */

#include "bench/cost/cost.h"

#include <stdio.h>
#include <stdlib.h>

#include "pmap/host.h"
#include "sim/machine/fiber.h"

#define NEVER (~(uint64_t)0)
#define NOBODY HOST_MAX_CPUS

struct cpu {
	struct cost_cpu cp;
	struct fiber cp_fiber;
	unsigned int cp_place; /* in the heap */
	bool cp_there;	       /* has a program that has not ended */
	bool cp_waiting;       /* an interrupt ends it */
};

static struct cpu cpus[HOST_MAX_CPUS];
static unsigned int heap[HOST_MAX_CPUS];
static unsigned int nheap;
static unsigned int running = NOBODY;
static struct fiber driver;
static struct cost_model model;
static struct cost_totals totals;

void
cost_assert_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "pmap-cost: %s:%d: assertion failed: %s\n", file, line, what);
	abort();
}

/* ---- The heap ------------------------------------------------------------------------------- */

static bool
earlier(unsigned int a, unsigned int b)
{
	const uint64_t ca = cpus[a].cp.cc_clock;
	const uint64_t cb = cpus[b].cp.cc_clock;

	return ca < cb || (ca == cb && a < b);
}

static void
put(unsigned int place, unsigned int cpu)
{
	heap[place] = cpu;
	cpus[cpu].cp_place = place;
}

static void
rise(unsigned int place, unsigned int cpu)
{
	while (place > 0 && earlier(cpu, heap[(place - 1) / 2])) {
		put(place, heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put(place, cpu);
}

static void
sink(unsigned int place, unsigned int cpu)
{
	for (;;) {
		unsigned int child = 2 * place + 1;

		if (child >= nheap)
			break;
		if (child + 1 < nheap && earlier(heap[child + 1], heap[child]))
			child++;
		if (!earlier(heap[child], cpu))
			break;
		put(place, heap[child]);
		place = child;
	}
	put(place, cpu);
}

static void
heap_remove(unsigned int cpu)
{
	const unsigned int place = cpus[cpu].cp_place;
	const unsigned int last = heap[--nheap];

	if (last == cpu)
		return;
	put(place, last);
	sink(place, last);
	rise(cpus[last].cp_place, last);
}

/* ---- Taking turns --------------------------------------------------------------------------- */

static void
switch_to(unsigned int cpu, bool last)
{
	struct fiber *const from = running == NOBODY ? &driver : &cpus[running].cp_fiber;

	totals.ct_switches++;
	running = cpu;
	fiber_switch(from, cpu == NOBODY ? &driver : &cpus[cpu].cp_fiber, last);
}

/* The running CPU's clock has moved: goes on only when it is the earliest again. */
static void
take_turn(void)
{
	sink(cpus[running].cp_place, running);
	if (heap[0] != running)
		switch_to(heap[0], false);
}

static void
advance_to(uint64_t clock)
{
	cpus[running].cp.cc_clock = clock;
	take_turn();
}

bool
cost_machine_begin(const struct cost_model *m, unsigned int ncpus)
{
	HOST_ASSERT(ncpus <= HOST_MAX_CPUS);
	model = *m;
	totals = (struct cost_totals){0};
	nheap = 0;
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		cpus[i].cp = (struct cost_cpu){.cc_kick = NEVER};
		cpus[i].cp_there = false;
		cpus[i].cp_waiting = false;
	}
	return cost_lines_begin(&model, &totals);
}

bool
cost_spawn(unsigned int cpu, uint64_t start_ns, void (*fn)(void *arg), void *arg)
{
	struct cpu *const c = &cpus[cpu];

	if (!fiber_begin(&c->cp_fiber, fn, arg))
		return false;
	c->cp.cc_clock = start_ns;
	c->cp_there = true;
	nheap++;
	rise(nheap - 1, cpu);
	return true;
}

void
cost_machine_run(void)
{
	fiber_init_main(&driver);
	if (nheap > 0)
		switch_to(heap[0], false);
}

void
cost_machine_end(void)
{
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++)
		fiber_end(&cpus[i].cp_fiber);
	cost_lines_end();
}

void
cost_totals(struct cost_totals *t)
{
	*t = totals;
}

void
cost_exit(void)
{
	cpus[running].cp_there = false;
	heap_remove(running);
	switch_to(nheap > 0 ? heap[0] : NOBODY, true);
	abort();
}

void
cost_wake_all(void)
{
	for (unsigned int i = 0; i < HOST_MAX_CPUS; i++) {
		struct cpu *const c = &cpus[i];

		if (!c->cp_there || !c->cp_waiting || c->cp.cc_clock <= cost_now())
			continue;
		c->cp.cc_clock = cost_now();
		rise(c->cp_place, i);
	}
}

unsigned int
cost_cpu(void)
{
	return running == NOBODY ? 0 : running;
}

uint64_t
cost_now(void)
{
	return running == NOBODY ? 0 : cpus[running].cp.cc_clock;
}

unsigned int
cost_of(enum cost_item item)
{
	return model.cm_value[item];
}

/* ---- Time ----------------------------------------------------------------------------------- */

void
cost_spend(uint64_t ns)
{
	if (running != NOBODY)
		advance_to(cost_now() + ns);
}

bool
cost_wait(uint64_t ns)
{
	struct cpu *const c = &cpus[running];
	const uint64_t end = ns > NEVER - c->cp.cc_clock ? NEVER : c->cp.cc_clock + ns;
	uint64_t wake = end;

	if (c->cp.cc_kick < end)
		wake = c->cp.cc_kick > c->cp.cc_clock ? c->cp.cc_kick : c->cp.cc_clock;
	c->cp_waiting = true;
	advance_to(wake);
	c->cp_waiting = false;
	return cost_kick_taken();
}

bool
cost_kick_taken(void)
{
	struct cpu *const c = &cpus[cost_cpu()];

	if (c->cp.cc_kick > c->cp.cc_clock)
		return false;
	c->cp.cc_kick = NEVER;
	return true;
}

void
cost_kick(unsigned int cpu)
{
	struct cpu *const c = &cpus[cpu];

	if (running == NOBODY || cpu == running || !c->cp_there)
		return;
	totals.ct_ipis++;
	cost_spend(model.cm_value[COST_IPI_SEND]);

	const bool near =
		cpu / model.cm_value[COST_SOCKET] == running / model.cm_value[COST_SOCKET];
	const uint64_t arrives =
		cost_now() + model.cm_value[near ? COST_IPI_SOCKET : COST_IPI_REMOTE];

	if (arrives < c->cp.cc_kick)
		c->cp.cc_kick = arrives;
	if (c->cp_waiting && arrives < c->cp.cc_clock) {
		c->cp.cc_clock = arrives;
		rise(c->cp_place, cpu);
	}
}

void
cost_relax(void)
{
	cost_spend(model.cm_value[COST_PAUSE]);
}

/* ---- Words ---------------------------------------------------------------------------------- */

void
cost_load(const void *addr)
{
	if (running != NOBODY)
		advance_to(cost_line_read(running, cost_now(), addr));
}

/* It leaves by the store buffer: its CPU goes on, but does not pass a fence before it is done. */
void
cost_store(const void *addr)
{
	if (running == NOBODY)
		return;

	struct cost_cpu *const c = &cpus[running].cp;
	const uint64_t done = cost_line_own(running, c->cc_clock, addr);

	if (done > c->cc_drained)
		c->cc_drained = done;
	advance_to(c->cc_clock + model.cm_value[COST_HIT]);
}

void
cost_fence(void)
{
	if (running == NOBODY)
		return;

	const struct cost_cpu *const c = &cpus[running].cp;
	const uint64_t from = c->cc_drained > c->cc_clock ? c->cc_drained : c->cc_clock;

	advance_to(from + model.cm_value[COST_LOCKED]);
}

void
cost_locked(const void *addr)
{
	if (running == NOBODY)
		return;
	cost_fence();
	advance_to(cost_line_own(running, cost_now(), addr));
}

void
cost_lock(uint64_t *word)
{
	for (;;) {
		cost_locked(word);
		if (*word == 0)
			break;
		while (*word != 0) {
			cost_relax();
			cost_load(word);
		}
	}
	*word = (uint64_t)cost_cpu() + 1;
}
