/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What the host asks of vmspace while vCPUs run: rights, moving, discarding, wiring, the dirty
 * log. Most of it concerns a map as a whole.
 */

#include "sim/workload/vmop.h"

#include <errno.h>
#include <string.h>

#include "sim/oracle/invariants.h"

/* Bringing in, moving and copying pages takes long: a piece at a time. */
#define PIECE_PAGES 48u

/* The part of the first map at or after start that lies in the range, npages at most. */
static bool
piece_of(struct space *sp, gpa_t start, gpa_t stop, unsigned int npages, struct range *ra)
{
	const struct region *const rg = hostop_region(sp, start);
	const gpa_t from = start > rg->rg_base ? start : rg->rg_base;
	gpa_t to = stop < region_end(rg) ? stop : region_end(rg);

	if (from >= to || rg->rg_absent)
		return false;
	if (to - from > (gpa_t)npages * SIM_PAGE_SIZE)
		to = from + (gpa_t)npages * SIM_PAGE_SIZE;
	*ra = (struct range){sp, from, to};
	return true;
}

/* ---- Moving and discarding ------------------------------------------------------------------ */

void
hostop_migrate(struct space *sp, gpa_t start, gpa_t stop)
{
	struct range ra;
	struct hostop ho;
	uint64_t moved = 0;

	if (!piece_of(sp, start, stop, PIECE_PAGES, &ra))
		return;
	/* A page that has left its run keeps its neighbors from being joined for long. */
	if (hostop_region(sp, start)->rg_npages > 64 && sim_choose(SIM_CHOICE_WORKLOAD, 8) != 0)
		return;
	hostop_begin(&ho, sp, ra.ra_start, ra.ra_end, WC_MIGRATE);
	if (space_region(sp, ra.ra_start) == NULL) { /* unmapped meanwhile */
		hostop_judge(&ho);
		hostop_end(&ho);
		return;
	}
	hostop_may(sp, vm_migrate(sp->sp_vs, ra.ra_start, ra.ra_end - ra.ra_start, &moved),
		   "vm_migrate");
	hostop_judge(&ho);
	if (moved > (ra.ra_end - ra.ra_start) / SIM_PAGE_SIZE)
		sim_violation("CK-API", "I42", "%s: %llu pages moved, of fewer", sp->sp_name,
			      (unsigned long long)moved);
	hostop_end(&ho);
}

static void
discard_begins(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	(void)gpa;
	(void)arg;
	ghost_discard_begin(sp->sp_world, pg);
	pg->pg_pinned |= rg->rg_wired;
}

static enum ghost_fate
fate_of(const struct page *pg, int error)
{
	if (error == -EACCES || error == -EFAULT)
		return GHOST_KEPT;
	return error == 0 || (error == -EBUSY && !pg->pg_pinned) ? GHOST_DISCARDED : GHOST_UNKNOWN;
}

static void
discard_ends(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	const enum ghost_fate fate = fate_of(pg, *(const int *)arg);

	(void)rg;
	ghost_discard_end(pg, fate);
	if (fate == GHOST_KEPT)
		return;
	/* Whether that counts as written is the log's affair. */
	pg->pg_maylog = true;
	if (!oracle_modified_now(sp, gpa)) {
		pg->pg_dirty = false;
		pg->pg_logdirty = false;
		/* One that stayed may be written by what a CPU has cached, and was noted for. */
		pg->pg_noted = pg->pg_noted && fate == GHOST_UNKNOWN;
	}
}

static void
count_pinned(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	(void)sp;
	(void)rg;
	(void)gpa;
	*(unsigned int *)arg += pg->pg_pinned;
}

/* What a discard of the range may say; pinned: pages that were, at some time meanwhile. */
static void
check_discard(struct space *sp, const struct region *rg, int error, unsigned int pinned)
{
	const bool plain = rg->rg_seg->sg_kind == SEG_SYSMEM && (rg->rg_prot & PMAP_PROT_W) != 0;
	const bool window = rg->rg_seg->sg_kind == SEG_WINDOW;

	sim_invariant_hit(SIM_I40);
	if (error == -EINTR || error == -ENOMEM || (error == -EBUSY && plain && pinned != 0) ||
	    (error == 0 && plain) || (error == -EACCES && !plain) || (error == -EFAULT && window))
		return;
	sim_violation("CK-API", "I40", "%s: discarding of 0x%llx ends with error %d", sp->sp_name,
		      (unsigned long long)rg->rg_base, -error);
}

