/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Execute control: with it no superpage executes, at any time; what executes is a page alone, and
 * goes back into a superpage when it is asked to.
 */

#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_priv.h"

#include <string.h>

#define RAM (16 * MIB)
#define ALIAS (64 * MIB)
#define NPAGES 1024

static uint64_t
superpages(struct vf *x)
{
	struct pmap_stats st;

	pmap_stats(x->vf_pm, &st);
	return st.st_leaves[1];
}

static struct pmap_leaf
leaf_at(struct vf *x, gpa_t gpa)
{
	struct pmap_leaf leaf = {0};

	if (pmap_extract(x->vf_pm, gpa, &leaf) != 0)
		leaf = (struct pmap_leaf){0};
	return leaf;
}

static void
fetch(struct vf *x, gpa_t gpa)
{
	hpa_t hpa;

	vf_errno(vf_touch(x, gpa, PMAP_PROT_X, &hpa, NULL), 0);
}

/* No superpage executes. How many pages do. */
static uint64_t
executable(struct vf *x, gpa_t start, uint64_t npages)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < npages; i++) {
		const struct pmap_leaf leaf = leaf_at(x, start + i * PAGE);

		if (!(leaf.pl_prot & PMAP_PROT_X))
			continue;
		vf_assert(leaf.pl_level == 0);
		n++;
	}
	return n;
}

static void
open_ram(struct vf *x, unsigned int prot)
{
	vf_segment(x, 0, NPAGES, NULL);
	vf_map(x, RAM, 0, 0, NPAGES, prot);
}

/* ---- From the beginning ---------------------------------------------------------------------- */

static void
split(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	vf_poke(x, RAM, 1);
	vf_poke(x, RAM + 512 * PAGE, 2);
	vf_assert(superpages(x) == 2 && executable(x, RAM, NPAGES) == 0);
	fetch(x, RAM + 7 * PAGE);
	vf_assert(superpages(x) == 1);
	vf_assert(leaf_at(x, RAM + 7 * PAGE).pl_prot & PMAP_PROT_X);
	vf_assert(executable(x, RAM + 512 * PAGE, 512) == 0);
	vf_assert(vf_stats(x).vt_exec_splits == 1);
	fetch(x, RAM + 8 * PAGE);
	vf_assert(vf_stats(x).vt_exec_splits == 1);
	for (uint64_t i = 0; i < 512; i++) {
		fetch(x, RAM + i * PAGE);
		vf_poke(x, RAM + i * PAGE, 10 + i);
	}
	/* All of it executes, page by page: nothing joins that. */
	vf_assert(superpages(x) == 1 && executable(x, RAM, NPAGES) == 512);
	vf_check(x);

	vf_errno(vm_exec_recover(x->vf_vs), 0);
	vf_assert(superpages(x) == 2 && executable(x, RAM, NPAGES) == 0);
	vf_assert(vf_stats(x).vt_promotions != 0);
	fetch(x, RAM + 9 * PAGE);
	vf_assert(superpages(x) == 1 && vf_stats(x).vt_exec_splits == 2);
	vf_verify(x);
}

Test(vm_exec, split)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	vf_each(&o, split);
}

/* Who lets superpages come back for another reason leaves alone what executes. */
static void
kept(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (uint64_t i = 0; i < NPAGES; i++) {
		vf_poke(x, RAM + i * PAGE, 10 + i);
		if (i < 512)
			fetch(x, RAM + i * PAGE);
	}
	vf_assert(superpages(x) == 0);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	vf_assert(superpages(x) == 1 && executable(x, RAM, NPAGES) == 512);
	vf_check(x);
}

Test(vm_exec, kept)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	vf_each(&o, kept);
}

/* Pages that come one by one are joined once all are there, unless instructions come from them. */
static void
joined(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	for (uint64_t i = 0; i < 512; i++) {
		vf_assert(superpages(x) == 0);
		vf_poke(x, RAM + i * PAGE, i + 1);
	}
	vf_assert(superpages(x) == 1 && executable(x, RAM, 512) == 0);
	vf_assert(vf_stats(x).vt_promotions == 1 && vf_stats(x).vt_super_enters == 0);
	for (uint64_t i = 512; i < NPAGES; i++) {
		vf_poke(x, RAM + i * PAGE, i + 1);
		fetch(x, RAM + i * PAGE);
	}
	vf_assert(superpages(x) == 1 && executable(x, RAM, NPAGES) == 512);
	vf_assert(vf_stats(x).vt_promotions == 1);
	vf_verify(x);
}

