/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Statistics, once or again and again with what changed.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vmmctl.h"

#define DESC_BYTES 120

void
out_stats(struct out *out, struct vmctx *ctx, int cpu)
{
	struct vm_stats *stats;

	check_call(vm_get_stats(ctx, cpu, &stats));
	for (unsigned int i = 0; i < stats->n; i++) {
		char desc[DESC_BYTES];

		check_call(vm_get_stat_desc(ctx, cpu, i, desc));
		out_put(out, desc, json_integer((json_int_t)stats->values[i]),
			"%-50s\t%20" PRIu64 "\n", desc, stats->values[i]);
	}
	free(stats);
}

/* What changed, per second. start_ns is when watching began. -ENXIO: the machine went. */
static int
show_rates(struct vmctx *ctx, int cpu, uint64_t start_ns, const struct vm_stats *before,
	   const struct vm_stats *now)
{
	const double seconds = (double)(now->time_ns - before->time_ns) / 1e9;

	printf("after %.1f s:\n", (double)(now->time_ns - start_ns) / 1e9);
	for (unsigned int i = 0; i < now->n && i < before->n; i++) {
		const int64_t change = (int64_t)(now->values[i] - before->values[i]);
		char desc[DESC_BYTES];
		int error;

		if (change == 0 || seconds <= 0)
			continue;
		error = vm_get_stat_desc(ctx, cpu, i, desc);
		if (error == -ENXIO)
			return error;
		check_call(error);
		printf("%-50s\t%20" PRIu64 "\t%+14.1f/s\n", desc, now->values[i],
		       (double)change / seconds);
	}
	printf("\n");
	fflush(stdout);
	return 0;
}

/* Until the machine goes, or somebody interrupts us. */
static int
watch(struct vmctx *ctx, int cpu, double seconds)
{
	const struct timespec pause = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
	};
	struct vm_stats *before, *now;
	uint64_t start_ns;
	int error = 0;

	check_call(vm_get_stats(ctx, cpu, &before));
	start_ns = before->time_ns;
	while (error == 0) {
		nanosleep(&pause, NULL);
		error = vm_get_stats(ctx, cpu, &now);
		if (error == -ENXIO)
			break;
		check_call(error);
		error = show_rates(ctx, cpu, start_ns, before, now);
		free(before);
		before = now;
	}
	free(before);
	return EX_OK;
}

int
verb_stats(struct out *out, int argc, char **argv)
{
	static const struct option options[] = {
		{"cpu", required_argument, NULL, 'c'},
		{"watch", optional_argument, NULL, 'w'},
		{0},
	};
	struct vmctx *ctx;
	double seconds = 0;
	int c, cpu = -1;
	char *end;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c') {
			cpu = parse_cpu(optarg);
		} else if (c == 'w') {
			seconds = optarg != NULL ? strtod(optarg, &end) : 1;
			if ((optarg != NULL && *end != '\0') ||
			    !(seconds >= 0.01 && seconds <= 86400))
				usage_error("--watch takes seconds, 0.01 to 86400, not '%s'",
					    optarg);
		} else {
			usage_error("stats: unknown option '%s'", argv[optind - 1]);
		}
	}
	if (argc - optind != 1)
		usage_error("stats takes the name of a machine");
	if (seconds != 0 && out->ou_root != NULL)
		usage_error("--json and --watch do not go together");
	ctx = open_machine(argv[optind]);
	if (seconds != 0)
		return watch(ctx, cpu, seconds);
	out_stats(out, ctx, cpu);
	vm_close(ctx);
	return EX_OK;
}
