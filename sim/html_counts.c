/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* What the runs exercised: faults, invariants, operations, hardware. */

#include <inttypes.h>

#include "sim/cli.h"
#include "sim/html.h"
#include "sim/invariants.h"

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

void
html_counts(FILE *to, const struct cli_sum *s)
{
	fputs("<section aria-label=\"Counts\"><h2 id=\"h-counts\">What was "
	      "exercised</h2>\n",
	      to);
	group(to, s, SIM_COUNT_INVARIANTS, "Invariants evaluated");
	group(to, s, SIM_COUNT_FAULTS, "Kinds of fault injected");
	group(to, s, SIM_COUNT_OPERATIONS, "Kinds of operation");
	group(to, s, SIM_COUNT_HARDWARE, "Doings of the hardware");
	fputs("</section>\n", to);
}
