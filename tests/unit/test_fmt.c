/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Formats over their whole domain: every type, set of capabilities, level, rights and memory type
 * is either refused, as the rules below say in their own words, or comes back as it went in, with
 * the hardware seeing nothing that it must not. The golden tables (test_kat.c) say which bits are
 * meant; here it is shown that no combination is left out.
 */

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "pmap/pte.h"

/* A passing check must cost nothing: there are millions. */
#define CHECK(cond, ...)                                          \
	do {                                                      \
		if (!(cond))                                      \
			cr_assert(false, #cond ": " __VA_ARGS__); \
	} while (0)

#define BIT(n) ((uint64_t)1 << (n))

static const uint64_t pats[] = {
	0x0007040600070406, /* power-on: no WC, no WP */
	0x0407050600070106, /* Linux: all of them */
	0x0600000000000000, /* write-back last */
	0x0505040401010606, /* no UC */
};
#define NPATS (sizeof(pats) / sizeof(pats[0]))
#define MIN_WIDTH 36
#define MAX_WIDTH 52

/* What the i-th bit of a number turns on. */
static void
set_flags(struct pt_caps *c, unsigned int flags)
{
	c->pc_exec_only = flags & 1;
	c->pc_emulate_ad = flags >> 1 & 1;
	c->pc_nx = flags >> 2 & 1;
	c->pc_user = flags >> 3 & 1;
	c->pc_global = flags >> 4 & 1;
	c->pc_ignore_guest_pat = flags >> 5 & 1;
}
#define NFLAGS 64

/* Flags that make sense for a type, none of them without effect. */
static bool
flags_wanted(enum pt_type type, unsigned int flags)
{
	switch (type) {
	case PT_EPT:
		return (flags & 0x1c) == 0;
	case PT_RVI:
		return (flags & ~4u) == 0;
	default:
		return (flags & 0x23) == 0;
	}
}

typedef void visit(const struct pt_fmt *f, const struct pt_caps *c, uint64_t *count);

/* Visits every format that one can ask for; returns what the visitor counted. */
static uint64_t
each_format(visit *fn, unsigned int min_width)
{
	struct pt_caps c = {0};
	uint64_t count = 0;
	unsigned int type, flags, i;
	size_t pat;

	for (type = 0; type < PT_TYPE_COUNT; type++) {
		for (flags = 0; flags < NFLAGS; flags++) {
			if (!flags_wanted((enum pt_type)type, flags))
				continue;
			set_flags(&c, flags);
			for (pat = 0; pat < (type == PT_EPT ? 1 : NPATS); pat++) {
				c.pc_pat = pats[pat];
				for (i = min_width * 6; i < (MAX_WIDTH + 1) * 6; i++) {
					struct pt_fmt f;

					c.pc_phys_bits = (uint8_t)(i / 6);
					c.pc_levels = 4 + i % 2;
					c.pc_leaf_levels = (uint8_t)(1 + i / 2 % 3);
					CHECK(pt_fmt_init(&f, (enum pt_type)type, &c) == 0,
					      "type %u flags %x", type, flags);
					fn(&f, &c, &count);
				}
			}
		}
	}
	return count;
}

/* ---- What can be expressed, in the words of the manuals -------------------------------------- */

static bool
prot_expressible(const struct pt_fmt *f, const struct pt_caps *c, unsigned int prot)
{
	if (prot == PMAP_PROT_X)
		return f->pf_type == PT_EPT && c->pc_exec_only && !c->pc_emulate_ad;
	if (!(prot & PMAP_PROT_R))
		return false;
	return f->pf_type == PT_EPT || (prot & PMAP_PROT_X) || c->pc_nx;
}

static bool
memattr_expressible(const struct pt_fmt *f, const struct pt_caps *c, enum pt_memattr ma)
{
	static const uint8_t encoding[PT_MEMATTR_COUNT] = {
		[PT_MEMATTR_WB] = 6, [PT_MEMATTR_UC] = 0, [PT_MEMATTR_WC] = 1,
		[PT_MEMATTR_WT] = 4, [PT_MEMATTR_WP] = 5,
	};
	unsigned int i;

	if (f->pf_type == PT_EPT)
		return true;
	for (i = 0; i < 8; i++) {
		if ((c->pc_pat >> 8 * i & 7) == encoding[ma])
			return true;
	}
	return false;
}

/*
 * Bits that must be 0 in an entry that hardware finds present (I02). PS is none of them below level
 * 3, where it makes an entry a leaf instead.
 */
static uint64_t
reserved(const struct pt_fmt *f, const struct pt_caps *c, unsigned int level, bool leaf)
{
	uint64_t r = ((BIT(52) - 1) & ~(BIT(c->pc_phys_bits) - 1));

	if (f->pf_type == PT_EPT) {
		if (leaf)
			return r | ((pt_level_size(level) - 1) & ~(uint64_t)0xfff);
		return r | (level >= 3 ? 0xf8 : 0x78);
	}
	if (!c->pc_nx)
		r |= BIT(63);
	if (leaf && level > 0)
		r |= (pt_level_size(level) - 1) & ~(uint64_t)0x1fff;
	if (!leaf && level >= 3)
		r |= BIT(7);
	if (!leaf && level >= 2 && f->pf_type == PT_RVI)
		r |= BIT(8); /* AMD only (APM vol. 2, figures 5-20 to 5-22) */
	return r;
}

/* ---- Encoding -------------------------------------------------------------------------------- */

static void
check_hardware_view(const struct pt_fmt *f, const struct pt_caps *c, pt_entry_t pte,
		    unsigned int prot, unsigned int level)
{
	const unsigned int xwr = pte & 7;
	const bool a = (pte & f->pf_a) != 0, m = (pte & f->pf_m) != 0;

	CHECK((pte & f->pf_rsvd_leaf[level]) == 0, "%016" PRIx64, pte);
	CHECK((pte & reserved(f, c, level, true)) == 0, "%016" PRIx64, pte);
	if (f->pf_type != PT_EPT) {
		CHECK((pte & 1) && (f->pf_type != PT_RVI || (pte & 4)), "%016" PRIx64, pte);
		return;
	}
	CHECK(xwr != 2 && xwr != 6 && (xwr != 4 || c->pc_exec_only), "%016" PRIx64, pte);
	CHECK((pte >> 3 & 7) != 2 && (pte >> 3 & 7) != 3 && (pte >> 3 & 7) != 7, "%016" PRIx64,
	      pte);
	if (!c->pc_emulate_ad)
		CHECK(xwr == prot, "%016" PRIx64, pte);
	else if (!a)
		CHECK(xwr == 0, "%016" PRIx64, pte);
	else
		CHECK(xwr == (1 | (m ? 2u : 0) | (prot & PMAP_PROT_X)), "%016" PRIx64, pte);
}

/* A leaf as entered, accessed, modified; and modified but aged, which only hardware A/D allows. */
static unsigned int
check_leaf(const struct pt_fmt *f, const struct pt_caps *c, hpa_t hpa, unsigned int prot,
	   unsigned int level, enum pt_memattr ma)
{
	const pt_entry_t leaf = pte_leaf(f, hpa, prot, level, ma);
	const pt_entry_t accessed = pte_set_accessed(f, leaf), modified = pte_set_modified(f, leaf);
	const pt_entry_t all[] = {leaf, accessed, modified, modified & ~f->pf_a_clear};
	const unsigned int n = (prot & PMAP_PROT_W) ? 4 : 2;
	unsigned int i;

	for (i = 0; i < n; i++) {
		const bool a = i == 1 || i == 2, m = i == 2 || (i == 3 && !c->pc_emulate_ad);

		CHECK(pte_is_valid(f, all[i]) && pte_is_leaf(f, all[i], level), "%u", i);
		CHECK(!pte_is_table(f, all[i], level) && !pte_is_frozen(f, all[i]), "%u", i);
		CHECK(pte_hpa(f, all[i], level) == hpa, "%016" PRIx64, all[i]);
		CHECK(pte_prot(f, all[i]) == prot, "%016" PRIx64, all[i]);
		CHECK(pte_memattr(f, all[i], level) == ma, "%016" PRIx64, all[i]);
		CHECK(((all[i] & f->pf_a) != 0) == a, "%016" PRIx64, all[i]);
		CHECK(((all[i] & f->pf_m) != 0) == m, "%016" PRIx64, all[i]);
		CHECK((all[i] & f->pf_wired) == 0, "%016" PRIx64, all[i]);
		CHECK(pte_is_clean_superpage(f, all[i], level) ==
			      (level > 0 && (prot & PMAP_PROT_W) && !m),
		      "%016" PRIx64, all[i]);
		check_hardware_view(f, c, all[i], prot, level);
	}
	CHECK((accessed & ~f->pf_a_clear) == leaf, "%016" PRIx64, accessed);
	CHECK(pte_set_accessed(f, accessed) == accessed, "%016" PRIx64, accessed);
	CHECK(pte_set_modified(f, accessed) == modified, "%016" PRIx64, modified);
	return n;
}

/* What mappings are checked by says what limits, sizes, rights and types say one by one. */
static void
check_what_a_leaf_may_be(const struct pt_fmt *f)
{
	for (unsigned int level = 0; level < PT_LEAF_LEVELS_MAX; level++) {
		const bool has = level < f->pf_leaf_levels;
		const uint64_t size = pt_level_size(level);
		unsigned int n = 0;

		for (unsigned int bit = 0; has && bit < 64; bit++) {
			const uint64_t addr = BIT(bit);

			CHECK(((f->pf_gpa_wrong[level] & addr) != 0) ==
				      (addr < size || addr >= f->pf_limit),
			      "bit %u", bit);
			CHECK(((f->pf_hpa_wrong[level] & addr) != 0) ==
				      (addr < size || addr >= f->pf_phys_limit),
			      "bit %u", bit);
		}
		for (unsigned int i = 0; i < PMAP_PROT_COUNT * PT_MEMATTR_COUNT; i++) {
			const unsigned int prot = i % PMAP_PROT_COUNT;
			const unsigned int ma = i / PMAP_PROT_COUNT;

			CHECK((f->pf_new_leaf[level][ma][prot] != 0) ==
				      (has && (f->pf_prot_ok >> prot & f->pf_memattr_ok >> ma & 1)),
			      "rights %u, type %u", prot, ma);
			n += f->pf_new_leaf[level][ma][prot] != 0;
		}
		CHECK((n > 0) == has, "level %u", level);
	}
}

static void
check_leaves(const struct pt_fmt *f, const struct pt_caps *c, uint64_t *count)
{
	unsigned int level, prot, ma, i;

	for (prot = 0; prot < PMAP_PROT_COUNT; prot++)
		CHECK((f->pf_prot_ok >> prot & 1) == prot_expressible(f, c, prot), "rights %u",
		      prot);
	for (ma = 0; ma < PT_MEMATTR_COUNT; ma++)
		CHECK((f->pf_memattr_ok >> ma & 1) == memattr_expressible(f, c, ma), "type %u", ma);
	CHECK(f->pf_memattr_ok >> PT_MEMATTR_COUNT == 0, "%x", f->pf_memattr_ok);
	check_what_a_leaf_may_be(f);
	for (level = 0; level < f->pf_leaf_levels; level++) {
		const hpa_t top = BIT(c->pc_phys_bits) - pt_level_size(level);
		const hpa_t hpas[] = {0, pt_level_size(level), top, top & 0x000aaaaaaaaaa000};

		for (prot = 0; prot < PMAP_PROT_COUNT; prot++) {
			for (ma = 0; ma < PT_MEMATTR_COUNT; ma++) {
				if (!(f->pf_prot_ok >> prot & 1) || !(f->pf_memattr_ok >> ma & 1))
					continue;
				for (i = 0; i < 4; i++)
					*count += check_leaf(f, c,
							     hpas[i] & ~(pt_level_size(level) - 1),
							     prot, level, (enum pt_memattr)ma);
			}
		}
	}
}

Test(fmt, leaves)
{
	const uint64_t count = each_format(check_leaves, MIN_WIDTH);

	cr_assert(count > 1000000, "only %" PRIu64 " entries", count);
}

/* ---- Tables, limits, software's own bits ----------------------------------------------------- */

static void
check_frame(const struct pt_fmt *f, const struct pt_caps *c, uint64_t *count)
{
	const hpa_t top = BIT(c->pc_phys_bits) - HOST_PAGE_SIZE;
	/* Ignored by hardware in leaves of every kind that we use (SDM vol. 3A 4.5, 3C 29.3.2). */
	const uint64_t ignored = f->pf_type == PT_EPT ? 0x49f0000000000800 : 0x07f0000000000e00;
	const pt_entry_t table = pte_table(f, top);
	unsigned int level;

	CHECK(f->pf_levels == c->pc_levels && f->pf_leaf_levels == c->pc_leaf_levels, "levels");
	CHECK(f->pf_limit == (c->pc_levels == 4 ? BIT(48) : BIT(57)), "%" PRIx64, f->pf_limit);
	CHECK(f->pf_phys_limit == BIT(c->pc_phys_bits), "%" PRIx64, f->pf_phys_limit);
	CHECK(f->pf_addr == top, "%" PRIx64, f->pf_addr);
	CHECK(f->pf_emulated_ad == c->pc_emulate_ad, "emulation");
	CHECK((f->pf_invlpg_pages > 0) == (f->pf_type == PT_X86), "%u", f->pf_invlpg_pages);
	CHECK(f->pf_soft_ad == (c->pc_emulate_ad ? f->pf_a | f->pf_m | f->pf_hw_x : 0), "soft");

	for (level = 0; level < f->pf_leaf_levels; level++, ++*count)
		CHECK(f->pf_rsvd_leaf[level] == reserved(f, c, level, true), "level %u: %" PRIx64,
		      level, f->pf_rsvd_leaf[level]);
	for (level = 1; level < f->pf_levels; level++, ++*count) {
		/* Whether PS is named where it means a leaf, and G for AMD's sake, is all one. */
		CHECK(((f->pf_rsvd_table[level] ^ reserved(f, c, level, false)) &
		       ~(BIT(8) | (level < 3 ? BIT(7) : 0))) == 0,
		      "level %u: %" PRIx64, level, f->pf_rsvd_table[level]);
		CHECK((table & f->pf_rsvd_table[level]) == 0, "%016" PRIx64, table);
		CHECK((table & reserved(f, c, level, false)) == 0, "%016" PRIx64, table);
		CHECK(pte_is_table(f, table, level) && !pte_is_leaf(f, table, level), "table");
	}
	/* Above a leaf every right must be granted: a guest's own walk writes (I04, I05). */
	CHECK((table & (f->pf_type == PT_EPT ? 7 : 3)) == (f->pf_type == PT_EPT ? 7u : 3u),
	      "%016" PRIx64, table);
	CHECK(f->pf_type == PT_EPT || !(table & BIT(63)), "%016" PRIx64, table);
	CHECK(pte_hpa(f, table, 0) == top && !pte_is_frozen(f, table), "%016" PRIx64, table);

	CHECK(f->pf_frozen != 0 && !pte_is_valid(f, f->pf_frozen), "%016" PRIx64, f->pf_frozen);
	CHECK((f->pf_frozen & (f->pf_addr | 7)) == 0, "%016" PRIx64, f->pf_frozen);
	CHECK(pte_is_frozen(f, f->pf_frozen) && !pte_is_frozen(f, 0), "frozen");
	CHECK(f->pf_wired != 0 && (f->pf_wired & (f->pf_wired - 1)) == 0, "one bit");
	CHECK((f->pf_wired & ~ignored) == 0, "%016" PRIx64, f->pf_wired);
	CHECK((f->pf_wired & (f->pf_valid | f->pf_rw | f->pf_x_mask | f->pf_a | f->pf_m)) == 0,
	      "%016" PRIx64, f->pf_wired);
	if (c->pc_emulate_ad)
		CHECK(((f->pf_valid | f->pf_rw | f->pf_x_mask) & ~ignored) == 0, "%016" PRIx64,
		      f->pf_valid);
	CHECK(!pte_is_valid(f, 0), "empty");
}

Test(fmt, frame)
{
	cr_assert(each_format(check_frame, MIN_WIDTH) > 5000);
}

/* What contradicts itself or names no CPU is refused, and changes nothing. */
Test(fmt, init_refuses)
{
	struct pt_fmt f, before;
	unsigned int type, flags, levels, leaves, bits, refused = 0;
	struct pt_caps c = {.pc_pat = pats[0]};

	memset(&f, 0xa5, sizeof(f));
	before = f;
	for (type = 0; type <= PT_TYPE_COUNT; type++) {
		for (flags = 0; flags < NFLAGS; flags++) {
			for (levels = 3; levels <= 6; levels++) {
				for (leaves = 0; leaves <= 4; leaves++) {
					for (bits = 35; bits <= 53; bits++) {
						const bool ept_only = flags & 0x23;
						const bool sane =
							type < PT_TYPE_COUNT && levels / 2 == 2 &&
							leaves % 4 != 0 && bits >= 36 &&
							bits <= 52 &&
							!(ept_only && type != PT_EPT) &&
							!((flags & 0x18) && type != PT_X86);

						set_flags(&c, flags);
						c.pc_levels = (uint8_t)levels;
						c.pc_leaf_levels = (uint8_t)leaves;
						c.pc_phys_bits = (uint8_t)bits;
						if (sane)
							continue;
						refused++;
						CHECK(pt_fmt_init(&f, (enum pt_type)type, &c) ==
							      -EINVAL,
						      "type %u flags %x levels %u %u bits %u", type,
						      flags, levels, leaves, bits);
					}
				}
			}
		}
	}
	c = (struct pt_caps){.pc_levels = 4, .pc_leaf_levels = 3, .pc_phys_bits = 48};
	c.pc_pat = 0x0007040500070405; /* nothing is write-back */
	cr_assert(pt_fmt_init(&f, PT_X86, &c) == -EINVAL);
	cr_assert(pt_fmt_init(&f, PT_RVI, &c) == -EINVAL);
	cr_assert(memcmp(&f, &before, sizeof(f)) == 0);
	cr_assert(refused > 80000);
	cr_assert(pt_fmt_init(&f, PT_EPT, &c) == 0); /* EPT does not look at the PAT */
	for (bits = 0; bits < 8; bits++) { /* the others can have write-back anywhere in it */
		c.pc_pat = 6ull << 8 * bits;
		cr_assert(pt_fmt_init(&f, PT_X86, &c) == 0);
	}
}

/* ---- Derived entries ------------------------------------------------------------------------- */

static void
check_reprot(const struct pt_fmt *f, const struct pt_caps *c, pt_entry_t pte, unsigned int level,
	     uint64_t *count)
{
	unsigned int prot;

	for (prot = 0; prot < PMAP_PROT_COUNT; prot++) {
		pt_entry_t new;

		if (!(f->pf_prot_ok >> prot & 1))
			continue;
		new = pte_reprot(f, pte, prot);
		CHECK(pte_prot(f, new) == prot, "%016" PRIx64, new);
		CHECK((new & f->pf_a) == (pte & f->pf_a), "%016" PRIx64, new);
		CHECK((new & f->pf_m) == ((prot & PMAP_PROT_W) ? pte & f->pf_m : 0), "%016" PRIx64,
		      new);
		CHECK(pte_hpa(f, new, level) == pte_hpa(f, pte, level), "%016" PRIx64, new);
		CHECK(pte_memattr(f, new, level) == pte_memattr(f, pte, level), "%016" PRIx64, new);
		CHECK((new & f->pf_wired) == (pte & f->pf_wired), "%016" PRIx64, new);
		check_hardware_view(f, c, new & ~f->pf_wired, prot, level);
		CHECK(pte_reprot(f, new, prot) == new, "%016" PRIx64, new);
		++*count;
	}
}

static void
check_split(const struct pt_fmt *f, const struct pt_caps *c, pt_entry_t pte, unsigned int level)
{
	const pt_entry_t small = pte_demoted(f, pte, level);

	CHECK(pte_is_leaf(f, small, level - 1), "%016" PRIx64, small);
	CHECK(pte_hpa(f, small, level - 1) == pte_hpa(f, pte, level), "%016" PRIx64, small);
	CHECK(pte_prot(f, small) == pte_prot(f, pte), "%016" PRIx64, small);
	CHECK(pte_memattr(f, small, level - 1) == pte_memattr(f, pte, level), "%016" PRIx64, small);
	CHECK(((small ^ pte) & (f->pf_a | f->pf_m | f->pf_wired)) == 0, "%016" PRIx64, small);
	check_hardware_view(f, c, small & ~f->pf_wired, pte_prot(f, pte), level - 1);
	CHECK(pte_promoted(f, small, level) == pte, "%016" PRIx64, small);
}

static void
check_derived(const struct pt_fmt *f, const struct pt_caps *c, uint64_t *count)
{
	unsigned int level, prot, ma, am;

	for (level = 0; level < f->pf_leaf_levels; level++) {
		const hpa_t hpa = BIT(c->pc_phys_bits) - pt_level_size(level);

		for (prot = 0; prot < PMAP_PROT_COUNT; prot++) {
			for (ma = 0; ma < PT_MEMATTR_COUNT; ma++) {
				for (am = 0; am < 6; am++) {
					pt_entry_t pte;

					if (!(f->pf_prot_ok >> prot & 1) ||
					    !(f->pf_memattr_ok >> ma & 1) ||
					    (am % 3 == 2 && !(prot & PMAP_PROT_W)))
						continue;
					pte = pte_leaf(f, hpa, prot, level, (enum pt_memattr)ma);
					if (am % 3 > 0)
						pte = pte_set_accessed(f, pte);
					if (am % 3 > 1)
						pte = pte_set_modified(f, pte);
					if (am > 2)
						pte |= f->pf_wired;
					check_reprot(f, c, pte, level, count);
					if (level > 0)
						check_split(f, c, pte, level);
				}
			}
		}
	}
}

Test(fmt, derived)
{
	cr_assert(each_format(check_derived, MIN_WIDTH) > 500000);
}
