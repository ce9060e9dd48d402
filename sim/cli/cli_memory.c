/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What became of guests that have more memory than the host: a summary for people of what the
 * counters say (all of which are in the JSON report).
 */

#include <inttypes.h>
#include <string.h>

#include "sim/cli/cli.h"

#define INDENT 12

static uint64_t
counter(const struct cli_sum *s, const char *name)
{
	for (unsigned int i = 0; i < s->counters.ncounters; i++) {
		const struct sim_counter *const c = &s->counters.counters[i];

		if (c->group == SIM_COUNT_OPERATIONS && strcmp(c->name, name) == 0)
			return c->value;
	}
	return 0;
}

/* A heading, then "12 of this, 3 of that": counters by name and what they count. */
struct word {
	const char *name;
	const char *text;
};

/* A text that says by itself what follows. */
static bool
ends(const char *text)
{
	return text[strlen(text) - 1] == ':';
}

static void
write_line(FILE *to, const struct cli_sum *s, const char *heading, const struct word *words)
{
	int column = fprintf(to, "%-*s", INDENT, heading);

	for (unsigned int i = 0; words[i].name != NULL; i++) {
		char text[80];
		const bool last = words[i + 1].name == NULL || ends(words[i].text);
		const int len = snprintf(text, sizeof(text), "%" PRIu64 " %s%s",
					 counter(s, words[i].name), words[i].text, last ? "" : ",");

		if (column + 1 + len > 100)
			column = fprintf(to, "\n%*s", INDENT, "") - 1;
		column += fprintf(to, "%s%s", column > INDENT ? " " : "", text);
	}
	fputc('\n', to);
}

static void
write_guests(FILE *to, const struct cli_sum *s)
{
	const uint64_t runs = s->done != 0 ? s->done : 1;

	fprintf(to,
		"%-*s%" PRIu64 " in %" PRIu64 " runs; on average %" PRIu64
		" pages of memory for the guests of a run,\n%*sand %" PRIu64
		" pages of the host for them and their tables\n",
		INDENT, "guests", counter(s, "guests"), s->done,
		counter(s, "guest-memory-pages") / runs, INDENT, "",
		counter(s, "host-memory-pages") / runs);
}

void
cli_write_memory(FILE *to, const struct cli_sum *s)
{
	static const struct word faults[] = {{"faults", "in all:"},
					     {"zero-fills", "pages filled with zeros"},
					     {"pages-swapped-in", "read from swap"},
					     {"superpage-enters", "superpages mapped"},
					     {"faults-spurious", "that the tables answered"},
					     {"fault-retries", "overtaken and tried again"},
					     {"guest-denied", "denied"},
					     {"faults-without-memory", "without memory"},
					     {NULL, NULL}};
	static const struct word swap[] = {{"pages-swapped-out", "pages out"},
					   {"pages-swapped-in", "in because they were wanted"},
					   {"pages-read-ahead", "in beside them"},
					   {"pages-not-swapped", "failed"},
					   {NULL, NULL}};
	static const struct word runs[] = {{"runs", "runs of 2 MiB obtained"},
					   {"run-promotions", "joined into superpages"},
					   {"superpage-enters", "superpages entered whole"},
					   {NULL, NULL}};
	static const struct word reclaim[] = {{"pages-reclaimed", "pages:"},
					      {"pages-reclaimed-clean", "clean"},
					      {"pages-swapped-out", "written before"},
					      {"runs-broken", "reserved runs given back"},
					      {NULL, NULL}};

	write_guests(to, s);
	write_line(to, s, "faults", faults);
	write_line(to, s, "swap", swap);
	write_line(to, s, "superpages", runs);
	write_line(to, s, "reclaimed", reclaim);
}
