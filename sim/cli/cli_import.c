/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim record --from: faults that a real host has seen become a trace. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/trace/import.h"

static void
complain_of_lines(const char *from, const struct import_counts *c)
{
	for (unsigned int i = 0; i < IMPORT_WRONG_KEPT && i < c->ic_wrong; i++)
		cli_complain("%s:%" PRIu64 ": not understood: %s", from,
			     c->ic_first_wrong[i].iw_line, c->ic_first_wrong[i].iw_why);
	if (c->ic_wrong > IMPORT_WRONG_KEPT)
		cli_complain("%s: %" PRIu64 " more lines are not understood", from,
			     c->ic_wrong - IMPORT_WRONG_KEPT);
	if (c->ic_shared_vcpu)
		cli_complain("warning: several threads run the vCPU of one number: if these are "
			     "several guests, give me one at a time");
	if (c->ic_strange > 0)
		cli_complain("warning: %" PRIu64 " faults of other machines are left out",
			     c->ic_strange);
	if (c->ic_shadow > 0)
		cli_complain("warning: %" PRIu64
			     " faults are of shadow paging, whose addresses are "
			     "linear, and left out",
			     c->ic_shadow);
}

static int
by_count(const void *a, const void *b)
{
	const struct import_reason *const x = a, *const y = b;

	if (x->ir_count != y->ir_count)
		return x->ir_count > y->ir_count ? -1 : 1;
	return strcmp(x->ir_name, y->ir_name);
}

static void
report(const char *output, const struct trace_info *i, const struct import_counts *counts)
{
	struct import_counts c = *counts;

	printf("%s: %" PRIu64 " faults of %u vCPU%s in %.6f s, in %" PRIu64
	       " page%s and %u region%s of 2 MiB\n",
	       output, i->ti_accesses, i->ti_vcpus, i->ti_vcpus == 1 ? "" : "s",
	       (double)i->ti_ns / 1e9, i->ti_pages, i->ti_pages == 1 ? "" : "s", i->ti_regions,
	       i->ti_regions == 1 ? "" : "s");
	printf("%" PRIu64 " lines: %" PRIu64 " exits, %" PRIu64 " other events, %" PRIu64
	       " failed faults, %" PRIu64 " without an event, %" PRIu64 " not understood\n",
	       c.ic_lines, c.ic_exits, c.ic_others, c.ic_failed, c.ic_comments, c.ic_wrong);
	if (c.ic_backwards > 0)
		printf("%" PRIu64 " events came before the one above them and were put in order\n",
		       c.ic_backwards);
	qsort(c.ic_reasons, c.ic_nreasons, sizeof(c.ic_reasons[0]), by_count);
	if (c.ic_nreasons > 0)
		printf("exits:");
	for (unsigned int n = 0; n < c.ic_nreasons; n++)
		printf("%s %s %" PRIu64, n == 0 ? "" : ",", c.ic_reasons[n].ir_name,
		       c.ic_reasons[n].ir_count);
	if (c.ic_nreasons > 0)
		printf("\n");
}

int
cli_import(const struct cli_import_args *a)
{
	const char *slash = strrchr(a->from, '/');
	struct import *im = import_new();
	char why[CLI_WHY_BYTES] = "out of memory";
	struct trace_info info;
	int error = im ? 0 : -ENOMEM;
	bool refused;

	if (!error)
		error = import_file(im, a->from, why, sizeof(why));
	if (error) {
		cli_complain("%s", why);
		import_free(im);
		return error == -ENOMEM ? CLI_INTERNAL : CLI_DATA;
	}
	complain_of_lines(a->from, import_counts(im));
	refused = a->strict && import_counts(im)->ic_wrong > 0;
	if (refused)
		cli_complain("nothing is written, since there are lines that are not understood");
	else
		error = import_write(im, a->output,
				     a->name ? a->name
				     : slash ? slash + 1
					     : a->from,
				     &info, why, sizeof(why));
	if (error)
		cli_complain("%s: %s", a->from, why);
	else if (!refused && !a->quiet)
		report(a->output, &info, import_counts(im));
	import_free(im);
	if (refused || error == -ENODATA || error == -EFBIG)
		return CLI_DATA;
	return error == 0 ? CLI_PASS : error == -ENOMEM ? CLI_INTERNAL : CLI_ENVIRONMENT;
}
