/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The dirty log: every write is reported once, by whatever path it came, and nothing else is; with
 * superpages, aliases, holds, devices, swap; chunk by chunk, and while the guest goes on writing.
 */

#include "tests/unit/rng.h"
#include "tests/unit/vm_fixture.h"

#include <string.h>

#define RAM (16 * MIB)
#define ALIAS (64 * MIB)
#define FB (3 * GIB)
#define NPAGES 200

/* What must be reported at RAM and next to it. */
static bool ghost[NPAGES];

static bool
bit(const uint64_t *bitmap, uint64_t i)
{
	return (bitmap[i / 64] >> i % 64 & 1) != 0;
}

/* One call; how many pages it reports. */
static uint64_t
ask(struct vf *x, gpa_t gpa, uint64_t npages, enum vm_dirty_op op, uint64_t *bitmap)
{
	uint64_t n = 0;

	memset(bitmap, 0xff, (npages + 63) / 64 * sizeof(*bitmap));
	vf_errno(vm_dirty_log(x->vf_vs, gpa, npages * PAGE, op, bitmap), 0);
	for (uint64_t i = 0; i < npages; i++)
		n += bit(bitmap, i);
	return n;
}

static uint64_t
count(struct vf *x, gpa_t gpa, uint64_t npages, enum vm_dirty_op op)
{
	uint64_t bitmap[16];

	vf_assert(npages <= sizeof(bitmap) * 8);
	return ask(x, gpa, npages, op, bitmap);
}

/* [first, first + n) of RAM must be reported as the ghost knows it. */
static void
compare(struct vf *x, uint64_t first, uint64_t n, enum vm_dirty_op op)
{
	uint64_t bitmap[(NPAGES + 63) / 64];

	ask(x, RAM + first * PAGE, n, op, bitmap);
	for (uint64_t i = 0; i < n; i++) {
		if (bit(bitmap, i) != ghost[first + i])
			vf_fail("page %u is %sreported", (unsigned int)(first + i),
				bit(bitmap, i) ? "" : "not ");
		if (op == VM_DIRTY_CLEAR)
			ghost[first + i] = false;
	}
}

static void
open_ram(struct vf *x)
{
	memset(ghost, 0, sizeof(ghost));
	vf_segment(x, 0, NPAGES, NULL);
	vf_map(x, RAM, 0, 0, NPAGES, PMAP_PROT_RW);
}

/* ---- The interface --------------------------------------------------------------------------- */

static void
refusals(struct vf *x)
{
	uint64_t bitmap[8] = {0};

	open_ram(x);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, PAGE, VM_DIRTY_GET, bitmap), -ENOENT);
	vf_errno(vm_dirty_log_set(x->vf_vs, RAM, PAGE, bitmap), -ENOENT);
	vf_errno(vm_dirty_log_disable(x->vf_vs), -ENOENT);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_errno(vm_dirty_log_enable(x->vf_vs, true), -EBUSY);
	vf_errno(vm_dirty_log(x->vf_vs, RAM + 1, PAGE, VM_DIRTY_GET, bitmap), -EINVAL);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, 0, VM_DIRTY_GET, bitmap), -EINVAL);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, PAGE + 1, VM_DIRTY_GET, bitmap), -EINVAL);
	vf_errno(vm_dirty_log(x->vf_vs, x->vf_limit, PAGE, VM_DIRTY_GET, bitmap), -EINVAL);
	vf_errno(vm_dirty_log(x->vf_vs, x->vf_limit - PAGE, 2 * PAGE, VM_DIRTY_GET, bitmap),
		 -EINVAL);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, -RAM, VM_DIRTY_GET, bitmap), -EINVAL);
	vf_errno(vm_dirty_log(x->vf_vs, RAM, PAGE, (enum vm_dirty_op)9, bitmap), -EINVAL);
	vf_errno(vm_dirty_log_set(x->vf_vs, RAM, 0, bitmap), -EINVAL);
	vf_errno(vm_dirty_log(x->vf_vs, x->vf_limit - PAGE, PAGE, VM_DIRTY_GET, bitmap), 0);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	vf_errno(vm_dirty_log_disable(x->vf_vs), -ENOENT);
}

