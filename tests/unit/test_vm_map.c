/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Maps: many of them, their edges, the ends of the space, what is shown twice, what a reset keeps,
 * windows onto devices, and maps that move while guests use them.
 */

#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)

/* ---- Many ------------------------------------------------------------------------------------ */

/* Map i shows page i: two that touch, a hole, one, a larger hole. */
static gpa_t
nth_gpa(unsigned int i)
{
	static const unsigned int at[] = {0, 1, 3};

	return GIB + (i / 3 * 6 + at[i % 3]) * PAGE;
}

static bool
is_mapped(unsigned int i, unsigned int n, unsigned int gone)
{
	return i < n && i % 7 != gone;
}

/* Every map is found, from every address of it and from the hole before it; nothing else is. */
static void
check_many(struct vf *x, unsigned int n, unsigned int gone)
{
	unsigned int found = 0;
	struct vm_memmap m;
	gpa_t gpa = 0;

	for (unsigned int i = 0; i < n; i++) {
		const gpa_t at = nth_gpa(i);
		struct vm_page_info pi;

		vf_errno(vmspace_page_info(x->vf_vs, at, &pi), is_mapped(i, n, gone) ? 0 : -EFAULT);
		if (is_mapped(i, n, gone)) {
			vf_errno(vmspace_page_info(x->vf_vs, at + PAGE - 1, &pi), 0);
			vf_errno(vm_mmap_getnext(x->vf_vs, at, &m), 0);
			vf_assert(m.vp_gpa == at && m.vp_offset_bytes == i * PAGE);
		}
		if (i > 0 && nth_gpa(i - 1) + PAGE < at)
			vf_errno(vmspace_page_info(x->vf_vs, at - 1, &pi), -EFAULT);
	}
	while (vm_mmap_getnext(x->vf_vs, gpa, &m) == 0) {
		vf_assert(m.vp_gpa >= gpa && m.vp_len_bytes == PAGE);
		found++;
		gpa = m.vp_gpa + m.vp_len_bytes;
	}
	for (unsigned int i = 0; i < n; i++)
		found -= is_mapped(i, n, gone);
	vf_assert(found == 0);
}

static void
many(struct vf *x, unsigned int n)
{
	vf_segment(x, 0, n, NULL);
	/* In an order that is neither up nor down. */
	for (unsigned int k = 0; k < n; k++) {
		const unsigned int i = k * 511 % n;

		vf_map(x, nth_gpa(i), 0, i, 1, i % 2 ? PMAP_PROT_RW : PMAP_PROT_RWX);
	}
	check_many(x, n, 7);
	for (unsigned int i = 0; i < n; i += 5)
		vf_poke(x, nth_gpa(i), i + 1);
	vf_check(x);
	for (unsigned int i = 3; i < n; i += 7)
		vf_unmap(x, nth_gpa(i), 1);
	check_many(x, n, 3);
	for (unsigned int i = 3; i < n; i += 7) {
		hpa_t hpa;

		vf_assert(!vf_walk(x, nth_gpa(i), PMAP_PROT_R, &hpa));
	}
	vf_check(x);
	for (unsigned int i = 3; i < n; i += 7)
		vf_map(x, nth_gpa(i), 0, i, 1, PMAP_PROT_RW);
	check_many(x, n, 7);
	for (unsigned int i = 0; i < n; i++)
		vf_assert(vf_peek(x, nth_gpa(i)) == vf_expected(x, 0, i));
	vf_verify(x);
}

static void
many_512(struct vf *x)
{
	many(x, 512);
}

static void
many_1024(struct vf *x)
{
	many(x, VM_MAX_MEMMAPS);
}

Test(vm_map, half_a_thousand)
{
	vf_each(NULL, many_512);
}

Test(vm_map, a_thousand)
{
	vf_each(NULL, many_1024);
}

/* ---- Edges ----------------------------------------------------------------------------------- */

