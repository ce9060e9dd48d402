/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Faults: why one fails, and that each reason is told apart from all others; that a fault which was
 * none changes nothing; that what is read-only is so at every layer; what kinds of pages come.
 */

#include "tests/unit/vm_fixture.h"
#include "vmspace/vm_priv.h"

#include <string.h>

#define RAM (16 * MIB)
#define ROM (64 * MIB)
#define WINDOW (3 * GIB)

/* ---- Reasons --------------------------------------------------------------------------------- */

/* Every field of a record; fills it with something else first. */
static void
expect(struct vf *x, gpa_t gpa, unsigned int access, enum vm_fault_reason reason, int error,
       gpa_t at, uint64_t len)
{
	struct vm_fault_record r;
	const uint64_t failed = vf_stats(x).vt_faults_failed;

	memset(&r, 0xee, sizeof(r));
	vf_errno(vm_fault(x->vf_vs, gpa, access, &r), error);
	if (r.fr_reason != reason)
		vf_fail("reason %s, not %s", vm_fault_reason_name(r.fr_reason),
			vm_fault_reason_name(reason));
	vf_assert(r.fr_error == error && r.fr_access == access);
	vf_assert(r.fr_gpa == at);
	vf_assert(r.fr_len_bytes == len);
	vf_errno(vm_fault(x->vf_vs, gpa, access, NULL), error);
	vf_assert(vf_stats(x).vt_faults_failed == failed + 2);
}

static void
reasons(struct vf *x)
{
	struct vf_snapshot before;

	vf_segment(x, 0, 64, NULL);
	vf_map(x, RAM, 0, 0, 32, PMAP_PROT_RW);
	vf_map(x, ROM, 0, 32, 32, PMAP_PROT_RX);
	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 4 * PAGE, FX_HPA), 0);
	vf_snapshot(x, &before);
	expect(x, x->vf_limit + 5, PMAP_PROT_R, VM_FAULT_BEYOND, -EINVAL, x->vf_limit, PAGE);
	expect(x, 0, PMAP_PROT_W, VM_FAULT_UNMAPPED, -EFAULT, 0, RAM);
	expect(x, RAM + 32 * PAGE + 9, PMAP_PROT_X, VM_FAULT_UNMAPPED, -EFAULT, RAM + 32 * PAGE,
	       ROM - RAM - 32 * PAGE);
	expect(x, WINDOW + 4 * PAGE, PMAP_PROT_R, VM_FAULT_UNMAPPED, -EFAULT, WINDOW + 4 * PAGE,
	       x->vf_limit - WINDOW - 4 * PAGE);
	vf_errno(vm_fault(x->vf_vs, ROM + 5 * PAGE + 1, PMAP_PROT_W, NULL), -EACCES);
	vf_same(x, &before, true, "faults that fail");
	vf_snapshot_free(&before);
}

Test(vm_fault, reasons)
{
	vf_each(NULL, reasons);
}

/* Denied: by a map, by a window. The length is as far as the answer holds: a page at least. */
static void
denied(struct vf *x)
{
	static const unsigned int tries[] = {PMAP_PROT_W, PMAP_PROT_RW, PMAP_PROT_RWX};
	struct vm_fault_record r;

	vf_segment(x, 0, 64, NULL);
	vf_map(x, ROM, 0, 32, 32, PMAP_PROT_RX);
	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 4 * PAGE, FX_HPA), 0);
	for (unsigned int i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		vf_errno(vm_fault(x->vf_vs, ROM + 5 * PAGE + 1, tries[i], &r), -EACCES);
		vf_assert(r.fr_reason == VM_FAULT_DENIED && r.fr_error == -EACCES);
		vf_assert(r.fr_access == tries[i] && r.fr_gpa == ROM + 5 * PAGE);
		vf_assert(r.fr_len_bytes >= PAGE && r.fr_len_bytes % PAGE == 0);
		vf_assert(r.fr_gpa + r.fr_len_bytes <= ROM + 32 * PAGE);
	}
	vf_errno(vm_fault(x->vf_vs, WINDOW + PAGE, PMAP_PROT_X, &r), -EACCES);
	vf_assert(r.fr_reason == VM_FAULT_DENIED && r.fr_gpa == WINDOW + PAGE);
	vf_assert(vf_accounts(x).va_resident == 0);
}

Test(vm_fault, denied)
{
	vf_each(NULL, denied);
}

