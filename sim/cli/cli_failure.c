/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What is said of a failure, on a screen: which invariant, in words; the last steps that mattered,
 * the two that race marked; the stale translation beside the entry as it is now; how to repeat it
 * and how to make it small. With the lines above it no more than a screen of 25.
 */

#include <inttypes.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/oracle/invariants.h"
#include "sim/story/story.h"

#define STEPS 8	  /* that are told */
#define WIDTH 130 /* of a line of them */
#define RED "\033[31m"
#define PLAIN "\033[0m"

/* ---- Steps ---------------------------------------------------------------------------------- */

/* Cuts a line where it is too long, and says so. */
static void
put_cut(FILE *to, const char *text)
{
	if (strlen(text) > WIDTH)
		fprintf(to, "%.*s...\n", WIDTH - 3, text);
	else
		fprintf(to, "%s\n", text);
}

static void
write_step(FILE *to, const struct story *st, uint32_t i)
{
	char actor[STORY_NAME_BYTES], action[STORY_TEXT_BYTES], change[STORY_TEXT_BYTES];
	const char *mark = i == st->st_changed ? "1" : i == st->st_used ? "2" : " ";
	char line[2 * STORY_TEXT_BYTES + STORY_NAME_BYTES + 32];

	story_change(st, i, change, sizeof(change));
	snprintf(line, sizeof(line), "  %s %7" PRIu64 "  %-12s %s%s%s", mark,
		 st->st_events[i].se_step, story_actor(st, i, actor, sizeof(actor)),
		 story_action(st, i, action, sizeof(action)), *change ? " | " : "", change);
	put_cut(to, line);
}

/* The last that matter, but for what comes after the end; the first of those that race, if it lies
 * further back, in place of the earliest. */
void
cli_write_steps(FILE *to, const struct story *st)
{
	uint32_t picked[STEPS];
	unsigned int n = 0;

	for (uint32_t i = st->st_n; i-- > 0 && n < STEPS;) {
		if (story_matters(st, i) || i == st->st_changed || i == st->st_used)
			picked[n++] = i;
	}
	if (n == 0)
		return;
	if (st->st_changed != STORY_NONE && st->st_changed < picked[n - 1])
		picked[n - 1] = st->st_changed;
	fprintf(to, "       step  actor        action | change%s\n",
		st->st_changed != STORY_NONE && st->st_used != STORY_NONE ? "; 1 and 2 race" : "");
	while (n-- > 0)
		write_step(to, st, picked[n]);
}

/* What is cached, and what the tables say by now. */
static void
write_stale(FILE *to, const struct story *st)
{
	const struct story_event *ev =
		st->st_blame != STORY_NONE ? &st->st_events[st->st_blame] : NULL;
	const struct story_event *changed =
		st->st_changed != STORY_NONE ? &st->st_events[st->st_changed] : NULL;
	char cached[STORY_TEXT_BYTES], entry[STORY_TEXT_BYTES];
	uint64_t value;

	if (ev && ev->se_serial != 0 && ev->se_serial <= st->st_n)
		fprintf(to, "  stale: CPU %u has cached, since step %" PRIu64 ": %s\n", ev->se_cpu,
			st->st_events[ev->se_serial - 1].se_step,
			story_cached(st, ev->se_serial - 1, cached, sizeof(cached)));
	if (changed && changed->se_kind == STORY_ENTRY &&
	    story_word(st, st->st_n, changed->se_id, &value))
		fprintf(to, "  now:   the level-%u entry of 0x%" PRIx64 " holds: %s\n",
			changed->se_level, changed->se_gpa,
			story_entry(st, changed->se_space, changed->se_level, value, entry,
				    sizeof(entry)));
}

/* ---- How to repeat it ----------------------------------------------------------------------- */

static void
write_other(FILE *to, const struct cli_sum *s)
{
	const struct sim_outcome *out = &s->first.pr_outcome;

	fprintf(to,
		"  replay: none. It does NOT reproduce: %s, trace hash 0x%016" PRIx64
		" instead of 0x%016" PRIx64 ", by\n  %s\n",
		sim_verdict_name(s->repeat_verdict), s->repeat_hash, out->trace_hash, s->line);
}

static void
write_repeat(FILE *to, const struct cli_sum *s)
{
	const struct sim_outcome *out = &s->first.pr_outcome;
	const char *options = strstr(s->line, " replay ");
	const char *file = s->saved ? s->saved : s->args->file;

	if (s->repeat == CLI_REPEAT_OTHER) {
		write_other(to, s);
		return;
	}
	if (s->line[0])
		fprintf(to, "  replay: %s\n", s->line);
	if (s->repeat == CLI_REPEAT_SAME && out->verdict == SIM_VIOLATION)
		fprintf(to,
			"  (tried: it fails again, with the same trace hash 0x%016" PRIx64 ")\n",
			s->repeat_hash);
	else if (s->repeat == CLI_REPEAT_SAME)
		fprintf(to, "  (tried: it fails again)\n");
	if (out->verdict != SIM_VIOLATION || *s->unfit || s->is_small)
		return;
	if (file)
		fprintf(to, "  shrink: pmap-sim shrink %s -o min.psim\n", file);
	else if (options)
		fprintf(to, "  shrink: pmap-sim shrink %s -o min.psim\n",
			options + strlen(" replay "));
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void
write_where(FILE *to, const struct sim_outcome *out)
{
	fprintf(to, "  seed 0x%" PRIx64 " on %s", out->seed, sim_arch_name(out->arch));
	if (out->verdict == SIM_VIOLATION) {
		fprintf(to, ", step %" PRIu64, out->steps);
		if (out->cpu < SIM_ACTOR_AGENT)
			fprintf(to, ", CPU %" PRIu32, out->cpu);
	}
	fputc('\n', to);
}

void
cli_write_failure(FILE *to, const struct cli_sum *s, bool color)
{
	const struct sim_outcome *out = &s->first.pr_outcome;
	const struct sim_invariant_info *info = sim_invariant_by_id(out->invariant);
	const bool violation = out->verdict == SIM_VIOLATION;
	const struct story *st = s->story;
	char text[CLI_WHY_BYTES];

	fputs(color ? RED : "", to);
	if (violation)
		fprintf(to, "VIOLATION %s%s%s%s%s", out->check, *out->invariant ? ", " : "",
			out->invariant, info ? ": " : "", info ? info->title : "");
	else
		fputs("INTERNAL ERROR", to);
	fprintf(to, "%s\n", color ? PLAIN : "");
	write_where(to, out);
	cli_failure_text(&s->first, text, sizeof(text));
	fprintf(to, "  %s\n", violation ? out->message : text);
	/* The story is another run's, and only told if that was the same. */
	if (violation && st && st->st_ended && strcmp(st->st_check, out->check) == 0 &&
	    s->repeat != CLI_REPEAT_OTHER) {
		cli_write_steps(to, st);
		write_stale(to, st);
	}
	write_repeat(to, s);
	if (s->violations + s->errors > 1)
		fprintf(to, "  %" PRIu64 " runs failed in all\n", s->violations + s->errors);
}
