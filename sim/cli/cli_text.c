/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Output for people. The summary is at most 25 lines, so each part has its number of lines; what
 * does not fit is in the reports.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/oracle/invariants.h"
#include "sim/cli/version.h"

#define WIDTH 98
#define INDENT 12 /* of what follows a heading */
#define LINES_OF_COUNTERS 4
#define LINES_NEVER 2
#define RED "\033[31m"
#define PLAIN "\033[0m"

/* A number with its thousands apart. buffer is of 32 bytes. */
static const char *
thousands(uint64_t n, char *buffer)
{
	char digits[24];
	const int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	char *p = buffer;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return buffer;
}

/* ---- Lists that wrap ------------------------------------------------------------------------ */

struct list {
	FILE *to;
	const char *heading;
	int column;
	int lines_left;
	unsigned int hidden; /* items that did not fit */
};

__attribute__((format(printf, 2, 3))) static void
item(struct list *l, const char *fmt, ...)
{
	char text[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (l->column == 0) {
		l->column = fprintf(l->to, "%-*s%s", INDENT, l->heading, text);
		l->lines_left--;
	} else if (l->column + 2 + n <= WIDTH - (l->lines_left == 0 ? 12 : 0)) {
		l->column += fprintf(l->to, ", %s", text);
	} else if (l->lines_left > 0) {
		l->column = fprintf(l->to, ",\n%*s%s", INDENT, "", text) - 2;
		l->lines_left--;
	} else {
		l->hidden++;
	}
}

static void
end_list(struct list *l)
{
	if (l->hidden)
		fprintf(l->to, ", %u more", l->hidden);
	if (l->column)
		fputc('\n', l->to);
}

/* ---- What was run --------------------------------------------------------------------------- */

static void
write_archs(FILE *to, const struct sim_options *o)
{
	const char *between = "";

	for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
		if (o->arch_set >> i & 1) {
			fprintf(to, "%s%s", between, sim_arch_name((enum sim_arch)i));
			between = ", ";
		}
	}
}

static void
write_what(FILE *to, const struct cli_sum *s, bool color)
{
	const struct sim_options *o = &s->args->options;
	const int code = cli_sum_exit(s);
	char n[32];

	fprintf(to, "%s%s%s: %s", color && code != CLI_PASS ? RED : "", cli_exit_word(s, code),
		color && code != CLI_PASS ? PLAIN : "", thousands(s->done + s->errors, n));
	if (s->done + s->errors < s->wanted)
		fprintf(to, " of %s", thousands(s->wanted, n));
	fprintf(to, " run%s of ", s->wanted == 1 ? "" : "s");
	if (o->scenario)
		fprintf(to, "scenario %s", o->scenario);
	else if (o->trace_path)
		fprintf(to, "trace %s", o->trace_path);
	else
		fprintf(to, "the random workload");
	if (o->count == 1)
		fprintf(to, ", seed 0x%" PRIx64, o->seed);
	else
		fprintf(to, ", %s seeds from 0x%" PRIx64, thousands(o->count, n), o->seed);
	fputs(", on ", to);
	write_archs(to, o);
	fputc('\n', to);

	fprintf(to, "%-*s%u CPU%s, %u vCPU%s, memory model %s, CPU model %s", INDENT, "machine",
		o->cpus, o->cpus == 1 ? "" : "s", o->vcpus, o->vcpus == 1 ? "" : "s",
		o->sequential ? "sc" : "tso", o->caps ? o->caps : "by seed");
	if (o->steps != 0)
		fprintf(to, ", at most %s steps a run", thousands(o->steps, n));
	fputs(o->reference ? ", reference mode\n" : "\n", to);
}

static void
write_trace_info(FILE *to, const struct cli_sum *s)
{
	const struct trace_info *i = trace_info(s->args->trace);
	char a[32], r[32], p[32];

	fprintf(to, "%-*s%.60s%s\n", INDENT, "program", i->ti_program,
		strlen(i->ti_program) > 60 ? "..." : "");
	fprintf(to, "%-*s%s accesses in %s records, %s pages\n", INDENT, "", //
		thousands(i->ti_accesses, a), thousands(i->ti_records, r),
		thousands(i->ti_pages, p));
}