/* Where superpages may execute, whatever comes from them. */
static void
joined_anyhow(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	for (uint64_t i = 0; i < NPAGES; i++) {
		vf_poke(x, RAM + i * PAGE, i + 1);
		if (i >= 512)
			fetch(x, RAM + i * PAGE);
	}
	vf_assert(superpages(x) == 2 && vf_stats(x).vt_promotions == 2);
	vf_assert((leaf_at(x, RAM).pl_prot & leaf_at(x, RAM + 2 * MIB).pl_prot) == PMAP_PROT_RWX);
	vf_verify(x);
}

Test(vm_exec, joined)
{
	const struct vf_options o = {.vo_flags = VM_NX_SUPERPAGES};

	vf_each(&o, joined);
	vf_each(NULL, joined_anyhow);
}

/* A fetch from a page that is being joined, after it was looked whether there have been any. */
static void
on_promote(void *arg, enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	struct vm_object *const ob = arg;

	(void)a;
	(void)b;
	(void)c;
	if (event == HOST_TRACE_PROMOTE)
		host_fetch_or(&vm_object_peek(ob, 0)->ch_flags, CH_EXEC);
}

static void
fetched_while_joined(struct vf *x)
{
	const struct host_posix_hooks hooks = {.ph_trace = on_promote,
					       .ph_arg = x->vf_vs->vs_segs[0].sg_object};

	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (uint64_t i = 0; i < 512; i++) {
		struct pmap_mapping m = {.pa_gpa = RAM + i * PAGE,
					 .pa_prot = PMAP_PROT_RWX,
					 .pa_access = PMAP_PROT_RWX};

		vf_poke(x, RAM + i * PAGE, i + 1);
		m.pa_hpa = leaf_at(x, m.pa_gpa).pl_hpa;
		vf_errno(pmap_enter(x->vf_pm, &m), 0);
	}
	vf_assert(superpages(x) == 0 && executable(x, RAM, 512) == 512);
	host_posix_set_hooks(&hooks);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	host_posix_set_hooks(NULL);
	vf_assert(superpages(x) == 1);
}

static void
fetched(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	fetched_while_joined(x);
	vf_assert(executable(x, RAM, 512) == 0);
	vf_check(x);
	vf_verify(x);
}

/* The mark alone, which a fault may leave that was on its way when the mode went, takes nothing. */
static void
marked(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	fetched_while_joined(x);
	vf_assert((leaf_at(x, RAM).pl_prot & PMAP_PROT_X) != 0);
	vf_verify(x);
}

Test(vm_exec, fetched_while_joined)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};
	const struct vf_options eager = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, fetched);
	vf_each(&eager, marked);
}

/* Of a page shown twice the right goes at both places. */
static void
aliases(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	vf_map(x, ALIAS, 0, 0, NPAGES, PMAP_PROT_RX);
	vf_poke(x, RAM, 1);
	fetch(x, ALIAS + 3 * PAGE);
	fetch(x, RAM + 4 * PAGE);
	vf_assert(executable(x, ALIAS, 512) >= 1 && executable(x, RAM, 512) >= 1);
	vf_errno(vm_exec_recover(x->vf_vs), 0);
	vf_assert(executable(x, ALIAS, NPAGES) == 0 && executable(x, RAM, NPAGES) == 0);
	fetch(x, ALIAS + 3 * PAGE);
	vf_check(x);
	vf_verify(x);
}

Test(vm_exec, aliases)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	vf_each(&o, aliases);
}

/* ---- While it runs --------------------------------------------------------------------------- */

