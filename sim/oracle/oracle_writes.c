/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Every write to a table, and every frame that is freed: CK-ATOM, who owns which table, and what
 * the oracle of translations must know.
 */

#include "sim/workload/vmop.h"

#include "sim/oracle/invariants.h"

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* ---- Writes to tables ----------------------------------------------------------------------- */

/*
 * What a plain store may change, of the entries of one kind of table. From the manuals: A and D are
 * bits 5 and 6 of ordinary, 8 and 9 of EPT entries; W is bit 1 of both, X bit 2 of EPT, and not
 * executable bit 63 of ordinary ones. Where EPT has neither A nor D, the core uses R and W in their
 * place, and the rights are bits 53 and 55, its own.
 */
struct plain {
	uint64_t pl_a;
	uint64_t pl_d;
	uint64_t pl_w;
	uint64_t pl_rights; /* may be cleared */
	uint64_t pl_nx;	    /* may be set */
};
static const struct plain plain_ordinary = {0x20, 0x40, 0x2, 0x2, UINT64_C(1) << 63};
static const struct plain plain_ept = {0x100, 0x200, 0x2, 0x7, 0};
static const struct plain plain_ept_noad = {
	0x1, 0x2, UINT64_C(1) << 53, UINT64_C(5) << 53 | 0x4, 0,
};

/*
 * CK-ATOM: hardware may write a present entry at any time, and so nobody else may write it plainly;
 * unless hardware has nothing to set: A is, and so is D, or the entry is not writable. Then A, D
 * and rights may go.
 */
static bool
is_plain_allowed(const struct plain *p, uint64_t was, uint64_t is)
{
	const bool settled = (was & p->pl_a) != 0 && ((was & p->pl_d) != 0 || !(was & p->pl_w));
	const uint64_t lost = was & ~is;
	const uint64_t gained = is & ~was;

	return settled && (lost & ~(p->pl_a | p->pl_d | p->pl_rights)) == 0 &&
	       (gained & ~p->pl_nx) == 0;
}

static void
check_write(const struct space *sp, const struct sim_table_write *tw)
{
	const struct plain *const p = sp->sp_cpu.ec_type != PT_EPT     ? &plain_ordinary
				      : hw_context_has_ad(&sp->sp_ctx) ? &plain_ept
								       : &plain_ept_noad;

	if (tw->tw_old == 0 || tw->tw_old == tw->tw_new ||
	    is_plain_allowed(p, tw->tw_old, tw->tw_new))
		return;
	sim_violation("CK-ATOM", "I13",
		      "%s: table word 0x%llx was changed from 0x%llx to 0x%llx by a plain store",
		      sp->sp_name, ull(tw->tw_hpa), ull(tw->tw_old), ull(tw->tw_new));
}

/* Frame numbers lie below bit 52 in every format; above are rights and software's own bits. */
static struct sim_frame *
frame_of_entry(uint64_t entry)
{
	return sim_frame_at(entry & HW_FRAME_MASK);
}

/*
 * Bit 7 of an entry, in every format: it maps more than 4 KiB. (Of one that maps 4 KiB it is part
 * of the memory type in ordinary tables, and nobody here uses that part.)
 */
static void
watch_super(struct space *sp, uint64_t entry)
{
	if (entry & 0x80)
		sp->sp_had_super = true;
}

/* A table, and what was built below it in private, becomes part of a space's tree. */
static void
link_tables(const struct world *w, uint64_t hpa, uint64_t owner)
{
	sim_frame_at(hpa)->fr_owner = owner;
	for (unsigned int i = 0; i < SIM_TABLE_WORDS; i++) {
		uint64_t entry;

		if (!sim_phys_look(hpa + i * 8u, &entry) || entry == 0)
			continue;
		watch_super(w->wo_spaces[owner - 1], entry);

		const struct sim_frame *const child = frame_of_entry(entry);

		if (child != NULL && child->fr_kind == SIM_FRAME_TABLE && child->fr_owner == 0)
			link_tables(w, entry & HW_FRAME_MASK, owner);
	}
}

/* Which space a table frame belongs to, counted from 1; 0 while it is private. */
static uint64_t
table_owner(const struct world *w, uint64_t hpa)
{
	const struct sim_frame *const fr = sim_frame_at(hpa);

	for (unsigned int i = 0; i < w->wo_nspaces && fr->fr_owner == 0; i++) {
		if (w->wo_spaces[i]->sp_pmap != NULL && pmap_root(w->wo_spaces[i]->sp_pmap) == hpa)
			return i + 1;
	}
	return fr->fr_owner;
}

/* A wired leaf gives way to nothing: an entry that is not present has no frame. */
static bool
loses_wired(const struct space *sp, const struct sim_table_write *tw)
{
	return sp->sp_pmap != NULL && (tw->tw_old & pmap_fmt(sp->sp_pmap)->pf_wired) != 0 &&
	       (tw->tw_old & HW_FRAME_MASK) != 0 && (tw->tw_new & HW_FRAME_MASK) == 0;
}

static void
table_written(void *arg, const struct sim_table_write *tw)
{
	const struct world *const w = arg;
	const uint64_t owner = table_owner(w, PAGE_OF(tw->tw_hpa));
	const struct sim_frame *const child = frame_of_entry(tw->tw_new);

	oracle_tlb_write(tw);
	if (owner == 0)
		return;
	if (tw->tw_how == SIM_WRITE_PRIVATE)
		sim_violation("CK-ATOM", "I01", "table 0x%llx is filled while it is linked",
			      ull(PAGE_OF(tw->tw_hpa)));
	sim_invariant_hit(SIM_I13);
	if (tw->tw_how == SIM_WRITE_PLAIN)
		check_write(w->wo_spaces[owner - 1], tw);
	watch_super(w->wo_spaces[owner - 1], tw->tw_new);
	if (child != NULL && child->fr_kind == SIM_FRAME_DATA)
		oracle_vm_installing(w->wo_spaces[owner - 1], tw);
	if (loses_wired(w->wo_spaces[owner - 1], tw))
		oracle_vm_removing(w->wo_spaces[owner - 1], tw);
	if (child != NULL && child->fr_kind == SIM_FRAME_TABLE && child->fr_owner == 0)
		link_tables(w, tw->tw_new & HW_FRAME_MASK, owner);
}

/*
 * A root that is free may be the next space's in a moment: here its pmap ends for the TLB's
 * oracle.
 */
static void
root_freed(struct space *sp)
{
	oracle_tlb_forget(sp->sp_dying_root);
	sp->sp_dying_root = 0;
}

static void
frame_freed(void *arg, uint64_t hpa, enum sim_frame_kind kind)
{
	const struct world *const w = arg;

	(void)kind;
	oracle_tlb_frame_freed(hpa);
	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		if (w->wo_spaces[i]->sp_dying_root == PAGE_OF(hpa))
			root_freed(w->wo_spaces[i]);
	}
}

void
oracle_write_hooks(struct world *w)
{
	sim_set_write_hook(table_written, w);
	sim_set_free_hook(frame_freed, w);
}
