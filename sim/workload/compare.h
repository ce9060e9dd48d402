/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a trace costs under one setting: the seam between pmap-sim compare (cli_compare.c) and the
 * replay that it counts (workload_compare.c). docs/TRACE.md says what the figures mean.
 */

#ifndef SIM_COMPARE_H
#define SIM_COMPARE_H

#include "sim/cli/options.h"

enum compare_superpages { COMPARE_SUPER_OFF, COMPARE_SUPER_ON, COMPARE_SUPER_EAGER };

/* What the host does to all pages in use, now and then. */
enum compare_host { COMPARE_HOST_NONE, COMPARE_HOST_AGE, COMPARE_HOST_DIRTY, COMPARE_HOST_REMOVE };

#define COMPARE_BATCH_MAX 512
#define COMPARE_REGIONS_MAX 1024

struct compare_setting {
	enum compare_superpages cs_superpages;
	enum compare_host cs_host;
	unsigned int cs_batch; /* pages per shootdown of the host, 1 .. COMPARE_BATCH_MAX */
	bool cs_defer;
	unsigned int cs_passes; /* of the host, over the whole trace */
};

/*
 * One replay, on o->arch with o->seed. As sim_run_trace(); the counters of *out beyond those of
 * every run are "table-pages" and "superpages", as they are at the end, "pages", and "passes".
 */
int sim_run_compare(const struct sim_options *o, const struct trace *trace,
		    const struct compare_setting *s, struct sim_outcome *out);

#endif /* SIM_COMPARE_H */
