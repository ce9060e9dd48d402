/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-sim faults: the kinds of fault; and with --count, what each of them met, by operation and by
 * scenario, so that what was never hit where it could have been can be seen.
 */

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/cli/faults.h"
#include "sim/report/json.h"

#define SCENARIOS_MAX 64
#define NAME_WIDTH 18

struct met {
	uint64_t asked;
	uint64_t hit;
};

struct faults {
	struct cli_args args;
	const char *scenarios[SCENARIOS_MAX];
	struct sim_options options[SCENARIOS_MAX]; /* completed: each scenario has its own */
	unsigned int nscenarios;
	enum sim_arch archs[SIM_ARCH_COUNT];
	unsigned int narchs;
	struct cli_sum sum;
	uint64_t nth; /* job to come next */
	struct met by_scenario[SIM_FAULT_COUNT][SCENARIOS_MAX];
};

void
cli_faults_add(struct sim_outcome_faults *sum, const struct sim_outcome_faults *more)
{
	for (unsigned int op = 0; op < SIM_OPERATIONS_ROOM; op++) {
		sum->begun[op] += more->begun[op];
		for (unsigned int f = 0; f < SIM_FAULTS_ROOM; f++) {
			sum->asked[f][op] += more->asked[f][op];
			sum->hit[f][op] += more->hit[f][op];
		}
	}
}

static struct met
met_in_all(const struct sim_outcome_faults *of, unsigned int f)
{
	struct met m = {0};

	for (unsigned int op = 0; op < SIM_OPERATIONS_ROOM; op++) {
		m.asked += of->asked[f][op];
		m.hit += of->hit[f][op];
	}
	return m;
}

/* ---- The list ------------------------------------------------------------------------------- */

static int
finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	cli_complain("cannot write to standard output");
	return CLI_ENVIRONMENT;
}

static int
list_text(void)
{
	printf("%-*s  %-10s  %-7s  %s\n", NAME_WIDTH, "name", "family", "odds", "what happens");
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
		const struct faults_info *info = faults_info((enum sim_fault)f);
		char odds[16] = "-";

		if (info->fi_ppm != 0)
			snprintf(odds, sizeof(odds), "%g", info->fi_ppm / 1e6);
		printf("%-*s  %-10s  %-7s  %s\n", NAME_WIDTH, sim_fault_name((enum sim_fault)f),
		       info->fi_issue, odds, info->fi_about);
	}
	puts("\nOdds are those of --faults NAME; NAME:P sets others, NAME:nth=N[:persist] hits");
	puts("the N-th time [and ever after]. Kinds without odds happen by themselves, and can");
	puts("only be switched off: -NAME.");
	return finish(CLI_PASS);
}

/* ---- Runs ----------------------------------------------------------------------------------- */

static struct sim_options
job_options(const struct faults *fs, uint64_t i)
{
	struct sim_options o = fs->options[i % fs->nscenarios];

	i /= fs->nscenarios;
	o.arch = fs->archs[i % fs->narchs];
	o.seed += i / fs->narchs;
	return o;
}

static int
run_job(void *arg, uint64_t i, struct sim_outcome *out)
{
	const struct faults *fs = arg;
	const struct sim_options o = job_options(fs, i);

	return cli_execute(&o, fs->args.trace, out);
}

static void
add_result(void *arg, uint64_t i, struct pool_result *r)
{
	struct faults *fs = arg;
	const struct sim_options o = job_options(fs, i == POOL_NO_JOB ? 0 : i);

	if (i == POOL_NO_JOB) {
		cli_complain("a worker process died");
		fs->sum.errors++;
		return;
	}
	r->pr_outcome.seed = o.seed;
	r->pr_outcome.arch = o.arch;
	if (pool_failed(r) && !fs->sum.failed) {
		struct sim_options line = o;

		cli_replay_line(&line, &r->pr_outcome, fs->sum.line, sizeof(fs->sum.line));
	}
	cli_sum_add(&fs->sum, r);
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
		const struct met m = met_in_all(&r->pr_outcome.faults, f);
		struct met *to = &fs->by_scenario[f][i % fs->nscenarios];

		to->asked += m.asked;
		to->hit += m.hit;
	}
}

static void
choose_scenarios(struct faults *fs)
{
	const struct sim_scenario_info *s;

	/* NULL is the workload without a scenario: that of a trace. */
	if (fs->args.options.scenario != NULL || fs->args.trace != NULL) {
		fs->scenarios[fs->nscenarios++] = fs->args.options.scenario;
		return;
	}
	for (unsigned int i = 0; (s = sim_scenario(i)) != NULL && i < SCENARIOS_MAX; i++)
		fs->scenarios[fs->nscenarios++] = s->name;
}

/*
 * What each scenario makes of the options as they were said. Of all scenarios those are left out
 * that refuse them, as the small ones do, whose faults are part of them.
 */