static void
switching(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	vf_poke(x, RAM, 1);
	vf_poke(x, RAM + 512 * PAGE, 1);
	fetch(x, RAM);
	vf_assert(superpages(x) == 2 && (leaf_at(x, RAM).pl_prot & PMAP_PROT_X));
	for (unsigned int round = 0; round < 3; round++) {
		vf_errno(vm_set_nx_superpages(x->vf_vs, true), 0);
		vf_errno(vm_set_nx_superpages(x->vf_vs, true), 0);
		vf_assert(executable(x, RAM, NPAGES) == 0);
		vf_assert(superpages(x) == 2);
		fetch(x, RAM + 5 * PAGE);
		vf_assert(superpages(x) == 1 && executable(x, RAM, NPAGES) >= 1);
		vf_assert(vf_stats(x).vt_exec_splits == round + 1);
		vf_poke(x, RAM + 6 * PAGE, round);
		/* Off: rights come back as they are used, and so do superpages. */
		vf_errno(vm_set_nx_superpages(x->vf_vs, false), 0);
		for (uint64_t i = 0; i < 512; i++)
			fetch(x, RAM + i * PAGE);
		fetch(x, RAM + 600 * PAGE);
		vf_assert(superpages(x) == 2);
		vf_assert(leaf_at(x, RAM).pl_prot & PMAP_PROT_X);
		vf_assert(leaf_at(x, RAM + 600 * PAGE).pl_prot & PMAP_PROT_X);
		vf_check(x);
	}
	vf_verify(x);
}

Test(vm_exec, switching)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, switching);
}

/* Single pages that all execute when the mode comes may not be joined either. */
static void
singles(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (uint64_t i = 0; i < 512; i++) {
		vf_poke(x, RAM + i * PAGE, i + 1);
		fetch(x, RAM + i * PAGE);
	}
	vf_assert(superpages(x) == 0);
	vf_assert(executable(x, RAM, 512) == 512);
	vf_errno(vm_set_nx_superpages(x->vf_vs, true), 0);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	vf_assert(executable(x, RAM, 512) == 0);
	vf_assert(superpages(x) == 1);
	vf_check(x);
	vf_verify(x);
}

Test(vm_exec, singles)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, singles);
}

/* Joining on request is refused where the place would execute, and while the log is on. */
static void
asked_for(struct vf *x)
{
	open_ram(x, PMAP_PROT_RWX);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (uint64_t i = 0; i < NPAGES; i++) {
		vf_poke(x, RAM + i * PAGE, i + 1);
		if (i < 512)
			fetch(x, RAM + i * PAGE);
	}
	vf_errno(vm_promote(x->vf_vs, RAM + 512 * PAGE, 1), -EBUSY);
	host_fetch_and(&x->vf_vs->vs_mode, ~(uint64_t)VM_MODE_LOG);
	vf_errno(vm_promote(x->vf_vs, RAM, 1), -EBUSY);
	vf_assert(superpages(x) == 0);
	vf_errno(vm_promote(x->vf_vs, RAM + 512 * PAGE, 1), 0);
	vf_assert(superpages(x) == 1 && executable(x, RAM, NPAGES) == 512);
	host_fetch_or(&x->vf_vs->vs_mode, VM_MODE_LOG);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
}

Test(vm_exec, asked_for)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	vf_each(&o, asked_for);
}

/* Wired memory stays mapped, to the same frames. */
static void
wired(struct vf *x)
{
	hpa_t hpa;

	open_ram(x, PMAP_PROT_RWX);
	vf_poke(x, RAM, 1);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, NPAGES * PAGE), 0);
	fetch(x, RAM);
	hpa = leaf_at(x, RAM).pl_hpa;
	vf_errno(vm_set_nx_superpages(x->vf_vs, true), 0);
	vf_check(x);
	vf_assert(leaf_at(x, RAM).pl_hpa == hpa && leaf_at(x, RAM).pl_wired);
	vf_assert(executable(x, RAM, NPAGES) == 0);
	fetch(x, RAM + PAGE);
	vf_assert(executable(x, RAM, NPAGES) >= 1);
	vf_check(x);
	vf_errno(vm_exec_recover(x->vf_vs), 0);
	vf_assert(executable(x, RAM, NPAGES) == 0);
	vf_check(x);
	vf_errno(vm_set_nx_superpages(x->vf_vs, false), 0);
	vf_check(x);
	vf_verify(x);
}

Test(vm_exec, wired)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, wired);
}

/* ---- Nothing but execution ------------------------------------------------------------------- */

