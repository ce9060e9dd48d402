/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Holds and copies: the host's own hands on guests' pages.
 *
 * Every byte that the host reads or writes there is judged at the instant at which it does (the
 * copy hook), since what a call has copied may be old when it returns.
 */

#include "sim/workload/vmop.h"

#include <errno.h>
#include <string.h>

#include "sim/oracle/invariants.h"

static const char *const count_names[VO_COUNT] = {
	[VO_HOLD] = "hold",
	[VO_HOLD_REFUSED] = "hold-refused",
	[VO_HOLD_SEG] = "hold-segment",
	[VO_TOUCH] = "held-accesses",
	[VO_RELEASE] = "release",
	[VO_COPY_IN] = "copy-from-guest",
	[VO_COPY_OUT] = "copy-to-guest",
	[VO_PAGEOUT] = "pageout",
	[VO_PAGED_OUT] = "pageout-pages",
	[VO_MAP] = "map",
	[VO_MAP_WIRED] = "map-wired",
	[VO_UNMAP] = "unmap",
	[VO_MANY_MAPS] = "many-maps",
	[VO_RESET] = "reset",
	[VO_NEW_SEG] = "new-segment",
	[VO_ATTACH] = "attach-device",
	[VO_DETACH] = "detach-device",
	[VO_DMA_READ] = "dma-reads",
	[VO_DMA_WRITE] = "dma-writes",
	[VO_LOG_BACK] = "dirty-log-set-back",
	[VO_NX] = "nx-superpages-switched",
	[VO_EXEC_RECOVER] = "exec-recover",
	[VO_HOSTILE] = "hostile-calls",
	[VO_QUIET] = "quiet-checks",
};

static unsigned long long
ull(uint64_t v)
{
	return v;
}

void
vmop_tick(struct world *w, enum vmop_count c)
{
	w->wo_vmops->vo_count[c]++;
}

/* What vmspace counts of itself, summed over all guests that ended. */
static void
report_stats(const struct vmspace_stats *st, unsigned int flags, struct sim_outcome *out)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{"faults-spurious", st->vt_faults_spurious},
		{"pages-swapped-in", st->vt_swap_ins},
		{"pages-read-ahead", st->vt_read_ahead},
		{"pages-swapped-out", st->vt_swap_outs},
		{"pages-not-swapped", st->vt_swap_errors},
		{"pages-reclaimed", st->vt_reclaimed},
		{"pages-reclaimed-clean", st->vt_reclaimed_clean},
		{"runs", st->vt_runs},
		{"runs-broken", st->vt_runs_broken},
		{"run-promotions", st->vt_promotions},
		{"exec-splits", st->vt_exec_splits},
		{"pages-moved", st->vt_moved},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		sim_outcome_count(out, SIM_COUNT_OPERATIONS, rows[i].name, rows[i].value, flags);
}

/* How much memory guests have together, and how much there is for them. */
static void
report_memory(const struct world *w, struct sim_outcome *out)
{
	const uint64_t frames = (sim_phys_limit() - sim_phys_base()) / SIM_PAGE_SIZE;
	uint64_t pages = 0;

	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		const struct space *const sp = w->wo_spaces[i];

		for (unsigned int g = 0; g < sp->sp_nsegs; g++)
			pages +=
				sp->sp_segs[g].sg_kind == SEG_SYSMEM ? sp->sp_segs[g].sg_npages : 0;
	}
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "guests", w->wo_nspaces, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "guest-memory-pages", pages, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "host-memory-pages",
			  w->wo_mem_limit != 0 ? w->wo_mem_limit / SIM_PAGE_SIZE : frames, 0);
}

void
vmop_report(const struct world *w, unsigned int flags, struct sim_outcome *out)
{
	for (unsigned int i = 0; i < VO_COUNT && w->wo_vmops != NULL; i++)
		sim_outcome_count(out, SIM_COUNT_OPERATIONS, count_names[i],
				  w->wo_vmops->vo_count[i], flags);
	report_stats(&w->wo_vm_stats, flags, out);
	report_memory(w, out);
}

