/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-bench itself: it measures nothing, it starts those who do (worker.c) and reports. A report
 * is one JSON value from the first row to the last; table, pages and comparison all read that.
 */

#ifndef BENCH_FRONT_H
#define BENCH_FRONT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define FRONT_FORMAT "skep-bench-1"
#define FRONT_NAMES_MAX 64
#define FRONT_ARCHES 3

struct plan {
	const char *pl_names[FRONT_NAMES_MAX]; /* none: all */
	unsigned int pl_nnames;
	bool pl_arch[FRONT_ARCHES];
	bool pl_native;
	bool pl_kernel;
	unsigned int pl_cpus;
	unsigned int pl_ms; /* for each row, type and tier */
	const char *pl_json;
	const char *pl_svg;
	const char *pl_html;
	const char *pl_pictures; /* where those of others go: pl_svg, or a folder for a while */
	const char *pl_compare;
};

extern const char *const front_arches[FRONT_ARCHES];

/* ---- What all use (front.c) ------------------------------------------------------------------ */

/* A sentence on standard error; the second ends the program. */
void front_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void front_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A name that was given is a row, or its beginning up to a dot; *by_name: the row itself. */
bool plan_wants(const struct plan *plan, const char *row, bool *by_name);
/* Everything about shootdowns: all was asked for, or "inv" as such. */
bool plan_whole_inv(const struct plan *plan);

double record_real(const json_t *object, const char *key);
const char *record_text(const json_t *object, const char *key);
/* Of a record: best value by best limit. */
double record_ratio(const json_t *record);
/* Says, and notes in the report, what failed; the run goes on. */
void report_failed(json_t *report, const char *name, const char *arch, const char *tier, int code);

/* ---- Workers (spawn.c) ----------------------------------------------------------------------- */

#define SPAWN_ARGS_MAX 80

/*
 * What a program beside this one prints when started so; NULL if it failed, with *code what it
 * ended with (it has said why).
 */
json_t *spawn_json(const char *program, const char *const *args, int *code);
json_t *spawn_worker(const char *tier, const char *const *args, int *code);
/* Its output, line by line, as an array of strings. */
json_t *spawn_lines(const char *program, const char *const *args, int *code);
/* Becomes another program beside this one. */
_Noreturn void spawn_become(const char *name, char **argv);

/* ---- The run (suite.c) ----------------------------------------------------------------------- */

/* All rows there are. */
json_t *suite_list(void);
/* Runs what is planned; the report. Ends the program if it cannot. */
json_t *suite_run(const struct plan *plan);

/* ---- Shootdowns (inv_front.c) ---------------------------------------------------------------- */

/* Adds the rows of pmap-inv to the list. */
void inv_front_list(json_t *rows);
/* Runs those of the list that are wanted, and all comparisons if no rows were named. */
void inv_front_run(const struct plan *plan, const json_t *rows, json_t *report);

/* ---- Large machines (cost_front.c) ----------------------------------------------------------- */

/* Adds what pmap-cost says of them. */
void cost_front_run(const struct plan *plan, json_t *report);

/* ---- The machine (machine.c) ----------------------------------------------------------------- */

unsigned int machine_cpus(void);
unsigned int machine_free_mib(void);
json_t *machine_describe(void);
/* What was compiled, and how. */
json_t *machine_build(void);
/* Before the first row, and after the last: what else ran meanwhile goes into `run`. */
void machine_before(json_t *run);
void machine_after(json_t *run);

/* ---- Reports --------------------------------------------------------------------------------- */

void table_head(FILE *out);
void table_row(FILE *out, const json_t *record);
void table_tail(FILE *out, const json_t *report);

/* An older report; or the end of the program if the file is none. */
json_t *compare_open(const char *path);
/* How many rows changed, by its rule. */
unsigned int compare_reports(FILE *out, const char *old_path, const json_t *report);

struct plot;
/* The picture of rows with several CPUs, until the next call; false if there are none. */
bool scaling_draw(const json_t *report, const char *arch, const char *tier, struct plot *p);

/* Pictures in a folder, a page of everything; false and errno if they cannot be written. */
bool page_svg(const char *folder, const json_t *report);
/* pictures: the folder of those that others made, or NULL. */
bool page_html(const char *path, const char *pictures, const json_t *report);

#endif /* BENCH_FRONT_H */