/* A window cannot be held; who asks is told. */
static void
window_hold(struct vf *x)
{
	struct vm_fault_record r = {0};
	struct vm_hold hold;

	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 4 * PAGE, FX_HPA), 0);
	vf_errno(vm_gpa_hold(x->vf_vs, WINDOW + PAGE, 8, PMAP_PROT_R, &hold, &r), -EFAULT);
	vf_assert(r.fr_reason == VM_FAULT_WINDOW && r.fr_error == -EFAULT);
	vf_assert(r.fr_gpa == WINDOW + PAGE);
}

Test(vm_fault, window_hold)
{
	vf_each(NULL, window_hold);
}

static void
swap_read(struct vf *x)
{
	struct vm_fault_record r;

	vf_segment(x, 0, 4, NULL);
	vf_map(x, RAM, 0, 0, 4, PMAP_PROT_RW);
	vf_poke(x, RAM, 5);
	vf_swap_out(x, RAM);
	host_vm_posix_fail_swap(HOST_VM_POSIX_READ, 1, true);
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_R, &r), -EIO);
	vf_assert(r.fr_reason == VM_FAULT_SWAP_READ && r.fr_error == -EIO && r.fr_gpa == RAM);
	host_vm_posix_fail_swap(0, 0, false);
	vf_check(x);
	vf_assert(vf_stats(x).vt_swap_errors > 0);
	vf_assert(vf_peek(x, RAM) == 5); /* another try succeeds */
	vf_verify(x);
}

Test(vm_fault, swap_read)
{
	vf_each(NULL, swap_read);
}

/* Limits: nothing can be paged out, since there is no swap and all pages are dirty. */

static void
fill(struct vf *x, uint64_t npages, struct vm_fault_record *r)
{
	int error = 0;

	vf_segment(x, 0, npages, NULL);
	vf_map(x, RAM, 0, 0, npages, PMAP_PROT_RW);
	for (uint64_t i = 0; i < npages && error == 0; i++) {
		hpa_t hpa;

		error = vf_touch(x, RAM + i * PAGE, PMAP_PROT_W, &hpa, r);
		if (error == 0) {
			host_page_write(hpa, 0, &i, sizeof(i));
			host_page_write(hpa, PAGE - sizeof(i), &i, sizeof(i));
			vf_expect(x, 0, i, i);
		}
	}
	vf_errno(error, -ENOMEM);
	vf_assert(r->fr_error == -ENOMEM);
	vf_check(x);
}

static void
guest_limit(struct vf *x)
{
	struct vm_fault_record r;

	fill(x, 40, &r);
	vf_assert(r.fr_reason == VM_FAULT_GUEST_LIMIT && r.fr_gpa == RAM + 10 * PAGE);
	vf_assert(vf_accounts(x).va_resident == 10);
}

Test(vm_fault, guest_limit)
{
	static const struct vf_options o = {.vo_limit_pages = 10, .vo_no_swap = true};

	vf_each_swap(&o, guest_limit);
}

static void
total_limit(struct vf *x)
{
	struct vm_fault_record r;

	fill(x, 80, &r);
	vf_assert(r.fr_reason == VM_FAULT_TOTAL_LIMIT);
	vf_assert(vf_accounts(x).va_resident < 50 && vf_accounts(x).va_resident > 30);
}

Test(vm_fault, total_limit)
{
	static const struct vf_options o = {.vo_system_pages = 50, .vo_no_swap = true};

	vf_each_swap(&o, total_limit);
}

/* The host has no page left. */
static void
no_memory(struct vf *x)
{
	struct vm_fault_record r;

	fill(x, 600, &r);
	vf_assert(r.fr_reason == VM_FAULT_NO_MEMORY);
	vf_assert(vf_accounts(x).va_resident == host_vm_posix_memory_pages());
}

Test(vm_fault, no_memory)
{
	static const struct vf_options o = {.vo_memory_bytes = 2 * MIB, .vo_no_swap = true};

	vf_each_swap(&o, no_memory);
}