static int
complete_each(struct faults *fs, const struct sim_options *said)
{
	const unsigned int all = fs->nscenarios;
	char why[CLI_WHY_BYTES] = "";

	fs->nscenarios = 0;
	for (unsigned int i = 0; i < all; i++) {
		struct sim_options *const o = &fs->options[fs->nscenarios];

		*o = *said;
		o->scenario = fs->scenarios[i];
		if (sim_options_complete(o, fs->args.trace, why, sizeof(why)) == 0)
			fs->scenarios[fs->nscenarios++] = fs->scenarios[i];
	}
	if (fs->nscenarios > 0)
		return CLI_PASS;
	cli_complain("%s", why);
	return CLI_USAGE;
}

/* ---- What was met --------------------------------------------------------------------------- */

static void
write_number(uint64_t n, int width)
{
	if (n < 100000)
		printf(" %*" PRIu64, width, n);
	else if (n < 100000000)
		printf(" %*" PRIu64 "k", width - 1, n / 1000);
	else
		printf(" %*" PRIu64 "M", width - 1, n / 1000000);
}

/* A cell: what was hit, 0 for a gap, a dot where the two never met. */
static void
write_cell(uint64_t asked, uint64_t hit)
{
	if (asked == 0)
		printf(" %6s", ".");
	else
		write_number(hit, 6);
}

static void
write_totals(const struct faults *fs)
{
	printf("%-*s %12s %12s\n", NAME_WIDTH, "fault", "asked", "hit");
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
		const struct met m = met_in_all(&fs->sum.counters.faults, f);

		printf("%-*s %12" PRIu64 " %12" PRIu64 "%s\n", NAME_WIDTH,
		       sim_fault_name((enum sim_fault)f), m.asked, m.hit,
		       m.hit == 0 ? "  NEVER HIT" : "");
	}
}

/* Columns of a wide table are numbered, and named below it. */
static void
write_head(unsigned int from, unsigned int to)
{
	printf("%-*s", NAME_WIDTH, "");
	for (unsigned int i = from; i < to; i++)
		printf("   (%2u)", i);
	putchar('\n');
}

#define COLUMNS 11

static void
write_by_operation(const struct faults *fs)
{
	const struct sim_outcome_faults *of = &fs->sum.counters.faults;
	unsigned int nops = 0;

	while (sim_workload_operation(nops) != NULL && nops < SIM_OPERATIONS_ROOM)
		nops++;
	printf("\nhits by what the CPU was doing (0: it could have been hit; a dot: it could "
	       "not)\n");
	for (unsigned int from = 0; from < nops; from += COLUMNS) {
		const unsigned int to = from + COLUMNS < nops ? from + COLUMNS : nops;

		putchar('\n');
		for (unsigned int op = from; op < to; op++)
			printf("%s(%u) %s%s", op == from ? "" : " ", op, sim_workload_operation(op),
			       op + 1 < to ? "" : "\n");
		write_head(from, to);
		for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
			printf("%-*s", NAME_WIDTH, sim_fault_name((enum sim_fault)f));
			for (unsigned int op = from; op < to; op++)
				write_cell(of->asked[f][op], of->hit[f][op]);
			putchar('\n');
		}
		printf("%-*s", NAME_WIDTH, "times begun");
		for (unsigned int op = from; op < to; op++)
			write_number(of->begun[op], 6);
		putchar('\n');
	}
}

static void
write_by_scenario(const struct faults *fs)
{
	if (fs->nscenarios < 2)
		return;
	printf("\nhits by scenario\n");
	for (unsigned int from = 0; from < fs->nscenarios; from += COLUMNS) {
		const unsigned int to =
			from + COLUMNS < fs->nscenarios ? from + COLUMNS : fs->nscenarios;

		putchar('\n');
		for (unsigned int i = from; i < to; i++)
			printf("%s(%u) %s%s", i == from ? "" : " ", i, fs->scenarios[i],
			       i + 1 < to ? "" : "\n");
		write_head(from, to);
		for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
			printf("%-*s", NAME_WIDTH, sim_fault_name((enum sim_fault)f));
			for (unsigned int i = from; i < to; i++)
				write_cell(fs->by_scenario[f][i].asked, fs->by_scenario[f][i].hit);
			putchar('\n');
		}
	}
}

/* Each pair of fault and operation that met, and what came of it. */
static void
json_cells(struct json *j, const struct sim_outcome_faults *of, unsigned int f)
{
	json_object(j, "operations");
	for (unsigned int op = 0; op < SIM_OPERATIONS_ROOM; op++) {
		if (of->asked[f][op] == 0 || sim_workload_operation(op) == NULL)
			continue;
		json_object(j, sim_workload_operation(op));
		json_u64(j, "asked", of->asked[f][op]);
		json_u64(j, "hit", of->hit[f][op]);
		json_close(j);
	}
	json_close(j);
}

