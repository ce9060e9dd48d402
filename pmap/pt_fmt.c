/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The one place where page-table entries have bit numbers.
 *
 * Two families: ordinary long-mode paging (X86, and RVI, which is the same format walked for the
 * guest), and EPT. Emulated A/D is a further row of the second: the bits the algorithms call valid,
 * writable and executable move to bits that hardware ignores, and the bits they call accessed and
 * modified become hardware's read and write.
 *
 * Apart from these, at the end: what guests may write into page tables of their own.
 */

#include "pmap/pt_fmt.h"

#define PT_BIT(n) ((pt_entry_t)1 << (n))
#define BITS(hi, lo) ((~(pt_entry_t)0 >> (63 - (hi))) & (~(pt_entry_t)0 << (lo)))

/* Long-mode paging: Intel SDM vol. 3A 4.5.4, AMD APM vol. 2 5.3.3. */
#define X86_P PT_BIT(0)
#define X86_RW PT_BIT(1)
#define X86_US PT_BIT(2)
#define X86_PWT PT_BIT(3)
#define X86_PCD PT_BIT(4)
#define X86_A PT_BIT(5)
#define X86_D PT_BIT(6)
#define X86_PS PT_BIT(7)
#define X86_PAT_4K PT_BIT(7)
#define X86_G PT_BIT(8)
#define X86_PAT_LARGE PT_BIT(12)
#define X86_NX PT_BIT(63)

/* 32-bit paging: SDM vol. 3A 4.3. Pages of 4 MiB lie below 1 TiB (PSE-36). */
#define PSE36_LO 13
#define PSE36_HI 20
#define PSE36_TOP 21
#define PSE36_FROM 32
#define PSE36_PHYS_BITS_MAX 40

/* EPT: Intel SDM vol. 3C 29.3.2. */
#define EPT_R PT_BIT(0)
#define EPT_W PT_BIT(1)
#define EPT_X PT_BIT(2)
#define EPT_TYPE_SHIFT 3
#define EPT_IPAT PT_BIT(6)
#define EPT_PS PT_BIT(7)
#define EPT_A PT_BIT(8)
#define EPT_D PT_BIT(9)

/* Ignored by hardware in every format and at every level: ours. */
#define SOFT_V PT_BIT(52)
#define SOFT_RW PT_BIT(53)
#define SOFT_WIRED PT_BIT(54)
#define SOFT_X PT_BIT(55)
#define SOFT_FROZEN PT_BIT(56)
#define SOFT_QUIET PT_BIT(58)

/*
 * Above this, dropping the whole context is cheaper than INVLPG after INVLPG (as Linux, 33 pages).
 */
#define X86_INVLPG_PAGES 33

static const uint8_t pat_encoding[PT_MEMATTR_COUNT] = {
	[PT_MEMATTR_WB] = 6, [PT_MEMATTR_UC] = 0, [PT_MEMATTR_WC] = 1,
	[PT_MEMATTR_WT] = 4, [PT_MEMATTR_WP] = 5,
};

/*
 * Memory types as indices into IA32_PAT (SDM vol. 3A 12.12): the lowest entry that holds the type.
 */
static void
fill_memattr_pat(struct pt_fmt *f, uint64_t pat)
{
	for (unsigned int ma = 0; ma < PT_MEMATTR_COUNT; ma++) {
		for (unsigned int i = 8; i-- > 0;) {
			if (((pat >> (8 * i)) & 7) != pat_encoding[ma])
				continue;
			const pt_entry_t low = ((i & 1) ? X86_PWT : 0) | ((i & 2) ? X86_PCD : 0);

			f->pf_memattr[0][ma] = low | ((i & 4) ? X86_PAT_4K : 0);
			f->pf_memattr[1][ma] = low | ((i & 4) ? X86_PAT_LARGE : 0);
			f->pf_memattr_ok |= (uint8_t)(1u << ma);
		}
	}
	f->pf_memattr_mask[0] = X86_PWT | X86_PCD | X86_PAT_4K;
	f->pf_memattr_mask[1] = X86_PWT | X86_PCD | X86_PAT_LARGE;
}

/* Memory types as such (SDM vol. 3C 29.3.7.1); the PAT numbers them alike. */
static void
fill_memattr_ept(struct pt_fmt *f)
{
	for (unsigned int ma = 0; ma < PT_MEMATTR_COUNT; ma++) {
		f->pf_memattr[0][ma] = (pt_entry_t)pat_encoding[ma] << EPT_TYPE_SHIFT;
		f->pf_memattr[1][ma] = f->pf_memattr[0][ma];
	}
	f->pf_memattr_ok = (1u << PT_MEMATTR_COUNT) - 1;
	f->pf_memattr_mask[0] = (pt_entry_t)7 << EPT_TYPE_SHIFT;
	f->pf_memattr_mask[1] = f->pf_memattr_mask[0];
}

