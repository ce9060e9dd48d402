/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Devices: they reach what is wired, with its rights, and nothing else; every step of attaching
 * fails once; what they wrote is not lost.
 */

#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)
#define ROM (64 * MIB)
#define ALIAS (128 * MIB)
#define NPAGES 24

/* Pages 0 .. 15 at RAM read-write, 16 .. 23 at ROM read-only; 4 .. 11 also at ALIAS. */
static void
open_maps(struct vf *x)
{
	vf_segment(x, 0, NPAGES, NULL);
	vf_map(x, RAM, 0, 0, 16, PMAP_PROT_RW);
	vf_map(x, ROM, 0, 16, 8, PMAP_PROT_R);
	vf_map(x, ALIAS, 0, 4, 8, PMAP_PROT_RW);
	for (uint64_t i = 0; i < 16; i += 3)
		vf_poke(x, RAM + i * PAGE, 100 + i);
}

static void
wire(struct vf *x)
{
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 16 * PAGE), 0);
	vf_errno(vm_wire_memmap(x->vf_vs, ROM, 8 * PAGE), 0);
}

/* ---- What the domain shows ------------------------------------------------------------------- */

static const struct vm_memmap *
map_of(const struct vm_memmap *maps, unsigned int n, gpa_t gpa)
{
	for (unsigned int i = 0; i < n; i++) {
		if (maps[i].vp_gpa <= gpa && gpa < maps[i].vp_gpa + maps[i].vp_len_bytes)
			return &maps[i];
	}
	return NULL;
}

static struct {
	gpa_t gpa;
	hpa_t hpa;
	unsigned int prot;
} seen[256];
static unsigned int nseen;

static void
see(void *arg, gpa_t gpa, hpa_t hpa, unsigned int prot)
{
	(void)arg;
	seen[nseen].gpa = gpa;
	seen[nseen].hpa = hpa;
	seen[nseen].prot = prot;
	nseen++;
}

/*
 * The domain of a device shows every page of every wired map of system memory, and no other; the
 * frames of these, each once, are what the host's domain lacks.
 */
static void
verify_domain(struct vf *x, uint64_t device, uint64_t frames)
{
	struct vm_memmap maps[16];
	unsigned int nmaps = 0;
	uint64_t wired = 0;
	gpa_t from = 0;

	while (vm_mmap_getnext(x->vf_vs, from, &maps[nmaps]) == 0) {
		const struct vm_memmap *const m = &maps[nmaps++];
		const bool is_wired = (m->vp_flags & VM_MEMMAP_F_WIRED) != 0;

		vf_assert(((m->vp_flags & VM_MEMMAP_F_IOMMU) != 0) == is_wired);
		wired += is_wired ? m->vp_len_bytes / PAGE : 0;
		from = m->vp_gpa + m->vp_len_bytes;
	}
	nseen = 0;
	host_vm_posix_iommu_foreach(host_vm_posix_iommu_domain(device), false, see, NULL);
	vf_assert(nseen == wired && host_vm_posix_iommu_pages() == wired);
	for (unsigned int i = 0; i < nseen; i++) {
		const struct vm_memmap *const m = map_of(maps, nmaps, seen[i].gpa);

		vf_assert(m != NULL && (m->vp_flags & VM_MEMMAP_F_WIRED));
		vf_assert(seen[i].prot == m->vp_prot);
		vf_assert(seen[i].hpa == vf_info(x, seen[i].gpa).pi_hpa);
		vf_assert(!host_vm_posix_iommu_host_maps(seen[i].hpa));
	}
	vf_assert(host_vm_posix_iommu_hidden() == frames);
	nseen = 0;
	host_vm_posix_iommu_foreach(host_vm_posix_iommu_domain(device), true, see, NULL);
	vf_assert(nseen == 0);
}

/* No trace of devices. */
static void
verify_none(struct vf *x)
{
	struct vm_memmap m;
	gpa_t from = 0;

	vf_assert(host_vm_posix_iommu_domains() == 0);
	vf_assert(host_vm_posix_iommu_pages() == 0);
	vf_assert(host_vm_posix_iommu_hidden() == 0);
	for (uint64_t d = 0; d < HOST_VM_POSIX_DEVICES; d++)
		vf_assert(host_vm_posix_iommu_domain(d) == NULL);
	while (vm_mmap_getnext(x->vf_vs, from, &m) == 0) {
		vf_assert(!(m.vp_flags & VM_MEMMAP_F_IOMMU));
		from = m.vp_gpa + m.vp_len_bytes;
	}
}

