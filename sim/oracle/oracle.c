/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the ghosts know against what the core did: accesses, and who knows of them. Each check
 * names the invariant that it holds (docs/INVARIANTS.md) and counts every time that it really
 * compared something.
 *
 * M, twice. In the tables: what was written shows there until somebody takes it out, who then
 * tells (pc_note), or collects it for the dirty log. In the log: what was written is owed to the
 * next collection; until then the tables show it, or the page is marked.
 */

#include "sim/workload/vmop.h"

#include <string.h>

#include "sim/oracle/invariants.h"

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/* ---- What the tables show ------------------------------------------------------------------- */

/* Modified: D, or hardware's right to write where D is emulated. */
bool
oracle_modified_now(struct space *sp, gpa_t gpa)
{
	struct hw_walk w;

	hw_walk_quiet(&sp->sp_ctx, gpa, &w);
	if (!w.wk_present)
		return false;
	return hw_context_has_ad(&sp->sp_ctx) ? w.wk_dirty : (w.wk_rights & HW_WRITE) != 0;
}

bool
oracle_used_now(struct space *sp, gpa_t gpa)
{
	struct hw_walk w;

	hw_walk_quiet(&sp->sp_ctx, gpa, &w);
	if (!w.wk_present)
		return false;
	return !hw_context_has_ad(&sp->sp_ctx) || w.wk_accessed;
}

/* ---- Accesses ------------------------------------------------------------------------------- */

void
oracle_access_begin(struct space *sp, gpa_t gpa, unsigned int access)
{
	/* Mapped or not: it may be before the access is over. */
	const struct region *const rg = vmop_slot(sp, gpa);
	struct page *const pg = rg != NULL ? region_page(rg, gpa) : NULL;

	if (pg == NULL)
		return;
	pg->pg_touched = true;
	if (!(access & PMAP_PROT_W))
		return;
	pg->pg_writers++;
	pg->pg_maydirty = true;
	pg->pg_maylog = true;
}

void
oracle_access_failed(struct space *sp, gpa_t gpa, unsigned int access)
{
	const struct region *const rg = vmop_slot(sp, gpa);
	struct page *const pg = rg != NULL ? region_page(rg, gpa) : NULL;

	if (pg != NULL && (access & PMAP_PROT_W) && pg->pg_writers != 0)
		pg->pg_writers--;
}

/*
 * Where the access went: to the page's frame, by rights that it has, as the right kind of memory.
 */
static void
check_translation(struct space *sp, const struct region *rg, gpa_t gpa, unsigned int access,
		  const struct hw_translation *t)
{
	const uint64_t frame = rg != NULL ? space_frame(sp, gpa) : 0;
	const bool in_doubt = rg != NULL && region_in_doubt(rg);

	if (frame == 0 && !in_doubt)
		sim_violation("CK-TLB", "I14",
			      "%s: access to 0x%llx, where nothing is, reached 0x%llx", sp->sp_name,
			      ull(gpa), ull(t->ht_hpa));
	/* Spaces share no frame: what is reached under a tag of another one shows here, too. */
	if (t->ht_cached)
		sim_invariant_hit(SIM_I18);
	sim_invariant_hit(SIM_I30);
	if (PAGE_OF(t->ht_hpa) != frame && !(frame == 0 && in_doubt))
		sim_violation("CK-TLB", "I14",
			      "%s: access to 0x%llx reached frame 0x%llx, not 0x%llx", sp->sp_name,
			      ull(gpa), ull(PAGE_OF(t->ht_hpa)), ull(frame));
	sim_invariant_hit(SIM_I05);
	if (rg->rg_seg->sg_kind == SEG_ROM && (access & PMAP_PROT_W))
		sim_violation("CK-API", "I36", "%s: the boot ROM was written at 0x%llx",
			      sp->sp_name, ull(gpa));
	if ((access & ~region_rights(rg)) != 0)
		sim_violation("CK-API", "I05",
			      "%s: access %u to 0x%llx was let through; granted is %u", sp->sp_name,
			      access, ull(gpa), rg->rg_prot);
	if (rg->rg_seg->sg_kind == SEG_ROM)
		sim_invariant_hit(SIM_I36);
	sim_invariant_hit(SIM_I06);
	if (t->ht_memtype != (rg->rg_memattr == PT_MEMATTR_UC ? HW_UC : HW_WB))
		sim_violation("CK-API", "I06", "%s: 0x%llx was accessed with memory type %u",
			      sp->sp_name, ull(gpa), t->ht_memtype);
}

/*
 * A page was written. If the tables show it, they owe a note from here on; if not, the translation
 * was cached, and the note has been made. While an operation works on the page M may be cleared and
 * noted already, and the store that clears it not have arrived.
 */
