/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Instructions that invalidate. Each drops what its manual promises to drop, and keeps the rest.
 */

#include "sim/hw/hw_priv.h"
#include "sim/story/story_record.h"

#define CANONICAL_BIT 47

/* Common to all: a point, a count, and the kindness that makes each of them drop everything. */
static struct hw_cpu *
begin_invalidate(unsigned int cpu, const struct hw_model *m, const char *what, uint64_t operand)
{
	struct hw_cpu *c = hw_cpu_at(cpu);

	sim_point(SIM_INVALIDATE, NULL);
	hw_counters[HW_CT_INVALIDATE]++;
	c->hw_flushes++;
	STORY(flush(cpu, what, operand));
	if (m && (m->hm_kindness & HW_KIND_WIDE_FLUSH))
		hw_drop_all(c);
	return c;
}

/*
 * Guest-physical and combined mappings of one EP4TA, with every VPID, or of all (SDM vol. 3C
 * 29.4.3.1, INVEPT).
 */
void
hw_invept(unsigned int cpu, const struct hw_model *m, unsigned int type, uint64_t eptp)
{
	const struct hw_context as = {.hc_model = m, .hc_kind = HW_EPT, .hc_root = eptp};
	const uint64_t ep4ta = hw_context_root(&as);
	struct hw_cpu *c = begin_invalidate(cpu, m, "INVEPT", type == HW_INVEPT_ALL ? 0 : ep4ta);
	char why[120];

	if (type > 7 || !(m->hm_invept >> type & 1))
		sim_violation("CK-HW", "I18", "INVEPT of type %u, which CPU %u does not have", type,
			      cpu);
	if (type == HW_INVEPT_SINGLE && !hw_context_valid(&as, why, sizeof(why)))
		sim_violation("CK-HW", "I18", "INVEPT on CPU %u fails: %s", cpu, why);
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		struct hw_space *s = c->hw_spaces[i];
		const bool linear = s->sp_kind == HW_SPACE_EPT_LINEAR;

		if (s->sp_kind != HW_SPACE_EPT && !linear)
			continue;
		if (type == HW_INVEPT_ALL || (linear ? s->sp_key >> 16 << 12 : s->sp_key) == ep4ta)
			hw_drop_space(c, s);
	}
}

static bool
canonical(uint64_t va)
{
	const uint64_t top = va >> CANONICAL_BIT;

	return top == 0 || top == UINT64_MAX >> CANONICAL_BIT;
}

/* Linear and combined mappings by VPID, with every EP4TA; guest-physical mappings stay. */
void
hw_invvpid(unsigned int cpu, const struct hw_model *m, unsigned int type, uint16_t vpid,
	   uint64_t linear)
{
	struct hw_cpu *c = begin_invalidate(cpu, m, "INVVPID", vpid);

	if (type > 7 || !(m->hm_invvpid >> type & 1))
		sim_violation("CK-HW", "I18", "INVVPID of type %u, which CPU %u does not have",
			      type, cpu);
	if (type != HW_INVVPID_ALL && vpid == 0)
		sim_violation("CK-HW", "I18", "INVVPID on CPU %u fails: VPID 0", cpu);
	if (type == HW_INVVPID_ADDRESS && !canonical(linear))
		sim_violation("CK-HW", "I18", "INVVPID on CPU %u fails: 0x%llx is not canonical",
			      cpu, (unsigned long long)linear);
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		struct hw_space *s = c->hw_spaces[i];

		if (s->sp_kind == HW_SPACE_EPT && (m->hm_kindness & HW_KIND_VPID_FLUSHES_GPA))
			hw_drop_space(c, s);
		if (s->sp_kind != HW_SPACE_EPT_LINEAR)
			continue;
		if (type == HW_INVVPID_ALL ? (s->sp_key & 0xffff) == 0
					   : (s->sp_key & 0xffff) != vpid)
			continue;
		if (type == HW_INVVPID_ADDRESS)
			hw_drop_address(c, s, linear, true);
		else
			hw_drop_space(c, s);
	}
}

/*
 * The page's translations of any size, global ones too, and every paging-structure entry of the
 * PCID (SDM vol. 3A 4.10.4.1).
 */
void
hw_invlpg(unsigned int cpu, const struct hw_context *ctx, uint64_t va)
{
	struct hw_cpu *c = begin_invalidate(cpu, ctx->hc_model, "INVLPG", va);
	struct hw_space *s = hw_space_of(c, ctx, false);

	hw_drop_address(c, s, va, false);
	hw_drop_tables(c, s);
	hw_drop_address(c, hw_space_global(c), va, false);
}

/* AMD APM vol. 2 15.20: linear addresses of an ASID; what was cached of nested tables stays. */
void
hw_invlpga(unsigned int cpu, uint32_t asid, uint64_t linear)
{
	struct hw_cpu *c = begin_invalidate(cpu, NULL, "INVLPGA", linear);

	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		struct hw_space *s = c->hw_spaces[i];

		if (s->sp_kind == HW_SPACE_NPT_LINEAR && (s->sp_key & 0xffff) == asid)
			hw_drop_address(c, s, linear, false);
	}
}

void
hw_guest_invlpg(unsigned int cpu, const struct hw_context *ctx, uint64_t linear)
{
	struct hw_cpu *c = begin_invalidate(cpu, ctx->hc_model, "INVLPG of the guest", linear);

	hw_drop_address(c, hw_space_of(c, ctx, true), linear, true);
}

static void
drop_asid(struct hw_cpu *c, bool all, uint32_t asid)
{
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		struct hw_space *s = c->hw_spaces[i];

		if ((s->sp_kind == HW_SPACE_NPT || s->sp_kind == HW_SPACE_NPT_LINEAR) &&
		    (all || (s->sp_key & 0xffff) == asid))
			hw_drop_space(c, s);
	}
}

void
hw_flush_asid(unsigned int cpu, uint32_t asid)
{
	drop_asid(begin_invalidate(cpu, NULL, "flush of ASID", asid), false, asid);
}

void
hw_flush_all_asids(unsigned int cpu)
{
	drop_asid(begin_invalidate(cpu, NULL, "flush of all ASIDs", 0), true, 0);
}

void
hw_flush_cr3(unsigned int cpu, const struct hw_context *ctx, bool global)
{
	struct hw_cpu *c = begin_invalidate(
		cpu, ctx->hc_model, global ? "flush of everything" : "flush of PCID", ctx->hc_tag);

	if (!global) {
		hw_drop_space(c, hw_space_of(c, ctx, false));
		return;
	}
	for (unsigned int i = 0; i < c->hw_nspaces; i++) {
		if (c->hw_spaces[i]->sp_kind == HW_SPACE_X86 ||
		    c->hw_spaces[i]->sp_kind == HW_SPACE_X86_GLOBAL)
			hw_drop_space(c, c->hw_spaces[i]);
	}
}
