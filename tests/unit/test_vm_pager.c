/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * System memory from a pager of the host's: what was put comes back, what was not changed is not
 * kept, runs are got and given back page by page, and the accounts say so. That all the rest of
 * vmspace does as well with it as without is vf_each()'s affair.
 *
 * This host's pager reads back what was put dirty last, or zeros: a change that was not told is
 * gone, and a frame that was put cannot be touched (host_vm_pager.c).
 */

#include "tests/unit/rng.h"
#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)
#define RUN 512u

static const struct vf_options plain = {.vo_flags = VM_HOST_PAGER, .vo_no_swap = true};
static const struct vf_options eager = {.vo_flags = VM_HOST_PAGER | VM_EAGER_RUNS,
					.vo_no_swap = true};

static void
map(struct vf *x, uint64_t npages)
{
	vf_segment(x, 0, npages, NULL);
	vf_map(x, RAM, 0, 0, npages, PMAP_PROT_RW);
}

static void
fill(struct vf *x, uint64_t npages, uint64_t stamp)
{
	for (uint64_t i = 0; i < npages; i++)
		vf_poke(x, RAM + i * PAGE, stamp + i);
}

/* ---- There and back -------------------------------------------------------------------------- */

static void
comes_back(struct vf *x)
{
	struct vm_accounts va;
	struct vmspace_stats vt;

	map(x, 100);
	fill(x, 40, 1000);
	for (unsigned int i = 40; i < 60; i++)
		vf_assert(vf_peek(x, RAM + i * PAGE) == 0);
	vf_assert(vf_pageout_all(x) >= 60);
	va = vf_accounts(x);
	vf_assert(va.va_resident == 0 && va.va_reserved == 0 && va.va_swapped == 40);
	vf_assert(vf_system_accounts(x).va_slots == 0);
	vf_assert(host_vm_posix_pages_in_use() == 0);
	vt = vf_stats(x);
	vf_assert(vt.vt_swap_outs == 40 && vt.vt_reclaimed_clean == 20 && vt.vt_reclaimed == 60);
	vf_check(x);

	vf_verify(x);
	vt = vf_stats(x);
	vf_assert(vt.vt_swap_ins == 40 && vt.vt_swap_errors == 0);
	vf_assert(vf_accounts(x).va_swapped == 0 && vf_accounts(x).va_resident == 100);
	vf_assert(vf_info(x, RAM).pi_swapped && !vf_info(x, RAM).pi_dirty);
	vf_assert(!vf_info(x, RAM + 50 * PAGE).pi_swapped);

	/* Only read since: put clean, all of it, and there again. */
	vf_assert(vf_pageout_all(x) >= 100);
	vf_assert(vf_stats(x).vt_swap_outs == 40);
	vf_poke(x, RAM + 3 * PAGE, 7);
	vf_pageout_all(x);
	vf_assert(vf_stats(x).vt_swap_outs == 41 && vf_accounts(x).va_swapped == 40);
	vf_verify(x);
}

Test(vm_pager, comes_back)
{
	vf_each_swap(&plain, comes_back);
}

/* By the guest, by a hold, by a copy: a page is put dirty for any of them. */
static void
by_any_path(struct vf *x)
{
	struct vm_hold h;
	const uint64_t stamp = 77;

	map(x, 8);
	for (unsigned int round = 0; round < 4; round++) {
		vf_poke(x, RAM + 1 * PAGE, 10 + round);
		vf_write(x, RAM + 2 * PAGE, 20 + round);
		vf_errno(vm_memseg_hold(x->vf_vs, 0, 3 * PAGE, PAGE, PMAP_PROT_RW, &h), 0);
		vf_pageout_all(x);
		vf_assert(vf_info(x, RAM + 3 * PAGE).pi_resident);
		vm_hold_write(&h, 0, &stamp, sizeof(stamp));
		vm_hold_write(&h, PAGE - sizeof(stamp), &stamp, sizeof(stamp));
		vm_gpa_release(&h);
		vf_expect(x, 0, 3, stamp);
		vf_swap_out(x, RAM + 3 * PAGE);
		vf_verify(x);
	}
}

Test(vm_pager, by_any_path)
{
	vf_each_swap(&plain, by_any_path);
}

/* Much less memory than is used, of the guest's and of the host's. */
static void
pressure(struct vf *x)
{
	struct rng rng = {5};

	map(x, 1500);
	for (unsigned int i = 0; i < fx_scale(3000); i++) {
		const uint64_t page = rng_below(&rng, 1500);

		if (rng_percent(&rng, 60))
			vf_poke(x, RAM + page * PAGE, rng_next(&rng));
		else
			vf_assert(vf_peek(x, RAM + page * PAGE) == vf_expected(x, 0, page));
	}
	vf_check(x);
	vf_verify(x);
}

