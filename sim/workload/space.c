/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Segments, maps and faults of a space: what the simulator asks of vmspace, and the ghosts of it.
 */

#include "sim/workload/vmop.h"

#include <errno.h>

#include "sim/oracle/invariants.h"
#include "sim/story/story_record.h"

/* Injected failures may hit while a world is set up: whoever sets it up tries again. */
#define TRIES 1000

/* ---- Segments and maps ---------------------------------------------------------------------- */

void
space_reserve(struct space *sp, unsigned int nsegs, unsigned int nregions)
{
	sp->sp_segs = sim_alloc(sizeof(*sp->sp_segs) * nsegs);
	sp->sp_regions = sim_alloc(sizeof(*sp->sp_regions) * nregions);
}

static const char *
seg_name(enum seg_kind kind)
{
	static const char *const names[] = {
		[SEG_SYSMEM] = NULL,
		[SEG_ROM] = "bootrom",
		[SEG_FRAMEBUFFER] = "framebuffer",
		[SEG_WINDOW] = NULL,
	};

	return names[kind];
}

/*
 * A boot ROM is filled by the host, through a hold, with a value in each page; or stays as it is,
 * zeros, if others have all the memory and may keep it for as long as they like.
 */
static int
fill_rom(struct space *sp, struct seg *sg)
{
	struct vm_hold hold;
	const int error =
		vm_memseg_hold(sp->sp_vs, sg->sg_ident, 0, (uint64_t)sg->sg_npages * SIM_PAGE_SIZE,
			       PMAP_PROT_RW, &hold);

	for (unsigned int i = 0; i < sg->sg_npages && error == 0; i++) {
		const uint64_t value = ghost_value(sp->sp_world);

		vm_hold_write(&hold, (uint64_t)i * SIM_PAGE_SIZE, &value, sizeof(value));
		vmop_wrote(sp->sp_world, &sg->sg_pages[i], 0, value);
	}
	if (error == 0)
		vm_gpa_release(&hold);
	/* Let go, they are marked once more: for a log that has begun meanwhile. */
	for (unsigned int i = 0; i < sg->sg_npages; i++)
		sg->sg_pages[i].pg_maylog = true;
	return error == -ENOMEM ? 0 : error;
}

int
space_make_seg(struct space *sp, struct seg *sg)
{
	int error;

	if (sg->sg_kind == SEG_WINDOW)
		return 0;
	error = vm_alloc_memseg(sp->sp_vs, sg->sg_ident, (uint64_t)sg->sg_npages * SIM_PAGE_SIZE,
				seg_name(sg->sg_kind));
	if (error == 0 && sg->sg_kind == SEG_ROM) {
		error = fill_rom(sp, sg);
		if (error != 0)
			vm_free_memseg(sp->sp_vs, sg->sg_ident);
	}
	return error;
}

static int
make_region(struct space *sp, const struct region *rg)
{
	const uint64_t len = (uint64_t)rg->rg_npages * SIM_PAGE_SIZE;
	const uint64_t first = (uint64_t)rg->rg_first * SIM_PAGE_SIZE;

	if (rg->rg_absent)
		return 0;
	if (rg->rg_seg->sg_kind == SEG_WINDOW)
		return vm_map_mmio(sp->sp_vs, rg->rg_base, len, rg->rg_seg->sg_hpa + first);
	return vm_mmap_memseg(sp->sp_vs, rg->rg_base, rg->rg_seg->sg_ident, (int64_t)first,
			      (int64_t)len, rg->rg_prot, 0);
}

/*
 * Forgets what the page `was`, but for what a device keeps; and for writes that are under way: a
 * fault that is answered meanwhile maps the page that there is then, as modified.
 */
static void
page_renew(struct page *pg, const struct page *was, bool keep)
{
	const uint8_t writers = was->pg_writers;

	if (!keep)
		ghost_clear(pg);
	*pg = (struct page){
		.pg_ghost = pg->pg_ghost,
		.pg_writers = writers,
		.pg_touched = writers != 0,
		.pg_maydirty = writers != 0,
		.pg_maylog = writers != 0,
	};
}

void
space_renew_seg(struct space *sp, struct seg *sg)
{
	const struct page *const was = sg->sg_pages;
	bool held = false;

	for (unsigned int i = 0; i < sg->sg_npages; i++)
		held |= was[i].pg_holds != 0;
	if (held)
		sg->sg_pages = sim_alloc(sizeof(*sg->sg_pages) * sg->sg_npages);
	sp->sp_renewed |= held;
	for (unsigned int i = 0; i < sg->sg_npages; i++)
		page_renew(&sg->sg_pages[i], &was[i], sg->sg_kind == SEG_WINDOW);
}

