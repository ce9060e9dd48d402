/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Output, as text line by line or as one JSON object at the end.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "vmmctl.h"

void
out_put(struct out *out, const char *key, json_t *value, const char *format, ...)
{
	va_list ap;

	if (out->ou_root != NULL) {
		if (json_object_set_new(out->ou_root, key, value) != 0)
			fail(EX_OSERR, "not enough memory for the output");
		return;
	}
	json_decref(value);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
}

void
out_number(struct out *out, const char *key, uint64_t value)
{
	out_put(out, key, json_integer((json_int_t)value), "%s: %" PRIu64 "\n", key, value);
}

json_t *
json_hex(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

void
out_cpu_hex(struct out *out, const char *key, int cpu, uint64_t value)
{
	out_put(out, key, json_hex(value), "%s[%d]\t\t0x%016" PRIx64 "\n", key, cpu, value);
}

void
out_end(struct out *out)
{
	if (out->ou_root != NULL) {
		json_dumpf(out->ou_root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
		json_decref(out->ou_root);
		out->ou_root = NULL;
	}
	if (fflush(stdout) != 0 || ferror(stdout))
		fail(EX_IOERR, "the output could not be written");
}
