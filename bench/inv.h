/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Ways to make a change of page tables true on every CPU, side by side.
 *
 * A scheme is what an initiator and a CPU that runs guests do around the same change: a pmap loses
 * pages. It is written against pmap/host.h and nothing else, so that the very same text runs with
 * threads as CPUs (inv_run.c) and on the machine of simulated costs (cost/). Ours is the pmap's own
 * gather. The alternatives take the pages out of a pmap that nobody runs on, whose own shootdown
 * then has nobody to wait for, and do their own thing afterwards; scheme "none" shows what that
 * costs, and is the floor of all.
 */

#ifndef BENCH_INV_H
#define BENCH_INV_H

#include "pmap/pmap.h"

/* Frees that the deferred scheme lets wait before it shoots. */
#define INV_DEFERRED_MAX 64

/* CPUs that a rendezvous can meet. */
#define INV_CPUS_MAX HOST_MAX_CPUS

struct inv_scheme;

/* Of one CPU that runs guests, one cache line. */
struct inv_slot {
	struct pmap_slot is_pmap;  /* ours */
	struct host_word is_state; /* 0: out of the guest; else generation << 1 | 1 */
	struct host_word is_exits; /* how often it has left the guest */
	uint64_t is_seen;
	uint64_t is_ack;
	unsigned int is_cpu;
} __attribute__((aligned(64)));

/* Of one initiator. */
struct inv_initiator {
	struct pmap_gather ii_gather;
	uint64_t ii_deferred[INV_DEFERRED_MAX]; /* generations that free what waits */
	unsigned int ii_ndeferred;
	unsigned int ii_deferred_most;
	unsigned int ii_deferred_limit; /* 0: INV_DEFERRED_MAX */
};

/* What all of them do, in units of one; summed up when everybody rests. */
struct inv_counts {
	uint64_t ic_unmaps; /* gathers finished */
	uint64_t ic_shootdowns;
	uint64_t ic_kicks;
	uint64_t ic_flushes;
	uint64_t ic_merged;
	uint64_t ic_elided;
};

/* Of one CPU, on lines of its own. */
struct inv_cpu_counts {
	struct inv_counts cc;
	uint64_t cc_exits[INV_CPUS_MAX]; /* kick: a note of who had left how often */
} __attribute__((aligned(64)));

/* One address space under one scheme. */
struct inv {
	const struct inv_scheme *in_scheme;
	struct pmap *in_pm;
	unsigned int in_ncpus; /* CPUs that run guests: cpu 0 .. */
	struct inv_slot *in_slots;
	const unsigned int *in_everybody; /* rendezvous: all CPUs there are */
	unsigned int in_neverybody;

	/* The alternatives' own clock and meeting place. */
	struct host_word in_gen __attribute__((aligned(64)));
	struct host_word in_busy __attribute__((aligned(64))); /* one rendezvous at a time */
	struct host_word in_round;			       /* its number; 0: none yet */
	struct host_word in_arrived __attribute__((aligned(64)));
	struct host_word in_done __attribute__((aligned(64)));
	struct inv_cpu_counts in_counts[INV_CPUS_MAX];
	uint64_t in_rounds_seen[INV_CPUS_MAX]; /* each CPU's own */
};

struct inv_scheme {
	const char *sc_name;
	const char *sc_what;
	bool sc_unsafe; /* the caller may not rely on the unmap when finish returns */

	/* The initiator, around its changes; finish returns when they are true everywhere. */
	void (*sc_begin)(struct inv *in, struct inv_initiator *ii);
	void (*sc_finish)(struct inv *in, struct inv_initiator *ii);

	/* A CPU before it enters the guest: true if it must flush first; then after that flush. */
	bool (*sc_enter)(struct inv *in, struct inv_slot *s);
	void (*sc_flushed)(struct inv *in, struct inv_slot *s);
	void (*sc_exit)(struct inv *in, struct inv_slot *s);

	/* A CPU, any, took an interrupt; out of the guest by now. NULL: leaving was all. */
	void (*sc_kicked)(struct inv *in);
};

extern const struct inv_scheme *const inv_schemes[];
extern const unsigned int inv_nschemes;
const struct inv_scheme *inv_scheme_named(const char *name);

/*
 * A pmap of a type, with n CPUs that run guests as CPU cpus[i], and everybody[] for those who must
 * meet. -ENOMEM. inv_close() when nobody is inside any more.
 */
int inv_open(struct inv **out, const struct inv_scheme *scheme, enum pt_type type, bool emulate_ad,
	     const unsigned int *cpus, unsigned int ncpus, const unsigned int *everybody,
	     unsigned int neverybody);
void inv_close(struct inv *in);

/* Maps n pages at gpa, writable and written. */
int inv_map(struct inv *in, gpa_t gpa, unsigned int n);

/* begin, remove n pages at gpa, finish. */
int inv_unmap(struct inv *in, struct inv_initiator *ii, gpa_t gpa, unsigned int n);

/* Frees what an initiator let wait. */
void inv_settle(struct inv *in, struct inv_initiator *ii);

/* Sums. For ours, from the pmap's own accounts. Exact at rest. */
void inv_counts(struct inv *in, struct inv_counts *sum);

/* What a world brings: has an interrupt come for this CPU that was not taken yet? Takes it. */
bool inv_world_kicked(void);

static inline struct inv_counts *
inv_mine(struct inv *in)
{
	return &in->in_counts[host_cpu()].cc;
}

/* The alternatives (inv_alt.c, inv_meet.c). */
extern const struct inv_scheme inv_kick, inv_nomerge, inv_deferred, inv_rendezvous;

#endif /* BENCH_INV_H */
