/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/* Replay files: what is written is what is read, and nothing else is read at all. */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/machine/machine.h"
#include "sim/replay/replay.h"
#include "sim/cli/version.h"

#define WHY_BYTES 256

static int
read_bytes(const char *text, size_t n, struct replay *re, char *why)
{
	FILE *f = n ? fmemopen((void *)text, n, "r") : fopen("/dev/null", "r");
	int error;

	cr_assert(f);
	*why = '\0';
	error = replay_read(f, re, why, WHY_BYTES);
	fclose(f);
	return error;
}

/* Writes to memory; free() the result. */
static char *
write_text(const struct sim_options *o, const struct sim_outcome *out, size_t *n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, n);

	cr_assert(f);
	replay_write(f, o, out);
	fclose(f);
	return text;
}

static void
make_violation(struct sim_options *o, struct sim_outcome *out)
{
	*o = (struct sim_options){
		.scenario = "shootdown",
		.caps = "haswell",
		.cpus = 3,
		.vcpus = 5,
		.steps = 2000,
		.sequential = true,
		.reference = true,
	};
	memset(out, 0, sizeof(*out));
	out->arch = SIM_ARCH_EPT_NOAD;
	out->seed = UINT64_C(0xfedcba9876543210);
	out->verdict = SIM_VIOLATION;
	out->steps = 1234;
	out->trace_hash = UINT64_C(0x8000000000000001);
	strcpy(out->check, "CK-TLB");
	strcpy(out->invariant, "I14");
}

Test(replay, options_and_verdict_come_back)
{
	static struct sim_outcome out;
	static struct replay re;
	struct sim_options o;
	char why[WHY_BYTES];
	char *text;
	size_t n;

	make_violation(&o, &out);
	text = write_text(&o, &out, &n);
	cr_assert_eq(read_bytes(text, n, &re, why), 0, "%s", why);
	free(text);
	cr_expect_str_eq(re.re_options.scenario, "shootdown");
	cr_expect_str_eq(re.re_options.caps, "haswell");
	cr_expect_null(re.re_options.trace_path);
	cr_expect_eq(re.re_options.arch, SIM_ARCH_EPT_NOAD);
	cr_expect_eq(re.re_options.arch_set, 1u << SIM_ARCH_EPT_NOAD);
	cr_expect_eq(re.re_options.cpus, 3);
	cr_expect_eq(re.re_options.vcpus, 5);
	cr_expect_eq(re.re_options.steps, 2000);
	cr_expect_eq(re.re_options.seed, UINT64_C(0xfedcba9876543210));
	cr_expect(re.re_options.sequential);
	cr_expect(re.re_options.reference);
	cr_expect_null(re.re_options.choices);
	cr_expect_eq(re.re_verdict, SIM_VIOLATION);
	cr_expect_eq(re.re_step, 1234);
	cr_expect_eq(re.re_trace_hash, UINT64_C(0x8000000000000001));
	cr_expect_str_eq(re.re_check, "CK-TLB");
	cr_expect_str_eq(re.re_invariant, "I14");
	cr_expect_str_eq(re.re_build, sim_build_id);
	replay_free(&re);
}

Test(replay, a_pass_of_a_trace_without_options_comes_back)
{
	static struct sim_outcome out;
	static struct replay re;
	struct sim_options o = {.trace_path = "a b/c: d.zst", .cpus = 1, .vcpus = 1, .steps = 1};
	char why[WHY_BYTES];
	char *text;
	size_t n;

	text = write_text(&o, &out, &n);
	cr_assert_eq(read_bytes(text, n, &re, why), 0, "%s", why);
	free(text);
	cr_expect_str_eq(re.re_options.trace_path, "a b/c: d.zst");
	cr_expect_null(re.re_options.scenario);
	cr_expect_null(re.re_options.caps);
	cr_expect_not(re.re_options.sequential);
	cr_expect_not(re.re_options.reference);
	cr_expect_eq(re.re_verdict, SIM_PASS);
	replay_free(&re);
}

