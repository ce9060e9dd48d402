/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Two reports. What is compared is the ratio to the limit, which another load or clock frequency
 * moves less than times. A row changed when its ratio moved by more than the noise: the spread of
 * both runs (how far the median ratio lies from that of the best rounds) added up, and 5 % at
 * least. Counts have no noise: any difference is one.
 */

#include "bench/front.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define NOISE_LEAST 0.05

static const json_t *
same_row(const json_t *rows, const json_t *record)
{
	json_t *other;
	size_t i;

	json_array_foreach(rows, i, other)
	{
		if (strcmp(record_text(other, "name"), record_text(record, "name")) == 0 &&
		    strcmp(record_text(other, "arch"), record_text(record, "arch")) == 0 &&
		    strcmp(record_text(other, "tier"), record_text(record, "tier")) == 0)
			return other;
	}
	return NULL;
}

static double
spread(const json_t *record)
{
	const double best = record_ratio(record);

	return best > 0 ? fabs(record_real(record, "ratio_median") / best - 1) : 0;
}

static bool
compare_time(FILE *out, const json_t *was, const json_t *is)
{
	const double old = record_ratio(was);
	const double noise = fmax(spread(was) + spread(is), NOISE_LEAST);
	const double change = old > 0 ? record_ratio(is) / old - 1 : 0;

	if (fabs(change) <= noise)
		return false;
	fprintf(out, "%-23s %-8s %-6s ratio %.3g, was %.3g: %s by %.0f %% (noise %.0f %%)\n",
		record_text(is, "name"), record_text(is, "arch"), record_text(is, "tier"),
		record_ratio(is), old, change > 0 ? "slower" : "faster", fabs(change) * 100,
		noise * 100);
	return true;
}

static bool
compare_counts(FILE *out, const json_t *was, const json_t *is)
{
	const json_t *const old = json_object_get(was, "counts");
	bool changed = false;
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(is, "counts"), key, value)
	{
		const double a = record_real(old, key);
		const double b = json_number_value(value);

		/* What was written with eight digits is equal in seven. */
		if (fabs(a - b) <= 1e-7 * fmax(fabs(a), fabs(b)))
			continue;
		fprintf(out, "%-23s %-8s %-6s %s %.6g, was %.6g\n", record_text(is, "name"),
			record_text(is, "arch"), record_text(is, "tier"), key, b, a);
		changed = true;
	}
	return changed;
}

/* What else than the code may have changed the figures. */
static void
compare_places(FILE *out, const json_t *old, const json_t *report)
{
	static const char *const keys[][2] = {{"machine", "cpu"},	 {"machine", "cpus"},
					      {"machine", "memory"},	 {"machine", "kernel"},
					      {"build", "compiler"},	 {"build", "flags_native"},
					      {"build", "flags_kernel"}, {"run", "noisy"}};

	for (unsigned int i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const json_t *const was =
			json_object_get(json_object_get(old, keys[i][0]), keys[i][1]);
		const json_t *const is =
			json_object_get(json_object_get(report, keys[i][0]), keys[i][1]);
		char *const before = json_dumps(was, JSON_ENCODE_ANY);
		char *const now = json_dumps(is, JSON_ENCODE_ANY);

		if (!json_equal(was, is))
			fprintf(out, "another %s: %s, was %s\n", keys[i][1],
				now != NULL ? now : "unknown", before != NULL ? before : "unknown");
		free(before);
		free(now);
	}
}

json_t *
compare_open(const char *path)
{
	json_error_t error;
	json_t *const old = json_load_file(path, 0, &error);

	if (old == NULL)
		front_fail(EX_NOINPUT, "%s: %s", path, error.text);
	if (strcmp(record_text(old, "format"), FRONT_FORMAT) != 0)
		front_fail(EX_DATAERR, "%s: not a report of pmap-bench (format %s)", path,
			   FRONT_FORMAT);
	return old;
}

unsigned int
compare_reports(FILE *out, const char *old_path, const json_t *report)
{
	json_t *const old = compare_open(old_path);
	unsigned int changed = 0;
	unsigned int common = 0;
	json_t *record;
	size_t i;

	fprintf(out, "\ncompared with %s (ratios; beyond the spread of both, and 5 %%):\n",
		old_path);
	compare_places(out, old, report);
	json_array_foreach(json_object_get(report, "rows"), i, record)
	{
		const json_t *const was = same_row(json_object_get(old, "rows"), record);

		if (was == NULL)
			continue;
		common++;
		const bool time = compare_time(out, was, record);
		const bool counts = compare_counts(out, was, record);

		changed += time || counts;
	}
	if (common == 0)
		fputs("that report has none of these rows\n", out);
	fprintf(out, "%u of %u rows changed\n", changed, common);
	json_decref(old);
	return changed;
}