Test(vm_pager, pressure)
{
	static const struct vf_options guest = {.vo_flags = VM_HOST_PAGER, .vo_limit_pages = 60};
	static const struct vf_options host = {.vo_flags = VM_HOST_PAGER,
					       .vo_memory_bytes = 2 * MIB};

	vf_each_swap(&guest, pressure);
	vf_each_swap(&host, pressure);
}

/* ---- Runs ------------------------------------------------------------------------------------ */

/* A first touch gets a run: one page is used, the others are reserved, and go back clean. */
static void
reserved(struct vf *x)
{
	struct vm_accounts va;

	map(x, 2 * RUN);
	vf_poke(x, RAM + 5 * PAGE, 55);
	va = vf_accounts(x);
	vf_assert(va.va_resident == 1 && va.va_reserved == RUN - 1);
	vf_assert(host_vm_posix_pages_in_use() == RUN);
	vf_assert(vf_info(x, RAM + 5 * PAGE).pi_hpa % (2 * MIB) == 5 * PAGE);
	vf_poke(x, RAM + 6 * PAGE, 66);
	vf_assert(vf_info(x, RAM + 6 * PAGE).pi_hpa == vf_info(x, RAM + 5 * PAGE).pi_hpa + PAGE);
	vf_check(x);
	/* What was discarded is not reserved any more: it is got anew. */
	vf_errno(vm_discard(x->vf_vs, RAM + 5 * PAGE, PAGE), 0);
	vf_expect(x, 0, 5, 0);
	va = vf_accounts(x);
	vf_assert(va.va_resident == 1 && va.va_reserved == RUN - 2);
	vf_check(x);
	vf_pageout_all(x);
	va = vf_accounts(x);
	vf_assert(va.va_resident == 0 && va.va_reserved == 0 && va.va_swapped == 1);
	vf_assert(host_vm_posix_pages_in_use() == 0 && vf_stats(x).vt_runs_broken == 1);
	vf_verify(x);
}

Test(vm_pager, reserved)
{
	vf_each_swap(&plain, reserved);
}

/* A chunk that left page by page comes back as a run, with what was in it, as a superpage. */
static void
whole(struct vf *x)
{
	map(x, RUN);
	vf_poke(x, RAM, 1);
	vf_assert(vf_accounts(x).va_resident == RUN && vf_stats(x).vt_super_enters >= 1);
	fill(x, RUN, 300);
	vf_pageout_all(x);
	vf_assert(vf_accounts(x).va_swapped == RUN && host_vm_posix_pages_in_use() == 0);
	vf_assert(vf_peek(x, RAM + 9 * PAGE) == 309);
	vf_assert(vf_accounts(x).va_resident == RUN && vf_accounts(x).va_swapped == 0);
	vf_assert(vf_info(x, RAM + 100 * PAGE).pi_hpa == vf_info(x, RAM).pi_hpa + 100 * PAGE);
	vf_assert(vf_stats(x).vt_runs == 2);
	vf_verify(x);
	/* A page of it cannot be read: then there is no run, and this page is read alone. */
	vf_pageout_all(x);
	host_vm_posix_fail_swap(HOST_VM_POSIX_READ, 1, false);
	vf_assert(vf_peek(x, RAM + 9 * PAGE) == 309);
	vf_assert(vf_accounts(x).va_resident == 1 && vf_accounts(x).va_reserved == 0);
	vf_verify(x);
}

Test(vm_pager, whole)
{
	vf_each_swap(&eager, whole);
}

/* Zeros in the middle of what is reserved, in use and away; neighbors keep what they have. */
static void
discarded(struct vf *x)
{
	for (unsigned int i = 0; i < 2; i++) {
		if (i == 0)
			map(x, RUN + 40);
		fill(x, RUN + 40, 5000 + i);
		if (i == 1)
			vf_pageout_all(x);
		vf_peek(x, RAM + 30 * PAGE);
		vf_errno(vm_discard(x->vf_vs, RAM + 20 * PAGE, 200 * PAGE), 0);
		vf_errno(vm_discard(x->vf_vs, RAM + 500 * PAGE, 30 * PAGE), 0);
		for (unsigned int k = 0; k < 230; k++)
			vf_expect(x, 0, k < 200 ? 20 + k : 300 + k, 0);
		vf_check(x);
		vf_assert(vf_accounts(x).va_swapped <= RUN + 40 - 230);
		if (i == 1)
			vf_pageout_all(x);
		vf_verify(x);
	}
}

Test(vm_pager, discarded)
{
	vf_each_swap(&plain, discarded);
	vf_each_swap(&eager, discarded);
}