Test(replay, a_violation_of_no_invariant_comes_back)
{
	static struct sim_outcome out;
	static struct replay re;
	struct sim_options o;
	char why[WHY_BYTES];
	char *text;
	size_t n;

	make_violation(&o, &out);
	out.invariant[0] = '\0';
	text = write_text(&o, &out, &n);
	cr_assert_eq(read_bytes(text, n, &re, why), 0, "%s", why);
	free(text);
	cr_expect_str_eq(re.re_invariant, "");
	replay_free(&re);
}

Test(replay, decisions_come_back_one_a_line)
{
	enum { N = 5000 };
	static struct sim_outcome out;
	static struct replay re;
	struct sim_options o;
	char why[WHY_BYTES];
	uint64_t x = 3;
	char *text;
	size_t n, lines = 0;

	make_violation(&o, &out);
	out.choices = calloc(N, sizeof(*out.choices));
	cr_assert(out.choices);
	out.nchoices = N;
	out.state_hash = 0x77;
	for (uint32_t i = 0; i < N; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		out.choices[i] = (struct sim_choice_record){
			.cr_kind = i % SIM_CHOICE_COUNT,
			.cr_n = i % 7 ? UINT32_MAX : 2,
			.cr_value = i % 7 ? (uint32_t)(x >> 33) : 0,
		};
	}
	text = write_text(&o, &out, &n);
	cr_expect(strstr(text, "\ndecisions: 5000\n- actor 0/2\n- run "), "%.600s", text);
	cr_assert_eq(read_bytes(text, n, &re, why), 0, "%s", why);
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	cr_expect_gt(lines, N);
	free(text);
	cr_assert_eq(re.re_options.nchoices, N);
	cr_expect_eq(memcmp(re.re_options.choices, out.choices, N * sizeof(*out.choices)), 0);
	cr_expect_null(re.re_options.notes);
	cr_expect_eq(re.re_state_hash, 0x77);
	cr_expect(re.re_options.choices_by_seed);
	replay_free(&re);
	free(out.choices);
}

Test(replay, notes_come_back_but_for_the_steps)
{
	static struct sim_outcome out;
	static struct replay re;
	static const struct sim_choice_note notes[] = {
		{.cn_actor = 3, .cn_offered = SIM_OFFER_CPU(3) | SIM_OFFER_CPU(0)},
		{.cn_actor = 0, .cn_step = 5, .cn_begins = true, .cn_word = "migrate"},
		{.cn_actor = SIM_ACTOR_AGENT + 1},
		{.cn_actor = SIM_ACTOR_DRIVER, .cn_word = "not for a file"},
		{.cn_actor = 1,
		 .cn_offered = SIM_OFFER_CPU(0) | SIM_OFFER_CPU(1) | SIM_OFFER_AGENT(1)},
	};
	static const struct sim_choice_record choices[] = {
		{SIM_CHOICE_ACTOR, 2, 1}, {SIM_CHOICE_WORKLOAD, 39, 2}, {SIM_CHOICE_HW, 512, 511},
		{SIM_CHOICE_FAULT, 2, 0}, {SIM_CHOICE_ACTOR, 3, 2},
	};
	enum { N = sizeof(choices) / sizeof(choices[0]) };
	struct sim_options o;
	char why[WHY_BYTES];
	char *text;
	size_t n;

	make_violation(&o, &out);
	strcpy(out.agents, "disk store-buffer");
	cr_assert(sim_outcome_room(&out, N));
	memcpy(out.choices, choices, sizeof(choices));
	memcpy(out.notes, notes, sizeof(notes));
	o.choices = choices;
	text = write_text(&o, &out, &n);
	cr_expect(strstr(text, "by-seed: no\nagents: disk store-buffer\ndecisions: 5\n"
			       "service actor cpu0 of service cpu0\n"
			       "cpu0 operation 2/39 migrate\n"
			       "store-buffer hw 511/512\n"
			       "driver fault 0/2\n"
			       "cpu1 actor store-buffer of cpu1 cpu0 store-buffer\nend\n"),
		  "%s", text);
	cr_assert_eq(read_bytes(text, n, &re, why), 0, "%s", why);
	free(text);
	cr_assert_eq(re.re_options.nchoices, N);
	cr_expect_eq(memcmp(re.re_choices, choices, sizeof(choices)), 0);
	cr_assert(re.re_options.notes);
	for (unsigned int i = 0; i < N; i++) {
		cr_expect_eq(re.re_notes[i].cn_actor, notes[i].cn_actor);
		cr_expect_eq(re.re_notes[i].cn_offered, notes[i].cn_offered);
		cr_expect_eq(re.re_notes[i].cn_begins, notes[i].cn_begins);
	}
	cr_expect_str_eq(re.re_notes[1].cn_word, "migrate");
	cr_expect_null(re.re_notes[3].cn_word);
	cr_expect_not(re.re_options.choices_by_seed);
	replay_free(&re);
	free(out.choices);
}

