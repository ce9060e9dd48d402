/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * judge: compares what an emulator did, case by case, with what the simulated hardware may do.
 *
 * Reads the file that bare/ has written. An answer that the model allows is a match; one that
 * explained.c accounts for is counted under its name; any other is a mismatch, and printed whole.
 * A file that is cut short, or has a record that is not what was written, proves nothing: exit 2.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/differential/explained.h"

#define SHOWN_MAX 20

struct tally {
	uint64_t ty_cases;
	uint64_t ty_mismatches;
	uint64_t ty_accounted; /* different, and why is known */
	uint64_t ty_open;      /* the model allows more than one outcome */
	uint64_t ty_kinds[DIFF_KINDS][DIFF_OUTCOMES];
	uint64_t ty_levels[2][DIFF_LEVELS_MAX]; /* done: of the leaf; else: of what decided */
	uint64_t ty_explained[EXPLAINED_MAX];
};

static struct tally tally;
static unsigned int shown_max = SHOWN_MAX;

static const char *const outcome_names[DIFF_OUTCOMES] = {"done", "violation", "misconfig", "other",
							 "refused"};
static const char *const access_names[DIFF_KINDS] = {
	"read",	  "write",  "exchange", "read-write", "fetch", "guest-walk", "guest-walk-sets-A",
	"invept", "invvpid"};

/* ---- Comparing ----------------------------------------------------------------------------- */

/* Bits 11:9 of a qualification are undefined without the capability for more (SDM 28.2.1). */
#define UNDEFINED_QUALIFICATION 0xe00ull

static const char *
difference(const struct diff_machine *m, const struct diff_case *c, const struct diff_result *want,
	   const struct diff_result *got)
{
	const bool ept = m->dm_kind == DIFF_EPT;
	const bool done = want->dr_outcome == DIFF_DONE;
	/* A walk that sets A in the guest's tables may have done so before it fails elsewhere. */
	const bool any_written = c->dc_access == DIFF_WALK_UNSET && !done;

	if (want->dr_outcome != got->dr_outcome)
		return "outcome";
	if (want->dr_outcome == DIFF_FAILED && want->dr_code != got->dr_code)
		return "code";
	if (want->dr_outcome == DIFF_VIOLATION &&
	    ((want->dr_code ^ got->dr_code) & ~(ept ? UNDEFINED_QUALIFICATION : 0)) != 0)
		return "code";
	if (!done && want->dr_gpa != got->dr_gpa)
		return "gpa";
	if (want->dr_linear != got->dr_linear)
		return "linear";
	if (want->dr_value != got->dr_value)
		return "value";
	if (!any_written && want->dr_written != got->dr_written)
		return "place written";
	if (got->dr_changed != 0)
		return "entry";
	if (want->dr_accessed != got->dr_accessed)
		return "A";
	if (want->dr_dirty != got->dr_dirty)
		return "D";
	return NULL;
}

static void
print_result(const char *who, const struct diff_result *r)
{
	printf("  %-9s %-9s code 0x%" PRIx64 " gpa 0x%" PRIx64 " linear 0x%" PRIx64
	       " value 0x%" PRIx64 " A 0x%x D 0x%x written 0x%x changed 0x%x\n",
	       who, r->dr_outcome < DIFF_OUTCOMES ? outcome_names[r->dr_outcome] : "?", r->dr_code,
	       r->dr_gpa, r->dr_linear, r->dr_value, r->dr_accessed, r->dr_dirty, r->dr_written,
	       r->dr_changed);
}

static void
print_mismatch(const struct diff_machine *m, const struct diff_case *c, const char *what,
	       const struct model_outcome *outcomes, unsigned int n, const struct diff_result *got)
{
	printf("mismatch (%s) in case %u: %s", what, c->dc_index, access_names[c->dc_access]);
	if (c->dc_access >= DIFF_ACCESSES)
		printf(" of type 0x%" PRIx64 ", descriptor 0x%" PRIx64 " 0x%" PRIx64, c->dc_type,
		       c->dc_descriptor[0], c->dc_descriptor[1]);
	else if (c->dc_access >= DIFF_WALK)
		printf(" of level %u", c->dc_walk_level);
	printf(" at gpa 0x%" PRIx64 ", linear 0x%" PRIx64 ", root 0x%" PRIx64 "%s\n  entries",
	       c->dc_gpa, c->dc_linear, c->dc_root, c->dc_nx ? ", NXE on" : "");
	for (unsigned int l = m->dm_levels; l-- > 0;)
		printf(" 0x%016" PRIx64, c->dc_entry[l]);
	printf("\n");
	for (unsigned int i = 0; i < n && i < 4; i++)
		print_result(i == 0 ? "model" : "  or", &outcomes[i].mo_result);
	print_result("emulator", got);
}

