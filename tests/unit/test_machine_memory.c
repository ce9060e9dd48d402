/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The simulator's memory model, by the litmus tests of the x86-TSO literature (Intel SDM vol. 3A
 * 9.2.3): what must show, shows; what must not, never does; in both models, by chance and by
 * enumerating every execution.
 */

#include "tests/unit/machine_util.h"

#define SEEDS 300

/* Two shared words and what two CPUs read of them. */
struct litmus {
	struct host_word x;
	struct host_word y;
	uint64_t saw[2];
	uint64_t also[2];
};

static void
sb_0(void *arg)
{
	struct litmus *l = arg;

	host_store(&l->x, 1);
	l->saw[0] = host_load(&l->y);
}

static void
sb_1(void *arg)
{
	struct litmus *l = arg;

	host_store_release(&l->y, 1);
	l->saw[1] = host_load_acquire(&l->x);
}

static void
sb_fence_0(void *arg)
{
	struct litmus *l = arg;

	host_store(&l->x, 1);
	host_fence();
	l->saw[0] = host_load(&l->y);
}

static void
sb_fence_1(void *arg)
{
	struct litmus *l = arg;

	host_store(&l->y, 1);
	host_fence();
	l->saw[1] = host_load(&l->x);
}

static void
sb_locked_0(void *arg)
{
	struct litmus *l = arg;

	host_xchg(&l->x, 1);
	l->saw[0] = host_load(&l->y);
}

static void
sb_locked_1(void *arg)
{
	struct litmus *l = arg;
	struct host_word other = {0};

	host_store(&l->y, 1);
	host_fetch_or(&other, 1);
	l->saw[1] = host_load(&l->x);
}

static void
mp_0(void *arg)
{
	struct litmus *l = arg;

	host_store(&l->x, 1);
	host_store(&l->y, 1);
}

static void
mp_1(void *arg)
{
	struct litmus *l = arg;

	l->saw[0] = host_load(&l->y);
	l->saw[1] = host_load(&l->x);
}

/* Intel SDM vol. 3A 9.2.3.5: a CPU sees its own store before others do. */
static void
forward_0(void *arg)
{
	struct litmus *l = arg;

	host_store(&l->x, 1);
	l->also[0] = host_load(&l->x);
	l->saw[0] = host_load(&l->y);
}

static void
forward_1(void *arg)
{
	struct litmus *l = arg;

	host_store(&l->y, 1);
	l->also[1] = host_load(&l->y);
	l->saw[1] = host_load(&l->x);
}

/*
 * How often, of SEEDS runs, each pair (saw[0], saw[1]) of 0 and 1 came out: by 2 * saw[0] +
 * saw[1].
 */
static void
tally(enum sim_memory_model model, program_fn p0, program_fn p1, unsigned int count[4])
{
	memset(count, 0, 4 * sizeof count[0]);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct sim_config cfg = config(2, seed);
		struct litmus l = {0};

		cfg.sc_memory_model = model;
		cfg.sc_run_lengths = 1 + (unsigned int)(seed % 3);
		struct sim_report r = run(&cfg, (program_fn[]){p0, p1}, &l);
		assert_passed(r);
		count[2 * l.saw[0] + l.saw[1]]++;
	}
}

Test(machine_memory, store_buffering_shows_under_tso_only)
{
	unsigned int count[4];

	tally(SIM_TSO, sb_0, sb_1, count);
	cr_assert_gt(count[0], 0, "two loads pass two stores: never in %d seeds", SEEDS);
	cr_assert(count[1] > 0 && count[2] > 0 && count[3] > 0);
	tally(SIM_SC, sb_0, sb_1, count);
	cr_assert_eq(count[0], 0);
	cr_assert(count[1] > 0 && count[2] > 0 && count[3] > 0);
}

Test(machine_memory, fences_and_locked_operations_forbid_it)
{
	unsigned int count[4];

	tally(SIM_TSO, sb_fence_0, sb_fence_1, count);
	cr_assert_eq(count[0], 0);
	cr_assert(count[1] > 0 && count[2] > 0 && count[3] > 0);
	tally(SIM_TSO, sb_locked_0, sb_locked_1, count);
	cr_assert_eq(count[0], 0);
	tally(SIM_TSO, sb_0, sb_fence_1, count);
	cr_assert_gt(count[0], 0, "one fence is not enough");
}

Test(machine_memory, stores_stay_in_order)
{
	unsigned int count[4];

	for (int model = SIM_TSO; model <= SIM_SC; model++) {
		tally((enum sim_memory_model)model, mp_0, mp_1, count);
		cr_assert_eq(count[2], 0, "the second store was seen before the first");
		cr_assert(count[0] > 0 && count[1] > 0 && count[3] > 0);
	}
}