/* Bits of rights from the masks already there; what has no encoding is left out of pf_prot_ok. */
static void
fill_prot(struct pt_fmt *f, pt_entry_t x_bit, bool nx_only, bool exec_only)
{
	for (unsigned int prot = 1; prot < PMAP_PROT_COUNT; prot++) {
		const bool x = (prot & PMAP_PROT_X) != 0;

		if (!(prot & PMAP_PROT_R) && !(exec_only && prot == PMAP_PROT_X))
			continue;
		if (!x && f->pf_x_mask == 0)
			continue; /* without NX everything is executable */
		f->pf_prot[prot] = ((prot & PMAP_PROT_R) ? f->pf_r : 0) |
				   ((prot & PMAP_PROT_W) ? f->pf_rw : 0) |
				   (x != nx_only ? x_bit : 0);
		f->pf_prot_ok |= (uint8_t)(1u << prot);
	}
}

static void
fill_x86(struct pt_fmt *f, const struct pt_caps *caps, bool user, bool global)
{
	f->pf_valid = X86_P;
	f->pf_ps = X86_PS;
	f->pf_r = X86_P;
	f->pf_rw = X86_RW;
	f->pf_a = X86_A;
	f->pf_m = X86_D;
	f->pf_a_clear = X86_A;
	f->pf_x_mask = caps->pc_nx ? X86_NX : 0;
	f->pf_x_val = 0;
	f->pf_leaf = (user ? X86_US : 0) | (global ? X86_G : 0);
	f->pf_table = X86_P | X86_RW | (user ? X86_US : 0);
	fill_prot(f, f->pf_x_mask, true, false);
	fill_memattr_pat(f, caps->pc_pat);

	const pt_entry_t high = BITS(51, 12) & ~f->pf_addr;
	const pt_entry_t nx = caps->pc_nx ? 0 : X86_NX;

	f->pf_rsvd_leaf[0] = high | nx;
	f->pf_rsvd_leaf[1] = high | nx | BITS(20, 13);
	f->pf_rsvd_leaf[2] = high | nx | BITS(29, 13);
	for (unsigned int level = 1; level < PT_LEVELS_MAX; level++)
		f->pf_rsvd_table[level] = high | nx | X86_PS;
}

static void
fill_ept(struct pt_fmt *f, const struct pt_caps *caps)
{
	f->pf_ps = EPT_PS;
	f->pf_leaf = caps->pc_ignore_guest_pat ? EPT_IPAT : 0;
	f->pf_table = EPT_R | EPT_W | EPT_X;
	if (caps->pc_emulate_ad) {
		f->pf_emulated_ad = true;
		f->pf_valid = SOFT_V;
		f->pf_r = SOFT_V;
		f->pf_rw = SOFT_RW;
		f->pf_a = EPT_R;
		f->pf_m = EPT_W;
		f->pf_x_mask = SOFT_X;
		f->pf_hw_x = EPT_X;
		f->pf_a_clear = EPT_R | EPT_W | EPT_X;
		f->pf_soft_ad = EPT_R | EPT_W | EPT_X;
		f->pf_table |= SOFT_V;
	} else {
		f->pf_valid = EPT_R | EPT_W | EPT_X;
		f->pf_r = EPT_R;
		f->pf_rw = EPT_W;
		f->pf_a = EPT_A;
		f->pf_m = EPT_D;
		f->pf_x_mask = EPT_X;
		f->pf_a_clear = EPT_A;
		f->pf_table_a = EPT_A;
	}
	f->pf_x_val = f->pf_x_mask;
	/* Under emulation read is the accessed flag: an entry without it shows nothing. */
	fill_prot(f, f->pf_x_mask, false, caps->pc_exec_only && !caps->pc_emulate_ad);
	fill_memattr_ept(f);

	const pt_entry_t high = BITS(51, 12) & ~f->pf_addr;

	f->pf_rsvd_leaf[0] = high;
	f->pf_rsvd_leaf[1] = high | BITS(20, 12);
	f->pf_rsvd_leaf[2] = high | BITS(29, 12);
	for (unsigned int level = 1; level < PT_LEVELS_MAX; level++)
		f->pf_rsvd_table[level] = high | BITS(6, 3) | EPT_PS;
}

