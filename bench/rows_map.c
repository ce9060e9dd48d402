/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Ranges: mapping and unmapping much at once, superpages split and joined. Limits are bare loops of
 * stores over as many entries; unmapping must also look at each entry, for its dirty bit and for
 * the accounts.
 */

#include "bench/bench.h"
#include "bench/limit.h"

#include <stdlib.h>

struct state {
	uint64_t st_bytes;
	unsigned int st_level; /* of leaves */
	uint64_t st_n;	       /* leaves */
	uint64_t *st_words;
	const uint32_t *st_order;
};

/* How much, in GiB (the counting build does with one), and by which leaves; or in any order. */
#define PARAM(gib, level) ((gib) << 4 | (level))
#define SHUFFLED 8u

static void
setup(struct bench *b)
{
	struct state *const st = calloc(1, sizeof(*st));
	const unsigned int param = b->b_row->br_param;

	if (st == NULL)
		bench_lacks(b, "there is no memory");
	st->st_level = param & 7;
	st->st_bytes = b->b_tier == BENCH_COUNT ? GIB : (param >> 4) * GIB;
	st->st_n = st->st_bytes / pt_level_size(st->st_level);
	st->st_words = bench_alloc(b, st->st_n * sizeof(uint64_t));
	b->b_units = b->b_limit_units = (double)st->st_bytes / (double)GIB;
	b->b_state = st;
	bench_pmap(b, 0);
	bench_tables(b, st->st_n / 512 + st->st_bytes / GIB * 2 + 64);
}

static void
verify_mapped(struct bench *b, const struct state *st)
{
	const uint64_t size = pt_level_size(st->st_level);
	struct pmap_stats stats;
	struct pmap_leaf leaf;

	for (uint64_t i = 0; i < st->st_n; i += st->st_n / 64 + 1)
		bench_check(b,
			    pmap_extract(b->b_pm, i * size, &leaf) == 0 &&
				    leaf.pl_hpa == BENCH_HPA + i * size &&
				    leaf.pl_level == st->st_level,
			    "a page that was mapped is not there");
	pmap_stats(b->b_pm, &stats);
	bench_check(b, stats.st_resident_pages == st->st_bytes / PAGE,
		    "the accounts do not agree with what was mapped");
}

static void
verify_empty(struct bench *b, const struct state *st)
{
	struct pmap_stats stats;
	struct pmap_leaf leaf;

	for (uint64_t i = 0; i < st->st_bytes; i += st->st_bytes / 64)
		bench_check(b, pmap_extract(b->b_pm, i, &leaf) == -ENOENT,
			    "a page that was unmapped is there");
	pmap_stats(b->b_pm, &stats);
	/* Tables above the range's stay: it does not cover all that they could map. */
	bench_check(b, stats.st_resident_pages == 0 && stats.st_tables <= PT_LEVELS_MAX - 1,
		    "the accounts do not agree with what was unmapped");
}

/* ---- Mapping --------------------------------------------------------------------------------- */

static void
fill_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	bench_begin(b);
	limit_fill(st->st_words, st->st_n, 7, pt_level_size(st->st_level));
	bench_end(b);
}

static void
map_round(struct bench *b)
{
	struct state *const st = b->b_state;

	bench_begin(b);
	bench_map(b, 0, st->st_bytes, st->st_level);
	bench_end(b);
	verify_mapped(b, st);
	bench_clear(b, 0, st->st_bytes);
	verify_empty(b, st);
}

/* ---- Unmapping ------------------------------------------------------------------------------- */

static volatile uint64_t sink;

static void
unmap_limit(struct bench *b)
{
	struct state *const st = b->b_state;
	const uint64_t tables = st->st_n / 512;

	limit_fill(st->st_words, st->st_n, 7, PAGE);
	bench_begin(b);
	sink = limit_scan(st->st_words, st->st_n, (uint64_t)1 << 62);
	limit_xchg(st->st_words, NULL, tables);
	bench_end(b);
}

static void
unmap_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pmap_gather g;
	struct pmap_stats before;
	struct pmap_stats after;

	bench_map(b, 0, st->st_bytes, st->st_level);
	pmap_stats(b->b_pm, &before);
	bench_begin(b);
	pmap_gather_begin(&g, b->b_pm);
	pmap_remove(b->b_pm, 0, st->st_bytes, &g);
	pmap_gather_finish(&g);
	bench_end(b);
	pmap_stats(b->b_pm, &after);
	bench_check(b, after.st_shootdowns - before.st_shootdowns == 1,
		    "an unmap took more than one shootdown, or none");
	verify_empty(b, st);
	host_epoch_drain();
}

/* ---- A page at a time ------------------------------------------------------------------------ */

static void
one_setup(struct bench *b)
{
	struct state *st;

	setup(b);
	st = b->b_state;
	b->b_units = b->b_limit_units = (double)st->st_n;
	if (b->b_row->br_param & SHUFFLED)
		st->st_order = bench_shuffled(b, st->st_n);
}

static void
one_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	limit_fill(st->st_words, st->st_n, 7, PAGE);
	bench_begin(b);
	limit_xchg(st->st_words, st->st_order, st->st_n);
	bench_end(b);
}

