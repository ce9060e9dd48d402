/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Makes cases. A good path to a page of some size comes first; then a few of its entries are
 * disturbed, each in one way, so that most faults have one cause and some have several.
 */

#include "tests/differential/tuple.h"

#define BIT(n) (1ull << (n))
#define SHIFT(level) (12 + 9 * (level))
#define SIZE_BIT BIT(7) /* in both formats */

/* splitmix64 (Steele, Lea, Flood 2014): each case has a stream of its own. */
struct stream {
	uint64_t st_state;
};

static uint64_t
next(struct stream *s)
{
	uint64_t z = s->st_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint32_t
below(struct stream *s, uint32_t n)
{
	return (uint32_t)((next(s) >> 32) * n >> 32);
}

static bool
one_in(struct stream *s, uint32_t n)
{
	return below(s, n) == 0;
}

/* ---- Formats ------------------------------------------------------------------------------- */

static bool
is_ept(const struct diff_machine *m)
{
	return m->dm_kind == DIFF_EPT;
}

uint64_t
diff_accessed(const struct diff_machine *m)
{
	return is_ept(m) ? BIT(8) : BIT(5);
}

uint64_t
diff_dirty(const struct diff_machine *m)
{
	return is_ept(m) ? BIT(9) : BIT(6);
}

uint64_t
diff_good_table(const struct diff_machine *m, uint64_t hpa)
{
	return hpa | 7 | diff_accessed(m);
}

uint64_t
diff_good_large(const struct diff_machine *m, uint64_t hpa)
{
	return hpa | 7 | SIZE_BIT | (is_ept(m) ? 6 << 3 : 0) | diff_accessed(m) | diff_dirty(m);
}

uint32_t
diff_check(const struct diff_result *r)
{
	uint64_t sum = r->dr_index * 0x9e3779b97f4a7c15ull;

	sum = (sum ^ r->dr_outcome ^ (uint64_t)r->dr_written << 8 ^ (uint64_t)r->dr_changed << 16 ^
	       (uint64_t)r->dr_accessed << 32 ^ (uint64_t)r->dr_dirty << 48) *
	      0xbf58476d1ce4e5b9ull;
	sum = (sum ^ sum >> 31 ^ r->dr_code) * 0x94d049bb133111ebull;
	sum = (sum ^ sum >> 31 ^ r->dr_gpa) * 0xbf58476d1ce4e5b9ull;
	sum = (sum ^ sum >> 31 ^ r->dr_linear) * 0x94d049bb133111ebull;
	sum = (sum ^ sum >> 31 ^ r->dr_value) * 0xbf58476d1ce4e5b9ull;
	return (uint32_t)(sum >> 32);
}

/* ---- Entries ------------------------------------------------------------------------------- */

/* Bits that mean nothing in most entries: 10, 11, and 52 to 62 (63 is NX, or suppresses #VE). */
static uint64_t
noise(struct stream *s)
{
	return next(s) & (BIT(10) | BIT(11) | 0x7ffull << 52);
}

static void
disturb(const struct diff_machine *m, struct stream *s, unsigned int level, bool leaf, uint64_t *e)
{
	const unsigned int beyond = 52 - m->dm_phys_bits;

	switch (below(s, 12)) {
	case 0:
	case 1:
	case 2: /* rights; mostly such as make sense: present, and in EPT no W without R */
		*e = (*e & ~7ull) | below(s, 8);
		if (!one_in(s, 4) && (!is_ept(m) || (*e & 2)))
			*e |= 1;
		break;
	case 3: /* NX */
		*e ^= BIT(63);
		break;
	case 4: /* another size */
		*e ^= SIZE_BIT;
		break;
	case 5: /* memory type, and what else is there */
		*e = (*e & ~0x38ull) | (uint64_t)below(s, 8) << 3;
		break;
	case 6:
		*e ^= BIT(3 + below(s, 9));
		break;
	case 7: /* an address bit that there is not */
		if (beyond > 0)
			*e |= BIT(m->dm_phys_bits + below(s, beyond));
		break;
	case 8: /* an address bit below the size of a large page; elsewhere, anything */
		if (leaf && level > 0)
			*e |= BIT(12 + below(s, 9 * level));
		else
			*e ^= BIT(52 + below(s, 12));
		break;
	case 9: /* nothing, with all that is ignored then */
		*e = is_ept(m) ? *e & ~7ull : *e & ~1ull;
		*e ^= next(s) & 0xff8;
		break;
	case 10:
		*e = (*e & ~0xfffull) | (next(s) & 0xfff);
		break;
	default:
		*e ^= BIT(below(s, 12));
		break;
	}
}

/*
 * Bits of the entries; then addresses, by what the entries have become: an entry of another size
 * must lead neither hardware nor model to memory that is no table. A leaf that leads to a table's
 * address has bits below its size set, which is one more way to be wrong.
 */
static void
make_entries(const struct diff_machine *m, struct stream *s, struct diff_case *c)
{
	const unsigned int size = one_in(s, 8) ? 2 : below(s, 5) < 2 ? 1 : 0;
	unsigned int faults = below(s, 8);

	for (unsigned int l = 0; l < m->dm_levels; l++) {
		uint64_t e = 7 | (is_ept(m) && l == size ? 6 << 3 : 0);

		if (l == size && l > 0)
			e |= SIZE_BIT;
		if (one_in(s, 2))
			e |= diff_accessed(m);
		if (one_in(s, 2))
			e |= diff_dirty(m);
		if (one_in(s, 2))
			e |= noise(s);
		c->dc_entry[l] = e;
	}
	faults = faults == 0 ? 0 : faults < 5 ? 1 : faults < 7 ? 2 : 3;
	while (faults-- > 0) {
		const unsigned int l = size + below(s, m->dm_levels - size);

		disturb(m, s, l, l == size, &c->dc_entry[l]);
	}
}

static void
make_addresses(const struct diff_machine *m, struct stream *s, struct diff_case *c)
{
	const uint64_t data = DIFF_DATA_END - DIFF_DATA;
	/* A page of 1 GiB starts at 0, and must lead to data. */
	const uint64_t end = c->dc_entry[2] & SIZE_BIT ? DIFF_DATA_END : BIT(30);

	c->dc_gpa = BIT(39) | (next(s) & 0x7fc0000000ull);
	c->dc_gpa |= DIFF_DATA + next(s) % (end - DIFF_DATA);
	c->dc_gpa &= c->dc_access == DIFF_FETCH ? ~15ull : ~7ull;
	for (unsigned int l = 0; l < m->dm_levels; l++) {
		const bool leaf = l == 0 || (l < DIFF_LEAVES && (c->dc_entry[l] & SIZE_BIT));
		uint64_t page = 0;

		if (l < 2) {
			page = DIFF_DATA + next(s) % data;
			page &= ~(BIT(SHIFT(l)) - 1);
		}
		if (l < DIFF_LEAVES)
			c->dc_spot[l] = page | (c->dc_gpa & (BIT(SHIFT(l)) - 1));
		if (l < DIFF_LEAVES && c->dc_spot[l] >= DIFF_DATA_END)
			c->dc_spot[l] = 0; /* it is no leaf */
		if (!leaf || (l > 0 && one_in(s, 8)))
			page = DIFF_TABLE(l - 1);
		if (!leaf) /* a bit below the size that it had */
			c->dc_entry[l] &= ~(BIT(30) - BIT(12));
		c->dc_entry[l] |= page;
		c->dc_where[l] = DIFF_TABLE(l) + ((c->dc_gpa >> SHIFT(l)) & 511) * 8;
	}
}

static uint64_t
canonical(uint64_t linear)
{
	return linear & BIT(47) ? linear | 0xffffull << 48 : linear;
}

/*
 * Linear addresses. The program is in slot 0 of the guest's root, the access goes through another;
 * but when the root itself is at the address under test, both use the slot that this leads to.
 */
static void
make_linear(struct stream *s, struct diff_case *c)
{
	const uint64_t index = (c->dc_gpa >> 3) & 511;
	const unsigned int level = c->dc_walk_level;

	c->dc_code = 0;
	c->dc_guest_root = DIFF_GUEST_ROOT;
	c->dc_linear = (next(s) & (BIT(39) - 1) & ~0xfffull) | (uint64_t)(1 + below(s, 511)) << 39;
	if (c->dc_access != DIFF_WALK && c->dc_access != DIFF_WALK_UNSET) {
		c->dc_linear |= c->dc_gpa & 0xfff;
	} else if (level == 3) {
		c->dc_code = canonical(index << 39);
		c->dc_guest_root = c->dc_gpa & ~0xfffull;
		c->dc_linear = c->dc_code | DIFF_GUEST_GOOD;
	} else {
		c->dc_linear &= ~(511ull << SHIFT(level));
		c->dc_linear |= index << SHIFT(level);
	}
	c->dc_linear = canonical(c->dc_linear);
}

static void
make_root(const struct diff_machine *m, struct stream *s, struct diff_case *c)
{
	c->dc_root = DIFF_TABLE(m->dm_levels - 1);
	if (!is_ept(m))
		return;
	c->dc_root |= 6 | (m->dm_levels - 1) << 3; /* write back; number of levels */
	if ((m->dm_ept_caps & BIT(21)) && !one_in(s, 4))
		c->dc_root |= BIT(6); /* accessed and dirty flags */
	if (c->dc_access == DIFF_INVEPT ? one_in(s, 2) : !one_in(s, 24))
		return;
	switch (below(s, 4)) {
	case 0:
		c->dc_root = (c->dc_root & ~7ull) | below(s, 8);
		break;
	case 1:
		c->dc_root ^= BIT(below(s, 12));
		break;
	case 2:
		c->dc_root |= BIT(m->dm_phys_bits + below(s, 64 - m->dm_phys_bits));
		break;
	default:
		c->dc_root = (c->dc_root & ~0x38ull) | (uint64_t)below(s, 8) << 3;
		break;
	}
}

static void
make_invalidation(const struct diff_machine *m, struct stream *s, struct diff_case *c)
{
	c->dc_access = one_in(s, 2) ? DIFF_INVEPT : DIFF_INVVPID;
	c->dc_type = one_in(s, 8) ? next(s) : below(s, 5);
	make_root(m, s, c);
	if (c->dc_access == DIFF_INVEPT) {
		c->dc_descriptor[0] = c->dc_root;
		return;
	}
	c->dc_descriptor[0] = below(s, 3);
	c->dc_descriptor[1] = next(s) & (BIT(48) - 1);
	if (!one_in(s, 4))
		c->dc_descriptor[1] = canonical(c->dc_descriptor[1]);
}

void
diff_make(const struct diff_machine *m, uint32_t index, struct diff_case *c)
{
	struct stream s = {m->dm_seed ^ (index + 1) * 0xd1342543de82ef95ull};

	for (unsigned int i = 0; i < sizeof(*c); i++)
		((volatile unsigned char *)c)[i] = 0;
	c->dc_index = index;
	c->dc_access = (uint8_t)below(&s, DIFF_ACCESSES);
	c->dc_walk_level = (uint8_t)below(&s, 4);
	if (is_ept(m) && one_in(&s, 16))
		make_invalidation(m, &s, c);
	else
		make_root(m, &s, c);
	c->dc_nx = !is_ept(m) && !one_in(&s, 8);
	make_entries(m, &s, c);
	make_addresses(m, &s, c);
	make_linear(&s, c);
}

/* ---- The guest's tables -------------------------------------------------------------------- */

#define GUEST_TABLE 0x23ull /* present, writable, accessed */
#define GUEST_PAGE 0x63ull  /* and dirty */
#define GUEST_LARGE 0xe3ull
#define GUEST_A 0x20ull

unsigned int
diff_guest_parts(const struct diff_case *c, struct diff_part part[DIFF_GUEST_PARTS])
{
	const bool walk = c->dc_access == DIFF_WALK || c->dc_access == DIFF_WALK_UNSET;
	const uint64_t page = c->dc_gpa & ~0xfffull;
	uint64_t table = c->dc_guest_root;
	unsigned int n = 3;

	part[0].dp_gpa = table + ((c->dc_code >> 39) & 511) * 8;
	part[0].dp_value = DIFF_GUEST_CODE_2 | GUEST_TABLE;
	part[1].dp_gpa = DIFF_GUEST_CODE_2;
	part[1].dp_value = DIFF_GUEST_CODE_1 | GUEST_TABLE;
	part[2].dp_gpa = DIFF_GUEST_CODE_1;
	part[2].dp_value = GUEST_LARGE;
	if (walk && c->dc_walk_level == 3) { /* the access is by the same entries */
		if (c->dc_access == DIFF_WALK_UNSET)
			part[0].dp_value &= ~GUEST_A;
		return n;
	}
	for (unsigned int l = 4; l-- > 0; n++) {
		uint64_t to = l > 0 ? DIFF_GUEST_TABLE(l - 1) : walk ? DIFF_GUEST_GOOD : page;

		if (walk && l == c->dc_walk_level + 1u)
			to = page;
		part[n].dp_gpa = table + ((c->dc_linear >> SHIFT(l)) & 511) * 8;
		part[n].dp_value = to | (l > 0 ? GUEST_TABLE : GUEST_PAGE);
		if (c->dc_access == DIFF_WALK_UNSET && l == c->dc_walk_level)
			part[n].dp_value &= ~GUEST_A;
		table = to;
	}
	return n;
}