/* From all that: what is looked up where a leaf is made. */
static void
fill_leaves(struct pt_fmt *f)
{
	for (unsigned int level = 0; level < f->pf_leaf_levels; level++) {
		const pt_entry_t leaf = f->pf_leaf | (level > 0 ? f->pf_ps : 0);
		const uint64_t offset = pt_level_size(level) - 1;

		f->pf_gpa_wrong[level] = ~(f->pf_limit - 1) | offset;
		f->pf_hpa_wrong[level] = ~(f->pf_phys_limit - 1) | offset;
		for (unsigned int ma = 0; ma < PT_MEMATTR_COUNT; ma++) {
			const pt_entry_t type = f->pf_memattr[level > 0][ma] | leaf;

			if (!((f->pf_memattr_ok >> ma) & 1))
				continue;
			for (unsigned int prot = 0; prot < PMAP_PROT_COUNT; prot++)
				if ((f->pf_prot_ok >> prot) & 1)
					f->pf_new_leaf[level][ma][prot] = f->pf_prot[prot] | type;
		}
	}
}

static bool
caps_valid(enum pt_type type, const struct pt_caps *caps)
{
	bool has_wb = type == PT_EPT;

	for (unsigned int i = 0; i < 8 && !has_wb; i++)
		has_wb = ((caps->pc_pat >> (8 * i)) & 7) == pat_encoding[PT_MEMATTR_WB];
	if ((unsigned int)type >= PT_TYPE_COUNT || !has_wb)
		return false;
	if (caps->pc_levels != 4 && caps->pc_levels != 5)
		return false;
	if (caps->pc_leaf_levels < 1 || caps->pc_leaf_levels > PT_LEAF_LEVELS_MAX)
		return false;
	if (caps->pc_phys_bits < 36 || caps->pc_phys_bits > 52)
		return false;
	if (type != PT_EPT &&
	    (caps->pc_exec_only || caps->pc_emulate_ad || caps->pc_ignore_guest_pat))
		return false;
	return type == PT_X86 || (!caps->pc_user && !caps->pc_global);
}

int
pt_fmt_init(struct pt_fmt *f, enum pt_type type, const struct pt_caps *caps)
{
	if (!caps_valid(type, caps))
		return -EINVAL;

	*f = (struct pt_fmt){
		.pf_type = type,
		.pf_levels = caps->pc_levels,
		.pf_leaf_levels = caps->pc_leaf_levels,
		.pf_addr = BITS(caps->pc_phys_bits - 1, HOST_PAGE_SHIFT),
		.pf_limit = PT_BIT(pt_level_shift(caps->pc_levels)),
		.pf_phys_limit = PT_BIT(caps->pc_phys_bits),
		.pf_wired = SOFT_WIRED,
		.pf_frozen = SOFT_FROZEN,
		.pf_quiet = SOFT_QUIET,
	};
	switch (type) {
	case PT_X86:
		fill_x86(f, caps, caps->pc_user, caps->pc_global);
		f->pf_invlpg_pages = X86_INVLPG_PAGES;
		break;
	case PT_RVI:
		/*
		 * Nested walks are user accesses (APM vol. 2 15.25.5), and G has no meaning there.
		 */
		fill_x86(f, caps, true, false);
		f->pf_table_a = X86_A;
		break;
	default:
		fill_ept(f, caps);
		break;
	}
	fill_leaves(f);
	return 0;
}

enum pt_change
pt_change_kind(const struct pt_fmt *f, pt_entry_t old, pt_entry_t pte_new, unsigned int level)
{
	const pt_entry_t frame = f->pf_addr | f->pf_memattr_mask[level > 0];
	bool restricts;

	if (!(old & f->pf_valid))
		return PT_CHANGE_NONE;
	if (!(pte_new & f->pf_valid)) {
		restricts = true;
	} else {
		const bool was_x = (old & f->pf_x_mask) == f->pf_x_val;
		const bool is_x = (pte_new & f->pf_x_mask) == f->pf_x_val;
		const pt_entry_t lost = old & ~pte_new & (f->pf_r | f->pf_rw | f->pf_m);

		restricts = ((old ^ pte_new) & frame) != 0 || lost != 0 || (was_x && !is_x);
	}
	if (restricts)
		return (old & f->pf_a) ? PT_CHANGE_FLUSH : PT_CHANGE_UNCACHED;
	return (old & ~pte_new & f->pf_a) ? PT_CHANGE_AGED : PT_CHANGE_NONE;
}

/* ---- Page tables that guests write ----------------------------------------------------------- */

