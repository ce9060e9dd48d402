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
