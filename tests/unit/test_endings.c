/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What two CPUs do at the same time, in the simulator, over many orders of events: one ends a
 * segment that a fault of the other is about to fill; both free deferred tables; and both get the
 * same page of a pager of the host's.
 */

#include <limits.h>

#include "tests/unit/machine_util.h"
#include "vmspace/vmspace.h"

#ifndef PMAP_GEN_BITS
#define PMAP_GEN_BITS 64
#endif

#define RAM ((gpa_t)0x40000000)
#define LEN HOST_PAGE_SIZE
#define SIZE ((gpa_t)1 << 21)
#define HPA ((hpa_t)0x10000000)
#define SEEDS 2000
#define ROUNDS 6

static struct {
	struct vm_system *sys;
	struct vmspace *vs;
	struct pmap *pmap;
	uint64_t found;	  /* faults on a map that was there */
	uint64_t missing; /* and on none */
	uint64_t left;	  /* tables that were not freed by the drain */
	int error;	  /* any other */
	bool over;
} t;

static void
must(int error)
{
	if (error != 0 && t.error == 0)
		t.error = error;
}

static const struct pmap_config tables = {
	.pc_type = PT_EPT,
	.pc_flags = PMAP_PDE_SUPERPAGE | PMAP_DEFER,
	.pc_caps = {.pc_levels = 4, .pc_leaf_levels = 2, .pc_phys_bits = 46},
};

/* Runs two programs on as many CPUs, over many seeds. */
static void
each_seed(program_fn set_up, program_fn one, program_fn other, program_fn tear_down,
	  void (*look)(uint64_t seed))
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct sim_config cfg = config(2, seed);
		cfg.sc_pager = true;
		cfg.sc_stalls = seed % 2 != 0;
		cfg.sc_run_lengths = 1 + seed / 2 % 7;

		memset(&t, 0, sizeof(t));
		run_between(&cfg, set_up, (program_fn[]){one, other}, tear_down);
		cr_assert_eq(t.error, 0, "seed %llu: error %d", (unsigned long long)seed, t.error);
		look(seed);
	}
}

/* ---- Segments -------------------------------------------------------------------------------- */

static void
begin_segment(void)
{
	must(vm_alloc_memseg(t.vs, 0, LEN, NULL));
	must(vm_mmap_memseg(t.vs, RAM, 0, 0, LEN, PMAP_PROT_RW, 0));
}

static void
end_segment(void)
{
	must(vm_munmap_memseg(t.vs, RAM, LEN));
	must(vm_free_memseg(t.vs, 0));
}

static void
set_up_segment(void *arg)
{
	const struct vm_system_config sc = {.vy_mem_limit_bytes = 4u << 20};
	const struct vmspace_config cfg = {.vc_flags = VM_NO_SUPERPAGES, .vc_pmap = tables};

	(void)arg;
	must(vm_system_create(&sc, &t.sys));
	must(vmspace_create(t.sys, &cfg, &t.vs));
	begin_segment();
}

static void
tear_down_segment(void *arg)
{
	char why[200];

	(void)arg;
	must(vm_system_check(t.sys, why, sizeof(why)));
	vmspace_destroy(t.vs);
	vm_system_destroy(t.sys);
}

static void
fault_again_and_again(void *arg)
{
	(void)arg;
	while (!t.over) {
		const int error = vm_fault(t.vs, RAM, PMAP_PROT_W, NULL);

		if (error == -EFAULT)
			t.missing++;
		else
			must(error);
		t.found += error == 0;
	}
}

static void
renew_segment(void *arg)
{
	(void)arg;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		end_segment();
		begin_segment();
	}
	t.over = true;
}

static uint64_t all_found;
static uint64_t all_missing;

static void
look_at_faults(uint64_t seed)
{
	(void)seed;
	all_found += t.found;
	all_missing += t.missing;
}

/* A fault finds the map or finds none; what it fills for a segment that is ending is not lost. */
Test(endings, a_segment_that_a_fault_is_about_to_fill)
{
	all_found = all_missing = 0;
	each_seed(set_up_segment, fault_again_and_again, renew_segment, tear_down_segment,
		  look_at_faults);
	cr_assert(all_found > 0 && all_missing > 0);
}