void
space_renew(struct space *sp)
{
	for (unsigned int s = 0; s < sp->sp_nsegs; s++)
		space_renew_seg(sp, &sp->sp_segs[s]);
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		struct region *const rg = &sp->sp_regions[r];

		rg->rg_absent = !rg->rg_shown;
		rg->rg_prot = rg->rg_shown ? rg->rg_prot_max : 0;
		rg->rg_losing = 0;
		rg->rg_gaining = 0;
		rg->rg_wiring = false;
		rg->rg_wired = false;
	}
}

int
space_populate(struct space *sp)
{
	int error = 0;

	for (unsigned int s = 0; s < sp->sp_nsegs && error == 0; s++)
		error = space_make_seg(sp, &sp->sp_segs[s]);
	for (unsigned int r = 0; r < sp->sp_nregions && error == 0; r++)
		error = make_region(sp, &sp->sp_regions[r]);
	return error;
}

struct seg *
space_add_seg(struct space *sp, enum seg_kind kind, unsigned int npages)
{
	struct world *const w = sp->sp_world;
	struct seg *const sg = &sp->sp_segs[sp->sp_nsegs];
	int error = -ENOMEM;

	sg->sg_ident = kind == SEG_WINDOW ? -1 : (int)sp->sp_nsegs;
	sg->sg_kind = kind;
	sg->sg_npages = npages;
	if (kind == SEG_WINDOW) {
		if (w->wo_devices == 0)
			w->wo_devices = sim_frame_alloc(SIM_FRAME_DATA, 9);
		if (w->wo_devices == 0 || w->wo_device_pages + npages > REGION_PAGES)
			return NULL;
		sg->sg_hpa = w->wo_devices + (uint64_t)w->wo_device_pages * SIM_PAGE_SIZE;
		w->wo_device_pages += npages;
	}
	sg->sg_pages = sim_alloc(sizeof(*sg->sg_pages) * npages);
	for (unsigned int i = 0; i < TRIES && vmop_excused(error); i++)
		error = space_make_seg(sp, sg);
	if (error != 0)
		sim_violation("internal", "", "%s: a segment cannot be made: error %d", sp->sp_name,
			      -error);
	sp->sp_nsegs++;
	return sg;
}

/* Keeps regions sorted by address. */
static struct region *
insert_region(struct space *sp, const struct region *rg)
{
	unsigned int at = sp->sp_nregions++;

	for (; at > 0 && sp->sp_regions[at - 1].rg_base > rg->rg_base; at--)
		sp->sp_regions[at] = sp->sp_regions[at - 1];
	sp->sp_regions[at] = *rg;
	return &sp->sp_regions[at];
}

/* The ghost of a map; false if the tables of this CPU cannot express its rights. */
static bool
region_init(const struct space *sp, struct region *rg, gpa_t base, struct seg *sg,
	    unsigned int first, unsigned int npages, unsigned int prot)
{
	const struct pt_fmt *const f = pmap_fmt(sp->sp_pmap);

	*rg = (struct region){
		.rg_base = base,
		.rg_npages = npages,
		.rg_seg = sg,
		.rg_first = first,
		.rg_prot = (uint8_t)prot,
		.rg_prot_max = (uint8_t)prot,
		.rg_memattr = sg->sg_kind == SEG_WINDOW ? PT_MEMATTR_UC : PT_MEMATTR_WB,
		.rg_shown = true,
		.rg_super = base % REGION_BYTES == 0 && first % REGION_PAGES == 0 &&
			    npages >= REGION_PAGES && f->pf_leaf_levels > 1,
	};
	return ((f->pf_prot_ok >> prot) & 1) != 0;
}

struct region *
space_add_region(struct space *sp, gpa_t base, struct seg *sg, unsigned int first,
		 unsigned int npages, unsigned int prot)
{
	struct region rg;
	int error = -ENOMEM;

	if (!region_init(sp, &rg, base, sg, first, npages, prot))
		return NULL;
	for (unsigned int i = 0; i < TRIES && vmop_excused(error); i++)
		error = make_region(sp, &rg);
	if (error != 0)
		sim_violation("internal", "", "%s: a map cannot be made: error %d", sp->sp_name,
			      -error);
	return insert_region(sp, &rg);
}

struct region *
space_add_place(struct space *sp, gpa_t base, struct seg *sg, unsigned int first,
		unsigned int npages, unsigned int prot)
{
	struct region rg;

	if (!region_init(sp, &rg, base, sg, first, npages, prot))
		return NULL;
	rg.rg_shown = false;
	rg.rg_absent = true;
	rg.rg_prot = 0;
	return insert_region(sp, &rg);
}