/* Whether these departures together turn what the model says into what the emulator did. */
static bool
accounted_by(const struct diff_machine *m, const struct diff_case *c, const struct diff_result *got,
	     unsigned int departures)
{
	struct model_outcome outcomes[MODEL_OUTCOMES_MAX];
	struct diff_case changed = *c;
	unsigned int n;

	for (unsigned int e = 0; e < explained_count; e++) {
		if ((departures >> e & 1) && explained[e].ex_case &&
		    !explained[e].ex_case(m, &changed))
			return false;
	}
	n = model_run(&changed, outcomes);
	for (unsigned int i = 0; i < n; i++) {
		bool all = true;

		for (unsigned int e = 0; e < explained_count && all; e++) {
			if ((departures >> e & 1) && explained[e].ex_outcome)
				all = explained[e].ex_outcome(m, &changed, &outcomes[i]);
		}
		if (all && !difference(m, c, &outcomes[i].mo_result, got))
			return true;
	}
	return false;
}

/* As few departures of this emulator as will do; 0 if none do. */
static unsigned int
account_for(const struct diff_machine *m, const char *emulator, const struct diff_case *c,
	    const struct diff_result *got)
{
	unsigned int known = 0;

	for (unsigned int e = 0; e < explained_count; e++)
		known |= (strcmp(explained[e].ex_emulator, emulator) == 0 ? 1u : 0) << e;
	for (int size = 1; size <= EXPLAINED_MAX; size++) {
		for (unsigned int s = known; s > 0; s = (s - 1) & known) {
			if (__builtin_popcount(s) == size && accounted_by(m, c, got, s))
				return s;
		}
	}
	return 0;
}

static void
count_case(const struct diff_case *c, const struct diff_result *got,
	   const struct model_outcome *match, unsigned int n)
{
	tally.ty_cases++;
	tally.ty_open += n > 1;
	if (got->dr_outcome < DIFF_OUTCOMES)
		tally.ty_kinds[c->dc_access][got->dr_outcome]++;
	if (match && got->dr_outcome <= DIFF_MISCONFIG)
		tally.ty_levels[got->dr_outcome != DIFF_DONE][match->mo_level]++;
}

static void
judge_case(const struct diff_machine *m, const char *emulator, const struct diff_result *got)
{
	struct model_outcome outcomes[MODEL_OUTCOMES_MAX];
	unsigned int n, i, departures;
	const char *what = NULL;
	struct diff_case c;

	diff_make(m, got->dr_index, &c);
	n = model_run(&c, outcomes);
	for (i = 0; i < n; i++) {
		const char *d = difference(m, &c, &outcomes[i].mo_result, got);

		if (!d)
			break;
		what = what ? what : d;
	}
	count_case(&c, got, i < n ? &outcomes[i] : NULL, n);
	if (i < n)
		return;
	departures = account_for(m, emulator, &c, got);
	for (unsigned int e = 0; e < explained_count; e++)
		tally.ty_explained[e] += departures >> e & 1;
	tally.ty_accounted += departures != 0;
	if (departures == 0 && tally.ty_mismatches++ < shown_max)
		print_mismatch(m, &c, what, outcomes, n, got);
}

/* ---- The file ------------------------------------------------------------------------------ */

static void
inconclusive(const char *path, const char *what)
{
	fprintf(stderr, "judge: %s: %s\n", path, what);
	exit(2);
}