Test(vm_dirty, refusals)
{
	vf_each(NULL, refusals);
}

/* What has contents is dirty to begin with if one wants it so, in memory or not. */
static void
what_has_contents(struct vf *x)
{
	open_ram(x);
	for (uint64_t i = 0; i < NPAGES; i += 7)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_pageout_all(x);
	vf_peek(x, RAM);
	for (uint64_t i = 0; i < NPAGES; i++)
		ghost[i] = i % 7 == 0 || vf_info(x, RAM + i * PAGE).pi_resident;
	vf_errno(vm_dirty_log_enable(x->vf_vs, true), 0);
	compare(x, 0, NPAGES, VM_DIRTY_GET);
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
	compare(x, 0, NPAGES, VM_DIRTY_GET);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	compare(x, 0, NPAGES, VM_DIRTY_GET);
	vf_verify(x);
}

Test(vm_dirty, what_has_contents)
{
	vf_each(NULL, what_has_contents);
}

/* Shootdowns of the guest so far, and gathers that needed none. */
static uint64_t
gathers(struct vf *x)
{
	struct pmap_stats st;

	pmap_stats(x->vf_pm, &st);
	return st.st_shootdowns + st.st_shootdowns_merged + st.st_shootdowns_elided;
}

/*
 * A tool that collects M from the tables takes nothing from the log, nor from pageout: pages learn
 * of what it cleared. And CPUs do: what they cached as modified is flushed.
 */
static void
harvested(struct vf *x)
{
	uint64_t bitmap = 0, found = 0, freed = 0, before;

	open_ram(x);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_poke(x, RAM + 3 * PAGE, 1);
	vf_poke(x, RAM + 40 * PAGE, 2);
	vf_errno(vm_harvest(x->vf_vs, RAM, 64 * PAGE, PMAP_HARVEST_PEEK, &bitmap, &found), 0);
	vf_assert(found == 2 && bitmap == (1ull << 3 | 1ull << 40));
	bitmap = 0;
	before = gathers(x);
	vf_errno(vm_harvest(x->vf_vs, RAM, 64 * PAGE, PMAP_HARVEST_MODIFIED, &bitmap, &found), 0);
	vf_assert(found == 2 && bitmap == (1ull << 3 | 1ull << 40));
	vf_assert(gathers(x) == before + 1);
	bitmap = 0;
	vf_errno(vm_harvest(x->vf_vs, RAM, 64 * PAGE, PMAP_HARVEST_MODIFIED, &bitmap, &found), 0);
	vf_assert(found == 0 && bitmap == 0);
	vf_assert(vf_info(x, RAM + 3 * PAGE).pi_dirty && vf_info(x, RAM + 40 * PAGE).pi_dirty);
	ghost[3] = ghost[40] = true;
	compare(x, 0, 64, VM_DIRTY_CLEAR);
	compare(x, 0, 64, VM_DIRTY_GET);
	vf_errno(vm_pageout(x->vf_sys, x->vf_vs, NPAGES, VM_PAGEOUT_CLEAN, &freed), 0);
	vf_assert(vf_peek(x, RAM + 3 * PAGE) == 1 && vf_peek(x, RAM + 40 * PAGE) == 2);
	vf_errno(vm_harvest(x->vf_vs, RAM, -RAM, 0, &bitmap, &found), -EINVAL);
	vf_errno(vm_harvest(x->vf_vs, RAM + PAGE, -PAGE, 0, &bitmap, &found), -EINVAL);
}

Test(vm_dirty, harvested)
{
	vf_each(NULL, harvested);
}