static void
ends_of_space(struct vf *x)
{
	const gpa_t last = x->vf_limit - PAGE;
	struct vm_fault_record r;
	struct vm_memmap m;

	vf_segment(x, 0, 4, NULL);
	vf_map(x, 0, 0, 0, 1, PMAP_PROT_RWX);
	vf_map(x, last, 0, 1, 1, PMAP_PROT_RWX);
	vf_poke(x, 0, 11);
	vf_poke(x, last, 22);
	vf_assert(vf_peek(x, 0) == 11 && vf_peek(x, x->vf_limit - 1) == 22);
	vf_errno(vm_mmap_getnext(x->vf_vs, 0, &m), 0);
	vf_assert(m.vp_gpa == 0 && m.vp_ident == 0 && m.vp_prot == PMAP_PROT_RWX);
	vf_errno(vm_mmap_getnext(x->vf_vs, 1, &m), 0);
	vf_assert(m.vp_gpa == last && m.vp_offset_bytes == PAGE && m.vp_len_bytes == PAGE);
	vf_errno(vm_mmap_getnext(x->vf_vs, last + 1, &m), -ENOENT);

	/* The hole between them, whole, and from within. */
	vf_errno(vm_fault(x->vf_vs, PAGE, PMAP_PROT_R, &r), -EFAULT);
	vf_assert(r.fr_gpa == PAGE && r.fr_len_bytes == last - PAGE);
	vf_errno(vm_fault(x->vf_vs, GIB + 5, PMAP_PROT_R, &r), -EFAULT);
	vf_assert(r.fr_gpa == GIB && r.fr_len_bytes == last - GIB);
	vf_unmap(x, last, 1);
	vf_errno(vm_fault(x->vf_vs, last, PMAP_PROT_W, &r), -EFAULT);
	vf_assert(r.fr_gpa == last && r.fr_len_bytes == PAGE);

	/* A hold of the last byte, a hold that ends with the space. */
	vf_map(x, last - PAGE, 0, 1, 2, PMAP_PROT_RW);
	vf_assert(vf_peek(x, last - PAGE) == 22);
	vf_poke(x, last, 33);
	vf_check(x);
	vf_verify(x);
}

Test(vm_map, ends)
{
	vf_each(NULL, ends_of_space);
}

/* One page, shown twice, with other rights. */
static void
shown_twice(struct vf *x)
{
	struct vm_fault_record r;
	hpa_t one;
	hpa_t two;

	vf_segment(x, 0, 8, NULL);
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RWX);
	vf_map(x, 2 * RAM, 0, 2, 4, PMAP_PROT_R);
	vf_poke(x, RAM + 2 * PAGE, 5);
	vf_assert(vf_peek(x, 2 * RAM) == 5);
	vf_poke(x, RAM + 5 * PAGE, 6);
	vf_assert(vf_peek(x, 2 * RAM + 3 * PAGE) == 6);
	vf_errno(vf_touch(x, RAM + 2 * PAGE, PMAP_PROT_R, &one, NULL), 0);
	vf_errno(vf_touch(x, 2 * RAM, PMAP_PROT_R, &two, NULL), 0);
	vf_assert(one == two);
	vf_assert(vf_accounts(x).va_resident == 2);
	vf_errno(vm_fault(x->vf_vs, 2 * RAM, PMAP_PROT_W, &r), -EACCES);
	vf_check(x);

	/* One of the two goes: the other stays, and so does the page. */
	vf_unmap(x, RAM, 8);
	vf_assert(vf_walk(x, 2 * RAM, PMAP_PROT_R, &two) && one == two);
	vf_assert(!vf_walk(x, RAM + 2 * PAGE, PMAP_PROT_R, &two));
	vf_unmap(x, 2 * RAM, 4);
	vf_check(x);
	vf_map(x, 3 * RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_assert(vf_peek(x, 3 * RAM + 2 * PAGE) == 5);

	/* Out of memory under both. */
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_peek(x, RAM + 2 * PAGE);
	vf_poke(x, RAM + 2 * PAGE, 7);
	vf_pageout_all(x);
	vf_assert(!vf_walk(x, RAM + 2 * PAGE, PMAP_PROT_R, &two));
	vf_assert(!vf_walk(x, 3 * RAM + 2 * PAGE, PMAP_PROT_R, &two));
	vf_assert(vf_peek(x, 3 * RAM + 2 * PAGE) == 7);
	vf_verify(x);
}

Test(vm_map, shown_twice)
{
	vf_each(NULL, shown_twice);
}

/* A segment that is no multiple of anything, shown at an address that is congruent to nothing. */
static void
crooked(struct vf *x)
{
	const uint64_t n = 1027;
	const gpa_t gpa = GIB + 7 * PAGE;

	vf_segment(x, 3, n, NULL);
	vf_map(x, gpa, 3, 1, n - 1, PMAP_PROT_RWX);
	for (uint64_t i = 1; i < n; i++)
		vf_poke(x, gpa + (i - 1) * PAGE, i);
	vf_assert(vf_accounts(x).va_resident >= n - 1); /* more, if runs come whole */
	vf_check(x);
	vf_verify(x);
	vf_assert(vf_accounts(x).va_resident == n);
	vf_unmap(x, gpa, n - 1);
	vf_free_segment(x, 3);
	vf_assert(vf_accounts(x).va_resident == 0 && vf_accounts(x).va_reserved == 0);
	vf_assert(host_vm_posix_pages_in_use() == 0);
}

