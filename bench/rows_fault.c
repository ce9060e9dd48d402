/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Faults: one page at a time into what is empty. The limit of a fault is the compare-and-swap that
 * no way of doing it can avoid; where a table is new, clearing it; where nothing is in a cache, one
 * miss.
 */

#include "bench/bench.h"
#include "bench/limit.h"

#include <jansson.h>
#include <semaphore.h>
#include <stdlib.h>

struct state {
	uint64_t st_n;
	gpa_t st_end; /* of the space that is cleared between rounds */
	const uint32_t *st_order;
	uint64_t *st_words; /* for the limit */
	uint64_t *st_pages;
};

static struct state *
state(struct bench *b, uint64_t n, gpa_t end)
{
	struct state *const st = calloc(1, sizeof(*st));

	if (st == NULL)
		bench_lacks(b, "there is no memory");
	*st = (struct state){.st_n = n, .st_end = end};
	b->b_units = b->b_limit_units = (double)n;
	b->b_state = st;
	bench_pmap(b, 0);
	return st;
}

static bool
counting(const struct bench *b)
{
	return b->b_tier == BENCH_COUNT;
}

/* The leaf is what was entered. */
static void
verify(struct bench *b, gpa_t gpa)
{
	struct pmap_leaf leaf;

	bench_check(b,
		    pmap_extract(b->b_pm, gpa, &leaf) == 0 && leaf.pl_hpa == BENCH_HPA + gpa &&
			    leaf.pl_level == 0,
		    "a page that was entered is not there");
}

static void
after_round(struct bench *b, struct state *st)
{
	struct pmap_stats stats;

	pmap_stats(b->b_pm, &stats);
	bench_check(b, stats.st_resident_pages == st->st_n, "pages are missing, or too many");
	bench_clear(b, 0, st->st_end);
}

/* ---- Ascending, and shuffled ----------------------------------------------------------------- */

static void
dense_setup(struct bench *b)
{
	const uint64_t n = counting(b) ? 1 << 14 : 1 << 20;
	struct state *const st = state(b, n, n * PAGE);

	if (b->b_row->br_param)
		st->st_order = bench_shuffled(b, n);
	st->st_words = bench_alloc(b, n * sizeof(uint64_t));
	bench_tables(b, n / 512 + 64);
}

static void
dense_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	limit_fill(st->st_words, st->st_n, 0, 0);
	bench_begin(b);
	limit_cas(st->st_words, st->st_order, st->st_n);
	bench_end(b);
}

static void
dense_round(struct bench *b)
{
	struct state *const st = b->b_state;
	const uint32_t *const order = st->st_order;

	bench_begin(b);
	for (uint64_t i = 0; i < st->st_n; i++)
		bench_enter(b, (order ? order[i] : i) * PAGE, 0, PMAP_PROT_RW);
	bench_end(b);
	for (uint64_t i = 0; i < st->st_n; i += 997)
		verify(b, i * PAGE);
	after_round(b, st);
}

/* ---- Each fault waits for the one before ----------------------------------------------------- */

/* Faults in one round: few enough that what they leave in caches does not help later ones. */
#define DEPENDENT ((uint64_t)1 << 16)

static void
dep_setup(struct bench *b)
{
	const uint64_t tables = counting(b) ? 64 : 256 * GIB / (512 * PAGE);
	struct state *const st = state(b, counting(b) ? 4096 : DEPENDENT, tables * 512 * PAGE);
	const uint64_t words = tables * 512;
	uint32_t *const order = bench_shuffled(b, counting(b) ? words : words / 8);

	bench_tables(b, tables + 1024);
	/* The tables are there, each with a page that stays. */
	for (uint64_t i = 0; i < tables; i++)
		bench_enter(b, i * 512 * PAGE, 0, PMAP_PROT_RW);
	st->st_order = order;
	/* A ring through every line. */
	st->st_words = bench_alloc(b, words * sizeof(uint64_t));
	for (uint64_t i = 0; i < words / 8; i++)
		st->st_words[(uint64_t)order[i] * 8] = (uint64_t)order[(i + 1) % (words / 8)] * 8;
}

static void
dep_limit(struct bench *b)
{
	struct state *const st = b->b_state;
	static volatile uint64_t at;

	bench_begin(b);
	at = limit_chase(st->st_words, at, st->st_n);
	bench_end(b);
}

