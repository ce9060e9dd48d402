/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The random workload: guests, a process and the host kernel in one machine, and CPUs that each
 * choose again and again between running one of them and doing something to one of them.
 *
 * A scenario is the same with fewer kinds of operations, so that what it is about happens more
 * often.
 */

#include "sim/cli/faults.h"
#include "sim/workload/scenario.h"
#include "sim/story/story_record.h"
#include "sim/workload/workload.h"
#include "sim/workload/vmop.h"
#include "sim/explore/xp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/oracle/invariants.h"

/* ---- Places --------------------------------------------------------------------------------- */

/* Pages of a map that programs touch: table edges, cache lines' edges, neighbors, and any. */
static unsigned int
some_page(const struct region *rg)
{
	static const unsigned int hot[] = {0, 1, 7, 8, 63, 255, 510, 511};
	const unsigned int pick = sim_choose(SIM_CHOICE_WORKLOAD, 10);
	const unsigned int page =
		pick < 8 ? hot[pick] : sim_choose(SIM_CHOICE_WORKLOAD, rg->rg_npages);

	return page < rg->rg_npages ? page : page % rg->rg_npages;
}

static gpa_t
some_place(const struct space *sp)
{
	const struct region *rg = &sp->sp_regions[sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions)];

	return rg->rg_base + (gpa_t)some_page(rg) * SIM_PAGE_SIZE;
}

/* Words of a page that programs touch; which one is no matter of choice. */
static gpa_t
some_word(void)
{
	static const gpa_t words[] = {0, 8, 0x7f8, 0xff8};

	return words[sim_step_count() % 4];
}

/* A range: mostly a page or a few, at times a region or two, or the whole space. */
static void
some_range(const struct space *sp, gpa_t *start, gpa_t *stop)
{
	const struct region *rg = &sp->sp_regions[sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions)];
	static const uint32_t odds[] = {40, 25, 20, 8, 3};

	*start = rg->rg_base + (gpa_t)some_page(rg) * SIM_PAGE_SIZE;
	switch (sim_choose_weighted(SIM_CHOICE_WORKLOAD, 5, odds)) {
	case 0:
		*stop = *start + SIM_PAGE_SIZE;
		break;
	case 1:
		*stop = *start + (2 + sim_choose(SIM_CHOICE_WORKLOAD, 40)) * SIM_PAGE_SIZE;
		break;
	case 2:
		*start = rg->rg_base;
		*stop = rg->rg_base + (gpa_t)rg->rg_npages * SIM_PAGE_SIZE;
		break;
	case 3:
		*stop = *start + REGION_BYTES;
		break;
	default:
		*start = 0;
		*stop = pmap_fmt(sp->sp_pmap)->pf_limit;
		break;
	}
	if (*stop > pmap_fmt(sp->sp_pmap)->pf_limit)
		*stop = pmap_fmt(sp->sp_pmap)->pf_limit;
}

/* A place that a superpage may map, if there is one; else the place given. */
static gpa_t
some_super(const struct space *sp, gpa_t place)
{
	const unsigned int first = sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions);

	for (unsigned int i = 0; i < sp->sp_nregions; i++) {
		const struct region *rg = &sp->sp_regions[(first + i) % sp->sp_nregions];

		if (rg->rg_npages > 64)
			return rg->rg_base + (gpa_t)some_page(rg) * SIM_PAGE_SIZE;
	}
	return place;
}

/* Some or all pages of a window onto a device, of the largest one that there is. */
static void
some_window(const struct space *sp, gpa_t *start, gpa_t *stop)
{
	const gpa_t len = *stop - *start;
	const struct region *found = NULL;

	for (unsigned int i = 0; i < sp->sp_nregions; i++) {
		const struct region *rg = &sp->sp_regions[i];

		if (rg->rg_seg->sg_kind == SEG_WINDOW && !rg->rg_absent &&
		    (found == NULL || rg->rg_npages > found->rg_npages))
			found = rg;
	}
	if (found == NULL)
		return;
	*start = found->rg_base;
	*stop = region_end(found);
	if (sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0)
		return;
	*start += (gpa_t)some_page(found) * SIM_PAGE_SIZE;
	if (len < *stop - *start)
		*stop = *start + len;
}

