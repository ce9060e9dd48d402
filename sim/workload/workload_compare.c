/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A trace replayed for what it costs: one guest with as many vCPUs as the trace has, each on a CPU
 * that it shares with few others, and one CPU for the host, which now and then goes over all pages
 * in use. The hardware is kind here, and nothing fails: what is counted is the setting's doing. The
 * oracles look on as ever.
 *
 * vCPUs keep the trace's order by a window: none is ahead of the slowest by more events than that.
 */

#include "sim/workload/compare.h"
#include "sim/trace/trace.h"
#include "sim/workload/vmop.h"
#include "sim/workload/traced.h"
#include "sim/workload/workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WINDOW 64
#define GUEST_CPUS_MAX 15

struct compare {
	struct world co_world;
	const struct trace *co_trace;
	const struct compare_setting *co_setting;
	unsigned int co_nvcpus;
	unsigned int co_passes; /* made */
	uint64_t co_tables;	/* at the end */
	uint64_t co_superpages;
	uint64_t co_pages;
	struct player *co_players; /* one per vCPU */
};

/* A vCPU's part of the trace: the next event of its own. */
struct player {
	struct compare *pl_compare;
	unsigned int pl_vcpu;
	struct trace_cursor pl_cursor;
	struct trace_access pl_next;
	uint64_t pl_index; /* of that in the trace; UINT64_MAX: there is none */
	uint64_t pl_read;  /* records that the cursor has passed */
};

static void
advance(struct player *pl)
{
	while (trace_next(&pl->pl_cursor, &pl->pl_next)) {
		pl->pl_index = pl->pl_read++;
		if (pl->pl_next.ta_vcpu == pl->pl_vcpu)
			return;
	}
	pl->pl_index = UINT64_MAX;
}

/* The first event of the trace that is not made yet. */
static uint64_t
slowest(const struct compare *co)
{
	uint64_t least = UINT64_MAX;

	for (unsigned int i = 0; i < co->co_nvcpus; i++) {
		if (co->co_players[i].pl_index < least)
			least = co->co_players[i].pl_index;
	}
	return least;
}

static bool
may_go(const struct player *pl, uint64_t first)
{
	return pl->pl_index != UINT64_MAX && pl->pl_index - first < WINDOW;
}

/*
 * The access is the player's until it is asked for another one: then that one has been made.
 */
struct turn {
	struct player *tu_player;
	bool tu_given;
};

static bool
next_access(void *arg, struct vcpu *v, gpa_t *gpa, unsigned int *access)
{
	struct turn *const tu = v->vc_program;
	struct player *const pl = tu->tu_player;

	(void)arg;
	if (tu->tu_given)
		advance(pl);
	tu->tu_given = may_go(pl, slowest(pl->pl_compare));
	if (!tu->tu_given)
		return false;
	traced_access(&pl->pl_next, gpa, access);
	pl->pl_compare->co_world.wo_replayed += pl->pl_next.ta_count;
	return true;
}

/* ---- CPUs ----------------------------------------------------------------------------------- */

/* vCPUs go round the CPUs, of which the last is the host's. */
struct share {
	struct compare *sh_compare;
	unsigned int sh_first;
	unsigned int sh_stride;
};

static bool
share_is_over(const struct share *sh)
{
	const struct compare *const co = sh->sh_compare;

	for (unsigned int i = sh->sh_first; i < co->co_nvcpus; i += sh->sh_stride) {
		if (co->co_players[i].pl_index != UINT64_MAX)
			return false;
	}
	return true;
}

static bool
share_may_go(void *arg)
{
	const struct share *const sh = arg;
	const struct compare *const co = sh->sh_compare;
	const uint64_t first = slowest(co);

	for (unsigned int i = sh->sh_first; i < co->co_nvcpus; i += sh->sh_stride) {
		if (may_go(&co->co_players[i], first))
			return true;
	}
	return share_is_over(sh);
}

