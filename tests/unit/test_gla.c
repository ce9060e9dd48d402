/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Guest-linear addresses against the reference walker: all rights at all levels with all controls
 * of the CPU, all accessed and dirty flags, every single bit of every entry, tables of random words
 * that point anywhere. Results, error codes, records and guest memory must be the same.
 */

#include "tests/unit/gla_rig.h"
#include "tests/unit/rng.h"

#include <string.h>

#define B(n) ((uint64_t)1 << (n))

#define PG B(31) | B(0)
#define PSE B(4)
#define PAE B(5)
#define LA57 B(12)
#define LONG (B(8) | B(10))
#define NXE B(11)

/* A paging mode and a size of page in it. */
struct shape {
	const char *name;
	uint64_t cr4, efer;
	int levels;	/* of tables */
	int leaf;	/* index of the last one, the top is 0 */
	int width;	/* bytes of an entry */
	int index_bits; /* of all but PAE's top */
	bool large;	/* PS in the leaf */
	bool has_nx;
	bool bare_top;
};

static const struct shape shapes[] = {
	{"32-bit 4K", PSE, 0, 2, 1, 4, 10, false, false, false},
	{"32-bit 4K, PSE off", 0, 0, 2, 1, 4, 10, false, false, false},
	{"32-bit 4M", PSE, 0, 2, 0, 4, 10, true, false, false},
	{"PAE 4K", PAE, 0, 3, 2, 8, 9, false, true, true},
	{"PAE 2M", PAE | PSE, 0, 3, 1, 8, 9, true, true, true},
	{"4 levels 4K", PAE, LONG, 4, 3, 8, 9, false, true, false},
	{"4 levels 2M", PAE, LONG, 4, 2, 8, 9, true, true, false},
	{"4 levels 1G", PAE, LONG, 4, 1, 8, 9, true, true, false},
	{"5 levels 4K", PAE | LA57, LONG, 5, 4, 8, 9, false, true, false},
	{"5 levels 2M", PAE | LA57, LONG, 5, 3, 8, 9, true, true, false},
	{"5 levels 1G", PAE | LA57, LONG, 5, 2, 8, 9, true, true, false},
};
#define NSHAPES ((int)(sizeof(shapes) / sizeof(shapes[0])))

static const char accesses[] = {'r', 'w', 'm', 'x'};

/* An address whose every part differs, below the middle of the space. */
#define LA_LONG 0x00003a5a8f3c7654u

static uint64_t
la_of(const struct shape *s)
{
	return s->width == 8 && !s->bare_top ? LA_LONG : 0xc5a8f3c7;
}

/* The tables are pages of low memory, from the top down. */
static uint64_t
table_of(int i)
{
	return RIG_LOW + (uint64_t)i * PAGE;
}

static uint64_t
slot_of(const struct shape *s, int i)
{
	const int below = s->levels - 1 - i;

	if (s->bare_top && i == 0)
		return la_of(s) >> 30 & 3;
	return la_of(s) >> (12 + s->index_bits * below) & (B(s->index_bits) - 1);
}

static uint64_t
address_of(const struct shape *s, int i)
{
	return table_of(i) + slot_of(s, i) * (uint64_t)s->width;
}

/* A good entry without rights; what a leaf maps is beyond what the guest has. */
static uint64_t
entry_of(const struct shape *s, int i)
{
	if (i < s->leaf)
		return table_of(i + 1) | 1;
	return (s->large ? 0x40000000 | B(7) : 0x4abcd000) | 1;
}

static struct ref_cpu
cpu_of(const struct shape *s)
{
	return (struct ref_cpu){
		.cr0 = PG,
		.cr3 = table_of(0),
		.cr4 = s->cr4,
		.efer = s->efer,
		.maxphyaddr = 46,
		.page1gb = true,
	};
}