bool
vmop_excused(int error)
{
	if (error == -EINTR)
		sim_signal_clear();
	return error == -ENOMEM || error == -EINTR || error == -EIO;
}

struct region *
vmop_slot(struct space *sp, gpa_t gpa)
{
	struct region *const mapped = space_region(sp, gpa);

	if (mapped != NULL)
		return mapped;
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		if (gpa >= rg->rg_base && gpa < region_end(rg))
			return rg;
	}
	return NULL;
}

/* ---- Alone ---------------------------------------------------------------------------------- */

static bool
may_go_on(void *arg)
{
	const struct vmops *vo = arg;

	return !vo->vo_stopping;
}

void
vmop_enter(struct world *w)
{
	/* The wait may end with an interrupt: who looks may have begun again. */
	do {
		sim_wait_until("everything to be looked at", may_go_on, w->wo_vmops);
	} while (w->wo_vmops->vo_stopping);
	w->wo_vmops->vo_active++;
}

void
vmop_leave(struct world *w)
{
	/* Who looks at everything must find it there. */
	host_fence();
	w->wo_vmops->vo_active--;
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

void
vmop_wrote(struct world *w, struct page *pg, unsigned int word, uint64_t value)
{
	ghost_write(w, pg, word, value);
	pg->pg_touched = true;
	pg->pg_logdirty = true;
	pg->pg_maylog = true;
}

/* Which bytes of word `word` lie in [from, from + len) of its page, as a mask of its value. */
static uint64_t
bytes_in_word(unsigned int word, uint64_t from, uint64_t len)
{
	uint64_t mask = 0;

	for (unsigned int b = 0; b < 8; b++) {
		const uint64_t at = (uint64_t)word * 8 + b;

		if (at >= from && at < from + len)
			mask |= UINT64_C(0xff) << b * 8;
	}
	return mask;
}

/* A word of which the bytes in mask were just written: the others are what they must be. */
static bool
rest_is_right(struct page *pg, unsigned int word, uint64_t value, uint64_t mask)
{
	const uint64_t rest = value & ~mask;

	return mask == ~UINT64_C(0) || rest == (ghost_word(pg, word) & ~mask) ||
	       (rest == 0 && ghost_found(pg, word, 0));
}

static void
wrong_bytes(const struct copying *cy, uint64_t hpa, unsigned int word, uint64_t value,
	    uint64_t must)
{
	sim_violation(cy->cy_check, cy->cy_invariant,
		      "%s: the host finds 0x%llx in word %u of frame 0x%llx, where 0x%llx was "
		      "written",
		      cy->cy_name, ull(value), word, ull(PAGE_OF(hpa)), ull(must));
}

/* The host has copied bytes of one frame. */
static void
copied(void *arg, uint64_t hpa, const void *bytes, size_t len, bool write)
{
	struct world *const w = arg;
	struct copying *const cy = &w->wo_vmops->vo_copying[sim_cpu()];
	const uint64_t from = hpa % SIM_PAGE_SIZE;
	const uint64_t *const words = sim_frame_bytes(PAGE_OF(hpa));
	struct page *pg;

	(void)bytes;
	if (!cy->cy_on || len == 0)
		return;
	if (cy->cy_offset / SIM_PAGE_SIZE >= cy->cy_npages || cy->cy_offset % SIM_PAGE_SIZE != from)
		sim_violation("CK-API", "I46", "%s: a copy goes to byte %llu of a page, not %llu",
			      cy->cy_name, ull(from), ull(cy->cy_offset % SIM_PAGE_SIZE));
	pg = cy->cy_pages[cy->cy_offset / SIM_PAGE_SIZE];
	cy->cy_offset += len;
	for (unsigned int i = (unsigned int)(from / 8); i <= (from + len - 1) / 8; i++) {
		const uint64_t mask = bytes_in_word(i, from, len);

		sim_invariant_hit(SIM_I46);
		if (write ? !rest_is_right(pg, i, words[i], mask) : !ghost_found(pg, i, words[i]))
			wrong_bytes(cy, hpa, i, words[i], ghost_word(pg, i));
		if (write)
			vmop_wrote(w, pg, i, words[i]);
	}
}

void
vmop_follow(struct world *w, struct page *const *pages, unsigned int npages, uint64_t offset,
	    const char *check, const char *invariant, const char *name)
{
	struct copying *const cy = &w->wo_vmops->vo_copying[sim_cpu()];

	*cy = (struct copying){
		.cy_on = true,
		.cy_offset = offset,
		.cy_npages = npages,
		.cy_check = check,
		.cy_invariant = invariant,
		.cy_name = name,
	};
	for (unsigned int i = 0; i < npages; i++)
		cy->cy_pages[i] = pages[i];
}

void
vmop_unfollow(struct world *w)
{
	w->wo_vmops->vo_copying[sim_cpu()].cy_on = false;
}

/* Fills a buffer with values that nobody else writes. */
static void
fill_values(struct world *w, void *to, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8) {
		const uint64_t value = ghost_value(w);

		memcpy((char *)to + i, &value, len - i < 8 ? len - i : 8);
	}
}

