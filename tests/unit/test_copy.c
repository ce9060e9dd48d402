/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Copies to and from guest memory, by guest-physical and by guest-linear addresses: every byte of
 * guest memory is compared with an image, after what succeeded and after what failed.
 */

#include "tests/unit/gla_rig.h"
#include "tests/unit/rng.h"

#include <stdlib.h>
#include <string.h>

#define BEYOND_LOW (RIG_LOW + RIG_LOW_PAGES * PAGE)

static void
scribble(struct rig *r, struct rng *rng)
{
	uint64_t words[512];

	for (int i = 0; i < r->rg_mem.nregions; i++)
		for (uint64_t at = 0; at < r->rg_mem.regions[i].len; at += PAGE) {
			for (unsigned int k = 0; k < 512; k++)
				words[k] = rng_next(rng);
			rig_write(r, r->rg_mem.regions[i].start + at, words, sizeof(words));
		}
}

/* The image at an address, or NULL, with the region's rights. */
static uint8_t *
image_at(struct rig *r, uint64_t gpa, bool *read_only)
{
	for (int i = 0; i < r->rg_mem.nregions; i++) {
		if (gpa < r->rg_mem.regions[i].start ||
		    gpa - r->rg_mem.regions[i].start >= r->rg_mem.regions[i].len)
			continue;
		*read_only = r->rg_mem.regions[i].read_only;
		return r->rg_mem.regions[i].bytes + (gpa - r->rg_mem.regions[i].start);
	}
	return NULL;
}

/* ---- By guest-physical address --------------------------------------------------------------- */

#define BYTES_MAX (24 * 4096)
static uint8_t buffer[BYTES_MAX];
static uint8_t other[BYTES_MAX];

/* How far a copy gets: up to the first page that is no memory, or does not grant the right. */
static uint64_t
reach(struct rig *r, uint64_t gpa, uint64_t len, bool write, int *error)
{
	for (uint64_t n = 0; n < len; n++) {
		bool ro = false;

		if (image_at(r, gpa + n, &ro) == NULL)
			*error = -EFAULT;
		else if (write && ro)
			*error = -EACCES;
		else
			continue;
		return n;
	}
	*error = 0;
	return len;
}

static void
copy_physical(struct rig *r, struct rng *rng, uint64_t gpa, uint64_t len, bool write)
{
	int error;
	const uint64_t want = reach(r, gpa, len, write, &error);
	uint64_t done = ~(uint64_t)0;
	bool ro;

	for (uint64_t n = 0; n < len; n++)
		buffer[n] = (uint8_t)rng_next(rng);
	memcpy(other, buffer, sizeof(other));
	if (write)
		vf_errno(vm_gpa_write(r->rg_x.vf_vs, gpa, buffer, len, &done), error);
	else
		vf_errno(vm_gpa_read(r->rg_x.vf_vs, gpa, buffer, len, &done), error);
	cr_assert_eq(done, want, "%llu, not %llu", (unsigned long long)done,
		     (unsigned long long)want);
	for (uint64_t n = 0; n < want; n++) {
		if (write)
			*image_at(r, gpa + n, &ro) = buffer[n];
		else
			other[n] = *image_at(r, gpa + n, &ro);
	}
	cr_assert(memcmp(buffer, other, sizeof(buffer)) == 0);
	rig_same(r);
}

/* Ranges that begin and end anywhere, most of them in memory, many at an edge. */
Test(copy, physical)
{
	static const uint64_t starts[] = {RIG_LOW,	 BEYOND_LOW - PAGE, RIG_RO - PAGE,
					  RIG_RO,	 RIG_WINDOW - PAGE, RIG_HIGH,
					  RIG_LOW - PAGE};
	struct rig *r = rig_open();
	struct rng rng = {1};

	scribble(r, &rng);
	for (unsigned int i = 0; i < fx_scale(4000); i++) {
		const uint64_t gpa = starts[rng_below(&rng, 7)] + rng_below(&rng, 2 * 4096);
		const uint64_t len =
			rng_percent(&rng, 50) ? rng_below(&rng, 64) : rng_below(&rng, 18 * 4096);

		copy_physical(r, &rng, gpa, len, rng_percent(&rng, 50));
	}
	rig_close(r);
}

