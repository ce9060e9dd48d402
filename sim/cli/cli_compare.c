/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* pmap-sim compare: one trace under several settings, each counted. */

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/cli/cli_compare.h"

enum { KEY_ARCH = 0x100, KEY_SET, KEY_SEED, KEY_PASSES, KEY_JSON, KEY_REPORT };

#define VALUES_MAX 8
#define PASSES_MAX 1000

/* What can be set, and to what. */
enum setting { SET_SUPERPAGES, SET_BATCH, SET_DEFER, SET_HOST, SETTINGS };

static const struct {
	const char *name;
	const char *words[5]; /* NULL: a number */
} settings[SETTINGS] = {
	[SET_SUPERPAGES] = {"superpages", {"off", "on", "eager"}},
	[SET_BATCH] = {"batch", {NULL}},
	[SET_DEFER] = {"defer", {"off", "on"}},
	[SET_HOST] = {"host", {"none", "age", "dirty", "remove"}},
};

struct values {
	unsigned int n;
	unsigned int value[VALUES_MAX];
};

struct compare_args {
	const char *trace_path;
	unsigned int arch_set;
	struct values values[SETTINGS];
	uint64_t seed;
	unsigned int passes;
	unsigned int jobs;
	bool json;
	bool quiet;
	const char *reports[SIM_REPORTS_MAX];
	struct outfile files[SIM_REPORTS_MAX];
	unsigned int nreports;
	struct trace *trace;
	bool progress;
	unsigned int ndone;
	int code; /* of the first run that did not pass */
	struct compare_table table;
};

static const struct argp_option options[] = {
	{"arch", KEY_ARCH, "LIST", 0, "ept, ept-noad, npt; joined by commas (default: all three)",
	 0},
	{"set", KEY_SET, "NAME=LIST", 0,
	 "Vary a setting: superpages=off,on,eager; batch=N,... (pages per shootdown of the host, 1 "
	 "to 512); defer=off,on; host=none,age,dirty,remove. May be repeated",
	 0},
	{"passes", KEY_PASSES, "N", 0, "How often the host goes over all pages (default: 8)", 0},
	{"seed", KEY_SEED, "S", 0, "Of the schedule (default: 1)", 0},
	{"jobs", 'j', "J", 0, "Worker processes (default: one per processor)", 0},
	{"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
	{"report", KEY_REPORT, "FILE", 0,
	 "Write a page with both (.html), a picture (.svg), the table (.txt) or JSON (.json); may "
	 "be repeated",
	 0},
	{"quiet", 'q', NULL, 0, "Print errors only", 0},
	{0},
};

/* ---- Arguments ------------------------------------------------------------------------------ */

static unsigned int
parse_arch(struct argp_state *state, const char *list)
{
	static const enum sim_arch archs[] = {SIM_ARCH_EPT, SIM_ARCH_EPT_NOAD, SIM_ARCH_NPT};
	unsigned int set = 0;

	for (const char *p = list;; p++) {
		const size_t n = strcspn(p, ",");
		unsigned int found = 0;

		for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
			const char *name = sim_arch_name(archs[i]);

			if (strlen(name) == n && memcmp(name, p, n) == 0)
				found = 1u << archs[i];
		}
		if (!found)
			argp_error(state, "--arch: '%.*s' is none of ept, ept-noad, npt", (int)n,
				   p);
		set |= found;
		p += n;
		if (!*p)
			return set;
	}
}

static unsigned int
parse_value(struct argp_state *state, unsigned int what, const char *word)
{
	const char *const *const words = settings[what].words;
	char known[64] = "";
	size_t n = 0;

	for (unsigned int i = 0; words[i]; i++) {
		if (strcmp(words[i], word) == 0)
			return i;
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? ", " : "",
				      words[i]);
	}
	if (words[0])
		argp_error(state, "--set %s: '%s' is none of %s", settings[what].name, word, known);
	return (unsigned int)cli_number(state, "--set batch", word, 1, COMPARE_BATCH_MAX);
}

static void
parse_set(struct argp_state *state, struct compare_args *a, const char *arg)
{
	char *const copy = strdup(arg);
	char *list = copy ? strchr(copy, '=') : NULL;
	unsigned int what = 0;
	struct values *v;

	if (!list)
		argp_error(state, "--set: '%s' is not NAME=VALUE,...", arg);
	*list++ = '\0';
	while (what < SETTINGS && strcmp(settings[what].name, copy) != 0)
		what++;
	if (what == SETTINGS)
		argp_error(state,
			   "--set: there is no setting '%s'; there are superpages, batch, "
			   "defer, host",
			   copy);
	v = &a->values[what];
	v->n = 0;
	for (char *word; (word = strsep(&list, ",")) != NULL;) {
		const unsigned int value = parse_value(state, what, word);

		for (unsigned int i = 0; i < v->n; i++) {
			if (v->value[i] == value)
				argp_error(state, "--set %s: '%s' twice", settings[what].name,
					   word);
		}
		if (v->n == VALUES_MAX)
			argp_error(state, "--set %s: at most %d values", settings[what].name,
				   VALUES_MAX);
		v->value[v->n++] = value;
	}
	free(copy);
}

