/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Pages go to swap and come back: no byte changes, no limit is passed, nothing waits for ever, and
 * a disk that fails loses nothing.
 */

#include "tests/unit/rng.h"
#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)

static struct host_vm_posix_swap_stats
io(void)
{
	struct host_vm_posix_swap_stats ss;

	host_vm_posix_swap_stats(&ss);
	return ss;
}

static uint64_t
pageout(struct vf *x, struct vmspace *vs, uint64_t n, unsigned int flags)
{
	const uint64_t held = vf_system_accounts(x).va_resident + vf_system_accounts(x).va_reserved;
	uint64_t freed = 99;

	vf_errno(vm_pageout(x->vf_sys, vs, n, flags, &freed), 0);
	vf_assert(held - vf_system_accounts(x).va_resident - vf_system_accounts(x).va_reserved ==
		  freed);
	vf_check(x);
	return freed;
}

static void
fill(struct vf *x, uint64_t npages, uint64_t stamp)
{
	for (uint64_t i = 0; i < npages; i++)
		vf_poke(x, RAM + i * PAGE, stamp + i);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

#define NBYTES 60u

static void
random_page(uint64_t seed, uint64_t words[PAGE / 8])
{
	struct rng rng = {seed};

	for (unsigned int i = 0; i < PAGE / 8; i++)
		words[i] = rng_next(&rng);
}

/* Random bytes, whole pages, out and in several times, changed in between. */
static void
bytes(struct vf *x)
{
	uint64_t version[NBYTES];
	uint64_t words[PAGE / 8];
	uint64_t back[PAGE / 8];
	struct rng rng = {4711};
	uint64_t done;

	vf_errno(vm_alloc_memseg(x->vf_vs, 0, NBYTES * PAGE, NULL), 0);
	vf_map(x, RAM, 0, 0, NBYTES, PMAP_PROT_RW);
	for (unsigned int i = 0; i < NBYTES; i++) {
		version[i] = i;
		random_page(i, words);
		vf_errno(vm_gpa_write(x->vf_vs, RAM + i * PAGE, words, PAGE, &done), 0);
	}
	for (unsigned int round = 0; round < 4; round++) {
		vf_assert(vf_pageout_all(x) >= NBYTES / 2);
		vf_assert(vf_accounts(x).va_resident == 0);
		vf_assert(vf_accounts(x).va_swapped == NBYTES);
		for (unsigned int k = 0; k < NBYTES; k++) {
			const unsigned int i = rng_below(&rng, NBYTES);

			random_page(version[i], words);
			vf_errno(vm_gpa_read(x->vf_vs, RAM + i * PAGE, back, PAGE, &done), 0);
			vf_assert(memcmp(words, back, PAGE) == 0);
			if (k % 3 == 0) {
				version[i] = rng_next(&rng);
				random_page(version[i], words);
				vf_errno(vm_gpa_write(x->vf_vs, RAM + i * PAGE, words, PAGE, &done),
					 0);
			}
		}
		vf_check(x);
	}
	vf_assert(vf_stats(x).vt_swap_outs >= NBYTES && vf_stats(x).vt_swap_ins > 0);
}

Test(vm_pageout, bytes)
{
	vf_each(NULL, bytes);
}

/* What was swapped in and not changed goes without being written again, and keeps its slot. */
static void
clean_again(struct vf *x)
{
	struct host_vm_posix_swap_stats was;
	struct vmspace_stats vt;

	vf_segment(x, 0, 40, NULL);
	vf_map(x, RAM, 0, 0, 40, PMAP_PROT_RW);
	fill(x, 40, 1);
	vf_pageout_all(x);
	vf_assert(vf_accounts(x).va_swapped == 40);
	for (unsigned int i = 0; i < 40; i++) {
		vf_peek(x, RAM + i * PAGE);
		vf_assert(!vf_info(x, RAM + i * PAGE).pi_dirty);
		vf_assert(vf_info(x, RAM + i * PAGE).pi_swapped);
	}
	vf_assert(vf_accounts(x).va_resident == 40 && vf_accounts(x).va_swapped == 0);
	was = io();
	vt = vf_stats(x);
	vf_assert(vf_pageout_all(x) == 40);
	vf_assert(io().ss_writes == was.ss_writes);
	vf_assert(vf_stats(x).vt_reclaimed_clean - vt.vt_reclaimed_clean == 40);
	/* One changed: that one only is written. */
	vf_poke(x, RAM + 7 * PAGE, 1000);
	for (unsigned int i = 0; i < 40; i++)
		vf_peek(x, RAM + i * PAGE);
	vf_pageout_all(x);
	vf_assert(io().ss_pages_written - was.ss_pages_written == 1);
	vf_verify(x);
}

Test(vm_pageout, clean_again)
{
	vf_each_swap(NULL, clean_again);
}

/* Neighbors that were written together are read together. */
static void
clusters(struct vf *x)
{
	struct host_vm_posix_swap_stats was = io();

	vf_segment(x, 0, 128, NULL);
	vf_map(x, RAM, 0, 0, 128, PMAP_PROT_RW);
	fill(x, 128, 1);
	vf_pageout_all(x);
	vf_assert(io().ss_pages_written - was.ss_pages_written == 128);
	vf_assert((io().ss_writes - was.ss_writes) * 4 <= 128);
	was = io();
	for (unsigned int i = 0; i < 128; i++)
		vf_assert(vf_peek(x, RAM + i * PAGE) == i + 1);
	vf_assert(io().ss_pages_read - was.ss_pages_read == 128);
	vf_assert((io().ss_reads - was.ss_reads) * 4 <= 128);
	vf_assert(vf_stats(x).vt_swap_ins + vf_stats(x).vt_read_ahead == 128);
	vf_assert(vf_stats(x).vt_read_ahead > 64);
	vf_check(x);
	vf_verify(x);
}

Test(vm_pageout, clusters)
{
	vf_each_swap(NULL, clusters);
}

/* ---- Which ----------------------------------------------------------------------------------- */

/* Those that were not used go first. */
static void
least_recently(struct vf *x)
{
	unsigned int used = 0;
	unsigned int idle = 0;

	vf_segment(x, 0, 64, NULL);
	vf_map(x, RAM, 0, 0, 64, PMAP_PROT_RW);
	fill(x, 64, 1);
	/* Age all of them: nothing goes by this, but what was used before does not count now. */
	pageout(x, x->vf_vs, 1, 0);
	pageout(x, x->vf_vs, 1, 0);
	for (unsigned int i = 0; i < 64; i += 2) {
		if (vf_info(x, RAM + i * PAGE).pi_resident)
			vf_peek(x, RAM + i * PAGE);
	}
	pageout(x, x->vf_vs, 20, 0);
	for (unsigned int i = 0; i < 64; i++) {
		if (vf_info(x, RAM + i * PAGE).pi_resident)
			*(i % 2 == 0 ? &used : &idle) += 1;
	}
	vf_assert(used > idle + 10);
	vf_verify(x);
}

Test(vm_pageout, least_recently_used)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, least_recently);
}

