/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Accessed and modified bits, and rights: read and taken back over 1 GiB of 4 KiB pages, as for a
 * guest that runs. What a guest's hardware would set is set between rounds, by locked operations
 * on the entries.
 */

#include "bench/bench.h"
#include "bench/limit.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK (128 * MIB) /* of a round of migration */

/* Which pages were written to: every nth; 0: none. Of 1 GiB, or of more than caches hold. */
#define EVERY(n) (n)
#define COLD (1u << 16)
#define COLD_BYTES (16 * GIB)

struct state {
	uint64_t st_bytes;
	uint64_t st_pages;
	uint64_t *st_words; /* for the limit */
	uint64_t *st_bitmap;
	unsigned int st_every;
	unsigned int st_stop;
};

static void
setup(struct bench *b)
{
	struct state *const st = calloc(1, sizeof(*st));

	if (st == NULL)
		bench_lacks(b, "there is no memory");
	st->st_every = b->b_row->br_param & ~COLD;
	st->st_bytes = (b->b_row->br_param & COLD) && b->b_tier != BENCH_COUNT ? COLD_BYTES : GIB;
	st->st_pages = st->st_bytes / PAGE;
	st->st_words = bench_alloc(b, st->st_pages * sizeof(uint64_t));
	st->st_bitmap = bench_alloc(b, st->st_pages / 8);
	b->b_units = b->b_limit_units = (double)(st->st_bytes / GIB);
	b->b_state = st;
	bench_pmap(b, 0);
	bench_tables(b, st->st_pages / 512 + 64);
	for (gpa_t gpa = 0; gpa < st->st_bytes; gpa += PAGE)
		bench_enter(b, gpa, 0, PMAP_PROT_R);
}

static uint64_t
expected(const struct state *st)
{
	return st->st_every ? st->st_pages / st->st_every : 0;
}

/* ---- Limits ---------------------------------------------------------------------------------- */

#define BIT ((uint64_t)1 << 62)

static void
prepare(struct state *st)
{
	memset(st->st_words, 0, st->st_pages * sizeof(uint64_t));
	for (uint64_t i = 0; st->st_every && i < st->st_pages; i += st->st_every)
		st->st_words[i] = BIT;
}

static volatile uint64_t sink;

static void
scan_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	prepare(st);
	bench_begin(b);
	sink = limit_scan(st->st_words, st->st_pages, BIT);
	bench_end(b);
	bench_check(b, sink == expected(st), "the limit counted wrong");
}

/* Reads the entries of one table of the level above. */
static void
none_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	bench_begin(b);
	for (unsigned int i = 0; i < 64; i++)
		sink = limit_scan(st->st_words, 512, BIT);
	bench_end(b);
	b->b_limit_units = 64;
}

static void
clear_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	prepare(st);
	bench_begin(b);
	limit_clear(st->st_words, st->st_pages, ~BIT);
	bench_end(b);
}

static void
locked_limit(struct bench *b)
{
	struct state *const st = b->b_state;

	prepare(st);
	bench_begin(b);
	limit_and(st->st_words, st->st_pages, ~BIT);
	bench_end(b);
}

/* ---- Harvest --------------------------------------------------------------------------------- */

static void
touch(struct bench *b, struct state *st)
{
	bench_touch(b, 0, st->st_bytes, 1, false);
	if (st->st_every)
		bench_touch(b, 0, st->st_bytes, st->st_every, true);
}

static uint64_t
bits_in(const struct state *st)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < st->st_pages / 64; i++)
		n += (uint64_t)__builtin_popcountll(st->st_bitmap[i]);
	return n;
}

static void
harvest_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pmap_gather g;
	uint64_t found;
	bool modified;

	if (st->st_every)
		touch(b, st);
	memset(st->st_bitmap, 0, st->st_pages / 8);
	bench_begin(b);
	pmap_gather_begin(&g, b->b_pm);
	pmap_harvest(b->b_pm, 0, st->st_bytes, PMAP_HARVEST_MODIFIED, st->st_bitmap, &found, &g);
	pmap_gather_finish(&g);
	bench_end(b);
	bench_check(b, found == expected(st) && bits_in(st) == found,
		    "the dirty pages found are not those written to");
	pmap_is_modified(b->b_pm, 0, st->st_bytes, &modified);
	bench_check(b, !modified, "pages stayed dirty");
}

