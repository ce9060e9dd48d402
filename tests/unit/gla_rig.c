/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The guest of the tests of guest-linear addresses (gla_rig.h).
 */

#include "tests/unit/gla_rig.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_HPA (32 * GIB)

/* Segments have the numbers of the regions. */
static void
add(struct rig *r, uint64_t gpa, uint64_t npages, uint8_t *image, unsigned int prot)
{
	const int ident = r->rg_mem.nregions++;

	vf_segment(&r->rg_x, ident, npages, NULL);
	vf_map(&r->rg_x, gpa, ident, 0, npages, prot);
	r->rg_mem.regions[ident].start = gpa;
	r->rg_mem.regions[ident].len = npages * PAGE;
	r->rg_mem.regions[ident].read_only = !(prot & PMAP_PROT_W);
	r->rg_mem.regions[ident].bytes = image;
}

struct rig *
rig_open(void)
{
	struct rig *r = calloc(1, sizeof(*r));

	cr_assert_not_null(r);
	world_begin(NULL);
	vf_open(&r->rg_x, "ept", NULL);
	add(r, RIG_LOW, RIG_LOW_PAGES, r->rg_low, PMAP_PROT_RWX);
	add(r, RIG_RO, RIG_RO_PAGES, r->rg_ro, PMAP_PROT_RX);
	add(r, RIG_HIGH, RIG_HIGH_PAGES, r->rg_high, PMAP_PROT_RWX);
	vf_errno(vm_map_mmio(r->rg_x.vf_vs, RIG_WINDOW, PAGE, WINDOW_HPA), 0);
	return r;
}

