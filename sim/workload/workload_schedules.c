/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Schedules: what happens after the set-up of a seed, more than once. Each has a generator of its
 * own, and begins with the state that was saved when the set-up was over. Schedule 0 is what the
 * seed alone makes of it.
 *
 * PCT must know how long a schedule is before it begins. Its schedule 0 changes no priorities, and
 * tells: whoever asks for another one alone gets that one run first, too.
 */

#include "sim/workload/workload.h"

#include <errno.h>

#include "sim/machine/snapshot.h"
#include "sim/workload/vmop.h"

struct schedules {
	const struct sim_options *sc_options;
	const struct sim_config *sc_config;
	const struct workload_parts *sc_parts;
	struct sim_machine *sc_machine;
	bool sc_given; /* the choices are: there is one schedule */
	uint64_t sc_length;
	uint64_t sc_hash; /* of the last, without what follows the programs */
	struct policy sc_policy;
};

static void
choose_schedule(struct schedules *sc, uint64_t schedule)
{
	const struct sim_options *const o = sc->sc_options;
	struct sim_config cfg = *sc->sc_config;
	const uint64_t seed = cfg.sc_draw_seed != 0 ? cfg.sc_draw_seed : cfg.sc_seed;

	if (sc->sc_given)
		return;
	cfg.sc_draw_seed = workload_hash(seed, 100 + schedule);
	if (schedule != 0)
		sim_choose_from(&cfg);
	if (o->scheduler == SIM_SCHEDULER_PCT)
		policy_pct(&sc->sc_policy, cfg.sc_draw_seed ^ 1, schedule != 0 ? o->depth : 1,
			   sc->sc_length);
	else if (o->scheduler == SIM_SCHEDULER_POS)
		policy_pos(&sc->sc_policy, cfg.sc_draw_seed ^ 1);
}

/*
 * From the end of the set-up to the end. What is left is looked at and taken down once for each
 * state: what comes of that depends on nothing else. s: of the set-up; or NULL.
 */
static void
run_schedule(struct schedules *sc, struct world *w, struct sim_snapshot *s,
	     struct sim_report *report)
{
	const struct workload_parts *const parts = sc->sc_parts;
	struct sim_machine *const m = sc->sc_machine;
	uint64_t state;

	for (unsigned int cpu = 0; cpu < sc->sc_options->cpus; cpu++)
		sim_spawn(m, cpu, parts->wp_program, parts->wp_arg);
	if (sim_machine_run(m, report) != SIM_RUN_PASSED)
		return;
	sc->sc_hash = report->sr_hash;
	state = s != NULL ? sim_state_value(s) : 0;
	if (s != NULL && sim_state_known(s, state)) {
		world_keep_stats(w);
		return;
	}
	if (sim_machine_call(m, parts->wp_tear_down, parts->wp_arg, report) == SIM_RUN_PASSED &&
	    sim_machine_check_leaks(m, report) == SIM_RUN_PASSED && s != NULL)
		sim_state_note(s, state);
}

struct sim_snapshot *
workload_save(struct world *w, void *at, size_t bytes, char *why, size_t why_bytes)
{
	const struct sim_region regions[] = {
		{at, bytes, false},
		{w->wo_count, sizeof(w->wo_count), true},
		{&w->wo_stats, sizeof(w->wo_stats), true},
		{&w->wo_vm_stats, sizeof(w->wo_vm_stats), true},
		{w->wo_vmops->vo_count, sizeof(w->wo_vmops->vo_count), true},
	};

	return sim_save(regions, sizeof(regions) / sizeof(regions[0]), why, why_bytes);
}

static void
note(const struct schedules *sc, const struct sim_report *report, struct sim_outcome *out)
{
	const uint64_t steps = out->steps + sim_step_count();
	const uint64_t hash = out->trace_hash ^ sc->sc_hash;
	const unsigned int actors = policy_actors(&sc->sc_policy);

	sim_outcome_of(report, out);
	out->actors = actors > out->actors ? actors : out->actors;
	out->picks = sc->sc_policy.po_picks > out->picks ? sc->sc_policy.po_picks : out->picks;
	if (out->verdict != SIM_PASS)
		return;
	out->run_hash = sc->sc_hash;
	/* One alone keeps its own. */
	if (sc->sc_given || sc->sc_options->schedules <= 1)
		return;
	out->steps = steps;
	out->trace_hash = workload_hash(hash, out->schedules);
}

int
workload_schedules(const struct sim_config *cfg, struct world *w,
		   const struct workload_parts *parts, struct sim_report *report,
		   struct sim_outcome *out)
{
	const struct sim_options *const o = w->wo_options;
	struct schedules sc = {
		.sc_options = o,
		.sc_config = cfg,
		.sc_parts = parts,
		.sc_machine = w->wo_machine,
		.sc_given = cfg->sc_source != SIM_SOURCE_SEED,
	};
	const bool measures = !sc.sc_given && o->scheduler == SIM_SCHEDULER_PCT && o->schedule > 0;
	const uint64_t n = sc.sc_given || o->schedules == 0 ? 1 : o->schedules;
	struct sim_snapshot *s = NULL;

	if (n > 1 || measures) {
		s = workload_save(w, parts->wp_arg, parts->wp_arg_bytes, out->message,
				  sizeof(out->message));
		if (s == NULL)
			return -ENOMEM;
	}
	if (measures) {
		choose_schedule(&sc, 0);
		run_schedule(&sc, w, NULL, report);
		sc.sc_length = sc.sc_policy.po_picks;
		sim_restore(s);
	}
	for (uint64_t i = 0; i < n; i++) {
		if (i > 0)
			sim_restore(s);
		out->schedule = o->schedule + i;
		choose_schedule(&sc, out->schedule);
		run_schedule(&sc, w, n > 1 ? s : NULL, report);
		note(&sc, report, out);
		if (out->verdict != SIM_PASS)
			break;
		if (out->schedule == 0)
			sc.sc_length = sc.sc_policy.po_picks;
		out->schedules++;
	}
	sim_snapshot_free(s);
	return 0;
}