static void
run_guests(struct compare *co, unsigned int cpu, unsigned int ncpus)
{
	struct share sh = {co, cpu, ncpus};
	struct space *const sp = co->co_world.wo_spaces[0];

	while (!share_is_over(&sh)) {
		sim_wait_until("its turn in the trace", share_may_go, &sh);
		for (unsigned int i = cpu; i < co->co_nvcpus; i += ncpus) {
			sim_operation();
			sim_point(SIM_USER, NULL);
			if (may_go(&co->co_players[i], slowest(co)))
				vcpu_run(&sp->sp_vcpus[i], next_access, NULL);
		}
	}
}

static bool
in_use(struct space *sp, gpa_t start, gpa_t stop)
{
	for (gpa_t gpa = start; gpa < stop; gpa += SIM_PAGE_SIZE) {
		const struct page *const pg = space_page(sp, gpa);

		if (pg && pg->pg_touched)
			return true;
	}
	return false;
}

/* All pages in use, a batch at a time. */
static void
host_pass(struct compare *co)
{
	static hostop_fn *const ops[] = {
		[COMPARE_HOST_AGE] = hostop_age,
		[COMPARE_HOST_DIRTY] = hostop_clear_modify,
		[COMPARE_HOST_REMOVE] = hostop_remove,
	};
	const gpa_t bytes = (gpa_t)co->co_setting->cs_batch * SIM_PAGE_SIZE;
	struct space *const sp = co->co_world.wo_spaces[0];

	co->co_passes++;
	for (unsigned int r = 0; r < sp->sp_nregions; r++) {
		const struct region *const rg = &sp->sp_regions[r];

		for (gpa_t at = rg->rg_base; at < rg->rg_base + REGION_BYTES; at += bytes) {
			gpa_t stop = at + bytes;

			if (stop > rg->rg_base + REGION_BYTES)
				stop = rg->rg_base + REGION_BYTES;
			if (!in_use(sp, at, stop))
				continue;
			sim_operation();
			ops[co->co_setting->cs_host](sp, at, stop);
		}
	}
	/* What was put off must not be put off for ever. */
	if (co->co_setting->cs_defer)
		space_drain(sp);
}

/* The event at which the next pass is due; the trace is cut into one part more than passes. */
static uint64_t
pass_due(const struct compare *co)
{
	const uint64_t records = trace_info(co->co_trace)->ti_records;

	if (co->co_setting->cs_host == COMPARE_HOST_NONE ||
	    co->co_passes == co->co_setting->cs_passes)
		return UINT64_MAX;
	return records * (co->co_passes + 1) / (co->co_setting->cs_passes + 1);
}

static bool
host_is_due(void *arg)
{
	const struct compare *const co = arg;

	return slowest(co) >= pass_due(co) || slowest(co) == UINT64_MAX;
}

static void
run_host(struct compare *co)
{
	for (;;) {
		sim_wait_until("the host's next pass", host_is_due, co);
		if (pass_due(co) == UINT64_MAX)
			return;
		host_pass(co);
	}
}

static void
cpu_program(void *arg)
{
	struct compare *const co = arg;
	const unsigned int ncpus = sim_cpu_count() - 1;

	cpu_begin(&co->co_world);
	if (sim_cpu() == ncpus)
		run_host(co);
	else
		run_guests(co, sim_cpu(), ncpus);
	cpu_end(&co->co_world);
}

/* ---- Setting up ----------------------------------------------------------------------------- */

