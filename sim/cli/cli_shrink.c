/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim shrink: a violation made small. */

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/cli/cli.h"
#include "sim/report/json.h"
#include "sim/replay/shrink.h"
#include "sim/story/story.h"

#define SECONDS_DEFAULT 60
#define SECONDS_MAX 1000000
#define SAVE_EVERY_S 2.0 /* what was found so far is written that often */

enum { KEY_TIME = 0x400 };

struct shrinking {
	struct cli_args args;
	struct shrink shrink;
	double saved_at; /* seconds since the beginning */
	bool unsaved;
	bool unsteady; /* what was found does not repeat */
	bool progress;
	bool progress_shown;
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "The same as --save: where the small run goes", 1},
	{"time", KEY_TIME, "S", 0, "Seconds to spend at most (default: 60)", 1},
	{0},
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct shrinking *s = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &s->args;
		return 0;
	case 'o':
		s->args.save = arg;
		return 0;
	case KEY_TIME:
		s->shrink.sh_seconds = (double)cli_number(state, "--time", arg, 1, SECONDS_MAX);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- Saving --------------------------------------------------------------------------------- */

/* Repeats it strictly first: a file that does not repeat is worth nothing. */
static int
save(struct shrinking *s)
{
	static struct sim_outcome out;
	struct sim_options o;
	char why[CLI_WHY_BYTES];
	struct outfile of;
	int error;

	memset(&out, 0, sizeof(out));
	s->unsaved = false;
	if (shrink_verify(&s->shrink, &out) != 0) {
		free(out.choices);
		s->unsteady = true;
		return CLI_INTERNAL;
	}
	if (!s->args.save) {
		free(out.choices);
		return CLI_PASS;
	}
	shrink_options(&s->shrink, &o);
	error = outfile_open(&of, s->args.save, why, sizeof(why));
	if (!error) {
		replay_write(of.of_stream, &o, &out);
		error = outfile_commit(&of, why, sizeof(why));
	}
	free(out.choices);
	if (error) {
		cli_complain("%s", why);
		return CLI_ENVIRONMENT;
	}
	s->saved_at = s->shrink.sh_took;
	return CLI_PASS;
}

static void
tell(void *arg, const struct shrink *sh)
{
	struct shrinking *s = arg;

	s->unsaved = true;
	if (s->args.save && sh->sh_took - s->saved_at > SAVE_EVERY_S)
		save(s);
	if (!s->progress)
		return;
	fprintf(stderr,
		"\r\033[K%" PRIu32 " operations, %" PRIu64 " events, %" PRIu64 " runs, %.0f s",
		sh->sh_size.sz_plan.ps_operations, shrink_events(&sh->sh_size), sh->sh_tried,
		sh->sh_took);
	s->progress_shown = true;
}

/* ---- Telling -------------------------------------------------------------------------------- */

static void
write_size(const char *when, const struct shrink_size *z)
{
	printf("%-10s %10" PRIu32 " %9" PRIu64 " %9" PRIu32 " %12" PRIu32 " %12" PRIu32 " %7" PRIu64
	       " %10" PRIu64 " %9" PRIu64 "\n",
	       when, z->sz_plan.ps_operations, z->sz_accesses, z->sz_plan.ps_switches,
	       z->sz_plan.ps_preemptions, z->sz_plan.ps_agent_steps, shrink_events(z),
	       z->sz_decisions, z->sz_steps);
}

static void
write_text(const struct shrinking *s)
{
	const struct shrink *sh = &s->shrink;

	printf("%s %s, %" PRIu64 " runs in %.1f s%s\n", sh->sh_best.check,
	       *sh->sh_best.invariant ? sh->sh_best.invariant : "(no invariant)", sh->sh_tried,
	       sh->sh_took,
	       sh->sh_through ? ": nothing more can be left out"
	       : cli_stopped  ? ": interrupted"
			      : ": no time left");
	printf("%-10s %10s %9s %9s %12s %12s %7s %10s %9s\n", "", "operations", "accesses",
	       "switches", "preemptions", "agent steps", "events", "decisions", "steps");
	write_size("before", &sh->sh_before);
	write_size("after", &sh->sh_size);
}

/* What is left of it, as of any failure: now it can be read. */
static void
write_failure(const struct shrinking *s)
{
	static struct cli_args args;
	static struct cli_sum sum;
	struct story *story;

	args = s->args;
	shrink_options(&s->shrink, &args.options);
	args.file = s->args.save;
	sum.args = &args;
	sum.failed = true;
	sum.is_small = true;
	sum.first.pr_outcome = s->shrink.sh_best;
	if (s->args.save)
		snprintf(sum.line, sizeof(sum.line), "pmap-sim replay %s", s->args.save);
	sum.repeat = CLI_REPEAT_SAME;
	sum.repeat_hash = s->shrink.sh_best.trace_hash;
	story = cli_tell(&args, &sum);
	sum.story = story;
	cli_write_failure(stdout, &sum, cli_color(stdout));
	story_destroy(story);
}

