/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * What a recording tells beside the numbers, and sources of choices that answer some of them.
 */

#include "tests/unit/machine_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CPUS 3
#define OPERATIONS 12

static struct host_word *word;

static void
program(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < OPERATIONS; i++) {
		sim_operation();
		const uint32_t what = sim_choose(SIM_CHOICE_WORKLOAD, 3);

		sim_choice_word(what == 0 ? "add" : what == 1 ? "store" : "look");
		if (what == 0)
			host_fetch_add(word, 1);
		else if (what == 1)
			host_store(word, i);
		else
			host_load(word);
	}
}

struct recorded {
	struct sim_report re_report;
	struct sim_choice_record *re_list;
	struct sim_choice_note *re_notes;
	size_t re_n;
	uint64_t re_state;
};

static struct recorded
record_run(const struct sim_config *cfg)
{
	struct sim_machine *m = machine(cfg);
	struct recorded re = {0};

	word = sim_alloc(sizeof *word);
	re.re_report = run_on(m, (program_fn[]){program, program, program}, NULL);
	const struct sim_choice_record *list = sim_machine_choices(m, &re.re_n);
	re.re_list = malloc((re.re_n + 1) * sizeof *list);
	re.re_notes = malloc((re.re_n + 1) * sizeof *re.re_notes);
	if (re.re_n > 0) {
		memcpy(re.re_list, list, re.re_n * sizeof *list);
		memcpy(re.re_notes, sim_machine_notes(m), re.re_n * sizeof *re.re_notes);
	}
	re.re_state = sim_machine_state_hash(m);
	sim_machine_destroy(m);
	return re;
}

static void
forget(struct recorded *re)
{
	free(re->re_list);
	free(re->re_notes);
}

Test(machine_notes, tell_who_chose_what_when)
{
	struct sim_config cfg = config(CPUS, 7);
	unsigned int begun[CPUS] = {0};
	uint64_t step = 0;

	cfg.sc_record = true;
	struct recorded re = record_run(&cfg);
	cr_assert_eq(re.re_report.sr_result, SIM_RUN_PASSED);
	for (size_t i = 0; i < re.re_n; i++) {
		const struct sim_choice_note *note = &re.re_notes[i];
		const struct sim_choice_record *c = &re.re_list[i];

		cr_assert_geq(note->cn_step, step);
		step = note->cn_step;
		if (c->cr_kind == SIM_CHOICE_ACTOR) {
			cr_assert_eq(c->cr_n, (uint32_t)__builtin_popcountll(note->cn_offered));
			/* If the next choice is how far to go, whoever was meant makes it. */
			if (i + 1 < re.re_n && re.re_list[i + 1].cr_kind == SIM_CHOICE_RUN &&
			    c->cr_value == 0 && (note->cn_offered >> note->cn_actor & 1))
				cr_assert_eq(sim_offered_actor(note->cn_offered, note->cn_actor, 0),
					     note->cn_actor);
		} else {
			cr_assert_eq(note->cn_offered, 0);
		}
		if (!note->cn_begins)
			continue;
		cr_assert_lt(note->cn_actor, CPUS);
		cr_assert_eq(c->cr_kind, (uint32_t)SIM_CHOICE_WORKLOAD);
		cr_assert_str_eq(note->cn_word, c->cr_value == 0   ? "add"
						: c->cr_value == 1 ? "store"
								   : "look");
		begun[note->cn_actor]++;
	}
	for (unsigned int i = 0; i < CPUS; i++)
		cr_expect_eq(begun[i], OPERATIONS);
	forget(&re);
}

Test(machine_notes, offered_actors_in_their_order)
{
	const uint64_t set = SIM_OFFER_CPU(0) | SIM_OFFER_CPU(2) | SIM_OFFER_CPU(3) |
			     SIM_OFFER_AGENT(1) | SIM_OFFER_AGENT(5);
	static const unsigned int of_2[] = {2, 0, 3, SIM_ACTOR_AGENT + 1, SIM_ACTOR_AGENT + 5};
	static const unsigned int of_1[] = {0, 2, 3, SIM_ACTOR_AGENT + 1, SIM_ACTOR_AGENT + 5};

	for (uint32_t k = 0; k < 5; k++) {
		cr_expect_eq(sim_offered_actor(set, 2, k), of_2[k]);
		cr_expect_eq(sim_offered_actor(set, 1, k), of_1[k]);
		cr_expect_eq(sim_offered_actor(set, SIM_ACTOR_DRIVER, k), of_1[k]);
	}
	cr_expect_eq(sim_offered_actor(set, 2, 5), SIM_ACTOR_DRIVER);
}