/* ---- Ranges --------------------------------------------------------------------------------- */

/* Some pages in a row, what the ghosts say of them before a call, and whether that still holds. */
struct stretch {
	struct space *st_space;
	gpa_t st_gpa; /* of the first byte */
	uint64_t st_len;
	unsigned int st_prot;
	unsigned int st_npages;
	struct region *st_regions[GRIP_PAGES];
	uint64_t st_changes[GRIP_PAGES];
	struct page *st_pages[GRIP_PAGES];
};

/* The segments are not made anew meanwhile; false if one is being. */
static bool
stretch_enter(struct stretch *st)
{
	for (unsigned int i = 0; i < st->st_npages; i++) {
		if (st->st_regions[i] != NULL && st->st_regions[i]->rg_seg->sg_remaking)
			return false;
	}
	for (unsigned int i = 0; i < st->st_npages; i++) {
		if (st->st_regions[i] != NULL)
			st->st_regions[i]->rg_seg->sg_users++;
	}
	return true;
}

static void
stretch_leave(struct stretch *st)
{
	for (unsigned int i = 0; i < st->st_npages; i++) {
		if (st->st_regions[i] != NULL)
			st->st_regions[i]->rg_seg->sg_users--;
	}
}

static void
stretch_init(struct stretch *st, struct space *sp, gpa_t gpa, uint64_t len, unsigned int prot)
{
	*st = (struct stretch){.st_space = sp, .st_gpa = gpa, .st_len = len, .st_prot = prot};
	for (gpa_t at = PAGE_OF(gpa); at < gpa + len; at += SIM_PAGE_SIZE) {
		struct region *const rg = vmop_slot(sp, at);
		const unsigned int i = st->st_npages++;

		st->st_regions[i] = rg;
		st->st_changes[i] = rg != NULL ? rg->rg_changes : 0;
		st->st_pages[i] = rg != NULL ? region_page(rg, at) : NULL;
	}
}

/* Nothing changed in what page i shows. */
static bool
still(const struct stretch *st, unsigned int i)
{
	return st->st_regions[i] == NULL || st->st_changes[i] == st->st_regions[i]->rg_changes;
}

/* Whether page i was refused for sure, and whether it was granted for sure, all the time. */
static bool
surely_refused(const struct stretch *st, unsigned int i)
{
	const struct region *const rg = st->st_regions[i];

	if (rg == NULL)
		return true;
	return still(st, i) && (rg->rg_absent || rg->rg_seg->sg_kind == SEG_WINDOW ||
				(st->st_prot & ~region_rights(rg)) != 0);
}

static bool
surely_granted(const struct stretch *st, unsigned int i)
{
	const struct region *const rg = st->st_regions[i];

	return rg != NULL && still(st, i) && !rg->rg_absent && rg->rg_seg->sg_kind != SEG_WINDOW &&
	       (st->st_prot & ~(unsigned int)(rg->rg_prot & ~rg->rg_gaining)) == 0;
}