static void
add_report(struct argp_state *state, struct compare_args *a, const char *path)
{
	if (!cli_ends_with(path, ".html") && !cli_ends_with(path, ".svg") &&
	    !cli_ends_with(path, ".txt") && !cli_ends_with(path, ".json"))
		argp_error(state, "--report: '%s' must end in .html, .svg, .txt or .json", path);
	if (a->nreports == SIM_REPORTS_MAX)
		argp_error(state, "--report: at most %d reports", SIM_REPORTS_MAX);
	a->reports[a->nreports++] = path;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct compare_args *a = state->input;

	switch (key) {
	case KEY_ARCH:
		a->arch_set = parse_arch(state, arg);
		return 0;
	case KEY_SET:
		parse_set(state, a, arg);
		return 0;
	case KEY_SEED:
		a->seed = cli_number(state, "--seed", arg, 0, UINT64_MAX);
		return 0;
	case KEY_PASSES:
		a->passes = (unsigned int)cli_number(state, "--passes", arg, 0, PASSES_MAX);
		return 0;
	case 'j':
		a->jobs = (unsigned int)cli_number(state, "--jobs", arg, 1, 1024);
		return 0;
	case KEY_JSON:
		a->json = true;
		return 0;
	case KEY_REPORT:
		add_report(state, a, arg);
		return 0;
	case 'q':
		a->quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		if (a->trace_path)
			argp_error(state, "one trace at a time, not also '%s'", arg);
		a->trace_path = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->trace_path)
			argp_error(state, "compare what? Name a trace");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- Rows ----------------------------------------------------------------------------------- */

static void
label_row(const struct compare_args *a, const unsigned int *values, struct compare_row *row)
{
	size_t n = 0;

	for (unsigned int s = 0; s < SETTINGS; s++) {
		const char *const word = settings[s].words[0] ? settings[s].words[values[s]] : NULL;
		const size_t room = sizeof(row->cr_label) - n;

		if (a->values[s].n < 2) /* the same everywhere */
			continue;
		if (word)
			n += (size_t)snprintf(row->cr_label + n, room, "%s%s=%s", n ? " " : "",
					      settings[s].name, word);
		else
			n += (size_t)snprintf(row->cr_label + n, room, "%s%s=%u", n ? " " : "",
					      settings[s].name, values[s]);
	}
	if (n == 0)
		strcpy(row->cr_label, "-");
}

/* Every combination, the last setting first; false: too many. */
static bool
make_rows(struct compare_args *a)
{
	for (unsigned int arch = 0; arch < SIM_ARCH_COUNT; arch++) {
		unsigned int turn[SETTINGS] = {0};

		if (!(a->arch_set >> arch & 1))
			continue;
		for (;;) {
			unsigned int values[SETTINGS];
			struct compare_row *row = &a->table.ct_rows[a->table.ct_nrows];
			unsigned int s = SETTINGS;

			if (a->table.ct_nrows++ == COMPARE_ROWS_MAX)
				return false;
			for (unsigned int i = 0; i < SETTINGS; i++)
				values[i] = a->values[i].value[turn[i]];
			row->cr_arch = (enum sim_arch)arch;
			row->cr_setting = (struct compare_setting){
				.cs_superpages = (enum compare_superpages)values[SET_SUPERPAGES],
				.cs_host = (enum compare_host)values[SET_HOST],
				.cs_batch = values[SET_BATCH],
				.cs_defer = values[SET_DEFER] != 0,
				.cs_passes = a->passes,
			};
			label_row(a, values, row);
			while (s > 0 && ++turn[s - 1] == a->values[s - 1].n)
				turn[--s] = 0;
			if (s == 0)
				break;
		}
	}
	return true;
}

static int
run_job(void *arg, uint64_t i, struct sim_outcome *out)
{
	const struct compare_args *a = arg;
	const struct compare_row *row = &a->table.ct_rows[i];
	const struct sim_options o = {.arch = row->cr_arch, .seed = a->seed};

	out->arch = row->cr_arch;
	out->seed = a->seed;
	out->cpu = SIM_NO_CPU;
	return sim_run_compare(&o, a->trace, &row->cr_setting, out);
}

static void
take_result(void *arg, uint64_t i, struct pool_result *r)
{
	struct compare_args *a = arg;
	struct compare_row *row = &a->table.ct_rows[i == POOL_NO_JOB ? 0 : i];
	const struct sim_outcome *const out = &r->pr_outcome;
	char why[CLI_WHY_BYTES];

	if (i == POOL_NO_JOB || pool_failed(r)) {
		if (a->progress)
			fputs("\r\033[K", stderr);
		if (out->verdict == SIM_VIOLATION && !r->pr_error && !r->pr_signal && !r->pr_exit)
			snprintf(why, sizeof(why), "%s %s: %s", out->check, out->invariant,
				 out->message);
		else
			cli_failure_text(r, why, sizeof(why));
		cli_complain("%s %s: %s", sim_arch_name(row->cr_arch), row->cr_label, why);
		if (a->code == CLI_PASS)
			a->code = out->verdict == SIM_VIOLATION && !r->pr_error ? CLI_VIOLATION
										: CLI_INTERNAL;
		return;
	}
	row->cr_done = true;
	row->cr_verdict = out->verdict;
	row->cr_hash = out->trace_hash;
	for (unsigned int f = 0; f < COMPARE_FIGURES; f++) {
		for (unsigned int c = 0; c < out->ncounters; c++) {
			if (out->counters[c].group == SIM_COUNT_OPERATIONS &&
			    strcmp(out->counters[c].name, compare_columns[f].cc_counter) == 0)
				row->cr_figures[f] = out->counters[c].value;
		}
	}
}

static void
show_progress(void *arg, uint64_t ndone)
{
	const struct compare_args *a = arg;

	if (a->progress)
		fprintf(stderr, "\r\033[K%" PRIu64 " of %u replays", ndone, a->table.ct_nrows);
}

/* ---- Output --------------------------------------------------------------------------------- */

static int
write_reports(struct compare_args *a)
{
	char why[CLI_WHY_BYTES];

	for (unsigned int i = 0; i < a->nreports; i++) {
		FILE *const to = a->files[i].of_stream;
		const char *const path = a->reports[i];

		if (cli_ends_with(path, ".html"))
			compare_write_html(to, &a->table);
		else if (cli_ends_with(path, ".svg"))
			compare_write_svg(to, &a->table, true);
		else if (cli_ends_with(path, ".json"))
			compare_write_json(to, &a->table);
		else
			compare_write_text(to, &a->table);
		if (outfile_commit(&a->files[i], why, sizeof(why)) != 0) {
			cli_complain("%s", why);
			return CLI_ENVIRONMENT;
		}
	}
	return CLI_PASS;
}

static int
open_all(struct compare_args *a)
{
	char why[CLI_WHY_BYTES] = "";
	int error = trace_open(a->trace_path, &a->trace, why, sizeof(why));

	if (error) {
		cli_complain("%s %s", a->trace_path, why);
		return error == -ENOMEM ? CLI_INTERNAL : CLI_DATA;
	}
	a->table.ct_path = a->trace_path;
	a->table.ct_info = trace_info(a->trace);
	a->table.ct_seed = a->seed;
	if (a->table.ct_info->ti_regions > COMPARE_REGIONS_MAX) {
		cli_complain("%s touches %u regions of 2 MiB; at most %d can be compared",
			     a->trace_path, a->table.ct_info->ti_regions, COMPARE_REGIONS_MAX);
		return CLI_DATA;
	}
	if (!make_rows(a)) {
		cli_complain("that is more than %d combinations", COMPARE_ROWS_MAX);
		return CLI_USAGE;
	}
	for (unsigned int i = 0; i < a->nreports; i++) {
		if (outfile_open(&a->files[i], a->reports[i], why, sizeof(why)) != 0) {
			cli_complain("%s", why);
			return CLI_ENVIRONMENT;
		}
	}
	return CLI_PASS;
}

static int
run_all(struct compare_args *a)
{
	struct pool pool = {
		.po_jobs = a->table.ct_nrows,
		.po_workers = a->jobs,
		.po_run = run_job,
		.po_done = take_result,
		.po_tick = show_progress,
		.po_arg = a,
	};
	const int error = pool_run(&pool);

	if (a->progress)
		fputs("\r\033[K", stderr);
	if (error) {
		cli_complain("cannot start worker processes: %s", strerror(-error));
		return CLI_ENVIRONMENT;
	}
	if (pool.po_signal)
		return CLI_SIGNAL + pool.po_signal;
	if (a->code != CLI_PASS)
		return a->code;
	if (a->json)
		compare_write_json(stdout, &a->table);
	else if (!a->quiet)
		compare_write_text(stdout, &a->table);
	return write_reports(a);
}

int
cli_compare(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "TRACE",
		.doc = "Replays a trace under several settings and counts what each costs."
		       "\vA trace is what 'pmap-sim record' makes, of a program or (--from) of the "
		       "faults of a real guest. docs/TRACE.md says what the figures mean.",
	};
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct compare_args *a = calloc(1, sizeof(*a));
	int code;

	if (!a) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	a->arch_set = 1u << SIM_ARCH_EPT | 1u << SIM_ARCH_EPT_NOAD | 1u << SIM_ARCH_NPT;
	a->seed = 1;
	a->passes = 8;
	a->jobs = processors > 0 && processors <= 1024 ? (unsigned int)processors : 1;
	for (unsigned int s = 0; s < SETTINGS; s++)
		a->values[s] = (struct values){1, {s == SET_BATCH ? 64 : s == SET_DEFER ? 0 : 1}};
	argp_parse(&argp, argc, argv, 0, NULL, a);
	a->progress = cli_progress(a->quiet);
	code = open_all(a);
	if (code == CLI_PASS)
		code = run_all(a);
	for (unsigned int i = 0; i < SIM_REPORTS_MAX; i++)
		outfile_abort(&a->files[i]);
	trace_close(a->trace);
	free(a);
	return code;
}