static void
who_stays(struct vf *x)
{
	struct vm_hold h;

	vf_segment(x, 0, 16, NULL);
	vf_segment(x, 1, 4, "framebuffer");
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_errno(vm_mmap_memseg(x->vf_vs, 2 * RAM, 0, 8 * PAGE, 8 * PAGE, PMAP_PROT_RW,
				VM_MEMMAP_F_WIRED),
		 0);
	vf_map(x, 3 * RAM, 1, 0, 4, PMAP_PROT_RW);
	fill(x, 8, 1);
	vf_poke(x, 3 * RAM, 9);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + PAGE, 1, PMAP_PROT_R, &h, NULL), 0);
	vf_assert(vf_pageout_all(x) == 7);
	vf_assert(vf_info(x, RAM + PAGE).pi_resident && !vf_info(x, RAM).pi_resident);
	vf_assert(vf_accounts(x).va_resident == 9 && vf_accounts(x).va_wired == 8);
	vf_assert(vf_accounts(x).va_devmem == 1);
	vm_gpa_release(&h);
	vf_assert(vf_pageout_all(x) == 1);
	vf_verify(x);
}

Test(vm_pageout, who_stays)
{
	vf_each(NULL, who_stays);
}

/* Of one guest, of all, so many and no more. */
static void
how_many(struct vf *x)
{
	struct vf y;
	uint64_t freed = 7;

	vf_open_second(&y, x, "ept", NULL);
	vf_segment(x, 0, 50, NULL);
	vf_map(x, RAM, 0, 0, 50, PMAP_PROT_RW);
	fill(x, 50, 1);
	vf_segment(&y, 0, 50, NULL);
	vf_map(&y, RAM, 0, 0, 50, PMAP_PROT_RW);
	fill(&y, 50, 100);
	vf_assert(pageout(x, x->vf_vs, 0, 0) == 0);
	vf_assert(pageout(x, x->vf_vs, 5, 0) == 5);
	vf_assert(vf_accounts(x).va_resident == 45 && vf_accounts(&y).va_resident == 50);
	vf_assert(pageout(x, y.vf_vs, 60, 0) == 50);
	vf_assert(vf_accounts(x).va_resident == 45 && vf_accounts(&y).va_resident == 0);
	vf_assert(pageout(x, NULL, 40, 0) == 40);
	vf_assert(pageout(x, NULL, 1000, 0) == 5);
	vf_assert(pageout(x, NULL, 1000, 0) == 0);
	vf_errno(vm_pageout(x->vf_sys, NULL, 1, 2, &freed), -EINVAL);
	vf_assert(freed == 0);
	vf_verify(&y);
	vf_verify(x);
	vf_close(&y);
}