/* No page for a page table: the tables of other addresses are missing, the frame is there. */
static void
no_table(struct vf *x)
{
	struct vm_fault_record r = {0};
	unsigned int seen = 0;

	vf_segment(x, 0, 4, NULL);
	vf_map(x, RAM, 0, 0, 4, PMAP_PROT_RW);
	vf_map(x, RAM + GIB, 0, 0, 4, PMAP_PROT_RW);
	vf_poke(x, RAM, 9);
	for (unsigned int n = 1; n <= 2; n++) {
		host_posix_fail_alloc(n, true);
		vf_errno(vm_fault(x->vf_vs, RAM + GIB, PMAP_PROT_R, &r), -ENOMEM);
		host_posix_fail_alloc(0, false);
		seen += r.fr_reason == VM_FAULT_NO_TABLE;
		vf_check(x);
	}
	vf_assert(seen == 2);
	vf_assert(vf_peek(x, RAM + GIB) == 9);
}

Test(vm_fault, no_table)
{
	static const struct vf_options o = {.vo_no_swap = true};

	vf_each_swap(&o, no_table);
}

/*
 * Tables that are gone are still counted when memory is short: nothing can be paged out then, and
 * there is room all the same.
 */
static void
tables_gone(struct vf *x)
{
	const unsigned int n = 20;

	vf_segment(x, 0, 200, NULL);
	vf_map(x, RAM, 0, 0, 200, PMAP_PROT_RW);
	vf_poke(x, RAM, 1);
	for (unsigned int i = 0; i < n; i++) {
		vf_errno(vm_map_mmio(x->vf_vs, (i + 4) * GIB, GIB, FX_HPA), 0);
		vf_errno(vm_fault(x->vf_vs, (i + 4) * GIB, PMAP_PROT_R, NULL), 0);
	}
	vmspace_drain(x->vf_vs);
	for (unsigned int i = 0; i < n; i++)
		vf_errno(vm_unmap_mmio(x->vf_vs, (i + 4) * GIB, GIB), 0);
	/* More than there is room for beside the windows' tables, one for each at least. */
	for (unsigned int i = 1; i < x->vf_options.vo_system_pages - 15; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_verify(x);
}

Test(vm_fault, tables_that_are_gone_make_room)
{
	static const struct vf_options o = {.vo_system_pages = 60, .vo_no_swap = true};

	vf_each_swap(&o, tables_gone);
}

/* A chunk that exists needs no memory, and its run has a frame for each page of it. */
static void
no_chunk(struct vf *x)
{
	hpa_t hpa;

	vf_segment(x, 0, 512, NULL);
	vf_map(x, RAM, 0, 0, 512, PMAP_PROT_RW);
	vf_poke(x, RAM, 1);
	host_posix_fail_alloc(1, true);
	vf_errno(vf_touch(x, RAM + PAGE, PMAP_PROT_W, &hpa, NULL), 0);
	host_posix_fail_alloc(0, false);
	vf_verify(x);
}

Test(vm_fault, what_is_reserved_needs_no_memory)
{
	static const struct vf_options o = {.vo_no_swap = true};

	vf_each_swap(&o, no_chunk);
}

static void
interrupted(struct vf *x)
{
	struct vm_fault_record r = {0};
	hpa_t hpa;

	vf_segment(x, 0, 40, NULL);
	vf_map(x, RAM, 0, 0, 40, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 10; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	host_vm_posix_interrupt(host_cpu(), true);
	/* What needs no sleep is not interrupted. */
	vf_errno(vf_touch(x, RAM, PMAP_PROT_R, &hpa, &r), 0);
	vf_errno(vm_fault(x->vf_vs, RAM + 20 * PAGE, PMAP_PROT_R, &r), -EINTR);
	vf_assert(r.fr_reason == VM_FAULT_INTERRUPTED && r.fr_error == -EINTR);
	vf_assert(r.fr_gpa == RAM + 20 * PAGE);
	vf_check(x);
	host_vm_posix_interrupt(host_cpu(), false);
	vf_poke(x, RAM + 20 * PAGE, 99);
	vf_verify(x);
}

Test(vm_fault, interrupted)
{
	static const struct vf_options o = {.vo_limit_pages = 10};

	vf_each(&o, interrupted);
}

/* Without a table page, and without patience: the second is what is told. */
static void
interrupted_table(struct vf *x)
{
	struct vm_fault_record r = {0};

	vf_segment(x, 0, 4, NULL);
	vf_map(x, RAM, 0, 0, 4, PMAP_PROT_RW);
	vf_map(x, RAM + GIB, 0, 0, 4, PMAP_PROT_RW);
	vf_poke(x, RAM, 9);
	host_vm_posix_interrupt(host_cpu(), true);
	host_posix_fail_alloc(1, true);
	vf_errno(vm_fault(x->vf_vs, RAM + GIB, PMAP_PROT_R, &r), -EINTR);
	host_posix_fail_alloc(0, false);
	host_vm_posix_interrupt(host_cpu(), false);
	vf_assert(r.fr_reason == VM_FAULT_INTERRUPTED && r.fr_gpa == RAM + GIB);
	vf_check(x);
	vf_assert(vf_peek(x, RAM + GIB) == 9);
}

Test(vm_fault, interrupted_table)
{
	vf_each(NULL, interrupted_table);
}

/* The page is being brought in by another, who does not get on. */
static void
interrupted_wait(struct vf *x)
{
	struct vm_fault_record r = {0};
	struct vm_object *ob;
	struct vm_hold h;
	struct vm_page *pg;
	uint64_t state;

	vf_segment(x, 0, 4, NULL);
	vf_map(x, RAM, 0, 0, 4, PMAP_PROT_RW);
	vf_poke(x, RAM, 9);
	vf_swap_out(x, RAM);
	ob = x->vf_vs->vs_segs[0].sg_object;
	pg = vm_object_page(ob, 0);
	vf_assert(vm_page_own(pg, &state));
	host_vm_posix_interrupt(host_cpu(), true);
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_R, &r), -EINTR);
	vf_assert(r.fr_reason == VM_FAULT_INTERRUPTED && r.fr_gpa == RAM);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM, 1, PMAP_PROT_R, &h, &r), -EINTR);
	vf_assert(r.fr_reason == VM_FAULT_INTERRUPTED);
	vf_errno(vm_memseg_hold(x->vf_vs, 0, 0, 1, PMAP_PROT_R, &h), -EINTR);
	vf_assert(vf_info(x, RAM).pi_busy && !vf_info(x, RAM + PAGE).pi_busy);
	host_vm_posix_interrupt(host_cpu(), false);
	vm_page_disown(ob, pg, 0, 0);
	vf_check(x);
	vf_assert(vf_peek(x, RAM) == 9);
}