/* Six bits of controls. */
static void
set_controls(struct ref_cpu *c, unsigned int bits)
{
	c->cpl = bits & 1 ? 3 : 0;
	c->cr0 |= bits & 2 ? B(16) : 0;
	c->cr4 |= bits & 4 ? B(20) : 0;
	c->cr4 |= bits & 8 ? B(21) : 0;
	c->rflags |= bits & 16 ? B(18) : 0;
	c->efer |= bits & 32 ? NXE : 0;
}

/* Under tools only every n-th case: odd, so that all values of all dimensions occur. */
static uint64_t
stride(void)
{
	return fx_scale(40) == 40 ? 1 : fx_scale(40) == 8 ? 7 : 61;
}

static void
at_least(const struct rig *r, uint64_t cases)
{
	cr_assert(r->rg_cases * stride() + stride() >= cases, "%llu cases",
		  (unsigned long long)r->rg_cases);
}

/* ---- Rights ---------------------------------------------------------------------------------- */

/* Writes the entries of a shape: three bits of rights for each level, A and D at random. */
static void
put_rights(struct rig *r, const struct shape *s, uint64_t rights, struct rng *rng)
{
	for (int i = 0; i <= s->leaf; i++) {
		uint64_t e = entry_of(s, i);

		if (!(s->bare_top && i == 0)) {
			e |= (rights & 1 ? B(1) : 0) | (rights & 2 ? B(2) : 0);
			if (s->has_nx)
				e |= rights & 4 ? B(63) : 0;
			e |= rng_next(rng) & (B(5) | B(6));
			rights >>= s->has_nx ? 3 : 2;
		}
		rig_put(r, address_of(s, i), e, s->width);
	}
}

static int
rights_bits(const struct shape *s)
{
	return (s->leaf + 1 - s->bare_top) * (s->has_nx ? 3 : 2);
}

/* The whole product; of the largest, five levels of tables, every RIGHTS_STEP-th. Odd. */
#ifndef RIGHTS_STEP
#define RIGHTS_STEP 7
#endif

Test(gla, rights)
{
	struct rig *r = rig_open();
	struct rng rng = {1};
	uint64_t wanted = 0;

	for (int k = 0; k < NSHAPES; k++) {
		const struct shape *s = &shapes[k];
		const uint64_t step = stride() * (s->leaf == 4 ? RIGHTS_STEP : 1);
		const uint64_t n = B(rights_bits(s)) * 256;

		wanted += n / step;
		for (uint64_t i = 0; i < n; i += step) {
			struct ref_cpu c = cpu_of(s);

			set_controls(&c, i % 64);
			put_rights(r, s, i / 256, &rng);
			rig_case(r, &c, la_of(s), accesses[i / 64 % 4]);
		}
	}
	cr_assert(r->rg_cases >= wanted);
	at_least(r, 3000000);
	rig_close(r);
}

/* CPL 1 and 2 are supervisors. */
Test(gla, inner_rings)
{
	struct rig *r = rig_open();
	struct rng rng = {2};

	for (int k = 0; k < NSHAPES; k++)
		for (uint64_t i = 0; i < 1024; i++) {
			const struct shape *s = &shapes[k];
			struct ref_cpu c = cpu_of(s);

			set_controls(&c, (unsigned int)(rng_next(&rng) % 64));
			c.cpl = 1 + (int)(i & 1);
			put_rights(r, s, rng_next(&rng), &rng);
			rig_case(r, &c, la_of(s), accesses[i >> 1 & 3]);
		}
	rig_close(r);
}

/* ---- Flags ----------------------------------------------------------------------------------- */

/* All accessed and dirty flags of all levels, for accesses that are permitted and some that not. */
Test(gla, accessed_and_dirty)
{
	struct rig *r = rig_open();

	for (int k = 0; k < NSHAPES; k++) {
		const struct shape *s = &shapes[k];
		const int n = s->leaf + 1;

		for (uint64_t flags = 0; flags < B(2 * n); flags += stride()) {
			for (unsigned int i = 0; i < 16; i++) {
				struct ref_cpu c = cpu_of(s);
				uint64_t left = flags;

				for (int level = 0; level < n; level++, left >>= 2) {
					uint64_t e = entry_of(s, level);

					if (!(s->bare_top && level == 0))
						e |= (left & 3) << 5 | (i & 8 ? 6 : 4);
					rig_put(r, address_of(s, level), e, s->width);
				}
				c.cpl = i & 4 ? 3 : 0;
				rig_case(r, &c, la_of(s), accesses[i & 3]);
			}
		}
	}
	at_least(r, 1000);
	rig_close(r);
}

