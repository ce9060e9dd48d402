/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Memory: what tables take, what describing them takes, and what is left when all is unmapped.
 * Exact, so each row makes one round, and its limit is what the figure must be.
 */

#include "bench/bench.h"

/* Tables that a space needs by nature: the root, and one of each level for each that is used. */
static double
tables_for(const struct bench *b, uint64_t bytes, unsigned int leaf_level)
{
	const unsigned int levels = pmap_fmt(b->b_pm)->pf_levels;
	uint64_t n = 0;

	for (unsigned int level = leaf_level; level < levels; level++) {
		const uint64_t reach = pt_level_size(level) << 9;

		n += (bytes + reach - 1) / reach;
	}
	return (double)(n * PAGE);
}

static void
setup(struct bench *b)
{
	bench_pmap(b, 0);
}

static void
no_limit(struct bench *b)
{
	(void)b;
}

static void
size_round(struct bench *b)
{
	const unsigned int level = b->b_row->br_param;

	bench_map(b, 0, GIB, level);
	bench_value(b, (double)(pmap_table_pages(b->b_pm) * PAGE), tables_for(b, GIB, level));
	bench_clear(b, 0, pmap_fmt(b->b_pm)->pf_limit);
	bench_check(b, pmap_table_pages(b->b_pm) == 1 && host_posix_tables_in_use() == 1,
		    "tables are left when all is unmapped");
	bench_set_count(b, "left_after_unmap", (double)(host_posix_tables_in_use() - 1));
}

/* For each table a descriptor; the pmap itself is shared by all of them. */
static void
meta_round(struct bench *b)
{
	bench_value(b, HOST_TABLE_DESC_BYTES, (double)PAGE * 0.016);
}

/* Maps and unmaps a table's worth, over and over: what waits for the epoch stays bounded. */
static void
leak_round(struct bench *b)
{
	uint64_t most = 0;

	for (unsigned int i = 0; i < 20000; i++) {
		const gpa_t gpa = (i % 64) * 2 * MIB;
		struct pmap_gather g;
		uint64_t waiting;

		bench_enter(b, gpa, 0, PMAP_PROT_RW);
		pmap_gather_begin(&g, b->b_pm);
		pmap_remove(b->b_pm, gpa, gpa + 2 * MIB, &g);
		pmap_gather_finish(&g);
		waiting = host_posix_deferred();
		most = waiting > most ? waiting : most;
	}
	bench_clear(b, 0, pmap_fmt(b->b_pm)->pf_limit);
	bench_check(b, host_posix_deferred() == 0 && pmap_table_pages(b->b_pm) == 1,
		    "tables are left after churn");
	/* Two batches of 64, and the gather that fills the second one. */
	bench_value(b, (double)most, 2 * 64);
}

const struct bench_row bench_rows_mem[] = {
	{"mem.4k", "tables for 1 GiB of 4 KiB pages", "what the format needs", "B",
	 .br_target = {1, 1}, .br_mib = 16, .br_param = 0, .br_exact = true, .br_setup = setup,
	 .br_limit_round = no_limit, .br_round = size_round},
	{"mem.2m", "tables for 1 GiB of 2 MiB pages", "what the format needs", "B",
	 .br_target = {1, 1}, .br_mib = 16, .br_param = 1, .br_exact = true, .br_setup = setup,
	 .br_limit_round = no_limit, .br_round = size_round},
	{"mem.meta", "what describes a table", "1.6 % of it", "B", .br_target = {1, 1},
	 .br_mib = 16, .br_exact = true, .br_any_arch = true, .br_setup = setup,
	 .br_limit_round = no_limit, .br_round = meta_round},
	{"leak", "most tables that ever waited for the epoch, under churn", "two batches of a CPU",
	 "tables", .br_target = {1, 1}, .br_mib = 16, .br_exact = true, .br_setup = setup,
	 .br_limit_round = no_limit, .br_round = leak_round},
	{0},
};