Test(vm_fault, interrupted_wait)
{
	vf_each(NULL, interrupted_wait);
}

static void
no_right(struct vf *x)
{
	vf_segment(x, 0, 4, NULL);
	vf_map(x, RAM, 0, 0, 4, PMAP_PROT_RW);
	vf_errno(vm_fault(x->vf_vs, RAM, 0, NULL), -EINVAL);
	vf_errno(vm_fault(x->vf_vs, RAM, 8, NULL), -EINVAL);
	vf_errno(vm_fault(x->vf_vs, RAM, ~0u, NULL), -EINVAL);
	vf_assert(vf_accounts(x).va_resident == 0);
}

Test(vm_fault, no_right)
{
	vf_each(NULL, no_right);
}

Test(vm_fault, names)
{
	cr_assert_str_eq(vm_fault_reason_name(VM_FAULT_REASON_COUNT), "unknown");
	for (unsigned int i = 0; i < VM_FAULT_REASON_COUNT; i++) {
		const char *const name = vm_fault_reason_name((enum vm_fault_reason)i);

		cr_assert(name != NULL && name[0] != '\0');
		for (unsigned int k = 0; k < i; k++)
			cr_assert_str_neq(name, vm_fault_reason_name((enum vm_fault_reason)k));
	}
}

/* ---- Faults that are none -------------------------------------------------------------------- */

