/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * A run from a state that was put back is the run that it would have been on a new machine: every
 * scenario is asked, and every static variable of the program, lest one be forgotten.
 */

#include "tests/unit/machine_util.h"

#include <inttypes.h>
#include <stdlib.h>

#include "sim/machine/fiber.h"
#include "sim/oracle/invariants.h"
#include "sim/machine/side.h"
#include "sim/machine/snapshot.h"
#include "sim/workload/vmop.h"
#include "sim/workload/workload.h"
#include "sim/explore/xp.h"

/* ---- Scenarios ------------------------------------------------------------------------------ */

#define SCHEDULES 4
#define SEEDS 3

static struct sim_outcome outcome; /* large */

static uint64_t
hash_of(const struct sim_options *o)
{
	memset(&outcome, 0, sizeof outcome);
	outcome.arch = o->arch;
	outcome.seed = o->seed;
	cr_assert_eq(sim_run_workload(o, &outcome), 0, "%s", outcome.message);
	cr_assert_eq(outcome.verdict, SIM_PASS, "%s, seed %" PRIu64 ", schedule %" PRIu64 ": %s",
		     o->scenario, o->seed, outcome.schedule, outcome.message);
	return outcome.run_hash;
}

static void
compare_schedules(struct sim_options o)
{
	uint64_t fold = 0;
	uint64_t first = 0;
	bool differ = false;

	o.schedules = 1;
	for (o.schedule = 0; o.schedule < SCHEDULES; o.schedule++) {
		const uint64_t hash = hash_of(&o);

		differ = differ || (o.schedule > 0 && hash != first);
		first = hash;
		fold = workload_hash(fold ^ hash, o.schedule);
	}
	cr_assert(differ, "%s, seed %" PRIu64 ": all schedules are one", o.scenario, o.seed);
	o.schedule = 0;
	o.schedules = SCHEDULES;
	hash_of(&o);
	cr_assert_eq(outcome.trace_hash, fold, "%s, %s, seed %" PRIu64 ": not as on a new machine",
		     o.scenario, sim_arch_name(o.arch), o.seed);
	cr_assert_eq(outcome.schedules, SCHEDULES);
}

Test(snapshot, schedules_are_as_on_a_new_machine)
{
	/* With PCT, one that is asked for alone must be told how long they are. */
	static const char *const policies[SEEDS] = {NULL, "pct:3", "pos"};

	for (unsigned int i = 0; sim_scenario(i) != NULL; i++) {
		for (unsigned int k = 0; k < SEEDS; k++) {
			struct sim_options o = {
				.scenario = sim_scenario(i)->name,
				.arch_set = (1u << SIM_ARCH_COUNT) - 1,
				.arch = (enum sim_arch)((i + k) % SIM_ARCH_COUNT),
				.seed = 100 * i + k,
				.steps = 2000,
				.policy = policies[k],
			};
			const struct xp_scenario *const xs = xp_find(o.scenario);
			char why[200];

			/* A small one is for some kinds of tables, and is one schedule long. */
			if (xs != NULL && (xs->xs_arches >> o.arch & 1) == 0)
				continue;
			if (xs != NULL)
				o.arch_set = 1u << o.arch;

			cr_assert_eq(sim_options_complete(&o, NULL, why, sizeof why), 0, "%s", why);
			compare_schedules(o);
		}
	}
}

/* Memory is so short that the set-up has swapped. */
Test(snapshot, pages_in_swap_are_put_back)
{
	struct sim_options o = {
		.scenario = "superpages",
		.arch = SIM_ARCH_EPT_NOAD,
		.arch_set = 1u << SIM_ARCH_EPT_NOAD,
		.seed = 0x5005,
		.steps = 2000,
	};
	char why[200];

	cr_assert_eq(sim_options_complete(&o, NULL, why, sizeof why), 0, "%s", why);
	compare_schedules(o);
}

/* ---- Static variables ----------------------------------------------------------------------- */

static struct state {
	struct world st_world;
	struct sim_options st_options;
	bool st_violate;
} st;

static bool
next_access(void *arg, struct vcpu *v, gpa_t *gpa, unsigned int *access)
{
	(void)arg;
	*gpa = v->vc_space->sp_regions[0].rg_base +
	       sim_choose(SIM_CHOICE_WORKLOAD, v->vc_space->sp_regions[0].rg_npages) *
		       SIM_PAGE_SIZE;
	*access = sim_choose(SIM_CHOICE_WORKLOAD, 2) != 0 ? PMAP_PROT_W : PMAP_PROT_R;
	return sim_choose(SIM_CHOICE_WORKLOAD, 4) != 0;
}