static void
attach(struct vf *x)
{
	uint64_t stamp = 0;

	open_maps(x);
	wire(x);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	verify_domain(x, 1, NPAGES);
	vf_errno(vm_attach_device(x->vf_vs, 5), 0);
	vf_assert(host_vm_posix_iommu_domain(5) == host_vm_posix_iommu_domain(1));
	verify_domain(x, 5, NPAGES);

	vf_errno(host_vm_posix_dma_read(1, RAM + 3 * PAGE, &stamp, sizeof(stamp)), 0);
	vf_assert(stamp == 103);
	vf_errno(host_vm_posix_dma_write(1, ROM, &stamp, sizeof(stamp)), -EFAULT);
	vf_errno(host_vm_posix_dma_read(1, ROM, &stamp, sizeof(stamp)), 0);
	vf_errno(host_vm_posix_dma_read(1, ALIAS, &stamp, sizeof(stamp)), -EFAULT);
	vf_errno(host_vm_posix_dma_read(1, RAM + 16 * PAGE, &stamp, sizeof(stamp)), -EFAULT);
	/* Of another guest's device, in the host's domain, the frames are out of reach. */
	vf_errno(host_vm_posix_dma_read(7, vf_info(x, RAM).pi_hpa, &stamp, sizeof(stamp)), -EFAULT);

	/* What is theirs stays as it is. */
	vf_errno(vm_munmap_memseg(x->vf_vs, RAM, 16 * PAGE), -EINVAL);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 16 * PAGE), -EBUSY);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, 16 * PAGE, PMAP_PROT_R), -EBUSY);
	verify_domain(x, 1, NPAGES);
	vf_check(x);

	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	vf_assert(host_vm_posix_iommu_domain(1) == NULL);
	verify_domain(x, 5, NPAGES);
	vf_errno(vm_detach_device(x->vf_vs, 5), 0);
	verify_none(x);
	vf_errno(host_vm_posix_dma_read(1, vf_info(x, RAM).pi_hpa, &stamp, sizeof(stamp)), 0);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 16 * PAGE), 0);
	vf_check(x);
}

Test(vm_iommu, attach)
{
	vf_each(NULL, attach);
}

/* Maps come and go while a device is there; a page that two of them show is hidden once. */
static void
later(struct vf *x)
{
	open_maps(x);
	vf_errno(vm_attach_device(x->vf_vs, 0), 0);
	vf_assert(host_vm_posix_iommu_pages() == 0);
	vf_errno(vm_wire_memmap(x->vf_vs, ALIAS, 8 * PAGE), 0);
	verify_domain(x, 0, 8);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 16 * PAGE), 0);
	verify_domain(x, 0, 16);
	vf_errno(vm_mmap_memseg(x->vf_vs, ROM + GIB, 0, 10 * (int64_t)PAGE, 14 * (int64_t)PAGE,
				PMAP_PROT_RX, VM_MEMMAP_F_WIRED),
		 0);
	verify_domain(x, 0, NPAGES);
	vf_errno(vm_detach_device(x->vf_vs, 0), 0);
	verify_none(x);
	/* All of them at once. */
	vf_errno(vm_attach_device(x->vf_vs, 3), 0);
	verify_domain(x, 3, NPAGES);
	vf_check(x);
	vf_verify(x);
	/* The guest ends with the device in it. */
}

Test(vm_iommu, later)
{
	vf_each(NULL, later);
}