/* The answer to a call on the first n pages that it got to (all, if it was a success). */
static void
check_answer(const struct stretch *st, int error, const char *what)
{
	unsigned int granted = 0;

	sim_invariant_hit(SIM_I46);
	for (unsigned int i = 0; i < st->st_npages; i++) {
		if (error == 0 && surely_refused(st, i))
			sim_violation("CK-API", "I46",
				      "%s: %s at 0x%llx with rights %u is let "
				      "through",
				      st->st_space->sp_name, what,
				      ull(PAGE_OF(st->st_gpa) + (gpa_t)i * SIM_PAGE_SIZE),
				      st->st_prot);
		granted += surely_granted(st, i);
	}
	if ((error == -EACCES || error == -EFAULT || error == -EINVAL) && granted == st->st_npages)
		sim_violation("CK-API", "I46", "%s: %s at 0x%llx is refused with error %d",
			      st->st_space->sp_name, what, ull(st->st_gpa), -error);
	if (error != 0 && error != -EACCES && error != -EFAULT && error != -EINVAL &&
	    !vmop_excused(error))
		sim_violation("CK-OOM", "I40", "%s: %s ends with error %d", st->st_space->sp_name,
			      what, -error);
}

/* Up to GRIP_PAGES pages from somewhere in the first page of a range. */
static void
some_stretch(struct space *sp, gpa_t start, unsigned int prot, struct stretch *st)
{
	static const uint32_t odds[] = {8, 4, 2, 1};
	const uint64_t limit = pmap_fmt(sp->sp_pmap)->pf_limit;
	const unsigned int more = sim_choose_weighted(SIM_CHOICE_WORKLOAD, 4, odds);
	const uint64_t offset = sim_choose(SIM_CHOICE_WORKLOAD, SIM_PAGE_SIZE);
	gpa_t gpa = PAGE_OF(start) + offset;
	uint64_t len = more * (uint64_t)SIM_PAGE_SIZE + 1 +
		       sim_choose(SIM_CHOICE_WORKLOAD, (uint32_t)(SIM_PAGE_SIZE - offset));

	if (gpa >= limit)
		gpa = limit - SIM_PAGE_SIZE;
	if (len > limit - gpa)
		len = limit - gpa;
	stretch_init(st, sp, gpa, len, prot);
}

/* ---- Holds ---------------------------------------------------------------------------------- */

static struct grip *
free_grip(struct world *w)
{
	for (unsigned int i = 0; i < GRIPS; i++) {
		if (!w->wo_vmops->vo_grips[i].gr_taken)
			return &w->wo_vmops->vo_grips[i];
	}
	return NULL;
}

/* From before the call: the pages may be held, and what is held for writing may be logged. */
static void
pages_may_be_held(struct page *const *pages, unsigned int npages, unsigned int prot)
{
	for (unsigned int i = 0; i < npages; i++) {
		struct page *const pg = pages[i];

		if (pg == NULL)
			continue;
		pg->pg_touched = true;
		pg->pg_holds++;
		pg->pg_pinned |= pg->pg_discarding;
		if (prot & PMAP_PROT_W)
			pg->pg_maylog = true;
	}
}

static void
pages_let_go(struct page *const *pages, unsigned int npages, unsigned int prot)
{
	for (unsigned int i = 0; i < npages; i++) {
		if (pages[i] == NULL)
			continue;
		pages[i]->pg_holds--;
		/* What was pinned and let go again is marked, too. */
		if (prot & PMAP_PROT_W)
			pages[i]->pg_maylog = true;
	}
}