struct region *
space_region(struct space *sp, gpa_t gpa)
{
	const uint64_t guess = gpa / REGION_BYTES;
	unsigned int low = 0;
	unsigned int high = sp->sp_nregions;

	/* In a guest without gaps a region is where its number says. */
	if (guess < sp->sp_nregions && sp->sp_regions[guess].rg_base == guess * REGION_BYTES &&
	    sp->sp_regions[guess].rg_npages == REGION_PAGES && !sp->sp_regions[guess].rg_absent)
		return &sp->sp_regions[guess];
	while (low < high) {
		const unsigned int mid = low + (high - low) / 2;
		struct region *const rg = &sp->sp_regions[mid];

		if (gpa < rg->rg_base)
			high = mid;
		else if (gpa - rg->rg_base >= (uint64_t)rg->rg_npages * SIM_PAGE_SIZE)
			low = mid + 1;
		else
			return rg->rg_absent ? NULL : rg;
	}
	return NULL;
}

struct page *
space_page(struct space *sp, gpa_t gpa)
{
	struct region *rg = space_region(sp, gpa);

	return rg != NULL ? region_page(rg, gpa) : NULL;
}

/* ---- What vmspace knows --------------------------------------------------------------------- */

struct question {
	struct vmspace *qu_vs;
	gpa_t qu_gpa;
	struct vm_page_info *qu_info;
	int qu_error;
};

static void
ask(void *arg)
{
	struct question *const qu = arg;

	qu->qu_error = vmspace_page_info(qu->qu_vs, qu->qu_gpa, qu->qu_info);
}

bool
space_page_info(struct space *sp, gpa_t gpa, struct vm_page_info *info)
{
	struct question qu = {sp->sp_vs, gpa, info, -EFAULT};

	if (sp->sp_vs != NULL)
		sim_aside(ask, &qu);
	return qu.qu_error == 0;
}

uint64_t
space_frame(struct space *sp, gpa_t gpa)
{
	const struct region *const rg = space_region(sp, gpa);
	struct vm_page_info info;

	if (rg != NULL && rg->rg_seg->sg_kind == SEG_WINDOW)
		return rg->rg_seg->sg_hpa + rg->rg_first * (uint64_t)SIM_PAGE_SIZE +
		       PAGE_OF(gpa - rg->rg_base);
	return space_page_info(sp, gpa, &info) && info.pi_resident ? info.pi_hpa : 0;
}

/* ---- Faults --------------------------------------------------------------------------------- */

static unsigned long long
ull(uint64_t v)
{
	return v;
}

/*
 * A refusal must be right, by the ghost as it was before and is now; a record must say the same.
 */
static void
check_refusal(struct space *sp, gpa_t gpa, unsigned int access, int error,
	      const struct region *before, uint64_t changes, const struct vm_fault_record *r)
{
	const struct region *const rg = space_region(sp, gpa);
	const bool still = rg != NULL && rg == before && rg->rg_changes == changes;

	sim_invariant_hit(SIM_I45);
	if (r->fr_error != error || r->fr_access != access || r->fr_reason == VM_FAULT_NONE)
		sim_violation("CK-API", "I45", "%s: a fault at 0x%llx ends with %d, its record %d",
			      sp->sp_name, ull(gpa), -error, -r->fr_error);
	if (error == -EACCES && still &&
	    (access & ~(unsigned int)(rg->rg_prot & ~rg->rg_gaining)) == 0)
		sim_violation("CK-API", "I45", "%s: access %u to 0x%llx is denied; granted is %u",
			      sp->sp_name, access, ull(gpa), rg->rg_prot);
	if (error == -EFAULT && still && !region_in_doubt(rg))
		sim_violation("CK-API", "I38", "%s: 0x%llx is said to be unmapped", sp->sp_name,
			      ull(gpa));
	if (error != -EACCES && error != -EFAULT && error != -ENOMEM && error != -EINTR &&
	    error != -EIO)
		sim_violation("CK-API", "I45", "%s: a fault at 0x%llx ends with error %d",
			      sp->sp_name, ull(gpa), -error);
}

static void
count_failure(struct world *w, int error)
{
	if (error == -ENOMEM)
		world_tick(w, WC_FAULT_NOMEM);
	if (error == -EINTR) {
		world_tick(w, WC_FAULT_INTERRUPTED);
		sim_signal_clear();
	}
}