Test(machine_memory, own_stores_are_seen_first)
{
	unsigned int passed = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct sim_config cfg = config(2, seed);
		struct litmus l = {0};
		struct sim_report r = run(&cfg, (program_fn[]){forward_0, forward_1}, &l);

		assert_passed(r);
		cr_assert(l.also[0] == 1 && l.also[1] == 1);
		passed += l.saw[0] == 0 && l.saw[1] == 0 && r.sr_counters.ct_forwards == 2;
	}
	cr_assert_gt(passed, 0);
}

/* ---- Every execution ------------------------------------------------------------------------ */

/* A path through a tree of choices, and the next one in order. */
struct odometer {
	uint32_t value[256];
	uint32_t n[256];
	size_t at;
	size_t len;
};

static uint32_t
next_choice(void *arg, enum sim_choice kind, uint32_t n)
{
	struct odometer *o = arg;

	(void)kind;
	if (o->at == o->len) {
		o->value[o->len] = 0;
		o->n[o->len++] = n;
	}
	return o->value[o->at++];
}

static bool
advance(struct odometer *o)
{
	o->at = 0;
	while (o->len > 0 && ++o->value[o->len - 1] == o->n[o->len - 1])
		o->len--;
	return o->len > 0;
}

/* Runs all executions of a pair of programs; the set of outcomes as bits 2 * saw[0] + saw[1]. */
static unsigned int
explore(enum sim_memory_model model, program_fn p0, program_fn p1, unsigned int *runs)
{
	struct odometer o = {.len = 0};
	unsigned int outcomes = 0;

	*runs = 0;
	do {
		struct sim_config cfg = config(2, 0);
		struct litmus l = {0};

		cfg.sc_memory_model = model;
		cfg.sc_run_lengths = 1;
		cfg.sc_source = SIM_SOURCE_CALL;
		cfg.sc_call = next_choice;
		cfg.sc_call_arg = &o;
		struct sim_report r = run(&cfg, (program_fn[]){p0, p1}, &l);
		assert_passed(r);
		outcomes |= 1u << (2 * l.saw[0] + l.saw[1]);
		(*runs)++;
	} while (advance(&o));
	return outcomes;
}

Test(machine_memory, all_executions)
{
	unsigned int sc, tso;

	cr_assert_eq(explore(SIM_SC, sb_0, sb_1, &sc), 0xe);
	cr_assert_eq(explore(SIM_TSO, sb_0, sb_1, &tso), 0xf);
	cr_assert_gt(tso, sc, "%u and %u executions", tso, sc);
	cr_assert_eq(explore(SIM_TSO, sb_fence_0, sb_fence_1, &tso), 0xe);
	cr_assert_eq(explore(SIM_TSO, sb_locked_0, sb_locked_1, &tso), 0xe);
	cr_assert_eq(explore(SIM_TSO, mp_0, mp_1, &tso), 0xb);
	cr_assert_eq(explore(SIM_SC, mp_0, mp_1, &sc), 0xb);
}

/* ---- The buffer ------------------------------------------------------------------------------ */

static struct host_word cells[32];
static uint64_t seen_in_memory[4];

static void
fill_buffer(void *arg)
{
	const unsigned int room = *(const unsigned int *)arg;

	for (unsigned int i = 0; i < room + 3; i++)
		host_store(&cells[i], 1);
	/* Past the buffer, as hardware looks. */
	for (unsigned int i = 0; i < room + 3; i++)
		seen_in_memory[0] += cells[i].hw_value;
	for (unsigned int i = 0; i < room + 3; i++)
		seen_in_memory[1] += host_load(&cells[i]);
	host_fence();
	for (unsigned int i = 0; i < room + 3; i++)
		seen_in_memory[2] += cells[i].hw_value;
}

/* With nothing but the CPU to choose, no store leaves by itself. */
static uint32_t
always_the_cpu(void *arg, enum sim_choice kind, uint32_t n)
{
	(void)arg;
	(void)kind;
	(void)n;
	return 0;
}

Test(machine_memory, buffer_is_bounded_and_drains_in_order)
{
	for (unsigned int room = 1; room <= 16; room *= 2) {
		struct sim_config cfg = config(1, 1);

		memset(cells, 0, sizeof cells);
		memset(seen_in_memory, 0, sizeof seen_in_memory);
		cfg.sc_store_buffer = room;
		cfg.sc_source = SIM_SOURCE_CALL;
		cfg.sc_call = always_the_cpu;
		struct sim_report r = run(&cfg, (program_fn[]){fill_buffer}, &room);
		assert_passed(r);
		cr_assert_eq(seen_in_memory[0], 3, "the oldest three were pushed out");
		cr_assert_eq(seen_in_memory[1], room + 3);
		cr_assert_eq(seen_in_memory[2], room + 3);
		cr_assert_eq(r.sr_counters.ct_drains_forced, room + 3);
		cr_assert_eq(r.sr_counters.ct_drains, 0);
		cr_assert_eq(r.sr_counters.ct_forwards, room);
	}
}

