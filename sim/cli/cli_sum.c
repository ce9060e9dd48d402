/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The sum of a command's runs: what it comes to, and where it is published. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/report/html.h"
#include "sim/report/perfetto.h"

void
cli_sum_add(struct cli_sum *s, struct pool_result *r)
{
	const struct sim_outcome *out = &r->pr_outcome;

	if (pool_failed(r) && !s->failed) {
		s->failed = true;
		s->first = *r;
		s->first.pr_outcome.choices = NULL;
		s->first.pr_outcome.nchoices = 0;
	}
	if (r->pr_error || r->pr_signal || r->pr_exit) {
		s->errors++;
		return;
	}
	s->done++;
	s->passed += out->verdict == SIM_PASS;
	s->violations += out->verdict == SIM_VIOLATION;
	s->budgets += out->verdict == SIM_BUDGET;
	s->steps += out->steps;
	s->schedules += out->schedules;
	s->actors = out->actors > s->actors ? out->actors : s->actors;
	s->picks = out->picks > s->picks ? out->picks : s->picks;
	s->last_hash = out->trace_hash;
	s->last_state = out->state_hash;
	s->hash = (s->hash ^ out->trace_hash) * UINT64_C(0x9e3779b97f4a7c15);
	s->hash ^= s->hash >> 32;
	cli_faults_add(&s->counters.faults, &out->faults);
	for (unsigned int i = 0; i < out->ncounters; i++) {
		const struct sim_counter *c = &out->counters[i];

		sim_outcome_count(&s->counters, c->group, c->name, c->value, c->flags);
	}
}

bool
cli_same_run(const struct cli_sum *s)
{
	const struct replay *re = s->recorded;

	return s->done == 1 && s->last_hash == re->re_trace_hash &&
	       (!re->re_choices || s->choices_unfit || s->last_state == re->re_state_hash);
}

bool
cli_sum_judges_coverage(const struct cli_sum *s)
{
	return s->violations == 0 && s->errors == 0 && !s->signal && !s->recorded &&
	       s->done == s->wanted && s->done >= sim_coverage_seeds(&s->args->options);
}

bool
cli_never_exercised(const struct cli_sum *s, const struct sim_counter *c)
{
	return (c->flags & SIM_COUNTER_REQUIRED) && c->value == 0 && cli_sum_judges_coverage(s);
}

unsigned int
cli_sum_never(const struct cli_sum *s)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < s->counters.ncounters; i++)
		n += cli_never_exercised(s, &s->counters.counters[i]);
	return n;
}

int
cli_sum_exit(const struct cli_sum *s)
{
	if (s->violations)
		return CLI_VIOLATION;
	if (s->errors && *s->unfit)
		return CLI_DATA;
	if (s->errors)
		return CLI_INTERNAL;
	if (s->signal)
		return CLI_SIGNAL + s->signal;
	if (cli_sum_never(s))
		return CLI_VIOLATION;
	return s->budgets ? CLI_BUDGET : CLI_PASS;
}

const char *
cli_exit_word(const struct cli_sum *s, int code)
{
	switch (code) {
	case CLI_PASS:
		return "pass";
	case CLI_VIOLATION:
		return s->violations == 0 && cli_sum_never(s) ? "incomplete" : "violation";
	case CLI_BUDGET:
		return "budget";
	case CLI_DATA:
		return "unfit";
	case CLI_INTERNAL:
		return "internal";
	default:
		return "interrupted";
	}
}

const char *
cli_group_name(enum sim_counter_group g)
{
	static const char *const names[SIM_COUNT_GROUPS] = {
		[SIM_COUNT_OPERATIONS] = "operations",
		[SIM_COUNT_FAULTS] = "faults",
		[SIM_COUNT_INVARIANTS] = "invariants",
		[SIM_COUNT_HARDWARE] = "hardware",
	};

	return names[g];
}

void
cli_failure_text(const struct pool_result *r, char *text, size_t text_bytes)
{
	if (r->pr_signal)
		snprintf(text, text_bytes, "the simulator crashed: signal %d (%s)", r->pr_signal,
			 strsignal(r->pr_signal));
	else if (r->pr_exit)
		snprintf(text, text_bytes, "the simulator's process ended by itself, status %d",
			 r->pr_exit < 0 ? 0 : r->pr_exit);
	else
		snprintf(text, text_bytes, "%s",
			 *r->pr_outcome.message ? r->pr_outcome.message : strerror(-r->pr_error));
}

/* What it is to be, by its name; the names were checked when they were parsed. */
static bool
is_named(const char *path, const char *end)
{
	const size_t n = strlen(path);

	return n > 5 && strcmp(path + n - 5, end) == 0;
}

/* Returns CLI_PASS, or another code after having complained. */
static int
commit(struct outfile *of)
{
	char why[CLI_WHY_BYTES];

	if (outfile_commit(of, why, sizeof(why)) == 0)
		return CLI_PASS;
	cli_complain("%s", why);
	return CLI_ENVIRONMENT;
}

/* Returns CLI_PASS unless one could not be written. */
static int
write_reports(struct cli_args *a, struct cli_sum *s)
{
	const struct sim_options *o = &a->options;
	int code = CLI_PASS;

	for (unsigned int i = 0; i < o->nreports; i++) {
		FILE *to = a->reports[i].of_stream;

		if (is_named(o->reports[i], ".json"))
			cli_write_json(to, s);
		else if (is_named(o->reports[i], ".html"))
			html_write(to, s);
		else
			cli_write_text(to, s, CLI_FULL, false);
		code = commit(&a->reports[i]) != CLI_PASS ? CLI_ENVIRONMENT : code;
	}
	if (a->perfetto) {
		perfetto_write(a->perfetto_file.of_stream, s->story);
		code = commit(&a->perfetto_file) != CLI_PASS ? CLI_ENVIRONMENT : code;
	}
	return code;
}

int
cli_publish(struct cli_args *a, struct cli_sum *s)
{
	const struct sim_options *o = &a->options;
	struct story *story = cli_wants_story(a, s) ? cli_tell(a, s) : NULL;
	int code = cli_sum_exit(s);

	s->story = story;
	if (o->json) {
		cli_write_json(stdout, s);
		if (!o->quiet)
			cli_write_text(stderr, s, CLI_FAILURE_ONLY, cli_color(stderr));
	} else {
		cli_write_text(stdout, s, o->quiet ? CLI_FAILURE_ONLY : CLI_SUMMARY,
			       cli_color(stdout));
	}
	if (write_reports(a, s) != CLI_PASS && code == CLI_PASS)
		code = CLI_ENVIRONMENT;
	s->story = NULL;
	story_destroy(story);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		cli_complain("cannot write to standard output");
		code = code == CLI_PASS ? CLI_ENVIRONMENT : code;
	}
	return code;
}
