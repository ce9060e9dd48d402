/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The departures: explained.h says what this is. Versions: Bochs 2.7, QEMU 7.2. */

#include "tests/differential/explained.h"

#define BIT(n) (1ull << (n))

static bool
is_walk(const struct diff_case *c)
{
	return c->dc_access == DIFF_WALK || c->dc_access == DIFF_WALK_UNSET;
}

static bool
with_ad(const struct diff_case *c)
{
	return (c->dc_root & BIT(6)) != 0; /* SDM vol. 3C 25.6.11 */
}

static bool
is_violation(const struct model_outcome *o)
{
	return o->mo_result.dr_outcome == DIFF_VIOLATION;
}

/* ---- Bochs, EPT ---------------------------------------------------------------------------- */

#define QUAL_READ BIT(0)
#define QUAL_WRITE BIT(1)
#define QUAL_FINAL BIT(8)

static bool
drop_read(struct model_outcome *o)
{
	if (!is_violation(o) || (o->mo_result.dr_code & (QUAL_READ | QUAL_WRITE)) != 3)
		return false;
	o->mo_result.dr_code &= ~QUAL_READ;
	return true;
}

/* Whether an instruction that reads and writes reports a read beside the write is left open. */
static bool
exchange_is_write(const struct diff_machine *m, const struct diff_case *c, struct model_outcome *o)
{
	return m->dm_kind == DIFF_EPT && c->dc_access == DIFF_EXCHANGE && drop_read(o);
}

/* With A/D, a walk of the guest's tables reports a write; it should report a read as well. */
static bool
walk_is_write(const struct diff_machine *m, const struct diff_case *c, struct model_outcome *o)
{
	return m->dm_kind == DIFF_EPT && with_ad(c) && is_walk(c) &&
	       !(o->mo_result.dr_code & QUAL_FINAL) && drop_read(o);
}

/* Without A/D, A is set in the guest's tables although the page they are in is not writable. */
static bool
guest_flags_unchecked(const struct diff_machine *m, struct diff_case *c)
{
	if (m->dm_kind != DIFF_EPT || with_ad(c) || c->dc_access != DIFF_WALK_UNSET)
		return false;
	c->dc_access = DIFF_WALK;
	return true;
}

static bool
guest_flags_written(const struct diff_machine *m, const struct diff_case *c,
		    struct model_outcome *o)
{
	(void)m;
	if (o->mo_result.dr_outcome != DIFF_DONE || (o->mo_rights & HW_WRITE))
		return false;
	for (unsigned int l = 0; l < DIFF_LEAVES; l++) {
		if (c->dc_spot[l] == c->dc_spot[o->mo_level])
			o->mo_result.dr_written |= (uint8_t)(1u << l);
	}
	return true;
}

/* The lowest of the bits that a large page's address lacks is taken for PAT, which EPT has not. */
static bool
large_bit_12_ignored(const struct diff_machine *m, struct diff_case *c)
{
	bool any = false;

	if (m->dm_kind != DIFF_EPT)
		return false;
	for (unsigned int l = 1; l < DIFF_LEAVES; l++) {
		if (!(c->dc_entry[l] & BIT(7)))
			continue;
		any |= (c->dc_entry[l] & BIT(12)) != 0;
		c->dc_entry[l] &= ~BIT(12);
	}
	return any;
}

/* ---- Bochs, nested paging ------------------------------------------------------------------ */

#define NPF_P BIT(0)
#define NPF_W BIT(1)
#define NPF_RSVD BIT(3)
#define NPF_I BIT(4)

/* A fetch is reported as one even when the host has no NX, which the bit is defined by. */
static bool
fetch_without_nx(const struct diff_machine *m, const struct diff_case *c, struct model_outcome *o)
{
	if (m->dm_kind != DIFF_NPT || c->dc_nx || !is_violation(o) || c->dc_access != DIFF_FETCH ||
	    !o->mo_under_test)
		return false;
	o->mo_result.dr_code |= NPF_I;
	return true;
}

/* Bit 8 of an entry of level 3 (and 4) must be zero on AMD; both emulators ignore it. */
static bool
top_bit_8_ignored(const struct diff_machine *m, struct diff_case *c)
{
	bool any = false;

	if (m->dm_kind != DIFF_NPT)
		return false;
	for (unsigned int l = 3; l < m->dm_levels; l++) {
		any |= (c->dc_entry[l] & BIT(8)) != 0;
		c->dc_entry[l] &= ~BIT(8);
	}
	return any;
}

/* ---- QEMU, nested paging ------------------------------------------------------------------- */