/* SDM vol. 3A table 4-4 (4 MiB), 4-5, 4-6. Of entries of 4 bytes nothing else is reserved. */
static void
fill_guest_32bit(struct pt_guest_fmt *f, const struct pt_guest_caps *caps)
{
	const unsigned int phys_bits =
		caps->gc_phys_bits < PSE36_PHYS_BITS_MAX ? caps->gc_phys_bits : PSE36_PHYS_BITS_MAX;
	const pt_entry_t high_all = BITS(PSE36_HI, PSE36_LO);
	const pt_entry_t high = high_all & (PT_BIT(phys_bits - PSE36_FROM + PSE36_LO) - 1);
	struct pt_guest_level *const pde = &f->gf_level[1];

	for (unsigned int i = 0; i < 2; i++)
		f->gf_level[i] = (struct pt_guest_level){
			.gl_addr = BITS(31, 12),
			.gl_shift = (uint8_t)(12 + 10 * i),
			.gl_index_bits = 10,
		};
	if (caps->gc_pse) {
		pde->gl_ps = X86_PS;
		pde->gl_frame_high = high;
		pde->gl_frame_shift = PSE36_FROM - PSE36_LO;
		pde->gl_rsvd[1] = (high_all & ~high) | PT_BIT(PSE36_TOP);
	}
	f->gf_root = BITS(31, 12);
	f->gf_levels = 2;
	f->gf_entry_lg2_bytes = 2;
}

/*
 * Entries of 8 bytes: SDM vol. 3A tables 4-9 to 4-11 (PAE), 4-14 to 4-20. `ours` are the bits that
 * the mode does not leave to software, addresses included.
 */
static void
fill_guest_long(struct pt_guest_fmt *f, const struct pt_guest_caps *caps, pt_entry_t ours)
{
	const pt_entry_t addr = BITS(caps->gc_phys_bits - 1, 12);
	const pt_entry_t rsvd = (ours & ~addr) | (caps->gc_nx ? 0 : X86_NX);

	for (unsigned int i = 0; i < f->gf_levels; i++) {
		const unsigned int shift = pt_level_shift(i);

		f->gf_level[i] = (struct pt_guest_level){
			.gl_ps = i == 1 || (i == 2 && caps->gc_1g) ? X86_PS : 0,
			.gl_addr = addr,
			.gl_shift = (uint8_t)shift,
			.gl_index_bits = 9,
			/* Bit 12 of a large page is its PAT bit. */
			.gl_rsvd = {rsvd | X86_PS, rsvd | (i ? BITS(shift - 1, 13) : 0)},
		};
	}
	f->gf_nx = caps->gc_nx ? X86_NX : 0;
	f->gf_root = addr;
	f->gf_entry_lg2_bytes = 3;
}

/* The four entries at the top of PAE: SDM vol. 3A table 4-8. */
static void
fill_guest_pae(struct pt_guest_fmt *f, const struct pt_guest_caps *caps)
{
	const pt_entry_t addr = BITS(caps->gc_phys_bits - 1, 12);

	f->gf_levels = 3;
	fill_guest_long(f, caps, BITS(62, 12));
	f->gf_level[2] = (struct pt_guest_level){
		.gl_addr = addr,
		.gl_rsvd = {(BITS(63, 12) & ~addr) | BITS(2, 1) | BITS(8, 5), 0},
		.gl_shift = 30,
		.gl_index_bits = 2,
		.gl_bare = true,
	};
	f->gf_root = BITS(31, 5);
}

int
pt_guest_fmt_init(struct pt_guest_fmt *f, const struct pt_guest_caps *caps)
{
	if ((unsigned int)caps->gc_mode >= PT_GUEST_MODE_COUNT)
		return -EINVAL;
	if (caps->gc_phys_bits < 32 || caps->gc_phys_bits > 52)
		return -EINVAL;

	*f = (struct pt_guest_fmt){
		.gf_valid = X86_P,
		.gf_rw = X86_RW,
		.gf_us = X86_US,
		.gf_a = X86_A,
		.gf_m = X86_D,
		.gf_linear_bits = 32,
	};
	switch (caps->gc_mode) {
	case PT_GUEST_FLAT:
		break;
	case PT_GUEST_32BIT:
		fill_guest_32bit(f, caps);
		break;
	case PT_GUEST_PAE:
		fill_guest_pae(f, caps);
		break;
	default:
		f->gf_levels = caps->gc_mode == PT_GUEST_5LEVEL ? 5 : 4;
		f->gf_linear_bits = (uint8_t)pt_level_shift(f->gf_levels);
		f->gf_sign_extended = true;
		fill_guest_long(f, caps, BITS(51, 12));
		break;
	}
	return 0;
}
