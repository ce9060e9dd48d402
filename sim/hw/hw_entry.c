/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the bits of registers and of page-table entries mean to the hardware. Every rule here was
 * written from the manuals, and none from the core's format tables: the two must agree by
 * themselves.
 */

#include "sim/hw/hw_priv.h"

#include <stdio.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))
#define BITS(hi, lo) ((BIT((hi) - (lo) + 1) - 1) << (lo))

/* Intel SDM vol. 3A 4.5.4, tables 4-15 to 4-20; AMD APM vol. 2 5.3.3 to 5.3.5. */
#define X86_P BIT(0)
#define X86_RW BIT(1)
#define X86_US BIT(2)
#define X86_PWT BIT(3)
#define X86_PCD BIT(4)
#define X86_A BIT(5)
#define X86_D BIT(6)
#define X86_PS BIT(7)	  /* levels 1 and 2 */
#define X86_PAT_4K BIT(7) /* level 0 */
#define X86_PAT_LARGE BIT(12)
#define X86_G BIT(8)
#define X86_XD BIT(63)

/* Intel SDM vol. 3C 29.3.2, tables 29-1 to 29-6. */
#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)
#define EPT_TYPE(e) (((e) >> 3) & 7)
#define EPT_IPAT BIT(6)
#define EPT_LARGE BIT(7)
#define EPT_A BIT(8)
#define EPT_D BIT(9)

/* EPTP: Intel SDM vol. 3C 25.6.11. */
#define EPTP_TYPE(r) ((r)&7)
#define EPTP_WALK(r) (((r) >> 3) & 7) /* length less one */
#define EPTP_AD BIT(6)
#define EPTP_RESERVED BITS(11, 7) /* bit 7 enables supervisor shadow stacks: not offered */

/* Exit qualification for EPT violations: Intel SDM vol. 3C 28.2.1, table 28-7. */
#define QUAL_READ BIT(0)
#define QUAL_WRITE BIT(1)
#define QUAL_FETCH BIT(2)
#define QUAL_RIGHTS(rwx) ((uint64_t)(rwx) << 3)
#define QUAL_LINEAR_VALID BIT(7)
#define QUAL_FINAL BIT(8)

/* #PF error code (SDM vol. 3A 4.7), and EXITINFO1 of #NPF (APM vol. 2 15.25.6). */
#define PF_P BIT(0)
#define PF_W BIT(1)
#define PF_U BIT(2)
#define PF_RSVD BIT(3)
#define PF_I BIT(4)
#define NPF_FINAL BIT(32)
#define NPF_GUEST_WALK BIT(33)

static uint64_t
address_mask(const struct hw_context *ctx)
{
	return BITS(ctx->hc_model->hm_phys_bits - 1, 12);
}

/* Bits 51 down to the physical address width are reserved in every present entry. */
static uint64_t
beyond_width(const struct hw_context *ctx)
{
	const unsigned int bits = ctx->hc_model->hm_phys_bits;

	return bits < 52 ? BITS(51, bits) : 0;
}

/* ---- Registers ----------------------------------------------------------------------------- */

uint64_t
hw_context_root(const struct hw_context *ctx)
{
	return ctx->hc_root & address_mask(ctx);
}

unsigned int
hw_context_levels(const struct hw_context *ctx)
{
	if (ctx->hc_kind != HW_EPT)
		return ctx->hc_levels;
	return EPTP_WALK(ctx->hc_root) == 4 ? 5 : 4; /* other lengths are refused at entry */
}

bool
hw_context_has_ad(const struct hw_context *ctx)
{
	return ctx->hc_kind != HW_EPT || (ctx->hc_root & EPTP_AD) != 0;
}

static bool
eptp_valid(const struct hw_context *ctx, char *why, size_t why_bytes)
{
	const uint64_t r = ctx->hc_root;
	const char *what = NULL;

	if (EPTP_TYPE(r) != HW_UC && EPTP_TYPE(r) != HW_WB)
		what = "memory type";
	else if (EPTP_WALK(r) != 3 && !(EPTP_WALK(r) == 4 && ctx->hc_model->hm_ept_5_levels))
		what = "page-walk length";
	else if ((r & EPTP_AD) && !ctx->hc_model->hm_ept_ad)
		what = "A/D enable, which this CPU does not have";
	else if (r & EPTP_RESERVED)
		what = "reserved bits 11:7";
	else if (r >> ctx->hc_model->hm_phys_bits)
		what = "bits beyond the physical address width";
	if (what)
		snprintf(why, why_bytes, "EPTP 0x%llx is not valid: %s", (unsigned long long)r,
			 what);
	return what == NULL;
}

