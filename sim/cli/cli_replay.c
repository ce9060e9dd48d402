/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-sim replay: one run again, in this very process, so that a debugger sees it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/cli/cli.h"
#include "sim/replay/lenient.h"
#include "sim/cli/version.h"

struct replaying {
	struct cli_args args;
	struct cli_sum sum;
	struct pool_result result;
};

static int
save(struct replaying *r, const struct sim_options *o)
{
	char why[CLI_WHY_BYTES];
	struct outfile of;
	int error = outfile_open(&of, r->args.save, why, sizeof(why));

	if (!error) {
		replay_write(of.of_stream, o, &r->result.pr_outcome);
		error = outfile_commit(&of, why, sizeof(why));
	}
	if (error) {
		cli_complain("%s", why);
		return CLI_ENVIRONMENT;
	}
	r->sum.saved = r->args.save;
	return CLI_PASS;
}

/* Runs one kind of page table. Returns CLI_PASS unless the file could not be saved. */
static int
replay_one(struct replaying *r, enum sim_arch arch)
{
	struct sim_options o = r->args.options;
	struct sim_outcome *out = &r->result.pr_outcome;
	struct lenient lenient;
	int code = CLI_PASS;

	o.arch = arch;
	o.record_choices = r->args.save != NULL;
	if (r->args.lenient)
		lenient_begin(&lenient, &o);
	r->result.pr_error = cli_execute(&o, r->args.trace, out);
	if (r->result.pr_error == -EILSEQ && o.choices)
		memcpy(r->sum.unfit, out->message, sizeof(r->sum.unfit));
	if (r->result.pr_error == -EILSEQ && o.choices_by_seed) {
		/* Choices depend on the very steps of the code; what the seed does, less so. */
		free(out->choices);
		o.choices = NULL;
		o.nchoices = 0;
		r->sum.choices_unfit = true;
		r->result.pr_error = cli_execute(&o, r->args.trace, out);
	}
	if (r->args.save && !r->result.pr_error)
		code = save(r, &o);
	free(out->choices);
	out->choices = NULL;
	out->nchoices = 0;
	cli_sum_add(&r->sum, &r->result);
	return code;
}

static int
replay_all(struct replaying *r)
{
	const struct sim_options *o = &r->args.options;
	struct timespec start, end;
	int code, save_code = CLI_PASS;

	r->sum.args = &r->args;
	r->sum.recorded = r->args.file ? &r->args.recorded : NULL;
	if (r->args.file && !o->quiet && strcmp(r->args.recorded.re_build, sim_build_id) != 0)
		cli_complain("warning: recorded by another build, %s; this one is %s",
			     r->args.recorded.re_build, sim_build_id);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned int i = 0; i < SIM_ARCH_COUNT && !r->sum.failed; i++) {
		if (!(o->arch_set >> i & 1))
			continue;
		r->sum.wanted++;
		code = replay_one(r, (enum sim_arch)i);
		save_code = save_code ? save_code : code;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	r->sum.seconds =
		(double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	code = cli_publish(&r->args, &r->sum);
	return code == CLI_PASS ? save_code : code;
}

int
cli_replay(int argc, char **argv)
{
	struct replaying *r = calloc(1, sizeof(*r));
	uint64_t break_at;
	bool stops;
	int code;

	if (!r) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	cli_parse(&r->args, true, argc, argv);
	stops = (r->args.until || r->args.break_at || r->args.gdb) && !r->args.options.break_at;
	break_at = r->args.options.break_at;
	code = cli_prepare(&r->args);
	r->args.options.break_at = break_at; /* no file decides that */
	if (code == CLI_PASS)
		code = stops ? cli_stop(&r->args, argc, argv) : replay_all(r);
	cli_release(&r->args);
	free(r);
	return code;
}
