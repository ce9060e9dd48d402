/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The command line of pmap-sim, inside: its commands, what they share, and the sum of a command's
 * runs, from which all output is made.
 */

#ifndef SIM_CLI_H
#define SIM_CLI_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/cli/options.h"
#include "sim/cli/outfile.h"
#include "sim/cli/pool.h"
#include "sim/replay/replay.h"
#include "sim/trace/trace.h"

/* Exit codes; those from 64 on as in sysexits(3). */
enum cli_exit {
	CLI_PASS = 0,
	CLI_VIOLATION = 1,
	CLI_BUDGET = 2,
	CLI_USAGE = 64,
	CLI_DATA = 65,
	CLI_INTERNAL = 70,
	CLI_ENVIRONMENT = 75,
	CLI_SIGNAL = 128, /* plus its number */
};

#define CLI_WHY_BYTES 640
#define CLI_LINE_BYTES (REPLAY_LINE_BYTES + 512)

/* The commands: argv[0] is "pmap-sim COMMAND"; they return an exit code. */
int cli_run(int argc, char **argv);
int cli_replay(int argc, char **argv);
int cli_shrink(int argc, char **argv);
int cli_why(int argc, char **argv);
int cli_diff(int argc, char **argv);
int cli_record(int argc, char **argv);
int cli_compare(int argc, char **argv);
int cli_scenarios(int argc, char **argv);
int cli_invariants(int argc, char **argv);
int cli_profiles(int argc, char **argv);
int cli_faults(int argc, char **argv);
int cli_explore(int argc, char **argv);

/* "pmap-sim: ..." on stderr; a sentence without its full stop. */
void cli_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether to color what goes to this stream: a terminal, and nobody said no (NO_COLOR). */
bool cli_color(FILE *stream);

/* Whether to show progress on stderr. */
bool cli_progress(bool quiet);

/* ---- What most commands need (cli_base.c) --------------------------------------------------- */

/* An option's number; does not return if it is none, or out of bounds. */
struct argp_state;
uint64_t cli_number(struct argp_state *state, const char *option, const char *text, uint64_t least,
		    uint64_t most);

/* Whether something stands before such an end. */
bool cli_ends_with(const char *text, const char *end);

/* From here on SIGINT and SIGTERM are noted, for commands that then keep what they have. */
void cli_note_signals(void);
extern volatile sig_atomic_t cli_stopped; /* the signal, or 0 */

/* A command is over, with that code so far: its output written out, and the signal noted. */
int cli_end(int code);

/* ---- record --from (cli_import.c) ------------------------------------------------------------ */

struct cli_import_args {
	const char *from;   /* a file, or "-" */
	const char *output; /* the trace */
	const char *name;   /* of the program in it; NULL: that of the file */
	bool strict;
	bool quiet;
};

int cli_import(const struct cli_import_args *a);

/* ---- Arguments of run and replay (cli_args.c) ----------------------------------------------- */

struct cli_args {
	struct sim_options options;
	const char *save; /* replay file to write */
	const char *file; /* replay file to read */
	bool keep_going;
	bool seed_given;
	uint64_t until;		/* replay: the step to stop at; 0: none */
	const char *break_at;	/* replay: or where that happens */
	bool curves;		/* reports may be .svg; before parsing */
	bool gdb;		/* replay: not to show it, but to let a debugger do so */
	bool lenient;		/* replay: decisions of a file as far as they fit (lenient.h) */
	bool run_options_given; /* any that a replay file decides */
	struct trace *trace;	/* opened by cli_prepare() */
	struct outfile reports[SIM_REPORTS_MAX];
	const char *perfetto; /* of replay: what happened, in that format */
	struct outfile perfetto_file;
	bool story;			      /* to be told even if nothing failed */
	struct replay recorded;		      /* of file */
	char trace_beside[REPLAY_LINE_BYTES]; /* path of its trace, if it lies beside it */
};

/* What is done if nothing is said; and the options of run and replay, for commands that take them
 * too and have a struct cli_args as their input. */
struct argp;
void cli_args_init(struct cli_args *a);
extern const struct argp cli_run_options;
extern const struct argp cli_replay_options;

/* Parses; does not return if the arguments are wrong (CLI_USAGE) or ask for help. */
void cli_parse(struct cli_args *a, bool is_replay, int argc, char **argv);

/*
 * Opens what the options name, and completes them. Returns CLI_PASS, or another code after having
 * complained. cli_release() in any case.
 */
int cli_prepare(struct cli_args *a);
int cli_prepare_one(struct cli_args *a); /* and options.arch is the one kind of page table */
void cli_release(struct cli_args *a);

/* ---- One run (cli_exec.c) ------------------------------------------------------------------- */

/* Runs o->seed on o->arch in this process; counts invariants; twice with check_determinism. */
int cli_execute(const struct sim_options *o, const struct trace *trace, struct sim_outcome *out);