/* From one segment into the next that is mapped beside it, and on into one that is read-only. */
Test(copy, physical_across_segments)
{
	struct rig *r = rig_open();
	struct rng rng = {2};
	static uint8_t image[2][2 * 4096];
	const uint64_t first = 0x2000000;

	for (int k = 0; k < 2; k++) {
		const int ident = r->rg_mem.nregions;
		const uint64_t gpa = first + (uint64_t)k * 2 * PAGE;

		memset(image[k], 0, sizeof(image[k]));
		vf_segment(&r->rg_x, ident, 2, NULL);
		vf_map(&r->rg_x, gpa, ident, 0, 2, k == 0 ? PMAP_PROT_RWX : PMAP_PROT_R);
		r->rg_mem.regions[ident].start = gpa;
		r->rg_mem.regions[ident].len = 2 * PAGE;
		r->rg_mem.regions[ident].read_only = k == 1;
		r->rg_mem.regions[ident].bytes = image[k];
		r->rg_mem.nregions++;
	}
	cr_assert_eq(r->rg_mem.nregions, 5);
	for (uint64_t len = 1; len < 4 * PAGE; len += 777) {
		copy_physical(r, &rng, first + 100, len, false);
		copy_physical(r, &rng, first + 100, len, true);
		copy_physical(r, &rng, first + 4 * PAGE - len, len, true);
		copy_physical(r, &rng, first + 4 * PAGE - len, len, false);
	}
	rig_close(r);
}

/* Where the guest's address space ends. */
Test(copy, physical_at_the_end)
{
	struct rig *r = rig_open();
	struct vf *x = &r->rg_x;
	struct vmspace *vs = x->vf_vs;
	const uint64_t last = x->vf_limit - 1;
	uint64_t done;
	char c = 'x';

	vf_errno(vm_gpa_read(vs, last, &c, 1, &done), -EFAULT);
	vf_segment(x, 7, 1, NULL);
	vf_map(x, x->vf_limit - PAGE, 7, 0, 1, PMAP_PROT_RW);
	vf_errno(vm_gpa_write(vs, last, &c, 1, &done), 0);
	cr_assert_eq(done, 1);
	c = 0;
	vf_errno(vm_gpa_read(vs, last, &c, 1, &done), 0);
	cr_assert(c == 'x' && done == 1);
	for (unsigned int write = 0; write < 2; write++) {
		static const uint64_t lens[] = {2, PAGE, ~(uint64_t)0};

		for (unsigned int i = 0; i < 3; i++) {
			done = 7;
			vf_errno(write ? vm_gpa_write(vs, last, &c, lens[i], &done)
				       : vm_gpa_read(vs, last, &c, lens[i], &done),
				 -EINVAL);
			cr_assert_eq(done, 0);
		}
		vf_errno(write ? vm_gpa_write(vs, ~(uint64_t)0, &c, 1, &done)
			       : vm_gpa_read(vs, ~(uint64_t)0, &c, 1, &done),
			 -EINVAL);
		vf_errno(write ? vm_gpa_write(vs, 0, &c, 0, &done)
			       : vm_gpa_read(vs, 0, &c, 0, &done),
			 0);
		cr_assert_eq(done, 0);
	}
	vf_unmap(x, x->vf_limit - PAGE, 1);
	vf_free_segment(x, 7);
	rig_close(r);
}

/* ---- By guest-linear address ----------------------------------------------------------------- */

/*
 * The pages of the guest's program, from BASE on: what its tables say of each, and what is there.
 * The tables are in the first four pages of low memory, which no page of the program shows.
 */
#define BASE 0x7fffffe01000u
#define NPAGES 24

