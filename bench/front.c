/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What all parts of pmap-bench share, so that none of them needs another for it: its sentences,
 * what is planned, and how a report is read.
 */

#include "bench/front.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const front_arches[FRONT_ARCHES] = {"ept", "ept-noad", "rvi"};

static void __attribute__((format(printf, 1, 0))) say(const char *format, va_list ap)
{
	fflush(stdout);
	fputs("pmap-bench: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
}

void
front_say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(format, ap);
	va_end(ap);
}

void
front_fail(int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(format, ap);
	va_end(ap);
	exit(code);
}

/* ---- The plan -------------------------------------------------------------------------------- */

bool
plan_wants(const struct plan *plan, const char *row, bool *by_name)
{
	*by_name = false;
	for (unsigned int i = 0; i < plan->pl_nnames; i++) {
		const size_t n = strlen(plan->pl_names[i]);

		if (strncmp(row, plan->pl_names[i], n) == 0 && (row[n] == '\0' || row[n] == '.')) {
			*by_name = row[n] == '\0';
			return true;
		}
	}
	return plan->pl_nnames == 0;
}

bool
plan_whole_inv(const struct plan *plan)
{
	bool named = plan->pl_nnames == 0;

	for (unsigned int i = 0; i < plan->pl_nnames; i++)
		named |= strcmp(plan->pl_names[i], "inv") == 0;
	return named;
}

/* ---- Reports --------------------------------------------------------------------------------- */

double
record_real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

const char *
record_text(const json_t *object, const char *key)
{
	const char *const text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

double
record_ratio(const json_t *record)
{
	return record_real(record, "ratio");
}

void
report_failed(json_t *report, const char *name, const char *arch, const char *tier, int code)
{
	front_say("%s, %s, %s: left out, it failed (%d)", name, arch, tier, code);
	json_array_append_new(json_object_get(report, "failed"),
			      json_pack("{s:s, s:s, s:s, s:i}", "name", name, "arch", arch, "tier",
					tier, "code", code));
}

/* One row of one type: its counts, then each tier. What fails is left out. */