/* Overlaps at both ends, in runs: long contiguous ones, as a run of the host's gives them. */
static void
runs(struct vf *x)
{
	static const struct {
		gpa_t gpa;
		int64_t first;
		int64_t n;
	} maps[] = {{RAM, 0, 40}, {ROM, 30, 40}, {ALIAS, 10, 70}, {GIB, 35, 1}};

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, 4 * GIB, 0, 0, 1024, PMAP_PROT_RW);
	vf_poke(x, 4 * GIB, 1);
	for (unsigned int i = 0; i < 4; i++)
		vf_errno(vm_mmap_memseg(x->vf_vs, maps[i].gpa, 0, maps[i].first * (int64_t)PAGE,
					maps[i].n * (int64_t)PAGE, PMAP_PROT_RW, VM_MEMMAP_F_WIRED),
			 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	verify_domain(x, 1, 80);
	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	verify_none(x);
	vf_check(x);
}

Test(vm_iommu, runs)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, runs);
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void
refusals(struct vf *x)
{
	struct vf_snapshot before;
	struct vf second;

	open_maps(x);
	wire(x);
	host_vm_posix_set_iommu(false);
	vf_errno(vm_attach_device(x->vf_vs, 1), -ENXIO);
	host_vm_posix_set_iommu(true);
	verify_none(x);
	vf_snapshot(x, &before);
	vf_errno(vm_attach_device(x->vf_vs, HOST_VM_POSIX_DEVICES), -ENOENT);
	verify_none(x);
	vf_same(x, &before, true, "attaching what is not there");
	vf_snapshot_free(&before);
	vf_errno(vm_detach_device(x->vf_vs, 1), -ENOENT);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), -EEXIST);
	vf_errno(vm_attach_device(x->vf_vs, HOST_VM_POSIX_DEVICES), -ENOENT);
	vf_errno(vm_detach_device(x->vf_vs, 2), -ENOENT);
	verify_domain(x, 1, NPAGES);

	vf_open_second(&second, x, "ept", NULL);
	vf_errno(vm_attach_device(second.vf_vs, 1), -EBUSY);
	vf_assert(host_vm_posix_iommu_domains() == 1);
	vf_errno(vm_attach_device(second.vf_vs, 2), 0);
	vf_errno(vm_attach_device(x->vf_vs, 2), -EBUSY);
	vf_assert(host_vm_posix_iommu_domains() == 2);
	vf_close(&second);
	verify_domain(x, 1, NPAGES);
}

Test(vm_iommu, refusals)
{
	vf_each(NULL, refusals);
}

/* ---- Failures -------------------------------------------------------------------------------- */

/* The k-th allocation fails, for every k: attached, or as before. */
static void
attach_fails(struct vf *x)
{
	struct vf_snapshot before;
	uint64_t k = 0;
	int error = -ENOMEM;

	open_maps(x);
	wire(x);
	vf_errno(vm_wire_memmap(x->vf_vs, ALIAS, 8 * PAGE), 0);
	vf_snapshot(x, &before);
	while (error != 0) {
		host_posix_fail_alloc(++k, false);
		error = vm_attach_device(x->vf_vs, 1);
		host_posix_fail_alloc(0, false);
		if (error == 0)
			break;
		vf_errno(error, -ENOMEM);
		verify_none(x);
		vf_check(x);
		vf_same(x, &before, true, "attaching without memory");
	}
	/* Two maps, the domain, three runs at least, the device. */
	vf_assert(k > 7);
	vf_snapshot_free(&before);
	verify_domain(x, 1, NPAGES);

	/* Another one fails by itself; taking the last one away, at once or not at all. */
	host_posix_fail_alloc(1, false);
	vf_errno(vm_attach_device(x->vf_vs, 2), -ENOMEM);
	host_posix_fail_alloc(1, false);
	vf_errno(vm_detach_device(x->vf_vs, 1), -ENOMEM);
	host_posix_fail_alloc(0, false);
	verify_domain(x, 1, NPAGES);
	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	verify_none(x);
}

Test(vm_iommu, attach_fails)
{
	vf_each(NULL, attach_fails);
}