/* A superpage would be reported whole for one write: nobody makes one while the log is on. */
static void
no_superpages(struct vf *x)
{
	const bool can = (pmap_flags(x->vf_pm) & PMAP_PDE_SUPERPAGE) != 0;

	open_ram(x);
	vf_poke(x, RAM, 1);
	vf_errno(vm_demote(x->vf_vs, RAM, 1), can ? -ENOENT : -EOPNOTSUPP);
	vf_errno(vm_promote(x->vf_vs, RAM, 1), can ? -EBUSY : -EOPNOTSUPP);
	for (uint64_t i = 0; i < NPAGES; i++)
		vf_poke(x, RAM + i * PAGE, i);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_errno(vm_promote(x->vf_vs, RAM, 1), -EBUSY);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_GET) == 0);
}

Test(vm_dirty, no_superpages)
{
	vf_each(NULL, no_superpages);
}

/* Bytes beyond the range are the caller's; holes are clean. */
static void
bytes(struct vf *x)
{
	unsigned char raw[64];

	open_ram(x);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_poke(x, RAM, 1);
	vf_poke(x, RAM + 12 * PAGE, 1);
	vf_poke(x, RAM + 13 * PAGE, 1);
	memset(raw, 0xa5, sizeof(raw));
	vf_errno(vm_dirty_log(x->vf_vs, RAM, 13 * PAGE, VM_DIRTY_GET, (uint64_t *)(void *)raw), 0);
	vf_assert(raw[0] == 0x01 && (raw[1] & 0x1f) == 0x10);
	for (unsigned int i = 2; i < sizeof(raw); i++)
		vf_assert(raw[i] == 0xa5);
	vf_assert(count(x, RAM - 64 * PAGE, 64, VM_DIRTY_GET) == 0);
	vf_assert(count(x, RAM - 3 * PAGE, 4, VM_DIRTY_GET) == 1);
}

Test(vm_dirty, bytes)
{
	vf_each(NULL, bytes);
}

/* Looking changes nothing, getting keeps, clearing clears; giving back gives back. */
static void
operations(struct vf *x)
{
	uint64_t first[4];
	uint64_t again[4];
	uint64_t generation;

	open_ram(x);
	vf_poke(x, RAM + 5 * PAGE, 1);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_GET) == 0);
	for (uint64_t i = 0; i < NPAGES; i += 7)
		vf_poke(x, RAM + i * PAGE, i);
	vf_peek(x, RAM + PAGE);
	generation = pmap_generation(x->vf_pm);
	vf_assert(ask(x, RAM, NPAGES, VM_DIRTY_PEEK, first) == (NPAGES + 6) / 7);
	vf_assert(ask(x, RAM, NPAGES, VM_DIRTY_PEEK, again) == (NPAGES + 6) / 7);
	vf_assert(memcmp(first, again, NPAGES / 8) == 0);
	vf_assert(pmap_generation(x->vf_pm) == generation);
	for (unsigned int i = 0; i < 2; i++) {
		vf_assert(ask(x, RAM, NPAGES, VM_DIRTY_GET, again) == (NPAGES + 6) / 7);
		vf_assert(memcmp(first, again, NPAGES / 8) == 0);
	}
	vf_assert(ask(x, RAM, NPAGES, VM_DIRTY_CLEAR, again) == (NPAGES + 6) / 7);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 0);
	vf_errno(vm_dirty_log_set(x->vf_vs, RAM, NPAGES * PAGE, again), 0);
	vf_assert(ask(x, RAM, NPAGES, VM_DIRTY_CLEAR, again) == (NPAGES + 6) / 7);
	vf_assert(memcmp(first, again, NPAGES / 8) == 0);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 0);
	/* The second round equals the first. */
	for (uint64_t i = 0; i < NPAGES; i += 7)
		vf_poke(x, RAM + i * PAGE, i);
	vf_assert(ask(x, RAM, NPAGES, VM_DIRTY_CLEAR, again) == (NPAGES + 6) / 7);
	vf_assert(memcmp(first, again, NPAGES / 8) == 0);
	/* What the tables knew is not lost for swap. */
	vf_pageout_all(x);
	vf_verify(x);
}