static void
add_guest(struct compare *co, struct space **out)
{
	static const char *const profiles[SIM_ARCH_COUNT] = {
		[SIM_ARCH_EPT] = "cascadelake",
		[SIM_ARCH_EPT_NOAD] = "cascadelake",
		[SIM_ARCH_NPT] = "epyc",
	};
	const struct sim_options *const o = co->co_world.wo_options;
	const struct compare_setting *const s = co->co_setting;
	const struct space_plan plan = {
		.sl_arch = o->arch,
		.sl_name = "guest",
		.sl_profile = ept_profile_find(profiles[o->arch]),
		.sl_policy = {.ep_no_hw_ad = o->arch == SIM_ARCH_EPT_NOAD,
			      .ep_no_superpages = s->cs_superpages == COMPARE_SUPER_OFF},
		.sl_flags = s->cs_defer ? PMAP_DEFER : 0,
		.sl_vm_flags = s->cs_superpages == COMPARE_SUPER_OFF	 ? VM_NO_SUPERPAGES
			       : s->cs_superpages == COMPARE_SUPER_EAGER ? VM_EAGER_RUNS
									 : 0,
		.sl_nvcpus = co->co_nvcpus,
		.sl_kindness = HW_KIND_NO_SPECULATION | HW_KIND_ATOMIC_WALK | HW_KIND_EARLY_AD |
			       HW_KIND_NO_SPURIOUS | HW_KIND_NEWEST,
	};

	if (world_add_space(&co->co_world, &plan, out) != 0)
		sim_violation("internal", "", "the guest cannot be set up");
}

static void
set_up(void *arg)
{
	struct compare *const co = arg;
	const struct trace_info *const info = trace_info(co->co_trace);
	struct space *sp;

	traced_world(&co->co_world);
	/* Worlds have few, so that they are used again; here every vCPU needs one. */
	if (pmap_vpids_init(co->co_world.wo_vpids, TRACE_VCPUS_MAX + 1) != 0)
		sim_violation("internal", "", "no VPIDs for so many vCPUs");
	add_guest(co, &sp);
	traced_memory(sp, info);
	co->co_players = sim_alloc(sizeof(*co->co_players) * co->co_nvcpus);
	for (unsigned int i = 0; i < co->co_nvcpus; i++) {
		struct turn *const tu = sim_alloc(sizeof(*tu));
		struct player *const pl = &co->co_players[i];

		pl->pl_compare = co;
		pl->pl_vcpu = i;
		trace_rewind(&pl->pl_cursor, co->co_trace);
		advance(pl);
		tu->tu_player = pl;
		sp->sp_vcpus[i].vc_program = tu;
	}
}

static void
tear_down(void *arg)
{
	struct compare *const co = arg;
	struct world *const w = &co->co_world;
	struct space *const sp = w->wo_spaces[0];
	struct pmap_stats st;

	pmap_stats(sp->sp_pmap, &st);
	co->co_tables = st.st_tables + st.st_spares;
	co->co_superpages = st.st_leaves[1] + st.st_leaves[2];
	co->co_pages = st.st_resident_pages;
	oracle_check_quiet(sp);
	world_end(w);
}

int
sim_run_compare(const struct sim_options *o, const struct trace *trace,
		const struct compare_setting *s, struct sim_outcome *out)
{
	const struct trace_info *const info = trace_info(trace);
	struct compare co = {
		.co_trace = trace,
		.co_setting = s,
		.co_nvcpus = info->ti_vcpus,
	};
	const struct workload_parts parts = {set_up, cpu_program, tear_down, &co, sizeof(co), NULL};
	struct sim_options one = *o;
	struct sim_config cfg;
	int error;

	one.cpus = (info->ti_vcpus < GUEST_CPUS_MAX ? info->ti_vcpus : GUEST_CPUS_MAX) + 1;
	one.vcpus = info->ti_vcpus;
	one.schedules = 1;
	workload_machine_config(&one, &cfg);
	cfg.sc_steps = UINT64_MAX;
	cfg.sc_pager = false;
	cfg.sc_frames = (info->ti_regions + 4) * REGION_PAGES * 3 / 2;
	error = workload_run(&one, &cfg, &co.co_world, &parts, false, out);
	if (error != 0)
		return error;
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "table-pages", co.co_tables, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "superpages", co.co_superpages, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "pages", co.co_pages, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "passes", co.co_passes, 0);
	return 0;
}