static void
exec_only_body(struct vf *x, bool wire)
{
	open_ram(x, PMAP_PROT_X);
	vf_map(x, ALIAS, 0, 0, NPAGES, PMAP_PROT_RW);
	vf_poke(x, ALIAS, 1);
	vf_poke(x, ALIAS + 512 * PAGE, 1);
	if (wire)
		vf_errno(vm_wire_memmap(x->vf_vs, RAM, NPAGES * PAGE), 0);
	fetch(x, RAM);
	vf_assert(leaf_at(x, RAM).pl_level == 1 && leaf_at(x, RAM).pl_prot == PMAP_PROT_X);
	vf_errno(vm_set_nx_superpages(x->vf_vs, true), 0);
	vf_assert(executable(x, RAM, NPAGES) >= 512);
	vf_check(x);
	if (wire) {
		vf_errno(vm_unwire_memmap(x->vf_vs, RAM, NPAGES * PAGE), 0);
		vf_errno(vm_wire_memmap(x->vf_vs, RAM, NPAGES * PAGE), 0);
		vf_check(x);
	}
	fetch(x, RAM + 3 * PAGE);
	vf_errno(vm_exec_recover(x->vf_vs), 0);
	vf_assert(executable(x, RAM, NPAGES) >= 512);
	vf_check(x);
	vf_verify(x);
}

Test(vm_exec, exec_only)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	for (unsigned int wire = 0; wire < 2; wire++) {
		struct vf x;

		world_begin(NULL);
		vf_open(&x, "ept-exec-only", &o);
		exec_only_body(&x, wire != 0);
		vf_close(&x);
		CHECK(true);
		world_end();
	}
}

/* Without memory to split it by, it is removed and faults back. */
static void
exec_only_no_memory(struct vf *x)
{
	open_ram(x, PMAP_PROT_X);
	vf_map(x, ALIAS, 0, 0, NPAGES, PMAP_PROT_RW);
	vf_poke(x, ALIAS, 1);
	fetch(x, RAM);
	vf_assert(leaf_at(x, RAM).pl_level == 1);
	host_posix_fail_alloc(1, true);
	vf_errno(vm_set_nx_superpages(x->vf_vs, true), 0);
	host_posix_fail_alloc(0, false);
	vf_assert(executable(x, RAM, NPAGES) == 0);
	fetch(x, RAM);
	vf_assert(executable(x, RAM, NPAGES) == 1);
	vf_check(x);
	vf_verify(x);
}

Test(vm_exec, exec_only_no_memory)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};
	struct vf x;

	world_begin(NULL);
	vf_open(&x, "ept-exec-only", &o);
	exec_only_no_memory(&x);
	vf_close(&x);
	CHECK(true);
	world_end();
}

/* ---- At the same time ------------------------------------------------------------------------ */

struct crowd {
	struct vf *cr_x;
	struct host_word cr_done;
};

static void
crowd_actor(void *arg, unsigned int who)
{
	struct crowd *const cr = arg;
	struct vmspace *const vs = cr->cr_x->vf_vs;

	for (unsigned int i = 0; who < 2 && i < fx_scale(1500); i++) {
		const unsigned int access = (i + who) % 3 == 0 ? PMAP_PROT_X : PMAP_PROT_W;

		CHECK(vm_fault(vs, RAM + (i * 37 + who) % NPAGES * PAGE, access, NULL) == 0);
	}
	if (who < 2)
		host_fetch_add(&cr->cr_done, 1);
	while (who >= 2 && host_load_acquire(&cr->cr_done) < 2) {
		if (who == 2)
			CHECK(vm_exec_recover(vs) == 0);
		else
			CHECK(vm_set_nx_superpages(vs, true) == 0 &&
			      vm_set_nx_superpages(vs, false) == 0);
		host_relax();
	}
}

Test(vm_exec, crowd)
{
	const struct world_config cfg = {.wc_actors = 4};
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	/* The second time somebody switches the mode meanwhile. */
	for (unsigned int n = 3; n <= 4; n++) {
		struct vf x;
		struct crowd cr = {&x, {0}};

		world_begin(&cfg);
		vf_open(&x, "ept", &o);
		open_ram(&x, PMAP_PROT_RWX);
		world_run(n, crowd_actor, &cr);
		vf_errno(vm_set_nx_superpages(x.vf_vs, true), 0);
		executable(&x, RAM, NPAGES);
		vf_errno(vm_exec_recover(x.vf_vs), 0);
		vf_assert(executable(&x, RAM, NPAGES) == 0);
		vf_close(&x);
		world_end();
	}
}