static const uint64_t program[NPAGES] = {
	(RIG_LOW + 8 * PAGE) | 7,
	(RIG_LOW + 15 * PAGE) | 7,
	(RIG_LOW + 4 * PAGE) | 7,
	RIG_HIGH | 7,
	(RIG_LOW + 5 * PAGE) | 7 | 0x20,
	(RIG_HIGH + 3 * PAGE) | 7 | 0x60,
	(RIG_LOW + 6 * PAGE) | 7,
	(RIG_LOW + 9 * PAGE) | 5, /* the guest may only read it */
	RIG_RO | 7,		  /* its hardware lets nobody write */
	(RIG_LOW + 7 * PAGE) | 7,
	(RIG_LOW + 10 * PAGE) | 3, /* a supervisor's */
	(RIG_LOW + 11 * PAGE) | 7,
	(RIG_LOW + 12 * PAGE) | 6, /* not there */
	(RIG_LOW + 13 * PAGE) | 7,
	RIG_WINDOW | 7,
	(RIG_LOW + 14 * PAGE) | 7,
	0x9000000 | 7, /* no memory */
	(RIG_HIGH + PAGE) | 7,
	(RIG_HIGH + 2 * PAGE) | 7 | (uint64_t)1 << 63,
	(RIG_LOW + 8 * PAGE) | 7,		 /* once more */
	(RIG_RO + PAGE) | 7 | (uint64_t)1 << 51, /* a reserved bit */
	(RIG_LOW + 11 * PAGE) | 5,
	(RIG_LOW + 12 * PAGE) | 7,
	0,
};

static const struct ref_cpu user = {
	.cr0 = 0x80010001,
	.cr3 = RIG_LOW,
	.cr4 = 0x20,
	.efer = 0xd00,
	.cpl = 3,
	.maxphyaddr = 46,
};

static void
put_program(struct rig *r)
{
	const uint64_t la = BASE;

	for (int i = 0; i < 3; i++)
		rig_put(r, RIG_LOW + (uint64_t)i * PAGE + (la >> (39 - 9 * i) & 511) * 8,
			(RIG_LOW + ((uint64_t)i + 1) * PAGE) | 7, 8);
	for (uint64_t i = 0; i < NPAGES; i++)
		rig_put(r, RIG_LOW + 3 * PAGE + ((la >> 12 & 511) + i) * 8, program[i], 8);
}

/* What must come of a range: of its pages, in order, the first that is not good. */
struct outcome {
	int oc_rc;
	struct ref_result oc_why; /* of an exception */
	uint64_t oc_cr2;
	uint64_t oc_gpa; /* of what is not memory */
};

static struct outcome
foresee(struct rig *r, const struct ref_cpu *c, uint64_t la, uint64_t len, char access)
{
	for (uint64_t at = la; at - la < len; at = (at / PAGE + 1) * PAGE) {
		const struct ref_result w = ref_walk(c, &r->rg_mem, at, access, false);
		struct outcome oc = {0, w, at, 0};
		bool ro = false;

		if (w.kind != REF_OK) {
			oc.oc_rc = w.kind == REF_NO_MEMORY ? -EFAULT : VM_GLA_EXCEPTION;
			oc.oc_gpa = w.bad_pa;
			return oc;
		}
		if (image_at(r, w.pa, &ro) == NULL || (ro && access != 'r' && access != 'x')) {
			oc.oc_rc = -EFAULT;
			oc.oc_gpa = w.pa;
			return oc;
		}
	}
	return (struct outcome){0};
}

/* Moves bytes between the buffer and the image, by the reference's translation of each page. */
static void
image_bytes(struct rig *r, const struct ref_cpu *c, uint64_t la, uint64_t len, bool write)
{
	uint64_t n;
	bool ro;

	for (uint64_t at = la; at - la < len; at += n) {
		uint8_t *image = image_at(r, ref_walk(c, &r->rg_mem, at, 'r', false).pa, &ro);

		n = PAGE - at % PAGE < len - (at - la) ? PAGE - at % PAGE : len - (at - la);
		if (write)
			memcpy(image, buffer + (at - la), n);
		else
			memcpy(other + (at - la), image, n);
	}
}