Test(vm_map, crooked)
{
	static const struct vf_options eager = {.vo_flags = VM_EAGER_RUNS};

	vf_each(NULL, crooked);
	vf_each(&eager, crooked);
}

/* ---- Rights ---------------------------------------------------------------------------------- */

static void
protect(struct vf *x)
{
	const uint64_t len = 520 * PAGE;
	hpa_t hpa;

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 520, PMAP_PROT_RWX);
	for (unsigned int i = 0; i < 520; i += 13)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, len, PMAP_PROT_R), 0);
	for (unsigned int i = 0; i < 520; i += 13) {
		vf_assert(!vf_walk(x, RAM + i * PAGE, PMAP_PROT_W, &hpa));
		vf_errno(vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_W, NULL), -EACCES);
		vf_errno(vm_fault(x->vf_vs, RAM + i * PAGE, PMAP_PROT_X, NULL), -EACCES);
		vf_assert(vf_peek(x, RAM + i * PAGE) == i + 1);
		vf_assert(vf_info(x, RAM + i * PAGE).pi_dirty);
	}
	vf_check(x);
	/* Widening is left to faults. */
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, len, PMAP_PROT_RW), 0);
	vf_poke(x, RAM, 1000);
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_X, NULL), -EACCES);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, len, PMAP_PROT_RWX), 0);
	vf_errno(vf_touch(x, RAM, PMAP_PROT_X, &hpa, NULL), 0);
	vf_pageout_all(x);
	vf_verify(x);
}

Test(vm_map, protect)
{
	static const struct vf_options eager = {.vo_flags = VM_EAGER_RUNS};

	vf_each(NULL, protect);
	vf_each(&eager, protect);
}

static void
only_execute(struct vf *x)
{
	const bool can = x->vf_format->ff_caps.pc_exec_only;
	hpa_t hpa;

	vf_segment(x, 0, 4, NULL);
	vf_errno(vm_mmap_memseg(x->vf_vs, RAM, 0, 0, 4 * PAGE, PMAP_PROT_X, 0),
		 can ? 0 : -EOPNOTSUPP);
	if (!can)
		return;
	vf_errno(vf_touch(x, RAM, PMAP_PROT_X, &hpa, NULL), 0);
	vf_errno(vf_touch(x, RAM, PMAP_PROT_R, &hpa, NULL), -EACCES);
	vf_errno(vf_touch(x, RAM, PMAP_PROT_W, &hpa, NULL), -EACCES);
}

Test(vm_map, only_execute)
{
	vf_each(NULL, only_execute);
}

/* ---- Windows --------------------------------------------------------------------------------- */

static void
window(struct vf *x)
{
	const gpa_t at = 3 * GIB;
	struct pmap_leaf leaf;
	struct vm_accounts va;
	struct vm_memmap m;
	hpa_t hpa;

	vf_segment(x, 0, 4, NULL);
	vf_map(x, at - 4 * PAGE, 0, 0, 4, PMAP_PROT_RW);
	vf_errno(vm_map_mmio(x->vf_vs, at, 1024 * PAGE, FX_HPA + 3 * PAGE), 0);
	va = vf_accounts(x);
	for (unsigned int i = 0; i < 1024; i += 31) {
		vf_errno(vf_touch(x, at + i * PAGE + 8, PMAP_PROT_RW, &hpa, NULL), 0);
		vf_assert(hpa == FX_HPA + (3 + i) * PAGE + 8);
		vf_errno(pmap_extract(x->vf_pm, at + i * PAGE, &leaf), 0);
		vf_assert(leaf.pl_memattr == PT_MEMATTR_UC && leaf.pl_prot == PMAP_PROT_RW);
		vf_assert(!leaf.pl_wired);
	}
	vf_assert(vf_accounts(x).va_resident == va.va_resident);
	vf_assert(vf_accounts(x).va_devmem == 0 && host_vm_posix_pages_in_use() == 0);
	vf_check(x);
	/* It is no map of a segment. */
	vf_errno(vm_mmap_getnext(x->vf_vs, at, &m), -ENOENT);
	vf_assert(vf_pageout_all(x) == 0);
	vf_assert(vf_walk(x, at, PMAP_PROT_W, &hpa));
	vf_errno(vm_unmap_mmio(x->vf_vs, at, 1024 * PAGE), 0);
	vf_assert(!vf_walk(x, at, PMAP_PROT_R, &hpa));
	vf_errno(vm_unmap_mmio(x->vf_vs, at, 1024 * PAGE), -EINVAL);

	/* Aligned and large: maybe by larger pages; the same addresses anyway. */
	vf_errno(vm_map_mmio(x->vf_vs, at, 4 * MIB, FX_HPA + 2 * MIB), 0);
	for (uint64_t off = 0; off < 4 * MIB; off += MIB + PAGE) {
		vf_errno(vf_touch(x, at + off, PMAP_PROT_W, &hpa, NULL), 0);
		vf_assert(hpa == FX_HPA + 2 * MIB + off);
	}
	vf_check(x);
}