/* How many, where they are the matter; and what PCT promises of them. */
static void
write_schedules(FILE *to, const struct cli_sum *s)
{
	const struct sim_options *o = &s->args->options;
	char n[32], rate[32], k[32];

	if (o->schedules <= 1 && o->scheduler == SIM_SCHEDULER_RANDOM)
		return;
	fprintf(to, "%-*s%s", INDENT, "schedules", thousands(s->schedules, n));
	if (s->seconds > 0)
		fprintf(to, ", %s per second",
			thousands((uint64_t)((double)s->schedules / s->seconds), rate));
	fprintf(to, "; scheduler %s", o->policy ? o->policy : "random");
	if (o->scheduler == SIM_SCHEDULER_PCT && s->schedules > 0)
		fprintf(to,
			": %u actors, at most %s steps\n"
			"%-*sa bug of depth %u that needs nothing else to happen by chance is "
			"missed with p <= %.2g",
			s->actors, thousands(s->picks, k), INDENT, "", o->depth,
			policy_pct_miss(s->actors, s->picks, o->depth, s->schedules));
	fputc('\n', to);
}

static void
write_totals(FILE *to, const struct cli_sum *s)
{
	char steps[32], rate[32];

	fprintf(to, "%-*s%s in %.1f s", INDENT, "steps", thousands(s->steps, steps), s->seconds);
	if (s->seconds > 0)
		fprintf(to, ", %s per second",
			thousands((uint64_t)((double)s->steps / s->seconds), rate));
	fprintf(to, "; trace hash 0x%016" PRIx64 "\n", s->hash);
	write_schedules(to, s);
	if (s->budgets)
		fprintf(to,
			"%-*s%" PRIu64 " of %" PRIu64 " runs ended there before their work did\n",
			INDENT, "budget", s->budgets, s->done);
}

/* ---- Counters ------------------------------------------------------------------------------- */

static void
write_counters(FILE *to, const struct cli_sum *s, enum sim_counter_group g)
{
	struct list l = {.to = to, .heading = cli_group_name(g), .lines_left = LINES_OF_COUNTERS};
	const struct sim_outcome *sum = &s->counters;
	bool headlines = false;
	char n[32];

	for (unsigned int i = 0; i < sum->ncounters; i++)
		headlines |= sum->counters[i].group == g &&
			     (sum->counters[i].flags & SIM_COUNTER_HEADLINE);
	for (unsigned int i = 0; i < sum->ncounters; i++) {
		const struct sim_counter *c = &sum->counters[i];

		if (c->group == g && (!headlines || (c->flags & SIM_COUNTER_HEADLINE)))
			item(&l, "%s %s", c->name, thousands(c->value, n));
	}
	end_list(&l);
}

static void
write_invariants(FILE *to, const struct cli_sum *s)
{
	const struct sim_outcome *sum = &s->counters;
	unsigned int evaluated = 0, not = 0;
	uint64_t times = 0;
	char n[32];

	for (unsigned int i = 0; i < sum->ncounters; i++) {
		const struct sim_counter *c = &sum->counters[i];

		if (c->group != SIM_COUNT_INVARIANTS)
			continue;
		evaluated += c->value > 0;
		not += c->value == 0;
		times += c->value;
	}
	if (evaluated + not == 0)
		return;
	fprintf(to, "%-*s%u evaluated %s times", INDENT, "invariants", evaluated,
		thousands(times, n));
	if (not )
		fprintf(to, ", %u not", not );
	fputc('\n', to);
}

/* Every counter, a line each. */
static void
write_all_counters(FILE *to, const struct cli_sum *s)
{
	const struct sim_outcome *sum = &s->counters;
	char n[32];

	for (unsigned int g = 0; g < SIM_COUNT_GROUPS; g++) {
		fprintf(to, "\n%s\n", cli_group_name((enum sim_counter_group)g));
		for (unsigned int i = 0; i < sum->ncounters; i++) {
			const struct sim_counter *c = &sum->counters[i];
			const struct sim_invariant_info *info =
				g == SIM_COUNT_INVARIANTS ? sim_invariant_by_id(c->name) : NULL;

			if (c->group == g)
				fprintf(to, "  %-*s %18s%s%s%s\n", SIM_COUNTER_NAME_BYTES, c->name,
					thousands(c->value, n),
					cli_never_exercised(s, c) ? "  NEVER EXERCISED" : "",
					info ? "  " : "", info ? info->title : "");
		}
	}
}