void
hostop_discard(struct space *sp, gpa_t start, gpa_t stop)
{
	const struct region *rg;
	struct range ra;
	struct hostop ho;
	unsigned int pinned = 0;
	int error;

	if (!piece_of(sp, start, stop, PIECE_PAGES, &ra))
		return;
	hostop_begin(&ho, sp, ra.ra_start, ra.ra_end, WC_DISCARD);
	rg = space_region(sp, ra.ra_start);
	if (rg == NULL) { /* unmapped meanwhile */
		hostop_judge(&ho);
		hostop_end(&ho);
		return;
	}
	hostop_pages(&ra, discard_begins, NULL);
	error = vm_discard(sp->sp_vs, ra.ra_start, ra.ra_end - ra.ra_start);
	hostop_pages(&ra, count_pinned, &pinned);
	hostop_pages(&ra, discard_ends, &error);
	hostop_judge(&ho);
	check_discard(sp, rg, error, pinned);
	hostop_end(&ho);
}

/* ---- Rights --------------------------------------------------------------------------------- */

/* Changes the rights of a map to `prot`; its pages are taken. False: not done. */
static bool
change_rights(struct space *sp, struct region *rg, unsigned int prot)
{
	const uint8_t was = rg->rg_prot;
	bool done;

	/* What is gained may show at once, what is lost until the end. */
	rg->rg_changes++;
	rg->rg_losing = was & (uint8_t)~prot;
	rg->rg_gaining = (uint8_t)prot & (uint8_t)~was;
	rg->rg_prot = (uint8_t)prot;
	done = hostop_may(
		sp, vm_protect_memmap(sp->sp_vs, rg->rg_base, region_end(rg) - rg->rg_base, prot),
		"vm_protect_memmap");
	if (!done)
		rg->rg_prot = was;
	rg->rg_losing = 0;
	rg->rg_gaining = 0;
	rg->rg_changes++;
	return done;
}

/* Rights for a map to be left with: some that it has and the format can express. */
static unsigned int
fewer_rights(const struct space *sp, const struct region *rg)
{
	static const unsigned int prots[] = {PMAP_PROT_RX, PMAP_PROT_RW, PMAP_PROT_R};
	const uint8_t ok = pmap_fmt(sp->sp_pmap)->pf_prot_ok;
	const unsigned int prot = prots[sim_choose(SIM_CHOICE_WORKLOAD, 3)] & rg->rg_prot_max;

	/* Without NX all that is readable is executable. */
	return prot != 0 && ((ok >> prot) & 1) ? prot : rg->rg_prot_max & PMAP_PROT_RX;
}

/* In the tables alone: for a while, since the map still grants it. */
static void
protect_range(struct space *sp, gpa_t start, gpa_t stop)
{
	const unsigned int prot = fewer_rights(sp, hostop_region(sp, start));
	struct hostop ho;

	if (!((pmap_fmt(sp->sp_pmap)->pf_prot_ok >> prot) & 1))
		return;
	hostop_begin_bare(&ho, sp, start, stop, WC_PROTECT);
	hostop_must(pmap_protect(sp->sp_pmap, start, stop, prot, &ho.ho_gather), "pmap_protect");
	hostop_flush(&ho);
	hostop_end_bare(&ho);
}

void
hostop_protect(struct space *sp, gpa_t start, gpa_t stop)
{
	struct region *const rg = hostop_region(sp, start);
	struct hostop ho;
	unsigned int prot;

	if (rg->rg_seg->sg_kind == SEG_WINDOW || sim_choose(SIM_CHOICE_WORKLOAD, 3) == 0) {
		protect_range(sp, start, stop);
		return;
	}
	hostop_begin(&ho, sp, rg->rg_base, region_end(rg), WC_PROTECT);
	prot = fewer_rights(sp, rg);
	if (!rg->rg_absent && ((pmap_fmt(sp->sp_pmap)->pf_prot_ok >> prot) & 1))
		change_rights(sp, rg, prot);
	hostop_judge(&ho);
	hostop_end(&ho);
}

