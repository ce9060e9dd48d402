/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The reference walker (gla_ref.h). One function for each paging mode, in the order in which the
 * manual describes them, with the numbers that stand there.
 */

#include "tests/unit/gla_ref.h"

#include <string.h>

/* What a walk has seen so far. */
struct trail {
	const struct ref_cpu *cpu;
	const struct ref_memory *mem;
	uint64_t la;
	char access;
	struct ref_result res;
	int width[5]; /* bytes of each entry that was read */
	uint64_t value[5];
	bool flags[5]; /* the entry has an accessed flag */
	bool user, write, no_execute;
	bool done;
};

static bool
bit(uint64_t value, int n)
{
	return value >> n & 1;
}

/* Any bit set in hi..lo; an empty range has none. */
static bool
any(uint64_t value, int hi, int lo)
{
	for (int n = lo; n <= hi; n++)
		if (bit(value, n))
			return true;
	return false;
}

static uint64_t
field(uint64_t value, int hi, int lo)
{
	uint64_t out = 0;

	for (int n = hi; n >= lo; n--)
		out = out * 2 + bit(value, n);
	return out;
}

static uint8_t *
bytes_at(const struct ref_memory *mem, uint64_t pa, bool writing)
{
	for (int i = 0; i < mem->nregions; i++) {
		if (pa < mem->regions[i].start || pa - mem->regions[i].start >= mem->regions[i].len)
			continue;
		return writing && mem->regions[i].read_only
			       ? NULL
			       : mem->regions[i].bytes + (pa - mem->regions[i].start);
	}
	return NULL;
}

static bool
is_fetch(const struct trail *t)
{
	return t->access == 'x';
}

static bool
is_write(const struct trail *t)
{
	return t->access == 'w' || t->access == 'm';
}

/* ---- 4.7: page-fault exceptions -------------------------------------------------------------- */

static void
page_fault(struct trail *t, bool p, bool rsvd)
{
	uint32_t code = 0;

	if (p)
		code += 1;
	if (is_write(t))
		code += 2;
	if (t->cpu->cpl == 3)
		code += 4;
	if (rsvd)
		code += 8;
	/* "CR4.SMEP = 1, or both CR4.PAE = 1 and IA32_EFER.NXE = 1" */
	if (is_fetch(t) && (bit(t->cpu->cr4, 20) || (bit(t->cpu->cr4, 5) && bit(t->cpu->efer, 11))))
		code += 16;
	t->res.kind = REF_PF;
	t->res.error_code = code;
	t->done = true;
}

/* ---- 4.6.1: access rights -------------------------------------------------------------------- */

static bool
may(const struct trail *t)
{
	const bool wp = bit(t->cpu->cr0, 16);
	const bool smep = bit(t->cpu->cr4, 20);
	const bool smap = bit(t->cpu->cr4, 21);
	const bool ac = bit(t->cpu->rflags, 18);

	if (t->cpu->cpl < 3) {
		switch (t->access) {
		case 'r':
			return t->user ? (smap ? ac : true) : true;
		case 'w':
		case 'm':
			if (!t->user)
				return wp ? t->write : true;
			if (!wp)
				return smap ? ac : true;
			return t->write && (smap ? ac : true);
		default:
			if (t->user && smep)
				return false;
			return !t->no_execute;
		}
	}
	if (!t->user)
		return false;
	switch (t->access) {
	case 'r':
		return true;
	case 'w':
	case 'm':
		return t->write;
	default:
		return !t->no_execute;
	}
}

/* ---- One entry ------------------------------------------------------------------------------- */

