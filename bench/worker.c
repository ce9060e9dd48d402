/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One row, of one type, in a process of its own.
 *
 *   worker list                         the rows, as JSON
 *   worker ROW ARCH CPUS MILLISECONDS   runs it; one JSON object on standard output
 *
 * Rounds of limit and workload alternate until the time is over, three at least, after one of each
 * that does not count. A counting build makes one round.
 */

#include "bench/bench.h"
#include "bench/perf.h"

#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <time.h>

#ifndef BENCH_TIER
#define BENCH_TIER BENCH_NATIVE
#endif

#define ROUNDS_MIN 3

static const struct bench_row *const tables[] = {
	bench_rows_fault, bench_rows_map, bench_rows_walk, bench_rows_bits, bench_rows_mem,
};

static struct pmap_stats stats_before;

/* ---- Time ----------------------------------------------------------------------------------- */

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t
bench_thread_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t
bench_wall_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void
bench_add_ns(struct bench *b, double ns)
{
	b->b_ns += ns;
}

void
bench_begin(struct bench *b)
{
	struct bench_events ev;

	if (BENCH_TIER == BENCH_COUNT) {
		if (b->b_pm != NULL)
			pmap_stats(b->b_pm, &stats_before);
		bench_events(&ev);
	}
	bench_perf_start();
	b->b_started_ns = bench_thread_ns();
}

static void
add_count(struct bench *b, const char *name, double value)
{
	for (unsigned int i = 0; i < b->b_ncounts; i++) {
		if (strcmp(b->b_counts[i].bc_name, name) == 0) {
			b->b_counts[i].bc_value += value;
			return;
		}
	}
	if (b->b_ncounts < BENCH_COUNTS_MAX)
		b->b_counts[b->b_ncounts++] = (struct bench_count){name, value};
}

void
bench_end(struct bench *b)
{
	b->b_ns += (double)(bench_thread_ns() - b->b_started_ns);
	bench_perf_stop();
	if (BENCH_TIER != BENCH_COUNT)
		return;

	struct bench_events ev;
	struct pmap_stats after;

	bench_events(&ev);
	add_count(b, "locked", (double)ev.ev_locked);
	add_count(b, "fences", (double)ev.ev_fences);
	add_count(b, "stores", (double)ev.ev_stores);
	add_count(b, "shared_writes", (double)ev.ev_shared);
	if (b->b_pm == NULL)
		return;
	pmap_stats(b->b_pm, &after);
	add_count(b, "shootdowns", (double)(after.st_shootdowns - stats_before.st_shootdowns));
	add_count(b, "kicks", (double)(after.st_kicks - stats_before.st_kicks));
	add_count(b, "table_bytes",
		  ((double)after.st_tables - (double)stats_before.st_tables) * (double)PAGE);
}

void
bench_set_count(struct bench *b, const char *name, double value)
{
	add_count(b, name, 0);
	for (unsigned int i = 0; i < b->b_ncounts; i++) {
		if (strcmp(b->b_counts[i].bc_name, name) == 0)
			b->b_counts[i].bc_value = value;
	}
}

void
bench_value(struct bench *b, double value, double limit)
{
	b->b_value = value;
	b->b_exact_limit = limit;
}

/* ---- Ends ----------------------------------------------------------------------------------- */

void
bench_wrong(const struct bench *b, const char *what)
{
	fprintf(stderr, "pmap-bench: %s, %s: wrong: %s\n", b->b_row->br_name, b->b_arch->ba_name,
		what);
	exit(EX_SOFTWARE);
}

void
bench_lacks(const struct bench *b, const char *what)
{
	fprintf(stderr, "pmap-bench: %s cannot run here: %s\n", b->b_row->br_name, what);
	exit(EX_TEMPFAIL);
}

/* ---- Memory and threads --------------------------------------------------------------------- */

