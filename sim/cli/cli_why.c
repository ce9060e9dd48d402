/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim why: which decision made a failure likely. */

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/report/json.h"
#include "sim/story/story.h"
#include "sim/replay/why.h"

#define TRIES_DEFAULT 40
#define TRIES_MAX 1000000
#define SECONDS_DEFAULT 60
#define SECONDS_MAX 1000000
#define BAR 40 /* characters for a share of one */

enum { KEY_TRIES = 0x500, KEY_TIME };

struct asking {
	struct cli_args args;
	struct why why;
	struct html_curve curve;
	char decision[REPLAY_LINE_BYTES]; /* the decisive one, as files have it */
	char then[3 * STORY_TEXT_BYTES];  /* what happened first after it */
	char text[REPLAY_LINE_BYTES + 4 * STORY_TEXT_BYTES]; /* both, for pages */
	bool progress;
	bool progress_shown;
};

static const struct argp_option options[] = {
	{"tries", KEY_TRIES, "N", 0, "Runs at each point of the curve (default: 40)", 1},
	{"time", KEY_TIME, "S", 0, "Seconds to spend at most (default: 60)", 1},
	{0},
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct asking *s = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &s->args;
		return 0;
	case KEY_TRIES:
		s->why.wy_tries = (uint32_t)cli_number(state, "--tries", arg, 1, TRIES_MAX);
		return 0;
	case KEY_TIME:
		s->why.wy_run.sh_seconds = (double)cli_number(state, "--time", arg, 1, SECONDS_MAX);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void
tell(void *arg, const struct why *wy)
{
	struct asking *s = arg;

	if (!s->progress)
		return;
	fprintf(stderr, "\r\033[K%" PRIu32 " points, %" PRIu64 " runs, %.0f s", wy->wy_npoints,
		wy->wy_runs, wy->wy_run.sh_took);
	s->progress_shown = true;
}

/* ---- In words ------------------------------------------------------------------------------- */

/* The first thing of interest that happened at the step of the decision or behind it. */
static void
find_then(struct asking *s, const struct story *st, uint64_t step)
{
	char actor[STORY_NAME_BYTES], action[STORY_TEXT_BYTES], change[STORY_TEXT_BYTES];

	for (uint32_t i = 0; i < st->st_n; i++) {
		if (st->st_events[i].se_step < step || (st->st_events[i].se_flags & SE_BEFORE) ||
		    !story_matters(st, i))
			continue;
		story_change(st, i, change, sizeof(change));
		snprintf(s->then, sizeof(s->then), "step %" PRIu64 ", %s: %s%s%s",
			 st->st_events[i].se_step, story_actor(st, i, actor, sizeof(actor)),
			 story_action(st, i, action, sizeof(action)), *change ? " | " : "", change);
		return;
	}
}

static void
find_words(struct asking *s, const struct story *st)
{
	const struct why *wy = &s->why;
	const struct plan *pl = &wy->wy_run.sh_plan;
	uint32_t i;

	if (wy->wy_decisive == UINT32_MAX)
		return;
	i = (uint32_t)wy->wy_points[wy->wy_decisive].pt_x - 1;
	replay_decision_text(wy->wy_run.sh_best.agents, s->args.options.cpus, &pl->pl_choices[i],
			     &pl->pl_notes[i], s->decision, sizeof(s->decision));
	if (st)
		find_then(s, st, pl->pl_notes[i].cn_step);
	snprintf(s->text, sizeof(s->text), "decision %" PRIu32 ", step %" PRIu64 ": %s%s%s", i,
		 pl->pl_notes[i].cn_step, s->decision, *s->then ? "; then " : "", s->then);
}

/* From where on at least every second run fails. */
static void
write_likely(const struct why *wy)
{
	const struct html_point *likely = NULL;

	for (uint32_t i = wy->wy_npoints; i-- > 0 && why_share(&wy->wy_points[i]) >= 0.5;)
		likely = &wy->wy_points[i];
	if (likely)
		printf("likely:   from decision %" PRIu64 ", step %" PRIu64
		       " on, at least every second run fails\n",
		       likely->pt_x, likely->pt_step);
}

static void
write_decisive(const struct asking *s)
{
	const struct why *wy = &s->why;
	const struct html_point *to = NULL, *from = NULL;

	write_likely(wy);
	if (wy->wy_decisive == UINT32_MAX) {
		printf("decisive: no single decision; it became likely little by little\n");
		return;
	}
	to = &wy->wy_points[wy->wy_decisive];
	from = to - 1;
	if (wy->wy_exact)
		printf("decisive: %s\n", s->text);
	else
		printf("decisive: one of decisions %" PRIu64 " to %" PRIu64 ", steps %" PRIu64
		       " to %" PRIu64 "\n",
		       from->pt_x, to->pt_x - 1, from->pt_step, to->pt_step);
	printf("          without it %.0f %% of all runs fail, with it %.0f %%\n",
	       100 * why_share(from), 100 * why_share(to));
}

static void
write_text(const struct asking *s)
{
	const struct why *wy = &s->why;

	printf("%s %s, %" PRIu32 " decisions; %" PRIu64 " runs in %.1f s%s\n",
	       wy->wy_run.sh_best.check,
	       *wy->wy_run.sh_best.invariant ? wy->wy_run.sh_best.invariant : "(no invariant)",
	       wy->wy_run.sh_plan.pl_nchoices, wy->wy_runs, wy->wy_run.sh_took,
	       cli_stopped ? ": interrupted" : "");
	printf("%10s %9s %12s  P(fail) of runs that begin like this\n", "decisions", "step",
	       "failed");
	for (uint32_t i = 0; i < wy->wy_npoints; i++) {
		const struct html_point *p = &wy->wy_points[i];
		const int n = (int)(BAR * why_share(p) + 0.5);

		printf("%10" PRIu64 " %9" PRIu64 " %5" PRIu32 "/%-6" PRIu32 "  %.2f%s%.*s%s\n",
		       p->pt_x, p->pt_step, p->pt_failed, p->pt_tries, why_share(p),
		       n > 0 ? " " : "", n, "########################################",
		       i == wy->wy_decisive ? " <" : "");
	}
	write_decisive(s);
}

static void
write_json(const struct asking *s, FILE *to)
{
	const struct why *wy = &s->why;
	struct json j;

	json_start(&j, to);
	json_object(&j, NULL);
	json_string(&j, "check", wy->wy_run.sh_best.check);
	json_string(&j, "invariant",
		    *wy->wy_run.sh_best.invariant ? wy->wy_run.sh_best.invariant : NULL);
	json_u64(&j, "decisions", wy->wy_run.sh_plan.pl_nchoices);
	json_u64(&j, "runs", wy->wy_runs);
	json_decimal(&j, "seconds", wy->wy_run.sh_took);
	json_array(&j, "points");
	for (uint32_t i = 0; i < wy->wy_npoints; i++) {
		json_object(&j, NULL);
		json_u64(&j, "decisions", wy->wy_points[i].pt_x);
		json_u64(&j, "step", wy->wy_points[i].pt_step);
		json_u64(&j, "tries", wy->wy_points[i].pt_tries);
		json_u64(&j, "failed", wy->wy_points[i].pt_failed);
		json_close(&j);
	}
	json_close(&j);
	if (wy->wy_decisive == UINT32_MAX) {
		json_null(&j, "decisive");
	} else {
		json_object(&j, "decisive");
		json_bool(&j, "exact", wy->wy_exact);
		json_u64(&j, "from", wy->wy_points[wy->wy_decisive - 1].pt_x);
		json_u64(&j, "to", wy->wy_points[wy->wy_decisive].pt_x);
		json_string(&j, "decision", s->decision);
		json_string(&j, "then", *s->then ? s->then : NULL);
		json_close(&j);
	}
	json_close(&j);
	json_finish(&j);
}

/* ---- Reports -------------------------------------------------------------------------------- */

static int
write_reports(struct asking *s, const struct cli_sum *sum)
{
	char why[CLI_WHY_BYTES];

	for (unsigned int i = 0; i < s->args.options.nreports; i++) {
		FILE *to = s->args.reports[i].of_stream;
		const char *path = s->args.options.reports[i];

		if (cli_ends_with(path, ".svg"))
			svg_curve(to, &s->curve, true);
		else if (cli_ends_with(path, ".html"))
			html_write(to, sum);
		else
			write_json(s, to);
		if (outfile_commit(&s->args.reports[i], why, sizeof(why)) != 0) {
			cli_complain("%s", why);
			return CLI_ENVIRONMENT;
		}
	}
	return CLI_PASS;
}

/* The run, its story and the curve, for what is made of them. */
static int
publish(struct asking *s)
{
	static struct cli_args args;
	static struct cli_sum sum;
	struct pool_result result = {0};
	struct story *story;
	int code;

	args = s->args;
	shrink_options(&s->why.wy_run, &args.options);
	sum.args = &args;
	sum.wanted = 1;
	result.pr_outcome = s->why.wy_run.sh_best;
	cli_sum_add(&sum, &result);
	sum.repeat = CLI_REPEAT_SAME;
	sum.repeat_hash = result.pr_outcome.trace_hash;
	sum.seconds = s->why.wy_run.sh_took;
	story = cli_tell(&args, &sum);
	sum.story = story;
	find_words(s, story);
	s->curve = (struct html_curve){
		.cu_x = "decisions replayed",
		.cu_n = s->why.wy_npoints,
		.cu_points = s->why.wy_points,
		.cu_decisive = s->why.wy_decisive,
		.cu_text = s->why.wy_exact ? s->text : NULL,
	};
	sum.curve = &s->curve;
	if (s->args.options.json)
		write_json(s, stdout);
	else if (!s->args.options.quiet)
		write_text(s);
	code = write_reports(s, &sum);
	story_destroy(story);
	return code;
}

/* ---- The command ---------------------------------------------------------------------------- */

static int
ask(struct asking *s)
{
	struct shrink *sh = &s->why.wy_run;
	int code, error;

	sh->sh_options = s->args.options;
	sh->sh_trace = s->args.trace;
	sh->sh_stopped = &cli_stopped;
	s->why.wy_tell = tell;
	s->why.wy_arg = s;
	s->progress = cli_progress(s->args.options.quiet);
	cli_note_signals();
	error = why_run(&s->why);
	if (s->progress_shown)
		fputs("\r\033[K", stderr);
	if (error)
		return cli_shrink_failed(&s->args, sh, error);
	code = publish(s);
	return cli_end(code);
}

int
cli_why(int argc, char **argv)
{
	static const struct argp_child children[] = {{&cli_replay_options, 0, NULL, 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "FILE\n--seed S [OPTION...]",
		.doc = "Tells which decision made a violation likely: begins the run as it was, up "
		       "to some decision, goes on by chance, and counts how often that fails."
		       "\vWhat the programs do is kept; who steps when, what hardware does and "
		       "which faults happen is drawn anew. Reports: .html and .svg with the curve, "
		       ".json. Exit status: 0 if it was found out, or nothing is violated.",
		.children = children,
	};
	struct asking *s = calloc(1, sizeof(*s));
	int code;

	if (!s) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	cli_args_init(&s->args);
	s->args.curves = true;
	s->why.wy_tries = TRIES_DEFAULT;
	s->why.wy_run.sh_seconds = SECONDS_DEFAULT;
	argp_parse(&argp, argc, argv, 0, NULL, s);
	code = cli_prepare_one(&s->args);
	if (code == CLI_PASS)
		code = ask(s);
	shrink_end(&s->why.wy_run);
	cli_release(&s->args);
	free(s);
	return code;
}
