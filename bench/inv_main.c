/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * pmap-inv: what shootdowns cost here, ours against the limit and against other ways.
 */

#include <argp.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench/inv_out.h"

enum { KEY_LIST = 256, KEY_HTML, KEY_SVG, KEY_JSON, KEY_ARCH, KEY_ROWS };

struct options {
	unsigned int op_cpus;
	unsigned int op_rounds;
	bool op_list;
	bool op_rows_only;
	const char *op_arch;
	enum pt_type op_type;
	bool op_emulate_ad;
	const char *op_json;
	const char *op_svg;
	const char *op_html;
	char **op_names;
	unsigned int op_nnames;
};

static const struct argp_option table[] = {
	{"cpus", 'n', "N", 0, "processors to use; default: all", 0},
	{"rounds", 'r', "N", 0, "rounds, of which the best and the median count; default 7", 0},
	{"arch", KEY_ARCH, "TYPE", 0, "ept, ept-noad or rvi; default ept", 0},
	{"rows-only", KEY_ROWS, NULL, 0, "no comparison of schemes", 0},
	{"json", KEY_JSON, "FILE", 0, "write all figures to FILE; - is standard output", 0},
	{"svg", KEY_SVG, "DIR", 0, "write pictures into DIR", 0},
	{"html", KEY_HTML, "FILE", 0, "write a page with all of it", 0},
	{"list", KEY_LIST, NULL, 0, "list rows and schemes, and exit", 0},
	{0},
};

static unsigned int
number(struct argp_state *state, const char *what, const char *text, unsigned int most)
{
	char *end;
	const unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || value == 0 || value > most)
		argp_error(state, "%s: '%s' is no number from 1 to %u", what, text, most);
	return (unsigned int)value;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *const op = state->input;

	switch (key) {
	case 'n':
		op->op_cpus = number(state, "--cpus", arg, CREW_MAX + 1);
		return 0;
	case 'r':
		op->op_rounds = number(state, "--rounds", arg, INV_ROUNDS_MAX);
		return 0;
	case KEY_ARCH:
		if (strcmp(arg, "ept") != 0 && strcmp(arg, "ept-noad") != 0 &&
		    strcmp(arg, "rvi") != 0)
			argp_error(state, "--arch: '%s' is none of ept, ept-noad, rvi", arg);
		op->op_arch = arg;
		op->op_type = strcmp(arg, "rvi") == 0 ? PT_RVI : PT_EPT;
		op->op_emulate_ad = strcmp(arg, "ept-noad") == 0;
		return 0;
	case KEY_ROWS:
		op->op_rows_only = true;
		return 0;
	case KEY_JSON:
		op->op_json = arg;
		return 0;
	case KEY_SVG:
		op->op_svg = arg;
		return 0;
	case KEY_HTML:
		op->op_html = arg;
		return 0;
	case KEY_LIST:
		op->op_list = true;
		return 0;
	case ARGP_KEY_ARGS:
		op->op_names = state->argv + state->next;
		op->op_nnames = (unsigned int)(state->argc - state->next);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = table,
	.parser = parse,
	.args_doc = "[ROW...]",
	.doc = "Measures shootdowns with threads as CPUs, each beside its limit.\v"
	       "Rows are patterns of the shell: 'inv.batch.*'. Without any, all of them run, and "
	       "then all schemes side by side. Exit codes: 0, whether targets were reached or not; "
	       "64 wrong usage, 70 internal error, 75 what this machine lacks.",
};

/* Keeps the rows that are asked for; a pattern that matches none is wrong usage. */
static unsigned int
choose(const struct options *op, struct inv_row *rows, unsigned int n)
{
	unsigned int kept = 0;
	bool used[64] = {false};

	if (op->op_nnames == 0)
		return n;
	for (unsigned int i = 0; i < n; i++) {
		bool wanted = false;

		for (unsigned int k = 0; k < op->op_nnames; k++) {
			if (fnmatch(op->op_names[k], rows[i].rw_name, 0) == 0) {
				wanted = true;
				used[k % 64] = true;
			}
		}
		if (wanted)
			rows[kept++] = rows[i];
	}
	for (unsigned int k = 0; k < op->op_nnames; k++) {
		if (!used[k % 64]) {
			fprintf(stderr, "pmap-inv: there is no row '%s'; see --list\n",
				op->op_names[k]);
			exit(EX_USAGE);
		}
	}
	return kept;
}

