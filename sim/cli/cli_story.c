/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Makes a run once more to tell its story, in a process of its own: a run that crashes the
 * simulator leaves its story up to there in the memory that both share.
 */

#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/story/story.h"

#define TRIES 6 /* to fit a long run into what there is room for */

struct telling {
	struct sim_options options;
	const struct trace *trace;
	uint64_t end;  /* last step; 0: as far as the memory reaches */
	uint64_t hash; /* of the trace; 0: it was not told to its end */
};

static int
tell(void *arg, uint64_t i, struct sim_outcome *out)
{
	const struct telling *t = arg;
	int error = cli_execute(&t->options, t->trace, out);

	(void)i;
	for (unsigned int k = 0; error == 0 && t->options.story->st_lost != 0 && k < TRIES; k++) {
		const uint64_t end = t->end != 0 ? t->end : out->steps;

		free(out->choices);
		story_clear(t->options.story, story_shorter(t->options.story, end));
		error = cli_execute(&t->options, t->trace, out);
	}
	return error;
}

static void
told(void *arg, uint64_t i, struct pool_result *r)
{
	struct telling *t = arg;

	if (i != POOL_NO_JOB && r->pr_error == 0 && r->pr_signal == 0 && r->pr_exit == 0)
		t->hash = r->pr_outcome.trace_hash;
}

static bool
is_page(const char *path)
{
	const size_t n = strlen(path);

	return n > 5 && strcmp(path + n - 5, ".html") == 0;
}

bool
cli_wants_story(const struct cli_args *a, const struct cli_sum *s)
{
	bool pages = false;

	for (unsigned int i = 0; i < a->options.nreports; i++)
		pages = pages || is_page(a->options.reports[i]);
	/* Whoever reads of a violation on a screen wants to know how it came. */
	if (s->failed && !s->first.pr_error && !s->first.pr_signal && !s->first.pr_exit &&
	    s->repeat != CLI_REPEAT_OTHER && !s->signal)
		return true;
	return a->perfetto != NULL || (pages && (s->failed || a->story || s->recorded != NULL));
}

/* The options of the run that it is about. */
static struct sim_options
run_of(const struct cli_args *a, const struct cli_sum *s)
{
	struct sim_options o = a->options;

	for (unsigned int i = SIM_ARCH_COUNT; i-- > 0;) {
		if (o.arch_set >> i & 1)
			o.arch = (enum sim_arch)i;
	}
	if (s->failed) {
		o.seed = s->first.pr_outcome.seed;
		o.arch = s->first.pr_outcome.arch;
		o.schedule = s->first.pr_outcome.schedule;
	}
	o.schedules = 1;
	if (s->choices_unfit) {
		o.choices = NULL;
		o.nchoices = 0;
	}
	o.check_determinism = false;
	o.record_choices = false;
	return o;
}

struct story *
cli_tell(const struct cli_args *a, const struct cli_sum *s)
{
	struct telling t = {.options = run_of(a, s), .trace = a->trace};
	struct pool pool = {
		.po_jobs = 1,
		.po_workers = 1,
		.po_run = tell,
		.po_done = told,
		.po_arg = &t,
	};
	struct story *story = story_create();

	if (story == NULL)
		return NULL;
	t.options.story = story;
	if (s->failed)
		t.end = s->first.pr_outcome.steps;
	if (pool_run(&pool) != 0 || story->st_n == 0) {
		story_destroy(story);
		return NULL;
	}
	if (t.hash != 0 && (s->failed || s->done == 1) && !s->signal &&
	    t.hash != (s->failed ? s->first.pr_outcome.trace_hash : s->last_hash))
		cli_complain("warning: the run went another way when it was told");
	return story;
}