/* Widening changes the map only; faults bring it into the tables. */
void
hostop_widen(struct space *sp, gpa_t start, gpa_t stop)
{
	struct region *const rg = hostop_region(sp, start);
	struct hostop ho;

	(void)stop;
	if (rg->rg_seg->sg_kind == SEG_WINDOW)
		return;
	hostop_begin(&ho, sp, rg->rg_base, region_end(rg), WC_WIDEN);
	if (!rg->rg_absent)
		change_rights(sp, rg, rg->rg_prot_max);
	hostop_judge(&ho);
	hostop_end(&ho);
}

/* ---- The dirty log -------------------------------------------------------------------------- */

#define BITMAP_WORDS (8 * REGION_PAGES / 64)
#define BITMAP_BYTES_SPAN (8 * REGION_BYTES)

static bool
log_settled(void *arg)
{
	const struct space *sp = arg;

	return !sp->sp_log_changing;
}

static bool
log_unused(void *arg)
{
	const struct space *sp = arg;

	return !sp->sp_log_changing && sp->sp_log_users == 0;
}

/* With the log off: what the tables alone know. */
static void
collect_tables(struct space *sp, gpa_t start, gpa_t stop)
{
	uint64_t bitmap[BITMAP_WORDS] = {0};
	struct range ra = {sp, start, stop};
	struct pmap_gather g;

	hostop_take(&ra);
	oracle_m_begin(sp, start, stop);
	pmap_gather_begin(&g, sp->sp_pmap);
	hostop_must(pmap_harvest(sp->sp_pmap, start, stop,
				 PMAP_HARVEST_MODIFIED | PMAP_HARVEST_PEEK, bitmap, NULL, &g),
		    "pmap_harvest");
	pmap_gather_finish(&g);
	oracle_m_end(sp, start, stop, bitmap);
	sim_invariant_hit(SIM_I39);
	if (vm_dirty_log(sp->sp_vs, start, stop - start, VM_DIRTY_GET, bitmap) != -ENOENT)
		sim_violation("CK-API", "I39", "%s: the dirty log is off, and tells", sp->sp_name);
	hostop_give(&ra);
}

/*
 * A framebuffer, which is never paged: nobody but the display has an interest in M there, and it
 * may be taken out of the tables.
 */
static void
collect_display(struct space *sp, const struct region *rg)
{
	uint64_t bitmap[BITMAP_WORDS] = {0};
	struct hostop ho;

	hostop_begin(&ho, sp, rg->rg_base, region_end(rg), WC_HARVEST);
	oracle_m_begin(sp, rg->rg_base, region_end(rg));
	hostop_must(pmap_harvest(sp->sp_pmap, rg->rg_base, region_end(rg), PMAP_HARVEST_MODIFIED,
				 bitmap, NULL, &ho.ho_gather),
		    "pmap_harvest");
	hostop_flush(&ho);
	oracle_m_taken(sp, rg->rg_base, region_end(rg), bitmap);
	hostop_end(&ho);
}

static const struct region *
display_of(const struct space *sp)
{
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		if (rg->rg_seg->sg_kind == SEG_FRAMEBUFFER && !rg->rg_absent)
			return rg;
	}
	return NULL;
}

static void
collect_log(struct space *sp, gpa_t start, gpa_t stop)
{
	static const uint32_t odds[] = {
		[VM_DIRTY_PEEK] = 1, [VM_DIRTY_GET] = 1, [VM_DIRTY_CLEAR] = 4};
	const enum vm_dirty_op op =
		(enum vm_dirty_op)sim_choose_weighted(SIM_CHOICE_WORKLOAD, 3, odds);
	uint64_t bitmap[BITMAP_WORDS];
	struct range ra = {sp, start, stop};
	struct oracle_tlb_op tlb;

	memset(bitmap, 0xa5, sizeof(bitmap));
	hostop_take(&ra);
	oracle_log_begin(sp, start, stop);
	space_op_begin(sp, &tlb);
	hostop_must(vm_dirty_log(sp->sp_vs, start, stop - start, op, bitmap), "vm_dirty_log");
	oracle_log_end(sp, start, stop, op, bitmap);
	space_op_end(sp, &tlb, start, stop);
	oracle_check_range(sp, start, stop);
	hostop_give(&ra);
}