bool
hw_context_valid(const struct hw_context *ctx, char *why, size_t why_bytes)
{
	const char *name = ctx->hc_kind == HW_NPT ? "nCR3" : "CR3";

	if (ctx->hc_kind == HW_EPT)
		return eptp_valid(ctx, why, why_bytes);
	if (ctx->hc_levels != 4 && ctx->hc_levels != 5) {
		snprintf(why, why_bytes, "paging with %u levels", ctx->hc_levels);
		return false;
	}
	if (ctx->hc_root >> ctx->hc_model->hm_phys_bits) {
		snprintf(why, why_bytes, "%s 0x%llx has bits beyond the physical address width",
			 name, (unsigned long long)ctx->hc_root);
		return false;
	}
	if (ctx->hc_kind == HW_NPT &&
	    (ctx->hc_tag == 0 || ctx->hc_tag >= ctx->hc_model->hm_asids)) {
		snprintf(why, why_bytes, "ASID %u of %u", ctx->hc_tag, ctx->hc_model->hm_asids);
		return false;
	}
	return true;
}

bool
hw_in_range(const struct hw_context *ctx, uint64_t gpa)
{
	const unsigned int bits = hw_shift(hw_context_levels(ctx));

	if (ctx->hc_kind == HW_X86) { /* canonical: SDM vol. 1 3.3.7.1 */
		const uint64_t top = gpa >> (bits - 1);

		return top == 0 || top == (UINT64_MAX >> (bits - 1));
	}
	return (gpa >> bits) == 0;
}

/* ---- Entries ------------------------------------------------------------------------------- */

/* A leaf above level 0 has address bits below its size reserved, down to `lo`. */
static uint64_t
below_size(unsigned int level, unsigned int lo)
{
	return level == 0 ? 0 : BITS(hw_shift(level) - 1, lo);
}

static void
decode_x86(const struct hw_context *ctx, unsigned int level, uint64_t v, struct hw_entry *e)
{
	const struct hw_model *m = ctx->hc_model;
	uint64_t reserved = beyond_width(ctx);

	e->en_present = (v & X86_P) != 0;
	e->en_leaf = level == 0 || (level < HW_LEAF_LEVELS && (v & X86_PS));
	e->en_accessed = (v & X86_A) != 0;
	e->en_dirty = e->en_leaf && (v & X86_D);
	e->en_global = e->en_leaf && (v & X86_G);
	e->en_rights = HW_READ | (v & X86_RW ? HW_WRITE : 0) | (v & X86_US ? HW_USER : 0);
	if (!m->hm_nx) /* EFER.NXE = 0: XD is reserved (SDM 4.5.4, APM 5.6.1) */
		reserved |= X86_XD;
	if (!m->hm_nx || !(v & X86_XD))
		e->en_rights |= HW_EXEC;
	if (level >= HW_LEAF_LEVELS) /* PML4E, PML5E: PS is reserved; AMD: so is bit 8 */
		reserved |= X86_PS | (ctx->hc_kind == HW_NPT ? BIT(8) : 0);
	if (level == 2 && !m->hm_page_1g)
		reserved |= X86_PS;

	e->en_addr = v & address_mask(ctx);
	if (e->en_leaf) {
		const uint64_t pat = level == 0 ? X86_PAT_4K : X86_PAT_LARGE;
		const unsigned int index = (v & X86_PWT ? 1 : 0) | (v & X86_PCD ? 2 : 0) |
					   (v & pat ? 4 : 0); /* SDM 12.12.3 */

		e->en_memtype = (m->hm_pat >> (8 * index)) & 7;
		reserved |= level == 0 ? 0 : below_size(level, 13);
		e->en_addr &= ~(BIT(hw_shift(level)) - 1);
	}
	e->en_bad = v & reserved ? HW_BAD_RESERVED : HW_FINE;
}

/* SDM vol. 3C 29.3.3.1: present, and what is then a misconfiguration. */
static enum hw_why_bad
misconfigured(const struct hw_context *ctx, unsigned int level, uint64_t v, bool leaf)
{
	uint64_t reserved = beyond_width(ctx);

	if (!(v & EPT_R) && ((v & EPT_W) || !ctx->hc_model->hm_exec_only))
		return HW_BAD_RIGHTS; /* 010, 110; 100 without the capability */
	if (level >= HW_LEAF_LEVELS)
		reserved |= BITS(7, 3);
	else if (!leaf)
		reserved |= BITS(6, 3);
	else
		reserved |= below_size(level, 12);
	if (level > 0 && leaf &&
	    !(level == 1 ? ctx->hc_model->hm_page_2m : ctx->hc_model->hm_page_1g))
		reserved |= EPT_LARGE;
	if (v & reserved)
		return HW_BAD_RESERVED;
	if (leaf && (EPT_TYPE(v) == 2 || EPT_TYPE(v) == 3 || EPT_TYPE(v) == 7))
		return HW_BAD_MEMTYPE;
	return HW_FINE;
}

