/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim run: seeds over worker processes. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/cli/cli.h"

struct run {
	struct cli_args args;
	struct cli_sum sum;
	enum sim_arch archs[SIM_ARCH_COUNT];
	unsigned int narchs;
	struct timespec start;
	bool progress;
	bool progress_shown;
	struct pool_result repeated; /* the first failure, tried again */
};

static double
seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* So many schedules are one job: what is done by then is not lost when the rest is given up. */
#define BLOCK UINT64_C(2000)

static uint64_t
blocks(const struct sim_options *o)
{
	return o->schedules > BLOCK ? (o->schedules - 1) / BLOCK + 1 : 1;
}

/*
 * Job i: the blocks of a seed's schedules take turns, then the kinds of page table, then comes the
 * next seed.
 */
static struct sim_options
job_options(const struct run *r, uint64_t i)
{
	struct sim_options o = r->args.options;
	const uint64_t n = blocks(&o);
	const uint64_t before = i % n * BLOCK;
	const uint64_t left = o.schedules - before;

	o.seed += i / n / r->narchs;
	o.arch = r->archs[i / n % r->narchs];
	o.schedule += before;
	o.schedules = left < BLOCK ? left : BLOCK;
	return o;
}

static int
run_job(void *arg, uint64_t i, struct sim_outcome *out)
{
	const struct run *r = arg;
	const struct sim_options o = job_options(r, i);

	return cli_execute(&o, r->args.trace, out);
}

static void
add_result(void *arg, uint64_t i, struct pool_result *result)
{
	struct run *r = arg;

	/* A worker that died sent nothing: say at least which run it was at. */
	if (i != POOL_NO_JOB) {
		const struct sim_options o = job_options(r, i);

		result->pr_outcome.seed = o.seed;
		result->pr_outcome.arch = o.arch;
	} else {
		snprintf(result->pr_outcome.message, sizeof(result->pr_outcome.message),
			 "after its last run");
	}
	cli_sum_add(&r->sum, result);
}

static void
clear_progress(struct run *r)
{
	if (r->progress_shown)
		fputs("\r\033[K", stderr);
	r->progress_shown = false;
}

static void
show_progress(void *arg, uint64_t ndone)
{
	struct run *r = arg;

	if (!r->progress)
		return;
	fprintf(stderr, "\r\033[K%" PRIu64 " of %" PRIu64 " runs, %.0f s", ndone, r->sum.wanted,
		seconds_since(&r->start));
	r->progress_shown = true;
}

/* ---- Trying the replay line ----------------------------------------------------------------- */

static int
repeat_job(void *arg, uint64_t i, struct sim_outcome *out)
{
	const struct run *r = arg;
	struct sim_options o = r->args.options;

	(void)i;
	o.seed = r->sum.first.pr_outcome.seed;
	o.arch = r->sum.first.pr_outcome.arch;
	o.schedule = r->sum.first.pr_outcome.schedule;
	o.schedules = 1;
	o.record_choices = r->args.save != NULL;
	return cli_execute(&o, r->args.trace, out);
}

static void
take_repeated(void *arg, uint64_t i, struct pool_result *result)
{
	struct run *r = arg;

	if (i == POOL_NO_JOB)
		return;
	r->repeated = *result;
	result->pr_outcome.choices = NULL; /* ours now */
}

static int
save(struct run *r)
{
	struct sim_outcome *out = &r->repeated.pr_outcome;
	struct sim_options o = r->args.options;
	char why[CLI_WHY_BYTES];
	struct outfile of;
	int error;

	o.arch = out->arch;
	error = outfile_open(&of, r->args.save, why, sizeof(why));
	if (!error) {
		replay_write(of.of_stream, &o, out);
		error = outfile_commit(&of, why, sizeof(why));
	}
	if (error) {
		cli_complain("%s", why);
		return CLI_ENVIRONMENT;
	}
	r->sum.saved = r->args.save;
	return CLI_PASS;
}

/* In a fresh process, as the command will run. Returns CLI_PASS unless the file was not saved. */
static int
repeat_first(struct run *r)
{
	const struct pool_result *first = &r->sum.first;
	struct pool pool = {
		.po_jobs = 1,
		.po_workers = 1,
		.po_run = repeat_job,
		.po_done = take_repeated,
		.po_arg = r,
	};
	int code = CLI_PASS;

	if (!r->sum.failed || first->pr_error || r->sum.signal ||
	    strcmp(first->pr_outcome.message, "after its last run") == 0)
		return CLI_PASS;
	cli_replay_line(&r->args.options, &first->pr_outcome, r->sum.line, sizeof(r->sum.line));
	if (pool_run(&pool) != 0 || pool.po_signal) {
		r->sum.signal = pool.po_signal;
		r->sum.repeat = CLI_REPEAT_NONE;
		return CLI_PASS;
	}
	r->sum.repeat_hash = r->repeated.pr_outcome.trace_hash;
	r->sum.repeat_verdict = r->repeated.pr_outcome.verdict;
	r->sum.repeat =
		r->repeated.pr_error == first->pr_error &&
				r->repeated.pr_signal == first->pr_signal &&
				r->repeated.pr_exit == first->pr_exit &&
				r->sum.repeat_verdict == first->pr_outcome.verdict &&
				r->sum.repeat_hash == first->pr_outcome.trace_hash &&
				r->repeated.pr_outcome.steps == first->pr_outcome.steps &&
				r->repeated.pr_outcome.state_hash == first->pr_outcome.state_hash &&
				strcmp(r->repeated.pr_outcome.check, first->pr_outcome.check) ==
					0 &&
				strcmp(r->repeated.pr_outcome.invariant,
				       first->pr_outcome.invariant) == 0
			? CLI_REPEAT_SAME
			: CLI_REPEAT_OTHER;
	if (r->args.save && pool_failed(&r->repeated) && !r->repeated.pr_signal)
		code = save(r);
	free(r->repeated.pr_outcome.choices);
	r->repeated.pr_outcome.choices = NULL;
	return code;
}

static int
run_all(struct run *r)
{
	const struct sim_options *o = &r->args.options;
	struct pool pool = {
		.po_workers = o->jobs,
		.po_keep_going = r->args.keep_going,
		.po_run = run_job,
		.po_done = add_result,
		.po_tick = show_progress,
		.po_arg = r,
	};
	int error, code, save_code;

	for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
		if (o->arch_set >> i & 1)
			r->archs[r->narchs++] = (enum sim_arch)i;
	}
	pool.po_jobs = o->count * r->narchs * blocks(o);
	r->sum.args = &r->args;
	r->sum.wanted = pool.po_jobs;
	r->progress = cli_progress(o->quiet);
	clock_gettime(CLOCK_MONOTONIC, &r->start);

	error = pool_run(&pool);
	clear_progress(r);
	if (error) {
		cli_complain("cannot start worker processes: %s", strerror(-error));
		return CLI_ENVIRONMENT;
	}
	r->sum.signal = pool.po_signal;
	r->sum.seconds = seconds_since(&r->start);
	save_code = repeat_first(r);
	code = cli_publish(&r->args, &r->sum);
	return code == CLI_PASS ? save_code : code;
}

int
cli_run(int argc, char **argv)
{
	struct run *r = calloc(1, sizeof(*r));
	int code;

	if (!r) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	cli_parse(&r->args, false, argc, argv);
	code = cli_prepare(&r->args);
	if (code == CLI_PASS)
		code = run_all(r);
	cli_release(&r->args);
	free(r);
	return code;
}