/* ---- What is refused ------------------------------------------------------------------------ */

static const char sound[] = "pmap-sim replay 2\n"
			    "build: 0.1.0 1a2b3c4 gen_bits=64 check=2\n"
			    "arch: ept\n"
			    "cpus: 3\n"
			    "vcpus: 3\n"
			    "steps: 2000\n"
			    "memory-model: tso\n"
			    "reference: no\n"
			    "seed: 42\n"
			    "verdict: pass\n"
			    "step: 1234\n"
			    "trace-hash: 0x0123\n"
			    "state-hash: 0x99\n"
			    "by-seed: yes\n"
			    "agents: disk eviction\n"
			    "decisions: 4\n"
			    "service actor cpu0 of service cpu0 cpu1\n"
			    "cpu0 run 3/4\n"
			    "cpu0 operation 7/10 run\n"
			    "disk hw 0/2\n"
			    "end\n";

Test(replay, a_file_by_hand_is_sound)
{
	static struct replay re;
	char why[WHY_BYTES];

	cr_assert_eq(read_bytes(sound, strlen(sound), &re, why), 0, "%s", why);
	cr_expect_eq(re.re_options.seed, 42);
	cr_assert_eq(re.re_options.nchoices, 4);
	cr_expect_eq(re.re_options.choices[0].cr_kind, 0);
	cr_expect_eq(re.re_options.choices[0].cr_n, 3);
	cr_expect_eq(re.re_options.choices[0].cr_value, 1);
	cr_expect_eq(re.re_options.choices[2].cr_kind, (uint32_t)SIM_CHOICE_WORKLOAD);
	cr_expect_eq(re.re_options.choices[2].cr_n, 10);
	cr_expect_eq(re.re_options.choices[2].cr_value, 7);
	replay_free(&re);
}

Test(replay, comments_are_skipped_but_counted_as_lines)
{
	static const char commented[] = "pmap-sim replay 2\n# why this is here\n#\narch: arm\n";
	char text[sizeof(sound) + 32], why[WHY_BYTES];
	static struct replay re;

	snprintf(text, sizeof(text), "%.*s# seed\n%s", 18, sound, sound + 18);
	cr_expect_eq(read_bytes(text, strlen(text), &re, why), 0, "%s", why);
	replay_free(&re);
	cr_expect_eq(read_bytes(commented, strlen(commented), &re, why), -EINVAL);
	cr_expect(strstr(why, "line 4: 'arm'"), "%s", why);
}

