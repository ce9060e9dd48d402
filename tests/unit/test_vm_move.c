/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Moving and discarding: another frame with the same bytes, or none; pinned pages stay as they are.
 */

#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)
#define ALIAS (64 * MIB)
#define FB (3 * GIB)
#define NPAGES 100

static void
fill(struct vf *x)
{
	vf_segment(x, 0, NPAGES, NULL);
	vf_map(x, RAM, 0, 0, NPAGES, PMAP_PROT_RW);
	for (uint64_t i = 0; i < NPAGES; i++)
		vf_poke(x, RAM + i * PAGE, 100 + i);
}

static void
frames(struct vf *x, gpa_t gpa, uint64_t npages, hpa_t *out)
{
	for (uint64_t i = 0; i < npages; i++)
		out[i] = vf_info(x, gpa + i * PAGE).pi_hpa;
}

/* ---- Moving ---------------------------------------------------------------------------------- */

static void
moves(struct vf *x)
{
	hpa_t before[NPAGES];
	hpa_t after[NPAGES];
	uint64_t moved;

	fill(x);
	vf_map(x, ALIAS, 0, 0, NPAGES, PMAP_PROT_R);
	vf_peek(x, ALIAS + 5 * PAGE);
	frames(x, RAM, NPAGES, before);
	/* Holes on both sides, and two batches. */
	vf_errno(vm_migrate(x->vf_vs, RAM - 10 * PAGE, (NPAGES + 20) * PAGE, &moved), 0);
	vf_assert(moved == NPAGES && vf_stats(x).vt_moved == NPAGES);
	frames(x, RAM, NPAGES, after);
	for (uint64_t i = 0; i < NPAGES; i++)
		vf_assert(after[i] != before[i] && host_vm_posix_page_known(after[i]));
	vf_assert(vf_accounts(x).va_resident == NPAGES);
	vf_check(x);
	for (uint64_t i = 0; i < NPAGES; i++)
		vf_assert(vf_peek(x, RAM + i * PAGE) == 100 + i);
	vf_assert(vf_peek(x, ALIAS + 5 * PAGE) == 105);
	vf_verify(x);
	/* They are as dirty as they were: swap has nothing of them. */
	vf_assert(vf_info(x, RAM).pi_dirty);
	vf_pageout_all(x);
	vf_verify(x);
	/* In memory, clean, with a slot: so it stays. */
	vf_errno(vm_migrate(x->vf_vs, RAM, NPAGES * PAGE, &moved), 0);
	vf_assert(moved == NPAGES && !vf_info(x, RAM).pi_dirty && vf_info(x, RAM).pi_swapped);
	vf_verify(x);
	vf_errno(vm_migrate(x->vf_vs, RAM + 1, PAGE, &moved), -EINVAL);
	vf_errno(vm_migrate(x->vf_vs, RAM, 0, &moved), -EINVAL);
	vf_errno(vm_migrate(x->vf_vs, x->vf_limit - PAGE, 2 * PAGE, &moved), -EINVAL);
}

Test(vm_move, moves)
{
	vf_each_swap(NULL, moves);
}

/* Held and wired pages keep their frames; what is not in memory stays out. */
static void
stays(struct vf *x)
{
	struct vm_hold hold;
	uint64_t moved;
	hpa_t held;
	hpa_t wired;

	fill(x);
	vf_map(x, ALIAS, 0, 10, 4, PMAP_PROT_RW);
	vf_errno(vm_wire_memmap(x->vf_vs, ALIAS, 4 * PAGE), 0);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + 50 * PAGE, PAGE, PMAP_PROT_R, &hold, NULL), 0);
	held = vf_info(x, RAM + 50 * PAGE).pi_hpa;
	wired = vf_info(x, RAM + 11 * PAGE).pi_hpa;
	vf_errno(vm_migrate(x->vf_vs, RAM, NPAGES * PAGE, &moved), 0);
	vf_assert(moved == NPAGES - 5);
	vf_assert(vf_info(x, RAM + 50 * PAGE).pi_hpa == held);
	vf_assert(vf_info(x, RAM + 11 * PAGE).pi_hpa == wired);
	vf_check(x);
	vm_gpa_release(&hold);
	vf_errno(vm_migrate(x->vf_vs, RAM, NPAGES * PAGE, &moved), 0);
	vf_assert(moved == NPAGES - 4 && vf_info(x, RAM + 50 * PAGE).pi_hpa != held);
	vf_errno(vm_unwire_memmap(x->vf_vs, ALIAS, 4 * PAGE), 0);
	vf_pageout_all(x);
	vf_errno(vm_migrate(x->vf_vs, RAM, NPAGES * PAGE, &moved), 0);
	vf_assert(moved == 0 && vf_accounts(x).va_resident == 0);
	vf_verify(x);
}

Test(vm_move, stays)
{
	vf_each_swap(NULL, stays);
}