Test(vm_pageout, how_many)
{
	vf_each(NULL, how_many);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static void
working_set(struct vf *x)
{
	const uint64_t limit = x->vf_options.vo_limit_pages;
	struct rng rng = {99};

	vf_segment(x, 0, 3 * limit, NULL);
	vf_map(x, RAM, 0, 0, 3 * limit, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 12 * limit; i++) {
		const uint64_t page = rng_below(&rng, (unsigned int)(3 * limit));
		const gpa_t gpa = RAM + page * PAGE;
		struct vm_accounts va;

		if (rng_percent(&rng, 50))
			vf_poke(x, gpa, rng_next(&rng));
		else
			vf_assert(vf_peek(x, gpa) == vf_expected(x, 0, page));
		if (i % 16 != 0)
			continue;
		va = vf_accounts(x);
		vf_assert(va.va_resident + va.va_reserved + va.va_devmem <= limit);
	}
	vf_check(x);
	vf_assert(vf_stats(x).vt_swap_ins > 0 && vf_accounts(x).va_swapped >= limit);
	vf_verify(x);
}

Test(vm_pageout, guest_limit)
{
	static const struct vf_options o = {.vo_limit_pages = 100};
	static const struct vf_options one = {.vo_limit_pages = 1};

	vf_each(&o, working_set);
	vf_each(&one, working_set);
}

/* Who is at its own limit makes room for itself, not at the cost of others. */
static void
own_limit(struct vf *x)
{
	struct vf y;

	vf_open_second(&y, x, "ept", NULL);
	vf_segment(&y, 0, 60, NULL);
	vf_map(&y, RAM, 0, 0, 60, PMAP_PROT_RW);
	fill(&y, 60, 500);
	vf_segment(x, 0, 200, NULL);
	vf_map(x, RAM, 0, 0, 200, PMAP_PROT_RW);
	fill(x, 200, 1);
	vf_assert(vf_accounts(&y).va_resident == 60 && vf_stats(&y).vt_reclaimed == 0);
	vf_assert(vf_accounts(x).va_resident <= 40 && vf_stats(x).vt_reclaimed >= 160);
	vf_verify(x);
	vf_assert(vf_accounts(&y).va_resident == 60 && vf_stats(&y).vt_reclaimed == 0);
	vf_verify(&y);
	vf_close(&y);
}

Test(vm_pageout, own_limit)
{
	static const struct vf_options o = {.vo_limit_pages = 40, .vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, own_limit);
}

/* Two guests share what is too little for either. */
static void
total_limit(struct vf *x)
{
	struct vf y;
	struct rng rng = {7};

	vf_open_second(&y, x, "rvi-4", NULL);
	vf_segment(x, 0, 150, NULL);
	vf_map(x, RAM, 0, 0, 150, PMAP_PROT_RW);
	vf_segment(&y, 0, 150, NULL);
	vf_map(&y, RAM, 0, 0, 150, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 1500; i++) {
		struct vf *const who = rng_percent(&rng, 50) ? x : &y;
		const uint64_t page = rng_below(&rng, 150);

		if (rng_percent(&rng, 60))
			vf_poke(who, RAM + page * PAGE, rng_next(&rng));
		else
			vf_assert(vf_peek(who, RAM + page * PAGE) == vf_expected(who, 0, page));
		if (i % 16 == 0) {
			const struct vm_accounts va = vf_system_accounts(x);

			/* Tables are counted after the fact. */
			vf_assert(va.va_resident + va.va_reserved <= 120);
		}
	}
	vf_check(x);
	vf_verify(x);
	vf_verify(&y);
	vf_close(&y);
}

Test(vm_pageout, total_limit)
{
	static const struct vf_options o = {.vo_system_pages = 120};

	vf_each(&o, total_limit);
}

/* The host has less than the guests may have. */
static void
host_limit(struct vf *x)
{
	const unsigned int n = 1400;

	vf_segment(x, 0, n, NULL);
	vf_map(x, RAM, 0, 0, n, PMAP_PROT_RW);
	fill(x, n, 1);
	for (unsigned int i = 0; i < n; i += 3)
		vf_assert(vf_peek(x, RAM + i * PAGE) == i + 1);
	vf_check(x);
	vf_verify(x);
}

Test(vm_pageout, host_limit)
{
	static const struct vf_options o = {.vo_memory_bytes = 2 * MIB};

	vf_each(&o, host_limit);
}

/* How many pageouts there were, and what was wanted and came of the last one. */
static void
on_trace(void *arg, enum host_trace_event event, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t *const told = arg;

	if (event != HOST_TRACE_PAGEOUT)
		return;
	told[0]++;
	told[1] = a;
	told[2] = b;
	cr_assert_eq(c, 0);
}

/* All that there is is wired: an error, and soon. Others wait for ever unkillable. */
static void
all_wired(struct vf *x)
{
	struct vm_fault_record r;
	struct vf_snapshot before;
	uint64_t freed;
	uint64_t told[3] = {0};
	const struct host_posix_hooks hooks = {.ph_trace = on_trace, .ph_arg = told};

	vf_segment(x, 0, 64, NULL);
	vf_errno(vm_mmap_memseg(x->vf_vs, RAM, 0, 0, 40 * PAGE, PMAP_PROT_RW, VM_MEMMAP_F_WIRED),
		 0);
	vf_map(x, 2 * RAM, 0, 40, 24, PMAP_PROT_RW);
	vf_snapshot(x, &before);
	host_posix_set_hooks(&hooks);
	for (unsigned int i = 0; i < 24; i++) {
		vf_errno(vm_fault(x->vf_vs, 2 * RAM + i * PAGE, PMAP_PROT_W, &r), -ENOMEM);
		vf_assert(r.fr_reason == VM_FAULT_GUEST_LIMIT);
		/* Where nothing went there is no use in asking again. */
		vf_assert(told[0] == i + 1 && told[2] == 0);
	}
	host_posix_set_hooks(NULL);
	vf_errno(vm_wire_memmap(x->vf_vs, 2 * RAM, 24 * PAGE), -ENOMEM);
	vf_errno(vm_pageout(x->vf_sys, NULL, 1, 0, &freed), 0);
	vf_assert(freed == 0);
	vf_same(x, &before, true, "all is wired");
	vf_snapshot_free(&before);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 40 * PAGE), 0);
	vf_poke(x, 2 * RAM, 5);
	vf_verify(x);
}