/* The other half of a word with two entries stays as it is, and is not looked at. */
Test(gla, neighbors)
{
	struct rig *r = rig_open();
	const struct shape *s = &shapes[0];
	struct rng rng = {3};

	for (unsigned int i = 0; i < 2000; i++) {
		struct ref_cpu c = cpu_of(s);
		const uint64_t la = la_of(s) ^ (i & 1 ? 0x1000 : 0) ^ (i & 2 ? 0x400000 : 0);

		for (int level = 0; level < 2; level++) {
			const int shift = level == 0 ? 22 : 12;
			const uint64_t at = table_of(level) + (la >> shift & 1023) * 4;

			rig_put(r, at ^ 4, rng_next(&rng), 4);
			rig_put(r, at, entry_of(s, level) | 6, 4);
		}
		rig_case(r, &c, la, accesses[i >> 2 & 3]);
	}
	rig_same(r);
	rig_close(r);
}

/* ---- Reserved bits --------------------------------------------------------------------------- */

static const int widths[] = {32, 33, 36, 39, 40, 41, 46, 51, 52};
#define NWIDTHS ((int)(sizeof(widths) / sizeof(widths[0])))

/*
 * Each bit of each entry turned over, alone, for CPUs of several widths, with and without NXE and
 * pages of 1 GiB. Entries that then point elsewhere may point at no memory at all.
 */
static void
turn_each_bit(struct rig *r, const struct shape *s, unsigned int how, uint64_t *n)
{
	for (int level = 0; level <= s->leaf; level++) {
		for (int bit = 0; bit < 8 * s->width; bit++) {
			struct ref_cpu c = cpu_of(s);

			if ((*n)++ % stride() != 0)
				continue;
			set_controls(&c,
				     (how & 1 ? 32 : 0) | (how & 2 ? 2 : 0) | (how & 4 ? 1 : 0));
			c.page1gb = how & 8;
			c.maxphyaddr = widths[how / 16 % NWIDTHS];
			for (int i = 0; i <= s->leaf; i++) {
				uint64_t e = entry_of(s, i) | (s->bare_top && i == 0 ? 0 : 6);

				if (i == level)
					e ^= B(bit);
				rig_put(r, address_of(s, i), e, s->width);
			}
			rig_case(r, &c, la_of(s), accesses[*n % 4]);
		}
	}
}

Test(gla, each_bit)
{
	struct rig *r = rig_open();
	uint64_t n = 0;

	for (int k = 0; k < NSHAPES; k++)
		for (unsigned int how = 0; how < 16 * NWIDTHS; how++)
			turn_each_bit(r, &shapes[k], how, &n);
	at_least(r, 100000);
	rig_close(r);
}

/* Several reserved bits, several levels, missing entries, no rights: which of them is reported. */
Test(gla, precedence)
{
	struct rig *r = rig_open();
	struct rng rng = {4};

	for (uint64_t n = 0; n < 400000; n += stride()) {
		const struct shape *s = &shapes[rng_below(&rng, NSHAPES)];
		struct ref_cpu c = cpu_of(s);

		set_controls(&c, rng_below(&rng, 64));
		c.page1gb = rng_percent(&rng, 80);
		c.maxphyaddr = widths[rng_below(&rng, NWIDTHS)];
		for (int i = 0; i <= s->leaf; i++) {
			uint64_t e = entry_of(s, i) | (s->bare_top && i == 0 ? 0 : 6);

			for (unsigned int turns = rng_below(&rng, 4); turns > 1; turns--)
				e ^= B(rng_below(&rng, 8 * (unsigned int)s->width));
			rig_put(r, address_of(s, i), e, s->width);
		}
		rig_case(r, &c, la_of(s), accesses[rng_below(&rng, 4)]);
	}
	at_least(r, 400000);
	rig_close(r);
}

