/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Replay files (.psim): one run, to be run again. Text, one "key: value" a line:
 *
 *	pmap-sim replay 1
 *	build: 0.1.0 1a2b3c4 gen_bits=64 check=2
 *	arch: ept
 *	scenario: NAME		(or trace: PATH, or neither: the random workload)
 *	caps: PROFILE		(optional)
 *	cpus: 3
 *	vcpus: 3
 *	steps: 2000
 *	memory-model: tso
 *	reference: no
 *	seed: 0x2a
 *	verdict: violation	(or pass, budget)
 *	check: CK-TLB		(for violations, with the next one)
 *	invariant: I14		(or none)
 *	step: 1234
 *	trace-hash: 0x0123456789abcdef
 *	choices: 3		(optional; then that many, in lines as below)
 *	0.3.1*2 4.10.7
 *	end
 *
 * Lines that begin with # are comments, except for the first and what follows the last.
 *
 * A choice is KIND.N.VALUE: VALUE was taken among N alternatives; *COUNT repeats it. The kinds are
 * the numbers of enum sim_choice.
 */

#ifndef SIM_REPLAY_H
#define SIM_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/options.h"

#define REPLAY_VERSION 1u
#define REPLAY_WORD_BYTES 64
#define REPLAY_LINE_BYTES 4096
#define REPLAY_CHOICES_MAX ((size_t)1 << 24)

struct replay {
	struct sim_options re_options; /* its strings and choices live here below */
	enum sim_verdict re_verdict;
	uint64_t re_step;
	uint64_t re_trace_hash;
	char re_check[SIM_CHECK_BYTES];
	char re_invariant[SIM_CHECK_BYTES]; /* "" if none */
	char re_build[REPLAY_LINE_BYTES];   /* build id of the recorder */
	char re_scenario[REPLAY_WORD_BYTES];
	char re_caps[REPLAY_WORD_BYTES];
	char re_trace[REPLAY_LINE_BYTES];
	struct sim_choice_record *re_choices;
};

/*
 * Reads a replay file. Returns 0, or a negative errno and one sentence with the line's number:
 * -EINVAL for what is not one. Free it with replay_free(), also one that is zeroed.
 */
int replay_read(FILE *from, struct replay *re, char *why, size_t why_bytes);
void replay_free(struct replay *re);

/*
 * Writes the run of o that ended in out; with its choices if out has them. Errors of the stream are
 * for the caller to look up.
 */
void replay_write(FILE *to, const struct sim_options *o, const struct sim_outcome *out);

/* "pass", "violation", "budget". */
const char *sim_verdict_name(enum sim_verdict v);

#endif /* SIM_REPLAY_H */