Test(vm_dirty, operations)
{
	vf_each(NULL, operations);
}

/* Every page with contents, and no other: in memory or in swap, read or written. */
static void
initially_set(struct vf *x)
{
	open_ram(x);
	for (uint64_t i = 0; i < 10; i++)
		vf_poke(x, RAM + i * PAGE, i + 1);
	vf_pageout_all(x);
	vf_peek(x, RAM + 20 * PAGE);
	vf_poke(x, RAM + 21 * PAGE, 1);
	for (uint64_t i = 0; i < NPAGES; i++)
		ghost[i] = i < 10 || i == 20 || i == 21;
	vf_errno(vm_dirty_log_enable(x->vf_vs, true), 0);
	compare(x, 0, NPAGES, VM_DIRTY_GET);
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
}

Test(vm_dirty, initially_set)
{
	vf_each(NULL, initially_set);
}

/* ---- Against a ghost ------------------------------------------------------------------------- */

static void
write_somehow(struct vf *x, struct rng *rng, uint64_t page)
{
	const gpa_t gpa = RAM + page * PAGE;
	const uint64_t stamp = rng_next(rng) | 1;
	struct vm_hold hold;

	ghost[page] = true;
	switch (rng_below(rng, 4)) {
	case 0:
		vf_write(x, gpa, stamp);
		break;
	case 1:
		vf_errno(vm_gpa_hold(x->vf_vs, gpa, PAGE, PMAP_PROT_RW, &hold, NULL), 0);
		vm_hold_write(&hold, 0, &stamp, sizeof(stamp));
		vm_hold_write(&hold, PAGE - sizeof(stamp), &stamp, sizeof(stamp));
		vm_gpa_release(&hold);
		vf_expect(x, 0, page, stamp);
		break;
	default:
		vf_poke(x, gpa, stamp);
	}
}

static void
random_step(struct vf *x, struct rng *rng)
{
	const uint64_t page = rng_below(rng, NPAGES);
	const uint64_t n = 1 + rng_below(rng, NPAGES - page);
	uint64_t some;

	switch (rng_below(rng, 12)) {
	case 0:
		compare(x, page, n, VM_DIRTY_CLEAR);
		break;
	case 1:
		compare(x, page, n, VM_DIRTY_GET);
		break;
	case 2:
		compare(x, page, n, VM_DIRTY_PEEK);
		break;
	case 3:
		vf_errno(vm_pageout(x->vf_sys, x->vf_vs, rng_below(rng, 40), 0, &some), 0);
		break;
	case 4:
		vf_errno(vm_migrate(x->vf_vs, RAM + page * PAGE, n * PAGE, &some), 0);
		break;
	case 5:
		vf_peek(x, RAM + page * PAGE);
		break;
	default:
		write_somehow(x, rng, page);
	}
}

static void
random_writes(struct vf *x)
{
	struct rng rng = {77};

	open_ram(x);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (unsigned int i = 0; i < fx_scale(800); i++)
		random_step(x, &rng);
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
	vf_check(x);
	vf_verify(x);
}

Test(vm_dirty, random_writes)
{
	vf_each(NULL, random_writes);
}

/* ---- Other paths ----------------------------------------------------------------------------- */

/* While it is held for writing it is dirty; afterwards once more. Held for reading it is not. */
static void
holds(struct vf *x)
{
	struct vm_hold write;
	struct vm_hold read;

	open_ram(x);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM, 3 * PAGE, PMAP_PROT_W, &write, NULL), 0);
	vf_errno(vm_gpa_hold(x->vf_vs, RAM + 5 * PAGE, PAGE, PMAP_PROT_R, &read, NULL), 0);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	for (unsigned int i = 0; i < 3; i++) {
		vf_assert(count(x, RAM, NPAGES, VM_DIRTY_PEEK) == 3);
		vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 3);
	}
	vm_gpa_release(&write);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 3);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 0);
	vm_gpa_release(&read);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 0);
}