/* ---- Random tables --------------------------------------------------------------------------- */

/* An entry that leads somewhere: a page of the guest, often itself; sometimes nowhere. */
static uint64_t
random_entry(struct rng *rng, bool wide)
{
	static const uint64_t places[] = {RIG_LOW, RIG_LOW,  RIG_LOW,	 RIG_LOW, RIG_LOW,
					  RIG_RO,  RIG_HIGH, RIG_WINDOW, 0x3f000, 0x1000000000000};
	uint64_t e = places[rng_below(rng, 10)] + rng_below(rng, 4) * PAGE;

	e |= rng_next(rng) & 0xe1e;
	e |= rng_percent(rng, 90) ? 1 : 0;
	e |= rng_percent(rng, 60) ? 6 : 0;
	e |= rng_percent(rng, 50) ? B(5) : 0;
	e |= rng_percent(rng, 50) ? B(6) : 0;
	e |= rng_percent(rng, 10) ? B(7) : 0;
	if (rng_percent(rng, 20))
		e &= ~(uint64_t)0x1e0; /* fit for the top of PAE */
	if (rng_percent(rng, 30))
		e &= ~(uint64_t)0x6;
	if (wide && rng_percent(rng, 10))
		e |= B(63);
	if (rng_percent(rng, 5))
		e ^= B(rng_below(rng, 64));
	return e;
}

static void
fill_page(struct rig *r, uint64_t gpa, struct rng *rng)
{
	const bool narrow = rng_percent(rng, 30);
	uint64_t words[512];

	for (unsigned int i = 0; i < 512; i++) {
		words[i] = random_entry(rng, !narrow);
		if (narrow)
			words[i] = (uint32_t)words[i] | random_entry(rng, false) << 32;
	}
	rig_write(r, gpa, words, sizeof(words));
}

/* Addresses that use few entries, so that tables meet themselves on the way. */
static uint64_t
random_la(struct rng *rng, bool is_long)
{
	uint64_t la = rng_next(rng);

	if (rng_percent(rng, 50)) {
		const uint64_t i = rng_below(rng, 4);

		la = i << 48 | i << 39 | i << 30 | i << 21 | i << 12 | (la & 0xfff);
	}
	if (!is_long)
		return la & 0xffffffff;
	if (rng_percent(rng, 90))
		la = (uint64_t)((int64_t)(la << 16) >> 16);
	return la;
}

static void
random_cpu(struct rng *rng, struct ref_cpu *c)
{
	static const uint64_t roots[] = {
		RIG_LOW, RIG_LOW + PAGE, RIG_LOW + 2 * PAGE, RIG_LOW + 3 * PAGE + 0x5c0, RIG_HIGH,
		RIG_RO,	 0x99000};

	*c = cpu_of(&shapes[rng_below(rng, NSHAPES)]);
	c->cr3 = roots[rng_below(rng, 7)] | (rng_percent(rng, 30) ? 0x18 : 0);
	set_controls(c, rng_below(rng, 64));
	c->page1gb = rng_percent(rng, 50);
	c->maxphyaddr = rng_percent(rng, 50) ? 52 : widths[rng_below(rng, NWIDTHS)];
	c->has_pdptes = rng_percent(rng, 30);
	for (unsigned int i = 0; i < 4; i++)
		c->pdpte[i] = (RIG_LOW + rng_below(rng, 4) * PAGE) | rng_percent(rng, 90);
}

