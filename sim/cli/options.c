/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Names and counters of runs. */

#include "sim/cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine/machine.h"
#include "sim/replay/replay.h"

const char *
sim_arch_name(enum sim_arch arch)
{
	static const char *const names[SIM_ARCH_COUNT] = {
		[SIM_ARCH_EPT] = "ept",
		[SIM_ARCH_EPT_NOAD] = "ept-noad",
		[SIM_ARCH_NPT] = "npt",
		[SIM_ARCH_X86] = "x86",
	};

	return names[arch];
}

const char *
sim_verdict_name(enum sim_verdict v)
{
	static const char *const names[] = {
		[SIM_PASS] = "pass",
		[SIM_VIOLATION] = "violation",
		[SIM_BUDGET] = "budget",
	};

	return names[v];
}

void
sim_options_machine(const struct sim_options *o, struct sim_config *cfg)
{
	sim_config_init(cfg);
	cfg->sc_cpus = o->cpus;
	cfg->sc_memory_model = o->sequential ? SIM_SC : SIM_TSO;
	cfg->sc_seed = o->seed;
	cfg->sc_draw_seed = o->draw_seed;
	cfg->sc_steps = o->step_limit;
	cfg->sc_break_at = o->break_at;
	cfg->sc_record = o->record_choices;
	if (o->choices != NULL) {
		cfg->sc_source = SIM_SOURCE_LIST;
		cfg->sc_list = o->choices;
		cfg->sc_list_notes = o->notes;
		cfg->sc_list_len = o->nchoices;
	} else if (o->choose != NULL) {
		cfg->sc_source = SIM_SOURCE_CALL;
		cfg->sc_call = o->choose;
		cfg->sc_call_arg = o->choose_arg;
	}
}

void
sim_outcome_of(const struct sim_report *report, struct sim_outcome *out)
{
	out->verdict = report->sr_result == SIM_RUN_PASSED   ? SIM_PASS
		       : report->sr_result == SIM_RUN_BUDGET ? SIM_BUDGET
							     : SIM_VIOLATION;
	out->steps = sim_step_count();
	out->trace_hash = report->sr_hash;
	out->cpu = SIM_NO_CPU;
	if (out->verdict == SIM_PASS)
		return;
	out->cpu = report->sr_cpu;
	out->steps = report->sr_step;
	snprintf(out->check, sizeof(out->check), "%s", report->sr_check);
	snprintf(out->invariant, sizeof(out->invariant), "%s", report->sr_invariant);
	snprintf(out->message, sizeof(out->message), "%s", report->sr_message);
}

struct sim_choice_record *
sim_outcome_room(struct sim_outcome *out, size_t n)
{
	/* Notes are of words, choices of halves of words. */
	const size_t before = (n * sizeof(*out->choices) + 7) / 8 * 8;

	out->choices = malloc(before + n * sizeof(*out->notes) + 1);
	out->nchoices = out->choices ? n : 0;
	out->notes = out->choices ? (void *)((char *)out->choices + before) : NULL;
	return out->choices;
}

int
sim_outcome_keep(struct sim_outcome *out, struct sim_machine *m)
{
	size_t n, used = 0;
	const struct sim_choice_record *list = sim_machine_choices(m, &n);

	if (!sim_outcome_room(out, n))
		return -ENOMEM;
	memcpy(out->choices, list, n * sizeof(*list));
	memcpy(out->notes, sim_machine_notes(m), n * sizeof(*out->notes));
	for (unsigned int i = 0; sim_agent_name(i) && used + 1 < sizeof(out->agents); i++) {
		if (i > 0)
			out->agents[used++] = ' ';
		/* A name is a word in files. */
		for (const char *p = sim_agent_name(i); *p && used + 1 < sizeof(out->agents); p++)
			out->agents[used++] = *p == ' ' ? '-' : *p;
	}
	out->agents[used] = '\0';
	return 0;
}

void
sim_outcome_count(struct sim_outcome *out, enum sim_counter_group group, const char *name,
		  uint64_t value, unsigned int flags)
{
	struct sim_counter *c = out->counters;
	struct sim_counter *const end = c + out->ncounters;

	while (c < end && (c->group != group || strcmp(c->name, name) != 0))
		c++;
	if (c == end) {
		if (out->ncounters == SIM_COUNTERS_MAX || strlen(name) >= sizeof(c->name)) {
			fprintf(stderr, "pmap-sim: no room for counter %s\n", name);
			abort();
		}
		memset(c, 0, sizeof(*c));
		strcpy(c->name, name);
		c->group = (uint8_t)group;
		out->ncounters++;
	}
	c->value += value;
	c->flags |= (uint8_t)flags;
}
