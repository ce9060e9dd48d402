/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-sim explore: every run of a small scenario, within bounds. It always says which: all of them
 * were made, or a budget was spent first.
 */

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/explore/explore.h"
#include "sim/report/json.h"
#include "sim/cli/number.h"
#include "sim/cli/version.h"

enum {
	KEY_SCENARIO = 0x100,
	KEY_ARCH,
	KEY_PREEMPTIONS,
	KEY_REDUCE,
	KEY_MEMORY_MODEL,
	KEY_STORE_BUFFER,
	KEY_MAX_EXECUTIONS,
	KEY_MAX_STATES,
	KEY_TIME,
	KEY_RESUME,
	KEY_JSON,
	KEY_REFERENCE,
	KEY_CAPS,
};

static const struct argp_option options[] = {
	{"scenario", KEY_SCENARIO, "NAME", 0,
	 "What to search; 'pmap-sim scenarios' lists them: xp-...", 1},
	{"arch", KEY_ARCH, "ARCH", 0, "Kind of page table: ept, ept-noad, npt, x86", 1},
	{"caps", KEY_CAPS, "PROFILE", 0, "CPU model; 'pmap-sim profiles' lists them", 1},
	{"memory-model", KEY_MEMORY_MODEL, "MODEL", 0,
	 "tso: stores wait in buffers, as on x86 (default); sc: they do not", 1},
	{"store-buffer", KEY_STORE_BUFFER, "N", 0, "Room in a store buffer (default: 2)", 1},
	{"reference", KEY_REFERENCE, NULL, 0,
	 "Run the core in its plainest form, with locks everywhere", 1},
	{"preemptions", KEY_PREEMPTIONS, "N", 0,
	 "Switches from a CPU that could go on, in one run; or 'none': no bound", 2},
	{"reduce", KEY_REDUCE, "HOW", 0, "Runs that need not be made: dpor (default), sleep, none",
	 2},
	{"max-executions", KEY_MAX_EXECUTIONS, "N", 0,
	 "Stop after N runs, with those before --resume", 3},
	{"max-states", KEY_MAX_STATES, "N", 0, "Stop after N states, likewise", 3},
	{"time", KEY_TIME, "T", 0, "Stop after T: 90s, 10m, 2h; each time", 3},
	{"resume", KEY_RESUME, "FILE", 0,
	 "Go on where FILE says, if it exists; and write it when stopped, and now and then", 3},
	{"output", 'o', "FILE", 0, "Write the first violation to a replay file", 4},
	{"keep-going", 'k', NULL, 0, "Go on after a violation", 4},
	{"json", KEY_JSON, NULL, 0, "Print one JSON object", 4},
	{"quiet", 'q', NULL, 0, "Print failures only", 4},
	{0},
};

struct exploring {
	struct sim_options ep_options;
	struct explore_bounds ep_bounds;
	bool ep_bound_given;
	const char *ep_resume;
	const char *ep_output;
	char ep_what[CLI_WHY_BYTES];
	struct explore *ep_search;
	uint64_t ep_shown_ms;
	uint64_t ep_saved_ms;
	char ep_why[CLI_WHY_BYTES];
};

#define SAVE_EVERY_MS 30000
#define SHOW_EVERY_MS 200

/* ---- Arguments ------------------------------------------------------------------------------ */

static uint64_t
milliseconds(struct argp_state *state, const char *text)
{
	char digits[24];
	const size_t n = strspn(text, "0123456789");
	uint64_t v = 0;
	uint64_t unit = 1000;

	if (n > 0 && n < sizeof(digits)) {
		memcpy(digits, text, n);
		digits[n] = '\0';
		sim_number(digits, &v);
	}
	if (strcmp(text + n, "m") == 0)
		unit = 60000;
	else if (strcmp(text + n, "h") == 0)
		unit = 3600000;
	else if (strcmp(text + n, "ms") == 0)
		unit = 1;
	else if (text[n] != '\0' && strcmp(text + n, "s") != 0)
		v = 0;
	if (v == 0 || v > UINT32_MAX)
		argp_error(state, "--time: '%s' is no time; 90s, 10m, 2h are", text);
	return v * unit;
}