/* ---- What was never exercised --------------------------------------------------------------- */

static void
write_never(FILE *to, const struct cli_sum *s, bool color)
{
	struct list l = {.to = to, .heading = "  in group,", .lines_left = LINES_NEVER};

	fprintf(to, "%sNEVER EXERCISED, although %" PRIu64 " runs should have:%s\n",
		color ? RED : "", s->done, color ? PLAIN : "");
	for (unsigned int i = 0; i < s->counters.ncounters; i++) {
		const struct sim_counter *c = &s->counters.counters[i];

		if (cli_never_exercised(s, c))
			item(&l, "%s %s", cli_group_name(c->group), c->name);
	}
	end_list(&l);
}

/* ---- Replays of files ----------------------------------------------------------------------- */

static const char *
compare_with_recorded(const struct cli_sum *s)
{
	const struct replay *re = s->recorded;
	const struct sim_outcome *out = &s->first.pr_outcome;
	const bool same_hash = cli_same_run(s);

	if (s->errors && *s->unfit)
		return "the decisions do not fit this build, and no seed gives them";
	if (s->errors)
		return "the run could not be made";
	if (s->violations == 0 && re->re_verdict == SIM_VIOLATION)
		return "the recorded violation does not happen any more";
	if (s->violations == 0)
		return same_hash ? "the same run, step by step" : "another run than the recorded";
	if (re->re_verdict != SIM_VIOLATION)
		return "a violation, where there was none when it was recorded";
	if (strcmp(out->check, re->re_check) != 0 || strcmp(out->invariant, re->re_invariant) != 0)
		return "another violation than the recorded one";
	return same_hash ? "the recorded violation, step by step"
			 : "the recorded violation, by other steps";
}

static void
write_recorded(FILE *to, const struct cli_sum *s)
{
	const struct replay *re = s->recorded;

	fprintf(to, "%-*s%s", INDENT, "recorded", sim_verdict_name(re->re_verdict));
	if (re->re_verdict == SIM_VIOLATION)
		fprintf(to, " of %s (%s)", *re->re_invariant ? re->re_invariant : "no invariant",
			re->re_check);
	fprintf(to, " at step %" PRIu64 ", by %s\n", re->re_step, re->re_build);
	if (*s->unfit)
		fprintf(to, "%-*s%s\n", INDENT, "parted at", s->unfit);
	if (s->choices_unfit)
		fprintf(to, "%-*sthey do not fit this build; the seed was used instead\n", INDENT,
			"decisions");
	fprintf(to, "%-*s%s\n", INDENT, "now", compare_with_recorded(s));
}

/* ---- The whole ------------------------------------------------------------------------------ */

void
cli_write_text(FILE *to, const struct cli_sum *s, enum cli_detail detail, bool color)
{
	if (detail == CLI_FULL)
		fprintf(to, "pmap-sim %s, %s\n\n", sim_build_id, sim_compiler);
	if (detail != CLI_FAILURE_ONLY) {
		write_what(to, s, color);
		if (s->args->trace)
			write_trace_info(to, s);
		write_totals(to, s);
		if (s->recorded)
			write_recorded(to, s);
	}
	/* Beside a failure nobody reads counters; reports have them all. */
	if (detail == CLI_SUMMARY && !s->failed) {
		if (s->args->options.scenario != NULL &&
		    strcmp(s->args->options.scenario, "overcommit") == 0)
			cli_write_memory(to, s);
		write_counters(to, s, SIM_COUNT_OPERATIONS);
		write_counters(to, s, SIM_COUNT_FAULTS);
		write_counters(to, s, SIM_COUNT_HARDWARE);
		write_invariants(to, s);
	}
	if (s->failed)
		cli_write_failure(to, s, color);
	if (s->signal)
		fprintf(to, "INTERRUPTED by signal %d (%s) after %" PRIu64 " of %" PRIu64 " runs\n",
			s->signal, strsignal(s->signal), s->done + s->errors, s->wanted);
	if (cli_sum_never(s))
		write_never(to, s, color);
	if (s->saved && detail != CLI_FAILURE_ONLY)
		fprintf(to, "%-*s%s\n", INDENT, "saved", s->saved);
	if (detail == CLI_FULL)
		write_all_counters(to, s);
}