/* Its frames are the host's to move. */
static void
not_moved(struct vf *x)
{
	hpa_t before;
	uint64_t moved = 9;

	map(x, 20);
	fill(x, 20, 1);
	before = vf_info(x, RAM + 7 * PAGE).pi_hpa;
	vf_errno(vm_migrate(x->vf_vs, RAM, 20 * PAGE, &moved), 0);
	vf_assert(moved == 0 && vf_info(x, RAM + 7 * PAGE).pi_hpa == before);
	vf_verify(x);
}

Test(vm_pager, not_moved)
{
	vf_each_swap(&plain, not_moved);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

/* A hold keeps page, frame and bytes beyond the segment and the guest; so long lasts the pager. */
static void
held(struct vf *x)
{
	const struct vf_options o = x->vf_options;
	const char *const format = x->vf_format->ff_name;
	struct vm_hold h;
	struct vm_hold one;
	struct vf y;
	char word[8];

	vf_open_second(&y, x, format, &o);
	map(&y, RUN + 8);
	fill(&y, RUN + 8, 1);
	vf_pageout_all(&y);
	vf_assert(host_vm_posix_pager_pages() == RUN + 8);
	vf_errno(vm_gpa_hold(y.vf_vs, RAM + 510 * PAGE, 4 * PAGE, PMAP_PROT_RW, &h, NULL), 0);
	vf_errno(vm_gpa_hold(y.vf_vs, RAM + 511 * PAGE, PAGE, PMAP_PROT_R, &one, NULL), 0);
	vf_unmap(&y, RAM, RUN + 8);
	vf_free_segment(&y, 0);
	vf_assert(host_vm_posix_pages_in_use() == 4);
	vf_assert(host_vm_posix_pager_pages() == 4); /* of the others nothing is kept */
	vf_assert(vf_accounts(&y).va_resident == 4 && vf_accounts(&y).va_swapped == 0);
	vf_check(&y);
	vf_close(&y);
	vf_assert(vf_system_accounts(x).va_resident == 4);
	vm_hold_write(&h, PAGE, "still me", 8);
	vm_gpa_release(&h);
	vf_assert(host_vm_posix_pages_in_use() == 1 && host_vm_posix_pager_pages() == 1);
	vm_hold_read(&one, 0, word, sizeof(word));
	vf_assert(memcmp(word, "still me", 8) == 0);
	vm_gpa_release(&one);
	host_epoch_drain();
	vf_assert(host_vm_posix_pages_in_use() == 0);
}

Test(vm_pager, held)
{
	vf_each_swap(&plain, held);
	vf_each_swap(&eager, held);
}

/* Wired, shown to a device, written by it, and put dirty when it is through. */
static void
device(struct vf *x)
{
	const uint64_t stamp = 0xd00d;

	map(x, 6);
	fill(x, 6, 1);
	vf_pageout_all(x);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 6 * PAGE), 0);
	vf_errno(vm_attach_device(x->vf_vs, 2), 0);
	vf_errno(host_vm_posix_dma_write(2, RAM + PAGE, &stamp, sizeof(stamp)), 0);
	vf_errno(host_vm_posix_dma_write(2, RAM + 2 * PAGE - 8, &stamp, sizeof(stamp)), 0);
	vf_expect(x, 0, 1, stamp);
	vf_assert(vf_pageout_all(x) == 0);
	vf_errno(vm_detach_device(x->vf_vs, 2), 0);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 6 * PAGE), 0);
	vf_assert(vf_pageout_all(x) == 6);
	vf_verify(x);
}

Test(vm_pager, device)
{
	vf_each_swap(&plain, device);
}

/* No memory for the pager: no segment, and nothing is left of it. */
static void
no_pager(struct vf *x)
{
	unsigned int n = 0;
	int error;

	do {
		host_posix_fail_alloc(++n, false);
		error = vm_alloc_memseg(x->vf_vs, 0, 4 * PAGE, NULL);
		host_posix_fail_alloc(0, false);
		vf_assert(error == (n <= 2 ? -ENOMEM : 0)); /* the object, the pager */
		vf_check(x);
	} while (error != 0);
}

Test(vm_pager, no_pager)
{
	vf_each_swap(&plain, no_pager);
}

/* Named segments stay with the host's free pages, whatever the guest's memory does. */
static void
devmem(struct vf *x)
{
	map(x, 4);
	vf_segment(x, 1, 3, "framebuffer");
	vf_map(x, 2 * RAM, 1, 0, 3, PMAP_PROT_RW);
	vf_poke(x, 2 * RAM, 4);
	fill(x, 4, 1);
	vf_assert(vf_pageout_all(x) >= 4);
	vf_assert(vf_info(x, 2 * RAM).pi_resident && vf_accounts(x).va_devmem == 1);
	vf_verify(x);
}