void *
bench_alloc(const struct bench *b, size_t bytes)
{
	const size_t rounded = (bytes + 2 * MIB - 1) & ~(size_t)(2 * MIB - 1);
	void *const p = aligned_alloc(2 * MIB, rounded);

	if (p == NULL)
		bench_lacks(b, "there is no memory");
	madvise(p, rounded, MADV_HUGEPAGE);
	memset(p, 0, rounded);
	return p;
}

uint32_t *
bench_shuffled(const struct bench *b, uint64_t n)
{
	uint32_t *const order = bench_alloc(b, n * sizeof(*order));
	uint64_t x = 88172645463325252;

	for (uint64_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	for (uint64_t i = n; i-- > 1;) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		const uint64_t j = x % (i + 1);
		const uint32_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	return order;
}

struct job {
	pthread_t jo_thread;
	unsigned int jo_index;
	unsigned int jo_cpu;
	void (*jo_fn)(void *arg, unsigned int i);
	void *jo_arg;
};

/* The nth CPU that this process was given. */
static unsigned int
nth_cpu(const cpu_set_t *set, unsigned int n)
{
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, set) && n-- == 0)
			return cpu;
	}
	return 0;
}

static cpu_set_t given;
static unsigned int meeting; /* how many have come */

static void
pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static void *
run_job(void *arg)
{
	struct job *const job = arg;

	pin(job->jo_cpu);
	job->jo_fn(job->jo_arg, job->jo_index);
	return NULL;
}

void
bench_threads(const struct bench *b, unsigned int n, void (*fn)(void *arg, unsigned int i),
	      void *arg)
{
	struct job jobs[64];

	__atomic_store_n(&meeting, 0, __ATOMIC_SEQ_CST);
	bench_check(b, n <= 64, "more threads than there can be");
	for (unsigned int i = 0; i < n; i++) {
		jobs[i] = (struct job){.jo_index = i,
				       .jo_cpu = nth_cpu(&given, i % (unsigned)CPU_COUNT(&given)),
				       .jo_fn = fn,
				       .jo_arg = arg};
		if (pthread_create(&jobs[i].jo_thread, NULL, run_job, &jobs[i]) != 0)
			bench_lacks(b, "a thread could not be started");
	}
	for (unsigned int i = 0; i < n; i++)
		pthread_join(jobs[i].jo_thread, NULL);
}

void
bench_meet(struct bench *b, unsigned int n)
{
	(void)b;
	__atomic_fetch_add(&meeting, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&meeting, __ATOMIC_ACQUIRE) < n)
		sched_yield();
}

/* ---- Rounds --------------------------------------------------------------------------------- */

struct series {
	unsigned int se_n;
	double se_ns[BENCH_ROUNDS_MAX];
};

