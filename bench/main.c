/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-bench: the command line.
 */

#include "bench/front.h"

#include <argp.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	KEY_SVG = 256,
	KEY_HTML,
	KEY_COMPARE,
	KEY_TIER,
};

static const struct argp_option options[] = {
	{"arch", 'a', "LIST", 0, "Types: any of ept, ept-noad, rvi, by commas (default: all)", 0},
	{"cpus", 'n', "N", 0, "CPUs for rows that use several (default: all there are)", 0},
	{"time", 't', "T", 0, "Time for each row, type and tier: 500ms, 2s, or seconds (500ms)", 0},
	{"tier", KEY_TIER, "TIER", 0,
	 "native: all that this CPU has; kernel: general registers only; both (default)", 0},
	{"json", 'j', "FILE", 0, "Write the report", 0},
	{"svg", KEY_SVG, "DIR", 0, "Write pictures", 0},
	{"html", KEY_HTML, "FILE", 0, "Write a page with everything, self-contained", 0},
	{"compare", KEY_COMPARE, "OLD.json", 0, "Say what changed beyond noise since that report",
	 0},
	{0},
};

/* ---- Values ---------------------------------------------------------------------------------- */

static void
parse_arches(struct argp_state *state, struct plan *plan, char *list)
{
	for (char *name = strtok(list, ","); name != NULL; name = strtok(NULL, ",")) {
		bool known = false;

		for (unsigned int i = 0; i < FRONT_ARCHES; i++) {
			if (strcmp(name, front_arches[i]) == 0)
				known = plan->pl_arch[i] = true;
		}
		if (!known)
			argp_error(state, "--arch: '%s' is none of ept, ept-noad, rvi", name);
	}
}

static void
parse_time(struct argp_state *state, struct plan *plan, const char *text)
{
	char *end;
	const double value = strtod(text, &end);
	double ms;

	if (strcmp(end, "ms") == 0)
		ms = value;
	else if (*end == '\0' || strcmp(end, "s") == 0)
		ms = value * 1000;
	else
		ms = -1;
	if (end == text || !(ms >= 1 && ms <= 600000))
		argp_error(state, "--time: '%s' is not a time from 1ms to 600s", text);
	plan->pl_ms = (unsigned int)ms;
}

static void
parse_cpus(struct argp_state *state, struct plan *plan, const char *text)
{
	char *end;
	const long n = strtol(text, &end, 10);

	if (end == text || *end != '\0' || n < 1 || n > 64)
		argp_error(state, "--cpus: '%s' is not a number from 1 to 64", text);
	plan->pl_cpus = (unsigned int)n;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct plan *const plan = state->input;

	switch (key) {
	case 'a':
		parse_arches(state, plan, arg);
		return 0;
	case 'n':
		parse_cpus(state, plan, arg);
		return 0;
	case 't':
		parse_time(state, plan, arg);
		return 0;
	case KEY_TIER:
		plan->pl_native = strcmp(arg, "native") == 0 || strcmp(arg, "both") == 0;
		plan->pl_kernel = strcmp(arg, "kernel") == 0 || strcmp(arg, "both") == 0;
		if (!plan->pl_native && !plan->pl_kernel)
			argp_error(state, "--tier: '%s' is none of native, kernel, both", arg);
		return 0;
	case 'j':
		plan->pl_json = arg;
		return 0;
	case KEY_SVG:
		plan->pl_svg = arg;
		return 0;
	case KEY_HTML:
		plan->pl_html = arg;
		return 0;
	case KEY_COMPARE:
		plan->pl_compare = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (plan->pl_nnames == FRONT_NAMES_MAX)
			argp_error(state, "more than %d names", FRONT_NAMES_MAX);
		plan->pl_names[plan->pl_nnames++] = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[NAME...]",
	.doc = "Measures the page-table core against what the machine allows.\v"
	       "NAME is a row, or the beginning of several (fault, unmap.one); `pmap-bench list' "
	       "shows them. What counts is the ratio to the limit, which is measured in the same "
	       "process in turn with the row. Exit codes: 0, 64 wrong usage, 66 no such file, 70 a "
	       "result was wrong, 73 a file could not be written, 75 the machine cannot do it.",
};

/* ---- Verbs ----------------------------------------------------------------------------------- */

static int
verb_list(void)
{
	json_t *const rows = suite_list();
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
		printf("%-23s %s\n%-23s limit: %s\n", record_text(row, "name"),
		       record_text(row, "what"), "", record_text(row, "limit"));
	json_decref(rows);
	return 0;
}

/* Whether it can be written; nothing is left behind, not even if the run never ends. */
static void
check_file(const char *path)
{
	const bool was_there = access(path, F_OK) == 0;
	FILE *const out = fopen(path, "a");

	if (out == NULL)
		front_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
	fclose(out);
	if (!was_there)
		remove(path);
}

/* Minutes of measuring are not to be lost to a name that cannot be. */
static void
check_files(const struct plan *plan)
{
	struct stat st;

	if (plan->pl_json != NULL)
		check_file(plan->pl_json);
	if (plan->pl_html != NULL)
		check_file(plan->pl_html);
	if (plan->pl_svg != NULL && mkdir(plan->pl_svg, 0777) != 0 && errno != EEXIST)
		front_fail(EX_CANTCREAT, "%s: %s", plan->pl_svg, strerror(errno));
	if (plan->pl_svg != NULL && (stat(plan->pl_svg, &st) != 0 || !S_ISDIR(st.st_mode)))
		front_fail(EX_CANTCREAT, "%s: is no folder", plan->pl_svg);
	if (plan->pl_compare != NULL)
		json_decref(compare_open(plan->pl_compare));
}

/* A page holds the pictures that other programs make, even if nobody wants them as files. */
static char pictures[PATH_MAX];

static void
pictures_end(void)
{
	char pattern[PATH_MAX + 8];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*.svg", pictures);
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			remove(found.gl_pathv[i]);
		globfree(&found);
	}
	remove(pictures);
}

