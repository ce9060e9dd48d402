/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The table of scenarios. Each is the random workload with fewer kinds of operations, so that what
 * it is about happens more often. Two are about nothing, and drawn by each seed (scenario_draw.c).
 */

#include "sim/workload/scenario.h"

#include <string.h>

#include "sim/workload/vmop.h"
#include "sim/explore/xp.h"
#include "sim/workload/workload.h"

hostop_fn *const scenario_ops[OP_COUNT] = {
	[OP_REMOVE] = hostop_remove,
	[OP_MIGRATE] = hostop_migrate,
	[OP_DISCARD] = hostop_discard,
	[OP_PROTECT] = hostop_protect,
	[OP_WIDEN] = hostop_widen,
	[OP_CLEAN] = hostop_clean,
	[OP_LOG] = hostop_log,
	[OP_CLEAR_MODIFY] = hostop_clear_modify,
	[OP_AGE] = hostop_age,
	[OP_REFERENCED] = hostop_referenced,
	[OP_PEEK] = hostop_peek,
	[OP_PROMOTE] = hostop_promote,
	[OP_DEMOTE] = hostop_demote,
	[OP_PREFAULT] = hostop_prefault,
	[OP_WIRE] = hostop_wire,
	[OP_UNWIRE] = hostop_unwire,
	[OP_EXTRACT] = hostop_extract,
	[OP_INVALIDATE] = hostop_invalidate,
	[OP_DRAIN] = hostop_drain,
	[OP_MISUSE] = hostop_misuse,
	[OP_RECREATE] = hostop_recreate,
	[OP_HOLD] = vmop_hold,
	[OP_HOLD_SEG] = vmop_hold_seg,
	[OP_TOUCH] = vmop_touch,
	[OP_RELEASE] = vmop_release,
	[OP_COPY] = vmop_copy,
	[OP_PAGEOUT] = vmop_pageout,
	[OP_MOVE_MAP] = vmop_move,
	[OP_MANY_MAPS] = vmop_many,
	[OP_RESET] = vmop_reset,
	[OP_NEW_SEG] = vmop_new_seg,
	[OP_ATTACH] = vmop_attach,
	[OP_DETACH] = vmop_detach,
	[OP_LOG_BACK] = vmop_log_back,
	[OP_NX] = vmop_nx,
	[OP_HOSTILE] = vmop_hostile,
	[OP_QUIET] = vmop_quiet,
	[OP_SPLIT_WIRED] = hostop_split_wired,
	[OP_SWEEP] = hostop_sweep,
	[OP_REJOIN] = hostop_rejoin,
	[OP_GRANT] = hostop_grant,
	[OP_MOVE_WINDOW] = vmop_move_window,
	[OP_ENTER_RUN] = hostop_enter_run,
};

const char *const scenario_op_names[OP_COUNT] = {
	[OP_RUN] = "run",
	[OP_REMOVE] = "remove",
	[OP_MIGRATE] = "migrate",
	[OP_DISCARD] = "discard",
	[OP_PROTECT] = "protect",
	[OP_WIDEN] = "widen",
	[OP_CLEAN] = "clean",
	[OP_LOG] = "log",
	[OP_CLEAR_MODIFY] = "clear-modify",
	[OP_AGE] = "age",
	[OP_REFERENCED] = "referenced",
	[OP_PEEK] = "peek",
	[OP_PROMOTE] = "promote",
	[OP_DEMOTE] = "demote",
	[OP_PREFAULT] = "prefault",
	[OP_WIRE] = "wire",
	[OP_UNWIRE] = "unwire",
	[OP_EXTRACT] = "extract",
	[OP_INVALIDATE] = "invalidate",
	[OP_DRAIN] = "drain",
	[OP_MISUSE] = "misuse",
	[OP_RECREATE] = "recreate",
	[OP_OFFLINE] = "offline",
	[OP_HOLD] = "hold",
	[OP_HOLD_SEG] = "hold-segment",
	[OP_TOUCH] = "touch",
	[OP_RELEASE] = "release",
	[OP_COPY] = "copy",
	[OP_PAGEOUT] = "pageout",
	[OP_MOVE_MAP] = "move-map",
	[OP_MANY_MAPS] = "many-maps",
	[OP_RESET] = "reset",
	[OP_NEW_SEG] = "new-segment",
	[OP_ATTACH] = "attach",
	[OP_DETACH] = "detach",
	[OP_LOG_BACK] = "log-back",
	[OP_NX] = "nx",
	[OP_HOSTILE] = "hostile",
	[OP_QUIET] = "quiet",
	[OP_SPLIT_WIRED] = "split-wired",
	[OP_SWEEP] = "sweep",
	[OP_REJOIN] = "rejoin",
	[OP_GRANT] = "grant",
	[OP_MOVE_WINDOW] = "move-window",
	[OP_ENTER_RUN] = "enter-run",
};