Test(vm_map, window)
{
	vf_each(NULL, window);
}

/* ---- Reset ----------------------------------------------------------------------------------- */

static void
reset(struct vf *x)
{
	struct vm_memseg g;
	struct vm_memmap m;
	hpa_t hpa;

	vf_segment(x, 0, 700, NULL);
	vf_segment(x, 1, 16, "bootrom");
	vf_map(x, 0, 0, 0, 600, PMAP_PROT_RWX);
	vf_map(x, 4 * GIB, 0, 600, 100, PMAP_PROT_RWX);
	vf_map(x, 3 * GIB, 1, 0, 16, PMAP_PROT_RW);
	vf_errno(vm_map_mmio(x->vf_vs, 2 * GIB, 4 * PAGE, FX_HPA), 0);
	vf_poke(x, 0, 1);
	vf_poke(x, 599 * PAGE, 2);
	vf_poke(x, 3 * GIB + PAGE, 3);
	vf_poke(x, 4 * GIB, 4);
	vf_errno(vf_touch(x, 2 * GIB, PMAP_PROT_W, &hpa, NULL), 0);

	vf_errno(vm_reset(x->vf_vs), 0);
	/* System memory is shown as before: nothing of it has to fault again. */
	vf_assert(vf_walk(x, 0, PMAP_PROT_R, &hpa) && vf_walk(x, 599 * PAGE, PMAP_PROT_R, &hpa));
	vf_assert(vf_walk(x, 4 * GIB, PMAP_PROT_W, &hpa));
	vf_errno(vm_mmap_getnext(x->vf_vs, 0, &m), 0);
	vf_assert(m.vp_gpa == 0 && m.vp_len_bytes == 600 * PAGE);
	vf_errno(vm_mmap_getnext(x->vf_vs, PAGE, &m), 0);
	vf_assert(m.vp_gpa == 4 * GIB && m.vp_len_bytes == 100 * PAGE);
	vf_errno(vm_mmap_getnext(x->vf_vs, 4 * GIB + PAGE, &m), -ENOENT);
	vf_assert(!vf_walk(x, 3 * GIB + PAGE, PMAP_PROT_R, &hpa));
	vf_assert(!vf_walk(x, 2 * GIB, PMAP_PROT_R, &hpa));
	vf_errno(vm_fault(x->vf_vs, 3 * GIB, PMAP_PROT_R, NULL), -EFAULT);
	vf_errno(vm_fault(x->vf_vs, 2 * GIB, PMAP_PROT_R, NULL), -EFAULT);
	vf_errno(vm_get_memseg(x->vf_vs, 1, &g), 0);
	vf_assert(g.vg_len_bytes == 16 * PAGE && strcmp(g.vg_name, "bootrom") == 0);
	vf_verify(x);
	vf_check(x);

	/* And what has gone can come again, with its contents. */
	vf_map(x, 3 * GIB, 1, 0, 16, PMAP_PROT_RX);
	vf_assert(vf_peek(x, 3 * GIB + PAGE) == 3);
	vf_errno(vm_map_mmio(x->vf_vs, 2 * GIB, 4 * PAGE, FX_HPA), 0);
	vf_errno(vm_reset(x->vf_vs), 0);
	vf_errno(vm_reset(x->vf_vs), 0); /* nothing left to do */
	vf_verify(x);
}

Test(vm_map, reset)
{
	vf_each(NULL, reset);
}

/* ---- Segments -------------------------------------------------------------------------------- */

/* A segment that is shown here and there keeps its contents: registers of devices move. */
static void
moves(struct vf *x)
{
	hpa_t hpa;

	vf_segment(x, 2, 8, "framebuffer");
	for (unsigned int i = 0; i < 40; i++) {
		const gpa_t gpa = GIB + (uint64_t)i * 3 * PAGE;

		vf_map(x, gpa, 2, 0, 8, PMAP_PROT_RW);
		if (i > 0)
			vf_assert(vf_peek(x, gpa + i % 8 * PAGE) == vf_expected(x, 2, i % 8));
		vf_poke(x, gpa + i % 8 * PAGE, i + 1);
		vf_unmap(x, gpa, 8);
		vf_assert(!vf_walk(x, gpa + i % 8 * PAGE, PMAP_PROT_R, &hpa));
	}
	vf_assert(vf_accounts(x).va_devmem == 8 && vf_accounts(x).va_resident == 0);
	vf_verify(x);
}