/* The hold is there: from here to the call of the release the pages are what they are. */
static void
grip_begin(struct grip *gr)
{
	for (unsigned int i = 0; i < gr->gr_npages; i++) {
		const struct sim_frame *const fr = sim_frame_at(gr->gr_hold.vh_pages[i].hp_hpa);

		if (fr == NULL || fr->fr_kind != SIM_FRAME_DATA)
			sim_violation("CK-REF", "I33", "%s: a hold of a page without a frame",
				      gr->gr_name);
		gr->gr_lives[i] = fr->fr_life;
		gr->gr_pages[i]->pg_write_holds += (gr->gr_hold.vh_prot & PMAP_PROT_W) != 0;
	}
	gr->gr_held = true;
}

static void
grip_end(struct grip *gr)
{
	const unsigned int prot = gr->gr_hold.vh_prot;
	const bool writes = (prot & PMAP_PROT_W) != 0;

	gr->gr_held = false;
	for (unsigned int i = 0; i < gr->gr_npages; i++) {
		gr->gr_pages[i]->pg_write_holds -= writes;
		if (!writes)
			continue;
		/* What is held is owed now, and the release marks it once more. */
		gr->gr_pages[i]->pg_maylog = true;
		gr->gr_pages[i]->pg_logdirty = true;
		gr->gr_pages[i]->pg_asked_held = false;
	}
	vm_gpa_release(&gr->gr_hold);
	pages_let_go(gr->gr_pages, gr->gr_npages, prot);
	gr->gr_taken = false;
}

/* The outcome of a hold: of what it was to be, or nothing. */
static void
grip_made(struct world *w, struct grip *gr, struct page *const *pages, unsigned int npages,
	  unsigned int prot, int error, enum vmop_count c)
{
	if (error != 0) {
		pages_let_go(pages, npages, prot);
		gr->gr_taken = false;
		vmop_tick(w, VO_HOLD_REFUSED);
		return;
	}
	if (gr->gr_hold.vh_npages != npages)
		sim_violation("CK-API", "I46", "%s: a hold of %llu pages, not %u", gr->gr_name,
			      ull(gr->gr_hold.vh_npages), npages);
	gr->gr_npages = npages;
	for (unsigned int i = 0; i < npages; i++)
		gr->gr_pages[i] = pages[i];
	grip_begin(gr);
	vmop_tick(w, c);
}

static unsigned int
some_prot(void)
{
	static const unsigned int prots[] = {PMAP_PROT_R, PMAP_PROT_RW, PMAP_PROT_W, PMAP_PROT_RX};
	static const uint32_t odds[] = {4, 6, 2, 1};

	return prots[sim_choose_weighted(SIM_CHOICE_WORKLOAD, 4, odds)];
}

/* What the stretch says, by a grip that is free. */
static void
hold_stretch(struct grip *gr, struct stretch *st)
{
	struct space *const sp = st->st_space;
	struct vm_fault_record record = {0};
	struct oracle_tlb_op op;
	int error;

	if (!stretch_enter(st))
		return;
	gr->gr_taken = true;
	gr->gr_name = sp->sp_name;
	pages_may_be_held(st->st_pages, st->st_npages, st->st_prot);
	space_op_begin(sp, &op);
	error = vm_gpa_hold(sp->sp_vs, st->st_gpa, st->st_len, st->st_prot, &gr->gr_hold, &record);
	space_op_end(sp, &op, 0, 0);
	if (error != 0 && (record.fr_error != error || record.fr_reason == VM_FAULT_NONE))
		sim_violation("CK-API", "I45", "%s: a hold ends with %d, its record with %d",
			      sp->sp_name, -error, -record.fr_error);
	check_answer(st, error, "a hold");
	grip_made(sp->sp_world, gr, st->st_pages, st->st_npages, st->st_prot, error, VO_HOLD);
	stretch_leave(st);
}

void
vmop_hold(struct space *sp, gpa_t start, gpa_t stop)
{
	struct grip *const gr = free_grip(sp->sp_world);
	struct stretch st;

	if (gr == NULL) {
		vmop_release(sp, start, stop);
		return;
	}
	some_stretch(sp, start, some_prot(), &st);
	hold_stretch(gr, &st);
}