static void
program(void *arg)
{
	static hostop_fn *const ops[] = {hostop_remove, hostop_migrate, hostop_discard,
					 hostop_clean,	hostop_age,	hostop_drain};
	struct space *const sp = st.st_world.wo_spaces[0];

	(void)arg;
	cpu_begin(&st.st_world);
	for (unsigned int i = 0; i < 12; i++) {
		const gpa_t base = sp->sp_regions[0].rg_base;

		vcpu_run(&sp->sp_vcpus[sim_choose(SIM_CHOICE_WORKLOAD, sp->sp_nvcpus)], next_access,
			 NULL);
		sp->sp_users++;
		ops[sim_choose(SIM_CHOICE_WORKLOAD, 6)](sp, base, base + 4 * SIM_PAGE_SIZE);
		sp->sp_users--;
		if (st.st_violate && i == 6)
			sim_violation("CK-API", "", "as asked for");
	}
	cpu_end(&st.st_world);
}

static void
set_up(void *arg)
{
	struct space *sp;

	(void)arg;
	if (workload_add_guest(&st.st_world, SIM_ARCH_EPT, "guest", 2, &sp) != 0)
		sim_violation("internal", "", "no guest");
	space_reserve(sp, 1, 1);
	space_add_region(sp, 0, space_add_seg(sp, SEG_SYSMEM, 16), 0, 16, PMAP_PROT_RWX);
}

static void
tear_down(void *arg)
{
	(void)arg;
	oracle_check_quiet(st.st_world.wo_spaces[0]);
	oracle_check_system(&st.st_world);
	world_destroy(&st.st_world);
}

static struct sim_machine *
begin(void)
{
	struct sim_config cfg;
	struct hw_config hw;
	struct sim_report r;
	char why[200];

	memset(&st, 0, sizeof st);
	st.st_options = (struct sim_options){.cpus = 2, .vcpus = 2, .seed = 1};
	workload_machine_config(&st.st_options, &cfg);
	struct sim_machine *m = sim_machine_create(&cfg, why, sizeof why);
	cr_assert_not_null(m, "%s", why);
	hw_config_init(&hw);
	cr_assert_eq(hw_create(&hw), 0);
	cr_assert_eq(oracle_tlb_create(), 0);
	cr_assert_eq(world_create(&st.st_world, &st.st_options, m), 0);
	cr_assert_eq(sim_machine_call(m, set_up, NULL, &r), SIM_RUN_PASSED, "%s", r.sr_message);
	return m;
}

static void
end(struct sim_machine *m, struct sim_snapshot *s)
{
	sim_snapshot_free(s);
	oracle_tlb_destroy();
	hw_destroy();
	sim_machine_destroy(m);
}

static struct sim_report
go(struct sim_machine *m)
{
	struct sim_report r;

	cr_assert_eq(sim_spawn(m, 0, program, NULL), 0);
	cr_assert_eq(sim_spawn(m, 1, program, NULL), 0);
	if (sim_machine_run(m, &r) == SIM_RUN_PASSED &&
	    sim_machine_call(m, tear_down, NULL, &r) == SIM_RUN_PASSED)
		sim_machine_check_leaks(m, &r);
	return r;
}

static struct sim_snapshot *
save(void)
{
	const struct sim_region regions[] = {{&st, sizeof st, false}};
	char why[200];
	struct sim_snapshot *s = sim_save(regions, 1, why, sizeof why);

	cr_assert_not_null(s, "%s", why);
	return s;
}

/* AddressSanitizer keeps gaps between variables, and lets nobody look into them. */
#if !FIBER_ASAN

/* Of the linker: what this program has of them. */
extern char __data_start[], _edata[], __bss_start[], _end[];

/* Counters may go on. */
static bool
counts(const char *p)
{
	const char *const hits = (const char *)sim_invariant_hits;
	const char *const hw = (const char *)hw_counters;

	return (p >= hits && p < hits + sizeof sim_invariant_hits) ||
	       (p >= hw && p < hw + sizeof hw_counters);
}

static void
compare_statics(const char *from, const char *to, const char *copy, const char *what)
{
	for (const char *p = from; p < to; p++) {
		if (*p != copy[p - from])
			cr_assert(counts(p), "%s + 0x%tx was changed by a run, and not put back",
				  what, p - from);
	}
}