/*
 * A program knows its memory: holes, and what no map of it ever grants, it tries now and then only.
 */
static bool
makes_sense(struct space *sp, gpa_t gpa, unsigned int access)
{
	const struct region *const rg = space_region(sp, gpa);

	return rg != NULL && (access & ~(unsigned int)rg->rg_prot_max) == 0;
}

struct workload {
	struct world wl_world;
	const struct scenario *wl_scenario;
	uint32_t wl_weights[OP_COUNT]; /* the scenario's, unless faults are asked for or refused */
	uint32_t wl_nops;	       /* of them; a recorded choice knows among how many it was */
	enum scale wl_scale;
	uint64_t wl_until; /* step at which CPUs stop */
	bool wl_iommu;
	bool wl_pressed;      /* pages are taken out of memory, and memory may be short */
	bool wl_reclaims;     /* allocations fail, which makes vmspace look for pages */
	struct space *wl_hot; /* with sn_hot: where somebody was at work last */
	gpa_t wl_hot_start;
	gpa_t wl_hot_stop;
};

/* Mostly where somebody has just been at work, if that is how it goes in this world. */
static bool
is_hot(const struct workload *wl, const struct space *sp)
{
	return wl->wl_scenario->sn_hot && wl->wl_hot == sp &&
	       sim_choose(SIM_CHOICE_WORKLOAD, 4) != 0;
}

static gpa_t
hot_place(const struct workload *wl, const struct space *sp)
{
	const gpa_t place = some_place(sp);
	const struct region *rg;

	if (!is_hot(wl, sp))
		return place;
	rg = hostop_region(wl->wl_hot, wl->wl_hot_start);
	return rg->rg_base + place % (rg->rg_npages * SIM_PAGE_SIZE);
}

/* What a vCPU does next. */
static bool
next_access(void *arg, struct vcpu *v, gpa_t *gpa, unsigned int *access)
{
	static const uint32_t usual[] = {5, 5, 1};
	static const uint32_t reading[] = {100, 1, 1};
	static const unsigned int kinds[] = {PMAP_PROT_R, PMAP_PROT_W, PMAP_PROT_X};
	const struct workload *const wl = arg;
	const bool reads = wl->wl_scenario->sn_reads;
	const uint32_t *const odds = reads ? reading : usual;

	if (sim_choose(SIM_CHOICE_WORKLOAD, reads ? 128 : 16) == 0)
		return false;
	for (unsigned int i = 0; i < 3; i++) {
		*gpa = hot_place(wl, v->vc_space);
		*gpa += some_word();
		*access = kinds[sim_choose_weighted(SIM_CHOICE_WORKLOAD, 3, odds)];
		if (makes_sense(v->vc_space, *gpa, *access))
			break;
	}
	return true;
}

/* ---- A CPU's program ------------------------------------------------------------------------ */

static struct space *
some_space(struct world *w)
{
	return w->wo_spaces[sim_choose(SIM_CHOICE_WORKLOAD, w->wo_nspaces)];
}

static struct space *
run_some(struct workload *wl)
{
	struct world *const w = &wl->wl_world;
	struct space *const sp = some_space(w);

	vcpu_run(&sp->sp_vcpus[sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nvcpus)], next_access, wl);
	return sp;
}

