/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-cost: shootdowns on a machine of up to 512 CPUs with guests, at published costs.
 *
 * Its own program, since the core in it is compiled for its own world.
 */

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/cost/cost_report.h"

enum { KEY_LIST = 256 };

static const struct argp_option options[] = {
	{"cpus", 'n', "N[,N...]", 0, "CPUs that run guests; default 1, 2, 4 ... 512", 0},
	{"initiators", 'i', "N", 0, "CPUs that unmap at the same time; default 1", 0},
	{"pages", 'p', "N", 0, "pages of each gather; default 1", 0},
	{"gathers", 'g', "N", 0, "gathers of each initiator; default 16", 0},
	{"in-guest", 's', "PERCENT", 0, "share of time in the guest; default 100", 0},
	{"scheme", 'S', "NAME", 0, "only this scheme; may be repeated", 0},
	{"set", 'c', "ITEM=VALUE", 0, "what something costs, in nanoseconds", 0},
	{"json", 'j', "FILE", 0, "write all results to FILE; - is standard output", 0},
	{"svg", 'v', "DIR", 0, "write pictures into DIR", 0},
	{"list", KEY_LIST, NULL, 0, "list schemes and costs with their sources, and exit", 0},
	{0},
};

static unsigned int
number(struct argp_state *state, const char *what, const char *text, unsigned int least,
       unsigned int most)
{
	char *end;
	const unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0')
		argp_error(state, "%s: '%s' is not a number", what, text);
	if (value < least || value > most)
		argp_error(state, "%s: %s is out of range, %u to %u", what, text, least, most);
	return (unsigned int)value;
}

static void
add_cpus(struct argp_state *state, struct cost_plan *plan, const char *list)
{
	char copy[256];
	char *rest = copy;

	if (strlen(list) >= sizeof(copy))
		argp_error(state, "--cpus: the list is too long");
	strcpy(copy, list);
	plan->cp_nsizes = 0;
	for (char *one; (one = strsep(&rest, ",")) != NULL;) {
		if (plan->cp_nsizes == COST_SIZES_MAX)
			argp_error(state, "--cpus: more than %d numbers", COST_SIZES_MAX);
		plan->cp_sizes[plan->cp_nsizes++] = number(state, "--cpus", one, 0, 512);
	}
}

static void
add_scheme(struct argp_state *state, struct cost_plan *plan, const char *name)
{
	const struct inv_scheme *const scheme = inv_scheme_named(name);

	if (scheme == NULL)
		argp_error(state, "--scheme: '%s' is none; see --list", name);
	for (unsigned int i = 0; i < plan->cp_nschemes; i++)
		if (plan->cp_schemes[i] == scheme)
			return;
	plan->cp_schemes[plan->cp_nschemes++] = scheme;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct cost_plan *const plan = state->input;

	switch (key) {
	case 'n':
		add_cpus(state, plan, arg);
		return 0;
	case 'i':
		plan->cp_initiators = number(state, "--initiators", arg, 1, 64);
		return 0;
	case 'p':
		plan->cp_pages = number(state, "--pages", arg, 1, 4096);
		return 0;
	case 'g':
		plan->cp_gathers = number(state, "--gathers", arg, 1, 100000);
		return 0;
	case 's':
		plan->cp_in_guest = number(state, "--in-guest", arg, 0, 100);
		return 0;
	case 'S':
		add_scheme(state, plan, arg);
		return 0;
	case 'c':
		if (!cost_model_set(&plan->cp_model, arg))
			argp_error(state, "--set: '%s' is no ITEM=VALUE; see --list", arg);
		return 0;
	case 'j':
		plan->cp_json = arg;
		return 0;
	case 'v':
		plan->cp_svg = arg;
		return 0;
	case KEY_LIST:
		cost_report_list(stdout);
		exit(0);
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': there are no arguments, only options", arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Counts what shootdowns cost on large machines, in simulated time.\v"
	       "The page-table core and other schemes run on a machine in which accesses, "
	       "interrupts and flushes take the time that others have published. Two runs give "
	       "the same figures. Exit codes: 0, 64 wrong usage, 70 internal error, 75 no memory.",
};

int
main(int argc, char **argv)
{
	static struct cost_plan plan;

	cost_model_default(&plan.cp_model);
	plan.cp_initiators = 1;
	plan.cp_pages = 1;
	plan.cp_gathers = 16;
	plan.cp_in_guest = 100;
	for (unsigned int n = 1; n <= 512; n *= 2)
		plan.cp_sizes[plan.cp_nsizes++] = n;
	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &plan);
	if (plan.cp_nschemes == 0)
		for (unsigned int i = 0; i < inv_nschemes; i++)
			plan.cp_schemes[plan.cp_nschemes++] = inv_schemes[i];
	return cost_report_run(&plan);
}