Test(snapshot, no_static_variable_is_forgotten)
{
	static char *data;
	static char *bss;
	struct sim_machine *const m = begin();
	struct sim_snapshot *const s = save();

	data = malloc((size_t)(_edata - __data_start));
	bss = malloc((size_t)(_end - __bss_start));
	cr_assert(data != NULL && bss != NULL);
	/* Once, for what is kept from run to run. */
	cr_assert_eq(go(m).sr_result, SIM_RUN_PASSED);
	sim_restore(s);
	memcpy(data, __data_start, (size_t)(_edata - __data_start));
	memcpy(bss, __bss_start, (size_t)(_end - __bss_start));
	/* Spare stacks are taken the other way round each time. */
	for (unsigned int i = 0; i < 2; i++) {
		cr_assert_eq(go(m).sr_result, SIM_RUN_PASSED);
		cr_assert_neq(memcmp(bss, __bss_start, (size_t)(_end - __bss_start)), 0);
		sim_restore(s);
	}
	compare_statics(__data_start, _edata, data, "__data_start");
	compare_statics(__bss_start, _end, bss, "__bss_start");
	free(data);
	free(bss);
	end(m, s);
}

#endif

/* ---- What else ------------------------------------------------------------------------------ */

Test(snapshot, after_a_violation_as_after_any_end)
{
	struct sim_machine *const m = begin();
	struct sim_snapshot *const s = save();
	const struct sim_report first = go(m);

	cr_assert_eq(first.sr_result, SIM_RUN_PASSED, "%s", first.sr_message);
	for (unsigned int i = 0; i < 3; i++) {
		sim_restore(s);
		st.st_violate = true;
		cr_assert_eq(go(m).sr_result, SIM_RUN_VIOLATED);
		sim_restore(s);
		cr_assert_not(st.st_violate, "the caller's memory was not put back");
		const struct sim_report again = go(m);

		cr_assert_eq(again.sr_result, SIM_RUN_PASSED, "%s", again.sr_message);
		cr_assert_eq(again.sr_hash, first.sr_hash);
		cr_assert_eq(again.sr_step, first.sr_step);
	}
	end(m, s);
}

Test(snapshot, other_choices_from_the_same_beginning)
{
	struct sim_machine *const m = begin();
	struct sim_snapshot *const s = save();
	struct sim_config cfg;
	uint64_t hashes[4];

	workload_machine_config(&st.st_options, &cfg);
	for (unsigned int i = 0; i < 4; i++) {
		sim_restore(s);
		cfg.sc_seed = 1000 + i % 2;
		sim_choose_from(&cfg);
		hashes[i] = go(m).sr_hash;
	}
	cr_assert_eq(hashes[0], hashes[2]);
	cr_assert_eq(hashes[1], hashes[3]);
	cr_assert_neq(hashes[0], hashes[1]);
	end(m, s);
}

Test(snapshot, counters_go_on)
{
	struct sim_machine *const m = begin();
	const struct sim_region regions[] = {
		{&st, sizeof st, false},
		{st.st_world.wo_count, sizeof st.st_world.wo_count, true},
	};
	char why[200];
	struct sim_snapshot *const s = sim_save(regions, 2, why, sizeof why);
	const uint64_t before = st.st_world.wo_count[WC_ENTRIES];

	cr_assert_not_null(s, "%s", why);
	go(m);
	const uint64_t entries = st.st_world.wo_count[WC_ENTRIES] - before;
	const uint64_t hits = sim_invariant_hits[SIM_I14];

	cr_assert_gt(entries, 0);
	sim_restore(s);
	go(m);
	cr_assert_eq(st.st_world.wo_count[WC_ENTRIES], before + 2 * entries);
	cr_assert_gt(sim_invariant_hits[SIM_I14], hits);
	end(m, s);
}

Test(snapshot, refused_where_it_cannot_be_right)
{
	char why[200] = "";

	cr_assert_null(sim_save(NULL, 0, why, sizeof why));
	cr_assert_str_eq(why, "there is no machine");
	struct sim_machine *const m = begin();
	st.st_violate = true;
	cr_assert_eq(go(m).sr_result, SIM_RUN_VIOLATED);
	cr_assert_null(sim_save(NULL, 0, why, sizeof why));
	cr_assert_str_eq(why, "the machine has come to its end");
	end(m, NULL);
}
/* ---- What a run has left -------------------------------------------------------------------- */

static void
leak(void *arg)
{
	(void)arg;
	sim_alloc(64);
}

static void
take_frame(void *arg)
{
	(void)arg;
	sim_frame_alloc(SIM_FRAME_DATA, 0);
}

static void
watch_more(void *arg)
{
	(void)arg;
	sim_side_alloc(64);
}

