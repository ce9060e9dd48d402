/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What rows are made of: the types, pmaps, tables in memory, and a stand-in for the hardware that
 * sets A and M.
 */

#include "bench/bench.h"

#include <stdlib.h>
#include <sys/mman.h>

/* IA32_PAT at reset (Intel SDM vol. 3A, 12.12.4). */
#define PAT_RESET 0x0007040600070406

const struct bench_arch bench_arches[] = {
	{"ept",
	 PT_EPT,
	 {.pc_levels = 4, .pc_leaf_levels = 3, .pc_phys_bits = 46},
	 PMAP_PDE_SUPERPAGE},
	{"ept-noad",
	 PT_EPT,
	 {.pc_levels = 4, .pc_leaf_levels = 3, .pc_phys_bits = 46, .pc_emulate_ad = true},
	 PMAP_PDE_SUPERPAGE | PMAP_EMULATE_AD_BITS},
	{"rvi",
	 PT_RVI,
	 {.pc_pat = PAT_RESET,
	  .pc_levels = 4,
	  .pc_leaf_levels = 3,
	  .pc_phys_bits = 48,
	  .pc_nx = true},
	 PMAP_PDE_SUPERPAGE},
};
const unsigned int bench_narches = sizeof(bench_arches) / sizeof(bench_arches[0]);

struct pmap *
bench_pmap(struct bench *b, unsigned int flags)
{
	const struct pmap_config cfg = {
		.pc_type = b->b_arch->ba_type,
		.pc_flags = b->b_arch->ba_flags | flags,
		.pc_caps = b->b_arch->ba_caps,
	};

	if (pmap_init(&cfg, &b->b_pm) != 0)
		bench_lacks(b, "there is no memory for a pmap");
	return b->b_pm;
}

/* Asks for huge pages where [p, p + bytes) is; no matter if there are none. */
static void
huge(void *p, uint64_t bytes)
{
	const uintptr_t start = (uintptr_t)p & ~(uintptr_t)(PAGE - 1);

	(void)madvise((void *)start, (uintptr_t)p + bytes - start, MADV_HUGEPAGE);
}

/*
 * The host makes its arena usable as it grows, in steps smaller than a huge page; so first all of
 * it is fetched without being touched, then huge pages are asked for, and giving the tables back
 * touches them.
 */
void
bench_tables(const struct bench *b, uint64_t n)
{
	uint64_t *const pages = calloc(n, sizeof(*pages));
	uint64_t low = ~(uint64_t)0;
	uint64_t high = 0;

	if (pages == NULL)
		bench_lacks(b, "there is no memory");
	for (uint64_t i = 0; i < n; i++) {
		if (!host_table_alloc(&pages[i]))
			bench_lacks(b, "there is no memory for page tables");
		low = pages[i] < low ? pages[i] : low;
		high = pages[i] > high ? pages[i] : high;
	}
	if (n > 0) {
		huge(host_table_words(low), high - low + PAGE);
		huge(host_table_desc(low), (high - low) / PAGE * HOST_TABLE_DESC_BYTES);
	}
	for (uint64_t i = n; i-- > 0;)
		host_table_free(pages[i]);
	free(pages);
}

static struct pmap_mapping
mapping_of(gpa_t gpa, unsigned int level, unsigned int access)
{
	return (struct pmap_mapping){
		.pa_gpa = gpa,
		.pa_hpa = BENCH_HPA + gpa,
		.pa_prot = PMAP_PROT_RWX,
		.pa_access = access,
		.pa_level = level,
	};
}

void
bench_enter(struct bench *b, gpa_t gpa, unsigned int level, unsigned int access)
{
	const struct pmap_mapping m = mapping_of(gpa, level, access);

	bench_check(b, pmap_enter(b->b_pm, &m) == 0, "a page could not be entered");
}

void
bench_map(struct bench *b, gpa_t start, gpa_t end, unsigned int level)
{
	const struct pmap_mapping m = mapping_of(start, level, PMAP_PROT_RW);
	const uint64_t n = (end - start) >> pt_level_shift(level);
	uint64_t done = 0;

	bench_check(b, pmap_enter_run(b->b_pm, &m, n, &done) == 0 && done == n,
		    "a range could not be entered");
}

void
bench_clear(struct bench *b, gpa_t start, gpa_t end)
{
	struct pmap_gather g;

	pmap_gather_begin(&g, b->b_pm);
	bench_check(b, pmap_remove(b->b_pm, start, end, &g) == 0, "a range could not be removed");
	pmap_gather_finish(&g);
	host_epoch_drain();
}

struct host_word *
bench_table(struct bench *b, gpa_t gpa, unsigned int level)
{
	const struct pt_fmt *const f = pmap_fmt(b->b_pm);
	const unsigned int depth = f->pf_levels - 1u - level;
	pt_entry_t entries[PT_LEVELS_MAX];
	unsigned int n;

	bench_check(b, pmap_walk(b->b_pm, gpa, entries, &n) == 0 && n > depth,
		    "a table is not there");
	return host_table_words(depth == 0 ? pmap_root(b->b_pm) : entries[depth - 1] & f->pf_addr);
}

void
bench_pass(struct bench *b, gpa_t gpa)
{
	const pt_entry_t PG_A = pmap_fmt(b->b_pm)->pf_table_a;
	struct host_word *const w = &bench_table(b, gpa, 1)[pt_index(gpa, 1)];

	if (~host_load(w) & PG_A)
		host_fetch_or(w, PG_A);
}

void
bench_touch(struct bench *b, gpa_t start, gpa_t end, unsigned int every, bool dirty)
{
	const struct pt_fmt *const f = pmap_fmt(b->b_pm);
	const pt_entry_t bits =
		f->pf_a | (dirty ? f->pf_m : 0) | (f->pf_emulated_ad ? f->pf_hw_x : 0);

	for (gpa_t table = start; table < end; table += 512 * PAGE) {
		struct host_word *const words = bench_table(b, table, 0);

		bench_pass(b, table);
		for (unsigned int i = 0; i < HOST_TABLE_WORDS; i += every) {
			if (host_load(&words[i]) & f->pf_valid)
				host_fetch_or(&words[i], bits);
		}
	}
}