/* The command that repeats a run, with every option spelled out. */
void cli_replay_line(const struct sim_options *o, const struct sim_outcome *out, char *line,
		     size_t line_bytes);

/* ---- The sum of runs (cli_sum.c) ------------------------------------------------------------ */

enum cli_repeat {
	CLI_REPEAT_NONE, /* nothing to repeat */
	CLI_REPEAT_SAME, /* the replay line was tried, and the trace hash was equal */
	CLI_REPEAT_OTHER,
};

struct cli_sum {
	const struct cli_args *args;
	uint64_t wanted;
	uint64_t done;
	uint64_t passed;
	uint64_t violations;
	uint64_t budgets;
	uint64_t errors;
	uint64_t steps;
	uint64_t schedules;
	unsigned int actors; /* of a policy; the most */
	uint64_t picks;	     /* the most in a schedule */
	uint64_t hash;	     /* over the trace hashes, in order */
	uint64_t last_hash;  /* of the last run */
	uint64_t last_state;
	double seconds;
	int signal;		     /* that interrupted it */
	struct sim_outcome counters; /* only these of it are used */

	bool failed; /* the next fields tell of the first failure */
	struct pool_result first;
	char line[CLI_LINE_BYTES]; /* to replay it */
	enum cli_repeat repeat;
	uint64_t repeat_hash;
	enum sim_verdict repeat_verdict;
	const char *saved;		/* replay file that was written */
	const struct story *story;	/* of the first failure; NULL: nobody wanted to know */
	const struct html_curve *curve; /* when it became likely, or NULL */

	bool is_small;		       /* shrunk already */
	const struct replay *recorded; /* what a replay was to repeat, or NULL */
	bool choices_unfit;	       /* its list of choices did not fit, the seed was used */
	char unfit[SIM_MESSAGE_BYTES]; /* where it first did not, or "" */
};

void cli_sum_add(struct cli_sum *s, struct pool_result *r);

/* Whether the one run was the recorded one: each step, and the state at the end. */
bool cli_same_run(const struct cli_sum *s);

/* Whether this whole run of seeds promised coverage, and each counter that was left at zero. */
bool cli_sum_judges_coverage(const struct cli_sum *s);
bool cli_never_exercised(const struct cli_sum *s, const struct sim_counter *c);
unsigned int cli_sum_never(const struct cli_sum *s);

/* Adds what faults met in one run to what they met in others (cli_faults.c). */
void cli_faults_add(struct sim_outcome_faults *sum, const struct sim_outcome_faults *more);

/* What it comes to: the exit code, and the word for it. */
int cli_sum_exit(const struct cli_sum *s);
const char *cli_exit_word(const struct cli_sum *s, int code);

const char *cli_group_name(enum sim_counter_group g);

/* ---- Its story (cli_story.c) ---------------------------------------------------------------- */

/* Whether a report is asked for that shows one. */
bool cli_wants_story(const struct cli_args *a, const struct cli_sum *s);

/*
 * The first failure again, or the first run of all, in a process of its own. From story_create();
 * NULL if there is none.
 */
struct story *cli_tell(const struct cli_args *a, const struct cli_sum *s);

/* ---- Runs taken apart (cli_shrink.c, cli_why.c) --------------------------------------------- */

/* Says why a run was not taken apart (shrink.h); returns the exit code. */
struct shrink;
int cli_shrink_failed(const struct cli_args *a, const struct shrink *sh, int error);

/* ---- A replay that stops (cli_stop.c) ------------------------------------------------------- */

/* Prepared arguments; argv as the command was called, for the debugger to call it again. */
int cli_stop(struct cli_args *a, int argc, char **argv);

/* ---- Its end (cli_sum.c) -------------------------------------------------------------------- */

/* Says in words why a job did not end in a verdict. */
void cli_failure_text(const struct pool_result *r, char *text, size_t text_bytes);

/* Writes the summary to stdout (or JSON), and the reports. Returns the exit code. */
int cli_publish(struct cli_args *a, struct cli_sum *s);

/* ---- Output (cli_text.c, cli_json.c) -------------------------------------------------------- */

/* The part of it that tells what became of the memory of guests (cli_memory.c). */
void cli_write_memory(FILE *to, const struct cli_sum *s);

/* What is said of the first failure (cli_failure.c). */
void cli_write_failure(FILE *to, const struct cli_sum *s, bool color);

/* The last steps of a story that matter: at most 9 lines (cli_failure.c). */
void cli_write_steps(FILE *to, const struct story *st);

enum cli_detail {
	CLI_FAILURE_ONLY, /* nothing unless something failed */
	CLI_SUMMARY,	  /* at most 25 lines */
	CLI_FULL,	  /* every counter */
};
void cli_write_text(FILE *to, const struct cli_sum *s, enum cli_detail detail, bool color);
void cli_write_json(FILE *to, const struct cli_sum *s);

#endif /* SIM_CLI_H */