static void
pictures_begin(struct plan *plan)
{
	const char *const where = getenv("TMPDIR");

	plan->pl_pictures = plan->pl_svg;
	if (plan->pl_svg != NULL || plan->pl_html == NULL)
		return;
	snprintf(pictures, sizeof(pictures), "%s/pmap-bench.XXXXXX",
		 where != NULL ? where : P_tmpdir);
	plan->pl_pictures = mkdtemp(pictures);
	if (plan->pl_pictures != NULL)
		atexit(pictures_end);
}

static int
verb_run(int argc, char **argv)
{
	static struct plan plan = {.pl_native = true, .pl_kernel = true, .pl_ms = 500};
	json_t *report;
	bool any = false;
	int code;

	plan.pl_cpus = machine_cpus();
	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &plan);
	for (unsigned int i = 0; i < FRONT_ARCHES; i++)
		any |= plan.pl_arch[i];
	for (unsigned int i = 0; i < FRONT_ARCHES; i++)
		plan.pl_arch[i] |= !any;
	if (plan.pl_cpus > machine_cpus())
		front_fail(EX_TEMPFAIL, "--cpus %u: this machine has %u for us", plan.pl_cpus,
			   machine_cpus());

	check_files(&plan);
	pictures_begin(&plan);
	report = suite_run(&plan);
	table_tail(stdout, report);
	if (plan.pl_compare != NULL)
		compare_reports(stdout, plan.pl_compare, report);
	fflush(stdout);
	if (plan.pl_json != NULL &&
	    json_dump_file(report, plan.pl_json, JSON_INDENT(1) | JSON_REAL_PRECISION(8)) != 0)
		front_fail(EX_CANTCREAT, "%s: %s", plan.pl_json, strerror(errno));
	if (plan.pl_svg != NULL && !page_svg(plan.pl_svg, report))
		front_fail(EX_CANTCREAT, "%s: %s", plan.pl_svg, strerror(errno));
	if (plan.pl_html != NULL && !page_html(plan.pl_html, plan.pl_pictures, report))
		front_fail(EX_CANTCREAT, "%s: %s", plan.pl_html, strerror(errno));
	code = (int)record_real(json_array_get(json_object_get(report, "failed"), 0), "code");
	json_decref(report);
	return code;
}

static void
usage(FILE *out)
{
	fputs("usage: pmap-bench list               the rows, and their limits\n"
	      "       pmap-bench run [NAME...]      run them; --help tells more\n"
	      "       pmap-bench cost [OPTION...]   shootdowns on large machines, simulated\n",
	      out);
}

int
main(int argc, char **argv)
{
	const char *const verb = argc > 1 ? argv[1] : "";

	if (strcmp(verb, "list") == 0 && argc == 2)
		return verb_list();
	if (strcmp(verb, "run") == 0) {
		argv[1] = (char *)"pmap-bench run";
		return verb_run(argc - 1, argv + 1);
	}
	if (strcmp(verb, "cost") == 0)
		spawn_become("pmap-cost", argv + 1);
	if (strcmp(verb, "--version") == 0) {
		puts("pmap-bench " BENCH_VERSION);
		return 0;
	}
	if (strcmp(verb, "--help") == 0 || strcmp(verb, "help") == 0) {
		usage(stdout);
		return 0;
	}
	usage(stderr);
	return EX_USAGE;
}
