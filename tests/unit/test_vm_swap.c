/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Swap: what goes out comes back, whatever fails on the way; in clusters, with its neighbors; and
 * slots are counted.
 */

#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)
#define NPAGES 40

static struct host_vm_posix_swap_stats
swap_stats(void)
{
	struct host_vm_posix_swap_stats ss;

	host_vm_posix_swap_stats(&ss);
	return ss;
}

/* Pages of RAM, each with a stamp. */
static void
fill(struct vf *x, uint64_t npages)
{
	vf_segment(x, 0, npages, NULL);
	vf_map(x, RAM, 0, 0, npages, PMAP_PROT_RW);
	for (uint64_t i = 0; i < npages; i++)
		vf_poke(x, RAM + i * PAGE, 100 + i);
}

static uint64_t
resident_mask(struct vf *x, uint64_t npages)
{
	uint64_t mask = 0;

	for (uint64_t i = 0; i < npages; i++)
		mask |= (uint64_t)vf_info(x, RAM + i * PAGE).pi_resident << i;
	return mask;
}

/* Pages first .. last. */
static uint64_t
pages(unsigned int first, unsigned int last)
{
	return (((uint64_t)1 << (last - first + 1)) - 1) << first;
}

/* ---- There and back -------------------------------------------------------------------------- */

static void
comes_back(struct vf *x)
{
	const struct host_vm_posix_swap_stats before = swap_stats();
	struct host_vm_posix_swap_stats after;

	fill(x, NPAGES);
	vf_assert(vf_pageout_all(x) == NPAGES);
	after = swap_stats();
	vf_assert(after.ss_pages_written - before.ss_pages_written == NPAGES);
	vf_assert(after.ss_writes - before.ss_writes == (NPAGES + 15) / 16);
	vf_assert(resident_mask(x, NPAGES) == 0);
	vf_assert(vf_accounts(x).va_swapped == NPAGES && vf_accounts(x).va_resident == 0);
	vf_assert(vf_system_accounts(x).va_slots == NPAGES);
	vf_assert(vf_stats(x).vt_swap_outs == NPAGES);
	vf_check(x);
	vf_verify(x);
	vf_assert(vf_accounts(x).va_swapped == 0 && vf_accounts(x).va_resident == NPAGES);
	vf_check(x);

	/* Only read since: nothing to write, the slots are still good. */
	vf_assert(vf_pageout_all(x) == NPAGES);
	vf_assert(swap_stats().ss_pages_written == after.ss_pages_written);
	vf_assert(vf_stats(x).vt_reclaimed_clean == NPAGES);
	vf_assert(vf_system_accounts(x).va_slots == NPAGES);

	/* Written anew, one page is written again, and has one slot, not two. */
	vf_poke(x, RAM + 3 * PAGE, 7);
	vf_pageout_all(x);
	vf_assert(swap_stats().ss_pages_written == after.ss_pages_written + 1);
	vf_assert(vf_system_accounts(x).va_slots == NPAGES);
	vf_verify(x);
}

Test(vm_swap, comes_back)
{
	vf_each_swap(NULL, comes_back);
}

/* ---- Neighbors ------------------------------------------------------------------------------- */

static void
read_ahead(struct vf *x)
{
	struct host_vm_posix_swap_stats before;

	fill(x, 20);
	vf_assert(vf_pageout_all(x) == 20);
	before = swap_stats();

	/* Those behind first, then those before, eight in all. */
	vf_assert(vf_peek(x, RAM + 10 * PAGE) == 110);
	vf_assert(resident_mask(x, 20) == pages(10, 18));
	vf_assert(vf_stats(x).vt_swap_ins == 1 && vf_stats(x).vt_read_ahead == 8);
	vf_assert(vf_peek(x, RAM + 9 * PAGE) == 109);
	vf_assert(resident_mask(x, 20) == pages(1, 18));
	vf_assert(vf_peek(x, RAM + 19 * PAGE) == 119);
	vf_assert(resident_mask(x, 20) == pages(1, 19));
	vf_assert(vf_stats(x).vt_swap_ins == 3 && vf_stats(x).vt_read_ahead == 16);
	vf_assert(swap_stats().ss_reads - before.ss_reads == 3);
	vf_assert(swap_stats().ss_pages_read - before.ss_pages_read == 19);
	vf_assert(vf_accounts(x).va_swapped == 1 && vf_accounts(x).va_resident == 19);
	vf_check(x);

	/* What came along is clean, and goes again without being written. */
	vf_assert(!vf_info(x, RAM + 12 * PAGE).pi_dirty && vf_info(x, RAM + 12 * PAGE).pi_swapped);
	vf_assert(vf_pageout_all(x) == 19);
	vf_assert(swap_stats().ss_pages_written == before.ss_pages_written);
	vf_verify(x);
}

