/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * Replay files (.psim): one run, to be run again, and to be read: text, one "key: value" a line,
 * then one decision a line. docs/REPLAY.md describes them.
 *
 *	pmap-sim replay 2
 *	build: 0.1.0 1a2b3c4 gen_bits=64 check=2
 *	arch: ept
 *	scenario: shootdown	(and the other options of sim/cli/option_table.c)
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
 *	state-hash: 0x0123456789abcdef	(the next four go together, or are all missing)
 *	by-seed: yes
 *	agents: store-buffer interrupt
 *	decisions: 4
 *	service actor cpu0 of service cpu0 cpu1 cpu2
 *	cpu0 run 3/4
 *	cpu0 operation 2/39 migrate
 *	cpu0 actor store-buffer of cpu0 cpu1 cpu2 store-buffer
 *	end
 *
 * Lines that begin with # are comments, except for the first and what follows the last.
 *
 * A decision is WHO KIND VALUE/N WORD: who made it, about what (sim_choice_name(), or "operation"
 * for the one with which an operation of a CPU's program begins), which of N it was, and what that
 * means, if it has a name. About the next actor it is WHO actor ACTOR of ALL: who it was, of all
 * that could step, in the order of the alternatives. WHO is "-" where that was not recorded.
 */

#ifndef SIM_REPLAY_H
#define SIM_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/cli/option_table.h"
#include "sim/cli/options.h"

#define REPLAY_VERSION 2u
#define REPLAY_LINE_BYTES 4096
#define REPLAY_WORD_BYTES 32
#define REPLAY_WORDS_MAX 512
#define REPLAY_CHOICES_MAX ((size_t)1 << 24)

struct replay {
	struct sim_options re_options; /* its strings and choices live here below */
	enum sim_verdict re_verdict;
	uint64_t re_step;
	uint64_t re_trace_hash;
	uint64_t re_state_hash; /* if there are choices */
	char re_check[SIM_CHECK_BYTES];
	char re_invariant[SIM_CHECK_BYTES]; /* "" if none */
	char re_build[REPLAY_LINE_BYTES];   /* build id of the recorder */
	char re_agents[SIM_AGENTS_BYTES];   /* as in struct sim_outcome */
	char *re_texts[SIM_OPTION_ROWS];    /* values of options */
	char *re_words[REPLAY_WORDS_MAX];   /* of notes, each once */
	unsigned int re_nwords;
	struct sim_choice_record *re_choices;
	struct sim_choice_note *re_notes; /* as many; or NULL if nobody wrote down who chose */
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

/*
 * "cpu1", "service", "driver", or the name of an agent; agents as in struct sim_outcome. buf has
 * REPLAY_WORD_BYTES.
 */
const char *replay_actor_name(const char *agents, unsigned int cpus, unsigned int actor, char *buf);

/* One decision as files have it, without a newline. note may be NULL. */
void replay_decision_text(const char *agents, unsigned int cpus, const struct sim_choice_record *c,
			  const struct sim_choice_note *note, char *text, size_t text_bytes);

/* "pass", "violation", "budget". */
const char *sim_verdict_name(enum sim_verdict v);

#endif /* SIM_REPLAY_H */