void
vmop_hold_bytes(struct space *sp, gpa_t gpa, uint64_t len, unsigned int prot)
{
	struct grip *const gr = free_grip(sp->sp_world);
	struct stretch st;

	if (gr == NULL)
		return;
	stretch_init(&st, sp, gpa, len, prot);
	hold_stretch(gr, &st);
}

/* As a process of the host does that has mapped a segment: whatever guests may do with it. */
void
vmop_hold_seg(struct space *sp, gpa_t start, gpa_t stop)
{
	struct world *const w = sp->sp_world;
	struct grip *const gr = free_grip(w);
	const struct region *const rg = hostop_region(sp, start);
	struct seg *const sg = rg->rg_seg;
	const unsigned int prot = sg->sg_kind == SEG_ROM		    ? PMAP_PROT_R
				  : sim_choose(SIM_CHOICE_WORKLOAD, 3) == 0 ? PMAP_PROT_R
									    : PMAP_PROT_RW;
	struct page *pages[GRIP_PAGES];
	struct oracle_tlb_op op;
	unsigned int first = sim_choose(SIM_CHOICE_WORKLOAD, sg->sg_npages);
	unsigned int n = 1 + sim_choose(SIM_CHOICE_WORKLOAD, 3);
	int error;

	if (gr == NULL || sg->sg_kind == SEG_WINDOW || sg->sg_remaking) {
		vmop_release(sp, start, stop);
		return;
	}
	if (sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0)
		first = rg->rg_first;
	if (n > sg->sg_npages - first)
		n = sg->sg_npages - first;
	for (unsigned int i = 0; i < n; i++)
		pages[i] = &sg->sg_pages[first + i];
	gr->gr_taken = true;
	gr->gr_name = sp->sp_name;
	sg->sg_users++;
	pages_may_be_held(pages, n, prot);
	space_op_begin(sp, &op);
	error = vm_memseg_hold(sp->sp_vs, sg->sg_ident, (uint64_t)first * SIM_PAGE_SIZE,
			       (uint64_t)n * SIM_PAGE_SIZE, prot, &gr->gr_hold);
	space_op_end(sp, &op, 0, 0);
	if (error != 0 && !vmop_excused(error))
		sim_violation("CK-OOM", "I40", "%s: a hold of segment %d ends with error %d",
			      sp->sp_name, sg->sg_ident, -error);
	grip_made(w, gr, pages, n, prot, error, VO_HOLD_SEG);
	sg->sg_users--;
}

/* One that is held and that nobody else uses now, or NULL. */
static struct grip *
some_grip(struct world *w, bool alone)
{
	const unsigned int from = sim_choose(SIM_CHOICE_WORKLOAD, GRIPS);

	for (unsigned int i = 0; i < GRIPS; i++) {
		struct grip *const gr = &w->wo_vmops->vo_grips[(from + i) % GRIPS];

		if (gr->gr_held && (!alone || gr->gr_users == 0))
			return gr;
	}
	return NULL;
}

/* Reads or writes some bytes of what is held, at any time. */
void
vmop_touch(struct space *sp, gpa_t start, gpa_t stop)
{
	struct world *const w = sp->sp_world;
	struct grip *const gr = some_grip(w, false);
	char bytes[64];
	uint64_t from, len, first;

	(void)start;
	(void)stop;
	if (gr == NULL)
		return;
	gr->gr_users++;
	from = sim_choose(SIM_CHOICE_WORKLOAD, (uint32_t)gr->gr_hold.vh_len_bytes);
	len = 1 + sim_choose(SIM_CHOICE_WORKLOAD, sizeof(bytes));
	/* Whole words mostly. */
	if (sim_choose(SIM_CHOICE_WORKLOAD, 4) != 0 && from >= 8) {
		from = from - (gr->gr_hold.vh_offset + from) % 8;
		len = (len + 7) / 8 * 8;
	}
	if (len > gr->gr_hold.vh_len_bytes - from)
		len = gr->gr_hold.vh_len_bytes - from;
	first = (gr->gr_hold.vh_offset + from) / SIM_PAGE_SIZE;
	vmop_follow(w, gr->gr_pages + first, gr->gr_npages - (unsigned int)first,
		    (gr->gr_hold.vh_offset + from) % SIM_PAGE_SIZE, "CK-REF", "I33", gr->gr_name);
	if ((gr->gr_hold.vh_prot & PMAP_PROT_W) && sim_choose(SIM_CHOICE_WORKLOAD, 3) != 0) {
		fill_values(w, bytes, len);
		vm_hold_write(&gr->gr_hold, from, bytes, len);
	} else {
		vm_hold_read(&gr->gr_hold, from, bytes, len);
	}
	vmop_unfollow(w);
	sim_invariant_hit(SIM_I33);
	vmop_tick(w, VO_TOUCH);
	gr->gr_users--;
}