Test(vm_pageout, all_wired)
{
	static const struct vf_options o = {.vo_limit_pages = 40};

	vf_each(&o, all_wired);
}

/* Swap fills up: then memory is what there is, and no byte is lost. */
static void
swap_full(struct vf *x)
{
	struct vm_fault_record r = {0};
	unsigned int n = 0;

	vf_segment(x, 0, 100, NULL);
	vf_map(x, RAM, 0, 0, 100, PMAP_PROT_RW);
	for (; n < 100; n++) {
		const uint64_t stamp = n + 1;
		hpa_t hpa;

		if (vf_touch(x, RAM + n * PAGE, PMAP_PROT_W, &hpa, &r) != 0)
			break;
		host_page_write(hpa, 0, &stamp, 8);
		host_page_write(hpa, PAGE - 8, &stamp, 8);
		vf_expect(x, 0, n, stamp);
	}
	vf_assert(r.fr_error == -ENOMEM && r.fr_reason == VM_FAULT_GUEST_LIMIT);
	vf_assert(n >= 20 && n <= 20 + 30);
	vf_check(x);
	for (unsigned int i = 0; i < n; i++) {
		if (vf_info(x, RAM + i * PAGE).pi_resident)
			vf_assert(vf_peek(x, RAM + i * PAGE) == i + 1);
	}
	/* What is given up makes room again. */
	vf_errno(vm_discard(x->vf_vs, RAM, 10 * PAGE), 0);
	for (unsigned int i = 0; i < 10; i++)
		vf_expect(x, 0, i, 0);
	for (unsigned int i = 10; i < n; i++)
		vf_assert(vf_peek(x, RAM + i * PAGE) == i + 1);
	vf_check(x);
}