static void
read_machine(const char *path, FILE *file, struct diff_machine *m)
{
	char text[256] = "";
	size_t n = fread(m, 1, sizeof(*m), file);

	if (n >= 5 && memcmp(m, "diff:", 5) == 0) {
		memcpy(text, m, n);
		n += fread(text + n, 1, sizeof(text) - 1 - n, file);
		text[strcspn(text, "\n")] = 0;
		inconclusive(path, text);
	}
	if (n != sizeof(*m))
		inconclusive(path, "the emulator has written nothing");
	if ((m->dm_kind != DIFF_EPT && m->dm_kind != DIFF_NPT) ||
	    (m->dm_levels != 4 && m->dm_levels != 5) || m->dm_phys_bits < 40 ||
	    m->dm_phys_bits > 52)
		inconclusive(path, "this is no result of the differential test");
}

static void
judge_file(const char *path, const char *emulator, const char *forget)
{
	FILE *file = fopen(path, "rb");
	struct diff_machine m;
	struct diff_result r;

	if (!file)
		inconclusive(path, strerror(errno));
	read_machine(path, file, &m);
	model_start(&m);
	if (forget && !model_forget(forget))
		inconclusive(forget, "no such thing to forget");
	for (uint32_t i = 0; i <= m.dm_count; i++) {
		const bool last = i == m.dm_count;

		if (fread(&r, sizeof(r), 1, file) != 1)
			inconclusive(path, "it ends too early");
		if (r.dr_check != diff_check(&r) ||
		    r.dr_index != (last ? DIFF_END : m.dm_first + i))
			inconclusive(path, "a record is damaged");
		if (!last)
			judge_case(&m, emulator, &r);
	}
	if (r.dr_code != 0) {
		printf("mismatch: %" PRIu64 " words of tables that are no entries were written\n",
		       r.dr_code);
		tally.ty_mismatches++;
	}
	model_end();
	fclose(file);
}

/* ---- The result ---------------------------------------------------------------------------- */

static void
print_tally(void)
{
	printf("cases %" PRIu64 "\nmismatches %" PRIu64 "\naccounted %" PRIu64 "\nopen %" PRIu64
	       "\n",
	       tally.ty_cases, tally.ty_mismatches, tally.ty_accounted, tally.ty_open);
	for (unsigned int k = 0; k < DIFF_KINDS; k++) {
		for (unsigned int o = 0; o < DIFF_OUTCOMES; o++) {
			if (tally.ty_kinds[k][o] > 0)
				printf("category %s %s %" PRIu64 "\n", access_names[k],
				       outcome_names[o], tally.ty_kinds[k][o]);
		}
	}
	for (unsigned int l = 0; l < DIFF_LEVELS_MAX; l++) {
		if (tally.ty_levels[0][l] > 0)
			printf("level leaf %u %" PRIu64 "\n", l, tally.ty_levels[0][l]);
		if (tally.ty_levels[1][l] > 0)
			printf("level fault %u %" PRIu64 "\n", l, tally.ty_levels[1][l]);
	}
	for (unsigned int e = 0; e < explained_count; e++) {
		if (tally.ty_explained[e] > 0)
			printf("explained %s %" PRIu64 "\n", explained[e].ex_name,
			       tally.ty_explained[e]);
	}
}

static int
usage(void)
{
	fprintf(stderr, "usage: judge [--forget WHAT] [--show N] --emulator bochs|qemu FILE\n"
			"Judges the results in FILE. WHAT is changed in the model first, so that\n"
			"mismatches must be found:");
	for (unsigned int i = 0; model_forgets[i]; i++)
		fprintf(stderr, " %s", model_forgets[i]);
	fprintf(stderr, "\nExit: 0 no mismatch, 1 there are some, 2 FILE proves nothing\n");
	return 64;
}

int
main(int argc, char **argv)
{
	const char *emulator = NULL, *forget = NULL, *path = NULL;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--emulator") == 0 && i + 1 < argc)
			emulator = argv[++i];
		else if (strcmp(argv[i], "--forget") == 0 && i + 1 < argc)
			forget = argv[++i];
		else if (strcmp(argv[i], "--show") == 0 && i + 1 < argc)
			shown_max = (unsigned int)strtoul(argv[++i], NULL, 10);
		else if (argv[i][0] != '-' && !path)
			path = argv[i];
		else
			return usage();
	}
	if (!path || !emulator || (strcmp(emulator, "bochs") != 0 && strcmp(emulator, "qemu") != 0))
		return usage();
	judge_file(path, emulator, forget);
	print_tally();
	return tally.ty_mismatches == 0 ? 0 : 1;
}
