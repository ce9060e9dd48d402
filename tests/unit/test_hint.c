/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The table that a fault remembers (docs/PROTOCOL-TLB.md, clause 11), on simulated CPUs. One takes
 * a table out of the tree; a second sees a page gone, and later enters it anew, in another table;
 * each time it tells a third, which has been faulting beside that page and remembers the old table.
 * What that one is told must be true for it. In the simulator's workload a table seldom goes at
 * just that moment.
 */

#include "tests/unit/machine_util.h"
#include "pmap/pmap.h"

#define REGION ((gpa_t)0x40000000)
#define REGION_SIZE ((uint64_t)1 << 21)
#define BESIDE REGION
#define GPA (REGION + 100 * HOST_PAGE_SIZE)
#define HPA ((hpa_t)0x10000000)
#define ROUNDS 12
#define SEEDS 300

static struct {
	struct pmap *pmap;
	struct host_word round; /* the table goes */
	struct host_word told;	/* 2 * round: the page is gone; + 1: there again */
	struct host_word asked; /* the last that was told and found true */
	uint64_t wrong;
} t;

static int
enter(gpa_t gpa)
{
	const struct pmap_mapping m = {
		.pa_gpa = gpa,
		.pa_hpa = HPA + gpa - REGION,
		.pa_prot = PMAP_PROT_RW,
		.pa_access = PMAP_PROT_R,
	};

	return pmap_enter(t.pmap, &m);
}

static void
set_up(void *arg)
{
	const struct pmap_config cfg = {
		.pc_type = PT_EPT,
		.pc_flags = PMAP_PDE_SUPERPAGE,
		.pc_caps = {.pc_levels = 4, .pc_leaf_levels = 2, .pc_phys_bits = 46},
	};

	(void)arg;
	HOST_ASSERT(pmap_init(&cfg, &t.pmap) == 0);
	HOST_ASSERT(enter(GPA) == 0);
}

static void
tear_down(void *arg)
{
	(void)arg;
	pmap_destroy(t.pmap);
}

static void
await(const struct host_word *w, uint64_t value)
{
	while (host_load_acquire(w) != value)
		host_relax();
}

static void
remove_it(void *arg)
{
	(void)arg;
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		struct pmap_gather g;

		host_store_release(&t.round, round);
		pmap_gather_begin(&g, t.pmap);
		pmap_remove(t.pmap, REGION, REGION + REGION_SIZE, &g);
		pmap_gather_finish(&g);
		await(&t.asked, 2 * round + 1);
	}
}

static void
enter_it(void *arg)
{
	(void)arg;
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		struct pmap_leaf leaf;

		await(&t.round, round);
		while (pmap_extract(t.pmap, GPA, &leaf) == 0)
			host_relax();
		host_store_release(&t.told, 2 * round);
		await(&t.asked, 2 * round);
		t.wrong += enter(GPA) != 0;
		host_store_release(&t.told, 2 * round + 1);
	}
}

static void
fault_on_it(void *arg)
{
	(void)arg;
	for (uint64_t next = 2; next <= 2 * ROUNDS + 1; next++) {
		const int expected = next % 2 == 0 ? -ENOENT : 0;

		while (host_load_acquire(&t.told) != next)
			t.wrong += enter(BESIDE) != 0;
		t.wrong += pmap_emulate_accessed_dirty(t.pmap, GPA, PMAP_PROT_R) != expected;
		host_store_release(&t.asked, next);
	}
}

Test(hint, does_not_outlive_its_table)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		const struct sim_config cfg = config(3, seed);

		memset(&t, 0, sizeof t);
		run_between(&cfg, set_up, (program_fn[]){remove_it, enter_it, fault_on_it},
			    tear_down);
		cr_assert_eq(t.wrong, 0, "seed %llu: what was told was not true",
			     (unsigned long long)seed);
	}
}

/* ---- What it is good for --------------------------------------------------------------------- */

#define OTHER_REGION (REGION + REGION_SIZE)
#define LARGE (REGION + 8 * REGION_SIZE)

static uint64_t
steps_of(int (*fn)(gpa_t gpa), gpa_t gpa)
{
	const uint64_t before = sim_step_count();

	t.wrong += fn(gpa) != 0;
	return sim_step_count() - before;
}

static int
emulate(gpa_t gpa)
{
	return pmap_emulate_accessed_dirty(t.pmap, gpa, PMAP_PROT_R);
}

static int
enter_large(gpa_t gpa)
{
	const struct pmap_mapping m = {
		.pa_gpa = gpa, .pa_hpa = 0, .pa_prot = PMAP_PROT_R, .pa_level = 1};

	return pmap_enter(t.pmap, &m);
}

/* Who stays in a table does not go down to it each time; a superpage elsewhere changes nothing. */
static void
stay(void *arg)
{
	struct pmap_gather g;
	uint64_t comes, stays;

	(void)arg;
	t.wrong += enter(OTHER_REGION) != 0;
	comes = steps_of(enter, REGION + HOST_PAGE_SIZE);
	stays = steps_of(enter, REGION + 2 * HOST_PAGE_SIZE);
	t.wrong += stays >= comes;
	t.wrong += steps_of(enter, REGION + 3 * HOST_PAGE_SIZE) != stays;
	t.wrong += steps_of(enter, OTHER_REGION + HOST_PAGE_SIZE) != comes;
	t.wrong += enter_large(LARGE) != 0 || enter_large(LARGE + REGION_SIZE) != 0;
	t.wrong += steps_of(enter, OTHER_REGION + 2 * HOST_PAGE_SIZE) != stays;

	/* Tables have gone since: what is remembered from now on is as good. */
	pmap_gather_begin(&g, t.pmap);
	t.wrong += pmap_remove(t.pmap, OTHER_REGION, OTHER_REGION + REGION_SIZE, &g) != 0;
	pmap_gather_finish(&g);
	comes = steps_of(enter, REGION + 4 * HOST_PAGE_SIZE);
	stays = steps_of(enter, REGION + 5 * HOST_PAGE_SIZE);
	t.wrong += stays >= comes;
	t.wrong += enter(OTHER_REGION) != 0;

	comes = steps_of(emulate, REGION + HOST_PAGE_SIZE);
	stays = steps_of(emulate, REGION + 2 * HOST_PAGE_SIZE);
	t.wrong += stays >= comes;
}

Test(hint, saves_the_way_down)
{
	const struct sim_config cfg = config(1, 1);

	memset(&t, 0, sizeof t);
	run_between(&cfg, set_up, (program_fn[]){stay}, tear_down);
	cr_assert_eq(t.wrong, 0);
}