/* ---- Deferred tables ------------------------------------------------------------------------- */

static void
set_up_tables(void *arg)
{
	(void)arg;
	must(pmap_init(&tables, &t.pmap));
}

static void
tear_down_tables(void *arg)
{
	(void)arg;
	pmap_destroy(t.pmap);
}

static void
defer_and_drain(void *arg)
{
	const struct pmap_mapping m = {.pa_gpa = RAM, .pa_hpa = HPA, .pa_prot = PMAP_PROT_RW};

	(void)arg;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct pmap_gather g;
		struct pmap_stats st;

		/* Nobody accessed it, so that only the table has to be flushed. */
		must(pmap_enter(t.pmap, &m));
		pmap_gather_begin(&g, t.pmap);
		must(pmap_remove(t.pmap, RAM, RAM + SIZE, &g));
		pmap_gather_finish(&g);
		for (unsigned int i = 0; i < 8 * round; i++)
			sim_point(SIM_USER, NULL);
		pmap_drain(t.pmap);
		pmap_stats(t.pmap, &st);
		t.left += st.st_limbo;
	}
	t.over = true;
}

/*
 * The other may be stalled for as long as there are steps, and a clock of 8 bits must not go half a
 * turn while an initiator looks away.
 */
static void
flush_again_and_again(void *arg)
{
	const unsigned int rounds = PMAP_GEN_BITS == 8 ? 100 : UINT_MAX;

	(void)arg;
	for (unsigned int round = 0; !t.over && round < rounds; round++)
		pmap_invalidate_all(t.pmap);
}

static void
look_at_tables(uint64_t seed)
{
	cr_assert_eq(t.left, 0, "seed %llu: %llu tables left", (unsigned long long)seed,
		     (unsigned long long)t.left);
}

/* Whoever drains has them freed on return, also those that another is about to free. */
Test(endings, deferred_tables_are_gone_after_a_drain)
{
	each_seed(set_up_tables, defer_and_drain, flush_again_and_again, tear_down_tables,
		  look_at_tables);
}

/* ---- Pages of a pager ------------------------------------------------------------------------ */

#define RUN ((uint64_t)512 * HOST_PAGE_SIZE)
#define NEIGHBOR (RAM + 3 * HOST_PAGE_SIZE)

static void
set_up_pager(void *arg)
{
	const struct vm_system_config sc = {.vy_mem_limit_bytes = 4 * RUN};
	const struct vmspace_config cfg = {.vc_flags = VM_HOST_PAGER, .vc_pmap = tables};

	(void)arg;
	must(vm_system_create(&sc, &t.sys));
	must(vmspace_create(t.sys, &cfg, &t.vs));
	must(vm_alloc_memseg(t.vs, 0, RUN, NULL));
	must(vm_mmap_memseg(t.vs, RAM, 0, 0, RUN, PMAP_PROT_RW, 0));
}

/* Leaves its page in memory: only then can a second frame of it be seen. */
static void
fault_and_discard(gpa_t gpa, unsigned int rounds)
{
	for (unsigned int round = 0; round < rounds; round++) {
		must(vm_discard(t.vs, gpa, HOST_PAGE_SIZE));
		must(vm_fault(t.vs, gpa, PMAP_PROT_W, NULL));
	}
}

static void
fault_on_one(void *arg)
{
	(void)arg;
	fault_and_discard(RAM, 2);
}

/* With nothing in memory the neighbor gets the run; with something, each gets its page alone. */
static void
fault_on_neighbor(void *arg)
{
	(void)arg;
	fault_and_discard(NEIGHBOR, 3);
}

static void
look_at_nothing(uint64_t seed)
{
	(void)seed;
}

/* A page that was got alone and with the run of its chunk is put once, and counted once. */
Test(endings, a_page_that_was_got_twice)
{
	each_seed(set_up_pager, fault_on_one, fault_on_neighbor, tear_down_segment,
		  look_at_nothing);
}
