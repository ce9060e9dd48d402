/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The options of run and replay: parsed, opened, completed. */

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "sim/cli/cli.h"
#include "sim/cli/faults.h"
#include "sim/hw/hw.h"
#include "sim/cli/number.h"

#define ALL_ARCHS ((1u << SIM_ARCH_COUNT) - 1)
#define CPUS_MAX 1024
#define JOBS_MAX 1024

enum { /* options without a letter */
       KEY_SCENARIO = 0x100,
       KEY_TRACE,
       KEY_ARCH,
       KEY_CPUS,
       KEY_VCPUS,
       KEY_SEED,
       KEY_COUNT,
       KEY_STEPS,
       KEY_MEMORY_MODEL,
       KEY_CAPS,
       KEY_REFERENCE,
       KEY_DETERMINISM,
       KEY_JSON,
       KEY_REPORT,
       KEY_SAVE,
       KEY_STORY,
       KEY_SCHEDULE,
       KEY_SCHEDULES,
       KEY_SCHEDULER,
       KEY_FAULTS,
       KEY_NO_FAULTS,
       KEY_KINDNESS,
       KEY_LENIENT,
       KEY_UNTIL,
       KEY_BREAK,
       KEY_GDB,
       KEY_BREAKPOINT,
};

#define COMMON_OPTIONS                                                                            \
	{                                                                                         \
		"scenario",                                                                       \
		KEY_SCENARIO,                                                                     \
		"NAME",                                                                           \
		0,                                                                                \
		"Run a scenario; 'pmap-sim scenarios' lists them",                                \
		1},                                                                               \
		{"trace", KEY_TRACE, "FILE", 0, "Replay a recorded program as guests", 1},        \
		{"arch",                                                                          \
		 KEY_ARCH,                                                                        \
		 "LIST",                                                                          \
		 0,                                                                               \
		 "Kinds of page table: ept, ept-noad, npt, x86, all; several joined by commas "   \
		 "(default: all)",                                                                \
		 2},                                                                              \
		{"caps", KEY_CAPS, "PROFILE", 0, "CPU model; 'pmap-sim profiles' lists them", 2}, \
		{"cpus", KEY_CPUS, "N", 0, "Number of CPUs", 2},                                  \
		{"vcpus", KEY_VCPUS, "N", 0, "Number of virtual CPUs", 2},                        \
		{"memory-model",                                                                  \
		 KEY_MEMORY_MODEL,                                                                \
		 "MODEL",                                                                         \
		 0,                                                                               \
		 "tso: stores wait in buffers, as on x86 (default); sc: they do not",             \
		 2},                                                                              \
		{"steps", KEY_STEPS, "N", 0, "Stop a run after N steps", 2},                      \
		{"reference",                                                                     \
		 KEY_REFERENCE,                                                                   \
		 NULL,                                                                            \
		 0,                                                                               \
		 "Run the core in its plainest form, with locks everywhere",                      \
		 2},                                                                              \
		{"scheduler",                                                                     \
		 KEY_SCHEDULER,                                                                   \
		 "HOW",                                                                           \
		 0,                                                                               \
		 "Who steps next: random (default), pct:DEPTH, pos",                              \
		 2},                                                                              \
		{"schedule", KEY_SCHEDULE, "J", 0, "First schedule of a seed (default: 0)", 3},   \
		{"faults",                                                                        \
		 KEY_FAULTS,                                                                      \
		 "LIST",                                                                          \
		 0,                                                                               \
		 "Inject these faults and no others: NAME[:P|:nth=N|:persist], -NAME, all, "      \
		 "default, joined by commas; 'pmap-sim faults' lists them",                       \
		 2},                                                                              \
		{"kindness",                                                                      \
		 KEY_KINDNESS,                                                                    \
		 "LIST",                                                                          \
		 0,                                                                               \
		 "Hardware that is gentle in these ways, to see which bugs would then stay "      \
		 "hidden; docs/HARDWARE.md lists them",                                           \
		 2},                                                                              \
		{"no-faults", KEY_NO_FAULTS, NULL, 0, "Inject none: --faults none", 2},           \
		{"json", KEY_JSON, NULL, 0, "Print one JSON object", 4},                          \
		{"report",                                                                        \
		 KEY_REPORT,                                                                      \
		 "FILE",                                                                          \
		 0,                                                                               \
		 "Write a report too: a page with pictures (.html), text (.txt) or JSON "         \
		 "(.json); may be repeated",                                                      \
		 4},                                                                              \
	{                                                                                         \
		"quiet", 'q', NULL, 0, "Print failures only", 4                                   \
	}