/* A reserved bit is reported without P, as if an entry that is not present could have any. */
static bool
reserved_not_present(const struct diff_machine *m, const struct diff_case *c,
		     struct model_outcome *o)
{
	(void)c;
	if (m->dm_kind != DIFF_NPT || !is_violation(o) || !(o->mo_result.dr_code & NPF_RSVD))
		return false;
	o->mo_result.dr_code &= ~NPF_P;
	return true;
}

/* An exchange reads before it writes: what a read meets, too, is reported as a read. */
static bool
exchange_reads_first(const struct diff_machine *m, const struct diff_case *c,
		     struct model_outcome *o)
{
	const bool read_fails = o->mo_bad != HW_FINE || !(o->mo_result.dr_code & NPF_P) ||
				!(o->mo_rights & HW_USER);

	if (m->dm_kind != DIFF_NPT || c->dc_access != DIFF_EXCHANGE || !is_violation(o) ||
	    !o->mo_under_test || !read_fails)
		return false;
	o->mo_result.dr_code &= ~NPF_W;
	return true;
}

/* ... and leaves A in the page's entry when only the write is refused. */
static bool
exchange_read_sets_a(const struct diff_machine *m, const struct diff_case *c,
		     struct model_outcome *o)
{
	if (m->dm_kind != DIFF_NPT || c->dc_access != DIFF_EXCHANGE || !is_violation(o) ||
	    o->mo_bad != HW_FINE || !(o->mo_result.dr_code & NPF_P) || !(o->mo_rights & HW_USER) ||
	    (o->mo_rights & HW_WRITE))
		return false;
	o->mo_result.dr_accessed |= (uint16_t)(1u << o->mo_level);
	return true;
}

/* A is set in an entry of level 2 before it is known to be a page: also if access is refused. */
static bool
gigabyte_sets_a(const struct diff_machine *m, const struct diff_case *c, struct model_outcome *o)
{
	if (m->dm_kind != DIFF_NPT || !is_violation(o) || !o->mo_under_test || o->mo_level != 2 ||
	    !(c->dc_entry[2] & 1) || !(c->dc_entry[2] & BIT(7)))
		return false;
	o->mo_result.dr_accessed |= 1u << 2;
	return true;
}

/* Pages of 1 GiB work on processors that do not have them by CPUID. */
static bool
gigabyte_anyway(const struct diff_machine *m, struct diff_case *c)
{
	if (m->dm_kind != DIFF_NPT || (m->dm_features & BIT(26)) || !(c->dc_entry[2] & BIT(7)))
		return false;
	c->dc_gigabyte = true;
	return true;
}

/* ---- The table ----------------------------------------------------------------------------- */

const struct explained explained[] = {
	{"exchange-is-write", "bochs", "SDM vol. 3C 28.2.1 (left open)", NULL, exchange_is_write},
	{"walk-is-write", "bochs", "SDM vol. 3C 28.2.1, table 28-7, note", NULL, walk_is_write},
	{"guest-flags-unchecked", "bochs", "SDM vol. 3C 29.3.3.2", guest_flags_unchecked,
	 guest_flags_written},
	{"top-bit-8-ignored", "bochs", "APM vol. 2 5.3.3", top_bit_8_ignored, NULL},
	{"fetch-without-nx", "bochs", "APM vol. 2 8.4.2", NULL, fetch_without_nx},
	{"large-bit-12-ignored", "bochs", "SDM vol. 3C 29.3.2, tables 29-3 and 29-5",
	 large_bit_12_ignored, NULL},
	{"reserved-not-present", "qemu", "APM vol. 2 15.25.6 and 8.4.2", NULL,
	 reserved_not_present},
	{"exchange-reads-first", "qemu", "APM vol. 2 8.4.2 (left open)", NULL,
	 exchange_reads_first},
	{"exchange-read-sets-a", "qemu", "APM vol. 2 5.4.1 (left open)", NULL,
	 exchange_read_sets_a},
	{"gigabyte-sets-a", "qemu", "APM vol. 2 5.4.1", NULL, gigabyte_sets_a},
	{"gigabyte-anyway", "qemu", "APM vol. 2 5.3.4", gigabyte_anyway, NULL},
	{"top-bit-8-ignored", "qemu", "APM vol. 2 5.3.3", top_bit_8_ignored, NULL},
};

const unsigned int explained_count = sizeof(explained) / sizeof(explained[0]);

_Static_assert(sizeof(explained) / sizeof(explained[0]) <= EXPLAINED_MAX, "one bit each");