int
space_fault(struct space *sp, gpa_t gpa, unsigned int access)
{
	struct cpu *const cp = &sp->sp_world->wo_cpus[sim_cpu()];
	const struct region *const rg = space_region(sp, gpa);
	const uint64_t changes = rg != NULL ? rg->rg_changes : 0;
	struct vm_fault_record record = {0};
	struct oracle_tlb_op op;
	int error;

	world_tick(sp->sp_world, WC_FAULTS);
	/* A write fault sets M, whether the write is made again or not. */
	oracle_access_begin(sp, gpa, access);
	cp->cp_fault_space = sp;
	cp->cp_fault_gpa = PAGE_OF(gpa);
	cp->cp_faults++;
	STORY(begin("page fault", sp->sp_name, PAGE_OF(gpa), PAGE_OF(gpa) + SIM_PAGE_SIZE));
	space_op_begin(sp, &op);
	error = vm_fault(sp->sp_vs, gpa, access, &record);
	space_op_end(sp, &op, PAGE_OF(gpa), PAGE_OF(gpa) + SIM_PAGE_SIZE);
	STORY(done(error));
	cp->cp_faults++;
	oracle_access_failed(sp, gpa, access);
	oracle_check_passed_over(sp, PAGE_OF(gpa));
	if (error != 0)
		check_refusal(sp, gpa, access, error, rg, changes, &record);
	count_failure(sp->sp_world, error);
	return error;
}

bool
space_is_faulting_at(const struct space *sp, gpa_t gpa)
{
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++) {
		const struct cpu *cp = &sp->sp_world->wo_cpus[cpu];

		if ((cp->cp_faults & 1) != 0 && cp->cp_fault_space == sp && cp->cp_fault_gpa == gpa)
			return true;
	}
	return false;
}

bool
space_is_faulting(const struct space *sp)
{
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++) {
		const struct cpu *cp = &sp->sp_world->wo_cpus[cpu];

		if ((cp->cp_faults & 1) != 0 && cp->cp_fault_space == sp)
			return true;
	}
	return false;
}

/* ---- Operations whose gathers are vmspace's own --------------------------------------------- */

bool
world_may_reclaim(const struct world *w)
{
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++) {
		const struct cpu *const cp = &w->wo_cpus[cpu];

		if (cp->cp_inside && (w->wo_short || cp->cp_failures != sim_cpu_failures(cpu)))
			return true;
	}
	return false;
}

bool
world_is_inside(const struct world *w, bool but_faults)
{
	for (unsigned int cpu = 0; cpu < sim_cpu_count(); cpu++) {
		const struct cpu *const cp = &w->wo_cpus[cpu];

		if (cp->cp_inside && !(but_faults && (cp->cp_faults & 1) != 0))
			return true;
	}
	return false;
}

void
space_op_begin(struct space *sp, struct oracle_tlb_op *op)
{
	struct cpu *const cp = &sp->sp_world->wo_cpus[sim_cpu()];

	cp->cp_inside = true;
	cp->cp_failures = sim_cpu_failures(sim_cpu());
	oracle_tlb_op_begin(op, pmap_root(sp->sp_pmap));
}

struct limbo {
	struct pmap *li_pmap;
	struct pmap_stats li_stats;
};

static void
count_limbo(void *arg)
{
	struct limbo *const li = arg;

	pmap_stats(li->li_pmap, &li->li_stats);
}

/* Whether a flush may still be due that the operation has left for later. */
static bool
may_be_deferred(struct space *sp)
{
	struct limbo li = {.li_pmap = sp->sp_pmap};

	if (!(pmap_flags(sp->sp_pmap) & PMAP_DEFER) || !sp->sp_backlogged)
		return false;
	if (sp->sp_world->wo_may_reclaim)
		return true; /* A bits, by pageout */
	sim_aside(count_limbo, &li);
	return li.li_stats.st_limbo != 0;
}

/* Who looked for pages to take may have aged other guests, and left their flushes to them. */
static void
drain_others(struct space *sp)
{
	struct world *const w = sp->sp_world;

	for (unsigned int i = 0; i < w->wo_nspaces && w->wo_may_reclaim; i++) {
		struct space *const other = w->wo_spaces[i];

		if (other == sp || other->sp_vs == NULL || other->sp_closing ||
		    !other->sp_backlogged || !(pmap_flags(other->sp_pmap) & PMAP_DEFER))
			continue;
		other->sp_users++;
		space_drain(other);
		other->sp_users--;
	}
}

void
space_op_end(struct space *sp, struct oracle_tlb_op *op, gpa_t start, gpa_t end)
{
	space_observe(sp);
	sp->sp_world->wo_cpus[sim_cpu()].cp_inside = false;
	drain_others(sp);
	if (!may_be_deferred(sp)) {
		oracle_tlb_op_done(op, start, end);
		return;
	}
	oracle_tlb_op_defer(op);
	if (sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0)
		space_drain(sp);
}

void
space_drain(struct space *sp)
{
	const uint64_t root = pmap_root(sp->sp_pmap);
	const uint64_t ticket = oracle_tlb_drain_begin();

	sp->sp_backlogged = false;
	vmspace_drain(sp->sp_vs);
	space_observe(sp);
	oracle_tlb_drain_done(root, ticket);
}
