/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A recorded program as guests: each vCPU is a guest of its own that replays the whole trace, while
 * the host ages, write-protects, moves, joins and splits underneath. Every store
 * writes a fresh value, which every later load of the page checks.
 */

#include "sim/cli/faults.h"
#include "sim/trace/trace.h"
#include "sim/workload/scenario.h"
#include "sim/workload/vmop.h"
#include "sim/story/story_record.h"
#include "sim/workload/traced.h"
#include "sim/workload/workload.h"

#include <errno.h>
#include <string.h>

/* Out of so many turns of a CPU, one is the host's. */
#define HOST_TURNS 12

struct replay {
	struct world re_world;
	const struct trace *re_trace;
	unsigned int re_left; /* guests that are not through */
};

struct program {
	struct replay *pr_replay;
	struct trace_cursor pr_cursor;
	bool pr_done;
	uint64_t pr_accesses; /* of the recorded program, so far */
};

static bool
next_access(void *arg, struct vcpu *v, gpa_t *gpa, unsigned int *access)
{
	struct program *const pr = v->vc_program;
	struct trace_access a;

	(void)arg;
	if (pr->pr_done)
		return false;
	if (!trace_next(&pr->pr_cursor, &a)) {
		pr->pr_done = true;
		pr->pr_replay->re_left--;
		return false;
	}
	pr->pr_accesses += a.ta_count;
	traced_access(&a, gpa, access);
	return true;
}

/* ---- The host's turns ----------------------------------------------------------------------- */

/* Fills up a region that has been used, as written, and joins it. */
static void
collapse(struct space *sp, gpa_t start, gpa_t stop)
{
	hostop_prefault(sp, start, stop);
	hostop_promote(sp, start, stop);
}

static void
host_turn(struct space *sp)
{
	static hostop_fn *const ops[] = {
		hostop_age, hostop_protect, hostop_clean, hostop_migrate, hostop_remove,
		collapse,   hostop_demote,  hostop_widen, hostop_drain,	  hostop_referenced,
	};
	const struct region *rg = &sp->sp_regions[sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nregions)];
	const unsigned int op = sim_choose(SIM_CHOICE_WORKLOAD, sizeof(ops) / sizeof(ops[0]));
	gpa_t start = rg->rg_base;
	gpa_t stop = rg->rg_base + REGION_BYTES;

	/* Moving is for a few pages at a time. */
	if (ops[op] == hostop_migrate || sim_choose(SIM_CHOICE_WORKLOAD, 2) == 0) {
		start += sim_choose(SIM_CHOICE_WORKLOAD, REGION_PAGES - 8) * SIM_PAGE_SIZE;
		stop = start + 8 * SIM_PAGE_SIZE;
	}
	/* Filling up what is in swap would push out as much. */
	if (ops[op] == collapse && sp->sp_world->wo_short)
		return;
	if (ops[op] == collapse) {
		start = rg->rg_base;
		stop = rg->rg_base + REGION_BYTES;
	}
	sp->sp_users++;
	ops[op](sp, start, stop);
	/* As a lock would: what was stored here is seen by whoever has the space next. */
	host_fence();
	sp->sp_users--;
}

static void
cpu_program(void *arg)
{
	struct replay *const re = arg;
	struct world *const w = &re->re_world;
	unsigned int turn = sim_cpu();

	cpu_begin(w);
	while (re->re_left != 0) {
		struct space *const sp = w->wo_spaces[turn++ % w->wo_nspaces];

		sim_operation();
		STORY(begin("turn", sp->sp_name, 0, 0));
		sim_point(SIM_USER, NULL);
		sim_fault_scope(1 + OP_RUN);
		if (sim_choose(SIM_CHOICE_WORKLOAD, HOST_TURNS) != 0)
			vcpu_run(&sp->sp_vcpus[0], next_access, NULL);
		else if (!sp->sp_closing)
			host_turn(sp);
		sim_fault_scope(0);
		STORY(done(0));
		/* The guest begins anew, with memory as it was made; its program goes on. */
		if (sim_killed())
			world_bury(w, sp);
	}
	cpu_end(w);
}

/* ---- Setting up ----------------------------------------------------------------------------- */

/*
 * In every second seed, the first one included, there is memory for half of what the guests touch;
 * the rest is in swap.
 */
static bool
is_pressed(const struct sim_options *o)
{
	return o->seed % 2 != 0;
}

/*
 * Memory for a guest under pressure. Page tables are held in it, too, so a guest that touches very
 * little cannot run in half of that.
 */
static uint64_t
pressed_pages(const struct trace_info *info)
{
	const uint64_t least = 16 + 4 * (uint64_t)info->ti_regions;

	return info->ti_pages / 2 > least ? info->ti_pages / 2 : least;
}

static void
set_up(void *arg)
{
	struct replay *const re = arg;
	struct world *const w = &re->re_world;
	const struct sim_options *const o = w->wo_options;
	const struct trace_info *const info = trace_info(re->re_trace);

	traced_world(w);
	w->wo_short = is_pressed(o);
	w->wo_may_reclaim = w->wo_short;
	if (w->wo_short)
		w->wo_mem_limit = o->vcpus * pressed_pages(info) * SIM_PAGE_SIZE;
	for (unsigned int i = 0; i < o->vcpus; i++) {
		struct program *const pr = sim_alloc(sizeof(*pr));
		struct space *sp;

		if (workload_add_guest(w, o->arch, "guest", 1, &sp) != 0)
			sim_violation("internal", "", "guest %u cannot be set up", i);
		traced_memory(sp, info);
		pr->pr_replay = re;
		trace_rewind(&pr->pr_cursor, re->re_trace);
		sp->sp_vcpus[0].vc_program = pr;
		re->re_left++;
	}
}

static void
tear_down(void *arg)
{
	struct replay *const re = arg;
	struct world *const w = &re->re_world;

	for (unsigned int i = 0; i < w->wo_nspaces; i++) {
		const struct program *pr = w->wo_spaces[i]->sp_vcpus[0].vc_program;

		w->wo_replayed += pr->pr_accesses;
		oracle_check_quiet(w->wo_spaces[i]);
	}
	world_end(w);
}

int
sim_run_trace(const struct sim_options *o, const struct trace *trace, struct sim_outcome *out)
{
	const struct trace_info *const info = trace_info(trace);
	struct replay re = {.re_trace = trace};
	const struct workload_parts parts = {set_up, cpu_program, tear_down, &re, sizeof(re), NULL};
	struct sim_config cfg;

	workload_machine_config(o, &cfg);
	cfg.sc_steps = o->steps != 0 ? o->steps : UINT64_MAX;
	/*
	 * Every region whole, since it is reserved whole, and as much again for moving and tables.
	 */
	cfg.sc_frames = o->vcpus * (info->ti_regions + 2u) * REGION_PAGES * 3 / 2;
	if (is_pressed(o))
		cfg.sc_swap_slots = (uint32_t)(o->vcpus * info->ti_pages * 2);
	faults_apply(o, &cfg);
	return workload_run(o, &cfg, &re.re_world, &parts, false, out);
}