void
hostop_clean(struct space *sp, gpa_t start, gpa_t stop)
{
	stop = stop - start > BITMAP_BYTES_SPAN ? start + BITMAP_BYTES_SPAN : stop;
	world_tick(sp->sp_world, WC_CLEAN);
	sim_wait_until("the dirty log to be on or off", log_settled, sp);
	sp->sp_log_users++;
	if (sp->sp_log)
		collect_log(sp, start, stop);
	else if (display_of(sp) != NULL && sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0)
		collect_display(sp, display_of(sp));
	else
		collect_tables(sp, start, stop);
	sp->sp_log_users--;
}

static void
ask_contents(struct space *sp, struct region *rg, struct page *pg, gpa_t gpa, void *arg)
{
	static const uint64_t zeros[PAGE_WORDS];
	unsigned int word;

	(void)sp;
	(void)rg;
	(void)gpa;
	(void)arg;
	pg->pg_asked = pg->pg_logdirty && !pg->pg_discarding && !ghost_equal(pg, zeros, &word);
}

/* Switches the dirty log on or off; nobody collects meanwhile. */
void
hostop_log(struct space *sp, gpa_t start, gpa_t stop)
{
	const bool initially_set = sim_choose(SIM_CHOICE_WORKLOAD, 3) == 0;
	const struct range all = {sp, 0, ~(gpa_t)0};
	struct oracle_tlb_op op;
	bool done;

	(void)start;
	(void)stop;
	sim_wait_until("the dirty log to be left alone", log_unused, sp);
	sp->sp_log_changing = true;
	sp->sp_log_changes++;
	world_tick(sp->sp_world, WC_LOG);
	hostop_pages(&all, ask_contents, NULL);
	space_op_begin(sp, &op);
	if (!sp->sp_log)
		done = hostop_may(sp, vm_dirty_log_enable(sp->sp_vs, initially_set),
				  "vm_dirty_log_enable");
	else
		done = hostop_may(sp, vm_dirty_log_disable(sp->sp_vs), "vm_dirty_log_disable");
	if (done)
		sp->sp_log = !sp->sp_log;
	oracle_log_switched(sp, initially_set && done);
	space_op_end(sp, &op, 0, 0);
	sp->sp_log_changing = false;
}

/* ---- Ahead of faults ------------------------------------------------------------------------ */

/* Brings in and maps pages, as written or as read. */
void
hostop_prefault(struct space *sp, gpa_t start, gpa_t stop)
{
	const bool writes = sim_choose(SIM_CHOICE_WORKLOAD, 3) != 0;
	struct range ra;

	if (!piece_of(sp, start, stop, PIECE_PAGES, &ra))
		return;
	/* Whole superpages now and then, whatever maps there are. */
	if (hostop_region(sp, start)->rg_npages > 64 && sim_choose(SIM_CHOICE_WORKLOAD, 4) == 0) {
		ra.ra_start &= ~(REGION_BYTES - 1);
		ra.ra_end = ra.ra_start + REGION_BYTES;
	}
	world_tick(sp->sp_world, WC_PREFAULT);
	hostop_take(&ra);
	for (gpa_t gpa = ra.ra_start; gpa < ra.ra_end; gpa += SIM_PAGE_SIZE) {
		const struct region *const rg = space_region(sp, gpa);

		if (rg == NULL ||
		    space_fault(sp, gpa, writes ? rg->rg_prot & PMAP_PROT_RW : PMAP_PROT_R) != 0)
			break;
	}
	sim_invariant_hit(SIM_I40);
	oracle_check_range(sp, ra.ra_start, ra.ra_end);
	hostop_give(&ra);
}

/* ---- Wiring --------------------------------------------------------------------------------- */

static void
set_wired(struct space *sp, gpa_t start, bool wired, enum world_count c)
{
	struct region *const rg = hostop_region(sp, start);
	const uint64_t len = region_end(rg) - rg->rg_base;
	struct hostop ho;
	int error;

	hostop_begin(&ho, sp, rg->rg_base, region_end(rg), c);
	if (!rg->rg_absent) {
		rg->rg_wiring = wired;
		error = wired ? vm_wire_memmap(sp->sp_vs, rg->rg_base, len)
			      : vm_unwire_memmap(sp->sp_vs, rg->rg_base, len);
		if (error == -EFAULT && rg->rg_seg->sg_kind == SEG_SYSMEM)
			error = -EIO; /* a page cannot be read back */
		if (rg->rg_seg->sg_kind != SEG_SYSMEM) {
			sim_invariant_hit(SIM_I39);
			if (error != -EINVAL)
				sim_violation("CK-API", "I39",
					      "%s: wiring of devices' memory ends with error %d",
					      sp->sp_name, -error);
		} else if (hostop_may(sp, error, wired ? "vm_wire_memmap" : "vm_unwire_memmap")) {
			rg->rg_wired = wired;
		} else if (wired && vmop_has_devices(sp)) {
			vmop_may_be_logged(sp); /* devices have seen a part of it */
		}
		rg->rg_wiring = false;
	}
	hostop_judge(&ho);
	hostop_end(&ho);
}