static struct space *
do_some(struct workload *wl, enum op op)
{
	struct space *const sp = some_space(&wl->wl_world);
	gpa_t start;
	gpa_t stop;

	if (sp->sp_closing)
		return NULL;
	sp->sp_users++;
	some_range(sp, &start, &stop);
	if (is_hot(wl, sp)) {
		start = wl->wl_hot_start;
		stop = wl->wl_hot_stop;
	}
	/* Where joining is the matter, much is done to what can be joined. */
	if (op == OP_PROMOTE || op == OP_DEMOTE ||
	    (wl->wl_scenario->sn_fill && sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0)) {
		const gpa_t limit = pmap_fmt(sp->sp_pmap)->pf_limit;
		const gpa_t len = stop - start;

		start = some_super(sp, start);
		stop = len < limit - start ? start + len : limit;
		/* All of it, or the end, where pages may have a map of their own. */
		switch (sim_choose(SIM_CHOICE_WORKLOAD, 3)) {
		case 0:
			start &= ~(REGION_BYTES - 1);
			stop = start + REGION_BYTES;
			break;
		case 1:
			stop = (start & ~(REGION_BYTES - 1)) + REGION_BYTES;
			start = stop - SIM_PAGE_SIZE;
			break;
		default:
			break;
		}
	}
	if (op == OP_ENTER_RUN)
		some_window(sp, &start, &stop);
	if (wl->wl_scenario->sn_whole && (op == OP_CLEAN || op == OP_CLEAR_MODIFY) &&
	    sim_choose(SIM_CHOICE_WORKLOAD, 4) != 0) {
		start &= ~(REGION_BYTES - 1);
		stop = start + REGION_BYTES;
	}
	wl->wl_hot = sp;
	wl->wl_hot_start = start;
	wl->wl_hot_stop = stop;
	scenario_ops[op](sp, start, stop);
	/* As a lock would: what was stored here is seen by whoever has the space next. */
	host_fence();
	sp->sp_users--;
	return sp;
}

/*
 * By chance all CPUs go on together, to the same step. A policy may let one of them run for as long
 * as it can, so there each has its share.
 */
static bool
is_through(const struct workload *wl)
{
	const struct sim_options *const o = wl->wl_world.wo_options;

	if (o->scheduler == SIM_SCHEDULER_RANDOM)
		return sim_step_count() >= wl->wl_until;
	return sim_cpu_points(sim_cpu()) >= wl->wl_until / o->cpus;
}

static void
cpu_program(void *arg)
{
	struct workload *const wl = arg;
	struct world *const w = &wl->wl_world;

	cpu_begin(w);
	while (!is_through(wl)) {
		sim_operation();
		if (w->wo_options->may_stop && sim_choose_chance(SIM_CHOICE_WORKLOAD, 1)) {
			sim_choice_word("stop");
			break;
		}
		const enum op op = (enum op)sim_choose_weighted(SIM_CHOICE_WORKLOAD, wl->wl_nops,
								wl->wl_weights);
		struct space *sp = NULL;

		sim_choice_word(scenario_op_names[op]);
		STORY(begin(scenario_op_names[op], NULL, 0, 0));
		sim_point(SIM_USER, NULL);
		vmop_enter(w);
		sim_fault_scope(1 + op);
		if (op == OP_RUN)
			sp = run_some(wl);
		else if (op == OP_OFFLINE)
			cpu_bounce(w);
		else
			sp = do_some(wl, op);
		sim_fault_scope(0);
		vmop_leave(w);
		STORY(done(0));
		if (sim_killed())
			world_bury(w, sp);
	}
	cpu_end(w);
}

/* ---- Setting up ----------------------------------------------------------------------------- */

/* More than there are; workload_profile() chooses among those that fit. */
#define PROFILES_MAX 256

const struct ept_profile *
workload_profile(const struct sim_options *o, enum sim_arch arch)
{
	const bool noad = arch == SIM_ARCH_EPT_NOAD;
	const enum pt_type type = arch == SIM_ARCH_X86	 ? PT_X86
				  : arch == SIM_ARCH_NPT ? PT_RVI
							 : PT_EPT;
	const struct ept_profile *fit[PROFILES_MAX];
	unsigned int n = 0;

	if (o->caps != NULL) {
		const struct ept_profile *p = ept_profile_find(o->caps);

		return p != NULL && (type == PT_X86 || p->pr_type == type) ? p : NULL;
	}
	for (size_t i = 0; i < ept_profile_count(); i++) {
		const struct ept_profile *p = ept_profile_at(i);

		if (type != PT_X86 && p->pr_type != type)
			continue;
		/* Without A/D: CPUs that have none; with: those that do. */
		if (type == PT_EPT && p->pr_nested.ec_eptp_ad == noad)
			continue;
		if (n < PROFILES_MAX)
			fit[n++] = p;
	}
	return n != 0 ? fit[workload_hash(o->seed, 1) % n] : NULL;
}