Test(gla, random_tables)
{
	struct rig *r = rig_open();
	struct rng rng = {5};

	for (uint64_t n = 0; n < 600000; n += stride()) {
		struct ref_cpu c;

		if (r->rg_cases % 512 == 0)
			for (int i = 0; i < 4; i++) {
				fill_page(r, RIG_LOW + (uint64_t)i * PAGE, &rng);
				fill_page(r, RIG_HIGH + (uint64_t)i * PAGE, &rng);
				fill_page(r, RIG_RO + (uint64_t)(i & 1) * PAGE, &rng);
			}
		random_cpu(&rng, &c);
		rig_case(r, &c, random_la(&rng, c.efer & LONG), accesses[rng_below(&rng, 4)]);
	}
	at_least(r, 600000);
	rig_close(r);
}

/* ---- By hand --------------------------------------------------------------------------------- */

Test(gla, canonical)
{
	static const uint64_t good[] = {0, 0x7fffffffffff, 0xffff800000000000, 0xffffffffffffffff};
	static const uint64_t bad[] = {0x800000000000, 0xffff7fffffffffff, 0x8000000000000000};
	struct rig *r = rig_open();
	struct ref_cpu c = cpu_of(&shapes[5]);

	for (unsigned int i = 0; i < 4; i++)
		rig_case(r, &c, good[i], 'r');
	for (unsigned int i = 0; i < 3; i++) {
		const struct vm_guest_paging g = rig_paging(&c);
		struct vm_gla out;

		rig_case(r, &c, bad[i], 'w');
		vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, bad[i], PMAP_PROT_R, &out),
			 VM_GLA_EXCEPTION);
		cr_assert_eq(out.gl_exception.ge_vector, VM_VECTOR_GP);
	}
	c = cpu_of(&shapes[8]);
	for (unsigned int i = 0; i < 64; i++) {
		rig_case(r, &c, B(i), 'r');
		rig_case(r, &c, ~B(i), 'r');
		rig_case(r, &c, ~(uint64_t)0 << i, 'x');
	}
	rig_close(r);
}

Test(gla, arguments)
{
	struct rig *r = rig_open();
	struct vmspace *vs = r->rg_x.vf_vs;
	struct ref_cpu c = cpu_of(&shapes[0]);
	struct vm_guest_paging g = rig_paging(&c);
	struct vm_gla out;

	for (unsigned int access = 0; access < 16; access++) {
		const bool known = access == PMAP_PROT_R || access == PMAP_PROT_W ||
				   access == PMAP_PROT_RW || access == PMAP_PROT_X;

		vf_errno(vm_gla2gpa(vs, &g, 0, access, &out), known ? VM_GLA_EXCEPTION : -EINVAL);
		vf_errno(vm_gla2gpa_nofault(vs, &g, 0, access, &out),
			 known ? VM_GLA_EXCEPTION : -EINVAL);
	}
	vf_errno(vm_gla2gpa(vs, &g, B(32) - 1, PMAP_PROT_R, &out), VM_GLA_EXCEPTION);
	vf_errno(vm_gla2gpa(vs, &g, B(32), PMAP_PROT_R, &out), -EINVAL);
	g.gp_mode = PT_GUEST_PAE;
	vf_errno(vm_gla2gpa(vs, &g, B(32), PMAP_PROT_R, &out), -EINVAL);
	g.gp_mode = PT_GUEST_FLAT;
	vf_errno(vm_gla2gpa(vs, &g, B(32), PMAP_PROT_R, &out), -EINVAL);
	g.gp_mode = PT_GUEST_MODE_COUNT;
	vf_errno(vm_gla2gpa(vs, &g, 0, PMAP_PROT_R, &out), -EINVAL);
	for (int width = 0; width < 64; width++) {
		g.gp_mode = PT_GUEST_4LEVEL;
		g.gp_phys_bits = (uint8_t)width;
		vf_errno(vm_gla2gpa(vs, &g, 0, PMAP_PROT_R, &out),
			 width >= 32 && width <= 52 ? VM_GLA_EXCEPTION : -EINVAL);
	}
	rig_close(r);
}