Test(vm_pageout, swap_full)
{
	static const struct vf_options o = {.vo_limit_pages = 20, .vo_swap_slots = 30};

	vf_each_swap(&o, swap_full);
}

/* ---- Interrupts, errors, no I/O -------------------------------------------------------------- */

static void
interrupted(struct vf *x)
{
	uint64_t freed = 7;

	vf_segment(x, 0, 50, NULL);
	vf_map(x, RAM, 0, 0, 50, PMAP_PROT_RW);
	fill(x, 50, 1);
	host_vm_posix_interrupt(host_cpu(), true);
	vf_errno(vm_pageout(x->vf_sys, NULL, 20, 0, &freed), -EINTR);
	vf_assert(freed == 0);
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_R, NULL), 0);
	host_vm_posix_interrupt(host_cpu(), false);
	vf_check(x);
	vf_assert(pageout(x, NULL, 20, 0) == 20);
	vf_verify(x);
}

Test(vm_pageout, interrupted)
{
	vf_each(NULL, interrupted);
}

/* Every n-th write fails, then all of them; what cannot be written stays, and is counted. */
static void
write_errors(struct vf *x)
{
	uint64_t freed;

	vf_segment(x, 0, 80, NULL);
	vf_map(x, RAM, 0, 0, 80, PMAP_PROT_RW);
	for (unsigned int n = 1; n < 10; n++) {
		fill(x, 80, 1000 * n);
		host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, n, false);
		vf_errno(vm_pageout(x->vf_sys, NULL, 80, 0, &freed), 0);
		vf_check(x);
		vf_assert(vf_accounts(x).va_resident + freed >= 80);
		host_vm_posix_fail_swap(0, 0, false);
		for (unsigned int i = 0; i < 80; i++)
			vf_assert(vf_peek(x, RAM + i * PAGE) == 1000 * n + i);
	}
	fill(x, 80, 7);
	host_vm_posix_fail_swap(HOST_VM_POSIX_WRITE, 1, true);
	const uint64_t errors = vf_stats(x).vt_swap_errors;

	vf_errno(vm_pageout(x->vf_sys, NULL, 80, 0, &freed), 0);
	vf_assert(freed == 0 && vf_accounts(x).va_resident == 80);
	vf_assert(vf_stats(x).vt_swap_errors > errors);
	vf_check(x);
	host_vm_posix_fail_swap(0, 0, false);
	vf_verify(x);
	vf_assert(vf_pageout_all(x) == 80);
	vf_verify(x);
}

Test(vm_pageout, write_errors)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each_swap(&o, write_errors);
}

static void
read_errors(struct vf *x)
{
	vf_segment(x, 0, 80, NULL);
	vf_map(x, RAM, 0, 0, 80, PMAP_PROT_RW);
	fill(x, 80, 1);
	for (unsigned int n = 1; n < 7; n++) {
		unsigned int failed = 0;

		vf_pageout_all(x);
		host_vm_posix_fail_swap(HOST_VM_POSIX_READ, n, n % 2 == 0);
		for (unsigned int i = 0; i < 80; i++) {
			struct vm_fault_record r;
			const int error = vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_R, &r);

			if (error == 0)
				continue;
			vf_errno(error, -EIO);
			vf_assert(r.fr_reason == VM_FAULT_SWAP_READ && r.fr_gpa == RAM + i * PAGE);
			vf_assert(!vf_info(x, RAM + i * PAGE).pi_resident);
			failed++;
		}
		host_vm_posix_fail_swap(0, 0, false);
		if (n % 2 == 0)
			vf_assert(failed > 0);
		vf_check(x);
		vf_verify(x);
	}
}

Test(vm_pageout, read_errors)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, read_errors);
}

