/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A machine of up to 576 CPUs on which everything costs what somebody has measured elsewhere.
 *
 * pmap-sim's machine asks what could go wrong, and lets anything happen at any time; this one asks
 * how long it takes. Each CPU is a fiber with a clock of its own; whoever is furthest behind acts
 * next, so accesses happen in the order of time. Words live in lines that belong to one CPU or are
 * shared by many; who needs a line that is elsewhere waits for it, and for whoever asked before.
 * No chance is involved: two runs are the same to the last digit.
 *
 * The core is compiled for it as for the other worlds (host_types.h, host_impl.h beside this).
 */

#ifndef BENCH_COST_COST_H
#define BENCH_COST_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_word;
struct host_epoch_item;

/* ---- What things cost: cost_model.c has the figures and where they are from ----------------- */

enum cost_item {
	COST_HIT,	  /* a load or store of a line at hand */
	COST_LOCKED,	  /* a locked operation on a line at hand; a fence */
	COST_PAUSE,	  /* one turn of a waiting loop */
	COST_LINE_NEAR,	  /* a line from a CPU that shares the last cache */
	COST_LINE_SOCKET, /* ... of the same socket */
	COST_LINE_REMOTE, /* ... of another */
	COST_LINE_BUSY,	  /* how long a read of a shared line keeps other readers waiting */
	COST_IPI_SEND,	  /* the sender's part, for each target */
	COST_IPI_SOCKET,  /* until it arrives */
	COST_IPI_REMOTE,
	COST_IRQ,     /* taking an interrupt in the host */
	COST_EXIT,    /* leaving the guest */
	COST_ENTRY,   /* entering it */
	COST_FLUSH,   /* INVEPT, or the flush of an ASID */
	COST_REFILL,  /* what the guest then misses: walks until its translations are back */
	COST_CLUSTER, /* not a time: CPUs that share a last cache */
	COST_SOCKET,  /* nor this: CPUs of a socket */
	COST_ITEMS,
};

struct cost_item_info {
	const char *ci_name;
	unsigned int ci_value; /* nanoseconds, or CPUs */
	const char *ci_what;
	const char *ci_source;
};

extern const struct cost_item_info cost_items[COST_ITEMS];

struct cost_model {
	unsigned int cm_value[COST_ITEMS];
};

void cost_model_default(struct cost_model *m);
/* "name=value"; false if there is no such name or it is no number in reason. */
bool cost_model_set(struct cost_model *m, const char *assignment);

/* ---- The machine ---------------------------------------------------------------------------- */

/* What happened, all CPUs together. */
struct cost_totals {
	uint64_t ct_lines; /* that moved between CPUs */
	uint64_t ct_ipis;
	uint64_t ct_switches; /* of fibers; for people who watch this machine */
};

/* One machine at a time. False: no memory. */
bool cost_machine_begin(const struct cost_model *m, unsigned int ncpus);
/* Gives `cpu` a program, from time `start` on. */
bool cost_spawn(unsigned int cpu, uint64_t start_ns, void (*fn)(void *arg), void *arg);
/* Runs until every program has ended. */
void cost_machine_run(void);
void cost_machine_end(void);
void cost_totals(struct cost_totals *t);

/* In a CPU's program. Outside of any, time does not pass and the CPU is 0. */
unsigned int cost_cpu(void);
uint64_t cost_now(void);
_Noreturn void cost_exit(void); /* this CPU does nothing more */
void cost_wake_all(void);	/* ends every wait now, without an interrupt */
unsigned int cost_of(enum cost_item item);

/* Work that nobody else can see and no interrupt ends. */
void cost_spend(uint64_t ns);

/* The guest, or the host with interrupts on: for ns, or until an interrupt comes; true then. */
bool cost_wait(uint64_t ns);

/* Takes an interrupt that has arrived, if there is one. */
bool cost_kick_taken(void);

/* ---- What host_impl.h is made of ------------------------------------------------------------ */

void cost_load(const void *addr);
void cost_store(const void *addr);
void cost_locked(const void *addr);
void cost_fence(void);
void cost_lock(uint64_t *word);
void cost_kick(unsigned int cpu);
void cost_relax(void);
void cost_epoch_enter(void);
void cost_epoch_exit(void);
bool cost_epoch_held(void);
void cost_epoch_defer(struct host_epoch_item *item, void (*fn)(struct host_epoch_item *item));
void cost_epoch_drain(void);
bool cost_table_alloc(uint64_t *hpa);
void cost_table_free(uint64_t hpa);
struct host_word *cost_table_words(uint64_t hpa);
uint64_t cost_table_hpa(const struct host_word *w);
void *cost_table_desc(uint64_t hpa);
void *cost_alloc(size_t bytes);
void cost_free(void *p);

/* ---- Between cost_machine.c and cost_line.c ------------------------------------------------- */

struct cost_cpu {
	uint64_t cc_clock;
	uint64_t cc_drained; /* when the last store will have left its buffer */
	uint64_t cc_kick;    /* when an interrupt arrives, or has; ~0: none */
};

/* The time at which cpu has the line, given that it asks at its clock; moves it. */
bool cost_lines_begin(const struct cost_model *m, struct cost_totals *totals);
void cost_lines_end(void);
uint64_t cost_line_read(unsigned int cpu, uint64_t now, const void *addr);
uint64_t cost_line_own(unsigned int cpu, uint64_t now, const void *addr);

#endif /* BENCH_COST_COST_H */