static void
store_and_return(void *arg)
{
	(void)arg;
	host_store(&cells[0], 42);
}

Test(machine_memory, stores_arrive_after_the_program_returned)
{
	cells[0].hw_value = 0;
	struct sim_report r = run_one(store_and_return, NULL);
	assert_passed(r);
	cr_assert_eq(cells[0].hw_value, 42);
	cr_assert_eq(r.sr_counters.ct_drains, 1);
}

/*
 * ---- What an oracle is told -------------------------------------------------------------------
 */

static struct {
	unsigned int n;
	struct sim_table_write w[8];
} writes;

static void
note_write(void *arg, const struct sim_table_write *w)
{
	(void)arg;
	if (writes.n < 8)
		writes.w[writes.n] = *w;
	writes.n++;
}

static void
write_table(void *arg)
{
	uint64_t *hpa = arg;
	uint64_t expected = 99;

	if (!host_table_alloc(hpa))
		return;
	struct host_word *w = host_table_words(*hpa);
	struct host_word *desc = host_table_desc(*hpa);
	host_fill_private(w, 2, 5, 1);
	host_store(&w[0], 7);
	for (unsigned int i = 0; i < 4; i++)
		sim_point(SIM_USER, NULL);
	uint64_t walker = 5; /* sets A in what memory holds, if the store is not there yet */
	if (sim_phys_cas(*hpa, &walker, 0x25))
		host_fence();
	host_xchg(&w[1], 8);
	host_cas(&w[1], &expected, 1);
	host_fetch_add(desc, 1);
	host_table_free(*hpa);
}

Test(machine_memory, writes_to_tables_are_reported_as_they_become_visible)
{
	struct sim_config cfg = config(1, 1);
	struct sim_machine *m = machine(&cfg);
	uint64_t hpa = 0;

	memset(&writes, 0, sizeof writes);
	sim_set_write_hook(note_write, NULL);
	struct sim_report r = run_on(m, (program_fn[]){write_table}, &hpa);
	assert_passed(r);
	cr_assert_eq(writes.n, 4, "%u writes", writes.n);
	cr_assert(writes.w[0].tw_how == SIM_WRITE_PRIVATE && writes.w[0].tw_new == 5);
	cr_assert(writes.w[1].tw_how == SIM_WRITE_PRIVATE && writes.w[1].tw_hpa == hpa + 8);
	cr_assert_eq(writes.w[2].tw_how, SIM_WRITE_PLAIN);
	cr_assert_eq(writes.w[2].tw_new, 7);
	cr_assert(writes.w[3].tw_how == SIM_WRITE_LOCKED && writes.w[3].tw_old == 6 &&
		  writes.w[3].tw_new == 8 && writes.w[3].tw_cpu == 0);
	sim_machine_destroy(m);
}

/* What hardware wrote between a store's issue and its arrival is what the store destroys. */
Test(machine_memory, a_plain_store_is_judged_on_what_it_overwrites)
{
	unsigned int lost = 0;

	for (uint64_t seed = 0; seed < 50; seed++) {
		struct sim_config cfg = config(1, seed);
		struct sim_machine *m = machine(&cfg);
		uint64_t hpa = 0;

		memset(&writes, 0, sizeof writes);
		sim_set_write_hook(note_write, NULL);
		struct sim_report r = run_on(m, (program_fn[]){write_table}, &hpa);
		assert_passed(r);
		lost += writes.w[2].tw_old == 0x25;
		sim_machine_destroy(m);
	}
	cr_assert(lost > 0 && lost < 50, "%u of 50", lost);
}

/* ---- Counting -------------------------------------------------------------------------------- */

static void
count_in_section(void *arg)
{
	host_epoch_enter();
	host_count(arg, 5);
	host_count(arg, UINT64_MAX);
	host_epoch_exit();
}

static void
count_anywhere(void *arg)
{
	host_count(arg, 5);
}

Test(machine_memory, counting_is_no_point_but_needs_a_section)
{
	struct host_word w = {0};
	struct sim_report r = run_one(count_in_section, &w);

	assert_passed(r);
	cr_assert_eq(w.hw_value, 4);
	cr_assert_eq(r.sr_counters.ct_points[SIM_EPOCH_ENTER] +
			     r.sr_counters.ct_points[SIM_EPOCH_EXIT],
		     r.sr_step);
	r = run_one(count_anywhere, &w);
	assert_violation(r, "CK-API", "host_count()");
}