static void
page_written(struct space *sp, struct page *pg, gpa_t gpa)
{
	pg->pg_dirty = true;
	pg->pg_logdirty = true;
	if (pg->pg_writers != 0)
		pg->pg_writers--;
	if (!pg->pg_busy && oracle_modified_now(sp, gpa))
		pg->pg_noted = false;
}

/* The access and its judgment are one instant: no scheduling point lies between. */
void
oracle_access_done(struct space *sp, gpa_t gpa, unsigned int access, const struct hw_translation *t)
{
	struct world *const w = sp->sp_world;
	const struct region *const rg = space_region(sp, gpa);
	struct page *const pg = space_page(sp, gpa);
	const unsigned int word = (gpa & (SIM_PAGE_SIZE - 1)) / 8;
	const uint64_t where = t->ht_hpa & ~UINT64_C(7);

	check_translation(sp, rg, gpa, access, t);
	sim_invariant_hit(SIM_I09);
	if (!ghost_found(pg, word, sim_data_load(where)))
		sim_violation("CK-API", "I09", "%s: 0x%llx holds 0x%llx where 0x%llx was written",
			      sp->sp_name, ull(gpa), ull(sim_data_load(where)),
			      ull(ghost_word(pg, word)));
	pg->pg_used = true;
	if (access & PMAP_PROT_W) {
		const uint64_t value = ghost_value(w);

		ghost_write(w, pg, word, value);
		sim_data_store(where, value);
		page_written(sp, pg, gpa);
	}
	world_tick(w, (access & PMAP_PROT_W)   ? WC_WRITES
		      : (access & PMAP_PROT_X) ? WC_FETCHES
					       : WC_READS);
}

/* ---- Notes ---------------------------------------------------------------------------------- */

/*
 * vmspace heard of it first: the page is marked already. A collection or a discard that works on
 * the page may have taken the mark off again.
 */
static void
check_heard(struct space *sp, const struct page *pg, gpa_t gpa)
{
	struct vm_page_info info;

	if (pg->pg_busy || !space_page_info(sp, gpa, &info) || !info.pi_resident)
		return;
	sim_invariant_hit(SIM_I27);
	if (!info.pi_dirty || (!info.pi_logged && sp->sp_log && !sp->sp_log_changing))
		sim_violation("CK-DIRTY", "I27", "%s: 0x%llx was noted, and vmspace forgot it",
			      sp->sp_name, ull(gpa));
}

void
oracle_note(void *arg, const struct pmap_leaf *leaf)
{
	struct space *const sp = arg;
	const gpa_t end = leaf->pl_gpa + pt_level_size(leaf->pl_level);

	for (gpa_t gpa = leaf->pl_gpa; gpa < end; gpa += SIM_PAGE_SIZE) {
		struct page *pg = space_page(sp, gpa);

		if (pg == NULL)
			continue;
		sim_invariant_hit(SIM_I26);
		if (leaf->pl_modified && !sp->sp_had_super && !pg->pg_maydirty)
			sim_violation("CK-DIRTY", "I26",
				      "%s: 0x%llx was noted as modified, unwritten", sp->sp_name,
				      ull(gpa));
		if (leaf->pl_modified) {
			pg->pg_maylog = true;
			/* Of a superpage the first marks are old when the last one is made. */
			if (pg->pg_touched && leaf->pl_level == 0)
				check_heard(sp, pg, gpa);
		}
		pg->pg_noted |= leaf->pl_modified;
		pg->pg_noted_used |= leaf->pl_accessed;
	}
}

/* ---- The dirty log -------------------------------------------------------------------------- */

static bool
in_bitmap(const uint64_t *bitmap, gpa_t start, gpa_t gpa)
{
	const uint64_t bit = (gpa - start) / SIM_PAGE_SIZE;

	return bitmap != NULL && (bitmap[bit / 64] >> bit % 64 & 1) != 0;
}

/*
 * Somebody emptied the tables of M and knows all of it: what they show now is to be told again. So
 * is what others have just taken out, and not noted yet: the page's own operation, where there is
 * one beside this, and whoever takes pages.
 */
static void
m_collected(const struct space *sp, struct page *pg, bool now, bool alone)
{
	pg->pg_dirty = now && pg->pg_dirty;
	if (alone && !now && pg->pg_writers == 0 && !world_may_reclaim(sp->sp_world))
		pg->pg_maydirty = false;
	pg->pg_noted = false;
}

void
oracle_m_begin(struct space *sp, gpa_t start, gpa_t end)
{
	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		struct page *pg = space_page(sp, gpa);

		if (pg != NULL)
			pg->pg_asked = pg->pg_dirty && !pg->pg_noted;
	}
}

