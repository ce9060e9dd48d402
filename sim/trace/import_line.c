/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Lines of tracing tools. All of them print
 *
 *   TASK-PID [CPU] FLAGS SECONDS.FRACTION: EVENT: TEXT
 *
 * with small differences: perf has a blank for the dash, no flags, and the subsystem before the
 * event; trace-cmd and tracefs have flags in some versions. Names of tasks have blanks, dashes and
 * slashes in them ("CPU 0/KVM"), so a line is split at the processor's brackets.
 */

#include "sim/trace/import_line.h"

#include <string.h>

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static int
hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static const char *
skip_blanks(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	return p;
}

/* Digits of a base; NULL if there is none or the number does not fit. */
static const char *
take_number(const char *p, const char *end, unsigned int base, uint64_t *value)
{
	const char *const start = p;
	uint64_t v = 0;

	for (; p < end; p++) {
		const int d = hex_digit(*p);

		if (d < 0 || (unsigned int)d >= base)
			break;
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)d, &v))
			return NULL;
	}
	*value = v;
	return p > start ? p : NULL;
}

/* "[012]" followed by a blank: where it begins and what follows; NULL if there is none. */
static const char *
find_processor(const char *line, const char *end, const char **after)
{
	for (const char *p = line; p < end; p++) {
		const char *q = p + 1;

		if (*p != '[' || p == line || !is_blank(p[-1]))
			continue;
		while (q < end && is_digit(*q))
			q++;
		if (q > p + 1 && q + 1 < end && *q == ']' && is_blank(q[1])) {
			*after = q + 1;
			return p;
		}
	}
	return NULL;
}

/* "CPU 0/KVM-1234", "CPU 0/KVM 1234", "qemu 1230/1234": the last number is the thread's. */
static bool
take_task(const char *line, const char *end, struct import_event *e)
{
	const char *p;

	line = skip_blanks(line, end);
	while (end > line && is_blank(end[-1]))
		end--;
	for (p = end; p > line && is_digit(p[-1]); p--)
		;
	if (take_number(p, end, 10, &e->ie_pid) != end)
		return false;
	if (p - line > 1 && p[-1] == '/' && is_digit(p[-2])) {
		for (p--; p > line && is_digit(p[-1]); p--)
			;
	}
	if (p == line || (p[-1] != '-' && !is_blank(p[-1])))
		return false;
	for (p--; p > line && is_blank(p[-1]); p--)
		;
	e->ie_task = (struct import_text){line, (size_t)(p - line)};
	return true;
}

/* "12345.678901:" or with nine digits. */
static const char *
take_time(const char *p, const char *end, uint64_t *ns)
{
	uint64_t seconds, fraction;
	const char *dot, *q;

	dot = take_number(p, end, 10, &seconds);
	if (!dot || dot == end || *dot != '.')
		return NULL;
	q = take_number(dot + 1, end, 10, &fraction);
	if (!q || q == end || *q != ':' || q - dot > 10)
		return NULL;
	for (long i = q - dot; i < 10; i++)
		fraction *= 10;
	if (__builtin_mul_overflow(seconds, UINT64_C(1000000000), ns) ||
	    __builtin_add_overflow(*ns, fraction, ns))
		return NULL;
	return skip_blanks(q + 1, end);
}

static const char *
next_token(const char *p, const char *end)
{
	while (p < end && !is_blank(*p))
		p++;
	return skip_blanks(p, end);
}

/* "kvm:kvm_exit:" or "kvm_exit:"; perf puts a period before it when it is asked for one. */
static bool
take_name(const char *p, const char *end, struct import_event *e)
{
	const char *q = p, *name;

	while (q < end && is_digit(*q))
		q++;
	if (q > p && q < end && is_blank(*q))
		p = skip_blanks(q, end);
	for (q = p; q < end && !is_blank(*q); q++)
		;
	if (q == p || q[-1] != ':' || q - p < 2)
		return false;
	for (name = q - 1; name > p && name[-1] != ':'; name--)
		;
	e->ie_name = (struct import_text){name, (size_t)(q - 1 - name)};
	q = skip_blanks(q, end);
	e->ie_rest = (struct import_text){q, (size_t)(end - q)};
	return e->ie_name.it_n > 0;
}

