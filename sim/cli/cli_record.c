/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim record: traces of real programs. */

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "sim/cli/cli.h"
#include "sim/cli/number.h"

enum { KEY_WINDOW = 0x100, KEY_NAME, KEY_VALGRIND, KEY_FROM, KEY_STRICT };

struct record_args {
	struct trace_recording recording;
	const char *from;
	bool strict;
	bool quiet;
	bool progress_shown;
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "The trace to write, usually NAME.trace.zst", 0},
	{"window", KEY_WINDOW, "N", 0,
	 "Join an access with an equal one among the last N records, 1 to 256 (default: 32)", 0},
	{"name", KEY_NAME, "TEXT", 0, "Name of the program in the trace (default: CMD)", 0},
	{"valgrind", KEY_VALGRIND, "PROGRAM", 0, "Valgrind to use (default: valgrind)", 0},
	{"from", KEY_FROM, "FILE", 0,
	 "Run nothing; take faults of a real guest from what 'perf script' or 'trace-cmd report' "
	 "printed of kvm:kvm_page_fault and kvm:kvm_exit, or of vmm:*; '-' is standard input",
	 0},
	{"strict", KEY_STRICT, NULL, 0, "With --from: write nothing if a line is not understood",
	 0},
	{"quiet", 'q', NULL, 0, "Print errors only", 0},
	{0},
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct record_args *a = state->input;

	switch (key) {
	case 'o':
		a->recording.tr_path = arg;
		return 0;
	case KEY_WINDOW:
		a->recording.tr_window =
			(unsigned int)cli_number(state, "--window", arg, 1, TRACE_WINDOW_MAX);
		return 0;
	case KEY_NAME:
		a->recording.tr_name = arg;
		return 0;
	case KEY_VALGRIND:
		a->recording.tr_valgrind = arg;
		return 0;
	case KEY_FROM:
		a->from = arg;
		return 0;
	case KEY_STRICT:
		a->strict = true;
		return 0;
	case 'q':
		a->quiet = true;
		return 0;
	case ARGP_KEY_ARGS:
		a->recording.tr_argv = state->argv + state->next;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!a->recording.tr_argv && !a->from)
			argp_error(state, "record what? Name a program");
		if (a->recording.tr_argv && a->from)
			argp_error(state, "either a program or --from, not both");
		if (a->strict && !a->from)
			argp_error(state, "--strict goes with --from");
		if (!a->recording.tr_path)
			argp_error(state, "--output is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void
show_progress(void *arg, uint64_t accesses)
{
	struct record_args *a = arg;

	fprintf(stderr, "\r\033[K%" PRIu64 " million accesses", accesses / 1000000);
	a->progress_shown = true;
}

static int
exit_code(int error)
{
	switch (error) {
	case 0:
		return CLI_PASS;
	case -ENOENT:
	case -EACCES:
		return CLI_USAGE; /* that program, or that file, cannot be */
	case -ENOPKG:
		return CLI_ENVIRONMENT;
	default:
		return CLI_INTERNAL;
	}
}

static void
report(const struct record_args *a)
{
	const struct trace_info *i = &a->recording.tr_info;
	const int status = a->recording.tr_status;
	struct stat st;

	if (WIFSIGNALED(status))
		cli_complain("warning: the program was killed by signal %d (%s); the trace ends "
			     "there",
			     WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		cli_complain("warning: the program exited with status %d", WEXITSTATUS(status));
	if (a->quiet)
		return;
	if (stat(a->recording.tr_path, &st) != 0)
		st.st_size = 0;
	printf("%s: %" PRIu64 " accesses to %" PRIu64 " pages in %u regions of 2 MiB; %" PRIu64
	       " records, %" PRIdMAX " bytes\n",
	       a->recording.tr_path, i->ti_accesses, i->ti_pages, i->ti_regions, i->ti_records,
	       (intmax_t)st.st_size);
}

int
cli_record(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "-o FILE [--] CMD [ARGUMENT...]\n-o FILE --from EVENTS",
		.doc = "Runs a program under Valgrind and records its memory accesses; or takes "
		       "the faults of a real guest from a file of trace events."
		       "\vThe program runs some hundred times slower than usual. Programs that it "
		       "starts are not recorded. docs/TRACE.md describes the file.",
	};
	struct record_args a = {.recording.tr_window = TRACE_WINDOW_DEFAULT};
	char why[CLI_WHY_BYTES] = "";
	int error;

	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &a);
	if (a.from)
		return cli_import(&(struct cli_import_args){
			a.from, a.recording.tr_path, a.recording.tr_name, a.strict, a.quiet});
	if (cli_progress(a.quiet)) {
		a.recording.tr_progress = show_progress;
		a.recording.tr_arg = &a;
	}
	error = trace_record(&a.recording, why, sizeof(why));
	if (a.progress_shown)
		fputs("\r\033[K", stderr);
	if (error)
		cli_complain("%s", why);
	else
		report(&a);
	return exit_code(error);
}