static int
add_space(struct world *w, enum sim_arch arch, const char *name, unsigned int nvcpus, bool kernel,
	  struct space **out)
{
	const struct sim_options *const o = w->wo_options;
	const struct ept_profile *p = workload_profile(o, arch);
	struct space_plan plan = {
		.sl_arch = arch,
		.sl_name = name,
		.sl_profile = p != NULL ? p : ept_profile_at(0),
		.sl_policy = {.ep_no_hw_ad = arch == SIM_ARCH_EPT_NOAD},
		.sl_nvcpus = nvcpus,
	};
	char why[128];

	/* What was wrong with the list was said when it was parsed. */
	if (o->kindness != NULL)
		hw_kindness_read(o->kindness, &plan.sl_kindness, why, sizeof(why));
	if (arch == SIM_ARCH_X86) {
		plan.sl_policy.ep_user = !kernel;
		plan.sl_policy.ep_global = kernel;
	}
	/* Memory comes in runs of 2 MiB, or page by page. */
	if (workload_hash(o->seed, 8) % 2 != 0)
		plan.sl_vm_flags |= VM_EAGER_RUNS;
	/* Or from a pager of the host's, for one guest in three. */
	if (workload_hash(o->seed, 12 + w->wo_nspaces) % 3 == 0)
		plan.sl_vm_flags |= VM_HOST_PAGER;
	if (o->reference)
		plan.sl_flags |= PMAP_REFERENCE;
	/* Whoever ages pages of any guest would leave flushes to all of them. */
	else if (workload_hash(o->seed, 2) % 2 != 0 && !w->wo_short)
		plan.sl_flags |= PMAP_DEFER;
	return world_add_space(w, &plan, out);
}

int
workload_add_guest(struct world *w, enum sim_arch arch, const char *name, unsigned int nvcpus,
		   struct space **out)
{
	return add_space(w, arch, name, nvcpus, false, out);
}

/* Memory that is there before it is used: the first fault may map it by a superpage. */
static void
fill_region(struct space *sp, const struct region *rg)
{
	if (rg != NULL && rg->rg_super && (sp->sp_config.vc_flags & VM_EAGER_RUNS))
		vm_fault(sp->sp_vs, rg->rg_base, PMAP_PROT_R, NULL);
}

/*
 * Two maps of one 2 MiB, whose pages lie in one run: only the tables could join them. In half of
 * the seeds with runs they are full from the beginning, in scenarios that are about joining.
 */
static void
add_two(const struct workload *wl, struct space *sp, gpa_t base, struct seg *sg, unsigned int first)
{
	const unsigned int split = REGION_PAGES - 8;
	const bool fill = wl->wl_scenario->sn_fill && (sp->sp_config.vc_flags & VM_EAGER_RUNS) &&
			  workload_hash(wl->wl_world.wo_options->seed, 11) % 2 != 0;

	space_add_region(sp, base, sg, first, split, PMAP_PROT_RWX);
	space_add_region(sp, base + (gpa_t)split * SIM_PAGE_SIZE, sg, first + split, 8,
			 PMAP_PROT_RWX);
	for (unsigned int i = 0; i < REGION_PAGES && fill; i++) {
		const gpa_t gpa = base + (gpa_t)i * SIM_PAGE_SIZE;

		/* As after a write that was given up. */
		if (vm_fault(sp->sp_vs, gpa, PMAP_PROT_W, NULL) == 0)
			space_page(sp, gpa)->pg_maydirty = true;
	}
}

/* Maps of one segment next to each other; n of them. */
static void
add_maps(struct space *sp, gpa_t base, struct seg *sg, unsigned int npages, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		space_add_region(sp, base + (gpa_t)(i * npages) * SIM_PAGE_SIZE, sg, i * npages,
				 npages, PMAP_PROT_RWX);
}

