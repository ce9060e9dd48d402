/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Walks: from a guest-physical address to its frame, anywhere in more and more tables. The limit is
 * the one load that must be made, of the leaf's entry.
 */

#include "bench/bench.h"
#include "bench/limit.h"

#include <jansson.h>
#include <stdlib.h>

#define LOOKUPS ((uint64_t)1 << 18)

struct state {
	uint64_t st_pages; /* mapped */
	uint32_t *st_order;
	uint64_t st_lines; /* of the limit's words */
	uint32_t *st_limit_order;
	uint64_t *st_words;
	uint64_t st_first;
	bool st_dependent;
};

/* MiB that are mapped, and whether each walk waits for the one before. */
#define PARAM(mib, dependent) ((mib) << 1 | (dependent))

/*
 * A page in each table is entered; the others' entries are written as hardware would find them.
 * Much faster than entering millions, and the same to a walk; this pmap is never destroyed.
 */
static void
fill(struct bench *b, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i += 512) {
		struct host_word *words;
		pt_entry_t pte;

		bench_enter(b, i * PAGE, 0, PMAP_PROT_RW);
		words = bench_table(b, i * PAGE, 0);
		pte = host_load(&words[0]);
		for (unsigned int k = 1; k < 512; k++)
			host_store(&words[k], pte + k * PAGE);
	}
}

/* The least that a limit loads from: what the second cache holds, as tables of the hot row do. */
#define LEAST (2 * MIB / 64)

static uint32_t *
shuffled_lines(struct bench *b, uint64_t lines)
{
	uint32_t *const order = bench_shuffled(b, lines);

	for (uint64_t i = 0; i < lines; i++)
		order[i] = order[i] * 8 + order[i] % 8;
	return order;
}

static void
setup(struct bench *b)
{
	struct state *const st = calloc(1, sizeof(*st));
	const uint64_t mib = b->b_tier == BENCH_COUNT ? 128 : b->b_row->br_param >> 1;
	uint64_t lines;

	if (st == NULL)
		bench_lacks(b, "there is no memory");
	st->st_pages = mib * MIB / PAGE;
	st->st_dependent = b->b_row->br_param & 1;
	lines = st->st_pages / 8;
	b->b_units = b->b_limit_units = (double)LOOKUPS;
	b->b_state = st;
	bench_pmap(b, 0);
	bench_tables(b, st->st_pages / 512 + mib / 1024 + 64);
	fill(b, st->st_pages);

	/* One entry of each line, so that what a walk brought in is of no use to the next. */
	st->st_order = shuffled_lines(b, lines);
	st->st_lines = lines > LEAST ? lines : LEAST;
	st->st_limit_order = st->st_lines == lines ? st->st_order : shuffled_lines(b, LEAST);
	st->st_words = bench_alloc(b, st->st_lines * 8 * sizeof(uint64_t));
	for (uint64_t i = 0; i < st->st_lines; i++)
		st->st_words[st->st_limit_order[i]] = st->st_limit_order[(i + 1) % st->st_lines];
}

/* Which lookups: the next ones, round by round. */
static uint64_t
window(struct state *st, uint64_t lines)
{
	st->st_first = st->st_first + 2 * LOOKUPS <= lines ? st->st_first + LOOKUPS : 0;
	return st->st_first;
}

static volatile uint64_t sink;

static void
limit_round(struct bench *b)
{
	struct state *const st = b->b_state;
	const uint64_t from = window(st, st->st_lines);
	static uint64_t at = ~(uint64_t)0;

	if (at == ~(uint64_t)0)
		at = st->st_limit_order[0];

	bench_begin(b);
	if (st->st_dependent)
		at = limit_chase(st->st_words, at, LOOKUPS);
	for (uint64_t done = 0; !st->st_dependent && done < LOOKUPS; done += st->st_lines)
		sink = limit_loads(st->st_words, st->st_limit_order + from,
				   st->st_lines < LOOKUPS ? st->st_lines : LOOKUPS);
	bench_end(b);
}