/* What is done to guests beyond their tables. */
#define VM_WEIGHTS                                                                                 \
	[OP_HOLD] = 4, [OP_HOLD_SEG] = 2, [OP_TOUCH] = 8, [OP_RELEASE] = 4, [OP_COPY] = 6,         \
	[OP_PAGEOUT] = 2, [OP_MOVE_MAP] = 3, [OP_MANY_MAPS] = 1, [OP_RESET] = 1, [OP_NEW_SEG] = 1, \
	[OP_ATTACH] = 2, [OP_DETACH] = 2, [OP_LOG_BACK] = 2, [OP_NX] = 1, [OP_HOSTILE] = 4,        \
	[OP_QUIET] = 1

#define RANDOM_OPS                                                                                 \
	[OP_RUN] = 80, [OP_REMOVE] = 6, [OP_MIGRATE] = 5, [OP_DISCARD] = 4, [OP_PROTECT] = 5,      \
	[OP_WIDEN] = 6, [OP_CLEAN] = 6, [OP_CLEAR_MODIFY] = 2, [OP_AGE] = 3, [OP_REFERENCED] = 2,  \
	[OP_PEEK] = 2, [OP_PROMOTE] = 4, [OP_DEMOTE] = 3, [OP_PREFAULT] = 5, [OP_WIRE] = 2,        \
	[OP_UNWIRE] = 2, [OP_EXTRACT] = 2, [OP_INVALIDATE] = 2, [OP_DRAIN] = 2, [OP_RECREATE] = 1, \
	[OP_MISUSE] = 1, [OP_OFFLINE] = 1, [OP_LOG] = 1, VM_WEIGHTS

#define RANDOM_WEIGHTS     \
	{                  \
		RANDOM_OPS \
	}
#define SWARM_OPS RANDOM_OPS, [OP_SPLIT_WIRED] = 3, [OP_SWEEP] = 3
#define SWARM_WEIGHTS     \
	{                 \
		SWARM_OPS \
	}
/* Here weights only tell what there is. */
#define RUSH_WEIGHTS                                                             \
	{                                                                        \
		SWARM_OPS, [OP_REJOIN] = 1, [OP_GRANT] = 1, [OP_MOVE_WINDOW] = 1 \
	}