/* Nothing is begun before all before it is done: as when each comes from a guest of its own. */
static inline void
one_after_another(void)
{
#ifdef __SSE2__
	__builtin_ia32_lfence();
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static void
dep_round(struct bench *b)
{
	struct state *const st = b->b_state;
	static uint64_t turn;
	const uint64_t lines = st->st_end / PAGE / 8;
	const uint64_t first = turn++ * st->st_n % lines;

	bench_begin(b);
	for (uint64_t i = 0; i < st->st_n; i++) {
		/* Never the first entry of a table. */
		bench_enter(b, ((uint64_t)st->st_order[(first + i) % lines] * 8 + 1) * PAGE, 0,
			    PMAP_PROT_RW);
		one_after_another();
	}
	bench_end(b);
	for (uint64_t i = 0; i < st->st_n; i++) {
		const gpa_t gpa = ((uint64_t)st->st_order[(first + i) % lines] * 8 + 1) * PAGE;
		struct pmap_gather g;

		if (i % 997 == 0)
			verify(b, gpa);
		pmap_gather_begin(&g, b->b_pm);
		bench_check(b, pmap_remove(b->b_pm, gpa, gpa + PAGE, &g) == 0,
			    "a page could not be removed");
		pmap_gather_finish(&g);
	}
}

/* ---- One page in each table ------------------------------------------------------------------ */

static void
sparse_setup(struct bench *b)
{
	const uint64_t n = counting(b) ? 512 : 8192;
	struct state *const st = state(b, n, n * 512 * PAGE);

	st->st_words = bench_alloc(b, n * sizeof(uint64_t));
	st->st_pages = bench_alloc(b, LIMIT_ZEROED * PAGE);
	bench_tables(b, n + 256);
}

static void
sparse_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	limit_fill(st->st_words, st->st_n, 0, 0);
	bench_begin(b);
	limit_zero(st->st_pages, st->st_words, st->st_n);
	bench_end(b);
}

static void
sparse_round(struct bench *b)
{
	struct state *const st = b->b_state;

	bench_begin(b);
	for (uint64_t i = 0; i < st->st_n; i++)
		bench_enter(b, i * 512 * PAGE, 0, PMAP_PROT_RW);
	bench_end(b);
	for (uint64_t i = 0; i < st->st_n; i += 97)
		verify(b, i * 512 * PAGE);
	after_round(b, st);
}

/* ---- Several CPUs ---------------------------------------------------------------------------- */

enum sharing {
	SCALE_DISJOINT, /* each in 2 GiB of its own */
	SCALE_TABLE,	/* in the same tables, every other page */
	SCALE_PAGE,	/* all of them the same pages */
};

struct crowd {
	struct bench *cr_b;
	unsigned int cr_n;
	sem_t cr_turn[64]; /* counting: posted when it is that thread's */
	uint64_t cr_each;
	double cr_ns[64];
};

static gpa_t
scale_gpa(const struct crowd *cr, unsigned int cpu, uint64_t i)
{
	switch ((enum sharing)cr->cr_b->b_row->br_param) {
	case SCALE_DISJOINT:
		return cpu * 2 * GIB + i * PAGE;
	case SCALE_TABLE:
		return (i * cr->cr_n + cpu) * PAGE;
	default:
		return i * PAGE;
	}
}

/* In the counting build one thread runs at a time, in turn, a fault each. */
static void
take_turn(struct crowd *cr, unsigned int cpu)
{
	while (counting(cr->cr_b) && sem_wait(&cr->cr_turn[cpu]) != 0)
		;
}

static void
pass_turn(struct crowd *cr, unsigned int cpu)
{
	if (counting(cr->cr_b))
		sem_post(&cr->cr_turn[(cpu + 1) % cr->cr_n]);
}

static void
scale_thread(void *arg, unsigned int cpu)
{
	struct crowd *const cr = arg;
	uint64_t start;

	(void)host_cpu();
	bench_meet(cr->cr_b, cr->cr_n);
	start = bench_thread_ns();
	for (uint64_t i = 0; i < cr->cr_each; i++) {
		take_turn(cr, cpu);
		bench_enter(cr->cr_b, scale_gpa(cr, cpu, i), 0, PMAP_PROT_RW);
		pass_turn(cr, cpu);
	}
	cr->cr_ns[cpu] = (double)(bench_thread_ns() - start) / (double)cr->cr_each;
}

static void
scale_run(struct bench *b, unsigned int n)
{
	struct state *const st = b->b_state;
	struct crowd cr = {.cr_b = b, .cr_n = n, .cr_each = st->st_n};
	double sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sem_init(&cr.cr_turn[i], 0, i == 0);
	bench_threads(b, n, scale_thread, &cr);
	for (unsigned int i = 0; i < n; i++)
		sum += cr.cr_ns[i];
	bench_add_ns(b, sum / n);
	verify(b, scale_gpa(&cr, n - 1, st->st_n - 1));
}

