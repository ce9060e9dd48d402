/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Frames that the guest's page tables cannot name, in a machine with memory on both sides of that
 * limit: the fault that gets one fails, and says so, instead of trying for ever. Frames are given
 * out from the lowest on: tables are made first, then what is left below the limit is used up.
 */

#include "tests/unit/machine_util.h"
#include "vmspace/vm_host.h"
#include "vmspace/vmspace.h"

#define RAM ((gpa_t)0x40000000)
#define PAGES 8
#define LIMIT ((hpa_t)1 << 36) /* the least that a CPU can name */
#define BELOW ((hpa_t)2 << 20)
#define BELOW_MAX 4096u

static struct {
	struct vm_system *sys;
	struct vmspace *vs;
	hpa_t below[BELOW_MAX];
	unsigned int n;
	int errors[PAGES];
	struct vm_fault_record record;
	bool sound;
} t;

static void
use_up_what_is_below(void)
{
	hpa_t hpa;

	while (t.n < BELOW_MAX && host_page_alloc(&hpa, 0)) {
		if (hpa >= LIMIT) {
			host_page_free(hpa, 0);
			return;
		}
		t.below[t.n++] = hpa;
	}
}

static void
fault_on_all(void *arg)
{
	const struct vm_system_config sc = {.vy_mem_limit_bytes = 4u << 20};
	const struct vmspace_config cfg = {
		.vc_flags = VM_NO_SUPERPAGES,
		.vc_pmap = {.pc_type = PT_EPT,
			    .pc_flags = PMAP_PDE_SUPERPAGE,
			    .pc_caps = {.pc_levels = 4, .pc_leaf_levels = 2, .pc_phys_bits = 36}},
	};
	char why[200];

	(void)arg;
	HOST_ASSERT(vm_system_create(&sc, &t.sys) == 0);
	HOST_ASSERT(vmspace_create(t.sys, &cfg, &t.vs) == 0);
	HOST_ASSERT(vm_alloc_memseg(t.vs, 0, PAGES * HOST_PAGE_SIZE, NULL) == 0);
	HOST_ASSERT(vm_mmap_memseg(t.vs, RAM, 0, 0, PAGES * HOST_PAGE_SIZE, PMAP_PROT_RW, 0) == 0);
	t.errors[0] = vm_fault(t.vs, RAM, PMAP_PROT_W, NULL);
	use_up_what_is_below();
	for (unsigned int i = 1; i < PAGES; i++)
		t.errors[i] = vm_fault(t.vs, RAM + i * HOST_PAGE_SIZE, PMAP_PROT_W, &t.record);
	t.sound = vm_system_check(t.sys, why, sizeof(why)) == 0;
	while (t.n > 0)
		host_page_free(t.below[--t.n], 0);
	vmspace_destroy(t.vs);
	vm_system_destroy(t.sys);
}

Test(beyond, a_frame_that_cannot_be_named)
{
	struct sim_config cfg = config(1, 1);
	struct sim_report r;
	struct sim_machine *m;

	memset(&t, 0, sizeof(t));
	cfg.sc_phys_base = LIMIT - BELOW;
	m = sim_machine_create(&cfg, NULL, 0);
	cr_assert_not_null(m);
	cr_assert_eq(sim_spawn(m, 0, fault_on_all, NULL), 0);
	sim_machine_run(m, &r);
	sim_machine_destroy(m);
	assert_passed(r);
	cr_assert_eq(t.errors[0], 0);
	for (unsigned int i = 1; i < PAGES; i++)
		cr_assert_eq(t.errors[i], -EINVAL, "page %u: %d", i, t.errors[i]);
	cr_assert_eq(t.record.fr_reason, VM_FAULT_BEYOND);
	cr_assert_eq(t.record.fr_error, -EINVAL);
	cr_assert(t.sound);
}