static const struct argp_option run_options[] = {
	COMMON_OPTIONS,
	{"seed", KEY_SEED, "S", 0, "First seed, decimal or 0x..., or 'random' (default: 1)", 3},
	{"count", KEY_COUNT, "K", 0,
	 "Number of seeds, each on every kind of page table (default: 1)", 3},
	{"schedules", KEY_SCHEDULES, "N", 0,
	 "Schedules of each seed, from the same set-up (default: 1)", 3},
	{"jobs", 'j', "J", 0, "Worker processes (default: one per processor)", 3},
	{"keep-going", 'k', NULL, 0, "Run all seeds, whatever fails", 3},
	{"check-determinism", KEY_DETERMINISM, NULL, 0, "Run each seed twice and compare", 3},
	{"save", KEY_SAVE, "FILE", 0, "Write the first violation to a replay file", 4},
	{"story", KEY_STORY, NULL, 0, "In pages, show the first run even if nothing failed", 4},
	{0},
};

static const struct argp_option replay_options[] = {
	COMMON_OPTIONS,
	{"seed", KEY_SEED, "S", 0, "Seed, decimal or 0x..., instead of a file", 3},
	{"lenient", KEY_LENIENT, NULL, 0,
	 "Take the decisions of a file as far as they fit, and others by chance", 3},
	{"until", KEY_UNTIL, "STEP", 0, "Stop at a step, and show the machine", 3},
	{"break", KEY_BREAK, "WHAT", 0,
	 "The same right before a violation (I14, CK-TLB), or at the last step of a CPU (cpu1), "
	 "its last change of translations (cpu1:tlb) or of waiting stores (cpu1:buffer)",
	 3},
	{"gdb", KEY_GDB, NULL, 0, "Stop there, or at the end, in gdb", 3},
	{"breakpoint", KEY_BREAKPOINT, "STEP", 0, "Call sim_breakpoint() at a step, for debuggers",
	 3},
	{"save", KEY_SAVE, "FILE", 0, "Write the run to a replay file, with every choice made", 4},
	{"trace", KEY_TRACE, "FILE.json", 0,
	 "Write what happened as a trace for Perfetto or chrome://tracing", 4},
	{0},
};

/* ---- Values --------------------------------------------------------------------------------- */

static unsigned int
arch_set(struct argp_state *state, const char *list)
{
	unsigned int set = 0;

	for (const char *p = list;; p++) {
		const size_t n = strcspn(p, ",");
		unsigned int found = 0;

		for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
			const char *name = sim_arch_name((enum sim_arch)i);

			if (strlen(name) == n && strncmp(name, p, n) == 0)
				found = 1u << i;
		}
		if (n == 3 && strncmp(p, "all", n) == 0)
			found = ALL_ARCHS;
		if (!found)
			argp_error(state, "--arch: '%.*s' is none of ept, ept-noad, npt, x86, all",
				   (int)n, p);
		set |= found;
		p += n;
		if (!*p)
			return set;
	}
}

static uint64_t
seed(struct argp_state *state, const char *text)
{
	uint64_t v;

	if (strcmp(text, "random") != 0)
		return cli_number(state, "--seed", text, 0, UINT64_MAX);
	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		argp_failure(state, CLI_ENVIRONMENT, errno, "--seed random");
	return v;
}

static void
add_report(struct argp_state *state, struct cli_args *a, const char *path)
{
	struct sim_options *o = &a->options;

	if (!(a->curves && cli_ends_with(path, ".svg")) && !cli_ends_with(path, ".txt") &&
	    !cli_ends_with(path, ".json") && !cli_ends_with(path, ".html"))
		argp_error(state, "--report: '%s' must end in .html, .txt or .json", path);
	if (o->nreports == SIM_REPORTS_MAX)
		argp_error(state, "--report: at most %d reports", SIM_REPORTS_MAX);
	o->reports[o->nreports++] = path;
}

/* ---- Parsing -------------------------------------------------------------------------------- */