/* For the picture: how many CPUs, and what a fault then costs each of them. */
static void
scale_curve(struct bench *b)
{
	json_t *const curve = json_array();

	for (unsigned int n = 1; n <= b->b_cpus;
	     n = n < b->b_cpus && 2 * n > b->b_cpus ? b->b_cpus : 2 * n) {
		double best = 0;

		for (unsigned int i = 0; i < 3; i++) {
			b->b_ns = 0;
			scale_run(b, n);
			best = i == 0 || b->b_ns < best ? b->b_ns : best;
			bench_clear(b, 0, ((struct state *)b->b_state)->st_end);
		}
		json_array_append_new(curve, json_pack("[i, f]", (int)n, best));
	}
	b->b_extra = json_pack("{s:o}", "scaling", curve);
}

static void
scale_setup(struct bench *b)
{
	const uint64_t each = counting(b) ? 512 : 1 << 18;
	struct state *const st = state(b, each, (uint64_t)b->b_cpus * 2 * GIB);

	b->b_units = b->b_limit_units = 1;
	st->st_words = bench_alloc(b, each * b->b_cpus * sizeof(uint64_t));
	bench_tables(b, 2048 * (uint64_t)b->b_cpus);
	if (!counting(b))
		scale_curve(b);
}

static void
scale_limit(struct bench *b)
{
	scale_run(b, 1);
	bench_clear(b, 0, ((struct state *)b->b_state)->st_end);
}

static void
scale_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct bench_events ev;

	bench_events(&ev);
	scale_run(b, b->b_cpus);
	bench_events(&ev);
	if (counting(b)) {
		const double faults = (double)st->st_n * b->b_cpus;

		b->b_units = faults;
		bench_set_count(b, "locked", (double)ev.ev_locked);
		bench_set_count(b, "stores", (double)ev.ev_stores);
		bench_set_count(b, "shared_writes", (double)ev.ev_shared);
	}
	bench_clear(b, 0, st->st_end);
}

#define CAS "a compare-and-swap for each entry, in the same order"

const struct bench_row bench_rows_fault[] = {
	{"fault.seq", "1 M faults, ascending, tables made on demand", CAS, "ns/fault",
	 .br_target = {1.5, 1.5}, .br_mib = 128, .br_setup = dense_setup,
	 .br_limit_round = dense_limit, .br_round = dense_round},
	{"fault.rand", "1 M faults, shuffled, over 4 GiB", CAS, "ns/fault", .br_target = {2, 2},
	 .br_mib = 128, .br_param = 1, .br_setup = dense_setup, .br_limit_round = dense_limit,
	 .br_round = dense_round},
	{"fault.rand_dep", "faults one after another, anywhere in tables for 256 GiB",
	 "one dependent load from as much memory", "ns/fault", .br_target = {1.15, 1.15},
	 .br_mib = 1400, .br_setup = dep_setup, .br_limit_round = dep_limit, .br_round = dep_round},
	{"fault.sparse", "one fault in each 2 MiB", "a page cleared, and a compare-and-swap",
	 "ns/fault", .br_target = {1.3, 1.3}, .br_mib = 160, .br_setup = sparse_setup,
	 .br_limit_round = sparse_limit, .br_round = sparse_round},
	{"fault.scale", "a CPU's time for a fault while all CPUs fault, apart from each other",
	 "the same on one CPU alone", "ns/fault", .br_target = {1.053, 1.053}, .br_cpus = 2,
	 .br_mib = 128, .br_param = SCALE_DISJOINT, .br_setup = scale_setup,
	 .br_limit_round = scale_limit, .br_round = scale_round},
	{"fault.scale.table", "the same, in the same tables, every other page",
	 "the same on one CPU alone", "ns/fault", .br_target = {20, 20}, .br_cpus = 2,
	 .br_mib = 128, .br_param = SCALE_TABLE, .br_setup = scale_setup,
	 .br_limit_round = scale_limit, .br_round = scale_round},
	{"fault.scale.page", "the same, all of them the same pages", "the same on one CPU alone",
	 "ns/fault", .br_target = {20, 20}, .br_cpus = 2, .br_mib = 128, .br_param = SCALE_PAGE,
	 .br_setup = scale_setup, .br_limit_round = scale_limit, .br_round = scale_round},
	{0},
};
