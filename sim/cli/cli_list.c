/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim scenarios, invariants, profiles: what there is. */

#include <argp.h>
#include <string.h>

#include "ept/profiles.h"
#include "sim/cli/cli.h"
#include "sim/oracle/invariants.h"

static void
parse_nothing(const char *doc, int argc, char **argv)
{
	const struct argp argp = {.doc = doc};

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
}

static int
finish(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CLI_PASS;
	cli_complain("cannot write to standard output");
	return CLI_ENVIRONMENT;
}

int
cli_scenarios(int argc, char **argv)
{
	const struct sim_scenario_info *s;
	int width = 0;

	parse_nothing("Lists the scenarios of pmap-sim run --scenario.", argc, argv);
	for (unsigned int i = 0; (s = sim_scenario(i)); i++) {
		if ((int)strlen(s->name) > width)
			width = (int)strlen(s->name);
	}
	for (unsigned int i = 0; (s = sim_scenario(i)); i++)
		printf("%-*s  %s\n", width, s->name, s->purpose);
	return finish();
}

static const char *
layer_text(const struct sim_invariant_info *info)
{
	switch (info->layer) {
	case SIM_LAYER_CORE:
	case SIM_LAYER_VMSPACE:
		return "always";
	default:
		return "on demand";
	}
}

int
cli_invariants(int argc, char **argv)
{
	parse_nothing("Lists the invariants, what checks them, and whether each run does or only "
		      "one that is asked to. docs/INVARIANTS.md says more.",
		      argc, argv);
	printf("%-4s %-9s %-9s %s\n", "", "check", "checked", "what must hold");
	for (unsigned int i = 1; i < SIM_INVARIANT_END; i++) {
		const struct sim_invariant_info *info = sim_invariant(i);

		printf("%-4s %-9s %-9s %s\n", info->id, info->check, layer_text(info), info->title);
	}
	return finish();
}

int
cli_profiles(int argc, char **argv)
{
	static const char *const types[PT_TYPE_COUNT] = {
		[PT_X86] = "x86", [PT_EPT] = "ept", [PT_RVI] = "npt"};
	int width = 0;

	parse_nothing("Lists the CPU models of pmap-sim run --caps.", argc, argv);
	for (size_t i = 0; i < ept_profile_count(); i++) {
		const int n = (int)strlen(ept_profile_at(i)->pr_name);

		width = n > width ? n : width;
	}
	for (size_t i = 0; i < ept_profile_count(); i++) {
		const struct ept_profile *p = ept_profile_at(i);

		printf("%-*s  %s  %s\n", width, p->pr_name, types[p->pr_type], p->pr_about);
	}
	return finish();
}