/* Reads the entry at pa; false if the walk ends there. */
static bool
read_entry(struct trail *t, uint64_t pa, int width, uint64_t *entry)
{
	const uint8_t *p = bytes_at(t->mem, pa, false);

	if (p == NULL) {
		t->res.kind = REF_NO_MEMORY;
		t->res.bad_pa = pa;
		t->done = true;
		return false;
	}
	*entry = 0;
	for (int i = width; i-- > 0;)
		*entry = *entry * 256 + p[i];
	t->res.read[t->res.nread] = pa;
	t->width[t->res.nread] = width;
	t->value[t->res.nread] = *entry;
	t->flags[t->res.nread] = true;
	t->res.nread++;
	if (!bit(*entry, 0)) {
		page_fault(t, false, false);
		return false;
	}
	return true;
}

static bool
reserved(struct trail *t, bool is_set)
{
	if (is_set)
		page_fault(t, true, true);
	return is_set;
}

static void
rights_of(struct trail *t, uint64_t entry, bool has_xd)
{
	t->write = t->write && bit(entry, 1);
	t->user = t->user && bit(entry, 2);
	t->no_execute = t->no_execute || (has_xd && bit(entry, 63));
}

/* 4.8: accessed and dirty flags; all or none, as the core has it. */
static void
set_flags(struct trail *t, bool set)
{
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < t->res.nread; i++) {
			const bool last = i == t->res.nread - 1;
			const bool a = t->flags[i] && !bit(t->value[i], 5);
			const bool d = last && is_write(t) && !bit(t->value[i], 6);
			uint8_t *p;

			if (!a && !d)
				continue;
			t->res.would_mark = true;
			if (!set)
				continue;
			p = bytes_at(t->mem, t->res.read[i], true);
			if (p == NULL) {
				t->res.kind = REF_NO_MEMORY;
				t->res.bad_pa = t->res.read[i];
				t->res.bad_write = true;
				return;
			}
			if (pass == 1)
				p[0] |= (uint8_t)((a ? 0x20 : 0) + (d ? 0x40 : 0));
		}
	}
}

static void
mapped(struct trail *t, uint64_t pa, uint64_t page_size, bool set)
{
	if (!may(t)) {
		page_fault(t, true, false);
		return;
	}
	t->res.kind = REF_OK;
	t->res.pa = pa;
	t->res.page_size = page_size;
	set_flags(t, set);
}

/* ---- 4.3: 32-bit paging ---------------------------------------------------------------------- */

static void
walk_32bit(struct trail *t, bool set)
{
	const struct ref_cpu *c = t->cpu;
	const int m = c->maxphyaddr < 40 ? c->maxphyaddr : 40;
	uint64_t pde, pte;

	if (!read_entry(t, field(c->cr3, 31, 12) * 4096 + field(t->la, 31, 22) * 4, 4, &pde))
		return;
	if (bit(c->cr4, 4) && bit(pde, 7)) {
		/* Table 4-4: bits (M-20):13 are address bits (M-1):32; 21:(M-19) are reserved. */
		if (reserved(t, any(pde, 21, m - 19)))
			return;
		rights_of(t, pde, false);
		mapped(t,
		       field(pde, 31, 22) * 0x400000 + field(pde, m - 20, 13) * 0x100000000 +
			       field(t->la, 21, 0),
		       0x400000, set);
		return;
	}
	rights_of(t, pde, false);
	if (!read_entry(t, field(pde, 31, 12) * 4096 + field(t->la, 21, 12) * 4, 4, &pte))
		return;
	rights_of(t, pte, false);
	mapped(t, field(pte, 31, 12) * 4096 + field(t->la, 11, 0), 4096, set);
}

/* ---- 4.4: PAE paging ------------------------------------------------------------------------- */

