/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * M cleared by plain stores (docs/PROTOCOL-TLB.md, clause 1), in the simulator. One CPU clears, and
 * its stores wait in its buffer; another begins a generation of its own meanwhile and then asks for
 * M, too. When that one returns, no guest may go on writing by what it cached while M was set: the
 * write would be reported to nobody. Stamps, and one fence for all of a table's stores, see to it.
 */

#include "tests/unit/machine_util.h"
#include "pmap/pmap.h"

#define GPA ((gpa_t)0x40000000)
#define HPA ((hpa_t)0x10000000)
#define EPT_M ((uint64_t)1 << 9)
#define SEEDS 6000
#define STAYS 6 /* writes of the guest between two entries */

static struct {
	uint64_t bytes; /* that are asked about: a page, or its whole line */
	struct pmap *pmap;
	struct pmap_slot *slot;
	struct host_word *leaf;
	unsigned int returned; /* who has asked and got an answer */
	uint64_t cached;       /* writes by what was cached */
	uint64_t lost;	       /* of these, after everybody was told that the page is clean */
} t;

static void
set_up(void *arg)
{
	const struct pmap_config cfg = {
		.pc_type = PT_EPT,
		.pc_flags = PMAP_PDE_SUPERPAGE,
		.pc_caps = {.pc_levels = 4, .pc_leaf_levels = 2, .pc_phys_bits = 46},
	};
	const struct pmap_mapping m = {
		.pa_gpa = GPA,
		.pa_hpa = HPA,
		.pa_prot = PMAP_PROT_RW,
		.pa_access = PMAP_PROT_W,
	};
	uint64_t table;

	(void)arg;
	HOST_ASSERT(pmap_init(&cfg, &t.pmap) == 0 && pmap_enter(t.pmap, &m) == 0);
	pmap_slot_attach(t.pmap, t.slot);
	table = pmap_root(t.pmap);
	for (unsigned int level = 3; level > 0; level--)
		table = host_load(host_table_words(table) + (GPA >> (12 + 9 * level) & 511)) &
			0xffffffffff000;
	t.leaf = host_table_words(table) + (GPA >> 12 & 511);
	HOST_ASSERT(host_load(t.leaf) & EPT_M);
}

static void
tear_down(void *arg)
{
	(void)arg;
	pmap_slot_detach(t.pmap, t.slot);
	pmap_destroy(t.pmap);
}

static void
harvest(void)
{
	struct pmap_gather g;

	pmap_gather_begin(&g, t.pmap);
	HOST_ASSERT(pmap_clear_modify(t.pmap, GPA, GPA + t.bytes, &g) == 0);
	pmap_gather_finish(&g);
	t.returned++;
}

static void
clears(void *arg)
{
	(void)arg;
	harvest();
}

static void
flushes_and_clears(void *arg)
{
	(void)arg;
	pmap_invalidate_all(t.pmap);
	harvest();
}

/* Caches the entry with M, keeps it as long as nobody asks for a flush, and never sets M again. */
static void
guest(void *arg)
{
	bool cached = false;

	(void)arg;
	do {
		if (pmap_guest_enter(t.pmap, t.slot)) {
			cached = false;
			pmap_guest_flushed(t.slot);
		}
		for (unsigned int i = 0; i < STAYS; i++) {
			cached |= (host_load(t.leaf) & EPT_M) != 0;
			t.cached += cached;
			/* The second to return cleared nothing: M was clear, and it waited. */
			t.lost += cached && t.returned > 0;
			sim_point(SIM_USER, NULL);
		}
		pmap_guest_exit(t.slot);
	} while (t.returned < 2);
}

static void
two_clear(uint64_t bytes)
{
	uint64_t cached = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		const struct sim_config cfg = config(3, seed);
		struct pmap_slot slot = {0};

		memset(&t, 0, sizeof(t));
		t.bytes = bytes;
		t.slot = &slot;
		run_between(&cfg, set_up, (program_fn[]){clears, flushes_and_clears, guest},
			    tear_down);
		cr_assert_eq(t.lost, 0, "seed %llu: %llu writes that nobody reports",
			     (unsigned long long)seed, (unsigned long long)t.lost);
		cached += t.cached;
	}
	cr_assert_gt(cached, 0);
}

Test(clean, nobody_writes_by_what_was_cached_before)
{
	two_clear(HOST_PAGE_SIZE);
}

/* Only one of its eight leaves is there: the stores of a line have a fence of their own. */
Test(clean, nor_where_a_line_was_cleared)
{
	two_clear(8 * HOST_PAGE_SIZE);
}