/* Headers of the tools, and the frames of call stacks that perf prints below an event. */
static bool
is_comment(const char *line, const char *end)
{
	const char *p = skip_blanks(line, end);
	uint64_t v;

	if (p == end || *p == '#')
		return true;
	if (end - p > 5 && (memcmp(p, "cpus=", 5) == 0 || memcmp(p, "CPU:", 4) == 0))
		return true;
	if (end - p > 8 && memcmp(p, "version ", 8) == 0)
		return true;
	if (p == line) /* frames are indented */
		return false;
	p = take_number(p, end, 16, &v);
	return p && p < end && is_blank(*p);
}

enum import_kind
import_split(const char *line, size_t nbytes, struct import_event *e)
{
	const char *end = line + nbytes, *after, *p;
	const char *processor;

	while (end > line && (is_blank(end[-1]) || end[-1] == '\r'))
		end--;
	processor = find_processor(line, end, &after);
	if (!processor)
		return is_comment(line, end) ? IMPORT_COMMENT : IMPORT_WRONG;
	if (!take_task(line, processor, e))
		return is_comment(line, end) ? IMPORT_COMMENT : IMPORT_WRONG;
	after = skip_blanks(after, end);
	p = take_time(after, end, &e->ie_time_ns);
	if (!p) /* flags come first */
		p = take_time(next_token(after, end), end, &e->ie_time_ns);
	return p && take_name(p, end, e) ? IMPORT_EVENT : IMPORT_WRONG;
}

/* ---- Text of events ------------------------------------------------------------------------- */

bool
import_is(struct import_text t, const char *word)
{
	return strlen(word) == t.it_n && memcmp(word, t.it_at, t.it_n) == 0;
}

/* A word that stands between blanks; NULL if there is none. */
static const char *
find_word(struct import_text t, const char *word)
{
	const size_t n = strlen(word);

	for (size_t i = 0; i + n < t.it_n; i++) {
		if ((i == 0 || is_blank(t.it_at[i - 1])) && is_blank(t.it_at[i + n]) &&
		    memcmp(t.it_at + i, word, n) == 0)
			return t.it_at + i;
	}
	return NULL;
}

static const char *
after_word(struct import_text t, const char *word)
{
	const char *const p = find_word(t, word);

	return p ? skip_blanks(p + strlen(word), t.it_at + t.it_n) : NULL;
}

static bool
ends_number(const char *p, const char *end)
{
	return p && (p == end || is_blank(*p) || *p == ',' || *p == ':');
}

bool
import_hex(struct import_text t, const char *word, uint64_t *value)
{
	const char *const end = t.it_at + t.it_n;
	const char *p = after_word(t, word);

	if (p && end - p > 2 && p[0] == '0' && p[1] == 'x')
		p += 2;
	return p && ends_number(take_number(p, end, 16, value), end);
}

bool
import_decimal(struct import_text t, const char *word, uint64_t *value)
{
	const char *const end = t.it_at + t.it_n;
	const char *p = after_word(t, word);

	return p && ends_number(take_number(p, end, 10, value), end);
}

bool
import_between(struct import_text t, const char *before, const char *after, struct import_text *out)
{
	const char *const end = t.it_at + t.it_n;
	const char *const p = after_word(t, before);
	const char *q;

	if (!p)
		return false;
	q = find_word((struct import_text){p, (size_t)(end - p)}, after);
	while (q > p && is_blank(q[-1]))
		q--;
	*out = (struct import_text){p, (size_t)(q - p)};
	return q > p;
}