static int
by_value(const void *a, const void *b)
{
	const double x = *(const double *)a;
	const double y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
one_round(struct bench *b, bool limit)
{
	b->b_ns = 0;
	if (limit)
		b->b_row->br_limit_round(b);
	else
		b->b_row->br_round(b);
	return b->b_ns / (limit ? b->b_limit_units : b->b_units) /
	       (b->b_row->br_unit[0] == 'u' ? 1000 : 1);
}

static json_t *
series_json(struct series *s)
{
	json_t *const rounds = json_array();
	json_t *const out = json_object();

	for (unsigned int i = 0; i < s->se_n; i++)
		json_array_append_new(rounds, json_real(s->se_ns[i]));
	qsort(s->se_ns, s->se_n, sizeof(s->se_ns[0]), by_value);
	json_object_set_new(out, "best", json_real(s->se_ns[0]));
	json_object_set_new(out, "median", json_real(s->se_ns[s->se_n / 2]));
	json_object_set_new(out, "rounds", rounds);
	return out;
}

static void
time_row(struct bench *b, unsigned int ms, json_t *out)
{
	static struct series limit;
	static struct series work;
	json_t *hardware = NULL;

	one_round(b, true);
	one_round(b, false);

	const uint64_t end = bench_wall_ns() + (uint64_t)ms * 1000000;

	for (unsigned int i = 0; i < ROUNDS_MIN || (i < BENCH_ROUNDS_MAX && bench_wall_ns() < end);
	     i++) {
		limit.se_ns[limit.se_n++] = one_round(b, true);
		work.se_ns[work.se_n++] = one_round(b, false);
	}
	if (bench_perf_open()) {
		one_round(b, false);
		hardware = bench_perf_json(b->b_units);
	}
	json_object_set_new(out, "limit", series_json(&limit));
	json_object_set_new(out, "value", series_json(&work));
	if (hardware != NULL)
		json_object_set_new(out, "hardware", hardware);
}

static json_t *
exact_json(double value)
{
	return json_pack("{s:f, s:f}", "best", value, "median", value);
}

static int
run(struct bench *b, unsigned int ms)
{
	json_t *const out = json_object();
	json_t *const counts = json_object();

	pin(b->b_home);
	bench_perf_close();
	b->b_units = b->b_limit_units = 1;
	b->b_row->br_setup(b);
	if (b->b_row->br_exact || b->b_tier == BENCH_COUNT)
		one_round(b, false);
	else
		time_row(b, ms, out);
	if (b->b_row->br_exact) {
		json_object_set_new(out, "limit", exact_json(b->b_exact_limit));
		json_object_set_new(out, "value", exact_json(b->b_value));
	}
	for (unsigned int i = 0; i < b->b_ncounts; i++)
		json_object_set_new(counts, b->b_counts[i].bc_name,
				    json_real(b->b_counts[i].bc_value));
	json_object_set_new(out, "counts", counts);
	json_object_set_new(out, "units", json_real(b->b_units));
	if (b->b_extra != NULL)
		json_object_set(out, "extra", b->b_extra);
	json_dumpf(out, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
	putchar('\n');
	fflush(stdout);
	/* The kernel takes it all back at once. */
	_Exit(ferror(stdout) ? EX_IOERR : 0);
}

/* ---- Which row ------------------------------------------------------------------------------ */

static json_t *
row_json(const struct bench_row *r)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:b, s:b}", "name", r->br_name,
			 "what", r->br_what, "limit", r->br_limit, "unit", r->br_unit,
			 "target_native", r->br_target[0], "target_kernel", r->br_target[1], "cpus",
			 (int)(r->br_cpus ? r->br_cpus : 1), "mib", (int)r->br_mib, "any_arch",
			 r->br_any_arch, "exact", r->br_exact);
}

static int
list(void)
{
	json_t *const out = json_array();

	for (unsigned int t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct bench_row *r = tables[t]; r->br_name != NULL; r++)
			json_array_append_new(out, row_json(r));
	}
	json_dumpf(out, stdout, JSON_COMPACT);
	putchar('\n');
	return 0;
}

static const struct bench_row *
row_named(const char *name)
{
	for (unsigned int t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct bench_row *r = tables[t]; r->br_name != NULL; r++) {
			if (strcmp(r->br_name, name) == 0)
				return r;
		}
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	static struct bench b;

	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return list();
	if (argc != 5) {
		fprintf(stderr, "%s: started by pmap-bench; run that\n", argv[0]);
		return EX_USAGE;
	}
	sched_getaffinity(0, sizeof(given), &given);
	b.b_row = row_named(argv[1]);
	for (unsigned int i = 0; i < bench_narches; i++) {
		if (strcmp(bench_arches[i].ba_name, argv[2]) == 0)
			b.b_arch = &bench_arches[i];
	}
	b.b_tier = BENCH_TIER;
	b.b_cpus = (unsigned int)strtoul(argv[3], NULL, 10);
	b.b_home = (unsigned int)sched_getcpu();
	if (b.b_row == NULL || b.b_arch == NULL || b.b_cpus == 0)
		return EX_USAGE;
	return run(&b, (unsigned int)strtoul(argv[4], NULL, 10));
}