static void
decode_ept(const struct hw_context *ctx, unsigned int level, uint64_t v, struct hw_entry *e)
{
	const bool ad = hw_context_has_ad(ctx);

	e->en_present = (v & (EPT_R | EPT_W | EPT_X)) != 0;
	e->en_leaf = level == 0 || (level < HW_LEAF_LEVELS && (v & EPT_LARGE));
	e->en_rights =
		(v & EPT_R ? HW_READ : 0) | (v & EPT_W ? HW_WRITE : 0) | (v & EPT_X ? HW_EXEC : 0);
	e->en_accessed = !ad || (v & EPT_A);
	e->en_dirty = e->en_leaf && (!ad || (v & EPT_D));
	e->en_addr = v & address_mask(ctx);
	e->en_bad = misconfigured(ctx, level, v, e->en_leaf);
	if (e->en_leaf) {
		e->en_memtype = EPT_TYPE(v);
		e->en_ignore_pat = (v & EPT_IPAT) != 0;
		e->en_addr &= ~(BIT(hw_shift(level)) - 1);
	}
}

void
hw_entry_decode(const struct hw_context *ctx, unsigned int level, uint64_t value,
		struct hw_entry *e)
{
	memset(e, 0, sizeof(*e));
	if (ctx->hc_kind == HW_EPT)
		decode_ept(ctx, level, value, e);
	else
		decode_x86(ctx, level, value, e);
}

uint64_t
hw_accessed_bit(const struct hw_context *ctx)
{
	if (ctx->hc_kind == HW_EPT)
		return hw_context_has_ad(ctx) ? EPT_A : 0;
	return X86_A;
}

uint64_t
hw_dirty_bit(const struct hw_context *ctx)
{
	if (ctx->hc_kind == HW_EPT)
		return hw_context_has_ad(ctx) ? EPT_D : 0;
	return X86_D;
}

/* ---- Rights -------------------------------------------------------------------------------- */

/*
 * The guest's own page walk: with A/D enabled, EPT treats it as a write (SDM vol. 3C 29.3.3.2);
 * nested paging always does (APM vol. 2 15.25.5).
 */
static unsigned int
needed(const struct hw_context *ctx, unsigned int access)
{
	unsigned int need = access & (HW_READ | HW_WRITE | HW_EXEC);

	if (access & HW_GUEST_WALK) {
		need |= HW_READ;
		if (hw_context_has_ad(ctx))
			need |= HW_WRITE;
	}
	return need;
}

bool
hw_allows(const struct hw_context *ctx, unsigned int rights, unsigned int access)
{
	unsigned int need = needed(ctx, access);

	if (ctx->hc_kind == HW_EPT)
		return (rights & need) == need;
	need |= HW_READ;
	if (ctx->hc_kind == HW_NPT) /* every nested access is a user access (APM vol. 2 15.25.5) */
		return (rights & (need | HW_USER)) == (need | HW_USER);
	if (access & HW_USER)
		need |= HW_USER;
	else if (rights & HW_USER) { /* supervisor, user page: SDM vol. 3A 4.6.1 */
		if ((need & HW_EXEC) ? ctx->hc_smep : ctx->hc_smap)
			return false;
	}
	return (rights & need) == need;
}

bool
hw_wants_dirty(const struct hw_context *ctx, unsigned int access)
{
	return (needed(ctx, access) & HW_WRITE) != 0 && hw_dirty_bit(ctx) != 0;
}

static uint64_t
page_fault_code(const struct hw_context *ctx, unsigned int need, bool user, bool present,
		bool reserved)
{
	uint64_t code = (present ? PF_P : 0) | (need & HW_WRITE ? PF_W : 0) | (user ? PF_U : 0);

	if (reserved)
		code |= PF_RSVD;
	if ((need & HW_EXEC) && (ctx->hc_model->hm_nx || ctx->hc_smep))
		code |= PF_I;
	return code;
}

void
hw_make_fault(const struct hw_context *ctx, uint64_t gpa, unsigned int access, unsigned int rights,
	      bool present, bool reserved, struct hw_fault *fault)
{
	const unsigned int need = needed(ctx, access);
	const bool walk = (access & HW_GUEST_WALK) != 0;

	memset(fault, 0, sizeof(*fault));
	fault->hf_gpa = gpa;
	fault->hf_reserved = reserved;
	switch (ctx->hc_kind) {
	case HW_EPT:
		fault->hf_kind = reserved ? HW_FAULT_EPT_MISCONFIG : HW_FAULT_EPT_VIOLATION;
		if (reserved) /* has no qualification */
			break;
		fault->hf_code = (need & HW_READ ? QUAL_READ : 0) |
				 (need & HW_WRITE ? QUAL_WRITE : 0) |
				 (need & HW_EXEC ? QUAL_FETCH : 0) | QUAL_LINEAR_VALID;
		if (present)
			fault->hf_code |= QUAL_RIGHTS(rights & (HW_READ | HW_WRITE | HW_EXEC));
		if (!walk)
			fault->hf_code |= QUAL_FINAL;
		break;
	case HW_NPT:
		fault->hf_kind = HW_FAULT_NPF;
		fault->hf_code = page_fault_code(ctx, need, true, present, reserved) |
				 (walk ? NPF_GUEST_WALK : NPF_FINAL);
		break;
	case HW_X86:
		fault->hf_kind = HW_FAULT_PAGE;
		fault->hf_code = page_fault_code(ctx, need, access & HW_USER, present, reserved);
		break;
	}
}
