/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim: finds the command and calls it. */

#include <argp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/cli/cli.h"
#include "sim/cli/version.h"

static const struct {
	const char *name;
	int (*call)(int argc, char **argv);
} commands[] = {
	/* clang-format off */
	{"run", cli_run},
	{"explore", cli_explore},
	{"replay", cli_replay},
	{"shrink", cli_shrink},
	{"why", cli_why},
	{"diff", cli_diff},
	{"record", cli_record},
	{"compare", cli_compare},
	{"scenarios", cli_scenarios},
	{"invariants", cli_invariants},
	{"profiles", cli_profiles},
	{"faults", cli_faults},
	/* clang-format on */
};

static void
print_version(FILE *to, struct argp_state *state)
{
	(void)state;
	fprintf(to, "pmap-sim (skep) %s\ncommit: %s\noptions: %s\ncompiler: %s\n", sim_version,
		sim_commit, sim_build_options, sim_compiler);
}

void (*argp_program_version_hook)(FILE *, struct argp_state *) = print_version;

static const char doc[] =
	"Runs the page-table core on a simulated multiprocessor that tries to break it."
	"\vCommands:\n"
	"  run         run seeds of the random workload, a scenario, or a recorded program\n"
	"  explore     search all runs of a small scenario\n"
	"  replay      repeat one run, from a file or by its seed\n"
	"  shrink      make a violation small\n"
	"  why         tell which decision made a violation likely\n"
	"  diff        show where two runs part\n"
	"  record      record the memory accesses of a program, or take faults of a real guest\n"
	"  compare     replay a trace under several settings, and count what each costs\n"
	"  scenarios   list the scenarios\n"
	"  invariants  list what is checked\n"
	"  profiles    list the CPU models\n"
	"  faults      list the faults that can be injected, and count what they met\n"
	"\n"
	"pmap-sim COMMAND --help tells more. Exit status: 0 pass, 1 violation, 2 stopped by the "
	"step budget, 64 wrong usage, 65 malformed input, 70 internal error, 75 something is "
	"missing on this machine, 128 + N interrupted by signal N.";

struct choice {
	int argc;
	char **argv;
	int (*call)(int argc, char **argv);
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct choice *c = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
			if (strcmp(commands[i].name, arg) == 0)
				c->call = commands[i].call;
		}
		if (!c->call)
			argp_error(state, "there is no command '%s'", arg);
		c->argv = state->argv + state->next - 1;
		c->argc = state->argc - state->next + 1;
		state->next = state->argc; /* the rest is the command's */
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which command?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void
cli_complain(const char *fmt, ...)
{
	va_list ap;

	fputs("pmap-sim: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* A terminal that understands control sequences. */
static bool
is_terminal(FILE *stream)
{
	const char *term = getenv("TERM");

	return isatty(fileno(stream)) && term && *term && strcmp(term, "dumb") != 0;
}

bool
cli_color(FILE *stream)
{
	const char *no_color = getenv("NO_COLOR");

	return is_terminal(stream) && !(no_color && *no_color);
}

bool
cli_progress(bool quiet)
{
	return !quiet && is_terminal(stderr);
}

int
main(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "COMMAND [ARGUMENT...]",
		.doc = doc,
	};
	struct choice c = {0};
	char name[64];

	argp_err_exit_status = CLI_USAGE;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &c);
	snprintf(name, sizeof(name), "pmap-sim %s", c.argv[0]);
	c.argv[0] = name;
	return c.call(c.argc, c.argv);
}