Test(vm_dirty, holds)
{
	vf_each(NULL, holds);
}

/* A page shown twice: reported where it is asked first, and not lost when one map goes. */
static void
aliases(struct vf *x)
{
	open_ram(x);
	vf_map(x, ALIAS, 0, 0, NPAGES, PMAP_PROT_RW);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_poke(x, ALIAS + 3 * PAGE, 1);
	vf_assert(count(x, ALIAS, NPAGES, VM_DIRTY_CLEAR) == 1);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 0);
	/* Known to the tables only, at an address that goes. */
	vf_poke(x, ALIAS + 4 * PAGE, 1);
	vf_unmap(x, ALIAS, NPAGES);
	ghost[4] = true;
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
	vf_poke(x, RAM + 5 * PAGE, 1);
	vf_errno(vm_protect_memmap(x->vf_vs, RAM, NPAGES * PAGE, PMAP_PROT_R), 0);
	ghost[5] = true;
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
}

Test(vm_dirty, aliases)
{
	vf_each(NULL, aliases);
}

/* Discarded contents are changed contents; a framebuffer is logged like memory. */
static void
others(struct vf *x)
{
	open_ram(x);
	vf_segment(x, 1, 16, "framebuffer");
	vf_map(x, FB, 1, 0, 16, PMAP_PROT_RW);
	vf_poke(x, RAM + 9 * PAGE, 1);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_errno(vm_discard(x->vf_vs, RAM + 8 * PAGE, 4 * PAGE), 0);
	vf_expect(x, 0, 9, 0);
	ghost[9] = true;
	compare(x, 0, NPAGES, VM_DIRTY_CLEAR);
	vf_poke(x, FB + 2 * PAGE, 1);
	vf_write(x, FB + 3 * PAGE, 1);
	vf_assert(count(x, FB, 16, VM_DIRTY_CLEAR) == 2);
	vf_assert(count(x, FB, 16, VM_DIRTY_CLEAR) == 0);
	vf_verify(x);
}

Test(vm_dirty, others)
{
	vf_each(NULL, others);
}

/* What devices may write is reported each time, wherever asked; and once when they are gone. */
static void
devices(struct vf *x)
{
	uint64_t stamp = 5;

	open_ram(x);
	vf_map(x, ALIAS, 0, 0, 20, PMAP_PROT_RW);
	vf_segment(x, 1, 8, NULL);
	vf_map(x, FB, 1, 0, 8, PMAP_PROT_R);
	vf_errno(vm_wire_memmap(x->vf_vs, ALIAS, 20 * PAGE), 0);
	vf_errno(vm_wire_memmap(x->vf_vs, FB, 8 * PAGE), 0);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_errno(vm_attach_device(x->vf_vs, 2), 0);
	for (unsigned int i = 0; i < 2; i++) {
		vf_assert(count(x, ALIAS, 20, VM_DIRTY_CLEAR) == 20);
		vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 20);
		vf_assert(count(x, FB, 8, VM_DIRTY_CLEAR) == 0);
	}
	vf_errno(host_vm_posix_dma_write(2, ALIAS, &stamp, sizeof(stamp)), 0);
	vf_errno(vm_detach_device(x->vf_vs, 2), 0);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 20);
	vf_assert(count(x, RAM, NPAGES, VM_DIRTY_CLEAR) == 0);
	vf_assert(count(x, FB, 8, VM_DIRTY_CLEAR) == 0);
}

Test(vm_dirty, devices)
{
	vf_each(NULL, devices);
}

/* ---- Superpages ------------------------------------------------------------------------------ */

static uint64_t
superpages(struct vf *x)
{
	struct pmap_stats st;

	pmap_stats(x->vf_pm, &st);
	return st.st_leaves[1];
}