/* Wiring for a device that is there: shown, or as before. */
static void
wire_fails(struct vf *x)
{
	uint64_t k = 0;
	int error = -ENOMEM;

	open_maps(x);
	vf_errno(vm_wire_memmap(x->vf_vs, ALIAS, 8 * PAGE), 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	for (uint64_t i = 0; i < 16; i++)
		vf_peek(x, RAM + i * PAGE);
	while (error != 0) {
		host_posix_fail_alloc(++k, false);
		error = vm_wire_memmap(x->vf_vs, RAM, 16 * PAGE);
		host_posix_fail_alloc(0, false);
		verify_domain(x, 1, error == 0 ? 16 : 8);
		vf_check(x);
	}
	vf_assert(k > 3);
	vf_verify(x);
}

Test(vm_iommu, wire_fails)
{
	vf_each(NULL, wire_fails);
}

/* Pages of the same numbers in two segments are not the same pages. */
static void
two_segments(struct vf *x)
{
	vf_segment(x, 0, 8, NULL);
	vf_segment(x, 1, 32, NULL);
	vf_map(x, RAM, 0, 0, 8, PMAP_PROT_RW);
	vf_map(x, ALIAS, 1, 4, 8, PMAP_PROT_RW);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 8 * PAGE), 0);
	vf_errno(vm_wire_memmap(x->vf_vs, ALIAS, 8 * PAGE), 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	verify_domain(x, 1, 16);
	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	vf_assert(host_vm_posix_iommu_hidden() == 0);
	/* Nor are they if the devices see one of them already. */
	vf_errno(vm_unwire_memmap(x->vf_vs, ALIAS, 8 * PAGE), 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	verify_domain(x, 1, 8);
	vf_errno(vm_wire_memmap(x->vf_vs, ALIAS, 8 * PAGE), 0);
	verify_domain(x, 1, 16);
	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	vf_assert(host_vm_posix_iommu_hidden() == 0);
}

Test(vm_iommu, two_segments)
{
	vf_each(NULL, two_segments);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

/* What a device wrote is in no table: it must be in swap when the page comes back all the same. */
static void
written(struct vf *x)
{
	open_maps(x);
	vf_pageout_all(x);
	for (uint64_t i = 0; i < 16; i++)
		vf_peek(x, RAM + i * PAGE);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 16 * PAGE), 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	for (uint64_t i = 0; i < 16; i++) {
		const uint64_t stamp = 4000 + i;
		const gpa_t page = RAM + i * PAGE;

		vf_errno(host_vm_posix_dma_write(1, page, &stamp, sizeof(stamp)), 0);
		vf_errno(host_vm_posix_dma_write(1, page + PAGE - sizeof(stamp), &stamp,
						 sizeof(stamp)),
			 0);
		vf_expect(x, 0, i, stamp);
	}
	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	vf_errno(vm_unwire_memmap(x->vf_vs, RAM, 16 * PAGE), 0);
	vf_assert(vf_pageout_all(x) == 16);
	vf_verify(x);
}

Test(vm_iommu, written)
{
	vf_each(NULL, written);
}

/* As long as devices may write a page it is dirty, wherever in the segment the map begins. */
static void
always_dirty(struct vf *x)
{
	const uint64_t all = 0xff;

	vf_segment(x, 0, 32, NULL);
	vf_map(x, RAM, 0, 24, 8, PMAP_PROT_RW);
	vf_map(x, ROM, 0, 8, 8, PMAP_PROT_R);
	vf_errno(vm_wire_memmap(x->vf_vs, RAM, 8 * PAGE), 0);
	vf_errno(vm_wire_memmap(x->vf_vs, ROM, 8 * PAGE), 0);
	vf_errno(vm_attach_device(x->vf_vs, 1), 0);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t bitmap = 0;

		vf_errno(vm_dirty_log(x->vf_vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, &bitmap), 0);
		vf_assert((bitmap & all) == all);
		vf_errno(vm_dirty_log(x->vf_vs, ROM, 8 * PAGE, VM_DIRTY_CLEAR, &bitmap), 0);
		vf_assert((bitmap & all) == 0);
	}
	/* They may have written until now; from now on they do not. */
	vf_errno(vm_detach_device(x->vf_vs, 1), 0);
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t bitmap = 0;

		vf_errno(vm_dirty_log(x->vf_vs, RAM, 8 * PAGE, VM_DIRTY_CLEAR, &bitmap), 0);
		vf_assert((bitmap & all) == (i == 0 ? all : 0));
	}
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
}

Test(vm_iommu, always_dirty)
{
	vf_each(NULL, always_dirty);
}