/* Copies all that is set up, in two parts; the image follows, with the flags of its tables. */
static void
move_bytes(struct rig *r, const struct ref_cpu *c, const struct vm_copy *cp, uint64_t la,
	   uint64_t len, char access, struct rng *rng)
{
	const uint64_t cut = len > 0 ? rng_below(rng, (unsigned int)len + 1) : 0;

	for (uint64_t at = la; at - la < len; at = (at / PAGE + 1) * PAGE)
		cr_assert_eq(ref_walk(c, &r->rg_mem, at, access, true).kind, REF_OK);
	if (access == 'w' || access == 'm') {
		for (uint64_t n = 0; n < len; n++)
			buffer[n] = (uint8_t)rng_next(rng);
		vm_copyout(cp, 0, buffer, cut);
		vm_copyout(cp, cut, buffer + cut, len - cut);
		image_bytes(r, c, la, len, true);
	}
	memset(buffer, 0, len);
	vm_copyin(cp, 0, buffer, cut);
	vm_copyin(cp, cut, buffer + cut, len - cut);
	image_bytes(r, c, la, len, false);
	cr_assert(memcmp(buffer, other, len) == 0);
}

static unsigned int
holds_of(struct rig *r)
{
	unsigned int holds = 0;

	for (int i = 0; i < r->rg_mem.nregions; i++)
		for (uint64_t at = 0; at < r->rg_mem.regions[i].len; at += PAGE)
			holds += vf_info(&r->rg_x, r->rg_mem.regions[i].start + at).pi_holds;
	return holds;
}

static int
copy_linear(struct rig *r, const struct ref_cpu *c, uint64_t la, uint64_t len, char access,
	    struct rng *rng)
{
	const struct vm_guest_paging g = rig_paging(c);
	const struct outcome oc = foresee(r, c, la, len, access);
	const uint64_t npages = len == 0 ? 0 : (la + len - 1) / PAGE - la / PAGE + 1;
	struct vm_copy cp;
	struct vm_gla out;

	memset(&cp, 0xa5, sizeof(cp));
	vf_errno(vm_copy_setup(r->rg_x.vf_vs, &g, la, len, rig_access(access), &cp, &out),
		 oc.oc_rc);
	if (oc.oc_rc == 0) {
		cr_assert_eq(holds_of(r), npages);
		move_bytes(r, c, &cp, la, len, access, rng);
		vm_copy_teardown(&cp);
	} else if (oc.oc_rc == VM_GLA_EXCEPTION) {
		cr_assert_eq(out.gl_exception.ge_vector, VM_VECTOR_PF);
		cr_assert_eq(out.gl_exception.ge_error_code, oc.oc_why.error_code);
		cr_assert_eq(out.gl_exception.ge_cr2, oc.oc_cr2);
	} else {
		cr_assert_eq(out.gl_record.fr_gpa, oc.oc_gpa / PAGE * PAGE);
	}
	cr_assert_eq(holds_of(r), 0);
	rig_same(r); /* after a failure: not a byte, not a flag */
	return oc.oc_rc;
}

Test(copy, linear)
{
	struct rig *r = rig_open();
	struct rng rng = {3};
	unsigned int good = 0, raised = 0, faults = 0;

	scribble(r, &rng);
	for (unsigned int i = 0; i < fx_scale(6000); i++) {
		const uint64_t la = BASE + rng_below(&rng, NPAGES * 4096);
		const uint64_t len =
			rng_percent(&rng, 50) ? rng_below(&rng, 64) : rng_below(&rng, 7 * 4096);
		struct ref_cpu c = user;
		int rc;

		c.cpl = rng_percent(&rng, 80) ? 3 : 0;
		if (i % 8 == 0)
			put_program(r); /* A and D are missing again */
		rc = copy_linear(r, &c, la, len, "rwmx"[rng_below(&rng, 4)], &rng);
		good += rc == 0;
		raised += rc > 0;
		faults += rc < 0;
	}
	cr_assert(good > fx_scale(1000) && raised > fx_scale(1000) && faults > fx_scale(200),
		  "%u good, %u exceptions, %u faults", good, raised, faults);
	rig_close(r);
}