/* Beside the row, for the record: what four loads cost, one after another, and nothing else. */
static void
bare_round(struct bench *b, const struct state *st, uint64_t from, uint64_t n)
{
	const uint64_t root = pmap_root(b->b_pm);
	const char *const base = (const char *)host_table_words(root) - root;
	uint64_t started;
	double ns;

	if (b->b_tier == BENCH_COUNT)
		return;
	started = bench_thread_ns();
	sink = limit_walk(base, root, st->st_order + from, n);
	ns = (double)(bench_thread_ns() - started) / (double)n;
	if (b->b_extra == NULL)
		b->b_extra = json_object();
	if (json_object_get(b->b_extra, "bare_walk_ns") == NULL ||
	    json_number_value(json_object_get(b->b_extra, "bare_walk_ns")) > ns)
		json_object_set_new(b->b_extra, "bare_walk_ns", json_real(ns));
}

static void
walk_round(struct bench *b)
{
	struct state *const st = b->b_state;
	const uint64_t lines = st->st_pages / 8;
	const uint64_t from = window(st, lines);
	uint64_t wrong = 0;

	bare_round(b, st, from, lines - from < LOOKUPS ? lines - from : LOOKUPS);

	bench_begin(b);
	for (uint64_t i = 0; i < LOOKUPS; i++) {
		const gpa_t gpa = (uint64_t)st->st_order[(from + i) % lines] * PAGE;
		struct pmap_leaf leaf;

		pmap_extract(b->b_pm, gpa, &leaf);
		wrong |= leaf.pl_hpa ^ (BENCH_HPA + gpa);
	}
	bench_end(b);
	bench_check(b, wrong == 0, "a walk found another frame");
}

/* The next address is that of the frame found, by a ring in the order of frames. */
static void
chain_round(struct bench *b)
{
	struct state *const st = b->b_state;
	const uint64_t lines = st->st_pages / 8;
	const uint64_t from = window(st, lines);
	uint64_t wrong = 0;
	uint64_t carry = 0;

	bench_begin(b);
	for (uint64_t i = 0; i < LOOKUPS; i++) {
		/* carry is always 0, but that is known only when the walk before has ended. */
		const gpa_t gpa = ((uint64_t)st->st_order[(from + i) % lines] + carry) * PAGE;
		struct pmap_leaf leaf;

		pmap_extract(b->b_pm, gpa, &leaf);
		carry = leaf.pl_hpa - BENCH_HPA - gpa;
		wrong |= carry;
	}
	bench_end(b);
	bench_check(b, wrong == 0, "a walk found another frame");
}

#define LOAD "one load from as much memory"

const struct bench_row bench_rows_walk[] = {
	{"walk.hot", "lookups anywhere in 128 MiB", "one load from 2 MiB", "ns/walk",
	 .br_target = {2.2, 2.2}, .br_mib = 16, .br_param = PARAM(128, 0), .br_setup = setup,
	 .br_limit_round = limit_round, .br_round = walk_round},
	{"walk.16G", "lookups anywhere in 16 GiB", LOAD, "ns/walk", .br_target = {3.5, 3.5},
	 .br_mib = 128, .br_param = PARAM(16384, 0), .br_setup = setup,
	 .br_limit_round = limit_round, .br_round = walk_round},
	{"walk.256G", "lookups anywhere in 256 GiB", LOAD, "ns/walk", .br_target = {3.5, 3.5},
	 .br_mib = 1200, .br_param = PARAM(262144, 0), .br_setup = setup,
	 .br_limit_round = limit_round, .br_round = walk_round},
	{"walk.dep", "lookups one after another, anywhere in 256 GiB",
	 "one dependent load from as much memory", "ns/walk", .br_target = {1.1, 1.1},
	 .br_mib = 1200, .br_param = PARAM(262144, 1), .br_setup = setup,
	 .br_limit_round = limit_round, .br_round = chain_round},
	{0},
};