Test(vm_swap, read_ahead)
{
	vf_each_swap(NULL, read_ahead);
}

/* Slots that are not neighbors, and the edge of a chunk, end it. */
static void
strangers(struct vf *x)
{
	vf_segment(x, 0, 520, NULL);
	vf_map(x, RAM, 0, 0, 520, PMAP_PROT_RW);
	for (uint64_t i = 504; i < 520; i++)
		vf_poke(x, RAM + i * PAGE, i);
	vf_pageout_all(x);
	vf_peek(x, RAM + 511 * PAGE);
	for (uint64_t i = 504; i < 520; i++)
		vf_assert(vf_info(x, RAM + i * PAGE).pi_resident == (i < 512));
	/* 514 is written anew, to another slot: it parts its neighbors. */
	vf_poke(x, RAM + 514 * PAGE, 5140);
	vf_pageout_all(x);
	vf_peek(x, RAM + 512 * PAGE);
	for (uint64_t i = 512; i < 520; i++)
		vf_assert(vf_info(x, RAM + i * PAGE).pi_resident == (i < 514));
	vf_verify(x);
}

Test(vm_swap, strangers)
{
	vf_each_swap(NULL, strangers);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static void
full(struct vf *x)
{
	const struct host_vm_posix_swap_stats before = swap_stats();

	fill(x, 20);
	vf_assert(vf_pageout_all(x) == 8);
	vf_assert(vf_system_accounts(x).va_slots == 8 && vf_accounts(x).va_swapped == 8);
	vf_check(x);
	vf_verify(x);

	/* All in memory and written: those with a slot are written over what they had there. */
	for (uint64_t i = 0; i < 20; i++)
		vf_poke(x, RAM + i * PAGE, 200 + i);
	vf_assert(vf_pageout_all(x) == 8);
	vf_assert(swap_stats().ss_pages_written - before.ss_pages_written == 16);
	vf_check(x);
	vf_verify(x);

	/* If that fails the slot is worth nothing and is given back; the page stays. */
	for (uint64_t i = 0; i < 20; i++)
		vf_poke(x, RAM + i * PAGE, 300 + i);
	host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, 1, true);
	vf_assert(vf_pageout_all(x) == 0);
	host_vm_posix_fail_swap(0, 0, false);
	vf_assert(vf_system_accounts(x).va_slots < 8);
	vf_verify(x);
	vf_assert(vf_pageout_all(x) == 8);
	vf_verify(x);
}

Test(vm_swap, full)
{
	const struct vf_options o = {.vo_swap_slots = 8};

	vf_each_swap(&o, full);
}

/* Every second slot is free: each is found, none twice. */
static void
fragmented(struct vf *x)
{
	fill(x, 48);
	vf_assert(vf_pageout_all(x) == 32);
	vf_verify(x);
	for (uint64_t i = 0; i < 48; i += 2) {
		vf_errno(vm_discard(x->vf_vs, RAM + i * PAGE, PAGE), 0);
		vf_expect(x, 0, i, 0);
	}
	vf_check(x);
	for (uint64_t i = 0; i < 48; i += 2)
		vf_poke(x, RAM + i * PAGE, 1000 + i);
	vf_pageout_all(x);
	vf_assert(vf_system_accounts(x).va_slots == 32);
	vf_check(x);
	vf_verify(x);
}

Test(vm_swap, fragmented)
{
	const struct vf_options o = {.vo_swap_slots = 32};

	vf_each_swap(&o, fragmented);
}

static void
no_swap(struct vf *x)
{
	fill(x, 8);
	vf_assert(vf_pageout_all(x) == 0);
	vf_assert(resident_mask(x, 8) == pages(0, 7));
	vf_assert(vf_stats(x).vt_swap_errors == 0);
	vf_verify(x);
}

Test(vm_swap, no_swap)
{
	const struct vf_options o = {.vo_no_swap = true};

	vf_each_swap(&o, no_swap);
}