static void
spurious(struct vf *x)
{
	static const unsigned int rights[] = {PMAP_PROT_R, PMAP_PROT_W, PMAP_PROT_X, PMAP_PROT_RW,
					      PMAP_PROT_RWX};
	struct vf_snapshot before;
	struct vmspace_stats was;

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RWX);
	vf_errno(vm_map_mmio(x->vf_vs, WINDOW, 4 * PAGE, FX_HPA), 0);
	for (unsigned int i = 0; i < 1024; i += i < 512 ? 1 : 60)
		vf_poke(x, RAM + i * PAGE, i + 1);
	for (unsigned int i = 0; i < 1024; i += 60) {
		hpa_t hpa;

		vf_errno(vf_touch(x, RAM + i * PAGE, PMAP_PROT_X, &hpa, NULL), 0);
		vf_errno(vf_touch(x, RAM + i * PAGE, PMAP_PROT_W, &hpa, NULL), 0);
		vf_errno(vf_touch(x, WINDOW, PMAP_PROT_RW, &hpa, NULL), 0);
	}
	was = vf_stats(x);
	vf_snapshot(x, &before);
	for (unsigned int i = 0; i < 1024; i += 60) {
		for (unsigned int k = 0; k < sizeof(rights) / sizeof(rights[0]); k++)
			vf_errno(vm_fault(x->vf_vs, RAM + i * PAGE + 7, rights[k], NULL), 0);
	}
	vf_errno(vm_fault(x->vf_vs, WINDOW, PMAP_PROT_W, NULL), 0);
	vf_same(x, &before, true, "spurious faults");
	vf_snapshot_free(&before);
	vf_assert(vf_stats(x).vt_faults_spurious - was.vt_faults_spurious ==
		  vf_stats(x).vt_faults - was.vt_faults);
	vf_assert(vf_stats(x).vt_faults - was.vt_faults == 18 * 5 + 1);
	vf_assert(vf_stats(x).vt_zero_fills == was.vt_zero_fills);
	vf_assert(vf_stats(x).vt_fault_retries == was.vt_fault_retries);
}

Test(vm_fault, spurious)
{
	static const struct vf_options eager = {.vo_flags = VM_EAGER_RUNS};

	vf_each(NULL, spurious);
	vf_each(&eager, spurious);
}

/* ---- Read-only, at every layer --------------------------------------------------------------- */

static void
read_only(struct vf *x)
{
	const uint64_t stamp = 0x1234567812345678;
	struct vf_snapshot before;
	struct vm_fault_record r;
	struct vm_hold hold;
	uint64_t done = 5;
	uint64_t word;
	hpa_t hpa;

	vf_segment(x, 1, 16, "bootrom");
	vf_map(x, RAM, 1, 0, 16, PMAP_PROT_RW);
	vf_poke(x, RAM + PAGE, stamp);
	vf_unmap(x, RAM, 16);
	vf_map(x, ROM, 1, 0, 16, PMAP_PROT_RX);
	vf_assert(vf_peek(x, ROM + PAGE) == stamp);
	vf_errno(vf_touch(x, ROM + PAGE, PMAP_PROT_X, &hpa, NULL), 0);
	vf_snapshot(x, &before);

	/* The tables, the fault, a hold, the node. */
	vf_assert(!vf_walk(x, ROM + PAGE, PMAP_PROT_W, &hpa));
	vf_errno(vm_fault(x->vf_vs, ROM + PAGE, PMAP_PROT_W, &r), -EACCES);
	vf_assert(r.fr_reason == VM_FAULT_DENIED);
	vf_errno(vm_gpa_hold(x->vf_vs, ROM + PAGE, 8, PMAP_PROT_RW, &hold, &r), -EACCES);
	vf_assert(r.fr_reason == VM_FAULT_DENIED && r.fr_gpa == ROM + PAGE);
	vf_errno(vm_gpa_hold(x->vf_vs, ROM + PAGE, 8, PMAP_PROT_W, &hold, &r), -EACCES);
	vf_errno(vm_gpa_write(x->vf_vs, ROM + PAGE, &done, sizeof(done), &done), -EACCES);
	vf_assert(done == 0);
	vf_errno(vm_discard(x->vf_vs, ROM + PAGE, PAGE), -EACCES);
	vf_same(x, &before, true, "writes to what is read-only");
	vf_snapshot_free(&before);

	/* Reading it is as ever. */
	vf_errno(vm_gpa_read(x->vf_vs, ROM + PAGE, &word, sizeof(word), &done), 0);
	vf_assert(word == stamp && done == sizeof(word));
	vf_errno(vm_gpa_hold(x->vf_vs, ROM + PAGE, 8, PMAP_PROT_R, &hold, NULL), 0);
	vm_gpa_release(&hold);

	/* Protected from now on: what was writable in the tables is not any more. */
	vf_errno(vm_protect_memmap(x->vf_vs, ROM, 16 * PAGE, PMAP_PROT_RW), 0);
	vf_poke(x, ROM + 2 * PAGE, 7);
	vf_errno(vm_protect_memmap(x->vf_vs, ROM, 16 * PAGE, PMAP_PROT_R), 0);
	vf_assert(!vf_walk(x, ROM + 2 * PAGE, PMAP_PROT_W, &hpa));
	vf_errno(vm_gpa_write(x->vf_vs, ROM + 2 * PAGE, &done, sizeof(done), &done), -EACCES);
	vf_verify(x);
}