static void
walk_pae(struct trail *t, bool set)
{
	const struct ref_cpu *c = t->cpu;
	const int m = c->maxphyaddr;
	const bool nxe = bit(c->efer, 11);
	uint64_t pdpte, pde, pte;

	if (c->has_pdptes) {
		pdpte = c->pdpte[field(t->la, 31, 30)];
		if (!bit(pdpte, 0)) {
			page_fault(t, false, false);
			return;
		}
	} else {
		if (!read_entry(t, field(c->cr3, 31, 5) * 32 + field(t->la, 31, 30) * 8, 8, &pdpte))
			return;
		t->flags[0] = false; /* table 4-8: bits 8:5 are reserved */
	}
	if (reserved(t, any(pdpte, 2, 1) || any(pdpte, 8, 5) || any(pdpte, 63, m)))
		return;
	if (!read_entry(t, field(pdpte, m - 1, 12) * 4096 + field(t->la, 29, 21) * 8, 8, &pde))
		return;
	if (reserved(t, any(pde, 62, m) || (!nxe && bit(pde, 63))))
		return;
	rights_of(t, pde, nxe);
	if (bit(pde, 7)) {
		if (reserved(t, any(pde, 20, 13)))
			return;
		mapped(t, field(pde, m - 1, 21) * 0x200000 + field(t->la, 20, 0), 0x200000, set);
		return;
	}
	if (!read_entry(t, field(pde, m - 1, 12) * 4096 + field(t->la, 20, 12) * 8, 8, &pte))
		return;
	if (reserved(t, any(pte, 62, m) || (!nxe && bit(pte, 63))))
		return;
	rights_of(t, pte, nxe);
	mapped(t, field(pte, m - 1, 12) * 4096 + field(t->la, 11, 0), 4096, set);
}

/* ---- 4.5: 4-level and 5-level paging --------------------------------------------------------- */

static void
walk_long(struct trail *t, int levels, bool set)
{
	const struct ref_cpu *c = t->cpu;
	const int m = c->maxphyaddr;
	const bool nxe = bit(c->efer, 11);
	const int top = levels == 5 ? 56 : 47;
	uint64_t table = field(c->cr3, m - 1, 12) * 4096;
	uint64_t entry;

	if (any(t->la, 63, top) && !any(~t->la, 63, top)) {
		/* all ones: canonical */
	} else if (any(t->la, 63, top)) {
		t->res.kind = REF_GP;
		return;
	}
	for (int lo = top - 8; lo > 12; lo -= 9) {
		const bool pdpte = lo == 30;
		const bool pde = lo == 21;

		if (!read_entry(t, table + field(t->la, lo + 8, lo) * 8, 8, &entry))
			return;
		if (reserved(t, any(entry, 51, m) || (!nxe && bit(entry, 63))))
			return;
		if (bit(entry, 7) && !(pde || (pdpte && c->page1gb))) {
			page_fault(t, true, true);
			return;
		}
		rights_of(t, entry, nxe);
		if (bit(entry, 7)) {
			if (reserved(t, any(entry, lo - 1, 13)))
				return;
			mapped(t, (field(entry, m - 1, lo) << lo) + field(t->la, lo - 1, 0),
			       (uint64_t)1 << lo, set);
			return;
		}
		table = field(entry, m - 1, 12) * 4096;
	}
	if (!read_entry(t, table + field(t->la, 20, 12) * 8, 8, &entry))
		return;
	if (reserved(t, any(entry, 51, m) || (!nxe && bit(entry, 63))))
		return;
	rights_of(t, entry, nxe);
	mapped(t, field(entry, m - 1, 12) * 4096 + field(t->la, 11, 0), 4096, set);
}

struct ref_result
ref_walk(const struct ref_cpu *cpu, const struct ref_memory *mem, uint64_t la, char access,
	 bool set)
{
	struct trail t = {
		.cpu = cpu, .mem = mem, .la = la, .access = access, .user = true, .write = true};

	if (!bit(cpu->cr0, 31)) {
		t.res.pa = la;
		t.res.page_size = 4096;
	} else if (!bit(cpu->cr4, 5)) {
		walk_32bit(&t, set);
	} else if (!bit(cpu->efer, 10)) {
		walk_pae(&t, set);
	} else {
		walk_long(&t, bit(cpu->cr4, 12) ? 5 : 4, set);
	}
	return t.res;
}