/* Every range of up to four pages, whole and with its edges cut: the page that is bad, anywhere. */
Test(copy, linear_pages)
{
	struct rig *r = rig_open();
	struct rng rng = {4};

	scribble(r, &rng);
	for (unsigned int from = 0; from < NPAGES; from++) {
		for (unsigned int n = 1; n <= 4 && from + n <= NPAGES; n++) {
			for (unsigned int k = 0; k < 4; k++) {
				put_program(r);
				copy_linear(r, &user, BASE + from * PAGE, n * PAGE, "rwmx"[k],
					    &rng);
				put_program(r);
				copy_linear(r, &user, BASE + (from + 1) * PAGE - 1,
					    (n - 1) * PAGE + 2, "rwmx"[k], &rng);
			}
		}
	}
	rig_close(r);
}

/* Of no bytes nothing is asked. */
Test(copy, nothing)
{
	static const uint64_t at[] = {0, BASE, BASE + 12 * PAGE, 0x800000000000, ~(uint64_t)0};
	struct rig *r = rig_open();
	const struct vm_guest_paging g = rig_paging(&user);

	put_program(r);
	for (unsigned int i = 0; i < 5; i++) {
		struct vm_copy cp;
		struct vm_gla out;

		vf_errno(vm_copy_setup(r->rg_x.vf_vs, &g, at[i], 0, PMAP_PROT_W, &cp, &out), 0);
		vm_copyin(&cp, 0, NULL, 0);
		vm_copyout(&cp, 0, NULL, 0);
		vm_copy_teardown(&cp);
	}
	rig_close(r);
}

/* The last byte there is, in each mode; ranges that go beyond it, and canonical holes. */
Test(copy, ends)
{
	struct rig *r = rig_open();
	struct vmspace *vs = r->rg_x.vf_vs;
	struct ref_cpu c = user;
	struct vm_guest_paging g = rig_paging(&c);
	struct rng rng = {5};
	struct vm_copy cp;
	struct vm_gla out;

	for (int i = 0; i < 4; i++)
		rig_put(r, RIG_LOW + (uint64_t)i * PAGE + 511 * 8,
			(i < 3 ? RIG_LOW + ((uint64_t)i + 1) * PAGE : RIG_HIGH) | 7, 8);
	cr_assert_eq(copy_linear(r, &c, ~(uint64_t)0, 1, 'm', &rng), 0);
	cr_assert_eq(copy_linear(r, &c, ~(uint64_t)0 - 4095, 4096, 'w', &rng), 0);
	vf_errno(vm_copy_setup(vs, &g, ~(uint64_t)0, 2, PMAP_PROT_R, &cp, &out), -EINVAL);
	vf_errno(vm_copy_setup(vs, &g, 1, ~(uint64_t)0, PMAP_PROT_R, &cp, &out), -ENOMEM);
	vf_errno(vm_copy_setup(vs, &g, 2, ~(uint64_t)0, PMAP_PROT_R, &cp, &out), -EINVAL);

	/* Into the hole: #GP, though the first page is good. */
	rig_put(r, RIG_LOW + 255 * 8, (RIG_LOW + PAGE) | 7, 8);
	cr_assert_eq(copy_linear(r, &c, 0x7fffffffffff, 1, 'r', &rng), 0);
	vf_errno(vm_copy_setup(vs, &g, 0x7fffffffffff, 2, PMAP_PROT_R, &cp, &out),
		 VM_GLA_EXCEPTION);
	cr_assert_eq(out.gl_exception.ge_vector, VM_VECTOR_GP);

	/* 32 bits. */
	c = (struct ref_cpu){.cr0 = 0x80000001, .cr3 = RIG_LOW, .maxphyaddr = 36};
	g = rig_paging(&c);
	rig_put(r, RIG_LOW + 1023 * 4, (RIG_LOW + PAGE) | 7, 4);
	rig_put(r, RIG_LOW + PAGE + 1023 * 4, (RIG_LOW + 8 * PAGE) | 7, 4);
	cr_assert_eq(copy_linear(r, &c, 0xffffffff, 1, 'w', &rng), 0);
	vf_errno(vm_copy_setup(vs, &g, 0xffffffff, 2, PMAP_PROT_W, &cp, &out), -EINVAL);

	/* No paging. */
	c = (struct ref_cpu){.cr0 = 1, .maxphyaddr = 36};
	cr_assert_eq(copy_linear(r, &c, RIG_LOW + 9 * PAGE - 7, 2 * PAGE, 'm', &rng), 0);
	cr_assert_eq(copy_linear(r, &c, BEYOND_LOW - 1, 2, 'r', &rng), -EFAULT);
	cr_assert_eq(copy_linear(r, &c, RIG_RO - 1, 2, 'r', &rng), -EFAULT);
	rig_close(r);
}