void
oracle_m_end(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap)
{
	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		const struct page *pg = space_page(sp, gpa);
		const bool told = in_bitmap(bitmap, start, gpa);

		if (pg == NULL)
			continue;
		sim_invariant_hit(SIM_I25);
		/* What a fault has taken out meanwhile was noted. */
		if (pg->pg_asked && !pg->pg_noted && !told)
			sim_violation("CK-DIRTY", "I25",
				      "%s: 0x%llx was written, and the tables do not tell",
				      sp->sp_name, ull(gpa));
		if (told && !sp->sp_had_super && !pg->pg_maydirty)
			sim_violation("CK-DIRTY", "I26", "%s: 0x%llx shows as written, unwritten",
				      sp->sp_name, ull(gpa));
	}
}

void
oracle_m_taken(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap)
{
	oracle_m_end(sp, start, end, bitmap);
	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		struct page *const pg = space_page(sp, gpa);

		if (pg != NULL)
			m_collected(sp, pg, oracle_modified_now(sp, gpa), true);
	}
}

/*
 * The log will tell of the page: it is marked, held for writing, or within reach of devices;
 * surely, or if a device that is being attached or detached is one, and a hold that is being
 * released, whose mark may have been taken off again.
 */
static bool
is_logged(struct space *sp, gpa_t gpa, bool surely)
{
	const struct region *const rg = space_region(sp, gpa);
	const struct page *const pg = space_page(sp, gpa);
	struct vm_page_info info;

	if (!space_page_info(sp, gpa, &info))
		return false;
	return info.pi_logged || vmop_device_writes(sp, rg, surely) ||
	       (surely && pg != NULL ? pg->pg_write_holds : info.pi_write_holds) != 0;
}

void
oracle_log_begin(struct space *sp, gpa_t start, gpa_t end)
{
	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		struct page *pg = space_page(sp, gpa);

		if (pg == NULL)
			continue;
		/* What is written through a hold ends with the release. */
		pg->pg_asked = pg->pg_logdirty && pg->pg_holds == 0;
		pg->pg_asked_held = pg->pg_write_holds != 0;
	}
}

/* What a collection said of one page. */
static void
log_told(struct space *sp, struct page *pg, gpa_t gpa, enum vm_dirty_op op, bool told)
{
	const bool now = oracle_modified_now(sp, gpa);
	const bool logged = is_logged(sp, gpa, false);

	sim_invariant_hit(SIM_I25);
	if (pg->pg_asked && !told)
		sim_violation("CK-DIRTY", "I25", "%s: 0x%llx was written, and the log did not tell",
			      sp->sp_name, ull(gpa));
	if (pg->pg_asked_held && !told)
		sim_violation("CK-DIRTY", "I29",
			      "%s: 0x%llx is held for writing, and the log did not tell",
			      sp->sp_name, ull(gpa));
	sim_invariant_hit(SIM_I26);
	if (told && !sp->sp_had_super && !pg->pg_maylog && pg->pg_holds == 0 &&
	    !vmop_device_writes(sp, space_region(sp, gpa), false))
		sim_violation("CK-DIRTY", "I26", "%s: 0x%llx was reported written, and was not",
			      sp->sp_name, ull(gpa));
	if (op == VM_DIRTY_PEEK)
		return;
	sim_invariant_hit(SIM_I29);
	if (pg->pg_logdirty && !now && !logged && (!told || op == VM_DIRTY_GET))
		sim_violation("CK-DIRTY", "I29",
			      "%s: 0x%llx was written meanwhile, and nobody will tell", sp->sp_name,
			      ull(gpa));
	m_collected(sp, pg, now, true);
	if (op == VM_DIRTY_GET)
		return;
	/* All up to now is told. What still shows will be told again. */
	pg->pg_logdirty = pg->pg_logdirty && (now || is_logged(sp, gpa, true));
	pg->pg_maylog = now || logged || pg->pg_writers != 0 || pg->pg_holds != 0;
}

void
oracle_log_end(struct space *sp, gpa_t start, gpa_t end, enum vm_dirty_op op,
	       const uint64_t *bitmap)
{
	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		struct page *pg = space_page(sp, gpa);
		const bool told = in_bitmap(bitmap, start, gpa);

		if (pg != NULL && space_region(sp, gpa)->rg_seg->sg_kind != SEG_WINDOW)
			log_told(sp, pg, gpa, op, told);
		else if (told)
			sim_violation("CK-API", "I39", "%s: 0x%llx, which is no page, is dirty",
				      sp->sp_name, ull(gpa));
	}
}