Test(vm_fault, read_only)
{
	vf_each(NULL, read_only);
}

/* ---- Runs and superpages --------------------------------------------------------------------- */

static bool
has_superpages(const struct vf *x)
{
	return x->vf_format->ff_caps.pc_leaf_levels > 1 &&
	       !(x->vf_options.vo_flags & VM_NO_SUPERPAGES);
}

static unsigned int
level_at(struct vf *x, gpa_t gpa)
{
	struct pmap_leaf leaf;

	vf_errno(pmap_extract(x->vf_pm, gpa, &leaf), 0);
	return leaf.pl_level;
}

/* A first touch fills the run. */
static void
eager(struct vf *x)
{
	const bool super = has_superpages(x);

	vf_segment(x, 0, 1536, NULL);
	vf_map(x, RAM, 0, 0, 1536, PMAP_PROT_RWX);
	vf_poke(x, RAM + 5 * PAGE, 5);
	vf_assert(vf_accounts(x).va_resident == (super ? 512 : 1));
	vf_assert(vf_accounts(x).va_reserved == 0);
	vf_assert(level_at(x, RAM + 5 * PAGE) == (super ? 1 : 0));
	vf_assert(vf_stats(x).vt_super_enters == (super ? 1 : 0));
	vf_poke(x, RAM + 2 * MIB, 6);
	vf_poke(x, RAM + 511 * PAGE, 7);
	vf_check(x);
	vf_verify(x);
}

Test(vm_fault, eager_runs)
{
	static const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};
	static const struct vf_options small = {.vo_flags = VM_EAGER_RUNS | VM_NO_SUPERPAGES};

	vf_each(&o, eager);
	vf_each(&small, eager);
}

/* Joined and taken apart by hand: nothing of the tables is left over, and no flush is forgotten. */
static void
by_hand(struct vf *x)
{
	struct pmap_stats was;
	struct pmap_stats st;

	vf_segment(x, 0, 512, NULL);
	vf_map(x, RAM, 0, 0, 512, PMAP_PROT_RWX);
	for (unsigned int i = 0; i < 512; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	if (!has_superpages(x))
		return;
	vf_assert(level_at(x, RAM) == 1);
	for (unsigned int turn = 0; turn < 2; turn++) {
		pmap_stats(x->vf_pm, &was);
		vf_errno(vm_demote(x->vf_vs, RAM, 1), 0);
		pmap_stats(x->vf_pm, &st);
		vf_assert(level_at(x, RAM) == 0 && st.st_tables == was.st_tables + 1);
		vf_assert(st.st_shootdowns + st.st_shootdowns_elided >
			  was.st_shootdowns + was.st_shootdowns_elided);
		was = st;
		vf_errno(vm_promote(x->vf_vs, RAM, 1), 0);
		vmspace_drain(x->vf_vs);
		host_epoch_drain();
		pmap_stats(x->vf_pm, &st);
		vf_assert(level_at(x, RAM) == 1 && st.st_tables == was.st_tables - 1);
		vf_assert(st.st_limbo == 0 && st.st_shootdowns > was.st_shootdowns);
	}
	vf_check(x);
	vf_verify(x);
}

Test(vm_fault, by_hand)
{
	vf_each(NULL, by_hand);
}

/* A run that was filled page by page is joined when it is complete. */
static void
lazy(struct vf *x)
{
	const bool super = has_superpages(x);

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RWX);
	for (unsigned int i = 0; i < 512; i++) {
		vf_poke(x, RAM + i * PAGE, i + 1);
		if (i == 100)
			vf_assert(vf_accounts(x).va_reserved == (super ? 411 : 0));
	}
	vf_assert(vf_accounts(x).va_resident == 512 && vf_accounts(x).va_reserved == 0);
	vf_assert(level_at(x, RAM) == (super ? 1 : 0));
	vf_assert(vf_stats(x).vt_runs == (super ? 1 : 0));
	vf_assert(vf_stats(x).vt_promotions == (super ? 1 : 0));
	vf_check(x);
	/* Taken apart again, page by page or whole, nothing is lost. */
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, 1024 * PAGE, PMAP_PROT_R), 0);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, 1024 * PAGE, PMAP_PROT_RWX), 0);
	vf_poke(x, RAM, 1000);
	vf_verify(x);
	vf_pageout_all(x);
	vf_verify(x);
}

