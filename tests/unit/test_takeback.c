/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A fault that is revoked, and a page that is wired meanwhile: taking back must leave what somebody
 * wired since alone (docs/PROTOCOL-TLB.md, clause 4). One CPU faults on one page again and again;
 * another wires it, takes an older decision back, and looks whether the wired page is still there.
 * In the address-space layer the two exclude each other for so long that the simulator's workload
 * hardly ever gets there.
 */

#include "tests/unit/machine_util.h"
#include "pmap/pmap.h"

#define GPA ((gpa_t)0x40000000)
#define HPA ((hpa_t)0x10000000)
#define ROUNDS 12
#define SEEDS 300

static struct {
	struct pmap *pmap;
	struct host_word revoke;
	uint64_t taken_back;
	uint64_t lost;
	bool over;
} t;

static int
enter(bool wired, uint64_t seen)
{
	const struct pmap_mapping m = {
		.pa_gpa = GPA,
		.pa_hpa = HPA,
		.pa_prot = PMAP_PROT_RW,
		.pa_access = PMAP_PROT_R,
		.pa_wired = wired,
		.pa_revoked = &t.revoke,
		.pa_revoked_was = seen,
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
}

static void
tear_down(void *arg)
{
	(void)arg;
	pmap_destroy(t.pmap);
}

static void
fault_on_it(void *arg)
{
	(void)arg;
	while (!t.over)
		t.taken_back += enter(false, host_load_acquire(&t.revoke)) == -EAGAIN;
}

static void
wire_it(void *arg)
{
	(void)arg;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct pmap_gather g;
		struct pmap_leaf leaf;

		while (enter(true, host_load_acquire(&t.revoke)) != 0)
			;
		host_fetch_add(&t.revoke, 1);
		for (unsigned int i = 0; i < 20; i++) {
			t.lost += pmap_extract(t.pmap, GPA, &leaf) != 0 || !leaf.pl_wired;
			sim_point(SIM_USER, NULL);
		}
		host_fetch_add(&t.revoke, 1);
		pmap_gather_begin(&g, t.pmap);
		pmap_remove(t.pmap, GPA, GPA + HOST_PAGE_SIZE, &g);
		pmap_gather_finish(&g);
	}
	t.over = true;
}

Test(takeback, leaves_what_was_wired)
{
	uint64_t taken_back = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		const struct sim_config cfg = config(2, seed);

		memset(&t, 0, sizeof t);
		run_between(&cfg, set_up, (program_fn[]){fault_on_it, wire_it}, tear_down);
		cr_assert_eq(t.lost, 0, "seed %llu: the wired page was gone %llu times",
			     (unsigned long long)seed, (unsigned long long)t.lost);
		taken_back += t.taken_back;
	}
	cr_assert_gt(taken_back, 0, "nothing was ever taken back");
}