static enum sim_arch
arch_of(struct argp_state *state, const char *name)
{
	for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
		if (strcmp(sim_arch_name((enum sim_arch)i), name) == 0)
			return (enum sim_arch)i;
	}
	argp_error(state, "--arch: '%s' is none of ept, ept-noad, npt, x86", name);
	return SIM_ARCH_EPT;
}

static enum explore_reduce
reduce_of(struct argp_state *state, const char *name)
{
	for (enum explore_reduce r = EXPLORE_DPOR; r <= EXPLORE_NONE; r++) {
		if (strcmp(explore_reduce_name(r), name) == 0)
			return r;
	}
	argp_error(state, "--reduce: '%s' is none of dpor, sleep, none", name);
	return EXPLORE_DPOR;
}

static error_t
parse_subject(int key, char *arg, struct argp_state *state)
{
	struct exploring *const ep = state->input;
	struct sim_options *const o = &ep->ep_options;

	switch (key) {
	case KEY_SCENARIO:
		o->scenario = arg;
		return 0;
	case KEY_ARCH:
		o->arch_set = 1u << arch_of(state, arg);
		return 0;
	case KEY_CAPS:
		o->caps = arg;
		return 0;
	case KEY_MEMORY_MODEL:
		if (strcmp(arg, "tso") != 0 && strcmp(arg, "sc") != 0)
			argp_error(state, "--memory-model: '%s' is neither tso nor sc", arg);
		o->sequential = strcmp(arg, "sc") == 0;
		return 0;
	case KEY_STORE_BUFFER:
		o->store_buffer = (unsigned int)cli_number(state, "--store-buffer", arg, 1, 16);
		return 0;
	case KEY_REFERENCE:
		o->reference = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct exploring *const ep = state->input;
	struct explore_bounds *const b = &ep->ep_bounds;

	switch (key) {
	case KEY_PREEMPTIONS:
		ep->ep_bound_given = true;
		b->eb_preemptions =
			strcmp(arg, "none") == 0
				? EXPLORE_UNBOUNDED
				: (uint32_t)cli_number(state, "--preemptions", arg, 0, 1000);
		return 0;
	case KEY_REDUCE:
		b->eb_reduce = reduce_of(state, arg);
		return 0;
	case KEY_MAX_EXECUTIONS:
		b->eb_max_executions = cli_number(state, "--max-executions", arg, 1, UINT64_MAX);
		return 0;
	case KEY_MAX_STATES:
		b->eb_max_states = cli_number(state, "--max-states", arg, 1, UINT64_MAX);
		return 0;
	case KEY_TIME:
		b->eb_max_ms = milliseconds(state, arg);
		return 0;
	case KEY_RESUME:
		ep->ep_resume = arg;
		return 0;
	case 'o':
		ep->ep_output = arg;
		return 0;
	case 'k':
		b->eb_keep_going = true;
		return 0;
	case KEY_JSON:
		ep->ep_options.json = true;
		return 0;
	case 'q':
		ep->ep_options.quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is no option", arg);
		return 0;
	case ARGP_KEY_END:
		if (ep->ep_options.scenario == NULL)
			argp_error(state, "--scenario: which one?");
		return 0;
	default:
		return parse_subject(key, arg, state);
	}
}

/* ---- While it runs -------------------------------------------------------------------------- */

static struct explore *interruptible;
static volatile sig_atomic_t interrupted;

static void
interrupt(int signal)
{
	interrupted = signal;
	if (interruptible != NULL)
		explore_stop(interruptible);
}

static int
save(struct exploring *ep)
{
	struct outfile of;
	int error = outfile_open(&of, ep->ep_resume, ep->ep_why, sizeof(ep->ep_why));

	if (error == 0) {
		explore_write(ep->ep_search, of.of_stream, ep->ep_what);
		error = outfile_commit(&of, ep->ep_why, sizeof(ep->ep_why));
	}
	if (error != 0)
		cli_complain("%s", ep->ep_why);
	return error;
}

static void
tick(void *arg)
{
	struct exploring *const ep = arg;
	struct explore_stats st;

	explore_stats(ep->ep_search, &st);
	if (ep->ep_resume != NULL && st.es_ms - ep->ep_saved_ms >= SAVE_EVERY_MS) {
		ep->ep_saved_ms = st.es_ms;
		save(ep);
	}
	if (!cli_progress(ep->ep_options.quiet) || st.es_ms - ep->ep_shown_ms < SHOW_EVERY_MS)
		return;
	ep->ep_shown_ms = st.es_ms;
	fprintf(stderr, "\r\033[K%" PRIu64 " runs, %" PRIu64 " states, %" PRIu64 " ends, %.1f s",
		st.es_executions, st.es_states, st.es_finals, (double)st.es_ms / 1000);
}

static int
open_search(struct exploring *ep)
{
	struct explore_stats st;
	FILE *from;
	int error;

	ep->ep_search = explore_create(&ep->ep_bounds);
	if (ep->ep_search == NULL) {
		cli_complain("no memory");
		return CLI_INTERNAL;
	}
	if (ep->ep_resume == NULL)
		return CLI_PASS;
	from = fopen(ep->ep_resume, "re");
	if (from == NULL && errno == ENOENT)
		return CLI_PASS;
	if (from == NULL) {
		cli_complain("%s: %s", ep->ep_resume, strerror(errno));
		return CLI_ENVIRONMENT;
	}
	error = explore_read(ep->ep_search, from, ep->ep_what, ep->ep_why, sizeof(ep->ep_why));
	fclose(from);
	if (error != 0)
		cli_complain("%s: %s", ep->ep_resume, ep->ep_why);
	explore_stats(ep->ep_search, &st);
	ep->ep_saved_ms = ep->ep_shown_ms = st.es_ms;
	return error == 0 ? CLI_PASS : CLI_DATA;
}

/* ---- What came of it ------------------------------------------------------------------------ */

/* Whether the decisions alone, without the search, lead to the same end; o is left to say so. */
static bool
repeats(struct sim_options *o, const struct sim_outcome *out)
{
	static struct sim_outcome again;
	int error;

	memset(&again, 0, sizeof(again));
	again.arch = o->arch;
	again.seed = o->seed;
	o->choose = NULL;
	o->policy_ops = NULL;
	o->choices = out->choices;
	o->notes = out->notes;
	o->nchoices = out->nchoices;
	error = sim_run_workload(o, &again);
	free(again.choices);
	return error == 0 && again.verdict == out->verdict && again.steps == out->steps &&
	       again.trace_hash == out->trace_hash && again.state_hash == out->state_hash &&
	       strcmp(again.check, out->check) == 0 && strcmp(again.invariant, out->invariant) == 0;
}

/* The violation's run once more, on a machine of its own, as a replay file. */
static int
save_violation(struct exploring *ep, struct sim_outcome *out)
{
	struct sim_options o = ep->ep_options;
	struct outfile of;
	int error;

	o.record_choices = true;
	explore_follow(ep->ep_search);
	o.choose = explore_choose;
	o.choose_arg = ep->ep_search;
	o.policy_ops = &explore_policy;
	o.policy_arg = ep->ep_search;
	memset(out, 0, sizeof(*out));
	out->arch = o.arch;
	out->seed = o.seed;
	error = sim_run_workload(&o, out);
	explore_run_over(ep->ep_search);
	if (error != 0 || out->verdict != SIM_VIOLATION) {
		cli_complain("the violation does not repeat itself: %s", out->message);
		return CLI_INTERNAL;
	}
	if (!repeats(&o, out)) {
		cli_complain("the violation does not repeat itself by its decisions alone");
		return CLI_INTERNAL;
	}
	if (ep->ep_output == NULL)
		return CLI_PASS;
	error = outfile_open(&of, ep->ep_output, ep->ep_why, sizeof(ep->ep_why));
	if (error == 0) {
		replay_write(of.of_stream, &o, out);
		error = outfile_commit(&of, ep->ep_why, sizeof(ep->ep_why));
	}
	if (error != 0)
		cli_complain("%s", ep->ep_why);
	return error == 0 ? CLI_PASS : CLI_ENVIRONMENT;
}

static const char *
verdict_of(enum explore_end end)
{
	switch (end) {
	case EXPLORE_COMPLETE:
		return "complete within bounds";
	case EXPLORE_BUDGET:
		return "stopped: budget";
	case EXPLORE_STOPPED:
		return "stopped: interrupted";
	case EXPLORE_VIOLATED:
		return "violation";
	case EXPLORE_FAILED:
		break;
	}
	return "failed";
}

static double
rate(const struct explore_stats *st)
{
	return st->es_ms == 0 ? 0 : (double)st->es_executions * 1000 / (double)st->es_ms;
}

static void
write_bound(char text[32], uint32_t preemptions)
{
	if (preemptions == EXPLORE_UNBOUNDED)
		snprintf(text, 32, "none");
	else
		snprintf(text, 32, "%" PRIu32, preemptions);
}

static void
print_text(const struct exploring *ep, const struct explore_stats *st, enum explore_end end)
{
	char bound[32];

	write_bound(bound, ep->ep_bounds.eb_preemptions);
	printf("explore     %s, %s, %s, preemptions %s, reduce %s\n", ep->ep_options.scenario,
	       sim_arch_name(ep->ep_options.arch), ep->ep_options.sequential ? "sc" : "tso", bound,
	       explore_reduce_name(ep->ep_bounds.eb_reduce));
	printf("verdict     %s\n", verdict_of(end));
	printf("executions  %" PRIu64 ": %" PRIu64 " to the end, %" PRIu64
	       " of them different, %" PRIu64 " cut short (%" PRIu64 " asleep, %" PRIu64
	       " seen before)\n",
	       st->es_executions, st->es_whole, st->es_traces, st->es_cut_sleep + st->es_cut_seen,
	       st->es_cut_sleep, st->es_cut_seen);
	printf("pruned      %" PRIu64 " switches beyond the bound\n", st->es_bounded);
	printf("states      %" PRIu64 " beginnings of runs, %" PRIu64 " ends (sum 0x%016" PRIx64
	       ")\n",
	       st->es_states, st->es_finals, st->es_finals_sum);
	printf("depth       %" PRIu32 " steps; %" PRIu64 " races\n", st->es_depth, st->es_races);
	printf("rate        %.0f executions, %.0f steps per second; %.1f s\n", rate(st),
	       st->es_ms == 0 ? 0 : (double)st->es_steps * 1000 / (double)st->es_ms,
	       (double)st->es_ms / 1000);
}

static void
print_violation(const struct exploring *ep, const struct explore_stats *st)
{
	const struct sim_report *const r = &st->es_report;

	fprintf(stderr, "VIOLATION   %s%s%s at step %" PRIu64 ": %s\n", r->sr_check,
		r->sr_invariant[0] != '\0' ? " " : "", r->sr_invariant, r->sr_step, r->sr_message);
	if (ep->ep_output != NULL)
		fprintf(stderr, "replay      pmap-sim replay %s\n", ep->ep_output);
	else
		fprintf(stderr, "replay      once more with -o FILE writes a replay file\n");
}

static void
print_json(const struct exploring *ep, const struct explore_stats *st, enum explore_end end)
{
	struct json j;
	char bound[32];

	write_bound(bound, ep->ep_bounds.eb_preemptions);
	json_start(&j, stdout);
	json_object(&j, NULL);
	json_string(&j, "scenario", ep->ep_options.scenario);
	json_string(&j, "arch", sim_arch_name(ep->ep_options.arch));
	json_string(&j, "memory_model", ep->ep_options.sequential ? "sc" : "tso");
	json_string(&j, "preemptions", bound);
	json_string(&j, "reduce", explore_reduce_name(ep->ep_bounds.eb_reduce));
	json_string(&j, "verdict", verdict_of(end));
	json_u64(&j, "executions", st->es_executions);
	json_u64(&j, "whole", st->es_whole);
	json_u64(&j, "different", st->es_traces);
	json_u64(&j, "cut_asleep", st->es_cut_sleep);
	json_u64(&j, "cut_seen", st->es_cut_seen);
	json_u64(&j, "beyond_bound", st->es_bounded);
	json_u64(&j, "states", st->es_states);
	json_u64(&j, "ends", st->es_finals);
	json_hex(&j, "ends_sum", st->es_finals_sum);
	json_u64(&j, "races", st->es_races);
	json_u64(&j, "depth", st->es_depth);
	json_u64(&j, "steps", st->es_steps);
	json_u64(&j, "milliseconds", st->es_ms);
	json_u64(&j, "violations", st->es_violations);
	if (st->es_violations > 0) {
		json_string(&j, "check", st->es_report.sr_check);
		json_string(&j, "invariant", st->es_report.sr_invariant);
		json_string(&j, "message", st->es_report.sr_message);
	}
	json_close(&j);
	json_finish(&j);
}

static int
publish(struct exploring *ep, enum explore_end end)
{
	static struct sim_outcome out; /* large */
	struct explore_stats st;
	int code = CLI_PASS;

	explore_stats(ep->ep_search, &st);
	if (cli_progress(ep->ep_options.quiet))
		fputs("\r\033[K", stderr);
	if (st.es_violations > 0 && !ep->ep_bounds.eb_keep_going)
		code = save_violation(ep, &out);
	free(out.choices);
	if (ep->ep_options.json)
		print_json(ep, &st, end);
	else if (!ep->ep_options.quiet)
		print_text(ep, &st, end);
	if (st.es_violations > 0)
		print_violation(ep, &st);
	if (code != CLI_PASS)
		return code;
	if (st.es_violations > 0)
		return CLI_VIOLATION;
	if (end == EXPLORE_STOPPED)
		return CLI_SIGNAL + interrupted;
	return end == EXPLORE_COMPLETE ? CLI_PASS : CLI_BUDGET;
}

/* ---- The command ---------------------------------------------------------------------------- */

/* What cannot be written is known before the search, not after hours of it. */
static int
probe(struct exploring *ep)
{
	const char *const paths[] = {ep->ep_resume, ep->ep_output};

	for (unsigned int i = 0; i < 2; i++) {
		if (paths[i] != NULL && outfile_probe(paths[i], ep->ep_why, sizeof(ep->ep_why))) {
			cli_complain("%s", ep->ep_why);
			return CLI_ENVIRONMENT;
		}
	}
	return CLI_PASS;
}

static int
search(struct exploring *ep)
{
	struct sigaction act = {.sa_handler = interrupt};
	enum explore_end end;
	int code = probe(ep);

	if (code == CLI_PASS)
		code = open_search(ep);
	if (code != CLI_PASS)
		return code;
	interruptible = ep->ep_search;
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	explore_set_tick(ep->ep_search, tick, ep);
	end = sim_search(&ep->ep_options, ep->ep_search, ep->ep_why, sizeof(ep->ep_why));
	interruptible = NULL;
	if (end == EXPLORE_FAILED) {
		cli_complain("%s", ep->ep_why);
		return CLI_INTERNAL;
	}
	if (ep->ep_resume != NULL && save(ep) != 0)
		code = CLI_ENVIRONMENT;

	const int published = publish(ep, end);

	return code != CLI_PASS ? code : published;
}

int
cli_explore(int argc, char **argv)
{
	static struct exploring ep; /* for the signal handler */
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Searches all runs of a small scenario, within bounds.\vIt ends with "
		       "'complete within bounds', or with what stopped it. docs/EXPLORE.md says "
		       "what is counted.",
	};
	char bound[32];
	int code;

	ep.ep_options.seed = 1;
	ep.ep_options.count = 1;
	ep.ep_options.arch_set = (1u << SIM_ARCH_COUNT) - 1;
	argp_parse(&argp, argc, argv, 0, NULL, &ep);
	if (sim_options_complete(&ep.ep_options, NULL, ep.ep_why, sizeof(ep.ep_why)) != 0 ||
	    !sim_search_complete(&ep.ep_options, ep.ep_bound_given ? NULL : &ep.ep_bounds,
				 ep.ep_why, sizeof(ep.ep_why))) {
		cli_complain("%s", ep.ep_why);
		return CLI_USAGE;
	}
	write_bound(bound, ep.ep_bounds.eb_preemptions);
	snprintf(ep.ep_what, sizeof(ep.ep_what),
		 "%s arch=%s caps=%s memory-model=%s store-buffer=%u reference=%d preemptions=%s "
		 "reduce=%s build=%s",
		 ep.ep_options.scenario, sim_arch_name(ep.ep_options.arch),
		 ep.ep_options.caps != NULL ? ep.ep_options.caps : "-",
		 ep.ep_options.sequential ? "sc" : "tso", ep.ep_options.store_buffer,
		 ep.ep_options.reference, bound, explore_reduce_name(ep.ep_bounds.eb_reduce),
		 sim_build_id);
	code = search(&ep);
	explore_destroy(ep.ep_search);
	return code;
}
