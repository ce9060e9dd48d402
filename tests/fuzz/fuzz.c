/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Runs one input. A violation is told, its run written down strictly for pmap-sim replay, and the
 * process ended, which is what fuzzers take for a finding.
 */

#include "tests/fuzz/fuzz.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/oracle/invariants.h"
#include "sim/replay/lenient.h"

/* Where a finding's strict replay file goes; the variable names a folder. */
#define FOUND_VARIABLE "PMAP_FUZZ_FOUND"

#define CPUS_MOST 4
#define STEPS_MOST 5000

/*
 * What libFuzzer takes for more places that were covered, or covered more often: operations, faults
 * and events of the hardware, by how often they happened.
 */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t happened[SIM_COUNTERS_MAX];

bool
fuzz_read(const uint8_t *data, size_t size, struct replay *re)
{
	char why[256];
	FILE *from = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;

	if (from == NULL)
		return false;
	const int error = replay_read(from, re, why, sizeof(why));
	fclose(from);
	if (error != 0)
		return false;
	struct sim_options *const o = &re->re_options;
	/* Priorities would be asked in place of the list; every point is a decision for it, too. */
	if (o->trace_path == NULL && o->cpus <= CPUS_MOST && o->vcpus <= CPUS_MOST &&
	    o->steps <= STEPS_MOST && sim_options_complete(o, NULL, why, sizeof(why)) == 0)
		return true;
	replay_free(re);
	return false;
}

struct sim_outcome *
fuzz_run(const struct replay *re, bool record)
{
	static struct sim_outcome out; /* large */
	struct sim_options o = re->re_options;
	struct lenient le;

	memset(&out, 0, sizeof(out));
	out.arch = o.arch;
	out.seed = o.seed;
	sim_invariants_reset();
	o.record_choices = record;
	lenient_begin(&le, &o);
	if (sim_run_workload(&o, &out) != 0) {
		fprintf(stderr, "fuzz: no run: %s\n", out.message);
		abort();
	}
	return &out;
}

/* The run again, as it was: a file that pmap-sim replay takes as it is. */
static void
write_found(const struct replay *re)
{
	const char *folder = getenv(FOUND_VARIABLE);
	const struct sim_outcome *const out = fuzz_run(re, true);
	struct sim_options o = re->re_options;
	char path[512];

	snprintf(path, sizeof(path), "%s/found-%016" PRIx64 ".psim", folder != NULL ? folder : ".",
		 out->trace_hash);
	FILE *to = fopen(path, "w");
	if (to == NULL) {
		fprintf(stderr, "fuzz: %s cannot be written\n", path);
		return;
	}
	o.choices = out->choices; /* not by seed */
	o.choices_by_seed = false;
	replay_write(to, &o, out);
	if (fclose(to) == 0)
		fprintf(stderr, "fuzz: pmap-sim replay %s\n", path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct replay re;

	if (!fuzz_read(data, size, &re))
		return 0;
	const struct sim_outcome *const out = fuzz_run(&re, false);
	if (out->verdict == SIM_VIOLATION) {
		fprintf(stderr, "fuzz: %s %s: %s\n", out->check, out->invariant, out->message);
		write_found(&re);
		abort();
	}
	for (unsigned int i = 0; i < out->ncounters; i++)
		happened[i] =
			(uint8_t)(out->counters[i].value < 255 ? out->counters[i].value : 255);
	replay_free(&re);
	return 0;
}