/* One slot is swap, too. */
static void
one_slot(struct vf *x)
{
	fill(x, 3);
	vf_assert(vf_pageout_all(x) == 1);
	vf_assert(vf_system_accounts(x).va_slots == 1 && vf_accounts(x).va_swapped == 1);
	vf_check(x);
	vf_verify(x);
}

Test(vm_swap, one_slot)
{
	const struct vf_options o = {.vo_swap_slots = 1};

	vf_each_swap(&o, one_slot);
}

/* Where the hand is nothing is free up to the end; before it there is. */
static void
around_the_end(struct vf *x)
{
	vf_segment(x, 0, 11, NULL);
	vf_map(x, RAM, 0, 0, 11, PMAP_PROT_RW);
	for (uint64_t i = 0; i < 8; i++)
		vf_poke(x, RAM + i * PAGE, 100 + i);
	vf_assert(vf_pageout_all(x) == 8);
	vf_errno(vm_discard(x->vf_vs, RAM, 2 * PAGE), 0);
	vf_expect(x, 0, 0, 0);
	vf_expect(x, 0, 1, 0);
	for (uint64_t i = 8; i < 11; i++) {
		vf_poke(x, RAM + i * PAGE, 500 + i);
		vf_assert(vf_pageout_all(x) == 1);
		vf_assert(vf_info(x, RAM + i * PAGE).pi_swapped);
		vf_assert(vf_system_accounts(x).va_slots == (i == 8 ? 7 : 8));
		if (i == 9) {
			vf_errno(vm_discard(x->vf_vs, RAM + 8 * PAGE, PAGE), 0);
			vf_expect(x, 0, 8, 0);
		}
	}
	vf_check(x);
	vf_verify(x);
}

Test(vm_swap, around_the_end)
{
	const struct vf_options o = {.vo_swap_slots = 8};

	vf_each_swap(&o, around_the_end);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

/* A cluster that fails is written page by page: nobody notices. */
static void
write_once(struct vf *x)
{
	fill(x, 16);
	host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, 1, false);
	vf_assert(vf_pageout_all(x) == 16);
	vf_assert(vf_stats(x).vt_swap_errors == 0 && vf_stats(x).vt_swap_outs == 16);
	vf_verify(x);
}

Test(vm_swap, write_once)
{
	vf_each(NULL, write_once);
}

/* A page that was written alone is not written again at once: the error is one, and counted. */
static void
write_alone(struct vf *x)
{
	fill(x, 1);
	host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, 1, false);
	/* It is tried until nothing goes. */
	vf_assert(vf_pageout_all(x) == 1);
	vf_assert(vf_stats(x).vt_swap_errors == 1 && vf_stats(x).vt_swap_outs == 1);
	vf_assert(vf_system_accounts(x).va_slots == 1);
	vf_verify(x);
}

Test(vm_swap, write_alone)
{
	vf_each_swap(NULL, write_alone);
}

static void
write_never(struct vf *x)
{
	fill(x, 20);
	host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, 1, true);
	vf_assert(vf_pageout_all(x) == 0);
	vf_assert(resident_mask(x, 20) == pages(0, 19));
	vf_assert(vf_stats(x).vt_swap_outs == 0 && vf_stats(x).vt_swap_errors >= 20);
	vf_assert(vf_system_accounts(x).va_slots == 0);
	vf_assert(vf_info(x, RAM).pi_dirty && !vf_info(x, RAM).pi_swapped);
	host_vm_posix_fail_swap(0, 0, false);
	vf_check(x);
	vf_verify(x);
	vf_assert(vf_pageout_all(x) == 20);
	vf_verify(x);
}

Test(vm_swap, write_never)
{
	vf_each_swap(NULL, write_never);
}

/* The neighbors' read fails: the page that is wanted is read alone. */
static void
read_once(struct vf *x)
{
	fill(x, 20);
	vf_pageout_all(x);
	host_vm_posix_fail_swap(HOST_VM_POSIX_READ, 1, false);
	vf_assert(vf_peek(x, RAM + 10 * PAGE) == 110);
	vf_assert(resident_mask(x, 20) == pages(10, 10));
	vf_assert(vf_stats(x).vt_swap_errors == 0 && vf_stats(x).vt_read_ahead == 0);
	vf_check(x);
	vf_verify(x);
}

Test(vm_swap, read_once)
{
	vf_each_swap(NULL, read_once);
}