/* All in one gather: what a page costs beside the shootdown. */
static void
one_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pmap_gather g;
	struct pmap_stats stats;

	bench_map(b, 0, st->st_bytes, 0);
	pmap_gather_begin(&g, b->b_pm);
	bench_begin(b);
	for (uint64_t i = 0; i < st->st_n; i++) {
		const gpa_t gpa = (st->st_order ? st->st_order[i] : i) * PAGE;

		pmap_remove(b->b_pm, gpa, gpa + PAGE, &g);
	}
	pmap_gather_finish(&g);
	bench_end(b);
	pmap_stats(b->b_pm, &stats);
	bench_check(b, stats.st_resident_pages == 0, "pages are left that were unmapped");
	bench_clear(b, 0, st->st_bytes);
}

/* ---- Superpages ------------------------------------------------------------------------------ */

static void
split_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pmap_gather g;

	bench_map(b, 0, st->st_bytes, 1);
	pmap_gather_begin(&g, b->b_pm);
	bench_begin(b);
	for (gpa_t gpa = 0; gpa < st->st_bytes; gpa += 2 * MIB)
		bench_check(b, pmap_demote(b->b_pm, gpa, 1, &g) == 0, "a superpage did not split");
	pmap_gather_finish(&g);
	bench_end(b);
	verify_mapped(b, st);
	bench_clear(b, 0, st->st_bytes);
}

static void
scan_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	bench_begin(b);
	sink = limit_scan(st->st_words, st->st_n, (uint64_t)1 << 62);
	bench_end(b);
}

static void
collapse_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pmap_gather g;
	struct pmap_stats stats;

	bench_map(b, 0, st->st_bytes, 0);
	pmap_gather_begin(&g, b->b_pm);
	bench_begin(b);
	for (gpa_t gpa = 0; gpa < st->st_bytes; gpa += 2 * MIB)
		bench_check(b, pmap_promote(b->b_pm, gpa, 1, &g) == 0, "512 pages did not join");
	pmap_gather_finish(&g);
	bench_end(b);
	pmap_stats(b->b_pm, &stats);
	bench_check(b, stats.st_leaves[1] == st->st_bytes / (2 * MIB) && stats.st_leaves[0] == 0,
		    "the accounts do not agree with what was joined");
	bench_clear(b, 0, st->st_bytes);
}

#define STORES "a store for each entry"

const struct bench_row bench_rows_map[] = {
	{"map.4k", "1 GiB by pages of 4 KiB", STORES, "us/GiB", .br_target = {1.25, 1.25},
	 .br_mib = 32, .br_param = PARAM(1, 0), .br_setup = setup, .br_limit_round = fill_limit,
	 .br_round = map_round},
	{"map.4k.cold", "64 GiB by pages of 4 KiB, more tables than caches hold", STORES, "us/GiB",
	 .br_target = {1.5, 1.5}, .br_mib = 400, .br_param = PARAM(64, 0), .br_setup = setup,
	 .br_limit_round = fill_limit, .br_round = map_round},
	{"map.2m", "64 GiB by pages of 2 MiB", STORES, "us/GiB", .br_target = {1.4, 1.4},
	 .br_mib = 32, .br_param = PARAM(64, 1), .br_setup = setup, .br_limit_round = fill_limit,
	 .br_round = map_round},
	{"unmap.4k", "1 GiB of 4 KiB pages, all dirty; its shootdown, no CPU in the guest",
	 "each entry read, and an exchange for each table", "us/GiB", .br_target = {1.4, 1.4},
	 .br_mib = 32, .br_param = PARAM(1, 0), .br_setup = setup, .br_limit_round = unmap_limit,
	 .br_round = unmap_round},
	{"unmap.4k.cold", "64 GiB of 4 KiB pages, likewise",
	 "each entry read, and an exchange for each table", "us/GiB", .br_target = {1.4, 1.4},
	 .br_mib = 400, .br_param = PARAM(64, 0), .br_setup = setup, .br_limit_round = unmap_limit,
	 .br_round = unmap_round},
	{"unmap.2m", "64 GiB of 2 MiB pages, likewise",
	 "each entry read, and an exchange for each table", "us/GiB", .br_target = {1.6, 1.6},
	 .br_mib = 32, .br_param = PARAM(64, 1), .br_setup = setup, .br_limit_round = unmap_limit,
	 .br_round = unmap_round},
	{"unmap.one.seq", "page by page, ascending, dirty bits kept, one gather",
	 "an exchange for each entry", "ns/page", .br_target = {1.3, 1.3}, .br_mib = 32,
	 .br_param = PARAM(1, 0), .br_setup = one_setup, .br_limit_round = one_limit,
	 .br_round = one_round},
	{"unmap.one.rand", "page by page, shuffled, dirty bits kept, one gather",
	 "an exchange for each entry, in the same order", "ns/page", .br_target = {1.8, 1.8},
	 .br_mib = 32, .br_param = PARAM(1, SHUFFLED), .br_setup = one_setup,
	 .br_limit_round = one_limit, .br_round = one_round},
	{"split", "1 GiB from 2 MiB to 4 KiB", STORES, "us/GiB", .br_target = {1.25, 1.25},
	 .br_mib = 32, .br_param = PARAM(1, 0), .br_setup = setup, .br_limit_round = fill_limit,
	 .br_round = split_round},
	{"collapse", "1 GiB from 4 KiB to 2 MiB", "each entry read", "us/GiB",
	 .br_target = {1.25, 1.25}, .br_mib = 32, .br_param = PARAM(1, 0), .br_setup = setup,
	 .br_limit_round = scan_limit, .br_round = collapse_round},
	{0},
};