Test(vm_map, moves)
{
	vf_each(NULL, moves);
}

/* A segment begins with zeros, whoever had the frames before. */
static void
zeros(struct vf *x)
{
	for (unsigned int round = 0; round < 3; round++) {
		vf_segment(x, 0, 64, NULL);
		vf_map(x, RAM, 0, 0, 64, PMAP_PROT_RWX);
		for (unsigned int i = 0; i < 64; i++) {
			vf_assert(vf_peek(x, RAM + i * PAGE) == 0);
			vf_poke(x, RAM + i * PAGE, ~(uint64_t)i);
		}
		vf_verify(x);
		vf_unmap(x, RAM, 64);
		vf_free_segment(x, 0);
		vf_assert(host_vm_posix_pages_in_use() == 0);
	}
}

Test(vm_map, zeros)
{
	vf_each(NULL, zeros);
}

/* ---- Other CPUs ------------------------------------------------------------------------------ */

/* Small pages only, and all of them executable: no rights but all, no windows, no superpages. */
static void
plain_cpu(unsigned int flags)
{
	const struct vf_options o = {.vo_flags = flags, .vo_limit_pages = 900};
	struct vm_hold h;
	struct vf x;

	world_begin(NULL);
	vf_open(&x, "x86-small", &o);
	vf_segment(&x, 0, 1100, NULL);
	vf_errno(vm_mmap_memseg(x.vf_vs, RAM, 0, 0, 4 * PAGE, PMAP_PROT_RW, 0), -EOPNOTSUPP);
	vf_errno(vm_map_mmio(x.vf_vs, GIB, PAGE, FX_HPA), -EOPNOTSUPP);
	vf_map(&x, RAM, 0, 0, 1100, PMAP_PROT_RWX);
	for (unsigned int i = 0; i < 1100; i += 1 + i % 2)
		vf_poke(&x, RAM + i * PAGE, i + 1);
	vf_assert(vf_accounts(&x).va_reserved == 0 && vf_stats(&x).vt_runs == 0);
	vf_errno(vm_protect_memmap(x.vf_vs, RAM, 1100 * PAGE, PMAP_PROT_RX), 0);
	vf_errno(vm_fault(x.vf_vs, RAM, PMAP_PROT_W, NULL), -EACCES);
	vf_errno(vm_protect_memmap(x.vf_vs, RAM, 1100 * PAGE, PMAP_PROT_RWX), 0);
	vf_errno(vm_gpa_hold(x.vf_vs, RAM, 600 * PAGE, PMAP_PROT_RW, &h, NULL), 0);
	vf_errno(vm_dirty_log_enable(x.vf_vs, false), 0);
	vf_errno(vm_dirty_log_disable(x.vf_vs), 0);
	vm_gpa_release(&h);
	vf_errno(vm_exec_recover(x.vf_vs), 0);
	vf_errno(vm_set_nx_superpages(x.vf_vs, true), -EOPNOTSUPP);
	vf_assert(vf_stats(&x).vt_super_enters == 0 && vf_stats(&x).vt_promotions == 0);
	vf_verify(&x);
	vf_close(&x);
	CHECK(true);
	world_end();
}

Test(vm_map, plain_cpu)
{
	plain_cpu(0);
	plain_cpu(VM_EAGER_RUNS);
	plain_cpu(VM_NO_SUPERPAGES);
}

/* Tables that are flushed and freed later are counted until then. */
static void
deferred(struct vf *x)
{
	struct vm_accounts va;

	/* Two runs that are joined when they are complete: what their tables were is not needed. */
	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 1024; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_assert(vf_stats(x).vt_promotions == 2);
	vf_check(x);
	va = vf_accounts(x);
	vf_assert(vf_system_accounts(x).va_tables == va.va_tables);
	vf_assert(x->vf_backlogs > 0);
	vmspace_drain(x->vf_vs);
	vf_check(x);
	vf_assert(vf_accounts(x).va_tables < va.va_tables);
	va = vf_accounts(x);
	vf_assert(vm_mem_total(x->vf_sys) - vm_mem_free(x->vf_sys) ==
		  (va.va_resident + va.va_reserved + va.va_tables) * PAGE);
	vf_verify(x);
}

Test(vm_map, deferred)
{
	static const struct vf_options o = {.vo_pmap_flags = PMAP_DEFER};

	vf_each(&o, deferred);
}
