/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * One run from end to end: machine, hardware, oracle and world made, the parts of a workload run in
 * them, everything taken down, and what happened written into an outcome.
 */

#include "sim/workload/scenario.h"
#include "sim/story/story_record.h"
#include "sim/workload/vmop.h"
#include "sim/workload/workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t
workload_hash(uint64_t seed, uint64_t salt)
{
	uint64_t z = seed + salt * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void
workload_machine_config(const struct sim_options *o, struct sim_config *cfg)
{
	sim_options_machine(o, cfg);
	cfg->sc_quarantine = workload_hash(o->seed, 3) % 2 != 0;
	cfg->sc_frames = 16384;
	cfg->sc_pager = true;
	if (o->scheduler != SIM_SCHEDULER_RANDOM)
		cfg->sc_run_lengths = 1;
}

static const char *
dashed(const char *name, char *buf, size_t bytes)
{
	snprintf(buf, bytes, "%s", name);
	for (char *c = buf; *c != '\0'; c++) {
		if (*c == ' ' || *c == '_')
			*c = '-';
	}
	return buf;
}

static void
count_pmaps(const struct world *w, unsigned int flags, struct sim_outcome *out)
{
	const struct pmap_stats *const st = &w->wo_stats;
	const struct {
		const char *name;
		uint64_t value;
		unsigned int flags;
	} rows[] = {
		{"ad-emulations", st->st_ad_emulations, SIM_COUNTER_HEADLINE},
		{"promotions", st->st_promotions, SIM_COUNTER_HEADLINE},
		{"demotions", st->st_demotions, SIM_COUNTER_HEADLINE},
		{"demotion-failures", st->st_demotion_failures, 0},
		{"shootdowns", st->st_shootdowns, SIM_COUNTER_HEADLINE},
		{"shootdowns-merged", st->st_shootdowns_merged, 0},
		{"shootdowns-elided", st->st_shootdowns_elided, 0},
		{"kicks", st->st_kicks, SIM_COUNTER_HEADLINE},
		{"spurious-faults", st->st_spurious_faults, SIM_COUNTER_HEADLINE},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		sim_outcome_count(out, SIM_COUNT_OPERATIONS, rows[i].name, rows[i].value,
				  rows[i].flags | flags);
	/* Races that some forms and some hundreds of seeds do not show. */
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "enter-restarts", st->st_enter_restarts, 0);
	sim_outcome_count(out, SIM_COUNT_OPERATIONS, "entries-revoked", st->st_revoked, 0);
}

static void
count_pagers(const struct sim_counters *ct, unsigned int flags, struct sim_outcome *out)
{
	const struct {
		const char *name;
		uint64_t value;
		unsigned int flags;
	} rows[] = {
		{"pager-gets", ct->ct_pager_got, flags},
		{"pager-gets-twice", ct->ct_pager_doubles, 0}, /* two must come to one run */
		{"pager-runs", ct->ct_pager_runs, flags},
		{"pager-puts-clean", ct->ct_pager_put[0], flags},
		{"pager-puts-dirty", ct->ct_pager_put[1], flags},
		{"pager-frames-reclaimed", ct->ct_pager_reclaimed, flags},
		{"pager-reads", ct->ct_pager_read, flags},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		sim_outcome_count(out, SIM_COUNT_OPERATIONS, rows[i].name, rows[i].value,
				  rows[i].flags);
}

static void
workload_count(const struct world *w, const struct sim_report *report, bool required,
	       struct sim_outcome *out)
{
	const unsigned int flags = required ? SIM_COUNTER_REQUIRED : 0;
	char name[SIM_COUNTER_NAME_BYTES];

	for (unsigned int i = 0; i < WC_COUNT; i++) {
		const bool headline = i == WC_READS || i == WC_WRITES || i == WC_FETCHES ||
				      i == WC_FAULTS || i == WC_ENTRIES;
		/*
		 * Whoever waits interruptibly for memory in so small a world is rare; and what only
		 * a trait brings is not promised.
		 */
		const unsigned int must =
			i != WC_FAULT_INTERRUPTED && i != WC_ENTER_RUN ? flags : 0;

		sim_outcome_count(out, SIM_COUNT_OPERATIONS, world_count_names[i], w->wo_count[i],
				  must | (headline ? SIM_COUNTER_HEADLINE : 0));
	}
	if (w->wo_replayed != 0)
		sim_outcome_count(out, SIM_COUNT_OPERATIONS, "program-accesses", w->wo_replayed,
				  SIM_COUNTER_HEADLINE);
	count_pmaps(w, flags, out);
	vmop_report(w, flags, out);
	count_pagers(&report->sr_counters, flags, out);
	for (unsigned int i = 0; i < SIM_FAULT_COUNT; i++)
		sim_outcome_count(out, SIM_COUNT_FAULTS,
				  dashed(sim_fault_name((enum sim_fault)i), name, sizeof(name)),
				  report->sr_counters.ct_faults[i],
				  i < SIM_FAULT_INTERRUPT ? flags : 0);
	for (unsigned int i = 0; i < HW_CT_COUNT; i++)
		sim_outcome_count(out, SIM_COUNT_HARDWARE,
				  dashed(hw_counter_name((enum hw_counter)i), name, sizeof(name)),
				  hw_counters[i], 0);
	sim_outcome_count(out, SIM_COUNT_HARDWARE, "stores-drained", report->sr_counters.ct_drains,
			  w->wo_options->sequential ? 0 : flags);
	sim_outcome_count(out, SIM_COUNT_HARDWARE, "interrupts-taken",
			  report->sr_counters.ct_interrupts, 0);
}

static uint32_t
clipped(uint64_t n)
{
	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void
count_faults(struct sim_outcome_faults *to)
{
	_Static_assert(SIM_FAULT_COUNT <= SIM_FAULTS_ROOM, "room for every kind of fault");
	_Static_assert(OP_COUNT < SIM_OPERATIONS_ROOM && OP_COUNT < SIM_OPERATIONS_MAX,
		       "room for every operation");

	for (unsigned int op = 0; op < OP_COUNT + 1; op++) {
		to->begun[op] = clipped(sim_fault_scopes(op));
		for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
			const struct sim_fault_cell c = sim_fault_cell((enum sim_fault)f, op);

			to->asked[f][op] = c.fc_asked;
			to->hit[f][op] = c.fc_hit;
		}
	}
}

/*
 * The options are not all of it: the seed decides the CPU model, what there is and what may fail.
 * For people who read a replay file.
 */
static void
tell_made_of(const struct sim_options *o, const struct sim_config *cfg, struct sim_outcome *out)
{
	const struct ept_profile *p = workload_profile(o, o->arch);
	const struct scenario *const from = scenario_find(o->scenario);
	char name[SIM_COUNTER_NAME_BYTES];
	size_t used = (size_t)snprintf(
		out->made_of, sizeof(out->made_of),
		"CPU model %s, store buffers of %u, %" PRIu32 " frames%s, swap of %" PRIu32
		" pages, %s IOMMU; faults in a million:",
		p != NULL ? p->pr_name : "none", cfg->sc_store_buffer, cfg->sc_frames,
		cfg->sc_quarantine ? " in quarantine once freed" : "", cfg->sc_swap_slots,
		cfg->sc_iommu ? "an" : "no");

	for (unsigned int i = 0; i < SIM_FAULT_COUNT && used < sizeof(out->made_of); i++) {
		if (cfg->sc_fault_ppm[i] != 0)
			used += (size_t)snprintf(
				out->made_of + used, sizeof(out->made_of) - used, " %s %" PRIu32,
				dashed(sim_fault_name((enum sim_fault)i), name, sizeof(name)),
				cfg->sc_fault_ppm[i]);
	}
	for (unsigned int at = 0; from != NULL && used < sizeof(out->made_of);) {
		const char *const trait = scenario_trait(from, o->seed, &at);

		if (trait == NULL)
			break;
		used += (size_t)snprintf(out->made_of + used, sizeof(out->made_of) - used,
					 "; trait %s", trait);
	}
}

int
workload_run(const struct sim_options *o, const struct sim_config *cfg, struct world *w,
	     const struct workload_parts *parts, bool required, struct sim_outcome *out)
{
	struct hw_config hw;
	struct sim_report report;
	struct sim_machine *m = sim_machine_create(cfg, out->message, sizeof(out->message));
	int error = -ENOMEM;

	if (m == NULL)
		return -EINVAL;
	hw_config_init(&hw);
	if (parts->wp_hw != NULL)
		hw = *parts->wp_hw;
	if (hw_create(&hw) != 0 || oracle_tlb_create() != 0 || world_create(w, o, m) != 0)
		goto out;
	error = 0;
	story_attach(o->story);
	if (sim_machine_call(m, parts->wp_set_up, parts->wp_arg, &report) == SIM_RUN_PASSED)
		error = workload_schedules(cfg, w, parts, &report, out);
	else
		sim_outcome_of(&report, out);
	if (error != 0)
		goto out;
	if (o->look != NULL)
		o->look(o->look_arg, &report);
	workload_count(w, &report, required, out);
	if (o->record_choices || o->choices != NULL || out->verdict == SIM_VIOLATION)
		out->state_hash = sim_machine_state_hash(m);
	count_faults(&out->faults);
	error = o->record_choices ? sim_outcome_keep(out, m) : 0;
	if (o->record_choices)
		tell_made_of(o, cfg, out);
	if (report.sr_result == SIM_RUN_DIVERGED)
		error = -EILSEQ;
out:
	story_detach();
	oracle_tlb_destroy();
	hw_destroy();
	sim_machine_destroy(m);
	return error;
}