static void
read_never(struct vf *x)
{
	struct vm_fault_record r = {0};

	fill(x, 20);
	vf_pageout_all(x);
	host_vm_posix_fail_swap(HOST_VM_POSIX_READ, 1, true);
	vf_errno(vm_fault(x->vf_vs, RAM + 5 * PAGE, PMAP_PROT_W, &r), -EIO);
	vf_assert(r.fr_reason == VM_FAULT_SWAP_READ && r.fr_gpa == RAM + 5 * PAGE);
	vf_assert(resident_mask(x, 20) == 0 && vf_stats(x).vt_swap_errors == 1);
	vf_assert(vf_system_accounts(x).va_slots == 20 && vf_accounts(x).va_swapped == 20);
	host_vm_posix_fail_swap(0, 0, false);
	vf_check(x);
	vf_verify(x);
}

Test(vm_swap, read_never)
{
	vf_each_swap(NULL, read_never);
}

/* The k-th request fails, for every k: no byte is lost, and no account is wrong. */
static void
every_request(struct vf *x)
{
	bool failed = true;

	fill(x, 20);
	for (uint64_t k = 1; failed && k < 60; k++) {
		const uint64_t before = swap_stats().ss_failed;

		for (uint64_t i = k % 3; i < 20; i += 3)
			vf_poke(x, RAM + i * PAGE, 1000 * k + i);
		host_vm_posix_fail_swap(HOST_VM_POSIX_READ | HOST_VM_POSIX_WRITE, k, false);
		vf_pageout_all(x);
		vf_check(x);
		/* Some of the faults may fail, once. */
		for (uint64_t i = 0; i < 20; i++)
			vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_R, NULL);
		vf_check(x);
		failed = swap_stats().ss_failed != before;
		host_vm_posix_fail_swap(0, 0, false);
		vf_verify(x);
	}
	vf_assert(!failed); /* all of them had their turn */
}

Test(vm_swap, every_request)
{
	vf_each(NULL, every_request);
}

/* ---- At the same time ------------------------------------------------------------------------ */

/* Each actor goes over all pages from another place: they are each other's neighbors. */
struct crowd {
	struct vf *cr_x;
	struct host_word cr_done;
};

#define CROWD_PAGES 32

/* Goes on until enough pages were read back. */
static bool
crowd_is_done(struct vmspace *vs, unsigned int round)
{
	struct vmspace_stats vt;

	vmspace_stats(vs, &vt);
	return round >= fx_scale(40) && vt.vt_swap_ins >= 50;
}

static void
crowd_actor(void *arg, unsigned int who)
{
	struct crowd *const cr = arg;
	struct vm_system *const sys = cr->cr_x->vf_sys;
	struct vmspace *const vs = cr->cr_x->vf_vs;

	if (who == 0) {
		while (host_load_acquire(&cr->cr_done) < 3) {
			uint64_t freed;

			CHECK(vm_pageout(sys, vs, CROWD_PAGES, 0, &freed) == 0);
			host_relax();
		}
		return;
	}
	for (unsigned int round = 0; !crowd_is_done(vs, round); round++) {
		for (unsigned int i = 0; i < CROWD_PAGES; i++) {
			const uint64_t page =
				who == 2 ? CROWD_PAGES - 1 - i : (i + who * 7) % CROWD_PAGES;
			const gpa_t at = RAM + page * PAGE + who * 8;
			const uint64_t stamp = round + page * 1000;
			uint64_t was = 0;
			uint64_t done;

			CHECK(vm_gpa_read(vs, at, &was, sizeof(was), &done) == 0);
			CHECK(was == (round == 0 ? 0 : stamp - 1));
			CHECK(vm_gpa_write(vs, at, &stamp, sizeof(stamp), &done) == 0);
		}
	}
	host_fetch_add(&cr->cr_done, 1);
}

Test(vm_swap, crowd)
{
	const struct world_config cfg = {.wc_actors = 4};
	struct vf x;
	struct crowd cr = {&x, {0}};

	world_begin(&cfg);
	vf_open(&x, "ept", NULL);
	vf_segment(&x, 0, CROWD_PAGES, NULL);
	vf_map(&x, RAM, 0, 0, CROWD_PAGES, PMAP_PROT_RW);
	world_run(4, crowd_actor, &cr);
	vf_assert(vf_stats(&x).vt_swap_ins >= 50);
	vf_close(&x);
	world_end();
}
