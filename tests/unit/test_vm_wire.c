/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Wiring: every page in memory, mapped, and staying so; all of it or nothing.
 */

#include "tests/unit/vm_fixture.h"

#define RAM (16 * MIB)

static void
wire(struct vf *x, gpa_t gpa, int ident, uint64_t first, uint64_t n, unsigned int prot, int want)
{
	vf_errno(vm_mmap_memseg(x->vf_vs, gpa, ident, (int64_t)(first * PAGE), (int64_t)(n * PAGE),
				prot, VM_MEMMAP_F_WIRED),
		 want);
}

static unsigned int
flags_at(struct vf *x, gpa_t gpa)
{
	struct vm_memmap m;

	vf_errno(vm_mmap_getnext(x->vf_vs, gpa, &m), 0);
	vf_assert(m.vp_gpa == gpa);
	return m.vp_flags;
}

/* Present, wired, with the map's rights; no access faults. */
static void
expect_wired(struct vf *x, gpa_t gpa, uint64_t n, unsigned int prot)
{
	for (uint64_t i = 0; i < n; i++) {
		const struct vm_page_info pi = vf_info(x, gpa + i * PAGE);
		struct pmap_leaf leaf;
		hpa_t hpa;

		vf_assert(pi.pi_resident && pi.pi_wirings > 0);
		vf_errno(pmap_extract(x->vf_pm, gpa + i * PAGE, &leaf), 0);
		vf_assert(leaf.pl_wired);
		vf_assert(vf_touch(x, gpa + i * PAGE, prot, &hpa, NULL) == 0);
		vf_assert(hpa == pi.pi_hpa);
	}
	vf_check(x);
}

static void
life(struct vf *x, uint64_t n)
{
	const struct vm_accounts zero = vf_accounts(x);
	struct vmspace_stats was;

	vf_segment(x, 0, n + 8, NULL);
	wire(x, RAM, 0, 0, n, PMAP_PROT_RWX, 0);
	vf_assert(flags_at(x, RAM) == VM_MEMMAP_F_WIRED);
	was = vf_stats(x);
	expect_wired(x, RAM, n, PMAP_PROT_R);
	if (!x->vf_fmt->pf_emulated_ad)
		vf_assert(vf_stats(x).vt_faults == was.vt_faults);
	/* A superpage may wait for the first write, a page for the first fetch. */
	expect_wired(x, RAM, n, PMAP_PROT_RW);
	expect_wired(x, RAM, n, PMAP_PROT_RX);
	vf_assert(vf_stats(x).vt_zero_fills == was.vt_zero_fills);
	vf_assert(vf_accounts(x).va_wired == n && vf_accounts(x).va_resident == n);
	for (uint64_t i = 0; i < n; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);

	/* Nothing moves it. */
	uint64_t moved = 5;

	vf_assert(vf_pageout_all(x) == 0);
	vf_errno(vm_migrate(x->vf_vs, RAM, n * PAGE, &moved), 0);
	vf_assert(moved == 0);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, n * PAGE), 0);
	vf_assert(vf_accounts(x).va_wired == n);
	expect_wired(x, RAM, n, PMAP_PROT_RWX);

	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, n * PAGE), 0);
	vf_assert(flags_at(x, RAM) == 0 && vf_accounts(x).va_wired == 0);
	vf_check(x);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, n * PAGE), 0);
	vf_assert(vf_pageout_all(x) >= n);
	vf_assert(vf_accounts(x).va_resident == 0 && vf_accounts(x).va_swapped == n);

	/* From swap, with what it had. */
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, n * PAGE), 0);
	expect_wired(x, RAM, n, PMAP_PROT_RWX);
	vf_assert(vf_accounts(x).va_wired == n && vf_accounts(x).va_swapped == 0);
	for (uint64_t i = 0; i < n; i++)
		vf_assert(vf_peek(x, RAM + i * PAGE) == i + 1);

	/* Unmapped wired, it is wired no more. */
	vf_unmap(x, RAM, n);
	vf_assert(vf_accounts(x).va_wired == 0);
	vf_check(x);
	vf_pageout_all(x);
	vf_assert(vf_accounts(x).va_resident == zero.va_resident);
	vf_verify(x);
}

static void
life_small(struct vf *x)
{
	life(x, 20);
}

static void
life_large(struct vf *x)
{
	life(x, 1030);
}

Test(vm_wire, life)
{
	static const struct vf_options eager = {.vo_flags = VM_EAGER_RUNS};
	static const struct vf_options nx = {.vo_flags = VM_NX_SUPERPAGES};

	vf_each(NULL, life_small);
	vf_each(NULL, life_large);
	vf_each(&eager, life_large);
	vf_each(&nx, life_large);
}

