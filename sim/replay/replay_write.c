/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Replay files, written: so that two of them can be compared line by line, a decision is written
 * without its number and its step.
 */

#include "sim/replay/replay.h"

#include <inttypes.h>
#include <string.h>

#include "sim/cli/version.h"

const char *
replay_actor_name(const char *agents, unsigned int cpus, unsigned int actor, char *buf)
{
	if (actor == SIM_ACTOR_DRIVER)
		return "driver";
	if (actor == cpus)
		return "service";
	if (actor < SIM_ACTOR_AGENT) {
		snprintf(buf, REPLAY_WORD_BYTES, "cpu%u", actor);
		return buf;
	}
	for (unsigned int i = actor - SIM_ACTOR_AGENT; i > 0 && agents; i--) {
		agents = strchr(agents, ' ');
		agents = agents ? agents + 1 : NULL;
	}
	if (!agents || !*agents) {
		snprintf(buf, REPLAY_WORD_BYTES, "agent%u", actor - SIM_ACTOR_AGENT);
		return buf;
	}
	snprintf(buf, REPLAY_WORD_BYTES, "%.*s", (int)strcspn(agents, " "), agents);
	return buf;
}

/* A name may be used as a word in a file: no blanks, and it fits. */
static bool
is_word(const char *s)
{
	return *s && strlen(s) < REPLAY_WORD_BYTES &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz"
			 "0123456789-") == strlen(s);
}

void
replay_decision_text(const char *agents, unsigned int cpus, const struct sim_choice_record *c,
		     const struct sim_choice_note *note, char *text, size_t text_bytes)
{
	const char *kind = note && note->cn_begins ? "operation"
						   : sim_choice_name((enum sim_choice)c->cr_kind);
	char who[REPLAY_WORD_BYTES], name[REPLAY_WORD_BYTES];
	size_t used;

	used = (size_t)snprintf(text, text_bytes, "%s %s ",
				note ? replay_actor_name(agents, cpus, note->cn_actor, who) : "-",
				kind);
	if (note && note->cn_offered) {
		used += (size_t)snprintf(
			text + used, text_bytes - used, "%s of",
			replay_actor_name(
				agents, cpus,
				sim_offered_actor(note->cn_offered, note->cn_actor, c->cr_value),
				name));
		for (uint32_t i = 0; i < c->cr_n && used < text_bytes; i++)
			used += (size_t)snprintf(
				text + used, text_bytes - used, " %s",
				replay_actor_name(
					agents, cpus,
					sim_offered_actor(note->cn_offered, note->cn_actor, i),
					name));
		return;
	}
	used += (size_t)snprintf(text + used, text_bytes - used, "%" PRIu32 "/%" PRIu32,
				 c->cr_value, c->cr_n);
	if (note && note->cn_word && is_word(note->cn_word) && used < text_bytes)
		snprintf(text + used, text_bytes - used, " %s", note->cn_word);
}

static void
write_decisions(FILE *to, const struct sim_options *o, const struct sim_outcome *out)
{
	char line[REPLAY_LINE_BYTES];

	fprintf(to, "state-hash: 0x%016" PRIx64 "\nby-seed: %s\nagents: %s\ndecisions: %zu\n",
		out->state_hash, (o->choices || o->choose) && !o->choices_by_seed ? "no" : "yes",
		*out->agents ? out->agents : "none", out->nchoices);
	for (size_t i = 0; i < out->nchoices; i++) {
		replay_decision_text(out->agents, o->cpus, &out->choices[i],
				     out->notes ? &out->notes[i] : NULL, line, sizeof(line));
		fprintf(to, "%s\n", line);
	}
}

void
replay_write(FILE *to, const struct sim_options *o, const struct sim_outcome *out)
{
	struct sim_options said = *o;
	char number[32];

	said.schedule = out->schedule;
	fprintf(to, "pmap-sim replay %u\nbuild: %s\narch: %s\n", REPLAY_VERSION, sim_build_id,
		sim_arch_name(out->arch));
	for (unsigned int i = 0; sim_option_row(i); i++) {
		const char *value = sim_option_text(sim_option_row(i), &said, number);

		if (value)
			fprintf(to, "%s: %s\n", sim_option_row(i)->op_name, value);
	}
	if (*out->made_of)
		fprintf(to, "# %s\n", out->made_of);
	fprintf(to, "seed: 0x%" PRIx64 "\nverdict: %s\n", out->seed,
		sim_verdict_name(out->verdict));
	if (out->verdict == SIM_VIOLATION)
		fprintf(to, "check: %s\ninvariant: %s\n", out->check,
			*out->invariant ? out->invariant : "none");
	fprintf(to, "step: %" PRIu64 "\ntrace-hash: 0x%016" PRIx64 "\n", out->steps,
		out->trace_hash);
	if (out->choices && out->nchoices > 0)
		write_decisions(to, o, out);
	fprintf(to, "end\n");
}
