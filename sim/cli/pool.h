/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Runs jobs in worker processes and hands their outcomes back in the order of the jobs, so that
 * what is printed does not depend on how many workers there were.
 *
 * The first job that fails (a violation, an error, a worker that dies) ends the work: no later job
 * is started, but all earlier ones are finished. Which failure is found first is thereby certain.
 */

#ifndef SIM_POOL_H
#define SIM_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/cli/options.h"

/* Not a job. */
#define POOL_NO_JOB UINT64_MAX

struct pool_result {
	struct sim_outcome pr_outcome;
	int pr_error;  /* negative errno of the job, with a sentence in pr_outcome.message */
	int pr_signal; /* the worker was killed by it while at this job, or 0 */
	int pr_exit;   /* the worker exited with this status while at this job, or 0; -1: with 0 */
};

/* Something else than a run that took place and did not violate anything. */
bool pool_failed(const struct pool_result *r);

struct pool {
	uint64_t po_jobs;
	unsigned int po_workers; /* at least 1 */
	bool po_keep_going;	 /* do not end the work at the first failure */

	/* In a worker: job i, below po_jobs. *out is zeroed; out->choices may be set. */
	int (*po_run)(void *arg, uint64_t i, struct sim_outcome *out);

	/*
	 * Here: the result of job i, in order, none left out up to the last; or with POOL_NO_JOB
	 * what became of a worker that died between two jobs. r's choices are freed after it.
	 */
	void (*po_done)(void *arg, uint64_t i, struct pool_result *r);

	/* Here: several times a second; ndone jobs are known to be done. May be NULL. */
	void (*po_tick)(void *arg, uint64_t ndone);
	void *po_arg;

	int po_signal; /* result: SIGINT, SIGTERM or SIGHUP interrupted the work, or 0 */
};

/*
 * Returns 0, or a negative errno if no worker could be started. Interrupted: the workers are
 * killed, and what came in order until then has been handed over.
 */
int pool_run(struct pool *p);

#endif /* SIM_POOL_H */
