/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Parts of pages that can be judged without a browser: escapes, and the curve. */

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/report/html.h"

static char *written;

static void
write_text(void (*fn)(FILE *to, const char *text), const char *text)
{
	size_t bytes;
	FILE *to;

	free(written);
	to = open_memstream(&written, &bytes);
	cr_assert_not_null(to);
	fn(to, text);
	fclose(to);
}

static void
tidy(void)
{
	free(written);
	written = NULL;
}

Test(html, text_cannot_become_markup, .fini = tidy)
{
	write_text(html_text, "<b a=\"1\">&'x\n\x01");
	cr_assert_str_eq(written, "&lt;b a=&quot;1&quot;&gt;&amp;'x  ");
}

Test(html, strings_cannot_end_their_script, .fini = tidy)
{
	write_text(html_json, "</script>\\\"\n&");
	cr_assert_str_eq(written, "\\u003c/script\\u003e\\\\\\\"\\u000a\\u0026");
}

static const struct html_point points[] = {
	{0, 0, 100, 0},
	{50, 700, 100, 10},
	{60, 800, 100, 90},
	{100, 1500, 100, 100},
};

static void
write_curve(const struct html_curve *c, bool alone)
{
	size_t bytes;
	FILE *to;

	free(written);
	to = open_memstream(&written, &bytes);
	cr_assert_not_null(to);
	svg_curve(to, c, alone);
	fclose(to);
}

static unsigned int
count(const char *what)
{
	unsigned int n = 0;

	for (const char *p = written; (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

Test(html, a_curve_has_its_points_and_its_jump, .fini = tidy)
{
	const struct html_curve c = {"decisions", 4, points, 2, "CPU 1 goes on"};

	write_curve(&c, false);
	cr_assert_eq(count("<circle"), 4);
	cr_assert_eq(count("class=\"jump\""), 1);
	cr_assert_eq(count("60, up to step 800: 90 of 100 failed"), 1);
	/* Nothing failed: at the foot. Everything did: at the head. */
	cr_assert_eq(count("cx=\"64.0\" cy=\"278.0\""), 1);
	cr_assert_eq(count("cx=\"1176.0\" cy=\"26.0\""), 1);
	cr_assert_eq(count("<?xml"), 0);
	cr_assert_eq(count("nan") + count("inf"), 0);
	write_curve(&c, true);
	cr_assert_eq(strncmp(written, "<?xml", 5), 0);
	cr_assert_eq(count("<style>"), 1);
	cr_assert_eq(count("http"), 1, "only the namespace");
}

Test(html, a_curve_may_have_little_to_show, .fini = tidy)
{
	static const struct html_point none[] = {{7, 9, 0, 0}};
	const struct html_curve one = {"decisions", 1, none, UINT32_MAX, NULL};
	const struct html_curve empty = {"decisions", 0, NULL, UINT32_MAX, NULL};

	write_curve(&one, false);
	cr_assert_eq(count("<circle"), 1);
	cr_assert_eq(count("class=\"jump\""), 0);
	cr_assert_eq(count("nan") + count("inf"), 0);
	write_curve(&empty, true);
	cr_assert_str_empty(written);
}