/* Paging off: every address is itself, memory or not, for every access. */
Test(gla, flat)
{
	static const uint64_t at[] = {0, 0xfff, RIG_LOW, RIG_RO, RIG_WINDOW, 0x10ffef, 0xffffffff};
	struct rig *r = rig_open();
	struct ref_cpu c = {.cr0 = 1, .maxphyaddr = 46};

	for (unsigned int i = 0; i < 7; i++)
		for (unsigned int k = 0; k < 4 * 64; k++) {
			set_controls(&c, k / 4);
			rig_case(r, &c, at[i], accesses[k % 4]);
		}
	rig_close(r);
}

/* Tables that can only be read do, as long as no flag is missing. */
Test(gla, read_only_tables)
{
	struct rig *r = rig_open();
	struct ref_cpu c = cpu_of(&shapes[2]);
	const uint64_t la = la_of(&shapes[2]);
	const uint64_t at = RIG_RO + (la >> 22) * 4;
	struct vm_guest_paging g;
	struct vm_gla out;

	c.cr3 = RIG_RO;
	g = rig_paging(&c);
	rig_put(r, at, 0x40000000 | 0xa7, 4); /* A, not D */
	rig_case(r, &c, la, 'r');
	rig_case(r, &c, la, 'w');
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, la, PMAP_PROT_R, &out), 0);
	vf_errno(vm_gla2gpa_nofault(r->rg_x.vf_vs, &g, la, PMAP_PROT_W, &out), 0);
	cr_assert(out.gl_unmarked);
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, la, PMAP_PROT_W, &out), -EFAULT);
	cr_assert_eq(out.gl_record.fr_reason, VM_FAULT_DENIED);
	cr_assert_eq(out.gl_record.fr_error, -EACCES);
	cr_assert_eq(out.gl_record.fr_gpa, RIG_RO + (at - RIG_RO) / PAGE * PAGE);
	rig_put(r, at, 0x40000000 | 0xe7, 4); /* both */
	vf_errno(vm_gla2gpa(r->rg_x.vf_vs, &g, la, PMAP_PROT_W, &out), 0);
	rig_close(r);
}

/* What the guest's tables lie in becomes dirty if a flag was set, and only then. */
Test(gla, tables_become_dirty)
{
	const struct shape *s = &shapes[5];
	struct rig *r = rig_open();
	struct vf *x = &r->rg_x;
	struct ref_cpu c = cpu_of(s);
	struct vm_guest_paging g = rig_paging(&c);
	struct vm_gla out;
	uint64_t bits;

	for (int i = 0; i <= s->leaf; i++)
		rig_put(r, address_of(s, i), entry_of(s, i) | 6 | (i == 1 ? B(5) : 0), 8);
	vf_errno(vm_dirty_log_enable(x->vf_vs, false), 0);
	vf_errno(vm_gla2gpa_nofault(x->vf_vs, &g, la_of(s), PMAP_PROT_W, &out), 0);
	vf_errno(vm_dirty_log(x->vf_vs, RIG_LOW, 16 * PAGE, VM_DIRTY_CLEAR, &bits), 0);
	cr_assert_eq(bits & 0xffff, 0);
	vf_errno(vm_gla2gpa(x->vf_vs, &g, la_of(s), PMAP_PROT_W, &out), 0);
	vf_errno(vm_dirty_log(x->vf_vs, RIG_LOW, 16 * PAGE, VM_DIRTY_CLEAR, &bits), 0);
	cr_assert_eq(bits & 0xffff, 0xd, "all but the second: %llx", (unsigned long long)bits);
	vf_errno(vm_gla2gpa(x->vf_vs, &g, la_of(s), PMAP_PROT_W, &out), 0);
	vf_errno(vm_dirty_log(x->vf_vs, RIG_LOW, 16 * PAGE, VM_DIRTY_CLEAR, &bits), 0);
	cr_assert_eq(bits & 0xffff, 0);
	vf_errno(vm_dirty_log_disable(x->vf_vs), 0);
	for (int i = 0; i <= s->leaf; i++)
		ref_walk(&c, &r->rg_mem, la_of(s), 'w', true);
	rig_close(r);
}
