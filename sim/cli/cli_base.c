/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What most commands need around their work: numbers read, signals noted, output seen through. */

#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/cli/number.h"

uint64_t
cli_number(struct argp_state *state, const char *option, const char *text, uint64_t least,
	   uint64_t most)
{
	uint64_t v = 0;

	if (!sim_number(text, &v))
		argp_error(state, "%s: '%s' is not a number (decimal, or 0x and hexadecimal)",
			   option, text);
	if (v < least || v > most)
		argp_error(state, "%s: %s is out of range, %" PRIu64 " to %" PRIu64, option, text,
			   least, most);
	return v;
}

bool
cli_ends_with(const char *text, const char *end)
{
	const size_t n = strlen(text), m = strlen(end);

	return n > m && strcmp(text + n - m, end) == 0;
}

volatile sig_atomic_t cli_stopped;

static void
note_stop(int signal)
{
	cli_stopped = signal;
}

void
cli_note_signals(void)
{
	signal(SIGINT, note_stop);
	signal(SIGTERM, note_stop);
}

int
cli_end(int code)
{
	if (code == CLI_PASS && (fflush(stdout) != 0 || ferror(stdout))) {
		cli_complain("cannot write to standard output");
		code = CLI_ENVIRONMENT;
	}
	return code != CLI_PASS ? code : cli_stopped ? CLI_SIGNAL + cli_stopped : CLI_PASS;
}