Test(vm_pager, devmem)
{
	vf_each_swap(&plain, devmem);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void
read_errors(struct vf *x)
{
	struct vm_fault_record r = {0};

	map(x, 20);
	fill(x, 20, 1);
	vf_pageout_all(x);
	host_vm_posix_fail_swap(HOST_VM_POSIX_READ, 1, true);
	vf_errno(vm_fault(x->vf_vs, RAM + 5 * PAGE, PMAP_PROT_W, &r), -EIO);
	vf_assert(r.fr_reason == VM_FAULT_SWAP_READ && r.fr_gpa == RAM + 5 * PAGE);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 20 * PAGE), -EFAULT);
	vf_assert(vf_accounts(x).va_resident == 0 && vf_accounts(x).va_swapped == 20);
	vf_assert(vf_stats(x).vt_swap_errors == 2);
	vf_check(x);
	host_vm_posix_fail_swap(0, 0, false);
	vf_verify(x);
}

Test(vm_pager, read_errors)
{
	vf_each_swap(&plain, read_errors);
}

static void
interrupted(struct vf *x)
{
	struct vm_fault_record r = {0};
	struct vm_hold h;

	map(x, 20);
	fill(x, 20, 1);
	vf_pageout_all(x);
	host_vm_posix_interrupt(host_cpu(), true);
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_R, &r), -EINTR);
	vf_assert(r.fr_reason == VM_FAULT_INTERRUPTED && r.fr_error == -EINTR);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM, PAGE, PMAP_PROT_R, &h, &r), -EINTR);
	vf_assert(vf_accounts(x).va_resident == 0 && vf_accounts(x).va_reserved == 0);
	host_vm_posix_interrupt(host_cpu(), false);
	vf_check(x);
	vf_verify(x);
}

Test(vm_pager, interrupted)
{
	vf_each_swap(&plain, interrupted);
}

/* The host has none: said when the guest is made, with nothing left of it. */
static void
none(struct vf *x)
{
	struct vf_options o = x->vf_options;
	struct vmspace_config cfg;
	struct vmspace *vs = NULL;

	host_vm_posix_set_pager(false);
	o.vo_flags |= VM_HOST_PAGER;
	vf_config(x->vf_format, &o, &cfg);
	vf_errno(vmspace_create(x->vf_sys, &cfg, &vs), -EOPNOTSUPP);
	host_vm_posix_set_pager(true);
	vf_assert(vs == NULL);
	vf_errno(vmspace_create(x->vf_sys, &cfg, &vs), 0);
	vmspace_destroy(vs);
}

Test(vm_pager, none)
{
	vf_each_swap(NULL, none);
}

/* ---- At the same time ------------------------------------------------------------------------ */

/*
 * Neighbors of one chunk are brought in, discarded, held and put by many at once, so that pages are
 * got alone and with the run; each actor's own pages hold what it wrote last.
 */
struct crowd {
	struct vf *cr_x;
	struct host_word cr_done;
};

#define CROWD 4

static void
crowd_round(struct vmspace *vs, unsigned int who, uint64_t round)
{
	for (unsigned int i = 0; i < 12; i++) {
		const gpa_t at = RAM + (i * CROWD + who) * PAGE;
		const uint64_t stamp = round * 1000 + i;
		uint64_t was = 1;
		uint64_t done;

		CHECK(vm_gpa_read(vs, at, &was, sizeof(was), &done) == 0);
		CHECK(was == (round == 0 ? 0 : stamp - 1000));
		if (round % 5 == 4) {
			const int error = vm_discard(vs, at, PAGE);

			CHECK(error == 0);
			CHECK(vm_gpa_read(vs, at, &was, sizeof(was), &done) == 0 && was == 0);
		}
		CHECK(vm_gpa_write(vs, at, &stamp, sizeof(stamp), &done) == 0);
	}
}

static void
crowd_actor(void *arg, unsigned int who)
{
	struct crowd *const cr = arg;
	struct vmspace *const vs = cr->cr_x->vf_vs;

	if (who == CROWD) {
		while (host_load_acquire(&cr->cr_done) < CROWD) {
			uint64_t freed;

			CHECK(vm_pageout(cr->cr_x->vf_sys, vs, RUN, 0, &freed) == 0);
			host_relax();
		}
		return;
	}
	for (uint64_t round = 0; round < fx_scale(60); round++)
		crowd_round(vs, who, round);
	host_fetch_add(&cr->cr_done, 1);
}

Test(vm_pager, crowd)
{
	const struct world_config cfg = {.wc_actors = CROWD + 1};

	for (unsigned int i = 0; i < 2; i++) {
		struct vf x;
		struct crowd cr = {&x, {0}};

		world_begin(&cfg);
		vf_open(&x, "ept", i == 0 ? &plain : &eager);
		vf_segment(&x, 0, RUN, NULL);
		vf_map(&x, RAM, 0, 0, RUN, PMAP_PROT_RW);
		world_run(CROWD + 1, crowd_actor, &cr);
		vf_close(&x);
		world_end();
	}
}