/* What is full of single pages is emptied, so that a superpage may come, and be wired. */
static void
collapse(struct space *sp, const struct region *rg)
{
	hostop_remove(sp, rg->rg_base, region_end(rg));
	if (!rg->rg_absent)
		space_fault(sp, rg->rg_base, rg->rg_prot & PMAP_PROT_RW);
}

void
hostop_wire(struct space *sp, gpa_t start, gpa_t stop)
{
	const struct region *const rg = hostop_region(sp, start);

	(void)stop;
	/* Five hundred pages one by one take the time of everything else. */
	if (rg->rg_npages > 64 && sim_choose(SIM_CHOICE_WORKLOAD, 8) != 0 &&
	    !(rg->rg_super && (sp->sp_config.vc_flags & VM_EAGER_RUNS)))
		return;
	if (rg->rg_super && !rg->rg_wired && sim_choose(SIM_CHOICE_WORKLOAD, 4) != 0)
		collapse(sp, rg);
	set_wired(sp, start, true, WC_WIRE);
}

void
hostop_unwire(struct space *sp, gpa_t start, gpa_t stop)
{
	(void)stop;
	set_wired(sp, start, false, WC_UNWIRE);
}

/*
 * Wires a superpage that is written, and collects M of a page of it: it must be split, by the table
 * that it keeps for that.
 */
void
hostop_split_wired(struct space *sp, gpa_t start, gpa_t stop)
{
	const unsigned int from = sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions);

	(void)start;
	(void)stop;
	for (unsigned int i = 0; i < sp->sp_nregions; i++) {
		const struct region *const rg = &sp->sp_regions[(from + i) % sp->sp_nregions];
		const gpa_t at = rg->rg_base + sim_choose(SIM_CHOICE_WORKLOAD, 512) * SIM_PAGE_SIZE;

		if (!rg->rg_super || rg->rg_absent)
			continue;
		set_wired(sp, rg->rg_base, false, WC_UNWIRE);
		collapse(sp, rg);
		set_wired(sp, rg->rg_base, true, WC_WIRE);
		if (!rg->rg_absent)
			space_fault(sp, at, rg->rg_prot & PMAP_PROT_RW);
		hostop_clear_modify(sp, at, at + SIM_PAGE_SIZE);
		return;
	}
}

/* A map's rights are set, and it is wired: as memory is made ready for a device. */
void
hostop_grant(struct space *sp, gpa_t start, gpa_t stop)
{
	hostop_protect(sp, start, stop);
	if (hostop_region(sp, start)->rg_npages <= 64)
		set_wired(sp, start, true, WC_WIRE);
}

/* ---- A guest's end -------------------------------------------------------------------------- */

static bool
space_unused(void *arg)
{
	const struct space *sp = arg;

	return sp->sp_users == 1; /* the one who waits */
}

/* Destroys the vmspace while others want to use it, and makes a new one. */
void
hostop_recreate(struct space *sp, gpa_t start, gpa_t stop)
{
	(void)start;
	(void)stop;
	sim_touch_ghost(sp);
	if (sp->sp_closing || sp == sp->sp_world->wo_kernel)
		return;
	sp->sp_closing = true;
	sim_wait_until("a space to be left by all", space_unused, sp);
	sim_touch_ghost(sp);
	host_fence();
	world_tick(sp->sp_world, WC_RECREATE);
	sim_fault_met(SIM_FAULT_DESTROY, sim_cpu(), true);
	oracle_check_quiet(sp);
	space_close(sp);
	while (space_open(sp) != 0) {
		sim_signal_clear();
		sim_point(SIM_USER, NULL);
	}
	sim_touch_ghost(sp);
	sp->sp_closing = false;
}
