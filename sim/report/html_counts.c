/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the runs exercised: faults, invariants, operations, hardware. */

#include <inttypes.h>

#include "sim/cli/cli.h"
#include "sim/cli/faults.h"
#include "sim/report/html.h"
#include "sim/oracle/invariants.h"

static void
number(FILE *to, uint64_t n)
{
	char digits[24];
	const int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

	for (int i = 0; i < len; i++) {
		fputc(digits[i], to);
		if (i + 1 < len && (len - i - 1) % 3 == 0)
			fputs(" ", to); /* narrow, does not break */
	}
}

static unsigned int
count_group(const struct cli_sum *s, enum sim_counter_group g, bool zero)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < s->counters.ncounters; i++)
		n += s->counters.counters[i].group == g &&
		     (!zero || s->counters.counters[i].value == 0);
	return n;
}

static void
row(FILE *to, const struct cli_sum *s, const struct sim_counter *c)
{
	const struct sim_invariant_info *info =
		c->group == SIM_COUNT_INVARIANTS ? sim_invariant_by_id(c->name) : NULL;
	const bool never = cli_never_exercised(s, c);

	fprintf(to, "<tr%s><th scope=\"row\">", c->value == 0 ? " class=\"zero\"" : "");
	html_text(to, c->name);
	fputs("</th><td class=\"n\">", to);
	number(to, c->value);
	fputs("</td><td>", to);
	if (never)
		fputs("<strong>never exercised</strong> ", to);
	if (info != NULL)
		html_text(to, info->title);
	fputs("</td></tr>\n", to);
}

static void
group(FILE *to, const struct cli_sum *s, enum sim_counter_group g, const char *what)
{
	const unsigned int n = count_group(s, g, false);

	if (n == 0)
		return;
	fprintf(to,
		"<details><summary>%s: %u of %u</summary>\n<table class=\"counts\">"
		"<caption class=\"hidden\">%s</caption><tbody>\n",
		what, n - count_group(s, g, true), n, what);
	for (unsigned int i = 0; i < s->counters.ncounters; i++) {
		if (s->counters.counters[i].group == g)
			row(to, s, &s->counters.counters[i]);
	}
	fputs("</tbody></table></details>\n", to);
}

/* ---- Faults by operation -------------------------------------------------------------------- */

static bool
was_asked(const struct sim_outcome_faults *of, unsigned int f)
{
	for (unsigned int op = 0; op < SIM_OPERATIONS_ROOM; op++) {
		if (of->asked[f][op] != 0)
			return true;
	}
	return false;
}

static void
matrix_head(FILE *to, const struct sim_outcome_faults *of)
{
	fputs("<thead><tr><th scope=\"col\">fault</th>", to);
	for (unsigned int op = 0; op < SIM_OPERATIONS_ROOM; op++) {
		const char *const name = sim_workload_operation(op);

		if (name == NULL)
			break;
		if (of->begun[op] == 0)
			continue;
		fputs("<th scope=\"col\">", to);
		html_text(to, name);
		fputs("</th>", to);
	}
	fputs("</tr></thead>\n", to);
}

/* Four shades, each ten times the one before. */
static unsigned int
shade_of(uint32_t hit)
{
	return hit < 10 ? 1 : hit < 100 ? 2 : hit < 1000 ? 3 : 4;
}

static void
matrix_row(FILE *to, const struct sim_outcome_faults *of, unsigned int f, unsigned int *gaps)
{
	fputs("<tr><th scope=\"row\" title=\"", to);
	html_text(to, faults_info((enum sim_fault)f)->fi_about);
	fputs("\">", to);
	html_text(to, sim_fault_name((enum sim_fault)f));
	fputs("</th>", to);
	for (unsigned int op = 0; op < SIM_OPERATIONS_ROOM; op++) {
		const uint32_t asked = of->asked[f][op], hit = of->hit[f][op];

		if (sim_workload_operation(op) == NULL)
			break;
		if (of->begun[op] == 0)
			continue;
		if (hit != 0)
			fprintf(to, "<td class=\"hit%u\">%" PRIu32 "</td>", shade_of(hit), hit);
		else if (asked != 0)
			fprintf(to, "<td class=\"gap\" title=\"asked %" PRIu32 " times\">0</td>",
				asked);
		else
			fputs("<td></td>", to);
		*gaps += hit == 0 && asked != 0;
	}
	fputs("</tr>\n", to);
}

/* What met what: a number is hits; a hatched 0 could have been hit; empty, the two never meet. */
static void
matrix(FILE *to, const struct cli_sum *s)
{
	const struct sim_outcome_faults *of = &s->counters.faults;
	unsigned int rows = 0, gaps = 0;

	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++)
		rows += was_asked(of, f);
	if (rows == 0)
		return;
	fputs("<h3>Faults by operation</h3>\n<div class=\"wide\"><table class=\"matrix\">"
	      "<caption class=\"hidden\">How often each fault hit each operation</caption>",
	      to);
	matrix_head(to, of);
	fputs("<tbody>\n", to);
	for (unsigned int f = 0; f < SIM_FAULT_COUNT; f++) {
		if (was_asked(of, f))
			matrix_row(to, of, f, &gaps);
	}
	fprintf(to,
		"</tbody></table></div>\n<p class=\"small\">Numbers are hits; a hatched 0 marks "
		"a fault that could have hit and did not (%u of them); where nothing is, the two "
		"never meet.</p>\n",
		gaps);
}

void
html_counts(FILE *to, const struct cli_sum *s)
{
	fputs("<section aria-label=\"Counts\"><h2 id=\"h-counts\">What was "
	      "exercised</h2>\n",
	      to);
	matrix(to, s);
	group(to, s, SIM_COUNT_INVARIANTS, "Invariants evaluated");
	group(to, s, SIM_COUNT_FAULTS, "Kinds of fault injected");
	group(to, s, SIM_COUNT_OPERATIONS, "Kinds of operation");
	group(to, s, SIM_COUNT_HARDWARE, "Doings of the hardware");
	fputs("</section>\n", to);
}
