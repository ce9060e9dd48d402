/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The skep authors */

/*
 * The machine of simulated costs, and the ways to shoot down that run on it: what is counted, and
 * what must be true of it. No time is asserted, since what things cost is anybody's to set; except
 * where the figures are the test's own.
 */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cost/cost_run.h"
#include "bench/hist.h"

static struct cost_result
run(const char *scheme, unsigned int vcpus, unsigned int initiators, unsigned int in_guest)
{
	struct cost_model model;
	struct cost_setup setup = {.cs_scheme = inv_scheme_named(scheme),
				   .cs_model = &model,
				   .cs_vcpus = vcpus,
				   .cs_initiators = initiators,
				   .cs_pages = 1,
				   .cs_gathers = 16,
				   .cs_in_guest = in_guest};
	static struct cost_result r;

	cost_model_default(&model);
	cr_assert(setup.cs_scheme != NULL);
	cr_assert(eq(int, cost_run(&setup, &r), 0));
	cr_assert(eq(u64, r.cr_counts.ic_unmaps, initiators * 16));
	cr_assert(eq(u64, r.cr_latency.hi_count, initiators * 16));
	return r;
}

/* Who leaves translations behind is found; who does not, does not. */
Test(cost, stale)
{
	static const unsigned int sizes[] = {1, 3, 16, 70};

	for (unsigned int i = 0; i < inv_nschemes; i++) {
		for (unsigned int n = 0; n < 4; n++) {
			const struct cost_result r = run(inv_schemes[i]->sc_name, sizes[n], 3, 100);

			if (inv_schemes[i]->sc_unsafe)
				cr_assert(r.cr_stale > 0, "%s", inv_schemes[i]->sc_name);
			else
				cr_assert(eq(u64, r.cr_stale, 0), "%s", inv_schemes[i]->sc_name);
		}
	}
}

Test(cost, one_shootdown_per_gather_and_a_kick_for_each_cpu_at_most)
{
	const struct cost_result r = run("gather", 512, 1, 100);

	cr_assert(eq(u64, r.cr_counts.ic_shootdowns, 16));
	cr_assert(le(u64, r.cr_counts.ic_kicks, 16 * 512));
	cr_assert(ge(u64, r.cr_counts.ic_kicks, 16 * 512 * 8 / 10));
	/* Each CPU flushes once for each, and once at its first entry. */
	cr_assert(le(u64, r.cr_counts.ic_flushes, 17 * 512));
}

Test(cost, nobody_in_the_guest_nobody_kicked)
{
	static const char *const by_need[] = {"gather", "nomerge", "kick"};

	for (unsigned int i = 0; i < 3; i++) {
		const struct cost_result r = run(by_need[i], 64, 4, 0);

		cr_assert(eq(u64, r.cr_counts.ic_kicks, 0));
		cr_assert(eq(u64, r.cr_counts.ic_flushes, 0));
		cr_assert(eq(u64, r.cr_totals.ct_ipis, 0));
		cr_assert(eq(u64, r.cr_stolen_ns, 0));
	}
	/* The old way interrupts all 67 others, every time. */
	cr_assert(eq(u64, run("rendezvous", 64, 4, 0).cr_counts.ic_kicks, 4 * 16 * 67));
}

/* Initiators that come while a generation is under way share the next one. */
Test(cost, merging)
{
	for (unsigned int initiators = 4; initiators <= 16; initiators *= 2) {
		const struct cost_result r = run("gather", 256, initiators, 100);

		/* Two groups take turns, so 2/N each; and some stand alone at both ends. */
		cr_assert(le(u64, r.cr_counts.ic_shootdowns * initiators,
			     r.cr_counts.ic_unmaps * 5 / 2));
		cr_assert(eq(u64, r.cr_counts.ic_shootdowns + r.cr_counts.ic_merged,
			     r.cr_counts.ic_unmaps));
		cr_assert(eq(u64, run("nomerge", 256, initiators, 100).cr_counts.ic_shootdowns,
			     initiators * 16));
	}
}

Test(cost, the_same_to_the_last_digit)
{
	for (unsigned int i = 0; i < inv_nschemes; i++) {
		const struct cost_result a = run(inv_schemes[i]->sc_name, 40, 5, 60);
		const struct cost_result b = run(inv_schemes[i]->sc_name, 40, 5, 60);

		cr_assert(eq(int, memcmp(&a, &b, sizeof(a)), 0), "%s", inv_schemes[i]->sc_name);
	}
}