/* A page of the guest, and then one bit in it. */
static void
fault_in(void *arg)
{
	(void)arg;
	if (space_fault(st.st_world.wo_spaces[0], 0, PMAP_PROT_W) != 0)
		sim_violation("internal", "", "no page");
}

static void
change_byte(void *arg)
{
	fault_in(arg);
	sim_data_store(space_frame(st.st_world.wo_spaces[0], 0) + 512, 1);
}

/* Of the entry that fault_in() makes. */
static void
age_page(void *arg)
{
	fault_in(arg);
	hostop_age(st.st_world.wo_spaces[0], 0, SIM_PAGE_SIZE);
}

static void
change_own(void *arg)
{
	(void)arg;
	st.st_world.wo_next_content++;
}

static void
nothing(void *arg)
{
	(void)arg;
}

Test(snapshot, whatever_changes_changes_the_value)
{
	static void (*const changes[])(void *arg) = {nothing,  leak,	    take_frame, watch_more,
						     fault_in, change_byte, age_page,	change_own};
	const unsigned int n = sizeof changes / sizeof changes[0];
	uint64_t values[sizeof changes / sizeof changes[0]];
	struct sim_machine *const m = begin();
	struct sim_snapshot *const s = save();
	struct sim_report r;

	for (unsigned int again = 0; again < 2; again++) {
		for (unsigned int i = 0; i < n; i++) {
			sim_restore(s);
			cr_assert_eq(sim_machine_call(m, changes[i], NULL, &r), SIM_RUN_PASSED);

			const uint64_t value = sim_state_value(s);

			cr_assert_neq(value, 0);
			cr_assert(again == 0 || value == values[i], "change %u: another value", i);
			values[i] = value;
		}
	}
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int k = 0; k < i; k++)
			cr_assert_neq(values[i], values[k], "changes %u and %u are one", k, i);
	}
	end(m, s);
}

Test(snapshot, equal_runs_leave_equal_values)
{
	struct sim_machine *const m = begin();
	struct sim_snapshot *const s = save();
	struct sim_config cfg;
	struct sim_report r;
	uint64_t values[4];

	workload_machine_config(&st.st_options, &cfg);
	for (unsigned int i = 0; i < 4; i++) {
		sim_restore(s);
		cfg.sc_seed = 1000 + i % 2;
		sim_choose_from(&cfg);
		cr_assert_eq(sim_spawn(m, 0, program, NULL), 0);
		cr_assert_eq(sim_spawn(m, 1, program, NULL), 0);
		cr_assert_eq(sim_machine_run(m, &r), SIM_RUN_PASSED);
		values[i] = sim_state_value(s);
	}
	cr_assert_eq(values[0], values[2]);
	cr_assert_eq(values[1], values[3]);
	cr_assert_neq(values[0], values[1]);
	end(m, s);
}

Test(snapshot, counters_are_no_part_of_the_value)
{
	struct sim_machine *const m = begin();
	const struct sim_region regions[] = {
		{&st, sizeof st, false},
		{st.st_world.wo_count, sizeof st.st_world.wo_count, true},
		{&st.st_world.wo_stats, sizeof st.st_world.wo_stats, true},
	};
	struct sim_snapshot *const s = sim_save(regions, 3, NULL, 0);
	const uint64_t value = sim_state_value(s);

	st.st_world.wo_count[0]++;
	st.st_world.wo_count[WC_COUNT - 1]++;
	st.st_world.wo_stats.st_kicks++;
	cr_assert_eq(sim_state_value(s), value);
	st.st_world.wo_next_content++;
	cr_assert_neq(sim_state_value(s), value);
	st.st_world.wo_next_content--;
	/* Behind the counters. */
	st.st_violate = true;
	cr_assert_neq(sim_state_value(s), value);
	end(m, s);
}

Test(snapshot, values_are_known_once_noted)
{
	struct sim_machine *const m = begin();
	struct sim_snapshot *const s = save();

	for (uint64_t i = 1; i < 3000; i++) {
		const uint64_t value = i * UINT64_C(0x9e3779b97f4a7c15) | 1;

		cr_assert_not(sim_state_known(s, value), "%" PRIu64, i);
		sim_state_note(s, value);
		sim_state_note(s, value);
		cr_assert(sim_state_known(s, value), "%" PRIu64, i);
	}
	cr_assert(sim_state_known(s, UINT64_C(0x9e3779b97f4a7c15)));
	cr_assert_not(sim_state_known(s, 3));
	end(m, s);
}