/* A map of a whole segment, and another place to which it may be moved. */
static void
add_movable(struct space *sp, gpa_t base, struct seg *sg, unsigned int prot)
{
	space_add_region(sp, base, sg, 0, sg->sg_npages, prot);
	space_add_place(sp, base + 64 * SIM_PAGE_SIZE, sg, 0, sg->sg_npages, prot);
}

/*
 * Segments and maps: system memory in pieces next to each other, at the edges of upper tables and
 * at the end of the space; a boot ROM, a framebuffer, a device.
 */
static void
add_memory(const struct workload *wl, struct space *sp, gpa_t base)
{
	const uint64_t gib = UINT64_C(1) << 30;
	const enum scale scale = wl->wl_scale;
	const struct pt_fmt *const f = pmap_fmt(sp->sp_pmap);
	const bool nx = (f->pf_prot_ok >> PMAP_PROT_RW & 1) != 0;
	/* Processes and the kernel have no addresses in the upper half. */
	const gpa_t limit = sp->sp_arch == SIM_ARCH_X86 ? base + (gib << 4) : f->pf_limit;

	space_reserve(sp, 7, 20);
	sp->sp_many_base = base + 5 * gib;
	add_maps(sp, base, space_add_seg(sp, SEG_SYSMEM, 16), scale == SCALE_TINY ? 2 : 4,
		 scale == SCALE_TINY ? 8 : 4);
	if (scale == SCALE_TINY && nx && wl->wl_scenario->sn_window)
		add_movable(sp, base + 2 * gib, space_add_seg(sp, SEG_WINDOW, 8), PMAP_PROT_RW);
	/* The last pages of a table, and of the tables above it, and the first of the next ones. */
	if (wl->wl_scenario->sn_runs && nx)
		add_movable(sp, base + 3 * gib - 12 * SIM_PAGE_SIZE,
			    space_add_seg(sp, SEG_WINDOW, 24), PMAP_PROT_RW);
	if (scale == SCALE_TINY)
		return;
	if (scale == SCALE_FULL) {
		struct seg *const sg = space_add_seg(sp, SEG_SYSMEM, 3 * REGION_PAGES);

		fill_region(sp, space_add_region(sp, base + REGION_BYTES, sg, 0, REGION_PAGES,
						 PMAP_PROT_RWX));
		fill_region(sp, space_add_region(sp, base + gib - REGION_BYTES, sg, REGION_PAGES,
						 REGION_PAGES, PMAP_PROT_RWX));
		add_two(wl, sp, base + 2 * REGION_BYTES, sg, 2 * REGION_PAGES);
	}
	add_movable(sp, base + gib, space_add_seg(sp, SEG_ROM, 24), PMAP_PROT_RX);
	add_movable(sp, base + gib + REGION_BYTES, space_add_seg(sp, SEG_FRAMEBUFFER, 8),
		    nx ? PMAP_PROT_RW : PMAP_PROT_RWX);
	/* A window onto a device is never executable, so it takes NX. */
	if (nx)
		add_movable(sp, base + 2 * gib, space_add_seg(sp, SEG_WINDOW, 8), PMAP_PROT_RW);
	space_add_region(sp, limit - 32 * SIM_PAGE_SIZE, space_add_seg(sp, SEG_SYSMEM, 32), 0, 32,
			 PMAP_PROT_RWX);
}

/* Less than the guests' memory together, in two seeds of three; 0: as much as there is. */
static uint64_t
memory_limit(const struct workload *wl, const struct sim_options *o)
{
	static const unsigned int least[] = {
		[SCALE_FULL] = 300, [SCALE_SMALL] = 130, [SCALE_TINY] = 22};
	static const unsigned int more[] = {
		[SCALE_FULL] = 2400, [SCALE_SMALL] = 130, [SCALE_TINY] = 16};
	const uint64_t hash = workload_hash(o->seed, 10);

	if (hash % 3 == 0 && wl->wl_scenario->sn_scale != SCALE_MIXED)
		return 0;
	/* Where that is the point: about half of it. */
	if (wl->wl_scenario->sn_scale == SCALE_MIXED)
		return (least[wl->wl_scale] + hash / 3 % (more[wl->wl_scale] / 3)) * SIM_PAGE_SIZE;
	return (least[wl->wl_scale] + hash / 3 % more[wl->wl_scale]) * SIM_PAGE_SIZE;
}