/* They are split for the log, page by page then, and come back after it. */
static void
supers(struct vf *x)
{
	uint64_t bitmap[16];

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RW);
	vf_poke(x, RAM, 1);
	vf_poke(x, RAM + 512 * PAGE, 2);
	vf_assert(superpages(x) == 2);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_assert(superpages(x) == 0);
	vf_assert(count(x, RAM, 1024, VM_DIRTY_GET) == 0);
	vf_poke(x, RAM + 77 * PAGE, 3);
	vf_poke(x, RAM + 1023 * PAGE, 4);
	vf_assert(ask(x, RAM, 1024, VM_DIRTY_CLEAR, bitmap) == 2);
	vf_assert(bit(bitmap, 77) && bit(bitmap, 1023));
	vf_assert(superpages(x) == 0);
	for (uint64_t i = 0; i < 512; i++)
		vf_poke(x, RAM + i * PAGE, i);
	vf_assert(superpages(x) == 0);
	vf_errno(vm_exec_recover(x->vf_vs), 0);
	vf_assert(superpages(x) == 0);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	/* All 512 agree: they are joined at once. The others are when they are written. */
	vf_assert(superpages(x) == 1);
	vf_verify(x);
	vf_check(x);
}

Test(vm_dirty, supers)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, supers);
}

/* ---- Without memory -------------------------------------------------------------------------- */

/*
 * The k-th allocation fails, on the way from superpages to a log that was read: no write is lost.
 * A superpage that could not be split may be reported as a whole.
 */
static void
no_memory(struct vf *x)
{
	static const uint64_t written[] = {3, 511, 512, 700};
	uint64_t bitmap[16];
	bool failed = true;

	vf_segment(x, 0, 1024, NULL);
	vf_map(x, RAM, 0, 0, 1024, PMAP_PROT_RW);
	for (uint64_t k = 1; failed && k < 40; k++) {
		for (uint64_t i = 0; i < 1024; i += 512)
			vf_poke(x, RAM + i * PAGE, k);
		host_posix_fail_alloc(k, false);
		vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
		for (unsigned int i = 0; i < sizeof(written) / sizeof(written[0]); i++)
			vf_poke(x, RAM + written[i] * PAGE, 10 * k + i);
		ask(x, RAM, 1024, VM_DIRTY_CLEAR, bitmap);
		for (unsigned int i = 0; i < sizeof(written) / sizeof(written[0]); i++)
			vf_assert(bit(bitmap, written[i]));
		vf_assert(count(x, RAM, 1024, VM_DIRTY_CLEAR) == 0);
		vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
		failed = host_posix_failed_allocs() != 0;
		host_posix_fail_alloc(0, false);
		for (uint64_t i = 0; i < 1024; i++)
			vf_poke(x, RAM + i * PAGE, k + i);
		vf_check(x);
	}
	vf_assert(!failed);
	vf_pageout_all(x);
	vf_verify(x);
}

Test(vm_dirty, no_memory)
{
	const struct vf_options o = {.vo_flags = VM_EAGER_RUNS};

	vf_each(&o, no_memory);
}

/* ---- At the same time ------------------------------------------------------------------------ */

/*
 * A guest is moved while it runs: two actors write by copies, two by the page tables, one copies
 * what is reported to another place, and sends every third bitmap back as if that had failed; one
 * pages out. In the end both places hold the same.
 */
#define MOVED_PAGES 24
#define WRITERS 4

struct move {
	struct vf *mo_x;
	struct host_word mo_done;
	uint64_t mo_words[MOVED_PAGES][WRITERS]; /* the other place */
};

static void
guest_write(struct move *mo, struct pmap_slot *slot, gpa_t gpa, uint64_t value)
{
	struct vf *const x = mo->mo_x;

	for (;;) {
		bool good;
		hpa_t hpa;

		if (pmap_guest_enter(x->vf_pm, slot))
			pmap_guest_flushed(slot);
		good = vf_walk(x, gpa, PMAP_PROT_W, &hpa);
		if (good)
			host_page_write(hpa & ~(PAGE - 1), hpa & (PAGE - 1), &value, sizeof(value));
		pmap_guest_exit(slot);
		if (good)
			return;
		CHECK(vm_fault(x->vf_vs, gpa, PMAP_PROT_W, NULL) == 0);
	}
}