static void
write_json_size(struct json *j, const char *name, const struct shrink_size *z)
{
	json_object(j, name);
	json_u64(j, "operations", z->sz_plan.ps_operations);
	json_u64(j, "accesses", z->sz_accesses);
	json_u64(j, "switches", z->sz_plan.ps_switches);
	json_u64(j, "preemptions", z->sz_plan.ps_preemptions);
	json_u64(j, "agent_steps", z->sz_plan.ps_agent_steps);
	json_u64(j, "events", shrink_events(z));
	json_u64(j, "decisions", z->sz_decisions);
	json_u64(j, "steps", z->sz_steps);
	json_close(j);
}

static void
write_json(const struct shrinking *s)
{
	const struct shrink *sh = &s->shrink;
	struct json j;

	json_start(&j, stdout);
	json_object(&j, NULL);
	json_string(&j, "check", sh->sh_best.check);
	json_string(&j, "invariant", *sh->sh_best.invariant ? sh->sh_best.invariant : NULL);
	json_string(&j, "message", sh->sh_best.message);
	json_u64(&j, "runs", sh->sh_tried);
	json_u64(&j, "kept", sh->sh_kept);
	json_decimal(&j, "seconds", sh->sh_took);
	json_bool(&j, "complete", sh->sh_through);
	json_string(&j, "saved", s->args.save);
	write_json_size(&j, "before", &sh->sh_before);
	write_json_size(&j, "after", &sh->sh_size);
	json_close(&j);
	json_finish(&j);
}

/* ---- The command ---------------------------------------------------------------------------- */

int
cli_shrink_failed(const struct cli_args *a, const struct shrink *sh, int error)
{
	const char *what = a->file ? a->file : "this seed";

	if (error == -ENOENT)
		cli_complain("%s: it violates nothing, so there is nothing to explain", what);
	else if (error == -ESRCH)
		cli_complain("%s: taken apart and put together again, the run is another one; "
			     "it cannot be explained",
			     what);
	else if (error == -ENODATA)
		cli_complain("%s: it makes no decisions, so it cannot be taken apart", what);
	else
		cli_complain("%s: %s", what,
			     *sh->sh_best.message ? sh->sh_best.message : strerror(-error));
	return error == -EILSEQ ? CLI_DATA : error == -ENOENT ? CLI_PASS : CLI_INTERNAL;
}

static int
shrink(struct shrinking *s)
{
	struct shrink *sh = &s->shrink;
	int code = CLI_PASS, error;

	sh->sh_options = s->args.options;
	sh->sh_trace = s->args.trace;
	sh->sh_stopped = &cli_stopped;
	sh->sh_tell = tell;
	sh->sh_arg = s;
	s->progress = cli_progress(s->args.options.quiet);
	cli_note_signals();
	error = shrink_run(sh);
	if (s->progress_shown)
		fputs("\r\033[K", stderr);
	if (error)
		return cli_shrink_failed(&s->args, sh, error);
	code = save(s);
	if (s->unsteady)
		cli_complain("what was found does not repeat by its decisions: a mistake of "
			     "pmap-sim's own");
	else if (s->args.options.json)
		write_json(s);
	else if (!s->args.options.quiet)
		write_text(s);
	if (!s->unsteady && !s->args.options.json && !s->args.options.quiet)
		write_failure(s);
	return cli_end(code);
}

int
cli_shrink(int argc, char **argv)
{
	static const struct argp_child children[] = {{&cli_replay_options, 0, NULL, 0}, {0}};
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "FILE\n--seed S [OPTION...]",
		.doc = "Makes a run that violates an invariant small: fewest operations, then "
		       "fewest preemptions, and still the same invariant."
		       "\vWhat was found is repeated by its decisions before it is written. "
		       "Interrupted or out of time, the smallest run so far is kept. Exit status: "
		       "0 if it was shrunk, or violates nothing.",
		.children = children,
	};
	struct shrinking *s = calloc(1, sizeof(*s));
	int code;

	if (!s) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	cli_args_init(&s->args);
	s->shrink.sh_seconds = SECONDS_DEFAULT;
	argp_parse(&argp, argc, argv, 0, NULL, s);
	code = cli_prepare_one(&s->args);
	if (code == CLI_PASS)
		code = shrink(s);
	shrink_end(&s->shrink);
	cli_release(&s->args);
	free(s);
	return code;
}