/* What is set up stays, whatever becomes of maps and segments. */
Test(copy, outlives_the_map)
{
	struct rig *r = rig_open();
	struct vf *x = &r->rg_x;
	const struct ref_cpu c = {.cr0 = 1, .maxphyaddr = 36};
	const struct vm_guest_paging g = rig_paging(&c);
	struct vm_copy cp;
	struct vm_gla out;
	char back[8];

	vf_segment(x, 7, 3, NULL);
	vf_map(x, 0x3000000, 7, 0, 3, PMAP_PROT_RW);
	vf_errno(vm_copy_setup(x->vf_vs, &g, 0x3000ffc, PAGE + 8, PMAP_PROT_RW, &cp, &out), 0);
	vf_unmap(x, 0x3000000, 3);
	vf_free_segment(x, 7);
	vm_copyout(&cp, PAGE, "outlive", 8);
	vm_copyin(&cp, PAGE, back, 8);
	cr_assert_str_eq(back, "outlive");
	vm_copy_teardown(&cp);
	rig_close(r);
}

/* ---- The host fails -------------------------------------------------------------------------- */

#define FAIL_LEN (5 * PAGE)

/* The first allocation fails, then the second, until none is missing; or all from there on. */
static void
without_memory(bool persistently)
{
	unsigned int failures = 0;

	for (uint64_t n = 1;; n++) {
		struct rig *r = rig_open();
		const struct vm_guest_paging g = rig_paging(&user);
		struct vm_copy cp;
		struct vm_gla out;
		uint64_t failed;
		int rc;

		put_program(r);
		host_posix_fail_alloc(n, persistently);
		rc = vm_copy_setup(r->rg_x.vf_vs, &g, BASE + 1, FAIL_LEN, PMAP_PROT_RW, &cp, &out);
		failed = host_posix_failed_allocs();
		host_posix_fail_alloc(0, false);
		cr_assert(rc == 0 || (rc == -ENOMEM && failed > 0), "%d", rc);
		if (rc != 0) {
			failures++;
			cr_assert_eq(out.gl_record.fr_error, -ENOMEM);
			cr_assert_eq(holds_of(r), 0);
			rig_same(r);
		} else {
			struct rng rng = {n};

			move_bytes(r, &user, &cp, BASE + 1, FAIL_LEN, 'm', &rng);
			vm_copy_teardown(&cp);
		}
		rig_close(r);
		if (failed == 0)
			break;
		cr_assert(n < 100);
	}
	cr_assert(failures > 0);
}

Test(copy, out_of_memory)
{
	without_memory(false);
	without_memory(true);
}

/* Tables and pages come back from swap; if they cannot, that is the host's failure. */
Test(copy, swapped_out)
{
	struct rig *r = rig_open();
	struct rng rng = {6};
	const struct vm_guest_paging g = rig_paging(&user);
	struct vm_copy cp;
	struct vm_gla out;

	scribble(r, &rng);
	put_program(r);
	vf_pageout_all(&r->rg_x);
	cr_assert(!vf_info(&r->rg_x, RIG_LOW).pi_resident);
	host_vm_posix_fail_swap(HOST_VM_POSIX_READ, 1, true);
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, BASE, PMAP_PROT_R, &out), -EIO);
	cr_assert_eq(out.gl_record.fr_reason, VM_FAULT_SWAP_READ);
	cr_assert_eq(out.gl_record.fr_gpa, RIG_LOW);
	vf_errno(vm_copy_setup(r->rg_x.vf_vs, &g, BASE, FAIL_LEN, PMAP_PROT_W, &cp, &out), -EIO);
	host_vm_posix_fail_swap(0, 0, false);
	cr_assert_eq(holds_of(r), 0);
	cr_assert_eq(copy_linear(r, &user, BASE, FAIL_LEN, 'm', &rng), 0);
	rig_close(r);
}