/* Each row replaces one piece of the sound file. */
static const struct {
	const char *from, *to, *sentence;
} mistakes[] = {
	{"pmap-sim replay 2", "#!/bin/sh", "line 1: not a replay file"},
	{"pmap-sim replay 2", "pmap-sim replay 1", "format 2: record it anew"},
	{"pmap-sim replay 2", "pmap-sim replay 3", "line 1: replay format '3'"},
	{"pmap-sim replay 2", "pmap-sim replay x", "line 1: replay format 'x'"},
	{"arch: ept\n", "arch: arm\n", "line 3: 'arm' is no value for 'arch'"},
	{"arch: ept\n", "arch ept\n", "line 3: not of the form"},
	{"arch: ept\n", "arch: ept\narch: npt\n", "line 4: 'arch' is given twice"},
	{"arch: ept\n", "", "line 15: 'arch' is missing"},
	{"arch: ept\n", "arch: ept\nnice: yes\n", "line 4: unknown key 'nice'"},
	{"arch: ept\n", "arch: ept\r\n", "line 3: holds a control character"},
	{"cpus: 3\n", "cpus: 0\n", "line 4: '0' is no value for 'cpus'"},
	{"cpus: 3\n", "cpus: -1\n", "line 4: '-1' is no value for 'cpus'"},
	{"cpus: 3\n", "cpus: 4294967296\n", "line 4"},
	{"cpus: 3\n", "cpus: 3 \n", "line 4"},
	{"cpus: 3\n", "cpus: \n", "line 4"},
	{"steps: 2000\n", "steps: 0\n", "line 6"},
	{"memory-model: tso", "memory-model: arm", "line 7"},
	{"reference: no", "reference: perhaps", "line 8"},
	{"seed: 42", "seed: 0x10000000000000000", "line 9"},
	{"seed: 42", "seed: 18446744073709551616", "line 9"},
	{"seed: 42", "seed: 0x", "line 9"},
	{"verdict: pass", "verdict: perhaps", "line 10"},
	{"verdict: pass", "verdict: violation", "go with a violation"},
	{"verdict: pass", "verdict: pass\ncheck: CK-TLB", "go with a violation"},
	{"verdict: pass", "verdict: violation\ncheck: CK-TLB-AND-MORE-THAN-FITS",
	 "line 11: 'CK-TLB-AND-MORE-THAN-FITS' is no value"},
	{"step: 1234", "step: 1234\nscenario: a\ntrace: b", "both a scenario and a trace"},
	{"decisions: 4", "decisions: 5", "5 decisions announced, 4 found"},
	{"decisions: 4", "decisions: 3", "line 20: more decisions"},
	{"decisions: 4", "decisions: 16777217", "line 16: '16777217' is no value"},
	{"decisions: 4", "decisions: 0", "line 16"},
	{"state-hash: 0x99\n", "", "'state-hash' is missing, although"},
	{"by-seed: yes\n", "", "'by-seed' is missing, although"},
	{"by-seed: yes", "by-seed: maybe", "line 14"},
	{"agents: disk eviction", "agents: disk  eviction", "line 15"},
	{"agents: disk eviction", "agents: disk ", "line 15"},
	{"reference: no\n", "", "'reference' is missing"},
	{"reference: no\n", "reference: no\nreference: no\n", "given twice"},
	{"cpu0 run 3/4", "cpu0 run 3", "line 18: not a decision"},
	{"cpu0 run 3/4", "cpu0 run", "line 18: not a decision"},
	{"cpu0 run 3/4", "cpu0 run 3/4 ", "line 18: not a decision"},
	{"cpu0 run 3/4", "cpu0  run 3/4", "line 18: not a decision"},
	{"cpu0 run 3/4", "cpu0 run 3/4 a b", "line 18: not a decision"},
	{"cpu0 run 3/4", "cpu0 run 4/4", "line 18: an impossible choice, 4 of 4"},
	{"cpu0 run 3/4", "cpu0 run 0/1", "line 18: an impossible choice, 0 of 1"},
	{"cpu0 run 3/4", "cpu0 run 0/4294967296", "line 18: an impossible choice"},
	{"cpu0 run 3/4", "cpu0 run -1/4", "line 18: an impossible choice"},
	{"cpu0 run 3/4", "cpu0 walk 3/4", "no kind of choice 'walk'"},
	{"cpu0 run 3/4", "cpu7 run 3/4", "there is no actor 'cpu7'"},
	{"cpu0 run 3/4", "cpu04 run 3/4", "there is no actor 'cpu04'"},
	{"cpu0 run 3/4", "printer run 3/4", "there is no actor 'printer'"},
	{"cpu0 run 3/4", "- run 3/4", "of some decisions who made them"},
	{"of service cpu0 cpu1", "of service cpu1", "'cpu0' is not among those offered"},
	{"of service cpu0 cpu1", "of service cpu1 cpu0", "'cpu1' is offered out of order"},
	{"of service cpu0 cpu1", "of cpu0 service cpu1", "offered out of order"},
	{"of service cpu0 cpu1", "of service cpu0 cpu0", "'cpu0' is offered twice"},
	{"of service cpu0 cpu1", "of service cpu0 driver", "no actor 'driver' to choose"},
	{"of service cpu0 cpu1", "of service cpu0 mouse", "no actor 'mouse' to choose"},
	{"of service cpu0 cpu1", "of service", "line 17: "},
	{"7/10 run", "7/10 a-word-of-more-than-thirty-two-letters", "does not fit"},
	{"disk hw 0/2\n", "disk hw 0/2\nseed: 1\n", "line 21: not a decision"},
	{"disk hw 0/2\n", "disk hw 0/2\n\n", "line 21: not a decision"},
	{"end\n", "end\n\n", "line 22: there is more after 'end'"},
	{"end\n", "end", "line 21: too long, cut off, or not text"},
	{"end\n", "", "line 21: the file ends without its last line"},
};