void
vmop_release(struct space *sp, gpa_t start, gpa_t stop)
{
	struct world *const w = sp->sp_world;
	struct grip *const gr = some_grip(w, true);

	(void)start;
	(void)stop;
	if (gr == NULL)
		return;
	grip_end(gr);
	vmop_tick(w, VO_RELEASE);
}

void
vmop_release_all(struct world *w)
{
	for (unsigned int i = 0; i < GRIPS; i++) {
		if (w->wo_vmops->vo_grips[i].gr_held)
			grip_end(&w->wo_vmops->vo_grips[i]);
	}
}

/* ---- Copies --------------------------------------------------------------------------------- */

/* As node reads and writes do. */
void
vmop_copy(struct space *sp, gpa_t start, gpa_t stop)
{
	struct world *const w = sp->sp_world;
	const bool write = sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0;
	char bytes[GRIP_PAGES * SIM_PAGE_SIZE];
	struct oracle_tlb_op op;
	struct stretch st;
	uint64_t done = ~UINT64_C(0);
	int error;

	(void)stop;
	some_stretch(sp, start, write ? PMAP_PROT_W : PMAP_PROT_R, &st);
	/* Rather a few words than a page: each one is a value of its own. */
	if (st.st_len > SIM_PAGE_SIZE)
		st.st_len = st.st_len - SIM_PAGE_SIZE + 256;
	else if (st.st_len > 256)
		st.st_len = 256;
	stretch_init(&st, sp, st.st_gpa, st.st_len, st.st_prot);
	if (!stretch_enter(&st))
		return;
	pages_may_be_held(st.st_pages, st.st_npages, st.st_prot);
	vmop_follow(w, st.st_pages, st.st_npages, st.st_gpa % SIM_PAGE_SIZE, "CK-API", "I46",
		    sp->sp_name);
	space_op_begin(sp, &op);
	if (write) {
		fill_values(w, bytes, st.st_len);
		error = vm_gpa_write(sp->sp_vs, st.st_gpa, bytes, st.st_len, &done);
	} else {
		error = vm_gpa_read(sp->sp_vs, st.st_gpa, bytes, st.st_len, &done);
	}
	vmop_unfollow(w);
	space_op_end(sp, &op, 0, 0);
	check_answer(&st, error, write ? "a copy to the guest" : "a copy from the guest");
	pages_let_go(st.st_pages, st.st_npages, st.st_prot);
	stretch_leave(&st);
	if (error == 0 ? done != st.st_len : done >= st.st_len)
		sim_violation("CK-API", "I46", "%s: %llu bytes of %llu copied, with error %d",
			      sp->sp_name, ull(done), ull(st.st_len), -error);
	vmop_tick(w, write ? VO_COPY_OUT : VO_COPY_IN);
}

/* ---- Life ----------------------------------------------------------------------------------- */

void
vmop_hooks(struct world *w)
{
	sim_set_copy_hook(copied, w);
}

void
vmop_space_closed(struct space *sp)
{
	for (unsigned int i = 0; i < SIM_DEVICES; i++) {
		struct dma_device *const dd = &sp->sp_world->wo_vmops->vo_devices[i];

		if (dd->dd_space == sp)
			*dd = (struct dma_device){0};
	}
}
