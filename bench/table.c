/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The report for people who look at a terminal: a line for each row, type and tier.
 */

#include "bench/front.h"

#include <string.h>

void
table_head(FILE *out)
{
	fprintf(out, "%-23s %-8s %-6s %11s %11s  %-9s %8s %8s  %s\n", "row", "type", "tier", "best",
		"limit", "unit", "ratio", "to reach", "counts");
}

/* Four digits, whatever the size. */
static void
number(char *text, size_t bytes, double v)
{
	snprintf(text, bytes, v >= 1000 ? "%.0f" : v >= 100 ? "%.1f" : v >= 1 ? "%.2f" : "%.3f", v);
}

void
table_row(FILE *out, const json_t *record)
{
	char best[32];
	char limit[32];
	char ratio[32];
	char target[32];
	const char *key;
	json_t *value;

	number(best, sizeof(best), record_real(json_object_get(record, "value"), "best"));
	number(limit, sizeof(limit), record_real(json_object_get(record, "limit"), "best"));
	number(ratio, sizeof(ratio), record_ratio(record));
	number(target, sizeof(target), record_real(record, "target"));
	fprintf(out, "%-23s %-8s %-6s %11s %11s  %-9s %8s %8s%s", record_text(record, "name"),
		record_text(record, "arch"), record_text(record, "tier"), best, limit,
		record_text(record, "unit"), ratio, target,
		json_is_true(json_object_get(record, "reached")) ? "  " : "! ");
	json_object_foreach(json_object_get(record, "counts"), key, value)
	{
		if (json_number_value(value) != 0 && strcmp(key, "stores") != 0)
			fprintf(out, " %s %.6g", key, json_number_value(value));
	}
	fputc('\n', out);
}

void
table_tail(FILE *out, const json_t *report)
{
	const json_t *const rows = json_object_get(report, "rows");
	const json_t *const run = json_object_get(report, "run");
	unsigned int reached = 0;
	json_t *record;
	bool hardware = false;
	size_t i;

	json_array_foreach(rows, i, record)
	{
		reached += json_is_true(json_object_get(record, "reached"));
		hardware |= json_object_get(record, "hardware") != NULL;
	}
	fprintf(out, "%u of %zu within what is to be reached (the others: !)\n", reached,
		json_array_size(rows));
	json_array_foreach(json_object_get(report, "skipped"), i, record) fprintf(
		out, "left out: %s: %s\n", record_text(record, "name"), record_text(record, "why"));
	if (!hardware)
		fputs("this machine lets us see no hardware counters\n", out);
	if (json_is_true(json_object_get(run, "noisy")))
		fprintf(out,
			"noisy: others used %.0f %% of the CPUs, the hypervisor %.1f %%; ratios of "
			"best rounds bear that, times do not\n",
			record_real(run, "others") * 100, record_real(run, "steal") * 100);
}