/* A complete run, under a superpage: it is taken apart, and moved all the same. */
static void
supers(struct vf *x)
{
	static hpa_t before[512];
	uint64_t moved;

	vf_segment(x, 0, 512, NULL);
	vf_map(x, RAM, 0, 0, 512, PMAP_PROT_RW);
	vf_poke(x, RAM + 3 * PAGE, 1);
	vf_poke(x, RAM + 500 * PAGE, 2);
	frames(x, RAM, 512, before);
	vf_errno(vm_migrate(x->vf_vs, RAM + 100 * PAGE, 10 * PAGE, &moved), 0);
	vf_assert(moved == 10);
	for (uint64_t i = 0; i < 512; i++)
		vf_assert((vf_info(x, RAM + i * PAGE).pi_hpa != before[i]) ==
			  (i >= 100 && i < 110));
	vf_assert(vf_accounts(x).va_reserved == 10);
	vf_check(x);
	/* Their places in the run are free: that is where they go. */
	vf_errno(vm_migrate(x->vf_vs, RAM + 100 * PAGE, 10 * PAGE, &moved), 0);
	vf_assert(moved == 10 && vf_accounts(x).va_reserved == 0);
	vf_assert(vf_info(x, RAM + 105 * PAGE).pi_hpa == before[105]);
	vf_check(x);
	vf_verify(x);
}

Test(vm_move, supers)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each_swap(&o, supers);
}

/* No frame to move to: nothing moves, nothing is lost. Then the k-th one is not there. */
static void
no_frames(struct vf *x)
{
	uint64_t moved;

	fill(x);
	host_posix_fail_alloc(1, true);
	vf_errno(vm_migrate(x->vf_vs, RAM, NPAGES * PAGE, &moved), 0);
	host_posix_fail_alloc(0, false);
	vf_assert(moved == 0);
	vf_check(x);
	vf_verify(x);
	for (uint64_t k = 1; k < NPAGES; k += 9) {
		host_posix_fail_alloc(k, false);
		vf_errno(vm_migrate(x->vf_vs, RAM, NPAGES * PAGE, &moved), 0);
		vf_assert(moved == NPAGES - 1 && host_posix_failed_allocs() == 1);
		host_posix_fail_alloc(0, false);
		vf_check(x);
		vf_verify(x);
	}
}

Test(vm_move, no_frames)
{
	vf_each_swap(NULL, no_frames);
}

/* The limit leaves room for one more page: they go one after the other. */
static void
limit(struct vf *x)
{
	uint64_t moved;

	fill(x);
	vf_errno(vm_migrate(x->vf_vs, RAM, NPAGES * PAGE, &moved), 0);
	vf_assert(moved == NPAGES);
	vf_verify(x);
}

Test(vm_move, limit)
{
	const struct vf_options o = {.vo_limit_pages = NPAGES + 1};

	vf_each_swap(&o, limit);
}

/* ---- Discarding ------------------------------------------------------------------------------ */

static void
discards(struct vf *x)
{
	fill(x);
	vf_map(x, ALIAS, 0, 0, NPAGES, PMAP_PROT_R);
	vf_pageout_all(x);
	for (uint64_t i = 20; i < 60; i++)
		vf_poke(x, RAM + i * PAGE, 500 + i);
	vf_peek(x, ALIAS + 30 * PAGE);
	/* In memory and dirty, in memory and clean, and in swap only. */
	vf_errno(vm_discard(x->vf_vs, RAM + 10 * PAGE, 80 * PAGE), 0);
	for (uint64_t i = 10; i < 90; i++) {
		vf_assert(!vf_info(x, RAM + i * PAGE).pi_resident);
		vf_assert(!vf_info(x, RAM + i * PAGE).pi_swapped);
		vf_assert(vf_info(x, RAM + i * PAGE).pi_logged);
		vf_expect(x, 0, i, 0);
	}
	vf_assert(vf_system_accounts(x).va_slots == 20);
	vf_assert(vf_accounts(x).va_swapped + vf_accounts(x).va_resident == 20);
	vf_check(x);
	vf_assert(vf_peek(x, ALIAS + 30 * PAGE) == 0);
	vf_assert(vf_peek(x, RAM + 31 * PAGE) == 0);
	vf_verify(x);
	/* Again, with nothing there. */
	vf_errno(vm_discard(x->vf_vs, RAM + 10 * PAGE, 80 * PAGE), 0);
	vf_check(x);
	vf_verify(x);
}

Test(vm_move, discards)
{
	vf_each_swap(NULL, discards);
}