/* The guest has used it all, and is idle since; the harvests that find that out are over. */
static void
setup_idle(struct bench *b)
{
	struct state *st;

	setup(b);
	st = b->b_state;
	touch(b, st);
	for (unsigned int i = 0; i < 2; i++) {
		struct pmap_gather g;

		pmap_gather_begin(&g, b->b_pm);
		pmap_harvest(b->b_pm, 0, st->st_bytes, PMAP_HARVEST_MODIFIED, NULL, NULL, &g);
		pmap_gather_finish(&g);
		pmap_invalidate_all(b->b_pm);
	}
}

/* ---- Write-protection, aging ----------------------------------------------------------------- */

static void
protect_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pmap_gather g;
	struct pmap_leaf leaf;

	/* Writable again: enters over what is there, with a right more. */
	for (gpa_t gpa = 0; gpa < st->st_bytes; gpa += PAGE)
		bench_enter(b, gpa, 0, PMAP_PROT_R);
	touch(b, st);
	bench_begin(b);
	pmap_gather_begin(&g, b->b_pm);
	pmap_protect(b->b_pm, 0, st->st_bytes, PMAP_PROT_RX, &g);
	pmap_gather_finish(&g);
	bench_end(b);
	for (gpa_t gpa = 0; gpa < st->st_bytes; gpa += 997 * PAGE)
		bench_check(b,
			    pmap_extract(b->b_pm, gpa, &leaf) == 0 &&
				    !(leaf.pl_prot & PMAP_PROT_W) && !leaf.pl_modified,
			    "a page can still be written to");
}

static void
age_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pmap_gather g;
	uint64_t found;

	touch(b, st);
	bench_begin(b);
	pmap_gather_begin(&g, b->b_pm);
	pmap_ts_referenced(b->b_pm, 0, st->st_bytes, &found, &g);
	pmap_gather_finish(&g);
	bench_end(b);
	bench_check(b, found == st->st_pages, "pages that were accessed were not found");
}

/* ---- A round of migration -------------------------------------------------------------------- */

/*
 * The guest: writes to one page in 64, over and over, as hardware does.
 */
static void
writer(struct bench *b, struct state *st)
{
	const struct pt_fmt *const f = pmap_fmt(b->b_pm);
	const pt_entry_t bits = f->pf_a | f->pf_m | (f->pf_emulated_ad ? f->pf_hw_x : 0);

	for (gpa_t at = 0; !__atomic_load_n(&st->st_stop, __ATOMIC_RELAXED);
	     at = (at + 512 * PAGE) % st->st_bytes) {
		struct host_word *const words = bench_table(b, at, 0);

		bench_pass(b, at);
		for (unsigned int i = 0; i < HOST_TABLE_WORDS; i += 64)
			host_fetch_or(&words[i], bits);
	}
}

struct pair {
	struct bench *pa_b;
	uint64_t pa_gathers;
	double pa_ns;
};

static void
migrate(struct pair *pa)
{
	struct bench *const b = pa->pa_b;
	struct state *const st = b->b_state;
	const uint64_t start = bench_thread_ns();

	memset(st->st_bitmap, 0, st->st_pages / 8);
	for (gpa_t gpa = 0; gpa < st->st_bytes; gpa += CHUNK) {
		struct pmap_gather g;

		pmap_gather_begin(&g, b->b_pm);
		pmap_harvest(b->b_pm, gpa, gpa + CHUNK, PMAP_HARVEST_MODIFIED,
			     st->st_bitmap + gpa / PAGE / 64, NULL, &g);
		pmap_gather_finish(&g);
		pa->pa_gathers++;
	}
	pa->pa_ns = (double)(bench_thread_ns() - start);
}

static void
pair_thread(void *arg, unsigned int i)
{
	struct pair *const pa = arg;
	struct state *const st = pa->pa_b->b_state;

	bench_meet(pa->pa_b, 2);
	if (i == 1) {
		writer(pa->pa_b, st);
		return;
	}
	migrate(pa);
	__atomic_store_n(&st->st_stop, 1, __ATOMIC_RELAXED);
}

