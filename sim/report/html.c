/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* The page of a report, from its head to its foot. */

#include <inttypes.h>
#include <string.h>

#include "sim/cli/cli.h"
#include "sim/report/html.h"
#include "sim/oracle/invariants.h"
#include "sim/cli/version.h"

/* ---- What was run --------------------------------------------------------------------------- */

static void
fact(FILE *to, const char *name)
{
	fprintf(to, "<dt>%s</dt><dd>", name);
}

static void
what(FILE *to, const struct sim_options *o)
{
	if (o->scenario) {
		fputs("scenario ", to);
		html_text(to, o->scenario);
	} else if (o->trace_path) {
		fputs("trace ", to);
		html_text(to, o->trace_path);
	} else {
		fputs("the random workload", to);
	}
}

static void
facts(FILE *to, const struct cli_sum *s)
{
	const struct sim_options *o = &s->args->options;
	const char *between = "";

	fputs("<dl class=\"facts\">", to);
	fact(to, "Runs");
	fprintf(to, "%" PRIu64 " of ", s->done + s->errors);
	what(to, o);
	fprintf(to, ", seed 0x%" PRIx64, o->seed);
	if (o->count > 1)
		fprintf(to, " and the %" PRIu64 " after it", o->count - 1);
	fputs("</dd>", to);
	fact(to, "Page tables");
	for (unsigned int i = 0; i < SIM_ARCH_COUNT; i++) {
		if (!(o->arch_set >> i & 1))
			continue;
		fprintf(to, "%s%s", between, sim_arch_name((enum sim_arch)i));
		between = ", ";
	}
	fputs("</dd>", to);
	fact(to, "Machine");
	fprintf(to, "%u CPUs, %u vCPUs, memory model %s, CPU model ", o->cpus, o->vcpus,
		o->sequential ? "sc" : "tso");
	html_text(to, o->caps ? o->caps : "by seed");
	fputs(o->reference ? ", reference mode</dd>" : "</dd>", to);
	fact(to, "Steps");
	fprintf(to, "%" PRIu64 " in %.1f s; trace hash 0x%016" PRIx64 "</dd>", s->steps, s->seconds,
		s->hash);
	fact(to, "Tool");
	fputs("pmap-sim ", to);
	html_text(to, sim_build_id);
	fputs(", ", to);
	html_text(to, sim_compiler);
	fputs("</dd></dl>\n", to);
}

static void
replay_lines(FILE *to, const struct cli_sum *s)
{
	if (!s->line[0])
		return;
	fputs("<pre class=\"line\" aria-label=\"Command that repeats it\">", to);
	html_text(to, s->line);
	fputs("</pre>\n", to);
	if (s->repeat == CLI_REPEAT_SAME)
		fputs("<p class=\"small\">Tried: it fails again, with the same trace.</p>\n", to);
	else if (s->repeat == CLI_REPEAT_OTHER)
		fputs("<p class=\"small\"><strong>Tried: it does not reproduce.</strong></p>\n",
		      to);
}

static void
failure(FILE *to, const struct cli_sum *s)
{
	const struct sim_outcome *out = &s->first.pr_outcome;
	const struct sim_invariant_info *info = sim_invariant_by_id(out->invariant);
	const bool violation = out->verdict == SIM_VIOLATION;
	char text[CLI_WHY_BYTES];

	cli_failure_text(&s->first, text, sizeof(text));
	fputs("<div class=\"failure\" role=\"note\">\n<p class=\"broken\">", to);
	if (violation) {
		fprintf(to, "<b>%s</b> ", out->check);
		if (info != NULL) {
			fprintf(to, "%s was broken: <q>", info->id);
			html_text(to, info->title);
			fputs("</q>", to);
		}
	} else {
		fputs("<b>The run could not be made</b>", to);
	}
	fputs("</p>\n<p>", to);
	html_text(to, violation ? out->message : text);
	fprintf(to, ".</p>\n<p class=\"small\">Seed 0x%" PRIx64 " on %s", out->seed,
		sim_arch_name(out->arch));
	if (violation)
		fprintf(to, ", step %" PRIu64, out->steps);
	if (violation && out->cpu < SIM_MAX_CPUS)
		fprintf(to, ", CPU %" PRIu32, out->cpu);
	fputs("</p>\n", to);
	replay_lines(to, s);
	fputs("</div>\n", to);
}

/* ---- The whole ------------------------------------------------------------------------------ */

void
html_head(FILE *to, const char *title)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	      "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	      "<meta name=\"color-scheme\" content=\"light dark\">\n"
	      "<link rel=\"icon\" href=\"data:,\">\n<title>pmap-sim: ",
	      to);
	html_text(to, title);
	fprintf(to, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<header>\n", html_style);
}

static void
head(FILE *to, const struct cli_sum *s)
{
	const char *const word = cli_exit_word(s, cli_sum_exit(s));

	html_head(to, word);
	fprintf(to, "<h1><span class=\"verdict %s\">%s</span> <span class=\"what\">", word, word);
	what(to, &s->args->options);
	fputs("</span></h1>\n</header>\n<main>\n", to);
}

static void
story(FILE *to, const struct cli_sum *s)
{
	struct html_view vw;

	if (s->story == NULL || s->story->st_n == 0)
		return;
	if (html_view_init(&vw, s->story)) {
		html_story(to, &vw);
		fputs("<script type=\"application/json\" id=\"story\">\n", to);
		html_data(to, &vw);
		fputs("</script>\n", to);
	}
	html_view_free(&vw);
}

static void
run(FILE *to, const struct cli_sum *s)
{
	fputs("<section aria-label=\"Run\"><h2 id=\"h-run\">What was run</h2>\n", to);
	facts(to, s);
	fputs("</section>\n", to);
}

void
html_write(FILE *to, const struct cli_sum *s)
{
	head(to, s);
	if (s->failed)
		failure(to, s);
	else
		run(to, s);
	story(to, s);
	if (s->curve != NULL)
		html_curve(to, s->curve);
	html_counts(to, s);
	if (s->failed)
		run(to, s);
	if (s->story != NULL && s->story->st_n != 0)
		html_slider(to);
	fprintf(to, "</main>\n<script>\n%s</script>\n</body>\n</html>\n", html_script);
}