Test(replay, every_mistake_is_named_with_its_line)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		const char *at = strstr(sound, mistakes[i].from);
		char text[sizeof(sound) + 128], why[WHY_BYTES];
		static struct replay re;
		int error;

		cr_assert(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - sound), sound, mistakes[i].to,
			 at + strlen(mistakes[i].from));
		error = read_bytes(text, strlen(text), &re, why);
		cr_expect_eq(error, -EINVAL, "row %zu: %d", i, error);
		cr_expect(strstr(why, mistakes[i].sentence), "row %zu: '%s' does not say '%s'", i,
			  why, mistakes[i].sentence);
		replay_free(&re);
	}
}

Test(replay, binary_and_endless_lines_are_refused)
{
	static char text[3 * REPLAY_LINE_BYTES];
	static struct replay re;
	char why[WHY_BYTES];

	memset(text, 'a', sizeof(text));
	cr_expect_eq(read_bytes(text, sizeof(text), &re, why), -EINVAL);
	cr_expect(strstr(why, "line 1: too long"), "%s", why);
	memcpy(text, sound, sizeof(sound));
	text[20] = '\0';
	cr_expect_eq(read_bytes(text, sizeof(sound) - 1, &re, why), -EINVAL);
	cr_expect(strstr(why, "line 2: "), "%s", why);
	cr_expect_eq(read_bytes(text, 0, &re, why), -EINVAL);
	cr_expect(strstr(why, "line 1: the file ends"), "%s", why);
}

Test(replay, truncation_anywhere_is_refused)
{
	static struct replay re;
	char why[WHY_BYTES];

	for (size_t n = 0; n < strlen(sound); n++) {
		cr_assert_eq(read_bytes(sound, n, &re, why), -EINVAL, "%zu bytes", n);
		cr_assert(*why);
		cr_assert_null(re.re_choices, "a failure leaves nothing to free");
	}
}

Test(replay, random_damage_never_crashes)
{
	unsigned int refused = 0;
	uint64_t x = 99;

	for (int i = 0; i < 20000; i++) {
		char text[sizeof(sound)], why[WHY_BYTES];
		static struct replay re;
		int error;

		memcpy(text, sound, sizeof(sound));
		for (int k = 0; k <= i % 3; k++) {
			x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
			text[(x >> 40) % (sizeof(sound) - 1)] = (char)(x >> 32);
		}
		error = read_bytes(text, sizeof(sound) - 1, &re, why);
		cr_assert(error == 0 || (error == -EINVAL && *why), "round %d: %d", i, error);
		refused += error != 0;
		replay_free(&re);
	}
	cr_expect_gt(refused, 15000);
}
