/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The frame of the suite, as a row of it sees it.
 *
 * A row is one workload beside one limit: what the same number of entries, or misses, or exchanges
 * costs in a bare loop in the same process. The frame runs limit and workload in turn, round after
 * round, and keeps every round; what counts is the ratio. A row runs in a process of its own
 * (worker.c), once per type and tier. pmap-bench (main.c) starts these and reports.
 *
 * The same rows are compiled three times: for all that this CPU has (native), for what a kernel may
 * use (kernel: general registers only), and on a host that counts its atomic operations (count),
 * whose times mean nothing and whose counts must not vary.
 */

#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "pmap/pmap.h"

#include "pmap/posix/host_posix.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define PAGE HOST_PAGE_SIZE

/* Data: above the host's tables. */
#define BENCH_HPA (8 * GIB)

#define BENCH_COUNTS_MAX 16
#define BENCH_ROUNDS_MAX 512

struct json_t;
struct bench;

struct bench_arch {
	const char *ba_name;
	enum pt_type ba_type;
	struct pt_caps ba_caps;
	unsigned int ba_flags;
};

extern const struct bench_arch bench_arches[];
extern const unsigned int bench_narches;

enum bench_tier {
	BENCH_NATIVE,
	BENCH_KERNEL,
	BENCH_COUNT,
};

struct bench_row {
	const char *br_name;  /* "fault.seq" */
	const char *br_what;  /* what is done */
	const char *br_limit; /* what the limit is */
	const char *br_unit; /* "ns/fault"; begins with "us": microseconds. "B": exact, see below */
	double br_target[2]; /* ratio to reach, by tier */
	unsigned int br_cpus;  /* CPUs that it needs; 0 is 1 */
	unsigned int br_mib;   /* memory that it needs */
	unsigned int br_param; /* the row's own */
	bool br_any_arch;      /* the same for all types: run with the first one only */
	bool br_exact;	       /* one round, of bench_value() */

	/* Makes what rounds need, b_units and b_limit_units among it. */
	void (*br_setup)(struct bench *b);
	/* One round of either, with bench_begin() and bench_end() around what is timed. */
	void (*br_limit_round)(struct bench *b);
	void (*br_round)(struct bench *b);
};

/* Tables of rows; each ends with a row without a name. */
extern const struct bench_row bench_rows_fault[], bench_rows_map[], bench_rows_walk[],
	bench_rows_bits[], bench_rows_mem[];

struct bench_count {
	const char *bc_name;
	double bc_value; /* per unit, or as the name says */
};

/* A row being run. */
struct bench {
	const struct bench_row *b_row;
	const struct bench_arch *b_arch;
	enum bench_tier b_tier;
	unsigned int b_cpus; /* that may be used */
	unsigned int b_home; /* the CPU of this thread */
	double b_units;	     /* by which the time of a round is divided */
	double b_limit_units;
	struct pmap *b_pm;	/* the one that is measured; its accounts are looked at */
	void *b_state;		/* the row's own */
	struct json_t *b_extra; /* more for the record, or NULL; json_object() */

	/* The frame's. */
	double b_ns; /* of this round */
	uint64_t b_started_ns;
	unsigned int b_ncounts;
	struct bench_count b_counts[BENCH_COUNTS_MAX];
	double b_value; /* exact rows */
	double b_exact_limit;
};

/* ---- What rows call ------------------------------------------------------------------------- */

/*
 * Around what is timed, by the time of this thread on a CPU. Sections of one round add up.
 */
void bench_begin(struct bench *b);
void bench_end(struct bench *b);

/* Time measured otherwise: of several threads, or by the wall clock. */
void bench_add_ns(struct bench *b, double ns);
uint64_t bench_thread_ns(void);
uint64_t bench_wall_ns(void);

/* An exact row's one result, and what it should be. */
void bench_value(struct bench *b, double value, double limit);

/* One more count for the record; the last value set is kept. */
void bench_set_count(struct bench *b, const char *name, double value);

/* Ends this process with the sentence: a result that is wrong is no result. */
_Noreturn void bench_wrong(const struct bench *b, const char *what);
/* The same unless cond. Inline, since it stands in loops that are timed. */
static inline void
bench_check(const struct bench *b, bool cond, const char *what)
{
	if (__builtin_expect(!cond, 0))
		bench_wrong(b, what);
}

/* Ends it with exit code 75: the machine lacks something. */
_Noreturn void bench_lacks(const struct bench *b, const char *what);

/* Memory of huge pages where there are any, touched; or the end of the process. */
void *bench_alloc(const struct bench *b, size_t bytes);
/* 0 .. n - 1 shuffled, the same each time. */
uint32_t *bench_shuffled(const struct bench *b, uint64_t n);

/* Runs fn(arg, i) in n threads, each on CPU i of those there are; returns when all are done. */
void bench_threads(const struct bench *b, unsigned int n, void (*fn)(void *arg, unsigned int i),
		   void *arg);
/* In such threads, once: returns when all n are here. */
void bench_meet(struct bench *b, unsigned int n);

/* ---- The world (world.c) --------------------------------------------------------------------- */

/* A new pmap of b's type; becomes b_pm. Flags beyond those of the type: PMAP_DEFER and the like. */
struct pmap *bench_pmap(struct bench *b, unsigned int flags);

/*
 * Has the host fetch n table pages once, and put huge pages under them: rounds then meet a pool
 * that is warm.
 */
void bench_tables(const struct bench *b, uint64_t n);

/* Enters a page or superpage, frame i for index i; rights and access as given. Must succeed. */
void bench_enter(struct bench *b, gpa_t gpa, unsigned int level, unsigned int access);
/* Maps [start, end) by leaves of `level`, written to. */
void bench_map(struct bench *b, gpa_t start, gpa_t end, unsigned int level);
/* Unmaps it, untimed, and waits until all tables are back. */
void bench_clear(struct bench *b, gpa_t start, gpa_t end);

/* The words of the table whose entries for gpa are of `level`, as hardware finds them. */
struct host_word *bench_table(struct bench *b, gpa_t gpa, unsigned int level);
/* As a guest's walk does: sets A in the entry that leads to the table of 4 KiB leaves. */
void bench_pass(struct bench *b, gpa_t gpa);
/* As a guest's access does: sets A, and M with dirty, in every `every`th leaf of [start, end). */
void bench_touch(struct bench *b, gpa_t start, gpa_t end, unsigned int every, bool dirty);

/* Events since the last call, on hosts that count; in bench_begin() and bench_end(). */
struct bench_events {
	uint64_t ev_locked; /* locked operations on memory, fences apart */
	uint64_t ev_fences;
	uint64_t ev_stores;
	uint64_t ev_shared; /* writes of either kind to a line that another CPU wrote last */
};
void bench_events(struct bench_events *ev);

#endif /* BENCH_BENCH_H */
