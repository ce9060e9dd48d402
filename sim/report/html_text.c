/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Text on its way into a page: what is special there is escaped, wherever it comes from. */

#include "sim/report/html.h"

void
html_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '&':
			fputs("&amp;", to);
			break;
		case '"':
			fputs("&quot;", to);
			break;
		default:
			/* Nothing below a blank belongs into a page. */
			fputc((unsigned char)*text < 0x20 ? ' ' : *text, to);
		}
	}
}

/* The end of a script element must not occur in it. */
void
html_json(FILE *to, const char *text)
{
	for (; *text; text++) {
		const unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(to, "\\%c", c);
		else if (c < 0x20 || c == '<' || c == '>' || c == '&')
			fprintf(to, "\\u%04x", c);
		else
			fputc(c, to);
	}
}