static void
write_json(const struct faults *fs)
{
	struct json j;

	json_start(&j, stdout);
	json_object(&j, NULL);
	json_string(&j, "schema", "skep-pmap-sim-faults");
	json_u64(&j, "schema_version", 1);
	json_string(&j, "faults", fs->args.options.faults);
	json_u64(&j, "runs", fs->sum.done);
	json_u64(&j, "violations", fs->sum.violations);
	json_u64(&j, "errors", fs->sum.errors);
	json_object(&j, "kinds");
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
		const struct faults_info *info = faults_info((enum sim_fault)f);
		const struct met m = met_in_all(&fs->sum.counters.faults, f);

		json_object(&j, sim_fault_name((enum sim_fault)f));
		json_string(&j, "family", info->fi_issue);
		json_string(&j, "about", info->fi_about);
		json_u64(&j, "ppm", info->fi_ppm);
		json_u64(&j, "asked", m.asked);
		json_u64(&j, "hit", m.hit);
		json_cells(&j, &fs->sum.counters.faults, f);
		json_object(&j, "scenarios");
		for (unsigned int i = 0; i < fs->nscenarios; i++) {
			json_object(&j, fs->scenarios[i] != NULL ? fs->scenarios[i] : "trace");
			json_u64(&j, "asked", fs->by_scenario[f][i].asked);
			json_u64(&j, "hit", fs->by_scenario[f][i].hit);
			json_close(&j);
		}
		json_close(&j);
		json_close(&j);
	}
	json_close(&j);
	json_close(&j);
	json_finish(&j);
}

static void
complain(const struct faults *fs)
{
	char text[CLI_WHY_BYTES];

	if (!fs->sum.failed)
		return;
	cli_failure_text(&fs->sum.first, text, sizeof(text));
	cli_complain("%s %s: %s", fs->sum.first.pr_outcome.check,
		     fs->sum.first.pr_outcome.invariant, text);
	cli_complain("replay: %s", fs->sum.line);
}

static void
show_progress(void *arg, uint64_t ndone)
{
	const struct faults *fs = arg;

	if (cli_progress(fs->args.options.quiet))
		fprintf(stderr, "\r\033[K%" PRIu64 " of %" PRIu64 " runs", ndone, fs->sum.wanted);
}

static int
run_all(struct faults *fs)
{
	const struct sim_options *o = &fs->args.options;
	struct pool pool = {
		.po_workers = o->jobs,
		.po_keep_going = fs->args.keep_going,
		.po_run = run_job,
		.po_done = add_result,
		.po_tick = show_progress,
		.po_arg = fs,
	};

	for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
		if (o->arch_set >> i & 1)
			fs->archs[fs->narchs++] = (enum sim_arch)i;
	}
	fs->sum.args = &fs->args;
	pool.po_jobs = o->count * fs->narchs * fs->nscenarios;
	fs->sum.wanted = pool.po_jobs;
	if (pool_run(&pool) != 0) {
		cli_complain("cannot start worker processes");
		return CLI_ENVIRONMENT;
	}
	if (cli_progress(o->quiet))
		fputs("\r\033[K", stderr);
	fs->sum.signal = pool.po_signal;
	if (o->json) {
		write_json(fs);
	} else {
		printf("%" PRIu64 " run%s with --faults %s\n\n", fs->sum.done,
		       fs->sum.done == 1 ? "" : "s", o->faults);
		write_totals(fs);
		write_by_operation(fs);
		write_by_scenario(fs);
	}
	complain(fs);
	if (fs->sum.violations)
		return finish(CLI_VIOLATION);
	if (fs->sum.errors)
		return finish(CLI_INTERNAL);
	return finish(fs->sum.signal ? CLI_SIGNAL + fs->sum.signal : CLI_PASS);
}

/* ---- The command ---------------------------------------------------------------------------- */

static error_t
parse_faults(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	state->child_inputs[0] = state->input;
	return 0;
}

int
cli_faults(int argc, char **argv)
{
	static const struct argp_child children[] = {{&cli_run_options, 0, NULL, 0}, {0}};
	static const struct argp argp = {
		.parser = parse_faults,
		.children = children,
		.doc = "Lists the faults that can be injected. With any option: runs seeds of one "
		       "scenario, or of all, with all kinds of fault unless --faults says "
		       "otherwise, and prints how often each could have happened, how often it "
		       "did, and to which operations of the host it never did.",
	};
	struct sim_options said;
	struct faults *fs;
	int code;

	if (argc == 1)
		return list_text();
	fs = calloc(1, sizeof(*fs));
	if (!fs) {
		cli_complain("out of memory");
		return CLI_INTERNAL;
	}
	cli_args_init(&fs->args);
	argp_parse(&argp, argc, argv, 0, NULL, &fs->args);
	if (fs->args.options.faults == NULL)
		fs->args.options.faults = "all";
	if (fs->args.save != NULL || fs->args.options.nreports != 0 ||
	    fs->args.options.check_determinism) {
		cli_complain("faults prints a table or --json, and takes no --save, --report or "
			     "--check-determinism");
		free(fs);
		return CLI_USAGE;
	}
	said = fs->args.options;
	code = cli_prepare(&fs->args);
	if (code == CLI_PASS) {
		choose_scenarios(fs);
		code = complete_each(fs, &said);
	}
	if (code == CLI_PASS)
		code = run_all(fs);
	cli_release(&fs->args);
	free(fs);
	return code;
}