/* Read-only memory is wired read-only. */
static void
read_only(struct vf *x)
{
	hpa_t hpa;

	vf_segment(x, 0, 600, NULL);
	wire(x, RAM, 0, 0, 600, PMAP_PROT_RX, 0);
	expect_wired(x, RAM, 600, PMAP_PROT_R);
	vf_assert(!vf_walk(x, RAM, PMAP_PROT_W, &hpa));
	vf_errno(vm_fault(x->vf_vs, RAM, PMAP_PROT_W, NULL), -EACCES);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, 600 * PAGE, PMAP_PROT_RW), 0);
	vf_poke(x, RAM + 5 * PAGE, 5);
	expect_wired(x, RAM, 600, PMAP_PROT_R);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, 600 * PAGE, PMAP_PROT_R), 0);
	expect_wired(x, RAM, 600, PMAP_PROT_R);
	vf_assert(!vf_walk(x, RAM + 5 * PAGE, PMAP_PROT_W, &hpa));
	vf_verify(x);
}

Test(vm_wire, read_only)
{
	vf_each(NULL, read_only);
}

/* One page in two wired maps, and in one that is not: wired until the last of them goes. */
static void
twice(struct vf *x)
{
	vf_segment(x, 0, 16, NULL);
	wire(x, RAM, 0, 0, 8, PMAP_PROT_RW, 0);
	wire(x, 2 * RAM, 0, 4, 8, PMAP_PROT_R, 0);
	vf_map(x, 3 * RAM, 0, 0, 16, PMAP_PROT_RW);
	vf_assert(vf_accounts(x).va_wired == 12);
	vf_assert(vf_info(x, RAM + 4 * PAGE).pi_wirings == 2);
	vf_assert(vf_info(x, RAM).pi_wirings == 1 && vf_info(x, 3 * RAM + PAGE).pi_wirings == 1);
	vf_assert(vf_info(x, 3 * RAM + 15 * PAGE).pi_wirings == 0);
	for (unsigned int i = 0; i < 16; i++)
		vf_poke(x, 3 * RAM + i * PAGE, i + 1);
	vf_assert(vf_pageout_all(x) >= 4);
	vf_assert(vf_accounts(x).va_resident == 12);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 8 * PAGE), 0);
	vf_assert(vf_accounts(x).va_wired == 8);
	vf_assert(vf_info(x, RAM + 4 * PAGE).pi_wirings == 1);
	vf_check(x);
	vf_unmap(x, 2 * RAM, 8);
	vf_assert(vf_accounts(x).va_wired == 0);
	vf_pageout_all(x);
	vf_assert(vf_accounts(x).va_resident == 0);
	vf_verify(x);
}

Test(vm_wire, twice)
{
	vf_each(NULL, twice);
}

/* ---- What goes wrong ------------------------------------------------------------------------- */

/* Beyond the limit: nothing is wired, nothing is mapped, nothing is lost. */
static void
limit(struct vf *x)
{
	struct vf_snapshot before;

	vf_segment(x, 0, 200, NULL);
	vf_map(x, RAM, 0, 0, 100, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 30; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_snapshot(x, &before);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 100 * PAGE), -ENOMEM);
	vf_same(x, &before, false, "wiring beyond the limit");
	wire(x, 2 * RAM, 0, 50, 100, PMAP_PROT_RW, -ENOMEM);
	vf_same(x, &before, false, "mapping wired beyond the limit");
	vf_snapshot_free(&before);
	wire(x, 2 * RAM, 0, 50, 40, PMAP_PROT_RW, 0);
	expect_wired(x, 2 * RAM, 40, PMAP_PROT_RW);
	vf_unmap(x, 2 * RAM, 40);
	vf_verify(x);
}

Test(vm_wire, limit)
{
	static const struct vf_options o = {.vo_limit_pages = 60};

	vf_each(&o, limit);
}

static void
swap_error(struct vf *x)
{
	struct vf_snapshot before;

	vf_segment(x, 0, 40, NULL);
	vf_map(x, RAM, 0, 0, 40, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 40; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_pageout_all(x);
	for (unsigned int n = 1; n < 8; n++) {
		vf_pageout_all(x);
		vf_snapshot(x, &before);
		host_vm_posix_fail_swap(HOST_VM_POSIX_READ, n, true);
		if (vm_wire_memmap(x->vf_vs, RAM, 40 * PAGE) == 0) {
			vf_snapshot_free(&before);
			break;
		}
		vf_errno(vm_wire_memmap(x->vf_vs, RAM, 40 * PAGE), -EFAULT);
		wire(x, 2 * RAM, 0, 0, 40, PMAP_PROT_RW, -EFAULT);
		host_vm_posix_fail_swap(0, 0, false);
		vf_same(x, &before, false, "wiring what cannot be read");
		vf_snapshot_free(&before);
	}
	host_vm_posix_fail_swap(0, 0, false);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 40 * PAGE), 0);
	expect_wired(x, RAM, 40, PMAP_PROT_RW);
	vf_verify(x);
}