static void
writer(struct move *mo, unsigned int who)
{
	static struct pmap_slot slots[WRITERS];
	struct pmap_slot *const slot = &slots[who];
	struct rng rng = {who + 1};

	memset(slot, 0, sizeof(*slot));
	pmap_slot_attach(mo->mo_x->vf_pm, slot);
	for (uint64_t i = 1; i <= fx_scale(3000); i++) {
		const gpa_t gpa = RAM + rng_below(&rng, MOVED_PAGES) * PAGE + who * 8;
		uint64_t done;

		if (who % 2 == 0)
			guest_write(mo, slot, gpa, i);
		else
			CHECK(vm_gpa_write(mo->mo_x->vf_vs, gpa, &i, sizeof(i), &done) == 0);
	}
	pmap_slot_detach(mo->mo_x->vf_pm, slot);
	host_epoch_drain();
	host_fetch_add(&mo->mo_done, 1);
}

static void
transfer(struct move *mo, unsigned int round)
{
	struct vmspace *const vs = mo->mo_x->vf_vs;
	const uint64_t first = round % 3 == 0 ? 0 : MOVED_PAGES / 2 * (round % 2);
	const uint64_t n = round % 3 == 0 ? MOVED_PAGES : MOVED_PAGES / 2;
	uint64_t bitmap = 0;
	uint64_t done;

	CHECK(vm_dirty_log(vs, RAM + first * PAGE, n * PAGE, VM_DIRTY_CLEAR, &bitmap) == 0);
	if (round % 3 == 1) {
		CHECK(vm_dirty_log_set(vs, RAM + first * PAGE, n * PAGE, &bitmap) == 0);
		return;
	}
	for (uint64_t i = 0; i < n; i++) {
		if ((bitmap >> i & 1) != 0)
			CHECK(vm_gpa_read(vs, RAM + (first + i) * PAGE, mo->mo_words[first + i],
					  sizeof(mo->mo_words[0]), &done) == 0);
	}
}

static void
move_actor(void *arg, unsigned int who)
{
	struct move *const mo = arg;
	unsigned int round = 0;
	uint64_t some;

	if (who < WRITERS) {
		writer(mo, who);
	} else if (who == WRITERS) {
		while (host_load_acquire(&mo->mo_done) < WRITERS)
			transfer(mo, round++);
		transfer(mo, 0);
	} else {
		while (host_load_acquire(&mo->mo_done) < WRITERS) {
			CHECK(vm_pageout(mo->mo_x->vf_sys, mo->mo_x->vf_vs, 4, 0, &some) == 0);
			CHECK(vm_migrate(mo->mo_x->vf_vs, RAM, MOVED_PAGES * PAGE, &some) == 0);
			host_relax();
		}
	}
}

static void
migration(const char *format)
{
	static struct move mo;
	const struct world_config cfg = {.wc_actors = WRITERS + 2};
	uint64_t words[WRITERS];
	uint64_t done;
	struct vf x;

	memset(&mo, 0, sizeof(mo));
	mo.mo_x = &x;
	world_begin(&cfg);
	vf_open(&x, format, NULL);
	vf_segment(&x, 0, MOVED_PAGES, NULL);
	vf_map(&x, RAM, 0, 0, MOVED_PAGES, PMAP_PROT_RW);
	vf_errno(vm_dirty_log_enable(x.vf_vs, true), 0);
	world_run(WRITERS + 2, move_actor, &mo);
	for (uint64_t i = 0; i < MOVED_PAGES; i++) {
		vf_errno(vm_gpa_read(x.vf_vs, RAM + i * PAGE, words, sizeof(words), &done), 0);
		vf_assert(memcmp(words, mo.mo_words[i], sizeof(words)) == 0);
	}
	vf_close(&x);
	world_end();
}

Test(vm_dirty, migration)
{
	migration("ept");
	migration("ept-noad");
	migration("rvi-4");
}