/* Options that say what to run, and which a replay file therefore decides. */
static error_t
parse_what(int key, char *arg, struct argp_state *state)
{
	struct cli_args *a = state->input;
	struct sim_options *o = &a->options;
	char why[CLI_WHY_BYTES];
	uint32_t kindness;

	switch (key) {
	case KEY_SCENARIO:
		o->scenario = arg;
		break;
	case KEY_TRACE:
		o->trace_path = arg;
		break;
	case KEY_ARCH:
		o->arch_set = arch_set(state, arg);
		break;
	case KEY_CPUS:
		o->cpus = (unsigned int)cli_number(state, "--cpus", arg, 1, CPUS_MAX);
		break;
	case KEY_VCPUS:
		o->vcpus = (unsigned int)cli_number(state, "--vcpus", arg, 1, CPUS_MAX);
		break;
	case KEY_SEED:
		o->seed = seed(state, arg);
		a->seed_given = true;
		break;
	case KEY_STEPS:
		o->steps = cli_number(state, "--steps", arg, 1, UINT64_MAX);
		break;
	case KEY_MEMORY_MODEL:
		if (strcmp(arg, "tso") != 0 && strcmp(arg, "sc") != 0)
			argp_error(state, "--memory-model: '%s' is neither tso nor sc", arg);
		o->sequential = strcmp(arg, "sc") == 0;
		break;
	case KEY_CAPS:
		o->caps = arg;
		break;
	case KEY_SCHEDULER:
		o->policy = arg;
		break;
	case KEY_SCHEDULE:
		o->schedule = cli_number(state, "--schedule", arg, 0, UINT64_MAX);
		break;
	case KEY_REFERENCE:
		o->reference = true;
		break;
	case KEY_FAULTS:
		if (faults_check(arg, why, sizeof(why)) != 0)
			argp_error(state, "%s", why);
		o->faults = arg;
		break;
	case KEY_KINDNESS:
		if (hw_kindness_read(arg, &kindness, why, sizeof(why)) != 0)
			argp_error(state, "%s", why);
		o->kindness = arg;
		break;
	case KEY_NO_FAULTS:
		o->faults = "none";
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	a->run_options_given = true;
	return 0;
}

static error_t
parse_common(int key, char *arg, struct argp_state *state)
{
	struct cli_args *a = state->input;
	struct sim_options *o = &a->options;

	switch (key) {
	case KEY_JSON:
		o->json = true;
		return 0;
	case KEY_REPORT:
		add_report(state, a, arg);
		return 0;
	case KEY_SAVE:
		a->save = arg;
		return 0;
	case 'q':
		o->quiet = true;
		return 0;
	case ARGP_KEY_END:
		if (o->scenario && o->trace_path)
			argp_error(state, "--scenario and --trace exclude each other");
		return 0;
	default:
		return parse_what(key, arg, state);
	}
}

static error_t
parse_run(int key, char *arg, struct argp_state *state)
{
	struct cli_args *a = state->input;
	struct sim_options *o = &a->options;

	switch (key) {
	case KEY_COUNT:
		o->count = cli_number(state, "--count", arg, 1, UINT64_C(1) << 40);
		return 0;
	case KEY_SCHEDULES:
		o->schedules = cli_number(state, "--schedules", arg, 1, UINT32_MAX);
		return 0;
	case 'j':
		o->jobs = (unsigned int)cli_number(state, "--jobs", arg, 1, JOBS_MAX);
		return 0;
	case 'k':
		a->keep_going = true;
		return 0;
	case KEY_STORY:
		a->story = true;
		return 0;
	case KEY_DETERMINISM:
		o->check_determinism = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return 0;
	default:
		return parse_common(key, arg, state);
	}
}

static error_t
parse_replay(int key, char *arg, struct argp_state *state)
{
	struct cli_args *a = state->input;

	switch (key) {
	case KEY_LENIENT:
		a->lenient = true;
		return 0;
	case KEY_UNTIL:
		a->until = cli_number(state, "--until", arg, 1, UINT64_MAX);
		return 0;
	case KEY_BREAK:
		a->break_at = arg;
		return 0;
	case KEY_GDB:
		a->gdb = true;
		return 0;
	case KEY_BREAKPOINT:
		a->options.break_at = cli_number(state, "--breakpoint", arg, 1, UINT64_MAX);
		return 0;
	case ARGP_KEY_ARG:
		if (a->file)
			argp_error(state, "one file at a time, not also '%s'", arg);
		a->file = arg;
		return 0;
	case KEY_TRACE:
		if (!cli_ends_with(arg, ".json"))
			return parse_common(key, arg, state);
		a->perfetto = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->file && !a->seed_given)
			argp_error(state,
				   "replay what? A file, or --seed and the options of the run");
		if (a->until && a->break_at)
			argp_error(state, "--until and --break exclude each other");
		if (a->file && a->run_options_given)
			argp_error(state, "a replay file says itself what to run: "
					  "no other options than --json, --report, --save, "
					  "--trace FILE.json and -q");
		return parse_common(key, arg, state);
	default:
		return parse_common(key, arg, state);
	}
}

const struct argp cli_run_options = {.options = run_options, .parser = parse_run};
const struct argp cli_replay_options = {
	.options = replay_options,
	.parser = parse_replay,
	.args_doc = "FILE\n--seed S [OPTION...]",
	.doc = "Repeats one run, in this process."
	       "\vExit status: 1 if it violates an invariant (again), 0 if it passes.",
};

void
cli_args_init(struct cli_args *a)
{
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);

	memset(a, 0, sizeof(*a));
	a->options.arch_set = ALL_ARCHS;
	a->options.seed = 1;
	a->options.count = 1;
	a->options.jobs = processors > 0 && processors <= JOBS_MAX ? (unsigned int)processors : 1;
}