void
rig_close(struct rig *r)
{
	rig_same(r);
	vf_close(&r->rg_x);
	CHECK(true); /* world_end() wants one; tests assert for themselves */
	world_end();
	free(r);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static int
region_of(const struct rig *r, uint64_t gpa, size_t len)
{
	for (int i = 0; i < r->rg_mem.nregions; i++)
		if (gpa >= r->rg_mem.regions[i].start &&
		    gpa + len <= r->rg_mem.regions[i].start + r->rg_mem.regions[i].len)
			return i;
	cr_assert(false, "the test writes outside its memory: %" PRIx64, gpa);
	return -1;
}

void
rig_write(struct rig *r, uint64_t gpa, const void *from, size_t len)
{
	const int i = region_of(r, gpa, len);
	const uint64_t offset = gpa - r->rg_mem.regions[i].start;
	struct vm_hold hold;

	memcpy(r->rg_mem.regions[i].bytes + offset, from, len);
	vf_errno(vm_memseg_hold(r->rg_x.vf_vs, i, offset, len, PMAP_PROT_W, &hold), 0);
	vm_hold_write(&hold, 0, from, len);
	vm_gpa_release(&hold);
}

void
rig_put(struct rig *r, uint64_t gpa, uint64_t value, int width)
{
	rig_write(r, gpa, &value, (size_t)width);
}

/* Compares a part of a page. */
static void
same(struct rig *r, uint64_t gpa, size_t len)
{
	const int i = region_of(r, gpa, len);
	const uint64_t offset = gpa - r->rg_mem.regions[i].start;
	const uint8_t *image = r->rg_mem.regions[i].bytes + offset;
	uint8_t bytes[4096];
	struct vm_hold hold;

	vf_errno(vm_memseg_hold(r->rg_x.vf_vs, i, offset, len, PMAP_PROT_R, &hold), 0);
	vm_hold_read(&hold, 0, bytes, len);
	vm_gpa_release(&hold);
	if (memcmp(bytes, image, len) == 0)
		return;
	for (size_t k = 0; k < len; k++)
		cr_assert(bytes[k] == image[k], "memory at %" PRIx64 ": %02x, must be %02x",
			  gpa + k, bytes[k], image[k]);
}

void
rig_same(struct rig *r)
{
	for (int i = 0; i < r->rg_mem.nregions; i++)
		for (uint64_t at = 0; at < r->rg_mem.regions[i].len; at += PAGE)
			same(r, r->rg_mem.regions[i].start + at, PAGE);
}

void
rig_same_word(struct rig *r, uint64_t gpa)
{
	same(r, gpa & ~(uint64_t)7, 8);
}

/* ---- Cases ----------------------------------------------------------------------------------- */

struct vm_guest_paging
rig_paging(const struct ref_cpu *cpu)
{
	struct vm_guest_paging g = {
		.gp_mode = PT_GUEST_FLAT,
		.gp_cr3 = cpu->cr3,
		.gp_pdpte_loaded = cpu->has_pdptes,
		.gp_phys_bits = (uint8_t)cpu->maxphyaddr,
		.gp_cpl = (uint8_t)cpu->cpl,
		.gp_wp = cpu->cr0 >> 16 & 1,
		.gp_pse = cpu->cr4 >> 4 & 1,
		.gp_smep = cpu->cr4 >> 20 & 1,
		.gp_smap = cpu->cr4 >> 21 & 1,
		.gp_ac = cpu->rflags >> 18 & 1,
		.gp_nxe = cpu->efer >> 11 & 1,
		.gp_1g = cpu->page1gb,
	};

	memcpy(g.gp_pdpte, cpu->pdpte, sizeof(g.gp_pdpte));
	if (!(cpu->cr0 >> 31 & 1))
		return g;
	if (!(cpu->cr4 >> 5 & 1))
		g.gp_mode = PT_GUEST_32BIT;
	else if (!(cpu->efer >> 10 & 1))
		g.gp_mode = PT_GUEST_PAE;
	else
		g.gp_mode = cpu->cr4 >> 12 & 1 ? PT_GUEST_5LEVEL : PT_GUEST_4LEVEL;
	return g;
}

unsigned int
rig_access(char access)
{
	switch (access) {
	case 'r':
		return PMAP_PROT_R;
	case 'w':
		return PMAP_PROT_W;
	case 'm':
		return PMAP_PROT_RW;
	default:
		return PMAP_PROT_X;
	}
}

/* Why the host could not reach a word, as the map of the guest says. */
static enum vm_fault_reason
reason_at(const struct rig *r, const struct ref_result *want)
{
	if (want->bad_pa >= r->rg_x.vf_limit)
		return VM_FAULT_BEYOND;
	if (want->bad_write)
		return VM_FAULT_DENIED;
	return want->bad_pa / PAGE == RIG_WINDOW / PAGE ? VM_FAULT_WINDOW : VM_FAULT_UNMAPPED;
}

#define CASE \
	"cr0 %" PRIx64 " cr3 %" PRIx64 " cr4 %" PRIx64 " efer %" PRIx64 " cpl %d la %" PRIx64 " %c"
#define CASE_ARGS cpu->cr0, cpu->cr3, cpu->cr4, cpu->efer, cpu->cpl, la, access
#define MUST(cond)                                                       \
	do {                                                             \
		if (!(cond))                                             \
			cr_assert(false, "%s: " CASE, #cond, CASE_ARGS); \
	} while (0)

static void
compare(const struct rig *r, const struct ref_cpu *cpu, uint64_t la, char access, int rc,
	const struct vm_gla *got, const struct ref_result *want)
{
	switch (want->kind) {
	case REF_OK:
		MUST(rc == 0);
		MUST(got->gl_gpa == want->pa);
		MUST(got->gl_page_bytes == want->page_size);
		break;
	case REF_PF:
		MUST(rc == VM_GLA_EXCEPTION);
		MUST(got->gl_exception.ge_vector == 14);
		MUST(got->gl_exception.ge_error_code == want->error_code);
		MUST(got->gl_exception.ge_cr2 == la);
		break;
	case REF_GP:
		MUST(rc == VM_GLA_EXCEPTION);
		MUST(got->gl_exception.ge_vector == 13);
		MUST(got->gl_exception.ge_error_code == 0);
		break;
	case REF_NO_MEMORY:
		MUST(rc == -EFAULT);
		MUST(got->gl_record.fr_gpa == want->bad_pa / PAGE * PAGE);
		MUST(got->gl_record.fr_reason == reason_at(r, want));
		MUST(!!(got->gl_record.fr_access & PMAP_PROT_W) == want->bad_write);
		break;
	}
}

void
rig_case(struct rig *r, const struct ref_cpu *cpu, uint64_t la, char access)
{
	const struct vm_guest_paging g = rig_paging(cpu);
	const unsigned int prot = rig_access(access);
	struct ref_result want = ref_walk(cpu, &r->rg_mem, la, access, false);
	struct vm_gla got;
	int rc;

	memset(&got, 0x5a, sizeof(got));
	rc = vm_gla2gpa_nofault(r->rg_x.vf_vs, &g, la, prot, &got);
	compare(r, cpu, la, access, rc, &got, &want);
	if (rc == 0)
		MUST(got.gl_unmarked == want.would_mark);
	for (int i = 0; i < want.nread; i++)
		rig_same_word(r, want.read[i]);

	want = ref_walk(cpu, &r->rg_mem, la, access, true);
	memset(&got, 0xa5, sizeof(got));
	rc = vm_gla2gpa(r->rg_x.vf_vs, &g, la, prot, &got);
	compare(r, cpu, la, access, rc, &got, &want);
	if (rc == 0)
		MUST(!got.gl_unmarked);
	for (int i = 0; i < want.nread; i++)
		rig_same_word(r, want.read[i]);
	if (++r->rg_cases % 256 == 0)
		rig_same(r);
}
