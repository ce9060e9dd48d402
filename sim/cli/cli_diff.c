/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-sim diff: where two runs part. Both are made, so that more can be told than the files hold:
 * the decisions around the first that differs, what happened then in the one and in the other, how
 * they ended, and which counters differ.
 */

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/cli/option_table.h"
#include "sim/story/story.h"

#define CONTEXT 4      /* decisions before and behind */
#define STEPS_BEFORE 3 /* that matter */
#define STEPS_BEHIND 6
#define COUNTERS_MAX 16

struct side {
	const char *name; /* of the file */
	struct cli_args args;
	struct sim_outcome out;
	struct story *story;
};

struct differing {
	struct side sides[2];
	bool same;
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct differing *d = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (state->arg_num > 1)
			argp_error(state, "two files, not also '%s'", arg);
		d->sides[state->arg_num].name = arg;
		return 0;
	case ARGP_KEY_END:
		if (state->arg_num < 2)
			argp_error(state, "which two files?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- The two runs --------------------------------------------------------------------------- */

static int
run_side(struct side *s)
{
	struct sim_options o;
	int code, error;

	cli_args_init(&s->args);
	s->args.file = s->name;
	code = cli_prepare_one(&s->args);
	if (code != CLI_PASS)
		return code;
	s->story = story_create();
	if (!s->story) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	o = s->args.options;
	o.record_choices = true;
	o.story = s->story;
	error = cli_execute(&o, s->args.trace, &s->out);
	if (error) {
		cli_complain("%s: %s", s->name,
			     *s->out.message ? s->out.message : strerror(-error));
		return error == -EILSEQ ? CLI_DATA : CLI_INTERNAL;
	}
	return CLI_PASS;
}

static void
release_side(struct side *s)
{
	free(s->out.choices);
	story_destroy(s->story);
	cli_release(&s->args);
}

/* ---- Options -------------------------------------------------------------------------------- */

static void
write_option(struct differing *d, const char *name, const char *a, const char *b)
{
	if (strcmp(a, b) == 0)
		return;
	printf("%s: %s | %s\n", name, a, b);
	d->same = false;
}

static void
write_options(struct differing *d)
{
	const struct sim_options *a = &d->sides[0].args.options, *b = &d->sides[1].args.options;
	char one[32], two[32];

	write_option(d, "arch", sim_arch_name(a->arch), sim_arch_name(b->arch));
	snprintf(one, sizeof(one), "0x%" PRIx64, a->seed);
	snprintf(two, sizeof(two), "0x%" PRIx64, b->seed);
	write_option(d, "seed", one, two);
	for (unsigned int i = 0; sim_option_row(i); i++) {
		const char *x = sim_option_text(sim_option_row(i), a, one);
		const char *y = sim_option_text(sim_option_row(i), b, two);

		write_option(d, sim_option_row(i)->op_name, x ? x : "(default)",
			     y ? y : "(default)");
	}
}

/* ---- Decisions ------------------------------------------------------------------------------ */

static void
decision_text(const struct side *s, size_t i, char *text, size_t bytes)
{
	if (i >= s->out.nchoices)
		snprintf(text, bytes, "(the end)");
	else
		replay_decision_text(s->out.agents, s->args.options.cpus, &s->out.choices[i],
				     s->out.notes ? &s->out.notes[i] : NULL, text, bytes);
}

/* The first decision that differs; that behind the last if none does. */
static size_t
first_difference(const struct differing *d)
{
	const struct side *a = &d->sides[0], *b = &d->sides[1];
	const size_t n = a->out.nchoices > b->out.nchoices ? a->out.nchoices : b->out.nchoices;
	char one[REPLAY_LINE_BYTES], two[REPLAY_LINE_BYTES];

	for (size_t i = 0; i < n; i++) {
		decision_text(a, i, one, sizeof(one));
		decision_text(b, i, two, sizeof(two));
		if (strcmp(one, two) != 0)
			return i;
	}
	return n;
}

static uint64_t
step_of(const struct side *s, size_t i)
{
	return i < s->out.nchoices && s->out.notes ? s->out.notes[i].cn_step : s->out.steps;
}

static void
write_decisions(const struct differing *d, size_t at)
{
	char text[REPLAY_LINE_BYTES];

	printf("decision %zu is the first that differs, at step %" PRIu64, at,
	       step_of(&d->sides[0], at));
	if (step_of(&d->sides[0], at) != step_of(&d->sides[1], at))
		printf(" and step %" PRIu64, step_of(&d->sides[1], at));
	printf(":\n");
	for (size_t i = at > CONTEXT ? at - CONTEXT : 0; i < at; i++) {
		decision_text(&d->sides[0], i, text, sizeof(text));
		printf("   %6zu  %s\n", i, text);
	}
	for (unsigned int k = 0; k < 2; k++) {
		for (size_t i = at; i < at + CONTEXT && i <= d->sides[k].out.nchoices; i++) {
			decision_text(&d->sides[k], i, text, sizeof(text));
			printf("%c  %6zu  %s\n", k == 0 ? '<' : '>', i, text);
		}
	}
}

/* ---- What happened -------------------------------------------------------------------------- */

static void
write_event(const struct story *st, uint32_t i, char mark)
{
	char actor[STORY_NAME_BYTES], action[STORY_TEXT_BYTES], change[STORY_TEXT_BYTES];

	story_change(st, i, change, sizeof(change));
	printf("%c  %6" PRIu64 "  %-12s %s%s%s\n", mark, st->st_events[i].se_step,
	       story_actor(st, i, actor, sizeof(actor)),
	       story_action(st, i, action, sizeof(action)), *change ? " | " : "", change);
}

/* The first event that matters and comes at a step, or later. */
static uint32_t
event_at(const struct story *st, uint64_t step)
{
	uint32_t i = 0;

	while (i < st->st_n &&
	       (st->st_events[i].se_step < step || (st->st_events[i].se_flags & SE_BEFORE)))
		i++;
	return i;
}

/* Of interest; and the set-up only if that is where the runs part. */
static bool
is_told(const struct side *s, size_t at, uint32_t i)
{
	const bool set_up = s->out.notes && at < s->out.nchoices &&
			    s->out.notes[at].cn_actor == SIM_ACTOR_DRIVER;

	return story_matters(s->story, i) && !(s->story->st_events[i].se_flags & SE_BEFORE) &&
	       (set_up || s->story->st_events[i].se_actor != SIM_ACTOR_DRIVER ||
		s->story->st_events[i].se_kind == STORY_VIOLATION);
}

static void
write_events(const struct differing *d, size_t at)
{
	const struct story *a = d->sides[0].story;
	uint32_t picked[STEPS_BEFORE];
	unsigned int n = 0;

	printf("what happened there, by step:\n");
	for (uint32_t i = event_at(a, step_of(&d->sides[0], at)); i-- > 0 && n < STEPS_BEFORE;) {
		if (is_told(&d->sides[0], at, i))
			picked[n++] = i;
	}
	while (n > 0)
		write_event(a, picked[--n], ' ');
	for (unsigned int k = 0; k < 2; k++) {
		const struct story *st = d->sides[k].story;
		uint32_t i = event_at(st, step_of(&d->sides[k], at));

		for (n = 0; i < st->st_n && n < STEPS_BEHIND; i++) {
			if (!is_told(&d->sides[k], at, i))
				continue;
			write_event(st, i, k == 0 ? '<' : '>');
			n++;
		}
	}
}

/* ---- How they ended ------------------------------------------------------------------------- */

static void
write_end(const struct side *s, char mark)
{
	printf("%c  %s", mark, sim_verdict_name(s->out.verdict));
	if (s->out.verdict == SIM_VIOLATION)
		printf(" of %s (%s)", *s->out.invariant ? s->out.invariant : "no invariant",
		       s->out.check);
	printf(" at step %" PRIu64 ", %zu decisions, trace hash 0x%016" PRIx64
	       ", state hash 0x%016" PRIx64 "\n",
	       s->out.steps, s->out.nchoices, s->out.trace_hash, s->out.state_hash);
	if (s->out.verdict == SIM_VIOLATION)
		printf("   %s\n", s->out.message);
}

static uint64_t
counter(const struct sim_outcome *out, const struct sim_counter *c)
{
	for (unsigned int i = 0; i < out->ncounters; i++) {
		if (out->counters[i].group == c->group &&
		    strcmp(out->counters[i].name, c->name) == 0)
			return out->counters[i].value;
	}
	return 0;
}

/* Counters that differ; of invariants there are too many. */
static void
write_counters(const struct differing *d)
{
	const struct sim_outcome *a = &d->sides[0].out, *b = &d->sides[1].out;
	unsigned int n = 0;

	for (unsigned int i = 0; i < a->ncounters; i++) {
		const struct sim_counter *c = &a->counters[i];
		const uint64_t other = counter(b, c);

		if (c->value == other || c->group == SIM_COUNT_INVARIANTS)
			continue;
		if (n++ < COUNTERS_MAX)
			printf("   %-10s %-28s %10" PRIu64 " | %10" PRIu64 "\n",
			       cli_group_name((enum sim_counter_group)c->group), c->name, c->value,
			       other);
	}
	if (n > COUNTERS_MAX)
		printf("   ... and %u counters more\n", n - COUNTERS_MAX);
}

/* ---- The command ---------------------------------------------------------------------------- */

static void
write_difference(struct differing *d)
{
	const struct sim_outcome *a = &d->sides[0].out, *b = &d->sides[1].out;
	const size_t at = first_difference(d);
	const bool alike = at == a->nchoices && at == b->nchoices;

	d->same = true;
	printf("< %s\n> %s\n", d->sides[0].name, d->sides[1].name);
	write_options(d);
	if (!alike || a->trace_hash != b->trace_hash || a->state_hash != b->state_hash)
		d->same = false;
	if (d->same) {
		printf("the same run: %zu decisions, %" PRIu64 " steps, trace hash 0x%016" PRIx64
		       "\n",
		       a->nchoices, a->steps, a->trace_hash);
		return;
	}
	if (alike) {
		printf("all %zu decisions are the same\n", at);
	} else {
		write_decisions(d, at);
		write_events(d, at);
	}
	printf("how they ended:\n");
	write_end(&d->sides[0], '<');
	write_end(&d->sides[1], '>');
	write_counters(d);
}

int
cli_diff(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "A B",
		.doc = "Shows where two runs part: the first decision that differs, what happened "
		       "then in the one and in the other, and how they ended."
		       "\vBoth replay files are run. Exit status: 0 if it is the same run, 1 if "
		       "not.",
	};
	struct differing *d = calloc(1, sizeof(*d));
	int code;

	if (!d) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	argp_parse(&argp, argc, argv, 0, NULL, d);
	code = run_side(&d->sides[0]);
	if (code == CLI_PASS)
		code = run_side(&d->sides[1]);
	if (code == CLI_PASS) {
		write_difference(d);
		code = d->same ? CLI_PASS : CLI_VIOLATION;
		if (fflush(stdout) != 0 || ferror(stdout)) {
			cli_complain("cannot write to standard output");
			code = CLI_ENVIRONMENT;
		}
	}
	release_side(&d->sides[0]);
	release_side(&d->sides[1]);
	free(d);
	return code;
}