static const struct scenario scenarios[] = {
	{
		.sn_info = {"random",
			    "everything at once: guests, a process and the kernel, all operations"},
		.sn_weights = RANDOM_WEIGHTS,
		.sn_scale = SCALE_FULL,
		.sn_every_run = true,
	},
	{
		.sn_info = {"shootdown", "pages moved and discarded under running vCPUs"},
		.sn_weights =
			{[OP_RUN] = 60, [OP_REMOVE] = 10, [OP_MIGRATE] = 15, [OP_DISCARD] = 15},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
	},
	{
		.sn_info = {"revoke",
			    "rights taken away while faults decided before are on their way"},
		.sn_weights = {[OP_RUN] = 60,
			       [OP_PROTECT] = 15,
			       [OP_WIDEN] = 10,
			       [OP_DISCARD] = 10,
			       [OP_REMOVE] = 5},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
	},
	{
		.sn_info = {"dirty", "modified bits collected from running writers"},
		.sn_weights = {[OP_RUN] = 70,
			       [OP_CLEAN] = 20,
			       [OP_CLEAR_MODIFY] = 5,
			       [OP_AGE] = 5,
			       [OP_REMOVE] = 3},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
		.sn_log = true,
	},
	{
		.sn_info = {"idling", "tables that are written to, then for a while not, while the "
				      "dirty log is read"},
		.sn_weights = {[OP_RUN] = 20,
			       [OP_CLEAN] = 40,
			       [OP_CLEAR_MODIFY] = 5,
			       [OP_INVALIDATE] = 4,
			       [OP_REMOVE] = 6,
			       [OP_DISCARD] = 2,
			       [OP_PREFAULT] = 2},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
		.sn_log = true,
		.sn_whole = true,
	},
	{
		.sn_info = {"superpages", "joining and splitting under running vCPUs"},
		.sn_weights = {[OP_RUN] = 50,
			       [OP_PROMOTE] = 15,
			       [OP_DEMOTE] = 10,
			       [OP_PREFAULT] = 10,
			       [OP_CLEAN] = 5,
			       [OP_PROTECT] = 8,
			       [OP_WIDEN] = 8,
			       [OP_REMOVE] = 8,
			       [OP_MIGRATE] = 2},
		.sn_guests_only = true,
		.sn_scale = SCALE_FULL,
		.sn_fill = true,
	},
	{
		.sn_info =
			{"host",
			 "processes and the kernel on ordinary page tables, flushed page by page"},
		.sn_weights = {[OP_RUN] = 60,
			       [OP_REMOVE] = 8,
			       [OP_MIGRATE] = 8,
			       [OP_PROTECT] = 6,
			       [OP_WIDEN] = 6,
			       [OP_CLEAN] = 6,
			       [OP_PROMOTE] = 4,
			       [OP_DEMOTE] = 3,
			       [OP_PREFAULT] = 6,
			       [OP_INVALIDATE] = 4},
		.sn_scale = SCALE_FULL,
	},
	{
		.sn_info = {"identifiers",
			    "spaces destroyed and made anew, CPUs that come and go, few ASIDs"},
		.sn_weights = {[OP_RUN] = 70,
			       [OP_RECREATE] = 8,
			       [OP_OFFLINE] = 8,
			       [OP_MIGRATE] = 6,
			       [OP_REMOVE] = 4},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
	},
	{
		.sn_info = {"aging", "accessed bits cleared, and then relied upon"},
		.sn_weights = {[OP_RUN] = 60,
			       [OP_AGE] = 15,
			       [OP_REFERENCED] = 10,
			       [OP_PROTECT] = 6,
			       [OP_WIDEN] = 5,
			       [OP_DISCARD] = 6,
			       [OP_DRAIN] = 3},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
	},
	{
		.sn_info = {"wiring", "wired pages among faults and withdrawals"},
		.sn_weights = {[OP_RUN] = 50,
			       [OP_WIRE] = 15,
			       [OP_UNWIRE] = 10,
			       [OP_PROTECT] = 6,
			       [OP_WIDEN] = 6,
			       [OP_PROMOTE] = 5,
			       [OP_DEMOTE] = 5,
			       [OP_REMOVE] = 3},
		.sn_guests_only = true,
		.sn_scale = SCALE_FULL,
	},
	{
		.sn_info = {"pinning",
			    "wired superpages, joined and split for lack of memory and with it"},
		.sn_weights = {[OP_RUN] = 30,
			       [OP_PREFAULT] = 15,
			       [OP_WIRE] = 12,
			       [OP_PROMOTE] = 25,
			       [OP_DEMOTE] = 4,
			       [OP_CLEAN] = 5,
			       [OP_CLEAR_MODIFY] = 15,
			       [OP_PROTECT] = 15,
			       [OP_WIDEN] = 4,
			       [OP_UNWIRE] = 5,
			       [OP_REMOVE] = 10},
		.sn_guests_only = true,
		.sn_scale = SCALE_FULL,
		.sn_fill = true,
		.sn_no_tables = true,
	},
	{
		.sn_info = {"splitting",
			    "wired superpages that are written, and split by collectors"},
		.sn_weights = {[OP_RUN] = 60,
			       [OP_SPLIT_WIRED] = 40,
			       [OP_PREFAULT] = 5,
			       [OP_REMOVE] = 3,
			       [OP_CLEAN] = 3},
		.sn_guests_only = true,
		.sn_scale = SCALE_FULL,
		.sn_fill = true,
	},
	{
		.sn_info = {"turns",
			    "shootdown after shootdown, and CPUs that are seldom in the guest"},
		.sn_weights = {[OP_RUN] = 3, [OP_INVALIDATE] = 60, [OP_MIGRATE] = 2},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
	},
	{
		.sn_info = {"overcommit",
			    "more guests than memory: pageout and swap, holds, devices, "
			    "maps that come and go"},
		.sn_weights = {[OP_RUN] = 80,
			       [OP_REMOVE] = 2,
			       [OP_MIGRATE] = 4,
			       [OP_DISCARD] = 3,
			       [OP_PROTECT] = 3,
			       [OP_WIDEN] = 4,
			       [OP_CLEAN] = 4,
			       [OP_LOG] = 1,
			       [OP_PREFAULT] = 5,
			       [OP_WIRE] = 2,
			       [OP_UNWIRE] = 3,
			       [OP_DRAIN] = 1,
			       [OP_RECREATE] = 1,
			       VM_WEIGHTS},
		.sn_guests_only = true,
		.sn_scale = SCALE_MIXED,
	},
	{
		.sn_info = {"holding",
			    "a handful of pages, held and copied while they come and go"},
		.sn_weights = {[OP_RUN] = 30,
			       [OP_HOLD] = 14,
			       [OP_HOLD_SEG] = 6,
			       [OP_TOUCH] = 8,
			       [OP_RELEASE] = 16,
			       [OP_COPY] = 14,
			       [OP_PAGEOUT] = 20,
			       [OP_MOVE_MAP] = 14,
			       [OP_NEW_SEG] = 6,
			       [OP_MIGRATE] = 5,
			       [OP_DISCARD] = 4,
			       [OP_PROTECT] = 4,
			       [OP_WIDEN] = 6,
			       [OP_LOG_BACK] = 2,
			       [OP_CLEAN] = 3,
			       [OP_LOG] = 1,
			       [OP_RECREATE] = 1,
			       [OP_QUIET] = 1},
		.sn_guests_only = true,
		.sn_scale = SCALE_TINY,
	},
	{
		.sn_info = {"devices",
			    "memory wired for devices that read and write it by themselves"},
		.sn_weights = {[OP_RUN] = 30,
			       [OP_ATTACH] = 12,
			       [OP_DETACH] = 8,
			       [OP_WIRE] = 14,
			       [OP_UNWIRE] = 8,
			       [OP_PAGEOUT] = 8,
			       [OP_MOVE_MAP] = 8,
			       [OP_PROTECT] = 2,
			       [OP_WIDEN] = 3,
			       [OP_DISCARD] = 3,
			       [OP_CLEAN] = 4,
			       [OP_LOG] = 1,
			       [OP_COPY] = 4,
			       [OP_RECREATE] = 1,
			       [OP_QUIET] = 1},
		.sn_guests_only = true,
		.sn_scale = SCALE_SMALL,
	},
	{
		.sn_info = {"exec", "superpages that may not be executable, while guests execute"},
		.sn_weights = {[OP_RUN] = 50,
			       [OP_NX] = 12,
			       [OP_PROMOTE] = 6,
			       [OP_PREFAULT] = 12,
			       [OP_REMOVE] = 6,
			       [OP_PROTECT] = 2,
			       [OP_WIDEN] = 3,
			       [OP_LOG] = 1,
			       [OP_QUIET] = 1},
		.sn_guests_only = true,
		.sn_scale = SCALE_FULL,
	},
	{
		.sn_info = {"crowd", "one guest with a handful of pages, and everybody after them"},
		.sn_weights = {[OP_RUN] = 60,
			       [OP_REMOVE] = 8,
			       [OP_MIGRATE] = 6,
			       [OP_DISCARD] = 6,
			       [OP_PROTECT] = 12,
			       [OP_WIDEN] = 10,
			       [OP_CLEAN] = 8,
			       [OP_AGE] = 3,
			       [OP_WIRE] = 4,
			       [OP_UNWIRE] = 4,
			       [OP_PREFAULT] = 3,
			       [OP_DRAIN] = 1},
		.sn_guests_only = true,
		.sn_scale = SCALE_TINY,
	},
	{
		.sn_info = {"sweeping",
			    "tables that go and come back, while their pages are paged out"},
		.sn_weights =
			{[OP_RUN] = 40, [OP_REMOVE] = 25, [OP_PAGEOUT] = 25, [OP_PREFAULT] = 5},
		.sn_guests_only = true,
		.sn_scale = SCALE_TINY,
		.sn_fill = true,
	},
	{
		.sn_info = {"runs", "a device's pages entered together, while guests use them and "
				    "their tables go"},
		.sn_weights = {[OP_RUN] = 40,
			       [OP_ENTER_RUN] = 40,
			       [OP_REMOVE] = 8,
			       [OP_SWEEP] = 4,
			       [OP_PROTECT] = 6,
			       [OP_PREFAULT] = 3,
			       [OP_MOVE_WINDOW] = 2},
		.sn_guests_only = true,
		.sn_scale = SCALE_TINY,
		.sn_hot = true,
		.sn_runs = true,
	},
	{
		.sn_info = {"stalls",
			    "CPUs that stand still in the middle of something while others go on"},
		.sn_weights = {[OP_RUN] = 50,
			       [OP_REMOVE] = 6,
			       [OP_MIGRATE] = 4,
			       [OP_DISCARD] = 6,
			       [OP_PROTECT] = 14,
			       [OP_WIDEN] = 10,
			       [OP_CLEAN] = 4,
			       [OP_WIRE] = 14,
			       [OP_UNWIRE] = 6,
			       [OP_PREFAULT] = 6,
			       [OP_MOVE_MAP] = 4,
			       [OP_PAGEOUT] = 4,
			       [OP_HOLD] = 2,
			       [OP_RELEASE] = 3,
			       [OP_COPY] = 2},
		.sn_guests_only = true,
		.sn_scale = SCALE_TINY,
		.sn_stalls = true,
	},
	{
		.sn_info = {"swarm",
			    "each seed another world, other operations, other kinds of trouble"},
		.sn_weights = SWARM_WEIGHTS,
		.sn_scale = SCALE_FULL,
		.sn_swarm = true,
	},
	{
		.sn_info = {"rush",
			    "the swarm, in which rare operations come as often as all others"},
		.sn_weights = RUSH_WEIGHTS,
		.sn_scale = SCALE_FULL,
		.sn_swarm = true,
		.sn_even = true,
	},
};

#define NSCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

const struct sim_scenario_info *
sim_scenario(unsigned int i)
{
	if (i < NSCENARIOS)
		return &scenarios[i].sn_info;

	const struct xp_scenario *const xs = xp_scenario_at(i - NSCENARIOS);

	return xs != NULL ? &xs->xs_info : NULL;
}

const char *
sim_workload_operation(unsigned int i)
{
	if (i == 0)
		return "none";
	return i <= OP_COUNT ? scenario_op_names[i - 1] : NULL;
}

const struct scenario *
scenario_find(const char *name)
{
	for (unsigned int i = 0; i < NSCENARIOS; i++) {
		if (name == NULL || strcmp(scenarios[i].sn_info.name, name) == 0)
			return &scenarios[i];
	}
	return NULL;
}