/* Some map shows the page now, so that it can be asked for. */
static bool
is_known(struct space *sp, gpa_t gpa)
{
	struct vm_page_info info;

	return space_page_info(sp, gpa, &info);
}

static void
page_switched(struct space *sp, struct page *pg, gpa_t gpa, bool initially_set)
{
	const bool now = oracle_modified_now(sp, gpa);
	const bool logged = is_logged(sp, gpa, false);

	sim_invariant_hit(SIM_I29);
	if (sp->sp_log && initially_set && is_known(sp, gpa) && pg->pg_asked && pg->pg_logdirty &&
	    !pg->pg_discarding && !logged && !now)
		sim_violation("CK-DIRTY", "I29",
			      "%s: 0x%llx has contents, and the log begins without it", sp->sp_name,
			      ull(gpa));
	/*
	 * A log that ends takes no M. One that begins knows nothing of what another operation has
	 * just taken out of the tables: its flush may not be over, and the note was made.
	 */
	if (sp->sp_log) {
		const bool noted = pg->pg_busy && pg->pg_noted;

		m_collected(sp, pg, now, !pg->pg_busy);
		pg->pg_noted = noted;
	}
	pg->pg_logdirty = pg->pg_logdirty && (now || is_logged(sp, gpa, true));
	/* What no map shows just now was marked like all the rest, and cannot be asked for. */
	pg->pg_maylog = now || logged || pg->pg_writers != 0 || pg->pg_holds != 0 ||
			(initially_set && !is_known(sp, gpa));
}

/* While a log is on no superpage is writable: from here on pages are judged one by one. */
static bool
has_super(struct space *sp)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];
		struct hw_walk w;

		for (unsigned int i = 0; i < rg->rg_npages; i += REGION_PAGES) {
			hw_walk_quiet(&sp->sp_ctx, rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE, &w);
			if (w.wk_present && w.wk_level > 0)
				return true;
		}
	}
	return false;
}

/* Whether another region shows the segment of one that is not mapped. */
static bool
is_shown(const struct space *sp, const struct region *rg)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		if (sp->sp_regions[r].rg_seg == rg->rg_seg && !sp->sp_regions[r].rg_absent &&
		    sp->sp_regions[r].rg_first == rg->rg_first)
			return true;
	}
	return false;
}

/*
 * A device's pages are in no log, and what one that begins takes out of the tables is nobody's. As
 * for others, what another operation works on is left to it.
 */
static void
window_switched(struct space *sp, const struct region *rg)
{
	for (unsigned int i = 0; sp->sp_log && i < rg->rg_npages; i++) {
		const gpa_t gpa = rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE;
		struct page *const pg = &rg->rg_seg->sg_pages[rg->rg_first + i];
		const bool noted = pg->pg_busy && pg->pg_noted;

		m_collected(sp, pg, oracle_modified_now(sp, gpa), !pg->pg_busy);
		pg->pg_noted = noted;
	}
}

void
oracle_log_switched(struct space *sp, bool initially_set)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		if (rg->rg_absent && is_shown(sp, rg))
			continue;
		if (rg->rg_seg->sg_kind == SEG_WINDOW) {
			window_switched(sp, rg);
			continue;
		}
		for (unsigned int i = 0; i < rg->rg_npages; i++)
			page_switched(sp, &rg->rg_seg->sg_pages[rg->rg_first + i],
				      rg->rg_base + (gpa_t)i * SIM_PAGE_SIZE, initially_set);
	}
	if (sp->sp_log && !has_super(sp))
		sp->sp_had_super = false;
}

/* ---- Accessed ------------------------------------------------------------------------------- */

void
oracle_aged(struct space *sp, gpa_t start, gpa_t end, const uint64_t *bitmap,
	    const uint64_t *used_before)
{
	/*
	 * Not where vmspace may age, too; or may have, with the translation serving on without A.
	 */
	const bool promised =
		!(pmap_flags(sp->sp_pmap) & PMAP_DEFER) && !sp->sp_world->wo_may_reclaim;

	for (gpa_t gpa = start; gpa < end; gpa += SIM_PAGE_SIZE) {
		struct page *pg = space_page(sp, gpa);

		if (pg == NULL)
			continue;
		sim_invariant_hit(SIM_I28);
		/* Superpages age as one. */
		if (promised && in_bitmap(used_before, start, gpa) &&
		    !in_bitmap(bitmap, start, gpa) && !pg->pg_noted_used &&
		    !oracle_used_now(sp, gpa) && !sp->sp_had_super)
			sim_violation("CK-ACC", "I28",
				      "%s: 0x%llx was used, and aging did not see it", sp->sp_name,
				      ull(gpa));
		pg->pg_used = false;
		pg->pg_noted_used = false;
	}
}