static int
measure(struct crew *c, const struct inv_report *re)
{
	const bool shown = isatty(STDERR_FILENO) == 1;
	int error = 0;

	for (unsigned int k = 0; k < re->re_rounds && error == 0; k++) {
		for (unsigned int i = 0; i < re->re_nrows && error == 0; i++) {
			if (shown)
				fprintf(stderr, "\r\033[Kround %u of %u: %s", k + 1, re->re_rounds,
					re->re_rows[i].rw_name);
			if (re->re_rows[i].rw_refused == NULL)
				error = inv_row_round(c, &re->re_rows[i]);
		}
		for (unsigned int i = 0; i < re->re_nsides && error == 0; i++) {
			if (shown)
				fprintf(stderr, "\r\033[Kround %u of %u: schemes, %u of %u", k + 1,
					re->re_rounds, i + 1, re->re_nsides);
			error = inv_side_round(c, &re->re_sides[i]);
		}
	}
	if (shown)
		fprintf(stderr, "\r\033[K");
	return error;
}

static void
list(const struct inv_report *re)
{
	for (unsigned int i = 0; i < re->re_nrows; i++)
		printf("%-24s target %.2f of: %s\n", re->re_rows[i].rw_name,
		       re->re_rows[i].rw_target, re->re_rows[i].rw_limit);
	printf("\n");
	for (unsigned int i = 0; i < inv_nschemes; i++)
		printf("%-24s %s\n", inv_schemes[i]->sc_name, inv_schemes[i]->sc_what);
}

static bool
report(const struct options *op, const struct inv_report *re)
{
	if (op->op_json == NULL || strcmp(op->op_json, "-") != 0) {
		inv_out_rows(re);
		inv_out_sides(re);
	}
	return (op->op_json == NULL || inv_out_json(re, op->op_json)) &&
	       (op->op_svg == NULL || inv_out_svg(re, op->op_svg)) &&
	       (op->op_html == NULL || inv_out_html(re, op->op_html));
}

/* Whether the processors asked for are there, and enough for anything to be in the guest. */
static bool
can_run(struct options *op)
{
	const unsigned int there = crew_processors();

	if (op->op_cpus == 0)
		op->op_cpus = there <= CREW_MAX ? there : CREW_MAX + 1;
	if (op->op_cpus > there) {
		fprintf(stderr, "pmap-inv: --cpus %u: this process may use %u processors\n",
			op->op_cpus, there);
		return false;
	}
	if (op->op_cpus < 2) {
		fprintf(stderr,
			"pmap-inv: a shootdown takes two processors, one to be in the guest "
			"and one to unmap; there is one\n");
		return false;
	}
	return true;
}

int
main(int argc, char **argv)
{
	static struct inv_row rows[INV_ROWS_MAX];
	static struct inv_side sides[INV_SIDE_MAX];
	static struct crew crew;
	struct options op = {.op_rounds = 7, .op_arch = "ept", .op_type = PT_EPT};
	struct inv_report re = {.re_rows = rows, .re_sides = sides};
	int error;
	bool written;

	argp_err_exit_status = EX_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &op);
	if (!op.op_list && !can_run(&op))
		return EX_TEMPFAIL;
	re.re_rounds = op.op_rounds;
	re.re_processors = op.op_cpus != 0 ? op.op_cpus : crew_processors();
	re.re_type = op.op_arch;
	re.re_nrows =
		choose(&op, rows, inv_rows(rows, re.re_processors, op.op_type, op.op_emulate_ad));
	if (!op.op_rows_only && op.op_nnames == 0)
		re.re_nsides = inv_sides(sides, re.re_processors, op.op_type, op.op_emulate_ad);
	if (op.op_list) {
		list(&re);
		return 0;
	}
	error = crew_start(&crew, re.re_processors - 1, false);
	if (error == 0) {
		error = measure(&crew, &re);
		crew_end(&crew);
	}
	if (error != 0) {
		fprintf(stderr, "pmap-inv: %s\n", strerror(-error));
		return EX_TEMPFAIL;
	}
	written = report(&op, &re);
	return written ? 0 : EX_SOFTWARE;
}