Test(machine_notes, a_list_with_notes_fits_or_says_who_could_run)
{
	struct sim_config cfg = config(CPUS, 9);
	size_t at = 0;

	cfg.sc_record = true;
	struct recorded re = record_run(&cfg);
	cfg.sc_source = SIM_SOURCE_LIST;
	cfg.sc_list = re.re_list;
	cfg.sc_list_notes = re.re_notes;
	cfg.sc_list_len = re.re_n;
	struct recorded again = record_run(&cfg);
	cr_assert_eq(again.re_report.sr_result, SIM_RUN_PASSED, "%s", again.re_report.sr_message);
	cr_expect_eq(again.re_report.sr_hash, re.re_report.sr_hash);
	cr_expect_eq(again.re_state, re.re_state);
	forget(&again);

	/* As many could step, but others: cpu2 and not cpu1. */
	while (re.re_list[at].cr_kind != SIM_CHOICE_ACTOR || (re.re_notes[at].cn_offered & 7) != 3)
		cr_assert_lt(++at, re.re_n);
	re.re_notes[at].cn_offered ^= SIM_OFFER_CPU(1) | SIM_OFFER_CPU(2);
	again = record_run(&cfg);
	cr_assert_eq(again.re_report.sr_result, SIM_RUN_DIVERGED);
	char expected[64];
	snprintf(expected, sizeof expected, "decision %zu, step %" PRIu64 ": recorded ", at,
		 re.re_notes[at].cn_step);
	cr_assert_not_null(strstr(again.re_report.sr_message, expected), "%s",
			   again.re_report.sr_message);
	cr_assert_not_null(strstr(again.re_report.sr_message, "among {cpu0, cpu2"), "%s",
			   again.re_report.sr_message);
	cr_assert_not_null(strstr(again.re_report.sr_message, "now runnable {cpu0, cpu1"), "%s",
			   again.re_report.sr_message);
	forget(&again);
	forget(&re);
}

/* ---- Functions as sources ------------------------------------------------------------------- */

static uint32_t
always_add(void *arg, enum sim_choice kind, uint32_t n)
{
	uint64_t *adds = arg;

	(void)n;
	if (kind != SIM_CHOICE_WORKLOAD)
		return SIM_CHOICE_DRAW;
	++*adds;
	return 0;
}

Test(machine_notes, a_function_may_leave_choices_to_chance)
{
	struct sim_config cfg = config(CPUS, 11);
	uint64_t adds = 0;

	cfg.sc_source = SIM_SOURCE_CALL;
	cfg.sc_call = always_add;
	cfg.sc_call_arg = &adds;
	struct recorded a = record_run(&cfg);
	cr_assert_eq(a.re_report.sr_result, SIM_RUN_PASSED, "%s", a.re_report.sr_message);
	cr_expect_eq(adds, CPUS * OPERATIONS);
	struct recorded b = record_run(&cfg);
	cr_expect_eq(a.re_report.sr_hash, b.re_report.sr_hash);
	cfg.sc_draw_seed = 12;
	struct recorded c = record_run(&cfg);
	cr_expect_neq(a.re_report.sr_hash, c.re_report.sr_hash);
	forget(&a);
	forget(&b);
	forget(&c);
}

struct watch {
	uint64_t wa_most;   /* operations that CPU 1 had begun */
	uint64_t wa_points; /* most points since one began */
	bool wa_offered;    /* an actor was always among those offered */
};

static uint32_t
watch(void *arg, enum sim_choice kind, uint32_t n)
{
	struct watch *w = arg;
	uint64_t points;
	const uint64_t begun = sim_operations(1, &points);

	w->wa_most = begun > w->wa_most ? begun : w->wa_most;
	w->wa_points = points > w->wa_points ? points : w->wa_points;
	if (kind == SIM_CHOICE_ACTOR && (uint32_t)__builtin_popcountll(sim_offered()) != n)
		w->wa_offered = false;
	if (begun == OPERATIONS / 2)
		sim_stop("half is enough");
	return SIM_CHOICE_DRAW;
}

Test(machine_notes, a_function_sees_operations_and_may_stop)
{
	struct sim_config cfg = config(CPUS, 13);
	struct watch w = {.wa_offered = true};

	cfg.sc_source = SIM_SOURCE_CALL;
	cfg.sc_call = watch;
	cfg.sc_call_arg = &w;
	struct recorded re = record_run(&cfg);
	cr_assert_eq(re.re_report.sr_result, SIM_RUN_BUDGET);
	cr_expect_str_eq(re.re_report.sr_message, "half is enough");
	cr_expect_eq(w.wa_most, OPERATIONS / 2);
	cr_expect_gt(w.wa_points, 0);
	cr_expect(w.wa_offered);
	forget(&re);
}

Test(machine_notes, the_state_is_told_apart)
{
	struct sim_config cfg = config(CPUS, 15);
	struct sim_machine *m = machine(&cfg);
	const uint64_t empty = sim_machine_state_hash(m);
	uint64_t hpa;

	cr_assert(host_table_alloc(&hpa));
	const uint64_t zero = sim_machine_state_hash(m);
	host_store(host_table_words(hpa) + 5, 1);
	const uint64_t one = sim_machine_state_hash(m);
	host_store(host_table_words(hpa) + 5, 0);
	cr_expect_neq(empty, zero);
	cr_expect_neq(zero, one);
	cr_expect_eq(sim_machine_state_hash(m), zero);
	host_table_free(hpa);
	host_epoch_drain();
	cr_expect_eq(sim_machine_state_hash(m), empty);
	sim_machine_destroy(m);
}
