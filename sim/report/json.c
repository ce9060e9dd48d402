/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* A writer of JSON. */

#include "sim/report/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

void
json_start(struct json *j, FILE *out)
{
	memset(j, 0, sizeof(*j));
	j->js_out = out;
}

void
json_finish(struct json *j)
{
	assert(j->js_depth == 0);
	fputc('\n', j->js_out);
}

/* The length of the UTF-8 sequence at s, or 0 if there is none (RFC 3629, section 4). */
static unsigned int
utf8_length(const unsigned char *s)
{
	unsigned int n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	for (unsigned int i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	/* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void
write_string(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	fputc('"', out);
	while (*s) {
		const unsigned int n = utf8_length(s);

		if (n == 0)
			fputs("\\ufffd", out);
		else if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s == '\n')
			fputs("\\n", out);
		else if (*s == '\t')
			fputs("\\t", out);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else
			fwrite(s, 1, n, out);
		s += n ? n : 1;
	}
	fputc('"', out);
}

/* Comma, line, indentation and key of the next value. */
static void
begin_value(struct json *j, const char *key)
{
	assert((key != NULL) == (j->js_close[j->js_depth] == '}'));
	if (j->js_more[j->js_depth])
		fputc(',', j->js_out);
	j->js_more[j->js_depth] = true;
	if (j->js_depth > 0)
		fprintf(j->js_out, "\n%*s", (int)(2 * j->js_depth), "");
	if (key) {
		write_string(j->js_out, key);
		fputs(": ", j->js_out);
	}
}

static void
open_value(struct json *j, const char *key, char opening, char closing)
{
	begin_value(j, key);
	fputc(opening, j->js_out);
	assert(j->js_depth < JSON_DEPTH_MAX);
	j->js_depth++;
	j->js_more[j->js_depth] = false;
	j->js_close[j->js_depth] = closing;
}

void
json_object(struct json *j, const char *key)
{
	open_value(j, key, '{', '}');
}

void
json_array(struct json *j, const char *key)
{
	open_value(j, key, '[', ']');
}

void
json_close(struct json *j)
{
	const bool any = j->js_more[j->js_depth];

	assert(j->js_depth > 0);
	j->js_depth--;
	if (any)
		fprintf(j->js_out, "\n%*s", (int)(2 * j->js_depth), "");
	fputc(j->js_close[j->js_depth + 1], j->js_out);
}

void
json_string(struct json *j, const char *key, const char *value)
{
	if (!value) {
		json_null(j, key);
		return;
	}
	begin_value(j, key);
	write_string(j->js_out, value);
}

void
json_u64(struct json *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	fprintf(j->js_out, "%" PRIu64, value);
}

void
json_bool(struct json *j, const char *key, bool value)
{
	begin_value(j, key);
	fputs(value ? "true" : "false", j->js_out);
}

void
json_null(struct json *j, const char *key)
{
	begin_value(j, key);
	fputs("null", j->js_out);
}

void
json_hex(struct json *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	fprintf(j->js_out, "\"0x%016" PRIx64 "\"", value);
}

void
json_decimal(struct json *j, const char *key, double value)
{
	if (!isfinite(value)) {
		json_null(j, key);
		return;
	}
	begin_value(j, key);
	fprintf(j->js_out, "%.3f", value);
}