static void
refusals(struct vf *x)
{
	struct vf_snapshot before;
	struct vm_hold hold;

	fill(x);
	vf_map(x, ALIAS, 0, 0, NPAGES, PMAP_PROT_R);
	vf_segment(x, 1, 4, "framebuffer");
	vf_map(x, FB, 1, 0, 4, PMAP_PROT_RW);
	vf_errno(vm_map_mmio(x->vf_vs, FB + 4 * PAGE, 4 * PAGE, FX_HPA), 0);
	vf_poke(x, FB, 9);
	vf_snapshot(x, &before);
	vf_errno(vm_discard(x->vf_vs, RAM, 0), -EINVAL);
	vf_errno(vm_discard(x->vf_vs, RAM + 8, PAGE), -EINVAL);
	vf_errno(vm_discard(x->vf_vs, RAM, -RAM), -EINVAL);
	vf_errno(vm_discard(x->vf_vs, RAM + PAGE, NPAGES * PAGE), -EFAULT);
	vf_errno(vm_discard(x->vf_vs, RAM - PAGE, 2 * PAGE), -EFAULT);
	vf_errno(vm_discard(x->vf_vs, ALIAS, PAGE), -EACCES);
	vf_errno(vm_discard(x->vf_vs, FB, PAGE), -EACCES);
	vf_errno(vm_discard(x->vf_vs, FB + 4 * PAGE, PAGE), -EACCES);
	vf_same(x, &before, true, "discarding what cannot be");
	vf_snapshot_free(&before);

	vf_errno(vm_gpa_hold(x->vf_vs, RAM + 70 * PAGE, PAGE, PMAP_PROT_R, &hold, NULL), 0);
	vf_errno(vm_discard(x->vf_vs, RAM, NPAGES * PAGE), -EBUSY);
	for (uint64_t i = 0; i < NPAGES; i++) {
		vf_assert(vf_info(x, RAM + i * PAGE).pi_resident == (i == 70));
		if (i != 70)
			vf_expect(x, 0, i, 0);
	}
	vm_gpa_release(&hold);
	vf_verify(x);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, NPAGES * PAGE), 0);
	vf_errno(vm_discard(x->vf_vs, RAM, NPAGES * PAGE), -EBUSY);
	vf_check(x);
	vf_verify(x);
}

Test(vm_move, refusals)
{
	vf_each(NULL, refusals);
}

/* Most of it was never touched; a superpage at its end. */
static void
sparse(struct vf *x)
{
	vf_segment(x, 0, 200 * 512, NULL);
	vf_map(x, 4 * GIB, 0, 0, 200 * 512, PMAP_PROT_RW);
	vf_poke(x, 4 * GIB + 198 * 2 * MIB + PAGE, 1);
	vf_assert(vf_accounts(x).va_resident == 512);
	vf_errno(vm_discard(x->vf_vs, 4 * GIB + PAGE, 198 * 2 * MIB), 0);
	vf_assert(vf_accounts(x).va_resident == 511);
	vf_assert(vf_peek(x, 4 * GIB + 198 * 2 * MIB + PAGE) == 1);
	vf_errno(vm_discard(x->vf_vs, 4 * GIB, 400 * MIB), 0);
	vf_assert(vf_accounts(x).va_resident == 0);
	vf_check(x);
	vf_assert(vf_peek(x, 4 * GIB + 198 * 2 * MIB + PAGE) == 0);
}

Test(vm_move, sparse)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, sparse);
}

/* ---- At the same time ------------------------------------------------------------------------ */

#define CROWD_PAGES 80

struct crowd {
	struct vf *cr_x;
	struct host_word cr_done;
	struct host_word cr_moved;
};

/* Counts up a word of each page; or moves; or discards pages of nobody; or reads by holds. */
static void
crowd_actor(void *arg, unsigned int who)
{
	struct crowd *const cr = arg;
	struct vmspace *const vs = cr->cr_x->vf_vs;
	uint64_t some;

	for (uint64_t i = 0;
	     who < 2 && (i < fx_scale(60) * CROWD_PAGES || host_load_acquire(&cr->cr_moved) < 100);
	     i++) {
		const gpa_t gpa = RAM + i % CROWD_PAGES * PAGE + who * 8;
		uint64_t value = 0;

		CHECK(vm_gpa_read(vs, gpa, &value, sizeof(value), &some) == 0);
		CHECK(value == i / CROWD_PAGES);
		value++;
		CHECK(vm_gpa_write(vs, gpa, &value, sizeof(value), &some) == 0);
	}
	if (who < 2)
		host_fetch_add(&cr->cr_done, 1);
	while (who >= 2 && host_load_acquire(&cr->cr_done) < 2) {
		const gpa_t trash = RAM + CROWD_PAGES * PAGE;
		const uint64_t junk = 1;
		int error;

		CHECK(vm_migrate(vs, RAM, 2 * CROWD_PAGES * PAGE, &some) == 0);
		host_fetch_add(&cr->cr_moved, some);
		CHECK(vm_gpa_write(vs, trash + who * PAGE, &junk, sizeof(junk), &some) == 0);
		error = vm_discard(vs, trash, CROWD_PAGES * PAGE);
		CHECK(error == 0 || error == -EBUSY);
	}
}

static void
crowd(const char *format)
{
	const struct world_config cfg = {.wc_actors = 4};
	struct vf x;
	struct crowd cr = {.cr_x = &x};

	world_begin(&cfg);
	vf_open(&x, format, NULL);
	vf_segment(&x, 0, 2 * CROWD_PAGES, NULL);
	vf_map(&x, RAM, 0, 0, 2 * CROWD_PAGES, PMAP_PROT_RW);
	world_run(4, crowd_actor, &cr);
	vf_assert(vf_stats(&x).vt_moved != 0);
	vf_close(&x);
	world_end();
}

Test(vm_move, crowd)
{
	crowd("ept");
	crowd("rvi-4");
}