static void
set_up(void *arg)
{
	struct workload *const wl = arg;
	struct world *const w = &wl->wl_world;
	const struct sim_options *const o = w->wo_options;
	const bool alone = o->arch == SIM_ARCH_X86 || wl->wl_scale == SCALE_TINY;
	const unsigned int nguests = alone ? 1 : 2;
	static const char *const names[] = {"guest 0", "guest 1"};
	struct space *sp;
	int error = 0;

	w->wo_until = wl->wl_until;
	w->wo_may_reclaim = wl->wl_reclaims;
	w->wo_iommu = wl->wl_iommu;
	w->wo_short = wl->wl_pressed;
	if (wl->wl_pressed)
		w->wo_mem_limit = memory_limit(wl, o);
	for (unsigned int i = 0; i < nguests && error == 0; i++) {
		error = add_space(w, o->arch, o->arch == SIM_ARCH_X86 ? "process 0" : names[i],
				  o->vcpus, false, &sp);
		if (error == 0)
			add_memory(wl, sp, 0);
	}
	if (error == 0 && (!wl->wl_scenario->sn_guests_only || o->arch == SIM_ARCH_X86)) {
		error = add_space(w, SIM_ARCH_X86, "process 1", 2, false, &sp);
		if (error == 0) {
			add_memory(wl, sp, 0);
			error = add_space(w, SIM_ARCH_X86, "kernel", 2, true, &w->wo_kernel);
		}
		if (error == 0)
			add_memory(wl, w->wo_kernel, WORLD_KERNEL_BASE);
	}
	if (error != 0)
		sim_violation("internal", "", "the world cannot be set up: error %d", -error);
	for (unsigned int i = 0; i < w->wo_nspaces && wl->wl_scenario->sn_log; i++) {
		while (!w->wo_spaces[i]->sp_log)
			hostop_log(w->wo_spaces[i], 0, 0);
	}
}

static void
tear_down(void *arg)
{
	struct workload *const wl = arg;
	struct world *const w = &wl->wl_world;

	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		hostop_drain(w->wo_spaces[i], 0, 0);
		oracle_check_quiet(w->wo_spaces[i]);
	}
	world_end(w);
}

/* ---- One run --------------------------------------------------------------------------------- */

/* Some seeds suffer faults, some do not: what goes wrong only without them must show, too. */
static void
inject(const struct sim_options *o, struct sim_config *cfg)
{
	cfg->sc_fault_ppm[SIM_FAULT_ENTRY] = 50000;
	cfg->sc_fault_ppm[SIM_FAULT_SPURIOUS_EXIT] = 20000;
	cfg->sc_fault_ppm[SIM_FAULT_SPURIOUS_FAULT] = 20000;
	cfg->sc_fault_ppm[SIM_FAULT_SPURIOUS_KICK] = 100;
	if (workload_hash(o->seed, 4) % 2 != 0) {
		cfg->sc_fault_ppm[SIM_FAULT_TABLE_ALLOC] = 50000;
		cfg->sc_fault_ppm[SIM_FAULT_ALLOC] = 100000;
		cfg->sc_fault_ppm[SIM_FAULT_PAGE_ALLOC] = 20000;
		cfg->sc_fault_ppm[SIM_FAULT_IOMMU] = 100000;
	}
	cfg->sc_iommu = workload_hash(o->seed, 5) % 8 != 0;
	cfg->sc_swap_slots = workload_hash(o->seed, 6) % 8 != 0 ? 8192 : 0;
	if (workload_hash(o->seed, 7) % 2 != 0) {
		cfg->sc_fault_ppm[SIM_FAULT_SWAP_READ] = 50000;
		cfg->sc_fault_ppm[SIM_FAULT_SWAP_WRITE] = 50000;
		cfg->sc_fault_ppm[SIM_FAULT_INTERRUPT] = 20000;
	}
}