static void
migration_round(struct bench *b)
{
	struct state *const st = b->b_state;
	struct pair pa = {.pa_b = b};
	struct pmap_stats before;
	struct pmap_stats after;
	uint64_t found;

	touch(b, st);
	pmap_stats(b->b_pm, &before);
	st->st_stop = 0;
	if (b->b_tier == BENCH_COUNT) {
		bench_begin(b);
		migrate(&pa);
		bench_end(b);
	} else {
		bench_threads(b, 2, pair_thread, &pa);
		bench_add_ns(b, pa.pa_ns);
	}
	pmap_stats(b->b_pm, &after);
	bench_check(b, after.st_shootdowns - before.st_shootdowns <= pa.pa_gathers,
		    "more than one shootdown for a chunk");
	found = bits_in(st);
	bench_check(b, found >= expected(st), "pages were written to, and not found");
}

#define SCAN "each entry read"
#define COPY "each entry read and written back, by plain loads and stores"
#define LOCK "a locked operation for each entry"

const struct bench_row bench_rows_bits[] = {
	{"harvest.sparse", "dirty pages of 1 GiB, one in 64", SCAN, "us/GiB",
	 .br_target = {1.5, 1.5}, .br_mib = 16, .br_param = EVERY(64), .br_setup = setup,
	 .br_limit_round = scan_limit, .br_round = harvest_round},
	{"harvest.sparse.cold", "dirty pages of 16 GiB, one in 64, more tables than caches hold",
	 SCAN, "us/GiB", .br_target = {1.5, 1.5}, .br_mib = 160, .br_param = EVERY(64) | COLD,
	 .br_setup = setup, .br_limit_round = scan_limit, .br_round = harvest_round},
	{"harvest.dense", "dirty pages of 1 GiB, all of them", COPY, "us/GiB",
	 .br_target = {2.2, 4.2}, .br_mib = 16, .br_param = EVERY(1), .br_setup = setup,
	 .br_limit_round = clear_limit, .br_round = harvest_round},
	{"harvest.none", "dirty pages of 1 GiB, none", "each entry of the level above read",
	 "us/GiB", .br_target = {20, 20}, .br_mib = 16, .br_param = EVERY(0),
	 .br_setup = setup_idle, .br_limit_round = none_limit, .br_round = harvest_round},
	{"wrprot.live.dirty", "1 GiB write-protected, all pages dirty", LOCK, "us/GiB",
	 .br_target = {0.1, 0.1}, .br_mib = 16, .br_param = EVERY(1), .br_setup = setup,
	 .br_limit_round = locked_limit, .br_round = protect_round},
	{"wrprot.live.sparse", "1 GiB write-protected, one page in 64 dirty", LOCK, "us/GiB",
	 .br_target = {0.1, 0.1}, .br_mib = 16, .br_param = EVERY(64), .br_setup = setup,
	 .br_limit_round = locked_limit, .br_round = protect_round},
	{"wrprot.live.clean", "1 GiB write-protected, no page dirty", LOCK, "us/GiB",
	 .br_target = {0.1, 0.1}, .br_mib = 16, .br_param = EVERY(0), .br_setup = setup,
	 .br_limit_round = locked_limit, .br_round = protect_round},
	{"age.live", "accessed pages of 1 GiB, all of them, one in 64 dirty", LOCK, "us/GiB",
	 .br_target = {0.1, 0.1}, .br_mib = 16, .br_param = EVERY(64), .br_setup = setup,
	 .br_limit_round = locked_limit, .br_round = age_round},
	{"wrprot.live.cold", "16 GiB write-protected, one page in 64 dirty", LOCK, "us/GiB",
	 .br_target = {0.1, 0.1}, .br_mib = 160, .br_param = EVERY(64) | COLD, .br_setup = setup,
	 .br_limit_round = locked_limit, .br_round = protect_round},
	{"mig.round", "1 GiB harvested in chunks of 128 MiB while its guest writes", COPY, "us/GiB",
	 .br_target = {4.2, 4.2}, .br_cpus = 2, .br_mib = 16, .br_param = EVERY(64),
	 .br_setup = setup, .br_limit_round = clear_limit, .br_round = migration_round},
	{0},
};