Test(vm_fault, lazy_runs)
{
	vf_each(NULL, lazy);
}

/* Memory is short: what is reserved and not in use goes first, and no page is lost. */
static void
runs_break(struct vf *x)
{
	const bool super = has_superpages(x);

	vf_segment(x, 0, 2048, NULL);
	vf_map(x, RAM, 0, 0, 2048, PMAP_PROT_RWX);
	vf_poke(x, RAM, 1);
	vf_poke(x, RAM + 2 * MIB, 2);
	if (super)
		vf_assert(vf_accounts(x).va_reserved == 1022);
	vf_poke(x, RAM + 4 * MIB, 3);
	for (unsigned int i = 0; i < 500; i++)
		vf_poke(x, RAM + 6 * MIB + i * PAGE, i + 1);
	vf_assert(vf_accounts(x).va_resident == 503);
	vf_assert(vf_accounts(x).va_slots == 0 && vf_accounts(x).va_swapped == 0);
	vf_assert((vf_stats(x).vt_runs_broken > 0) == super);
	vf_check(x);
	vf_verify(x);
}

Test(vm_fault, runs_break)
{
	static const struct vf_options o = {.vo_limit_pages = 1024};

	vf_each(&o, runs_break);
}

/* No executable superpage, if that is wanted: a fetch splits, later they come back. */
static void
no_exec_superpages(struct vf *x)
{
	const bool super = has_superpages(x);
	hpa_t hpa;

	vf_segment(x, 0, 512, NULL);
	vf_map(x, RAM, 0, 0, 512, PMAP_PROT_RWX);
	vf_poke(x, RAM, 1);
	vf_assert(level_at(x, RAM) == (super ? 1 : 0));
	vf_assert(!vf_walk(x, RAM, PMAP_PROT_X, &hpa) || !super);
	vf_errno(vf_touch(x, RAM + 3 * PAGE, PMAP_PROT_X, &hpa, NULL), 0);
	vf_assert(level_at(x, RAM + 3 * PAGE) == 0);
	vf_assert(vf_peek(x, RAM) == 1);
	vf_assert(vf_stats(x).vt_exec_splits == (super ? 1 : 0));
	vf_check(x);
	vf_errno(vm_exec_recover(x->vf_vs), 0);
	vf_peek(x, RAM);
	vf_poke(x, RAM + 9 * PAGE, 4);
	vf_check(x);
	vf_errno(vf_touch(x, RAM + 3 * PAGE, PMAP_PROT_X, &hpa, NULL), 0);
	vf_verify(x);
}

Test(vm_fault, no_exec_superpages)
{
	static const struct vf_options o = {.vo_flags = VM_EAGER_RUNS | VM_NX_SUPERPAGES};

	vf_each(&o, no_exec_superpages);
}

/* While the log is on every page is told of alone: no superpage is writable, none comes to be. */
static void
log_splits(struct vf *x)
{
	uint64_t bits[1024 / 64];
	struct pmap_gather g;

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RWX);
	vf_poke(x, RAM, 1);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (unsigned int round = 0; round < 3; round++) {
		vf_poke(x, RAM + 9 * PAGE, round);
		vf_poke(x, RAM + 900 * PAGE, round);
		vf_peek(x, RAM + 10 * PAGE);
		vf_assert(level_at(x, RAM + 9 * PAGE) == 0 && level_at(x, RAM + 900 * PAGE) == 0);
		memset(bits, 0, sizeof(bits));
		vf_errno(vm_dirty_log(x->vf_vs, RAM, 1024 * PAGE, VM_DIRTY_CLEAR, bits), 0);
		for (unsigned int i = 0; i < 1024; i++)
			vf_assert((bits[i / 64] >> i % 64 & 1) == (i == 9 || i == 900));
		/* From empty tables. */
		pmap_gather_begin(&g, x->vf_pm);
		vf_errno(pmap_remove(x->vf_pm, 0, x->vf_limit, &g), 0);
		pmap_gather_finish(&g);
	}
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	vf_poke(x, RAM + 9 * PAGE, 10);
	vf_assert(level_at(x, RAM + 9 * PAGE) == (has_superpages(x) ? 1 : 0));
	vf_check(x);
	vf_verify(x);
}

Test(vm_fault, log_splits)
{
	static const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, log_splits);
}