/* Faults that are operations: as often as others, if they were asked for; never, if refused. */
static void
weigh(const struct sim_options *o, uint32_t *weights)
{
	static const struct {
		enum sim_fault fault;
		enum op op;
	} rows[] = {
		{SIM_FAULT_OFFLINE, OP_OFFLINE},
		{SIM_FAULT_DESTROY, OP_RECREATE},
		{SIM_FAULT_HOSTILE, OP_HOSTILE},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t *const weight = &weights[rows[i].op];

		switch (faults_of(o, rows[i].fault)) {
		case FAULTS_OFF:
			*weight = 0;
			break;
		case FAULTS_ON:
			*weight = *weight != 0 ? *weight : 2;
			break;
		default:
			break;
		}
	}
}

/* Whether anything that vmspace may ask for is at times not to be had. */
static bool
lacks_memory(const struct sim_config *cfg)
{
	static const enum sim_fault kinds[] = {SIM_FAULT_TABLE_ALLOC, SIM_FAULT_ALLOC,
					       SIM_FAULT_PAGE_ALLOC, SIM_FAULT_RESERVE};

	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (cfg->sc_fault_ppm[kinds[i]] != 0 || cfg->sc_fault_nth[kinds[i]] != 0)
			return true;
	}
	return false;
}

int
sim_run_workload(const struct sim_options *o, struct sim_outcome *out)
{
	struct scenario scenario;
	struct workload wl = {
		.wl_scenario = &scenario,
		.wl_until = o->steps,
	};
	const struct workload_parts parts = {set_up, cpu_program, tear_down, &wl, sizeof(wl), NULL};
	struct sim_config cfg;

	if (xp_find(o->scenario) != NULL)
		return xp_run_workload(o, out);
	scenario_draw(scenario_find(o->scenario), o->seed, &scenario);
	wl.wl_scale = wl.wl_scenario->sn_scale;
	if (wl.wl_scale == SCALE_MIXED)
		wl.wl_scale = workload_hash(o->seed, 11) % 4 == 0 ? SCALE_FULL : SCALE_SMALL;
	workload_machine_config(o, &cfg);
	inject(o, &cfg);
	if (wl.wl_scenario->sn_no_tables)
		cfg.sc_fault_ppm[SIM_FAULT_TABLE_ALLOC] *= 6;
	cfg.sc_stalls = wl.wl_scenario->sn_stalls;
	memcpy(wl.wl_weights, wl.wl_scenario->sn_weights, sizeof(wl.wl_weights));
	if (faults_apply(o, &cfg)) {
		weigh(o, wl.wl_weights);
		wl.wl_reclaims = lacks_memory(&cfg);
	}
	for (wl.wl_nops = OP_COUNT; wl.wl_nops > OP_TRAITS; wl.wl_nops--) {
		if (wl.wl_weights[wl.wl_nops - 1] != 0)
			break;
	}
	wl.wl_iommu = cfg.sc_iommu;
	wl.wl_pressed =
		wl.wl_weights[OP_PAGEOUT] != 0 &&
		(wl.wl_scenario->sn_scale == SCALE_MIXED || workload_hash(o->seed, 9) % 4 != 0);
	wl.wl_reclaims = wl.wl_reclaims || wl.wl_pressed || cfg.sc_fault_ppm[SIM_FAULT_ALLOC] != 0;
	return workload_run(o, &cfg, &wl.wl_world, &parts, wl.wl_scenario->sn_every_run, out);
}

/* The rarest of what must occur does in a few hundred runs; fewer than this promise nothing. */
#define COVERAGE_RUNS 1000

uint64_t
sim_coverage_seeds(const struct sim_options *o)
{
	if (o->trace_path != NULL || o->faults != NULL || xp_find(o->scenario) != NULL ||
	    !scenario_find(o->scenario)->sn_every_run || o->caps != NULL)
		return UINT64_MAX;
	return COVERAGE_RUNS;
}