Test(cost, refusals)
{
	struct cost_model model;
	struct cost_setup setup = {.cs_scheme = inv_schemes[0],
				   .cs_model = &model,
				   .cs_vcpus = 600,
				   .cs_initiators = 1,
				   .cs_pages = 1,
				   .cs_gathers = 1,
				   .cs_in_guest = 100};
	static struct cost_result r;

	cost_model_default(&model);
	cr_assert(eq(int, cost_run(&setup, &r), -EINVAL));
	setup.cs_vcpus = 1;
	setup.cs_initiators = 0;
	cr_assert(eq(int, cost_run(&setup, &r), -EINVAL));
	cr_assert(not(cost_model_set(&model, "flush")));
	cr_assert(not(cost_model_set(&model, "flush=")));
	cr_assert(not(cost_model_set(&model, "flush=-1")));
	cr_assert(not(cost_model_set(&model, "flush=1x")));
	cr_assert(not(cost_model_set(&model, "socket=0")));
	cr_assert(not(cost_model_set(&model, "nothing=1")));
	cr_assert(cost_model_set(&model, "flush=345"));
	cr_assert(eq(uint, model.cm_value[COST_FLUSH], 345));
	cr_assert(inv_scheme_named("gathe") == NULL);
}

/* ---- The machine itself, with costs of the test's own --------------------------------------- */

static uint64_t words[64] __attribute__((aligned(64)));
static uint64_t seen[4];

static void
reader(void *arg)
{
	(void)arg;
	cost_load(&words[0]);
	cost_load(&words[1]); /* the same line: at hand */
	seen[cost_cpu()] = cost_now();
	cost_exit();
}

/* Three ask for a line at once: the directory serves them one after another. */
Test(machine_of_costs, lines)
{
	struct cost_model m;
	struct cost_totals t;

	cost_model_default(&m);
	cr_assert(cost_model_set(&m, "hit=1") && cost_model_set(&m, "line_near=50") &&
		  cost_model_set(&m, "line_busy=10"));
	cr_assert(cost_machine_begin(&m, 3));
	for (unsigned int i = 0; i < 3; i++)
		cr_assert(cost_spawn(i, 100 * (i > 0), reader, NULL));
	cost_machine_run();
	cost_totals(&t);
	cost_machine_end();
	cr_assert(eq(u64, seen[0], 2));
	cr_assert(eq(u64, seen[1], 100 + 50 + 1));
	cr_assert(eq(u64, seen[2], 100 + 10 + 50 + 1));
	cr_assert(eq(u64, t.ct_lines, 2));
}

static void
guest(void *arg)
{
	(void)arg;
	seen[2] = cost_wait(1000000);
	seen[1] = cost_now();
	cost_exit();
}

static void
kicker(void *arg)
{
	(void)arg;
	cost_spend(500);
	cost_kick(1);
	cost_kick(0); /* itself: nothing */
	seen[0] = cost_now();
	cost_exit();
}

Test(machine_of_costs, interrupts)
{
	struct cost_model m;

	cost_model_default(&m);
	cr_assert(cost_model_set(&m, "ipi_send=10") && cost_model_set(&m, "ipi_socket=70"));
	cr_assert(cost_machine_begin(&m, 2));
	cr_assert(cost_spawn(0, 0, kicker, NULL) && cost_spawn(1, 0, guest, NULL));
	cost_machine_run();
	cost_machine_end();
	cr_assert(eq(u64, seen[0], 510));
	cr_assert(eq(u64, seen[1], 580));
	cr_assert(eq(u64, seen[2], 1));
}

/* ---- Histograms ------------------------------------------------------------------------------ */

Test(hist, buckets)
{
	for (unsigned int i = 0; i + 1 < HIST_BUCKETS; i++) {
		cr_assert(eq(uint, hist_index(hist_low(i)), i));
		cr_assert(eq(uint, hist_index(hist_low(i + 1) - 1), i));
	}
	cr_assert(eq(uint, hist_index(~UINT64_C(0)), HIST_BUCKETS - 1));
}

/* Within a bucket's width, 1/32, of the sorted values. */
Test(hist, percentiles)
{
	static struct hist h, part;

	for (uint64_t i = 1; i <= 100000; i++)
		hist_add(i % 2 != 0 ? &h : &part, i * 7);
	hist_merge(&h, &part);
	cr_assert(eq(u64, h.hi_count, 100000));
	cr_assert(eq(u64, hist_at(&h, 0), 7));
	cr_assert(eq(u64, hist_at(&h, 1000), 700000));
	for (unsigned int permille = 1; permille < 1000; permille++) {
		const double want = 700.0 * permille;
		const double got = (double)hist_at(&h, permille);

		cr_assert(got > want * 31 / 32 - 7 && got < want * 33 / 32 + 7, "%u: %f not %f",
			  permille, got, want);
	}
	h = (struct hist){0};
	cr_assert(eq(u64, hist_at(&h, 500), 0));
}
