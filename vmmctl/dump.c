/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * dump-pt: the nested page tables, as the module prints them, or as a picture.
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmctl.h"

static json_t *
lines_of(const char *text)
{
	json_t *const lines = json_array();

	while (*text != '\0') {
		const size_t n = strcspn(text, "\n");

		json_array_append_new(lines, json_stringn(text, n));
		text += n + (text[n] == '\n');
	}
	return lines;
}

int
verb_dump_pt(struct out *out, int argc, char **argv)
{
	static const struct option options[] = {{"svg", required_argument, NULL, 's'}, {0}};
	const char *svg = NULL;
	struct vmctx *ctx;
	char title[128];
	char *text;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':')
			usage_error("--svg needs the name of a file");
		if (c != 's')
			usage_error("dump-pt: unknown option '%s'", argv[optind - 1]);
		svg = optarg;
	}
	if (argc - optind != 1)
		usage_error("dump-pt takes the name of a machine");
	ctx = open_machine(argv[optind]);
	check_call(vm_dump_pmap(ctx, &text));
	snprintf(title, sizeof(title), "%s: %s page tables", vm_get_name(ctx),
		 cpu_kind() == VMM_CPU_VTX ? "EPT" : "nested");
	if (svg != NULL && svg_write(svg, title, text) != 0)
		fail(EX_CANTCREAT, "cannot write %s: %s", svg, strerror(errno));
	if (svg == NULL)
		out_put(out, "lines", lines_of(text), "%s", text);
	free(text);
	vm_close(ctx);
	return EX_OK;
}