void
cli_parse(struct cli_args *a, bool is_replay, int argc, char **argv)
{
	static const struct argp run_argp = {
		.options = run_options,
		.parser = parse_run,
		.doc = "Runs seeds of the random workload, of a scenario, or of a recorded program."
		       "\vA run that violates an invariant is repeated once, to try the command "
		       "that is printed for replaying it. docs/REPORT.md describes the JSON.",
	};

	cli_args_init(a);
	a->options.schedules = is_replay; /* one; run: see sim_options_complete() */
	argp_parse(is_replay ? &cli_replay_options : &run_argp, argc, argv, 0, NULL, a);
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int
read_replay_file(struct cli_args *a)
{
	struct sim_options *o = &a->options;
	char why[CLI_WHY_BYTES];
	FILE *from = fopen(a->file, "r");
	int error;

	if (!from) {
		cli_complain("%s cannot be read: %s", a->file, strerror(errno));
		return CLI_DATA;
	}
	error = replay_read(from, &a->recorded, why, sizeof(why));
	fclose(from);
	if (error) {
		cli_complain("%s: %s", a->file, why);
		return CLI_DATA;
	}
	a->recorded.re_options.json = o->json;
	a->recorded.re_options.quiet = o->quiet;
	a->recorded.re_options.nreports = o->nreports;
	memcpy(a->recorded.re_options.reports, o->reports, sizeof(o->reports));
	*o = a->recorded.re_options;
	return CLI_PASS;
}

/* A replay file may name its trace as seen from its own folder. */
static int
open_trace(struct cli_args *a, char *why, size_t why_bytes)
{
	struct sim_options *o = &a->options;
	const char *slash = a->file ? strrchr(a->file, '/') : NULL;
	char beside[REPLAY_LINE_BYTES];
	int n;

	if (!slash || o->trace_path[0] == '/' || access(o->trace_path, F_OK) == 0)
		return trace_open(o->trace_path, &a->trace, why, why_bytes);
	n = snprintf(beside, sizeof(beside), "%.*s/%s", (int)(slash - a->file), a->file,
		     o->trace_path);
	if (n < 0 || (size_t)n >= sizeof(beside) || access(beside, F_OK) != 0)
		return trace_open(o->trace_path, &a->trace, why, why_bytes);
	strcpy(a->trace_beside, beside);
	o->trace_path = a->trace_beside;
	return trace_open(o->trace_path, &a->trace, why, why_bytes);
}

static int
open_reports(struct cli_args *a)
{
	char why[CLI_WHY_BYTES];

	/* What cannot be saved is known before the runs, not after them. */
	if (a->save && outfile_probe(a->save, why, sizeof(why)) != 0) {
		cli_complain("%s", why);
		return CLI_ENVIRONMENT;
	}
	if (a->perfetto && outfile_open(&a->perfetto_file, a->perfetto, why, sizeof(why)) != 0) {
		cli_complain("%s", why);
		return CLI_ENVIRONMENT;
	}
	for (unsigned int i = 0; i < a->options.nreports; i++) {
		if (outfile_open(&a->reports[i], a->options.reports[i], why, sizeof(why)) != 0) {
			cli_complain("%s", why);
			return CLI_ENVIRONMENT;
		}
	}
	return CLI_PASS;
}

int
cli_prepare(struct cli_args *a)
{
	struct sim_options *o = &a->options;
	char why[CLI_WHY_BYTES] = "";

	if (a->file) {
		const int code = read_replay_file(a);

		if (code != CLI_PASS)
			return code;
	}
	if (o->trace_path) {
		const int error = open_trace(a, why, sizeof(why));

		if (error) {
			cli_complain("%s %s", o->trace_path, why);
			return error == -ENOMEM ? CLI_INTERNAL : CLI_DATA;
		}
	}
	if (sim_options_complete(o, a->trace, why, sizeof(why)) != 0) {
		cli_complain("%s%s%s", a->file ? a->file : "", a->file ? ": " : "", why);
		return a->file ? CLI_DATA : CLI_USAGE;
	}
	return open_reports(a);
}

int
cli_prepare_one(struct cli_args *a)
{
	const int code = cli_prepare(a);
	struct sim_options *o = &a->options;

	if (code != CLI_PASS)
		return code;
	if (o->arch_set & (o->arch_set - 1)) {
		cli_complain("--arch: one run only, so one kind of page table");
		return CLI_USAGE;
	}
	o->arch = (enum sim_arch)__builtin_ctz(o->arch_set);
	return CLI_PASS;
}

void
cli_release(struct cli_args *a)
{
	for (unsigned int i = 0; i < SIM_REPORTS_MAX; i++)
		outfile_abort(&a->reports[i]);
	outfile_abort(&a->perfetto_file);
	trace_close(a->trace);
	a->trace = NULL;
	replay_free(&a->recorded);
}