Test(vm_wire, swap_error)
{
	static const struct vf_options o = {.vo_flags = VM_NO_SUPERPAGES};

	vf_each(&o, swap_error);
}

static void
interrupted(struct vf *x)
{
	struct vf_snapshot before;

	vf_segment(x, 0, 80, NULL);
	vf_map(x, RAM, 0, 0, 40, PMAP_PROT_RW);
	vf_map(x, 2 * RAM, 0, 40, 40, PMAP_PROT_RW);
	for (unsigned int i = 0; i < 40; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_snapshot(x, &before);
	host_vm_posix_interrupt(host_cpu(), true);
	vf_errno(vm_wire_memmap(x->vf_vs, 2 * RAM, 40 * PAGE), -EINTR);
	wire(x, 3 * RAM, 0, 40, 40, PMAP_PROT_RW, -EINTR);
	host_vm_posix_interrupt(host_cpu(), false);
	vf_same(x, &before, false, "wiring interrupted");
	vf_snapshot_free(&before);
	vf_errno(vm_wire_memmap(x->vf_vs, 2 * RAM, 40 * PAGE), 0);
	expect_wired(x, 2 * RAM, 40, PMAP_PROT_RW);
	vf_errno(vm_unwire_memmap(x->vf_vs, 2 * RAM, 40 * PAGE), 0);
	vf_verify(x);
}

Test(vm_wire, interrupted)
{
	static const struct vf_options o = {.vo_limit_pages = 50};

	vf_each(&o, interrupted);
}

/* ---- Devices --------------------------------------------------------------------------------- */

static void
devices(struct vf *x)
{
	uint64_t word = 4711;

	vf_segment(x, 0, 1200, NULL);
	vf_map(x, RAM, 0, 0, 600, PMAP_PROT_RW);
	wire(x, 2 * RAM, 0, 600, 520, PMAP_PROT_RW, 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	vf_assert(host_vm_posix_iommu_pages() == 520 && host_vm_posix_iommu_hidden() == 520);
	vf_errno(host_vm_posix_dma_write(1, 2 * RAM + 7 * PAGE, &word, sizeof(word)), 0);
	vf_errno(host_vm_posix_dma_write(1, 2 * RAM + 8 * PAGE - 8, &word, sizeof(word)), 0);
	vf_expect(x, 0, 607, word);
	vf_assert(vf_peek(x, 2 * RAM + 7 * PAGE) == word);
	vf_errno(host_vm_posix_dma_write(1, RAM, &word, sizeof(word)), -EFAULT);

	/* Wired now, it becomes theirs, too; and is not to be taken back. */
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 600 * PAGE), 0);
	vf_assert(flags_at(x, RAM) == (VM_MEMMAP_F_WIRED | VM_MEMMAP_F_IOMMU));
	vf_assert(host_vm_posix_iommu_pages() == 1120);
	vf_errno(host_vm_posix_dma_write(1, RAM, &word, sizeof(word)), 0);
	vf_errno(host_vm_posix_dma_write(1, RAM + PAGE - 8, &word, sizeof(word)), 0);
	vf_expect(x, 0, 0, word);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 600 * PAGE), -EBUSY);
	vf_errno(vm_munmap_memseg(x->vf_vs, RAM, 600 * PAGE), -EINVAL);
	/* And so does what is mapped wired. */
	wire(x, 3 * RAM, 0, 1120, 10, PMAP_PROT_R, 0);
	vf_errno(host_vm_posix_dma_read(1, 3 * RAM + 9 * PAGE, &word, sizeof(word)), 0);
	vf_assert(word == 0);
	vf_errno(host_vm_posix_dma_write(1, 3 * RAM, &word, sizeof(word)), -EFAULT);
	vf_check(x);
	vf_assert(vf_pageout_all(x) == 0);

	vf_errno(vm_attach_device(x->vf_vs, 4), 0);
	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	vf_assert(host_vm_posix_iommu_domains() == 1);
	vf_errno(vm_detach_device(x->vf_vs, 4), 0);
	vf_assert(host_vm_posix_iommu_domains() == 0 && host_vm_posix_iommu_hidden() == 0);
	vf_assert(flags_at(x, RAM) == VM_MEMMAP_F_WIRED);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 600 * PAGE), 0);
	vf_pageout_all(x);
	vf_verify(x);
}

Test(vm_wire, devices)
{
	vf_each(NULL, devices);
}

/* A guest that ends with everything attached and wired. */
static void
ends_attached(struct vf *x)
{
	vf_segment(x, 0, 600, NULL);
	wire(x, RAM, 0, 0, 600, PMAP_PROT_RW, 0);
	vf_errno(vm_attach_device(x->vf_vs, 0), 0);
	vf_errno(vm_attach_device(x->vf_vs, 7), 0);
	vf_poke(x, RAM, 5);
}

Test(vm_wire, ends_attached)
{
	vf_each(NULL, ends_attached);
}
