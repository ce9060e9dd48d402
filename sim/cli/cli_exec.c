/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* One run of the workload, and the command that repeats it. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/oracle/invariants.h"
#include "sim/cli/option_table.h"

/* Invariants that this type of table can violate and that are checked by now. */
static void
count_invariants(struct sim_outcome *out)
{
	for (unsigned int i = 1; i < SIM_INVARIANT_END; i++) {
		const struct sim_invariant_info *info = sim_invariant(i);
		const bool expected =
			info->layer != SIM_LAYER_TOOL && (info->arch_set >> out->arch & 1);

		if (expected || sim_invariant_hits[i] > 0)
			sim_outcome_count(out, SIM_COUNT_INVARIANTS, info->id,
					  sim_invariant_hits[i],
					  expected ? SIM_COUNTER_REQUIRED : 0);
	}
}

static int
execute_once(const struct sim_options *o, const struct trace *trace, struct sim_outcome *out)
{
	memset(out, 0, sizeof(*out));
	out->arch = o->arch;
	out->seed = o->seed;
	out->cpu = SIM_NO_CPU;
	sim_invariants_reset();
	return trace ? sim_run_trace(o, trace, out) : sim_run_workload(o, out);
}

int
cli_execute(const struct sim_options *o, const struct trace *trace, struct sim_outcome *out)
{
	static struct sim_outcome again;
	int error = execute_once(o, trace, out);

	if (error)
		return error;
	if (o->check_determinism) {
		error = execute_once(o, trace, &again);
		free(again.choices);
		if (error) {
			memcpy(out->message, again.message, sizeof(out->message));
			return error;
		}
		sim_invariant_hit(SIM_I48);
	}
	count_invariants(out);
	if (o->check_determinism && (again.trace_hash != out->trace_hash ||
				     again.steps != out->steps || again.verdict != out->verdict)) {
		snprintf(out->message, sizeof(out->message),
			 "run twice, the seed gave two runs: %" PRIu64
			 " steps with trace hash 0x%016" PRIx64 ", then %" PRIu64
			 " with 0x%016" PRIx64,
			 out->steps, out->trace_hash, again.steps, again.trace_hash);
		out->verdict = SIM_VIOLATION;
		out->cpu = SIM_NO_CPU;
		strcpy(out->check, "CK-REPLAY");
		strcpy(out->invariant, "I48");
	}
	return 0;
}

/* ---- The command that repeats a run --------------------------------------------------------- */

struct line {
	char *at;
	size_t room;
};

static void
add(struct line *l, const char *text)
{
	const size_t n = strlen(text);

	if (n < l->room) {
		memcpy(l->at, text, n + 1);
		l->at += n;
		l->room -= n;
	}
}

/* A word for the shell: in single quotes unless it is plain. */
static void
add_word(struct line *l, const char *word)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";

	if (*word && word[strspn(word, plain)] == '\0') {
		add(l, word);
		return;
	}
	add(l, "'");
	for (; *word; word++) {
		const char one[2] = {*word, '\0'};

		add(l, *word == '\'' ? "'\\''" : one);
	}
	add(l, "'");
}

/* What the table of options says of one. */
static void
add_option(struct line *l, const struct sim_option_row *row, const struct sim_options *o)
{
	char number[32];
	const char *value = row->op_no_line ? NULL : sim_option_text(row, o, number);

	if (!value || (row->op_kind == SIM_OPTION_FLAG && strcmp(value, "no") == 0))
		return;
	/* What is the default anyway would only make the line longer. */
	if (row->op_kind == SIM_OPTION_WORDS && strcmp(value, row->op_words[0]) == 0)
		return;
	add(l, " --");
	add(l, row->op_name);
	if (row->op_kind == SIM_OPTION_FLAG)
		return;
	add(l, " ");
	add_word(l, value);
}

void
cli_replay_line(const struct sim_options *o, const struct sim_outcome *out, char *text,
		size_t text_bytes)
{
	struct line l = {text, text_bytes};
	struct sim_options said = *o;
	char numbers[128];

	*text = '\0';
	/* One run alone cannot differ from itself. */
	snprintf(numbers, sizeof(numbers), "pmap-sim %s --seed 0x%" PRIx64 " --arch %s",
		 strcmp(out->check, "CK-REPLAY") == 0 ? "run --check-determinism" : "replay",
		 out->seed, sim_arch_name(out->arch));
	add(&l, numbers);
	said.schedule = out->schedule;
	for (unsigned int i = 0; sim_option_row(i); i++)
		add_option(&l, sim_option_row(i), &said);
}