/* Dropping what needs no writing does no I/O; what needs it is not in the way. */
static void
only_clean(struct vf *x)
{
	struct host_vm_posix_swap_stats was;
	unsigned int dirty = 0;

	vf_segment(x, 0, 400, NULL);
	vf_map(x, RAM, 0, 0, 400, PMAP_PROT_RW);
	fill(x, 400, 1);
	vf_pageout_all(x);
	for (unsigned int i = 0; i < 400; i++)
		vf_peek(x, RAM + i * PAGE);
	for (unsigned int i = 0; i < 400; i += i < 150 ? 1 : 4, dirty++)
		vf_poke(x, RAM + i * PAGE, 500 + i);
	was = io();
	vf_assert(pageout(x, NULL, 1000, VM_PAGEOUT_CLEAN) == 400 - dirty);
	vf_assert(io().ss_reads == was.ss_reads && io().ss_writes == was.ss_writes);
	for (unsigned int i = 0; i < 400; i++)
		vf_assert(vf_info(x, RAM + i * PAGE).pi_resident == (i < 150 || i % 4 == 2));
	vf_assert(pageout(x, NULL, 1000, VM_PAGEOUT_CLEAN) == 0);
	/* What is known to be dirty is left alone: the guest does not even fault for it. */
	for (unsigned int i = 0; i < 400; i += i < 150 ? 1 : 4)
		vf_peek(x, RAM + i * PAGE);
	vf_assert(pageout(x, NULL, 1000, VM_PAGEOUT_CLEAN) == 0);
	for (unsigned int i = 0; i < 400; i += i < 150 ? 1 : 4) {
		struct pmap_leaf leaf;

		vf_errno(pmap_extract(x->vf_pm, RAM + i * PAGE, &leaf), 0);
	}
	vf_verify(x);
}

Test(vm_pageout, only_clean)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, only_clean);
}

/* People who watch are told what was wanted, and what came of it. */
static void
is_told(struct vf *x)
{
	uint64_t told[3] = {0};
	const struct host_posix_hooks hooks = {.ph_trace = on_trace, .ph_arg = told};

	vf_segment(x, 0, 40, NULL);
	vf_map(x, RAM, 0, 0, 40, PMAP_PROT_RW);
	fill(x, 40, 1);
	host_posix_set_hooks(&hooks);
	vf_assert(pageout(x, NULL, 7, 0) == 7);
	vf_assert(told[0] == 1 && told[1] == 7 && told[2] == 7);
	vf_assert(pageout(x, NULL, 100, 0) == 33);
	vf_assert(told[0] == 2 && told[1] == 100 && told[2] == 33);
	host_posix_set_hooks(NULL);
	vf_verify(x);
}

Test(vm_pageout, is_told)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, is_told);
}

/* A superpage goes in pieces, with what was written to any of them. */
static void
superpages(struct vf *x)
{
	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RWX);
	vf_poke(x, RAM + 3 * PAGE, 3);
	vf_poke(x, RAM + 900 * PAGE, 9);
	for (unsigned int i = 0; i < 20; i++) {
		pageout(x, NULL, 50, 0);
		vf_poke(x, RAM + (i * 53 % 1024) * PAGE, 1000 + i);
		vf_assert(vf_peek(x, RAM + 900 * PAGE) == vf_expected(x, 0, 900));
	}
	vf_pageout_all(x);
	vf_assert(vf_accounts(x).va_resident == 0 && vf_accounts(x).va_reserved == 0);
	vf_verify(x);
}

Test(vm_pageout, superpages)
{
	static const struct vf_options eager = {.vo_flags = VM_EAGER_RUNS};
	static const struct vf_options nx = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	vf_each(&eager, superpages);
	vf_each(&nx, superpages);
}

/* What was only read is clean, by whatever it was mapped: it is dropped, and is zeros again. */
static void
only_read(struct vf *x)
{
	struct host_vm_posix_swap_stats was = io();

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RWX);
	for (unsigned int i = 0; i < 1024; i++)
		vf_assert(vf_peek(x, RAM + i * PAGE) == 0);
	vf_assert(vf_pageout_all(x) == 1024);
	vf_assert(io().ss_writes == was.ss_writes && vf_accounts(x).va_slots == 0);
	vf_assert(vf_accounts(x).va_swapped == 0);
	/* One page is written: it is one page that goes to swap, or its superpage. */
	vf_peek(x, RAM);
	vf_poke(x, RAM + 5 * PAGE, 5);
	vf_pageout_all(x);
	vf_assert(vf_accounts(x).va_swapped >= 1 && vf_accounts(x).va_swapped <= 512);
	vf_verify(x);
}

Test(vm_pageout, only_read)
{
	static const struct vf_options eager = {.vo_flags = VM_EAGER_RUNS};

	vf_each(NULL, only_read);
	vf_each(&eager, only_read);
}
